//! SLOWLOG and COMMANDLOG: commands that took long, asked much or answered much.

use super::{Flow, Handler, OK, WRITTEN};
use crate::session::Session;
use baton::Node;
use baton::held::Held;
use baton::slowlog::SlowLog;
use baton_engine::command::{Arity, Command, Flag::*, Group};
use baton_engine::error::CommandError;
use baton_engine::number::parse_i64;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "SLOWLOG",
        arity: Arity::AtLeast(2),
        flags: &[],
        group: Group::Server,
        since: "2.2.12",
        complexity: "Depends on subcommand.",
        summary: "A container for the log of slow commands.",
        subcommands: &[
            Command {
                name: "GET",
                arity: Arity::AtLeast(2),
                flags: &[Admin, Loading, Stale],
                tips: &["request_policy:all_nodes", "nondeterministic_output"],
                group: Group::Server,
                since: "2.2.12",
                complexity: "O(n) for n entries",
                summary: "Returns the newest entries of the slow log.",
                ..Command::BASE
            },
            Command {
                name: "HELP",
                arity: Arity::Exactly(2),
                flags: &[Loading, Stale],
                group: Group::Server,
                since: "6.2.0",
                complexity: "O(1)",
                summary: "Explains the subcommands.",
                ..Command::BASE
            },
            Command {
                name: "LEN",
                arity: Arity::Exactly(2),
                flags: &[Admin, Loading, Stale],
                tips: &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"],
                group: Group::Server,
                since: "2.2.12",
                complexity: "O(1)",
                summary: "Returns how many entries the slow log has.",
                ..Command::BASE
            },
            Command {
                name: "RESET",
                arity: Arity::Exactly(2),
                flags: &[Admin, Loading, Stale],
                tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
                group: Group::Server,
                since: "2.2.12",
                complexity: "O(n) for n entries",
                summary: "Empties the slow log.",
                ..Command::BASE
            },
        ],
        ..Command::BASE
    },
    Command {
        name: "COMMANDLOG",
        arity: Arity::AtLeast(2),
        flags: &[],
        group: Group::Server,
        since: "8.1.0",
        complexity: "Depends on subcommand.",
        summary: "A container for the logs of commands that were slow or large.",
        subcommands: &[
            Command {
                name: "GET",
                arity: Arity::Exactly(4),
                flags: &[Admin, Loading, Stale],
                tips: &["request_policy:all_nodes", "nondeterministic_output"],
                group: Group::Server,
                since: "8.1.0",
                complexity: "O(n) for n entries",
                summary: "Returns the newest entries of one of the command logs.",
                ..Command::BASE
            },
            Command {
                name: "HELP",
                arity: Arity::Exactly(2),
                flags: &[Loading, Stale],
                group: Group::Server,
                since: "8.1.0",
                complexity: "O(1)",
                summary: "Explains the subcommands.",
                ..Command::BASE
            },
            Command {
                name: "LEN",
                arity: Arity::Exactly(3),
                flags: &[Admin, Loading, Stale],
                tips: &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"],
                group: Group::Server,
                since: "8.1.0",
                complexity: "O(1)",
                summary: "Returns how many entries one of the command logs has.",
                ..Command::BASE
            },
            Command {
                name: "RESET",
                arity: Arity::Exactly(3),
                flags: &[Admin, Loading, Stale],
                tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
                group: Group::Server,
                since: "8.1.0",
                complexity: "O(n) for n entries",
                summary: "Empties one of the command logs.",
                ..Command::BASE
            },
        ],
        ..Command::BASE
    },
];

pub const HANDLERS: &[(&str, Handler)] = &[
    ("slowlog|get", slowlog_get),
    ("slowlog|help", slowlog_help),
    ("slowlog|len", slowlog_len),
    ("slowlog|reset", slowlog_reset),
    ("commandlog|get", commandlog_get),
    ("commandlog|help", commandlog_help),
    ("commandlog|len", commandlog_len),
    ("commandlog|reset", commandlog_reset),
];

