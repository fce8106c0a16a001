//! What was given and not acknowledged: XPENDING, XCLAIM, XAUTOCLAIM.

use super::{
    Claimed, args, no_group, propagate_claim, propagate_consumer, propagate_group_id, write_entry, write_id,
};
use crate::command::Args;
use crate::context::Context;
use crate::error::CommandError;
use crate::keyspace::ValueRef;
use crate::keyspace::notify::Class;
use crate::number::parse_i64;
use crate::reply::{Out, Reply};
use crate::types::stream::{ConsumerId, Group, Log, Pending, StreamId};
use crate::types::walk::Either;

fn no_key_or_group(key: &[u8], group: &[u8]) -> CommandError {
    no_group(&[b"No such key '", key, b"' or consumer group '", group, b"'"])
}

/// What the long form of XPENDING asks for.
struct Query<'a> {
    min_idle_ms: i64,
    start: StreamId,
    end: StreamId,
    count: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> Query<'a> {
    fn parse(args: Args<'a>) -> Result<Option<Self>, CommandError> {
        let int = |at: usize| parse_i64(args.get(at)).ok_or(CommandError::NotInteger);
        let (mut at, mut min_idle_ms) = (3, 0);
        match args.count() {
            3 => return Ok(None),
            6..=9 => {}
            _ => return Err(CommandError::Syntax),
        }
        if args.get(3).eq_ignore_ascii_case(b"IDLE") {
            min_idle_ms = int(4)?;
            if args.count() < 8 {
                return Err(CommandError::Syntax);
            }
            at += 2;
        }
        let count = usize::try_from(int(at + 2)?.max(0)).unwrap_or(usize::MAX);
        let (start, end) = (args::start(args.get(at))?, args::end(args.get(at + 1))?);
        let consumer = (at + 3 < args.count()).then(|| args.get(at + 3));
        Ok(Some(Self { min_idle_ms, start, end, count, consumer }))
    }
}

pub(super) fn xpending(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let query = Query::parse(args)?;
    let (key, name, now_ms) = (args.get(1), args.get(2), ctx.keyspace.clock_ms());
    let stream = ctx.keyspace.stream(key)?;
    let group = stream.and_then(|stream| stream.group(name)).ok_or_else(|| no_key_or_group(key, name))?;
    match query {
        None => write_summary(ctx.out, group),
        Some(query) => write_pending(ctx.out, group, &query, now_ms),
    }
    Ok(Reply::Written)
}

fn write_summary(out: &mut Out, group: &Group) {
    let mut pending = group.pending(StreamId::MIN..=StreamId::MAX);
    out.array(4);
    out.integer(group.pending_len() as i64);
    let Some((first, _)) = pending.next() else {
        out.null();
        out.null();
        out.null_array();
        return;
    };
    write_id(out, first);
    write_id(out, pending.next_back().map_or(first, |(last, _)| last));
    let busy = || group.consumers().filter(|consumer| consumer.pending_len() > 0);
    out.array(busy().count());
    for consumer in busy() {
        out.array(2);
        out.bulk(consumer.name());
        out.bulk_integer(consumer.pending_len() as i64);
    }
}

fn write_pending(out: &mut Out, group: &Group, query: &Query<'_>, now_ms: i64) {
    let ids = query.start..=query.end;
    let entries = match query.consumer {
        None => Either::Left(group.pending(ids)),
        Some(name) => match group.consumer_id(name).and_then(|id| group.consumer(id)) {
            Some(consumer) => Either::Right(
                consumer.pending(ids).filter_map(|id| group.get(id).map(|pending| (id, pending))),
            ),
            None => return out.array(0),
        },
    };
    let idle_ms = |pending: &Pending| now_ms.wrapping_sub(pending.delivered_ms);
    let place = out.deferred();
    let mut count = 0;
    let is_idle =
        |(_, pending): &(_, &Pending)| query.min_idle_ms == 0 || idle_ms(pending) >= query.min_idle_ms;
    for (id, pending) in entries.filter(is_idle).take(query.count) {
        out.array(4);
        write_id(out, id);
        out.bulk(group.name_of(pending.consumer));
        out.integer(idle_ms(pending).max(0));
        out.integer(pending.deliveries as i64);
        count += 1;
    }
    out.fill_array(place, count);
}

