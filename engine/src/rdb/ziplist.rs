//! Ziplists: what lists, hashes and sorted sets were before listpacks (Redis before 7.0). Read only.
//!
//! | part    | bytes | meaning                                                                |
//! |---------|-------|------------------------------------------------------------------------|
//! | total   | 4     | bytes of the whole ziplist, little-endian                              |
//! | tail    | 4     | where the last entry begins, little-endian                             |
//! | count   | 2     | number of entries, little-endian; 65535: too many                      |
//! | entries |       | length of the entry before (1 byte, or 254 and 4 bytes), then content  |
//! | end     | 1     | `0xff`                                                                 |
//!
//! | first byte of the content      | then                           | content                          |
//! |--------------------------------|--------------------------------|----------------------------------|
//! | `00nnnnnn`                     | n bytes                        | string                           |
//! | `01nnnnnn`                     | 1 byte of length, then bytes   | string, length high bits first   |
//! | `10......`                     | 4 bytes of length, then bytes  | string, length big-endian        |
//! | `0xc0`, `0xd0`, `0xe0`         | 2, 4, 8 bytes                  | integer, little-endian           |
//! | `0xf0`, `0xfe`                 | 3 bytes, 1 byte                | integer, little-endian           |
//! | `0xf1` to `0xfd`               |                                | integer 0 to 12                  |

use crate::types::listpack::{Corrupt, LISTPACK_BYTES_MAX, Listpack, LpEntry};

const HEADER_BYTES: usize = 10;
const END: u8 = 0xff;
const LONG_BEFORE: u8 = 254;
const COUNT_UNKNOWN: u16 = u16::MAX;
/// No entry takes twice as much in a listpack.
const BYTES_MAX: usize = LISTPACK_BYTES_MAX / 2;

/// Calls `emit` with every entry of a ziplist, after checking everything about it. What was emitted before an error
/// is to be thrown away.
///
/// # Errors
/// [`Corrupt`] if the header disagrees with the bytes, or an entry does not decode or does not say truly how long the
/// one before it is.
pub(super) fn for_each<'a>(bytes: &'a [u8], mut emit: impl FnMut(LpEntry<'a>)) -> Result<(), Corrupt> {
    let corrupt = |offset, expected| Corrupt { offset, expected };
    let Some(([t0, t1, t2, t3, l0, l1, l2, l3, c0, c1], _)) = bytes.split_first_chunk::<HEADER_BYTES>()
    else {
        return Err(corrupt(bytes.len(), "a ziplist header"));
    };
    if usize::try_from(u32::from_le_bytes([*t0, *t1, *t2, *t3])) != Ok(bytes.len()) {
        return Err(corrupt(0, "the length of the ziplist"));
    }
    let end = bytes.len() - 1;
    if end < HEADER_BYTES || bytes[end] != END {
        return Err(corrupt(end, "the end of the ziplist"));
    }
    let (mut at, mut last, mut before, mut count) = (HEADER_BYTES, HEADER_BYTES, 0, 0usize);
    while at < end {
        let entry = decode(&bytes[at..end]).ok_or(corrupt(at, "a ziplist entry"))?;
        if entry.before != before {
            return Err(corrupt(at, "the length of the entry before"));
        }
        emit(entry.value);
        (last, before) = (at, entry.len);
        at += entry.len;
        count += 1;
    }
    if count > 0 && usize::try_from(u32::from_le_bytes([*l0, *l1, *l2, *l3])) != Ok(last) {
        return Err(corrupt(4, "the place of the last entry"));
    }
    let claimed = u16::from_le_bytes([*c0, *c1]);
    if claimed != COUNT_UNKNOWN && usize::from(claimed) != count {
        return Err(corrupt(8, "the number of entries"));
    }
    Ok(())
}

/// The same entries in a listpack.
///
/// # Errors
/// As [`for_each`], and if a listpack cannot hold so much.
pub(super) fn to_listpack(bytes: &[u8]) -> Result<Listpack, Corrupt> {
    if bytes.len() > BYTES_MAX {
        return Err(Corrupt { offset: 0, expected: "a ziplist that fits in a listpack" });
    }
    let mut listpack = Listpack::with_capacity(bytes.len());
    for_each(bytes, |entry| match entry {
        LpEntry::Int(n) => listpack.push_back_int(n),
        LpEntry::Str(text) => listpack.push_back(text),
    })?;
    listpack.shrink_to_fit();
    Ok(listpack)
}

struct Entry<'a> {
    before: usize,
    value: LpEntry<'a>,
    len: usize,
}

fn decode(bytes: &[u8]) -> Option<Entry<'_>> {
    let (before, head) = match *bytes.first()? {
        LONG_BEFORE => (usize::try_from(u32::from_le_bytes(*bytes.get(1..)?.first_chunk()?)).ok()?, 5),
        END => return None,
        short => (usize::from(short), 1),
    };
    let content = bytes.get(head..)?;
    let first = *content.first()?;
    let string = |start: usize, len: usize| {
        let end = start.checked_add(len)?;
        Some((LpEntry::Str(content.get(start..end)?), end))
    };
    let (value, len) = match first >> 6 {
        0b00 => string(1, usize::from(first & 0x3f)),
        0b01 => string(2, usize::from(first & 0x3f) << 8 | usize::from(*content.get(1)?)),
        0b10 => {
            let len = u32::from_be_bytes(*content.get(1..)?.first_chunk()?);
            string(5, usize::try_from(len).ok()?)
        }
        _ => integer(first, content.get(1..)?),
    }?;
    Some(Entry { before, value, len: head + len })
}

fn integer(first: u8, rest: &[u8]) -> Option<(LpEntry<'_>, usize)> {
    let (n, len) = match first {
        0xc0 => (i64::from(i16::from_le_bytes(*rest.first_chunk()?)), 3),
        0xd0 => (i64::from(i32::from_le_bytes(*rest.first_chunk()?)), 5),
        0xe0 => (i64::from_le_bytes(*rest.first_chunk()?), 9),
        0xf0 => {
            let [a, b, c] = *rest.first_chunk()?;
            (i64::from(i32::from_le_bytes([0, a, b, c]) >> 8), 4)
        }
        0xfe => (i64::from(i8::from_le_bytes(*rest.first_chunk()?)), 2),
        0xf1..=0xfd => (i64::from(first & 0x0f) - 1, 1),
        _ => return None,
    };
    Some((LpEntry::Int(n), len))
}
