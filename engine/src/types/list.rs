//! List: a sequence of elements with fast ends, as LPUSH and its kin need it.
//!
//! | encoding    | when                                          | layout                                     |
//! |-------------|-----------------------------------------------|--------------------------------------------|
//! | `listpack`  | within the limit of one node                  | one [`Listpack`]                           |
//! | `quicklist` | beyond, until down to half of the limit again | nodes: a listpack or one large element each |
//!
//! Invariants:
//! - A list that was emptied is a `listpack` again.
//! - The limit is not part of the list: it is a setting, and every call that may change the encoding is handed
//!   the one that holds now. A changed setting concerns nodes when they next change, as in Redis.

mod nodes;
mod quicklist;

use super::listpack::{IntText, LISTPACK_BYTES_MAX, Listpack, LpEntry, LpValue, Needle};
use nodes::{Content, Entries, Node, Nodes, Place, remove_matching};
use quicklist::Quicklist;

/// Nodes limited by number of entries are also limited to this many bytes.
const COUNTED_NODE_BYTES_MAX: usize = 8192;

/// How much one node may hold: the setting `list-max-listpack-size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeLimit {
    rule: Rule,
    /// Elements of so many bytes or more get a node of their own.
    large_from: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Bytes(usize),
    Entries(usize),
}

impl Default for NodeLimit {
    /// The default of Redis: 8 KB.
    fn default() -> Self {
        Self::new(-2)
    }
}

impl NodeLimit {
    /// Reads the setting: a positive number is the number of entries (0 counts as 1), -1 to -5 stand for 4, 8,
    /// 16, 32 and 64 KB; what is below counts as -5.
    pub fn new(list_max_listpack_size: i64) -> Self {
        let rule = match list_max_listpack_size {
            0 => Rule::Entries(1),
            -1 => Rule::Bytes(4 << 10),
            -2 => Rule::Bytes(8 << 10),
            -3 => Rule::Bytes(16 << 10),
            -4 => Rule::Bytes(32 << 10),
            size => usize::try_from(size).map_or(Rule::Bytes(64 << 10), Rule::Entries),
        };
        let large_from = match rule {
            Rule::Bytes(bytes) => bytes + 1,
            Rule::Entries(_) => COUNTED_NODE_BYTES_MAX + 1,
        };
        NodeLimit { rule, large_from }
    }

    /// The same limit, but elements of `bytes` bytes or more are large. For tests: DEBUG
    /// QUICKLIST-PACKED-THRESHOLD. Elements of half of what a listpack can hold are large in any case.
    #[must_use]
    pub fn with_large_from(self, bytes: usize) -> Self {
        NodeLimit { large_from: bytes.min(LISTPACK_BYTES_MAX / 2), ..self }
    }

    fn is_large(self, element_bytes: usize) -> bool {
        element_bytes >= self.large_from
    }

    fn is_exceeded(self, bytes: usize, entries: usize) -> bool {
        match self.rule {
            Rule::Bytes(max) => bytes > max,
            Rule::Entries(max) => bytes > COUNTED_NODE_BYTES_MAX || entries > max,
        }
    }

    /// Whether a quicklist of one node that holds so much should be a listpack. While shrinking only from half
    /// of the limit on, so that a list at the limit is not converted back and forth.
    fn suits_listpack(self, bytes: usize, entries: usize, shrinking: bool) -> bool {
        let part = if shrinking { 2 } else { 1 };
        match self.rule {
            Rule::Bytes(max) => bytes <= max / part,
            Rule::Entries(max) => entries <= max / part,
        }
    }
}

/// On which side of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Towards the head.
    Before,
    /// Towards the tail.
    After,
}

/// One end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The first element, number 0.
    Head,
    /// The last element, number -1.
    Tail,
}

