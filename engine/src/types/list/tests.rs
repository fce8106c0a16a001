//! Encodings and layouts as a real server has them, and the model that a list must equal.

use super::*;
use crate::number::parse_i64;
use crate::testing::list::{ListModel, ListOp, elements};
use proptest::collection::vec;
use proptest::prelude::*;

fn filled(elements: &[&str], limit: NodeLimit) -> List {
    let mut list = List::new();
    list.extend_back(elements.iter().map(|e| e.as_bytes()), limit);
    list
}

/// The number of elements of every node, negative for a plain one.
fn layout(list: &List) -> Vec<isize> {
    let count = |node| match node {
        ListNode::Packed(lp) => lp.len() as isize,
        ListNode::Plain(_) => -1,
    };
    list.nodes().map(count).collect()
}

#[test]
fn grows_into_nodes_and_shrinks_at_half_of_the_limit() {
    let limit = NodeLimit::new(4);
    let mut list = filled(&["1", "2", "3", "4"], limit);
    let check = |list: &List, encoding: &str, nodes: &[isize]| {
        assert_eq!((list.encoding(), layout(list)), (encoding, nodes.to_vec()));
    };
    check(&list, "listpack", &[4]);
    list.push_back(b"5", limit);
    check(&list, "quicklist", &[4, 1]);
    list.push_front(b"0", limit);
    check(&list, "quicklist", &[1, 4, 1]);
    list.pop_front(limit);
    list.pop_back(limit);
    check(&list, "quicklist", &[4]);
    list.pop_back(limit);
    check(&list, "quicklist", &[3]);
    list.pop_back(limit);
    check(&list, "listpack", &[2]);
    list.trim(1, 0, limit);
    assert!(list.is_empty());
    check(&list, "listpack", &[0]);
}

/// One decision for all elements of one call, by the sum of their lengths, as LPUSH takes it.
#[test]
fn many_elements_are_one_decision() {
    let limit = NodeLimit::new(-2);
    let mut list = List::new();
    list.extend_back(std::iter::repeat_n(b"a".as_slice(), 8000), limit);
    assert_eq!(list.encoding(), "listpack");
    list.push_back(b"", limit);
    assert_eq!(list.encoding(), "quicklist");
}

#[test]
fn limits_are_bytes_or_entries() {
    let check = |size: i64, element: usize, count: usize, nodes: &[isize]| {
        let (limit, element) = (NodeLimit::new(size), vec![b'x'; element]);
        let mut list = List::new();
        (0..count).for_each(|_| list.push_back(&element, limit));
        assert_eq!(layout(&list), nodes, "{size} {}", element.len());
    };
    check(0, 1, 3, &[1, 1, 1]);
    check(-1, 2000, 3, &[2, 1]);
    check(-2, 2000, 5, &[4, 1]);
    check(-5, 60_000, 3, &[1, 1, 1]);
    check(-99, 30_000, 3, &[2, 1]);
    check(100, 4000, 3, &[2, 1]);
    check(100, 8192, 2, &[1, 1]);
    check(100, 8193, 2, &[-1, -1]);
    check(-1, 4096, 2, &[1, 1]);
    check(-1, 4097, 2, &[-1, -1]);
}

#[test]
fn large_elements_come_and_go() {
    let limit = NodeLimit::new(-2).with_large_from(100);
    let large = vec![b'L'; 100];
    let mut list = filled(&["a", "b", "c", "d"], limit);
    // A listpack takes large elements up to its own limit; only nodes of a quicklist do not.
    list.append_packed(["e", "f"].iter().collect());
    assert_eq!(layout(&list), [4, 2]);
    let check = |list: &mut List, index: i64, element: &[u8], nodes: &[isize]| {
        assert!(list.set(index, element, limit));
        assert!(list.get(index).is_some_and(|entry| entry.eq_bytes(element)));
        assert_eq!(layout(list), nodes);
        list.assert_invariants();
    };
    check(&mut list, 1, &large, &[1, -1, 4]);
    check(&mut list, 1, b"B", &[1, 5]);
    check(&mut list, 0, &large, &[-1, 5]);
    check(&mut list, 5, &large, &[-1, 4, -1]);
    check(&mut list, -1, b"F", &[-1, 4, 1]);
    assert!(!list.set(6, b"x", limit) && !list.set(-7, b"x", limit));
    assert!(list.insert(Side::After, b"c", &large, limit));
    assert_eq!(layout(&list), [-1, 2, -1, 2, 1]);
    assert!(!list.insert(Side::After, b"none", b"x", limit));
}

