//! How a store is opened.

use super::{InProcess, Inner, Store};
use crate::held::Who;
use crate::node::{Node, NodeOptions};
use crate::registry::Registry;
use crate::storage::RealStorage;
use baton_engine::settings::{EvictionPolicy, Settings};
use std::sync::Arc;

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
        self.store(Inner { node, read_only: false })
    }

    pub(super) fn make_node(&self) -> Arc<Node> {
        Node::new(NodeOptions {
            cores: self.shards,
            settings: self.settings.clone(),
            hash_seed: std::array::from_fn(|_| random()),
            seed: random(),
            registry: Registry::new(&[]),
            used_memory: self.used_memory,
            storage: Arc::new(RealStorage),
        })
    }

    pub(super) fn store(&self, inner: Inner) -> Store {
        let who = Who { id: 1, db: 0, resp3: true, no_touch: false, identity: Arc::new(InProcess) };
        Store { inner: Arc::new(inner), who }
    }
}

/// Randomness of the operating system, through the seeds that the standard library draws from it.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u128(std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos()));
    hasher.finish()
}
