//! What has been pushed and not written yet, in the one order that all readers of the log see.

use baton_engine::aof::block::Annotator;
use baton_engine::aof::lineage::Named;
use baton_engine::effects::{Effects, MULTI, encode};
use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use crate::storage::File;

/// A file that the log goes on in.
#[derive(Clone, Debug)]
pub struct LogFile {
    /// The file.
    pub file: Arc<dyn File>,
    /// Its length, which is the end of a whole block.
    pub len: u64,
    /// Goes on with the annotations of the file.
    pub annotator: Annotator,
}

impl LogFile {
    /// A file that has just been created.
    pub fn empty(file: Arc<dyn File>) -> Self {
        Self { file, len: 0, annotator: Annotator::new() }
    }
}

/// Somebody who follows the log: a replica, a slot on its way to another node.
///
/// Called under the lock of the log and under the batons of the writer: must only take the bytes and return.
pub trait Reader: Send {
    /// Bytes of the log, whole commands, the first of them at `offset`. What belongs together may come in several calls.
    fn take(&mut self, offset: u64, bytes: &[u8]);
}

/// A point in the order where the log goes on elsewhere.
#[derive(Debug)]
pub(super) struct Cut {
    /// Where in the bytes.
    pub at: usize,
    pub offset: u64,
    pub kind: CutKind,
    /// The history that the log belongs to from here on, if it is to be told.
    pub named: Option<Named>,
}

/// What is different behind a cut.
#[derive(Debug)]
pub(super) enum CutKind {
    /// The file.
    File {
        /// It goes on in this one, or in none.
        next: Option<LogFile>,
        /// What the file begins with although it is no part of the stream: the selection of the stream's database.
        prefix: Vec<u8>,
    },
    /// Only the name of the history.
    Name,
}

/// What has been pushed and not written yet.
#[derive(Default)]
pub(super) struct Pending {
    pub bytes: Vec<u8>,
    /// In ascending order.
    pub cuts: Vec<Cut>,
    /// Offset of the end: of the next byte that is pushed.
    pub end: u64,
    /// The database that the log is in; unknown at the beginning of a file or for a new reader.
    db: Option<usize>,
    /// Only what a primary sends is pushed, and this is the database that its stream is in.
    stream_db: Option<usize>,
    /// The name of the history, once somebody may ask for it.
    history: Option<[u8; 40]>,
    has_file: bool,
    readers: Vec<(u64, Box<dyn Reader>)>,
    next_reader: u64,
}

impl Pending {
    /// Whether anybody wants the effects of commands.
    pub fn is_wanted(&self) -> bool {
        self.stream_db.is_none() && (self.has_file || !self.readers.is_empty())
    }

    /// From here on only the stream of a primary is pushed, which is in this database; or effects again, with `None`.
    pub fn set_stream_db(&mut self, db: Option<usize>) {
        self.stream_db = db;
        self.db = None;
    }

    /// The database that the stream of the primary is in, if that is what is pushed.
    pub fn stream_db(&self) -> Option<usize> {
        self.stream_db
    }

    /// Takes over bytes of a primary's stream, whole commands and transactions, after which it is in this database.
    pub fn push_stream(&mut self, bytes: &[u8], db: usize) {
        self.stream_db = Some(db);
        for (_, reader) in &mut self.readers {
            reader.take(self.end, bytes);
        }
        self.end += bytes.len() as u64;
        if self.has_file {
            self.bytes.extend_from_slice(bytes);
        }
    }

    pub fn push(&mut self, effects: &Effects) {
        if !self.is_wanted() {
            return;
        }
        let start = self.bytes.len();
        for (db, mut bytes) in effects.stretches() {
            if self.db != Some(db) {
                self.db = Some(db);
                // A transaction selects its database itself, as that of Redis does.
                if let Some(rest) = bytes.strip_prefix(MULTI) {
                    self.bytes.extend_from_slice(MULTI);
                    bytes = rest;
                }
                encode(&[b"SELECT", itoa::Buffer::new().format(db).as_bytes()], &mut self.bytes);
            }
            self.bytes.extend_from_slice(bytes);
        }
        self.pass_on(start);
    }

