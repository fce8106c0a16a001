//! Snapshots: the data of all cores as they were at one moment, written to a file, or sent to replicas, while the node goes
//! on serving.
//!
//! | who                    | does                                                                              |
//! |------------------------|-----------------------------------------------------------------------------------|
//! | the snapshot's thread  | makes a temporary file; holds all batons for a moment, in which every shard begins  |
//! |                        | its save; then writes what comes, syncs, renames, syncs the directory              |
//! | each core, in between  | encodes a few kilobytes of its shard under its baton and hands them over            |
//!
//! No fork, no copy of the data: see [`baton_engine::keyspace::save`] for how a shard is saved while it changes. What
//! has been encoded and not yet written is bounded: cores wait for the disk, clients do not.

use crate::held::Held;
use crate::node::Node;
use crate::replication::Moment;
use crate::replication::transfer::{End, Fanout};
use crate::storage::File;
use baton_engine::error::CommandError;
use baton_engine::keyspace::save::Section;
use baton_engine::rdb::Version;
use baton_engine::rdb::save::SaveOptions;
use baton_engine::slot::SLOTS;
use baton_engine::snapshot::{Head, TooNew, WRITTEN_HERE, Writer};
use bytes::Bytes;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What a core encodes in one step: some hundred small keys, about a tenth of a millisecond.
const STEP_BYTES: usize = 32 * 1024;
/// Encoded but not yet written: cores stop encoding beyond.
const QUEUED_MAX: usize = 8 << 20;
/// Collected before it is written.
const WRITE_BYTES: usize = 128 << 10;
/// So long the snapshot's thread lets more come before it takes what has. Waking up for each step of a core would interrupt whoever
/// has its processor, and cost the core a call of the system.
const GATHERING: Duration = Duration::from_millis(4);
/// Nothing has come from the cores for so long: the snapshot's thread encodes too.
const ALONE_AFTER: Duration = Duration::from_millis(20);
/// Written before it is synced, so that the sync at the end finds little to do.
const SYNC_BYTES: u64 = 16 << 20;

/// What to write, and where.
#[derive(Clone, Debug)]
pub struct SnapshotOptions {
    /// The file that the snapshot becomes when it is whole.
    pub path: PathBuf,
    /// How keys are encoded.
    pub save: SaveOptions,
    /// Ends with a checksum (`rdbchecksum`).
    pub checksum: bool,
    /// Syncs along the way (`rdb-save-incremental-fsync`).
    pub incremental_sync: bool,
    /// AUX fields beside those that every snapshot has.
    pub aux: Vec<(&'static str, String)>,
    /// A pause after each key, to slow a snapshot down in tests (`rdb-key-save-delay`).
    pub delay: Duration,
}

/// Where a snapshot goes.
enum Target {
    /// Into a file that takes this place when it is whole.
    File(PathBuf),
    /// To replicas, as it is made.
    Replicas(Fanout),
}

/// Why a snapshot was not written. The file that was there before is untouched.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SnapshotError {
    /// One is being written.
    #[error("Background save already in progress")]
    Busy,
    /// It was called off.
    #[error("called off: {0}")]
    Aborted(&'static str),
    /// A slot cannot be read from the file that it is still in.
    #[error("{0}")]
    Damaged(CommandError),
    /// The file system refused.
    #[error("{doing} {}: {error}", .path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// How it was refused.
        error: Arc<std::io::Error>,
    },
    /// The data need another version of the format than was planned.
    #[error("{0}")]
    Format(String),
    /// No thread could be started.
    #[error("no thread: {0}")]
    Thread(Arc<std::io::Error>),
    /// It was for replicas, and none of them takes it any more.
    #[error("no replica is left that takes it")]
    NobodyLeft,
}

/// A snapshot that has been written.
#[derive(Clone, Debug)]
pub struct Written {
    /// Its keys.
    pub keys: u64,
    /// Its bytes.
    pub bytes: u64,
    /// The version of the file.
    pub version: Version,
    /// How long it took.
    pub took: Duration,
    /// For how long all batons were held.
    pub held: Duration,
    /// Changes of the node (`dirty`) that are in it.
    pub changes: u64,
}