/// The options of XCLAIM behind the ids.
struct ClaimOptions {
    delivered_ms: i64,
    deliveries: Option<u64>,
    force: bool,
    just_ids: bool,
    last_id: StreamId,
}

impl ClaimOptions {
    fn parse(args: &mut Args<'_>, now_ms: i64) -> Result<Self, CommandError> {
        let mut options = Self {
            delivered_ms: now_ms,
            deliveries: None,
            force: false,
            just_ids: false,
            last_id: StreamId::MIN,
        };
        let mut delivered_ms = None;
        while let Some(option) = args.peek() {
            let more = args.left() > 1;
            if args.word("FORCE") {
                options.force = true;
            } else if args.word("JUSTID") {
                options.just_ids = true;
            } else if more && args.word("IDLE") {
                delivered_ms = Some(now_ms.wrapping_sub(int(args, "IDLE option")?));
            } else if more && args.word("TIME") {
                delivered_ms = Some(int(args, "TIME option")?);
            } else if more && args.word("RETRYCOUNT") {
                // A negative count is as if there was none.
                options.deliveries = u64::try_from(int(args, "RETRYCOUNT option")?).ok();
            } else if more && args.word("LASTID") {
                options.last_id = args::id(args.required()?)?;
            } else {
                return Err(CommandError::quoting(
                    "ERR Unrecognized XCLAIM option '",
                    option,
                    usize::MAX,
                    "'",
                ));
            }
        }
        // Clients reckon with clocks of their own: a time that cannot be is now.
        if let Some(at) = delivered_ms.filter(|at| (0..=now_ms).contains(at)) {
            options.delivered_ms = at;
        }
        Ok(options)
    }
}

fn int(args: &mut Args<'_>, what: &str) -> Result<i64, CommandError> {
    let invalid = || CommandError::owned(format!("ERR Invalid {what} argument for XCLAIM"));
    parse_i64(args.required()?).ok_or_else(invalid)
}

pub(super) fn xclaim(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let (key, name, consumer) = (args.get(1), args.get(2), args.get(3));
    let now_ms = ctx.keyspace.clock_ms();
    let stream = ctx.keyspace.stream(key)?;
    if stream.is_none_or(|stream| stream.group(name).is_none()) {
        return Err(no_key_or_group(key, name));
    }
    args.seek(4);
    let min_idle_ms = int(&mut args, "min-idle-time")?.max(0);
    let mut ids = Vec::new();
    while let Some(id) = args.peek().and_then(|arg| StreamId::parse(arg, 0)) {
        args.take();
        ids.push(id);
    }
    let options = ClaimOptions::parse(&mut args, now_ms)?;
    let just_ids = options.just_ids;
    let mut claims = Claims::begin(ctx, key, name, consumer);
    claims.advance(ctx, options.last_id);
    let place = ctx.out.deferred();
    let mut count = 0;
    for id in ids {
        let taken = claims.claim(ctx, id, |pending, consumer| {
            // One that FORCE makes has been delivered once, and whatever its age.
            let pending = match pending {
                Some(pending)
                    if min_idle_ms > 0 && now_ms.wrapping_sub(pending.delivered_ms) < min_idle_ms =>
                {
                    None
                }
                Some(pending) => Some(*pending),
                None if options.force => Some(Pending { delivered_ms: now_ms, deliveries: 1, consumer }),
                None => None,
            }?;
            let more = u64::from(!options.just_ids);
            let deliveries = options.deliveries.unwrap_or(pending.deliveries.wrapping_add(more));
            Some(Pending { delivered_ms: options.delivered_ms, deliveries, consumer })
        });
        if taken == Taken::Claimed {
            claims.write(ctx, id, just_ids);
            count += 1;
        }
    }
    ctx.out.fill_array(place, count);
    claims.finish(ctx);
    Ok(Reply::Written)
}

