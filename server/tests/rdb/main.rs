//! The RDB format beside a real Redis 7.0.15: what one dumps the other restores, and each reads the other's files.

#[path = "../support/mod.rs"]
mod support;

use baton_engine::hash::Hasher;
use baton_engine::keyspace::{StrRef, Value, ValueRef};
use baton_engine::rdb::file::{Item, Reader};
use baton_engine::rdb::save::{Access, SaveOptions};
use baton_engine::rdb::{Version, crc64, dump, load, save, write};
use baton_engine::settings::Settings;
use std::fs;
use std::process::Command;
use support::client::{Client, Reply};
use support::process::{Server, on_path};

type Words = Vec<Vec<u8>>;

/// In the years 2100 and 2200.
const DEADLINES: [&str; 2] = ["4102444800123", "7258118400000"];

fn redis(settings: &[(&str, &str)]) -> Server {
    Server::redis(&[&[("enable-debug-command", "yes"), ("save", "")], settings].concat())
}

fn baton() -> Server {
    Server::baton(&[("enable-debug-command", "yes"), ("cores", "2")])
}

/// Commands that make keys of every type and encoding, one key each.
fn commands() -> Vec<Words> {
    let mut all: Vec<Words> = Vec::new();
    let mut add = |name: &str, key: &str, rest: Vec<String>| {
        let words = [name.to_owned(), key.to_owned()].into_iter().chain(rest);
        all.push(words.map(String::into_bytes).collect());
    };
    let word = |n: usize| format!("word:{n}");
    let long = |n: usize| format!("{n}:{}", "long".repeat(30));
    let number = |n: usize| (n as i64 * 7_919 - 50_000).to_string();

    for (at, text) in ["", "v", "0", "-129", "70000", "-2147483649", "9223372036854775807", "007", "1e3"]
        .into_iter()
        .enumerate()
    {
        add("SET", &format!("string:{at}"), vec![text.to_owned()]);
    }
    for len in [20, 21, 44, 63, 64, 300, 20_000, 70_000] {
        add("SET", &format!("string:repeated:{len}"), vec!["ab".repeat(len / 2)]);
        let mixed: String = (0..len).map(|n| char::from(33 + (n * n * 31 / 7 % 90) as u8)).collect();
        add("SET", &format!("string:mixed:{len}"), vec![mixed]);
    }
    for (name, count, element) in [
        ("small", 5, &word as &dyn Fn(usize) -> String),
        ("numbers", 40, &number),
        ("wide", 100, &long),
        ("many", 5_000, &word),
        ("large", 2, &|n| "x".repeat(9_000 * (n + 1))),
    ] {
        add("RPUSH", &format!("list:{name}"), (0..count).map(element).collect());
    }
    for (name, count, member) in [
        ("one", 1, &word as &dyn Fn(usize) -> String),
        ("small", 100, &word),
        ("many", 1_000, &word),
        ("wide", 3, &long),
        ("small numbers", 100, &|n| n.to_string()),
        ("numbers", 500, &number),
        ("many numbers", 2_000, &number),
        ("large numbers", 3, &|n| (1u64 << (40 + n)).to_string()),
    ] {
        add("SADD", &format!("set:{name}"), (0..count).map(member).collect());
        let fields = (0..count).flat_map(|n| [member(n), word(n)]).collect();
        add("HSET", &format!("hash:{name}"), fields);
        // Redis 7.0 writes 17 digits, later ones as few as will do: only where these are the same can texts be.
        let scores = ["1", "-2.5", "0.125", "65536.5", "inf", "-inf", "3", "-7", "123456789"];
        let scored = (0..count).flat_map(|n| [scores[n % scores.len()].to_owned(), member(n)]).collect();
        add("ZADD", &format!("zset:{name}"), scored);
    }
    // Nodes of Redis's layout: the same fields, others, negative differences, numbers, and what needs longer lengths.
    for n in 0..250 {
        let id = format!("{}-{}", 5 + n / 7, 9 - n % 7 + n / 7 * 10 + n % 7 * 2);
        let fields = if n % 9 == 8 { "other" } else { "field" };
        add("XADD", "stream:many", vec![id, fields.to_owned(), number(n), "text".to_owned(), word(n)]);
    }
    add("XDEL", "stream:many", (0..60).map(|n| format!("{}", 5 + n)).chain(["6-19".to_owned()]).collect());
    add("XADD", "stream:one", ["1700000000000-0", "f", "v"].map(str::to_owned).to_vec());
    for n in 0..3 {
        add("XADD", "stream:wide", vec![format!("1-{}", n + 1), long(n), "x".repeat(3_000 + n)]);
    }
    add("XADD", "stream:gone", ["1-1", "f", "v"].map(str::to_owned).to_vec());
    add("XDEL", "stream:gone", vec!["1-1".to_owned()]);
    all
}

