//! A hash table in small parts: no insert ever stalls for a rehash, however many elements there are.
//!
//! Extendible hashing (Fagin et al., 1979) over hashbrown tables of at most [`SUB_MAX`] elements. A full
//! sub-table splits in two by one more bit of the hash; two sparse neighbours merge again. A hash is used as
//!
//! | bits    | for                                                                       |
//! |---------|---------------------------------------------------------------------------|
//! | 57..64  | hashbrown's tag in the control byte                                       |
//! | 9..57   | the *order*: 48 bits; its high bits pick the sub-table, and scans follow it |
//! | 0..9    | hashbrown's bucket inside a sub-table                                     |
//!
//! Scans walk the elements by their order, which does not depend on how the table is laid out: a cursor needs
//! no state and stays valid over any number of inserts, removals, splits and merges.

mod part;

use crate::random::Rng;
use hashbrown::HashTable;
pub use part::Near;
use part::Part;
use std::ops::Range;

/// Elements in one sub-table before it splits: 7/8 of 512 buckets.
pub const SUB_MAX: usize = 448;
/// Two neighbours whose sum is at most this become one again.
const MERGE_MAX: usize = SUB_MAX / 4;
/// With fewer elements it is quicker to wait for memory than to ask for it in advance.
const PREFETCH_MIN: usize = 4096;
/// Width of the order in bits.
pub const ORDER_BITS: u32 = 48;
/// Splitting stops here: elements that agree in so many bits are the work of nobody honest. The index stays
/// below 64 MB whatever they are.
const DEPTH_MAX: u8 = 24;

/// The place of a hash in the order of scans.
#[inline]
pub fn order(hash: u64) -> u64 {
    (hash >> 9) & ((1 << ORDER_BITS) - 1)
}

/// Where an element is, until the table changes: finding it again costs no probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    sub: usize,
    bucket: usize,
}

/// A hash table of `T` that grows in bounded steps. The caller supplies hashes and equality.
#[derive(Debug, Clone)]
pub struct SplitTable<T> {
    root: Root<T>,
}

#[derive(Debug, Clone)]
enum Root<T> {
    One(Part<T>),
    Many(Box<Directory<T>>),
}

#[derive(Debug, Clone)]
struct Directory<T> {
    len: usize,
    /// The index has `1 << depth` places.
    depth: u8,
    /// Order prefix -> number of the sub-table.
    index: Vec<u32>,
    subs: Vec<Sub<T>>,
}

#[derive(Debug, Clone)]
struct Sub<T> {
    /// How many bits of the order all elements here share.
    depth: u8,
    /// Those bits.
    prefix: u64,
    table: Part<T>,
}

impl<T> Default for SplitTable<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> SplitTable<T> {
    /// An empty table; allocates nothing.
    pub const fn new() -> Self {
        Self { root: Root::One(Part::new()) }
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.root {
            Root::One(table) => table.len(),
            Root::Many(dir) => dir.len,
        }
    }

