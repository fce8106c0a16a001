//! Snapshots with an index: whatever claims to be one is refused, or gives keys that are what the file says; and what a
//! shard saves while it changes comes back as it was.

use crate::commands::{asks_for_too_much, bench, contents, decode, lines, shown};
use crate::input::Choices;
use baton_engine::keyspace::save::Section;
use baton_engine::keyspace::stored::StoredSection;
use baton_engine::keyspace::{Counts, Keyspace};
use baton_engine::rdb::save::SaveOptions;
use baton_engine::rdb::{Family, Version};
use baton_engine::slot::Slot;
use baton_engine::snapshot::{Head, Index, Writer};
use baton_engine::testing::Bench;
use std::collections::BTreeMap;

/// One byte: if it is even, the file follows. If not, sections: what the index says of each, and its bytes; the index is made
/// to fit, so that what is behind its checksums is reached.
///
/// Every slot is built or damaged; what was built is counted as the index counts it.
pub fn snapshot_index(data: &[u8]) {
    let mut choices = Choices::new(data);
    let file = if choices.byte() & 1 == 0 { choices.rest().to_vec() } else { made_to_fit(&mut choices) };
    let Ok(Some(index)) = Index::open(&file) else { return };
    let Some(mut bench) = opened(&file, &index) else { return };
    while bench.shard.build_next(&bench.settings, bench.now_ms) {}
    let damaged: Vec<u16> = bench.shard.damaged_slots().map(|(slot, _)| slot).collect();
    for db in 0..bench.shard.databases() {
        let sections = index.sections.iter().filter(|section| section.db as usize == db);
        let claimed: usize = sections.clone().map(|section| section.counts().keys).sum();
        assert_eq!(bench.shard.counts(db).keys, claimed);
        let left = sections.filter(|section| damaged.contains(&section.slot));
        let left: usize = left.map(|section| section.counts().keys).sum();
        let keyspace = Keyspace::one(&mut bench.shard, &bench.settings, db, bench.now_ms);
        let built = baton_engine::keyspace::scan::all(&keyspace, None).count();
        assert_eq!(built + left, claimed, "in database {db}");
    }
}

fn made_to_fit(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut file = Vec::new();
    let head = Head { version: Version::V12, aux: &[], functions: &[], sizes: &[] };
    let mut writer = Writer::begin(&head, &mut file);
    for _ in 0..choices.byte() % 5 {
        let slot = choices.pair();
        let mut count = || match choices.byte() {
            255 => usize::MAX,
            254 => usize::MAX / 2,
            n => usize::from(n),
        };
        let counts = Counts { keys: count(), volatile: count(), expires: count(), with_fields: count() };
        let db = u32::from(choices.byte() % 20);
        let len = usize::from(choices.pair()) % 600;
        let bytes = choices.bytes(len).to_vec();
        let section = Section { slot, db, bytes, counts, version: Version::V10 };
        writer.section(&section, &mut file).expect("an old section");
        file.extend_from_slice(&section.bytes);
    }
    writer.finish(true, &mut file);
    file
}

/// A shard that has this file before it; `None` when it has too many databases.
fn opened(file: &[u8], index: &Index) -> Option<Bench> {
    let mut bench = bench();
    let mut slots: BTreeMap<u16, Vec<StoredSection>> = BTreeMap::new();
    for entry in &index.sections {
        if entry.db as usize >= bench.shard.databases() {
            return None;
        }
        slots.entry(entry.slot).or_default().push(StoredSection {
            file: "fuzzed".into(),
            offset: entry.offset,
            family: Family::Redis,
            bytes: file[entry.range()].to_vec().into(),
            crc32: entry.crc32,
            db: entry.db as usize,
            counts: entry.counts(),
            stale_before_ms: i64::MIN,
        });
    }
    for (slot, sections) in slots {
        bench.shard.store_slot(Slot::new(usize::from(slot)).expect("checked"), sections);
    }
    Some(bench)
}

/// Commands as those of `engine_commands`. A second shard has their effects, and is saved and opened again and again, its
/// slots built when they are needed: it holds the same. A save that goes on beside the commands shows the moment at which
/// it began.
pub fn engine_model(data: &[u8]) {
    let script = match data {
        [b'#', text @ ..] => lines(text),
        dense => decode(dense),
    };
    let (mut model, mut store) = (bench(), bench());
    let mut saving: Option<Saving> = None;
    for (n, (pause_ms, args)) in script.into_iter().enumerate() {
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        if asks_for_too_much(&args) {
            continue;
        }
        model.now_ms += pause_ms;
        store.now_ms = model.now_ms;
        model.run_args(&args);
        for effect in model.shard.effects.take() {
            store.db = effect.db;
            build_all(&mut store);
            let args: Vec<&[u8]> = effect.args.iter().map(AsRef::as_ref).collect();
            let reply = store.run_args(&args);
            assert!(!reply.starts_with(b"-"), "{} to the effect {}", reply.escape_ascii(), shown(&args));
        }
        for shard in [&mut model.shard, &mut store.shard] {
            shard.events.clear();
            shard.ready.clear();
        }
        match n % 8 {
            2 => saving = Some(Saving::begin(&mut store)),
            6 => {
                if let Some(saving) = saving.take() {
                    saving.finish(&mut store);
                }
                let again = Saving::begin(&mut store).finish(&mut store);
                store = again;
            }
            _ => {
                if let Some(saving) = &mut saving {
                    saving.step(&mut store, 40);
                }
            }
        }
    }
    build_all(&mut store);
    assert_eq!(contents(&mut store), contents(&mut model));
}

fn build_all(bench: &mut Bench) {
    while bench.shard.build_next(&bench.settings, bench.now_ms) {}
    assert_eq!(bench.shard.damaged_slots().next(), None);
}

type Contents = BTreeMap<(usize, Vec<u8>), Vec<Vec<u8>>>;

/// A save that is on its way.
struct Saving {
    began_ms: i64,
    expected: Contents,
    sections: Vec<Section>,
}

impl Saving {
    fn begin(store: &mut Bench) -> Self {
        build_all(store);
        // Looking removes what has expired.
        let expected = contents(store);
        store.shard.begin_save(SaveOptions::default(), &store.settings, store.now_ms);
        Self { began_ms: store.now_ms, expected, sections: Vec::new() }
    }

    fn step(&mut self, store: &mut Bench, bytes: usize) -> bool {
        let step = store.shard.save_step(bytes, &store.settings, store.now_ms).expect("no damage");
        self.sections.extend(store.shard.take_sections());
        step.done
    }

    /// What was saved, opened.
    fn finish(mut self, store: &mut Bench) -> Bench {
        while !self.step(store, 1 << 20) {}
        store.shard.end_save();
        let mut file = Vec::new();
        let head = Head { version: Version::V12, aux: &[], functions: &[], sizes: &[] };
        let mut writer = Writer::begin(&head, &mut file);
        for section in &self.sections {
            writer.section(section, &mut file).expect("no newer than the file");
            file.extend_from_slice(&section.bytes);
        }
        writer.finish(true, &mut file);
        let index = Index::open(&file).expect("a good index").expect("an index");
        let mut looked_at = opened(&file, &index).expect("databases that there are");
        looked_at.now_ms = self.began_ms;
        build_all(&mut looked_at);
        assert_eq!(contents(&mut looked_at), self.expected);
        let mut fresh = opened(&file, &index).expect("databases that there are");
        fresh.now_ms = store.now_ms;
        fresh
    }
}
