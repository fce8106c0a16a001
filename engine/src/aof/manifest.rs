//! The manifest: which files make up the log, in which order they are loaded.
//!
//! ```text
//! file appendonly.aof.2.base.rdb seq 2 type b
//! file appendonly.aof.3.incr.aof seq 3 type h
//! file appendonly.aof.4.incr.aof seq 4 type i startoffset 8812
//! ```
//!
//! | type | meaning                                                                                    |
//! |------|--------------------------------------------------------------------------------------------|
//! | `b`  | the base: all data at one moment, as a snapshot or as commands. At most one, loaded first   |
//! | `i`  | an increment: the commands since. Loaded in order, sequence numbers rise                    |
//! | `h`  | history: a base or increment that a newer base made superfluous. To be removed, not loaded  |
//!
//! A manifest may begin with a seal: `#crc32:` and the CRC32 of everything behind that line, as 8 lower-case hexadecimal
//! digits. Redis skips it as a comment. It shows what no structure can: a manifest that ends a line early, or in which an
//! increment has become history, is one that Redis might have written, and it names less than all.
//!
//! A line is a list of words in pairs, at most [`LINE_MAX`] bytes with its line feed; pairs with an unknown name are
//! skipped, so are lines that begin with `#`. Names are quoted where needed. This is the format of Redis 7.0 and later,
//! and `startoffset` and `endoffset` (replication offsets of an increment) are those of Redis 8.
//!
//! Stricter than Redis, because a manifest is only ever written by a program: numbers are nothing but digits, a pair
//! is not given twice, and no two lines name the same file (one of them could be history, and be removed).

use crate::hash::Hasher;
use crate::words;
use hashbrown::HashSet;
use std::borrow::Cow;
use std::fmt;

/// Longest line that Redis reads, the line feed included.
pub const LINE_MAX: usize = 1024;

// What is expected where Redis has an error of its own.
const A_LINE: &str = "a line";
const SHORT_LINE: &str = "a line of at most 1024 bytes";
const ONE_BASE: &str = "no more than one line of type b";
const RISING: &str = "a sequence number above that of the increment before";
const A_KIND: &str = "type b, i or h";

/// How a seal begins.
const SEAL: &[u8] = b"#crc32:";

/// What a line takes apart from the name: its words, and three numbers of at most 19 digits.
const LINE_REST_MAX: usize = 100;

/// What a name gets behind the name of the log: a number of at most 20 digits and what the file is.
const SUFFIX_MAX: usize = 32;

/// What a file of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All data at one moment.
    Base,
    /// Commands since the file before.
    Incr,
    /// No longer needed.
    History,
}

impl Kind {
    fn letter(self) -> char {
        match self {
            Self::Base => 'b',
            Self::Incr => 'i',
            Self::History => 'h',
        }
    }
}

/// The format of a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseFormat {
    /// A snapshot (`aof-use-rdb-preamble yes`).
    Rdb,
    /// Commands.
    Aof,
}

/// One file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name, without any folder.
    pub name: Vec<u8>,
    /// Its number among the bases or among the increments; from 1.
    pub seq: u64,
    /// The replication offset of its first byte, of increments that say so.
    pub start_offset: Option<u64>,
    /// The replication offset after its last byte, of increments that say so.
    pub end_offset: Option<u64>,
}

impl File {
    /// A file without replication offsets.
    pub fn new(name: Vec<u8>, seq: u64) -> Self {
        Self { name, seq, start_offset: None, end_offset: None }
    }

    fn write(&self, kind: Kind, out: &mut Vec<u8>) {
        out.extend_from_slice(b"file ");
        out.extend_from_slice(&written_name(&self.name));
        out.extend_from_slice(format!(" seq {} type {}", self.seq, kind.letter()).as_bytes());
        if let Some(start) = self.start_offset {
            out.extend_from_slice(format!(" startoffset {start}").as_bytes());
        }
        if let Some(end) = self.end_offset {
            out.extend_from_slice(format!(" endoffset {end}").as_bytes());
        }
        out.push(b'\n');
    }
}

