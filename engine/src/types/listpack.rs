//! Listpack: a sequence of small strings and integers in one allocation, byte for byte as Redis lays it out,
//! so that it goes into a snapshot and comes out of one without being rewritten.
//!
//! | part    | bytes | meaning                                                          |
//! |---------|-------|------------------------------------------------------------------|
//! | total   | 4     | bytes of the whole listpack, little-endian                       |
//! | count   | 2     | number of entries, little-endian; 65535: too many, walk and count |
//! | entries |       | content, then the length of the content backwards ("back length") |
//! | end     | 1     | `0xff`                                                           |
//!
//! | first byte of the content | then                              | content                       |
//! |---------------------------|-----------------------------------|-------------------------------|
//! | `0nnnnnnn`                |                                   | integer 0 to 127              |
//! | `10nnnnnn`                | n bytes                           | string of up to 63 bytes      |
//! | `110nnnnn`                | 1 byte                            | 13-bit integer, high bits first |
//! | `1110nnnn`                | 1 byte of length, then the bytes  | string of up to 4095 bytes, length high bits first |
//! | `11110000`                | 4 bytes of length, then the bytes | string, length little-endian  |
//! | `11110001` to `11110100`  | 2, 3, 4 or 8 bytes                | integer, little-endian        |
//!
//! The back length counts the content in groups of 7 bits, the lowest group last. It is read from its last
//! byte towards the front; every byte but the first one in memory has its top bit set.
//!
//! Invariants:
//! - Bytes from outside become a `Listpack` only through [`Listpack::from_bytes_checked`], which walks every
//!   entry. All other code relies on that and trusts the lengths it reads.
//! - What is pushed as the text of an integer is stored as that integer, and its text is what comes back.

use crate::number::{i64_text_len, parse_i64};
use std::fmt;

const HEADER_BYTES: usize = 6;
const END: u8 = 0xff;
const COUNT_UNKNOWN: u16 = u16::MAX;
const STR_32: u8 = 0xf0;
const INT_16: u8 = 0xf1;
const INT_24: u8 = 0xf2;
const INT_32: u8 = 0xf3;
const INT_64: u8 = 0xf4;
/// The longest prefix of a content: a 64-bit integer is 9 bytes and has no body.
const HEAD_BYTES_MAX: usize = 9;
const BACKLEN_BYTES_MAX: usize = 5;
/// No content and back length together are shorter than this.
const ENTRY_BYTES_MIN: usize = 2;

/// No listpack may grow beyond this; Redis draws the same line.
pub const LISTPACK_BYTES_MAX: usize = 1 << 30;

/// Bytes that claim to be a compact encoding, and are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("corrupt at byte {offset}: expected {expected}")]
pub struct Corrupt {
    /// Where, counted from the first byte of the encoding.
    pub offset: usize,
    /// What should have been there.
    pub expected: &'static str,
}

/// The place of one entry in a [`Listpack`]. Any change of the listpack invalidates the positions taken
/// before it, other than the one that the change returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pos(usize);

impl Pos {
    /// Its distance from the first byte of the listpack.
    pub(super) fn offset(self) -> usize {
        self.0
    }
}

/// One entry, borrowed from its listpack.
///
/// Two entries are compared by [`LpEntry::same_bytes`], not `==`: `Int(5)` and `Str(b"5")` are the same to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LpEntry<'a> {
    /// Stored as an integer.
    Int(i64),
    /// Stored as bytes.
    Str(&'a [u8]),
}

/// Room for the text of an integer entry, see [`LpEntry::as_slice`].
pub type IntText = [u8; 20];

