//! The order of the log agrees with cause and effect: replayed, it gives the data of the node, though threads race and
//! slots move. And files change at one point of that order.

use crate::bench::{LOG, exec, held, held_now, journaled, next_file, replayed, try_replayed};
use crate::node::{Bench, CORES, key_on};
use baton::journal::{Policy, Reader, Verdict};
use baton::storage::{SimulatedStorage, Storage};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A small generator, seeded per thread.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

fn any_line(dice: &mut Dice, keys: &[String]) -> String {
    let n = dice.below(1_000);
    let mut key = || &*keys[dice.below(keys.len())];
    let (a, b, c) = (key(), key(), key());
    match n % 16 {
        0 => format!("SET {a}:s {n}"),
        1 => format!("INCRBY {a}:n {n}"),
        2 => format!("APPEND {a}:n 1"),
        3 => format!("RPUSH {a}:l {n}"),
        4 => format!("LPOP {a}:l"),
        5 => format!("LMOVE {a}:l {b}:l LEFT RIGHT"),
        6 => format!("SADD {a}:set {n} {} {}", n / 2, n / 3),
        7 => format!("SPOP {a}:set {}", n % 5),
        8 => format!("ZADD {a}:z {n} {}", n % 7),
        9 => format!("ZPOPMIN {a}:z 2"),
        10 => format!("HINCRBYFLOAT {a}:h f{} 0.5", n % 3),
        11 => format!("MSET {a}:s {n} {b}:s {n} {c}:s {n}"),
        12 => format!("RENAME {a}:s {b}:s"),
        13 => format!("DEL {a}:s {b}:l"),
        14 => format!("SET {a}:e {n} PX {}", 1 + n % 3),
        _ => format!("SUNIONSTORE {a}:set {b}:set {c}:set"),
    }
}

fn keys() -> Vec<String> {
    (0..CORES).flat_map(|core| (0..2).map(move |n| key_on(core, n))).collect()
}

/// Runs random commands in batches, alone and in transactions.
fn play(client: &Bench, home: usize, seed: u64, rounds: usize) {
    let (mut dice, keys) = (Dice(seed), keys());
    let mut client = client.client();
    for _ in 0..rounds {
        client.who.db = dice.below(3);
        let lines: Vec<String> = (0..1 + dice.below(12)).map(|_| any_line(&mut dice, &keys)).collect();
        match dice.below(4) {
            0 => drop(exec(&client, &lines.iter().map(String::as_str).collect::<Vec<_>>())),
            1 => lines.iter().for_each(|line| drop(client.run(line))),
            _ => {
                let narrow = |line: &&String| {
                    let name = line.split(' ').next().unwrap();
                    !["LMOVE", "RENAME", "SUNIONSTORE"].contains(&name)
                };
                let lines: Vec<&String> = lines.iter().filter(narrow).collect();
                if !lines.is_empty() {
                    client.batch(home, &lines);
                }
            }
        }
        client.node.journal().write();
    }
}

/// What has not expired by a time when everything that can expire here has.
fn lasting(bench: &Bench) -> crate::bench::Contents {
    thread::sleep(std::time::Duration::from_millis(10));
    // Looking at every key removes what has expired, from the log's point of view too.
    let contents = held(bench);
    bench.node.journal().write();
    contents
}

#[test]
fn the_replayed_log_is_the_data() {
    for seed in 0..4 {
        let storage = SimulatedStorage::new(seed);
        let bench = journaled(&storage, Policy::EverySecond);
        let stop = AtomicBool::new(false);
        let keys = keys();
        let moved: Vec<&str> = keys.iter().map(String::as_str).collect();
        thread::scope(|scope| {
            let mover = scope.spawn(|| bench.move_all_the_time(&moved, &stop));
            let players: Vec<_> = (0..3)
                .map(|home| {
                    let client = bench.client();
                    scope.spawn(move || play(&client, home, seed * 100 + home as u64, 120))
                })
                .collect();
            let ended: Vec<_> = players.into_iter().map(|player| player.join()).collect();
            stop.store(true, Ordering::Relaxed);
            assert!(mover.join().unwrap() > 0, "no slot moved");
            ended.into_iter().for_each(|result| result.unwrap());
        });
        let contents = lasting(&bench);
        assert!(!contents.is_empty());
        assert_eq!(replayed(&storage, &[LOG]), contents, "seed {seed}");
        assert_eq!(bench.node.journal().verdict(bench.node.journal().pushed()), Verdict::Safe);
    }
}

#[test]
fn files_change_at_one_point_of_the_order() {
    let storage = SimulatedStorage::new(9);
    let bench = journaled(&storage, Policy::Never);
    let names = ["/log.2.incr.aof", "/log.3.incr.aof", "/log.4.incr.aof"];
    let mut at_cut = Vec::new();
    thread::scope(|scope| {
        for home in 0..2 {
            let client = bench.client();
            scope.spawn(move || play(&client, home, home as u64, 150));
        }
        for name in names {
            thread::sleep(std::time::Duration::from_millis(15));
            let file = baton::journal::LogFile::empty(storage.create(Path::new(name)).unwrap());
            let mut all = bench.node.hold_all();
            // What is there at the cut is what the files before it say.
            at_cut.push((all.now_ms(), held_now(&bench, &mut all)));
            all.cut_journal(Some(file));
        }
    });
    for (at, (now_ms, contents)) in at_cut.into_iter().enumerate() {
        let before: Vec<&str> = [LOG].into_iter().chain(names).take(at + 1).collect();
        assert_eq!(try_replayed(&storage, &before, now_ms).unwrap(), contents);
    }
    let contents = lasting(&bench);
    bench.node.journal().write_and_sync().unwrap();
    assert_eq!(replayed(&storage, &[&[LOG][..], &names].concat()), contents);
    // All of it has been synced, the files that were left included.
    assert_eq!(replayed(&storage.crashed_with_names(), &[&[LOG][..], &names].concat()), contents);
}

