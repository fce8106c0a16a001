//! The books of a core: what each command cost. Kept under the baton, so counting needs no atomics.

/// Sub-buckets per power of two in a [`Histogram`]: figures are right within 1/16.
const SUB: usize = 16;

/// Durations in nanoseconds, in buckets whose width grows with the value.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; 64 * SUB], count: 0 }
    }
}

impl Histogram {
    /// Notes a duration.
    pub fn record(&mut self, ns: u64) {
        self.buckets[bucket(ns)] += 1;
        self.count += 1;
    }

    /// How many durations were noted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The duration in nanoseconds that this share (0 to 100) of all does not exceed.
    pub fn percentile(&self, percent: f64) -> u64 {
        let wanted = ((percent / 100.0) * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper(at);
            }
        }
        0
    }

    /// Pairs `(upper bound in microseconds, how many up to it)` at powers of two, as LATENCY HISTOGRAM shows.
    pub fn cumulative_us(&self) -> Vec<(u64, u64)> {
        let mut out: Vec<(u64, u64)> = Vec::new();
        let mut seen = 0;
        for (at, count) in self.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            seen += count;
            let us = (upper(at) / 1_000).max(1).next_power_of_two();
            match out.last_mut() {
                Some((bound, total)) if *bound == us => *total = seen,
                _ => out.push((us, seen)),
            }
        }
        out
    }

    /// Adds another's durations.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
    }
}

fn bucket(ns: u64) -> usize {
    if ns < SUB as u64 {
        return ns as usize;
    }
    let power = ns.ilog2() as usize;
    let sub = (ns >> (power - 4)) as usize & (SUB - 1);
    (power - 3) * SUB + sub
}

fn upper(bucket: usize) -> u64 {
    if bucket < SUB {
        return bucket as u64;
    }
    let (power, sub) = (bucket / SUB + 3, (bucket % SUB) as u64);
    let width = 1u64 << (power - 4);
    (SUB as u64 + sub) * width + (width - 1)
}

/// What one command has cost so far.
#[derive(Clone, Debug, Default)]
pub struct CommandStats {
    /// Runs.
    pub calls: u64,
    /// Nanoseconds in all runs.
    pub ns: u64,
    /// Refused before they ran (arity, permissions, memory).
    pub rejected: u64,
    /// Ran and answered with an error.
    pub failed: u64,
    /// Durations; made at the first run when latency tracking is on.
    pub histogram: Option<Box<Histogram>>,
}

impl CommandStats {
    /// Adds another core's figures.
    pub fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.ns += other.ns;
        self.rejected += other.rejected;
        self.failed += other.failed;
        if let Some(theirs) = &other.histogram {
            self.histogram.get_or_insert_default().merge(theirs);
        }
    }
}

/// The figures of one core.
#[derive(Clone, Debug, Default)]
pub struct Book {
    commands: Vec<CommandStats>,
    /// Error replies by their code.
    errors: std::collections::HashMap<String, u64>,
    /// Commands that the core's baton was taken for by connections of another core.
    pub borrowed: u64,
    /// Commands that came through the inbox.
    pub inbox: u64,
}

impl Book {
    /// The figures of a command by its number.
    #[inline]
    pub fn command(&mut self, id: usize) -> &mut CommandStats {
        if self.commands.len() <= id {
            self.commands.resize_with(id + 1, CommandStats::default);
        }
        &mut self.commands[id]
    }

    /// Counts an error reply (`-CODE text`) by its code.
    #[cold]
    pub fn note_error(&mut self, reply: &[u8]) {
        /// More codes than this can only be made up by clients.
        const CODES_MAX: usize = 128;
        /// Where they are counted then.
        const OVERFLOW: &str = "ERRORSTATS_OVERFLOW";
        /// A line without a space by then has no code.
        const CODE_BYTES_MAX: usize = 31;
        let line = reply.strip_prefix(b"-").unwrap_or(reply);
        let end = line.iter().take(CODE_BYTES_MAX).position(|byte| *byte == b' ');
        let mut code = String::from_utf8_lossy(end.map_or(&b"ERR"[..], |end| &line[..end])).into_owned();
        if self.errors.len() >= CODES_MAX && !self.errors.contains_key(&code) {
            code = OVERFLOW.to_owned();
        }
        *self.errors.entry(code).or_default() += 1;
    }

    /// Error replies by their code.
    pub fn errors(&self) -> &std::collections::HashMap<String, u64> {
        &self.errors
    }

    /// All figures, by the number of the command.
    pub fn commands(&self) -> &[CommandStats] {
        &self.commands
    }

    /// Adds another's figures.
    pub fn merge(&mut self, other: &Self) {
        for (id, stats) in other.commands.iter().enumerate() {
            self.command(id).merge(stats);
        }
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
        self.borrowed += other.borrowed;
        self.inbox += other.inbox;
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// LATENCY RESET / LATENCY HISTOGRAM: forgets durations only.
    pub fn reset_histograms(&mut self) {
        self.commands.iter_mut().for_each(|stats| stats.histogram = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_within_a_sixteenth() {
        let mut histogram = Histogram::default();
        (1..=100_000).for_each(|ns| histogram.record(ns));
        for percent in [1.0, 50.0, 99.0, 99.9] {
            let (found, exact) = (histogram.percentile(percent) as f64, percent * 1000.0);
            assert!((found / exact - 1.0).abs() < 0.07, "p{percent}: {found} for {exact}");
        }
    }

    #[test]
    fn every_duration_has_a_bucket() {
        for ns in [0, 1, 15, 16, 17, 31, 32, 1_000, u64::MAX] {
            assert!(upper(bucket(ns)) >= ns && (bucket(ns) == 0 || upper(bucket(ns) - 1) < ns), "{ns}");
        }
    }
}
