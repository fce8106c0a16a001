//! Reading a log: whole commands and whole transactions out of a mapped file, and a verdict on how the file ends.
//!
//! A *unit* is what is replayed as a whole or not at all: one command, or all from `MULTI` to `EXEC`. `SELECT` is not a unit
//! but says to which database those after it belong. A file need not have annotations (Redis writes none but
//! timestamps); where there are headers, everything they say is verified before the first unit of their block is handed out.
//!
//! # Torn or damaged
//!
//! A *torn* file ends in a write that was never finished: cutting it at `keep` loses nothing that was acknowledged as synced.
//! A *damaged* file is wrong in a way that no crash explains: cutting it would silently drop data that had been safe. Only the
//! last file of a log can be torn, or one whose followers were all written before it was synced ([`Verdict::in_log`]).
//!
//! | found                                                            | verdict                                       |
//! |------------------------------------------------------------------|-----------------------------------------------|
//! | the file ends inside of a command, an annotation or a transaction  | torn, unless something whole follows (below)   |
//! | a block shorter than its header says, up to the end of the file    | torn; damaged if the checksum fits what is there |
//! | nothing but zeros from within a unit or block up to the end        | torn, unless something whole follows             |
//! | a block that does not fit its CRC32, with sectors of zeros in it    | torn, unless something whole follows             |
//! | the same without such sectors, even at the very end of the file    | damaged: no write leaves that behind              |
//! | a transaction or command that leaves its block                     | damaged: blocks are written whole                 |
//! | a running checksum that does not fit, offsets that decrease         | damaged: blocks are missing, doubled or moved     |
//! | anything else that is not a command or an annotation               | damaged                                        |
//!
//! *Something whole* is a block behind the place that fits its own CRC32, or, where there are no headers, a command: a damaged
//! length makes the rest of the file look like one long argument, and Redis would cut off all of it. A block whose header
//! says that the place was not synced yet when it was written does not count: a disk writes in what order it likes until it is told to sync.
//! A file system gives parts of a file that it never wrote as zeros, in sectors (of 512 bytes, the smallest there are); so a block
//! without any was there and has changed since.
//!
//! Behind a block there can only be a header, a timestamp, the name of a history, or `SELECT` (perhaps after `MULTI`), which Redis writes first when it
//! goes on in a file of ours.
//! So the loss of a header is seen, too, and with headers no change of a single byte goes unnoticed or yields a unit that was
//! never written. Without headers only what breaks the structure can be seen.

use super::block::{self, Annotation, Annotator, Header, Synced};
use super::lineage::{self, Lineage};
use crate::number::parse_i64;
use std::fmt;
use std::ops::Range;

/// The smallest part of a file that is written or lost as a whole.
const SECTOR: usize = 512;

const BEHIND_BLOCK: &str = "a header, a timestamp, a history or SELECT behind a block";

/// Whether the file begins with a snapshot: the caller reads that first, and the commands from its end on.
pub fn starts_with_snapshot(file: &[u8]) -> bool {
    file.starts_with(b"REDIS") || file.starts_with(b"VALKEY")
}

/// A place between units, and all that has to be known to go on writing there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Offset in the file.
    pub offset: usize,
    /// The selected database.
    pub db: usize,
    /// The running checksum of the blocks so far.
    pub checksum: u64,
    /// The last timestamp.
    pub timestamp: Option<i64>,
    /// The replication offset: of this place if it is in or behind a block, of the end of the last block if there are
    /// commands without a header in between.
    pub replication_offset: Option<u64>,
    /// The history that all that was read belongs to.
    pub lineage: Lineage,
}

impl Position {
    /// Writes the annotations from here on.
    pub fn annotator(&self) -> Annotator {
        Annotator::resume(self.checksum, self.timestamp)
    }
}

