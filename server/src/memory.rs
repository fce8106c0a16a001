//! How much memory the process uses: an allocator that counts, over jemalloc.
//!
//! `maxmemory` is checked before every write, so the figure must cost next to nothing. Each thread counts for itself:
//! it tells a counter of its own about every kilobyte, and a total about every few. The total is one load and good
//! enough as long as the limit is far; near it, and for people, the counters are added up.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use tikv_jemallocator::Jemalloc;

/// A thread tells its counter only about changes of this size.
const STEP: i64 = 1024;
/// And the total about changes of this size.
const TOTAL_STEP: i64 = 16 * 1024;
/// Threads beyond this share counters.
const COUNTERS: usize = 64;
/// What the total may miss: as many threads as there are counters seldom all have news for it.
const SLACK: u64 = 16 * TOTAL_STEP as u64;

/// The counter of a thread, on a cache line of its own.
#[repr(align(128))]
struct Counter(AtomicI64);

static TOTAL: AtomicI64 = AtomicI64::new(0);
static COUNTER: [Counter; COUNTERS] = [const { Counter(AtomicI64::new(0)) }; COUNTERS];
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    // Const-initialised and without a destructor: usable from inside the allocator at any time.
    static BALANCE: Cell<i64> = const { Cell::new(0) };
    /// What the total does not know yet.
    static NEWS: Cell<i64> = const { Cell::new(0) };
    static OWN: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Bytes in use, as the allocator rounds them.
pub fn used() -> u64 {
    let threads = THREADS.load(Ordering::Relaxed).min(COUNTERS);
    let sum: i64 = COUNTER[..threads].iter().map(|counter| counter.0.load(Ordering::Relaxed)).sum();
    sum.max(0) as u64
}

/// Bytes in use, for a comparison with `limit`: right near it, roughly right if it is far.
#[inline]
pub fn used_near(limit: u64) -> u64 {
    let about = TOTAL.load(Ordering::Relaxed).max(0) as u64;
    if about.saturating_add(SLACK) < limit { about } else { used() }
}

/// Bytes of the process that are in physical memory; what is in use where the system does not tell.
pub fn resident() -> u64 {
    pages().map_or_else(used, |(resident, _)| resident * page_bytes())
}

/// Pages in physical memory, and how many of them belong to files.
fn pages() -> Option<(u64, u64)> {
    let line = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut fields = line.split(' ').skip(1).map(|field| field.parse::<u64>().ok());
    Some((fields.next()??, fields.next()??))
}

/// Physical memory of the machine, in bytes; 0 where the system does not tell.
pub fn system_total() -> u64 {
    let file = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = file.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1_024
}

/// Gives unused memory back to the system, whatever arena it is in; false when the allocator refuses.
pub fn purge() -> bool {
    use std::ptr::null_mut;
    // 4096 is the allocator's name for all arenas.
    let name = c"arena.4096.purge";
    // SAFETY: the name is a C string, and this control takes and gives no data: all four pointers may be null.
    let error = unsafe { tikv_jemalloc_sys::mallctl(name.as_ptr(), null_mut(), null_mut(), null_mut(), 0) };
    error == 0
}

/// What is worth a look at all arenas, and pages that have to be faulted in again: this much, or an eighth of the data.
const WORTH: u64 = 64 << 20;

/// Bytes that the last `give_back` had to keep: blocks in use lie between them.
static KEPT: AtomicU64 = AtomicU64::new(0);
static GIVING_BACK: AtomicBool = AtomicBool::new(false);

/// Gives memory that has become unused back to the system when it has become much, on a thread that ends with that.
///
/// To be called every second or so. Costs one small read of /proc.
pub fn give_back() {
    let Some(much) = unused() else { return };
    let kept = KEPT.fetch_min(much, Ordering::Relaxed).min(much);
    if much - kept < WORTH.max(used() / 8) || GIVING_BACK.swap(true, Ordering::Relaxed) {
        return;
    }
    let work = move || {
        purge();
        // What others freed meanwhile is no part of it: it is for the next time.
        KEPT.store(unused().unwrap_or(0).min(much), Ordering::Relaxed);
        GIVING_BACK.store(false, Ordering::Relaxed);
    };
    if std::thread::Builder::new().name("give-back".to_owned()).spawn(work).is_err() {
        GIVING_BACK.store(false, Ordering::Relaxed);
    }
}

/// Bytes of physical memory that belong neither to files nor to blocks in use; `None` where the system does not tell, or
/// the process allocates by other means.
fn unused() -> Option<u64> {
    let used = used();
    let (resident, of_files) = pages()?;
    (used > 0).then(|| (resident.saturating_sub(of_files) * page_bytes()).saturating_sub(used))
}

fn page_bytes() -> u64 {
    use nix::unistd::{SysconfVar, sysconf};
    sysconf(SysconfVar::PAGE_SIZE).ok().flatten().map_or(4_096, |bytes| bytes as u64)
}

#[inline]
fn count(bytes: i64) {
    let balance = BALANCE.get() + bytes;
    if balance.abs() < STEP {
        BALANCE.set(balance);
    } else {
        BALANCE.set(0);
        tell(balance);
    }
}

fn tell(bytes: i64) {
    if OWN.get() == usize::MAX {
        OWN.set(THREADS.fetch_add(1, Ordering::Relaxed) % COUNTERS);
    }
    COUNTER[OWN.get()].0.fetch_add(bytes, Ordering::Relaxed);
    let news = NEWS.get() + bytes;
    if news.abs() < TOTAL_STEP {
        NEWS.set(news);
    } else {
        NEWS.set(0);
        TOTAL.fetch_add(news, Ordering::Relaxed);
    }
}

/// The size class of jemalloc that holds so many bytes: four classes per doubling, steps of 16 below 128.
#[inline]
fn class(bytes: usize) -> i64 {
    if bytes <= 128 {
        return bytes.next_multiple_of(16).max(16) as i64;
    }
    let step = 1_usize << ((bytes - 1).ilog2() - 2);
    bytes.next_multiple_of(step) as i64
}

/// jemalloc, counted.
#[derive(Debug)]
pub struct Counted;

// SAFETY: every call is passed on to jemalloc unchanged, which upholds the contract; counting allocates nothing.
unsafe impl GlobalAlloc for Counted {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(class(layout.size()));
        // SAFETY: the caller's contract is that of `alloc`.
        unsafe { Jemalloc.alloc(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-class(layout.size()));
        // SAFETY: the caller's contract is that of `dealloc`.
        unsafe { Jemalloc.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(class(layout.size()));
        // SAFETY: the caller's contract is that of `alloc_zeroed`.
        unsafe { Jemalloc.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(class(size) - class(layout.size()));
        // SAFETY: the caller's contract is that of `realloc`.
        unsafe { Jemalloc.realloc(block, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_jemalloc() {
        for (bytes, size) in [
            (1, 16),
            (16, 16),
            (17, 32),
            (128, 128),
            (129, 160),
            (160, 160),
            (161, 192),
            (257, 320),
            (1_025, 1_280),
            (4_097, 5_120),
            (16_384, 16_384),
            (16_385, 20_480),
        ] {
            assert_eq!(class(bytes), size, "{bytes}");
        }
    }
}
