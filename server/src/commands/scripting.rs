//! Scripts and functions: what they need of the node is here, the rest is `baton::scripts`.

use super::{Flow, Handler, WRITTEN, presentable};
use crate::acl;
use crate::acl::log::Place;
use crate::logging::{self, Level};
use crate::session::{After, MASTER_DOWN, Session};
use baton::held::{Held, Who};
use baton::registry::Registered;
use baton::scripts::{self, Done, Host, LogLevel};
use baton_engine::command::{Command, Flag};
use baton_engine::error::CommandError;
use baton_engine::execute::Outcome;
use baton_engine::reply::Out;
use baton_engine::slot::Slot;
use std::sync::atomic::Ordering;

pub const COMMANDS: &[Command] = scripts::COMMANDS;

pub const HANDLERS: &[(&str, Handler)] = &[
    ("eval", run),
    ("evalsha", run),
    ("eval_ro", run),
    ("evalsha_ro", run),
    ("fcall", run),
    ("fcall_ro", run),
    ("script|debug", run),
    ("script|exists", run),
    ("script|flush", run),
    ("script|help", run),
    ("script|kill", run),
    ("script|load", run),
    ("script|show", run),
    ("function|delete", run),
    ("function|dump", run),
    ("function|flush", run),
    ("function|help", run),
    ("function|kill", run),
    ("function|list", run),
    ("function|load", run),
    ("function|restore", run),
    ("function|stats", run),
];

fn run(session: &mut Session, args: &[&[u8]], held: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let server = session.server.clone();
    let registry = &server.node.registry;
    let found = registry.find(args[0]).and_then(|command| match args.get(1) {
        Some(name) if !command.subcommands.is_empty() => registry.subcommand(command, name),
        _ => Some(command),
    });
    let Some(command) = found else { return Err(CommandError::Syntax) };
    if command.has(Flag::SkipMonitor) {
        // Before what the script does.
        session.show_to_monitors(command, args);
    }
    let who = session.who.clone();
    let mut out = std::mem::take(&mut session.out);
    out.set_resp3(who.resp3);
    let mut caller = Caller { session };
    let done = scripts::run(&server.node, &mut caller, &who, command, args, held, &mut out);
    session.out = out;
    match done {
        Done::Replied => WRITTEN,
        Done::Refused => Ok(Flow::Refused { counted: false }),
        Done::Counted => Ok(Flow::Refused { counted: true }),
    }
}

/// The client that has a script run.
struct Caller<'s> {
    session: &'s mut Session,
}

impl Host for Caller<'_> {
    fn prepare(&self, held: &mut Held<'_>) {
        self.session.prepare(held);
    }

    fn permit(&mut self, command: &Registered, args: &[&[u8]]) -> Result<(), CommandError> {
        let session = &*self.session;
        if session.server.replica.is_stale.load(Ordering::Relaxed) && !command.has(Flag::Stale) {
            return Err(CommandError::text("ERR Can not execute the command on a stale replica"));
        }
        session.rights.check(command, args).map_err(|refusal| {
            let error =
                acl::clients::refuse(&session.server, &session.client, Place::Script, refusal, command, args);
            let line = error.to_string();
            let why = line.strip_prefix("NOPERM ").unwrap_or(&line);
            CommandError::owned(format!("NOPERM ACL failure in script: {why}"))
        })
    }

    fn would_permit(&self, command: &Registered, args: &[&[u8]]) -> bool {
        self.session.rights.check(command, args).is_ok()
    }

    fn is_stale(&self) -> Option<CommandError> {
        self.session.server.replica.is_stale.load(Ordering::Relaxed).then_some(MASTER_DOWN)
    }

    fn stops_writes(&self) -> Option<CommandError> {
        self.session.stops_writes_of_scripts()
    }

    fn runs(&mut self, who: &Who, command: &Registered, args: &[&[u8]]) {
        // What a script calls its client has had run.
        self.session.count_commands(1);
        let server = &self.session.server;
        if server.monitors.load(Ordering::Relaxed) > 0
            && !command.has(Flag::SkipMonitor)
            && !command.has(Flag::Admin)
        {
            server.feed_monitors_of_script(who.db, &presentable(command, args));
        }
    }

    fn has_run(&mut self, command: &Registered, outcome: Outcome) {
        self.session.after_flush(command, &outcome);
    }

    /// Runs as a command of the client, but in the database and with the protocol of the script.
    fn run(
        &mut self,
        held: &mut Held<'_>,
        who: &mut Who,
        command: &Registered,
        args: &[&[u8]],
        out: &mut Out,
    ) -> Outcome {
        let session = &mut *self.session;
        let own = session.who.clone();
        let (db, resp3) = (session.client.db.load(Ordering::Relaxed), own.resp3);
        session.who.db = who.db;
        session.who.resp3 = who.resp3;
        let written = std::mem::replace(&mut session.out, std::mem::take(out));
        session.out.set_resp3(who.resp3);
        let start = session.out.len();
        let after = session.run_handler(command, args, Some(held));
        debug_assert!(matches!(after, After::Go | After::Sleep(_)), "scripts wait for nothing");
        let refused = session.out.as_bytes().get(start) == Some(&b'-');
        who.db = session.who.db;
        *out = std::mem::replace(&mut session.out, written);
        session.who = own;
        session.client.db.store(db, Ordering::Relaxed);
        session.out.set_resp3(resp3);
        if refused { Outcome::Refused } else { Outcome::Done }
    }

    fn keys_ahead(&mut self) -> Option<&mut Vec<(Slot, u64)>> {
        Some(&mut self.session.keys_ahead)
    }

    fn log(&mut self, level: LogLevel, line: &str) {
        let level = match level {
            LogLevel::Debug => Level::Debug,
            LogLevel::Verbose => Level::Verbose,
            LogLevel::Notice => Level::Notice,
            LogLevel::Warning => Level::Warning,
        };
        if logging::enabled(level) {
            logging::write(level, format_args!("{line}"));
        }
    }
}
