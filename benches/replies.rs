//! Writing replies: what the node does between a result and the bytes on their way. `bulk` is what a GET answers, `array` an
//! LRANGE of ten. They move with the writing of lengths and little else.

use baton_engine::reply::Out;
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;

fn replies(c: &mut Criterion) {
    let mut bench = |name: &str, write: &dyn Fn(&mut Out)| {
        let mut out = Out::new(false);
        c.bench_function(&format!("reply/{name}"), |b| {
            b.iter(|| {
                out.truncate(0);
                write(black_box(&mut out));
                black_box(out.len())
            });
        });
    };
    let value = [b'v'; 64];
    bench("ok", &|out| out.ok());
    bench("integer", &|out| out.integer(black_box(1_234_567)));
    bench("bulk of 64", &|out| out.bulk(black_box(&value)));
    bench("double", &|out| out.double(black_box(3.25)));
    bench("array of 10 bulks", &|out| {
        out.array(10);
        (0..10).for_each(|_| out.bulk(black_box(&value)));
    });
}

criterion_group!(benches, replies);
criterion_main!(benches);
