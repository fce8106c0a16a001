//! Adding and removing entries: XADD, XTRIM, XDEL, XLEN, XSETID.

use super::args::{self, NewId, Of, Options, Trimming};
use super::write_id;
use crate::command::Args;
use crate::context::Context;
use crate::error::CommandError;
use crate::keyspace::notify::Class;
use crate::keyspace::{Keyspace, Value};
use crate::reply::Reply;
use crate::types::stream::{Books, Log, Removed, StreamId, Trim};
use smallvec::SmallVec;

/// More removed nodes than this are freed elsewhere.
const FREE_HERE: usize = 64;

pub(super) fn xadd(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    const TOO_SMALL: CommandError = CommandError::text(
        "ERR The ID specified in XADD is equal or smaller than the target stream top item",
    );
    let options = Options::parse(ctx, &mut args, Of::Xadd)?;
    let id_at = args.position() - 1;
    let (key, pairs) = (args.get(1), args.rest());
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
        return Err(CommandError::Arity("xadd".to_owned()));
    }
    if options.id == NewId::Exact(StreamId::MIN) {
        return Err(CommandError::text("ERR The ID specified in XADD must be greater than 0-0"));
    }
    if options.no_create && !ctx.keyspace.exists(key) {
        return Ok(Reply::Null);
    }
    if !Log::takes(pairs) {
        return Err(CommandError::text("ERR Elements are too large to be stored"));
    }
    let (now_ms, limits) = (ctx.keyspace.clock_ms(), ctx.settings.stream_limits());
    let log = ctx.keyspace.stream_or_new(key)?.log_mut();
    let last = log.last_id();
    if last == StreamId::MAX {
        return Err(CommandError::text(
            "ERR The stream has exhausted the last possible ID, unable to add more items",
        ));
    }
    // A stream that is new has room for every id but 0-0.
    let id = options.id.after(last, now_ms).ok_or(TOO_SMALL)?;
    log.append(id, pairs, limits);
    let removed = options.trim.map(|trim| trim.run(log)).unwrap_or_default();
    write_id(ctx.out, id);
    ctx.keyspace.notify(Class::Stream, "xadd", key);
    if options.trim.is_some_and(|trim| trim.approx) || !matches!(options.id, NewId::Exact(_)) {
        propagate(&mut ctx.keyspace, &args, options.trim, Some((id_at, id)));
    }
    finish_trim(&mut ctx.keyspace, key, removed);
    ctx.keyspace.modified(key);
    Ok(Reply::Written)
}

impl Trimming {
    fn run(&self, log: &mut Log) -> Removed {
        log.trim(self.what, self.approx, self.limit)
    }
}

/// Raises the event of a trim, and has what it removed freed.
fn finish_trim(keyspace: &mut Keyspace<'_>, key: &[u8], removed: Removed) {
    if removed.entries == 0 {
        return;
    }
    keyspace.notify(Class::Stream, "xtrim", key);
    if removed.node_count() > FREE_HERE {
        keyspace.discard_part(key, Value::Stream(Box::new(removed.into_debris())));
    }
}

/// Leaves the command with what a replay cannot find out by itself: the id that was given out, and how far an approximate
/// trim went.
fn propagate(
    keyspace: &mut Keyspace<'_>,
    args: &Args<'_>,
    trim: Option<Trimming>,
    id: Option<(usize, StreamId)>,
) {
    if !keyspace.has_listeners() {
        return keyspace.propagate_nothing();
    }
    let (all, key) = (args.all(), args.get(1));
    let id = id.map(|(at, id)| (at, id.text()));
    let exact = trim.filter(|trim| trim.approx).map(|trim| (trim.at, reached(keyspace, key, trim.what)));
    let mut out: SmallVec<[&[u8]; 16]> = SmallVec::new();
    let mut at = 0;
    while let Some(arg) = all.get(at) {
        match (&id, &exact) {
            (Some((id_at, id)), _) if at == *id_at => out.push(id),
            (_, Some((trim_at, reached))) if at == *trim_at => {
                // `MAXLEN ~ n` becomes `MAXLEN = m`.
                out.extend([*arg, b"=", reached]);
                at += 2;
            }
            (_, Some(_)) if is_limit(all, at, id.as_ref().map(|(at, _)| *at)) => at += 1,
            _ => out.push(arg),
        }
        at += 1;
    }
    keyspace.propagate(&out);
}

