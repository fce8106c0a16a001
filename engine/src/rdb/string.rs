//! Strings: keys, elements, and the compact encodings of whole collections.
//!
//! | first byte | then                              | the string                    |
//! |------------|-----------------------------------|-------------------------------|
//! | a length   | so many bytes                     | these bytes                   |
//! | `0xc0`     | 1 byte                            | the text of an integer        |
//! | `0xc1`     | 2 bytes, little-endian            | the text of an integer        |
//! | `0xc2`     | 4 bytes, little-endian            | the text of an integer        |
//! | `0xc3`     | two lengths, then the first so many bytes | LZF; the second length is that of the string |

use super::RdbError;
use super::input::Input;
use super::length::{self, Length};
use super::lzf;
use crate::number::parse_i64;
use std::fmt;
use std::ops::Deref;

const ENCODED: u8 = 0xc0;
const INT_8: u8 = 0;
const INT_16: u8 = 1;
const INT_32: u8 = 2;
const LZF: u8 = 3;

/// The longest text of a 32-bit integer.
const INTEGER_TEXT_MAX: usize = 11;
/// Nothing shorter than this gets smaller.
pub const COMPRESSED_FROM: usize = 21;
/// Compression has to save so many bytes to be worth it.
const SAVING_MIN: usize = 4;

/// Writes a string in the shortest form.
#[inline]
pub(super) fn encode(out: &mut Vec<u8>, bytes: &[u8], compress: bool) {
    if bytes.len() <= INTEGER_TEXT_MAX {
        if let Some(n) = parse_i64(bytes).and_then(|n| i32::try_from(n).ok()) {
            return encode_i32(out, n);
        }
    } else if compress && bytes.len() >= COMPRESSED_FROM && encode_compressed(out, bytes) {
        return;
    }
    length::encode(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Writes the text of an integer.
#[inline]
pub(super) fn encode_int(out: &mut Vec<u8>, n: i64) {
    if let Ok(n) = i32::try_from(n) {
        return encode_i32(out, n);
    }
    let mut text = itoa::Buffer::new();
    let text = text.format(n).as_bytes();
    length::encode(text.len() as u64, out);
    out.extend_from_slice(text);
}

fn encode_i32(out: &mut Vec<u8>, n: i32) {
    let [a, b, c, d] = n.to_le_bytes();
    match n {
        -0x80..=0x7f => out.extend_from_slice(&[ENCODED | INT_8, a]),
        -0x8000..=0x7fff => out.extend_from_slice(&[ENCODED | INT_16, a, b]),
        _ => out.extend_from_slice(&[ENCODED | INT_32, a, b, c, d]),
    }
}

/// Writes a string compressed, unless that saves too little.
fn encode_compressed(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let (start, len) = (out.len(), bytes.len());
    let packed_max = len - SAVING_MIN;
    // The length of what comes is only known afterwards: room is left for the largest, and the gap closed.
    let body = start + 1 + length::width(packed_max as u64) + length::width(len as u64);
    out.resize(body + packed_max, 0);
    let packed = lzf::compress(bytes, &mut out[body..]);
    let Some(packed) = packed else {
        out.truncate(start);
        return false;
    };
    let narrower = length::width(packed_max as u64) - length::width(packed as u64);
    out.copy_within(body..body + packed, body - narrower);
    let end = body - narrower + packed;
    let mut at = start + 1;
    for len in [packed, len] {
        let (bytes, width) = length::encoded(len as u64);
        out[at..at + width].copy_from_slice(&bytes[..width]);
        at += width;
    }
    out[start] = ENCODED | LZF;
    out.truncate(end);
    true
}

/// What one string is, before it is made a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoded<'a> {
    /// The bytes, as they lie there.
    Bytes(&'a [u8]),
    /// The text of an integer.
    Int(i32),
    /// Compressed bytes, where they begin, and the length of the string.
    Packed { bytes: &'a [u8], at: usize, len: u64 },
}

/// Reads a string without decompressing it.
#[inline]
pub(super) fn decode<'a>(input: &mut Input<'a>) -> Result<Encoded<'a>, RdbError> {
    let at = input.offset();
    match length::decode(input)? {
        Length::Plain(len) => take(input, len).map(Encoded::Bytes),
        Length::Encoded(INT_8) => Ok(Encoded::Int(i32::from(i8::from_le_bytes(input.array()?)))),
        Length::Encoded(INT_16) => Ok(Encoded::Int(i32::from(i16::from_le_bytes(input.array()?)))),
        Length::Encoded(INT_32) => Ok(Encoded::Int(i32::from_le_bytes(input.array()?))),
        Length::Encoded(LZF) => {
            let (packed, len) = (length::plain(input)?, length::plain(input)?);
            let at = input.offset();
            Ok(Encoded::Packed { bytes: take(input, packed)?, at, len })
        }
        Length::Encoded(_) => Err(Input::corrupt(at, "an encoding of a string")),
    }
}

fn take<'a>(input: &mut Input<'a>, len: u64) -> Result<&'a [u8], RdbError> {
    let len =
        usize::try_from(len).map_err(|_| Input::corrupt(input.offset(), "a string that fits in memory"))?;
    input.take(len)
}

/// Reads a string.
#[inline]
pub(super) fn text<'a>(input: &mut Input<'a>) -> Result<Text<'a>, RdbError> {
    decode(input)?.text()
}

