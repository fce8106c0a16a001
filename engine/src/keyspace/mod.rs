//! The key space: lookup, expiry, eviction, and who waits for which key.
//!
//! | file       | holds                                                                     |
//! |------------|---------------------------------------------------------------------------|
//! | `entry`    | a key with its value in one allocation (all of the engine's raw pointers) |
//! | `value`    | values as commands see them                                               |
//! | `shard`    | the slots of one core                                                     |
//! | `access`   | lookups and changes, typed: what commands call                            |
//! | `whole`    | changes of whole keys and databases: rename, copy, flush, swap            |
//! | `expire`   | active expiry                                                             |
//! | `own_keys` | what expires on a replica though its primary does not know it              |
//! | `evict`    | eviction                                                                  |
//! | `scan`     | cursors over all slots                                                    |
//! | `save`     | saving the shard as it was at one moment, while it changes                |
//! | `stored`   | slots that are still in the snapshot file, built when they are asked for  |
//! | `notify`   | keyspace notifications                                                    |
//! | `waiting`  | blocked and watching clients                                              |
//! | `tracked`  | keys that somebody keeps copies of, and what has changed                   |
//!
//! Invariants: a key is only ever in the table of its slot, in a shard that owns that slot; a key that has
//! expired is never visible, though it may still be there; an empty collection is never left behind, but for
//! streams.

mod access;
pub mod entry;
pub mod evict;
pub mod expire;
pub mod notify;
mod own_keys;
pub mod save;
pub mod scan;
pub mod shard;
pub mod stored;
pub mod tracked;
pub mod value;
pub mod waiting;
mod whole;

pub use access::{Keyspace, SetExpiry, ShardList};
pub use shard::{Counts, Garbage, Shard, Stats};
pub use value::{KeyType, StrRef, Value, ValueMut, ValueRef};
