//! Counters, pairs, renames, transactions and watches, while slots move all the time.

use crate::bench::{Bench, CORES, key_on};
use baton_engine::keyspace::waiting::WatchFlag;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Runs the threads to their end while slots move; the slots of `keys` more often than others.
fn under_moves(bench: &Bench, keys: &[&str], threads: Vec<Box<dyn FnOnce(Bench) + Send>>) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let mover = scope.spawn(|| bench.move_all_the_time(keys, &stop));
        let running: Vec<_> = threads
            .into_iter()
            .map(|thread| {
                let client = bench.client();
                scope.spawn(move || thread(client))
            })
            .collect();
        let ended: Vec<_> = running.into_iter().map(|thread| thread.join()).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(mover.join().unwrap() > 0, "no slot moved");
        ended.into_iter().for_each(|result| result.unwrap());
    });
}

#[test]
fn batches_lose_nothing_and_keep_the_order_of_their_client() {
    const ROUNDS: usize = 400;
    let bench = Bench::new();
    let keys: Vec<String> = (0..CORES).flat_map(|core| (0..2).map(move |n| key_on(core, n))).collect();
    let shared: Vec<&str> = keys.iter().map(String::as_str).collect();
    let counting = |home: usize| {
        let keys = keys.clone();
        Box::new(move |client: Bench| {
            let mut last: HashMap<&str, i64> = HashMap::new();
            for round in 0..ROUNDS {
                let used: Vec<&str> =
                    (0..24).map(|n| &*keys[(n * (round + 1) + home) % keys.len()]).collect();
                let lines: Vec<String> = used.iter().map(|key| format!("INCR {key}")).collect();
                let replies = String::from_utf8(client.batch(home, &lines)).unwrap();
                let numbers: Vec<i64> = replies.lines().map(|line| line[1..].parse().unwrap()).collect();
                assert_eq!(numbers.len(), used.len());
                for (key, n) in used.iter().zip(numbers) {
                    let before = last.insert(key, n).unwrap_or(0);
                    assert!(n > before, "{key}: {n} after {before}");
                }
            }
        }) as Box<dyn FnOnce(Bench) + Send>
    };
    under_moves(&bench, &shared, (0..CORES).map(counting).collect());
    let sum: usize = keys.iter().map(|key| number(&bench.run(&format!("GET {key}")))).sum();
    assert_eq!(sum, CORES * ROUNDS * 24);
}

#[test]
fn nothing_is_ever_half_done() {
    const ROUNDS: usize = 3_000;
    let bench = Bench::new();
    let [a, b, c, d] = [0, 1, 2, 3].map(|core| key_on(core, 3));
    bench.run(&format!("MSET {a} 0 {b} 0 {c} 0 {d} 0"));
    let (x, y) = (key_on(0, 4), key_on(3, 4));
    bench.run(&format!("SET {x} here"));
    let mut threads: Vec<Box<dyn FnOnce(Bench) + Send>> = Vec::new();
    for writer in 0..2 {
        let keys = [a.clone(), b.clone(), c.clone(), d.clone()];
        threads.push(Box::new(move |client| {
            for n in 0..ROUNDS {
                let [a, b, c, d] = &keys;
                let value = n * 2 + writer;
                assert_eq!(
                    client.run(&format!("MSET {d} {value} {a} {value} {c} {value} {b} {value}")),
                    "OK"
                );
                let values = client.run(&format!("MGET {a} {b} {c} {d}"));
                let mut values = values.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
                let first = values.next().unwrap();
                assert!(values.all(|value| value == first), "half an MSET was seen");
            }
        }));
    }
    let (from, to) = (x.clone(), y.clone());
    threads.push(Box::new(move |client| {
        for n in 0..ROUNDS {
            let (from, to) = if n % 2 == 0 { (&from, &to) } else { (&to, &from) };
            assert_eq!(client.run(&format!("RENAME {from} {to}")), "OK");
        }
    }));
    let pair = (x.clone(), y.clone());
    threads.push(Box::new(move |client| {
        for _ in 0..ROUNDS {
            let found = client.transaction(&[&pair.0, &pair.1], |held| {
                let first = client.run_in(held, &format!("EXISTS {}", pair.0));
                number(&first) + number(&client.run_in(held, &format!("EXISTS {}", pair.1)))
            });
            assert_eq!(found, 1, "a renamed key is under exactly one of its names");
        }
    }));
    under_moves(&bench, &[&a, &b, &c, &d, &x, &y], threads);
}