/// Whether LIMIT stands at `at`, before the id if there is one: an exact trim must not have it.
fn is_limit(all: &[&[u8]], at: usize, id_at: Option<usize>) -> bool {
    at >= 2 && id_at.is_none_or(|id_at| at < id_at) && all[at].eq_ignore_ascii_case(b"LIMIT")
}

/// What an exact trim has to say to come to where the stream is now.
fn reached(keyspace: &Keyspace<'_>, key: &[u8], what: Trim) -> Box<[u8]> {
    let Some(crate::keyspace::ValueRef::Stream(stream)) = keyspace.peek(key) else { return Box::default() };
    match what {
        Trim::MaxLen(_) => stream.log().len().to_string().into_bytes().into(),
        Trim::MinId(_) => (*stream.log().first_raw_id().unwrap_or(StreamId::MAX).text()).into(),
    }
}

pub(super) fn xtrim(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let options = Options::parse(ctx, &mut args, Of::Xtrim)?;
    let key = args.get(1);
    let (Some(stream), Some(trim)) = (ctx.keyspace.stream_mut(key)?, options.trim) else {
        return Ok(Reply::Integer(0));
    };
    let removed = trim.run(stream.log_mut());
    let count = removed.entries;
    if count > 0 {
        if trim.approx {
            propagate(&mut ctx.keyspace, &args, options.trim, None);
        }
        finish_trim(&mut ctx.keyspace, key, removed);
        ctx.keyspace.modified_by(key, count);
    }
    Ok(Reply::Integer(count as i64))
}

pub(super) fn xdel(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let key = args.get(1);
    let Some(stream) = ctx.keyspace.stream_mut(key)? else { return Ok(Reply::Integer(0)) };
    let ids = args::ids(args.all().get(2..).unwrap_or_default())?;
    let count = stream.log_mut().delete(&ids);
    if count > 0 {
        ctx.keyspace.notify(Class::Stream, "xdel", key);
        ctx.keyspace.modified_by(key, count);
    }
    Ok(Reply::Integer(count as i64))
}

pub(super) fn xlen(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let stream = ctx.keyspace.stream(args.get(1))?;
    Ok(Reply::Integer(stream.map_or(0, |stream| stream.log().len() as i64)))
}

pub(super) fn xsetid(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    const BELOW_DELETED: CommandError =
        CommandError::text("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id");
    let key = args.required()?;
    let last_id = args::id(args.required()?)?;
    let (mut added, mut deleted) = (None, StreamId::MIN);
    while let Some(option) = args.peek() {
        if args.left() > 1 && args.word("ENTRIESADDED") {
            let n = u64::try_from(args.integer()?);
            added = Some(n.map_err(|_| CommandError::text("ERR entries_added must be positive"))?);
        } else if args.left() > 1 && args.word("MAXDELETEDID") {
            deleted = args::id(args.required()?)?;
            if last_id < deleted {
                return Err(CommandError::text(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
        } else {
            debug_assert!(!option.is_empty() || args.left() > 0);
            return Err(CommandError::Syntax);
        }
    }
    let log = ctx.keyspace.stream_mut(key)?.ok_or(CommandError::NoSuchKey)?.log_mut();
    let books = *log.books();
    if last_id < books.max_deleted_id {
        return Err(BELOW_DELETED);
    }
    if log.last_entry_id().is_some_and(|last| last_id < last) {
        return Err(CommandError::text(
            "ERR The ID specified in XSETID is smaller than the target stream top item",
        ));
    }
    if !log.is_empty() && added.is_some_and(|added| added < log.len()) {
        return Err(CommandError::text(
            "ERR The entries_added specified in XSETID is smaller than the target stream length",
        ));
    }
    // Entries that were deleted may still lie there without the books of an old file knowing: ids must ascend all the same.
    if log.last_raw_id().is_some_and(|last| last_id < last) {
        return Err(BELOW_DELETED);
    }
    log.set_books(Books {
        last_id,
        max_deleted_id: if deleted == StreamId::MIN { books.max_deleted_id } else { deleted },
        entries_added: added.unwrap_or(books.entries_added),
    });
    ctx.keyspace.notify(Class::Stream, "xsetid", key);
    ctx.keyspace.add_dirty(1);
    Ok(Reply::Ok)
}