/// Commands sent to a real server with `list-max-listpack-size 4`, and the number of elements in every node
/// of the DUMP that it then gave.
const LAYOUTS: &str = "
    rpush 101 => 1
    rpush 102 => 2
    rpush 103 => 3
    rpush 104 => 4
    rpush 105 => 4,1
    rpush 106 => 4,2
    rpush 107 => 4,3
    rpush 108 => 4,4
    rpush 109 => 4,4,1
    rpush 110 => 4,4,2
    rpush 111 => 4,4,3
    rpush 112 => 4,4,4
    linsert after 107 113 => 4,3,2,4
    linsert after 113 114 => 4,3,3,4
    lrem 0 112 => 4,3,3,3
    rpush 115 => 4,3,3,4
    linsert after 106 116 => 4,4,3,4
    linsert before 115 117 => 4,4,3,4,1
    linsert before 107 118 => 4,4,4,4,1
    rpush 119 => 4,4,4,4,2
    linsert after 105 120 => 4,1,4,4,4,2
    ltrim 4 -2 => 1,4,4,4,1
    ltrim 3 -4 => 2,4,2
    rpush 121 => 2,4,3
    rpush 122 => 2,4,4
    rpush 123 => 2,4,4,1
    rpush 124 => 2,4,4,2
    linsert before 110 125 => 2,4,2,3,2
    rpop => 2,4,2,3,1
    lset 7 126 => 2,4,2,3,1
    lset 3 127 => 2,4,2,3,1
    linsert after 126 128 => 2,4,3,3,1
    lset 7 129 => 2,4,3,3,1
    lrem 0 129 => 2,4,2,3,1
    linsert after 123 130 => 2,4,2,3,2
    linsert after 127 131 => 4,3,2,3,2
    lset 13 132 => 4,3,2,3,2
    lpush 133 => 1,4,3,2,3,2
    lrem 0 127 => 1,3,3,2,3,2
    lset 7 134 => 1,3,3,2,3,2
    linsert after 123 135 => 1,3,3,2,3,3
    linsert after 107 136 => 1,4,3,2,3,3
    linsert after 118 137 => 3,3,3,2,3,3
    lset 6 138 => 3,3,3,2,3,3
    ltrim 0 -1 => 3,3,3,2,3,3
    linsert after 116 139 => 4,3,3,2,3,3
    linsert before 118 140 => 4,4,3,2,3,3
    lrem 0 136 => 4,3,3,2,3,3
    lset 1 141 => 4,3,3,2,3,3
    linsert before 141 142 => 2,3,3,3,2,3,3
    linsert before 118 143 => 2,3,4,3,2,3,3
    lset 2 144 => 2,3,4,3,2,3,3
    rpush 145 => 2,3,4,3,2,3,4
    rpush 146 => 2,3,4,3,2,3,4,1
    rpush 147 => 2,3,4,3,2,3,4,2
    lrem 0 108 => 2,3,4,2,2,3,4,2
    linsert before 143 148 => 2,4,4,2,2,3,4,2
    linsert after 133 149 => 3,4,4,2,2,3,4,2
    linsert before 143 150 => 3,4,1,4,2,2,3,4,2
    ltrim 0 -3 => 3,4,1,4,2,2,3,4
";

#[test]
fn golden_layouts() {
    let (limit, mut list) = (NodeLimit::new(4), List::new());
    for line in LAYOUTS.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (command, nodes) = line.split_once(" => ").unwrap();
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        let number = |at: usize| parse_i64(words[at]).unwrap();
        let side = |word: &[u8]| if word == b"after" { Side::After } else { Side::Before };
        match words[0] {
            b"rpush" => list.push_back(words[1], limit),
            b"lpush" => list.push_front(words[1], limit),
            b"rpop" => _ = list.pop_back(limit),
            b"lpop" => _ = list.pop_front(limit),
            b"linsert" => assert!(list.insert(side(words[1]), words[2], words[3], limit)),
            b"lset" => assert!(list.set(number(1), words[2], limit)),
            b"lrem" => assert_eq!(list.remove_value(number(1), words[2], limit), 1),
            b"ltrim" => _ = list.trim(number(1), number(2), limit),
            _ => unreachable!("{command}"),
        }
        let expected: Vec<isize> = nodes.split(',').map(|count| count.parse().unwrap()).collect();
        assert_eq!(layout(&list), expected, "after {command}");
    }
}

#[test]
fn spans_are_cut_to_the_list() {
    let list = filled(&["a", "b", "c"], NodeLimit::default());
    let check = |start, stop, span| assert_eq!(list.span(start, stop), span, "{start} {stop}");
    check(0, -1, 0..3);
    check(-100, 100, 0..3);
    check(1, 1, 1..2);
    check(-2, -1, 1..3);
    check(2, 1, 0..0);
    check(3, 5, 0..0);
    check(0, -4, 0..0);
    check(i64::MIN, i64::MAX, 0..3);
    check(i64::MAX, i64::MIN, 0..0);
}

#[test]
fn positions_by_rank_and_length() {
    let list = filled(&["a", "1", "b", "1", "c", "1"], NodeLimit::new(2));
    let check = |rank, max_len, found: &[usize]| {
        assert_eq!(list.positions(b"1", rank, max_len).collect::<Vec<_>>(), found, "{rank} {max_len}");
    };
    check(1, 0, &[1, 3, 5]);
    check(2, 0, &[3, 5]);
    check(-1, 0, &[5, 3, 1]);
    check(-2, 3, &[3]);
    check(1, 2, &[1]);
    check(4, 0, &[]);
    check(i64::MIN, 0, &[]);
}

