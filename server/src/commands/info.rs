//! INFO: facts and figures, in sections, under the names that tools look for.

use super::memory::Usage;
use super::{Flow, Handler, WRITTEN};
use crate::config::{REDIS_VERSION, Settings, Supervised};
use crate::figures::CoreFigures;
use crate::persistence;
use crate::replica::Following;
use crate::server::Server;
use crate::session::Session;
use crate::{cli, memory};
use baton::book::{Book, CommandStats};
use baton::held::Held;
use baton::pubsub::Kind;
use baton::replication::link::LinkState;
use baton_engine::command::{Arity, Category, Command, Flag::*, Group};
use baton_engine::error::CommandError;
use baton_engine::keyspace::entry::Entry;
use baton_engine::keyspace::{Counts, Shard, Stats};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

pub const COMMANDS: &[Command] = &[Command {
    name: "INFO",
    arity: Arity::AtLeast(1),
    flags: &[Loading, Stale, Sentinel],
    acl: &[Category::Dangerous],
    tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    group: Group::Server,
    since: "1.0.0",
    complexity: "O(1)",
    summary: "Reports facts and figures about the server.",
    ..Command::BASE
}];

pub const HANDLERS: &[(&str, Handler)] = &[("info", info)];

/// A section: its name as clients give it, its title, and whether plain INFO shows it.
struct Section {
    name: &'static str,
    title: &'static str,
    by_default: bool,
    write: fn(&Facts<'_>, &mut String),
}

const fn section(
    name: &'static str,
    title: &'static str,
    by_default: bool,
    write: fn(&Facts<'_>, &mut String),
) -> Section {
    Section { name, title, by_default, write }
}

const SECTIONS: &[Section] = &[
    section("server", "Server", true, server),
    section("clients", "Clients", true, clients),
    section("memory", "Memory", true, memory_section),
    section("persistence", "Persistence", true, persistence),
    section("threads", "Threads", false, threads),
    section("stats", "Stats", true, stats),
    section("replication", "Replication", true, replication),
    section("cpu", "CPU", true, cpu),
    section("modules", "Modules", true, |_, _| {}),
    section("commandstats", "Commandstats", false, commandstats),
    section("errorstats", "Errorstats", true, errorstats),
    section("latencystats", "Latencystats", false, latencystats),
    section("cluster", "Cluster", true, cluster),
    section("keyspace", "Keyspace", true, keyspace),
    section("cores", "Cores", false, cores),
    section("debug", "Debug", false, debug),
];

/// What the sections are written from, collected under all batons at once.
struct Facts<'a> {
    server: &'a Server,
    settings: &'a Settings,
    /// Taken first: the rest of this takes memory too.
    usage: Usage,
    stats: Stats,
    books: Vec<Book>,
    /// Per core: keys of each database.
    counts: Vec<Vec<Counts>>,
    /// Of each database, a sample of the times that its keys have left.
    times_left: Vec<TimesLeft>,
    watched_keys: usize,
    blocking_keys: usize,
    blocking_keys_on_nokey: usize,
    stored_slots: usize,
    stale_in_file: u64,
    damaged_slots: usize,
    garbage: usize,
    now_ms: i64,
}

fn info(session: &mut Session, args: &[&[u8]], held: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let chosen: Vec<&Section> = SECTIONS.iter().filter(|section| is_chosen(section, &args[1..])).collect();
    let text = report(session, held, &chosen);
    session.out.verbatim("txt", text.as_bytes());
    WRITTEN
}

fn is_chosen(section: &Section, words: &[&[u8]]) -> bool {
    let named = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    words.is_empty() && section.by_default
        || words.iter().any(|word| {
            named(word, section.name)
                || named(word, "default") && section.by_default
                || named(word, "all") && !matches!(section.name, "modules" | "debug")
                || named(word, "everything") && section.name != "debug"
        })
}

fn report(session: &Session, held: Option<&mut Held<'_>>, sections: &[&Section]) -> String {
    let settings = session.server.settings();
    let facts = collect(session, held, &settings);
    let mut out = String::with_capacity(8 * 1024);
    for section in sections {
        if !out.is_empty() {
            out.push_str("\r\n");
        }
        // Writing to a string cannot fail: here and below.
        let _ = write!(out, "# {}\r\n", section.title);
        (section.write)(&facts, &mut out);
    }
    out
}

fn collect<'a>(session: &'a Session, held: Option<&mut Held<'_>>, settings: &'a Settings) -> Facts<'a> {
    let server: &Server = &session.server;
    let mut facts = Facts {
        server,
        settings,
        usage: Usage::now(server),
        stats: Stats::default(),
        books: server.cores.iter().map(|core| core.book.lock().clone()).collect(),
        counts: Vec::new(),
        times_left: vec![TimesLeft::default(); settings.databases as usize],
        watched_keys: 0,
        blocking_keys: 0,
        blocking_keys_on_nokey: 0,
        garbage: 0,
        stored_slots: 0,
        stale_in_file: 0,
        damaged_slots: 0,
        now_ms: server.node.now_ms(),
    };
    session.with_all(held, |held| {
        for (state, book) in held.states().zip(&mut facts.books) {
            book.merge(&state.book);
            let (shard, sum) = (&state.shard, &mut facts.stats);
            sum.hits += shard.stats.hits;
            sum.misses += shard.stats.misses;
            sum.expired += shard.stats.expired;
            sum.expired_fields += shard.stats.expired_fields;
            sum.evicted += shard.stats.evicted;
            sum.dirty += shard.stats.dirty;
            facts.counts.push((0..shard.databases()).map(|db| shard.counts(db)).collect());
            for (db, times_left) in facts.times_left.iter_mut().enumerate() {
                times_left.sample(shard, db, facts.now_ms);
            }
            facts.garbage += shard.garbage.len();
            facts.stored_slots += shard.stored_slots();
            facts.stale_in_file += shard.stale_in_file;
            facts.damaged_slots += shard.damaged_slots().count();
            for waiting in shard.owned_slots().filter_map(|slot| shard.slot(slot)?.waiting.as_deref()) {
                facts.watched_keys += waiting.watched.len();
                facts.blocking_keys += waiting.blocked.len();
                let lines = waiting.blocked.values();
                facts.blocking_keys_on_nokey +=
                    lines.filter(|line| line.iter().any(|waiter| waiter.needs_keys)).count();
            }
        }
    });
    facts
}

