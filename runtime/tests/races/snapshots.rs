//! A snapshot that loops are to drive: it ends whole whichever of them come, and with whatever shards.

use crate::bench::{Bench, CORES};
use baton::snapshot::{Next, SnapshotOptions};
use baton_engine::rdb::save::SaveOptions;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const KEYS: usize = 20_000;

/// Writes a snapshot with `loops` threads that take part, each in the shares of all cores.
#[track_caller]
fn is_whole_with(loops: usize) {
    let bench = Bench::new();
    bench.node.snapshots.driven_by(|| {});
    let client = bench.client();
    for n in 0..KEYS {
        assert_eq!(client.run(&format!("SET key:{n} {n}")), "OK");
    }
    let dir = tempfile::tempdir().unwrap();
    let options = SnapshotOptions {
        path: dir.path().join("dump.rdb"),
        save: SaveOptions::default(),
        checksum: true,
        incremental_sync: false,
        aux: Vec::new(),
        delay: Duration::ZERO,
    };
    let (ended, end) = mpsc::channel();
    bench.node.begin_snapshot(options, |_| (), move |result| drop(ended.send(result))).unwrap();
    thread::scope(|scope| {
        for first in 0..loops {
            let node = &bench.node;
            scope.spawn(move || {
                while node.snapshots.current().is_some() {
                    let next = (0..CORES).map(|core| node.snapshot_step((first + core) % CORES));
                    if next.into_iter().all(|next| next != Next::Step) {
                        thread::yield_now();
                    }
                }
            });
        }
    });
    let (written, ()) = end.recv_timeout(Duration::from_secs(60)).expect("an end").expect("a snapshot");
    assert_eq!(written.keys, KEYS as u64);
}

#[test]
fn nobody_comes_and_its_own_thread_does_all_of_it() {
    is_whole_with(0);
}

#[test]
fn one_loop_does_the_shares_of_those_that_sleep() {
    is_whole_with(1);
}

#[test]
fn all_loops_help_each_other() {
    is_whole_with(CORES);
}
