//! The large encoding of a hash: a table of fields, each with its value and, where there is one, its deadline
//! in one allocation; and the deadlines in order.
//!
//! | part     | bytes          | meaning                                                              |
//! |----------|----------------|----------------------------------------------------------------------|
//! | head     | 1 to 10        | length of the field times 2, plus 1 with a deadline; LEB128           |
//! | deadline | 0 or 8         | milliseconds since 1970, little-endian                                |
//! | field    | as head says   |                                                                      |
//! | value    | all that follow |                                                                     |
//!
//! Invariants:
//! - An entry is only ever built by [`FieldEntry::new`], so its head can be trusted.
//! - `(deadline, hash of the field)` is in the order exactly as long as such an entry is in the table. Two
//!   fields of equal hash and deadline share one place in it.

use crate::hash::Hasher;
use crate::random::Rng;
use crate::table::SplitTable;
use crate::types::thin::ThinBytes;
use std::collections::BTreeSet;

const HEAD_BYTES_MAX: usize = 10;
const DEADLINE_BYTES: usize = 8;
/// Random draws that may hit expired fields before the live ones are counted instead.
const DRAWS_MAX: usize = 64;
/// What one deadline costs in the order: 16 bytes in nodes that are about two thirds full.
const DEADLINE_HEAP_BYTES: usize = 26;

/// What happens to the deadline of a field that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldTtl {
    /// The field lives forever, as after `HSET`.
    Drop,
    /// A field that is there keeps its deadline, as with `KEEPTTL` or after `HINCRBY`.
    Keep,
    /// The field expires at this time, in milliseconds since 1970.
    At(i64),
}

/// A field, its value and its deadline, in 8 bytes and one allocation.
#[derive(Debug, Clone)]
pub(crate) struct FieldEntry(ThinBytes);

impl FieldEntry {
    pub(crate) fn new(field: &[u8], value: &[u8], deadline: Option<i64>) -> Self {
        let mut head = [0; HEAD_BYTES_MAX];
        let mut len = 0;
        // A slice is at most `isize::MAX` long: doubling it cannot overflow.
        let mut rest = field.len() << 1 | usize::from(deadline.is_some());
        while rest >= 0x80 {
            head[len] = rest as u8 | 0x80;
            rest >>= 7;
            len += 1;
        }
        head[len] = rest as u8;
        let time = deadline.unwrap_or_default().to_le_bytes();
        let time = if deadline.is_some() { &time[..] } else { &[] };
        Self(ThinBytes::concat(&[&head[..=len], time, field, value]))
    }

    #[inline]
    pub(crate) fn field(&self) -> &[u8] {
        self.parts().0
    }

    #[inline]
    pub(crate) fn value(&self) -> &[u8] {
        self.parts().1
    }

    /// Field and value.
    #[inline]
    pub(crate) fn parts(&self) -> (&[u8], &[u8]) {
        let (start, field_len, _) = self.head();
        self.0[start..].split_at(field_len)
    }

    #[inline]
    pub(crate) fn deadline(&self) -> Option<i64> {
        let (start, _, timed) = self.head();
        let time = if timed { self.0[..start].last_chunk::<DEADLINE_BYTES>() } else { None };
        time.map(|bytes| i64::from_le_bytes(*bytes))
    }

    #[inline]
    fn is_expired(&self, now_ms: i64) -> bool {
        self.deadline().is_some_and(|at| at < now_ms)
    }

    /// Gives the field this value and deadline, in place where the lengths allow it.
    fn set(&mut self, value: &[u8], deadline: Option<i64>) {
        let (start, field_len, timed) = self.head();
        if timed != deadline.is_some() || self.0.len() - start - field_len != value.len() {
            *self = Self::new(self.field(), value, deadline);
            return;
        }
        self.0[start + field_len..].copy_from_slice(value);
        if let Some(at) = deadline {
            self.0[start - DEADLINE_BYTES..start].copy_from_slice(&at.to_le_bytes());
        }
    }

    fn set_deadline(&mut self, deadline: Option<i64>) {
        let (start, _, timed) = self.head();
        match deadline {
            Some(at) if timed => {
                self.0[start - DEADLINE_BYTES..start].copy_from_slice(&at.to_le_bytes());
            }
            None if !timed => {}
            _ => *self = Self::new(self.field(), self.value(), deadline),
        }
    }

    fn allocation_bytes(&self) -> usize {
        self.0.allocation_bytes()
    }

    /// Where the field starts, its length, and whether there is a deadline.
    #[inline]
    fn head(&self) -> (usize, usize, bool) {
        let (mut head, mut start) = (0, 0);
        for &byte in self.0.iter() {
            head |= usize::from(byte & 0x7f) << (7 * start);
            start += 1;
            if byte < 0x80 {
                break;
            }
        }
        let timed = head & 1 == 1;
        (start + if timed { DEADLINE_BYTES } else { 0 }, head >> 1, timed)
    }
}

/// A hash table of fields that can expire.
#[derive(Debug, Clone, Default)]
pub(crate) struct FieldTable {
    table: SplitTable<FieldEntry>,
    /// Absent while no field has a deadline.
    deadlines: Option<Box<Deadlines>>,
}

