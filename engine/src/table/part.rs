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

/// A table that knows where its buckets are.
#[derive(Debug, Clone)]
pub(super) struct Part<T> {
    table: HashTable<T>,
    /// The address behind bucket 0; further buckets lie before it. Nobody reads there by it: one that is out of date, after
    /// the table has shrunk or been copied, costs a line that nobody needs.
    end: usize,
}

impl<T> Part<T> {
    /// An empty one; allocates nothing.
    pub(super) const fn new() -> Self {
        Self { table: HashTable::new(), end: 0 }
    }

    /// Asks for the bucket that a hash names.
    #[inline]
    fn ask(&self, hash: u64) {
        let buckets = self.table.num_buckets();
        if buckets > BUCKETS_MIN && size_of::<T>() <= SIZE_MAX {
            let bucket = hash as usize & (buckets - 1);
            let place = self.end.wrapping_sub((bucket + 1) * size_of::<T>());
            prefetch::line(std::ptr::without_provenance::<u8>(place));
            let behind = place.wrapping_sub(BEHIND * size_of::<T>());
            prefetch::line(std::ptr::without_provenance::<u8>(behind));
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
        }
        assert!((0..1_000).all(|value| part.find(hash(&value), |other| *other == value) == Some(&value)));
    }
}