/// One command, or all commands of a transaction.
#[derive(Clone, Copy, Debug)]
pub struct Unit<'r, 'a> {
    /// Offset of its first byte in the file: the `*` of the command, or of `MULTI`.
    pub start: usize,
    /// Offset after its last byte.
    pub end: usize,
    /// It was written in this second or later.
    pub timestamp: Option<i64>,
    /// Replication offset of its first byte, if it is part of an annotated block.
    pub replication_offset: Option<u64>,
    /// Whether it is a transaction. Its commands are those between `MULTI` and `EXEC`, perhaps none.
    pub transaction: bool,
    queued: &'r [Queued],
    args: &'r [&'a [u8]],
}

impl<'r, 'a> Unit<'r, 'a> {
    /// Its commands, in order.
    pub fn commands(&self) -> impl Iterator<Item = Command<'r, 'a>> + Clone + use<'r, 'a> {
        let args = self.args;
        let starts = std::iter::once(0).chain(self.queued.iter().map(|queued| queued.args_end));
        starts
            .zip(self.queued)
            .map(move |(start, queued)| Command { db: queued.db, args: &args[start..queued.args_end] })
    }
}

/// A command of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command<'r, 'a> {
    /// The database it belongs to.
    pub db: usize,
    /// Its arguments, the name first. Never empty.
    pub args: &'r [&'a [u8]],
}

/// A command of the unit being read: where its arguments end in the common list.
#[derive(Clone, Copy, Debug)]
struct Queued {
    db: usize,
    args_end: usize,
}

/// How a file ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of it was read.
    Whole,
    /// It ends in an unfinished write.
    Torn {
        /// End of the last whole unit: what to cut the file to.
        keep: usize,
        /// What is behind that.
        why: Tear,
    },
    /// It is wrong in a way that no unfinished write explains.
    Damaged {
        /// Where.
        offset: usize,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
}

impl Verdict {
    /// The verdict on a file of a log, of so many bytes, that these others follow, in their order.
    ///
    /// A torn file is damaged, unless all that stands in the others was written before the file was synced: then one
    /// power cut took the end of the one and maybe parts of the others. It may have taken whole blocks, so that what is left
    /// looks whole: the others say how long the file was. A base was whole and synced before there was any other file.
    /// Linear in the others if the file is torn.
    pub fn in_log<'o>(
        self,
        is_base: bool,
        len: usize,
        others: impl IntoIterator<Item = &'o [u8]> + Clone,
    ) -> Self {
        let verdict = match self {
            Self::Whole if !is_base => match missing_at_end(len, others.clone()) {
                Some(bytes) => Self::Torn { keep: len, why: Tear::Blocks { bytes } },
                None => Self::Whole,
            },
            other => other,
        };
        match verdict {
            Self::Torn { keep, why } if is_base || !others.into_iter().all(was_never_safe) => {
                let expected = "a whole file, since others follow it";
                Self::Damaged { offset: keep, expected, found: why.to_string() }
            }
            other => other,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("whole"),
            Self::Torn { keep, why } => write!(f, "torn: whole up to offset {keep}, then {why}"),
            Self::Damaged { offset, expected, found } => {
                write!(f, "damaged at offset {offset}: expected {expected}, found {found}")
            }
        }
    }
}

/// What the end of a torn file looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    /// The file ends inside of a command.
    Command,
    /// The file ends inside of an annotation.
    Annotation,
    /// The file ends before the `EXEC` of a transaction.
    Transaction,
    /// The file ends inside of a block.
    Block {
        /// Its length, as its header says.
        len: u64,
        /// So much of it is there.
        there: usize,
    },
    /// Only zeros from here to the end.
    Zeros {
        /// Offset of the first of them.
        from: usize,
    },
    /// A block lacks sectors in its midst.
    Sectors,
    /// Whole blocks are missing at the end, as the file behind it shows.
    Blocks {
        /// So many bytes.
        bytes: u64,
    },
}

