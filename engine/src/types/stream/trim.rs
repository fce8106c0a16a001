//! Removing entries from the front.

use super::Stream;
use super::id::StreamId;
use super::log::{Log, last_raw};
use super::node::{Doomed, Node};
use std::collections::BTreeMap;

/// Up to so many nodes are taken out one by one; more by cutting the tree in two.
const ONE_BY_ONE: usize = 16;

/// What may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trim {
    /// So many entries.
    MaxLen(u64),
    /// Entries from this id on.
    MinId(StreamId),
}

/// What was removed. Freeing many nodes takes time: whoever has them decides where.
#[derive(Debug, Default)]
pub struct Removed {
    /// How many entries.
    pub entries: u64,
    nodes: BTreeMap<StreamId, Node>,
}

impl Removed {
    /// Whole nodes among it.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// The removed nodes as a stream that nobody needs.
    pub fn into_debris(self) -> Stream {
        let mut log = Log::default();
        log.nodes = self.nodes;
        Stream::of(log)
    }
}

impl Log {
    /// Removes from the front what may not stay: only whole nodes when `approx`, and not more than `limit` entries when that
    /// is not 0. O(nodes removed + entries of one node).
    pub fn trim(&mut self, trim: Trim, approx: bool, limit: u64) -> Removed {
        let mut removed = self.trim_nodes(trim, limit);
        // What a limit stops has not come to the node that would be trimmed in part; an exact trim has no limit.
        if !approx {
            removed.entries += self.trim_first_node(trim);
        }
        if removed.entries > 0 {
            self.find_first_id();
        }
        removed
    }

    fn trim_nodes(&mut self, trim: Trim, limit: u64) -> Removed {
        let (mut count, mut entries, mut kept) = (0, 0u64, None);
        for (base, node) in self.nodes.iter().chain(self.tail.as_ref().map(|(base, node)| (base, node))) {
            let (live, left) = (node.live(), self.len - entries);
            let goes = match trim {
                Trim::MaxLen(max) => left > max && left - live >= max,
                Trim::MinId(min) => last_raw(*base, node).is_none_or(|last| last < min),
            };
            if !goes || limit > 0 && entries + live > limit {
                kept = Some(*base);
                break;
            }
            (count, entries) = (count + 1, entries + live);
        }
        self.len -= entries;
        Removed { entries, nodes: self.take_nodes(count, kept) }
    }

    /// Takes the first `count` nodes out; `kept` is the base of the one behind them.
    fn take_nodes(&mut self, count: usize, kept: Option<StreamId>) -> BTreeMap<StreamId, Node> {
        let Some(kept) = kept else {
            let mut all = std::mem::take(&mut self.nodes);
            all.extend(self.tail.take());
            return all;
        };
        if count <= ONE_BY_ONE {
            return (0..count).map_while(|_| self.nodes.pop_first()).collect();
        }
        let rest = self.nodes.split_off(&kept);
        std::mem::replace(&mut self.nodes, rest)
    }

    /// Deletes at the front of the first node; how many entries.
    fn trim_first_node(&mut self, trim: Trim) -> u64 {
        let over = match trim {
            Trim::MaxLen(max) => self.len.saturating_sub(max),
            Trim::MinId(_) => self.len,
        };
        let first = match self.nodes.first_entry() {
            Some(entry) => Some((*entry.key(), entry.into_mut())),
            None => self.tail.as_mut().map(|(base, node)| (*base, node)),
        };
        let (Some((base, node)), 1..) = (first, over) else { return 0 };
        let stays = |id: StreamId| matches!(trim, Trim::MinId(min) if id >= min);
        let doomed: Vec<Doomed> = node
            .entries(base)
            .take_while(|entry| !stays(entry.id))
            .filter(|entry| !entry.is_deleted())
            .take(usize::try_from(over).unwrap_or(usize::MAX))
            .map(|entry| Doomed::from(&entry))
            .collect();
        let count = doomed.len() as u64;
        if count == node.live() {
            self.remove_node(base);
        } else if count > 0 {
            node.delete(&doomed);
        }
        self.len -= count;
        count
    }
}
