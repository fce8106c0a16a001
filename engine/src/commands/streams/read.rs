//! XREAD and XREADGROUP.
//!
//! | id  | XREAD                           | XREADGROUP                                   |
//! |-----|---------------------------------|----------------------------------------------|
//! | `$` | what comes from now on          |                                              |
//! | `+` | the last entry                  |                                              |
//! | `>` |                                 | what nobody of the group was given            |
//! | id  | entries after it                | entries after it that are pending for the consumer |
//!
//! A command that waits is run again when one of its streams has changed. `$` would mean something else then: what waits has
//! the id in its place ([`args_to_wait_with`]). A consumer that waits for `>` is told when its group or stream goes.

use super::range::write_entries;
use super::{
    Claimed, args, no_group, propagate_claim, propagate_consumer, propagate_group_id, write_entry, write_id,
};
use crate::command::Args;
use crate::context::Context;
use crate::error::CommandError;
use crate::keyspace::notify::Class;
use crate::keyspace::{Keyspace, ValueRef};
use crate::number::parse_i64;
use crate::reply::{Out, Reply};
use crate::types::stream::{Consumer, ConsumerId, Group, Log, Pending, StreamId};
use smallvec::SmallVec;

/// The arguments of both commands.
struct Read<'a> {
    /// Entries of each stream at most.
    count: usize,
    /// Waits, and until when.
    block: Option<Option<i64>>,
    reader: Option<Reader<'a>>,
    keys: Words<'a>,
    ids: Words<'a>,
}

/// Some of the arguments.
type Words<'a> = &'a [&'a [u8]];

/// Who reads as part of a group.
#[derive(Clone, Copy)]
struct Reader<'a> {
    group: &'a [u8],
    consumer: &'a [u8],
    /// What it is given counts as acknowledged.
    no_ack: bool,
}

/// From where a stream is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// Behind this id.
    After(StreamId),
    /// `>`
    New,
}

impl<'a> Read<'a> {
    fn parse(mut args: Args<'a>, in_group: bool, now_ms: i64) -> Result<Self, CommandError> {
        let mut read = Self { count: usize::MAX, block: None, reader: None, keys: &[], ids: &[] };
        let (mut group, mut no_ack) = (None, false);
        loop {
            let more = args.left().saturating_sub(1);
            if more > 0 && args.word("BLOCK") {
                read.block = Some(deadline(args.required()?, now_ms)?);
            } else if more > 0 && args.word("COUNT") {
                // As Redis has it, 0 is any number here too.
                read.count = Some(args::count_or_all(&mut args)?).filter(|n| *n > 0).unwrap_or(usize::MAX);
            } else if more > 0 && args.word("STREAMS") {
                (read.keys, read.ids) = halves(args.rest(), in_group)?;
                break;
            } else if more > 1 && args.word("GROUP") {
                if !in_group {
                    return Err(only_for_groups("GROUP"));
                }
                group = Some((args.required()?, args.required()?));
            } else if args.word("NOACK") {
                if !in_group {
                    return Err(only_for_groups("NOACK"));
                }
                no_ack = true;
            } else {
                // STREAMS has to come.
                return Err(CommandError::Syntax);
            }
        }
        if in_group {
            let (group, consumer) =
                group.ok_or(CommandError::text("ERR Missing GROUP option for XREADGROUP"))?;
            read.reader = Some(Reader { group, consumer, no_ack });
        }
        Ok(read)
    }
}

fn only_for_groups(option: &str) -> CommandError {
    let line = "option is only supported by XREADGROUP. You called XREAD instead.";
    CommandError::owned(format!("ERR The {option} {line}"))
}

/// Keys, and as many ids.
fn halves<'a>(rest: Words<'a>, in_group: bool) -> Result<(Words<'a>, Words<'a>), CommandError> {
    if !rest.len().is_multiple_of(2) {
        let (name, symbol) = if in_group { ("xreadgroup", '>') } else { ("xread", '$') };
        return Err(CommandError::owned(format!(
            "ERR Unbalanced '{name}' list of streams: for each stream key an ID or '{symbol}' must be specified."
        )));
    }
    Ok(rest.split_at(rest.len() / 2))
}

/// A timeout in milliseconds: the time to give up, none for 0.
fn deadline(text: &[u8], now_ms: i64) -> Result<Option<i64>, CommandError> {
    const NOT_INTEGER: CommandError = CommandError::text("ERR timeout is not an integer or out of range");
    const NEGATIVE: CommandError = CommandError::text("ERR timeout is negative");
    const OUT_OF_RANGE: CommandError = CommandError::text("ERR timeout is out of range");
    match parse_i64(text).ok_or(NOT_INTEGER)? {
        0 => Ok(None),
        ..0 => Err(NEGATIVE),
        ms => now_ms.checked_add(ms).map(Some).ok_or(OUT_OF_RANGE),
    }
}

