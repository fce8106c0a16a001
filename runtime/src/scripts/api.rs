//! `redis`, which is `server` too: what scripts are given to work with.

use super::call;
use super::host::LogLevel;
use super::lua::{Function, Kind, Raise, Returned, Stack, push_error_table};
use super::run;
use super::sandbox::{protect, set_functions};
use sha1::{Digest, Sha1};
use std::fmt::Write;

/// The version of Redis that scripts are told.
pub const REDIS_VERSION: &str = "7.4.0";
const REDIS_VERSION_NUM: u32 = 0x0007_0400;

const FUNCTIONS: &[(&str, Function)] = &[
    ("call", |stack| call::command(stack, true)),
    ("pcall", |stack| call::command(stack, false)),
    ("setresp", setresp),
    ("set_repl", set_repl),
    ("acl_check_cmd", acl_check_cmd),
    ("replicate_commands", |stack| {
        stack.push_boolean(true);
        Ok(1)
    }),
    // There is no debugger that could stop here.
    ("breakpoint", |stack| {
        stack.push_boolean(false);
        Ok(1)
    }),
    ("debug", |_| Ok(0)),
    ("sha1hex", sha1hex),
    ("error_reply", error_reply),
    ("status_reply", status_reply),
];

/// Propagates nothing, to the log, to replicas, to both.
const REPL_NONE: f64 = 0.0;
const REPL_AOF: f64 = 1.0;
const REPL_REPLICA: f64 = 2.0;
const REPL_ALL: f64 = 3.0;

/// Sets `redis` as a global, and what takes the place of functions of Lua.
pub(super) fn register(stack: &mut Stack<'_>) {
    stack.push_globals();
    stack.new_table(0, 32);
    set_functions(stack, FUNCTIONS);
    set_common(stack);
    for (name, value) in [
        ("REPL_NONE", REPL_NONE),
        ("REPL_AOF", REPL_AOF),
        ("REPL_SLAVE", REPL_REPLICA),
        ("REPL_REPLICA", REPL_REPLICA),
        ("REPL_ALL", REPL_ALL),
    ] {
        stack.push_number(value);
        stack.raw_set_field(-2, name);
    }
    stack.raw_set_field(1, "redis");
    stack.raw_get_field(1, "math");
    set_functions(stack, &[("random", random), ("randomseed", randomseed)]);
    stack.raw_get_field(1, "string");
    set_functions(stack, &[("rep", rep)]);
    stack.set_top(0);
}

/// The `redis` of libraries that are being loaded, as fields of the table on the top: what it lacks is an error.
pub(super) fn register_loading(stack: &mut Stack<'_>) {
    stack.new_table(0, 16);
    set_functions(stack, &[("register_function", super::functions::register)]);
    set_common(stack);
    stack.new_table(0, 1);
    stack.push_c_function(super::protect::no_such_global);
    stack.raw_set_field(-2, "__index");
    stack.set_metatable(-2);
    protect(stack);
    stack.push(-1);
    stack.raw_set_field(1, "redis");
    stack.raw_set_field(1, "server");
}

/// What libraries may use while they are loaded, too.
fn set_common(stack: &mut Stack<'_>) {
    set_functions(stack, &[("log", log)]);
    for (name, value) in [("LOG_DEBUG", 0.0), ("LOG_VERBOSE", 1.0), ("LOG_NOTICE", 2.0), ("LOG_WARNING", 3.0)]
    {
        stack.push_number(value);
        stack.raw_set_field(-2, name);
    }
    stack.push_number(f64::from(REDIS_VERSION_NUM));
    stack.raw_set_field(-2, "REDIS_VERSION_NUM");
    stack.push_bytes(REDIS_VERSION.as_bytes());
    stack.raw_set_field(-2, "REDIS_VERSION");
}

fn error_table(text: &'static str) -> Raise {
    Raise::Table(text)
}

fn sha1hex(stack: &mut Stack<'_>) -> Returned {
    if stack.top() != 1 {
        return Err(error_table("wrong number of arguments"));
    }
    let digest = hex_digest(stack.bytes(1));
    stack.push_bytes(&digest);
    Ok(1)
}

/// The SHA-1 of a text, in hexadecimal: the name of a script.
pub(super) fn hex_digest(text: &[u8]) -> [u8; 40] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = [0; 40];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(Sha1::digest(text)) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    hex
}

/// A reply that is an error: a code is part of the text, or is added.
fn error_reply(stack: &mut Stack<'_>) -> Returned {
    if stack.top() != 1 || stack.kind(1) != Kind::String {
        push_error_table(stack, &[b"ERR wrong number or type of arguments"]);
        return Ok(1);
    }
    // Read as C does.
    let text = stack.bytes(1).split(|byte| *byte == 0).next().unwrap_or_default();
    let text = text.strip_prefix(b"-").unwrap_or(text);
    // One word alone is no code.
    let space = text.iter().position(|byte| *byte == b' ');
    let (code, message) = space.map_or((&b"ERR"[..], text), |at| (&text[..at], &text[at + 1..]));
    let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let start = message.iter().take_while(|byte| is_line_end(byte)).count();
    let end = message.iter().rposition(|byte| !is_line_end(byte)).map_or(start, |last| last + 1);
    let line = [code, b" ", &message[start..end]].concat();
    push_error_table(stack, &[&line]);
    Ok(1)
}

