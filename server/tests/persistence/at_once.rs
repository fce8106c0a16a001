//! A node that has just started answers as if it had read everything, though most slots are still in the file.

use crate::data::{await_files, expect_ok};
use crate::support::client::{Client, Reply};
use crate::support::process::Server;
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

/// As many as take a while to build.
const KEYS: usize = 40_000;
const EXPIRED: usize = 2_000;

/// A snapshot with many keys, some of which are over by the time that it is read.
struct Saved {
    server: Server,
    file: Vec<u8>,
}

impl Saved {
    fn new() -> Self {
        let mut server = Server::baton(&settings("2", &[]));
        let mut client = server.client();
        let word = |text: &str| text.as_bytes().to_vec();
        for chunk in (0..KEYS).collect::<Vec<_>>().chunks(5_000) {
            let set =
                |n: &usize| vec![word("SET"), format!("key:{n}").into_bytes(), n.to_string().into_bytes()];
            client.pipeline(&chunk.iter().map(set).collect::<Vec<_>>());
        }
        for chunk in (0..EXPIRED).collect::<Vec<_>>().chunks(2_000) {
            let set = |n: &usize| {
                vec![word("SET"), format!("over:{n}").into_bytes(), word("x"), word("PX"), word("2500")]
            };
            client.pipeline(&chunk.iter().map(set).collect::<Vec<_>>());
        }
        for line in [
            "RPUSH list c a b",
            "MSET weight:a 3 weight:b 1 weight:c 2",
            "HSET hash f 1",
            "PEXPIREAT hash 4102444800123",
            "SADD {x}one 1 2",
            "SADD two 2 3",
            "ZADD zset 1 a",
        ] {
            assert!(!client.run(line).is_error(), "{line}");
        }
        expect_ok(&mut client, &["SELECT", "5"]);
        expect_ok(&mut client, &["SET", "key:1", "five"]);
        expect_ok(&mut client, &["SAVE"]);
        let file = fs::read(server.directory().join("dump.rdb")).expect("the snapshot");
        // What expires is over from here on.
        std::thread::sleep(Duration::from_millis(2_600));
        Self { server, file }
    }

    /// Restarted, so that nothing has been built but what happened to be meanwhile; how many slots are in the file.
    fn again(&mut self, cores: &str, more: &[(&str, &str)]) -> (Client, i64) {
        self.server.kill();
        fs::write(self.server.directory().join("dump.rdb"), &self.file).expect("the snapshot");
        self.server.become_baton(&settings(cores, more));
        self.server.restart();
        let mut client = self.server.client();
        let info = client.run("INFO persistence").text();
        let left = info.lines().find_map(|line| line.strip_prefix("slots_still_in_file:"));
        (client, left.and_then(|left| left.parse().ok()).unwrap_or(0))
    }
}

fn settings<'a>(cores: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[("save", ""), ("cores", cores), ("enable-debug-command", "yes")], more].concat()
}

fn names(reply: &Reply) -> Vec<String> {
    reply.elements().expect("an array").iter().map(Reply::text).collect()
}

