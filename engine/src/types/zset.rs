//! Sorted sets: members, each with a score, in the order of (score, member).
//!
//! | encoding   | while                                                | made of                                   |
//! |------------|------------------------------------------------------|-------------------------------------------|
//! | `listpack` | few and short members, see [`ZSetLimits`]            | one listpack: member, score, member, ...  |
//! | `skiplist` | from then on (the name is Redis's, clients ask for it) | a counted B+ tree, and a hash index      |
//!
//! Every range, be it of ranks, scores or members, is first turned into a `Range` of ranks, which costs
//! O(log n); its length is the count, slicing it is LIMIT, and [`ZSet::range`] walks it both ways.
//!
//! Invariants:
//! - Order: by score, then by the bytes of the member. `-0.0` equals `0.0`; the large encoding keeps its sign, the
//!   compact one does not (Redis's does not either).
//! - A score is never NaN: whoever parses or adds scores refuses it. [`ZSet::from_listpack`] does.
//! - A set never goes back from `skiplist` to `listpack`.

mod compact;
mod ranked;
#[cfg(test)]
mod tests;

use self::ranked::Ranked;
use super::listpack::{IntText, Listpack, LpEntry};
use super::ranked_tree::Position;
use crate::hash::Hasher;
use crate::random::Rng;
use std::collections::BTreeSet;
use std::ops::Range;

pub use self::compact::Corrupt;

/// A sorted set.
#[derive(Debug, Clone)]
pub struct ZSet {
    repr: Repr,
}

#[derive(Debug, Clone)]
enum Repr {
    Compact(Listpack),
    Ranked(Box<Ranked>),
}

/// Up to where the compact encoding is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZSetLimits {
    /// The most members of a compact set: `zset-max-listpack-entries`.
    pub listpack_entries: usize,
    /// The most bytes of a member of a compact set: `zset-max-listpack-value`.
    pub listpack_value: usize,
}

impl Default for ZSetLimits {
    fn default() -> Self {
        Self { listpack_entries: 128, listpack_value: 64 }
    }
}

/// What [`ZSet::insert`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// The member is new.
    Added,
    /// The member was there with another score.
    Updated,
    /// The member was there with the same score; nothing changed.
    Same,
}

/// A member and its score, borrowed from the set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ZEntry<'a> {
    /// The member; as an integer where the listpack stores it so.
    pub member: LpEntry<'a>,
    /// The score.
    pub score: f64,
}

impl<'a> ZEntry<'a> {
    /// The bytes of the member; an integer is written into `buf`.
    #[inline]
    pub fn member_bytes<'b>(&self, buf: &'b mut IntText) -> &'b [u8]
    where
        'a: 'b,
    {
        self.member.as_slice(buf)
    }
}

/// Scores from `min` to `max`, either end taken out if exclusive. Infinities are ordinary values here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreRange {
    /// The lowest score.
    pub min: f64,
    /// The highest score.
    pub max: f64,
    /// Whether `min` itself is left out.
    pub min_exclusive: bool,
    /// Whether `max` itself is left out.
    pub max_exclusive: bool,
}

impl ScoreRange {
    /// All scores.
    pub const ALL: Self = Self::closed(f64::NEG_INFINITY, f64::INFINITY);

    /// From `min` to `max`, both included.
    pub const fn closed(min: f64, max: f64) -> Self {
        Self { min, max, min_exclusive: false, max_exclusive: false }
    }

    /// Whether `score` is in the range.
    pub fn contains(&self, score: f64) -> bool {
        !self.is_above(score) && !self.is_passed_by(score)
    }

    /// Whether the range begins after `score`.
    #[inline]
    fn is_above(&self, score: f64) -> bool {
        score < self.min || (self.min_exclusive && score == self.min)
    }

    /// Whether the range ends before `score`.
    #[inline]
    fn is_passed_by(&self, score: f64) -> bool {
        score > self.max || (self.max_exclusive && score == self.max)
    }
}