impl<'a> LpEntry<'a> {
    /// The text of the entry. An integer is written into `buf`; a string is returned as it lies in the listpack.
    #[inline]
    pub fn as_slice<'b>(&self, buf: &'b mut IntText) -> &'b [u8]
    where
        'a: 'b,
    {
        match *self {
            LpEntry::Str(s) => s,
            LpEntry::Int(v) => {
                let mut text = itoa::Buffer::new();
                let text = text.format(v).as_bytes();
                let buf = &mut buf[..text.len()];
                buf.copy_from_slice(text);
                buf
            }
        }
    }

    /// Whether the text of the entry is `bytes`. To compare one text with many entries, use a [`Needle`].
    #[inline]
    pub fn eq_bytes(&self, bytes: &[u8]) -> bool {
        match *self {
            LpEntry::Str(s) => s == bytes,
            LpEntry::Int(v) => parse_i64(bytes) == Some(v),
        }
    }

    /// Whether both entries have the same text.
    #[inline]
    pub fn same_bytes(&self, other: &LpEntry<'_>) -> bool {
        match (*self, *other) {
            (LpEntry::Int(a), LpEntry::Int(b)) => a == b,
            (entry, LpEntry::Str(s)) | (LpEntry::Str(s), entry) => entry.eq_bytes(s),
        }
    }

    /// The entry as an integer, if its text is one in canonical form.
    #[inline]
    pub fn as_int(&self) -> Option<i64> {
        match *self {
            LpEntry::Int(v) => Some(v),
            LpEntry::Str(s) => parse_i64(s),
        }
    }

    /// Length of the text in bytes.
    #[inline]
    pub fn text_len(&self) -> usize {
        match *self {
            LpEntry::Int(v) => i64_text_len(v),
            LpEntry::Str(s) => s.len(),
        }
    }

    /// The text in an allocation of its own.
    pub fn to_vec(&self) -> Vec<u8> {
        self.as_slice(&mut [0; 20]).to_vec()
    }

    /// The entry, detached from its listpack. Allocates only for a string.
    pub fn to_value(&self) -> LpValue {
        match *self {
            LpEntry::Int(v) => LpValue::Int(v),
            LpEntry::Str(s) => LpValue::Str(s.into()),
        }
    }
}

/// An entry that was taken out of its listpack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LpValue {
    /// It was stored as an integer.
    Int(i64),
    /// It was stored as bytes.
    Str(Box<[u8]>),
}

impl LpValue {
    /// The value as an entry, which can be compared and written out.
    #[inline]
    pub fn as_entry(&self) -> LpEntry<'_> {
        match self {
            LpValue::Int(v) => LpEntry::Int(*v),
            LpValue::Str(s) => LpEntry::Str(s),
        }
    }

    /// The text; allocates only for an integer.
    pub fn into_vec(self) -> Vec<u8> {
        match self {
            LpValue::Int(v) => LpEntry::Int(v).to_vec(),
            LpValue::Str(s) => s.into_vec(),
        }
    }
}

/// A text to be compared with many entries: whether it is an integer is found out once.
#[derive(Debug, Clone, Copy)]
pub struct Needle<'a> {
    bytes: &'a [u8],
    int: Option<i64>,
}

impl<'a> Needle<'a> {
    /// Prepares `bytes` for comparison.
    pub fn new(bytes: &'a [u8]) -> Self {
        Needle { bytes, int: parse_i64(bytes) }
    }

    /// Whether the text of `entry` is this one.
    #[inline]
    pub fn matches(&self, entry: &LpEntry<'_>) -> bool {
        match *entry {
            LpEntry::Int(v) => self.int == Some(v),
            LpEntry::Str(s) => s == self.bytes,
        }
    }
}

/// The first bytes of a content: all of it for an integer, the length prefix for a string.
struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    len: usize,
}

impl Head {
    fn new(first: u8, rest: &[u8]) -> Self {
        let mut bytes = [0; HEAD_BYTES_MAX];
        bytes[0] = first;
        bytes[1..=rest.len()].copy_from_slice(rest);
        Head { bytes, len: 1 + rest.len() }
    }

