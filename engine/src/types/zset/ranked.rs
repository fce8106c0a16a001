//! The large encoding: members in a slab, a counted tree for their order, a hash index to find them by name.

use super::{Inserted, ZEntry};
use crate::hash::Hasher;
use crate::table::SplitTable;
use crate::types::listpack::LpEntry;
use crate::types::member_slab::MemberSlab;
use crate::types::ranked_tree::{Position, RankedTree};

/// **Invariant:** slab, tree and index hold the same members, and slab and tree agree on their scores.
#[derive(Debug, Clone)]
pub(super) struct Ranked {
    members: MemberSlab,
    tree: RankedTree,
    index: SplitTable<u32>,
    hasher: Hasher,
}

impl Ranked {
    pub(super) fn new(hasher: Hasher) -> Self {
        Self { members: MemberSlab::new(), tree: RankedTree::new(), index: SplitTable::new(), hasher }
    }

    pub(super) fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    pub(super) fn len(&self) -> usize {
        self.tree.len()
    }

    pub(super) fn allocation_bytes(&self) -> usize {
        self.members.allocation_bytes() + self.tree.allocation_bytes() + self.index.allocation_bytes()
    }

    pub(super) fn member(&self, id: u32) -> &[u8] {
        self.members.member(id)
    }

    pub(super) fn prefetch(&self, member: &[u8]) {
        self.index.prefetch(|| self.hasher.hash(member), |id| self.members.prefetch(*id));
    }

    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.find(self.hasher.hash(member), member).map(|id| self.members.score(id))
    }

    pub(super) fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let score = self.score(member)?;
        Some((self.tree.rank(&self.members, score, member), score))
    }

    pub(super) fn insert(&mut self, member: &[u8], score: f64) -> Inserted {
        let hash = self.hasher.hash(member);
        if let Some(id) = self.find(hash, member) {
            let old = self.members.score(id);
            if old == score {
                return Inserted::Same;
            }
            self.tree.update(&self.members, id, old, score);
            self.members.set_score(id, score);
            return Inserted::Updated;
        }
        let Self { members, tree, index, hasher } = self;
        let id = members.insert(score, member);
        tree.insert(members, score, id);
        index.insert_unique(hash, id, |id| hasher.hash(members.member(*id)));
        Inserted::Added
    }

    pub(super) fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let Self { members, tree, index, hasher } = self;
        let rehash = |id: &u32| hasher.hash(members.member(*id));
        let id = index.remove(hasher.hash(member), |id| members.member(*id) == member, rehash)?;
        let score = members.score(id);
        tree.remove(members, score, id);
        members.remove(id);
        Some(score)
    }

    /// Removes `count` members from rank `start` on; there are so many.
    pub(super) fn remove_range(&mut self, start: usize, count: usize) {
        let Self { members, tree, index, hasher } = self;
        let mut left = count;
        while left > 0 {
            let ids = tree.remove_some(start, left);
            left -= ids.len();
            for id in ids {
                let hash = hasher.hash(members.member(id));
                index.remove(hash, |other| *other == id, |id| hasher.hash(members.member(*id)));
                members.remove(id);
            }
        }
    }

    /// How many entries come before the first for which `before`, of score and id, does not hold.
    pub(super) fn position(&self, before: impl Fn(f64, u32) -> bool) -> usize {
        self.tree.position(before)
    }

    pub(super) fn select(&self, rank: usize) -> Position {
        self.tree.select(rank)
    }

    #[inline]
    pub(super) fn next(&self, at: Position) -> Option<(ZEntry<'_>, Position)> {
        let ((score, id), after) = self.tree.next(at)?;
        Some((ZEntry { member: LpEntry::Str(self.members.member(id)), score }, after))
    }

    #[inline]
    pub(super) fn prev(&self, at: Position) -> Option<(ZEntry<'_>, Position)> {
        let ((score, id), before) = self.tree.prev(at)?;
        Some((ZEntry { member: LpEntry::Str(self.members.member(id)), score }, before))
    }

    pub(super) fn scan<'a>(&'a self, cursor: u64, count: usize, emit: &mut impl FnMut(ZEntry<'a>)) -> u64 {
        let rehash = |id: &u32| self.hasher.hash(self.members.member(*id));
        self.index.scan(cursor, count, rehash, |id| {
            emit(ZEntry { member: LpEntry::Str(self.members.member(*id)), score: self.members.score(*id) });
        })
    }

    pub(super) fn assert_invariants(&self) {
        self.members.assert_invariants();
        self.tree.assert_invariants(&self.members);
        assert_eq!(self.tree.len(), self.members.len());
        assert_eq!(self.tree.len(), self.index.len());
        for id in self.index.iter() {
            assert_eq!(self.find(self.hasher.hash(self.member(*id)), self.member(*id)), Some(*id));
        }
    }

    #[inline]
    fn find(&self, hash: u64, member: &[u8]) -> Option<u32> {
        self.index.find(hash, |id| self.members.member(*id) == member).copied()
    }
}
