//! Sets of byte strings.
//!
//! | encoding    | while                                                       | membership |
//! |-------------|-------------------------------------------------------------|------------|
//! | `intset`    | every member is an integer, up to `intset_entries`          | O(log n)   |
//! | `listpack`  | up to `listpack_entries`, none longer than `listpack_value` | O(n)       |
//! | `hashtable` | otherwise                                                   | O(1)       |
//!
//! A set moves down this table as it grows, exactly where Redis 7.2 does, and never back by itself.
//!
//! **Invariant:** one set is always used with the same [`Hasher`]; its table depends on it.

use crate::hash::Hasher;
use crate::number::parse_i64;
use crate::random::Rng;
use crate::table::SplitTable;
use crate::types::intset::Intset;
use crate::types::listpack::{Corrupt, IntText, LISTPACK_BYTES_MAX, Listpack, LpEntry};
use crate::types::thin::ThinBytes;
use crate::types::walk::{Either, Selection, distinct, extrapolate};
use std::collections::BTreeSet;

/// Redis's own bound of an intset, whatever is configured.
const INTSET_ENTRIES_MAX: usize = 1 << 30;

/// A member as it lies in a set: bytes, or an integer where the encoding keeps it as one.
pub type Member<'a> = LpEntry<'a>;

/// When a set leaves its compact encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetLimits {
    /// `set-max-intset-entries`.
    pub intset_entries: usize,
    /// `set-max-listpack-entries`.
    pub listpack_entries: usize,
    /// `set-max-listpack-value`, in bytes.
    pub listpack_value: usize,
}

impl Default for SetLimits {
    fn default() -> Self {
        Self { intset_entries: 512, listpack_entries: 128, listpack_value: 64 }
    }
}

impl SetLimits {
    fn intset_entries(&self) -> usize {
        self.intset_entries.min(INTSET_ENTRIES_MAX)
    }
}

/// A member that was taken out of its set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Popped {
    /// It was stored as an integer.
    Int(i64),
    /// It was stored as bytes.
    Bytes(ThinBytes),
}

impl Popped {
    /// The member, to be read.
    #[inline]
    pub fn as_member(&self) -> Member<'_> {
        match self {
            Self::Int(n) => LpEntry::Int(*n),
            Self::Bytes(bytes) => LpEntry::Str(bytes),
        }
    }

    fn detach(member: Member<'_>) -> Self {
        match member {
            LpEntry::Int(n) => Self::Int(n),
            LpEntry::Str(bytes) => Self::Bytes(ThinBytes::new(bytes)),
        }
    }
}

/// A set of byte strings, in the encoding that its size asks for.
#[derive(Debug, Clone)]
pub struct Set {
    repr: Repr,
}

#[derive(Debug, Clone)]
enum Repr {
    Ints(Intset),
    Pack(Listpack),
    Table(SplitTable<ThinBytes>),
}

impl Default for Set {
    /// An empty intset.
    fn default() -> Self {
        Self::new()
    }
}

impl Set {
    /// An empty intset: the encoding to start with when the result of an operation is collected.
    pub fn new() -> Self {
        Self { repr: Repr::Ints(Intset::new()) }
    }

    /// An empty listpack, to collect members in any order; see [`Set::compact_ints`].
    pub fn new_listpack() -> Self {
        Self { repr: Repr::Pack(Listpack::new()) }
    }

    /// An empty set in the encoding that suits `size_hint` members of which `first` is one.
    pub fn new_for(first: &[u8], size_hint: usize, limits: &SetLimits) -> Self {
        if size_hint <= limits.intset_entries && parse_i64(first).is_some() {
            return Self::new();
        }
        if size_hint <= limits.listpack_entries {
            return Self::new_listpack();
        }
        Self { repr: Repr::Table(SplitTable::new()) }
    }

    /// A set out of a snapshot, a hashtable when it is over the limits.
    pub fn from_intset(ints: Intset, limits: &SetLimits, hasher: &Hasher) -> Self {
        let over = ints.len() > limits.intset_entries;
        let mut set = Self { repr: Repr::Ints(ints) };
        if over {
            set.make_table(hasher);
        }
        set
    }

