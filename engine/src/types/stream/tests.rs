use super::*;
use crate::types::listpack::Listpack;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap as Map;

/// Fields with values.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// The plainest stream: entries by id.
#[derive(Debug, Default)]
struct Model {
    entries: Map<StreamId, Pairs>,
    last_id: StreamId,
    max_deleted_id: StreamId,
    added: u64,
}

#[derive(Clone, Debug)]
enum Op {
    Add(u64, u64, Pairs),
    Delete(Vec<usize>),
    MaxLen(u64),
    MinId(usize),
    Approx(u64, u64),
    Range(usize, usize),
    Reload,
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0..3u8).prop_map(|n| vec![b'a' + n]),
        2 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        1 => vec(any::<u8>(), 0..80),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..3u64, 0..200u64, vec((text(), text()), 1..4)).prop_map(|(ms, seq, pairs)| Op::Add(ms, seq, pairs)),
        2 => vec(0..60usize, 1..8).prop_map(Op::Delete),
        1 => (0..60u64).prop_map(Op::MaxLen),
        1 => (0..60usize).prop_map(Op::MinId),
        1 => (0..60u64, 0..20u64).prop_map(|(max, limit)| Op::Approx(max, limit)),
        2 => (0..60usize, 0..60usize).prop_map(|(a, b)| Op::Range(a, b)),
        1 => Just(Op::Reload),
    ]
}

fn pairs_of(fields: Fields<'_>) -> Pairs {
    fields.map(|(field, value)| (field.to_vec(), value.to_vec())).collect()
}

fn all(log: &Log) -> Vec<(StreamId, Pairs)> {
    log.iter().map(|entry| (entry.id, pairs_of(entry.fields))).collect()
}

impl Model {
    /// The id of an entry, or one beside it.
    fn id(&self, at: usize) -> StreamId {
        let known = self.entries.keys().nth(at / 2).copied().unwrap_or(self.last_id);
        if at.is_multiple_of(2) { known } else { known.next().unwrap_or(StreamId::MAX) }
    }
}

fn run(op: &Op, log: &mut Log, model: &mut Model, limits: NodeLimits) {
    match op {
        Op::Add(ms, seq, pairs) => {
            let last = model.last_id;
            let id = if *ms == 0 {
                StreamId::new(last.ms, last.seq + 1 + seq)
            } else {
                StreamId::new(last.ms + ms, *seq)
            };
            let flat: Vec<&[u8]> = pairs.iter().flat_map(|(field, value)| [&field[..], value]).collect();
            log.append(id, &flat, limits);
            model.entries.insert(id, pairs.clone());
            (model.last_id, model.added) = (id, model.added + 1);
        }
        Op::Delete(places) => {
            let ids: Vec<StreamId> = places.iter().map(|at| model.id(*at)).collect();
            let mut gone = 0;
            for id in &ids {
                if model.entries.remove(id).is_some() {
                    gone += 1;
                    model.max_deleted_id = model.max_deleted_id.max(*id);
                }
            }
            assert_eq!(log.delete(&ids), gone);
        }
        Op::MaxLen(max) => {
            let gone = (model.entries.len() as u64).saturating_sub(*max);
            (0..gone).for_each(|_| drop(model.entries.pop_first()));
            assert_eq!(log.trim(Trim::MaxLen(*max), false, 0).entries, gone);
        }
        Op::MinId(at) => {
            let min = model.id(*at);
            let kept = model.entries.split_off(&min);
            let gone = std::mem::replace(&mut model.entries, kept).len() as u64;
            assert_eq!(log.trim(Trim::MinId(min), false, 0).entries, gone);
        }
        Op::Approx(max, limit) => {
            let before = log.len();
            let gone = log.trim(Trim::MaxLen(*max), true, *limit).entries;
            assert!(gone <= before.saturating_sub(*max) && (*limit == 0 || gone <= *limit));
            (0..gone).for_each(|_| drop(model.entries.pop_first()));
        }
        Op::Range(a, b) => {
            let (start, end) = (model.id(*a), model.id(*b));
            let found: Vec<StreamId> = log.range(start, end).map(|entry| entry.id).collect();
            let expected: Vec<StreamId> =
                model.entries.keys().copied().filter(|id| (start..=end).contains(id)).collect();
            assert_eq!(found, expected);
            let mut back: Vec<StreamId> = log.range_back(start, end).map(|entry| entry.id).collect();
            back.reverse();
            assert_eq!(back, expected);
            assert_eq!(log.get(start).is_some(), model.entries.contains_key(&start));
        }
        Op::Reload => *log = reloaded(log),
    }
}

