//! Nodes on a simulated disk: opened, driven, compared.

use baton::held::{Held, Identity, Who};
use baton::persist::load::Progress;
use baton::persist::log::{RewriteError, RewriteOptions};
use baton::persist::open::{OpenError, OpenOptions, Opened, open};
use baton::registry::Registry;
use baton::replication::identity::ReplId;
use baton::snapshot::{SnapshotError, SnapshotOptions, Written};
use baton::storage::{SimulatedStorage, Storage};
use baton::{Node, NodeOptions};
use baton_engine::rdb::save::SaveOptions;
use baton_engine::reply::Out;
use baton_engine::settings::Settings;
use baton_engine::slot::Slot;
use baton_engine::testing::{canonical, readable, words};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

pub const SNAPSHOT: &str = "/dump.rdb";
pub const LOG_DIR: &str = "/appendonlydir";
pub const NAME: &[u8] = b"appendonly.aof";
pub const DATABASES: usize = 3;

/// By database and key: the value and when it expires.
pub type Contents = BTreeMap<(usize, Vec<u8>), String>;

/// Whether to go through everything.
pub fn all() -> bool {
    std::env::var_os("BATON_RECOVERY_ALL").is_some()
}

/// By path.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A node that has not opened anything.
pub fn node(storage: &SimulatedStorage, cores: usize) -> Arc<Node> {
    Node::new(NodeOptions {
        cores,
        settings: Settings { databases: DATABASES, ..Settings::default() },
        hash_seed: [1, 2, 3, 4],
        seed: 5,
        replication_id: ReplId::from_random([6; 20]),
        registry: Registry::new(&[]),
        used_memory: |_| 0,
        storage: Arc::new(storage.clone()),
    })
}

/// A node that has opened what is on the disk.
pub fn opened(
    storage: &SimulatedStorage,
    cores: usize,
    appendonly: bool,
) -> Result<(Arc<Node>, Opened), OpenError> {
    let node = node(storage, cores);
    let options = OpenOptions {
        snapshot: SNAPSHOT.into(),
        log_dir: LOG_DIR.into(),
        log_name: NAME.to_vec(),
        appendonly,
        load_truncated: true,
        verify: true,
        any_version: false,
        key_delay: Duration::ZERO,
    };
    let opened = open(&node, &options, &Progress::default())?;
    Ok((node, opened))
}

/// Runs one command.
pub fn run(node: &Arc<Node>, db: usize, line: &str) -> String {
    run_in(&mut node.hold_all(), db, line)
}

/// Runs commands as one transaction.
pub fn exec<S: AsRef<str>>(node: &Arc<Node>, lines: &[(usize, S)]) -> Vec<String> {
    let mut held = node.hold_all();
    held.begin_transaction();
    lines.iter().map(|(db, line)| run_in(&mut held, *db, line.as_ref())).collect()
}

/// Runs one command under batons that are held.
pub fn run_in(held: &mut Held<'_>, db: usize, line: &str) -> String {
    let args = words(line);
    let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
    let node = held.node().clone();
    let command = node.registry.find(args[0]).expect("a known command");
    let who = Who { id: 1, db, resp3: false, no_touch: false, remembers: false, identity: Arc::new(Tester) };
    let mut out = Out::new(false);
    held.run(&who, command, &args, false, &mut out);
    readable(&out.into_bytes())
}

struct Tester;

impl Identity for Tester {
    fn address(&self) -> String {
        "127.0.0.1:1".to_owned()
    }

    fn name(&self) -> String {
        "tester".to_owned()
    }
}

/// Everything that a node holds, and the slots that it cannot read.
pub fn held(node: &Arc<Node>) -> (Contents, BTreeSet<u16>) {
    held_now(&mut node.hold_all())
}

/// As [`held`], under batons that are held.
pub fn held_now(held: &mut Held<'_>) -> (Contents, BTreeSet<u16>) {
    // What is damaged is asked for below.
    drop(held.with_keyspace(0, |keyspace| keyspace.build_all()));
    let (mut all, mut damaged) = (Contents::new(), BTreeSet::new());
    for state in held.states() {
        let shard = &state.shard;
        damaged.extend(shard.damaged_slots().map(|(slot, _)| slot));
        for data in Slot::all().filter_map(|slot| shard.slot(slot)) {
            for db in 0..DATABASES {
                for entry in data.db(shard.physical(db)).into_iter().flat_map(|db| db.table.iter()) {
                    let shown = format!("{} expires {:?}", canonical(entry.value()), entry.expiry());
                    assert_eq!(all.insert((db, entry.key().to_vec()), shown), None, "a key twice");
                }
            }
        }
    }
    (all, damaged)
}