/// How long keys that expire have left, of a sample.
#[derive(Clone, Copy, Default)]
struct TimesLeft {
    sum_ms: u64,
    keys: u64,
}

impl TimesLeft {
    /// Keys of a core's share of a database that are enough.
    const KEYS_MAX: u64 = 256;
    /// Entries that are looked at for them.
    const ENTRIES_MAX: usize = 4_096;
    /// Entries of one slot.
    const OF_SLOT_MAX: usize = 64;

    /// Looks at the first keys that expire. Which slot a key is in has nothing to do with its time.
    fn sample(&mut self, shard: &Shard, db: usize, now_ms: i64) {
        if shard.counts(db).expires == 0 {
            return;
        }
        let physical = shard.physical(db);
        let of_slots = shard.owned_slots().filter_map(|slot| shard.slot(slot)?.db(physical));
        let entries =
            of_slots.filter(|db| db.expires > 0).flat_map(|db| db.table.iter().take(Self::OF_SLOT_MAX));
        let enough = self.keys + Self::KEYS_MAX;
        for expiry in entries.take(Self::ENTRIES_MAX).filter_map(Entry::expiry) {
            if expiry > now_ms {
                self.sum_ms = self.sum_ms.saturating_add(expiry.saturating_sub(now_ms) as u64);
                self.keys += 1;
            }
            if self.keys >= enough {
                break;
            }
        }
    }

    fn average_ms(self) -> u64 {
        self.sum_ms.checked_div(self.keys).unwrap_or(0)
    }
}

/// Writes `name:value` lines.
macro_rules! fields {
    ($out:expr, $($name:literal: $value:expr),+ $(,)?) => {
        $({
            let _ = write!($out, concat!($name, ":{}\r\n"), $value);
        })+
    };
}