pub(super) fn xautoclaim(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    /// Entries that are looked at for each that may be claimed.
    const ATTEMPTS: usize = 10;
    const COUNT_MAX: i64 = i64::MAX / 16;
    let invalid = CommandError::text("ERR Invalid min-idle-time argument for XAUTOCLAIM");
    let (key, name, consumer) = (args.get(1), args.get(2), args.get(3));
    let min_idle_ms = parse_i64(args.get(4)).ok_or(invalid)?.max(0);
    let start = args::start(args.get(5))?;
    let (mut left, mut just_ids) = (100, false);
    args.seek(6);
    while args.left() > 0 {
        if args.left() > 1 && args.word("COUNT") {
            let count = parse_i64(args.required()?).filter(|count| (1..=COUNT_MAX).contains(count));
            left = count.ok_or(CommandError::text("ERR COUNT must be > 0"))? as usize;
        } else if args.word("JUSTID") {
            just_ids = true;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let stream = ctx.keyspace.stream(key)?;
    if stream.is_none_or(|stream| stream.group(name).is_none()) {
        return Err(no_key_or_group(key, name));
    }
    let now_ms = ctx.keyspace.clock_ms();
    let mut claims = Claims::begin(ctx, key, name, consumer);
    ctx.out.array(3);
    let end_place = ctx.out.len();
    let place = ctx.out.deferred();
    let (mut cursor, mut attempts, mut count, mut deleted) =
        (Some(start), left.saturating_mul(ATTEMPTS), 0, Vec::new());
    while attempts > 0 && left > 0 {
        attempts -= 1;
        let Some(id) = claims.next_pending(ctx, cursor) else {
            cursor = None;
            break;
        };
        cursor = id.next();
        let taken = claims.claim(ctx, id, |pending, consumer| {
            let pending = *pending?;
            let is_idle = min_idle_ms == 0 || now_ms.wrapping_sub(pending.delivered_ms) >= min_idle_ms;
            let deliveries = pending.deliveries.wrapping_add(u64::from(!just_ids));
            is_idle.then_some(Pending { delivered_ms: now_ms, deliveries, consumer })
        });
        match taken {
            Taken::Claimed => {
                claims.write(ctx, id, just_ids);
                count += 1;
                left -= 1;
            }
            Taken::Gone => {
                deleted.push(id);
                left -= 1;
            }
            Taken::No => {}
        }
    }
    let next = claims.next_pending(ctx, cursor).unwrap_or(StreamId::MIN);
    ctx.out.fill_array(place, count);
    let end = ctx.out.len();
    write_id(ctx.out, next);
    let len = ctx.out.len() - end;
    ctx.out.bytes_mut()[end_place..].rotate_right(len);
    ctx.out.array(deleted.len());
    deleted.into_iter().for_each(|id| write_id(ctx.out, id));
    claims.finish(ctx);
    Ok(Reply::Written)
}

/// What became of an entry that was to be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Claimed,
    /// It is not in the stream any more, and so it is not pending any more.
    Gone,
    No,
}

/// A consumer that claims entries of its group, which exists.
struct Claims<'a> {
    key: &'a [u8],
    group: &'a [u8],
    name: &'a [u8],
    consumer: Option<ConsumerId>,
    /// The consumer is new, and no claim has said so yet.
    unsaid: bool,
    /// The group has come further, and no claim has said so yet.
    advanced: bool,
    last_id: StreamId,
}