    fn of_int(v: i64) -> Self {
        let le = v.to_le_bytes();
        match v {
            0..=127 => Head::new(le[0], &[]),
            -4096..=4095 => Head::new(0xc0 | (le[1] & 0x1f), &le[..1]),
            -0x8000..=0x7fff => Head::new(INT_16, &le[..2]),
            -0x80_0000..=0x7f_ffff => Head::new(INT_24, &le[..3]),
            -0x8000_0000..=0x7fff_ffff => Head::new(INT_32, &le[..4]),
            _ => Head::new(INT_64, &le),
        }
    }

    fn of_str(len: usize) -> Self {
        match len {
            0..=63 => Head::new(0x80 | len as u8, &[]),
            64..=4095 => Head::new(0xe0 | (len >> 8) as u8, &[len as u8]),
            _ => Head::new(STR_32, &(len as u32).to_le_bytes()),
        }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// An entry about to be written: content and back length.
struct Encoded<'a> {
    head: Head,
    body: &'a [u8],
}

impl<'a> Encoded<'a> {
    #[inline]
    fn of_bytes(bytes: &'a [u8]) -> Self {
        match parse_i64(bytes) {
            Some(v) => Encoded { head: Head::of_int(v), body: &[] },
            None => Encoded { head: Head::of_str(bytes.len()), body: bytes },
        }
    }

    fn of_int(v: i64) -> Self {
        Encoded { head: Head::of_int(v), body: &[] }
    }

    fn content_len(&self) -> usize {
        self.head.len + self.body.len()
    }

    fn entry_len(&self) -> usize {
        let len = self.content_len();
        len + backlen_len(len)
    }

    /// Writes the entry into `out`, which is exactly `entry_len` long.
    fn write(&self, out: &mut [u8]) {
        let (head, rest) = out.split_at_mut(self.head.len);
        head.copy_from_slice(self.head.as_slice());
        let (body, backlen) = rest.split_at_mut(self.body.len());
        body.copy_from_slice(self.body);
        write_backlen(self.content_len(), backlen);
    }
}

/// How many bytes the back length of a content of `len` bytes takes. The limits of two bytes and more are
/// one less than they could be: so they are in Redis, and the bytes must agree.
#[inline]
const fn backlen_len(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => BACKLEN_BYTES_MAX,
    }
}

fn write_backlen(mut len: usize, out: &mut [u8]) {
    for byte in out.iter_mut().rev() {
        *byte = (len & 127) as u8 | 128;
        len >>= 7;
    }
    if let Some(first) = out.first_mut() {
        *first &= 127;
    }
}

/// The content length that ends just before `end`, and the bytes it takes itself.
#[inline]
fn read_backlen(bytes: &[u8], end: usize) -> Option<(usize, usize)> {
    let mut len = 0;
    for taken in 0..BACKLEN_BYTES_MAX {
        let byte = *bytes.get(end.checked_sub(taken + 1)?)?;
        len |= usize::from(byte & 127) << (7 * taken);
        if byte & 128 == 0 {
            return Some((len, taken + 1));
        }
    }
    None
}

fn int_le(bytes: &[u8]) -> i64 {
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let unused = 64 - 8 * bytes.len() as u32;
    (i64::from_le_bytes(wide) << unused) >> unused
}

/// Reads the content at the start of `bytes`: the entry and the length of its content.
/// `None` if there is no content, or not all of it.
#[inline]
fn decode(bytes: &[u8]) -> Option<(LpEntry<'_>, usize)> {
    let &first = bytes.first()?;
    let string = |head: usize, len: usize| {
        let end = head.checked_add(len)?;
        Some((LpEntry::Str(bytes.get(head..end)?), end))
    };
    let int = |len: usize| Some((LpEntry::Int(int_le(bytes.get(1..=len)?)), 1 + len));
    match first {
        0..=0x7f => Some((LpEntry::Int(i64::from(first)), 1)),
        0x80..=0xbf => string(1, usize::from(first & 0x3f)),
        0xc0..=0xdf => {
            let raw = i64::from(first & 0x1f) << 8 | i64::from(*bytes.get(1)?);
            Some((LpEntry::Int((raw << 51) >> 51), 2))
        }
        0xe0..=0xef => string(2, usize::from(first & 0x0f) << 8 | usize::from(*bytes.get(1)?)),
        STR_32 => {
            let len = bytes.get(1..5)?.try_into().ok()?;
            string(5, usize::try_from(u32::from_le_bytes(len)).ok()?)
        }
        INT_16 => int(2),
        INT_24 => int(3),
        INT_32 => int(4),
        INT_64 => int(8),
        0xf5..=0xff => None,
    }
}

