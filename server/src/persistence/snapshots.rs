//! Snapshots: SAVE, BGSAVE, save points, the last one before the end.

use super::{RETRY_S, save_options, snapshot_path};
use crate::client::{Client, Post};
use crate::log;
use crate::logging::Level;
use crate::replication;
use crate::server::Server;
use baton::held::Held;
use baton::snapshot::{SnapshotError, SnapshotOptions, Written};
use baton_engine::error::CommandError;
use baton_engine::rdb::save::SaveOptions;
use baton_engine::reply::{Out, Reply};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

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

/// Begins to write a snapshot.
///
/// # Errors
/// One is being written, or no thread can be had.
pub fn begin(server: &Arc<Server>) -> Result<(), SnapshotError> {
    begin_with(server, |_| ()).map(drop)
}

/// As [`begin`]; the number of the snapshot, for who waits for its end.
pub(super) fn begin_with(
    server: &Arc<Server>,
    at_point: impl FnOnce(&mut Held<'_>) + Send + 'static,
) -> Result<u64, SnapshotError> {
    begin_as(server, save_options(&server.settings()), at_point)
}

/// Begins to write a snapshot that is sent to replicas when it is whole; `at_point` decides at its moment to whom. Its number.
///
/// # Errors
/// As [`begin`].
pub fn begin_for_replicas(
    server: &Arc<Server>,
    save: SaveOptions,
    at_point: impl FnOnce(&mut Held<'_>) + Send + 'static,
) -> Result<u64, SnapshotError> {
    begin_as(server, save, at_point)
}

fn begin_as(
    server: &Arc<Server>,
    save: SaveOptions,
    at_point: impl FnOnce(&mut Held<'_>) + Send + 'static,
) -> Result<u64, SnapshotError> {
    let settings = server.settings();
    let options = SnapshotOptions {
        path: snapshot_path(&settings),
        save,
        checksum: settings.rdbchecksum,
        incremental_sync: settings.rdb_save_incremental_fsync,
        aux: vec![("aof-base", "0".to_owned())],
        delay: Duration::from_micros(settings.rdb_key_save_delay.max(0) as u64),
    };
    let name = settings.dbfilename.lossy().into_owned();
    let (own, path) = (server.clone(), options.path.clone());
    let ended = move |result: Result<(Written, ()), SnapshotError>| {
        replication::file_is_over(&own, &path, result.is_ok());
        ended(&own, &name, result.map(|(written, ())| written))
    };
    let number = server.node.begin_snapshot(options, at_point, ended)?.number();
    server.snapshots.last_try_s.store(server.node.now_ms() / 1_000, Ordering::Relaxed);
    server.snapshots.scheduled.store(false, Ordering::Relaxed);
    log!(Level::Notice, "Background saving started");
    Ok(number)
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

fn ended(server: &Arc<Server>, name: &str, result: Result<Written, SnapshotError>) {
    let figures = &server.snapshots;
    let waiting = figures.waiting.lock().take().map(|(client, resp3)| {
        let mut out = Out::new(resp3);
        match &result {
            Ok(_) => out.reply(&Reply::Ok),
            Err(error) => out.error(&CommandError::owned(format!("ERR {error}"))),
        }
        (client, out.into_bytes())
    });
    match result {
        Ok(written) => {
            server.node.latency.note_now("fork", Some(written.held));
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
            let aborted = matches!(error, SnapshotError::Aborted(_) | SnapshotError::NobodyLeft);
            figures.last_ok.store(aborted && figures.last_ok.load(Ordering::Relaxed), Ordering::Relaxed);
            log!(Level::Warning, "Background saving error: {error}");
            *figures.last_error.lock() = Some(error);
        }
    }
    // Who has the answer may write at once: by then the figures must say that writes are allowed again.
    if let Some((client, answer)) = waiting {
        client.mailbox.put(Post::Answer(answer));
    }
}

/// Writes the snapshot with which the node ends. Nothing can change after the moment that it shows, unless it fails:
/// then the node goes on.
///
/// # Errors
/// It could not be written.
pub async fn save_at_end(server: &Arc<Server>) -> Result<(), SnapshotError> {
    log!(Level::Notice, "Saving the final RDB snapshot before exiting.");
    let last_ok = server.snapshots.last_ok.load(Ordering::Relaxed);
    let mut ended = server.node.snapshots.watch();
    if server.node.snapshots.current().is_some() {
        log!(Level::Warning, "There is a snapshot on its way: it is called off");
        server.node.snapshots.abort("the node ends");
    }
    let number = loop {
        ended.mark_unchanged();
        match begin_with(server, |held| held.states().for_each(|state| state.sealed = true)) {
            Ok(number) => break number,
            // The one that was called off.
            Err(SnapshotError::Busy) => drop(ended.changed().await),
            Err(error) => return Err(error),
        }
    };
    // The sender lives in the node.
    drop(ended.wait_for(|ended| *ended >= number).await);
    let failed = server.snapshots.last_error.lock().take();
    match failed {
        None => Ok(()),
        Some(error) => {
            server.node.hold_all().states().for_each(|state| state.sealed = false);
            // It goes on as it was: only whoever wanted the end has failed.
            server.snapshots.last_ok.store(last_ok, Ordering::Relaxed);
            Err(error)
        }
    }
}

/// FLUSHALL: a snapshot with the data that are gone is called off, and if there are save points an empty one follows.
pub fn flushed(server: &Server) {
    if server.node.snapshots.current().is_some() && !server.node.log.is_rewriting() {
        server.node.snapshots.abort("FLUSHALL");
    }
    if !server.settings().save.0.is_empty() {
        server.snapshots.scheduled.store(true, Ordering::Relaxed);
    }
}

/// Calls off what is being written, and waits until that is so: nothing half done stays behind. False when it cannot be had.
pub fn call_off(server: &Server, why: &'static str) -> bool {
    /// The disk may hang: then it stays, and the next start does not mind.
    const WAIT: Duration = Duration::from_secs(5);
    let start = Instant::now();
    if server.node.snapshots.current().is_some() {
        log!(Level::Warning, "There is a snapshot or a rewrite on its way: it is called off");
        server.node.snapshots.abort(why);
    }
    let is_busy = || server.node.snapshots.current().is_some() || server.node.log.is_rewriting();
    while is_busy() && start.elapsed() < WAIT {
        std::thread::sleep(Duration::from_millis(2));
    }
    !is_busy()
}

/// Whether a save point is reached.
pub(super) fn is_due(server: &Server) -> bool {
    let settings = server.settings();
    if settings.save.0.is_empty() {
        return false;
    }
    let figures = &server.snapshots;
    let changes = server.changes().saturating_sub(figures.saved_changes.load(Ordering::Relaxed));
    let now_s = server.node.now_ms() / 1_000;
    let since = now_s - figures.last_save_s.load(Ordering::Relaxed);
    let reached =
        settings.save.0.iter().find(|point| changes >= point.changes as u64 && since > point.seconds);
    let Some(point) = reached else { return false };
    let may = figures.last_ok.load(Ordering::Relaxed)
        || now_s - figures.last_try_s.load(Ordering::Relaxed) > RETRY_S;
    if may {
        log!(Level::Notice, "{} changes in {} seconds. Saving...", point.changes, point.seconds);
    }
    may
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
