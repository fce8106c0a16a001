//! What may change between one connection of a link and the next.

use crate::replication::handshake::Facts;
use std::path::PathBuf;
use std::time::Duration;

/// How the snapshot of a full synchronisation is taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intake {
    /// Written to a file first, which then becomes the node's own snapshot.
    File(Snapshot),
    /// As a stream if there are no data, else by way of a file.
    StreamIfEmpty(Snapshot),
    /// As a stream, while the old data are served.
    Stream,
    /// As a stream, after the old data have been thrown away (`flush-before-load`).
    StreamAfterFlush,
}

/// Where a snapshot is written, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// While it comes.
    pub temp: PathBuf,
    /// When it is whole.
    pub path: PathBuf,
    /// It is of no use once it has been loaded (`rdb-del-sync-files`).
    pub remove: bool,
}

/// What may change between one connection and the next.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// Who this replica is; what it knows the link fills in.
    pub facts: Facts,
    /// `repl-timeout`
    pub timeout: Duration,
    /// How a snapshot is taken in.
    pub intake: Intake,
    /// Bytes of the stream that are kept for further replicas (`repl-backlog-size`); 0 for a node that has none.
    pub backlog: u64,
    /// Its checksum is checked.
    pub verify: bool,
    /// Snapshots of unknown versions are read as far as possible.
    pub any_version: bool,
    /// A pause after each key of a file that is loaded, for tests.
    pub key_delay: Duration,
    /// The old data are freed beside the new ones that come, not before them (`replica-lazy-flush`).
    pub lazy_flush: bool,
    /// The stream is followed though it cannot be written to the log (`replica-ignore-disk-write-errors`).
    pub ignores_disk: bool,
}
