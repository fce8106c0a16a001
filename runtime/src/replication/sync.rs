//! A full synchronisation: all data of a primary, in place of what was here.
//!
//! | way                        | the snapshot                     | old data                                    | clients meanwhile         |
//! |----------------------------|----------------------------------|---------------------------------------------|---------------------------|
//! | file (`disabled`)          | is written to a file, then loaded | stay until the file is whole, then go         | served, then `-LOADING`   |
//! | stream into nothing        | is built as it comes             | there were none (`on-empty-db`)               | `-LOADING`                |
//! | stream beside the old data | is built as it comes             | stay until the new ones are whole (`swapdb`)  | served                    |
//!
//! A stream is built apart, in shards of its own, one per processor: what has come in part is never among the data, and
//! a link that breaks leaves what was there before. When all is there, the new keys take the place of the old ones under all
//! batons, in the moment in which the journal goes on at the primary's offset.

use super::filter::Filter;
use crate::node::Node;
use crate::persist::feed::on_all_cores;
use crate::persist::load::{self, LoadError, LoadOptions, Progress, check_version};
use baton_engine::keyspace::Shard;
use baton_engine::keyspace::shard::{Garbage, MovingSlot};
use baton_engine::keyspace::stored::entry_of;
use baton_engine::number::parse_i64;
use baton_engine::rdb::file::{Item, Reader, Record};
use baton_engine::rdb::{Family, RdbError, Text};
use baton_engine::slot::{SLOTS, Slot};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The AUX field that says in which database the stream goes on.
const STREAM_DB: &[u8] = b"repl-stream-db";

/// All data of a primary, built apart.
pub struct Filled {
    shards: Vec<Shard>,
    libraries: Vec<Vec<u8>>,
    /// The database in which the stream goes on.
    pub stream_db: usize,
    /// Keys.
    pub keys: u64,
}

/// How a snapshot that comes as a stream is read.
#[derive(Clone, Debug)]
pub struct StreamOptions {
    /// Its checksum is checked (`rdbchecksum`).
    pub verify: bool,
    /// Snapshots of versions that are not known are read as far as possible.
    pub any_version: bool,
    /// What of it is kept.
    pub filter: Option<Arc<Filter>>,
}

/// Why a snapshot was not taken over.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// It cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It ends too early, or the connection does.
    #[error("{0}")]
    Lost(String),
}

/// What `read` has brought.
pub enum Came {
    /// More of the snapshot.
    More,
    /// All of it.
    All,
}

/// A key of a piece, on its way to the thread that builds it.
struct Key {
    db: usize,
    slot: Slot,
    name: Name,
    kind: u8,
    value: Range<usize>,
    expiry_ms: Option<i64>,
    access: Option<baton_engine::rdb::save::Access>,
}

/// The name of a key: within the piece, or taken out of it.
enum Name {
    There(Range<usize>),
    Own(Vec<u8>),
}

/// Keys that came together, and the bytes that they are in.
struct Piece {
    bytes: Bytes,
    offset: usize,
    family: Family,
    keys: Vec<Key>,
}

