//! Baton as the primary of real redis-servers.
//!
//! | file      | what is proved                                                                            |
//! |-----------|-------------------------------------------------------------------------------------------|
//! | `failover` | FAILOVER, there and back                                                                  |
//! | `full`    | replicas are sent all data, by disk and without, several at once, while the data change      |
//! | `messages` | what is published reaches who listens at the replicas                                       |
//! | `partial` | replicas go on where they were: after a cut link, after a restart of their primary           |
//! | `safety`  | WAIT, WAITAOF, `min-replicas-to-write`, slow replicas, ends                                 |
//! | `tools`   | redis-cli and redis-sentinel                                                              |

#[allow(dead_code, reason = "not all of it is needed here")]
#[path = "../persistence/data.rs"]
mod data;
#[path = "../support/mod.rs"]
mod support;

mod failover;
mod full;
mod messages;
mod partial;
mod safety;
mod tools;

use data::digest;
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};
use support::process::Server;

/// Baton, ready for replicas.
fn primary(more: &[(&str, &str)]) -> Server {
    let own = [
        ("enable-debug-command", "yes"),
        ("save", ""),
        ("cores", "2"),
        ("repl-diskless-sync-delay", "0"),
        ("repl-ping-replica-period", "1"),
    ];
    Server::baton(&[&own, more].concat())
}

/// A real replica of it.
fn replica(primary: &Server, more: &[(&str, &str)]) -> Server {
    let of = format!("127.0.0.1 {}", primary.port());
    let own = [("enable-debug-command", "yes"), ("save", ""), ("replicaof", &*of)];
    Server::redis(&[&own, more].concat())
}

/// Stops a process, or lets it go on.
fn signal(server: &Server, signal: Signal) {
    let pid = Pid::from_raw(server.pid() as i32).expect("a process");
    kill_process(pid, signal).expect("it lives");
}

/// A figure of INFO.
#[track_caller]
fn figure(server: &mut Server, name: &str) -> String {
    let info = server.client().run("INFO everything").text();
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().to_owned()
}

/// Waits until this holds.
#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until a replica has all that its primary has, and compares.
#[track_caller]
fn assert_equal(primary: &mut Server, replica: &mut Server) {
    await_caught_up(primary, replica);
    let all = |server: &mut Server| server.client().run("DEBUG DIGEST").text();
    if all(primary) == all(replica) {
        return;
    }
    // Which key it is.
    digest(&mut replica.client()).assert_is(&digest(&mut primary.client()), "the replica");
}

#[track_caller]
fn await_caught_up(primary: &mut Server, replica: &mut Server) {
    data::drop_expired(&mut primary.client());
    until("the link is up", || figure(replica, "master_link_status") == "up");
    until("the replica has caught up", || {
        figure(replica, "slave_repl_offset") == figure(primary, "master_repl_offset")
    });
}
