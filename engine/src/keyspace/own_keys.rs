//! Keys of a writable replica that its own clients gave a time to live. The primary does not know of them and will never say
//! that they are over, so they go here when they are due; all other keys of a replica stay until the primary removes them.

use crate::slot::Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A key: its slot, its physical database, its name.
pub(super) type OwnKey = (u16, usize, Arc<[u8]>);

/// The own keys of a shard. Who is in it may be gone or have another expiry: that is found out when it is due.
#[derive(Debug, Default)]
pub(super) struct OwnKeys {
    due_ms: BTreeMap<OwnKey, i64>,
    queue: BTreeSet<(i64, OwnKey)>,
}

impl OwnKeys {
    /// Whether there is none. One look.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// This key is due at that time.
    pub fn note(&mut self, key: OwnKey, due_ms: i64) {
        if let Some(before_ms) = self.due_ms.insert(key.clone(), due_ms) {
            self.queue.remove(&(before_ms, key.clone()));
        }
        self.queue.insert((due_ms, key));
    }

    /// Takes the next key out that is due.
    pub fn pop_due(&mut self, now_ms: i64) -> Option<OwnKey> {
        self.queue.first().filter(|(due_ms, _)| *due_ms <= now_ms)?;
        let (_, key) = self.queue.pop_first()?;
        self.due_ms.remove(&key);
        Some(key)
    }

    /// Takes the keys of a slot out, which goes to another shard.
    pub fn take_slot(&mut self, slot: Slot) -> Vec<(OwnKey, i64)> {
        if self.is_empty() {
            return Vec::new();
        }
        let number = slot.index() as u16;
        self.take_if(|key| key.0 == number)
    }

    /// All keys of a physical database are gone.
    pub fn forget_db(&mut self, physical: usize) {
        if !self.is_empty() {
            self.take_if(|key| key.1 == physical);
        }
    }

    fn take_if(&mut self, is_meant: impl Fn(&OwnKey) -> bool) -> Vec<(OwnKey, i64)> {
        let meant = self.due_ms.iter().filter(|(key, _)| is_meant(key));
        let taken: Vec<_> = meant.map(|(key, due_ms)| (key.clone(), *due_ms)).collect();
        for (key, due_ms) in &taken {
            self.due_ms.remove(key);
            self.queue.remove(&(*due_ms, key.clone()));
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use crate::keyspace::{Keyspace, SetExpiry, expire};
    use crate::testing::Bench;

    const START: i64 = 1_700_000_000_000;

    /// What a client of a replica does, or its primary.
    fn with<R>(bench: &mut Bench, own: bool, run: impl FnOnce(&mut Keyspace<'_>) -> R) -> R {
        let now_ms = bench.now_ms;
        let mut keyspace = Keyspace::one(&mut bench.shard, &bench.settings, bench.db, now_ms);
        keyspace.set_own_write(own);
        run(&mut keyspace)
    }

    fn put(bench: &mut Bench, own: bool, key: &str, after_ms: i64) {
        let at = bench.now_ms + after_ms;
        with(bench, own, |keyspace| keyspace.put_string(key.as_bytes(), b"v", SetExpiry::At(at)));
    }

    fn left(bench: &mut Bench, after_ms: i64) -> (usize, usize) {
        bench.now_ms = START + after_ms;
        while !with(bench, false, |keyspace| expire::step_own(keyspace, 2)).done {}
        (bench.shard.counts(0).keys, bench.shard.counts(1).keys)
    }

    #[test]
    fn own_keys_go_and_those_of_the_primary_stay() {
        let mut bench = Bench::new();
        (0..5).for_each(|n| put(&mut bench, false, &format!("primary:{n}"), 10));
        (0..5).for_each(|n| put(&mut bench, true, &format!("own:{n}"), 10));
        put(&mut bench, true, "later", 10);
        with(&mut bench, true, |keyspace| keyspace.set_expiry(b"later", Some(START + 20)));
        put(&mut bench, true, "lasting", 10);
        with(&mut bench, true, |keyspace| keyspace.set_expiry(b"lasting", None));
        // The primary puts off what a client here gave a time: it is still looked after here.
        put(&mut bench, true, "both", 10);
        with(&mut bench, false, |keyspace| keyspace.set_expiry(b"both", Some(START + 30)));
        // A value that changes and keeps the primary's expiry is still the primary's.
        with(&mut bench, true, |keyspace| keyspace.put_string(b"primary:0", b"long enough", SetExpiry::Keep));
        with(&mut bench, true, |keyspace| keyspace.put_string(b"primary:1", &[b'x'; 500], SetExpiry::Keep));
        bench.db = 1;
        put(&mut bench, true, "own", 10);
        bench.shard.swap_dbs(0, 1);
        bench.shard.swap_dbs(0, 1);
        bench.db = 0;
        assert_eq!(left(&mut bench, 9), (13, 1));
        assert_eq!(left(&mut bench, 10), (8, 0));
        assert_eq!(left(&mut bench, 20), (7, 0));
        assert_eq!(left(&mut bench, 30), (6, 0));
        assert_eq!(left(&mut bench, 1_000), (6, 0));
        assert_eq!(bench.shard.stats.expired, 8);
    }

    #[test]
    fn they_move_with_their_slot_and_go_with_their_database() {
        let mut bench = Bench::new();
        put(&mut bench, true, "moves", 10);
        put(&mut bench, true, "flushed", 10);
        let slot = crate::slot::Slot::of(b"moves");
        let moving = bench.shard.take_slot(slot);
        assert_eq!(left(&mut bench, 10), (0, 0));
        bench.shard.put_slot(slot, moving);
        assert_eq!(bench.shard.counts(0).keys, 1);
        assert_eq!(left(&mut bench, 10), (0, 0));
        put(&mut bench, true, "flushed", 10);
        with(&mut bench, false, |keyspace| keyspace.flush(0..1, false));
        put(&mut bench, false, "flushed", 10);
        assert_eq!(left(&mut bench, 1_000), (1, 0), "it is the primary's now");
    }
}
