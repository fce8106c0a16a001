//! Every setting, one row each. The row yields the typed field of [`Settings`], the grammar of the
//! configuration file, `CONFIG GET`, `CONFIG SET` and `CONFIG REWRITE`.
//!
//! A row reads: field, type, default; the name with its aliases; the values allowed; when it can change.
//!
//! | flag      | meaning                                                                         |
//! |-----------|---------------------------------------------------------------------------------|
//! | `live`    | `CONFIG SET` may change it                                                      |
//! | `start`   | fixed once the server runs                                                      |
//! | `guarded` | `CONFIG SET` may change it if `enable-protected-configs` allows                 |
//! | `idle`    | not while a data set is being loaded                                            |
//! | `many`    | a line may give several arguments                                               |
//! | `secret`  | its value must not show in the slow log or to `MONITOR`                         |
//! | `hidden`  | `CONFIG GET` shows it for its exact name only                                   |
//! | `reread`  | names a file: setting the same value again counts as a change                   |
//! | `inert`   | accepted for the sake of existing files and tools; nothing in Baton depends on it |
//!
//! Defaults are those of Redis 7.2; names that only Valkey knows have the default that Valkey 9 gives them.
//! Where a server's section isn't built into the node yet, its rows hold the value until it is.

use super::choices::*;
use super::field::{Field, Kind, Text};
use super::shapes::*;
use Kind::{Checked, Int, Memory, Name, Octal, OnlyNo, Own, YesNo};

/// One setting: everything about it that isn't its value.
pub struct Setting {
    /// The name under which it's written.
    pub name: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// The part of the server that it belongs to.
    pub section: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Which values it takes.
    pub kind: Kind,
    /// When it can be changed, and other marks; see the head of this file.
    pub flags: Flags,
    pub(super) field: fn(&Settings) -> &dyn Field,
    pub(super) field_mut: fn(&mut Settings) -> &mut dyn Field,
}

impl Setting {
    /// The setting that has this name or alias, and the name as the table spells it. O(settings).
    pub fn find(name: &[u8]) -> Option<(&'static Self, &'static str)> {
        SETTINGS.iter().find_map(|setting| {
            let known = setting.names().find(|known| name.eq_ignore_ascii_case(known.as_bytes()))?;
            Some((setting, known))
        })
    }

    /// All its names, the main one first.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// Its value, as `CONFIG GET` shows it.
    pub fn show(&self, settings: &Settings) -> Vec<u8> {
        (self.field)(settings).show(self.kind)
    }
}

/// The flags of a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags {
    pub start: bool,
    pub guarded: bool,
    pub idle: bool,
    pub many: bool,
    pub secret: bool,
    pub hidden: bool,
    pub reread: bool,
    pub inert: bool,
}

macro_rules! flag {
    ($flags:ident, live) => {};
    ($flags:ident, $flag:ident) => {
        $flags.$flag = true
    };
}

macro_rules! settings {
    ($($section:ident { $(
        #[doc = $doc:literal]
        $field:ident: $type:ty = $default:expr, $name:literal $(| $alias:literal)*, $kind:expr, $($flag:ident)+;
    )* })*) => {
        /// The values of all settings at one moment.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Settings {$($(
            #[doc = $doc]
            pub $field: $type,
        )*)*}

        impl Default for Settings {
            fn default() -> Self {
                Self {$($($field: $default,)*)*}
            }
        }

        /// The table.
        pub static SETTINGS: &[Setting] = &[$($(Setting {
            name: $name,
            aliases: &[$($alias),*],
            section: stringify!($section),
            doc: $doc.trim_ascii(),
            kind: $kind,
            flags: {
                #[allow(unused_mut, reason = "many rows have no flags")]
                let mut flags = NO_FLAGS;
                $(flag!(flags, $flag);)+
                flags
            },
            field: |settings| &settings.$field,
            field_mut: |settings| &mut settings.$field,
        },)*)*];
    };
}

const NO_FLAGS: Flags = Flags {
    start: false,
    guarded: false,
    idle: false,
    many: false,
    secret: false,
    hidden: false,
    reread: false,
    inert: false,
};

const I32_MAX: i64 = i32::MAX as i64;
const U32_MAX: i64 = u32::MAX as i64;
const LONG_MAX: u64 = i64::MAX as u64;
const COUNT: Kind = Int(0, I32_MAX);
const COUNT_64: Kind = Int(0, i64::MAX);
const PORT: Kind = Int(0, 65535);
const PERCENT: Kind = Int(1, 99);
const BYTES: Kind = Memory(0, LONG_MAX);
const TEXT: Kind = Kind::Text;

fn text(value: &str) -> Text {
    Text::new(value)
}

