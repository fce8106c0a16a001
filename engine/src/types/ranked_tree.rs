//! A counted B+ tree in the order of (score, member): the large encoding of sorted sets.
//!
//! ```text
//!          inner: for each child its greatest entry and how many entries it holds
//!         /     \
//!      leaf <-> leaf <-> leaf ...: scores and member ids, side by side
//! ```
//!
//! The tree holds no members, only their ids; each operation is handed the slab that has them. A score is
//! kept in the leaf as well, so that a member is only looked at when scores are equal.
//!
//! Every query is one descent: [`RankedTree::position`] finds where a condition over the order stops to hold, and
//! the rank of that place. Ranges of scores and of members thus become ranges of ranks.
//!
//! Invariants:
//! - Entries ascend by score, and by the bytes of the member where scores are equal. NaN never enters.
//! - All leaves have the same depth. Only the root may be empty, and only as a leaf.
//! - What an inner node says of a child (greatest entry, count) is exact.
//! - Leaf links run through all leaves in order.
//!
//! A node that is full first tries to share with a neighbour, then splits; at either end of the tree it splits
//! so that the full part stays full: members that come in ascending order fill their leaves to 62 of 63. Two neighbours merge
//! when a removal leaves them with no more than three quarters of a node together.

use super::member_slab::MemberSlab;
use smallvec::SmallVec;
use std::cmp::Ordering;

/// Entries in a leaf: it takes 768 bytes, a size that allocators have.
pub(super) const LEAF_MAX: usize = 63;
/// Children of an inner node: it takes 1,024 bytes.
pub(super) const INNER_MAX: usize = 51;
/// A neighbour with less room than this is not worth sharing with.
const SHARE_MIN: usize = 8;
const NONE: u32 = u32::MAX;

/// The inner nodes on the way to a leaf, each with the child that was taken.
type Path = SmallVec<[(u32, usize); 8]>;

/// The counted tree.
#[derive(Debug, Clone)]
pub(super) struct RankedTree {
    leaves: Nodes<Leaf>,
    inners: Nodes<Inner>,
    root: u32,
    /// Levels of inner nodes; at 0 the root is a leaf.
    height: u32,
    len: usize,
    first: u32,
    last: u32,
}

/// A place between two entries: `index` counts within `leaf` and may be one past its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    leaf: u32,
    index: usize,
}

#[derive(Debug, Clone)]
struct Leaf {
    scores: [f64; LEAF_MAX],
    ids: [u32; LEAF_MAX],
    prev: u32,
    next: u32,
    len: u8,
}

#[derive(Debug, Clone)]
struct Inner {
    /// The greatest entry below each child.
    scores: [f64; INNER_MAX],
    ids: [u32; INNER_MAX],
    children: [u32; INNER_MAX],
    counts: [u32; INNER_MAX],
    len: u8,
}

const _: () = assert!(size_of::<Leaf>() == 768 && size_of::<Inner>() == 1_024);

impl RankedTree {
    /// An empty tree.
    pub(super) fn new() -> Self {
        let mut leaves = Nodes::new();
        let root = leaves.add(Leaf::EMPTY);
        Self { leaves, inners: Nodes::new(), root, height: 0, len: 0, first: root, last: root }
    }

    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes on the heap. O(1).
    pub(super) fn allocation_bytes(&self) -> usize {
        self.leaves.allocation_bytes() + self.inners.allocation_bytes()
    }

    /// Adds an entry that is not there yet. O(log n).
    pub(super) fn insert(&mut self, members: &MemberSlab, score: f64, id: u32) {
        let member = members.member(id);
        loop {
            let (path, at) = self.descend(|s, i| order(members, s, i, score, member) == Ordering::Less);
            let leaf = self.leaves.get_mut(at.leaf);
            if usize::from(leaf.len) < LEAF_MAX {
                leaf.insert(at.index, score, id);
                self.len += 1;
                self.adjust(&path, |count| *count += 1);
                return;
            }
            self.make_room(&path, at);
        }
    }

    /// Removes the entry of `id`, which has this score. O(log n).
    pub(super) fn remove(&mut self, members: &MemberSlab, score: f64, id: u32) {
        let member = members.member(id);
        let (path, at) = self.descend(|s, i| order(members, s, i, score, member) == Ordering::Less);
        self.remove_run(&path, at, 1);
    }

