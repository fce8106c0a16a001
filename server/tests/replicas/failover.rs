//! FAILOVER: the parts are changed, and nothing is lost.

use crate::data::{change, expect_ok, fill};
use crate::support::process::Server;
use crate::{assert_equal, figure, primary, replica, signal, until};
use rustix::process::Signal;

fn baton_replica(primary: &Server) -> Server {
    let of = format!("127.0.0.1 {}", primary.port());
    Server::baton(&[
        ("enable-debug-command", "yes"),
        ("save", ""),
        ("cores", "2"),
        ("replicaof", &of),
        ("repl-diskless-sync-delay", "0"),
    ])
}

/// Hands over, and finds the parts changed without another full synchronisation.
#[track_caller]
fn hand_over(from: &mut Server, to: &mut Server, turn: usize) {
    assert_equal(from, to);
    let full = figure(to, "sync_full");
    let port = to.port().to_string();
    expect_ok(&mut from.client(), &["FAILOVER", "TO", "127.0.0.1", &port, "TIMEOUT", "15000"]);
    until("it is a replica", || figure(from, "role") == "slave");
    until("the other one has taken over", || figure(to, "role") == "master");
    until("it is over", || figure(from, "master_failover_state") == "no-failover");
    change(&mut to.client(), turn);
    assert_equal(to, from);
    assert_eq!(figure(to, "sync_full"), full, "{}\n{}", from.log_tail(), to.log_tail());
    assert!(from.client().run("SET k v").is_error(), "a replica is read-only");
}

#[test]
fn there_and_back() {
    for with_redis in [false, true] {
        let mut first = primary(&[]);
        fill(&mut first.client());
        let mut second = if with_redis { replica(&first, &[]) } else { baton_replica(&first) };
        change(&mut first.client(), 1);
        hand_over(&mut first, &mut second, 2);
        hand_over(&mut second, &mut first, 3);
    }
}

#[test]
fn what_is_refused() {
    let mut primary = primary(&[]);
    let mut client = primary.client();
    let refused = |client: &mut crate::support::client::Client, line: &str, expected: &str| {
        assert_eq!(client.run(line).text(), expected, "{line}");
    };
    refused(&mut client, "FAILOVER ABORT", "ERR No failover in progress.");
    refused(&mut client, "FAILOVER", "ERR FAILOVER requires connected replicas.");
    let mut replica = replica(&primary, &[]);
    assert_equal(&mut primary, &mut replica);
    refused(&mut client, "FAILOVER TO 127.0.0.1 1", "ERR FAILOVER target HOST and PORT is not a replica.");
    refused(
        &mut client,
        "FAILOVER FORCE",
        "ERR FAILOVER with force option requires both a timeout and target HOST and IP.",
    );
    refused(&mut client, "PSYNC x 1 FAILOVER", "ERR PSYNC FAILOVER can't be sent to a master.");
    signal(&replica, Signal::STOP);
    expect_ok(&mut client, &["SET", "k", "1"]);
    expect_ok(&mut client, &["FAILOVER", "TIMEOUT", "300"]);
    assert_eq!(figure(&mut primary, "master_failover_state"), "waiting-for-sync");
    refused(&mut client, "FAILOVER", "ERR FAILOVER already in progress.");
    // Held back until it is given up.
    expect_ok(&mut client, &["SET", "k", "2"]);
    assert_eq!(figure(&mut primary, "master_failover_state"), "no-failover");
    expect_ok(&mut client, &["FAILOVER"]);
    expect_ok(&mut client, &["FAILOVER", "ABORT"]);
    expect_ok(&mut client, &["SET", "k", "3"]);
    signal(&replica, Signal::CONT);
    assert_equal(&mut primary, &mut replica);
}
