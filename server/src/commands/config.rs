//! CONFIG: the settings of the running server.

use super::{Flow, Handler, OK, WRITTEN};
use crate::acl;
use crate::config::{Caller, ConfigError, Setting, Settings};
use crate::log;
use crate::logging::Level;
use crate::persistence;
use crate::server::Server;
use crate::session::Session;
use crate::{daemon, listen, logging, tls};
use baton::held::Held;
use baton_engine::command::{Arity, Command, Flag::*, Group};
use baton_engine::error::CommandError;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub const COMMANDS: &[Command] = &[Command {
    name: "CONFIG",
    arity: Arity::AtLeast(2),
    flags: &[],
    group: Group::Server,
    since: "2.0.0",
    complexity: "Depends on subcommand.",
    summary: "A container for the configuration of the server.",
    subcommands: &[
        Command {
            name: "GET",
            arity: Arity::AtLeast(3),
            flags: &[Admin, NoScript, Loading, Stale],
            group: Group::Server,
            since: "2.0.0",
            complexity: "O(n) for n patterns, times the number of settings",
            summary: "Returns the settings whose names match the patterns.",
            ..Command::BASE
        },
        Command {
            name: "HELP",
            arity: Arity::Exactly(2),
            flags: &[Loading, Stale],
            group: Group::Server,
            since: "5.0.0",
            complexity: "O(1)",
            summary: "Explains the subcommands.",
            ..Command::BASE
        },
        Command {
            name: "RESETSTAT",
            arity: Arity::Exactly(2),
            flags: &[Admin, NoScript, Loading, Stale],
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            group: Group::Server,
            since: "2.0.0",
            complexity: "O(1)",
            summary: "Sets the figures of the server back to zero.",
            ..Command::BASE
        },
        Command {
            name: "REWRITE",
            arity: Arity::Exactly(2),
            flags: &[Admin, NoScript, Loading, Stale],
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            group: Group::Server,
            since: "2.8.0",
            complexity: "O(1)",
            summary: "Writes the settings in force back into the configuration file.",
            ..Command::BASE
        },
        Command {
            name: "SET",
            arity: Arity::AtLeast(4),
            flags: &[Admin, NoScript, Loading, Stale],
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            group: Group::Server,
            since: "2.0.0",
            complexity: "O(n) for n settings",
            summary: "Changes settings of the running server, all of them or none.",
            ..Command::BASE
        },
    ],
    ..Command::BASE
}];

pub const HANDLERS: &[(&str, Handler)] = &[
    ("config|get", get),
    ("config|help", help),
    ("config|resetstat", resetstat),
    ("config|rewrite", rewrite),
    ("config|set", set),
];

fn get(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let found = session.server.config.get(&args[2..]);
    session.out.map(found.len());
    for (name, value) in found {
        session.out.bulk(&name);
        session.out.bulk(&value);
    }
    WRITTEN
}

fn set(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    if args.len() % 2 == 1 {
        return Err(CommandError::Syntax);
    }
    let pairs: Vec<(&[u8], &[u8])> = args[2..].chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    let server = session.server.clone();
    let loading = server.is_loading.load(Relaxed) || server.replica.async_loading.load(Relaxed);
    let caller = Caller { local: session.client.is_local(), loading };
    let mut ready = Ready::default();
    let changed = server.config.set(&pairs, caller, |old, new, changed| {
        // What can fail comes first; sockets are swapped once nothing can refuse any more.
        ready = prepare(&server, old, new, changed)?;
        Ok(())
    });
    let changed = changed.map_err(refusal)?;
    if let Some(prepared) = ready.tls {
        server.tls.adopt(prepared);
    }
    if let Some(listeners) = ready.listeners {
        listen::replace(&server, listeners);
    }
    follow(&server, &changed);
    OK
}

/// What takes effect once all settings are accepted.
#[derive(Default)]
struct Ready {
    listeners: Option<listen::Listeners>,
    tls: Option<tls::Prepared>,
}