/// The files of the log. Its changes are functions that give the next manifest and leave this one alone, so that it
/// stays the truth until the next one is safely on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The base, if there is one.
    pub base: Option<File>,
    /// The files that are no longer needed.
    pub history: Vec<File>,
    /// The increments, in order.
    pub incrs: Vec<File>,
}

impl Manifest {
    /// The manifest of a log of one file, as servers before Redis 7 wrote it: `name` becomes the base.
    pub fn of_single_file(name: &[u8]) -> Self {
        Self { base: Some(File::new(name.to_vec(), 1)), ..Self::default() }
    }

    /// Reads a manifest. Linear in its length.
    ///
    /// # Errors
    /// The first line that is wrong, and what was expected there.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        if text.is_empty() {
            return Err(ManifestError::new(1, A_LINE, b"nothing"));
        }
        if let Some(seal) = text.strip_prefix(SEAL) {
            check_seal(seal).map_err(|(expected, found)| ManifestError::new(1, expected, &found))?;
        }
        let (mut manifest, mut names) = (Self::default(), HashSet::with_hasher(Hasher::default()));
        for (index, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
            let fail = |(expected, found): Unexpected| ManifestError::new(index + 1, expected, &found);
            if line.len() > LINE_MAX {
                return Err(fail((SHORT_LINE, line.to_vec())));
            }
            let Some(line) = line.strip_suffix(b"\n") else {
                return Err(fail(("a line feed at the end of the line", line.to_vec())));
            };
            if line.first() == Some(&b'#') {
                continue;
            }
            let (kind, file) = parse_line(line).map_err(fail)?;
            if !names.insert(file.name.clone()) {
                return Err(fail(("a file that no other line names", file.name)));
            }
            manifest.add(kind, file).map_err(fail)?;
        }
        Ok(manifest)
    }

    fn add(&mut self, kind: Kind, file: File) -> Result<(), Unexpected> {
        match kind {
            Kind::Base if self.base.is_some() => {
                return Err((ONE_BASE, file.name));
            }
            Kind::Base => self.base = Some(file),
            Kind::Incr => {
                if self.incrs.last().is_some_and(|last| last.seq >= file.seq) {
                    return Err((RISING, file.seq.to_string().into()));
                }
                self.incrs.push(file);
            }
            Kind::History => self.history.push(file),
        }
        Ok(())
    }

    /// Whether the log has its beginning: a base, or, where there was nothing to put into one, the first of all increments.
    ///
    /// # Errors
    /// It has not: lines are missing.
    pub fn check_beginning(&self) -> Result<(), ManifestError> {
        const EXPECTED: &str = "a base, or the first of all increments";
        match (&self.base, self.incrs.first()) {
            (Some(_), _) => Ok(()),
            (None, Some(first)) if first.seq == 1 => Ok(()),
            (None, first) => {
                Err(ManifestError::new(1, EXPECTED, first.map_or(&b"nothing"[..], |first| &first.name)))
            }
        }
    }

    /// The text of the manifest, in the order in which Redis writes it: base, history, increments.
    pub fn text(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, file) in self.with_kinds() {
            file.write(kind, &mut out);
        }
        out
    }

    /// The text with a seal in front of it.
    pub fn sealed_text(&self) -> Vec<u8> {
        let text = self.text();
        let mut out = [SEAL, format!("{:08x}\n", crc32fast::hash(&text)).as_bytes()].concat();
        out.extend_from_slice(&text);
        out
    }

    /// Whether a manifest has a seal, so that it is ours: its increments were begun by us.
    pub fn is_sealed(text: &[u8]) -> bool {
        text.starts_with(SEAL)
    }

    /// All files with what they are, in the order of the text.
    pub fn with_kinds(&self) -> impl Iterator<Item = (Kind, &File)> {
        let base = self.base.iter().map(|file| (Kind::Base, file));
        let history = self.history.iter().map(|file| (Kind::History, file));
        base.chain(history).chain(self.incrs.iter().map(|file| (Kind::Incr, file)))
    }

    /// The files to load, in order: the base, then the increments. Only the last of them may end in a torn write.
    pub fn live(&self) -> impl Iterator<Item = &File> {
        self.base.iter().chain(&self.incrs)
    }

    /// The next manifest: with a new, empty increment at the end, into which everything goes from now on.
    /// `start_offset` is the replication offset of its first byte, when that is to be noted: Redis before 8 skips it.
    pub fn with_new_incr(&self, append_filename: &[u8], start_offset: Option<u64>) -> Self {
        let mut next = self.clone();
        let file = self.next_file(b".incr.aof", &self.incrs, |seq| incr_name(append_filename, seq));
        next.incrs.push(File { start_offset, ..file });
        next
    }

    /// The next manifest after a rewrite: a new base, which holds all that came before the increment numbered
    /// `first_kept`. The old base and the increments before that one become history.
    pub fn with_new_base(&self, append_filename: &[u8], format: BaseFormat, first_kept: u64) -> Self {
        let base =
            self.next_file(b".base.", self.base.as_slice(), |seq| base_name(append_filename, seq, format));
        let (superseded, kept): (Vec<File>, Vec<File>) =
            self.incrs.iter().cloned().partition(|incr| incr.seq < first_kept);
        let history = superseded.into_iter().chain(self.base.clone()).chain(self.history.clone());
        Self { base: Some(base), history: history.collect(), incrs: kept }
    }

    /// The next manifest: without history, once its files are removed (or are about to be).
    pub fn without_history(&self) -> Self {
        Self { history: Vec::new(), ..self.clone() }
    }

    /// A file with a number above those of all these, and of history of the same kind, and with a name that no file has,
    /// whatever numbers names of others say: a name is never given twice.
    fn next_file(&self, mark: &[u8], live: &[File], name: impl Fn(u64) -> Vec<u8>) -> File {
        let same_kind = |file: &&File| memchr::memmem::find(&file.name, mark).is_some();
        let used = live.iter().chain(self.history.iter().filter(same_kind));
        let first = used.map(|file| file.seq).max().unwrap_or(0).saturating_add(1);
        let is_free = |file: &File| self.with_kinds().all(|(_, other)| other.name != file.name);
        let mut files = (first..=u64::MAX).map(|seq| File::new(name(seq), seq));
        files.find(is_free).unwrap_or_else(|| File::new(name(first), first))
    }
}

