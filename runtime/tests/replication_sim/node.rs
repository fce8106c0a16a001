//! A node: its data, its history, its replicas, its disk.

use baton::replication::Moment;
use baton::replication::backlog::{Backlog, ReaderId};
use baton::replication::identity::{History, ReplId};
use baton::replication::primary::Replica;
use baton_engine::aof::block::{Annotator, Synced};
use baton_engine::aof::lineage::Named;
use baton_engine::aof::read::{Reader, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// How every write begins in the stream: a command of one argument, which is a key and a value.
const HEAD: &[u8] = b"*1\r\n$9\r\n";
/// Bytes of one write in the stream.
pub const WRITE: usize = HEAD.len() + 11;
/// Bytes of the stream that are kept: small, so that replicas often come too late.
pub const BACKLOG: u64 = 40 * WRITE as u64;

/// What a node holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Data {
    keys: BTreeMap<u8, u64>,
    /// All values ever written, each of which is written once in the world.
    pub values: BTreeSet<u64>,
}

impl Data {
    pub fn apply(&mut self, write: &[u8]) {
        let argument = write.strip_prefix(HEAD).and_then(|rest| rest.strip_suffix(b"\r\n"));
        let (key, value) = argument.and_then(<[u8]>::split_first).expect("a whole write");
        let value = u64::from_le_bytes(value.try_into().expect("a whole value"));
        self.keys.insert(*key, value);
        assert!(self.values.insert(value), "a write is applied twice");
    }
}

/// A write, as it lies in the stream.
pub fn write(key: u8, value: u64) -> Vec<u8> {
    [HEAD, &[key], &value.to_le_bytes(), b"\r\n"].concat()
}

/// What is on a node's disk.
#[derive(Clone, Debug)]
pub struct Saved {
    pub id: ReplId,
    pub offset: u64,
    pub data: Data,
}

/// A log on disk: what it begins with, and an increment, as the engine writes and reads it.
#[derive(Clone, Debug, Default)]
pub struct Log {
    base: Data,
    file: Vec<u8>,
    annotator: Annotator,
    /// Bytes that a power cut cannot take.
    synced: usize,
}

impl Log {
    fn name(&mut self, id: ReplId, off: u64) {
        self.file.extend_from_slice(&Named { id: id.bytes(), off, db: None }.line());
    }

    fn append(&mut self, block: &[u8], off: u64) {
        let synced = Some(Synced::UpTo(self.synced as u64));
        self.file.extend_from_slice(&self.annotator.annotate(block, off, synced, None));
        self.file.extend_from_slice(block);
    }

    pub fn sync(&mut self) {
        self.synced = self.file.len();
    }

    /// A power cut: so many of the bytes that were not synced are lost.
    pub fn lose(&mut self, choose: impl FnOnce(usize) -> usize) {
        let lost = choose(self.file.len() - self.synced + 1);
        self.file.truncate(self.file.len() - lost);
    }

    /// What a start finds, and the history that it claims.
    fn read(&mut self) -> (Data, Option<Saved>) {
        let mut data = self.base.clone();
        let mut reader = Reader::new(&self.file, 0);
        while let Some(unit) = reader.read() {
            for command in unit.commands() {
                data.apply(&[HEAD, command.args[0], b"\r\n"].concat());
            }
        }
        assert!(!matches!(reader.verdict(), Some(Verdict::Damaged { .. })), "{:?}", reader.verdict());
        let end = reader.position();
        self.annotator = end.annotator();
        self.file.truncate(end.offset);
        self.sync();
        let saved = Moment::of_log(&end).map(|moment| Saved {
            id: moment.id,
            offset: moment.offset,
            data: data.clone(),
        });
        (data, saved)
    }
}

/// A replica that a node serves, on this link.
#[derive(Debug)]
pub struct Serving {
    pub replica: Replica,
    pub reader: Option<ReaderId>,
    /// The snapshot for it, until that has been sent.
    pub snapshot: Option<Data>,
}

#[derive(Debug)]
pub struct Node {
    pub is_up: bool,
    /// How often it has crashed.
    pub crashes: u64,
    /// Whom it follows.
    pub of: Option<usize>,
    pub history: History,
    /// It may ask to go on where it is.
    pub knows: bool,
    pub offset: u64,
    pub data: Data,
    pub backlog: Backlog,
    pub served: BTreeMap<u64, Serving>,
    pub disk: Option<Saved>,
    /// In place of a snapshot.
    pub log: Option<Log>,
}

impl Node {
    pub fn new(id: ReplId, of: Option<usize>, has_log: bool) -> Self {
        let mut node = Self {
            is_up: true,
            crashes: 0,
            of,
            history: History::new(id),
            knows: false,
            offset: 0,
            data: Data::default(),
            backlog: Backlog::new(BACKLOG, 0),
            served: BTreeMap::new(),
            disk: None,
            log: has_log.then(Log::default),
        };
        if of.is_none() {
            node.tell_log();
        }
        node
    }

    /// The history has changed.
    pub fn tell_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.name(self.history.id, self.offset);
        }
    }

    /// A write, own or of the primary, as it lies in the stream.
    pub fn apply(&mut self, write: &[u8]) {
        self.data.apply(write);
        if let Some(log) = &mut self.log {
            log.append(write, self.offset);
        }
        self.offset += write.len() as u64;
        self.backlog.append(write);
        assert_eq!(self.backlog.end(), self.offset);
    }

    pub fn save(&mut self) {
        let (id, offset, data) = (self.history.id, self.offset, self.data.clone());
        self.disk = Some(Saved { id, offset, data });
    }

    /// All data are others from here on.
    pub fn become_copy(&mut self, id: ReplId, offset: u64, data: Data) {
        self.history.adopt(id);
        (self.offset, self.data, self.knows) = (offset, data, true);
        self.backlog.restart(offset);
        if let Some(log) = &mut self.log {
            *log = Log { base: self.data.clone(), ..Log::default() };
        }
        self.tell_log();
    }

    pub fn crash(&mut self) {
        self.is_up = false;
        self.crashes += 1;
        self.served.clear();
    }

    /// Comes back with what was on its disk.
    pub fn restart(&mut self, id: ReplId) {
        self.is_up = true;
        let (data, saved) = match &mut self.log {
            Some(log) => log.read(),
            None => {
                let saved = self.disk.clone();
                (saved.as_ref().map_or_else(Data::default, |saved| saved.data.clone()), saved)
            }
        };
        let offset = saved.as_ref().map_or(0, |saved| saved.offset);
        (self.offset, self.data, self.knows) = (offset, data, saved.is_some());
        self.history = History::new(id);
        match (saved, self.of) {
            (Some(saved), None) => self.history.resume(id, saved.id, saved.offset),
            (Some(saved), Some(_)) => self.history.adopt(saved.id),
            (None, _) => {}
        }
        self.backlog = Backlog::new(BACKLOG, offset);
        if self.knows || self.of.is_none() {
            self.tell_log();
        }
    }
}
