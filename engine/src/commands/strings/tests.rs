use crate::random::Rng;
use crate::testing::{Bench, WRONG_TYPE, check, check3, readable, traces, with_list};

const NOW: i64 = 1_700_000_000_000;
const NOT_INTEGER: &str = "-ERR value is not an integer or out of range";
const SYNTAX: &str = "-ERR syntax error";

#[track_caller]
fn leaves(script: &str, effects: &[&str], events: &[&str]) {
    let (got_effects, got_events) = traces(script);
    assert_eq!(got_effects, effects, "effects of {script:?}");
    assert_eq!(got_events, events, "events of {script:?}");
}

#[test]
fn get_and_set() {
    check("SET k v; GET k", "\"v\"");
    check("SET k 12; GET k", "\"12\"");
    check("SET k 012; GET k", "\"012\"");
    check("SET k \"\"; GET k", "\"\"");
    check("SET k 1; SET k v; SET k w; GET k", "\"w\"");
    check("GET k", "nil");
    check3("GET k", "nil");
    assert_eq!(with_list("GET l"), WRONG_TYPE);
    assert_eq!(with_list("SET l v"), "OK");
}

#[test]
fn set_with_conditions() {
    check("SET k v NX", "OK");
    check("SET k v; SET k w NX", "nil");
    check("SET k v NX; SET k w xx; GET k", "\"w\"");
    check("SET k v XX", "nil");
    check("SET k v GET", "nil");
    check("SET k v; SET k w GET", "\"v\"");
    check("SET k v; SET k w NX GET; GET k", "\"v\"");
    check("SET k 5; SET k w IFEQ 5", "OK");
    check("SET k 5; SET k w IFEQ 6", "nil");
    check("SET k 5; SET k w IFEQ 6 GET", "\"5\"");
    check("SET k w IFEQ 6", "nil");
    for bad in [
        "NX XX",
        "XX NX",
        "IFEQ",
        "IFEQ a NX",
        "NX IFEQ a",
        "EX",
        "EX 1 PX 1",
        "KEEPTTL EX 1",
        "EX 1 KEEPTTL",
        "PERSIST",
        "FOO",
    ] {
        check(&format!("SET k v {bad}"), SYNTAX);
    }
    assert_eq!(with_list("SET l v GET"), WRONG_TYPE);
    assert_eq!(with_list("SET l v IFEQ v"), WRONG_TYPE);
    assert_eq!(with_list("SET l v XX"), "OK");
}

#[test]
fn set_with_expiry() {
    let ttl = |line: &str| {
        let mut bench = Bench::new();
        bench.run("SET k old PX 5");
        assert_eq!(bench.run(line), "OK", "{line}");
        let shard = &bench.shard;
        assert_eq!(shard.counts(0).keys, 1);
        bench.expiry_of("k")
    };
    assert_eq!(ttl("SET k v"), None);
    assert_eq!(ttl("SET k v KEEPTTL"), Some(NOW + 5));
    assert_eq!(ttl("SET k v EX 10"), Some(NOW + 10_000));
    assert_eq!(ttl("SET k new PX 10"), Some(NOW + 10));
    assert_eq!(ttl("SET k v EXAT 1700000001"), Some(NOW + 1_000));
    assert_eq!(ttl("SET k v PXAT 1700000000001"), Some(NOW + 1));
    assert_eq!(ttl("SETEX k 3 v"), Some(NOW + 3_000));
    assert_eq!(ttl("PSETEX k 3 v"), Some(NOW + 3));
    assert_eq!(ttl("MSET k v"), None);
    for (line, name) in [
        ("SET k v EX 0", "set"),
        ("SET k v PX -1", "set"),
        ("SET k v EX 9223372036854775807", "set"),
        ("SET k v PX 9223372036854775807", "set"),
        ("SETEX k 0 v", "setex"),
        ("PSETEX k -5 v", "psetex"),
        ("SET k v; GETEX k PX 0", "getex"),
        ("MSETEX 1 k v EX 0", "msetex"),
    ] {
        check(line, &format!("-ERR invalid expire time in '{name}' command"));
    }
    check("SET k v EX a", NOT_INTEGER);
    check("SETEX k 1.5 v", NOT_INTEGER);
    check("SET k v PXAT 1; GET k", "nil");
    check("SET k v PXAT 1", "OK");
}

