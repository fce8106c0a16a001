//! A node: its data, its history, its replicas, its disk.

use baton::replication::backlog::{Backlog, ReaderId};
use baton::replication::identity::{History, ReplId};
use baton::replication::primary::Replica;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of one write in the stream: a key and a value.
pub const WRITE: usize = 9;
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
        let value = u64::from_le_bytes(write[1..WRITE].try_into().expect("a whole write"));
        self.keys.insert(write[0], value);
        assert!(self.values.insert(value), "a write is applied twice");
    }
}

/// What is on a node's disk.
#[derive(Clone, Debug)]
pub struct Saved {
    pub id: ReplId,
    pub offset: u64,
    pub data: Data,
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
}

impl Node {
    pub fn new(id: ReplId, of: Option<usize>) -> Self {
        Self {
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
        }
    }

    /// A write, own or of the primary, as it lies in the stream.
    pub fn apply(&mut self, write: &[u8]) {
        self.data.apply(write);
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
    }

    pub fn crash(&mut self) {
        self.is_up = false;
        self.crashes += 1;
        self.served.clear();
    }

    /// Comes back with what was on its disk.
    pub fn restart(&mut self, id: ReplId) {
        self.is_up = true;
        let saved = self.disk.clone();
        let (offset, data) =
            saved.as_ref().map_or((0, Data::default()), |saved| (saved.offset, saved.data.clone()));
        (self.offset, self.data, self.knows) = (offset, data, saved.is_some());
        self.history = History::new(id);
        match (saved, self.of) {
            (Some(saved), None) => self.history.resume(id, saved.id, saved.offset),
            (Some(saved), Some(_)) => self.history.adopt(saved.id),
            (None, _) => {}
        }
        self.backlog = Backlog::new(BACKLOG, offset);
    }
}