settings! {
    network {
        /// Addresses to listen on; `-` before one means that it may be unavailable.
        bind: Bind = Bind::default(), "bind", Own, live many;
        /// TCP port; 0 listens on none.
        port: u16 = 6379, "port", PORT, live;
        /// Path of a Unix socket to listen on.
        unixsocket: Text = text(""), "unixsocket", Name, start;
        /// Group that owns the Unix socket.
        unixsocketgroup: Text = text(""), "unixsocketgroup", Name, start;
        /// Permissions of the Unix socket; 0 leaves them to the umask.
        unixsocketperm: u32 = 0, "unixsocketperm", Octal(0o777), start;
        /// Seconds without a command after which a client is disconnected; 0 means never.
        timeout: u32 = 0, "timeout", COUNT, live;
        /// Seconds between TCP keepalive probes; 0 sends none.
        tcp_keepalive: u32 = 300, "tcp-keepalive", COUNT, live;
        /// Connections that the kernel may hold before they are accepted.
        tcp_backlog: u32 = 511, "tcp-backlog", COUNT, start;
        /// Clients connected at once.
        maxclients: u32 = 10000, "maxclients", Int(1, U32_MAX), live;
        /// Without a password, serve only clients from this machine.
        protected_mode: bool = true, "protected-mode", YesNo, live;
        /// Mark that the kernel puts on packets of listening sockets; 0 means none.
        socket_mark_id: u32 = 0, "socket-mark-id", Int(0, U32_MAX), start;
        /// Address from which outgoing connections are made.
        bind_source_addr: Text = text(""), "bind-source-addr", Name, live;
        /// Connections accepted in one turn of the loop.
        max_new_connections_per_cycle: u32 = 10, "max-new-connections-per-cycle", Int(1, 1000), live;
        /// TLS connections accepted in one turn of the loop.
        max_new_tls_connections_per_cycle: u32 = 1, "max-new-tls-connections-per-cycle", Int(1, 1000), live;
    }

    tls {
        /// TCP port for TLS; 0 listens on none.
        tls_port: u16 = 0, "tls-port", PORT, live;
        /// TLS sessions remembered for resumption.
        tls_session_cache_size: u32 = 20480, "tls-session-cache-size", COUNT, live;
        /// Seconds a TLS session is remembered.
        tls_session_cache_timeout: u32 = 300, "tls-session-cache-timeout", COUNT, live;
        /// Use TLS on the cluster bus.
        tls_cluster: bool = false, "tls-cluster", YesNo, live;
        /// Use TLS towards the primary.
        tls_replication: bool = false, "tls-replication", YesNo, live;
        /// Whether TLS clients must show a certificate.
        tls_auth_clients: TlsAuthClients = TlsAuthClients::Yes, "tls-auth-clients", Own, live;
        /// What of its certificate says as which user a TLS client comes.
        tls_auth_clients_user: TlsAuthClientsUser = TlsAuthClientsUser::Off, "tls-auth-clients-user", Own, live;
        /// Prefer our order of ciphers to the client's.
        tls_prefer_server_ciphers: bool = false, "tls-prefer-server-ciphers", YesNo, live;
        /// Resume TLS sessions.
        tls_session_caching: bool = true, "tls-session-caching", YesNo, live;
        /// Our certificate.
        tls_cert_file: Text = text(""), "tls-cert-file", Name, live reread;
        /// The key of our certificate.
        tls_key_file: Text = text(""), "tls-key-file", Name, live reread;
        /// The passphrase of that key.
        tls_key_file_pass: Text = text(""), "tls-key-file-pass", Name, live secret;
        /// Our certificate where we are the client, if it's another one.
        tls_client_cert_file: Text = text(""), "tls-client-cert-file", Name, live reread;
        /// The key of that certificate.
        tls_client_key_file: Text = text(""), "tls-client-key-file", Name, live reread;
        /// The passphrase of that key.
        tls_client_key_file_pass: Text = text(""), "tls-client-key-file-pass", Name, live secret;
        /// Diffie-Hellman parameters for old OpenSSL.
        tls_dh_params_file: Text = text(""), "tls-dh-params-file", Name, live reread inert;
        /// Authorities whose certificates are trusted, in a file.
        tls_ca_cert_file: Text = text(""), "tls-ca-cert-file", Name, live reread;
        /// Authorities whose certificates are trusted, in a directory.
        tls_ca_cert_dir: Text = text(""), "tls-ca-cert-dir", Name, live reread;
        /// Versions of TLS that are spoken.
        tls_protocols: Text = text(""), "tls-protocols", Name, live;
        /// Ciphers up to TLS 1.2.
        tls_ciphers: Text = text(""), "tls-ciphers", Name, live;
        /// Cipher suites of TLS 1.3.
        tls_ciphersuites: Text = text(""), "tls-ciphersuites", Name, live;
    }

    general {
        /// Run in the background.
        daemonize: bool = false, "daemonize", YesNo, start;
        /// File that holds the process id.
        pidfile: Text = text(""), "pidfile", Name, start;
        /// Log to this file; empty means standard output.
        logfile: Text = text(""), "logfile", TEXT, start;
        /// The least important messages that are logged.
        loglevel: Loglevel = Loglevel::Notice, "loglevel", Own, live;
        /// The shape of a log line.
        log_format: LogFormat = LogFormat::Legacy, "log-format", Own, live;
        /// The time in a log line.
        log_timestamp_format: LogTimestampFormat = LogTimestampFormat::Legacy, "log-timestamp-format", Own, live;
        /// Log to the system log as well.
        syslog_enabled: bool = false, "syslog-enabled", YesNo, start;
        /// Our name in the system log.
        syslog_ident: Text = text("redis"), "syslog-ident", TEXT, start;
        /// The facility in the system log.
        syslog_facility: SyslogFacility = SyslogFacility::Local0, "syslog-facility", Own, start;
        /// Who started the process and wants to hear that it's ready.
        supervised: Supervised = Supervised::No, "supervised", Own, start;
        /// The working directory: snapshots and logs are written there.
        dir: Dir = Dir::current(), "dir", Own, live guarded idle;
        /// How many databases there are.
        databases: u32 = 16, "databases", Int(1, I32_MAX), start;
        /// Show the logo even when the log isn't a terminal.
        always_show_logo: bool = false, "always-show-logo", YesNo, start;
        /// Give the process a title. Ours keeps its command line: writing over it takes raw memory.
        set_proc_title: bool = true, "set-proc-title", YesNo, start inert;
        /// The title of the process, were it given one.
        proc_title_template: Text = text("{title} {listen-addr} {server-mode}"), "proc-title-template", Checked(proc_title_template), live inert;
        /// The locale that orders strings for `SORT ... ALPHA`.
        locale_collate: Text = text(""), "locale-collate", TEXT, live;
        /// Log what happened when the server crashes.
        crash_log_enabled: bool = true, "crash-log-enabled", YesNo, live;
        /// Test the memory after a crash.
        crash_memcheck_enabled: bool = true, "crash-memcheck-enabled", YesNo, live inert;
        /// Exit instead of aborting after a panic.
        use_exit_on_panic: bool = false, "use-exit-on-panic", YesNo, live hidden inert;
        /// Who may change the settings that name files and directories.
        enable_protected_configs: ProtectedAction = ProtectedAction::No, "enable-protected-configs", Own, start;
        /// Who may use `DEBUG`.
        enable_debug_command: ProtectedAction = ProtectedAction::No, "enable-debug-command", Own, start;
        /// Who may use `MODULE`.
        enable_module_command: ProtectedAction = ProtectedAction::No, "enable-module-command", Own, start;
        /// Warnings about the system that shall not stop the start.
        ignore_warnings: Text = text(""), "ignore-warnings", TEXT, live;
        /// Keep names and values of clients out of the log.
        hide_user_data_from_log: bool = false, "hide-user-data-from-log", YesNo, live;
        /// Seconds that `SHUTDOWN` waits for replicas to catch up.
        shutdown_timeout: u32 = 10, "shutdown-timeout", COUNT, live;
        /// What SIGINT does.
        shutdown_on_sigint: ShutdownOnSignal = ShutdownOnSignal::default(), "shutdown-on-sigint", Own, live many;
        /// What SIGTERM does.
        shutdown_on_sigterm: ShutdownOnSignal = ShutdownOnSignal::default(), "shutdown-on-sigterm", Own, live many;
        /// Name the server as Redis does where Valkey differs.
        extended_redis_compatibility: bool = false, "extended-redis-compatibility", YesNo, live inert;
        /// The availability zone, shown to clients that prefer a near server.
        availability_zone: Text = text(""), "availability-zone", TEXT, live;
        /// Any text; shown when the server is being debugged.
        debug_context: Text = text(""), "debug-context", TEXT, live hidden inert;
        /// Check what costs time to check, in builds that do.
        enable_debug_assert: bool = false, "enable-debug-assert", YesNo, start hidden inert;
        /// Milliseconds between looks at a stuck main loop; 0 means none.
        watchdog_period: u32 = 0, "watchdog-period", COUNT, live hidden inert;
    }

    cores {
        /// How many cores serve; 0 means all of the machine.
        cores: usize = 0, "cores" | "io-threads", Int(0, 1024), start;
        /// Serve connections on as few cores as the load needs, rather than on all.
        gather_connections: bool = true, "gather-connections", YesNo, live;
        /// Read requests in I/O threads: our cores always do.
        io_threads_do_reads: bool = false, "io-threads-do-reads", YesNo, start inert;
        /// Events per I/O thread of Valkey.
        events_per_io_thread: u32 = 2, "events-per-io-thread", COUNT, live hidden inert;
        /// Commands whose keys are fetched ahead together.
        prefetch_batch_max_size: u32 = 16, "prefetch-batch-max-size", Int(0, 128), live;
        /// CPUs for the server's threads.
        server_cpulist: Text = text(""), "server-cpulist" | "server_cpulist", Name, start;
        /// CPUs for background work.
        bio_cpulist: Text = text(""), "bio-cpulist" | "bio_cpulist", Name, start inert;
        /// CPUs for rewriting the log.
        aof_rewrite_cpulist: Text = text(""), "aof-rewrite-cpulist" | "aof_rewrite_cpulist", Name, start inert;
        /// CPUs for writing a snapshot.
        bgsave_cpulist: Text = text(""), "bgsave-cpulist" | "bgsave_cpulist", Name, start inert;
        /// Turns per second of the background work of a core.
        hz: u32 = 10, "hz", COUNT, live;
        /// Turn faster with many clients.
        dynamic_hz: bool = true, "dynamic-hz", YesNo, live;
        /// Resize tables in the background.
        activerehashing: bool = true, "activerehashing", YesNo, live;
    }

    clients {
        /// The password of the default user.
        requirepass: Text = text(""), "requirepass", Name, live secret;
        /// Bytes of replies that a client may leave unread, by class.
        client_output_buffer_limit: OutputBufferLimits = OutputBufferLimits::default(), "client-output-buffer-limit", Own, live many;
        /// Bytes of requests that a client may send ahead.
        client_query_buffer_limit: u64 = 1 << 30, "client-query-buffer-limit", Memory(1 << 20, LONG_MAX), live;
        /// Length of the longest string.
        proto_max_bulk_len: u64 = 512 << 20, "proto-max-bulk-len", Memory(1 << 20, LONG_MAX), live;
        /// Memory of all clients, beyond which the greediest are disconnected.
        maxmemory_clients: Share = Share::Bytes(0), "maxmemory-clients", Own, live;
        /// Keys remembered for client-side caching; 0 means any number.
        tracking_table_max_keys: usize = 1_000_000, "tracking-table-max-keys", COUNT_64, live;
        /// The protocol that a connection starts with.
        client_default_resp: u32 = 2, "client-default-resp", Int(2, 3), start hidden;
    }

    acl {
        /// File with the users.
        aclfile: Text = text(""), "aclfile", TEXT, start;
        /// Entries of `ACL LOG`.
        acllog_max_len: usize = 128, "acllog-max-len", COUNT_64, live;
        /// What channels a new user may use.
        acl_pubsub_default: AclPubsubDefault = AclPubsubDefault::Resetchannels, "acl-pubsub-default", Own, live;
    }

    memory {
        /// Memory for data; 0 means all there is.
        maxmemory: u64 = 0, "maxmemory", Memory(0, u64::MAX), live;
        /// Which keys make room when `maxmemory` is reached.
        maxmemory_policy: MaxmemoryPolicy = MaxmemoryPolicy::Noeviction, "maxmemory-policy", Own, live;
        /// Keys compared for each key evicted.
        maxmemory_samples: u32 = 5, "maxmemory-samples", Int(1, 64), live;
        /// How long one round of eviction may take, from 0 to 100.
        maxmemory_eviction_tenacity: u32 = 10, "maxmemory-eviction-tenacity", Int(0, 100), live;
        /// A replica leaves eviction to its primary.
        replica_ignore_maxmemory: bool = true, "replica-ignore-maxmemory" | "slave-ignore-maxmemory", YesNo, live;
        /// How slowly the use counter of a key grows.
        lfu_log_factor: u32 = 10, "lfu-log-factor", COUNT, live;
        /// Minutes after which the use counter of a key falls by one.
        lfu_decay_time: u32 = 1, "lfu-decay-time", COUNT, live;
        /// Effort for finding expired keys, from 1 to 10.
        active_expire_effort: u32 = 1, "active-expire-effort", Int(1, 10), live;
        /// Free evicted values in the background.
        lazyfree_lazy_eviction: bool = false, "lazyfree-lazy-eviction", YesNo, live;
        /// Free expired values in the background.
        lazyfree_lazy_expire: bool = false, "lazyfree-lazy-expire", YesNo, live;
        /// Free overwritten values in the background.
        lazyfree_lazy_server_del: bool = false, "lazyfree-lazy-server-del", YesNo, live;
        /// `DEL` frees in the background, as `UNLINK` does.
        lazyfree_lazy_user_del: bool = false, "lazyfree-lazy-user-del", YesNo, live;
        /// `FLUSHALL` frees in the background unless told otherwise.
        lazyfree_lazy_user_flush: bool = false, "lazyfree-lazy-user-flush", YesNo, live;
        /// Let the allocator return memory from a thread of its own.
        jemalloc_bg_thread: bool = true, "jemalloc-bg-thread", YesNo, live inert;
        /// Move data to undo fragmentation.
        activedefrag: bool = false, "activedefrag", OnlyNo(NO_DEFRAG), live;
        /// Least waste in bytes that starts defragmentation.
        active_defrag_ignore_bytes: u64 = 100 << 20, "active-defrag-ignore-bytes", Memory(1, LONG_MAX), live inert;
        /// Least waste in percent that starts defragmentation.
        active_defrag_threshold_lower: u32 = 10, "active-defrag-threshold-lower", Int(0, 1000), live inert;
        /// Waste in percent at which defragmentation works hardest.
        active_defrag_threshold_upper: u32 = 100, "active-defrag-threshold-upper", Int(0, 1000), live inert;
        /// Least effort of defragmentation in percent of a CPU.
        active_defrag_cycle_min: u32 = 1, "active-defrag-cycle-min", PERCENT, live inert;
        /// Most effort of defragmentation in percent of a CPU.
        active_defrag_cycle_max: u32 = 25, "active-defrag-cycle-max", PERCENT, live inert;
        /// Elements of a collection that defragmentation moves in one go.
        active_defrag_max_scan_fields: usize = 1000, "active-defrag-max-scan-fields", Int(1, i64::MAX), live inert;
        /// Tell the kernel's OOM killer what we are worth.
        oom_score_adj: OomScoreAdj = OomScoreAdj::No, "oom-score-adj", Own, live;
        /// The scores for a primary, a replica, and a background child.
        oom_score_adj_values: OomScores = OomScores([0, 200, 800]), "oom-score-adj-values", Own, live many;
        /// Turn transparent huge pages off for the process: with nothing that forks, `huge-pages` decides.
        disable_thp: bool = true, "disable-thp", YesNo, start inert;
        /// Let the data lie in huge pages, where the system has them: less CPU time per key, some more memory.
        huge_pages: bool = true, "huge-pages", YesNo, start;
    }

    encoding {
        /// Fields up to which a hash is compact.
        hash_max_listpack_entries: usize = 512, "hash-max-listpack-entries" | "hash-max-ziplist-entries", COUNT_64, live;
        /// Length of field or value up to which a hash is compact.
        hash_max_listpack_value: usize = 64, "hash-max-listpack-value" | "hash-max-ziplist-value", BYTES, live;
        /// Size of a list node: elements, or -1 to -5 for 4 to 64 kb.
        list_max_listpack_size: i64 = -2, "list-max-listpack-size" | "list-max-ziplist-size", Int(i32::MIN as i64, I32_MAX), live;
        /// Nodes at each end of a list that stay uncompressed; 0 compresses none.
        list_compress_depth: u32 = 0, "list-compress-depth", COUNT, live;
        /// Members up to which a set of integers is compact.
        set_max_intset_entries: usize = 512, "set-max-intset-entries", COUNT_64, live;
        /// Members up to which a set is compact.
        set_max_listpack_entries: usize = 128, "set-max-listpack-entries", COUNT_64, live;
        /// Length of a member up to which a set is compact.
        set_max_listpack_value: usize = 64, "set-max-listpack-value", COUNT_64, live;
        /// Members up to which a sorted set is compact.
        zset_max_listpack_entries: usize = 128, "zset-max-listpack-entries" | "zset-max-ziplist-entries", COUNT_64, live;
        /// Length of a member up to which a sorted set is compact.
        zset_max_listpack_value: usize = 64, "zset-max-listpack-value" | "zset-max-ziplist-value", BYTES, live;
        /// Bytes up to which a HyperLogLog is sparse.
        hll_sparse_max_bytes: usize = 3000, "hll-sparse-max-bytes", BYTES, live;
        /// Bytes of a stream node; 0 means any.
        stream_node_max_bytes: usize = 4096, "stream-node-max-bytes", BYTES, live;
        /// Entries of a stream node; 0 means any.
        stream_node_max_entries: usize = 100, "stream-node-max-entries", COUNT_64, live;
        /// Data come from another server: nothing expires, but for who brings them, and nothing is evicted.
        import_mode: bool = false, "import-mode", YesNo, live;
        /// Whose serialized values are checked in depth.
        sanitize_dump_payload: SanitizeDumpPayload = SanitizeDumpPayload::No, "sanitize-dump-payload", Own, live;
    }

    observing {
        /// Microseconds from which a command is logged as slow; negative logs none, 0 all.
        slowlog_log_slower_than: i64 = 10000, "slowlog-log-slower-than" | "commandlog-execution-slower-than", Int(-1, i64::MAX), live;
        /// Entries of the log of slow commands.
        slowlog_max_len: usize = 128, "slowlog-max-len" | "commandlog-slow-execution-max-len", COUNT_64, live;
        /// Bytes from which a request is logged as large; negative logs none.
        commandlog_request_larger_than: i64 = 1 << 20, "commandlog-request-larger-than", Int(-1, i64::MAX), live;
        /// Entries of the log of large requests.
        commandlog_large_request_max_len: usize = 128, "commandlog-large-request-max-len", COUNT_64, live;
        /// Bytes from which a reply is logged as large; negative logs none.
        commandlog_reply_larger_than: i64 = 1 << 20, "commandlog-reply-larger-than", Int(-1, i64::MAX), live;
        /// Entries of the log of large replies.
        commandlog_large_reply_max_len: usize = 128, "commandlog-large-reply-max-len", COUNT_64, live;
        /// Milliseconds from which an event counts as a latency spike; 0 watches none.
        latency_monitor_threshold: i64 = 0, "latency-monitor-threshold", COUNT_64, live;
        /// Keep a histogram of the latency of each command.
        latency_tracking: bool = true, "latency-tracking", YesNo, live;
        /// Percentiles of latency that `INFO latencystats` shows.
        latency_tracking_info_percentiles: Percentiles = Percentiles::default(), "latency-tracking-info-percentiles", Own, live many;
        /// Which keyspace events are published.
        notify_keyspace_events: KeyspaceEvents = KeyspaceEvents(0), "notify-keyspace-events", Own, live;
        /// Milliseconds after which a busy script lets others be told so.
        busy_reply_threshold: i64 = 5000, "busy-reply-threshold" | "lua-time-limit", COUNT_64, live;
    }

    persistence {
        /// When a snapshot is written: seconds and changes, in pairs.
        save: SavePoints = SavePoints::default(), "save", Own, live many;
        /// File name of the snapshot.
        dbfilename: Text = text("dump.rdb"), "dbfilename", Checked(dbfilename), live guarded;
        /// Compress strings in the snapshot.
        rdbcompression: bool = true, "rdbcompression", YesNo, live;
        /// Write and check the checksum of the snapshot.
        rdbchecksum: bool = true, "rdbchecksum", YesNo, start;
        /// Whether a snapshot of a newer version is refused.
        rdb_version_check: RdbVersionCheck = RdbVersionCheck::Strict, "rdb-version-check", Own, live;
        /// The version of the format that snapshots are written in, and so who can load them.
        rdb_target: RdbTarget = RdbTarget::V10, "rdb-target", Own, live;
        /// Delete snapshots that only served to synchronize a replica.
        rdb_del_sync_files: bool = false, "rdb-del-sync-files", YesNo, live;
        /// Sync the snapshot to disk piece by piece while it's written.
        rdb_save_incremental_fsync: bool = true, "rdb-save-incremental-fsync", YesNo, live;
        /// Microseconds to wait after each key saved, for tests.
        rdb_key_save_delay: i64 = 0, "rdb-key-save-delay", Int(i32::MIN as i64, I32_MAX), live hidden;
        /// Microseconds to wait after each key loaded, for tests.
        key_load_delay: i64 = 0, "key-load-delay", Int(i32::MIN as i64, I32_MAX), live hidden;
        /// Bytes loaded between two looks at clients.
        loading_process_events_interval_bytes: i64 = 2 << 20, "loading-process-events-interval-bytes", Int(1024, I32_MAX), live hidden;
        /// Refuse writes when the last snapshot failed.
        stop_writes_on_bgsave_error: bool = true, "stop-writes-on-bgsave-error", YesNo, live;
        /// Keep a log of all writes.
        appendonly: bool = false, "appendonly", YesNo, live idle;
        /// First part of the names of the log's files.
        appendfilename: Text = text("appendonly.aof"), "appendfilename", Checked(appendfilename), start;
        /// Directory of the log's files.
        appenddirname: Text = text("appendonlydir"), "appenddirname", Checked(appenddirname), start;
        /// When the log is synced to the disk.
        appendfsync: Appendfsync = Appendfsync::Everysec, "appendfsync", Own, live;
        /// Don't sync the log while a snapshot or a rewrite is running.
        no_appendfsync_on_rewrite: bool = false, "no-appendfsync-on-rewrite", YesNo, live;
        /// Growth in percent after which the log is rewritten; 0 means never.
        auto_aof_rewrite_percentage: u32 = 100, "auto-aof-rewrite-percentage", COUNT, live;
        /// Size from which the log is rewritten.
        auto_aof_rewrite_min_size: u64 = 64 << 20, "auto-aof-rewrite-min-size", BYTES, live;
        /// Load a log whose end is cut off.
        aof_load_truncated: bool = true, "aof-load-truncated", YesNo, live;
        /// Write the base of the log as a snapshot.
        aof_use_rdb_preamble: bool = true, "aof-use-rdb-preamble", YesNo, live;
        /// Note the time in the log once a second.
        aof_timestamp_enabled: bool = false, "aof-timestamp-enabled", YesNo, live;
        /// Sync a rewritten log to disk piece by piece.
        aof_rewrite_incremental_fsync: bool = true, "aof-rewrite-incremental-fsync", YesNo, live;
        /// Keep old files of the log.
        aof_disable_auto_gc: bool = false, "aof-disable-auto-gc", YesNo, live hidden;
    }

    replication {
        /// The primary to follow.
        replicaof: ReplicaOf = ReplicaOf(None), "replicaof" | "slaveof", Own, start many;
        /// The password towards the primary.
        masterauth: Text = text(""), "masterauth" | "primaryauth", Name, live secret;
        /// The user towards the primary.
        masteruser: Text = text(""), "masteruser" | "primaryuser", Name, live secret;
        /// Serve data that may be old while the primary is away.
        replica_serve_stale_data: bool = true, "replica-serve-stale-data" | "slave-serve-stale-data", YesNo, live;
        /// Refuse writes from clients of a replica.
        replica_read_only: bool = true, "replica-read-only" | "slave-read-only", YesNo, live;
        /// Free the old data set in the background before a full synchronization.
        replica_lazy_flush: bool = false, "replica-lazy-flush" | "slave-lazy-flush", YesNo, live;
        /// Rank when Sentinel chooses a new primary; 0 means never.
        replica_priority: u32 = 100, "replica-priority" | "slave-priority", COUNT, live;
        /// The address that Sentinel and `INFO` shall show for us.
        replica_announce_ip: Text = text(""), "replica-announce-ip" | "slave-announce-ip", Name, live;
        /// The port that Sentinel and `INFO` shall show for us.
        replica_announce_port: u16 = 0, "replica-announce-port" | "slave-announce-port", PORT, live;
        /// Show this replica to Sentinel.
        replica_announced: bool = true, "replica-announced", YesNo, live;
        /// Go on as a replica when writes to the disk fail.
        replica_ignore_disk_write_errors: bool = false, "replica-ignore-disk-write-errors", YesNo, live;
        /// Send snapshots to replicas without a file.
        repl_diskless_sync: bool = true, "repl-diskless-sync", YesNo, live;
        /// Seconds to wait for more replicas before that.
        repl_diskless_sync_delay: u32 = 5, "repl-diskless-sync-delay", COUNT, live;
        /// Replicas that end the wait; 0 means none do.
        repl_diskless_sync_max_replicas: u32 = 0, "repl-diskless-sync-max-replicas", COUNT, live;
        /// How a replica loads a snapshot straight from the socket.
        repl_diskless_load: ReplDisklessLoad = ReplDisklessLoad::Disabled, "repl-diskless-load", Own, live idle;
        /// Send snapshot and stream over two connections at once.
        dual_channel_replication_enabled: bool = false, "dual-channel-replication-enabled", YesNo, live;
        /// Seconds between pings to replicas.
        repl_ping_replica_period: u32 = 10, "repl-ping-replica-period" | "repl-ping-slave-period", Int(1, I32_MAX), live;
        /// Seconds after which a silent peer counts as lost.
        repl_timeout: u32 = 60, "repl-timeout", Int(1, I32_MAX), live;
        /// Send to replicas in fewer, larger packets.
        repl_disable_tcp_nodelay: bool = false, "repl-disable-tcp-nodelay", YesNo, live;
        /// Bytes of the stream kept for replicas that come back.
        repl_backlog_size: u64 = 1 << 20, "repl-backlog-size", Memory(1, LONG_MAX), live;
        /// Seconds without replicas after which they are freed; 0 means never.
        repl_backlog_ttl: i64 = 3600, "repl-backlog-ttl", COUNT_64, live;
        /// Replicas without which writes are refused; 0 means none are needed.
        min_replicas_to_write: u32 = 0, "min-replicas-to-write" | "min-slaves-to-write", COUNT, live;
        /// Seconds of silence after which a replica doesn't count for that.
        min_replicas_max_lag: u32 = 10, "min-replicas-max-lag" | "min-slaves-max-lag", COUNT, live;
        /// What to do when a replicated command fails.
        propagation_error_behavior: PropagationErrorBehavior = PropagationErrorBehavior::Ignore, "propagation-error-behavior", Own, live;
    }

    cluster {
        /// Be a node of a cluster.
        cluster_enabled: bool = false, "cluster-enabled", YesNo, start;
        /// File in which the node keeps what it knows of the cluster.
        cluster_config_file: Text = text("nodes.conf"), "cluster-config-file", Checked(cluster_config_file), start;
        /// Milliseconds of silence after which a node counts as failing.
        cluster_node_timeout: i64 = 15000, "cluster-node-timeout", COUNT_64, live;
        /// Milliseconds between pings; 0 derives them from the timeout.
        cluster_ping_interval: i64 = 0, "cluster-ping-interval", COUNT_64, live hidden;
        /// Port of the cluster bus; 0 means `port` + 10000.
        cluster_port: u16 = 0, "cluster-port", PORT, start;
        /// The address that other nodes shall use.
        cluster_announce_ip: Text = text(""), "cluster-announce-ip", Name, live;
        /// The IPv4 address that clients shall use.
        cluster_announce_client_ipv4: Text = text(""), "cluster-announce-client-ipv4", Checked(ipv4), live;
        /// The IPv6 address that clients shall use.
        cluster_announce_client_ipv6: Text = text(""), "cluster-announce-client-ipv6", Checked(ipv6), live;
        /// The host name that clients shall use.
        cluster_announce_hostname: Text = text(""), "cluster-announce-hostname", Checked(hostname), live;
        /// A name of the node for people.
        cluster_announce_human_nodename: Text = text(""), "cluster-announce-human-nodename", Checked(nodename), live;
        /// The port that others shall use.
        cluster_announce_port: u16 = 0, "cluster-announce-port", PORT, live;
        /// The TLS port that others shall use.
        cluster_announce_tls_port: u16 = 0, "cluster-announce-tls-port", PORT, live;
        /// The bus port that other nodes shall use.
        cluster_announce_bus_port: u16 = 0, "cluster-announce-bus-port", PORT, live;
        /// What a redirection names.
        cluster_preferred_endpoint_type: ClusterPreferredEndpointType = ClusterPreferredEndpointType::Ip, "cluster-preferred-endpoint-type", Own, live;
        /// Never start a failover by ourselves.
        cluster_replica_no_failover: bool = false, "cluster-replica-no-failover" | "cluster-slave-no-failover", YesNo, live;
        /// How old the data of a replica may be for a failover, in timeouts; 0 means any age.
        cluster_replica_validity_factor: u32 = 10, "cluster-replica-validity-factor" | "cluster-slave-validity-factor", COUNT, live;
        /// Replicas that a primary keeps when one moves to another primary.
        cluster_migration_barrier: u32 = 1, "cluster-migration-barrier", COUNT, live;
        /// Let replicas move to primaries that have none.
        cluster_allow_replica_migration: bool = true, "cluster-allow-replica-migration", YesNo, live;
        /// Stop serving when a slot has no node.
        cluster_require_full_coverage: bool = true, "cluster-require-full-coverage", YesNo, live;
        /// Serve reads while the cluster is down.
        cluster_allow_reads_when_down: bool = false, "cluster-allow-reads-when-down", YesNo, live;
        /// Serve shard channels while the cluster is down.
        cluster_allow_pubsubshard_when_down: bool = true, "cluster-allow-pubsubshard-when-down", YesNo, live;
        /// Bytes queued to another node before its link is dropped; 0 means any.
        cluster_link_sendbuf_limit: u64 = 0, "cluster-link-sendbuf-limit", Memory(0, u64::MAX), live;
        /// Seconds that a forgotten node stays forgotten.
        cluster_blacklist_ttl: i64 = 60, "cluster-blacklist-ttl", COUNT_64, live hidden;
        /// Count traffic and CPU by slot.
        cluster_slot_stats_enabled: bool = false, "cluster-slot-stats-enabled", YesNo, live;
        /// Databases in cluster mode.
        cluster_databases: u32 = 1, "cluster-databases", Int(1, I32_MAX), start;
    }
}