fn status_reply(stack: &mut Stack<'_>) -> Returned {
    if stack.top() != 1 || stack.kind(1) != Kind::String {
        push_error_table(stack, &[b"ERR wrong number or type of arguments"]);
        return Ok(1);
    }
    stack.new_table(0, 1);
    stack.push(1);
    stack.raw_set_field(-2, "ok");
    Ok(1)
}

fn log(stack: &mut Stack<'_>) -> Returned {
    if stack.top() < 2 {
        return Err(error_table("server.log() requires two arguments or more."));
    }
    if !stack.is_number(1) {
        return Err(error_table("First argument must be a number (log level)."));
    }
    let level = match stack.number(1) as i64 {
        0 => LogLevel::Debug,
        1 => LogLevel::Verbose,
        2 => LogLevel::Notice,
        3 => LogLevel::Warning,
        _ => return Err(error_table("Invalid log level.")),
    };
    let mut line = String::new();
    for at in 2..=stack.top() {
        if stack.is_string(at) {
            let space = if at > 2 { " " } else { "" };
            // Writing to a string does not fail.
            let _ = write!(line, "{space}{}", String::from_utf8_lossy(stack.bytes(at)));
        }
    }
    if let Some(run) = run::current(stack) {
        run.host.log(level, &line);
    }
    Ok(0)
}

fn setresp(stack: &mut Stack<'_>) -> Returned {
    if stack.top() != 1 {
        return Err(error_table("server.setresp() requires one argument."));
    }
    let version = stack.number(1);
    if version.trunc() != 2.0 && version.trunc() != 3.0 {
        return Err(error_table("RESP version must be 2 or 3."));
    }
    if let Some(run) = run::current(stack) {
        run.set_resp3(version.trunc() == 3.0);
    }
    Ok(0)
}

fn set_repl(stack: &mut Stack<'_>) -> Returned {
    if stack.top() != 1 {
        return Err(error_table("server.set_repl() requires one argument."));
    }
    let flags = stack.number(1).trunc();
    if !(REPL_NONE..=REPL_ALL).contains(&flags) {
        let text = "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.";
        return Err(error_table(text));
    }
    if let Some(run) = run::current(stack) {
        run.set_propagation(flags != REPL_NONE);
    }
    Ok(0)
}

fn acl_check_cmd(stack: &mut Stack<'_>) -> Returned {
    let Some(run) = run::current(stack) else {
        return Err(error_table("server.acl_check_cmd() can only be called by a script"));
    };
    let allowed = call::with_arguments(stack, |args| {
        let command = run.find(args)?;
        Some(run.host.would_permit(command, args))
    })?;
    let Some(allowed) = allowed else {
        return Err(error_table("Invalid command passed to server.acl_check_cmd()"));
    };
    stack.push_boolean(allowed);
    Ok(1)
}

/// The generator of `drand48`, which gives the same numbers everywhere.
fn next_random(stack: &Stack<'_>) -> f64 {
    const A: u64 = 0x5_DEEC_E66D;
    const C: u64 = 0xb;
    const MASK: u64 = (1 << 48) - 1;
    let state = &stack.shared().random;
    state.set(state.get().wrapping_mul(A).wrapping_add(C) & MASK);
    let number = (state.get() >> 17) as u32;
    f64::from(number % i32::MAX.cast_unsigned()) / f64::from(i32::MAX)
}

/// An argument as C makes an `int` of it.
fn int(stack: &Stack<'_>, at: i32) -> Result<i32, Raise> {
    Ok(stack.number_argument(at)? as i64 as i32)
}

fn random(stack: &mut Stack<'_>) -> Returned {
    let r = next_random(stack);
    let number = match stack.top() {
        0 => r,
        1 => {
            let upper = int(stack, 1)?;
            if upper < 1 {
                return Err(stack.bad_argument(1, "interval is empty"));
            }
            (r * f64::from(upper)).floor() + 1.0
        }
        2 => {
            let (lower, upper) = (int(stack, 1)?, int(stack, 2)?);
            if lower > upper {
                return Err(stack.bad_argument(2, "interval is empty"));
            }
            (r * f64::from(upper.wrapping_sub(lower).wrapping_add(1))).floor() + f64::from(lower)
        }
        _ => return Err("wrong number of arguments".into()),
    };
    stack.push_number(number);
    Ok(1)
}

/// `string.rep`. That of Lua goes through all repetitions one by one, and nobody can stop it.
fn rep(stack: &mut Stack<'_>) -> Returned {
    let (text, count) = (stack.string_argument(1)?, int(stack, 2)?);
    let count = usize::try_from(count).unwrap_or(0);
    let len = text.len().saturating_mul(count);
    stack.spend(len)?;
    let all = stack.bytes(1).repeat(count);
    stack.push_bytes(&all);
    Ok(1)
}

fn randomseed(stack: &mut Stack<'_>) -> Returned {
    const LOW: u64 = 0x330e;
    let seed = int(stack, 1)?;
    stack.shared().random.set(u64::from(seed.cast_unsigned()) << 16 | LOW);
    Ok(0)
}
