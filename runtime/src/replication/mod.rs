//! Replication: what a node has to do with other nodes that hold the same data.
//!
//! | file       | holds                                                                        |
//! |------------|------------------------------------------------------------------------------|
//! | `identity` | which history the data belong to, and whether a replica can go on in it      |
//! | `role`     | whether this node is a primary or a replica                                  |
//! | `backlog`  | the last bytes of the stream, for all who read it                            |
//! | `catch_up` | the stream from the log on disk, for who wants what the backlog lost          |
//! | `primary`  | one replica as its primary sees it: a state machine                          |
//! | `failover` | a primary hands its part over: a state machine                                |
//! | `served`   | the replicas that are connected                                              |
//! | `transfer` | a snapshot on its way to replicas                                            |
//! | `handshake` | what a replica and its primary say first                                     |
//! | `payload`  | the snapshot on the wire                                                     |
//! | `stream`   | the stream on the wire, cut into what must not be torn apart                  |
//! | `sync`     | a full synchronisation: all data, in place of what was here                   |
//! | `apply`    | the stream applied, on all cores                                              |
//! | `filter`   | which keys a copy in a program keeps                                          |
//! | `link`     | the connection of a replica with its primary, and its thread                  |
//! | `connect`  | how the primary is reached                                                    |
//!
//! The stream of a primary *is* its journal (`crate::journal`): the offset of replication is the offset of the log. While
//! nobody follows the log, nothing is encoded and the offset stands still.
//!
//! Two ways of counting meet here. The journal counts bytes that have been pushed: its byte `n` is the one that `n` others
//! came before. Redis numbers bytes from 1: a replica that has `n` bytes asks for byte `n + 1`. Offsets in this folder are the
//! journal's; what the wire says is called *wire offset* and is only found where the wire is spoken.
//!
//! Absent on purpose: sockets of replicas, commands, settings: the shell of the server knows those.

pub mod apply;
pub mod backlog;
pub mod catch_up;
pub mod connect;
pub mod failover;
pub mod filter;
pub mod handshake;
pub mod identity;
pub mod link;
pub mod payload;
pub mod primary;
pub mod role;
pub mod served;
pub mod stream;
pub mod sync;
pub mod transfer;

use crate::held::Held;
use crate::node::Node;
use arc_swap::{ArcSwap, ArcSwapOption};
use backlog::{Backlog, Feed};
use baton_engine::aof::read::Position;
use identity::{History, OFFSET_MAX, ReplId};
use parking_lot::Mutex;
use role::Role;
use served::AllServed;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A name for a history that begins: from the randomness of the operating system, through the seeds that the standard
/// library draws from it.
pub fn random_id() -> ReplId {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let random_u64 = || RandomState::new().build_hasher().finish();
    let mut bytes = [0; 20];
    bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&random_u64().to_le_bytes()[..chunk.len()]));
    ReplId::from_random(bytes)
}

/// A node's part in replication.
#[derive(Debug)]
pub struct Replication {
    history: Mutex<History>,
    role: ArcSwap<Role>,
    is_replica: AtomicBool,
    /// The last bytes of the stream, once anybody has asked for it.
    backlog: ArcSwapOption<Backlog>,
    /// The number under which it follows the journal.
    subscription: AtomicU64,
    /// The replicas that are connected.
    pub served: AllServed,
    /// What INFO counts.
    pub counts: Counts,
}

/// What INFO counts of synchronisations.
#[derive(Debug, Default)]
pub struct Counts {
    /// Full ones.
    pub full: AtomicU64,
    /// Replicas that went on where they were.
    pub partial_ok: AtomicU64,
    /// Replicas that could not.
    pub partial_err: AtomicU64,
}

impl Counts {
    /// CONFIG RESETSTAT.
    pub fn reset(&self) {
        for count in [&self.full, &self.partial_ok, &self.partial_err] {
            count.store(0, Ordering::Relaxed);
        }
    }
}

/// Where a snapshot stands in the stream, for who goes on from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The history.
    pub id: ReplId,
    /// Bytes of it that the snapshot holds.
    pub offset: u64,
    /// The database that the stream is in there.
    pub db: usize,
}

impl Moment {
    /// From the AUX fields of a snapshot.
    pub fn of_aux(aux: &[(Vec<u8>, Vec<u8>)]) -> Option<Self> {
        let field =
            |name: &str| aux.iter().find(|(key, _)| key == name.as_bytes()).map(|(_, value)| &**value);
        let number = |name: &str| field(name).and_then(|text| str::from_utf8(text).ok()?.parse::<i64>().ok());
        let is_possible = |offset: &u64| *offset <= OFFSET_MAX;
        Some(Self {
            id: ReplId::parse(field("repl-id")?)?,
            offset: number("repl-offset")
                .and_then(|offset| u64::try_from(offset).ok())
                .filter(is_possible)?,
            db: number("repl-stream-db").and_then(|db| usize::try_from(db).ok()).unwrap_or(0),
        })
    }

