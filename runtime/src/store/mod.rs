//! [`Store`]: the store as a library. The node without sockets: commands run on the threads that call.
//!
//! | file          | holds                                                                          |
//! |---------------|--------------------------------------------------------------------------------|
//! | `builder`     | how a store is opened                                                          |
//! | `access`      | one key on the shortest way; any command; waiting for the log                   |
//! | `transaction` | several commands at one moment                                                 |
//! | `batch`       | many commands with one wait                                                    |
//! | `scan`        | going through keys and elements                                                |
//! | `blocking`    | waiting for an element                                                         |
//! | `subscribe`   | messages, and what happens to keys                                             |
//! | `scripts`     | scripts and functions in Lua                                                    |
//! | `disk`        | stores with a directory                                                        |
//! | `replica`     | a live copy of the data of a running server                                    |
//! | `strings` ... | the typed methods, a file per family, for stores and for transactions          |
//! | `reply`       | replies as types                                                               |
//! | `error`       | why a call failed, and what to do                                              |
//!
//! A call takes the baton of its key's shard, works, and lets go: no other thread takes part. A store has more shards than
//! the machine has processors, so that two threads rarely want the same one.
//!
//! Absent on purpose: sockets, users, settings files; whatever a call does not need to be told twice.

mod access;
mod batch;
mod blocking;
mod builder;
mod disk;
mod error;
mod hashes;
#[cfg(feature = "serde")]
mod json;
mod keys;
mod lists;
mod replica;
mod reply;
mod scan;
mod scripts;
mod sets;
mod streams;
mod strings;
mod subscribe;
mod transaction;
mod zsets;

pub use crate::journal::Policy;
pub use batch::Batch;
pub use baton_engine::error::CommandError;
pub use baton_engine::keyspace::KeyType;
pub use baton_engine::settings::EvictionPolicy;
pub use baton_engine::types::stream::StreamId;
pub use blocking::Pop;
pub use builder::{Builder, MemoryLimit};
pub use error::Error;
pub use keys::Ttl;
pub use lists::End;
pub use replica::{Replica, ReplicaBuilder, ReplicaEvent, ReplicaState};
pub use reply::{FromReply, Item, Reader, Reply};
pub use scan::Scan;
pub use scripts::Script;
pub use streams::{PendingEntry, ReadEntries, StreamEntry, StreamRange};
pub use subscribe::{KeyEvent, KeyEvents, Message, Subscription};
pub use transaction::Transaction;

use crate::held::{Identity, Who};
use crate::node::Node;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Waker;

/// A key-value store in this process: strings, hashes, lists, sets, sorted sets and streams, as in Redis, with the same commands.
///
/// ```
/// use baton::Store;
/// use std::time::Duration;
///
/// let store = Store::memory();
/// store.set("greeting", "hello")?;
/// assert_eq!(store.get("greeting")?.as_deref(), Some(&b"hello"[..]));
/// store.expire("greeting", Duration::from_secs(60))?;
/// # Ok::<(), baton::Error>(())
/// ```
///
/// It is `Send` and `Sync`; a clone is another handle to the same store. All methods run on the thread that calls them, and
/// may be called from any. A store in memory has no threads of its own, but for one that frees large values once there
/// are any.
///
/// There is a typed method for nearly every command, under the name of the command; those that are not here are reached by
/// [`run`](Self::run).
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    who: Who,
}

/// What all handles share.
struct Inner {
    node: Arc<Node>,
    read_only: bool,
    listeners: Mutex<subscribe::Listeners>,
    disk: Option<disk::Disk>,
    background: Option<disk::Background>,
    /// Rings when the log has come on, by way of the waker.
    bell: Arc<access::Bell>,
    waker: Waker,
    /// Threads that wait for the log.
    waiting: AtomicUsize,
}

impl Store {
    /// An empty store in memory, with the settings of [`Builder::new`].
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert!(store.is_empty()?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn memory() -> Self {
        Builder::new().memory()
    }

    /// A handle to the data of a node that somebody else runs, such as a server in this process: its settings, its files and
    /// what it does in the background stay with whoever runs it. Key events come as far as the node is set to raise them.
    pub fn of_node(node: Arc<Node>) -> Self {
        Builder::new().store(node, None, None)
    }

    /// How a store is opened that should not be as [`memory`](Self::memory) makes it.
    ///
    /// ```
    /// let store = baton::Store::builder().shards(8).memory();
    /// # store.set("a", "b")?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// A handle to another of the 16 databases (see [`Builder::databases`]): they share nothing but the memory limit
    /// and the files. This one is database 0 unless it came from here.
    ///
    /// # Errors
    /// There is no database of this number.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// let other = store.database(1)?;
    /// other.set("key", "value")?;
    /// assert_eq!(store.get("key")?, None);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn database(&self, number: usize) -> Result<Self, Error> {
        if number >= self.inner.node.settings().databases {
            return Err(CommandError::text("ERR DB index is out of range").into());
        }
        let mut other = self.clone();
        other.who.db = number;
        Ok(other)
    }

    /// The node behind the store, for what a store has no method for: figures, logs of slow commands, subscribers of your own.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.run(["GET", "key"])?;
    /// assert!(store.node().cores() > 0);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn node(&self) -> &Arc<Node> {
        &self.inner.node
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("shards", &self.inner.node.cores())
            .field("database", &self.who.db)
            .field("read_only", &self.inner.is_read_only())
            .finish_non_exhaustive()
    }
}

/// Who calls, as the log of slow commands shows it.
struct InProcess;

impl Identity for InProcess {
    fn address(&self) -> String {
        "in-process".to_owned()
    }

    fn name(&self) -> String {
        "store".to_owned()
    }
}

/// The typed methods of a family, for all that commands can be run on.
macro_rules! commands {
    ($($item:tt)*) => {
        impl crate::store::Store {
            $($item)*
        }

        impl crate::store::Transaction<'_> {
            $($item)*
        }
    };
}
use commands;
