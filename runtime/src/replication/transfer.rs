//! A snapshot on its way to one replica: chunks in a queue of bounded size, between the thread that has them and the
//! connection that sends them.
//!
//! The thread waits while the queue is full, the connection is woken when there is something to send. Either may leave:
//! the other one learns of it.

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

/// Bytes that wait to be sent, at most, but for one chunk.
const QUEUED_MAX: usize = 1 << 20;

/// A snapshot on its way to one replica.
#[derive(Debug, Default)]
pub struct Transfer {
    queue: Mutex<Queue>,
    room: Condvar,
    waker: AtomicWaker,
}

#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    end: Option<End>,
    /// Nobody takes them any more.
    abandoned: bool,
}

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With all of the snapshot.
    Whole,
    /// In the middle.
    Failed,
}

/// What there is to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// This.
    Chunk(Bytes),
    /// Nothing yet.
    Wait,
    /// Nothing more.
    Over(End),
}

impl Transfer {
    /// Queues a chunk, and waits for room if need be. False: nobody takes it any more.
    pub fn push(&self, chunk: Bytes) -> bool {
        let mut queue = self.queue.lock();
        while queue.bytes >= QUEUED_MAX && !queue.abandoned {
            self.room.wait(&mut queue);
        }
        if queue.abandoned {
            return false;
        }
        queue.bytes += chunk.len();
        queue.chunks.push_back(chunk);
        drop(queue);
        self.waker.wake();
        true
    }

    /// There will be no more.
    pub fn end(&self, end: End) {
        self.queue.lock().end.get_or_insert(end);
        self.waker.wake();
    }

    /// Takes what is to be sent next.
    pub fn next(&self) -> Next {
        let mut queue = self.queue.lock();
        if queue.end == Some(End::Failed) {
            return Next::Over(End::Failed);
        }
        let Some(chunk) = queue.chunks.pop_front() else {
            return queue.end.map_or(Next::Wait, Next::Over);
        };
        queue.bytes -= chunk.len();
        self.room.notify_one();
        Next::Chunk(chunk)
    }

    /// Asks for this waker to be woken when there is more. Look at [`next`](Self::next) after it, not before.
    pub fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Nobody takes any of it any more.
    pub fn abandon(&self) {
        let mut queue = self.queue.lock();
        queue.abandoned = true;
        queue.chunks.clear();
        queue.bytes = 0;
        self.room.notify_one();
    }

    /// Whether somebody still takes it.
    pub fn is_wanted(&self) -> bool {
        !self.queue.lock().abandoned
    }
}

/// One snapshot for several replicas: every chunk goes to all who still take it.
#[derive(Clone, Debug, Default)]
pub struct Fanout {
    transfers: Arc<Mutex<Vec<Arc<Transfer>>>>,
    /// How many took all of it.
    whole: Arc<AtomicUsize>,
}

impl Fanout {
    /// One more who takes it. Before the first chunk.
    pub fn add(&self, transfer: Arc<Transfer>) {
        self.transfers.lock().push(transfer);
    }

    /// Sends a chunk; as fast as the slowest of them takes it. False: nobody is left.
    pub fn push(&self, chunk: &Bytes) -> bool {
        let transfers = self.transfers.lock().clone();
        let wanted = transfers.into_iter().filter(|transfer| transfer.push(chunk.clone()));
        let left: Vec<_> = wanted.collect();
        let is_any = !left.is_empty();
        *self.transfers.lock() = left;
        is_any
    }

    /// Ends all of them.
    pub fn end(&self, end: End) {
        for transfer in self.transfers.lock().drain(..).filter(|transfer| transfer.is_wanted()) {
            self.whole.fetch_add(usize::from(end == End::Whole), Ordering::Relaxed);
            transfer.end(end);
        }
    }

    /// How many were still there when it ended, and had all of it.
    pub fn count_whole(&self) -> usize {
        self.whole.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_waits_for_room_and_learns_that_nobody_is_left() {
        let (slow, gone) = (Arc::new(Transfer::default()), Arc::new(Transfer::default()));
        let all = Fanout::default();
        all.add(slow.clone());
        all.add(gone.clone());
        gone.abandon();
        let sender = std::thread::spawn({
            let all = all.clone();
            move || {
                let chunk = Bytes::from(vec![7; QUEUED_MAX / 2]);
                let sent = (0..8).take_while(|_| all.push(&chunk)).count();
                all.end(End::Whole);
                sent
            }
        });
        let mut bytes = 0;
        let end = loop {
            match slow.next() {
                Next::Chunk(chunk) => bytes += chunk.len(),
                Next::Wait => std::thread::yield_now(),
                Next::Over(end) => break end,
            }
        };
        assert_eq!((bytes, end), (4 * QUEUED_MAX, End::Whole));
        assert_eq!(sender.join().expect("no panic"), 8);
        let last = Arc::new(Transfer::default());
        all.add(last.clone());
        last.abandon();
        assert!(!all.push(&Bytes::from_static(b"x")));
    }

    #[test]
    fn what_failed_sends_nothing_more() {
        let transfer = Transfer::default();
        transfer.push(Bytes::from_static(b"x"));
        transfer.end(End::Failed);
        transfer.end(End::Whole);
        assert_eq!(transfer.next(), Next::Over(End::Failed));
    }
}
