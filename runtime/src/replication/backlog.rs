//! The backlog: the last bytes of the stream, read by every replica at its own pace.
//!
//! One copy for all of them. Bytes lie in blocks; a block goes when it holds nothing that is wanted any more:
//!
//! - the last `size` bytes stay, for replicas that come back (`repl-backlog-size`);
//! - what a connected replica has not read yet stays, unless it is farther behind than its limit
//!   (`client-output-buffer-limit replica`): then it has to get it elsewhere, or begin anew.
//!
//! A block that goes is used again for what comes: once it has its size, the backlog asks for no more memory.

use crate::journal;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a block.
const BLOCK: usize = 64 * 1024;

/// The last bytes of the stream.
#[derive(Debug)]
pub struct Backlog {
    ring: Mutex<Ring>,
    /// For a look without the lock.
    end: AtomicU64,
}

/// Who reads the backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderId(u64);

/// What a reader wants next is no longer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

#[derive(Debug)]
struct Ring {
    /// All are full but the last.
    blocks: VecDeque<Vec<u8>>,
    /// Offset of the first byte of the first block.
    first: u64,
    end: u64,
    size: u64,
    readers: Vec<Reader>,
    next_reader: u64,
    /// A block that went, for the next one.
    spare: Vec<u8>,
}

#[derive(Debug)]
struct Reader {
    id: ReaderId,
    /// The byte that it wants next.
    at: u64,
    /// What is kept for it at most; 0 for no limit.
    limit: u64,
}

impl Backlog {
    /// An empty one that begins at this offset.
    pub fn new(size: u64, offset: u64) -> Self {
        let ring = Ring {
            blocks: VecDeque::new(),
            first: offset,
            end: offset,
            size,
            readers: Vec::new(),
            next_reader: 0,
            spare: Vec::new(),
        };
        Self { ring: Mutex::new(ring), end: AtomicU64::new(offset) }
    }

    /// Offset of the byte that comes next.
    #[inline]
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// The bytes from which a replica may go on.
    pub fn range(&self) -> Range<u64> {
        let ring = self.ring.lock();
        // What is kept for one that lags others may have, too.
        ring.first.max(ring.wanted())..ring.end
    }

    /// What it keeps for those who come back (`repl-backlog-size`).
    pub fn size(&self) -> u64 {
        self.ring.lock().size
    }

    /// Changes that. What is there stays, as far as it fits.
    pub fn resize(&self, size: u64) {
        let mut ring = self.ring.lock();
        ring.size = size;
        ring.trim();
    }

    /// Memory that it takes.
    pub fn memory(&self) -> usize {
        let ring = self.ring.lock();
        ring.blocks.iter().map(Vec::capacity).sum::<usize>() + ring.spare.capacity()
    }

    /// Memory beyond that: for readers that lag.
    pub fn beyond_size(&self) -> u64 {
        let ring = self.ring.lock();
        let blocks = (ring.blocks.len() * BLOCK) as u64;
        // The first and the last block belong to those that come back, too.
        blocks.saturating_sub(ring.size.saturating_add(2 * BLOCK as u64))
    }

    /// Begins anew at this offset, as another history: nobody can read on.
    pub fn restart(&self, offset: u64) {
        let mut ring = self.ring.lock();
        let ring = &mut *ring;
        ring.blocks.clear();
        ring.readers.clear();
        (ring.first, ring.end) = (offset, offset);
        self.end.store(offset, Ordering::Release);
    }

    /// Appends to the stream.
    pub fn append(&self, bytes: &[u8]) {
        let mut ring = self.ring.lock();
        ring.append(bytes);
        self.end.store(ring.end, Ordering::Release);
    }

    /// Somebody reads from this offset on; at most `limit` bytes are kept for it (0: no limit).
    ///
    /// # Errors
    /// That is not there.
    pub fn attach(&self, from: u64, limit: u64) -> Result<ReaderId, Lost> {
        let mut ring = self.ring.lock();
        if !(ring.first..=ring.end).contains(&from) {
            return Err(Lost);
        }
        ring.next_reader += 1;
        let id = ReaderId(ring.next_reader);
        ring.readers.push(Reader { id, at: from, limit });
        Ok(id)
    }

