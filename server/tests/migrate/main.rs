//! MIGRATE between Baton and a real Redis, and while others change the keys.

#[path = "../support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};
use support::client::{Client, Reply};
use support::process::Server;

fn baton() -> Server {
    Server::baton(&[("cores", "3"), ("enable-debug-command", "yes")])
}

/// Runs commands, `;` between them, and compares the replies as text.
#[track_caller]
fn check(client: &mut Client, commands: &str, expected: &str) {
    let show = |reply: Reply| format!("{reply:?}").replace("\\'", "'");
    let replies: Vec<String> = commands.split(';').map(|command| show(client.run(command.trim()))).collect();
    assert_eq!(replies.join(" "), expected, "{commands}");
}

fn migrate(client: &mut Client, port: u16, key: &str, rest: &str) -> String {
    let line = format!("MIGRATE 127.0.0.1 {port} {key} 0 5000 {rest}");
    let words: Vec<&str> =
        line.split_ascii_whitespace().map(|word| if word == "\"\"" { "" } else { word }).collect();
    client.call(&words).text()
}

const VALUES: &str = "SET s hello; RPUSH l a b c; SADD t 1 2 3; SADD u x y; HSET h f v g w; ZADD z 1 a 2.5 b; \
     XADD x 1-1 f v; PEXPIRE h 1000000";

fn digest(client: &mut Client) -> Vec<String> {
    [
        "GET s",
        "LRANGE l 0 -1",
        "SORT t",
        "SORT u ALPHA",
        "HGET h f",
        "ZRANGE z 0 -1 WITHSCORES",
        "XRANGE x - +",
    ]
    .into_iter()
    .map(|command| format!("{:?}", client.run(command)))
    .collect()
}

#[test]
fn every_type_goes_to_redis_and_back() {
    let (mut baton, mut redis) = (baton(), Server::redis(&[]));
    let (mut ours, mut theirs) = (baton.client(), redis.client());
    for command in VALUES.split(';') {
        assert!(!ours.run(command.trim()).is_error(), "{command}");
    }
    let before = digest(&mut ours);
    assert_eq!(migrate(&mut ours, redis.port(), "\"\"", "KEYS s l t u h z x nothing"), "OK");
    check(&mut ours, "DBSIZE", ":0");
    assert_eq!(digest(&mut theirs), before);
    let ttl = theirs.run("PTTL h").integer().unwrap_or_default();
    assert!((900_000..=1_000_000).contains(&ttl), "{ttl}");
    assert_eq!(migrate(&mut theirs, baton.port(), "\"\"", "KEYS s l t u h z x"), "OK");
    check(&mut theirs, "DBSIZE", ":0");
    assert_eq!(digest(&mut ours), before);
    assert!(ours.run("INFO stats").text().contains("migrate_cached_sockets:1\r\n"));
    // Commands that count: this one, and none of those that it is made of.
    let stats = ours.run("INFO commandstats").text();
    assert!(stats.contains("cmdstat_migrate:calls=1,") && !stats.contains("cmdstat_del:"), "{stats}");
}

#[test]
fn refusals_are_those_of_redis() {
    let (mut baton, mut other) = (baton(), baton());
    let (mut client, mut there) = (baton.client(), other.client());
    let port = other.port();
    check(&mut client, "SET k here; SET free here", "+OK +OK");
    check(&mut there, "SET k there", "+OK");
    assert_eq!(migrate(&mut client, port, "nothing", ""), "NOKEY");
    let busy = "ERR Target instance replied with error: BUSYKEY Target key name already exists.";
    assert_eq!(migrate(&mut client, port, "k", ""), busy);
    assert_eq!(migrate(&mut client, port, "k", "COPY"), busy);
    check(&mut client, "GET k", "\"here\"");
    // What was taken goes, what was refused stays.
    assert_eq!(migrate(&mut client, port, "\"\"", "KEYS k free"), busy);
    check(&mut client, "EXISTS k free", ":1");
    check(&mut there, "GET free", "\"here\"");
    assert_eq!(migrate(&mut client, port, "k", "COPY REPLACE"), "OK");
    check(&mut there, "GET k", "\"here\"");
    check(&mut client, "GET k", "\"here\"");
    assert_eq!(migrate(&mut client, port, "k", "REPLACE"), "OK");
    check(&mut client, "DBSIZE", ":0");
    check(&mut client, "SET k v", "+OK");
    assert_eq!(
        migrate(&mut client, port, "k", "KEYS a b"),
        "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string"
    );
    assert_eq!(migrate(&mut client, port, "k", "AUTH2 name"), "ERR syntax error");
    assert_eq!(migrate(&mut client, port, "k", "MAYBE"), "ERR syntax error");
    let refused = migrate(&mut client, port, "k", "AUTH secret");
    assert!(refused.starts_with("ERR Target instance replied with error: ERR AUTH"), "{refused}");
    check(&mut there, "CONFIG SET requirepass secret", "+OK");
    let refused = migrate(&mut client, port, "k", "REPLACE AUTH wrong");
    assert!(refused.starts_with("ERR Target instance replied with error: WRONGPASS"), "{refused}");
    check(&mut client, "EXISTS k", ":1");
    assert_eq!(migrate(&mut client, port, "k", "REPLACE AUTH secret"), "OK");
    check(&mut client, "SET k v", "+OK");
    assert_eq!(migrate(&mut client, port, "k", "REPLACE AUTH2 default secret"), "OK");
    check(&mut client, "SET k v; MULTI", "+OK +OK");
    check(&mut client, &format!("MIGRATE 127.0.0.1 {port} k 0 1000"), "+QUEUED");
    assert!(client.run("EXEC").elements().is_some_and(|replies| replies[0].is_error()));
    check(&mut client, "EXISTS k", ":1");
}

