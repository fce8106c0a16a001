//! No work is ever left in the inbox of a free baton, all of it is done exactly once and in the order of its sender.
//!
//! The lock and the queue are as weak as the real ones may be: acquire and release, nothing is sequentially consistent
//! but the fence of the hand-over itself. Without that fence the first test fails.

use loom::sync::Arc;
use loom::thread;

#[path = "../../src/baton.rs"]
mod baton;

use baton::{Baton, Guarded};

/// What `src/sync.rs` gives to the baton.
mod sync {
    use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::collections::VecDeque;
    use std::ops::{Deref, DerefMut};

    pub fn fence() {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }

    /// A spin lock. The inner lock is never contended: it stands in for the memory that the outer one protects.
    pub struct Mutex<T> {
        taken: AtomicBool,
        value: std::sync::Mutex<T>,
    }

    pub struct MutexGuard<'a, T> {
        taken: &'a AtomicBool,
        value: Option<std::sync::MutexGuard<'a, T>>,
    }

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Self {
            Self { taken: AtomicBool::new(false), value: std::sync::Mutex::new(value) }
        }

        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).ok()?;
            let value = Some(self.value.try_lock().expect("two hold the baton"));
            Some(MutexGuard { taken: &self.taken, value })
        }

        pub fn lock(&self) -> MutexGuard<'_, T> {
            loop {
                match self.try_lock() {
                    Some(guard) => return guard,
                    None => loom::thread::yield_now(),
                }
            }
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.value.as_deref().expect("the value leaves only in drop")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.value.as_deref_mut().expect("the value leaves only in drop")
        }
    }

    impl<T> Drop for MutexGuard<'_, T> {
        fn drop(&mut self) {
            self.value = None;
            self.taken.store(false, Ordering::Release);
        }
    }

    /// A queue whose emptiness may be seen late.
    pub struct Queue<T> {
        items: std::sync::Mutex<VecDeque<T>>,
        pushed: AtomicUsize,
        popped: AtomicUsize,
    }

    impl<T> Queue<T> {
        pub fn new() -> Self {
            let items = std::sync::Mutex::new(VecDeque::new());
            Self { items, pushed: AtomicUsize::new(0), popped: AtomicUsize::new(0) }
        }

        pub fn push(&self, item: T) {
            self.items.lock().unwrap().push_back(item);
            self.pushed.fetch_add(1, Ordering::Release);
        }

        pub fn pop(&self) -> Option<T> {
            if self.is_empty() {
                return None;
            }
            let item = self.items.lock().unwrap().pop_front();
            self.popped.fetch_add(1, Ordering::Release);
            item
        }

        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }

        pub fn len(&self) -> usize {
            let popped = self.popped.load(Ordering::Relaxed);
            self.pushed.load(Ordering::Acquire).saturating_sub(popped)
        }
    }
}

type Shared = Arc<Baton<Vec<u32>>>;

impl Guarded for Vec<u32> {}

fn send(baton: &Shared, value: u32) {
    baton.send(Box::new(move |done| done.push(value)));
}

/// Runs some threads in every interleaving; once all have ended, what they sent must have been done *already*: taking
/// the baton to look would do what was left.
#[track_caller]
fn check(preemptions: Option<usize>, threads: &[fn(&Shared)], sent: &'static [u32]) {
    let (threads, place) = (threads.to_vec(), std::panic::Location::caller());
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemptions;
    model.check(move || {
        let baton: Shared = Arc::new(Baton::new(Vec::new()));
        let running: Vec<_> = threads
            .iter()
            .map(|thread| {
                let (baton, thread) = (baton.clone(), *thread);
                thread::spawn(move || thread(&baton))
            })
            .collect();
        running.into_iter().for_each(|thread| thread.join().unwrap());
        let done: Vec<u32> = baton.try_take().expect("nobody holds it any more").clone();
        let mut sorted = done.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, sent, "{place}");
        // Tens are senders, ones their work in order.
        assert!(
            done.iter().all(|a| done.iter().rev().take_while(|b| *b != a).all(|b| a / 10 != b / 10 || a < b))
        );
    });
}

#[test]
fn work_never_lies_in_the_inbox_of_a_free_baton() {
    check(None, &[|baton| send(baton, 10), |baton| drop(baton.try_take())], &[10]);
    check(None, &[|baton| send(baton, 10), |baton| drop(baton.take())], &[10]);
}

#[test]
fn everything_is_done_once() {
    check(None, &[|baton| send(baton, 10), |baton| send(baton, 20)], &[10, 20]);
    check(
        Some(2),
        &[|baton| send(baton, 10), |baton| send(baton, 20), |baton| drop(baton.try_take())],
        &[10, 20],
    );
}

#[test]
fn the_order_of_a_sender_is_kept() {
    let sender = |baton: &Shared| {
        send(baton, 10);
        send(baton, 11);
    };
    check(Some(3), &[sender, |baton| drop(baton.try_take())], &[10, 11]);
    check(Some(2), &[sender, |baton| send(baton, 20)], &[10, 11, 20]);
}

#[test]
fn work_that_panics_takes_nothing_else_along() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let broken = |baton: &Shared| {
        baton.send(Box::new(|_| panic!("as intended")));
        send(baton, 10);
    };
    check(Some(2), &[broken, |baton| send(baton, 20)], &[10, 20]);
    std::panic::set_hook(hook);
}