/// One end of a [`LexRange`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// `-`: before all members.
    Min,
    /// `+`: after all members.
    Max,
    /// `[member`: with the member itself.
    Included(&'a [u8]),
    /// `(member`: without the member itself.
    Excluded(&'a [u8]),
}

/// Members from `min` to `max` by their bytes. Meaningful where all members have the same score; otherwise what
/// a range holds is unspecified, as in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LexRange<'a> {
    /// Where the range begins.
    pub min: LexBound<'a>,
    /// Where the range ends.
    pub max: LexBound<'a>,
}

impl LexRange<'_> {
    /// All members.
    pub const ALL: Self = Self { min: LexBound::Min, max: LexBound::Max };

    /// Whether `member` is in the range.
    pub fn contains(&self, member: &[u8]) -> bool {
        !self.is_above(member) && !self.is_passed_by(member)
    }

    /// Whether the range begins after `member`.
    fn is_above(&self, member: &[u8]) -> bool {
        match self.min {
            LexBound::Min => false,
            LexBound::Max => true,
            LexBound::Included(min) => member < min,
            LexBound::Excluded(min) => member <= min,
        }
    }

    /// Whether the range ends before `member`.
    fn is_passed_by(&self, member: &[u8]) -> bool {
        match self.max {
            LexBound::Min => true,
            LexBound::Max => false,
            LexBound::Included(max) => member > max,
            LexBound::Excluded(max) => member >= max,
        }
    }
}

impl Default for ZSet {
    fn default() -> Self {
        Self::new()
    }
}

impl ZSet {
    /// An empty set, compact.
    pub fn new() -> Self {
        Self { repr: Repr::Compact(Listpack::new()) }
    }

    /// An empty set for about `expected` members, one of which has `member_len` bytes: it starts in the
    /// encoding that these would lead to.
    pub fn with_expected(expected: usize, member_len: usize, limits: &ZSetLimits, hasher: &Hasher) -> Self {
        if expected > limits.listpack_entries || member_len > limits.listpack_value {
            Self { repr: Repr::Ranked(Box::new(Ranked::new(hasher.clone()))) }
        } else {
            Self::new()
        }
    }

    /// The set in a listpack from a snapshot: member, score, member, ... It is taken over as it is if it is in
    /// order and within the limits, else built anew. O(n log n).
    ///
    /// # Errors
    /// [`Corrupt`] if members and scores do not pair up, a score is no number, or a member is there twice.
    pub fn from_listpack(listpack: Listpack, limits: &ZSetLimits, hasher: &Hasher) -> Result<Self, Corrupt> {
        let checked = compact::check(&listpack, hasher)?;
        if checked.in_order
            && checked.len <= limits.listpack_entries
            && checked.longest <= limits.listpack_value
        {
            return Ok(Self { repr: Repr::Compact(listpack) });
        }
        let mut set = Self::with_expected(checked.len, checked.longest, limits, hasher);
        let mut text = [0; 20];
        for (_, entry) in compact::pairs(&listpack) {
            set.insert(entry.member_bytes(&mut text), entry.score, limits, hasher);
        }
        Ok(set)
    }

