//! Client-side caching: who keeps copies is told of changes, after the reply to whatever it has read before.

use super::{KEYS, assert_silent, check, id, receive, send, server};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::client::{Client, Reply};

use super::support;

/// The push that tells of these keys.
fn told(keys: &str) -> String {
    format!(">[\"invalidate\", [{keys}]]")
}

#[test]
fn readers_are_told_once_after_the_reply() {
    let mut server = server();
    let (mut reader, mut writer) = (server.client_speaking(3), server.client());
    check(&mut reader, "CLIENT TRACKING on; GET {b}1; GET {c}1; GET {a}1", "+OK _ _ _");
    for key in KEYS {
        // Another database, another type: the name counts.
        check(&mut writer, &format!("SELECT 3; RPUSH {key} x; DEL {key}; SELECT 0"), "+OK :1 :1 +OK");
        assert_eq!(receive(&mut reader), told(&format!("\"{key}\"")));
    }
    assert_silent(&mut reader);
    // What it changes itself, alone, in a pipeline and in a transaction.
    check(&mut reader, "GET k; SET k 1", "_ +OK");
    assert_eq!(receive(&mut reader), told("\"k\""));
    for command in ["GET k", "INCR k", "GET k", "MULTI", "GET k", "INCR k", "GET k", "EXEC", "PING"] {
        send(&mut reader, command);
    }
    for reply in [
        "\"1\"",
        ":2",
        ">k",
        "\"2\"",
        "+OK",
        "+QUEUED",
        "+QUEUED",
        "+QUEUED",
        "[\"2\", :3, \"3\"]",
        ">k",
        "+PONG",
    ] {
        let expected = if reply == ">k" { told("\"k\"") } else { reply.to_owned() };
        assert_eq!(receive(&mut reader), expected);
    }
    check(&mut reader, "CLIENT TRACKING off; GET k", "+OK \"3\"");
    check(&mut writer, "SET k 5", "+OK");
    assert_silent(&mut reader);
}

#[test]
fn expiry_flushes_and_swaps_are_told() {
    let mut server = server();
    let (mut reader, mut writer) = (server.client_speaking(3), server.client());
    check(&mut reader, "CLIENT TRACKING on", "+OK");
    check(&mut writer, "SET k v PX 20", "+OK");
    check(&mut reader, "GET k", "\"v\"");
    assert_eq!(receive(&mut reader), told("\"k\""));
    for flush in ["FLUSHALL", "FLUSHDB ASYNC", "SWAPDB 0 1"] {
        check(&mut reader, "MGET {b}1 {c}1", "[_, _]");
        check(&mut writer, flush, "+OK");
        assert_eq!(receive(&mut reader), ">[\"invalidate\", _]");
    }
    // Nothing is remembered any more.
    check(&mut writer, "SET {b}1 v", "+OK");
    assert_silent(&mut reader);
    let stats = writer.run("INFO stats").text();
    assert!(stats.contains("tracking_total_keys:0\r\ntracking_total_items:0\r\n"), "{stats}");
}

