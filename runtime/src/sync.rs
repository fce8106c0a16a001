//! The primitives under the baton, in one place so that a model checker can take theirs.

pub(crate) use crossbeam_queue::SegQueue as Queue;
pub(crate) use parking_lot::{Mutex, MutexGuard};

/// Orders a look at the inbox after letting the baton go, and a try for the baton after filling the inbox.
#[inline]
pub(crate) fn fence() {
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}
