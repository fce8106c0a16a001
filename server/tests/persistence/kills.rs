//! kill -9 under load, again and again. Every write that was acknowledged is there after the restart, nothing is there in
//! half, and nothing that was never sent. Snapshots and rewrites are on their way when it happens, and slots move.
//!
//! `BATON_KILLS` sets the number of kills with `appendfsync always`; a quarter as many follow with `everysec`.

use crate::support::client::{Client, Reply};
use crate::support::process::{Server, on_path};
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const KILLS: usize = 6;
const WRITERS: usize = 4;
/// Commands that a writer sends in one go.
const PIPELINE: usize = 16;

/// What a writer does: each with its own number, which counts up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// INCR of one key.
    Counter,
    /// Two keys on different cores, set in a transaction.
    Pair,
    /// Four keys on different cores, set by one command.
    Spread,
    /// Each number is pushed to a list.
    List,
    /// Each number is pushed to one list and moved to another.
    Moved,
    /// Many counters in one go.
    Pipeline,
    /// A value of many sectors.
    Large,
}

const KINDS: [Kind; 7] =
    [Kind::Counter, Kind::Pair, Kind::Spread, Kind::List, Kind::Moved, Kind::Pipeline, Kind::Large];

/// How far a writer has come with a kind of work.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    sent: i64,
    acknowledged: i64,
}

type Marks = [Mark; KINDS.len()];

fn large(n: i64) -> Vec<u8> {
    format!("{n:08}").into_bytes().repeat(500 + n as usize % 400)
}

impl Kind {
    /// One piece of work: its number is `n`.
    fn write(self, client: &mut Client, w: usize, n: i64) -> io::Result<()> {
        let mut expect = |line: &str, expected: Reply| {
            let reply = client.try_call(&line.split(' ').collect::<Vec<_>>())?;
            assert_eq!(reply, expected, "{line}");
            io::Result::Ok(())
        };
        match self {
            Self::Counter => expect(&format!("INCR counter:{w}"), Reply::Integer(n)),
            Self::Pair => {
                expect("MULTI", Reply::simple("OK"))?;
                for side in ["a", "b"] {
                    expect(&format!("SET pair:{w}:{side} {n}"), Reply::simple("QUEUED"))?;
                }
                expect("EXEC", Reply::Array(vec![Reply::simple("OK"); 2]))
            }
            Self::Spread => {
                let keys: Vec<String> = (0..4).map(|k| format!("spread:{w}:{k} {n}")).collect();
                expect(&format!("MSET {}", keys.join(" ")), Reply::simple("OK"))
            }
            Self::List => expect(&format!("RPUSH list:{w} {n}"), Reply::Integer(n)),
            Self::Moved => {
                expect(&format!("RPUSH from:{w} {n}"), Reply::Integer(1))?;
                let line = format!("LMOVE from:{w} to:{w} LEFT RIGHT");
                expect(&line, Reply::bulk(n.to_string()))
            }
            Self::Pipeline => {
                let mut bytes = Vec::new();
                for k in 0..PIPELINE {
                    crate::support::client::encode(&["INCR", &format!("pipeline:{w}:{k}")], &mut bytes);
                }
                client.write_raw(&bytes)?;
                for _ in 0..PIPELINE {
                    assert_eq!(client.receive()?, Reply::Integer(n));
                }
                Ok(())
            }
            Self::Large => {
                let key = format!("large:{w}");
                let reply = client.try_call(&[b"SET", key.as_bytes(), &large(n)])?;
                assert_eq!(reply, Reply::simple("OK"));
                Ok(())
            }
        }
    }

