//! Golden bytes of a real server, and the vector that a listpack must equal.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn texts(lp: &Listpack) -> Vec<Vec<u8>> {
    lp.iter().map(|entry| entry.to_vec()).collect()
}

/// What a real server wrote by DUMP for a list of these elements.
#[test]
fn golden_bytes_of_every_width() {
    let long = ["x".repeat(63), "y".repeat(64)];
    let elements = [
        "0",
        "127",
        "128",
        "-1",
        "4095",
        "-4096",
        "4096",
        "-4097",
        "32767",
        "-32768",
        "32768",
        "8388607",
        "-8388608",
        "8388608",
        "2147483647",
        "-2147483648",
        "2147483648",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "",
        "a",
        "-0",
        "007",
        &long[0],
        &long[1],
    ];
    let golden = GOLDEN_HEX.replace("X63", &"78".repeat(63)).replace("Y64", &"79".repeat(64));
    let golden: Vec<u8> = golden
        .as_bytes()
        .chunks(2)
        .map(|h| u8::from_str_radix(str::from_utf8(h).unwrap(), 16).unwrap())
        .collect();
    let lp: Listpack = elements.iter().collect();
    assert_eq!(lp.as_bytes(), golden);
    let read = Listpack::from_bytes_checked(&golden).unwrap();
    assert_eq!(texts(&read), elements.map(|e| e.as_bytes().to_vec()));
    assert!(read.iter().rev().map(|e| e.to_vec()).eq(elements.iter().rev().map(|e| e.as_bytes().to_vec())));
}

const GOLDEN_HEX: &str = "\
    0d0100001a0000017f01c08002dfff02cfff02d00002f1001003f1ffef03f1ff7f03f1008003f200800004f2ff\
    ff7f04f200008004f30000800005f3ffffff7f05f30000008005f4000000800000000009f4ffffffffffffff7f\
    09f40000000000000080099339323233333732303336383534373735383038148001816102822d300383303037\
    04bfX6340e040Y6442ff";

/// Lengths where the real server switches width: the head at 63/64 and 4095/4096, the back length at
/// contents of 127/128, 16382/16383 (not 16383/16384) bytes.
#[test]
fn golden_backlen() {
    let check = |len: usize, head: &[u8], backlen: &[u8]| {
        let lp: Listpack = [vec![b'z'; len]].into_iter().collect();
        let entry = &lp.as_bytes()[HEADER_BYTES..lp.end()];
        assert!(entry.starts_with(head) && entry.ends_with(backlen), "{len}");
        assert_eq!(entry.len(), head.len() + len + backlen.len(), "{len}");
        assert_eq!(Listpack::from_bytes_checked(lp.as_bytes()), Ok(lp));
    };
    check(124, &[0xe0, 124], &[0x7e]);
    check(125, &[0xe0, 125], &[0x7f]);
    check(126, &[0xe0, 126], &[0x01, 0x80]);
    check(4095, &[0xef, 0xff], &[0x20, 0x81]);
    check(4096, &[0xf0, 0x00, 0x10, 0, 0], &[0x20, 0x85]);
    check(16377, &[0xf0, 0xf9, 0x3f, 0, 0], &[0x7f, 0xfe]);
    check(16378, &[0xf0, 0xfa, 0x3f, 0, 0], &[0x00, 0xff, 0xff]);
    check(16379, &[0xf0, 0xfb, 0x3f, 0, 0], &[0x01, 0x80, 0x80]);
}

#[test]
fn find_compares_every_nth() {
    let lp: Listpack = ["a", "1", "1", "b", "c", "a"].into_iter().collect();
    let check = |text: &str, skip, index: Option<isize>| {
        assert_eq!(lp.find(text.as_bytes(), skip), index.and_then(|i| lp.seek(i)), "{text} {skip}");
    };
    check("1", 0, Some(1));
    check("1", 1, Some(2));
    check("b", 1, None);
    check("a", 1, Some(0));
    check("a", 9, Some(0));
    check("c", 3, Some(4));
    assert_eq!(lp.find_from(lp.seek(1).unwrap(), b"a", 1), lp.seek(5));
}

