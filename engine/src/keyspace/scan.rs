//! Walks over all keys: SCAN, KEYS, RANDOMKEY.
//!
//! A SCAN cursor is `slot << 48 | order`: slots in their order, in a slot the order of [`crate::table`]. It needs no
//! state, and it stays valid when slots move between cores: they share the hash.

use super::access::Keyspace;
use super::entry::Entry;
use crate::random::Rng;
use crate::slot::{SLOTS, Slot};
use crate::table::ORDER_BITS;

/// One step of a scan of the current database: emits at least `count` entries (expired ones too) unless the end comes
/// first; returns the cursor to go on with, 0 at the end. All shards must be held.
pub fn step<'k>(
    keyspace: &'k Keyspace<'_>,
    cursor: u64,
    count: usize,
    mut emit: impl FnMut(&'k Entry),
) -> u64 {
    let (mut at, mut order) = ((cursor >> ORDER_BITS) as usize, cursor & ((1 << ORDER_BITS) - 1));
    let mut left = count.max(1);
    while let Some(slot) = Slot::new(at) {
        let shard = keyspace.shard(slot);
        if let Some(db) = shard.slot(slot).and_then(|data| data.db(shard.physical(keyspace.db()))) {
            let hasher = shard.hasher();
            let mut emitted = 0;
            order = db.table.scan(
                order,
                left,
                |entry| hasher.hash(entry.key()),
                |entry| {
                    emitted += 1;
                    emit(entry);
                },
            );
            left = left.saturating_sub(emitted);
            if order != 0 {
                return (at as u64) << ORDER_BITS | order;
            }
        }
        (at, order) = (at + 1, 0);
        if left == 0 && at < SLOTS {
            return (at as u64) << ORDER_BITS;
        }
    }
    0
}

/// All entries of the current database, expired ones too. All shards must be held.
pub fn all<'k>(keyspace: &'k Keyspace<'_>) -> impl Iterator<Item = &'k Entry> {
    Slot::all().flat_map(move |slot| {
        let shard = keyspace.shard(slot);
        let db = shard.slot(slot).and_then(|data| data.db(shard.physical(keyspace.db())));
        db.into_iter().flat_map(|db| db.table.iter())
    })
}

/// A random entry of the current database, which may have expired: each slot by its number of keys, then
/// uniform. All shards must be held.
pub fn random<'k>(keyspace: &'k Keyspace<'_>, rng: &mut Rng) -> Option<&'k Entry> {
    let total: usize = keyspace.shards().map(|shard| shard.counts(keyspace.db()).keys).sum();
    let mut nth = rng.below(total);
    for slot in Slot::all() {
        let shard = keyspace.shard(slot);
        let len = shard.slot_len(slot, keyspace.db());
        if nth < len {
            return shard.slot(slot)?.db(shard.physical(keyspace.db()))?.table.random(rng);
        }
        nth -= len;
    }
    None
}
