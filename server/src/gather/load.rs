//! What the system tells about processors: how long a thread ran and waited for one, and how long they were idle.

use rustix::thread::{gettid, sched_getaffinity};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Processors that a thread of this process may be moved to.
const PROCESSORS_MAX: usize = 1024;
/// Ticks of `/proc/stat` per second: fixed for all programs, whatever the kernel does.
const TICKS_PER_S: f64 = 100.0;

/// Longer than a line of a processor in `/proc/stat`.
const LINE_MAX: usize = 256;

/// How long a thread ran, and how long it waited for a processor while it could have run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    pub ran: Duration,
    pub waited: Duration,
}

/// The times of a thread of this process.
pub struct Thread(File);

impl Thread {
    /// That of the caller.
    pub fn current() -> std::io::Result<Self> {
        File::open(format!("/proc/self/task/{}/schedstat", gettid().as_raw_nonzero())).map(Self)
    }

    /// Its times so far.
    pub fn times(&self) -> Option<Times> {
        times(&read(&self.0, &mut [0; 128])?)
    }
}

fn times(line: &str) -> Option<Times> {
    let mut ns = line.split_ascii_whitespace().map(str::parse);
    let mut next = || ns.next()?.ok().map(Duration::from_nanos);
    Some(Times { ran: next()?, waited: next()? })
}

/// The processors that this process may use.
pub struct Processors {
    stat: File,
    allowed: Vec<bool>,
}

impl Processors {
    /// Those that the calling thread may use.
    pub fn of_this_thread() -> std::io::Result<Self> {
        let set = sched_getaffinity(None)?;
        let last = (0..PROCESSORS_MAX).rfind(|cpu| set.is_set(*cpu)).unwrap_or(0);
        let allowed = (0..=last).map(|cpu| set.is_set(cpu)).collect();
        Ok(Self { stat: File::open("/proc/stat")?, allowed })
    }

    /// Seconds that they were idle so far, together.
    pub fn idle_s(&self) -> Option<f64> {
        // The lines of the processors come first, after that of all together.
        let mut buffer = vec![0; LINE_MAX * (self.allowed.len() + 1)];
        idle_s(&read(&self.stat, &mut buffer)?, &self.allowed)
    }
}

/// The lines `cpuN user nice system idle iowait ...` of the processors that count.
fn idle_s(stat: &str, allowed: &[bool]) -> Option<f64> {
    let lines = stat.lines().filter_map(|line| line.strip_prefix("cpu"));
    let ticks = lines.filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        // The line of all together has no number.
        let cpu: usize = if line.starts_with(' ') { return None } else { fields.next()?.parse().ok()? };
        let ticks = fields.skip(3).take(2).map(|ticks| ticks.parse::<u64>().unwrap_or(0)).sum::<u64>();
        allowed.get(cpu).is_some_and(|allowed| *allowed).then_some(ticks)
    });
    let (lines, ticks) = ticks.fold((0, 0), |(lines, sum), ticks| (lines + 1, sum + ticks));
    (lines > 0).then_some(ticks as f64 / TICKS_PER_S)
}

fn read(file: &File, buffer: &mut [u8]) -> Option<String> {
    let n = file.read_at(buffer, 0).ok()?;
    Some(String::from_utf8_lossy(&buffer[..n]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_works_runs_and_processors_are_idle_for_no_longer_than_there_was_time() {
        let thread = Thread::current().unwrap();
        let before = thread.times().unwrap();
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_millis(20) {
            std::hint::black_box(before);
        }
        // The figures may be those of the last tick of the scheduler.
        std::thread::yield_now();
        let after = thread.times().unwrap();
        assert!(after.ran > before.ran && after.waited >= before.waited, "{before:?} {after:?}");
        let processors = Processors::of_this_thread().unwrap();
        assert!(processors.idle_s().unwrap() >= 0.0);
    }

    #[test]
    fn lines_of_the_system() {
        let wanted = Times { ran: Duration::from_nanos(12), waited: Duration::from_nanos(345) };
        assert_eq!(times("12 345 6\n"), Some(wanted));
        assert_eq!((times(""), times("12"), times("a b c")), (None, None, None));
        let stat = "cpu  9 9 9 900 90 0 0\ncpu0 1 1 1 100 10 0 0 0 0 0\ncpu1 1 1 1 200 20 0\n\
                    cpu12 1 1 1 400 40 0\nintr 1 2 3 4 5\nctxt 5 5 5 5 5\n";
        let mut allowed = vec![true, false];
        assert_eq!(idle_s(stat, &allowed), Some(1.1));
        allowed.resize(13, true);
        assert_eq!(idle_s(stat, &allowed), Some(5.5));
        assert_eq!(idle_s(stat, &[]), None);
    }
}