    /// Changes the score of an entry. O(log n), and in place where the order stays the same.
    pub(super) fn update(&mut self, members: &MemberSlab, id: u32, old: f64, new: f64) {
        let member = members.member(id);
        let (path, at) = self.descend(|s, i| order(members, s, i, old, member) == Ordering::Less);
        let leaf = self.leaves.get_mut(at.leaf);
        // Not at the edges of a leaf: there, the neighbours and what the inner nodes know are elsewhere.
        if at.index > 0 && at.index + 1 < usize::from(leaf.len) {
            let fits = |i: usize| order(members, leaf.scores[i], leaf.ids[i], new, member);
            if fits(at.index - 1) == Ordering::Less && fits(at.index + 1) == Ordering::Greater {
                leaf.scores[at.index] = new;
                return;
            }
        }
        self.remove_run(&path, at, 1);
        self.insert(members, new, id);
    }

    /// Removes up to `max` entries from rank `rank` on, as many as one leaf holds of them, and gives their ids.
    /// O(log n) whatever their number; call again until all are gone.
    pub(super) fn remove_some(&mut self, rank: usize, max: usize) -> SmallVec<[u32; LEAF_MAX]> {
        let (path, at) = self.select_path(rank);
        let leaf = self.leaves.get(at.leaf);
        let end = usize::from(leaf.len).min(at.index.saturating_add(max));
        let ids = SmallVec::from_slice(&leaf.ids[at.index..end]);
        self.remove_run(&path, at, ids.len());
        ids
    }

    /// The rank of the first entry for which `before` does not hold, `len` when it holds for all. `before` gets
    /// score and id, and must hold for a prefix of the order. O(log n).
    pub(super) fn position(&self, before: impl Fn(f64, u32) -> bool) -> usize {
        let (mut node, mut rank) = (self.root, 0);
        for _ in 0..self.height {
            let inner = self.inners.get(node);
            let child = inner.child_for(&before);
            rank += inner.counts[..child].iter().map(|n| *n as usize).sum::<usize>();
            node = inner.children[child];
        }
        rank + self.leaves.get(node).partition_point(&before)
    }

    /// The rank of the entry of `member`, which has this score. O(log n).
    pub(super) fn rank(&self, members: &MemberSlab, score: f64, member: &[u8]) -> usize {
        self.position(|s, i| order(members, s, i, score, member) == Ordering::Less)
    }

    /// The place of the entry with this rank; the end of the last leaf for ranks past the end. O(log n).
    pub(super) fn select(&self, rank: usize) -> Position {
        self.select_path(rank).1
    }

    /// The entry just after a place, as (score, id), and the place after it.
    #[inline]
    pub(super) fn next(&self, mut at: Position) -> Option<((f64, u32), Position)> {
        let mut leaf = self.leaves.get(at.leaf);
        if at.index == usize::from(leaf.len) {
            if leaf.next == NONE {
                return None;
            }
            at = Position { leaf: leaf.next, index: 0 };
            leaf = self.leaves.get(at.leaf);
        }
        let entry = (leaf.scores[at.index], leaf.ids[at.index]);
        Some((entry, Position { index: at.index + 1, ..at }))
    }

    /// The entry just before a place, as (score, id), and the place before it.
    #[inline]
    pub(super) fn prev(&self, mut at: Position) -> Option<((f64, u32), Position)> {
        let mut leaf = self.leaves.get(at.leaf);
        if at.index == 0 {
            if leaf.prev == NONE {
                return None;
            }
            leaf = self.leaves.get(leaf.prev);
            at = Position { leaf: self.leaves.get(at.leaf).prev, index: usize::from(leaf.len) };
        }
        let index = at.index - 1;
        Some(((leaf.scores[index], leaf.ids[index]), Position { index, ..at }))
    }

    fn select_path(&self, rank: usize) -> (Path, Position) {
        let (mut path, mut node, mut left) = (Path::new(), self.root, rank.min(self.len));
        for _ in 0..self.height {
            let inner = self.inners.get(node);
            let last = usize::from(inner.len) - 1;
            let mut child = 0;
            while child < last && left >= inner.counts[child] as usize {
                left -= inner.counts[child] as usize;
                child += 1;
            }
            path.push((node, child));
            node = inner.children[child];
        }
        (path, Position { leaf: node, index: left })
    }