/// Where the bytes of a snapshot are written.
enum Output<'t> {
    File { file: Arc<dyn File>, path: &'t Path, written: u64 },
    Replicas { fanout: &'t Fanout, written: u64 },
}

impl Output<'_> {
    /// Writes what has been collected.
    fn append(&mut self, out: &mut Vec<u8>) -> Result<(), SnapshotError> {
        match self {
            Self::File { file, path, written } => {
                file.append(&[&*out]).map_err(failed("write", path))?;
                *written += out.len() as u64;
                out.clear();
            }
            Self::Replicas { fanout, written } => {
                *written += out.len() as u64;
                let next = Vec::with_capacity(out.capacity());
                if !fanout.push(&Bytes::from(std::mem::replace(out, next))) {
                    return Err(SnapshotError::NobodyLeft);
                }
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), SnapshotError> {
        match self {
            Self::File { file, path, .. } => file.sync_data().map_err(failed("sync", path)),
            Self::Replicas { .. } => Ok(()),
        }
    }

    fn written(&self) -> u64 {
        match self {
            Self::File { written, .. } | Self::Replicas { written, .. } => *written,
        }
    }
}

/// A snapshot on its way.
#[derive(Debug)]
pub struct Run {
    /// It is the so many-th.
    number: u64,
    started: Instant,
    /// Keys in all, and encoded so far.
    keys: AtomicU64,
    keys_done: AtomicU64,
    slots_left: AtomicUsize,
    /// Bytes encoded but not yet written.
    queued: AtomicUsize,
    over: AtomicBool,
    delay: Duration,
    inlet: mpsc::Sender<Message>,
}

#[derive(Debug)]
enum Message {
    Sections(Vec<Section>),
    Failed(SnapshotError),
}

/// What a core should do about the snapshot next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on, after serving whoever waits.
    Step,
    /// Go on after this time: the disk is behind, or tests want it slow.
    Pause(Duration),
    /// The share of this core is done, but those of others may not be, and slots may move here.
    Done,
    /// Nothing: no snapshot is on its way.
    Rest,
}

/// The snapshots of a node: at most one at a time.
#[derive(Debug, Default)]
pub struct Snapshots {
    run: Mutex<Option<Arc<Run>>>,
    /// For a look without the lock.
    is_running: AtomicBool,
    /// Counts those that began.
    begun: AtomicU64,
    /// Counts those that ended; who waits for one watches this.
    ended: watch::Sender<u64>,
    wake: Wake,
}

/// How the cores of a node learn that there is something to encode. Nodes without event loops have none: then the
/// snapshot's thread does the encoding.
#[derive(Default)]
struct Wake(OnceLock<Box<dyn Fn() + Send + Sync>>);

impl std::fmt::Debug for Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.get().is_some() { "Wake(cores)" } else { "Wake(nobody)" })
    }
}

impl Snapshots {
    /// Has `wake` called when a snapshot begins: it makes every core call [`Node::snapshot_step`] until that rests.
    pub fn driven_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        // A second caller would be a mistake in the wiring of the node; the first stays.
        drop(self.wake.0.set(Box::new(wake)));
    }

    /// The snapshot on its way.
    pub fn current(&self) -> Option<Arc<Run>> {
        self.run.lock().clone()
    }

    /// Whether one is on its way.
    #[inline]
    pub fn is_running(&self) -> bool {
        self.is_running.load(Ordering::Acquire)
    }

    /// Tells when a snapshot has ended: the number counts them. One that a snapshot made way for may be counted after
    /// that has begun: who waits for a certain one waits for its [`number`](Run::number).
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.ended.subscribe()
    }

    /// Calls the snapshot that is on its way off.
    pub fn abort(&self, why: &'static str) {
        if let Some(run) = self.current() {
            run.fail(SnapshotError::Aborted(why));
        }
    }

    /// Calls the snapshot of this number off, if it has begun and is on its way still: it is for replicas that are gone.
    pub fn nobody_left(&self, number: u64) {
        if let Some(run) = self.current().filter(|run| run.number == number && self.is_running()) {
            run.fail(SnapshotError::NobodyLeft);
        }
    }
}