fn server(facts: &Facts<'_>, out: &mut String) {
    let (server, settings) = (facts.server, facts.settings);
    let uptime_s = (facts.now_ms - server.started_ms).max(0) / 1_000;
    let (sha, dirty) = cli::git_sha().split_once(':').unwrap_or((cli::git_sha(), "0"));
    fields!(out,
        "redis_version": REDIS_VERSION,
        "redis_git_sha1": sha,
        "redis_git_dirty": dirty,
        "redis_build_id": format_args!("{:x}", cli::build_id()),
        "redis_mode": if settings.cluster_enabled { "cluster" } else { "standalone" },
        "os": operating_system(),
        "arch_bits": usize::BITS,
        "monotonic_clock": "X86 TSC or POSIX clock_gettime",
        "multiplexing_api": "epoll",
        "atomicvar_api": "rust-std",
        "gcc_version": "0.0.0",
        "process_id": std::process::id(),
        "process_supervised": match settings.supervised {
            Supervised::No => "no",
            Supervised::Upstart => "upstart",
            Supervised::Systemd => "systemd",
            Supervised::Auto => "unknown",
        },
        "run_id": server.run_id,
        "tcp_port": if settings.port == 0 { settings.tls_port } else { settings.port },
        "server_time_usec": facts.now_ms * 1_000,
        "uptime_in_seconds": uptime_s,
        "uptime_in_days": uptime_s / 86_400,
        "hz": settings.hz,
        "configured_hz": settings.hz,
        "lru_clock": (facts.now_ms / 1_000) & 0xff_ffff,
        "executable": std::env::current_exe().unwrap_or_default().display(),
        "config_file": server.config.file().map(|file| file.display().to_string()).unwrap_or_default(),
        "io_threads_active": u8::from(server.cores.len() > 1),
        "baton_version": env!("CARGO_PKG_VERSION"),
    );
    let ends_at_ms = server.replicas.ends_at_ms.load(Ordering::Relaxed);
    if ends_at_ms > 0 {
        fields!(out, "shutdown_in_milliseconds": ends_at_ms - facts.now_ms);
    }
    listeners(settings, out);
}

fn listeners(settings: &Settings, out: &mut String) {
    let mut n = 0;
    if settings.port != 0 {
        let _ = write!(out, "listener{n}:name=tcp");
        for address in &settings.bind.0 {
            let _ = write!(out, ",bind={}", address.lossy());
        }
        let _ = write!(out, ",port={}\r\n", settings.port);
        n += 1;
    }
    if let Some(path) = settings.unixsocket.set() {
        let _ = write!(out, "listener{n}:name=unix,bind={}\r\n", path.lossy());
    }
}

fn operating_system() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        format!("Linux {} {}", release.trim(), std::env::consts::ARCH)
    })
}

fn clients(facts: &Facts<'_>, out: &mut String) {
    let server = facts.server;
    let (mut pubsub, mut watching, mut longest_in, mut longest_out) = (0, 0, 0, 0);
    let mut connected = 0;
    for client in server.clients.read().values() {
        // Replicas are counted on their own.
        connected += usize::from(!client.is_replica.load(Ordering::Relaxed));
        pubsub += usize::from(client.subscriptions() > 0);
        watching += usize::from(client.watching.load(Ordering::Relaxed) > 0);
        longest_in = longest_in.max(client.query_memory.load(Ordering::Relaxed));
        longest_out = longest_out.max(client.output_bytes.load(Ordering::Relaxed) + client.mailbox.bytes());
    }
    // The primary is one, as long as there is a connection with it.
    connected += usize::from(server.replica.as_client().is_some());
    fields!(out,
        "connected_clients": connected,
        "cluster_connections": 0,
        "maxclients": facts.settings.maxclients,
        "client_recent_max_input_buffer": longest_in,
        "client_recent_max_output_buffer": longest_out,
        "blocked_clients": server.blocked.load(Ordering::Relaxed),
        "tracking_clients": server.node.tracking().clients(),
        "pubsub_clients": pubsub,
        "watching_clients": watching,
        "clients_in_timeout_table": 0,
        "total_watched_keys": facts.watched_keys,
        "total_blocking_keys": facts.blocking_keys,
        "total_blocking_keys_on_nokey": facts.blocking_keys_on_nokey,
    );
}

