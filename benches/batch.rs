//! What a pipeline costs inside the node, from the parsed requests to the replies: no socket, a million keys in random order, so
//! that it is mostly waiting for memory. Criterion's elements are commands.

use baton::batch::Call;
use baton::held::{Identity, Who};
use baton_benches::{VALUE, key, node};
use baton_engine::random::Rng;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const KEYS: usize = 1_000_000;
/// More than the caches hold.
const PICKS: usize = 1 << 20;

struct Bench;

impl Identity for Bench {
    fn address(&self) -> String {
        "bench".to_owned()
    }

    fn name(&self) -> String {
        "bench".to_owned()
    }
}

fn batch(c: &mut Criterion) {
    let node = node();
    // As while one loop serves.
    node.has_one_thread.store(true, Ordering::Relaxed);
    let who =
        Who { id: 1, db: 0, resp3: false, no_touch: false, remembers: false, identity: Arc::new(Bench) };
    let mut rng = Rng::seeded(7);
    let picks: Vec<Vec<u8>> = (0..PICKS).map(|_| key(rng.below(KEYS))).collect();
    let mut out = Vec::new();
    let mut run = |requests: &[Vec<&[u8]>]| {
        let command = |args: &[&[u8]]| node.registry.find(args[0]).expect("it is served");
        let calls: Vec<Call<'_, '_>> =
            requests.iter().map(|args| Call::new(command(args), args).expect("it joins a batch")).collect();
        let done = node.run_batch_now(&who, 0, &calls, &mut out);
        assert_eq!(done, calls.len());
        black_box(out.len());
        out.clear();
    };
    for n in 0..KEYS {
        run(&[vec![b"SET", &key(n), VALUE]]);
    }
    let mut at = 0;
    let mut next = || {
        at = (at + 1) % PICKS;
        picks[at].as_slice()
    };
    let mut group = c.benchmark_group("batch");
    for length in [16, 100] {
        for (name, shape) in [("get", get as Shape), ("set", set), ("mset", mset)] {
            group.throughput(Throughput::Elements(length));
            group.bench_function(format!("{name}/{length}"), |b| {
                b.iter_batched_ref(
                    || (0..length).map(|_| shape(&mut next)).collect::<Vec<_>>(),
                    |requests| run(requests),
                    BatchSize::PerIteration,
                );
            });
        }
    }
}

/// A request on keys that it is given.
type Shape = for<'k> fn(&mut dyn FnMut() -> &'k [u8]) -> Vec<&'k [u8]>;

fn get<'k>(next: &mut dyn FnMut() -> &'k [u8]) -> Vec<&'k [u8]> {
    vec![b"GET", next()]
}

fn set<'k>(next: &mut dyn FnMut() -> &'k [u8]) -> Vec<&'k [u8]> {
    vec![b"SET", next(), VALUE]
}

fn mset<'k>(next: &mut dyn FnMut() -> &'k [u8]) -> Vec<&'k [u8]> {
    let name: &[u8] = b"MSET";
    std::iter::once(name).chain((0..10).flat_map(|_| [next(), VALUE])).collect()
}

criterion_group!(benches, batch);
criterion_main!(benches);