/// Builds a snapshot as it comes. `read` appends what has come to the buffer, and waits for it.
///
/// # Errors
/// The snapshot is no snapshot, or `read` failed. Nothing of the node has changed.
pub fn from_stream(
    node: &Node,
    name: &Arc<str>,
    options: &StreamOptions,
    progress: &Progress,
    mut read: impl FnMut(&mut BytesMut) -> Result<Came, SyncError>,
) -> Result<Filled, SyncError> {
    let settings = node.settings().clone();
    let now_ms = node.now_ms();
    let hands = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).clamp(1, 64);
    let hand_of = |slot: Slot| slot.index() * hands / SLOTS;
    let shards: Vec<Mutex<Shard>> = (0..hands)
        .map(|hand| {
            let mut shard = Shard::new(settings.databases, node.hasher().clone(), hand as u64);
            for slot in Slot::all().filter(|slot| hand_of(*slot) == hand) {
                shard.put_slot(slot, MovingSlot::default());
            }
            Mutex::new(shard)
        })
        .collect();
    let format = |error: RdbError| LoadError::Format { file: name.clone(), error };
    let build = |hand: usize, pieces: Vec<Piece>| {
        let mut shard = shards[hand].lock();
        for piece in pieces {
            progress.keys.fetch_add(piece.keys.len() as u64, Ordering::Relaxed);
            for key in piece.keys {
                let record = Record {
                    key: match &key.name {
                        Name::There(range) => Text::Borrowed(&piece.bytes[range.clone()]),
                        Name::Own(name) => Text::Borrowed(name),
                    },
                    kind: key.kind,
                    value: &piece.bytes[key.value.clone()],
                    expiry_ms: key.expiry_ms,
                    access: key.access,
                };
                let entry = entry_of(&record, piece.family, &settings, node.hasher(), now_ms)
                    .map_err(|error| format(error.shifted(piece.offset + key.value.start)))?;
                if let Some(entry) = entry
                    && let Err(entry) = shard.add_loaded(key.slot, key.db, entry)
                {
                    let shown = entry.key().escape_ascii().to_string();
                    return Err(LoadError::Twice { file: name.clone(), key: shown, db: key.db }.into());
                }
            }
        }
        Ok(())
    };
    let found = on_all_cores(hands, build, |feed| {
        let mut reader = if options.verify { Reader::verifying() } else { Reader::new() };
        let mut found = Found::new(name, options, settings.databases);
        let (mut buffer, mut enough) = (BytesMut::new(), 1);
        loop {
            let all = matches!(read(&mut buffer)?, Came::All);
            progress.done.store((reader.offset() + buffer.len()) as u64, Ordering::Relaxed);
            if buffer.len() < enough && !all {
                continue;
            }
            let offset = reader.offset();
            let mut pieces: Vec<Vec<Key>> = (0..hands).map(|_| Vec::new()).collect();
            let mut at = 0;
            while !found.ended {
                match reader.next(&buffer[at..]) {
                    Ok((item, used)) => {
                        if let Some(key) = found.take(item, &buffer)? {
                            pieces[hand_of(key.slot)].push(key);
                        }
                        at += used;
                    }
                    Err(RdbError::Incomplete { .. }) if !all => break,
                    Err(error) => return Err(format(error).into()),
                }
            }
            // A value that comes in many parts is looked at when it has doubled, not for each of them.
            let bytes = buffer.split_to(at).freeze();
            enough = buffer.len() * 2;
            for (hand, keys) in pieces.into_iter().enumerate().filter(|(_, keys)| !keys.is_empty()) {
                let piece = Piece { bytes: bytes.clone(), offset, family: found.family, keys };
                if !feed.give_now(hand, piece) {
                    return Err(LoadError::GivenUp(name.clone()).into());
                }
            }
            if found.ended && all {
                return Ok((found.libraries, found.stream_db, found.keys));
            }
            if all {
                return Err(SyncError::Lost("the snapshot ends before its end".to_owned()));
            }
        }
    });
    let (libraries, stream_db, keys) = found?;
    Ok(Filled { shards: shards.into_iter().map(Mutex::into_inner).collect(), libraries, stream_db, keys })
}

/// What has been found in a snapshot so far.
struct Found<'o> {
    name: &'o Arc<str>,
    options: &'o StreamOptions,
    databases: usize,
    db: usize,
    family: Family,
    libraries: Vec<Vec<u8>>,
    stream_db: usize,
    keys: u64,
    ended: bool,
}

impl<'o> Found<'o> {
    fn new(name: &'o Arc<str>, options: &'o StreamOptions, databases: usize) -> Self {
        Self {
            name,
            options,
            databases,
            db: 0,
            family: Family::Redis,
            libraries: Vec::new(),
            stream_db: 0,
            keys: 0,
            ended: false,
        }
    }