fn memory_section(facts: &Facts<'_>, out: &mut String) {
    let backlog = facts.server.node.replication().backlog();
    let stream_bytes = backlog.map_or(0, |backlog| backlog.memory());
    // What is kept beyond the size that was asked for is kept for replicas, if there are any.
    let for_replicas = match facts.server.node.replication().served.count() {
        0 => 0,
        _ => stream_bytes.saturating_sub(facts.settings.repl_backlog_size as usize),
    };
    let (server, settings) = (facts.server, facts.settings);
    let usage = &facts.usage;
    let (used, rss, total) = (usage.used, usage.resident, memory::system_total());
    let scripts = &server.node.scripts;
    let (vm, functions) = (scripts.interpreter_bytes(), scripts.libraries.bytes() as u64);
    let of_scripts = scripts.cached_bytes() as u64 + functions;
    fields!(out,
        "used_memory": used,
        "used_memory_human": human(used),
        "used_memory_rss": rss,
        "used_memory_rss_human": human(rss),
        "used_memory_peak": usage.peak,
        "used_memory_peak_human": human(usage.peak),
        "used_memory_peak_perc": format_args!("{:.2}%", usage.peak_percent()),
        "used_memory_overhead": usage.overhead,
        "used_memory_startup": usage.startup,
        "used_memory_dataset": usage.dataset,
        "used_memory_dataset_perc": format_args!("{:.2}%", usage.dataset_percent()),
        "allocator_allocated": used,
        "allocator_active": rss,
        "allocator_resident": rss,
        "allocator_muzzy": 0,
        "total_system_memory": total,
        "total_system_memory_human": human(total),
        "used_memory_lua": vm,
        "used_memory_vm_eval": vm,
        "used_memory_lua_human": human(vm),
        "used_memory_scripts_eval": scripts.cached_bytes(),
        "number_of_cached_scripts": scripts.cached(),
        "number_of_functions": scripts.libraries.functions(),
        "number_of_libraries": server.node.scripts.libraries.count(),
        "used_memory_vm_functions": 0,
        "used_memory_vm_total": vm,
        "used_memory_vm_total_human": human(vm),
        "used_memory_functions": functions,
        "used_memory_scripts": of_scripts,
        "used_memory_scripts_human": human(of_scripts),
        "maxmemory": settings.maxmemory,
        "maxmemory_human": human(settings.maxmemory),
        "maxmemory_policy": settings.maxmemory_policy.word(),
        "allocator_frag_ratio": format_args!("{:.2}", usage.fragmentation()),
        "allocator_frag_bytes": usage.fragmentation_bytes(),
        "allocator_rss_ratio": "1.00",
        "allocator_rss_bytes": 0,
        "rss_overhead_ratio": "1.00",
        "rss_overhead_bytes": 0,
        "mem_fragmentation_ratio": format_args!("{:.2}", usage.fragmentation()),
        "mem_fragmentation_bytes": usage.fragmentation_bytes(),
        "mem_not_counted_for_evict": server.node.not_counted_for_eviction(),
        "mem_replication_backlog": stream_bytes - for_replicas,
        "mem_total_replication_buffers": stream_bytes,
        "mem_clients_slaves": for_replicas,
        "mem_clients_normal": usage.clients,
        "mem_cluster_links": 0,
        "mem_aof_buffer": server.node.journal().figures().pending_bytes,
        "mem_allocator": "jemalloc-5.3.0",
        "mem_overhead_db_hashtable_rehashing": 0,
        "active_defrag_running": 0,
        "lazyfree_pending_objects": facts.garbage as u64 + server.node.janitor.pending(),
        "lazyfreed_objects": server.node.janitor.freed(),
    );
}

/// A size as people read it.
pub fn human(bytes: u64) -> String {
    if bytes < 1_024 {
        return format!("{bytes}B");
    }
    let mut size = bytes as f64;
    let mut unit = "";
    for next in ["K", "M", "G", "T", "P"] {
        if size < 1_024.0 {
            break;
        }
        (size, unit) = (size / 1_024.0, next);
    }
    format!("{size:.2}{unit}")
}

