//! A stack of its own for every script, so that one which takes long can be left standing and taken up elsewhere.
//!
//! ```text
//! start ---> runs on this thread ---> done
//!                  |
//!                  '-- its turn is over (`pause`) ---> runs on a thread of its own ---> done
//! ```
//!
//! The event loop of the thread where it began goes on after one turn. What the script holds, its batons among it, goes with
//! its stack: to everybody else it looks as if another core held them.
//!
//! Scripts also need more stack than a thread may have: Lua calls itself through functions of C, up to limits of its own.

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use futures_util::task::AtomicWaker;
use parking_lot::{Condvar, Mutex};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Address space per stack; memory is taken as it is used. What Lua allows itself needs a few megabytes: 200 functions of C
/// within each other with 8 kB of buffer each, or replies of 8,000 arrays within each other.
const STACK_BYTES: usize = 32 << 20;

/// Stacks that a thread keeps.
const KEPT_MAX: usize = 4;

/// What runs on this thread.
#[derive(Clone, Copy)]
enum On {
    /// Its own stack.
    Thread,
    /// That of a script, which can be left here.
    Script(NonNull<Yielder<(), ()>>),
    /// That of a script, which stays.
    Moved,
}

thread_local! {
    static ON: Cell<On> = const { Cell::new(On::Thread) };
    static IDLE: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
}

/// Work on a stack of its own.
struct Fiber<R>(Coroutine<(), (), R, DefaultStack>);

// SAFETY: a fiber is left only in `pause`, which scripts reach between two instructions of Lua. What lies on its stack then is
// the work that `start` was given, which is promised to be `Send`; the frames of `eval` and `interpreter`, which own batons
// (their guards may be let go on any thread), an interpreter, and references to what the giver of the work keeps for it;
// and frames of Lua, which knows no threads. Nothing that belongs to a thread is kept across `pause`: functions that touch
// thread-locals have returned.
unsafe impl<R: Send> Send for Fiber<R> {}

impl<R> Fiber<R> {
    /// Runs until the work is done or [`pause`] is called.
    fn resume(&mut self, on: On) -> Option<R> {
        let before = ON.replace(on);
        let result = catch_unwind(AssertUnwindSafe(|| self.0.resume(())));
        ON.set(before);
        match result {
            Ok(CoroutineResult::Return(result)) => Some(result),
            Ok(CoroutineResult::Yield(())) => None,
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Gives the stack back, of work that is done.
    fn finish(self) {
        let stack = self.0.into_stack();
        IDLE.with_borrow_mut(|idle| {
            if idle.len() < KEPT_MAX {
                idle.push(stack);
            }
        });
    }
}

/// Work that has begun.
pub enum Started<'w, R> {
    /// It is done.
    Done(R),
    /// It takes long.
    Long(Long<'w, R>),
}

/// Work that goes on on a thread of its own. Whoever drops it waits for its end.
pub struct Long<'w, R> {
    shared: Arc<Shared<R>>,
    taken: bool,
    work: PhantomData<&'w mut ()>,
}

struct Shared<R> {
    result: Mutex<Option<std::thread::Result<R>>>,
    done: Condvar,
    waker: AtomicWaker,
}

/// Runs work on a stack of its own until it is done.
pub(crate) fn run<R>(work: impl FnOnce() -> R) -> R {
    if !matches!(ON.get(), On::Thread) {
        return work();
    }
    let mut fiber = fiber(work, false);
    loop {
        // It cannot be left, but that is no matter of safety.
        if let Some(result) = fiber.resume(On::Moved) {
            fiber.finish();
            return result;
        }
    }
}

/// Runs work on a stack of its own for one turn. If it takes longer, it goes on on a thread of its own.
pub fn start<'w, R: Send + 'w>(work: impl FnOnce() -> R + Send + 'w) -> Started<'w, R> {
    let mut fiber = fiber(work, true);
    match fiber.resume(On::Moved) {
        Some(result) => {
            fiber.finish();
            Started::Done(result)
        }
        None => Started::Long(go_on(fiber)),
    }
}

fn fiber<'w, R: 'w>(work: impl FnOnce() -> R + 'w, may_pause: bool) -> Fiber<R> {
    let stack = IDLE.with_borrow_mut(Vec::pop);
    let stack = stack.unwrap_or_else(|| DefaultStack::new(STACK_BYTES).expect("address space for a stack"));
    let body = move |yielder: &Yielder<(), ()>, ()| {
        if may_pause {
            ON.set(On::Script(NonNull::from(yielder)));
        }
        work()
    };
    // SAFETY: the fiber does not outlive what `work` borrows: it is done when `run` returns, and when `start` returns or the
    // `Long` that it returned is gone.
    Fiber(unsafe { Coroutine::with_stack_unchecked(stack, body) })
}

fn go_on<'w, R: Send + 'w>(mut fiber: Fiber<R>) -> Long<'w, R> {
    let shared =
        Arc::new(Shared { result: Mutex::default(), done: Condvar::new(), waker: AtomicWaker::new() });
    let there = shared.clone();
    let work: Box<dyn FnOnce() + Send + 'w> = Box::new(move || {
        let result = catch_unwind(AssertUnwindSafe(|| {
            loop {
                if let Some(result) = fiber.resume(On::Moved) {
                    return result;
                }
            }
        }));
        // Before anybody hears of the end: what it borrows may be gone then.
        drop(fiber);
        *there.result.lock() = Some(result);
        there.done.notify_all();
        there.waker.wake();
    });
    // SAFETY: `Long` borrows for `'w`, and waits for the end of the thread's work before it goes.
    let work: Box<dyn FnOnce() + Send + 'static> = unsafe { std::mem::transmute(work) };
    let thread = std::thread::Builder::new().name("script".to_owned());
    thread.spawn(work).expect("a thread for a script that takes long");
    Long { shared, taken: false, work: PhantomData }
}