#[test]
fn in_batches_commands_over_several_cores_keep_their_place() {
    const ROUNDS: usize = 400;
    let bench = Bench::new();
    let keys = [0, 1, 2, 3].map(|core| key_on(core, 5));
    let all = keys.join(" ");
    bench.run(&format!("MSET {}", keys.each_ref().map(|key| format!("{key} 0")).join(" ")));
    let working = |home: usize| {
        let (keys, all) = (keys.clone(), all.clone());
        Box::new(move |client: Bench| {
            let own = format!("own:{home}");
            for round in 0..ROUNDS {
                // Now and then so many of one key that they make a group of their own.
                let singles = if round % 3 == 0 { 40 } else { round % 7 };
                let same = keys.each_ref().map(|key| format!("{key} {}", round * CORES + home)).join(" ");
                let mut lines = vec![format!("DEL {own}"), format!("MSET {same}"), format!("MGET {all}")];
                lines.extend((0..singles).map(|_| format!("INCR {own}")));
                lines.extend([format!("MGET {own} {own}"), format!("INCR {own}"), format!("MGET {all}")]);
                let replies = String::from_utf8(client.batch(home, &lines)).unwrap();
                let mut replies = replies.lines().filter(|line| !line.starts_with(['$', '*']));
                let mut next = || replies.next().unwrap();
                assert_eq!((next(), next()), (if round == 0 { ":0" } else { ":1" }, "+OK"));
                let values: [&str; CORES] = std::array::from_fn(|_| next());
                assert!(values.iter().all(|value| *value == values[0]), "half an MSET was seen");
                for n in 1..=singles {
                    assert_eq!(next(), format!(":{n}"));
                }
                if singles > 0 {
                    assert_eq!((next(), next()), (&*singles.to_string(), &*singles.to_string()));
                }
                assert_eq!(next(), format!(":{}", singles + 1));
                let values: Vec<&str> = replies.collect();
                assert_eq!(values.len(), CORES);
                assert!(values.iter().all(|value| *value == values[0]), "half an MSET was seen");
            }
        }) as Box<dyn FnOnce(Bench) + Send>
    };
    let moving: Vec<&str> = keys.iter().map(String::as_str).collect();
    under_moves(&bench, &moving, (0..CORES).map(working).collect());
}

#[test]
fn transactions_and_watches_see_every_change() {
    const ROUNDS: usize = 1_500;
    let bench = Bench::new();
    let accounts: Vec<String> = (0..CORES).map(|core| key_on(core, 7)).collect();
    accounts.iter().for_each(|key| assert_eq!(bench.run(&format!("SET {key} 1000")), "OK"));
    let mut threads: Vec<Box<dyn FnOnce(Bench) + Send>> = Vec::new();
    // Optimistic locking as with WATCH, GET, MULTI, SET, EXEC: an increment that is lost shows in the sum.
    for teller in 0..3 {
        let accounts = accounts.clone();
        threads.push(Box::new(move |client| {
            for n in 0..ROUNDS {
                let (from, to) = (&*accounts[(n + teller) % CORES], &*accounts[(n * 3 + 1) % CORES]);
                if from != to {
                    while !transfer(&client, from, to) {}
                }
            }
        }));
    }
    let all = accounts.clone();
    threads.push(Box::new(move |client| {
        let keys: Vec<&str> = all.iter().map(String::as_str).collect();
        for _ in 0..ROUNDS {
            let sum: i64 = client.transaction(&keys, |held| {
                keys.iter().map(|key| signed(&client.run_in(held, &format!("GET {key}")))).sum()
            });
            assert_eq!(sum, 1000 * CORES as i64);
        }
    }));
    let keys: Vec<&str> = accounts.iter().map(String::as_str).collect();
    under_moves(&bench, &keys, threads);
}

/// Moves 1 from an account to the other unless one of them changes meanwhile.
fn transfer(client: &Bench, from: &str, to: &str) -> bool {
    let flag = Arc::new(WatchFlag::default());
    client.transaction(&[from, to], |held| {
        held.with_keyspace(0, |keyspace| [from, to].map(|key| keyspace.watch(key.as_bytes(), &flag)));
    });
    let [has, gets] = [from, to].map(|key| signed(&client.run(&format!("GET {key}"))));
    client.transaction(&[from, to], |held| {
        held.with_keyspace(0, |keyspace| [from, to].map(|key| keyspace.unwatch(key.as_bytes(), &flag)));
        if flag.is_touched() {
            return false;
        }
        client.run_in(held, &format!("SET {from} {}", has - 1));
        client.run_in(held, &format!("SET {to} {}", gets + 1));
        true
    })
}

fn number(reply: &str) -> usize {
    usize::try_from(signed(reply)).unwrap()
}

fn signed(reply: &str) -> i64 {
    reply
        .trim_matches(|c: char| !c.is_ascii_digit() && c != '-')
        .parse()
        .unwrap_or_else(|_| panic!("{reply}"))
}
