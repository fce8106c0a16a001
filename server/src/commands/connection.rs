//! The connection itself: AUTH, ECHO, HELLO, PING, QUIT, RESET, SELECT.

use super::{Flow, Handler, OK, WRITTEN};
use crate::session::Session;
use baton::held::Held;
use baton_engine::command::{Arity, Category, Command, Flag::*, Group};
use baton_engine::error::CommandError;
use baton_engine::number::parse_i64;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "PING",
        arity: Arity::AtLeast(1),
        flags: &[Fast, Sentinel],
        acl: &[Category::Connection],
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        group: Group::Connection,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Answers PONG, or the text given: shows that the connection works.",
        ..Command::BASE
    },
    Command {
        name: "ECHO",
        arity: Arity::Exactly(2),
        flags: &[Loading, Stale, Fast],
        acl: &[Category::Connection],
        group: Group::Connection,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Answers the text given.",
        ..Command::BASE
    },
    Command {
        name: "SELECT",
        arity: Arity::Exactly(2),
        flags: &[Loading, Stale, Fast],
        acl: &[Category::Connection],
        group: Group::Connection,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Goes on in another database.",
        ..Command::BASE
    },
    Command {
        name: "QUIT",
        arity: Arity::AtLeast(1),
        flags: &[AllowBusy, NoScript, Loading, Stale, Fast, NoAuth],
        acl: &[Category::Connection],
        group: Group::Connection,
        since: "1.0.0",
        deprecated: Some(("7.2.0", "just closing the connection")),
        complexity: "O(1)",
        summary: "Closes the connection after the replies so far have left.",
        ..Command::BASE
    },
];

pub const HANDLERS: &[(&str, Handler)] =
    &[("ping", ping), ("echo", echo), ("select", select), ("quit", quit)];

fn ping(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    if args.len() > 2 {
        return Err(CommandError::Arity("ping".to_owned()));
    }
    if session.subscriptions.is_some() && !session.who.resp3 {
        session.out.array(2);
        session.out.bulk(b"pong");
        session.out.bulk(args.get(1).copied().unwrap_or_default());
        return WRITTEN;
    }
    match args.get(1) {
        Some(text) => session.out.bulk(text),
        None => session.out.status("PONG"),
    }
    WRITTEN
}

fn echo(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.out.bulk(args[1]);
    WRITTEN
}

fn select(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let db = parse_i64(args[1]).ok_or(CommandError::NotInteger)?;
    let databases = session.server.node.settings().databases;
    let db = usize::try_from(db).ok().filter(|db| *db < databases);
    session.select(db.ok_or(CommandError::text("ERR DB index is out of range"))?);
    OK
}

fn quit(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.out.ok();
    Ok(Flow::Close)
}