#[test]
fn an_expired_key_is_not_there() {
    let mut bench = Bench::new();
    bench.run("SET k v PX 10");
    bench.now_ms += 10;
    bench.effects();
    bench.events();
    assert_eq!(bench.run("SET k w XX"), "nil");
    assert_eq!(bench.effects(), ["0: UNLINK k"]);
    assert_eq!(bench.events(), ["expired k"]);
    bench.run("SET k 5 PX 10");
    bench.now_ms += 10;
    assert_eq!(bench.run("INCR k"), "1");
    assert_eq!(bench.expiry_of("k"), None);
}

#[test]
fn setnx_getset_getdel_delifeq() {
    check("SETNX k v", "1");
    check("SETNX k v; SETNX k w", "0");
    check("SET k v; GETSET k w", "\"v\"");
    check("GETSET k w", "nil");
    check("SET k v; GETDEL k", "\"v\"");
    check("SET k v; GETDEL k; GET k", "nil");
    check("GETDEL k", "nil");
    check("SET k v; DELIFEQ k w", "0");
    check("SET k 5; DELIFEQ k 5", "1");
    check("SET k 5; DELIFEQ k 5; GET k", "nil");
    check("DELIFEQ k v", "0");
    for line in ["GETSET l v", "GETDEL l", "DELIFEQ l v", "GETEX l"] {
        assert_eq!(with_list(line), WRONG_TYPE, "{line}");
    }
}

#[test]
fn getex() {
    check("GETEX k EX 0", "nil");
    check("SET k v; GETEX k", "\"v\"");
    for bad in ["EX", "EX 1 PX 1", "PERSIST EX 1", "EX 1 PERSIST", "KEEPTTL", "NX"] {
        check(&format!("GETEX k {bad}"), SYNTAX);
    }
    leaves("SET k v; GETEX k", &[], &[]);
    leaves("SET k v; GETEX k EX 1", &["0: PEXPIREAT k 1700000001000"], &["expire k"]);
    leaves("SET k v; GETEX k PERSIST", &[], &[]);
    leaves("SET k v EX 1; GETEX k PERSIST", &["0: PERSIST k"], &["persist k"]);
    leaves("SET k v; GETEX k PXAT 1", &["0: UNLINK k"], &["del k"]);
    check("SET k v; GETEX k PXAT 1", "\"v\"");
}

#[test]
fn several_keys() {
    check("MSET a 1 b x; MGET a b c", "[\"1\" \"x\" nil]");
    check("MSETNX a 1 a 2; MGET a", "[\"2\"]");
    check("SET b 0; MSETNX a 1 b 2", "0");
    check("SET b 0; MSETNX a 1 b 2; MGET a b", "[nil \"0\"]");
    check("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command");
    check("MSETNX a 1 b", "-ERR wrong number of arguments for 'msetnx' command");
    assert_eq!(with_list("MGET l"), "[nil]");
    check("MSETEX 2 a 1 b 2; MGET a b", "[\"1\" \"2\"]");
    check("MSETEX 2 a 1 b 2 NX EX 10", "1");
    check("SET b 0; MSETEX 2 a 1 b 2 NX", "0");
    check("SET b 0; MSETEX 2 a 1 b 2 XX; MGET a b", "[nil \"0\"]");
    check("MSETEX a 1 b 2", "-ERR invalid numkeys value or out of range");
    check("MSETEX 0 b 2", "-ERR invalid numkeys value or out of range");
    check("MSETEX 2147483648 b 2", "-ERR invalid numkeys value or out of range");
    check("MSETEX 2147483647 b 2", SYNTAX);
    check("MSETEX 2 a 1 b", SYNTAX);
    for bad in ["NX XX", "EX 1 PX 1", "KEEPTTL EX 1", "GET", "IFEQ x", "foo"] {
        check(&format!("MSETEX 1 a 1 {bad}"), SYNTAX);
    }
}