impl Run {
    /// How many had begun when it had.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How long it has been on its way.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Keys encoded so far, and keys in all.
    pub fn progress(&self) -> (u64, u64) {
        (self.keys_done.load(Ordering::Relaxed), self.keys.load(Ordering::Relaxed))
    }

    fn fail(&self, error: SnapshotError) {
        self.over.store(true, Ordering::Release);
        // The thread may be through already: then there is nothing to call off.
        drop(self.inlet.send(Message::Failed(error)));
    }
}

impl Node {
    /// Begins a snapshot. `at_point` runs while all batons are held, at the very moment that the snapshot shows; `ended` runs
    /// in the end, on the snapshot's thread, with no baton held.
    ///
    /// # Errors
    /// Another one is on its way, or no thread can be had.
    pub fn begin_snapshot<P: Send + 'static>(
        self: &Arc<Self>,
        options: SnapshotOptions,
        at_point: impl FnOnce(&mut Held<'_>) -> P + Send + 'static,
        ended: impl FnOnce(Result<(Written, P), SnapshotError>) + Send + 'static,
    ) -> Result<Arc<Run>, SnapshotError> {
        let target = Target::File(options.path.clone());
        self.begin(target, options, at_point, ended)
    }

    /// Begins a snapshot that goes to replicas as it is made; `options.path` and what is said about syncs do not matter.
    /// Who takes it may be added at its moment, in `at_point`. The rest is as in [`begin_snapshot`](Self::begin_snapshot).
    ///
    /// # Errors
    /// As there.
    pub fn stream_snapshot<P: Send + 'static>(
        self: &Arc<Self>,
        options: SnapshotOptions,
        replicas: Fanout,
        at_point: impl FnOnce(&mut Held<'_>) -> P + Send + 'static,
        ended: impl FnOnce(Result<(Written, P), SnapshotError>) + Send + 'static,
    ) -> Result<Arc<Run>, SnapshotError> {
        self.begin(Target::Replicas(replicas), options, at_point, ended)
    }

    fn begin<P: Send + 'static>(
        self: &Arc<Self>,
        target: Target,
        options: SnapshotOptions,
        at_point: impl FnOnce(&mut Held<'_>) -> P + Send + 'static,
        ended: impl FnOnce(Result<(Written, P), SnapshotError>) + Send + 'static,
    ) -> Result<Arc<Run>, SnapshotError> {
        let (inlet, outlet) = mpsc::channel();
        let mut run = Run {
            number: 0,
            started: Instant::now(),
            keys: AtomicU64::new(0),
            keys_done: AtomicU64::new(0),
            slots_left: AtomicUsize::new(SLOTS),
            queued: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            delay: options.delay,
            inlet,
        };
        let run = {
            let mut current = self.snapshots.run.lock();
            if current.is_some() {
                return Err(SnapshotError::Busy);
            }
            run.number = self.snapshots.begun.fetch_add(1, Ordering::Relaxed) + 1;
            current.insert(Arc::new(run)).clone()
        };
        let (node, own) = (self.clone(), run.clone());
        let work = move || {
            let result = node.write_snapshot(&own, &outlet, &options, &target, at_point);
            own.over.store(true, Ordering::Release);
            node.snapshots.is_running.store(false, Ordering::Release);
            for state in node.hold_all().states() {
                state.shard.end_save();
            }
            *node.snapshots.run.lock() = None;
            ended(result);
            node.snapshots.ended.send_modify(|count| *count += 1);
        };
        if let Err(error) = std::thread::Builder::new().name("snapshot".to_owned()).spawn(work) {
            self.snapshots.begun.fetch_sub(1, Ordering::Relaxed);
            *self.snapshots.run.lock() = None;
            return Err(SnapshotError::Thread(Arc::new(error)));
        }
        Ok(run)
    }

