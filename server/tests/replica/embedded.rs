//! A live copy of a real server in this very process.

#[path = "../../../runtime/examples/replica_of.rs"]
mod example;

use crate::data;
use crate::pair::{info, redis, until};
use baton::Store;
use baton::store::{Replica, ReplicaEvent, ReplicaState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

fn address(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

/// Waits until everything that the primary has done so far can be read.
#[track_caller]
fn await_all(primary: &mut crate::support::client::Client, replica: &Replica) {
    let offset = info(primary, "master_repl_offset").parse().expect("an offset");
    replica.wait_for(offset, PATIENCE).expect("it comes");
}

#[test]
fn the_example_runs() {
    let mut primary = redis(&[]);
    primary.client().run("SET greeting hello");
    let reads = example::run(&address(primary.port()), &["greeting".to_owned()]).expect("the example");
    assert!(reads >= 1_000);
}

#[test]
fn what_the_primary_does_can_be_read() {
    let mut primary = redis(&[]);
    let mut there = primary.client();
    data::fill(&mut there);
    let synced = Arc::new(AtomicUsize::new(0));
    let count = synced.clone();
    let replica = Store::replica_of(address(primary.port()))
        .watch(move |event| {
            assert!(!matches!(event, ReplicaEvent::Refused { .. }), "{event:?}");
            count.fetch_add(usize::from(*event == ReplicaEvent::Resynced), Ordering::Relaxed);
        })
        .follow()
        .expect("a replica");
    replica.wait_until_following(PATIENCE).expect("it follows");
    for turn in 0..3 {
        data::change(&mut there, turn);
    }
    there.run("SET last one");
    await_all(&mut there, &replica);
    assert_eq!(replica.state(), ReplicaState::Following);
    assert!(replica.lag().is_some());
    let stored: String = replica.run_as(["DEBUG", "DIGEST"]).expect("a digest");
    std::thread::sleep(Duration::from_millis(3));
    until("both have the same data", || {
        there.run("EXISTS gone short");
        there.run("DEBUG DIGEST").text() == replica.run_as::<String>(["DEBUG", "DIGEST"]).expect("a digest")
    });
    assert_eq!(stored.len(), 40);
    // Two threads read while the primary writes, and see transactions whole.
    let store = replica.store().clone();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let store = store.clone();
            scope.spawn(move || {
                for _ in 0..2_000 {
                    let pair = store.mget(["{t}a", "{t}b"]).expect("both");
                    assert_eq!(pair[0], pair[1]);
                }
            });
        }
        for n in 0..200 {
            for line in ["MULTI", &format!("SET {{t}}a {n}"), &format!("SET {{t}}b {n}"), "EXEC"] {
                assert!(!there.run(line).is_error());
            }
        }
    });
    // A connection that breaks costs nothing but what was missed.
    replica.reconnect();
    there.run("SET after break");
    until("it follows again", || replica.synchronisations().1 == 1);
    await_all(&mut there, &replica);
    assert_eq!(replica.get("after").expect("a read").expect("it is there"), "break");
    assert_eq!(synced.load(Ordering::Relaxed), 1);
    let own = replica.promote();
    own.set("mine", "now").expect("a write");
    there.run("SET after promotion");
    assert_eq!(own.get("after").expect("a read").expect("it is there"), "break");
}

#[test]
fn a_copy_of_a_part() {
    let mut primary = redis(&[]);
    let mut there = primary.client();
    for line in ["SET a:1 x", "SET b:1 x", "SELECT 3", "SET a:3 x", "SELECT 0"] {
        there.run(line);
    }
    let replica =
        Store::replica_of(format!("{}/0", address(primary.port()))).keys("a:*").follow().expect("a replica");
    replica.wait_until_following(PATIENCE).expect("it follows");
    assert_eq!((replica.len().expect("a count"), replica.exists("b:1").expect("a look")), (1, false));
    for line in ["MSET a:2 y b:2 y", "DEL b:1 a:1", "INCR b:n", "INCR a:n"] {
        assert!(!there.run(line).is_error());
    }
    await_all(&mut there, &replica);
    let mut keys: Vec<String> = replica.run_as(["KEYS", "*"]).expect("keys");
    keys.sort();
    assert_eq!(keys, ["a:2", "a:n"]);
    // What cannot be repeated costs all data, and is right.
    there.run("RENAME b:2 a:renamed");
    until("all data came anew", || replica.synchronisations().0 == 2);
    await_all(&mut there, &replica);
    assert_eq!(replica.get("a:renamed").expect("a read").expect("it is there"), "y");
}
