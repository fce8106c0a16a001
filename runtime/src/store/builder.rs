//! How a store is opened.

use super::access::Bell;
use super::disk::{Background, Disk};
use super::{InProcess, Inner, Policy, Store};
use crate::held::Who;
use crate::node::{Node, NodeOptions};
use crate::registry::Registry;
use crate::replication::random_id;
use crate::scripts;
use crate::storage::RealStorage;
use baton_engine::settings::{EvictionPolicy, Settings};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

/// Shards per processor: a thread rarely finds the baton taken that it wants, and a command over all shards is not slow.
const SHARDS_PER_PROCESSOR: usize = 8;
const SHARDS_MIN: usize = 16;
const SHARDS_MAX: usize = 256;

/// How a store is opened.
///
/// ```
/// use baton::store::Builder;
///
/// let store = Builder::new().shards(32).memory();
/// store.set("key", "value")?;
/// # Ok::<(), baton::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    pub(super) shards: usize,
    pub(super) settings: Settings,
    pub(super) used_memory: fn(u64) -> u64,
    pub(super) read_only: bool,
    pub(super) log: Option<Policy>,
    pub(super) save_on_close: Option<bool>,
    pub(super) save_point: Option<(Duration, u64)>,
    pub(super) background: bool,
}

/// How much memory there may be, and what happens beyond.
///
/// A library cannot know how its process allocates, so you say how memory is measured: with jemalloc by its `stats.allocated`,
/// else by an allocator that counts, such as that of the crate `cap`. Do not measure what the system has given to the process
/// (RSS): it hardly shrinks when keys are evicted, and so all of them would be.
#[derive(Clone, Copy, Debug)]
pub struct MemoryLimit {
    /// So many bytes of memory are the limit (`maxmemory`).
    pub bytes: u64,
    /// Which keys leave when it is reached (`maxmemory-policy`). With [`NoEviction`](EvictionPolicy::NoEviction), the default
    /// of Redis, writes are refused with [`OutOfMemory`](super::CommandError::OutOfMemory) instead.
    pub policy: EvictionPolicy,
    /// Tells how many bytes are in use. It is given the limit: only near it the answer has to be right. Called for every
    /// write: it must be cheap.
    pub used: fn(u64) -> u64,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// The defaults: 16 databases, no limit of memory, eight shards for each processor.
    ///
    /// ```
    /// let builder = baton::store::Builder::new();
    /// # drop(builder);
    /// ```
    pub fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            shards: (processors * SHARDS_PER_PROCESSOR).clamp(SHARDS_MIN, SHARDS_MAX),
            settings: Settings::default(),
            used_memory: |_| 0,
            read_only: false,
            log: Some(Policy::EverySecond),
            save_on_close: None,
            save_point: None,
            background: false,
        }
    }

    /// How many shards there are, 1 to 1024: as many threads can work at the same moment, on different shards. More cost
    /// commands over all of them (`scan`, `len`) a little.
    ///
    /// ```
    /// let store = baton::Store::builder().shards(4).memory();
    /// assert_eq!(store.node().cores(), 4);
    /// ```
    #[must_use]
    pub fn shards(mut self, count: usize) -> Self {
        self.shards = count.clamp(1, 1024);
        self
    }

    /// How many databases there are (`databases`), at least one.
    ///
    /// ```
    /// let store = baton::Store::builder().databases(1).memory();
    /// assert!(store.database(1).is_err());
    /// ```
    #[must_use]
    pub fn databases(mut self, count: usize) -> Self {
        self.settings.databases = count.max(1);
        self
    }

    /// Limits memory. Eviction happens when a command writes, on the thread that writes; see also
    /// [`Store::evict`](super::Store::evict).
    ///
    /// ```
    /// use baton::Store;
    /// use baton::store::{EvictionPolicy, MemoryLimit};
    ///
    /// fn used(_near: u64) -> u64 {
    ///     0 // Ask the allocator here.
    /// }
    ///
    /// let limit = MemoryLimit { bytes: 1 << 30, policy: EvictionPolicy::AllKeysLru, used };
    /// let store = Store::builder().memory_limit(limit).memory();
    /// # store.set("key", "value")?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    #[must_use]
    pub fn memory_limit(mut self, limit: MemoryLimit) -> Self {
        self.settings.maxmemory = limit.bytes;
        self.settings.maxmemory_policy = limit.policy;
        self.used_memory = limit.used;
        self
    }

    /// Settings of the engine that have no method here: limits of the compact encodings and the like.
    ///
    /// ```
    /// let store = baton::Store::builder().settings(|settings| settings.hash_max_listpack_entries = 64).memory();
    /// # store.hset("hash", "field", "value")?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    #[must_use]
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Opens an empty store in memory. What is in it is gone with the last handle.
    ///
    /// ```
    /// let store = baton::store::Builder::new().memory();
    /// assert!(store.is_empty()?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn memory(self) -> Store {
        let node = self.make_node();
        // Without the thread, what it would do is done when keys are asked for.
        let background = self.start_background(&node, None).unwrap_or_default();
        self.store(node, None, background)
    }

    /// When a change is safe, for a store with a directory (`appendfsync`):
    ///
    /// | policy        | a call that changes something returns when its change is                        |
    /// |---------------|----------------------------------------------------------------------------------|
    /// | `Always`      | synced: it survives a crash of the machine. Threads that wait share a sync         |
    /// | `EverySecond` | written: it survives the end of the process; a crash of the machine costs a second |
    /// | `Never`       | written; the system syncs when it likes                                            |
    ///
    /// The default is `EverySecond`.
    ///
    /// ```
    /// use baton::store::Policy;
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path();
    /// let store = baton::Store::builder().fsync(Policy::Always).open(path)?;
    /// store.incr("orders")?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    #[must_use]
    pub fn fsync(mut self, policy: Policy) -> Self {
        self.log = Some(policy);
        self
    }

    /// No log: what was changed is safe after [`Store::save`] only, and when the last handle is dropped (unless
    /// [`save_on_close`](Self::save_on_close) says otherwise).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path();
    /// let store = baton::Store::builder().without_log().open(path)?;
    /// store.set("key", "value")?;
    /// store.save()?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    #[must_use]
    pub fn without_log(mut self) -> Self {
        self.log = None;
        self
    }

    /// Whether a snapshot is written when the last handle is dropped: without a log it is, with one it is not, unless it is said
    /// here.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path();
    /// drop(baton::Store::builder().save_on_close(true).open(path)?);
    /// assert!(path.join("dump.rdb").exists());
    /// # Ok::<(), baton::Error>(())
    /// ```
    #[must_use]
    pub fn save_on_close(mut self, save: bool) -> Self {
        self.save_on_close = Some(save);
        self
    }

    /// Writes a snapshot when so much time has passed since the last one and there have been so many changes (`save`).
    /// Starts the [background](Self::background) thread.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path();
    /// let store = baton::Store::builder().without_log().save_after(Duration::from_secs(60), 1000).open(path)?;
    /// # drop(store);
    /// # Ok::<(), baton::Error>(())
    /// ```
    #[must_use]
    pub fn save_after(mut self, time: Duration, changes: u64) -> Self {
        self.save_point = Some((time, changes));
        self.background = true;
        self
    }

    /// A thread of the store removes expired keys, evicts, and builds what is still in the snapshot file, ten times a second.
    /// Without it these are done when keys are asked for, or by [`Store::expire_step`] and [`Store::evict`].
    ///
    /// ```
    /// let store = baton::Store::builder().background(true).memory();
    /// # drop(store);
    /// ```
    #[must_use]
    pub fn background(mut self, on: bool) -> Self {
        self.background = on;
        self
    }

    /// Opens for reading only: nothing is written to the directory but the lock of its log, changes are refused, and others may
    /// open the directory as soon as it is loaded. What they change is not seen.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path();
    /// # drop(baton::Store::open(path)?);
    /// let store = baton::Store::builder().read_only().open(path)?;
    /// assert!(matches!(store.set("key", "value"), Err(baton::Error::ReadOnly)));
    /// # Ok::<(), baton::Error>(())
    /// ```
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    pub(super) fn make_node(&self) -> Arc<Node> {
        Node::new(NodeOptions {
            cores: self.shards,
            settings: self.settings.clone(),
            hash_seed: std::array::from_fn(|_| random()),
            seed: random(),
            replication_id: random_id(),
            registry: Registry::new(&[scripts::COMMANDS]),
            used_memory: self.used_memory,
            storage: Arc::new(RealStorage),
        })
    }

    pub(super) fn store(&self, node: Arc<Node>, disk: Option<Disk>, background: Option<Background>) -> Store {
        let who = Who {
            id: IN_PROCESS,
            db: 0,
            resp3: true,
            no_touch: false,
            remembers: false,
            identity: Arc::new(InProcess),
        };
        let read_only = self.read_only && disk.is_some();
        let (listeners, bell) = (Mutex::default(), Arc::<Bell>::default());
        let waker = bell.clone().into();
        let waiting = AtomicUsize::new(0);
        let inner = Inner { node, read_only, listeners, disk, background, bell, waker, waiting };
        Store { inner: Arc::new(inner), who }
    }
}

/// The number under which stores give commands: none that a server gives to a client.
pub(super) const IN_PROCESS: u64 = 1 << 62;

/// Randomness of the operating system, through the seeds that the standard library draws from it.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u128(std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos()));
    hasher.finish()
}
