use super::*;
use crate::random::Rng;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The plainest sorted set: (score, member) in order.
#[derive(Debug, Default)]
struct Model(Vec<(f64, Vec<u8>)>);

impl Model {
    fn place(&self, member: &[u8]) -> Option<usize> {
        self.0.iter().position(|(_, m)| m == member)
    }

    fn insert(&mut self, member: &[u8], score: f64) -> Inserted {
        let outcome = match self.place(member) {
            Some(at) if self.0[at].0 == score => return Inserted::Same,
            Some(at) => {
                self.0.remove(at);
                Inserted::Updated
            }
            None => Inserted::Added,
        };
        let at = self.0.partition_point(|(s, m)| *s < score || (*s == score && m[..] < *member));
        self.0.insert(at, (score, member.to_vec()));
        outcome
    }

    fn remove(&mut self, member: &[u8]) -> Option<f64> {
        self.place(member).map(|at| self.0.remove(at).0)
    }

    fn ranks(&self, inside: impl Fn(f64, &[u8]) -> bool) -> Vec<usize> {
        (0..self.0.len()).filter(|at| inside(self.0[*at].0, &self.0[*at].1)).collect()
    }
}

#[derive(Debug, Clone)]
enum Op {
    Insert(Vec<u8>, f64),
    Remove(Vec<u8>),
    RemoveRange(usize, usize),
    PopMin,
    PopMax,
    ByScore(ScoreRange),
    ByLex(u8, Vec<u8>, u8, Vec<u8>),
    Range(usize, usize),
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => (-20..20i32).prop_map(|n| f64::from(n) / 2.0),
        1 => prop_oneof![Just(-0.0), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(1e20), Just(9007199254740993.0)],
        2 => any::<f64>().prop_filter("a number", |n| !n.is_nan()),
    ]
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0..150i32).prop_map(|n| n.to_string().into_bytes()),
        4 => vec(0..4u8, 0..5),
        1 => (0..9usize, 240..300usize).prop_map(|(n, len)| vec![n as u8; len]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let range = (score(), score(), any::<bool>(), any::<bool>()).prop_map(
        |(min, max, min_exclusive, max_exclusive)| ScoreRange { min, max, min_exclusive, max_exclusive },
    );
    prop_oneof![
        20 => (member(), score()).prop_map(|(m, s)| Op::Insert(m, s)),
        5 => member().prop_map(Op::Remove),
        1 => (0..300usize, 0..20usize).prop_map(|(at, n)| Op::RemoveRange(at, n)),
        1 => Just(Op::PopMin),
        1 => Just(Op::PopMax),
        2 => range.prop_map(Op::ByScore),
        2 => (0..4u8, member(), 0..4u8, member()).prop_map(|(a, m, b, n)| Op::ByLex(a, m, b, n)),
        2 => (0..200usize, 0..200usize).prop_map(|(a, b)| Op::Range(a, b)),
    ]
}

fn bound(kind: u8, member: &[u8]) -> LexBound<'_> {
    match kind {
        0 => LexBound::Min,
        1 => LexBound::Max,
        2 => LexBound::Included(member),
        _ => LexBound::Excluded(member),
    }
}

fn pair(entry: ZEntry<'_>) -> (f64, Vec<u8>) {
    (entry.score, entry.member.to_vec())
}

fn all(set: &ZSet) -> Vec<(f64, Vec<u8>)> {
    set.iter().map(pair).collect()
}

