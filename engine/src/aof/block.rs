//! Annotations: what stands between the commands of a log. Redis 7.0 and later skip every line that begins with `#`.
//!
//! ```text
//! #TS:1763652600\r\n
//! #HDR:v1;len:62;checksum:7cf91d1a1cdbb0f2;crc32:09d4a3c1;off:8812;synced:4096;\r\n
//! *3\r\n$3\r\nSET\r\n...
//! ```
//!
//! A *block* is what one write carries: whole commands and whole transactions. Baton puts one header in front of every
//! block, and a timestamp in front of that when the second has changed since the last one.
//!
//! | key        | value                                                                                       |
//! |------------|---------------------------------------------------------------------------------------------|
//! | `v1`       | the version, always first                                                                    |
//! | `len`      | bytes of the block, which begins after the header's CRLF; neither header nor timestamp count |
//! | `checksum` | the running CRC64, 16 lower-case hex digits                                                  |
//! | `crc32`    | the CRC32 of this block, 8 lower-case hex digits                                             |
//! | `off`      | the replication offset of the block's first byte                                             |
//! | `synced`   | what was known to be synced when the block was written: all files before this one and so many bytes of it (`4096`), or not even those (`-1:4096`: of them the last with anything in it is the first before this one, and has so many bytes) |
//!
//! What the checksums cover:
//! - The **running CRC64** (Jones polynomial, as in snapshots) starts at 0 in every file. Every block carries it on, over the
//!   header's text from `#` up to the word `checksum` (`#HDR:v1;len:62;`) and then over the bytes of the block.
//!   It ties the blocks of a file together: none can be missing, doubled or moved. Timestamps and commands without a header
//!   (Redis may have appended some) do not count. This is what the draft of Valkey checks (pull request 3565).
//! - The **CRC32** (of zip and Ethernet) stands alone: the bytes of the block, then as 8 bytes each, low first: `off`; the two numbers of
//!   `synced` (0 for one that is not there), if the header has it; the seconds of a timestamp directly in front of the header, if there is one.
//!   So no digit of either line can change unseen, and a block can be recognised without those before it.
//!
//! A line of its own names the history that all of this is a part of: see [`lineage`].
//!
//! Reading is lenient: keys in any order, unknown ones skipped. Offsets never decrease within a file; whoever begins
//! another history (a full synchronisation) begins another file.

use super::lineage::{self, Named};
use crate::rdb::crc64::Digest;
use crc32fast::Hasher;
use std::ops::Deref;

/// Longest annotation that Redis skips, its line end included.
pub const LINE_MAX: usize = 1023;

/// How every header begins.
pub(crate) const HEADER_MARK: &[u8] = b"#HDR:v1;";
const HEADER_START: &[u8] = b"#HDR:";
const TIMESTAMP_START: &[u8] = b"#TS:";
const CHECKSUM_KEY: &[u8] = b"checksum:";

/// What was known to be safe from a power cut when a block was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synced {
    /// Not even all of the files in front of this one.
    NotBefore {
        /// The last of them that anything was written to is so many in front of this one, at least 1.
        back: u64,
        /// It had so many bytes.
        bytes: u64,
    },
    /// All files in front of this one, and so many bytes of it.
    UpTo(u64),
}

impl Synced {
    /// As it counts for the CRC32.
    fn numbers(self) -> [u64; 2] {
        match self {
            Self::NotBefore { back, bytes } => [back, bytes],
            Self::UpTo(bytes) => [0, bytes],
        }
    }
}

/// What a header says about its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the block.
    pub len: u64,
    /// The running CRC64, this block included.
    pub checksum: u64,
    /// CRC32 of this block.
    pub crc32: u32,
    /// Replication offset of its first byte.
    pub off: u64,
    /// What was synced when it was written; logs of before may not say.
    pub synced: Option<Synced>,
}

/// One line between commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Annotation<'a> {
    /// What follows was written in this second (since 1970) or later.
    Timestamp(i64),
    /// The history that the log belongs to from here on.
    History(Named),
    /// A block follows. With the part of the line that the running checksum covers.
    Block(Header, &'a [u8]),
    /// Somebody else's.
    Other,
}

