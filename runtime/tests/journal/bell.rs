//! Whoever makes work visible and then rings if the thread sleeps, and a thread that sleeps only when it sees no work:
//! the work is always done.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;

#[path = "../../src/journal/bell.rs"]
#[allow(dead_code, reason = "times are not modelled")]
mod inner;

use inner::Bell;

/// What `src/journal/mod.rs` gives to the bell.
mod sync {
    pub use loom::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    pub fn fence() {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }

    pub struct Mutex<T>(loom::sync::Mutex<T>);
    pub type Guard<'a, T> = loom::sync::MutexGuard<'a, T>;

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub fn lock(&self) -> Guard<'_, T> {
            self.0.lock().unwrap()
        }
    }

    pub struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub fn new() -> Self {
            Self(loom::sync::Condvar::new())
        }

        pub fn notify_one(&self) {
            self.0.notify_one();
        }
    }

    pub fn wait<'a, T>(condition: &Condvar, guard: Guard<'a, T>, _: Option<Duration>) -> Guard<'a, T> {
        condition.0.wait(guard).unwrap()
    }
}

/// Two write, one syncs: it ends only when it has seen both writes, and it sleeps for ever if nobody wakes it, which
/// the checker reports.
#[test]
fn no_work_is_slept_through() {
    let mut model = loom::model::Builder::new();
    // Without a bound it takes minutes; the races here need one preemption each.
    model.preemption_bound = Some(3);
    model.check(|| {
        let shared = Arc::new((Bell::new(), AtomicUsize::new(0)));
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || {
                    shared.1.fetch_add(1, Relaxed);
                    shared.0.ring_if_asleep();
                })
            })
            .collect();
        let (mut synced, bell) = (0, &shared.0);
        while synced < 2 {
            let written = shared.1.load(Relaxed);
            if written > synced {
                synced = written;
            } else {
                bell.sleep(None, || shared.1.load(Relaxed) > synced);
            }
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    });
}