    /// Whether there is no element.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element with this hash for which `eq` holds. O(1).
    #[inline]
    pub fn find(&self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&T> {
        self.sub(hash).find(hash, eq)
    }

    /// As [`find`](Self::find), to change in place. The change must not alter the hash.
    #[inline]
    pub fn find_mut(&mut self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&mut T> {
        self.sub_mut(hash).find_mut(hash, eq)
    }

    /// Where it is, while it is small: whoever keeps this can have a lookup's memory asked for before the table itself has
    /// come from memory.
    #[inline]
    pub fn near(&self) -> Near {
        match &self.root {
            Root::One(table) => table.near(),
            Root::Many(_) => Near::default(),
        }
    }

    /// Asks for the memory that an element points to, by `ask` for each that may be it, if the table is so large that this
    /// memory is hardly near the processor. A loop over many elements overlaps their waits.
    #[inline]
    pub fn prefetch(&self, hash: impl FnOnce() -> u64, ask: impl Fn(&T)) {
        if self.len() >= PREFETCH_MIN {
            let hash = hash();
            self.sub(hash).find(hash, |element| {
                ask(element);
                false
            });
        }
    }

    /// Where the element with this hash is for which `eq` holds. O(1).
    #[inline]
    pub fn locate(&self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<Place> {
        let (sub, table) = match &self.root {
            Root::One(table) => (0, table),
            Root::Many(dir) => {
                let sub = dir.sub_at(order(hash));
                (sub, &dir.subs[sub].table)
            }
        };
        Some(Place { sub, bucket: table.locate(hash, eq)? })
    }

    /// The element at a place. The place must be from [`locate`](Self::locate) and the table unchanged since;
    /// otherwise this is some other element, or none.
    #[inline]
    pub fn at(&self, place: Place) -> Option<&T> {
        match &self.root {
            Root::One(table) => table.get_bucket(place.bucket),
            Root::Many(dir) => dir.subs.get(place.sub)?.table.get_bucket(place.bucket),
        }
    }

    /// As [`at`](Self::at), to change in place. The change must not alter the hash.
    #[inline]
    pub fn at_mut(&mut self, place: Place) -> Option<&mut T> {
        match &mut self.root {
            Root::One(table) => table.get_bucket_mut(place.bucket),
            Root::Many(dir) => dir.subs.get_mut(place.sub)?.table.get_bucket_mut(place.bucket),
        }
    }

    /// Adds an element that is not there yet (the caller has looked). `rehash` gives the hash of an element.
    /// O(1); at worst one sub-table of [`SUB_MAX`] elements is split.
    pub fn insert_unique(&mut self, hash: u64, value: T, rehash: impl Fn(&T) -> u64) -> &mut T {
        self.make_room(hash, &rehash);
        if let Root::Many(dir) = &mut self.root {
            dir.len += 1;
        }
        self.sub_mut(hash).add(hash, value, rehash)
    }

    /// Replaces the element equal to `value`, which is returned, or adds it.
    pub fn replace(
        &mut self,
        hash: u64,
        value: T,
        eq: impl FnMut(&T) -> bool,
        rehash: impl Fn(&T) -> u64,
    ) -> Option<T> {
        if let Some(old) = self.find_mut(hash, eq) {
            return Some(std::mem::replace(old, value));
        }
        self.insert_unique(hash, value, rehash);
        None
    }

    /// Takes out the element with this hash for which `eq` holds. O(1).
    pub fn remove(&mut self, hash: u64, eq: impl FnMut(&T) -> bool, rehash: impl Fn(&T) -> u64) -> Option<T> {
        let table = self.sub_mut(hash);
        let found = table.find_entry(hash, eq).ok()?;
        let (value, _) = found.remove();
        if table.num_buckets() > 16 && table.len() * 8 < table.num_buckets() {
            let enough = table.len() * 2;
            table.shrink_to(enough, &rehash);
        }
        self.shrink(hash, rehash);
        Some(value)
    }

    /// All elements, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let (one, many) = match &self.root {
            Root::One(table) => (Some(&**table), None),
            Root::Many(dir) => (None, Some(dir.subs.iter().map(|sub| &*sub.table))),
        };
        one.into_iter().chain(many.into_iter().flatten()).flatten()
    }

    /// All elements, to change in place. The change must not alter a hash.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let (one, many) = match &mut self.root {
            Root::One(table) => (Some(&mut **table), None),
            Root::Many(dir) => (None, Some(dir.subs.iter_mut().map(|sub| &mut *sub.table))),
        };
        one.into_iter().chain(many.into_iter().flatten()).flatten()
    }

    /// Takes out every element for which `taken` holds. O(n).
    pub fn extract_if(&mut self, mut taken: impl FnMut(&mut T) -> bool) -> Vec<T> {
        match &mut self.root {
            Root::One(table) => table.extract_if(&mut taken).collect(),
            Root::Many(dir) => {
                let mut out = Vec::new();
                for sub in &mut dir.subs {
                    out.extend(sub.table.extract_if(&mut taken));
                }
                dir.len -= out.len();
                out
            }
        }
    }

    /// One step of a scan: emits elements in hash order from `cursor` (0 at first) until at least `count` are
    /// out, and returns the cursor to go on with, 0 at the end.
    ///
    /// Guarantee (Redis, SCAN): what is in the table throughout the scan is emitted; elements added or removed
    /// meanwhile may be or not. Nothing is emitted twice unless it was removed and added again.
    pub fn scan<'a>(
        &'a self,
        mut cursor: u64,
        count: usize,
        rehash: impl Fn(&T) -> u64,
        mut emit: impl FnMut(&'a T),
    ) -> u64 {
        let mut left = count.max(1);
        loop {
            let (table, range) = self.part_at(cursor);
            if cursor <= range.start && table.len() <= left {
                left -= table.len();
                table.iter().for_each(&mut emit);
            } else {
                let emit_of_count = |value| {
                    emit(value);
                    left = left.saturating_sub(1);
                    left > 0
                };
                if let Some(next) = scan_part(table, cursor, &rehash, emit_of_count) {
                    return next;
                }
            }
            if range.end >> ORDER_BITS != 0 {
                return 0;
            }
            if left == 0 {
                return range.end;
            }
            cursor = range.end;
        }
    }

    /// As [`scan`](Self::scan), of one part at most and for as long as `emit` wants more. `ask` is told of all elements of the part
    /// first, so that the waits for what they point to overlap.
    pub fn scan_while<'a>(
        &'a self,
        cursor: u64,
        ask: impl Fn(&T),
        rehash: impl Fn(&T) -> u64,
        emit: impl FnMut(&'a T) -> bool,
    ) -> u64 {
        let (table, range) = self.part_at(cursor);
        table.iter().for_each(ask);
        match scan_part(table, cursor, &rehash, emit) {
            Some(next) => next,
            None if range.end >> ORDER_BITS != 0 => 0,
            None => range.end,
        }
    }

    /// The part where a scan is, and which orders are in it.
    fn part_at(&self, cursor: u64) -> (&Part<T>, Range<u64>) {
        let (table, depth, prefix) = match &self.root {
            Root::One(table) => (table, 0, 0),
            Root::Many(dir) => {
                let sub = &dir.subs[dir.sub_at(cursor)];
                (&sub.table, sub.depth, sub.prefix)
            }
        };
        let span = ORDER_BITS - u32::from(depth);
        (table, prefix << span..(prefix + 1) << span)
    }

    /// A uniformly random element; `None` when empty. O(1) expected.
    pub fn random(&self, rng: &mut Rng) -> Option<&T> {
        if self.is_empty() {
            return None;
        }
        match &self.root {
            Root::One(table) => Some(random_of(table, rng)),
            Root::Many(dir) => loop {
                // Every element has the same chance: a sub-table that covers more of the index is drawn more
                // often, so it accepts less often; then a bucket number up to the largest possible table.
                let sub = &dir.subs[dir.index[rng.below(dir.index.len())] as usize];
                let accept = rng.below(1 << (dir.depth - sub.depth).min(20)) == 0;
                let bucket = rng.below(SUB_MAX * 8 / 7);
                if let (true, Some(found)) = (accept, bucket_at(&sub.table, bucket)) {
                    return Some(found);
                }
                if sub.table.num_buckets() > SUB_MAX * 8 / 7 {
                    return Some(random_of(&sub.table, rng));
                }
            },
        }
    }

    /// Bytes that the table itself holds on the heap (not what elements point to).
    pub fn allocation_bytes(&self) -> usize {
        match &self.root {
            Root::One(table) => table.allocation_size(),
            Root::Many(dir) => {
                let subs: usize = dir.subs.iter().map(|sub| sub.table.allocation_size()).sum();
                subs + dir.index.capacity() * 4 + dir.subs.capacity() * size_of::<Sub<T>>()
            }
        }
    }

    /// Buckets in all parts, full or not.
    pub fn buckets(&self) -> usize {
        match &self.root {
            Root::One(table) => table.num_buckets(),
            Root::Many(dir) => dir.subs.iter().map(|sub| sub.table.num_buckets()).sum(),
        }
    }

    /// Number of parts, 1 while small.
    pub fn parts(&self) -> usize {
        match &self.root {
            Root::One(_) => 1,
            Root::Many(dir) => dir.subs.len(),
        }
    }

    /// The elements of part `part`: lets a background walk go in bounded steps.
    pub fn part_mut(&mut self, part: usize) -> Option<impl Iterator<Item = &mut T>> {
        match &mut self.root {
            Root::One(table) => (part == 0).then(|| table.iter_mut()),
            Root::Many(dir) => dir.subs.get_mut(part).map(|sub| sub.table.iter_mut()),
        }
    }

    #[inline]
    fn sub(&self, hash: u64) -> &Part<T> {
        match &self.root {
            Root::One(table) => table,
            Root::Many(dir) => &dir.subs[dir.sub_at(order(hash))].table,
        }
    }

    #[inline]
    fn sub_mut(&mut self, hash: u64) -> &mut Part<T> {
        match &mut self.root {
            Root::One(table) => table,
            Root::Many(dir) => {
                let at = dir.sub_at(order(hash));
                &mut dir.subs[at].table
            }
        }
    }

    fn make_room(&mut self, hash: u64, rehash: &impl Fn(&T) -> u64) {
        loop {
            match &mut self.root {
                Root::One(table) if table.len() < SUB_MAX => return,
                Root::One(table) => {
                    let table = std::mem::take(table);
                    self.root = Root::Many(Box::new(Directory::around(table)));
                }
                Root::Many(dir) => {
                    let at = dir.sub_at(order(hash));
                    let sub = &dir.subs[at];
                    if sub.table.len() < SUB_MAX || sub.depth >= DEPTH_MAX {
                        return;
                    }
                    dir.split(at, rehash);
                }
            }
        }
    }

    fn shrink(&mut self, hash: u64, rehash: impl Fn(&T) -> u64) {
        let Root::Many(dir) = &mut self.root else { return };
        dir.len -= 1;
        let mut at = dir.sub_at(order(hash));
        while dir.subs[at].table.len() <= MERGE_MAX / 2 {
            let Some(merged) = dir.merge(at, &rehash) else { break };
            at = merged;
        }
        if dir.subs.len() == 1 {
            self.root = Root::One(dir.subs.pop().map(|sub| sub.table).unwrap_or_default());
        }
    }
}

