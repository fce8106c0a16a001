//! What SCAN, SSCAN, HSCAN and ZSCAN have in common: the cursor, the options, and the form of the reply.

use crate::command::Args;
use crate::error::CommandError;
use crate::glob::glob_match;
use crate::number::parse_u64;
use crate::reply::Out;
use crate::types::listpack::{IntText, LpEntry};

/// What is scanned: each has options that the others refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    /// Keys, by SCAN.
    Keys,
    /// A set, by SSCAN.
    Set,
    /// A hash, by HSCAN.
    Hash,
    /// A sorted set, by ZSCAN.
    ZSet,
}

/// The options after the cursor.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScanOptions<'a> {
    /// `COUNT`: about how much to look at.
    pub(super) count: usize,
    /// `MATCH`, unless it matches everything.
    pub(super) pattern: Option<&'a [u8]>,
    /// `TYPE`, not looked at here.
    pub(super) kind: Option<&'a [u8]>,
    /// `NOVALUES` of a hash, `NOSCORES` of a sorted set.
    pub(super) names_only: bool,
}

/// Reads a cursor.
pub(super) fn cursor(arg: &[u8]) -> Result<u64, CommandError> {
    parse_u64(arg).ok_or(CommandError::text("ERR invalid cursor"))
}

impl<'a> ScanOptions<'a> {
    /// Reads the options that are left of the arguments.
    pub(super) fn read(args: &mut Args<'a>, scanned: Scanned) -> Result<Self, CommandError> {
        let mut options = Self { count: 10, pattern: None, kind: None, names_only: false };
        while args.left() > 0 {
            let more = args.left() >= 2;
            if more && args.word("COUNT") {
                options.count = match args.integer()? {
                    n if n < 1 => return Err(CommandError::Syntax),
                    n => usize::try_from(n).unwrap_or(usize::MAX),
                };
            } else if more && args.word("MATCH") {
                options.pattern = args.take().filter(|pattern| *pattern != b"*");
            } else if more && scanned == Scanned::Keys && args.word("TYPE") {
                options.kind = args.take();
            } else if args.word("NOVALUES") {
                if scanned != Scanned::Hash {
                    return Err(CommandError::text("ERR NOVALUES option can only be used in HSCAN"));
                }
                options.names_only = true;
            } else if args.word("NOSCORES") {
                if scanned != Scanned::ZSet {
                    return Err(CommandError::text("ERR NOSCORES option can only be used in ZSCAN"));
                }
                options.names_only = true;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }

    /// Whether the pattern lets an element of a collection through.
    #[inline]
    pub(super) fn matches_entry(&self, name: &LpEntry<'_>) -> bool {
        self.pattern.is_none_or(|pattern| glob_match(pattern, name.as_slice(&mut IntText::default()), false))
    }
}

/// Writes the head of the reply: the cursor to go on with, and how many elements follow.
pub(super) fn write_head(out: &mut Out, cursor: u64, elements: usize) {
    out.array(2);
    out.bulk(itoa::Buffer::new().format(cursor).as_bytes());
    out.array(elements);
}
