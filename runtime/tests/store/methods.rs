//! Every typed method beside the command that it stands for: the same reply, the same effect.

use baton::store::{FromReply, Ttl};
use baton::{Error, Reply, Store};
use std::fmt::Debug;
use std::time::Duration;

/// Runs `setup` in two stores, the method in one and the command in the other: their replies and all their data must be
/// equal then. Words are parted by spaces, commands by `;`.
#[track_caller]
fn same<T: FromReply + PartialEq + Debug>(
    setup: &str,
    method: impl FnOnce(&Store) -> Result<T, Error>,
    command: &str,
) {
    let (one, other) = (Store::memory(), Store::memory());
    for line in setup.split(';').map(str::trim).filter(|line| !line.is_empty()) {
        for store in [&one, &other] {
            store.run(line.split(' ')).expect("the setup runs");
        }
    }
    let by_method = method(&one).map_err(|error| error.to_string());
    let by_command = other.run_as::<T>(command.split(' ')).map_err(|error| error.to_string());
    assert_eq!(by_method, by_command, "the reply of {command}");
    assert_eq!(content(&one), content(&other), "the effect of {command}");
}

/// All keys with their values as DUMP shows them and whether they expire.
fn content(store: &Store) -> Vec<(String, Reply, bool)> {
    let keys: Vec<String> = store.run_as(["KEYS", "*"]).unwrap();
    let mut all: Vec<_> = keys
        .into_iter()
        .map(|key| {
            let dump = store.run(["DUMP", &key]).unwrap();
            let expires = matches!(store.ttl(&key).unwrap(), Ttl::Left(_));
            (key, dump, expires)
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn strings() {
    let text = "SET k value";
    same(text, |s| s.get("k"), "GET k");
    same(text, |s| s.get("x"), "GET x");
    same("SET k 7", |s| s.get("k"), "GET k");
    same("RPUSH k a", |s| s.get("k"), "GET k");
    same("SET k old EX 100", |s| s.set("k", "new"), "SET k new");
    same("RPUSH k a", |s| s.set("k", "12"), "SET k 12");
    same("", |s| s.set_ex("k", "v", MINUTE), "SET k v PX 60000");
    same("", |s| s.set_ex("k", "v", Duration::ZERO), "SET k v PX 0");
    same(text, |s| s.set_nx("k", "v"), "SET k v NX");
    same("", |s| s.set_nx("k", "v"), "SET k v NX");
    same("", |s| s.set_nx_ex("k", "v", MINUTE), "SET k v NX PX 60000");
    same("", |s| s.set_xx("k", "v"), "SET k v XX");
    same("SET k v EX 100", |s| s.set_keep_ttl("k", "w"), "SET k w KEEPTTL");
    same(text, |s| s.get_set("k", "v"), "SET k v GET");
    same(text, |s| s.set_if_eq("k", "value", "v"), "SET k v IFEQ value");
    same(text, |s| s.set_if_eq("k", "other", "v"), "SET k v IFEQ other");
    same(text, |s| s.del_if_eq("k", "value"), "DELIFEQ k value");
    same(text, |s| s.get_del("k"), "GETDEL k");
    same(text, |s| s.get_ex("k", MINUTE), "GETEX k PX 60000");
    same(text, |s| s.append("k", "more"), "APPEND k more");
    same(text, |s| s.strlen("k"), "STRLEN k");
    same(text, |s| s.getrange("k", 1, -2), "GETRANGE k 1 -2");
    same(text, |s| s.setrange("k", 2, "XX"), "SETRANGE k 2 XX");
    same("SET a 1;SET b 2", |s| s.mget(["a", "x", "b"]), "MGET a x b");
    same("", |s| s.mset([("a", "1"), ("b", "2")]), "MSET a 1 b 2");
    same("SET b 1", |s| s.mset_nx([("a", "1"), ("b", "2")]), "MSETNX a 1 b 2");
    same("", |s| s.mset(Vec::<(String, String)>::new()), "MSET");
}

#[test]
fn numbers_and_bits() {
    same("SET n 5", |s| s.incr("n"), "INCR n");
    same("", |s| s.decr("n"), "DECR n");
    same("SET n 5 EX 100", |s| s.incr_by("n", -9), "INCRBY n -9");
    same("SET n x", |s| s.incr_by("n", 1), "INCRBY n 1");
    same("SET n 9223372036854775807", |s| s.incr_by("n", 1), "INCRBY n 1");
    same("RPUSH n 1", |s| s.incr("n"), "INCR n");
    same("SET n 1.5", |s| s.incr_by_float("n", 0.25), "INCRBYFLOAT n 0.25");
    same("SET n 5", |s| s.get_as::<i64>("n"), "GET n");
    same("", |s| s.setbit("b", 9, true), "SETBIT b 9 1");
    same("SETBIT b 9 1", |s| s.getbit("b", 9), "GETBIT b 9");
    same("SET b foobar", |s| s.bitcount("b"), "BITCOUNT b");
    same("", |s| s.pfadd("p", ["a", "b"]), "PFADD p a b");
    same("PFADD p a b c", |s| s.pfcount(["p"]), "PFCOUNT p");
}

#[test]
fn keys() {
    same("SET k v", |s| s.del("k"), "DEL k");
    same("SET a 1;SET b 2", |s| s.del_all(["a", "b", "c"]), "DEL a b c");
    same("SET k v", |s| s.unlink("k"), "UNLINK k");
    same("SET k v", |s| s.exists("k"), "EXISTS k");
    same("", |s| s.exists("k"), "EXISTS k");
    same("SET k v", |s| s.expire("k", MINUTE), "PEXPIRE k 60000");
    same("SET k v", |s| s.expire("k", Duration::ZERO), "PEXPIRE k 0");
    same("", |s| s.expire("k", MINUTE), "PEXPIRE k 60000");
    let later = std::time::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    same("SET k v", |s| s.expire_at("k", later), "PEXPIREAT k 4000000000000");
    same("SET k v EX 100", |s| s.persist("k"), "PERSIST k");
    same("SET k v", |s| s.rename("k", "l"), "RENAME k l");
    same("", |s| s.rename("k", "l"), "RENAME k l");
    same("SET k v;SET l w", |s| s.rename_nx("k", "l"), "RENAMENX k l");
    same("RPUSH k a b", |s| s.copy("k", "l"), "COPY k l");
    same("RPUSH k a b", |s| s.dump("k"), "DUMP k");
    same("SET k v", |s| s.random_key(), "RANDOMKEY");
    same("SET k v", |s| s.len(), "DBSIZE");
    same("SET k v;SET l w", |s| s.clear(), "FLUSHDB");
    same("SET k v", |s| Ok(s.kind("k")?.map(|kind| kind.name().to_owned())), "TYPE k");
}
