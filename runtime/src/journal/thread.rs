//! The thread of the journal: syncs when the policy says so, and tries again each second while the log fails.

use super::gathering::Crowd;
use super::health::Health;
use super::{Policy, Shared};
use parking_lot::MutexGuard;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a failed write is tried again before the replies that wait for it are given up.
pub const GIVE_UP: Duration = Duration::from_secs(3);

const RETRY: Duration = Duration::from_secs(1);
const SYNC: Duration = Duration::from_secs(1);

pub(super) fn run(shared: &Shared) {
    let mut last_sync: Option<Instant> = None;
    let mut failing: Option<Failing> = None;
    let mut crowd = Crowd::new();
    while !shared.stopped.load(Ordering::Acquire) {
        if shared.failing.load(Ordering::Acquire) {
            let failing = failing.get_or_insert_with(Failing::begin);
            if let Some(left) = RETRY.checked_sub(failing.last.elapsed()).filter(|left| !left.is_zero()) {
                shared.bell.doze(Some(left));
                continue;
            }
            failing.last = Instant::now();
            shared.try_again(failing.since.elapsed() >= GIVE_UP);
            continue;
        }
        failing = None;
        if shared.has_cut() || shared.has_to_write() && !shared.answers_after_sync() {
            shared.handed_over.store(false, Ordering::Relaxed);
            shared.write(&mut shared.writer.lock());
        }
        if shared.answers_after_sync() {
            crowd.gather(&shared.gathering, &shared.bell);
        }
        if !shared.wants_sync() {
            // A sync of every second is not due before a second after the last one, but then it is.
            shared.bell.sleep(None, || shared.has_work());
            continue;
        }
        let due = match shared.policy() {
            Policy::EverySecond => last_sync.and_then(|last| SYNC.checked_sub(last.elapsed())),
            Policy::Always | Policy::Never => None,
        };
        match due.filter(|left| !left.is_zero()) {
            Some(left) => shared.bell.doze(Some(left)),
            None => {
                last_sync = Some(Instant::now());
                crowd.sync(&shared.gathering, || {
                    if shared.handed_over.swap(false, Ordering::AcqRel) {
                        shared.write(&mut shared.writer.lock());
                    }
                    shared.sync();
                });
            }
        }
    }
}

/// A log that fails.
struct Failing {
    since: Instant,
    last: Instant,
}

impl Failing {
    fn begin() -> Self {
        Self { since: Instant::now(), last: Instant::now() }
    }
}

impl Shared {
    /// Whether there is something to do, now or soon.
    fn has_work(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
            || self.failing.load(Ordering::Acquire)
            || self.wants_sync()
            || self.has_cut()
            || self.has_to_write()
    }

    /// Somebody has left it to this thread to write.
    fn has_to_write(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }

    /// The log has been cut and nobody has written since.
    fn has_cut(&self) -> bool {
        !self.pending.lock().cuts.is_empty()
    }

    fn wants_sync(&self) -> bool {
        if self.suspended.load(Ordering::Acquire) {
            return false;
        }
        let unsynced = self.synced.load(Ordering::Acquire) < self.written.load(Ordering::Acquire);
        unsynced && self.policy() != Policy::Never
            || self.has_to_write() && self.policy() == Policy::Always
            || self.has_retired.load(Ordering::Acquire)
    }

    /// Syncs what has been written by now.
    pub(super) fn sync(&self) {
        self.sync_in_turn(self.sync_turn.lock());
    }

    /// As [`sync`](Self::sync), by whoever's turn it is.
    pub(super) fn sync_in_turn(&self, _turn: MutexGuard<'_, ()>) {
        let unsynced = {
            let mut writer = self.writer.lock();
            if matches!(writer.health, Health::Distrusted(_)) {
                return;
            }
            self.has_retired.store(false, Ordering::Release);
            writer.unsynced()
        };
        self.sync_start_ms.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
        self.is_syncing.store(true, Ordering::Relaxed);
        let sync = || unsynced.files.iter().find_map(|file| Some((file, file.sync_data().err()?)));
        let (failed, took) = self.latency.time(sync);
        if self.policy() == Policy::Always {
            self.latency.note_now("aof-fsync-always", took);
        }
        self.is_syncing.store(false, Ordering::Relaxed);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        let is_safe = failed.is_none();
        let mut writer = self.writer.lock();
        writer.synced(&unsynced, failed);
        if is_safe {
            self.synced.fetch_max(unsynced.offset, Ordering::AcqRel);
        } else {
            self.note_health(&writer);
        }
        drop(writer);
        self.wake_cores();
    }

    /// Writes once more what could not be written.
    #[cold]
    fn try_again(&self, give_up: bool) {
        let mut writer = self.writer.lock();
        if matches!(writer.health, Health::Distrusted(_)) {
            // Only a new base helps: no reason to look again before somebody rings.
            drop(writer);
            self.bell.doze(None);
            return;
        }
        self.write(&mut writer);
        if self.failing.load(Ordering::Acquire) && give_up {
            self.given_up.store(true, Ordering::Release);
            drop(writer);
            self.wake_cores();
        }
    }
}
