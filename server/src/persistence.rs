//! When snapshots are written and the log is rewritten, and what became of that.

use crate::client::{Client, Post};
use crate::config::{RdbTarget, Settings};
use crate::log;
use crate::logging::Level;
use crate::server::Server;
use baton::held::Held;
use baton::journal::Health;
use baton::persist::log::{RewriteError, RewriteOptions};
use baton::persist::log_dir::LogDir;
use baton::persist::open::{OpenOptions, Source};
use baton::snapshot::{SnapshotError, SnapshotOptions, Written};
use baton_engine::aof::read::Position;
use baton_engine::error::CommandError;
use baton_engine::rdb::Version;
use baton_engine::rdb::save::SaveOptions;
use baton_engine::reply::{Out, Reply};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// After a snapshot that failed, the next one by a save point waits so long.
const RETRY_S: i64 = 5;

/// What INFO tells of the snapshots of this node.
#[derive(Debug)]
pub struct Snapshots {
    /// Unix time of the last one that succeeded; of the start if none has.
    pub last_save_s: AtomicI64,
    /// How many changes had been made when it was taken.
    pub saved_changes: AtomicU64,
    /// The last one succeeded.
    pub last_ok: AtomicBool,
    /// Why the last one failed, if it did.
    last_error: Mutex<Option<SnapshotError>>,
    /// When the last one began.
    pub last_try_s: AtomicI64,
    /// How long it took; -1 before the first.
    pub last_took_s: AtomicI64,
    /// How many have succeeded.
    pub saves: AtomicU64,
    /// BGSAVE SCHEDULE: as soon as nothing else is being written.
    pub scheduled: AtomicBool,
    /// The connection that waits in SAVE, and whether it speaks RESP3.
    waiting: Mutex<Option<(Arc<Client>, bool)>>,
}

impl Snapshots {
    pub fn new(now_s: i64) -> Self {
        Self {
            last_save_s: AtomicI64::new(now_s),
            saved_changes: AtomicU64::new(0),
            last_ok: AtomicBool::new(true),
            last_error: Mutex::default(),
            last_try_s: AtomicI64::new(0),
            last_took_s: AtomicI64::new(-1),
            saves: AtomicU64::new(0),
            scheduled: AtomicBool::new(false),
            waiting: Mutex::default(),
        }
    }
}

/// What INFO tells of the rewrites of the log.
#[derive(Debug)]
pub struct Rewrites {
    /// BGREWRITEAOF during a snapshot: as soon as that is over.
    pub scheduled: AtomicBool,
    /// The last one succeeded.
    pub last_ok: AtomicBool,
    /// When the last one began.
    last_try_s: AtomicI64,
    /// How long it took; -1 before the first.
    pub last_took_s: AtomicI64,
    /// How many have succeeded.
    pub count: AtomicU64,
    /// How many have failed since one succeeded.
    pub failures: AtomicU64,
}

