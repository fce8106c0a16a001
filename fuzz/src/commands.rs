//! The engine driven by any commands: it never panics, every reply is well formed, and the effects that the commands
//! leave make the same data when they are replayed.

use crate::input::Choices;
use baton_engine::command::Command;
use baton_engine::commands;
use baton_engine::effects::Effect;
use baton_engine::keyspace::{Keyspace, scan};
use baton_engine::testing::{Bench, canonical, words};
use std::collections::BTreeMap;

/// Strings and replies stay small, so that a run is quick.
const STRING_MAX: usize = 4_096;
const COMMANDS_MAX: usize = 64;

/// Names for keys; two of them share a slot by their tags.
const KEYS: &[&str] =
    &["a", "b", "c", "{t}1", "{t}2", "hash", "list", "set", "zset", "string", "hll", "stream", ""];

/// Words that commands know, and numbers at the edges.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "NX", "XX", "GT", "LT", "CH", "INCR", "EX", "PX", "EXAT", "PXAT", "KEEPTTL", "PERSIST", "GET", "FIELDS", "FNX", "FXX",
    "LIMIT", "COUNT", "MATCH", "TYPE", "WITHSCORES", "WITHSCORE", "WITHVALUES", "NOVALUES", "STORE", "REPLACE", "DB",
    "ASC", "DESC", "ALPHA", "BY", "nosort", "#", "*", "a*", "hash->*", "LEFT", "RIGHT", "BEFORE", "AFTER", "RANK", "MAXLEN",
    "AGGREGATE", "SUM", "MIN", "MAX", "WEIGHTS", "BYSCORE", "BYLEX", "REV", "FROMLONLAT", "FROMMEMBER", "BYRADIUS", "BYBOX",
    "m", "km", "WITHCOORD", "WITHDIST", "WITHHASH", "STOREDIST", "AND", "OR", "XOR", "NOT", "DIFF", "BIT", "BYTE", "u8", "i64", "u63",
    "#1", "SET", "INCRBY", "OVERFLOW", "WRAP", "SAT", "FAIL", "LEN", "IDX", "MINMATCHLEN", "WITHMATCHLEN", "ASYNC", "SYNC",
    "MINID", "NOMKSTREAM", "~", "=", "STREAMS", "BLOCK", "GROUP", "NOACK", ">", "$", "+", "MKSTREAM", "ENTRIESREAD", "ENTRIESADDED",
    "MAXDELETEDID", "IDLE", "TIME", "RETRYCOUNT", "FORCE", "JUSTID", "LASTID", "FULL", "1-1", "1-*", "2-2", "3", "5-0", "g", "c", "d",
    "inf", "-inf", "+inf", "(1", "[a", "-", "+", "(b", "nan", "1.5", "-0", "1e308", "3.0e-320", "0x10", "01", " 1",
    "0", "1", "2", "3", "-1", "-2", "10", "100", "1000", "4096", "65535", "2147483647", "4294967296",
    "9223372036854775807", "-9223372036854775808", "18446744073709551615",
    "1700000000", "1700000001", "1700000000001", "1699999999999", "value", "member", "field", "",
];

/// Commands in lines of text when the input starts with `#`, else in a dense form of a few bytes per argument.
pub fn engine_commands(data: &[u8]) {
    let script = match data {
        [b'#', text @ ..] => lines(text),
        dense => decode(dense),
    };
    let mut first = bench();
    let mut effects = Vec::new();
    for (now_ms, args) in script {
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        if asks_for_too_much(&args) {
            continue;
        }
        first.now_ms += now_ms;
        let reply = first.run_args(&args);
        if reply != b"(blocked)" {
            assert_eq!(one_reply(&reply), Some(&[][..]), "{} to {}", reply.escape_ascii(), shown(&args));
        }
        let now_ms = first.now_ms;
        effects.extend(first.shard.effects.take().into_iter().map(|effect| (now_ms, effect)));
        first.shard.events.clear();
        first.shard.ready.clear();
    }
    let mut second = replay(&effects);
    second.now_ms = first.now_ms;
    assert_eq!(contents(&mut second), contents(&mut first), "after replaying {}", shown_effects(&effects));
}