fn fill(server: &mut Client) -> Vec<Vec<u8>> {
    let commands = commands();
    for command in &commands {
        let reply = server.call(command);
        assert!(!reply.is_error(), "{reply:?}");
    }
    let mut keys: Vec<Vec<u8>> = commands.into_iter().map(|mut words| words.swap_remove(1)).collect();
    keys.dedup();
    keys
}

fn dump_of(server: &mut Client, key: &[u8]) -> Vec<u8> {
    match server.call(&[b"DUMP", key]) {
        Reply::Bulk(payload) => payload,
        other => panic!("DUMP {}: {other:?}", key.escape_ascii()),
    }
}

fn digest(server: &mut Client, key: &[u8]) -> Reply {
    server.call(&[&b"DEBUG"[..], b"DIGEST-VALUE", key])
}

fn encoding(server: &mut Client, key: &[u8]) -> String {
    server.call(&[&b"OBJECT"[..], b"ENCODING", key]).text()
}

#[test]
fn what_one_dumps_the_other_restores() {
    let (mut baton, mut redis) = (baton(), redis(&[]));
    let (mut ours, mut theirs) = (baton.client(), redis.client());
    let keys = fill(&mut ours);
    fill(&mut theirs);
    for key in keys {
        let expected = digest(&mut theirs, &key);
        assert_eq!(digest(&mut ours, &key), expected, "{}", key.escape_ascii());
        let (our_dump, their_dump) = (dump_of(&mut ours, &key), dump_of(&mut theirs, &key));
        for (server, payload) in [(&mut ours, &their_dump), (&mut theirs, &our_dump)] {
            let before = encoding(server, &key);
            let reply = server.call(&[b"RESTORE", &key[..], b"0", payload, b"REPLACE"]);
            assert_eq!(reply, Reply::simple("OK"), "{}", key.escape_ascii());
            assert_eq!(digest(server, &key), expected, "{}", key.escape_ascii());
            assert_eq!(encoding(server, &key), before, "{}", key.escape_ascii());
        }
    }
}

