//! The libraries, each behind the two calls that are compared. One file, one after the other: what is asked of each is the
//! same, and easy to see to be.

use crate::work::{Key, VALUE};
use baton::store::Policy;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What holds when a put has returned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// It is in memory.
    Memory,
    /// The system has it, and the disk within about a second.
    Written,
    /// The disk has it.
    Synced,
}

impl Promise {
    pub const ALL: [Self; 3] = [Self::Memory, Self::Written, Self::Synced];
}

/// A library, opened.
pub trait Library: Sync {
    fn name(&self) -> &'static str;
    /// Puts [`VALUE`] at all of these keys, as fast as it likes.
    fn load(&self, keys: &mut dyn Iterator<Item = Key>) {
        keys.for_each(|key| self.put(&key, VALUE));
    }
    /// The length of a copy of the value.
    fn get(&self, key: &Key) -> Option<usize>;
    fn put(&self, key: &Key, value: &[u8]);
}

/// Those that can promise this. Baton first.
pub fn open_all(dir: &Path, promise: Promise) -> Vec<Box<dyn Library>> {
    let mut all: Vec<Box<dyn Library>> = vec![Box::new(Baton::open(&dir.join("baton"), promise))];
    if promise == Promise::Memory {
        all.push(Box::new(DashMap(dashmap::DashMap::new())));
    }
    all.push(Box::new(Fjall::open(&dir.join("fjall"), promise)));
    all.push(Box::new(Heed::open(&dir.join("heed"), promise)));
    all.push(Box::new(Redb::open(&dir.join("redb"), promise)));
    all.push(Box::new(Sled::open(&dir.join("sled"), promise)));
    all
}

struct Baton(baton::Store);

impl Baton {
    fn open(dir: &Path, promise: Promise) -> Self {
        let policy = match promise {
            Promise::Memory => return Self(baton::Store::memory()),
            Promise::Written => Policy::EverySecond,
            Promise::Synced => Policy::Always,
        };
        Self(baton::Store::builder().fsync(policy).open(dir).expect("a new directory opens"))
    }
}

impl Library for Baton {
    fn name(&self) -> &'static str {
        "Baton"
    }
    fn load(&self, keys: &mut dyn Iterator<Item = Key>) {
        let keys: Vec<Key> = keys.collect();
        for part in keys.chunks(1_000) {
            let mut batch = self.0.batch();
            for key in part {
                batch.set(key, VALUE);
            }
            batch.run().expect("loads");
        }
    }
    fn get(&self, key: &Key) -> Option<usize> {
        self.0.get(key).expect("a string").map(|value| value.len())
    }
    fn put(&self, key: &Key, value: &[u8]) {
        self.0.set(key, value).expect("takes it");
    }
}

struct DashMap(dashmap::DashMap<Key, Box<[u8]>>);

impl Library for DashMap {
    fn name(&self) -> &'static str {
        "dashmap"
    }
    fn get(&self, key: &Key) -> Option<usize> {
        self.0.get(key).map(|value| std::hint::black_box(value.clone()).len())
    }
    fn put(&self, key: &Key, value: &[u8]) {
        self.0.insert(*key, value.into());
    }
}

struct Fjall {
    database: fjall::Database,
    keys: fjall::Keyspace,
    promise: Promise,
    _each_second: Option<EachSecond>,
}

impl Fjall {
    fn open(dir: &Path, promise: Promise) -> Self {
        let database = fjall::Database::builder(dir).open().expect("a new directory opens");
        let keys = database.keyspace("keys", fjall::KeyspaceCreateOptions::default).expect("a new keyspace");
        let synced = database.clone();
        let each_second = (promise == Promise::Written).then(|| {
            EachSecond::begin(move || synced.persist(fjall::PersistMode::SyncData).expect("the disk works"))
        });
        Self { database, keys, promise, _each_second: each_second }
    }
}

impl Library for Fjall {
    fn name(&self) -> &'static str {
        "fjall"
    }
    fn load(&self, keys: &mut dyn Iterator<Item = Key>) {
        keys.for_each(|key| self.keys.insert(key, VALUE).expect("takes it"));
    }
    fn get(&self, key: &Key) -> Option<usize> {
        self.keys.get(key).expect("is readable").map(|value| std::hint::black_box(value.to_vec()).len())
    }
    fn put(&self, key: &Key, value: &[u8]) {
        // An insert is handed to the system before it returns.
        self.keys.insert(key, value).expect("takes it");
        if self.promise == Promise::Synced {
            self.database.persist(fjall::PersistMode::SyncData).expect("the disk works");
        }
    }
}

struct Heed {
    env: heed::Env,
    keys: heed::Database<heed::types::Bytes, heed::types::Bytes>,
    _each_second: Option<EachSecond>,
}

