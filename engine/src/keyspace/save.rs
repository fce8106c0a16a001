//! Saving without a fork: a shard is written as it was at one moment, while it goes on changing.
//!
//! The walk writes slot after slot, each in the order of its scans, in steps as short as the caller likes. What is
//! about to change before the walk has come to it is written first, key by key: the cost of a change is that of
//! writing the one value that it changes, whatever else its slot holds. Memory holds the sections of the slots that are
//! being written, and for each a mark per changed key; nothing of it outlives the slot's turn.
//!
//! | a key, since the save began          | is written                                       |
//! |--------------------------------------|--------------------------------------------------|
//! | untouched                            | by the walk                                      |
//! | changed or removed behind the walk   | by the walk, before                              |
//! | changed or removed ahead of the walk | just before its first change                     |
//! | made ahead of the walk               | not at all: a mark tells the walk to pass it over |
//! | flushed with its whole database      | by the walk, from the table that was put aside   |

use super::access::volatile;
use super::entry::Entry;
use super::evict;
use super::shard::{Counts, Db, Garbage, Shard};
use super::value::{StrRef, ValueRef};
use crate::error::CommandError;
use crate::hash::Hasher;
use crate::rdb::Version;
use crate::rdb::save::{self as encode, Access, COMPRESSED_FROM, SaveOptions};
use crate::settings::{EvictionPolicy, Settings};
use crate::slot::{SLOTS, Slot};
use crate::table::{SplitTable, order};
use hashbrown::HashTable;
use std::collections::BTreeMap;

/// A section that has grown so large is handed out before its slot is through: memory stays flat however large
/// a slot is.
const SECTION_BYTES: usize = 1 << 20;

/// Keys of one database of one slot, encoded: a run of the snapshot file that can be read on its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// The slot by its number.
    pub slot: u16,
    /// The database.
    pub db: u32,
    /// Keys with their expiries and values, as in an RDB file; no SELECTDB before them.
    pub bytes: Vec<u8>,
    /// How many keys there are, and what of them expires.
    pub counts: Counts,
    /// The lowest version of the format that reads this.
    pub version: Version,
}

/// A save that runs over one shard.
#[derive(Debug)]
pub(super) struct Save {
    options: SaveOptions,
    policy: EvictionPolicy,
    started_ms: i64,
    /// Physical database -> the number that it had when the save began: SWAPDB changes nothing for it.
    names: Vec<u32>,
    /// Slots whose turn is still to come or under way.
    pending: Vec<bool>,
    left: usize,
    /// The slot of the walk.
    at: usize,
    /// Slots under way: the one of the walk, and those in which a key had to be written ahead.
    begun: BTreeMap<u16, SlotSave>,
    done: Vec<Section>,
    /// Bytes in `done` and in `begun`.
    held: usize,
    /// Bytes of the last section that was done: the next one is expected to be like it.
    usual: usize,
    patience: Patience,
}

/// Whether to try to compress a short string. Trying takes as long as all the rest of writing one, and strings of one kind are alike:
/// when none of the last ones got shorter, only some are tried.
#[derive(Debug, Default)]
struct Patience {
    /// Tried in vain, one after the other.
    in_vain: u32,
    /// Left as they are since the last one that was tried.
    passed_over: u32,
}

/// How far the save of one slot has come, by physical database in ascending order. There may be one for each slot, nearly always
/// of one database: a map has room for eleven at once, which was 2 KB more per slot.
#[derive(Debug, Default)]
pub struct SlotSave(Vec<(usize, DbSave)>);

#[derive(Debug, Default)]
struct DbSave {
    section: Section,
    /// Everything that comes earlier in the order of scans has been written.
    cursor: u64,
    /// Everything has been written.
    finished: bool,
    /// Hashes of keys that were written ahead of the walk or were not there when the save began.
    marks: HashTable<u64>,
    /// The table as it was when the database was flushed: what is in the place of it now is all new.
    aside: Option<SplitTable<Entry>>,
}

/// What a step of a save has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaveStep {
    /// Slots that are through, by this step.
    pub slots: usize,
    /// Bytes that it encoded.
    pub bytes: usize,
    /// Nothing is left to do here.
    pub done: bool,
}

