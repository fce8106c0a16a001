//! Where the memory of a state comes from: the allocator of the system, with a few short blocks kept at hand.
//!
//! A script of two commands takes and gives back some twenty blocks, most of them shorter than 128 bytes. Only the thread that
//! has the state takes part, so that a block at hand costs no more than the look at a list.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::null_mut;

const ALIGN: usize = 16;

/// Blocks up to this length are kept.
const SHORT: usize = 256;

const CLASSES: usize = SHORT / ALIGN;

/// How much is kept, at most: a script that used a lot leaves no more than this behind.
const KEPT_MAX: usize = 256 << 10;

/// Short blocks that nobody uses at the moment, by their length in steps of 16 bytes. A block that is kept begins with the address
/// of the next one.
pub(super) struct Spare {
    first: [Cell<*mut u8>; CLASSES],
    kept: Cell<usize>,
}

impl Default for Spare {
    fn default() -> Self {
        Self { first: std::array::from_fn(|_| Cell::new(null_mut())), kept: Cell::new(0) }
    }
}

/// The class of a length that is not zero, if it is short.
fn class(len: usize) -> Option<usize> {
    (len <= SHORT).then(|| (len - 1) / ALIGN)
}

/// What a block of this length is to the system; none if there is no such block.
fn layout(len: usize) -> Option<Layout> {
    let len = class(len).map_or(len, |class| (class + 1) * ALIGN);
    Layout::from_size_align(len, ALIGN).ok()
}

impl Spare {
    /// As `realloc` of C: zero is the length of what is not there. Null if there is no memory; then `at` is as it was.
    ///
    /// # Safety
    /// `at` came from here with the length `old`, and is not used any more unless the result is null.
    pub(super) unsafe fn realloc(&self, at: *mut u8, old: usize, new: usize) -> *mut u8 {
        if old == 0 {
            return if new == 0 { null_mut() } else { self.take(new) };
        }
        if new == 0 {
            // SAFETY: as promised by the caller.
            unsafe { self.give(at, old) };
            return null_mut();
        }
        let (from, to) = (class(old), class(new));
        if from.is_some() && from == to {
            return at;
        }
        if let (None, None, Some(before), Some(_)) = (from, to, layout(old), layout(new)) {
            // SAFETY: neither is short, so that the system knows `at` by `old`; `new` is not zero, and fits a `Layout`.
            return unsafe { System.realloc(at, before, new) };
        }
        let got = self.take(new);
        if !got.is_null() {
            // SAFETY: both are as long as this, and apart; `at` is given back as promised by the caller.
            unsafe {
                std::ptr::copy_nonoverlapping(at, got, old.min(new));
                self.give(at, old);
            }
        }
        got
    }

    /// A block of a length that is not zero; null if there is no memory.
    #[inline]
    fn take(&self, len: usize) -> *mut u8 {
        if let Some(first) = class(len).map(|class| &self.first[class])
            && !first.get().is_null()
        {
            let block = first.get();
            // SAFETY: a block that is kept begins with the address of the next one, or null.
            first.set(unsafe { block.cast::<*mut u8>().read() });
            self.kept.set(self.kept.get() - len.next_multiple_of(ALIGN));
            return block;
        }
        // SAFETY: the length is not zero.
        layout(len).map_or(null_mut(), |layout| unsafe { System.alloc(layout) })
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// It came from `take` with this length, or from the system with that of its class, and nobody uses it any more.
    #[inline]
    unsafe fn give(&self, block: *mut u8, len: usize) {
        let kept = self.kept.get() + len.next_multiple_of(ALIGN);
        match class(len) {
            Some(class) if kept <= KEPT_MAX => {
                // SAFETY: it is at least 16 bytes long and aligned so, and from here on ours.
                unsafe { block.cast::<*mut u8>().write(self.first[class].get()) };
                self.first[class].set(block);
                self.kept.set(kept);
            }
            _ => {
                let Some(layout) = layout(len) else { return };
                // SAFETY: it came from the system with this layout, as promised by the caller.
                unsafe { System.dealloc(block, layout) };
            }
        }
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        for (class, first) in self.first.iter().enumerate() {
            let Some(layout) = layout((class + 1) * ALIGN) else { continue };
            while !first.get().is_null() {
                let block = first.get();
                // SAFETY: a block that is kept begins with the address of the next one, or null; it came from the system with
                // the layout of its class, and nobody uses it.
                unsafe {
                    first.set(block.cast::<*mut u8>().read());
                    System.dealloc(block, layout);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes blocks of all lengths, makes them longer and shorter, and looks whether each keeps what is in it.
    #[test]
    fn blocks_keep_what_is_in_them() {
        let spare = Spare::default();
        let mut blocks: Vec<(*mut u8, usize, u8)> = Vec::new();
        let mut seed = 7_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % below
        };
        for round in 0..20_000_u32 {
            let fill = round as u8;
            let len = 1 + random(if round % 8 == 0 { 5_000 } else { 300 });
            match (blocks.is_empty(), random(3)) {
                (true, _) | (_, 0) => {
                    // SAFETY: nothing is given back.
                    let at = unsafe { spare.realloc(null_mut(), 0, len) };
                    // SAFETY: so long it is.
                    unsafe { at.write_bytes(fill, len) };
                    blocks.push((at, len, fill));
                }
                (_, 1) => {
                    let (at, old, before) = blocks.swap_remove(random(blocks.len()));
                    // SAFETY: it came from there with this length.
                    let at = unsafe { spare.realloc(at, old, len) };
                    // SAFETY: so long it is.
                    let bytes = unsafe { std::slice::from_raw_parts_mut(at, len) };
                    assert!(bytes[..old.min(len)].iter().all(|byte| *byte == before));
                    bytes.fill(fill);
                    blocks.push((at, len, fill));
                }
                _ => {
                    let (at, old, before) = blocks.swap_remove(random(blocks.len()));
                    // SAFETY: so long it is.
                    let bytes = unsafe { std::slice::from_raw_parts(at, old) };
                    assert!(bytes.iter().all(|byte| *byte == before));
                    // SAFETY: it came from there with this length.
                    assert!(unsafe { spare.realloc(at, old, 0) }.is_null());
                }
            }
            assert!(spare.kept.get() <= KEPT_MAX);
        }
        for (at, len, _) in blocks {
            // SAFETY: it came from there with this length.
            unsafe { spare.realloc(at, len, 0) };
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let spare = Spare::default();
        // SAFETY: nothing is given back.
        assert!(unsafe { spare.realloc(null_mut(), 0, usize::MAX) }.is_null());
    }
}
