//! Some entries of a stream in one listpack, byte for byte as Redis lays them out.
//!
//! | part    | elements                                                                              |
//! |---------|---------------------------------------------------------------------------------------|
//! | master  | live entries, deleted entries, number of fields, the fields, 0                          |
//! | entry   | flags, ms and seq as differences to the node's base id, (number of fields,) the rest, length |
//!
//! The rest of an entry is its values when it has the fields of the master (flag 2), else fields and values in turn. The
//! length counts the elements of the entry before it, so that entries can be walked backwards; the 0 of the master ends
//! that walk. A deleted entry (flag 1) stays where it is until its node goes.
//!
//! Invariant: bytes from outside become a node only through [`Node::checked`], which looks at every element; the
//! functions that walk rely on it.

use super::id::StreamId;
use crate::types::listpack::{Corrupt, LISTPACK_BYTES_MAX, Listpack, LpEntry, LpIter, Pos};

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

/// Elements of an entry that has the fields of the master, besides its values and its length.
const FIXED: usize = 3;

/// A node. Its base id is kept by whoever keeps the node.
#[derive(Clone, Debug)]
pub(super) struct Node(Listpack);

/// An entry as it lies in a node.
#[derive(Clone, Debug)]
pub(super) struct Raw<'a> {
    pub(super) id: StreamId,
    pub(super) fields: Fields<'a>,
    flags: i64,
    /// Where the flags are.
    pos: Pos,
}

impl Raw<'_> {
    #[inline]
    pub(super) fn is_deleted(&self) -> bool {
        self.flags & DELETED != 0
    }
}

/// The fields of an entry with their values.
#[derive(Clone)]
pub struct Fields<'a> {
    /// Where the names are, unless they are among the values.
    names: Option<LpIter<'a>>,
    rest: LpIter<'a>,
    left: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (LpEntry<'a>, LpEntry<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let name = match &mut self.names {
            Some(names) => names.next(),
            None => self.rest.next(),
        };
        Some((name?, self.rest.next()?))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Fields<'_> {}

impl std::fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

impl Node {
    /// A node without entries whose master has the fields of `pairs`, with room for about `capacity` bytes.
    pub(super) fn for_fields(pairs: &[&[u8]], capacity: usize) -> Self {
        let mut pack = Listpack::with_capacity(capacity);
        pack.push_back_int(0);
        pack.push_back_int(0);
        pack.push_back_int((pairs.len() / 2) as i64);
        pairs.iter().step_by(2).for_each(|field| pack.push_back(field));
        pack.push_back_int(0);
        Self(pack)
    }

    /// An upper bound of what an entry adds to a node, or of a node with only this entry.
    pub(super) fn bytes_max(pairs: &[&[u8]]) -> usize {
        /// The most that an element takes besides its text, rounded up.
        const AROUND: usize = 16;
        let texts: usize = pairs.iter().map(|text| text.len() + AROUND).sum();
        // The fields may be there twice: in the master as well.
        let fields: usize = pairs.iter().step_by(2).map(|text| text.len() + AROUND).sum();
        texts.saturating_add(fields).saturating_add(16 * AROUND)
    }

