//! WAITAOF, and the order of replies.

use crate::server;
use crate::support::client::{Client, Reply};
use crate::support::process::Server;
use std::time::{Duration, Instant};

#[track_caller]
fn check(client: &mut Client, commands: &str, expected: &str) {
    let mut last = String::new();
    for command in commands.split(';') {
        last = format!("{:?}", client.run(command.trim()));
    }
    assert_eq!(last, expected, "{commands}");
}

#[test]
fn it_answers_who_has_synced() {
    let mut server = server("always");
    let client = &mut server.client();
    check(client, "SET k v; WAITAOF 1 0 0", "[:1, :0]");
    check(client, "WAITAOF 0 0 0", "[:1, :0]");
    check(client, "INCR n; WAITAOF 1 1 20", "[:1, :0]");
    check(client, "MULTI; INCR n; WAITAOF 1 1 0; EXEC", "[:2, [:1, :0]]");
    check(client, "WAITAOF 2 0 0", "-ERR value is out of range, value must between 0 and 1");
    check(client, "WAITAOF -1 0 0", "-ERR value is out of range, value must between 0 and 1");
    check(client, "WAITAOF 0 -1 0", "-ERR value is out of range, must be positive");
    check(client, "WAITAOF x 0 0", "-ERR value is not an integer or out of range");
    check(client, "WAITAOF 1 0 -1", "-ERR timeout is negative");
    check(client, "WAITAOF 1 0 x", "-ERR timeout is not an integer or out of range");
    check(client, "WAITAOF 1 0 9223372036854775807", "-ERR timeout is out of range");
    check(client, "WAITAOF 1 0", "-ERR wrong number of arguments for \\'waitaof\\' command");
    let mut bare = Server::baton(&[]);
    let client = &mut bare.client();
    check(
        client,
        "WAITAOF 1 0 0",
        "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
    );
    check(client, "SET k v; WAITAOF 0 0 0", "[:0, :0]");
}

#[test]
fn it_waits_for_the_sync_of_every_second() {
    let mut server = server("everysec");
    let client = &mut server.client();
    for _ in 0..2 {
        let start = Instant::now();
        check(client, "INCR n; WAITAOF 1 0 0", "[:1, :0]");
        assert!(start.elapsed() < Duration::from_secs(3));
    }
}

