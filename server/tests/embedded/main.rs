//! The same directory under a server and under a `Store` in this process, in turns.

#[path = "../support/mod.rs"]
mod support;

use baton::store::Policy;
use baton::{Error, Store};
use std::time::Duration;
use support::process::Server;

const WITH_LOG: &[(&str, &str)] = &[("appendonly", "yes"), ("save", "")];
const WITHOUT_LOG: &[(&str, &str)] = &[("appendonly", "no"), ("save", "")];

/// What a server is given, and what a store must find.
fn fill(server: &mut Server) {
    let mut client = server.client();
    for command in [
        "SET text value",
        "SET short v EX 1000",
        "INCRBY n 42",
        "RPUSH list a b",
        "SADD set a b",
        "HSET hash field value",
        "ZADD zset 1.5 m",
    ] {
        assert!(!client.run(command).is_error(), "{command}");
    }
}

#[track_caller]
fn check_store(store: &Store) {
    assert_eq!(store.get("text").unwrap().unwrap(), "value");
    assert!(store.ttl("short").unwrap().left().unwrap() > Duration::from_secs(900));
    assert_eq!(store.get_as::<i64>("n").unwrap(), Some(42));
    assert_eq!(store.lrange("list", 0, -1).unwrap(), ["a", "b"]);
    assert_eq!(store.scard("set").unwrap(), 2);
    assert_eq!(store.hget("hash", "field").unwrap().unwrap(), "value");
    assert_eq!(store.zscore("zset", "m").unwrap(), Some(1.5));
}

/// What the store adds, and what the server must find then.
fn change(store: &Store) {
    store.incr("n").unwrap();
    store
        .transaction(["list", "moved"], |tx| {
            let element = tx.lpop("list")?.unwrap_or_default();
            tx.rpush("moved", [element])
        })
        .unwrap();
    store.del("text").unwrap();
    store.zincr_by("zset", "m", 1.0).unwrap();
}

#[track_caller]
fn check_server(server: &mut Server) {
    let mut client = server.client();
    for (command, reply) in [
        ("GET n", "43"),
        ("LINDEX list 0", "b"),
        ("LINDEX moved 0", "a"),
        ("ZSCORE zset m", "2.5"),
        ("HGET hash field", "value"),
    ] {
        assert_eq!(client.run(command).text(), reply, "{command}");
    }
    assert_eq!(client.run("EXISTS text").integer(), Some(0));
    assert!(client.run("TTL short").integer().is_some_and(|left| left > 900));
    assert_eq!(client.run("DBSIZE").integer(), Some(7));
}

#[test]
fn a_log_goes_from_a_server_to_a_store_and_back() {
    for redis_begins in [false, true] {
        let mut server = if redis_begins { Server::redis(WITH_LOG) } else { Server::baton(WITH_LOG) };
        fill(&mut server);
        if !redis_begins {
            let second = Store::open(server.directory());
            assert!(matches!(second, Err(Error::Locked(_))), "{second:?}");
        }
        server.terminate();
        let store = Store::builder().fsync(Policy::Always).open(server.directory()).unwrap();
        check_store(&store);
        change(&store);
        drop(store);
        server.become_baton(WITH_LOG);
        server.restart();
        check_server(&mut server);
        server.terminate();
        server.become_redis(WITH_LOG);
        server.restart();
        check_server(&mut server);
    }
}

#[test]
fn a_snapshot_goes_from_a_server_to_a_store_and_back() {
    for redis_begins in [false, true] {
        let mut server = if redis_begins { Server::redis(WITHOUT_LOG) } else { Server::baton(WITHOUT_LOG) };
        fill(&mut server);
        assert!(!server.client().run("SAVE").is_error());
        server.terminate();
        let store = Store::builder().without_log().open(server.directory()).unwrap();
        check_store(&store);
        change(&store);
        drop(store);
        server.become_baton(WITHOUT_LOG);
        server.restart();
        check_server(&mut server);
        server.terminate();
        server.become_redis(WITHOUT_LOG);
        server.restart();
        check_server(&mut server);
    }
}
