//! A data set of all types and encodings, in several databases.

use crate::support::client::{Client, Reply};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// In the years 2100 and 2200.
const DEADLINES: [&str; 2] = ["4102444800123", "7258118400000"];

type Words = Vec<Vec<u8>>;

/// Commands that make keys of every type and encoding, one key each.
pub fn commands() -> Vec<Words> {
    let mut all: Vec<Words> = Vec::new();
    let mut add = |name: &str, key: &[u8], rest: Vec<Vec<u8>>| {
        all.push([name.as_bytes().to_vec(), key.to_vec()].into_iter().chain(rest).collect());
    };
    let word = |n: usize| format!("word:{n}").into_bytes();
    let long = |n: usize| format!("{n}:{}", "long".repeat(30)).into_bytes();
    let number = |n: usize| (n as i64 * 7_919 - 50_000).to_string().into_bytes();
    let binary =
        |n: usize| (0..n as u32 % 40 + 1).map(|at| (at * 37 + n as u32 * 11) as u8).collect::<Vec<u8>>();

    let texts = ["", "v", "0", "-129", "70000", "-2147483649", "9223372036854775807", "007", "1e3"];
    for (at, text) in texts.into_iter().enumerate() {
        add("SET", format!("string:{at}").as_bytes(), vec![text.as_bytes().to_vec()]);
    }
    for len in [20, 64, 300, 20_000, 300_000] {
        add("SET", format!("string:repeated:{len}").as_bytes(), vec![b"ab".repeat(len / 2)]);
        let mixed = (0..len).map(|n| (n * n * 31 / 7 % 251) as u8).collect();
        add("SET", format!("string:mixed:{len}").as_bytes(), vec![mixed]);
    }
    for n in 0..20 {
        // Keys of any bytes, one of them empty.
        let key = if n == 0 { Vec::new() } else { binary(n * 3) };
        add("SET", &key, vec![binary(n)]);
    }
    for (name, count, element) in [
        ("small", 5, &word as &dyn Fn(usize) -> Vec<u8>),
        ("numbers", 40, &number),
        ("wide", 100, &long),
        ("many", 3_000, &word),
        ("binary", 30, &binary),
        ("large", 2, &|n| b"x".repeat(9_000 * (n + 1))),
    ] {
        add("RPUSH", format!("list:{name}").as_bytes(), (0..count).map(element).collect());
    }
    for (name, count, member) in [
        ("one", 1, &word as &dyn Fn(usize) -> Vec<u8>),
        ("small", 100, &word),
        ("many", 1_000, &word),
        ("wide", 3, &long),
        ("small numbers", 100, &|n| n.to_string().into_bytes()),
        ("numbers", 500, &number),
        ("many numbers", 2_000, &number),
        ("large numbers", 3, &|n| (1u64 << (40 + n)).to_string().into_bytes()),
    ] {
        add("SADD", format!("set:{name}").as_bytes(), (0..count).map(member).collect());
        let fields = (0..count).flat_map(|n| [member(n), word(n)]).collect();
        add("HSET", format!("hash:{name}").as_bytes(), fields);
        let scores = ["1", "-2.5", "0.125", "65536.5", "inf", "-inf", "3", "-7", "123456789"];
        let scored = (0..count).flat_map(|n| [scores[n % scores.len()].into(), member(n)]).collect();
        add("ZADD", format!("zset:{name}").as_bytes(), scored);
    }
    add("PFADD", b"hll", (0..500).map(word).collect());
    add("SETBIT", b"bits", vec![b"100000".to_vec(), b"1".to_vec()]);
    add("GEOADD", b"geo", ["13.361389", "38.115556", "Palermo"].map(|word| word.into()).to_vec());
    all
}

/// Makes all of it in three databases, a third of it with an expiry.
pub fn fill(client: &mut Client) {
    for db in ["0", "3", "15"] {
        expect_ok(client, &["SELECT", db]);
        let commands = commands();
        for reply in client.pipeline(&commands) {
            assert!(!reply.is_error(), "{reply:?}");
        }
        for (at, command) in commands.iter().enumerate().step_by(3) {
            let deadline = DEADLINES[at % 2].as_bytes();
            assert_eq!(client.call(&[b"PEXPIREAT", &command[1][..], deadline]), Reply::Integer(1));
        }
        fill_streams(client);
        // Gone by the time that anybody asks.
        expect_ok(client, &["SET", "gone", "1", "PX", "1"]);
    }
    expect_ok(client, &["SELECT", "0"]);
}

