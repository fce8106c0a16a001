//! `--restore-to`: a log as it was at a second of the past, whoever wrote it.

use crate::support::client::{Client, Reply};
use crate::support::process::Server;
use crate::{copy_log, settle};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SETTINGS: &[(&str, &str)] = &[
    ("enable-debug-command", "yes"),
    ("save", ""),
    ("appendonly", "yes"),
    ("aof-timestamp-enabled", "yes"),
    ("auto-aof-rewrite-percentage", "0"),
];

fn baton() -> Server {
    Server::baton(&[SETTINGS, &[("cores", "2")]].concat())
}

/// The second it is for a server.
fn now_s(client: &mut Client) -> i64 {
    let reply = client.run("TIME");
    let seconds = reply.elements().and_then(|parts| parts[0].text().parse().ok());
    seconds.unwrap_or_else(|| panic!("{reply:?}"))
}

/// Waits for the next second, which it returns.
fn next_second(client: &mut Client) -> i64 {
    let before = now_s(client);
    loop {
        std::thread::sleep(Duration::from_millis(20));
        match now_s(client) {
            now if now > before => return now,
            _ => {}
        }
    }
}

/// All files of the log, but for the lock.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for file in fs::read_dir(dir.join("appendonlydir")).expect("listed") {
        let file = file.expect("a file");
        let name = file.file_name().to_string_lossy().into_owned();
        if name != "baton.lock" {
            found.insert(name, fs::read(file.path()).expect("read"));
        }
    }
    found
}

/// Some writes, each group in a second of its own, in the middle a new base. By second: the digest at its end.
fn history(client: &mut Client, groups: usize, with_base: bool) -> Vec<(i64, Reply)> {
    let mut seconds = Vec::new();
    for group in 0..groups {
        let second = next_second(client);
        if group == 1 && with_base {
            // Redis notes the time that it last looked at.
            next_second(client);
            client.run("BGREWRITEAOF");
            settle(client);
            next_second(client);
        }
        for n in 0..20 {
            client.run(&format!("SET key:{group}:{n} {second}"));
        }
        client.run("INCR count");
        client.run("MULTI");
        client.run("RPUSH list a");
        client.run("SADD set b");
        client.run("EXEC");
        seconds.push((now_s(client), client.run("DEBUG DIGEST")));
    }
    seconds
}

/// Restores to a second and looks at the data; then goes on from there.
#[track_caller]
fn check(server: &mut Server, second: i64, expected: &Reply) {
    let before = files(server.directory());
    server.set("restore-to", &second.to_string());
    server.restart();
    let mut client = server.client();
    assert_eq!(client.run("DEBUG DIGEST"), *expected, "{second}: {}", server.log_tail());
    let own = server.directory().join(format!("restored-{second}"));
    let dir = client.run("CONFIG GET dir");
    assert_eq!(dir.elements().expect("a pair")[1].text(), own.display().to_string());
    client.run("SET goes on");
    assert_eq!(client.run("SAVE"), Reply::simple("OK"));
    let wanted = client.run("DEBUG DIGEST");
    server.kill();
    assert!(files(server.directory()) == before, "the original files have changed");
    assert!(own.join("dump.rdb").is_file());
    // The restored node goes on from its own directory, and from nowhere else.
    let why = refused(server.directory(), &["--restore-to", &second.to_string()]);
    assert!(why.contains("not empty"), "{why}");
    server.unset("restore-to");
    server.set("dir", &own.display().to_string());
    server.restart();
    assert_eq!(server.client().run("DEBUG DIGEST"), wanted);
    server.terminate();
    server.unset("dir");
}

