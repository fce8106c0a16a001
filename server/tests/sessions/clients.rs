//! CLIENT, and how a connection introduces itself.

use super::{check, id, receive, send, server, wait_until};
use crate::support::client::{Client, Reply};
use crate::support::process::Server;

fn field(line: &str, name: &str) -> String {
    let found = line.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name} in {line}")).trim_end().to_owned()
}

/// A field of CLIENT LIST about a client.
fn seen(client: &mut Client, number: i64, name: &str) -> String {
    let list = client.run(&format!("CLIENT LIST ID {number}")).text();
    field(list.trim_end(), name)
}

#[test]
fn a_line_tells_all_about_a_client() {
    let mut server = server();
    let (mut one, mut two) = (server.client_speaking(3), server.client());
    let number = id(&mut one);
    check(
        &mut one,
        "CLIENT SETNAME me; CLIENT SETINFO LIB-NAME lib; CLIENT SETINFO lib-ver 1.0; SELECT 3; CLIENT NO-TOUCH ON",
        "+OK +OK +OK +OK +OK",
    );
    check(&mut one, "WATCH a b; SUBSCRIBE x", "+OK >[\"subscribe\", \"x\", :1]");
    check(
        &mut one,
        "PSUBSCRIBE y; SSUBSCRIBE z",
        ">[\"psubscribe\", \"y\", :2] >[\"ssubscribe\", \"z\", :1]",
    );
    check(&mut one, "MULTI; GET k", "+OK +QUEUED");
    for (name, value) in [
        ("id", &*number.to_string()),
        ("name", "me"),
        ("flags", "PxT"),
        ("db", "3"),
        ("sub", "1"),
        ("psub", "1"),
        ("ssub", "1"),
        ("multi", "1"),
        ("watch", "2"),
        ("multi-mem", "4"),
        ("omem", "0"),
        ("events", "r"),
        ("cmd", "get"),
        ("user", "default"),
        ("redir", "-1"),
        ("resp", "3"),
        ("lib-name", "lib"),
        ("lib-ver", "1.0"),
    ] {
        assert_eq!(seen(&mut two, number, name), value, "{name}");
    }
    check(&mut two, "SELECT 3; SET a 1", "+OK +OK");
    assert_eq!(seen(&mut two, number, "flags"), "PxdT");
    check(&mut one, "RESET; CLIENT GETNAME", "+RESET $-1");
    assert_eq!(seen(&mut two, number, "flags"), "N");
    assert_eq!(seen(&mut two, number, "resp"), "2");
    assert_eq!(seen(&mut two, number, "lib-name"), "lib");
    let order: Vec<String> = two
        .run("CLIENT INFO")
        .text()
        .trim_end()
        .split(' ')
        .map(|pair| pair.split('=').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(
        order.join(" "),
        "id addr laddr fd name age idle flags db sub psub ssub multi watch qbuf qbuf-free argv-mem multi-mem rbs rbp \
         obl oll omem tot-mem events cmd user redir resp lib-name lib-ver tot-net-in tot-net-out tot-cmds"
    );
}

#[test]
fn lists_are_filtered() {
    let mut server = server();
    let mut clients: Vec<Client> = Vec::new();
    let mut numbers: Vec<i64> = Vec::new();
    for _ in 0..4 {
        // One after the other: those that come at once are numbered as their cores take them.
        let mut client = server.client();
        numbers.push(id(&mut client));
        clients.push(client);
    }
    check(&mut clients[1], "CLIENT SETNAME b; SELECT 5", "+OK +OK");
    check(&mut clients[2], "CLIENT SETINFO LIB-NAME c; SUBSCRIBE x", "+OK [\"subscribe\", \"x\", :1]");
    check(&mut clients[3], "CLIENT CAPA redirect; MULTI", "+OK +OK");
    let address = clients[0].run("CLIENT INFO").text();
    let address = field(&address, "addr");
    for (filter, wanted) in [
        ("", &[0, 1, 2, 3][..]),
        ("TYPE normal", &[0, 1, 3]),
        ("TYPE pubsub", &[2]),
        ("TYPE replica", &[]),
        ("NOT-TYPE pubsub", &[0, 1, 3]),
        ("TYPE primary", &[]),
        ("NAME b", &[1]),
        ("NOT-NAME b", &[0, 2, 3]),
        ("DB 5", &[1]),
        ("LIB-NAME c", &[2]),
        ("CAPA r", &[3]),
        ("FLAGS x", &[3]),
        ("FLAGS N", &[0, 1]),
        ("SKIPME yes", &[1, 2, 3]),
        ("USER default SKIPME YES TYPE normal", &[1, 3]),
        ("IP 127.0.0.1 DB 0", &[0, 2, 3]),
        ("MAXAGE 1000", &[]),
        ("IDLE 1000", &[]),
        (&format!("ADDR {address}"), &[0]),
        (&format!("NOT-ADDR {address}"), &[1, 2, 3]),
        (&format!("ID {} {} NOT-ID {}", numbers[0], numbers[1], numbers[0]), &[1]),
    ] {
        // The connection with which the server was found ready may still be there.
        wait_until(|| {
            let list = clients[0].run(&format!("CLIENT LIST {filter}")).text();
            let found: Vec<i64> = list.lines().filter_map(|line| field(line, "id").parse().ok()).collect();
            let wanted: Vec<i64> = wanted.iter().map(|at: &usize| numbers[*at]).collect();
            found == wanted
        });
    }
    check(
        &mut clients[0],
        "CLIENT LIST TYPE; CLIENT LIST TYPE x; CLIENT LIST ID x; CLIENT LIST ID 0; CLIENT LIST USER x; \
         CLIENT LIST FLAGS Q; CLIENT LIST DB 16; CLIENT LIST MAXAGE x; CLIENT LIST SKIPME maybe; CLIENT LIST NO x",
        "-ERR syntax error -ERR Unknown client type 'x' -ERR client-id should be greater than 0 \
         -ERR client-id should be greater than 0 -ERR No such user 'x' \
         -ERR Unknown flags found in the provided filter: Q -ERR DB number should be between 0 and 15 \
         -ERR maxage is not an integer or out of range -ERR syntax error -ERR syntax error",
    );
}

#[test]
fn clients_are_killed() {
    let mut server = server();
    let (mut one, mut two, mut three) = (server.client(), server.client(), server.client());
    let numbers = (id(&mut one), id(&mut two));
    check(
        &mut three,
        &format!(
            "CLIENT KILL ID {} TYPE pubsub; CLIENT KILL ID {}; CLIENT KILL 1.2.3.4:5",
            numbers.0, numbers.0
        ),
        ":0 :1 -ERR No such client",
    );
    assert!(one.is_closed());
    let address = seen(&mut three, numbers.1, "addr");
    check(&mut three, &format!("CLIENT KILL {address}; CLIENT KILL {address}"), "+OK -ERR No such client");
    assert!(two.is_closed());
    // The connection with which the server was found ready may still be there.
    wait_until(|| three.run("CLIENT LIST").text().lines().count() == 1);
    // Oneself only when asked to, and not before the reply.
    check(&mut three, "CLIENT KILL TYPE normal SKIPME yes", ":0");
    check(&mut three, "CLIENT KILL TYPE normal SKIPME no", ":1");
    assert!(three.is_closed());
}

#[test]
fn replies_are_turned_off_and_skipped() {
    let mut server = server();
    let mut client = server.client();
    for command in [
        "CLIENT REPLY OFF",
        "PING",
        "SET k 1",
        "NOSUCH",
        "MULTI",
        "INCR k",
        "EXEC",
        "CLIENT REPLY SKIP",
        "GET k",
    ] {
        send(&mut client, command);
    }
    check(&mut client, "CLIENT REPLY ON; GET k", "+OK \"2\"");
    for command in
        ["CLIENT REPLY SKIP", "GET k", "PING", "CLIENT REPLY SKIP", "CLIENT REPLY SKIP", "GET k", "PING"]
    {
        send(&mut client, command);
    }
    assert_eq!(receive(&mut client), "+PONG");
    assert_eq!(receive(&mut client), "+PONG");
    check(
        &mut client,
        "CLIENT REPLY maybe; MULTI; CLIENT REPLY OFF; DISCARD",
        "-ERR syntax error +OK -ERR Command not allowed inside a transaction +OK",
    );
}

#[test]
fn a_password_is_asked_for() {
    let mut server = Server::baton(&[("cores", "2")]);
    let mut before = server.client();
    check(
        &mut before,
        "AUTH x; AUTH default any; CONFIG SET requirepass secret; GET k",
        "-ERR AUTH <password> called without any password configured for the default user. Are you sure your \
         configuration is correct? +OK +OK $-1",
    );
    let mut client = server.client();
    let no = "-NOAUTH Authentication required.";
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.";
    check(
        &mut client,
        "GET k; PING; NOSUCH",
        &format!("{no} {no} -ERR unknown command 'NOSUCH', with args beginning with: "),
    );
    check(
        &mut client,
        "AUTH wrong; AUTH other secret; AUTH default secretsecret; AUTH a b c; GET k",
        &format!("{wrong} {wrong} {wrong} -ERR syntax error {no}"),
    );
    check(
        &mut client,
        "HELLO",
        "-NOAUTH HELLO must be called with the client already authenticated, otherwise the \
        HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol \
        version at the same time",
    );
    check(&mut client, "AUTH secret; GET k", "+OK $-1");
    check(&mut client, "RESET; GET k; AUTH default secret; GET k", &format!("+RESET {no} +OK $-1"));
    let mut other = server.client();
    assert!(matches!(other.run("HELLO 3 AUTH default secret SETNAME n"), Reply::Map(_)));
    check(&mut other, "CLIENT GETNAME; GET k; CONFIG SET requirepass none", "\"n\" _ +OK");
    assert_eq!(other.call(&["CONFIG", "SET", "requirepass", ""]).text(), "OK");
    check(&mut server.client(), "GET k", "$-1");
}

#[test]
fn hello_agrees_on_a_protocol() {
    let mut server = server();
    let mut client = server.client();
    check(
        &mut client,
        "HELLO 4; HELLO x; HELLO 3 WHAT; HELLO 3 SETNAME; HELLO 3 AUTH default",
        "-NOPROTO unsupported protocol version -ERR Protocol version is not an integer or out of range \
         -ERR Syntax error in HELLO option 'WHAT' -ERR Syntax error in HELLO option 'SETNAME' \
         -ERR Syntax error in HELLO option 'AUTH'",
    );
    assert!(matches!(client.run("HELLO"), Reply::Array(pairs) if pairs.len() == 14));
    assert!(matches!(client.run("HELLO 3"), Reply::Map(pairs) if pairs.len() == 7));
    check(&mut client, "GET none; HGETALL none; SMEMBERS none", "_ {} ~[]");
    assert!(matches!(client.run("HELLO 2"), Reply::Array(_)));
    check(
        &mut client,
        "GET none; CLIENT GETREDIR; CLIENT TRACKINGINFO",
        "$-1 :-1 [\"flags\", [\"off\"], \"redirect\", :-1, \"prefixes\", []]",
    );
    let spaced = client.call(&["CLIENT", "SETNAME", "a b"]);
    assert_eq!(spaced.text(), "ERR Client names cannot contain spaces, newlines or special characters.");
}

#[test]
fn what_lies_in_buffers_is_shown() {
    let mut server = server();
    let (mut one, mut two) = (server.client(), server.client());
    let number = id(&mut one);
    check(&mut one, "ECHO 0123456789", "\"0123456789\"");
    let peak: usize = seen(&mut two, number, "rbp").parse().unwrap();
    assert!(peak >= "$10\r\n0123456789\r\n".len(), "{peak}");
    // The rest of a request waits in a buffer; between requests there is none.
    one.write_raw(b"*2\r\n$4\r\nECHO\r\n$10\r\n01234").unwrap();
    wait_until(|| seen(&mut two, number, "qbuf") == "5" && seen(&mut two, number, "argv-mem") == "4");
    one.write_raw(b"56789\r\n").unwrap();
    assert_eq!(one.receive().unwrap().text(), "0123456789");
    for name in ["qbuf", "qbuf-free", "argv-mem", "rbs", "obl", "oll"] {
        wait_until(|| seen(&mut two, number, name) == "0");
    }
}

/// What a client is counted for is what it has sent: an argument that has begun to come takes what it needs, and no more.
#[test]
fn a_long_argument_takes_the_room_that_it_needs() {
    let mut server = server();
    let (mut one, mut two) = (server.client(), server.client());
    let number = id(&mut one);
    let mut number_of = |name| seen(&mut two, number, name).parse::<usize>().unwrap();
    for bytes in [100_000, 1_000_000, 5_000_000] {
        let header = format!("*2\r\n$4\r\nECHO\r\n${bytes}\r\n");
        one.write_raw(header.as_bytes()).unwrap();
        one.write_raw(&vec![b'v'; bytes]).unwrap();
        wait_until(|| number_of("qbuf") == bytes);
        let total = number_of("tot-mem");
        assert!((bytes..bytes + 20_000).contains(&total), "{total} for {bytes}");
        one.write_raw(b"\r\n").unwrap();
        assert_eq!(one.receive().unwrap().text().len(), bytes);
        wait_until(|| number_of("tot-mem") < 20_000);
    }
    // A length alone is only a claim.
    one.write_raw(b"*1\r\n$500000000\r\n").unwrap();
    wait_until(|| number_of("qbuf-free") > 0);
    assert!(number_of("tot-mem") < 2_000_000);
}

/// What is queued or refused has not been run; what a transaction or a script runs has been.
#[test]
fn commands_that_were_run_are_counted() {
    let mut server = server();
    let (mut one, mut two) = (server.client(), server.client());
    let number = id(&mut one);
    let mut counted = |commands: &str| {
        let mut number_of = || seen(&mut two, number, "tot-cmds").parse::<u64>().unwrap();
        let before = number_of();
        commands.split("; ").for_each(|command| drop(one.run(command)));
        number_of() - before
    };
    assert_eq!(counted("PING; SET k 1; GET k"), 3);
    assert_eq!(counted("NONSENSE; GET; CLIENT NONSENSE"), 0);
    assert_eq!(counted("MULTI; SET k 1; INCR k; PING"), 1);
    assert_eq!(counted("EXEC"), 4);
    assert_eq!(counted("MULTI; SET k 1; DISCARD"), 2);
    let script = "redis.call('ping');redis.call('incr',KEYS[1]);redis.pcall('nonsense')";
    assert_eq!(counted(&format!("EVAL {script} 1 k")), 3);
    assert_eq!(counted(&format!("MULTI; EVAL {script} 1 k; EXEC")), 5);
}

/// Keys that are watched and channels that are subscribed to take memory, which counts as the client's.
#[test]
fn names_that_are_kept_for_a_client_count_as_its_memory() {
    const NAMES: usize = 1_000;
    let mut server = server();
    let (mut one, mut two) = (server.client_speaking(3), server.client());
    let number = id(&mut one);
    let total = |two: &mut Client| seen(two, number, "tot-mem").parse::<usize>().expect("a number");
    let names: Vec<String> = (0..NAMES).map(|n| format!("name:{n}")).collect();
    let names = names.join(" ");
    for (keep, kept, forget, forgotten) in [
        ("WATCH", 1, "UNWATCH", 1),
        ("SUBSCRIBE", NAMES, "UNSUBSCRIBE", NAMES),
        ("PSUBSCRIBE", NAMES, "RESET", 1),
        ("WATCH", 1, "RESET", 1),
    ] {
        let before = total(&mut two);
        send(&mut one, &format!("{keep} {names}"));
        (0..kept).for_each(|_| drop(receive(&mut one)));
        assert!(total(&mut two) > before + NAMES * 60, "{keep}");
        send(&mut one, forget);
        (0..forgotten).for_each(|_| drop(receive(&mut one)));
        wait_until(|| total(&mut two) < before + NAMES * 40);
    }
    check(&mut two, "CONFIG SET maxmemory-clients 400kb", "+OK");
    let mut greedy = server.client();
    // It is disconnected before it has watched ten times as much as there is room for.
    let ended =
        (0..40_000).any(|n| greedy.try_call(&["WATCH", &format!("a key of a greedy client {n}")]).is_err());
    assert!(ended);
    check(&mut two, "PING", "+PONG");
}

#[test]
fn the_average_time_that_keys_have_left_is_estimated() {
    let mut server = server();
    let mut client = server.client();
    check(&mut client, "SET a 1; SET b 1 EX 100; SET c 1 EX 200", "+OK +OK +OK");
    let line = client.run("INFO keyspace").text();
    let average: u64 =
        line.split(',').find_map(|field| field.strip_prefix("avg_ttl=")?.parse().ok()).unwrap();
    assert!((140_000..=150_000).contains(&average), "{line}");
}

#[test]
fn commands_that_nobody_shall_know_of_count_for_their_container() {
    let mut server = server();
    let (mut one, mut two) = (server.client(), server.client());
    let number = id(&mut one);
    check(&mut one, "CONFIG RESETSTAT; DEBUG SLEEP 0.02; DEBUG SLEEP 0", "+OK +OK +OK");
    assert_eq!(seen(&mut two, number, "cmd"), "debug");
    let stats = two.run("INFO commandstats").text();
    let line = stats.lines().find(|line| line.starts_with("cmdstat_debug")).unwrap();
    assert!(line.starts_with("cmdstat_debug:calls=2,usec="), "{line}");
    assert!(field(&line.replace(',', " "), "usec_per_call").parse::<f64>().unwrap() >= 5_000.0, "{line}");
}

#[test]
fn who_imports_sees_what_is_over() {
    let mut server = server();
    let (mut one, mut other) = (server.client(), server.client());
    check(
        &mut one,
        "CLIENT IMPORT-SOURCE ON; CLIENT IMPORT-SOURCE OFF",
        "-ERR Server is not in import mode +OK",
    );
    check(&mut one, "CONFIG SET import-mode yes; CLIENT IMPORT-SOURCE MAYBE", "+OK -ERR syntax error");
    check(
        &mut one,
        "CLIENT IMPORT-SOURCE ON; SET n 1 PX 1; SET gone 1 PX 1; HSET h f 1; PEXPIRE h -1",
        "+OK +OK +OK :1 :1",
    );
    let number = id(&mut one);
    assert_eq!(seen(&mut other, number, "flags"), "I");
    wait_until(|| other.run("GET n").is_null() && other.run("GET gone").is_null());
    // Others see what they always see, but what is over stays.
    check(&mut other, "GET n; TTL n; EXISTS h; DBSIZE; GET gone", "$-1 :-2 :0 :3 $-1");
    check(&mut one, "TTL n; GET n; INCR n; HGET h f; DBSIZE", ":0 \"1\" :2 \"1\" :3");
    check(
        &mut one,
        "MULTI; INCR n; EXEC; EVAL return(redis.call('incr',KEYS[1])) 1 n",
        "+OK +QUEUED [:3] :4",
    );
    // Whoever writes to it finds nothing.
    check(&mut other, "INCR gone; DBSIZE", ":1 :3");
    check(&mut one, "DEL h; GET n; CLIENT IMPORT-SOURCE OFF; GET n", ":1 \"4\" +OK $-1");
    check(&mut one, "CONFIG SET import-mode no", "+OK");
    wait_until(|| other.run("DBSIZE").integer() == Some(1));
    check(
        &mut one,
        "CONFIG SET import-mode yes; CLIENT IMPORT-SOURCE ON; RESET; CONFIG SET import-mode no",
        "+OK +OK +RESET +OK",
    );
    assert_eq!(seen(&mut other, number, "flags"), "N");
}

/// Nobody is ever seen to take more than there is for all, whatever it is that they take.
#[test]
fn clients_that_take_too_much_go_at_once() {
    let mut server = server();
    let mut control = server.client();
    check(&mut control, "CLIENT NO-EVICT ON; DEBUG PAUSE-CRON 1", "+OK +OK");
    let limit = 200_000;
    check(&mut control, &format!("CONFIG SET maxmemory-clients {limit}"), "+OK");
    let mut greedy = |commands: &dyn Fn(usize) -> String| {
        let mut client = server.client();
        let number = id(&mut client);
        for n in 0..limit {
            let words = commands(n);
            if client.send(&words.split(' ').collect::<Vec<_>>()).is_err() || client.is_closed() {
                assert!(n > 10, "{words} was too much");
                break;
            }
            if n.is_multiple_of(100) {
                let list = control.run("CLIENT LIST").text();
                let line = list.lines().find(|line| line.starts_with(&format!("id={number} ")));
                let bytes = line.map(|line| field(line, "tot-mem").parse::<usize>().expect("bytes"));
                assert!(bytes.is_none_or(|bytes| bytes <= limit), "{line:?}");
            }
        }
        assert_eq!(control.run(&format!("CLIENT LIST ID {number}")).text(), "");
    };
    greedy(&|n| format!("WATCH {n}"));
    greedy(&|n| format!("SUBSCRIBE {n}"));
    greedy(&|n| format!("PSUBSCRIBE {n}"));
    greedy(&|n| format!("SSUBSCRIBE {n}"));
    greedy(&|n| format!("CLIENT TRACKING ON BCAST PREFIX a{n:09} PREFIX b{n:09}"));
    greedy(&|n| if n == 0 { "MULTI".to_owned() } else { format!("SET k {}", "v".repeat(10_000)) });
    // Who forgets what it kept is not counted for it any more.
    let mut client = server.client();
    check(&mut client, "CLIENT TRACKING ON BCAST PREFIX some; CLIENT TRACKING OFF; RESET", "+OK +OK +RESET");
    let number = id(&mut client);
    let size = seen(&mut control, number, "tot-mem");
    check(&mut client, "CLIENT TRACKING ON BCAST PREFIX some", "+OK");
    assert_ne!(seen(&mut control, number, "tot-mem"), size);
    check(&mut client, "CLIENT TRACKING OFF", "+OK");
    assert_eq!(seen(&mut control, number, "tot-mem"), size);
    check(&mut control, "DEBUG PAUSE-CRON 0", "+OK");
}
