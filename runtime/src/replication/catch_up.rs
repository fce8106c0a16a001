//! The stream from the log on disk: for a replica that wants what the backlog no longer has.
//!
//! The blocks of the log say at which offset of the stream they begin, so the place is found, and a gap is noticed: what is
//! sent is the stream without a hole, or nothing. The checksum of each block is looked at on the way.

use super::backlog::{Backlog, ReaderId};
use super::served::Served;
use super::transfer::{End, Transfer};
use crate::node::Node;
use baton_engine::aof::block::{Annotation, LINE_MAX, block_crc32, parse};
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Handed over at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// At the end of the log, until more is written.
const PAUSE: Duration = Duration::from_millis(5);
/// How often the end of the log is looked at before it is given up.
const PATIENCE: usize = 400;

/// The log is damaged, or lacks what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap;

/// Reads the stream from the files of the log.
#[derive(Debug)]
pub struct LogReader {
    /// The byte that comes next.
    offset: u64,
    path: PathBuf,
    file: Bytes,
    at: usize,
}

/// A block of a file.
struct Block {
    offset: u64,
    bytes: Bytes,
    /// Where the next one begins.
    end: usize,
}

impl Block {
    fn stream_end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    /// A database selected at the beginning of a file takes no room in the stream.
    fn is_prefix(&self) -> bool {
        self.bytes.starts_with(b"*2\r\n$6\r\nSELECT\r\n")
            && self.bytes.iter().filter(|byte| **byte == b'\n').count() == 5
    }
}

impl LogReader {
    /// Where the log has this byte of the stream. `None`: it does not.
    pub fn find(node: &Node, offset: u64) -> Option<Self> {
        if !node.journal().has_file() {
            return None;
        }
        let increments: Vec<PathBuf> = {
            let dir = node.log.dir();
            let dir = dir.as_ref()?;
            dir.live_files().skip(usize::from(dir.manifest().base.is_some())).collect()
        };
        for path in increments.into_iter().rev() {
            let file = node.storage().read(&path).ok()?;
            let Ok(Some(first)) = first_block(&file) else { continue };
            if first.0.offset <= offset {
                return Some(Self { offset, path, file, at: first.1 });
            }
        }
        None
    }

    /// Offset of the byte that comes next.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What comes next; `None` at the end of the log.
    ///
    /// # Errors
    /// The log does not have it.
    pub fn next(&mut self, node: &Node) -> Result<Option<Bytes>, Gap> {
        loop {
            let Some(block) = block_at(&self.file, self.at)? else {
                if !self.go_on(node)? {
                    return Ok(None);
                }
                continue;
            };
            self.at = block.end;
            if block.stream_end() <= self.offset {
                continue;
            }
            let skipped = self.offset.checked_sub(block.offset).ok_or(Gap)? as usize;
            self.offset = block.stream_end();
            return Ok(Some(block.bytes.slice(skipped..)));
        }
    }

