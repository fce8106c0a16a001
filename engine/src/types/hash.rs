//! Hashes: fields with values, and with deadlines where a field has one.
//!
//! | encoding    | while                                                                                    | access |
//! |-------------|------------------------------------------------------------------------------------------|--------|
//! | `listpack`  | up to `listpack_entries`, nothing longer than `listpack_value`, and no field ever expired | O(n)   |
//! | `hashtable` | otherwise                                                                                | O(1)   |
//!
//! A hash never goes back to a listpack. Deadlines are Valkey's: a field whose deadline has passed is absent to
//! every reader, counts in [`Hash::len`] nevertheless, and leaves when it is overwritten or by
//! [`Hash::expire_due`]. Whoever must see such fields (a snapshot, a copy) reads at [`BEFORE_ALL`].
//!
//! **Invariant:** one hash is always used with the same [`Hasher`]; its table depends on it.

use crate::hash::Hasher;
use crate::random::Rng;
use crate::types::field::{FieldEntry, FieldTable};
use crate::types::listpack::{Corrupt, IntText, Listpack, LpEntry};
use crate::types::walk::{Either, Selection, distinct};
use std::collections::BTreeSet;

pub use crate::types::field::FieldTtl;

/// The time at which no field is expired yet.
pub const BEFORE_ALL: i64 = i64::MIN;

/// When a hash leaves the listpack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashLimits {
    /// `hash-max-listpack-entries`, in fields.
    pub listpack_entries: usize,
    /// `hash-max-listpack-value`, in bytes; for fields and for values.
    pub listpack_value: usize,
}

impl Default for HashLimits {
    fn default() -> Self {
        Self { listpack_entries: 512, listpack_value: 64 }
    }
}

/// One field as it lies in a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name.
    pub name: LpEntry<'a>,
    /// Its value.
    pub value: LpEntry<'a>,
    /// When it expires, in milliseconds since 1970.
    pub expire_at_ms: Option<i64>,
}

impl<'a> From<&'a FieldEntry> for Field<'a> {
    #[inline]
    fn from(entry: &'a FieldEntry) -> Self {
        let (name, value) = entry.parts();
        Self { name: LpEntry::Str(name), value: LpEntry::Str(value), expire_at_ms: entry.deadline() }
    }
}

/// A hash, in the encoding that its size asks for.
#[derive(Debug, Clone)]
pub struct Hash {
    repr: Repr,
}

#[derive(Debug, Clone)]
enum Repr {
    Pack(Listpack),
    Table(FieldTable),
}

impl Default for Hash {
    fn default() -> Self {
        Self::new()
    }
}

impl Hash {
    /// An empty listpack.
    pub fn new() -> Self {
        Self { repr: Repr::Pack(Listpack::new()) }
    }

    /// A hash out of a snapshot, a hashtable when it has more fields than the limit. O(n).
    ///
    /// # Errors
    /// [`Corrupt`] if a field is there twice or lacks its value.
    pub fn from_listpack(pack: Listpack, limits: &HashLimits, hasher: &Hasher) -> Result<Self, Corrupt> {
        if !pack.len().is_multiple_of(2) {
            return Err(Corrupt { offset: pack.bytes_len(), expected: "a value for every field" });
        }
        distinct(pack.iter().step_by(2), pack.len() / 2, hasher)?;
        let over = pack.len() / 2 > limits.listpack_entries;
        let mut hash = Self { repr: Repr::Pack(pack) };
        if over {
            hash.make_table(hasher);
        }
        Ok(hash)
    }

