//! Active expiry: finds keys and hash fields whose time has come though nobody asks for them.
//!
//! Each database of a slot knows how many of its entries are volatile and before when none is due, so a walk
//! skips most slots for the cost of a glance. A slot in which little was due is not looked at again at once:
//! the pause grows with the number of volatile keys, which bounds the work per second.
//!
//! A step looks at no more entries than it may, and the next one goes on in the middle of a slot, however many
//! keys a slot has.

use super::access::{Keyspace, due_of, volatile};
use super::notify::Class;
use super::shard::{Inside, Walk};
use crate::slot::Slot;
use smallvec::SmallVec;

/// A walk may look at so many volatile keys per millisecond and shard.
const KEYS_PER_MS: i64 = 1_000;
/// Of one hash, a step removes so many fields; the rest is due at once again.
const FIELDS_MAX: usize = 1_000;
/// A table pauses when less than one of so many volatile entries was due.
const FEW: usize = 16;

/// How a step of the active expiry ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Keys that went, and hashes that lost fields.
    pub expired: usize,
    /// The walk has been through all slots: nothing more is due now.
    pub done: bool,
}

/// One step over the held shard: looks at `budget` entries at most (and 1 at least).
pub fn step(keyspace: &mut Keyspace<'_>, budget: usize) -> Step {
    let here = keyspace.db();
    let step = walk(keyspace, budget.max(1));
    keyspace.select(here);
    step
}

/// One step over what expires on a replica by itself: the keys that its own clients gave a time to live. At most `budget` of them.
pub fn step_own(keyspace: &mut Keyspace<'_>, budget: usize) -> Step {
    let (here, now_ms) = (keyspace.db(), keyspace.now_ms());
    let mut step = Step { expired: 0, done: false };
    for _ in 0..budget.max(1) {
        let Some(shard) = keyspace.nth_shard_mut(0) else { break };
        let Some((slot, physical, key)) = shard.own_keys.pop_due(now_ms) else {
            step.done = true;
            break;
        };
        let Some(db) = (0..shard.databases()).find(|db| shard.physical(*db) == physical) else { continue };
        keyspace.select(db);
        match keyspace.stored_entry(&key).and_then(super::entry::Entry::expiry) {
            Some(due_ms) if due_ms <= now_ms => {
                keyspace.expire(&key);
                step.expired += 1;
            }
            Some(due_ms) => {
                if let Some(shard) = keyspace.nth_shard_mut(0) {
                    shard.own_keys.note((slot, physical, key), due_ms);
                }
            }
            None => {}
        }
    }
    keyspace.select(here);
    step
}

fn walk(keyspace: &mut Keyspace<'_>, mut budget: usize) -> Step {
    let mut step = Step { expired: 0, done: true };
    let Some(shard) = keyspace.shards().next() else { return step };
    let mut at = shard.expire_walk;
    let is_whole = at == Walk::default();
    if is_whole && keyspace.now_ms() < shard.quiet_until_ms {
        return step;
    }
    let mut next_ms = i64::MAX;
    let volatile: SmallVec<[usize; 16]> =
        (0..shard.databases()).filter(|db| shard.counts(*db).volatile > 0).collect();
    if !volatile.is_empty() {
        while let Some(slot) = Slot::new(at.slot) {
            for &db in volatile.iter().filter(|db| **db >= at.db) {
                let Some(due_ms) = due_at(keyspace, slot, db) else { continue };
                if due_ms > keyspace.now_ms() {
                    next_ms = next_ms.min(due_ms);
                    continue;
                }
                if budget == 0 {
                    return stop_at(keyspace, Walk { slot: slot.index(), db, inside: None }, step);
                }
                keyspace.select(db);
                let looked = sweep(keyspace, slot, budget);
                step.expired += looked.expired;
                budget = budget.saturating_sub(looked.entries);
                if let Some(inside) = looked.inside {
                    return stop_at(keyspace, Walk { slot: slot.index(), db, inside: Some(inside) }, step);
                }
                next_ms = next_ms.min(due_at(keyspace, slot, db).unwrap_or(i64::MAX));
            }
            at = Walk { slot: slot.index() + 1, db: 0, inside: None };
        }
    }
    set_walk(keyspace, Walk::default());
    if let Some(shard) = keyspace.nth_shard_mut(0).filter(|_| is_whole) {
        shard.quiet_until_ms = next_ms;
    }
    step
}

fn stop_at(keyspace: &mut Keyspace<'_>, walk: Walk, step: Step) -> Step {
    set_walk(keyspace, walk);
    Step { done: false, ..step }
}

fn set_walk(keyspace: &mut Keyspace<'_>, walk: Walk) {
    if let Some(shard) = keyspace.nth_shard_mut(0) {
        shard.expire_walk = walk;
    }
}

/// When a database of a slot has to be looked at, if anything in it expires.
fn due_at(keyspace: &Keyspace<'_>, slot: Slot, db: usize) -> Option<i64> {
    let shard = keyspace.shards().next()?;
    let db = shard.slot(slot)?.db(shard.physical(db))?;
    (db.volatile > 0).then_some(db.due_ms)
}

