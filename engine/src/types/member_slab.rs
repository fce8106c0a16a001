//! Where a large sorted set keeps its members: records in pages, named by a `u32`.
//!
//! A tree leaf and the hash index both refer to a member. A number of 4 bytes in each, in place of a pointer of 8
//! to an allocation of its own, is what makes a large sorted set small: a record of a 16-byte member takes 28
//! bytes here, with its score, where `malloc` alone would take 32.
//!
//! | part of an id | means                                   |
//! |---------------|-----------------------------------------|
//! | bits 7..32    | the page                                |
//! | bits 0..7     | the slot in the page, one of [`SLOTS`]  |
//!
//! | part of a record | bytes                 |                        |
//! |------------------|-----------------------|------------------------|
//! | score            | 8, little-endian      |                        |
//! | length           | 1                     |                        |
//! | member           | 0 to [`PACKED_MAX`]   | padded to a size class |
//!
//! Longer members get an allocation each, in pages of a class of their own.
//!
//! Invariants:
//! - All slots of a page have the same size class.
//! - The pages of a class that have a free slot form a doubly linked list; nothing else is in it.
//! - A page without members holds no memory, and waits in `empty` for any class.

use super::thin::ThinBytes;
use crate::prefetch;

/// Slots in one page.
const SLOTS: usize = 128;
const SLOT_BITS: u32 = SLOTS.trailing_zeros();
/// Bytes of a record, all told, per class; steps as those of allocators.
const CLASSES: [usize; 18] = [12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256];
/// The class of members that are too long for a record.
const BOXED: usize = CLASSES.len();
const HEADER: usize = 9;
/// The longest member that is kept inside a page.
const PACKED_MAX: usize = CLASSES[BOXED - 1] - HEADER;
const _: () = assert!(PACKED_MAX <= u8::MAX as usize, "the length is one byte");
/// A new page has room for so many records, then doubles.
const SLOTS_AT_FIRST: usize = 8;
const NONE: u32 = u32::MAX;

/// Members and their scores, named by ids which stay as they are until the member is removed.
#[derive(Debug, Clone)]
pub(super) struct MemberSlab {
    pages: Vec<Page>,
    /// Pages without members.
    empty: Vec<u32>,
    /// Per class, the first page with a free slot.
    roomy: [u32; BOXED + 1],
    len: usize,
    heap_bytes: usize,
}

#[derive(Debug, Clone)]
struct Page {
    body: Body,
    /// One bit per slot, set when the slot holds a member.
    taken: [u64; SLOTS / 64],
    /// Neighbours in the list of pages with room.
    prev: u32,
    next: u32,
    class: u8,
    listed: bool,
}

#[derive(Debug, Clone)]
enum Body {
    Packed(Vec<u8>),
    Boxed(Vec<(f64, Option<ThinBytes>)>),
}

impl MemberSlab {
    pub(super) const fn new() -> Self {
        Self { pages: Vec::new(), empty: Vec::new(), roomy: [NONE; BOXED + 1], len: 0, heap_bytes: 0 }
    }

    /// Number of members.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes on the heap.
    pub(super) fn allocation_bytes(&self) -> usize {
        self.heap_bytes + self.pages.capacity() * size_of::<Page>() + self.empty.capacity() * 4
    }

    /// Asks for the memory of a member.
    #[inline]
    pub(super) fn prefetch(&self, id: u32) {
        let (page, slot) = self.place(id);
        match &page.body {
            Body::Packed(bytes) => prefetch::line(&raw const bytes[slot * CLASSES[usize::from(page.class)]]),
            Body::Boxed(slots) => slots[slot].1.iter().for_each(ThinBytes::prefetch),
        }
    }

    /// The member with this id.
    #[inline]
    pub(super) fn member(&self, id: u32) -> &[u8] {
        let (page, slot) = self.place(id);
        match &page.body {
            Body::Packed(bytes) => {
                let record = &bytes[slot * CLASSES[usize::from(page.class)]..];
                &record[HEADER..HEADER + usize::from(record[HEADER - 1])]
            }
            Body::Boxed(slots) => slots[slot].1.as_deref().unwrap_or_default(),
        }
    }

    /// The score of the member with this id.
    #[inline]
    pub(super) fn score(&self, id: u32) -> f64 {
        let (page, slot) = self.place(id);
        match &page.body {
            Body::Packed(bytes) => {
                let at = slot * CLASSES[usize::from(page.class)];
                let mut score = [0; 8];
                score.copy_from_slice(&bytes[at..at + 8]);
                f64::from_le_bytes(score)
            }
            Body::Boxed(slots) => slots[slot].0,
        }
    }

