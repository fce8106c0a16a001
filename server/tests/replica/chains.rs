//! Chains of replicas, of this build and of redis-server, and what becomes of them when somebody takes over.

use crate::data;
use crate::pair::{COMMON, assert_equal, await_offset, follower, info, redis, until};
use crate::support::process::Server;

/// Everybody along the chain is at the same offset of the same history, with the same data.
#[test]
fn redis_then_baton_then_redis_then_baton() {
    let mut first = redis(&[]);
    let mut one = first.client();
    data::fill(&mut one);
    let mut second = follower(first.port(), &[]);
    let mut two = second.client();
    await_offset(&mut one, &mut two);
    let mut third = redis(&[("replicaof", &format!("127.0.0.1 {}", second.port()))]);
    let mut three = third.client();
    await_offset(&mut two, &mut three);
    let mut fourth = follower(third.port(), &[]);
    let mut four = fourth.client();
    await_offset(&mut three, &mut four);
    for turn in 0..2 {
        data::change(&mut one, turn);
    }
    for (client, name) in [(&mut two, "second"), (&mut three, "third"), (&mut four, "fourth")] {
        until("it is as far", || info(client, "slave_repl_offset") == info(&mut one, "master_repl_offset"));
        assert_equal(&mut one, client, name);
        assert_eq!(info(client, "master_replid"), info(&mut one, "master_replid"), "{name}");
    }
}

/// The other replicas of a primary go on with the one that takes over, and so does the primary itself.
#[test]
fn who_takes_over_takes_the_others_along() {
    // A ping behind the moment in which the next one takes over is more than that one has.
    let own = [("repl-diskless-sync-delay", "0"), ("repl-ping-replica-period", "1000")];
    let mut old = Server::baton(&[&COMMON[..], &own].concat());
    let mut there = old.client();
    data::fill(&mut there);
    let (mut next, mut other) = (follower(old.port(), &[]), follower(old.port(), &[]));
    let (mut here, mut beside) = (next.client(), other.client());
    assert_equal(&mut there, &mut here, "the next");
    assert_equal(&mut there, &mut beside, "the other");
    assert_eq!(here.run("REPLICAOF NO ONE").text(), "OK");
    data::change(&mut here, 1);
    for client in [&mut beside, &mut there] {
        assert_eq!(client.run(&format!("REPLICAOF 127.0.0.1 {}", next.port())).text(), "OK");
        assert_equal(&mut here, client, "of the new primary");
    }
    assert_eq!((info(&mut here, "sync_full"), info(&mut here, "sync_partial_ok")), ("0".into(), "2".into()));
}
