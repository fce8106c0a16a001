//! Every typed method beside the command that it stands for: the same reply, the same effect.

use baton::store::{FromReply, StreamEntry, StreamId, Ttl};
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

#[test]
fn hashes() {
    let hash = "HSET h a 1 b 2";
    same(hash, |s| s.hget("h", "a"), "HGET h a");
    same(hash, |s| s.hset("h", "c", "3"), "HSET h c 3");
    same(hash, |s| s.hset_all("h", [("b", "x"), ("c", "3")]), "HSET h b x c 3");
    same(hash, |s| s.hset_nx("h", "a", "9"), "HSETNX h a 9");
    same(hash, |s| s.hmget("h", ["a", "x"]), "HMGET h a x");
    same(hash, |s| s.hgetall("h"), "HGETALL h");
    same("", |s| s.hgetall("h"), "HGETALL h");
    same(hash, |s| s.hdel("h", "a"), "HDEL h a");
    same(hash, |s| s.hdel_all("h", ["a", "b", "c"]), "HDEL h a b c");
    same(hash, |s| s.hexists("h", "a"), "HEXISTS h a");
    same(hash, |s| s.hlen("h"), "HLEN h");
    same(hash, |s| s.hkeys("h"), "HKEYS h");
    same(hash, |s| s.hvals("h"), "HVALS h");
    same(hash, |s| s.hincr_by("h", "a", 5), "HINCRBY h a 5");
    same(hash, |s| s.hincr_by_float("h", "a", 0.5), "HINCRBYFLOAT h a 0.5");
    same("SET h text", |s| s.hget("h", "a"), "HGET h a");
    same("SET h text", |s| s.hset("h", "a", "1"), "HSET h a 1");
    let store = Store::memory();
    store.hset("h", "a", "1").unwrap();
    assert!(store.hexpire("h", "a", MINUTE).unwrap());
    assert!(!store.hexpire("h", "x", MINUTE).unwrap());
    assert!(!store.hexpire("nothing", "x", MINUTE).unwrap());
    assert!(store.run_as::<Vec<i64>>(["HTTL", "h", "FIELDS", "1", "a"]).unwrap()[0] > 50);
}

#[test]
fn lists() {
    use baton::store::End::{Left, Right};
    let list = "RPUSH l a b c b";
    same(list, |s| s.lpush("l", ["x", "y"]), "LPUSH l x y");
    same(list, |s| s.rpush("l", ["x", "y"]), "RPUSH l x y");
    same(list, |s| s.lpop("l"), "LPOP l");
    same(list, |s| s.rpop("l"), "RPOP l");
    same("", |s| s.rpop("l"), "RPOP l");
    same(list, |s| s.pop_many("l", Left, 2), "LPOP l 2");
    same(list, |s| s.pop_many("l", Right, 9), "RPOP l 9");
    same(list, |s| s.llen("l"), "LLEN l");
    same(list, |s| s.lrange("l", 1, -1), "LRANGE l 1 -1");
    same(list, |s| s.lindex("l", -1), "LINDEX l -1");
    same(list, |s| s.lset("l", 1, "z"), "LSET l 1 z");
    same(list, |s| s.lset("l", 10, "z"), "LSET l 10 z");
    same(list, |s| s.ltrim("l", 1, 2), "LTRIM l 1 2");
    same(list, |s| s.lrem("l", -1, "b"), "LREM l -1 b");
    same(list, |s| s.lmove("l", "m", Left, Right), "LMOVE l m LEFT RIGHT");
    same("SET l text", |s| s.lpush("l", ["x"]), "LPUSH l x");
}

#[test]
fn sets() {
    let sets = "SADD s a b c;SADD t b c d";
    same(sets, |s| s.sadd("s", ["c", "d"]), "SADD s c d");
    same(sets, |s| s.srem("s", ["c", "d"]), "SREM s c d");
    same(sets, |s| s.sismember("s", "a"), "SISMEMBER s a");
    same(sets, |s| s.smismember("s", ["a", "d"]), "SMISMEMBER s a d");
    same(sets, |s| s.smembers("s"), "SMEMBERS s");
    same(sets, |s| s.scard("s"), "SCARD s");
    same("SADD s a", |s| s.spop("s"), "SPOP s");
    same("SADD s a", |s| s.srandmember("s"), "SRANDMEMBER s");
    same(sets, |s| s.smove("s", "t", "a"), "SMOVE s t a");
    same(sets, |s| s.sinter(["s", "t"]), "SINTER s t");
    same(sets, |s| s.sunion(["s", "t"]), "SUNION s t");
    same(sets, |s| s.sdiff(["s", "t"]), "SDIFF s t");
    same("SET s text", |s| s.smembers("s"), "SMEMBERS s");
}

