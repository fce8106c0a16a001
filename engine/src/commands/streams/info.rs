//! XINFO.

use super::groups::no_such_group;
use super::range::write_entries;
use super::{write_entry, write_id};
use crate::command::Args;
use crate::context::Context;
use crate::error::CommandError;
use crate::reply::{Out, Reply};
use crate::types::stream::{Consumer, Group, Log, Stream, StreamId};

const HELP: &[&str] = &[
    "CONSUMERS <key> <groupname>",
    "    List the consumers of a group.",
    "GROUPS <key>",
    "    List the groups of a stream.",
    "STREAM <key> [FULL [COUNT <count>]",
    "    Tell what is known of a stream.",
];

const ALL: std::ops::RangeInclusive<StreamId> = StreamId::MIN..=StreamId::MAX;

pub(super) fn help(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Reply, CommandError> {
    ctx.out.help("XINFO", HELP);
    Ok(Reply::Written)
}

pub(super) fn consumers(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let (key, name, now_ms) = (args.get(2), args.get(3), ctx.keyspace.clock_ms());
    let stream = ctx.keyspace.stream(key)?.ok_or(CommandError::NoSuchKey)?;
    let group = stream.group(name).ok_or_else(|| no_such_group(key, name))?;
    let out = &mut *ctx.out;
    out.array(group.consumers().len());
    for consumer in group.consumers() {
        out.map(4);
        out.bulk(b"name");
        out.bulk(consumer.name());
        field(out, "pending", consumer.pending_len() as i64);
        field(out, "idle", now_ms.wrapping_sub(consumer.seen_ms).max(0));
        field(out, "inactive", consumer.active_ms.map_or(-1, |at| now_ms.wrapping_sub(at)));
    }
    Ok(Reply::Written)
}

pub(super) fn groups(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let stream = ctx.keyspace.stream(args.get(2))?.ok_or(CommandError::NoSuchKey)?;
    let out = &mut *ctx.out;
    out.array(stream.groups().len());
    for (name, group) in stream.groups() {
        out.map(6);
        out.bulk(b"name");
        out.bulk(name);
        field(out, "consumers", group.consumers().len() as i64);
        field(out, "pending", group.pending_len() as i64);
        id_field(out, "last-delivered-id", group.last_id);
        write_progress(out, stream.log(), group);
    }
    Ok(Reply::Written)
}

/// How much a group has read, and how much it has not.
fn write_progress(out: &mut Out, log: &Log, group: &Group) {
    known_field(out, "entries-read", group.entries_read);
    known_field(out, "lag", lag(log, group));
}

/// How many entries the group has still to be given, as far as that can be told.
fn lag(log: &Log, group: &Group) -> Option<u64> {
    let added = log.books().entries_added;
    if added == 0 {
        return Some(0);
    }
    let read = group.entries_read.filter(|_| !log.has_gaps_from(group.last_id));
    read.or_else(|| log.count_up_to(group.last_id)).map(|read| added.wrapping_sub(read))
}

pub(super) fn stream(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let stream = ctx.keyspace.stream(args.get(2))?.ok_or(CommandError::NoSuchKey)?;
    args.seek(3);
    match args.left() {
        0 => write_overview(ctx.out, stream),
        1 if args.word("FULL") => write_full(ctx.out, stream, 10),
        3 if args.word("FULL") && args.word("COUNT") => {
            let max = match args.integer()? {
                ..0 => 10,
                0 => usize::MAX,
                max => usize::try_from(max).unwrap_or(usize::MAX),
            };
            write_full(ctx.out, stream, max);
        }
        _ => return Err(CommandError::bad_subcommand("XINFO", args.get(1))),
    }
    Ok(Reply::Written)
}

fn field(out: &mut Out, name: &str, value: i64) {
    out.bulk(name.as_bytes());
    out.integer(value);
}

fn known_field(out: &mut Out, name: &str, value: Option<u64>) {
    out.bulk(name.as_bytes());
    match value {
        Some(value) => out.integer(value as i64),
        None => out.null(),
    }
}

fn id_field(out: &mut Out, name: &str, id: StreamId) {
    out.bulk(name.as_bytes());
    write_id(out, id);
}

/// Seven pairs that both forms of XINFO STREAM begin with.
fn write_head(out: &mut Out, log: &Log) {
    field(out, "length", log.len() as i64);
    field(out, "radix-tree-keys", log.node_count() as i64);
    // Ours is no radix tree: this is the number that Redis shows for up to one key.
    field(out, "radix-tree-nodes", log.node_count() as i64 + 1);
    id_field(out, "last-generated-id", log.last_id());
    id_field(out, "max-deleted-entry-id", log.books().max_deleted_id);
    field(out, "entries-added", log.books().entries_added as i64);
    id_field(out, "recorded-first-entry-id", log.first_id());
}

fn write_overview(out: &mut Out, stream: &Stream) {
    let log = stream.log();
    out.map(10);
    write_head(out, log);
    field(out, "groups", stream.groups().len() as i64);
    let ends = [log.iter().next(), log.range_back(StreamId::MIN, StreamId::MAX).next()];
    for (name, entry) in ["first-entry", "last-entry"].into_iter().zip(ends) {
        out.bulk(name.as_bytes());
        match entry {
            Some(entry) => write_entry(out, entry),
            None => out.null(),
        }
    }
}

fn write_full(out: &mut Out, stream: &Stream, max: usize) {
    let log = stream.log();
    out.map(9);
    write_head(out, log);
    out.bulk(b"entries");
    write_entries(out, log.iter().take(max));
    out.bulk(b"groups");
    out.array(stream.groups().len());
    for (name, group) in stream.groups() {
        out.map(7);
        out.bulk(b"name");
        out.bulk(name);
        id_field(out, "last-delivered-id", group.last_id);
        write_progress(out, log, group);
        field(out, "pel-count", group.pending_len() as i64);
        out.bulk(b"pending");
        out.array(group.pending_len().min(max));
        for (id, pending) in group.pending(ALL).take(max) {
            out.array(4);
            write_id(out, id);
            out.bulk(group.name_of(pending.consumer));
            out.integer(pending.delivered_ms);
            out.integer(pending.deliveries as i64);
        }
        out.bulk(b"consumers");
        out.array(group.consumers().len());
        group.consumers().for_each(|consumer| write_consumer(out, group, consumer, max));
    }
}

fn write_consumer(out: &mut Out, group: &Group, consumer: &Consumer, max: usize) {
    out.map(5);
    out.bulk(b"name");
    out.bulk(consumer.name());
    field(out, "seen-time", consumer.seen_ms);
    field(out, "active-time", consumer.active_ms.unwrap_or(-1));
    field(out, "pel-count", consumer.pending_len() as i64);
    out.bulk(b"pending");
    out.array(consumer.pending_len().min(max));
    for id in consumer.pending(ALL).take(max) {
        let pending = group.get(id);
        out.array(3);
        write_id(out, id);
        out.integer(pending.map_or(0, |pending| pending.delivered_ms));
        out.integer(pending.map_or(0, |pending| pending.deliveries as i64));
    }
}