impl<'a> Encoded<'a> {
    /// The string, decompressed if need be.
    #[inline]
    pub(super) fn text(self) -> Result<Text<'a>, RdbError> {
        match self {
            Self::Bytes(bytes) => Ok(Text::Borrowed(bytes)),
            Self::Int(n) => Ok(Text::Number(NumberText::of(n))),
            Self::Packed { bytes, at, len } => {
                let out = usize::try_from(len).ok().and_then(|len| lzf::decompress(bytes, len));
                out.map(Text::Owned).ok_or(Input::corrupt(at, "a compressed string"))
            }
        }
    }
}

/// A string out of a snapshot: use it as a byte slice. Borrowed where it lies there as it is.
#[derive(Clone)]
pub enum Text<'a> {
    /// As it lies there.
    Borrowed(&'a [u8]),
    /// The text of an integer.
    Number(NumberText),
    /// Decompressed.
    Owned(Vec<u8>),
}

/// The decimal text of a 32-bit integer.
#[derive(Clone, Copy, Debug)]
pub struct NumberText {
    bytes: [u8; INTEGER_TEXT_MAX],
    len: u8,
}

impl NumberText {
    fn of(n: i32) -> Self {
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(n).as_bytes();
        let mut bytes = [0; INTEGER_TEXT_MAX];
        bytes[..text.len()].copy_from_slice(text);
        Self { bytes, len: text.len() as u8 }
    }
}

impl Deref for Text<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Number(text) => &text.bytes[..usize::from(text.len)],
            Self::Owned(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text<'_> {}

impl Text<'_> {
    /// The bytes, without a copy where they are owned already.
    pub fn into_vec(self) -> Vec<u8> {
        match self {
            Self::Owned(bytes) => bytes,
            other => other.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

    fn read(bytes: &[u8]) -> Result<Vec<u8>, RdbError> {
        text(&mut Input::new(bytes)).map(Text::into_vec)
    }

    /// What a real server writes.
    #[test]
    fn golden_bytes() {
        let check = |string: &[u8], golden: &[u8]| {
            let mut out = Vec::new();
            encode(&mut out, string, true);
            assert_eq!(out, golden, "{string:?}");
            assert_eq!(read(golden).as_deref(), Ok(string));
            if let Some(n) = parse_i64(string) {
                out.clear();
                encode_int(&mut out, n);
                assert_eq!(out, golden);
            }
        };
        check(b"", b"\0");
        check(b"abc", b"\x03abc");
        check(b"0", b"\xc0\0");
        check(b"-128", b"\xc0\x80");
        check(b"128", b"\xc1\x80\0");
        check(b"-32769", b"\xc2\xff\x7f\xff\xff");
        check(b"2147483647", b"\xc2\xff\xff\xff\x7f");
        check(b"2147483648", b"\x0a2147483648");
        check(b"-2147483648", b"\xc2\0\0\0\x80");
        check(b"-0", b"\x02-0");
        check(b"01", b"\x0201");
        check(b"-9223372036854775808", b"\x14-9223372036854775808");
        check(&[b'a'; 20], b"\x14aaaaaaaaaaaaaaaaaaaa");
        check(&[b'a'; 30], b"\xc3\x09\x1e\x01aa\xe0\x11\x00\x01aa");
    }

    #[test]
    fn what_is_no_string_is_refused() {
        let check = |bytes: &[u8], error| assert_eq!(read(bytes), Err(error), "{bytes:?}");
        check(b"", RdbError::Incomplete { offset: 0 });
        check(b"\x03ab", RdbError::Incomplete { offset: 1 });
        check(b"\xc1\0", RdbError::Incomplete { offset: 1 });
        check(b"\xc4\0", RdbError::Corrupt { offset: 0, expected: "an encoding of a string" });
        check(b"\xc3\x02\x05\0a", RdbError::Corrupt { offset: 3, expected: "a compressed string" });
        check(b"\x81\xff\xff\xff\xff\xff\xff\xff\xffa", RdbError::Incomplete { offset: 9 });
        check(
            b"\xc3\x02\x81\xff\xff\xff\xff\xff\xff\xff\xff\0a",
            RdbError::Corrupt { offset: 11, expected: "a compressed string" },
        );
    }

    fn string() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            (any::<i64>(), 0..64u32).prop_map(|(n, shift)| (n >> shift).to_string().into_bytes()),
            vec(any::<u8>(), 0..40),
            (vec(any::<u8>(), 1..9), 0..9_000usize).prop_map(|(unit, times)| unit.repeat(times)),
        ]
    }

    proptest! {
        #[test]
        fn strings_come_back(string in string(), compress: bool) {
            let mut out = vec![7];
            encode(&mut out, &string, compress);
            let mut input = Input::at(&out, 1);
            prop_assert_eq!(&*text(&mut input).unwrap(), &string[..]);
            prop_assert_eq!(input.offset(), out.len());
            prop_assert!(out.len() <= 1 + string.len() + length::width(string.len() as u64));
            for end in 1..out.len().min(40) {
                let cut = read(&out[1..end]);
                prop_assert!(matches!(cut, Err(RdbError::Incomplete { .. })), "{:?}", cut);
            }
        }
    }
}
