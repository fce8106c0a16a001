//! The primitives under the baton and under the bell of the journal, in one place so that a model checker can take theirs.

pub(crate) use crossbeam_queue::SegQueue as Queue;
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};

/// Orders a look at the inbox after letting the baton go, and a try for the baton after filling the inbox.
#[inline]
pub(crate) fn fence() {
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}

/// Waits for the condition to be told of, at most for this time.
pub(crate) fn wait<'a, T>(
    condition: &Condvar,
    mut guard: MutexGuard<'a, T>,
    time: Option<std::time::Duration>,
) -> MutexGuard<'a, T> {
    match time {
        None => condition.wait(&mut guard),
        Some(time) => drop(condition.wait_for(&mut guard, time)),
    }
    guard
}
