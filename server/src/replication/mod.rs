//! What a node does for its replicas, as far as settings, connections and time are concerned. The decisions are those of
//! `baton::replication`.
//!
//! | file        | holds                                                                        |
//! |-------------|------------------------------------------------------------------------------|
//! | `full_sync` | snapshots for replicas: when they begin, who takes part, what becomes of them |
//! | `failover`  | FAILOVER, carried out                                                        |
//! | `end`       | replicas are given time before the node ends                                 |
//! | `chores`    | what is due once a second: pings, figures, the end of the backlog             |
//!
//! The connection of a replica is served by `crate::connection::replica`.

mod chores;
mod end;
pub mod failover;
mod full_sync;

pub use chores::{chores, count_good, request_acks, settings_changed};
pub use end::wait_for_replicas;
pub use full_sync::{call_off_if_useless, file_is_over, start_if_due};

use crate::config::Settings;
use crate::server::Server;
use baton::replication::backlog::Backlog;
use baton::replication::failover::Failover;
use baton::replication::primary::{How, Limits};
use baton::replication::random_id;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize};

/// What a server keeps for its replicas.
#[derive(Debug, Default)]
pub struct Serving {
    /// When `chores` were last done, Unix ms.
    last_chores_ms: AtomicI64,
    /// When replicas were last sent a `PING`, Unix ms.
    last_ping_ms: AtomicI64,
    /// Since when there has been no replica, Unix ms; 0 while there is one.
    alone_since_ms: AtomicI64,
    /// Offset behind the last `REPLCONF GETACK`.
    asked_up_to: AtomicU64,
    /// Replicas that count for `min-replicas-to-write`.
    pub good: AtomicUsize,
    /// They are too few: clients may not write.
    pub too_few: AtomicBool,
    /// Only one of those who look whether a snapshot is due begins it.
    starting: Mutex<()>,
    /// The last snapshot that was begun for replicas: its number, and how it gets to them.
    snapshot: Mutex<Option<(u64, How)>>,
    /// A replica is about to take over.
    pub failover: Mutex<Failover>,
    /// It does not want to.
    pub failover_refused: AtomicBool,
    /// While the node waits for replicas before it ends: until when at most, Unix ms; else 0.
    pub ends_at_ms: AtomicI64,
    /// SHUTDOWN ABORT, while the end waits for replicas.
    pub end_called_off: AtomicBool,
    /// Bytes that have been sent to replicas.
    pub bytes_out: AtomicU64,
}

/// What a replica may cost.
pub fn limits(settings: &Settings) -> Limits {
    let class = settings.client_output_buffer_limit.replica;
    // A replica may always lag as far as the backlog reaches: that costs nothing.
    let hard_bytes = match class.hard_bytes {
        0 => 0,
        bytes => bytes.max(settings.repl_backlog_size),
    };
    Limits {
        timeout_ms: i64::from(settings.repl_timeout) * 1_000,
        hard_bytes,
        soft_bytes: class.soft_bytes,
        soft_ms: class.soft_seconds * 1_000,
    }
}

/// What is kept in memory at most for a replica that does not read. With the log on disk it need not be more than what a replica
/// may have unread for long: the rest it gets from there.
pub fn memory_limit(server: &Server) -> u64 {
    let limits = limits(&server.settings());
    let soft = server.node.journal().has_file().then_some(limits.soft_bytes);
    [Some(limits.hard_bytes), soft].into_iter().flatten().filter(|bytes| *bytes > 0).min().unwrap_or(0)
}

/// The backlog; opens it for the first replica. The history begins then, for nobody can know what came before.
pub fn backlog(server: &Arc<Server>) -> Arc<Backlog> {
    let node = &server.node;
    if let Some(backlog) = node.replication().backlog() {
        return backlog;
    }
    let mut held = node.hold_all();
    if node.replication().backlog().is_none() && !node.replication().is_replica() {
        node.change_history(|history| history.renew(random_id()));
        let id = node.replication().history().id;
        crate::log!(
            crate::logging::Level::Notice,
            "Replication backlog created, my new replication IDs are '{id}' and '{:040}'",
            0
        );
    }
    held.open_backlog(server.settings().repl_backlog_size)
}
