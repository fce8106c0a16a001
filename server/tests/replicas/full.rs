//! Replicas are sent all data, by disk and without, several at once, while the data change.

use crate::data::{change, expect_ok, fill};
use crate::{assert_equal, figure, primary, replica, signal, until};
use rustix::process::Signal;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn by_disk_and_without() {
    for (diskless, cores) in [("yes", "2"), ("no", "1")] {
        let mut primary = primary(&[("repl-diskless-sync", diskless), ("cores", cores)]);
        fill(&mut primary.client());
        let mut replica = replica(&primary, &[]);
        change(&mut primary.client(), 1);
        assert_equal(&mut primary, &mut replica);
        change(&mut primary.client(), 2);
        assert_equal(&mut primary, &mut replica);
        assert_eq!(figure(&mut primary, "sync_full"), "1");
        let offset = figure(&mut replica, "slave_repl_offset");
        assert!(figure(&mut primary, "slave0").contains("state=online"), "{offset}");
    }
}

#[test]
fn several_replicas_share_a_snapshot() {
    let mut primary = primary(&[("repl-diskless-sync-delay", "1"), ("repl-diskless-sync-max-replicas", "3")]);
    fill(&mut primary.client());
    let mut replicas = [replica(&primary, &[]), replica(&primary, &[]), replica(&primary, &[])];
    change(&mut primary.client(), 1);
    replicas.iter_mut().for_each(|replica| assert_equal(&mut primary, replica));
    let log = primary.log();
    let snapshots = log.matches("Starting BGSAVE for SYNC").count();
    assert!(snapshots < 3, "{snapshots} snapshots for three replicas that came together:\n{log}");
}

/// The snapshot takes a while, in which clients change what has been sent and what has not.
#[test]
fn the_data_change_meanwhile() {
    for diskless in ["yes", "no"] {
        // More to send where the clients are slow.
        let enough = [3_000, 30_000, 100_000].into_iter().any(|keys| changes_meanwhile(diskless, keys) > 3);
        assert!(enough, "the clients change nothing");
    }
}

/// How often the clients had their turn while a snapshot of so many keys was on its way.
fn changes_meanwhile(diskless: &str, keys: usize) -> usize {
    let mut primary = primary(&[("repl-diskless-sync", diskless)]);
    let mut client = primary.client();
    fill(&mut client);
    expect_ok(&mut client, &["DEBUG", "POPULATE", &keys.to_string(), "filler", "100"]);
    // Some 200 microseconds each: half a second or more.
    expect_ok(&mut client, &["CONFIG", "SET", "rdb-key-save-delay", "200"]);
    let mut replica = replica(&primary, &[]);
    until("the snapshot begins", || figure(&mut primary, "rdb_bgsave_in_progress") == "1");
    let done = AtomicBool::new(false);
    let turns = std::thread::scope(|scope| {
        let (mut own, mut other) = (primary.client(), primary.client());
        let (done, waiter) = (&done, scope);
        let changing = waiter.spawn(move || {
            let mut turn = 0;
            while !done.load(Ordering::Relaxed) {
                turn += 1;
                change(&mut own, turn);
                own.run(&format!("RPUSH queue {turn}"));
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            turn
        });
        waiter.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                other.run("BLMPOP 0.05 1 queue LEFT");
            }
        });
        until("the replica is up", || figure(&mut replica, "master_link_status") == "up");
        done.store(true, Ordering::Relaxed);
        changing.join().expect("no panic")
    });
    assert_equal(&mut primary, &mut replica);
    turns
}

/// A snapshot that was begun for replicas is called off with the last of them, unless the node is to keep snapshots.
#[test]
fn a_snapshot_that_nobody_wants_any_more() {
    for (diskless, save, goes_on) in [("yes", "900 1", false), ("no", "", false), ("no", "900 1", true)] {
        let mut primary = primary(&[("repl-diskless-sync", diskless), ("save", save)]);
        let mut client = primary.client();
        expect_ok(&mut client, &["DEBUG", "POPULATE", "1000", "filler", "10"]);
        // A thousand seconds.
        expect_ok(&mut client, &["CONFIG", "SET", "rdb-key-save-delay", "1000000"]);
        let mut replicas = [replica(&primary, &[]), replica(&primary, &[])];
        // The second may have come too late for the snapshot.
        until("both wait", || figure(&mut primary, "slave1").contains("state=wait_bgsave"));
        until("the snapshot begins", || figure(&mut primary, "rdb_bgsave_in_progress") == "1");
        let is_on = |primary: &mut _| figure(primary, "rdb_bgsave_in_progress") == "1";
        replicas.iter_mut().for_each(|replica| replica.kill());
        until("they are forgotten", || figure(&mut primary, "connected_slaves") == "0");
        if goes_on {
            assert!(is_on(&mut primary), "{diskless} {save}");
        } else {
            until("it is called off", || !is_on(&mut primary));
        }
        assert_eq!(figure(&mut primary, "rdb_last_bgsave_status"), "ok");
    }
}

/// A replica that dies in the middle of its snapshot holds nobody up, and can come again.
#[test]
fn a_replica_dies_in_the_middle() {
    let mut primary = primary(&[]);
    let mut client = primary.client();
    expect_ok(&mut client, &["DEBUG", "POPULATE", "5000", "filler", "1000"]);
    expect_ok(&mut client, &["CONFIG", "SET", "rdb-key-save-delay", "200"]);
    let mut replica = replica(&primary, &[]);
    until("the snapshot begins", || figure(&mut primary, "rdb_bgsave_in_progress") == "1");
    replica.kill();
    until("the replica is forgotten", || figure(&mut primary, "connected_slaves") == "0");
    until("the snapshot is given up", || figure(&mut primary, "rdb_bgsave_in_progress") == "0");
    expect_ok(&mut client, &["CONFIG", "SET", "rdb-key-save-delay", "0"]);
    replica.restart();
    assert_equal(&mut primary, &mut replica);
}

/// One that takes nothing of a snapshot holds the others up until its time is over, and does not take them along.
#[test]
fn a_replica_that_takes_nothing_goes_alone() {
    let mut primary = primary(&[
        ("repl-diskless-sync-delay", "2"),
        ("repl-timeout", "6"),
        ("rdbcompression", "no"),
        ("client-output-buffer-limit", "replica 0 0 0"),
    ]);
    expect_ok(&mut primary.client(), &["DEBUG", "POPULATE", "20000", "filler", "4000"]);
    let (stuck, mut other) = (replica(&primary, &[]), replica(&primary, &[]));
    until("both wait", || figure(&mut primary, "slave1").contains("state=wait_bgsave"));
    signal(&stuck, Signal::STOP);
    until("its time is over", || primary.log().contains("Disconnecting timedout replica (full sync)"));
    assert_equal(&mut primary, &mut other);
    let gone = primary.log().matches("Disconnecting timedout replica (full sync)").count();
    assert_eq!((gone, figure(&mut primary, "sync_full").as_str()), (1, "2"), "{}", primary.log());
    signal(&stuck, Signal::CONT);
}
