//! The log: turned on and off, and rewritten.

use super::{RETRY_S, log_dir, save_options};
use crate::log;
use crate::logging::Level;
use crate::server::Server;
use baton::journal::Health;
use baton::persist::log::{RewriteError, RewriteOptions};
use baton::snapshot::Written;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// What INFO tells of the rewrites of the log.
#[derive(Debug)]
pub struct Rewrites {
    /// BGREWRITEAOF during a snapshot: as soon as that is over.
    pub scheduled: AtomicBool,
    /// The last one succeeded.
    pub last_ok: AtomicBool,
    /// When the last one began.
    pub(super) last_try_s: AtomicI64,
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
        preamble: settings.aof_use_rdb_preamble,
        timestamps: settings.aof_timestamp_enabled,
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
pub(super) fn is_due(server: &Server) -> bool {
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
