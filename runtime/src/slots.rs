//! The slot map: which core owns which slot. Read without a lock, changed only by who holds both batons.

use baton_engine::slot::{SLOTS, Slot};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering, fence};

/// Owner of every slot.
///
/// Invariant: an entry changes only while the batons of its old and its new owner are held. Whoever holds the
/// baton that the map names therefore holds the slot.
#[derive(Debug)]
pub struct SlotMap {
    owners: Vec<AtomicU16>,
    /// Moves that have begun, and those that are over.
    begun: AtomicU64,
    moves: AtomicU64,
}

impl SlotMap {
    /// Slots in equal contiguous parts over `cores`.
    pub fn even(cores: usize) -> Self {
        let owners = (0..SLOTS).map(|slot| AtomicU16::new((slot * cores / SLOTS) as u16)).collect();
        Self { owners, begun: AtomicU64::new(0), moves: AtomicU64::new(0) }
    }

    /// The core that owns a slot.
    #[inline]
    pub fn owner(&self, slot: Slot) -> usize {
        usize::from(self.owners[slot.index()].load(Ordering::Acquire))
    }

    /// How many moves there have been: unchanged between two looks means that no slot moved meanwhile.
    pub fn moves(&self) -> u64 {
        self.moves.load(Ordering::Acquire)
    }

    /// Whether all that was read of the map since [`moves`](Self::moves) gave this number was true at one moment.
    pub fn was_still(&self, moves: u64) -> bool {
        fence(Ordering::Acquire);
        self.begun.load(Ordering::Relaxed) == moves
    }

    /// Names a new owner; the caller holds both batons.
    pub(crate) fn set_owner(&self, slot: Slot, core: usize) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        // Whoever sees the new owner sees that the move has begun: the store releases what comes before it.
        self.owners[slot.index()].store(core as u16, Ordering::Release);
        self.moves.fetch_add(1, Ordering::AcqRel);
    }

    /// The contiguous ranges `(first, last, core)` in order.
    pub fn ranges(&self) -> Vec<(usize, usize, usize)> {
        let mut ranges: Vec<(usize, usize, usize)> = Vec::new();
        for slot in Slot::all() {
            let (at, core) = (slot.index(), self.owner(slot));
            match ranges.last_mut() {
                Some((_, last, owner)) if *owner == core => *last = at,
                _ => ranges.push((at, at, core)),
            }
        }
        ranges
    }
}
