//! The log of a node: turned on and off, and rewritten.
//!
//! A rewrite is a snapshot that becomes the log's new base, and a new increment that begins at the very moment which the
//! snapshot shows:
//!
//! | step | done                                                        | a restart after it reads                    |
//! |------|-------------------------------------------------------------|---------------------------------------------|
//! | 1    | the new increment is made, and named in the manifest         | the old files, and an empty increment        |
//! | 2    | all batons held: the journal is cut over to it               | the old files and the new increment          |
//! | 3    | the new base is written, synced, and has its name            | the same                                     |
//! | 4    | the manifest names the new base, the old files are history   | the new base and the new increment           |
//! | 5    | history is removed                                           | the same                                     |
//!
//! Without a preamble (`aof-use-rdb-preamble no`), step 3 writes a temporary snapshot, and the base from that: plain commands.
//!
//! Turning the log on is the same with nothing before it: the increment is named together with its base, in step 4.

use super::convert::{self, CommandOptions, Converted};
use super::log_dir::{LogDir, LogDirError};
use crate::journal::LogFile;
use crate::node::Node;
use crate::snapshot::{SnapshotError, SnapshotOptions, Written};
use baton_engine::aof::manifest::BaseFormat;
use baton_engine::aof::read::Position;
use baton_engine::rdb::save::SaveOptions;
use parking_lot::{Mutex, MutexGuard};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How the log is rewritten.
#[derive(Clone, Debug)]
pub struct RewriteOptions {
    /// The directory of the log.
    pub dir: PathBuf,
    /// How the names of its files begin.
    pub name: Vec<u8>,
    /// How the base is encoded.
    pub save: SaveOptions,
    /// The base ends with a checksum.
    pub checksum: bool,
    /// The base is synced along the way.
    pub incremental_sync: bool,
    /// Files that are no longer needed stay.
    pub keep_history: bool,
    /// The base is a snapshot (`aof-use-rdb-preamble`), else commands.
    pub preamble: bool,
    /// A base of commands begins with its time (`aof-timestamp-enabled`).
    pub timestamps: bool,
    /// A pause after each key, for tests.
    pub delay: Duration,
    /// The log is on, or is turned on by this; if not, only a base is written.
    pub on: bool,
}

/// Why the log was not rewritten. What was there before is in force.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// It is being rewritten.
    #[error("Background append only file rewriting already in progress")]
    Busy,
    /// The base could not be written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The directory of the log.
    #[error(transparent)]
    LogDir(#[from] LogDirError),
}

/// What is done when the snapshot of a rewrite is there.
struct Plan {
    /// The first increment that the new base does not hold.
    first_kept: u64,
    keep_history: bool,
    /// The log was on before.
    went_on: bool,
    /// The snapshot is only the way to a base of commands.
    commands: Option<Commands>,
}

/// How a snapshot becomes a base of commands.
struct Commands {
    snapshot: PathBuf,
    temp: PathBuf,
    base: PathBuf,
    options: CommandOptions,
}

/// The files of a node's log.
#[derive(Debug, Default)]
pub struct Log {
    dir: Mutex<Option<LogDir>>,
    is_rewriting: AtomicBool,
    /// The rewrite on its way turns the log on.
    begins: AtomicBool,
    /// Bytes of all files when the log was opened or last rewritten.
    base_bytes: AtomicU64,
    /// Bytes of the files before the one that is written to.
    closed_bytes: AtomicU64,
    /// A base of commands on its way.
    pub(super) converted: Converted,
}

impl Log {
    /// Whether a rewrite is on its way.
    pub fn is_rewriting(&self) -> bool {
        self.is_rewriting.load(Ordering::Acquire)
    }

    /// Whether the log is being turned on, and counts for nothing until its first base is there.
    pub fn is_beginning(&self) -> bool {
        self.is_rewriting() && self.begins.load(Ordering::Acquire)
    }

    /// Bytes of the snapshot that becomes a base of commands: converted so far, and in all (0: there is none).
    pub fn converted(&self) -> (u64, u64) {
        let Converted { total, done } = &self.converted;
        (done.load(Ordering::Relaxed), total.load(Ordering::Relaxed))
    }

    /// Whether there are files, though the log may be off by now.
    pub fn has_files(&self) -> bool {
        self.dir.lock().is_some()
    }

    /// The files, if the log is on or was.
    pub(crate) fn dir(&self) -> MutexGuard<'_, Option<LogDir>> {
        self.dir.lock()
    }

    /// Bytes of all files when the log was opened or last rewritten (`aof_base_size`).
    pub fn base_bytes(&self) -> u64 {
        self.base_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of all files but the one that is written to.
    pub fn closed_bytes(&self) -> u64 {
        self.closed_bytes.load(Ordering::Relaxed)
    }
}

impl Node {
    /// Goes on with the log that was opened at the start: in its last increment, at `position`.
    ///
    /// # Errors
    /// The file cannot be opened or made.
    pub fn resume_log(self: &Arc<Self>, mut dir: LogDir, position: Position) -> Result<(), LogDirError> {
        let mut bytes = 0;
        for file in dir.live_files() {
            bytes += self.storage().len(&file).unwrap_or(0);
        }
        let (file, own) = match dir.last_incr() {
            Some(path) => {
                // A process that was killed may have left them unsynced, and blocks say that they are not.
                dir.sync_earlier_incrs()?;
                let file = self.storage().open(&path);
                let file = file.map_err(|error| LogDirError::File { doing: "open", path, error })?;
                let len = position.offset as u64;
                (LogFile { file, len, annotator: position.annotator() }, len)
            }
            None => (LogFile::empty(dir.add_incr(None)?.0), 0),
        };
        self.log.base_bytes.store(bytes, Ordering::Relaxed);
        self.log.closed_bytes.store(bytes.saturating_sub(own), Ordering::Relaxed);
        *self.log.dir.lock() = Some(dir);
        self.hold_all().open_journal(file, position.replication_offset.unwrap_or(0));
        Ok(())
    }

