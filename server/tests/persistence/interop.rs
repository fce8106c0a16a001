//! Snapshots and logs go from Baton to redis-server and back. Equal digests, whatever the number of cores.

use crate::data::{Digest, await_files, change, digest, expect_ok, fill};
use crate::support::client::Reply;
use crate::support::process::Server;
use std::fs;
use std::path::Path;

type Settings<'a> = Vec<(&'a str, &'a str)>;

const REDIS: &[(&str, &str)] = &[("enable-debug-command", "yes"), ("save", "")];

fn baton<'a>(cores: &'a str, more: &[(&'a str, &'a str)]) -> Settings<'a> {
    [&[("enable-debug-command", "yes"), ("save", ""), ("cores", cores)], more].concat()
}

fn redis<'a>(more: &[(&'a str, &'a str)]) -> Settings<'a> {
    [REDIS, more].concat()
}

/// Restarts what the server has become; the data are those of the digest.
#[track_caller]
fn restarted(server: &mut Server, expected: &Digest, what: &str) {
    assert!(server.terminate().success(), "{}", server.describe());
    server.restart();
    digest(&mut server.client()).assert_is(expected, what);
}

#[test]
fn snapshots_go_there_and_back() {
    for (cores, then) in [("1", "4"), ("2", "1"), ("4", "2")] {
        let mut server = Server::baton(&baton(cores, &[]));
        fill(&mut server.client());
        let mut expected = digest(&mut server.client());
        expect_ok(&mut server.client(), &["SAVE"]);
        server.become_redis(REDIS);
        restarted(&mut server, &expected, "Redis reads ours");
        change(&mut server.client(), 1);
        expected = digest(&mut server.client());
        expect_ok(&mut server.client(), &["SAVE"]);
        server.become_baton(&baton(then, &[]));
        restarted(&mut server, &expected, "we read theirs");
        change(&mut server.client(), 2);
        expected = digest(&mut server.client());
        expect_ok(&mut server.client(), &["SAVE"]);
        server.become_baton(&baton(cores, &[]));
        restarted(&mut server, &expected, "we read ours");
    }
}

#[test]
fn logs_go_there_and_back() {
    for (cores, then, timestamps) in [("1", "2", "yes"), ("2", "4", "no"), ("4", "1", "yes")] {
        let log = [("appendonly", "yes"), ("aof-timestamp-enabled", timestamps)];
        let mut server = Server::baton(&baton(cores, &log));
        let mut client = server.client();
        fill(&mut client);
        expect_ok(&mut client, &["CONFIG", "SET", "rdbcompression", "no"]);
        client.run("BGREWRITEAOF");
        // While it is being rewritten.
        change(&mut client, 1);
        await_files(&mut client);
        change(&mut client, 2);
        let expected = digest(&mut client);
        server.become_baton(&baton(then, &log));
        restarted(&mut server, &expected, "we read ours");
        change(&mut server.client(), 3);
        let expected = digest(&mut server.client());

        server.become_redis(&redis(&log));
        restarted(&mut server, &expected, "Redis reads ours");
        // Behind our blocks, in our file.
        change(&mut server.client(), 4);
        let expected = digest(&mut server.client());
        server.become_baton(&baton(cores, &log));
        restarted(&mut server, &expected, "we read what Redis appended");
        change(&mut server.client(), 5);
        let expected = digest(&mut server.client());

        server.become_redis(&redis(&log));
        restarted(&mut server, &expected, "Redis reads ours behind its own");
        let mut client = server.client();
        client.run("BGREWRITEAOF");
        await_files(&mut client);
        change(&mut client, 6);
        let expected = digest(&mut client);
        server.become_baton(&baton(then, &log));
        restarted(&mut server, &expected, "we read theirs");
        change(&mut server.client(), 7);
        let expected = digest(&mut server.client());
        restarted(&mut server, &expected, "we read theirs and ours");
    }
}

#[test]
fn a_base_of_commands_is_read() {
    let log = [("appendonly", "yes"), ("aof-use-rdb-preamble", "no"), ("aof-timestamp-enabled", "yes")];
    let mut server = Server::redis(&redis(&log));
    let mut client = server.client();
    fill(&mut client);
    client.run("BGREWRITEAOF");
    await_files(&mut client);
    change(&mut client, 1);
    let expected = digest(&mut client);
    for cores in ["1", "4"] {
        server.become_baton(&baton(cores, &[("appendonly", "yes")]));
        restarted(&mut server, &expected, "the base of commands");
    }
    change(&mut server.client(), 2);
    let expected = digest(&mut server.client());
    server.become_redis(&redis(&log));
    restarted(&mut server, &expected, "Redis reads it with our increment");
}

