//! COMMAND: what there is to know about commands, from their rows.
//!
//! The trees of arguments that COMMAND DOCS shows are data, `arguments.json`: one command per line, parsed when first
//! asked for.

use super::{Flow, Handler, WRITTEN, command_keys};
use crate::session::Session;
use baton::held::Held;
use baton::registry::{Registered, Registry};
use baton_engine::command::{Arity, Begin, Category, Command, Find, Flag, Flag::*, Group, KeyFlag, KeySpec};
use baton_engine::error::CommandError;
use baton_engine::glob::glob_match;
use baton_engine::reply::Out;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::LazyLock;

pub const COMMANDS: &[Command] = &[Command {
    name: "COMMAND",
    arity: Arity::AtLeast(1),
    flags: &[Loading, Stale, Sentinel],
    acl: &[Category::Connection],
    tips: &["nondeterministic_output_order"],
    group: Group::Server,
    since: "2.8.13",
    complexity: "O(n) for n commands",
    summary: "Describes all commands.",
    subcommands: &[
        Command {
            name: "COUNT",
            arity: Arity::Exactly(2),
            flags: &[Loading, Stale, Sentinel],
            acl: &[Category::Connection],
            group: Group::Server,
            since: "2.8.13",
            complexity: "O(1)",
            summary: "Returns how many commands there are.",
            ..Command::BASE
        },
        Command {
            name: "DOCS",
            arity: Arity::AtLeast(2),
            flags: &[Loading, Stale, Sentinel],
            acl: &[Category::Connection],
            tips: &["nondeterministic_output_order"],
            group: Group::Server,
            since: "7.0.0",
            complexity: "O(n) for n commands",
            summary: "Documents commands: all of them, or those named.",
            ..Command::BASE
        },
        Command {
            name: "GETKEYS",
            arity: Arity::AtLeast(3),
            flags: &[Loading, Stale, Sentinel],
            acl: &[Category::Connection],
            group: Group::Server,
            since: "2.8.13",
            complexity: "O(n) for n arguments",
            summary: "Extracts the keys from a whole command line.",
            ..Command::BASE
        },
        Command {
            name: "GETKEYSANDFLAGS",
            arity: Arity::AtLeast(3),
            flags: &[Loading, Stale, Sentinel],
            acl: &[Category::Connection],
            group: Group::Server,
            since: "7.0.0",
            complexity: "O(n) for n arguments",
            summary: "Extracts the keys from a whole command line, and what is done with each.",
            ..Command::BASE
        },
        Command {
            name: "HELP",
            arity: Arity::Exactly(2),
            flags: &[Loading, Stale, Sentinel],
            acl: &[Category::Connection],
            group: Group::Server,
            since: "5.0.0",
            complexity: "O(1)",
            summary: "Explains the subcommands.",
            ..Command::BASE
        },
        Command {
            name: "INFO",
            arity: Arity::AtLeast(2),
            flags: &[Loading, Stale, Sentinel],
            acl: &[Category::Connection],
            tips: &["nondeterministic_output_order"],
            group: Group::Server,
            since: "2.8.13",
            complexity: "O(n) for n commands",
            summary: "Describes commands: all of them, or those named.",
            ..Command::BASE
        },
        Command {
            name: "LIST",
            arity: Arity::AtLeast(2),
            flags: &[Loading, Stale, Sentinel],
            acl: &[Category::Connection],
            tips: &["nondeterministic_output_order"],
            group: Group::Server,
            since: "7.0.0",
            complexity: "O(n) for n commands",
            summary: "Lists the names of commands, of all or of those that a filter leaves.",
            ..Command::BASE
        },
    ],
    ..Command::BASE
}];

pub const HANDLERS: &[(&str, Handler)] = &[
    ("command", command),
    ("command|count", count),
    ("command|docs", docs),
    ("command|getkeys", getkeys),
    ("command|getkeysandflags", getkeysandflags),
    ("command|help", help),
    ("command|info", info),
    ("command|list", list),
];