const NO_DEFRAG: &str = "Active defragmentation cannot be enabled: it requires a server compiled with a \
                         modified Jemalloc like the one shipped by default with the server source distribution";

type Check = Result<(), &'static str>;

fn ensure(holds: bool, otherwise: &'static str) -> Check {
    if holds { Ok(()) } else { Err(otherwise) }
}

fn base_name(value: &[u8], empty: &'static str, path: &'static str) -> Check {
    ensure(!value.is_empty(), empty)?;
    ensure(!value.contains(&b'/') && !value.contains(&b'\\') && !value.contains(&0), path)
}

fn dbfilename(value: &[u8]) -> Check {
    base_name(value, "dbfilename can't be empty", "dbfilename can't be a path, just a filename")
}

fn appendfilename(value: &[u8]) -> Check {
    base_name(value, "appendfilename can't be empty", "appendfilename can't be a path, just a filename")
}

fn appenddirname(value: &[u8]) -> Check {
    base_name(value, "appenddirname can't be empty", "appenddirname can't be a path, just a dirname")
}

fn cluster_config_file(value: &[u8]) -> Check {
    ensure(!value.is_empty(), "cluster-config-file can't be empty")
}

fn parses_as<T: std::str::FromStr>(value: &[u8]) -> bool {
    std::str::from_utf8(value).is_ok_and(|value| value.parse::<T>().is_ok())
}

