//! The process is killed, or the machine fails, at any call of the disk. What had been acknowledged by then is in what is
//! recovered, and nothing is there in half. What the log says of its place in a history of replication is true.

use crate::bench::{Contents, LOG, exec, held, journaled, replayed, try_replayed};
use crate::node::Bench;
use baton::journal::Policy;
use baton::replication::Moment;
use baton::replication::identity::ReplId;
use baton::storage::{SimulatedStorage, Storage};
use baton_engine::aof::read::Reader;
use std::collections::BTreeSet;
use std::path::Path;

/// One thing that a client does.
const STEPS: &[&[&str]] = &[
    &["SET a 1"],
    &["SET b 2", "INCR a", "RPUSH list x y z"],
    &["MSET a 10 b 10 c 10 d 10"],
    &["SADD set 1 2 3 4 5 6 7 8 9 10 11 12", "SPOP set 5"],
    &["GET a"],
    &["SET big 0123456789012345678901234567890123456789012345678901234567890123456789"],
    &["RENAME a e", "LMOVE list list2 LEFT RIGHT", "HSET h f v"],
    &["DEL b", "APPEND big 0123456789"],
    &["INCRBY c 5", "INCRBY d -5"],
];

/// A step with a value of many sectors, so that it can be torn within.
fn large() -> Vec<String> {
    (0..3).map(|n| format!("SET large:{n} {}", "x".repeat(1_500 * (n + 1)))).collect()
}

/// What there was after each step, and how many of them were acknowledged.
struct Story {
    states: Vec<Contents>,
    /// The offset after each step, and the names of the history there: the old and the new one where it got another.
    places: Vec<(u64, Vec<ReplId>)>,
    acknowledged: usize,
}

impl Story {
    /// Whether a log that led to these data may say that they are at this place.
    fn allows(&self, moment: &Moment, recovered: &Contents) -> bool {
        self.places.iter().zip(&self.states).any(|((offset, ids), state)| {
            *offset == moment.offset && ids.contains(&moment.id) && state == recovered
        })
    }
}

/// Where in a history the log says that it leads to.
fn claimed(storage: &SimulatedStorage) -> Option<Moment> {
    let bytes = storage.read(Path::new(LOG)).unwrap();
    let mut reader = Reader::new(&bytes, 0);
    while reader.read().is_some() {}
    Moment::of_log(&reader.position())
}

/// Goes through all steps, each a transaction, until the disk is dead.
fn tell(bench: &Bench, synced: bool) -> Story {
    let node = &bench.node;
    let name = |bench: &Bench, n: u8| {
        let offset = bench.node.journal().pushed();
        bench.node.change_history(|history| history.promote(ReplId::from_random([n; 20]), offset));
        bench.node.replication().history().id
    };
    let first = (node.journal().pushed(), vec![name(bench, 0)]);
    let mut story = Story { states: vec![Contents::new()], places: vec![first], acknowledged: 0 };
    let large = large();
    let large: Vec<&str> = large.iter().map(String::as_str).collect();
    let steps = STEPS.iter().copied().chain([&large[..]]).chain([&["DEL large:2", "SET end 1"][..]]);
    for (n, step) in steps.enumerate() {
        let journal = bench.node.journal();
        if journal.is_failing() {
            break;
        }
        exec(bench, step);
        story.states.push(held(bench));
        let mut ids = vec![node.replication().history().id];
        if n % 4 == 3 {
            ids.push(name(bench, n as u8));
        }
        story.places.push((journal.pushed(), ids));
        if synced {
            drop(journal.write_and_sync())
        } else {
            journal.write()
        }
        let figures = journal.figures();
        let reached = if synced { figures.synced } else { figures.written };
        if reached >= figures.pushed {
            story.acknowledged = story.states.len() - 1;
        }
    }
    story
}

/// Lets the disk die at every call in turn, and looks at what is found by `found`.
fn at_every_call(synced: bool, found: impl Fn(&SimulatedStorage) -> Vec<SimulatedStorage>) {
    let storage = SimulatedStorage::new(1);
    let first = {
        journaled(&storage, Policy::Never);
        storage.calls()
    };
    let storage = SimulatedStorage::new(1);
    let whole = tell(&journaled(&storage, Policy::Never), synced);
    assert_eq!(whole.acknowledged + 1, whole.states.len());
    let last = storage.calls();
    let mut claims = 0;
    for call in first..=last {
        let storage = SimulatedStorage::new(call);
        let bench = journaled(&storage, Policy::Never);
        storage.stop_at(call);
        let story = tell(&bench, synced);
        // Many crashes leave the same.
        let mut seen = BTreeSet::new();
        for disk in found(&storage) {
            if !seen.insert(disk.read(Path::new(LOG)).unwrap()) {
                continue;
            }
            let recovered = replayed(&disk, &[LOG]);
            if let Some(moment) = claimed(&disk) {
                claims += 1;
                assert!(story.allows(&moment, &recovered), "call {call}: {moment:?} of {recovered:?}");
            }
            let at = story.states.iter().rposition(|state| *state == recovered);
            let at = at.unwrap_or_else(|| panic!("call {call}: half done: {recovered:?}"));
            assert!(at >= story.acknowledged, "call {call}: {at} of {} acknowledged", story.acknowledged);
        }
    }
    assert!(claims > 10, "{claims} logs say where they lead to");
}

#[test]
fn a_killed_process_loses_nothing_that_was_written() {
    at_every_call(false, |storage| vec![storage.killed()]);
}

#[test]
fn a_failed_machine_loses_nothing_that_was_synced() {
    at_every_call(true, |storage| (0..20).map(|_| storage.crashed()).collect());
}

#[test]
fn a_failed_machine_leaves_whole_steps_whatever_was_not_synced() {
    // Nothing but the start is synced: any part of the log may be missing, and blocks may be there without those before
    // them. What is read is a beginning of the story, or the damage is seen.
    let storage = SimulatedStorage::new(7);
    let bench = journaled(&storage, Policy::Never);
    let story = tell(&bench, false);
    let mut longest = 0;
    let mut seen = BTreeSet::new();
    for _ in 0..600 {
        let disk = storage.crashed();
        if !seen.insert(disk.read(Path::new(LOG)).unwrap()) {
            continue;
        }
        let Ok(recovered) = try_replayed(&disk, &[LOG], 0) else { continue };
        let at = story.states.iter().rposition(|state| *state == recovered).expect("half done");
        longest = longest.max(at);
        if let Some(moment) = claimed(&disk) {
            assert!(story.allows(&moment, &recovered), "{moment:?} of {recovered:?}");
        }
    }
    assert!(longest > 2, "only {longest} steps at best");
}
