//! An entry: a key with its value in one allocation, behind one pointer.
//!
//! ```text
//! header: u64 | key length: u64  | expiry: i64       | word: 8 bytes      | key | inline value
//!             | only when long   | only when it has  | all but inline     |     | only inline strings
//! ```
//!
//! | bits of the header | hold                                                                 |
//! |--------------------|----------------------------------------------------------------------|
//! | 0..24              | the access clock (LRU seconds, or LFU minutes and counter)           |
//! | 24..28             | the kind: what the word or the inline bytes are                      |
//! | 28                 | there is room for an expiry                                          |
//! | 29                 | the key length is in a field of its own                              |
//! | 32..44             | key length, when short                                               |
//! | 44..64             | length of the inline value                                           |
//!
//! Why by hand: with a 16-byte key and a 32-byte value this is 56 bytes in an allocator class of 64, where
//! an enum in the table with its own `Box<[u8]>` key and `Vec<u8>` value costs more than twice as much.
//!
//! Invariants: the block is exactly as long as its header says; the kind says what type the word points to,
//! and that box is owned by the entry alone.

use super::value::{StrRef, Value, ValueMut, ValueRef};
use crate::prefetch;
use crate::types::{hash::Hash, list::List, set::Set, stream::Stream, zset::ZSet};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};

/// The longest string that lives inside its entry; longer ones have a buffer of their own.
pub const INLINE_MAX: usize = 64 * 1024;
/// The expiry field of an entry that has room for one but does not expire: a time so long past is never kept, while
/// the latest time there is may be asked for.
const NEVER: i64 = i64::MIN;

const CLOCK_MASK: u64 = 0xff_ffff;
const KIND_SHIFT: u32 = 24;
const EXPIRY: u64 = 1 << 28;
const LONG_KEY: u64 = 1 << 29;
const KEY_SHIFT: u32 = 32;
const KEY_MAX: usize = (1 << 12) - 1;
const VALUE_SHIFT: u32 = 44;

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Inline,
    Int,
    Raw,
    List,
    Set,
    Hash,
    ZSet,
    Stream,
}

impl Kind {
    fn of(header: u64) -> Self {
        match (header >> KIND_SHIFT) & 0xf {
            0 => Self::Inline,
            1 => Self::Int,
            2 => Self::Raw,
            3 => Self::List,
            4 => Self::Set,
            5 => Self::Hash,
            6 => Self::ZSet,
            _ => Self::Stream,
        }
    }
}

/// A key with its value, expiry and access clock. One pointer wide.
pub struct Entry(NonNull<u64>);

// SAFETY: an entry owns its block and what its word points to, and all of that is `Send`.
unsafe impl Send for Entry {}

/// Where the parts of a block are, in bytes from its start.
#[derive(Clone, Copy)]
struct Shape {
    expiry: usize,
    word: usize,
    key: usize,
    value: usize,
    total: usize,
}

impl Shape {
    #[inline]
    fn of(header: u64, key_len: usize) -> Self {
        let expiry = if header & LONG_KEY == 0 { 8 } else { 16 };
        let word = if header & EXPIRY == 0 { expiry } else { expiry + 8 };
        let key = if Kind::of(header) == Kind::Inline { word } else { word + 8 };
        let value = key + key_len;
        Self { expiry, word, key, value, total: value + (header >> VALUE_SHIFT) as usize }
    }

    fn layout(self) -> Layout {
        // A key and an inline value are both bounded by what was in memory already: no overflow.
        Layout::from_size_align(self.total, 8).unwrap_or(Layout::new::<u64>())
    }
}

impl Entry {
    /// A string entry. Long values get a buffer of their own, short ones live inside.
    pub fn string(key: &[u8], value: &[u8], expiry: Option<i64>, clock: u32) -> Self {
        if value.len() > INLINE_MAX {
            return Self::new(key, Value::Bytes(value.to_vec()), expiry, clock);
        }
        let mut entry = Self::block(Kind::Inline, key, value.len(), expiry, clock);
        entry.inline_mut().copy_from_slice(value);
        entry
    }

