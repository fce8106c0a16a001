//! Tests of all stream commands.

use crate::keyspace::{Keyspace, scan};
use crate::testing::{Bench, WRONG_TYPE, canonical, check, check3, traces, with_list};
use std::collections::BTreeMap;

const SYNTAX: &str = "-ERR syntax error";
const INVALID_ID: &str = "-ERR Invalid stream ID specified as stream command argument";
const NOT_INTEGER: &str = "-ERR value is not an integer or out of range";
/// The time of the bench.
const NOW: &str = "1700000000000";

/// The effects and events of the last of several commands, as lists.
#[track_caller]
fn check_traces(script: &str, effects: &[&str], events: &[&str]) {
    let (left, raised) = traces(script);
    let effects: Vec<String> = effects.iter().map(|effect| format!("0: {effect}")).collect();
    assert_eq!((left, raised), (effects, events.iter().map(|e| (*e).to_owned()).collect()), "{script}");
}

#[test]
fn entries_are_added() {
    check("XADD s 1-1 f v", r#""1-1""#);
    check("XADD s * f v", &format!(r#""{NOW}-0""#));
    check("XADD s * f v; XADD s * f v", &format!(r#""{NOW}-1""#));
    check("XADD s 5-* f v; XADD s 5-* f v", r#""5-1""#);
    check("XADD s 0-* f v", r#""0-1""#);
    check("XADD s 7 f v", r#""7-0""#);
    check("XADD s 1-1 f v g w 3; XLEN s", "0");
    check("XADD s 1-1 f v; XADD s 1-2 f v; XLEN s", "2");
    check("XLEN s", "0");
    check("XADD s NOMKSTREAM * f v", "nil");
    check("XADD s 1-1 f v; XADD s nomkstream 2-1 f v", r#""2-1""#);
    check("XADD s 1-1 a 1 b 2; XRANGE s - +", r#"[["1-1" ["a" "1" "b" "2"]]]"#);
    check(
        "XADD s 1-1 a 1 a 2; XADD s 1-2 b 3; XRANGE s - +",
        r#"[["1-1" ["a" "1" "a" "2"]] ["1-2" ["b" "3"]]]"#,
    );
}

#[test]
fn ids_only_ascend() {
    let smaller = "-ERR The ID specified in XADD is equal or smaller than the target stream top item";
    check("XADD s 1-1 f v; XADD s 1-1 f v", smaller);
    check("XADD s 5-5 f v; XADD s 5-4 f v", smaller);
    check("XADD s 5-5 f v; XADD s 4-* f v", smaller);
    check("XADD s 5-18446744073709551615 f v; XADD s 5-* f v", smaller);
    check("XADD s 0-0 f v", "-ERR The ID specified in XADD must be greater than 0-0");
    check("XADD s 0 f v; EXISTS s", "0");
    let full = "-ERR The stream has exhausted the last possible ID, unable to add more items";
    check("XADD s 18446744073709551615-18446744073709551615 f v; XADD s * f v", full);
    check("XADD s 18446744073709551615-1 f v; XADD s * f v", r#""18446744073709551615-2""#);
    check("XADD s x f v", INVALID_ID);
    check("XADD s - f v", INVALID_ID);
    check("XADD s 1-1 f", "-ERR wrong number of arguments for 'xadd' command");
    check("XADD s 1-1 f v g", "-ERR wrong number of arguments for 'xadd' command");
    check("XADD s MAXLEN 5 NOMKSTREAM f", INVALID_ID);
}

#[test]
fn streams_are_trimmed() {
    let filled = "XADD s 1-0 f v; XADD s 2-0 f v; XADD s 3-0 f v";
    check(&format!("{filled}; XTRIM s MAXLEN 1; XRANGE s - +"), r#"[["3-0" ["f" "v"]]]"#);
    check(&format!("{filled}; XTRIM s MAXLEN = 2"), "1");
    check(&format!("{filled}; XTRIM s MAXLEN ~ 1"), "0");
    check(&format!("{filled}; XTRIM s MINID 3"), "2");
    check(&format!("{filled}; XTRIM s MINID = 2-1; XLEN s"), "1");
    check(&format!("{filled}; XTRIM s MAXLEN 0; TYPE s"), "stream");
    check(&format!("{filled}; XADD s MAXLEN 1 4-0 f v; XRANGE s - +"), r#"[["4-0" ["f" "v"]]]"#);
    check("XTRIM s MAXLEN 1", "0");
    check(
        "XTRIM s MAXLEN 1 MINID 2",
        "-ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
    );
    check("XTRIM s LIMIT", "-ERR wrong number of arguments for 'xtrim' command");
    check(
        "XTRIM s LIMIT 5 LIMIT 6",
        "-ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
    );
    check("XTRIM s LIMIT 0 LIMIT 0", "-ERR syntax error, XTRIM must be called with a trimming strategy");
    check("XTRIM s MAXLEN 1 LIMIT 5", "-ERR syntax error, LIMIT cannot be used without the special ~ option");
    check("XTRIM s MAXLEN -1", "-ERR The MAXLEN argument must be >= 0.");
    check("XTRIM s MAXLEN ~ 1 LIMIT -1", "-ERR The LIMIT argument must be >= 0.");
    check("XTRIM s MAXLEN x", NOT_INTEGER);
    check("XTRIM s MINID x", INVALID_ID);
    check("XTRIM s NOMKSTREAM 1", SYNTAX);
    check("XTRIM s MAXLEN ~", NOT_INTEGER);
}

/// A stream of `count` entries in nodes of three.
fn bench(count: u64) -> Bench {
    let mut bench = Bench::new();
    bench.settings.stream_node_max_entries = 3;
    (1..=count).for_each(|n| drop(bench.run(&format!("XADD s {n}-0 f v"))));
    bench.effects();
    bench.events();
    bench
}

#[test]
fn approximate_trims_leave_exact_effects() {
    let mut bench = bench(10);
    assert_eq!(bench.run("XTRIM s MAXLEN ~ 5"), "3");
    assert_eq!(bench.effects(), ["0: XTRIM s MAXLEN = 7"]);
    assert_eq!(bench.run("XTRIM s MINID ~ 9 LIMIT 2"), "0");
    assert_eq!(bench.run("XTRIM s MINID ~ 9 LIMIT 4"), "3");
    assert_eq!(bench.effects(), ["0: XTRIM s MINID = 7-0"]);
    assert_eq!(bench.run("XADD s MAXLEN ~ 1 LIMIT 100 11-* f LIMIT"), r#""11-0""#);
    assert_eq!(bench.effects(), ["0: XADD s MAXLEN = 2 11-0 f LIMIT"]);
    assert_eq!(bench.run("XADD s NOMKSTREAM MAXLEN 1 12-0 f v"), r#""12-0""#);
    assert_eq!(bench.effects(), ["0: XADD s NOMKSTREAM MAXLEN 1 12-0 f v"]);
    bench.events();
    bench.run("XADD s MAXLEN 0 13-0 f v");
    assert_eq!(bench.events(), ["xadd s", "xtrim s"]);
}

#[test]
fn much_that_is_trimmed_is_freed_elsewhere() {
    let mut bench = bench(400);
    bench.run("XTRIM s MAXLEN 350");
    assert_eq!(bench.shard.garbage.len(), 0);
    bench.run("XTRIM s MAXLEN 0");
    assert_eq!(bench.shard.garbage.len(), 1);
}

#[test]
fn entries_are_deleted() {
    check("XADD s 1-0 f v; XADD s 2-0 f v; XDEL s 1-0 1-0 3-0", "1");
    check("XADD s 1-0 f v; XDEL s 1; XLEN s", "0");
    check(
        "XADD s 1-0 f v; XDEL s 1; XADD s 1-0 f v",
        "-ERR The ID specified in XADD is equal or smaller than the target stream top item",
    );
    check("XADD s 1-0 f v; XDEL s 1-0 x", INVALID_ID);
    check("XDEL s x", "0");
    check_traces("XADD s 1-0 f v; XDEL s 1 2", &["XDEL s 1 2"], &["xdel s"]);
    check_traces("XADD s 1-0 f v; XDEL s 2", &[], &[]);
}

#[test]
fn ranges_are_read_both_ways() {
    let filled = "XADD s 1-0 f 1; XADD s 1-5 f 2; XADD s 2-0 f 3";
    let all = |script: &str, expected: &str| check(&format!("{filled}; {script}"), expected);
    all("XRANGE s - + COUNT 1", r#"[["1-0" ["f" "1"]]]"#);
    all("XRANGE s 1 1", r#"[["1-0" ["f" "1"]] ["1-5" ["f" "2"]]]"#);
    all("XRANGE s (1-0 (2-0", r#"[["1-5" ["f" "2"]]]"#);
    all("XRANGE s 2 1", "[]");
    all("XREVRANGE s + - COUNT 2", r#"[["2-0" ["f" "3"]] ["1-5" ["f" "2"]]]"#);
    all("XREVRANGE s 1 -", r#"[["1-5" ["f" "2"]] ["1-0" ["f" "1"]]]"#);
    all("XRANGE s - + COUNT 0", "nil");
    all("XRANGE s - + COUNT -5", "nil");
    all("XRANGE s - + COUNT 9 COUNT 1", r#"[["1-0" ["f" "1"]]]"#);
    check("XRANGE s - +", "[]");
    check("XRANGE s x +", INVALID_ID);
    check("XRANGE s (- +", INVALID_ID);
    check("XRANGE s (18446744073709551615-18446744073709551615 +", "-ERR invalid start ID for the interval");
    check("XRANGE s - (0-0", "-ERR invalid end ID for the interval");
    check("XRANGE s - + COUNT", SYNTAX);
    check("XRANGE s - + COUNT x", NOT_INTEGER);
}

#[test]
fn other_types_are_refused() {
    for command in [
        "XADD l * f v",
        "XLEN l",
        "XDEL l 1",
        "XTRIM l MAXLEN 1",
        "XSETID l 1-1",
        "XRANGE l - +",
        "XREVRANGE l + -",
        "XREAD STREAMS l 0",
        "XREADGROUP GROUP g c STREAMS l >",
        "XGROUP CREATE l g 0 MKSTREAM",
        "XGROUP SETID l g 0",
        "XGROUP DESTROY l g",
        "XGROUP CREATECONSUMER l g c",
        "XGROUP DELCONSUMER l g c",
        "XACK l g 1",
        "XPENDING l g",
        "XCLAIM l g c 0 1",
        "XAUTOCLAIM l g c 0 0",
        "XINFO STREAM l",
        "XINFO GROUPS l",
        "XINFO CONSUMERS l g",
    ] {
        assert_eq!(with_list(command), WRONG_TYPE, "{command}");
    }
}

#[test]
fn what_came_after_is_read() {
    let filled = "XADD s 1-0 f 1; XADD s 2-0 f 2; XADD t 3-0 f 3";
    let all = |script: &str, expected: &str| check(&format!("{filled}; {script}"), expected);
    all("XREAD STREAMS s 1", r#"[["s" [["2-0" ["f" "2"]]]]]"#);
    all("XREAD COUNT 1 STREAMS s t 0 0", r#"[["s" [["1-0" ["f" "1"]]]] ["t" [["3-0" ["f" "3"]]]]]"#);
    all("XREAD STREAMS s t 2 0", r#"[["t" [["3-0" ["f" "3"]]]]]"#);
    all("XREAD STREAMS s +", r#"[["s" [["2-0" ["f" "2"]]]]]"#);
    all("XREAD STREAMS s $", "nil");
    all("XREAD STREAMS none 0", "nil");
    all("XREAD BLOCK 5 STREAMS s none $ 0", "(blocked)");
    all("XREAD BLOCK 0 STREAMS s 0", r#"[["s" [["1-0" ["f" "1"]] ["2-0" ["f" "2"]]]]]"#);
    all("XDEL s 2; XREAD STREAMS s 1", "nil");
    check3(&format!("{filled}; XREAD STREAMS s 1"), r#"{"s": [["2-0" ["f" "2"]]]}"#);
    check(
        "XREAD STREAMS s t 0",
        "-ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified.",
    );
    check("XREAD COUNT 1 BLOCK 0", SYNTAX);
    check("XREAD COUNT x STREAMS s 0", NOT_INTEGER);
    check("XREAD BLOCK x STREAMS s 0", "-ERR timeout is not an integer or out of range");
    check("XREAD BLOCK -1 STREAMS s 0", "-ERR timeout is negative");
    check("XREAD STREAMS s x", INVALID_ID);
    check(
        "XREAD NOACK STREAMS s 0",
        "-ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
    );
    check(
        "XREAD GROUP g c STREAMS s 0",
        "-ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
    );
    check("XREADGROUP BLOCK 0 NOACK COUNT 1 STREAMS", SYNTAX);
}

/// A stream with a group that has read two of three entries.
const GROUP: &str = "XADD s 1-0 f 1; XADD s 2-0 f 2; XADD s 3-0 f 3; XGROUP CREATE s g 0; \
                     XREADGROUP GROUP g c COUNT 2 STREAMS s >";

#[test]
fn groups_share_entries() {
    let all = |script: &str, expected: &str| check(&format!("{GROUP}; {script}"), expected);
    all("XREADGROUP GROUP g d STREAMS s >", r#"[["s" [["3-0" ["f" "3"]]]]]"#);
    all("XREADGROUP GROUP g d STREAMS s 0", r#"[["s" []]]"#);
    all("XREADGROUP GROUP g c STREAMS s 1", r#"[["s" [["2-0" ["f" "2"]]]]]"#);
    all("XDEL s 1; XREADGROUP GROUP g c STREAMS s 0", r#"[["s" [["1-0" nil] ["2-0" ["f" "2"]]]]]"#);
    all("XACK s g 1 2 9", "2");
    all("XACK s g 1; XPENDING s g", r#"[1 "2-0" "2-0" [["c" "1"]]]"#);
    all("XPENDING s g", r#"[2 "1-0" "2-0" [["c" "2"]]]"#);
    all("XPENDING s g - + 10", r#"[["1-0" "c" 0 1] ["2-0" "c" 0 1]]"#);
    all("XREADGROUP GROUP g c STREAMS s 0; XPENDING s g - + 1 c", r#"[["1-0" "c" 0 2]]"#);
    all("XPENDING s g IDLE 5 - + 10", "[]");
    all("XPENDING s g - + 10 d", "[]");
    all("XREADGROUP GROUP g d STREAMS s >; XREADGROUP GROUP g d STREAMS s >", "nil");
    all("XREADGROUP GROUP g d STREAMS s >; XREADGROUP GROUP g d BLOCK 0 STREAMS s >", "(blocked)");
    all("XREADGROUP GROUP g d NOACK STREAMS s >; XPENDING s g - + 10 d", "[]");
    all(
        "XGROUP SETID s g 0; XREADGROUP GROUP g d COUNT 1 STREAMS s >; XPENDING s g",
        r#"[2 "1-0" "2-0" [["c" "1"] ["d" "1"]]]"#,
    );
    all("XGROUP DELCONSUMER s g c", "2");
    all("XGROUP DELCONSUMER s g c; XPENDING s g", "[0 nil nil nil]");
    all("XGROUP DELCONSUMER s g x", "0");
    all("XGROUP CREATECONSUMER s g c", "0");
    all("XGROUP CREATECONSUMER s g d", "1");
    all("XGROUP DESTROY s g", "1");
    all("XGROUP DESTROY s x", "0");
    all("XGROUP CREATE s g 0", "-BUSYGROUP Consumer Group name already exists");
    check("XGROUP CREATE s g $ MKSTREAM; XLEN s", "0");
    check3(&format!("{GROUP}; XREADGROUP GROUP g d STREAMS s >"), r#"{"s": [["3-0" ["f" "3"]]]}"#);
}

#[test]
fn groups_are_missed() {
    let no_key = "-ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the \
                  MKSTREAM option to create an empty stream automatically.";
    for command in ["CREATE s g 0", "SETID s g 0", "DESTROY s g", "CREATECONSUMER s g c", "DELCONSUMER s g c"]
    {
        check(&format!("XGROUP {command}"), no_key);
    }
    let no_group = "-NOGROUP No such consumer group 'g' for key name 's'";
    for command in ["SETID s g 0", "CREATECONSUMER s g c", "DELCONSUMER s g c"] {
        check(&format!("XADD s 1 f v; XGROUP {command}"), no_group);
    }
    check("XADD s 1 f v; XINFO CONSUMERS s g", no_group);
    check("XPENDING s g", "-NOGROUP No such key 's' or consumer group 'g'");
    check("XADD s 1 f v; XCLAIM s g c 0 1", "-NOGROUP No such key 's' or consumer group 'g'");
    check("XAUTOCLAIM s g c 0 0", "-NOGROUP No such key 's' or consumer group 'g'");
    let read = "-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option";
    check("XREADGROUP GROUP g c STREAMS s >", read);
    check("XADD s 1 f v; XREADGROUP GROUP g c STREAMS s >", read);
    check("XACK s g 1", "0");
    check("XREADGROUP COUNT 1 COUNT 1 STREAMS s >", "-ERR Missing GROUP option for XREADGROUP");
    check(
        "XGROUP CREATE s g 0 NONE",
        "-ERR unknown subcommand or wrong number of arguments for 'CREATE'. Try XGROUP HELP.",
    );
    check("XGROUP CREATE s g 0 ENTRIESREAD -2 MKSTREAM", "-ERR value for ENTRIESREAD must be positive or -1");
    check("XGROUP CREATE s g x MKSTREAM", INVALID_ID);
    check(&format!("{GROUP}; XGROUP SETID s g -"), "OK");
    let meaningless = check_meaningless;
    meaningless("$");
    meaningless("+");
}

fn check_meaningless(id: &str) {
    check(
        &format!("{GROUP}; XREADGROUP GROUP g c STREAMS s {id}"),
        &format!(
            "-ERR The {id} ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by \
             specifying a proper ID, or use the > ID to get new messages. The {id} ID would just return an empty result set."
        ),
    );
}

#[test]
fn entries_are_claimed() {
    let all = |script: &str, expected: &str| check(&format!("{GROUP}; {script}"), expected);
    all("XCLAIM s g d 0 1 2", r#"[["1-0" ["f" "1"]] ["2-0" ["f" "2"]]]"#);
    all("XCLAIM s g d 0 1 JUSTID", r#"["1-0"]"#);
    all("XCLAIM s g d 0 1 JUSTID; XPENDING s g - + 1", r#"[["1-0" "d" 0 1]]"#);
    all("XCLAIM s g d 0 1; XPENDING s g - + 1", r#"[["1-0" "d" 0 2]]"#);
    all("XCLAIM s g d 0 1 IDLE 500 RETRYCOUNT 7; XPENDING s g - + 1", r#"[["1-0" "d" 500 7]]"#);
    all("XCLAIM s g d 0 1 TIME 1699999999000; XPENDING s g - + 1", r#"[["1-0" "d" 1000 2]]"#);
    all("XCLAIM s g d 100 1", "[]");
    all("XCLAIM s g d 0 3", "[]");
    all("XCLAIM s g d 100 3 FORCE", r#"[["3-0" ["f" "3"]]]"#);
    all("XCLAIM s g d 0 9 FORCE", "[]");
    all("XDEL s 1; XCLAIM s g d 0 1; XPENDING s g", r#"[1 "2-0" "2-0" [["c" "1"]]]"#);
    all("XCLAIM s g d x 1", "-ERR Invalid min-idle-time argument for XCLAIM");
    all("XCLAIM s g d 0 1 NONE", "-ERR Unrecognized XCLAIM option 'NONE'");
    all("XCLAIM s g d 0 1 IDLE x", "-ERR Invalid IDLE option argument for XCLAIM");
    all("XCLAIM s g d 0 1 LASTID x", INVALID_ID);
    all("XAUTOCLAIM s g d 0 0", r#"["0-0" [["1-0" ["f" "1"]] ["2-0" ["f" "2"]]] []]"#);
    all("XAUTOCLAIM s g d 0 0 COUNT 1", r#"["2-0" [["1-0" ["f" "1"]]] []]"#);
    all("XAUTOCLAIM s g d 0 (1 JUSTID", r#"["0-0" ["2-0"] []]"#);
    all("XDEL s 1; XAUTOCLAIM s g d 0 - COUNT 1", r#"["2-0" [] ["1-0"]]"#);
    all("XAUTOCLAIM s g d 100 -", r#"["0-0" [] []]"#);
    all("XAUTOCLAIM s g d x -", "-ERR Invalid min-idle-time argument for XAUTOCLAIM");
    all("XAUTOCLAIM s g d 0 - COUNT 0", "-ERR COUNT must be > 0");
    all("XAUTOCLAIM s g d 0 - COUNT", SYNTAX);
}

#[test]
fn readers_and_claims_leave_what_a_replay_needs() {
    let claim = |id: &str, consumer: &str, count: u32, last: &str| {
        format!("XCLAIM s g {consumer} 0 {id} TIME {NOW} RETRYCOUNT {count} FORCE JUSTID LASTID {last}")
    };
    let new = "xgroup-createconsumer s";
    check_traces(
        GROUP,
        &[&claim("1-0", "c", 1, "1-0"), &claim("2-0", "c", 1, "2-0"), "XGROUP SETID s g 2-0 ENTRIESREAD 2"],
        &[new],
    );
    let then = |script: &str| format!("{GROUP}; {script}");
    check_traces(
        &then("XREADGROUP GROUP g d NOACK STREAMS s >"),
        &["XGROUP CREATECONSUMER s g d", "XGROUP SETID s g 3-0 ENTRIESREAD 3"],
        &[new],
    );
    check_traces(&then("XREADGROUP GROUP g c STREAMS s 0"), &[], &[]);
    check_traces(&then("XREADGROUP GROUP g d STREAMS s 0"), &["XGROUP CREATECONSUMER s g d"], &[new]);
    check_traces(&then("XCLAIM s g d 0 1 9"), &[&claim("1-0", "d", 2, "2-0")], &[new]);
    check_traces(&then("XCLAIM s g d 0 9"), &["XGROUP CREATECONSUMER s g d"], &[new]);
    check_traces(&then("XCLAIM s g c 0 9 LASTID 3-0"), &["XGROUP SETID s g 3-0 ENTRIESREAD 2"], &[]);
    check_traces(&then("XDEL s 1; XCLAIM s g c 0 1"), &[&claim("1-0", "c", 1, "2-0")], &[]);
    check_traces(&then("XAUTOCLAIM s g c 0 2 JUSTID"), &[&claim("2-0", "c", 1, "2-0")], &[]);
    check_traces(&then("XACK s g 1 9"), &["XACK s g 1 9"], &[]);
    check_traces(&then("XACK s g 9"), &[], &[]);
    check_traces(&then("XGROUP DESTROY s g"), &["XGROUP DESTROY s g"], &["xgroup-destroy s"]);
    check_traces(
        "XGROUP CREATE s g $ MKSTREAM",
        &["XGROUP CREATE s g $ MKSTREAM"],
        &["new s", "xgroup-create s"],
    );
    check_traces("XADD s * f v", &[&format!("XADD s {NOW}-0 f v")], &["new s", "xadd s"]);
}

#[test]
fn what_is_known_can_be_set_and_told() {
    check("XSETID s 1-1", "-ERR no such key");
    let small = "-ERR The ID specified in XSETID is smaller than the target stream top item";
    check("XADD s 5-0 f v; XSETID s 4-0", small);
    check(
        "XADD s 5-0 f v; XDEL s 5; XSETID s 4-0",
        "-ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
    );
    check(
        "XADD s 5-0 f v; XSETID s 6-0 ENTRIESADDED 0",
        "-ERR The entries_added specified in XSETID is smaller than the target stream length",
    );
    check("XADD s 5-0 f v; XSETID s 6-0 ENTRIESADDED -1", "-ERR entries_added must be positive");
    check(
        "XADD s 5-0 f v; XSETID s 6-0 MAXDELETEDID 7-0",
        "-ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
    );
    check("XADD s 5-0 f v; XSETID s 6-0 NONE", SYNTAX);
    let told = r#"["length" 1 "radix-tree-keys" 1 "radix-tree-nodes" 2 "last-generated-id" "6-0" "max-deleted-entry-id" "2-0" "entries-added" 9 "recorded-first-entry-id" "5-0" "groups" 0 "first-entry" ["5-0" ["f" "v"]] "last-entry" ["5-0" ["f" "v"]]]"#;
    check("XADD s 5-0 f v; XSETID s 6-0 ENTRIESADDED 9 MAXDELETEDID 2-0; XINFO STREAM s", told);
    check("XINFO STREAM s", "-ERR no such key");
    check(
        "XADD s 1 f v; XINFO STREAM s FULL COUNT",
        "-ERR unknown subcommand or wrong number of arguments for 'STREAM'. Try XINFO HELP.",
    );
    check(
        &format!("{GROUP}; XINFO GROUPS s"),
        r#"[["name" "g" "consumers" 1 "pending" 2 "last-delivered-id" "2-0" "entries-read" 2 "lag" 1]]"#,
    );
    check3(
        &format!("{GROUP}; XGROUP CREATECONSUMER s g d; XINFO CONSUMERS s g"),
        r#"[{"name": "c", "pending": 2, "idle": 0, "inactive": 0} {"name": "d", "pending": 0, "idle": 0, "inactive": -1}]"#,
    );
    let full = format!(
        r#"["length" 3 "radix-tree-keys" 1 "radix-tree-nodes" 2 "last-generated-id" "3-0" "max-deleted-entry-id" "0-0" "entries-added" 3 "recorded-first-entry-id" "1-0" "entries" [["1-0" ["f" "1"]]] "groups" [["name" "g" "last-delivered-id" "2-0" "entries-read" 2 "lag" 1 "pel-count" 2 "pending" [["1-0" "c" {NOW} 1]] "consumers" [["name" "c" "seen-time" {NOW} "active-time" {NOW} "pel-count" 2 "pending" [["1-0" {NOW} 1]]]]]]]"#
    );
    check(&format!("{GROUP}; XINFO STREAM s FULL COUNT 1"), &full);
}

#[test]
fn the_lag_is_told_where_it_can_be() {
    let lag = |script: &str, expected: &str| {
        let mut bench = Bench::new();
        let replies: Vec<String> = script.split(';').map(|line| bench.run(line.trim())).collect();
        drop(replies);
        let groups = bench.run("XINFO GROUPS s");
        assert!(groups.ends_with(&format!("{expected}]]")), "{script}: {groups}");
    };
    let three = "XADD s 1 f v; XADD s 2 f v; XADD s 3 f v";
    lag("XGROUP CREATE s g $ MKSTREAM", r#""entries-read" nil "lag" 0"#);
    lag(&format!("{three}; XGROUP CREATE s g 0"), r#""entries-read" nil "lag" 3"#);
    lag(&format!("{three}; XGROUP CREATE s g $"), r#""entries-read" nil "lag" 0"#);
    lag(&format!("{three}; XGROUP CREATE s g 2"), r#""entries-read" nil "lag" nil"#);
    lag(&format!("{three}; XGROUP CREATE s g 2 ENTRIESREAD 2"), r#""entries-read" 2 "lag" 1"#);
    lag(&format!("{three}; XDEL s 2; XGROUP CREATE s g 0"), r#""entries-read" nil "lag" nil"#);
    lag(
        &format!("{three}; XDEL s 3; XGROUP CREATE s g 0; XREADGROUP GROUP g c STREAMS s >"),
        r#""entries-read" nil "lag" nil"#,
    );
    lag(&format!("{three}; XTRIM s MAXLEN 1; XGROUP CREATE s g 0"), r#""entries-read" nil "lag" 1"#);
}

#[test]
fn a_command_that_waits_knows_where_it_began() {
    let mut bench = Bench::new();
    bench.run("XADD s 5-0 f v");
    let keyspace = Keyspace::one(&mut bench.shard, &bench.settings, 0, bench.now_ms);
    let args: [&[u8]; 7] = [b"XREAD", b"BLOCK", b"0", b"streams", b"s", b"t", b"$"];
    let kept = super::args_to_wait_with(&keyspace, &[&args[..], &[b"$"]].concat()[..]);
    let kept: Vec<String> = kept.iter().map(|arg| arg.escape_ascii().to_string()).collect();
    assert_eq!(kept, ["XREAD", "BLOCK", "0", "streams", "s", "t", "5-0", "0-0"]);
}

/// All keys with what they hold.
fn contents(bench: &mut Bench) -> BTreeMap<String, String> {
    let keyspace = Keyspace::one(&mut bench.shard, &bench.settings, 0, bench.now_ms);
    scan::all(&keyspace, None)
        .map(|entry| (entry.key().escape_ascii().to_string(), canonical(entry.value())))
        .collect()
}

#[test]
fn streams_come_back_from_dumps_copies_and_rewritten_logs() {
    let mut bench = bench(10);
    for line in [
        "XADD s 20-0 other field another one",
        "XDEL s 5-0 20-0",
        "XGROUP CREATE s g 0 ENTRIESREAD 0",
        "XGROUP CREATE s \"h\\x00\" 3-0",
        "XREADGROUP GROUP g alice COUNT 3 STREAMS s >",
        "XREADGROUP GROUP g bob COUNT 2 STREAMS s >",
        "XGROUP CREATECONSUMER s g carol",
        "XCLAIM s g bob 0 1-0 RETRYCOUNT 9",
        "XGROUP CREATE empty g $ MKSTREAM",
        "COPY s copy",
    ] {
        assert!(!bench.run(line).starts_with('-'), "{line}");
    }
    let before = contents(&mut bench);
    assert_eq!(before["s"], before["copy"]);
    let dumped = bench.run_args(&[b"DUMP", b"s"]);
    let start = dumped.windows(2).position(|w| w == b"\r\n").unwrap() + 2;
    let payload = dumped[start..dumped.len() - 2].to_vec();
    assert_eq!(bench.run_args(&[b"RESTORE", b"back", b"0", &payload]), b"+OK\r\n");
    assert_eq!(contents(&mut bench)["back"], before["s"]);
    let mut log = Vec::new();
    let keyspace = Keyspace::one(&mut bench.shard, &bench.settings, 0, bench.now_ms);
    for entry in scan::all(&keyspace, None) {
        crate::aof::rewrite::key(&mut log, entry.key(), entry.value(), None);
    }
    let mut again = Bench::new();
    let mut reader = crate::aof::read::Reader::new(&log, 0);
    while let Some(unit) = reader.read() {
        for command in unit.commands() {
            let reply = again.run_args(command.args);
            assert!(!reply.starts_with(b"-"), "{}", reply.escape_ascii());
        }
    }
    assert_eq!(contents(&mut again)["s"], before["s"]);
    assert_eq!(contents(&mut again)["empty"], before["empty"]);
}

#[test]
fn subcommands_are_explained() {
    assert!(Bench::new().run("XGROUP HELP").starts_with("[XGROUP <subcommand>"));
    assert!(Bench::new().run("XINFO HELP").starts_with("[XINFO <subcommand>"));
}