    /// Appends whole commands as they are, which leave the log in the database that it is in.
    pub fn push_raw(&mut self, bytes: &[u8]) {
        if self.is_wanted() {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(bytes);
            self.pass_on(start);
        }
    }

    /// Gives what was appended from `start` on to all who want it.
    fn pass_on(&mut self, start: usize) {
        let pushed = &self.bytes[start..];
        for (_, reader) in &mut self.readers {
            reader.take(self.end, pushed);
        }
        self.end += pushed.len() as u64;
        if !self.has_file {
            self.bytes.truncate(start);
        }
    }

    /// From here on the log goes on in another file, or in none.
    pub fn cut(&mut self, next: Option<LogFile>) -> u64 {
        self.has_file = next.is_some();
        self.db = None;
        let mut prefix = Vec::new();
        let is_empty = next.as_ref().is_some_and(|file| file.len == 0);
        // Files begin in database 0, and the stream goes on in whichever it is in.
        if let Some(db) = self.stream_db.filter(|db| is_empty && *db > 0) {
            encode(&[b"SELECT", itoa::Buffer::new().format(db).as_bytes()], &mut prefix);
        }
        self.push_cut(CutKind::File { next, prefix });
        self.end
    }

    /// From here on the log belongs to the history of this name, which it says.
    pub fn name_history(&mut self, id: [u8; 40]) {
        self.history = Some(id);
        if self.has_file {
            self.push_cut(CutKind::Name);
        }
    }

    fn push_cut(&mut self, kind: CutKind) {
        let (off, db) = (self.end, self.stream_db);
        let named = self.history.map(|id| Named { id, off, db });
        self.cuts.push(Cut { at: self.bytes.len(), offset: off, kind, named });
    }

    pub fn join(&mut self, anew: bool) -> (u64, usize) {
        if anew {
            self.db = None;
        }
        (self.end, self.stream_db.or(self.db).unwrap_or(0))
    }

    pub fn subscribe(&mut self, reader: Box<dyn Reader>) -> (u64, u64) {
        self.db = None;
        self.next_reader += 1;
        self.readers.push((self.next_reader, reader));
        (self.next_reader, self.end)
    }

    pub fn unsubscribe(&mut self, id: u64) {
        self.readers.retain(|(other, _)| *other != id);
    }
}

impl Debug for Pending {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending")
            .field("bytes", &self.bytes.len())
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    struct Collects(Arc<Mutex<Vec<u8>>>);

    impl Reader for Collects {
        fn take(&mut self, _: u64, bytes: &[u8]) {
            self.0.lock().extend_from_slice(bytes);
        }
    }

    #[test]
    fn a_transaction_selects_its_database_inside() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut pending = Pending::default();
        pending.subscribe(Box::new(Collects(seen.clone())));
        let mut push = |work: fn(&mut Effects)| {
            let mut effects = Effects::new(true);
            work(&mut effects);
            pending.push(&effects);
            let text = String::from_utf8(std::mem::take(&mut *seen.lock())).expect("text");
            text.lines().filter(|line| !line.starts_with(['*', '$'])).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(push(|effects| effects.also(0, &[b"DEL", b"a"])), "SELECT 0 DEL a");
        let several = |effects: &mut Effects| {
            effects.begin_transaction();
            effects.also(3, &[b"DEL", b"a"]);
            effects.also(3, &[b"DEL", b"b"]);
            effects.also(5, &[b"DEL", b"c"]);
            effects.end_transaction();
        };
        let written = "MULTI SELECT 3 DEL a DEL b SELECT 5 DEL c EXEC";
        assert_eq!(push(several), written);
        assert_eq!(push(several), written);
        let one = |effects: &mut Effects| {
            effects.begin_transaction();
            effects.also(5, &[b"DEL", b"a"]);
            effects.end_transaction();
        };
        assert_eq!(push(one), "DEL a");
    }
}