    /// The listpack of fields and values in turn, if this is the encoding.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        if let Repr::Pack(pack) = &self.repr { Some(pack) } else { None }
    }

    /// Number of fields, with those that are expired and not yet removed, as `HLEN` answers.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.repr {
            Repr::Pack(pack) => pack.len() / 2,
            Repr::Table(table) => table.len(),
        }
    }

    /// Number of fields that are not expired. O(expired fields).
    pub fn live_len(&self, now_ms: i64) -> usize {
        match &self.repr {
            Repr::Pack(_) => self.len(),
            Repr::Table(table) => table.live_len(now_ms),
        }
    }

    /// Whether there is no field, expired ones included.
    #[inline]
    pub fn is_empty(&self) -> bool {
        match &self.repr {
            Repr::Pack(pack) => pack.is_empty(),
            Repr::Table(table) => table.len() == 0,
        }
    }

    /// What `OBJECT ENCODING` answers.
    pub fn encoding_name(&self) -> &'static str {
        match self.repr {
            Repr::Pack(_) => "listpack",
            Repr::Table(_) => "hashtable",
        }
    }

    /// Says that `fields` fields are about to be written, the longest field or value being `longest` bytes: a
    /// listpack that cannot hold these is left at once, before the first of them is written.
    pub fn expect(&mut self, fields: usize, longest: usize, limits: &HashLimits, hasher: &Hasher) {
        if fields > limits.listpack_entries || longest > limits.listpack_value {
            self.make_table(hasher);
        }
    }

    /// The value of a field. O(1) in a hashtable.
    #[inline]
    pub fn get(&self, field: &[u8], now_ms: i64, hasher: &Hasher) -> Option<LpEntry<'_>> {
        match &self.repr {
            Repr::Pack(pack) => {
                let value = pack.next(pack.find(field, 1)?)?;
                Some(pack.get(value))
            }
            Repr::Table(table) => table.get(field, now_ms, hasher).map(|e| LpEntry::Str(e.value())),
        }
    }

    /// Asks for the memory of a field.
    #[inline]
    pub fn prefetch(&self, field: &[u8], hasher: &Hasher) {
        match &self.repr {
            Repr::Pack(pack) => pack.prefetch(),
            Repr::Table(table) => table.prefetch(field, hasher),
        }
    }

    /// Whether there is such a field.
    #[inline]
    pub fn contains(&self, field: &[u8], now_ms: i64, hasher: &Hasher) -> bool {
        match &self.repr {
            Repr::Pack(pack) => pack.find(field, 1).is_some(),
            Repr::Table(table) => table.get(field, now_ms, hasher).is_some(),
        }
    }

    /// Writes a field, which from now on has no deadline; returns whether it is new.
    #[inline]
    pub fn set(
        &mut self,
        field: &[u8],
        value: &[u8],
        now_ms: i64,
        limits: &HashLimits,
        hasher: &Hasher,
    ) -> bool {
        self.set_with(field, value, FieldTtl::Drop, now_ms, limits, hasher)
    }

    /// Writes a field and its deadline; returns whether it is new. An expired field counts as absent: to
    /// overwrite it makes a new one, without a deadline to keep.
    pub fn set_with(
        &mut self,
        field: &[u8],
        value: &[u8],
        ttl: FieldTtl,
        now_ms: i64,
        limits: &HashLimits,
        hasher: &Hasher,
    ) -> bool {
        let timed = matches!(ttl, FieldTtl::At(_));
        if !timed && let Some(new) = self.set_packed(field, value, limits) {
            return new;
        }
        self.make_table(hasher).set(field, value, ttl, now_ms, hasher)
    }

    /// Removes a field; returns whether it was there. An expired one is left to [`Hash::expire_due`].
    pub fn remove(&mut self, field: &[u8], now_ms: i64, hasher: &Hasher) -> bool {
        match &mut self.repr {
            Repr::Pack(pack) => match pack.find(field, 1) {
                Some(pos) => {
                    pack.remove_at(pos, 2);
                    true
                }
                None => false,
            },
            Repr::Table(table) => table.remove(field, now_ms, hasher),
        }
    }

    /// All fields that are not expired: in the order of insertion in a listpack, else in none.
    pub fn iter(&self, now_ms: i64) -> impl Iterator<Item = Field<'_>> {
        match &self.repr {
            Repr::Pack(pack) => Either::Left(pairs(pack)),
            Repr::Table(table) => Either::Right(table.iter(now_ms).map(Field::from)),
        }
    }

    /// One step of a scan: emits fields from `cursor` (0 at first) until about `count` are out and returns
    /// the cursor to go on with, 0 at the end. A listpack is emitted at once.
    pub fn scan<'a>(
        &'a self,
        cursor: u64,
        count: usize,
        now_ms: i64,
        hasher: &Hasher,
        mut emit: impl FnMut(Field<'a>),
    ) -> u64 {
        match &self.repr {
            Repr::Pack(pack) => {
                pairs(pack).for_each(emit);
                0
            }
            Repr::Table(table) => table.scan(cursor, count, now_ms, hasher, |e| emit(e.into())),
        }
    }

    /// A uniformly random field of those that are not expired. O(n) in a listpack, else O(1) expected while
    /// most fields are not expired.
    pub fn random(&self, rng: &mut Rng, now_ms: i64) -> Option<Field<'_>> {
        match &self.repr {
            Repr::Pack(pack) => {
                let nth = isize::try_from(rng.below(self.len()) * 2).ok()?;
                let name = pack.seek(nth)?;
                let value = pack.get(pack.next(name)?);
                Some(Field { name: pack.get(name), value, expire_at_ms: None })
            }
            Repr::Table(table) => table.random(rng, now_ms).map(Field::from),
        }
    }

    /// `count` different fields at random, all of them if there are not more. Every choice is equally likely,
    /// their order is not random. O(count log count) where few of a large table are wanted, else O(n).
    pub fn sample(&self, count: usize, rng: &mut Rng, now_ms: i64) -> Vec<Field<'_>> {
        let live = self.live_len(now_ms);
        match &self.repr {
            Repr::Table(table) if count < live / 3 && live > table.len() / 2 => {
                // Entries do not move while they are borrowed: their addresses tell them apart.
                let mut seen = BTreeSet::new();
                let mut chosen = Vec::with_capacity(count);
                while chosen.len() < count {
                    let Some(entry) = table.random(rng, now_ms) else { break };
                    if seen.insert(std::ptr::from_ref(entry) as usize) {
                        chosen.push(entry.into());
                    }
                }
                chosen
            }
            _ => {
                let mut selection = Selection::new(count, live);
                self.iter(now_ms).filter(|_| selection.takes(rng)).collect()
            }
        }
    }

    /// The deadline of a field, in milliseconds since 1970: `None` if there is no such field, `Some(None)` if
    /// it never expires.
    pub fn field_expiry(&self, field: &[u8], now_ms: i64, hasher: &Hasher) -> Option<Option<i64>> {
        match &self.repr {
            Repr::Pack(pack) => pack.find(field, 1).map(|_| None),
            Repr::Table(table) => table.get(field, now_ms, hasher).map(FieldEntry::deadline),
        }
    }

    /// Gives a field a deadline; returns whether there is such a field. The hash becomes a hashtable.
    pub fn set_field_expiry(&mut self, field: &[u8], at_ms: i64, now_ms: i64, hasher: &Hasher) -> bool {
        if !self.contains(field, now_ms, hasher) {
            return false;
        }
        self.make_table(hasher).set_deadline(field, Some(at_ms), now_ms, hasher).is_some()
    }

    /// Drops the deadline of a field: `None` if there is no such field, else whether it had one.
    pub fn persist_field(&mut self, field: &[u8], now_ms: i64, hasher: &Hasher) -> Option<bool> {
        match &mut self.repr {
            Repr::Pack(pack) => pack.find(field, 1).map(|_| false),
            Repr::Table(table) => table.set_deadline(field, None, now_ms, hasher).map(|had| had.is_some()),
        }
    }

    /// The earliest deadline of all fields, in milliseconds since 1970. Exact; O(log n).
    #[inline]
    pub fn next_expiry(&self) -> Option<i64> {
        match &self.repr {
            Repr::Pack(_) => None,
            Repr::Table(table) => table.next_deadline(),
        }
    }

    /// Number of fields that have a deadline, expired ones included.
    #[inline]
    pub fn volatile_fields(&self) -> usize {
        match &self.repr {
            Repr::Pack(_) => 0,
            Repr::Table(table) => table.volatile_len(),
        }
    }

    /// Removes up to `max` expired fields, the longest expired first, and reports the name of each. Returns
    /// how many. O(log n) for each.
    pub fn expire_due(&mut self, now_ms: i64, max: usize, hasher: &Hasher, emit: impl FnMut(&[u8])) -> usize {
        match &mut self.repr {
            Repr::Pack(_) => 0,
            Repr::Table(table) => table.expire_due(now_ms, max, hasher, emit),
        }
    }

    /// Bytes on the heap. In a hashtable, the size of fields is extrapolated from `samples` of them; 0 asks
    /// for all. O(samples).
    pub fn memory_usage(&self, samples: usize) -> usize {
        match &self.repr {
            Repr::Pack(pack) => pack.memory_usage(),
            Repr::Table(table) => table.memory_usage(samples),
        }
    }

    /// Writes into the listpack and says whether the field is new; `None` if this is a matter for a hashtable.
    #[inline]
    fn set_packed(&mut self, field: &[u8], value: &[u8], limits: &HashLimits) -> Option<bool> {
        let Repr::Pack(pack) = &mut self.repr else { return None };
        let bytes = Listpack::entry_bytes(field).saturating_add(Listpack::entry_bytes(value));
        if field.len().max(value.len()) > limits.listpack_value || !pack.would_fit(bytes) {
            return None;
        }
        if let Some(old) = pack.find(field, 1).and_then(|pos| pack.next(pos)) {
            pack.replace(old, value);
            return Some(false);
        }
        if pack.len() / 2 >= limits.listpack_entries {
            return None;
        }
        pack.push_back(field);
        pack.push_back(value);
        Some(true)
    }

    fn make_table(&mut self, hasher: &Hasher) -> &mut FieldTable {
        if let Repr::Pack(pack) = &self.repr {
            let mut table = FieldTable::default();
            let (mut name_buf, mut value_buf) = (IntText::default(), IntText::default());
            for field in pairs(pack) {
                let (name, value) =
                    (field.name.as_slice(&mut name_buf), field.value.as_slice(&mut value_buf));
                table.insert_new(FieldEntry::new(name, value, None), hasher);
            }
            self.repr = Repr::Table(table);
        }
        match &mut self.repr {
            Repr::Table(table) => table,
            Repr::Pack(_) => unreachable!("made a table just now"),
        }
    }
}