/// What a sweep has done.
struct Looked {
    entries: usize,
    expired: usize,
    /// Where to go on, if the table is not through.
    inside: Option<Inside>,
}

/// Removes what is due in the current database of a slot, looking at `budget` entries at most.
fn sweep(keyspace: &mut Keyspace<'_>, slot: Slot, budget: usize) -> Looked {
    let (now_ms, db) = (keyspace.now_ms(), keyspace.db());
    let shard = keyspace.shard(slot);
    let physical = shard.physical(db);
    let mut looked = Looked { entries: 0, expired: 0, inside: None };
    let Some(found) = shard.slot(slot).and_then(|data| data.db(physical)) else { return looked };
    let walk = shard.expire_walk;
    let mut inside = walk
        .inside
        .filter(|inside| walk.slot == slot.index() && inside.physical == physical)
        .unwrap_or(Inside { physical, cursor: 0, next_ms: i64::MAX, volatile: 0, due: 0 });
    // A key by itself, and whether all of it is due or only fields of its hash.
    let mut due: Vec<(Box<[u8]>, bool)> = Vec::new();
    let hasher = shard.hasher();
    inside.cursor = found.table.scan(
        inside.cursor,
        budget,
        |entry| hasher.hash(entry.key()),
        |entry| {
            looked.entries += 1;
            if !volatile(entry).any() {
                return;
            }
            inside.volatile += 1;
            let at = due_of(entry);
            if at <= now_ms {
                due.push((entry.key().into(), entry.expiry().is_some_and(|at| at <= now_ms)));
            } else {
                inside.next_ms = inside.next_ms.min(at);
            }
        },
    );
    inside.due += due.len();
    looked.expired = due.len();
    // From here on the shard knows where the walk is: whatever becomes due meanwhile lowers `next_ms`.
    set_walk(keyspace, Walk { slot: slot.index(), db, inside: Some(inside) });
    for (key, whole) in &due {
        if *whole {
            keyspace.expire(key);
        } else {
            expire_fields(keyspace, key);
        }
    }
    let shard = keyspace.shard_mut(slot);
    let inside = shard.expire_walk.inside.unwrap_or(inside);
    if inside.cursor != 0 {
        looked.inside = Some(inside);
        return looked;
    }
    let pause =
        if inside.due * FEW < inside.volatile { shard.counts(db).volatile as i64 / KEYS_PER_MS } else { 0 };
    shard.slot_mut(slot).db_mut(physical).due_ms = inside.next_ms.max(now_ms + pause);
    set_walk(keyspace, Walk { slot: slot.index(), db, inside: None });
    looked
}

