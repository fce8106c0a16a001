//! The replicas that are connected: what their connections and everybody else share of them.

use super::backlog::{Backlog, ReaderId};
use super::primary::{Action, Event, Limits, Phase, Replica, Why};
use super::transfer::Transfer;
use futures_util::task::AtomicWaker;
use parking_lot::{Mutex, RwLock};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Waker;
use tokio::sync::Notify;

/// A connected replica.
#[derive(Debug)]
pub struct Served {
    /// The number of its connection.
    pub id: u64,
    /// The address that it comes from.
    pub ip: String,
    inner: Mutex<Inner>,
    waker: AtomicWaker,
    /// It has been woken and has not looked since: no need to wake it again.
    is_woken: AtomicBool,
}

#[derive(Debug)]
struct Inner {
    replica: Replica,
    /// What its connection is to do.
    actions: VecDeque<Action>,
    /// Where it reads the backlog.
    reader: Option<(Arc<Backlog>, ReaderId)>,
    /// The snapshot that it is sent.
    transfer: Option<Arc<Transfer>>,
}

impl Served {
    /// A replica that has asked for data.
    pub fn new(id: u64, ip: String, replica: Replica) -> Self {
        let inner = Inner { replica, actions: VecDeque::new(), reader: None, transfer: None };
        Self { id, ip, inner: Mutex::new(inner), waker: AtomicWaker::new(), is_woken: AtomicBool::new(false) }
    }

    /// The replica as it is now.
    pub fn replica(&self) -> Replica {
        self.inner.lock().replica.clone()
    }

    /// The address by which others reach it.
    pub fn address(&self) -> String {
        let inner = self.inner.lock();
        inner.replica.facts.address.as_deref().unwrap_or(&self.ip).to_owned()
    }

    /// Looks at the replica.
    pub fn with<R>(&self, look: impl FnOnce(&Replica) -> R) -> R {
        look(&self.inner.lock().replica)
    }

    /// Something has happened to it. What is to be done is left for its connection, which is woken.
    pub fn tell(&self, event: Event, now_ms: i64, limits: &Limits) {
        let mut inner = self.inner.lock();
        let action = inner.replica.on(event, now_ms, limits);
        if action == Action::Nothing {
            return;
        }
        inner.actions.push_back(action);
        drop(inner);
        self.wake();
    }

    /// Leaves something to do for its connection.
    pub fn order(&self, action: Action) {
        self.inner.lock().actions.push_back(action);
        self.wake();
    }

    /// What its connection is to do next.
    pub fn next_action(&self) -> Option<Action> {
        self.inner.lock().actions.pop_front()
    }

    /// Changes what it has told about itself.
    pub fn with_facts(&self, change: impl FnOnce(&mut super::primary::Facts)) {
        change(&mut self.inner.lock().replica.facts);
    }

    /// Why its connection is to end, if it is.
    pub fn closing(&self) -> Option<Why> {
        self.inner.lock().actions.iter().find_map(|action| match action {
            Action::Close(why) => Some(*why),
            _ => None,
        })
    }

    /// From here on it reads the stream.
    pub fn follow(&self, backlog: Arc<Backlog>, reader: ReaderId) {
        self.leave_stream();
        self.inner.lock().reader = Some((backlog, reader));
    }

    /// Where it reads the stream.
    pub fn reader(&self) -> Option<(Arc<Backlog>, ReaderId)> {
        self.inner.lock().reader.clone()
    }

    /// It reads the stream no more.
    pub fn leave_stream(&self) {
        let reader = self.inner.lock().reader.take();
        if let Some((backlog, reader)) = reader {
            backlog.detach(reader);
        }
    }

    /// A snapshot for it.
    pub fn set_transfer(&self, transfer: Arc<Transfer>) {
        self.inner.lock().transfer = Some(transfer);
        self.wake();
    }

    /// The snapshot that it is sent.
    pub fn transfer(&self) -> Option<Arc<Transfer>> {
        self.inner.lock().transfer.clone()
    }

    /// The snapshot has been sent, or is of no use.
    pub fn end_transfer(&self) {
        let transfer = self.inner.lock().transfer.take();
        if let Some(transfer) = transfer {
            transfer.abandon();
        }
    }

    /// Wakes its connection, once until it looks.
    #[inline]
    pub fn wake(&self) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Asks for this waker to be woken when there is something to do. Look after it, not before.
    pub fn register(&self, waker: &Waker) {
        self.waker.register(waker);
        self.is_woken.store(false, Ordering::Release);
    }
}

/// All connected replicas.
#[derive(Debug, Default)]
pub struct AllServed {
    all: RwLock<Vec<Arc<Served>>>,
    count: AtomicUsize,
    /// Tells those in WAIT that a replica has acknowledged something.
    acknowledged: Notify,
}

impl AllServed {
    /// One more.
    pub fn add(&self, served: Arc<Served>) {
        let mut all = self.all.write();
        all.push(served);
        self.count.store(all.len(), Ordering::Release);
    }

    /// One less: what was kept for it may go.
    pub fn remove(&self, id: u64) {
        let mut all = self.all.write();
        let gone = all.iter().position(|served| served.id == id).map(|at| all.remove(at));
        self.count.store(all.len(), Ordering::Release);
        drop(all);
        if let Some(served) = gone {
            served.end_transfer();
            served.leave_stream();
        }
    }

    /// How many there are.
    #[inline]
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// All of them, in the order in which they came.
    pub fn all(&self) -> Vec<Arc<Served>> {
        self.all.read().clone()
    }

    /// Wakes those that have something to send.
    #[inline]
    pub fn wake(&self) {
        if self.count() > 0 {
            self.all.read().iter().for_each(|served| served.wake());
        }
    }

    /// Is notified when a replica has acknowledged something.
    pub fn acknowledged(&self) -> &Notify {
        &self.acknowledged
    }

    /// How many have the stream up to this offset.
    pub fn count_having(&self, offset: u64) -> usize {
        self.count_if(|replica| replica.has >= offset)
    }

    /// How many have it on their disks up to this offset.
    pub fn count_synced(&self, offset: u64) -> usize {
        self.count_if(|replica| replica.synced >= offset)
    }

    /// How many have been sent all data and have acknowledged something within this time, or been sent the end of the data.
    pub fn count_good(&self, now_ms: i64, lag_max_s: i64) -> usize {
        self.count_those(|replica| replica.is_online() && replica.lag_s(now_ms) <= lag_max_s)
    }

    fn count_if(&self, is_meant: impl Fn(&Replica) -> bool) -> usize {
        self.count_those(|replica| replica.phase == Phase::Online && is_meant(replica))
    }

    fn count_those(&self, is_meant: impl Fn(&Replica) -> bool) -> usize {
        self.all.read().iter().filter(|served| served.with(&is_meant)).count()
    }
}
