//! Blocked clients: first come first served, over cores and moves, cancelled in the middle.

use crate::bench::{Bench, CORES, Waiting, key_on};
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

#[track_caller]
fn has(waiting: &mut Waiting, answer: &str) {
    assert_eq!(waiting.answer().as_deref(), Some(answer));
}

#[test]
fn whoever_came_first_is_served_first_wherever_the_slot_is() {
    let bench = Bench::new();
    let list = key_on(0, 0);
    let mut clients: Vec<Waiting> =
        (0..4).map(|_| bench.client().block(&format!("BLPOP {list} 0"))).collect();
    for (n, waiting) in clients.iter_mut().enumerate() {
        bench.node.move_slots(0, 16_383, (n + 1) % CORES);
        assert_eq!(waiting.answer(), None);
        bench.batch(0, &[format!("RPUSH {list} {n}")]);
        has(waiting, &format!("[\"{list}\" \"{n}\"]"));
    }
    assert_eq!(bench.run(&format!("EXISTS {list}")), "0");
}

#[test]
fn a_client_that_was_served_leaves_all_lines() {
    let bench = Bench::new();
    let (here, there) = (key_on(0, 0), key_on(1, 0));
    let mut waiting = bench.block(&format!("BLPOP {here} {there} 0"));
    bench.batch(0, &[format!("RPUSH {there} x")]);
    has(&mut waiting, &format!("[\"{there}\" \"x\"]"));
    assert_eq!([bench.line_of(&here), bench.line_of(&there)], [0, 0]);
}

#[test]
fn a_move_to_another_core_keeps_its_place_in_the_line() {
    let bench = Bench::new();
    let (source, target) = (key_on(0, 0), key_on(1, 0));
    let mut first = bench.client().block(&format!("BLMOVE {source} {target} LEFT RIGHT 0"));
    let mut second = bench.client().block(&format!("BLPOP {source} 0"));
    bench.batch(0, &[format!("RPUSH {source} a")]);
    has(&mut first, "\"a\"");
    assert_eq!(second.answer(), None);
    assert_eq!(bench.run(&format!("LRANGE {target} 0 -1")), "[\"a\"]");
    let mut third = bench.client().block(&format!("BLMOVE {source} {target} LEFT RIGHT 0"));
    bench.batch(0, &[format!("RPUSH {source} b c d")]);
    has(&mut second, &format!("[\"{source}\" \"b\"]"));
    has(&mut third, "\"c\"");
    assert_eq!(bench.run(&format!("LRANGE {source} 0 -1")), "[\"d\"]");
}

#[test]
fn moves_feed_those_who_wait_for_their_target() {
    let bench = Bench::new();
    let keys: Vec<String> = (0..CORES).map(|core| key_on(core, 0)).collect();
    let mut chain: Vec<Waiting> = keys
        .windows(2)
        .map(|pair| bench.client().block(&format!("BLMOVE {} {} LEFT RIGHT 0", pair[0], pair[1])))
        .collect();
    bench.run(&format!("RPUSH {} x", keys[0]));
    chain.iter_mut().for_each(|waiting| has(waiting, "\"x\""));
    assert_eq!(bench.run(&format!("LRANGE {} 0 -1", keys[CORES - 1])), "[\"x\"]");
}

/// A push that lies in the inbox of a busy core serves the waiting client before anybody goes on.
#[test]
fn a_push_through_an_inbox_serves_before_the_baton_is_let_go() {
    let bench = Bench::new();
    let (source, target) = (key_on(0, 0), key_on(1, 0));
    let mut waiting = bench.client().block(&format!("BLMOVE {source} {target} LEFT RIGHT 0"));
    thread::scope(|scope| {
        let busy = scope.spawn(|| bench.run(&format!("STALL {source} 200")));
        thread::sleep(Duration::from_millis(50));
        bench.batch(1, &[format!("RPUSH {source} x")]);
        busy.join().unwrap();
    });
    has(&mut waiting, "\"x\"");
}

