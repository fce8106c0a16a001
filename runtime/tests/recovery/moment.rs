//! Snapshots and rewrites while threads write and slots move: what is on disk is one moment, and the log after it.

use crate::bench::{
    DATABASES, SNAPSHOT, disk, files, held_now, node, opened, rewrite, rewrite_with, run_in, snapshot_with,
    whole,
};
use baton::Node;
use baton::journal::Policy;
use baton::storage::SimulatedStorage;
use baton_engine::random::Rng;
use baton_engine::slot::{SLOTS, Slot};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const CORES: usize = 4;

fn line(rng: &mut Rng) -> (usize, String) {
    let n = rng.below(1_000);
    let mut key = || format!("key:{}", rng.below(24));
    let (a, b) = (key(), key());
    let line = match n % 16 {
        0 | 1 => format!("SET {a} {n}"),
        2 => format!("APPEND {a} {n}"),
        3 => format!("RPUSH l{a} {n}"),
        4 => format!("LMOVE l{a} l{b} LEFT RIGHT"),
        5 => format!("SADD s{a} {n} {}", n / 2),
        6 => format!("SPOP s{a}"),
        7 => format!("HSET h{a} {} {n}", n % 7),
        8 => format!("HPEXPIREAT h{a} 41024448{:05} FIELDS 1 {}", n, n % 7),
        9 => format!("ZADD z{a} {n} {}", n % 5),
        10 => format!("MSET {a} {n} {b} {n}"),
        11 => format!("RENAME {a} {b}"),
        12 => format!("SUNIONSTORE s{a} s{a} s{b}"),
        13 => format!("PEXPIREAT {a} 41024448{n:05}"),
        14 => format!("MOVE {a} {}", n % DATABASES),
        _ if n < 40 => ["FLUSHDB", "SWAPDB 0 1", "FLUSHALL", "SWAPDB 1 2"][n % 4].to_owned(),
        _ => format!("DEL {a} l{b}"),
    };
    (rng.below(DATABASES), line)
}

/// Random commands of one client: alone, or some as a transaction.
fn play(node: &Arc<Node>, seed: u64, stop: &AtomicBool) {
    let mut rng = Rng::seeded(seed);
    while !stop.load(Ordering::Relaxed) {
        let lines: Vec<_> = (0..=rng.below(4)).map(|_| line(&mut rng)).collect();
        let mut held = node.hold_all();
        if lines.len() > 1 {
            held.begin_transaction();
        }
        lines.iter().for_each(|(db, line)| drop(run_in(&mut held, *db, line)));
        drop(held);
        node.journal().write();
    }
}

fn move_slots(node: &Arc<Node>, seed: u64, stop: &AtomicBool) {
    let mut rng = Rng::seeded(seed);
    while !stop.load(Ordering::Relaxed) {
        let slot = Slot::of(format!("key:{}", rng.below(24)).as_bytes()).index();
        node.move_slots(slot, slot, rng.below(CORES));
        let first = rng.below(SLOTS);
        node.move_slots(first, (first + 500).min(SLOTS - 1), rng.below(CORES));
        std::thread::yield_now();
    }
}

/// Stops the threads however the scope is left.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if crate::bench::all() { 60 } else { 3 }))]

    #[test]
    fn a_snapshot_is_one_moment_and_a_log_is_all_of_it(seed in any::<u64>(), delay_us in 0u64..200) {
        let storage = SimulatedStorage::new(seed);
        let node = node(&storage, CORES);
        node.journal().configure(Policy::EverySecond, seed % 2 == 0);
        rewrite(&node).expect("the log is turned on");
        let (stop, delay) = (AtomicBool::new(false), Duration::from_micros(delay_us));
        std::thread::scope(|scope| {
            let _stop = Stop(&stop);
            for n in 0..3 {
                let (node, stop) = (&node, &stop);
                scope.spawn(move || play(node, seed ^ n, stop));
            }
            scope.spawn(|| move_slots(&node, seed, &stop));
            for _ in 0..3 {
                std::thread::sleep(Duration::from_millis(15));
                let ended = snapshot_with(&node, delay).expect("it begins").recv().expect("an end");
                let (written, moment) = ended.expect("a snapshot");
                assert_eq!(written.keys as usize, moment.len());
                let copy = disk(&files(&storage), seed);
                assert!(files(&copy).contains_key(Path::new(SNAPSHOT)));
                // On another number of cores.
                let (other, _) = opened(&copy, 1 + seed as usize % 5, false).expect("it is opened");
                assert_eq!(whole(&other), moment);
                rewrite_with(&node, delay).expect("it begins").recv().expect("an end").expect("a base");
            }
        });
        // All that has happened is in the log, whatever has moved.
        let expected = held_now(&mut node.hold_all()).0;
        node.journal().write();
        let killed = disk(&files(&storage.killed()), seed);
        let (other, _) = opened(&killed, 1 + seed as usize % 3, true).expect("it is opened");
        assert_eq!(whole(&other), expected);
    }
}
