//! ACL: users, what they may do, and what they were refused.

use super::{Flow, Handler, OK, WRITTEN};
use crate::acl::log::Entry;
use crate::acl::rules::Modifier;
use crate::acl::{Selector, clients, commands};
use crate::log;
use crate::logging::Level;
use crate::session::Session;
use baton::held::Held;
use baton::registry::{Registered, Registry};
use baton_engine::command::{Arity, Category, Command, Flag::*, Group};
use baton_engine::error::CommandError;
use baton_engine::number::parse_i64;
use baton_engine::reply::{Out, Reply};

/// What all subcommands have in common.
const SUB: Command = Command {
    flags: &[Admin, NoScript, Loading, Stale, Sentinel],
    group: Group::Server,
    since: "6.0.0",
    ..Command::BASE
};

pub const COMMANDS: &[Command] = &[Command {
    name: "ACL",
    arity: Arity::AtLeast(2),
    flags: &[Sentinel],
    group: Group::Server,
    since: "6.0.0",
    complexity: "Depends on subcommand.",
    summary: "Container of commands about users and what they may do.",
    subcommands: &[
        Command {
            name: "CAT",
            arity: Arity::AtLeast(2),
            flags: &[NoScript, Loading, Stale, Sentinel],
            complexity: "O(n) for n commands",
            summary: "Lists the categories of commands, or the commands of one.",
            ..SUB
        },
        Command {
            name: "DELUSER",
            arity: Arity::AtLeast(3),
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            complexity: "O(n) for n clients",
            summary: "Removes users and closes their connections.",
            ..SUB
        },
        Command {
            name: "DRYRUN",
            arity: Arity::AtLeast(4),
            since: "7.0.0",
            complexity: "that of a look at the keys of the command",
            summary: "Tells whether a user might run a command, without running it.",
            ..SUB
        },
        Command {
            name: "GENPASS",
            arity: Arity::AtLeast(2),
            flags: &[NoScript, Loading, Stale, Sentinel],
            complexity: "O(1)",
            summary: "Makes up a password that nobody can guess.",
            ..SUB
        },
        Command {
            name: "GETUSER",
            arity: Arity::Exactly(3),
            complexity: "O(n) for n rules of the user",
            summary: "Shows the rules of a user.",
            ..SUB
        },
        Command {
            name: "HELP",
            arity: Arity::Exactly(2),
            flags: &[Loading, Stale, Sentinel],
            complexity: "O(1)",
            summary: "Explains the subcommands.",
            ..SUB
        },
        Command {
            name: "LIST",
            arity: Arity::Exactly(2),
            complexity: "O(n) for n users",
            summary: "Shows all users with their rules, as files have them.",
            ..SUB
        },
        Command {
            name: "LOAD",
            arity: Arity::Exactly(2),
            complexity: "O(n) for n users and clients",
            summary: "Reads the file of users again; its users take the place of those that there are.",
            ..SUB
        },
        Command {
            name: "LOG",
            arity: Arity::AtLeast(2),
            complexity: "O(n) for n entries shown",
            summary: "Shows what users were refused, the latest first, or forgets it.",
            ..SUB
        },
        Command {
            name: "SAVE",
            arity: Arity::Exactly(2),
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            complexity: "O(n) for n users",
            summary: "Writes all users into the file of users.",
            ..SUB
        },
        Command {
            name: "SETUSER",
            arity: Arity::AtLeast(3),
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            complexity: "O(n) for n rules",
            summary: "Makes a user or changes one, by rules that are applied in order, all of them or none.",
            ..SUB
        },
        Command {
            name: "USERS",
            arity: Arity::Exactly(2),
            complexity: "O(n) for n users",
            summary: "Lists the names of all users.",
            ..SUB
        },
        Command {
            name: "WHOAMI",
            arity: Arity::Exactly(2),
            flags: &[NoScript, Loading, Stale, Sentinel],
            complexity: "O(1)",
            summary: "Tells which user this connection is.",
            ..SUB
        },
    ],
    ..Command::BASE
}];

pub const HANDLERS: &[(&str, Handler)] = &[
    ("acl|cat", cat),
    ("acl|deluser", deluser),
    ("acl|dryrun", dryrun),
    ("acl|genpass", genpass),
    ("acl|getuser", getuser),
    ("acl|help", help),
    ("acl|list", list),
    ("acl|load", load),
    ("acl|log", show_log),
    ("acl|save", save),
    ("acl|setuser", setuser),
    ("acl|users", users),
    ("acl|whoami", whoami),
];