#[test]
fn prefixes_are_told_of_together() {
    let mut server = server();
    let (mut all, mut some, mut writer) =
        (server.client_speaking(3), server.client_speaking(3), server.client());
    check(&mut all, "CLIENT TRACKING on BCAST", "+OK");
    check(&mut some, "CLIENT TRACKING on BCAST PREFIX {b} PREFIX {c} NOLOOP", "+OK");
    check(
        &mut some,
        "CLIENT TRACKING on BCAST PREFIX {b}1 NOLOOP; CLIENT TRACKING on",
        "-ERR Prefix '{b}1' overlaps with an existing prefix '{b}'. Prefixes for a single client must not overlap. \
         -ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with \
         a different mode.",
    );
    check(
        &mut writer,
        "MULTI; SET {c}1 v; SET {b}1 v; SET {b}0 v; SET {b}1 w; SET {a}1 v",
        "+OK +QUEUED +QUEUED +QUEUED +QUEUED +QUEUED",
    );
    check(&mut writer, "EXEC", "[+OK, +OK, +OK, +OK, +OK]");
    assert_eq!(receive(&mut some), told("\"{b}0\", \"{b}1\""));
    assert_eq!(receive(&mut some), told("\"{c}1\""));
    assert_eq!(receive(&mut all), told("\"{a}1\", \"{b}0\", \"{b}1\", \"{c}1\""));
    check(&mut some, "SET {b}1 x; PING", "+OK +PONG");
    assert_eq!(receive(&mut all), told("\"{b}1\""));
    check(
        &mut some,
        "CLIENT TRACKINGINFO; CLIENT GETREDIR",
        "{\"flags\": ~[\"on\", \"bcast\", \"noloop\"], \"redirect\": :0, \"prefixes\": [\"{b}\", \"{c}\"]} :0",
    );
    let stats = writer.run("INFO all").text();
    assert!(
        stats.contains("tracking_total_prefixes:3\r\n") && stats.contains("tracking_clients:2\r\n"),
        "{stats}"
    );
    // Also from within a transaction, and off again.
    check(&mut some, "MULTI; CLIENT TRACKING off; EXEC", "+OK +QUEUED [+OK]");
    check(&mut writer, "SET {b}1 y", "+OK");
    assert_silent(&mut some);
}

#[test]
fn choices_of_reads() {
    let mut server = server();
    let (mut reader, mut writer) = (server.client_speaking(3), server.client());
    let me = id(&mut reader);
    check(
        &mut reader,
        "CLIENT TRACKING on OPTIN; GET a; CLIENT CACHING yes; CLIENT ID",
        &format!("+OK _ +OK :{me}"),
    );
    check(
        &mut reader,
        "GET b; GET c; CLIENT CACHING yes; MULTI; GET d; GET e; EXEC; GET f",
        "_ _ +OK +OK +QUEUED +QUEUED [_, _] _",
    );
    check(&mut writer, "MSET a 1 b 1 c 1 d 1 e 1 f 1", "+OK");
    let mut keys: Vec<String> = (0..3).map(|_| receive(&mut reader)).collect();
    keys.sort();
    assert_eq!(keys, [told("\"b\""), told("\"d\""), told("\"e\"")]);
    check(
        &mut reader,
        "CLIENT CACHING no; CLIENT CACHING maybe; CLIENT TRACKING off; CLIENT CACHING yes; CLIENT TRACKING on OPTOUT",
        "-ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode. -ERR syntax error +OK \
         -ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled +OK",
    );
    for command in ["CLIENT CACHING no", "GET a", "GET b"] {
        send(&mut reader, command);
    }
    for reply in ["+OK", "\"1\"", "\"1\""] {
        assert_eq!(receive(&mut reader), reply);
    }
    check(&mut writer, "MSET a 2 b 2", "+OK");
    assert_eq!(receive(&mut reader), told("\"b\""));
    assert_silent(&mut reader);
    check(
        &mut reader,
        "CLIENT TRACKING on OPTIN; CLIENT TRACKING on OPTIN OPTOUT; CLIENT TRACKING on PREFIX a; CLIENT TRACKING maybe; \
         CLIENT TRACKING on REDIRECT 999999",
        "-ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a \
         different mode. -ERR You can't specify both OPTIN mode and OPTOUT mode -ERR PREFIX option requires BCAST mode to \
         be enabled -ERR syntax error -ERR The client ID you want redirect to does not exist",
    );
}

