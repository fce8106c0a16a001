//! What is said to be on replicas is there, and what replicas cost is bounded.

use crate::data::expect_ok;
use crate::support::client::Reply;
use crate::{assert_equal, figure, primary, replica, signal, until};
use rustix::process::Signal;
use std::time::{Duration, Instant};

#[test]
fn waiting_for_replicas() {
    let mut primary = primary(&[]);
    let mut first = replica(&primary, &[("appendonly", "yes")]);
    let mut second = replica(&primary, &[]);
    assert_equal(&mut primary, &mut first);
    assert_equal(&mut primary, &mut second);
    let mut client = primary.client();
    expect_ok(&mut client, &["SET", "k", "1"]);
    let start = Instant::now();
    assert_eq!(client.run("WAIT 2 9000"), Reply::Integer(2));
    assert!(start.elapsed() < Duration::from_secs(9), "they were asked");
    assert_eq!(client.run("WAIT 0 0"), Reply::Integer(2));
    // 7.0 does not tell what is on its disk.
    assert_eq!(client.run("WAITAOF 0 1 50"), Reply::Array(vec![Reply::Integer(0), Reply::Integer(0)]));
    signal(&second, Signal::STOP);
    expect_ok(&mut client, &["SET", "k", "2"]);
    let reply = client.run("WAIT 2 300");
    signal(&second, Signal::CONT);
    assert_eq!(reply, Reply::Integer(1));
    assert_eq!(client.run("WAIT 2 9000"), Reply::Integer(2));
    expect_ok(&mut client, &["MULTI"]);
    client.run("SET k 3");
    client.run("WAIT 2 1000");
    let replies = client.run("EXEC");
    assert!(matches!(replies.elements(), Some([_, Reply::Integer(0..=2)])), "{replies:?}");
}

#[test]
fn too_few_good_replicas() {
    let mut primary = primary(&[("min-replicas-to-write", "1"), ("min-replicas-max-lag", "2")]);
    let refused = Reply::Error(b"NOREPLICAS Not enough good replicas to write.".to_vec());
    let mut client = primary.client();
    assert_eq!(client.run("SET k 1"), refused);
    assert_eq!(client.run("GET k"), Reply::NullBulk);
    let mut replica = replica(&primary, &[]);
    until("it may write", || client.run("SET k 1") == Reply::simple("OK"));
    assert_eq!(figure(&mut primary, "min_slaves_good_slaves"), "1");
    replica.kill();
    until("it may no longer", || client.run("SET k 2") == refused);
    expect_ok(&mut client, &["MULTI"]);
    client.run("SET k 3");
    assert!(client.run("EXEC").is_error());
    expect_ok(&mut client, &["CONFIG", "SET", "min-replicas-to-write", "0"]);
    expect_ok(&mut client, &["SET", "k", "4"]);
}

/// A replica that does not read is cut off at its limit, and what was kept for it goes.
#[test]
fn a_replica_that_does_not_read() {
    let mut primary = primary(&[
        ("client-output-buffer-limit", "replica 8mb 0 0"),
        ("repl-backlog-size", "1mb"),
        ("repl-timeout", "60"),
    ]);
    let mut replica = replica(&primary, &[]);
    assert_equal(&mut primary, &mut replica);
    signal(&replica, Signal::STOP);
    let mut client = primary.client();
    let value = "x".repeat(200_000);
    until("it is cut off", || {
        expect_ok(&mut client, &["SET", "k", &value]);
        figure(&mut primary, "connected_slaves") == "0"
    });
    until("nothing is kept for it", || figure(&mut primary, "mem_clients_slaves") == "0");
    signal(&replica, Signal::CONT);
    assert_equal(&mut primary, &mut replica);
    assert_eq!(figure(&mut primary, "client_output_buffer_limit_disconnections"), "1");
}

#[test]
fn a_silent_replica_has_to_go() {
    let mut primary = primary(&[("repl-timeout", "2")]);
    let mut replica = replica(&primary, &[]);
    assert_equal(&mut primary, &mut replica);
    signal(&replica, Signal::STOP);
    until("it is cut off", || figure(&mut primary, "connected_slaves") == "0");
    signal(&replica, Signal::CONT);
    assert_equal(&mut primary, &mut replica);
    until("it is told so", || primary.log().contains("Disconnecting timedout replica (streaming sync)"));
}

#[test]
fn the_backlog_ends_when_nobody_needs_it() {
    let mut primary = primary(&[("repl-backlog-ttl", "1")]);
    let mut replica = replica(&primary, &[]);
    assert_equal(&mut primary, &mut replica);
    let id = figure(&mut primary, "master_replid");
    assert_eq!(figure(&mut primary, "repl_backlog_active"), "1");
    replica.kill();
    until("it is freed", || figure(&mut primary, "repl_backlog_active") == "0");
    assert_ne!(figure(&mut primary, "master_replid"), id);
    let offset = figure(&mut primary, "master_repl_offset");
    expect_ok(&mut primary.client(), &["SET", "k", "1"]);
    assert_eq!(figure(&mut primary, "master_repl_offset"), offset, "nobody listens");
    replica.restart();
    assert_equal(&mut primary, &mut replica);
}