/// For a command that takes one argument more, or none.
fn option<'a>(args: &[&'a [u8]]) -> Result<Option<&'a [u8]>, CommandError> {
    match args {
        [_, _] => Ok(None),
        [_, _, option] => Ok(Some(option)),
        [_, name, ..] => {
            let after = "'. Try ACL HELP.";
            Err(CommandError::quoting(
                "ERR unknown subcommand or wrong number of arguments for '",
                name,
                128,
                after,
            ))
        }
        _ => Err(CommandError::Syntax),
    }
}

fn cat(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let out = &mut session.out;
    let Some(name) = option(args)? else {
        out.array(Category::ALL.len());
        Category::ALL.iter().for_each(|category| out.bulk(category.name().as_bytes()));
        return WRITTEN;
    };
    let category = commands::find_category(name)
        .ok_or_else(|| CommandError::quoting("ERR Unknown category '", name, 128, "'"))?;
    let shown =
        session.server.node.registry.iter().filter(|command| {
            command.shown_as == command.id && command.command.categories().contains(&category)
        });
    let names: Vec<&[u8]> = shown.map(|command| command.name.as_bytes()).collect();
    out.array(names.len());
    names.into_iter().for_each(|name| out.bulk(name));
    WRITTEN
}

fn deluser(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let names = &args[2..];
    if names.contains(&crate::acl::DEFAULT) {
        return Err(CommandError::text("ERR The 'default' user cannot be removed"));
    }
    let gone = session.server.acl.remove(names);
    clients::end_clients_of(&session.server, &gone, Some(&session.client));
    Ok(Flow::Reply(Reply::Integer(gone.len() as i64)))
}

fn setuser(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let name = args[2];
    if !crate::acl::is_name(name) {
        return Err(CommandError::text("ERR Usernames can't contain spaces or null characters"));
    }
    let server = &session.server;
    match server.acl.set_user(name, &args[3..], clients::ground(server)) {
        Ok(change) => {
            if let Some(change) = change {
                clients::end_listeners(server, &change, Some(&session.client));
            }
            OK
        }
        Err(Modifier::Unmatched(rule)) => Err(CommandError::quoting(
            "ERR Unmatched parenthesis in acl selector starting at '",
            &rule,
            usize::MAX,
            "'.",
        )),
        Err(Modifier::Refused(rule, why)) => {
            let after = format!("': {why}");
            Err(CommandError::quoting("ERR Error in ACL SETUSER modifier '", &rule, usize::MAX, &after))
        }
    }
}

fn getuser(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let Some(user) = session.server.acl.find(args[2]) else { return Ok(Flow::Reply(Reply::Null)) };
    let rules = user.rules();
    let out = &mut session.out;
    out.map(6);
    out.bulk(b"flags");
    out.set(rules.flags().count());
    rules.flags().for_each(|flag| out.bulk(flag.as_bytes()));
    out.bulk(b"passwords");
    out.array(rules.passwords().len());
    rules.passwords().iter().for_each(|password| out.bulk(password.show().as_bytes()));
    write_selector(rules.root(), out);
    out.bulk(b"selectors");
    out.array(rules.selectors().len() - 1);
    for selector in &rules.selectors()[1..] {
        out.map(3);
        write_selector(selector, out);
    }
    WRITTEN
}

fn write_selector(selector: &Selector, out: &mut Out) {
    out.bulk(b"commands");
    out.bulk(&selector.show_commands());
    out.bulk(b"keys");
    out.bulk(&selector.show_keys());
    out.bulk(b"channels");
    out.bulk(&selector.show_channels());
}

fn list(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let lines = clients::lines(&session.server.acl);
    session.out.array(lines.len());
    lines.iter().for_each(|line| session.out.bulk(line));
    WRITTEN
}

fn users(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let users = session.server.acl.all();
    session.out.array(users.len());
    users.iter().for_each(|user| session.out.bulk(user.name()));
    WRITTEN
}

fn whoami(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.out.bulk(session.client.user().name());
    WRITTEN
}

fn genpass(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    const BITS_MAX: i64 = 4096;
    let bits = option(args)?.map_or(Ok(256), |bits| parse_i64(bits).ok_or(CommandError::NotInteger))?;
    if !(1..=BITS_MAX).contains(&bits) {
        return Err(CommandError::owned(format!(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to \
             {BITS_MAX}"
        )));
    }
    let digits = bits.unsigned_abs().div_ceil(4) as usize;
    let mut random = vec![0; digits.div_ceil(2)];
    if let Err(error) = getrandom::fill(&mut random) {
        log!(Level::Warning, "The system gives no random numbers: {error}");
        return Err(CommandError::text("ERR The system gives no random numbers. Check the server logs."));
    }
    let mut password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    password.truncate(digits);
    session.out.bulk(password.as_bytes());
    WRITTEN
}

