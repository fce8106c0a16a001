//! What sets and hashes share when they are walked: one iterator out of several, the choice of a few elements
//! among many in one pass, the check for duplicates, and estimates from samples.

use crate::hash::Hasher;
use crate::random::Rng;
use crate::types::listpack::{Corrupt, IntText, LpEntry};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// One of two iterators over the same items.
#[derive(Debug, Clone)]
pub(crate) enum Either<A, B> {
    /// The first kind.
    Left(A),
    /// The second kind.
    Right(B),
}

impl<A: Iterator, B: Iterator<Item = A::Item>> Iterator for Either<A, B> {
    type Item = A::Item;

    #[inline]
    fn next(&mut self) -> Option<A::Item> {
        match self {
            Self::Left(iter) => iter.next(),
            Self::Right(iter) => iter.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::Left(iter) => iter.size_hint(),
            Self::Right(iter) => iter.size_hint(),
        }
    }

    fn fold<T, F: FnMut(T, A::Item) -> T>(self, init: T, f: F) -> T {
        match self {
            Self::Left(iter) => iter.fold(init, f),
            Self::Right(iter) => iter.fold(init, f),
        }
    }
}

/// Chooses `wanted` of `left` items that pass by one at a time; every choice of so many is equally likely
/// (Knuth, The Art of Computer Programming, 3.4.2, algorithm S).
#[derive(Debug)]
pub(crate) struct Selection {
    wanted: usize,
    left: usize,
}

impl Selection {
    /// For exactly `total` items; more than these are never chosen.
    pub(crate) fn new(wanted: usize, total: usize) -> Self {
        Self { wanted: wanted.min(total), left: total }
    }

    /// Whether the item that passes now is one of the chosen.
    #[inline]
    pub(crate) fn takes(&mut self, rng: &mut Rng) -> bool {
        if self.wanted == 0 {
            return false;
        }
        let chosen = rng.below(self.left) < self.wanted;
        self.left -= 1;
        self.wanted -= usize::from(chosen);
        chosen
    }
}

/// Refuses a listpack with the same text twice among `entries`, which are about `len`.
pub(crate) fn distinct<'a>(
    entries: impl Iterator<Item = LpEntry<'a>>,
    len: usize,
    hasher: &Hasher,
) -> Result<(), Corrupt> {
    let mut seen: HashTable<LpEntry<'a>> = HashTable::with_capacity(len);
    let hash = |entry: &LpEntry<'_>| hasher.hash(entry.as_slice(&mut IntText::default()));
    for (nth, entry) in entries.enumerate() {
        let place = seen.entry(hash(&entry), |other| other.same_bytes(&entry), hash);
        let Entry::Vacant(place) = place else {
            return Err(Corrupt { offset: nth, expected: "no element twice (counted in elements)" });
        };
        place.insert(entry);
    }
    Ok(())
}

/// The sum of `len` sizes, estimated from the first `samples` of them; 0 stands for all.
pub(crate) fn extrapolate(sizes: impl Iterator<Item = usize>, len: usize, samples: usize) -> usize {
    if samples == 0 || samples >= len {
        return sizes.sum();
    }
    let sampled: usize = sizes.take(samples).sum();
    (sampled as f64 / samples as f64 * len as f64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_has_the_size_asked_for() {
        let mut rng = Rng::seeded(1);
        for (wanted, total) in [(0, 0), (0, 5), (1, 5), (3, 5), (5, 5), (9, 5)] {
            let mut selection = Selection::new(wanted, total);
            let chosen = (0..total).filter(|_| selection.takes(&mut rng)).count();
            assert_eq!(chosen, wanted.min(total), "{wanted} of {total}");
            assert!(!selection.takes(&mut rng));
        }
    }

    #[test]
    fn every_item_is_equally_likely() {
        let mut rng = Rng::seeded(2);
        let mut counts = [0u32; 10];
        for _ in 0..10_000 {
            let mut selection = Selection::new(3, 10);
            (0..10).filter(|_| selection.takes(&mut rng)).for_each(|i| counts[i] += 1);
        }
        assert!(counts.iter().all(|count| (2_800..3_200).contains(count)), "{counts:?}");
    }
}