fn persistence(facts: &Facts<'_>, out: &mut String) {
    let server = facts.server;
    let log = server.node.journal().figures();
    // On is what is to be on, though its first base is still being written.
    let is_on = log.enabled || server.settings().appendonly;
    let rdb = &server.snapshots;
    let saved = rdb.saved_changes.load(Ordering::Relaxed);
    let current = server.node.snapshots.current();
    let (done, total) = current.as_ref().map_or((0, 0), |run| run.progress());
    let perc = if total > 0 { done as f64 * 100.0 / total as f64 } else { 0.0 };
    let is_saving = current.is_some() && !persistence::is_rewriting(server);
    let elapsed = current.as_ref().map_or(-1, |run| run.elapsed().as_secs() as i64);
    fields!(out,
        "loading": u8::from(server.is_loading.load(Ordering::Relaxed)),
        "async_loading": u8::from(server.replica.async_loading.load(Ordering::Relaxed)),
        "current_cow_peak": 0,
        "current_cow_size": 0,
        "current_cow_size_age": 0,
        "current_fork_perc": format!("{perc:.2}"),
        "current_save_keys_processed": done,
        "current_save_keys_total": total,
        "rdb_changes_since_last_save": facts.stats.dirty.saturating_sub(saved),
        "rdb_bgsave_in_progress": u8::from(is_saving),
        "rdb_last_save_time": rdb.last_save_s.load(Ordering::Relaxed),
        "rdb_last_bgsave_status": if rdb.last_ok.load(Ordering::Relaxed) { "ok" } else { "err" },
        "rdb_last_bgsave_time_sec": rdb.last_took_s.load(Ordering::Relaxed),
        "rdb_current_bgsave_time_sec": if is_saving { elapsed } else { -1 },
        "rdb_saves": rdb.saves.load(Ordering::Relaxed),
        "rdb_last_cow_size": 0,
        // Which keys of a mapped file are expired is known slot by slot, as these are built.
        "rdb_last_load_keys_expired": server.load.expired.load(Ordering::Relaxed) + facts.stale_in_file,
        "rdb_last_load_keys_loaded": server.load.keys.load(Ordering::Relaxed).saturating_sub(facts.stale_in_file),
        "aof_enabled": u8::from(is_on),
        "aof_rewrite_in_progress": u8::from(persistence::is_rewriting(server)),
        "aof_rewrite_scheduled": u8::from(server.rewrites.scheduled.load(Ordering::Relaxed)),
        "aof_last_rewrite_time_sec": server.rewrites.last_took_s.load(Ordering::Relaxed),
        "aof_current_rewrite_time_sec": if persistence::is_rewriting(server) { elapsed } else { -1 },
        "aof_last_bgrewrite_status": if server.rewrites.last_ok.load(Ordering::Relaxed) { "ok" } else { "err" },
        "aof_rewrites": server.rewrites.count.load(Ordering::Relaxed),
        "aof_rewrites_consecutive_failures": server.rewrites.failures.load(Ordering::Relaxed),
        "aof_last_write_status": if log.is_sound { "ok" } else { "err" },
        "aof_last_cow_size": 0,
        "module_fork_in_progress": 0,
        "module_fork_last_cow_size": 0,
        "slots_still_in_file": facts.stored_slots,
        "slots_damaged": facts.damaged_slots,
    );
    if server.is_loading.load(Ordering::Relaxed) || server.replica.async_loading.load(Ordering::Relaxed) {
        let figures = server.replica.figures();
        let load = figures.as_ref().map_or(&server.load, |figures| &figures.load);
        let (total, done) = (load.total.load(Ordering::Relaxed), load.done.load(Ordering::Relaxed));
        let started_ms = load.started_ms.load(Ordering::Relaxed);
        let elapsed_s = (facts.now_ms - started_ms).max(0) as f64 / 1_000.0;
        let perc = if total > 0 { done as f64 * 100.0 / total as f64 } else { 0.0 };
        let eta_s = if done > 0 { elapsed_s * total.saturating_sub(done) as f64 / done as f64 } else { 1.0 };
        fields!(out,
            "loading_start_time": started_ms / 1_000,
            "loading_total_bytes": total,
            "loading_rdb_used_mem": 0,
            "loading_loaded_bytes": done,
            "loading_loaded_perc": format!("{perc:.2}"),
            "loading_eta_seconds": eta_s as u64,
        );
    }
    if is_on {
        let size = persistence::log_growth(server).0;
        fields!(out,
            "aof_current_size": size,
            "aof_base_size": server.node.log.base_bytes(),
            "aof_pending_rewrite": u8::from(server.rewrites.scheduled.load(Ordering::Relaxed)),
            "aof_buffer_length": log.pending_bytes,
            "aof_pending_bio_fsync": u8::from(log.is_syncing),
            "aof_delayed_fsync": log.delayed_syncs,
        );
    }
}

fn threads(facts: &Facts<'_>, out: &mut String) {
    for (n, core) in facts.server.cores.iter().enumerate() {
        let clients = core.connections.load(Ordering::Relaxed);
        let (reads, writes) = (core.reads.load(Ordering::Relaxed), core.writes.load(Ordering::Relaxed));
        let _ = write!(out, "io_thread_{n}:clients={clients},reads={reads},writes={writes}\r\n");
    }
}

