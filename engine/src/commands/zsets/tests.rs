//! Replies as redis-server 7.0.15 gives them, where it knows the command.

use crate::keyspace::{Keyspace, SetExpiry};
use crate::random::Rng;
use crate::testing::{Bench, WRONG_TYPE, check, check3};

const ABC: &str = "ZADD z 1 a 2 b 3 c; ";

/// After `ZADD z 1 a 2 b 3 c`.
#[track_caller]
fn abc(line: &str, reply: &str) {
    check(&format!("{ABC}{line}"), reply);
}

#[test]
fn zadd_adds_and_updates() {
    check("ZADD z 1 a", "1");
    check("ZADD z 1 a 2 a", "1");
    check("ZADD z 1 a 2 b; ZADD z 3 a 4 c", "1");
    check("ZADD z 1 a; ZADD z CH 3 a 4 c", "2");
    check("ZADD z 1 a; ZADD z CH 1 a", "0");
    check("ZADD z XX 1 a", "0");
    check("ZADD z XX 1 a; EXISTS z; ZCARD z", "0");
    check("ZADD z 1 a; ZADD z XX CH 2 a 2 b; ZRANGE z 0 -1 WITHSCORES", r#"["a" "2"]"#);
    check("ZADD z 1 a; ZADD z NX 2 a 2 b; ZRANGE z 0 -1 WITHSCORES", r#"["a" "1" "b" "2"]"#);
    check("ZADD z 1 a; ZADD z GT CH 0 a 2 b", "1");
    check("ZADD z 1 a; ZADD z GT CH 2 a", "1");
    check("ZADD z 1 a; ZADD z LT CH 0 a", "1");
    check("ZADD z 1 a; ZADD z LT CH 1 a", "0");
    check("ZADD z inf a -inf b; ZRANGE z 0 -1 WITHSCORES", r#"["b" "-inf" "a" "inf"]"#);
    check("ZADD z 0x10 a; ZSCORE z a", r#""16""#);
}

#[test]
fn zadd_incr() {
    check("ZADD z INCR 1.5 a", r#""1.5""#);
    check("ZADD z 1 a; ZADD z INCR 1.5 a", r#""2.5""#);
    check("ZADD z XX INCR 1 a", "nil");
    check("ZADD z 1 a; ZADD z NX INCR 1 a", "nil");
    check("ZADD z 1 a; ZADD z GT INCR -1 a", "nil");
    check("ZADD z 1 a; ZADD z LT INCR -1 a", r#""0""#);
    check("ZADD z inf a; ZADD z INCR -inf a", "-ERR resulting score is not a number (NaN)");
    check("ZINCRBY z 2 a; ZINCRBY z 0.5 a", r#""2.5""#);
    check("ZADD z inf a; ZINCRBY z -inf a", "-ERR resulting score is not a number (NaN)");
    check3("ZINCRBY z 2.5 a", ",2.5");
    check3("ZADD z XX INCR 1 a", "nil");
}

#[test]
fn zadd_refuses() {
    for (line, error) in [
        ("ZADD z 1", "-ERR wrong number of arguments for 'zadd' command"),
        ("ZADD z 1 a 2", "-ERR syntax error"),
        ("ZADD z NX XX", "-ERR syntax error"),
        ("ZADD z NX XX 1 a", "-ERR XX and NX options at the same time are not compatible"),
        ("ZADD z GT NX 1 a", "-ERR GT, LT, and/or NX options at the same time are not compatible"),
        ("ZADD z GT LT 1 a", "-ERR GT, LT, and/or NX options at the same time are not compatible"),
        ("ZADD z LT NX 1 a", "-ERR GT, LT, and/or NX options at the same time are not compatible"),
        ("ZADD z INCR 1 a 2 b", "-ERR INCR option supports a single increment-element pair"),
        ("ZADD z x a", "-ERR value is not a valid float"),
        ("ZADD z nan a", "-ERR value is not a valid float"),
        ("ZADD z 1 a x b; ", "-ERR value is not a valid float"),
        ("ZINCRBY z nx a", "-ERR syntax error"),
        ("ZINCRBY z x a", "-ERR value is not a valid float"),
    ] {
        check(line.trim_end_matches("; "), error);
    }
    check("ZADD z 1 a x b; ZCARD z", "0");
}

#[test]
fn every_command_refuses_other_types() {
    for line in [
        "ZADD k 1 a",
        "ZADD k XX 1 a",
        "ZINCRBY k 1 a",
        "ZREM k a",
        "ZCARD k",
        "ZSCORE k a",
        "ZMSCORE k a",
        "ZRANK k a",
        "ZREVRANK k a WITHSCORE",
        "ZRANDMEMBER k",
        "ZRANDMEMBER k 1",
        "ZSCAN k 0",
        "ZRANGE k 0 1",
        "ZREVRANGE k 0 1",
        "ZRANGEBYSCORE k 0 1",
        "ZREVRANGEBYSCORE k 0 1",
        "ZRANGEBYLEX k - +",
        "ZREVRANGEBYLEX k + -",
        "ZRANGESTORE d k 0 1",
        "ZCOUNT k 0 1",
        "ZLEXCOUNT k - +",
        "ZREMRANGEBYRANK k 0 1",
        "ZREMRANGEBYSCORE k 0 1",
        "ZREMRANGEBYLEX k - +",
        "ZPOPMIN k",
        "ZPOPMAX k 0",
        "ZMPOP 1 k MIN",
        "BZPOPMIN k 0",
        "BZPOPMAX k 0",
        "BZMPOP 0 1 k MAX",
        "ZUNION 1 k",
        "ZINTER 1 k",
        "ZDIFF 1 k",
        "ZUNION 1 k WEIGHTS",
        "ZUNIONSTORE d 1 k",
        "ZINTERSTORE d 1 k",
        "ZDIFFSTORE d 1 k",
        "ZINTERCARD 1 k",
    ] {
        let mut bench = Bench::new();
        let mut keyspace = Keyspace::one(&mut bench.shard, &bench.settings, bench.db, bench.now_ms);
        keyspace.put_string(b"k", b"v", SetExpiry::Clear);
        assert_eq!(bench.run(line), WRONG_TYPE, "{line}");
        assert_eq!(bench.effects(), [""; 0], "{line}");
    }
}

#[test]
fn every_command_takes_an_absent_key() {
    for (line, reply) in [
        ("ZREM k a", "0"),
        ("ZCARD k", "0"),
        ("ZSCORE k a", "nil"),
        ("ZMSCORE k a b", "[nil nil]"),
        ("ZRANK k a", "nil"),
        ("ZRANK k a WITHSCORE", "nil"),
        ("ZRANDMEMBER k", "nil"),
        ("ZRANDMEMBER k 1", "[]"),
        ("ZSCAN k 0", r#"["0" []]"#),
        ("ZSCAN k 0 nonsense", r#"["0" []]"#),
        ("ZRANGE k 0 1", "[]"),
        ("ZRANGEBYSCORE k 0 1 WITHSCORES", "[]"),
        ("ZRANGESTORE d k 0 1", "0"),
        ("ZCOUNT k 0 1", "0"),
        ("ZLEXCOUNT k - +", "0"),
        ("ZREMRANGEBYRANK k 0 1", "0"),
        ("ZPOPMIN k", "[]"),
        ("ZPOPMAX k 3", "[]"),
        ("ZMPOP 1 k MIN", "nil"),
        ("BZPOPMIN k 0", "(blocked)"),
        ("ZUNION 2 k l", "[]"),
        ("ZINTER 2 k l", "[]"),
        ("ZDIFF 2 k l", "[]"),
        ("ZUNIONSTORE d 1 k", "0"),
        ("ZINTERCARD 1 k", "0"),
    ] {
        check(line, reply);
    }
}

#[test]
fn scores_and_ranks() {
    abc("ZSCORE z b", r#""2""#);
    abc("ZSCORE z x", "nil");
    abc("ZMSCORE z b x a", r#"["2" nil "1"]"#);
    abc("ZRANK z b", "1");
    abc("ZREVRANK z a", "2");
    abc("ZRANK z b WITHSCORE", r#"[1 "2"]"#);
    abc("ZREVRANK z a withscore", r#"[2 "1"]"#);
    abc("ZRANK z x WITHSCORE", "nil");
    abc("ZRANK z b WITHSCORES", "-ERR syntax error");
    abc("ZRANK z b WITHSCORE x", "-ERR wrong number of arguments for 'zrank' command");
    check3("ZADD z 1.5 a; ZRANK z a WITHSCORE", "[0 ,1.5]");
    check3("ZADD z 1.5 a; ZMSCORE z a b", "[,1.5 nil]");
    check("ZADD z 3.0e10 a; ZSCORE z a", r#""30000000000""#);
    check("ZADD z 0.1 a; ZSCORE z a", r#""0.1""#);
}

#[test]
fn zrem_removes_the_key_with_the_last_member() {
    abc("ZREM z a x c", "2");
    abc("ZREM z a b c; ZCARD z", "0");
    let mut bench = Bench::new();
    bench.run("ZADD z 1 a");
    bench.events();
    bench.run("ZREM z b");
    assert_eq!(bench.events(), [""; 0]);
    bench.run("ZREM z a");
    assert_eq!(bench.events(), ["zrem z", "del z"]);
}

#[test]
fn zrange_by_rank() {
    abc("ZRANGE z 0 -1", r#"["a" "b" "c"]"#);
    abc("ZRANGE z 1 1", r#"["b"]"#);
    abc("ZRANGE z -2 100", r#"["b" "c"]"#);
    abc("ZRANGE z -100 0", r#"["a"]"#);
    abc("ZRANGE z 0 -4", "[]");
    abc("ZRANGE z 2 1", "[]");
    abc("ZRANGE z 3 5", "[]");
    abc("ZRANGE z 9223372036854775807 9223372036854775807", "[]");
    abc("ZRANGE z -9223372036854775808 9223372036854775807", r#"["a" "b" "c"]"#);
    abc("ZRANGE z 0 1 REV", r#"["c" "b"]"#);
    abc("ZRANGE z 0 0 REV WITHSCORES", r#"["c" "3"]"#);
    abc("ZREVRANGE z 0 -2 WITHSCORES", r#"["c" "3" "b" "2"]"#);
    abc("ZRANGE z 0 -1 LIMIT 0 -1", r#"["a" "b" "c"]"#);
    check3(&format!("{ABC}ZRANGE z 0 1 WITHSCORES"), r#"[["a" ,1] ["b" ,2]]"#);
    check3(&format!("{ABC}ZRANGE z 5 6 WITHSCORES"), "[]");
}

#[test]
fn zrange_by_score() {
    abc("ZRANGE z 1 2 BYSCORE", r#"["a" "b"]"#);
    abc("ZRANGE z (1 +inf BYSCORE", r#"["b" "c"]"#);
    abc("ZRANGE z (1 (2 BYSCORE", "[]");
    abc("ZRANGE z 3 1 BYSCORE", "[]");
    abc("ZRANGE z 3 (1 BYSCORE REV", r#"["c" "b"]"#);
    abc("ZRANGE z -inf inf BYSCORE LIMIT 1 1", r#"["b"]"#);
    abc("ZRANGE z inf -inf BYSCORE REV LIMIT 1 5", r#"["b" "a"]"#);
    abc("ZRANGE z -inf inf BYSCORE LIMIT 0 0", "[]");
    abc("ZRANGE z -inf inf BYSCORE LIMIT 3 1", "[]");
    abc("ZRANGE z -inf inf BYSCORE LIMIT -1 2", "[]");
    abc("ZRANGE z -inf inf BYSCORE LIMIT 1 -7", r#"["b" "c"]"#);
    abc("ZRANGEBYSCORE z 2 3 WITHSCORES LIMIT 0 1", r#"["b" "2"]"#);
    abc("ZREVRANGEBYSCORE z 3 2", r#"["c" "b"]"#);
    abc("ZREVRANGEBYSCORE z 2 3", "[]");
    abc("ZRANGEBYSCORE z 1e400 1e500", "[]");
    abc("ZRANGEBYSCORE z -1e400 1e400", r#"["a" "b" "c"]"#);
    abc(r#"ZRANGEBYSCORE z "" " 2""#, r#"["a" "b"]"#);
    check3(&format!("{ABC}ZRANGEBYSCORE z 2 3 WITHSCORES"), r#"[["b" ,2] ["c" ,3]]"#);
}

#[test]
fn zrange_by_lex() {
    const LEX: &str = "ZADD z 0 a 0 b 0 c 0 d; ";
    for (line, reply) in [
        ("ZRANGE z - + BYLEX", r#"["a" "b" "c" "d"]"#),
        ("ZRANGE z [b (d BYLEX", r#"["b" "c"]"#),
        ("ZRANGE z (b [d BYLEX", r#"["c" "d"]"#),
        ("ZRANGE z (d [b BYLEX REV", r#"["c" "b"]"#),
        ("ZRANGE z + - BYLEX REV LIMIT 1 2", r#"["c" "b"]"#),
        ("ZRANGE z + - BYLEX", "[]"),
        ("ZRANGE z [ [aa BYLEX", r#"["a"]"#),
        ("ZRANGEBYLEX z - [c LIMIT 1 1", r#"["b"]"#),
        ("ZREVRANGEBYLEX z [c -", r#"["c" "b" "a"]"#),
        ("ZREVRANGEBYLEX z - +", "[]"),
        ("ZLEXCOUNT z (a +", "3"),
        ("ZLEXCOUNT z + -", "0"),
        ("ZREMRANGEBYLEX z [b [c", "2"),
    ] {
        check(&format!("{LEX}{line}"), reply);
    }
}

#[test]
fn ranges_refuse() {
    const LIMIT: &str =
        "-ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX";
    for (line, error) in [
        ("ZRANGE z a 1", "-ERR value is not an integer or out of range"),
        ("ZRANGE z 0 -1 nonsense", "-ERR syntax error"),
        ("ZRANGE z 0 -1 REV REV", "-ERR syntax error"),
        ("ZRANGE z 0 -1 BYLEX BYSCORE", "-ERR syntax error"),
        ("ZRANGE z 0 -1 LIMIT 0", "-ERR syntax error"),
        ("ZRANGE z 0 -1 LIMIT 0 1", LIMIT),
        ("ZREVRANGE z 0 -1 LIMIT 0 1", LIMIT),
        ("ZRANGE z 0 -1 BYSCORE LIMIT a 1", "-ERR value is not an integer or out of range"),
        (
            "ZRANGE z 0 1 BYLEX WITHSCORES",
            "-ERR syntax error, WITHSCORES not supported in combination with BYLEX",
        ),
        (
            "ZRANGEBYLEX z - + WITHSCORES",
            "-ERR syntax error, WITHSCORES not supported in combination with BYLEX",
        ),
        ("ZREVRANGE z 0 -1 REV", "-ERR syntax error"),
        ("ZRANGEBYSCORE z 0 1 BYLEX", "-ERR syntax error"),
        ("ZRANGESTORE d z 0 1 WITHSCORES", "-ERR syntax error"),
        ("ZRANGE z x 1 BYSCORE", "-ERR min or max is not a float"),
        ("ZRANGE z 1 nan BYSCORE", "-ERR min or max is not a float"),
        ("ZCOUNT z ((1 2", "-ERR min or max is not a float"),
        ("ZREMRANGEBYSCORE z 1 x", "-ERR min or max is not a float"),
        ("ZRANGE z a b BYLEX", "-ERR min or max not valid string range item"),
        ("ZRANGEBYLEX z - ++", "-ERR min or max not valid string range item"),
        ("ZLEXCOUNT z 1 +", "-ERR min or max not valid string range item"),
        ("ZREMRANGEBYLEX z - x", "-ERR min or max not valid string range item"),
        ("ZREMRANGEBYRANK z 0 x", "-ERR value is not an integer or out of range"),
    ] {
        abc(line, error);
    }
}

#[test]
fn zcount_and_zremrange() {
    abc("ZCOUNT z 2 inf", "2");
    abc("ZCOUNT z (1 (3", "1");
    abc("ZCOUNT z 3 1", "0");
    abc("ZREMRANGEBYRANK z 0 1", "2");
    abc("ZREMRANGEBYRANK z -1 -1; ZRANGE z 0 -1", r#"["a" "b"]"#);
    abc("ZREMRANGEBYRANK z 2 1", "0");
    abc("ZREMRANGEBYSCORE z (1 2; ZRANGE z 0 -1", r#"["a" "c"]"#);
    let mut bench = Bench::new();
    bench.run("ZADD z 1 a 2 b");
    bench.events();
    assert_eq!(bench.run("ZREMRANGEBYSCORE z -inf inf"), "2");
    assert_eq!(bench.events(), ["zremrangebyscore z", "del z"]);
    assert_eq!(bench.run("ZREMRANGEBYSCORE z -inf inf"), "0");
    assert_eq!(bench.effects().len(), 2);
}

#[test]
fn zrangestore_stores() {
    abc("ZRANGESTORE d z 1 2", "2");
    abc("ZRANGESTORE d z 1 2; ZRANGE d 0 -1 WITHSCORES", r#"["b" "2" "c" "3"]"#);
    abc("ZRANGESTORE d z inf (1 BYSCORE REV LIMIT 0 1; ZRANGE d 0 -1", r#"["c"]"#);
    abc("ZRANGESTORE z z 0 0; ZRANGE z 0 -1", r#"["a"]"#);
    let mut bench = Bench::new();
    bench.run("ZADD z 1 a");
    bench.run("ZRANGESTORE d z 0 -1");
    assert_eq!(bench.events(), ["new z", "zadd z", "new d", "zrangestore d"]);
    assert_eq!(bench.run("ZRANGESTORE d z 5 6"), "0");
    assert_eq!(bench.events(), ["del d"]);
    assert_eq!(bench.run("ZRANGESTORE d z 5 6"), "0");
    assert_eq!(bench.effects(), ["0: ZADD z 1 a", "0: ZRANGESTORE d z 0 -1", "0: ZRANGESTORE d z 5 6"]);
}

#[test]
fn zpop() {
    abc("ZPOPMIN z", r#"["a" "1"]"#);
    abc("ZPOPMAX z", r#"["c" "3"]"#);
    abc("ZPOPMIN z 2", r#"["a" "1" "b" "2"]"#);
    abc("ZPOPMAX z 10", r#"["c" "3" "b" "2" "a" "1"]"#);
    abc("ZPOPMAX z 10; ZCARD z", "0");
    abc("ZPOPMIN z 0", "[]");
    abc("ZPOPMIN z -1", "-ERR value is out of range, must be positive");
    abc("ZPOPMIN z x", "-ERR value is out of range, must be positive");
    abc("ZPOPMIN z 1 2", "-ERR syntax error");
    check3(&format!("{ABC}ZPOPMIN z"), r#"["a" ,1]"#);
    check3(&format!("{ABC}ZPOPMIN z 1"), r#"[["a" ,1]]"#);
    check3(&format!("{ABC}ZPOPMAX z 2"), r#"[["c" ,3] ["b" ,2]]"#);
    check3("ZPOPMAX z 2", "[]");
    let mut bench = Bench::new();
    bench.run("ZADD z 1 a 2 b");
    bench.events();
    bench.run("ZPOPMIN z 5");
    assert_eq!(bench.events(), ["zpopmin z", "del z"]);
    assert_eq!(bench.effects(), ["0: ZADD z 1 a 2 b", "0: ZPOPMIN z 5"]);
}

#[test]
fn zmpop() {
    abc("ZMPOP 2 x z MIN", r#"["z" [["a" "1"]]]"#);
    abc("ZMPOP 2 x z max COUNT 2", r#"["z" [["c" "3"] ["b" "2"]]]"#);
    abc("ZMPOP 0 z MIN", "-ERR numkeys should be greater than 0");
    abc("ZMPOP x z MIN", "-ERR numkeys should be greater than 0");
    abc("ZMPOP 2 z MIN", "-ERR syntax error");
    abc("ZMPOP 9223372036854775807 z MIN", "-ERR syntax error");
    abc("ZMPOP 1 z MIDDLE", "-ERR syntax error");
    abc("ZMPOP 1 z MIN COUNT", "-ERR syntax error");
    abc("ZMPOP 1 z MIN COUNT 0", "-ERR count should be greater than 0");
    abc("ZMPOP 1 z MIN COUNT 1 COUNT 1", "-ERR syntax error");
    check3(&format!("{ABC}ZMPOP 1 z MIN"), r#"["z" [["a" ,1]]]"#);
    let mut bench = Bench::new();
    bench.run("ZADD z 1 a 2 b");
    bench.effects();
    bench.run("ZMPOP 2 y z MAX COUNT 9");
    assert_eq!(bench.effects(), ["0: ZPOPMAX z 2"]);
}

#[test]
fn blocking_pops() {
    abc("BZPOPMIN x z 0", r#"["z" "a" "1"]"#);
    abc("BZPOPMAX x z 0.5", r#"["z" "c" "3"]"#);
    abc("BZMPOP 0 2 x z MIN COUNT 2", r#"["z" [["a" "1"] ["b" "2"]]]"#);
    abc("BZPOPMIN x y 0", "(blocked)");
    abc("BZMPOP 1 1 x MIN", "(blocked)");
    abc("BZPOPMIN z x", "-ERR timeout is not a float or out of range");
    abc("BZPOPMIN z -1", "-ERR timeout is negative");
    abc("BZMPOP -1 1 z MIN", "-ERR timeout is negative");
    abc("BZMPOP x 0 z MIN", "-ERR numkeys should be greater than 0");
    check3(&format!("{ABC}BZPOPMIN z 0"), r#"["z" "a" ,1]"#);
    let mut bench = Bench::new();
    bench.run("ZADD z 1 a 2 b 3 c 4 d");
    bench.effects();
    bench.run("BZPOPMAX x z 0");
    bench.run("BZPOPMIN x z 0");
    bench.run("BZMPOP 0 1 z MIN COUNT 7");
    assert_eq!(bench.effects(), ["0: ZPOPMAX z", "0: ZPOPMIN z", "0: ZPOPMIN z 2"]);
}

const XY: &str = "ZADD x 1 a 2 b 3 c; ZADD y 10 b 20 c 30 d; ";

#[track_caller]
fn xy(line: &str, reply: &str) {
    check(&format!("{XY}{line}"), reply);
}

#[test]
fn zunion_zinter_zdiff() {
    xy("ZUNION 2 x y WITHSCORES", r#"["a" "1" "b" "12" "c" "23" "d" "30"]"#);
    xy("ZUNION 2 x y", r#"["a" "b" "c" "d"]"#);
    xy("ZUNION 2 x y WEIGHTS 2 3 WITHSCORES", r#"["a" "2" "b" "34" "c" "66" "d" "90"]"#);
    xy("ZUNION 2 x y AGGREGATE MIN WITHSCORES", r#"["a" "1" "b" "2" "c" "3" "d" "30"]"#);
    xy("ZUNION 2 x x AGGREGATE max WEIGHTS 1 -1 WITHSCORES", r#"["a" "1" "b" "2" "c" "3"]"#);
    xy("ZINTER 2 x y WITHSCORES", r#"["b" "12" "c" "23"]"#);
    xy("ZINTER 3 x y none", "[]");
    xy("ZINTER 2 x x WITHSCORES", r#"["a" "2" "b" "4" "c" "6"]"#);
    xy("ZINTER 2 x y AGGREGATE MAX WITHSCORES", r#"["b" "10" "c" "20"]"#);
    xy("ZDIFF 2 x y WITHSCORES", r#"["a" "1"]"#);
    xy("ZDIFF 2 y x", r#"["d"]"#);
    xy("ZDIFF 2 x x", "[]");
    xy("ZDIFF 1 x", r#"["a" "b" "c"]"#);
    xy("ZDIFF 4 x none none none", r#"["a" "b" "c"]"#);
    xy("ZINTERCARD 2 x y", "2");
    xy("ZINTERCARD 2 x y LIMIT 1", "1");
    xy("ZINTERCARD 2 x y LIMIT 0", "2");
    check3(&format!("{XY}ZINTER 2 x y WITHSCORES"), r#"[["b" ,12] ["c" ,23]]"#);
    check3(&format!("{XY}ZDIFF 2 x y"), r#"["a"]"#);
}

#[test]
fn infinities_and_weights() {
    check("ZADD x inf a; ZADD y -inf a; ZUNION 2 x y WITHSCORES", r#"["a" "0"]"#);
    check("ZADD x inf a; ZADD y -inf a; ZINTER 2 x y WITHSCORES", r#"["a" "0"]"#);
    check("ZADD x inf a; ZUNION 1 x WEIGHTS 0 WITHSCORES", r#"["a" "0"]"#);
    check("ZADD x 5 a; ZUNION 1 x WEIGHTS -inf WITHSCORES", r#"["a" "-inf"]"#);
}

#[test]
fn algebra_refuses() {
    for (line, error) in [
        ("ZUNION 0 x", "-ERR at least 1 input key is needed for 'zunion' command"),
        ("ZINTERCARD -1 x", "-ERR at least 1 input key is needed for 'zintercard' command"),
        ("ZDIFFSTORE d 0 x", "-ERR at least 1 input key is needed for 'zdiffstore' command"),
        ("ZUNION a x", "-ERR value is not an integer or out of range"),
        ("ZUNION 3 x y", "-ERR syntax error"),
        ("ZUNION 9223372036854775807 x y", "-ERR syntax error"),
        ("ZUNION 2 x y WEIGHTS 1", "-ERR syntax error"),
        ("ZUNION 2 x y WEIGHTS 1 b", "-ERR weight value is not a float"),
        ("ZUNION 2 x y AGGREGATE", "-ERR syntax error"),
        ("ZUNION 2 x y AGGREGATE AVG", "-ERR syntax error"),
        ("ZUNIONSTORE d 2 x y WITHSCORES", "-ERR syntax error"),
        ("ZDIFF 2 x y WEIGHTS 1 1", "-ERR syntax error"),
        ("ZDIFF 2 x y AGGREGATE SUM", "-ERR syntax error"),
        ("ZINTERCARD 2 x y WITHSCORES", "-ERR syntax error"),
        ("ZINTERCARD 2 x y LIMIT -1", "-ERR LIMIT can't be negative"),
        ("ZINTERCARD 2 x y LIMIT a", "-ERR LIMIT can't be negative"),
        ("ZINTERCARD 2 x y LIMIT", "-ERR syntax error"),
        ("ZINTER 2 x y LIMIT 1", "-ERR syntax error"),
    ] {
        xy(line, error);
    }
}

#[test]
fn results_are_stored() {
    xy("ZUNIONSTORE d 2 x y", "4");
    xy("ZINTERSTORE d 2 x y WEIGHTS 1 0; ZRANGE d 0 -1 WITHSCORES", r#"["b" "2" "c" "3"]"#);
    xy("ZDIFFSTORE x 2 x y; ZRANGE x 0 -1", r#"["a"]"#);
    let mut bench = Bench::new();
    bench.run("ZADD x 1 a 2 b");
    bench.run("ZADD d 1 a");
    bench.events();
    bench.effects();
    bench.run("ZINTERSTORE d 2 x x");
    bench.run("ZDIFFSTORE d 2 x x");
    bench.run("ZUNIONSTORE d 1 none");
    bench.run("ZUNIONSTORE d 1 x");
    assert_eq!(bench.events(), ["zinterstore d", "del d", "keymiss none", "new d", "zunionstore d"]);
    assert_eq!(bench.effects(), ["0: ZINTERSTORE d 2 x x", "0: ZDIFFSTORE d 2 x x", "0: ZUNIONSTORE d 1 x"]);
}

#[test]
fn both_ways_to_subtract_agree() {
    let mut bench = Bench::new();
    for n in 0..300 {
        bench.run(&format!("ZADD x {n} {n}"));
    }
    bench.run("ZADD y 1 7 1 x");
    bench.run("ZADD w 1 9");
    assert_eq!(bench.run("ZDIFFSTORE d 6 x y w w w w"), "298");
    assert_eq!(bench.run("ZDIFFSTORE d 2 x y"), "299");
    assert_eq!(bench.run("ZSCORE d 7"), "nil");
    assert_eq!(bench.run("ZSCORE d 9"), r#""9""#);
}

#[test]
fn zrandmember() {
    abc("ZRANDMEMBER z 0", "[]");
    abc("ZRANDMEMBER z 5", r#"["c" "b" "a"]"#);
    abc("ZRANDMEMBER z 3 WITHSCORES", r#"["c" "3" "b" "2" "a" "1"]"#);
    check("ZADD z 1 a; ZRANDMEMBER z", r#""a""#);
    check("ZADD z 1 a; ZRANDMEMBER z -3", r#"["a" "a" "a"]"#);
    check("ZADD z 1 a; ZRANDMEMBER z -2 WITHSCORES", r#"["a" "1" "a" "1"]"#);
    check3("ZADD z 1 a; ZRANDMEMBER z -2 WITHSCORES", r#"[["a" ,1] ["a" ,1]]"#);
    abc("ZRANDMEMBER z x", "-ERR value is not an integer or out of range");
    abc(
        "ZRANDMEMBER z -9223372036854775808",
        "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
    );
    abc("ZRANDMEMBER z -9223372036854775807 WITHSCORES", "-ERR value is out of range");
    abc("ZRANDMEMBER z 9223372036854775807 WITHSCORES", "-ERR value is out of range");
    abc("ZRANDMEMBER z 9223372036854775807", r#"["c" "b" "a"]"#);
    abc("ZRANDMEMBER z -9223372036854775807", "-ERR value is out of range");
    abc("ZRANDMEMBER z 1 nonsense", "-ERR syntax error");
    abc("ZRANDMEMBER z 1 WITHSCORES x", "-ERR syntax error");
}

#[test]
fn zscan() {
    abc("ZSCAN z 0", r#"["0" ["a" "1" "b" "2" "c" "3"]]"#);
    abc("ZSCAN z 0 MATCH b* COUNT 1", r#"["0" ["b" "2"]]"#);
    abc("ZSCAN z 0 NOSCORES", r#"["0" ["a" "b" "c"]]"#);
    abc("ZSCAN z x", "-ERR invalid cursor");
    abc("ZSCAN z 0 COUNT 0", "-ERR syntax error");
    abc("ZSCAN z 0 COUNT x", "-ERR value is not an integer or out of range");
    abc("ZSCAN z 0 MATCH", "-ERR syntax error");
    check3(&format!("{ABC}ZSCAN z 0"), r#"["0" ["a" "1" "b" "2" "c" "3"]]"#);
    check("ZADD z 0.1 a; ZSCAN z 0", r#"["0" ["a" "0.1"]]"#);
    let long = "x".repeat(65);
    check(&format!("ZADD z 0.1 {long}; ZSCAN z 0"), &format!(r#"["0" ["{long}" "0.10000000000000001"]]"#));
}

#[test]
fn a_scan_meets_every_member() {
    let mut bench = Bench::new();
    for n in 0..500 {
        bench.run(&format!("ZADD z {n} m{n}"));
    }
    let (mut cursor, mut seen) = ("0".to_owned(), std::collections::BTreeSet::new());
    loop {
        let reply = bench.run(&format!("ZSCAN z {cursor} COUNT 20 NOSCORES"));
        let mut parts = reply.split('"').skip(1).step_by(2).map(str::to_owned);
        cursor = parts.next().unwrap();
        seen.extend(parts);
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 500);
}

#[test]
fn events_of_adding() {
    let mut bench = Bench::new();
    bench.run("ZADD z 1 a");
    bench.run("ZADD z 1 a");
    bench.run("ZADD z 2 a");
    bench.run("ZINCRBY z 2 a");
    bench.run("ZINCRBY z 0 a");
    assert_eq!(bench.events(), ["new z", "zadd z", "zadd z", "zincr z"]);
    assert_eq!(bench.effects(), ["0: ZADD z 1 a", "0: ZADD z 2 a", "0: ZINCRBY z 2 a"]);
}

/// A random command over a few keys and members.
fn random_command(rng: &mut Rng) -> String {
    let mut pick = |of: &[&str]| of[rng.below(of.len())].to_owned();
    let keys = ["x", "y", "w"];
    let (key, other, target) = (pick(&keys), pick(&keys), pick(&keys));
    let members = ["a", "b", "c", "dd", "1", "2", "-7", "100000"];
    let (member, second) = (pick(&members), pick(&members));
    let score = pick(&["0", "1", "-1.5", "2", "3.25", "inf", "-inf", "1e20"]);
    let end = pick(&["MIN", "MAX"]);
    match rng.below(16) {
        0..=4 => format!("ZADD {key} {score} {member} 4 {second}"),
        5 => format!("ZADD {key} GT CH {score} {member}"),
        6 => format!("ZINCRBY {key} {score} {member}"),
        7 => format!("ZREM {key} {member} {second}"),
        8 => format!("ZPOP{end} {key} 2"),
        9 => format!("ZMPOP 2 {key} {other} {end} COUNT 2"),
        10 => format!("BZPOP{end} {key} {other} 0"),
        11 => format!("ZRANGESTORE {target} {key} 0 5"),
        12 => format!("ZUNIONSTORE {target} 2 {key} {other} WEIGHTS 1 0.5"),
        13 => format!("ZINTERSTORE {target} 2 {key} {other} AGGREGATE MAX"),
        14 => format!("ZDIFFSTORE {target} 2 {key} {other}"),
        _ => format!("ZREMRANGEBYRANK {key} -2 -1"),
    }
}

#[test]
fn replaying_the_effects_gives_the_same_state() {
    for seed in 0..20 {
        let (mut first, mut second) = (Bench::new(), Bench::new());
        let mut rng = Rng::seeded(seed);
        for _ in 0..300 {
            first.run(&random_command(&mut rng));
        }
        for effect in first.effects() {
            second.run(effect.strip_prefix("0: ").unwrap());
        }
        for key in ["x", "y", "w"] {
            let line = format!("ZRANGE {key} 0 -1 WITHSCORES");
            assert_eq!(first.run(&line), second.run(&line), "seed {seed}");
        }
    }
}
