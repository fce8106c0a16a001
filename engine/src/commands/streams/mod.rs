//! Streams.
//!
//! | file      | holds                                                              |
//! |-----------|--------------------------------------------------------------------|
//! | `args`    | ids, intervals and trimming among arguments                        |
//! | `add`     | XADD, XTRIM, XDEL, XLEN, XSETID                                    |
//! | `range`   | XRANGE, XREVRANGE                                                  |
//! | `read`    | XREAD, XREADGROUP                                                  |
//! | `groups`  | XGROUP, XACK                                                       |
//! | `pending` | XPENDING, XCLAIM, XAUTOCLAIM                                       |
//! | `info`    | XINFO                                                              |
//!
//! What they leave in the log names every id and every time, so that a replay comes to the same: XADD with the id that was given
//! out and an exact trim, XREADGROUP and the claims as XCLAIM of each entry and XGROUP SETID.

mod add;
mod args;
mod groups;
mod info;
mod pending;
mod range;
mod read;
#[cfg(test)]
mod tests;

pub use read::args_to_wait_with;

use crate::command::{
    Arity, Begin, Category, Command, Find, Flag::*, Group, KeyFlag, KeyFlag::*, KeySpec, Run, key,
};
use crate::error::{CommandError, printable};
use crate::keyspace::Keyspace;
use crate::reply::Out;
use crate::types::stream::{Entry, Pending, StreamId};
use std::sync::Arc;

/// The keys behind STREAMS: the first half of what follows it.
const fn behind_streams(from: i64, flags: &'static [KeyFlag]) -> KeySpec {
    let find = Find::Range { last: -1, step: 1, limit: 2 };
    KeySpec { flags, begin: Begin::Keyword("STREAMS", from), find }
}

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "XACK",
        arity: Arity::AtLeast(4),
        flags: &[Write, Fast],
        acl: &[Category::Stream],
        keys: &[key(1, &[Rw, Update])],
        group: Group::Stream,
        since: "5.0.0",
        complexity: "O(log n) for each id, n being what is pending",
        summary: "Acknowledges entries that a group was given: they are not pending any more.",
        run: Run::Keys(groups::xack),
        ..Command::BASE
    },
    Command {
        name: "XADD",
        arity: Arity::AtLeast(5),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::Stream],
        keys: &[key(1, &[Rw, Update])],
        tips: &["nondeterministic_output"],
        group: Group::Stream,
        since: "5.0.0",
        complexity: "O(1) for adding; trimming is O(n) for n removed entries",
        summary: "Appends an entry to a stream, creating it when the key is absent, and may trim it.",
        run: Run::Keys(add::xadd),
        ..Command::BASE
    },
    Command {
        name: "XAUTOCLAIM",
        arity: Arity::AtLeast(6),
        flags: &[Write, Fast],
        acl: &[Category::Stream],
        keys: &[key(1, &[Rw, Delete])],
        tips: &["nondeterministic_output"],
        group: Group::Stream,
        since: "6.2.0",
        complexity: "O(log n + m) for m entries looked at of n pending ones",
        summary: "Makes a consumer the owner of pending entries that have been idle for long, walking all of them.",
        run: Run::Keys(pending::xautoclaim),
        ..Command::BASE
    },
    Command {
        name: "XCLAIM",
        arity: Arity::AtLeast(6),
        flags: &[Write, Fast],
        acl: &[Category::Stream],
        keys: &[key(1, &[Rw, Update])],
        tips: &["nondeterministic_output"],
        group: Group::Stream,
        since: "5.0.0",
        complexity: "O(log n) for each id, n being what is pending",
        summary: "Makes a consumer the owner of pending entries, as if they had been delivered to it.",
        run: Run::Keys(pending::xclaim),
        ..Command::BASE
    },
    Command {
        name: "XDEL",
        arity: Arity::AtLeast(3),
        flags: &[Write, Fast],
        acl: &[Category::Stream],
        keys: &[key(1, &[Rw, Delete])],
        group: Group::Stream,
        since: "5.0.0",
        complexity: "O(log n) for each id",
        summary: "Deletes entries of a stream by their ids.",
        run: Run::Keys(add::xdel),
        ..Command::BASE
    },
    Command {
        name: "XGROUP",
        arity: Arity::AtLeast(2),
        group: Group::Stream,
        since: "5.0.0",
        complexity: "Depends on the subcommand.",
        summary: "Makes, changes and removes consumer groups.",
        subcommands: XGROUP,
        ..Command::BASE
    },
    Command {
        name: "XINFO",
        arity: Arity::AtLeast(2),
        group: Group::Stream,
        since: "5.0.0",
        complexity: "Depends on the subcommand.",
        summary: "Looks at a stream, its groups and their consumers.",
        subcommands: XINFO,
        ..Command::BASE
    },
    Command {
        name: "XLEN",
        arity: Arity::Exactly(2),
        flags: &[ReadOnly, Fast],
        acl: &[Category::Stream],
        keys: &[key(1, &[Ro])],
        group: Group::Stream,
        since: "5.0.0",
        complexity: "O(1)",
        summary: "Tells how many entries a stream has.",
        run: Run::Keys(add::xlen),
        ..Command::BASE
    },
    Command {
        name: "XPENDING",
        arity: Arity::AtLeast(3),
        flags: &[ReadOnly],
        acl: &[Category::Stream],
        keys: &[key(1, &[Ro, Access])],
        tips: &["nondeterministic_output"],
        group: Group::Stream,
        since: "5.0.0",
        complexity: "O(log n + m) for m entries looked at; the summary O(c) for c consumers",
        summary: "Lists what a group was given and has not acknowledged, or sums it up.",
        run: Run::Keys(pending::xpending),
        ..Command::BASE
    },
    Command {
        name: "XRANGE",
        arity: Arity::AtLeast(4),
        flags: &[ReadOnly],
        acl: &[Category::Stream],
        keys: &[key(1, &[Ro, Access])],
        group: Group::Stream,
        since: "5.0.0",
        complexity: "O(log n + m) for m returned entries",
        summary: "Returns the entries of a stream whose ids are in an interval.",
        run: Run::Keys(range::xrange),
        ..Command::BASE
    },
    Command {
        name: "XREAD",
        arity: Arity::AtLeast(4),
        flags: &[ReadOnly, Blocking],
        acl: &[Category::Stream],
        keys: &[behind_streams(1, &[Ro, Access])],
        group: Group::Stream,
        since: "5.0.0",
        complexity: "O(log n + m) for each stream with m returned entries",
        summary: "Returns the entries of streams after given ids, and may wait until there are some.",
        run: Run::Keys(read::xread),
        ..Command::BASE
    },
    Command {
        name: "XREADGROUP",
        arity: Arity::AtLeast(7),
        flags: &[Write, Blocking],
        acl: &[Category::Stream],
        keys: &[behind_streams(4, &[Ro, Access])],
        group: Group::Stream,
        since: "5.0.0",
        complexity: "O(log n + m) for each stream with m returned entries",
        summary: "Gives a consumer of a group entries that nobody else of it was given, or its own pending ones; may wait.",
        run: Run::Keys(read::xreadgroup),
        ..Command::BASE
    },
    Command {
        name: "XREVRANGE",
        arity: Arity::AtLeast(4),
        flags: &[ReadOnly],
        acl: &[Category::Stream],
        keys: &[key(1, &[Ro, Access])],
        group: Group::Stream,
        since: "5.0.0",
        complexity: "O(log n + m) for m returned entries",
        summary: "Returns the entries of a stream whose ids are in an interval, the last first.",
        run: Run::Keys(range::xrevrange),
        ..Command::BASE
    },
    Command {
        name: "XSETID",
        arity: Arity::AtLeast(3),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::Stream],
        keys: &[key(1, &[Rw, Update])],
        group: Group::Stream,
        since: "5.0.0",
        complexity: "O(1)",
        summary: "Sets the last id of a stream and what else is known about its past.",
        run: Run::Keys(add::xsetid),
        ..Command::BASE
    },
    Command {
        name: "XTRIM",
        arity: Arity::AtLeast(4),
        flags: &[Write],
        acl: &[Category::Stream],
        keys: &[key(1, &[Rw, Delete])],
        tips: &["nondeterministic_output"],
        group: Group::Stream,
        since: "5.0.0",
        complexity: "O(n) for n removed entries, with a small constant",
        summary: "Removes the oldest entries of a stream.",
        run: Run::Keys(add::xtrim),
        ..Command::BASE
    },
];

