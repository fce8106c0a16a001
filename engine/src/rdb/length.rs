//! Lengths: the variable-width integers in front of almost everything.
//!
//! | first byte | then                | meaning                                  |
//! |------------|---------------------|------------------------------------------|
//! | `00nnnnnn` |                     | the length is `n`                        |
//! | `01nnnnnn` | 1 byte              | a 14-bit length, high bits first         |
//! | `10000000` | 4 bytes, big-endian | the length                               |
//! | `10000001` | 8 bytes, big-endian | the length                               |
//! | `11kkkkkk` | depends on `k`      | not a length: a specially encoded string |
//!
//! `encode` picks the shortest form, which is the form Redis writes.

use super::RdbError;
use super::input::Input;

const LEN_32: u8 = 0x80;
const LEN_64: u8 = 0x81;

/// A length, or what stands in its place before a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Plain(u64),
    /// The encoding of a string that is not kept as its bytes.
    Encoded(u8),
}

/// The longest form.
pub(super) const BYTES_MAX: usize = 9;

#[inline]
pub(super) fn encode(len: u64, out: &mut Vec<u8>) {
    match len {
        0..=0x3f => out.push(len as u8),
        0x40..=0x3fff => out.extend_from_slice(&[0x40 | (len >> 8) as u8, len as u8]),
        _ => {
            let (bytes, width) = encoded(len);
            out.extend_from_slice(&bytes[..width]);
        }
    }
}

/// The bytes that `encode` writes, and how many of them there are.
pub(super) fn encoded(len: u64) -> ([u8; BYTES_MAX], usize) {
    let (mut bytes, width) = ([0; BYTES_MAX], width(len));
    match width {
        1 => bytes[0] = len as u8,
        2 => bytes[..2].copy_from_slice(&[0x40 | (len >> 8) as u8, len as u8]),
        5 => {
            bytes[0] = LEN_32;
            bytes[1..5].copy_from_slice(&(len as u32).to_be_bytes());
        }
        _ => {
            bytes[0] = LEN_64;
            bytes[1..].copy_from_slice(&len.to_be_bytes());
        }
    }
    (bytes, width)
}

/// How many bytes `encode` writes.
#[inline]
pub(super) fn width(len: u64) -> usize {
    match len {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0xffff_ffff => 5,
        _ => 9,
    }
}

#[inline]
pub(super) fn decode(input: &mut Input<'_>) -> Result<Length, RdbError> {
    let at = input.offset();
    let first = input.byte()?;
    let low = u64::from(first & 0x3f);
    match (first >> 6, first) {
        (0b00, _) => Ok(Length::Plain(low)),
        (0b01, _) => Ok(Length::Plain(low << 8 | u64::from(input.byte()?))),
        (_, LEN_32) => Ok(Length::Plain(u64::from(u32::from_be_bytes(input.array()?)))),
        (_, LEN_64) => Ok(Length::Plain(u64::from_be_bytes(input.array()?))),
        (0b11, _) => Ok(Length::Encoded(low as u8)),
        _ => Err(Input::corrupt(at, "a length")),
    }
}

/// A length where no specially encoded string can be.
#[inline]
pub(super) fn plain(input: &mut Input<'_>) -> Result<u64, RdbError> {
    let at = input.offset();
    match decode(input)? {
        Length::Plain(len) => Ok(len),
        Length::Encoded(_) => Err(Input::corrupt(at, "a length")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    #[test]
    fn golden_bytes() {
        let check = |len: u64, bytes: &[u8]| {
            let mut out = Vec::new();
            encode(len, &mut out);
            assert_eq!(out, bytes, "{len}");
            assert_eq!(plain(&mut Input::new(bytes)), Ok(len));
        };
        check(0, &[0]);
        check(63, &[63]);
        check(64, &[0x40, 64]);
        check(16_383, &[0x7f, 0xff]);
        check(16_384, &[0x80, 0, 0, 0x40, 0]);
        check(0xffff_ffff, &[0x80, 0xff, 0xff, 0xff, 0xff]);
        check(1 << 32, &[0x81, 0, 0, 0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_no_length_is_refused() {
        let check = |bytes: &[u8], error| assert_eq!(plain(&mut Input::new(bytes)), Err(error), "{bytes:?}");
        check(&[], RdbError::Incomplete { offset: 0 });
        check(&[0x40], RdbError::Incomplete { offset: 1 });
        check(&[0x80, 0, 0, 0], RdbError::Incomplete { offset: 1 });
        check(&[0x82, 0, 0, 0, 0], RdbError::Corrupt { offset: 0, expected: "a length" });
        check(&[0xc0, 0], RdbError::Corrupt { offset: 0, expected: "a length" });
    }

    proptest! {
        #[test]
        fn lengths_come_back(len: u64, shift in 0..64u32, tail in proptest::collection::vec(any::<u8>(), 0..3)) {
            let len = len >> shift;
            let mut out = Vec::new();
            encode(len, &mut out);
            prop_assert_eq!(out.len(), width(len));
            out.extend(tail);
            let mut input = Input::new(&out);
            prop_assert_eq!(plain(&mut input), Ok(len));
            prop_assert_eq!(input.offset(), width(len));
        }
    }
}
