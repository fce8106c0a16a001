//! redis-cli and redis-sentinel, which look at a primary through its replication.

use crate::data::{expect_ok, fill};
use crate::support::process::on_path;
use crate::{assert_equal, primary, replica, until};
use std::io::Read;
use std::process::{Command, Stdio};

#[test]
fn redis_cli_takes_a_snapshot() {
    for diskless in ["yes", "no"] {
        let mut primary = primary(&[("repl-diskless-sync", diskless)]);
        fill(&mut primary.client());
        let file = primary.directory().join("taken.rdb");
        for option in ["--rdb", "--functions-rdb"] {
            let output = Command::new(on_path("redis-cli"))
                .args(["-p", &primary.port().to_string(), option])
                .arg(&file)
                .output()
                .expect("redis-cli runs");
            assert!(output.status.success(), "{option}: {output:?}");
            let check = Command::new(on_path("redis-check-rdb")).arg(&file).output().expect("it runs");
            let text = String::from_utf8_lossy(&check.stdout).into_owned();
            assert!(check.status.success() && text.contains("RDB looks OK"), "{text}");
            assert_eq!(text.contains("] 0 keys read"), option == "--functions-rdb", "{text}");
        }
        until("nobody is left", || crate::figure(&mut primary, "connected_slaves") == "0");
    }
}

#[test]
fn redis_cli_shows_the_stream() {
    let mut primary = primary(&[]);
    let mut cli = Command::new(on_path("redis-cli"))
        .args(["-p", &primary.port().to_string(), "--replica"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-cli runs");
    until("it follows", || crate::figure(&mut primary, "slave0").contains("state=online"));
    expect_ok(&mut primary.client(), &["SET", "hello", "world"]);
    let mut out = cli.stdout.take().expect("a pipe");
    let mut text = String::new();
    while !text.contains("\"SET\",\"hello\",\"world\"") {
        let mut bytes = [0; 1024];
        let count = out.read(&mut bytes).expect("readable");
        assert!(count > 0, "it ended: {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    cli.kill().expect("it lives");
    cli.wait().expect("it ended");
}

/// Sentinel finds the replica in INFO of its primary.
#[test]
fn redis_sentinel_sees_the_replica() {
    let mut primary = primary(&[]);
    let mut replica = replica(&primary, &[]);
    assert_equal(&mut primary, &mut replica);
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("sentinel.conf");
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("free").port();
    std::fs::write(
        &config,
        format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor it 127.0.0.1 {} 1\n",
            dir.path().display(),
            primary.port()
        ),
    )
    .expect("written");
    let mut sentinel = Command::new(on_path("redis-sentinel"))
        .arg(&config)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-sentinel runs");
    let ask = |words: &[&str]| {
        let output = Command::new(on_path("redis-cli")).args(["-p", &port.to_string()]).args(words).output();
        String::from_utf8_lossy(&output.expect("redis-cli runs").stdout).into_owned()
    };
    let address = replica.port().to_string();
    let mut seen = String::new();
    let start = std::time::Instant::now();
    while start.elapsed() < std::time::Duration::from_secs(20)
        && !(seen.contains(&address) && seen.contains("master-link-status\nok"))
    {
        seen = ask(&["sentinel", "replicas", "it"]);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let state = ask(&["sentinel", "master", "it"]);
    sentinel.kill().expect("it lives");
    sentinel.wait().expect("it ended");
    assert!(seen.contains(&address) && seen.contains("master-link-status\nok"), "{seen}");
    assert!(state.contains("num-slaves\n1") && state.contains("flags\nmaster\n"), "{state}");
}