/// Every element that is pushed is popped once or still there, however often clients give up just then.
#[test]
fn nothing_is_lost_when_clients_give_up() {
    const PUSHES: usize = 1_500;
    let bench = Bench::new();
    let lists: Vec<String> = (0..CORES).map(|core| key_on(core, 1)).collect();
    let all: Vec<&str> = lists.iter().map(String::as_str).collect();
    let popped = Mutex::new(Vec::new());
    let (stop, done) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| bench.move_all_the_time(&all, &stop));
        for popper in 0..3 {
            let (bench, lists, popped, done) = (bench.client(), &lists, &popped, &done);
            scope.spawn(move || {
                let mut turn = popper;
                while !done.load(Ordering::Relaxed) {
                    turn += 1;
                    let [a, b, c] = [turn, turn + 1, turn + 2].map(|n| &lists[n % CORES]);
                    let line = match turn % 3 {
                        0 => format!("BLPOP {a} 0"),
                        1 => format!("BRPOP {a} {b} {c} 0"),
                        _ => format!("BLMOVE {a} {b} LEFT RIGHT 0"),
                    };
                    let time = Duration::from_micros((turn * 37 % 300) as u64);
                    let answer = bench.block(&line).wait_or_cancel(time);
                    if let Some(answer) = answer.filter(|_| turn % 3 != 2) {
                        let value = answer.split('"').nth(3).unwrap_or_else(|| panic!("{answer}"));
                        popped.lock().unwrap().push(value.to_owned());
                    }
                }
            });
        }
        let pushers: Vec<_> = (0..2)
            .map(|pusher| {
                let (bench, lists) = (bench.client(), &lists);
                scope.spawn(move || {
                    for n in 0..PUSHES {
                        let lines =
                            [0, 1].map(|i| format!("RPUSH {} {pusher}-{n}-{i}", lists[(n + i) % CORES]));
                        bench.batch(pusher, &lines);
                    }
                })
            })
            .collect();
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        done.store(true, Ordering::Relaxed);
        stop.store(true, Ordering::Relaxed);
    });
    let mut seen = popped.into_inner().unwrap();
    for list in &lists {
        assert_eq!(bench.line_of(list), 0, "somebody who gave up stands in line");
        let rest = bench.run(&format!("LRANGE {list} 0 -1"));
        seen.extend(rest.split(['"', '[', ']', ' ']).filter(|part| !part.is_empty()).map(str::to_owned));
    }
    assert_eq!(seen.len(), PUSHES * 4, "lost or found twice");
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), PUSHES * 4);
}

/// Nobody stays behind in a line while there is something for him: no wake-up is ever lost.
#[test]
fn no_wake_up_is_lost() {
    const CLIENTS: usize = 3;
    const ROUNDS: usize = 600;
    let bench = Bench::new();
    let lists: Vec<String> = (0..CORES).map(|core| key_on(core, 2)).collect();
    let all: Vec<&str> = lists.iter().map(String::as_str).collect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| bench.move_all_the_time(&all, &stop));
        let running: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (bench, lists) = (bench.client(), &lists);
                scope.spawn(move || {
                    for n in 0..ROUNDS {
                        // Whoever stands in a line brings an element for it: while somebody stands there, all that
                        // came has either been taken by others of the line, each of whom brought one, or is there.
                        let [a, b] = [n + client, n + client + 1].map(|n| &lists[n % CORES]);
                        let mut waiting = bench.block(&format!("BLPOP {a} {b} 0"));
                        bench.batch(client, &[a, b].map(|list| format!("RPUSH {list} {n}")));
                        waiting.wait();
                    }
                })
            })
            .collect();
        let ended: Vec<_> = running.into_iter().map(|client| client.join()).collect();
        stop.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|result| result.unwrap());
    });
}
