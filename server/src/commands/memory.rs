//! MEMORY: what concerns the process as a whole. The row, and USAGE, are the engine's.

use super::{Flow, Handler, OK, WRITTEN, info};
use crate::memory;
use crate::session::Session;
use baton::held::Held;
use baton_engine::error::CommandError;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

pub const HANDLERS: &[(&str, Handler)] = &[
    ("memory|doctor", doctor),
    ("memory|help", help),
    ("memory|malloc-stats", malloc_stats),
    ("memory|purge", purge),
    ("memory|stats", stats),
];

/// What memory is used for, in bytes.
pub struct Usage {
    pub used: u64,
    pub peak: u64,
    pub resident: u64,
    pub startup: u64,
    pub clients: u64,
    pub overhead: u64,
    pub dataset: u64,
}

impl Usage {
    /// As it is now.
    pub fn now(server: &crate::server::Server) -> Self {
        let used = server.node.used_memory();
        let peak = server.peak_memory.fetch_max(used, Ordering::Relaxed).max(used);
        let startup = server.startup_memory.load(Ordering::Relaxed).min(used);
        let clients: u64 = server.clients.read().values().map(|client| client.memory() as u64).sum();
        let overhead = (startup + clients).min(used);
        Self {
            used,
            peak,
            resident: memory::resident(),
            startup,
            clients,
            overhead,
            dataset: used - overhead,
        }
    }

    /// The share of the data in what is used beyond the start, in percent.
    pub fn dataset_percent(&self) -> f64 {
        percent(self.dataset, self.used - self.startup)
    }

    /// What is used, in percent of the peak.
    pub fn peak_percent(&self) -> f64 {
        percent(self.used, self.peak)
    }

    /// Physical memory per byte used.
    pub fn fragmentation(&self) -> f64 {
        if self.used == 0 { 1.0 } else { self.resident as f64 / self.used as f64 }
    }