/// How a stream with its reply is written: keys of a map in RESP3, pairs in RESP2.
struct Streams {
    place: Option<crate::reply::Deferred>,
    count: usize,
}

impl Streams {
    fn begin(&mut self, out: &mut Out, key: &[u8]) {
        if self.place.is_none() {
            self.place = Some(out.deferred());
        }
        self.count += 1;
        if !out.is_resp3() {
            out.array(2);
        }
        out.bulk(key);
    }

    /// The reply, if any stream was written.
    fn finish(self, out: &mut Out) -> Option<Reply> {
        let place = self.place?;
        if out.is_resp3() {
            out.fill_map(place, self.count)
        } else {
            out.fill_array(place, self.count)
        }
        Some(Reply::Written)
    }
}

const NO_STREAMS: Streams = Streams { place: None, count: 0 };

pub(super) fn xread(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let read = Read::parse(args, false, ctx.now_ms())?;
    let mut after: SmallVec<[StreamId; 8]> = SmallVec::new();
    for (key, id) in read.keys.iter().zip(read.ids) {
        let last = ctx.keyspace.stream(key)?.map(|stream| stream.log().last_id());
        after.push(match *id {
            b"$" => last.unwrap_or_default(),
            b"+" => match last {
                Some(last) => {
                    last.prev().ok_or(CommandError::text("ERR the stream last element ID is 0-0"))?
                }
                None => StreamId::MIN,
            },
            b">" => {
                return Err(CommandError::text(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> \
                     <consumer> option.",
                ));
            }
            id => args::id(id)?,
        });
    }
    let mut streams = NO_STREAMS;
    for (key, after) in read.keys.iter().zip(after) {
        let Some(ValueRef::Stream(stream)) = ctx.keyspace.peek(key) else { continue };
        if let Some(start) = news(stream.log(), after) {
            streams.begin(ctx.out, key);
            write_entries(ctx.out, stream.log().range(start, StreamId::MAX).take(read.count));
        }
    }
    Ok(streams.finish(ctx.out).unwrap_or_else(|| wait(ctx, &read)))
}

/// Where to begin when there is an entry after an id.
fn news(log: &Log, after: StreamId) -> Option<StreamId> {
    let start = after.next().filter(|_| log.last_id() > after)?;
    log.last_entry_id().filter(|last| *last > after).map(|_| start)
}

/// Waits, or answers that there is nothing where the command does not or must not wait.
fn wait(ctx: &Context<'_>, read: &Read<'_>) -> Reply {
    match read.block {
        Some(until_ms) if ctx.caller.may_block => Reply::Block { until_ms },
        _ => Reply::NullArray,
    }
}

pub(super) fn xreadgroup(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let read = Read::parse(args, true, ctx.now_ms())?;
    let Some(reader) = read.reader else { return Err(CommandError::Syntax) };
    let mut froms: SmallVec<[From; 8]> = SmallVec::new();
    for (key, id) in read.keys.iter().zip(read.ids) {
        let stream = ctx.keyspace.stream_mut(key)?;
        if stream.is_none_or(|stream| stream.group(reader.group).is_none()) {
            return Err(no_group(&[
                b"No such key '",
                key,
                b"' or consumer group '",
                reader.group,
                b"' in XREADGROUP with GROUP option",
            ]));
        }
        froms.push(match *id {
            b"$" | b"+" => return Err(meaningless(id)),
            b">" => From::New,
            // The greatest id is as good as `>` in Redis.
            id => match args::id(id)? {
                StreamId::MAX => From::New,
                id => From::After(id),
            },
        });
    }
    // The effects that follow stand for the command.
    ctx.keyspace.propagate_nothing();
    let mut streams = NO_STREAMS;
    for (key, from) in read.keys.iter().zip(froms) {
        read_as_consumer(ctx, key, from, &reader, read.count, &mut streams)?;
    }
    Ok(streams.finish(ctx.out).unwrap_or_else(|| wait(ctx, &read)))
}

fn meaningless(id: &[u8]) -> CommandError {
    let id = String::from_utf8_lossy(id);
    CommandError::owned(format!(
        "ERR The {id} ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by \
         specifying a proper ID, or use the > ID to get new messages. The {id} ID would just return an empty result set."
    ))
}

