//! Every target on its corpus and on seeded mutations of it: what plain `cargo test` can do.
//!
//! `BATON_FUZZ_RUNS` sets how many mutations each target gets, `BATON_FUZZ_SEED` draws others.

use baton_engine::random::Rng;
use baton_fuzz::input::{mutate, random_bytes};
use baton_fuzz::{TARGETS, find};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

const RUNS: usize = 2_000;
/// Targets whose runs take milliseconds rather than microseconds get fewer of them.
const SLOW_RUNS: usize = 250;
const SLOW: &[&str] =
    &["engine_commands", "engine_model", "recovery_dir", "script", "snapshot_index", "split_table"];

fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut all: Vec<(String, Vec<u8>)> = files
        .map(|file| {
            let path = file.expect("a file of the corpus").path();
            let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path.display().to_string(), bytes)
        })
        .collect();
    all.sort();
    all
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[track_caller]
fn run(target: &str, origin: &str, input: &[u8]) {
    let function = find(target).expect("a target");
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| function(input))) {
        eprintln!("target {target}, {origin}, input: b\"{}\"", input.escape_ascii());
        std::panic::resume_unwind(panic);
    }
}

#[track_caller]
fn check(target: &str) {
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "{target} has no corpus");
    for (path, input) in &corpus {
        run(target, path, input);
    }
    let mut rng = Rng::seeded(setting("BATON_FUZZ_SEED", 1) as u64);
    let runs = if SLOW.contains(&target) { SLOW_RUNS } else { RUNS };
    for number in 0..setting("BATON_FUZZ_RUNS", runs) {
        let mut input = random_bytes(&mut rng, 300);
        if number % 4 != 0 {
            input = corpus[rng.below(corpus.len())].1.clone();
            let other = &corpus[rng.below(corpus.len())].1;
            mutate(&mut rng, &mut input, other);
        }
        run(target, &format!("mutation {number}"), &input);
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test] fn $name() { check(stringify!($name)); })*

        #[test]
        fn every_target_has_its_test() {
            let mut tested = vec![$(stringify!($name)),*];
            let mut targets: Vec<&str> = TARGETS.iter().map(|target| target.0).collect();
            tested.sort_unstable();
            targets.sort_unstable();
            assert_eq!(tested, targets);
        }
    };
}

targets! {
    acl_rules aof_annotation aof_manifest aof_reader config_text engine_commands engine_model glob hyperloglog intset listpack numbers rdb_file rdb_payload rdb_value recovery_dir replication_wire request_parser script snapshot_index split_table
}