/// Keeps everything that it is given.
#[derive(Clone, Default)]
struct Follower(Arc<Mutex<(Option<u64>, Vec<u8>)>>);

impl Reader for Follower {
    fn take(&mut self, offset: u64, bytes: &[u8]) {
        let mut followed = self.0.lock().unwrap();
        let start = *followed.0.get_or_insert(offset);
        assert_eq!(start + followed.1.len() as u64, offset, "a gap");
        followed.1.extend_from_slice(bytes);
    }
}

#[test]
fn who_follows_reads_the_same_order_as_the_file() {
    let storage = SimulatedStorage::new(10);
    let bench = journaled(&storage, Policy::Never);
    play(&bench, 0, 1, 20);
    let follower = Follower::default();
    let (id, offset) = bench.node.hold_all().subscribe(Box::new(follower.clone()));
    let next = next_file(&bench, &storage, "/log.2.incr.aof").unwrap();
    assert_eq!(next, offset);
    thread::scope(|scope| {
        for home in 0..2 {
            let client = bench.client();
            scope.spawn(move || play(&client, home, home as u64, 100));
        }
    });
    bench.node.journal().unsubscribe(id);
    bench.node.hold_all().listen_if_wanted();
    bench.node.journal().write();
    let (start, followed) = follower.0.lock().unwrap().clone();
    assert_eq!(start, Some(offset));
    let file = storage.read(Path::new("/log.2.incr.aof")).unwrap();
    assert_eq!(without_annotations(&file), followed);
    bench.run("SET after 1");
    assert_eq!(follower.0.lock().unwrap().1.len(), followed.len(), "not a byte after the end");
    // Without a file, and without a follower, nothing is collected.
    let at = bench.node.hold_all().cut_journal(None);
    bench.node.journal().leave(at).unwrap();
    let pushed = bench.node.journal().pushed();
    bench.run("SET after 2");
    assert_eq!(bench.node.journal().pushed(), pushed);
    assert_eq!(
        bench.node.journal().verdict(u64::MAX),
        Verdict::Safe,
        "nobody waits for a log without a file"
    );
    // Only a follower, and no file.
    let follower = Follower::default();
    bench.node.hold_all().subscribe(Box::new(follower.clone()));
    bench.run("SET after 3");
    let select = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$5\r\nafter\r\n$1\r\n3\r\n";
    assert_eq!(*follower.0.lock().unwrap(), (Some(pushed), select.to_vec()));
}

fn without_annotations(file: &[u8]) -> Vec<u8> {
    let mut rest = file;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let line = rest.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        if rest[0] == b'#' {
            rest = &rest[line..];
            continue;
        }
        // A command: as many arguments as it says, each of the length that it says.
        let number =
            |bytes: &[u8]| -> usize { std::str::from_utf8(&bytes[1..]).unwrap().trim().parse().unwrap() };
        let mut end = line;
        for _ in 0..number(&rest[..line]) {
            let header = rest[end..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
            end += header + number(&rest[end..end + header]) + 2;
        }
        all.extend_from_slice(&rest[..end]);
        rest = &rest[end..];
    }
    all
}

#[test]
fn what_leaves_nothing_writes_nothing() {
    let storage = SimulatedStorage::new(11);
    let bench = journaled(&storage, Policy::Always);
    bench.run("SET k v");
    bench.node.journal().write();
    let before = (baton::journal::pushes_here(), storage.calls());
    for line in ["GET k", "SET k w NX", "DEL nothing", "EXISTS k"] {
        bench.batch(0, &[line]);
        bench.run(line);
        bench.node.journal().write();
    }
    exec(&bench, &["GET k", "DEL nothing"]);
    assert_eq!(baton::journal::pushes_here(), before.0);
    bench.batch(1, &["GET k", "SET k v2"]);
    assert!(baton::journal::pushes_here() > before.0);
}

#[test]
fn work_for_others_counts_for_them_alone() {
    let storage = SimulatedStorage::new(12);
    let bench = journaled(&storage, Policy::Never);
    let key = key_on(2, 0);
    let (before, mut held) = (baton::journal::pushes_here(), bench.node.hold_all());
    let (client, line) = (bench.client(), format!("SET {key} 1"));
    let asker = thread::spawn(move || {
        let before = baton::journal::pushes_here();
        client.batch(0, &[line]);
        baton::journal::pushes_here() - before
    });
    // Until its work lies in the inbox of the core.
    thread::sleep(std::time::Duration::from_millis(50));
    bench.run_in(&mut held, &format!("GET {key}"));
    held.finish();
    assert!(asker.join().unwrap() > 0);
    assert_eq!(baton::journal::pushes_here(), before, "who only read waits for nothing");
    assert_eq!(bench.run(&format!("GET {key}")), "\"1\"");
}