/// Removes fields of a hash whose time has come, a bounded number at once, and the hash when none is left.
pub fn expire_fields(keyspace: &mut Keyspace<'_>, key: &[u8]) {
    use super::value::ValueMut;
    let now_ms = keyspace.now_ms();
    let slot = keyspace.slot(key);
    let hasher = keyspace.shard(slot).hasher().clone();
    let mut gone: Vec<Vec<u8>> = Vec::new();
    let Some(entry) = keyspace.entry_mut(key) else { return };
    let before = volatile(entry).fields;
    match entry.value_mut_of_collection() {
        Some(ValueMut::Hash(hash)) => {
            hash.expire_due(now_ms, FIELDS_MAX, &hasher, |field| gone.push(field.to_vec()));
        }
        _ => return,
    }
    if gone.is_empty() {
        return;
    }
    keyspace.hash_expiry_changed(key, before);
    keyspace.shard_mut(slot).stats.expired_fields += gone.len() as u64;
    let mut effect: Vec<&[u8]> = vec![b"HDEL", key];
    effect.extend(gone.iter().map(Vec::as_slice));
    keyspace.propagate_also(&effect);
    keyspace.notify(Class::Hash, "hexpired", key);
    keyspace.remove_if_empty(key);
    keyspace.signal(key);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::SetExpiry;
    use crate::testing::Bench;
    use std::collections::HashSet;

    const START: i64 = 1_700_000_000_000;

    fn with<R>(bench: &mut Bench, run: impl FnOnce(&mut Keyspace<'_>) -> R) -> R {
        let now_ms = bench.now_ms;
        run(&mut Keyspace::one(&mut bench.shard, &bench.settings, bench.db, now_ms))
    }

    fn put(bench: &mut Bench, key: &str, at: i64) {
        with(bench, |keyspace| keyspace.put_string(key.as_bytes(), b"v", SetExpiry::At(at)));
    }

    /// Steps until a walk is through; how many steps it took.
    fn walk_through(bench: &mut Bench, budget: usize) -> usize {
        for n in 1..100_000 {
            if with(bench, |keyspace| step(keyspace, budget)).done {
                return n;
            }
        }
        panic!("the walk does not end");
    }

    #[test]
    fn everything_due_goes_in_bounded_steps() {
        for budget in [1, 7, 100, 100_000] {
            let mut bench = Bench::new();
            for db in 0..2 {
                bench.db = db;
                for i in 0..150 {
                    put(&mut bench, &format!("k{i}"), START + 10 + i64::from(i % 3) * 1_000);
                    put(&mut bench, &format!("{{giant}}{i}"), START + 10 + i64::from(i % 3) * 1_000);
                }
            }
            walk_through(&mut bench, budget);
            assert_eq!(bench.shard.counts(0).keys, 300, "nothing is due yet");
            for (later, left) in [(10, 200), (1_010, 100), (2_010, 0)] {
                bench.now_ms = START + later;
                let steps = walk_through(&mut bench, budget);
                assert!(steps >= 100 / budget, "a step of {budget} looked at more than it may");
                assert_eq!(
                    (bench.shard.counts(0).keys, bench.shard.counts(1).keys),
                    (left, left),
                    "budget {budget}"
                );
                assert_eq!(bench.shard.counts(0).volatile, left);
            }
            assert_eq!(bench.shard.stats.expired, 600);
        }
    }

    #[test]
    fn what_becomes_volatile_behind_the_walk_is_not_forgotten() {
        let mut bench = Bench::new();
        for i in 0..1_000 {
            put(&mut bench, &format!("{{giant}}{i}"), START + 5);
        }
        bench.now_ms = START + 5;
        let first = with(&mut bench, |keyspace| step(keyspace, 100));
        assert!(!first.done && first.expired == 100);
        for i in 0..200 {
            put(&mut bench, &format!("{{giant}}new{i}"), START + 20);
        }
        walk_through(&mut bench, 100);
        assert_eq!(bench.shard.counts(0).keys, 200);
        bench.now_ms = START + 20;
        walk_through(&mut bench, 100);
        assert_eq!(bench.shard.counts(0).keys, 0);
    }

    #[test]
    fn an_idle_slot_costs_a_glance() {
        let mut bench = Bench::new();
        for i in 0..5_000 {
            put(&mut bench, &format!("{{giant}}{i}"), START + 1_000_000);
        }
        put(&mut bench, "{giant}soon", START + 5);
        bench.now_ms = START + 5;
        assert!(walk_through(&mut bench, 1_000) >= 6);
        assert_eq!(bench.shard.counts(0).keys, 5_000);
        put(&mut bench, "{giant}soon", START + 6);
        bench.now_ms = START + 6;
        assert!(walk_through(&mut bench, 1_000) >= 6, "a key that comes while the slot pauses is still seen");
        bench.now_ms += 1_000;
        assert_eq!(walk_through(&mut bench, 1), 1, "nothing is due");
    }

    #[test]
    fn a_swap_of_databases_in_the_middle_loses_nothing() {
        let mut bench = Bench::new();
        for db in 0..2 {
            bench.db = db;
            for i in 0..500 {
                put(&mut bench, &format!("{{giant}}{i}"), START + 5);
            }
        }
        bench.now_ms = START + 5;
        with(&mut bench, |keyspace| step(keyspace, 300));
        with(&mut bench, |keyspace| keyspace.swap_dbs(0, 1));
        walk_through(&mut bench, 300);
        walk_through(&mut bench, 300);
        assert_eq!(bench.shard.counts(0).keys + bench.shard.counts(1).keys, 0);
    }

    #[test]
    fn fields_go_in_bounded_steps() {
        let mut bench = Bench::new();
        let fields = 2 * FIELDS_MAX;
        for i in 0..fields {
            bench.run(&format!("HSET h f{i} v"));
            bench.run(&format!("HPEXPIRE h {} FIELDS 1 f{i}", if i < fields / 4 { 5 } else { 9 }));
        }
        bench.run("HSET h stays v");
        let left = |bench: &mut Bench, later: i64| {
            bench.now_ms = START + later;
            with(bench, |keyspace| step(keyspace, 10));
            bench.run("HLEN h").parse::<usize>().unwrap_or_default()
        };
        assert_eq!(left(&mut bench, 5), fields + 1, "a field lives through the millisecond of its deadline");
        assert_eq!(left(&mut bench, 6), fields / 4 * 3 + 1);
        assert_eq!(left(&mut bench, 9), fields / 4 * 3 + 1);
        assert_eq!(left(&mut bench, 10), fields / 4 * 3 + 1 - FIELDS_MAX);
        assert_eq!(left(&mut bench, 10), 1);
        assert_eq!(bench.shard.counts(0).volatile, 0);
        assert_eq!(bench.shard.stats.expired_fields, fields as u64);
    }

    #[test]
    fn effects_and_events_name_each_key_once_with_its_database() {
        let mut bench = Bench::new();
        bench.db = 3;
        put(&mut bench, "a", START + 5);
        put(&mut bench, "b", START + 5);
        bench.db = 0;
        bench.now_ms = START + 5;
        bench.effects();
        bench.events();
        walk_through(&mut bench, 10);
        let effects: HashSet<String> = bench.effects().into_iter().collect();
        assert_eq!(effects, ["3: UNLINK a", "3: UNLINK b"].map(str::to_owned).into());
        assert_eq!(bench.events().len(), 2);
    }
}