/// Starts a Baton that must refuse: what it says.
#[track_caller]
fn refused(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
    command.args(["--port", "0", "--unixsocket", "refused.sock", "--save", "", "--appendonly", "yes"]);
    command.arg("--dir").arg(dir).args(args);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let start = Instant::now();
    while child.try_wait().expect("a status").is_none() {
        if start.elapsed() > Duration::from_secs(10) {
            child.kill().expect("killed");
            panic!("it starts: {args:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().expect("its output");
    assert!(!output.status.success());
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn our_own_log() {
    let mut server = baton();
    let seconds = history(&mut server.client(), 4, false);
    server.terminate();
    for (second, expected) in &seconds {
        check(&mut server, *second, expected);
    }
    // Long after the end, all there is.
    let (last, expected) = seconds.last().expect("seconds");
    check(&mut server, last + 1_000, expected);
}

#[test]
fn a_log_with_a_newer_base() {
    for preamble in ["yes", "no"] {
        let mut server = baton();
        server.client().run(&format!("CONFIG SET aof-use-rdb-preamble {preamble}"));
        let seconds = history(&mut server.client(), 4, true);
        server.terminate();
        let why = refused(server.directory(), &["--restore-to", &seconds[0].0.to_string()]);
        let since = why.split("begins with a base of second ").nth(1).and_then(|rest| rest.split(',').next());
        let since: i64 = since.and_then(|since| since.parse().ok()).unwrap_or_else(|| panic!("{why}"));
        assert!(since > seconds[0].0 && since <= seconds[1].0, "{since} {seconds:?}");
        assert!(!server.directory().join(format!("restored-{}", seconds[0].0)).exists());
        check(&mut server, since, &seconds[0].1);
        check(&mut server, seconds[2].0, &seconds[2].1);
    }
}

#[test]
fn a_log_of_redis() {
    for preamble in ["yes", "no"] {
        let mut redis = Server::redis(&[SETTINGS, &[("aof-use-rdb-preamble", preamble)]].concat());
        let seconds = history(&mut redis.client(), 4, true);
        redis.terminate();
        let mut ours = baton();
        ours.terminate();
        copy_log(&redis, &ours);
        let why = refused(ours.directory(), &["--restore-to", &seconds[0].0.to_string()]);
        assert!(why.contains("the earliest it can be restored to"), "{why}");
        check(&mut ours, seconds[1].0, &seconds[1].1);
        check(&mut ours, seconds[3].0, &seconds[3].1);
    }
}

#[test]
fn what_is_refused() {
    let mut server = Server::baton(&[("save", ""), ("appendonly", "yes")]);
    server.client().run("SET key value");
    server.terminate();
    let dir = server.directory();
    let why = refused(dir, &["--restore-to", "4102444800"]);
    assert!(why.contains("no timestamps") && why.contains("aof-timestamp-enabled"), "{why}");
    let why = refused(dir, &["--restore-to", "1000"]);
    assert!(why.contains("the earliest it can be restored to"), "{why}");
    let why = refused(dir, &["--restore-to", "x"]);
    assert!(why.contains("seconds since 1970"), "{why}");
    let why = refused(dir, &["--restore-to", "1000", "--appendonly", "no"]);
    assert!(why.contains("appendonly yes"), "{why}");
    let why = refused(dir, &["--restore-to", "1000", "--appenddirname", "elsewhere"]);
    assert!(why.contains("There is no log"), "{why}");
    assert!(!dir.join("elsewhere").exists());
}

#[test]
fn damage_counts_only_before_that_second() {
    let mut server = baton();
    let seconds = history(&mut server.client(), 4, false);
    server.terminate();
    let incr = server.directory().join("appendonlydir/appendonly.aof.1.incr.aof");
    let mut file = fs::read(&incr).expect("the increment");
    // In the third group.
    let mark = format!("key:2:7\r\n$10\r\n{}", seconds[2].0);
    let at = file.windows(mark.len()).position(|part| part == mark.as_bytes()).expect("the key");
    file[at + 4] = b'9';
    fs::write(&incr, &file).expect("written");
    let why = refused(server.directory(), &["--restore-to", &seconds[3].0.to_string()]);
    assert!(why.contains("Bad file format"), "{why}");
    check(&mut server, seconds[1].0, &seconds[1].1);
}

#[test]
fn rewriting_the_configuration_keeps_the_original() {
    let mut server = baton();
    let second = history(&mut server.client(), 2, false)[0].0;
    server.terminate();
    let file = server.directory().join("redis.conf");
    let dir = fs::canonicalize(server.directory()).expect("a directory");
    fs::write(&file, format!("# ours\ndir {}\nappendonly yes\nsave \"\"\n", dir.display())).expect("written");
    let port = server.port().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
    command.arg(&file).args(["--port", &port, "--bind", "127.0.0.1", "--restore-to", &second.to_string()]);
    let mut child = command.stdout(Stdio::null()).spawn().expect("it starts");
    let start = Instant::now();
    let ready = || {
        let mut client = Client::connect(server.address()).ok()?;
        (client.run("PING") == Reply::simple("PONG")).then_some(client)
    };
    let mut client = loop {
        if let Some(client) = ready() {
            break client;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "it does not start");
        std::thread::sleep(Duration::from_millis(10));
    };
    let rewritten = client.run("CONFIG REWRITE");
    child.kill().and_then(|()| child.wait()).expect("killed");
    assert_eq!(rewritten, Reply::simple("OK"));
    let text = fs::read_to_string(&file).expect("the file");
    assert!(!text.contains("restore"), "{text}");
    assert!(text.contains(&dir.display().to_string()), "{text}");
}