    /// Takes over a node from outside, after a look at every element; `base` is the id its entries are relative to, and not
    /// above any of them. Also returns the id of its last entry, deleted or not.
    ///
    /// # Errors
    /// The elements are no entries in ascending order, or the counts of the master are wrong. The offset is
    /// that of the element.
    pub(super) fn checked(pack: Listpack, base: StreamId) -> Result<(Self, StreamId), Corrupt> {
        let node = Self(pack);
        let mut walk = Check { rest: node.0.iter(), seen: 0 };
        let (live, deleted) = (walk.count()?, walk.count()?);
        let fields = walk.count()?;
        walk.skip(fields)?;
        if walk.int()? != 0 {
            return Err(walk.corrupt("the end of the master entry"));
        }
        let (mut counted_live, mut counted_deleted, mut last) = (0u64, 0u64, None);
        while walk.rest.pos().is_some() {
            let before = walk.seen;
            let flags = walk.int()?;
            if flags & !(DELETED | SAME_FIELDS) != 0 {
                return Err(walk.corrupt("flags of an entry"));
            }
            let id = id_after(base, walk.int()?, walk.int()?);
            if id < base || last.is_some_and(|last| id <= last) {
                return Err(walk.corrupt("ids that ascend"));
            }
            last = Some(id);
            let values = if flags & SAME_FIELDS == 0 { walk.count()?.saturating_mul(2) } else { fields };
            walk.skip(values)?;
            let elements = walk.seen - before;
            if u64::try_from(walk.int()?) != Ok(elements) {
                return Err(walk.corrupt("the length of the entry"));
            }
            if flags & DELETED == 0 {
                counted_live += 1
            } else {
                counted_deleted += 1
            };
        }
        match last {
            Some(last) if counted_live == live && counted_deleted == deleted => Ok((node, last)),
            _ => Err(walk.corrupt("as many entries as the master says")),
        }
    }

    pub(super) fn pack(&self) -> &Listpack {
        &self.0
    }

    /// Entries that are there.
    #[inline]
    pub(super) fn live(&self) -> u64 {
        self.master(0).unsigned_abs()
    }

    /// Entries that were deleted and still take room.
    pub(super) fn deleted(&self) -> u64 {
        self.master(1).unsigned_abs()
    }

    fn master(&self, nth: usize) -> i64 {
        self.0.iter().nth(nth).and_then(|element| element.as_int()).unwrap_or_default()
    }

    pub(super) fn bytes_len(&self) -> usize {
        self.0.bytes_len()
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.0.shrink_to_fit();
    }

    /// Whether so many more bytes are sure to fit.
    pub(super) fn would_fit(&self, bytes: usize) -> bool {
        self.0.bytes_len().saturating_add(bytes) <= LISTPACK_BYTES_MAX
    }

    /// Appends an entry; `pairs` are its fields and values in turn. Its id comes after all others.
    pub(super) fn push(&mut self, base: StreamId, id: StreamId, pairs: &[&[u8]]) {
        let pack = &mut self.0;
        let mut master = pack.iter();
        let live = master.next().and_then(|n| n.as_int()).unwrap_or_default();
        let fields = master.nth(1).and_then(|n| n.as_int()).unwrap_or_default();
        let count = pairs.len() / 2;
        let same = fields == count as i64
            && pairs.iter().step_by(2).all(|field| master.next().is_some_and(|name| name.eq_bytes(field)));
        if let Some(first) = pack.first() {
            pack.replace_int(first, live + 1);
        }
        pack.push_back_int(if same { SAME_FIELDS } else { 0 });
        pack.push_back_int(id.ms.wrapping_sub(base.ms) as i64);
        pack.push_back_int(id.seq.wrapping_sub(base.seq) as i64);
        if same {
            pairs.iter().skip(1).step_by(2).for_each(|value| pack.push_back(value));
            pack.push_back_int((FIXED + count) as i64);
        } else {
            pack.push_back_int(count as i64);
            pairs.iter().for_each(|text| pack.push_back(text));
            pack.push_back_int((FIXED + 1 + 2 * count) as i64);
        }
    }

    /// Marks entries as deleted, and keeps the counts.
    pub(super) fn delete(&mut self, entries: &[Doomed]) {
        // The last first: flags that somebody wrote with more bytes than they need become shorter.
        for entry in entries.iter().rev() {
            self.0.replace_int(entry.pos, entry.flags | DELETED);
        }
        let count = entries.len() as i64;
        let (live, deleted) = (self.master(0), self.master(1));
        // The second first: a longer count would move what follows.
        if let Some(second) = self.0.first().and_then(|first| self.0.next(first)) {
            self.0.replace_int(second, deleted + count);
        }
        if let Some(first) = self.0.first() {
            self.0.replace_int(first, live - count);
        }
    }

