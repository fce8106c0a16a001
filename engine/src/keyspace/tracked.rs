//! Keys that somebody keeps copies of (client-side caching): who has read which, and what has changed since.
//!
//! Names alone count, not databases: a change of a key is told to whoever has read a key of this name in any database, as
//! Redis does. The readers of a key lie with its slot (in [`Waiting`](super::waiting::Waiting)) and are forgotten when they
//! are told: who wants to know of the next change reads the key again.
//!
//! Absent on purpose: who the readers are and how they are told.

use super::shard::{Shard, SlotData};
use super::{Keyspace, waiting};
use crate::hash::Hasher;
use crate::slot::{SLOTS, Slot};
use hashbrown::HashMap;
use smallvec::SmallVec;

/// Numbers of those who have read a key, ascending. Nearly always one.
pub type Readers = SmallVec<[u64; 2]>;

/// What somebody may have to be told. `by` is who did it: [`Shard::caller`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A key has changed.
    Key {
        /// Its name.
        key: Box<[u8]>,
        /// Who had read it.
        readers: Readers,
        /// Who changed it.
        by: u64,
    },
    /// All keys of a database have.
    All {
        /// Who changed them.
        by: u64,
    },
    /// A key has not changed, but its readers would not hear of it any more.
    Forgotten {
        /// Its name.
        key: Box<[u8]>,
        /// Who had read it.
        readers: Readers,
    },
}

/// How much is remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackedCounts {
    /// Keys with readers.
    pub keys: usize,
    /// Readers of all of them.
    pub readers: usize,
}

/// The keys of one slot that have readers.
#[derive(Debug)]
pub struct Tracked {
    keys: HashMap<Box<[u8]>, Readers, Hasher>,
    readers: usize,
}

impl Tracked {
    /// Nobody has read anything yet.
    pub fn new(hasher: &Hasher) -> Self {
        Self { keys: HashMap::with_hasher(hasher.clone()), readers: 0 }
    }

    /// Whether nobody has read anything.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How much is remembered here.
    pub fn counts(&self) -> TrackedCounts {
        TrackedCounts { keys: self.keys.len(), readers: self.readers }
    }

    fn remember(&mut self, key: &[u8], reader: u64) {
        let readers = match self.keys.get_mut(key) {
            Some(readers) => readers,
            None => self.keys.entry(key.into()).or_default(),
        };
        if let Err(at) = readers.binary_search(&reader) {
            readers.insert(at, reader);
            self.readers += 1;
        }
    }

    fn forget(&mut self, key: &[u8]) -> Option<Readers> {
        let readers = self.keys.remove(key)?;
        self.readers -= readers.len();
        Some(readers)
    }

    /// Forgets any key: which one only the seed of the hash knows.
    fn forget_any(&mut self) -> Option<(Box<[u8]>, Readers)> {
        let key = self.keys.keys().next()?.clone();
        let readers = self.forget(&key)?;
        Some((key, readers))
    }
}

impl TrackedCounts {
    pub(super) fn of(data: &SlotData) -> Self {
        data.waiting.as_ref().map_or_else(Self::default, |waiting| waiting.tracked.counts())
    }

    pub(super) fn add(&mut self, other: Self) {
        self.keys += other.keys;
        self.readers += other.readers;
    }

    pub(super) fn subtract(&mut self, other: Self) {
        self.keys -= other.keys;
        self.readers -= other.readers;
    }
}

impl Keyspace<'_> {
    /// Remembers that somebody has read a key, present or not, and is to be told of its next change.
    pub fn remember(&mut self, key: &[u8], reader: u64) {
        let slot = self.slot(key);
        self.shard_mut(slot).with_tracked(slot, |tracked| tracked.remember(key, reader));
    }

    /// Nothing that anybody has read is as it was: forgets all readers, and leaves one change for all of them. All shards
    /// must be held.
    pub(super) fn all_changed(&mut self) {
        self.for_each_shard(Shard::forget_readers);
        if let Some(shard) = self.nth_shard_mut(0) {
            let by = shard.caller;
            shard.changes.push(Change::All { by });
        }
    }
}

impl Shard {
    /// A key of a slot has changed: leaves what its readers, and those who want to know of every change, are to be told.
    pub(super) fn note_change(&mut self, slot: Slot, key: &[u8]) {
        let has_readers = TrackedCounts::of_slot(self, slot).keys > 0;
        let readers = if has_readers {
            self.with_tracked(slot, |tracked| tracked.forget(key)).unwrap_or_default()
        } else {
            Readers::new()
        };
        if self.broadcasting || !readers.is_empty() {
            self.changes.push(Change::Key { key: key.into(), readers, by: self.caller });
        }
    }

    /// Forgets the readers of one key, and leaves that they are to be told; false when nothing is remembered. `start`
    /// says where to look first.
    pub fn forget_one(&mut self, start: Slot) -> bool {
        if self.tracked.keys == 0 {
            return false;
        }
        let slots = (0..SLOTS).filter_map(|n| Slot::new((start.index() + n) % SLOTS));
        let found = slots.into_iter().find(|slot| TrackedCounts::of_slot(self, *slot).keys > 0);
        let forgotten = found.and_then(|slot| self.with_tracked(slot, Tracked::forget_any));
        if let Some((key, readers)) = forgotten {
            self.changes.push(Change::Forgotten { key, readers });
            return true;
        }
        false
    }