impl fmt::Display for Tear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command => f.write_str("a command that is cut off"),
            Self::Annotation => f.write_str("an annotation that is cut off"),
            Self::Transaction => f.write_str("a transaction without EXEC"),
            Self::Block { len, there } => write!(f, "{there} of the {len} bytes of a block"),
            Self::Zeros { from } => write!(f, "nothing but zeros from offset {from} on"),
            Self::Sectors => f.write_str("a block that lacks sectors"),
            Self::Blocks { bytes } => write!(f, "{bytes} bytes are missing, as the file behind it shows"),
        }
    }
}

/// Reads the units of one file.
///
/// Nothing is copied, and nothing allocated per unit: the arguments are slices of the file in a list that is used again.
/// Linear in the file; each byte of a block is read twice for its checksums and once for its commands.
#[derive(Debug)]
pub struct Reader<'a> {
    file: &'a [u8],
    /// The file up to the end of the block being read, or all of it between blocks.
    window: &'a [u8],
    /// Where reading is: the start of what cannot be read, once that is found.
    at: usize,
    /// The last block: where it begins, and its header.
    block: Option<(usize, Header)>,
    in_block: bool,
    /// The last thing was a block.
    after_block: bool,
    /// End of the last timestamp line.
    timestamp_end: usize,
    before_timestamp: usize,
    blocks: u64,
    /// What is known at `at`.
    now: Position,
    /// The end of the last whole unit.
    settled: Position,
    queued: Vec<Queued>,
    args: Vec<&'a [u8]>,
    verdict: Option<Verdict>,
    /// Every block has a header, as whoever began the file says.
    headers: bool,
}

/// Why there is no next unit.
#[derive(Debug)]
enum Flaw {
    /// The file, or the block, ends too early.
    Cut(Tear),
    /// Something else was expected at this offset.
    Unexpected { at: usize, expected: &'static str },
    /// The block that begins here does not fit its CRC32.
    Mismatch { block: Range<usize>, computed: u32, header: Header },
    /// Something is wrong for certain.
    Damage(Verdict),
}

/// A unit just read.
struct Found {
    start: usize,
    transaction: bool,
}

impl<'a> Reader<'a> {
    /// Reads the commands of a file from an offset on: 0, or the end of the snapshot in front of them.
    pub fn new(file: &'a [u8], from: usize) -> Self {
        let from = from.min(file.len());
        let start = Position { offset: from, ..Position::default() };
        Self {
            file,
            window: file,
            at: from,
            block: None,
            in_block: false,
            after_block: false,
            timestamp_end: usize::MAX,
            before_timestamp: from,
            blocks: 0,
            now: start,
            settled: start,
            queued: Vec::new(),
            args: Vec::new(),
            verdict: None,
            headers: false,
        }
    }

    /// The file was begun by us, so its first block had a header, though that may be lost.
    #[must_use]
    pub fn begun_by_us(mut self, by_us: bool) -> Self {
        self.headers = by_us;
        self
    }

    /// Goes on where the files in front of this one lead to.
    #[must_use]
    pub fn after(mut self, lineage: Lineage) -> Self {
        self.now.lineage = lineage;
        self.settled.lineage = lineage;
        self
    }

    /// The next unit; `None` at the end, when there is a [`verdict`](Self::verdict).
    #[inline]
    pub fn read(&mut self) -> Option<Unit<'_, 'a>> {
        if self.verdict.is_some() {
            return None;
        }
        self.args.clear();
        self.queued.clear();
        let found = match self.advance() {
            Ok(Some(found)) => found,
            Ok(None) => {
                self.settle();
                self.verdict = Some(Verdict::Whole);
                return None;
            }
            Err(flaw) => {
                self.verdict = Some(self.judge(flaw));
                return None;
            }
        };
        self.settle();
        Some(Unit {
            start: found.start,
            end: self.at,
            timestamp: self.now.timestamp,
            replication_offset: self.replication_offset(found.start).filter(|_| self.in_block),
            transaction: found.transaction,
            queued: &self.queued,
            args: &self.args,
        })
    }

