//! A shard: the slots that one core owns, with all that belongs to them.

use super::entry::Entry;
use super::notify::Event;
use super::own_keys::{OwnKey, OwnKeys};
use super::save::{Save, SlotSave};
use super::stored::{Stored, StoredSection};
use super::tracked::{Change, TrackedCounts};
use super::value::ValueRef;
use super::waiting::{DbKey, Waiting};
use crate::effects::Effects;
use crate::hash::Hasher;
use crate::prefetch;
use crate::random::Rng;
use crate::slot::{SLOTS, Slot};
use crate::table::{Near, SplitTable};

/// One database of one slot.
#[derive(Debug, Default)]
pub struct Db {
    /// The entries.
    pub table: SplitTable<Entry>,
    /// How many of them expire, or have fields that do.
    pub volatile: usize,
    /// How many of them expire as a whole.
    pub expires: usize,
    /// How many of them have fields that expire.
    with_fields: usize,
    /// The active expiry need not look here before this time.
    pub due_ms: i64,
}

/// One slot: its databases and whoever waits for its keys. Moves between shards as a whole, by its box.
#[derive(Debug, Default)]
pub struct SlotData {
    /// Database 0, which most deployments use alone.
    first: Db,
    /// Databases 1 and on, as far as they were used.
    more: Vec<Db>,
    /// Whoever waits; usually nobody.
    pub waiting: Option<Box<Waiting>>,
}

impl SlotData {
    /// A database, if it was ever used.
    #[inline]
    pub fn db(&self, physical: usize) -> Option<&Db> {
        if physical == 0 { Some(&self.first) } else { self.more.get(physical - 1) }
    }

    /// A database, made when needed.
    #[inline]
    pub fn db_mut(&mut self, physical: usize) -> &mut Db {
        if physical == 0 {
            return &mut self.first;
        }
        if self.more.len() < physical {
            self.more.resize_with(physical, Db::default);
        }
        &mut self.more[physical - 1]
    }

    fn databases(&self) -> impl Iterator<Item = (usize, &Db)> {
        std::iter::once(&self.first).chain(&self.more).enumerate()
    }
}

/// Keys of one database in a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All keys.
    pub keys: usize,
    /// Keys that expire, or have fields that do: those that the active expiry has to know.
    pub volatile: usize,
    /// Keys that expire as a whole.
    pub expires: usize,
    /// Hashes with fields that expire.
    pub with_fields: usize,
}

impl Counts {
    /// Counts one more key.
    pub(crate) fn add(&mut self, of: Volatile) {
        self.keys += 1;
        self.volatile += usize::from(of.any());
        self.expires += usize::from(of.key);
        self.with_fields += usize::from(of.fields);
    }
}

/// What of an entry expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volatile {
    /// The key with all it holds.
    pub key: bool,
    /// Fields of its hash.
    pub fields: bool,
}

impl Volatile {
    /// Whether anything does.
    pub fn any(self) -> bool {
        self.key || self.fields
    }
}

/// Counters that INFO adds up over the shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Lookups that found their key.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
    /// Keys removed because their time had come.
    pub expired: u64,
    /// Hash fields removed because their time had come.
    pub expired_fields: u64,
    /// Keys removed to stay under `maxmemory`.
    pub evicted: u64,
    /// Changes since the start, as `rdb_changes_since_last_save` counts them.
    pub dirty: u64,
}

/// A key that somebody waits for and that has just changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyKey {
    /// Its slot.
    pub slot: Slot,
    /// Its database and name.
    pub key: DbKey,
}

/// Where a slot is, if it was ever used.
#[derive(Debug, Default)]
struct Seat {
    data: Option<Box<SlotData>>,
    /// Where the table of its database 0 is: known before the slot itself has come from memory.
    near: Near,
}

impl From<Option<Box<SlotData>>> for Seat {
    fn from(data: Option<Box<SlotData>>) -> Self {
        let near = data.as_ref().map_or(Near::default(), |data| data.first.table.near());
        Self { data, near }
    }
}

