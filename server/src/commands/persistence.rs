//! Snapshots and the log: SAVE, BGSAVE, BGREWRITEAOF, LASTSAVE.

use super::{Flow, Handler};
use crate::log;
use crate::logging::Level;
use crate::persistence;
use crate::server::Server;
use crate::session::Session;
use baton::held::Held;
use baton::persist::log::RewriteError;
use baton::snapshot::SnapshotError;
use baton_engine::command::{Arity, Category, Command, Flag::*, Group};
use baton_engine::error::CommandError;
use baton_engine::reply::Reply;
use std::sync::atomic::Ordering;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "SAVE",
        arity: Arity::Exactly(1),
        flags: &[NoAsyncLoading, Admin, NoScript, NoMulti],
        group: Group::Server,
        since: "1.0.0",
        complexity: "O(n) for n keys; others are served meanwhile",
        summary: "Writes a snapshot of the data to disk, and answers when it is there.",
        ..Command::BASE
    },
    Command {
        name: "BGSAVE",
        arity: Arity::AtLeast(1),
        flags: &[NoAsyncLoading, Admin, NoScript],
        group: Group::Server,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Begins to write a snapshot of the data to disk.",
        ..Command::BASE
    },
    Command {
        name: "BGREWRITEAOF",
        arity: Arity::Exactly(1),
        flags: &[NoAsyncLoading, Admin, NoScript],
        group: Group::Server,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Begins to rewrite the append-only log, as short as the data allow.",
        ..Command::BASE
    },
    Command {
        name: "LASTSAVE",
        arity: Arity::Exactly(1),
        flags: &[Loading, Stale, Fast],
        acl: &[Category::Admin, Category::Dangerous],
        tips: &["nondeterministic_output"],
        group: Group::Server,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Returns the Unix time of the last snapshot that succeeded.",
        ..Command::BASE
    },
];

pub const HANDLERS: &[(&str, Handler)] =
    &[("save", save), ("bgsave", bgsave), ("bgrewriteaof", bgrewriteaof), ("lastsave", lastsave)];

/// The snapshot is the one of BGSAVE; only whoever asked waits for it.
fn save(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let server = session.server.clone();
    persistence::save_for(&server, session.client.clone(), session.who.resp3).map_err(refusal)?;
    Ok(Flow::Wait { until_ms: None, reply: Reply::Ok })
}

fn bgsave(session: &mut Session, args: &[&[u8]], held: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let server = &session.server;
    let schedule = match &args[1..] {
        [] => false,
        [word] if word.eq_ignore_ascii_case(b"SCHEDULE") => true,
        [word] if word.eq_ignore_ascii_case(b"CANCEL") => return cancel(server),
        _ => return Err(CommandError::Syntax),
    };
    let is_rewriting = persistence::is_rewriting(server);
    if server.node.snapshots.current().is_some() && !is_rewriting {
        return Err(refusal(SnapshotError::Busy));
    }
    // A snapshot of the moment amid a transaction would be none that anybody may see.
    if held.is_some() || is_rewriting && schedule {
        server.snapshots.scheduled.store(true, Ordering::Relaxed);
        return Ok(Flow::Reply(Reply::Status("Background saving scheduled")));
    }
    match persistence::begin(server) {
        Ok(()) => Ok(Flow::Reply(Reply::Status("Background saving started"))),
        Err(SnapshotError::Busy) if is_rewriting => Err(CommandError::text(
            "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to \
             schedule a BGSAVE whenever possible.",
        )),
        Err(error) => Err(refusal(error)),
    }
}

/// BGSAVE CANCEL: calls off the snapshot that is being written, or the one that is to be.
fn cancel(server: &Server) -> Result<Flow, CommandError> {
    if server.node.snapshots.current().is_some() && !persistence::is_rewriting(server) {
        log!(Level::Notice, "Background saving will be aborted due to user request");
        server.node.snapshots.abort("BGSAVE CANCEL");
        return Ok(Flow::Reply(Reply::Status("Background saving cancelled")));
    }
    if server.snapshots.scheduled.swap(false, Ordering::Relaxed) {
        log!(Level::Notice, "Scheduled background saving will be cancelled due to user request");
        return Ok(Flow::Reply(Reply::Status("Scheduled background saving cancelled")));
    }
    Err(CommandError::text("ERR Background saving is currently not in progress or scheduled"))
}

fn bgrewriteaof(
    session: &mut Session,
    _: &[&[u8]],
    held: Option<&mut Held<'_>>,
) -> Result<Flow, CommandError> {
    let server = &session.server;
    let schedule = || {
        server.rewrites.scheduled.store(true, Ordering::Relaxed);
        Ok(Flow::Reply(Reply::Status("Background append only file rewriting scheduled")))
    };
    if held.is_some() {
        // What a log begins with amid a transaction would be a moment that nobody may see.
        return schedule();
    }
    match persistence::begin_rewrite(server, server.settings().appendonly) {
        Ok(()) => Ok(Flow::Reply(Reply::Status("Background append only file rewriting started"))),
        Err(RewriteError::Snapshot(SnapshotError::Busy)) => schedule(),
        Err(error) => Err(CommandError::owned(format!("ERR {error}"))),
    }
}

fn lastsave(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    Ok(Flow::Reply(Reply::Integer(session.server.snapshots.last_save_s.load(Ordering::Relaxed))))
}

fn refusal(error: SnapshotError) -> CommandError {
    CommandError::owned(format!("ERR {error}"))
}