    /// At the end of what was seen of a file: looks at what has come since, here or in the next one.
    fn go_on(&mut self, node: &Node) -> Result<bool, Gap> {
        if let Ok(file) = node.storage().read(&self.path)
            && file.len() > self.file.len()
        {
            self.file = file;
            return block_at(&self.file, self.at).map(|block| block.is_some());
        }
        match Self::find(node, self.offset) {
            Some(next) if next.path != self.path => {
                *self = next;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

/// The first block of a file that is a part of the stream, and where its annotations begin.
fn first_block(file: &Bytes) -> Result<Option<(Block, usize)>, Gap> {
    let Some(first) = block_at(file, 0)? else { return Ok(None) };
    if !first.is_prefix() {
        return Ok(Some((first, 0)));
    }
    let at = first.end;
    Ok(block_at(file, at)?.map(|second| (second, at)))
}

/// The block whose annotations begin here; `None`: it is not there, or not whole yet.
fn block_at(file: &Bytes, mut at: usize) -> Result<Option<Block>, Gap> {
    let mut timestamp = None;
    loop {
        let rest = file.get(at..).unwrap_or_default();
        let line = &rest[..rest.len().min(LINE_MAX)];
        let Some(len) = line.iter().position(|byte| *byte == b'\n').map(|end| end + 1) else {
            return if rest.len() < LINE_MAX { Ok(None) } else { Err(Gap) };
        };
        at += len;
        match parse(&line[..len]) {
            Ok(Annotation::Timestamp(seconds)) => timestamp = Some(seconds),
            Ok(Annotation::History(_)) => timestamp = None,
            Ok(Annotation::Block(header, _)) => {
                let end = usize::try_from(header.len).ok().and_then(|len| at.checked_add(len)).ok_or(Gap)?;
                if end > file.len() {
                    return Ok(None);
                }
                let bytes = file.slice(at..end);
                if block_crc32(&bytes, header.off, header.synced, timestamp) != header.crc32 {
                    return Err(Gap);
                }
                return Ok(Some(Block { offset: header.off, bytes, end }));
            }
            // Somebody else has appended here, who counts no offsets.
            Ok(Annotation::Other) | Err(_) => return Err(Gap),
        }
    }
}

/// Sends a replica the stream from this offset on out of the log, on a thread of its own, until the backlog has what comes
/// next; from there on the replica is attached to that, and the transfer is over. False: the log does not have it.
pub fn catch_up(node: &Arc<Node>, served: &Arc<Served>, from: u64, limit: u64) -> bool {
    let (Some(reader), Some(backlog)) = (LogReader::find(node, from), node.replication().backlog()) else {
        return false;
    };
    let transfer = Arc::<Transfer>::default();
    let (node, served, to) = (node.clone(), served.clone(), transfer.clone());
    served.set_transfer(transfer);
    let work = move || match send(&node, reader, &backlog, limit, &to) {
        Some(attached) => {
            served.follow(backlog, attached);
            to.end(End::Whole);
        }
        None => to.end(End::Failed),
    };
    std::thread::Builder::new().name("replica-log".to_owned()).spawn(work).is_ok()
}

fn send(
    node: &Node,
    mut reader: LogReader,
    backlog: &Backlog,
    limit: u64,
    to: &Transfer,
) -> Option<ReaderId> {
    let mut patience = PATIENCE;
    loop {
        if let Ok(attached) = backlog.attach(reader.offset(), limit) {
            return Some(attached);
        }
        match reader.next(node).ok()? {
            Some(bytes) => {
                patience = PATIENCE;
                for chunk in (0..bytes.len()).step_by(CHUNK_BYTES) {
                    let end = bytes.len().min(chunk + CHUNK_BYTES);
                    if !to.push(bytes.slice(chunk..end)) {
                        return None;
                    }
                }
            }
            None => {
                patience = patience.checked_sub(1)?;
                std::thread::sleep(PAUSE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_engine::aof::block::Annotator;

    fn file(blocks: &[(&[u8], u64, Option<i64>)]) -> Vec<u8> {
        let mut annotator = Annotator::new();
        let mut file = Vec::new();
        for (block, offset, now_s) in blocks {
            file.extend_from_slice(&annotator.annotate(block, *offset, None, *now_s));
            file.extend_from_slice(block);
        }
        file
    }

    #[test]
    fn blocks_of_a_file() {
        const SELECT: &[u8] = b"*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n";
        let whole = file(&[(SELECT, 77, None), (b"one", 100, Some(5)), (b"two!", 103, Some(5))]);
        let bytes = Bytes::from(whole.clone());
        let (first, at) = first_block(&bytes).expect("sound").expect("there");
        assert_eq!((first.offset, &*first.bytes), (100, &b"one"[..]));
        assert!(at > 0);
        let second = block_at(&bytes, first.end).expect("sound").expect("there");
        assert_eq!((second.stream_end(), second.end), (107, whole.len()));
        for cut in first.end..whole.len() {
            let torn = Bytes::copy_from_slice(&whole[..cut]);
            assert!(matches!(block_at(&torn, first.end), Ok(None)), "cut at {cut}");
        }
        for changed in first.end..whole.len() {
            let mut damaged = whole.clone();
            damaged[changed] ^= 1;
            let found = block_at(&Bytes::from(damaged), first.end);
            // A length that became larger is one of a block that is not there yet; the running checksum is not looked at.
            let same = |block: &Block| &*block.bytes == b"two!" && block.offset == 103;
            assert!(found.as_ref().map_or(true, |block| block.as_ref().is_none_or(same)), "byte {changed}");
        }
    }
}