    /// Changes what is kept for a reader at most.
    pub fn set_limit(&self, id: ReaderId, limit: u64) {
        if let Some(reader) = self.ring.lock().reader(id) {
            reader.limit = limit;
        }
    }

    /// Nobody reads there any more.
    pub fn detach(&self, id: ReaderId) {
        let mut ring = self.ring.lock();
        ring.readers.retain(|reader| reader.id != id);
        ring.trim();
    }

    /// Offset of the byte that a reader wants next.
    pub fn position(&self, id: ReaderId) -> Option<u64> {
        self.ring.lock().reader(id).map(|reader| reader.at)
    }

    /// Appends what comes next for a reader, at most `max` bytes of it, and counts it as read. Returns how much that is.
    ///
    /// # Errors
    /// It is no longer there.
    pub fn read(&self, id: ReaderId, max: usize, out: &mut Vec<u8>) -> Result<usize, Lost> {
        let mut ring = self.ring.lock();
        let at = ring.reader(id).ok_or(Lost)?.at;
        let from = at.checked_sub(ring.first).ok_or(Lost)? as usize;
        let len = ((ring.end - at) as usize).min(max);
        let (mut block, mut offset, mut left) = (from / BLOCK, from % BLOCK, len);
        while left > 0 {
            let bytes = ring.blocks.get(block).and_then(|bytes| bytes.get(offset..)).unwrap_or_default();
            let part = &bytes[..bytes.len().min(left)];
            if part.is_empty() {
                debug_assert!(false, "a byte before the end that is in no block");
                break;
            }
            out.extend_from_slice(part);
            left -= part.len();
            (block, offset) = (block + 1, 0);
        }
        if let Some(reader) = ring.reader(id) {
            reader.at = at + len as u64;
        }
        if block > from / BLOCK {
            // It may have been the last to want what it has read.
            ring.trim();
        }
        Ok(len)
    }
}

impl Ring {
    fn reader(&mut self, id: ReaderId) -> Option<&mut Reader> {
        self.readers.iter_mut().find(|reader| reader.id == id)
    }

    fn append(&mut self, mut bytes: &[u8]) {
        self.end += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = self.blocks.back().map_or(0, |block| BLOCK - block.len());
            if room == 0 {
                let mut block = std::mem::take(&mut self.spare);
                block.clear();
                block.reserve_exact(BLOCK);
                self.blocks.push_back(block);
                self.trim();
                continue;
            }
            let (part, rest) = bytes.split_at(bytes.len().min(room));
            if let Some(block) = self.blocks.back_mut() {
                block.extend_from_slice(part);
            }
            bytes = rest;
        }
    }

    /// The first byte that somebody wants, or may want.
    fn wanted(&self) -> u64 {
        let waits = |reader: &&Reader| reader.limit == 0 || self.end - reader.at <= reader.limit;
        let oldest = self.readers.iter().filter(waits).map(|reader| reader.at).min();
        self.end.saturating_sub(self.size).min(oldest.unwrap_or(u64::MAX))
    }

    /// Lets go of blocks that nobody wants.
    fn trim(&mut self) {
        let keep = self.wanted();
        while self.blocks.len() > 1 && self.first + BLOCK as u64 <= keep {
            self.spare = self.blocks.pop_front().unwrap_or_default();
            self.first += BLOCK as u64;
        }
    }
}

/// Feeds a backlog from the journal.
pub(super) struct Feed(pub Arc<Backlog>);