    /// Takes an item over; the key, if it is one that is kept.
    fn take(&mut self, item: Item<'_>, bytes: &[u8]) -> Result<Option<Key>, SyncError> {
        let file = || self.name.clone();
        match item {
            Item::Header { family, version } => {
                let options = LoadOptions {
                    verify: self.options.verify,
                    skip_expired: false,
                    any_version: self.options.any_version,
                    key_delay: std::time::Duration::ZERO,
                    onto: load::Onto::Nothing,
                };
                check_version(self.name, family, version, options)?;
                self.family = family;
            }
            Item::Aux { key, value } if &*key == STREAM_DB => self.stream_db = stream_db(&value),
            Item::SelectDb(db) if self.is_left_out(db) => self.db = db as usize,
            Item::SelectDb(db) if db >= self.databases as u64 => {
                return Err(LoadError::Databases { file: file(), db, databases: self.databases }.into());
            }
            Item::SelectDb(db) => self.db = db as usize,
            Item::Function(source) => self.libraries.push(source.into_vec()),
            Item::ModuleAux(module) => {
                return Err(LoadError::Module { file: file(), module: module.to_string() }.into());
            }
            Item::Key(record) => return Ok(self.key(record, bytes)),
            Item::End { .. } => self.ended = true,
            Item::Aux { .. } | Item::ResizeDb { .. } | Item::SlotInfo { .. } => {}
        }
        Ok(None)
    }

    /// A copy that leaves a database out need not have it.
    fn is_left_out(&self, db: u64) -> bool {
        self.options.filter.as_ref().is_some_and(|filter| !filter.keeps_database(db as usize))
    }

    fn key(&mut self, record: Record<'_>, bytes: &[u8]) -> Option<Key> {
        let keeps = |filter: &Arc<Filter>| filter.keeps(self.db, &record.key);
        if !self.options.filter.as_ref().is_none_or(keeps) {
            return None;
        }
        self.keys += 1;
        // Where a part of the piece is in it.
        let place = |part: &[u8]| {
            let start = (part.as_ptr() as usize).wrapping_sub(bytes.as_ptr() as usize);
            start..start.wrapping_add(part.len())
        };
        Some(Key {
            db: self.db,
            slot: Slot::of(&record.key),
            kind: record.kind,
            value: place(record.value),
            expiry_ms: record.expiry_ms,
            access: record.access,
            name: match record.key {
                Text::Borrowed(key) => Name::There(place(key)),
                other => Name::Own(other.into_vec()),
            },
        })
    }
}

fn stream_db(value: &[u8]) -> usize {
    parse_i64(value).and_then(|db| usize::try_from(db).ok()).unwrap_or_default()
}

