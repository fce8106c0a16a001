//! One call of a `Store`: what a program pays that links it. `get` and `set` go the short way, `run` looks a command up by
//! its name and reads its reply; the difference is what that costs; `set written` has a log that the system has when the call
//! returns. With two threads the time per call should be little more
//! than half, as long as there are processors for them: if it is not, they meet at batons or at a cache line.

use baton::Store;
use baton_benches::{Picks, key};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::{Duration, Instant};

const KEYS: usize = 100_000;
const VALUE: &[u8] = &[b'v'; 100];

fn filled() -> Store {
    let store = Store::memory();
    for n in 0..KEYS {
        store.set(key(n), VALUE).expect("a store in memory takes all");
    }
    store
}

fn one_thread(c: &mut Criterion) {
    let (store, mut picks) = (filled(), Picks::seeded(7, KEYS));
    c.bench_function("store/get", |b| b.iter(|| black_box(store.get(picks.next_key()))));
    c.bench_function("store/with", |b| b.iter(|| black_box(store.with(picks.next_key(), <[u8]>::len))));
    c.bench_function("store/set", |b| b.iter(|| black_box(store.set(picks.next_key(), VALUE))));
    let dir = tempfile::tempdir_in(".").expect("a place for files");
    let written = Store::builder().open(dir.path()).expect("an empty directory opens");
    c.bench_function("store/set written", |b| {
        b.iter(|| black_box(written.set(picks.next_key(), VALUE)));
    });
    drop(written);
    c.bench_function("store/incr", |b| b.iter(|| black_box(store.incr("counter"))));
    c.bench_function("store/run get", |b| {
        b.iter(|| black_box(store.run([&b"GET"[..], picks.next_key()])));
    });
}

/// The time of so many calls, spread over threads.
fn on_threads(store: &Store, threads: usize, calls: u64) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let mut picks = Picks::seeded(7 + thread as u64, KEYS);
                for _ in 0..calls / threads as u64 {
                    let _ = black_box(store.get(picks.next_key()));
                }
            });
        }
    });
    start.elapsed()
}

fn several_threads(c: &mut Criterion) {
    let store = filled();
    let mut group = c.benchmark_group("store/threads");
    group.throughput(Throughput::Elements(1));
    for threads in [1, 2, 4] {
        group.bench_function(threads.to_string(), |b| {
            b.iter_custom(|calls| on_threads(&store, threads, calls));
        });
    }
    group.finish();
}

criterion_group!(benches, one_thread, several_threads);
criterion_main!(benches);