fn reloaded(log: &Log) -> Log {
    let mut again = Log::default();
    for (base, bytes) in log.nodes() {
        again.push_node(base, Listpack::from_bytes_checked(bytes).unwrap()).unwrap();
    }
    again.finish(log.len(), log.last_id(), Some(*log.books())).unwrap();
    again
}

proptest! {
    /// Whatever is done to a `Log`, it equals the map that had the same done to it.
    #[test]
    fn log_equals_its_model(ops in vec(op(), 0..120), max_entries in 0..7usize, max_bytes in prop_oneof![Just(0usize), 40..200usize]) {
        let (mut log, mut model) = (Log::default(), Model::default());
        let limits = NodeLimits { max_bytes, max_entries };
        for op in &ops {
            run(op, &mut log, &mut model, limits);
            log.assert_invariants();
            prop_assert_eq!(log.len(), model.entries.len() as u64, "after {:?}", op);
            let books = Books { last_id: model.last_id, max_deleted_id: model.max_deleted_id, entries_added: model.added };
            prop_assert_eq!(*log.books(), books);
        }
        let expected: Vec<(StreamId, Pairs)> = model.entries.into_iter().collect();
        prop_assert_eq!(all(&log), expected);
        prop_assert_eq!(all(&reloaded(&log)), all(&log));
    }

    /// A group's lists agree whatever is assigned, acknowledged and removed.
    #[test]
    fn groups_keep_their_lists(ops in vec((0..5u8, 0..20u64, 0..4u8), 0..100)) {
        let mut group = Group::new(StreamId::MIN, None);
        let mut model: Map<StreamId, u8> = Map::new();
        for (what, id, name) in ops {
            let id = StreamId::new(id, 0);
            match what {
                0..=2 => {
                    let known = group.consumer_id(&[name]);
                    let consumer = known.or_else(|| group.add_consumer(&[name], 1)).unwrap();
                    group.assign(id, Pending { delivered_ms: 1, deliveries: 1, consumer });
                    model.insert(id, name);
                }
                3 => prop_assert_eq!(group.acknowledge(id).is_some(), model.remove(&id).is_some()),
                _ => {
                    let before = model.len();
                    model.retain(|_, owner| *owner != name);
                    prop_assert_eq!(group.remove_consumer(&[name]).unwrap_or(0), before - model.len());
                }
            }
            group.assert_invariants();
            let found: Vec<(StreamId, u8)> = group
                .pending(StreamId::MIN..=StreamId::MAX)
                .map(|(id, pending)| (id, group.name_of(pending.consumer)[0]))
                .collect();
            prop_assert_eq!(found, model.iter().map(|(id, name)| (*id, *name)).collect::<Vec<_>>());
        }
    }

    /// Bytes that are any listpack are a node or are refused.
    #[test]
    fn any_listpack_is_a_node_or_refused(elements in vec(prop_oneof![(-2..8i64).prop_map(|n| n.to_string()), Just("x".to_owned())], 0..20)) {
        let mut log = Log::default();
        if log.push_node(StreamId::new(5, 5), elements.iter().collect()).is_ok() {
            let (len, last) = (log.len, log.last_id());
            log.finish(len, last, None).unwrap();
            log.assert_invariants();
            drop(all(&log));
        }
    }
}

const LIMITS: NodeLimits = NodeLimits { max_bytes: 4096, max_entries: 100 };

#[test]
fn nodes_are_laid_out_as_redis_lays_them_out() {
    let mut log = Log::default();
    log.append(StreamId::new(1, 1), &[b"f", b"1", b"g", b"x"], LIMITS);
    log.append(StreamId::new(2, 0), &[b"f", b"2", b"g", b"y"], LIMITS);
    log.append(StreamId::new(2, 1), &[b"h", b"z"], LIMITS);
    log.delete(&[StreamId::new(2, 0)]);
    let (base, bytes) = log.nodes().next().unwrap();
    assert_eq!(base, StreamId::new(1, 1));
    let expected: Listpack = [
        "2", "1", "2", "f", "g", "0", // the master
        "2", "0", "0", "1", "x", "5", // the same fields
        "3", "1", "-1", "2", "y", "5", // deleted
        "0", "1", "0", "1", "h", "z", "6", // other fields
    ]
    .iter()
    .collect();
    assert_eq!(bytes, expected.as_bytes());
}

