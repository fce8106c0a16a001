//! A snapshot as commands: the base of a log with `aof-use-rdb-preamble no`.
//!
//! | value        | commands                                                                        |
//! |--------------|---------------------------------------------------------------------------------|
//! | string       | `SET`                                                                           |
//! | list         | `RPUSH`                                                                         |
//! | set          | `SADD`                                                                          |
//! | sorted set   | `ZADD`, scores with 17 digits                                                   |
//! | hash         | `HSET`; then `HPEXPIREAT` for the fields of each deadline                        |
//! | stream       | `XADD` for each entry, `XSETID`; `XGROUP CREATE`, `XGROUP CREATECONSUMER`, `XCLAIM` |
//! | expiry       | `PEXPIREAT`                                                                     |
//! | database     | `SELECT`, where it changes                                                       |
//! | library      | `FUNCTION LOAD`                                                                 |
//!
//! A command has no more than [`BATCH`] elements, as those that Redis writes. How much a key has been used is not kept.

use crate::effects::encode;
use crate::hash::Hasher;
use crate::keyspace::{StrRef, ValueRef};
use crate::number::format_f64_17g;
use crate::rdb::file::{Item, Reader};
use crate::rdb::load::{self, Loaded};
use crate::rdb::{Family, RdbError, Unsupported};
use crate::settings::Settings;
use crate::types::hash::{BEFORE_ALL, Hash};
use crate::types::listpack::{IntText, LpEntry};
use crate::types::stream::{Books, Group, Stream, StreamId};
use crate::types::zset::ZEntry;
use smallvec::SmallVec;

/// Elements in one command.
pub const BATCH: usize = 64;

/// Appends the commands that make a key; `expiry` is in Unix milliseconds. O(bytes of the value), and O(n log n) in the
/// fields of a hash that expire.
pub fn key(out: &mut Vec<u8>, key: &[u8], value: ValueRef<'_>, expiry: Option<i64>) {
    match value {
        ValueRef::Str(text) => encode(&[b"SET", key, text.bytes(&mut itoa::Buffer::new())], out),
        ValueRef::List(list) => batches(out, &[b"RPUSH", key], list.iter().map(text)),
        ValueRef::Set(set) => batches(out, &[b"SADD", key], set.iter().map(text)),
        ValueRef::ZSet(zset) => {
            let scored = |entry: ZEntry<'_>| {
                let score = SmallVec::from_slice(&format_f64_17g(entry.score));
                [score, text(entry.member)]
            };
            pairs(out, &[b"ZADD", key], zset.iter().map(scored));
        }
        ValueRef::Hash(hash) => {
            let fields = hash.iter(BEFORE_ALL).map(|field| [text(field.name), text(field.value)]);
            pairs(out, &[b"HSET", key], fields);
            deadlines(out, key, hash);
        }
        ValueRef::Stream(stream) => stream_commands(out, key, stream),
    }
    if let Some(at_ms) = expiry {
        // A time before 1970 is over as well as its first millisecond, which every command takes.
        let at_ms = itoa::Buffer::new().format(at_ms.max(1)).to_owned();
        encode(&[b"PEXPIREAT", key, at_ms.as_bytes()], out);
    }
}

/// Short texts without an allocation.
type Text = SmallVec<[u8; 32]>;

fn text(element: LpEntry<'_>) -> Text {
    SmallVec::from_slice(element.as_slice(&mut IntText::default()))
}

fn batches(out: &mut Vec<u8>, head: &[&[u8]], elements: impl Iterator<Item = Text>) {
    let mut batch: Vec<Text> = Vec::with_capacity(BATCH);
    for element in elements {
        batch.push(element);
        if batch.len() == BATCH {
            flush(out, head, &mut batch);
        }
    }
    flush(out, head, &mut batch);
}

fn pairs(out: &mut Vec<u8>, head: &[&[u8]], pairs: impl Iterator<Item = [Text; 2]>) {
    let mut batch: Vec<Text> = Vec::with_capacity(2 * BATCH);
    for pair in pairs {
        batch.extend(pair);
        if batch.len() == 2 * BATCH {
            flush(out, head, &mut batch);
        }
    }
    flush(out, head, &mut batch);
}

