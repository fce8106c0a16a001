//! Scripts that take long: who waits, who is refused, and what ends them.

use super::support::client::Client;
use super::support::process::Server;
use super::{KEYS, check, receive, send, show, wait_until};

const BUSY_SCRIPT: &str =
    "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
const BUSY_FUNCTION: &str =
    "-BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";
const KILLED: &str = "-ERR Script killed by user with SCRIPT KILL. script: ";

const FOR_EVER: &str = "while true do end";

/// Others are refused at once when a script has run for a few milliseconds.
fn server() -> Server {
    Server::baton(&[("cores", "3"), ("busy-reply-threshold", "10"), ("appendonly", "yes")])
}

/// Waits until a command gets this reply.
#[track_caller]
fn wait_for(client: &mut Client, command: &str, reply: &str) {
    wait_until(|| show(&client.run(command)) == reply);
}

/// The next reply begins like this.
#[track_caller]
fn receive_start(client: &mut Client, start: &str) {
    let reply = receive(client);
    assert!(reply.starts_with(start), "{reply}");
}

#[test]
fn others_are_refused_until_a_script_is_killed() {
    let mut server = server();
    let (mut running, mut other) = (server.client(), server.client());
    check(&mut other, "SET k v; SCRIPT KILL", "+OK -NOTBUSY No scripts in execution right now.");
    running.send(&["EVAL", FOR_EVER, "0"]).unwrap();
    wait_for(&mut other, "GET k", BUSY_SCRIPT);
    for command in ["SET k w", "PING", "DBSIZE", "CONFIG GET maxmemory", "SHUTDOWN", "EVALSHA x 0"] {
        check(&mut other, command, BUSY_SCRIPT);
    }
    check(&mut other, "FUNCTION KILL; SCRIPT KILL", &format!("{BUSY_SCRIPT} +OK"));
    receive_start(&mut running, KILLED);
    wait_for(&mut other, "GET k", "\"v\"");
    check(&mut other, "SCRIPT KILL", "-NOTBUSY No scripts in execution right now.");
    check(&mut running, "PING", "+PONG");
}

#[test]
fn a_function_is_killed_by_its_own_command() {
    let mut server = server();
    let (mut running, mut other) = (server.client(), server.client());
    let library = "#!lua name=l\nredis.register_function('f', function() while true do end end)";
    assert_eq!(show(&other.call(&["FUNCTION", "LOAD", library])), "\"l\"");
    running.send(&["FCALL", "f", "0", "argument"]).unwrap();
    wait_for(&mut other, "GET k", BUSY_FUNCTION);
    let stats = show(&other.run("FUNCTION STATS"));
    assert!(
        stats.contains("\"name\", \"f\", \"command\", [\"FCALL\", \"f\", \"0\", \"argument\"]"),
        "{stats}"
    );
    check(&mut other, "SCRIPT KILL; FUNCTION KILL", &format!("{BUSY_FUNCTION} +OK"));
    receive_start(
        &mut running,
        "-ERR Script killed by user with FUNCTION KILL. script: f, on @user_function:2.",
    );
    wait_for(&mut other, "GET k", "$-1");
    check(&mut other, "FUNCTION KILL", "-NOTBUSY No scripts in execution right now.");
}

#[test]
fn what_has_written_ends_only_with_the_node() {
    let mut server = server();
    let (mut running, mut other) = (server.client(), server.client());
    check(&mut other, "SET before 1", "+OK");
    running.send(&["EVAL", "redis.call('set', KEYS[1], 'half') while true do end", "1", "k"]).unwrap();
    wait_for(&mut other, "GET k", BUSY_SCRIPT);
    refused_with(&mut other, "SCRIPT KILL", "-UNKILLABLE Sorry the script already executed write commands");
    check(&mut other, "SHUTDOWN; SHUTDOWN SAVE", &format!("{BUSY_SCRIPT} {BUSY_SCRIPT}"));
    send(&mut other, "SHUTDOWN NOSAVE");
    wait_until(|| server.exited().is_some());
    server.restart();
    // Its effects are one transaction, which was not over.
    check(&mut server.client(), "GET before; GET k", "\"1\" $-1");
}