/// The size that a general-purpose allocator (jemalloc's classes: four per doubling) gives out for `len`
/// bytes. Capacity up to there costs nothing, and growing by it is geometric for long listpacks.
pub(super) fn allocation_size(len: usize) -> usize {
    let step = match len {
        0..=128 => 16,
        _ => 1 << ((len - 1).ilog2() - 2),
    };
    len.next_multiple_of(step)
}

/// A sequence of strings and integers in one allocation; see the module for its layout.
///
/// Meant for small sequences: whatever is not at the end costs a move of all that follows.
#[derive(Clone, PartialEq, Eq)]
pub struct Listpack {
    bytes: Vec<u8>,
}

impl Listpack {
    /// Asks for its beginning.
    #[inline]
    pub fn prefetch(&self) {
        crate::prefetch::line(self.bytes.as_ptr());
        crate::prefetch::line(self.bytes.as_ptr().wrapping_add(64));
    }
}

impl Default for Listpack {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Listpack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl Listpack {
    /// A listpack without entries.
    pub fn new() -> Self {
        let mut bytes = Vec::with_capacity(16);
        bytes.extend_from_slice(&[HEADER_BYTES as u8 + 1, 0, 0, 0, 0, 0, END]);
        Listpack { bytes }
    }

    /// A listpack without entries, with room for `bytes` bytes in all.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut lp = Self::new();
        lp.reserve(bytes.saturating_sub(lp.bytes.len()));
        lp
    }

    /// Takes over bytes from outside, after validating all of them.
    ///
    /// # Errors
    /// [`Corrupt`] if the header disagrees with the bytes, or any entry does not decode to exactly what its
    /// back length says. Strings that could be integers are accepted: Redis accepts them too.
    pub fn from_bytes_checked(bytes: &[u8]) -> Result<Self, Corrupt> {
        validate(bytes)?;
        let mut owned = Vec::with_capacity(allocation_size(bytes.len()));
        owned.extend_from_slice(bytes);
        Ok(Listpack { bytes: owned })
    }

    /// As [`Listpack::from_bytes_checked`], without a copy.
    ///
    /// # Errors
    /// As there.
    pub fn from_vec_checked(bytes: Vec<u8>) -> Result<Self, Corrupt> {
        validate(&bytes)?;
        Ok(Listpack { bytes })
    }

    /// Number of entries. O(1) up to 65534 entries, O(n) above.
    #[inline]
    pub fn len(&self) -> usize {
        match self.header_count() {
            COUNT_UNKNOWN => self.iter().count(),
            count => usize::from(count),
        }
    }

