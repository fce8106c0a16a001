//! The commands that work on the node rather than on its data: one file per family, each with its table and,
//! below it, the function of each row.

use crate::config::{Appendfsync, MaxmemoryPolicy, Settings};
use crate::server::Server;
use crate::session::{Session, SyncWait};
use baton::held::Held;
use baton::journal::Policy;
use baton::registry::Registry;
use baton::replication::served::Served;
use baton_engine::command::Command;
use baton_engine::error::CommandError;
use baton_engine::reply::Reply;
use futures_util::future::{FutureExt, LocalBoxFuture};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

mod acl;
mod admin;
pub mod client;
mod command;
pub mod command_keys;
mod config;
mod connection;
mod cores;
mod debug;
mod failover;
pub mod info;
mod latency;
mod memory;
mod migrate;
mod module;
mod monitor;
#[cfg(test)]
mod page_tests;
mod persistence;
mod pubsub;
mod replicaof;
mod replicas;
pub mod replication;
mod scripting;
mod slowlog;
#[cfg(test)]
mod table_tests;
mod tracking;
mod transactions;

pub use client::describe as describe_client;
pub use migrate::cached as cached_migrations;
pub use monitor::presentable;
pub use replicas::AsReplica;

/// How a command of the node ends.
#[derive(Debug)]
pub enum Flow {
    /// With a reply (or with what has been written).
    Reply(Reply),
    /// With an error that has been written. It still has to be counted unless that was done where it arose.
    Refused {
        /// It has been counted.
        counted: bool,
    },
    /// After a pause of this connection, with what has been written.
    Sleep(Duration),
    /// Not yet: the connection waits, and answers this when the time (Unix ms) is over.
    Wait {
        /// `None` waits for ever.
        until_ms: Option<i64>,
        /// The answer when the time is over.
        reply: Reply,
    },
    /// Not yet: the connection waits for the log.
    WaitForSync {
        /// `None` waits for ever.
        until_ms: Option<i64>,
        /// For what.
        sync: SyncWait,
    },
    /// Not at all: the connection goes on as that of a replica.
    Replicate(Arc<Served>),
    /// Not yet: the connection waits for work that is done besides.
    Work(Work),
    /// With the connection, after what has been written has left.
    Close,
}

/// Work that takes its time, such as talking to another server, and ends with an encoded reply. Is dropped when its client is
/// gone.
pub struct Work(pub LocalBoxFuture<'static, Vec<u8>>);

impl Work {
    /// Work that has not begun yet.
    pub fn new(work: impl Future<Output = Vec<u8>> + 'static) -> Self {
        Self(work.boxed_local())
    }
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Work")
    }
}

/// `+OK`
pub const OK: Result<Flow, CommandError> = Ok(Flow::Reply(Reply::Ok));
/// The reply has been written.
pub const WRITTEN: Result<Flow, CommandError> = Ok(Flow::Reply(Reply::Written));

/// Runs a command. `held` are the batons of the transaction that it is part of, if it is: who needs the data takes
/// it through [`Session::with_all`], never on its own.
pub type Handler = fn(&mut Session, &[&[u8]], Option<&mut Held<'_>>) -> Result<Flow, CommandError>;

/// A family: its table, and which function runs which row (by full lower-case name, such as `client|id`).
struct Family {
    commands: &'static [Command],
    handlers: &'static [(&'static str, Handler)],
}

