//! Gathering: with `appendfsync always` a sync should be for as many as possible, and who has just been answered is likely to
//! write again at once.
//!
//! A sync that begins with the first write after another leaves the others to the next one: two syncs where one would do. So
//! the thread that syncs waits a little for those whom it expects: as many pushes as the last sync was for and as came during
//! it. That is how many clients write, as long as each waits for its answer before it goes on. A single client is never waited
//! for, as it is expected alone; when clients leave, they are waited for once, and for as long as two syncs at most.
//!
//! Those who write while a sync runs keep their core busy meanwhile. So it does not wait for all:
//!
//! | a sync takes                           | it begins with                                                             |
//! |----------------------------------------|----------------------------------------------------------------------------|
//! | longer than it takes all to write again | all: two groups would take turns, and each wait for the other's sync, too  |
//! | less                                   | all but those who write while it runs, and at least half                   |

use super::bell::Bell;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

/// Nobody is kept waiting for longer, however many are missing.
const WAIT_MAX: Duration = Duration::from_millis(1);

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

    /// After pushes that wait for a sync: wakes the thread if it waits for no more than this.
    #[inline]
    pub fn came(&self, bell: &Bell) {
        fence(Ordering::SeqCst);
        let wanted = self.wanted.load(Ordering::Relaxed);
        if wanted != 0 && self.pushes.load(Ordering::Relaxed) >= wanted {
            self.wanted.store(0, Ordering::Relaxed);
            bell.ring();
        }
    }
}

/// What the thread that syncs knows about those who write.
#[derive(Debug)]
pub(super) struct Crowd {
    /// Pushes before the last sync.
    covered: u64,
    /// Pushes that are likely to come after these before anybody has come twice.
    expected: u64,
    /// How long the last sync took.
    took: Duration,
    /// When it ended, and how many pushes there were then, until somebody has been waited for.
    ended: Option<(Instant, u64)>,
    /// From one push to the next, while those come who have just been answered. Zero: not known yet.
    pace: Duration,
}

impl Crowd {
    pub fn new() -> Self {
        let (took, pace) = (Duration::ZERO, Duration::ZERO);
        Self { covered: 0, expected: 0, took, ended: None, pace }
    }

    /// Waits for those who are likely to come after a sync: once, and right after it.
    pub fn gather(&mut self, gathering: &Gathering, bell: &Bell) {
        let Some((ended, before)) = self.ended.take() else { return };
        let Some(wanted) = self.missing(gathering) else { return };
        gathering.wanted.store(wanted, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.missing(gathering).is_some() {
            bell.doze(Some(self.patience(wanted - before.min(wanted))));
        }
        gathering.wanted.store(0, Ordering::Relaxed);
        let pushes = gathering.pushes.load(Ordering::Relaxed);
        if pushes == self.covered {
            // Nobody has come: who comes later comes alone.
            self.expected = 0;
        }
        if pushes > before {
            let pace = ended.elapsed() / u32::try_from(pushes - before).unwrap_or(u32::MAX);
            self.pace = if self.pace.is_zero() { pace } else { (3 * self.pace + pace) / 4 };
        }
    }

    /// How many pushes there will be when all have come with whom a sync is to begin, if somebody has not. The first of them
    /// alone is not waited for here: whoever comes wakes a thread that sleeps.
    fn missing(&self, gathering: &Gathering) -> Option<u64> {
        let group = group(self.expected, self.took, self.pace);
        let wanted = self.covered + group;
        (group > 1 && gathering.pushes.load(Ordering::Relaxed) < wanted).then_some(wanted)
    }

    /// For how long so many pushes are waited for: twice as long as they should take, but no longer than two syncs would.
    fn patience(&self, missing: u64) -> Duration {
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        let time = match self.pace {
            Duration::ZERO => self.took,
            pace => pace.saturating_mul(missing).saturating_mul(2),
        };
        time.min(2 * self.took).min(WAIT_MAX)
    }

    /// Syncs, and takes note of who came.
    pub fn sync(&mut self, gathering: &Gathering, sync: impl FnOnce()) {
        let (start, before) = (Instant::now(), gathering.pushes.load(Ordering::Relaxed));
        sync();
        let (end, after) = (Instant::now(), gathering.pushes.load(Ordering::Relaxed));
        self.took = end - start;
        self.expected = after - self.covered;
        self.covered = before;
        self.ended = Some((end, after));
    }
}

/// With how many of the `expected` a sync begins that takes so long, when they come at this pace.
fn group(expected: u64, took: Duration, pace: Duration) -> u64 {
    if pace.is_zero() {
        return expected;
    }
    let meanwhile = (took.as_nanos() / pace.as_nanos()) as u64;
    if meanwhile >= expected { expected } else { (expected - meanwhile).max(expected.div_ceil(2)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes before and during each of some syncs; how many are expected after each.
    #[track_caller]
    fn check(syncs: &[(u64, u64)], expected: &[u64]) {
        let (gathering, mut crowd) = (Gathering::default(), Crowd::new());
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
        let (gathering, mut crowd) = (Gathering::default(), Crowd::new());
        let push = || gathering.pushed();
        (0..3).for_each(|_| push());
        crowd.sync(&gathering, push);
        assert_eq!(crowd.missing(&gathering), Some(7), "one has come already, three are to come again");
        (0..3).for_each(|_| push());
        assert_eq!(crowd.missing(&gathering), None);
    }

    #[test]
    fn a_sync_begins_with_all_but_those_who_come_while_it_runs() {
        let us = Duration::from_micros;
        let check = |expected, took_us, pace_us| group(expected, us(took_us), us(pace_us));
        assert_eq!(check(50, 200, 0), 50, "nobody knows how fast they come");
        assert_eq!(check(50, 90, 9), 40);
        assert_eq!(check(50, 270, 9), 25, "at least half");
        assert_eq!(check(51, 270, 9), 26);
        assert_eq!(check(50, 450, 9), 50, "the disk is what they wait for");
        assert_eq!(check(1, 200, 9), 1);
        assert_eq!(check(500, 270, 9), 470);
    }

    #[test]
    fn a_crowd_that_does_not_come_is_forgotten() {
        let (gathering, mut crowd, bell) = (Gathering::default(), Crowd::new(), Bell::new());
        (0..3).for_each(|_| gathering.pushed());
        crowd.sync(&gathering, || {});
        assert_eq!(crowd.expected, 3);
        crowd.gather(&gathering, &bell);
        assert_eq!((crowd.expected, crowd.missing(&gathering)), (0, None));
    }

    #[test]
    fn the_last_of_a_crowd_rings() {
        let (gathering, bell) = (Gathering::default(), Bell::new());
        gathering.pushed();
        gathering.wanted.store(2, Ordering::Relaxed);
        gathering.came(&bell);
        assert_eq!(gathering.wanted.load(Ordering::Relaxed), 2, "one is missing");
        gathering.pushed();
        gathering.came(&bell);
        // Returns as it has been rung.
        bell.doze(None);
    }
}