    /// An entry with this value. `expiry` is in Unix milliseconds.
    pub fn new(key: &[u8], value: Value, expiry: Option<i64>, clock: u32) -> Self {
        let (kind, word) = match value {
            Value::Bytes(bytes) if bytes.len() <= INLINE_MAX && bytes.capacity() <= bytes.len() * 2 => {
                return Self::string(key, &bytes, expiry, clock);
            }
            Value::Bytes(bytes) => (Kind::Raw, into_word(Box::new(bytes))),
            Value::Int(n) => (Kind::Int, n as u64),
            Value::List(list) => (Kind::List, into_word(list)),
            Value::Set(set) => (Kind::Set, into_word(set)),
            Value::Hash(hash) => (Kind::Hash, into_word(hash)),
            Value::ZSet(zset) => (Kind::ZSet, into_word(zset)),
            Value::Stream(stream) => (Kind::Stream, into_word(stream)),
        };
        let mut entry = Self::block(kind, key, 0, expiry, clock);
        entry.put_word(word);
        entry
    }

    /// Asks for its memory: header, key and the beginning of a value usually lie in the first two lines.
    #[inline]
    pub fn prefetch(&self) {
        prefetch::line(self.bytes());
        prefetch::line(self.bytes().wrapping_add(64));
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        let (shape, len) = self.shape();
        // SAFETY: the block holds `len` initialised bytes of key from `shape.key` on.
        unsafe { std::slice::from_raw_parts(self.bytes().add(shape.key), len) }
    }

    /// When it expires, in Unix milliseconds.
    #[inline]
    pub fn expiry(&self) -> Option<i64> {
        let header = self.header();
        if header & EXPIRY == 0 {
            return None;
        }
        let at = if header & LONG_KEY == 0 { 8 } else { 16 };
        // SAFETY: the header says that an aligned, initialised i64 lies there.
        let expiry = unsafe { self.bytes().add(at).cast::<i64>().read() };
        (expiry != NEVER).then_some(expiry)
    }

    /// Sets or clears the expiry. An entry that never had one is moved to a block with room for it.
    pub fn set_expiry(&mut self, expiry: Option<i64>) {
        if self.header() & EXPIRY == 0 {
            let Some(at) = expiry else { return };
            *self = self.take_apart(Some(at));
            return;
        }
        let (shape, _) = self.shape();
        // SAFETY: the header says that there is room for an aligned i64 there, and we hold it mutably.
        unsafe { self.bytes().add(shape.expiry).cast::<i64>().write(expiry.unwrap_or(NEVER)) }
    }

    /// The access clock: 24 bits, as `OBJECT IDLETIME` and `OBJECT FREQ` read it.
    #[inline]
    pub fn clock(&self) -> u32 {
        (self.header() & CLOCK_MASK) as u32
    }

    /// Notes an access. Writes only on change, to spare the cache line.
    #[inline]
    pub fn set_clock(&mut self, clock: u32) {
        let header = self.header();
        let new = (header & !CLOCK_MASK) | (u64::from(clock) & CLOCK_MASK);
        if new != header {
            self.set_header(new);
        }
    }

