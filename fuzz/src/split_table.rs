//! The table of the key space, against a map of the standard library.

use crate::input::Choices;
use baton_engine::random::Rng;
use baton_engine::table::SplitTable;
use std::collections::BTreeSet;

/// Keys that the model can afford.
const KEYS_MAX: usize = 3_000;
/// Operations, some of which look at every key.
const OPS_MAX: usize = 40;

/// The first byte chooses how bad the hash is; then come operations of a few bytes each.
pub fn split_table(data: &[u8]) {
    let mut choices = Choices::new(data);
    let weak = choices.byte();
    let hash = move |key: &u32| hash(*key, weak);
    let (mut table, mut model) = (SplitTable::new(), BTreeSet::new());
    for _ in 0..OPS_MAX {
        if choices.is_over() {
            break;
        }
        let (op, key) = (choices.byte(), u32::from(choices.pair()));
        match op {
            // A run of keys makes parts split; taking it away makes them merge again.
            0..0x20 => {
                (key..key + u32::from(op) * 24).for_each(|key| insert(&mut table, &mut model, key, hash))
            }
            0x20..0x40 => {
                (key..key + u32::from(op) * 24).for_each(|key| remove(&mut table, &mut model, key, hash))
            }
            0x40..0x80 => insert(&mut table, &mut model, key, hash),
            0x80..0xc0 => remove(&mut table, &mut model, key, hash),
            0xc0..0xe0 => check_scan(&table, &model, usize::from(op - 0xbf) * 16, hash),
            _ => check_random(&table, &model, u64::from(key)),
        }
        assert_eq!(table.len(), model.len());
    }
    check_scan(&table, &model, 10, hash);
    assert_eq!(table.iter().copied().collect::<BTreeSet<u32>>(), model);
}

/// A hash that mixes well, of which so many of the bits that order the elements are thrown away.
fn hash(key: u32, weak: u8) -> u64 {
    let mixed = Rng::seeded(u64::from(key)).next_u64();
    mixed & !(u64::MAX << 57 >> (weak % 24))
}

fn insert(table: &mut SplitTable<u32>, model: &mut BTreeSet<u32>, key: u32, hash: impl Fn(&u32) -> u64) {
    if model.len() == KEYS_MAX {
        return;
    }
    let old = table.replace(hash(&key), key, |other| *other == key, &hash);
    assert_eq!(old.is_none(), model.insert(key));
}

fn remove(table: &mut SplitTable<u32>, model: &mut BTreeSet<u32>, key: u32, hash: impl Fn(&u32) -> u64) {
    let found = table.find(hash(&key), |other| *other == key).copied();
    assert_eq!(table.remove(hash(&key), |other| *other == key, &hash), found);
    assert_eq!(found.is_some(), model.remove(&key));
}

fn check_scan(table: &SplitTable<u32>, model: &BTreeSet<u32>, count: usize, hash: impl Fn(&u32) -> u64) {
    let (mut cursor, mut seen) = (0, BTreeSet::new());
    loop {
        let before = seen.len();
        cursor = table.scan(cursor, count, &hash, |key| assert!(seen.insert(*key), "{key} came twice"));
        if cursor == 0 {
            break;
        }
        assert!(seen.len() > before, "a step that brings nothing forward");
    }
    assert_eq!(&seen, model);
}

fn check_random(table: &SplitTable<u32>, model: &BTreeSet<u32>, seed: u64) {
    let drawn = table.random(&mut Rng::seeded(seed));
    assert_eq!(drawn.is_none(), model.is_empty());
    assert!(drawn.is_none_or(|key| model.contains(key)));
}
