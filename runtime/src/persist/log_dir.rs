//! The directory of the log: its manifest, and the changes of it that survive a crash at any step.
//!
//! A file is made before a manifest names it, and removed only after no manifest names it any more. The manifest itself is
//! written under another name, synced, renamed, and its directory synced; until then the old one is the truth.

use crate::storage::{File, Lock, Storage};
use baton_engine::aof::manifest::{self, BaseFormat, Manifest};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the directory of the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogDirError {
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
    /// The manifest is not one.
    #[error("{}: {} cannot be understood: {why}. Nothing was changed; restore it from a backup, or write it anew from \
        the files that are there", .why.headline(), .path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Where it is wrong.
        why: manifest::ManifestError,
    },
    /// The manifest names a file that is not there.
    #[error("The log file {} is missing (No such file or directory), though {} names it. Nothing was changed", .file.display(), .manifest.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// The manifest.
        manifest: PathBuf,
    },
    /// Another process has the log open.
    #[error("The log in {} is in use by another process: end it, or give this one another 'dir' or 'appenddirname'",
        .dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// There are files of a log, but no manifest.
    #[error("{} has files of a log ({file}), but the manifest {} is missing. To start without them, move them away",
        .dir.display(), .manifest.display())]
    NoManifest {
        /// The directory.
        dir: PathBuf,
        /// The manifest.
        manifest: PathBuf,
        /// One of the files.
        file: String,
    },
}

/// The directory of a log that is there.
#[derive(Debug)]
pub struct LogDir {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    /// `appendfilename`: how all names begin.
    name: Vec<u8>,
    manifest: Manifest,
    /// The manifest was written by us, so all increments were begun by us.
    is_ours: bool,
    /// With an increment that is not to be named before its base is there.
    next: Option<Manifest>,
    /// Keeps other processes out.
    _lock: Box<dyn Lock>,
}

