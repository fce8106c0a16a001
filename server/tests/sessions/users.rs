//! Users: what they may do on every path that a command can take, and what becomes of connections when rules change.

use super::*;

const NO_KEY: &str = "-NOPERM No permissions to access a key";
const NO_CHANNEL: &str = "-NOPERM No permissions to access a channel";

/// A client of the user `u`, who has these rules.
#[track_caller]
fn user(server: &mut Server, rules: &str) -> Client {
    assert_eq!(
        server.client().run(&format!("ACL SETUSER u reset on nopass {rules}")).text(),
        "OK",
        "{rules}"
    );
    let mut client = server.client();
    assert_eq!(client.run("AUTH u any").text(), "OK");
    client
}

fn not_run(command: &str) -> String {
    format!("-NOPERM User u has no permissions to run the '{command}' command")
}

#[test]
fn commands_keys_and_channels_are_checked() {
    let mut server = server();
    let mut u = user(&mut server, "~a* %R~r* %W~w* &c* +@all -@admin -config +config|get -select +select|3");
    check(&mut u, "SET a1 1; GET a1; GET r1; SET w1 1; DEL b", &format!("+OK \"1\" $-1 +OK {NO_KEY}"));
    check(&mut u, "SET r1 1; GET w1; SET w1 2 GET", &[NO_KEY; 3].join(" "));
    check(&mut u, "COPY a1 w2; COPY a1 r2; COPY w1 a2", &format!(":1 {NO_KEY} {NO_KEY}"));
    check(&mut u, "RENAME a1 w3; SET a1 1; RENAME a1 a2; RENAME r1 a3", &format!("+OK +OK +OK {NO_KEY}"));
    // Whether a key is there tells nothing that it holds.
    check(&mut u, "EXISTS w1; TYPE w1; EXISTS b", &format!(":1 +string {NO_KEY}"));
    check(&mut u, "MGET a1 r1 b; MSET a1 1 b 2", &[NO_KEY; 2].join(" "));
    check(
        &mut u,
        "ZUNIONSTORE a1 0 b; ZUNIONSTORE w1 1 b",
        &format!("-ERR at least 1 input key is needed for 'zunionstore' command {NO_KEY}"),
    );
    check(&mut u, "PUBLISH c1 m; PUBLISH d m; SPUBLISH d m", &format!(":0 {NO_CHANNEL} {NO_CHANNEL}"));
    check(
        &mut u,
        "SELECT 3; SELECT 0; CLIENT ID x; ACL WHOAMI",
        &format!("+OK {} -ERR wrong number of arguments for 'client|id' command \"u\"", not_run("select")),
    );
    check(
        &mut u,
        "CONFIG SET maxmemory 1; MONITOR; DEBUG NOPE",
        &format!("{} {} {}", not_run("config|set"), not_run("monitor"), not_run("debug")),
    );
    check(&mut u, "CONFIG GET acllog-max-len", "[\"acllog-max-len\", \"128\"]");
    // As part of a pipeline too, among those that are allowed.
    let line = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let replies =
        u.pipeline(&[line("SET a1 5"), line("GET b"), line("GET a1"), line("SET r1 1"), line("GET a1")]);
    let shown: Vec<String> = replies.iter().map(show).collect();
    assert_eq!(shown, ["+OK", NO_KEY, "\"5\"", NO_KEY, "\"5\""]);
}

#[test]
fn a_selector_allows_all_or_nothing() {
    let mut server = server();
    let mut u = user(&mut server, "~a +get +ping (~b +set) (%R~* +mget &c +publish)");
    check(&mut u, "GET a; GET b; SET b 1; SET a 1", &format!("$-1 {NO_KEY} +OK {NO_KEY}"));
    check(
        &mut u,
        "MGET a b z; PUBLISH c m; PUBLISH d m; DEL a",
        &format!("[$-1, \"1\", $-1] :0 {NO_CHANNEL} {}", not_run("del")),
    );
}

