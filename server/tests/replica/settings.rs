//! What settings of replication do, where it can be seen.

use crate::data;
use crate::pair::{COMMON, assert_equal, await_offset, follower, info, redis, until};
use crate::support::client::Reply;
use crate::support::process::Server;
use rustix::net::sockopt::tcp_nodelay;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, kill_process, pidfd_getfd, pidfd_open};

/// `repl-disable-tcp-nodelay`: asked of the socket itself, of which the test has itself given a copy.
#[test]
fn small_writes_to_replicas_are_gathered_on_demand() {
    for (disabled, is_set) in [("no", true), ("yes", false)] {
        let own = [("repl-diskless-sync-delay", "0"), ("repl-disable-tcp-nodelay", disabled)];
        let mut primary = Server::baton(&[&COMMON[..], &own].concat());
        let mut there = primary.client();
        let mut replica = follower(primary.port(), &[]);
        await_offset(&mut there, &mut replica.client());
        let list = there.run("CLIENT LIST TYPE replica").text();
        let fd =
            list.split(' ').find_map(|field| field.strip_prefix("fd=")?.parse().ok()).expect("its number");
        let pid = Pid::from_raw(primary.pid() as i32).expect("a process");
        let process = pidfd_open(pid, PidfdFlags::empty()).expect("a process");
        match pidfd_getfd(process, fd, PidfdGetfdFlags::empty()) {
            Ok(socket) => assert_eq!(tcp_nodelay(socket), Ok(is_set), "{disabled}"),
            // Where processes are kept from looking into each other.
            Err(error) => eprintln!("not proved here: {error}"),
        }
        there.run("SET a 1");
        assert_equal(&mut there, &mut replica.client(), disabled);
    }
}

/// `replica-lazy-flush`: who frees what was here before.
#[test]
fn old_data_are_freed_before_new_ones_come_or_beside_them() {
    for (lazily, is_freed_beside) in [("yes", true), ("no", false)] {
        let mut primary = redis(&[]);
        let mut there = primary.client();
        there.run("SET a 1");
        let mut replica = Server::baton(&[&COMMON[..], &[("replica-lazy-flush", lazily)]].concat());
        let mut here = replica.client();
        here.run("DEBUG POPULATE 10000");
        let freed = |client: &mut _| info(client, "lazyfreed_objects").parse::<u64>().expect("a number");
        assert_eq!(freed(&mut here), 0);
        assert_eq!(here.run(&format!("REPLICAOF 127.0.0.1 {}", primary.port())).text(), "OK");
        assert_equal(&mut there, &mut here, lazily);
        until("nothing waits to be freed", || info(&mut here, "lazyfree_pending_objects") == "0");
        assert_eq!(freed(&mut here) > 0, is_freed_beside, "{lazily}");
    }
}

/// `replica-ignore-disk-write-errors`: whether a replica whose disk is full follows all the same.
#[test]
fn a_replica_with_a_full_disk_stops_or_goes_on_as_it_is_told() {
    let mut primary = redis(&[("repl-backlog-size", "100mb")]);
    let mut there = primary.client();
    let of = format!("127.0.0.1 {}", primary.port());
    let own = [("replicaof", of.as_str()), ("appendonly", "yes"), ("repl-diskless-load", "swapdb")];
    let (mut replica, _script) = Server::limited(&[&COMMON[..], &own].concat());
    let mut here = replica.client();
    await_offset(&mut there, &mut here);
    data::await_files(&mut here);
    replica.limit_files(Some(200_000));
    let value = "x".repeat(10_000);
    let mut n = 0;
    let mut write = |there: &mut _| {
        n += 1;
        data::expect_ok(there, &["SET", &format!("key:{n}"), &value]);
    };
    let full = "Replica was unable to write command to disk.";
    until("it stops", || {
        write(&mut there);
        replica.log().contains(full)
    });
    until("the link is down", || info(&mut here, "master_link_status") == "down");
    // What does not fit is not applied either.
    assert_ne!(here.run("DBSIZE"), there.run("DBSIZE"));
    assert_eq!(here.run("CONFIG SET replica-ignore-disk-write-errors yes").text(), "OK");
    // It tries again every ten seconds.
    await_offset(&mut there, &mut here);
    (0..50).for_each(|_| write(&mut there));
    await_offset(&mut there, &mut here);
    assert_eq!(here.run("DBSIZE"), there.run("DBSIZE"));
    replica.limit_files(None);
    assert_equal(&mut there, &mut here, "in the end");
}

/// `repl-timeout` counts as it is now, on a link that is up, too.
#[test]
fn a_primary_that_falls_silent_is_given_up_after_the_time_that_is_set_now() {
    let mut primary = redis(&[]);
    let mut there = primary.client();
    let mut replica = follower(primary.port(), &[]);
    let mut here = replica.client();
    await_offset(&mut there, &mut here);
    let pid = Pid::from_raw(primary.pid() as i32).expect("a process");
    kill_process(pid, Signal::STOP).expect("it lives");
    assert_eq!(here.run("CONFIG SET repl-timeout 2").text(), "OK");
    until("it is given up", || replica.log().contains("MASTER timeout: no data nor PING received..."));
    assert_eq!(info(&mut here, "master_link_status"), "down");
    // Who listens and says nothing is given up, too.
    until("the next one as well", || replica.log().contains("Timeout connecting to the MASTER..."));
    kill_process(pid, Signal::CONT).expect("it lives");
    await_offset(&mut there, &mut here);
    assert_eq!(info(&mut there, "sync_full"), "1");
    assert_eq!(here.run("PING"), Reply::simple("PONG"));
}

/// `bind-source-addr`: from where the primary is reached, if that can be.
#[test]
fn a_primary_is_reached_from_the_address_that_is_named() {
    for (source, seen) in [("127.0.0.2", "127.0.0.2"), ("192.0.2.1", "127.0.0.1"), ("", "127.0.0.1")] {
        let mut primary = redis(&[("protected-mode", "no")]);
        let mut there = primary.client();
        let mut replica = follower(primary.port(), &[("bind-source-addr", source)]);
        await_offset(&mut there, &mut replica.client());
        let line = info(&mut there, "slave0");
        assert!(line.starts_with(&format!("ip={seen},")), "{source}: {line}");
    }
}
