//! One command on a value that is there, inside the engine: no socket, no parsing, no baton. `compact` is a value small
//! enough for its compact encoding, `large` has 100,000 elements. Where `large` moves and `compact` does not, the scalable
//! structure changed; where all of a type move, so did the way to it.

use baton_benches::{Engine, VALUE, command, key};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::hint::black_box;

/// Elements of a value in its compact encoding, and in the other.
const SIZES: [(&str, usize); 2] = [("compact", 20), ("large", 100_000)];

/// What fills a value: a command to be given each element. `{n}` stands for its number.
type Fill = &'static [&'static str];
/// What is measured: commands that leave the value as large as it was. `{n}` as above, of an element that is there.
type Work = &'static [&'static [&'static str]];

const CASES: &[(&str, Fill, Work)] = &[
    (
        "list/push and pop",
        &["RPUSH", "value", "element:{n}"],
        &[&["LPUSH", "value", "element"], &["RPOP", "value"]],
    ),
    ("list/range of 10", &["RPUSH", "value", "element:{n}"], &[&["LRANGE", "value", "0", "9"]]),
    ("hash/set", &["HSET", "value", "field:{n}", "content"], &[&["HSET", "value", "field:{n}", "other"]]),
    ("hash/get", &["HSET", "value", "field:{n}", "content"], &[&["HGET", "value", "field:{n}"]]),
    (
        "set/add and remove",
        &["SADD", "value", "member:{n}"],
        &[&["SREM", "value", "member:{n}"], &["SADD", "value", "member:{n}"]],
    ),
    ("set/is member", &["SADD", "value", "member:{n}"], &[&["SISMEMBER", "value", "member:{n}"]]),
    (
        "zset/change score",
        &["ZADD", "value", "{n}", "member:{n}"],
        &[&["ZADD", "value", "0", "member:{n}"], &["ZADD", "value", "{n}", "member:{n}"]],
    ),
    ("zset/range of 10", &["ZADD", "value", "{n}", "member:{n}"], &[&["ZRANGE", "value", "0", "9"]]),
    ("zset/rank", &["ZADD", "value", "{n}", "member:{n}"], &[&["ZRANK", "value", "member:{n}"]]),
];

fn filled_in(words: &[&str], n: usize) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.replace("{n}", &n.to_string()).into_bytes()).collect()
}

fn collections(c: &mut Criterion) {
    for (name, fill, work) in CASES {
        let mut group = c.benchmark_group(*name);
        for (size, elements) in SIZES {
            let mut engine = Engine::filled(0);
            let put = command(fill[0]);
            for n in 0..elements {
                engine.run(put, &slices(&filled_in(fill, n)));
            }
            // Elements in an order that is no order, made in advance.
            let picks = (0..elements.min(4096)).map(|n| n * 7919 % elements);
            let rounds: Vec<Vec<Vec<Vec<u8>>>> =
                picks.map(|n| work.iter().map(|words| filled_in(words, n)).collect()).collect();
            let commands: Vec<_> = work.iter().map(|words| command(words[0])).collect();
            let mut at = 0;
            group.bench_function(BenchmarkId::from_parameter(size), |b| {
                b.iter(|| {
                    at = (at + 1) % rounds.len();
                    for (command, args) in commands.iter().zip(&rounds[at]) {
                        black_box(engine.run(command, &slices(args)));
                    }
                });
            });
        }
        group.finish();
    }
}

fn slices(args: &[Vec<u8>]) -> Args<'_> {
    args.iter().map(Vec::as_slice).collect()
}

type Args<'a> = smallvec::SmallVec<[&'a [u8]; 8]>;

fn strings(c: &mut Criterion) {
    let mut engine = Engine::filled(10_000);
    let (incr, mset) = (command("INCR"), command("MSET"));
    c.bench_function("string/incr", |b| b.iter(|| black_box(engine.run(incr, &[b"INCR", b"counter"]))));
    let keys: Vec<Vec<u8>> = (0..10).map(key).collect();
    let pairs = keys.iter().flat_map(|key| [key.as_slice(), VALUE]);
    let args: Vec<&[u8]> = std::iter::once(&b"MSET"[..]).chain(pairs).collect();
    c.bench_function("string/mset of 10", |b| b.iter(|| black_box(engine.run(mset, &args))));
}

criterion_group!(benches, strings, collections);
criterion_main!(benches);