impl Shard {
    /// Begins to save what the shard holds at this moment. All shards of a node have to begin under the same
    /// hold of all batons: then the whole is one point in time. A save that was running is dropped. O(1) in the keys.
    pub fn begin_save(&mut self, options: SaveOptions, settings: &Settings, now_ms: i64) {
        let pending: Vec<bool> =
            (0..SLOTS).map(|at| Slot::new(at).is_some_and(|slot| self.owns(slot))).collect();
        let mut names = vec![0; self.databases()];
        for db in 0..self.databases() {
            if let Some(name) = names.get_mut(self.physical(db)) {
                *name = db as u32;
            }
        }
        self.save = Some(Box::new(Save {
            options,
            policy: settings.maxmemory_policy,
            started_ms: now_ms,
            names,
            left: pending.iter().filter(|pending| **pending).count(),
            pending,
            at: 0,
            begun: BTreeMap::new(),
            done: Vec::new(),
            held: 0,
            usual: 0,
            patience: Patience::default(),
        }));
    }

    /// Whether a save is running.
    #[inline]
    pub fn is_saving(&self) -> bool {
        self.save.is_some()
    }

    /// Ends the save, finished or not: sections that were not taken are lost. Tables that were put aside
    /// become garbage.
    pub fn end_save(&mut self) {
        let Some(save) = self.save.take() else { return };
        for (_, slot) in save.begun {
            self.drop_aside(slot);
        }
    }

    /// Sections that are ready to be written to the file, in the order in which they have to stand there: those
    /// of one slot side by side.
    pub fn take_sections(&mut self) -> Vec<Section> {
        let Some(save) = &mut self.save else { return Vec::new() };
        let done = std::mem::take(&mut save.done);
        save.held = save.held.saturating_sub(done.iter().map(|section| section.bytes.len()).sum());
        done
    }

    /// Bytes that the save holds in memory for now.
    pub fn save_held_bytes(&self) -> usize {
        self.save.as_ref().map_or(0, |save| save.held)
    }

    /// Goes on with the save until about `bytes` bytes have been encoded (one value at least).
    ///
    /// # Errors
    /// A slot cannot be read from the file that it is still in: the save cannot be finished.
    pub fn save_step(
        &mut self,
        bytes: usize,
        settings: &Settings,
        now_ms: i64,
    ) -> Result<SaveStep, CommandError> {
        let mut step = SaveStep { slots: 0, bytes: 0, done: true };
        while let Some(slot) = self.save.as_mut().and_then(|save| save.next_slot()) {
            if step.bytes >= bytes {
                step.done = false;
                break;
            }
            self.build_slot(slot, settings, now_ms)?;
            let Some(mut save) = self.save.take() else { break };
            let before = save.held;
            let through = self.save_slot(&mut save, slot, bytes - step.bytes);
            // An empty slot is not free either.
            step.bytes += save.held.saturating_sub(before) + 16;
            step.slots += usize::from(through);
            self.save = Some(save);
        }
        Ok(step)
    }

    /// Writes of a slot until about `bytes` bytes are out; whether the slot is through.
    fn save_slot(&mut self, save: &mut Save, slot: Slot, bytes: usize) -> bool {
        let mut state = save.begun.remove(&(slot.index() as u16)).unwrap_or_default();
        let enough = save.held.saturating_add(bytes);
        for physical in 0..save.names.len() {
            let live = self.slot(slot).and_then(|data| data.db(physical)).map(|db| &db.table);
            let known = state.place(physical).is_ok();
            if !known && live.is_none_or(|table| table.is_empty()) {
                continue;
            }
            let db = state.db(physical, || DbSave::new(slot, save.names[physical]));
            while !db.finished {
                if save.held >= enough {
                    save.begun.insert(slot.index() as u16, state);
                    return false;
                }
                db.advance(save.parts(), live, self.hasher(), enough);
                if db.section.bytes.len() >= SECTION_BYTES {
                    save.cut(db);
                }
            }
        }
        for (_, db) in state.0.iter_mut().filter(|(_, db)| db.section.counts.keys > 0) {
            save.cut(db);
        }
        self.drop_aside(state);
        save.pending[slot.index()] = false;
        save.left -= 1;
        true
    }