    /// The listpack of a compact set, as it goes into a snapshot.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        match &self.repr {
            Repr::Compact(listpack) => Some(listpack),
            Repr::Ranked(_) => None,
        }
    }

    /// What OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match &self.repr {
            Repr::Compact(_) => "listpack",
            Repr::Ranked(_) => "skiplist",
        }
    }

    /// Number of members. O(1).
    #[inline]
    pub fn len(&self) -> usize {
        match &self.repr {
            Repr::Compact(listpack) => compact::len(listpack),
            Repr::Ranked(ranked) => ranked.len(),
        }
    }

    /// Whether there are no members.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes on the heap, close to what the allocator was asked for.
    pub fn memory_usage(&self) -> usize {
        match &self.repr {
            Repr::Compact(listpack) => listpack.memory_usage(),
            Repr::Ranked(ranked) => size_of::<Ranked>() + ranked.allocation_bytes(),
        }
    }

    /// Asks for the memory of a member.
    #[inline]
    pub fn prefetch(&self, member: &[u8]) {
        match &self.repr {
            Repr::Compact(listpack) => listpack.prefetch(),
            Repr::Ranked(ranked) => ranked.prefetch(member),
        }
    }

    /// The score of a member. O(1).
    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.repr {
            Repr::Compact(listpack) => compact::find(listpack, member).map(|(_, score)| score),
            Repr::Ranked(ranked) => ranked.score(member),
        }
    }

    /// Adds a member, or gives it another score. The score must not be NaN. O(log n).
    pub fn insert(&mut self, member: &[u8], score: f64, limits: &ZSetLimits, hasher: &Hasher) -> Inserted {
        debug_assert!(!score.is_nan());
        if let Repr::Compact(listpack) = &mut self.repr {
            if let Some((pos, old)) = compact::find(listpack, member) {
                return compact::update(listpack, pos, old, member, score);
            }
            if compact::fits(listpack, member, limits) {
                compact::insert(listpack, member, score);
                return Inserted::Added;
            }
        }
        self.ranked(hasher).insert(member, score)
    }

    /// Says that `adding` members are about to be added: a compact set that cannot hold even these alone is
    /// converted at once, not member by member.
    pub fn expect(&mut self, adding: usize, limits: &ZSetLimits, hasher: &Hasher) {
        if adding > limits.listpack_entries {
            self.ranked(hasher);
        }
    }

    /// Removes a member; returns its score. O(log n).
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.repr {
            Repr::Compact(listpack) => {
                let (pos, score) = compact::find(listpack, member)?;
                listpack.remove_at(pos, 2);
                Some(score)
            }
            Repr::Ranked(ranked) => ranked.remove(member),
        }
    }

    /// How many members come before this one, and its score. O(log n).
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match &self.repr {
            Repr::Compact(listpack) => compact::rank(listpack, member),
            Repr::Ranked(ranked) => ranked.rank(member),
        }
    }

    /// How many members come after this one, and its score. O(log n).
    pub fn rank_from_end(&self, member: &[u8]) -> Option<(usize, f64)> {
        self.rank(member).map(|(rank, score)| (self.len() - 1 - rank, score))
    }

    /// The entry with this rank. O(log n).
    pub fn get(&self, rank: usize) -> Option<ZEntry<'_>> {
        self.range(rank..rank.saturating_add(1)).next()
    }

    /// The entries with these ranks, in order; ranks past the end are left out. The iterator also runs backwards.
    /// O(log n) for the first entry at either end, O(1) for each one after it.
    pub fn range(&self, ranks: Range<usize>) -> ZRange<'_> {
        let end = ranks.end.min(self.len());
        let start = ranks.start.min(end);
        let walk = match &self.repr {
            Repr::Compact(listpack) => Walk::Compact { listpack, front: None, back: None },
            Repr::Ranked(ranked) => Walk::Ranked { ranked, front: None, back: None },
        };
        ZRange { start, end, walk }
    }

    /// All entries, in order.
    pub fn iter(&self) -> ZRange<'_> {
        self.range(0..self.len())
    }

    /// The ranks of the members whose score is in `range`: its length counts them. O(log n).
    pub fn ranks_by_score(&self, range: &ScoreRange) -> Range<usize> {
        let (start, end) = match &self.repr {
            Repr::Compact(listpack) => (
                compact::position(listpack, |entry| range.is_above(entry.score)),
                compact::position(listpack, |entry| !range.is_passed_by(entry.score)),
            ),
            Repr::Ranked(ranked) => (
                ranked.position(|score, _| range.is_above(score)),
                ranked.position(|score, _| !range.is_passed_by(score)),
            ),
        };
        start..end.max(start)
    }

    /// The ranks of the members in `range`: its length counts them. O(log n).
    pub fn ranks_by_lex(&self, range: &LexRange<'_>) -> Range<usize> {
        let (start, end) = match &self.repr {
            Repr::Compact(listpack) => (
                compact::position(listpack, |entry| range.is_above(entry.member_bytes(&mut [0; 20]))),
                compact::position(listpack, |entry| !range.is_passed_by(entry.member_bytes(&mut [0; 20]))),
            ),
            Repr::Ranked(ranked) => (
                ranked.position(|_, id| range.is_above(ranked.member(id))),
                ranked.position(|_, id| !range.is_passed_by(ranked.member(id))),
            ),
        };
        start..end.max(start)
    }

    /// Removes the members with these ranks; returns how many. O(log n + m) for m of them.
    pub fn remove_range(&mut self, ranks: Range<usize>) -> usize {
        let end = ranks.end.min(self.len());
        let count = end.saturating_sub(ranks.start);
        if count > 0 && count == self.len() {
            *self = Self { repr: self.repr.emptied() };
            return count;
        }
        match &mut self.repr {
            _ if count == 0 => {}
            Repr::Compact(listpack) => listpack.remove_range(2 * ranks.start as isize, 2 * count),
            Repr::Ranked(ranked) => ranked.remove_range(ranks.start, count),
        }
        count
    }

    /// Takes out the member with the lowest score. O(log n).
    pub fn pop_min(&mut self) -> Option<(Vec<u8>, f64)> {
        self.pop(0)
    }

    /// Takes out the member with the highest score. O(log n).
    pub fn pop_max(&mut self) -> Option<(Vec<u8>, f64)> {
        self.pop(self.len().checked_sub(1)?)
    }

    /// One step of a scan from `cursor` (0 at first): emits at least `count` entries and returns the cursor to go on
    /// with, 0 at the end. A compact set is emitted in one step. What is in the set throughout is emitted.
    pub fn scan<'a>(&'a self, cursor: u64, count: usize, mut emit: impl FnMut(ZEntry<'a>)) -> u64 {
        match &self.repr {
            Repr::Compact(_) => {
                self.iter().for_each(emit);
                0
            }
            Repr::Ranked(ranked) => ranked.scan(cursor, count, &mut emit),
        }
    }

    /// A uniformly random entry. O(log n).
    pub fn random(&self, rng: &mut Rng) -> Option<ZEntry<'_>> {
        self.get(rng.below(self.len()))
    }

    /// Emits `count` different entries, each choice as likely as any other; all of them when there are fewer.
    /// They come in order. O(count log n).
    pub fn sample<'a>(&'a self, count: usize, rng: &mut Rng, mut emit: impl FnMut(ZEntry<'a>)) {
        let len = self.len();
        if count.saturating_mul(4) < len {
            // Floyd's sampling: one draw per entry, none in vain.
            let mut ranks = BTreeSet::new();
            for last in len - count..len {
                let drawn = rng.below(last + 1);
                ranks.insert(if ranks.contains(&drawn) { last } else { drawn });
            }
            ranks.into_iter().filter_map(|rank| self.get(rank)).for_each(emit);
        } else {
            let mut wanted = count;
            for (rank, entry) in self.iter().enumerate() {
                if rng.below(len - rank) < wanted {
                    wanted -= 1;
                    emit(entry);
                }
            }
        }
    }

    /// Walks everything and panics where an invariant is broken. For tests and fuzzing.
    pub fn assert_invariants(&self) {
        match &self.repr {
            Repr::Compact(listpack) => {
                let checked =
                    compact::check(listpack, &Hasher::default()).expect("a compact set is well formed");
                assert!(checked.in_order, "a compact set is in order");
            }
            Repr::Ranked(ranked) => ranked.assert_invariants(),
        }
    }

    fn pop(&mut self, rank: usize) -> Option<(Vec<u8>, f64)> {
        let entry = self.get(rank)?;
        let popped = (entry.member.to_vec(), entry.score);
        self.remove_range(rank..rank + 1);
        Some(popped)
    }

    /// The large encoding, to which a compact set is converted first.
    fn ranked(&mut self, hasher: &Hasher) -> &mut Ranked {
        if let Repr::Compact(listpack) = &self.repr {
            let mut ranked = Ranked::new(hasher.clone());
            let mut text = [0; 20];
            for (_, entry) in compact::pairs(listpack) {
                ranked.insert(entry.member_bytes(&mut text), entry.score);
            }
            self.repr = Repr::Ranked(Box::new(ranked));
        }
        match &mut self.repr {
            Repr::Ranked(ranked) => ranked,
            Repr::Compact(_) => unreachable!("it was just converted"),
        }
    }
}

