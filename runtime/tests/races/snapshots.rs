//! A snapshot that loops are to drive: it ends whole whichever of them come, and with whatever shards; and no command waits for its
//! disk.

use crate::bench::{Bench, CORES};
use baton::snapshot::{Next, SnapshotOptions};
use baton::storage::SimulatedStorage;
use baton_engine::random::Rng;
use baton_engine::rdb::save::SaveOptions;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

const KEYS: usize = 20_000;

fn options(path: PathBuf) -> SnapshotOptions {
    SnapshotOptions {
        path,
        save: SaveOptions::default(),
        checksum: true,
        incremental_sync: true,
        aux: Vec::new(),
        delay: Duration::ZERO,
    }
}

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
    let (ended, end) = mpsc::channel();
    let options = options(dir.path().join("dump.rdb"));
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

/// Again and again the disk stands still in the middle of whatever it was asked, from the first call on.
#[test]
fn no_command_waits_for_the_disk_of_a_snapshot() {
    let storage = SimulatedStorage::new(1);
    let bench = Arc::new(Bench::on(Arc::new(storage.clone())));
    bench.node.snapshots.driven_by(|| {});
    let client = bench.client();
    // More than may wait to be written.
    for n in 0..200 {
        assert_eq!(client.run(&format!("SET key:{n} {}", noise(n))), "OK");
    }
    let (ended, end) = mpsc::channel();
    let (mut calls, mut stills) = (0, 0);
    let mut still = Some(storage.stand_still());
    let options = options(PathBuf::from("/dump.rdb"));
    bench.node.begin_snapshot(options, |_| (), move |result| drop(ended.send(result))).unwrap();
    while bench.node.snapshots.current().is_some() {
        let (served, serving) = mpsc::channel();
        let bench = bench.clone();
        let turns = thread::spawn(move || {
            let client = bench.client();
            for n in 0..20 {
                assert_eq!(client.run(&format!("SET key:{n} short")), "OK");
                for core in 0..CORES {
                    bench.node.snapshot_step(core);
                }
            }
            served.send(()).unwrap();
        });
        serving.recv_timeout(Duration::from_secs(30)).expect("served, though the disk stands still");
        turns.join().unwrap();
        stills += usize::from(still.take().is_some());
        // Something has been done since: the next call may be another one.
        if storage.calls() > calls {
            calls = storage.calls();
            still = Some(storage.stand_still());
        }
    }
    drop(still);
    let (written, ()) = end.recv_timeout(Duration::from_secs(60)).expect("an end").expect("a snapshot");
    assert_eq!(written.keys, 200);
    assert!(stills > 5, "the disk stood still {stills} times");
}

/// 64 KB that cannot be made shorter.
fn noise(seed: u64) -> String {
    let mut rng = Rng::seeded(seed);
    (0..4096).map(|_| format!("{:016x}", rng.next_u64())).collect()
}