#[test]
fn a_target_that_is_silent_stops_nobody() {
    let mut server = Server::baton(&[("cores", "1")]);
    let (mut client, mut witness) = (server.client(), server.client());
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = silent.local_addr().expect("its address").port();
    check(&mut client, "SET k v", "+OK");
    let start = Instant::now();
    client.send(&["MIGRATE", "127.0.0.1", &port.to_string(), "k", "0", "700"]).expect("it takes a command");
    let mut pings = 0;
    while start.elapsed() < Duration::from_millis(300) {
        check(&mut witness, "PING; GET k", "+PONG \"v\"");
        pings += 1;
    }
    assert!(pings > 10, "{pings} commands while it waits");
    let reply = client.receive().expect("a reply").text();
    assert_eq!(reply, "IOERR error or timeout reading from target instance");
    assert!(start.elapsed() >= Duration::from_millis(700));
    drop(silent);
    let reply = client.run(&format!("MIGRATE 127.0.0.1 {port} k 0 700")).text();
    assert_eq!(reply, "IOERR error or timeout connecting to the client");
    check(&mut client, "GET k", "\"v\"");
}

/// Keys that others count up while they go there: no step is lost.
#[test]
fn nothing_is_lost_while_others_write() {
    const KEYS: usize = 4;
    const STEPS: i64 = 400;
    let (mut baton, mut other) = (baton(), baton());
    let port = other.port();
    let key = |n: usize| format!("count:{n}");
    let (mut mover, mut back) = (baton.client(), other.client());
    let mut writers: Vec<Client> = (0..2).map(|_| baton.client()).collect();
    std::thread::scope(|scope| {
        for client in &mut writers {
            scope.spawn(move || {
                for n in 0..STEPS {
                    assert!(client.run(&format!("INCR {}", key(n as usize % KEYS))).integer().is_some());
                }
            });
        }
        scope.spawn(|| {
            let mut moved = 0;
            while moved < 20 {
                let name = key(moved % KEYS);
                // The sum of what was there and what came.
                match &*migrate(&mut mover, port, &name, "REPLACE") {
                    "OK" => {
                        let there = back.run(&format!("GETDEL {name}")).text();
                        check_sum(&mut back, &format!("INCRBY sum:{name} {there}"));
                    }
                    "NOKEY" => {}
                    why => assert!(why.starts_with("TRYAGAIN"), "{why}"),
                }
                moved += 1;
            }
        });
    });
    let number = |reply: Reply| reply.text().parse::<i64>().unwrap_or_default();
    let (mut here, mut there) = (baton.client(), other.client());
    let total: i64 = (0..KEYS)
        .map(|n| {
            number(here.run(&format!("GET {}", key(n)))) + number(there.run(&format!("GET sum:{}", key(n))))
        })
        .sum();
    assert_eq!(total, 2 * STEPS);
    assert!(!here.run("INFO clients").text().contains("total_watched_keys:1"));
}

#[track_caller]
fn check_sum(client: &mut Client, command: &str) {
    assert!(client.run(command).integer().is_some(), "{command}");
}

/// In the log a key that has gone is a key that was removed.
#[test]
fn the_log_has_what_went_as_removed() {
    let mut other = baton();
    let mut baton = Server::baton(&[("cores", "2"), ("appendonly", "yes")]);
    let mut client = baton.client();
    check(&mut client, "MSET a 1 b 2 c 3", "+OK");
    assert_eq!(migrate(&mut client, other.port(), "\"\"", "KEYS a c"), "OK");
    drop(client);
    baton.kill();
    baton.restart();
    check(&mut baton.client(), "MGET a b c", "[$-1, \"2\", $-1]");
    check(&mut other.client(), "MGET a b c", "[\"1\", $-1, \"3\"]");
}

/// A key that changes whenever it is sent stays, and nobody watches it afterwards.
#[test]
fn a_key_that_changes_all_the_time_stays_and_is_not_watched() {
    let mut baton = baton();
    let (mut client, mut writer) = (baton.client(), baton.client());
    client.run("SET restless 0");
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = other.local_addr().expect("an address").port();
    let taker = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().expect("a connection");
        let (mut seen, mut restores) = (Vec::new(), 0);
        let mut chunk = [0; 4096];
        loop {
            let count =
                |name: &[u8], seen: &[u8]| seen.windows(name.len()).filter(|part| *part == name).count();
            match stream.read(&mut chunk) {
                Ok(0) | Err(_) => return restores,
                Ok(read) => seen.extend_from_slice(&chunk[..read]),
            }
            let (selects, sent) = (count(b"SELECT", &seen), count(b"RESTORE", &seen));
            if sent > 0 {
                restores += sent;
                assert!(writer.run("INCR restless").integer().is_some());
                stream.write_all(b"+OK\r\n".repeat(selects + sent).as_slice()).expect("it listens");
                seen.clear();
            }
        }
    });
    let reply = migrate(&mut client, port, "restless", "");
    assert!(reply.starts_with("TRYAGAIN"), "{reply}");
    assert_eq!(client.run("GET restless").text(), "16");
    assert!(client.run("INFO clients").text().contains("total_watched_keys:0"));
    drop((client, baton));
    assert_eq!(taker.join().expect("it counts"), 16);
}
