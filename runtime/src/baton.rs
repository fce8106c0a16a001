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

use crate::sync::{Mutex, MutexGuard, Queue, fence};
use std::ops::{Deref, DerefMut};

/// Work for whoever holds the baton. Must not block and must not take a baton itself.
pub type Work<T> = Box<dyn FnOnce(&mut T) + Send>;

/// What is to be touched by one at a time, with an inbox for the work of those who come in vain.
pub struct Baton<T> {
    held: Mutex<T>,
    inbox: Queue<Work<T>>,
}

impl<T> Baton<T> {
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

    /// Leaves work for whoever holds the baton, and does it here and now if nobody does.
    pub fn send(&self, work: Work<T>) {
        self.inbox.push(work);
        fence();
        // Dropping what we took does all the work that is there.
        drop(self.try_take());
    }
}

/// A baton that is held. Letting it go does the work of the inbox first.
pub struct Holding<'a, T> {
    baton: &'a Baton<T>,
    guard: Option<MutexGuard<'a, T>>,
}

impl<T> Deref for Holding<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.guard.as_deref().expect("the guard leaves only in drop")
    }
}

impl<T> DerefMut for Holding<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_deref_mut().expect("the guard leaves only in drop")
    }
}

impl<T> Drop for Holding<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let mut taken = self.guard.take();
        while let Some(mut guard) = taken {
            while let Some(work) = self.baton.inbox.pop() {
                work(&mut guard);
            }
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