#[test]
fn another_connection_is_told_in_its_place() {
    let mut server = server();
    let (mut reader, mut ear, mut writer) = (server.client(), server.client(), server.client());
    let to = id(&mut ear);
    check(&mut ear, "SUBSCRIBE __redis__:invalidate", "[\"subscribe\", \"__redis__:invalidate\", :1]");
    check(
        &mut reader,
        &format!("CLIENT TRACKING on REDIRECT {to}; GET k; CLIENT GETREDIR"),
        &format!("+OK $-1 :{to}"),
    );
    check(&mut writer, "SET k v; FLUSHALL", "+OK +OK");
    assert_eq!(receive(&mut ear), "[\"message\", \"__redis__:invalidate\", [\"k\"]]");
    assert_eq!(receive(&mut ear), "[\"message\", \"__redis__:invalidate\", $-1]");
    let me = id(&mut reader);
    let line = writer.run(&format!("CLIENT LIST ID {me}")).text();
    assert!(line.contains(" flags=t ") && line.contains(&format!(" redir={to} ")), "{line}");
    // It goes.
    check(&mut reader, "GET k", "$-1");
    drop(ear);
    super::wait_until(|| writer.run(&format!("CLIENT LIST ID {to}")).text().is_empty());
    assert!(!reader.run("HELLO 3").is_error());
    check(&mut writer, "SET k w", "+OK");
    assert_eq!(receive(&mut reader), format!(">[\"tracking-redir-broken\", :{to}]"));
    let line = writer.run(&format!("CLIENT LIST ID {me}")).text();
    assert!(line.contains(" flags=tR "), "{line}");
    check(
        &mut reader,
        "CLIENT TRACKINGINFO",
        &format!("{{\"flags\": ~[\"on\", \"broken_redirect\"], \"redirect\": :{to}, \"prefixes\": []}}"),
    );
    check(&mut reader, "RESET; CLIENT GETREDIR", "+RESET :-1");
}

#[test]
fn the_table_is_bounded_and_what_is_forgotten_is_told() {
    let mut server = server();
    let (mut reader, mut other) = (server.client_speaking(3), server.client());
    check(&mut other, "CONFIG SET tracking-table-max-keys 50", "+OK");
    check(&mut reader, "CLIENT TRACKING on", "+OK");
    for n in 0..200 {
        send(&mut reader, &format!("GET k{n}"));
    }
    let mut forgotten = 0;
    let mut replies = 0;
    while replies < 200 {
        if receive(&mut reader).starts_with('>') { forgotten += 1 } else { replies += 1 }
    }
    while forgotten < 150 {
        assert!(receive(&mut reader).starts_with(">[\"invalidate\""));
        forgotten += 1;
    }
    assert!(other.run("INFO stats").text().contains("tracking_total_keys:50\r\n"));
    check(&mut other, "CONFIG SET tracking-table-max-keys 10", "+OK");
    for _ in 0..40 {
        assert!(receive(&mut reader).starts_with(">[\"invalidate\""));
    }
    // What is told is counted a moment later, and two cores may each forget what is one too many.
    super::wait_until(|| {
        let stats = other.run("INFO stats").text();
        let keys = stats.lines().find_map(|line| line.strip_prefix("tracking_total_keys:"));
        keys.and_then(|keys| keys.parse::<usize>().ok()).expect("a number") <= 10
    });
}

#[test]
fn what_a_client_has_waited_for_is_remembered_too() {
    let mut server = server();
    let (mut reader, mut writer) = (server.client_speaking(3), server.client());
    check(&mut reader, "CLIENT TRACKING on NOLOOP", "+OK");
    send(&mut reader, "XREAD BLOCK 0 STREAMS s $");
    super::wait_for_blocked(&mut writer, 1);
    check(&mut writer, "XADD s 1-1 f v", "\"1-1\"");
    assert_eq!(receive(&mut reader), "{\"s\": [[\"1-1\", [\"f\", \"v\"]]]}");
    check(&mut writer, "XADD s 1-2 f v", "\"1-2\"");
    assert_eq!(receive(&mut reader), told("\"s\""));
    // What a waiting command changes is its client's doing, whoever served it.
    check(&mut reader, "LRANGE l 0 -1", "[]");
    send(&mut reader, "BLMOVE from l LEFT LEFT 0");
    super::wait_for_blocked(&mut writer, 1);
    check(&mut writer, "RPUSH from v", ":1");
    assert_eq!(receive(&mut reader), "\"v\"");
    assert_silent(&mut reader);
}

/// A client that answers reads from its copies.
struct Caching {
    client: Client,
    copies: HashMap<String, Reply>,
}

impl Caching {
    fn apply(&mut self, push: &Reply) {
        match &push.elements().unwrap_or_default()[1] {
            all if all.is_null() => self.copies.clear(),
            keys => {
                for key in keys.elements().unwrap_or_default() {
                    self.copies.remove(&key.text());
                }
            }
        }
    }