    /// One step of the snapshot on a core; what to do next.
    pub fn snapshot_step(self: &Arc<Self>, core: usize) -> Next {
        if !self.snapshots.is_running() {
            return Next::Rest;
        }
        let Some(run) = self.snapshots.current() else { return Next::Rest };
        let (next, sections) = self.encode_step(&run, core);
        if let Some(Encoded { sections, slots }) = sections {
            // The sections first: who sees no slot left finds all of them in the queue.
            drop(run.inlet.send(Message::Sections(sections)));
            run.slots_left.fetch_sub(slots, Ordering::AcqRel);
        }
        next
    }

    /// What one step on a core has brought; what to do next.
    fn encode_step(self: &Arc<Self>, run: &Run, core: usize) -> (Next, Option<Encoded>) {
        if run.over.load(Ordering::Acquire) {
            return (Next::Rest, None);
        }
        if run.queued.load(Ordering::Acquire) > QUEUED_MAX {
            return (Next::Pause(Duration::from_millis(1)), None);
        }
        let settings = self.settings();
        let Some(mut state) = self.baton(core).try_take() else { return (Next::Step, None) };
        let step = state.shard.save_step(step_bytes(run.delay), &settings, self.now_ms());
        let sections = state.shard.take_sections();
        self.publish_events(&mut state.shard, &settings);
        drop(state);
        let step = match step {
            Ok(step) => step,
            Err(error) => {
                run.fail(SnapshotError::Damaged(error));
                return (Next::Rest, None);
            }
        };
        let keys: usize = sections.iter().map(|section| section.counts.keys).sum();
        run.keys_done.fetch_add(keys as u64, Ordering::Relaxed);
        let bytes = sections.iter().map(|section| section.bytes.len()).sum();
        run.queued.fetch_add(bytes, Ordering::AcqRel);
        let next = match run.delay.checked_mul(keys as u32) {
            _ if step.done => Next::Done,
            Some(delay) if !delay.is_zero() => Next::Pause(delay),
            _ => Next::Step,
        };
        (next, Some(Encoded { sections, slots: step.slots }))
    }