fn dryrun(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let (name, line) = (args[2], &args[3..]);
    let server = session.server.clone();
    let user = server
        .acl
        .find(name)
        .ok_or_else(|| CommandError::quoting("ERR User '", name, usize::MAX, "' not found"))?;
    let command = find(&server.node.registry, line)
        .ok_or_else(|| CommandError::quoting("ERR Command '", line[0], usize::MAX, "' not found"))?;
    if !command.command.arity.accepts(line.len()) {
        return Err(CommandError::Arity(command.name.clone()));
    }
    match user.rules().check(command, line) {
        Ok(()) => OK,
        Err(denial) => {
            session.out.bulk(&denial.describe(&user, clients::shown(&server, command), line));
            WRITTEN
        }
    }
}

/// The command that a line means.
fn find<'r>(registry: &'r Registry, line: &[&[u8]]) -> Option<&'r Registered> {
    let command = registry.find(line[0])?;
    match line.get(1) {
        Some(sub) if !command.subcommands.is_empty() && !command.command.hidden_subcommands => {
            registry.subcommand(command, sub)
        }
        _ => Some(command),
    }
}

fn show_log(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let log = &session.server.acl.log;
    let count = match option(args)? {
        None => 10,
        Some(word) if word.eq_ignore_ascii_case(b"RESET") => {
            log.clear();
            return OK;
        }
        Some(count) => parse_i64(count).ok_or(CommandError::NotInteger)?.max(0),
    };
    let (entries, now_ms) = (log.newest(count as usize), session.server.node.now_ms());
    session.out.array(entries.len());
    entries.iter().for_each(|entry| write_entry(entry, now_ms, &mut session.out));
    WRITTEN
}

fn write_entry(entry: &Entry, now_ms: i64, out: &mut Out) {
    let event = &entry.event;
    out.map(10);
    out.bulk(b"count");
    out.integer(entry.count as i64);
    out.bulk(b"reason");
    out.bulk(event.reason.name().as_bytes());
    out.bulk(b"context");
    out.bulk(event.place.name().as_bytes());
    out.bulk(b"object");
    out.bulk(&event.object);
    out.bulk(b"username");
    out.bulk(&event.user);
    out.bulk(b"age-seconds");
    out.double((now_ms - entry.updated_ms) as f64 / 1_000.0);
    out.bulk(b"client-info");
    out.bulk(&event.client);
    out.bulk(b"entry-id");
    out.integer(entry.id as i64);
    out.bulk(b"timestamp-created");
    out.integer(entry.created_ms);
    out.bulk(b"timestamp-last-updated");
    out.integer(entry.updated_ms);
}

/// For commands about the file of users.
fn check_file(session: &Session) -> Result<(), CommandError> {
    if session.server.settings().aclfile.is_empty() {
        return Err(CommandError::text(
            "ERR This instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER \
             command and then issue a CONFIG REWRITE (assuming you have a configuration file set) in order to store \
             users in the configuration.",
        ));
    }
    Ok(())
}

fn load(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    check_file(session)?;
    match clients::load_file(&session.server, Some(&session.client)) {
        Ok(()) => OK,
        Err(errors) => Err(CommandError::owned(format!("ERR {errors}"))),
    }
}

fn save(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    check_file(session)?;
    clients::save_file(&session.server).map_err(|error| {
        log!(Level::Warning, "The file of users could not be written: {error}");
        CommandError::text(
            "ERR There was an error trying to save the ACLs. Please check the server logs for more information",
        )
    })?;
    OK
}

fn help(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.out.help(
        "ACL",
        &[
            "CAT [<category>]",
            "    Categories of commands, or the commands of one.",
            "DELUSER <name> [<name> ...]",
            "    Remove users and close their connections.",
            "DRYRUN <name> <command> [<argument> ...]",
            "    Tell whether a user might run this, without running it.",
            "GENPASS [<bits>]",
            "    Make up a password, of 256 bits if not told otherwise.",
            "GETUSER <name>",
            "    Rules of a user.",
            "LIST",
            "    All users with their rules, as files have them.",
            "LOAD",
            "    Read the file of users again.",
            "LOG [<count>|RESET]",
            "    What users were refused, the latest first; or forget it.",
            "SAVE",
            "    Write all users into the file of users.",
            "SETUSER <name> [<rule> ...]",
            "    Make a user or change one.",
            "USERS",
            "    Names of all users.",
            "WHOAMI",
            "    User that this connection is.",
        ],
    );
    WRITTEN
}