impl Op {
    fn run(&self, set: &mut ZSet, model: &mut Model, limits: &ZSetLimits, hasher: &Hasher) {
        match self {
            Op::Insert(member, score) => {
                let outcome = set.insert(member, *score, limits, hasher);
                assert_eq!(outcome, model.insert(member, *score));
                assert_eq!(set.score(member), Some(*score));
                let rank = model.place(member);
                assert_eq!(set.rank(member), rank.map(|rank| (rank, *score)));
                let from_end = rank.map(|rank| (model.0.len() - 1 - rank, *score));
                assert_eq!(set.rank_from_end(member), from_end);
            }
            Op::Remove(member) => {
                assert_eq!(set.remove(member), model.remove(member));
                assert_eq!((set.score(member), set.rank(member)), (None, None));
            }
            Op::RemoveRange(start, n) => {
                let end = (start + n).min(model.0.len());
                let count = model.0.drain((*start).min(end)..end).count();
                assert_eq!(set.remove_range(*start..start + n), count);
            }
            Op::PopMin => {
                let popped = (!model.0.is_empty()).then(|| model.0.remove(0));
                assert_eq!(set.pop_min(), popped.map(|(s, m)| (m, s)));
            }
            Op::PopMax => assert_eq!(set.pop_max(), model.0.pop().map(|(s, m)| (m, s))),
            Op::ByScore(range) => {
                let ranks = set.ranks_by_score(range);
                let inside = model.ranks(|score, _| range.contains(score));
                assert_eq!(ranks.collect::<Vec<_>>(), inside, "{range:?}");
            }
            Op::ByLex(min, a, max, b) => {
                let range = LexRange { min: bound(*min, a), max: bound(*max, b) };
                let ranks = set.ranks_by_lex(&range);
                if model.0.iter().all(|(score, _)| *score == 0.0) {
                    let inside = model.ranks(|_, member| range.contains(member));
                    assert_eq!(ranks.collect::<Vec<_>>(), inside, "{range:?}");
                }
            }
            Op::Range(start, end) => {
                let end = (*end).min(model.0.len());
                let slice = &model.0[(*start).min(end)..end];
                let range = || set.range(*start..end.max(*start));
                assert_eq!(range().map(pair).collect::<Vec<_>>(), slice);
                assert_eq!(
                    range().rev().map(pair).collect::<Vec<_>>(),
                    slice.iter().rev().cloned().collect::<Vec<_>>()
                );
                assert_eq!(range().nth(3).map(pair), slice.get(3).cloned());
                assert_eq!(range().nth_back(3).map(pair), slice.iter().nth_back(3).cloned());
            }
        }
        assert_eq!(set.len(), model.0.len());
    }
}