    /// Tables that were put aside are freed elsewhere.
    fn drop_aside(&mut self, slot: SlotSave) {
        self.garbage.extend(slot.0.into_iter().filter_map(|(_, db)| db.aside).map(Garbage::Table));
    }

    /// Told before a key with this hash changes, comes or goes: what it is now is what the save has to write.
    #[cold]
    #[inline(never)]
    pub(super) fn save_ahead(&mut self, slot: Slot, physical: usize, hash: u64) {
        let Some(mut save) = self.save.take() else { return };
        if save.pending[slot.index()]
            && let Some(&name) = save.names.get(physical)
        {
            let mut state = save.begun.remove(&(slot.index() as u16)).unwrap_or_default();
            let db = state.db(physical, || DbSave::new(slot, name));
            let live = self.slot(slot).and_then(|data| data.db(physical)).map(|db| &db.table);
            db.write_ahead(save.parts(), live, hash, self.hasher());
            save.begun.insert(slot.index() as u16, state);
        }
        self.save = Some(save);
    }

    /// Told before a whole table goes: `None` when the save needs it, and keeps it.
    pub(super) fn save_aside(&mut self, slot: Slot, physical: usize, db: Db) -> Option<SplitTable<Entry>> {
        let Some(save) = self.save.as_mut().filter(|save| save.pending[slot.index()]) else {
            return Some(db.table);
        };
        let Some(&name) = save.names.get(physical) else { return Some(db.table) };
        let state = save.begun.entry(slot.index() as u16).or_default();
        let of_db = state.db(physical, || DbSave::new(slot, name));
        if of_db.finished || of_db.aside.is_some() {
            return Some(db.table);
        }
        of_db.aside = Some(db.table);
        None
    }

    /// What the save knows of a slot that goes to another shard: `None` when it is through with it or none runs.
    pub(super) fn take_slot_save(&mut self, slot: Slot) -> Option<SlotSave> {
        let save = self.save.as_mut().filter(|save| save.pending[slot.index()])?;
        save.pending[slot.index()] = false;
        save.left -= 1;
        let state = save.begun.remove(&(slot.index() as u16)).unwrap_or_default();
        save.held = save.held.saturating_sub(state.bytes());
        Some(state)
    }

    /// The other half of [`take_slot_save`](Self::take_slot_save). Both shards are in the same save.
    pub(super) fn put_slot_save(&mut self, slot: Slot, state: Option<SlotSave>) {
        let Some(state) = state else { return };
        match &mut self.save {
            Some(save) => {
                save.pending[slot.index()] = true;
                save.left += 1;
                // The walk may have been past its place.
                save.at = save.at.min(slot.index());
                save.held += state.bytes();
                save.begun.insert(slot.index() as u16, state);
            }
            None => self.drop_aside(state),
        }
    }
}

/// What of a save all databases share while one of them is written.
struct Parts<'a> {
    options: &'a SaveOptions,
    policy: EvictionPolicy,
    now_ms: i64,
    held: &'a mut usize,
    /// Bytes that a section is expected to get.
    usual: usize,
    patience: &'a mut Patience,
}

impl Patience {
    /// After so many in vain not all are tried.
    const IN_VAIN_MAX: u32 = 64;
    /// Then one of so many is.
    const TRIED_OF: u32 = 16;
    /// In longer strings the search for repetitions is itself quick to give up.
    const SHORT_MAX: usize = 512;

    /// The one string of an entry that may be compressed, if there is just one and it is short.
    fn subject<'e>(key: &[u8], value: ValueRef<'e>) -> Option<&'e [u8]> {
        let ValueRef::Str(StrRef::Embedded(text)) = value else { return None };
        let is_one = key.len() < COMPRESSED_FROM && (COMPRESSED_FROM..=Self::SHORT_MAX).contains(&text.len());
        is_one.then_some(text)
    }

    /// Whether to try the next one.
    fn tries(&mut self) -> bool {
        if self.in_vain < Self::IN_VAIN_MAX {
            return true;
        }
        self.passed_over = (self.passed_over + 1) % Self::TRIED_OF;
        self.passed_over == 0
    }

    fn note(&mut self, got_shorter: bool) {
        self.in_vain = if got_shorter { 0 } else { self.in_vain.saturating_add(1) };
    }
}

