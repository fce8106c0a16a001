//! Active expiry: finds keys and hash fields whose time has come though nobody asks for them.
//!
//! Each database of a slot knows how many of its entries are volatile and before when none is due, so a walk
//! skips most slots for the cost of a glance. A slot in which little was due is not looked at again at once:
//! the pause grows with the number of volatile keys, which bounds the work per second.

use super::access::{Keyspace, due_of, is_volatile};
use super::notify::Class;
use super::value::ValueRef;
use crate::slot::{SLOTS, Slot};

/// A walk may look at so many volatile keys per millisecond and shard.
const KEYS_PER_MS: i64 = 2_000;

/// How a step of the active expiry ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Keys and fields that went.
    pub expired: usize,
    /// The walk has been through all slots: nothing more is due now.
    pub done: bool,
}

/// One step over the held shard: looks at about `budget` entries at most.
pub fn step(keyspace: &mut Keyspace<'_>, budget: usize) -> Step {
    let mut step = Step { expired: 0, done: false };
    let (Some((start, databases)), now_ms) =
        (keyspace.shards().next().map(|s| (s.expire_at, s.databases())), keyspace.now_ms())
    else {
        return step;
    };
    let mut looked_at = 0;
    for at in start..SLOTS {
        let Some(slot) = Slot::new(at) else { break };
        for db in 0..databases {
            let due = keyspace.shards().next().and_then(|shard| {
                let found = shard.slot(slot)?.db(shard.physical(db))?;
                (found.volatile > 0 && found.due_ms <= now_ms).then_some(found.table.len())
            });
            if let Some(len) = due {
                keyspace.select(db);
                step.expired += sweep(keyspace, slot, db);
                looked_at += len;
            }
        }
        if looked_at >= budget {
            set_start(keyspace, at + 1);
            return step;
        }
    }
    set_start(keyspace, 0);
    step.done = true;
    step
}

fn set_start(keyspace: &mut Keyspace<'_>, at: usize) {
    if let Some(shard) = keyspace.nth_shard_mut(0) {
        shard.expire_at = if at < SLOTS { at } else { 0 };
    }
}

/// Removes what is due in one database of one slot.
fn sweep(keyspace: &mut Keyspace<'_>, slot: Slot, db: usize) -> usize {
    let now_ms = keyspace.now_ms();
    let (mut due, mut next, mut volatile) = (Vec::new(), i64::MAX, 0);
    let shard = keyspace.shard(slot);
    let Some(found) = shard.slot(slot).and_then(|data| data.db(shard.physical(db))) else { return 0 };
    for entry in found.table.iter().filter(|entry| is_volatile(entry)) {
        volatile += 1;
        let at = due_of(entry);
        if at <= now_ms {
            due.push((Box::<[u8]>::from(entry.key()), entry.expiry().is_some_and(|at| at <= now_ms)));
        } else {
            next = next.min(at);
        }
    }
    let few = due.len() * 16 < volatile;
    for (key, whole) in &due {
        if *whole {
            keyspace.expire(key);
        } else {
            expire_fields(keyspace, key);
        }
    }
    let total = shard_volatile(keyspace, slot, db);
    let pause = if few { total as i64 / KEYS_PER_MS } else { 0 };
    let shard = keyspace.shard_mut(slot);
    let physical = shard.physical(db);
    shard.slot_mut(slot).db_mut(physical).due_ms = next.max(now_ms + pause);
    due.len()
}

fn shard_volatile(keyspace: &Keyspace<'_>, slot: Slot, db: usize) -> usize {
    keyspace.shard(slot).counts(db).volatile
}

/// Removes the fields of a hash whose time has come, and the hash when none is left.
pub fn expire_fields(keyspace: &mut Keyspace<'_>, key: &[u8]) {
    let now_ms = keyspace.now_ms();
    let mut gone: Vec<Vec<u8>> = Vec::new();
    let before = matches!(keyspace.peek(key), Some(ValueRef::Hash(hash)) if hash.volatile_fields() > 0);
    let slot = keyspace.slot(key);
    let hasher = keyspace.shard(slot).hasher().clone();
    let Ok(Some(hash)) = keyspace.hash_mut(key) else { return };
    hash.expire_due(now_ms, usize::MAX, &hasher, |field| gone.push(field.to_vec()));
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