impl Heed {
    fn open(dir: &Path, promise: Promise) -> Self {
        std::fs::create_dir_all(dir).expect("a new directory");
        let mut options = heed::EnvOpenOptions::new();
        options.map_size(4 << 30);
        if promise != Promise::Synced {
            // SAFETY: the machine is not expected to crash during the measurement.
            unsafe { options.flags(heed::EnvFlags::NO_SYNC) };
        }
        // SAFETY: nobody else touches the files of a directory that has just been made.
        let env = unsafe { options.open(dir) }.expect("a new directory opens");
        let mut change = env.write_txn().expect("a transaction");
        let keys = env.create_database(&mut change, None).expect("a database");
        change.commit().expect("commits");
        let synced = env.clone();
        let each_second = (promise == Promise::Written)
            .then(|| EachSecond::begin(move || synced.force_sync().expect("the disk works")));
        Self { env, keys, _each_second: each_second }
    }
}

impl Library for Heed {
    fn name(&self) -> &'static str {
        "heed"
    }
    fn load(&self, keys: &mut dyn Iterator<Item = Key>) {
        let mut change = self.env.write_txn().expect("a transaction");
        keys.for_each(|key| self.keys.put(&mut change, &key, VALUE).expect("takes it"));
        change.commit().expect("commits");
    }
    fn get(&self, key: &Key) -> Option<usize> {
        let read = self.env.read_txn().expect("a transaction");
        let value = self.keys.get(&read, key).expect("is readable");
        value.map(|value| std::hint::black_box(value.to_vec()).len())
    }
    fn put(&self, key: &Key, value: &[u8]) {
        let mut change = self.env.write_txn().expect("a transaction");
        self.keys.put(&mut change, key, value).expect("takes it");
        change.commit().expect("commits");
    }
}

const TABLE: redb::TableDefinition<&[u8], &[u8]> = redb::TableDefinition::new("keys");

struct Redb {
    database: Arc<redb::Database>,
    durability: redb::Durability,
    _each_second: Option<EachSecond>,
}

impl Redb {
    fn open(file: &Path, promise: Promise) -> Self {
        let database = Arc::new(redb::Database::create(file).expect("a new file"));
        let durability = match promise {
            Promise::Memory | Promise::Written => redb::Durability::None,
            Promise::Synced => redb::Durability::Immediate,
        };
        let synced = database.clone();
        let each_second = (promise == Promise::Written).then(|| {
            EachSecond::begin(move || {
                synced.begin_write().expect("a transaction").commit().expect("the disk works");
            })
        });
        Self { database, durability, _each_second: each_second }
    }

    fn change(&self, durability: redb::Durability, work: impl FnOnce(&mut redb::Table<'_, &[u8], &[u8]>)) {
        let mut change = self.database.begin_write().expect("a transaction");
        change.set_durability(durability).expect("without savepoints it can be chosen");
        work(&mut change.open_table(TABLE).expect("the table"));
        change.commit().expect("commits");
    }
}

impl Library for Redb {
    fn name(&self) -> &'static str {
        "redb"
    }
    fn load(&self, keys: &mut dyn Iterator<Item = Key>) {
        self.change(redb::Durability::Immediate, |table| {
            keys.for_each(|key| drop(table.insert(&key[..], &VALUE[..]).expect("takes it")));
        });
    }
    fn get(&self, key: &Key) -> Option<usize> {
        use redb::ReadableDatabase;
        let read = self.database.begin_read().expect("a transaction");
        let table = read.open_table(TABLE).expect("the table");
        let value = table.get(&key[..]).expect("is readable");
        value.map(|value| std::hint::black_box(value.value().to_vec()).len())
    }
    fn put(&self, key: &Key, value: &[u8]) {
        self.change(self.durability, |table| drop(table.insert(&key[..], value).expect("takes it")));
    }
}

struct Sled {
    database: sled::Db,
    promise: Promise,
}

impl Sled {
    fn open(dir: &Path, promise: Promise) -> Self {
        let each_ms = match promise {
            Promise::Memory | Promise::Synced => None,
            Promise::Written => Some(1_000),
        };
        let database =
            sled::Config::new().path(dir).flush_every_ms(each_ms).open().expect("a new directory opens");
        Self { database, promise }
    }
}

impl Library for Sled {
    fn name(&self) -> &'static str {
        "sled"
    }
    fn load(&self, keys: &mut dyn Iterator<Item = Key>) {
        keys.for_each(|key| drop(self.database.insert(key, &VALUE[..]).expect("takes it")));
    }
    fn get(&self, key: &Key) -> Option<usize> {
        self.database.get(key).expect("is readable").map(|value| std::hint::black_box(value.to_vec()).len())
    }
    fn put(&self, key: &Key, value: &[u8]) {
        self.database.insert(key, value).expect("takes it");
        if self.promise == Promise::Synced {
            self.database.flush().expect("the disk works");
        }
    }
}

/// Does something each second until it is dropped.
struct EachSecond {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl EachSecond {
    fn begin(work: impl Fn() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::park_timeout(Duration::from_secs(1));
                work();
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for EachSecond {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // Its panic has been printed.
            let _ = thread.join();
        }
    }
}