    /// The value, to read.
    #[inline]
    pub fn value(&self) -> ValueRef<'_> {
        // SAFETY: the kind in the header says which type the word was made from in `new`.
        unsafe {
            match Kind::of(self.header()) {
                Kind::Inline => ValueRef::Str(StrRef::Embedded(self.inline())),
                Kind::Int => ValueRef::Str(StrRef::Int(self.word() as i64)),
                Kind::Raw => ValueRef::Str(StrRef::Raw(self.boxed::<Vec<u8>>())),
                Kind::List => ValueRef::List(self.boxed::<List>()),
                Kind::Set => ValueRef::Set(self.boxed::<Set>()),
                Kind::Hash => ValueRef::Hash(self.boxed::<Hash>()),
                Kind::ZSet => ValueRef::ZSet(self.boxed::<ZSet>()),
                Kind::Stream => ValueRef::Stream(self.boxed::<Stream>()),
            }
        }
    }

    /// The value, to change in place. A string becomes a buffer that can grow.
    pub fn value_mut(&mut self) -> ValueMut<'_> {
        match Kind::of(self.header()) {
            Kind::Inline | Kind::Int => self.make_raw(),
            _ => {}
        }
        // SAFETY: as in `value`; the entry is held mutably and owns the box alone.
        unsafe {
            match Kind::of(self.header()) {
                Kind::List => ValueMut::List(self.boxed_mut::<List>()),
                Kind::Set => ValueMut::Set(self.boxed_mut::<Set>()),
                Kind::Hash => ValueMut::Hash(self.boxed_mut::<Hash>()),
                Kind::ZSet => ValueMut::ZSet(self.boxed_mut::<ZSet>()),
                Kind::Stream => ValueMut::Stream(self.boxed_mut::<Stream>()),
                Kind::Inline | Kind::Int | Kind::Raw => ValueMut::Str(self.boxed_mut::<Vec<u8>>()),
            }
        }
    }

    /// As [`value_mut`](Self::value_mut) for collections; strings are left as they are.
    pub fn value_mut_of_collection(&mut self) -> Option<ValueMut<'_>> {
        if matches!(self.value(), ValueRef::Str(_)) { None } else { Some(self.value_mut()) }
    }

    /// Overwrites a string by one that fits the same block; false when the block does not fit.
    #[inline]
    pub fn overwrite_inline(&mut self, value: &[u8]) -> bool {
        let header = self.header();
        if Kind::of(header) != Kind::Inline || (header >> VALUE_SHIFT) as usize != value.len() {
            return false;
        }
        self.inline_mut().copy_from_slice(value);
        true
    }

    /// Overwrites an integer by another; false when it is not an integer.
    #[inline]
    pub fn overwrite_int(&mut self, n: i64) -> bool {
        if Kind::of(self.header()) != Kind::Int {
            return false;
        }
        self.put_word(n as u64);
        true
    }

    /// Takes the entry apart into its value and expiry.
    pub fn into_value(self) -> (Value, Option<i64>) {
        let expiry = self.expiry();
        let value = self.move_value_out();
        self.free_block();
        (value, expiry)
    }

    /// The same value, expiry and clock under another key. O(1), but for strings inside the entry.
    pub fn renamed(mut self, key: &[u8]) -> Self {
        let new = self.block_like(key, self.expiry());
        self.hand_over(new)
    }

    /// A copy under another key, in the same encoding and with the same expiry. O(n).
    pub fn duplicate(&self, key: &[u8], clock: u32) -> Self {
        match self.value() {
            // A buffer stays one, whatever its length: OBJECT ENCODING shows the difference.
            ValueRef::Str(StrRef::Raw(bytes)) => {
                let mut new = Self::block(Kind::Raw, key, 0, self.expiry(), clock);
                new.put_word(into_word(Box::new(bytes.to_vec())));
                new
            }
            value => Self::new(key, value.to_owned(), self.expiry(), clock),
        }
    }

    /// Where the entry is in memory, to tell entries apart (DEBUG OBJECT).
    pub fn address(&self) -> usize {
        self.0.addr().get()
    }

    /// Bytes of the key with its value. Where elements differ in size, `samples` of them are looked at; 0 asks for
    /// all. O(samples).
    pub fn memory_usage(&self, samples: usize) -> usize {
        let value = match self.value() {
            // SAFETY: the value is a buffer, so the word is a `Box<Vec<u8>>`.
            ValueRef::Str(StrRef::Raw(_)) => unsafe {
                size_of::<Vec<u8>>() + self.boxed::<Vec<u8>>().capacity()
            },
            ValueRef::Str(_) => 0,
            ValueRef::List(list) => size_of::<List>() + list.memory_usage(),
            ValueRef::Set(set) => size_of::<Set>() + set.memory_usage(samples),
            ValueRef::Hash(hash) => size_of::<Hash>() + hash.memory_usage(samples),
            ValueRef::ZSet(zset) => size_of::<ZSet>() + zset.memory_usage(),
            ValueRef::Stream(stream) => size_of::<Stream>() + stream.memory_usage(samples),
        };
        self.block_bytes() + value
    }

    /// Bytes of the block itself.
    pub fn block_bytes(&self) -> usize {
        self.shape().0.total
    }

    /// The same entry, with room for this expiry.
    fn take_apart(&mut self, expiry: Option<i64>) -> Self {
        let new = self.block_like(self.key(), expiry);
        self.hand_over(new)
    }

    /// A block for the value of this entry, which does not hold it yet.
    fn block_like(&self, key: &[u8], expiry: Option<i64>) -> Self {
        let header = self.header();
        Self::block(Kind::of(header), key, (header >> VALUE_SHIFT) as usize, expiry, self.clock())
    }

    /// Moves the value to a block made by [`block_like`](Self::block_like).
    fn hand_over(&mut self, mut new: Self) -> Self {
        let header = self.header();
        match Kind::of(header) {
            Kind::Inline => new.inline_mut().copy_from_slice(self.inline()),
            _ => {
                new.put_word(self.word());
                // The box has moved to the new block: what the old one drops must be harmless.
                self.set_header(header & !(0xf << KIND_SHIFT) | (Kind::Int as u64) << KIND_SHIFT);
            }
        }
        new
    }

    fn make_raw(&mut self) {
        let bytes = match self.value() {
            ValueRef::Str(text) => text.to_vec(),
            _ => return,
        };
        let mut new = Self::block(Kind::Raw, self.key(), 0, self.expiry(), self.clock());
        new.put_word(into_word(Box::new(bytes)));
        *self = new;
    }

    fn block(kind: Kind, key: &[u8], value_len: usize, expiry: Option<i64>, clock: u32) -> Self {
        let long = key.len() > KEY_MAX;
        let mut header = u64::from(clock) & CLOCK_MASK
            | (kind as u64) << KIND_SHIFT
            | (value_len as u64) << VALUE_SHIFT
            | if expiry.is_some() { EXPIRY } else { 0 };
        header |= if long { LONG_KEY } else { (key.len() as u64) << KEY_SHIFT };
        let shape = Shape::of(header, key.len());
        let layout = shape.layout();
        // SAFETY: the size is at least that of the header. Every write below lies inside `shape.total`
        // bytes; the fields before the key are multiples of 8 from an 8-aligned start. The inline value is
        // zeroed, so that no slice over it ever sees uninitialised memory.
        unsafe {
            let start = alloc(layout);
            let Some(block) = NonNull::new(start.cast::<u64>()) else { handle_alloc_error(layout) };
            block.write(header);
            if long {
                start.add(8).cast::<u64>().write(key.len() as u64);
            }
            if let Some(at) = expiry {
                start.add(shape.expiry).cast::<i64>().write(at);
            }
            if kind != Kind::Inline {
                start.add(shape.word).cast::<u64>().write(0);
            }
            ptr::copy_nonoverlapping(key.as_ptr(), start.add(shape.key), key.len());
            ptr::write_bytes(start.add(shape.value), 0, value_len);
            Self(block)
        }
    }

    #[inline]
    fn bytes(&self) -> *mut u8 {
        self.0.as_ptr().cast()
    }

    #[inline]
    fn header(&self) -> u64 {
        // SAFETY: the block is alive and starts with its header.
        unsafe { self.0.read() }
    }

    #[inline]
    fn set_header(&mut self, header: u64) {
        // SAFETY: the block is alive, held mutably, and starts with its header.
        unsafe { self.0.write(header) }
    }

    #[inline]
    fn shape(&self) -> (Shape, usize) {
        let header = self.header();
        let len = if header & LONG_KEY == 0 {
            (header >> KEY_SHIFT) as usize & KEY_MAX
        } else {
            // SAFETY: the header says that the key length follows it.
            unsafe { self.0.add(1).read() as usize }
        };
        (Shape::of(header, len), len)
    }

    #[inline]
    fn inline(&self) -> &[u8] {
        let (shape, _) = self.shape();
        // SAFETY: an inline entry ends with its initialised value; for others the length is 0.
        unsafe { std::slice::from_raw_parts(self.bytes().add(shape.value), shape.total - shape.value) }
    }

    #[inline]
    fn inline_mut(&mut self) -> &mut [u8] {
        let (shape, _) = self.shape();
        // SAFETY: as in `inline`, and the entry is held mutably.
        unsafe { std::slice::from_raw_parts_mut(self.bytes().add(shape.value), shape.total - shape.value) }
    }

    /// The word; only for kinds that have one.
    #[inline]
    fn word(&self) -> u64 {
        let (shape, _) = self.shape();
        debug_assert_ne!(Kind::of(self.header()), Kind::Inline);
        // SAFETY: every caller has seen a kind with a word; it is aligned and initialised by `block`.
        unsafe { self.bytes().add(shape.word).cast::<u64>().read() }
    }

    #[inline]
    fn put_word(&mut self, word: u64) {
        let (shape, _) = self.shape();
        debug_assert_ne!(Kind::of(self.header()), Kind::Inline);
        // SAFETY: as in `word`, and the entry is held mutably.
        unsafe { self.bytes().add(shape.word).cast::<u64>().write(word) }
    }

    /// # Safety
    /// The kind must be the one whose word is a `Box<T>`.
    #[inline]
    unsafe fn boxed<T>(&self) -> &T {
        // SAFETY: by contract the word is a live `Box<T>` that only we own.
        unsafe { &*ptr::with_exposed_provenance::<T>(self.word() as usize) }
    }

    /// # Safety
    /// The kind must be the one whose word is a `Box<T>`.
    #[inline]
    unsafe fn boxed_mut<T>(&mut self) -> &mut T {
        // SAFETY: as above, and the entry is held mutably.
        unsafe { &mut *ptr::with_exposed_provenance_mut::<T>(self.word() as usize) }
    }

    /// The value, moved out: the caller frees the block and must not drop the value through it again.
    fn move_value_out(&self) -> Value {
        // SAFETY: the kind says which box the word was made from; it is taken once, see the contract.
        unsafe {
            match Kind::of(self.header()) {
                Kind::Inline => Value::Bytes(self.inline().to_vec()),
                Kind::Int => Value::Int(self.word() as i64),
                Kind::Raw => Value::Bytes(*from_word(self.word())),
                Kind::List => Value::List(from_word(self.word())),
                Kind::Set => Value::Set(from_word(self.word())),
                Kind::Hash => Value::Hash(from_word(self.word())),
                Kind::ZSet => Value::ZSet(from_word(self.word())),
                Kind::Stream => Value::Stream(from_word(self.word())),
            }
        }
    }

    fn free_block(self) {
        let layout = self.shape().0.layout();
        // SAFETY: the block was made by `alloc` with this very layout, and `self` is not dropped after it.
        unsafe { dealloc(self.bytes(), layout) }
        std::mem::forget(self);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !matches!(Kind::of(self.header()), Kind::Inline | Kind::Int) {
            drop(self.move_value_out());
        }
        let layout = self.shape().0.layout();
        // SAFETY: the block was made by `alloc` with this very layout and is not used again.
        unsafe { dealloc(self.bytes(), layout) }
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("key", &self.key().escape_ascii().to_string()).finish_non_exhaustive()
    }
}