    /// How the file ends, once [`read`](Self::read) gave `None`.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// The end of the last whole unit; of a whole file its end. Writing goes on here, once what is behind it is cut off.
    pub fn position(&self) -> Position {
        let replication_offset = self.replication_offset(self.settled.offset);
        Position { replication_offset, ..self.settled }
    }

    /// Bytes of the whole file.
    pub fn file_len(&self) -> usize {
        self.file.len()
    }

    /// How many annotated blocks there were so far.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// The end of all that was written before the last timestamp: what a file is cut to, to go back in time.
    pub fn before_timestamp(&self) -> usize {
        self.before_timestamp
    }

    /// The replication offset of a place in the last block, or of its nearer end.
    fn replication_offset(&self, at: usize) -> Option<u64> {
        let (begin, header) = self.block?;
        Some(header.off.saturating_add((at.saturating_sub(begin) as u64).min(header.len)))
    }

    fn settle(&mut self) {
        self.now.offset = self.at;
        self.settled = self.now;
    }

    fn advance(&mut self) -> Result<Option<Found>, Flaw> {
        let mut multi = None;
        loop {
            let start = self.at;
            match self.window.get(start) {
                Some(b'*') => {
                    if !self.in_block {
                        self.now.lineage.uncounted();
                    }
                    let first = self.args.len();
                    let end = command(self.window, start, &mut self.args)?;
                    let role = role(&self.args[first..])
                        .map_err(|expected| Flaw::Unexpected { at: start, expected })?;
                    match role {
                        Role::Select(_) => self.after_block = false,
                        Role::Other | Role::Exec if self.after_block => {
                            return Err(Flaw::Unexpected { at: start, expected: BEHIND_BLOCK });
                        }
                        _ => {}
                    }
                    if role != Role::Other {
                        self.args.truncate(first);
                    }
                    match (role, multi) {
                        (Role::Other, _) => {
                            self.queued.push(Queued { db: self.now.db, args_end: self.args.len() })
                        }
                        (Role::Select(db), _) => self.now.db = db,
                        (Role::Multi, None) => multi = Some(start),
                        (Role::Multi, Some(_)) => {
                            return Err(Flaw::Unexpected { at: start, expected: "no MULTI inside of MULTI" });
                        }
                        (Role::Exec, None) => {
                            return Err(Flaw::Unexpected { at: start, expected: "no EXEC without MULTI" });
                        }
                        (Role::Exec, Some(start)) => {
                            self.at = end;
                            return Ok(Some(Found { start, transaction: true }));
                        }
                    }
                    self.at = end;
                    match (role, multi) {
                        (_, Some(_)) => {}
                        (Role::Other, None) => return Ok(Some(Found { start, transaction: false })),
                        (_, None) => self.settle(),
                    }
                }
                Some(b'#') if !self.in_block => self.annotation(multi.is_some())?,
                Some(_) => {
                    return Err(Flaw::Unexpected { at: start, expected: "a command or an annotation" });
                }
                None if multi.is_some() => return Err(Flaw::Cut(Tear::Transaction)),
                None if self.in_block => self.leave_block(),
                None => return Ok(None),
            }
        }
    }

    fn leave_block(&mut self) {
        self.in_block = false;
        if let Some((_, header)) = self.block {
            self.now.lineage.block(header.off, header.len);
        }
        self.after_block = true;
        self.window = self.file;
        self.settle();
    }

    /// Reads an annotation between blocks, and enters the block when it is a header.
    fn annotation(&mut self, in_transaction: bool) -> Result<(), Flaw> {
        let start = self.at;
        let line = line(self.file, start)?;
        let end = start + line.len();
        match block::parse(line).map_err(|expected| Flaw::Unexpected { at: start, expected })? {
            Annotation::Other if self.after_block => {
                return Err(Flaw::Unexpected { at: start, expected: BEHIND_BLOCK });
            }
            Annotation::Other => {}
            Annotation::Timestamp(seconds) => {
                self.now.timestamp = Some(seconds);
                self.timestamp_end = end;
                self.before_timestamp = self.settled.offset;
            }
            Annotation::Block(..) | Annotation::History(_) if in_transaction => {
                return Err(Flaw::Unexpected { at: start, expected: "EXEC before the next header" });
            }
            Annotation::Block(header, covered) => self.enter_block(header, covered, end)?,
            Annotation::History(named) => {
                self.now.lineage.named(named);
                self.at = end;
                self.settle();
            }
        }
        self.at = end;
        Ok(())
    }

