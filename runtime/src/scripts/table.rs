//! The rows of the commands on scripts and functions.

use baton_engine::command::{Arity, Category, Command, Flag::*, Group, KeyFlag, KeyFlag::*, numkeys};

const CHANGED: &[KeyFlag] = &[Rw, Access, Update];
const READ: &[KeyFlag] = &[Ro, Access];

/// What runs a script or a function, and what runs one that changes nothing.
const RUN: Command = Command {
    arity: Arity::AtLeast(3),
    flags: &[NoScript, SkipMonitor, MayReplicate, NoMandatoryKeys, Stale],
    acl: &[Category::Scripting],
    keys: &[numkeys(2, CHANGED)],
    group: Group::Scripting,
    complexity: "Depends on the script that is run.",
    ..Command::BASE
};
const RUN_RO: Command = Command {
    flags: &[NoScript, SkipMonitor, NoMandatoryKeys, Stale, ReadOnly],
    keys: &[numkeys(2, READ)],
    since: "7.0.0",
    ..RUN
};

/// A subcommand of SCRIPT or FUNCTION, as most of them are.
const SUBCOMMAND: Command = Command {
    flags: &[NoScript],
    acl: &[Category::Scripting],
    group: Group::Scripting,
    since: "7.0.0",
    complexity: "O(1)",
    ..Command::BASE
};

/// The rows. [`run`](super::run) runs them all.
pub const COMMANDS: &[Command] = &[
    Command { name: "EVAL", since: "2.6.0", summary: "Runs a Lua script.", ..RUN },
    Command {
        name: "EVALSHA",
        since: "2.6.0",
        summary: "Runs a Lua script that is known by its SHA1.",
        ..RUN
    },
    Command { name: "EVAL_RO", summary: "Runs a Lua script that changes nothing.", ..RUN_RO },
    Command {
        name: "EVALSHA_RO",
        summary: "Runs a Lua script that changes nothing and is known by its SHA1.",
        ..RUN_RO
    },
    Command {
        name: "FCALL",
        since: "7.0.0",
        complexity: "Depends on the function that is run.",
        summary: "Calls a function.",
        ..RUN
    },
    Command {
        name: "FCALL_RO",
        complexity: "Depends on the function that is run.",
        summary: "Calls a function that changes nothing.",
        ..RUN_RO
    },
    Command {
        name: "FUNCTION",
        arity: Arity::AtLeast(2),
        flags: &[],
        group: Group::Scripting,
        since: "7.0.0",
        complexity: "Depends on subcommand.",
        summary: "A container for functions.",
        subcommands: &[
            Command {
                name: "DELETE",
                arity: Arity::Exactly(3),
                flags: &[NoScript, Write],
                acl: &[Category::Write, Category::Scripting],
                tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
                summary: "Deletes a library with its functions.",
                ..SUBCOMMAND
            },
            Command {
                name: "DUMP",
                arity: Arity::Exactly(2),
                complexity: "O(n) for n libraries",
                summary: "Returns all libraries as one payload for RESTORE.",
                ..SUBCOMMAND
            },
            Command {
                name: "FLUSH",
                arity: Arity::AtLeast(2),
                flags: &[NoScript, Write],
                acl: &[Category::Write, Category::Scripting],
                tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
                complexity: "O(n) for n functions",
                summary: "Deletes all libraries.",
                ..SUBCOMMAND
            },
            Command {
                name: "HELP",
                arity: Arity::Exactly(2),
                flags: &[Loading, Stale],
                summary: "Explains the subcommands.",
                ..SUBCOMMAND
            },
            Command {
                name: "KILL",
                arity: Arity::Exactly(2),
                flags: &[NoScript, AllowBusy],
                tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
                summary: "Ends a function that runs too long.",
                ..SUBCOMMAND
            },
            Command {
                name: "LIST",
                arity: Arity::AtLeast(2),
                tips: &["nondeterministic_output_order"],
                complexity: "O(n) for n functions",
                summary: "Lists the libraries and their functions.",
                ..SUBCOMMAND
            },
            Command {
                name: "LOAD",
                arity: Arity::AtLeast(3),
                flags: &[NoScript, Write, DenyOom],
                acl: &[Category::Write, Category::Scripting],
                tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
                complexity: "O(1), besides the compilation",
                summary: "Loads a library.",
                ..SUBCOMMAND
            },
            Command {
                name: "RESTORE",
                arity: Arity::AtLeast(3),
                flags: &[NoScript, Write, DenyOom],
                acl: &[Category::Write, Category::Scripting],
                tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
                complexity: "O(n) for n libraries in the payload",
                summary: "Loads the libraries of a payload.",
                ..SUBCOMMAND
            },
            Command {
                name: "STATS",
                arity: Arity::Exactly(2),
                flags: &[NoScript, AllowBusy],
                tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
                summary: "Tells which function runs, and how many there are.",
                ..SUBCOMMAND
            },
        ],
        ..Command::BASE
    },
    Command {
        name: "SCRIPT",
        arity: Arity::AtLeast(2),
        flags: &[],
        group: Group::Scripting,
        since: "2.6.0",
        complexity: "Depends on subcommand.",
        summary: "A container for the known scripts.",
        subcommands: &[
            Command {
                name: "DEBUG",
                arity: Arity::AtLeast(3),
                since: "3.2.0",
                summary: "Would begin a session of the debugger, which there is none of.",
                ..SUBCOMMAND
            },
            Command {
                name: "EXISTS",
                arity: Arity::AtLeast(3),
                flags: &[NoScript, Stale],
                tips: &["request_policy:all_shards", "response_policy:agg_logical_and"],
                since: "2.6.0",
                complexity: "O(n) for n scripts",
                summary: "Tells which scripts are known.",
                ..SUBCOMMAND
            },
            Command {
                name: "FLUSH",
                arity: Arity::AtLeast(2),
                flags: &[NoScript, Stale],
                tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
                since: "2.6.0",
                complexity: "O(n) for n scripts",
                summary: "Forgets all scripts.",
                ..SUBCOMMAND
            },
            Command {
                name: "HELP",
                arity: Arity::Exactly(2),
                flags: &[Loading, Stale],
                since: "5.0.0",
                summary: "Explains the subcommands.",
                ..SUBCOMMAND
            },
            Command {
                name: "KILL",
                arity: Arity::Exactly(2),
                flags: &[NoScript, AllowBusy],
                tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
                since: "2.6.0",
                summary: "Ends a script that runs too long.",
                ..SUBCOMMAND
            },
            Command {
                name: "LOAD",
                arity: Arity::Exactly(3),
                flags: &[NoScript, Stale],
                tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
                since: "2.6.0",
                complexity: "O(n) for the length of the script",
                summary: "Makes a script known, and returns its SHA1.",
                ..SUBCOMMAND
            },
            Command {
                name: "SHOW",
                arity: Arity::Exactly(3),
                flags: &[NoScript, Stale],
                since: "8.0.0",
                summary: "Returns the text of a script.",
                ..SUBCOMMAND
            },
        ],
        ..Command::BASE
    },
];
