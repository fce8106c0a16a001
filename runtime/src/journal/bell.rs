//! The bell of the journal's own thread: those who write ring it, but only when the thread sleeps, so that a busy log
//! costs them one look.
//!
//! | who                      | does                                                                    |
//! |--------------------------|-------------------------------------------------------------------------|
//! | who has work for it      | makes the work visible, *then* looks whether the thread sleeps, and rings  |
//! | the thread, before sleep | says that it sleeps, *then* looks once more for work                       |
//!
//! One of the two sees the other: no work is left behind while the thread sleeps.

// Relative, so that the tests can put a model checker's primitives under this very file.
use super::sync::{AtomicBool, Condvar, Mutex, Ordering, fence, wait};
use std::time::Duration;

/// A bell for one sleeper.
pub struct Bell {
    sleeps: AtomicBool,
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    pub fn new() -> Self {
        Self { sleeps: AtomicBool::new(false), rung: Mutex::new(false), changed: Condvar::new() }
    }

    /// Wakes the sleeper if it sleeps. Call it after the work is visible.
    #[inline]
    pub fn ring_if_asleep(&self) {
        fence();
        if self.sleeps.load(Ordering::Relaxed) {
            self.ring();
        }
    }

    /// Wakes the sleeper, or keeps it from its next sleep.
    #[cold]
    pub fn ring(&self) {
        *self.rung.lock() = true;
        self.changed.notify_one();
    }

    /// Sleeps until somebody rings, unless there is work. At most for this time, if one is given.
    pub fn sleep(&self, time: Option<Duration>, has_work: impl FnOnce() -> bool) {
        self.sleeps.store(true, Ordering::Relaxed);
        fence();
        if !has_work() {
            self.doze(time);
        }
        self.sleeps.store(false, Ordering::Relaxed);
    }

    /// As [`sleep`](Self::sleep), but only [`ring`](Self::ring) wakes: those who look whether it sleeps let it.
    pub fn doze(&self, time: Option<Duration>) {
        let mut rung = self.rung.lock();
        if !*rung {
            rung = wait(&self.changed, rung, time);
        }
        *rung = false;
    }
}
