//! Values to bytes and back, against naive models; and bytes that are nothing of the kind.

use super::save::{self, Access, SaveOptions};
use super::{Family, ModuleName, RdbError, Unsupported, Version, load, skip_value};
use crate::hash::Hasher;
use crate::keyspace::{StrRef, Value, ValueRef};
use crate::settings::Settings;
use crate::types::hash::{BEFORE_ALL, FieldTtl, Hash};
use crate::types::list::List;
use crate::types::listpack::Listpack;
use crate::types::set::Set;
use crate::types::zset::ZSet;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::{
    Just, Strategy, TestCaseError, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use std::collections::{BTreeMap, BTreeSet};

const TARGETS: [Version; 4] = [Version::V10, Version::V11, Version::V12, Version::Valkey80];

/// What a client could find out about a value.
#[derive(Clone, Debug, PartialEq)]
enum Model {
    Text(Vec<u8>),
    List(Vec<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    Hash(BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>),
    ZSet(BTreeMap<Vec<u8>, f64>),
    /// As its canonical text, which is not to be built from.
    Stream(String),
}

impl Model {
    fn of(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Str(text) => Self::Text(text.to_vec()),
            ValueRef::List(list) => Self::List(list.iter().map(|e| e.to_vec()).collect()),
            ValueRef::Set(set) => Self::Set(set.iter().map(|m| m.to_vec()).collect()),
            ValueRef::Hash(hash) => Self::Hash(
                hash.iter(BEFORE_ALL)
                    .map(|f| (f.name.to_vec(), (f.value.to_vec(), f.expire_at_ms)))
                    .collect(),
            ),
            ValueRef::ZSet(zset) => Self::ZSet(zset.iter().map(|e| (e.member.to_vec(), e.score)).collect()),
            ValueRef::Stream(_) => Self::Stream(crate::testing::canonical(value)),
        }
    }

    fn build(&self, settings: &Settings, hasher: &Hasher) -> Value {
        match self {
            Self::Text(text) => Value::Bytes(text.clone()),
            Self::List(elements) => {
                let mut list = List::new();
                elements.iter().for_each(|e| list.push_back(e, settings.node_limit()));
                Value::List(Box::new(list))
            }
            Self::Set(members) => {
                let mut set = Set::new();
                for member in members {
                    set.add(member, &settings.set_limits(), hasher);
                }
                Value::Set(Box::new(set))
            }
            Self::Hash(fields) => {
                let mut hash = Hash::new();
                for (field, (value, deadline)) in fields {
                    let ttl = deadline.map_or(FieldTtl::Drop, FieldTtl::At);
                    hash.set_with(field, value, ttl, BEFORE_ALL, &settings.hash_limits(), hasher);
                }
                Value::Hash(Box::new(hash))
            }
            Self::ZSet(members) => {
                let mut zset = ZSet::new();
                for (member, score) in members {
                    zset.insert(member, *score, &settings.zset_limits(), hasher);
                }
                Value::ZSet(Box::new(zset))
            }
            Self::Stream(_) => unreachable!("streams are built by commands"),
        }
    }
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

fn encoding(value: &Value) -> &'static str {
    match value {
        Value::Bytes(_) => "raw",
        Value::Int(_) => "int",
        Value::List(list) => list.encoding(),
        Value::Set(set) => set.encoding_name(),
        Value::Hash(hash) => hash.encoding_name(),
        Value::ZSet(zset) => zset.encoding(),
        Value::Stream(_) => "stream",
    }
}

/// Reads a value that begins with its type, as in DUMP payloads.
fn read(bytes: &[u8], family: Family, settings: &Settings) -> Result<(Value, usize), RdbError> {
    let (kind, body) = bytes.split_first().ok_or(RdbError::Incomplete { offset: 0 })?;
    load::value(*kind, family, body, settings, &Hasher::default())
}

/// What a value becomes when it is read: its encoding and its content.
fn loaded(bytes: &[u8], family: Family, settings: &Settings) -> Result<(&'static str, Model), RdbError> {
    let (value, used) = read(bytes, family, settings)?;
    assert_eq!(used + 1, bytes.len(), "all bytes are used");
    assert_eq!(skip_value(bytes[0], family, &bytes[1..]), Ok(used));
    Ok((encoding(&value), Model::of(borrow(&value))))
}

fn texts<T: AsRef<[u8]>>(items: impl IntoIterator<Item = T>) -> Vec<Vec<u8>> {
    items.into_iter().map(|item| item.as_ref().to_vec()).collect()
}

fn set_of(members: &[&str]) -> Model {
    Model::Set(texts(members).into_iter().collect())
}

fn hash_of(fields: &[(&str, &str, Option<i64>)]) -> Model {
    let fields = fields.iter().map(|(f, v, at)| (f.as_bytes().to_vec(), (v.as_bytes().to_vec(), *at)));
    Model::Hash(fields.collect())
}

fn zset_of(members: &[(&str, f64)]) -> Model {
    Model::ZSet(members.iter().map(|(m, score)| (m.as_bytes().to_vec(), *score)).collect())
}

/// A string as its length and its bytes.
fn raw(bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 64);
    [&[bytes.len() as u8], bytes].concat()
}

