//! Blocked clients, CLIENT UNBLOCK, CLIENT PAUSE.

use super::support::client::Client;
use super::{KEYS, assert_silent, check, id, receive, send, server, wait_for_blocked, wait_until};
use std::time::{Duration, Instant};

#[test]
fn who_waits_first_is_served_first() {
    let mut server = server();
    let mut client = server.client();
    let mut waiting: Vec<_> = (0..4).map(|_| server.client()).collect();
    for (n, waiting) in waiting.iter_mut().enumerate() {
        send(waiting, "BLPOP list 0");
        wait_for_blocked(&mut client, n + 1);
    }
    check(&mut client, "RPUSH list 0 1; RPUSH list 2 3; LLEN list", ":2 :2 :0");
    for (n, waiting) in waiting.iter_mut().enumerate() {
        assert_eq!(receive(waiting), format!("[\"list\", \"{n}\"]"));
    }
    wait_for_blocked(&mut client, 0);
}

#[test]
fn a_wait_for_keys_of_several_cores_keeps_its_place() {
    let mut server = server();
    let [a, b, c] = KEYS;
    let (mut first, mut second, mut client) = (server.client(), server.client(), server.client());
    for round in 0..20 {
        send(&mut first, &format!("BLPOP {a} {b} {c} 0"));
        wait_for_blocked(&mut client, 1);
        send(&mut second, &format!("BLPOP {b} 0"));
        wait_for_blocked(&mut client, 2);
        check(&mut client, &format!("RPUSH {b} x"), ":1");
        assert_eq!(receive(&mut first), format!("[\"{b}\", \"x\"]"), "round {round}");
        check(&mut client, &format!("RPUSH {b} y"), ":1");
        assert_eq!(receive(&mut second), format!("[\"{b}\", \"y\"]"));
        // Nobody waits for the other keys any more.
        check(&mut client, &format!("RPUSH {a} z; LPOP {a}; RPUSH {c} z; LPOP {c}"), ":1 \"z\" :1 \"z\"");
    }
}

#[test]
fn a_move_between_cores_is_chained() {
    let mut server = server();
    let [a, b, c] = KEYS;
    let (mut first, mut second, mut third, mut client) =
        (server.client(), server.client(), server.client(), server.client());
    send(&mut first, &format!("BLMOVE {a} {b} LEFT RIGHT 0"));
    send(&mut second, &format!("BRPOPLPUSH {b} {c} 0"));
    send(&mut third, &format!("BLPOP {c} 0"));
    wait_for_blocked(&mut client, 3);
    check(&mut client, &format!("RPUSH {a} x"), ":1");
    assert_eq!(receive(&mut first), "\"x\"");
    assert_eq!(receive(&mut second), "\"x\"");
    assert_eq!(receive(&mut third), format!("[\"{c}\", \"x\"]"));
    check(&mut client, "DBSIZE", ":0");
}

#[test]
fn the_time_of_a_wait_ends() {
    let mut server = server();
    let mut client = server.client();
    let start = Instant::now();
    check(&mut client, "BLPOP none 0.1; BZPOPMIN none 0.01", "*-1 *-1");
    assert!(start.elapsed() >= Duration::from_millis(110));
    check(&mut client, "BLMPOP 0.01 2 a b LEFT; BLPOP none -1", "*-1 -ERR timeout is negative");
    // Requests that came meanwhile are answered after it, in order.
    for command in ["BLPOP none 0.05", "PING", "BLPOP none 0.05", "ECHO e"] {
        send(&mut client, command);
    }
    for reply in ["*-1", "+PONG", "*-1", "\"e\""] {
        assert_eq!(receive(&mut client), reply);
    }
    wait_for_blocked(&mut client, 0);
}

#[test]
fn a_client_that_leaves_takes_nothing() {
    let mut server = server();
    let mut client = server.client();
    let mut gone = server.client();
    send(&mut gone, "BLPOP list 0");
    wait_for_blocked(&mut client, 1);
    drop(gone);
    wait_for_blocked(&mut client, 0);
    check(&mut client, "RPUSH list x; LLEN list", ":1 :1");
}

#[test]
fn a_wait_is_ended_from_outside() {
    let mut server = server();
    let (mut waiting, mut client) = (server.client(), server.client());
    let number = id(&mut waiting);
    for (reason, reply) in
        [("", "*-1"), ("TIMEOUT", "*-1"), ("ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK")]
    {
        send(&mut waiting, "BLPOP none 0");
        wait_for_blocked(&mut client, 1);
        check(&mut client, &format!("CLIENT UNBLOCK {number} {reason}"), ":1");
        assert_eq!(receive(&mut waiting), reply);
        check(&mut client, &format!("CLIENT UNBLOCK {number}"), ":0");
    }
    check(
        &mut client,
        "CLIENT UNBLOCK 999; CLIENT UNBLOCK x; CLIENT UNBLOCK 1 WHY",
        ":0 -ERR value is not an integer or out of range -ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR",
    );
    assert_silent(&mut waiting);
}

#[test]
fn a_wait_whose_client_wants_no_replies_is_silent() {
    let mut server = server();
    let (mut waiting, mut client) = (server.client(), server.client());
    send(&mut waiting, "CLIENT REPLY SKIP");
    send(&mut waiting, "BLPOP list 0");
    wait_for_blocked(&mut client, 1);
    check(&mut client, "RPUSH list x; LLEN list", ":1 :0");
    check(&mut waiting, "PING", "+PONG");
}

