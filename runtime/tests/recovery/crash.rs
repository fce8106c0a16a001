//! The disk stops, or a call of it fails, at every step of a story: writes by the journal, snapshots, rewrites, the log
//! turned off and on, the log of an old server taken over. Whatever the next process finds: everything acknowledged is
//! there, nothing is there in half, and a second crash during recovery changes nothing about that.

use crate::bench::{
    Contents, Files, LOG_DIR, SNAPSHOT, disk, exec, files, node, opened, rewrite, rewrite_with, run,
    snapshot, whole,
};
use baton::Node;
use baton::journal::{Policy, Verdict};
use baton::storage::SimulatedStorage;
use baton::storage::simulated::Fault;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One step of a story.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A transaction of so many commands over all databases and cores.
    Write(usize),
    Rewrite,
    Snapshot,
    Off,
    On,
}

const STORY: &[Step] = &[
    Step::On,
    Step::Write(3),
    Step::Write(1),
    Step::Rewrite,
    Step::Write(5),
    Step::Snapshot,
    Step::Write(2),
    Step::Off,
    Step::Write(2),
    Step::On,
    Step::Write(4),
    Step::Rewrite,
    Step::Write(2),
];

/// What happened, as far as it is known to whoever was served.
#[derive(Debug, Default)]
struct Told {
    /// What there was after each step that changed something; the first is what was opened.
    states: Vec<Contents>,
    /// The last of them that was acknowledged while the log was on.
    logged: usize,
    /// The last of them that is in a snapshot.
    saved: usize,
    /// Steps that were refused.
    refused: usize,
}

fn lines(n: usize, count: usize) -> Vec<(usize, String)> {
    let one = |k: usize| {
        let db = (n + k) % 3;
        let line = match (n + k) % 6 {
            0 => format!("SET key:{} {n}", k * 31),
            1 => format!("RPUSH list:{} {n} {}", k % 2, "x".repeat(300 * k)),
            2 => format!("MSET a:{k} {n} b:{k} {n} c:{k} {n}"),
            3 => format!("INCRBY counter {n}"),
            4 => format!("HSET hash:{k} field:{n} value"),
            _ => format!("RENAME a:{k} renamed:{n}"),
        };
        (db, line)
    };
    (0..count).map(one).chain([(0, format!("SET last {n}"))]).collect()
}

/// Waits until what has been pushed is as safe as the policy says; false when the log fails.
fn is_acknowledged(node: &Arc<Node>) -> bool {
    let (journal, start) = (node.journal(), Instant::now());
    let offset = journal.pushed();
    journal.write();
    loop {
        match journal.verdict(offset) {
            Verdict::Safe => return true,
            Verdict::Lost => return false,
            Verdict::Wait if journal.is_failing() => return false,
            Verdict::Wait => {
                assert!(start.elapsed() < Duration::from_secs(10), "never acknowledged");
                std::thread::yield_now();
            }
        }
    }
}

/// Goes through the story. With a disk that is dead, to its end all the same: every step fails then.
fn tell(node: &Arc<Node>, told: &mut Told) {
    told.states.push(whole(node));
    for (n, step) in STORY.iter().enumerate() {
        match step {
            Step::Write(count) => {
                if node.journal().is_failing() {
                    // Refused, as a client would be; the chores rewrite the log, which makes it sound if the disk lets it.
                    told.refused += 1;
                    if rewrite(node).is_ok() {
                        told.logged = told.states.len() - 1;
                    }
                    continue;
                }
                exec(node, &lines(n, *count));
                told.states.push(whole(node));
                if node.journal().has_file() && is_acknowledged(node) {
                    told.logged = told.states.len() - 1;
                }
            }
            Step::Rewrite | Step::On => match rewrite(node) {
                // All that there is is in the new base.
                Ok(_) => told.logged = told.states.len() - 1,
                Err(_) => told.refused += 1,
            },
            Step::Snapshot => match snapshot(node) {
                Ok((_, contents)) => {
                    assert_eq!(Some(&contents), told.states.last());
                    told.saved = told.states.len() - 1;
                }
                Err(_) => told.refused += 1,
            },
            Step::Off => drop(node.close_log()),
        }
    }
}

