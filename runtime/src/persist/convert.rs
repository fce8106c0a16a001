//! A snapshot that has been written becomes a base of plain commands, file to file.
//!
//! The commands go out in blocks with the annotations of the log, so that damage is found in such a base as in an increment.

use crate::node::Node;
use crate::snapshot::SnapshotError;
use crate::storage::mapped;
use baton_engine::aof::block::Annotator;
use baton_engine::aof::rewrite::Converter;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Collected before it is written: a block.
const WRITE_BYTES: usize = 1 << 20;
/// Written before it is synced, so that the sync at the end finds little to do.
const SYNC_BYTES: u64 = 16 << 20;

/// How far a conversion has come.
#[derive(Debug, Default)]
pub struct Converted {
    /// Bytes of the snapshot; 0 when none is being converted.
    pub total: AtomicU64,
    /// Bytes of it that have been converted.
    pub done: AtomicU64,
}

/// How commands are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct CommandOptions {
    /// Begins with the second in which the snapshot was taken (`aof-timestamp-enabled`).
    pub timestamps: bool,
    /// Syncs along the way.
    pub incremental_sync: bool,
}

/// Writes the commands that make what `snapshot` holds to `temp`, and gives that the name `base` when it is safe. Removes the
/// snapshot, or what is half done. The length of the base.
pub(super) fn to_commands(
    node: &Arc<Node>,
    snapshot: &Path,
    temp: &Path,
    base: &Path,
    options: CommandOptions,
) -> Result<u64, SnapshotError> {
    let storage = node.storage();
    let written = write(node, snapshot, temp, options).and_then(|len| {
        storage.rename(temp, base).map_err(failed("rename", temp))?;
        let dir = base.parent().unwrap_or(Path::new("."));
        storage.sync_dir(dir).map_err(failed("sync the directory", dir))?;
        Ok(len)
    });
    let converted = &node.log.converted;
    converted.total.store(0, Ordering::Relaxed);
    converted.done.store(0, Ordering::Relaxed);
    if written.is_err() {
        // What is half done is of no use; that it cannot be removed does not matter either.
        drop(storage.remove(temp));
    }
    drop(storage.remove(snapshot));
    written
}

fn write(
    node: &Arc<Node>,
    snapshot: &Path,
    temp: &Path,
    options: CommandOptions,
) -> Result<u64, SnapshotError> {
    let storage = node.storage();
    let faults = mapped::faults();
    let bytes = storage.read(snapshot).map_err(failed("read", snapshot))?;
    let file = storage.create(temp).map_err(failed("create", temp))?;
    node.log.converted.total.store(bytes.len() as u64, Ordering::Relaxed);
    let settings = node.settings().clone();
    let mut converter = Converter::new(&bytes, &settings, node.hasher());
    let (mut annotator, mut block) = (Annotator::new(), Vec::new());
    let (mut offset, mut synced) = (0, 0);
    loop {
        let format = |error| SnapshotError::Format(format!("{}: {error}", snapshot.display()));
        let goes_on = converter.step(&mut block).map_err(format)?;
        if block.len() >= WRITE_BYTES || !goes_on && !block.is_empty() {
            let now_s = converter.saved_s().filter(|_| options.timestamps);
            let lines = annotator.annotate(&block, offset, None, now_s);
            file.append(&[&lines, &block]).map_err(failed("write", temp))?;
            offset += block.len() as u64;
            block.clear();
            block.shrink_to(WRITE_BYTES * 2);
            node.log.converted.done.store(converter.offset() as u64, Ordering::Relaxed);
            if options.incremental_sync && offset >= synced + SYNC_BYTES {
                file.sync_data().map_err(failed("sync", temp))?;
                synced = offset;
            }
        }
        if !goes_on {
            break;
        }
    }
    if mapped::faults() != faults {
        return Err(SnapshotError::Format(format!("{} could not be read back", snapshot.display())));
    }
    file.sync_data().map_err(failed("sync", temp))?;
    file.len().map_err(failed("measure", temp))
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> SnapshotError + use<> {
    let path = path.to_owned();
    move |error| SnapshotError::File { doing, path, error: Arc::new(error) }
}