#[test]
fn count_beyond_the_header_comes_back() {
    let mut lp = Listpack::new();
    (0..70_000).for_each(|_| lp.push_back_int(1));
    assert_eq!((lp.header_count(), lp.len()), (COUNT_UNKNOWN, 70_000));
    assert_eq!(lp.seek(69_999), lp.last());
    assert_eq!(lp.seek(70_000), None);
    assert_eq!(lp.seek(-70_000), lp.first());
    assert_eq!(Listpack::from_bytes_checked(lp.as_bytes()).unwrap().len(), 70_000);
    lp.remove_range(-10_000, 10_000);
    assert_eq!((lp.header_count(), lp.len()), (60_000, 60_000));
}

#[test]
fn an_entry_is_compared_by_its_text() {
    let (int, text) = (LpEntry::Int(5), LpEntry::Str(b"5"));
    assert!(int.same_bytes(&text) && text.same_bytes(&int) && int.eq_bytes(b"5"));
    assert!(!int.eq_bytes(b"05") && !text.same_bytes(&LpEntry::Int(6)));
    assert!(Needle::new(b"5").matches(&int) && Needle::new(b"5").matches(&text));
}

/// Texts around every switch of width, integers and near-integers.
fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<i64>().prop_map(|v| v.to_string().into_bytes()),
        (any::<i64>(), 0..63u32).prop_map(|(v, shift)| (v >> shift).to_string().into_bytes()),
        (0..300i64).prop_map(|v| v.to_string().into_bytes()),
        vec(any::<u8>(), 0..150),
        "[-0-9]{0,21}".prop_map(String::into_bytes),
    ]
}

