//! XRANGE and XREVRANGE.

use super::{args, write_entry};
use crate::command::Args;
use crate::context::Context;
use crate::error::CommandError;
use crate::reply::{Out, Reply};
use crate::types::stream::Entry;

pub(super) fn xrange(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    range(ctx, args, false)
}

pub(super) fn xrevrange(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    range(ctx, args, true)
}

fn range(ctx: &mut Context<'_>, mut args: Args<'_>, backwards: bool) -> Result<Reply, CommandError> {
    let (first, second) = (args.get(2), args.get(3));
    let (start, end) = if backwards { (second, first) } else { (first, second) };
    let (start, end) = (args::start(start)?, args::end(end)?);
    args.seek(4);
    let mut count = None;
    while args.left() > 0 {
        if args.left() < 2 || !args.word("COUNT") {
            return Err(CommandError::Syntax);
        }
        count = Some(args::count_or_all(&mut args)?);
    }
    let Some(stream) = ctx.keyspace.stream(args.get(1))? else {
        ctx.out.array(0);
        return Ok(Reply::Written);
    };
    let max = match count {
        Some(0) => return Ok(Reply::NullArray),
        Some(max) => max,
        None => usize::MAX,
    };
    let log = stream.log();
    if backwards {
        write_entries(ctx.out, log.range_back(start, end).take(max));
    } else {
        write_entries(ctx.out, log.range(start, end).take(max));
    }
    Ok(Reply::Written)
}

/// Writes an array of entries; how many there are.
pub(super) fn write_entries<'a>(out: &mut Out, entries: impl Iterator<Item = Entry<'a>>) -> usize {
    let place = out.deferred();
    let mut count = 0;
    for entry in entries {
        write_entry(out, entry);
        count += 1;
    }
    out.fill_array(place, count);
    count
}
