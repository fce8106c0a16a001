//! The rows of the commands on scripts and functions.

use baton_engine::command::{Arity, Category, Command, Flag::*, Group, KeyFlag, KeyFlag::*, numkeys};

const CHANGED: &[KeyFlag] = &[Rw, Access, Update];
const READ: &[KeyFlag] = &[Ro, Access];

/// The rows. [`run`](super::run) runs them all.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "EVAL",
        arity: Arity::AtLeast(3),
        flags: &[NoScript, SkipMonitor, MayReplicate, NoMandatoryKeys, Stale],
        acl: &[Category::Scripting],
        keys: &[numkeys(2, CHANGED)],
        group: Group::Scripting,
        since: "2.6.0",
        complexity: "Depends on the script that is run.",
        summary: "Runs a Lua script.",
        ..Command::BASE
    },
    Command {
        name: "EVALSHA",
        arity: Arity::AtLeast(3),
        flags: &[NoScript, SkipMonitor, MayReplicate, NoMandatoryKeys, Stale],
        acl: &[Category::Scripting],
        keys: &[numkeys(2, CHANGED)],
        group: Group::Scripting,
        since: "2.6.0",
        complexity: "Depends on the script that is run.",
        summary: "Runs a Lua script that is known by its SHA1.",
        ..Command::BASE
    },
    Command {
        name: "EVAL_RO",
        arity: Arity::AtLeast(3),
        flags: &[NoScript, SkipMonitor, NoMandatoryKeys, Stale, ReadOnly],
        acl: &[Category::Scripting],
        keys: &[numkeys(2, READ)],
        group: Group::Scripting,
        since: "7.0.0",
        complexity: "Depends on the script that is run.",
        summary: "Runs a Lua script that changes nothing.",
        ..Command::BASE
    },
    Command {
        name: "EVALSHA_RO",
        arity: Arity::AtLeast(3),
        flags: &[NoScript, SkipMonitor, NoMandatoryKeys, Stale, ReadOnly],
        acl: &[Category::Scripting],
        keys: &[numkeys(2, READ)],
        group: Group::Scripting,
        since: "7.0.0",
        complexity: "Depends on the script that is run.",
        summary: "Runs a Lua script that changes nothing and is known by its SHA1.",
        ..Command::BASE
    },
    Command {
        name: "FCALL",
        arity: Arity::AtLeast(3),
        flags: &[NoScript, SkipMonitor, MayReplicate, NoMandatoryKeys, Stale],
        acl: &[Category::Scripting],
        keys: &[numkeys(2, CHANGED)],
        group: Group::Scripting,
        since: "7.0.0",
        complexity: "Depends on the function that is run.",
        summary: "Calls a function.",
        ..Command::BASE
    },
    Command {
        name: "FCALL_RO",
        arity: Arity::AtLeast(3),
        flags: &[NoScript, SkipMonitor, NoMandatoryKeys, Stale, ReadOnly],
        acl: &[Category::Scripting],
        keys: &[numkeys(2, READ)],
        group: Group::Scripting,
        since: "7.0.0",
        complexity: "Depends on the function that is run.",
        summary: "Calls a function that changes nothing.",
        ..Command::BASE
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
                group: Group::Scripting,
                since: "7.0.0",
                complexity: "O(1)",
                summary: "Deletes a library with its functions.",
                ..Command::BASE
            },
            Command {
                name: "DUMP",
                arity: Arity::Exactly(2),
                flags: &[NoScript],
                acl: &[Category::Scripting],
                group: Group::Scripting,
                since: "7.0.0",
                complexity: "O(n) for n libraries",
                summary: "Returns all libraries as one payload for RESTORE.",
                ..Command::BASE
            },
            Command {
                name: "FLUSH",
                arity: Arity::AtLeast(2),
                flags: &[NoScript, Write],
                acl: &[Category::Write, Category::Scripting],
                tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
                group: Group::Scripting,
                since: "7.0.0",
                complexity: "O(n) for n functions",
                summary: "Deletes all libraries.",
                ..Command::BASE
            },
            Command {
                name: "HELP",
                arity: Arity::Exactly(2),
                flags: &[Loading, Stale],
                acl: &[Category::Scripting],
                group: Group::Scripting,
                since: "7.0.0",
                complexity: "O(1)",
                summary: "Explains the subcommands.",
                ..Command::BASE
            },
            Command {
                name: "KILL",
                arity: Arity::Exactly(2),
                flags: &[NoScript, AllowBusy],
                acl: &[Category::Scripting],
                tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
                group: Group::Scripting,
                since: "7.0.0",
                complexity: "O(1)",
                summary: "Ends a function that runs too long.",
                ..Command::BASE
            },
            Command {
                name: "LIST",
                arity: Arity::AtLeast(2),
                flags: &[NoScript],
                acl: &[Category::Scripting],
                tips: &["nondeterministic_output_order"],
                group: Group::Scripting,
                since: "7.0.0",
                complexity: "O(n) for n functions",
                summary: "Lists the libraries and their functions.",
                ..Command::BASE
            },
            Command {
                name: "LOAD",
                arity: Arity::AtLeast(3),
                flags: &[NoScript, Write, DenyOom],
                acl: &[Category::Write, Category::Scripting],
                tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
                group: Group::Scripting,
                since: "7.0.0",
                complexity: "O(1), besides the compilation",
                summary: "Loads a library.",
                ..Command::BASE
            },
            Command {
                name: "RESTORE",
                arity: Arity::AtLeast(3),
                flags: &[NoScript, Write, DenyOom],
                acl: &[Category::Write, Category::Scripting],
                tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
                group: Group::Scripting,
                since: "7.0.0",
                complexity: "O(n) for n libraries in the payload",
                summary: "Loads the libraries of a payload.",
                ..Command::BASE
            },
            Command {
                name: "STATS",
                arity: Arity::Exactly(2),
                flags: &[NoScript, AllowBusy],
                acl: &[Category::Scripting],
                tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
                group: Group::Scripting,
                since: "7.0.0",
                complexity: "O(1)",
                summary: "Tells which function runs, and how many there are.",
                ..Command::BASE
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
                flags: &[NoScript],
                acl: &[Category::Scripting],
                group: Group::Scripting,
                since: "3.2.0",
                complexity: "O(1)",
                summary: "Would begin a session of the debugger, which there is none of.",
                ..Command::BASE
            },
            Command {
                name: "EXISTS",
                arity: Arity::AtLeast(3),
                flags: &[NoScript, Stale],
                acl: &[Category::Scripting],
                tips: &["request_policy:all_shards", "response_policy:agg_logical_and"],
                group: Group::Scripting,
                since: "2.6.0",
                complexity: "O(n) for n scripts",
                summary: "Tells which scripts are known.",
                ..Command::BASE
            },
            Command {
                name: "FLUSH",
                arity: Arity::AtLeast(2),
                flags: &[NoScript, Stale],
                acl: &[Category::Scripting],
                tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
                group: Group::Scripting,
                since: "2.6.0",
                complexity: "O(n) for n scripts",
                summary: "Forgets all scripts.",
                ..Command::BASE
            },
            Command {
                name: "HELP",
                arity: Arity::Exactly(2),
                flags: &[Loading, Stale],
                acl: &[Category::Scripting],
                group: Group::Scripting,
                since: "5.0.0",
                complexity: "O(1)",
                summary: "Explains the subcommands.",
                ..Command::BASE
            },
            Command {
                name: "KILL",
                arity: Arity::Exactly(2),
                flags: &[NoScript, AllowBusy],
                acl: &[Category::Scripting],
                tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
                group: Group::Scripting,
                since: "2.6.0",
                complexity: "O(1)",
                summary: "Ends a script that runs too long.",
                ..Command::BASE
            },
            Command {
                name: "LOAD",
                arity: Arity::Exactly(3),
                flags: &[NoScript, Stale],
                acl: &[Category::Scripting],
                tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
                group: Group::Scripting,
                since: "2.6.0",
                complexity: "O(n) for the length of the script",
                summary: "Makes a script known, and returns its SHA1.",
                ..Command::BASE
            },
            Command {
                name: "SHOW",
                arity: Arity::Exactly(3),
                flags: &[NoScript, Stale],
                acl: &[Category::Scripting],
                group: Group::Scripting,
                since: "8.0.0",
                complexity: "O(1)",
                summary: "Returns the text of a script.",
                ..Command::BASE
            },
        ],
        ..Command::BASE
    },
];