fn listpack(entries: &[&str]) -> Vec<u8> {
    raw(entries.iter().collect::<Listpack>().as_bytes())
}

/// A ziplist of strings shorter than 64 bytes; those of one digit are integers.
fn ziplist(entries: &[&str]) -> Vec<u8> {
    let (mut body, mut before) = (Vec::new(), 0);
    for entry in entries {
        let start = body.len();
        body.push(before);
        match entry.as_bytes() {
            [digit @ b'0'..=b'9'] => body.push(0xf1 + (digit - b'0')),
            text => body.extend(raw(text)),
        }
        before = (body.len() - start) as u8;
    }
    let (total, tail) = (11 + body.len() as u32, 10 + body.len() as u32 - u32::from(before));
    let count = entries.len() as u16;
    raw(&[&total.to_le_bytes()[..], &tail.to_le_bytes(), &count.to_le_bytes(), &body, &[255]].concat())
}

/// What a real server hands out by DUMP, without the trailer.
#[test]
fn golden_bytes() {
    let settings = Settings::default();
    let check = |model: Model, golden: &[u8], name| {
        let value = model.build(&settings, &Hasher::default());
        let (mut out, options) = (Vec::new(), SaveOptions::default());
        assert_eq!(save::value(&mut out, &options, borrow(&value)), Version::V10);
        assert_eq!(out, golden, "{model:?}");
        assert_eq!(loaded(golden, Family::Redis, &settings), Ok((name, model)));
    };
    check(Model::Text(b"abc".to_vec()), b"\0\x03abc", "raw");
    check(Model::Text(b"12345".to_vec()), b"\0\xc1\x39\x30", "int");
    check(Model::Text(b"12345678901".to_vec()), b"\0\x0b12345678901", "int");
    check(
        Model::List(texts(["a", "1"])),
        b"\x12\x01\x02\x0c\x0c\0\0\0\x02\0\x81a\x02\x01\x01\xff",
        "listpack",
    );
    check(set_of(&["1", "2"]), b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x01\0\x02\0", "intset");
    check(hash_of(&[("f", "v", None)]), b"\x10\x0d\x0d\0\0\0\x02\0\x81f\x02\x81v\x02\xff", "listpack");
    check(zset_of(&[("m", 2.5)]), b"\x11\x0f\x0f\0\0\0\x02\0\x81m\x02\x832.5\x04\xff", "listpack");
    let long = "x".repeat(65);
    let packed = b"\xc3\x09\x40\x41\x01xx\xe0\x34\x00\x01xx";
    check(zset_of(&[(&long, 1.0)]), &[&b"\x05\x01"[..], packed, &1f64.to_le_bytes()].concat(), "skiplist");
    check(hash_of(&[("f", &long, None)]), &[&b"\x04\x01\x01f"[..], packed].concat(), "hashtable");
    check(set_of(&[&long]), &[&b"\x02\x01"[..], packed].concat(), "hashtable");
}

#[test]
fn old_types_are_read() {
    let settings = Settings::default();
    let check = |bytes: &[&[u8]], model: Model, name| {
        let bytes = bytes.concat();
        assert_eq!(loaded(&bytes, Family::Redis, &settings), Ok((name, model)), "{bytes:?}");
    };
    let abc = || Model::List(texts(["a", "7", "c"]));
    check(&[b"\x01\x03\x01a\xc0\x07\x01c"], abc(), "listpack");
    check(&[b"\x0a", &ziplist(&["a", "7", "c"])], abc(), "listpack");
    check(&[b"\x0e\x02", &ziplist(&["a"]), &ziplist(&["7", "c"])], abc(), "quicklist");
    check(&[b"\x0e\x03", &ziplist(&[]), &ziplist(&["a", "7", "c"]), &ziplist(&[])], abc(), "listpack");
    check(&[b"\x12\x02\x01\x01a\x02", &listpack(&["7", "c"])], abc(), "quicklist");
    check(&[b"\x02\x02\x01a\xc0\x07"], set_of(&["a", "7"]), "listpack");
    check(&[b"\x02\x02\xc0\x07\x01a"], set_of(&["a", "7"]), "listpack");
    check(&[b"\x02\x02\xc0\x07\xc0\x08"], set_of(&["8", "7"]), "intset");
    check(&[b"\x14", &listpack(&["7", "a"])], set_of(&["a", "7"]), "listpack");
    let scores = || zset_of(&[("a", 1.5), ("b", f64::INFINITY), ("c", f64::NEG_INFINITY)]);
    check(&[b"\x03\x03\x01a\x031.5\x01b\xfe\x01c\xff"], scores(), "listpack");
    check(&[b"\x0c", &ziplist(&["c", "-inf", "a", "1.5", "b", "inf"])], scores(), "listpack");
    check(&[b"\x0c", &ziplist(&["b", "inf", "a", "1.5", "c", "-inf"])], scores(), "listpack");
    let fields = || hash_of(&[("a", "x", None), ("b", "7", None)]);
    check(&[b"\x04\x02\x01a\x01x\x01b\xc0\x07"], fields(), "listpack");
    check(&[b"\x0d", &ziplist(&["a", "x", "b", "7"])], fields(), "listpack");
    check(&[b"\x09", &raw(b"\x02\x01a\x01\0x\x01b\x01\x027??\xff")], fields(), "listpack");
    check(&[b"\x09", &raw(b"\xfe\xfe\x01\0\0\0a\x01\0x\x01b\x01\x007\xff")], fields(), "listpack");
}

#[test]
fn deadlines_of_fields() {
    let settings = Settings::default();
    let check = |bytes: &[&[u8]], family, expected| {
        let bytes = bytes.concat();
        let model = loaded(&bytes, family, &settings).map(|(_, model)| model);
        assert_eq!(model, expected, "{bytes:?}");
    };
    let timed = || Ok(hash_of(&[("a", "x", Some(70)), ("b", "y", None), ("c", "z", Some(300))]));
    let at = |at: i64| at.to_le_bytes();
    let triples = listpack(&["a", "x", "70", "c", "z", "300", "b", "y", "0"]);
    check(&[b"\x18", &at(70), b"\x03\x01\x01a\x01x\0\x01b\x01y\x40\xe7\x01c\x01z"], Family::Redis, timed());
    check(&[b"\x16\x03\x40\x46\x01a\x01x\0\x01b\x01y\x41\x2c\x01c\x01z"], Family::Redis, timed());
    check(&[b"\x19", &at(70), &triples], Family::Redis, timed());
    check(&[b"\x17", &triples], Family::Redis, timed());
    let valkey = [&b"\x16\x03\x01a\x01x"[..], &at(70), b"\x01b\x01y", &at(-1), b"\x01c\x01z", &at(300)];
    check(&valkey, Family::Valkey, timed());
    let corrupt = |offset, expected| Err(RdbError::Corrupt { offset, expected });
    check(&[b"\x16\x01\x01a\x01x", &at(-2)], Family::Valkey, corrupt(13, "a deadline after 1970"));
    check(
        &[b"\x18", &at(1 << 48), b"\x01\x01\x01a\x01x"],
        Family::Redis,
        corrupt(10, "a deadline within 48 bits"),
    );
    check(
        &[b"\x18", &at(-1), b"\x01\x02\x01a\x01x"],
        Family::Redis,
        corrupt(10, "a deadline within 48 bits"),
    );
    let unordered = listpack(&["a", "x", "70", "c", "z", "69"]);
    check(&[b"\x17", &unordered], Family::Redis, corrupt(unordered.len(), "deadlines in order"));
    let late = listpack(&["a", "x", "0", "c", "z", "69"]);
    check(&[b"\x17", &late], Family::Redis, corrupt(late.len(), "deadlines in order"));
    let odd = listpack(&["a", "x", "70", "c", "z"]);
    check(&[b"\x17", &odd], Family::Redis, corrupt(odd.len(), "a value and a deadline for every field"));

    // Which version it takes, and that deadlines are cut where Redis has no room for them.
    let model = hash_of(&[("a", "x", Some(i64::MAX)), ("b", "y", Some(5)), ("c", "z", None)]);
    let value = model.build(&settings, &Hasher::default());
    for target in TARGETS {
        let mut out = Vec::new();
        let version = save::value(&mut out, &SaveOptions { target, compress: true }, borrow(&value));
        let valkey = target == Version::Valkey80;
        assert_eq!(version, if valkey { target } else { Version::V12 });
        let most = if valkey { i64::MAX } else { (1 << 48) - 1 };
        let expected = hash_of(&[("a", "x", Some(most)), ("b", "y", Some(5)), ("c", "z", None)]);
        assert_eq!(loaded(&out, version.family(), &settings), Ok(("hashtable", expected)));
    }
}

#[test]
fn sets_are_listpacks_only_from_version_11_on() {
    let value = set_of(&["a", "b"]).build(&Settings::default(), &Hasher::default());
    for target in TARGETS {
        let mut out = Vec::new();
        let version = save::value(&mut out, &SaveOptions { target, compress: false }, borrow(&value));
        let expected = if target == Version::V10 { (Version::V10, 2) } else { (Version::V11, 20) };
        assert_eq!((version, out[0]), expected);
    }
}

#[test]
fn encodings_follow_the_settings() {
    let tight = Settings {
        list_max_listpack_size: 2,
        set_max_intset_entries: 2,
        set_max_listpack_entries: 2,
        hash_max_listpack_entries: 2,
        zset_max_listpack_entries: 2,
        ..Settings::default()
    };
    let models = [
        (Model::List(texts(["a", "b", "c"])), "listpack", "quicklist"),
        (set_of(&["1", "2", "3"]), "intset", "hashtable"),
        (set_of(&["a", "b", "c"]), "listpack", "hashtable"),
        (hash_of(&[("a", "1", None), ("b", "2", None), ("c", "3", None)]), "listpack", "hashtable"),
        (zset_of(&[("a", 1.0), ("b", 2.0), ("c", 3.0)]), "listpack", "skiplist"),
    ];
    for (model, wide, narrow) in models {
        for (from, first, to, second) in
            [(&Settings::default(), wide, &tight, narrow), (&tight, narrow, &Settings::default(), wide)]
        {
            let value = model.build(from, &Hasher::default());
            assert_eq!(encoding(&value), first);
            for target in TARGETS {
                let mut out = Vec::new();
                save::value(&mut out, &SaveOptions { target, compress: true }, borrow(&value));
                let (name, content) = loaded(&out, Family::Redis, to).unwrap();
                assert_eq!(content, model);
                // Nodes of a list are not joined, and Redis takes over a listpack that is within one limit of two.
                let kept = matches!(model, Model::List(_)) && first == narrow;
                assert_eq!(name, if kept { narrow } else { second }, "{model:?} for {target:?}");
            }
        }
    }
}

#[test]
fn what_is_wrong_is_named() {
    let settings = Settings::default();
    let check = |bytes: &[&[u8]], expected| {
        let bytes = bytes.concat();
        let error = read(&bytes, Family::Redis, &settings).map(|(value, _)| value).unwrap_err();
        assert_eq!(error, expected, "{bytes:?}");
    };
    let corrupt = |offset, expected| RdbError::Corrupt { offset, expected };
    check(&[], RdbError::Incomplete { offset: 0 });
    check(&[b"\0"], RdbError::Incomplete { offset: 0 });
    check(&[b"\x01\x02\x01a"], RdbError::Incomplete { offset: 3 });
    for kind in [1, 2, 3, 4, 5, 14, 18] {
        check(&[&[kind, 0]], RdbError::Empty { used: 1 });
    }
    check(&[b"\x18", &[0; 9]], RdbError::Empty { used: 9 });
    for (kind, len) in [(16, 8), (17, 8), (20, 8), (23, 8)] {
        check(&[&[kind], &listpack(&[])], RdbError::Empty { used: len });
    }
    for kind in [10, 12, 13] {
        check(&[&[kind], &ziplist(&[])], RdbError::Empty { used: 12 });
    }
    check(&[b"\x0e\x01", &ziplist(&[])], RdbError::Empty { used: 13 });
    check(&[b"\x12\x01\x02", &listpack(&[])], RdbError::Empty { used: 10 });
    check(&[b"\x12\x01\x03\x01a"], corrupt(1, "a kind of list node"));
    check(&[b"\x12\x01\x01\0"], corrupt(3, "a large element that is not empty"));
    check(&[b"\x02\x03\x01a\x01b\x01a"], corrupt(7, "no member twice"));
    check(&[b"\x02\x03\xc0\x01\xc0\x01\x01b"], corrupt(5, "no member twice"));
    check(&[b"\x02\x03\xc0\x01\x01b\xc0\x01"], corrupt(7, "no member twice"));
    check(&[b"\x14", &listpack(&["a", "b", "a"])], corrupt(17, "no member twice"));
    check(&[b"\x04\x02\x01a\x01x\x01a\x01y"], corrupt(9, "no field twice"));
    check(&[b"\x10", &listpack(&["a", "x", "a", "y"])], corrupt(20, "fields with their values, none twice"));
    check(&[b"\x10", &listpack(&["a", "x", "b"])], corrupt(17, "fields with their values, none twice"));
    check(&[b"\x11", &listpack(&["a", "x"])], corrupt(14, "members with their scores, none twice"));
    check(&[b"\x05\x01\x01a", &f64::NAN.to_le_bytes()], corrupt(11, "a score that is a number"));
    check(&[b"\x03\x01\x01a\xfd"], corrupt(4, "a score that is a number"));
    check(&[b"\x03\x01\x01a\x03nan"], corrupt(7, "a score that is a number"));
    check(&[b"\x03\x01\x01a\0"], corrupt(4, "a score that is a number"));
    check(&[b"\x05\x02\x01a", &[0; 8], b"\x01a", &[0; 8]], corrupt(21, "no member twice"));
    check(&[b"\x0b\x08\x02\0\0\0\0\0\0\0"], corrupt(5, "at least one integer"));
    check(&[b"\x09\x02\0\xff"], corrupt(1, "the number of fields"));
    check(&[b"\x09", &raw(b"\x02\x01a\x01\0x\x01a\x01\x007\xff")], corrupt(13, "no field twice"));
    let unsupported = |what| RdbError::Unsupported { offset: 0, what };
    for kind in [8, 26, 255] {
        check(&[&[kind]], unsupported(Unsupported::Kind(kind)));
    }
    let module = read(b"\x07\x81\xff\xff\xff\xff\xff\xff\xfc\0\0", Family::Redis, &settings).unwrap_err();
    assert_eq!(module.to_string(), "unsupported at byte 0: a value of the module type '_________'");
}

#[test]
fn what_is_not_read_is_skipped_all_the_same() {
    let check = |kind, bytes: &[&[u8]]| {
        let bytes = bytes.concat();
        let longer = [&bytes[..], b"rest"].concat();
        assert_eq!(skip_value(kind, Family::Redis, &longer), Ok(bytes.len()), "{kind} {bytes:?}");
        for end in 0..bytes.len() {
            let cut = skip_value(kind, Family::Redis, &bytes[..end]);
            assert!(matches!(cut, Err(RdbError::Incomplete { .. })), "{kind} {cut:?}");
        }
    };
    check(7, &[b"\x05\x01\x02\x02\x03\x03abcd\x04abcdefgh\x05\x02hi\0"]);
    let nodes = [&b"\x01"[..], &raw(&[0; 16]), &raw(b"node")].concat();
    let pending = [&b"\x01"[..], &[1; 24], b"\x02"].concat();
    let consumer = |times: usize| [&b"\x01\x01c"[..], &[9; 16][..times], b"\x01", &[1; 16]].concat();
    check(15, &[&nodes, b"\x01\x02\x03", b"\x01\x01g\x01\x02", &pending, &consumer(8)]);
    check(
        19,
        &[&nodes, b"\x01\x02\x03\x04\x05\x06\x07\x08", b"\x01\x01g\x01\x02\x03", &pending, &consumer(8)],
    );
    check(
        21,
        &[&nodes, b"\x01\x02\x03\x04\x05\x06\x07\x08", b"\x01\x01g\x01\x02\x03", &pending, &consumer(16)],
    );
    assert!(matches!(skip_value(6, Family::Redis, b"\x01"), Err(RdbError::Unsupported { .. })));
}

#[test]
fn a_key_has_its_expiry_and_use_in_front() {
    let check = |expiry, access, golden: &[u8]| {
        let (mut out, options) = (Vec::new(), SaveOptions::default());
        save::key(&mut out, &options, b"k", ValueRef::Str(StrRef::Int(1)), expiry, access);
        assert_eq!(out, golden);
    };
    check(None, None, b"\0\x01k\xc0\x01");
    check(Some(258), None, b"\xfc\x02\x01\0\0\0\0\0\0\0\x01k\xc0\x01");
    check(None, Some(Access::Idle(100)), b"\xf8\x40\x64\0\x01k\xc0\x01");
    check(Some(0), Some(Access::Frequency(7)), b"\xfc\0\0\0\0\0\0\0\0\xf9\x07\0\x01k\xc0\x01");
}

#[test]
fn errors_read_well() {
    let module = Unsupported::Module(ModuleName::of(u64::MAX));
    let check = |error: RdbError, text: &str| assert_eq!(error.shifted(2).to_string(), text);
    check(RdbError::Incomplete { offset: 5 }, "incomplete: the data end at byte 7");
    check(RdbError::Corrupt { offset: 0, expected: "a length" }, "corrupt at byte 2: expected a length");
    check(
        RdbError::Unsupported { offset: 1, what: module },
        "unsupported at byte 3: a value of the module type '_________'",
    );
}

#[test]
fn module_names_are_packed_in_six_bits_a_letter() {
    // What RedisJSON's file format names itself.
    let id = b"ReJSON-RL".iter().fold(0u64, |id, letter| {
        let place = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' => 62,
            _ => 63,
        };
        id << 6 | u64::from(place)
    });
    assert_eq!(ModuleName::of(id << 10 | 3).to_string(), "ReJSON-RL");
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (any::<i64>(), 0..64u32).prop_map(|(n, shift)| (n >> shift).to_string().into_bytes()),
        4 => vec(any::<u8>(), 0..12),
        2 => (vec(any::<u8>(), 1..9), 0..12usize).prop_map(|(unit, times)| unit.repeat(times)),
        1 => (vec(any::<u8>(), 1..9), 0..1_000usize).prop_map(|(unit, times)| unit.repeat(times)),
    ]
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        (-100..100i32).prop_map(f64::from),
        (-100..100i32).prop_map(|n| f64::from(n) / 8.0),
        any::<f64>().prop_filter("a number", |score| !score.is_nan() && *score != 0.0),
        Just(f64::INFINITY),
    ]
}

