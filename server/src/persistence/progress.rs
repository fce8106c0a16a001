//! Lines in the log about what takes long: loading every 2 seconds, snapshots and rewrites every 10.

use super::is_rewriting;
use crate::commands::info::human;
use crate::log;
use crate::logging::Level;
use crate::server::Server;
use std::sync::atomic::{AtomicI64, Ordering};

const LOADING_MS: i64 = 2_000;
const SAVING_MS: i64 = 10_000;

/// When the last line was written, Unix ms.
#[derive(Debug, Default)]
pub struct Told(AtomicI64);

impl Told {
    /// Whether the next line is due about something that goes on since `started_ms`; if so, it counts as written.
    fn is_due(&self, now_ms: i64, started_ms: i64, interval_ms: i64) -> bool {
        let last = self.0.load(Ordering::Relaxed).max(started_ms);
        let due = now_ms - last >= interval_ms;
        if due {
            self.0.store(now_ms, Ordering::Relaxed);
        }
        due
    }
}

/// What one core looks after, some times a second.
pub fn tell_progress(server: &Server) {
    let started_ms = server.load.started_ms.load(Ordering::Relaxed);
    if started_ms != 0 {
        tell_loading(server, started_ms);
    } else if let (done, total @ 1..) = server.node.log.converted() {
        let now_ms = server.node.now_ms();
        // What came before has just been told of, if it took long.
        if server.told.is_due(now_ms, server.rewrites.last_try_s.load(Ordering::Relaxed) * 1_000, SAVING_MS) {
            let percent = percent(done, total);
            log!(
                Level::Notice,
                "AOF rewrite: {percent} % of the snapshot are commands, {} of {}",
                human(done),
                human(total)
            );
        }
    } else if let Some(run) = server.node.snapshots.current() {
        let now_ms = server.node.now_ms();
        let elapsed = run.elapsed();
        if server.told.is_due(now_ms, now_ms - elapsed.as_millis() as i64, SAVING_MS) {
            let what = if is_rewriting(server) { "AOF rewrite" } else { "Background saving" };
            let (done, keys) = run.progress();
            let (percent, seconds) = (percent(done, keys), elapsed.as_secs());
            log!(Level::Notice, "{what}: {percent} %, {done} of {keys} keys, for {seconds} seconds so far");
        }
    }
}

fn tell_loading(server: &Server, started_ms: i64) {
    if !server.told.is_due(server.node.now_ms(), started_ms, LOADING_MS) {
        return;
    }
    let load = &server.load;
    let (total, done) = (load.total.load(Ordering::Relaxed), load.done.load(Ordering::Relaxed));
    let (keys, commands) = (load.keys.load(Ordering::Relaxed), load.commands.load(Ordering::Relaxed));
    log!(
        Level::Notice,
        "Loading: {} %, {} of {}, {keys} keys, {commands} commands",
        percent(done, total),
        human(done),
        human(total)
    );
}

fn percent(done: u64, total: u64) -> u64 {
    if total == 0 { 100 } else { (done as f64 * 100.0 / total as f64).min(100.0) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_distance() {
        let told = Told::default();
        let due = |now_ms, started_ms| told.is_due(now_ms, started_ms, 2_000);
        assert!(!due(11_999, 10_000));
        assert!(due(12_000, 10_000));
        assert!(!due(13_999, 10_000));
        assert!(due(14_100, 10_000));
        assert!(!due(15_000, 14_500), "something new");
        assert_eq!((percent(1, 3), percent(0, 0), percent(9, 3)), (33, 100, 100));
    }
}