/// Writes the annotations of one file.
///
/// Plain data: keep a copy, and go back to it when the write of a block fails, since the file then ends before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Annotator {
    checksum: u64,
    timestamp: Option<i64>,
}

impl Annotator {
    /// For an empty file.
    pub const fn new() -> Self {
        Self { checksum: 0, timestamp: None }
    }

    /// To go on in a file whose last header has this running checksum (0 if it has no header), and whose last
    /// timestamp is this one.
    pub const fn resume(checksum: u64, timestamp: Option<i64>) -> Self {
        Self { checksum, timestamp }
    }

    /// The lines to write in front of a block, without allocating: a timestamp when `now_s` is given and its second
    /// is not that of the last one, then the header. Linear in the block.
    ///
    /// The block is not empty, and holds whole commands and whole transactions; `off` is the replication offset of its
    /// first byte; `synced` what is known to be safe, if that is to be said.
    pub fn annotate(&mut self, block: &[u8], off: u64, synced: Option<Synced>, now_s: Option<i64>) -> Lines {
        self.annotate_parts(std::iter::once(block), off, synced, now_s)
    }

    /// The same for a block that lies in pieces.
    pub fn annotate_parts<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a [u8]> + Clone,
        off: u64,
        synced: Option<Synced>,
        now_s: Option<i64>,
    ) -> Lines {
        let mut lines = Lines::new();
        let timestamp = now_s.map(|now_s| now_s.max(0)).filter(|now_s| self.timestamp != Some(*now_s));
        if let Some(now_s) = timestamp {
            self.timestamp = timestamp;
            lines.push_timestamp(now_s);
        }
        let len: usize = parts.clone().map(<[u8]>::len).sum();
        let start = lines.len();
        lines.push_header_start(len as u64);
        let (mut crc64, mut crc32) = (Digest::resumed(self.checksum), Hasher::new());
        crc64.update(&lines[start..]);
        for part in parts {
            crc64.update(part);
            crc32.update(part);
        }
        self.checksum = crc64.value();
        let crc32 = finish_crc32(crc32, off, synced, timestamp);
        lines.push_header_rest(self.checksum, crc32, off, synced);
        lines
    }
}

/// The CRC32 of a block as its header has it. `timestamp` is that of a line directly in front of the header.
pub fn block_crc32(block: &[u8], off: u64, synced: Option<Synced>, timestamp: Option<i64>) -> u32 {
    let mut crc32 = Hasher::new();
    crc32.update(block);
    finish_crc32(crc32, off, synced, timestamp)
}

fn finish_crc32(mut crc32: Hasher, off: u64, synced: Option<Synced>, timestamp: Option<i64>) -> u32 {
    crc32.update(&off.to_le_bytes());
    if let Some(synced) = synced {
        synced.numbers().iter().for_each(|number| crc32.update(&number.to_le_bytes()));
    }
    if let Some(seconds) = timestamp {
        crc32.update(&seconds.to_le_bytes());
    }
    crc32.finalize()
}

/// The running checksum after one more block. `covered` is the part of its header that counts.
pub fn running_checksum(before: u64, covered: &[u8], block: &[u8]) -> u64 {
    let mut crc64 = Digest::resumed(before);
    crc64.update(covered);
    crc64.update(block);
    crc64.value()
}

/// A timestamp and a header at the most, in a fixed buffer.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    bytes: [u8; Self::MAX],
    len: usize,
}

impl Lines {
    /// No lines are longer: `#TS:` with 20 digits, and a header with four numbers of 20 digits and 24 hex digits.
    pub const MAX: usize = 184;

    fn new() -> Self {
        Self { bytes: [0; Self::MAX], len: 0 }
    }

    fn push(&mut self, part: &[u8]) {
        // By `MAX` there is room; a slice that were not there would end in a line that no reader accepts.
        if let Some(room) = self.bytes.get_mut(self.len..self.len + part.len()) {
            room.copy_from_slice(part);
            self.len += part.len();
        }
    }

    fn push_number(&mut self, number: u64) {
        self.push(itoa::Buffer::new().format(number).as_bytes());
    }

