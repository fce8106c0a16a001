//! Snapshots of other versions, and what the log tells of a file that takes long.

use crate::support::client::Reply;
use crate::support::process::Server;
use rustix::process::Signal;
use std::fs;

/// An RDB file without a checksum, with one key.
fn snapshot(magic: &[u8; 9]) -> Vec<u8> {
    [&magic[..], b"\xfe\0\0\x03key\x05value\xff", &[0; 8]].concat()
}

/// A Baton that has been stopped, with this snapshot.
fn baton_with(snapshot: &[u8], settings: &[(&str, &str)]) -> Server {
    let mut baton = Server::baton(&[&[("save", ""), ("cores", "2")], settings].concat());
    baton.terminate();
    fs::write(baton.directory().join("dump.rdb"), snapshot).expect("written");
    baton
}

#[track_caller]
fn check(magic: &[u8; 9], strict: bool) {
    let settings: &[_] = if strict { &[] } else { &[("rdb-version-check", "relaxed")] };
    let mut baton = baton_with(&snapshot(magic), settings);
    baton.restart();
    assert_eq!(baton.client().run("GET key"), Reply::bulk("value"), "{}", magic.escape_ascii());
}

#[test]
fn versions() {
    check(b"REDIS0003", true);
    check(b"REDIS0014", true);
    check(b"VALKEY080", true);
    for unknown in [b"REDIS0099", b"VALKEY099"] {
        check(unknown, false);
        let mut baton = baton_with(&snapshot(unknown), &[]);
        let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| baton.restart()));
        assert!(refused.is_err(), "{}", unknown.escape_ascii());
        let log = baton.log();
        assert!(log.contains("can't handle RDB format version 99"), "{log}");
        assert!(log.contains("rdb-version-check relaxed"), "{log}");
    }
}

/// An RDB file without a checksum, with 250 keys.
fn many_keys() -> Vec<u8> {
    let mut file = b"REDIS0010\xfe\0".to_vec();
    for n in 0..250 {
        file.extend_from_slice(format!("\0\x07key:{n:03}\x01v").as_bytes());
    }
    file.extend_from_slice(b"\xff\0\0\0\0\0\0\0\0");
    file
}

#[test]
fn progress_is_told() {
    let mut baton = baton_with(&many_keys(), &[("key-load-delay", "10000")]);
    baton.restart();
    for told in ["Loading: ", " keys, 0 commands", "250 keys, ", " keys per second"] {
        baton.wait_for_log(told);
    }
}

/// A node that would load for minutes ends at once when it is asked to, and leaves its files as they are.
#[track_caller]
fn check_end(settings: &[(&str, &str)], ask: impl FnOnce(&mut Server)) {
    let mut baton = baton_with(&many_keys(), settings);
    // Not before the first start, which has a file to write.
    baton.set("key-load-delay", "1000000");
    baton.restart_into_loading();
    ask(&mut baton);
    assert!(baton.ended().success(), "{}", baton.describe());
    assert!(baton.log().contains("bye bye"), "{}", baton.log());
    assert_eq!(fs::read(baton.directory().join("dump.rdb")).expect("read"), many_keys());
    let names = fs::read_dir(baton.directory()).expect("listed").count();
    assert_eq!(names, 2, "the snapshot and what the node says, in {:?}", baton.directory());
}

fn say(command: &'static str) -> impl FnOnce(&mut Server) {
    move |baton| {
        let mut client = baton.client();
        client.send(&command.split(' ').collect::<Vec<_>>()).expect("sent");
        assert!(client.is_closed(), "{command}");
    }
}

#[test]
fn an_end_does_not_wait_for_what_is_being_loaded() {
    let save_points = &[("save", "1 1")];
    for command in ["SHUTDOWN", "SHUTDOWN NOSAVE", "SHUTDOWN SAVE", "SHUTDOWN NOW FORCE"] {
        check_end(save_points, say(command));
    }
    check_end(&[("shutdown-on-sigterm", "save")], |baton| baton.signal(Signal::TERM));
    check_end(save_points, |baton| baton.signal(Signal::INT));
}
