//! Streams in snapshots.
//!
//! | part                                                     | since type |
//! |----------------------------------------------------------|------------|
//! | number of nodes; each: base id in 16 bytes, listpack      | 15         |
//! | number of entries, last id                               | 15         |
//! | first id, greatest deleted id, entries ever added        | 19         |
//! | number of groups; each: name, last id                    | 15         |
//! | .. entries read                                          | 19         |
//! | .. number of pending entries; each: id in 16 bytes, time in 8, deliveries | 15 |
//! | .. number of consumers; each: name, time when seen in 8  | 15         |
//! | .. .. time when active in 8                              | 21         |
//! | .. .. number of pending entries; each: id in 16 bytes    | 15         |
//!
//! Ids are two lengths unless said otherwise. Every pending entry belongs to exactly one consumer; what says otherwise is
//! refused, as are nodes whose entries are not what their counts and ids claim.

use super::input::Input;
use super::kind::Kind;
use super::string::{self, Text};
use super::{RdbError, length};
use crate::types::listpack::{Corrupt, Listpack};
use crate::types::stream::{Books, Group, Log, Pending, Stream, StreamId};
use std::collections::BTreeMap;

/// What stands for a count or a time that is not known.
const UNKNOWN: u64 = u64::MAX;
const NEVER: i64 = -1;

pub(super) fn save(out: &mut Vec<u8>, stream: &Stream, kind: Kind, compress: bool) {
    let log = stream.log();
    length::encode(log.node_count() as u64, out);
    for (base, bytes) in log.nodes() {
        string::encode(out, &base.to_bytes(), false);
        string::encode(out, bytes, compress);
    }
    let Books { last_id, max_deleted_id, entries_added } = *log.books();
    length::encode(log.len(), out);
    save_id(out, last_id);
    save_id(out, log.first_id());
    save_id(out, max_deleted_id);
    length::encode(entries_added, out);
    length::encode(stream.groups().len() as u64, out);
    for (name, group) in stream.groups() {
        string::encode(out, name, compress);
        save_group(out, group, kind, compress);
    }
}

fn save_id(out: &mut Vec<u8>, id: StreamId) {
    length::encode(id.ms, out);
    length::encode(id.seq, out);
}

fn save_group(out: &mut Vec<u8>, group: &Group, kind: Kind, compress: bool) {
    save_id(out, group.last_id);
    length::encode(group.entries_read.unwrap_or(UNKNOWN), out);
    length::encode(group.pending_len() as u64, out);
    for (id, pending) in group.pending(StreamId::MIN..=StreamId::MAX) {
        out.extend_from_slice(&id.to_bytes());
        out.extend_from_slice(&pending.delivered_ms.to_le_bytes());
        length::encode(pending.deliveries, out);
    }
    length::encode(group.consumers().len() as u64, out);
    for consumer in group.consumers() {
        string::encode(out, consumer.name(), compress);
        out.extend_from_slice(&consumer.seen_ms.to_le_bytes());
        if kind == Kind::Stream3 {
            out.extend_from_slice(&consumer.active_ms.unwrap_or(NEVER).to_le_bytes());
        }
        length::encode(consumer.pending_len() as u64, out);
        for id in consumer.pending(StreamId::MIN..=StreamId::MAX) {
            out.extend_from_slice(&id.to_bytes());
        }
    }
}

pub(super) fn load(input: &mut Input<'_>, kind: Kind) -> Result<Stream, RdbError> {
    let mut stream = Stream::of(load_log(input, kind)?);
    for _ in 0..length::plain(input)? {
        load_group(input, kind, &mut stream)?;
    }
    Ok(stream)
}

