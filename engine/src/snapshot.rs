//! The layout of a snapshot file: an RDB file that every Redis loads, with an index of its sections at the end.
//!
//! ```text
//! REDIS0010                                        header
//! AUX redis-ver, redis-bits, ctime, used-mem...    what Redis writes too
//! FUNCTION2...
//! SELECTDB RESIZEDB, per database                  hints for Redis
//! SELECTDB keys...                                 one section per slot and database, slots side by side
//! AUX baton-index    <index> <CRC32 of the index>
//! AUX baton-index-at <offset of the line above, 16 hexadecimal digits>
//! EOF CRC64
//! ```
//!
//! Redis and Valkey ignore AUX fields that they do not know, by contract. The last 42 bytes have a fixed shape, so the
//! index is found from the tail without reading the file. A large slot may have several sections. The index knows the
//! checksums of all parts, and that of all before it: a change of any byte shows, at the latest when its section is read.

use crate::keyspace::Counts;
use crate::keyspace::save::Section;
use crate::rdb::crc64::{self, Digest};
use crate::rdb::file::{Item, Reader};
use crate::rdb::{CHECKSUM, RdbError, Version, write};
use bincode::{Decode, Encode};
use std::ops::Range;

/// Key of the AUX field with the index.
const INDEX: &[u8] = b"baton-index";
/// Key of the AUX field that says where the index is.
const INDEX_AT: &[u8] = b"baton-index-at";
/// Bytes from the opcode of the last AUX field to the end of the file.
const TAIL: usize = 1 + 1 + INDEX_AT.len() + 1 + 16 + 1 + 8;
/// The form of the index that this module writes.
const INDEX_VERSION: u16 = 2;
/// Key of the AUX field that every snapshot written here has.
pub const WRITTEN_HERE: &str = "baton-ver";

/// Where a section is and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct IndexEntry {
    /// The slot by its number.
    pub slot: u16,
    /// The database.
    pub db: u32,
    /// Where its keys begin in the file.
    pub offset: u64,
    /// How many bytes they take.
    pub len: u64,
    /// CRC32 of those bytes.
    pub crc32: u32,
    /// Keys.
    pub keys: u64,
    /// Keys that expire, or have fields that do.
    pub volatile: u64,
    /// Keys that expire as a whole.
    pub expires: u64,
    /// Hashes with fields that expire.
    pub with_fields: u64,
}

impl IndexEntry {
    /// Where its keys are in the file.
    pub fn range(&self) -> Range<usize> {
        // Checked against the length of the file when the index is opened.
        self.offset as usize..(self.offset + self.len) as usize
    }

    /// How many keys there are, and what of them expires.
    pub fn counts(&self) -> Counts {
        Counts {
            keys: self.keys as usize,
            volatile: self.volatile as usize,
            expires: self.expires as usize,
            with_fields: self.with_fields as usize,
        }
    }
}

/// The sections of a snapshot file, in the order in which they stand there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Index {
    version: u16,
    /// Bytes before the first section, where AUX fields and functions are.
    pub head: u64,
    /// CRC32 of those bytes.
    head_crc32: u32,
    /// CRC64 of all bytes before the index: so the checksum at the end can be checked without reading the file.
    body_crc64: u64,
    /// The sections.
    pub sections: Vec<IndexEntry>,
}

/// What is known when a snapshot begins.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// The version of the file.
    pub version: Version,
    /// AUX fields, in order.
    pub aux: &'a [(&'a str, String)],
    /// Libraries of functions.
    pub functions: &'a [&'a [u8]],
    /// By database: keys, and keys that expire.
    pub sizes: &'a [(u64, u64)],
}

/// A section needs a newer version of the format than the file was begun in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a section in RDB version {} for a file in version {}", .section.number(), .file.number())]
pub struct TooNew {
    section: Version,
    file: Version,
}

/// Writes a snapshot: gives the bytes, in order, that make up the file.
#[derive(Debug)]
pub struct Writer {
    version: Version,
    crc: Digest,
    written: u64,
    index: Index,
}

impl Writer {
    /// Begins a file.
    pub fn begin(head: &Head<'_>, out: &mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(&write::header(head.version));
        for (key, value) in head.aux {
            write::aux(out, key.as_bytes(), value.as_bytes());
        }
        for library in head.functions {
            write::function(out, library, true);
        }
        for (db, (keys, expires)) in head.sizes.iter().enumerate().filter(|(_, (keys, _))| *keys > 0) {
            write::select_db(out, db as u64);
            write::resize_db(out, *keys, *expires);
        }
        let mut crc = Digest::new();
        crc.update(&out[start..]);
        let written = (out.len() - start) as u64;
        let index = Index {
            version: INDEX_VERSION,
            head: written,
            head_crc32: crc32fast::hash(&out[start..]),
            body_crc64: 0,
            sections: Vec::new(),
        };
        Self { version: head.version, crc, written, index }
    }