fn command(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let server = session.server.clone();
    write_all_info(&server.node.registry, &mut session.out);
    WRITTEN
}

fn count(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.out.integer(named(&session.server.node.registry).count() as i64);
    WRITTEN
}

fn info(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let server = session.server.clone();
    let registry = &server.node.registry;
    if args.len() == 2 {
        write_all_info(registry, &mut session.out);
        return WRITTEN;
    }
    session.out.array(args.len() - 2);
    for name in &args[2..] {
        match find(registry, name) {
            Some(command) => write_info(registry, command, &mut session.out),
            None => session.out.null(),
        }
    }
    WRITTEN
}

fn docs(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let server = session.server.clone();
    let registry = &server.node.registry;
    let chosen: Vec<&Registered> = match &args[2..] {
        [] => named(registry).collect(),
        names => names.iter().filter_map(|name| find(registry, name)).collect(),
    };
    session.out.map(chosen.len());
    for command in chosen {
        session.out.bulk(command.name.as_bytes());
        write_docs(registry, command, &mut session.out);
    }
    WRITTEN
}

fn list(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let is = |arg: &[u8], word: &str| arg.eq_ignore_ascii_case(word.as_bytes());
    let keep: Box<dyn Fn(&Registered) -> bool> = match args[2..] {
        [] => Box::new(|_| true),
        [filter, kind, value] if is(filter, "FILTERBY") => {
            if is(kind, "MODULE") {
                // No command comes from a module.
                Box::new(|_| false)
            } else if is(kind, "ACLCAT") {
                let wanted = Category::ALL.iter().find(|category| is(value, category.name()));
                Box::new(move |command| {
                    wanted.is_some_and(|wanted| command.command.categories().contains(wanted))
                })
            } else if is(kind, "PATTERN") {
                Box::new(move |command| glob_match(value, command.name.as_bytes(), true))
            } else {
                return Err(CommandError::Syntax);
            }
        }
        _ => return Err(CommandError::Syntax),
    };
    let server = session.server.clone();
    let registry = &server.node.registry;
    let shown: Vec<&Registered> = named(registry)
        .flat_map(|command| std::iter::once(command).chain(subcommands(registry, command)))
        .filter(|command| keep(command))
        .collect();
    session.out.array(shown.len());
    shown.iter().for_each(|command| session.out.bulk(command.name.as_bytes()));
    WRITTEN
}

fn getkeys(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let keys = keys_of_line(session, &args[2..])?;
    session.out.array(keys.len());
    keys.iter().for_each(|(at, _)| session.out.bulk(args[2 + at]));
    WRITTEN
}

fn getkeysandflags(
    session: &mut Session,
    args: &[&[u8]],
    _: Option<&mut Held<'_>>,
) -> Result<Flow, CommandError> {
    let keys = keys_of_line(session, &args[2..])?;
    session.out.array(keys.len());
    for (at, flags) in keys {
        session.out.array(2);
        session.out.bulk(args[2 + at]);
        write_key_flags(flags, &mut session.out);
    }
    WRITTEN
}

/// The keys of a whole command line, each with its place and what is done with it.
fn keys_of_line(session: &Session, line: &[&[u8]]) -> Result<Vec<(usize, &'static [KeyFlag])>, CommandError> {
    const INVALID: CommandError = CommandError::text("ERR Invalid arguments specified for command");
    let registry = &session.server.node.registry;
    let named = registry.find(line[0]).and_then(|command| match line.get(1) {
        Some(sub) if !command.subcommands.is_empty() && !command.command.hidden_subcommands => {
            registry.subcommand(command, sub)
        }
        _ => Some(command),
    });
    let command = named.ok_or(CommandError::text("ERR Invalid command specified"))?.command;
    // Channels are found as keys are, but are none.
    if command.keys.iter().all(|spec| spec.flags.contains(&KeyFlag::NotKey)) {
        return Err(CommandError::text("ERR The command has no key arguments"));
    }
    if !command.arity.accepts(line.len()) {
        return Err(CommandError::text("ERR Invalid number of arguments specified for command"));
    }
    // With a number of keys that cannot be right, a script has none.
    let keys = command_keys::positions(command, line).unwrap_or_default();
    if keys.is_empty() && !command.has(NoMandatoryKeys) {
        return Err(INVALID);
    }
    Ok(keys)
}

