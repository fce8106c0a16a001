//! Consumer groups: what was delivered and not acknowledged, by group and by consumer.
//!
//! Invariant: every pending entry of a group belongs to one of its consumers, who has it in its own list, and the other
//! way round.

use super::id::StreamId;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeInclusive};
use std::sync::Arc;

/// About what a pending entry takes in both lists.
const PENDING_BYTES: usize = 104;
/// About what a consumer takes besides its name.
const CONSUMER_BYTES: usize = 160;

/// A group.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// The last entry that was delivered.
    pub last_id: StreamId,
    /// How many entries up to that one there ever were, if that is known.
    pub entries_read: Option<u64>,
    pending: BTreeMap<StreamId, Pending>,
    names: BTreeMap<Arc<[u8]>, ConsumerId>,
    /// By id; consumers that are gone leave a hole.
    consumers: Vec<Option<Consumer>>,
}

/// A consumer of a group, as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerId(u32);

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// When it was delivered last, in Unix milliseconds.
    pub delivered_ms: i64,
    /// How often.
    pub deliveries: u64,
    /// To whom.
    pub consumer: ConsumerId,
}

/// A consumer.
#[derive(Clone, Debug)]
pub struct Consumer {
    name: Arc<[u8]>,
    /// When it was last heard of, in Unix milliseconds.
    pub seen_ms: i64,
    /// When it last got something; `None` before it ever did.
    pub active_ms: Option<i64>,
    pending: BTreeSet<StreamId>,
}

impl Consumer {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// How many entries it has not acknowledged.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// The entries that it has not acknowledged.
    pub fn pending(&self, ids: RangeInclusive<StreamId>) -> impl Iterator<Item = StreamId> {
        self.pending.range(bounds(ids)).copied()
    }
}

/// The bounds of a range, an empty one if it is the wrong way round: the trees do not take that.
fn bounds(ids: RangeInclusive<StreamId>) -> (Bound<StreamId>, Bound<StreamId>) {
    if ids.start() <= ids.end() {
        (Bound::Included(*ids.start()), Bound::Included(*ids.end()))
    } else {
        (Bound::Excluded(StreamId::MAX), Bound::Unbounded)
    }
}

impl Group {
    /// A group that goes on after `last_id`.
    pub fn new(last_id: StreamId, entries_read: Option<u64>) -> Self {
        Self { last_id, entries_read, ..Self::default() }
    }

    // ---- consumers -----------------------------------------------------------------------------------------

    /// The consumers in order of their names.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = &Consumer> {
        // Every name stands for a consumer that is there.
        self.names.values().map(|id| self.consumers[id.0 as usize].as_ref().expect("a consumer with a name"))
    }

    /// The consumer of this name.
    pub fn consumer_id(&self, name: &[u8]) -> Option<ConsumerId> {
        self.names.get(name).copied()
    }

    /// The consumer with this id.
    pub fn consumer(&self, id: ConsumerId) -> Option<&Consumer> {
        self.consumers.get(id.0 as usize)?.as_ref()
    }

    /// The consumer with this id, to change.
    pub fn consumer_mut(&mut self, id: ConsumerId) -> Option<&mut Consumer> {
        self.consumers.get_mut(id.0 as usize)?.as_mut()
    }

    /// The name of the consumer with this id.
    pub fn name_of(&self, id: ConsumerId) -> &[u8] {
        self.consumer(id).map(Consumer::name).unwrap_or_default()
    }

    /// The same, to be kept.
    pub fn shared_name_of(&self, id: ConsumerId) -> Arc<[u8]> {
        self.consumer(id).map_or_else(|| Arc::from(&b""[..]), |consumer| consumer.name.clone())
    }

    /// Adds a consumer; `None` when there is one of this name.
    pub fn add_consumer(&mut self, name: &[u8], now_ms: i64) -> Option<ConsumerId> {
        if self.names.contains_key(name) {
            return None;
        }
        let name: Arc<[u8]> = name.into();
        let consumer =
            Consumer { name: name.clone(), seen_ms: now_ms, active_ms: None, pending: BTreeSet::new() };
        // Holes are rare, and so are new consumers where there are many.
        let hole = if self.names.len() < self.consumers.len() {
            self.consumers.iter().position(Option::is_none)
        } else {
            None
        };
        let at = hole.unwrap_or(self.consumers.len());
        match self.consumers.get_mut(at) {
            Some(place) => *place = Some(consumer),
            None => self.consumers.push(Some(consumer)),
        }
        let id = ConsumerId(u32::try_from(at).ok()?);
        self.names.insert(name, id);
        Some(id)
    }

    /// Removes a consumer with all that it has not acknowledged; how much that was.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let id = self.names.remove(name)?;
        let consumer = self.consumers.get_mut(id.0 as usize)?.take()?;
        for entry in &consumer.pending {
            self.pending.remove(entry);
        }
        Some(consumer.pending.len())
    }

    // ---- pending entries -----------------------------------------------------------------------------------

    /// How many entries are pending.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// The pending entries of these ids.
    pub fn pending(
        &self,
        ids: RangeInclusive<StreamId>,
    ) -> impl DoubleEndedIterator<Item = (StreamId, &Pending)> {
        self.pending.range(bounds(ids)).map(|(id, pending)| (*id, pending))
    }

    /// The pending entry of this id.
    pub fn get(&self, id: StreamId) -> Option<&Pending> {
        self.pending.get(&id)
    }

    /// The entry is pending for this consumer from now on, with these times and counts, whoever had it before.
    pub fn assign(&mut self, id: StreamId, pending: Pending) {
        let before = self.pending.insert(id, pending);
        if let Some(before) = before.filter(|before| before.consumer != pending.consumer)
            && let Some(consumer) = self.consumer_mut(before.consumer)
        {
            consumer.pending.remove(&id);
        }
        if before.is_none_or(|before| before.consumer != pending.consumer)
            && let Some(consumer) = self.consumer_mut(pending.consumer)
        {
            consumer.pending.insert(id);
        }
    }

    /// The entry of this id was delivered once more to the consumer that has it.
    pub fn redeliver(&mut self, id: StreamId, now_ms: i64) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.delivered_ms = now_ms;
            pending.deliveries = pending.deliveries.wrapping_add(1);
        }
    }

    /// The entry is not pending any more; what it was, if it was.
    pub fn acknowledge(&mut self, id: StreamId) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        if let Some(consumer) = self.consumer_mut(pending.consumer) {
            consumer.pending.remove(&id);
        }
        Some(pending)
    }

    /// Bytes on the heap, about. O(1) in what is pending.
    pub fn memory_usage(&self) -> usize {
        let names: usize = self.names.keys().map(|name| name.len() + CONSUMER_BYTES).sum();
        size_of::<Self>() + names + self.pending.len() * PENDING_BYTES
    }

    /// Checks what every group promises of itself.
    #[cfg(any(test, feature = "testing"))]
    pub fn assert_invariants(&self) {
        assert_eq!(self.consumers.iter().flatten().count(), self.names.len());
        let owned: usize = self.consumers().map(Consumer::pending_len).sum();
        assert_eq!(owned, self.pending.len());
        for (id, pending) in &self.pending {
            assert!(self.consumer(pending.consumer).is_some_and(|consumer| consumer.pending.contains(id)));
        }
    }
}
