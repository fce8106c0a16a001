//! Slots that are still in a snapshot file: known by their counts, built when they are asked for.
//!
//! A node that starts maps its snapshot, hands each shard the sections of its slots, and serves. A slot is built before
//! the first command on it runs, or in the background, whichever comes first; until then it costs its place in the
//! index. A section that is not what the index says stays where it is: its slot is *damaged*, every command on it is
//! refused, and so is every save, so that the file that still holds its keys is not replaced.

use super::access::{Keyspace, due_of, volatile};
use super::entry::Entry;
use super::evict;
use super::shard::{Counts, Garbage, Shard, Volatile};
use crate::error::CommandError;
use crate::hash::Hasher;
use crate::rdb::file::{Item, Reader, Record};
use crate::rdb::load::{self, Loaded};
use crate::rdb::save::Access;
use crate::rdb::{Family, RdbError, Version};
use crate::settings::Settings;
use crate::slot::Slot;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One section of a snapshot file, not yet read.
#[derive(Clone, Debug)]
pub struct StoredSection {
    /// The file, for messages.
    pub file: Arc<str>,
    /// Where in the file it begins.
    pub offset: u64,
    /// How its bytes are to be read.
    pub family: Family,
    /// Its bytes, usually a part of the mapped file.
    pub bytes: Bytes,
    /// Their checksum.
    pub crc32: u32,
    /// The database.
    pub db: usize,
    /// What the index says of it.
    pub counts: Counts,
    /// Keys whose time was over before this moment, Unix ms, count as [stale](Shard::stale_in_file) when they are built.
    pub stale_before_ms: i64,
}

/// The slots of a shard that are still in a file.
#[derive(Debug, Default)]
pub(super) struct Stored {
    slots: BTreeMap<u16, Vec<StoredSection>>,
    damaged: BTreeMap<u16, Arc<str>>,
}

/// Why a section cannot be read.
#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error("checksum {found:08x}, expected {expected:08x}")]
    Checksum { found: u32, expected: u32 },
    #[error("{found:?} where the index says {expected:?}")]
    Counts { found: Counts, expected: Counts },
    #[error("the same key twice")]
    Twice,
    #[error("something other than a key")]
    NoKey,
    #[error("a key of another slot")]
    OtherSlot,
    #[error("{0}")]
    Format(#[from] RdbError),
}

impl Shard {
    /// Hands a slot over as it is in a file. The slot must be owned and must never have held a key.
    pub fn store_slot(&mut self, slot: Slot, sections: Vec<StoredSection>) {
        self.put_stored(slot, sections);
    }

    /// Whether any slot is still in a file.
    #[inline]
    pub fn has_stored(&self) -> bool {
        self.stored.is_some()
    }

    /// How many slots are still in a file.
    pub fn stored_slots(&self) -> usize {
        self.stored.as_ref().map_or(0, |stored| stored.slots.len())
    }

    /// Builds a slot if it is still in a file. To be called before anything looks into the slot. O(keys in the slot).
    ///
    /// # Errors
    /// The slot is damaged: the line says where. It stays in the file.
    #[inline]
    pub fn build_slot(&mut self, slot: Slot, settings: &Settings, now_ms: i64) -> Result<(), CommandError> {
        if self.has_stored() { self.build_stored(slot, settings, now_ms) } else { Ok(()) }
    }

    /// Builds the next slot that is still in a file; false when there is none but damaged ones.
    pub fn build_next(&mut self, settings: &Settings, now_ms: i64) -> bool {
        let Some(stored) = &self.stored else { return false };
        let next = stored.slots.keys().find(|slot| !stored.damaged.contains_key(slot));
        let Some(slot) = next.and_then(|slot| Slot::new(usize::from(*slot))) else { return false };
        // Damage is kept and told to whoever asks for the slot.
        drop(self.build_stored(slot, settings, now_ms));
        true
    }

    /// Damaged slots, and what is wrong with each.
    pub fn damaged_slots(&self) -> impl Iterator<Item = (u16, &str)> {
        self.stored.iter().flat_map(|stored| stored.damaged.iter().map(|(slot, why)| (*slot, &**why)))
    }