/// All files of the log in one, where a server before Redis 7 had it.
fn make_single(directory: &Path) -> Vec<u8> {
    let folder = directory.join("appendonlydir");
    let mut names: Vec<_> = fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| entry.expect("a file").file_name().into_string().expect("a name"))
        .filter(|name| !name.ends_with(".manifest"))
        .collect();
    // The base comes before the increments.
    names.sort_by_key(|name| name.contains(".incr."));
    let single: Vec<u8> =
        names.iter().flat_map(|name| fs::read(folder.join(name)).expect("a file")).collect();
    fs::remove_dir_all(&folder).expect("removed");
    fs::write(directory.join("appendonly.aof"), &single).expect("written");
    single
}

#[test]
fn a_log_of_one_file_is_taken_over() {
    for preamble in ["yes", "no"] {
        let mut server = Server::redis(&redis(&[("appendonly", "yes"), ("aof-use-rdb-preamble", preamble)]));
        let mut client = server.client();
        fill(&mut client);
        client.run("BGREWRITEAOF");
        await_files(&mut client);
        change(&mut client, 1);
        let expected = digest(&mut client);
        assert!(server.terminate().success());
        let single = make_single(server.directory());
        server.become_baton(&baton("2", &[("appendonly", "yes")]));
        restarted(&mut server, &expected, "one file");
        let moved = server.directory().join("appendonlydir/appendonly.aof");
        assert!(fs::read(moved).expect("it was moved") == single, "the file has changed");
        change(&mut server.client(), 2);
        let expected = digest(&mut server.client());
        restarted(&mut server, &expected, "one file and an increment");
        server.become_redis(&redis(&[("appendonly", "yes")]));
        restarted(&mut server, &expected, "Redis reads it, too");
    }
}

#[test]
fn all_versions_of_the_format_are_read_back() {
    for (target, number) in [("10", "0010"), ("11", "0011"), ("12", "0012"), ("80", "080")] {
        let mut server = Server::baton(&baton("2", &[("rdb-target", target)]));
        let mut client = server.client();
        fill(&mut client);
        let expected = digest(&mut client);
        expect_ok(&mut client, &["SAVE"]);
        let file = fs::read(server.directory().join("dump.rdb")).expect("the snapshot");
        assert!(file[..9].ends_with(number.as_bytes()), "{}", file[..9].escape_ascii());
        server.become_baton(&baton("4", &[]));
        restarted(&mut server, &expected, target);
        if target == "11" {
            expect_ok(&mut server.client(), &["SAVE"]);
            server.become_redis(REDIS);
            restarted(&mut server, &expected, "saved again for Redis 7.0");
        }
    }
}

/// Fields that expire need version 12, which is taken when there are any.
#[test]
fn fields_that_expire_come_back() {
    let settings = [("appendonly", "yes")];
    let mut server = Server::baton(&baton("2", &settings));
    let mut client = server.client();
    for n in 0..200 {
        client.run(&format!("HSET h:{n} a 1 b 2 c 3"));
        client.run(&format!("HPEXPIREAT h:{n} {} FIELDS 2 a b", 4_102_444_800_000i64 + n));
        if n % 3 == 0 {
            client.run(&format!("PEXPIREAT h:{n} 7258118400000"));
        }
    }
    client.run("HSET soon a 1 b 2");
    client.run("HPEXPIRE soon 1 FIELDS 1 a");
    // In the digest until it is removed.
    std::thread::sleep(std::time::Duration::from_millis(400));
    let check = |server: &mut Server| {
        let mut client = server.client();
        for n in [0i64, 77, 199] {
            let times = client.run(&format!("HPEXPIRETIME h:{n} FIELDS 3 a b c"));
            let at = 4_102_444_800_000 + n;
            assert_eq!(times, Reply::Array([at, at, -1].map(Reply::Integer).to_vec()));
            assert_eq!(client.run(&format!("HMGET h:{n} a c")).elements().expect("values").len(), 2);
        }
        assert_eq!(client.run("PEXPIRETIME h:3"), Reply::Integer(7_258_118_400_000));
        assert_eq!(client.run("HGETALL soon"), Reply::Array(vec![Reply::bulk("b"), Reply::bulk("2")]));
        assert_eq!(client.run("DBSIZE"), Reply::Integer(201));
        digest(&mut client)
    };
    let expected = check(&mut server);
    // From the increment, from a base, from a snapshot.
    server.become_baton(&baton("4", &settings));
    restarted(&mut server, &expected, "the increment");
    check(&mut server);
    let mut client = server.client();
    client.run("BGREWRITEAOF");
    await_files(&mut client);
    restarted(&mut server, &expected, "the base");
    check(&mut server);
    expect_ok(&mut server.client(), &["SAVE"]);
    server.become_baton(&baton("1", &[]));
    restarted(&mut server, &expected, "the snapshot");
    check(&mut server);
}