/// Reads certificates and the like anew, if they are wanted and something about them has changed.
fn prepare_tls(new: &Settings, changed: &[&'static Setting]) -> Result<Option<tls::Prepared>, ConfigError> {
    let Some(setting) = changed.iter().find(|setting| setting.section == "tls") else { return Ok(None) };
    if !tls::is_wanted(new) {
        return Ok(None);
    }
    tls::warn(new);
    tls::prepare(new).map(Some).map_err(|error| {
        log!(Level::Warning, "Failed to configure TLS: {error}");
        ConfigError::refused(setting.name, "Unable to update TLS configuration. Check server logs.")
    })
}

/// Does what can fail, before the new settings are in force.
fn prepare(
    server: &Arc<Server>,
    old: &Settings,
    new: &Settings,
    changed: &[&'static Setting],
) -> Result<Ready, ConfigError> {
    let tls = prepare_tls(new, changed)?;
    if new.maxclients > old.maxclients {
        let possible = daemon::adjust_open_files(new.maxclients);
        let possible = possible.map_err(|error| ConfigError::refused("maxclients", error.to_string()))?;
        if possible < new.maxclients {
            return Err(ConfigError::refused(
                "maxclients",
                format!(
                    "The operating system is not able to handle the specified number of clients, try with {possible}"
                ),
            ));
        }
    }
    let is_oom =
        |setting: &&'static Setting| matches!(setting.name, "oom-score-adj" | "oom-score-adj-values");
    if let Some(setting) = changed.iter().find(|setting| is_oom(setting))
        && let Err(error) = daemon::apply_oom_score(new)
    {
        log!(Level::Warning, "Unable to write oom_score_adj: {error}");
        let reason = "Failed to apply new oom_score_adj configuration, check server logs.";
        return Err(ConfigError::refused(setting.name, reason));
    }
    let listens = |setting: &&Setting| matches!(setting.name, "port" | "tls-port" | "bind");
    let Some(setting) = changed.iter().copied().find(|setting| listens(setting)) else {
        return Ok(Ready { listeners: None, tls });
    };
    match listen::reopen(server, old, new) {
        Ok(listeners) => Ok(Ready { listeners: Some(listeners), tls }),
        Err(error) => {
            log!(Level::Warning, "{error}");
            if changed.iter().any(is_oom)
                && let Err(error) = daemon::apply_oom_score(old)
            {
                log!(Level::Warning, "Unable to write oom_score_adj: {error}");
            }
            let reason = match setting.name {
                "port" | "tls-port" => "Unable to listen on this port. Check server logs.",
                _ => "Failed to bind to specified addresses.",
            };
            Err(ConfigError::refused(setting.name, reason))
        }
    }
}

/// Lets everything follow the settings that changed.
fn follow(server: &Arc<Server>, changed: &[&'static Setting]) {
    super::apply_settings(server);
    let settings = server.settings();
    let is_log =
        |setting: &&Setting| matches!(setting.name, "loglevel" | "log-format" | "log-timestamp-format");
    if changed.iter().copied().any(|setting| is_log(&setting)) {
        logging::configure(&settings);
    }
    if changed.iter().any(|setting| setting.name == "tracking-table-max-keys") {
        // What one step does not do is left to the chores.
        for core in 0..server.cores.len() {
            server.node.forget_step(core);
        }
    }
    if changed.iter().any(|setting| setting.name == "requirepass") {
        server.acl.set_default_password(&settings.requirepass);
    }
    if changed.iter().any(|setting| setting.name == "tcp-keepalive") {
        listen::tune_all(server);
    }
    if changed.iter().any(|setting| setting.name == "appendonly") {
        persistence::turn_log(server);
    }
    if changed.iter().any(|setting| setting.name == "aof-disable-auto-gc") {
        persistence::remove_history(server);
    }
}

fn rewrite(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    rewrite_file(&session.server, false)
}

/// Writes the settings into their file: those that are not at their defaults, or all.
pub fn rewrite_file(server: &Server, all: bool) -> Result<Flow, CommandError> {
    // Users who have a file of their own are not for this one.
    let own_file = !server.settings().aclfile.is_empty();
    let users = if own_file { Vec::new() } else { acl::clients::quoted_lines(&server.acl) };
    let others = [("user", users)];
    let written = if all { server.config.rewrite_all(&others) } else { server.config.rewrite(&others) };
    match written {
        Ok(()) => {
            log!(Level::Notice, "CONFIG REWRITE executed with success.");
            OK
        }
        Err(error) => {
            log!(Level::Warning, "CONFIG REWRITE failed: {error}");
            Err(refusal(error))
        }
    }
}

fn resetstat(session: &mut Session, _: &[&[u8]], held: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.with_all(held, |held| {
        for state in held.states() {
            state.book.reset();
            let dirty = state.shard.stats.dirty;
            state.shard.stats = baton_engine::keyspace::Stats { dirty, ..Default::default() };
        }
    });
    session.server.reset_figures();
    OK
}

fn help(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.out.help(
        "CONFIG",
        &[
            "GET <pattern> [<pattern> ...]",
            "    Show the settings whose names match, with their values.",
            "SET <name> <value> [<name> <value> ...]",
            "    Change settings: all of them or, when one is refused, none.",
            "RESETSTAT",
            "    Set the figures that INFO shows back to zero.",
            "REWRITE",
            "    Write the settings into the configuration file.",
        ],
    );
    WRITTEN
}

fn refusal(error: ConfigError) -> CommandError {
    CommandError::owned(error.to_string())
}
