//! The log as it was at a second of the past. What is on disk is only read.
//!
//! The base is loaded, then the commands up to the first that was written in a later second, which the timestamps between them
//! tell (`aof-timestamp-enabled`). Commands without a timestamp before them count when one that is not later follows them, since
//! a log is written in order; else nobody can say when they were written, and the restoration is refused.

use super::load::Progress;
use super::log_dir::LogDirError;
use super::open::{OpenError, OpenOptions, Opened, Source, failed, shown, told};
use super::replay;
use crate::node::Node;
use crate::storage::mapped;
use baton_engine::aof::manifest::{Manifest, manifest_name};
use baton_engine::aof::read::{Reader, Unit, Verdict, starts_with_snapshot};
use baton_engine::number::parse_i64;
use bytes::Bytes;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Why the log cannot be restored to that second. Nothing was changed on disk.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is no log.
    #[error("There is no log in {}: nothing to restore", .0.display())]
    NoLog(PathBuf),
    /// Nothing in the log says when it was written.
    #[error(
        "The log has no timestamps, so it cannot be restored to a time: 'aof-timestamp-enabled yes' writes them, from then on"
    )]
    NoTimestamps,
    /// The log begins later.
    #[error(
        "The log cannot be restored to second {asked}: it begins with a base of second {since}, the earliest it can be restored to"
    )]
    TooEarly {
        /// The second that was asked for.
        asked: i64,
        /// The first that can be had.
        since: i64,
    },
    /// It is not known when a part of the log was written.
    #[error(
        "The log cannot be restored to second {asked}: it is not known when the commands from byte {at} of {file} on were \
        written, since no timestamp is before them and none up to that second follows"
    )]
    Undated {
        /// The second that was asked for.
        asked: i64,
        /// The file.
        file: Arc<str>,
        /// Where.
        at: usize,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Follows the timestamps of a log.
#[derive(Debug)]
pub struct Until {
    second: i64,
    /// The last timestamp that is not too late.
    last: Option<i64>,
    /// The first that is.
    later: Option<i64>,
    /// Any command has one.
    has_timestamps: bool,
    /// The first thing of which no timestamp says yet that it is not too late.
    undated: Option<(Arc<str>, usize)>,
}

impl Until {
    fn new(second: i64) -> Self {
        Self { second, last: None, later: None, has_timestamps: false, undated: None }
    }

    /// Whether a unit counts: it was written in the second or before, as far as is known so far.
    pub(super) fn takes(&mut self, file: &Arc<str>, unit: &Unit<'_, '_>) -> bool {
        self.has_timestamps |= unit.timestamp.is_some();
        self.sees(file, unit.start, unit.timestamp)
    }

    fn sees(&mut self, file: &Arc<str>, at: usize, written_s: Option<i64>) -> bool {
        match written_s {
            Some(written_s) if written_s > self.second => {
                self.later = Some(written_s);
                return false;
            }
            Some(written_s) => {
                self.last = Some(written_s);
                self.undated = None;
            }
            None if self.undated.is_none() => self.undated = Some((file.clone(), at)),
            None => {}
        }
        true
    }

    /// What to say at the end of the log, or where it was too late.
    fn end(self) -> Result<String, RestoreError> {
        if let Some((file, at)) = self.undated {
            let undated = RestoreError::Undated { asked: self.second, file, at };
            return Err(if self.has_timestamps { undated } else { RestoreError::NoTimestamps });
        }
        let last = self.last.map_or_else(|| "nothing".to_owned(), |last| format!("second {last}"));
        let next = match self.later {
            Some(later) => format!("the next is of second {later}"),
            None => "that is all there is".to_owned(),
        };
        Ok(format!("Restored to second {}: the last that counts is of {last}, {next}", self.second))
    }
}

/// Loads the log as it was at the end of a second into an empty node.
///
/// # Errors
/// [`RestoreError`]. The node may hold a part of the data then, and must not serve it.
pub fn restore(
    node: &Arc<Node>,
    options: &OpenOptions,
    second: i64,
    progress: &Progress,
) -> Result<Opened, RestoreError> {
    progress.begin(node.now_ms());
    let faults = mapped::faults();
    let notes = load(node, options, second, progress);
    progress.end();
    if mapped::faults() != faults {
        return Err(OpenError::Vanished.into());
    }
    Ok(Opened { source: Source::Log, log: None, moment: None, notes: notes? })
}

fn load(
    node: &Arc<Node>,
    options: &OpenOptions,
    second: i64,
    progress: &Progress,
) -> Result<Vec<String>, RestoreError> {
    let Found { manifest, files, has_base, is_ours } = find(node, options)?;
    let mut until = Until::new(second);
    let mut notes = Vec::new();
    let mapped: Result<Vec<(PathBuf, Bytes)>, OpenError> =
        files.into_iter().map(|path| map(node, path, &manifest, progress)).collect();
    let files = mapped?;
    for (n, (path, file)) in files.iter().enumerate() {
        let name = shown(path);
        let mut from = 0;
        if n == 0 && starts_with_snapshot(file) {
            let loaded = super::load::snapshot(node, &name, file, options.load(false), progress)
                .map_err(OpenError::from)?;
            let saved = loaded.aux.iter().find(|(key, _)| key == b"ctime");
            let saved_s = saved.and_then(|(_, value)| parse_i64(value));
            if !until.sees(&name, 0, saved_s) {
                let since = saved_s.unwrap_or_default();
                return Err(RestoreError::TooEarly { asked: second, since });
            }
            notes.extend(told(&name, &loaded));
            from = loaded.end;
        }
        let mut verdict = Some(Verdict::Whole);
        if from < file.len() {
            let reader = Reader::new(file, from).begun_by_us(is_ours);
            let replayed = replay::commands(node, &name, reader, Some(&mut until), progress);
            let replayed = replayed.map_err(OpenError::from)?;
            notes.push(format!("{name}: {} commands replayed", replayed.commands));
            verdict = replayed.verdict;
        }
        let others = files[n + 1..].iter().map(|(_, file)| &file[..]);
        match verdict.map(|verdict| verdict.in_log(n == 0 && has_base, file.len(), others)) {
            Some(Verdict::Whole) => {}
            Some(verdict @ Verdict::Damaged { .. }) => {
                return Err(OpenError::Damaged { file: name, verdict }.into());
            }
            Some(verdict @ Verdict::Torn { .. }) if !options.load_truncated => {
                return Err(OpenError::Truncated { file: name, verdict }.into());
            }
            Some(verdict @ Verdict::Torn { .. }) => {
                notes.push(format!("{name} is {verdict}: left as it is"));
                // What the others hold was written after what is missing.
                break;
            }
            None if until.undated.is_none() && n == 0 && until.last.is_none() => {
                let since = until.later.unwrap_or_default();
                return Err(RestoreError::TooEarly { asked: second, since });
            }
            // What follows is later still.
            None => break,
        }
    }
    notes.push(until.end()?);
    Ok(notes)
}

/// The files of a log.
struct Found {
    manifest: PathBuf,
    /// Those that it names, in order.
    files: Vec<PathBuf>,
    /// The first of several is a base.
    has_base: bool,
    /// See [`LogDir::is_ours`](super::log_dir::LogDir::is_ours).
    is_ours: bool,
}

fn find(node: &Arc<Node>, options: &OpenOptions) -> Result<Found, RestoreError> {
    let in_dir = |name: &[u8]| options.log_dir.join(OsStr::from_bytes(name));
    let path = in_dir(&manifest_name(&options.log_name));
    let text = match node.storage().read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(RestoreError::NoLog(options.log_dir.clone()));
        }
        Err(error) => return Err(OpenError::File { doing: "read", path, error }.into()),
    };
    let manifest = match Manifest::parse(&text) {
        Ok(manifest) => manifest,
        Err(why) => return Err(OpenError::from(LogDirError::Manifest { path, why }).into()),
    };
    let files: Vec<PathBuf> = manifest.live().map(|file| in_dir(&file.name)).collect();
    let has_base = manifest.base.is_some() && files.len() > 1;
    Ok(Found { manifest: path, files, has_base, is_ours: Manifest::is_sealed(&text) })
}

