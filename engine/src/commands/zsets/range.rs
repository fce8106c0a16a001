//! Ranges of ranks, scores and members: returned, counted, removed, stored.
//!
//! Whatever a range is given by, it is a `Range` of ranks before anything is done with it.

use super::{limits, store, write_entry, write_len};
use crate::command::Args;
use crate::context::Context;
use crate::error::CommandError;
use crate::keyspace::notify::Class;
use crate::number::{parse_f64, parse_f64_or_limit, parse_i64};
use crate::reply::Reply;
use crate::types::listpack::IntText;
use crate::types::zset::{LexBound, LexRange, ScoreRange, ZEntry, ZRange, ZSet};
use std::ops::Range;

/// What the two ends of a range are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// The two ends.
#[derive(Clone, Copy, Debug)]
enum Bounds<'a> {
    Rank(i64, i64),
    Score(ScoreRange),
    Lex(LexRange<'a>),
}

impl<'a> Bounds<'a> {
    fn parse(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Self, CommandError> {
        Ok(match by {
            By::Rank => {
                let rank = |text| parse_i64(text).ok_or(CommandError::NotInteger);
                Self::Rank(rank(min)?, rank(max)?)
            }
            By::Score => Self::Score(score_range(min, max)?),
            By::Lex => Self::Lex(lex_range(min, max)?),
        })
    }

    /// The ranks in the range; of `Rank` bounds, as counted from the front.
    fn ranks(&self, zset: &ZSet) -> Range<usize> {
        match self {
            Self::Rank(start, end) => rank_range(*start, *end, zset.len()),
            Self::Score(range) => zset.ranks_by_score(range),
            Self::Lex(range) => zset.ranks_by_lex(range),
        }
    }
}

/// From `start` to `end` of `len`, both included and negative from the end.
fn rank_range(start: i64, end: i64, len: usize) -> Range<usize> {
    let from_front = |at: i64| if at < 0 { at.saturating_add_unsigned(len as u64) } else { at };
    let start = usize::try_from(from_front(start).max(0)).unwrap_or(usize::MAX).min(len);
    // Before the front is the end of nothing.
    let end = usize::try_from(from_front(end).saturating_add(1).max(0)).unwrap_or(usize::MAX).min(len);
    start..end.max(start)
}

fn score_range(min: &[u8], max: &[u8]) -> Result<ScoreRange, CommandError> {
    let bound = |text: &[u8]| {
        let (exclusive, number) = match text {
            [b'(', number @ ..] => (true, number),
            number => (false, number),
        };
        Some((score_bound(number)?, exclusive))
    };
    match (bound(min), bound(max)) {
        (Some((min, min_exclusive)), Some((max, max_exclusive))) => {
            Ok(ScoreRange { min, max, min_exclusive, max_exclusive })
        }
        _ => Err(CommandError::text("ERR min or max is not a float")),
    }
}

/// Reads one end of a range of scores as C's `strtod` does, which is not as strict as scores are read: spaces
/// before it, nothing at all, and what is too large or too small for a double are fine.
fn score_bound(text: &[u8]) -> Option<f64> {
    if let Some(score) = parse_f64(text) {
        return Some(score);
    }
    let text = text.trim_ascii_start();
    if text.is_empty() { Some(0.0) } else { parse_f64_or_limit(text) }
}

fn lex_range<'a>(min: &'a [u8], max: &'a [u8]) -> Result<LexRange<'a>, CommandError> {
    let bound = |text: &'a [u8]| {
        Some(match text {
            b"-" => LexBound::Min,
            b"+" => LexBound::Max,
            [b'[', member @ ..] => LexBound::Included(member),
            [b'(', member @ ..] => LexBound::Excluded(member),
            _ => return None,
        })
    };
    match (bound(min), bound(max)) {
        (Some(min), Some(max)) => Ok(LexRange { min, max }),
        _ => Err(CommandError::text("ERR min or max not valid string range item")),
    }
}

/// What ZRANGE and its kin ask for.
#[derive(Debug)]
struct Query<'a> {
    bounds: Bounds<'a>,
    reverse: bool,
    with_scores: bool,
    offset: i64,
    /// How many at most; negative: all.
    limit: i64,
}

/// What the name of a command says about its query already.
#[derive(Clone, Copy, Debug, Default)]
struct Fixed {
    by: Option<By>,
    reverse: Option<bool>,
    /// The result is stored: scores are part of it anyway.
    stored: bool,
}

