//! The files of the append-only log, between Baton and real programs.
//!
//! | what                                                     | proved by                                        |
//! |----------------------------------------------------------|--------------------------------------------------|
//! | what redis-server wrote is read, in all its forms          | replayed into another redis-server: equal digests |
//! | what Baton writes is read by redis-server, which goes on    | its data, and its own commands behind ours        |
//! | redis-check-aof finds our files in order                    | its exit status                                   |
//! | a file that is cut anywhere is whole up to the same place   | redis-check-aof names it, too                     |
//! | `baton check` finds what real servers wrote in order        | its report and exit code                          |
//! | what `baton check` saves is loaded by redis-server          | its data                                          |

#[path = "../support/mod.rs"]
mod support;

use baton_engine::aof::block::Annotator;
use baton_engine::aof::manifest::{BaseFormat, Manifest, manifest_name};
use baton_engine::aof::read::{Reader, Verdict, starts_with_snapshot};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use support::client::{Client, Reply, encode};
use support::process::{Server, on_path};

const NAME: &[u8] = b"appendonly.aof";

/// All types, expiries, databases, transactions and scripts.
const BEFORE_REWRITE: &[&str] = &[
    "SET string value",
    "SET number 42",
    "SET gone 1 PX 1",
    "SETEX later 1000 x",
    "APPEND string -more",
    "RPUSH list a b c d",
    "LPOP list",
    "SADD set a b c",
    "SADD ints 1 2 3",
    "SPOP set",
    "HSET hash f 1 g 2",
    "HINCRBYFLOAT hash f 1.5",
    "ZADD zset 1 a 2.5 b",
    "XADD stream 1-1 f v",
    "XGROUP CREATE stream group 0",
    "XREADGROUP GROUP group me COUNT 1 STREAMS stream >",
    "PFADD hll a b c",
    "GEOADD geo 13.361389 38.115556 Palermo",
    "SETBIT bits 7 1",
    "SELECT 5",
    "SET other db",
    "MULTI",
    "INCR counter",
    "SELECT 0",
    "RPUSH list tail",
    "EXPIRE list 5000",
    "EXEC",
    "EVAL redis.call('SET',KEYS[1],'1');redis.call('INCR',KEYS[1]) 1 scripted",
];

const AFTER_REWRITE: &[&str] = &[
    "SET string again",
    "DEL number",
    "MOVE scripted 7",
    "XACK stream group 1-1",
    "MULTI",
    "LPUSH list head",
    "HDEL hash g",
    "EXEC",
    "FLUSHDB",
    "SET last 1",
    "SWAPDB 0 3",
    "RENAME last final",
];

fn run_all(client: &mut Client, commands: &[&str]) {
    for command in commands {
        let reply = client.run(command);
        // RENAME after SWAPDB fails on purpose: what failed is not in the log.
        assert!(!reply.is_error() || command.starts_with("RENAME"), "{command}: {reply:?}");
    }
}

fn log_folder(server: &Server) -> PathBuf {
    server.directory().join("appendonlydir")
}

fn path(folder: &Path, name: &[u8]) -> PathBuf {
    folder.join(std::str::from_utf8(name).expect("a plain name"))
}

fn manifest(folder: &Path) -> Manifest {
    let text = fs::read(path(folder, &manifest_name(NAME))).expect("the manifest");
    let manifest = Manifest::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(manifest.text().escape_ascii().to_string(), text.escape_ascii().to_string());
    manifest
}

/// Sends all commands of a log to a server. Returns the number of transactions among them.
#[track_caller]
fn replay(file: &[u8], client: &mut Client) -> usize {
    let (mut reader, mut db, mut transactions) = (Reader::new(file, 0), None, 0);
    while let Some(unit) = reader.read() {
        transactions += usize::from(unit.transaction);
        for command in unit.commands() {
            if db != Some(command.db) {
                db = Some(command.db);
                client.call(&["SELECT", &command.db.to_string()]);
            }
            let reply = client.call(command.args);
            assert!(!reply.is_error(), "{:?}: {reply:?}", command.args);
        }
    }
    assert_eq!(reader.verdict(), Some(&Verdict::Whole));
    assert_eq!(reader.position().offset, file.len());
    transactions
}

fn digest(client: &mut Client) -> String {
    client.run("DEBUG DIGEST").text()
}