/// The slots of one core. Deterministic; whoever holds it mutably may do anything with it.
#[derive(Debug)]
pub struct Shard {
    slots: Vec<Seat>,
    owned: Vec<bool>,
    /// Logical database -> physical database: SWAPDB swaps two places.
    dbs: Vec<usize>,
    /// By physical database.
    counts: Vec<Counts>,
    hasher: Hasher,
    /// Sampling.
    pub rng: Rng,
    /// Counters.
    pub stats: Stats,
    /// Notifications that wait to be published, in order.
    pub events: Vec<Event>,
    /// Keys that somebody waits for and that have just changed, in order.
    pub ready: Vec<ReadyKey>,
    /// Collects effects.
    pub effects: Effects,
    /// What was removed but is costly to free: whoever holds the shard takes it and frees it elsewhere.
    pub garbage: Vec<Garbage>,
    /// Who gives the commands that run now, by number; 0 for nobody.
    pub caller: u64,
    /// Somebody wants to know of every change, whoever has read what.
    pub broadcasting: bool,
    /// What those who keep copies are to be told, in order: whoever holds the shard takes it.
    pub changes: Vec<Change>,
    /// How many keys have readers that are to be told.
    pub(super) tracked: TrackedCounts,
    /// Where the active expiry goes on.
    pub(super) expire_walk: Walk,
    /// Nothing is due before this time: an idle shard is not walked through at all.
    pub(super) quiet_until_ms: i64,
    /// What expires here though this is a replica.
    pub(super) own_keys: OwnKeys,
    /// The save that runs, if any.
    pub(super) save: Option<Box<Save>>,
    /// Slots that are still in a file.
    pub(super) stored: Option<Box<Stored>>,
    /// Keys of slots built from the last file whose time had been over when it was opened.
    pub stale_in_file: u64,
}

/// A slot on its way from one shard to another, with all that belongs to it.
#[derive(Debug, Default)]
pub struct MovingSlot {
    data: Option<Box<SlotData>>,
    save: Option<SlotSave>,
    stored: Vec<StoredSection>,
    own_keys: Vec<(OwnKey, i64)>,
}

impl MovingSlot {
    /// The same slot without its keys: what else belongs to it stays.
    pub(super) fn without_keys(mut self) -> Self {
        if let Some(data) = &mut self.data {
            data.first = Db::default();
            data.more.clear();
        }
        self
    }
}

/// Something that takes long to free.
#[derive(Debug)]
pub enum Garbage {
    /// A key with a large collection.
    Entry(Entry),
    /// All keys of a slot in one database.
    Table(SplitTable<Entry>),
}

/// Where the active expiry stands: before a database of a slot, or in the middle of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Walk {
    /// The slot by its number; `SLOTS` and more mean the start.
    pub slot: usize,
    /// The logical database.
    pub db: usize,
    /// Set in the middle of a table: what the walk through it has seen so far.
    pub inside: Option<Inside>,
}

/// The part of a table that the active expiry has been through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inside {
    /// Which table of the slot this is.
    pub physical: usize,
    /// Where the scan of the table goes on.
    pub cursor: u64,
    /// When the first of the entries passed is due, and of those that became volatile meanwhile.
    pub next_ms: i64,
    /// Entries that expire or have fields that do.
    pub volatile: usize,
    /// How many of them were due.
    pub due: usize,
}

impl Shard {
    /// A shard without slots. All shards of a process need equal `hasher`s, each its own `seed`.
    pub fn new(databases: usize, hasher: Hasher, seed: u64) -> Self {
        let databases = databases.max(1);
        Self {
            slots: (0..SLOTS).map(|_| Seat::default()).collect(),
            owned: vec![false; SLOTS],
            dbs: (0..databases).collect(),
            counts: vec![Counts::default(); databases],
            hasher,
            rng: Rng::seeded(seed),
            stats: Stats::default(),
            events: Vec::new(),
            ready: Vec::new(),
            effects: Effects::default(),
            garbage: Vec::new(),
            caller: 0,
            broadcasting: false,
            changes: Vec::new(),
            tracked: TrackedCounts::default(),
            expire_walk: Walk::default(),
            quiet_until_ms: 0,
            own_keys: OwnKeys::default(),
            save: None,
            stored: None,
            stale_in_file: 0,
        }
    }

