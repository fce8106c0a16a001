//! Snapshots and rewrites that are called off, scheduled, or in each other's way; files that no node may start from.

use super::settle;
use crate::support::client::Client;
use crate::support::process::Server;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const COMMON: &[(&str, &str)] =
    &[("save", ""), ("cores", "2"), ("auto-aof-rewrite-percentage", "0"), ("enable-debug-command", "yes")];

fn baton(settings: &[(&str, &str)]) -> Server {
    Server::baton(&[COMMON, settings].concat())
}

#[track_caller]
fn check(client: &mut Client, commands: &str, expected: &str) {
    for (command, expected) in commands.split("; ").zip(expected.split("; ")) {
        let reply = client.run(command);
        assert_eq!(reply.integer().map_or_else(|| reply.text(), |n| n.to_string()), expected, "{command}");
    }
}

#[track_caller]
fn wait_for(client: &mut Client, line: &str) {
    let start = Instant::now();
    loop {
        let info = client.run("INFO persistence").text();
        if info.lines().any(|found| found == line) {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{line} in {info}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Keys, and so slow a snapshot that it does not end by itself.
fn slow(client: &mut Client) {
    for n in 0..100 {
        client.run(&format!("SET key:{n} value"));
    }
    check(client, "CONFIG SET rdb-key-save-delay 1000000", "OK");
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_snapshot_is_called_off() {
    let mut server = baton(&[]);
    let mut client = server.client();
    let nothing = "ERR Background saving is currently not in progress or scheduled";
    check(&mut client, "BGSAVE CANCEL", nothing);
    slow(&mut client);
    check(&mut client, "BGSAVE", "Background saving started");
    wait_for(&mut client, "rdb_bgsave_in_progress:1");
    check(
        &mut client,
        "BGSAVE; BGSAVE CANCEL",
        "ERR Background save already in progress; Background saving cancelled",
    );
    wait_for(&mut client, "rdb_bgsave_in_progress:0");
    check(&mut client, "BGSAVE CANCEL", nothing);
    wait_for(&mut client, "rdb_last_bgsave_status:ok");
    assert_eq!(names(server.directory()), ["server.log"]);
}

#[test]
fn a_snapshot_waits_for_a_rewrite_and_for_a_transaction() {
    let mut server = baton(&[("appendonly", "yes")]);
    let mut client = server.client();
    slow(&mut client);
    check(&mut client, "BGREWRITEAOF", "Background append only file rewriting started");
    let busy = client.run("BGSAVE").text();
    assert!(
        busy.starts_with("ERR Another child process is active (AOF?): can't BGSAVE right now."),
        "{busy}"
    );
    let cancelled = "Background saving scheduled; Scheduled background saving cancelled";
    check(&mut client, "BGSAVE SCHEDULE; BGSAVE CANCEL", cancelled);
    check(&mut client, "CONFIG SET rdb-key-save-delay 0; CONFIG SET appendonly no", "OK; OK");
    wait_for(&mut client, "aof_rewrite_in_progress:0");
    check(&mut client, "MULTI; SET a 1; BGSAVE; SET a 2", "OK; QUEUED; QUEUED; QUEUED");
    let replies = client.run("EXEC");
    assert_eq!(replies.elements().expect("replies")[1].text(), "Background saving scheduled");
    wait_for(&mut client, "rdb_saves:1");
    // A rewrite too.
    check(&mut client, "MULTI; SET a 1; BGREWRITEAOF; SET a 2", "OK; QUEUED; QUEUED; QUEUED");
    let scheduled = "Background append only file rewriting scheduled";
    assert_eq!(client.run("EXEC").elements().expect("replies")[1].text(), scheduled);
    wait_for(&mut client, "aof_rewrite_scheduled:0");
    wait_for(&mut client, "aof_rewrite_in_progress:0");
    assert_eq!(manifest(&server), ["2.base.rdb seq 2 type b"]);
}

#[test]
fn flushall_takes_a_snapshot_with_it() {
    let mut server = baton(&[("save", "3600 100000")]);
    let mut client = server.client();
    slow(&mut client);
    check(&mut client, "BGSAVE; FLUSHALL", "Background saving started; OK");
    wait_for(&mut client, "rdb_saves:1");
    server.wait_for_log("called off: FLUSHALL");
    server.kill();
    server.restart();
    check(&mut server.client(), "DBSIZE", "0");
}

/// The files that the manifest names, each with its type.
fn manifest(server: &Server) -> Vec<String> {
    let text = fs::read_to_string(server.directory().join("appendonlydir/appendonly.aof.manifest")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.trim_start_matches("file appendonly.aof.").to_owned()).collect()
}

#[test]
fn what_the_manifest_names() {
    let mut server = baton(&[]);
    let mut client = server.client();
    slow(&mut client);
    // On during a snapshot: as soon as that is over.
    check(&mut client, "BGSAVE; CONFIG SET appendonly yes", "Background saving started; OK");
    wait_for(&mut client, "aof_rewrite_scheduled:1");
    wait_for(&mut client, "aof_pending_rewrite:1");
    check(&mut client, "CONFIG SET rdb-key-save-delay 0; BGSAVE CANCEL", "OK; Background saving cancelled");
    settle(&mut client);
    assert_eq!(manifest(&server), ["1.base.rdb seq 1 type b", "1.incr.aof seq 1 type i"]);
    // Off: a rewrite is a base alone, and numbers go on.
    check(&mut client, "CONFIG SET appendonly no", "OK");
    wait_for(&mut client, "aof_enabled:0");
    client.run("BGREWRITEAOF");
    settle(&mut client);
    assert_eq!(manifest(&server), ["2.base.rdb seq 2 type b"]);
    check(&mut client, "SET lost 1; DEBUG LOADAOF; EXISTS lost; DBSIZE", "OK; OK; 0; 100");
    check(&mut client, "CONFIG SET appendonly yes", "OK");
    settle(&mut client);
    assert_eq!(manifest(&server), ["3.base.rdb seq 3 type b", "1.incr.aof seq 1 type i"]);
    // History stays as long as it is wanted.
    check(&mut client, "CONFIG SET aof-disable-auto-gc yes", "OK");
    client.run("BGREWRITEAOF");
    settle(&mut client);
    let kept = [
        "4.base.rdb seq 4 type b",
        "1.incr.aof seq 1 type h",
        "3.base.rdb seq 3 type h",
        "2.incr.aof seq 2 type i",
    ];
    assert_eq!(manifest(&server), kept);
    check(&mut client, "CONFIG SET aof-disable-auto-gc no", "OK");
    assert_eq!(manifest(&server), ["4.base.rdb seq 4 type b", "2.incr.aof seq 2 type i"]);
    let files = ["appendonly.aof.2.incr.aof", "appendonly.aof.4.base.rdb", "appendonly.aof.manifest"];
    let mut found = names(&server.directory().join("appendonlydir"));
    found.retain(|name| !name.ends_with(".lock"));
    assert_eq!(found, files);
}

#[test]
fn what_is_loaded_anew_is_where_it_was() {
    let mut server = baton(&[("appendonly", "yes")]);
    let mut client = server.client();
    check(&mut client, "SET a 0; SELECT 9; SET b 9; SWAPDB 0 9; SET c 9", "OK; OK; OK; OK; OK");
    let digest = client.run("DEBUG DIGEST").text();
    for reload in ["DEBUG RELOAD", "DEBUG LOADAOF"] {
        check(&mut client, reload, "OK");
        check(&mut client, "GET a; GET c; EXISTS b; DBSIZE; DEBUG DIGEST", &format!("0; 9; 0; 2; {digest}"));
    }
    check(&mut client, "SELECT 0; GET b; DBSIZE", "OK; 9; 1");
}

#[test]
fn a_reload_right_after_a_snapshot_loads_its_own() {
    let mut server = baton(&[]);
    let mut client = server.client();
    for n in 0..30 {
        let commands =
            ["SAVE".to_owned(), format!("SET key:{n} v"), "DEBUG RELOAD".to_owned(), "DBSIZE".to_owned()];
        let words: Vec<Vec<&str>> = commands.iter().map(|command| command.split(' ').collect()).collect();
        assert_eq!(client.pipeline(&words)[3].integer(), Some(n + 1));
    }
}

#[test]
fn a_snapshot_is_added_to_the_data() {
    let mut server = baton(&[]);
    let mut client = server.client();
    let library = |client: &mut Client, name: &str, reply: &str| {
        let source =
            format!("#!lua name={name}\nredis.register_function('{name}', function() return '{reply}' end)");
        let loaded = client.call(&["FUNCTION", "LOAD", "REPLACE", &source]);
        assert_eq!(loaded.text(), name);
    };
    library(&mut client, "one", "of the file");
    check(&mut client, "SET a old; SET b old PX 100000; RPUSH l 1 2; SAVE", "OK; OK; 2; OK");
    library(&mut client, "one", "later");
    library(&mut client, "two", "later");
    check(&mut client, "SET a new; DEL b; SET l string; SET c new", "OK; 1; OK; OK");
    check(&mut client, "DEBUG RELOAD NOSAVE NOFLUSH MERGE", "OK");
    check(&mut client, "GET a; GET b; LRANGE l 0 0; GET c; DBSIZE", "old; old; [\"1\"]; new; 4");
    check(&mut client, "FCALL one 0; FCALL two 0", "of the file; later");
    // It counts what expires, and forgets what gave way.
    assert!(client.run("INFO keyspace").text().contains("db0:keys=4,expires=1,"));
    let failed = "ERR Error trying to load the RDB dump, check server logs.";
    check(&mut client, "DEBUG RELOAD NOSAVE NOFLUSH; GET c", &format!("{failed}; new"));
    // Libraries that are there are in the way as well.
    check(&mut client, "DEL a b l; DEBUG RELOAD NOFLUSH NOSAVE", &format!("3; {failed}"));
    check(&mut client, "DEL a b l; FUNCTION FLUSH; DEBUG RELOAD NOFLUSH NOSAVE", "3; OK; OK");
    check(&mut client, "GET a; GET c; DBSIZE; DEBUG RELOAD MERGE NOSAVE; DBSIZE", "old; new; 4; OK; 3");
    let options = "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.";
    check(&mut client, "DEBUG RELOAD NOSAVE ALL", options);
}

#[test]
fn what_had_expired_in_a_snapshot_is_counted() {
    let mut server = baton(&[]);
    let mut client = server.client();
    check(
        &mut client,
        "SET a 1; SET b 1 PX 1; SET c 1 PX 100000; DEBUG SET-ACTIVE-EXPIRE 0",
        "OK; OK; OK; OK",
    );
    check(&mut client, "SAVE", "OK");
    server.kill();
    std::thread::sleep(Duration::from_millis(2));
    server.restart();
    let mut client = server.client();
    wait_for(&mut client, "slots_still_in_file:0");
    wait_for(&mut client, "rdb_last_load_keys_expired:1");
    wait_for(&mut client, "rdb_last_load_keys_loaded:2");
    // Until it has gone.
    assert!(client.run("GET b").is_null());
    check(&mut client, "CONFIG RESETSTAT; SAVE; DEBUG RELOAD", "OK; OK; OK");
    wait_for(&mut client, "slots_still_in_file:0");
    wait_for(&mut client, "rdb_last_load_keys_loaded:2");
    wait_for(&mut client, "rdb_last_load_keys_expired:0");
}

#[test]
fn replies_wait_for_a_slow_write() {
    for policy in ["always", "everysec", "no"] {
        let mut server = baton(&[("appendonly", "yes"), ("appendfsync", policy)]);
        let mut client = server.client();
        check(&mut client, "DEBUG AOF-FLUSH-SLEEP 100000", "OK");
        let start = Instant::now();
        check(&mut client, "SET k v", "OK");
        assert!(start.elapsed() >= Duration::from_millis(100), "{policy}");
        // It is in the file, whatever becomes of the process.
        server.kill();
        server.restart();
        check(&mut server.client(), "GET k", "v");
    }
}

#[test]
fn nothing_half_done_stays_behind() {
    let mut server = baton(&[("appendonly", "yes")]);
    let mut client = server.client();
    slow(&mut client);
    check(&mut client, "BGREWRITEAOF", "Background append only file rewriting started");
    wait_for(&mut client, "aof_rewrite_in_progress:1");
    assert!(server.terminate().success());
    let found = names(&server.directory().join("appendonlydir"));
    assert!(!found.iter().any(|name| name.starts_with("temp-")), "{found:?}");
    server.restart();
    check(&mut server.client(), "DBSIZE", "100");
}

#[test]
fn logs_of_two_names_share_a_directory() {
    let mut one = baton(&[("appendonly", "yes")]);
    let directory = one.directory().display().to_string();
    let other = [("appendonly", "yes"), ("dir", &directory), ("appendfilename", "other.aof")];
    let mut two = baton(&other);
    check(&mut one.client(), "SET a 1; DBSIZE", "OK; 1");
    check(&mut two.client(), "SET a 2; SET b 2; DBSIZE", "OK; OK; 2");
    one.terminate();
    one.restart();
    check(&mut one.client(), "GET a; DBSIZE", "1; 1");
}

/// A node that saved with these settings does not start once its file has been changed; its log says why.
#[track_caller]
fn check_refused(settings: &[(&str, &str)], change: impl FnOnce(&mut Vec<u8>), why: &str) {
    let mut server = baton(settings);
    check(&mut server.client(), "SET k v; SAVE", "OK; OK");
    server.kill();
    let path = server.directory().join("dump.rdb");
    let mut file = fs::read(&path).expect("a snapshot");
    change(&mut file);
    fs::write(&path, &file).expect("written");
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.restart()));
    assert!(refused.is_err(), "it started");
    assert!(server.log().contains(why), "{}", server.log());
    assert_eq!(fs::read(&path).expect("still there"), file);
}

#[test]
fn damaged_ends_of_snapshots_are_refused() {
    let crc = |file: &mut Vec<u8>| {
        let at = file.len() - 8;
        file[at..].copy_from_slice(b"foobar00");
    };
    check_refused(&[], crc, "RDB CRC error");
    check_refused(&[("rdbchecksum", "no")], crc, "RDB CRC error");
    // One digit of where the index is, or a letter of its name.
    for back in [15, 30] {
        let tail = move |file: &mut Vec<u8>| {
            let at = file.len() - back;
            file[at] ^= 8;
        };
        check_refused(&[], tail, "corrupt at byte");
        check_refused(&[("rdbchecksum", "no")], tail, "corrupt at byte");
    }
    check_refused(&[], |file| file.truncate(file.len() - 12), "incomplete");
}