impl Default for Rewrites {
    fn default() -> Self {
        Self {
            scheduled: AtomicBool::new(false),
            last_ok: AtomicBool::new(true),
            last_try_s: AtomicI64::new(0),
            last_took_s: AtomicI64::new(-1),
            count: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }
}

/// Where the snapshot is, in the working directory.
pub fn snapshot_path(settings: &Settings) -> PathBuf {
    let name = settings.dbfilename.lossy();
    std::env::current_dir().unwrap_or_default().join(name.as_ref() as &str)
}

/// How snapshots are encoded.
pub fn save_options(settings: &Settings) -> SaveOptions {
    let target = match settings.rdb_target {
        RdbTarget::V10 => Version::V10,
        RdbTarget::V11 => Version::V11,
        RdbTarget::V12 => Version::V12,
        RdbTarget::Valkey80 => Version::Valkey80,
    };
    SaveOptions { target, compress: settings.rdbcompression }
}

/// Begins to write a snapshot.
///
/// # Errors
/// One is being written, or no thread can be had.
pub fn begin(server: &Arc<Server>) -> Result<(), SnapshotError> {
    begin_with(server, |_| ())
}

fn begin_with(
    server: &Arc<Server>,
    at_point: impl FnOnce(&mut Held<'_>) + Send + 'static,
) -> Result<(), SnapshotError> {
    let settings = server.settings();
    let options = SnapshotOptions {
        path: snapshot_path(&settings),
        save: save_options(&settings),
        checksum: settings.rdbchecksum,
        incremental_sync: settings.rdb_save_incremental_fsync,
        aux: vec![("aof-base", "0".to_owned())],
        delay: Duration::from_micros(settings.rdb_key_save_delay.max(0) as u64),
    };
    let name = settings.dbfilename.lossy().into_owned();
    let own = server.clone();
    let ended = move |result: Result<(Written, ()), SnapshotError>| {
        ended(&own, &name, result.map(|(written, ())| written))
    };
    server.node.begin_snapshot(options, at_point, ended)?;
    server.snapshots.last_try_s.store(server.node.now_ms() / 1_000, Ordering::Relaxed);
    server.snapshots.scheduled.store(false, Ordering::Relaxed);
    log!(Level::Notice, "Background saving started");
    Ok(())
}

/// Begins to write a snapshot, and answers the client when it has ended.
///
/// # Errors
/// As [`begin`].
pub fn save_for(server: &Arc<Server>, client: Arc<Client>, resp3: bool) -> Result<(), SnapshotError> {
    // Under the lock of the one place: the end of the snapshot finds the client there.
    let mut waiting = server.snapshots.waiting.lock();
    begin(server)?;
    *waiting = Some((client, resp3));
    Ok(())
}

/// Whether the log is being rewritten.
pub fn is_rewriting(server: &Server) -> bool {
    server.node.log.is_rewriting()
}

/// Begins to rewrite the log, or turns it on.
///
/// # Errors
/// A snapshot or a rewrite is on its way, or the files cannot be made.
pub fn begin_rewrite(server: &Arc<Server>, on: bool) -> Result<(), RewriteError> {
    let settings = server.settings();
    let options = RewriteOptions {
        dir: log_dir(&settings),
        name: settings.appendfilename.to_vec(),
        save: save_options(&settings),
        checksum: settings.rdbchecksum,
        incremental_sync: settings.aof_rewrite_incremental_fsync,
        keep_history: settings.aof_disable_auto_gc,
        delay: Duration::from_micros(settings.rdb_key_save_delay.max(0) as u64),
        on,
    };
    let figures = &server.rewrites;
    figures.scheduled.store(false, Ordering::Relaxed);
    figures.last_try_s.store(server.node.now_ms() / 1_000, Ordering::Relaxed);
    let own = server.clone();
    server.node.journal().suspend_syncs(settings.no_appendfsync_on_rewrite);
    let begun = server.node.rewrite_log(&options, move |result| rewrite_ended(&own, result));
    if let Err(error) = begun {
        server.node.journal().suspend_syncs(false);
        return Err(error);
    }
    log!(Level::Notice, "Background append only file rewriting started");
    Ok(())
}

fn rewrite_ended(server: &Arc<Server>, result: Result<Written, RewriteError>) {
    let figures = &server.rewrites;
    server.node.journal().suspend_syncs(false);
    match result {
        Ok(written) => {
            figures.last_ok.store(true, Ordering::Relaxed);
            figures.failures.store(0, Ordering::Relaxed);
            figures.count.fetch_add(1, Ordering::Relaxed);
            figures.last_took_s.store(written.took.as_secs() as i64, Ordering::Relaxed);
            log!(
                Level::Notice,
                "Background AOF rewrite finished successfully: {} keys, {} bytes, {:.3} seconds, all cores held for {} us",
                written.keys,
                written.bytes,
                written.took.as_secs_f64(),
                written.held.as_micros()
            );
        }
        Err(error) => {
            figures.last_ok.store(false, Ordering::Relaxed);
            figures.failures.fetch_add(1, Ordering::Relaxed);
            log!(Level::Warning, "Background AOF rewrite error: {error}");
        }
    }
}

/// Where the log is.
fn log_dir(settings: &Settings) -> PathBuf {
    std::env::current_dir().unwrap_or_default().join(settings.appenddirname.path())
}

/// `CONFIG SET appendonly`, once it is in force.
pub fn turn_log(server: &Arc<Server>) {
    let on = server.settings().appendonly;
    let has_file = server.node.journal().has_file();
    if on && !has_file {
        if let Err(error) = begin_rewrite(server, true) {
            // The chores try again.
            log!(Level::Warning, "The log cannot be turned on yet: {error}");
        }
    } else if !on && has_file {
        if is_rewriting(server) {
            server.node.snapshots.abort("the log was turned off");
        }
        // It takes all batons, and syncs: neither is for a core, which may hold batons for a transaction.
        let node = server.node.clone();
        let close = move || {
            if let Some(why) = node.close_log() {
                log!(Level::Warning, "The end of the log could not be written: {why}");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("log-off".to_owned()).spawn(close) {
            log!(Level::Warning, "The log cannot be turned off: {error}");
        }
    }
}

/// How much the log has grown since it was opened or last rewritten: bytes now, and then.
pub fn log_growth(server: &Server) -> (u64, u64) {
    let file = server.node.journal().figures().file_bytes;
    (server.node.log.closed_bytes() + file, server.node.log.base_bytes())
}

/// Whether the log should be rewritten now: as asked for, because it has grown, because it is not there although it
/// should be, or because it cannot be trusted any more.
fn rewrite_is_due(server: &Server) -> bool {
    let (settings, journal, figures) = (server.settings(), server.node.journal(), &server.rewrites);
    if figures.scheduled.load(Ordering::Relaxed) {
        return true;
    }
    let now_s = server.node.now_ms() / 1_000;
    let pause = if figures.failures.load(Ordering::Relaxed) > 0 { RETRY_S } else { 0 };
    if !settings.appendonly || now_s - figures.last_try_s.load(Ordering::Relaxed) < pause {
        return false;
    }
    if !journal.has_file() || matches!(journal.health(), Health::Distrusted(_)) {
        return true;
    }
    let (bytes, base) = log_growth(server);
    let percentage = u64::from(settings.auto_aof_rewrite_percentage);
    if percentage == 0 || bytes <= settings.auto_aof_rewrite_min_size {
        return false;
    }
    let growth = bytes.saturating_sub(base) * 100 / base.max(1);
    if growth >= percentage {
        log!(Level::Notice, "Starting automatic rewriting of AOF on {growth}% growth");
    }
    growth >= percentage
}

fn ended(server: &Arc<Server>, name: &str, result: Result<Written, SnapshotError>) {
    let figures = &server.snapshots;
    if let Some((client, resp3)) = figures.waiting.lock().take() {
        let mut out = Out::new(resp3);
        match &result {
            Ok(_) => out.reply(&Reply::Ok),
            Err(error) => out.error(&CommandError::owned(format!("ERR {error}"))),
        }
        client.mailbox.put(Post::Answer(out.into_bytes()));
    }
    match result {
        Ok(written) => {
            figures.last_save_s.store(server.node.now_ms() / 1_000, Ordering::Relaxed);
            figures.saved_changes.store(written.changes, Ordering::Relaxed);
            figures.last_took_s.store(written.took.as_secs() as i64, Ordering::Relaxed);
            figures.saves.fetch_add(1, Ordering::Relaxed);
            figures.last_ok.store(true, Ordering::Relaxed);
            *figures.last_error.lock() = None;
            log!(
                Level::Notice,
                "DB saved on disk: {} keys, {} bytes in {name}, RDB version {}, {:.3} seconds, all cores held for {} us",
                written.keys,
                written.bytes,
                written.version.number(),
                written.took.as_secs_f64(),
                written.held.as_micros()
            );
            log!(Level::Notice, "Background saving terminated with success");
        }
        Err(error) => {
            // One that was called off says nothing about the disk.
            let aborted = matches!(error, SnapshotError::Aborted(_));
            figures.last_ok.store(aborted && figures.last_ok.load(Ordering::Relaxed), Ordering::Relaxed);
            log!(Level::Warning, "Background saving error: {error}");
            *figures.last_error.lock() = Some(error);
        }
    }
}

/// Writes the snapshot with which the node ends. Nothing can change after the moment that it shows, unless it fails:
/// then the node goes on.
///
/// # Errors
/// It could not be written.
pub async fn save_at_end(server: &Arc<Server>) -> Result<(), SnapshotError> {
    log!(Level::Notice, "Saving the final RDB snapshot before exiting.");
    let mut ended = server.node.snapshots.watch();
    if server.node.snapshots.current().is_some() {
        log!(Level::Warning, "There is a snapshot on its way: it is called off");
        server.node.snapshots.abort("the node ends");
    }
    loop {
        ended.mark_unchanged();
        match begin_with(server, |held| held.states().for_each(|state| state.sealed = true)) {
            Ok(()) => break,
            // The one that was called off.
            Err(SnapshotError::Busy) => drop(ended.changed().await),
            Err(error) => return Err(error),
        }
    }
    // The sender lives in the node.
    drop(ended.changed().await);
    let failed = server.snapshots.last_error.lock().take();
    match failed {
        None => Ok(()),
        Some(error) => {
            server.node.hold_all().states().for_each(|state| state.sealed = false);
            Err(error)
        }
    }
}

/// What a core looks after once in a while: save points, what is scheduled.
pub fn chores(server: &Arc<Server>) {
    if server.node.snapshots.current().is_some() {
        return;
    }
    if rewrite_is_due(server) {
        let on = server.settings().appendonly;
        if let Err(error) = begin_rewrite(server, on) {
            server.rewrites.failures.fetch_add(1, Ordering::Relaxed);
            log!(Level::Warning, "Can't rewrite append only file in background: {error}");
        }
    } else if server.snapshots.scheduled.load(Ordering::Relaxed) || is_due(server) {
        if let Err(error) = begin(server) {
            log!(Level::Warning, "Can't save in background: {error}");
        }
    }
}

/// Whether a save point is reached.
fn is_due(server: &Server) -> bool {
    let settings = server.settings();
    if settings.save.0.is_empty() {
        return false;
    }
    let figures = &server.snapshots;
    let changes = server.changes().saturating_sub(figures.saved_changes.load(Ordering::Relaxed));
    let now_s = server.node.now_ms() / 1_000;
    let since = now_s - figures.last_save_s.load(Ordering::Relaxed);
    let reached =
        settings.save.0.iter().find(|point| changes >= point.changes as u64 && since > point.seconds as i64);
    let Some(point) = reached else { return false };
    let may = figures.last_ok.load(Ordering::Relaxed)
        || now_s - figures.last_try_s.load(Ordering::Relaxed) > RETRY_S;
    if may {
        log!(Level::Notice, "{} changes in {} seconds. Saving...", point.changes, point.seconds);
    }
    may
}

/// Opens what is on disk, before anything else is served.
///
/// # Errors
/// It cannot be opened: the node must not start.
pub fn open(server: &Arc<Server>) -> Result<(), String> {
    let settings = server.settings();
    let options = OpenOptions {
        snapshot: snapshot_path(&settings),
        log_dir: log_dir(&settings),
        log_name: settings.appendfilename.to_vec(),
        appendonly: settings.appendonly,
        load_truncated: settings.aof_load_truncated,
        verify: settings.rdbchecksum,
    };
    let start = std::time::Instant::now();
    let opened = baton::persist::open::open(&server.node, &options, &server.load)
        .map_err(|error| error.to_string())?;
    for note in &opened.notes {
        log!(Level::Notice, "{note}");
    }
    let seconds = start.elapsed().as_secs_f64();
    match opened.source {
        Source::Nothing => {}
        Source::Snapshot => log!(Level::Notice, "DB loaded from disk: {seconds:.3} seconds"),
        Source::Log => log!(Level::Notice, "DB loaded from append only file: {seconds:.3} seconds"),
    }
    // What was loaded is on disk already.
    server.snapshots.saved_changes.store(server.changes(), Ordering::Relaxed);
    if settings.appendonly {
        begin_log(server, opened.log)?;
    }
    server.is_loading.store(false, Ordering::Release);
    server.loaded.notify_one();
    Ok(())
}

/// Goes on with the log, or begins one with what has been loaded: nobody is served before it is there.
fn begin_log(server: &Arc<Server>, log: Option<(LogDir, Position)>) -> Result<(), String> {
    if let Some((dir, position)) = log {
        return server.node.resume_log(dir, position).map_err(|error| error.to_string());
    }
    let mut ended = server.node.snapshots.watch();
    ended.mark_unchanged();
    begin_rewrite(server, true).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    // The sender lives in the node.
    drop(runtime.map_err(|error| error.to_string())?.block_on(ended.changed()));
    if server.rewrites.last_ok.load(Ordering::Relaxed) {
        return Ok(());
    }
    Err("The append only file cannot be begun: see above".to_owned())
}

/// `stop-writes-on-bgsave-error`: whether writes are refused because the last snapshot failed.
pub fn stops_writes(server: &Server) -> bool {
    if server.snapshots.last_ok.load(Ordering::Relaxed) {
        return false;
    }
    let settings = server.settings();
    settings.stop_writes_on_bgsave_error && !settings.save.0.is_empty()
}

/// The refusal of a write after a snapshot failed.
pub const STOPPED: CommandError = CommandError::text(
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that may \
     modify the data set are disabled, because this instance is configured to report errors during writes if RDB \
     snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB error.",
);