/// Everything that a node holds, which can all be read.
#[track_caller]
pub fn whole(node: &Arc<Node>) -> Contents {
    let (contents, damaged) = held(node);
    assert!(damaged.is_empty(), "damaged: {damaged:?}");
    contents
}

pub fn slot_of(key: &[u8]) -> u16 {
    Slot::of(key).index() as u16
}

/// How long the end of a snapshot may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Rewrites the log, or turns it on, and waits for the end of that.
pub fn rewrite(node: &Arc<Node>) -> Result<Written, RewriteError> {
    rewrite_with(node, Duration::ZERO).and_then(|ended| ended.recv_timeout(LIMIT).expect("an end"))
}

/// Begins to rewrite the log. The channel gives the end of it.
pub fn rewrite_with(
    node: &Arc<Node>,
    delay: Duration,
) -> Result<mpsc::Receiver<Result<Written, RewriteError>>, RewriteError> {
    let options = RewriteOptions {
        dir: LOG_DIR.into(),
        name: NAME.to_vec(),
        save: SaveOptions::default(),
        checksum: true,
        incremental_sync: true,
        keep_history: false,
        preamble: true,
        timestamps: false,
        delay,
        on: true,
    };
    let (ended, end) = mpsc::channel();
    node.rewrite_log(&options, move |result| drop(ended.send(result)))?;
    Ok(end)
}

/// Writes a snapshot. Its contents are noted at the moment that it shows.
pub fn snapshot(node: &Arc<Node>) -> Ended {
    snapshot_with(node, Duration::ZERO)?.recv_timeout(LIMIT).expect("an end")
}

/// How a snapshot ended, and what there was at the moment that it shows.
pub type Ended = Result<(Written, Contents), SnapshotError>;

/// Begins to write a snapshot. The channel gives the end of it, with what there was at the moment that it shows.
pub fn snapshot_with(node: &Arc<Node>, delay: Duration) -> Result<mpsc::Receiver<Ended>, SnapshotError> {
    let options = SnapshotOptions {
        path: SNAPSHOT.into(),
        save: SaveOptions::default(),
        checksum: true,
        incremental_sync: true,
        aux: Vec::new(),
        delay,
    };
    let (ended, end) = mpsc::channel();
    node.begin_snapshot(options, |held| held_now(held).0, move |result| drop(ended.send(result)))?;
    Ok(end)
}

/// All files of a disk, but for those that have not got their names yet.
pub fn files(storage: &SimulatedStorage) -> Files {
    let mut all = Files::new();
    for dir in ["/", LOG_DIR] {
        for name in storage.list(Path::new(dir)).unwrap_or_default() {
            let path = Path::new(dir).join(name);
            let bytes = storage.read(&path).expect("a file that is listed").to_vec();
            all.insert(path, bytes);
        }
    }
    all
}

/// A disk with these files, all of them safe.
pub fn disk(files: &Files, seed: u64) -> SimulatedStorage {
    let storage = SimulatedStorage::new(seed);
    storage.create_dir(Path::new(LOG_DIR)).expect("a directory");
    for (path, bytes) in files {
        let file = storage.create(path).expect("a file");
        file.append(&[bytes]).expect("written");
        file.sync_data().expect("synced");
    }
    for dir in ["/", LOG_DIR] {
        storage.sync_dir(Path::new(dir)).expect("synced");
    }
    storage
}

/// Commands that make a little of everything in several databases; nothing of it expires before the year 2100.
#[rustfmt::skip]
pub const FILL: &[(usize, &str)] = &[
    (0, "SET text value"),
    (0, "SET number 12345"),
    (0, "SET later x PXAT 4102444800123"),
    (0, r##"SET "binary\x00\r\n\xff" "#HDR:v1;\r\n*1\r\n""##),
    (0, "SET repeated aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    (0, "RPUSH list a b c 1 2 3"),
    (0, "MSET weight:a 5 weight:b 1 weight:c 3 weight:1 2 weight:2 4 weight:3 0 weight:tail 6"),
    (1, "SADD numbers 1 2 3"),
    (1, "SADD words a b 3"),
    (1, "HSET hash f 1 g 2"),
    (1, "HSET fields f 1 g 2"),
    (1, "HPEXPIREAT fields 4102444800123 FIELDS 1 f"),
    (2, "ZADD zset 1 a 2.5 b -inf c"),
    (2, "SET {t}1 1"),
    (2, "SET {t}2 2"),
    (0, "SET {t}1 1"),
];
