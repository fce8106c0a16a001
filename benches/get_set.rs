//! One GET or SET inside the engine: no socket, no parsing, no baton. If only `cold` moves, the layout of an entry
//! changed; if both move, the lookup path did. `cold` needs about a gigabyte.

use baton_benches::{Engine, Picks, VALUE, command};
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;

/// Fits the caches of the processor, and does not.
const SIZES: [(&str, usize); 2] = [("hot", 10_000), ("cold", 10_000_000)];

fn get_set(c: &mut Criterion) {
    for (size, keys) in SIZES {
        let (mut engine, mut picks) = (Engine::filled(keys), Picks::seeded(7, keys));
        let (get, set) = (command("GET"), command("SET"));
        c.bench_function(&format!("get/{size}"), |b| {
            b.iter(|| black_box(engine.run(get, &[b"GET", picks.next_key()])));
        });
        c.bench_function(&format!("set/{size}"), |b| {
            b.iter(|| black_box(engine.run(set, &[b"SET", picks.next_key(), VALUE])));
        });
    }
}

criterion_group!(benches, get_set);
criterion_main!(benches);
