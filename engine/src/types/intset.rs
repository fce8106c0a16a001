//! Intset: a sorted set of integers in one allocation, byte for byte as Redis lays it out.
//!
//! | part     | bytes    | meaning                                                    |
//! |----------|----------|------------------------------------------------------------|
//! | encoding | 4        | bytes per integer: 2, 4 or 8, little-endian                |
//! | length   | 4        | number of integers, little-endian                          |
//! | integers | the rest | in ascending order without duplicates, little-endian       |
//!
//! Invariants:
//! - The width is wide enough for every integer. It grows with the first integer that does not fit and never
//!   shrinks, as in Redis, so that the bytes agree.
//! - Bytes from outside become an `Intset` only through [`Intset::from_bytes_checked`].

use super::listpack::{Corrupt, allocation_size};
use std::fmt;

const HEADER_BYTES: usize = 8;

/// Bytes per integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Width {
    Two = 2,
    Four = 4,
    Eight = 8,
}

impl Width {
    fn of(value: i64) -> Self {
        match value {
            -0x8000..=0x7fff => Width::Two,
            -0x8000_0000..=0x7fff_ffff => Width::Four,
            _ => Width::Eight,
        }
    }

    fn from_header(encoding: u32) -> Option<Self> {
        match encoding {
            2 => Some(Width::Two),
            4 => Some(Width::Four),
            8 => Some(Width::Eight),
            _ => None,
        }
    }

    #[inline]
    fn bytes(self) -> usize {
        self as usize
    }

    /// Integer number `index` of `integers`, which has more than `index` of them.
    #[inline]
    fn read(self, integers: &[u8], index: usize) -> i64 {
        fn nth<const N: usize>(integers: &[u8], index: usize) -> [u8; N] {
            integers.as_chunks::<N>().0[index]
        }
        match self {
            Width::Two => i64::from(i16::from_le_bytes(nth(integers, index))),
            Width::Four => i64::from(i32::from_le_bytes(nth(integers, index))),
            Width::Eight => i64::from_le_bytes(nth(integers, index)),
        }
    }

    /// Writes integer number `index`; the low bytes of a value that fits are its narrow form.
    #[inline]
    fn write(self, integers: &mut [u8], index: usize, value: i64) {
        let at = index * self.bytes();
        integers[at..at + self.bytes()].copy_from_slice(&value.to_le_bytes()[..self.bytes()]);
    }
}

/// A sorted set of integers in one allocation; see the module for its layout.
///
/// Meant for small sets: insertion and removal move what follows, lookups are O(log n).
#[derive(Clone, PartialEq, Eq)]
pub struct Intset {
    bytes: Vec<u8>,
}

impl Default for Intset {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Intset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self).finish()
    }
}

impl Intset {
    /// A set without integers.
    pub fn new() -> Self {
        let mut bytes = Vec::with_capacity(16);
        bytes.extend_from_slice(&[Width::Two as u8, 0, 0, 0, 0, 0, 0, 0]);
        Intset { bytes }
    }

    /// Takes over bytes from outside, after validating all of them.
    ///
    /// # Errors
    /// [`Corrupt`] if the header disagrees with the bytes, if the integers are not strictly ascending, or if
    /// there are none: no key holds an empty set, and Redis refuses it too.
    pub fn from_bytes_checked(bytes: &[u8]) -> Result<Self, Corrupt> {
        validate(bytes)?;
        Ok(Intset { bytes: bytes.to_vec() })
    }

    /// Number of integers.
    #[inline]
    pub fn len(&self) -> usize {
        self.integers().len() / self.width().bytes()
    }

