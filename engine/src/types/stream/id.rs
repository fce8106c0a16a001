//! Ids of entries: milliseconds, and a number within them.

use std::fmt;

/// The id of an entry. Ids of a stream ascend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Usually the Unix time in milliseconds when the entry came.
    pub ms: u64,
    /// Tells apart what came in the same millisecond.
    pub seq: u64,
}

/// The longest id: two numbers of 20 digits.
const TEXT_MAX: usize = 41;
/// Redis copies ids into a buffer of 128 bytes before it reads them.
const ARGUMENT_MAX: usize = 127;

impl StreamId {
    /// The least id, which no entry has.
    pub const MIN: Self = Self { ms: 0, seq: 0 };
    /// The greatest id.
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    /// An id from its parts.
    pub const fn new(ms: u64, seq: u64) -> Self {
        Self { ms, seq }
    }

    /// The id that follows; none follows the greatest.
    pub fn next(self) -> Option<Self> {
        match (self.ms, self.seq.checked_add(1)) {
            (ms, Some(seq)) => Some(Self { ms, seq }),
            (ms, None) => ms.checked_add(1).map(|ms| Self { ms, seq: 0 }),
        }
    }

    /// The id before this one; none is before the least.
    pub fn prev(self) -> Option<Self> {
        match (self.ms, self.seq.checked_sub(1)) {
            (ms, Some(seq)) => Some(Self { ms, seq }),
            (ms, None) => ms.checked_sub(1).map(|ms| Self { ms, seq: u64::MAX }),
        }
    }

    /// Reads `ms` or `ms-seq`; without a second part that is `missing_seq`.
    pub fn parse(text: &[u8], missing_seq: u64) -> Option<Self> {
        let (ms, seq) = parts(text)?;
        let seq = match seq {
            Some(seq) => part(seq)?,
            None => missing_seq,
        };
        Some(Self { ms: part(ms)?, seq })
    }

    /// Reads `ms-*`: the milliseconds of an id whose second part is to be found.
    pub fn parse_open(text: &[u8]) -> Option<u64> {
        match parts(text)? {
            (ms, Some(b"*")) => part(ms),
            _ => None,
        }
    }

    /// 16 bytes that sort as the ids do.
    pub fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.ms) << 64) | u128::from(self.seq)).to_be_bytes()
    }

    /// The other way round.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self { ms: (both >> 64) as u64, seq: both as u64 }
    }

    /// `ms-seq`, without an allocation.
    pub fn text(self) -> IdText {
        let mut text = IdText { bytes: [0; TEXT_MAX], len: 0 };
        let mut number = itoa::Buffer::new();
        text.push(number.format(self.ms).as_bytes());
        text.push(b"-");
        text.push(number.format(self.seq).as_bytes());
        text
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// The text of an id.
#[derive(Clone, Copy)]
pub struct IdText {
    bytes: [u8; TEXT_MAX],
    len: u8,
}

impl IdText {
    fn push(&mut self, part: &[u8]) {
        let start = usize::from(self.len);
        if let Some(place) = self.bytes.get_mut(start..start + part.len()) {
            place.copy_from_slice(part);
            self.len += part.len() as u8;
        }
    }
}

impl std::ops::Deref for IdText {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl fmt::Debug for IdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self))
    }
}

/// What is before the first dash and what is behind it. As C programs do, stops at a zero byte.
fn parts(text: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    if text.len() > ARGUMENT_MAX {
        return None;
    }
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(match text.iter().position(|byte| *byte == b'-') {
        Some(dash) => (text.get(..dash)?, text.get(dash + 1..)),
        None => (text, None),
    })
}

/// A number as `strtoull` reads it, but for the canonical text of a negative one.
fn part(text: &[u8]) -> Option<u64> {
    if let Some(n) = crate::number::parse_i64(text) {
        return u64::try_from(n).ok();
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|byte| !is_space(byte))?;
    let (negative, digits) = match text.get(start..)? {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if !digits.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let n = crate::number::parse_u64(digits)?;
    Some(if negative { n.wrapping_neg() } else { n })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_redis_reads_them() {
        let id = |ms, seq| Some(StreamId::new(ms, seq));
        for (text, expected) in [
            ("5", id(5, 9)),
            ("5-3", id(5, 3)),
            ("0-0", id(0, 0)),
            ("18446744073709551615-18446744073709551615", id(u64::MAX, u64::MAX)),
            ("18446744073709551616-1", None),
            ("007-01", id(7, 1)),
            ("+5-+3", id(5, 3)),
            (" 5-\t3", id(5, 3)),
            ("5--3", None),
            ("5--03", id(5, u64::MAX - 2)),
            ("5-", None),
            ("-5", None),
            ("", None),
            ("-", None),
            ("+", None),
            ("$", None),
            ("5-*", None),
            ("5-3x", None),
            ("5-3-1", None),
            ("5 -3", None),
            ("5\0x", id(5, 9)),
        ] {
            assert_eq!(StreamId::parse(text.as_bytes(), 9), expected, "{text:?}");
        }
        assert_eq!(StreamId::parse(&[b'0'; 128], 0), None);
        assert_eq!(StreamId::parse_open(b"5-*"), Some(5));
        assert_eq!(StreamId::parse_open(b"5-1"), None);
        assert_eq!(StreamId::parse_open(b"*"), None);
    }

    #[test]
    fn neighbours_and_bytes() {
        let id = StreamId::new(5, u64::MAX);
        assert_eq!(id.next(), Some(StreamId::new(6, 0)));
        assert_eq!(StreamId::new(6, 0).prev(), Some(id));
        assert_eq!((StreamId::MAX.next(), StreamId::MIN.prev()), (None, None));
        assert_eq!(StreamId::from_bytes(id.to_bytes()), id);
        assert!(StreamId::new(1, 2).to_bytes() < StreamId::new(2, 1).to_bytes());
        assert_eq!(&*StreamId::MAX.text(), StreamId::MAX.to_string().as_bytes());
        assert_eq!(&*StreamId::MIN.text(), b"0-0");
    }
}