impl Save {
    fn next_slot(&mut self) -> Option<Slot> {
        if self.left == 0 {
            return None;
        }
        self.at += self.pending.get(self.at..)?.iter().position(|pending| *pending)?;
        Slot::new(self.at)
    }

    fn parts(&mut self) -> Parts<'_> {
        Parts {
            options: &self.options,
            policy: self.policy,
            now_ms: self.started_ms,
            held: &mut self.held,
            usual: self.usual,
            patience: &mut self.patience,
        }
    }

    /// The section of a database so far is done.
    fn cut(&mut self, db: &mut DbSave) {
        let section = db.cut();
        self.usual = section.bytes.len();
        self.done.push(section);
    }
}

impl SlotSave {
    fn bytes(&self) -> usize {
        self.0.iter().map(|(_, db)| db.section.bytes.len()).sum()
    }

    /// Where a database is, or would be.
    fn place(&self, physical: usize) -> Result<usize, usize> {
        self.0.binary_search_by_key(&physical, |(physical, _)| *physical)
    }

    fn db(&mut self, physical: usize, new: impl FnOnce() -> DbSave) -> &mut DbSave {
        let at = self.place(physical).unwrap_or_else(|at| {
            if self.0.is_empty() {
                self.0.reserve_exact(1);
            }
            self.0.insert(at, (physical, new()));
            at
        });
        &mut self.0[at].1
    }
}

impl DbSave {
    fn new(slot: Slot, name: u32) -> Self {
        let section = Section { slot: slot.index() as u16, db: name, ..Section::default() };
        Self { section, ..Self::default() }
    }

    /// The section so far; an empty one goes on.
    fn cut(&mut self) -> Section {
        let next = Section { slot: self.section.slot, db: self.section.db, ..Section::default() };
        std::mem::replace(&mut self.section, next)
    }

    /// Lets the walk go on through one part of the table at most, until the save holds `enough` bytes.
    fn advance(
        &mut self,
        mut parts: Parts<'_>,
        live: Option<&SplitTable<Entry>>,
        hasher: &Hasher,
        enough: usize,
    ) {
        let Self { section, cursor, finished, marks, aside } = self;
        let Some(table) = aside.as_ref().or(live) else {
            *finished = true;
            return;
        };
        if section.bytes.capacity() == 0 {
            section.bytes.reserve_exact(parts.usual + parts.usual / 8);
        }
        *cursor = table.scan_while(
            *cursor,
            Entry::prefetch,
            |entry| hasher.hash(entry.key()),
            |entry| {
                let is_marked = !marks.is_empty() && {
                    let hash = hasher.hash(entry.key());
                    marks.find(hash, |mark| *mark == hash).is_some()
                };
                if !is_marked {
                    write(section, &mut parts, entry);
                }
                *parts.held < enough && section.bytes.len() < SECTION_BYTES
            },
        );
        if *cursor == 0 {
            *finished = true;
            *marks = HashTable::new();
        }
    }

    /// Writes the entries with this hash, unless the walk has been there or they are new.
    fn write_ahead(
        &mut self,
        mut parts: Parts<'_>,
        live: Option<&SplitTable<Entry>>,
        hash: u64,
        hasher: &Hasher,
    ) {
        let is_past = self.finished || order(hash) < self.cursor;
        if is_past || self.aside.is_some() || self.marks.find(hash, |mark| *mark == hash).is_some() {
            return;
        }
        self.marks.insert_unique(hash, hash, |mark| *mark);
        // All keys of one hash go together: the mark does not tell them apart.
        if let Some(table) = live {
            table.find(hash, |entry| {
                if hasher.hash(entry.key()) == hash {
                    write(&mut self.section, &mut parts, entry);
                }
                false
            });
        }
    }
}

fn write(section: &mut Section, parts: &mut Parts<'_>, entry: &Entry) {
    let start = section.bytes.len();
    let access = if parts.policy.is_lfu() {
        Some(Access::Frequency(entry.clock() as u8))
    } else if parts.policy.is_lru() {
        Some(Access::Idle(u64::from(evict::idle_seconds(entry.clock(), parts.now_ms))))
    } else {
        None
    };
    let (key, value) = (entry.key(), entry.value());
    let mut options = *parts.options;
    let subject = Patience::subject(key, value).filter(|_| options.compress);
    if subject.is_some() {
        options.compress = parts.patience.tries();
    }
    let version = encode::key(&mut section.bytes, &options, key, value, entry.expiry(), access);
    if let (Some(text), true) = (subject, options.compress) {
        // A string is the last that is written of its entry.
        parts.patience.note(!section.bytes.ends_with(text));
    }
    section.version = section.version.max(version);
    section.counts.add(volatile(entry));
    *parts.held += section.bytes.len() - start;
}

