//! The entries of a stream, in nodes by the id of their first entry.
//!
//! The last node, to which entries are appended, lies beside the tree of all others: a small stream is that node alone.
//!
//! Invariants: no node is without live entries; ids ascend within a node and from node to node, deleted entries included;
//! none is above the last id; the length is the sum over the nodes; the first id is that of the first live entry.

use super::id::StreamId;
use super::node::{Doomed, Entries, EntriesBack, Fields, Node, Raw};
use crate::types::listpack::{Corrupt, LISTPACK_BYTES_MAX, Listpack};
use std::collections::{BTreeMap, btree_map};

/// New nodes get room for so many bytes at most before they need it.
const ROOM_MAX: usize = 4096;
/// Where counts of entries end: commands take no larger ones.
pub(super) const COUNT_MAX: u64 = i64::MAX as u64;
/// About what a node takes besides its listpack.
const NODE_OVERHEAD: usize = 64;

/// How much a node may hold before the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLimits {
    /// Bytes; 0 means any.
    pub max_bytes: usize,
    /// Entries, deleted ones included; 0 means any.
    pub max_entries: usize,
}

/// What is known about all entries that ever were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// The id that the last entry got, or that was set.
    pub last_id: StreamId,
    /// The greatest id that was deleted by name.
    pub max_deleted_id: StreamId,
    /// How many entries were ever added.
    pub entries_added: u64,
}

/// An entry.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Its id.
    pub id: StreamId,
    /// Its fields with their values.
    pub fields: Fields<'a>,
}

/// The entries.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// All nodes but the last.
    pub(super) nodes: BTreeMap<StreamId, Node>,
    /// The last node with its base.
    pub(super) tail: Option<(StreamId, Node)>,
    pub(super) len: u64,
    pub(super) first_id: StreamId,
    books: Books,
}

impl Log {
    /// Number of entries.
    #[inline]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of nodes.
    pub fn node_count(&self) -> usize {
        self.nodes.len() + usize::from(self.tail.is_some())
    }

    /// What is known about all entries that ever were.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// The last id that was given out or set.
    #[inline]
    pub fn last_id(&self) -> StreamId {
        self.books.last_id
    }

    /// The id of the first entry; the least id when there is none.
    pub fn first_id(&self) -> StreamId {
        self.first_id
    }

    /// The id of the last entry.
    pub fn last_entry_id(&self) -> Option<StreamId> {
        self.range_back(StreamId::MIN, StreamId::MAX).next().map(|entry| entry.id)
    }

    /// The id of the first entry, deleted ones included.
    pub fn first_raw_id(&self) -> Option<StreamId> {
        let (base, node) = self.nodes_from(StreamId::MIN).next()?;
        node.entries(base).next().map(|entry| entry.id)
    }

    /// The least id that [`set_books`](Self::set_books) takes as the last one besides those that the books name: that of
    /// the last entry, deleted ones included.
    pub fn last_raw_id(&self) -> Option<StreamId> {
        let (base, node) = self.tail.as_ref()?;
        last_raw(*base, node)
    }

    /// Sets what is known. The last id must not be below that of an entry, nor the number added below the length.
    pub fn set_books(&mut self, books: Books) {
        debug_assert!(self.last_raw_id().is_none_or(|last| last <= books.last_id));
        self.books = books;
    }

    /// The bases of all nodes with their bytes, as they go into a snapshot.
    pub fn nodes(&self) -> impl Iterator<Item = (StreamId, &[u8])> {
        self.nodes_from(StreamId::MIN).map(|(base, node)| (base, node.pack().as_bytes()))
    }

    // ---- reading -------------------------------------------------------------------------------------------