/// Streams with gaps, and groups with what is pending.
fn fill_streams(client: &mut Client) {
    let entries =
        (1..=300).map(|n| format!("XADD stream:many {n}-{} field {n} other word:{}", n % 5, n % 13));
    let rest = [
        "XADD stream:many 301-0 another field",
        "XDEL stream:many 1-1 150-0 300-0",
        "XADD stream:small 5-1 f v",
        "XADD stream:small 5-2 g w f v",
        "XGROUP CREATE stream:many workers 0",
        "XGROUP CREATE stream:many late $",
        "XGROUP CREATE stream:empty nobody $ MKSTREAM",
        "XREADGROUP GROUP workers ada COUNT 100 STREAMS stream:many >",
        "XREADGROUP GROUP workers bob COUNT 30 STREAMS stream:many >",
        "XGROUP CREATECONSUMER stream:many workers idle",
        "XACK stream:many workers 10-0 11-1 12-2",
        "XCLAIM stream:many workers bob 0 20-0 21-1 RETRYCOUNT 7",
    ];
    let lines: Vec<Vec<Vec<u8>>> = entries
        .chain(rest.map(str::to_owned))
        .map(|line| line.split(' ').map(|word| word.as_bytes().to_vec()).collect())
        .collect();
    for (reply, line) in client.pipeline(&lines).iter().zip(&lines) {
        assert!(!reply.is_error(), "{line:?}: {reply:?}");
    }
}

/// Changes of all kinds, that differ by `turn`: single commands, over several slots, in transactions.
pub fn change(client: &mut Client, turn: usize) {
    let lines = [
        format!("SET turn {turn}"),
        "INCR counter".into(),
        format!("APPEND string:1 more{turn}"),
        format!("MSET m:1 {turn} m:2 {turn} m:3 {turn} m:4 {turn} m:5 {turn}"),
        "LMOVE list:many list:small LEFT RIGHT".into(),
        "RPOPLPUSH list:numbers list:other".into(),
        "SMOVE set:many set:small word:777".into(),
        format!("SUNIONSTORE union:{turn} set:one set:numbers"),
        format!("ZUNIONSTORE zunion:{turn} 2 zset:small zset:wide"),
        "SPOP set:many 3".into(),
        "ZPOPMIN zset:many 5".into(),
        format!("HINCRBYFLOAT hash:small turn {turn}.5"),
        "HDEL hash:many word:1 word:2".into(),
        format!("COPY string:repeated:300 copy:{turn} REPLACE"),
        format!("RENAME union:{turn} renamed:{turn}"),
        format!("SETEX expiring:{turn} 100000 x"),
        "PERSIST string:0".into(),
        "DEL string:5 string:6".into(),
        "MULTI".into(),
        "INCR counter".into(),
        format!("LPUSH list:wide {turn}"),
        format!("MSET tx:1 {turn} tx:2 {turn} tx:3 {turn}"),
        "SELECT 3".into(),
        format!("SET other:{turn} {turn}"),
        format!("MOVE other:{turn} 7"),
        "SELECT 0".into(),
        "SADD set:numbers 5".into(),
        "EXEC".into(),
        "MULTI".into(),
        "GET turn".into(),
        "EXEC".into(),
        "PFADD hll one two".into(),
        "SORT list:numbers STORE sorted".into(),
        format!("XADD stream:many MAXLEN ~ 150 * turn {turn}"),
        format!("XADD stream:small MINID 5-2 {}-* turn {turn}", turn + 5),
        "XREADGROUP GROUP workers ada COUNT 50 STREAMS stream:many >".into(),
        format!("XREADGROUP GROUP workers consumer{turn} COUNT 2 NOACK STREAMS stream:many >"),
        "XAUTOCLAIM stream:many workers bob 0 90-0 COUNT 5".into(),
        format!("XACK stream:many workers {}-1 {}-2 130-0", 40 + 5 * turn + 1, 40 + 5 * turn + 2),
        format!("XGROUP CREATE stream:small turn{turn} $"),
        "SWAPDB 3 4".into(),
        "SELECT 4".into(),
        format!("SET swapped {turn}"),
        "SELECT 0".into(),
        "SET short 1 PX 1".into(),
    ];
    for line in lines {
        let reply = client.run(&line);
        assert!(!reply.is_error(), "{line}: {reply:?}");
    }
}

