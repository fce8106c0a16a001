//! The RDB format: whatever claims to be a value, a payload or a file is refused, or means the same to everybody.

use crate::input::Choices;
use baton_engine::hash::Hasher;
use baton_engine::keyspace::{StrRef, Value, ValueRef};
use baton_engine::rdb::file::{Item, Reader};
use baton_engine::rdb::save::SaveOptions;
use baton_engine::rdb::{Family, RdbError, Version, crc64, load, save, skip_value};
use baton_engine::settings::Settings;
use baton_engine::testing::{Bench, canonical, readable};
use baton_engine::types::hash::BEFORE_ALL;

/// One byte: how to read; one byte: the type; then the value.
///
/// What is read is as long as it is to a reader that only skips it, holds to its invariants, and is the same after it
/// has been written and read again.
pub fn rdb_value(data: &[u8]) {
    let mut choices = Choices::new(data);
    let (how, kind) = (choices.byte(), choices.byte());
    let (family, settings, bytes) = (family(how), settings(how), choices.rest());
    let read = load::value(kind, family, bytes, &settings, &Hasher::default());
    let skipped = skip_value(kind, family, bytes);
    let (value, used) = match read {
        Ok(read) => read,
        Err(RdbError::Empty { used }) => return assert_eq!(skipped, Ok(used)),
        Err(_) => return,
    };
    assert_eq!(skipped, Ok(used));
    for end in [0, used / 2, used.saturating_sub(1)] {
        let cut = skip_value(kind, family, &bytes[..end.min(used)]);
        assert!(end == used || matches!(cut, Err(RdbError::Incomplete { .. })), "{cut:?}");
    }
    assert_invariants(&value);
    for (target, compress) in [(Version::V10, true), (Version::Valkey80, false)] {
        let mut out = Vec::new();
        let version = save::value(&mut out, &SaveOptions { target, compress }, borrow(&value));
        let (kind, body) = out.split_first().expect("a type");
        let again = load::value(*kind, version.family(), body, &settings, &Hasher::default());
        let (again, used) = again.expect("what was written is read");
        assert_eq!(used, body.len());
        // Redis has 48 bits for a deadline.
        let latest = if version == Version::V12 { (1 << 48) - 1 } else { i64::MAX };
        assert_eq!(content(borrow(&again), latest), content(borrow(&value), latest));
    }
}

fn family(how: u8) -> Family {
    if how & 1 == 0 { Family::Redis } else { Family::Valkey }
}

/// The default limits, or such that everything is converted.
fn settings(how: u8) -> Settings {
    let tight = Settings {
        list_max_listpack_size: 3,
        set_max_intset_entries: 3,
        set_max_listpack_entries: 3,
        hash_max_listpack_entries: 3,
        zset_max_listpack_entries: 3,
        stream_node_max_entries: 3,
        ..Settings::default()
    };
    if how & 2 == 0 { Settings::default() } else { tight }
}

/// An element, field or member, with what belongs to it.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
struct Part(Vec<u8>, Vec<u8>, Option<i64>, f64);

/// All that a client could find out, in an order of its own where there is none. Later deadlines count as `latest`.
fn content(value: ValueRef<'_>, latest: i64) -> Vec<Part> {
    let plain = |bytes: Vec<u8>| Part(bytes, Vec::new(), None, 0.0);
    let mut parts: Vec<Part> = match value {
        ValueRef::Str(text) => return vec![plain(text.to_vec())],
        ValueRef::List(list) => return list.iter().map(|element| plain(element.to_vec())).collect(),
        ValueRef::Stream(_) => return vec![plain(canonical(value).into_bytes())],
        ValueRef::Set(set) => set.iter().map(|member| plain(member.to_vec())).collect(),
        ValueRef::Hash(hash) => hash
            .iter(BEFORE_ALL)
            .map(|field| {
                let at = field.expire_at_ms.map(|at| at.min(latest));
                Part(field.name.to_vec(), field.value.to_vec(), at, 0.0)
            })
            .collect(),
        ValueRef::ZSet(zset) => {
            return zset
                .iter()
                .map(|entry| Part(entry.member.to_vec(), Vec::new(), None, entry.score))
                .collect();
        }
    };
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    parts
}