    pub(super) fn set_score(&mut self, id: u32, score: f64) {
        let (page, slot) = self.place_mut(id);
        match &mut page.body {
            Body::Packed(bytes) => {
                let at = slot * CLASSES[usize::from(page.class)];
                bytes[at..at + 8].copy_from_slice(&score.to_le_bytes());
            }
            Body::Boxed(slots) => slots[slot].0 = score,
        }
    }

    /// Keeps a copy of `member`. O(1): at worst one page is copied to twice its size.
    pub(super) fn insert(&mut self, score: f64, member: &[u8]) -> u32 {
        let class = class_of(member.len());
        let number = match self.roomy[class] {
            NONE => self.new_page(class),
            page => page,
        };
        let page = &mut self.pages[number as usize];
        let slot = page.first_free();
        let grown = page.put(slot, score, member);
        page.taken[slot / 64] |= 1 << (slot % 64);
        if page.is_full() {
            self.unlist(number);
        }
        self.heap_bytes += grown;
        self.len += 1;
        number << SLOT_BITS | slot as u32
    }

    /// Forgets the member with this id.
    pub(super) fn remove(&mut self, id: u32) {
        let number = id >> SLOT_BITS;
        let (page, slot) = self.place_mut(id);
        page.taken[slot / 64] &= !(1 << (slot % 64));
        let boxed = match &mut page.body {
            Body::Packed(_) => None,
            Body::Boxed(slots) => slots[slot].1.take(),
        };
        self.heap_bytes -= boxed.map_or(0, |member| member.allocation_bytes());
        let page = &self.pages[number as usize];
        self.len -= 1;
        if page.is_empty() {
            self.release(number);
        } else if !page.listed {
            self.list(number);
        }
    }

    fn place(&self, id: u32) -> (&Page, usize) {
        (&self.pages[(id >> SLOT_BITS) as usize], id as usize % SLOTS)
    }

    fn place_mut(&mut self, id: u32) -> (&mut Page, usize) {
        (&mut self.pages[(id >> SLOT_BITS) as usize], id as usize % SLOTS)
    }

    /// A page of `class` with room, at the head of its list.
    fn new_page(&mut self, class: usize) -> u32 {
        let body = if class == BOXED { Body::Boxed(Vec::new()) } else { Body::Packed(Vec::new()) };
        let page =
            Page { body, taken: [0; SLOTS / 64], prev: NONE, next: NONE, class: class as u8, listed: false };
        let number = match self.empty.pop() {
            Some(number) => {
                self.pages[number as usize] = page;
                number
            }
            None => {
                // 2^32 members in one set would fill 150 GB and more; the last page stays unused, for `NONE`.
                assert!(self.pages.len() < (NONE >> SLOT_BITS) as usize, "a sorted set of 4 billion members");
                self.pages.push(page);
                (self.pages.len() - 1) as u32
            }
        };
        self.list(number);
        number
    }

    /// Gives the memory of a page back.
    fn release(&mut self, number: u32) {
        let page = &mut self.pages[number as usize];
        self.heap_bytes -= page.allocation_bytes();
        page.body = Body::Packed(Vec::new());
        if page.listed {
            self.unlist(number);
        }
        self.empty.push(number);
        if self.len == 0 {
            *self = Self::new();
        }
    }

    fn list(&mut self, number: u32) {
        let class = usize::from(self.pages[number as usize].class);
        let next = std::mem::replace(&mut self.roomy[class], number);
        if let Some(next) = self.pages.get_mut(next as usize) {
            next.prev = number;
        }
        let page = &mut self.pages[number as usize];
        (page.prev, page.next, page.listed) = (NONE, next, true);
    }

    fn unlist(&mut self, number: u32) {
        let page = &mut self.pages[number as usize];
        page.listed = false;
        let (prev, next, class) = (page.prev, page.next, usize::from(page.class));
        match self.pages.get_mut(prev as usize) {
            Some(prev) => prev.next = next,
            None => self.roomy[class] = next,
        }
        if let Some(next) = self.pages.get_mut(next as usize) {
            next.prev = prev;
        }
    }

