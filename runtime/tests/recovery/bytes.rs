//! Every byte of every file: flipped, and the file cut there. What is opened then is the truth, or a part of it that
//! names what is missing, or it is not opened at all; and the files stay as they were.

use crate::bench::{
    Contents, FILL, Files, LOG_DIR, SNAPSHOT, all, disk, exec, files, held, node, opened, rewrite, run,
    slot_of, snapshot, whole,
};
use baton::journal::Policy;
use baton::storage::SimulatedStorage;
use baton_engine::aof::manifest::{BaseFormat, Manifest};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Steps after the rewrite: each is a block of the log.
const STEPS: &[&[(usize, &str)]] = &[
    &[(0, "SET text changed")],
    &[(0, "INCR number"), (1, "DEL words"), (2, "RENAME {t}1 moved")],
    &[(1, "HDEL hash g")],
    &[(0, "RPUSH list tail"), (0, "SET text again")],
    &[(2, "FLUSHDB")],
    &[(0, "SPOP words"), (0, "APPEND number 0"), (2, "SET last 1")],
    // Looks at keys that do not stand in the command.
    &[(0, "SORT list BY weight:* GET # GET weight:* ALPHA STORE sorted")],
];

/// A log with a base and an increment.
struct Log {
    files: Files,
    base: PathBuf,
    incr: PathBuf,
    /// What there was when the increment had this length.
    states: Vec<(usize, Contents)>,
}

fn log() -> Log {
    let storage = SimulatedStorage::new(1);
    let node = node(&storage, 2);
    node.journal().configure(Policy::Never, true);
    rewrite(&node).expect("the log is turned on");
    for (db, line) in FILL {
        run(&node, *db, line);
    }
    rewrite(&node).expect("the log is rewritten");
    let incr = PathBuf::from(format!("{LOG_DIR}/appendonly.aof.2.incr.aof"));
    let len = || files(&storage)[&incr].len();
    let mut states = vec![(len(), whole(&node))];
    for step in STEPS {
        exec(&node, step);
        node.journal().write_and_sync().expect("synced");
        states.push((len(), whole(&node)));
    }
    let base = PathBuf::from(format!("{LOG_DIR}/appendonly.aof.2.base.rdb"));
    Log { files: files(&storage), base, incr, states }
}

/// What became of damaged files.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// They were not opened.
    Refused,
    /// They were, and what was there was asked for.
    Opened { contents: Contents, damaged: usize },
}

/// Opens files. They stay as they are, but for the end of the log that may be put aside.
#[track_caller]
fn outcome(what: &str, files: &Files, appendonly: bool) -> Outcome {
    // One core and three by turns, or both.
    let turn =
        files.values().flatten().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)))
            % 2;
    let first = outcome_on([1, 3][turn as usize], what, files, appendonly);
    if all() {
        let second = outcome_on([3, 1][turn as usize], what, files, appendonly);
        assert_eq!(first, second, "{what}");
    }
    first
}

#[track_caller]
fn outcome_on(cores: usize, what: &str, files: &Files, appendonly: bool) -> Outcome {
    let disk = disk(files, 1);
    let tried = catch_unwind(AssertUnwindSafe(|| {
        let node = match opened(&disk, cores, appendonly) {
            Ok((node, _)) => node,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return Outcome::Refused;
            }
        };
        let (contents, damaged) = held(&node);
        for slot in &damaged {
            let key = (0..).map(|n| format!("{{{n}}}")).find(|key| slot_of(key.as_bytes()) == *slot);
            let reply = run(&node, 0, &format!("GET {}", key.expect("endless")));
            assert!(reply.contains("CORRUPT"), "{reply}");
        }
        Outcome::Opened { contents, damaged: damaged.len() }
    }));
    let outcome = tried.unwrap_or_else(|_| panic!("{what}: a panic"));
    assert_unchanged(what, files, &disk, outcome == Outcome::Refused);
    outcome
}

/// Nothing is lost of the originals: what was cut off the log is in a file of its own.
#[track_caller]
fn assert_unchanged(what: &str, before: &Files, disk: &SimulatedStorage, refused: bool) {
    let mut after = files(disk);
    let torn: Vec<PathBuf> = after.keys().filter(|path| !before.contains_key(*path)).cloned().collect();
    for path in torn {
        let name = path.to_str().expect("a name");
        let (original, keep) = name.split_once(".torn-at-").unwrap_or_else(|| panic!("{what}: {name}"));
        let rest = after.remove(&path).expect("it is there");
        let kept = after.get_mut(Path::new(original)).expect("the original");
        assert_eq!(kept.len(), keep.parse::<usize>().unwrap(), "{what}");
        assert!(!refused, "{what}: refused, and changed");
        kept.extend(rest);
    }
    assert!(after == *before, "{what}: the files have changed");
}

