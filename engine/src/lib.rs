//! The data of a Baton node: slots, data types, commands, expiry and eviction.
//!
//! **Invariant:** the engine never reads the clock and never draws its own randomness. The caller passes `now`
//! and the seeds, so a replay of the log expires exactly the keys that the first run expired.
//!
//! Absent on purpose: sockets, threads, locks, files, tokio.
#![deny(missing_docs)]

pub mod aof;
pub mod command;
pub mod commands;
pub mod context;
pub mod effects;
pub mod error;
pub mod execute;
pub mod glob;
pub mod hash;
pub mod keyspace;
pub mod number;
pub mod prefetch;
pub mod random;
pub mod rdb;
pub mod reply;
pub mod settings;
pub mod slot;
pub mod snapshot;
pub mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod types;
pub mod words;