/// One node of a list, as snapshots hold it.
#[derive(Debug, Clone, Copy)]
pub enum ListNode<'a> {
    /// Elements in a listpack.
    Packed(&'a Listpack),
    /// One large element.
    Plain(&'a [u8]),
}

/// A sequence of elements with fast ends; see the module.
#[derive(Debug, Clone)]
pub struct List {
    repr: Repr,
}

#[derive(Debug, Clone)]
enum Repr {
    Listpack(Listpack),
    Quicklist(Box<Quicklist>),
}

impl Default for List {
    fn default() -> Self {
        Self::new()
    }
}

impl List {
    /// A list without elements.
    pub fn new() -> Self {
        Self::from_listpack(Listpack::new())
    }

    /// A list of the entries of a listpack. Call [`List::settle`] when the list is complete.
    pub fn from_listpack(lp: Listpack) -> Self {
        List { repr: Repr::Listpack(lp) }
    }

    /// Number of elements. O(1).
    #[inline]
    pub fn len(&self) -> usize {
        match &self.repr {
            Repr::Listpack(lp) => lp.len(),
            Repr::Quicklist(list) => list.nodes().elements(),
        }
    }

    /// Whether there are no elements.
    #[inline]
    pub fn is_empty(&self) -> bool {
        match &self.repr {
            Repr::Listpack(lp) => lp.is_empty(),
            Repr::Quicklist(list) => list.nodes().len() == 0,
        }
    }

    /// Whether the list is one listpack.
    pub fn is_listpack(&self) -> bool {
        matches!(self.repr, Repr::Listpack(_))
    }

    /// What OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match self.repr {
            Repr::Listpack(_) => "listpack",
            Repr::Quicklist(_) => "quicklist",
        }
    }

    /// Puts an element before all others. O(bytes of one node) at worst.
    pub fn push_front(&mut self, element: &[u8], limit: NodeLimit) {
        self.make_room(element.len(), 1, limit);
        self.push_front_as_is(element, limit);
    }

    /// Puts an element after all others. O(1).
    pub fn push_back(&mut self, element: &[u8], limit: NodeLimit) {
        self.make_room(element.len(), 1, limit);
        self.push_back_as_is(element, limit);
    }

    /// Puts the elements before all others, one after the other, so that the last one becomes the first.
    ///
    /// Unlike as many single pushes this decides on the encoding once for all of them, as LPUSH does.
    pub fn extend_front<'a>(&mut self, elements: impl Iterator<Item = &'a [u8]> + Clone, limit: NodeLimit) {
        self.make_room_for_all(elements.clone(), limit);
        elements.for_each(|element| self.push_front_as_is(element, limit));
    }

    /// Puts the elements after all others; decides on the encoding once for all of them, as RPUSH does.
    pub fn extend_back<'a>(&mut self, elements: impl Iterator<Item = &'a [u8]> + Clone, limit: NodeLimit) {
        self.make_room_for_all(elements.clone(), limit);
        elements.for_each(|element| self.push_back_as_is(element, limit));
    }

    /// The first element.
    #[inline]
    pub fn front(&self) -> Option<LpEntry<'_>> {
        match &self.repr {
            Repr::Listpack(lp) => lp.front(),
            Repr::Quicklist(list) => list.front(),
        }
    }

    /// The last element.
    #[inline]
    pub fn back(&self) -> Option<LpEntry<'_>> {
        match &self.repr {
            Repr::Listpack(lp) => lp.back(),
            Repr::Quicklist(list) => list.back(),
        }
    }

    /// Takes out the first element. O(bytes of one node) at worst.
    pub fn pop_front(&mut self, limit: NodeLimit) -> Option<LpValue> {
        let value = match &mut self.repr {
            Repr::Listpack(lp) => lp.pop_front(),
            Repr::Quicklist(list) => list.pop_front(),
        };
        self.has_shrunk(limit);
        value
    }

    /// Takes out the last element. O(1).
    pub fn pop_back(&mut self, limit: NodeLimit) -> Option<LpValue> {
        let value = match &mut self.repr {
            Repr::Listpack(lp) => lp.pop_back(),
            Repr::Quicklist(list) => list.pop_back(),
        };
        self.has_shrunk(limit);
        value
    }

    /// The element at one end.
    #[inline]
    pub fn end(&self, end: End) -> Option<LpEntry<'_>> {
        match end {
            End::Head => self.front(),
            End::Tail => self.back(),
        }
    }

    /// Puts the elements at one end, one after the other: [`extend_front`](Self::extend_front) or
    /// [`extend_back`](Self::extend_back).
    pub fn extend<'a>(
        &mut self,
        end: End,
        elements: impl Iterator<Item = &'a [u8]> + Clone,
        limit: NodeLimit,
    ) {
        match end {
            End::Head => self.extend_front(elements, limit),
            End::Tail => self.extend_back(elements, limit),
        }
    }

    /// Removes the element at one end, which was read with [`end`](Self::end) before: a pop that allocates
    /// nothing. False if there is none.
    pub fn discard(&mut self, end: End, limit: NodeLimit) -> bool {
        let found = self.discard_as_is(end);
        self.has_shrunk(limit);
        found
    }

    /// Takes the element at one end out and puts it at an end again, for LMOVE within one list. As in Redis the
    /// list is not taken for smaller in between, which could change its encoding. Returns the element.
    pub fn rotate(&mut self, from: End, to: End, limit: NodeLimit) -> Option<LpValue> {
        let value = self.end(from)?.to_value();
        self.discard_as_is(from);
        let mut text = IntText::default();
        self.extend(to, std::iter::once(value.as_entry().as_slice(&mut text)), limit);
        self.has_shrunk(limit);
        Some(value)
    }

    /// Element number `index`, counted from the end if negative. O(nodes / 256) and one node.
    pub fn get(&self, index: i64) -> Option<LpEntry<'_>> {
        let index = self.resolve(index)?;
        match &self.repr {
            Repr::Listpack(lp) => lp.seek(isize::try_from(index).ok()?).map(|pos| lp.get(pos)),
            Repr::Quicklist(list) => list.get(index),
        }
    }

    /// Replaces element number `index`, counted from the end if negative; false if there is none.
    ///
    /// As in Redis, room is made for the element first, even if then there is no such index.
    pub fn set(&mut self, index: i64, element: &[u8], limit: NodeLimit) -> bool {
        if self.is_empty() {
            return false;
        }
        self.make_room(element.len(), 1, limit);
        let Some(index) = self.resolve(index) else {
            return false;
        };
        let found = match &mut self.repr {
            Repr::Listpack(lp) => {
                let pos = isize::try_from(index).ok().and_then(|index| lp.seek(index));
                pos.map(|pos| lp.replace(pos, element)).is_some()
            }
            Repr::Quicklist(list) => list.set(index, element, limit),
        };
        self.has_shrunk(limit);
        found
    }

    /// Inserts `element` next to the first one equal to `pivot`; false if there is none. O(n).
    ///
    /// As in Redis, room is made for the element first, even if then there is no pivot.
    pub fn insert(&mut self, side: Side, pivot: &[u8], element: &[u8], limit: NodeLimit) -> bool {
        if self.is_empty() {
            return false;
        }
        self.make_room(element.len(), 1, limit);
        match &mut self.repr {
            Repr::Listpack(lp) => {
                let Some(pos) = lp.find(pivot, 0) else {
                    return false;
                };
                match side {
                    Side::Before => lp.insert_before(pos, element),
                    Side::After => lp.insert_after(pos, element),
                };
                true
            }
            Repr::Quicklist(list) => list.insert_at_pivot(side == Side::After, pivot, element, limit),
        }
    }

    /// Removes elements equal to `value`: the first `count`, the last `-count` if negative, all if 0.
    /// Returns how many. O(n).
    pub fn remove_value(&mut self, count: i64, value: &[u8], limit: NodeLimit) -> usize {
        let max = match usize::try_from(count.unsigned_abs()) {
            Ok(0) | Err(_) => usize::MAX,
            Ok(max) => max,
        };
        let needle = Needle::new(value);
        let removed = match &mut self.repr {
            Repr::Listpack(lp) => remove_matching(lp, &needle, max, count < 0),
            Repr::Quicklist(list) => list.remove_matching(&needle, max, count < 0),
        };
        if removed > 0 {
            self.has_shrunk(limit);
        }
        removed
    }

    /// Keeps only the elements from number `start` to number `stop` inclusive, counted from the end if
    /// negative. Returns how many went. O(elements removed).
    pub fn trim(&mut self, start: i64, stop: i64, limit: NodeLimit) -> usize {
        let (len, kept) = (self.len(), self.span(start, stop));
        self.remove_as_is(kept.end, len - kept.end);
        self.remove_as_is(0, kept.start);
        self.has_shrunk(limit);
        len - kept.len()
    }

    /// Removes `count` elements from number `start` on, as far as there are so many. Returns how many went.
    pub fn remove_range(&mut self, start: usize, count: usize, limit: NodeLimit) -> usize {
        let count = count.min(self.len().saturating_sub(start));
        self.remove_as_is(start, count);
        self.has_shrunk(limit);
        count
    }

    /// The elements that "from `start` to `stop` inclusive" means, with negative numbers counted from the end and
    /// both cut to what is there. An empty span is `0..0`.
    pub fn span(&self, start: i64, stop: i64) -> std::ops::Range<usize> {
        let len = self.len();
        let from_end = |index: i64| match usize::try_from(index) {
            Ok(index) => Some(index),
            Err(_) => len.checked_sub(usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX)),
        };
        let start = from_end(start).unwrap_or(0);
        match from_end(stop) {
            Some(stop) if start <= stop && start < len => start..stop.min(len - 1) + 1,
            _ => 0..0,
        }
    }

    /// All elements from head to tail.
    pub fn iter(&self) -> ListRange<'_> {
        self.range(0, self.len())
    }

    /// Up to `count` elements from number `start` on, towards the tail.
    pub fn range(&self, start: usize, count: usize) -> ListRange<'_> {
        let left = count.min(self.len().saturating_sub(start));
        self.walk(start, left, false)
    }

    /// Up to `count` elements from number `start` on, towards the head.
    pub fn range_back(&self, start: usize, count: usize) -> ListRange<'_> {
        let left = if start < self.len() { count.min(start + 1) } else { 0 };
        self.walk(start, left, true)
    }

    /// The numbers of the elements equal to `value`, for LPOS: beginning with match number `rank` (1 is the
    /// first; negative: searching from the tail, -1 is the last), looking at no more than `max_len` elements (0: at
    /// all). A rank of 0 counts as 1. The search goes only as far as the iterator is driven.
    pub fn positions<'a>(
        &'a self,
        value: &'a [u8],
        rank: i64,
        max_len: usize,
    ) -> impl Iterator<Item = usize> + 'a {
        let len = self.len();
        let looked_at = if max_len == 0 { len } else { max_len };
        let entries = match (rank < 0, len.checked_sub(1)) {
            (true, Some(last)) => self.range_back(last, looked_at),
            _ => self.range(0, looked_at),
        };
        let needle = Needle::new(value);
        let skipped = usize::try_from(rank.unsigned_abs().saturating_sub(1)).unwrap_or(usize::MAX);
        let matches = entries.enumerate().filter(move |(_, entry)| needle.matches(entry)).skip(skipped);
        matches.map(move |(at, _)| if rank < 0 { len - 1 - at } else { at })
    }

    /// Number of nodes; a listpack is one.
    pub fn node_count(&self) -> usize {
        match &self.repr {
            Repr::Listpack(_) => 1,
            Repr::Quicklist(list) => list.nodes().len(),
        }
    }

    /// The nodes in order, as a snapshot writes them.
    pub fn nodes(&self) -> impl Iterator<Item = ListNode<'_>> {
        let (single, many) = match &self.repr {
            Repr::Listpack(lp) => (Some(ListNode::Packed(lp)), None),
            Repr::Quicklist(list) => (None, Some(list.nodes().iter())),
        };
        let many = many.into_iter().flatten().map(|node| match node.content() {
            Content::Packed(lp) => ListNode::Packed(lp),
            Content::Plain(element) => ListNode::Plain(element),
        });
        single.into_iter().chain(many)
    }

    /// Appends the elements of a listpack, as a node of their own if there are others already. For loading;
    /// call [`List::settle`] when the list is complete.
    pub fn append_packed(&mut self, lp: Listpack) {
        match &mut self.repr {
            Repr::Listpack(own) if own.is_empty() => *own = lp,
            _ => self.make_quicklist().append_packed(lp),
        }
    }

    /// Appends an element in a node of its own. For loading; call [`List::settle`] when the list is complete.
    pub fn append_plain(&mut self, element: Box<[u8]>) {
        self.make_quicklist().append_plain(element);
    }

    /// Chooses the encoding for a list that was built from nodes.
    pub fn settle(&mut self, limit: NodeLimit) {
        self.make_room(0, 0, limit);
        self.make_listpack_if(limit, false);
    }

    /// Bytes of heap that the list holds, without `size_of::<List>()`. O(nodes).
    pub fn memory_usage(&self) -> usize {
        match &self.repr {
            Repr::Listpack(lp) => lp.memory_usage(),
            Repr::Quicklist(list) => size_of::<Quicklist>() + list.nodes().heap_bytes(),
        }
    }

    /// Panics if the list contradicts itself. For tests and fuzzing. O(n).
    pub fn assert_invariants(&self) {
        if let Repr::Quicklist(list) = &self.repr {
            list.nodes().assert_invariants();
            assert!(!self.is_empty(), "an empty list is a listpack");
        }
        for node in self.nodes() {
            if let ListNode::Packed(lp) = node {
                assert!(Listpack::from_bytes_checked(lp.as_bytes()).is_ok());
            }
        }
        assert_eq!(self.iter().count(), self.len());
    }

    fn push_front_as_is(&mut self, element: &[u8], limit: NodeLimit) {
        match &mut self.repr {
            Repr::Listpack(lp) => lp.push_front(element),
            Repr::Quicklist(list) => list.push_front(element, limit),
        }
    }

    fn push_back_as_is(&mut self, element: &[u8], limit: NodeLimit) {
        match &mut self.repr {
            Repr::Listpack(lp) => lp.push_back(element),
            Repr::Quicklist(list) => list.push_back(element, limit),
        }
    }

    fn discard_as_is(&mut self, end: End) -> bool {
        match &mut self.repr {
            Repr::Listpack(lp) => {
                let pos = if end == End::Head { lp.first() } else { lp.last() };
                pos.map(|pos| lp.remove(pos)).is_some()
            }
            Repr::Quicklist(list) => list.discard(end),
        }
    }

    fn remove_as_is(&mut self, start: usize, count: usize) {
        match &mut self.repr {
            Repr::Listpack(lp) => {
                if let Ok(start) = isize::try_from(start) {
                    lp.remove_range(start, count);
                }
            }
            Repr::Quicklist(list) => list.remove_range(start, count),
        }
    }

    fn make_room_for_all<'a>(&mut self, elements: impl Iterator<Item = &'a [u8]>, limit: NodeLimit) {
        if self.is_listpack() {
            let (bytes, count) = elements.fold((0, 0), |(bytes, count), e| (bytes + e.len(), count + 1));
            self.make_room(bytes, count, limit);
        }
    }

    /// Turns a listpack into a quicklist if it were over the limit with `bytes` more in `count` more elements.
    fn make_room(&mut self, bytes: usize, count: usize, limit: NodeLimit) {
        if let Repr::Listpack(lp) = &self.repr
            && limit.is_exceeded(lp.bytes_len().saturating_add(bytes), lp.len() + count)
        {
            self.make_quicklist();
        }
    }

    fn make_quicklist(&mut self) -> &mut Quicklist {
        if let Repr::Listpack(lp) = &mut self.repr {
            let mut list = Quicklist::default();
            list.append_packed(std::mem::take(lp));
            self.repr = Repr::Quicklist(Box::new(list));
        }
        match &mut self.repr {
            Repr::Quicklist(list) => list,
            Repr::Listpack(_) => unreachable!("it was made a quicklist above"),
        }
    }

    fn has_shrunk(&mut self, limit: NodeLimit) {
        self.make_listpack_if(limit, true);
    }

    /// Turns a quicklist of one packed node into a listpack if the limit says so, and an empty one in any case.
    fn make_listpack_if(&mut self, limit: NodeLimit, shrinking: bool) {
        let Repr::Quicklist(list) = &mut self.repr else {
            return;
        };
        if list.nodes().len() == 0 {
            *self = List::new();
            return;
        }
        let suits =
            list.single_packed().is_some_and(|lp| limit.suits_listpack(lp.bytes_len(), lp.len(), shrinking));
        if suits && let Some(lp) = list.take_single_packed() {
            self.repr = Repr::Listpack(lp);
        }
    }

    fn resolve(&self, index: i64) -> Option<usize> {
        let len = self.len();
        let index = match usize::try_from(index) {
            Ok(index) => index,
            Err(_) => len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?,
        };
        (index < len).then_some(index)
    }

    /// `left` elements from number `start` on; the caller made sure that there are so many.
    fn walk(&self, start: usize, left: usize, backwards: bool) -> ListRange<'_> {
        let none = ListRange { current: Entries::Plain(None), rest: None, left: 0, backwards };
        if left == 0 {
            return none;
        }
        match &self.repr {
            Repr::Listpack(lp) => {
                let Some(pos) = isize::try_from(start).ok().and_then(|start| lp.seek(start)) else {
                    return none;
                };
                let entries = if backwards { lp.iter_through(pos) } else { lp.iter_from(pos) };
                ListRange { current: Entries::Packed(entries), rest: None, left, backwards }
            }
            Repr::Quicklist(list) => {
                let nodes = list.nodes();
                let located = nodes.locate(start);
                let Some((place, offset, node)) = located.and_then(|(p, o)| Some((p, o, nodes.get(p)?)))
                else {
                    return none;
                };
                let current =
                    if backwards { node.entries_through(offset) } else { node.entries_from(offset) };
                ListRange { current, rest: Some((nodes, place)), left, backwards }
            }
        }
    }
}

