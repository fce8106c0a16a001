//! What a store in memory promises beyond its commands.

use baton::store::{EvictionPolicy, MemoryLimit, Ttl};
use baton::{Error, Store};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[test]
fn a_store_goes_where_threads_are() {
    fn check<T: Send + Sync + Clone + 'static>(_: &T) {}
    check(&Store::memory());
}

#[test]
fn threads_do_not_lose_each_others_changes() {
    let store = Store::builder().shards(2).memory();
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for n in 0..2_000 {
                    store.incr("all").unwrap();
                    store.incr(format!("key:{}", n % 50)).unwrap();
                    store.update("text", |old| Some([old.unwrap_or_default(), b"x"].concat())).unwrap();
                }
            });
        }
    });
    assert_eq!(store.get_as::<u64>("all").unwrap(), Some(8_000));
    assert_eq!(store.strlen("text").unwrap(), 8_000);
    for n in 0..50 {
        assert_eq!(store.get_as::<u64>(format!("key:{n}")).unwrap(), Some(160));
    }
}

#[test]
fn what_has_expired_is_gone() {
    let store = Store::memory();
    store.set_ex("short", "v", Duration::from_millis(20)).unwrap();
    store.set_ex("long", "v", Duration::from_secs(100)).unwrap();
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(store.get("short").unwrap(), None);
    assert_eq!(store.ttl("short").unwrap(), Ttl::Absent);
    assert!(store.ttl("long").unwrap().left().unwrap() > Duration::from_secs(90));
}

#[test]
fn steps_of_expiry_remove_what_nobody_asks_for() {
    let store = Store::memory();
    for n in 0..1_000 {
        store.set_ex(format!("key:{n}"), "v", Duration::from_millis(1)).unwrap();
    }
    std::thread::sleep(Duration::from_millis(10));
    while store.expire_step() {}
    assert_eq!(store.len().unwrap(), 0);
}

#[test]
fn a_call_from_within_is_refused() {
    let (store, other) = (Store::memory(), Store::memory());
    store.set("key", "value").unwrap();
    let inner = store.with("key", |_| store.get("key")).unwrap().unwrap();
    assert!(matches!(inner, Err(Error::Nested)));
    let inner = store.with("key", |_| store.run(["GET", "key"])).unwrap().unwrap();
    assert!(matches!(inner, Err(Error::Nested)));
    // Another store is another matter.
    store.with("key", |value| other.set("key", value)).unwrap().unwrap().unwrap();
    assert_eq!(other.get("key").unwrap().unwrap(), "value");
    assert_eq!(store.get("key").unwrap().unwrap(), "value");
}

#[test]
fn a_panic_in_a_closure_leaves_the_store_usable() {
    let store = Store::memory();
    store.set("key", "value").unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.with("key", |_| panic!("of the caller"))
    }));
    assert!(panicked.is_err());
    assert_eq!(store.get("key").unwrap().unwrap(), "value");
}

#[test]
fn commands_that_are_not_of_the_data_are_named() {
    let store = Store::memory();
    let error = store.run(["SUBSCRIBE", "news"]).unwrap_err();
    assert!(matches!(&error, Error::UnknownCommand(name) if name.starts_with("SUBSCRIBE")), "{error}");
    assert!(matches!(store.run(["OBJECT", "NOTHING"]), Err(Error::UnknownCommand(_))));
    assert!(store.run(Vec::<&str>::new()).is_err());
    assert_eq!(
        store.run(["GET"]).unwrap_err().to_string(),
        "ERR wrong number of arguments for 'get' command"
    );
}

#[test]
fn memory_has_its_limit() {
    // Every key counts as a hundred bytes.
    static USED: AtomicU64 = AtomicU64::new(0);
    let used = |_| USED.load(Ordering::Relaxed);
    let full = |policy| {
        let limit = MemoryLimit { bytes: 10_000, policy, used };
        Store::builder().shards(1).memory_limit(limit).memory()
    };
    let store = full(EvictionPolicy::NoEviction);
    store.set("key", "value").unwrap();
    USED.store(10_001, Ordering::Relaxed);
    assert!(matches!(
        store.set("key", "other"),
        Err(Error::Refused(baton::store::CommandError::OutOfMemory))
    ));
    assert!(store.run(["APPEND", "key", "x"]).is_err());
    assert_eq!(store.get("key").unwrap().unwrap(), "value");
    assert!(store.del("key").unwrap());
}