#[derive(Debug, Clone, Default)]
struct Deadlines {
    /// Fields with a deadline.
    count: usize,
    /// Deadline and hash of the field.
    order: BTreeSet<(i64, u64)>,
}

impl FieldTable {
    /// Fields in the table, expired ones included.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// The field, unless it is absent or expired.
    #[inline]
    pub(crate) fn get(&self, field: &[u8], now_ms: i64, hasher: &Hasher) -> Option<&FieldEntry> {
        let found = self.table.find(hasher.hash(field), |e| e.field() == field)?;
        (!found.is_expired(now_ms)).then_some(found)
    }

    /// Asks for the memory of a field.
    #[inline]
    pub(crate) fn prefetch(&self, field: &[u8], hasher: &Hasher) {
        self.table.prefetch(|| hasher.hash(field), |entry| entry.0.prefetch());
    }

    /// Adds a field that is not there yet.
    pub(crate) fn insert_new(&mut self, entry: FieldEntry, hasher: &Hasher) {
        let (hash, deadline) = (hasher.hash(entry.field()), entry.deadline());
        self.table.insert_unique(hash, entry, |e| hasher.hash(e.field()));
        self.note(deadline, hash);
    }

    /// Writes a field; returns whether it was absent or expired before.
    pub(crate) fn set(
        &mut self,
        field: &[u8],
        value: &[u8],
        ttl: FieldTtl,
        now_ms: i64,
        hasher: &Hasher,
    ) -> bool {
        let hash = hasher.hash(field);
        let Some(entry) = self.table.find_mut(hash, |e| e.field() == field) else {
            let deadline = if let FieldTtl::At(at) = ttl { Some(at) } else { None };
            let entry = FieldEntry::new(field, value, deadline);
            self.table.insert_unique(hash, entry, |e| hasher.hash(e.field()));
            self.note(deadline, hash);
            return true;
        };
        let (old, expired) = (entry.deadline(), entry.is_expired(now_ms));
        let new = match ttl {
            FieldTtl::At(at) => Some(at),
            FieldTtl::Keep if !expired => old,
            FieldTtl::Keep | FieldTtl::Drop => None,
        };
        entry.set(value, new);
        self.renote(old, new, hash, hasher);
        expired
    }

    /// Removes a field; returns whether it was there. An expired one counts as absent, and stays for
    /// [`FieldTable::expire_due`] to report.
    pub(crate) fn remove(&mut self, field: &[u8], now_ms: i64, hasher: &Hasher) -> bool {
        let hash = hasher.hash(field);
        let same = |e: &FieldEntry| e.field() == field && !e.is_expired(now_ms);
        let Some(gone) = self.table.remove(hash, same, |e| hasher.hash(e.field())) else {
            return false;
        };
        self.renote(gone.deadline(), None, hash, hasher);
        true
    }

    /// Sets or drops the deadline of a field; returns the one it had, `None` if there is no such field.
    pub(crate) fn set_deadline(
        &mut self,
        field: &[u8],
        deadline: Option<i64>,
        now_ms: i64,
        hasher: &Hasher,
    ) -> Option<Option<i64>> {
        let hash = hasher.hash(field);
        let same = |e: &FieldEntry| e.field() == field && !e.is_expired(now_ms);
        let entry = self.table.find_mut(hash, same)?;
        let old = entry.deadline();
        entry.set_deadline(deadline);
        self.renote(old, deadline, hash, hasher);
        Some(old)
    }

    /// All fields that are not expired.
    pub(crate) fn iter(&self, now_ms: i64) -> impl Iterator<Item = &FieldEntry> {
        let all_live = !self.any_due(now_ms);
        self.table.iter().filter(move |e| all_live || !e.is_expired(now_ms))
    }