fn equals_model(ops: &[Op], limits: ZSetLimits, lex: bool) {
    let (mut set, mut model, hasher) = (ZSet::new(), Model::default(), Hasher::default());
    for op in ops {
        match op {
            Op::Insert(member, _) if lex => {
                Op::Insert(member.clone(), 0.0).run(&mut set, &mut model, &limits, &hasher)
            }
            op => op.run(&mut set, &mut model, &limits, &hasher),
        }
    }
    set.assert_invariants();
    assert_eq!(all(&set), model.0);
    if let Some(listpack) = set.as_listpack() {
        let again = ZSet::from_listpack(listpack.clone(), &limits, &hasher).unwrap();
        assert_eq!(all(&again), model.0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is done to a `ZSet`, in either encoding or over the change between them, it equals the sorted
    /// vector that had the same done to it.
    #[test]
    fn equals_its_model(ops in vec(op(), 0..400), entries in prop_oneof![Just(0), Just(30), Just(1_000)], lex: bool) {
        equals_model(&ops, ZSetLimits { listpack_entries: entries, listpack_value: 1_000 }, lex);
    }
}

fn number(n: u64) -> Vec<u8> {
    format!("member:{n}").into_bytes()
}

/// A set and its model with `n` members, whose scores `score` gives.
fn filled(n: u64, score: impl Fn(u64) -> f64) -> (ZSet, BTreeMap<Vec<u8>, f64>) {
    let (mut set, mut model) = (ZSet::new(), BTreeMap::new());
    for i in 0..n {
        set.insert(&number(i), score(i), &ZSetLimits::default(), &Hasher::default());
        model.insert(number(i), score(i));
    }
    (set, model)
}

fn sorted(model: &BTreeMap<Vec<u8>, f64>) -> Vec<(f64, Vec<u8>)> {
    let mut all: Vec<_> = model.iter().map(|(m, s)| (*s, m.clone())).collect();
    all.sort_by(|a, b| a.partial_cmp(b).unwrap());
    all
}

#[test]
fn ten_thousand_members_in_any_order_of_arrival() {
    let spread = |i: u64| (i * 7_919 % 10_007) as f64;
    let score_orders: [&dyn Fn(u64) -> f64; 5] =
        [&|i| i as f64, &|i| -(i as f64), &spread, &|i| spread(i) % 16.0, &|_| 1.0];
    for (nth, score) in score_orders.iter().enumerate() {
        let (mut set, mut model) = filled(10_000, score);
        set.assert_invariants();
        assert_eq!(all(&set), sorted(&model), "order {nth}");
        assert!(set.iter().rev().map(pair).eq(sorted(&model).into_iter().rev()), "order {nth}");
        for (rank, (score, member)) in sorted(&model).into_iter().enumerate().step_by(37) {
            assert_eq!(set.rank(&member), Some((rank, score)));
            assert_eq!(set.get(rank).map(pair), Some((score, member)));
        }
        // Move half of them, then remove all but a few one by one.
        for i in (0..10_000).step_by(2) {
            set.insert(&number(i), spread(i + 1), &ZSetLimits::default(), &Hasher::default());
            model.insert(number(i), spread(i + 1));
        }
        set.assert_invariants();
        assert_eq!(all(&set), sorted(&model), "order {nth}");
        for i in 0..9_900 {
            assert_eq!(set.remove(&number(i)), model.remove(&number(i)));
        }
        set.assert_invariants();
        assert_eq!(all(&set), sorted(&model), "order {nth}");
    }
}

#[test]
fn removing_ranges_leaves_a_sound_tree() {
    for (start, end) in [(0, 10_000), (0, 9_999), (1, 10_000), (10, 5_000), (5_000, 9_990), (9_999, 10_000)] {
        let (mut set, model) = filled(10_000, |i| (i * 7_919 % 10_007) as f64);
        let mut left = sorted(&model);
        assert_eq!(set.remove_range(start..end), left.drain(start..end).count());
        set.assert_invariants();
        assert_eq!(all(&set), left, "{start}..{end}");
        assert_eq!(set.encoding(), "skiplist");
    }
    let (mut set, _) = filled(10_000, |i| i as f64);
    let bytes = set.memory_usage();
    set.remove_range(0..9_999);
    assert!(set.memory_usage() < bytes / 20, "{} of {bytes} bytes kept", set.memory_usage());
}

#[test]
fn leaves_stay_full_when_scores_only_grow() {
    for score in [|i: u64| i as f64, |i: u64| -(i as f64)] {
        let (set, _) = filled(10_000, score);
        let per_member = set.memory_usage() as f64 / 10_000.0;
        assert!(per_member < 50.0, "{per_member} bytes per member");
    }
}

#[test]
fn a_set_grows_out_of_its_listpack() {
    let (limits, hasher) = (ZSetLimits::default(), Hasher::default());
    let (mut set, _) = filled(128, |i| i as f64);
    assert_eq!(set.encoding(), "listpack");
    set.insert(b"member:5", 3.25, &limits, &hasher);
    assert_eq!(set.encoding(), "listpack");
    set.insert(b"one more", 3.25, &limits, &hasher);
    assert_eq!((set.encoding(), set.len()), ("skiplist", 129));

    let mut set = ZSet::new();
    set.insert(&[b'x'; 64], 1.0, &limits, &hasher);
    assert_eq!(set.encoding(), "listpack");
    set.insert(&[b'x'; 65], 1.0, &limits, &hasher);
    assert_eq!((set.encoding(), set.len()), ("skiplist", 2));

    assert_eq!(ZSet::with_expected(128, 64, &limits, &hasher).encoding(), "listpack");
    assert_eq!(ZSet::with_expected(129, 1, &limits, &hasher).encoding(), "skiplist");
}

#[test]
fn scores_come_back_to_the_bit() {
    let (limits, hasher) = (ZSetLimits::default(), Hasher::default());
    let scores = [0.0, 0.1, -1e-300, 5e-324, 1e300, f64::MAX, f64::INFINITY, f64::NEG_INFINITY, 3.0];
    let more =
        [9007199254740991.0, 9007199254740992.0, -9007199254740994.0, 1e15 + 0.5, 17.5e18, -1e17, 4e18, 5e18];
    for score in scores.into_iter().chain(more) {
        for limits in [limits, ZSetLimits { listpack_entries: 0, ..limits }] {
            let mut set = ZSet::new();
            set.insert(b"m", score, &limits, &hasher);
            assert_eq!(
                set.score(b"m").map(f64::to_bits),
                Some(score.to_bits()),
                "{score} as {}",
                set.encoding()
            );
        }
    }
}

#[test]
fn listpack_bytes_are_those_of_redis() {
    // ZADD k 1 a 2.5 b -0.5 12 inf c, then DUMP.
    let mut set = ZSet::new();
    for (member, score) in [("a", 1.0), ("b", 2.5), ("12", -0.5), ("c", f64::INFINITY)] {
        set.insert(member.as_bytes(), score, &ZSetLimits::default(), &Hasher::default());
    }
    let golden =
        b"\x24\0\0\0\x08\0\x0c\x01\x84-0.5\x05\x81a\x02\x01\x01\x81b\x02\x832.5\x04\x81c\x02\x83inf\x04\xff";
    assert_eq!(set.as_listpack().unwrap().as_bytes(), golden);
}

#[test]
fn listpacks_from_outside_are_checked() {
    let load = |entries: &[&str]| {
        let listpack: Listpack = entries.iter().collect();
        ZSet::from_listpack(listpack, &ZSetLimits::default(), &Hasher::default())
    };
    assert_eq!(load(&["a", "1", "b"]).unwrap_err(), Corrupt::Unpaired);
    assert_eq!(load(&["a", "x"]).unwrap_err(), Corrupt::Score);
    assert_eq!(load(&["a", "nan"]).unwrap_err(), Corrupt::Score);
    assert_eq!(load(&["a", "1", "a", "2"]).unwrap_err(), Corrupt::Duplicate);
    assert_eq!(all(&load(&["a", "2", "b", "1"]).unwrap()), [(1.0, b"b".to_vec()), (2.0, b"a".to_vec())]);
    let long = "x".repeat(65);
    assert_eq!(load(&[&long, "1"]).unwrap().encoding(), "skiplist");
}

#[test]
fn scans_emit_everything_once() {
    for n in [0, 1, 100, 129, 5_000] {
        let (set, model) = filled(n, |i| (i % 100) as f64);
        let (mut seen, mut cursor) = (BTreeMap::new(), 0);
        loop {
            cursor = set.scan(cursor, 10, |entry| {
                assert_eq!(seen.insert(entry.member.to_vec(), entry.score), None);
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen, model);
    }
}

#[test]
fn samples_are_different_and_uniform() {
    let mut rng = Rng::seeded(3);
    assert_eq!(ZSet::new().random(&mut rng), None);
    for n in [100, 1_000] {
        let (set, _) = filled(n, |i| i as f64);
        for count in [0, 1, n / 5, n / 2, n, n + 5] {
            let mut ranks = Vec::new();
            set.sample(count as usize, &mut rng, |entry| ranks.push(entry.score as u64));
            assert_eq!(ranks.len() as u64, count.min(n));
            assert!(ranks.is_sorted_by(|a, b| a < b));
        }
        let mut counts = vec![0.0; n as usize];
        for _ in 0..1_000 {
            set.sample(n as usize / 10, &mut rng, |entry| counts[entry.score as usize] += 1.0);
        }
        let chi: f64 = counts.iter().map(|c| (c - 100.0f64).powi(2) / 100.0).sum();
        assert!((chi - n as f64).abs() < 6.0 * (2.0 * n as f64).sqrt(), "chi square {chi} of {n}");
    }
}

#[test]
fn the_negative_zero_equals_zero() {
    let (limits, hasher) = (ZSetLimits::default(), Hasher::default());
    for (limits, kept) in [(limits, 0.0f64), (ZSetLimits { listpack_entries: 0, ..limits }, -0.0)] {
        let mut set = ZSet::new();
        set.insert(b"b", -0.0, &limits, &hasher);
        assert_eq!(set.score(b"b").map(f64::to_bits), Some(kept.to_bits()));
        set.insert(b"a", 0.0, &limits, &hasher);
        assert_eq!(set.insert(b"b", 0.0, &limits, &hasher), Inserted::Same);
        let members: Vec<_> = set.iter().map(|entry| entry.member.to_vec()).collect();
        assert_eq!(members, [b"a", b"b"]);
        assert_eq!(set.ranks_by_score(&ScoreRange::closed(-0.0, -0.0)).len(), 2);
        assert_eq!(set.ranks_by_score(&ScoreRange::ALL).len(), 2);
    }
}