impl Repr {
    /// An empty set in the same encoding.
    fn emptied(&self) -> Self {
        match self {
            Repr::Compact(_) => Repr::Compact(Listpack::new()),
            Repr::Ranked(ranked) => Repr::Ranked(Box::new(Ranked::new(ranked.hasher().clone()))),
        }
    }
}

impl<'a> IntoIterator for &'a ZSet {
    type Item = ZEntry<'a>;
    type IntoIter = ZRange<'a>;

    fn into_iter(self) -> ZRange<'a> {
        self.iter()
    }
}

/// Entries of a range of ranks, in order; from [`ZSet::range`].
#[derive(Clone)]
pub struct ZRange<'a> {
    start: usize,
    end: usize,
    walk: Walk<'a>,
}

/// Both ends of the way, looked up when first needed.
#[derive(Clone)]
enum Walk<'a> {
    Compact {
        listpack: &'a Listpack,
        front: Option<compact::Entries<'a>>,
        back: Option<compact::Entries<'a>>,
    },
    Ranked {
        ranked: &'a Ranked,
        front: Option<Position>,
        back: Option<Position>,
    },
}

impl<'a> Iterator for ZRange<'a> {
    type Item = ZEntry<'a>;

    #[inline]
    fn next(&mut self) -> Option<ZEntry<'a>> {
        if self.start == self.end {
            return None;
        }
        let start = self.start;
        self.start += 1;
        match &mut self.walk {
            Walk::Compact { listpack, front, .. } => {
                front.get_or_insert_with(|| compact::entries_from(listpack, start)).next()
            }
            Walk::Ranked { ranked, front, .. } => {
                let at = front.unwrap_or_else(|| ranked.select(start));
                let (entry, after) = ranked.next(at)?;
                *front = Some(after);
                Some(entry)
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.start, Some(self.end - self.start))
    }

