//! What is counted, and how fast it grows.

use crate::server::Server;
use baton::book::Book;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// Figures of one core's connections.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CoreFigures {
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    pub reads: AtomicU64,
    pub writes: AtomicU64,
    pub commands: AtomicU64,
    /// The most commands that came at once.
    pub commands_at_once_max: AtomicU64,
    /// Turns of the chores, and the time they took.
    pub chores: AtomicU64,
    pub chores_us: AtomicU64,
    pub chores_us_max: AtomicU64,
    pub connections: AtomicUsize,
    /// Commands that run on the node rather than on the data.
    pub book: Mutex<Book>,
}

/// What rarely happens, counted for the whole node.
#[derive(Debug, Default)]
pub struct Counters {
    /// Clients closed for the length of a request.
    pub query_limit_closed: AtomicU64,
    /// Clients closed for the replies that they did not take.
    pub output_limit_closed: AtomicU64,
    /// Clients closed for the memory that all of them use.
    pub clients_evicted: AtomicU64,
    /// AUTH refused.
    pub denied_auth: AtomicU64,
    pub denied_certificates: AtomicU64,
    /// Commands, keys, channels that an ACL refused.
    pub denied_commands: AtomicU64,
    pub denied_keys: AtomicU64,
    pub denied_channels: AtomicU64,
}

impl Counters {
    fn all(&self) -> [&AtomicU64; 8] {
        [
            &self.query_limit_closed,
            &self.output_limit_closed,
            &self.clients_evicted,
            &self.denied_auth,
            &self.denied_certificates,
            &self.denied_commands,
            &self.denied_keys,
            &self.denied_channels,
        ]
    }
}

/// Samples of a rate are averaged over so many.
const SAMPLES: usize = 16;
/// Milliseconds between samples.
const SAMPLE_MS: u128 = 100;

/// What has happened so far, as far as its rate matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub commands: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Times that a core woke up to do something.
    pub cycles: u64,
    /// Time that all cores were busy.
    pub busy_us: u64,
}

impl Totals {
    fn zip(self, other: Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            commands: combine(self.commands, other.commands),
            bytes_in: combine(self.bytes_in, other.bytes_in),
            bytes_out: combine(self.bytes_out, other.bytes_out),
            cycles: combine(self.cycles, other.cycles),
            busy_us: combine(self.busy_us, other.busy_us),
        }
    }
}

/// What happens per second.
#[derive(Debug, Default)]
pub struct Rates {
    last: Option<(Instant, Totals)>,
    samples: [Totals; SAMPLES],
    next: usize,
}

impl Rates {
    /// Averages over the last samples.
    pub fn per_second(&self) -> Totals {
        let sum = self.samples.iter().fold(Totals::default(), |sum, one| sum.zip(*one, u64::wrapping_add));
        sum.zip(sum, |total, _| total / SAMPLES as u64)
    }

    fn sample(&mut self, now: Instant, totals: Totals) {
        let Some((then, before)) = self.last else {
            self.last = Some((now, totals));
            return;
        };
        let ms = now.duration_since(then).as_millis();
        if ms < SAMPLE_MS {
            return;
        }
        // A reset makes totals fall.
        let rate = |now: u64, before: u64| (u128::from(now.saturating_sub(before)) * 1_000 / ms) as u64;
        self.samples[self.next] = totals.zip(before, rate);
        self.next = (self.next + 1) % SAMPLES;
        self.last = Some((now, totals));
    }
}

impl Server {
    /// The sum of a figure over all cores.
    pub fn total(&self, figure: impl Fn(&CoreFigures) -> &AtomicU64) -> u64 {
        self.cores.iter().map(|core| figure(core).load(Ordering::Relaxed)).sum()
    }

    /// Looks at how fast the figures grow. Called several times per second.
    pub fn sample_rates(&self) {
        let totals = self.totals();
        self.rates.lock().sample(Instant::now(), totals);
    }

    /// What has happened so far.
    pub fn totals(&self) -> Totals {
        Totals {
            commands: self.total(|core| &core.commands),
            bytes_in: self.total(|core| &core.bytes_in),
            bytes_out: self.total(|core| &core.bytes_out),
            // All cores do their chores at the same time: those of one are counted.
            cycles: self.total(|core| &core.reads)
                + self.cores.first().map_or(0, |core| core.chores.load(Ordering::Relaxed)),
            busy_us: busy_us(),
        }
    }

    /// CONFIG RESETSTAT, as far as it concerns connections and the commands of the node.
    pub fn reset_figures(&self) {
        for core in &self.cores {
            for figure in [
                &core.bytes_in,
                &core.bytes_out,
                &core.reads,
                &core.writes,
                &core.commands,
                &core.commands_at_once_max,
                &core.chores,
                &core.chores_us,
                &core.chores_us_max,
            ] {
                figure.store(0, Ordering::Relaxed);
            }
            core.book.lock().reset();
        }
        self.counters.all().into_iter().for_each(|counter| counter.store(0, Ordering::Relaxed));
        self.connections_total.store(0, Ordering::Relaxed);
        self.connections_rejected.store(0, Ordering::Relaxed);
        *self.rates.lock() = Rates::default();
        self.node.janitor.reset();
        self.node.journal().reset();
        self.node.replication().counts.reset();
    }
}

/// Processor time of the process, in microseconds: the loops sleep whenever they have nothing to do.
fn busy_us() -> u64 {
    use nix::sys::resource::{UsageWho, getrusage};
    let us = |time: nix::sys::time::TimeVal| (time.tv_sec() * 1_000_000 + time.tv_usec()) as u64;
    getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| us(usage.system_time()) + us(usage.user_time()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn rates_are_averages_per_second() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        for step in 0..=SAMPLES as u64 {
            let totals = Totals { commands: step * 10, bytes_in: step * 1_000, ..Totals::default() };
            rates.sample(start + Duration::from_millis(step * 200), totals);
        }
        let wanted = Totals { commands: 50, bytes_in: 5_000, ..Totals::default() };
        assert_eq!(rates.per_second(), wanted);
    }
}