    /// The reply to a command; what is told before it counts.
    fn reply(&mut self) -> Reply {
        loop {
            match self.client.receive().expect("a reply") {
                push @ Reply::Push(_) => self.apply(&push),
                reply => return reply,
            }
        }
    }

    fn read(&mut self, key: &str) {
        if !self.copies.contains_key(key) {
            self.client.send(&["GET", key]).expect("it takes a command");
            let reply = self.reply();
            self.copies.insert(key.to_owned(), reply);
        }
    }
}

/// Whoever writes what and whichever slots move meanwhile: once all is quiet no copy is stale.
#[test]
fn copies_are_never_stale_once_all_is_quiet() {
    const NAMES: u64 = 40;
    const ROUNDS: u64 = 4;
    let mut server = server();
    // Some of the time more is remembered than may be.
    server.client().run("CONFIG SET tracking-table-max-keys 30");
    let key = |n: u64| format!("key:{}", n % NAMES);
    let mut readers: Vec<Caching> = ["", " NOLOOP", " BCAST", " BCAST PREFIX key:1 PREFIX key:2"]
        .into_iter()
        .map(|options| {
            let mut client = server.client_speaking(3);
            assert_eq!(client.run(&format!("CLIENT TRACKING on{options}")).text(), "OK");
            Caching { client, copies: HashMap::new() }
        })
        .collect();
    for round in 0..ROUNDS {
        let done = AtomicBool::new(false);
        let mut writers: Vec<Client> = (0..3).map(|_| server.client()).collect();
        let mut mover = server.client();
        std::thread::scope(|scope| {
            for (at, client) in writers.iter_mut().enumerate() {
                scope.spawn(move || {
                    let mut seed = round * 31 + at as u64;
                    for n in 0..120 {
                        seed = seed
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1_442_695_040_888_963_407);
                        let (one, two) = (key(seed >> 33), key(seed >> 40));
                        match n % 8 {
                            0 => client.run(&format!("MSET {one} {n} {two} {n}")),
                            1 => client.run(&format!("DEL {one} {two}")),
                            2 => client.run(&format!("SET {one} {n} PX 3")),
                            3 if n % 50 == 3 => client.run("FLUSHALL"),
                            _ => client.run(&format!("SET {one} {at}:{n}")),
                        };
                    }
                });
            }
            let (mover, done) = (&mut mover, &done);
            scope.spawn(move || {
                let mut to = 0;
                while !done.load(Ordering::Relaxed) {
                    to = (to + 1) % 3;
                    mover.run(&format!("CORE MOVE 0 16383 {to}"));
                }
            });
            let reading: Vec<_> = readers
                .iter_mut()
                .enumerate()
                .map(|(at, reader)| {
                    scope.spawn(move || {
                        let mut seed = at as u64 + 7;
                        for _ in 0..250 {
                            seed =
                                seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(at as u64 * 2 + 1);
                            reader.read(&key(seed >> 35));
                        }
                    })
                })
                .collect();
            for thread in reading {
                thread.join().expect("a reader");
            }
            done.store(true, Ordering::Relaxed);
        });
        // What expires is over by now, and whatever was told is on its way before this reply.
        std::thread::sleep(Duration::from_millis(10));
        let mut witness = server.client();
        let truth: HashMap<String, Reply> =
            (0..NAMES).map(key).map(|key| (key.clone(), witness.run(&format!("GET {key}")))).collect();
        for (at, reader) in readers.iter_mut().enumerate() {
            reader.client.send(&["PING"]).expect("it takes a command");
            reader.reply();
            // Those who are told of some prefixes alone know nothing of the others.
            let knows = |key: &str| at != 3 || key.starts_with("key:1") || key.starts_with("key:2");
            for (key, copy) in reader.copies.iter().filter(|(key, _)| knows(key)) {
                let same = copy.is_null() && truth[key].is_null() || copy.bytes() == truth[key].bytes();
                assert!(same, "reader {at} has {copy:?} for {key}, which is {:?}", truth[key]);
            }
        }
    }
}
