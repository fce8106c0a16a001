//! Zipmaps: small hashes of Redis before 2.6. Read only.
//!
//! | part    | bytes | meaning                                                                                |
//! |---------|-------|----------------------------------------------------------------------------------------|
//! | count   | 1     | number of fields; 254 or more: too many                                                |
//! | fields  |       | length (1 byte, or 254 and 4 bytes), field, length, 1 byte of spare room, value, spare room |
//! | end     | 1     | `0xff`                                                                                 |

use crate::types::listpack::Corrupt;

const END: u8 = 0xff;
const LONG: u8 = 254;
const COUNT_UNKNOWN: u8 = 254;

/// Calls `emit` with every field and its value, after checking both; they need not be distinct. What was emitted
/// before an error is to be thrown away.
///
/// # Errors
/// [`Corrupt`] if a field or value is not all there, or the number of fields is wrong or 0.
pub(super) fn for_each<'a>(bytes: &'a [u8], mut emit: impl FnMut(&'a [u8], &'a [u8])) -> Result<(), Corrupt> {
    let corrupt = |offset, expected| Corrupt { offset, expected };
    let (Some(&claimed), Some(&END), Some(end)) = (bytes.first(), bytes.last(), bytes.len().checked_sub(1))
    else {
        return Err(corrupt(0, "a zipmap"));
    };
    let (mut at, mut count) = (1, 0usize);
    while at < end {
        let (field, value, len) = decode(&bytes[at..end]).ok_or(corrupt(at, "a field of a zipmap"))?;
        emit(field, value);
        at += len;
        count += 1;
    }
    if count == 0 || (claimed < COUNT_UNKNOWN && usize::from(claimed) != count) {
        return Err(corrupt(0, "the number of fields"));
    }
    Ok(())
}

/// A field, its value, and the length of both together.
fn decode(bytes: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let (field_len, at) = length(bytes, 0)?;
    let value_head = at.checked_add(field_len)?;
    let field = bytes.get(at..value_head)?;
    let (value_len, at) = length(bytes, value_head)?;
    let spare = usize::from(*bytes.get(at)?);
    let end = (at + 1).checked_add(value_len)?;
    let value = bytes.get(at + 1..end)?;
    let len = end + spare;
    bytes.get(end..len)?;
    Some((field, value, len))
}

/// The length at `at`, and where it ends.
fn length(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    match *bytes.get(at)? {
        END => None,
        LONG => {
            let len = u32::from_le_bytes(*bytes.get(at + 1..)?.first_chunk()?);
            Some((usize::try_from(len).ok()?, at + 5))
        }
        short => Some((usize::from(short), at + 1)),
    }
}
