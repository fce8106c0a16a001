//! Full disks: what is refused and what is not, that nothing which was acknowledged is lost, and that service resumes.
//!
//! A limit on the size of files, which can be set and lifted from outside, fails every write beyond it; where a file system
//! of its own can be mounted, it is a real disk that is full.

use crate::support::client::{Client, Reply};
use crate::support::process::Server;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn info(client: &mut Client, line: &str) -> String {
    let info = client.run("INFO persistence").text();
    let found = info.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':'));
    found.unwrap_or_else(|| panic!("no {line} in {info}")).to_owned()
}

/// Asks again and again until the reply is this.
#[track_caller]
fn await_reply(server: &mut Server, command: &str, expected: &Reply) {
    let start = Instant::now();
    loop {
        // A connection whose replies were given up is closed.
        let reply = server.client().run(command);
        if reply == *expected {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(8), "{command}: {reply:?}, {}", server.describe());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn await_idle(client: &mut Client) {
    let start = Instant::now();
    while info(client, "rdb_bgsave_in_progress") != "0" || info(client, "aof_rewrite_in_progress") != "0" {
        assert!(start.elapsed() < Duration::from_secs(8), "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
    // The figures follow.
    std::thread::sleep(Duration::from_millis(50));
}

/// Counts up until a write is refused or its connection is closed. The last that was acknowledged, and the last that was sent.
fn count_until_refused(server: &mut Server, value: &str) -> (i64, i64) {
    let mut client = server.client();
    client.set_read_timeout(Duration::from_secs(8)).expect("set");
    for n in 1..100_000 {
        match client.try_call(&["RPUSH", "list", &format!("{n}:{value}")]) {
            Ok(Reply::Integer(len)) => assert_eq!(len, n),
            Ok(reply) => {
                assert!(reply.text().starts_with("MISCONF"), "{reply:?}");
                return (n - 1, n);
            }
            Err(_) => return (n - 1, n),
        }
    }
    panic!("never refused: {}", server.describe());
}

#[track_caller]
fn assert_counted(server: &mut Server, acknowledged: i64, sent: i64) {
    let reply = server.client().run("LRANGE list 0 -1");
    let numbers: Vec<i64> = reply
        .elements()
        .expect("a list")
        .iter()
        .map(|reply| reply.text().split(':').next().and_then(|n| n.parse().ok()).expect("a number"))
        .collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as i64), "{numbers:?}");
    let len = numbers.len() as i64;
    assert!((acknowledged..=sent).contains(&len), "{len}, acknowledged {acknowledged}, sent {sent}");
}

#[test]
fn a_log_that_cannot_grow_stops_writes_until_it_can() {
    for policy in ["always", "everysec"] {
        let settings = [("appendonly", "yes"), ("appendfsync", policy), ("save", ""), ("cores", "2")];
        let (mut server, _folder) = Server::limited(&settings);
        server.client().run("SET before 1");
        server.limit_files(Some(20_000));
        let (acknowledged, sent) = count_until_refused(&mut server, &"x".repeat(500));
        assert!((20..=40).contains(&acknowledged), "{acknowledged}");
        let mut client = server.client();
        let refused = client.run("SET after 1").text();
        assert!(refused.starts_with("MISCONF Errors writing to the AOF file: File too large"), "{refused}");
        assert_eq!(client.run("GET before"), Reply::bulk("1"), "reading goes on");
        assert_eq!(info(&mut client, "aof_last_write_status"), "err");
        // A crash now, with the log as it is: the disk is still full when it is opened.
        let copy =
            fs::read(server.directory().join("appendonlydir/appendonly.aof.1.incr.aof")).expect("the log");
        assert!(copy.len() <= 20_000);

        server.limit_files(None);
        await_reply(&mut server, "SET after 1", &Reply::simple("OK"));
        assert_eq!(info(&mut server.client(), "aof_last_write_status"), "ok");
        assert_counted(&mut server, acknowledged, sent);
        server.kill();
        server.restart();
        assert_counted(&mut server, acknowledged, sent);
        assert_eq!(server.client().run("GET after"), Reply::bulk("1"));
    }
}

#[test]
fn a_node_that_is_killed_while_its_log_cannot_grow_has_lost_nothing() {
    let settings = [("appendonly", "yes"), ("appendfsync", "always"), ("save", ""), ("cores", "2")];
    let (mut server, _folder) = Server::limited(&settings);
    server.limit_files(Some(30_000));
    let (acknowledged, sent) = count_until_refused(&mut server, &"y".repeat(700));
    server.kill();
    server.restart();
    assert_counted(&mut server, acknowledged, sent);
    assert_eq!(server.client().run("SET after 1"), Reply::simple("OK"));
}

#[test]
fn a_snapshot_that_fails_stops_writes_until_one_succeeds() {
    let (mut server, _folder) = Server::limited(&[("save", "3600 1"), ("cores", "2")]);
    let mut client = server.client();
    client.run(&format!("SET key {}", "x".repeat(9_000)));
    client.run("CONFIG SET rdbcompression no");
    assert_eq!(client.run("SAVE"), Reply::simple("OK"));
    let path = server.directory().join("dump.rdb");
    let good = fs::read(&path).expect("a snapshot");
    client.run("SET other 2");

    server.limit_files(Some(4_000));
    assert!(client.run("SAVE").is_error());
    let refused = client.run("SET third 3").text();
    assert!(refused.starts_with("MISCONF Redis is configured to save RDB snapshots"), "{refused}");
    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "err");
    assert_eq!(client.run("GET other"), Reply::bulk("2"), "reading goes on");
    client.run("CONFIG SET stop-writes-on-bgsave-error no");
    assert_eq!(client.run("SET third 3"), Reply::simple("OK"));
    client.run("CONFIG SET stop-writes-on-bgsave-error yes");
    assert!(client.run("SET fourth 4").text().starts_with("MISCONF"));
    assert!(fs::read(&path).expect("a snapshot") == good, "the old snapshot is as it was");
    assert_eq!(temporary_files(server.directory()), Vec::<String>::new());

    server.limit_files(None);
    client.run("BGSAVE");
    await_idle(&mut client);
    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
    assert_eq!(client.run("SET fourth 4"), Reply::simple("OK"));
    server.kill();
    server.restart();
    assert_eq!(
        server.client().run("MGET other third fourth").elements().map(|all| all[2].is_null()),
        Some(true)
    );
    assert_eq!(server.client().run("GET third"), Reply::bulk("3"));
}

#[test]
fn an_end_that_fails_changes_nothing() {
    let (mut server, _folder) = Server::limited(&[("save", "3600 1000"), ("cores", "2")]);
    let mut client = server.client();
    client.run("CONFIG SET rdbcompression no");
    client.run(&format!("SET key {}", "x".repeat(9_000)));
    server.limit_files(Some(4_000));
    assert_eq!(client.run("SHUTDOWN").text(), "ERR Errors trying to SHUTDOWN. Check logs.");
    assert_eq!(client.run("SET other 2"), Reply::simple("OK"));
    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
    server.limit_files(None);
    client.send(&["SHUTDOWN"]).expect("sent");
    server.ended();
    server.restart();
    assert_eq!(server.client().run("GET other"), Reply::bulk("2"));
}

#[test]
fn a_rewrite_that_fails_leaves_the_log_in_force() {
    let settings =
        [("appendonly", "yes"), ("save", ""), ("cores", "2"), ("auto-aof-rewrite-percentage", "0")];
    let (mut server, _folder) = Server::limited(&settings);
    let mut client = server.client();
    for n in 0..40 {
        client.run(&format!("SET key:{n} {}{n}", "z".repeat(1_000)));
    }
    client.run("CONFIG SET rdbcompression no");
    server.limit_files(Some(10_000));
    client.run("BGREWRITEAOF");
    await_idle(&mut client);
    assert_eq!(info(&mut client, "aof_last_bgrewrite_status"), "err");
    // The log goes on in the new increment, which has room.
    assert_eq!(client.run("SET during 1"), Reply::simple("OK"));
    server.kill();
    server.restart();
    let mut client = server.client();
    assert_eq!(client.run("DBSIZE"), Reply::Integer(41));
    assert_eq!(client.run("GET key:39"), Reply::bulk(format!("{}39", "z".repeat(1_000))));
    client.run("BGREWRITEAOF");
    await_idle(&mut client);
    assert_eq!(info(&mut client, "aof_last_bgrewrite_status"), "ok");
    let folder = server.directory().join("appendonlydir");
    assert_eq!(names(&folder).len(), 3, "a base, an increment, the manifest: {:?}", names(&folder));
    server.kill();
    server.restart();
    assert_eq!(server.client().run("DBSIZE"), Reply::Integer(41));
}

/// Permissions stop nobody who is root, but a directory that is not there does.
#[test]
fn a_directory_that_is_gone_is_an_error_until_it_is_back() {
    let settings = [("save", "3600 1"), ("cores", "2"), ("enable-protected-configs", "yes")];
    let (mut server, _folder) = Server::limited(&settings);
    let mut client = server.client();
    let data = server.directory().join("data");
    fs::create_dir(&data).expect("made");
    assert_eq!(client.run(&format!("CONFIG SET dir {}", data.display())), Reply::simple("OK"));
    client.run("SET key 1");
    fs::remove_dir(&data).expect("removed");
    client.run("BGSAVE");
    await_idle(&mut client);
    assert!(client.run("SET key 2").text().starts_with("MISCONF"));
    fs::create_dir(&data).expect("made again");
    // A directory is known by itself, not by its name.
    client.run(&format!("CONFIG SET dir {}", data.display()));
    assert_eq!(client.run("SAVE"), Reply::simple("OK"));
    assert_eq!(client.run("SET key 2"), Reply::simple("OK"));
    server.assert_alive();
}

/// Files that somebody began and nobody finished.
fn temporary_files(directory: &Path) -> Vec<String> {
    names(directory).into_iter().filter(|name| name.starts_with("temp-")).collect()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let names = entries.map(|entry| entry.expect("a file").file_name().into_string().expect("a name"));
    names.filter(|name| !name.ends_with(".lock")).collect()
}

/// A file system of its own, unmounted in the end.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder.path())
            .output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(folder))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the server that has it open may still be ending.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

#[test]
fn a_disk_that_is_full_stops_writes_until_there_is_room() {
    let Some(disk) = Disk::mount("2m") else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let directory = disk.0.path().to_str().expect("a path").to_owned();
    let settings = [("appendonly", "yes"), ("appendfsync", "always"), ("save", ""), ("cores", "2")];
    let with_directory = [&settings[..], &[("dir", &*directory)]].concat();
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, vec![1; 1 << 20]).expect("written");
    let (mut server, _folder) = Server::limited(&with_directory);
    let (acknowledged, sent) = count_until_refused(&mut server, &"d".repeat(3_000));
    let refused = server.client().run("SET after 1").text();
    assert!(refused.contains("No space left on device"), "{refused}");
    // Killed with a full disk, and started on it.
    server.kill();
    server.restart();
    assert_counted(&mut server, acknowledged, sent);
    fs::remove_file(&ballast).expect("room");
    await_reply(&mut server, "SET after 1", &Reply::simple("OK"));
    server.kill();
    server.restart();
    assert_counted(&mut server, acknowledged, sent);
    assert_eq!(server.client().run("GET after"), Reply::bulk("1"));
    server.kill();
}
