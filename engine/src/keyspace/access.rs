//! Lookups and changes as commands see them: by key and type, over whichever shards are held.

use super::entry::Entry;
use super::notify::{Class, Event};
use super::shard::{ReadyKey, Shard, Volatile};
use super::value::{KeyType, StrRef, Value, ValueMut, ValueRef};
use super::waiting::{self, Waiter, WatchFlag, drop_if_nobody};
use crate::error::CommandError;
use crate::number::{I64_TEXT_MAX, parse_i64};
use crate::settings::Settings;
use crate::slot::Slot;
use crate::table::Place;
use crate::types::{hash::Hash, list::List, set::Set, stream::Stream, zset::ZSet};
use std::sync::Arc;

/// What happens to the expiry of a key that is overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetExpiry {
    /// It is gone.
    Clear,
    /// It stays.
    Keep,
    /// It becomes this, in Unix milliseconds.
    At(i64),
}

/// Several shards that are held together.
pub trait ShardList {
    /// How many there are.
    fn count(&self) -> usize;
    /// One of them.
    fn get(&self, at: usize) -> &Shard;
    /// One of them, to change.
    fn get_mut(&mut self, at: usize) -> &mut Shard;
}

/// The shards whose batons are held.
enum Held<'a> {
    One(&'a mut Shard),
    Many(&'a mut (dyn ShardList + 'a)),
}

/// Where a live entry is, until the key space changes.
#[derive(Clone, Copy)]
struct Found {
    slot: Slot,
    physical: usize,
    place: Place,
}

/// The key space as far as it is held, seen from one database at one time.
pub struct Keyspace<'a> {
    held: Held<'a>,
    settings: &'a Settings,
    db: usize,
    now_ms: i64,
    /// The time that access clocks show: of a replay, where `now_ms` is before all, the present.
    clock_ms: i64,
    no_touch: bool,
    keep_expired: bool,
    is_own_write: bool,
    dirty: u64,
    /// A key of the running command, by its place in memory, and its slot: see [`hint`](Self::hint).
    hint: (*const u8, usize, Slot, u64),
}

impl<'a> Keyspace<'a> {
    /// The key space of one shard.
    #[inline]
    pub fn one(shard: &'a mut Shard, settings: &'a Settings, db: usize, now_ms: i64) -> Self {
        Self::over(Held::One(shard), settings, db, now_ms)
    }