fn slowlog_get(
    session: &mut Session,
    args: &[&[u8]],
    _: Option<&mut Held<'_>>,
) -> Result<Flow, CommandError> {
    let count = match args.get(2) {
        Some(count) => count_of(count)?,
        None => 10,
    };
    let node = session.server.node.clone();
    write(session, &node.slowlog, count);
    WRITTEN
}

fn slowlog_len(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.out.integer(session.server.node.slowlog.len() as i64);
    WRITTEN
}

fn slowlog_reset(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.server.node.slowlog.reset();
    OK
}

fn slowlog_help(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.out.help(
        "SLOWLOG",
        &[
            "GET [<count>]",
            "    Show the newest entries: 10 of them, or as many as asked for; -1 stands for all.",
            "    An entry holds: number, time in Unix seconds, duration in microseconds, arguments,",
            "    address and name of the client.",
            "LEN",
            "    Tell how many entries there are.",
            "RESET",
            "    Forget all entries.",
        ],
    );
    WRITTEN
}

fn commandlog_get(
    session: &mut Session,
    args: &[&[u8]],
    _: Option<&mut Held<'_>>,
) -> Result<Flow, CommandError> {
    let count = count_of(args[2])?;
    let node = session.server.node.clone();
    write(session, log(&node, args[3])?, count);
    WRITTEN
}

fn commandlog_len(
    session: &mut Session,
    args: &[&[u8]],
    _: Option<&mut Held<'_>>,
) -> Result<Flow, CommandError> {
    let len = log(&session.server.node, args[2])?.len();
    session.out.integer(len as i64);
    WRITTEN
}

fn commandlog_reset(
    session: &mut Session,
    args: &[&[u8]],
    _: Option<&mut Held<'_>>,
) -> Result<Flow, CommandError> {
    log(&session.server.node, args[2])?.reset();
    OK
}

fn commandlog_help(
    session: &mut Session,
    _: &[&[u8]],
    _: Option<&mut Held<'_>>,
) -> Result<Flow, CommandError> {
    session.out.help(
        "COMMANDLOG",
        &[
            "GET <count> <type>",
            "    Show the newest entries of a log; a count of -1 stands for all. The types are:",
            "    slow (microseconds), large-request (bytes), large-reply (bytes).",
            "    An entry holds: number, time in Unix seconds, amount, arguments, address and name",
            "    of the client.",
            "LEN <type>",
            "    Tell how many entries a log has.",
            "RESET <type>",
            "    Forget all entries of a log.",
        ],
    );
    WRITTEN
}

fn count_of(arg: &[u8]) -> Result<usize, CommandError> {
    const RANGE: CommandError = CommandError::text("ERR count should be greater than or equal to -1");
    match parse_i64(arg).ok_or(RANGE)? {
        -1 => Ok(usize::MAX),
        count => usize::try_from(count).map_err(|_| RANGE),
    }
}

fn log<'n>(node: &'n Node, kind: &[u8]) -> Result<&'n SlowLog, CommandError> {
    match kind.to_ascii_lowercase().as_slice() {
        b"slow" => Ok(&node.slowlog),
        b"large-request" => Ok(&node.large_requests),
        b"large-reply" => Ok(&node.large_replies),
        _ => Err(CommandError::text(
            "ERR type should be one of the following: slow, large-request, large-reply",
        )),
    }
}

fn write(session: &mut Session, log: &SlowLog, count: usize) {
    let entries = log.newest(count);
    session.out.array(entries.len());
    for entry in entries {
        session.out.array(6);
        session.out.integer(entry.id as i64);
        session.out.integer(entry.time_s);
        session.out.integer(entry.amount as i64);
        session.out.array(entry.args.len());
        entry.args.iter().for_each(|arg| session.out.bulk(arg));
        session.out.bulk(entry.address.as_bytes());
        session.out.bulk(entry.name.as_bytes());
    }
}