impl<T> Directory<T> {
    fn around(table: Part<T>) -> Self {
        let len = table.len();
        Self { len, depth: 0, index: vec![0], subs: vec![Sub { depth: 0, prefix: 0, table }] }
    }

    #[inline]
    fn sub_at(&self, order: u64) -> usize {
        self.index[(order >> (ORDER_BITS - u32::from(self.depth))) as usize] as usize
    }

    fn places(&self, depth: u8, prefix: u64) -> std::ops::Range<usize> {
        let span = self.depth - depth;
        (prefix as usize) << span..(prefix as usize + 1) << span
    }

    fn split(&mut self, at: usize, rehash: &impl Fn(&T) -> u64) {
        if self.subs[at].depth == self.depth {
            self.index = self.index.iter().flat_map(|&sub| [sub, sub]).collect();
            self.depth += 1;
        }
        let new = self.subs.len() as u32;
        let sub = &mut self.subs[at];
        let old = std::mem::take(&mut sub.table);
        sub.depth += 1;
        sub.prefix <<= 1;
        let (depth, prefix) = (sub.depth, sub.prefix | 1);
        let bit = ORDER_BITS - u32::from(depth);
        let mut high = Part::new();
        high.reserve(SUB_MAX / 2, rehash);
        sub.table.reserve(SUB_MAX / 2, rehash);
        for value in old.into_elements() {
            let hash = rehash(&value);
            let half = if order(hash) >> bit & 1 == 1 { &mut high } else { &mut sub.table };
            half.add(hash, value, rehash);
        }
        self.subs.push(Sub { depth, prefix, table: high });
        let places = self.places(depth, prefix);
        self.index[places].fill(new);
    }

