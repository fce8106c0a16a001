//! The flusher of a core: writes the log once per turn of the core's loop, for all its connections, and has it sent to the
//! replicas.
//!
//! A connection whose commands left effects keeps its replies back and asks the flusher to run. The flusher is a task like
//! the connections, so it comes after all of them that have something to do in this turn; it writes what they have
//! left, by one call of the system, and lets them go on. With `appendfsync always` the journal's own thread writes and syncs, and
//! wakes the flusher once for all of them.

use baton::Node;
use baton::journal::Verdict;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// That what is in the log up to this offset is as safe as `appendfsync` says, or is lost.
    Acknowledged(u64),
    /// That it has been synced, whatever the policy: WAITAOF.
    Synced(u64),
}

/// Shared by the connections of a core.
pub struct Flusher {
    node: Arc<Node>,
    core: usize,
    waiting: RefCell<Vec<(Until, Waker)>>,
    /// Grows whenever somebody is let go, so that those who asked before know that they may have to ask again.
    round: Cell<u32>,
    kicked: Cell<bool>,
    task: RefCell<Option<Waker>>,
}

impl Flusher {
    /// The flusher of a core; [`run`](Self::run) must be running for it to do anything.
    pub fn new(node: Arc<Node>, core: usize) -> Self {
        Self {
            node,
            core,
            waiting: RefCell::default(),
            round: Cell::new(1),
            kicked: Cell::new(false),
            task: RefCell::default(),
        }
    }

    /// Has the log written at the end of this turn, if there is anything to write.
    #[inline]
    pub fn kick(&self) {
        if !self.kicked.get()
            && (self.node.journal().has_unwritten() || self.node.replication().served.count() > 0)
        {
            self.kicked.set(true);
            self.wake();
        }
    }

    /// Has this waker woken when it is so. Once per round: `asked` is where the caller keeps the round in which it asked.
    /// Look whether it is so already after it, not before.
    pub fn wait(&self, until: Until, asked: &mut u32, waker: &Waker) {
        if *asked == self.round.get() {
            return;
        }
        *asked = self.round.get();
        self.waiting.borrow_mut().push((until, waker.clone()));
        // To ask the journal for news, should it not be written or synced by this core.
        self.wake();
    }

    /// Writes what has been pushed here and now: for a connection that has too much to send to wait for the turn's end.
    pub fn write_now(&self) {
        self.node.journal().write();
        self.wake();
    }

    /// Writes and wakes until the core ends.
    pub async fn run(&self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        {
            let mut task = self.task.borrow_mut();
            if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
                *task = Some(cx.waker().clone());
            }
        }
        if self.kicked.replace(false) {
            let (journal, replicas) = (self.node.journal(), &self.node.replication().served);
            if replicas.count() > 0 {
                // No replica hears of what is not in the file: it would be ahead of a node that is killed now.
                journal.write();
                replicas.wake();
            } else {
                journal.flush();
            }
        }
        self.let_go();
        if !self.waiting.borrow().is_empty() {
            self.node.journal().register(self.core, cx.waker());
            // What happened before that wakes nobody.
            self.let_go();
        }
        Poll::Pending
    }

    /// Wakes those whose time has come.
    fn let_go(&self) {
        let journal = self.node.journal();
        let mut waiting = self.waiting.borrow_mut();
        let before = waiting.len();
        waiting.retain(|(until, waker)| {
            let waits = match until {
                Until::Acknowledged(offset) => journal.verdict(*offset) == Verdict::Wait,
                Until::Synced(offset) => journal.has_file() && !self.node.is_synced(*offset),
            };
            if !waits {
                waker.wake_by_ref();
            }
            waits
        });
        if waiting.len() < before {
            // Never 0, the round of those who have not asked.
            self.round.set(self.round.get().checked_add(1).unwrap_or(1));
        }
        if waiting.is_empty() && waiting.capacity() > 1024 {
            *waiting = Vec::new();
        }
    }

    fn wake(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }
}
