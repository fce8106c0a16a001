//! More than one key or command: transactions, batches, scans.

use baton::{Error, Reply, Store};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Two keys that every transaction keeps equal are equal whenever they are looked at together.
#[test]
fn transactions_over_shards_are_atomic() {
    let store = Store::builder().shards(16).memory();
    let done = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        for _ in 0..3 {
            let (store, done) = (&store, &done);
            threads.spawn(move || {
                for n in 0..500 {
                    // The order in which they are declared is of no account.
                    let keys = if n % 2 == 0 { ["left", "right"] } else { ["right", "left"] };
                    let sum = store.transaction(keys, |tx| {
                        let sum = tx.get_as::<i64>("left")?.unwrap_or(0) + 1;
                        tx.set("left", sum.to_string())?;
                        tx.set("right", sum.to_string())?;
                        Ok(sum)
                    });
                    assert!(sum.unwrap() > 0);
                }
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        threads.spawn(|| {
            while done.load(Ordering::Relaxed) < 3 {
                let both = store.mget(["left", "right"]).unwrap();
                assert_eq!(both[0], both[1]);
            }
        });
    });
    assert_eq!(store.get_as::<i64>("left").unwrap(), Some(1_500));
    assert_eq!(store.get_as::<i64>("right").unwrap(), Some(1_500));
}

#[test]
fn a_transaction_keeps_to_its_keys() {
    let store = Store::builder().shards(4).memory();
    store
        .transaction(["a", "b"], |tx| {
            assert!(matches!(tx.set("c", "x"), Err(Error::Undeclared(key)) if key == "c"));
            assert!(matches!(tx.mset([("a", "1"), ("c", "2")]), Err(Error::Undeclared(_))));
            assert!(matches!(tx.len(), Err(Error::Unbounded(_))));
            assert!(matches!(tx.run(["SORT", "a", "BY", "w_*"]), Err(Error::Unbounded(_))));
            assert!(matches!(tx.run(["DEBUG", "OBJECT", "c"]), Err(Error::Unbounded(_))));
            assert!(matches!(store.set("a", "1"), Err(Error::Nested)));
            assert!(matches!(store.transaction(["z"], |_| Ok(())), Err(Error::Nested)));
            tx.mset([("a", "1"), ("b", "2")])
        })
        .unwrap();
    assert_eq!(store.len().unwrap(), 2);
    let len = store.transaction_over_all(|tx| {
        tx.set("c", "3")?;
        tx.len()
    });
    assert_eq!(len.unwrap(), 3);
    store.transaction(Vec::<&str>::new(), |_| Ok(())).unwrap();
}

#[test]
fn a_transaction_that_fails_or_panics_lets_go() {
    let store = Store::memory();
    let failed = store.transaction(["a"], |tx| {
        tx.set("a", "text")?;
        tx.incr("a")
    });
    assert_eq!(failed.unwrap_err().to_string(), "ERR value is not an integer or out of range");
    assert_eq!(store.get("a").unwrap().unwrap(), "text");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.transaction(["a"], |_| -> Result<(), Error> { panic!("of the caller") })
    }));
    assert!(panicked.is_err());
    store.set("a", "free").unwrap();
}

#[test]
fn a_batch_replies_in_order() {
    let store = Store::builder().shards(8).memory();
    let mut batch = store.batch();
    for n in 0..200 {
        batch.set(format!("key:{n}"), n.to_string());
        batch.add(["INCR".to_owned(), format!("key:{n}")]);
        if n % 50 == 0 {
            batch.add(["MGET", "key:0", "key:1", "key:2"]);
            batch.add(["NOTHING", "of", "the", "kind"]);
        }
    }
    let replies = batch.run().unwrap();
    assert_eq!(replies.len(), batch.len());
    let mut at = replies.iter();
    for n in 0..200 {
        assert!(matches!(at.next(), Some(Ok(Reply::Status(ok))) if ok == "OK"));
        assert!(matches!(at.next(), Some(Ok(Reply::Integer(sum))) if *sum == n + 1));
        if n % 50 == 0 {
            let Some(Ok(Reply::Array(three))) = at.next() else { panic!("MGET gives an array") };
            // What came before it in the batch has been done.
            assert_eq!(three[0], Reply::Bytes("1".into()));
            assert_eq!(three[2] == Reply::Null, n == 0);
            assert!(matches!(at.next(), Some(Err(Error::UnknownCommand(_)))));
        }
    }
    assert_eq!(store.len().unwrap(), 200);
}

#[test]
fn a_scan_finds_everything_that_stays() {
    let store = Store::memory();
    for n in 0..2_000 {
        store.set(format!("key:{n}"), "v").unwrap();
    }
    let mut seen = BTreeSet::new();
    for (n, key) in store.scan().count_per_page(100).enumerate() {
        seen.insert(key.unwrap());
        store.set(format!("new:{n}"), "v").unwrap();
        if n > 10_000 {
            break;
        }
    }
    assert!((0..2_000).all(|n| seen.contains(format!("key:{n}").as_bytes())));
    let fields: Vec<(String, String)> = (0..1_000).map(|n| (format!("f{n}"), n.to_string())).collect();
    store.hset_all("hash", fields.clone()).unwrap();
    let found: BTreeSet<_> = store.hscan("hash").map(Result::unwrap).collect();
    assert_eq!(found.len(), 1_000);
    store.zadd_all("zset", fields.iter().map(|(field, n)| (field, n.parse().unwrap()))).unwrap();
    let sum: f64 = store.zscan("zset").map(|member| member.unwrap().1).sum();
    assert_eq!(sum, 499_500.0);
    assert!(store.sscan("hash").next().unwrap().unwrap_err().is_wrong_type());
}