#[test]
fn a_long_list_is_walked_by_number() {
    let limit = NodeLimit::new(3);
    let mut list = List::new();
    (0..20_000i64).for_each(|i| list.push_back(i.to_string().as_bytes(), limit));
    for index in (0..20_000).step_by(997) {
        assert_eq!(list.get(index), Some(LpEntry::Int(index)));
        assert_eq!(list.get(index - 20_000), Some(LpEntry::Int(index)));
    }
    assert!(list.insert(Side::Before, b"10000", b"here", limit));
    assert_eq!(list.get(10_000), Some(LpEntry::Str(b"here")));
    assert_eq!(list.remove_range(5, 19_990, limit), 19_990);
    assert_eq!((list.len(), list.get(5)), (11, Some(LpEntry::Int(19_994))));
    list.assert_invariants();
}

#[test]
fn a_node_does_not_grow_without_end() {
    let limit = NodeLimit::new(-5);
    let mut list = List::new();
    (0..30_000).for_each(|_| list.push_back(b"1", limit));
    let element = vec![b'x'; 60_000];
    (0..100).for_each(|index| assert!(list.set(index, &element, limit)));
    for node in list.nodes() {
        assert!(matches!(node, ListNode::Packed(lp) if lp.bytes_len() < 400_000));
    }
    list.assert_invariants();
    assert_eq!(list.len(), 30_000);
}

fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        10 => (0..6i64).prop_map(|v| v.to_string().into_bytes()),
        3 => prop::sample::select(vec!["", "a", "b", "-0", "70000"]).prop_map(|s| s.as_bytes().to_vec()),
        2 => (40..300usize).prop_map(|len| vec![b'm'; len]),
        1 => (3000..9000usize).prop_map(|len| vec![b'l'; len]),
    ]
}

fn index() -> impl Strategy<Value = i64> {
    prop_oneof![8 => -12..12i64, 2 => -60..60i64, 1 => prop::sample::select(vec![i64::MIN, i64::MAX])]
}

fn op() -> impl Strategy<Value = ListOp> {
    let many = || vec(element(), 0..12);
    let side = prop_oneof![Just(Side::Before), Just(Side::After)];
    let end = || prop_oneof![Just(End::Head), Just(End::Tail)];
    prop_oneof![
        2 => element().prop_map(ListOp::PushFront),
        2 => element().prop_map(ListOp::PushBack),
        2 => many().prop_map(ListOp::ExtendFront),
        2 => many().prop_map(ListOp::ExtendBack),
        1 => Just(ListOp::PopFront),
        1 => Just(ListOp::PopBack),
        1 => end().prop_map(ListOp::Discard),
        1 => (end(), end()).prop_map(|(from, to)| ListOp::Rotate(from, to)),
        2 => index().prop_map(ListOp::Get),
        4 => (index(), element()).prop_map(|(i, e)| ListOp::Set(i, e)),
        4 => (side, element(), element()).prop_map(|(s, p, e)| ListOp::Insert(s, p, e)),
        2 => (-3..4i64, element()).prop_map(|(n, e)| ListOp::RemoveValue(n, e)),
        1 => (index(), index()).prop_map(|(a, b)| ListOp::Trim(a, b)),
        2 => (0..40usize, 0..9usize).prop_map(|(s, n)| ListOp::RemoveRange(s, n)),
        2 => (0..40usize, 0..40usize, any::<bool>()).prop_map(|(s, n, b)| ListOp::Range(s, n, b)),
        2 => (element(), -4..5i64, 0..20usize).prop_map(|(e, r, m)| ListOp::Positions(e, r, m)),
        1 => Just(ListOp::Reload),
    ]
}

fn limit() -> impl Strategy<Value = NodeLimit> {
    let size = prop_oneof![3 => 0..9i64, 2 => -5..0i64];
    (size, prop::option::of(30..200usize)).prop_map(|(size, large_from)| {
        let limit = NodeLimit::new(size);
        large_from.map_or(limit, |bytes| limit.with_large_from(bytes))
    })
}

proptest! {
    /// Whatever is done to a `List`, it equals the `VecDeque` that had the same done to it, even when the
    /// limit changes in between.
    #[test]
    fn list_equals_its_model(parts in vec((limit(), vec(op(), 0..60)), 1..3)) {
        let (mut list, mut model) = (List::new(), ListModel::new());
        for (limit, ops) in parts {
            for op in ops {
                let (real, naive) = (op.run(&mut list, limit), op.run_on_model(&mut model));
                prop_assert_eq!(real, naive, "after {:?} with {:?}", op, limit);
                list.assert_invariants();
            }
            prop_assert_eq!(elements(&list), Vec::from(model.clone()));
            prop_assert_eq!(list.is_empty(), model.is_empty());
        }
    }
}