/// The end waits for a replica that lags, and for no longer than it may.
#[test]
fn the_end_waits_for_replicas() {
    let mut primary = primary(&[("shutdown-timeout", "20")]);
    let mut replica = replica(&primary, &[]);
    assert_equal(&mut primary, &mut replica);
    signal(&replica, Signal::STOP);
    let mut client = primary.client();
    expect_ok(&mut client, &["SET", "k", "1"]);
    let mut other = primary.client();
    other.send(&["SHUTDOWN"]).expect("sent");
    until("it waits", || primary.log().contains("Waiting for replicas before shutting down."));
    assert_eq!(client.run("GET k").text(), "1", "reads go on");
    let mut third = primary.client();
    third.send(&["SHUTDOWN"]).expect("sent");
    until("two wait", || figure(&mut primary, "blocked_clients") == "2");
    expect_ok(&mut client, &["SHUTDOWN", "ABORT"]);
    for asker in [&mut other, &mut third] {
        let answer = asker.receive().expect("an answer").text();
        assert_eq!(answer, "ERR Errors trying to SHUTDOWN. Check logs.");
    }
    expect_ok(&mut client, &["SET", "k", "2"]);
    other.send(&["SHUTDOWN"]).expect("sent");
    until("it waits again", || primary.log().matches("Waiting for replicas").count() == 2);
    signal(&replica, Signal::CONT);
    until("it ends", || primary.exited().is_some());
    assert!(
        primary.log().contains("1 of 1 replicas are in sync when shutting down."),
        "{}",
        primary.log_tail()
    );
    assert_eq!(replica.client().run("GET k").text(), "2");
}

/// With a log on disk a replica that did not read for long goes on out of the log, and so does one that comes back late.
#[test]
fn a_replica_catches_up_from_the_log() {
    let mut primary = primary(&[
        ("client-output-buffer-limit", "replica 4mb 2mb 1"),
        ("repl-backlog-size", "1mb"),
        ("appendonly", "yes"),
        ("appendfsync", "no"),
    ]);
    let mut replica = replica(&primary, &[]);
    assert_equal(&mut primary, &mut replica);
    let mut client = primary.client();
    let value = "x".repeat(200_000);
    let write_much = |client: &mut crate::support::client::Client| {
        for n in 0..150 {
            expect_ok(client, &["SET", &format!("k:{n}"), &value]);
        }
    };
    signal(&replica, Signal::STOP);
    write_much(&mut client);
    signal(&replica, Signal::CONT);
    assert_equal(&mut primary, &mut replica);
    until("the log says how", || primary.log().contains("with the append only file"));

    expect_ok(&mut replica.client(), &["REPLICAOF", "127.0.0.1", "1"]);
    until("the link is down", || figure(&mut primary, "connected_slaves") == "0");
    write_much(&mut client);
    let port = primary.port().to_string();
    expect_ok(&mut replica.client(), &["REPLICAOF", "127.0.0.1", &port]);
    assert_equal(&mut primary, &mut replica);
    assert_eq!(figure(&mut primary, "sync_full"), "1", "{}", primary.log_tail());
}

/// What is not in a log yet that was asked for would be lost.
#[test]
fn no_end_while_the_log_begins() {
    let mut primary = primary(&[]);
    let mut client = primary.client();
    expect_ok(&mut client, &["SET", "k", "1"]);
    // Until somebody ends it.
    expect_ok(&mut client, &["CONFIG", "SET", "rdb-key-save-delay", "60000000"]);
    expect_ok(&mut client, &["CONFIG", "SET", "appendonly", "yes"]);
    for line in ["SHUTDOWN", "SHUTDOWN NOSAVE", "SHUTDOWN NOW"] {
        assert_eq!(client.run(line).text(), "ERR Errors trying to SHUTDOWN. Check logs.", "{line}");
    }
    until("the log says why", || primary.log().contains("Writing initial AOF, can't exit."));
    client.send(&["SHUTDOWN", "NOSAVE", "FORCE"]).expect("sent");
    until("it ends", || primary.exited().is_some());
}

/// Who sees that the node has closed its connection finds nobody there any more.
#[test]
fn nobody_is_let_in_when_it_ends() {
    for turn in 0..10 {
        let mut primary = primary(&[]);
        let mut client = primary.client();
        client.send(&["SHUTDOWN", ["SAVE", "NOSAVE"][turn % 2]]).expect("sent");
        assert!(client.receive().is_err(), "closed");
        let refused = std::net::TcpStream::connect(primary.address()).expect_err("refused");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        until("it ends", || primary.exited().is_some());
    }
}

/// Who follows the stream and gives commands that are answered is sent away: there is no place for answers.
#[test]
fn a_replica_that_asks_is_sent_away() {
    let mut primary = primary(&[]);
    for (command, refused) in [("PING", false), ("XINFO HELP", false), ("GET k", true), ("NONSENSE", false)] {
        let mut replica = primary.client();
        replica.send(&["REPLCONF", "capa", "eof", "capa", "psync2"]).expect("sent");
        assert_eq!(replica.receive().expect("an answer"), Reply::simple("OK"));
        replica.send(&["PSYNC", "?", "-1"]).expect("sent");
        assert!(replica.receive().expect("an answer").text().starts_with("FULLRESYNC"));
        let words: Vec<&str> = command.split(' ').collect();
        replica.send(&words).expect("sent");
        let name = match command {
            "NONSENSE" => "<unknown>".to_owned(),
            _ => command.to_lowercase().replace(' ', "|").replace("|k", ""),
        };
        let told = format!("Replica generated a reply to command '{name}', disconnecting it: id=");
        until("it is told so", || primary.log().contains(&told));
        until("it is gone", || figure(&mut primary, "connected_slaves") == "0");
        if refused {
            let critical = format!(
                "== CRITICAL == This master is sending an error to its replica: '-ERR Replica can't interact with the keyspace' \
                 after processing the command '{name}'"
            );
            until("it is critical", || primary.log().contains(&critical));
        }
    }
}