#[test]
fn counting() {
    check("INCR n", "1");
    check("DECR n", "-1");
    check("SET n 10; INCRBY n 5", "15");
    check("SET n 10; DECRBY n 15", "-5");
    check("SET n 10; INCRBY n 5; GET n", "\"15\"");
    check("SET n 9223372036854775807; INCR n", "-ERR increment or decrement would overflow");
    check("SET n -9223372036854775808; DECR n", "-ERR increment or decrement would overflow");
    check("DECRBY n -9223372036854775808", "-ERR decrement would overflow");
    check("SET n x; INCR n", NOT_INTEGER);
    check("SET n \" 1\"; INCR n", NOT_INTEGER);
    check("INCRBY n x", NOT_INTEGER);
    check("APPEND n 1; APPEND n 2; INCR n", "13");
    assert_eq!(with_list("INCR l"), WRONG_TYPE);
    assert_eq!(with_list("DECRBY l x"), NOT_INTEGER);
    leaves("INCR n", &["0: INCR n"], &["new n", "incrby n"]);
    leaves("SET n x; INCR n", &[], &[]);
}

#[test]
fn counting_in_floats() {
    check("INCRBYFLOAT n 0.1; INCRBYFLOAT n 0.2", "\"0.3\"");
    check("SET n 10.50; INCRBYFLOAT n 0.1", "\"10.6\"");
    check("SET n 3.0e3; INCRBYFLOAT n 200", "\"3200\"");
    check("SET n 1; INCRBYFLOAT n x", "-ERR value is not a valid float");
    check("SET n x; INCRBYFLOAT n 1", "-ERR value is not a valid float");
    check("INCRBYFLOAT n inf", "-ERR increment would produce NaN or Infinity");
    assert_eq!(with_list("INCRBYFLOAT l x"), WRONG_TYPE);
    leaves("SET n 1 EX 5; INCRBYFLOAT n 1.5", &["0: SET n 2.5 KEEPTTL"], &["incrbyfloat n"]);
    let mut bench = Bench::new();
    bench.run("SET n 1 PX 5");
    bench.run("INCRBYFLOAT n 1.5");
    assert_eq!(bench.expiry_of("n"), Some(NOW + 5));
}

#[test]
fn parts() {
    check("APPEND k ab; APPEND k cd; GET k", "\"abcd\"");
    check("SET k 12; APPEND k 3", "3");
    check("STRLEN k", "0");
    check("SET k -123; STRLEN k", "4");
    check("SETRANGE k 2 ab; GET k", "\"\\x00\\x00ab\"");
    check("SET k hello; SETRANGE k 1 a; GET k", "\"hallo\"");
    check("SET k 123; SETRANGE k 3 4", "4");
    check("SETRANGE k 5 \"\"", "0");
    check("SETRANGE k 5 \"\"; GET k", "nil");
    check("SET k 123; SETRANGE k 5 \"\"", "3");
    check("SETRANGE k -1 a", "-ERR offset is out of range");
    check("SETRANGE k x a", NOT_INTEGER);
    let long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    check("SETRANGE k 536870912 a", long);
    check("SETRANGE k 9223372036854775807 a", long);
    check("SET k v; SETRANGE k 536870911 aa", long);
    for line in ["APPEND l a", "STRLEN l", "SETRANGE l 0 a", "SETRANGE l 0 \"\"", "GETRANGE l 0 1"] {
        assert_eq!(with_list(line), WRONG_TYPE, "{line}");
    }
    let mut bench = Bench::new();
    bench.settings.proto_max_bulk_len = 4;
    bench.run("SET k abcd");
    assert_eq!(bench.run("APPEND k e"), long);
    assert_eq!(bench.run("GET k"), "\"abcd\"");
}

