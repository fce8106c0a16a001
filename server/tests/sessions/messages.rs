//! Publish/subscribe and MONITOR.

use super::{assert_silent, check, receive, send, server};

#[test]
fn messages_reach_channels_and_patterns() {
    let mut server = server();
    let mut client = server.client();
    for (version, open) in [(2, ""), (3, ">")] {
        let mut listener = server.client_speaking(version);
        send(&mut listener, "SUBSCRIBE news sport");
        assert_eq!(receive(&mut listener), format!("{open}[\"subscribe\", \"news\", :1]"));
        assert_eq!(receive(&mut listener), format!("{open}[\"subscribe\", \"sport\", :2]"));
        send(&mut listener, "PSUBSCRIBE n*");
        assert_eq!(receive(&mut listener), format!("{open}[\"psubscribe\", \"n*\", :3]"));
        check(
            &mut client,
            "PUBLISH news m; PUBLISH other m; PUBSUB NUMSUB news other",
            ":2 :0 [\"news\", :1, \"other\", :0]",
        );
        assert_eq!(receive(&mut listener), format!("{open}[\"message\", \"news\", \"m\"]"));
        assert_eq!(receive(&mut listener), format!("{open}[\"pmessage\", \"n*\", \"news\", \"m\"]"));
        check(&mut client, "PUBLISH none m; PUBSUB NUMPAT; PUBSUB CHANNELS s*", ":1 :1 [\"sport\"]");
        assert_eq!(receive(&mut listener), format!("{open}[\"pmessage\", \"n*\", \"none\", \"m\"]"));
        send(&mut listener, "UNSUBSCRIBE");
        assert_eq!(receive(&mut listener), format!("{open}[\"unsubscribe\", \"news\", :2]"));
        assert_eq!(receive(&mut listener), format!("{open}[\"unsubscribe\", \"sport\", :1]"));
        send(&mut listener, "PUNSUBSCRIBE n* n*");
        assert_eq!(receive(&mut listener), format!("{open}[\"punsubscribe\", \"n*\", :0]"));
        assert_eq!(receive(&mut listener), format!("{open}[\"punsubscribe\", \"n*\", :0]"));
        check(&mut listener, "PING", "+PONG");
        let null = if version == 3 { "_" } else { "$-1" };
        send(&mut listener, "UNSUBSCRIBE");
        assert_eq!(receive(&mut listener), format!("{open}[\"unsubscribe\", {null}, :0]"));
    }
    check(&mut client, "PUBSUB CHANNELS; PUBSUB NUMPAT", "[] :0");
}

#[test]
fn shard_channels_are_apart() {
    let mut server = server();
    let (mut listener, mut client) = (server.client(), server.client());
    check(&mut listener, "SSUBSCRIBE c", "[\"ssubscribe\", \"c\", :1]");
    check(&mut listener, "SUBSCRIBE c", "[\"subscribe\", \"c\", :1]");
    check(
        &mut client,
        "SPUBLISH c s; PUBLISH c p; PUBSUB SHARDCHANNELS; PUBSUB SHARDNUMSUB c",
        ":1 :1 [\"c\"] [\"c\", :1]",
    );
    assert_eq!(receive(&mut listener), "[\"smessage\", \"c\", \"s\"]");
    assert_eq!(receive(&mut listener), "[\"message\", \"c\", \"p\"]");
    check(&mut listener, "SUNSUBSCRIBE", "[\"sunsubscribe\", \"c\", :0]");
    check(&mut listener, "UNSUBSCRIBE c; PING", "[\"unsubscribe\", \"c\", :0] +PONG");
}

#[test]
fn a_listener_may_give_few_commands_in_resp2_and_all_in_resp3() {
    let mut server = server();
    let mut old = server.client();
    check(
        &mut old,
        "SUBSCRIBE c; PING; PING x; GET k; RESET; GET k",
        "[\"subscribe\", \"c\", :1] [\"pong\", \"\"] [\"pong\", \"x\"] -ERR Can't execute 'get': only (P|S)SUBSCRIBE \
         / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context +RESET $-1",
    );
    let mut new = server.client_speaking(3);
    check(&mut new, "SUBSCRIBE c; GET k; PING", ">[\"subscribe\", \"c\", :1] _ +PONG");
    // What one sends to oneself comes right after the reply.
    check(&mut new, "PUBLISH c m", ":1");
    assert_eq!(receive(&mut new), ">[\"message\", \"c\", \"m\"]");
    for command in ["MULTI", "PUBLISH c 1", "PUBLISH c 2", "EXEC"] {
        send(&mut new, command);
    }
    send(&mut new, "PING");
    for reply in [
        "+OK",
        "+QUEUED",
        "+QUEUED",
        "[:1, :1]",
        ">[\"message\", \"c\", \"1\"]",
        ">[\"message\", \"c\", \"2\"]",
        "+PONG",
    ] {
        assert_eq!(receive(&mut new), reply);
    }
}

