//! MULTI, EXEC, DISCARD, WATCH.

use super::{KEYS, check, id, receive, send, server, wait_for_blocked};

#[test]
fn a_transaction_spans_cores() {
    let mut server = server();
    let mut client = server.client();
    let [a, b, c] = KEYS;
    check(
        &mut client,
        &format!("MULTI; SET {a} 1; INCR {b}; RPUSH {c} x y; DBSIZE; EXEC"),
        "+OK +QUEUED +QUEUED +QUEUED +QUEUED [+OK, :1, :2, :3]",
    );
    check(
        &mut client,
        "MULTI; EXEC; EXEC; DISCARD",
        "+OK [] -ERR EXEC without MULTI -ERR DISCARD without MULTI",
    );
    check(&mut client, &format!("MULTI; INCR {a}; DISCARD; GET {a}"), "+OK +QUEUED +OK \"1\"");
}

#[test]
fn commands_of_the_node_are_queued_too() {
    let mut server = server();
    let mut client = server.client();
    check(
        &mut client,
        "MULTI; PING; SELECT 1; SET k v; SELECT 0; GET k; PUBLISH c m; ECHO e; UNWATCH; EXEC",
        "+OK +QUEUED +QUEUED +QUEUED +QUEUED +QUEUED +QUEUED +QUEUED +QUEUED \
         [+PONG, +OK, +OK, +OK, $-1, :0, \"e\", +OK]",
    );
    let [a, b, _] = KEYS;
    let number = id(&mut client);
    check(
        &mut client,
        &format!("SET {a} 1; MULTI; FLUSHALL; SET {b} 2; DBSIZE; HELLO 3; EXEC; PING"),
        &format!(
            "+OK +OK +QUEUED +QUEUED +QUEUED +QUEUED [+OK, +OK, :1, {{\"server\": \"redis\", \"version\": \
                  \"7.4.0\", \"proto\": :3, \"id\": :{number}, \"mode\": \"standalone\", \"role\": \"master\", \
                  \"modules\": []}}] +PONG"
        ),
    );
}

/// As in Redis since 7.2: what happens at once happens at one time.
#[test]
fn time_stands_still_in_transactions_and_scripts() {
    let mut server = server();
    let mut client = server.client();
    check(&mut client, "MULTI; TIME; DEBUG SLEEP 0.01; TIME", "+OK +QUEUED +QUEUED +QUEUED");
    let replies = client.run("EXEC");
    let replies = replies.elements().expect("replies");
    assert_eq!(replies[0], replies[2]);
    let script = "local before = redis.call('time')
        for n = 1, 1000000 do end
        local after = redis.call('time')
        return before[1] == after[1] and before[2] == after[2]";
    assert_eq!(client.call(&["EVAL", script, "0"]).integer(), Some(1));
    assert_ne!(client.call(&["EVAL", "return redis.call('time')", "0"]), replies[0]);
}

#[test]
fn what_is_refused_while_queueing_breaks_it() {
    let mut server = server();
    let mut client = server.client();
    let broken = "-EXECABORT Transaction discarded because of previous errors.";
    check(
        &mut client,
        "MULTI; NOSUCH; SET k v; EXEC; GET k",
        &format!("+OK -ERR unknown command 'NOSUCH', with args beginning with:  +QUEUED {broken} $-1"),
    );
    check(
        &mut client,
        "MULTI; GET; EXEC",
        &format!("+OK -ERR wrong number of arguments for 'get' command {broken}"),
    );
    let inside = "-ERR Command not allowed inside a transaction";
    check(&mut client, "MULTI; MULTI; EXEC", &format!("+OK {inside} {broken}"));
    check(&mut client, "MULTI; WATCH k; EXEC", &format!("+OK {inside} {broken}"));
    // An error while it runs breaks nothing.
    check(
        &mut client,
        "MULTI; SET k v; INCR k; GET k; EXEC",
        "+OK +QUEUED +QUEUED +QUEUED [+OK, -ERR value is not an integer or out of range, \"v\"]",
    );
    check(
        &mut client,
        "MULTI; EXEC more; PING",
        "+OK -EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command +PONG",
    );
}