impl<'a> Query<'a> {
    /// Reads `min max [options]`.
    fn parse(args: &mut Args<'a>, fixed: Fixed) -> Result<Self, CommandError> {
        let (first, second) = (args.required()?, args.required()?);
        let (mut by, mut reverse) = (fixed.by, fixed.reverse);
        let (mut with_scores, mut offset, mut limit) = (false, 0, -1);
        while args.left() > 0 {
            if !fixed.stored && args.word("WITHSCORES") {
                with_scores = true;
            } else if args.left() > 2 && args.word("LIMIT") {
                (offset, limit) = (args.integer()?, args.integer()?);
            } else if reverse.is_none() && args.word("REV") {
                reverse = Some(true);
            } else if by.is_none() && args.word("BYLEX") {
                by = Some(By::Lex);
            } else if by.is_none() && args.word("BYSCORE") {
                by = Some(By::Score);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        if limit != -1 && by == By::Rank {
            return Err(CommandError::text(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && by == By::Lex {
            return Err(CommandError::text(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        let (min, max) = if reverse && by != By::Rank { (second, first) } else { (first, second) };
        Ok(Self { bounds: Bounds::parse(by, min, max)?, reverse, with_scores, offset, limit })
    }

    /// The entries asked for.
    fn entries<'z>(&self, zset: &'z ZSet) -> Entries<'z> {
        let ranks = self.bounds.ranks(zset);
        let ranks = match (&self.bounds, self.reverse) {
            (Bounds::Rank(..), false) => ranks,
            (Bounds::Rank(..), true) => zset.len() - ranks.end..zset.len() - ranks.start,
            (_, false) => {
                let (skip, take) = self.window(ranks.len());
                ranks.start + skip..ranks.start + skip + take
            }
            (_, true) => {
                let (skip, take) = self.window(ranks.len());
                ranks.end - skip - take..ranks.end - skip
            }
        };
        Entries { range: zset.range(ranks), reverse: self.reverse }
    }

    /// How many of `len` entries LIMIT skips, and how many it takes then.
    fn window(&self, len: usize) -> (usize, usize) {
        // Nothing lies before the first entry, and a walk to there never comes back.
        let skip = usize::try_from(self.offset).unwrap_or(usize::MAX).min(len);
        (skip, usize::try_from(self.limit).unwrap_or(usize::MAX).min(len - skip))
    }
}

/// Entries in the order asked for.
struct Entries<'z> {
    range: ZRange<'z>,
    reverse: bool,
}

impl<'z> Iterator for Entries<'z> {
    type Item = ZEntry<'z>;

    #[inline]
    fn next(&mut self) -> Option<ZEntry<'z>> {
        if self.reverse { self.range.next_back() } else { self.range.next() }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.range.size_hint()
    }
}

impl ExactSizeIterator for Entries<'_> {}

pub(super) fn zrange(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    reply(ctx, args, Fixed::default())
}

pub(super) fn zrevrange(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    reply(ctx, args, Fixed { by: Some(By::Rank), reverse: Some(true), stored: false })
}

pub(super) fn zrangebyscore(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    reply(ctx, args, Fixed { by: Some(By::Score), reverse: Some(false), stored: false })
}

pub(super) fn zrevrangebyscore(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    reply(ctx, args, Fixed { by: Some(By::Score), reverse: Some(true), stored: false })
}

pub(super) fn zrangebylex(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    reply(ctx, args, Fixed { by: Some(By::Lex), reverse: Some(false), stored: false })
}

pub(super) fn zrevrangebylex(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    reply(ctx, args, Fixed { by: Some(By::Lex), reverse: Some(true), stored: false })
}

fn reply(ctx: &mut Context<'_>, mut args: Args<'_>, fixed: Fixed) -> Result<Reply, CommandError> {
    let key = args.required()?;
    let query = Query::parse(&mut args, fixed)?;
    let Some(zset) = ctx.keyspace.zset(key)? else {
        ctx.out.array(0);
        return Ok(Reply::Written);
    };
    let entries = query.entries(zset);
    write_len(ctx.out, entries.len(), query.with_scores);
    for entry in entries {
        write_entry(ctx.out, entry.member, entry.score, query.with_scores);
    }
    Ok(Reply::Written)
}

pub(super) fn zrangestore(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let (target, source) = (args.required()?, args.required()?);
    let query = Query::parse(&mut args, Fixed { stored: true, ..Fixed::default() })?;
    let (limits, hasher) = (limits(ctx.settings), ctx.hasher);
    let mut result = ZSet::new();
    if let Some(zset) = ctx.keyspace.zset(source)? {
        let entries = query.entries(zset);
        result = ZSet::with_expected(entries.len(), 0, &limits, hasher);
        let mut text = IntText::default();
        for entry in entries {
            result.insert(entry.member_bytes(&mut text), entry.score, &limits, hasher);
        }
    }
    Ok(store(ctx, target, result, "zrangestore", 1))
}

pub(super) fn zcount(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    count(ctx, args, By::Score)
}

pub(super) fn zlexcount(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    count(ctx, args, By::Lex)
}

fn count(ctx: &mut Context<'_>, args: Args<'_>, by: By) -> Result<Reply, CommandError> {
    let bounds = Bounds::parse(by, args.get(2), args.get(3))?;
    Ok(Reply::from(ctx.keyspace.zset(args.get(1))?.map_or(0, |zset| bounds.ranks(zset).len())))
}

pub(super) fn zremrangebyrank(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    remove(ctx, args, By::Rank, "zremrangebyrank")
}

pub(super) fn zremrangebyscore(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    remove(ctx, args, By::Score, "zremrangebyscore")
}

pub(super) fn zremrangebylex(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    remove(ctx, args, By::Lex, "zremrangebylex")
}

fn remove(ctx: &mut Context<'_>, args: Args<'_>, by: By, event: &'static str) -> Result<Reply, CommandError> {
    let key = args.get(1);
    let bounds = Bounds::parse(by, args.get(2), args.get(3))?;
    let Some(zset) = ctx.keyspace.zset_mut(key)? else { return Ok(Reply::Integer(0)) };
    let removed = zset.remove_range(bounds.ranks(zset));
    if removed > 0 {
        ctx.keyspace.modified_by(key, removed as u64);
        ctx.keyspace.notify(Class::ZSet, event, key);
        ctx.keyspace.remove_if_empty(key);
    }
    Ok(Reply::from(removed))
}
