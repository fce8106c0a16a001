//! Messages that are published at the primary reach who listens at its replicas, in their place among what changes.

use crate::data::expect_ok;
use crate::support::client::{Client, Reply};
use crate::support::process::Server;
use crate::{assert_equal, primary, replica};

/// Somebody who listens there to these channels.
fn listener(server: &mut Server) -> Client {
    let mut client = server.client();
    client.send(&["SUBSCRIBE", "news", "more"]).expect("sent");
    client.send(&["SSUBSCRIBE", "shard"]).expect("sent");
    (0..3).for_each(|_| drop(client.receive().expect("a confirmation")));
    client
}

#[track_caller]
fn hears(listener: &mut Client, kind: &str, channel: &str, message: &str) {
    let parts: Vec<String> = match listener.receive().expect("a message") {
        Reply::Array(parts) => parts.iter().map(Reply::text).collect(),
        other => panic!("{other:?}"),
    };
    assert_eq!(parts, [kind, channel, message]);
}

#[test]
fn messages_go_on_to_replicas() {
    let mut primary = primary(&[("appendonly", "yes")]);
    let mut client = primary.client();
    // Nobody is there: nothing is kept of it.
    client.run("PUBLISH news nobody");
    let mut redis = replica(&primary, &[]);
    let of = format!("127.0.0.1 {}", primary.port());
    let mut baton = Server::baton(&[("save", ""), ("replicaof", &of), ("enable-debug-command", "yes")]);
    assert_equal(&mut primary, &mut redis);
    assert_equal(&mut primary, &mut baton);
    let mut listeners = [listener(&mut redis), listener(&mut baton)];
    // Those at the replicas are not counted.
    assert_eq!(client.run("PUBLISH news one"), Reply::Integer(0));
    client.run("SPUBLISH shard two");
    expect_ok(&mut client, &["MULTI"]);
    for line in ["SET k 1", "PUBLISH more three", "INCR k"] {
        client.run(line);
    }
    client.run("EXEC");
    client.run("EVAL return(redis.call('publish','news',KEYS[1])) 1 four");
    // What is published at a replica stays there.
    assert_eq!(redis.client().run("PUBLISH news five"), Reply::Integer(1));
    assert_eq!(baton.client().run("PUBLISH news five"), Reply::Integer(1));
    for listener in &mut listeners {
        for (kind, channel, message) in [
            ("message", "news", "one"),
            ("smessage", "shard", "two"),
            ("message", "more", "three"),
            ("message", "news", "four"),
            ("message", "news", "five"),
        ] {
            hears(listener, kind, channel, message);
        }
    }
    assert_equal(&mut primary, &mut redis);
    assert_equal(&mut primary, &mut baton);
    // They stand in the log, whose reader has nobody to tell.
    primary.terminate();
    primary.restart();
    assert_eq!(primary.client().run("GET k").text(), "2");
    primary.terminate();
    primary.become_redis(&[("save", ""), ("appendonly", "yes")]);
    primary.restart();
    assert_eq!(primary.client().run("GET k").text(), "2");
}