    fn write_snapshot<P>(
        self: &Arc<Self>,
        run: &Arc<Run>,
        outlet: &mpsc::Receiver<Message>,
        options: &SnapshotOptions,
        target: &Target,
        at_point: impl FnOnce(&mut Held<'_>) -> P,
    ) -> Result<(Written, P), SnapshotError> {
        match target {
            Target::File(path) => self.write_file(run, outlet, options, path, at_point),
            Target::Replicas(fanout) => {
                let output = Output::Replicas { fanout, written: 0 };
                let made = self.fill_snapshot(run, outlet, options, output, at_point);
                fanout.end(if made.is_ok() { End::Whole } else { End::Failed });
                made
            }
        }
    }

    fn write_file<P>(
        self: &Arc<Self>,
        run: &Arc<Run>,
        outlet: &mpsc::Receiver<Message>,
        options: &SnapshotOptions,
        path: &Path,
        at_point: impl FnOnce(&mut Held<'_>) -> P,
    ) -> Result<(Written, P), SnapshotError> {
        let temp = temporary(path);
        let storage = self.storage();
        let made = storage.create(&temp).map_err(failed("create", &temp)).and_then(|file| {
            let output = Output::File { file, path: &temp, written: 0 };
            self.fill_snapshot(run, outlet, options, output, at_point)
        });
        let placed = made.and_then(|made| {
            storage.rename(&temp, path).map_err(failed("rename", &temp))?;
            let directory = path.parent().unwrap_or(Path::new("."));
            storage.sync_dir(directory).map_err(failed("sync the directory", directory))?;
            Ok(made)
        });
        if placed.is_err() {
            // What is half done is of no use; that it cannot be removed does not matter either.
            drop(storage.remove(&temp));
        }
        placed
    }

    fn fill_snapshot<P>(
        self: &Arc<Self>,
        run: &Arc<Run>,
        outlet: &mpsc::Receiver<Message>,
        options: &SnapshotOptions,
        mut output: Output<'_>,
        at_point: impl FnOnce(&mut Held<'_>) -> P,
    ) -> Result<(Written, P), SnapshotError> {
        let used_memory = self.used_memory();
        let (point, begun) = self.begin_saves(options, at_point);
        run.keys.store(begun.sizes.iter().map(|(keys, _)| *keys).sum(), Ordering::Relaxed);
        self.snapshots.is_running.store(true, Ordering::Release);
        if let Some(wake) = self.snapshots.wake.0.get() {
            wake();
        }
        let mut aux = vec![
            ("redis-ver", REDIS_VERSION.to_owned()),
            ("redis-bits", "64".to_owned()),
            ("ctime", (begun.now_ms / 1_000).to_string()),
            ("used-mem", used_memory.to_string()),
            (WRITTEN_HERE, env!("CARGO_PKG_VERSION").to_owned()),
        ];
        aux.extend(begun.moment.iter().flat_map(Moment::aux));
        aux.extend(options.aux.iter().cloned());
        let mut out = Vec::with_capacity(WRITE_BYTES * 2);
        let functions: Vec<&[u8]> = begun.libraries.iter().map(Vec::as_slice).collect();
        let head = Head { version: begun.version, aux: &aux, functions: &functions, sizes: &begun.sizes };
        let mut writer = Writer::begin(&head, &mut out);
        let (mut synced, mut alone) = (0, Alone::No);
        while let Some(sections) = self.next_sections(run, outlet, &mut alone) {
            for section in sections? {
                let format = |error: TooNew| SnapshotError::Format(error.to_string());
                writer.section(&section, &mut out).map_err(format)?;
                out.extend_from_slice(&section.bytes);
                run.queued.fetch_sub(section.bytes.len(), Ordering::AcqRel);
                if out.len() >= WRITE_BYTES {
                    output.append(&mut out)?;
                }
                if options.incremental_sync && writer.written() >= synced + SYNC_BYTES {
                    output.sync()?;
                    synced = writer.written();
                }
            }
        }
        writer.finish(options.checksum, &mut out);
        output.append(&mut out)?;
        output.sync()?;
        let written = Written {
            keys: run.keys_done.load(Ordering::Relaxed),
            bytes: output.written(),
            version: begun.version,
            took: run.elapsed(),
            held: begun.held,
            changes: begun.changes,
        };
        if written.keys != run.keys.load(Ordering::Relaxed) {
            let (found, expected) = (written.keys, run.keys.load(Ordering::Relaxed));
            return Err(SnapshotError::Format(format!("{found} keys were written of {expected}")));
        }
        Ok((written, point))
    }

    /// The moment that the snapshot shows.
    fn begin_saves<P>(
        self: &Arc<Self>,
        options: &SnapshotOptions,
        at_point: impl FnOnce(&mut Held<'_>) -> P,
    ) -> (P, Begun) {
        let settings = self.settings().clone();
        let mut held = self.hold_all();
        let start = Instant::now();
        let now_ms = held.now_ms();
        let mut begun = Begun {
            sizes: vec![(0, 0); settings.databases],
            now_ms,
            changes: 0,
            version: options.save.target,
            held: Duration::ZERO,
            moment: None,
            libraries: self.scripts.libraries.sources(),
        };
        for state in held.states() {
            state.shard.begin_save(options.save, &settings, now_ms);
            begun.changes += state.shard.stats.dirty;
            for (db, size) in begun.sizes.iter_mut().enumerate() {
                let counts = state.shard.counts(db);
                size.0 += counts.keys as u64;
                size.1 += counts.expires as u64;
                if counts.with_fields > 0 {
                    // No older version has a form for them.
                    begun.version = begun.version.max(Version::V12);
                }
            }
        }
        let point = at_point(&mut held);
        let replication = self.replication();
        if replication.has_backlog() || replication.is_replica() {
            let (offset, db) = held.join_stream();
            begun.moment = Some(Moment { id: replication.history().id, offset, db });
        }
        begun.held = start.elapsed();
        (point, begun)
    }

    /// What comes next from the cores; `None` when everything has come.
    fn next_sections(
        self: &Arc<Self>,
        run: &Run,
        outlet: &mpsc::Receiver<Message>,
        alone: &mut Alone,
    ) -> Option<Result<Vec<Section>, SnapshotError>> {
        loop {
            if let Ok(message) = outlet.try_recv() {
                *alone = Alone::No;
                return Some(message.sections());
            }
            if run.slots_left.load(Ordering::Acquire) == 0 {
                // Between the look into the queue and the look at the counter the last may have come.
                return outlet.try_recv().ok().map(Message::sections);
            }
            let core = match alone {
                Alone::Next(core) => *core,
                Alone::No if self.snapshots.wake.0.get().is_some() => {
                    match outlet.recv_timeout(ALONE_AFTER) {
                        Ok(message) => {
                            if run.slots_left.load(Ordering::Acquire) > 0 {
                                std::thread::sleep(GATHERING);
                            }
                            return Some(message.sections());
                        }
                        // They take their time because they are told to.
                        Err(_) if !run.delay.is_zero() && !run.over.load(Ordering::Acquire) => continue,
                        // Nobody else does it: the event loops stand still, or have ended.
                        Err(_) => 0,
                    }
                }
                Alone::No => 0,
            };
            *alone = Alone::Next((core + 1) % self.cores());
            let (next, encoded) = self.encode_step(run, core);
            match next {
                Next::Pause(time) => std::thread::sleep(time),
                Next::Done => std::thread::yield_now(),
                Next::Step | Next::Rest => {}
            }
            if let Some(Encoded { sections, slots }) = encoded {
                run.slots_left.fetch_sub(slots, Ordering::AcqRel);
                return Some(Ok(sections));
            }
        }
    }
}

/// Whether the snapshot's thread encodes too, as nothing comes from the cores.
enum Alone {
    /// They do it.
    No,
    /// It does, until something comes from them, of this core next.
    Next(usize),
}

/// What a step has brought.
struct Encoded {
    sections: Vec<Section>,
    /// So many slots are through.
    slots: usize,
}

impl Message {
    fn sections(self) -> Result<Vec<Section>, SnapshotError> {
        match self {
            Self::Sections(sections) => Ok(sections),
            Self::Failed(error) => Err(error),
        }
    }
}

/// How much is encoded at once. With a pause after each key less, so that no pause for all of it is long.
fn step_bytes(delay: Duration) -> usize {
    const PAUSE: Duration = Duration::from_millis(10);
    /// Of a small key.
    const KEY_BYTES: u128 = 100;
    match PAUSE.as_micros().checked_div(delay.as_micros()) {
        None => STEP_BYTES,
        Some(keys) => STEP_BYTES.min((keys * KEY_BYTES) as usize).max(1),
    }
}

/// What was true at the moment of the snapshot.
struct Begun {
    sizes: Vec<(u64, u64)>,
    now_ms: i64,
    changes: u64,
    version: Version,
    held: Duration,
    /// Where it stands in the stream, if there is one.
    moment: Option<Moment>,
    libraries: Vec<Vec<u8>>,
}

/// The version of Redis that snapshots say they are from: the oldest that loads all of them.
const REDIS_VERSION: &str = "7.0.15";

/// Where a snapshot grows, beside its place.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("temp-{}-{name}", std::process::id()))
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> SnapshotError + use<> {
    let path = path.to_owned();
    move |error| SnapshotError::File { doing, path, error: Arc::new(error) }
}
