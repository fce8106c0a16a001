//! MODULE: there are none, and none can be loaded: they are machine code for the insides of another server.

use super::{Flow, Handler, WRITTEN};
use crate::session::Session;
use baton::held::Held;
use baton_engine::command::{Arity, Command, Flag, Flag::*, Group};
use baton_engine::error::CommandError;

/// What all subcommands have in common.
const SUB: Command = Command { group: Group::Server, since: "4.0.0", complexity: "O(1)", ..Command::BASE };
const LOADING: &[Flag] = &[NoAsyncLoading, Admin, NoScript, Protected];

pub const COMMANDS: &[Command] = &[Command {
    name: "MODULE",
    arity: Arity::AtLeast(2),
    group: Group::Server,
    since: "4.0.0",
    complexity: "Depends on subcommand.",
    summary: "Container of commands about modules, of which there are none.",
    subcommands: &[
        Command {
            name: "HELP",
            arity: Arity::Exactly(2),
            flags: &[Loading, Stale],
            since: "5.0.0",
            summary: "Explains the subcommands.",
            ..SUB
        },
        Command {
            name: "LIST",
            arity: Arity::Exactly(2),
            flags: &[Admin, NoScript],
            tips: &["nondeterministic_output_order"],
            summary: "Lists the modules: none.",
            ..SUB
        },
        Command {
            name: "LOAD",
            arity: Arity::AtLeast(3),
            flags: LOADING,
            summary: "Refuses to load a module.",
            ..SUB
        },
        Command {
            name: "LOADEX",
            arity: Arity::AtLeast(3),
            flags: LOADING,
            since: "7.0.0",
            summary: "Refuses to load a module with settings.",
            ..SUB
        },
        Command {
            name: "UNLOAD",
            arity: Arity::Exactly(3),
            flags: LOADING,
            summary: "Finds no module to unload.",
            ..SUB
        },
    ],
    ..Command::BASE
}];

pub const HANDLERS: &[(&str, Handler)] = &[
    ("module|help", help),
    ("module|list", list),
    ("module|load", load),
    ("module|loadex", load),
    ("module|unload", unload),
];

fn list(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.out.array(0);
    WRITTEN
}

fn load(_: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    Err(CommandError::text("ERR Error loading the extension. This server cannot load modules."))
}

fn unload(_: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    Err(CommandError::text("ERR Error unloading module: no such module with that name"))
}

fn help(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.out.help(
        "MODULE",
        &[
            "LIST",
            "    Modules that are loaded: none.",
            "LOAD <path> [<argument> ...]",
            "    Refused: this server cannot load modules.",
            "LOADEX <path> [CONFIG <name> <value> ...] [ARGS <argument> ...]",
            "    Refused too.",
            "UNLOAD <name>",
            "    There is none to unload.",
        ],
    );
    WRITTEN
}