#[test]
fn a_transaction_ends_with_its_script_when_the_node_does() {
    let mut server = server();
    let (mut running, mut other) = (server.client(), server.client());
    let [a, b, _] = KEYS;
    check(&mut running, &format!("SET before 1; MULTI; SET {a} 1"), "+OK +OK +QUEUED");
    let script = "redis.call('set', KEYS[1], 'half') while true do end";
    assert_eq!(show(&running.call(&["EVAL", script, "1", "k"])), "+QUEUED");
    check(&mut running, &format!("SET {b} 2"), "+QUEUED");
    send(&mut running, "EXEC");
    wait_for(&mut other, "GET k", BUSY_SCRIPT);
    send(&mut other, "SHUTDOWN NOSAVE");
    wait_until(|| server.exited().is_some());
    server.restart();
    check(&mut server.client(), &format!("GET before; GET {a}; GET k; GET {b}"), "\"1\" $-1 $-1 $-1");
}

/// What a script does is known to those behind it in a pipeline, and each is refused for itself: their keys are looked at
/// before their turn comes.
#[test]
fn a_pipeline_of_scripts_answers_in_order() {
    let mut server = Server::baton(&[("cores", "3")]);
    let mut client = server.client();
    let script = "redis.call('append', KEYS[1], ARGV[1]) return redis.call('get', KEYS[1])";
    let (mut requests, mut expected) = (Vec::<Vec<String>>::new(), Vec::new());
    let mut values = std::collections::BTreeMap::<&str, String>::new();
    for n in 0..100_usize {
        let (key, digit) = (KEYS[n % 3], (n % 10).to_string());
        let (words, reply): (&[&str], _) = match n % 10 {
            7 => (&[script, "-1", key], "-ERR Number of keys can't be negative".to_owned()),
            8 => (&[script, "5", key], "-ERR Number of keys can't be greater than number of args".to_owned()),
            9 => (&["return #KEYS", "2", key, "x"], ":2".to_owned()),
            _ => {
                let value = values.entry(key).or_default();
                value.push_str(&digit);
                (&[script, "1", key, &digit], format!("\"{value}\""))
            }
        };
        requests.push([&["EVAL"], words].concat().into_iter().map(str::to_owned).collect());
        expected.push(reply);
    }
    let replies: Vec<String> = client.pipeline(&requests).iter().map(show).collect();
    assert_eq!(replies, expected);
}

#[track_caller]
fn refused_with(client: &mut Client, command: &str, start: &str) {
    let reply = show(&client.run(command));
    assert!(reply.starts_with(start), "{reply}");
}

#[test]
fn a_write_after_the_kill_is_not_done() {
    let mut server = server();
    let (mut running, mut other) = (server.client(), server.client());
    // It holds on to what it caught, and would write then.
    let script = "pcall(function() while true do end end) redis.call('set', KEYS[1], 'v') return 'done'";
    running.send(&["EVAL", script, "1", "k"]).unwrap();
    wait_for(&mut other, "GET k", BUSY_SCRIPT);
    check(&mut other, "SCRIPT KILL", "+OK");
    receive_start(&mut running, KILLED);
    wait_for(&mut other, "GET k", "$-1");
}

#[test]
fn a_transaction_goes_on_after_a_script_that_was_killed() {
    let mut server = server();
    let (mut running, mut other) = (server.client(), server.client());
    let [a, b, _] = KEYS;
    check(&mut running, &format!("MULTI; SET {a} 1"), "+OK +QUEUED");
    assert_eq!(show(&running.call(&["EVAL", FOR_EVER, "0"])), "+QUEUED");
    check(&mut running, &format!("SET {b} 2"), "+QUEUED");
    send(&mut running, "EXEC");
    wait_for(&mut other, &format!("GET {a}"), BUSY_SCRIPT);
    // What the transaction wrote is not what the script wrote.
    check(&mut other, "SCRIPT KILL", "+OK");
    let replies = receive(&mut running);
    assert!(replies.starts_with(&format!("[+OK, {KILLED}")) && replies.ends_with(", +OK]"), "{replies}");
    wait_for(&mut other, &format!("GET {b}"), "\"2\"");
    check(&mut other, &format!("GET {a}"), "\"1\"");
}

#[test]
fn scripts_that_only_read_are_killed_too() {
    let mut server = server();
    let (mut running, mut other) = (server.client(), server.client());
    let flagged = format!("#!lua flags=no-writes\n{FOR_EVER}");
    let reading = "while true do redis.call('get', KEYS[1]) end";
    for command in [["EVAL_RO", FOR_EVER], ["EVAL", &flagged], ["EVAL_RO", reading], ["EVAL", reading]] {
        running.send(&[&command[..], &["1", "k"]].concat()).unwrap();
        wait_for(&mut other, "GET k", BUSY_SCRIPT);
        check(&mut other, "SCRIPT KILL", "+OK");
        receive_start(&mut running, KILLED);
        wait_for(&mut other, "GET k", "$-1");
    }
}