#[test]
fn sort_reads_what_it_does_not_name() {
    let mut server = server();
    let by = "-ERR BY option of SORT denied due to insufficient ACL permissions.";
    let get = "-ERR GET option of SORT denied due to insufficient ACL permissions.";
    let mut u = user(&mut server, "~l +@all");
    check(&mut u, "RPUSH l 2 1; SORT l; SORT l BY nosort", ":2 [\"1\", \"2\"] [\"2\", \"1\"]");
    check(&mut u, "SORT l BY w*; SORT_RO l GET #; SORT l BY nosort GET v*", &format!("{by} {get} {get}"));
    check(
        &mut u,
        "MULTI; SORT l BY w*; EXEC",
        &format!("+OK {by} -EXECABORT Transaction discarded because of previous errors."),
    );
    let mut u = user(&mut server, "~l +@all (%R~* +sort)");
    check(&mut u, "SORT l BY w* GET #; SORT_RO l BY w*", &format!("[\"1\", \"2\"] {by}"));
}

#[test]
fn transactions_are_checked_twice() {
    let mut server = server();
    let mut admin = server.client();
    let mut u = user(&mut server, "~a +@all");
    check(
        &mut u,
        "MULTI; SET b 1; SET a 1; EXEC",
        &format!("+OK {NO_KEY} +QUEUED -EXECABORT Transaction discarded because of previous errors."),
    );
    check(&mut u, "MULTI; SET a 1; INCR a; GET a", "+OK +QUEUED +QUEUED +QUEUED");
    check(&mut admin, "ACL SETUSER u -incr; ACL SETUSER u resetkeys %W~a", "+OK +OK");
    let why = |reason| {
        format!(
            "-NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This \
             command is no longer allowed for the following reason: no permission to {reason}"
        )
    };
    check(
        &mut u,
        "EXEC",
        &format!("[+OK, {}, {}]", why("execute the command or subcommand"), why("touch the specified keys")),
    );
    let log = admin.run("ACL LOG 1");
    let fields = log.elements().and_then(|all| all[0].elements()).unwrap();
    assert_eq!(
        (fields[3].text(), fields[5].text(), fields[7].text()),
        ("key".into(), "multi".into(), "a".into())
    );
}

#[test]
fn who_waited_may_be_refused_in_the_end() {
    let mut server = server();
    let mut admin = server.client();
    let mut u = user(&mut server, "~l +blpop");
    send(&mut u, "BLPOP l 0");
    wait_for_blocked(&mut admin, 1);
    check(&mut admin, "ACL SETUSER u -blpop; RPUSH l 1; LLEN l", "+OK :1 :1");
    assert_eq!(receive(&mut u), not_run("blpop"));
    let stats = admin.run("INFO commandstats").text();
    assert!(
        stats.contains("cmdstat_blpop:calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=0"),
        "{stats}"
    );
}

#[test]
fn scripts_may_do_what_their_caller_may() {
    let mut server = server();
    let mut admin = server.client();
    let mut u = user(&mut server, "~a +eval +get");
    let mut eval = |script: &str, key: &str| show(&u.call(&["EVAL", script, "1", key]));
    assert_eq!(eval("return redis.call('get', KEYS[1])", "a"), "$-1");
    assert_eq!(eval("return 1", "b"), NO_KEY);
    assert!(
        eval("return redis.call('get', 'b')", "a")
            .starts_with("-NOPERM ACL failure in script: No permissions")
    );
    assert!(
        eval("return redis.call('set', KEYS[1], 1)", "a")
            .starts_with("-NOPERM ACL failure in script: User u has")
    );
    let log = admin.run("ACL LOG");
    let places = log
        .elements()
        .map(|all| all.iter().filter_map(|entry| Some(entry.elements()?[5].text())).collect::<Vec<_>>());
    assert_eq!(places.as_deref(), Some(&["lua".to_owned(), "lua".to_owned(), "toplevel".to_owned()][..]));
    // To ask is no offence.
    let ask = "return {redis.acl_check_cmd('get', 'a'), redis.acl_check_cmd('get', 'b'), redis.acl_check_cmd('set', 'a', 1)}";
    assert_eq!(eval(ask, "a"), "[:1, $-1, $-1]");
    assert_eq!(admin.run("ACL LOG").elements().map(<[_]>::len), Some(3));
}