pub(crate) fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.settings.proto_max_bulk_len = STRING_MAX as u64;
    bench.settings.list_max_listpack_size = 8;
    bench.settings.set_max_listpack_entries = 8;
    bench.settings.set_max_intset_entries = 8;
    bench.settings.hash_max_listpack_entries = 8;
    bench.settings.zset_max_listpack_entries = 8;
    bench.settings.hll_sparse_max_bytes = 64;
    bench.settings.stream_node_max_entries = 3;
    bench
}

/// A reply may be as long as the client wants: not here.
pub(crate) fn asks_for_too_much(args: &[&[u8]]) -> bool {
    let samples = args.first().is_some_and(|name| {
        let name = name.to_ascii_uppercase();
        [&b"SRANDMEMBER"[..], b"HRANDFIELD", b"ZRANDMEMBER"].contains(&name.as_slice())
    });
    let count = args.get(2).and_then(|count| baton_engine::number::parse_i64(count));
    samples && count.is_some_and(|count| count < -1_000)
}

/// Milliseconds that pass, and then a command.
pub(crate) type Step = (i64, Vec<Vec<u8>>);

/// One command per line; a number in front lets so many milliseconds pass.
pub(crate) fn lines(text: &[u8]) -> Vec<Step> {
    let text = String::from_utf8_lossy(text);
    let mut steps = Vec::new();
    for line in text.lines().take(COMMANDS_MAX) {
        let mut args = words(line);
        let pause = args.first().and_then(|first| baton_engine::number::parse_i64(first));
        if pause.is_some() {
            args.remove(0);
        }
        if !args.is_empty() {
            steps.push((pause.unwrap_or(0).clamp(0, 1 << 40), args));
        }
    }
    steps
}

pub(crate) fn decode(dense: &[u8]) -> Vec<Step> {
    let all: Vec<&Command> = commands::all().collect();
    let mut choices = Choices::new(dense);
    let mut steps = Vec::new();
    while !choices.is_over() && steps.len() < COMMANDS_MAX {
        let command = all[choices.below(all.len())];
        let mut args = vec![command.name.as_bytes().to_vec()];
        if !command.subcommands.is_empty() {
            let sub = &command.subcommands[choices.below(command.subcommands.len())];
            args.push(sub.name.as_bytes().to_vec());
        }
        let shape = choices.byte();
        let pause = if shape & 0xe0 == 0xe0 { i64::from(choices.pair()) } else { 0 };
        for _ in 0..(shape & 0x1f) % 9 {
            let arg = argument(&mut choices, args.len() == 1);
            args.push(arg);
        }
        steps.push((pause, args));
    }
    steps
}

fn argument(choices: &mut Choices<'_>, is_first: bool) -> Vec<u8> {
    let tag = choices.byte();
    let key = |tag: u8| KEYS[usize::from(tag) % KEYS.len()].as_bytes().to_vec();
    match tag {
        _ if is_first && tag < 0xf0 => key(tag),
        0..0x30 => key(tag),
        0x30..0xb0 => WORDS[usize::from(tag - 0x30) % WORDS.len()].as_bytes().to_vec(),
        0xb0..0xd0 => (i64::from(tag) - 0xc0).to_string().into_bytes(),
        0xd0..0xe0 => vec![b'x'; usize::from(choices.byte())],
        _ => choices.bytes(usize::from(tag & 0x1f)).to_vec(),
    }
}

fn replay(effects: &[(i64, Effect)]) -> Bench {
    let mut bench = bench();
    for (now_ms, effect) in effects {
        bench.now_ms = *now_ms;
        bench.db = effect.db;
        let args: Vec<&[u8]> = effect.args.iter().map(AsRef::as_ref).collect();
        let reply = bench.run_args(&args);
        assert!(!reply.starts_with(b"-"), "{} to the effect {}", reply.escape_ascii(), shown(&args));
    }
    bench
}

/// What is stored: by database and key, what reading it shows, in an order that does not depend on its encoding.
pub(crate) fn contents(bench: &mut Bench) -> BTreeMap<(usize, Vec<u8>), Vec<Vec<u8>>> {
    let mut all = BTreeMap::new();
    for db in 0..bench.shard.databases() {
        // Looking into every slot takes far longer than the commands did.
        if bench.shard.counts(db).keys == 0 {
            continue;
        }
        bench.db = db;
        let keys: Vec<Vec<u8>> = {
            let keyspace = Keyspace::one(&mut bench.shard, &bench.settings, db, bench.now_ms);
            scan::all(&keyspace, None).map(|entry| entry.key().to_vec()).collect()
        };
        for key in keys {
            if let Some(content) = content(bench, &key) {
                all.insert((db, key), content);
            }
        }
    }
    all
}

