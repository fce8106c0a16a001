//! Opening what a node left on disk: its log, else its snapshot.
//!
//! Nothing here guesses. What cannot be explained by a write that was cut short is refused, with the place and the way out; the
//! files stay as they are. Of a write that was cut short the rest is put aside in a file of its own before the log goes on.

use super::load::{self, LoadError, LoadOptions, Onto, Progress};
use super::log_dir::{LogDir, LogDirError};
use super::replay::{self, ReplayError};
use crate::node::Node;
use crate::replication::Moment;
use crate::storage::{Storage, mapped};
use baton_engine::aof::lineage::Lineage;
use baton_engine::aof::read::{Position, Reader, Verdict, starts_with_snapshot};
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Where a node keeps its data, and how much of it is trusted.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The snapshot (`dbfilename`).
    pub snapshot: PathBuf,
    /// The directory of the log (`appenddirname`).
    pub log_dir: PathBuf,
    /// How the names of the log's files begin (`appendfilename`).
    pub log_name: Vec<u8>,
    /// The data are in the log (`appendonly`).
    pub appendonly: bool,
    /// A write that was cut short at the end of the log is put aside (`aof-load-truncated`).
    pub load_truncated: bool,
    /// Checksums of snapshots without an index are checked (`rdbchecksum`).
    pub verify: bool,
    /// Snapshots of versions that are not known are read as far as possible (`rdb-version-check relaxed`).
    pub any_version: bool,
    /// A pause after each key of a snapshot without an index, for tests (`key-load-delay`).
    pub key_delay: Duration,
}

impl OpenOptions {
    pub(super) fn load(&self, skip_expired: bool) -> LoadOptions {
        let Self { verify, any_version, key_delay, .. } = *self;
        LoadOptions { verify, skip_expired, any_version, key_delay, onto: Onto::Nothing }
    }

    /// Where a server before Redis 7 kept its log: one file, beside the snapshot.
    fn single_log(&self) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        self.snapshot.with_file_name(std::ffi::OsStr::from_bytes(&self.log_name))
    }
}

/// What was found.
#[derive(Debug)]
pub struct Opened {
    /// From where the data came.
    pub source: Source,
    /// The log, if there is one, and where writing goes on in its last increment.
    pub log: Option<(LogDir, Position)>,
    /// Where the data stand in the stream of replication, if the snapshot or the log that was loaded says so.
    pub moment: Option<Moment>,
    /// What whoever runs the node should know, in order.
    pub notes: Vec<String>,
}

/// From where the data came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// There was nothing.
    Nothing,
    /// A snapshot.
    Snapshot,
    /// A log.
    Log,
}

/// Why the data cannot be opened. Nothing was changed on disk.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory of the log.
    #[error(transparent)]
    LogDir(#[from] LogDirError),
    /// A snapshot.
    #[error(
        "Fatal error loading the DB, check server logs. Exiting. {0}. The file was not changed: \
        'baton check rdb FILE' says more"
    )]
    Snapshot(#[from] LoadError),
    /// A command of the log.
    #[error("{0}. The log was not changed")]
    Replay(#[from] ReplayError),
    /// The log is damaged.
    #[error(
        "Bad file format reading the append only file {file}: {verdict}. Nothing was changed: make a backup of the \
        files, then 'baton check aof --fix DIR' writes what can be kept beside them"
    )]
    Damaged {
        /// The file.
        file: Arc<str>,
        /// What is wrong with it.
        verdict: Verdict,
    },
    /// The log ends in a write that was cut short, and `aof-load-truncated` is off.
    #[error(
        "Unexpected end of file reading the append only file {file}: {verdict}. Nothing was changed: set \
        'aof-load-truncated' to yes to go on without the rest, or use 'baton check aof --fix DIR'"
    )]
    Truncated {
        /// The file.
        file: Arc<str>,
        /// How it ends.
        verdict: Verdict,
    },
    /// A file became shorter while it was read, or the disk could not give a part of it back.
    #[error(
        "A part of the files could not be read though it was there: somebody cut a file, or the disk fails"
    )]
    Vanished,
    /// The file system refused.
    #[error("{doing} {}: {error}", .path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// How it was refused.
        error: io::Error,
    },
}

/// Opens what is on disk into an empty node.
///
/// # Errors
/// [`OpenError`]. The node may hold a part of the data then, and must not serve it.
pub fn open(node: &Arc<Node>, options: &OpenOptions, progress: &Progress) -> Result<Opened, OpenError> {
    let storage = node.shared_storage();
    progress.begin(node.now_ms());
    let faults = mapped::faults();
    let opened = if options.appendonly {
        match find_log(storage, options)? {
            Some(log) => open_log(node, storage, options, log, progress),
            // A log that is to be begins with what the snapshot holds: an empty node would be a bad surprise.
            None => open_snapshot(node, storage, options, options.load(true), progress),
        }
    } else {
        open_snapshot(node, storage, options, options.load(true), progress)
    };
    progress.end();
    if mapped::faults() != faults {
        return Err(OpenError::Vanished);
    }
    opened
}