const XGROUP: &[Command] = &[
    Command {
        name: "CREATE",
        arity: Arity::AtLeast(5),
        flags: &[Write, DenyOom],
        acl: &[Category::Stream],
        keys: &[key(2, &[Rw, Insert])],
        group: Group::Stream,
        since: "5.0.0",
        complexity: "O(1)",
        summary: "Makes a consumer group.",
        run: Run::Keys(groups::create),
        ..Command::BASE
    },
    Command {
        name: "CREATECONSUMER",
        arity: Arity::Exactly(5),
        flags: &[Write, DenyOom],
        acl: &[Category::Stream],
        keys: &[key(2, &[Rw, Insert])],
        group: Group::Stream,
        since: "6.2.0",
        complexity: "O(log c) for c consumers",
        summary: "Adds a consumer to a group.",
        run: Run::Keys(groups::create_consumer),
        ..Command::BASE
    },
    Command {
        name: "DELCONSUMER",
        arity: Arity::Exactly(5),
        flags: &[Write],
        acl: &[Category::Stream],
        keys: &[key(2, &[Rw, Delete])],
        group: Group::Stream,
        since: "5.0.0",
        complexity: "O(n) for n entries that are pending for it",
        summary: "Removes a consumer from a group, with what is pending for it.",
        run: Run::Keys(groups::delete_consumer),
        ..Command::BASE
    },
    Command {
        name: "DESTROY",
        arity: Arity::Exactly(4),
        flags: &[Write],
        acl: &[Category::Stream],
        keys: &[key(2, &[Rw, Delete])],
        group: Group::Stream,
        since: "5.0.0",
        complexity: "O(n) for n pending entries",
        summary: "Removes a consumer group.",
        run: Run::Keys(groups::destroy),
        ..Command::BASE
    },
    Command {
        name: "HELP",
        arity: Arity::Exactly(2),
        flags: &[Loading, Stale],
        acl: &[Category::Stream],
        group: Group::Stream,
        since: "5.0.0",
        complexity: "O(1)",
        summary: "Explains the subcommands.",
        run: Run::Keys(groups::help),
        ..Command::BASE
    },
    Command {
        name: "SETID",
        arity: Arity::AtLeast(5),
        flags: &[Write],
        acl: &[Category::Stream],
        keys: &[key(2, &[Rw, Update])],
        group: Group::Stream,
        since: "5.0.0",
        complexity: "O(1)",
        summary: "Sets the id after which a group goes on.",
        run: Run::Keys(groups::set_id),
        ..Command::BASE
    },
];