#[test]
fn sorted_sets() {
    let zset = "ZADD z 1 a 2 b 3 c";
    same(zset, |s| s.zadd("z", "d", 1.5), "ZADD z 1.5 d");
    same(zset, |s| s.zadd("z", "d", f64::NEG_INFINITY), "ZADD z -inf d");
    same(zset, |s| s.zadd_all("z", [("a", 9.0), ("e", 4.0)]), "ZADD z 9 a 4 e");
    same(zset, |s| s.zincr_by("z", "a", 2.5), "ZINCRBY z 2.5 a");
    same(zset, |s| s.zrem("z", ["a", "x"]), "ZREM z a x");
    same(zset, |s| s.zscore("z", "b"), "ZSCORE z b");
    same(zset, |s| s.zscore("z", "x"), "ZSCORE z x");
    same(zset, |s| s.zrank("z", "b"), "ZRANK z b");
    same(zset, |s| s.zrevrank("z", "x"), "ZREVRANK z x");
    same(zset, |s| s.zcard("z"), "ZCARD z");
    same(zset, |s| s.zcount("z", 1.0..3.0), "ZCOUNT z 1 (3");
    same(zset, |s| s.zcount("z", ..), "ZCOUNT z -inf +inf");
    same(zset, |s| s.zrange("z", 0, 1), "ZRANGE z 0 1 WITHSCORES");
    same(zset, |s| s.zrevrange("z", 0, -1), "ZRANGE z 0 -1 REV WITHSCORES");
    same(zset, |s| s.zrange_by_score("z", ..=2.0), "ZRANGE z -inf 2 BYSCORE WITHSCORES");
    same(zset, |s| s.zrem_by_score("z", 2.0..), "ZREMRANGEBYSCORE z 2 +inf");
    same(zset, |s| s.zpopmin("z", 2), "ZPOPMIN z 2");
    same(zset, |s| s.zpopmax("z", 2), "ZPOPMAX z 2");
    same("SET z text", |s| s.zcard("z"), "ZCARD z");
}

/// What commands refuse as a bound is a range without ids here, as it is for a `BTreeMap`.
#[test]
fn ranges_of_ids_that_hold_none() {
    let store = Store::memory();
    store
        .run(["XADD", "log", "18446744073709551615-18446744073709551615", "last", "entry"])
        .expect("it is added");
    let none: Vec<StreamEntry> = Vec::new();
    assert_eq!(store.xread("log", StreamId::MAX, 1).expect("an empty range"), none);
    assert_eq!(store.xrev_range("log", ..StreamId::MIN, 1).expect("an empty range"), none);
    let before = StreamId { seq: u64::MAX - 1, ..StreamId::MAX };
    assert_eq!(store.xread("log", before, 1).expect("a range").len(), 1);
    store.set("text", "no stream").expect("it is set");
    assert!(store.xread("text", StreamId::MAX, 1).is_err(), "another type is refused as ever");
}

#[test]
fn transactions_have_the_same_methods() {
    let run = |store: &Store| {
        store.transaction(["k", "n", "z", "h"], |tx| {
            tx.set("k", "v")?;
            tx.set_ex("k", "w", MINUTE)?;
            tx.incr_by("n", 4)?;
            tx.zadd("z", "m", 2.0)?;
            tx.hset("h", "f", "v")?;
            assert!(tx.exists("k")?);
            assert!(tx.ttl("k")?.left().is_some());
            assert_eq!(tx.ttl("x").unwrap_err().to_string().matches("'x'").count(), 1);
            tx.get("k")
        })
    };
    let (one, other) = (Store::memory(), Store::memory());
    assert_eq!(run(&one).unwrap().unwrap(), "w");
    let alone = ["SET k v", "SET k w PX 60000", "INCRBY n 4", "ZADD z 2 m", "HSET h f v"];
    alone.iter().for_each(|line| drop(other.run(line.split(' ')).unwrap()));
    assert_eq!(content(&one), content(&other));
}