impl<'a> Claims<'a> {
    /// Finds the consumer, or makes it.
    fn begin(ctx: &mut Context<'_>, key: &'a [u8], group: &'a [u8], name: &'a [u8]) -> Self {
        let now_ms = ctx.keyspace.clock_ms();
        // The effects that follow stand for the command.
        ctx.keyspace.propagate_nothing();
        let mut claims =
            Self { key, group, name, consumer: None, unsaid: false, advanced: false, last_id: StreamId::MIN };
        claims.with(ctx, |claims, _, group| {
            let known = group.consumer_id(name);
            claims.unsaid = known.is_none();
            claims.consumer = known.or_else(|| group.add_consumer(name, now_ms));
            claims.last_id = group.last_id;
            if let Some(consumer) = claims.consumer.and_then(|id| group.consumer_mut(id)) {
                consumer.seen_ms = now_ms;
            }
        });
        if claims.unsaid {
            ctx.keyspace.add_dirty(1);
            ctx.keyspace.notify(Class::Stream, "xgroup-createconsumer", key);
        }
        claims
    }

    /// Works on the entries and the group; nothing when there is no such group.
    fn with<R>(
        &mut self,
        ctx: &mut Context<'_>,
        work: impl FnOnce(&mut Self, &Log, &mut Group) -> R,
    ) -> Option<R> {
        match ctx.keyspace.stream_mut(self.key).ok().flatten()?.group_mut(self.group) {
            (log, Some(group)) => Some(work(self, log, group)),
            (_, None) => None,
        }
    }

    /// LASTID: the group has been given everything up to there.
    fn advance(&mut self, ctx: &mut Context<'_>, last_id: StreamId) {
        if last_id > self.last_id {
            self.with(ctx, |claims, _, group| {
                group.last_id = last_id;
                (claims.last_id, claims.advanced) = (last_id, true);
            });
        }
    }

    /// The first pending entry from an id on.
    fn next_pending(&mut self, ctx: &mut Context<'_>, from: Option<StreamId>) -> Option<StreamId> {
        let from = from?;
        self.with(ctx, |_, _, group| group.pending(from..=StreamId::MAX).next().map(|(id, _)| id)).flatten()
    }

    /// Claims an entry; `change` says what it becomes, from what it is if it is pending.
    fn claim(
        &mut self,
        ctx: &mut Context<'_>,
        id: StreamId,
        change: impl FnOnce(Option<&Pending>, ConsumerId) -> Option<Pending>,
    ) -> Taken {
        let now_ms = ctx.keyspace.clock_ms();
        let done = self.with(ctx, |claims, log, group| {
            let consumer = claims.consumer?;
            if log.get(id).is_none() {
                let before = group.acknowledge(id)?;
                return Some((Taken::Gone, group.shared_name_of(before.consumer), before));
            }
            let pending = change(group.get(id), consumer)?;
            group.assign(id, pending);
            if let Some(consumer) = group.consumer_mut(consumer) {
                consumer.active_ms = Some(now_ms);
            }
            Some((Taken::Claimed, group.shared_name_of(consumer), pending))
        });
        let Some((taken, consumer, pending)) = done.flatten() else { return Taken::No };
        // The claim of an entry that is gone removes it in a replay as well.
        let claim = Claimed { id, consumer, pending };
        propagate_claim(&mut ctx.keyspace, self.key, self.group, &claim, self.last_id);
        self.advanced = false;
        self.unsaid &= taken != Taken::Claimed;
        ctx.keyspace.add_dirty(1);
        taken
    }

    /// Writes an entry that was claimed.
    fn write(&mut self, ctx: &mut Context<'_>, id: StreamId, just_id: bool) {
        if just_id {
            return write_id(ctx.out, id);
        }
        if let Some(ValueRef::Stream(stream)) = ctx.keyspace.peek(self.key)
            && let Some(entry) = stream.log().get(id)
        {
            write_entry(ctx.out, entry);
        }
    }

    /// Leaves what no claim has said.
    fn finish(mut self, ctx: &mut Context<'_>) {
        if self.unsaid {
            propagate_consumer(&mut ctx.keyspace, self.key, self.group, self.name);
        }
        if self.advanced {
            let read = self.with(ctx, |_, _, group| group.entries_read).flatten();
            propagate_group_id(&mut ctx.keyspace, self.key, self.group, self.last_id, read);
            ctx.keyspace.add_dirty(1);
        }
    }
}