fn await_rewrite(client: &mut Client) {
    for _ in 0..500 {
        let info = client.run("INFO persistence").text();
        if info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0") {
            assert!(info.contains("aof_last_bgrewrite_status:ok"), "{info}");
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the rewrite does not end");
}

#[test]
fn what_redis_wrote_is_read() {
    for timestamps in ["yes", "no"] {
        let settings = [
            ("save", ""),
            ("appendonly", "yes"),
            ("aof-timestamp-enabled", timestamps),
            ("aof-use-rdb-preamble", "no"),
            ("enable-debug-command", "yes"),
        ];
        let mut server = Server::redis(&settings);
        let mut client = server.client();
        run_all(&mut client, BEFORE_REWRITE);
        client.run("BGREWRITEAOF");
        await_rewrite(&mut client);
        run_all(&mut client, AFTER_REWRITE);
        // What expires is in the log only once somebody noticed.
        client.run("GET gone");
        let expected = digest(&mut client);
        server.terminate();

        let mut other = Server::redis(&[("save", ""), ("enable-debug-command", "yes")]);
        let mut other_client = other.client();
        let folder = log_folder(&server);
        let manifest = manifest(&folder);
        assert_eq!((manifest.base.is_some(), manifest.incrs.len()), (true, 1));
        let mut transactions = 0;
        for file in manifest.live() {
            let bytes = fs::read(path(&folder, &file.name)).expect("a file of the log");
            transactions += replay(&bytes, &mut other_client);
        }
        assert_eq!(transactions, 1);
        assert_eq!(digest(&mut other_client), expected, "timestamps {timestamps}");
    }
}

#[test]
fn a_base_that_is_a_snapshot_is_reported() {
    let mut server = Server::redis(&[("save", ""), ("appendonly", "yes")]);
    run_all(&mut server.client(), &["SET a 1", "BGREWRITEAOF"]);
    await_rewrite(&mut server.client());
    server.terminate();
    let folder = log_folder(&server);
    let manifest = manifest(&folder);
    let base = manifest.base.as_ref().expect("a base");
    assert!(base.name.ends_with(b".rdb"));
    assert!(starts_with_snapshot(&fs::read(path(&folder, &base.name)).expect("the base")));
    let incr = fs::read(path(&folder, &manifest.incrs.last().expect("an increment").name)).expect("a file");
    assert!(!starts_with_snapshot(&incr));
}

fn commands(lines: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines {
        encode(&line.split(' ').collect::<Vec<_>>(), &mut out);
    }
    out
}

/// Blocks with headers and timestamps, from a replication offset on.
fn annotated(blocks: &[Vec<u8>], annotator: &mut Annotator, mut off: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for (second, block) in (1_763_652_600..).zip(blocks) {
        out.extend_from_slice(&annotator.annotate(block, off, None, Some(second)));
        out.extend(block);
        off += block.len() as u64;
    }
    out
}

fn our_blocks() -> Vec<Vec<u8>> {
    vec![
        commands(&["SELECT 0", "SET a 1", "RPUSH list x y"]),
        commands(&["MULTI", "INCR a", "SADD s m", "EXEC", "SELECT 3", "SET c 3"]),
        commands(&["DEL nothing", "SET d 4"]),
    ]
}

/// Puts our files where a redis-server that has ended will look for its own. Returns the folder and the file to append to.
fn put_our_log(server: &Server) -> (PathBuf, PathBuf) {
    let folder = log_folder(server);
    fs::remove_dir_all(&folder).expect("its own log");
    fs::create_dir(&folder).expect("a folder");
    let manifest = Manifest::default().with_new_base(NAME, BaseFormat::Aof, 0).with_new_incr(NAME, Some(77));
    let [base, incr] = [manifest.base.as_ref(), manifest.incrs.last()]
        .map(|file| path(&folder, &file.expect("a file").name));
    let base_block = [commands(&["SELECT 0", "SET base 1"])];
    fs::write(base, annotated(&base_block, &mut Annotator::new(), 0)).expect("the base");
    fs::write(&incr, annotated(&our_blocks(), &mut Annotator::new(), 0)).expect("the increment");
    fs::write(path(&folder, &manifest_name(NAME)), manifest.text()).expect("the manifest");
    (folder, incr)
}

fn check_aof(file: &Path) -> Output {
    Command::new(on_path("redis-check-aof")).arg(file).output().expect("redis-check-aof runs")
}

#[test]
fn redis_reads_what_we_write_and_goes_on_in_it() {
    let mut server = Server::redis(&[("save", ""), ("appendonly", "yes"), ("aof-timestamp-enabled", "yes")]);
    server.terminate();
    let (folder, incr) = put_our_log(&server);
    let checked = check_aof(&path(&folder, &manifest_name(NAME)));
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));

    server.restart();
    let mut client = server.client();
    for (command, expected) in [
        ("GET a", Reply::bulk("2")),
        ("GET base", Reply::bulk("1")),
        ("LLEN list", Reply::Integer(2)),
        ("DBSIZE", Reply::Integer(4)),
    ] {
        assert_eq!(client.run(command), expected, "{command}");
    }
    run_all(&mut client, &["MULTI", "SELECT 9", "SET tx 1", "EXEC", "SET plain 1"]);
    server.terminate();

    // We go on where Redis stopped, and it goes on once more.
    let mut file = fs::read(&incr).expect("the increment");
    let mut reader = Reader::new(&file, 0);
    let mut units = 0;
    while reader.read().is_some() {
        units += 1;
    }
    assert_eq!((reader.verdict(), units), (Some(&Verdict::Whole), 8));
    let end = reader.position();
    let off = end.replication_offset.expect("a replication offset");
    let more = annotated(&[commands(&["SELECT 0", "SET a 3"])], &mut end.annotator(), off);
    file.extend(more);
    fs::write(&incr, &file).expect("the increment");
    server.restart();
    assert_eq!(server.client().run("GET a"), Reply::bulk("3"));
    server.terminate();
    let file = fs::read(&incr).expect("the increment");
    let mut reader = Reader::new(&file, 0);
    while reader.read().is_some() {}
    assert_eq!(reader.verdict(), Some(&Verdict::Whole));
}