    /// Walks everything and panics where an invariant is broken.
    pub(super) fn assert_invariants(&self) {
        let mut heap_bytes = 0;
        let mut len = 0;
        let mut roomy = 0;
        for (number, page) in self.pages.iter().enumerate() {
            heap_bytes += page.allocation_bytes();
            let taken: Vec<usize> = (0..SLOTS).filter(|s| page.taken[s / 64] >> (s % 64) & 1 == 1).collect();
            len += taken.len();
            roomy += usize::from(page.listed);
            assert_eq!(page.listed, !page.is_full() && !page.is_empty(), "page {number}");
            assert_eq!(page.is_empty(), self.empty.contains(&(number as u32)), "page {number}");
            if let Body::Boxed(slots) = &page.body {
                heap_bytes +=
                    slots.iter().flat_map(|(_, m)| m).map(ThinBytes::allocation_bytes).sum::<usize>();
            }
            for slot in taken {
                let id = (number as u32) << SLOT_BITS | slot as u32;
                assert_eq!(class_of(self.member(id).len()), usize::from(page.class), "page {number}");
            }
        }
        for (class, &head) in self.roomy.iter().enumerate() {
            let (mut at, mut prev) = (head, NONE);
            while at != NONE {
                let page = &self.pages[at as usize];
                assert_eq!((page.prev, usize::from(page.class), page.listed), (prev, class, true));
                roomy -= 1;
                (prev, at) = (at, page.next);
            }
        }
        assert_eq!((self.len, self.heap_bytes, roomy), (len, heap_bytes, 0));
    }
}

impl Page {
    fn first_free(&self) -> usize {
        match self.taken[0].trailing_ones() {
            64 => 64 + self.taken[1].trailing_ones() as usize,
            slot => slot as usize,
        }
    }

    fn is_full(&self) -> bool {
        self.taken == [u64::MAX; SLOTS / 64]
    }

    fn is_empty(&self) -> bool {
        self.taken == [0; SLOTS / 64]
    }

    fn allocation_bytes(&self) -> usize {
        match &self.body {
            Body::Packed(bytes) => bytes.capacity(),
            Body::Boxed(slots) => slots.capacity() * size_of::<(f64, Option<ThinBytes>)>(),
        }
    }

    /// Writes a record into `slot`, which is free; returns by how much the heap grew.
    fn put(&mut self, slot: usize, score: f64, member: &[u8]) -> usize {
        let (before, mut boxed) = (self.allocation_bytes(), 0);
        match &mut self.body {
            Body::Packed(bytes) => {
                let size = CLASSES[usize::from(self.class)];
                let at = slot * size;
                if at + size > bytes.len() {
                    if at + size > bytes.capacity() {
                        bytes.reserve_exact(slot.max(SLOTS_AT_FIRST).min(SLOTS - slot) * size);
                    }
                    bytes.resize(at + size, 0);
                }
                let record = &mut bytes[at..at + size];
                record[..8].copy_from_slice(&score.to_le_bytes());
                record[8] = member.len() as u8;
                record[HEADER..HEADER + member.len()].copy_from_slice(member);
            }
            Body::Boxed(slots) => {
                let member = ThinBytes::new(member);
                boxed = member.allocation_bytes();
                let record = (score, Some(member));
                if slot == slots.len() {
                    slots.push(record);
                } else {
                    slots[slot] = record;
                }
            }
        }
        self.allocation_bytes() - before + boxed
    }
}

fn class_of(member_len: usize) -> usize {
    CLASSES.partition_point(|size| *size < HEADER + member_len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_length_comes_back() {
        let mut slab = MemberSlab::new();
        let members: Vec<Vec<u8>> = (0..=300).map(|len| vec![len as u8; len]).collect();
        let ids: Vec<u32> = members.iter().map(|member| slab.insert(member.len() as f64, member)).collect();
        for (id, member) in ids.iter().zip(&members) {
            assert_eq!((slab.score(*id), slab.member(*id)), (member.len() as f64, &member[..]));
        }
        slab.assert_invariants();
        ids.into_iter().for_each(|id| slab.remove(id));
        slab.assert_invariants();
        assert_eq!((slab.len(), slab.allocation_bytes()), (0, 0));
    }

    proptest! {
        /// Ids stay valid, and slots and pages are used again, whatever is added and removed.
        #[test]
        fn equals_its_model(ops in proptest::collection::vec((0..5u8, any::<u16>(), 0..20usize), 0..1_500)) {
            let mut slab = MemberSlab::new();
            let mut model: BTreeMap<u32, (f64, Vec<u8>)> = BTreeMap::new();
            for (op, pick, len) in ops {
                let picked = model.keys().nth(usize::from(pick) % model.len().max(1)).copied();
                match (op, picked) {
                    (0, Some(id)) => {
                        slab.remove(id);
                        model.remove(&id);
                    }
                    (1, Some(id)) => {
                        slab.set_score(id, f64::from(pick));
                        model.entry(id).and_modify(|entry| entry.0 = f64::from(pick));
                    }
                    _ => {
                        let member = vec![pick as u8; len * len];
                        let id = slab.insert(f64::from(pick), &member);
                        prop_assert_eq!(model.insert(id, (f64::from(pick), member)), None);
                    }
                }
            }
            slab.assert_invariants();
            prop_assert_eq!(slab.len(), model.len());
            for (id, (score, member)) in model {
                prop_assert_eq!((slab.score(id), slab.member(id)), (score, &member[..]));
            }
        }
    }
}
