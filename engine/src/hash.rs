//! The keyed hash of every table in a shard.
//!
//! **Invariant:** the seeds are handed in, never drawn here: the engine is deterministic. All shards of
//! one process share the seeds, so that a slot (and a scan cursor) keeps its order when it moves between cores.

use std::hash::BuildHasher;

/// A fast keyed hash over byte strings, the same for every table of a process.
#[derive(Clone, Debug)]
pub struct Hasher(ahash::RandomState);

impl Hasher {
    /// A hasher with these seeds. Two hashers with equal seeds agree within one build.
    pub fn seeded(seed: [u64; 4]) -> Self {
        Self(ahash::RandomState::with_seeds(seed[0], seed[1], seed[2], seed[3]))
    }

    /// The hash of `bytes`.
    #[inline]
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        self.0.hash_one(bytes)
    }
}

impl Default for Hasher {
    /// Fixed seeds: for tests and for callers whose keys are trusted.
    fn default() -> Self {
        Self::seeded([1, 2, 3, 4])
    }
}

impl BuildHasher for Hasher {
    type Hasher = ahash::AHasher;

    fn build_hasher(&self) -> Self::Hasher {
        self.0.build_hasher()
    }
}