fn prepared(disk: &SimulatedStorage, policy: Policy, single: bool) -> Option<Arc<Node>> {
    if !single {
        let node = node(disk, 2);
        node.journal().configure(policy, true);
        return Some(node);
    }
    // As a server does: a log of one file is taken over and gone on with.
    let (node, opened) = opened(disk, 2, true).ok()?;
    node.journal().configure(policy, true);
    let (log, position) = opened.log?;
    node.resume_log(log, position).ok()?;
    Some(node)
}

/// What a node with its log on finds: one of the states, none before the last that was acknowledged.
#[track_caller]
fn assert_recovered(what: &str, found: &SimulatedStorage, told: &Told, seed: u64) {
    let check = |disk: &SimulatedStorage, which: &str| {
        let (node, opened) =
            opened(disk, 3, true).unwrap_or_else(|error| panic!("{what}, {which}: {error}{}", shown(disk)));
        let contents = whole(&node);
        let at = told.states.iter().rposition(|state| *state == contents);
        let at = at.unwrap_or_else(|| panic!("{what}, {which}: half done: {contents:?}{}", shown(disk)));
        assert!(at >= told.logged, "{what}, {which}: {at} of {} acknowledged{}", told.logged, shown(disk));
        (node, opened, at)
    };
    // A crash at any call of the recovery, and one after it.
    let before = files(found);
    let calls = {
        let copy = disk(&before, seed);
        let start = copy.calls();
        drop(check(&copy, "found"));
        copy.calls() - start
    };
    let copy = disk(&before, seed + 1);
    copy.stop_at(copy.calls() + seed % (calls + 1));
    drop(opened(&copy, 2, true));
    let again = copy.crashed();
    let (node, opened, _) = check(&again, "after a second crash");
    // And it goes on: in its log, or with a new one.
    match opened.log {
        Some((log, position)) => node.resume_log(log, position).expect("the log goes on"),
        None => drop(rewrite(&node).expect("a log is begun")),
    }
    run(&node, 1, "SET went on");
    node.journal().write_and_sync().expect("synced");
    let expected = whole(&node);
    assert_eq!(opened_whole(&again.crashed()), expected, "{what}: after going on");
}

/// The beginnings of all files, for messages.
fn shown(disk: &SimulatedStorage) -> String {
    let text = |(path, bytes): (&std::path::PathBuf, &Vec<u8>)| {
        format!("\n{}: {}", path.display(), bytes[..bytes.len().min(1_600)].escape_ascii())
    };
    files(disk).iter().map(text).collect()
}

fn opened_whole(disk: &SimulatedStorage) -> Contents {
    let (node, _) = opened(disk, 1, true).expect("it is opened");
    whole(&node)
}

/// The log of a server before Redis 7, with its last write cut short.
fn single_file() -> Files {
    let mut log = Vec::new();
    for command in
        [&["SELECT", "0"][..], &["SET", "old", "1"], &["RPUSH", "list:0", "a"], &["SET", "torn", "x"]]
    {
        log.extend(format!("*{}\r\n", command.len()).bytes());
        command.iter().for_each(|word| log.extend(format!("${}\r\n{word}\r\n", word.len()).bytes()));
    }
    log.truncate(log.len() - 4);
    [("/appendonly.aof".into(), log)].into()
}

fn start(single: bool, seed: u64) -> SimulatedStorage {
    if single { disk(&single_file(), seed) } else { SimulatedStorage::new(seed) }
}

/// How many calls the whole story makes, and before it.
fn calls(policy: Policy, single: bool) -> (u64, u64) {
    let disk = start(single, 1);
    let before = disk.calls();
    let node = prepared(&disk, policy, single).expect("it is opened");
    let mut told = Told::default();
    tell(&node, &mut told);
    assert_eq!((told.refused, told.logged + 1), (0, told.states.len()));
    (before, disk.calls())
}

