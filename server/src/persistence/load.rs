//! What is on disk, into the node: at the start, and when DEBUG RELOAD asks for it.

use super::{begin_rewrite, log_dir, snapshot_path};
use crate::client::{Client, Post};
use crate::config::{RdbVersionCheck, Settings};
use crate::log;
use crate::logging::Level;
use crate::replica;
use crate::server::Server;
use baton::persist::load::Onto;
use baton::persist::log_dir::LogDir;
use baton::persist::open::{self, OpenOptions, Opened, Source};
use baton::persist::restore;
use baton::replication::random_id;
use baton_engine::aof::read::Position;
use baton_engine::error::CommandError;
use baton_engine::reply::{Out, Reply};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Opens what is on disk, before anything else is served.
///
/// # Errors
/// It cannot be opened: the node must not start.
pub fn open_all(server: &Arc<Server>) -> Result<(), String> {
    let settings = server.settings();
    let options = options(&settings);
    let start = Instant::now();
    let opened = open::open(&server.node, &options, &server.load).map_err(|error| error.to_string())?;
    tell(server, &opened, start.elapsed());
    match opened.moment {
        Some(moment) if settings.replicaof.0.is_none() => {
            server.node.resume_history(moment, random_id(), settings.repl_backlog_size);
            log!(Level::Notice, "Replicas of history {} may go on at offset {}", moment.id, moment.offset);
        }
        Some(moment) => {
            server.node.resume_following(moment, settings.repl_backlog_size);
            server.replica.may_resume.store(true, Ordering::Release);
        }
        None => {}
    }
    serve(server, opened.log)
}

/// Begins to serve what has been loaded.
fn serve(server: &Arc<Server>, log: Option<(LogDir, Position)>) -> Result<(), String> {
    // What was loaded is on disk already.
    server.snapshots.saved_changes.store(server.changes(), Ordering::Relaxed);
    if server.settings().appendonly {
        begin_log(server, log)?;
    }
    replica::begin(server, || {
        server.is_loading.store(false, Ordering::Release);
        server.loads.send_modify(|count| *count += 1);
    })
}

/// Opens the log as it was at a second of the past, and goes on in a directory of its own, so that the original stays.
///
/// # Errors
/// It cannot be opened, or there are files in that directory: the node must not start.
pub fn restore_to(server: &Arc<Server>, second: i64) -> Result<(), String> {
    let settings = server.settings();
    if !settings.appendonly {
        return Err("--restore-to goes back in the append only file: it needs 'appendonly yes'".to_owned());
    }
    let dir = std::env::current_dir().unwrap_or_default().join(format!("restored-{second}"));
    let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
    let is_empty = match std::fs::read_dir(&dir) {
        Ok(mut files) => files.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => return Err(failed(error)),
    };
    if !is_empty {
        return Err(format!(
            "--restore-to {second} would work in {}, which is there and not empty: start from it with '--dir' and without \
             --restore-to, or move it away",
            dir.display()
        ));
    }
    let start = Instant::now();
    let opened = restore::restore(&server.node, &options(&settings), second, &server.load);
    tell(server, &opened.map_err(|error| error.to_string())?, start.elapsed());
    match std::fs::create_dir(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    server.config.work_in(&dir).map_err(|why| format!("{}: {why}", dir.display()))?;
    log!(
        Level::Notice,
        "The data of second {second} are served and kept in {}; the original files stay as they are",
        dir.display()
    );
    serve(server, None)
}

/// Goes on with the log, or begins one with what has been loaded: nobody is served before it is there.
fn begin_log(server: &Arc<Server>, log: Option<(LogDir, Position)>) -> Result<(), String> {
    if let Some((dir, position)) = log {
        return server.node.resume_log(dir, position).map_err(|error| error.to_string());
    }
    let mut ended = server.node.snapshots.watch();
    // There was none before it.
    begin_rewrite(server, true).map_err(|error| error.to_string())?;
    wait(&mut ended, 1)?;
    if server.rewrites.last_ok.load(Ordering::Relaxed) {
        return Ok(());
    }
    Err("The append only file cannot be begun: see above".to_owned())
}

/// Waits for the end of the snapshot of this number, on a thread that may wait.
fn wait(ended: &mut watch::Receiver<u64>, number: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
    // The sender lives in the node.
    drop(runtime.block_on(ended.wait_for(|ended| *ended >= number)));
    Ok(())
}

fn options(settings: &Settings) -> OpenOptions {
    OpenOptions {
        snapshot: snapshot_path(settings),
        log_dir: log_dir(settings),
        log_name: settings.appendfilename.to_vec(),
        appendonly: settings.appendonly,
        load_truncated: settings.aof_load_truncated,
        verify: settings.rdbchecksum,
        any_version: settings.rdb_version_check == RdbVersionCheck::Relaxed,
        key_delay: Duration::from_micros(settings.key_load_delay.max(0) as u64),
    }
}

fn tell(server: &Server, opened: &Opened, took: Duration) {
    for note in &opened.notes {
        log!(Level::Notice, "{note}");
    }
    let seconds = took.as_secs_f64();
    let load = &server.load;
    let (keys, commands) = (load.keys.load(Ordering::Relaxed), load.commands.load(Ordering::Relaxed));
    let per_second = |count: u64| (count as f64 / seconds.max(1e-6)) as u64;
    match opened.source {
        Source::Nothing => {}
        Source::Snapshot => {
            let rate = per_second(keys);
            log!(
                Level::Notice,
                "DB loaded from disk: {seconds:.3} seconds, {keys} keys, {rate} keys per second"
            );
        }
        Source::Log => {
            let (rate, commands_rate) = (per_second(keys), per_second(commands));
            log!(
                Level::Notice,
                "DB loaded from append only file: {seconds:.3} seconds, {keys} keys of the base, {rate} keys per second, \
                 {commands} commands, {commands_rate} commands per second"
            );
        }
    }
}

/// From what DEBUG has the data loaded anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// A snapshot, which is written first.
    Saved,
    /// The snapshot that is there.
    Snapshot,
    /// The log.
    Log,
}

