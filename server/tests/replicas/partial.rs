//! Replicas go on where they were.

use crate::data::{change, expect_ok, fill};
use crate::support::client::Reply;
use crate::support::process::Server;
use crate::{assert_equal, figure, primary, replica, until};

#[test]
fn after_a_cut_link() {
    let mut primary = primary(&[]);
    fill(&mut primary.client());
    let mut replica = replica(&primary, &[]);
    assert_equal(&mut primary, &mut replica);
    for turn in 1..=3 {
        let mut client = primary.client();
        assert_eq!(client.run("CLIENT KILL TYPE replica").integer(), Some(1), "turn {turn}");
        change(&mut client, turn);
        assert_equal(&mut primary, &mut replica);
    }
    assert_eq!(figure(&mut primary, "sync_full"), "1");
    assert_eq!(figure(&mut primary, "sync_partial_ok"), "3");
}

#[test]
fn not_when_the_backlog_is_too_short() {
    let mut primary = primary(&[("repl-backlog-size", "20000")]);
    let mut replica = replica(&primary, &[]);
    assert_equal(&mut primary, &mut replica);
    // Not read meanwhile: it must not come back too early.
    expect_ok(&mut replica.client(), &["REPLICAOF", "127.0.0.1", "1"]);
    until("the link is down", || figure(&mut primary, "connected_slaves") == "0");
    expect_ok(&mut primary.client(), &["SET", "large", &"x".repeat(40_000)]);
    let port = primary.port().to_string();
    expect_ok(&mut replica.client(), &["REPLICAOF", "127.0.0.1", &port]);
    assert_equal(&mut primary, &mut replica);
    assert_eq!(figure(&mut primary, "sync_full"), "2");
    assert_eq!(figure(&mut primary, "sync_partial_err"), "1");
}

/// The snapshot with which the primary ends says where it stands in its stream.
#[test]
fn after_a_restart_of_the_primary() {
    let mut primary = primary(&[("save", "1000 1000")]);
    fill(&mut primary.client());
    let mut replica = replica(&primary, &[]);
    assert_equal(&mut primary, &mut replica);
    change(&mut primary.client(), 1);
    assert_equal(&mut primary, &mut replica);
    let id = figure(&mut primary, "master_replid");
    assert!(primary.terminate().success());
    primary.restart();
    assert_eq!(figure(&mut primary, "master_replid2"), id);
    let port = primary.port().to_string();
    expect_ok(&mut replica.client(), &["REPLICAOF", "127.0.0.1", &port]);
    change(&mut primary.client(), 2);
    assert_equal(&mut primary, &mut replica);
    assert_eq!(figure(&mut primary, "sync_partial_ok"), "1", "{}", primary.log_tail());
    assert_eq!(figure(&mut primary, "sync_full"), "0");
}

/// Baton in the place of a real primary, with its snapshot: keys whose time is over by then are still at the replicas, which hear of
/// their end.
#[test]
fn after_a_real_primary_with_its_snapshot() {
    let mut primary = Server::redis(&[("enable-debug-command", "yes"), ("save", "1000 1000")]);
    let mut client = primary.client();
    client.run("DEBUG SET-ACTIVE-EXPIRE 0");
    fill(&mut client);
    (0..20).for_each(|n| expect_ok(&mut client, &["SET", &format!("over:{n}"), "v", "PX", "1"]));
    let mut replica = replica(&primary, &[]);
    until("it follows", || figure(&mut replica, "master_link_status") == "up");
    until("it has acknowledged all", || {
        let all = format!("offset={},", figure(&mut primary, "master_repl_offset"));
        figure(&mut primary, "slave0").contains(&all)
    });
    assert!(primary.terminate().success());
    primary.become_baton(&[("enable-debug-command", "yes"), ("save", ""), ("repl-diskless-sync-delay", "0")]);
    primary.restart();
    let port = primary.port().to_string();
    expect_ok(&mut replica.client(), &["REPLICAOF", "127.0.0.1", &port]);
    until("its keys are gone", || replica.client().run("KEYS over:*") == Reply::Array(Vec::new()));
    assert_equal(&mut primary, &mut replica);
    let counted = (figure(&mut primary, "sync_partial_ok"), figure(&mut primary, "sync_full"));
    assert_eq!(counted, ("1".to_owned(), "0".to_owned()), "{}", primary.log_tail());
}

/// A primary that lost what its replica has must not let it go on.
#[test]
fn not_when_the_primary_lost_something() {
    let mut primary = primary(&[]);
    fill(&mut primary.client());
    let mut replica = replica(&primary, &[]);
    assert_equal(&mut primary, &mut replica);
    expect_ok(&mut primary.client(), &["SAVE"]);
    change(&mut primary.client(), 1);
    assert_equal(&mut primary, &mut replica);
    primary.kill();
    primary.restart();
    let port = primary.port().to_string();
    expect_ok(&mut replica.client(), &["REPLICAOF", "127.0.0.1", &port]);
    change(&mut primary.client(), 2);
    assert_equal(&mut primary, &mut replica);
    assert_eq!(figure(&mut primary, "sync_full"), "1");
}