/// What reading one key shows; `None` when it has expired.
fn content(bench: &mut Bench, key: &[u8]) -> Option<Vec<Vec<u8>>> {
    let kind = bench.run_args(&[b"TYPE", key]);
    let mut show = |args: &[&[u8]]| strings(&bench.run_args(args));
    let (mut shown, sorted) = match &kind[..] {
        b"+none\r\n" => return None,
        b"+string\r\n" => (show(&[b"GET", key]), false),
        b"+list\r\n" => (show(&[b"LRANGE", key, b"0", b"-1"]), false),
        b"+zset\r\n" => (show(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]), false),
        b"+set\r\n" => (show(&[b"SMEMBERS", key]), true),
        b"+hash\r\n" => {
            let fields = show(&[b"HKEYS", key]);
            let with_value = |field: Vec<u8>| {
                let mut shown = field.clone();
                shown.extend(bench.run_args(&[b"HGET", key, &field]));
                shown.extend(bench.run_args(&[b"HPEXPIRETIME", key, b"FIELDS", b"1", &field]));
                shown
            };
            (fields.into_iter().map(with_value).collect(), true)
        }
        b"+stream\r\n" => {
            let keyspace = Keyspace::one(&mut bench.shard, &bench.settings, bench.db, bench.now_ms);
            let value = keyspace.peek(key).expect("a stream");
            (vec![canonical(value).into_bytes()], false)
        }
        other => panic!("an unknown type: {}", other.escape_ascii()),
    };
    if shown.is_empty() {
        // All fields of a hash may have expired while the key has yet to notice.
        assert_eq!(kind, b"+hash\r\n", "{} is empty", key.escape_ascii());
        return None;
    }
    if sorted {
        shown.sort();
    }
    shown.push(kind);
    shown.push(bench.run_args(&[b"PEXPIRETIME", key]));
    Some(shown)
}

/// All bulk strings of a reply, one after the other.
fn strings(mut reply: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some((line, rest)) = line(reply) {
        reply = rest;
        let [b'$', len @ ..] = line else { continue };
        let len = std::str::from_utf8(len).ok().and_then(|len| len.parse::<usize>().ok());
        let Some((string, rest)) = len.and_then(|len| reply.split_at_checked(len)) else { continue };
        all.push(string.to_vec());
        reply = rest.strip_prefix(b"\r\n").unwrap_or(rest);
    }
    all
}

/// What follows the first reply; `None` when there is no whole and well-formed one.
fn one_reply(reply: &[u8]) -> Option<&[u8]> {
    let (line, mut rest) = line(reply)?;
    let (kind, text) = line.split_first()?;
    let number = || std::str::from_utf8(text).ok()?.parse::<i64>().ok();
    match kind {
        b'+' | b'-' | b',' | b'(' => Some(rest),
        b':' => number().map(|_| rest),
        b'_' => text.is_empty().then_some(rest),
        b'#' => matches!(text, b"t" | b"f").then_some(rest),
        b'$' | b'=' | b'!' => match number()? {
            -1 => Some(rest),
            len => rest.split_at_checked(usize::try_from(len).ok()?)?.1.strip_prefix(b"\r\n"),
        },
        b'*' | b'~' | b'>' | b'%' => {
            let count = match number()? {
                -1 => 0,
                count => usize::try_from(count).ok()? * if *kind == b'%' { 2 } else { 1 },
            };
            for _ in 0..count {
                rest = one_reply(rest)?;
            }
            Some(rest)
        }
        _ => None,
    }
}

/// The first line without its end, and what follows it.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

pub(crate) fn shown(args: &[&[u8]]) -> String {
    args.iter().map(|arg| format!("\"{}\" ", arg.escape_ascii())).collect()
}

fn shown_effects(effects: &[(i64, Effect)]) -> String {
    let line = |(_, effect): &(i64, Effect)| {
        let args: Vec<&[u8]> = effect.args.iter().map(AsRef::as_ref).collect();
        format!("\n{}: {}", effect.db, shown(&args))
    };
    effects.iter().map(line).collect()
}