/// What DEBUG has loaded, and onto what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReloadOptions {
    pub from: Reload,
    /// All data go before it.
    pub flush: bool,
    /// Keys that are there give way to those of the snapshot.
    pub merge: bool,
}

/// Replaces all data by what is on disk, or adds to them, and answers the client when that is done. Meanwhile the node stands still.
///
/// # Errors
/// No thread can be had.
pub fn reload(
    server: &Arc<Server>,
    options: ReloadOptions,
    client: Arc<Client>,
    resp3: bool,
) -> Result<(), CommandError> {
    let own = server.clone();
    let work = move || {
        let result = {
            let _asleep = own.asleep.lock();
            own.is_asleep.store(true, Ordering::Relaxed);
            let result = save_first(&own, options.from).and_then(|()| {
                // Neither expiry nor eviction may work on half of the data.
                own.is_loading.store(true, Ordering::Release);
                let result = reload_now(&own, options);
                own.is_loading.store(false, Ordering::Release);
                result
            });
            own.is_asleep.store(false, Ordering::Relaxed);
            result
        };
        let mut out = Out::new(resp3);
        match result {
            Ok(()) => out.reply(&Reply::Ok),
            Err(why) => {
                log!(Level::Warning, "DEBUG RELOAD: {why}");
                out.error(&CommandError::text("ERR Error trying to load the RDB dump, check server logs."));
            }
        }
        client.mailbox.put(Post::Answer(out.into_bytes()));
    };
    let started = std::thread::Builder::new().name("reload".to_owned()).spawn(work);
    started.map(drop).map_err(|error| CommandError::owned(format!("ERR no thread: {error}")))
}

/// Writes what is to be loaded.
fn save_first(server: &Arc<Server>, from: Reload) -> Result<(), String> {
    if from == Reload::Saved {
        let mut ended = server.node.snapshots.watch();
        let number = super::snapshots::begin_with(server, |_| ()).map_err(|error| error.to_string())?;
        wait(&mut ended, number)?;
        if !server.snapshots.last_ok.load(Ordering::Relaxed) {
            return Err("the snapshot could not be written".to_owned());
        }
    } else if !super::call_off(server, "DEBUG") {
        return Err("a snapshot is being written".to_owned());
    }
    if from == Reload::Log && server.node.journal().has_file() {
        server.node.journal().write_and_sync()?;
    }
    Ok(())
}

fn reload_now(server: &Arc<Server>, wish: ReloadOptions) -> Result<(), String> {
    let ReloadOptions { from, flush, merge } = wish;
    let settings = server.settings();
    let databases = settings.databases as usize;
    let mut held = server.node.hold_all();
    if flush {
        held.with_keyspace(0, |keyspace| keyspace.flush(0..databases, false));
        server.node.scripts.libraries.clear();
    } else {
        let built = held.with_keyspace(0, |keyspace| keyspace.build_all());
        built.map_err(|error| error.to_string())?;
    }
    // What is loaded is in the log already.
    held.states().for_each(|state| state.shard.effects.set_listening(false));
    drop(held);
    let options = OpenOptions { appendonly: false, ..options(&settings) };
    let start = Instant::now();
    let opened = match from {
        Reload::Log => open::reread_log(&server.node, &options, &server.load),
        Reload::Saved | Reload::Snapshot if merge => {
            open::add_snapshot(&server.node, &options, Onto::Replaced, &server.load)
        }
        Reload::Saved | Reload::Snapshot if !flush => {
            open::add_snapshot(&server.node, &options, Onto::Data, &server.load)
        }
        Reload::Saved | Reload::Snapshot => open::open(&server.node, &options, &server.load),
    };
    server.node.hold_all().listen_if_wanted();
    tell(server, &opened.map_err(|error| error.to_string())?, start.elapsed());
    server.loads.send_modify(|count| *count += 1);
    Ok(())
}