fn borrow(value: &Value) -> ValueRef<'_> {
    match value {
        Value::Bytes(bytes) => ValueRef::Str(StrRef::Raw(bytes)),
        Value::Int(n) => ValueRef::Str(StrRef::Int(*n)),
        Value::List(list) => ValueRef::List(list),
        Value::Set(set) => ValueRef::Set(set),
        Value::Hash(hash) => ValueRef::Hash(hash),
        Value::ZSet(zset) => ValueRef::ZSet(zset),
        Value::Stream(stream) => ValueRef::Stream(stream),
    }
}

fn assert_invariants(value: &Value) {
    match value {
        Value::List(list) => list.assert_invariants(),
        Value::ZSet(zset) => zset.assert_invariants(),
        Value::Stream(stream) => stream.assert_invariants(),
        _ => {}
    }
}

/// One byte: whether the checksum is made right; then what RESTORE is given.
///
/// What is restored can be dumped, and what was dumped is restored to the same.
pub fn rdb_payload(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mended = choices.byte() != 0;
    let mut payload = choices.rest().to_vec();
    if mended {
        payload.extend(crc64::checksum(&payload).to_le_bytes());
    }
    let mut bench = Bench::new();
    let restore = |bench: &mut Bench, key: &[u8], payload: &[u8]| {
        readable(&bench.run_args(&[b"RESTORE", key, b"0", payload]))
    };
    let reply = restore(&mut bench, b"first", &payload);
    let refusals = ["-ERR Bad data format", "-ERR DUMP payload version or checksum are wrong"];
    if refusals.contains(&reply.as_str()) {
        return;
    }
    assert_eq!(reply, "OK");
    let dump = bench.run_args(&[b"DUMP", b"first"]);
    let start = dump.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    assert_eq!(restore(&mut bench, b"second", &dump[start..dump.len() - 2]), "OK");
    let digest = |bench: &mut Bench, key: &str| bench.run(&format!("DEBUG DIGEST-VALUE {key}"));
    assert_eq!(digest(&mut bench, "first"), digest(&mut bench, "second"));
    bench.run("DEL first second");
}

/// One byte: how large the pieces are; then a file.
///
/// A file that comes in pieces has the same items as the whole, and ends in the same way.
pub fn rdb_file(data: &[u8]) {
    let Some((step, file)) = data.split_first() else { return };
    assert_eq!(items(file, file.len()), items(file, usize::from(*step) + 1));
}

/// All items as text, with what their values are; and how it ends.
fn items(file: &[u8], step: usize) -> (Vec<String>, String) {
    let (mut reader, mut seen, mut come) = (Reader::verifying(), Vec::new(), step.min(file.len()));
    loop {
        let start = reader.offset();
        let end = match reader.next(&file[start..come]) {
            Ok((item, used)) => {
                assert_eq!(reader.offset(), start + used);
                if let Item::Key(record) = &item {
                    let family = reader.header().map_or(Family::Redis, |header| header.0);
                    let settings = Settings::default();
                    let value = load::value(record.kind, family, record.value, &settings, &Hasher::default());
                    if let Ok((value, used)) = value {
                        assert_invariants(&value);
                        assert_eq!(used, record.value.len());
                    }
                }
                seen.push(format!("{item:?}"));
                if !matches!(item, Item::End { .. }) {
                    continue;
                }
                "the end".to_owned()
            }
            Err(RdbError::Incomplete { .. }) if come < file.len() => {
                come = (come + step).min(file.len());
                continue;
            }
            Err(error) => error.to_string(),
        };
        return (seen, end);
    }
}