fn pairs(pack: &Listpack) -> impl Iterator<Item = Field<'_>> {
    let mut entries = pack.iter();
    std::iter::from_fn(move || {
        let (name, value) = (entries.next()?, entries.next()?);
        Some(Field { name, value, expire_at_ms: None })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};
    use std::collections::BTreeMap;

    fn limits() -> HashLimits {
        HashLimits::default()
    }

    fn hasher() -> Hasher {
        Hasher::default()
    }

    fn filled(n: usize, value: &str) -> Hash {
        let mut hash = Hash::new();
        for i in 0..n {
            assert!(hash.set(format!("f{i}").as_bytes(), value.as_bytes(), 0, &limits(), &hasher()));
        }
        hash
    }

    fn get(hash: &Hash, field: &str, now_ms: i64) -> Option<String> {
        let value = hash.get(field.as_bytes(), now_ms, &hasher())?;
        Some(String::from_utf8(value.to_vec()).unwrap())
    }

    type Content = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

    fn content(hash: &Hash, now_ms: i64) -> Content {
        hash.iter(now_ms).map(|f| (f.name.to_vec(), (f.value.to_vec(), f.expire_at_ms))).collect()
    }

    #[test]
    fn encodings_follow_the_limits() {
        let (fits, long) = ("x".repeat(64), "x".repeat(65));
        assert_eq!(filled(512, &fits).encoding_name(), "listpack");
        assert_eq!(filled(513, &fits).encoding_name(), "hashtable");
        assert_eq!(filled(1, &long).encoding_name(), "hashtable");
        let mut hash = filled(512, "1");
        assert!(!hash.set(b"f0", b"2", 0, &limits(), &hasher()));
        assert_eq!(hash.encoding_name(), "listpack");
        assert!(!hash.set(b"f0", long.as_bytes(), 0, &limits(), &hasher()));
        assert_eq!((hash.encoding_name(), hash.len()), ("hashtable", 512));
        assert_eq!((get(&hash, "f0", 0), get(&hash, "f1", 0)), (Some(long.clone()), Some("1".into())));
        let mut hash = Hash::new();
        assert!(hash.set(long.as_bytes(), b"", 0, &limits(), &hasher()));
        assert_eq!(hash.encoding_name(), "hashtable");
    }

    #[test]
    fn many_fields_at_once_skip_the_listpack() {
        for (fields, longest, encoding) in
            [(512, 64, "listpack"), (513, 1, "hashtable"), (1, 65, "hashtable")]
        {
            let mut hash = filled(1, "v");
            hash.expect(fields, longest, &limits(), &hasher());
            assert_eq!(hash.encoding_name(), encoding);
            assert_eq!(get(&hash, "f0", 0), Some("v".into()));
        }
    }

    #[test]
    fn loading_refuses_what_no_hash_can_be() {
        let load = |texts: &[&str]| Hash::from_listpack(texts.iter().collect(), &limits(), &hasher());
        assert!(load(&["a", "1", "b", "a"]).is_ok());
        assert!(load(&["a", "1", "b"]).is_err());
        assert!(load(&["a", "1", "a", "2"]).is_err());
        let many: Listpack = (0..1_026).map(|n| n.to_string()).collect();
        let hash = Hash::from_listpack(many, &limits(), &hasher()).unwrap();
        assert_eq!((hash.encoding_name(), hash.len()), ("hashtable", 513));
        assert_eq!(get(&hash, "1000", 0), Some("1001".into()));
    }

    #[test]
    fn an_expired_field_is_absent_until_it_is_removed() {
        let hasher = hasher();
        let mut hash = filled(3, "v");
        assert!(!hash.set_field_expiry(b"nope", 100, 0, &hasher));
        assert_eq!(hash.encoding_name(), "listpack");
        assert!(hash.set_field_expiry(b"f0", 100, 0, &hasher));
        assert_eq!(hash.encoding_name(), "hashtable");
        // As in Redis, the deadline itself still belongs to the field's life.
        assert_eq!(get(&hash, "f0", 100), Some("v".into()));
        assert_eq!(get(&hash, "f0", 101), None);
        assert_eq!((hash.len(), hash.live_len(100), hash.live_len(101)), (3, 3, 2));
        assert!(!hash.contains(b"f0", 101, &hasher));
        assert!(!hash.remove(b"f0", 101, &hasher));
        assert_eq!(hash.field_expiry(b"f0", 101, &hasher), None);
        assert_eq!(hash.persist_field(b"f0", 101, &hasher), None);
        assert!(!hash.set_field_expiry(b"f0", 500, 101, &hasher));
        assert_eq!((hash.iter(101).count(), hash.iter(BEFORE_ALL).count()), (2, 3));
        assert_eq!((hash.next_expiry(), hash.volatile_fields()), (Some(100), 1));

        let mut gone = Vec::new();
        assert_eq!(hash.expire_due(100, 9, &hasher, |f| gone.push(f.to_vec())), 0);
        assert_eq!(hash.expire_due(101, 9, &hasher, |f| gone.push(f.to_vec())), 1);
        assert_eq!(gone, [b"f0"]);
        assert_eq!((hash.next_expiry(), hash.volatile_fields(), hash.len()), (None, 0, 2));
    }

    #[test]
    fn writing_drops_keeps_or_sets_the_deadline() {
        let (limits, hasher) = (limits(), hasher());
        let check = |ttl, now_ms, new, expiry| {
            let mut hash = filled(1, "v");
            hash.set_field_expiry(b"f0", 100, 0, &hasher);
            assert_eq!(hash.set_with(b"f0", b"w", ttl, now_ms, &limits, &hasher), new);
            assert_eq!(hash.field_expiry(b"f0", now_ms, &hasher), Some(expiry), "{ttl:?} at {now_ms}");
            assert_eq!((hash.next_expiry(), hash.volatile_fields()), (expiry, expiry.iter().count()));
        };
        check(FieldTtl::Drop, 50, false, None);
        check(FieldTtl::Keep, 50, false, Some(100));
        check(FieldTtl::At(200), 50, false, Some(200));
        check(FieldTtl::Drop, 150, true, None);
        check(FieldTtl::Keep, 150, true, None);
        check(FieldTtl::At(200), 150, true, Some(200));
    }

    #[test]
    fn fields_expire_in_order_and_in_steps() {
        let hasher = hasher();
        let mut hash = filled(100, "v");
        for i in 0..100i64 {
            assert!(hash.set_field_expiry(format!("f{i}").as_bytes(), 1_000 - i, 0, &hasher));
        }
        let mut gone = Vec::new();
        assert_eq!(hash.expire_due(2_000, 3, &hasher, |f| gone.push(f.to_vec())), 3);
        assert_eq!(gone, [b"f99", b"f98", b"f97"]);
        assert_eq!(hash.next_expiry(), Some(904));
        assert_eq!(hash.expire_due(951, usize::MAX, &hasher, |_| ()), 47);
        assert_eq!((hash.len(), hash.next_expiry()), (50, Some(951)));
        assert_eq!(hash.expire_due(2_000, usize::MAX, &hasher, |_| ()), 50);
        assert!(hash.is_empty());
    }

    #[test]
    fn random_fields_are_uniform_among_the_live() {
        let hasher = hasher();
        let mut mostly_expired = filled(1_000, "v");
        let mut half_expired = filled(1_000, "v");
        for i in 0..1_000 {
            let field = format!("f{i}");
            if i % 100 != 0 {
                mostly_expired.set_field_expiry(field.as_bytes(), 10, 0, &hasher);
            }
            if i % 2 != 0 {
                half_expired.set_field_expiry(field.as_bytes(), 10, 0, &hasher);
            }
        }
        for (hash, live) in
            [(filled(100, "v"), 100), (filled(1_000, "v"), 1_000), (half_expired, 500), (mostly_expired, 10)]
        {
            let mut rng = Rng::seeded(5);
            let mut counts = BTreeMap::new();
            for _ in 0..100 * live {
                *counts.entry(hash.random(&mut rng, 11).unwrap().name.to_vec()).or_insert(0u32) += 1;
            }
            assert_eq!((counts.len(), hash.live_len(11)), (live, live));
            let chi: f64 = counts.values().map(|c| (f64::from(*c) - 100.0).powi(2) / 100.0).sum();
            let freedom = live as f64 - 1.0;
            assert!(chi < freedom + 6.0 * (2.0 * freedom).sqrt(), "{live} of {}: {chi}", hash.len());

            for count in [0, 1, live / 4, live / 2, live, live + 1] {
                let sample = hash.sample(count, &mut rng, 11);
                let names: BTreeSet<_> = sample.iter().map(|f| f.name.to_vec()).collect();
                assert_eq!((sample.len(), names.len()), (count.min(live), count.min(live)));
                assert!(names.iter().all(|name| hash.contains(name, 11, &hasher)));
            }
        }
        assert_eq!(Hash::new().random(&mut Rng::seeded(1), 0), None);
    }

    #[test]
    fn nothing_is_random_when_all_is_expired() {
        let mut hash = filled(2, "v");
        hash.set_field_expiry(b"f0", 1, 0, &hasher());
        hash.set_field_expiry(b"f1", 1, 0, &hasher());
        assert_eq!(hash.random(&mut Rng::seeded(1), 2), None);
        assert!(hash.sample(2, &mut Rng::seeded(1), 2).is_empty());
    }

    #[derive(Debug, Clone)]
    enum Op {
        Set(String, String, FieldTtl),
        Remove(String),
        Expire(String, i64),
        Persist(String),
        Wait(i64),
        Sweep(usize),
    }

    fn field() -> impl Strategy<Value = String> {
        prop_oneof![(0..12u32).prop_map(|n| n.to_string()), (0..12u32).prop_map(|n| format!("f{n}"))]
    }

    fn ttl() -> impl Strategy<Value = FieldTtl> {
        prop_oneof![
            4 => proptest::prelude::Just(FieldTtl::Drop),
            2 => proptest::prelude::Just(FieldTtl::Keep),
            1 => (0..100i64).prop_map(FieldTtl::At),
        ]
    }

    fn op() -> impl Strategy<Value = Op> {
        let value = prop_oneof![8 => (0..2_000u32).prop_map(|n| n.to_string()), 1 => "[a-z]{0,12}"];
        prop_oneof![
            12 => (field(), value, ttl()).prop_map(|(f, v, ttl)| Op::Set(f, v, ttl)),
            4 => field().prop_map(Op::Remove),
            3 => (field(), 0..100i64).prop_map(|(f, at)| Op::Expire(f, at)),
            1 => field().prop_map(Op::Persist),
            1 => (0..10i64).prop_map(Op::Wait),
            1 => (0..4usize).prop_map(Op::Sweep),
        ]
    }

    /// The naive hash: everything in a map, expiry looked up by walking it.
    #[derive(Debug, Default)]
    struct Model {
        fields: Content,
        now_ms: i64,
    }

    impl Model {
        fn is_live(&self, field: &[u8]) -> bool {
            self.fields.get(field).is_some_and(|(_, at)| at.is_none_or(|at| at >= self.now_ms))
        }

        fn set(&mut self, field: &[u8], value: &[u8], ttl: FieldTtl) -> bool {
            let live = self.is_live(field);
            let at = match ttl {
                FieldTtl::Drop => None,
                FieldTtl::Keep => {
                    if live {
                        self.fields[field].1
                    } else {
                        None
                    }
                }
                FieldTtl::At(at) => Some(at),
            };
            self.fields.insert(field.to_vec(), (value.to_vec(), at));
            !live
        }

        fn live(&self) -> Content {
            self.fields.iter().filter(|(f, _)| self.is_live(f)).map(|(f, v)| (f.clone(), v.clone())).collect()
        }
    }

    proptest! {
        /// Whatever is done to a `Hash`, it equals the map that had the same done to it.
        #[test]
        fn equals_its_model(ops in proptest::collection::vec(op(), 0..150)) {
            let limits = HashLimits { listpack_entries: 8, listpack_value: 8 };
            let hasher = hasher();
            let (mut hash, mut model) = (Hash::new(), Model::default());
            for op in ops {
                let now = model.now_ms;
                match op.clone() {
                    Op::Set(f, v, ttl) => {
                        let new = hash.set_with(f.as_bytes(), v.as_bytes(), ttl, now, &limits, &hasher);
                        prop_assert_eq!(new, model.set(f.as_bytes(), v.as_bytes(), ttl), "{:?}", op);
                    }
                    Op::Remove(f) => {
                        let live = model.is_live(f.as_bytes());
                        prop_assert_eq!(hash.remove(f.as_bytes(), now, &hasher), live);
                        if live {
                            model.fields.remove(f.as_bytes());
                        }
                    }
                    Op::Expire(f, at) => {
                        let live = model.is_live(f.as_bytes());
                        prop_assert_eq!(hash.set_field_expiry(f.as_bytes(), at, now, &hasher), live);
                        if live {
                            model.fields.get_mut(f.as_bytes()).unwrap().1 = Some(at);
                        }
                    }
                    Op::Persist(f) => {
                        let live = model.is_live(f.as_bytes());
                        let had = live.then(|| model.fields[f.as_bytes()].1.is_some());
                        prop_assert_eq!(hash.persist_field(f.as_bytes(), now, &hasher), had);
                        if live {
                            model.fields.get_mut(f.as_bytes()).unwrap().1 = None;
                        }
                    }
                    Op::Wait(ms) => model.now_ms += ms,
                    Op::Sweep(max) => {
                        let due = model.fields.len() - model.live().len();
                        let mut gone = Vec::new();
                        hash.expire_due(now, max, &hasher, |f| gone.push(f.to_vec()));
                        prop_assert_eq!(gone.len(), due.min(max));
                        for f in gone {
                            prop_assert!(!model.is_live(&f) && model.fields.remove(&f).is_some());
                        }
                    }
                }
                let now = model.now_ms;
                prop_assert_eq!(hash.len(), model.fields.len(), "after {:?}", &op);
                prop_assert_eq!(hash.live_len(now), model.live().len(), "after {:?}", &op);
                prop_assert_eq!(hash.next_expiry(), model.fields.values().filter_map(|(_, at)| *at).min());
                prop_assert_eq!(hash.volatile_fields(), model.fields.values().filter(|(_, at)| at.is_some()).count());
                match &hash.repr {
                    Repr::Table(table) => table.assert_invariants(&hasher),
                    Repr::Pack(pack) => prop_assert!(pack.len() <= 16 && pack.iter().all(|e| e.text_len() <= 8)),
                }
            }
            let now = model.now_ms;
            prop_assert_eq!(content(&hash, now), model.live());
            prop_assert_eq!(content(&hash.clone(), BEFORE_ALL), model.fields.clone());
            for (f, (v, at)) in &model.fields {
                let live = model.is_live(f);
                prop_assert_eq!(hash.get(f, now, &hasher).map(|v| v.to_vec()), live.then(|| v.clone()));
                prop_assert_eq!(hash.contains(f, now, &hasher), live);
                prop_assert_eq!(hash.field_expiry(f, now, &hasher), live.then_some(*at));
            }
            let (mut scanned, mut cursor) = (Content::new(), 0);
            loop {
                cursor = hash.scan(cursor, 3, now, &hasher, |f| {
                    let field = (f.value.to_vec(), f.expire_at_ms);
                    assert!(scanned.insert(f.name.to_vec(), field).is_none());
                });
                if cursor == 0 { break; }
            }
            prop_assert_eq!(scanned, model.live());
        }
    }
}