fn stats(facts: &Facts<'_>, out: &mut String) {
    let (server, stats) = (facts.server, &facts.stats);
    let (rates, totals) = (server.rates.lock().per_second(), server.totals());
    let in_commands_ns: u64 = facts.books.iter().flat_map(|book| book.commands()).map(|stats| stats.ns).sum();
    let errors: u64 = facts.books.iter().flat_map(|book| book.errors().values()).sum();
    let kbps = |bytes: u64| format!("{:.2}", bytes as f64 / 1_024.0);
    let (counters, pubsub) = (&server.counters, &server.node.pubsub);
    let counts = &server.node.replication().counts;
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (reads, writes) = (server.total(|core| &core.reads), server.total(|core| &core.writes));
    fields!(out,
        "total_connections_received": load(&server.connections_total),
        "total_commands_processed": server.total(|core| &core.commands),
        "instantaneous_ops_per_sec": rates.commands,
        "total_net_input_bytes": server.total(|core| &core.bytes_in),
        "total_net_output_bytes": server.total(|core| &core.bytes_out),
        "total_net_repl_input_bytes": 0,
        "total_net_repl_output_bytes": load(&server.replicas.bytes_out),
        "instantaneous_input_kbps": kbps(rates.bytes_in),
        "instantaneous_output_kbps": kbps(rates.bytes_out),
        "instantaneous_input_repl_kbps": "0.00",
        "instantaneous_output_repl_kbps": "0.00",
        "rejected_connections": load(&server.connections_rejected),
        "sync_full": load(&counts.full),
        "sync_partial_ok": load(&counts.partial_ok),
        "sync_partial_err": load(&counts.partial_err),
        "expired_subkeys": stats.expired_fields,
        "expired_fields": stats.expired_fields,
        "expired_keys": stats.expired,
        "expired_stale_perc": "0.00",
        "expired_time_cap_reached_count": 0,
        "expire_cycle_cpu_milliseconds": 0,
        "evicted_keys": stats.evicted,
        "evicted_clients": load(&counters.clients_evicted),
        "evicted_scripts": server.node.scripts.evicted(),
        "total_eviction_exceeded_time": 0,
        "current_eviction_exceeded_time": 0,
        "keyspace_hits": stats.hits,
        "keyspace_misses": stats.misses,
        "pubsub_channels": pubsub.len(Kind::Channel),
        "pubsub_patterns": pubsub.len(Kind::Pattern),
        "pubsubshard_channels": pubsub.len(Kind::Shard),
        "latest_fork_usec": 0,
        "total_forks": 0,
        "migrate_cached_sockets": super::cached_migrations(),
        "slave_expires_tracked_keys": 0,
        "active_defrag_hits": 0,
        "active_defrag_misses": 0,
        "active_defrag_key_hits": 0,
        "active_defrag_key_misses": 0,
        "total_active_defrag_time": 0,
        "current_active_defrag_time": 0,
        "tracking_total_keys": server.node.tracking().keys(),
        "tracking_total_items": server.node.tracking().readers(),
        "tracking_total_prefixes": server.node.tracking().prefixes(),
        "unexpected_error_replies": 0,
        "total_error_replies": errors,
        "dump_payload_sanitizations": 0,
        "total_reads_processed": reads,
        "total_writes_processed": writes,
        "io_threaded_reads_processed": reads,
        "io_threaded_writes_processed": writes,
        "client_query_buffer_limit_disconnections": load(&counters.query_limit_closed),
        "client_output_buffer_limit_disconnections": load(&counters.output_limit_closed),
        "reply_buffer_shrinks": 0,
        "reply_buffer_expands": 0,
        "eventloop_cycles": totals.cycles,
        "eventloop_duration_sum": totals.busy_us,
        "eventloop_duration_cmd_sum": in_commands_ns / 1_000,
        "instantaneous_eventloop_cycles_per_sec": rates.cycles,
        "instantaneous_eventloop_duration_usec": rates.busy_us.checked_div(rates.cycles).unwrap_or(0),
        "acl_access_denied_auth": load(&counters.denied_auth),
        "acl_access_denied_cmd": load(&counters.denied_commands),
        "acl_access_denied_key": load(&counters.denied_keys),
        "acl_access_denied_channel": load(&counters.denied_channels),
        "acl_access_denied_tls_cert": load(&counters.denied_certificates),
    );
}

/// What a replica says of its primary and of itself.
fn following_primary(facts: &Facts<'_>, following: &Following, out: &mut String) {
    let (figures, settings, now_ms) = (&following.figures, facts.settings, facts.server.node.now_ms());
    let state = figures.state();
    let seconds_since = |at: Option<i64>| at.map_or(-1, |at| (now_ms - at).max(0) / 1_000);
    let offset = facts.server.node.journal().pushed();
    fields!(out,
        "role": "slave",
        "master_host": following.host,
        "master_port": following.port,
        "master_link_status": if state == LinkState::Connected { "up" } else { "down" },
        "master_last_io_seconds_ago": seconds_since(figures.last_io_ms()),
        "master_sync_in_progress": u8::from(state == LinkState::Sync),
        "slave_read_repl_offset": offset,
        "slave_repl_offset": figures.applied.load(Ordering::Acquire),
    );
    if state == LinkState::Sync {
        let (total, read) =
            (figures.sync_total.load(Ordering::Relaxed), figures.sync_read.load(Ordering::Relaxed));
        let percent = if total > 0 { read as f64 / total as f64 * 100.0 } else { 0.0 };
        fields!(out,
            "master_sync_total_bytes": total,
            "master_sync_read_bytes": read,
            "master_sync_left_bytes": total as i64 - read as i64,
            "master_sync_perc": format_args!("{percent:.2}"),
            "master_sync_last_io_seconds_ago": seconds_since(figures.last_io_ms()),
        );
    }
    if state != LinkState::Connected {
        fields!(out, "master_link_down_since_seconds": seconds_since(figures.down_since_ms()));
    }
    fields!(out,
        "slave_priority": settings.replica_priority,
        "slave_read_only": u8::from(settings.replica_read_only),
        "replica_announced": u8::from(settings.replica_announced),
    );
}