/// All families. A new one adds its line here.
#[rustfmt::skip]
const FAMILIES: &[Family] = &[
    Family { commands: acl::COMMANDS, handlers: acl::HANDLERS },
    Family { commands: admin::COMMANDS, handlers: admin::HANDLERS },
    Family { commands: command::COMMANDS, handlers: command::HANDLERS },
    Family { commands: client::COMMANDS, handlers: client::HANDLERS },
    Family { commands: config::COMMANDS, handlers: config::HANDLERS },
    Family { commands: connection::COMMANDS, handlers: connection::HANDLERS },
    Family { commands: cores::COMMANDS, handlers: cores::HANDLERS },
    Family { commands: &[], handlers: debug::HANDLERS },
    Family { commands: failover::COMMANDS, handlers: failover::HANDLERS },
    Family { commands: info::COMMANDS, handlers: info::HANDLERS },
    Family { commands: latency::COMMANDS, handlers: latency::HANDLERS },
    Family { commands: &[], handlers: memory::HANDLERS },
    Family { commands: migrate::COMMANDS, handlers: migrate::HANDLERS },
    Family { commands: module::COMMANDS, handlers: module::HANDLERS },
    Family { commands: monitor::COMMANDS, handlers: monitor::HANDLERS },
    Family { commands: persistence::COMMANDS, handlers: persistence::HANDLERS },
    Family { commands: pubsub::COMMANDS, handlers: pubsub::HANDLERS },
    Family { commands: replicas::COMMANDS, handlers: replicas::HANDLERS },
    Family { commands: replicaof::COMMANDS, handlers: replicaof::HANDLERS },
    Family { commands: replication::COMMANDS, handlers: replication::HANDLERS },
    Family { commands: scripting::COMMANDS, handlers: scripting::HANDLERS },
    Family { commands: slowlog::COMMANDS, handlers: slowlog::HANDLERS },
    Family { commands: &[], handlers: tracking::HANDLERS },
    Family { commands: transactions::COMMANDS, handlers: transactions::HANDLERS },
];

/// The registry of everything that the node serves.
pub fn registry() -> Registry {
    let tables: Vec<&'static [Command]> = FAMILIES.iter().map(|family| family.commands).collect();
    Registry::new(&tables)
}

/// Which function runs which command, by its number.
pub fn handlers(registry: &Registry) -> Vec<Option<Handler>> {
    let named = |name: &str| {
        let mut all = FAMILIES.iter().flat_map(|family| family.handlers);
        all.find(|(other, _)| *other == name).map(|(_, handler)| *handler)
    };
    registry.iter().map(|command| named(&command.name)).collect()
}

/// The part of the configuration that the engine reads.
pub fn engine_settings(settings: &Settings) -> baton_engine::settings::Settings {
    use baton_engine::settings::EvictionPolicy;
    let maxmemory_policy = match settings.maxmemory_policy {
        MaxmemoryPolicy::Noeviction => EvictionPolicy::NoEviction,
        MaxmemoryPolicy::AllkeysLru => EvictionPolicy::AllKeysLru,
        MaxmemoryPolicy::AllkeysLfu => EvictionPolicy::AllKeysLfu,
        MaxmemoryPolicy::AllkeysRandom => EvictionPolicy::AllKeysRandom,
        MaxmemoryPolicy::VolatileLru => EvictionPolicy::VolatileLru,
        MaxmemoryPolicy::VolatileLfu => EvictionPolicy::VolatileLfu,
        MaxmemoryPolicy::VolatileRandom => EvictionPolicy::VolatileRandom,
        MaxmemoryPolicy::VolatileTtl => EvictionPolicy::VolatileTtl,
    };
    baton_engine::settings::Settings {
        databases: settings.databases as usize,
        cluster_enabled: settings.cluster_enabled,
        proto_max_bulk_len: settings.proto_max_bulk_len,
        hash_max_listpack_entries: settings.hash_max_listpack_entries,
        hash_max_listpack_value: settings.hash_max_listpack_value,
        list_max_listpack_size: settings.list_max_listpack_size,
        list_compress_depth: settings.list_compress_depth as usize,
        quicklist_packed_threshold: None,
        set_max_intset_entries: settings.set_max_intset_entries,
        set_max_listpack_entries: settings.set_max_listpack_entries,
        set_max_listpack_value: settings.set_max_listpack_value,
        zset_max_listpack_entries: settings.zset_max_listpack_entries,
        zset_max_listpack_value: settings.zset_max_listpack_value,
        stream_node_max_bytes: settings.stream_node_max_bytes,
        stream_node_max_entries: settings.stream_node_max_entries,
        hll_sparse_max_bytes: settings.hll_sparse_max_bytes,
        rdb_compression: settings.rdbcompression,
        notify: settings.notify_keyspace_events.0,
        maxmemory: settings.maxmemory,
        maxmemory_policy,
        maxmemory_samples: settings.maxmemory_samples as usize,
        lfu_log_factor: settings.lfu_log_factor,
        lfu_decay_time: settings.lfu_decay_time,
        lazyfree_lazy_eviction: settings.lazyfree_lazy_eviction,
        lazyfree_lazy_expire: settings.lazyfree_lazy_expire,
        lazyfree_lazy_server_del: settings.lazyfree_lazy_server_del,
        lazyfree_lazy_user_del: settings.lazyfree_lazy_user_del,
        lazyfree_lazy_user_flush: settings.lazyfree_lazy_user_flush,
        active_expire_effort: settings.active_expire_effort,
    }
}

