//! Whole keys and whole databases: rename, copy, move, flush, swap.

use super::access::Keyspace;
use super::entry::Entry;
use super::shard::{Garbage, ReadyKey, Shard};
use super::value::{Value, ValueRef};
use crate::slot::Slot;
use std::ops::Range;

/// Collections of more elements than this are freed in the background when the command allows it.
const LAZY_FREE_FROM: usize = 64;

impl Keyspace<'_> {
    /// As [`read`](Self::read), but leaves the access clock alone (EXISTS, TYPE, TTL).
    pub fn read_quietly(&mut self, key: &[u8]) -> Option<ValueRef<'_>> {
        let no_touch = self.no_touch();
        self.set_no_touch(true);
        self.read(key);
        self.set_no_touch(no_touch);
        self.peek(key)
    }

    /// Removes a key; false when there is none. When `lazy`, large collections go to
    /// [`Shard::garbage`](super::Shard::garbage). Raises no event.
    pub fn remove_lazily(&mut self, key: &[u8], lazy: bool) -> bool {
        if !self.exists(key) {
            return false;
        }
        let Some(entry) = self.take_entry(key) else { return false };
        if lazy {
            self.discard(key, entry);
        }
        true
    }

    /// Gives a key another name, and replaces what has that name. Value, encoding, expiry and access clock stay.
    /// False when there is no such key. Raises no event but that of a new key.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> bool {
        self.move_to(from, to, self.db())
    }

    /// As [`rename`](Self::rename), into another database.
    pub fn move_to(&mut self, from: &[u8], to: &[u8], db: usize) -> bool {
        if !self.exists(from) {
            return false;
        }
        let Some(entry) = self.take_entry(from) else { return false };
        self.put_elsewhere(to, db, entry.renamed(to));
        true
    }

    /// Copies a key with its expiry, and replaces what has that name; false when there is no such key. O(n).
    /// Raises no event but that of a new key.
    pub fn copy_to(&mut self, from: &[u8], to: &[u8], db: usize) -> bool {
        let clock = self.fresh_clock();
        let Some(entry) = self.peek_entry(from) else { return false };
        let copy = entry.duplicate(to, clock);
        self.put_elsewhere(to, db, copy);
        true
    }

    fn put_elsewhere(&mut self, key: &[u8], db: usize, entry: Entry) {
        let here = self.db();
        self.select(db);
        let lazy = self.settings().lazyfree_lazy_server_del;
        self.remove_lazily(key, lazy);
        self.add_entry(key, entry);
        self.select(here);
    }

    /// Removes all keys of some databases: voids the transactions that watch one of them; blocked clients stay blocked,
    /// unless they need what was there. When `lazy` the tables go to [`Shard::garbage`](super::Shard::garbage). All shards must be held.
    /// Returns how many keys there were.
    pub fn flush(&mut self, dbs: Range<usize>, lazy: bool) -> usize {
        self.void_watches(|keyspace, at, key| dbs.contains(&at) && keyspace.exists_in(at, key));
        self.all_changed();
        dbs.clone().for_each(|db| self.wake_waiting(db, |keyspace, key| keyspace.exists_in(db, key)));
        let mut removed = 0;
        self.for_each_shard(|shard| {
            for db in dbs.clone() {
                removed += shard.counts(db).keys;
                let tables = shard.take_db(db);
                if lazy {
                    shard.garbage.extend(tables.into_iter().map(Garbage::Table));
                }
            }
        });
        removed
    }

    /// Removes all keys, and puts those of other shards in their place, which were filled apart: together they own every slot
    /// once, and have as many databases and the same hash. Voids the transactions that watch a key of before or after, wakes
    /// whoever waits for a key that is there now. All shards must be held, and no save may run. O(slots).
    pub fn replace_all(&mut self, filled: impl IntoIterator<Item = Shard>) {
        let databases = self.shards().next().map_or(0, Shard::databases);
        self.flush(0..databases, true);
        self.for_each_shard(Shard::reset_dbs);
        for mut other in filled {
            for slot in Slot::all() {
                if other.owns(slot) {
                    let moving = other.take_slot(slot);
                    self.shard_mut(slot).adopt_keys(slot, moving);
                }
            }
        }
        self.void_watches(Self::exists_in);
        (0..databases).for_each(|db| self.wake_waiting(db, |keyspace, key| keyspace.exists_in(db, key)));
    }

    /// What was in database `a` is in `b` from now on, and the other way round. Voids the transactions that watch
    /// a key which exists in either, wakes whoever waits for such a key. All shards must be held.
    pub fn swap_dbs(&mut self, a: usize, b: usize) {
        self.void_watches(|keyspace, at, key| {
            (at == a || at == b) && (keyspace.exists_in(a, key) || keyspace.exists_in(b, key))
        });
        self.for_each_shard(|shard| shard.swap_dbs(a, b));
        self.all_changed();
        for db in [a, b] {
            self.wake_waiting(db, |keyspace, key| keyspace.exists_in(a, key) || keyspace.exists_in(b, key));
        }
    }

    /// Puts an entry that left its table where it is freed without haste, if that takes long.
    pub(super) fn discard(&mut self, key: &[u8], entry: Entry) {
        let elements = match entry.value() {
            ValueRef::Str(_) => return,
            ValueRef::List(list) => list.len(),
            ValueRef::Set(set) => set.len(),
            ValueRef::Hash(hash) => hash.len(),
            ValueRef::ZSet(zset) => zset.len(),
            ValueRef::Stream(stream) => stream.effort_to_free(),
        };
        if elements > LAZY_FREE_FROM {
            let slot = self.slot(key);
            self.shard_mut(slot).garbage.push(Garbage::Entry(entry));
        }
    }

    /// Puts what was taken out of the value of a key where it is freed without haste.
    pub fn discard_part(&mut self, key: &[u8], part: Value) {
        self.discard(key, Entry::new(b"", part, None, 0));
    }

    fn exists_in(&self, db: usize, key: &[u8]) -> bool {
        self.peek_entry_in(db, key).is_some()
    }

    /// Voids the transactions whose watched keys (a database and a key each) are `touched`.
    fn void_watches(&self, touched: impl Fn(&Self, usize, &[u8]) -> bool) {
        for shard in self.shards() {
            for slot in Slot::all() {
                let Some(waiting) = shard.slot(slot).and_then(|data| data.waiting.as_ref()) else { continue };
                for ((db, key), flags) in &waiting.watched {
                    if touched(self, *db, key) {
                        flags.iter().for_each(|flag| flag.touch());
                    }
                }
            }
        }
    }

    /// Wakes whoever waits for a key of a database that is `concerned`.
    fn wake_waiting(&mut self, db: usize, concerned: impl Fn(&Self, &[u8]) -> bool) {
        let mut ready = Vec::new();
        for shard in self.shards() {
            for slot in Slot::all() {
                let Some(waiting) = shard.slot(slot).and_then(|data| data.waiting.as_ref()) else { continue };
                let mut keys: Vec<ReadyKey> = waiting
                    .blocked
                    .keys()
                    .filter(|(at, key)| *at == db && concerned(self, key))
                    .map(|name| ReadyKey { slot, key: name.clone() })
                    .collect();
                // The map has no order; clients are served in the same order in every run.
                keys.sort_unstable_by(|a, b| a.key.cmp(&b.key));
                ready.extend(keys);
            }
        }
        for key in ready {
            self.shard_mut(key.slot).ready.push(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::waiting::{Waiter, WatchFlag};
    use crate::keyspace::{KeyType, SetExpiry};
    use crate::reply::Reply;
    use crate::testing::Bench;
    use std::sync::Arc;

    fn with<R>(bench: &mut Bench, run: impl FnOnce(&mut Keyspace<'_>) -> R) -> R {
        let now_ms = bench.now_ms;
        run(&mut Keyspace::one(&mut bench.shard, &bench.settings, bench.db, now_ms))
    }

    fn watch(bench: &mut Bench, db: usize, key: &[u8]) -> Arc<WatchFlag> {
        let flag = Arc::new(WatchFlag::default());
        with(bench, |keyspace| {
            keyspace.select(db);
            keyspace.watch(key, &flag);
        });
        flag
    }

    #[test]
    fn a_flush_voids_watches_of_keys_that_were_there() {
        let mut bench = Bench::new();
        with(&mut bench, |keyspace| keyspace.put_string(b"there", b"v", SetExpiry::Clear));
        let (there, absent) = (watch(&mut bench, 0, b"there"), watch(&mut bench, 0, b"absent"));
        let other_db = watch(&mut bench, 1, b"there");
        assert_eq!(with(&mut bench, |keyspace| keyspace.flush(0..1, true)), 1);
        assert!(there.is_touched() && !absent.is_touched() && !other_db.is_touched());
        assert_eq!(bench.shard.garbage.len(), 1);
        assert_eq!(bench.shard.counts(0).keys, 0);
    }

    #[test]
    fn a_replacement_leaves_the_new_keys_and_whoever_waits() {
        let mut bench = Bench::new();
        with(&mut bench, |keyspace| {
            keyspace.put_string(b"old", b"v", SetExpiry::At(i64::MAX));
            keyspace.swap_dbs(0, 1);
        });
        let mut other = Bench::new();
        with(&mut other, |keyspace| keyspace.put_string(b"new", b"w", SetExpiry::Clear));
        let (old, new, absent) =
            (watch(&mut bench, 1, b"old"), watch(&mut bench, 0, b"new"), watch(&mut bench, 0, b"absent"));
        let filled = std::mem::replace(&mut other.shard, Bench::new().shard);
        with(&mut bench, |keyspace| keyspace.replace_all([filled]));
        assert!(old.is_touched() && new.is_touched() && !absent.is_touched());
        let counts = |db| (bench.shard.counts(db).keys, bench.shard.counts(db).volatile);
        assert_eq!((counts(0), counts(1)), ((1, 0), (0, 0)));
        assert_eq!(bench.run("GET new"), "\"w\"");
        assert_eq!(bench.run("GET old"), "nil");
    }

    #[test]
    fn a_swap_voids_watches_and_wakes_those_who_wait() {
        let mut bench = Bench::new();
        with(&mut bench, |keyspace| {
            keyspace.select(1);
            keyspace.put_string(b"k", b"v", SetExpiry::Clear);
        });
        let (here, there, elsewhere) =
            (watch(&mut bench, 0, b"k"), watch(&mut bench, 1, b"k"), watch(&mut bench, 2, b"k"));
        let waiter = Arc::new(Waiter::new(
            1,
            Vec::new(),
            |_, _| Ok(Reply::Ok),
            0,
            false,
            KeyType::List,
            vec![Box::from(&b"k"[..])],
            Box::new(|_| Ok(())),
            Box::new(|_| {}),
        ));
        with(&mut bench, |keyspace| {
            keyspace.wait(&waiter);
            keyspace.swap_dbs(0, 1);
        });
        assert!(here.is_touched() && there.is_touched() && !elsewhere.is_touched());
        assert_eq!(bench.shard.ready.len(), 1);
        assert_eq!(bench.shard.ready[0].key, (0, Box::from(&b"k"[..])));
        assert_eq!((bench.shard.counts(0).keys, bench.shard.counts(1).keys), (1, 0));
    }
}
