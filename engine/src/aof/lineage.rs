//! The history of replication that a log belongs to: lines between blocks, and what follows from them.
//!
//! ```text
//! #REPLID:8371b4fb1155b71f4a04d3e1bc3e18c4a990aeeb;off:8812;db:3;crc32:09d4a3c1;\r\n
//! ```
//!
//! From this place on the log is a part of that history, whose offset here is `off`. Where the log is the stream of a primary,
//! `db` is the database that the stream is in here. The CRC32 covers the line up to the word `crc32`. There is such a line at
//! the beginning of a file, and wherever the history gets another name; Redis skips it, as all lines that begin with `#`.
//!
//! Data that were read from a log are those of its history at the offset where it ends, if nothing is missing and nothing is
//! there that nobody counted: blocks follow each other without a gap, and every command is in a block.

use super::block::{hex, number};

/// How the line begins.
pub(super) const START: &[u8] = b"#REPLID:";
const CRC32_KEY: &[u8] = b";crc32:";
const ID: usize = 40;

/// What such a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name of the history.
    pub id: [u8; ID],
    /// Its offset at this place.
    pub off: u64,
    /// The database that a primary's stream is in here.
    pub db: Option<usize>,
}

impl Named {
    /// The line.
    pub fn line(&self) -> Vec<u8> {
        let mut line = [START, &self.id, b";off:", itoa::Buffer::new().format(self.off).as_bytes()].concat();
        if let Some(db) = self.db {
            line.extend_from_slice(b";db:");
            line.extend_from_slice(itoa::Buffer::new().format(db).as_bytes());
        }
        let crc32 = crc32fast::hash(&line);
        line.extend_from_slice(format!(";crc32:{crc32:08x};\r\n").as_bytes());
        line
    }

    /// Reads the line, its line end included.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let end = memchr::memmem::rfind(line, CRC32_KEY)?;
        let (covered, rest) = line.split_at(end);
        let crc32 = hex::<8>(rest.strip_prefix(CRC32_KEY)?.strip_suffix(b";\r\n")?)?;
        if crc32 != u64::from(crc32fast::hash(covered)) {
            return None;
        }
        let mut parts = covered.strip_prefix(START)?.split(|byte| *byte == b';');
        let id = parts.next()?.try_into().ok()?;
        let (mut off, mut db) = (None, None);
        for part in parts {
            if let Some(value) = part.strip_prefix(b"off:") {
                off = Some(number(value)?);
            } else if let Some(value) = part.strip_prefix(b"db:") {
                db = Some(usize::try_from(number(value)?).ok()?);
            }
        }
        Some(Self { id, off: off?, db })
    }
}

/// To which place of which history what has been read of a log leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    named: Option<Named>,
    /// The offset here, once it is known.
    at: Option<u64>,
    broken: bool,
}

impl Lineage {
    /// Behind something of which nobody knows how far it leads.
    pub fn unknown() -> Self {
        Self { broken: true, ..Self::default() }
    }

    /// The history at this place, if it is known: its `db` only if no command came since it was told.
    pub fn here(&self) -> Option<Named> {
        let named = self.named.filter(|_| !self.broken)?;
        Some(Named { off: self.at?, ..named })
    }

    /// A line that names the history.
    pub(super) fn named(&mut self, named: Named) {
        self.go_to(named.off, named.off);
        self.named = Some(named);
    }

    /// A block has been read. One that ends where it is read has only selected a database, and takes no room.
    pub(super) fn block(&mut self, off: u64, len: u64) {
        let end = off.saturating_add(len);
        if self.at == Some(end) {
            return;
        }
        self.go_to(off, end);
        if let Some(named) = &mut self.named {
            named.db = None;
        }
    }

    /// A command that is in no block: nobody knows how far it leads.
    pub(super) fn uncounted(&mut self) {
        self.broken = true;
    }

    fn go_to(&mut self, from: u64, to: u64) {
        self.broken |= self.at.is_some_and(|at| at != from);
        self.at = Some(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMED: Named = Named { id: [b'a'; ID], off: 8812, db: Some(3) };

    #[test]
    fn lines() {
        for named in [NAMED, Named { db: None, ..NAMED }, Named { off: u64::MAX, ..NAMED }] {
            let line = named.line();
            assert_eq!(Named::parse(&line), Some(named));
            for at in 0..line.len() {
                let mut damaged = line.clone();
                damaged[at] ^= 0x21;
                assert_eq!(Named::parse(&damaged), None, "byte {at}");
                assert_eq!(Named::parse(&line[..at]), None, "cut at {at}");
            }
        }
    }

    #[test]
    fn what_leads_where() {
        let mut lineage = Lineage::default();
        lineage.block(0, 100);
        assert_eq!(lineage.here(), None, "nobody has said which history it is");
        lineage.named(Named { off: 100, ..NAMED });
        assert_eq!(lineage.here(), Some(Named { off: 100, ..NAMED }));
        lineage.block(77, 23);
        assert_eq!(lineage.here(), Some(Named { off: 100, ..NAMED }), "a database is selected");
        lineage.block(100, 50);
        let here = Named { off: 150, db: None, ..NAMED };
        assert_eq!(lineage.here(), Some(here));
        let (mut gap, mut stranger) = (lineage, lineage);
        gap.block(151, 10);
        assert_eq!(gap.here(), None);
        gap.named(Named { off: 161, ..NAMED });
        assert_eq!(gap.here(), None, "what is missing stays missing");
        stranger.uncounted();
        assert_eq!(stranger.here(), None);
        lineage.named(Named { id: [b'b'; ID], ..here });
        assert_eq!(lineage.here().map(|named| named.id), Some([b'b'; ID]));
    }
}
