//! Replication: what a node has to do with other nodes that hold the same data.
//!
//! | file       | holds                                                                        |
//! |------------|------------------------------------------------------------------------------|
//! | `identity` | which history the data belong to, and whether a replica can go on in it      |
//! | `role`     | whether this node is a primary or a replica                                  |
//!
//! The stream of a primary *is* its journal (`crate::journal`): the offset of replication is the offset of the log. While
//! nobody follows the log, nothing is encoded and the offset stands still.
//!
//! Two ways of counting meet here. The journal counts bytes that have been pushed: its byte `n` is the one that `n` others
//! came before. Redis numbers bytes from 1: a replica that has `n` bytes asks for byte `n + 1`. Offsets in this folder are the
//! journal's; what the wire says is called *wire offset* and is only found where the wire is spoken.
//!
//! Absent on purpose: sockets of replicas, commands, settings: the shell of the server knows those.

pub mod identity;
pub mod role;

use arc_swap::ArcSwap;
use identity::{History, ReplId};
use parking_lot::Mutex;
use role::Role;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
}

impl Replication {
    /// A primary whose data begin a history of this name.
    pub fn new(id: ReplId) -> Self {
        Self {
            history: Mutex::new(History::new(id)),
            role: ArcSwap::from_pointee(Role::Primary),
            is_replica: AtomicBool::new(false),
        }
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

    /// Notes what has happened to the history: one of the functions of [`History`].
    pub fn with_history<R>(&self, change: impl FnOnce(&mut History) -> R) -> R {
        change(&mut self.history.lock())
    }
}