/// The name of a base: `<append_filename>.<seq>.base.rdb`, or `.aof`.
pub fn base_name(append_filename: &[u8], seq: u64, format: BaseFormat) -> Vec<u8> {
    let suffix = match format {
        BaseFormat::Rdb => "rdb",
        BaseFormat::Aof => "aof",
    };
    [append_filename, format!(".{seq}.base.{suffix}").as_bytes()].concat()
}

/// The name of an increment: `<append_filename>.<seq>.incr.aof`.
pub fn incr_name(append_filename: &[u8], seq: u64) -> Vec<u8> {
    [append_filename, format!(".{seq}.incr.aof").as_bytes()].concat()
}

/// The name of the manifest itself.
pub fn manifest_name(append_filename: &[u8]) -> Vec<u8> {
    [append_filename, b".manifest"].concat()
}

/// The name under which a manifest is written, before it is renamed.
pub fn temp_manifest_name(append_filename: &[u8]) -> Vec<u8> {
    [b"temp-", append_filename, b".manifest"].concat()
}

/// Whether a log may be called so: all names made of it are names of files without a folder, and fit into a line.
pub fn is_usable(append_filename: &[u8]) -> bool {
    is_base_name(append_filename)
        && written_name(append_filename).len().saturating_add(SUFFIX_MAX + LINE_REST_MAX) <= LINE_MAX
}

/// Whether this names a file, and not a path to one.
fn is_base_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0))
}

