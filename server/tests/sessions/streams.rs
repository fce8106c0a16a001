//! Readers of streams that wait.

use super::{KEYS, check, receive, send, server, wait_for_blocked};
use std::time::Duration;

const NO_GROUP: &str = "-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option";

#[test]
fn all_readers_are_given_what_comes() {
    let mut server = server();
    let (mut first, mut second, mut client) = (server.client(), server.client(), server.client());
    check(&mut client, "XADD s 1-0 f old", "\"1-0\"");
    send(&mut first, "XREAD BLOCK 0 STREAMS s $");
    send(&mut second, "XREAD BLOCK 0 STREAMS s 1-5");
    wait_for_blocked(&mut client, 2);
    check(&mut client, "XADD s 1-3 f a", "\"1-3\"");
    assert_eq!(receive(&mut first), "[[\"s\", [[\"1-3\", [\"f\", \"a\"]]]]]");
    wait_for_blocked(&mut client, 1);
    check(&mut client, "XADD s 2-0 f b", "\"2-0\"");
    assert_eq!(receive(&mut second), "[[\"s\", [[\"2-0\", [\"f\", \"b\"]]]]]");
    wait_for_blocked(&mut client, 0);
}

#[test]
fn consumers_share_what_comes_in_turn() {
    let mut server = server();
    let (mut first, mut second, mut client) = (server.client(), server.client(), server.client());
    check(&mut client, "XGROUP CREATE s g $ MKSTREAM", "+OK");
    send(&mut first, "XREADGROUP GROUP g one BLOCK 0 STREAMS s >");
    wait_for_blocked(&mut client, 1);
    send(&mut second, "XREADGROUP GROUP g two BLOCK 0 STREAMS s >");
    wait_for_blocked(&mut client, 2);
    check(&mut client, "XADD s 1-0 f a", "\"1-0\"");
    assert_eq!(receive(&mut first), "[[\"s\", [[\"1-0\", [\"f\", \"a\"]]]]]");
    check(&mut client, "XADD s 2-0 f b", "\"2-0\"");
    assert_eq!(receive(&mut second), "[[\"s\", [[\"2-0\", [\"f\", \"b\"]]]]]");
    check(&mut client, "XPENDING s g", "[:2, \"1-0\", \"2-0\", [[\"one\", \"1\"], [\"two\", \"1\"]]]");
}

#[test]
fn a_read_of_several_cores_sees_all_of_them() {
    let mut server = server();
    let [a, b, c] = KEYS;
    let (mut waiting, mut client) = (server.client(), server.client());
    for key in KEYS {
        check(&mut client, &format!("XGROUP CREATE {key} g $ MKSTREAM"), "+OK");
    }
    for (n, key) in KEYS.iter().enumerate() {
        send(&mut waiting, &format!("XREADGROUP GROUP g c BLOCK 0 STREAMS {a} {b} {c} > > >"));
        wait_for_blocked(&mut client, 1);
        check(&mut client, &format!("XADD {key} {}-0 f v", n + 1), &format!("\"{}-0\"", n + 1));
        assert_eq!(receive(&mut waiting), format!("[[\"{key}\", [[\"{}-0\", [\"f\", \"v\"]]]]]", n + 1));
        send(&mut waiting, &format!("XREAD BLOCK 0 STREAMS {a} {b} {c} $ $ $"));
        wait_for_blocked(&mut client, 1);
        check(&mut client, &format!("XADD {key} {}-1 f w", n + 1), &format!("\"{}-1\"", n + 1));
        assert_eq!(receive(&mut waiting), format!("[[\"{key}\", [[\"{}-1\", [\"f\", \"w\"]]]]]", n + 1));
        check(&mut client, &format!("XGROUP SETID {key} g $"), "+OK");
    }
}

#[test]
fn a_consumer_is_told_when_its_group_goes() {
    let mut server = server();
    let (mut waiting, mut client) = (server.client(), server.client());
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    for (command, reply, told) in [
        ("XGROUP DESTROY s g", ":1", NO_GROUP),
        ("DEL s", ":1", NO_GROUP),
        ("UNLINK s", ":1", NO_GROUP),
        ("SET s x", "+OK", wrong),
        ("RENAME s other", "+OK", NO_GROUP),
        ("PEXPIREAT s 1", ":1", NO_GROUP),
        ("FLUSHALL", "+OK", NO_GROUP),
        ("FLUSHDB", "+OK", NO_GROUP),
        ("SWAPDB 0 1", "+OK", NO_GROUP),
    ] {
        check(&mut client, "FLUSHALL; XGROUP CREATE s g $ MKSTREAM", "+OK +OK");
        send(&mut waiting, "XREADGROUP GROUP g c BLOCK 0 STREAMS s >");
        wait_for_blocked(&mut client, 1);
        check(&mut client, command, reply);
        assert_eq!(receive(&mut waiting), told, "{command}");
    }
    // Another group is none of its business.
    check(&mut client, "FLUSHALL; XGROUP CREATE s g $ MKSTREAM; XGROUP CREATE s h $", "+OK +OK +OK");
    send(&mut waiting, "XREADGROUP GROUP g c BLOCK 0 STREAMS s >");
    wait_for_blocked(&mut client, 1);
    check(&mut client, "XGROUP DESTROY s h", ":1");
    wait_for_blocked(&mut client, 1);
}

#[test]
fn a_reader_waits_on_when_its_stream_goes() {
    let mut server = server();
    let (mut waiting, mut client) = (server.client(), server.client());
    check(&mut client, "XADD s 1-0 f v", "\"1-0\"");
    send(&mut waiting, "XREAD BLOCK 0 STREAMS s $");
    wait_for_blocked(&mut client, 1);
    check(&mut client, "DEL s; LPUSH s x; DEL s; XADD s 1-0 f v; XDEL s 1-0", ":1 :1 :1 \"1-0\" :1");
    wait_for_blocked(&mut client, 1);
    check(&mut client, "MULTI; DEL s; XADD s 2-0 f v; EXEC", "+OK +QUEUED +QUEUED [:1, \"2-0\"]");
    assert_eq!(receive(&mut waiting), "[[\"s\", [[\"2-0\", [\"f\", \"v\"]]]]]");
}

#[test]
fn the_time_of_a_read_ends() {
    let mut server = server();
    let mut client = server.client();
    let start = std::time::Instant::now();
    check(&mut client, "XREAD BLOCK 60 STREAMS none $", "*-1");
    assert!(start.elapsed() >= Duration::from_millis(60));
    check(&mut client, "XGROUP CREATE s g $ MKSTREAM; XREADGROUP GROUP g c BLOCK 10 STREAMS s >", "+OK *-1");
    check(&mut client, "MULTI; XREAD BLOCK 0 STREAMS none $; EXEC", "+OK +QUEUED [*-1]");
    wait_for_blocked(&mut client, 0);
}