#[cfg(test)]
mod tests {
    use super::super::stored::StoredSection;
    use super::*;
    use crate::testing::Bench;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn few_strings_are_tried_once_many_were_in_vain() {
        let mut patience = Patience::default();
        let tried = |patience: &mut Patience, strings: u32, got_shorter: bool| {
            let tries = (0..strings).filter(|_| {
                let tries = patience.tries();
                if tries {
                    patience.note(got_shorter);
                }
                tries
            });
            tries.count()
        };
        assert_eq!(tried(&mut patience, 64, false), 64);
        assert_eq!(tried(&mut patience, 160, false), 10);
        // One that gets shorter, and all are tried again.
        assert_eq!(tried(&mut patience, 16, true), 1);
        assert_eq!(tried(&mut patience, 100, true), 100);
    }

    /// Everything that a bench holds, by database and key: value and expiry as they are shown.
    type Picture = BTreeMap<(usize, Vec<u8>), String>;

    fn picture(shard: &Shard) -> Picture {
        let mut picture = Picture::new();
        for db in 0..shard.databases() {
            for slot in shard.owned_slots() {
                let of_db = shard.slot(slot).and_then(|data| data.db(shard.physical(db)));
                for entry in of_db.into_iter().flat_map(|db| db.table.iter()) {
                    picture.insert((db, entry.key().to_vec()), shown(entry));
                }
            }
        }
        picture
    }

    fn shown(entry: &Entry) -> String {
        let value = crate::testing::canonical(entry.value());
        format!("{value} expires {:?}", entry.expiry())
    }

    /// A shard built from the sections of a save.
    fn rebuilt(sections: &[Section]) -> Picture {
        let mut bench = Bench::new();
        let mut by_slot: BTreeMap<u16, Vec<StoredSection>> = BTreeMap::new();
        for section in sections {
            by_slot.entry(section.slot).or_default().push(StoredSection {
                file: "memory".into(),
                offset: 0,
                family: crate::rdb::Family::Redis,
                bytes: section.bytes.clone().into(),
                crc32: crc32fast::hash(&section.bytes),
                db: section.db as usize,
                counts: section.counts,
                stale_before_ms: i64::MIN,
            });
        }
        for (slot, sections) in by_slot {
            bench.shard.store_slot(Slot::new(usize::from(slot)).unwrap(), sections);
        }
        let before: Vec<Counts> = (0..bench.shard.databases()).map(|db| bench.shard.counts(db)).collect();
        while bench.shard.build_next(&bench.settings, bench.now_ms) {}
        assert_eq!(bench.shard.damaged_slots().next(), None);
        let after: Vec<Counts> = (0..bench.shard.databases()).map(|db| bench.shard.counts(db)).collect();
        assert_eq!(before, after, "what the index counts is what is built");
        picture(&bench.shard)
    }

