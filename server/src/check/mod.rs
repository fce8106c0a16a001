//! `baton check`: whether the files of persistence are in order, what is in them, and what can be saved of them.
//!
//! | file       | holds                                                                     |
//! |------------|---------------------------------------------------------------------------|
//! | `request`  | the command line, also that of redis-check-rdb and redis-check-aof        |
//! | `snapshot` | a snapshot, key by key                                                    |
//! | `log`      | an append-only log: one file, or all that a manifest names                |
//! | `fixed`    | what is written beside the files; they themselves are never changed       |
//! | `progress` | the bar on a terminal                                                     |
//!
//! The report goes to standard output. The exit code is 0 when the files are in order or when what was asked for has been
//! written, else 1.

mod fixed;
mod log;
mod progress;
mod request;
mod snapshot;

pub use request::{Request, What, parse};

use baton::storage::{RealStorage, Storage, reason};
use bytes::Bytes;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Why a check could not be done, or what was asked for could not be written.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error("{path}: {why}")]
    File { path: String, why: String },
    #[error("{0}: it is a directory: name the file")]
    Directory(String),
    #[error("{dir}: expected one manifest in it, found {count}; name the file to check")]
    Manifests { dir: String, count: usize },
    #[error("{}: {path}: {error}", .error.headline())]
    Manifest { path: String, error: baton_engine::aof::manifest::ManifestError },
    #[error("{0}: it is there already: move it away first")]
    Exists(String),
    #[error("{0}")]
    NotFixable(String),
    #[error("writing the report: {0}")]
    Report(#[from] io::Error),
}

impl CheckError {
    fn file(path: &Path, error: &io::Error) -> Self {
        Self::File { path: path.display().to_string(), why: reason(error) }
    }
}

/// Checks what is asked for and prints the report. Whether all is well now.
pub fn run(request: &Request) -> bool {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    match report(request, now_ms, &mut out).and_then(|well| Ok(out.flush().map(|()| well)?)) {
        Ok(well) => well,
        Err(error) => {
            // What was found before belongs in front of it. When that cannot be printed there is nobody to tell.
            let _ = out.flush();
            eprintln!("{error}");
            false
        }
    }
}

fn report(request: &Request, now_ms: i64, out: &mut dyn Write) -> Result<bool, CheckError> {
    match request.what {
        What::Rdb => snapshot::report(request, now_ms, out),
        What::Aof => log::report(request, now_ms, out),
    }
}

/// All of a file, mapped.
fn read(path: &Path) -> Result<Bytes, CheckError> {
    if path.is_dir() {
        return Err(CheckError::Directory(path.display().to_string()));
    }
    RealStorage.read(path).map_err(|error| CheckError::file(path, &error))
}

/// The name of what is written beside a file.
fn fixed_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".fixed");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests;