    #[cold]
    fn build_stored(&mut self, slot: Slot, settings: &Settings, now_ms: i64) -> Result<(), CommandError> {
        let number = slot.index() as u16;
        let Some(stored) = &mut self.stored else { return Ok(()) };
        if let Some(why) = stored.damaged.get(&number) {
            return Err(refusal(number, why));
        }
        let Some(sections) = stored.slots.remove(&number) else { return Ok(()) };
        let built: Result<Vec<Vec<Entry>>, Arc<str>> =
            sections.iter().map(|section| read(section, slot, settings, self.hasher(), now_ms)).collect();
        for section in &sections {
            self.change_counts(section.db, section.counts, |count, n| *count -= n);
        }
        let inserted = built.and_then(|built| {
            sections
                .iter()
                .zip(built)
                .try_for_each(|(section, entries)| self.insert_built(slot, section, entries))
        });
        if let Err(why) = inserted {
            let moving = self.take_slot(slot);
            self.put_slot(slot, moving.without_keys());
            self.put_stored(slot, sections);
            self.stored.get_or_insert_default().damaged.insert(number, why.clone());
            return Err(refusal(number, &why));
        }
        if self.stored.as_ref().is_some_and(|stored| stored.slots.is_empty()) {
            self.stored = None;
        }
        Ok(())
    }

    fn insert_built(
        &mut self,
        slot: Slot,
        section: &StoredSection,
        entries: Vec<Entry>,
    ) -> Result<(), Arc<str>> {
        let is_stale = |entry: &&Entry| entry.expiry().is_some_and(|at| at < section.stale_before_ms);
        let stale = entries.iter().filter(is_stale).count();
        for entry in entries {
            self.add_loaded(slot, section.db, entry).map_err(|_| describe(section, &Damage::Twice))?;
        }
        self.stale_in_file += stale as u64;
        Ok(())
    }

    /// Adds a key that was read from a file. Raises no event, leaves no effect, counts as no change.
    ///
    /// # Errors
    /// There is such a key already: the entry comes back.
    pub fn add_loaded(&mut self, slot: Slot, physical: usize, entry: Entry) -> Result<(), Entry> {
        let (due, after) = (due_of(&entry), volatile(&entry));
        let hash = self.hasher().hash(entry.key());
        let table = &self.slot_mut(slot).db_mut(physical).table;
        if table.find(hash, |other| other.key() == entry.key()).is_some() {
            return Err(entry);
        }
        self.insert_entry(slot, physical, hash, entry);
        if after.any() {
            self.count_volatile(slot, physical, Volatile::default(), after, due);
        }
        Ok(())
    }

    /// As [`add_loaded`](Self::add_loaded), but takes the place of a key that is there. No save may run.
    pub fn replace_loaded(&mut self, slot: Slot, physical: usize, entry: Entry) {
        let Err(entry) = self.add_loaded(slot, physical, entry) else { return };
        let hasher = self.hasher().clone();
        let table = &mut self.slot_mut(slot).db_mut(physical).table;
        let is_it = |other: &Entry| other.key() == entry.key();
        if let Some(old) = table.remove(hasher.hash(entry.key()), is_it, |other| hasher.hash(other.key())) {
            self.count_keys(physical, -1);
            self.count_volatile(slot, physical, volatile(&old), Volatile::default(), i64::MAX);
            self.garbage.push(Garbage::Entry(old));
        }
        // Nothing is there any more.
        drop(self.add_loaded(slot, physical, entry));
    }

    pub(super) fn stored_len(&self, slot: Slot, physical: usize) -> usize {
        let sections = self.stored.as_ref().and_then(|stored| stored.slots.get(&(slot.index() as u16)));
        let of_db = sections.into_iter().flatten().filter(|section| section.db == physical);
        of_db.map(|section| section.counts.keys).sum()
    }

    /// A slot goes to another shard as it is in the file.
    pub(super) fn take_stored(&mut self, slot: Slot) -> Vec<StoredSection> {
        let number = slot.index() as u16;
        let Some(stored) = &mut self.stored else { return Vec::new() };
        stored.damaged.remove(&number);
        let sections = stored.slots.remove(&number).unwrap_or_default();
        if stored.slots.is_empty() {
            self.stored = None;
        }
        for section in &sections {
            self.change_counts(section.db, section.counts, |count, n| *count -= n);
        }
        sections
    }

    pub(super) fn put_stored(&mut self, slot: Slot, sections: Vec<StoredSection>) {
        if sections.is_empty() {
            return;
        }
        for section in &sections {
            self.change_counts(section.db, section.counts, |count, n| *count += n);
        }
        self.stored.get_or_insert_default().slots.insert(slot.index() as u16, sections);
        self.quiet_until_ms = 0;
    }

    /// The keys of a database are gone, also those that are still in a file, damaged or not.
    pub(super) fn forget_stored(&mut self, physical: usize) {
        let Some(stored) = &mut self.stored else { return };
        let Stored { slots, damaged } = &mut **stored;
        slots.retain(|slot, sections| {
            sections.retain(|section| section.db != physical);
            if sections.is_empty() {
                damaged.remove(slot);
            }
            !sections.is_empty()
        });
        if slots.is_empty() {
            self.stored = None;
        }
    }
}