    fn push_hex<const DIGITS: usize>(&mut self, number: u64) {
        let digit = |at: usize| b"0123456789abcdef"[(number >> (4 * (DIGITS - 1 - at)) & 0xf) as usize];
        self.push(&std::array::from_fn::<u8, DIGITS, _>(digit));
    }

    fn push_timestamp(&mut self, seconds: i64) {
        self.push(TIMESTAMP_START);
        self.push_number(seconds.unsigned_abs());
        self.push(b"\r\n");
    }

    fn push_header_start(&mut self, len: u64) {
        self.push(HEADER_MARK);
        self.push(b"len:");
        self.push_number(len);
        self.push(b";");
    }

    fn push_header_rest(&mut self, checksum: u64, crc32: u32, off: u64, synced: Option<Synced>) {
        self.push(CHECKSUM_KEY);
        self.push_hex::<16>(checksum);
        self.push(b";crc32:");
        self.push_hex::<8>(u64::from(crc32));
        self.push(b";off:");
        self.push_number(off);
        match synced {
            None => {}
            Some(Synced::NotBefore { back, bytes }) => {
                self.push(b";synced:-");
                self.push_number(back);
                self.push(b":");
                self.push_number(bytes);
            }
            Some(Synced::UpTo(bytes)) => {
                self.push(b";synced:");
                self.push_number(bytes);
            }
        }
        self.push(b";\r\n");
    }
}

impl Deref for Lines {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Reads a line that begins with `#`, its line end included.
///
/// A line is a header of ours when it begins as one and has one of the keys that only we have; when it has both of these it is
/// one that a damaged beginning hides. Headers of others are [`Other`](Annotation::Other).
///
/// # Errors
/// What was expected, for a timestamp or a header of ours that is malformed.
pub fn parse(line: &[u8]) -> Result<Annotation<'_>, &'static str> {
    if let Some(rest) = line.strip_prefix(TIMESTAMP_START) {
        let seconds = rest.strip_suffix(b"\r\n").and_then(number).and_then(|n| i64::try_from(n).ok());
        return seconds.map(Annotation::Timestamp).ok_or("a timestamp of digits, and CR LF");
    }
    if line.starts_with(lineage::START) {
        return Named::parse(line)
            .map(Annotation::History)
            .ok_or("the name of a history that fits its CRC32");
    }
    let signs = [line.starts_with(HEADER_START), has(line, b";crc32:"), has(line, b";off:")];
    if signs.iter().filter(|sign| **sign).count() < 2 {
        return Ok(Annotation::Other);
    }
    let text = line.strip_suffix(b";\r\n").ok_or("a header that ends in ';' and CR LF")?;
    let keys = text.strip_prefix(HEADER_MARK).ok_or("a header that begins with '#HDR:v1;'")?;
    let header = parse_keys(keys)?;
    let covered = memchr::memmem::find(line, CHECKSUM_KEY).unwrap_or_default();
    Ok(Annotation::Block(header, &line[..covered]))
}

fn has(line: &[u8], word: &[u8]) -> bool {
    memchr::memmem::find(line, word).is_some()
}

fn parse_keys(keys: &[u8]) -> Result<Header, &'static str> {
    let (mut len, mut checksum, mut crc32, mut off, mut synced) = (None, None, None, None, None);
    for pair in keys.split(|&byte| byte == b';') {
        let Some(colon) = memchr::memchr(b':', pair) else {
            return Err("keys and values, with ':' between them");
        };
        let (key, value) = (&pair[..colon], &pair[colon + 1..]);
        let repeated = match key {
            b"len" => {
                len.replace(number(value).filter(|len| *len > 0).ok_or("a length from 1 on")?).is_some()
            }
            b"checksum" => checksum.replace(hex::<16>(value).ok_or("a checksum of 16 hex digits")?).is_some(),
            b"crc32" => crc32.replace(hex::<8>(value).ok_or("a CRC32 of 8 hex digits")? as u32).is_some(),
            b"off" => off.replace(number(value).ok_or("a replication offset")?).is_some(),
            b"synced" => synced.replace(parse_synced(value).ok_or("what was synced")?).is_some(),
            _ => false,
        };
        if repeated {
            return Err("no key twice");
        }
    }
    match (len, checksum, crc32, off) {
        (Some(len), Some(checksum), Some(crc32), Some(off)) => {
            Ok(Header { len, checksum, crc32, off, synced })
        }
        _ => Err("the keys len, checksum, crc32 and off"),
    }
}

