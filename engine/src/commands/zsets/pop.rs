//! Popping the lowest and the highest scores, blocking or not.

use super::write_entry;
use crate::command::Args;
use crate::commands::timeout::deadline;
use crate::context::Context;
use crate::error::CommandError;
use crate::keyspace::notify::Class;
use crate::number::parse_i64;
use crate::reply::Reply;
use crate::types::zset::ZEntry;

/// Which scores are popped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    /// The command that pops from here.
    fn command(self) -> &'static str {
        match self {
            Self::Min => "ZPOPMIN",
            Self::Max => "ZPOPMAX",
        }
    }

    fn event(self) -> &'static str {
        match self {
            Self::Min => "zpopmin",
            Self::Max => "zpopmax",
        }
    }
}

/// The form of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `member score member score ...`
    Flat,
    /// `[member score] [member score] ...`
    Pairs,
    /// `key member score`
    KeyFlat,
    /// `key [[member score] [member score] ...]`
    KeyPairs,
}

pub(super) fn zpopmin(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    pop_one_key(ctx, args, End::Min)
}

pub(super) fn zpopmax(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    pop_one_key(ctx, args, End::Max)
}

fn pop_one_key(ctx: &mut Context<'_>, args: Args<'_>, end: End) -> Result<Reply, CommandError> {
    if args.count() > 3 {
        return Err(CommandError::Syntax);
    }
    let has_count = args.count() == 3;
    let count = if has_count {
        parse_i64(args.get(2)).and_then(|n| u64::try_from(n).ok()).ok_or(CommandError::NotPositive)?
    } else {
        1
    };
    let form = if has_count && ctx.out.is_resp3() { Form::Pairs } else { Form::Flat };
    if pop(ctx, args.get(1), end, count, form)?.is_none() {
        ctx.out.array(0);
    }
    Ok(Reply::Written)
}

/// Pops up to `count` members and writes the reply; how many, or `None` when there is no such key.
fn pop(
    ctx: &mut Context<'_>,
    key: &[u8],
    end: End,
    count: u64,
    form: Form,
) -> Result<Option<usize>, CommandError> {
    let Some(zset) = ctx.keyspace.zset_mut(key)? else { return Ok(None) };
    let out = &mut *ctx.out;
    let len = zset.len();
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(len);
    if count == 0 {
        out.array(0);
        return Ok(Some(0));
    }
    match form {
        Form::Flat => out.array(2 * count),
        Form::Pairs => out.array(count),
        Form::KeyFlat => {
            out.array(1 + 2 * count);
            out.bulk(key);
        }
        Form::KeyPairs => {
            out.array(2);
            out.bulk(key);
            out.array(count);
        }
    }
    let nested = matches!(form, Form::Pairs | Form::KeyPairs);
    let write = |entry: ZEntry<'_>| {
        if nested {
            out.array(2);
        }
        write_entry(out, entry.member, entry.score, false);
        out.double(entry.score);
    };
    let ranks = match end {
        End::Min => 0..count,
        End::Max => len - count..len,
    };
    match end {
        End::Min => zset.range(ranks.clone()).for_each(write),
        End::Max => zset.range(ranks.clone()).rev().for_each(write),
    }
    zset.remove_range(ranks);
    ctx.keyspace.modified_by(key, count as u64);
    ctx.keyspace.notify(Class::ZSet, end.event(), key);
    ctx.keyspace.remove_if_empty(key);
    Ok(Some(count))
}

pub(super) fn bzpopmin(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    pop_or_block(ctx, args, End::Min)
}

pub(super) fn bzpopmax(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    pop_or_block(ctx, args, End::Max)
}

fn pop_or_block(ctx: &mut Context<'_>, mut args: Args<'_>, end: End) -> Result<Reply, CommandError> {
    let Some((timeout, keys)) = args.rest().split_last() else { return Err(CommandError::Syntax) };
    let until_ms = deadline(timeout, ctx.now_ms())?;
    for key in keys {
        if pop(ctx, key, end, 1, Form::KeyFlat)?.is_some() {
            ctx.keyspace.propagate(&[end.command().as_bytes(), key]);
            return Ok(Reply::Written);
        }
    }
    Ok(block(ctx, until_ms))
}

fn block(ctx: &Context<'_>, until_ms: Option<i64>) -> Reply {
    if ctx.caller.may_block { Reply::Block { until_ms } } else { Reply::NullArray }
}

/// `numkeys key [key ...] MIN|MAX [COUNT count]`
struct ManyKeys<'a> {
    keys: &'a [&'a [u8]],
    end: End,
    count: u64,
}

impl<'a> ManyKeys<'a> {
    fn parse(args: &mut Args<'a>) -> Result<Self, CommandError> {
        let positive = |text: &[u8]| parse_i64(text).and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
        let numkeys =
            positive(args.required()?).ok_or(CommandError::text("ERR numkeys should be greater than 0"))?;
        let rest = args.rest();
        let numkeys =
            usize::try_from(numkeys).ok().filter(|n| *n < rest.len()).ok_or(CommandError::Syntax)?;
        let (keys, options) = rest.split_at(numkeys);
        let end = match options[0] {
            word if word.eq_ignore_ascii_case(b"min") => End::Min,
            word if word.eq_ignore_ascii_case(b"max") => End::Max,
            _ => return Err(CommandError::Syntax),
        };
        let count = match options[1..] {
            [] => 1,
            // A count is read before it is known that too much follows.
            [word, count, ref more @ ..] if word.eq_ignore_ascii_case(b"count") => {
                let count =
                    positive(count).ok_or(CommandError::text("ERR count should be greater than 0"))?;
                if !more.is_empty() {
                    return Err(CommandError::Syntax);
                }
                count
            }
            _ => return Err(CommandError::Syntax),
        };
        Ok(Self { keys, end, count })
    }

    /// Pops from the first key that there is; false when there is none.
    fn pop(&self, ctx: &mut Context<'_>) -> Result<bool, CommandError> {
        for key in self.keys {
            if let Some(popped) = pop(ctx, key, self.end, self.count, Form::KeyPairs)? {
                let mut text = itoa::Buffer::new();
                let popped = text.format(popped).as_bytes();
                ctx.keyspace.propagate(&[self.end.command().as_bytes(), key, popped]);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

pub(super) fn zmpop(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let popped = ManyKeys::parse(&mut args)?.pop(ctx)?;
    Ok(if popped { Reply::Written } else { Reply::NullArray })
}

pub(super) fn bzmpop(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let timeout = args.required()?;
    let many = ManyKeys::parse(&mut args)?;
    let until_ms = deadline(timeout, ctx.now_ms())?;
    if many.pop(ctx)? {
        return Ok(Reply::Written);
    }
    Ok(block(ctx, until_ms))
}
