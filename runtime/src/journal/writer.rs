//! The writer of the log: puts what is pending into files, block by block, and keeps the health of the log.

use super::health::{Event, Health};
use super::pending::{Cut, CutKind, LogFile, Pending};
use crate::storage::{File, reason};
use baton_engine::aof::block::Synced;
use baton_engine::aof::lineage::Named;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// An empty buffer that is larger than this is given back.
const KEEP_BYTES: usize = 4 * 1024 * 1024;

/// Holds the files. Under a lock of its own: who pushes never waits for the disk.
#[derive(Debug, Default)]
pub(super) struct Writer {
    current: Option<LogFile>,
    /// Bytes of the current file that are known to be synced.
    synced_bytes: u64,
    /// The last file with anything in it that the log has left: how many files ago, and its bytes.
    left: (u64, u64),
    /// Files that the log has left, whose last bytes may not be synced yet.
    retired: Vec<Retired>,
    /// Those of them that are being synced.
    syncing: Vec<Retired>,
    backlog: Vec<u8>,
    /// Bytes of the backlog that have been written.
    done: usize,
    /// What the current file begins with although it is no part of the stream.
    prefix: Vec<u8>,
    /// The history that the log belongs to, which the file does not say yet.
    untold: Option<Named>,
    /// Cuts in the backlog that the log has not reached.
    cuts: VecDeque<Cut>,
    /// Everything before this has been written.
    pub offset: u64,
    pub health: Health,
}

/// A file that the log has left.
#[derive(Debug)]
struct Retired {
    file: Arc<dyn File>,
    /// At this offset.
    end: u64,
}

/// Files to sync, the current one last, and what is safe after it.
pub(super) struct Unsynced {
    pub files: Vec<Arc<dyn File>>,
    pub offset: u64,
    /// Bytes of the current file.
    bytes: u64,
}

impl Writer {
    /// Takes over what is pending: without copying, unless something is left from a write that failed.
    pub fn take(&mut self, pending: &mut Pending) {
        if self.backlog.is_empty() {
            std::mem::swap(&mut self.backlog, &mut pending.bytes);
        } else {
            for cut in &mut pending.cuts {
                cut.at += self.backlog.len();
            }
            self.backlog.append(&mut pending.bytes);
        }
        self.cuts.extend(pending.cuts.drain(..));
    }

    /// Writes all of the backlog, a block per file. `now_s` when timestamps are wanted.
    pub fn write(&mut self, now_s: Option<i64>) {
        if let Health::Distrusted(_) = self.health {
            return;
        }
        if let (Health::Torn(_), Some(current)) = (&self.health, &self.current) {
            if current.file.truncate(current.len).is_err() {
                return;
            }
            self.on(Event::CutBack);
        }
        match self.write_blocks(now_s) {
            Ok(()) => {
                self.on(Event::Wrote);
                self.forget_backlog();
            }
            Err(error) => {
                let cut_back = self.current.as_ref().is_none_or(|log| log.file.truncate(log.len).is_ok());
                self.on(Event::WriteFailed { why: reason(&error), cut_back });
            }
        }
    }

    fn write_blocks(&mut self, now_s: Option<i64>) -> io::Result<()> {
        loop {
            let end = self.cuts.front().map_or(self.backlog.len(), |cut| cut.at);
            let synced = self.known_synced();
            let block = self.backlog.get(self.done..end).unwrap_or_default();
            if let (Some(log), Some(named)) = (&mut self.current, self.untold) {
                let line = named.line();
                log.file.append(&[&line])?;
                log.len += line.len() as u64;
                self.untold = None;
            }
            if let (Some(log), false) = (&mut self.current, block.is_empty()) {
                if !self.prefix.is_empty() {
                    // It takes no room in the stream: it ends where the next block begins.
                    let before = self.offset.saturating_sub(self.prefix.len() as u64);
                    append(log, &self.prefix, before, synced, now_s)?;
                    self.prefix.clear();
                }
                append(log, block, self.offset, synced, now_s)?;
            }
            self.offset += block.len() as u64;
            self.done = end;
            let Some(cut) = self.cuts.pop_front() else { return Ok(()) };
            self.pass(cut);
        }
    }