/// The order of a hash table is nobody's business; everything else is the same to the byte.
#[test]
fn equal_encodings_are_dumped_as_equal_bytes() {
    let (mut baton, mut redis) = (baton(), redis(&[]));
    let (mut ours, mut theirs) = (baton.client(), redis.client());
    let keys = fill(&mut ours);
    fill(&mut theirs);
    let mut equal = 0;
    for compression in ["yes", "no"] {
        for server in [&mut ours, &mut theirs] {
            server.call(&["CONFIG", "SET", "rdbcompression", compression]);
        }
        for key in &keys {
            // Redis 7.0 puts large elements into listpacks too.
            if encoding(&mut theirs, key) == "hashtable" || key == b"list:large" {
                continue;
            }
            let (our_dump, their_dump) = (dump_of(&mut ours, key), dump_of(&mut theirs, key));
            // Where repetitions were found is not part of the format: Redis looks at more places in long texts.
            if compression == "no" || key.starts_with(b"string:repeated") || our_dump.len() < 100 {
                assert!(our_dump == their_dump, "{} {compression}", key.escape_ascii());
                equal += 1;
            }
        }
    }
    assert!(equal > 60, "only {equal} are equal");
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

/// Everything in two databases, some of it with an expiry. The digest of all.
fn fill_databases(server: &mut Client) -> Reply {
    for db in ["0", "9"] {
        server.call(&["SELECT", db]);
        for (at, key) in fill(server).iter().enumerate().step_by(3) {
            let deadline = DEADLINES[at % 2].as_bytes();
            assert_eq!(server.call(&[b"PEXPIREAT", &key[..], deadline]), Reply::Integer(1));
        }
    }
    server.call(&["DEBUG", "DIGEST"])
}

/// A file that Redis wrote, read key by key into Baton and written again, from which Redis starts.
fn goes_there_and_back(settings: &[(&str, &str)], used: fn(&Option<Access>) -> bool) {
    let mut redis = redis(settings);
    let mut theirs = redis.client();
    let expected = fill_databases(&mut theirs);
    let in_both = match theirs.run("DBSIZE") {
        Reply::Integer(in_one) => Reply::Integer(2 * in_one),
        other => panic!("{other:?}"),
    };
    let library = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";
    theirs.call(&["FUNCTION", "LOAD", library]);
    assert_eq!(theirs.run("SAVE"), Reply::simple("OK"));
    let path = redis.directory().join("dump.rdb");
    let file = fs::read(&path).unwrap();

    let mut baton = baton();
    let mut ours = baton.client();
    let (values, hasher, options) = (Settings::default(), Hasher::default(), SaveOptions::default());
    let (mut reader, mut again) = (Reader::verifying(), write::header(Version::V10).to_vec());
    let (mut names, mut keys, mut functions) = (Vec::new(), 0, 0);
    loop {
        let (item, _) = reader.next(&file[reader.offset()..]).unwrap();
        match item {
            Item::Header { version, .. } => assert_eq!(version, 10),
            Item::Aux { key, value } => {
                names.push(String::from_utf8(key.to_vec()).unwrap());
                write::aux(&mut again, &key, &value);
            }
            Item::SelectDb(db) => {
                ours.call(&["SELECT", &db.to_string()]);
                write::select_db(&mut again, db);
            }
            Item::ResizeDb { keys, expires } => write::resize_db(&mut again, keys, expires),
            Item::Function(code) => {
                assert_eq!(*code, *library.as_bytes());
                write::function(&mut again, &code, true);
                functions += 1;
            }
            Item::Key(record) => {
                let family = reader.header().unwrap().0;
                let value = load::value(record.kind, family, record.value, &values, &hasher).unwrap().0;
                let mut payload = Vec::new();
                dump::payload(&mut payload, &options, borrow(&value));
                let deadline = record.expiry_ms.unwrap_or_default().to_string();
                let restore = [b"RESTORE", &*record.key, deadline.as_bytes(), &payload, b"ABSTTL"];
                assert_eq!(ours.call(&restore), Reply::simple("OK"));
                assert!(used(&record.access), "{:?}", record.access);
                let version = save::key(
                    &mut again,
                    &options,
                    &record.key,
                    borrow(&value),
                    record.expiry_ms,
                    record.access,
                );
                assert_eq!(version, Version::V10);
                keys += 1;
            }
            Item::End { checksum } => {
                assert!(checksum.is_some());
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(reader.offset(), file.len());
    assert_eq!((Reply::Integer(keys), functions), (in_both, 1));
    assert!(names.iter().any(|name| name == "redis-ver"), "{names:?}");
    assert_eq!(ours.call(&["DEBUG", "DIGEST"]), expected);

    let crc = crc64::checksum(&again);
    write::end(&mut again, crc);
    redis.terminate();
    fs::write(&path, &again).unwrap();
    let checked = Command::new(on_path("redis-check-rdb")).arg(&path).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    redis.restart();
    let mut theirs = redis.client();
    assert_eq!(theirs.call(&["DEBUG", "DIGEST"]), expected);
    assert_eq!(theirs.call(&["PEXPIRETIME", "string:0"]), Reply::Integer(DEADLINES[0].parse().unwrap()));
}

#[test]
fn files_of_redis_are_read_and_ours_by_redis() {
    goes_there_and_back(&[], |access| access.is_none());
    goes_there_and_back(&[("rdbcompression", "no"), ("maxmemory-policy", "allkeys-lfu")], |access| {
        matches!(access, Some(Access::Frequency(_)))
    });
    goes_there_and_back(&[("rdbchecksum", "yes"), ("maxmemory-policy", "volatile-lru")], |access| {
        matches!(access, Some(Access::Idle(_)))
    });
}
