//! Tests of all hash commands.

use crate::keyspace::expire;
use crate::keyspace::{Keyspace, ValueRef};
use crate::testing::{Bench, WRONG_TYPE, check, check3};
use crate::types::hash::BEFORE_ALL;
use proptest::prelude::{Just, Strategy, prop_assert_eq, prop_oneof, proptest};

const START: i64 = 1_700_000_000_000;
const WRONG_NUMBER: &str = "-ERR numfields should be greater than 0 and match the provided number of fields";

/// A bench that has run some commands, with their effects and events taken away.
fn bench(script: &str) -> Bench {
    let mut bench = Bench::new();
    script.split(';').map(str::trim).filter(|line| !line.is_empty()).for_each(|line| drop(bench.run(line)));
    bench.effects();
    bench.events();
    bench
}

fn with<R>(bench: &mut Bench, run: impl FnOnce(&mut Keyspace<'_>) -> R) -> R {
    run(&mut Keyspace::one(&mut bench.shard, &bench.settings, bench.db, bench.now_ms))
}

/// Lets the active expiry remove what is due.
fn expire_all(bench: &mut Bench) {
    while !with(bench, |keyspace| expire::step(keyspace, 1_000)).done {}
}

#[test]
fn fields_come_and_go() {
    check("HSET h a 1 b 2 a 3", "2");
    check("HSET h a 1; HSET h a 2 b 1", "1");
    check("HSET h a 1; HGET h a", r#""1""#);
    check("HSET h a x; HGET h a", r#""x""#);
    check("HSET h a 1; HGET h b", "nil");
    check("HGET h a", "nil");
    check("HSET h a", "-ERR wrong number of arguments for 'hset' command");
    check("HSET h a 1 b", "-ERR wrong number of arguments for 'hset' command");
    check("HMSET h a 1 b", "-ERR wrong number of arguments for 'hmset' command");
    check("HMSET h a 1 b 2", "OK");
    check("HMSET h a 1 b 2; HMGET h a c b", r#"["1" nil "2"]"#);
    check("HMGET h a b", "[nil nil]");
    check("HSETNX h a 1", "1");
    check("HSET h a 1; HSETNX h a 2", "0");
    check("HSET h a 1; HSETNX h a 2; HGET h a", r#""1""#);
    check("HSET h a 1 b 2 c 3; HDEL h a b x a", "2");
    check("HDEL h a", "0");
    check("HSET h a 1; HDEL h a b; HLEN h", "0");
    check("HSET h a 1 b 2; HLEN h", "2");
    check("HSET h a 1; HEXISTS h a", "1");
    check("HSET h a 1; HEXISTS h b", "0");
    check("HEXISTS h b", "0");
    check("HSET h a hello n 123; HSTRLEN h a", "5");
    check("HSET h a hello n 123; HSTRLEN h n", "3");
    check("HSTRLEN h n", "0");
}

#[test]
fn whole_hashes() {
    check("HSET h a 1 b 2; HGETALL h", r#"["a" "1" "b" "2"]"#);
    check3("HSET h a 1 b 2; HGETALL h", r#"{"a": "1", "b": "2"}"#);
    check("HGETALL h", "[]");
    check3("HGETALL h", "{}");
    check("HSET h a 1 b 2; HKEYS h", r#"["a" "b"]"#);
    check("HSET h a 1 b 2; HVALS h", r#"["1" "2"]"#);
    check3("HVALS h", "[]");
    check("HKEYS h", "[]");
}

#[test]
fn other_types_are_refused() {
    for command in [
        "HSET k a 1",
        "HMSET k a 1",
        "HSETNX k a 1",
        "HGET k a",
        "HMGET k a",
        "HDEL k a",
        "HLEN k",
        "HSTRLEN k a",
        "HEXISTS k a",
        "HGETALL k",
        "HKEYS k",
        "HVALS k",
        "HINCRBY k a 1",
        "HINCRBYFLOAT k a 1",
        "HSCAN k 0",
        "HRANDFIELD k",
        "HRANDFIELD k 1",
        "HEXPIRE k 1 FIELDS 1 a",
        "HPEXPIRE k 1 FIELDS 1 a",
        "HEXPIREAT k 1 FIELDS 1 a",
        "HPEXPIREAT k 1 FIELDS 1 a",
        "HTTL k FIELDS 1 a",
        "HPTTL k FIELDS 1 a",
        "HEXPIRETIME k FIELDS 1 a",
        "HPEXPIRETIME k FIELDS 1 a",
        "HPERSIST k FIELDS 1 a",
        "HGETDEL k FIELDS 1 a",
        "HGETEX k FIELDS 1 a",
        "HGETEX k EX 1 FIELDS 1 a",
        "HSETEX k FIELDS 1 a 1",
        "HSETEX k NX FIELDS 1 a 1",
    ] {
        check(&format!("SADD k a; {command}"), WRONG_TYPE);
    }
}

#[test]
fn numbers() {
    check("HINCRBY h a 5", "5");
    check("HSET h a 10; HINCRBY h a -3", "7");
    check("HSET h a x; HINCRBY h a 1", "-ERR hash value is not an integer");
    check("HINCRBY h a x", "-ERR value is not an integer or out of range");
    check("HSET h a 9223372036854775807; HINCRBY h a 1", "-ERR increment or decrement would overflow");
    check("HSET h a -9223372036854775808; HINCRBY h a -1", "-ERR increment or decrement would overflow");
    check("HSET h a 0.1; HINCRBYFLOAT h a 0.2", r#""0.3""#);
    check("HINCRBYFLOAT h a 3.0", r#""3""#);
    check("HSET h a 5; HINCRBYFLOAT h a 1.5e1", r#""20""#);
    check("HSET h a x; HINCRBYFLOAT h a 1", "-ERR hash value is not a float");
    check("HINCRBYFLOAT h a x", "-ERR value is not a valid float");
    check("HINCRBYFLOAT h a inf", "-ERR value is NaN or Infinity");
    check("HSET h a inf; HINCRBYFLOAT h a 1", "-ERR increment would produce NaN or Infinity");
}

#[test]
fn random_fields() {
    check("HRANDFIELD h", "nil");
    check("HRANDFIELD h 3", "[]");
    check("HSET h a 1; HRANDFIELD h", r#""a""#);
    check("HSET h a 1; HRANDFIELD h 0", "[]");
    check("HSET h a 1 b 2; HRANDFIELD h 9", r#"["a" "b"]"#);
    check("HSET h a 1; HRANDFIELD h -3", r#"["a" "a" "a"]"#);
    check("HSET h a 1; HRANDFIELD h 1 WITHVALUES", r#"["a" "1"]"#);
    check("HSET h a 1; HRANDFIELD h -2 WITHVALUES", r#"["a" "1" "a" "1"]"#);
    check3("HSET h a 1; HRANDFIELD h -2 WITHVALUES", r#"[["a" "1"] ["a" "1"]]"#);
    check3("HSET h a 1; HRANDFIELD h 1", r#"["a"]"#);
    check("HRANDFIELD h x", "-ERR value is not an integer or out of range");
    check("HRANDFIELD h 1 NONSENSE", "-ERR syntax error");
    check("HRANDFIELD h 1 WITHVALUES x", "-ERR syntax error");
    check("HRANDFIELD h 4611686018427387904 WITHVALUES", "-ERR value is out of range");
    check("HRANDFIELD h -4611686018427387904 WITHVALUES", "-ERR value is out of range");
    check("HRANDFIELD h 4611686018427387903 WITHVALUES", "[]");
    check("HSET h a 1; HRANDFIELD h -9223372036854775807", "-ERR value is out of range");
    check(
        "HRANDFIELD h -9223372036854775808",
        "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
    );
}

#[test]
fn scans() {
    check("HSCAN h 0", r#"["0" []]"#);
    check("HSCAN h x", "-ERR invalid cursor");
    check("HSET h a 1 b 2; HSCAN h 0", r#"["0" ["a" "1" "b" "2"]]"#);
    check("HSET h a 1 b 2; HSCAN h 0 NOVALUES", r#"["0" ["a" "b"]]"#);
    check("HSET h a 1 b 2; HSCAN h 0 MATCH b* COUNT 5", r#"["0" ["b" "2"]]"#);
    check("HSET h a 1 b 2; HSCAN h 0 COUNT -1", "-ERR syntax error");
    check("HSET h a 1; HSCAN h 0 NOSCORES", "-ERR NOSCORES option can only be used in ZSCAN");
    let mut bench = Bench::new();
    let fields: String = (0..1000).map(|n| format!(" f{n} {n}")).collect();
    bench.run(&format!("HSET h{fields}"));
    let (mut cursor, mut seen) = ("0".to_owned(), std::collections::BTreeSet::new());
    loop {
        let reply = bench.run(&format!("HSCAN h {cursor} COUNT 50 NOVALUES"));
        let mut words = reply.split(['[', ']', '"', ' ']).filter(|w| !w.is_empty());
        cursor = words.next().unwrap().to_owned();
        seen.extend(words.map(str::to_owned));
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 1000);
}

#[test]
fn events_and_effects_of_plain_changes() {
    let mut b = bench("");
    for line in [
        "HSET h a 1",
        "HSET h a 2 b 3",
        "HSETNX h a 1",
        "HSETNX h c 1",
        "HINCRBY h a 1",
        "HINCRBYFLOAT h a 0.5",
        "HMSET h a 1",
        "HDEL h x",
        "HDEL h a x",
        "HDEL h b c",
    ] {
        b.run(line);
    }
    assert_eq!(
        b.events(),
        [
            "new h",
            "hset h",
            "hset h",
            "hset h",
            "hincrby h",
            "hincrbyfloat h",
            "hset h",
            "hdel h",
            "hdel h",
            "del h"
        ]
    );
    assert_eq!(
        b.effects(),
        [
            "0: HSET h a 1",
            "0: HSET h a 2 b 3",
            "0: HSETNX h c 1",
            "0: HINCRBY h a 1",
            "0: HSET h a 3.5",
            "0: HMSET h a 1",
            "0: HDEL h a x",
            "0: HDEL h b c"
        ]
    );
}

// ---- deadlines ---------------------------------------------------------------------------------------------

#[test]
fn deadlines_are_set_and_told() {
    check("HEXPIRE h 10 FIELDS 2 a b", "[-2 -2]");
    check("HSET h a 1; HEXPIRE h 10 FIELDS 2 a b", "[1 -2]");
    check("HSET h a 1 b 2; HEXPIRE h 10 FIELDS 1 a; HTTL h FIELDS 3 a b c", "[10 -1 -2]");
    check("HSET h a 1; HPEXPIRE h 1499 FIELDS 1 a; HTTL h FIELDS 1 a", "[1]");
    check("HSET h a 1; HPEXPIRE h 1500 FIELDS 1 a; HTTL h FIELDS 1 a", "[2]");
    check("HSET h a 1; HPEXPIRE h 1499 FIELDS 1 a; HPTTL h FIELDS 1 a", "[1499]");
    check("HSET h a 1; HEXPIREAT h 1700000100 FIELDS 1 a; HEXPIRETIME h FIELDS 1 a", "[1700000100]");
    check("HSET h a 1; HPEXPIREAT h 1700000100001 FIELDS 1 a; HPEXPIRETIME h FIELDS 1 a", "[1700000100001]");
    check("HTTL h FIELDS 1 a", "[-2]");
    check("HPERSIST h FIELDS 1 a", "[-2]");
    check("HSET h a 1 b 1; HEXPIRE h 10 FIELDS 1 a; HPERSIST h FIELDS 3 a b c", "[1 -1 -2]");
    check("HSET h a 1; HEXPIRE h 10 FIELDS 1 a; HPERSIST h FIELDS 1 a; HTTL h FIELDS 1 a", "[-1]");
    check("HSET h a 1; HEXPIRE h 10 FIELDS 1 a; HSET h a 2; HTTL h FIELDS 1 a", "[-1]");
    check("HSET h a 1; HEXPIRE h 10 FIELDS 1 a; HINCRBY h a 1; HTTL h FIELDS 1 a", "[10]");
    check("HSET h a 1; HEXPIRE h 10 FIELDS 1 a; HINCRBYFLOAT h a 1; HTTL h FIELDS 1 a", "[10]");
    check("HSET h a 1 b 1; HEXPIRE h 0 FIELDS 2 a c; HGETALL h", r#"["b" "1"]"#);
    check("HSET h a 1; HEXPIREAT h 1 FIELDS 2 a a", "[2 -2]");
    check("HSET h a 1; HEXPIREAT h 1 FIELDS 1 a; HLEN h", "0");
}

#[test]
fn conditions_on_deadlines() {
    let base = "HSET h a 1 b 1; HEXPIRE h 100 FIELDS 1 a; ";
    for (command, reply) in [
        ("HEXPIRE h 50 NX FIELDS 2 a b", "[0 1]"),
        ("HEXPIRE h 50 XX FIELDS 2 a b", "[1 0]"),
        ("HEXPIRE h 50 GT FIELDS 2 a b", "[0 0]"),
        ("HEXPIRE h 500 GT FIELDS 2 a b", "[1 0]"),
        ("HEXPIRE h 50 lt FIELDS 2 a b", "[1 1]"),
        ("HEXPIRE h 100 LT FIELDS 2 a b", "[0 1]"),
        ("HEXPIRE h 100 GT FIELDS 2 a b", "[0 0]"),
        ("HEXPIRE h 500 XX GT FIELDS 2 a b", "[1 0]"),
        ("HEXPIRE h 0 GT FIELDS 2 a b", "[0 0]"),
        ("HEXPIRE h 0 NX FIELDS 2 a b", "[0 2]"),
        (
            "HEXPIRE h 1 NX GT FIELDS 1 a",
            "-ERR NX and XX, GT or LT options at the same time are not compatible",
        ),
        ("HEXPIRE h 1 GT LT FIELDS 1 a", "-ERR GT and LT options at the same time are not compatible"),
        ("HEXPIRE h 1 FOO FIELDS 1 a", "-ERR Unsupported option FOO"),
    ] {
        check(&format!("{base}{command}"), reply);
    }
}

#[test]
fn refusals() {
    let base = "HSET h a 1; ";
    for (command, reply) in [
        ("HEXPIRE h 10 FIELDS 2 a", WRONG_NUMBER),
        ("HEXPIRE h 10 FIELDS 1 a b", WRONG_NUMBER),
        ("HEXPIRE h 10 FIELDS 0 a", WRONG_NUMBER),
        ("HEXPIRE h 10 FIELDS -1 a", WRONG_NUMBER),
        ("HEXPIRE h 10 FIELDZ 1 a", WRONG_NUMBER),
        ("HEXPIRE h 10 FIELDS x a", "-ERR value is not an integer or out of range"),
        ("HEXPIRE h x FIELDS 1 a", "-ERR value is not an integer or out of range"),
        ("HEXPIRE h -1 FIELDS 1 a", "-ERR invalid expire time in 'hexpire' command"),
        ("HEXPIRE h 9223372036854775807 FIELDS 1 a", "-ERR invalid expire time in 'hexpire' command"),
        ("HPEXPIRE h 9223372036854775807 FIELDS 1 a", "-ERR invalid expire time in 'hpexpire' command"),
        ("HPEXPIREAT h 9223372036854775807 FIELDS 1 a", "[1]"),
        ("HTTL h FIELDS 2 a", "-ERR syntax error"),
        ("HTTL h FIELDS x a", "-ERR value is not an integer or out of range"),
        ("HTTL h FIELDZ 1 a", "-ERR syntax error"),
        ("HPERSIST h FIELDS 2 a", WRONG_NUMBER),
        ("HGETDEL h FIELDS 2 a", WRONG_NUMBER),
        ("HGETDEL h FIELDS 0 a", WRONG_NUMBER),
        ("HGETDEL h a b c", "-ERR value is not an integer or out of range"),
        ("HGETDEL h a 1 b", "-ERR syntax error"),
        ("HGETEX h FIELDS 2 a", WRONG_NUMBER),
        ("HGETEX h EX 1 PX 1 FIELDS 1 a", "-ERR syntax error"),
        ("HGETEX h EX 1 PERSIST FIELDS 1 a", "-ERR syntax error"),
        ("HGETEX h PERSIST EX 1 FIELDS 1 a", "-ERR syntax error"),
        ("HGETEX h EX FIELDS 1 a", "-ERR syntax error"),
        ("HGETEX h KEEPTTL FIELDS 1 a", "-ERR syntax error"),
        ("HGETEX h EX x FIELDS 1 a", "-ERR value is not an integer or out of range"),
        ("HGETEX h EX -1 FIELDS 1 a", "-ERR invalid expire time in 'hgetex' command"),
        ("HSETEX h FIELDS 2 a 1", WRONG_NUMBER),
        ("HSETEX h FIELDS 1 a 1 b", WRONG_NUMBER),
        ("HSETEX h FIELDS 9223372036854775807 a 1", WRONG_NUMBER),
        ("HSETEX h NX XX FIELDS 1 a 1", "-ERR syntax error"),
        ("HSETEX h FNX FXX FIELDS 1 a 1", "-ERR syntax error"),
        ("HSETEX h EX 1 KEEPTTL FIELDS 1 a 1", "-ERR syntax error"),
        ("HSETEX h KEEPTTL EX 1 FIELDS 1 a 1", "-ERR syntax error"),
        ("HSETEX h PERSIST FIELDS 1 a 1", "-ERR syntax error"),
        ("HSETEX h EX -5 FIELDS 1 a 1", "-ERR invalid expire time in 'hsetex' command"),
    ] {
        check(&format!("{base}{command}"), reply);
    }
}

#[test]
fn reading_with_deadlines() {
    check("HSET h a 1; HGETEX h FIELDS 2 a b", r#"["1" nil]"#);
    check("HGETEX h EX 5 FIELDS 2 a b", "[nil nil]");
    check("HSET h a 1 b 2; HGETEX h EX 5 FIELDS 1 a; HTTL h FIELDS 2 a b", "[5 -1]");
    check("HSET h a 1; HGETEX h EX 5 FIELDS 1 a; HGETEX h PERSIST FIELDS 1 a; HTTL h FIELDS 1 a", "[-1]");
    check("HSET h a 1; HGETEX h PXAT 1 FIELDS 2 a a", r#"["1" nil]"#);
    check("HSET h a 1; HGETEX h EX 0 FIELDS 1 a; HLEN h", "0");
    check("HSET h a 1 b 2; HGETDEL h FIELDS 3 a x a", r#"["1" nil nil]"#);
    check("HSET h a 1 b 2; HGETDEL h FIELDS 2 a b; HLEN h", "0");
    check("HGETDEL h FIELDS 2 a b", "[nil nil]");
}

#[test]
fn writing_with_deadlines() {
    check("HSETEX h FIELDS 1 a 1", "1");
    check("HSETEX h EX 5 FIELDS 2 a 1 b 2; HTTL h FIELDS 2 a b", "[5 5]");
    check("HSETEX h EX 5 FIELDS 1 a 1; HSETEX h KEEPTTL FIELDS 1 a 2; HTTL h FIELDS 1 a", "[5]");
    check("HSETEX h EX 5 FIELDS 1 a 1; HSETEX h FIELDS 1 a 2; HTTL h FIELDS 1 a", "[-1]");
    check("HSETEX h FXX FIELDS 1 a 1", "0");
    check("HSETEX h FNX FIELDS 1 a 1", "1");
    check("HSET h a 1; HSETEX h FNX FIELDS 2 b 1 a 2", "0");
    check("HSET h a 1; HSETEX h FNX FIELDS 2 b 1 a 2; HGETALL h", r#"["a" "1"]"#);
    check("HSET h a 1; HSETEX h FXX FIELDS 2 a 1 b 2", "0");
    check("HSET h a 1; HSETEX h FXX FIELDS 1 a 2; HGET h a", r#""2""#);
    check("HSETEX h XX FIELDS 1 a 1", "0");
    check("HSETEX h XX FIELDS 1 a 1; HLEN h", "0");
    check("HSETEX h NX FIELDS 1 a 1", "1");
    check("HSET h b 1; HSETEX h NX FIELDS 1 a 1", "0");
    check("HSET h a 1 b 1; HSETEX h PXAT 1 FIELDS 1 a 1", "1");
    check("HSET h a 1 b 1; HSETEX h PXAT 1 FIELDS 1 a 1; HGETALL h", r#"["b" "1"]"#);
    check("HSETEX h EX 0 FIELDS 1 a 1; HLEN h", "0");
}

#[test]
fn effects_are_absolute_and_name_what_changed() {
    let at = |later: i64| START + later;
    for (command, effect) in [
        ("HEXPIRE h 10 FIELDS 2 a x", format!("0: HPEXPIREAT h {} FIELDS 1 a", at(10_000))),
        ("HPEXPIRE h 10 NX FIELDS 2 a v", format!("0: HPEXPIREAT h {} FIELDS 1 a", at(10))),
        ("HEXPIREAT h 1700000001 FIELDS 1 a", format!("0: HPEXPIREAT h {} FIELDS 1 a", at(1_000))),
        ("HPEXPIREAT h 1700000000001 FIELDS 1 a", format!("0: HPEXPIREAT h {} FIELDS 1 a", at(1))),
        ("HEXPIRE h 0 FIELDS 3 a x b", "0: HDEL h a b".to_owned()),
        ("HPERSIST h FIELDS 3 a v x", "0: HPERSIST h FIELDS 1 v".to_owned()),
        ("HGETEX h PX 7 FIELDS 2 x a", format!("0: HPEXPIREAT h {} FIELDS 1 a", at(7))),
        ("HGETEX h PERSIST FIELDS 2 v a", "0: HPERSIST h FIELDS 1 v".to_owned()),
        ("HGETEX h PX 0 FIELDS 2 x a", "0: HDEL h a".to_owned()),
        ("HGETDEL h FIELDS 2 x a", "0: HGETDEL h FIELDS 2 x a".to_owned()),
        ("HSETEX h EX 1 FIELDS 1 a 5", format!("0: HSETEX h PXAT {} FIELDS 1 a 5", at(1_000))),
        ("HSETEX h NX FNX FIELDS 1 a 5", String::new()),
        ("HSETEX h fxx KEEPTTL FIELDS 1 v 5", "0: HSETEX h KEEPTTL FIELDS 1 v 5".to_owned()),
        ("HSETEX h KEEPTTL FIELDS 1 v 5", "0: HSETEX h KEEPTTL FIELDS 1 v 5".to_owned()),
        ("HSETEX h PX 0 FIELDS 2 a 5 y 6", "0: HDEL h a".to_owned()),
        ("HSETEX h PX 0 FIELDS 1 y 6", String::new()),
        ("HINCRBY h a 1", "0: HSET h a 2".to_owned()),
        ("HINCRBY h v 1", "0: HSETEX h KEEPTTL FIELDS 1 v 2".to_owned()),
        ("HINCRBYFLOAT h v 1", "0: HSETEX h KEEPTTL FIELDS 1 v 2".to_owned()),
        ("HSETNX h y 1", "0: HSET h y 1".to_owned()),
        ("HEXPIRE h 10 FIELDS 1 x", String::new()),
        ("HPERSIST h FIELDS 1 a", String::new()),
        ("HGETEX h FIELDS 1 a", String::new()),
    ] {
        let mut b = bench("HSET h a 1 b 1 v 1; HEXPIRE h 100 FIELDS 1 v");
        b.run(command);
        assert_eq!(b.effects().join(" | "), effect, "of {command}");
    }
}

/// A deadline in the effect would have removed the field there.
#[test]
fn a_field_is_changed_in_its_last_millisecond() {
    let mut b = bench("HSET h a 1; HPEXPIRE h 10 FIELDS 1 a");
    b.now_ms += 10;
    for (command, effect) in [("HINCRBY h a 1", "2"), ("HINCRBYFLOAT h a 0.5", "2.5")] {
        b.run(command);
        assert_eq!(b.effects(), [format!("0: HSETEX h KEEPTTL FIELDS 1 a {effect}")]);
    }
    b.run("HSETEX h KEEPTTL FIELDS 1 a 3");
    assert_eq!(b.run("HPEXPIRETIME h FIELDS 1 a"), format!("[{}]", START + 10));
}

#[test]
fn events_of_deadlines() {
    for (command, events) in [
        ("HEXPIRE h 10 FIELDS 1 a", "hexpire h"),
        ("HEXPIRE h 10 FIELDS 1 x", ""),
        ("HEXPIRE h 0 FIELDS 1 a", "hexpired h"),
        ("HEXPIRE h 0 FIELDS 2 a v", "hexpired h|del h"),
        ("HPERSIST h FIELDS 1 v", "hpersist h"),
        ("HPERSIST h FIELDS 1 a", ""),
        ("HGETEX h EX 1 FIELDS 1 a", "hexpire h"),
        ("HGETEX h EX 0 FIELDS 2 a v", "hexpired h|del h"),
        ("HGETEX h PERSIST FIELDS 2 a v", "hpersist h"),
        ("HGETDEL h FIELDS 1 a", "hdel h"),
        ("HGETDEL h FIELDS 2 a v", "hdel h|del h"),
        ("HSETEX h FIELDS 1 a 2", "hset h"),
        ("HSETEX h EX 1 FIELDS 1 a 2", "hset h|hexpire h"),
        ("HSETEX h KEEPTTL FIELDS 1 a 2", "hset h"),
        ("HSETEX h EX 0 FIELDS 1 a 2", "hset h|hexpire h|hexpired h"),
        ("HSETEX h EX 0 FIELDS 2 a 2 v 1", "hset h|hexpire h|hexpired h|del h"),
        ("HSETEX n EX 0 FIELDS 1 a 2", "new n|hset n|hexpire n|hexpired n|del n"),
    ] {
        let mut b = bench("HSET h a 1 v 1; HEXPIRE h 100 FIELDS 1 v");
        b.run(command);
        assert_eq!(b.events().join("|"), events, "of {command}");
    }
}

#[test]
fn an_expired_field_is_absent_to_all() {
    for (command, reply) in [
        ("HGET h v", "nil"),
        ("HMGET h v a", r#"[nil "1"]"#),
        ("HGETALL h", r#"["a" "1"]"#),
        ("HKEYS h", r#"["a"]"#),
        ("HVALS h", r#"["1"]"#),
        ("HLEN h", "2"),
        ("HEXISTS h v", "0"),
        ("HSTRLEN h v", "0"),
        ("HSCAN h 0", r#"["0" ["a" "1"]]"#),
        ("HRANDFIELD h 5", r#"["a"]"#),
        ("HRANDFIELD h -1", r#"["a"]"#),
        ("HTTL h FIELDS 1 v", "[-2]"),
        ("HPERSIST h FIELDS 1 v", "[-2]"),
        ("HEXPIRE h 10 FIELDS 1 v", "[-2]"),
        ("HEXPIRE h 0 FIELDS 1 v", "[-2]"),
        ("HDEL h v", "0"),
        ("HGETDEL h FIELDS 1 v", "[nil]"),
        ("HGETEX h EX 5 FIELDS 1 v", "[nil]"),
        ("HSET h v 2", "1"),
        ("HSETNX h v 2", "1"),
        ("HINCRBY h v 2", "2"),
        ("HINCRBYFLOAT h v 2", r#""2""#),
        ("HSETEX h FNX FIELDS 1 v 1", "1"),
        ("HSETEX h FXX FIELDS 1 v 1", "0"),
    ] {
        let mut b = bench("HSET h a 1 v 1; HPEXPIRE h 10 FIELDS 1 v");
        b.now_ms += 10;
        assert_eq!(b.run("HGET h v"), r#""1""#, "its time is not over yet");
        b.now_ms += 1;
        assert_eq!(b.run(command), reply, "of {command}");
    }
}

#[test]
fn what_overwrites_an_expired_field_counts_it() {
    for (command, events, effects) in [
        ("HSET h v 2", "hexpired h|hset h", "0: HSET h v 2"),
        ("HSET h a 2", "hset h", "0: HSET h a 2"),
        ("HSETNX h v 2", "hexpired h|hset h", "0: HSET h v 2"),
        ("HINCRBY h v 2", "hexpired h|hincrby h", "0: HSET h v 2"),
        (
            "HSETEX h KEEPTTL FIELDS 1 v 2",
            "hexpired h|hset h",
            "0: HDEL h v|0: HSETEX h KEEPTTL FIELDS 1 v 2",
        ),
        (
            "HSETEX h FNX KEEPTTL FIELDS 1 v 2",
            "hexpired h|hset h",
            "0: HDEL h v|0: HSETEX h KEEPTTL FIELDS 1 v 2",
        ),
        ("HDEL h v", "hexpired h", "0: HDEL h v"),
        ("HDEL h v a", "hexpired h|hdel h|del h", "0: HDEL h v a"),
        ("HGETDEL h FIELDS 1 v", "hexpired h", "0: HGETDEL h FIELDS 1 v"),
    ] {
        let mut b = bench("HSET h a 1 v 1; HPEXPIRE h 10 FIELDS 1 v");
        b.now_ms += 11;
        b.run(command);
        assert_eq!(b.events().join("|"), events, "of {command}");
        assert_eq!(b.effects().join("|"), effects, "of {command}");
        assert_eq!(b.shard.stats.expired_fields, u64::from(events.contains("hexpired")));
    }
}

#[test]
fn the_active_expiry_knows_of_all_deadlines() {
    for set in ["HEXPIRE h 10 FIELDS 1 a", "HGETEX h EX 10 FIELDS 1 a", "HSETEX h EX 10 FIELDS 1 a 1"] {
        let mut b = bench(&format!("HSET h a 1 b 1; {set}"));
        assert_eq!(b.shard.counts(0).volatile, 1, "after {set}");
        b.now_ms += 10_000;
        expire_all(&mut b);
        assert_eq!(b.run("HLEN h"), "2");
        b.now_ms += 1;
        expire_all(&mut b);
        assert_eq!(b.run("HLEN h"), "1", "after {set}");
        assert_eq!(b.events(), ["hexpired h"]);
        assert_eq!(b.effects(), ["0: HDEL h a"]);
        assert_eq!(b.shard.counts(0).volatile, 0);
    }
    for drop in [
        "HPERSIST h FIELDS 1 a",
        "HDEL h a",
        "HDEL h a b",
        "HSET h a 2",
        "HGETDEL h FIELDS 1 a",
        "HGETDEL h FIELDS 2 a b",
        "HGETEX h PERSIST FIELDS 1 a",
        "HSETEX h FIELDS 1 a 1",
        "HEXPIRE h 0 FIELDS 1 a",
        "HEXPIRE h 0 FIELDS 2 a b",
        "HGETEX h EX 0 FIELDS 2 a b",
        "HSETEX h EX 0 FIELDS 1 a 1",
    ] {
        let mut b = bench("HSET h a 1 b 1; HEXPIRE h 10 FIELDS 1 a");
        b.run(drop);
        let counts = b.shard.counts(0);
        assert_eq!((counts.volatile, counts.expires, counts.with_fields), (0, 0, 0), "after {drop}");
    }
    for moved in ["RENAME h g", "COPY h g", "SET g x; RENAME h g", "MOVE h 1"] {
        let b = bench(&format!("HSET h a 1 b 1; HEXPIRE h 10 FIELDS 1 a; {moved}"));
        let volatile = b.shard.counts(0).volatile + b.shard.counts(1).volatile;
        let with_fields = b.shard.counts(0).with_fields + b.shard.counts(1).with_fields;
        let hashes = 1 + usize::from(moved.starts_with("COPY"));
        assert_eq!((with_fields, volatile), (hashes, hashes), "after {moved}");
    }
    // A key that expires and whose fields expire is one volatile key.
    let mut b = bench("SET k v; HSETEX h EX 10 FIELDS 1 a 1");
    with(&mut b, |keyspace| keyspace.set_expiry(b"h", Some(START + 50_000)));
    let counts =
        |b: &Bench| (b.shard.counts(0).volatile, b.shard.counts(0).expires, b.shard.counts(0).with_fields);
    assert_eq!(counts(&b), (1, 1, 1));
    b.run("HPERSIST h FIELDS 1 a");
    assert_eq!(counts(&b), (1, 1, 0));
    b.run("HEXPIRE h 1 FIELDS 1 a");
    assert_eq!(counts(&b), (1, 1, 1));
    b.run("SET h x KEEPTTL");
    assert_eq!(counts(&b), (1, 1, 0));
    b.run("DEL h");
    b.run("HSETEX h EX 1 FIELDS 1 a 1");
    assert_eq!(counts(&b), (1, 0, 1));
    b.now_ms += 1_001;
    expire_all(&mut b);
    assert_eq!((counts(&b), b.shard.counts(0).keys), ((0, 0, 0), 1));
}

#[test]
fn the_encoding_follows_what_is_written() {
    let encoding = |script: &str| {
        let mut b = Bench::new();
        b.settings.hash_max_listpack_entries = 2;
        b.settings.hash_max_listpack_value = 4;
        script.split(';').for_each(|line| drop(b.run(line.trim())));
        with(&mut b, |keyspace| keyspace.hash(b"h").unwrap().unwrap().encoding_name())
    };
    assert_eq!(encoding("HSET h a 1 b 2"), "listpack");
    assert_eq!(encoding("HSET h a 1 b 2 c 3"), "hashtable");
    assert_eq!(encoding("HSET h a 12345"), "hashtable");
    assert_eq!(encoding("HSET h a 1; HINCRBY h a 99999"), "hashtable");
    assert_eq!(encoding("HSET h a 1; HSETEX h FIELDS 1 b 2"), "listpack");
    assert_eq!(encoding("HSET h a 1; HEXPIRE h 5 XX FIELDS 1 a"), "listpack");
    assert_eq!(encoding("HSET h a 1; HEXPIRE h 5 FIELDS 1 a"), "hashtable");
    assert_eq!(encoding("HSET h a 1 b 1; HEXPIRE h 0 FIELDS 1 a"), "listpack");
}

// ---- replay ------------------------------------------------------------------------------------------------

/// A command, or a wait of so many milliseconds.
fn step() -> impl Strategy<Value = Result<String, i64>> {
    let key = || (0..2u8).prop_map(|n| format!("h{n}"));
    let field = || (0..6u8).prop_map(|n| format!("f{n}"));
    let pair = (field(), 0..50i32).prop_map(|(f, v)| format!("{f} {v}"));
    let fields = move || {
        proptest::collection::vec(field(), 1..4).prop_map(|f| format!("FIELDS {} {}", f.len(), f.join(" ")))
    };
    let pairs = || proptest::collection::vec(pair.clone(), 1..4);
    let ms = || 0..40i64;
    let at = || (0..400i64).prop_map(|ms| START + ms);
    let condition = || prop_oneof![Just(""), Just("NX"), Just("XX"), Just("GT"), Just("LT")];
    let write = prop_oneof![
        Just(""),
        Just("KEEPTTL"),
        Just("PX 30"),
        Just("PX 0"),
        Just("FNX PX 9"),
        Just("FXX KEEPTTL"),
        Just("NX"),
        Just("XX")
    ];
    prop_oneof![
        4 => (key(), pairs()).prop_map(|(k, p)| Ok(format!("HSET {k} {}", p.join(" ")))),
        1 => (key(), field()).prop_map(|(k, f)| Ok(format!("HSETNX {k} {f} 1"))),
        2 => (key(), proptest::collection::vec(field(), 1..3)).prop_map(|(k, f)| Ok(format!("HDEL {k} {}", f.join(" ")))),
        1 => (key(), field()).prop_map(|(k, f)| Ok(format!("HINCRBY {k} {f} 3"))),
        1 => (key(), field()).prop_map(|(k, f)| Ok(format!("HINCRBYFLOAT {k} {f} 0.5"))),
        3 => (key(), ms(), condition(), fields()).prop_map(|(k, n, c, f)| Ok(format!("HPEXPIRE {k} {n} {c} {f}"))),
        2 => (key(), at(), condition(), fields()).prop_map(|(k, n, c, f)| Ok(format!("HPEXPIREAT {k} {n} {c} {f}"))),
        1 => (key(), fields()).prop_map(|(k, f)| Ok(format!("HPERSIST {k} {f}"))),
        1 => (key(), fields()).prop_map(|(k, f)| Ok(format!("HGETDEL {k} {f}"))),
        1 => (key(), prop_oneof![Just("PX 20"), Just("PERSIST"), Just("PX 0"), Just("")], fields()).prop_map(|(k, o, f)| Ok(format!("HGETEX {k} {o} {f}"))),
        2 => (key(), write, pairs()).prop_map(|(k, o, p)| Ok(format!("HSETEX {k} {o} FIELDS {} {}", p.len(), p.join(" ")))),
        3 => (0..25i64).prop_map(Err),
    ]
}

/// All fields with their deadlines, those that are expired included.
fn state(bench: &mut Bench) -> Vec<(Vec<u8>, Vec<u8>, Option<i64>)> {
    with(bench, |keyspace| {
        let mut all = Vec::new();
        for key in [b"h0", b"h1"] {
            if let Some(ValueRef::Hash(hash)) = keyspace.peek(key) {
                let entry = |f: crate::types::hash::Field<'_>| {
                    ([&key[..], b" ", &f.name.to_vec()].concat(), f.value.to_vec(), f.expire_at_ms)
                };
                all.extend(hash.iter(BEFORE_ALL).map(entry));
            }
        }
        all.sort();
        all
    })
}

proptest! {
    /// The effects of commands and of the active expiry, run on an empty key space, give the same fields with the
    /// same deadlines, whether they run at the same times or before anything expires.
    #[test]
    fn replaying_the_effects_gives_the_same_state(steps in proptest::collection::vec(step(), 0..80)) {
        let (mut first, mut second, mut early) = (Bench::new(), Bench::new(), Bench::new());
        early.now_ms = 0;
        for step in steps {
            match &step {
                Ok(line) => drop(first.run(line)),
                Err(ms) => {
                    first.now_ms += ms;
                    if ms % 3 == 0 {
                        expire_all(&mut first);
                    }
                }
            }
            second.now_ms = first.now_ms;
            for effect in first.effects() {
                let line = effect.split_once(' ').unwrap().1;
                second.run(line);
                early.run(line);
            }
            prop_assert_eq!(state(&mut first), state(&mut second), "after {:?}", step);
            prop_assert_eq!(state(&mut first), state(&mut early), "after {:?}", step);
            prop_assert_eq!(first.shard.counts(0), second.shard.counts(0), "after {:?}", step);
        }
    }
}
