//! The slow log: commands that took longer than a threshold.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

/// Arguments kept per entry, and bytes per argument, as in Redis.
const ARGS_MAX: usize = 32;
const ARG_BYTES_MAX: usize = 128;

/// One slow command.
#[derive(Clone, Debug)]
pub struct SlowEntry {
    /// Rising number.
    pub id: u64,
    /// When it ended, Unix seconds.
    pub time_s: i64,
    /// How long it took, in microseconds.
    pub us: u64,
    /// Its arguments, shortened.
    pub args: Vec<Vec<u8>>,
    /// Its client's address.
    pub address: String,
    /// Its client's name.
    pub name: String,
}

/// Commands that took long, newest first.
#[derive(Debug)]
pub struct SlowLog {
    entries: Mutex<(u64, VecDeque<SlowEntry>)>,
    threshold_us: AtomicI64,
    max_len: AtomicUsize,
}

impl Default for SlowLog {
    fn default() -> Self {
        let (threshold_us, max_len) = (AtomicI64::new(10_000), AtomicUsize::new(128));
        Self { entries: Mutex::default(), threshold_us, max_len }
    }
}

impl SlowLog {
    /// `slowlog-log-slower-than` in microseconds (negative: off) and `slowlog-max-len`.
    pub fn configure(&self, threshold_us: i64, max_len: usize) {
        self.threshold_us.store(threshold_us, Ordering::Relaxed);
        self.max_len.store(max_len, Ordering::Relaxed);
        self.entries.lock().1.truncate(max_len);
    }

    /// Whether a duration is worth an entry.
    #[inline]
    pub fn is_slow(&self, ns: u64) -> bool {
        let threshold = self.threshold_us.load(Ordering::Relaxed);
        threshold >= 0 && ns / 1_000 >= threshold as u64
    }

    /// Adds an entry.
    #[cold]
    pub fn push(&self, time_s: i64, ns: u64, args: &[&[u8]], address: String, name: String) {
        let mut entries = self.entries.lock();
        let (next, list) = &mut *entries;
        let (id, args) = (*next, shortened(args));
        *next += 1;
        list.push_front(SlowEntry { id, time_s, us: ns / 1_000, args, address, name });
        list.truncate(self.max_len.load(Ordering::Relaxed));
    }

    /// The newest `count` entries.
    pub fn newest(&self, count: usize) -> Vec<SlowEntry> {
        self.entries.lock().1.iter().take(count).cloned().collect()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.lock().1.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all entries.
    pub fn reset(&self) {
        self.entries.lock().1.clear();
    }
}

fn shortened(args: &[&[u8]]) -> Vec<Vec<u8>> {
    let kept = if args.len() > ARGS_MAX { ARGS_MAX - 1 } else { args.len() };
    let mut out: Vec<Vec<u8>> = args[..kept].iter().map(|arg| shortened_arg(arg)).collect();
    if kept < args.len() {
        out.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    out
}

fn shortened_arg(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= ARG_BYTES_MAX {
        return arg.to_vec();
    }
    let more = arg.len() - ARG_BYTES_MAX;
    [&arg[..ARG_BYTES_MAX], format!("... ({more} more bytes)").as_bytes()].concat()
}