/// Flips bits of each byte of a file: one that a seed draws, or all.
fn flipped(files: &Files, path: &Path, mut check: impl FnMut(&str, &Files, usize)) -> usize {
    let (mut files, mut cases) = (files.clone(), 0);
    for at in 0..files[path].len() {
        let drawn = (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61;
        for bit in (0..8).filter(|bit| all() || *bit == drawn) {
            let flip = |files: &mut Files| files.get_mut(path).expect("the file")[at] ^= 1 << bit;
            flip(&mut files);
            check(&format!("{}: bit {bit} of byte {at}", path.display()), &files, at);
            flip(&mut files);
            cases += 1;
        }
    }
    cases
}

fn cut(files: &Files, path: &Path, mut check: impl FnMut(&str, &Files, usize)) -> usize {
    let whole = &files[path];
    for len in 0..whole.len() {
        let mut files = files.clone();
        files.insert(path.to_owned(), whole[..len].to_vec());
        check(&format!("{}: cut to {len}", path.display()), &files, len);
    }
    whole.len()
}

/// What was opened is all of it, but for what stands in slots that are refused.
#[track_caller]
fn assert_truth(what: &str, outcome: &Outcome, truth: &Contents) {
    let Outcome::Opened { contents, damaged } = outcome else { return };
    for (key, value) in contents {
        assert_eq!(Some(value), truth.get(key), "{what}: {key:?}");
    }
    if *damaged == 0 {
        assert_eq!(contents.len(), truth.len(), "{what}: something is missing");
    } else {
        assert!(contents.len() < truth.len(), "{what}: a slot is refused, and all is there");
    }
}

#[test]
fn the_log_as_it_is() {
    let log = log();
    let truth = &log.states.last().expect("a state").1;
    let expected = Outcome::Opened { contents: truth.clone(), damaged: 0 };
    for cores in [1, 2, 3, 4] {
        assert_eq!(outcome_on(cores, "whole", &log.files, true), expected, "{cores} cores");
    }
    assert!(truth.len() > 10 && log.files.len() == 3, "{:?}", log.files.keys());
}

/// A command over several cores that needs a slot which cannot be read must not be passed over.
#[test]
fn commands_on_a_damaged_base_are_not_left_out() {
    let mut log = log();
    let base = log.files.get_mut(&log.base).expect("the base");
    let at = base.windows(4).rposition(|bytes| bytes == b"{t}1").expect("the key that is renamed");
    base[at] ^= 1;
    for cores in [1, 3] {
        assert_eq!(outcome_on(cores, "damaged", &log.files, true), Outcome::Refused);
    }
}

#[test]
fn an_increment_with_a_flipped_bit_is_refused() {
    let log = log();
    flipped(&log.files, &log.incr, |what, files, _| {
        assert_eq!(outcome(what, files, true), Outcome::Refused, "{what}");
    });
}

#[test]
fn an_increment_that_is_cut_gives_all_whole_blocks_before_the_cut() {
    let log = log();
    cut(&log.files, &log.incr, |what, files, len| {
        let (_, truth) = log.states.iter().rfind(|(end, _)| *end <= len).expect("the base at least");
        assert_eq!(
            outcome(what, files, true),
            Outcome::Opened { contents: truth.clone(), damaged: 0 },
            "{what}"
        );
    });
}

/// The log was cut over to the next increment, and nothing of that has reached the disk yet.
#[test]
fn an_increment_may_be_cut_before_one_that_is_empty() {
    let mut log = log();
    let path = PathBuf::from(format!("{LOG_DIR}/appendonly.aof.manifest"));
    let manifest =
        Manifest::parse(&log.files[&path]).expect("a manifest").with_new_incr(b"appendonly.aof", None);
    log.files.insert(path, manifest.sealed_text());
    let next = PathBuf::from(format!("{LOG_DIR}/appendonly.aof.3.incr.aof"));
    log.files.insert(next.clone(), Vec::new());
    let len = log.files[&log.incr].len() - 5;
    log.files.get_mut(&log.incr).expect("the increment").truncate(len);
    let (_, truth) = log.states.iter().rfind(|(end, _)| *end <= len).expect("a state");
    assert_eq!(outcome("cut", &log.files, true), Outcome::Opened { contents: truth.clone(), damaged: 0 });
    log.files.insert(next, b"*1\r\n$8\r\nFLUSHALL\r\n".to_vec());
    assert_eq!(outcome("cut before commands", &log.files, true), Outcome::Refused);
}

/// Zeros look like a write that never reached the disk; but the base had, before anything named it.
#[test]
fn a_base_of_zeros_is_refused_though_nothing_follows_it() {
    let mut log = log();
    log.files.get_mut(&log.base).expect("the base").fill(0);
    assert_eq!(outcome("zeros before commands", &log.files, true), Outcome::Refused);
    log.files.insert(log.incr.clone(), Vec::new());
    assert_eq!(outcome("zeros", &log.files, true), Outcome::Refused);
}

/// A base of commands, as `aof-use-rdb-preamble no` writes it, is never torn either.
#[test]
fn a_base_of_commands_is_never_torn() {
    let mut log = log();
    let path = PathBuf::from(format!("{LOG_DIR}/appendonly.aof.manifest"));
    log.files.retain(|file, _| *file == path);
    let manifest = Manifest::default().with_new_base(b"appendonly.aof", BaseFormat::Aof, 0);
    let manifest = manifest.with_new_incr(b"appendonly.aof", None);
    log.files.insert(path, manifest.text());
    let [base, incr] = [manifest.base.as_ref(), manifest.incrs.first()].map(|file| {
        let name = &file.expect("a file").name;
        Path::new(LOG_DIR).join(std::str::from_utf8(name).expect("a plain name"))
    });
    let whole = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n2\r\n";
    log.files.insert(incr, Vec::new());
    for (text, is_opened) in [(&whole[..], true), (&whole[..whole.len() - 4], false), (&[0; 100], false)] {
        log.files.insert(base.clone(), text.to_vec());
        let outcome = outcome("a base of commands", &log.files, true);
        assert_eq!(outcome != Outcome::Refused, is_opened, "{outcome:?}");
    }
}

#[test]
fn a_damaged_base_gives_no_wrong_value() {
    let log = log();
    let truth = &log.states.last().expect("a state").1;
    let mut served = 0;
    let cases = flipped(&log.files, &log.base, |what, files, _| {
        let outcome = outcome(what, files, true);
        served += usize::from(outcome != Outcome::Refused);
        assert_truth(what, &outcome, truth);
    });
    assert!(served < cases);
    cut(&log.files, &log.base, |what, files, _| {
        assert_eq!(outcome(what, files, true), Outcome::Refused, "{what}");
    });
}

#[test]
fn a_damaged_manifest_hides_nothing() {
    let log = log();
    let truth = &log.states.last().expect("a state").1;
    let manifest = PathBuf::from(format!("{LOG_DIR}/appendonly.aof.manifest"));
    flipped(&log.files, &manifest, |what, files, _| assert_truth(what, &outcome(what, files, true), truth));
    cut(&log.files, &manifest, |what, files, _| assert_truth(what, &outcome(what, files, true), truth));
}

#[test]
fn a_missing_file_is_missed() {
    let log = log();
    let truth = &log.states.last().expect("a state").1;
    for path in log.files.keys() {
        let mut files = log.files.clone();
        files.remove(path);
        let what = format!("without {}", path.display());
        assert_truth(&what, &outcome(&what, &files, true), truth);
    }
}

#[test]
fn a_damaged_snapshot_gives_no_wrong_value() {
    let storage = SimulatedStorage::new(1);
    let node = node(&storage, 2);
    for (db, line) in FILL {
        run(&node, *db, line);
    }
    let (_, truth) = snapshot(&node).expect("a snapshot");
    let (files, path) = (files(&storage), Path::new(SNAPSHOT));
    assert_eq!(outcome("whole", &files, false), Outcome::Opened { contents: truth.clone(), damaged: 0 });
    let (mut refused, mut partly) = (0, 0);
    let cases = flipped(&files, path, |what, files, _| {
        let outcome = outcome(what, files, false);
        refused += usize::from(outcome == Outcome::Refused);
        partly += usize::from(matches!(outcome, Outcome::Opened { damaged: 1.., .. }));
        assert_truth(what, &outcome, &truth);
    });
    assert!(refused > cases / 4 && partly > cases / 4, "{refused} and {partly} of {cases}");
    cut(&files, path, |what, files, _| assert_eq!(outcome(what, files, false), Outcome::Refused, "{what}"));
}