fn help(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.out.help(
        "COMMAND",
        &[
            "(no subcommand)",
            "    Describe all commands.",
            "COUNT",
            "    Tell how many commands there are.",
            "DOCS [<command> ...]",
            "    Document these commands, or all of them.",
            "GETKEYS <command line>",
            "    Show the keys of a whole command line.",
            "GETKEYSANDFLAGS <command line>",
            "    Show the keys of a whole command line and what is done with each.",
            "INFO [<command> ...]",
            "    Describe these commands, or all of them.",
            "LIST [FILTERBY (MODULE <module>|ACLCAT <category>|PATTERN <pattern>)]",
            "    List the names of all commands, or of those that the filter leaves.",
        ],
    );
    WRITTEN
}

/// All commands but subcommands, under whatever name they answer to.
fn named(registry: &Registry) -> impl Iterator<Item = &Registered> {
    registry.iter().filter(|command| command.container.is_none() && registry.is_reachable(command.id))
}

/// The subcommands that clients shall know of.
fn subcommands<'r>(registry: &'r Registry, command: &'r Registered) -> impl Iterator<Item = &'r Registered> {
    let mut ids: Vec<usize> = match command.command.hidden_subcommands {
        true => Vec::new(),
        false => command.subcommands.values().copied().collect(),
    };
    ids.sort_unstable();
    ids.into_iter().map(|id| registry.get(id))
}

/// A command by `name` or by `container|name`.
fn find<'r>(registry: &'r Registry, name: &[u8]) -> Option<&'r Registered> {
    let mut parts = name.splitn(2, |byte| *byte == b'|');
    let command = registry.find(parts.next()?)?;
    match parts.next() {
        None => Some(command),
        Some(_) if command.command.hidden_subcommands => None,
        Some(sub) => registry.subcommand(command, sub),
    }
}

fn write_all_info(registry: &Registry, out: &mut Out) {
    let all: Vec<&Registered> = named(registry).collect();
    out.array(all.len());
    all.into_iter().for_each(|command| write_info(registry, command, out));
}

/// The ten elements of COMMAND INFO.
fn write_info(registry: &Registry, command: &Registered, out: &mut Out) {
    let row = command.command;
    let (first, last, step) = row.first_last_step();
    out.array(10);
    out.bulk(command.name.as_bytes());
    out.integer(row.arity.number());
    let flags: Vec<Flag> = shown_flags(row);
    out.set(flags.len());
    flags.iter().for_each(|flag| out.status(flag.name()));
    out.integer(first);
    out.integer(last);
    out.integer(step);
    let categories = row.categories();
    out.set(categories.len());
    categories.iter().for_each(|category| out.status(&format!("@{}", category.name())));
    out.set(row.tips.len());
    row.tips.iter().for_each(|tip| out.bulk(tip.as_bytes()));
    out.set(row.keys.len());
    row.keys.iter().for_each(|spec| write_key_spec(spec, out));
    let subs: Vec<&Registered> = subcommands(registry, command).collect();
    // As Redis: the empty one is a set.
    if subs.is_empty() {
        out.set(0)
    } else {
        out.array(subs.len())
    }
    subs.into_iter().for_each(|sub| write_info(registry, sub, out));
}

