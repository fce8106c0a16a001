//! MONITOR: a connection that is shown every command; and which arguments nobody may be shown.

use super::{Flow, Handler, OK, WRITTEN};
use crate::session::Session;
use baton::held::Held;
use baton::registry::Registered;
use baton_engine::command::{Arity, Command, Flag::*, Group};
use baton_engine::error::CommandError;
use std::borrow::Cow;
use std::sync::atomic::Ordering;

pub const COMMANDS: &[Command] = &[Command {
    name: "MONITOR",
    arity: Arity::Exactly(1),
    flags: &[Admin, NoScript, Loading, Stale],
    group: Group::Server,
    since: "1.0.0",
    complexity: "O(1), and every command costs a little more from then on",
    summary: "Shows every command that the node runs, until the connection ends.",
    ..Command::BASE
}];

pub const HANDLERS: &[(&str, Handler)] = &[("monitor", monitor)];

fn monitor(session: &mut Session, _: &[&[u8]], held: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    if held.is_some() {
        return Err(CommandError::text("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    if session.client.is_monitor.swap(true, Ordering::Relaxed) {
        return WRITTEN;
    }
    session.server.monitors.fetch_add(1, Ordering::Relaxed);
    OK
}

/// What stands for a secret.
const REDACTED: &[u8] = b"(redacted)";

/// The arguments as they may be shown to monitors and in the slow log: without passwords.
pub fn presentable<'a>(command: &Registered, args: &'a [&'a [u8]]) -> Cow<'a, [&'a [u8]]> {
    let secrets: Vec<usize> = match command.name.as_str() {
        "auth" => (1..args.len()).collect(),
        "hello" => after_word(args, 2, b"AUTH", 2),
        "config|set" => (3..args.len()).step_by(2).filter(|at| is_secret_setting(args[at - 1])).collect(),
        "acl|setuser" | "acl|getuser" | "acl|deluser" => (2..args.len()).collect(),
        "migrate" => [after_word(args, 6, b"AUTH", 1), after_word(args, 6, b"AUTH2", 2)].concat(),
        _ => return Cow::Borrowed(args),
    };
    let mut shown = args.to_vec();
    for at in secrets {
        if let Some(arg) = shown.get_mut(at) {
            *arg = REDACTED;
        }
    }
    Cow::Owned(shown)
}

/// The places of the `count` arguments after a word.
fn after_word(args: &[&[u8]], from: usize, word: &[u8], count: usize) -> Vec<usize> {
    let found = args.iter().skip(from).position(|arg| arg.eq_ignore_ascii_case(word));
    found.map_or_else(Vec::new, |at| (from + at + 1..=from + at + count).collect())
}

fn is_secret_setting(name: &[u8]) -> bool {
    const SECRET: &[&[u8]] = &[
        b"requirepass",
        b"masterauth",
        b"primaryauth",
        b"masteruser",
        b"primaryuser",
        b"tls-key-file-pass",
        b"tls-client-key-file-pass",
    ];
    SECRET.iter().any(|secret| name.eq_ignore_ascii_case(secret))
}
