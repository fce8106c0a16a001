//! Stores with a directory: what is there after they end, in good order or not.

use baton::store::Policy;
use baton::{Error, Store};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Puts a value of every type into a store.
fn fill(store: &Store) {
    store.set("text", "value").unwrap();
    store.set_ex("short", "v", Duration::from_secs(1_000)).unwrap();
    store.incr_by("n", 41).unwrap();
    store.incr("n").unwrap();
    store.rpush("list", ["a", "b"]).unwrap();
    store.sadd("set", ["a", "b"]).unwrap();
    store.hset("hash", "field", "value").unwrap();
    store.zadd("zset", "m", 1.5).unwrap();
    store.update("text", |old| Some([old.unwrap_or_default(), b"!"].concat())).unwrap();
    store.transaction(["x", "y"], |tx| tx.mset([("x", "1"), ("y", "1")])).unwrap();
    let mut batch = store.batch();
    for n in 0..500 {
        batch.set(format!("key:{n}"), n.to_string());
    }
    batch.run().unwrap();
    store.database(3).unwrap().set("elsewhere", "v").unwrap();
}

#[track_caller]
fn check_filled(store: &Store) {
    assert_eq!(store.get("text").unwrap().unwrap(), "value!");
    assert!(store.ttl("short").unwrap().left().unwrap() > Duration::from_secs(900));
    assert_eq!(store.get_as::<i64>("n").unwrap(), Some(42));
    assert_eq!(store.lrange("list", 0, -1).unwrap(), ["a", "b"]);
    assert_eq!(store.scard("set").unwrap(), 2);
    assert_eq!(store.hget("hash", "field").unwrap().unwrap(), "value");
    assert_eq!(store.zscore("zset", "m").unwrap(), Some(1.5));
    assert_eq!(store.mget(["x", "y"]).unwrap(), [Some("1".into()), Some("1".into())]);
    assert_eq!(store.get("key:499").unwrap().unwrap(), "499");
    assert_eq!(store.len().unwrap(), 509);
    assert!(store.database(3).unwrap().exists("elsewhere").unwrap());
}

#[test]
fn what_was_written_is_there_again() {
    for policy in [Policy::Always, Policy::EverySecond, Policy::Never] {
        let dir = dir();
        let open = || Store::builder().shards(4).fsync(policy).open(dir.path()).unwrap();
        fill(&open());
        // Twice: the second time from the files of the first.
        check_filled(&open());
        let store = open();
        store.compact().unwrap();
        store.set("after", "v").unwrap();
        drop(store);
        // With another number of shards.
        let store = Store::builder().shards(7).open(dir.path()).unwrap();
        assert!(store.del("after").unwrap());
        check_filled(&store);
    }
}

#[test]
fn without_a_log_there_is_a_snapshot() {
    let dir = dir();
    let open = || Store::builder().without_log().open(dir.path()).unwrap();
    fill(&open());
    check_filled(&open());
    assert!(!dir.path().join("appendonlydir").exists());
    // Not saved, as was asked for.
    let store = Store::builder().without_log().save_on_close(false).open(dir.path()).unwrap();
    store.clear().unwrap();
    drop(store);
    check_filled(&open());
    // A log begins with what the snapshot holds, and cannot be ignored from then on.
    check_filled(&Store::open(dir.path()).unwrap());
    let ignored = Store::builder().without_log().open(dir.path());
    assert!(matches!(ignored, Err(Error::HasLog(_))), "{ignored:?}");
}

#[test]
fn a_directory_is_for_one() {
    let dir = dir();
    let store = Store::open(dir.path()).unwrap();
    let second = Store::open(dir.path());
    assert!(matches!(second, Err(Error::Locked(_))), "{second:?}");
    let handle = store.clone();
    drop(store);
    assert!(matches!(Store::open(dir.path()), Err(Error::Locked(_))), "a handle is left");
    drop(handle);
    Store::open(dir.path()).unwrap();
}

