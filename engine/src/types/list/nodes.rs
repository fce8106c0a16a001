//! The nodes of a quicklist, in order, on two levels: a list of segments of at most 256 nodes each.
//!
//! One flat deque would move half of all nodes for an insertion in the middle, and walk all of them for an
//! index. Here an insertion moves at most 8 KB of nodes, plus, once every hundred-odd insertions, the headers of
//! the segments: 40 bytes per 256 nodes, 160 KB for a list of a million nodes. A lookup by index walks the
//! segments from the nearer end and then one segment.
//!
//! Invariants:
//! - No segment is empty and no node is empty (other than within one operation of the quicklist).
//! - The counts of a segment, and of the whole, are the sums of the counts below: nodes change only by
//!   [`Nodes::edit`], which keeps the books.

use crate::types::listpack::{Listpack, LpEntry, LpIter, LpValue, Needle, Pos};
use std::collections::VecDeque;

const SEGMENT_NODES_MAX: usize = 256;

/// What a node holds.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// Any number of elements.
    Packed(Listpack),
    /// One element, too large to be moved about within a listpack.
    Plain(Box<[u8]>),
}

/// One node: its elements, and their number, so that lookups need not visit the elements' memory.
#[derive(Debug, Clone)]
pub(super) struct Node {
    count: u32,
    content: Content,
}

impl Node {
    pub fn packed(lp: Listpack) -> Self {
        // An entry takes two bytes or more, so 2^30 bytes cannot hold more than 2^29 of them.
        Node { count: lp.len() as u32, content: Content::Packed(lp) }
    }

    pub fn plain(element: Box<[u8]>) -> Self {
        Node { count: 1, content: Content::Plain(element) }
    }

    pub fn content(&self) -> &Content {
        &self.content
    }

    pub fn into_content(self) -> Content {
        self.content
    }

    #[inline]
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// Bytes as the limits count them: of the whole listpack, or of the plain element.
    pub fn bytes_len(&self) -> usize {
        match &self.content {
            Content::Packed(lp) => lp.bytes_len(),
            Content::Plain(element) => element.len(),
        }
    }

    pub fn as_packed(&self) -> Option<&Listpack> {
        match &self.content {
            Content::Packed(lp) => Some(lp),
            Content::Plain(_) => None,
        }
    }

    /// Changes the listpack, if the node holds one.
    pub fn edit_packed<R>(&mut self, change: impl FnOnce(&mut Listpack) -> R) -> Option<R> {
        let Content::Packed(lp) = &mut self.content else {
            return None;
        };
        let result = change(lp);
        self.count = lp.len() as u32;
        Some(result)
    }

