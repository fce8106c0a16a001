//! Several batons, taken in ascending order, while others try and send: nobody waits for ever.

use loom::sync::Arc;
use loom::thread;

#[path = "../../src/baton.rs"]
mod baton;

use baton::{Baton, Guarded};

/// What `src/sync.rs` gives to the baton: locks that the checker knows, so that it sees who waits for whom.
mod sync {
    use std::collections::VecDeque;

    pub use loom::sync::MutexGuard;

    pub fn fence() {}

    pub struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }

        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }

    pub struct Queue<T>(loom::sync::Mutex<VecDeque<T>>);

    impl<T> Queue<T> {
        pub fn new() -> Self {
            Self(loom::sync::Mutex::new(VecDeque::new()))
        }

        pub fn push(&self, item: T) {
            self.0.lock().unwrap().push_back(item);
        }

        pub fn pop(&self) -> Option<T> {
            self.0.lock().unwrap().pop_front()
        }

        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }

        pub fn len(&self) -> usize {
            self.0.lock().unwrap().len()
        }
    }
}

type Shared = Arc<[Baton<u32>; 2]>;

impl Guarded for u32 {}

/// A command over both cores.
fn both(batons: &Shared) {
    let [mut first, mut second] = [batons[0].take(), batons[1].take()];
    (*first, *second) = (*first + 1, *second + 1);
}

/// A batch with a group for each core, from the last to the first: what is taken is not waited for.
fn batch(batons: &Shared) {
    for baton in batons.iter().rev() {
        match baton.try_take() {
            Some(mut value) => *value += 1,
            None => baton.send(Box::new(|value| *value += 1)),
        }
    }
}

fn check(threads: &'static [fn(&Shared)]) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(move || {
        let batons: Shared = Arc::new([Baton::new(0), Baton::new(0)]);
        let others: Vec<_> = threads
            .iter()
            .map(|thread| {
                let batons = batons.clone();
                thread::spawn(move || thread(&batons))
            })
            .collect();
        both(&batons);
        others.into_iter().for_each(|thread| thread.join().unwrap());
        let expected = 1 + threads.len() as u32;
        assert_eq!([*batons[0].take(), *batons[1].take()], [expected; 2]);
    });
}

#[test]
fn several_batons_in_ascending_order_never_deadlock() {
    check(&[both]);
    check(&[batch]);
    check(&[both, batch]);
}
