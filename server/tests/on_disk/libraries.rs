//! Libraries of functions survive, between Baton and Redis.

use crate::support::client::{Client, Reply};
use crate::support::process::Server;
use crate::{copy_log, settle};
use std::fs;

const LIBRARY: &str = "#!lua name=lib\nredis.register_function('f', function() return 7 end)";

fn redis() -> Server {
    Server::redis(&[("enable-debug-command", "yes"), ("save", "")])
}

/// A snapshot of Redis with a library and a key, in the directory of a stopped Baton.
fn baton_with_a_snapshot(settings: &[(&str, &str)]) -> Server {
    let mut redis = redis();
    let mut client = redis.client();
    assert_eq!(client.call(&["FUNCTION", "LOAD", LIBRARY]), Reply::bulk("lib"));
    assert_eq!(client.run("SET key value"), Reply::simple("OK"));
    assert_eq!(client.run("SAVE"), Reply::simple("OK"));
    let common = [("enable-debug-command", "yes"), ("save", ""), ("cores", "2")];
    let mut baton = Server::baton(&[&common, settings].concat());
    baton.terminate();
    if !settings.is_empty() {
        // The snapshot is only looked at when there is no log yet.
        fs::remove_dir_all(baton.directory().join("appendonlydir")).expect("removed");
    }
    fs::copy(redis.directory().join("dump.rdb"), baton.directory().join("dump.rdb")).expect("copied");
    baton.restart();
    baton
}

#[track_caller]
fn has_library(client: &mut Client) {
    assert_eq!(client.run("GET key"), Reply::bulk("value"));
    assert_eq!(client.run("FCALL f 0"), Reply::Integer(7));
    let listed = client.run("FUNCTION LIST WITHCODE");
    assert!(format!("{listed:?}").contains("redis.register_function"), "{listed:?}");
}

#[test]
fn through_a_snapshot() {
    let mut baton = baton_with_a_snapshot(&[]);
    let mut ours = baton.client();
    has_library(&mut ours);
    assert_eq!(ours.run("DEBUG RELOAD"), Reply::simple("OK"));
    // Our own snapshot, with its index, is loaded in another way.
    assert_eq!(ours.run("SAVE"), Reply::simple("OK"));
    baton.terminate();
    baton.restart();
    let mut ours = baton.client();
    has_library(&mut ours);
    assert!(ours.run("INFO memory").text().contains("number_of_libraries:1"));
    assert_eq!(ours.run("SAVE"), Reply::simple("OK"));

    let mut redis = redis();
    redis.terminate();
    fs::copy(baton.directory().join("dump.rdb"), redis.directory().join("dump.rdb")).expect("copied");
    redis.restart();
    has_library(&mut redis.client());
}

#[test]
fn through_a_log() {
    let mut baton = baton_with_a_snapshot(&[("appendonly", "yes")]);
    let mut ours = baton.client();
    ours.run("BGREWRITEAOF");
    settle(&mut ours);
    ours.run("SET other 1");
    baton.terminate();
    baton.restart();
    has_library(&mut baton.client());
    baton.client().run("BGREWRITEAOF");
    settle(&mut baton.client());
    baton.terminate();

    let mut redis = Server::redis(&[("save", ""), ("appendonly", "yes")]);
    redis.terminate();
    copy_log(&baton, &redis);
    redis.restart();
    has_library(&mut redis.client());
}