impl<'a> IntoIterator for &'a List {
    type Item = LpEntry<'a>;
    type IntoIter = ListRange<'a>;

    fn into_iter(self) -> ListRange<'a> {
        self.iter()
    }
}

/// Walks elements of a [`List`], borrowed, in one direction.
#[derive(Clone)]
pub struct ListRange<'a> {
    current: Entries<'a>,
    /// The nodes, and the place of the current one; none in a listpack.
    rest: Option<(&'a Nodes, Place)>,
    left: usize,
    backwards: bool,
}

impl<'a> ListRange<'a> {
    #[cold]
    fn enter_next_node(&mut self) -> Option<()> {
        let (nodes, place) = self.rest?;
        let place = if self.backwards { nodes.prev(place) } else { nodes.next(place) }?;
        self.current = nodes.get(place).map(Node::entries)?;
        self.rest = Some((nodes, place));
        Some(())
    }
}

impl<'a> Iterator for ListRange<'a> {
    type Item = LpEntry<'a>;

    #[inline]
    fn next(&mut self) -> Option<LpEntry<'a>> {
        if self.left == 0 {
            return None;
        }
        loop {
            if let Some(entry) = self.current.step(self.backwards) {
                self.left -= 1;
                return Some(entry);
            }
            self.enter_next_node()?;
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for ListRange<'_> {}
impl std::iter::FusedIterator for ListRange<'_> {}

#[cfg(test)]
mod tests;