    #[inline]
    pub fn front(&self) -> Option<LpEntry<'_>> {
        match &self.content {
            Content::Packed(lp) => lp.front(),
            Content::Plain(element) => Some(LpEntry::Str(element)),
        }
    }

    #[inline]
    pub fn back(&self) -> Option<LpEntry<'_>> {
        match &self.content {
            Content::Packed(lp) => lp.back(),
            Content::Plain(element) => Some(LpEntry::Str(element)),
        }
    }

    pub fn get(&self, offset: usize) -> Option<LpEntry<'_>> {
        match &self.content {
            Content::Packed(lp) => lp.seek(offset as isize).map(|pos| lp.get(pos)),
            Content::Plain(element) => Some(LpEntry::Str(element)),
        }
    }

    /// The elements from number `offset` to the last.
    pub fn entries_from(&self, offset: usize) -> Entries<'_> {
        match &self.content {
            Content::Packed(lp) => match lp.seek(offset as isize) {
                Some(pos) => Entries::Packed(lp.iter_from(pos)),
                None => Entries::Plain(None),
            },
            Content::Plain(element) => Entries::Plain(Some(element)),
        }
    }

    /// The elements from the first to number `offset`, to be walked backwards.
    pub fn entries_through(&self, offset: usize) -> Entries<'_> {
        match &self.content {
            Content::Packed(lp) => match lp.seek(offset as isize) {
                Some(pos) => Entries::Packed(lp.iter_through(pos)),
                None => Entries::Plain(None),
            },
            Content::Plain(element) => Entries::Plain(Some(element)),
        }
    }

    pub fn entries(&self) -> Entries<'_> {
        match &self.content {
            Content::Packed(lp) => Entries::Packed(lp.iter()),
            Content::Plain(element) => Entries::Plain(Some(element)),
        }
    }

    /// Takes the first element; a plain one leaves the node empty, to be removed.
    pub fn pop_front(&mut self) -> Option<LpValue> {
        self.take_plain().or_else(|| self.edit_packed(Listpack::pop_front).flatten())
    }

    /// Takes the last element; a plain one leaves the node empty, to be removed.
    pub fn pop_back(&mut self) -> Option<LpValue> {
        self.take_plain().or_else(|| self.edit_packed(Listpack::pop_back).flatten())
    }

    fn take_plain(&mut self) -> Option<LpValue> {
        match &mut self.content {
            Content::Plain(element) if self.count == 1 => {
                self.count = 0;
                Some(LpValue::Str(std::mem::take(element)))
            }
            _ => None,
        }
    }

    /// Removes `count` elements from number `offset` on.
    pub fn remove_range(&mut self, offset: usize, count: usize) {
        if self.edit_packed(|lp| lp.remove_range(offset as isize, count)).is_none() && count > 0 {
            self.count = 0;
        }
    }

    /// Removes elements equal to `needle`, at most `max`, the first or else the last ones.
    pub fn remove_matching(&mut self, needle: &Needle<'_>, max: usize, from_tail: bool) -> usize {
        if let Content::Plain(element) = &self.content {
            let matches = max > 0 && self.count == 1 && needle.matches(&LpEntry::Str(element));
            self.count -= u32::from(matches);
            return usize::from(matches);
        }
        self.edit_packed(|lp| remove_matching(lp, needle, max, from_tail)).unwrap_or(0)
    }

    /// Heap bytes of the content.
    pub fn heap_bytes(&self) -> usize {
        match &self.content {
            Content::Packed(lp) => lp.memory_usage(),
            Content::Plain(element) => element.len(),
        }
    }
}

/// Removes entries equal to `needle`, at most `max`, the first or else the last ones. One pass from the head;
/// from the tail a second one, that counts how many to spare.
pub(super) fn remove_matching(lp: &mut Listpack, needle: &Needle<'_>, max: usize, from_tail: bool) -> usize {
    let mut spare = match from_tail {
        true => lp.iter().filter(|entry| needle.matches(entry)).count().saturating_sub(max),
        false => 0,
    };
    let mut left = max;
    lp.retain(|entry| {
        if left == 0 || !needle.matches(&entry) {
            return true;
        }
        if spare > 0 {
            spare -= 1;
            return true;
        }
        left -= 1;
        false
    })
}

/// Walks the elements of one node.
#[derive(Clone)]
pub(super) enum Entries<'a> {
    Packed(LpIter<'a>),
    Plain(Option<&'a [u8]>),
}

impl<'a> Entries<'a> {
    #[inline]
    pub fn step(&mut self, backwards: bool) -> Option<LpEntry<'a>> {
        match self {
            Entries::Packed(entries) if backwards => entries.next_back(),
            Entries::Packed(entries) => entries.next(),
            Entries::Plain(element) => element.take().map(LpEntry::Str),
        }
    }
}

/// Where in a node an element is to be inserted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Gap {
    /// Before the first element.
    Front,
    /// Between two entries of a listpack. Should it be split here, the new element goes with one of them.
    Between { next: Pos, with_next: bool },
    /// After the last element.
    Back,
}

/// The place of a node. Inserting and removing nodes moves others: only the returned places are valid then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    segment: usize,
    node: usize,
}

impl Place {
    /// The place at which a node is inserted to come right after this one.
    pub fn following(self) -> Place {
        Place { node: self.node + 1, ..self }
    }
}

