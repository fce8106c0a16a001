//! Baton: who owns which slot. Cores, batons, batches, and what all cores share.
//!
//! | file       | holds                                                                     |
//! |------------|---------------------------------------------------------------------------|
//! | `node`     | a node: its cores and what they share; moving slots between cores         |
//! | `baton`    | the baton and its inbox                                                   |
//! | `batch`    | commands grouped by core and run                                          |
//! | `held`     | several batons at once: commands over several cores, transactions         |
//! | `blocked`  | serving those who wait for a key                                          |
//! | `caught`   | commands that panic                                                       |
//! | `slots`    | the slot map                                                              |
//! | `pubsub`   | channels, patterns, keyspace notifications                                |
//! | `tracking` | client-side caching: who keeps copies of keys, and is told of changes     |
//! | `janitor`  | frees what takes long to free                                             |
//! | `scripts`  | scripts and functions in Lua                                              |
//! | `registry` | every command by name                                                     |
//! | `book`     | what commands cost                                                        |
//! | `slowlog`  | commands that took long, asked much or answered much                      |
//! | `latency`  | when something took longer than it should                                 |
//! | `replication` | histories, roles: what a node has to do with others that hold the same data |
//! | `journal`  | the one ordered log of all effects: pushed, written, synced               |
//! | `store`    | the store as a library: `Store`                                           |
//! | `storage`  | the files of persistence: the disk, and one that can be made to fail      |
//!
//! Absent on purpose: parsing what clients send, configuration files, the command line, data structures.
#![deny(missing_docs)]

pub mod batch;
mod baton;
mod blocked;
pub mod book;
mod caught;
pub mod held;
pub mod janitor;
pub mod journal;
pub mod latency;
pub mod node;
pub mod persist;
pub mod pubsub;
pub mod registry;
pub mod replication;
pub mod scripts;
pub mod slots;
pub mod slowlog;
pub mod snapshot;
pub mod storage;
pub mod store;
mod sync;
pub mod tracking;

pub use node::{Node, NodeOptions};
pub use store::{Error, Reply, Store};