#[test]
fn a_transaction_that_needs_memory_is_refused_as_a_whole() {
    let mut server = server();
    let (mut one, mut two) = (server.client(), server.client());
    check(&mut one, "MULTI; SET k v; GET k", "+OK +QUEUED +QUEUED");
    check(&mut two, "CONFIG SET maxmemory 1", "+OK");
    check(
        &mut one,
        "EXEC; MULTI; GET k; EXEC; MULTI; SET k v; EXEC",
        "-EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'. \
         +OK +QUEUED [$-1] +OK -OOM command not allowed when used memory > 'maxmemory'. \
         -EXECABORT Transaction discarded because of previous errors.",
    );
}

#[test]
fn a_watched_key_that_changes_voids_the_transaction() {
    let mut server = server();
    let (mut one, mut two) = (server.client(), server.client());
    for key in KEYS {
        check(&mut one, &format!("WATCH {} {}; MULTI; PING", KEYS[0], key), "+OK +OK +QUEUED");
        check(&mut two, &format!("SET {key} changed"), "+OK");
        check(&mut one, "EXEC; MULTI; PING; EXEC", "*-1 +OK +QUEUED [+PONG]");
    }
    // Its own changes count too; those of other databases do not, nor do those after UNWATCH.
    check(&mut one, "WATCH k; SET k v; MULTI; PING; EXEC", "+OK +OK +OK +QUEUED *-1");
    check(&mut one, "WATCH k; MULTI; PING", "+OK +OK +QUEUED");
    check(&mut two, "SELECT 1; SET k v; SELECT 0", "+OK +OK +OK");
    check(
        &mut one,
        "EXEC; WATCH k; SET k w; UNWATCH; MULTI; PING; EXEC",
        "[+PONG] +OK +OK +OK +OK +QUEUED [+PONG]",
    );
    for change in ["DEL k", "FLUSHALL", "SWAPDB 0 1", "RENAME k other", "EXPIRE k 100", "APPEND k x"] {
        check(&mut one, "SET k v; WATCH k; MULTI; PING", "+OK +OK +OK +QUEUED");
        two.run(change);
        check(&mut one, "EXEC", "*-1");
    }
}

#[test]
fn a_watched_key_whose_time_ends_voids_the_transaction() {
    let mut server = server();
    let mut client = server.client();
    check(
        &mut client,
        "DEBUG SET-ACTIVE-EXPIRE 0; SET k v PX 20; WATCH k; MULTI; PING",
        "+OK +OK +OK +OK +QUEUED",
    );
    std::thread::sleep(std::time::Duration::from_millis(30));
    check(&mut client, "EXEC", "*-1");
    // One whose time was over when the watch began is just absent.
    check(&mut client, "SET k v PX 1", "+OK");
    std::thread::sleep(std::time::Duration::from_millis(5));
    check(&mut client, "WATCH k; MULTI; PING; EXEC", "+OK +OK +QUEUED [+PONG]");
}

#[test]
fn a_watched_key_that_was_absent_is_not_changed_by_one_whose_time_is_over() {
    let mut server = server();
    let mut client = server.client();
    check(&mut client, "DEBUG SET-ACTIVE-EXPIRE 0; SET k v PX 1; SELECT 1", "+OK +OK +OK");
    std::thread::sleep(std::time::Duration::from_millis(3));
    check(&mut client, "WATCH k; SWAPDB 0 1; MULTI; PING; EXEC", "+OK +OK +OK +QUEUED [+PONG]");
    check(&mut client, "WATCH k; SET k new; MULTI; PING; EXEC", "+OK +OK +OK +QUEUED *-1");
}

