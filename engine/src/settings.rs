//! What of the configuration the engine needs. The names are those of redis.conf.

use crate::types::{hash::HashLimits, list::NodeLimit, set::SetLimits, stream::NodeLimits, zset::ZSetLimits};

/// Which keys may be evicted, and which first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EvictionPolicy {
    /// Refuse writes instead.
    #[default]
    NoEviction,
    /// Least recently used of all keys.
    AllKeysLru,
    /// Least frequently used of all keys.
    AllKeysLfu,
    /// Random among all keys.
    AllKeysRandom,
    /// Least recently used of the keys that expire.
    VolatileLru,
    /// Least frequently used of the keys that expire.
    VolatileLfu,
    /// Random among the keys that expire.
    VolatileRandom,
    /// The key that expires first.
    VolatileTtl,
}

impl EvictionPolicy {
    /// Whether the clock of a key holds when it was used last.
    pub fn is_lru(self) -> bool {
        matches!(self, Self::AllKeysLru | Self::VolatileLru)
    }

    /// Whether the access clock of entries counts frequency rather than recency.
    #[inline]
    pub fn is_lfu(self) -> bool {
        matches!(self, Self::AllKeysLfu | Self::VolatileLfu)
    }

    /// Whether only keys that expire may go.
    pub fn volatile_only(self) -> bool {
        matches!(self, Self::VolatileLru | Self::VolatileLfu | Self::VolatileRandom | Self::VolatileTtl)
    }
}

/// Settings that commands read. A snapshot: it does not change while a batch runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Number of databases.
    pub databases: usize,
    /// `cluster-enabled`
    pub cluster_enabled: bool,
    /// `proto-max-bulk-len`: the longest string.
    pub proto_max_bulk_len: u64,
    /// `hash-max-listpack-entries`
    pub hash_max_listpack_entries: usize,
    /// `hash-max-listpack-value`
    pub hash_max_listpack_value: usize,
    /// `list-max-listpack-size`
    pub list_max_listpack_size: i64,
    /// `list-compress-depth`; lists are not compressed in memory, snapshots are.
    pub list_compress_depth: usize,
    /// DEBUG QUICKLIST-PACKED-THRESHOLD: list elements of so many bytes get a node of their own.
    pub quicklist_packed_threshold: Option<usize>,
    /// `set-max-intset-entries`
    pub set_max_intset_entries: usize,
    /// `set-max-listpack-entries`
    pub set_max_listpack_entries: usize,
    /// `set-max-listpack-value`
    pub set_max_listpack_value: usize,
    /// `zset-max-listpack-entries`
    pub zset_max_listpack_entries: usize,
    /// `zset-max-listpack-value`
    pub zset_max_listpack_value: usize,
    /// `stream-node-max-bytes`; 0 means any.
    pub stream_node_max_bytes: usize,
    /// `stream-node-max-entries`; 0 means any.
    pub stream_node_max_entries: usize,
    /// `hll-sparse-max-bytes`
    pub hll_sparse_max_bytes: usize,
    /// `rdbcompression`: DUMP compresses strings.
    pub rdb_compression: bool,
    /// `notify-keyspace-events` as bits of [`crate::keyspace::notify::Class`].
    pub notify: u32,
    /// `maxmemory` in bytes; 0 is no limit.
    pub maxmemory: u64,
    /// `maxmemory-policy`
    pub maxmemory_policy: EvictionPolicy,
    /// `maxmemory-samples`
    pub maxmemory_samples: usize,
    /// `lfu-log-factor`
    pub lfu_log_factor: u32,
    /// `lfu-decay-time` in minutes.
    pub lfu_decay_time: u32,
    /// `lazyfree-lazy-eviction`: evicted keys leave as UNLINK rather than DEL. They are freed at once all the same: it is
    /// their memory that is needed.
    pub lazyfree_lazy_eviction: bool,
    /// `lazyfree-lazy-expire`: expired keys leave as UNLINK rather than DEL, and large ones are freed without haste.
    pub lazyfree_lazy_expire: bool,
    /// `lazyfree-lazy-server-del`
    pub lazyfree_lazy_server_del: bool,
    /// `lazyfree-lazy-user-del`
    pub lazyfree_lazy_user_del: bool,
    /// `lazyfree-lazy-user-flush`
    pub lazyfree_lazy_user_flush: bool,
    /// `active-expire-effort`, 1 to 10.
    pub active_expire_effort: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            databases: 16,
            cluster_enabled: false,
            proto_max_bulk_len: 512 << 20,
            hash_max_listpack_entries: 512,
            hash_max_listpack_value: 64,
            list_max_listpack_size: -2,
            list_compress_depth: 0,
            quicklist_packed_threshold: None,
            set_max_intset_entries: 512,
            set_max_listpack_entries: 128,
            set_max_listpack_value: 64,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
            stream_node_max_bytes: 4096,
            stream_node_max_entries: 100,
            hll_sparse_max_bytes: 3000,
            rdb_compression: true,
            notify: 0,
            maxmemory: 0,
            maxmemory_policy: EvictionPolicy::NoEviction,
            maxmemory_samples: 5,
            lfu_log_factor: 10,
            lfu_decay_time: 1,
            lazyfree_lazy_eviction: true,
            lazyfree_lazy_expire: true,
            lazyfree_lazy_server_del: true,
            lazyfree_lazy_user_del: true,
            lazyfree_lazy_user_flush: true,
            active_expire_effort: 1,
        }
    }
}

impl Settings {
    /// When a set leaves its compact encodings.
    pub fn set_limits(&self) -> SetLimits {
        SetLimits {
            intset_entries: self.set_max_intset_entries,
            listpack_entries: self.set_max_listpack_entries,
            listpack_value: self.set_max_listpack_value,
        }
    }

    /// When a hash leaves the listpack.
    pub fn hash_limits(&self) -> HashLimits {
        HashLimits {
            listpack_entries: self.hash_max_listpack_entries,
            listpack_value: self.hash_max_listpack_value,
        }
    }

    /// Up to where a sorted set is compact.
    pub fn zset_limits(&self) -> ZSetLimits {
        ZSetLimits {
            listpack_entries: self.zset_max_listpack_entries,
            listpack_value: self.zset_max_listpack_value,
        }
    }

    /// How much one node of a stream may hold.
    pub fn stream_limits(&self) -> NodeLimits {
        NodeLimits { max_bytes: self.stream_node_max_bytes, max_entries: self.stream_node_max_entries }
    }

    /// How much one node of a list may hold.
    pub fn node_limit(&self) -> NodeLimit {
        let limit = NodeLimit::new(self.list_max_listpack_size);
        self.quicklist_packed_threshold.map_or(limit, |bytes| limit.with_large_from(bytes))
    }
}
