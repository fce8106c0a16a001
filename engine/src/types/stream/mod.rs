//! Streams: entries that only come at the end, and groups of consumers that share them.
//!
//! ```text
//! Stream -- Log: node, node, node ..., tail       in order of the id of their first entry
//!        `- groups by name: what was delivered last, what is pending, consumers by name
//! ```
//!
//! | file     | holds                                                                                   |
//! |----------|-----------------------------------------------------------------------------------------|
//! | `id`     | ids of entries                                                                          |
//! | `node`   | up to a hundred entries in one listpack, byte for byte as Redis keeps and saves them     |
//! | `log`    | the nodes in order: append, seek, delete; the books about what was ever there             |
//! | `trim`   | removing from the front, whole nodes where that is enough                               |
//! | `groups` | consumer groups: pending entries, by group and by consumer                              |
//!
//! The groups know ids, not entries: an entry may be gone while it is still pending.

mod groups;
mod id;
mod log;
mod node;
#[cfg(test)]
mod tests;
mod trim;

pub use groups::{Consumer, ConsumerId, Group, Pending};
pub use id::{IdText, StreamId};
pub use log::{Books, Entry, Log, NodeLimits, Range, RangeBack};
pub use node::Fields;
pub use trim::{Removed, Trim};

use std::collections::BTreeMap;
use std::collections::btree_map;

/// A stream with its groups.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    log: Log,
    groups: BTreeMap<Box<[u8]>, Group>,
}

impl Stream {
    /// A stream without entries that never had any.
    pub fn new() -> Self {
        Self::default()
    }

    /// A stream of these entries, without groups.
    pub fn of(log: Log) -> Self {
        Self { log, groups: BTreeMap::new() }
    }

    /// The entries.
    #[inline]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The entries, to change.
    #[inline]
    pub fn log_mut(&mut self) -> &mut Log {
        &mut self.log
    }

    /// The groups in order of their names.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&[u8], &Group)> {
        self.groups.iter().map(|(name, group)| (&**name, group))
    }

    /// The group of this name.
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name)
    }

    /// The entries, and the group of this name to change.
    pub fn group_mut(&mut self, name: &[u8]) -> (&Log, Option<&mut Group>) {
        (&self.log, self.groups.get_mut(name))
    }

    /// Adds a group; false when there is one of this name.
    pub fn add_group(&mut self, name: &[u8], group: Group) -> bool {
        match self.groups.entry(name.into()) {
            btree_map::Entry::Occupied(_) => false,
            btree_map::Entry::Vacant(place) => {
                place.insert(group);
                true
            }
        }
    }

    /// Takes a group out.
    pub fn remove_group(&mut self, name: &[u8]) -> Option<Group> {
        self.groups.remove(name)
    }

    /// Bytes on the heap. Looks at `samples` nodes, and at `samples` consumers of each group; 0 asks for all.
    pub fn memory_usage(&self, samples: usize) -> usize {
        let groups = self.groups.iter().map(|(name, group)| name.len() + group.memory_usage());
        self.log.memory_usage(samples) + groups.sum::<usize>()
    }

    /// How many parts have to be freed: nodes, and what is pending.
    pub fn effort_to_free(&self) -> usize {
        self.log.node_count() + self.groups.values().map(|group| 1 + group.pending_len()).sum::<usize>()
    }

    /// Checks what every stream promises of itself.
    #[cfg(any(test, feature = "testing"))]
    pub fn assert_invariants(&self) {
        self.log.assert_invariants();
        self.groups.values().for_each(Group::assert_invariants);
    }
}