fn leaves_memory(server: &Server, settings: &Settings) -> bool {
    settings.import_mode || settings.replica_ignore_maxmemory && server.node.replication().is_replica()
}

/// Lets the node follow the configuration: at the start and after each CONFIG SET.
pub fn apply_settings(server: &Server) {
    let settings = server.settings();
    let node = &server.node;
    let packed_threshold = server.packed_threshold.load(Ordering::Relaxed);
    let quicklist_packed_threshold = Some(packed_threshold).filter(|bytes| *bytes > 0);
    node.set_settings(baton_engine::settings::Settings {
        quicklist_packed_threshold,
        // A replica leaves eviction to its primary, and its own limit with it; so does who takes data over.
        maxmemory: if leaves_memory(server, &settings) { 0 } else { settings.maxmemory },
        ..engine_settings(&settings)
    });
    node.importing.store(settings.import_mode, Ordering::Relaxed);
    node.slowlog.configure(settings.slowlog_log_slower_than, settings.slowlog_max_len);
    let (requests, replies) =
        (settings.commandlog_request_larger_than, settings.commandlog_reply_larger_than);
    node.large_requests.configure(requests, settings.commandlog_large_request_max_len);
    node.large_replies.configure(replies, settings.commandlog_large_reply_max_len);
    node.latency.configure(settings.latency_monitor_threshold.max(0) as u64);
    node.tracking().configure(settings.tracking_table_max_keys);
    node.scripts.busy.set_threshold(settings.busy_reply_threshold);
    node.watch_changed();
    let client_bytes_max = settings.maxmemory_clients.bytes(settings.maxmemory);
    server.client_bytes_max.store(client_bytes_max, Ordering::Relaxed);
    server.evict_clients_thoroughly();
    node.track_latency.store(settings.latency_tracking, Ordering::Relaxed);
    let policy = match settings.appendfsync {
        Appendfsync::Always => Policy::Always,
        Appendfsync::Everysec => Policy::EverySecond,
        Appendfsync::No => Policy::Never,
    };
    node.journal().configure(policy, settings.aof_timestamp_enabled);
    crate::replication::settings_changed(server);
    server.gather();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_exactly_one_function() {
        let registry = registry();
        for command in registry.iter().filter(|command| command.subcommands.is_empty()) {
            let mut all = FAMILIES.iter().flat_map(|family| family.handlers);
            let handlers = all.by_ref().filter(|(name, _)| *name == command.name).count();
            let wanted = usize::from(command.run.is_none());
            assert_eq!(handlers, wanted, "functions of {}", command.name);
        }
        for (name, _) in FAMILIES.iter().flat_map(|family| family.handlers) {
            assert!(registry.iter().any(|command| command.name == *name), "{name} has no row");
        }
    }
}