#[test]
fn other_cores_are_served_meanwhile() {
    let mut server = server();
    let (mut running, mut other) = (server.client(), server.client());
    let [a, b, c] = KEYS;
    let script = "if ARGV[1] == 'spin' then while true do end end return redis.call('incr', KEYS[1])";
    // It is known for touching only its key from now on.
    assert_eq!(show(&running.call(&["EVAL", script, "1", a])), ":1");
    running.send(&["EVAL", script, "1", a, "spin"]).unwrap();
    wait_for(&mut other, &format!("GET {a}"), BUSY_SCRIPT);
    check(
        &mut other,
        &format!("SET {b} 1; INCR {c}; PING; SET {a} 7"),
        &format!("+OK :1 +PONG {BUSY_SCRIPT}"),
    );
    check(
        &mut other,
        &format!("MSET {a} 1 {b} 2; GET {b}; SCRIPT KILL"),
        &format!("{BUSY_SCRIPT} \"1\" +OK"),
    );
    receive_start(&mut running, KILLED);
    wait_for(&mut other, &format!("GET {a}"), "\"1\"");
}

#[test]
fn without_a_threshold_others_wait() {
    let mut server = server();
    let (mut running, mut waiting, mut other) = (server.client(), server.client(), server.client());
    check(&mut other, "SET k v; CONFIG SET busy-reply-threshold 0", "+OK +OK");
    running.send(&["EVAL", FOR_EVER, "0"]).unwrap();
    wait_for(&mut other, "SCRIPT KILL", "+OK");
    receive_start(&mut running, KILLED);
    running.send(&["EVAL", FOR_EVER, "0"]).unwrap();
    send(&mut waiting, "GET k");
    // Either it came before the script, or it waits for its end: it is not refused.
    wait_for(&mut other, "SCRIPT KILL", "+OK");
    receive_start(&mut running, KILLED);
    assert_eq!(receive(&mut waiting), "\"v\"");
}

#[test]
fn a_replica_catches_up_after_its_script() {
    let mut primary = server();
    let mut replica = server();
    let mut writer = primary.client();
    let (mut running, mut other) = (replica.client(), replica.client());
    check(&mut writer, "SET k before", "+OK");
    check(&mut other, &format!("REPLICAOF 127.0.0.1 {}", primary.port()), "+OK");
    wait_for(&mut other, "GET k", "\"before\"");
    running.send(&["EVAL", "redis.call('get', KEYS[1]) while true do end", "1", "k"]).unwrap();
    wait_for(&mut other, "GET k", BUSY_SCRIPT);
    check(&mut writer, "SET k after; SET l 1", "+OK +OK");
    check(&mut other, "GET k; SCRIPT KILL", &format!("{BUSY_SCRIPT} +OK"));
    receive_start(&mut running, KILLED);
    wait_for(&mut other, "GET k", "\"after\"");
    wait_for(&mut other, "GET l", "\"1\"");
    let refused = show(&running.call(&["EVAL", "return redis.call('set', KEYS[1], 'v')", "1", "k"]));
    assert!(refused.starts_with("-READONLY You can't write against a read only replica."), "{refused}");
}

/// On a replica without its primary a script runs that says it may, and in it the commands that may.
#[test]
fn a_stale_replica_runs_what_allows_for_it() {
    let mut server = server();
    let mut client = server.client();
    let library = "#!lua name=stale\n\
        local function hello() return 'hello' end\n\
        redis.register_function{function_name='plain', callback=hello, flags={'no-writes'}}\n\
        redis.register_function{function_name='allowed', callback=hello, flags={'no-writes', 'allow-stale'}}\n\
        redis.register_function{function_name='reads', callback=function() return redis.call('get', 'x') end, \
        flags={'no-writes', 'allow-stale'}}";
    assert_eq!(show(&client.call(&["FUNCTION", "LOAD", library])), "\"stale\"");
    check(&mut client, "CONFIG SET replica-serve-stale-data no; REPLICAOF 127.0.0.1 1", "+OK +OK");
    let down = "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
    check(
        &mut client,
        "FCALL plain 0; FCALL_RO plain 0; FCALL allowed 0",
        &format!("{down} {down} \"hello\""),
    );
    let refused = show(&client.call(&["FCALL", "reads", "0"]));
    assert!(refused.contains("Can not execute the command on a stale replica"), "{refused}");
    assert_eq!(show(&client.call(&["EVAL", "#!lua\nreturn 1", "0"])), down);
    check(&mut client, "REPLICAOF NO ONE; FCALL plain 0; FCALL reads 0", "+OK \"hello\" $-1");
}