#[test]
fn nothing_waits_inside_a_transaction() {
    let mut server = server();
    let mut client = server.client();
    check(
        &mut client,
        "MULTI; BLPOP a b 0; BLMOVE a b LEFT LEFT 0; BZPOPMIN z 0; PING; EXEC",
        "+OK +QUEUED +QUEUED +QUEUED +QUEUED [*-1, $-1, *-1, +PONG]",
    );
}

#[test]
fn those_who_wait_are_served_after_the_whole_transaction() {
    let mut server = server();
    let (mut waiting, mut client) = (server.client(), server.client());
    let [a, b, _] = KEYS;
    send(&mut waiting, &format!("BLPOP {a} {b} 0"));
    wait_for_blocked(&mut client, 1);
    check(
        &mut client,
        &format!("MULTI; RPUSH {a} 1; DEL {a}; RPUSH {b} 2 3; LLEN {b}; EXEC; LLEN {b}"),
        "+OK +QUEUED +QUEUED +QUEUED +QUEUED [:1, :1, :2, :2] :1",
    );
    assert_eq!(receive(&mut waiting), format!("[\"{b}\", \"2\"]"));
}

#[test]
fn a_connection_that_ends_takes_its_watches_along() {
    let mut server = server();
    let mut client = server.client();
    let mut gone = server.client();
    check(&mut gone, "WATCH a b c; MULTI; SET a 1", "+OK +OK +QUEUED");
    drop(gone);
    check(&mut client, "SET a 1; WATCH a; MULTI; GET a; EXEC", "+OK +OK +OK +QUEUED [\"1\"]");
}

#[test]
fn many_transactions_at_once_keep_a_sum() {
    let mut server = server();
    let mut client = server.client();
    check(&mut client, &format!("MSET {} 1000 {} 1000 {} 1000", KEYS[0], KEYS[1], KEYS[2]), "+OK");
    let movers: Vec<_> = (0..4)
        .map(|n| {
            let mut client = server.client();
            std::thread::spawn(move || {
                for step in 0..200 {
                    let (from, to) = (KEYS[(n + step) % 3], KEYS[(n + 2 * step + 1) % 3]);
                    client.run("MULTI");
                    client.run(&format!("DECR {from}"));
                    client.run(&format!("INCR {to}"));
                    client.run("EXEC");
                }
            })
        })
        .collect();
    for _ in 0..200 {
        let reply = client.run(&format!("MGET {} {} {}", KEYS[0], KEYS[1], KEYS[2]));
        let sum: i64 =
            reply.elements().unwrap_or_default().iter().filter_map(|n| n.text().parse::<i64>().ok()).sum();
        assert_eq!(sum, 3000);
    }
    for mover in movers {
        mover.join().expect("a client");
    }
}

/// What the node has become since a command was queued counts when it is to run, as in Redis.
#[test]
fn a_replica_without_its_primary_does_not_run_what_was_queued_before() {
    let mut server = server();
    let (mut client, mut other) = (server.client(), server.client());
    let why = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
    check(&mut other, "SET k v; CONFIG SET replica-serve-stale-data no", "+OK +OK");
    for queued in ["GET k", "PING"] {
        check(&mut client, &format!("MULTI; {queued}"), "+OK +QUEUED");
        check(&mut other, "REPLICAOF 127.0.0.1 1", "+OK");
        let expected = format!("-EXECABORT Transaction discarded because of: {why} -{why}");
        check(&mut client, "EXEC; GET k", &expected);
        // What may run on such a replica runs in a transaction, too.
        check(
            &mut client,
            "MULTI; ROLE; DISCARD; MULTI; CLIENT GETNAME; EXEC",
            "+OK +QUEUED +OK +OK +QUEUED [$-1]",
        );
        check(&mut other, "REPLICAOF NO ONE", "+OK");
    }
    check(&mut client, "MULTI; GET k; EXEC", "+OK +QUEUED [\"v\"]");
}