    /// Adds a section: what has to stand before its bytes goes to `before`; then its bytes are to be written.
    ///
    /// # Errors
    /// The section needs a newer version of the format than the file was begun in.
    pub fn section(&mut self, section: &Section, before: &mut Vec<u8>) -> Result<(), TooNew> {
        if section.version > self.version {
            return Err(TooNew { section: section.version, file: self.version });
        }
        let start = before.len();
        write::select_db(before, u64::from(section.db));
        self.crc.update(&before[start..]);
        self.crc.update(&section.bytes);
        let (offset, len) = (self.written + (before.len() - start) as u64, section.bytes.len() as u64);
        self.written = offset + len;
        self.index.sections.push(IndexEntry {
            slot: section.slot,
            db: section.db,
            offset,
            len,
            crc32: crc32fast::hash(&section.bytes),
            keys: section.counts.keys as u64,
            volatile: section.counts.volatile as u64,
            expires: section.counts.expires as u64,
            with_fields: section.counts.with_fields as u64,
        });
        Ok(())
    }

    /// Bytes of the file so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Keys of the file so far.
    pub fn keys(&self) -> u64 {
        self.index.sections.iter().map(|section| section.keys).sum()
    }

    /// Ends the file: index, end and checksum (none if not `checksum`, as `rdbchecksum no` says).
    pub fn finish(mut self, checksum: bool, out: &mut Vec<u8>) -> Index {
        let (start, index_at) = (out.len(), self.written);
        self.index.body_crc64 = self.crc.value();
        let mut index = bincode::encode_to_vec(&self.index, bincode::config::standard())
            .expect("an index is plain numbers in memory: encoding it cannot fail");
        let crc32 = crc32fast::hash(&index);
        index.extend_from_slice(&crc32.to_le_bytes());
        aux_raw(out, INDEX, &index);
        aux_raw(out, INDEX_AT, format!("{index_at:016x}").as_bytes());
        self.crc.update(&out[start..]);
        if checksum {
            write::end(out, self.crc.value());
        } else {
            out.push(write::END);
            out.extend_from_slice(&[0; 8]);
        }
        self.index
    }
}

impl Index {
    /// The index of a snapshot file. `None`: the file has none, as those of Redis and Valkey. Reads the tail and the index,
    /// not the sections.
    ///
    /// # Errors
    /// There is an index, but it cannot be right.
    pub fn open(file: &[u8]) -> Result<Option<Self>, RdbError> {
        let Some(tail_at) = file.len().checked_sub(TAIL) else { return Ok(None) };
        let Some(at) = index_at(&file[tail_at..]) else { return Ok(None) };
        let bad = |expected: &'static str| corrupt(at, expected);
        let field = usize::try_from(at).ok().and_then(|at| file.get(at..tail_at));
        let field = field.ok_or_else(|| corrupt(tail_at as u64, "an index inside of the file"))?;
        let value = parse_aux_raw(field, INDEX).ok_or_else(|| bad("the index, where the tail says it is"))?;
        let (index, crc32) = value.split_last_chunk::<4>().ok_or_else(|| bad("an index with a checksum"))?;
        if crc32fast::hash(index) != u32::from_le_bytes(*crc32) {
            return Err(bad("an index that fits its checksum"));
        }
        // Decoding allocates no more than the index itself could hold.
        let config = bincode::config::standard().with_limit::<{ 1 << 30 }>();
        let (index, used): (Self, usize) =
            bincode::decode_from_slice(index, config).map_err(|_| bad("an index that can be decoded"))?;
        if index.version != INDEX_VERSION || used != value.len() - 4 {
            return Err(bad("an index of a known form"));
        }
        index.check(at)?;
        let head = file.get(..index.head as usize).unwrap_or_default();
        if crc32fast::hash(head) != index.head_crc32 {
            return Err(corrupt(0, "a head that fits its checksum"));
        }
        let (rest, end) = field_to_end(file, at);
        let claimed = u64::from_le_bytes(end);
        if claimed != 0
            && claimed != crc64::combine(index.body_crc64, crc64::checksum(rest), rest.len() as u64)
        {
            return Err(corrupt((file.len() - end.len()) as u64, CHECKSUM));
        }
        Ok(Some(index))
    }

    /// Whether the file was written here, and so has to have an index, unless it was saved from a damaged one. Reads the
    /// AUX fields.
    pub fn is_due(file: &[u8]) -> bool {
        let (mut reader, mut at) = (Reader::new(), 0);
        while let Some(rest) = file.get(at..)
            && let Ok((item, used)) = reader.next(rest)
        {
            match item {
                Item::Header { .. } => {}
                Item::Aux { key, .. } if *key == *WRITTEN_HERE.as_bytes() => return true,
                Item::Aux { .. } => {}
                _ => return false,
            }
            at += used;
        }
        false
    }