impl Keyspace<'_> {
    /// Builds the slot of a key if it is still in a file; see [`Shard::build_slot`].
    ///
    /// # Errors
    /// The slot is damaged.
    #[inline]
    pub fn build_slot(&mut self, slot: Slot) -> Result<(), CommandError> {
        let (settings, now_ms) = (self.settings(), self.now_ms());
        self.shard_mut(slot).build_slot(slot, settings, now_ms)
    }

    /// Builds every slot of the held shards that is still in a file. O(keys in them).
    ///
    /// # Errors
    /// A slot is damaged; the others are built.
    pub fn build_all(&mut self) -> Result<(), CommandError> {
        let (settings, now_ms) = (self.settings(), self.now_ms());
        let mut damaged = None;
        self.for_each_shard(|shard| {
            while shard.build_next(settings, now_ms) {}
            damaged = damaged.take().or_else(|| shard.damaged_slots().next().map(|(n, why)| refusal(n, why)));
        });
        damaged.map_or(Ok(()), Err)
    }
}

fn refusal(slot: u16, why: &str) -> CommandError {
    CommandError::owned(format!("CORRUPT Slot {slot} cannot be read: {why}"))
}

/// The entries of a section, all or none.
///
/// The checksum is compared when the values have been built: should pages of a mapped file vanish, they read as zeros
/// from then on, whenever that happened.
fn read(
    section: &StoredSection,
    slot: Slot,
    settings: &Settings,
    hasher: &Hasher,
    now_ms: i64,
) -> Result<Vec<Entry>, Arc<str>> {
    let decoded = decode(section, slot, settings, hasher, now_ms);
    let found = crc32fast::hash(&section.bytes);
    if found != section.crc32 {
        return Err(describe(section, &Damage::Checksum { found, expected: section.crc32 }));
    }
    decoded.map_err(|damage| describe(section, &damage))
}

fn decode(
    section: &StoredSection,
    slot: Slot,
    settings: &Settings,
    hasher: &Hasher,
    now_ms: i64,
) -> Result<Vec<Entry>, Damage> {
    // Every key takes three bytes at least: the claim of the index cannot make us allocate more than that allows.
    let mut entries = Vec::with_capacity(section.counts.keys.min(section.bytes.len() / 3));
    let mut counts = Counts::default();
    let (mut reader, mut at) = (Reader::of_section(section.family, Version::V12), 0);
    while at < section.bytes.len() {
        let (item, used) = reader.next(&section.bytes[at..])?;
        at += used;
        let Item::Key(record) = item else { return Err(Damage::NoKey) };
        let Some(entry) = entry_of(&record, section.family, settings, hasher, now_ms)? else { continue };
        if Slot::of(entry.key()) != slot {
            return Err(Damage::OtherSlot);
        }
        counts.add(volatile(&entry));
        entries.push(entry);
    }
    if counts != section.counts {
        return Err(Damage::Counts { found: counts, expected: section.counts });
    }
    Ok(entries)
}

/// The entry of a key that was read from a file; `None` for an empty collection, which some old servers wrote: Redis
/// leaves it out, too.
///
/// # Errors
/// The value is not what its type says.
pub fn entry_of(
    record: &Record<'_>,
    family: Family,
    settings: &Settings,
    hasher: &Hasher,
    now_ms: i64,
) -> Result<Option<Entry>, RdbError> {
    let clock = match record.access {
        Some(Access::Idle(seconds)) if !settings.maxmemory_policy.is_lfu() => {
            evict::clock_of_idle(u32::try_from(seconds).unwrap_or(u32::MAX), now_ms)
        }
        Some(Access::Frequency(frequency)) if settings.maxmemory_policy.is_lfu() => {
            evict::clock_of_frequency(frequency, now_ms)
        }
        _ => evict::fresh(settings, now_ms),
    };
    let key = &record.key;
    Ok(match load::borrowed(record.kind, family, record.value, settings, hasher) {
        Ok((Loaded::Text(text), _)) => Some(Entry::string(key, text, record.expiry_ms, clock)),
        Ok((Loaded::Value(value), _)) => Some(Entry::new(key, value, record.expiry_ms, clock)),
        Err(RdbError::Empty { .. }) => None,
        Err(error) => return Err(error),
    })
}

fn describe(section: &StoredSection, damage: &Damage) -> Arc<str> {
    let end = section.offset + section.bytes.len() as u64;
    format!("{}, bytes {} to {end}: {damage}", section.file, section.offset).into()
}
