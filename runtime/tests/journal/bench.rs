//! A node with a log on a simulated disk, and what a log gives when it is replayed.

use crate::node::Bench;
use baton::held::Held;
use baton::journal::{LogFile, Policy};
use baton::storage::{SimulatedStorage, Storage};
use baton_engine::aof::read::{Reader, Verdict};
use baton_engine::testing::readable;
use std::collections::BTreeMap;
use std::path::Path;

pub const DIR: &str = "/";
pub const LOG: &str = "/log.1.incr.aof";

/// By key, what reading it shows.
pub type Contents = BTreeMap<String, String>;

/// A node whose log is a new file, whose name is safe.
pub fn journaled(storage: &SimulatedStorage, policy: Policy) -> Bench {
    let bench = Bench::new();
    let file = LogFile::empty(storage.create(Path::new(LOG)).unwrap());
    storage.sync_dir(Path::new(DIR)).unwrap();
    bench.node.journal().configure(policy, true);
    bench.node.hold_all().open_journal(file, 1_000);
    bench
}

/// Goes on in another file; the offset of that point.
pub fn next_file(bench: &Bench, storage: &SimulatedStorage, name: &str) -> std::io::Result<u64> {
    let file = LogFile::empty(storage.create(Path::new(name))?);
    storage.sync_dir(Path::new(DIR))?;
    Ok(bench.node.hold_all().cut_journal(Some(file)))
}

/// Replays these files one after the other on an empty key space. All but the last must be whole; the last may be torn.
#[track_caller]
pub fn replayed(storage: &dyn Storage, files: &[&str]) -> Contents {
    try_replayed(storage, files, now_ms()).unwrap()
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_millis() as i64
}

/// What is there at this time (the replay itself is long before anything expires: what expired left its removal);
/// the reader's verdict when a file is damaged.
pub fn try_replayed(storage: &dyn Storage, files: &[&str], now_ms: i64) -> Result<Contents, String> {
    let mut fresh = baton_engine::testing::Bench::new();
    for (at, file) in files.iter().enumerate() {
        let bytes = storage.read(Path::new(file)).unwrap();
        let mut reader = Reader::new(&bytes, 0);
        while let Some(unit) = reader.read() {
            for command in unit.commands() {
                fresh.db = command.db;
                let reply = fresh.run_args(command.args);
                assert!(!reply.starts_with(b"-"), "{} to {:?}", reply.escape_ascii(), command.args);
            }
        }
        let verdict = reader.verdict().expect("the reader has come to the end");
        let fine = match verdict {
            Verdict::Whole => true,
            Verdict::Torn { .. } => at + 1 == files.len(),
            Verdict::Damaged { .. } => false,
        };
        if !fine {
            return Err(format!("{file}: {verdict:?}\n{}", bytes.escape_ascii()));
        }
    }
    fresh.now_ms = now_ms;
    Ok(contents(|db, line| {
        fresh.db = db;
        fresh.run(line)
    }))
}

/// What a node holds.
pub fn held(bench: &Bench) -> Contents {
    let mut client = bench.client();
    contents(|db, line| {
        client.who.db = db;
        client.run(line)
    })
}

/// What a node holds, while all of it is held.
pub fn held_now(bench: &Bench, all: &mut Held<'_>) -> Contents {
    let mut client = bench.client();
    contents(|db, line| {
        client.who.db = db;
        client.run_in(all, line)
    })
}

fn contents(mut run: impl FnMut(usize, &str) -> String) -> Contents {
    let mut all = Contents::new();
    for db in 0..3 {
        let keys = run(db, "KEYS *");
        for key in strings(&keys) {
            let read = match &*run(db, &format!("TYPE {key}")) {
                "string" => format!("GET {key}"),
                "list" => format!("LRANGE {key} 0 -1"),
                "hash" => format!("HGETALL {key}"),
                "set" => format!("SMEMBERS {key}"),
                "zset" => format!("ZRANGE {key} 0 -1 WITHSCORES"),
                _ => continue,
            };
            let mut shown = run(db, &read);
            if read.starts_with('H') || read.starts_with('S') {
                let mut sorted: Vec<&str> = strings(&shown).collect();
                sorted.sort_unstable();
                shown = sorted.join(" ");
            }
            shown += &run(db, &format!("PEXPIRETIME {key}"));
            all.insert(format!("{db}:{key}"), shown);
        }
    }
    all
}

/// The strings in a readable reply.
fn strings(shown: &str) -> impl Iterator<Item = &str> {
    shown.split('"').skip(1).step_by(2)
}

/// Gives a transaction; its replies.
pub fn exec(bench: &Bench, lines: &[&str]) -> Vec<String> {
    let mut held = bench.node.hold_all();
    held.begin_transaction();
    lines.iter().map(|line| bench.run_in(&mut held, line)).collect()
}

/// Runs a command and returns its reply as it is.
pub fn raw(bench: &Bench, line: &str) -> String {
    readable(&bench.batch(0, &[line]))
}