    /// The number that a writer had come to, as the data show it; they are whole.
    fn found(self, client: &mut Client, w: usize) -> (i64, i64) {
        let number = |reply: &Reply| reply.bytes().map_or(0, |_| reply.text().parse().expect("a number"));
        let mut numbers = |line: &str| -> Vec<i64> {
            let reply = client.run(line);
            reply.elements().map_or(vec![number(&reply)], |all| all.iter().map(number).collect())
        };
        let equal = |numbers: Vec<i64>| {
            assert!(numbers.iter().all(|n| *n == numbers[0]), "{self:?} in half: {numbers:?}");
            numbers[0]
        };
        let counts = |numbers: &[i64]| {
            assert!(numbers.iter().copied().eq(1..=numbers.len() as i64), "{self:?}: {numbers:?}");
            numbers.len() as i64
        };
        let one = match self {
            Self::Counter => numbers(&format!("GET counter:{w}"))[0],
            Self::Pair => equal(numbers(&format!("MGET pair:{w}:a pair:{w}:b"))),
            Self::Spread => {
                let keys: Vec<String> = (0..4).map(|k| format!("spread:{w}:{k}")).collect();
                equal(numbers(&format!("MGET {}", keys.join(" "))))
            }
            Self::List => counts(&numbers(&format!("LRANGE list:{w} 0 -1"))),
            Self::Moved => {
                // Between the two commands the number is in the first list.
                let to = numbers(&format!("LRANGE to:{w} 0 -1"));
                let from = numbers(&format!("LRANGE from:{w} 0 -1"));
                counts(&[to, from].concat())
            }
            Self::Pipeline => {
                let keys: Vec<String> = (0..PIPELINE).map(|k| format!("pipeline:{w}:{k}")).collect();
                let numbers = numbers(&format!("MGET {}", keys.join(" ")));
                // Each core has its part of a pipeline: of one that was not answered, any of them may be missing.
                let (least, most) = (numbers.iter().min(), numbers.iter().max());
                return least.copied().zip(most.copied()).expect("some numbers");
            }
            Self::Large => {
                let reply = client.run(&format!("GET large:{w}"));
                let bytes = reply.bytes().unwrap_or_default();
                let n = bytes.get(..8).map_or(0, |n| String::from_utf8_lossy(n).parse().expect("a number"));
                assert!(n == 0 || bytes == large(n), "half a value");
                n
            }
        };
        (one, one)
    }

    /// Finishes what was begun, so that the next piece of work finds what it expects.
    fn tidy(self, client: &mut Client, w: usize, n: i64) {
        match self {
            Self::Moved => drop(client.run(&format!("LMOVE from:{w} to:{w} LEFT RIGHT"))),
            Self::Pipeline => {
                for k in 0..PIPELINE {
                    client.run(&format!("SET pipeline:{w}:{k} {n}"));
                }
            }
            _ => {}
        }
    }
}

/// Writes until the server is gone.
fn writer(mut client: Client, w: usize, marks: &mut Marks) {
    loop {
        for (kind, mark) in KINDS.into_iter().zip(marks.iter_mut()) {
            mark.sent += 1;
            if kind.write(&mut client, w, mark.sent).is_err() {
                return;
            }
            mark.acknowledged = mark.sent;
        }
    }
}

/// Snapshots, rewrites and moving slots, until the server is gone.
fn unrest(mut client: Client, stop: &AtomicBool) {
    let lines = ["BGREWRITEAOF", "CORE MOVE 0 9000 1", "BGSAVE SCHEDULE", "CORE MOVE 4000 16383 0"];
    for line in lines.into_iter().cycle() {
        let gone = client.try_call(&line.split(' ').collect::<Vec<_>>()).is_err();
        if gone || stop.load(Ordering::Relaxed) {
            return;
        }
        thread::sleep(Duration::from_millis(7));
    }
}

/// One life of the server, which ends by kill -9 after this time.
fn live_and_die(server: &mut Server, marks: &mut [Marks], time: Duration) {
    let stop = AtomicBool::new(false);
    let clients: Vec<Client> = (0..WRITERS).map(|_| server.client()).collect();
    let other = server.client();
    thread::scope(|scope| {
        for (w, (client, marks)) in clients.into_iter().zip(marks.iter_mut()).enumerate() {
            scope.spawn(move || writer(client, w, marks));
        }
        scope.spawn(|| unrest(other, &stop));
        thread::sleep(time);
        server.assert_alive();
        server.kill();
        stop.store(true, Ordering::Relaxed);
    });
}

#[derive(Debug, Default)]
struct Figures {
    kills: usize,
    acknowledged: i64,
    unanswered_but_there: i64,
    torn: usize,
    read_by_redis: usize,
    slowest_start: Duration,
}