    /// Joins `at` with its sibling when both are sparse; returns where the joined one is.
    fn merge(&mut self, at: usize, rehash: &impl Fn(&T) -> u64) -> Option<usize> {
        let (depth, prefix) = (self.subs[at].depth, self.subs[at].prefix);
        if depth == 0 {
            return None;
        }
        let sibling = self.index[self.places(depth, prefix ^ 1).start] as usize;
        let both = self.subs[at].table.len() + self.subs[sibling].table.len();
        if self.subs[sibling].depth != depth || both > MERGE_MAX {
            return None;
        }
        let taken = std::mem::take(&mut self.subs[sibling].table);
        let sub = &mut self.subs[at];
        for value in taken.into_elements() {
            sub.table.add(rehash(&value), value, rehash);
        }
        (sub.depth, sub.prefix) = (depth - 1, prefix >> 1);
        let places = self.places(depth - 1, prefix >> 1);
        self.index[places].fill(at as u32);
        // The last sub-table takes the place of the sibling.
        self.subs.swap_remove(sibling);
        let Some(moved) = self.subs.get(sibling) else {
            return Some(at);
        };
        let places = self.places(moved.depth, moved.prefix);
        self.index[places].fill(sibling as u32);
        Some(if at == self.subs.len() { sibling } else { at })
    }
}

