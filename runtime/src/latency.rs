//! The latency monitor: when something took longer than it should, by the kind of event.
//!
//! | event                                       | what took long                                                            |
//! |---------------------------------------------|---------------------------------------------------------------------------|
//! | `command`, `fast-command`                   | a command                                                                 |
//! | `expire-cycle`, `eviction-cycle`            | a step of expiry, of eviction                                             |
//! | `aof-write`                                 | a write of the log, for which the replies of a turn wait; in any case      |
//! | `aof-write-pending-fsync`, `aof-write-alone` | the same, by whether a sync ran beside it                                 |
//! | `aof-fsync-always`                          | a sync of the log that replies wait for                                   |
//! | `aof-rename`                                | a new base in the place of the log so far                                 |
//! | `fork`                                      | the moment of a snapshot, in which all cores stand still: there is no fork |
//!
//! Absent on purpose: what Redis does on the thread that serves, and is done besides here.

use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Samples kept per event, as in Redis.
const SAMPLES_MAX: usize = 160;

/// The last spikes of one event.
#[derive(Clone, Debug, Default)]
pub struct Spikes {
    /// Unix seconds and milliseconds, newest last; never empty.
    pub samples: VecDeque<(i64, u64)>,
    /// The longest ever, in milliseconds.
    pub max_ms: u64,
}

/// Spikes by event.
#[derive(Debug, Default)]
pub struct LatencyMonitor {
    threshold_ms: AtomicU64,
    events: Mutex<BTreeMap<&'static str, Spikes>>,
}

impl LatencyMonitor {
    /// `latency-monitor-threshold`; 0 watches nothing.
    pub fn configure(&self, threshold_ms: u64) {
        self.threshold_ms.store(threshold_ms, Ordering::Relaxed);
    }

    /// The shortest time that counts as a spike, in milliseconds; `None` when nothing is watched.
    #[inline]
    pub fn threshold_ms(&self) -> Option<u64> {
        Some(self.threshold_ms.load(Ordering::Relaxed)).filter(|ms| *ms > 0)
    }

    /// Notes how long something took, if that is a spike. Of the spikes of one second the worst is kept.
    pub fn note(&self, event: &'static str, ms: u64, now_s: i64) {
        if self.threshold_ms().is_none_or(|threshold| ms < threshold) {
            return;
        }
        let mut events = self.events.lock();
        let spikes = events.entry(event).or_default();
        spikes.max_ms = spikes.max_ms.max(ms);
        match spikes.samples.back_mut() {
            Some((at, worst)) if *at == now_s => *worst = (*worst).max(ms),
            _ => spikes.samples.push_back((now_s, ms)),
        }
        if spikes.samples.len() > SAMPLES_MAX {
            spikes.samples.pop_front();
        }
    }

    /// Does something, and tells how long it took, if anything is watched.
    pub fn time<R>(&self, work: impl FnOnce() -> R) -> (R, Option<Duration>) {
        let start = self.threshold_ms().map(|_| Instant::now());
        let result = work();
        (result, start.map(|start| start.elapsed()))
    }

    /// Notes how long something took that has just ended, if that is known and is a spike.
    pub fn note_now(&self, event: &'static str, took: Option<Duration>) {
        let Some(ms) = took.map(|took| took.as_millis() as u64) else { return };
        if self.threshold_ms().is_some_and(|threshold| ms >= threshold) {
            let now_s =
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
            self.note(event, ms, now_s);
        }
    }

    /// The spikes of an event.
    pub fn spikes(&self, event: &str) -> Option<Spikes> {
        self.events.lock().get(event).cloned()
    }

    /// All events with their spikes, by name.
    pub fn all(&self) -> Vec<(&'static str, Spikes)> {
        self.events.lock().iter().map(|(event, spikes)| (*event, spikes.clone())).collect()
    }

    /// Forgets these events, or all; how many there were.
    pub fn reset(&self, names: Option<&[&str]>) -> usize {
        let mut events = self.events.lock();
        let before = events.len();
        match names {
            None => events.clear(),
            Some(names) => events.retain(|event, _| !names.contains(event)),
        }
        before - events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_each_second_is_kept() {
        let monitor = LatencyMonitor::default();
        assert_eq!(monitor.time(|| 7), (7, None), "nothing is watched yet");
        monitor.note("command", 500, 1);
        assert!(monitor.all().is_empty(), "nothing is watched yet");
        monitor.configure(100);
        for (ms, at) in [(99, 1), (150, 1), (120, 1), (300, 2), (100, 3)] {
            monitor.note("command", ms, at);
        }
        let spikes = monitor.spikes("command").unwrap();
        assert_eq!((Vec::from(spikes.samples), spikes.max_ms), (vec![(1, 150), (2, 300), (3, 100)], 300));
        (0..1_000).for_each(|at| monitor.note("fork", 200, at));
        assert_eq!(monitor.spikes("fork").unwrap().samples.len(), SAMPLES_MAX);
        let (seven, took) = monitor.time(|| 7);
        assert!(seven == 7 && took.is_some());
        monitor.note_now("aof-write", Some(Duration::from_millis(99)));
        assert!(monitor.spikes("aof-write").is_none());
        monitor.note_now("aof-write", Some(Duration::from_millis(100)));
        assert_eq!(monitor.spikes("aof-write").unwrap().max_ms, 100);
        assert_eq!(monitor.reset(Some(&["fork", "none", "aof-write"])), 2);
        assert_eq!(monitor.reset(None), 1);
    }
}