#[track_caller]
fn check(server: &mut Server, marks: &mut [Marks], figures: &mut Figures) {
    let mut client = server.client();
    for (w, marks) in marks.iter_mut().enumerate() {
        for (kind, mark) in KINDS.into_iter().zip(marks.iter_mut()) {
            let (least, most) = kind.found(&mut client, w);
            let context =
                || format!("{kind:?} of writer {w}: {least} to {most}, {mark:?}\n{}", server.log_tail());
            assert!(least >= mark.acknowledged, "lost: {}", context());
            assert!(most <= mark.sent, "never sent: {}", context());
            figures.acknowledged += mark.acknowledged;
            figures.unanswered_but_there += most - mark.acknowledged;
            kind.tidy(&mut client, w, most);
            *mark = Mark { sent: most, acknowledged: most };
        }
    }
    assert_eq!(client.run(&format!("GET filler:{}", FILLERS - 1)), Reply::bulk("x"));
}

const FILLERS: usize = 3_000;

fn kills(policy: &str, count: usize) -> Figures {
    let settings = |cores| {
        [
            ("appendonly", "yes"),
            ("appendfsync", policy),
            ("save", ""),
            ("cores", cores),
            ("gather-connections", "no"),
            ("enable-debug-command", "yes"),
        ]
    };
    let mut server = Server::baton(&settings("2"));
    let fillers: Vec<Vec<String>> =
        (0..FILLERS).map(|n| vec!["SET".into(), format!("filler:{n}"), "x".into()]).collect();
    server.client().pipeline(&fillers);
    let mut marks = [Marks::default(); WRITERS];
    let mut figures = Figures::default();
    for n in 0..count {
        let time = Duration::from_millis(20 + (n as u64 * 7_919) % 170);
        live_and_die(&mut server, &mut marks, time);
        figures.kills += 1;
        let copy = (n % 8 == 3).then(|| copied(server.directory()));
        server.become_baton(&settings(["2", "4", "1", "3"][n % 4]));
        let start = Instant::now();
        server.restart();
        figures.slowest_start = figures.slowest_start.max(start.elapsed());
        if let Some(copy) = copy {
            let is_torn = server.log().lines().rev().take(40).any(|line| line.contains(".torn-at-"));
            compare_with_redis(&mut server, &copy, is_torn);
            figures.read_by_redis += 1;
        }
        check(&mut server, &mut marks, &mut figures);
    }
    figures.torn = server.log().matches(" was cut to ").count();
    figures.acknowledged = marks.iter().flatten().map(|mark| mark.acknowledged).sum();
    figures
}

/// The directory as it was found, for Redis.
fn copied(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a directory");
    fs::create_dir(copy.path().join("appendonlydir")).expect("a directory");
    for folder in ["", "appendonlydir"] {
        for entry in fs::read_dir(directory.join(folder)).expect("a directory") {
            let entry = entry.expect("a file");
            if entry.file_type().expect("a type").is_file() {
                fs::copy(entry.path(), copy.path().join(folder).join(entry.file_name())).expect("copied");
            }
        }
    }
    copy
}

/// Redis finds the same in the same files.
fn compare_with_redis(server: &mut Server, copy: &tempfile::TempDir, is_torn: bool) {
    let manifest = copy.path().join("appendonlydir/appendonly.aof.manifest");
    let checked = Command::new(on_path("redis-check-aof")).arg(&manifest).output().expect("it runs");
    let report = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() || is_torn, "{report}");
    let directory = copy.path().to_str().expect("a path");
    let settings = [("dir", directory), ("appendonly", "yes"), ("save", ""), ("enable-debug-command", "yes")];
    let mut redis = Server::redis(&settings);
    if !is_torn {
        let theirs = redis.client().call(&["DEBUG", "DIGEST"]);
        assert_eq!(theirs, server.client().call(&["DEBUG", "DIGEST"]), "{}", redis.log_tail());
    }
}

fn count() -> usize {
    let count = std::env::var("BATON_KILLS");
    count.map_or(KILLS, |count| count.parse().expect("BATON_KILLS is a number"))
}

#[test]
fn nothing_acknowledged_is_lost_when_each_write_is_synced() {
    println!("always: {:?}", kills("always", count()));
}

#[test]
fn nothing_acknowledged_is_lost_by_a_process_that_is_killed() {
    println!("everysec: {:?}", kills("everysec", count().div_ceil(4)));
}