    /// Whether there are no entries.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER_BYTES + 1
    }

    /// Length of the encoding in bytes, header and end included.
    #[inline]
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// The encoding, as it goes into a snapshot.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of heap that this listpack holds.
    pub fn memory_usage(&self) -> usize {
        self.bytes.capacity()
    }

    /// Gives back the capacity kept for growing.
    pub fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// Whether `add` more bytes (as of [`Listpack::entry_bytes`]) keep this below [`LISTPACK_BYTES_MAX`].
    #[inline]
    pub fn would_fit(&self, add: usize) -> bool {
        self.bytes.len().saturating_add(add) <= LISTPACK_BYTES_MAX
    }

    /// How many bytes `text` takes as an entry.
    pub fn entry_bytes(text: &[u8]) -> usize {
        Encoded::of_bytes(text).entry_len()
    }

    /// The entry at `pos`.
    #[inline]
    pub fn get(&self, pos: Pos) -> LpEntry<'_> {
        self.entry_at(pos.0).0
    }

    /// Position of the first entry.
    #[inline]
    pub fn first(&self) -> Option<Pos> {
        (!self.is_empty()).then_some(Pos(HEADER_BYTES))
    }

    /// Position of the last entry.
    #[inline]
    pub fn last(&self) -> Option<Pos> {
        self.before(self.end())
    }

    /// Position of the entry after `pos`.
    #[inline]
    pub fn next(&self, pos: Pos) -> Option<Pos> {
        let next = self.after(pos.0);
        (next < self.end()).then_some(Pos(next))
    }

    /// Position of the entry before `pos`.
    #[inline]
    pub fn prev(&self, pos: Pos) -> Option<Pos> {
        self.before(pos.0)
    }

    /// Position of the entry number `index`, counted from the end if negative (-1 is the last). O(n), from
    /// the nearer end where the count is known.
    pub fn seek(&self, index: isize) -> Option<Pos> {
        let backwards = |from_end: usize| self.iter_back_positions().nth(from_end);
        let forwards = |index: usize| self.positions().nth(index);
        if self.header_count() == COUNT_UNKNOWN {
            return match usize::try_from(index) {
                Ok(index) => forwards(index),
                Err(_) => backwards(index.unsigned_abs() - 1),
            };
        }
        let len = self.len();
        let index = match usize::try_from(index) {
            Ok(index) => index,
            Err(_) => len.checked_sub(index.unsigned_abs())?,
        };
        match len.checked_sub(index + 1)? {
            from_end if from_end < index => backwards(from_end),
            _ => forwards(index),
        }
    }

    /// The first entry.
    #[inline]
    pub fn front(&self) -> Option<LpEntry<'_>> {
        self.first().map(|pos| self.get(pos))
    }

    /// The last entry.
    #[inline]
    pub fn back(&self) -> Option<LpEntry<'_>> {
        self.last().map(|pos| self.get(pos))
    }

    /// All entries in order; the iterator also runs backwards.
    #[inline]
    pub fn iter(&self) -> LpIter<'_> {
        LpIter { lp: self, front: HEADER_BYTES, back: self.end() }
    }

    /// The entries from `pos` to the last.
    #[inline]
    pub fn iter_from(&self, pos: Pos) -> LpIter<'_> {
        LpIter { lp: self, front: pos.0, back: self.end() }
    }

    /// The entries from the first to `pos` inclusive, mostly to be walked backwards.
    #[inline]
    pub fn iter_through(&self, pos: Pos) -> LpIter<'_> {
        LpIter { lp: self, front: HEADER_BYTES, back: self.after(pos.0) }
    }

    /// The positions of all entries in order.
    pub fn positions(&self) -> impl Iterator<Item = Pos> + '_ {
        std::iter::successors(self.first(), |&pos| self.next(pos))
    }

    fn iter_back_positions(&self) -> impl Iterator<Item = Pos> + '_ {
        std::iter::successors(self.last(), |&pos| self.prev(pos))
    }

    /// The first entry that is `text`, of those at index 0, `skip + 1`, `2 * (skip + 1)` and so on: with a
    /// `skip` of 1 only the fields of field-value pairs are compared. O(n).
    pub fn find(&self, text: &[u8], skip: usize) -> Option<Pos> {
        self.find_from(self.first()?, text, skip)
    }

    /// As [`Listpack::find`], beginning with the entry at `pos`.
    pub fn find_from(&self, pos: Pos, text: &[u8], skip: usize) -> Option<Pos> {
        let needle = Needle::new(text);
        let end = self.end();
        let mut at = pos.0;
        while at < end {
            let (entry, len) = self.entry_at(at);
            if needle.matches(&entry) {
                return Some(Pos(at));
            }
            at += len + backlen_len(len);
            for _ in 0..skip {
                if at >= end {
                    return None;
                }
                at = self.after(at);
            }
        }
        None
    }

    /// Appends `text`.
    ///
    /// # Panics
    /// This and everything else that adds bytes: if the listpack would exceed [`LISTPACK_BYTES_MAX`]. Callers
    /// keep listpacks far smaller, or ask [`Listpack::would_fit`].
    #[inline]
    pub fn push_back(&mut self, text: &[u8]) {
        self.splice_one(self.end(), 0, &Encoded::of_bytes(text));
    }

    /// Appends an integer.
    #[inline]
    pub fn push_back_int(&mut self, value: i64) {
        self.splice_one(self.end(), 0, &Encoded::of_int(value));
    }

    /// Puts `text` before all others.
    pub fn push_front(&mut self, text: &[u8]) {
        self.splice_one(HEADER_BYTES, 0, &Encoded::of_bytes(text));
    }

    /// Puts an integer before all others.
    pub fn push_front_int(&mut self, value: i64) {
        self.splice_one(HEADER_BYTES, 0, &Encoded::of_int(value));
    }

    /// Inserts `text` before the entry at `pos`; returns the position of the new entry.
    pub fn insert_before(&mut self, pos: Pos, text: &[u8]) -> Pos {
        self.splice_one(pos.0, 0, &Encoded::of_bytes(text))
    }

    /// Inserts an integer before the entry at `pos`; returns the position of the new entry.
    pub fn insert_int_before(&mut self, pos: Pos, value: i64) -> Pos {
        self.splice_one(pos.0, 0, &Encoded::of_int(value))
    }

    /// Inserts `text` after the entry at `pos`; returns the position of the new entry.
    pub fn insert_after(&mut self, pos: Pos, text: &[u8]) -> Pos {
        self.splice_one(self.after(pos.0), 0, &Encoded::of_bytes(text))
    }

    /// Inserts an integer after the entry at `pos`; returns the position of the new entry.
    pub fn insert_int_after(&mut self, pos: Pos, value: i64) -> Pos {
        self.splice_one(self.after(pos.0), 0, &Encoded::of_int(value))
    }

    /// Replaces the entry at `pos`, which stays its position.
    pub fn replace(&mut self, pos: Pos, text: &[u8]) -> Pos {
        let old = self.after(pos.0) - pos.0;
        self.splice_one(pos.0, old, &Encoded::of_bytes(text))
    }

    /// Replaces the entry at `pos` by an integer.
    pub fn replace_int(&mut self, pos: Pos, value: i64) -> Pos {
        let old = self.after(pos.0) - pos.0;
        self.splice_one(pos.0, old, &Encoded::of_int(value))
    }

    /// Removes the entry at `pos`; returns the position of the one that followed it.
    pub fn remove(&mut self, pos: Pos) -> Option<Pos> {
        self.remove_at(pos, 1)
    }

    /// Removes up to `count` entries from `pos` on; returns the position of the one that followed them.
    pub fn remove_at(&mut self, pos: Pos, count: usize) -> Option<Pos> {
        let (mut to, mut removed) = (pos.0, 0);
        while removed < count && to < self.end() {
            to = self.after(to);
            removed += 1;
        }
        self.cut(pos.0, to, removed);
        (pos.0 < self.end()).then_some(pos)
    }

    /// Removes up to `count` entries from number `index` on (negative: counted from the end).
    pub fn remove_range(&mut self, index: isize, count: usize) {
        if let Some(pos) = self.seek(index) {
            self.remove_at(pos, count);
        }
    }

    /// Takes out the first entry.
    pub fn pop_front(&mut self) -> Option<LpValue> {
        let pos = self.first()?;
        let value = self.get(pos).to_value();
        self.remove(pos);
        Some(value)
    }

    /// Takes out the last entry.
    pub fn pop_back(&mut self) -> Option<LpValue> {
        let pos = self.last()?;
        let value = self.get(pos).to_value();
        self.remove(pos);
        Some(value)
    }

    /// Keeps the entries for which `keep` says so, in one pass; returns how many went. O(n).
    pub fn retain(&mut self, mut keep: impl FnMut(LpEntry<'_>) -> bool) -> usize {
        let (mut read, mut write, mut removed) = (HEADER_BYTES, HEADER_BYTES, 0);
        let end = self.end();
        while read < end {
            let next = self.after(read);
            if keep(self.entry_at(read).0) {
                if read != write {
                    self.bytes.copy_within(read..next, write);
                }
                write += next - read;
            } else {
                removed += 1;
            }
            read = next;
        }
        self.cut(write, end, removed);
        removed
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// Appends all entries of `other`.
    pub fn append(&mut self, other: &Listpack) {
        let entries = &other.bytes[HEADER_BYTES..other.end()];
        let count = self.len() + other.len();
        self.reserve(entries.len());
        self.bytes.truncate(self.end());
        self.bytes.extend_from_slice(entries);
        self.bytes.push(END);
        self.write_total();
        self.write_count(count);
    }

    /// Cuts the listpack in two at `pos`: `self` keeps what is before, the entries from `pos` on are returned.
    pub fn split_off(&mut self, pos: Pos) -> Listpack {
        let moved = self.iter_from(pos).count();
        let entries = &self.bytes[pos.0..self.end()];
        let mut tail = Listpack::with_capacity(HEADER_BYTES + 1 + entries.len());
        tail.bytes.truncate(HEADER_BYTES);
        tail.bytes.extend_from_slice(entries);
        tail.bytes.push(END);
        tail.write_total();
        tail.write_count(moved);
        self.cut(pos.0, self.end(), moved);
        tail
    }

    #[inline]
    fn end(&self) -> usize {
        self.bytes.len() - 1
    }

    #[inline]
    fn header_count(&self) -> u16 {
        u16::from_le_bytes([self.bytes[4], self.bytes[5]])
    }

    /// The entry at offset `at` and the length of its content.
    #[inline]
    fn entry_at(&self, at: usize) -> (LpEntry<'_>, usize) {
        let decoded = self.bytes.get(at..self.end()).and_then(decode);
        decoded.expect("a position of this listpack: its bytes were validated")
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        let (_, len) = self.entry_at(at);
        at + len + backlen_len(len)
    }

    #[inline]
    fn before(&self, at: usize) -> Option<Pos> {
        if at <= HEADER_BYTES {
            return None;
        }
        let (len, own) = read_backlen(&self.bytes, at)?;
        Some(Pos(at - own - len))
    }

    /// Replaces the `old` bytes at `at` (one entry, or none) by `new`.
    fn splice_one(&mut self, at: usize, old: usize, new: &Encoded<'_>) -> Pos {
        let len = new.entry_len();
        self.resize_gap(at, old, len);
        new.write(&mut self.bytes[at..at + len]);
        if old == 0 && self.header_count() != COUNT_UNKNOWN {
            self.write_count(usize::from(self.header_count()) + 1);
        }
        Pos(at)
    }

    /// Makes the `old` bytes at `at` `new` bytes long, with undefined content.
    fn resize_gap(&mut self, at: usize, old: usize, new: usize) {
        let len = self.bytes.len();
        if new > old {
            let grow = new - old;
            self.reserve(grow);
            self.bytes.resize(len + grow, END);
            self.bytes.copy_within(at + old..len, at + new);
        } else if new < old {
            self.bytes.copy_within(at + old.., at + new);
            self.bytes.truncate(len - (old - new));
            self.release();
        }
        self.write_total();
    }

    /// Removes the bytes `from..to`, which are `removed` entries.
    fn cut(&mut self, from: usize, to: usize, removed: usize) {
        if removed == 0 {
            return;
        }
        self.resize_gap(from, to - from, 0);
        match self.header_count() {
            // Recount as soon as it could fit again: at most one walk per crossing of the limit.
            COUNT_UNKNOWN if self.bytes.len() / ENTRY_BYTES_MIN < usize::from(COUNT_UNKNOWN) => {
                self.write_count(self.iter().count());
            }
            COUNT_UNKNOWN => {}
            count => self.write_count(usize::from(count) - removed),
        }
    }

    fn reserve(&mut self, add: usize) {
        assert!(self.would_fit(add), "a listpack cannot exceed {LISTPACK_BYTES_MAX} bytes");
        let len = self.bytes.len();
        if len + add > self.bytes.capacity() {
            self.bytes.reserve_exact(allocation_size(len + add) - len);
        }
    }

    fn release(&mut self) {
        let size = allocation_size(self.bytes.len());
        if size <= self.bytes.capacity() / 2 {
            self.bytes.shrink_to(size);
        }
    }

    fn write_total(&mut self) {
        let total = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&total.to_le_bytes());
    }

    fn write_count(&mut self, count: usize) {
        let count = u16::try_from(count).unwrap_or(COUNT_UNKNOWN);
        self.bytes[4..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
    }
}

fn validate(bytes: &[u8]) -> Result<(), Corrupt> {
    let corrupt = |offset, expected| Corrupt { offset, expected };
    let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(corrupt(bytes.len(), "a listpack header"));
    };
    let [t0, t1, t2, t3, c0, c1] = *header;
    if usize::try_from(u32::from_le_bytes([t0, t1, t2, t3])) != Ok(bytes.len()) {
        return Err(corrupt(0, "the length of the listpack"));
    }
    let end = bytes.len() - 1;
    if end < HEADER_BYTES || bytes[end] != END {
        return Err(corrupt(end, "the end of the listpack"));
    }
    let (mut at, mut count) = (HEADER_BYTES, 0usize);
    while at < end {
        let entries = &bytes[at..end];
        let (_, len) = decode(entries).ok_or(corrupt(at, "a listpack entry"))?;
        let own = backlen_len(len);
        let backlen =
            entries.get(len..len + own).ok_or(corrupt(at, "a listpack entry with its back length"))?;
        if read_backlen(backlen, own) != Some((len, own)) {
            return Err(corrupt(at + len, "the back length of the entry"));
        }
        at += len + own;
        count += 1;
    }
    let claimed = u16::from_le_bytes([c0, c1]);
    if claimed != COUNT_UNKNOWN && usize::from(claimed) != count {
        return Err(corrupt(4, "the number of entries"));
    }
    Ok(())
}