fn ipv4(value: &[u8]) -> Check {
    ensure(value.is_empty() || parses_as::<std::net::Ipv4Addr>(value), "Invalid IPv4 address")
}

fn ipv6(value: &[u8]) -> Check {
    ensure(value.is_empty() || parses_as::<std::net::Ipv6Addr>(value), "Invalid IPv6 address")
}

fn hostname(value: &[u8]) -> Check {
    ensure(value.len() < 256, "Hostnames must be less than 256 characters")?;
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    ensure(value.iter().all(fits), "Hostnames may only contain alphanumeric characters, hyphens or dots")
}

fn nodename(value: &[u8]) -> Check {
    let fits = |byte: &u8| byte.is_ascii_graphic() && !b"!#$%&()*+:;<>?@[]^{|}~".contains(byte);
    ensure(value.iter().all(fits), "Announced human node name contained invalid character")
}

/// A template holds text and variables in braces, and mustn't come out empty; `{{` is a brace.
fn proc_title_template(value: &[u8]) -> Check {
    const VARIABLES: [&[u8]; 7] =
        [b"title", b"listen-addr", b"server-mode", b"config-file", b"port", b"tls-port", b"unixsocket"];
    const BAD: &str = "template format is invalid or contains unknown variables";
    let mut rest = value;
    let mut blank = true;
    while let Some((first, after)) = rest.split_first() {
        rest = match (first, after) {
            (b'{', [b'{', after @ ..]) => {
                blank = false;
                after
            }
            (b'{', after) => {
                let end = after.iter().position(|&byte| byte == b'}').ok_or(BAD)?;
                let (variable, after) = after.split_at(end);
                ensure(VARIABLES.contains(&variable), BAD)?;
                blank &= matches!(variable, b"title" | b"server-mode" | b"unixsocket");
                after.get(1..).unwrap_or_default()
            }
            (byte, after) => {
                blank &= *byte == b' ';
                after
            }
        };
    }
    ensure(!blank, BAD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::field::Moment;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = SETTINGS.iter().flat_map(Setting::names).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(names.iter().all(|name| *name == name.to_ascii_lowercase()));
    }

    #[test]
    fn every_row_is_documented() {
        for setting in SETTINGS {
            assert!(setting.doc.ends_with('.'), "{}", setting.name);
        }
    }

    /// Whatever a setting shows, it also accepts, beginning with its default.
    #[test]
    fn defaults_are_valid() {
        for setting in SETTINGS {
            let mut settings = Settings::default();
            let shown = setting.show(&settings);
            let args: Vec<&[u8]> = match setting.flags.many {
                true => shown.split(|&byte| byte == b' ').filter(|arg| !arg.is_empty()).collect(),
                false => vec![&shown],
            };
            if setting.name == "replicaof" {
                continue;
            }
            let set = (setting.field_mut)(&mut settings).parse(&args, setting.kind, Moment::Running);
            assert_eq!(set, Ok(()), "{} {}", setting.name, shown.escape_ascii());
            assert_eq!(setting.show(&settings), shown, "{}", setting.name);
        }
    }

    /// Bounds that the Rust type can't hold would give a wrong error text.
    #[test]
    fn bounds_fit_the_type() {
        for setting in SETTINGS {
            let bounds = match setting.kind {
                Kind::Int(min, max) => [min.to_string(), max.to_string()],
                Kind::Memory(min, max) => [min.to_string(), max.to_string()],
                Kind::Octal(max) => ["0".into(), format!("{max:o}")],
                _ => continue,
            };
            for bound in bounds {
                let mut settings = Settings::default();
                let field = (setting.field_mut)(&mut settings);
                assert_eq!(
                    field.parse(&[bound.as_bytes()], setting.kind, Moment::Running),
                    Ok(()),
                    "{bound}"
                );
                assert_eq!(field.show(setting.kind), bound.as_bytes(), "{}", setting.name);
            }
        }
    }
}
