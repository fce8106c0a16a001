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
    /// Commands, keys, channels that an ACL refused.
    pub denied_commands: AtomicU64,
    pub denied_keys: AtomicU64,
    pub denied_channels: AtomicU64,
}

impl Counters {
    fn all(&self) -> [&AtomicU64; 7] {
        [
            &self.query_limit_closed,
            &self.output_limit_closed,
            &self.clients_evicted,
            &self.denied_auth,
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

/// What happens per second: commands, bytes in, bytes out.
#[derive(Debug, Default)]
pub struct Rates {
    last: Option<(Instant, [u64; 3])>,
    samples: [[u64; SAMPLES]; 3],
    next: usize,
}

impl Rates {
    /// Averages over the last samples: commands, bytes in, bytes out.
    pub fn per_second(&self) -> [u64; 3] {
        self.samples.map(|samples| samples.iter().sum::<u64>() / SAMPLES as u64)
    }

    fn sample(&mut self, now: Instant, totals: [u64; 3]) {
        let Some((then, before)) = self.last else {
            self.last = Some((now, totals));
            return;
        };
        let ms = now.duration_since(then).as_millis();
        if ms < SAMPLE_MS {
            return;
        }
        for (samples, (total, before)) in self.samples.iter_mut().zip(totals.into_iter().zip(before)) {
            // A reset makes totals fall.
            samples[self.next] = (u128::from(total.saturating_sub(before)) * 1_000 / ms) as u64;
        }
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
        let totals = [
            self.total(|core| &core.commands),
            self.total(|core| &core.bytes_in),
            self.total(|core| &core.bytes_out),
        ];
        self.rates.lock().sample(Instant::now(), totals);
    }

    /// CONFIG RESETSTAT, as far as it concerns connections and the commands of the node.
    pub fn reset_figures(&self) {
        for core in &self.cores {
            for figure in [&core.bytes_in, &core.bytes_out, &core.reads, &core.writes, &core.commands] {
                figure.store(0, Ordering::Relaxed);
            }
            core.book.lock().reset();
        }
        self.counters.all().into_iter().for_each(|counter| counter.store(0, Ordering::Relaxed));
        self.connections_total.store(0, Ordering::Relaxed);
        self.connections_rejected.store(0, Ordering::Relaxed);
        *self.rates.lock() = Rates::default();
        self.node.janitor.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn rates_are_averages_per_second() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        for step in 0..=SAMPLES as u64 {
            rates.sample(start + Duration::from_millis(step * 200), [step * 10, step * 1_000, 0]);
        }
        assert_eq!(rates.per_second(), [50, 5_000, 0]);
    }
}