fn model() -> impl Strategy<Value = Model> {
    let deadline = option::weighted(0.2, 0..1i64 << 48);
    prop_oneof![
        text().prop_map(Model::Text),
        vec(text(), 1..40).prop_map(Model::List),
        btree_set(text(), 1..40).prop_map(Model::Set),
        btree_set(any::<i16>().prop_map(|n| n.to_string().into_bytes()), 1..40).prop_map(Model::Set),
        btree_map(text(), (text(), deadline), 1..30).prop_map(Model::Hash),
        btree_map(text(), (text(), Just(None)), 1..30).prop_map(Model::Hash),
        btree_map(text(), score(), 1..40).prop_map(Model::ZSet),
    ]
}

/// Limits within which all encodings and conversions come about.
fn settings() -> impl Strategy<Value = Settings> {
    (prop_oneof![1..20i64, -3..0i64], 1..40usize, 4..70usize, 1..40usize).prop_map(
        |(list, entries, value, ints)| Settings {
            list_max_listpack_size: list,
            set_max_intset_entries: ints,
            set_max_listpack_entries: entries,
            set_max_listpack_value: value,
            hash_max_listpack_entries: entries,
            hash_max_listpack_value: value,
            zset_max_listpack_entries: entries,
            zset_max_listpack_value: value,
            ..Settings::default()
        },
    )
}

