//! Waiting for elements, and for messages.

use baton::store::{End, KeyEvent, Message};
use baton::{Error, Store};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const SOON: Option<Duration> = Some(Duration::from_millis(20));
const LATE: Option<Duration> = Some(Duration::from_secs(20));

#[test]
fn each_job_goes_to_one_worker() {
    let store = Store::builder().shards(4).memory();
    let taken: Vec<Vec<u64>> = std::thread::scope(|threads| {
        let worker = || {
            let mut taken = Vec::new();
            while let Some((_, job)) = store.blpop(["urgent", "jobs"], LATE).unwrap() {
                match std::str::from_utf8(&job).unwrap() {
                    "end" => break,
                    job => taken.push(job.parse().unwrap()),
                }
            }
            taken
        };
        let workers: Vec<_> = (0..4).map(|_| threads.spawn(worker)).collect();
        for n in 0..500 {
            let key = if n % 7 == 0 { "urgent" } else { "jobs" };
            store.rpush(key, [n.to_string()]).unwrap();
        }
        store.rpush("jobs", ["end"; 4]).unwrap();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let mut all: Vec<u64> = taken.concat();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..500));
}

#[test]
fn who_waits_in_vain_is_told() {
    let store = Store::memory();
    assert_eq!(store.blpop(["list"], SOON).unwrap(), None);
    assert_eq!(store.bzpopmin(["zset"], SOON).unwrap(), None);
    assert_eq!(store.blmove("a", "b", End::Left, End::Right, SOON).unwrap(), None);
    // Nobody waits any more: the element stays.
    store.rpush("list", ["a"]).unwrap();
    assert_eq!(store.llen("list").unwrap(), 1);
    store.set("text", "v").unwrap();
    assert!(store.blpop(["text"], SOON).unwrap_err().is_wrong_type());
    assert!(matches!(
        store.with("text", |_| store.blpop(["list"], SOON)).unwrap().unwrap(),
        Err(Error::Nested)
    ));
}

#[test]
fn what_a_transaction_pushes_is_given_to_those_who_wait() {
    let store = Store::memory();
    std::thread::scope(|threads| {
        let waiter = threads.spawn(|| store.blmove("from", "to", End::Left, End::Right, LATE).unwrap());
        std::thread::sleep(Duration::from_millis(20));
        store.transaction(["from"], |tx| tx.rpush("from", ["a", "b"])).unwrap();
        assert_eq!(waiter.join().unwrap().unwrap(), "a");
    });
    assert_eq!(store.lrange("to", 0, -1).unwrap(), ["a"]);
    assert_eq!(store.lrange("from", 0, -1).unwrap(), ["b"]);
}

#[test]
fn a_future_that_is_dropped_loses_nothing() {
    let store = Store::memory();
    let mut context = Context::from_waker(Waker::noop());
    // Dropped while it waits.
    {
        let mut pop = pin!(store.blpop_async(["list"]));
        assert!(pop.as_mut().poll(&mut context).is_pending());
    }
    store.rpush("list", ["a", "b"]).unwrap();
    assert_eq!(store.llen("list").unwrap(), 2);
    store.del("list").unwrap();
    // Dropped when it has been served, and nobody has looked.
    {
        let mut pop = pin!(store.blpop_async(["list"]));
        assert!(pop.as_mut().poll(&mut context).is_pending());
        store.rpush("list", ["a", "b"]).unwrap();
        assert_eq!(store.lrange("list", 0, -1).unwrap(), ["b"]);
    }
    assert_eq!(store.lrange("list", 0, -1).unwrap(), ["a", "b"]);
    // Served and looked at.
    let mut pop = pin!(store.blpop_async(["list"]));
    let Poll::Ready(Ok((_, element))) = pop.as_mut().poll(&mut context) else {
        panic!("there is an element")
    };
    assert_eq!(element, "a");
}

#[test]
fn messages_come_to_those_who_listen() {
    let store = Store::memory();
    let mut news = store.subscribe(["news", "more"]);
    let mut all = store.psubscribe(["n*"]);
    assert_eq!(store.publish("news", "one"), 2);
    assert_eq!(store.publish("more", "two"), 1);
    let message = |pattern: Option<&'static str>, channel: &'static str, payload: &'static str| {
        Some(Message { pattern: pattern.map(Into::into), channel: channel.into(), payload: payload.into() })
    };
    assert_eq!(news.next(), message(None, "news", "one"));
    assert_eq!(news.next(), message(None, "more", "two"));
    assert_eq!(all.next(), message(Some("n*"), "news", "one"));
    assert_eq!(all.try_recv(), None);
    drop(news);
    assert_eq!(store.publish("more", "three"), 0);
    std::thread::scope(|threads| {
        let waiter = threads.spawn(|| all.next());
        std::thread::sleep(Duration::from_millis(10));
        store.publish("news", "late");
        assert_eq!(waiter.join().unwrap(), message(Some("n*"), "news", "late"));
    });
}

#[test]
fn events_say_what_happened_to_keys() {
    let store = Store::memory();
    let mut events = store.key_events("k*").unwrap();
    let mut second = store.key_events("other").unwrap();
    store.set("key", "v").unwrap();
    store.set("x", "v").unwrap();
    store.database(1).unwrap().set("key", "v").unwrap();
    store.set_ex("key", "v", Duration::from_millis(1)).unwrap();
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(store.get("key").unwrap(), None);
    let event = |event: &str| Some(KeyEvent { key: "key".into(), event: event.to_owned() });
    for word in ["set", "set", "expire", "expired"] {
        assert_eq!(events.recv_timeout(Duration::from_secs(5)), event(word));
    }
    assert_eq!(second.recv_timeout(Duration::ZERO), None);
    drop(events);
    store.set("other", "v").unwrap();
    assert_eq!(second.next().unwrap().event, "set");
    drop(second);
    // Nobody listens: nothing is raised.
    assert_eq!(store.node().settings().notify, 0);
}