    /// Physical memory beyond what is used.
    pub fn fragmentation_bytes(&self) -> i64 {
        self.resident as i64 - self.used as i64
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

fn stats(session: &mut Session, _: &[&[u8]], held: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let usage = Usage::now(&session.server);
    let databases = session.with_all(held, |held| {
        let mut keys = vec![0; held.node().settings().databases];
        for state in held.states() {
            for (db, keys) in keys.iter_mut().enumerate() {
                *keys += state.shard.counts(db).keys as u64;
            }
        }
        keys
    });
    let keys: u64 = databases.iter().sum();
    let out = &mut session.out;
    let place = out.deferred();
    let mut fields = 0;
    let mut name = |out: &mut baton_engine::reply::Out, name: &str| {
        fields += 1;
        out.bulk(name.as_bytes());
    };
    let scripts = &session.server.node.scripts;
    for (field, value) in [
        ("peak.allocated", usage.peak),
        ("total.allocated", usage.used),
        ("startup.allocated", usage.startup),
        ("replication.backlog", 0),
        ("clients.slaves", 0),
        ("clients.normal", usage.clients),
        ("cluster.links", 0),
        ("aof.buffer", session.server.node.journal().figures().pending_bytes),
        ("lua.caches", scripts.cached_bytes() as u64),
        ("functions.caches", scripts.libraries.bytes() as u64),
    ] {
        name(out, field);
        out.integer(value as i64);
    }
    for (db, keys) in databases.iter().enumerate().filter(|(_, keys)| **keys > 0) {
        name(out, &format!("db.{db}"));
        out.map(2);
        out.bulk(b"overhead.hashtable.main");
        // A bucket: the pointer and its control byte.
        out.integer((*keys * 9) as i64);
        out.bulk(b"overhead.hashtable.expires");
        // There is no second table: the time is in the entry.
        out.integer(0);
    }
    for (field, value) in [
        ("overhead.db.hashtable.lut", keys * 9),
        ("overhead.db.hashtable.rehashing", 0),
        ("overhead.total", usage.overhead),
        ("db.dict.rehashing.count", 0),
        ("keys.count", keys),
        ("keys.bytes-per-key", usage.dataset.checked_div(keys).unwrap_or(0)),
        ("dataset.bytes", usage.dataset),
    ] {
        name(out, field);
        out.integer(value as i64);
    }
    name(out, "dataset.percentage");
    out.double(usage.dataset_percent());
    name(out, "peak.percentage");
    out.double(usage.peak_percent());
    for (field, value) in [
        ("allocator.allocated", usage.used),
        ("allocator.active", usage.resident),
        ("allocator.resident", usage.resident),
        ("allocator.muzzy", 0),
    ] {
        name(out, field);
        out.integer(value as i64);
    }
    name(out, "allocator-fragmentation.ratio");
    out.double(usage.fragmentation());
    name(out, "allocator-fragmentation.bytes");
    out.integer(usage.fragmentation_bytes());
    name(out, "allocator-rss.ratio");
    out.double(1.0);
    name(out, "allocator-rss.bytes");
    out.integer(0);
    name(out, "rss-overhead.ratio");
    out.double(1.0);
    name(out, "rss-overhead.bytes");
    out.integer(0);
    name(out, "fragmentation");
    out.double(usage.fragmentation());
    name(out, "fragmentation.bytes");
    out.integer(usage.fragmentation_bytes());
    out.fill_map(place, fields);
    WRITTEN
}

fn doctor(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let clients = session.server.clients.read().len();
    let report = report(&Usage::now(&session.server), clients);
    session.out.verbatim("txt", report.as_bytes());
    WRITTEN
}

fn report(usage: &Usage, clients: usize) -> String {
    /// With less than this in use, ratios say nothing.
    const LITTLE: u64 = 5 << 20;
    /// Clients that keep more than this on average are worth a word.
    const CLIENT_MAX: u64 = 200 << 10;
    if usage.used < LITTLE {
        return "There is hardly any data yet: nothing can be said about the use of memory.\n".to_owned();
    }
    let mut out = String::new();
    // Writing to a string cannot fail: here and below.
    if usage.peak * 2 > usage.used * 3 {
        let _ = writeln!(
            out,
            "* Peak: {} were in use once, {} are now. The process may keep the difference for what comes; MEMORY PURGE \
             gives back what it can.",
            info::human(usage.peak),
            info::human(usage.used)
        );
    }
    if usage.fragmentation() > 1.4 && usage.fragmentation_bytes() > 10 << 20 {
        let _ = writeln!(
            out,
            "* Fragmentation: the process takes {:.2} times the memory that it uses. After a peak that is harmless.",
            usage.fragmentation()
        );
    }
    if clients > 0 && usage.clients / clients as u64 > CLIENT_MAX {
        let _ = writeln!(
            out,
            "* Clients: they keep {} each on average. CLIENT LIST shows who does not read its replies or sends very \
             long requests.",
            info::human(usage.clients / clients as u64)
        );
    }
    if out.is_empty() {
        return "Nothing is odd about the use of memory.\n".to_owned();
    }
    format!("What is odd about the use of memory:\n\n{out}")
}

fn malloc_stats(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let usage = Usage::now(&session.server);
    let text = format!(
        "jemalloc, counted by the server\nallocated: {}\nresident: {}\npeak: {}\n",
        usage.used, usage.resident, usage.peak
    );
    session.out.verbatim("txt", text.as_bytes());
    WRITTEN
}

fn purge(_: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    if memory::purge() { OK } else { Err(CommandError::text("ERR Error purging dirty pages")) }
}

fn help(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.out.help(
        "MEMORY",
        &[
            "DOCTOR",
            "    Write a report for people.",
            "MALLOC-STATS",
            "    Show what the allocator counts.",
            "PURGE",
            "    Give unused memory back to the system.",
            "STATS",
            "    Show what memory is used for.",
            "USAGE <key> [SAMPLES <count>]",
            "    Estimate the bytes that a key takes. Of a collection so many elements are looked at",
            "    (5 if not given, 0 for all).",
        ],
    );
    WRITTEN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doctor_finds_what_is_odd() {
        let well = Usage {
            used: 100 << 20,
            peak: 110 << 20,
            resident: 120 << 20,
            startup: 1 << 20,
            clients: 1 << 10,
            overhead: 2 << 20,
            dataset: 98 << 20,
        };
        assert_eq!(report(&well, 1), "Nothing is odd about the use of memory.\n");
        let sick = Usage { peak: 200 << 20, resident: 300 << 20, clients: 10 << 20, ..well };
        assert_eq!(report(&sick, 1).lines().filter(|line| line.starts_with('*')).count(), 3);
        assert!(report(&Usage { used: 1, ..sick }, 1).contains("hardly any data"));
    }
}