const XINFO: &[Command] = &[
    Command {
        name: "CONSUMERS",
        arity: Arity::Exactly(4),
        flags: &[ReadOnly],
        acl: &[Category::Stream],
        keys: &[key(2, &[Ro, Access])],
        tips: &["nondeterministic_output"],
        group: Group::Stream,
        since: "5.0.0",
        complexity: "O(c) for c consumers",
        summary: "Lists the consumers of a group.",
        run: Run::Keys(info::consumers),
        ..Command::BASE
    },
    Command {
        name: "GROUPS",
        arity: Arity::Exactly(3),
        flags: &[ReadOnly],
        acl: &[Category::Stream],
        keys: &[key(2, &[Ro, Access])],
        group: Group::Stream,
        since: "5.0.0",
        complexity: "O(g) for g groups",
        summary: "Lists the groups of a stream.",
        run: Run::Keys(info::groups),
        ..Command::BASE
    },
    Command {
        name: "HELP",
        arity: Arity::Exactly(2),
        flags: &[Loading, Stale],
        acl: &[Category::Stream],
        group: Group::Stream,
        since: "5.0.0",
        complexity: "O(1)",
        summary: "Explains the subcommands.",
        run: Run::Keys(info::help),
        ..Command::BASE
    },
    Command {
        name: "STREAM",
        arity: Arity::AtLeast(3),
        flags: &[ReadOnly],
        acl: &[Category::Stream],
        keys: &[key(2, &[Ro, Access])],
        group: Group::Stream,
        since: "5.0.0",
        complexity: "O(1); FULL is O(n) for n elements of its reply",
        summary: "Tells what is known of a stream.",
        run: Run::Keys(info::stream),
        ..Command::BASE
    },
];

/// Writes an entry: its id, and its fields and values in one array.
#[inline]
fn write_entry(out: &mut Out, entry: Entry<'_>) {
    out.array(2);
    write_id(out, entry.id);
    out.array(2 * entry.fields.len());
    for (field, value) in entry.fields {
        out.entry(field);
        out.entry(value);
    }
}

#[inline]
fn write_id(out: &mut Out, id: StreamId) {
    out.bulk(&id.text());
}

/// `-NOGROUP ...`: `parts` in turn, texts and arguments; arguments are shown as C programs print them.
fn no_group(parts: &[&[u8]]) -> CommandError {
    let mut line = b"NOGROUP ".to_vec();
    parts.iter().for_each(|part| line.extend_from_slice(printable(part, usize::MAX)));
    CommandError::Quoting(line.into())
}

/// An entry that a consumer has been given, as it will be claimed in a replay.
struct Claimed {
    id: StreamId,
    consumer: Arc<[u8]>,
    pending: Pending,
}

/// Leaves the claim of an entry: whatever the state before, the entry is pending for this consumer after it.
fn propagate_claim(
    keyspace: &mut Keyspace<'_>,
    key: &[u8],
    group: &[u8],
    claim: &Claimed,
    last_id: StreamId,
) {
    let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    let time = time.format(claim.pending.delivered_ms).as_bytes();
    let count = count.format(claim.pending.deliveries as i64).as_bytes();
    keyspace.propagate(&[
        b"XCLAIM",
        key,
        group,
        &claim.consumer,
        b"0",
        &claim.id.text(),
        b"TIME",
        time,
        b"RETRYCOUNT",
        count,
        b"FORCE",
        b"JUSTID",
        b"LASTID",
        &last_id.text(),
    ]);
}

/// Leaves how far a group has come.
fn propagate_group_id(
    keyspace: &mut Keyspace<'_>,
    key: &[u8],
    group: &[u8],
    last_id: StreamId,
    read: Option<u64>,
) {
    let mut buffer = itoa::Buffer::new();
    let read = buffer.format(read.map_or(-1, |read| read as i64)).as_bytes();
    keyspace.propagate(&[b"XGROUP", b"SETID", key, group, &last_id.text(), b"ENTRIESREAD", read]);
}

/// Leaves that there is a new consumer, where no claim says so.
fn propagate_consumer(keyspace: &mut Keyspace<'_>, key: &[u8], group: &[u8], consumer: &[u8]) {
    keyspace.propagate(&[b"XGROUP", b"CREATECONSUMER", key, group, consumer]);
}
