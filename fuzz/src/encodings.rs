//! The compact encodings: whatever bytes claim to be one, they are refused or they work.

use crate::input::Choices;
use baton_engine::types::hyperloglog::{self as hll, Registers};
use baton_engine::types::intset::Intset;
use baton_engine::types::listpack::Listpack;
use std::collections::BTreeSet;

/// The bytes themselves, and a listpack made of them that is then damaged.
pub fn listpack(data: &[u8]) {
    use_listpack(data);
    let mut choices = Choices::new(data);
    let mut made = Listpack::new();
    for _ in 0..choices.byte() % 32 {
        match choices.byte() {
            kind if kind < 128 => made.push_back(choices.bytes(usize::from(kind))),
            kind => made.push_back_int(choices.integer() >> (kind % 64)),
        }
    }
    use_listpack(made.as_bytes());
    assert!(Listpack::from_bytes_checked(made.as_bytes()).is_ok());
    let damaged = damage(made.as_bytes(), &mut choices);
    use_listpack(&damaged);
}

/// Changes and removes bytes of something valid.
fn damage(valid: &[u8], choices: &mut Choices<'_>) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for _ in 0..=choices.byte() % 4 {
        let (at, value) = (choices.below(bytes.len().max(1)), choices.byte());
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        if value == 0x5a {
            bytes.truncate(at);
        }
    }
    bytes
}

/// Takes the bytes for a listpack; if they pass, everything must work on it.
fn use_listpack(bytes: &[u8]) {
    let Ok(mut list) = Listpack::from_bytes_checked(bytes) else { return };
    let forward: Vec<Vec<u8>> = list.iter().map(|entry| entry.to_vec()).collect();
    let mut backward: Vec<Vec<u8>> = list.iter().rev().map(|entry| entry.to_vec()).collect();
    backward.reverse();
    assert_eq!(forward, backward);
    assert_eq!(forward.len(), list.len());
    let copy: Listpack = forward.iter().collect();
    assert!(copy.iter().map(|entry| entry.to_vec()).eq(forward.iter().cloned()));
    for (index, text) in forward.iter().enumerate() {
        let found = list.find(text, 0).expect("an entry that is there");
        assert!(list.get(found).eq_bytes(text), "entry {index}");
    }
    if let Some(pos) = list.seek(forward.len() as isize / 2) {
        list.replace(pos, b"another text");
    }
    list.push_front(b"12345");
    list.push_back(b"-1");
    while list.pop_front().is_some() {
        assert!(Listpack::from_bytes_checked(list.as_bytes()).is_ok());
        list.pop_back();
    }
}

/// The bytes themselves, and a set made of them that is then damaged.
pub fn intset(data: &[u8]) {
    use_intset(data);
    let mut choices = Choices::new(data);
    let (mut made, mut model) = (Intset::new(), BTreeSet::new());
    for _ in 0..choices.byte() % 64 {
        let kind = choices.byte();
        let value = choices.integer() >> (kind % 64);
        if kind < 192 {
            assert_eq!(made.insert(value), model.insert(value));
        } else {
            assert_eq!(made.remove(value), model.remove(&value));
        }
    }
    assert!(made.iter().eq(model.iter().copied()));
    assert_eq!(Intset::from_bytes_checked(made.as_bytes()).is_ok(), !model.is_empty());
    use_intset(&damage(made.as_bytes(), &mut choices));
}

/// Takes the bytes for a set; if they pass, everything must work on it.
fn use_intset(bytes: &[u8]) {
    let Ok(mut set) = Intset::from_bytes_checked(bytes) else { return };
    let mut model: BTreeSet<i64> = set.iter().collect();
    assert_eq!(model.len(), set.len());
    assert_eq!((set.min(), set.max()), (model.first().copied(), model.last().copied()));
    for value in model.clone().into_iter().chain([0, i64::MIN, i64::MAX, 1 << 20]) {
        assert_eq!(set.contains(value), model.contains(&value));
        assert_eq!(set.insert(value), model.insert(value));
    }
    for value in model {
        assert!(set.remove(value));
    }
    assert!(set.is_empty());
}

/// The bytes themselves, the bytes as the registers of a sparse HyperLogLog, and a valid one damaged.
pub fn hyperloglog(data: &[u8]) {
    use_hyperloglog(data);
    let sparse = [&hll::create()[..16], data].concat();
    use_hyperloglog(&sparse);
    let mut choices = Choices::new(data);
    let mut made = hll::create();
    let sparse_max_bytes = choices.below(4_000);
    for _ in 0..choices.byte() {
        let len = usize::from(choices.byte() % 8);
        hll::add(&mut made, choices.bytes(len), sparse_max_bytes).expect("adding to a valid HyperLogLog");
    }
    use_hyperloglog(&made);
    use_hyperloglog(&damage(&made, &mut choices));
}

/// Takes the bytes for a HyperLogLog; both encodings must agree on what it holds.
fn use_hyperloglog(bytes: &[u8]) {
    let counted = hll::count(bytes);
    assert_eq!(hll::decode_text(bytes).is_ok(), counted.is_ok());
    let mut dense = bytes.to_vec();
    assert_eq!(hll::to_dense(&mut dense).is_ok(), counted.is_ok());
    let mut registers = Registers::new();
    let merged = registers.merge(bytes).is_ok();
    if let Ok(count) = counted {
        assert!(merged);
        assert_eq!(hll::count(&dense), Ok(count));
        assert_eq!(registers.count(), count);
    }
    for element in [&b"a"[..], b"b", b"", &bytes[..bytes.len().min(9)]] {
        let mut more = bytes.to_vec();
        let changed = hll::add(&mut more, element, 3_000);
        if counted.is_ok() {
            assert!(changed.is_ok(), "{changed:?}");
            assert_eq!(hll::add(&mut more, element, 3_000), Ok(false));
            assert!(hll::count_and_cache(&mut more).is_ok());
        }
    }
}