    /// The key space of several shards; together they own every slot that will be asked for.
    pub fn many(
        shards: &'a mut (dyn ShardList + 'a),
        settings: &'a Settings,
        db: usize,
        now_ms: i64,
    ) -> Self {
        Self::over(Held::Many(shards), settings, db, now_ms)
    }

    fn over(held: Held<'a>, settings: &'a Settings, db: usize, now_ms: i64) -> Self {
        let nowhere = (std::ptr::null(), 0, Slot::FIRST, 0);
        Self {
            held,
            settings,
            db,
            now_ms,
            clock_ms: now_ms,
            no_touch: false,
            keep_expired: false,
            is_own_write: false,
            dirty: 0,
            hint: nowhere,
        }
    }

    /// Lookups leave access clocks alone (CLIENT NO-TOUCH).
    pub fn set_no_touch(&mut self, no_touch: bool) {
        self.no_touch = no_touch;
    }

    /// Access clocks show this time (Unix ms) instead of that of the commands, and times to live count from it.
    pub fn show_time(&mut self, clock_ms: i64) {
        self.clock_ms = clock_ms;
    }

    /// The time that access clocks show, and from which times to live count: that of the batch, but in a replay.
    #[inline]
    pub fn present_ms(&self) -> i64 {
        self.clock_ms
    }

    /// Keys whose time is over stay where they are (CLIENT PAUSE); absent they are all the same. Only for commands that
    /// write nothing: a key must not be added beside one that stayed.
    pub fn set_keep_expired(&mut self, keep_expired: bool) {
        self.keep_expired = keep_expired;
    }

    /// A client of a replica changes data that are otherwise its primary's: keys that get a time to live now are due here, for
    /// the primary will never remove them.
    pub fn set_own_write(&mut self, is_own_write: bool) {
        self.is_own_write = is_own_write;
    }

    /// Tells that `key` is in `slot` and has this hash, which the router has computed already. `key` must be the very slice that is
    /// among the arguments of the command that runs next: it is known by its address, so the hint ends with the
    /// command. (Keys that a command makes up may come to lie where another one lay: they are never remembered.)
    #[inline]
    pub fn hint(&mut self, key: &[u8], slot: Slot, hash: u64) {
        self.hint = (key.as_ptr(), key.len(), slot, hash);
    }

    /// Whether lookups leave access clocks alone.
    pub(super) fn no_touch(&self) -> bool {
        self.no_touch
    }

    pub(super) fn settings(&self) -> &'a Settings {
        self.settings
    }

    /// The time of the batch, in Unix milliseconds.
    #[inline]
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// The time that clocks show, in Unix milliseconds: that of the batch, in a replay the present.
    #[inline]
    pub fn clock_ms(&self) -> i64 {
        self.clock_ms
    }

    /// The logical database in use.
    pub fn db(&self) -> usize {
        self.db
    }

    /// Goes on in another logical database.
    pub fn select(&mut self, db: usize) {
        self.db = db;
    }

    /// How many changes the command has made so far.
    #[inline]
    pub fn dirty(&self) -> u64 {
        self.dirty
    }

    /// Notes `n` changes, without saying to which key.
    pub fn add_dirty(&mut self, n: u64) {
        self.dirty += n;
    }

    /// All shards held.
    pub fn shards(&self) -> impl Iterator<Item = &Shard> {
        let count = match &self.held {
            Held::One(_) => 1,
            Held::Many(shards) => shards.count(),
        };
        (0..count).map(|at| match &self.held {
            Held::One(shard) => &**shard,
            Held::Many(shards) => shards.get(at),
        })
    }

    /// One of the shards held, to change: `at` counts them.
    pub fn nth_shard_mut(&mut self, at: usize) -> Option<&mut Shard> {
        match &mut self.held {
            Held::One(shard) => (at == 0).then_some(&mut **shard),
            Held::Many(shards) => (at < shards.count()).then(|| shards.get_mut(at)),
        }
    }

    /// Does something to every shard held.
    pub fn for_each_shard(&mut self, mut work: impl FnMut(&mut Shard)) {
        let mut at = 0;
        while let Some(shard) = self.nth_shard_mut(at) {
            work(shard);
            at += 1;
        }
    }

    /// The shard that owns the slot.
    #[inline]
    pub fn shard(&self, slot: Slot) -> &Shard {
        match &self.held {
            Held::One(shard) => shard,
            Held::Many(shards) => shards.get(owner(&**shards, slot)),
        }
    }

    /// The shard that owns the slot, to change.
    #[inline]
    pub fn shard_mut(&mut self, slot: Slot) -> &mut Shard {
        match &mut self.held {
            Held::One(shard) => shard,
            Held::Many(shards) => {
                let at = owner(&**shards, slot);
                shards.get_mut(at)
            }
        }
    }

    /// The slot of a key.
    #[inline]
    pub fn slot(&self, key: &[u8]) -> Slot {
        if self.hint.0 == key.as_ptr() && self.hint.1 == key.len() { self.hint.2 } else { Slot::of(key) }
    }

    /// The hash of a key.
    #[inline]
    fn hash_of(&self, key: &[u8], shard: &Shard) -> u64 {
        if self.hint.0 == key.as_ptr() && self.hint.1 == key.len() {
            self.hint.3
        } else {
            shard.hasher().hash(key)
        }
    }

    // ---- reading -------------------------------------------------------------------------------------------

    /// Looks a key up for a command: counts the hit or miss, notes the access, and lets an expired key go.
    #[inline]
    pub fn read(&mut self, key: &[u8]) -> Option<ValueRef<'_>> {
        let found = self.find(key);
        self.count_lookup(key, found.is_some());
        self.used(found?).map(|entry| entry.value())
    }

    /// The string at a key. Integers are kept as such: see [`StrRef`].
    #[inline]
    pub fn string(&mut self, key: &[u8]) -> Result<Option<StrRef<'_>>, CommandError> {
        match self.read(key) {
            None => Ok(None),
            Some(ValueRef::Str(text)) => Ok(Some(text)),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    /// The list at a key.
    pub fn list(&mut self, key: &[u8]) -> Result<Option<&List>, CommandError> {
        match self.read(key) {
            None => Ok(None),
            Some(ValueRef::List(list)) => Ok(Some(list)),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    /// The set at a key.
    pub fn set(&mut self, key: &[u8]) -> Result<Option<&Set>, CommandError> {
        match self.read(key) {
            None => Ok(None),
            Some(ValueRef::Set(set)) => Ok(Some(set)),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    /// The hash at a key.
    pub fn hash(&mut self, key: &[u8]) -> Result<Option<&Hash>, CommandError> {
        match self.read(key) {
            None => Ok(None),
            Some(ValueRef::Hash(hash)) => Ok(Some(hash)),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    /// The sorted set at a key.
    pub fn zset(&mut self, key: &[u8]) -> Result<Option<&ZSet>, CommandError> {
        match self.read(key) {
            None => Ok(None),
            Some(ValueRef::ZSet(zset)) => Ok(Some(zset)),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    /// The stream at a key.
    pub fn stream(&mut self, key: &[u8]) -> Result<Option<&Stream>, CommandError> {
        match self.read(key) {
            None => Ok(None),
            Some(ValueRef::Stream(stream)) => Ok(Some(stream)),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    /// The value at a key, without counting or noting anything. An expired key is absent. Several may be held
    /// at once: read every key first, then peek at all of them.
    #[inline]
    pub fn peek(&self, key: &[u8]) -> Option<ValueRef<'_>> {
        self.peek_entry(key).map(Entry::value)
    }

    /// The entry at a key, as [`peek`](Self::peek).
    #[inline]
    pub fn peek_entry(&self, key: &[u8]) -> Option<&Entry> {
        self.peek_entry_in(self.db, key)
    }

    /// The entry at a key of another database, as [`peek`](Self::peek).
    #[inline]
    pub fn peek_entry_in(&self, db: usize, key: &[u8]) -> Option<&Entry> {
        self.stored_entry_in(db, key).filter(|entry| entry.expiry().is_none_or(|at| at > self.now_ms))
    }

    /// The entry at a key even when its time has come and it only waits to be removed (DEBUG).
    pub fn stored_entry(&self, key: &[u8]) -> Option<&Entry> {
        self.stored_entry_in(self.db, key)
    }

    #[inline]
    fn stored_entry_in(&self, db: usize, key: &[u8]) -> Option<&Entry> {
        let slot = self.slot(key);
        let shard = self.shard(slot);
        let db = shard.slot(slot)?.db(shard.physical(db))?;
        db.table.find(self.hash_of(key, shard), |entry| entry.key() == key)
    }

    /// Whether there is such a key; notes no access. An expired key is let go.
    pub fn exists(&mut self, key: &[u8]) -> bool {
        self.find(key).is_some()
    }

    /// The type of a key; notes no access.
    pub fn kind(&mut self, key: &[u8]) -> Option<KeyType> {
        let found = self.find(key)?;
        self.at(found).map(|entry| entry.value().kind())
    }

    /// When a key expires: `None` when there is no key, `Some(None)` when it does not.
    #[allow(clippy::option_option, reason = "no key, no expiry and an expiry are three answers")]
    pub fn expiry(&mut self, key: &[u8]) -> Option<Option<i64>> {
        let found = self.find(key)?;
        self.at(found).map(Entry::expiry)
    }

    // ---- changing ------------------------------------------------------------------------------------------

    /// The value at a key, to change in place. A string becomes a buffer of its own.
    pub fn value_mut(&mut self, key: &[u8]) -> Option<ValueMut<'_>> {
        let found = self.find(key)?;
        self.changing(found).map(Entry::value_mut)
    }

    /// The string at a key, to change in place.
    pub fn string_mut(&mut self, key: &[u8]) -> Result<Option<&mut Vec<u8>>, CommandError> {
        let Some(found) = self.find(key) else { return Ok(None) };
        match self.changing(found) {
            None => Ok(None),
            Some(entry) if !matches!(entry.value(), ValueRef::Str(_)) => Err(CommandError::WrongType),
            Some(entry) => match entry.value_mut() {
                ValueMut::Str(text) => Ok(Some(text)),
                _ => Err(CommandError::WrongType),
            },
        }
    }

    /// The list at a key, to change in place.
    pub fn list_mut(&mut self, key: &[u8]) -> Result<Option<&mut List>, CommandError> {
        match self.value_mut_unless_string(key)? {
            None => Ok(None),
            Some(ValueMut::List(list)) => Ok(Some(list)),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    /// The set at a key, to change in place.
    pub fn set_mut(&mut self, key: &[u8]) -> Result<Option<&mut Set>, CommandError> {
        match self.value_mut_unless_string(key)? {
            None => Ok(None),
            Some(ValueMut::Set(set)) => Ok(Some(set)),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    /// The hash at a key, to change in place.
    pub fn hash_mut(&mut self, key: &[u8]) -> Result<Option<&mut Hash>, CommandError> {
        match self.value_mut_unless_string(key)? {
            None => Ok(None),
            Some(ValueMut::Hash(hash)) => Ok(Some(hash)),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    /// The sorted set at a key, to change in place.
    pub fn zset_mut(&mut self, key: &[u8]) -> Result<Option<&mut ZSet>, CommandError> {
        match self.value_mut_unless_string(key)? {
            None => Ok(None),
            Some(ValueMut::ZSet(zset)) => Ok(Some(zset)),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    /// The stream at a key, to change in place.
    pub fn stream_mut(&mut self, key: &[u8]) -> Result<Option<&mut Stream>, CommandError> {
        match self.value_mut_unless_string(key)? {
            None => Ok(None),
            Some(ValueMut::Stream(stream)) => Ok(Some(stream)),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    /// The string at a key, to change in place; an empty one is made when there is none.
    pub fn string_or_new(&mut self, key: &[u8]) -> Result<&mut Vec<u8>, CommandError> {
        let found = match self.find(key) {
            Some(found) => Some(found),
            None => {
                let clock = self.fresh_clock();
                self.put_entry(key, None, Entry::string(key, b"", None, clock));
                self.find(key)
            }
        };
        match found.and_then(|found| self.changing(found)) {
            Some(entry) if matches!(entry.value(), ValueRef::Str(_)) => match entry.value_mut() {
                ValueMut::Str(text) => Ok(text),
                _ => Err(CommandError::WrongType),
            },
            _ => Err(CommandError::WrongType),
        }
    }

    /// The list at a key, made when there is none.
    pub fn list_or_new(&mut self, key: &[u8]) -> Result<&mut List, CommandError> {
        match self.value_or_new(key, || Value::List(Box::default()))? {
            ValueMut::List(list) => Ok(list),
            _ => Err(CommandError::WrongType),
        }
    }

    /// The hash at a key, made when there is none.
    pub fn hash_or_new(&mut self, key: &[u8]) -> Result<&mut Hash, CommandError> {
        match self.value_or_new(key, || Value::Hash(Box::default()))? {
            ValueMut::Hash(hash) => Ok(hash),
            _ => Err(CommandError::WrongType),
        }
    }

    /// The set at a key, made when there is none.
    pub fn set_or_new(&mut self, key: &[u8]) -> Result<&mut Set, CommandError> {
        match self.value_or_new(key, || Value::Set(Box::default()))? {
            ValueMut::Set(set) => Ok(set),
            _ => Err(CommandError::WrongType),
        }
    }

    /// The sorted set at a key, made when there is none.
    pub fn zset_or_new(&mut self, key: &[u8]) -> Result<&mut ZSet, CommandError> {
        match self.value_or_new(key, || Value::ZSet(Box::default()))? {
            ValueMut::ZSet(zset) => Ok(zset),
            _ => Err(CommandError::WrongType),
        }
    }

    /// The stream at a key, made when there is none.
    pub fn stream_or_new(&mut self, key: &[u8]) -> Result<&mut Stream, CommandError> {
        match self.value_or_new(key, || Value::Stream(Box::default()))? {
            ValueMut::Stream(stream) => Ok(stream),
            _ => Err(CommandError::WrongType),
        }
    }

    /// Puts a string at a key, whatever was there, in place where it fits. A canonical integer is kept as one.
    pub fn put_string(&mut self, key: &[u8], value: &[u8], expiry: SetExpiry) {
        let n = if value.len() <= I64_TEXT_MAX { parse_i64(value) } else { None };
        let found = self.find(key);
        let (clock, old) = self.clock_after_write(found);
        let at = match expiry {
            SetExpiry::At(at) => Some(at),
            SetExpiry::Keep => old,
            SetExpiry::Clear => None,
        };
        if let Some(entry) = found.and_then(|found| self.at_mut(found)) {
            let fits = match n {
                Some(n) => entry.overwrite_int(n),
                None => entry.overwrite_inline(value),
            };
            if fits {
                entry.set_clock(clock);
                if at != old {
                    entry.set_expiry(at);
                    let of = |expiry: Option<i64>| Volatile { key: expiry.is_some(), fields: false };
                    self.note_volatile(key, of(old), of(at), at.unwrap_or(i64::MAX));
                    self.note_own(key, at);
                }
                return;
            }
        }
        let entry = match n {
            Some(n) => Entry::new(key, Value::Int(n), at, clock),
            None => Entry::string(key, value, at, clock),
        };
        self.put_entry(key, found, entry);
    }

    /// Changes the integer at a key by `change`, which gets 0 when there is no key; the expiry stays. The new
    /// integer. Nothing changes when `change` refuses.
    ///
    /// # Errors
    /// `WrongType`, `NotInteger`, and those of `change`.
    #[inline]
    pub fn change_integer(
        &mut self,
        key: &[u8],
        change: impl FnOnce(i64) -> Result<i64, CommandError>,
    ) -> Result<i64, CommandError> {
        let found = self.find(key);
        let Some(entry) = found.and_then(|found| self.changing(found)) else {
            let n = change(0)?;
            let clock = self.fresh_clock();
            self.put_entry(key, found, Entry::new(key, Value::Int(n), None, clock));
            return Ok(n);
        };
        let n = match entry.value() {
            ValueRef::Str(StrRef::Int(n)) => {
                let n = change(n)?;
                entry.overwrite_int(n);
                n
            }
            ValueRef::Str(text) => {
                let n =
                    change(parse_i64(text.bytes(&mut itoa::Buffer::new())).ok_or(CommandError::NotInteger)?)?;
                *entry = Entry::new(key, Value::Int(n), entry.expiry(), entry.clock());
                n
            }
            _ => return Err(CommandError::WrongType),
        };
        Ok(n)
    }

    /// Puts an integer at a key, whatever was there.
    pub fn put_integer(&mut self, key: &[u8], n: i64, expiry: SetExpiry) {
        self.put_string(key, itoa::Buffer::new().format(n).as_bytes(), expiry);
    }

    /// Puts a value at a key, whatever was there. Here as everywhere, a key that comes to be raises its `new` event.
    pub fn put(&mut self, key: &[u8], value: Value, expiry: Option<i64>) {
        let found = self.find(key);
        let (clock, _) = self.clock_after_write(found);
        self.put_entry(key, found, Entry::new(key, value, expiry, clock));
    }

    /// Sets or clears the expiry of a key; false when there is no such key.
    pub fn set_expiry(&mut self, key: &[u8], expiry: Option<i64>) -> bool {
        let found = self.find(key);
        let Some(entry) = found.and_then(|found| self.at_mut(found)) else { return false };
        let before = volatile(entry);
        entry.set_expiry(expiry);
        let (after, due) = (volatile(entry), due_of(entry));
        self.note_volatile(key, before, after, due);
        self.note_own(key, expiry);
        true
    }

    /// Sets the access clock of a key, as RESTORE does; false when there is no such key.
    pub fn set_clock(&mut self, key: &[u8], clock: u32) -> bool {
        let found = self.find(key);
        found.and_then(|found| self.at_mut(found)).map(|entry| entry.set_clock(clock)).is_some()
    }

    /// After a hash got or lost field expiries: `before` says whether it had any.
    pub fn hash_expiry_changed(&mut self, key: &[u8], before: bool) {
        let Some(entry) = self.peek_entry(key) else { return };
        let (after, due) = (volatile(entry), due_of(entry));
        self.note_volatile(key, Volatile { fields: before, ..after }, after, due);
    }

    /// Takes a key out with its value; `None` when there is none. Raises no event.
    pub fn take(&mut self, key: &[u8]) -> Option<(Value, Option<i64>)> {
        self.find(key)?;
        self.take_entry(key).map(Entry::into_value)
    }

    /// Removes a key; false when there is none. Raises no event.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.find(key).is_some() && self.take_entry(key).is_some()
    }

    /// Removes a collection that has become empty, with its `del` event; false when it is not. Streams stay.
    pub fn remove_if_empty(&mut self, key: &[u8]) -> bool {
        let empty = match self.peek(key) {
            Some(ValueRef::List(list)) => list.is_empty(),
            Some(ValueRef::Set(set)) => set.is_empty(),
            Some(ValueRef::Hash(hash)) => hash.is_empty(),
            Some(ValueRef::ZSet(zset)) => zset.is_empty(),
            _ => false,
        };
        if empty {
            self.take_entry(key);
            self.notify(Class::Generic, "del", key);
        }
        empty
    }

    // ---- what a change leaves ------------------------------------------------------------------------------

    /// Says that a command changed a key: voids the transactions that watch it, wakes whoever waits for it.
    #[inline]
    pub fn modified(&mut self, key: &[u8]) {
        self.dirty += 1;
        self.signal(key);
    }

    /// As [`modified`](Self::modified), but counts as `n` changes.
    pub fn modified_by(&mut self, key: &[u8], n: u64) {
        self.dirty += n;
        self.signal(key);
    }

    /// Voids the transactions that watch a key, wakes whoever waits for it, and leaves word for those who keep a copy.
    #[inline]
    pub fn signal(&mut self, key: &[u8]) {
        let slot = self.slot(key);
        let shard = self.shard(slot);
        if shard.broadcasting || shard.slot(slot).is_some_and(|data| data.waiting.is_some()) {
            self.signal_waiting(slot, key);
        }
    }

    #[cold]
    fn signal_waiting(&mut self, slot: Slot, key: &[u8]) {
        let db = self.db;
        let shard = self.shard_mut(slot);
        if let Some(waiting) = shard.slot(slot).and_then(|data| data.waiting.as_ref())
            && !(waiting.watched.is_empty() && waiting.blocked.is_empty())
        {
            let name = (db, Box::from(key));
            for flag in waiting.watched.get(&name).into_iter().flatten() {
                flag.touch();
            }
            if waiting.blocked.contains_key(&name) {
                shard.ready.push(ReadyKey { slot, key: name });
            }
        }
        shard.note_change(slot, key);
    }

    /// Wakes whoever waits for a key, without it having changed for those who watch it.
    pub fn wake(&mut self, key: &[u8]) {
        let (slot, db) = (self.slot(key), self.db);
        let shard = self.shard_mut(slot);
        let Some(waiting) = shard.slot(slot).and_then(|data| data.waiting.as_ref()) else { return };
        let name = (db, Box::from(key));
        if waiting.blocked.contains_key(&name) {
            shard.ready.push(ReadyKey { slot, key: name });
        }
    }

    /// Raises a keyspace event, if anybody asked for its class.
    #[inline]
    pub fn notify(&mut self, class: Class, name: &'static str, key: &[u8]) {
        if self.settings.notify & class as u32 != 0 {
            let (slot, db) = (self.slot(key), self.db);
            self.shard_mut(slot).events.push(Event { db, name, key: key.into() });
        }
    }

    /// Whether anybody collects effects: check before building costly ones.
    #[inline]
    pub fn has_listeners(&self) -> bool {
        self.shards().any(|shard| shard.effects.listening())
    }

    /// Leaves this effect in place of the running command. Several calls leave several. Effects are replayed in the
    /// order they are left: every key in it must have been looked up or changed before, so that the removal of
    /// one that has expired comes first.
    pub fn propagate(&mut self, args: &[&[u8]]) {
        let db = self.db;
        if let Some(shard) = self.nth_shard_mut(0) {
            shard.effects.instead(db, args);
        }
    }

    /// The running command leaves nothing of itself.
    pub fn propagate_nothing(&mut self) {
        if let Some(shard) = self.nth_shard_mut(0) {
            shard.effects.nothing();
        }
    }

    /// Leaves an effect besides those of the running command.
    pub fn propagate_also(&mut self, args: &[&[u8]]) {
        let db = self.db;
        if let Some(shard) = self.nth_shard_mut(0) {
            shard.effects.also(db, args);
        }
    }

    /// Ends a command: counts its changes and leaves its effect.
    #[inline]
    pub fn finish_command(&mut self, changes: u64, args: &[&[u8]]) {
        let db = self.db;
        let shard = match &mut self.held {
            Held::One(shard) => &mut **shard,
            Held::Many(shards) if shards.count() > 0 => shards.get_mut(0),
            Held::Many(_) => return,
        };
        shard.stats.dirty += changes;
        shard.effects.finish(db, changes > 0, args);
        self.hint = (std::ptr::null(), 0, self.hint.2, 0);
    }

    // ---- who waits -----------------------------------------------------------------------------------------

    /// Watches a key for a client.
    pub fn watch(&mut self, key: &[u8], flag: &Arc<WatchFlag>) {
        let (slot, db) = (self.slot(key), self.db);
        waiting::of_slot(self.shard_mut(slot), slot)
            .watched
            .entry((db, key.into()))
            .or_default()
            .push(flag.clone());
    }

    /// Ends a client's watch of a key.
    pub fn unwatch(&mut self, key: &[u8], flag: &Arc<WatchFlag>) {
        let (slot, db) = (self.slot(key), self.db);
        let Some(data) = self.shard_mut(slot).existing_slot_mut(slot) else { return };
        let Some(waiting) = data.waiting.as_mut() else { return };
        let name = (db, Box::from(key));
        if let Some(flags) = waiting.watched.get_mut(&name) {
            flags.retain(|other| !Arc::ptr_eq(other, flag));
            if flags.is_empty() {
                waiting.watched.remove(&name);
            }
        }
        drop_if_nobody(data);
    }

    /// Lets a command wait for its keys, behind those that wait already.
    pub fn wait(&mut self, waiter: &Arc<Waiter>) {
        let db = self.db;
        for key in &waiter.keys {
            let slot = self.slot(key);
            let line =
                waiting::of_slot(self.shard_mut(slot), slot).blocked.entry((db, key.clone())).or_default();
            if !line.iter().any(|other| Arc::ptr_eq(other, waiter)) {
                line.push_back(waiter.clone());
            }
        }
    }

    /// Has the lines of a command's keys looked at once more.
    pub fn look_again(&mut self, waiter: &Waiter) {
        for key in &waiter.keys {
            let (slot, name) = (self.slot(key), (waiter.db, key.clone()));
            let shard = self.shard_mut(slot);
            let waiting = shard.slot(slot).and_then(|data| data.waiting.as_ref());
            if waiting.is_some_and(|waiting| waiting.blocked.contains_key(&name)) {
                shard.ready.push(ReadyKey { slot, key: name });
            }
        }
    }

    /// Takes a command out of the lines of its keys, as far as their shards are held.
    pub fn stop_waiting(&mut self, waiter: &Arc<Waiter>) {
        for key in &waiter.keys {
            let slot = self.slot(key);
            let Some(data) = self.shard_mut(slot).existing_slot_mut(slot) else { continue };
            let Some(waiting) = data.waiting.as_mut() else { continue };
            let name = (waiter.db, key.clone());
            if let Some(line) = waiting.blocked.get_mut(&name) {
                line.retain(|other| !Arc::ptr_eq(other, waiter));
                if line.is_empty() {
                    waiting.blocked.remove(&name);
                }
            }
            drop_if_nobody(data);
        }
    }

    // ---- inside --------------------------------------------------------------------------------------------

    /// As `value_mut`, but refuses strings before they would be turned into buffers.
    fn value_mut_unless_string(&mut self, key: &[u8]) -> Result<Option<ValueMut<'_>>, CommandError> {
        let Some(found) = self.find(key) else { return Ok(None) };
        match self.changing(found) {
            Some(entry) if matches!(entry.value(), ValueRef::Str(_)) => Err(CommandError::WrongType),
            Some(entry) => Ok(Some(entry.value_mut())),
            None => Ok(None),
        }
    }

    /// As `value_mut_unless_string`, but makes a value where there is no key.
    fn value_or_new(
        &mut self,
        key: &[u8],
        value: impl FnOnce() -> Value,
    ) -> Result<ValueMut<'_>, CommandError> {
        let found = match self.find(key) {
            Some(found) => Some(found),
            None => {
                let clock = self.fresh_clock();
                self.put_entry(key, None, Entry::new(key, value(), None, clock));
                self.find(key)
            }
        };
        match found.and_then(|found| self.changing(found)) {
            Some(entry) if !matches!(entry.value(), ValueRef::Str(_)) => Ok(entry.value_mut()),
            _ => Err(CommandError::WrongType),
        }
    }

    /// Finds a key. Lets it go when its time has come: then there is none.
    #[inline]
    fn find(&mut self, key: &[u8]) -> Option<Found> {
        let (slot, db, now_ms) = (self.slot(key), self.db, self.now_ms);
        let shard = self.shard(slot);
        let physical = shard.physical(db);
        let table = &shard.slot(slot)?.db(physical)?.table;
        let place = table.locate(self.hash_of(key, shard), |entry| entry.key() == key)?;
        if table.at(place)?.expiry().is_some_and(|at| at <= now_ms) {
            if !self.keep_expired {
                self.expire(key);
            }
            return None;
        }
        Some(Found { slot, physical, place })
    }

    /// The entry that was found.
    #[inline]
    fn at(&self, found: Found) -> Option<&Entry> {
        self.shard(found.slot).slot(found.slot)?.db(found.physical)?.table.at(found.place)
    }

    /// The entry that was found, to change. Every change of an entry comes through here or through
    /// [`changing`](Self::changing), [`add_entry`](Self::add_entry) or [`take_entry`](Self::take_entry).
    #[inline]
    fn at_mut(&mut self, found: Found) -> Option<&mut Entry> {
        self.save_ahead(found);
        let data = self.shard_mut(found.slot).existing_slot_mut(found.slot)?;
        data.db_mut(found.physical).table.at_mut(found.place)
    }

    /// A save that runs writes what was found before it changes.
    #[inline]
    fn save_ahead(&mut self, found: Found) {
        let shard = self.shard_mut(found.slot);
        if shard.is_saving()
            && let Some(entry) = shard
                .slot(found.slot)
                .and_then(|data| data.db(found.physical))
                .and_then(|db| db.table.at(found.place))
        {
            let hash = shard.hasher().hash(entry.key());
            shard.save_ahead(found.slot, found.physical, hash);
        }
    }

    /// The entry that was found, to change; notes the access.
    #[inline]
    fn changing(&mut self, found: Found) -> Option<&mut Entry> {
        self.save_ahead(found);
        self.used(found)
    }

    /// The entry that was found, after noting the access: nothing else of it may change.
    #[inline]
    fn used(&mut self, found: Found) -> Option<&mut Entry> {
        let (no_touch, settings, now_ms) = (self.no_touch, self.settings, self.clock_ms);
        let shard = self.shard_mut(found.slot);
        let dice = if settings.maxmemory_policy.is_lfu() { shard.rng.unit() } else { 0.0 };
        let data = shard.existing_slot_mut(found.slot)?;
        let entry = data.db_mut(found.physical).table.at_mut(found.place)?;
        if !no_touch {
            entry.set_clock(super::evict::touched(entry.clock(), settings, now_ms, dice));
        }
        Some(entry)
    }

    /// The access clock of what is about to be put where `found` is, and the expiry of what is there. A key
    /// that is overwritten stays as frequent as it was.
    #[inline]
    fn clock_after_write(&mut self, found: Option<Found>) -> (u32, Option<i64>) {
        match found.and_then(|found| self.used(found)) {
            Some(entry) => {
                let (clock, expiry) = (entry.clock(), entry.expiry());
                let clock = if self.settings.maxmemory_policy.is_lfu() { clock } else { self.fresh_clock() };
                (clock, expiry)
            }
            None => (self.fresh_clock(), None),
        }
    }

    #[inline]
    fn count_lookup(&mut self, key: &[u8], found: bool) {
        let slot = self.slot(key);
        let stats = &mut self.shard_mut(slot).stats;
        if found {
            stats.hits += 1;
        } else {
            stats.misses += 1;
            self.notify(Class::KeyMiss, "keymiss", key);
        }
    }

    /// Lets a key go when its time has come; true when it did.
    pub(crate) fn expire_if_due(&mut self, key: &[u8]) -> bool {
        self.stored_entry(key).is_some() && self.find(key).is_none()
    }

    /// Removes a key whose time has come, with all that this leaves.
    pub(super) fn expire(&mut self, key: &[u8]) {
        let lazy = self.settings.lazyfree_lazy_expire;
        if let Some(entry) = self.take_entry(key).filter(|_| lazy) {
            self.discard(key, entry);
        }
        let slot = self.slot(key);
        self.shard_mut(slot).stats.expired += 1;
        let name: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
        self.propagate_also(&[name, key]);
        self.notify(Class::Expired, "expired", key);
        self.signal(key);
    }

    /// Puts an entry where `found` is, or adds it.
    fn put_entry(&mut self, key: &[u8], found: Option<Found>, entry: Entry) {
        let Some(place) = found.and_then(|found| self.at_mut(found)) else {
            return self.add_entry(key, entry);
        };
        let (due, after, expiry) = (due_of(&entry), volatile(&entry), entry.expiry());
        let old = std::mem::replace(place, entry);
        let (before, old_expiry) = (volatile(&old), old.expiry());
        drop(old);
        self.note_volatile(key, before, after, due);
        self.note_own(key, expiry.filter(|_| expiry != old_expiry));
    }

    /// The entry at a key, to change; notes no access.
    pub(super) fn entry_mut(&mut self, key: &[u8]) -> Option<&mut Entry> {
        let found = self.find(key)?;
        self.at_mut(found)
    }

    /// Adds an entry for a key that is not there.
    pub(super) fn add_entry(&mut self, key: &[u8], entry: Entry) {
        let (slot, db) = (self.slot(key), self.db);
        let (due, after, expiry) = (due_of(&entry), volatile(&entry), entry.expiry());
        let hash = self.hash_of(key, self.shard(slot));
        let shard = self.shard_mut(slot);
        let physical = shard.physical(db);
        if shard.is_saving() {
            shard.save_ahead(slot, physical, hash);
        }
        shard.insert_entry(slot, physical, hash, entry);
        self.note_volatile(key, Volatile::default(), after, due);
        self.note_own(key, expiry);
        self.notify(Class::New, "new", key);
    }

    pub(super) fn take_entry(&mut self, key: &[u8]) -> Option<Entry> {
        let (slot, db) = (self.slot(key), self.db);
        let hash = self.hash_of(key, self.shard(slot));
        let shard = self.shard_mut(slot);
        let physical = shard.physical(db);
        if shard.is_saving() {
            shard.save_ahead(slot, physical, hash);
        }
        let hasher = shard.hasher().clone();
        let table = &mut shard.existing_slot_mut(slot)?.db_mut(physical).table;
        let entry = table.remove(hash, |other| other.key() == key, |other| hasher.hash(other.key()))?;
        shard.count_keys(physical, -1);
        self.note_volatile(key, volatile(&entry), Volatile::default(), i64::MAX);
        Some(entry)
    }

    fn note_volatile(&mut self, key: &[u8], before: Volatile, after: Volatile, due: i64) {
        if !before.any() && !after.any() {
            return;
        }
        let (slot, db) = (self.slot(key), self.db);
        let shard = self.shard_mut(slot);
        let physical = shard.physical(db);
        shard.count_volatile(slot, physical, before, after, due);
    }

    /// A key got this expiry.
    #[inline]
    fn note_own(&mut self, key: &[u8], expiry: Option<i64>) {
        if self.is_own_write
            && let Some(due_ms) = expiry
        {
            let (slot, db) = (self.slot(key), self.db);
            let shard = self.shard_mut(slot);
            shard.own_keys.note((slot.index() as u16, shard.physical(db), key.into()), due_ms);
        }
    }

    pub(super) fn fresh_clock(&self) -> u32 {
        super::evict::fresh(self.settings, self.clock_ms)
    }
}

fn owner(shards: &dyn ShardList, slot: Slot) -> usize {
    (0..shards.count()).find(|at| shards.get(*at).owns(slot)).unwrap_or_default()
}

/// What of this entry the active expiry has to know.
pub(super) fn volatile(entry: &Entry) -> Volatile {
    let fields = matches!(entry.value(), ValueRef::Hash(hash) if hash.volatile_fields() > 0);
    Volatile { key: entry.expiry().is_some(), fields }
}

/// When the active expiry has to look at this entry first.
pub(super) fn due_of(entry: &Entry) -> i64 {
    let fields = match entry.value() {
        // A field is there until its deadline has passed, a key until its time has come.
        ValueRef::Hash(hash) => hash.next_expiry().map(|at| at.saturating_add(1)),
        _ => None,
    };
    entry.expiry().into_iter().chain(fields).min().unwrap_or(i64::MAX)
}