    /// The sections follow each other, between the head and the index, belong to slots that there are, and claim no more
    /// keys than can be in them.
    fn check(&self, index_at: u64) -> Result<(), RdbError> {
        let mut end = self.head;
        for section in &self.sections {
            let next = section.offset.checked_add(section.len).filter(|next| *next <= index_at);
            let Some(next) = next.filter(|_| section.offset >= end) else {
                return Err(corrupt(section.offset, "sections that follow each other"));
            };
            if usize::from(section.slot) >= crate::slot::SLOTS {
                return Err(corrupt(section.offset, "a slot below 16384"));
            }
            // Type, length and value take a byte each at least. So what all sections claim can be added up.
            let most = section.len / 3;
            let parts = [section.volatile, section.expires, section.with_fields];
            if section.keys > most || parts.into_iter().any(|part| part > section.keys) {
                return Err(corrupt(section.offset, "no more keys than there is room for"));
            }
            end = next;
        }
        Ok(())
    }
}

/// What the checksum at the end covers from the index on, and that checksum.
fn field_to_end(file: &[u8], index_at: u64) -> (&[u8], [u8; 8]) {
    let rest = file.get(index_at as usize..).unwrap_or_default();
    rest.split_last_chunk::<8>().map_or((rest, [0; 8]), |(rest, end)| (rest, *end))
}

fn corrupt(offset: u64, expected: &'static str) -> RdbError {
    RdbError::Corrupt { offset: offset as usize, expected }
}

/// What the last bytes of a file say about where its index is.
fn index_at(tail: &[u8]) -> Option<u64> {
    let (field, end) = tail.split_at_checked(TAIL - 9)?;
    let digits = parse_aux_raw(field, INDEX_AT)?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 16)?;
    (end.first() == Some(&write::END)).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// An AUX field whose strings are kept as they are, so that the tail has a fixed shape. The key is shorter than 64
/// bytes, and so is the value if it is that of [`INDEX_AT`].
fn aux_raw(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.extend_from_slice(&[write::AUX, key.len() as u8]);
    out.extend_from_slice(key);
    match u8::try_from(value.len()) {
        Ok(len) if len < 64 => out.push(len),
        _ => {
            out.push(LEN_32);
            out.extend_from_slice(&(value.len() as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(value);
}

/// A length of 32 bits follows.
const LEN_32: u8 = 0x80;

/// The value of the AUX field that makes up all of `field`, if its key is this.
fn parse_aux_raw<'a>(field: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let rest = field.strip_prefix(&[write::AUX, key.len() as u8])?.strip_prefix(key)?;
    let (len, value) = match rest.split_first()? {
        (&LEN_32, rest) => {
            let (len, value) = rest.split_first_chunk::<4>()?;
            (u32::from_be_bytes(*len) as usize, value)
        }
        (&len, value) => (usize::from(len), value),
    };
    (value.len() == len).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(checksum: bool) -> Vec<u8> {
        let aux = [("redis-ver", "7.2.0".to_owned()), (WRITTEN_HERE, "1".to_owned())];
        let head = Head { version: Version::V10, aux: &aux, functions: &[b"a library"], sizes: &[(1, 0)] };
        let mut out = Vec::new();
        let mut writer = Writer::begin(&head, &mut out);
        let counts = Counts { keys: 1, ..Counts::default() };
        let bytes = b"\x00\x01k\x01v".to_vec();
        let section = Section { slot: 7, db: 0, version: Version::V10, bytes, counts };
        writer.section(&section, &mut out).expect("the version of the file");
        out.extend_from_slice(&section.bytes);
        writer.finish(checksum, &mut out);
        out
    }

    #[test]
    fn no_changed_bit_outside_of_sections_goes_unnoticed() {
        let whole = file(true);
        let index = Index::open(&whole).expect("whole").expect("an index");
        let section = index.sections[0].range();
        for at in (0..whole.len()).filter(|at| !section.contains(at)) {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                let opened = Index::open(&changed);
                // What stands between head and section only a reader without the index looks at.
                let is_between = at >= index.head as usize && at < section.start;
                assert!(is_between || !matches!(opened, Ok(Some(_))), "bit {bit} of byte {at}: {opened:?}");
            }
        }
        assert!(Index::open(&file(false)).expect("whole").is_some(), "without a checksum");
    }

    #[test]
    fn whose_file_it_is() {
        let whole = file(true);
        assert!(Index::is_due(&whole));
        assert!(Index::is_due(&whole[..whole.len() - 20]));
        for other in [&b"REDIS0010\xfa\x03abc\x01d\xfe\x00"[..], b"REDIS0010", b"nothing of the kind", b""] {
            assert!(!Index::is_due(other), "{other:?}");
        }
    }
}