/// `ok_up_to=` of redis-check-aof.
fn redis_keeps(file: &[u8], folder: &Path) -> usize {
    let path = folder.join("cut.aof");
    fs::write(&path, file).expect("a file");
    let output = String::from_utf8_lossy(&check_aof(&path).stdout).into_owned();
    let number = output.split("ok_up_to=").nth(1).and_then(|rest| rest.split(',').next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{output}"))
}

#[test]
fn a_cut_file_is_whole_up_to_where_redis_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let plain = our_blocks().concat();
    let log = annotated(&our_blocks(), &mut Annotator::new(), 0);
    for (file, headers) in [(plain, false), (log, true)] {
        for len in (1..file.len()).step_by(7) {
            let cut = &file[..len];
            let mut reader = Reader::new(cut, 0);
            while reader.read().is_some() {}
            let keep = reader.position().offset;
            let redis = redis_keeps(cut, folder.path());
            // A block is kept as a whole or not at all; Redis knows of commands only.
            assert!(if headers { keep <= redis } else { keep == redis }, "{len}: {keep}, Redis {redis}");
            assert!(keep == 0 || redis_keeps(&cut[..keep], folder.path()) == keep);
        }
    }
}

/// Runs `baton check`; whether its exit code was 0, and its report.
fn baton_check(args: &[&str]) -> (bool, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_baton")).arg("check").args(args).output().expect("baton runs");
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn what_redis_wrote_is_in_order() {
    for preamble in ["yes", "no"] {
        let mut server =
            Server::redis(&[("save", ""), ("appendonly", "yes"), ("aof-use-rdb-preamble", preamble)]);
        let mut client = server.client();
        run_all(&mut client, BEFORE_REWRITE);
        client.run("BGREWRITEAOF");
        await_rewrite(&mut client);
        run_all(&mut client, AFTER_REWRITE);
        assert_eq!(client.run("SAVE"), Reply::simple("OK"));
        server.terminate();
        let folder = server.directory().to_str().expect("a plain path");
        let (well, report) = baton_check(&["aof", folder]);
        assert!(well && report.contains("appendonly.aof.2.incr.aof: in order"), "{report}");
        let (well, report) = baton_check(&["rdb", &format!("{folder}/dump.rdb")]);
        assert!(well && report.contains("dump.rdb: in order"), "{report}");
    }
}

#[test]
fn redis_loads_what_was_saved() {
    let mut server = Server::redis(&[("save", ""), ("appendonly", "yes")]);
    server.terminate();
    let (folder, incr) = put_our_log(&server);
    let mut file = fs::read(&incr).expect("the increment");
    let last = file.len() - 3;
    file[last] ^= 1;
    fs::write(&incr, &file).expect("the increment");
    let folder = folder.to_str().expect("a plain path").to_owned();
    let (well, report) = baton_check(&["aof", &folder]);
    assert!(!well && report.contains("a block that fits its CRC32"), "{report}");
    let (well, report) = baton_check(&["aof", &folder, "--fix"]);
    assert!(well, "{report}");
    fs::rename(
        format!("{folder}/appendonly.aof.manifest.fixed"),
        format!("{folder}/appendonly.aof.manifest"),
    )
    .expect("renamed");

    server.restart();
    let mut client = server.client();
    assert_eq!(client.run("GET a"), Reply::bulk("2"));
    client.run("SELECT 3");
    assert_eq!(client.run("KEYS *").elements(), Some(&[Reply::bulk("c")][..]));
    assert_eq!(client.run("SET goes on"), Reply::simple("OK"));
    server.terminate();
    assert_eq!(fs::read(&incr).expect("the increment"), file, "the original stays");
    let (well, report) = baton_check(&["aof", &folder]);
    assert!(well && report.contains(".fixed: in order"), "{report}");
}