    /// Verifies the block that begins at an offset.
    fn enter_block(&mut self, header: Header, covered: &[u8], begin: usize) -> Result<(), Flaw> {
        let start = self.at;
        let rest = self.file.get(begin..).unwrap_or_default();
        let timestamp = self.now.timestamp.filter(|_| self.timestamp_end == start);
        let Some(block) = usize::try_from(header.len).ok().and_then(|len| rest.get(..len)) else {
            if fits(rest, header, timestamp) {
                let found = format!("a length of {} and {} bytes that fit the CRC32", header.len, rest.len());
                return Err(damage(start, "a header with the length of its block", found));
            }
            return Err(Flaw::Cut(Tear::Block { len: header.len, there: rest.len() }));
        };
        if !fits(block, header, timestamp) {
            let computed = block::block_crc32(block, header.off, header.synced, timestamp);
            return Err(Flaw::Mismatch { block: begin..begin + block.len(), computed, header });
        }
        let checksum = block::running_checksum(self.now.checksum, covered, block);
        if checksum != header.checksum {
            let found = format!("{:016x} where {checksum:016x} is right", header.checksum);
            return Err(damage(start, "the running checksum of the blocks up to this one", found));
        }
        if let Some((_, before)) = self.block.filter(|(_, before)| header.off < before.off) {
            let found = format!("{} after {}", header.off, before.off);
            return Err(damage(start, "replication offsets that never decrease", found));
        }
        self.now.checksum = checksum;
        self.blocks += 1;
        self.block = Some((begin, header));
        self.in_block = true;
        self.after_block = false;
        self.window = &self.file[..begin + block.len()];
        Ok(())
    }

    /// Torn or damaged: see the module.
    fn judge(&self, flaw: Flaw) -> Verdict {
        let keep = self.settled.offset;
        let verdict = match flaw {
            Flaw::Damage(verdict) => return verdict,
            Flaw::Cut(_) if self.in_block => {
                let expected = "whole commands and transactions up to the end of the block";
                return Verdict::Damaged { offset: self.at, expected, found: found(self.file, self.at) };
            }
            Flaw::Unexpected { at, expected } if self.in_block => {
                return Verdict::Damaged { offset: at, expected, found: found(self.file, at) };
            }
            Flaw::Cut(why) => Verdict::Torn { keep, why },
            Flaw::Unexpected { at, expected } => match self.missing(at, self.at..self.file.len()) {
                Some(why) => Verdict::Torn { keep, why },
                None => return Verdict::Damaged { offset: at, expected, found: found(self.file, at) },
            },
            Flaw::Mismatch { block, computed, header } => match self.missing_in_block(block.clone()) {
                Some(why) => Verdict::Torn { keep, why },
                None => {
                    let found = format!("{computed:08x} where the header has {:08x}", header.crc32);
                    return Verdict::Damaged {
                        offset: block.start,
                        expected: "a block that fits its CRC32",
                        found,
                    };
                }
            },
        };
        match self.whole_behind(self.at + 1) {
            None => verdict,
            Some(offset) => Verdict::Damaged {
                offset: self.at,
                expected: "whole commands, since whole ones follow",
                found: format!("{}, and something whole again at offset {offset}", found(self.file, self.at)),
            },
        }
    }

