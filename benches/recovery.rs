//! Opening a directory: `snapshot` with 100,000 keys of a clean end, `log` with as many changes that have to be replayed.
//! The first is the index and a mapping and should hardly depend on the number of keys; the second is decoding and running the
//! commands, spread over the cores. `first read` adds the building of one slot.

use baton::Store;
use baton::store::Policy;
use baton_benches::{VALUE, key};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::path::Path;

const KEYS: usize = 100_000;

fn fill(store: &Store) {
    for n in 0..KEYS {
        store.set(key(n), VALUE).expect("a new store takes all");
    }
}

fn recovery(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a place for files");
    let (snapshot, log) = (dir.path().join("snapshot"), dir.path().join("log"));
    let of_snapshot = |path: &Path| Store::builder().without_log().open(path).expect("opens");
    let of_log = |path: &Path| Store::builder().fsync(Policy::Never).open(path).expect("opens");
    // The end of a store without a log writes its snapshot.
    fill(&of_snapshot(&snapshot));
    fill(&of_log(&log));

    let mut group = c.benchmark_group("recovery");
    group.sample_size(10);
    // Read only: closing writes nothing then, and is not measured anyway.
    let read_only = |path: &Path| Store::builder().read_only().open(path).expect("opens");
    for (name, path) in [("snapshot", &snapshot), ("log", &log)] {
        group.bench_function(name, |b| {
            b.iter_batched(|| (), |()| read_only(path), BatchSize::PerIteration);
        });
    }
    group.bench_function("first read", |b| {
        b.iter_batched(
            || read_only(&snapshot),
            |store| {
                black_box(store.get(key(1))).expect("is there");
                store
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, recovery);
criterion_main!(benches);