fn flush(out: &mut Vec<u8>, head: &[&[u8]], batch: &mut Vec<Text>) {
    if batch.is_empty() {
        return;
    }
    let args: SmallVec<[&[u8]; 160]> =
        head.iter().copied().chain(batch.iter().map(SmallVec::as_slice)).collect();
    encode(&args, out);
    drop(args);
    batch.clear();
}

fn deadlines(out: &mut Vec<u8>, key: &[u8], hash: &Hash) {
    if hash.volatile_fields() == 0 {
        return;
    }
    let timed = hash.iter(BEFORE_ALL).filter_map(|field| Some((field.expire_at_ms?.max(1), field.name)));
    let mut timed: Vec<(i64, LpEntry<'_>)> = timed.collect();
    timed.sort_by_key(|(at_ms, _)| *at_ms);
    let same = timed.chunk_by(|(one, _), (other, _)| one == other);
    for group in same.flat_map(|group| group.chunks(BATCH)) {
        let Some((at_ms, _)) = group.first() else { continue };
        let (mut at, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (at, count) = (at.format(*at_ms).as_bytes(), count.format(group.len()).as_bytes());
        let mut batch: Vec<Text> = group.iter().map(|(_, name)| text(*name)).collect();
        flush(out, &[b"HPEXPIREAT", key, at, b"FIELDS", count], &mut batch);
    }
}

fn stream_commands(out: &mut Vec<u8>, key: &[u8], stream: &Stream) {
    let log = stream.log();
    for entry in log.iter() {
        let mut pairs: Vec<Text> =
            entry.fields.flat_map(|(field, value)| [text(field), text(value)]).collect();
        flush(out, &[b"XADD", key, &entry.id.text()], &mut pairs);
    }
    if log.is_empty() {
        // A stream that holds nothing is something too.
        encode(&[b"XADD", key, b"MAXLEN", b"0", b"0-1", b"x", b"y"], out);
    }
    let Books { last_id, max_deleted_id, entries_added } = *log.books();
    let mut added = itoa::Buffer::new();
    let added = added.format(entries_added).as_bytes();
    let (last, deleted) = (last_id.text(), max_deleted_id.text());
    encode(&[b"XSETID", key, &last, b"ENTRIESADDED", added, b"MAXDELETEDID", &deleted], out);
    for (name, group) in stream.groups() {
        group_commands(out, key, name, group);
    }
}

fn group_commands(out: &mut Vec<u8>, key: &[u8], name: &[u8], group: &Group) {
    let read = group.entries_read.map_or_else(|| "-1".to_owned(), |read| (read as i64).to_string());
    let last = group.last_id.text();
    encode(&[b"XGROUP", b"CREATE", key, name, &last, b"ENTRIESREAD", read.as_bytes()], out);
    for consumer in group.consumers() {
        encode(&[b"XGROUP", b"CREATECONSUMER", key, name, consumer.name()], out);
    }
    for (id, pending) in group.pending(StreamId::MIN..=StreamId::MAX) {
        let (mut at, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
        let at = at.format(pending.delivered_ms).as_bytes();
        let count = count.format(pending.deliveries as i64).as_bytes();
        let consumer = group.name_of(pending.consumer);
        let (id, how): (_, [&[u8]; 6]) =
            (id.text(), [b"TIME", at, b"RETRYCOUNT", count, b"JUSTID", b"FORCE"]);
        let head: [&[u8]; 6] = [b"XCLAIM", key, name, consumer, b"0", &id];
        encode(&[&head[..], &how].concat(), out);
    }
}

/// Turns a snapshot into commands, key by key.
#[derive(Debug)]
pub struct Converter<'a> {
    file: &'a [u8],
    settings: &'a Settings,
    hasher: &'a Hasher,
    reader: Reader,
    family: Family,
    db: u64,
    /// The database that the commands so far have selected.
    selected: Option<u64>,
    saved_s: Option<i64>,
}

impl<'a> Converter<'a> {
    /// Begins with a whole file. Its checksum is verified along the way.
    pub fn new(file: &'a [u8], settings: &'a Settings, hasher: &'a Hasher) -> Self {
        let (reader, family) = (Reader::verifying(), Family::Redis);
        Self { file, settings, hasher, reader, family, db: 0, selected: None, saved_s: None }
    }

    /// How many bytes of the file have been read.
    pub fn offset(&self) -> usize {
        self.reader.offset()
    }

    /// When the snapshot was taken, in Unix seconds: known before the first command if the file says so.
    pub fn saved_s(&self) -> Option<i64> {
        self.saved_s
    }

    /// Appends the commands for the next part of the file, if it needs any; false at its end. O(bytes of the part).
    ///
    /// # Errors
    /// The file is not what it should be, or holds what no command makes.
    pub fn step(&mut self, out: &mut Vec<u8>) -> Result<bool, RdbError> {
        let at = self.reader.offset();
        let (item, used) = self.reader.next(self.file.get(at..).unwrap_or_default())?;
        match item {
            Item::Header { family, .. } => self.family = family,
            Item::Aux { key, value } if *key == *b"ctime" => {
                self.saved_s = crate::number::parse_i64(&value);
            }
            Item::SelectDb(db) => self.db = db,
            Item::Function(source) => encode(&[b"FUNCTION", b"LOAD", &source], out),
            Item::Key(record) => {
                let (settings, hasher) = (self.settings, self.hasher);
                let loaded = load::borrowed(record.kind, self.family, record.value, settings, hasher);
                let loaded = match loaded {
                    Ok((loaded, _)) => loaded,
                    // Some old servers wrote such keys.
                    Err(RdbError::Empty { .. }) => return Ok(true),
                    // The value is what the bytes before the end are.
                    Err(error) => return Err(error.shifted(at + used - record.value.len())),
                };
                if self.selected != Some(self.db) {
                    encode(&[b"SELECT", itoa::Buffer::new().format(self.db).as_bytes()], out);
                    self.selected = Some(self.db);
                }
                let value = match &loaded {
                    Loaded::Text(text) => ValueRef::Str(StrRef::Raw(text)),
                    Loaded::Value(value) => value.borrowed(),
                };
                key(out, &record.key, value, record.expiry_ms);
            }
            Item::ModuleAux(module) => {
                return Err(RdbError::Unsupported { offset: at, what: Unsupported::Module(module) });
            }
            Item::End { .. } => return Ok(false),
            Item::Aux { .. } | Item::ResizeDb { .. } | Item::SlotInfo { .. } => {}
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aof::read::{Reader as LogReader, Verdict};
    use crate::keyspace::Keyspace;
    use crate::rdb::save::{self, SaveOptions};
    use crate::rdb::{Version, crc64, write};
    use crate::testing::{Bench, canonical, words};
    use std::collections::BTreeMap;

    /// By database and key: the value and its expiry.
    type Contents = BTreeMap<(usize, String), (String, Option<i64>)>;

    fn contents(bench: &mut Bench, keys: &[(usize, String)]) -> Contents {
        let mut found = Contents::new();
        for (db, key) in keys {
            let mut keyspace = Keyspace::one(&mut bench.shard, &bench.settings, *db, 0);
            let Some(value) = keyspace.read(key.as_bytes()).map(|value| canonical(value)) else { continue };
            let expiry = keyspace.expiry(key.as_bytes()).flatten();
            found.insert((*db, key.clone()), (value, expiry));
        }
        found
    }

    /// All keys as a snapshot.
    fn snapshot(bench: &mut Bench, keys: &[(usize, String)]) -> Vec<u8> {
        let options = SaveOptions { target: Version::V12, compress: true };
        let mut file = write::header(Version::V12).to_vec();
        write::aux(&mut file, b"ctime", b"1700000000");
        write::function(&mut file, b"#!lua name=lib", true);
        for (db, key) in keys {
            let mut keyspace = Keyspace::one(&mut bench.shard, &bench.settings, *db, 0);
            let expiry = keyspace.expiry(key.as_bytes()).flatten();
            let value = keyspace.read(key.as_bytes()).expect("a key");
            write::select_db(&mut file, *db as u64);
            save::key(&mut file, &options, key.as_bytes(), value, expiry, None);
        }
        let crc = crc64::checksum(&file);
        write::end(&mut file, crc);
        file
    }

    #[test]
    fn commands_make_what_was_saved() {
        let mut bench = Bench::new();
        let numbers = |from: usize, to: usize| (from..to).map(|n| format!(" {n}")).collect::<String>();
        let pairs = |count: usize| (0..count).map(|n| format!(" {n} m{n}")).collect::<String>();
        let script = [
            (0, "SET text value".to_owned()),
            (0, "SET number 12345 PXAT 1800000000123".to_owned()),
            (0, "SET empty \"\"".to_owned()),
            (0, format!("RPUSH list{}", numbers(0, 200))),
            (0, format!("SADD ints{}", numbers(0, 65))),
            (0, format!("SADD set x{}", numbers(0, 700))),
            (3, format!("ZADD zset -inf a inf b 0.1 d 3e-320 e{}", pairs(130))),
            (3, "ZADD one 1.5 a".to_owned()),
            (3, format!("HSET hash{}", pairs(300))),
            (3, "HPEXPIREAT hash 1800000000000 FIELDS 3 1 2 3".to_owned()),
            (3, format!("HPEXPIREAT hash 1800000000001 FIELDS 90{}", numbers(10, 100))),
            (3, "PEXPIREAT hash 1900000000000".to_owned()),
            (9, "HSET small f v g 7".to_owned()),
        ];
        let mut keys = Vec::new();
        for (db, line) in &script {
            bench.db = *db;
            let args = words(line);
            let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
            let reply = bench.run_args(&args);
            assert!(!reply.starts_with(b"-"), "{line}: {}", reply.escape_ascii());
            keys.push((*db, args[1].escape_ascii().to_string()));
        }
        keys.sort();
        keys.dedup();
        let file = snapshot(&mut bench, &keys);
        let (settings, hasher) = (Settings::default(), Hasher::default());
        let (mut converter, mut log) = (Converter::new(&file, &settings, &hasher), Vec::new());
        while converter.step(&mut log).expect("a sound file") {}
        assert_eq!((converter.offset(), converter.saved_s()), (file.len(), Some(1_700_000_000)));

        let mut again = Bench::new();
        let (mut reader, mut longest, mut libraries) = (LogReader::new(&log, 0), 0, 0);
        while let Some(unit) = reader.read() {
            for command in unit.commands() {
                longest = longest.max(command.args.len());
                if command.args[0] == b"FUNCTION" {
                    libraries += 1;
                    continue;
                }
                again.db = command.db;
                let reply = again.run_args(command.args);
                assert!(!reply.starts_with(b"-"), "{}", reply.escape_ascii());
            }
        }
        assert_eq!(reader.verdict(), Some(&Verdict::Whole));
        assert_eq!((longest, libraries), (2 + 2 * BATCH, 1));
        let expected = contents(&mut bench, &keys);
        assert_eq!(expected.len(), keys.len());
        assert_eq!(contents(&mut again, &keys), expected);
    }

    #[test]
    fn a_file_that_was_changed_is_refused() {
        let mut bench = Bench::new();
        bench.run_args(&[b"SET", b"key", b"value"]);
        let mut file = snapshot(&mut bench, &[(0, "key".to_owned())]);
        let at = file.len() - 10;
        file[at] ^= 1;
        let (settings, hasher) = (Settings::default(), Hasher::default());
        let (mut converter, mut log) = (Converter::new(&file, &settings, &hasher), Vec::new());
        let error = loop {
            match converter.step(&mut log) {
                Ok(true) => {}
                other => break other,
            }
        };
        assert!(error.is_err(), "{error:?}");
    }
}