    /// What is missing of something that is wrong at `at` and was to fill `range`.
    fn missing(&self, at: usize, range: Range<usize>) -> Option<Tear> {
        let zeros = zeros_at_end(self.file);
        if zeros < self.file.len() && zeros <= at {
            return Some(Tear::Zeros { from: zeros.max(self.settled.offset) });
        }
        // Without headers nobody could tell a lost sector from zeros in a value; but no file begins with a value.
        let headers = self.block.is_some()
            || range.start == 0
            || self.file[range.clone()].starts_with(block::HEADER_MARK);
        let first_sector =
            range.start..at.max(range.start).saturating_add(1).next_multiple_of(SECTOR).min(range.end);
        (headers && lacks_sectors(self.file, first_sector)).then_some(Tear::Sectors)
    }

    /// What is missing of a block that does not fit its CRC32.
    fn missing_in_block(&self, block: Range<usize>) -> Option<Tear> {
        let zeros = zeros_at_end(self.file);
        if zeros < self.file.len() && zeros < block.end {
            return Some(Tear::Zeros { from: zeros });
        }
        let last = matches!(self.file.get(block.end), None | Some(b'#' | 0));
        (last && lacks_sectors(self.file, block)).then_some(Tear::Sectors)
    }

    /// The first thing behind an offset that no crash explains if what is in front of it was lost: a block that was written
    /// when that had been synced, or, in a part without headers, a whole command.
    fn whole_behind(&self, from: usize) -> Option<usize> {
        let keep = self.settled.offset as u64;
        let block = whole_block(self.file, from, |header| match header.synced {
            None => true,
            Some(Synced::NotBefore { .. }) => false,
            Some(Synced::UpTo(bytes)) => bytes > keep,
        });
        // The commands of an unfinished block are to go with it.
        let headers = self.after_block
            || self.headers && self.blocks == 0
            || memchr::memmem::find(&self.file[self.at..], block::HEADER_MARK).is_some();
        if headers { block } else { block.or_else(|| whole_command(self.file, from)) }
    }
}

/// Whether nothing in a file was written after the files in front of it had been synced. False if it cannot be told.
fn was_never_safe(file: &[u8]) -> bool {
    let ours = |at: usize| {
        let rest = &file[at.min(file.len())..];
        rest.is_empty()
            || rest[0] == 0
            || block::HEADER_MARK.starts_with(&rest[..rest.len().min(block::HEADER_MARK.len())])
            || rest.starts_with(b"#TS:")
            || rest.starts_with(lineage::START)
    };
    let counts = |header: &Header| !matches!(header.synced, Some(Synced::NotBefore { .. }));
    ours(0) && whole_block(file, 0, counts).is_none()
}

/// How much a file of so many bytes lacks at its end, as the files behind it say.
fn missing_at_end<'o>(len: usize, others: impl IntoIterator<Item = &'o [u8]>) -> Option<u64> {
    let told = |(n, other): (u64, &[u8])| match first_header(other)?.synced? {
        Synced::NotBefore { back, bytes } if back == n => bytes.checked_sub(len as u64),
        _ => None,
    };
    (1..).zip(others).filter_map(told).find(|missing| *missing > 0)
}

/// The header of the first whole block of a file.
fn first_header(file: &[u8]) -> Option<Header> {
    let mut first = None;
    whole_block(file, 0, |header| {
        first = Some(*header);
        true
    });
    first
}

fn damage(offset: usize, expected: &'static str, found: String) -> Flaw {
    Flaw::Damage(Verdict::Damaged { offset, expected, found })
}

/// Whether a block fits the CRC32 of its header. A timestamp in front of the header counts, unless it was left
/// there by somebody else.
fn fits(block: &[u8], header: Header, timestamp: Option<i64>) -> bool {
    let fits = |timestamp| block::block_crc32(block, header.off, header.synced, timestamp) == header.crc32;
    fits(timestamp) || (timestamp.is_some() && fits(None))
}

/// What a command means to the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Other,
    Select(usize),
    Multi,
    Exec,
}