    fn commands() -> impl Strategy<Value = Vec<String>> {
        let key = || {
            prop_oneof![
                (0..40u32).prop_map(|n| format!("k{n}")),
                (0..40u32).prop_map(|n| format!("{{t}}{n}"))
            ]
        };
        let one = prop_oneof![
            8 => (key(), 0..1000u32).prop_map(|(key, n)| format!("SET {key} {n}")),
            2 => (key(), 0..1000u32).prop_map(|(key, n)| format!("SET {key} value{n} PX {}", 1_000_000 + n)),
            3 => key().prop_map(|key| format!("INCR {key}")),
            3 => key().prop_map(|key| format!("APPEND {key} more")),
            4 => key().prop_map(|key| format!("DEL {key}")),
            3 => (key(), 0..9u32).prop_map(|(key, n)| format!("RPUSH {{l}}{key} a{n} b")),
            2 => key().prop_map(|key| format!("LPOP {{l}}{key}")),
            3 => (key(), 0..9u32).prop_map(|(key, n)| format!("HSET {{h}}{key} f{n} v")),
            2 => (key(), 0..9u32).prop_map(|(key, n)| format!("HPEXPIRE {{h}}{key} 5000{n} FIELDS 1 f{n}")),
            2 => (key(), 0..9u32).prop_map(|(key, n)| format!("ZADD {{z}}{key} {n} m{n}")),
            2 => (key(), 0..9u32).prop_map(|(key, n)| format!("SADD {{s}}{key} {n}")),
            2 => (key(), key()).prop_map(|(a, b)| format!("RENAME {a} {b}")),
            2 => (key(), key()).prop_map(|(a, b)| format!("COPY {a} {b} REPLACE")),
            1 => (key(), 0..3u32).prop_map(|(a, db)| format!("MOVE {a} {db}")),
            2 => key().prop_map(|key| format!("PEXPIRE {key} 90000")),
            2 => (0..3u32).prop_map(|db| format!("SELECT {db}")),
            1 => (0..3u32, 0..3u32).prop_map(|(a, b)| format!("SWAPDB {a} {b}")),
            1 => Just("FLUSHDB".to_owned()),
            1 => Just("FLUSHALL".to_owned()),
        ];
        prop::collection::vec(one, 0..120)
    }

    fn apply(bench: &mut Bench, command: &str) {
        match command.strip_prefix("SELECT ") {
            Some(db) => bench.db = db.parse().unwrap(),
            None => drop(bench.run(command)),
        }
    }

    proptest! {
        // Each goes through all slots several times.
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn a_save_shows_the_moment_when_it_began(
            before in commands(),
            during in commands(),
            step in prop_oneof![Just(1usize), 1..200usize, Just(100_000)],
            every in 1..20usize,
        ) {
            let mut bench = Bench::new();
            before.iter().for_each(|command| apply(&mut bench, command));
            let expected = picture(&bench.shard);
            bench.shard.begin_save(SaveOptions::default(), &bench.settings, bench.now_ms);
            let mut sections = Vec::new();
            for (n, command) in during.iter().enumerate() {
                if n % every == 0 {
                    bench.shard.save_step(step, &bench.settings, bench.now_ms).unwrap();
                    sections.extend(bench.shard.take_sections());
                }
                apply(&mut bench, command);
            }
            while !bench.shard.save_step(step, &bench.settings, bench.now_ms).unwrap().done {}
            sections.extend(bench.shard.take_sections());
            prop_assert_eq!(bench.shard.save_held_bytes(), 0);
            bench.shard.end_save();
            prop_assert_eq!(rebuilt(&sections), expected);
        }
    }

    #[test]
    fn a_slot_that_moves_takes_its_part_of_the_save_along() {
        let hasher = Hasher::default();
        let mut first = Shard::whole(16, hasher.clone(), 1);
        let mut second = Shard::new(16, hasher, 2);
        let mut bench = Bench::new();
        std::mem::swap(&mut bench.shard, &mut first);
        for n in 0..200 {
            bench.run(&format!("SET k{n} {n}"));
            bench.run(&format!("SET {{tag}}{n} {n}"));
        }
        let expected = picture(&bench.shard);
        bench.shard.begin_save(SaveOptions::default(), &bench.settings, 0);
        second.begin_save(SaveOptions::default(), &bench.settings, 0);
        // Some keys are written ahead, and one slot is left in its middle.
        let settings = bench.settings.clone();
        for n in 0..200 {
            bench.run(&format!("SET {{tag}}{n} changed"));
        }
        bench.shard.save_step(2_000, &settings, 0).unwrap();
        let mut sections = bench.shard.take_sections();
        for slot in Slot::all() {
            let moving = bench.shard.take_slot(slot);
            second.put_slot(slot, moving);
        }
        assert!(bench.shard.save_step(1, &settings, 0).unwrap().done);
        std::mem::swap(&mut bench.shard, &mut second);
        for n in 0..200 {
            bench.run(&format!("DEL k{n}"));
        }
        while !bench.shard.save_step(100, &settings, 0).unwrap().done {}
        sections.extend(bench.shard.take_sections());
        assert_eq!(rebuilt(&sections), expected);
    }
}
