//! Nodes with a log that are killed or end go on in the history that their log says, as replicas and as primaries.

use crate::data;
use crate::pair::{COMMON, assert_equal, await_offset, follower, info, redis, until};
use crate::support::client::Client;
use crate::support::process::{Server, on_path};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Command;

const LOG: [(&str, &str); 3] =
    [("appendonly", "yes"), ("repl-diskless-sync-delay", "0"), ("repl-backlog-size", "100mb")];

fn primary() -> Server {
    Server::baton(&[&COMMON[..], &LOG].concat())
}

/// How it comes to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Killed,
    InGoodOrder,
}

fn end(server: &mut Server, how: End) {
    match how {
        End::Killed => server.kill(),
        End::InGoodOrder => assert!(server.terminate().success()),
    }
}

/// Full and partial synchronisations that a primary has counted.
fn synchronisations(client: &mut Client) -> (String, String) {
    (info(client, "sync_full"), info(client, "sync_partial_ok"))
}

fn counted(full: usize, partial: usize) -> (String, String) {
    (full.to_string(), partial.to_string())
}

/// A client that writes to another database than the first: the stream does not say so again.
fn elsewhere(server: &mut Server) -> Client {
    let mut client = server.client();
    data::expect_ok(&mut client, &["SELECT", "3"]);
    client
}

#[test]
fn a_replica_goes_on_from_its_log() {
    // Commands cannot make all that there may be: entries that are pending and deleted.
    for (preamble, is_exact) in [("yes", true), ("no", false)] {
        let mut primary = redis(&[("repl-backlog-size", "100mb"), ("repl-ping-replica-period", "1000")]);
        let (mut there, mut beside) = (primary.client(), elsewhere(&mut primary));
        data::fill(&mut there);
        let mut replica = follower(primary.port(), &[LOG[0], ("aof-use-rdb-preamble", preamble)]);
        let mut here = replica.client();
        await_offset(&mut there, &mut here);
        // Until then what is on disk is of no history.
        data::await_files(&mut here);
        for (turn, how) in [End::Killed, End::InGoodOrder, End::Killed].into_iter().enumerate() {
            data::change(&mut there, turn);
            beside.run(&format!("SET before {turn}"));
            await_offset(&mut there, &mut here);
            if turn > 0 {
                assert!(!here.run("BGREWRITEAOF").is_error());
                data::await_files(&mut here);
            }
            end(&mut replica, how);
            beside.run(&format!("SET after {turn}"));
            replica.restart();
            here = replica.client();
            assert_equal(&mut there, &mut here, &format!("{how:?}, preamble {preamble}"));
            let (full, partial) = if is_exact { (1, turn + 1) } else { (turn + 2, 0) };
            assert_eq!(synchronisations(&mut there), counted(full, partial), "{}", replica.log_tail());
            data::await_files(&mut here);
        }
    }
}

#[test]
fn a_primary_goes_on_from_its_log() {
    let mut primary = primary();
    let mut there = primary.client();
    data::fill(&mut there);
    let own = format!("127.0.0.1 {}", primary.port());
    let mut real = Server::redis(&[&COMMON[..], &[("replicaof", own.as_str())]].concat());
    let mut replica = follower(primary.port(), &[]);
    let (mut one, mut two) = (real.client(), replica.client());
    for (turn, how) in [End::Killed, End::InGoodOrder, End::Killed].into_iter().enumerate() {
        data::change(&mut there, 2 * turn);
        assert_equal(&mut there, &mut one, "redis-server before");
        assert_equal(&mut there, &mut two, "Baton before");
        let id = info(&mut there, "master_replid");
        end(&mut primary, how);
        primary.restart();
        there = primary.client();
        assert_eq!(info(&mut there, "master_replid2"), id);
        assert_ne!(info(&mut there, "master_replid"), id);
        data::change(&mut there, 2 * turn + 1);
        for replica in [&mut one, &mut two] {
            assert_eq!(replica.run(&format!("REPLICAOF 127.0.0.1 {}", primary.port())).text(), "OK");
            assert_equal(&mut there, replica, &format!("{how:?}"));
        }
        assert_eq!(synchronisations(&mut there), counted(0, 2), "{}", primary.log_tail());
    }
}