#[test]
fn new_rules_hold_for_the_next_command() {
    let mut server = server();
    let mut admin = server.client();
    let mut u = user(&mut server, "allkeys +@all");
    for _ in 0..20 {
        check(&mut u, "GET k", "$-1");
        check(&mut admin, "ACL SETUSER u -get", "+OK");
        check(&mut u, "GET k; AUTH u x; GET k", &format!("{} +OK {}", not_run("get"), not_run("get")));
        check(&mut admin, "ACL SETUSER u +get", "+OK");
    }
    // One who may do everything and takes that from himself, within one pipeline.
    let mut own = user(&mut server, "allkeys allcommands allchannels");
    let line = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let replies = own.pipeline(&[line("GET k"), line("ACL SETUSER u -get"), line("GET k")]);
    assert_eq!(replies.iter().map(show).collect::<Vec<_>>(), ["$-1", "+OK", &not_run("get")]);
}

#[test]
fn clients_of_removed_users_are_gone() {
    let mut server = server();
    let mut admin = server.client();
    let mut u = user(&mut server, "allkeys +@all");
    check(&mut u, "ACL DELUSER u nobody", ":1");
    assert!(u.is_closed());
    let mut u = user(&mut server, "allkeys +@all");
    check(&mut u, "PING", "+PONG");
    check(
        &mut admin,
        "ACL DELUSER default; ACL DELUSER u; ACL GETUSER u",
        "-ERR The 'default' user cannot be removed :1 $-1",
    );
    assert!(u.is_closed());
    check(&mut admin, "ACL USERS", "[\"default\"]");
    check(
        &mut server.client(),
        "AUTH u any",
        "-WRONGPASS invalid username-password pair or user is disabled.",
    );
    // Switched off: nobody becomes this user any more, who is stays.
    let mut u = user(&mut server, "allkeys +@all");
    check(&mut admin, "ACL SETUSER u off", "+OK");
    check(&mut u, "PING", "+PONG");
    check(
        &mut server.client(),
        "AUTH u any",
        "-WRONGPASS invalid username-password pair or user is disabled.",
    );
}

#[test]
fn listeners_go_with_their_channels() {
    let mut server = server();
    let mut admin = server.client();
    for (listen, stays, goes) in [
        ("SUBSCRIBE c1", "resetchannels &c*", "resetchannels &d*"),
        ("PSUBSCRIBE c*", "resetchannels &c* &d*", "resetchannels &c1"),
        ("SSUBSCRIBE c1", "(&c1 +get)", "resetchannels clearselectors"),
    ] {
        let mut u = user(&mut server, "&c* +@all");
        assert!(!u.run(listen).is_error(), "{listen}");
        check(&mut admin, &format!("ACL SETUSER u {stays}"), "+OK");
        // Still there: what is published arrives.
        let publish = if listen.starts_with("SS") { "SPUBLISH" } else { "PUBLISH" };
        // Another channel for each kind: those before may still be about to leave.
        let channel = if listen.starts_with('P') { "c2" } else { "c1" };
        check(&mut admin, &format!("{publish} {channel} m"), ":1");
        assert!(receive(&mut u).contains("\"m\""), "{listen}");
        check(&mut admin, &format!("ACL SETUSER u {goes}"), "+OK");
        assert!(u.is_closed(), "{listen}");
    }
    let mut u = user(&mut server, "&c +@all");
    check(
        &mut u,
        "SUBSCRIBE d; PSUBSCRIBE c*; SSUBSCRIBE d; PSUBSCRIBE c",
        &format!("{NO_CHANNEL} {NO_CHANNEL} {NO_CHANNEL} [\"psubscribe\", \"c\", :1]"),
    );
    check(&mut u, "UNSUBSCRIBE d", "[\"unsubscribe\", \"d\", :1]");
}