    /// Whether there are no integers.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.integers().is_empty()
    }

    /// The encoding, as it goes into a snapshot.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of heap that this set holds.
    pub fn memory_usage(&self) -> usize {
        self.bytes.capacity()
    }

    /// Whether `value` is in the set. O(log n).
    #[inline]
    pub fn contains(&self, value: i64) -> bool {
        self.search(value).is_ok()
    }

    /// The integer number `index` in ascending order.
    #[inline]
    pub fn get(&self, index: usize) -> Option<i64> {
        (index < self.len()).then(|| self.width().read(self.integers(), index))
    }

    /// The smallest integer.
    #[inline]
    pub fn min(&self) -> Option<i64> {
        self.get(0)
    }

    /// The largest integer.
    #[inline]
    pub fn max(&self) -> Option<i64> {
        self.get(self.len().checked_sub(1)?)
    }

    /// All integers in ascending order; the iterator also runs backwards.
    #[inline]
    pub fn iter(&self) -> IntsetIter<'_> {
        IntsetIter { width: self.width(), integers: self.integers(), range: 0..self.len() }
    }

    /// Adds `value`; returns whether it was not there before. O(n).
    pub fn insert(&mut self, value: i64) -> bool {
        if Width::of(value) > self.width() {
            self.widen(Width::of(value));
        }
        let Err(index) = self.search(value) else {
            return false;
        };
        let (width, len) = (self.width(), self.bytes.len());
        let at = HEADER_BYTES + index * width.bytes();
        if len + width.bytes() > self.bytes.capacity() {
            self.bytes.reserve_exact(allocation_size(len + width.bytes()) - len);
        }
        self.bytes.resize(len + width.bytes(), 0);
        self.bytes.copy_within(at..len, at + width.bytes());
        width.write(&mut self.bytes[HEADER_BYTES..], index, value);
        self.write_len();
        true
    }

    /// Removes `value`; returns whether it was there. O(n).
    pub fn remove(&mut self, value: i64) -> bool {
        let Ok(index) = self.search(value) else {
            return false;
        };
        let width = self.width().bytes();
        let at = HEADER_BYTES + index * width;
        self.bytes.drain(at..at + width);
        let size = allocation_size(self.bytes.len());
        if size <= self.bytes.capacity() / 2 {
            self.bytes.shrink_to(size);
        }
        self.write_len();
        true
    }

    #[inline]
    fn integers(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..]
    }

    #[inline]
    fn width(&self) -> Width {
        match self.bytes[0] {
            2 => Width::Two,
            4 => Width::Four,
            _ => Width::Eight,
        }
    }

    /// The index of `value`, or the index that it would get.
    fn search(&self, value: i64) -> Result<usize, usize> {
        let (width, integers) = (self.width(), self.integers());
        let len = integers.len() / width.bytes();
        // Sets are often filled in ascending order: the end costs one comparison.
        if self.max().is_none_or(|max| value > max) {
            return Err(len);
        }
        let (mut low, mut high) = (0, len);
        while low < high {
            let middle = low + (high - low) / 2;
            match width.read(integers, middle).cmp(&value) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// Rewrites all integers `wide`, in the place that they then need, from the last to the first so that
    /// none is overwritten before it was read.
    fn widen(&mut self, wide: Width) {
        let (narrow, len) = (self.width(), self.len());
        // One more is about to be inserted.
        let size = allocation_size(HEADER_BYTES + (len + 1) * wide.bytes());
        self.bytes.reserve_exact(size - self.bytes.len());
        self.bytes.resize(HEADER_BYTES + len * wide.bytes(), 0);
        let integers = &mut self.bytes[HEADER_BYTES..];
        for index in (0..len).rev() {
            let value = narrow.read(integers, index);
            wide.write(integers, index, value);
        }
        self.bytes[0] = wide as u8;
    }

    fn write_len(&mut self) {
        // Thresholds end intsets long before 2^32 integers; Redis's own maximum of the setting is 2^30.
        let len = u32::try_from(self.len()).expect("an intset has fewer than 2^32 integers");
        self.bytes[4..HEADER_BYTES].copy_from_slice(&len.to_le_bytes());
    }
}

fn validate(bytes: &[u8]) -> Result<(), Corrupt> {
    let corrupt = |offset, expected| Err(Corrupt { offset, expected });
    let Some((&[e0, e1, e2, e3, l0, l1, l2, l3], integers)) = bytes.split_first_chunk::<HEADER_BYTES>()
    else {
        return corrupt(bytes.len(), "an intset header");
    };
    let Some(width) = Width::from_header(u32::from_le_bytes([e0, e1, e2, e3])) else {
        return corrupt(0, "the width of the integers");
    };
    let len = integers.len() / width.bytes();
    if integers.len() % width.bytes() != 0 || u32::try_from(len) != Ok(u32::from_le_bytes([l0, l1, l2, l3])) {
        return corrupt(4, "the number of integers");
    }
    if len == 0 {
        return corrupt(4, "at least one integer");
    }
    for index in 1..len {
        if width.read(integers, index - 1) >= width.read(integers, index) {
            return corrupt(HEADER_BYTES + index * width.bytes(), "a larger integer than the one before");
        }
    }
    Ok(())
}

impl<'a> IntoIterator for &'a Intset {
    type Item = i64;
    type IntoIter = IntsetIter<'a>;

    fn into_iter(self) -> IntsetIter<'a> {
        self.iter()
    }
}

impl FromIterator<i64> for Intset {
    fn from_iter<I: IntoIterator<Item = i64>>(values: I) -> Self {
        let mut set = Intset::new();
        for value in values {
            set.insert(value);
        }
        set
    }
}

/// Walks the integers of an [`Intset`] from either end.
#[derive(Clone)]
pub struct IntsetIter<'a> {
    width: Width,
    integers: &'a [u8],
    range: std::ops::Range<usize>,
}