/// Emits, in order, what a sub-table holds from `cursor` on, for as long as `emit` wants more; the next cursor when it did not and
/// more is there.
fn scan_part<'a, T>(
    table: &'a HashTable<T>,
    cursor: u64,
    rehash: &impl Fn(&T) -> u64,
    mut emit: impl FnMut(&'a T) -> bool,
) -> Option<u64> {
    let mut due: Vec<(u64, &T)> =
        table.iter().map(|value| (order(rehash(value)), value)).filter(|(at, _)| *at >= cursor).collect();
    due.sort_unstable_by_key(|(at, _)| *at);
    let (mut last, mut wants_more) = (None, true);
    for (at, value) in due {
        // Elements of equal order leave together: the cursor could not tell them apart.
        if !wants_more && last != Some(at) {
            return Some(at);
        }
        wants_more = emit(value);
        last = Some(at);
    }
    None
}

fn bucket_at<T>(table: &HashTable<T>, bucket: usize) -> Option<&T> {
    if bucket < table.num_buckets() { table.get_bucket(bucket) } else { None }
}

/// A uniformly random element of a table that is not empty.
fn random_of<'a, T>(table: &'a HashTable<T>, rng: &mut Rng) -> &'a T {
    let buckets = table.num_buckets();
    // A sparse table would be missed too often: count instead.
    if table.len() * 16 < buckets {
        let nth = rng.below(table.len());
        if let Some(found) = table.iter().nth(nth) {
            return found;
        }
    }
    loop {
        if let Some(found) = bucket_at(table, rng.below(buckets)) {
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert_eq, proptest};
    use std::collections::BTreeSet;

    fn spread(n: &u64) -> u64 {
        Rng::seeded(*n).next_u64()
    }

    fn filled(n: u64) -> SplitTable<u64> {
        let mut table = SplitTable::new();
        for i in 0..n {
            table.insert_unique(spread(&i), i, spread);
        }
        table
    }

    fn scan_all(table: &SplitTable<u64>, count: usize) -> Vec<u64> {
        let (mut out, mut cursor) = (Vec::new(), 0);
        loop {
            cursor = table.scan(cursor, count, spread, |n| out.push(*n));
            if cursor == 0 {
                return out;
            }
        }
    }

    #[test]
    fn a_scan_sees_each_element_once() {
        for (n, count) in [(0, 10), (1, 1), (448, 10), (449, 1), (20_000, 10), (20_000, 1_000)] {
            let mut seen = scan_all(&filled(n), count);
            seen.sort_unstable();
            assert_eq!(seen, (0..n).collect::<Vec<_>>(), "{n} elements, count {count}");
        }
    }

    #[test]
    fn a_scan_stops_where_it_is_told_to_and_goes_on_there() {
        for n in [0, 1, 448, 449, 20_000] {
            let table = filled(n);
            let (mut seen, mut cursor, mut steps) = (Vec::new(), 0, 0);
            loop {
                let asked = std::cell::Cell::new(0);
                let ask = |_: &u64| asked.set(asked.get() + 1);
                let before = seen.len();
                cursor = table.scan_while(cursor, ask, spread, |m| {
                    seen.push(*m);
                    seen.len() < before + 10
                });
                let new = seen.len() - before;
                assert!(new <= 10 && asked.get() >= new, "{new} elements of {n}, {} asked for", asked.get());
                steps += 1;
                if cursor == 0 {
                    break;
                }
            }
            assert!(steps * 10 >= seen.len());
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..n), "{n} elements");
        }
    }

    #[test]
    fn a_scan_survives_growth_and_shrinking() {
        let mut table = filled(1_000);
        let mut seen = BTreeSet::new();
        let mut cursor = 0;
        let mut next = 1_000;
        loop {
            cursor = table.scan(cursor, 7, spread, |n| {
                seen.insert(*n);
            });
            for _ in 0..50 {
                table.insert_unique(spread(&next), next, spread);
                next += 1;
            }
            if next > 6_000 {
                for gone in 1_000..next {
                    table.remove(spread(&gone), |n| *n == gone, spread);
                }
            }
            if cursor == 0 {
                break;
            }
        }
        assert!((0..1_000).all(|n| seen.contains(&n)));
    }

    #[test]
    fn random_picks_are_uniform() {
        for n in [10, 400, 3_000] {
            let table = filled(n);
            let mut counts = vec![0u32; n as usize];
            let mut rng = Rng::seeded(7);
            let picks = 100 * n;
            for _ in 0..picks {
                counts[*table.random(&mut rng).unwrap() as usize] += 1;
            }
            let chi: f64 = counts.iter().map(|c| (f64::from(*c) - 100.0).powi(2) / 100.0).sum();
            let freedom = (n - 1) as f64;
            assert!(chi < freedom + 6.0 * (2.0 * freedom).sqrt(), "chi square {chi} of {freedom}");
        }
    }

    #[test]
    fn removal_merges_back_to_one_part() {
        let mut table = filled(10_000);
        assert!(table.parts() > 20);
        for n in 0..9_990 {
            assert_eq!(table.remove(spread(&n), |m| *m == n, spread), Some(n));
        }
        assert!(table.parts() <= 2, "{} parts", table.parts());
        assert_eq!(table.len(), 10);
        assert_eq!(table.iter().count(), 10);
    }

    proptest! {
        /// Whatever is done to a `SplitTable`, it equals the set that had the same done to it.
        #[test]
        fn equals_its_model(ops in proptest::collection::vec((0..3u8, 0..1_500u64), 0..4_000)) {
            let (mut table, mut model) = (SplitTable::new(), BTreeSet::new());
            for (op, n) in ops {
                let there = table.find(spread(&n), |m| *m == n).is_some();
                prop_assert_eq!(there, model.contains(&n));
                if op > 0 && !there {
                    table.insert_unique(spread(&n), n, spread);
                    model.insert(n);
                } else if op == 0 {
                    prop_assert_eq!(table.remove(spread(&n), |m| *m == n, spread).is_some(), model.remove(&n));
                }
                prop_assert_eq!(table.len(), model.len());
            }
            let mut all = scan_all(&table, 10);
            all.sort_unstable();
            prop_assert_eq!(all, model.into_iter().collect::<Vec<_>>());
        }
    }
}