    /// A shard that owns every slot: the whole key space in one.
    pub fn whole(databases: usize, hasher: Hasher, seed: u64) -> Self {
        let mut shard = Self::new(databases, hasher, seed);
        shard.owned.fill(true);
        shard
    }

    /// Whether it owns the slot.
    #[inline]
    pub fn owns(&self, slot: Slot) -> bool {
        self.owned[slot.index()]
    }

    /// How many keys have readers that are to be told of a change, and how many readers that are.
    #[inline]
    pub fn tracked(&self) -> TrackedCounts {
        self.tracked
    }

    /// The slots it owns.
    pub fn owned_slots(&self) -> impl Iterator<Item = Slot> {
        Slot::all().filter(|slot| self.owns(*slot))
    }

    /// The hash of all tables.
    pub fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// Number of databases.
    pub fn databases(&self) -> usize {
        self.dbs.len()
    }

    /// The physical database behind a logical one.
    #[inline]
    pub fn physical(&self, db: usize) -> usize {
        self.dbs.get(db).copied().unwrap_or(db)
    }

    /// SWAPDB: what was database `a` is `b` from now on, and the other way round. O(1).
    pub fn swap_dbs(&mut self, a: usize, b: usize) {
        self.dbs.swap(a, b);
    }

    /// How many keys a database has here.
    pub fn counts(&self, db: usize) -> Counts {
        self.counts.get(self.physical(db)).copied().unwrap_or_default()
    }

    /// What a slot holds, if it was ever used.
    #[inline]
    pub fn slot(&self, slot: Slot) -> Option<&SlotData> {
        self.slots[slot.index()].data.as_deref()
    }

    /// A slot, made when needed.
    #[inline]
    pub fn slot_mut(&mut self, slot: Slot) -> &mut SlotData {
        self.slots[slot.index()].data.get_or_insert_default()
    }

    /// A slot, if it was ever used.
    #[inline]
    pub fn existing_slot_mut(&mut self, slot: Slot) -> Option<&mut SlotData> {
        self.slots[slot.index()].data.as_deref_mut()
    }

    /// Asks for the memory of a slot, and of what a hash names in its table: the first of three steps before a batch runs.
    #[inline]
    pub fn prefetch_slot(&self, slot: Slot, hash: u64) {
        let seat = &self.slots[slot.index()];
        if let Some(data) = &seat.data {
            prefetch::line(&raw const **data);
            // It is longer than a line, and every write asks who waits.
            prefetch::line(&raw const data.waiting);
            seat.near.ask::<Entry>(hash);
        }
    }

    /// Adds an entry whose key is not there.
    pub(super) fn insert_entry(&mut self, slot: Slot, physical: usize, hash: u64, entry: Entry) {
        let Self { slots, hasher, .. } = self;
        let seat = &mut slots[slot.index()];
        let table = &mut seat.data.get_or_insert_default().db_mut(physical).table;
        table.insert_unique(hash, entry, |other| hasher.hash(other.key()));
        if physical == 0 {
            seat.near = table.near();
        }
        self.count_keys(physical, 1);
    }

    /// Asks for the memory of the entry that a hash leads to, once its slot has been asked for. Looking up the bucket
    /// itself waits for memory too, but a loop over many keys overlaps those waits.
    #[inline]
    pub fn prefetch_entry(&self, slot: Slot, db: usize, hash: u64) {
        let Some(found) = self.slot(slot).and_then(|data| data.db(self.physical(db))) else { return };
        found.table.find(hash, |entry| {
            entry.prefetch();
            false
        });
    }