    /// The entries from `start` to `end`, both included. O(log n) to begin.
    #[inline]
    pub fn range(&self, start: StreamId, end: StreamId) -> Range<'_> {
        Range { nodes: self.nodes_from(start), entries: None, start, end }
    }

    /// All entries.
    pub fn iter(&self) -> Range<'_> {
        self.range(StreamId::MIN, StreamId::MAX)
    }

    /// The entries from `end` back to `start`, both included. O(log n) to begin.
    pub fn range_back(&self, start: StreamId, end: StreamId) -> RangeBack<'_> {
        let tail = self.tail.as_ref().filter(|(base, _)| *base <= end);
        RangeBack { tail, nodes: self.nodes.range(..=end), entries: None, start, end }
    }

    /// The entry with this id.
    pub fn get(&self, id: StreamId) -> Option<Entry<'_>> {
        self.range(id, id).next()
    }

    /// The nodes from the one on in which `start` would be.
    fn nodes_from(&self, start: StreamId) -> NodesFrom<'_> {
        let tail = self.tail.as_ref();
        let first = match tail {
            // Whoever reads what has just come need not look into the tree.
            Some((base, _)) if *base <= start => *base,
            _ => self.nodes.range(..=start).next_back().map_or(StreamId::MIN, |(base, _)| *base),
        };
        NodesFrom { nodes: self.nodes.range(first..), tail }
    }

    /// Whether something may be missing from `start` on because it was deleted by name.
    pub fn has_gaps_from(&self, start: StreamId) -> bool {
        let deleted = self.books.max_deleted_id;
        self.len > 0 && deleted != StreamId::MIN && self.first_id <= deleted && start <= deleted
    }

    /// How many entries ever had an id up to this one, as far as that can be told.
    pub fn count_up_to(&self, id: StreamId) -> Option<u64> {
        let Books { last_id, max_deleted_id, entries_added } = self.books;
        if entries_added == 0 {
            return Some(0);
        }
        if id == last_id || self.len == 0 && id < last_id {
            return Some(entries_added);
        }
        if id > last_id || max_deleted_id != StreamId::MIN && max_deleted_id >= self.first_id {
            return None;
        }
        let before_first = entries_added.saturating_sub(self.len);
        match id.cmp(&self.first_id) {
            std::cmp::Ordering::Less => Some(before_first),
            std::cmp::Ordering::Equal => Some((before_first + 1).min(COUNT_MAX)),
            std::cmp::Ordering::Greater => None,
        }
    }

    // ---- changing ------------------------------------------------------------------------------------------

    /// Whether an entry of these fields and values can be kept at all.
    pub fn takes(pairs: &[&[u8]]) -> bool {
        Node::bytes_max(pairs) <= LISTPACK_BYTES_MAX
    }

    /// Appends an entry; `pairs` are its fields and values in turn, which [`takes`](Self::takes) accepts. Its id must be above
    /// the last one. O(fields).
    pub fn append(&mut self, id: StreamId, pairs: &[&[u8]], limits: NodeLimits) {
        debug_assert!(id > self.books.last_id, "ids ascend");
        let bytes_max = Node::bytes_max(pairs);
        let text: usize = pairs.iter().map(|text| text.len()).sum();
        match &mut self.tail {
            Some((base, node)) if !is_full(node, text, bytes_max, limits) => node.push(*base, id, pairs),
            _ => {
                let room = self.close_tail().unwrap_or(text + pairs.len() * 3).min(ROOM_MAX);
                let mut node = Node::for_fields(pairs, room);
                node.push(id, id, pairs);
                self.tail = Some((id, node));
            }
        }
        self.len += 1;
        self.books.entries_added = (self.books.entries_added + 1).min(COUNT_MAX);
        self.books.last_id = id;
        if self.len == 1 {
            self.first_id = id;
        }
    }

    /// Puts the last node among the others; the bytes that it takes.
    fn close_tail(&mut self) -> Option<usize> {
        let (base, mut node) = self.tail.take()?;
        node.shrink_to_fit();
        let bytes = node.bytes_len();
        self.nodes.insert(base, node);
        Some(bytes)
    }

    /// Deletes entries by name; how many there were. O(log n + entries of a node) each.
    pub fn delete(&mut self, ids: &[StreamId]) -> u64 {
        let (mut deleted, mut first_gone) = (0, false);
        for id in ids {
            if self.delete_one(*id) {
                deleted += 1;
                first_gone |= *id == self.first_id;
                self.books.max_deleted_id = self.books.max_deleted_id.max(*id);
            }
        }
        if first_gone || self.len == 0 {
            self.find_first_id();
        }
        deleted
    }

    fn delete_one(&mut self, id: StreamId) -> bool {
        let in_tail = self.tail.as_ref().is_some_and(|(base, _)| *base <= id);
        let found = if in_tail {
            self.tail.as_mut().map(|(base, node)| (*base, node))
        } else {
            self.nodes.range_mut(..=id).next_back().map(|(base, node)| (*base, node))
        };
        let Some((base, node)) = found else { return false };
        let mut entries = node.entries(base);
        let Some(doomed) = entries.find(|entry| entry.id == id && !entry.is_deleted()) else { return false };
        let doomed = Doomed::from(&doomed);
        self.len -= 1;
        if node.live() > 1 {
            node.delete(&[doomed]);
        } else {
            self.remove_node(base);
        }
        true
    }

    /// Removes a whole node.
    pub(super) fn remove_node(&mut self, base: StreamId) {
        if self.tail.as_ref().is_some_and(|(tail, _)| *tail == base) {
            self.tail = self.nodes.pop_last();
        } else {
            self.nodes.remove(&base);
        }
    }

    pub(super) fn find_first_id(&mut self) {
        self.first_id = self.iter().next().map_or(StreamId::MIN, |entry| entry.id);
    }

    // ---- from a snapshot -----------------------------------------------------------------------------------

    /// Adds a node from outside behind all others, after a look at every element.
    ///
    /// # Errors
    /// [`Corrupt`] if it is none, or does not come after the others.
    pub fn push_node(&mut self, base: StreamId, pack: Listpack) -> Result<(), Corrupt> {
        let (node, last) = Node::checked(pack, base)?;
        // Until the books are set, the last id is that of the last entry. No base is the least id: none has it.
        if base <= self.books.last_id {
            return Err(Corrupt { offset: 0, expected: "nodes in order" });
        }
        self.books.last_id = last;
        // A node whose entries are all deleted says nothing: Redis may leave one behind.
        if node.live() > 0 {
            self.len = self.len.saturating_add(node.live());
            if let Some((base, node)) = self.tail.replace((base, node)) {
                self.nodes.insert(base, node);
            }
        }
        Ok(())
    }

    /// After the last node: what is known about the stream besides. Without books they are made up as far as possible.
    ///
    /// # Errors
    /// They cannot be true.
    pub fn finish(&mut self, len: u64, last_id: StreamId, books: Option<Books>) -> Result<(), Corrupt> {
        let wrong = |expected| Corrupt { offset: 0, expected };
        if len != self.len {
            return Err(wrong("as many entries as the stream says"));
        }
        if last_id < self.books.last_id {
            return Err(wrong("a last id that is not below that of an entry"));
        }
        let made_up = Books { last_id, max_deleted_id: StreamId::MIN, entries_added: len };
        self.books = books.unwrap_or(made_up);
        self.books.entries_added = self.books.entries_added.min(COUNT_MAX);
        self.find_first_id();
        Ok(())
    }

    /// Bytes on the heap, estimated from `samples` nodes; 0 looks at all.
    pub fn memory_usage(&self, samples: usize) -> usize {
        let sizes =
            self.nodes_from(StreamId::MIN).map(|(_, node)| node.pack().memory_usage() + NODE_OVERHEAD);
        crate::types::walk::extrapolate(sizes, self.node_count(), samples)
    }

    /// Checks what every log promises of itself.
    #[cfg(any(test, feature = "testing"))]
    pub fn assert_invariants(&self) {
        let (mut len, mut last) = (0, None);
        for (base, node) in self.nodes_from(StreamId::MIN) {
            let (_, end) = Node::checked(node.pack().clone(), base).expect("a sound node");
            assert!(last.is_none_or(|last| last < base), "nodes ascend");
            assert!(node.live() > 0, "a node has live entries");
            (len, last) = (len + node.live(), Some(end));
        }
        assert_eq!(len, self.len);
        assert!(last.is_none_or(|last| last <= self.books.last_id));
        assert_eq!(self.first_id, self.iter().next().map_or(StreamId::MIN, |entry| entry.id));
        assert!(self.tail.is_some() || self.nodes.is_empty());
    }
}