/// Reads one stream.
fn read_as_consumer(
    ctx: &mut Context<'_>,
    key: &[u8],
    from: From,
    reader: &Reader<'_>,
    count: usize,
    streams: &mut Streams,
) -> Result<(), CommandError> {
    let (now_ms, listens) = (ctx.keyspace.clock_ms(), ctx.keyspace.has_listeners());
    let Some(stream) = ctx.keyspace.stream_mut(key)? else { return Ok(()) };
    let (log, Some(group)) = stream.group_mut(reader.group) else { return Ok(()) };
    let known = group.consumer_id(reader.consumer);
    let Some(consumer) = known.or_else(|| group.add_consumer(reader.consumer, now_ms)) else { return Ok(()) };
    if let Some(consumer) = group.consumer_mut(consumer) {
        consumer.seen_ms = now_ms;
    }
    let (before, mut given) = (streams.count, Given { entries: Vec::new(), last_id: None });
    match from {
        From::After(id) => {
            streams.begin(ctx.out, key);
            write_history(ctx.out, log, group, consumer, id, count, now_ms);
        }
        From::New => {
            if let Some(start) = news(log, group.last_id) {
                streams.begin(ctx.out, key);
                let to = To { consumer, no_ack: reader.no_ack, now_ms, listens };
                given = give(ctx.out, log, group, start, count, to);
            }
        }
    }
    let (last_id, entries_read) = (group.last_id, group.entries_read);
    if known.is_none() {
        ctx.keyspace.notify(Class::Stream, "xgroup-createconsumer", key);
        ctx.keyspace.add_dirty(1);
        if reader.no_ack || given.entries.is_empty() {
            propagate_consumer(&mut ctx.keyspace, key, reader.group, reader.consumer);
        }
    }
    for claim in &given.entries {
        propagate_claim(&mut ctx.keyspace, key, reader.group, claim, claim.id);
    }
    if given.last_id.is_some() {
        propagate_group_id(&mut ctx.keyspace, key, reader.group, last_id, entries_read);
    }
    ctx.keyspace.add_dirty((streams.count - before) as u64);
    Ok(())
}

/// To whom entries are given, and how.
struct To {
    consumer: ConsumerId,
    no_ack: bool,
    now_ms: i64,
    listens: bool,
}

/// What was given.
struct Given {
    /// Kept only where somebody listens to effects.
    entries: Vec<Claimed>,
    last_id: Option<StreamId>,
}

/// Gives new entries to a consumer.
fn give(out: &mut Out, log: &Log, group: &mut Group, start: StreamId, count: usize, to: To) -> Given {
    let mut given = Given { entries: Vec::new(), last_id: None };
    let pending = Pending { delivered_ms: to.now_ms, deliveries: 1, consumer: to.consumer };
    write_entries(
        out,
        log.range(start, StreamId::MAX).take(count).inspect(|entry| {
            let id = entry.id;
            group.entries_read = match group.entries_read {
                Some(read) if !log.has_gaps_from(id) => i64::try_from(read + 1).map(i64::unsigned_abs).ok(),
                _ => log.count_up_to(id),
            };
            group.last_id = id;
            given.last_id = Some(id);
            if !to.no_ack {
                group.assign(id, pending);
                if to.listens {
                    given.entries.push(Claimed { id, consumer: group.shared_name_of(to.consumer), pending });
                }
            }
        }),
    );
    if given.last_id.is_some()
        && !to.no_ack
        && let Some(consumer) = group.consumer_mut(to.consumer)
    {
        consumer.active_ms = Some(to.now_ms);
    }
    given
}

/// Writes what a consumer has been given and not acknowledged, from behind an id on: once more delivered, though that does
/// not go into the log.
fn write_history(
    out: &mut Out,
    log: &Log,
    group: &mut Group,
    consumer: ConsumerId,
    after: StreamId,
    count: usize,
    now_ms: i64,
) {
    let start = after.next().unwrap_or(StreamId::MAX);
    let ids = group.consumer(consumer).into_iter().flat_map(|c: &Consumer| c.pending(start..=StreamId::MAX));
    let ids: Vec<StreamId> = ids.take(count).collect();
    out.array(ids.len());
    for id in ids {
        match log.get(id) {
            Some(entry) => {
                write_entry(out, entry);
                group.redeliver(id, now_ms);
            }
            None => {
                // It was deleted while it was pending.
                out.array(2);
                write_id(out, id);
                out.null_array();
            }
        }
    }
}

/// The arguments with which a command waits that was given with these: the last id of each stream in the place of `$`.
pub fn args_to_wait_with(keyspace: &Keyspace<'_>, args: &[&[u8]]) -> Vec<Box<[u8]>> {
    let mut kept: Vec<Box<[u8]>> = args.iter().map(|arg| Box::from(*arg)).collect();
    let Some(word) = args.iter().position(|arg| arg.eq_ignore_ascii_case(b"STREAMS")) else { return kept };
    let half = args.len().saturating_sub(word + 1) / 2;
    for at in word + 1 + half..args.len() {
        if args[at] == b"$" {
            let last = match keyspace.peek(args[at - half]) {
                Some(ValueRef::Stream(stream)) => stream.log().last_id(),
                _ => StreamId::MIN,
            };
            kept[at] = (*last.text()).into();
        }
    }
    kept
}
