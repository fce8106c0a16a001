//! Cutting requests out of what a socket brought: time per byte, for a pipeline of small requests and for one large
//! value. The first moves with the work per argument, the second must stay next to nothing, as values are not looked at.

use baton_server::protocol::{Limits, Parser};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

fn request(args: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend(format!("${}\r\n", arg.len()).into_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn parser(c: &mut Criterion) {
    let limits = Limits { bulk_max: 512 << 20, authenticated: true };
    let set = request(&[b"SET", b"key:000000012345", &[b'v'; 64]]);
    let inputs = [
        ("parser/pipeline of 100 SET", set.repeat(100)),
        ("parser/one SET of 1 MiB", request(&[b"SET", b"key", &vec![b'v'; 1 << 20]])),
        ("parser/inline GET", b"GET key:000000012345\r\n".to_vec()),
    ];
    for (name, mut input) in inputs {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Bytes(input.len() as u64));
        let mut parser = Parser::default();
        group.bench_function("parse", |b| {
            b.iter(|| {
                parser.parse(&mut input, limits, usize::MAX).expect("valid requests");
                black_box(parser.consume(parser.requests().len()))
            });
        });
        group.finish();
    }
}

criterion_group!(benches, parser);
criterion_main!(benches);