    /// The way to the first entry for which `before` does not hold.
    fn descend(&self, before: impl Fn(f64, u32) -> bool) -> (Path, Position) {
        let (mut path, mut node) = (Path::new(), self.root);
        for _ in 0..self.height {
            let inner = self.inners.get(node);
            let child = inner.child_for(&before);
            path.push((node, child));
            node = inner.children[child];
        }
        (path, Position { leaf: node, index: self.leaves.get(node).partition_point(&before) })
    }

    /// The greatest entry below a node, which is not empty; `height` counts the inner levels from it down.
    fn greatest(&self, node: u32, height: usize) -> (f64, u32) {
        if height == 0 { self.leaves.get(node).greatest() } else { self.inners.get(node).greatest() }
    }

    /// Brings what the nodes of a path say of their children up to date.
    fn adjust(&mut self, path: &Path, count: impl Fn(&mut u32)) {
        for (height, &(node, child)) in path.iter().rev().enumerate() {
            let greatest = self.greatest(self.inners.get(node).children[child], height);
            let inner = self.inners.get_mut(node);
            (inner.scores[child], inner.ids[child]) = greatest;
            count(&mut inner.counts[child]);
        }
    }

    /// One step towards room in the full leaf at the end of `path`: shares with a neighbour, or splits the leaf,
    /// or splits the highest of the full nodes above it. The caller descends again.
    fn make_room(&mut self, path: &Path, at: Position) {
        if let Some(&(parent, child)) = path.last()
            && self.share(parent, child)
        {
            return;
        }
        let full = path.iter().rev().take_while(|(n, _)| usize::from(self.inners.get(*n).len) == INNER_MAX);
        let full = full.count();
        if full == path.len() {
            self.grow_root();
        }
        // The parent of the node to split, after `grow_root` may have put one above all.
        let (parent, child) = match path.len().checked_sub(full + 1) {
            Some(level) => path[level],
            None => (self.root, 0),
        };
        let at_first = at.leaf == self.first && at.index == 0;
        let at_last = at.leaf == self.last && at.index == LEAF_MAX;
        let kept = |max: usize| match (at_first, at_last) {
            (true, _) => 1,
            (_, true) => max - 1,
            _ => max / 2,
        };
        if full == 0 {
            self.split_leaf(parent, child, kept(LEAF_MAX));
        } else {
            self.split_inner(parent, child, kept(INNER_MAX), full);
        }
    }

    /// Moves entries of a full leaf to a neighbour below the same parent, if one has room enough.
    fn share(&mut self, parent: u32, child: usize) -> bool {
        let inner = self.inners.get(parent);
        let room = |child: usize| match inner.children[..usize::from(inner.len)].get(child) {
            Some(&leaf) => LEAF_MAX - usize::from(self.leaves.get(leaf).len),
            None => 0,
        };
        let right = room(child + 1);
        let left = child.checked_sub(1).map_or(0, room);
        if right.max(left) < SHARE_MIN {
            return false;
        }
        let (first, moved) =
            if right >= left { (child, -((right / 2) as isize)) } else { (child - 1, (left / 2) as isize) };
        self.shift(parent, first, moved);
        true
    }

    /// Moves `moved` entries over the border between leaf `first` and the one after it, to the left if positive.
    fn shift(&mut self, parent: u32, first: usize, moved: isize) {
        let inner = self.inners.get(parent);
        let (left, right) = (inner.children[first], inner.children[first + 1]);
        let (left, right) = self.leaves.pair_mut(left, right);
        let n = moved.unsigned_abs();
        if moved > 0 {
            left.append(right, 0, n);
            right.remove(0, n);
        } else {
            let at = usize::from(left.len) - n;
            right.prepend(left, at, n);
            left.remove(at, n);
        }
        let (counts, border) = ([u32::from(left.len), u32::from(right.len)], left.greatest());
        let inner = self.inners.get_mut(parent);
        inner.counts[first..first + 2].copy_from_slice(&counts);
        (inner.scores[first], inner.ids[first]) = border;
    }

    /// Puts a new root with a single child above the root.
    fn grow_root(&mut self) {
        let mut root = Inner::EMPTY;
        root.insert(0, self.greatest(self.root, self.height as usize), self.root, self.len as u32);
        self.root = self.inners.add(root);
        self.height += 1;
    }