/// The flags that clients shall see, in the order of Redis.
fn shown_flags(row: &Command) -> Vec<Flag> {
    const SHOWN: &[Flag] = &[
        Write,
        ReadOnly,
        DenyOom,
        Admin,
        PubSub,
        NoScript,
        Blocking,
        Loading,
        Stale,
        SkipMonitor,
        SkipSlowlog,
        Asking,
        Fast,
        NoAuth,
        NoMandatoryKeys,
        NoAsyncLoading,
        NoMulti,
        MovableKeys,
        AllowBusy,
    ];
    let plain = |spec: &KeySpec| matches!((spec.begin, spec.find), (Begin::Index(_), Find::Range { .. }));
    let movable = row.keys.iter().any(|spec| !plain(spec));
    SHOWN.iter().copied().filter(|flag| row.has(*flag) || *flag == MovableKeys && movable).collect()
}

fn write_key_flags(flags: &[KeyFlag], out: &mut Out) {
    out.set(flags.len());
    flags.iter().for_each(|flag| out.status(flag.name()));
}

fn write_key_spec(spec: &KeySpec, out: &mut Out) {
    out.map(3);
    out.bulk(b"flags");
    write_key_flags(spec.flags, out);
    let numbers = |out: &mut Out, fields: &[(&str, i64)]| {
        out.map(fields.len());
        for (name, value) in fields {
            out.bulk(name.as_bytes());
            out.integer(*value);
        }
    };
    let kind = |out: &mut Out, kind: &str| {
        out.map(2);
        out.bulk(b"type");
        out.bulk(kind.as_bytes());
        out.bulk(b"spec");
    };
    out.bulk(b"begin_search");
    match spec.begin {
        Begin::Unknown => {
            kind(out, "unknown");
            out.map(0);
        }
        Begin::Index(at) => {
            kind(out, "index");
            numbers(out, &[("index", at as i64)]);
        }
        Begin::Keyword(word, from) => {
            kind(out, "keyword");
            out.map(2);
            out.bulk(b"keyword");
            out.bulk(word.as_bytes());
            out.bulk(b"startfrom");
            out.integer(from);
        }
    }
    out.bulk(b"find_keys");
    match spec.find {
        Find::Unknown => {
            kind(out, "unknown");
            out.map(0);
        }
        Find::Range { last, step, limit } => {
            kind(out, "range");
            numbers(out, &[("lastkey", last), ("keystep", step as i64), ("limit", limit as i64)]);
        }
        Find::KeyNum { at, first, step } => {
            kind(out, "keynum");
            let fields = [("keynumidx", at as i64), ("firstkey", first as i64), ("keystep", step as i64)];
            numbers(out, &fields);
        }
    }
}

/// Commands that only servers give each other.
const INTERNAL: &[&str] = &["psync", "sync", "replconf", "restore-asking", "pfdebug", "pfselftest"];

fn write_docs(registry: &Registry, command: &Registered, out: &mut Out) {
    let row = command.command;
    let place = out.deferred();
    let mut fields = 0;
    let mut text = |out: &mut Out, name: &str, value: &str| {
        if !value.is_empty() {
            fields += 1;
            out.bulk(name.as_bytes());
            out.bulk(value.as_bytes());
        }
    };
    text(out, "summary", row.summary);
    text(out, "since", row.since);
    text(out, "group", row.group.name());
    text(out, "complexity", row.complexity);
    let name = command.name.to_ascii_uppercase().replace('|', " ");
    let arguments = ARGUMENTS.get(&name).and_then(Value::as_array);
    let history = arguments.map(|arguments| history(arguments)).unwrap_or_default();
    if !history.is_empty() {
        fields += 1;
        out.bulk(b"history");
        out.set(history.len());
        for (since, added) in history {
            out.array(2);
            out.bulk(since.as_bytes());
            out.bulk(format!("Takes {}.", added.join(", ")).as_bytes());
        }
    }
    let mut marks = Vec::new();
    marks.extend(row.deprecated.map(|_| "deprecated"));
    marks.extend(INTERNAL.contains(&command.name.as_str()).then_some("syscmd"));
    if !marks.is_empty() {
        fields += 1;
        out.bulk(b"doc_flags");
        out.set(marks.len());
        marks.iter().for_each(|mark| out.status(mark));
    }
    if let Some((since, instead)) = row.deprecated {
        fields += 2;
        out.bulk(b"deprecated_since");
        out.bulk(since.as_bytes());
        out.bulk(b"replaced_by");
        out.bulk(instead.as_bytes());
    }
    if let Some(arguments) = arguments {
        fields += 1;
        out.bulk(b"arguments");
        write_arguments(arguments, out);
    }
    let subs: Vec<&Registered> = subcommands(registry, command).collect();
    if !subs.is_empty() {
        fields += 1;
        out.bulk(b"subcommands");
        out.map(subs.len());
        for sub in subs {
            out.bulk(sub.name.as_bytes());
            write_docs(registry, sub, out);
        }
    }
    out.fill_map(place, fields);
}

