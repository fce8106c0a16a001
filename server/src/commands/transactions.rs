//! Transactions: MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! EXEC takes the batons of all cores that its commands and the watched keys need, in ascending order, before it looks
//! at the watches: from then on nobody else can change what it saw. It lets them go after the last command.

use super::{Flow, Handler, OK, WRITTEN};
use crate::replica;
use crate::server::Server;
use crate::session::{After, Session, Transaction, Watching};
use baton::held::Held;
use baton::node::Cores;
use baton_engine::command::{Arity, Category, Command, Flag::*, Group, KeyFlag::Ro, keys};
use baton_engine::error::CommandError;
use baton_engine::reply::Reply;
use baton_engine::slot::Slot;
use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "MULTI",
        arity: Arity::Exactly(1),
        flags: &[NoScript, Loading, Stale, Fast, NoMulti, AllowBusy],
        acl: &[Category::Transaction],
        group: Group::Transactions,
        since: "1.2.0",
        complexity: "O(1)",
        summary: "Begins a transaction: the commands that follow are queued.",
        ..Command::BASE
    },
    Command {
        name: "EXEC",
        arity: Arity::Exactly(1),
        flags: &[NoScript, Loading, Stale, SkipSlowlog],
        acl: &[Category::Transaction],
        group: Group::Transactions,
        since: "1.2.0",
        complexity: "that of the queued commands",
        summary: "Runs the queued commands in one go, unless a watched key has changed.",
        ..Command::BASE
    },
    Command {
        name: "DISCARD",
        arity: Arity::Exactly(1),
        flags: &[NoScript, Loading, Stale, Fast, AllowBusy],
        acl: &[Category::Transaction],
        group: Group::Transactions,
        since: "2.0.0",
        complexity: "O(n) for n queued commands and watched keys",
        summary: "Forgets the queued commands and the watches.",
        ..Command::BASE
    },
    Command {
        name: "WATCH",
        arity: Arity::AtLeast(2),
        flags: &[NoScript, Loading, Stale, Fast, NoMulti, AllowBusy],
        acl: &[Category::Transaction],
        keys: &[keys(1, -1, 1, &[Ro])],
        group: Group::Transactions,
        since: "2.2.0",
        complexity: "O(n) for n keys",
        summary: "Makes the next transaction depend on these keys not changing until then.",
        ..Command::BASE
    },
    Command {
        name: "UNWATCH",
        arity: Arity::Exactly(1),
        flags: &[NoScript, Loading, Stale, Fast, AllowBusy],
        acl: &[Category::Transaction],
        group: Group::Transactions,
        since: "2.2.0",
        complexity: "O(n) for n watched keys",
        summary: "Forgets the watches.",
        ..Command::BASE
    },
];

pub const HANDLERS: &[(&str, Handler)] =
    &[("multi", multi), ("exec", exec), ("discard", discard), ("watch", watch), ("unwatch", unwatch)];

fn multi(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.transaction = Some(Box::default());
    session.client.queued.store(0, Ordering::Relaxed);
    OK
}

fn discard(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    if session.transaction.is_none() {
        return Err(CommandError::text("ERR DISCARD without MULTI"));
    }
    session.forget_transaction();
    OK
}

fn watch(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let db = session.who.db;
    let watching = session.watching.get_or_insert_default();
    if watching.flag.is_touched() {
        // The transaction is void already.
        return OK;
    }
    let keys = &args[1..];
    let node = session.server.node.clone();
    let mut held = node.hold(|node| node.owners(keys.iter().copied()));
    for key in keys {
        let Entry::Vacant(watched) = watching.keys.entry((db, Box::from(*key))) else { continue };
        let was_there = held.with_keyspace(db, |keyspace| {
            keyspace.build_slot(Slot::of(key))?;
            keyspace.set_keep_expired(session.server.is_paused.load(Ordering::Relaxed));
            // A key whose time was over before is absent: its removal is no change.
            let was_there = keyspace.exists(key);
            keyspace.watch(key, &watching.flag);
            Ok::<_, CommandError>(was_there)
        })?;
        session.client.keeps_name(key);
        watched.insert(was_there);
    }
    held.finish();
    session.client.watching.store(watching.keys.len(), Ordering::Relaxed);
    *session.client.watch_flag.lock() = Some(watching.flag.clone());
    OK
}

fn unwatch(session: &mut Session, _: &[&[u8]], held: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.unwatch(held);
    OK
}

fn exec(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let Some(transaction) = session.transaction.take() else {
        return Err(CommandError::text("ERR EXEC without MULTI"));
    };
    session.client.queued.store(-1, Ordering::Relaxed);
    session.client.queued_bytes.store(0, Ordering::Relaxed);
    if transaction.broken {
        session.unwatch(None);
        return Err(CommandError::text("EXECABORT Transaction discarded because of previous errors."));
    }
    session.follow_users();
    let server = session.server.clone();
    let watching = session.watching.as_deref();
    let mut held = server.node.hold(|_| cores_needed(&server, &transaction, watching));
    session.prepare(&mut held);
    let is_void = session.watching.as_ref().is_some_and(|watching| is_void(watching, &mut held));
    session.unwatch(Some(&mut held));
    if is_void {
        held.finish();
        return Ok(Flow::Reply(Reply::NullArray));
    }
    held.begin_transaction();
    let mut sleep = Duration::ZERO;
    session.out.array(transaction.queue.len());
    for (id, args) in &transaction.queue {
        let args: Vec<&[u8]> = args.iter().map(|arg| &**arg).collect();
        if let After::Sleep(time) = session.run_queued(&mut held, *id, &args) {
            sleep += time;
        }
    }
    held.finish();
    if let Some(change) = session.role_change.take() {
        replica::carry_out(&server, change);
    }
    if sleep.is_zero() { WRITTEN } else { Ok(Flow::Sleep(sleep)) }
}

/// Whether a watched key has changed; one whose time is over by now has.
fn is_void(watching: &Watching, held: &mut Held<'_>) -> bool {
    let is_over = |((db, key), was_there): (&(usize, Box<[u8]>), &bool)| {
        // One that was absent still is, even if SWAPDB has put another there whose time is over.
        *was_there && held.with_keyspace(*db, |keyspace| keyspace.peek(key).is_none())
    };
    watching.flag.is_touched() || watching.keys.iter().any(is_over)
}

/// The cores of all keys that EXEC will touch; all there are if a command may touch any.
fn cores_needed(server: &Server, transaction: &Transaction, watching: Option<&Watching>) -> Cores {
    let node = &server.node;
    let watched = watching.into_iter().flat_map(|watching| watching.keys.keys());
    let mut cores = node.owners(watched.map(|(_, key)| &**key));
    for (id, args) in &transaction.queue {
        let command = node.registry.get(*id);
        // CLIENT TRACKING has every core note what changes.
        let has_no_data = matches!(command.command.group, Group::Connection | Group::PubSub)
            && command.name != "client|tracking";
        if command.run.is_some() {
            let args: Vec<&[u8]> = args.iter().map(|arg| &**arg).collect();
            cores.extend(node.cores_of(command, &args));
        } else if !has_no_data {
            return node.all_cores();
        }
        if cores.len() > 4 * node.cores() {
            cores.sort_unstable();
            cores.dedup();
        }
    }
    if cores.is_empty() {
        cores.push(0);
    }
    cores.sort_unstable();
    cores.dedup();
    cores
}