fn find_log(storage: &Arc<dyn Storage>, options: &OpenOptions) -> Result<Option<LogDir>, OpenError> {
    let (dir, name, single) = (options.log_dir.clone(), &options.log_name, options.single_log());
    if let Some(log) = LogDir::open(storage.clone(), dir.clone(), name, &single)? {
        return Ok(Some(log));
    }
    match storage.len(&single) {
        Ok(_) => Ok(Some(LogDir::upgrade(storage.clone(), dir, name, &single)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OpenError::File { doing: "open", path: single, error }),
    }
}

fn open_snapshot(
    node: &Arc<Node>,
    storage: &Arc<dyn Storage>,
    options: &OpenOptions,
    load: LoadOptions,
    progress: &Progress,
) -> Result<Opened, OpenError> {
    let path = &options.snapshot;
    let file = match storage.read(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Opened { source: Source::Nothing, log: None, moment: None, notes: Vec::new() });
        }
        Err(error) => return Err(OpenError::File { doing: "read", path: path.clone(), error }),
    };
    progress.total.store(file.len() as u64, Ordering::Relaxed);
    let loaded = load::snapshot(node, &shown(path), &file, load, progress)?;
    let notes = told(&shown(path), &loaded);
    // Replicas still have keys that were left out here, and nobody would tell them.
    let moment = if loaded.expired == 0 { Moment::of_aux(&loaded.aux) } else { None };
    Ok(Opened { source: Source::Snapshot, log: None, moment, notes })
}

/// Adds the snapshot to a node that may hold data.
///
/// # Errors
/// As [`open`]; what was added stays.
pub fn add_snapshot(
    node: &Arc<Node>,
    options: &OpenOptions,
    onto: Onto,
    progress: &Progress,
) -> Result<Opened, OpenError> {
    progress.begin(node.now_ms());
    let load = LoadOptions { onto, ..options.load(true) };
    let opened = open_snapshot(node, node.shared_storage(), options, load, progress);
    progress.end();
    opened
}

/// Reads the log of a node that has one open into the node, which has been emptied.
///
/// # Errors
/// As [`open`].
pub fn reread_log(node: &Arc<Node>, options: &OpenOptions, progress: &Progress) -> Result<Opened, OpenError> {
    let dir = node.log.dir();
    let Some(log) = &*dir else {
        return Ok(Opened { source: Source::Nothing, log: None, moment: None, notes: Vec::new() });
    };
    progress.begin(node.now_ms());
    let loaded = load_log(node, node.shared_storage(), options, log, progress);
    progress.end();
    Ok(Opened { source: Source::Log, log: None, moment: None, notes: loaded?.notes })
}

fn open_log(
    node: &Arc<Node>,
    storage: &Arc<dyn Storage>,
    options: &OpenOptions,
    log: LogDir,
    progress: &Progress,
) -> Result<Opened, OpenError> {
    let Read { mut position, notes, refused } = load_log(node, storage, options, &log, progress)?;
    // What was refused is not among the data.
    let moment = Moment::of_log(&position).filter(|_| refused == 0);
    if let Some(moment) = moment {
        position.replication_offset = Some(moment.offset);
    }
    Ok(Opened { source: Source::Log, log: Some((log, position)), moment, notes })
}

/// What was read of a log.
struct Read {
    /// Where its last file ends.
    position: Position,
    notes: Vec<String>,
    /// Commands that were refused.
    refused: u64,
}