#[derive(Debug, Clone)]
enum Op {
    PushBack(Vec<u8>),
    PushFront(Vec<u8>),
    InsertBefore(usize, Vec<u8>),
    InsertAfter(usize, Vec<u8>),
    Replace(usize, Vec<u8>),
    ReplaceInt(usize, i64),
    RemoveAt(usize, usize),
    PopFront,
    PopBack,
    RetainOdd,
    SplitAndAppend(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let index = 0..40usize;
    prop_oneof![
        text().prop_map(Op::PushBack),
        text().prop_map(Op::PushFront),
        (index.clone(), text()).prop_map(|(i, t)| Op::InsertBefore(i, t)),
        (index.clone(), text()).prop_map(|(i, t)| Op::InsertAfter(i, t)),
        (index.clone(), text()).prop_map(|(i, t)| Op::Replace(i, t)),
        (index.clone(), any::<i64>()).prop_map(|(i, v)| Op::ReplaceInt(i, v)),
        (index.clone(), 0..4usize).prop_map(|(i, n)| Op::RemoveAt(i, n)),
        Just(Op::PopFront),
        Just(Op::PopBack),
        Just(Op::RetainOdd),
        index.prop_map(Op::SplitAndAppend),
    ]
}

fn run(op: &Op, lp: &mut Listpack, model: &mut Vec<Vec<u8>>) {
    match op {
        Op::PushBack(t) => {
            lp.push_back(t);
            model.push(t.clone());
        }
        Op::PushFront(t) => {
            lp.push_front(t);
            model.insert(0, t.clone());
        }
        Op::PopFront => {
            let popped = (!model.is_empty()).then(|| model.remove(0));
            assert_eq!(lp.pop_front().map(LpValue::into_vec), popped);
        }
        Op::PopBack => assert_eq!(lp.pop_back().map(LpValue::into_vec), model.pop()),
        Op::RetainOdd => {
            let (mut i, mut j) = (0, 0);
            let removed = lp.retain(|_| (i += 1, i % 2 == 0).1);
            let before = model.len();
            model.retain(|_| (j += 1, j % 2 == 0).1);
            assert_eq!(removed, before - model.len());
        }
        Op::InsertBefore(i, ..)
        | Op::InsertAfter(i, ..)
        | Op::Replace(i, ..)
        | Op::ReplaceInt(i, ..)
        | Op::RemoveAt(i, ..)
        | Op::SplitAndAppend(i) => {
            let pos = lp.seek(*i as isize);
            assert_eq!(pos.is_some(), *i < model.len());
            if let Some(pos) = pos {
                run_at(op, *i, pos, lp, model);
            }
        }
    }
}

fn run_at(op: &Op, i: usize, pos: Pos, lp: &mut Listpack, model: &mut Vec<Vec<u8>>) {
    match op {
        Op::InsertBefore(_, t) => {
            let new = lp.insert_before(pos, t);
            assert!(lp.get(new).eq_bytes(t));
            model.insert(i, t.clone());
        }
        Op::InsertAfter(_, t) => {
            let new = lp.insert_after(pos, t);
            assert!(lp.get(new).eq_bytes(t));
            model.insert(i + 1, t.clone());
        }
        Op::Replace(_, t) => {
            lp.replace(pos, t);
            model[i] = t.clone();
        }
        Op::ReplaceInt(_, v) => {
            lp.replace_int(pos, *v);
            model[i] = v.to_string().into_bytes();
        }
        Op::RemoveAt(_, n) => {
            let next = lp.remove_at(pos, *n);
            model.drain(i..model.len().min(i + n));
            assert_eq!(next.map(|pos| lp.get(pos).to_vec()), model.get(i).cloned());
        }
        Op::SplitAndAppend(_) => {
            let tail = lp.split_off(pos);
            assert_eq!(texts(lp), model[..i]);
            assert_eq!(texts(&tail), model[i..]);
            lp.append(&tail);
        }
        _ => unreachable!("no index"),
    }
}

proptest! {
    /// Whatever is done to a `Listpack`, it equals the vector that had the same done to it, byte for
    /// byte the listpack that would be built from scratch.
    #[test]
    fn listpack_equals_its_model(ops in vec(op(), 0..80)) {
        let (mut lp, mut model) = (Listpack::new(), Vec::new());
        for op in &ops {
            run(op, &mut lp, &mut model);
            prop_assert_eq!(&texts(&lp), &model, "after {:?}", op);
        }
        let rebuilt: Listpack = model.iter().collect();
        prop_assert_eq!(lp.as_bytes(), rebuilt.as_bytes());
        prop_assert_eq!(lp.len(), model.len());
        prop_assert!(Listpack::from_bytes_checked(lp.as_bytes()).is_ok());
    }

    /// Damaged bytes are refused or are another valid listpack; they never panic.
    #[test]
    fn damage_never_panics(texts in vec(text(), 0..12), at in any::<prop::sample::Index>(), byte: u8) {
        let lp: Listpack = texts.iter().collect();
        let mut bytes = lp.as_bytes().to_vec();
        prop_assert!(Listpack::from_bytes_checked(&bytes[..at.index(bytes.len())]).is_err());
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(lp) = Listpack::from_bytes_checked(&bytes) {
            prop_assert_eq!(lp.iter().count(), lp.len());
            prop_assert_eq!(lp.iter().rev().count(), lp.len());
        }
    }

    #[test]
    fn any_bytes_never_panic(mut bytes in vec(any::<u8>(), 0..40), fix: bool) {
        if fix && bytes.len() > HEADER_BYTES {
            let (total, end) = (bytes.len() as u32, bytes.len() - 1);
            bytes[..4].copy_from_slice(&total.to_le_bytes());
            bytes[4..6].fill(0xff);
            bytes[end] = END;
        }
        if let Ok(lp) = Listpack::from_bytes_checked(&bytes) {
            prop_assert_eq!(lp.iter().rev().count(), lp.len());
        }
    }
}