impl Iterator for IntsetIter<'_> {
    type Item = i64;

    #[inline]
    fn next(&mut self) -> Option<i64> {
        self.range.next().map(|index| self.width.read(self.integers, index))
    }

    fn nth(&mut self, n: usize) -> Option<i64> {
        self.range.nth(n).map(|index| self.width.read(self.integers, index))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.range.size_hint()
    }
}

impl DoubleEndedIterator for IntsetIter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<i64> {
        self.range.next_back().map(|index| self.width.read(self.integers, index))
    }
}

impl ExactSizeIterator for IntsetIter<'_> {}
impl std::iter::FusedIterator for IntsetIter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// What a real server wrote by DUMP for sets of these integers.
    #[test]
    fn golden_bytes() {
        let check = |values: &[i64], golden: &[u8]| {
            let set: Intset = values.iter().copied().collect();
            assert_eq!(set.as_bytes(), golden);
            assert_eq!(Intset::from_bytes_checked(golden), Ok(set));
        };
        check(
            &[5, -3, 100, -32768, 32767, 0],
            &[2, 0, 0, 0, 6, 0, 0, 0, 0, 0x80, 0xfd, 0xff, 0, 0, 5, 0, 0x64, 0, 0xff, 0x7f],
        );
        check(&[5, -3, 32768], &[4, 0, 0, 0, 3, 0, 0, 0, 0xfd, 0xff, 0xff, 0xff, 5, 0, 0, 0, 0, 0x80, 0, 0]);
        check(
            &[5, -3, 2147483648, i64::MIN],
            b"\x08\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\x80\xfd\xff\xff\xff\xff\xff\xff\xff\x05\0\0\0\0\0\0\0\0\0\0\x80\0\0\0\0",
        );
    }

    /// The server's DUMP of a set from which the one wide integer was removed: the width stays.
    #[test]
    fn golden_bytes_after_a_removal() {
        let mut set: Intset = [1, 2, -2147483649].into_iter().collect();
        assert!(set.remove(-2147483649));
        assert_eq!(set.as_bytes(), b"\x08\0\0\0\x02\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0");
    }

    #[test]
    fn refuses_what_is_not_an_intset() {
        let check = |bytes: &[u8], offset| {
            assert_eq!(
                Intset::from_bytes_checked(bytes).map_err(|corrupt| corrupt.offset),
                Err(offset),
                "{bytes:?}"
            );
        };
        check(&[], 0);
        check(&[2, 0, 0, 0, 0, 0, 0], 7);
        check(&[2, 0, 0, 0, 0, 0, 0, 0], 4);
        check(&[3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0], 0);
        check(&[2, 0, 0, 0, 2, 0, 0, 0, 1, 0], 4);
        check(&[2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0], 4);
        check(&[2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 1, 0], 10);
        check(&[2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0xff, 0xff], 10);
    }

    fn value() -> impl Strategy<Value = i64> {
        prop_oneof![4 => -20..20i64, 2 => any::<i16>().prop_map(i64::from), 1 => (any::<i64>(), 0..60u32).prop_map(|(v, s)| v >> s)]
    }

    proptest! {
        /// Whatever is done to an `Intset`, it equals the `BTreeSet` that had the same done to it.
        #[test]
        fn intset_equals_its_model(ops in vec((value(), 0..3u8), 0..150)) {
            let (mut set, mut model) = (Intset::new(), BTreeSet::new());
            for (value, op) in ops {
                match op {
                    0 => prop_assert_eq!(set.remove(value), model.remove(&value)),
                    _ => prop_assert_eq!(set.insert(value), model.insert(value)),
                }
                prop_assert_eq!(set.contains(value), model.contains(&value));
                prop_assert_eq!(set.len(), model.len());
            }
            prop_assert!(set.iter().eq(model.iter().copied()));
            prop_assert!(set.iter().rev().eq(model.iter().rev().copied()));
            prop_assert_eq!(set.min(), model.first().copied());
            prop_assert_eq!(set.max(), model.last().copied());
            prop_assert_eq!(set.get(model.len()), None);
            prop_assert_eq!(Intset::from_bytes_checked(set.as_bytes()).is_ok(), !model.is_empty());
        }

        #[test]
        fn any_bytes_never_panic(width in prop_oneof![Just(2u8), Just(4), Just(8), any::<u8>()], len in 0..6u8, integers in vec(any::<u8>(), 0..40)) {
            let mut bytes = vec![width, 0, 0, 0, len, 0, 0, 0];
            bytes.extend(integers);
            if let Ok(set) = Intset::from_bytes_checked(&bytes) {
                prop_assert!(set.iter().is_sorted());
            }
        }
    }
}