#[inline]
fn role(args: &[&[u8]]) -> Result<Role, &'static str> {
    let Some(name) = args.first() else { return Ok(Role::Other) };
    match name.len() {
        4 if name.eq_ignore_ascii_case(b"EXEC") => Ok(Role::Exec),
        5 if name.eq_ignore_ascii_case(b"MULTI") => Ok(Role::Multi),
        6 if name.eq_ignore_ascii_case(b"SELECT") => {
            let db = match args {
                [_, db] => parse_i64(db)
                    .and_then(|db| i32::try_from(db).ok())
                    .and_then(|db| usize::try_from(db).ok()),
                _ => None,
            };
            db.map(Role::Select).ok_or("SELECT with the number of a database")
        }
        _ => Ok(Role::Other),
    }
}

/// Reads a command; the offset after it.
#[inline]
fn command<'a>(bytes: &'a [u8], at: usize, args: &mut Vec<&'a [u8]>) -> Result<usize, Flaw> {
    let (count, mut at) = number(bytes, at, b'*')?;
    if count == 0 {
        return Err(Flaw::Unexpected { at: at - 1, expected: "a command with a name" });
    }
    for _ in 0..count {
        let (len, start) = number(bytes, at, b'$')?;
        let end = usize::try_from(len).ok().and_then(|len| start.checked_add(len));
        let Some((arg, end)) = end.and_then(|end| Some((bytes.get(start..end)?, end))) else {
            return Err(Flaw::Cut(Tear::Command));
        };
        at = line_end(bytes, end)?;
        args.push(arg);
    }
    Ok(at)
}

/// Reads `sigil`, digits, CR LF; the number, and the offset after it.
#[inline]
fn number(bytes: &[u8], at: usize, sigil: u8) -> Result<(u64, usize), Flaw> {
    match bytes.get(at..).unwrap_or_default() {
        [first, digit @ b'0'..=b'9', b'\r', b'\n', ..] if *first == sigil => {
            Ok((u64::from(digit - b'0'), at + 4))
        }
        [first, tens @ b'0'..=b'9', digit @ b'0'..=b'9', b'\r', b'\n', ..] if *first == sigil => {
            Ok((u64::from(tens - b'0') * 10 + u64::from(digit - b'0'), at + 5))
        }
        _ => long_number(bytes, at, sigil),
    }
}

fn long_number(bytes: &[u8], at: usize, sigil: u8) -> Result<(u64, usize), Flaw> {
    let expected = if sigil == b'*' { "'*' and a number of arguments" } else { "'$' and a length" };
    match bytes.get(at) {
        None => return Err(Flaw::Cut(Tear::Command)),
        Some(first) if *first != sigil => return Err(Flaw::Unexpected { at, expected }),
        Some(_) => {}
    }
    let digits_start = at + 1;
    let mut at = digits_start;
    let mut number = 0u64;
    while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
        let next = number.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(digit - b'0')));
        number = next.ok_or(Flaw::Unexpected { at, expected })?;
        at += 1;
    }
    if at == digits_start && at < bytes.len() {
        return Err(Flaw::Unexpected { at, expected });
    }
    Ok((number, line_end(bytes, at)?))
}

/// Reads CR LF; the offset after it.
#[inline]
fn line_end(bytes: &[u8], at: usize) -> Result<usize, Flaw> {
    const EXPECTED: &str = "CR LF";
    match bytes.get(at..).unwrap_or_default() {
        [b'\r', b'\n', ..] => Ok(at + 2),
        [] | [b'\r'] => Err(Flaw::Cut(Tear::Command)),
        [b'\r', ..] => Err(Flaw::Unexpected { at: at + 1, expected: EXPECTED }),
        _ => Err(Flaw::Unexpected { at, expected: EXPECTED }),
    }
}

/// The line of an annotation, its line feed included.
fn line(file: &[u8], at: usize) -> Result<&[u8], Flaw> {
    let rest = file.get(at..).unwrap_or_default();
    let seen = &rest[..rest.len().min(block::LINE_MAX)];
    // A lost sector may lie between the beginning of a line and the end of another.
    match memchr::memchr2(b'\n', 0, seen) {
        Some(end) if seen[end] == b'\n' => Ok(&seen[..=end]),
        Some(zero) => Err(Flaw::Unexpected { at: at + zero, expected: "the rest of an annotation" }),
        None if seen.len() < block::LINE_MAX => Err(Flaw::Cut(Tear::Annotation)),
        None => Err(Flaw::Unexpected { at, expected: "an annotation of at most 1023 bytes" }),
    }
}

