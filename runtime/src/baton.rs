//! The baton: whoever holds it may touch the shard, nobody else.
//!
//! Work for a shard whose baton is taken goes to its inbox. The hand-over has no gap:
//!
//! | who                  | does                                                                          |
//! |----------------------|-------------------------------------------------------------------------------|
//! | sender               | puts work into the inbox, *then* tries to take the baton and empty the inbox   |
//! | holder, letting go   | empties the inbox, lets the baton go, *then* looks at the inbox once more      |
//!
//! If the sender's try fails, somebody holds the baton and has its last look still to come. So work never lies in
//! the inbox of a free baton, nobody has to be woken for it, and nobody waits for a long command but those whose
//! work needs the same shard.

// Relative, so that the tests can put a model checker's primitives under this very file.
use super::sync::{Mutex, MutexGuard, Queue, fence};
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a baton may guard.
pub trait Guarded {
    /// Called each time before the baton is let go, after the work of the inbox. Must not block.
    fn before_letting_go(&mut self) {}
}

/// Work for whoever holds the baton. Must not block and must not wait for a baton itself.
pub type Work<T> = Box<dyn FnOnce(&mut T) + Send>;

/// Work that may lie in an inbox before its senders wait for the baton themselves: whoever holds it does the work of
/// all others, and would never come back to its own were they faster than it.
const INBOX_MAX: usize = 128;

/// What is to be touched by one at a time, with an inbox for the work of those who come in vain.
pub struct Baton<T: Guarded> {
    held: Mutex<T>,
    inbox: Queue<Work<T>>,
}

impl<T: Guarded> Baton<T> {
    /// A free baton.
    pub fn new(value: T) -> Self {
        Self { held: Mutex::new(value), inbox: Queue::new() }
    }

    /// Takes the baton if it is free. Never waits.
    #[inline]
    pub fn try_take(&self) -> Option<Holding<'_, T>> {
        let guard = self.held.try_lock()?;
        Some(Holding { baton: self, guard: Some(guard) })
    }

    /// Takes the baton, waiting for it. Those who take several take them in ascending order of their shards.
    pub fn take(&self) -> Holding<'_, T> {
        Holding { baton: self, guard: Some(self.held.lock()) }
    }

    /// Leaves work for whoever holds the baton, and does it here and now if nobody does. Waits only when the inbox
    /// is crowded: the sender must hold no baton.
    ///
    /// Work that panics is dropped: neither its sender nor whoever happens to do it goes down with it.
    pub fn send(&self, work: Work<T>) {
        self.inbox.push(work);
        if self.inbox.len() > INBOX_MAX {
            return drop(self.take());
        }
        fence();
        // Dropping what we took does all the work that is there.
        drop(self.try_take());
    }
}

/// A baton that is held. Letting it go does the work of the inbox first.
pub struct Holding<'a, T: Guarded> {
    baton: &'a Baton<T>,
    guard: Option<MutexGuard<'a, T>>,
}

impl<T: Guarded> Deref for Holding<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.guard.as_deref().expect("the guard leaves only in drop")
    }
}

impl<T: Guarded> DerefMut for Holding<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_deref_mut().expect("the guard leaves only in drop")
    }
}

impl<T: Guarded> Drop for Holding<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let mut taken = self.guard.take();
        while let Some(mut guard) = taken {
            // The look is cheaper than the try, and there is hardly ever anything.
            while !self.baton.inbox.is_empty()
                && let Some(work) = self.baton.inbox.pop()
            {
                // The panic has been reported by its hook. Letting it through would end a stranger's connection, or
                // the process if the baton is let go because of another panic.
                drop(catch_unwind(AssertUnwindSafe(|| work(&mut guard))));
            }
            guard.before_letting_go();
            drop(guard);
            fence();
            // The last look: what came between the emptying and the letting go is ours, unless somebody else
            // has taken the baton since, who has a last look of its own to come.
            if self.baton.inbox.is_empty() {
                return;
            }
            taken = self.baton.held.try_lock();
        }
    }
}