    /// What is known to be safe, which each block says: so a start can tell what a power cut took from what was damaged later.
    fn known_synced(&self) -> Synced {
        match self.retired.is_empty() && self.syncing.is_empty() {
            true => Synced::UpTo(self.synced_bytes),
            false => Synced::NotBefore { back: self.left.0, bytes: self.left.1 },
        }
    }

    /// Goes on in the file of a cut.
    fn pass(&mut self, cut: Cut) {
        self.offset = cut.offset;
        self.untold = cut.named;
        let CutKind::File { next, prefix } = cut.kind else { return };
        self.synced_bytes = 0;
        if let Some(log) = self.current.take() {
            self.left = if log.len > 0 { (1, log.len) } else { (self.left.0 + 1, self.left.1) };
            self.retired.push(Retired { file: log.file, end: cut.offset });
        }
        self.current = next;
        self.prefix = prefix;
    }

    /// Goes on at the last cut not later than this offset: what was to be written before it is safe elsewhere.
    pub fn replaced(&mut self, offset: u64) {
        while self.cuts.front().is_some_and(|cut| cut.offset <= offset) {
            let Some(cut) = self.cuts.pop_front() else { break };
            self.done = cut.at;
            self.pass(cut);
        }
        // They hold nothing that is not in the new base.
        for files in [&mut self.retired, &mut self.syncing] {
            files.retain(|retired| retired.end > offset);
        }
        self.on(Event::Replaced);
    }

    /// What a sync has to do now. One at a time, and each ends with [`synced`](Self::synced).
    pub fn unsynced(&mut self) -> Unsynced {
        self.syncing.append(&mut self.retired);
        let files = self.syncing.iter().map(|retired| &retired.file);
        let files = files.chain(self.current.as_ref().map(|log| &log.file)).cloned().collect();
        Unsynced { files, offset: self.offset, bytes: self.file_bytes() }
    }

    /// A sync is over. One that failed matters if the log still needs the file.
    pub fn synced(&mut self, unsynced: &Unsynced, failed: Option<(&Arc<dyn File>, io::Error)>) {
        let syncing = std::mem::take(&mut self.syncing);
        let Some((file, error)) = failed else {
            let current = self.current.as_ref().map(|log| &log.file);
            if current.zip(unsynced.files.last()).is_some_and(|(current, last)| Arc::ptr_eq(current, last)) {
                self.synced_bytes = unsynced.bytes;
            }
            return;
        };
        let needed = syncing.iter().map(|retired| &retired.file);
        let current = self.current.as_ref().map(|log| &log.file);
        let retired = self.retired.iter().map(|retired| &retired.file);
        if needed.chain(current).chain(retired).any(|needed| Arc::ptr_eq(needed, file)) {
            self.distrust(&error);
        } else {
            // The others may not have had their turn.
            self.retired.splice(0..0, syncing);
        }
    }

    /// What was written is not safe, and nobody knows what of it is.
    pub fn distrust(&mut self, error: &io::Error) {
        self.on(Event::SyncFailed(reason(error)));
    }

    /// Whether a file waits for its last sync.
    pub fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// Bytes of the file that is written to.
    pub fn file_bytes(&self) -> u64 {
        self.current.as_ref().map_or(0, |log| log.len)
    }

    /// Bytes that could not be written yet.
    pub fn backlog_bytes(&self) -> usize {
        self.backlog.len() - self.done
    }

    fn on(&mut self, event: Event) {
        self.health = std::mem::take(&mut self.health).on(event);
    }

    fn forget_backlog(&mut self) {
        self.backlog.clear();
        self.done = 0;
        if self.backlog.capacity() > KEEP_BYTES {
            self.backlog = Vec::new();
        }
    }
}

/// Appends a block with its annotations.
fn append(
    log: &mut LogFile,
    block: &[u8],
    offset: u64,
    synced: Synced,
    now_s: Option<i64>,
) -> io::Result<()> {
    let mut annotator = log.annotator;
    let lines = annotator.annotate(block, offset, Some(synced), now_s);
    log.file.append(&[&lines, block])?;
    log.annotator = annotator;
    log.len += (lines.len() + block.len()) as u64;
    Ok(())
}