    /// All entries from the first on, deleted ones too.
    #[inline]
    pub(super) fn entries(&self, base: StreamId) -> Entries<'_> {
        let mut rest = self.0.iter();
        let fields = rest.nth(2).and_then(|n| n.as_int()).map_or(0, |n| n as usize);
        let names = rest.clone();
        // The names, and the 0 behind them.
        rest.nth(fields);
        Entries { node: self, base, names, fields, rest }
    }

    /// All entries from the last on, deleted ones too.
    pub(super) fn entries_back(&self, base: StreamId) -> EntriesBack<'_> {
        EntriesBack { forward: self.entries(base), at: self.0.last() }
    }
}

/// An entry that is to be deleted. Valid until the node changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doomed {
    pos: Pos,
    flags: i64,
}

impl From<&Raw<'_>> for Doomed {
    fn from(entry: &Raw<'_>) -> Self {
        Self { pos: entry.pos, flags: entry.flags }
    }
}

#[inline]
fn id_after(base: StreamId, ms: i64, seq: i64) -> StreamId {
    StreamId::new(base.ms.wrapping_add(ms as u64), base.seq.wrapping_add(seq as u64))
}

/// Walks the entries of a node.
#[derive(Clone)]
pub(super) struct Entries<'a> {
    node: &'a Node,
    base: StreamId,
    names: LpIter<'a>,
    fields: usize,
    rest: LpIter<'a>,
}

impl<'a> Entries<'a> {
    /// The entry that begins where `rest` is; leaves `rest` behind it.
    #[inline]
    fn read(&self, rest: &mut LpIter<'a>) -> Option<Raw<'a>> {
        let pos = rest.pos()?;
        let mut int = || rest.next().and_then(|element| element.as_int());
        let flags = int()?;
        let id = id_after(self.base, int()?, int()?);
        let (names, left, elements) = if flags & SAME_FIELDS != 0 {
            (Some(self.names.clone()), self.fields, self.fields)
        } else {
            let left = int()? as usize;
            (None, left, 2 * left)
        };
        let fields = Fields { names, rest: rest.clone(), left };
        // Behind them is the length.
        rest.nth(elements);
        Some(Raw { id, fields, flags, pos })
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Raw<'a>;

    #[inline]
    fn next(&mut self) -> Option<Raw<'a>> {
        let mut rest = self.rest.clone();
        let entry = self.read(&mut rest);
        self.rest = rest;
        entry
    }
}

/// Walks the entries of a node from the last to the first.
#[derive(Clone)]
pub(super) struct EntriesBack<'a> {
    forward: Entries<'a>,
    /// The length of the next entry.
    at: Option<Pos>,
}

impl<'a> Iterator for EntriesBack<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        let pack = &self.forward.node.0;
        let mut at = self.at?;
        let elements = pack.get(at).as_int().filter(|elements| *elements > 0)?;
        for _ in 0..elements {
            at = pack.prev(at)?;
        }
        self.at = pack.prev(at);
        self.forward.read(&mut pack.iter_from(at))
    }
}

/// Looks at elements that nobody has vouched for.
struct Check<'a> {
    rest: LpIter<'a>,
    /// Elements so far.
    seen: u64,
}

impl Check<'_> {
    fn corrupt(&self, expected: &'static str) -> Corrupt {
        let offset = self.rest.pos().map_or(0, |pos| pos.offset());
        Corrupt { offset, expected }
    }

    fn int(&mut self) -> Result<i64, Corrupt> {
        let error = self.corrupt("a number");
        self.seen += 1;
        self.rest.next().and_then(|element| element.as_int()).ok_or(error)
    }

    fn count(&mut self) -> Result<u64, Corrupt> {
        let error = self.corrupt("a count");
        u64::try_from(self.int()?).map_err(|_| error)
    }

    fn skip(&mut self, elements: u64) -> Result<(), Corrupt> {
        for _ in 0..elements {
            let error = self.corrupt("another element");
            self.seen += 1;
            self.rest.next().ok_or(error)?;
        }
        Ok(())
    }
}
