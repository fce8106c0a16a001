//! A command that panics: its client hears of it, everybody else goes on.

use crate::bench::{Bench, key_on};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

const BROKEN: &str = "-ERR internal error: the command broke down and this connection is closed";

#[track_caller]
fn still_serves(bench: &Bench) {
    let other = bench.client();
    for core in 0..4 {
        let key = key_on(core, 9);
        assert_eq!(other.run(&format!("SET {key} v")), "OK");
        assert_eq!(other.batch(core, &[format!("GET {key}")]), b"$1\r\nv\r\n");
    }
    assert!(!other.caller.broken.load(Ordering::Relaxed));
}

#[test]
fn in_a_batch() {
    let bench = Bench::new();
    let key = key_on(1, 0);
    let replies = bench.batch(0, &["PTTL a".to_owned(), format!("BOOM {key}"), format!("INCR {key}")]);
    assert_eq!(String::from_utf8(replies).unwrap(), format!(":-2\r\n{BROKEN}\r\n:1\r\n"));
    assert!(bench.caller.broken.load(Ordering::Relaxed));
    still_serves(&bench);
}

#[test]
fn in_the_inbox_of_somebody_elses_core() {
    let bench = Bench::new();
    let key = key_on(1, 0);
    thread::scope(|scope| {
        let busy = scope.spawn(|| bench.client().batch(1, &[format!("STALL {key} 200")]));
        thread::sleep(Duration::from_millis(50));
        let replies = bench.batch(0, &[format!("BOOM {key}"), format!("INCR {key}")]);
        assert_eq!(String::from_utf8(replies).unwrap(), format!("{BROKEN}\r\n:1\r\n"));
        assert_eq!(busy.join().unwrap(), b":200\r\n");
    });
    assert!(bench.caller.broken.load(Ordering::Relaxed));
    still_serves(&bench);
}

#[test]
fn under_several_batons() {
    let bench = Bench::new();
    let (here, there) = (key_on(0, 0), key_on(3, 0));
    let mut waiting = bench.client().block(&format!("BLPOP {there} 0"));
    assert_eq!(bench.run(&format!("BOOM2 {here} {there}")), BROKEN);
    bench.transaction(&[&here, &there], |held| {
        assert_eq!(bench.run_in(held, &format!("RPUSH {there} x")), "1");
        assert_eq!(bench.run_in(held, &format!("BOOM {here}")), BROKEN);
    });
    assert_eq!(waiting.wait(), format!("[\"{there}\" \"x\"]"));
    still_serves(&bench);
}

#[test]
fn of_a_client_that_waits() {
    let bench = Bench::new();
    let list = key_on(2, 0);
    let mut broken = bench.client().block(&format!("BBOOM {list} 0"));
    let mut next = bench.client().block(&format!("BLPOP {list} 0"));
    assert_eq!(bench.batch(0, &[format!("RPUSH {list} x")]), b":1\r\n");
    assert_eq!(broken.wait(), BROKEN);
    assert_eq!(next.wait(), format!("[\"{list}\" \"x\"]"));
    assert_eq!(bench.line_of(&list), 0);
    still_serves(&bench);
}

/// Whoever holds batons and panics lets them go, and those who wait for what it changed are served.
#[test]
fn of_somebody_who_holds_batons() {
    let bench = Bench::new();
    let (here, there) = (key_on(0, 0), key_on(3, 0));
    let mut waiting = bench.client().block(&format!("BLPOP {there} 0"));
    let client = bench.client();
    let broken = thread::spawn(move || {
        client.transaction(&[&here, &there], |held| {
            client.run_in(held, &format!("RPUSH {there} x"));
            panic!("as intended");
        })
    });
    assert!(broken.join().is_err());
    waiting.wait();
    still_serves(&bench);
}