impl journal::Reader for Feed {
    fn take(&mut self, offset: u64, bytes: &[u8]) {
        debug_assert_eq!(offset, self.0.end(), "the backlog has all of the stream");
        self.0.append(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_bytes_stay() {
        let backlog = Backlog::new(100, 7);
        assert_eq!(backlog.range(), 7..7);
        backlog.append(&[1; 60]);
        assert_eq!(backlog.range(), 7..67);
        backlog.append(&[2; 60]);
        assert_eq!(backlog.range(), 27..127);
        backlog.resize(10);
        assert_eq!(backlog.range(), 117..127);
        assert_eq!(backlog.attach(128, 0), Err(Lost));
        assert_eq!(backlog.attach(6, 0), Err(Lost));
        backlog.restart(1_000);
        assert_eq!(backlog.range(), 1_000..1_000);
        let slow = backlog.attach(1_000, 0).expect("there");
        backlog.append(&[3; 10 * BLOCK]);
        assert_eq!(backlog.beyond_size(), 8 * BLOCK as u64 - 10);
        assert_eq!(backlog.range(), 1_000..1_000 + 10 * BLOCK as u64);
        backlog.detach(slow);
        assert_eq!(backlog.beyond_size(), 0);
    }

    #[test]
    fn who_lags_keeps_its_bytes_up_to_its_limit() {
        let backlog = Backlog::new(10, 0);
        let slow = backlog.attach(0, 0).expect("there");
        let limited = backlog.attach(0, 4 * BLOCK as u64).expect("there");
        backlog.append(&vec![1; 8 * BLOCK]);
        let mut out = Vec::new();
        assert_eq!(backlog.read(limited, 1, &mut out), Ok(1), "it was kept for the other one");
        assert_eq!(backlog.read(slow, 10 * BLOCK, &mut out), Ok(8 * BLOCK));
        assert_eq!(backlog.read(limited, 1, &mut out), Err(Lost));
        backlog.append(&vec![1; 2 * BLOCK]);
        assert!(backlog.memory() <= 5 * BLOCK, "{}", backlog.memory());
        backlog.detach(slow);
        assert_eq!(backlog.read(slow, 1, &mut out), Err(Lost));
    }

    #[derive(Clone, Debug)]
    enum Op {
        Append(usize),
        Attach(u64),
        Read(usize, usize),
        Detach(usize),
        Resize(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0..200_000_usize).prop_map(Op::Append),
            1 => (0..300_000_u64).prop_map(Op::Attach),
            4 => (0..4_usize, 0..150_000_usize).prop_map(|(who, max)| Op::Read(who, max)),
            1 => (0..4_usize).prop_map(Op::Detach),
            1 => (1..400_000_u64).prop_map(Op::Resize),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Readers read what was appended, all of it and in order, and the last bytes are always there.
        #[test]
        fn equals_one_long_stream(ops in proptest::collection::vec(op(), 0..60)) {
            let byte = |offset: u64| (offset.wrapping_mul(0x9e37_79b9) >> 13) as u8;
            let backlog = Backlog::new(100_000, 0);
            let mut readers: Vec<(ReaderId, u64)> = Vec::new();
            for op in ops {
                match op {
                    Op::Append(len) => {
                        let at = backlog.end();
                        let bytes: Vec<u8> = (at..at + len as u64).map(byte).collect();
                        backlog.append(&bytes);
                    }
                    Op::Attach(back) => {
                        let from = backlog.end().saturating_sub(back);
                        match backlog.attach(from, 0) {
                            Ok(id) => readers.push((id, from)),
                            Err(Lost) => prop_assert!(from < backlog.range().start),
                        }
                    }
                    Op::Read(who, max) => {
                        let Some((id, at)) = readers.get_mut(who) else { continue };
                        let mut out = Vec::new();
                        let len = backlog.read(*id, max, &mut out).expect("kept without a limit");
                        prop_assert_eq!(len, max.min((backlog.end() - *at) as usize));
                        prop_assert!(out.iter().zip(*at..).all(|(found, offset)| *found == byte(offset)));
                        *at += len as u64;
                        prop_assert_eq!(backlog.position(*id), Some(*at));
                    }
                    Op::Detach(who) if who < readers.len() => backlog.detach(readers.remove(who).0),
                    Op::Detach(_) => {}
                    Op::Resize(size) => backlog.resize(size),
                }
                let slowest = readers.iter().map(|(_, at)| backlog.end() - at).max().unwrap_or(0);
                let wanted = backlog.size().max(slowest) as usize;
                prop_assert!(backlog.memory() <= wanted.next_multiple_of(BLOCK) + 3 * BLOCK);
            }
        }
    }
}
