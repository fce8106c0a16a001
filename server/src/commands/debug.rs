//! DEBUG: what concerns the server. The rows, and all that looks at the data, are the engine's.

use super::{Flow, Handler, OK, WRITTEN, apply_settings};
use crate::log;
use crate::logging::Level;
use crate::persistence::{self, Reload, ReloadOptions};
use crate::session::Session;
use baton::held::Held;
use baton_engine::error::CommandError;
use baton_engine::number::{parse_f64, parse_i64};
use baton_engine::reply::Reply;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub const HANDLERS: &[(&str, Handler)] = &[
    ("debug|aof-flush-sleep", delay_log),
    ("debug|change-repl-id", change_repl_id),
    ("debug|config-rewrite-force-all", rewrite_all_settings),
    ("debug|dict-resizing", accept),
    ("debug|error", error),
    ("debug|help", help),
    ("debug|loadaof", load_log),
    ("debug|log", write_to_log),
    ("debug|pause-cron", pause_cron),
    ("debug|quicklist-packed-threshold", packed_threshold),
    ("debug|reload", reload),
    ("debug|replicate", no_replicas),
    ("debug|replybuffer", accept),
    ("debug|set-active-expire", set_active_expire),
    ("debug|set-disable-deny-scripts", no_scripts),
    ("debug|set-skip-checksum-validation", no_payloads),
    ("debug|sleep", sleep),
    ("debug|structsize", structsize),
];

/// Nothing of the kind exists here: tables are small and grow at once, reply buffers are lent.
fn accept(_: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    OK
}

fn reload(session: &mut Session, args: &[&[u8]], held: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let mut options = ReloadOptions { from: Reload::Saved, flush: true, merge: false };
    for arg in &args[2..] {
        match arg.to_ascii_uppercase().as_slice() {
            b"MERGE" => options.merge = true,
            b"NOFLUSH" => options.flush = false,
            b"NOSAVE" => options.from = Reload::Snapshot,
            _ => {
                return Err(CommandError::text(
                    "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
                ));
            }
        }
    }
    load(session, options, held)
}

fn rewrite_all_settings(
    session: &mut Session,
    _: &[&[u8]],
    _: Option<&mut Held<'_>>,
) -> Result<Flow, CommandError> {
    super::config::rewrite_file(&session.server, true)
}

fn load_log(session: &mut Session, _: &[&[u8]], held: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    if !session.server.node.log.has_files() {
        return Err(CommandError::text("ERR There is no log: appendonly was never on"));
    }
    load(session, ReloadOptions { from: Reload::Log, flush: true, merge: false }, held)
}

fn load(
    session: &Session,
    options: ReloadOptions,
    held: Option<&mut Held<'_>>,
) -> Result<Flow, CommandError> {
    if held.is_some() {
        return Err(CommandError::text("ERR Not inside of a transaction: it would see two data sets"));
    }
    persistence::reload(&session.server, options, session.client.clone(), session.who.resp3)?;
    Ok(Flow::Wait { until_ms: None, reply: Reply::Ok })
}

fn no_replicas(_: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    Err(CommandError::text("ERR DEBUG REPLICATE is not supported: write the command instead"))
}

fn change_repl_id(_: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    Err(CommandError::text(
        "ERR DEBUG CHANGE-REPL-ID is not supported: REPLICAOF NO ONE and a restart begin histories",
    ))
}

fn no_scripts(_: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    Err(CommandError::text("ERR Commands that scripts may not run stay refused here"))
}

fn no_payloads(_: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    Err(CommandError::text("ERR This build always checks checksums"))
}

fn error(_: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    Err(CommandError::owned(String::from_utf8_lossy(args[2])))
}

fn write_to_log(_: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    log!(Level::Warning, "DEBUG LOG: {}", String::from_utf8_lossy(args[2]));
    OK
}

fn delay_log(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    /// A minute: more would look like a node that hangs.
    const MICROS_MAX: i64 = 60_000_000;
    let micros = parse_i64(args[2]).unwrap_or(0).clamp(0, MICROS_MAX);
    session.server.node.journal().delay_writes(Duration::from_micros(micros as u64));
    OK
}

fn pause_cron(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    switch(&session.server.cron_paused, args[2])
}

fn set_active_expire(
    session: &mut Session,
    args: &[&[u8]],
    _: Option<&mut Held<'_>>,
) -> Result<Flow, CommandError> {
    switch(&session.server.active_expire, args[2])
}