fn check_invariants(value: &Value) {
    match value {
        Value::List(list) => list.assert_invariants(),
        Value::ZSet(zset) => zset.assert_invariants(),
        Value::Stream(stream) => stream.assert_invariants(),
        _ => {}
    }
}

/// Reads bytes that may be anything: a value or an error, and if a value then a sound one.
fn read_anything(bytes: &[u8], family: Family) -> Result<(), TestCaseError> {
    let settings = Settings::default();
    let Ok((value, used)) = read(bytes, family, &settings) else { return Ok(()) };
    check_invariants(&value);
    let model = Model::of(borrow(&value));
    prop_assert_eq!(skip_value(bytes[0], family, &bytes[1..]), Ok(used));
    let mut again = Vec::new();
    let options = SaveOptions { target: Version::Valkey80, compress: false };
    save::value(&mut again, &options, borrow(&value));
    let back = loaded(&again, Family::Valkey, &settings);
    prop_assert_eq!(back.map(|(_, model)| model), Ok(model));
    Ok(())
}

proptest! {
    /// A value comes back as it was, whatever the limits of those who write and read it.
    #[test]
    fn values_come_back(model in model(), from in settings(), to in settings(), target in 0..4usize, compress: bool) {
        let target = TARGETS[target];
        let value = model.build(&from, &Hasher::default());
        let mut out = Vec::new();
        let version = save::value(&mut out, &SaveOptions { target, compress }, borrow(&value));
        prop_assert!(version <= target.max(Version::V12));
        let (_, back) = loaded(&out, target.family(), &to).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(back, model);
        // Those that come back under the same limits have the same encoding, other than integers in a listpack.
        let (again, _) = loaded(&out, target.family(), &from).map_err(|e| TestCaseError::fail(e.to_string()))?;
        if !matches!(value, Value::Bytes(_) | Value::Set(_)) {
            prop_assert_eq!(again, encoding(&value));
        }
    }

    /// Every prefix is incomplete, and every flipped byte gives an error or a sound value.
    #[test]
    fn damaged_values_never_panic(model in model(), target in 0..4usize, compress: bool, flip in 1..=255u8) {
        let (target, settings) = (TARGETS[target], Settings::default());
        let value = model.build(&settings, &Hasher::default());
        let mut bytes = Vec::new();
        save::value(&mut bytes, &SaveOptions { target, compress }, borrow(&value));
        bytes.truncate(300);
        for end in 0..bytes.len() {
            let cut = read(&bytes[..end], target.family(), &settings);
            prop_assert!(cut.is_err(), "{:?}", cut);
        }
        for at in 0..bytes.len() {
            bytes[at] ^= flip;
            read_anything(&bytes, target.family())?;
            bytes[at] ^= flip;
        }
    }

    #[test]
    fn any_bytes_never_panic(kind in 0..27u8, bytes in vec(any::<u8>(), 0..80), valkey: bool) {
        let family = if valkey { Family::Valkey } else { Family::Redis };
        read_anything(&[&[kind], &bytes[..]].concat(), family)?;
    }
}
