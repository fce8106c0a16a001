//! Publish/subscribe: SUBSCRIBE and its kin, PUBLISH, PUBSUB.
//!
//! A client hears of its subscriptions by pushes of their own, one for each name, which CLIENT REPLY does not silence.

use super::{Flow, Handler, WRITTEN};
use crate::client::Post;
use crate::session::{ReplyMode, Session, Subscriptions};
use baton::held::Held;
use baton::pubsub::{Kind, Subscriber};
use baton_engine::command::{Arity, Command, Flag::*, Group, KeyFlag::NotKey, key, keys};
use baton_engine::error::CommandError;
use baton_engine::reply::{Out, Reply};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "SUBSCRIBE",
        arity: Arity::AtLeast(2),
        flags: &[PubSub, NoScript, Loading, Stale, Sentinel],
        group: Group::PubSub,
        since: "2.0.0",
        complexity: "O(n) for n channels",
        summary: "Listens to channels.",
        ..Command::BASE
    },
    Command {
        name: "UNSUBSCRIBE",
        arity: Arity::AtLeast(1),
        flags: &[PubSub, NoScript, Loading, Stale, Sentinel],
        group: Group::PubSub,
        since: "2.0.0",
        complexity: "O(n) for n channels",
        summary: "Listens no more to these channels, or to any.",
        ..Command::BASE
    },
    Command {
        name: "PSUBSCRIBE",
        arity: Arity::AtLeast(2),
        flags: &[PubSub, NoScript, Loading, Stale, Sentinel],
        group: Group::PubSub,
        since: "2.0.0",
        complexity: "O(n) for n patterns",
        summary: "Listens to all channels whose names match the patterns.",
        ..Command::BASE
    },
    Command {
        name: "PUNSUBSCRIBE",
        arity: Arity::AtLeast(1),
        flags: &[PubSub, NoScript, Loading, Stale, Sentinel],
        group: Group::PubSub,
        since: "2.0.0",
        complexity: "O(n) for n patterns",
        summary: "Listens no more to what matches these patterns, or any.",
        ..Command::BASE
    },
    Command {
        name: "SSUBSCRIBE",
        arity: Arity::AtLeast(2),
        flags: &[PubSub, NoScript, Loading, Stale],
        keys: &[keys(1, -1, 1, &[NotKey])],
        group: Group::PubSub,
        since: "7.0.0",
        complexity: "O(n) for n channels",
        summary: "Listens to shard channels.",
        ..Command::BASE
    },
    Command {
        name: "SUNSUBSCRIBE",
        arity: Arity::AtLeast(1),
        flags: &[PubSub, NoScript, Loading, Stale],
        keys: &[keys(1, -1, 1, &[NotKey])],
        group: Group::PubSub,
        since: "7.0.0",
        complexity: "O(n) for n channels",
        summary: "Listens no more to these shard channels, or to any.",
        ..Command::BASE
    },
    Command {
        name: "PUBLISH",
        arity: Arity::Exactly(3),
        flags: &[PubSub, Loading, Stale, Fast, MayReplicate, Sentinel],
        group: Group::PubSub,
        since: "2.0.0",
        complexity: "O(n+m) for n listeners of the channel and m patterns",
        summary: "Sends a message to all who listen to the channel; answers how many that are.",
        ..Command::BASE
    },
    Command {
        name: "SPUBLISH",
        arity: Arity::Exactly(3),
        flags: &[PubSub, Loading, Stale, Fast, MayReplicate],
        keys: &[key(1, &[NotKey])],
        group: Group::PubSub,
        since: "7.0.0",
        complexity: "O(n) for n listeners of the channel",
        summary: "Sends a message to all who listen to the shard channel; answers how many that are.",
        ..Command::BASE
    },
    Command {
        name: "PUBSUB",
        arity: Arity::AtLeast(2),
        group: Group::PubSub,
        since: "2.8.0",
        complexity: "depends on the subcommand",
        summary: "Container of commands about channels and their listeners.",
        subcommands: &[
            Command {
                name: "CHANNELS",
                arity: Arity::AtLeast(2),
                flags: &[PubSub, Loading, Stale],
                group: Group::PubSub,
                since: "2.8.0",
                complexity: "O(n) for n channels",
                summary: "The channels that somebody listens to.",
                ..Command::BASE
            },
            Command {
                name: "HELP",
                arity: Arity::Exactly(2),
                flags: &[Loading, Stale],
                group: Group::PubSub,
                since: "6.2.0",
                complexity: "O(1)",
                summary: "Tells about the subcommands.",
                ..Command::BASE
            },
            Command {
                name: "NUMPAT",
                arity: Arity::Exactly(2),
                flags: &[PubSub, Loading, Stale],
                group: Group::PubSub,
                since: "2.8.0",
                complexity: "O(1)",
                summary: "How many patterns somebody listens to.",
                ..Command::BASE
            },
            Command {
                name: "NUMSUB",
                arity: Arity::AtLeast(2),
                flags: &[PubSub, Loading, Stale],
                group: Group::PubSub,
                since: "2.8.0",
                complexity: "O(n) for n channels",
                summary: "How many listen to each of the channels.",
                ..Command::BASE
            },
            Command {
                name: "SHARDCHANNELS",
                arity: Arity::AtLeast(2),
                flags: &[PubSub, Loading, Stale],
                group: Group::PubSub,
                since: "7.0.0",
                complexity: "O(n) for n shard channels",
                summary: "The shard channels that somebody listens to.",
                ..Command::BASE
            },
            Command {
                name: "SHARDNUMSUB",
                arity: Arity::AtLeast(2),
                flags: &[PubSub, Loading, Stale],
                group: Group::PubSub,
                since: "7.0.0",
                complexity: "O(n) for n shard channels",
                summary: "How many listen to each of the shard channels.",
                ..Command::BASE
            },
        ],
        ..Command::BASE
    },
];