#[test]
fn nodes_end_where_they_are_told() {
    let mut log = Log::default();
    for n in 1..=250 {
        log.append(StreamId::new(n, 0), &[b"field", b"value"], LIMITS);
    }
    assert_eq!(log.node_count(), 3);
    assert_eq!(log.trim(Trim::MaxLen(120), true, 0).entries, 100);
    assert_eq!((log.node_count(), log.first_id()), (2, StreamId::new(101, 0)));
    assert_eq!(log.trim(Trim::MinId(StreamId::new(240, 0)), false, 0).entries, 139);
    let few = NodeLimits { max_bytes: 10, max_entries: 0 };
    log.append(StreamId::new(300, 0), &[b"field", b"value"], few);
    log.append(StreamId::new(301, 0), &[b"field", b"value"], few);
    assert_eq!((log.len(), log.node_count()), (13, 3));
}

#[test]
fn many_nodes_leave_at_once() {
    let mut log = Log::default();
    let one = NodeLimits { max_bytes: 0, max_entries: 1 };
    (1..=1_000).for_each(|n| log.append(StreamId::new(n, 0), &[b"f", b"v"], one));
    let removed = log.trim(Trim::MaxLen(10), false, 0);
    assert_eq!((removed.entries, removed.node_count(), log.len()), (990, 990, 10));
    log.assert_invariants();
    let removed = log.trim(Trim::MaxLen(0), false, 0);
    assert_eq!((removed.node_count(), log.node_count(), log.first_id()), (10, 0, StreamId::MIN));
    assert_eq!(removed.into_debris().effort_to_free(), 10);
}

#[test]
fn nodes_out_of_order_are_refused() {
    let node = |elements: &[&str]| elements.iter().collect::<Listpack>();
    let one = ["1", "0", "1", "f", "0", "2", "0", "0", "v", "4"];
    let mut log = Log::default();
    log.push_node(StreamId::new(5, 0), node(&one)).unwrap();
    assert!(log.push_node(StreamId::new(4, 0), node(&one)).is_err());
    assert!(log.push_node(StreamId::new(5, 0), node(&one)).is_err());
    // Its entry comes later, but it would have the place of the other.
    assert!(
        log.push_node(StreamId::new(5, 0), node(&["1", "0", "1", "f", "0", "2", "1", "0", "v", "4"]))
            .is_err()
    );
    assert!(Log::default().push_node(StreamId::MIN, node(&one)).is_err());
    log.push_node(StreamId::new(5, 1), node(&one)).unwrap();
    assert!(log.clone().finish(1, StreamId::new(5, 1), None).is_err());
    assert!(log.clone().finish(2, StreamId::new(5, 0), None).is_err());
    log.finish(2, StreamId::new(5, 1), None).unwrap();
    log.assert_invariants();
    for wrong in [
        &["1", "0", "1", "f", "0", "2", "0", "0", "v", "5"][..],
        &["2", "0", "1", "f", "0", "2", "0", "0", "v", "4"],
        &["0", "1", "1", "f", "0", "2", "0", "0", "v", "4"],
        &["1", "0", "2", "f", "0", "2", "0", "0", "v", "4"],
        &["1", "0", "1", "f", "0", "2", "-1", "0", "v", "4"],
        &["1", "0", "1", "f", "0", "4", "0", "0", "v", "4"],
        &["1", "0", "-1", "0", "2", "0", "0", "4"],
        &["0", "0", "1", "f", "0"],
        &[],
    ] {
        assert!(Log::default().push_node(StreamId::new(5, 0), node(wrong)).is_err(), "{wrong:?}");
    }
    // A node of deleted entries says nothing, but is none.
    let mut log = Log::default();
    log.push_node(StreamId::new(5, 0), node(&["0", "1", "1", "f", "0", "3", "0", "0", "v", "4"])).unwrap();
    log.finish(0, StreamId::new(5, 0), None).unwrap();
    assert_eq!(log.node_count(), 0);
}