fn parse_synced(value: &[u8]) -> Option<Synced> {
    let Some(before) = value.strip_prefix(b"-") else { return number(value).map(Synced::UpTo) };
    let colon = memchr::memchr(b':', before)?;
    let back = number(&before[..colon]).filter(|back| *back > 0)?;
    Some(Synced::NotBefore { back, bytes: number(&before[colon + 1..])? })
}

/// A decimal number of nothing but digits, without zeros in front, up to 64 bits.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 20 || (digits.len() > 1 && digits.first() == Some(&b'0')) {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Exactly so many lower-case hex digits, at most 16.
pub(super) fn hex<const DIGITS: usize>(digits: &[u8]) -> Option<u64> {
    if digits.len() != DIGITS {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: Header =
        Header { len: 62, checksum: 0x7cf9_1d1a_1cdb_b0f2, crc32: 0x09d4_a3c1, off: 8812, synced: None };

    #[track_caller]
    fn check(line: &str, expected: Result<Annotation<'_>, &str>) {
        assert_eq!(parse(line.as_bytes()), expected, "{line:?}");
    }

    #[test]
    fn annotations_are_read() {
        let line = "#HDR:v1;len:62;checksum:7cf91d1a1cdbb0f2;crc32:09d4a3c1;off:8812;\r\n";
        check(line, Ok(Annotation::Block(HEADER, b"#HDR:v1;len:62;")));
        let line = "#HDR:v1;off:8812;lsn:7;len:62;crc32:09d4a3c1;x:;checksum:7cf91d1a1cdbb0f2;\r\n";
        check(line, Ok(Annotation::Block(HEADER, b"#HDR:v1;off:8812;lsn:7;len:62;crc32:09d4a3c1;x:;")));
        for (word, synced) in [
            ("-2:7", Synced::NotBefore { back: 2, bytes: 7 }),
            ("0", Synced::UpTo(0)),
            ("4096", Synced::UpTo(4096)),
        ] {
            let line = format!(
                "#HDR:v1;len:62;checksum:7cf91d1a1cdbb0f2;crc32:09d4a3c1;off:8812;synced:{word};\r\n"
            );
            check(
                &line,
                Ok(Annotation::Block(Header { synced: Some(synced), ..HEADER }, b"#HDR:v1;len:62;")),
            );
        }
        check("#TS:1763652600\r\n", Ok(Annotation::Timestamp(1_763_652_600)));
        check("#\r\n", Ok(Annotation::Other));
        check("#comment\n", Ok(Annotation::Other));
        check("#HDR:v1;len:62;checksum:7cf91d1a1cdbb0f2;\r\n", Ok(Annotation::Other));
    }

    #[test]
    fn malformed_annotations_are_refused() {
        check("#TS:1763652600\n", Err("a timestamp of digits, and CR LF"));
        check("#TS:-1\r\n", Err("a timestamp of digits, and CR LF"));
        check("#TS:9223372036854775808\r\n", Err("a timestamp of digits, and CR LF"));
        for (line, expected) in [
            (
                "#HDX:v1;len:62;checksum:7cf91d1a1cdbb0f2;crc32:09d4a3c1;off:8812;\r\n",
                "a header that begins with '#HDR:v1;'",
            ),
            (
                "#HDR:v2;len:62;checksum:7cf91d1a1cdbb0f2;crc32:09d4a3c1;off:8812;\r\n",
                "a header that begins with '#HDR:v1;'",
            ),
            (
                "#HDR:v1;len:62;checksum:7cf91d1a1cdbb0f2;crc32:09d4a3c1;off:8812\r\n",
                "a header that ends in ';' and CR LF",
            ),
            ("#HDR:v1;len:0;checksum:7cf91d1a1cdbb0f2;crc32:09d4a3c1;off:8812;\r\n", "a length from 1 on"),
            (
                "#HDR:v1;len:18446744073709551616;checksum:7cf91d1a1cdbb0f2;crc32:09d4a3c1;off:8812;\r\n",
                "a length from 1 on",
            ),
            (
                "#HDR:v1;len:62;checksum:7CF91d1a1cdbb0f2;crc32:09d4a3c1;off:8812;\r\n",
                "a checksum of 16 hex digits",
            ),
            (
                "#HDR:v1;len:62;checksum:7cf91d1a1cdbb0f2;crc32:9d4a3c1;off:8812;\r\n",
                "a CRC32 of 8 hex digits",
            ),
            ("#HDR:v1;len:62;checksum:7cf91d1a1cdbb0f2;crc32:09d4a3c1;off:;\r\n", "a replication offset"),
            (
                "#HDR:v1;len:62;checksum:7cf91d1a1cdbb0f2;crx32:09d4a3c1;off:8812;\r\n",
                "the keys len, checksum, crc32 and off",
            ),
            (
                "#HDR:v1;len:62;checksum:7cf91d1a1cdbb0f2;crc32:09d4a3c1;off:1;synced:-0:1;\r\n",
                "what was synced",
            ),
            ("#HDR:v1;len:62;len:62;checksum:7cf91d1a1cdbb0f2;crc32:09d4a3c1;off:8812;\r\n", "no key twice"),
            (
                "#HDR:v1;len:62;checksum;crc32:09d4a3c1;off:8812;\r\n",
                "keys and values, with ':' between them",
            ),
        ] {
            check(line, Err(expected));
        }
    }

    #[test]
    fn timestamps_are_written_when_the_second_changes() {
        let mut annotator = Annotator::new();
        let mut second = |now_s| annotator.annotate(b"x", 0, None, now_s).starts_with(b"#TS:");
        assert_eq!(
            [None, Some(5), Some(5), None, Some(6), Some(5)].map(&mut second),
            [false, true, false, false, true, true]
        );
    }

    #[test]
    fn the_longest_lines_fit() {
        let mut annotator = Annotator::resume(u64::MAX, None);
        let lines = annotator.annotate(
            b"x",
            u64::MAX,
            Some(Synced::NotBefore { back: u64::MAX, bytes: u64::MAX }),
            Some(i64::MAX),
        );
        assert!(lines.ends_with(b";\r\n") && lines.len() + 19 <= Lines::MAX, "{}", lines.len());
    }

    proptest! {
        /// What is written is read back, and both checksums hold, wherever the block was in pieces.
        #[test]
        fn lines_read_back(
            blocks in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 1..100), any::<u64>(), proptest::option::of(0..3i64), proptest::option::of(0..3u64), 0..100usize), 1..10),
        ) {
            let (mut annotator, mut checksum) = (Annotator::new(), 0);
            for (block, off, now_s, synced, cut) in blocks {
                let synced = synced.map(|bytes| bytes.checked_sub(1).map_or(Synced::NotBefore { back: 1, bytes: 5 }, Synced::UpTo));
                let mut twin = annotator;
                let lines = annotator.annotate(&block, off, synced, now_s);
                let (left, right) = block.split_at(cut.min(block.len()));
                prop_assert_eq!(&*twin.annotate_parts([left, right].into_iter(), off, synced, now_s), &*lines);
                let mut timestamp = None;
                for line in lines.split_inclusive(|byte| *byte == b'\n') {
                    match parse(line) {
                        Ok(Annotation::Timestamp(seconds)) => timestamp = Some(seconds),
                        Ok(Annotation::Block(header, covered)) => {
                            checksum = running_checksum(checksum, covered, &block);
                            let crc32 = block_crc32(&block, off, synced, timestamp);
                            prop_assert_eq!(header, Header { len: block.len() as u64, checksum, crc32, off, synced });
                        }
                        other => prop_assert!(false, "{other:?}"),
                    }
                }
                prop_assert!(timestamp.is_none() || timestamp == now_s);
            }
        }

        /// Any line: an error or an annotation.
        #[test]
        fn no_line_panics(line: Vec<u8>) {
            let _ = parse(&line);
            let _ = parse(&[b"#HDR:v1;", &line[..], b";crc32:;off:;\r\n"].concat());
        }
    }
}