#[test]
fn writes_wait_for_the_end_of_a_pause() {
    let mut server = server();
    let (mut one, mut two, mut client) = (server.client(), server.client(), server.client());
    let number = id(&mut two);
    check(&mut one, "MULTI; SET k exec", "+OK +QUEUED");
    check(&mut client, "CLIENT PAUSE 100000 WRITE; GET k; PING", "+OK $-1 +PONG");
    send(&mut one, "EXEC");
    send(&mut two, "SET other v");
    wait_for_blocked(&mut client, 2);
    // A client that waits for the end of a pause is not unblocked.
    check(&mut client, &format!("CLIENT UNBLOCK {number}; GET other; CLIENT UNPAUSE"), ":0 $-1 +OK");
    assert_eq!(receive(&mut one), "[+OK]");
    assert_eq!(receive(&mut two), "+OK");
    check(&mut client, "MGET k other", "[\"exec\", \"v\"]");
    check(
        &mut client,
        "CLIENT PAUSE x; CLIENT PAUSE -1; CLIENT PAUSE 1 SOME",
        "-ERR timeout is not an integer or out of range -ERR timeout is negative \
         -ERR CLIENT PAUSE mode must be WRITE or ALL",
    );
}

#[test]
fn scripts_that_write_nothing_do_not_wait_for_the_end_of_a_pause() {
    let mut server = server();
    let (mut one, mut client) = (server.client(), server.client());
    let look = "#!lua flags=no-writes\nreturn redis.call('get', KEYS[1])";
    let change = "#!lua\nreturn redis.call('incr', KEYS[1])";
    let library = "#!lua name=l\n
        redis.register_function{function_name='look', callback=function() return 1 end, flags={'no-writes'}}
        redis.register_function('change', function() return 2 end)";
    let sha = client.call(&["SCRIPT", "LOAD", look]).text();
    client.call(&["FUNCTION", "LOAD", library]);
    let mut two = server.client();
    check(&mut two, &format!("MULTI; EVALSHA {sha} 1 k; FCALL change 0"), "+OK +QUEUED +QUEUED");
    check(&mut client, "SET k 1; CLIENT PAUSE 100000 WRITE", "+OK +OK");
    assert_eq!(one.call(&["EVAL", look, "1", "k"]).text(), "1");
    assert_eq!(one.call(&["EVAL_RO", "return redis.call('get', KEYS[1])", "1", "k"]).text(), "1");
    check(&mut one, &format!("EVALSHA {sha} 1 k; FCALL look 0; FCALL_RO look 0"), "\"1\" :1 :1");
    check(
        &mut one,
        &format!("MULTI; EVALSHA {sha} 1 k; FCALL look 0; EXEC"),
        "+OK +QUEUED +QUEUED [\"1\", :1]",
    );
    send(&mut two, "EXEC");
    let mut others: Vec<Client> = (0..2).map(|_| server.client()).collect();
    others[0].send(&["EVAL", change, "1", "k"]).unwrap();
    others[1].send(&["EVAL", "return 3", "0"]).unwrap();
    wait_for_blocked(&mut client, 3);
    check(&mut client, "GET k; CLIENT UNPAUSE", "\"1\" +OK");
    assert!(receive(&mut two).ends_with(", :2]"));
    assert_eq!((receive(&mut others[0]), receive(&mut others[1])), (":2".to_owned(), ":3".to_owned()));
}

#[test]
fn everything_waits_for_the_end_of_a_full_pause() {
    let mut server = server();
    let (mut one, mut client) = (server.client(), server.client());
    let start = Instant::now();
    check(&mut client, "CLIENT PAUSE 150", "+OK");
    check(&mut one, "GET k; PING", "$-1 +PONG");
    check(&mut client, "PING", "+PONG");
    assert!(start.elapsed() >= Duration::from_millis(150));
}

#[test]
fn a_killed_client_waits_no_more() {
    let mut server = server();
    let (mut waiting, mut client) = (server.client(), server.client());
    let number = id(&mut waiting);
    send(&mut waiting, "BLPOP list 0");
    wait_for_blocked(&mut client, 1);
    check(&mut client, &format!("CLIENT KILL ID {number}"), ":1");
    assert!(waiting.is_closed());
    wait_for_blocked(&mut client, 0);
    check(&mut client, "RPUSH list x; LLEN list", ":1 :1");
    wait_until(|| !client.run("CLIENT LIST").text().contains("cmd=blpop"));
}

#[test]
fn keys_whose_time_ends_during_a_pause_stay_till_its_end() {
    let mut server = server();
    let mut client = server.client();
    check(&mut client, "SET k v PX 20; SET l w PX 20; CLIENT PAUSE 100 WRITE", "+OK +OK +OK");
    std::thread::sleep(Duration::from_millis(40));
    check(&mut client, "GET k; EXISTS k l; MGET k l; TTL k; DBSIZE", "$-1 :0 [$-1, $-1] :-2 :2");
    check(&mut client, "WATCH k; DBSIZE; UNWATCH", "+OK :2 +OK");
    wait_until(|| client.run("DBSIZE").integer() == Some(0));
}