pub const HANDLERS: &[(&str, Handler)] = &[
    ("subscribe", |session, args, held| subscribe(session, args, held, Kind::Channel)),
    ("psubscribe", |session, args, held| subscribe(session, args, held, Kind::Pattern)),
    ("ssubscribe", |session, args, held| subscribe(session, args, held, Kind::Shard)),
    ("unsubscribe", |session, args, held| unsubscribe(session, args, held, Kind::Channel)),
    ("punsubscribe", |session, args, held| unsubscribe(session, args, held, Kind::Pattern)),
    ("sunsubscribe", |session, args, held| unsubscribe(session, args, held, Kind::Shard)),
    ("publish", publish),
    ("spublish", spublish),
    ("pubsub|channels", |session, args, _| active(session, args, Kind::Channel)),
    ("pubsub|shardchannels", |session, args, _| active(session, args, Kind::Shard)),
    ("pubsub|numsub", |session, args, _| numsub(session, args, Kind::Channel)),
    ("pubsub|shardnumsub", |session, args, _| numsub(session, args, Kind::Shard)),
    ("pubsub|numpat", numpat),
    ("pubsub|help", help),
];

/// How the client is told about its subscriptions of a kind.
const fn words(kind: Kind) -> (&'static [u8], &'static [u8]) {
    match kind {
        Kind::Channel => (b"subscribe", b"unsubscribe"),
        Kind::Pattern => (b"psubscribe", b"punsubscribe"),
        Kind::Shard => (b"ssubscribe", b"sunsubscribe"),
    }
}

fn names_of(subscriptions: &mut Subscriptions, kind: Kind) -> &mut BTreeSet<Box<[u8]>> {
    match kind {
        Kind::Channel => &mut subscriptions.channels,
        Kind::Pattern => &mut subscriptions.patterns,
        Kind::Shard => &mut subscriptions.shard_channels,
    }
}

/// What a confirmation counts: channels and patterns together, shard channels on their own.
fn count(session: &Session, kind: Kind) -> usize {
    let Some(subscriptions) = &session.subscriptions else { return 0 };
    match kind {
        Kind::Channel | Kind::Pattern => subscriptions.channels.len() + subscriptions.patterns.len(),
        Kind::Shard => subscriptions.shard_channels.len(),
    }
}

fn subscribe(
    session: &mut Session,
    args: &[&[u8]],
    _: Option<&mut Held<'_>>,
    kind: Kind,
) -> Result<Flow, CommandError> {
    let limit = session.server.settings().client_output_buffer_limit.pubsub.hard_bytes;
    session.client.push_limit.store(usize::try_from(limit).unwrap_or(usize::MAX), Ordering::Relaxed);
    let subscriber: Arc<dyn Subscriber> = session.client.clone();
    let server = session.server.clone();
    for name in &args[1..] {
        let subscriptions = session.subscriptions.get_or_insert_default();
        if names_of(subscriptions, kind).insert(Box::from(*name)) {
            server.node.pubsub.subscribe(kind, name, &subscriber);
            session.client.keeps_name(name);
        }
        note_counts(session);
        confirm(session, words(kind).0, Some(name), kind);
    }
    WRITTEN
}