    /// Forgets all readers, without a word.
    fn forget_readers(&mut self) {
        if self.tracked.keys == 0 {
            return;
        }
        let hasher = self.hasher().clone();
        for slot in Slot::all() {
            if TrackedCounts::of_slot(self, slot).keys > 0 {
                self.with_tracked(slot, |tracked| *tracked = Tracked::new(&hasher));
            }
        }
    }

    /// Works on what is remembered of a slot, and keeps count.
    fn with_tracked<R>(&mut self, slot: Slot, work: impl FnOnce(&mut Tracked) -> R) -> R {
        let tracked = &mut waiting::of_slot(self, slot).tracked;
        let before = tracked.counts();
        let result = work(tracked);
        let after = tracked.counts();
        self.tracked.subtract(before);
        self.tracked.add(after);
        if let Some(data) = self.existing_slot_mut(slot) {
            waiting::drop_if_nobody(data);
        }
        result
    }
}

impl TrackedCounts {
    #[inline]
    fn of_slot(shard: &Shard, slot: Slot) -> Self {
        shard.slot(slot).map_or_else(Self::default, Self::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// What may happen, on a few keys and readers.
    #[derive(Clone, Debug)]
    enum Op {
        Read(u8, u64),
        Write(u8),
        Forget(u16),
        Flush,
        MoveAway,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            6 => (0..12_u8, 1..5_u64).prop_map(|(key, reader)| Op::Read(key, reader)),
            4 => (0..12_u8).prop_map(Op::Write),
            1 => (0..SLOTS as u16).prop_map(Op::Forget),
            1 => Just(Op::Flush),
            1 => Just(Op::MoveAway),
        ]
    }

    fn name(key: u8) -> Vec<u8> {
        format!("key:{key}").into_bytes()
    }

    /// The changes since the last look, as sorted pairs of a key and one reader each; `None` for all.
    fn told(shard: &mut Shard) -> Vec<Option<(Vec<u8>, u64)>> {
        let mut told = Vec::new();
        for change in std::mem::take(&mut shard.changes) {
            match change {
                Change::Key { key, readers, .. } | Change::Forgotten { key, readers } => {
                    told.extend(readers.iter().map(|reader| Some((key.to_vec(), *reader))));
                }
                Change::All { .. } => told.push(None),
            }
        }
        told.sort();
        told
    }

    proptest! {
        /// Whatever is read, written and forgotten, readers are told of what they have read, once, and of nothing else.
        #[test]
        fn tracking_equals_its_model(ops in prop::collection::vec(op(), 0..80)) {
            let mut bench = Bench::new();
            let mut model: BTreeMap<Vec<u8>, BTreeSet<u64>> = BTreeMap::new();
            for op in ops {
                let now_ms = bench.now_ms;
                let mut keyspace = Keyspace::one(&mut bench.shard, &bench.settings, 0, now_ms);
                let mut expected = Vec::new();
                match &op {
                    Op::Read(key, reader) => {
                        keyspace.remember(&name(*key), *reader);
                        model.entry(name(*key)).or_default().insert(*reader);
                    }
                    Op::Write(key) => {
                        keyspace.modified(&name(*key));
                        let readers = model.remove(&name(*key)).unwrap_or_default();
                        expected.extend(readers.into_iter().map(|reader| Some((name(*key), reader))));
                    }
                    Op::Forget(slot) => {
                        let forgot = bench.shard.forget_one(Slot::new(usize::from(*slot)).unwrap());
                        prop_assert_eq!(forgot, !model.is_empty());
                        let told = told(&mut bench.shard);
                        if let Some(Some((key, _))) = told.first() {
                            let readers = model.remove(key).unwrap_or_default();
                            let all: Vec<_> = readers.into_iter().map(|reader| Some((key.clone(), reader))).collect();
                            prop_assert_eq!(told, all);
                        }
                    }
                    Op::Flush => {
                        keyspace.flush(0..1, false);
                        model.clear();
                        expected.push(None);
                    }
                    Op::MoveAway => {
                        // The slots go to another shard and come back: readers come along.
                        let mut other = Shard::new(1, bench.shard.hasher().clone(), 1);
                        let slots: Vec<Slot> = (0..12).map(|key| Slot::of(&name(key))).collect();
                        for slot in slots.iter().copied() {
                            let moving = bench.shard.take_slot(slot);
                            other.put_slot(slot, moving);
                        }
                        prop_assert_eq!(bench.shard.tracked, TrackedCounts::default());
                        for slot in slots {
                            let moving = other.take_slot(slot);
                            bench.shard.put_slot(slot, moving);
                        }
                    }
                }
                prop_assert_eq!(told(&mut bench.shard), expected, "after {:?}", op);
                let readers = model.values().map(BTreeSet::len).sum();
                prop_assert_eq!(bench.shard.tracked, TrackedCounts { keys: model.len(), readers });
            }
        }
    }

    #[test]
    fn every_change_is_left_while_somebody_wants_them_all() {
        let mut bench = Bench::new();
        bench.run("SET a 1");
        assert_eq!(bench.shard.changes, []);
        bench.shard.broadcasting = true;
        bench.shard.caller = 7;
        bench.run("SET a 1");
        bench.run("GET a");
        let change = Change::Key { key: Box::from(&b"a"[..]), readers: Readers::new(), by: 7 };
        assert_eq!(bench.shard.changes, [change]);
    }
}
