//! The append-only log: its files, as bytes.
//!
//! | file       | holds                                                                              |
//! |------------|------------------------------------------------------------------------------------|
//! | `manifest` | the list of the files: parse, write, and the next one after every change             |
//! | `block`    | the annotation in front of every block that Baton writes: lengths and checksums      |
//! | `lineage`  | which history of replication the log belongs to, and up to which place               |
//! | `read`     | whole commands and transactions out of a file; where it is torn, where damaged       |
//! | `rewrite`  | a snapshot as commands: the base of a log that has no snapshot in front               |
//! | `route`    | the slots that a command touches, for replay by many cores                           |
//!
//! Everything here works on slices of bytes: the caller reads, maps, writes, syncs and renames.
//!
//! Absent on purpose: files, the clock, and the replay itself, which is plain commands.

pub mod block;
pub mod lineage;
pub mod manifest;
pub mod read;
#[cfg(test)]
mod read_tests;
pub mod rewrite;
pub mod route;