#[test]
fn who_only_reads_changes_nothing() {
    let dir = dir();
    let reads = || Store::builder().read_only().open(dir.path());
    assert!(matches!(Store::builder().read_only().open(dir.path().join("none")), Err(Error::System { .. })));
    fill(&Store::open(dir.path()).unwrap());
    let store = reads().unwrap();
    check_filled(&store);
    assert!(matches!(store.set("text", "x"), Err(Error::ReadOnly)));
    assert!(matches!(store.incr("n"), Err(Error::ReadOnly)));
    assert!(matches!(store.run(["DEL", "text"]), Err(Error::ReadOnly)));
    assert!(matches!(store.clear(), Err(Error::ReadOnly)));
    assert!(matches!(store.transaction(["n"], |tx| tx.incr("n")), Err(Error::ReadOnly)));
    assert!(matches!(store.batch().set("a", "b").run().unwrap()[0], Err(Error::ReadOnly)));
    assert!(matches!(store.blpop(["list"], None), Err(Error::ReadOnly)));
    assert!(matches!(store.save(), Err(Error::ReadOnly)));
    // Others may go on with the directory meanwhile.
    let writer = Store::open(dir.path()).unwrap();
    check_filled(&writer);
    writer.del("text").unwrap();
    drop(store);
    drop(writer);
    assert!(!reads().unwrap().exists("text").unwrap());
}

#[test]
fn threads_that_wait_share_a_sync() {
    let dir = dir();
    let store = Store::builder().fsync(Policy::Always).open(dir.path()).unwrap();
    let before = store.node().journal().figures().syncs;
    std::thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| (0..50).for_each(|_| assert!(store.incr("n").unwrap() > 0)));
        }
    });
    let figures = store.node().journal().figures();
    assert_eq!(figures.synced, figures.pushed, "every call waited for its sync");
    assert!(figures.syncs - before < 400, "{} syncs for 400 changes", figures.syncs - before);
    let mut batch = store.batch();
    for n in 0..1_000 {
        batch.set(format!("key:{n}"), "v");
    }
    let before = store.node().journal().figures().syncs;
    batch.run().unwrap();
    let figures = store.node().journal().figures();
    assert_eq!(figures.synced, figures.pushed);
    assert!(figures.syncs - before < 10, "a batch waits once");
}

#[test]
fn what_is_read_of_a_mapped_snapshot_is_built_when_it_is_asked_for() {
    let dir = dir();
    fill(&Store::builder().without_log().open(dir.path()).unwrap());
    let open = || Store::builder().without_log().open(dir.path()).unwrap();
    // By a command, by the short way, by a transaction, and to change it: each the first to ask.
    assert_eq!(open().run_as::<i64>(["STRLEN", "text"]).unwrap(), 6);
    assert_eq!(open().with("text", <[u8]>::len).unwrap(), Some(6));
    assert_eq!(open().transaction(["n"], |tx| tx.incr("n")).unwrap(), 43);
    assert_eq!(open().incr("n").unwrap(), 44);
    assert_eq!(open().scan().count(), 509);
}

#[test]
fn a_store_in_memory_has_nothing_to_save() {
    let store = Store::memory();
    assert!(matches!(store.save(), Err(Error::NoDirectory)));
    store.flush().unwrap();
}

#[test]
fn save_points_write_snapshots_in_the_background() {
    let dir = dir();
    let builder = Store::builder().without_log().save_on_close(false);
    let store = builder.save_after(Duration::from_millis(50), 10).open(dir.path()).unwrap();
    (0..20).for_each(|n| store.set(format!("key:{n}"), "v").unwrap());
    let snapshot = dir.path().join("dump.rdb");
    for _ in 0..100 {
        if snapshot.exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(store);
    assert_eq!(Store::builder().read_only().open(dir.path()).unwrap().len().unwrap(), 20);
}

const CHILD: &str = "BATON_STORE_CHILD";

/// Not a test of its own: what [`killed_processes_lose_nothing`] kills.
#[test]
fn child_that_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let policy = if Path::new(&dir).ends_with("always") { Policy::Always } else { Policy::EverySecond };
    let store = Store::builder().fsync(policy).open(dir).unwrap();
    loop {
        println!("acknowledged {}", store.incr("n").unwrap());
    }
}

#[test]
fn killed_processes_lose_nothing() {
    let dir = dir();
    for policy in ["always", "everysec"] {
        let path = dir.path().join(policy);
        for _ in 0..3 {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "disk::child_that_is_killed", "--nocapture"])
                .env(CHILD, &path)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
            let mut numbers =
                lines.filter_map(|line| line.strip_prefix("acknowledged ")?.parse::<u64>().ok());
            let mut last = numbers.by_ref().nth(30).unwrap();
            child.kill().unwrap();
            // What it had written until then counts too, but for a line that was cut.
            last = numbers.take_while(|n| *n > 30).fold(last, |last, n| if n == last + 1 { n } else { last });
            child.wait().unwrap();
            let store = Store::open(&path).unwrap();
            let n: u64 = store.get_as("n").unwrap().unwrap();
            assert!(n >= last, "{policy}: {n} of {last} acknowledged");
        }
    }
}