fn unsubscribe(
    session: &mut Session,
    args: &[&[u8]],
    held: Option<&mut Held<'_>>,
    kind: Kind,
) -> Result<Flow, CommandError> {
    let server = session.server.clone();
    let names: Vec<Box<[u8]>> = match args {
        [_] => {
            let names =
                session.subscriptions.as_mut().map(|all| names_of(all, kind).iter().cloned().collect());
            names.unwrap_or_default()
        }
        _ => args[1..].iter().map(|name| Box::from(*name)).collect(),
    };
    if names.is_empty() {
        confirm(session, words(kind).1, None, kind);
    }
    for name in &names {
        let there = session.subscriptions.as_mut().is_some_and(|all| names_of(all, kind).remove(name));
        if there {
            server.node.pubsub.unsubscribe(kind, name, session.client.id);
            session.client.forgets_name(name);
            // What has come until now must not come after the word that nothing more will.
            if held.is_none() && session.reply_mode == ReplyMode::On {
                session.write_messages();
            }
        }
        note_counts(session);
        confirm(session, words(kind).1, Some(name), kind);
    }
    if session.client.subscriptions() == 0 {
        session.subscriptions = None;
        session.client.push_limit.store(0, Ordering::Relaxed);
    }
    WRITTEN
}

/// Tells CLIENT LIST.
fn note_counts(session: &Session) {
    let Some(subscriptions) = &session.subscriptions else { return };
    let client = &session.client;
    client.channels.store(subscriptions.channels.len(), Ordering::Relaxed);
    client.patterns.store(subscriptions.patterns.len(), Ordering::Relaxed);
    client.shard_channels.store(subscriptions.shard_channels.len(), Ordering::Relaxed);
}

fn confirm(session: &mut Session, word: &[u8], name: Option<&[u8]>, kind: Kind) {
    let count = count(session, kind);
    let write = |out: &mut Out| {
        out.push(3);
        out.bulk(word);
        out.bulk_or_null(name);
        out.integer(count as i64);
    };
    if session.reply_mode == ReplyMode::On {
        return write(&mut session.out);
    }
    // CLIENT REPLY silences replies, but this is a push.
    let mut out = Out::new(session.who.resp3);
    write(&mut out);
    session.client.mailbox.put(Post::Bytes(out.into_bytes().into()));
}

fn publish(session: &mut Session, args: &[&[u8]], held: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let reached = session.server.node.pubsub.publish(args[1], args[2]);
    pass_on(session, b"PUBLISH", args, held);
    Ok(Flow::Reply(Reply::from(reached)))
}

fn spublish(
    session: &mut Session,
    args: &[&[u8]],
    held: Option<&mut Held<'_>>,
) -> Result<Flow, CommandError> {
    let reached = session.server.node.pubsub.publish_shard(args[1], args[2]);
    pass_on(session, b"SPUBLISH", args, held);
    Ok(Flow::Reply(Reply::from(reached)))
}

/// A message reaches who listens at the replicas too, behind what was changed before it. Without any there is nobody to
/// tell: a log alone does not keep messages.
fn pass_on(session: &Session, name: &[u8], args: &[&[u8]], held: Option<&mut Held<'_>>) {
    let node = &session.server.node;
    if !node.replication().has_backlog() || node.replication().is_replica() {
        return;
    }
    // The command may have another name here.
    let name = if args[0].eq_ignore_ascii_case(name) { args[0] } else { name };
    let (db, message) = (session.who.db, [name, args[1], args[2]]);
    match held {
        Some(held) => held.leave(db, &message),
        None => node.leave(db, &message),
    }
}

fn active(session: &mut Session, args: &[&[u8]], kind: Kind) -> Result<Flow, CommandError> {
    if args.len() > 3 {
        return Err(syntax(args[1]));
    }
    let names = session.server.node.pubsub.active(kind, args.get(2).copied());
    session.out.array(names.len());
    names.iter().for_each(|name| session.out.bulk(name));
    WRITTEN
}

fn syntax(subcommand: &[u8]) -> CommandError {
    let shown = String::from_utf8_lossy(subcommand);
    CommandError::owned(format!(
        "ERR unknown subcommand or wrong number of arguments for '{shown}'. Try PUBSUB HELP."
    ))
}

fn numsub(session: &mut Session, args: &[&[u8]], kind: Kind) -> Result<Flow, CommandError> {
    let names = &args[2..];
    session.out.array(names.len() * 2);
    for name in names {
        let subscribers = session.server.node.pubsub.subscribers(kind, name);
        session.out.bulk(name);
        session.out.integer(subscribers as i64);
    }
    WRITTEN
}

fn numpat(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    Ok(Flow::Reply(Reply::from(session.server.node.pubsub.len(Kind::Pattern))))
}

fn help(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.out.help(
        "PUBSUB",
        &[
            "CHANNELS [<pattern>]",
            "    Channels with listeners whose names match <pattern> (default: '*').",
            "NUMPAT",
            "    Number of patterns with listeners.",
            "NUMSUB [<channel> ...]",
            "    Number of listeners of each channel, those by pattern not counted.",
            "SHARDCHANNELS [<pattern>]",
            "    Shard channels with listeners whose names match <pattern> (default: '*').",
            "SHARDNUMSUB [<shardchannel> ...]",
            "    Number of listeners of each shard channel.",
        ],
    );
    WRITTEN
}
