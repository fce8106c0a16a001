//! A whole data directory, damaged: it recovers, or is refused; what it serves is what was written.

use crate::input::Choices;
use baton::held::{Identity, Who};
use baton::journal::Policy;
use baton::persist::load::Progress;
use baton::persist::log::RewriteOptions;
use baton::persist::open::{OpenOptions, open};
use baton::registry::Registry;
use baton::replication::identity::ReplId;
use baton::storage::{SimulatedStorage, Storage};
use baton::{Node, NodeOptions};
use baton_engine::rdb::save::SaveOptions;
use baton_engine::reply::Out;
use baton_engine::settings::Settings;
use baton_engine::slot::Slot;
use baton_engine::testing::{canonical, words};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

const DATABASES: usize = 3;
const LOG_DIR: &str = "/appendonlydir";
const NAME: &[u8] = b"appendonly.aof";

type Contents = BTreeMap<(usize, Vec<u8>), String>;
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// What a node left behind, and what it held after each write since the base was written.
struct Left {
    files: Files,
    states: Vec<Contents>,
}

/// One byte: the number of cores. Then changes of the files, six bytes each: which file, what, where, how long, and a value.
///
/// What is opened is one of the states that there were, or a part of one in which slots are refused by name; what is not
/// opened has not changed.
pub fn recovery_dir(data: &[u8]) {
    static LEFT: OnceLock<Left> = OnceLock::new();
    let left = LEFT.get_or_init(left);
    let mut choices = Choices::new(data);
    let cores = 1 + usize::from(choices.byte() % 4);
    let mut files = left.files.clone();
    let mut turns = 0;
    while !choices.is_over() && turns < 12 {
        damage(&mut files, &mut choices);
        turns += 1;
    }
    let disk = disk(&files);
    let node = node(&disk, cores);
    let options = OpenOptions {
        snapshot: "/dump.rdb".into(),
        log_dir: LOG_DIR.into(),
        log_name: NAME.to_vec(),
        appendonly: true,
        load_truncated: true,
        verify: true,
        any_version: false,
        key_delay: Duration::ZERO,
    };
    if open(&node, &options, &Progress::default()).is_err() {
        assert!(read(&disk, files.keys()) == files, "refused, and changed");
        return;
    }
    let (contents, damaged) = held(&node);
    let is_state = |state: &Contents| {
        if damaged.is_empty() {
            return contents == *state;
        }
        let is_damaged = |key: &[u8]| damaged.contains(&(Slot::of(key).index() as u16));
        state.iter().all(|(key, value)| contents.get(key) == Some(value) || is_damaged(&key.1))
            && contents.keys().all(|key| state.contains_key(key))
    };
    assert!(
        left.states.iter().any(is_state),
        "served what was never there: {contents:?}, damaged: {damaged:?}"
    );
}

fn damage(files: &mut Files, choices: &mut Choices<'_>) {
    let which = usize::from(choices.byte()) % files.len();
    let (what, at, len, value) = (choices.byte(), choices.pair(), choices.byte(), choices.byte());
    let Some(bytes) = files.values_mut().nth(which) else { return };
    if bytes.is_empty() {
        return;
    }
    let at = usize::from(at) % bytes.len();
    let end = (at + 1 + usize::from(len)).min(bytes.len());
    match what % 8 {
        0 => bytes[at] ^= value.max(1),
        1 => bytes[at] = value,
        2 => bytes.truncate(at),
        3 => bytes[at..end].fill(0),
        4 => drop(bytes.drain(at..end)),
        5 => {
            let doubled = bytes[at..end].to_vec();
            bytes.splice(at..at, doubled);
        }
        6 => bytes.extend(std::iter::repeat_n(value, usize::from(len))),
        _ => {
            // As a file system loses a sector.
            let start = at - at % 512;
            let end = (start + 512).min(bytes.len());
            bytes[start..end].fill(0);
        }
    }
}

fn left() -> Left {
    let storage = SimulatedStorage::new(1);
    let node = node(&storage, 2);
    node.journal().configure(Policy::Never, true);
    rewrite(&node);
    for line in [
        "SET text value",
        "SET later x PXAT 4102444800123",
        "SET repeated aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "RPUSH list a b c 1 2 3",
        "SADD numbers 1 2 3",
        "HSET hash f 1 g 2",
        "HPEXPIREAT hash 4102444800123 FIELDS 1 f",
        "ZADD zset 1 a 2.5 b",
        "MSET {t}1 1 {t}2 2 other 3",
    ] {
        run(&node, &[(0, line), (2, line)]);
    }
    rewrite(&node);
    let mut states = vec![held(&node).0];
    let large = format!("SET large {}", "large".repeat(300));
    for step in [
        &[(0, "SET text changed")][..],
        &[(0, "RENAME {t}1 moved"), (2, "DEL hash"), (1, "SET x 1")],
        &[(0, &large), (0, "RPUSH list tail")],
        &[(2, "FLUSHDB")],
        &[(0, "SPOP numbers"), (0, "INCR other"), (0, "SET end 1")],
    ] {
        run(&node, step);
        drop(node.journal().write_and_sync());
        states.push(held(&node).0);
    }
    let names = storage.list(Path::new(LOG_DIR)).unwrap_or_default();
    let paths: Vec<PathBuf> = names
        .iter()
        .filter(|name| !name.ends_with(".lock"))
        .map(|name| Path::new(LOG_DIR).join(name))
        .collect();
    Left { files: read(&storage, paths.iter()), states }
}

fn node(storage: &SimulatedStorage, cores: usize) -> Arc<Node> {
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

fn rewrite(node: &Arc<Node>) {
    let options = RewriteOptions {
        dir: LOG_DIR.into(),
        name: NAME.to_vec(),
        save: SaveOptions::default(),
        checksum: true,
        incremental_sync: true,
        keep_history: false,
        delay: Duration::ZERO,
        on: true,
        preamble: true,
        timestamps: false,
    };
    let (ended, end) = mpsc::channel();
    node.rewrite_log(&options, move |result| drop(ended.send(result))).expect("it begins");
    end.recv().expect("an end").expect("a base");
}

struct Fuzzer;

impl Identity for Fuzzer {
    fn address(&self) -> String {
        "127.0.0.1:1".to_owned()
    }

    fn name(&self) -> String {
        "fuzzer".to_owned()
    }
}

/// Runs commands as one transaction.
fn run(node: &Arc<Node>, lines: &[(usize, &str)]) {
    let mut held = node.hold_all();
    held.begin_transaction();
    for (db, line) in lines {
        let args = words(line);
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let command = node.registry.find(args[0]).expect("a known command");
        let who = Who {
            id: 1,
            db: *db,
            resp3: false,
            no_touch: false,
            remembers: false,
            identity: Arc::new(Fuzzer),
        };
        let mut out = Out::new(false);
        held.run(&who, command, &args, false, &mut out);
    }
}

/// Everything that a node holds, and the slots that it cannot read.
fn held(node: &Arc<Node>) -> (Contents, BTreeSet<u16>) {
    let mut held = node.hold_all();
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

fn read<'p>(storage: &SimulatedStorage, paths: impl Iterator<Item = &'p PathBuf>) -> Files {
    paths.map(|path| (path.clone(), storage.read(path).expect("a file").to_vec())).collect()
}

fn disk(files: &Files) -> SimulatedStorage {
    let storage = SimulatedStorage::new(1);
    storage.create_dir(Path::new(LOG_DIR)).expect("a directory");
    for (path, bytes) in files {
        storage.create(path).and_then(|file| file.append(&[bytes])).expect("a file");
    }
    storage
}