#[test]
fn pushes_come_though_replies_are_off() {
    let mut server = server();
    let (mut listener, mut client) = (server.client_speaking(3), server.client());
    send(&mut listener, "CLIENT REPLY OFF");
    send(&mut listener, "SUBSCRIBE c");
    assert_eq!(receive(&mut listener), ">[\"subscribe\", \"c\", :1]");
    send(&mut listener, "PING");
    check(&mut client, "PUBLISH c m", ":1");
    assert_eq!(receive(&mut listener), ">[\"message\", \"c\", \"m\"]");
    check(&mut listener, "CLIENT REPLY ON; PING", "+OK +PONG");
}

#[test]
fn keyspace_events_are_messages() {
    let mut server = server();
    let (mut listener, mut client) = (server.client(), server.client());
    check(&mut client, "CONFIG SET notify-keyspace-events KEA", "+OK");
    check(&mut listener, "PSUBSCRIBE __key*@0__:*", "[\"psubscribe\", \"__key*@0__:*\", :1]");
    check(&mut client, "SET k v", "+OK");
    assert_eq!(receive(&mut listener), "[\"pmessage\", \"__key*@0__:*\", \"__keyspace@0__:k\", \"set\"]");
    assert_eq!(receive(&mut listener), "[\"pmessage\", \"__key*@0__:*\", \"__keyevent@0__:set\", \"k\"]");
}

#[test]
fn a_listener_that_does_not_read_is_cut_off() {
    let mut server = server();
    let (mut listener, mut client) = (server.client(), server.client());
    check(
        &mut client,
        "CONFIG SET client-output-buffer-limit",
        "-ERR wrong number of arguments for 'config|set' command",
    );
    let set = client.call(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0"]);
    assert_eq!(set.text(), "OK");
    check(&mut listener, "SUBSCRIBE c", "[\"subscribe\", \"c\", :1]");
    let message = "x".repeat(100_000);
    let mut sent = 0;
    while client.call(&["PUBLISH", "c", &message]).integer() == Some(1) {
        sent += 1;
        assert!(sent < 10_000, "nobody cut it off");
    }
    assert!(sent >= 10);
}

#[test]
fn a_monitor_sees_commands_but_no_secrets() {
    let mut server = server();
    let (mut monitor, mut client) = (server.client(), server.client());
    check(&mut monitor, "MONITOR", "+OK");
    for (command, seen) in [
        ("SET k v", "[0 127.0.0.1:*] \"SET\" \"k\" \"v\""),
        ("SELECT 2", "[2 127.0.0.1:*] \"SELECT\" \"2\""),
        ("AUTH default secret", "[2 127.0.0.1:*] \"AUTH\" \"(redacted)\" \"(redacted)\""),
        (
            "HELLO 2 AUTH default secret",
            "[2 127.0.0.1:*] \"HELLO\" \"2\" \"AUTH\" \"(redacted)\" \"(redacted)\"",
        ),
        ("CONFIG GET requirepass", ""),
        ("BLPOP none 0.01", "[2 127.0.0.1:*] \"BLPOP\" \"none\" \"0.01\""),
        ("MULTI", "[2 127.0.0.1:*] \"MULTI\""),
        ("GET k", ""),
        ("EXEC", "[2 127.0.0.1:*] \"GET\" \"k\""),
        ("PING", "[2 127.0.0.1:*] \"EXEC\""),
        ("", "[2 127.0.0.1:*] \"PING\""),
    ] {
        if !command.is_empty() {
            client.run(command);
        }
        if !seen.is_empty() {
            let line = receive(&mut monitor);
            let (time, rest) = line[1..].split_once(' ').expect("a line");
            assert!(time.parse::<f64>().is_ok(), "{line}");
            let port = rest.split(':').nth(1).and_then(|rest| rest.split(']').next()).expect("a port");
            let shown = rest.replace(port, "*").replace("\\\"", "\"");
            assert_eq!(shown, seen, "after {command}");
        }
    }
    check(&mut monitor, "GET k", "-ERR Replica can't interact with the keyspace");
    check(&mut monitor, "RESET; GET k", "+RESET \"v\"");
    client.run("PING");
    assert_silent(&mut monitor);
}
