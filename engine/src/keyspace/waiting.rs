//! Who waits for a key: blocked clients (BLPOP and kin), watched keys (WATCH) and readers that keep copies (client-side
//! caching). All travel with their slot.

use crate::command::ShardFn;
use crate::error::CommandError;
use crate::hash::Hasher;
use crate::keyspace::shard::{Shard, SlotData};
use crate::keyspace::tracked::Tracked;
use crate::keyspace::value::KeyType;
use crate::reply::Reply;
use crate::slot::Slot;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// A database and a key in it.
pub type DbKey = (usize, Box<[u8]>);

/// Whether a client may still have the command run for which it has waited.
pub type May = Box<dyn Fn(&[&[u8]]) -> Result<(), CommandError> + Send + Sync>;

/// Set when a watched key changes; the transaction of its client is then void.
#[derive(Debug, Default)]
pub struct WatchFlag(AtomicBool);

impl WatchFlag {
    /// Marks the watching client's transaction void.
    pub fn touch(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether a watched key has changed.
    pub fn is_touched(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Where a waiting command stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum State {
    Waiting,
    /// Somebody who holds the batons is running it.
    Running,
    /// Answered, timed out, or its client is gone.
    Done,
}

/// A command whose client waits for one of its keys.
pub struct Waiter {
    /// The client.
    pub client_id: u64,
    /// The command, to be run again.
    pub args: Vec<Box<[u8]>>,
    /// Its function.
    pub run: ShardFn,
    /// The database it was given in.
    pub db: usize,
    /// The protocol of its client.
    pub resp3: bool,
    /// The type of key it can use.
    pub wants: KeyType,
    /// It is run as well when a key is gone or of another type: to say so.
    pub needs_keys: bool,
    /// Its client keeps copies of what it reads, and is to be told when that changes.
    pub remembers: bool,
    /// The keys it waits for.
    pub keys: Vec<Box<[u8]>>,
    /// Asked before the command runs again: whether its client may still have it run. Must not block.
    pub may: May,
    /// Takes the encoded reply to the client. Must not block.
    pub answer: Box<dyn Fn(Vec<u8>) + Send + Sync>,
    /// How long the command has run for it, in nanoseconds; the wait not included.
    pub spent_ns: AtomicU64,
    state: AtomicU8,
    /// Somebody who came to serve it found it being served.
    passed: AtomicBool,
}

impl Waiter {
    /// A command that waits from now on.
    #[allow(clippy::too_many_arguments, reason = "one argument per public field, built in one place")]
    pub fn new(
        client_id: u64,
        args: Vec<Box<[u8]>>,
        run: ShardFn,
        db: usize,
        resp3: bool,
        wants: KeyType,
        keys: Vec<Box<[u8]>>,
        may: May,
        answer: Box<dyn Fn(Vec<u8>) + Send + Sync>,
    ) -> Self {
        let state = AtomicU8::new(State::Waiting as u8);
        let (spent_ns, passed) = (AtomicU64::new(0), AtomicBool::new(false));
        let (needs_keys, remembers) = (false, false);
        Self {
            client_id,
            args,
            run,
            db,
            resp3,
            wants,
            needs_keys,
            remembers,
            keys,
            may,
            answer,
            spent_ns,
            state,
            passed,
        }
    }

    /// Takes the right to run it; false when somebody else has it or it is done.
    pub fn claim(&self) -> bool {
        self.change(State::Waiting, State::Running)
    }

    /// Gives the right back: it could not be served after all.
    pub fn release(&self) {
        self.change(State::Running, State::Waiting);
    }

    /// Ends the wait from outside (time over, CLIENT UNBLOCK, client gone); false when it is being served.
    pub fn cancel(&self) -> bool {
        self.change(State::Waiting, State::Done) || self.is_done()
    }

    /// Notes that a line could not be served because this one in it is being served under other batons: whoever does
    /// that has to look at the lines of all its keys afterwards.
    pub fn pass(&self) {
        self.passed.store(true, Ordering::Release);
    }

    /// Whether that happened since the last question.
    pub fn was_passed(&self) -> bool {
        self.passed.swap(false, Ordering::AcqRel)
    }

    /// It has been served.
    pub fn finish(&self) {
        self.state.store(State::Done as u8, Ordering::Release);
    }

    /// Whether nobody has to serve it any more.
    pub fn is_done(&self) -> bool {
        self.state.load(Ordering::Acquire) == State::Done as u8
    }

    fn change(&self, from: State, to: State) -> bool {
        self.state.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiter").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// Whether a reply means that the wait goes on.
pub fn still_waits(reply: &Reply) -> bool {
    matches!(reply, Reply::Block { .. })
}

/// Those who wait for the keys of one slot. Usually there is none at all.
#[derive(Debug)]
pub struct Waiting {
    /// Blocked commands per key, first come first served.
    pub blocked: HashMap<DbKey, VecDeque<Arc<Waiter>>, Hasher>,
    /// Watches per key.
    pub watched: HashMap<DbKey, Vec<Arc<WatchFlag>>, Hasher>,
    /// Keys with readers that are to be told of a change.
    pub tracked: Tracked,
}

impl Waiting {
    /// Nobody waits yet. `hasher` keys the maps: the keys are the clients' choice.
    pub fn new(hasher: &Hasher) -> Self {
        Self {
            blocked: HashMap::with_hasher(hasher.clone()),
            watched: HashMap::with_hasher(hasher.clone()),
            tracked: Tracked::new(hasher),
        }
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.blocked.is_empty() && self.watched.is_empty() && self.tracked.is_empty()
    }
}

/// Those who wait for keys of a slot, made when there are none.
pub(super) fn of_slot(shard: &mut Shard, slot: Slot) -> &mut Waiting {
    let hasher = shard.hasher().clone();
    shard.slot_mut(slot).waiting.get_or_insert_with(|| Box::new(Waiting::new(&hasher)))
}

/// Takes the place of those who wait away when nobody does any more.
pub(super) fn drop_if_nobody(data: &mut SlotData) {
    if data.waiting.as_ref().is_some_and(|waiting| waiting.is_empty()) {
        data.waiting = None;
    }
}