    /// From what a log says, at the end of it.
    pub fn of_log(end: &Position) -> Option<Self> {
        let named = end.lineage.here().filter(|named| named.off <= OFFSET_MAX)?;
        Some(Self { id: ReplId::parse(&named.id)?, offset: named.off, db: named.db.unwrap_or(end.db) })
    }

    /// The AUX fields by which it is found again, as Redis names them.
    pub fn aux(&self) -> [(&'static str, String); 3] {
        [
            ("repl-stream-db", self.db.to_string()),
            ("repl-id", self.id.to_string()),
            ("repl-offset", self.offset.to_string()),
        ]
    }
}

impl Replication {
    /// A primary whose data begin a history of this name.
    pub fn new(id: ReplId) -> Self {
        Self {
            history: Mutex::new(History::new(id)),
            role: ArcSwap::from_pointee(Role::Primary),
            is_replica: AtomicBool::new(false),
            backlog: ArcSwapOption::empty(),
            subscription: AtomicU64::new(0),
            served: AllServed::default(),
            counts: Counts::default(),
        }
    }

    /// The last bytes of the stream, if they are kept.
    pub fn backlog(&self) -> Option<Arc<Backlog>> {
        self.backlog.load_full()
    }

    /// Whether the last bytes of the stream are kept. One look.
    #[inline]
    pub fn has_backlog(&self) -> bool {
        self.backlog.load().is_some()
    }

    /// Whether this node follows another one: one load, for the look before each command that writes.
    #[inline]
    pub fn is_replica(&self) -> bool {
        self.is_replica.load(Ordering::Relaxed)
    }

    /// What this node is.
    pub fn role(&self) -> Arc<Role> {
        self.role.load_full()
    }

    /// Makes this node what it is to be. The caller sees to all that belongs to it.
    pub fn set_role(&self, role: Role) {
        self.is_replica.store(matches!(role, Role::Replica { .. }), Ordering::Release);
        self.role.store(Arc::new(role));
    }

    /// The history of the data, as it is now.
    pub fn history(&self) -> History {
        self.history.lock().clone()
    }
}

impl Node {
    /// Notes what has happened to the history: one of the functions of [`History`]. The log says it from here on. While nothing is
    /// pushed: under all batons, or on the thread that takes over the stream of a primary.
    pub fn change_history(&self, change: impl FnOnce(&mut History)) {
        let mut history = self.replication.history.lock();
        change(&mut history);
        self.journal().name_history(history.id.bytes());
    }

    /// A primary starts with data that were saved at this moment of a history: its replicas may go on where they were, as far as
    /// they were no farther. Before the log is opened, and before anybody is served.
    pub fn resume_history(self: &Arc<Self>, moment: Moment, id: ReplId, backlog_size: u64) {
        let mut held = self.hold_all();
        self.journal().set_offset(moment.offset);
        self.change_history(|history| history.resume(id, moment.id, moment.offset));
        held.open_backlog(backlog_size);
    }
}

impl Node {
    /// A replica starts with data that were saved at this moment of its primary's history: it may go on from there. Before the
    /// log is opened, and before anybody is served.
    pub fn resume_following(self: &Arc<Self>, moment: Moment, backlog_size: u64) {
        let mut held = self.hold_all();
        self.change_history(|history| history.adopt(moment.id));
        held.follow(moment.db, Some(moment.offset));
        held.open_backlog(backlog_size);
    }
}

impl Held<'_> {
    /// The last bytes of the stream are kept from here on. Every core must be held.
    pub fn open_backlog(&mut self, size: u64) -> Arc<Backlog> {
        let node = self.node();
        if let Some(backlog) = node.replication().backlog() {
            return backlog;
        }
        let backlog = Arc::new(Backlog::new(size, self.join_stream().0));
        let (number, offset) = self.subscribe(Box::new(Feed(backlog.clone())));
        debug_assert_eq!(offset, backlog.end(), "nothing is pushed while every core is held");
        let replication = node.replication();
        replication.subscription.store(number, Ordering::Release);
        replication.backlog.store(Some(backlog.clone()));
        backlog
    }

    /// The stream is no longer kept. Every core must be held.
    pub fn close_backlog(&mut self) {
        let node = self.node();
        let replication = node.replication();
        if replication.backlog.swap(None).is_some() {
            node.journal().unsubscribe(replication.subscription.load(Ordering::Acquire));
            self.listen_if_wanted();
        }
    }
}
