//! Gathering: with `appendfsync always` a sync should be for as many as possible, and who has just been answered is likely to
//! write again at once.
//!
//! A sync that begins with the first write after another leaves the others to the next one: two syncs where one would do. So
//! the thread that syncs waits a little for as many pushes as the last sync was for and as came during it. That is how many
//! clients write, as long as each waits for its answer before it goes on. A single client is never waited for, as it is
//! expected alone; when clients leave, they are waited for once.

use super::bell::Bell;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

/// Nobody is kept waiting for longer, however slow the disk is.
const WAIT_MAX: Duration = Duration::from_micros(500);

/// Counts pushes, for the thread that syncs and for those who write.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    pushes: AtomicU64,
    /// The thread waits for so many pushes; 0 if it does not.
    wanted: AtomicU64,
}

impl Gathering {
    /// One more push. Under the lock of what is pending.
    #[inline]
    pub fn pushed(&self) {
        self.pushes.store(self.pushes.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// After a write: wakes the thread if it waits for no more than this.
    #[inline]
    pub fn written(&self, bell: &Bell) {
        fence(Ordering::SeqCst);
        let wanted = self.wanted.load(Ordering::Relaxed);
        if wanted != 0 && self.pushes.load(Ordering::Relaxed) >= wanted {
            self.wanted.store(0, Ordering::Relaxed);
            bell.ring();
        }
    }
}

/// What the thread that syncs knows about those who write.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// Pushes before the last sync.
    covered: u64,
    /// Pushes that are likely to come before the next.
    expected: u64,
    /// How long the last sync took.
    took: Duration,
}

impl Crowd {
    /// Waits for those who are likely to come, for half of the time that a sync takes at most.
    pub fn gather(&self, gathering: &Gathering, bell: &Bell) {
        let Some(wanted) = self.missing(gathering) else { return };
        gathering.wanted.store(wanted, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.missing(gathering).is_some() {
            bell.doze(Some((self.took / 2).min(WAIT_MAX)));
        }
        gathering.wanted.store(0, Ordering::Relaxed);
    }

    /// How many pushes there will be when all have come, if somebody has not.
    fn missing(&self, gathering: &Gathering) -> Option<u64> {
        let wanted = self.covered + self.expected;
        (gathering.pushes.load(Ordering::Relaxed) < wanted).then_some(wanted)
    }

    /// Syncs, and takes note of who came.
    pub fn sync(&mut self, gathering: &Gathering, sync: impl FnOnce()) {
        let (start, before) = (Instant::now(), gathering.pushes.load(Ordering::Relaxed));
        sync();
        self.took = start.elapsed();
        self.expected = gathering.pushes.load(Ordering::Relaxed) - self.covered;
        self.covered = before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes before and during each of some syncs; how many are expected after each.
    #[track_caller]
    fn check(syncs: &[(u64, u64)], expected: &[u64]) {
        let (gathering, mut crowd) = (Gathering::default(), Crowd::default());
        let push = |count| (0..count).for_each(|_| gathering.pushed());
        let mut seen = Vec::new();
        for (before, during) in syncs {
            push(*before);
            crowd.sync(&gathering, || push(*during));
            seen.push(crowd.expected);
        }
        assert_eq!(seen, expected, "after {syncs:?}");
    }

    #[test]
    fn those_who_came_are_expected_again() {
        // One client on its own.
        check(&[(1, 0), (1, 0)], &[1, 1]);
        // Two halves that take turns are one crowd.
        check(&[(25, 25), (0, 25), (0, 25)], &[50, 50, 50]);
        // A crowd that leaves is forgotten after two syncs.
        check(&[(50, 0), (1, 0), (1, 0)], &[50, 1, 1]);
    }

    #[test]
    fn a_crowd_that_is_there_is_not_waited_for() {
        let (gathering, mut crowd) = (Gathering::default(), Crowd::default());
        let push = || gathering.pushed();
        (0..3).for_each(|_| push());
        crowd.sync(&gathering, push);
        assert_eq!(crowd.missing(&gathering), Some(7), "one has come already, three are to come again");
        (0..3).for_each(|_| push());
        assert_eq!(crowd.missing(&gathering), None);
    }

    #[test]
    fn the_last_of_a_crowd_rings() {
        let (gathering, bell) = (Gathering::default(), Bell::new());
        gathering.pushed();
        gathering.wanted.store(2, Ordering::Relaxed);
        gathering.written(&bell);
        assert_eq!(gathering.wanted.load(Ordering::Relaxed), 2, "one is missing");
        gathering.pushed();
        gathering.written(&bell);
        // Returns as it has been rung.
        bell.doze(None);
    }
}