fn map(
    node: &Arc<Node>,
    path: PathBuf,
    manifest: &std::path::Path,
    progress: &Progress,
) -> Result<(PathBuf, Bytes), OpenError> {
    match node.storage().read(&path) {
        Ok(file) => {
            progress.total.fetch_add(file.len() as u64, Ordering::Relaxed);
            Ok((path, file))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(LogDirError::Missing { file: path, manifest: manifest.to_owned() }.into())
        }
        Err(error) => Err(failed("read", &path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The timestamps of units (`None`: without) that are met when a log is restored to second 10, and how many of them count.
    #[track_caller]
    fn check(written: &[Option<i64>], expected: Result<usize, &str>) {
        let (mut until, name, mut taken) = (Until::new(10), Arc::from("log"), 0);
        for (at, written_s) in written.iter().enumerate() {
            until.has_timestamps |= written_s.is_some();
            if !until.sees(&name, at, *written_s) {
                break;
            }
            taken += 1;
        }
        let ended = until.end();
        match expected {
            Ok(count) => assert!(ended.is_ok() && taken == count, "{taken}, {ended:?}"),
            Err(part) => {
                let error = ended.expect_err("undated").to_string();
                assert!(error.contains(part), "{error}");
            }
        }
    }

    #[test]
    fn what_counts() {
        check(&[], Ok(0));
        check(&[Some(9), Some(10), Some(10), Some(11), Some(9)], Ok(3));
        check(&[Some(11)], Ok(0));
        check(&[None, None, Some(8)], Ok(3));
        check(&[Some(8), None, Some(10), Some(11)], Ok(3));
        check(&[None, None], Err("no timestamps"));
        check(&[None, Some(11)], Err("from byte 0"));
        check(&[Some(8), None, Some(11)], Err("from byte 1"));
        check(&[Some(8), None], Err("from byte 1"));
    }
}
