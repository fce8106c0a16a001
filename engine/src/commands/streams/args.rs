//! Ids, intervals and trimming among the arguments of stream commands.

use crate::command::Args;
use crate::context::Context;
use crate::error::CommandError;
use crate::types::stream::{StreamId, Trim};

pub(super) const INVALID_ID: CommandError =
    CommandError::text("ERR Invalid stream ID specified as stream command argument");

/// An id; without a second part that is 0.
#[inline]
pub(super) fn id(arg: &[u8]) -> Result<StreamId, CommandError> {
    StreamId::parse(arg, 0).ok_or(INVALID_ID)
}

/// An id, or `-` and `+` for the least and the greatest.
pub(super) fn id_or_end(arg: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    match arg {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        arg => StreamId::parse(arg, missing_seq).ok_or(INVALID_ID),
    }
}

/// The first id of an interval: `(` excludes it.
pub(super) fn start(arg: &[u8]) -> Result<StreamId, CommandError> {
    match arg {
        [b'(', arg @ ..] if !arg.is_empty() => {
            id(arg)?.next().ok_or(CommandError::text("ERR invalid start ID for the interval"))
        }
        arg => id_or_end(arg, 0),
    }
}

/// The last id of an interval: `(` excludes it.
pub(super) fn end(arg: &[u8]) -> Result<StreamId, CommandError> {
    match arg {
        [b'(', arg @ ..] if !arg.is_empty() => {
            let end = StreamId::parse(arg, u64::MAX).ok_or(INVALID_ID)?;
            end.prev().ok_or(CommandError::text("ERR invalid end ID for the interval"))
        }
        arg => id_or_end(arg, u64::MAX),
    }
}

/// Several ids; none counts when one is wrong.
pub(super) fn ids(args: &[&[u8]]) -> Result<Vec<StreamId>, CommandError> {
    args.iter().map(|arg| id(arg)).collect()
}

/// A count of elements to return: 0 stands for all, and so do negative ones.
pub(super) fn count_or_all(args: &mut Args<'_>) -> Result<usize, CommandError> {
    args.integer().map(|count| usize::try_from(count.max(0)).unwrap_or(usize::MAX))
}

/// The id of an entry that is to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NewId {
    /// `*`
    Auto,
    /// `ms-*`
    Open(u64),
    Exact(StreamId),
}

impl NewId {
    fn parse(arg: &[u8]) -> Result<Self, CommandError> {
        match StreamId::parse_open(arg) {
            Some(ms) => Ok(Self::Open(ms)),
            None => id(arg).map(Self::Exact),
        }
    }

    /// The id itself, if it comes after `last`.
    pub(super) fn after(self, last: StreamId, now_ms: i64) -> Option<StreamId> {
        match self {
            Self::Exact(id) => Some(id).filter(|id| *id > last),
            Self::Auto => match u64::try_from(now_ms) {
                Ok(ms) if ms > last.ms => Some(StreamId::new(ms, 0)),
                _ => last.next(),
            },
            Self::Open(ms) if ms == last.ms => last.seq.checked_add(1).map(|seq| StreamId::new(ms, seq)),
            Self::Open(ms) => Some(StreamId::new(ms, 0)).filter(|id| *id > last),
        }
    }
}

/// What XADD and XTRIM say before the id or at all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) trim: Option<Trimming>,
    /// NOMKSTREAM
    pub(super) no_create: bool,
    /// XADD: the id of the new entry.
    pub(super) id: NewId,
}

/// How to trim.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trimming {
    pub(super) what: Trim,
    /// `~`
    pub(super) approx: bool,
    /// Entries to remove at most; 0 for any number.
    pub(super) limit: u64,
    /// Where the name of the strategy is among the arguments.
    pub(super) at: usize,
}

/// Whose options are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Xadd,
    Xtrim,
}

impl Options {
    /// Reads the options; of XADD up to the id, and that too.
    pub(super) fn parse(ctx: &Context<'_>, args: &mut Args<'_>, of: Of) -> Result<Self, CommandError> {
        const TWO: CommandError = CommandError::text(
            "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
        );
        const NO_TRIM: CommandError = CommandError::text(
            "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
        );
        let mut options = Self { trim: None, no_create: false, id: NewId::Auto };
        let mut limit = None;
        args.seek(2);
        while let Some(arg) = args.peek() {
            let more = args.left() > 1;
            let at = args.position();
            if of == Of::Xadd && arg == b"*" {
                args.take();
                break;
            } else if more && (args.word("MAXLEN") || args.word("MINID")) {
                if options.trim.is_some() {
                    return Err(TWO);
                }
                options.trim = Some(Trimming::parse(args, at)?);
            } else if more && args.word("LIMIT") {
                limit = Some(non_negative(args, "ERR The LIMIT argument must be >= 0.")?);
            } else if of == Of::Xadd && args.word("NOMKSTREAM") {
                options.no_create = true;
            } else if of == Of::Xadd {
                options.id = NewId::parse(arg)?;
                args.take();
                break;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if limit.is_some_and(|limit| limit > 0) && options.trim.is_none() {
            return Err(NO_TRIM);
        }
        if of == Of::Xtrim && options.trim.is_none() {
            return Err(CommandError::text(
                "ERR syntax error, XTRIM must be called with a trimming strategy",
            ));
        }
        let limit = allowed_limit(ctx, limit, options.trim.is_some_and(|trim| trim.approx))?;
        if let Some(trim) = &mut options.trim {
            trim.limit = limit;
        }
        Ok(options)
    }
}

impl Trimming {
    /// Reads what follows MAXLEN or MINID, which is at `at`.
    fn parse(args: &mut Args<'_>, at: usize) -> Result<Self, CommandError> {
        let more = args.left() > 1;
        let approx = more && args.word("~");
        if more && !approx {
            args.word("=");
        }
        let what = if args.get(at).eq_ignore_ascii_case(b"MAXLEN") {
            Trim::MaxLen(non_negative(args, "ERR The MAXLEN argument must be >= 0.")?)
        } else {
            Trim::MinId(id(args.required()?)?)
        };
        Ok(Self { what, approx, limit: 0, at })
    }
}

fn non_negative(args: &mut Args<'_>, otherwise: &'static str) -> Result<u64, CommandError> {
    u64::try_from(args.integer()?).map_err(|_| CommandError::text(otherwise))
}

/// How many entries may be removed: an approximate trim is kept short unless it was told otherwise.
fn allowed_limit(ctx: &Context<'_>, limit: Option<u64>, approx: bool) -> Result<u64, CommandError> {
    /// Nodes that an approximate trim removes at most.
    const NODES: usize = 100;
    const WHEN_UNKNOWN: usize = 10_000;
    const MAX: usize = 1_000_000;
    if ctx.caller.is_log() {
        // It is known exactly what is to go.
        return Ok(0);
    }
    match (limit, approx) {
        (Some(limit), true) => Ok(limit),
        (Some(_), false) => {
            Err(CommandError::text("ERR syntax error, LIMIT cannot be used without the special ~ option"))
        }
        (None, true) => Ok(match NODES.saturating_mul(ctx.settings.stream_node_max_entries) {
            0 => WHEN_UNKNOWN,
            limit => limit.min(MAX),
        } as u64),
        (None, false) => Ok(0),
    }
}