fn replication(facts: &Facts<'_>, out: &mut String) {
    let (server, node) = (facts.server, &facts.server.node);
    let replication = node.replication();
    let history = replication.history();
    let links: Vec<_> = replication.served.all().into_iter().map(|link| (link.replica(), link)).collect();
    match server.replica.following(&replication.role()) {
        Some(following) => following_primary(facts, &following, out),
        None => fields!(out, "role": "master"),
    }
    fields!(out, "connected_slaves": links.len());
    if facts.settings.min_replicas_to_write > 0 && facts.settings.min_replicas_max_lag > 0 {
        fields!(out, "min_slaves_good_slaves": server.replicas.good.load(Ordering::Relaxed));
    }
    let shown = links.iter().filter_map(|(replica, link)| Some((replica, link, replica.state()?)));
    for (n, (replica, link, state)) in shown.enumerate() {
        let (ip, port, offset) = (link.address(), replica.facts.port, replica.has);
        let lag = replica.lag_s(facts.now_ms);
        let _ = write!(
            out,
            "slave{n}:ip={ip},port={port},state={state},offset={offset},lag={lag},type=replica\r\n"
        );
    }
    let backlog = replication.backlog();
    let kept = backlog.as_ref().map(|backlog| backlog.range());
    let previous = history.previous.map_or_else(|| "0".repeat(40), |previous| previous.id.to_string());
    fields!(out,
        "replicas_waiting_psync": 0,
        "master_failover_state": server.replicas.failover.lock().state(),
        "master_replid": history.id,
        "master_replid2": previous,
        "master_repl_offset": node.journal().pushed(),
        "second_repl_offset": history.previous.map_or(-1, |previous| previous.end as i64 + 1),
        "repl_backlog_active": u8::from(backlog.is_some()),
        "repl_backlog_size": facts.settings.repl_backlog_size,
        "repl_backlog_first_byte_offset": kept.as_ref().map_or(0, |kept| kept.start + 1),
        "repl_backlog_histlen": kept.as_ref().map_or(0, |kept| kept.end - kept.start),
    );
}

fn cpu(_: &Facts<'_>, out: &mut String) {
    use nix::sys::resource::{UsageWho, getrusage};
    let seconds = |who| {
        getrusage(who).map_or((0.0, 0.0), |usage| {
            let time = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
            (time(usage.system_time()), time(usage.user_time()))
        })
    };
    let (own, children) = (seconds(UsageWho::RUSAGE_SELF), seconds(UsageWho::RUSAGE_CHILDREN));
    fields!(out,
        "used_cpu_sys": format_args!("{:.6}", own.0),
        "used_cpu_user": format_args!("{:.6}", own.1),
        "used_cpu_sys_children": format_args!("{:.6}", children.0),
        "used_cpu_user_children": format_args!("{:.6}", children.1),
    );
}

/// The figures of every command that has any, with its name.
fn per_command<'a>(facts: &'a Facts<'_>) -> impl Iterator<Item = (&'a str, CommandStats)> {
    facts.server.node.registry.iter().filter_map(|command| {
        let mut sum = CommandStats::default();
        facts.books.iter().filter_map(|book| book.commands().get(command.id)).for_each(|one| sum.merge(one));
        let any = sum.calls > 0 || sum.rejected > 0 || sum.failed > 0;
        any.then_some((command.name.as_str(), sum))
    })
}

fn commandstats(facts: &Facts<'_>, out: &mut String) {
    for (name, stats) in per_command(facts) {
        let (calls, us) = (stats.calls, stats.ns / 1_000);
        let each = if calls == 0 { 0.0 } else { us as f64 / calls as f64 };
        let _ = write!(
            out,
            "cmdstat_{name}:calls={calls},usec={us},usec_per_call={each:.2},rejected_calls={},failed_calls={}\r\n",
            stats.rejected, stats.failed
        );
    }
}

fn errorstats(facts: &Facts<'_>, out: &mut String) {
    let mut errors: BTreeMap<&str, u64> = BTreeMap::new();
    for (code, count) in facts.books.iter().flat_map(|book| book.errors()) {
        *errors.entry(code).or_default() += count;
    }
    for (code, count) in errors {
        let _ = write!(out, "errorstat_{code}:count={count}\r\n");
    }
}