#[test]
fn ranges() {
    for (start, end, part) in [
        (0, 3, "This"),
        (-3, -1, "ing"),
        (0, -1, "This is a string"),
        (10, 100, "string"),
        (5, 3, ""),
        (0, -100, "T"),
        (1, -100, ""),
        (-1, -100, ""),
        (-100, -99, "T"),
        (-100, -101, ""),
        (100, 200, ""),
        (0, i64::MAX, "This is a string"),
        (i64::MIN, i64::MAX, "This is a string"),
        (i64::MAX, i64::MIN, ""),
    ] {
        for name in ["GETRANGE", "SUBSTR"] {
            check(&format!("SET k \"This is a string\"; {name} k {start} {end}"), &format!("\"{part}\""));
        }
    }
    check("SET k \"\"; GETRANGE k 0 -1", "\"\"");
    check("SET k 1234; GETRANGE k 1 2", "\"23\"");
    check("GETRANGE k 0 1", "\"\"");
    check("GETRANGE k 0 x", NOT_INTEGER);
}

#[test]
fn longest_common_subsequence() {
    let with = |rest: &str| format!("MSET a ohmytext b mynewtext; LCS a b {rest}");
    check(&with(""), "\"mytext\"");
    check(&with("LEN"), "6");
    check(&with("IDX"), "[\"matches\" [[[4 7] [5 8]] [[2 3] [0 1]]] \"len\" 6]");
    check(&with("IDX MINMATCHLEN 4 WITHMATCHLEN"), "[\"matches\" [[[4 7] [5 8] 4]] \"len\" 6]");
    check3(&with("IDX MINMATCHLEN 5"), "{\"matches\": [], \"len\": 6}");
    check(
        &with("IDX MINMATCHLEN -1 LEN"),
        "-ERR If you want both the length and indexes, please just use IDX.",
    );
    check(&with("MINMATCHLEN"), SYNTAX);
    check(&with("MINMATCHLEN x"), NOT_INTEGER);
    check("LCS a b", "\"\"");
    check("LCS a b LEN", "0");
    check("MSET a 123 b 23; LCS a b", "\"23\"");
    check("SET a 1; LCS a a", "\"1\"");
    assert_eq!(with_list("LCS l b FOO"), "-ERR The specified keys must contain string values");
    let mut bench = Bench::new();
    bench.settings.proto_max_bulk_len = 100;
    bench.run("MSET a aaaa b bbbb");
    let refused = "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
    assert_eq!(bench.run("LCS a b"), "\"\"");
    bench.run("SET a aaaaa");
    assert_eq!(bench.run("LCS a b"), refused);
}

#[test]
fn what_is_left_in_the_log() {
    leaves("SET k v", &["0: SET k v"], &["new k", "set k"]);
    leaves("SET k v; SET k w", &["0: SET k w"], &["set k"]);
    leaves("SET k v NX GET", &["0: SET k v NX"], &["keymiss k", "new k", "set k"]);
    leaves("SET k v; SET k w XX", &["0: SET k w XX"], &["set k"]);
    leaves("SET k v; SET k w NX", &[], &[]);
    leaves("SET k v; SET k w KEEPTTL IFEQ v", &["0: SET k w KEEPTTL"], &["set k"]);
    leaves("SET k v; SET k w EX 1 XX", &["0: SET k w PXAT 1700000001000"], &["set k", "expire k"]);
    leaves("SET k v; SET k w PXAT 1700000000001", &["0: SET k w PXAT 1700000000001"], &["set k", "expire k"]);
    leaves("SET k v; SET k w PXAT 1700000000000", &["0: UNLINK k"], &["del k"]);
    leaves("SET k w PXAT 1700000000000", &[], &[]);
    leaves("SET k v; SETEX k 1 w", &["0: SET k w PXAT 1700000001000"], &["set k", "expire k"]);
    leaves("SET k v; GETSET k w", &["0: SET k w"], &["set k"]);
    leaves("SET k v; GETDEL k", &["0: DEL k"], &["del k"]);
    leaves("SET k v; DELIFEQ k v", &["0: DEL k"], &["del k"]);
    leaves("SET k v; DELIFEQ k w", &[], &[]);
    leaves("SETNX k v", &["0: SETNX k v"], &["new k", "set k"]);
    leaves("MSET a 1 b 2", &["0: MSET a 1 b 2"], &["new a", "set a", "new b", "set b"]);
    leaves("SET a 0; MSETEX 1 a 1 PX 1", &["0: SET a 1 PXAT 1700000000001"], &["set a", "expire a"]);
    leaves("APPEND k v", &["0: APPEND k v"], &["new k", "append k"]);
    leaves("SETRANGE k 1 v", &["0: SETRANGE k 1 v"], &["new k", "setrange k"]);
    leaves("SET k v; SETRANGE k 1 \"\"", &[], &[]);
}