    /// Begins to rewrite the log, or turns it on. `ended` runs in the end, on the thread of the snapshot.
    ///
    /// # Errors
    /// It cannot begin: a snapshot or a rewrite is on its way, or the files cannot be made.
    pub fn rewrite_log(
        self: &Arc<Self>,
        options: &RewriteOptions,
        ended: impl FnOnce(Result<Written, RewriteError>) + Send + 'static,
    ) -> Result<(), RewriteError> {
        let mut dir = self.log.dir.lock();
        if self.log.is_rewriting() {
            return Err(RewriteError::Busy);
        }
        if self.snapshots.current().is_some() {
            return Err(SnapshotError::Busy.into());
        }
        let log = match &mut *dir {
            Some(log) => log,
            none => none.insert(self.find_log(options)?),
        };
        // Without a log in force nothing may name an increment before its base is there.
        let goes_on = self.journal().has_file();
        let incr = if options.on { Some(log.add_incr_if(goes_on)?) } else { None };
        let plan = Plan {
            first_kept: incr.as_ref().map_or(u64::MAX, |(_, seq)| *seq),
            keep_history: options.keep_history,
            went_on: goes_on,
            commands: (!options.preamble).then(|| Commands {
                snapshot: log.temporary("base.rdb"),
                temp: log.temporary("base.aof"),
                base: log.next_base(BaseFormat::Aof),
                options: CommandOptions {
                    timestamps: options.timestamps,
                    incremental_sync: options.incremental_sync,
                },
            }),
        };
        let snapshot = SnapshotOptions {
            path: plan
                .commands
                .as_ref()
                .map_or_else(|| log.next_base(BaseFormat::Rdb), |to| to.snapshot.clone()),
            save: options.save,
            checksum: options.checksum,
            incremental_sync: options.incremental_sync,
            aux: vec![("aof-base", "1".to_owned())],
            delay: options.delay,
        };
        let node = self.clone();
        let end = move |result: Result<(Written, Option<u64>), SnapshotError>| {
            let result = node.end_rewrite(result, plan);
            node.log.is_rewriting.store(false, Ordering::Release);
            ended(result);
        };
        self.log.begins.store(options.on && !goes_on, Ordering::Release);
        self.log.is_rewriting.store(true, Ordering::Release);
        let at_point = move |held: &mut crate::held::Held<'_>| {
            incr.map(|(file, _)| held.cut_journal(Some(LogFile::empty(file))))
        };
        if let Err(error) = self.begin_snapshot(snapshot, at_point, end) {
            self.log.is_rewriting.store(false, Ordering::Release);
            log.forget_incr();
            return Err(error.into());
        }
        Ok(())
    }

    /// The log that is there though it was off, or a new one.
    fn find_log(&self, options: &RewriteOptions) -> Result<LogDir, LogDirError> {
        let (storage, dir) = (self.shared_storage().clone(), options.dir.clone());
        // No file of an old server is taken over: its data are older than ours.
        let nowhere = PathBuf::new();
        match LogDir::open(storage.clone(), dir.clone(), &options.name, &nowhere)? {
            Some(log) => Ok(log),
            None => LogDir::create(storage, dir, &options.name),
        }
    }

    fn end_rewrite(
        self: &Arc<Self>,
        result: Result<(Written, Option<u64>), SnapshotError>,
        plan: Plan,
    ) -> Result<Written, RewriteError> {
        let Plan { first_kept, keep_history, went_on, commands } = plan;
        let format = if commands.is_some() { BaseFormat::Aof } else { BaseFormat::Rdb };
        let result = match (result, commands) {
            (Ok((mut written, offset)), Some(to)) => {
                let made = convert::to_commands(self, &to.snapshot, &to.temp, &to.base, to.options);
                made.map(|bytes| {
                    written.bytes = bytes;
                    (written, offset)
                })
            }
            (result, _) => result,
        };
        let mut dir = self.log.dir.lock();
        let Some(log) = &mut *dir else { return Err(RewriteError::Busy) };
        let placed = result.map_err(RewriteError::from).and_then(|(written, offset)| {
            let (placed, took) = self.latency.time(|| log.base_written(format, first_kept, keep_history));
            self.latency.note_now("aof-rename", took);
            placed?;
            Ok((written, offset))
        });
        match placed {
            Ok((written, offset)) => {
                self.log.base_bytes.store(written.bytes, Ordering::Relaxed);
                self.log.closed_bytes.store(written.bytes, Ordering::Relaxed);
                if let Some(offset) = offset {
                    // What could not be written to the old files is in the new base.
                    self.journal().replaced(offset);
                }
                Ok(written)
            }
            Err(error) => {
                if !went_on && first_kept != u64::MAX {
                    log.forget_incr();
                    drop(dir);
                    // The log is not on after all.
                    self.close_log();
                }
                Err(error)
            }
        }
    }

    /// Removes the files of the log that are no longer needed (`keep_history` is over).
    ///
    /// # Errors
    /// Those of the file system.
    pub fn remove_log_history(&self) -> Result<(), LogDirError> {
        self.log.dir.lock().as_mut().map_or(Ok(()), LogDir::remove_history)
    }

    /// Turns the log off: what is in it stays. Returns why its end could not be written, if so.
    pub fn close_log(self: &Arc<Self>) -> Option<String> {
        if !self.journal().has_file() {
            return None;
        }
        let offset = self.hold_all().cut_journal(None);
        self.journal().leave(offset).err()
    }
}
