//! The command logs: commands that took longer, asked more or answered more than a threshold.

use crate::held::Identity;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

/// Arguments kept per entry, and bytes per argument, as in Redis.
const ARGS_MAX: usize = 32;
const ARG_BYTES_MAX: usize = 128;

/// A command that may be worth an entry.
pub struct Noted<'a> {
    /// When it ended, Unix seconds.
    pub time_s: i64,
    /// Its arguments, without secrets.
    pub args: &'a [&'a [u8]],
    /// Who gave it.
    pub who: &'a dyn Identity,
}

/// One command of a log.
#[derive(Clone, Debug)]
pub struct SlowEntry {
    /// Rising number.
    pub id: u64,
    /// When it ended, Unix seconds.
    pub time_s: i64,
    /// What was too much: microseconds, or bytes of the request or of the reply.
    pub amount: u64,
    /// Its arguments, shortened.
    pub args: Vec<Vec<u8>>,
    /// Its client's address.
    pub address: String,
    /// Its client's name.
    pub name: String,
}

/// Commands of which something was too much, newest first.
#[derive(Debug)]
pub struct SlowLog {
    entries: Mutex<(u64, VecDeque<SlowEntry>)>,
    threshold: AtomicI64,
    max_len: AtomicUsize,
}

impl SlowLog {
    /// A log of what reaches `threshold`, or of nothing when that is negative.
    pub fn new(threshold: i64, max_len: usize) -> Self {
        let (threshold, max_len) = (AtomicI64::new(threshold), AtomicUsize::new(max_len));
        Self { entries: Mutex::default(), threshold, max_len }
    }

    /// Changes the threshold (negative: off) and the number of entries that are kept.
    pub fn configure(&self, threshold: i64, max_len: usize) {
        self.threshold.store(threshold, Ordering::Relaxed);
        self.max_len.store(max_len, Ordering::Relaxed);
        self.entries.lock().1.truncate(max_len);
    }

    /// The amount from which a command is worth an entry; `None` when none is.
    #[inline]
    pub fn threshold(&self) -> Option<u64> {
        u64::try_from(self.threshold.load(Ordering::Relaxed)).ok()
    }

    /// Adds an entry if the amount is worth it.
    #[cold]
    pub fn note(&self, amount: u64, command: &Noted<'_>) {
        let max_len = self.max_len.load(Ordering::Relaxed);
        if max_len == 0 || self.threshold().is_none_or(|threshold| amount < threshold) {
            return;
        }
        let args = shortened(command.args);
        let (address, name) = (command.who.address(), command.who.name());
        let mut entries = self.entries.lock();
        let (next, list) = &mut *entries;
        let id = *next;
        *next += 1;
        list.push_front(SlowEntry { id, time_s: command.time_s, amount, args, address, name });
        list.truncate(max_len);
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
