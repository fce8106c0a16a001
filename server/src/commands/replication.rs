//! Waiting until writes are safe: WAIT, WAITAOF.

use super::{Flow, Handler, WRITTEN};
use crate::replication::request_acks;
use crate::session::{Session, SyncWait};
use baton::held::Held;
use baton_engine::command::{Arity, Category, Command, Flag::*, Group};
use baton_engine::error::CommandError;
use baton_engine::number::parse_i64;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "WAIT",
        arity: Arity::Exactly(3),
        flags: &[Blocking],
        acl: &[Category::Connection],
        tips: &["request_policy:all_shards", "response_policy:agg_min"],
        group: Group::Generic,
        since: "3.0.0",
        complexity: "O(1)",
        summary: "Waits until so many replicas have the writes of this connection, or the time is over.",
        ..Command::BASE
    },
    Command {
        name: "WAITAOF",
        arity: Arity::Exactly(4),
        flags: &[Blocking],
        acl: &[Category::Connection],
        tips: &["request_policy:all_shards", "response_policy:agg_min"],
        group: Group::Generic,
        since: "7.2.0",
        complexity: "O(1)",
        summary: "Waits until this node and so many replicas have synced the writes of this connection to disk, or the time \
                  is over.",
        ..Command::BASE
    },
];

pub const HANDLERS: &[(&str, Handler)] = &[("wait", wait), ("waitaof", wait_aof)];

/// Replicas acknowledge once a second, and when they are asked.
fn wait(session: &mut Session, args: &[&[u8]], held: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    const NOT_HERE: CommandError = CommandError::text(
        "ERR WAIT cannot be used with replica instances. Please also note that if a replica is configured to be writable \
         (which is not the default) writes to replicas are just local and are not propagated.",
    );
    let server = session.server.clone();
    if server.node.replication().is_replica() {
        return Err(NOT_HERE);
    }
    let replicas = parse_i64(args[1]).ok_or(CommandError::NotInteger)?;
    let until_ms = until(args[2], server.node.now_ms())?;
    let sync = SyncWait { on_disk: false, offset: session.journaled, local: false, replicas };
    wait_for(session, sync, until_ms, held.is_some())
}

/// Waits, unless there is nothing to wait for, or no way to.
fn wait_for(
    session: &mut Session,
    sync: SyncWait,
    until_ms: Option<i64>,
    in_transaction: bool,
) -> Result<Flow, CommandError> {
    let server = session.server.clone();
    if sync.is_over(&server.node) || in_transaction {
        session.out.bytes_mut().extend_from_slice(&sync.answer(&server.node));
        return WRITTEN;
    }
    request_acks(&server, sync.offset);
    Ok(Flow::WaitForSync { until_ms, sync })
}

/// To who wants to wait for a log that there is not, or not any more.
pub const NO_LOG: &str = "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";

/// The log of this node tells how far it is synced, and replicas tell that of theirs.
fn wait_aof(
    session: &mut Session,
    args: &[&[u8]],
    held: Option<&mut Held<'_>>,
) -> Result<Flow, CommandError> {
    const LOCAL_RANGE: CommandError =
        CommandError::text("ERR value is out of range, value must between 0 and 1");
    const REPLICAS_RANGE: CommandError = CommandError::text("ERR value is out of range, must be positive");
    const NOT_HERE: CommandError = CommandError::text(
        "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local and are \
         not propagated.",
    );
    let local = parse_i64(args[1]).ok_or(CommandError::NotInteger)?;
    if !(0..=1).contains(&local) {
        return Err(LOCAL_RANGE);
    }
    let replicas = parse_i64(args[2]).ok_or(CommandError::NotInteger)?;
    if replicas < 0 {
        return Err(REPLICAS_RANGE);
    }
    let node = session.server.node.clone();
    let until_ms = until(args[3], node.now_ms())?;
    if node.replication().is_replica() {
        return Err(NOT_HERE);
    }
    if local > 0 && !session.server.settings().appendonly {
        return Err(CommandError::text(NO_LOG));
    }
    let sync = SyncWait { on_disk: true, offset: session.journaled, local: local > 0, replicas };
    wait_for(session, sync, until_ms, held.is_some())
}

/// When a time of so many milliseconds is over; `None` for 0, which is never.
fn until(timeout_ms: &[u8], now_ms: i64) -> Result<Option<i64>, CommandError> {
    const NOT_INTEGER: CommandError = CommandError::text("ERR timeout is not an integer or out of range");
    const TOO_LONG: CommandError = CommandError::text("ERR timeout is out of range");
    match parse_i64(timeout_ms).ok_or(NOT_INTEGER)? {
        ..0 => Err(CommandError::text("ERR timeout is negative")),
        0 => Ok(None),
        timeout_ms => timeout_ms.checked_add(now_ms).map(Some).ok_or(TOO_LONG),
    }
}