/// What two equal data sets have in common: the digest of all, and of every key its own and its expiry.
#[derive(Clone, Debug, PartialEq)]
pub struct Digest {
    all: String,
    keys: BTreeMap<(&'static str, Vec<u8>), String>,
}

const DATABASES: [&str; 5] = ["0", "3", "4", "7", "15"];

/// Asks for every key that expires on its own: what has expired is counted, and is in the digest of Redis, until
/// somebody does. A replica keeps it until its primary was asked.
pub fn drop_expired(client: &mut Client) {
    std::thread::sleep(Duration::from_millis(3));
    for db in DATABASES {
        expect_ok(client, &["SELECT", db]);
        client.call(&["EXISTS", "gone", "short", "e"]);
    }
    expect_ok(client, &["SELECT", "0"]);
}

pub fn digest(client: &mut Client) -> Digest {
    drop_expired(client);
    let mut keys = BTreeMap::new();
    for db in DATABASES {
        expect_ok(client, &["SELECT", db]);
        let names = client.call(&["KEYS", "*"]);
        assert_eq!(client.call(&["DBSIZE"]).integer(), names.elements().map(|names| names.len() as i64));
        for name in names.elements().unwrap_or_default() {
            let name = name.bytes().expect("a key");
            let value = client.call(&[&b"DEBUG"[..], b"DIGEST-VALUE", name]);
            let value = value.elements().expect("one")[0].text();
            let expiry = client.call(&[&b"PEXPIRETIME"[..], name]).text();
            let groups = groups(client, name);
            keys.insert((db, name.to_vec()), format!("{value} {expiry}{groups}"));
        }
    }
    expect_ok(client, &["SELECT", "0"]);
    Digest { all: client.call(&["DEBUG", "DIGEST"]).text(), keys }
}

/// What the groups of a stream have been given, which no digest shows. Not when, and not how far the counts of their reads
/// are known: Redis 7.0 does not log that.
fn groups(client: &mut Client, key: &[u8]) -> String {
    if client.call(&[b"TYPE", key]).text() != "stream" {
        return String::new();
    }
    let mut all = String::new();
    let infos = client.call(&[&b"XINFO"[..], b"GROUPS", key]);
    for info in infos.elements().expect("groups") {
        let info = info.elements().expect("a group");
        let name = info[1].bytes().expect("a name");
        let pending = client.call(&[&b"XPENDING"[..], key, name, b"-", b"+", b"100000"]);
        let pending = pending.elements().expect("entries").iter().map(|entry| {
            let entry = entry.elements().expect("an entry");
            format!(" {}:{}:{}", entry[0].text(), entry[1].text(), entry[3].text())
        });
        all += &format!("\n{:?}{}", &info[..8], pending.collect::<String>());
    }
    all
}

impl Digest {
    /// Compares, and names the keys that differ.
    #[track_caller]
    pub fn assert_is(&self, expected: &Self, what: &str) {
        let all: BTreeSet<_> = self.keys.keys().chain(expected.keys.keys()).collect();
        for key in all {
            let (found, expected) = (self.keys.get(key), expected.keys.get(key));
            assert_eq!(found, expected, "{} in database {}: {what}", key.1.escape_ascii(), key.0);
        }
        assert_eq!(self.all, expected.all, "{what}");
    }
}

#[track_caller]
pub fn expect_ok(client: &mut Client, command: &[&str]) {
    assert_eq!(client.call(command), Reply::simple("OK"), "{command:?}");
}

/// Waits until no snapshot and no rewrite is on its way, and the last of each was well.
#[track_caller]
pub fn await_files(client: &mut Client) {
    for _ in 0..2_000 {
        let info = client.run("INFO persistence").text();
        let is_idle = ["rdb_bgsave_in_progress:0", "aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"]
            .iter()
            .all(|line| info.contains(line));
        if is_idle {
            // The figures follow.
            std::thread::sleep(Duration::from_millis(50));
            let info = client.run("INFO persistence").text();
            assert!(info.contains("aof_last_bgrewrite_status:ok"), "{info}");
            assert!(info.contains("rdb_last_bgsave_status:ok"), "{info}");
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("it does not end");
}