impl LogDir {
    /// The log in `dir`, if there is one. `single` is where the log of a server before Redis 7 would be: an
    /// [`upgrade`](Self::upgrade) that was interrupted is finished.
    ///
    /// # Errors
    /// There is one, but it cannot be understood, or files of it are missing.
    pub fn open(
        storage: Arc<dyn Storage>,
        dir: PathBuf,
        name: &[u8],
        single: &Path,
    ) -> Result<Option<Self>, LogDirError> {
        let path = dir.join(file_name(&manifest::manifest_name(name)));
        let text = match storage.read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Self::without_manifest(storage, dir, name, path);
            }
            Err(error) => return Err(LogDirError::File { doing: "read", path, error }),
        };
        let is_ours = Manifest::is_sealed(&text);
        let read = Manifest::parse(&text);
        let manifest = match read.and_then(|manifest| manifest.check_beginning().map(|()| manifest)) {
            Ok(manifest) => manifest,
            Err(why) => return Err(LogDirError::Manifest { path, why }),
        };
        let lock = lock(&*storage, &dir, name)?;
        let log = Self { storage, dir, name: name.to_vec(), manifest, is_ours, next: None, _lock: lock };
        for file in log.live_files() {
            match log.storage.len(&file) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if file.file_name() == single.file_name() && log.storage.len(single).is_ok() {
                        log.move_in(single)?;
                        continue;
                    }
                    return Err(LogDirError::Missing { file, manifest: path });
                }
                Err(error) => return Err(LogDirError::File { doing: "open", path: file, error }),
            }
        }
        Ok(Some(log))
    }

    /// A log without files in `dir`, which is made if needed. Nothing names it until its first base is there.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(storage: Arc<dyn Storage>, dir: PathBuf, name: &[u8]) -> Result<Self, LogDirError> {
        if let Err(error) = storage.create_dir(&dir) {
            return Err(LogDirError::File { doing: "create", path: dir, error });
        }
        if let Some(parent) = dir.parent() {
            storage.sync_dir(parent).map_err(failed("sync", parent))?;
        }
        let lock = lock(&*storage, &dir, name)?;
        Ok(Self {
            storage,
            dir,
            name: name.to_vec(),
            manifest: Manifest::default(),
            is_ours: true,
            next: None,
            _lock: lock,
        })
    }

    /// As [`create`](Self::create), with the one file of a log of a server before Redis 7 as its base: it is moved into
    /// the directory.
    ///
    /// # Errors
    /// Those of the file system. A crash in between leaves the file where one of two starts finds it.
    pub fn upgrade(
        storage: Arc<dyn Storage>,
        dir: PathBuf,
        name: &[u8],
        single: &Path,
    ) -> Result<Self, LogDirError> {
        let mut log = Self::create(storage, dir, name)?;
        // The manifest first: a file that it names and that is not there yet is looked for at its old place.
        log.write(Manifest::of_single_file(name))?;
        log.move_in(single)?;
        Ok(log)
    }

    fn move_in(&self, single: &Path) -> Result<(), LogDirError> {
        let target = self.dir.join(file_name(&self.name));
        self.storage.rename(single, &target).map_err(failed("move", single))?;
        self.storage.sync_dir(&self.dir).map_err(failed("sync", &self.dir))
    }

    /// No manifest: no log, unless there are files that look like one.
    ///
    /// A log's first base and first increment are there before its first manifest: if there is nothing else, there
    /// is only one manifest that they can have.
    fn without_manifest(
        storage: Arc<dyn Storage>,
        dir: PathBuf,
        name: &[u8],
        manifest: PathBuf,
    ) -> Result<Option<Self>, LogDirError> {
        let mut names = match storage.list(&dir) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LogDirError::File { doing: "list", path: dir, error }),
        };
        let begin = [name, b"."].concat();
        names.retain(|file| file.as_bytes().starts_with(&begin));
        names.sort_unstable();
        let first = manifest::incr_name(name, 1);
        let formats = [BaseFormat::Rdb, BaseFormat::Aof];
        let format = formats.into_iter().find(|format| {
            let base = manifest::base_name(name, 1, *format);
            names.iter().map(String::as_bytes).eq([&base[..], &first])
        });
        if let Some(format) = format {
            let mut log = Self::create(storage, dir, name)?;
            log.write(log.manifest.with_new_incr(name, None).with_new_base(name, format, 1))?;
            return Ok(Some(log));
        }
        // An increment alone is what a crash leaves before the first base is there: it never counted.
        match names.into_iter().find(|file| file.contains(".base.")) {
            Some(file) => Err(LogDirError::NoManifest { dir, manifest, file }),
            None => Ok(None),
        }
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether the manifest was written by us, so that all increments were begun by us.
    pub fn is_ours(&self) -> bool {
        self.is_ours
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The files to load, in order.
    pub fn live_files(&self) -> impl Iterator<Item = PathBuf> {
        self.manifest.live().map(|file| self.dir.join(file_name(&file.name)))
    }

    /// The increment that is written to, if there is one.
    pub fn last_incr(&self) -> Option<PathBuf> {
        self.manifest.incrs.last().map(|file| self.dir.join(file_name(&file.name)))
    }

    /// Syncs all increments but the last one.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn sync_earlier_incrs(&self) -> Result<(), LogDirError> {
        let incrs = &self.manifest.incrs;
        for file in incrs.iter().take(incrs.len().saturating_sub(1)) {
            let path = self.dir.join(file_name(&file.name));
            self.storage.open(&path).and_then(|file| file.sync_data()).map_err(failed("sync", &path))?;
        }
        Ok(())
    }

    /// Makes the next increment, empty, and names it in the manifest. With its number.
    ///
    /// # Errors
    /// Those of the file system: the old manifest is in force.
    pub fn add_incr(&mut self, start_offset: Option<u64>) -> Result<(Arc<dyn File>, u64), LogDirError> {
        let (file, seq, next) = self.make_incr(start_offset)?;
        self.write(next)?;
        Ok((file, seq))
    }

    /// As [`add_incr`](Self::add_incr); unless `named`, the manifest names it only together with the next base.
    ///
    /// # Errors
    /// Those of the file system: the old manifest is in force.
    pub fn add_incr_if(&mut self, named: bool) -> Result<(Arc<dyn File>, u64), LogDirError> {
        if named {
            return self.add_incr(None);
        }
        let (file, seq, next) = self.make_incr(None)?;
        self.next = Some(next);
        Ok((file, seq))
    }

    /// The increment that waits for its base is not wanted any more.
    pub fn forget_incr(&mut self) {
        if let Some(next) = self.next.take()
            && let Some(incr) = next.incrs.last()
        {
            // Nothing names it: that it stays does no harm.
            drop(self.storage.remove(&self.dir.join(file_name(&incr.name))));
        }
    }

    fn make_incr(&self, start_offset: Option<u64>) -> Result<(Arc<dyn File>, u64, Manifest), LogDirError> {
        let next = self.manifest.with_new_incr(&self.name, start_offset);
        let incr = next.incrs.last().map(|file| (file.seq, self.dir.join(file_name(&file.name))));
        let (seq, path) = incr.unwrap_or_default();
        let file = self.storage.create(&path).map_err(failed("create", &path))?;
        // Its name first: a manifest that survives a crash must not name a file that does not.
        self.storage.sync_dir(&self.dir).map_err(failed("sync", &self.dir))?;
        Ok((file, seq, next))
    }

    /// Where the next base has to be written.
    pub fn next_base(&self, format: BaseFormat) -> PathBuf {
        let next = self.manifest.with_new_base(&self.name, format, 0);
        self.dir.join(file_name(&next.base.unwrap_or_else(|| manifest::File::new(Vec::new(), 0)).name))
    }

    /// The name of a file that is only there for a while: nothing takes it for a part of the log.
    pub(super) fn temporary(&self, what: &str) -> PathBuf {
        self.dir.join(file_name(&[b"temp-", &self.name[..], b".", what.as_bytes()].concat()))
    }

    /// A new base is there, which holds all before the increment `first_kept`: says so in the manifest, and removes what
    /// is superfluous unless `keep_history`.
    ///
    /// # Errors
    /// Those of the file system: the old manifest is in force, unless only the removal of old files failed.
    pub fn base_written(
        &mut self,
        format: BaseFormat,
        first_kept: u64,
        keep_history: bool,
    ) -> Result<(), LogDirError> {
        let before = self.next.take().unwrap_or_else(|| self.manifest.clone());
        self.write(before.with_new_base(&self.name, format, first_kept))?;
        if keep_history { Ok(()) } else { self.remove_history() }
    }

    /// Removes files that are no longer needed.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn remove_history(&mut self) -> Result<(), LogDirError> {
        if self.manifest.history.is_empty() {
            return Ok(());
        }
        for file in &self.manifest.history {
            let path = self.dir.join(file_name(&file.name));
            match self.storage.remove(&path) {
                Ok(()) => {}
                // Removed before a crash that came before the manifest was written.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(LogDirError::File { doing: "remove", path, error }),
            }
        }
        self.write(self.manifest.without_history())
    }

    fn write(&mut self, manifest: Manifest) -> Result<(), LogDirError> {
        let temp = self.dir.join(file_name(&manifest::temp_manifest_name(&self.name)));
        let path = self.dir.join(file_name(&manifest::manifest_name(&self.name)));
        let file = self.storage.create(&temp).map_err(failed("create", &temp))?;
        file.append(&[&manifest.sealed_text()]).map_err(failed("write", &temp))?;
        file.sync_data().map_err(failed("sync", &temp))?;
        self.storage.rename(&temp, &path).map_err(failed("rename", &temp))?;
        // From here on a restart may read the new one: so do we, whatever the sync says.
        self.manifest = manifest;
        self.storage.sync_dir(&self.dir).map_err(failed("sync", &self.dir))
    }
}

/// Takes the lock of the log: logs of other names may be in the directory, too.
fn lock(storage: &dyn Storage, dir: &Path, name: &[u8]) -> Result<Box<dyn Lock>, LogDirError> {
    let path = dir.join(file_name(&[b"baton.", name, b".lock"].concat()));
    storage.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => LogDirError::Locked { dir: dir.to_owned() },
        _ => LogDirError::File { doing: "lock", path, error },
    })
}

fn file_name(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogDirError + use<> {
    let path = path.to_owned();
    move |error| LogDirError::File { doing, path, error }
}