#[test]
fn the_log_groups_what_was_refused() {
    let mut server = server();
    let mut admin = server.client();
    let mut u = user(&mut server, "~a +get +auth +multi");
    check(
        &mut u,
        "GET b; GET b; SET a 1; AUTH u2 x; MULTI; GET b",
        &format!(
            "{NO_KEY} {NO_KEY} {} -WRONGPASS invalid username-password pair or user is disabled. +OK {NO_KEY}",
            not_run("set")
        ),
    );
    let log = admin.run("ACL LOG");
    let shown: Vec<String> = log
        .elements()
        .unwrap()
        .iter()
        .map(|entry| {
            let all = entry.elements().unwrap();
            [1, 3, 5, 7, 9].map(|at| all[at].text()).join(" ")
        })
        .collect();
    assert_eq!(
        shown,
        [":1 key multi b u", ":1 auth toplevel AUTH u2", ":1 command toplevel set u", ":2 key toplevel b u"]
    );
    let info = admin.run("INFO stats").text();
    let line = "acl_access_denied_auth:1\r\nacl_access_denied_cmd:1\r\nacl_access_denied_key:3\r\nacl_access_denied_channel:0";
    assert!(info.contains(line), "{info}");
    check(
        &mut admin,
        "ACL LOG x; ACL LOG RESET; ACL LOG",
        "-ERR value is not an integer or out of range +OK []",
    );
    assert!(admin.run("CLIENT LIST USER u").text().contains("user=u "));
    check(&mut admin, "CLIENT KILL USER nobody; CLIENT KILL USER u", "-ERR No such user 'nobody' :1");
    assert!(u.is_closed());
}

#[test]
fn the_default_user_and_requirepass_are_one() {
    let mut server = server();
    let mut admin = server.client();
    check(&mut admin, "CONFIG SET requirepass secret", "+OK");
    check(&mut server.client(), "GET k; AUTH secret; GET k", "-NOAUTH Authentication required. +OK $-1");
    check(&mut admin, "ACL SETUSER default >other", "+OK");
    check(&mut server.client(), "AUTH other; ACL WHOAMI", "+OK \"default\"");
    check(&mut admin, "ACL SETUSER default nopass", "+OK");
    check(&mut server.client(), "GET k", "$-1");
    check(&mut admin, "ACL SETUSER default off", "+OK");
    let mut late = server.client();
    check(
        &mut late,
        "GET k; AUTH default x",
        "-NOAUTH Authentication required. \
           -WRONGPASS invalid username-password pair or user is disabled.",
    );
    check(&mut admin, "GET k; ACL SETUSER default on", "$-1 +OK");
    check(&mut late, "GET k", "$-1");
}

#[test]
fn users_are_read_and_written() {
    let users = "user b on >pw ~x +get (~y +set)\nuser default on nopass ~* &* +@all\n";
    let mut server = Server::baton(&[("cores", "2")]);
    let file = server.directory().join("users.acl");
    std::fs::write(&file, users).unwrap();
    let mut client = server.client();
    for command in ["ACL LOAD", "ACL SAVE"] {
        assert!(
            client.run(command).text().starts_with("ERR This instance is not configured to use an ACL file")
        );
    }
    server.terminate();
    server.set("aclfile", "users.acl");
    server.restart();
    let mut client = server.client();
    check(&mut client, "ACL USERS", "[\"b\", \"default\"]");
    let mut b = server.client();
    check(&mut b, "AUTH b pw; GET x", "+OK $-1");
    std::fs::write(&file, "user b on >pw +nope\nuser b\n").unwrap();
    let refused = client.run("ACL LOAD").text();
    assert!(
        refused.contains(":1: Error in applying operation '+nope': Unknown command")
            && refused.ends_with(
                "WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
            ),
        "{refused}"
    );
    std::fs::write(&file, "user b on >pw ~z +get\nuser c on nopass\n").unwrap();
    check(&mut client, "ACL LOAD; ACL USERS", "+OK [\"b\", \"c\", \"default\"]");
    check(&mut b, "GET z; GET x", &format!("$-1 {NO_KEY}"));
    check(&mut client, "ACL DELUSER c; ACL SAVE", ":1 +OK");
    let hash = "30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4";
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        format!(
            "user b on sanitize-payload #{hash} ~z resetchannels -@all +get\n\
         user default on nopass sanitize-payload ~* &* +@all\n"
        )
    );
    std::fs::write(&file, "user default on nopass ~* &* +@all\n").unwrap();
    check(&mut client, "ACL LOAD", "+OK");
    assert!(b.is_closed());
}