/// The name as it stands in a line: in quotes if it is empty or has blanks, quotes or bytes that do not print.
fn written_name(name: &[u8]) -> Cow<'_, [u8]> {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'"' | b'\'');
    if !name.is_empty() && name.iter().all(plain) {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(words::quote(name))
    }
}

/// Checks what follows the word of the seal.
fn check_seal(seal: &[u8]) -> Result<(), Unexpected> {
    let fits = seal.split_at_checked(8).is_some_and(|(digits, rest)| {
        rest.strip_prefix(b"\n")
            .is_some_and(|text| digits == format!("{:08x}", crc32fast::hash(text)).as_bytes())
    });
    if fits { Ok(()) } else { Err(("a CRC32 that fits what follows", seal[..seal.len().min(8)].to_vec())) }
}

/// What was expected, and what was found in its place.
type Unexpected = (&'static str, Vec<u8>);

fn parse_line(line: &[u8]) -> Result<(Kind, File), Unexpected> {
    let malformed = |expected| (expected, line.to_vec());
    let words = words::split_args(words::trim(line)).map_err(|_| malformed("quotes that close"))?;
    if words.len() < 6 || words.len() % 2 != 0 {
        return Err(malformed("pairs of words: file NAME seq NUMBER type LETTER"));
    }
    let (mut name, mut seq, mut kind, mut start, mut end) = (None, None, None, None, None);
    for pair in words.chunks_exact(2) {
        let [key, value] = pair else { continue };
        let repeated = match key.to_ascii_lowercase().as_slice() {
            b"file" => name.replace(parse_name(value)?).is_some(),
            b"seq" => seq.replace(parse_seq(value)?).is_some(),
            b"type" => kind.replace(parse_kind(value)?).is_some(),
            b"startoffset" => start.replace(parse_offset(value)?).is_some(),
            b"endoffset" => end.replace(parse_offset(value)?).is_some(),
            _ => false,
        };
        if repeated {
            return Err(("no word twice", key.clone()));
        }
    }
    let name = name.ok_or_else(|| malformed("the word file, and a name"))?;
    let seq = seq.ok_or_else(|| malformed("the word seq, and a number"))?;
    let kind = kind.ok_or_else(|| malformed("the word type, and a letter"))?;
    Ok((kind, File { name, seq, start_offset: start, end_offset: end }))
}

fn parse_name(value: &[u8]) -> Result<Vec<u8>, Unexpected> {
    if !is_base_name(value) {
        return Err(("the name of a file, not a path", value.to_vec()));
    }
    if written_name(value).len().saturating_add(LINE_REST_MAX) > LINE_MAX {
        return Err(("a name that fits into a line", value.to_vec()));
    }
    Ok(value.to_vec())
}

fn parse_seq(value: &[u8]) -> Result<u64, Unexpected> {
    let seq = parse_number(value).filter(|seq| *seq > 0);
    seq.ok_or_else(|| ("a sequence number from 1 on", value.to_vec()))
}

fn parse_offset(value: &[u8]) -> Result<u64, Unexpected> {
    parse_number(value).ok_or_else(|| ("a replication offset", value.to_vec()))
}

fn parse_kind(value: &[u8]) -> Result<Kind, Unexpected> {
    match value {
        b"b" => Ok(Kind::Base),
        b"i" => Ok(Kind::Incr),
        b"h" => Ok(Kind::History),
        _ => Err((A_KIND, value.to_vec())),
    }
}

/// Digits that Redis can hold, too.
fn parse_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    i64::try_from(number).is_ok().then_some(number)
}

/// A line of the manifest that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// Number of the line, from 1.
    pub line: usize,
    /// What should have been there.
    pub expected: &'static str,
    /// What was there, shortened.
    pub found: Vec<u8>,
}

impl ManifestError {
    fn new(line: usize, expected: &'static str, found: &[u8]) -> Self {
        const SHOWN_MAX: usize = 120;
        Self { line, expected, found: found.iter().copied().take(SHOWN_MAX).collect() }
    }