fn into_word<T>(value: Box<T>) -> u64 {
    Box::into_raw(value).expose_provenance() as u64
}

/// # Safety
/// `word` must come from `into_word::<T>` and be taken back once only.
unsafe fn from_word<T>(word: u64) -> Box<T> {
    // SAFETY: by contract.
    unsafe { Box::from_raw(ptr::with_exposed_provenance_mut(word as usize)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(entry: &Entry) -> Vec<u8> {
        match entry.value() {
            ValueRef::Str(text) => text.to_vec(),
            _ => panic!("not a string"),
        }
    }

    #[test]
    fn what_goes_in_comes_out() {
        for key_len in [0, 1, 16, KEY_MAX, KEY_MAX + 1, 100_000] {
            for value_len in [0, 1, 44, 45, 1_000, INLINE_MAX, INLINE_MAX + 1] {
                for expiry in [None, Some(-5), Some(1_700_000_000_000)] {
                    let (key, value) = (vec![b'k'; key_len], vec![b'v'; value_len]);
                    let mut entry = Entry::string(&key, &value, expiry, 0x12_3456);
                    assert_eq!(entry.key(), key);
                    assert_eq!(entry.expiry(), expiry);
                    assert_eq!(entry.clock(), 0x12_3456);
                    assert_eq!(text(&entry), value);
                    entry.set_expiry(Some(7));
                    assert_eq!((entry.expiry(), entry.key()), (Some(7), &key[..]));
                    entry.set_expiry(None);
                    assert_eq!((entry.expiry(), text(&entry)), (None, value));
                }
            }
        }
    }

    #[test]
    fn a_string_grows_in_place() {
        let mut entry = Entry::string(b"key", b"value", Some(9), 1);
        if let ValueMut::Str(buffer) = entry.value_mut() {
            buffer.extend_from_slice(b"-and-more");
        }
        assert_eq!((text(&entry), entry.expiry()), (b"value-and-more".to_vec(), Some(9)));
        assert!(!entry.overwrite_inline(b"x"));
    }

    #[test]
    fn sixteen_and_thirty_two_bytes_take_fifty_six() {
        assert_eq!(Entry::string(&[b'k'; 16], &[b'v'; 32], None, 0).block_bytes(), 56);
    }

    #[test]
    fn a_new_name_keeps_all_the_rest() {
        let raw = {
            let mut entry = Entry::string(b"k", b"v", None, 3);
            entry.value_mut();
            entry
        };
        for entry in [
            Entry::string(b"key", b"value", Some(9), 3),
            Entry::new(b"key", Value::Int(5), None, 3),
            Entry::new(b"key", Value::List(Box::default()), Some(9), 3),
            raw,
        ] {
            let (before, expiry) = (format!("{:?}", entry.value()), entry.expiry());
            for name in [vec![], b"other".to_vec(), vec![b'k'; KEY_MAX + 1]] {
                let copy = entry.duplicate(&name, 4);
                assert_eq!((copy.key(), copy.expiry(), copy.clock()), (&name[..], expiry, 4));
                assert_eq!(format!("{:?}", copy.value()), before);
                let moved = entry.duplicate(b"tmp", 3).renamed(&name);
                assert_eq!((moved.key(), moved.expiry(), moved.clock()), (&name[..], expiry, 3));
                assert_eq!(format!("{:?}", moved.value()), before);
            }
        }
    }

    #[test]
    fn a_collection_survives_a_new_expiry() {
        let mut entry = Entry::new(b"n", Value::Int(5), None, 0);
        entry.set_expiry(Some(1));
        assert!(entry.overwrite_int(6));
        assert_eq!(entry.into_value().0.into_bytes(), b"6".to_vec());
        let mut list = Entry::new(b"l", Value::List(Box::default()), None, 0);
        list.set_expiry(Some(1));
        assert!(matches!(list.value(), ValueRef::List(_)));
        assert!(matches!(list.into_value().0, Value::List(_)));
    }
}