/// Where the zeros begin that the file ends with; its length if it does not.
fn zeros_at_end(file: &[u8]) -> usize {
    let last = file.rchunks(SECTOR).position(|chunk| chunk.iter().any(|byte| *byte != 0));
    let Some(chunks) = last else { return 0 };
    let end = file.len() - chunks * SECTOR;
    file[..end].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Whether a sector is zeros throughout, as far as it lies in the range.
fn lacks_sectors(file: &[u8], range: Range<usize>) -> bool {
    let mut start = range.start;
    while start < range.end {
        let end = (start + 1).next_multiple_of(SECTOR).min(range.end);
        if file[start..end].iter().all(|byte| *byte == 0) {
            return true;
        }
        start = end;
    }
    false
}

/// The first block from an offset on that fits its CRC32 and counts.
fn whole_block(file: &[u8], from: usize, mut counts: impl FnMut(&Header) -> bool) -> Option<usize> {
    let rest = file.get(from..)?;
    // Blocks do not overlap, so the true ones are no longer than the file together; headers in values may claim more.
    let mut budget = file.len().saturating_mul(4);
    let mut next = from;
    for found in memchr::memmem::find_iter(rest, block::HEADER_MARK) {
        let at = from + found;
        if at < next {
            // In a value of a block that does not count.
            continue;
        }
        let Ok(line) = line(file, at) else { continue };
        let Ok(Annotation::Block(header, _)) = block::parse(line) else { continue };
        let begin = at + line.len();
        let Some(block) = usize::try_from(header.len).ok().and_then(|len| file.get(begin..)?.get(..len))
        else {
            continue;
        };
        let Some(left) = budget.checked_sub(block.len()) else { return Some(at) };
        budget = left;
        if fits(block, header, timestamp_before(file, at)) {
            if counts(&header) {
                return Some(at);
            }
            next = begin + block.len();
        }
    }
    None
}

/// The timestamp of a line that ends at an offset.
fn timestamp_before(file: &[u8], at: usize) -> Option<i64> {
    let start = memchr::memrchr(b'#', file.get(..at)?)?;
    match block::parse(&file[start..at]) {
        Ok(Annotation::Timestamp(seconds)) => Some(seconds),
        _ => None,
    }
}

/// The first command from an offset on that is whole, and with which whole commands begin that go up to the end of the file, or up to
/// where it is cut off.
fn whole_command(file: &[u8], from: usize) -> Option<usize> {
    let (mut args, zeros) = (Vec::new(), zeros_at_end(file));
    let mut next = from;
    for found in memchr::memmem::find_iter(file.get(from..)?, b"\r\n*") {
        let first = from + found + 2;
        if first < next {
            continue;
        }
        next = first;
        let cut = loop {
            args.clear();
            match file.get(next) {
                None => break true,
                Some(b'*') => match command(file, next, &mut args) {
                    Ok(end) => next = end,
                    Err(flaw) => break matches!(flaw, Flaw::Cut(_)),
                },
                Some(b'#') => match line(file, next) {
                    Ok(line) => next += line.len(),
                    Err(flaw) => break matches!(flaw, Flaw::Cut(_)),
                },
                Some(_) => break zeros <= next,
            }
        };
        if cut && next > first {
            return Some(first);
        }
    }
    None
}

/// What is at an offset, for people.
fn found(file: &[u8], at: usize) -> String {
    const SHOWN_MAX: usize = 24;
    match file.get(at..) {
        None | Some([]) => "the end of the file".to_owned(),
        Some(rest) => format!("'{}'", rest[..rest.len().min(SHOWN_MAX)].escape_ascii()),
    }
}