/// Puts what was built apart in the place of all data. `at_point` runs in that moment, under all batons.
pub fn take_over<R>(
    node: &Arc<Node>,
    filled: Filled,
    lazily: bool,
    at_point: impl FnOnce(&mut crate::held::Held<'_>, usize) -> R,
) -> R {
    let Filled { shards, libraries, stream_db, .. } = filled;
    let mut held = node.hold_all();
    held.states().for_each(|state| state.shard.end_save());
    held.with_keyspace(0, |keyspace| keyspace.replace_all(shards));
    let garbage = take_garbage(node, &mut held, lazily);
    node.scripts.replace_libraries(libraries);
    let result = at_point(&mut held, stream_db);
    drop(held);
    drop(garbage);
    result
}

/// Throws all data away; their memory is free when this returns, unless `lazily`.
pub fn throw_away(node: &Arc<Node>, lazily: bool) {
    let databases = node.settings().databases;
    let mut held = node.hold_all();
    held.with_keyspace(0, |keyspace| keyspace.flush(0..databases, true));
    let garbage = take_garbage(node, &mut held, lazily);
    node.scripts.libraries.clear();
    drop(held);
    drop(garbage);
}

/// What was here: is freed by a thread of its own, or by the caller, when nobody waits for it any more.
fn take_garbage(node: &Node, held: &mut crate::held::Held<'_>, lazily: bool) -> Vec<Garbage> {
    let settings = node.settings();
    let mut garbage = Vec::new();
    for state in held.states() {
        if !lazily {
            garbage.append(&mut state.shard.garbage);
        }
        node.publish_events(&mut state.shard, &settings);
    }
    garbage
}

/// Loads a snapshot that lies in a file into an empty node; in which database the stream goes on.
///
/// # Errors
/// Parts may have been loaded: the caller throws them away.
pub fn from_file(
    node: &Arc<Node>,
    path: &std::path::Path,
    options: LoadOptions,
    progress: &Progress,
) -> Result<usize, SyncError> {
    let name: Arc<str> = path.display().to_string().into();
    let file = node.storage().read(path);
    let file =
        file.map_err(|error| SyncError::Lost(format!("the snapshot {name} cannot be read: {error}")))?;
    progress.begin(node.now_ms());
    progress.total.store(file.len() as u64, Ordering::Relaxed);
    let loaded = load::snapshot(node, &name, &file, options, progress);
    progress.end();
    let loaded = loaded?;
    let db = loaded.aux.iter().find(|(key, _)| key == STREAM_DB);
    Ok(db.map_or(0, |(_, value)| stream_db(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use baton_engine::rdb::{Version, crc64, write};

    /// A snapshot of some keys in two databases.
    fn snapshot() -> Vec<u8> {
        let mut file = write::header(Version::V10).to_vec();
        write::aux(&mut file, STREAM_DB, b"3");
        let text = |n: usize| "x".repeat(n * 37 % 5_000);
        for db in [0, 2] {
            write::select_db(&mut file, db);
            for n in 0..300 {
                let (key, value) = (format!("key:{db}:{n}"), text(n));
                let value = baton_engine::keyspace::ValueRef::Str(baton_engine::keyspace::StrRef::Raw(
                    value.as_bytes(),
                ));
                let options = baton_engine::rdb::save::SaveOptions::default();
                baton_engine::rdb::save::key(&mut file, &options, key.as_bytes(), value, None, None);
            }
        }
        let crc = crc64::checksum(&file);
        write::end(&mut file, crc);
        file
    }

    fn read(store: &Store, file: &[u8], piece: usize, filter: Option<Filter>) -> Result<Filled, SyncError> {
        let options = StreamOptions { verify: true, any_version: false, filter: filter.map(Arc::new) };
        let mut parts = file.chunks(piece);
        let mut left = file.len();
        from_stream(store.node(), &"test".into(), &options, &Progress::default(), |buffer| {
            let part = parts.next().unwrap_or_default();
            buffer.extend_from_slice(part);
            left -= part.len();
            Ok(if left == 0 { Came::All } else { Came::More })
        })
    }

    #[test]
    fn a_stream_takes_the_place_of_all_data() {
        let file = snapshot();
        for piece in [7, 1_000, file.len()] {
            let store = Store::memory();
            store.set("old", "data").unwrap();
            let filled = read(&store, &file, piece, None).unwrap();
            assert_eq!((filled.keys, filled.stream_db), (600, 3));
            assert_eq!(store.len().unwrap(), 1, "nothing changes before all of it is there");
            take_over(store.node(), filled, true, |_, _| ());
            assert_eq!(store.len().unwrap(), 300);
            let second = store.database(2).unwrap();
            assert_eq!(second.get("key:2:299").unwrap().unwrap().len(), 299 * 37 % 5_000);
            throw_away(store.node(), piece > 7);
            assert_eq!((store.len().unwrap(), second.len().unwrap()), (0, 0));
        }
    }

    #[test]
    fn what_is_damaged_or_cut_short_changes_nothing() {
        let file = snapshot();
        let store = Store::memory();
        store.set("old", "data").unwrap();
        for cut in [0, 5, 100, file.len() / 2, file.len() - 1] {
            assert!(read(&store, &file[..cut], 500, None).is_err(), "cut at {cut}");
        }
        for at in (0..file.len()).step_by(997) {
            let mut damaged = file.clone();
            damaged[at] ^= 0x41;
            assert!(read(&store, &damaged, 5_000, None).is_err(), "damaged at {at}");
        }
        assert_eq!(store.get("old").unwrap().unwrap(), "data");
    }

    #[test]
    fn a_copy_of_a_part() {
        let file = snapshot();
        let store = Store::builder().databases(1).memory();
        assert!(read(&store, &file, 5_000, None).is_err(), "there is a database 2");
        let filter = Filter { databases: vec![0], patterns: vec![b"*9".to_vec()], ..Filter::default() };
        let filled = read(&store, &file, 5_000, Some(filter)).unwrap();
        take_over(store.node(), filled, true, |_, _| ());
        assert_eq!(store.len().unwrap(), 30);
        assert!(store.get("key:0:29").unwrap().is_some());
    }
}
