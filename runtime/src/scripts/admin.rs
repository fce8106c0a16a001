//! SCRIPT and FUNCTION: what is known, not what is run.

use super::Scripts;
use super::functions::{Existing, Library, join};
use super::shebang::Flags;
use crate::held::{Held, Who};
use crate::node::{Cores, Node};
use baton_engine::error::CommandError;
use baton_engine::glob;
use baton_engine::rdb;
use baton_engine::reply::Out;
use std::sync::Arc;

/// Whether FLUSH was asked to be done at once or by and by: either way it is done at once, for nothing in it takes long.
fn is_flush(args: &[&[u8]]) -> bool {
    let known = |how: &[u8]| how.eq_ignore_ascii_case(b"sync") || how.eq_ignore_ascii_case(b"async");
    match args {
        [_, _] => true,
        [_, _, how] => known(how),
        _ => false,
    }
}

/// Runs a subcommand of SCRIPT.
pub(super) fn script(
    scripts: &Scripts,
    node: &Node,
    sub: &str,
    args: &[&[u8]],
    out: &mut Out,
) -> Result<(), CommandError> {
    match sub {
        "load" => {
            let script = scripts.cache.parse(args[2])?;
            scripts.with_interpreter(|interpreter| interpreter.compile(&script))?;
            scripts.cache.add(&script, node.hasher().hash(args[2]), true);
            out.bulk(&script.sha);
        }
        "exists" => {
            out.array(args.len() - 2);
            args[2..].iter().for_each(|name| out.integer(i64::from(scripts.cache.by_name(name).is_some())));
        }
        "flush" => {
            if !is_flush(args) {
                return Err(CommandError::text("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
            }
            scripts.cache.clear();
            scripts.forget_interpreters();
            out.ok();
        }
        "show" => {
            let script = scripts.cache.by_name(args[2]);
            out.bulk(script.ok_or(super::eval::NO_SCRIPT)?.body());
        }
        "kill" => {
            scripts.busy.kill(false)?;
            out.ok();
        }
        "debug" => return debug(args),
        _ => out.help("SCRIPT", SCRIPT_HELP),
    }
    Ok(())
}

/// A debugger stops everything that others do, or forks: neither is to be had here.
fn debug(args: &[&[u8]]) -> Result<(), CommandError> {
    let known = [&b"yes"[..], b"sync", b"no"].iter().any(|mode| args[2].eq_ignore_ascii_case(mode));
    Err(if known {
        CommandError::text("ERR SCRIPT DEBUG is not supported: this server has no debugger for scripts")
    } else {
        CommandError::text("ERR Use SCRIPT DEBUG YES/SYNC/NO")
    })
}

/// Runs a subcommand of FUNCTION.
pub(super) fn function(
    node: &Arc<Node>,
    who: &Who,
    sub: &str,
    args: &[&[u8]],
    held: Option<&mut Held<'_>>,
    out: &mut Out,
) -> Result<(), CommandError> {
    let libraries = &node.scripts.libraries;
    match sub {
        "list" => return list(&libraries.all(), args, out),
        "dump" => {
            let mut payload = Vec::new();
            rdb::functions::payload(&mut payload, &libraries.sources(), node.settings().rdb_compression);
            out.bulk(&payload);
        }
        "stats" => stats(node, out),
        "kill" => {
            node.scripts.busy.kill(true)?;
            out.ok();
        }
        "help" => out.help("FUNCTION", FUNCTION_HELP),
        _ => {
            // Under a baton: the log has the changes in the order in which they were made.
            let loaded = match held {
                Some(held) => change(node, who, sub, args, held),
                None => change(node, who, sub, args, &mut node.hold(|_| Cores::from_slice(&[0]))),
            }?;
            match loaded {
                Some(name) => out.bulk(&name),
                None => out.ok(),
            }
        }
    }
    Ok(())
}

fn change(
    node: &Node,
    who: &Who,
    sub: &str,
    args: &[&[u8]],
    held: &mut Held<'_>,
) -> Result<Option<Vec<u8>>, CommandError> {
    let loaded = change_libraries(&node.scripts, sub.as_bytes(), args)
        .unwrap_or(Err(CommandError::text("ERR unknown subcommand")))?;
    held.with_keyspace(who.db, |keyspace| keyspace.finish_command(1, args));
    Ok(loaded)
}

/// Changes the libraries: LOAD, DELETE, FLUSH, RESTORE; none if it is something else. Returns the name of what was loaded.
pub(super) fn change_libraries(
    scripts: &Scripts,
    sub: &[u8],
    args: &[&[u8]],
) -> Option<Result<Option<Vec<u8>>, CommandError>> {
    Some(match sub {
        b"load" => load(scripts, args).map(Some),
        b"delete" => delete(scripts, args).map(|()| None),
        b"flush" => flush(scripts, args).map(|()| None),
        b"restore" => restore(scripts, args).map(|()| None),
        _ => return None,
    })
}

fn load(scripts: &Scripts, args: &[&[u8]]) -> Result<Vec<u8>, CommandError> {
    let [_, _, options @ .., body] = args else {
        return Err(CommandError::text("ERR Function code is missing"));
    };
    let unknown = options.iter().find(|option| !option.eq_ignore_ascii_case(b"replace"));
    if let Some(option) = unknown {
        return Err(CommandError::quoting("ERR Unknown option given: ", option, 128, ""));
    }
    let existing = if options.is_empty() { Existing::Keep } else { Existing::Replace };
    let (name, _) = super::functions::parse(body)?;
    let all = scripts.libraries.all();
    if existing == Existing::Keep && all.iter().any(|library| library.name == name) {
        return Err(CommandError::quoting("ERR Library '", &name, 512, "' already exists"));
    }
    let library = scripts.with_interpreter(|interpreter| interpreter.load_library(body))?;
    scripts.libraries.replace_all(join(all, vec![library], existing)?);
    Ok(name)
}

fn flush(scripts: &Scripts, args: &[&[u8]]) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::bad_subcommand("FUNCTION", args[1]));
    }
    if !is_flush(args) {
        return Err(CommandError::text("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    scripts.libraries.clear();
    scripts.forget_interpreters();
    Ok(())
}

fn delete(scripts: &Scripts, args: &[&[u8]]) -> Result<(), CommandError> {
    match args {
        [_, _, name] if scripts.libraries.delete(name) => Ok(()),
        _ => Err(CommandError::text("ERR Library not found")),
    }
}

fn restore(scripts: &Scripts, args: &[&[u8]]) -> Result<(), CommandError> {
    if args.len() > 4 {
        return Err(CommandError::bad_subcommand("FUNCTION", args[1]));
    }
    let policy = args.get(3).map_or_else(|| b"append".to_vec(), |policy| policy.to_ascii_lowercase());
    let (flush, existing) = match &policy[..] {
        b"append" => (false, Existing::Keep),
        b"replace" => (false, Existing::Replace),
        b"flush" => (true, Existing::Keep),
        _ => {
            return Err(CommandError::text(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
    };
    let payload = args.get(2).copied().unwrap_or_default();
    let sources =
        rdb::functions::open(payload).map_err(|error| CommandError::owned(format!("ERR {error}")))?;
    let load = |body: &Vec<u8>| scripts.with_interpreter(|interpreter| interpreter.load_library(body));
    let new: Vec<Arc<Library>> = sources.iter().map(load).collect::<Result<_, _>>()?;
    // A payload agrees with itself, whatever is to happen to what is there.
    let new = join(Vec::new(), new, Existing::Keep)?;
    let there = if flush { Vec::new() } else { scripts.libraries.all() };
    scripts.libraries.replace_all(join(there, new, existing)?);
    Ok(())
}

fn list(all: &[Arc<Library>], args: &[&[u8]], out: &mut Out) -> Result<(), CommandError> {
    let (mut pattern, mut with_code, mut at) = (None, false, 2);
    while let Some(option) = args.get(at) {
        at += 1;
        if !with_code && option.eq_ignore_ascii_case(b"withcode") {
            with_code = true;
        } else if pattern.is_none() && option.eq_ignore_ascii_case(b"libraryname") {
            let given = args.get(at).ok_or(CommandError::text("ERR library name argument was not given"))?;
            pattern = Some(*given);
            at += 1;
        } else {
            return Err(CommandError::quoting("ERR Unknown argument ", option, 128, ""));
        }
    }
    let wanted = |library: &&Arc<Library>| pattern.is_none_or(|p| glob::glob_match(p, &library.name, true));
    let shown: Vec<&Arc<Library>> = all.iter().filter(wanted).collect();
    out.array(shown.len());
    for library in shown {
        out.map(3 + usize::from(with_code));
        out.bulk(b"library_name");
        out.bulk(&library.name);
        out.bulk(b"engine");
        out.bulk(b"LUA");
        out.bulk(b"functions");
        out.array(library.functions.len());
        for function in &library.functions {
            out.map(3);
            out.bulk(b"name");
            out.bulk(&function.name);
            out.bulk(b"description");
            out.bulk_or_null(function.description.as_deref());
            out.bulk(b"flags");
            list_flags(function.flags, out);
        }
        if with_code {
            out.bulk(b"library_code");
            out.bulk(&library.body);
        }
    }
    Ok(())
}

fn list_flags(flags: Flags, out: &mut Out) {
    out.set(flags.names().count());
    flags.names().for_each(|name| out.status(name));
}

fn stats(node: &Node, out: &mut Out) {
    out.map(2);
    out.bulk(b"running_script");
    match node.scripts.busy.function() {
        None => out.null(),
        Some(run) => {
            out.map(3);
            out.bulk(b"name");
            out.bulk(run.name.as_bytes());
            out.bulk(b"command");
            out.array(run.line.len());
            run.line.iter().for_each(|word| out.bulk(word));
            out.bulk(b"duration_ms");
            out.integer(run.since.elapsed().as_millis() as i64);
        }
    }
    out.bulk(b"engines");
    out.map(1);
    out.bulk(b"LUA");
    out.map(2);
    out.bulk(b"libraries_count");
    out.integer(node.scripts.libraries.count() as i64);
    out.bulk(b"functions_count");
    out.integer(node.scripts.libraries.functions() as i64);
}

const SCRIPT_HELP: &[&str] = &[
    "EXISTS <sha1> [<sha1> ...]",
    "    Tell which of these scripts are known.",
    "FLUSH [ASYNC|SYNC]",
    "    Forget all scripts.",
    "KILL",
    "    End the script that runs, unless it has changed something.",
    "LOAD <script>",
    "    Make a script known without running it.",
    "SHOW <sha1>",
    "    Show the text of a script.",
];

const FUNCTION_HELP: &[&str] = &[
    "LOAD [REPLACE] <FUNCTION CODE>",
    "    Load a library. Its first line names it: #!lua name=<library>",
    "DELETE <LIBRARY NAME>",
    "    Delete a library.",
    "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
    "    List the libraries with their functions, and with their code if it is asked for.",
    "STATS",
    "    Tell which function runs and for how long, and how many there are.",
    "KILL",
    "    End the function that runs, unless it has changed something.",
    "FLUSH [ASYNC|SYNC]",
    "    Delete all libraries.",
    "DUMP",
    "    Return all libraries as a payload for RESTORE.",
    "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
    "    Load the libraries of a payload: in place of all that are there, besides them, or in place of those of the",
    "    same names.",
];