fn at_every_call(policy: Policy, single: bool, found: fn(&SimulatedStorage) -> SimulatedStorage, times: u64) {
    let (before, calls) = calls(policy, single);
    assert!(calls > before + 60, "{before} {calls}");
    for call in before..=calls {
        let disk = start(single, call);
        disk.stop_at(call);
        let mut told = Told::default();
        match prepared(&disk, policy, single) {
            Some(node) => tell(&node, &mut told),
            // Nothing was acknowledged, and nothing is lost of what there was.
            None => told.states.push(opened_whole(&start(single, 1))),
        }
        for n in 0..times * if crate::bench::all() { 20 } else { 1 } {
            let what = format!("{policy:?}, call {call} of {calls}, {n}");
            assert_recovered(&what, &found(&disk), &told, call * 31 + n);
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_that_was_written() {
    at_every_call(Policy::EverySecond, false, SimulatedStorage::killed, 1);
}

#[test]
fn a_failed_machine_loses_nothing_that_was_synced() {
    at_every_call(Policy::Always, false, SimulatedStorage::crashed, 3);
}

#[test]
fn a_log_of_one_file_is_taken_over_or_still_there() {
    at_every_call(Policy::Always, true, SimulatedStorage::crashed, 2);
}

#[test]
fn a_call_that_fails_costs_nothing_that_was_acknowledged() {
    for fault in [Fault::Full, Fault::Short, Fault::Broken] {
        let (before, calls) = calls(Policy::Always, false);
        // Each call fails in one way, or in all.
        for call in (before..calls).filter(|call| crate::bench::all() || call % 3 == fault as u64) {
            let disk = start(false, call);
            disk.fail(call, fault);
            let mut told = Told::default();
            let node = prepared(&disk, Policy::Always, false).expect("nothing is opened");
            tell(&node, &mut told);
            let what = format!("{fault:?}, call {call} of {calls}");
            assert_recovered(&what, &disk.crashed(), &told, call);
            assert_recovered(&what, &disk.killed(), &told, call);
            // With the log off the snapshot counts.
            if told.saved > 0 {
                let (node, _) = opened(&disk.crashed(), 2, false).expect("the snapshot");
                assert_eq!(whole(&node), told.states[told.saved], "{what}");
                assert!(files(&disk).contains_key(Path::new(SNAPSHOT)) && LOG_DIR.len() > 1);
            }
        }
    }
}

/// The power goes while a rewrite is on its way: neither increment has been synced, and the disk kept of each what it liked.
#[test]
fn a_power_cut_between_two_increments_keeps_a_beginning() {
    let mut across = 0;
    for seed in 0..if crate::bench::all() { 2_000 } else { 60 } {
        let disk = SimulatedStorage::new(seed);
        let node = node(&disk, 2);
        node.journal().configure(Policy::Never, true);
        rewrite(&node).expect("a log");
        node.journal().suspend_syncs(true);
        let mut states = vec![whole(&node)];
        let mut write = |n| {
            exec(&node, &lines(n, n % 5));
            node.journal().write();
            states.push(whole(&node));
        };
        (1..6).for_each(&mut write);
        let ended = rewrite_with(&node, Duration::from_millis(20)).expect("it begins");
        (6..11).for_each(&mut write);
        let found = disk.crashed();
        let what = format!("seed {seed}");
        let (again, opened) = opened(&found, 1, true).unwrap_or_else(|error| panic!("{what}: {error}"));
        let contents = whole(&again);
        assert!(states.contains(&contents), "{what}: half done: {contents:?}{}", shown(&found));
        across += usize::from(opened.notes.iter().any(|note| note.contains("cut to 0 bytes")));
        assert_eq!(opened_whole(&found.killed()), contents, "{what}: a second start");
        drop(ended.recv());
    }
    assert!(across > 0, "no increment was lost with the end of the one before it");
}