impl<R> Future for Long<'_, R> {
    type Output = R;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        self.shared.waker.register(cx.waker());
        let result = self.shared.result.lock().take();
        match result {
            None => Poll::Pending,
            Some(result) => {
                self.taken = true;
                Poll::Ready(result.unwrap_or_else(|panic| resume_unwind(panic)))
            }
        }
    }
}

impl<R> Drop for Long<'_, R> {
    fn drop(&mut self) {
        let mut result = self.shared.result.lock();
        while !self.taken && result.is_none() {
            self.shared.done.wait(&mut result);
        }
    }
}

/// The turn of what runs is over: it goes on elsewhere, if it can.
#[inline(never)]
pub(super) fn pause() {
    if let On::Script(yielder) = ON.replace(On::Moved) {
        // SAFETY: it lies on the stack that we are on. This is another thread when it returns.
        unsafe { yielder.as_ref() }.suspend(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_pauses_goes_on_elsewhere() {
        let here = std::thread::current().id();
        let started = start(|| {
            let before = std::thread::current().id();
            pause();
            let after = std::thread::current().id();
            pause();
            (before, after)
        });
        let Started::Long(long) = started else { panic!("it paused") };
        let mut long = std::pin::pin!(long);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let (before, after) = loop {
            if let Poll::Ready(seen) = long.as_mut().poll(&mut cx) {
                break seen;
            }
            std::thread::yield_now();
        };
        assert!(before == here && after != here);
    }

    #[test]
    fn whoever_drops_it_waits_for_its_end() {
        let mut done = false;
        let started = start(|| {
            pause();
            std::thread::sleep(std::time::Duration::from_millis(20));
            done = true;
        });
        drop(started);
        assert!(done);
    }

    #[test]
    fn panics_pass_through() {
        assert!(catch_unwind(|| run(|| panic!("on a stack of its own"))).is_err());
        assert_eq!(run(|| run(|| 7)), 7, "and the next one finds its place");
    }
}