fn digest(client: &mut Client) -> Reply {
    // What is over counts until it has been removed, which takes its time on a busy machine.
    for _ in 0..3_000 {
        let shown = client.run("KEYS *").elements().map_or(0, |names| names.len() as i64);
        if client.run("DBSIZE") == Reply::Integer(shown) {
            return client.call(&["DEBUG", "DIGEST"]);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("what is over has not been removed");
}

/// Besides the numbered ones.
const OTHERS: [&str; 8] = ["list", "weight:a", "weight:b", "weight:c", "hash", "{x}one", "two", "zset"];

fn all_names() -> BTreeSet<String> {
    (0..KEYS).map(|n| format!("key:{n}")).chain(OTHERS.map(str::to_owned)).collect()
}

/// Each question is the first that a node is asked.
#[test]
fn every_question_is_answered_from_the_first_moment() {
    let mut saved = Saved::new();
    let mut lazy = 0;
    let mut ask = |cores: &str, question: &dyn Fn(&mut Client)| {
        let (mut client, left) = saved.again(cores, &[]);
        lazy += usize::from(left > 1_000);
        question(&mut client);
    };
    ask("2", &|client| {
        for n in (0..KEYS).step_by(977) {
            assert_eq!(client.run(&format!("GET key:{n}")), Reply::bulk(n.to_string()));
        }
        assert!(client.run("GET key:40000").is_null() && client.run("GET over:1").is_null());
        assert_eq!(client.run("EXISTS over:1 over:2 key:1"), Reply::Integer(1));
        assert_eq!(client.run("TTL over:3"), Reply::Integer(-2));
        assert_eq!(client.run("PEXPIRETIME hash"), Reply::Integer(4_102_444_800_123));
        assert_eq!(client.run("TYPE zset"), Reply::simple("zset"));
        client.run("SELECT 5");
        assert_eq!(client.run("GET key:1"), Reply::bulk("five"));
    });
    ask("4", &|client| {
        let size = client.run("DBSIZE").integer().expect("a number") as usize;
        // Those that are over are counted until somebody notices.
        assert!((KEYS + 8..=KEYS + 8 + EXPIRED).contains(&size), "{size}");
        client.run("SELECT 5");
        assert_eq!(client.run("DBSIZE"), Reply::Integer(1));
    });
    ask("1", &|client| {
        let found = names(&client.run("KEYS *"));
        assert_eq!(found.len(), KEYS + 8);
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), all_names());
        assert_eq!(client.run("DBSIZE").integer(), Some(KEYS as i64 + 8));
    });
    ask("2", &|client| {
        let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
        loop {
            let reply = client.run(&format!("SCAN {cursor} COUNT 1000"));
            let [next, part] = reply.elements().expect("two") else { panic!("{reply:?}") };
            found.extend(names(part));
            cursor = next.text();
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), all_names());
    });
    ask("4", &|client| {
        let mut different = BTreeSet::new();
        for _ in 0..200 {
            let key = client.run("RANDOMKEY").text();
            assert!(!key.starts_with("over:"), "{key}");
            assert!(!client.run(&format!("GET {key}")).is_null(), "{key}");
            different.insert(key);
        }
        assert!(different.len() > 150, "{}", different.len());
    });
    ask("1", &|client| {
        let sorted = names(&client.run("SORT list BY weight:* GET #"));
        assert_eq!(sorted, ["b", "c", "a"]);
    });
    ask("2", &|client| {
        assert_eq!(names(&client.run("SORT list BY weight:* GET weight:*")), ["1", "2", "3"]);
        assert_eq!(names(&client.run("SINTER {x}one two")), ["2"]);
        assert_eq!(client.run("RENAME key:7 moved"), Reply::simple("OK"));
        assert_eq!(client.run("COPY key:8 copied"), Reply::Integer(1));
        assert_eq!(names(&client.run("MGET moved copied key:7 key:9")), ["7", "8", "$-1", "9"]);
        assert_eq!(client.run("SMOVE {x}one two 1"), Reply::Integer(1));
        assert_eq!(client.run("DEL key:10 over:10 key:11"), Reply::Integer(2));
    });
    ask("2", &|client| {
        client.run("MULTI");
        for line in ["INCR key:100", "GET key:101", "SWAPDB 0 5", "GET key:1", "DBSIZE", "SWAPDB 5 0"] {
            client.run(line);
        }
        let replies = names(&client.run("EXEC"));
        assert_eq!(
            replies,
            [":101", "101", "+OK", "five", ":1", "+OK"].map(|reply| reply.trim_start_matches('+'))
        );
        assert_eq!(client.run("GET key:100"), Reply::bulk("101"));
    });
    ask("4", &|client| {
        assert_eq!(client.run("FLUSHDB"), Reply::simple("OK"));
        assert_eq!(client.run("DBSIZE"), Reply::Integer(0));
        assert!(client.run("GET key:1").is_null() && client.run("RANDOMKEY").is_null());
        client.run("SELECT 5");
        assert_eq!(client.run("GET key:1"), Reply::bulk("five"));
    });
    ask("4", &|client| {
        // Slots that are still in the file change cores.
        assert!(client.run("CORE MOVE 0 16383 3").integer().expect("a number") > 0);
        for n in (0..KEYS).step_by(1_999) {
            assert_eq!(client.run(&format!("INCR key:{n}")), Reply::Integer(n as i64 + 1));
        }
        assert_eq!(names(&client.run("KEYS *")).len(), KEYS + 8);
    });
    assert!(lazy >= 6, "only {lazy} times were the slots still in the file");
}

#[test]
fn what_is_still_in_the_file_is_saved_and_logged() {
    let mut saved = Saved::new();
    let (mut client, _) = saved.again("2", &[]);
    client.run("SET key:1 changed");
    expect_ok(&mut client, &["SAVE"]);
    let expected = digest(&mut client);
    saved.server.kill();
    saved.server.become_baton(&settings("4", &[]));
    saved.server.restart();
    assert_eq!(digest(&mut saved.server.client()), expected);
    // A log that is turned on at once, and changes while its base is being written.
    let (mut client, _) = saved.again("2", &[]);
    expect_ok(&mut client, &["CONFIG", "SET", "appendonly", "yes"]);
    for n in 0..500 {
        client.run(&format!("INCR key:{n}"));
    }
    await_files(&mut client);
    let expected = digest(&mut client);
    saved.server.kill();
    saved.server.become_baton(&settings("1", &[("appendonly", "yes")]));
    saved.server.restart();
    assert_eq!(digest(&mut saved.server.client()), expected);
    // Killed in the midst of building: the file has not changed.
    let (_, _) = saved.again("2", &[]);
    saved.server.kill();
    assert!(fs::read(saved.server.directory().join("dump.rdb")).expect("the file") == saved.file);
}

#[test]
fn memory_is_bounded_while_slots_come_from_the_file() {
    let mut saved = Saved::new();
    for policy in ["allkeys-lru", "allkeys-random", "volatile-ttl"] {
        let more = [("maxmemory", "4mb"), ("maxmemory-policy", policy)];
        let (mut client, _) = saved.again("2", &more);
        let mut refused = 0;
        for n in 0..300 {
            let reply = client.run(&format!("SET new:{n} {}", "x".repeat(1_000)));
            refused += usize::from(reply.text().starts_with("OOM"));
            assert!(reply == Reply::simple("OK") || reply.text().starts_with("OOM"), "{reply:?}");
        }
        // One moment: eviction goes on.
        client.run("MULTI");
        client.run("KEYS *");
        client.run("DBSIZE");
        let replies = client.run("EXEC");
        let [keys, size] = replies.elements().expect("an array") else { panic!("{replies:?}") };
        let size = size.integer().expect("a number");
        // Those that are over are counted until somebody notices.
        assert!((size - EXPIRED as i64..=size).contains(&(names(keys).len() as i64)), "{policy}: {size}");
        if policy.starts_with("allkeys") {
            assert_eq!(refused, 0, "{policy}");
            assert!(size < KEYS as i64, "{policy}: {size} keys are left");
        }
    }
}