/// Whatever strings, bitmaps and HyperLogLogs go through: their effects, replayed before anything can expire,
/// give the same keys, values and expiries.
#[test]
fn replaying_the_effects_gives_the_same_state() {
    const TEMPLATES: &[&str] = &[
        "SET K V",
        "SET K V EX 1",
        "SET K V PX 20 NX",
        "SET K V XX GET",
        "SET K V KEEPTTL",
        "SET K V GET KEEPTTL",
        "SET K V IFEQ V",
        "SET K V IFEQ V PX 30",
        "SET K V PXAT 1700000000500",
        "SET K V PXAT 1700000000500 XX GET",
        "SETNX K V",
        "SETEX K 1 V",
        "PSETEX K 15 V",
        "GETSET K V",
        "GETDEL K",
        "DELIFEQ K V",
        "GETEX K PX 25",
        "GETEX K PERSIST",
        "GETEX K EXAT 1",
        "INCR K",
        "DECRBY K 7",
        "INCRBYFLOAT K 0.1",
        "APPEND K V",
        "SETRANGE K 3 V",
        "MSET K V K V",
        "MSETNX K V K V",
        "MSETEX 2 K V K V PX 40",
        "MSETEX 2 K V K V KEEPTTL",
        "MSETEX 1 K V NX",
        "SETBIT K 11 1",
        "SETBIT K 3 0",
        "BITOP XOR K K K",
        "BITOP NOT K K",
        "BITOP DIFF K K K",
        "BITOP ONE K K",
        "BITFIELD K SET u5 3 V INCRBY i8 #1 100",
        "BITFIELD K OVERFLOW FAIL INCRBY u2 30 3",
        "PFADD K V V",
        "PFMERGE K K",
        "PFCOUNT K",
        "PFDEBUG TODENSE K",
        "GET K",
    ];
    let keys = ["a", "b", "c", "d", "e"];
    let mut rng = Rng::seeded(11);
    let mut pick = |choices: &[&str]| choices[rng.below(choices.len())].to_owned();
    let mut bench = Bench::new();
    let mut replay = Bench::new();
    replay.now_ms = 0;
    for round in 0..200 {
        for _ in 0..50 {
            let words: Vec<String> = pick(TEMPLATES)
                .split(' ')
                .map(|word| match word {
                    "K" => pick(&keys),
                    "V" => pick(&["1", "2", "x", "3.5"]),
                    word => word.to_owned(),
                })
                .collect();
            bench.run(&words.join(" "));
            bench.now_ms += i64::from(pick(&["0", "0", "7"]) == "7") * 7;
        }
        // Lets go what has expired, so that this is logged.
        bench.run("MGET a b c d e");
        for effect in bench.shard.effects.take() {
            let args: Vec<&[u8]> = effect.args.iter().map(|arg| &**arg).collect();
            let reply = replay.run_args(&args);
            assert_ne!(reply.first(), Some(&b'-'), "{}", readable(&reply));
        }
        for key in keys {
            let state = |bench: &mut Bench| (bench.run(&format!("GET {key}")), bench.expiry_of(key));
            assert_eq!(state(&mut bench), state(&mut replay), "key {key} in round {round}");
        }
    }
}