    /// Skips in O(log n).
    fn nth(&mut self, n: usize) -> Option<ZEntry<'a>> {
        if n > 0 {
            self.start = self.start.saturating_add(n).min(self.end);
            match &mut self.walk {
                Walk::Compact { front, .. } => *front = None,
                Walk::Ranked { front, .. } => *front = None,
            }
        }
        self.next()
    }
}

impl DoubleEndedIterator for ZRange<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.start == self.end {
            return None;
        }
        let end = self.end;
        self.end -= 1;
        match &mut self.walk {
            Walk::Compact { listpack, back, .. } => {
                back.get_or_insert_with(|| compact::entries_before(listpack, end)).next_back()
            }
            Walk::Ranked { ranked, back, .. } => {
                let at = back.unwrap_or_else(|| ranked.select(end));
                let (entry, before) = ranked.prev(at)?;
                *back = Some(before);
                Some(entry)
            }
        }
    }

    /// Skips in O(log n).
    fn nth_back(&mut self, n: usize) -> Option<Self::Item> {
        if n > 0 {
            self.end = self.end.saturating_sub(n).max(self.start);
            match &mut self.walk {
                Walk::Compact { back, .. } => *back = None,
                Walk::Ranked { back, .. } => *back = None,
            }
        }
        self.next_back()
    }
}

impl ExactSizeIterator for ZRange<'_> {}
impl std::iter::FusedIterator for ZRange<'_> {}