    /// See [`SplitTable::scan`].
    pub(crate) fn scan<'a>(
        &'a self,
        cursor: u64,
        count: usize,
        now_ms: i64,
        hasher: &Hasher,
        mut emit: impl FnMut(&'a FieldEntry),
    ) -> u64 {
        let live = |e: &'a FieldEntry| {
            if !e.is_expired(now_ms) {
                emit(e);
            }
        };
        self.table.scan(cursor, count, |e| hasher.hash(e.field()), live)
    }

    /// A uniformly random field of those that are not expired.
    pub(crate) fn random(&self, rng: &mut Rng, now_ms: i64) -> Option<&FieldEntry> {
        if !self.any_due(now_ms) {
            return self.table.random(rng);
        }
        for _ in 0..DRAWS_MAX {
            let found = self.table.random(rng)?;
            if !found.is_expired(now_ms) {
                return Some(found);
            }
        }
        let live = self.live_len(now_ms);
        self.iter(now_ms).nth(rng.below(live))
    }

    /// The earliest deadline.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Option<i64> {
        Some(self.deadlines.as_ref()?.order.first()?.0)
    }

    /// Fields with a deadline, expired ones included.
    #[inline]
    pub(crate) fn volatile_len(&self) -> usize {
        self.deadlines.as_ref().map_or(0, |deadlines| deadlines.count)
    }

    /// Fields that are not expired. O(expired).
    pub(crate) fn live_len(&self, now_ms: i64) -> usize {
        let Some(deadlines) = &self.deadlines else { return self.len() };
        if deadlines.order.len() < deadlines.count {
            // Fields share a place in the order: only the table tells how many.
            return self.iter(now_ms).count();
        }
        self.len() - deadlines.order.range(..(now_ms, 0)).count()
    }

    /// Removes up to `max` expired fields, the longest expired first, and reports each.
    pub(crate) fn expire_due(
        &mut self,
        now_ms: i64,
        max: usize,
        hasher: &Hasher,
        mut emit: impl FnMut(&[u8]),
    ) -> usize {
        let mut removed = 0;
        while removed < max {
            let first = self.deadlines.as_ref().and_then(|deadlines| deadlines.order.first());
            let Some(&(at, hash)) = first.filter(|(at, _)| *at < now_ms) else { break };
            let gone = self.table.remove(hash, is_noted_as(at, hash, hasher), |e| hasher.hash(e.field()));
            self.renote(Some(at), None, hash, hasher);
            if let Some(gone) = gone {
                emit(gone.field());
                removed += 1;
            }
        }
        removed
    }

    /// Bytes on the heap; the size of entries extrapolated from `samples` of them, 0 for all.
    pub(crate) fn memory_usage(&self, samples: usize) -> usize {
        let sizes = self.table.iter().map(FieldEntry::allocation_bytes);
        let entries = super::walk::extrapolate(sizes, self.len(), samples);
        self.table.allocation_bytes() + entries + self.volatile_len() * DEADLINE_HEAP_BYTES
    }

    #[inline]
    fn any_due(&self, now_ms: i64) -> bool {
        self.next_deadline().is_some_and(|at| at < now_ms)
    }

    fn note(&mut self, deadline: Option<i64>, hash: u64) {
        if let Some(at) = deadline {
            let deadlines = self.deadlines.get_or_insert_default();
            deadlines.count += 1;
            deadlines.order.insert((at, hash));
        }
    }

    /// A field of this hash had the deadline `old`, and has `new` by now or is gone.
    #[inline]
    fn renote(&mut self, old: Option<i64>, new: Option<i64>, hash: u64, hasher: &Hasher) {
        if old == new {
            return;
        }
        if let (Some(at), Some(deadlines)) = (old, &mut self.deadlines) {
            deadlines.count -= 1;
            if self.table.find(hash, is_noted_as(at, hash, hasher)).is_none() {
                deadlines.order.remove(&(at, hash));
            }
            if deadlines.count == 0 && new.is_none() {
                self.deadlines = None;
            }
        }
        self.note(new, hash);
    }

    #[cfg(test)]
    pub(crate) fn assert_invariants(&self, hasher: &Hasher) {
        let noted = |e: &FieldEntry| e.deadline().map(|at| (at, hasher.hash(e.field())));
        let expected: BTreeSet<_> = self.table.iter().filter_map(noted).collect();
        assert_eq!(self.table.iter().filter_map(noted).count(), self.volatile_len());
        match &self.deadlines {
            Some(deadlines) => assert_eq!(deadlines.order, expected),
            None => assert!(expected.is_empty()),
        }
    }
}

/// Whether an entry is one of those behind this place in the order.
fn is_noted_as(at: i64, hash: u64, hasher: &Hasher) -> impl Fn(&FieldEntry) -> bool {
    move |e| e.deadline() == Some(at) && hasher.hash(e.field()) == hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_holds_what_it_was_given() {
        for field_len in [0, 1, 63, 64, 255, 8_191, 8_192, 20_000] {
            for deadline in [None, Some(0), Some(-1), Some(i64::MAX)] {
                let (field, value) = (vec![b'f'; field_len], vec![b'v'; 300]);
                let mut entry = FieldEntry::new(&field, &value, deadline);
                let check = |entry: &FieldEntry, value: &[u8], deadline| {
                    assert_eq!(entry.parts(), (&field[..], value), "{field_len} {deadline:?}");
                    assert_eq!((entry.field(), entry.value()), (&field[..], value));
                    assert_eq!(entry.deadline(), deadline);
                };
                check(&entry, &value, deadline);
                let block = entry.field().as_ptr();
                entry.set(&[b'w'; 300], deadline);
                check(&entry, &[b'w'; 300], deadline);
                assert_eq!(entry.field().as_ptr(), block, "replaced in place");
                entry.set(b"short", Some(7));
                check(&entry, b"short", Some(7));
                entry.set_deadline(Some(8));
                check(&entry, b"short", Some(8));
                entry.set_deadline(None);
                check(&entry, b"short", None);
                entry.set(b"", None);
                check(&entry, b"", None);
            }
        }
    }

    #[test]
    fn an_entry_is_one_pointer_and_small() {
        assert_eq!(size_of::<FieldEntry>(), 8);
        assert_eq!(FieldEntry::new(&[0; 16], &[0; 32], None).allocation_bytes(), 50);
    }
}