    /// Asks for the memory of what a command will look at inside a collection: `behind` are its arguments behind the key.
    /// The third step, for commands on hashes, sets and sorted sets.
    #[inline]
    pub fn prefetch_inside(&self, (slot, db, hash): (Slot, usize, u64), key: &[u8], behind: &[&[u8]]) {
        let Some(found) = self.slot(slot).and_then(|data| data.db(self.physical(db))) else { return };
        let Some(entry) = found.table.find(hash, |entry| entry.key() == key) else { return };
        // Where nearly all commands have it. Asking for something else costs little and harms nobody.
        let ([first, .., last] | [first @ last]) = behind else { return };
        match entry.value() {
            ValueRef::Hash(hash) => hash.prefetch(first, &self.hasher),
            ValueRef::Set(set) => set.prefetch(first, &self.hasher),
            // Behind its score, if there is one.
            ValueRef::ZSet(zset) => zset.prefetch(last),
            ValueRef::Str(_) | ValueRef::List(_) | ValueRef::Stream(_) => {}
        }
    }

    /// How many keys a database of a slot has. O(1).
    pub fn slot_len(&self, slot: Slot, db: usize) -> usize {
        let db = self.physical(db);
        let built = self.slot(slot).and_then(|data| data.db(db)).map_or(0, |db| db.table.len());
        built + self.stored_len(slot, db)
    }

    /// Gives a slot away: the other half of [`put_slot`](Self::put_slot). O(1), but for a save that runs.
    pub fn take_slot(&mut self, slot: Slot) -> MovingSlot {
        self.owned[slot.index()] = false;
        self.leave_walk(slot);
        let (save, stored) = (self.take_slot_save(slot), self.take_stored(slot));
        let data = std::mem::take(&mut self.slots[slot.index()]).data;
        if let Some(data) = &data {
            self.count(data, |count, n| *count -= n);
            self.tracked.subtract(TrackedCounts::of(data));
        }
        MovingSlot { data, save, stored, own_keys: self.own_keys.take_slot(slot) }
    }

    /// Owns a slot from now on, with what it held at its owner before. O(1).
    pub fn put_slot(&mut self, slot: Slot, moving: MovingSlot) {
        self.owned[slot.index()] = true;
        self.leave_walk(slot);
        self.quiet_until_ms = 0;
        if let Some(data) = &moving.data {
            self.count(data, |count, n| *count += n);
            self.tracked.add(TrackedCounts::of(data));
        }
        self.slots[slot.index()] = moving.data.into();
        self.put_slot_save(slot, moving.save);
        self.put_stored(slot, moving.stored);
        moving.own_keys.into_iter().for_each(|(key, due_ms)| self.own_keys.note(key, due_ms));
    }

    /// Takes over the keys of a slot, which has none here: who waits for its keys goes on waiting. O(1).
    pub(super) fn adopt_keys(&mut self, slot: Slot, moving: MovingSlot) {
        let waiting = std::mem::take(&mut self.slots[slot.index()]).data.and_then(|data| data.waiting);
        self.leave_walk(slot);
        self.quiet_until_ms = 0;
        let mut data = moving.data;
        if let Some(data) = &data {
            self.count(data, |count, n| *count += n);
        }
        if waiting.is_some() {
            data.get_or_insert_default().waiting = waiting;
        }
        self.slots[slot.index()] = data.into();
    }

    /// Every database is where it was before any SWAPDB. There must be no keys.
    pub(super) fn reset_dbs(&mut self) {
        self.dbs = (0..self.dbs.len()).collect();
    }

    /// Gives the memory of a slot back when it holds nothing: no key, and nobody who waits for one.
    pub fn release_if_empty(&mut self, slot: Slot) {
        let is_empty = |data: &SlotData| {
            data.waiting.as_ref().is_none_or(|waiting| waiting.is_empty())
                && data.databases().all(|(_, db)| db.table.is_empty())
        };
        if self.slots[slot.index()].data.as_deref().is_some_and(is_empty) {
            self.leave_walk(slot);
            self.slots[slot.index()] = Seat::default();
        }
    }