    /// Splits the full leaf `child` of `parent`, which has room: `kept` entries stay.
    fn split_leaf(&mut self, parent: u32, child: usize, kept: usize) {
        let id = self.inners.get(parent).children[child];
        let new_id = self.leaves.add(Leaf::EMPTY);
        let (leaf, new) = self.leaves.pair_mut(id, new_id);
        new.append(leaf, kept, LEAF_MAX - kept);
        leaf.len = kept as u8;
        (new.prev, new.next) = (id, leaf.next);
        leaf.next = new_id;
        match new.next {
            NONE => self.last = new_id,
            next => self.leaves.get_mut(next).prev = new_id,
        }
        self.enter_split(parent, child, new_id, (LEAF_MAX - kept) as u32, 0);
    }

    /// Splits the full inner node `child` of `parent`, which has room: `kept` children stay. `height` is that of
    /// the node which splits.
    fn split_inner(&mut self, parent: u32, child: usize, kept: usize, height: usize) {
        let id = self.inners.get(parent).children[child];
        let new_id = self.inners.add(Inner::EMPTY);
        let (inner, new) = self.inners.pair_mut(id, new_id);
        new.append(inner, kept, INNER_MAX - kept);
        inner.len = kept as u8;
        let moved = new.counts[..INNER_MAX - kept].iter().sum();
        self.enter_split(parent, child, new_id, moved, height);
    }

    /// Tells `parent` that `moved` entries of `child` are now in `new`, right after it.
    fn enter_split(&mut self, parent: u32, child: usize, new: u32, moved: u32, height: usize) {
        let old_greatest = self.greatest(self.inners.get(parent).children[child], height);
        let new_greatest = self.greatest(new, height);
        let inner = self.inners.get_mut(parent);
        inner.counts[child] -= moved;
        (inner.scores[child], inner.ids[child]) = old_greatest;
        inner.insert(child + 1, new_greatest, new, moved);
    }

    /// Removes `n` entries of a leaf and sets everything above it right.
    fn remove_run(&mut self, path: &Path, at: Position, n: usize) {
        self.leaves.get_mut(at.leaf).remove(at.index, n);
        self.len -= n;
        if self.len == 0 {
            *self = Self::new();
            return;
        }
        for (height, &(parent, child)) in path.iter().rev().enumerate() {
            let inner = self.inners.get_mut(parent);
            inner.counts[child] -= n as u32;
            if inner.counts[child] == 0 {
                let node = inner.children[child];
                inner.remove(child);
                self.release(node, height);
                continue;
            }
            let node = inner.children[child];
            let greatest = self.greatest(node, height);
            let inner = self.inners.get_mut(parent);
            (inner.scores[child], inner.ids[child]) = greatest;
            if !self.merge(parent, child, height) && child > 0 {
                self.merge(parent, child - 1, height);
            }
        }
        while self.height > 0 && self.inners.get(self.root).len == 1 {
            let child = self.inners.get(self.root).children[0];
            self.inners.remove(self.root);
            self.root = child;
            self.height -= 1;
        }
    }

    /// Joins child `left` with the one after it when both are small.
    fn merge(&mut self, parent: u32, left: usize, height: usize) -> bool {
        let inner = self.inners.get(parent);
        if left + 1 >= usize::from(inner.len) {
            return false;
        }
        let (to, from) = (inner.children[left], inner.children[left + 1]);
        if height == 0 {
            let (to, from) = self.leaves.pair_mut(to, from);
            if usize::from(to.len) + usize::from(from.len) > LEAF_MAX * 3 / 4 {
                return false;
            }
            to.append(from, 0, usize::from(from.len));
        } else {
            let (to, from) = self.inners.pair_mut(to, from);
            if usize::from(to.len) + usize::from(from.len) > INNER_MAX * 3 / 4 {
                return false;
            }
            to.append(from, 0, usize::from(from.len));
        }
        self.release(from, height);
        let inner = self.inners.get_mut(parent);
        inner.counts[left + 1] += inner.counts[left];
        inner.children[left + 1] = to;
        inner.remove(left);
        true
    }

