//! A table of hashbrown that asks for a bucket while its control bytes are still on their way.
//!
//! Why: in a table that is not near the processor a lookup waits twice, for the control bytes and then for the bucket that
//! they name. That is nearly always the one that the hash names, or one right behind it: so both waits become one.

use crate::prefetch;
use hashbrown::HashTable;
use std::ops::{Deref, DerefMut};

/// The buckets of fewer are in the lines of their control bytes, or next to them.
const BUCKETS_MIN: usize = 16;
/// Elements of at most this size are so many to a line that asking for one brings its neighbours.
const SIZE_MAX: usize = 16;
/// A bucket that is taken sends the element to the next free one: mostly not further than this.
const BEHIND: usize = 4;

/// Where a small table was when something was last added: an address and, in its low bits, the power of two that says how many
/// buckets there are. The control bytes begin at the address, the buckets end there. A hint: nobody reads by it, and one that
/// is out of date, after the table has shrunk or been copied, costs lines that nobody needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Near(usize);

/// Tables of hashbrown begin at multiples of this.
const ALIGN: usize = 16;

impl Near {
    #[inline]
    fn new(end: usize, buckets: usize) -> Self {
        let power = buckets.trailing_zeros() as usize;
        if end.is_multiple_of(ALIGN) && power < ALIGN { Self(end | power) } else { Self::default() }
    }

    /// Asks for the control bytes and the bucket that a hash names in a table of `T`.
    #[inline]
    pub fn ask<T>(self, hash: u64) {
        if self != Self::default() {
            let (end, buckets) = (self.0 & !(ALIGN - 1), 1 << (self.0 & (ALIGN - 1)));
            prefetch::line(std::ptr::without_provenance::<u8>(end + (hash as usize & (buckets - 1))));
            ask_for_bucket::<T>(end, buckets, hash);
        }
    }
}

/// Asks for the bucket that a hash names. Buckets lie before `end`, the first one last.
#[inline]
fn ask_for_bucket<T>(end: usize, buckets: usize, hash: u64) {
    let bucket = hash as usize & (buckets - 1);
    let place = end.wrapping_sub((bucket + 1) * size_of::<T>());
    prefetch::line(std::ptr::without_provenance::<u8>(place));
    let behind = place.wrapping_sub(BEHIND * size_of::<T>());
    prefetch::line(std::ptr::without_provenance::<u8>(behind));
}

/// A table that knows where its buckets are.
#[derive(Debug, Clone)]
pub(super) struct Part<T> {
    table: HashTable<T>,
    /// Where the buckets end, as in [`Near`].
    end: usize,
}

impl<T> Part<T> {
    /// An empty one; allocates nothing.
    pub(super) const fn new() -> Self {
        Self { table: HashTable::new(), end: 0 }
    }

    /// Where it is.
    #[inline]
    pub(super) fn near(&self) -> Near {
        Near::new(self.end, self.table.num_buckets())
    }

    /// Asks for the bucket that a hash names.
    #[inline]
    fn ask(&self, hash: u64) {
        let buckets = self.table.num_buckets();
        if buckets > BUCKETS_MIN && size_of::<T>() <= SIZE_MAX {
            ask_for_bucket::<T>(self.end, buckets, hash);
        }
    }

    /// The element with this hash for which `eq` holds.
    #[inline]
    pub(super) fn find(&self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&T> {
        self.ask(hash);
        self.table.find(hash, eq)
    }

    /// As [`find`](Self::find), to change.
    #[inline]
    pub(super) fn find_mut(&mut self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&mut T> {
        self.ask(hash);
        self.table.find_mut(hash, eq)
    }

    /// The bucket of the element with this hash for which `eq` holds.
    #[inline]
    pub(super) fn locate(&self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<usize> {
        self.ask(hash);
        self.table.find_bucket_index(hash, eq)
    }

    /// Adds an element that is not there.
    #[inline]
    pub(super) fn add(&mut self, hash: u64, value: T, rehash: impl Fn(&T) -> u64) -> &mut T {
        let added = self.table.insert_unique(hash, value, rehash);
        let behind = added.bucket_index() + 1;
        let place = added.into_mut();
        self.end = (&raw const *place).addr() + behind * size_of::<T>();
        place
    }

    /// The elements, by value.
    pub(super) fn into_elements(self) -> impl Iterator<Item = T> {
        self.table.into_iter()
    }
}

impl<T> Default for Part<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Deref for Part<T> {
    type Target = HashTable<T>;

    fn deref(&self) -> &HashTable<T> {
        &self.table
    }
}

impl<T> DerefMut for Part<T> {
    fn deref_mut(&mut self) -> &mut HashTable<T> {
        &mut self.table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_buckets_is_known_after_every_addition() {
        let mut part = Part::new();
        let hash = |value: &u64| value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for value in 0..1_000_u64 {
            part.add(hash(&value), value, hash);
            let first = part.locate(hash(&value), |other| *other == value).unwrap();
            let place = (&raw const *part.get_bucket(first).unwrap()).addr();
            assert_eq!(part.end, place + (first + 1) * size_of::<u64>(), "{value}");
            assert_eq!(part.near().0, part.end + part.num_buckets().ilog2() as usize, "{value}");
        }
        assert!((0..1_000).all(|value| part.find(hash(&value), |other| *other == value) == Some(&value)));
    }
}
