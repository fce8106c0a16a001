//! Cut wires, kill -9 of either, restarts: equal in the end.

use crate::data;
use crate::pair::{assert_equal, await_offset, follower, info, redis, until};
use crate::proxy::Proxy;
use crate::support::client::Client;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long there is trouble.
pub fn duration() -> Duration {
    let seconds = std::env::var("BATON_REPLICATION_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(3))
}

/// Changes without end: keys of all types, transactions, expiry, elements for those who wait.
fn load(client: &mut Client, over: &AtomicBool) -> usize {
    let mut turn = 0;
    while !over.load(Ordering::Relaxed) {
        load_once(client, turn);
        turn += 1;
    }
    turn
}

/// One turn of it.
pub fn load_once(client: &mut Client, turn: usize) {
    data::change(client, turn);
    for line in ["RPUSH line a b c", "LPOP line", "BLPOP line 0.01", "SET e 1 PX 3", "GETEX e PX 1"] {
        let reply = client.run(line);
        assert!(!reply.is_error(), "{line}: {reply:?}");
    }
    // A build without optimisation is slower than its primary: it must not fall behind without end.
    client.run("WAIT 1 500");
}

#[test]
fn a_wire_that_is_cut_costs_what_was_missed() {
    let mut primary = redis(&[("repl-backlog-size", "100mb")]);
    let mut there = primary.client();
    data::fill(&mut there);
    let wire = Proxy::to(primary.port());
    let mut replica = follower(wire.port(), &[("cores", "2"), ("appendonly", "yes")]);
    let mut here = replica.client();
    await_offset(&mut there, &mut here);
    let over = AtomicBool::new(false);
    let mut writer = primary.client();
    let mut cuts = 0;
    thread::scope(|scope| {
        let writing = scope.spawn(|| load(&mut writer, &over));
        let start = Instant::now();
        while start.elapsed() < duration() {
            thread::sleep(Duration::from_millis(300));
            wire.cut();
            cuts += 1;
            until("the link is up again", || info(&mut here, "master_link_status") == "up");
        }
        over.store(true, Ordering::Relaxed);
        let turns = writing.join().expect("the writer");
        assert!(turns > 0, "nothing was written");
    });
    assert_equal(&mut there, &mut here, "after the cuts");
    assert_eq!(info(&mut there, "sync_full"), "1");
    let partial: usize = info(&mut there, "sync_partial_ok").parse().expect("a number");
    assert!(partial >= cuts.min(1), "{partial} partial synchronisations after {cuts} cuts");
}

/// A snapshot that does not come whole changes nothing: the data still belong to the history of before.
#[test]
fn a_full_synchronisation_that_fails_leaves_what_was_there() {
    for load in ["disabled", "swapdb"] {
        let (mut first, mut second) = (redis(&[("repl-backlog-size", "10mb")]), redis(&[]));
        let (mut one, mut two) = (first.client(), second.client());
        data::fill(&mut one);
        let mut replica = follower(first.port(), &[("repl-diskless-load", load)]);
        let mut here = replica.client();
        await_offset(&mut one, &mut here);
        two.run("DEBUG POPULATE 100");
        // Half a minute: the child of a server that is killed may live as long.
        two.run("CONFIG SET rdb-key-save-delay 300000");
        assert_eq!(here.run(&format!("REPLICAOF 127.0.0.1 {}", second.port())).text(), "OK");
        until("a snapshot is on its way", || info(&mut here, "master_sync_in_progress") == "1");
        second.kill();
        until("it has failed", || info(&mut here, "master_sync_in_progress") == "0");
        data::change(&mut one, 1);
        assert_eq!(here.run(&format!("REPLICAOF 127.0.0.1 {}", first.port())).text(), "OK");
        assert_equal(&mut one, &mut here, load);
        let counted = (info(&mut one, "sync_full"), info(&mut one, "sync_partial_ok"));
        assert_eq!(counted, ("1".into(), "1".into()), "{load}: {}", replica.log_tail());
    }
}

#[test]
fn a_primary_that_is_killed_comes_back_with_what_it_has() {
    let mut primary = redis(&[("appendonly", "yes")]);
    let mut there = primary.client();
    data::fill(&mut there);
    let wire = Proxy::to(primary.port());
    let mut replica = follower(wire.port(), &[]);
    let mut here = replica.client();
    assert_equal(&mut there, &mut here, "before");
    data::change(&mut there, 1);
    primary.kill();
    until("the link is down", || info(&mut here, "master_link_status") == "down");
    assert!(!here.run("GET turn").is_error(), "old data are served");
    primary.restart();
    wire.lead_to(primary.port());
    wire.cut();
    let mut there = primary.client();
    data::change(&mut there, 2);
    assert_equal(&mut there, &mut here, "after");
}

#[test]
fn a_replica_that_is_restarted_goes_on_from_its_snapshot() {
    let mut primary = redis(&[("repl-backlog-size", "100mb")]);
    let mut there = primary.client();
    data::fill(&mut there);
    let mut replica = follower(primary.port(), &[("dbfilename", "own.rdb")]);
    let mut here = replica.client();
    await_offset(&mut there, &mut here);
    assert_eq!(here.run("SAVE").text(), "OK");
    data::change(&mut there, 1);
    await_offset(&mut there, &mut here);
    // What came after the snapshot is lost with the process, and asked for again.
    replica.kill();
    data::change(&mut there, 2);
    replica.restart();
    let mut here = replica.client();
    assert_equal(&mut there, &mut here, "after a restart");
    assert_eq!(
        (info(&mut there, "sync_full"), info(&mut there, "sync_partial_ok")),
        ("1".into(), "1".into())
    );
}