    /// Frees a node whose entries are gone or moved.
    fn release(&mut self, node: u32, height: usize) {
        if height > 0 {
            self.inners.remove(node);
            return;
        }
        let Leaf { prev, next, .. } = *self.leaves.get(node);
        match prev {
            NONE => self.first = next,
            prev => self.leaves.get_mut(prev).next = next,
        }
        match next {
            NONE => self.last = prev,
            next => self.leaves.get_mut(next).prev = prev,
        }
        self.leaves.remove(node);
    }

    /// Walks everything and panics where an invariant is broken.
    pub(super) fn assert_invariants(&self, members: &MemberSlab) {
        let mut leaves = Vec::new();
        let count = self.assert_node(self.root, self.height as usize, &mut leaves);
        assert_eq!(count, self.len);
        assert_eq!(leaves.len(), self.leaves.used());
        assert_eq!((leaves.first(), leaves.last()), (Some(&self.first), Some(&self.last)));
        let mut prev = NONE;
        let mut before: Option<(f64, &[u8])> = None;
        for (i, &id) in leaves.iter().enumerate() {
            let leaf = self.leaves.get(id);
            assert_eq!((leaf.prev, leaf.next), (prev, leaves.get(i + 1).copied().unwrap_or(NONE)));
            prev = id;
            for i in 0..usize::from(leaf.len) {
                let (score, id) = (leaf.scores[i], leaf.ids[i]);
                assert!(members.score(id) == score, "the slab has another score");
                let ascends =
                    before.is_none_or(|(s, m)| order(members, score, id, s, m) == Ordering::Greater);
                assert!(ascends, "entries do not ascend");
                before = Some((score, members.member(id)));
            }
        }
    }

    fn assert_node(&self, node: u32, height: usize, leaves: &mut Vec<u32>) -> usize {
        if height == 0 {
            let len = usize::from(self.leaves.get(node).len);
            assert!(len > 0 || self.len == 0, "an empty leaf");
            leaves.push(node);
            return len;
        }
        let inner = self.inners.get(node);
        assert!(inner.len > 0 && (node != self.root || inner.len > 1), "an inner node without use");
        for i in 0..usize::from(inner.len) {
            let count = self.assert_node(inner.children[i], height - 1, leaves);
            assert_eq!(count, inner.counts[i] as usize);
            assert!((inner.scores[i], inner.ids[i]) == self.greatest(inner.children[i], height - 1));
        }
        inner.counts[..usize::from(inner.len)].iter().map(|n| *n as usize).sum()
    }
}

/// The order of the entry (`s`, `id`) relative to (`score`, `member`).
#[inline]
fn order(members: &MemberSlab, s: f64, id: u32, score: f64, member: &[u8]) -> Ordering {
    if s < score {
        Ordering::Less
    } else if s > score {
        Ordering::Greater
    } else {
        members.member(id).cmp(member)
    }
}