#[test]
fn it_ends_by_time_by_unblock_and_by_a_new_policy() {
    let mut server = server("no");
    let (client, other) = (&mut server.client(), &mut server.client());
    check(client, "INCR n; WAITAOF 1 0 50", "[:0, :0]");
    let id = client.run("CLIENT ID").integer().unwrap();
    let waits = |other: &mut Client| {
        while other.run(&format!("CLIENT UNBLOCK {id}")).integer() != Some(1) {
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    client.send(&["WAITAOF", "1", "0", "0"]).unwrap();
    waits(other);
    assert_eq!(format!("{:?}", client.receive().unwrap()), "[:0, :0]");
    client.send(&["WAITAOF", "1", "0", "0"]).unwrap();
    client.send(&["PING"]).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    check(other, "CONFIG SET appendfsync always", "+OK");
    assert_eq!(format!("{:?}", client.receive().unwrap()), "[:1, :0]");
    assert_eq!(client.receive().unwrap(), Reply::simple("PONG"));
}

#[test]
fn it_ends_when_the_log_is_turned_off() {
    let mut server = server("no");
    let (client, other) = (&mut server.client(), &mut server.client());
    check(client, "INCR n", ":1");
    client.send(&["WAITAOF", "1", "0", "0"]).unwrap();
    while !other.run("INFO clients").text().contains("\r\nblocked_clients:1\r\n") {
        std::thread::sleep(Duration::from_millis(2));
    }
    check(other, "CONFIG SET appendonly no", "+OK");
    assert_eq!(
        client.receive().unwrap().text(),
        "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."
    );
}

/// Until its first base is there a log would not be found by a start, however well it is synced.
#[test]
fn it_waits_until_a_log_that_begins_counts() {
    let mut server =
        Server::baton(&[("save", ""), ("rdb-key-save-delay", "60000000"), ("appendfsync", "always")]);
    let (client, other) = (&mut server.client(), &mut server.client());
    check(client, "SET k v; BGSAVE", "+Background saving started");
    // It cannot begin before that has ended.
    check(client, "CONFIG SET appendonly yes; INCR n; WAITAOF 1 0 50", "[:0, :0]");
    client.send(&["WAITAOF", "1", "0", "0"]).unwrap();
    let wait_for = |other: &mut Client, line: &str| {
        while !other.run("INFO everything").text().contains(&format!("\r\n{line}\r\n")) {
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    wait_for(other, "blocked_clients:1");
    check(other, "BGSAVE CANCEL", "+Background saving cancelled");
    wait_for(other, "aof_rewrite_in_progress:1");
    check(other, "INCR n; WAITAOF 1 0 50", "[:0, :0]");
    assert!(other.run("INFO clients").text().contains("\r\nblocked_clients:1\r\n"));
    // The key whose turn it is has begun to wait.
    check(other, "CONFIG SET rdb-key-save-delay 0; CONFIG SET appendonly no", "+OK");
    assert!(client.receive().unwrap().is_error());
    wait_for(other, "aof_rewrite_in_progress:0");
    client.send(&["WAITAOF", "0", "0", "0"]).unwrap();
    assert_eq!(format!("{:?}", client.receive().unwrap()), "[:0, :0]");
    check(other, "CONFIG SET appendonly yes; INCR n; WAITAOF 1 0 0", "[:1, :0]");
    server.kill();
    server.set("appendonly", "yes");
    server.restart();
    assert_eq!(server.client().run("GET n"), Reply::bulk("3"));
}

#[test]
fn replies_keep_their_order_whether_they_wait_or_not() {
    for policy in ["always", "everysec"] {
        let mut server = server(policy);
        let client = &mut server.client();
        client.run("SET big 0");
        client.call(&["SETRANGE", "big", "60000", "x"]);
        for round in 0..5 {
            let mut commands: Vec<Vec<String>> = Vec::new();
            let mut expected = Vec::new();
            for n in 0..300 {
                let words = match n % 5 {
                    0 => vec!["SET".to_owned(), format!("key:{n}"), n.to_string()],
                    1 => vec!["GET".to_owned(), format!("key:{}", n - 1)],
                    2 => vec!["STRLEN".to_owned(), "big".to_owned()],
                    3 => vec!["GET".to_owned(), "big".to_owned()],
                    _ => vec!["INCR".to_owned(), "n".to_owned()],
                };
                commands.push(words);
                expected.push(match n % 5 {
                    0 => "OK".to_owned(),
                    1 => (n - 1).to_string(),
                    2 => "60001".to_owned(),
                    3 => "60001 bytes".to_owned(),
                    _ => format!(":{}", round * 60 + n / 5 + 1),
                });
            }
            let replies = client.pipeline(&commands);
            let shown = replies.iter().map(|reply| match reply {
                Reply::Integer(60_001) => "60001".to_owned(),
                Reply::Integer(n) => format!(":{n}"),
                reply if reply.bytes().is_some_and(|bytes| bytes.len() > 1_000) => {
                    format!("{} bytes", reply.bytes().unwrap().len())
                }
                reply => reply.text(),
            });
            assert_eq!(shown.collect::<Vec<_>>(), expected);
        }
    }
}

#[test]
fn clients_that_want_no_replies_are_kept_too() {
    let mut server = server("everysec");
    let mut client = server.client();
    client.send(&["CLIENT", "REPLY", "OFF"]).unwrap();
    for _ in 0..100 {
        client.send(&["INCR", "n"]).unwrap();
    }
    drop(client);
    let mut other = server.client();
    let start = Instant::now();
    while other.run("GET n").text() != "100" {
        assert!(start.elapsed() < Duration::from_secs(5));
    }
    // Nothing tells when it has been written, but it is at the end of the turn.
    std::thread::sleep(Duration::from_millis(100));
    server.kill();
    server.restart();
    assert_eq!(server.client().run("GET n").text(), "100");
}
