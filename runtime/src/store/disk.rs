//! Stores with a directory: the files of the server, `dump.rdb` and `appendonlydir/`.
//!
//! | thread       | is there                                                             |
//! |--------------|----------------------------------------------------------------------|
//! | `journal`    | while there is a log: syncs it                                        |
//! | `snapshot`   | while a snapshot is written or the log is rewritten                   |
//! | one per shard| while a snapshot without our index, or a log, is loaded               |
//! | `store`      | if asked for: expiry, eviction, save points                           |
//!
//! A store that is dropped writes and syncs its log, saves if it is to, and lets the directory go.

use super::access::not_nested;
use super::{Builder, Error, Inner, Store};
use crate::node::Node;
use crate::persist::load::Progress;
use crate::persist::log::RewriteOptions;
use crate::persist::log_dir::LogDirError;
use crate::persist::open::{self, OpenError, OpenOptions};
use crate::snapshot::{SnapshotError, SnapshotOptions};
use crate::storage::Lock;
use baton_engine::rdb::Version;
use baton_engine::rdb::save::SaveOptions;
use parking_lot::{Condvar, Mutex};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The names that a server uses unless it is told otherwise.
const SNAPSHOT: &str = "dump.rdb";
const LOG_DIR: &str = "appendonlydir";
const LOG_NAME: &str = "appendonly.aof";
const LOCK: &str = "baton-store.lock";

/// A log that is smaller is not rewritten by itself, a larger one when it has doubled: as servers do.
const REWRITE_MIN: u64 = 64 << 20;
/// Writes to the log between two looks at its size.
const LOOK_EVERY: u32 = 1024;

/// The save options of all snapshots: the version that every Redis since 7.0 and every Valkey loads.
const SAVE: SaveOptions = SaveOptions { target: Version::V10, compress: true };

/// What a store with a directory has beside its node.
pub(super) struct Disk {
    dir: PathBuf,
    /// What was found when it was opened.
    notes: Vec<String>,
    save_on_close: bool,
    writes: AtomicU32,
    /// Keeps other stores out.
    _lock: Option<Box<dyn Lock>>,
}

impl Disk {
    fn rewrite_options(&self) -> RewriteOptions {
        rewrite_options(&self.dir)
    }
}

fn rewrite_options(dir: &Path) -> RewriteOptions {
    RewriteOptions {
        dir: dir.join(LOG_DIR),
        name: LOG_NAME.into(),
        save: SAVE,
        checksum: true,
        incremental_sync: true,
        keep_history: false,
        preamble: true,
        timestamps: false,
        delay: Duration::ZERO,
        on: true,
    }
}

impl Builder {
    /// Opens the store in a directory, which is made if it is not there. What is found there is loaded: the log if there is one,
    /// else the snapshot. The files are those of a server in its default settings, and of Redis 7 and Valkey: whoever
    /// opens the directory next finds the same data.
    ///
    /// # Errors
    /// Another process or store has it open; or the files are damaged, which changes nothing: the error says what to do.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path();
    /// let store = baton::Store::builder().open(path)?;
    /// store.set("key", "value")?;
    /// drop(store);
    /// let store = baton::Store::builder().open(path)?;
    /// assert_eq!(store.get("key")?.unwrap(), "value");
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn open(self, path: impl AsRef<Path>) -> Result<Store, Error> {
        let path = path.as_ref();
        let system = |doing: &str| {
            let doing = format!("{doing} {}", path.display());
            move |error| Error::System { doing, error }
        };
        if !self.read_only {
            std::fs::create_dir_all(path).map_err(system("make the directory"))?;
        }
        let dir = path.canonicalize().map_err(system("open the directory"))?;
        let node = self.make_node();
        let lock = if self.read_only { None } else { Some(lock(&node, &dir)?) };
        let has_log = has_log(&node, &dir);
        if has_log && self.log.is_none() && !self.read_only {
            return Err(Error::HasLog(dir));
        }
        let options = OpenOptions {
            snapshot: dir.join(SNAPSHOT),
            log_dir: dir.join(LOG_DIR),
            log_name: LOG_NAME.into(),
            appendonly: has_log,
            // To put a torn end aside is to write.
            load_truncated: !self.read_only,
            verify: true,
            any_version: false,
            key_delay: Duration::ZERO,
        };
        let opened = open::open(&node, &options, &Progress::default()).map_err(open_error)?;
        if let Some(policy) = self.log.filter(|_| !self.read_only) {
            node.journal().configure(policy, false);
            match opened.log {
                Some((log, position)) => node.resume_log(log, position).map_err(log_error)?,
                None => rewrite(&node, &rewrite_options(&dir))?,
            }
        }
        let disk = Disk {
            dir,
            notes: opened.notes,
            save_on_close: self.save_on_close.unwrap_or(self.log.is_none()),
            writes: AtomicU32::new(0),
            _lock: lock,
        };
        let background = self.start_background(&node, Some(disk.dir.join(SNAPSHOT)))?;
        Ok(self.store(node, Some(disk), background))
    }

