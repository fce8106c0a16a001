//! Owned byte strings behind one thin pointer: a bucket of a hash table that holds one is 8 bytes, not 16 or 24.
//!
//! | first byte  | then                    | the string has  |
//! |-------------|-------------------------|-----------------|
//! | `0..=254`   |                         | that many bytes |
//! | `255`       | 8 bytes, native endian  | that many bytes |
//!
//! The bytes follow. **Invariant:** the prefix is written once, when the block is made, and never again, so the
//! layout that it implies is always the layout of the allocation. There is no spare capacity.
//!
//! This is the only file of the data types with `unsafe` in it.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// The first byte that announces a long length.
const LONG: u8 = 255;
/// Bytes in front of a long string.
const LONG_PREFIX: usize = 1 + size_of::<usize>();

/// A byte string of fixed length on the heap, owned through a single pointer.
///
/// `Option<ThinBytes>` is 8 bytes as well. Use it like a `Box<[u8]>`.
pub struct ThinBytes {
    /// Start of a block made by [`ThinBytes::concat`]: a prefix as in the table above, then the bytes, all initialised.
    block: NonNull<u8>,
}

// SAFETY: the block is owned by this value alone, and bytes have no thread affinity, as with `Box<[u8]>`.
unsafe impl Send for ThinBytes {}
// SAFETY: a shared reference gives read access only; there is no interior mutability.
unsafe impl Sync for ThinBytes {}

impl ThinBytes {
    /// A copy of `bytes`.
    #[inline]
    pub fn new(bytes: &[u8]) -> Self {
        Self::concat(&[bytes])
    }

    /// Asks for its memory.
    #[inline]
    pub fn prefetch(&self) {
        crate::prefetch::line(self.block.as_ptr());
        crate::prefetch::line(self.block.as_ptr().wrapping_add(64));
    }

    /// The parts one after the other, in one allocation.
    ///
    /// # Panics
    /// When the sum of the lengths is beyond `isize::MAX`, which no parts in memory can have unless they overlap.
    #[inline]
    pub fn concat(parts: &[&[u8]]) -> Self {
        let len = parts.iter().try_fold(0usize, |sum, part| sum.checked_add(part.len()));
        let (Some(len), Some(layout)) = (len, len.and_then(layout_of)) else {
            panic!("capacity overflow");
        };
        // SAFETY: `layout` has at least the one byte of the prefix.
        let Some(block) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        let mut at = prefix_of(len);
        if at == 1 {
            // SAFETY: the block has at least one byte.
            unsafe { block.write(len as u8) };
        } else {
            // SAFETY: a block with the long prefix has at least `LONG_PREFIX` bytes; `write_unaligned` asks for no alignment.
            unsafe {
                block.write(LONG);
                block.add(1).cast::<usize>().write_unaligned(len);
            }
        }
        for part in parts {
            // SAFETY: `at + part.len()` never exceeds the prefix plus the sum of all parts, which is the size of
            // the block; the block is new, so it cannot overlap the part.
            unsafe { block.add(at).copy_from_nonoverlapping(NonNull::from(*part).cast(), part.len()) };
            at += part.len();
        }
        Self { block }
    }

    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        let (prefix, len) = self.extent();
        // SAFETY: by the invariant of `block`, `len` initialised bytes follow the prefix in the same allocation;
        // they live and stay unchanged as long as `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.block.add(prefix).as_ptr(), len) }
    }

    /// The bytes, to change in place. Their number stays.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        let (prefix, len) = self.extent();
        // SAFETY: as in `as_slice`; `self` is borrowed exclusively, so nobody else reads or writes. The prefix is
        // outside the slice.
        unsafe { std::slice::from_raw_parts_mut(self.block.add(prefix).as_ptr(), len) }
    }

    /// Bytes asked of the allocator for this string.
    #[inline]
    pub fn allocation_bytes(&self) -> usize {
        let (prefix, len) = self.extent();
        prefix + len
    }

    /// Length of the prefix, and of the string.
    #[inline]
    fn extent(&self) -> (usize, usize) {
        // SAFETY: every block has a first byte, and it is initialised.
        let first = unsafe { self.block.read() };
        if first != LONG {
            return (1, usize::from(first));
        }
        // SAFETY: this first byte is only written together with the length that follows it.
        let len = unsafe { self.block.add(1).cast::<usize>().read_unaligned() };
        (LONG_PREFIX, len)
    }
}

impl Drop for ThinBytes {
    #[inline]
    fn drop(&mut self) {
        let (prefix, len) = self.extent();
        // SAFETY: `concat` allocated with exactly this size (the prefix is a function of the length, which never
        // changes) and alignment, and checked then that they form a layout; the block is freed once, here.
        unsafe {
            let layout = Layout::from_size_align_unchecked(prefix + len, 1);
            dealloc(self.block.as_ptr(), layout);
        }
    }
}

#[inline]
fn prefix_of(len: usize) -> usize {
    if len < usize::from(LONG) { 1 } else { LONG_PREFIX }
}

#[inline]
fn layout_of(len: usize) -> Option<Layout> {
    Layout::array::<u8>(len.checked_add(prefix_of(len))?).ok()
}

impl Clone for ThinBytes {
    fn clone(&self) -> Self {
        Self::new(self)
    }
}

impl Deref for ThinBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl DerefMut for ThinBytes {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.as_mut_slice()
    }
}

impl AsRef<[u8]> for ThinBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Borrow<[u8]> for ThinBytes {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl From<&[u8]> for ThinBytes {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes)
    }
}

impl PartialEq for ThinBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for ThinBytes {}

impl PartialOrd for ThinBytes {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ThinBytes {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl Hash for ThinBytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for ThinBytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths on both sides of the change of prefix.
    const LENGTHS: [usize; 9] = [0, 1, 16, 253, 254, 255, 256, 257, 70_000];

    #[test]
    fn holds_what_it_was_given() {
        for len in LENGTHS {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let thin = ThinBytes::new(&bytes);
            assert_eq!(&*thin, &*bytes, "{len} bytes");
            assert_eq!(thin.allocation_bytes(), len + if len < 255 { 1 } else { 9 });
            let copy = thin.clone();
            drop(thin);
            assert_eq!(&*copy, &*bytes, "copy of {len} bytes");
        }
    }

    #[test]
    fn joins_parts() {
        for len in LENGTHS {
            let bytes = vec![7; len];
            let thin = ThinBytes::concat(&[b"ab", &[], &bytes, b"z"]);
            assert_eq!(&*thin, [&b"ab"[..], &bytes, b"z"].concat());
        }
        assert!(ThinBytes::concat(&[]).is_empty());
    }

    #[test]
    fn changes_in_place() {
        for len in LENGTHS {
            let mut thin = ThinBytes::new(&vec![0; len]);
            thin.fill(255);
            assert_eq!(&*thin, vec![255; len]);
        }
    }

    #[test]
    fn is_one_pointer_wide() {
        assert_eq!(size_of::<Option<ThinBytes>>(), 8);
        fn shared<T: Send + Sync>() {}
        shared::<ThinBytes>();
    }

    #[test]
    fn compares_as_bytes() {
        let (a, b) = (ThinBytes::new(b"a"), ThinBytes::new(b"ab"));
        assert!(a < b && a == a.clone() && a != b);
        assert_eq!(format!("{:?}", ThinBytes::new(b"a\"\0")), r#""a\"\x00""#);
    }
}