/// Arguments by command, `CONFIG GET`.
static ARGUMENTS: LazyLock<Map<String, Value>> =
    LazyLock::new(|| serde_json::from_str(include_str!("arguments.json")).unwrap_or_default());

/// What arguments came when, by version: the newer ones of a tree tell the history of its command.
fn history(arguments: &[Value]) -> BTreeMap<&str, Vec<&str>> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for argument in arguments {
        match argument["since"].as_str() {
            Some(since) => {
                let shown = argument["token"].as_str().or(argument["name"].as_str());
                versions.entry(since).or_default().extend(shown);
            }
            None => {
                let inner = argument["arguments"].as_array().map(|inner| history(inner)).unwrap_or_default();
                for (since, added) in inner {
                    versions.entry(since).or_default().extend(added);
                }
            }
        }
    }
    versions
}

fn write_arguments(arguments: &[Value], out: &mut Out) {
    out.array(arguments.len());
    for argument in arguments {
        let text = |name: &str| argument[name].as_str();
        let place = out.deferred();
        let mut fields = 2;
        out.bulk(b"name");
        out.bulk(text("name").unwrap_or_default().as_bytes());
        out.bulk(b"type");
        out.bulk(text("type").unwrap_or_default().as_bytes());
        let inner = argument["arguments"].as_array();
        if inner.is_none() {
            fields += 1;
            out.bulk(b"display_text");
            out.bulk(text("display").or(text("name")).unwrap_or_default().as_bytes());
        }
        if let Some(at) = argument["key_spec_index"].as_i64() {
            fields += 1;
            out.bulk(b"key_spec_index");
            out.integer(at);
        }
        for name in ["token", "since", "deprecated_since"] {
            if let Some(value) = text(name) {
                fields += 1;
                out.bulk(name.as_bytes());
                out.bulk(value.as_bytes());
            }
        }
        let flags = ["optional", "multiple", "multiple_token"];
        let flags: Vec<&str> = flags.into_iter().filter(|flag| argument[*flag] == true).collect();
        if !flags.is_empty() {
            fields += 1;
            out.bulk(b"flags");
            out.set(flags.len());
            flags.iter().for_each(|flag| out.status(flag));
        }
        if let Some(inner) = inner {
            fields += 1;
            out.bulk(b"arguments");
            write_arguments(inner, out);
        }
        out.fill_map(place, fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_known() {
        assert!(ARGUMENTS.len() > 300);
        let registry = crate::commands::registry();
        let mut out = Out::new(true);
        let set = find(&registry, b"set").unwrap();
        write_docs(&registry, set, &mut out);
        let text = String::from_utf8(out.into_bytes()).unwrap();
        assert!(text.contains("$9\r\narguments") && text.contains("$7\r\nkeepttl"), "{text}");
    }

    #[test]
    fn commands_are_found_by_their_full_name() {
        let registry = crate::commands::registry();
        assert!(find(&registry, b"CONFIG|get").is_some());
        assert!(find(&registry, b"get|key").is_none());
        assert!(find(&registry, b"config|get|key").is_none());
        assert!(find(&registry, b"debug|sleep").is_none());
    }
}
