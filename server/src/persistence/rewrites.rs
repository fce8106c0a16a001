//! The log: turned on and off, and rewritten.

use super::{RETRY_S, log_dir, save_options};
use crate::log;
use crate::logging::Level;
use crate::server::Server;
use baton::journal::Health;
use baton::persist::log::{RewriteError, RewriteOptions};
use baton::snapshot::Written;
use parking_lot::Mutex;
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
    /// After several of those.
    limit: Mutex<Limit>,
}

/// Each rewrite that fails leaves an increment behind: after several the next ones wait, longer and longer.
#[derive(Debug, Default)]
struct Limit {
    /// How long the last wait was.
    minutes: i64,
    /// Its end, Unix time; 0: nothing waits.
    until_s: i64,
}

/// Failures in a row that do not make the next rewrite wait for minutes.
const FAILURES_MAX: u64 = 3;
/// The longest wait.
const WAIT_MAX_MIN: i64 = 60;

impl Rewrites {
    /// Whether one that could begin now has to wait, because too many have failed.
    fn is_limited(&self, now_s: i64) -> bool {
        let mut limit = self.limit.lock();
        if self.failures.load(Ordering::Relaxed) < FAILURES_MAX {
            *limit = Limit::default();
            return false;
        }
        if limit.until_s != 0 {
            let waits = now_s < limit.until_s;
            if !waits {
                limit.until_s = 0;
            }
            return waits;
        }
        limit.minutes = (limit.minutes * 2).clamp(1, WAIT_MAX_MIN);
        limit.until_s = now_s + limit.minutes * 60;
        log!(
            Level::Warning,
            "Background AOF rewrite has repeatedly failed and triggered the limit, will retry in {} minutes",
            limit.minutes
        );
        true
    }
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
            limit: Mutex::default(),
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
    figures.last_try_s.store(server.node.now_ms() / 1_000, Ordering::Relaxed);
    let own = server.clone();
    server.node.journal().suspend_syncs(settings.no_appendfsync_on_rewrite);
    let begun = server.node.rewrite_log(&options, move |result| rewrite_ended(&own, result));
    // Only now: who looks sees one that is to come, or one on its way.
    figures.scheduled.store(false, Ordering::Relaxed);
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
            server.node.latency.note_now("fork", Some(written.held));
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
    // Whoever waits for a log that has just begun to count.
    server.wake_blocked();
}

/// `CONFIG SET appendonly`, once it is in force.
pub fn turn_log(server: &Arc<Server>) {
    let on = server.settings().appendonly;
    let has_file = server.node.journal().has_file();
    if on && !has_file {
        if let Err(error) = begin_rewrite(server, true) {
            // The chores try again.
            server.rewrites.scheduled.store(true, Ordering::Relaxed);
            log!(Level::Warning, "The log cannot be turned on yet: {error}");
        }
    } else if !on {
        // Whoever waits for it to be synced.
        server.wake_blocked();
        server.rewrites.scheduled.store(false, Ordering::Relaxed);
        if is_rewriting(server) {
            log!(
                Level::Notice,
                "The log is turned off: its rewrite is called off (Redis says: Killing AOF child)"
            );
            server.node.snapshots.abort("the log was turned off");
        }
        if !has_file {
            return;
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

/// `CONFIG SET aof-disable-auto-gc`, once it is in force: what was kept while it was on goes.
pub fn remove_history(server: &Arc<Server>) {
    if !server.settings().aof_disable_auto_gc
        && let Err(error) = server.node.remove_log_history()
    {
        log!(Level::Warning, "Old files of the log cannot be removed: {error}");
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
    let now_s = server.node.now_ms() / 1_000;
    if figures.scheduled.load(Ordering::Relaxed) {
        return !figures.is_limited(now_s);
    }
    let pause = if figures.failures.load(Ordering::Relaxed) > 0 { RETRY_S } else { 0 };
    if !settings.appendonly || now_s - figures.last_try_s.load(Ordering::Relaxed) < pause {
        return false;
    }
    // Nobody can write before there is a new one.
    if matches!(journal.health(), Health::Distrusted(_)) {
        return true;
    }
    if !journal.has_file() {
        return !figures.is_limited(now_s);
    }
    let (bytes, base) = log_growth(server);
    let percentage = u64::from(settings.auto_aof_rewrite_percentage);
    if percentage == 0 || bytes <= settings.auto_aof_rewrite_min_size {
        return false;
    }
    let growth = bytes.saturating_sub(base) * 100 / base.max(1);
    let begins = growth >= percentage && !figures.is_limited(now_s);
    if begins {
        log!(Level::Notice, "Starting automatic rewriting of AOF on {growth}% growth");
    }
    begins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewrites_that_fail_again_and_again_wait_longer_and_longer() {
        let figures = Rewrites::default();
        assert!(!figures.is_limited(1_000));
        figures.failures.store(FAILURES_MAX, Ordering::Relaxed);
        let (mut now_s, mut waits) = (1_000, Vec::new());
        for _ in 0..8 {
            assert!(figures.is_limited(now_s), "a wait begins");
            let begin = now_s;
            while figures.is_limited(now_s) {
                now_s += 60;
            }
            waits.push((now_s - begin) / 60);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        figures.failures.store(0, Ordering::Relaxed);
        assert!(!figures.is_limited(now_s));
        figures.failures.store(FAILURES_MAX, Ordering::Relaxed);
        assert!(figures.is_limited(now_s) && !figures.is_limited(now_s + 60), "from the beginning");
    }
}
