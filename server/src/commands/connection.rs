//! The connection itself: AUTH, ECHO, HELLO, PING, QUIT, RESET, SELECT.

use super::{Flow, Handler, OK, WRITTEN};
use crate::acl::{self, log::Place};
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
        flags: &[AllowBusy, Loading, Stale, Fast],
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
    Command {
        name: "AUTH",
        arity: Arity::AtLeast(2),
        flags: &[NoScript, Loading, Stale, Fast, NoAuth, Sentinel, AllowBusy],
        acl: &[Category::Connection],
        group: Group::Connection,
        since: "1.0.0",
        complexity: "O(n) for n passwords of the user",
        summary: "Shows the password, and so who the client is.",
        ..Command::BASE
    },
    Command {
        name: "HELLO",
        arity: Arity::AtLeast(1),
        flags: &[NoScript, Loading, Stale, Fast, NoAuth, Sentinel, AllowBusy],
        acl: &[Category::Connection],
        group: Group::Connection,
        since: "6.0.0",
        complexity: "O(1)",
        summary: "Agrees on the protocol version; authenticates and names the connection on the way.",
        ..Command::BASE
    },
    Command {
        name: "RESET",
        arity: Arity::Exactly(1),
        flags: &[NoScript, Loading, Stale, Fast, NoAuth, AllowBusy],
        acl: &[Category::Connection],
        group: Group::Connection,
        since: "6.2.0",
        complexity: "O(n) for n watched keys and subscriptions",
        summary: "Makes the connection as if it had just been opened.",
        ..Command::BASE
    },
];

pub const HANDLERS: &[(&str, Handler)] = &[
    ("ping", ping),
    ("echo", echo),
    ("select", select),
    ("quit", quit),
    ("auth", auth),
    ("hello", hello),
    ("reset", reset),
];

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
    let db = i32::try_from(db).map_err(|_| CommandError::NotInt32)?;
    let databases = session.server.node.settings().databases;
    let db = usize::try_from(db).ok().filter(|db| *db < databases);
    session.select(db.ok_or(CommandError::text("ERR DB index is out of range"))?);
    OK
}

fn quit(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.out.ok();
    Ok(Flow::Close)
}

fn auth(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    match args {
        [_, password] => {
            if session.server.acl.default_user().rules().is_nopass() {
                return Err(CommandError::text(
                    "ERR AUTH <password> called without any password configured for the default user. \
                     Are you sure your configuration is correct?",
                ));
            }
            authenticate(session, args[0], acl::DEFAULT, password)?;
        }
        [_, user, password] => authenticate(session, args[0], user, password)?,
        _ => return Err(CommandError::Syntax),
    }
    OK
}

/// Lets the client in if name and password are right. `command` is the word with which it tries.
fn authenticate(
    session: &mut Session,
    command: &[u8],
    name: &[u8],
    password: &[u8],
) -> Result<(), CommandError> {
    let server = session.server.clone();
    if server.acl.authenticate(name, password).is_some_and(|user| session.become_user(&user)) {
        return Ok(());
    }
    let place = if session.transaction.is_some() { Place::Multi } else { Place::TopLevel };
    acl::clients::note_failed_login(&server, &session.client, place, name, command);
    Err(CommandError::text("WRONGPASS invalid username-password pair or user is disabled."))
}

fn hello(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let version = match args.get(1) {
        None => None,
        Some(text) => {
            let version = parse_i64(text)
                .ok_or(CommandError::text("ERR Protocol version is not an integer or out of range"))?;
            if !(2..=3).contains(&version) {
                return Err(CommandError::text("NOPROTO unsupported protocol version"));
            }
            Some(version)
        }
    };
    let (mut login, mut name) = (None, None);
    let mut rest = args.get(2..).unwrap_or_default();
    loop {
        rest = match rest {
            [] => break,
            [word, user, password, rest @ ..] if word.eq_ignore_ascii_case(b"AUTH") => {
                login = Some((*user, *password));
                rest
            }
            [word, value, rest @ ..] if word.eq_ignore_ascii_case(b"SETNAME") => {
                check_name(value)?;
                name = Some(*value);
                rest
            }
            [word, ..] => {
                let word = String::from_utf8_lossy(word);
                return Err(CommandError::owned(format!("ERR Syntax error in HELLO option '{word}'")));
            }
        }
    }
    if let Some((user, password)) = login {
        authenticate(session, args[0], user, password)?;
    }
    if !session.is_let_in() {
        return Err(CommandError::text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
             <user> <pass> option can be used to authenticate the client and select the RESP protocol version at \
             the same time",
        ));
    }
    if let Some(name) = name {
        session.client.names.lock().name = name.to_vec();
    }
    if let Some(version) = version {
        session.set_resp3(version == 3);
    }
    introduce(session);
    WRITTEN
}

/// Who answers: the map of HELLO. Clients look at `server` and `version` to know what they may use.
fn introduce(session: &mut Session) {
    let cluster = session.server.settings().cluster_enabled;
    let (proto, id) = (if session.who.resp3 { 3 } else { 2 }, session.client.id);
    let out = &mut session.out;
    out.map(7);
    out.bulk(b"server");
    out.bulk(b"redis");
    out.bulk(b"version");
    out.bulk(crate::config::REDIS_VERSION.as_bytes());
    out.bulk(b"proto");
    out.integer(proto);
    out.bulk(b"id");
    out.integer(id as i64);
    out.bulk(b"mode");
    out.bulk(if cluster { b"cluster" } else { b"standalone" });
    out.bulk(b"role");
    out.bulk(if session.server.node.replication().is_replica() { b"replica" } else { b"master" });
    out.bulk(b"modules");
    out.array(0);
}

/// Names have to leave the lines of CLIENT LIST readable.
pub fn check_name(name: &[u8]) -> Result<(), CommandError> {
    if name.iter().all(u8::is_ascii_graphic) {
        return Ok(());
    }
    Err(CommandError::text("ERR Client names cannot contain spaces, newlines or special characters."))
}

fn reset(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.reset();
    session.out.status("RESET");
    WRITTEN
}
