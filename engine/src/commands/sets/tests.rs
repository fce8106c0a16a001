//! Tests of all set commands.

use crate::testing::{Bench, WRONG_TYPE, check, check3};
use proptest::prelude::{Just, Strategy, prop_assert_eq, prop_oneof, proptest};

#[test]
fn members_come_and_go() {
    check("SADD s a b a", "2");
    check("SADD s a b; SADD s b c", "1");
    check("SADD s 3 1 2; SMEMBERS s", r#"["1" "2" "3"]"#);
    check("SADD s a 1; SMEMBERS s", r#"["a" "1"]"#);
    check3("SADD s a; SMEMBERS s", r#"~["a"]"#);
    check("SMEMBERS s", "[]");
    check3("SMEMBERS s", "~[]");
    check("SADD s a b c; SREM s a c x", "2");
    check("SREM s a", "0");
    check("SADD s a b; SREM s a b; SCARD s", "0");
    check("SADD s a b; SCARD s", "2");
    check("SADD s 5 a; SISMEMBER s 5", "1");
    check("SADD s 5; SISMEMBER s 05", "0");
    check("SISMEMBER s a", "0");
    check("SADD s a; SMISMEMBER s a b", "[1 0]");
    check("SMISMEMBER s a b", "[0 0]");
}

#[test]
fn other_types_are_refused() {
    for command in [
        "SADD",
        "SREM",
        "SISMEMBER",
        "SMISMEMBER",
        "SMOVE a",
        "SRANDMEMBER",
        "SPOP",
        "SSCAN",
        "SDIFF",
        "SUNION",
        "SINTER",
        "SINTERSTORE x",
        "SUNIONSTORE x",
        "SDIFFSTORE x",
        "SINTERCARD 2",
    ] {
        let (name, before) = command.split_once(' ').unwrap_or((command, ""));
        let rest = match name {
            "SPOP" | "SRANDMEMBER" => "1",
            "SSCAN" => "0",
            _ => "a",
        };
        check(&format!("SADD a a; HSET k f v; {name} {before} k {rest}"), WRONG_TYPE);
    }
    check("HSET k f v; SMEMBERS k", WRONG_TYPE);
    check("HSET k f v; SCARD k", WRONG_TYPE);
    check("HSET k f v; SMOVE missing k a", "0");
    check("HSET k f v; SMOVE k missing a", WRONG_TYPE);
    check("HSET k f v; SINTER missing k", WRONG_TYPE);
    check("HSET k f v; SADD s a; SUNIONSTORE k s; SMEMBERS k", r#"["a"]"#);
}

#[test]
fn moves() {
    check("SADD a 1 2; SMOVE a b 1; SMEMBERS b", r#"["1"]"#);
    check("SADD a 1 2; SMOVE a b 3", "0");
    check("SMOVE a b 3", "0");
    check("SADD a 1; SMOVE a a 1", "1");
    check("SADD a 1; SMOVE a a 2", "0");
    check("SADD a 1; SADD b 1; SMOVE a b 1; SCARD a", "0");
    let mut bench = Bench::new();
    bench.run("SADD a 1");
    bench.events();
    bench.run("SMOVE a b 1");
    assert_eq!(bench.events(), ["srem a", "del a", "new b", "sadd b"]);
    bench.run("SADD a 1");
    bench.effects();
    bench.events();
    bench.run("SMOVE a b 1");
    assert_eq!(bench.events(), ["srem a", "del a"]);
    assert_eq!(bench.effects(), ["0: SMOVE a b 1"]);
}

#[test]
fn events_and_effects_of_plain_changes() {
    let mut bench = Bench::new();
    bench.run("SADD s a b");
    bench.run("SADD s a");
    bench.run("SREM s a x");
    bench.run("SREM s x");
    bench.run("SREM s b");
    assert_eq!(bench.events(), ["new s", "sadd s", "srem s", "srem s", "del s"]);
    assert_eq!(bench.effects(), ["0: SADD s a b", "0: SREM s a x", "0: SREM s b"]);
}

#[test]
fn the_encoding_follows_what_is_added() {
    let mut bench = Bench::new();
    bench.settings.set_max_intset_entries = 3;
    bench.settings.set_max_listpack_entries = 2;
    let mut encoding = |line: &str, key: &str| {
        bench.run(line);
        let mut ctx = crate::keyspace::Keyspace::one(&mut bench.shard, &bench.settings, 0, bench.now_ms);
        ctx.set(key.as_bytes()).unwrap().unwrap().encoding_name()
    };
    assert_eq!(encoding("SADD a 1 2 3", "a"), "intset");
    assert_eq!(encoding("SADD a 4", "a"), "hashtable");
    assert_eq!(encoding("SADD b 1 x", "b"), "listpack");
    assert_eq!(encoding("SADD c x y z", "c"), "hashtable");
    assert_eq!(encoding("SADD d x 1 2", "d"), "hashtable");
    assert_eq!(encoding("SINTERSTORE e a d", "e"), "intset");
    assert_eq!(encoding("SUNIONSTORE f b", "f"), "listpack");
    assert_eq!(encoding("SDIFFSTORE g a b", "g"), "intset");
}

#[test]
fn algebra() {
    let sets = "SADD a 1 2 3 x; SADD b 2 3 x y; SADD c 3 z; ";
    for (command, reply) in [
        ("SINTER a b", r#"["2" "3" "x"]"#),
        ("SINTER a b c", r#"["3"]"#),
        ("SINTER a missing", "[]"),
        ("SINTER a a", r#"["1" "2" "3" "x"]"#),
        ("SUNION a c", r#"["1" "2" "3" "x" "z"]"#),
        ("SUNION missing c", r#"["3" "z"]"#),
        ("SUNION missing", "[]"),
        ("SDIFF a b", r#"["1"]"#),
        ("SDIFF a b c missing", r#"["1"]"#),
        ("SDIFF a b a", "[]"),
        ("SDIFF missing a", "[]"),
        ("SDIFF c", r#"["3" "z"]"#),
        ("SINTERCARD 2 a b", "3"),
        ("SINTERCARD 2 a b LIMIT 2", "2"),
        ("SINTERCARD 2 a b LIMIT 0", "3"),
        ("SINTERCARD 2 a b LIMIT 9", "3"),
        ("SINTERCARD 2 a missing", "0"),
        ("SINTERCARD 0 a", "-ERR numkeys should be greater than 0"),
        ("SINTERCARD x a", "-ERR numkeys should be greater than 0"),
        ("SINTERCARD 2 a", "-ERR Number of keys can't be greater than number of args"),
        ("SINTERCARD 1 a LIMIT -1", "-ERR LIMIT can't be negative"),
        ("SINTERCARD 1 a LIMIT x", "-ERR LIMIT can't be negative"),
        ("SINTERCARD 1 a LIMIT", "-ERR syntax error"),
        ("SINTERCARD 1 a b", "-ERR syntax error"),
        ("SINTERSTORE d a b", "3"),
        ("SUNIONSTORE d a b", "5"),
        ("SUNIONSTORE a a b; SCARD a", "5"),
        ("SDIFFSTORE d a b; SMEMBERS d", r#"["1"]"#),
        ("SDIFFSTORE c a a; SMEMBERS c", "[]"),
    ] {
        check(&format!("{sets}{command}"), reply);
    }
    check3("SINTER missing", "~[]");
    check3("SADD a 1; SUNION a", r#"~["1"]"#);
    check3("SADD a 1; SDIFF a", r#"~["1"]"#);
}

#[test]
fn both_ways_to_subtract_agree() {
    let mut bench = Bench::new();
    for n in 0..60 {
        bench.run(&format!("SADD a {n} x{n}"));
        bench.run(&format!("SADD s{} {n} x{}", n % 20, n + 1));
    }
    let keys: String = (0..19).map(|n| format!(" s{n}")).collect();
    assert_eq!(bench.run(&format!("SDIFFSTORE d a{keys}")), "6");
    assert_eq!(bench.run("SINTERCARD 2 d s19"), "5");
    assert_eq!(bench.run("SISMEMBER d x0"), "1");
}

#[test]
fn events_of_stores() {
    let mut bench = Bench::new();
    bench.run("SADD a 1");
    bench.events();
    bench.effects();
    bench.run("SUNIONSTORE d a");
    bench.run("SINTERSTORE d a");
    bench.run("SDIFFSTORE d a");
    bench.run("SDIFFSTORE d a a");
    bench.run("SDIFFSTORE d a a");
    let events = bench.events();
    assert_eq!(
        events.iter().filter(|e| !e.starts_with("keymiss")).collect::<Vec<_>>(),
        ["new d", "sunionstore d", "sinterstore d", "sdiffstore d", "del d"]
    );
    assert_eq!(bench.effects().len(), 4);
}

#[test]
fn random_members() {
    check("SRANDMEMBER s", "nil");
    check("SRANDMEMBER s 3", "[]");
    check("SADD s a; SRANDMEMBER s", r#""a""#);
    check("SADD s a; SRANDMEMBER s 3", r#"["a"]"#);
    check("SADD s a; SRANDMEMBER s -3", r#"["a" "a" "a"]"#);
    check("SADD s 1; SRANDMEMBER s -2", r#"["1" "1"]"#);
    check("SADD s a; SRANDMEMBER s 0", "[]");
    check("SADD s a b c; SRANDMEMBER s 3", r#"["a" "b" "c"]"#);
    check("SRANDMEMBER s x", "-ERR value is not an integer or out of range");
    check("SRANDMEMBER s 1 2", "-ERR syntax error");
    check(
        "SRANDMEMBER s -9223372036854775808",
        "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
    );
    check("SADD s a; SRANDMEMBER s -9223372036854775807", "-ERR value is out of range");
}

#[test]
fn pops() {
    check("SPOP s", "nil");
    check("SPOP s 2", "[]");
    check3("SPOP s 2", "~[]");
    check("SPOP s -1", "-ERR value is out of range, must be positive");
    check("SPOP s x", "-ERR value is out of range, must be positive");
    check("SPOP s 1 2", "-ERR syntax error");
    check("SADD s a; SPOP s 0", "[]");
    check("SADD s a; SPOP s; SCARD s", "0");
    check("SADD s a b c; SPOP s 2; SCARD s", "1");
    check("SADD s 1 2 3; SPOP s 3", r#"["1" "2" "3"]"#);
}

#[test]
fn pops_leave_removals() {
    let mut bench = Bench::new();
    bench.run("SADD s a b c d");
    bench.effects();
    bench.events();
    let popped = bench.run("SPOP s");
    assert_eq!(bench.effects(), [format!("0: SREM s {}", popped.trim_matches('"'))]);
    let popped = bench.run("SPOP s 2").replace(['[', ']', '"'], "");
    assert_eq!(bench.effects(), [format!("0: SREM s {popped}")]);
    bench.run("SPOP s 9");
    assert_eq!(bench.effects(), ["0: UNLINK s"]);
    assert_eq!(bench.events(), ["spop s", "spop s", "spop s", "del s"]);
    bench.run("SADD s a");
    bench.effects();
    bench.run("SPOP s");
    assert_eq!(bench.effects(), ["0: SREM s a"]);
    let members: String = (0..3000).map(|n| format!(" m{n}")).collect();
    bench.run(&format!("SADD s{members}"));
    bench.effects();
    bench.run("SPOP s 2500");
    let sizes: Vec<usize> = bench.effects().iter().map(|e| e.split(' ').count() - 3).collect();
    assert_eq!(sizes, [1024, 1024, 452]);
    assert_eq!(bench.run("SCARD s"), "500");
}

#[test]
fn scans() {
    check("SSCAN s 0", r#"["0" []]"#);
    check("SADD s a b 1; SSCAN s 0", r#"["0" ["a" "b" "1"]]"#);
    check("SADD s a b 12; SSCAN s 0 MATCH 1*", r#"["0" ["12"]]"#);
    check("SADD s a; SSCAN s x", "-ERR invalid cursor");
    check("SADD s a; SSCAN s -1", "-ERR invalid cursor");
    check("SADD s a; SSCAN s 0 COUNT 0", "-ERR syntax error");
    check("SADD s a; SSCAN s 0 COUNT x", "-ERR value is not an integer or out of range");
    check("SADD s a; SSCAN s 0 COUNT", "-ERR syntax error");
    check("SADD s a; SSCAN s 0 TYPE set", "-ERR syntax error");
    check("SADD s a; SSCAN s 0 NOVALUES", "-ERR NOVALUES option can only be used in HSCAN");
    check("SADD s a; SSCAN s 0 NOSCORES", "-ERR NOSCORES option can only be used in ZSCAN");
    check("SSCAN s 0 NONSENSE", r#"["0" []]"#);
    let mut bench = Bench::new();
    let members: String = (0..1000).map(|n| format!(" m{n}")).collect();
    bench.run(&format!("SADD s{members}"));
    let (mut cursor, mut seen) = ("0".to_owned(), std::collections::BTreeSet::new());
    loop {
        let reply = bench.run(&format!("SSCAN s {cursor} COUNT 50"));
        let mut words = reply.split(['[', ']', '"', ' ']).filter(|w| !w.is_empty());
        cursor = words.next().unwrap().to_owned();
        seen.extend(words.map(str::to_owned));
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 1000);
}

fn command() -> impl Strategy<Value = String> {
    let key = || (0..3u8).prop_map(|n| format!("k{n}"));
    let number = (0..60i32).prop_map(|n| if n < 30 { n.to_string() } else { format!("m{n}") });
    let member = || number.clone();
    prop_oneof![
        4 => (key(), proptest::collection::vec(member(), 1..9)).prop_map(|(k, m)| format!("SADD {k} {}", m.join(" "))),
        2 => (key(), proptest::collection::vec(member(), 1..5)).prop_map(|(k, m)| format!("SREM {k} {}", m.join(" "))),
        1 => (key(), key(), member()).prop_map(|(a, b, m)| format!("SMOVE {a} {b} {m}")),
        1 => key().prop_map(|k| format!("SPOP {k}")),
        1 => (key(), 0..9u8).prop_map(|(k, n)| format!("SPOP {k} {n}")),
        1 => (prop_oneof![Just("SINTERSTORE"), Just("SUNIONSTORE"), Just("SDIFFSTORE")], key(), key(), key())
            .prop_map(|(c, d, a, b)| format!("{c} {d} {a} {b}")),
    ]
}

proptest! {
    /// The effects of commands, run on an empty key space, give the same sets.
    #[test]
    fn replaying_the_effects_gives_the_same_state(commands in proptest::collection::vec(command(), 0..60)) {
        let small = |bench: &mut Bench| {
            bench.settings.set_max_intset_entries = 6;
            bench.settings.set_max_listpack_entries = 8;
        };
        let (mut first, mut second) = (Bench::new(), Bench::new());
        small(&mut first);
        small(&mut second);
        commands.iter().for_each(|line| drop(first.run(line)));
        for effect in first.effects() {
            second.run(effect.split_once(' ').unwrap().1);
        }
        for key in ["k0", "k1", "k2"] {
            let sorted = |bench: &mut Bench| {
                let all = bench.run(&format!("SMEMBERS {key}"));
                let mut all: Vec<String> = all.split(' ').map(|m| m.replace(['[', ']'], "")).collect();
                all.sort();
                all
            };
            prop_assert_eq!(sorted(&mut first), sorted(&mut second));
        }
    }
}