/// The number of entries, of `len`, for which `before` holds.
#[inline]
fn partition(len: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = (low + high) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// Opens a gap of `n` at `at` in the first `len` of `array`.
fn open<T: Copy>(array: &mut [T], len: usize, at: usize, n: usize) {
    array.copy_within(at..len, at + n);
}

/// Closes the gap of `n` at `at` in the first `len` of `array`.
fn close<T: Copy>(array: &mut [T], len: usize, at: usize, n: usize) {
    array.copy_within(at + n..len, at);
}

impl Leaf {
    const EMPTY: Self = Self { scores: [0.0; LEAF_MAX], ids: [0; LEAF_MAX], prev: NONE, next: NONE, len: 0 };

    fn partition_point(&self, before: &impl Fn(f64, u32) -> bool) -> usize {
        partition(usize::from(self.len), |i| before(self.scores[i], self.ids[i]))
    }

    fn greatest(&self) -> (f64, u32) {
        let last = usize::from(self.len) - 1;
        (self.scores[last], self.ids[last])
    }

    fn insert(&mut self, at: usize, score: f64, id: u32) {
        let len = usize::from(self.len);
        open(&mut self.scores, len, at, 1);
        open(&mut self.ids, len, at, 1);
        (self.scores[at], self.ids[at]) = (score, id);
        self.len += 1;
    }

    fn remove(&mut self, at: usize, n: usize) {
        let len = usize::from(self.len);
        close(&mut self.scores, len, at, n);
        close(&mut self.ids, len, at, n);
        self.len -= n as u8;
    }

    /// Copies `n` entries of `from`, those at `at`, to the end.
    fn append(&mut self, from: &Self, at: usize, n: usize) {
        let len = usize::from(self.len);
        self.scores[len..len + n].copy_from_slice(&from.scores[at..at + n]);
        self.ids[len..len + n].copy_from_slice(&from.ids[at..at + n]);
        self.len += n as u8;
    }

    /// Copies `n` entries of `from`, those at `at`, to the front.
    fn prepend(&mut self, from: &Self, at: usize, n: usize) {
        let len = usize::from(self.len);
        open(&mut self.scores, len, 0, n);
        open(&mut self.ids, len, 0, n);
        self.scores[..n].copy_from_slice(&from.scores[at..at + n]);
        self.ids[..n].copy_from_slice(&from.ids[at..at + n]);
        self.len += n as u8;
    }
}

impl Inner {
    const EMPTY: Self = Self {
        scores: [0.0; INNER_MAX],
        ids: [0; INNER_MAX],
        children: [0; INNER_MAX],
        counts: [0; INNER_MAX],
        len: 0,
    };

    /// The first child that has an entry for which `before` does not hold, else the last.
    #[inline]
    fn child_for(&self, before: &impl Fn(f64, u32) -> bool) -> usize {
        partition(usize::from(self.len) - 1, |i| before(self.scores[i], self.ids[i]))
    }

    fn greatest(&self) -> (f64, u32) {
        let last = usize::from(self.len) - 1;
        (self.scores[last], self.ids[last])
    }

    fn insert(&mut self, at: usize, greatest: (f64, u32), child: u32, count: u32) {
        let len = usize::from(self.len);
        open(&mut self.scores, len, at, 1);
        open(&mut self.ids, len, at, 1);
        open(&mut self.children, len, at, 1);
        open(&mut self.counts, len, at, 1);
        (self.scores[at], self.ids[at]) = greatest;
        (self.children[at], self.counts[at]) = (child, count);
        self.len += 1;
    }

    fn remove(&mut self, at: usize) {
        let len = usize::from(self.len);
        close(&mut self.scores, len, at, 1);
        close(&mut self.ids, len, at, 1);
        close(&mut self.children, len, at, 1);
        close(&mut self.counts, len, at, 1);
        self.len -= 1;
    }

    /// Copies `n` children of `from`, those at `at`, to the end.
    fn append(&mut self, from: &Self, at: usize, n: usize) {
        let len = usize::from(self.len);
        self.scores[len..len + n].copy_from_slice(&from.scores[at..at + n]);
        self.ids[len..len + n].copy_from_slice(&from.ids[at..at + n]);
        self.children[len..len + n].copy_from_slice(&from.children[at..at + n]);
        self.counts[len..len + n].copy_from_slice(&from.counts[at..at + n]);
        self.len += n as u8;
    }
}

/// Nodes of one kind, named by number.
#[derive(Debug, Clone)]
struct Nodes<T> {
    slots: Vec<Option<Box<T>>>,
    free: Vec<u32>,
}

impl<T> Nodes<T> {
    const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    fn add(&mut self, node: T) -> u32 {
        let node = Some(Box::new(node));
        match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = node;
                id
            }
            None => {
                self.slots.push(node);
                (self.slots.len() - 1) as u32
            }
        }
    }

    fn remove(&mut self, id: u32) {
        self.slots[id as usize] = None;
        self.free.push(id);
    }

    #[inline]
    fn get(&self, id: u32) -> &T {
        self.slots[id as usize].as_ref().expect("links lead to nodes that exist")
    }

    #[inline]
    fn get_mut(&mut self, id: u32) -> &mut T {
        self.slots[id as usize].as_mut().expect("links lead to nodes that exist")
    }

    /// Two different nodes at once.
    fn pair_mut(&mut self, a: u32, b: u32) -> (&mut T, &mut T) {
        match self.slots.get_disjoint_mut([a as usize, b as usize]) {
            Ok([Some(a), Some(b)]) => (a, b),
            _ => unreachable!("two nodes that exist"),
        }
    }

    fn used(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn allocation_bytes(&self) -> usize {
        self.used() * size_of::<T>()
            + self.slots.capacity() * size_of::<Option<Box<T>>>()
            + self.free.capacity() * size_of::<u32>()
    }
}
