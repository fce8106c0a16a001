//! The server as a whole: TIME, SHUTDOWN, LOLWUT.

use super::{Flow, Handler, WRITTEN};
use crate::client::End;
use crate::config::REDIS_VERSION;
use crate::log;
use crate::logging::Level;
use crate::server::EndRequest;
use crate::session::Session;
use baton::held::Held;
use baton_engine::command::{Arity, Command, Flag::*, Group};
use baton_engine::error::CommandError;
use baton_engine::number::parse_i64;
use baton_engine::reply::Reply;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "TIME",
        arity: Arity::Exactly(1),
        flags: &[Loading, Stale, Fast],
        tips: &["nondeterministic_output"],
        group: Group::Server,
        since: "2.6.0",
        complexity: "O(1)",
        summary: "Returns the time of the server: Unix seconds and microseconds.",
        ..Command::BASE
    },
    Command {
        name: "SHUTDOWN",
        arity: Arity::AtLeast(1),
        flags: &[Admin, NoScript, Loading, Stale, NoMulti, Sentinel, AllowBusy],
        group: Group::Server,
        since: "1.0.0",
        complexity: "O(n) for n keys when it saves, else O(1)",
        summary: "Ends the server, with or without saving the data first.",
        ..Command::BASE
    },
    Command {
        name: "LOLWUT",
        arity: Arity::AtLeast(1),
        flags: &[ReadOnly, Fast],
        group: Group::Server,
        since: "5.0.0",
        complexity: "O(1)",
        summary: "Draws a picture and tells the version.",
        ..Command::BASE
    },
];

pub const HANDLERS: &[(&str, Handler)] = &[("time", time), ("shutdown", shutdown), ("lolwut", lolwut)];

fn time(session: &mut Session, _: &[&[u8]], held: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let now = match held {
        Some(held) => held.time(),
        None => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
    };
    session.out.array(2);
    session.out.bulk_integer(now.as_secs() as i64);
    session.out.bulk_integer(i64::from(now.subsec_micros()));
    WRITTEN
}

fn shutdown(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let given = |word: &str| args[1..].iter().any(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
    let [save, nosave, now, force, abort] = ["SAVE", "NOSAVE", "NOW", "FORCE", "ABORT"].map(given);
    let words: &[&[u8]] = &[b"save", b"nosave", b"now", b"force", b"abort"];
    let unknown = args[1..].iter().any(|arg| !words.contains(&arg.to_ascii_lowercase().as_slice()));
    if unknown || save && nosave || abort && (save || nosave || now || force) {
        return Err(CommandError::Syntax);
    }
    let server = &session.server;
    if abort {
        if !server.is_ending.load(Ordering::Relaxed) {
            return Err(CommandError::text("ERR No shutdown in progress."));
        }
        log!(Level::Notice, "Shutdown manually aborted.");
        server.replicas.end_called_off.store(true, Ordering::Release);
        server.node.snapshots.abort("SHUTDOWN ABORT");
        return Ok(Flow::Reply(Reply::Ok));
    }
    let (id, address) = (session.client.id, session.client.address());
    log!(Level::Warning, "User requested shutdown by id={id} addr={address}");
    // Half of the data must not take the place of all of them.
    let is_loading = server.is_loading.load(Ordering::Relaxed);
    let saves = !is_loading && (save || !nosave && !server.settings().save.0.is_empty());
    let waits = !now && server.node.replication().served.count() > 0;
    if saves || waits || server.node.log.is_beginning() && !force {
        let client = Some((session.client.clone(), session.who.resp3));
        let request = EndRequest { save: Some(saves), force, now, client, by_signal: false };
        // At once, for an ABORT that comes right behind it.
        server.note_end_request();
        if server.end_requests.send(request).is_ok() {
            // Answered when the node goes on after all.
            return Ok(Flow::Wait { until_ms: None, reply: Reply::Ok });
        }
    }
    session.client.end(End::AfterReply);
    session.server.shut_down();
    Ok(Flow::Close)
}

/// A row of runners, each on its way to hand a baton over; the version below, as tools expect it.
fn lolwut(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    const WIDTH_MAX: i64 = 200;
    let mut rest = &args[1..];
    if let [word, _, after @ ..] = rest
        && word.eq_ignore_ascii_case(b"VERSION")
    {
        rest = after;
    }
    let width = match rest.first() {
        Some(width) => parse_i64(width).ok_or(CommandError::NotInteger)?.clamp(20, WIDTH_MAX),
        None => 66,
    } as usize;
    let mut text = String::new();
    let runners = (width / 11).max(1);
    for line in [" o        ", "/|\\--     ", "/ \\       "] {
        for _ in 0..runners {
            text.push_str(line);
            text.push(' ');
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "{}\nBaton ver. {}\nRedis ver. {REDIS_VERSION}\n",
        "=".repeat(width),
        env!("CARGO_PKG_VERSION")
    );
    session.out.verbatim("txt", text.as_bytes());
    WRITTEN
}