    /// A set out of a snapshot, a hashtable when it has more entries than the limit. O(n).
    ///
    /// # Errors
    /// [`Corrupt`] if a member is there twice.
    pub fn from_listpack(pack: Listpack, limits: &SetLimits, hasher: &Hasher) -> Result<Self, Corrupt> {
        distinct(pack.iter(), pack.len(), hasher)?;
        let over = pack.len() > limits.listpack_entries;
        let mut set = Self { repr: Repr::Pack(pack) };
        if over {
            set.make_table(hasher);
        }
        Ok(set)
    }

    /// The intset, if this is the encoding.
    pub fn as_intset(&self) -> Option<&Intset> {
        if let Repr::Ints(ints) = &self.repr { Some(ints) } else { None }
    }

    /// The listpack, if this is the encoding.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        if let Repr::Pack(pack) = &self.repr { Some(pack) } else { None }
    }

    /// Number of members.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.repr {
            Repr::Ints(ints) => ints.len(),
            Repr::Pack(pack) => pack.len(),
            Repr::Table(table) => table.len(),
        }
    }

    /// Whether there is no member.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What `OBJECT ENCODING` answers.
    pub fn encoding_name(&self) -> &'static str {
        match self.repr {
            Repr::Ints(_) => "intset",
            Repr::Pack(_) => "listpack",
            Repr::Table(_) => "hashtable",
        }
    }

    /// Says that `adding` members are about to be added: a compact encoding that cannot hold even these
    /// alone is left at once, not member by member.
    pub fn expect(&mut self, adding: usize, limits: &SetLimits, hasher: &Hasher) {
        let over = match self.repr {
            Repr::Ints(_) => adding > limits.intset_entries,
            Repr::Pack(_) => adding > limits.listpack_entries,
            Repr::Table(_) => false,
        };
        if over {
            self.make_table(hasher);
        }
    }

    /// Adds `member`; returns whether it was not there before. O(1) in a hashtable.
    pub fn add(&mut self, member: &[u8], limits: &SetLimits, hasher: &Hasher) -> bool {
        match &mut self.repr {
            Repr::Table(table) => add_to_table(table, member, hasher),
            Repr::Ints(_) => match parse_i64(member) {
                Some(n) => self.add_int(n, limits, hasher),
                None => {
                    self.leave_ints(member, limits, hasher);
                    self.add(member, limits, hasher)
                }
            },
            Repr::Pack(pack) => {
                if pack.find(member, 0).is_some() {
                    return false;
                }
                let fits = pack.len() < limits.listpack_entries && member.len() <= limits.listpack_value;
                if fits && pack.would_fit(Listpack::entry_bytes(member)) {
                    pack.push_back(member);
                } else {
                    add_to_table(self.make_table(hasher), member, hasher);
                }
                true
            }
        }
    }

    /// As [`Set::add`], for a member of another set.
    pub fn add_member(&mut self, member: Member<'_>, limits: &SetLimits, hasher: &Hasher) -> bool {
        match (&self.repr, member) {
            (Repr::Ints(_), LpEntry::Int(n)) => self.add_int(n, limits, hasher),
            _ => self.add(member.as_slice(&mut IntText::default()), limits, hasher),
        }
    }

    /// Removes `member`; returns whether it was there.
    pub fn remove(&mut self, member: &[u8], hasher: &Hasher) -> bool {
        match &mut self.repr {
            Repr::Ints(ints) => parse_i64(member).is_some_and(|n| ints.remove(n)),
            Repr::Pack(pack) => match pack.find(member, 0) {
                Some(pos) => {
                    pack.remove(pos);
                    true
                }
                None => false,
            },
            Repr::Table(table) => {
                let found = table.remove(hasher.hash(member), |m| **m == *member, |m| hasher.hash(m));
                found.is_some()
            }
        }
    }

    /// As [`Set::remove`], for a member of another set.
    pub fn remove_member(&mut self, member: Member<'_>, hasher: &Hasher) -> bool {
        match (&mut self.repr, member) {
            (Repr::Ints(ints), LpEntry::Int(n)) => ints.remove(n),
            _ => self.remove(member.as_slice(&mut IntText::default()), hasher),
        }
    }

    /// Asks for the memory of a member.
    #[inline]
    pub fn prefetch(&self, member: &[u8], hasher: &Hasher) {
        match &self.repr {
            Repr::Ints(_) => {}
            Repr::Pack(pack) => pack.prefetch(),
            Repr::Table(table) => table.prefetch(|| hasher.hash(member), ThinBytes::prefetch),
        }
    }

    /// Whether `member` is in the set.
    #[inline]
    pub fn contains(&self, member: &[u8], hasher: &Hasher) -> bool {
        match &self.repr {
            Repr::Ints(ints) => parse_i64(member).is_some_and(|n| ints.contains(n)),
            Repr::Pack(pack) => pack.find(member, 0).is_some(),
            Repr::Table(table) => table.find(hasher.hash(member), |m| **m == *member).is_some(),
        }
    }

    /// As [`Set::contains`], for a member of another set.
    #[inline]
    pub fn contains_member(&self, member: Member<'_>, hasher: &Hasher) -> bool {
        match (&self.repr, member) {
            (Repr::Ints(ints), LpEntry::Int(n)) => ints.contains(n),
            _ => self.contains(member.as_slice(&mut IntText::default()), hasher),
        }
    }

    /// All members: ascending in an intset, in the order of insertion in a listpack, else in none.
    pub fn iter(&self) -> impl Iterator<Item = Member<'_>> {
        match &self.repr {
            Repr::Ints(ints) => Either::Left(Either::Left(ints.iter().map(LpEntry::Int))),
            Repr::Pack(pack) => Either::Left(Either::Right(pack.iter())),
            Repr::Table(table) => Either::Right(table.iter().map(|m| LpEntry::Str(m))),
        }
    }

    /// One step of a scan: emits members from `cursor` (0 at first) until about `count` are out and returns
    /// the cursor to go on with, 0 at the end. Compact encodings are emitted at once.
    pub fn scan<'a>(
        &'a self,
        cursor: u64,
        count: usize,
        hasher: &Hasher,
        mut emit: impl FnMut(Member<'a>),
    ) -> u64 {
        if let Repr::Table(table) = &self.repr {
            return table.scan(cursor, count, |m| hasher.hash(m), |m| emit(LpEntry::Str(m)));
        }
        self.iter().for_each(emit);
        0
    }

    /// A uniformly random member; `None` when empty. O(n) in a listpack, else O(1).
    pub fn random(&self, rng: &mut Rng) -> Option<Member<'_>> {
        match &self.repr {
            Repr::Ints(ints) => ints.get(rng.below(ints.len())).map(LpEntry::Int),
            Repr::Pack(pack) => {
                let nth = isize::try_from(rng.below(pack.len())).ok()?;
                pack.seek(nth).map(|pos| pack.get(pos))
            }
            Repr::Table(table) => table.random(rng).map(|m| LpEntry::Str(m)),
        }
    }

    /// `count` different members at random, all of them if there are not more. Every choice is equally likely,
    /// their order is not random. O(count log count) where few of a large table are wanted, else O(n).
    pub fn sample(&self, count: usize, rng: &mut Rng) -> Vec<Member<'_>> {
        match &self.repr {
            Repr::Table(table) if count < table.len() / 3 => {
                // Members do not move while they are borrowed: their addresses tell them apart.
                let mut seen = BTreeSet::new();
                let mut chosen = Vec::with_capacity(count);
                while chosen.len() < count {
                    let Some(member) = table.random(rng) else { break };
                    if seen.insert(member.as_ptr() as usize) {
                        chosen.push(LpEntry::Str(member));
                    }
                }
                chosen
            }
            _ => {
                let mut selection = Selection::new(count, self.len());
                self.iter().filter(|_| selection.takes(rng)).collect()
            }
        }
    }

    /// Takes out a uniformly random member.
    pub fn pop(&mut self, rng: &mut Rng, hasher: &Hasher) -> Option<Popped> {
        match &mut self.repr {
            Repr::Ints(ints) => {
                let n = ints.get(rng.below(ints.len()))?;
                ints.remove(n);
                Some(Popped::Int(n))
            }
            Repr::Pack(pack) => {
                let nth = isize::try_from(rng.below(pack.len())).ok()?;
                let pos = pack.seek(nth)?;
                let popped = Popped::detach(pack.get(pos));
                pack.remove(pos);
                Some(popped)
            }
            Repr::Table(table) => pop_from_table(table, rng, hasher).map(Popped::Bytes),
        }
    }

    /// Takes out `count` different members at random, or all. O(count) where few of a large table are wanted,
    /// else O(n).
    pub fn pop_many(
        &mut self,
        count: usize,
        rng: &mut Rng,
        hasher: &Hasher,
        mut emit: impl FnMut(Member<'_>),
    ) {
        let mut selection = Selection::new(count, self.len());
        match &mut self.repr {
            Repr::Ints(ints) => {
                let mut kept = Intset::new();
                for n in ints.iter() {
                    if selection.takes(rng) {
                        emit(LpEntry::Int(n));
                    } else {
                        kept.insert(n);
                    }
                }
                *ints = kept;
            }
            Repr::Pack(pack) => {
                pack.retain(|member| {
                    let taken = selection.takes(rng);
                    if taken {
                        emit(member);
                    }
                    !taken
                });
            }
            Repr::Table(table) if count < table.len() / 4 => {
                for _ in 0..count {
                    let Some(member) = pop_from_table(table, rng, hasher) else { break };
                    emit(LpEntry::Str(&member));
                }
            }
            Repr::Table(table) => {
                for member in table.extract_if(|_| selection.takes(rng)) {
                    emit(LpEntry::Str(&member));
                }
                // What was picked out of everywhere left every part of the table sparse.
                if table.buckets() / 8 > table.len() {
                    let rest = std::mem::take(table).extract_if(|_| true);
                    for member in rest {
                        table.insert_unique(hasher.hash(&member), member, |m| hasher.hash(m));
                    }
                }
            }
        }
    }

    /// Makes an intset of a set that holds nothing but integers, if so many may be in one. What the result of
    /// an intersection needs at the end; every other operation leaves encodings as they are. O(n).
    pub fn compact_ints(&mut self, limits: &SetLimits) {
        if self.as_intset().is_some() || self.len() > limits.intset_entries() {
            return;
        }
        let Some(mut all) = self.iter().map(|m| m.as_int()).collect::<Option<Vec<i64>>>() else { return };
        all.sort_unstable();
        let mut ints = Intset::new();
        for n in all {
            ints.insert(n);
        }
        self.repr = Repr::Ints(ints);
    }

    /// Bytes on the heap. In a hashtable, the size of members is extrapolated from `samples` of them; 0 asks
    /// for all. O(samples).
    pub fn memory_usage(&self, samples: usize) -> usize {
        match &self.repr {
            Repr::Ints(ints) => ints.memory_usage(),
            Repr::Pack(pack) => pack.memory_usage(),
            Repr::Table(table) => {
                let sizes = table.iter().map(|m| m.allocation_bytes());
                table.allocation_bytes() + extrapolate(sizes, table.len(), samples)
            }
        }
    }

    fn add_int(&mut self, n: i64, limits: &SetLimits, hasher: &Hasher) -> bool {
        let Repr::Ints(ints) = &mut self.repr else {
            return self.add(LpEntry::Int(n).as_slice(&mut IntText::default()), limits, hasher);
        };
        let added = ints.insert(n);
        if ints.len() > limits.intset_entries() {
            self.make_table(hasher);
        }
        added
    }

    /// An intset is about to receive `member`, which is no integer: it becomes a listpack if that can hold
    /// all, else a hashtable.
    fn leave_ints(&mut self, member: &[u8], limits: &SetLimits, hasher: &Hasher) {
        let Repr::Ints(ints) = &self.repr else { return };
        // The longest text is that of the largest or the smallest integer.
        let (mut longest, mut entry_bytes) = (0, 0);
        for end in [ints.min(), ints.max()].into_iter().flatten() {
            let mut buf = IntText::default();
            let text = LpEntry::Int(end).as_slice(&mut buf);
            longest = longest.max(text.len());
            entry_bytes = entry_bytes.max(Listpack::entry_bytes(text));
        }
        let bytes = entry_bytes.saturating_mul(ints.len()).saturating_add(Listpack::entry_bytes(member));
        let fits = ints.len() < limits.listpack_entries
            && longest.max(member.len()) <= limits.listpack_value
            && bytes < LISTPACK_BYTES_MAX / 2;
        if !fits {
            self.make_table(hasher);
            return;
        }
        let mut pack = Listpack::with_capacity(bytes + 16);
        ints.iter().for_each(|n| pack.push_back_int(n));
        self.repr = Repr::Pack(pack);
    }

    fn make_table(&mut self, hasher: &Hasher) -> &mut SplitTable<ThinBytes> {
        if !matches!(self.repr, Repr::Table(_)) {
            let mut table = SplitTable::new();
            let mut buf = IntText::default();
            for member in self.iter() {
                let member = ThinBytes::new(member.as_slice(&mut buf));
                table.insert_unique(hasher.hash(&member), member, |m| hasher.hash(m));
            }
            self.repr = Repr::Table(table);
        }
        match &mut self.repr {
            Repr::Table(table) => table,
            _ => unreachable!("made a table just now"),
        }
    }
}