/// As `atoi`: whatever is no number is 0.
fn switch(flag: &AtomicBool, arg: &[u8]) -> Result<Flow, CommandError> {
    flag.store(parse_i64(arg).unwrap_or(0) != 0, Ordering::Relaxed);
    OK
}

fn packed_threshold(
    session: &mut Session,
    args: &[&[u8]],
    _: Option<&mut Held<'_>>,
) -> Result<Flow, CommandError> {
    const BYTES_MAX: u64 = 1 << 32;
    let bytes = crate::config::text::memory(args[2]).filter(|bytes| *bytes < BYTES_MAX);
    let bytes = bytes.ok_or(CommandError::text("ERR argument must be a memory value"))?;
    session.server.packed_threshold.store(bytes as usize, Ordering::Relaxed);
    apply_settings(&session.server);
    OK
}

/// Stops the whole node: nobody gets a baton, and no core goes on with what it has read.
fn sleep(session: &mut Session, args: &[&[u8]], held: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    /// Nobody could end it earlier.
    const SECONDS_MAX: f64 = 3_600.0;
    let seconds = parse_f64(args[2]).unwrap_or(0.0).clamp(0.0, SECONDS_MAX);
    let server = session.server.clone();
    session.with_all(held, |_| {
        // After the batons, never before: a transaction comes with them.
        let _asleep = server.asleep.lock();
        server.is_asleep.store(true, Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs_f64(seconds));
        server.is_asleep.store(false, Ordering::Relaxed);
    });
    OK
}

fn structsize(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let sizes = [
        ("bits", usize::BITS as usize),
        ("entry", size_of::<baton_engine::keyspace::entry::Entry>()),
        ("client", size_of::<crate::client::Client>()),
        ("session", size_of::<Session>()),
    ];
    let words: Vec<String> = sizes.iter().map(|(name, size)| format!("{name}:{size}")).collect();
    session.out.status(&words.join(" "));
    WRITTEN
}

fn help(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.out.help(
        "DEBUG",
        &[
            "AOF-FLUSH-SLEEP <microseconds>",
            "    Wait so long before each write to the log.",
            "CONFIG-REWRITE-FORCE-ALL",
            "    As CONFIG REWRITE, with the settings that are at their defaults too.",
            "DICT-RESIZING <0|1>",
            "    Accepted without effect: tables are small and never stall.",
            "DIGEST",
            "    Digest all data.",
            "DIGEST-VALUE <key> [<key> ...]",
            "    Digest the values of keys.",
            "ERROR <text>",
            "    Answer with this error.",
            "HTSTATS <database> [full]",
            "    Describe the tables of a database.",
            "HTSTATS-KEY <key> [full]",
            "    Describe the table of a collection.",
            "LISTPACK <key>",
            "    Describe a value in its compact form.",
            "LOG <text>",
            "    Write this text to the log.",
            "OBJECT <key> [fast]",
            "    Describe an entry.",
            "PAUSE-CRON <0|1>",
            "    Stop the periodic work, or go on with it.",
            "POPULATE <count> [<prefix>] [<size>]",
            "    Make keys to test with.",
            "PROTOCOL <type>",
            "    Answer with a reply of this type: string, integer, double, bignum, null, array, set,",
            "    map, attrib, push, verbatim, true, false.",
            "QUICKLIST <key> [<0|1>]",
            "    Describe the nodes of a list.",
            "QUICKLIST-PACKED-THRESHOLD <size>",
            "    Give list elements from this size on a node of their own; 0 restores the default.",
            "LOADAOF",
            "    Write the log out and load it again.",
            "RELOAD [MERGE] [NOFLUSH] [NOSAVE]",
            "    Save all data and load it again. NOSAVE: load the snapshot that is there. NOFLUSH: add it to the data;",
            "    a key that is there already ends that, unless MERGE lets it give way.",
            "REPLYBUFFER (PEAK-RESET-TIME|RESIZING) <value>",
            "    Accepted without effect: reply buffers are lent by the core.",
            "SET-ACTIVE-EXPIRE <0|1>",
            "    Turn the active expiry off or on.",
            "SLEEP <seconds>",
            "    Stop the whole node for this time. Decimals are allowed.",
            "STRUCTSIZE",
            "    Tell the sizes of structures.",
        ],
    );
    WRITTEN
}