    /// What Redis calls this: people and tools look for these words in the log.
    pub fn headline(&self) -> &'static str {
        match self.expected {
            A_LINE => "Found an empty AOF manifest",
            SHORT_LINE => "The AOF manifest file contains too long line",
            ONE_BASE => "Found duplicate base file information",
            RISING => "Found a non-monotonic sequence number",
            A_KIND => "Unknown AOF file type",
            _ => "Invalid AOF manifest file format",
        }
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, expected, found } = self;
        write!(f, "line {line} of the manifest: expected {expected}, found '{}'", found.escape_ascii())
    }
}

impl std::error::Error for ManifestError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Parses; the answer is the text written again, or the error.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = match Manifest::parse(text.as_bytes()) {
            Ok(manifest) => String::from_utf8(manifest.text()).expect("ASCII"),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{text:?}");
    }

    #[track_caller]
    fn check_same(text: &str) {
        check(text, text);
    }

    #[test]
    fn a_log_has_a_beginning() {
        let check = |text: &[u8]| Manifest::parse(text).and_then(|log| log.check_beginning()).is_ok();
        assert!(check(b"file a.2.base.rdb seq 2 type b\nfile a.4.incr.aof seq 4 type i\n"));
        assert!(check(b"file a.1.incr.aof seq 1 type i\nfile a.2.incr.aof seq 2 type i\n"));
        assert!(!check(b"file a.2.incr.aof seq 2 type i\n"));
        assert!(!check(b"file a.1.base.rdb seq 1 type h\n"));
        assert!(!check(b"# nothing\n"));
    }

    #[test]
    fn a_seal_shows_what_the_lines_cannot() {
        let log = Manifest::default().with_new_base(b"a", BaseFormat::Rdb, 0).with_new_incr(b"a", None);
        let sealed = log.sealed_text();
        assert_eq!(Manifest::parse(&sealed), Ok(log.clone()));
        assert_eq!(Manifest::parse(&log.text()), Ok(log.clone()), "as Redis writes it");
        for len in 0..sealed.len() {
            assert!(Manifest::parse(&sealed[..len]).is_err(), "cut to {len}");
        }
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut flipped = sealed.clone();
                flipped[at] ^= 1 << bit;
                let read = Manifest::parse(&flipped);
                assert!(read.is_err() || read == Ok(log.clone()), "bit {bit} of byte {at}: {read:?}");
            }
        }
    }

    #[test]
    fn manifests_are_read_and_written() {
        check_same("file a.aof.1.base.rdb seq 1 type b\nfile a.aof.1.incr.aof seq 1 type i\n");
        check_same(
            "file a.4.incr.aof seq 4 type i startoffset 10 endoffset 20\nfile a.9.incr.aof seq 9 type i\n",
        );
        check_same("file \"with blank.1.incr.aof\" seq 1 type i\n");
        check_same("file \"\\xc3\\xa4\\\"q\\n\" seq 1 type h\n");
        check("# only this\n", "");
        check(
            "type i seq 1 file a\n#c\n  FILE b\tSEQ 2 TYPE b new 'x y' \r\n",
            "file b seq 2 type b\nfile a seq 1 type i\n",
        );
    }

    #[test]
    fn errors_name_the_line_and_what_was_expected() {
        for (text, error) in [
            ("", "line 1 of the manifest: expected a line, found 'nothing'"),
            (
                "file a seq 1 type b",
                "line 1 of the manifest: expected a line feed at the end of the line, found 'file a seq 1 type b'",
            ),
            (
                "#\n\n",
                "line 2 of the manifest: expected pairs of words: file NAME seq NUMBER type LETTER, found ''",
            ),
            (
                "file a seq 1\n",
                "line 1 of the manifest: expected pairs of words: file NAME seq NUMBER type LETTER, found 'file a seq 1'",
            ),
            (
                "file a seq 1 type b x\n",
                "line 1 of the manifest: expected pairs of words: file NAME seq NUMBER type LETTER, found 'file a seq 1 type b x'",
            ),
            (
                "file 'a seq 1 type b\n",
                "line 1 of the manifest: expected quotes that close, found 'file \\'a seq 1 type b'",
            ),
            (
                "file a/b seq 1 type b\n",
                "line 1 of the manifest: expected the name of a file, not a path, found 'a/b'",
            ),
            (
                "file .. seq 1 type b\n",
                "line 1 of the manifest: expected the name of a file, not a path, found '..'",
            ),
            (
                "file a seq 0 type b\n",
                "line 1 of the manifest: expected a sequence number from 1 on, found '0'",
            ),
            (
                "file a seq 1x type b\n",
                "line 1 of the manifest: expected a sequence number from 1 on, found '1x'",
            ),
            (
                "file a seq 9223372036854775808 type b\n",
                "line 1 of the manifest: expected a sequence number from 1 on, found '9223372036854775808'",
            ),
            ("file a seq 1 type base\n", "line 1 of the manifest: expected type b, i or h, found 'base'"),
            (
                "file a seq 1 kind b\n",
                "line 1 of the manifest: expected the word type, and a letter, found 'file a seq 1 kind b'",
            ),
            ("file a seq 1 type i seq 2\n", "line 1 of the manifest: expected no word twice, found 'seq'"),
            (
                "file a seq 1 type b\nfile b seq 2 type b\n",
                "line 2 of the manifest: expected no more than one line of type b, found 'b'",
            ),
            (
                "file a seq 1 type i\nfile a seq 2 type h\n",
                "line 2 of the manifest: expected a file that no other line names, found 'a'",
            ),
            (
                "file a seq 2 type i\nfile b seq 2 type i\n",
                "line 2 of the manifest: expected a sequence number above that of the increment before, found '2'",
            ),
            (
                "file a seq 1 type i startoffset -1\n",
                "line 1 of the manifest: expected a replication offset, found '-1'",
            ),
        ] {
            check(text, error);
        }
        let long = format!("# {}\n", "x".repeat(LINE_MAX));
        assert_eq!(
            Manifest::parse(long.as_bytes()).expect_err("too long").expected,
            "a line of at most 1024 bytes"
        );
    }

    #[test]
    fn headlines_are_those_of_redis() {
        let long = format!("file {} seq 1 type b\n", "x".repeat(LINE_MAX));
        for (text, headline) in [
            ("", "Found an empty AOF manifest"),
            (&long, "The AOF manifest file contains too long line"),
            ("file a seq 1 type b\nfile b seq 2 type b\n", "Found duplicate base file information"),
            ("file a seq 2 type i\nfile b seq 1 type i\n", "Found a non-monotonic sequence number"),
            ("file a seq 2 type x\n", "Unknown AOF file type"),
            ("\n", "Invalid AOF manifest file format"),
            ("filx a seq 2 type b\n", "Invalid AOF manifest file format"),
        ] {
            let error = Manifest::parse(text.as_bytes()).expect_err("wrong");
            assert_eq!(error.headline(), headline, "{error}");
        }
    }

    fn text(manifest: &Manifest) -> String {
        String::from_utf8(manifest.text()).expect("ASCII")
    }

    #[test]
    fn a_rewrite_in_steps() {
        let first = Manifest::default().with_new_base(b"a", BaseFormat::Rdb, 0).with_new_incr(b"a", None);
        assert_eq!(text(&first), "file a.1.base.rdb seq 1 type b\nfile a.1.incr.aof seq 1 type i\n");

        let rewriting = first.with_new_incr(b"a", Some(7));
        let kept = rewriting.incrs.last().expect("an increment").seq;
        let done = rewriting.with_new_base(b"a", BaseFormat::Aof, kept);
        assert_eq!(
            text(&done),
            "file a.2.base.aof seq 2 type b\nfile a.1.incr.aof seq 1 type h\nfile a.1.base.rdb seq 1 type h\n\
             file a.2.incr.aof seq 2 type i startoffset 7\n"
        );
        let live: Vec<&[u8]> = done.live().map(|file| &file.name[..]).collect();
        assert_eq!(live, [&b"a.2.base.aof"[..], b"a.2.incr.aof"]);
        assert_eq!(
            text(&done.without_history()),
            "file a.2.base.aof seq 2 type b\nfile a.2.incr.aof seq 2 type i startoffset 7\n"
        );
    }

    #[test]
    fn no_name_is_given_twice() {
        let history = Manifest::parse(b"file a.7.incr.aof seq 7 type h\nfile a.3.base.rdb seq 3 type h\n")
            .expect("fine");
        let next = history.with_new_base(b"a", BaseFormat::Rdb, 0).with_new_incr(b"a", None);
        assert_eq!(next.base.as_ref().map(|file| file.seq), Some(4));
        assert_eq!(next.incrs.first().map(|file| file.seq), Some(8));
        // A name that somebody gave by hand, with the number that would come next.
        let by_hand = Manifest::parse(b"file a.2.base.rdb seq 1 type b\nfile a.4.incr.aof seq 3 type i\n")
            .expect("fine");
        let next = by_hand.with_new_incr(b"a", None);
        assert_eq!(next.incrs.last().map(|file| file.seq), Some(5));
        let done = next.with_new_base(b"a", BaseFormat::Rdb, 5);
        assert_eq!(done.base.as_ref().map(|file| file.seq), Some(3));
        assert_eq!(Manifest::parse(&done.text()).as_ref(), Ok(&done));
    }

    #[test]
    fn an_old_log_becomes_the_base() {
        let old = Manifest::of_single_file(b"appendonly.aof");
        assert_eq!(text(&old), "file appendonly.aof seq 1 type b\n");
    }

    #[test]
    fn names() {
        assert_eq!(manifest_name(b"a.aof"), b"a.aof.manifest");
        assert_eq!(temp_manifest_name(b"a.aof"), b"temp-a.aof.manifest");
        for (name, usable) in [("a.aof", true), ("", false), ("a/b", false), ("..", false), ("a b", true)] {
            assert_eq!(is_usable(name.as_bytes()), usable, "{name}");
        }
        assert!(is_usable(&[b'x'; 255]));
        assert!(!is_usable(&[0xff; 255]), "every byte takes four in quotes");
    }

    fn file(tag: &'static str) -> impl Strategy<Value = (Vec<u8>, Option<u64>)> {
        let byte = any::<u8>().prop_filter("no path", |byte| !matches!(byte, b'/' | b'\\' | 0));
        (proptest::collection::vec(byte, 0..40), proptest::option::of(0..i64::MAX as u64))
            .prop_map(move |(name, offset)| ([name.as_slice(), tag.as_bytes()].concat(), offset))
    }

    proptest! {
        /// What is written is read back.
        #[test]
        fn texts_read_back(
            base in proptest::option::of(file("b")),
            incrs in proptest::collection::vec(file("i"), 1..5),
            history in proptest::collection::vec(file("h"), 0..5),
        ) {
            let numbered = |(index, (name, start_offset)): (usize, (Vec<u8>, Option<u64>))| {
                let name = [name, index.to_string().into_bytes()].concat();
                File { start_offset, end_offset: start_offset, ..File::new(name, index as u64 + 1) }
            };
            let manifest = Manifest {
                base: base.map(|base| numbered((0, base))),
                history: history.into_iter().enumerate().map(numbered).collect(),
                incrs: incrs.into_iter().enumerate().map(numbered).collect(),
            };
            prop_assert_eq!(Manifest::parse(&manifest.text()), Ok(manifest));
        }

        /// Any bytes: an error, or a manifest that reads back.
        #[test]
        fn no_text_panics(text: Vec<u8>) {
            if let Ok(manifest) = Manifest::parse(&text) {
                prop_assert!(manifest.text().is_empty() || Manifest::parse(&manifest.text()) == Ok(manifest));
            }
        }
    }
}