/// Reads all files of a log.
fn load_log(
    node: &Arc<Node>,
    storage: &Arc<dyn Storage>,
    options: &OpenOptions,
    log: &LogDir,
    progress: &Progress,
) -> Result<Read, OpenError> {
    let (mut notes, mut refused) = (Vec::new(), 0);
    let mut files: Vec<(PathBuf, Bytes)> = Vec::new();
    for path in log.live_files() {
        let file = storage.read(&path).map_err(failed("read", &path))?;
        progress.total.fetch_add(file.len() as u64, Ordering::Relaxed);
        files.push((path, file));
    }
    let mut position = Position::default();
    let mut files = VecDeque::from(files);
    let has_base = log.manifest().base.is_some() && files.len() > 1;
    for n in 0..files.len() {
        let Some((path, file)) = files.pop_front() else { break };
        let name = shown(&path);
        let mut from = 0;
        // Commands may be none, a snapshot is never empty.
        let is_snapshot = n == 0 && starts_with_snapshot(&file);
        if n == 0 && !is_snapshot && path.extension().is_some_and(|ending| ending == "rdb") {
            let found = format!("'{}'", file[..file.len().min(24)].escape_ascii());
            let expected = "a snapshot";
            let verdict = Verdict::Damaged { offset: 0, expected, found };
            return Err(OpenError::Damaged { file: name, verdict });
        }
        if is_snapshot {
            let loaded = load::snapshot(node, &name, &file, options.load(false), progress)?;
            notes.extend(told(&name, &loaded));
            from = loaded.end;
        }
        let Position { replication_offset, db, lineage, .. } = position;
        position = Position { offset: from, replication_offset, db, lineage, ..Position::default() };
        let mut verdict = Verdict::Whole;
        if from < file.len() {
            let reader = Reader::new(&file, from).begun_by_us(log.is_ours()).after(lineage);
            let replayed = replay::commands(node, &name, reader, None, progress)?;
            notes.push(format!("{name}: {} commands replayed", replayed.commands));
            refused += replayed.refused;
            if replayed.refused > 0 {
                let refused = replayed.refused;
                notes.push(format!("{name}: {refused} commands were refused when they were replayed"));
            }
            let replication_offset = replayed.position.replication_offset.or(replication_offset);
            position = Position { replication_offset, ..replayed.position };
            if n == 0 && has_base {
                // Its commands are not those of the stream, and there are data that no command makes anew.
                position.lineage = Lineage::unknown();
            }
            verdict = replayed.verdict.unwrap_or(Verdict::Whole);
        }
        let others = files.iter().map(|(_, file)| &file[..]);
        match verdict.in_log(n == 0 && has_base, file.len(), others) {
            Verdict::Whole => {}
            verdict @ Verdict::Damaged { .. } => return Err(OpenError::Damaged { file: name, verdict }),
            verdict @ Verdict::Torn { .. } if !options.load_truncated => {
                return Err(OpenError::Truncated { file: name, verdict });
            }
            verdict @ Verdict::Torn { keep, .. } => {
                notes.push(format!(
                    "!!! Warning: short read while loading the AOF file {name}!!! It is {verdict}"
                ));
                notes.push(format!("AOF {name} loaded anyway because aof-load-truncated is enabled"));
                // The last one first: whenever this is cut off, the next start finds as much as this one.
                while let Some((path, file)) = files.pop_back() {
                    if !file.is_empty() {
                        notes.push(put_aside(storage, &path, file, 0)?);
                    }
                    let Position { replication_offset, db, lineage, .. } = position;
                    position = Position { replication_offset, db, lineage, ..Position::default() };
                }
                if keep < file.len() {
                    notes.push(put_aside(storage, &path, file, keep)?);
                }
            }
        }
    }
    Ok(Read { position, notes, refused })
}

/// Cuts a file off, and keeps what is cut in a file of its own.
fn put_aside(storage: &Arc<dyn Storage>, path: &Path, file: Bytes, keep: usize) -> Result<String, OpenError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!("{name}.torn-at-{keep}"));
    let rest = file.len() - keep;
    let copy = storage.create(&aside).map_err(failed("create", &aside))?;
    copy.append(&[&file[keep..]]).map_err(failed("write", &aside))?;
    copy.sync_data().map_err(failed("sync", &aside))?;
    // A mapped file must not become shorter while it is looked at.
    drop(file);
    let cut = storage.open(path).map_err(failed("open", path))?;
    cut.truncate(keep as u64).map_err(failed("truncate", path))?;
    cut.sync_data().map_err(failed("sync", path))?;
    if let Some(dir) = path.parent() {
        storage.sync_dir(dir).map_err(failed("sync", dir))?;
    }
    Ok(format!(
        "{name} was cut to {keep} bytes; the {rest} bytes behind them are kept in {}",
        aside.display()
    ))
}

pub(super) fn told(name: &str, loaded: &load::Loaded) -> Vec<String> {
    let how = if loaded.is_lazy { "mapped, slots are built as they are asked for" } else { "loaded" };
    let keys = format!("{name}: {} keys {how}, {} expired keys left out", loaded.keys, loaded.expired);
    let unusable = |why| format!("{name}: a library of functions is kept, but cannot be run: {why}");
    std::iter::once(keys).chain(loaded.complaints.iter().map(unusable)).collect()
}

pub(super) fn shown(path: &Path) -> Arc<str> {
    path.display().to_string().into()
}

pub(super) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError + use<> {
    let path = path.to_owned();
    move |error| OpenError::File { doing, path, error }
}