    pub(super) fn start_background(
        &self,
        node: &Arc<Node>,
        snapshot: Option<PathBuf>,
    ) -> Result<Option<Background>, Error> {
        if !self.background || self.read_only {
            return Ok(None);
        }
        Background::start(node.clone(), self.save_point, snapshot).map(Some)
    }
}

/// Whether there is a log, of Redis 7 or of a server before it.
fn has_log(node: &Node, dir: &Path) -> bool {
    let manifest = dir.join(LOG_DIR).join(format!("{LOG_NAME}.manifest"));
    let storage = node.storage();
    storage.len(&manifest).is_ok() || storage.len(&dir.join(LOG_NAME)).is_ok()
}

fn lock(node: &Node, dir: &Path) -> Result<Box<dyn Lock>, Error> {
    let path = dir.join(LOCK);
    node.storage().lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Error::Locked(dir.to_owned()),
        _ => Error::System { doing: format!("lock {}", path.display()), error },
    })
}

fn log_error(error: LogDirError) -> Error {
    match error {
        LogDirError::Locked { dir } => Error::Locked(dir),
        other => Error::Open(other.to_string()),
    }
}

fn open_error(error: OpenError) -> Error {
    match error {
        OpenError::LogDir(error) => log_error(error),
        other => Error::Open(other.to_string()),
    }
}

/// Rewrites the log, or turns it on, and waits for it.
fn rewrite(node: &Arc<Node>, options: &RewriteOptions) -> Result<(), Error> {
    let (done, result) = mpsc::channel();
    let ended = move |result: Result<_, crate::persist::log::RewriteError>| {
        drop(done.send(result.map(drop).map_err(|error| error.to_string())));
    };
    node.rewrite_log(options, ended).map_err(|error| Error::Snapshot(error.to_string()))?;
    wait_for(node, &result)
}

fn snapshot(node: &Arc<Node>, path: PathBuf) -> Result<(), Error> {
    let options = SnapshotOptions {
        path,
        save: SAVE,
        checksum: true,
        incremental_sync: true,
        aux: vec![("aof-base", "0".to_owned())],
        delay: Duration::ZERO,
    };
    let (done, result) = mpsc::channel();
    let ended = move |result: Result<_, SnapshotError>| {
        drop(done.send(result.map(drop).map_err(|error| error.to_string())));
    };
    node.begin_snapshot(options, |_| (), ended).map_err(|error| Error::Snapshot(error.to_string()))?;
    wait_for(node, &result)
}

/// Waits for the result of a snapshot, and for its end.
fn wait_for(node: &Node, result: &mpsc::Receiver<Result<(), String>>) -> Result<(), Error> {
    let result = result.recv().unwrap_or_else(|_| Err("its thread has ended".to_owned()));
    wait_for_snapshots(node);
    result.map_err(Error::Snapshot)
}

fn wait_for_snapshots(node: &Node) {
    while node.snapshots.current().is_some() || node.log.is_rewriting() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Inner {
    /// Once in a while: whether the log should be rewritten, because it has doubled.
    pub(super) fn look_at_log(&self) {
        let Some(disk) = &self.disk else { return };
        if disk.writes.fetch_add(1, Ordering::Relaxed) % LOOK_EVERY != LOOK_EVERY - 1 {
            return;
        }
        let bytes = self.node.log.closed_bytes() + self.node.journal().figures().file_bytes;
        let due = bytes > REWRITE_MIN && bytes / 2 >= self.node.log.base_bytes();
        if due && self.node.snapshots.current().is_none() {
            // Should it fail, the old files go on, and the next look tries again.
            drop(self.node.rewrite_log(&disk.rewrite_options(), |_| ()));
        }
    }

    fn directory(&self) -> Result<&Disk, Error> {
        self.disk.as_ref().ok_or(Error::NoDirectory)
    }

    fn for_writing(&self) -> Result<&Disk, Error> {
        not_nested(&self.node)?;
        if self.read_only { Err(Error::ReadOnly) } else { self.directory() }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.background.take());
        let Some(disk) = self.disk.take().filter(|_| !self.read_only) else { return };
        self.node.snapshots.abort("the store is closed");
        wait_for_snapshots(&self.node);
        if disk.save_on_close {
            // Nobody is left to hear of an error: who wants to calls `save` before.
            drop(snapshot(&self.node, disk.dir.join(SNAPSHOT)));
        }
        drop(self.node.close_log());
        // Others may hold the node, but the directory is free.
        drop(self.node.log.dir().take());
    }
}