/// The history of a node that took over is its own: those who followed it go on with it after it was killed.
#[test]
fn who_took_over_goes_on_from_its_log() {
    let mut first = redis(&[]);
    data::fill(&mut first.client());
    let mut next = follower(first.port(), &LOG);
    let mut other = follower(first.port(), &[]);
    let (mut here, mut beside) = (next.client(), other.client());
    await_offset(&mut first.client(), &mut here);
    await_offset(&mut first.client(), &mut beside);
    data::await_files(&mut here);
    assert_eq!(here.run("REPLICAOF NO ONE").text(), "OK");
    first.kill();
    assert_eq!(beside.run(&format!("REPLICAOF 127.0.0.1 {}", next.port())).text(), "OK");
    data::change(&mut here, 1);
    assert_equal(&mut here, &mut beside, "of the new primary");
    let id = info(&mut here, "master_replid");
    next.kill();
    // It is to be a primary again.
    next.unset("replicaof");
    next.restart();
    here = next.client();
    assert_eq!(info(&mut here, "master_replid2"), id);
    assert_eq!(beside.run(&format!("REPLICAOF 127.0.0.1 {}", next.port())).text(), "OK");
    data::change(&mut here, 2);
    assert_equal(&mut here, &mut beside, "after the kill");
    assert_eq!(synchronisations(&mut here), counted(0, 1));
}

/// A replica that has more than the log of its primary must not go on.
#[test]
fn what_the_log_lost_is_not_claimed() {
    let mut primary = primary();
    let mut there = primary.client();
    data::fill(&mut there);
    let mut replica = follower(primary.port(), &[]);
    let mut here = replica.client();
    data::change(&mut there, 1);
    assert_equal(&mut there, &mut here, "before");
    primary.kill();
    let file = last_increment(primary.directory());
    let log = OpenOptions::new().write(true).open(&file).expect("the log");
    let bytes = log.metadata().expect("its length").len();
    log.set_len(bytes - 40).expect("cut");
    primary.restart();
    there = primary.client();
    assert_eq!(here.run(&format!("REPLICAOF 127.0.0.1 {}", primary.port())).text(), "OK");
    data::change(&mut there, 2);
    assert_equal(&mut there, &mut here, "after");
    assert_eq!(synchronisations(&mut there), counted(1, 0), "{}", primary.log_tail());
}

fn log_files(directory: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(directory.join("appendonlydir")).expect("the log");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    files
}

fn last_increment(directory: &Path) -> PathBuf {
    let is_increment = |file: &PathBuf| file.to_string_lossy().ends_with(".incr.aof");
    log_files(directory).into_iter().rfind(is_increment).expect("an increment")
}

/// What a replica writes redis-server loads, and goes on with; what that appended nobody has counted.
#[test]
fn the_log_of_a_replica_is_one_of_redis() {
    let mut primary = redis(&[("repl-backlog-size", "100mb")]);
    let mut there = primary.client();
    data::fill(&mut there);
    let of = format!("127.0.0.1 {}", primary.port());
    let own = [&COMMON[..], &LOG].concat();
    let following = [&own[..], &[("replicaof", of.as_str())]].concat();
    let mut replica = Server::baton(&following);
    let mut here = replica.client();
    await_offset(&mut there, &mut here);
    for turn in 0..3 {
        data::change(&mut there, turn);
        await_offset(&mut there, &mut here);
        if turn == 1 {
            data::await_files(&mut here);
            assert!(!here.run("BGREWRITEAOF").is_error());
            data::await_files(&mut here);
        }
    }
    assert_equal(&mut there, &mut here, "the replica");
    let expected = data::digest(&mut here);
    assert!(replica.terminate().success());
    let manifest = replica.directory().join("appendonlydir/appendonly.aof.manifest");
    let check = Command::new(on_path("redis-check-aof")).arg(&manifest).output().expect("it runs");
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.success() && text.contains("All AOF files and manifest are valid"), "{text}");
    replica.become_redis(&own);
    replica.restart();
    here = replica.client();
    data::digest(&mut here).assert_is(&expected, "redis-server with the log of the replica");
    here.run("SET own 1");
    assert!(replica.terminate().success());
    replica.become_baton(&following);
    replica.restart();
    here = replica.client();
    until("it follows again", || info(&mut here, "master_link_status") == "up");
    assert_equal(&mut there, &mut here, "Baton again");
    assert_eq!(synchronisations(&mut there), counted(2, 0), "{}", replica.log_tail());
}