/// Whether an entry of so many bytes begins a new node.
fn is_full(node: &Node, text: usize, bytes_max: usize, limits: NodeLimits) -> bool {
    let max_bytes = match limits.max_bytes {
        0 => LISTPACK_BYTES_MAX,
        max => max.min(LISTPACK_BYTES_MAX),
    };
    node.bytes_len() + text >= max_bytes
        || !node.would_fit(bytes_max)
        || limits.max_entries > 0 && node.live() + node.deleted() >= limits.max_entries as u64
}

/// The id of the last entry of a node, deleted ones included.
pub(super) fn last_raw(base: StreamId, node: &Node) -> Option<StreamId> {
    node.entries_back(base).next().map(|entry| entry.id)
}

/// Nodes in order.
#[derive(Clone, Debug)]
struct NodesFrom<'a> {
    nodes: btree_map::Range<'a, StreamId, Node>,
    tail: Option<&'a (StreamId, Node)>,
}

impl<'a> Iterator for NodesFrom<'a> {
    type Item = (StreamId, &'a Node);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.nodes.next() {
            Some((base, node)) => Some((*base, node)),
            None => self.tail.take().map(|(base, node)| (*base, node)),
        }
    }
}

fn live(raw: Raw<'_>) -> Option<Entry<'_>> {
    if raw.is_deleted() { None } else { Some(Entry { id: raw.id, fields: raw.fields }) }
}

/// Entries in order.
#[derive(Clone)]
pub struct Range<'a> {
    nodes: NodesFrom<'a>,
    entries: Option<Entries<'a>>,
    start: StreamId,
    end: StreamId,
}

impl<'a> Iterator for Range<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            while let Some(raw) = self.entries.as_mut().and_then(Iterator::next) {
                if raw.id > self.end {
                    return None;
                }
                if raw.id >= self.start
                    && let Some(entry) = live(raw)
                {
                    return Some(entry);
                }
            }
            let (base, node) = self.nodes.next().filter(|(base, _)| *base <= self.end)?;
            self.entries = Some(node.entries(base));
        }
    }
}

impl std::fmt::Debug for Range<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

/// Entries from the last to the first.
#[derive(Clone)]
pub struct RangeBack<'a> {
    tail: Option<&'a (StreamId, Node)>,
    nodes: btree_map::Range<'a, StreamId, Node>,
    entries: Option<EntriesBack<'a>>,
    start: StreamId,
    end: StreamId,
}

impl<'a> Iterator for RangeBack<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            while let Some(raw) = self.entries.as_mut().and_then(Iterator::next) {
                if raw.id < self.start {
                    return None;
                }
                if raw.id <= self.end
                    && let Some(entry) = live(raw)
                {
                    return Some(entry);
                }
            }
            let tail = self.tail.take().map(|(base, node)| (*base, node));
            let (base, node) = tail.or_else(|| self.nodes.next_back().map(|(base, node)| (*base, node)))?;
            self.entries = Some(node.entries_back(base));
        }
    }
}

impl std::fmt::Debug for RangeBack<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}
