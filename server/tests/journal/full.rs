//! A disk without room, by a limit on the length of files.

use crate::info;
use crate::support::client::{Client, Reply};
use crate::support::process::Server;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ERROR: &str = "MISCONF Errors writing to the AOF file: File too large";

fn server(policy: &str) -> (Server, TempDir) {
    Server::limited(&[("cores", "2"), ("appendonly", "yes"), ("appendfsync", policy), ("save", "")])
}

/// Files may grow by so many bytes beyond the log, or without a limit.
fn limit(server: &Server, client: &mut Client, more: Option<u64>) {
    let now: u64 = info(client, "aof_current_size").parse().unwrap();
    server.limit_files(more.map(|more| now + more));
}

fn large() -> String {
    "x".repeat(64 * 1024)
}

#[test]
fn a_write_is_held_until_there_is_room() {
    for policy in ["everysec", "always"] {
        let (mut server, _script) = server(policy);
        let (mut client, mut other) = (server.client(), server.client());
        assert_eq!(client.run("SET a 1").text(), "OK");
        limit(&server, &mut other, Some(32 * 1024));
        client.send(&["SET", "a", &large()]).unwrap();
        let start = Instant::now();
        while info(&mut other, "aof_last_write_status") != "err" {
            assert!(start.elapsed() < Duration::from_secs(5));
        }
        // It has run, but nobody is told.
        assert_eq!(other.run("STRLEN a").integer(), Some(64 * 1024));
        for command in ["SET b 1", "DEL a", "PING", "MSET a 1 b 2"] {
            assert_eq!(other.run(command).text(), ERROR, "{command}");
        }
        assert_eq!(other.run("MULTI").text(), "OK");
        assert_eq!(other.run("SET b 1").text(), ERROR);
        assert!(other.run("EXEC").text().starts_with("EXECABORT"));
        limit(&server, &mut other, None);
        assert_eq!(client.receive().unwrap().text(), "OK", "now there is room");
        assert_eq!(other.run("SET b 1").text(), "OK");
        assert_eq!(info(&mut other, "aof_last_write_status"), "ok");
        server.kill();
        server.restart();
        let mut client = server.client();
        assert_eq!(client.run("STRLEN a").integer(), Some(64 * 1024));
        assert_eq!(client.run("GET b").text(), "1");
    }
}

#[test]
fn nobody_waits_for_ever_for_room() {
    let (mut server, _script) = server("everysec");
    let (mut client, mut other) = (server.client(), server.client());
    limit(&server, &mut other, Some(32 * 1024));
    let set = [b"SET".to_vec(), b"a".to_vec(), large().into_bytes()];
    client.send(&set).unwrap();
    client.send(&["GET", "b"]).unwrap();
    let start = Instant::now();
    assert_eq!(client.receive().unwrap(), Reply::Error(ERROR.as_bytes().to_vec()));
    assert!(client.is_closed());
    assert!((1..9).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    server.kill();
    server.restart();
    assert_eq!(server.client().run("EXISTS a").integer(), Some(0));
}