    /// Takes all keys of a database out; the caller drops them when and where it likes. What a running save still
    /// needs it keeps. O(slots).
    pub fn take_db(&mut self, db: usize) -> Vec<SplitTable<Entry>> {
        let physical = self.physical(db);
        let mut taken = Vec::new();
        if self.counts(db).keys == 0 {
            return taken;
        }
        self.forget_stored(physical);
        self.own_keys.forget_db(physical);
        for slot in Slot::all() {
            let Some(data) = self.existing_slot_mut(slot) else { continue };
            if data.db(physical).is_some_and(|db| !db.table.is_empty()) {
                let db = std::mem::take(data.db_mut(physical));
                taken.extend(self.save_aside(slot, physical, db));
                self.release_if_empty(slot);
            }
        }
        if let Some(counts) = self.counts.get_mut(physical) {
            *counts = Counts::default();
        }
        taken
    }

    /// Notes that keys came (or went, when negative). Every change of a table is told here.
    #[inline]
    pub fn count_keys(&mut self, physical: usize, keys: isize) {
        let count = &mut self.counts[physical].keys;
        *count = count.wrapping_add_signed(keys);
    }

    /// Notes what of a key of this slot expired before and does now; nothing of a key that is not there.
    pub fn count_volatile(
        &mut self,
        slot: Slot,
        physical: usize,
        before: Volatile,
        after: Volatile,
        due_ms: i64,
    ) {
        let moved = |count: &mut usize, before: bool, after: bool| {
            *count = count.wrapping_add_signed(isize::from(after) - isize::from(before));
        };
        let counts = &mut self.counts[physical];
        moved(&mut counts.volatile, before.any(), after.any());
        moved(&mut counts.expires, before.key, after.key);
        moved(&mut counts.with_fields, before.fields, after.fields);
        let db = self.slot_mut(slot).db_mut(physical);
        moved(&mut db.volatile, before.any(), after.any());
        moved(&mut db.expires, before.key, after.key);
        moved(&mut db.with_fields, before.fields, after.fields);
        if after.any() {
            db.due_ms = if db.volatile == 1 { due_ms } else { db.due_ms.min(due_ms) };
            self.expire_walk.note(slot, physical, due_ms);
            self.quiet_until_ms = self.quiet_until_ms.min(due_ms);
        }
    }

    /// The walk of the active expiry through a table ends when its slot comes or goes: it starts anew there.
    fn leave_walk(&mut self, slot: Slot) {
        if self.expire_walk.slot == slot.index() {
            self.expire_walk.inside = None;
        }
    }

    fn count(&mut self, data: &SlotData, change: impl Fn(&mut usize, usize)) {
        for (physical, db) in data.databases() {
            let of_db = Counts {
                keys: db.table.len(),
                volatile: db.volatile,
                expires: db.expires,
                with_fields: db.with_fields,
            };
            self.change_counts(physical, of_db, &change);
        }
    }

    pub(super) fn change_counts(&mut self, physical: usize, by: Counts, change: impl Fn(&mut usize, usize)) {
        if let Some(counts) = self.counts.get_mut(physical) {
            change(&mut counts.keys, by.keys);
            change(&mut counts.volatile, by.volatile);
            change(&mut counts.expires, by.expires);
            change(&mut counts.with_fields, by.with_fields);
        }
    }
}

impl Walk {
    /// An entry became volatile: the walk may have been past its place already.
    fn note(&mut self, slot: Slot, physical: usize, due_ms: i64) {
        if self.slot == slot.index()
            && let Some(inside) = &mut self.inside
            && inside.physical == physical
        {
            inside.next_ms = inside.next_ms.min(due_ms);
        }
    }
}