impl<'a> IntoIterator for &'a Listpack {
    type Item = LpEntry<'a>;
    type IntoIter = LpIter<'a>;

    fn into_iter(self) -> LpIter<'a> {
        self.iter()
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Listpack {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let mut lp = Listpack::new();
        for text in texts {
            lp.push_back(text.as_ref());
        }
        lp
    }
}

/// Walks the entries of a [`Listpack`] from either end.
#[derive(Clone)]
pub struct LpIter<'a> {
    lp: &'a Listpack,
    front: usize,
    back: usize,
}

impl LpIter<'_> {
    /// Position of the entry that `next` is about to return.
    pub fn pos(&self) -> Option<Pos> {
        (self.front < self.back).then_some(Pos(self.front))
    }
}

impl<'a> Iterator for LpIter<'a> {
    type Item = LpEntry<'a>;

    #[inline]
    fn next(&mut self) -> Option<LpEntry<'a>> {
        if self.front >= self.back {
            return None;
        }
        let (entry, len) = self.lp.entry_at(self.front);
        self.front += len + backlen_len(len);
        Some(entry)
    }
}

impl DoubleEndedIterator for LpIter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front >= self.back {
            return None;
        }
        let Pos(at) = self.lp.before(self.back)?;
        self.back = at;
        Some(self.lp.entry_at(at).0)
    }
}

impl std::iter::FusedIterator for LpIter<'_> {}

#[cfg(test)]
mod tests;