impl Store {
    /// Opens a store in a directory, with a log that is synced once a second: see [`Builder::open`].
    ///
    /// # Errors
    /// As [`Builder::open`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path();
    /// let store = baton::Store::open(path)?;
    /// store.set("key", "value")?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Builder::new().open(path)
    }

    /// What there is to say about how the files were opened: what was loaded, and what of a torn log was put aside.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path();
    /// for note in baton::Store::open(path)?.notes() {
    ///     eprintln!("{note}");
    /// }
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn notes(&self) -> &[String] {
        self.inner.disk.as_ref().map_or(&[], |disk| &disk.notes)
    }

    /// Writes a snapshot, `dump.rdb`, and waits for it. Others go on meanwhile.
    ///
    /// # Errors
    /// It cannot be written, or one is on its way, or the store has no directory.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path();
    /// let store = baton::Store::open(path)?;
    /// store.save()?;
    /// assert!(path.join("dump.rdb").exists());
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn save(&self) -> Result<(), Error> {
        let disk = self.inner.for_writing()?;
        snapshot(&self.inner.node, disk.dir.join(SNAPSHOT))
    }

    /// Rewrites the log so that it holds no more than it has to, and waits for it. Others go on meanwhile. It happens by itself
    /// when the log has doubled, beyond 64 MB.
    ///
    /// # Errors
    /// It cannot be written, or a snapshot is on its way, or there is no log.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path();
    /// let store = baton::Store::open(path)?;
    /// store.compact()?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn compact(&self) -> Result<(), Error> {
        let disk = self.inner.for_writing()?;
        if !self.inner.node.journal().has_file() {
            return Err(Error::Snapshot("the store has no log".to_owned()));
        }
        rewrite(&self.inner.node, &disk.rewrite_options())
    }

    /// Writes and syncs all of the log: what was changed before is safe from a crash of the machine, whatever the policy.
    /// Without a log it does nothing.
    ///
    /// # Errors
    /// The disk refuses.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path();
    /// let store = baton::Store::open(path)?;
    /// store.set("key", "value")?;
    /// store.flush()?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn flush(&self) -> Result<(), Error> {
        not_nested(&self.inner.node)?;
        if !self.inner.node.journal().has_file() {
            return Ok(());
        }
        self.inner.node.journal().write_and_sync().map_err(|why| Error::NotDurable(why.to_string()))
    }
}

/// A thread that looks after the store.
pub(super) struct Background {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

/// How often the thread looks.
const TURN: Duration = Duration::from_millis(100);

impl Background {
    fn start(
        node: Arc<Node>,
        save_point: Option<(Duration, u64)>,
        path: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let own = stop.clone();
        let mut point = save_point.zip(path).map(|((every, changes), path)| SavePoint {
            every,
            changes,
            path,
            last: Instant::now(),
            saved: node.changes(),
            is_running: Arc::default(),
        });
        let work = move || {
            loop {
                {
                    let mut stopped = own.0.lock();
                    if !*stopped {
                        own.1.wait_for(&mut stopped, TURN);
                    }
                    if *stopped {
                        return;
                    }
                }
                for core in 0..node.cores() {
                    node.expire_step(core, 100);
                    node.evict_step(core);
                    node.build_step(core);
                }
                if node.journal().has_unwritten() {
                    node.journal().write();
                }
                if let Some(point) = &mut point {
                    point.look(&node);
                }
            }
        };
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(work);
        let thread = thread.map_err(|error| Error::System { doing: "start a thread".to_owned(), error })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        *self.stop.0.lock() = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // It has nothing to panic about.
            drop(thread.join());
        }
    }
}

struct SavePoint {
    every: Duration,
    changes: u64,
    path: PathBuf,
    last: Instant,
    saved: u64,
    is_running: Arc<AtomicBool>,
}

impl SavePoint {
    fn look(&mut self, node: &Arc<Node>) {
        let changes = node.changes();
        let due =
            changes.saturating_sub(self.saved) >= self.changes.max(1) && self.last.elapsed() >= self.every;
        if !due || self.is_running.load(Ordering::Acquire) {
            return;
        }
        self.last = Instant::now();
        let options = SnapshotOptions {
            path: self.path.clone(),
            save: SAVE,
            checksum: true,
            incremental_sync: true,
            aux: vec![("aof-base", "0".to_owned())],
            delay: Duration::ZERO,
        };
        let is_running = self.is_running.clone();
        is_running.store(true, Ordering::Release);
        let ended = move |_: Result<_, SnapshotError>| is_running.store(false, Ordering::Release);
        // One that fails is tried again when the time comes.
        if node.begin_snapshot(options, |_| (), ended).is_ok() {
            self.saved = changes;
        } else {
            self.is_running.store(false, Ordering::Release);
        }
    }
}