fn load_log(input: &mut Input<'_>, kind: Kind) -> Result<Log, RdbError> {
    let mut log = Log::default();
    for _ in 0..length::plain(input)? {
        let at = input.offset();
        let base = string::text(input)?;
        let base = <[u8; 16]>::try_from(&*base).map_err(|_| Input::corrupt(at, "an id of 16 bytes"))?;
        let at = input.offset();
        let added =
            pack(string::text(input)?).and_then(|pack| log.push_node(StreamId::from_bytes(base), pack));
        added.map_err(|error| Input::corrupt(at, error.expected))?;
    }
    let at = input.offset();
    let (len, last_id) = (length::plain(input)?, load_id(input)?);
    let books = if kind == Kind::Stream {
        None
    } else {
        // The first id follows from the entries.
        load_id(input)?;
        let (max_deleted_id, entries_added) = (load_id(input)?, length::plain(input)?);
        Some(Books { last_id, max_deleted_id, entries_added })
    };
    log.finish(len, last_id, books).map_err(|error| Input::corrupt(at, error.expected))?;
    Ok(log)
}

fn pack(text: Text<'_>) -> Result<Listpack, Corrupt> {
    match text {
        Text::Owned(bytes) => Listpack::from_vec_checked(bytes),
        text => Listpack::from_bytes_checked(&text),
    }
}

fn load_id(input: &mut Input<'_>) -> Result<StreamId, RdbError> {
    Ok(StreamId::new(length::plain(input)?, length::plain(input)?))
}

fn load_time(input: &mut Input<'_>) -> Result<i64, RdbError> {
    Ok(i64::from_le_bytes(input.array()?))
}

fn load_group(input: &mut Input<'_>, kind: Kind, stream: &mut Stream) -> Result<(), RdbError> {
    let at = input.offset();
    let (name, last_id) = (string::text(input)?, load_id(input)?);
    let entries_read = match kind {
        Kind::Stream => stream.log().count_up_to(last_id),
        // No command could set more than a signed number says.
        _ => i64::try_from(length::plain(input)?).map(i64::unsigned_abs).ok(),
    };
    let mut group = Group::new(last_id, entries_read);
    let mut unowned = load_pending(input)?;
    for _ in 0..length::plain(input)? {
        load_consumer(input, kind, &mut group, &mut unowned)?;
    }
    if !unowned.is_empty() {
        return Err(Input::corrupt(at, "a consumer for every pending entry"));
    }
    if !stream.add_group(&name, group) {
        return Err(Input::corrupt(at, "no group twice"));
    }
    Ok(())
}

/// Pending entries whose consumers are still to come: when they were delivered, and how often.
type Unowned = BTreeMap<StreamId, (i64, u64)>;

fn load_pending(input: &mut Input<'_>) -> Result<Unowned, RdbError> {
    let mut pending = Unowned::new();
    for _ in 0..length::plain(input)? {
        let at = input.offset();
        let id = StreamId::from_bytes(input.array()?);
        let delivered = (load_time(input)?, length::plain(input)?);
        if pending.insert(id, delivered).is_some() {
            return Err(Input::corrupt(at, "no pending entry twice"));
        }
    }
    Ok(pending)
}

fn load_consumer(
    input: &mut Input<'_>,
    kind: Kind,
    group: &mut Group,
    unowned: &mut Unowned,
) -> Result<(), RdbError> {
    let at = input.offset();
    let name = string::text(input)?;
    let seen_ms = load_time(input)?;
    let active_ms = if kind == Kind::Stream3 { load_time(input)? } else { seen_ms };
    let consumer = group.add_consumer(&name, seen_ms);
    let consumer = consumer.ok_or_else(|| Input::corrupt(at, "no consumer twice"))?;
    if let Some(consumer) = group.consumer_mut(consumer) {
        consumer.active_ms = Some(active_ms).filter(|at| *at != NEVER);
    }
    for _ in 0..length::plain(input)? {
        let at = input.offset();
        let id = StreamId::from_bytes(input.array()?);
        let Some((delivered_ms, deliveries)) = unowned.remove(&id) else {
            return Err(Input::corrupt(at, "an entry that is pending for nobody else"));
        };
        group.assign(id, Pending { delivered_ms, deliveries, consumer });
    }
    Ok(())
}
