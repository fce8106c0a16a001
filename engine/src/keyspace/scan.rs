//! Walks over all keys: SCAN, KEYS, RANDOMKEY.
//!
//! A SCAN cursor is `slot << 48 | order`: slots in their order, in a slot the order of [`crate::table`]. It needs no
//! state, and it stays valid when slots move between cores: they share the hash.

use super::access::Keyspace;
use super::entry::Entry;
use crate::error::CommandError;
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

/// Builds what a step from `cursor` will look at, as far as it is still in a file.
///
/// # Errors
/// One of the slots is damaged.
pub fn build_ahead(keyspace: &mut Keyspace<'_>, cursor: u64, count: usize) -> Result<(), CommandError> {
    let mut left = count.max(1) as isize;
    let mut at = (cursor >> ORDER_BITS) as usize;
    while let Some(slot) = Slot::new(at).filter(|_| left > 0) {
        if !keyspace.shards().any(|shard| shard.has_stored()) {
            break;
        }
        keyspace.build_slot(slot)?;
        // Of the first slot some may be behind the cursor.
        if at != (cursor >> ORDER_BITS) as usize {
            left -= keyspace.shard(slot).slot_len(slot, keyspace.db()) as isize;
        }
        at += 1;
    }
    Ok(())
}

/// All entries of the current database, or of one slot in it; expired ones too. All shards must be held.
pub fn all<'k>(keyspace: &'k Keyspace<'_>, only: Option<Slot>) -> impl Iterator<Item = &'k Entry> {
    let (from, to) = only.map_or((0, SLOTS), |slot| (slot.index(), slot.index() + 1));
    (from..to).filter_map(Slot::new).flat_map(move |slot| {
        let shard = keyspace.shard(slot);
        let db = shard.slot(slot).and_then(|data| data.db(shard.physical(keyspace.db())));
        db.into_iter().flat_map(|db| db.table.iter())
    })
}

/// A random entry of the current database, which may have expired: each slot by its number of keys, then
/// uniform. All shards must be held.
///
/// # Errors
/// The slot that was drawn is damaged.
pub fn random<'k>(keyspace: &'k mut Keyspace<'_>, rng: &mut Rng) -> Result<Option<&'k Entry>, CommandError> {
    let Some(slot) = random_slot(keyspace, rng) else { return Ok(None) };
    keyspace.build_slot(slot)?;
    let shard = keyspace.shard(slot);
    let db = shard.slot(slot).and_then(|data| data.db(shard.physical(keyspace.db())));
    Ok(db.and_then(|db| db.table.random(rng)))
}

fn random_slot(keyspace: &Keyspace<'_>, rng: &mut Rng) -> Option<Slot> {
    let total: usize = keyspace.shards().map(|shard| shard.counts(keyspace.db()).keys).sum();
    let mut nth = rng.below(total);
    Slot::all().find(|slot| {
        let len = keyspace.shard(*slot).slot_len(*slot, keyspace.db());
        let found = nth < len;
        nth = nth.wrapping_sub(len);
        found
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{SetExpiry, Shard};
    use crate::settings::Settings;
    use crate::testing::Bench;
    use std::collections::HashMap;

    fn put(shard: &mut Shard, key: &str) {
        Keyspace::one(shard, &Settings::default(), 0, 0).put_string(key.as_bytes(), b"v", SetExpiry::Clear);
    }

    fn remove(shard: &mut Shard, key: &str) {
        Keyspace::one(shard, &Settings::default(), 0, 0).remove(key.as_bytes());
    }

    /// One whole scan; `between` runs after each step. How often each key came up.
    fn scan(
        shard: &mut Shard,
        count: usize,
        mut between: impl FnMut(&mut Shard, usize),
    ) -> HashMap<String, usize> {
        let (mut seen, mut cursor) = (HashMap::new(), 0);
        for n in 0.. {
            let settings = Settings::default();
            cursor = step(&Keyspace::one(shard, &settings, 0, 0), cursor, count, |entry| {
                *seen.entry(String::from_utf8_lossy(entry.key()).into_owned()).or_default() += 1;
            });
            between(shard, n);
            if cursor == 0 {
                break;
            }
        }
        seen
    }

    #[test]
    fn what_stays_is_seen_once_while_all_else_changes() {
        for count in [1, 10, 333] {
            let mut shard = Bench::new().shard;
            let stay: Vec<String> =
                (0..700).flat_map(|i| [format!("key{i}"), format!("{{giant}}{i}")]).collect();
            for key in &stay {
                put(&mut shard, key);
            }
            let seen = scan(&mut shard, count, |shard, n| {
                // Grows for a while, then shrinks back; in one slot above all.
                for i in 0..20 {
                    if n < 150 {
                        put(shard, &format!("{{giant}}new{}", n * 20 + i));
                        put(shard, &format!("new{}", n * 20 + i));
                    } else if n < 300 {
                        remove(shard, &format!("{{giant}}new{}", (n - 150) * 20 + i));
                        remove(shard, &format!("new{}", (n - 150) * 20 + i));
                    }
                }
            });
            for key in &stay {
                assert_eq!(seen.get(key), Some(&1), "{key} with COUNT {count}");
            }
        }
    }

    #[test]
    fn a_step_is_about_as_long_as_asked_for() {
        let mut shard = Bench::new().shard;
        for i in 0..5_000 {
            put(&mut shard, &format!("{{giant}}{i}"));
            put(&mut shard, &format!("k{i}"));
        }
        let settings = Settings::default();
        let keyspace = Keyspace::one(&mut shard, &settings, 0, 0);
        let mut cursor = 0;
        loop {
            let mut emitted = 0;
            cursor = step(&keyspace, cursor, 10, |_| emitted += 1);
            if cursor == 0 {
                break;
            }
            assert!((10..=12).contains(&emitted), "{emitted}");
        }
        assert_eq!(all(&keyspace, None).count(), 10_000);
    }

    #[test]
    fn a_strange_cursor_does_no_harm() {
        let mut shard = Bench::new().shard;
        put(&mut shard, "k");
        let settings = Settings::default();
        let keyspace = Keyspace::one(&mut shard, &settings, 0, 0);
        for cursor in [1, u64::MAX, 1 << 62, (1 << 62) - 1, 1 << 48, (1 << 48) - 1] {
            step(&keyspace, cursor, 10, |_| ());
        }
    }

    #[test]
    fn random_picks_follow_the_number_of_keys() {
        let mut shard = Bench::new().shard;
        for i in 0..50 {
            put(&mut shard, &format!("{{giant}}{i}"));
            put(&mut shard, &format!("k{i}"));
        }
        let settings = Settings::default();
        let mut keyspace = Keyspace::one(&mut shard, &settings, 0, 0);
        let mut rng = Rng::seeded(1);
        let mut counts: HashMap<Vec<u8>, i32> = HashMap::new();
        for _ in 0..10_000 {
            *counts.entry(random(&mut keyspace, &mut rng).unwrap().unwrap().key().to_vec()).or_default() += 1;
        }
        assert_eq!(counts.len(), 100);
        assert!(counts.values().all(|n| (50..160).contains(n)), "{counts:?}");
    }
}