#[derive(Debug, Clone, Default)]
struct Segment {
    /// Elements in all nodes.
    count: usize,
    nodes: VecDeque<Node>,
}

/// All nodes of a quicklist; see the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Nodes {
    segments: VecDeque<Segment>,
    elements: usize,
    nodes: usize,
}

impl Nodes {
    /// Elements in all nodes.
    #[inline]
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// Number of nodes.
    #[inline]
    pub fn len(&self) -> usize {
        self.nodes
    }

    pub fn get(&self, place: Place) -> Option<&Node> {
        self.segments.get(place.segment)?.nodes.get(place.node)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Node> {
        self.segments.iter().flat_map(|segment| &segment.nodes)
    }

    #[inline]
    pub fn first(&self) -> Option<Place> {
        self.settled(Place { segment: 0, node: 0 })
    }

    #[inline]
    pub fn last(&self) -> Option<Place> {
        let segment = self.segments.len().checked_sub(1)?;
        Some(Place { segment, node: self.segments[segment].nodes.len() - 1 })
    }

    #[inline]
    pub fn next(&self, place: Place) -> Option<Place> {
        self.settled(place.following())
    }

    #[inline]
    pub fn prev(&self, place: Place) -> Option<Place> {
        if let Some(node) = place.node.checked_sub(1) {
            return Some(Place { node, ..place });
        }
        let segment = place.segment.checked_sub(1)?;
        Some(Place { segment, node: self.segments[segment].nodes.len() - 1 })
    }

    /// The place itself if there is a node, or the first node of the next segment.
    fn settled(&self, place: Place) -> Option<Place> {
        if place.node < self.segments.get(place.segment)?.nodes.len() {
            return Some(place);
        }
        let segment = place.segment + 1;
        (segment < self.segments.len()).then_some(Place { segment, node: 0 })
    }

    /// The node that holds element number `index`, and the element's number within the node.
    /// O(segments + 256), nothing but counts is read.
    pub fn locate(&self, index: usize) -> Option<(Place, usize)> {
        let counts = self.segments.iter().map(|segment| segment.count);
        let (segment, index) = find_run(counts, self.elements, index)?;
        let Segment { count, nodes } = self.segments.get(segment)?;
        let (node, offset) = find_run(nodes.iter().map(Node::count), *count, index)?;
        Some((Place { segment, node }, offset))
    }

    /// Changes a node and takes over its new count. A node that became empty is to be removed by the caller.
    ///
    /// # Panics
    /// If there is no node at `place`.
    #[inline]
    pub fn edit<R>(&mut self, place: Place, change: impl FnOnce(&mut Node) -> R) -> R {
        let segment = &mut self.segments[place.segment];
        let node = &mut segment.nodes[place.node];
        let before = node.count();
        let result = change(node);
        let after = node.count();
        segment.count = segment.count - before + after;
        self.elements = self.elements - before + after;
        result
    }

    pub fn push_front(&mut self, node: Node) {
        if self.segments.front().is_none_or(|segment| segment.nodes.len() >= SEGMENT_NODES_MAX) {
            self.segments.push_front(Segment::default());
        }
        self.insert(Place { segment: 0, node: 0 }, node);
    }

    pub fn push_back(&mut self, node: Node) {
        if self.segments.back().is_none_or(|segment| segment.nodes.len() >= SEGMENT_NODES_MAX) {
            self.segments.push_back(Segment::default());
        }
        let segment = self.segments.len() - 1;
        self.insert(Place { segment, node: self.segments[segment].nodes.len() }, node);
    }

    /// Inserts a node before the one at `place`, or at the end of its segment; returns where it is now.
    pub fn insert(&mut self, mut place: Place, node: Node) -> Place {
        if self.segments[place.segment].nodes.len() >= SEGMENT_NODES_MAX {
            place = self.split_segment(place);
        }
        let segment = &mut self.segments[place.segment];
        segment.count += node.count();
        self.elements += node.count();
        self.nodes += 1;
        segment.nodes.insert(place.node, node);
        place
    }

    fn split_segment(&mut self, place: Place) -> Place {
        let segment = &mut self.segments[place.segment];
        let half = segment.nodes.len() / 2;
        let nodes = segment.nodes.split_off(half);
        segment.nodes.shrink_to(SEGMENT_NODES_MAX / 2);
        let count = nodes.iter().map(Node::count).sum();
        segment.count -= count;
        self.segments.insert(place.segment + 1, Segment { count, nodes });
        match place.node.checked_sub(half) {
            Some(node) => Place { segment: place.segment + 1, node },
            None => place,
        }
    }

    /// Removes a node; returns it, and the place of the one that followed it.
    ///
    /// # Panics
    /// If there is no node at `place`.
    pub fn remove(&mut self, mut place: Place) -> (Node, Option<Place>) {
        let segment = &mut self.segments[place.segment];
        let node = segment.nodes.remove(place.node).expect("a place of these nodes");
        segment.count -= node.count();
        self.elements -= node.count();
        self.nodes -= 1;
        if segment.nodes.is_empty() {
            self.segments.remove(place.segment);
        } else {
            place = self.join_small_segments(place);
        }
        (node, self.settled(place))
    }

    /// Joins the segment with its neighbours while half of the maximum holds both, so that removals in the
    /// middle do not leave a long trail of tiny segments.
    fn join_small_segments(&mut self, place: Place) -> Place {
        self.join_with_next(place.segment);
        let Some(segment) = place.segment.checked_sub(1) else {
            return place;
        };
        let before = self.segments[segment].nodes.len();
        match self.join_with_next(segment) {
            true => Place { segment, node: before + place.node },
            false => place,
        }
    }

    fn join_with_next(&mut self, index: usize) -> bool {
        let Some(next) = self.segments.get(index + 1) else {
            return false;
        };
        if self.segments[index].nodes.len() + next.nodes.len() > SEGMENT_NODES_MAX / 2 {
            return false;
        }
        if let Some(mut next) = self.segments.remove(index + 1) {
            self.segments[index].nodes.append(&mut next.nodes);
            self.segments[index].count += next.count;
        }
        true
    }

    /// Removes elements from the start of the node at `place` on, whole segments at once where possible.
    pub fn remove_elements(&mut self, mut place: Option<Place>, mut count: usize) {
        while let Some(at) = place
            && count > 0
        {
            if at.node == 0 && self.segments[at.segment].count <= count {
                count -= self.remove_segments(at.segment, count);
                place = self.settled(at);
                continue;
            }
            let node_count = self.segments[at.segment].nodes[at.node].count();
            if node_count > count {
                return self.edit(at, |node| node.remove_range(0, count));
            }
            count -= node_count;
            place = self.remove(at).1;
        }
    }

    /// Removes the segments from number `first` on that hold no more than `max` elements together.
    fn remove_segments(&mut self, first: usize, max: usize) -> usize {
        let (mut end, mut elements, mut nodes) = (first, 0, 0);
        while let Some(segment) = self.segments.get(end)
            && elements + segment.count <= max
        {
            elements += segment.count;
            nodes += segment.nodes.len();
            end += 1;
        }
        self.segments.drain(first..end);
        self.elements -= elements;
        self.nodes -= nodes;
        elements
    }

    /// Heap bytes of everything. O(nodes).
    pub fn heap_bytes(&self) -> usize {
        let segments = self.segments.capacity() * size_of::<Segment>();
        let nodes: usize = self.segments.iter().map(|s| s.nodes.capacity() * size_of::<Node>()).sum();
        segments + nodes + self.iter().map(Node::heap_bytes).sum::<usize>()
    }

    /// Panics unless every count is the sum of what it counts.
    pub fn assert_invariants(&self) {
        assert_eq!(self.elements, self.segments.iter().map(|segment| segment.count).sum::<usize>());
        assert_eq!(self.nodes, self.segments.iter().map(|segment| segment.nodes.len()).sum::<usize>());
        for Segment { count, nodes } in &self.segments {
            assert!((1..=SEGMENT_NODES_MAX).contains(&nodes.len()), "{} nodes in a segment", nodes.len());
            assert_eq!(*count, nodes.iter().map(Node::count).sum::<usize>());
            for node in nodes {
                assert!(node.count() > 0, "an empty node");
                assert_eq!(node.count(), node.as_packed().map_or(1, Listpack::len));
            }
        }
    }
}

/// Which of the runs of these lengths, `total` together, holds item number `index`, and the item's number
/// within it. Walks from the nearer end.
fn find_run(
    runs: impl DoubleEndedIterator<Item = usize> + ExactSizeIterator,
    total: usize,
    index: usize,
) -> Option<(usize, usize)> {
    if index >= total {
        return None;
    }
    if index < total / 2 {
        let mut before = 0;
        for (which, run) in runs.enumerate() {
            if index < before + run {
                return Some((which, index - before));
            }
            before += run;
        }
        return None;
    }
    let mut end = total;
    for (which, run) in runs.enumerate().rev() {
        end -= run;
        if index >= end {
            return Some((which, index - end));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn node(count: usize) -> Node {
        Node::packed((0..count).map(|i| i.to_string()).collect())
    }

    proptest! {
        /// Insertions, removals and lookups by number agree with a flat vector of node sizes, over enough
        /// nodes for several segments.
        #[test]
        fn nodes_equal_a_flat_vector(ops in vec((any::<prop::sample::Index>(), 0..8u8, 1..4usize), 0..60), filled in 0..900usize) {
            let mut nodes = Nodes::default();
            let mut model: Vec<usize> = (0..filled).map(|i| 1 + i % 3).collect();
            model.iter().for_each(|&count| nodes.push_back(node(count)));
            for (index, op, count) in ops {
                let elements: usize = model.iter().sum();
                let at = index.index(elements.max(1));
                let flat = flat_locate(&model, at);
                let located = nodes.locate(at);
                prop_assert_eq!(located.map(|(_, offset)| offset), flat.map(|(_, offset)| offset));
                match (op, located, flat) {
                    (0, ..) => { nodes.push_front(node(count)); model.insert(0, count); }
                    (1, ..) => { nodes.push_back(node(count)); model.push(count); }
                    (2 | 3, Some((place, _)), Some((i, _))) => {
                        let place = nodes.insert(place, node(count));
                        model.insert(i, count);
                        prop_assert_eq!(nodes.get(place).map(Node::count), Some(count));
                    }
                    (4 | 5, Some((place, _)), Some((i, _))) => {
                        let (removed, next) = nodes.remove(place);
                        prop_assert_eq!(removed.count(), model.remove(i));
                        prop_assert_eq!(next.and_then(|p| nodes.get(p)).map(Node::count), model.get(i).copied());
                    }
                    (6, Some((place, _)), Some((i, _))) => {
                        let many = count * 150;
                        nodes.remove_elements(Some(place), many);
                        flat_remove(&mut model, i, many);
                    }
                    _ => {}
                }
                nodes.assert_invariants();
                prop_assert_eq!(nodes.len(), model.len());
            }
            prop_assert!(nodes.iter().map(Node::count).eq(model.iter().copied()));
            let mut back = std::iter::successors(nodes.last(), |&p| nodes.prev(p));
            prop_assert!(model.iter().rev().all(|&count| back.next().and_then(|p| nodes.get(p)).map(Node::count) == Some(count)));
        }
    }

    fn flat_locate(model: &[usize], index: usize) -> Option<(usize, usize)> {
        let mut before = 0;
        for (i, &count) in model.iter().enumerate() {
            if index < before + count {
                return Some((i, index - before));
            }
            before += count;
        }
        None
    }

    fn flat_remove(model: &mut Vec<usize>, at: usize, mut count: usize) {
        while at < model.len() && count > 0 {
            let taken = model[at].min(count);
            count -= taken;
            model[at] -= taken;
            if model[at] == 0 {
                model.remove(at);
            }
        }
    }
}