fn add_to_table(table: &mut SplitTable<ThinBytes>, member: &[u8], hasher: &Hasher) -> bool {
    let hash = hasher.hash(member);
    let new = table.find(hash, |m| **m == *member).is_none();
    if new {
        table.insert_unique(hash, ThinBytes::new(member), |m| hasher.hash(m));
    }
    new
}

fn pop_from_table(table: &mut SplitTable<ThinBytes>, rng: &mut Rng, hasher: &Hasher) -> Option<ThinBytes> {
    let member = table.random(rng)?;
    let (hash, address) = (hasher.hash(member), member.as_ptr());
    table.remove(hash, |m| std::ptr::eq(m.as_ptr(), address), |m| hasher.hash(m))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};

    fn limits() -> SetLimits {
        SetLimits::default()
    }

    fn hasher() -> Hasher {
        Hasher::default()
    }

    /// A set filled as `SADD` with all members at once would fill it.
    fn sadd(members: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Set {
        let members: Vec<_> = members.into_iter().collect();
        let (limits, hasher) = (limits(), hasher());
        let mut set = Set::new_for(members[0].as_ref(), members.len(), &limits);
        for member in &members {
            set.add(member.as_ref(), &limits, &hasher);
        }
        set
    }

    fn numbers(n: usize) -> impl Iterator<Item = String> {
        (0..n).map(|i| i.to_string())
    }

    fn words(n: usize) -> impl Iterator<Item = String> {
        (0..n).map(|i| format!("m{i}"))
    }

    fn texts(set: &Set) -> BTreeSet<Vec<u8>> {
        set.iter().map(|m| m.to_vec()).collect()
    }

    #[test]
    fn encodings_follow_the_limits() {
        let long = "x".repeat(65);
        let check = |set: Set, encoding| assert_eq!(set.encoding_name(), encoding, "{} members", set.len());
        check(sadd(numbers(1)), "intset");
        check(sadd(numbers(512)), "intset");
        check(sadd(numbers(513)), "hashtable");
        check(sadd(words(128)), "listpack");
        check(sadd(words(129)), "hashtable");
        check(sadd([&long[..64]]), "listpack");
        check(sadd([&long]), "hashtable");
        check(sadd(numbers(127).chain(words(1))), "listpack");
        check(sadd(words(1).chain(numbers(127))), "listpack");
        check(sadd(["1", "2", &long]), "hashtable");
        // 200 members are too many for a listpack, which the second half of them would need.
        check(sadd(numbers(100).chain(words(100))), "hashtable");
        check(sadd(["007"]), "listpack");
        check(sadd(["9223372036854775808"]), "listpack");
        check(sadd(["-9223372036854775808"]), "intset");
    }

    #[test]
    fn many_members_at_once_skip_the_compact_encodings() {
        let (limits, hasher) = (limits(), hasher());
        let mut set = sadd(numbers(3));
        set.expect(512, &limits, &hasher);
        assert_eq!(set.encoding_name(), "intset");
        set.expect(513, &limits, &hasher);
        assert_eq!(set.encoding_name(), "hashtable");
        assert_eq!(texts(&set), numbers(3).map(String::into_bytes).collect());
        let mut set = sadd(["a"]);
        set.expect(129, &limits, &hasher);
        assert_eq!(set.encoding_name(), "hashtable");
    }

    #[test]
    fn integers_become_an_intset_on_request() {
        for (mut set, encoding) in [
            (sadd(numbers(513)), "hashtable"),
            (sadd(words(1).chain(numbers(3))), "listpack"),
            (sadd(["1"]), "intset"),
        ] {
            set.compact_ints(&limits());
            assert_eq!(set.encoding_name(), encoding);
        }
        let mut set = sadd(numbers(600));
        for gone in 0..200 {
            set.remove(gone.to_string().as_bytes(), &hasher());
        }
        set.compact_ints(&limits());
        assert_eq!((set.encoding_name(), set.len()), ("intset", 400));
    }

    #[test]
    fn a_listpack_with_a_member_twice_is_refused() {
        let pack = |members: &[&str]| members.iter().collect::<Listpack>();
        let load = |members: &[&str]| Set::from_listpack(pack(members), &limits(), &hasher());
        assert!(load(&["a", "5", "c"]).is_ok());
        assert!(load(&["a", "5", "a"]).is_err());
        assert!(load(&["5", "a", "5"]).is_err());
    }

    #[test]
    fn a_loaded_set_over_the_limits_is_a_hashtable() {
        let (limits, hasher) = (limits(), hasher());
        let pack: Listpack = words(129).collect();
        let set = Set::from_listpack(pack, &limits, &hasher).unwrap();
        assert_eq!((set.encoding_name(), set.len()), ("hashtable", 129));
        let mut ints = Intset::new();
        (0..513).for_each(|n| assert!(ints.insert(n)));
        let set = Set::from_intset(ints, &limits, &hasher);
        assert_eq!((set.encoding_name(), set.len()), ("hashtable", 513));
    }

    #[test]
    fn random_members_are_uniform() {
        for set in [sadd(numbers(100)), sadd(words(100)), sadd(words(1_000))] {
            let mut rng = Rng::seeded(11);
            let mut counts = std::collections::BTreeMap::new();
            for _ in 0..100 * set.len() {
                *counts.entry(set.random(&mut rng).unwrap().to_vec()).or_insert(0u32) += 1;
            }
            assert_eq!(counts.len(), set.len());
            let chi: f64 = counts.values().map(|c| (f64::from(*c) - 100.0).powi(2) / 100.0).sum();
            let freedom = set.len() as f64 - 1.0;
            assert!(chi < freedom + 6.0 * (2.0 * freedom).sqrt(), "{}: {chi}", set.encoding_name());
        }
        assert_eq!(Set::new().random(&mut Rng::seeded(1)), None);
        assert_eq!(Set::new_listpack().random(&mut Rng::seeded(1)), None);
    }

    #[test]
    fn samples_are_distinct_and_pops_take_out_what_they_say() {
        let (hasher, mut rng) = (hasher(), Rng::seeded(3));
        for full in [sadd(numbers(300)), sadd(words(100)), sadd(words(5_000))] {
            let len = full.len();
            for count in [0, 1, len / 10, len / 2, len - 1, len, len + 10] {
                let sample = full.sample(count, &mut rng);
                let distinct: BTreeSet<_> = sample.iter().map(|m| m.to_vec()).collect();
                assert_eq!((sample.len(), distinct.len()), (count.min(len), count.min(len)));

                let (mut set, mut popped) = (full.clone(), BTreeSet::new());
                set.pop_many(count, &mut rng, &hasher, |m| assert!(popped.insert(m.to_vec())));
                assert_eq!(popped.len(), count.min(len), "{} of {len}", count);
                assert_eq!(set.len(), len - count.min(len));
                popped.extend(texts(&set));
                assert_eq!(popped, texts(&full));
                for m in set.sample(20, &mut rng) {
                    assert!(set.contains_member(m, &hasher));
                }
            }
            let (mut set, mut popped) = (full.clone(), BTreeSet::new());
            while let Some(m) = set.pop(&mut rng, &hasher) {
                popped.insert(m.as_member().to_vec());
            }
            assert!(set.is_empty());
            assert_eq!(popped, texts(&full));
        }
    }

    #[test]
    fn popping_nearly_all_gives_the_memory_back() {
        let mut set = sadd(words(20_000));
        set.pop_many(19_990, &mut Rng::seeded(1), &hasher(), |_| ());
        assert!(set.memory_usage(0) < 2_000, "{} bytes", set.memory_usage(0));
    }

    #[test]
    fn memory_is_extrapolated_from_samples() {
        let set = sadd(words(10_000));
        let (all, some) = (set.memory_usage(0) as f64, set.memory_usage(100) as f64);
        assert!((all - some).abs() < all * 0.1, "{all} {some}");
    }

    #[derive(Debug, Clone)]
    enum Op {
        Add(String),
        Remove(String),
        Pop,
        PopMany(usize),
        Compact,
    }

    fn member() -> impl Strategy<Value = String> {
        prop_oneof![
            8 => (0..40i64).prop_map(|n| n.to_string()),
            4 => (0..40u32).prop_map(|n| format!("m{n}")),
            1 => (0..3usize).prop_map(|n| "x".repeat(7 + n)),
            1 => proptest::prelude::any::<i64>().prop_map(|n| n.to_string()),
        ]
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            20 => member().prop_map(Op::Add),
            8 => member().prop_map(Op::Remove),
            2 => proptest::prelude::Just(Op::Pop),
            1 => (0..9usize).prop_map(Op::PopMany),
            1 => proptest::prelude::Just(Op::Compact),
        ]
    }

    proptest! {
        /// Whatever is done to a `Set`, it equals the `BTreeSet` that had the same done to it.
        #[test]
        fn equals_its_model(ops in proptest::collection::vec(op(), 0..120), seed: u64) {
            // Narrow limits, so that all conversions happen.
            let limits = SetLimits { intset_entries: 16, listpack_entries: 8, listpack_value: 8 };
            let (hasher, mut rng) = (hasher(), Rng::seeded(seed));
            let mut set = Set::new_listpack();
            let mut model: BTreeSet<Vec<u8>> = BTreeSet::new();
            for op in ops {
                match op.clone() {
                    Op::Add(m) => {
                        prop_assert_eq!(set.add(m.as_bytes(), &limits, &hasher), model.insert(m.into_bytes()));
                    }
                    Op::Remove(m) => {
                        prop_assert_eq!(set.remove(m.as_bytes(), &hasher), model.remove(m.as_bytes()));
                    }
                    Op::Pop => match set.pop(&mut rng, &hasher) {
                        Some(m) => prop_assert!(model.remove(&m.as_member().to_vec())),
                        None => prop_assert!(model.is_empty()),
                    },
                    Op::PopMany(n) => {
                        set.pop_many(n, &mut rng, &hasher, |m| assert!(model.remove(&m.to_vec())));
                    }
                    Op::Compact => set.compact_ints(&limits),
                }
                prop_assert_eq!(set.len(), model.len(), "after {:?}", &op);
                match set.encoding_name() {
                    "intset" => prop_assert!(set.len() <= 16),
                    "listpack" => prop_assert!(set.len() <= 8 && set.iter().all(|m| m.text_len() <= 8)),
                    _ => {}
                }
            }
            prop_assert_eq!(texts(&set), model.clone());
            prop_assert_eq!(texts(&set.clone()), model.clone());
            for m in set.iter() {
                prop_assert!(set.contains_member(m, &hasher));
                prop_assert!(set.contains(&m.to_vec(), &hasher));
            }
            let (mut scanned, mut cursor) = (BTreeSet::new(), 0);
            loop {
                cursor = set.scan(cursor, 3, &hasher, |m| assert!(scanned.insert(m.to_vec())));
                if cursor == 0 { break; }
            }
            prop_assert_eq!(scanned, model);
        }
    }
}
