//! A connection: messages on their way, in order, each after some time; lost all at once when it is cut.

use crate::node::Data;
use baton::replication::handshake::{Facts, Handshake};
use baton::replication::identity::ReplId;
use std::collections::VecDeque;

/// To the primary: a command.
pub type Command = Vec<Vec<u8>>;

/// To the replica.
#[derive(Clone, Debug)]
pub enum Down {
    /// An answer.
    Line(Vec<u8>),
    /// A snapshot.
    Snapshot(Data),
    /// Bytes of the stream.
    Bytes(Vec<u8>),
}

/// What a replica is doing on its link.
#[derive(Debug)]
pub enum Taking {
    /// It is being introduced.
    Handshake(Handshake, Facts),
    /// It waits for a snapshot of this history, which stands at this offset.
    Snapshot(ReplId, u64),
    /// It follows the stream.
    Stream,
}

/// A connection of a replica with its primary.
#[derive(Debug)]
pub struct Link {
    pub id: u64,
    pub replica: usize,
    pub primary: usize,
    pub taking: Taking,
    /// Bytes of the stream that are no whole write yet.
    pub rest: Vec<u8>,
    up: VecDeque<(i64, Command)>,
    down: VecDeque<(i64, Down)>,
}

impl Link {
    pub fn new(id: u64, replica: usize, primary: usize, taking: Taking) -> Self {
        let (up, down) = (VecDeque::new(), VecDeque::new());
        Self { id, replica, primary, taking, rest: Vec::new(), up, down }
    }

    pub fn send_up(&mut self, arrives_ms: i64, command: Command) {
        let arrives_ms = self.up.back().map_or(arrives_ms, |(last, _)| arrives_ms.max(*last));
        self.up.push_back((arrives_ms, command));
    }

    pub fn send_down(&mut self, arrives_ms: i64, down: Down) {
        let arrives_ms = self.down.back().map_or(arrives_ms, |(last, _)| arrives_ms.max(*last));
        self.down.push_back((arrives_ms, down));
    }

    pub fn arrived_up(&mut self, now_ms: i64) -> Option<Command> {
        pop_arrived(&mut self.up, now_ms).map(|(_, command)| command)
    }

    pub fn arrived_down(&mut self, now_ms: i64) -> Option<Down> {
        pop_arrived(&mut self.down, now_ms).map(|(_, down)| down)
    }
}

/// The first of a queue, if it has arrived by now.
fn pop_arrived<T>(queue: &mut VecDeque<(i64, T)>, now_ms: i64) -> Option<(i64, T)> {
    let has_arrived = queue.front().is_some_and(|(arrives_ms, _)| *arrives_ms <= now_ms);
    if has_arrived { queue.pop_front() } else { None }
}