fn latencystats(facts: &Facts<'_>, out: &mut String) {
    if !facts.settings.latency_tracking {
        return;
    }
    let percentiles = &facts.settings.latency_tracking_info_percentiles.0;
    for (name, stats) in per_command(facts) {
        let Some(histogram) = stats.histogram else { continue };
        let _ = write!(out, "latency_percentiles_usec_{name}:");
        for (n, percent) in percentiles.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            let us = histogram.percentile(*percent) as f64 / 1_000.0;
            let _ = write!(out, "{comma}p{percent}={us:.3}");
        }
        out.push_str("\r\n");
    }
}

fn cluster(facts: &Facts<'_>, out: &mut String) {
    fields!(out, "cluster_enabled": u8::from(facts.settings.cluster_enabled));
}

fn keyspace(facts: &Facts<'_>, out: &mut String) {
    for db in 0..facts.settings.databases as usize {
        let of_db = |part: fn(&Counts) -> usize| -> usize {
            facts.counts.iter().filter_map(|core| core.get(db)).map(part).sum()
        };
        let keys = of_db(|counts| counts.keys);
        if keys > 0 {
            let (expires, with_fields) = (of_db(|counts| counts.expires), of_db(|counts| counts.with_fields));
            let average_ms = facts.times_left.get(db).map_or(0, |times_left| times_left.average_ms());
            let _ = write!(out, "db{db}:keys={keys},expires={expires},avg_ttl={average_ms}");
            let _ = write!(out, ",keys_with_volatile_items={with_fields}\r\n");
        }
    }
}

fn cores(facts: &Facts<'_>, out: &mut String) {
    let (gathering, ranges) = (&facts.server.gathering, facts.server.node.slots.ranges());
    let count = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
    fields!(out,
        "active_cores": gathering.count(),
        "connections_moved": count(&gathering.moves),
        "times_spread": count(&gathering.spread),
        "times_gathered": count(&gathering.gathered),
    );
    for (core, figures) in facts.server.cores.iter().enumerate() {
        let slots: usize =
            ranges.iter().filter(|range| range.2 == core).map(|(first, last, _)| last - first + 1).sum();
        let keys: usize =
            facts.counts.get(core).map_or(0, |counts| counts.iter().map(|counts| counts.keys).sum());
        let book = &facts.books[core];
        let _ = write!(
            out,
            "core{core}:slots={slots},keys={keys},connections={},commands={},bytes_in={},bytes_out={},borrowed={},inbox={}\r\n",
            figures.connections.load(Ordering::Relaxed),
            figures.commands.load(Ordering::Relaxed),
            figures.bytes_in.load(Ordering::Relaxed),
            figures.bytes_out.load(Ordering::Relaxed),
            book.borrowed,
            book.inbox,
        );
    }
}

fn debug(facts: &Facts<'_>, out: &mut String) {
    let most = |figure: fn(&CoreFigures) -> &AtomicU64| {
        facts.server.cores.iter().map(|core| figure(core).load(Ordering::Relaxed)).max().unwrap_or(0)
    };
    fields!(out,
        "eventloop_duration_aof_sum": 0,
        "eventloop_duration_cron_sum": facts.server.total(|core| &core.chores_us),
        "eventloop_duration_max": most(|core| &core.chores_us_max),
        "eventloop_cmd_per_cycle_max": most(|core| &core.commands_at_once_max),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in [
            (0, "0B"),
            (1_023, "1023B"),
            (1_024, "1.00K"),
            (1_572_864, "1.50M"),
            (1 << 30, "1.00G"),
            (1 << 40, "1.00T"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }

    #[test]
    fn sections_are_chosen_as_asked() {
        let names = |words: &[&[u8]]| -> Vec<&str> {
            SECTIONS.iter().filter(|section| is_chosen(section, words)).map(|section| section.name).collect()
        };
        assert_eq!(names(&[b"CPU", b"sentinel"]), ["cpu"]);
        assert!(names(&[]).contains(&"server") && !names(&[]).contains(&"commandstats"));
        assert_eq!(names(&[b"default"]), names(&[]));
        assert!(names(&[b"all"]).contains(&"commandstats") && !names(&[b"all"]).contains(&"modules"));
        assert_eq!(names(&[b"everything"]).len(), SECTIONS.len() - 1);
        assert_eq!(names(&[b"debug"]), ["debug"]);
        assert_eq!(names(&[b"default", b"latencystats"]).len(), names(&[]).len() + 1);
    }
}
