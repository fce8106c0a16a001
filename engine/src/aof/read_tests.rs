//! Logs cut at every place, changed at every place, with lost sectors: what is read is always a prefix of what was written.

use super::block::{Annotator, Lines, Synced};
use super::lineage::Lineage;
use super::read::{Position, Reader, Tear, Unit, Verdict};
use proptest::prelude::*;

/// A unit as text: its databases and commands.
type Text = Vec<(usize, Vec<String>)>;

fn text(unit: &Unit<'_, '_>) -> Text {
    let word = |arg: &&[u8]| arg.escape_ascii().to_string();
    unit.commands().map(|command| (command.db, command.args.iter().map(word).collect())).collect()
}

#[track_caller]
fn read(file: &[u8]) -> (Vec<Text>, Verdict, Position) {
    let (mut reader, mut units, mut last) = (Reader::new(file, 0), Vec::new(), 0);
    while let Some(unit) = reader.read() {
        assert!(last <= unit.start && unit.start < unit.end && unit.end <= file.len());
        last = unit.end;
        units.push(text(&unit));
    }
    assert!(reader.read().is_none(), "the end is the end");
    let verdict = reader.verdict().cloned().expect("a verdict");
    if let Verdict::Torn { keep, .. } = verdict {
        assert_eq!(keep, reader.position().offset);
    }
    assert!(last <= reader.position().offset && reader.position().offset <= file.len());
    (units, verdict, reader.position())
}

fn command(args: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend(format!("${}\r\n", arg.len()).bytes());
        out.extend(*arg);
        out.extend(b"\r\n");
    }
    out
}

/// Commands of words, one per `;`.
fn commands(line: &str) -> Vec<u8> {
    let one = |text: &str| command(&text.split_whitespace().map(str::as_bytes).collect::<Vec<_>>());
    line.split(';').flat_map(one).collect()
}

/// A log of these blocks, a second and some offset apart.
fn annotated(blocks: &[Vec<u8>]) -> Vec<u8> {
    let (mut annotator, mut out, mut off) = (Annotator::new(), Vec::new(), 1000);
    for (number, block) in blocks.iter().enumerate() {
        let lines: Lines = annotator.annotate(block, off, None, Some(1_763_652_600 + number as i64 / 2));
        out.extend_from_slice(&lines);
        out.extend(block);
        off += block.len() as u64;
    }
    out
}

fn small_log() -> Vec<u8> {
    annotated(&[
        commands("SELECT 0; SET a 1; SET b 2"),
        commands("MULTI; INCR a; SELECT 3; SADD s x y; EXEC; SET c 3"),
        commands("DEL b"),
    ])
}

/// Reads commands; the units, one per line, and the verdict.
#[track_caller]
fn check(file: &[u8], expected: &[&str]) {
    let (units, verdict, _) = read(file);
    let word = |(db, args): &(usize, Vec<String>)| format!("{db} {}", args.join(" "));
    let mut lines: Vec<String> =
        units.iter().map(|unit| unit.iter().map(word).collect::<Vec<_>>().join("; ")).collect();
    lines.push(verdict.to_string());
    assert_eq!(lines, expected, "{}", file.escape_ascii());
}

#[test]
fn units_know_their_database() {
    check(b"", &["whole"]);
    check(&commands("SET a 1; select 2; SET b 2; GET"), &["0 SET a 1", "2 SET b 2", "2 GET", "whole"]);
    check(
        &commands("MULTI; SELECT 5; SET a 1; SET b 2; exec; SET c 3"),
        &["5 SET a 1; 5 SET b 2", "5 SET c 3", "whole"],
    );
    check(&commands("MULTI; EXEC"), &["", "whole"]);
    check(
        &small_log(),
        &["0 SET a 1", "0 SET b 2", "0 INCR a; 3 SADD s x y", "3 SET c 3", "3 DEL b", "whole"],
    );
}

#[test]
fn units_know_where_and_when_they_were_written() {
    let log = small_log();
    let mut reader = Reader::new(&log, 0);
    let mut all = Vec::new();
    while let Some(unit) = reader.read() {
        all.push((unit.timestamp, unit.replication_offset, unit.transaction));
        assert!(log[unit.start..].starts_with(b"*") && log[..unit.end].ends_with(b"\r\n"));
    }
    let (first, second) = (Some(1_763_652_600), Some(1_763_652_601));
    assert_eq!(
        all,
        [
            (first, Some(1023), false),
            (first, Some(1050), false),
            (first, Some(1077), true),
            (first, Some(1185), false),
            (second, Some(1212), false),
        ]
    );
    assert_eq!(reader.position().replication_offset, Some(1232));
}

#[test]
fn a_log_can_be_cut_in_front_of_a_timestamp() {
    let log = small_log();
    let mut reader = Reader::new(&log, 0);
    while reader.read().is_some_and(|unit| unit.timestamp <= Some(1_763_652_600)) {}
    assert_eq!((reader.before_timestamp(), reader.blocks()), (last_block_of(&log), 3));
    let (units, verdict, _) = read(&log[..reader.before_timestamp()]);
    assert_eq!((units.len(), verdict), (4, Verdict::Whole));

    // Inside of a transaction there is no place to cut.
    let file = [&commands("SET a 1; MULTI; SET b 2")[..], b"#TS:7\r\n", &commands("EXEC")].concat();
    let mut reader = Reader::new(&file, 0);
    while reader.read().is_some_and(|unit| unit.timestamp.is_none()) {}
    assert_eq!(reader.before_timestamp(), commands("SET a 1").len());
}

/// Where the timestamp of the last block of a log begins.
fn last_block_of(log: &[u8]) -> usize {
    memchr::memmem::rfind(log, b"#TS:").expect("a timestamp")
}

#[test]
fn annotations_of_others_are_skipped() {
    let file =
        [&b"#TS:5\r\n"[..], &commands("SET a 1"), b"#anything\n", &commands("SET b 2"), b"#\r\n"].concat();
    check(&file, &["0 SET a 1", "0 SET b 2", "whole"]);
    let inside = [&commands("MULTI; SET a 1")[..], b"#TS:6\r\n", &commands("EXEC")].concat();
    check(&inside, &["0 SET a 1", "whole"]);
}

#[test]
fn what_is_no_command_is_damage() {
    for (file, expected) in [
        (
            &b"SET a 1\r\n"[..],
            "damaged at offset 0: expected a command or an annotation, found 'SET a 1\\r\\n'",
        ),
        (b"*0\r\n", "damaged at offset 3: expected a command with a name, found '\\n'"),
        (b"*-1\r\n", "damaged at offset 1: expected '*' and a number of arguments, found '-1\\r\\n'"),
        (b"*\r\n", "damaged at offset 1: expected '*' and a number of arguments, found '\\r\\n'"),
        (b"*1\n$4\r\nPING\r\n", "damaged at offset 2: expected CR LF, found '\\n$4\\r\\nPING\\r\\n'"),
        (b"*1\r\n$-1\r\n", "damaged at offset 5: expected '$' and a length, found '-1\\r\\n'"),
        (b"*1\r\n:4\r\n", "damaged at offset 4: expected '$' and a length, found ':4\\r\\n'"),
        (b"*1\r\n$4\r\nPINGS\r\n", "damaged at offset 12: expected CR LF, found 'S\\r\\n'"),
        (
            b"*99999999999999999999\r\n",
            "damaged at offset 20: expected '*' and a number of arguments, found '9\\r\\n'",
        ),
        (b"#TS:x\r\n", "damaged at offset 0: expected a timestamp of digits, and CR LF, found '#TS:x\\r\\n'"),
        (b"REDIS0011", "damaged at offset 0: expected a command or an annotation, found 'REDIS0011'"),
    ] {
        check(file, &[expected]);
    }
    check(
        &[b'#'; 2000],
        &[
            "damaged at offset 0: expected an annotation of at most 1023 bytes, found '########################'",
        ],
    );
    check(
        &commands("EXEC"),
        &["damaged at offset 0: expected no EXEC without MULTI, found '*1\\r\\n$4\\r\\nEXEC\\r\\n'"],
    );
    check(
        &commands("MULTI; MULTI"),
        &["damaged at offset 15: expected no MULTI inside of MULTI, found '*1\\r\\n$5\\r\\nMULTI\\r\\n'"],
    );
    check(
        &commands("SELECT x"),
        &[
            "damaged at offset 0: expected SELECT with the number of a database, found '*2\\r\\n$6\\r\\nSELECT\\r\\n$1\\r\\nx\\r\\n'",
        ],
    );
}

#[test]
fn a_claim_is_not_believed() {
    check(
        b"*3\r\n$18446744073709551615\r\nSET",
        &["torn: whole up to offset 0, then a command that is cut off"],
    );
    check(
        b"*9223372036854775807\r\n$3\r\nSET\r\n",
        &["torn: whole up to offset 0, then a command that is cut off"],
    );
}

#[test]
fn an_open_transaction_is_cut_off_before_multi() {
    let file = commands("SELECT 1; SET a 1; MULTI; SET b 2");
    check(&file, &["1 SET a 1", "torn: whole up to offset 50, then a transaction without EXEC"]);
    assert_eq!(
        read(&file).2,
        Position {
            offset: 50,
            db: 1,
            // Nobody has counted the commands.
            lineage: Lineage::unknown(),
            ..Position::default()
        }
    );
    check(
        &file[..file.len() - 3],
        &["1 SET a 1", "torn: whole up to offset 50, then a command that is cut off"],
    );
}

/// Redis would drop all that follows the damaged length.
#[test]
fn a_damaged_length_is_not_taken_for_a_torn_end() {
    let file = String::from_utf8(commands("SET a 1; SET b 2; SET c 3")).expect("ASCII").replacen(
        "$1\r\na",
        "$100\r\na",
        1,
    );
    check(
        file.as_bytes(),
        &[
            "damaged at offset 0: expected whole commands, since whole ones follow, found '*3\\r\\n$3\\r\\nSET\\r\\n$100\\r\\na\\r\\n$1', and something whole again at offset 29",
        ],
    );
}

#[test]
fn blocks_are_whole_or_nothing() {
    let mut split = commands("SET a 1; MULTI; SET b 2");
    check(
        &annotated(&[split.clone(), commands("EXEC")]),
        &[
            "0 SET a 1",
            "damaged at offset 152: expected whole commands and transactions up to the end of the block, found '#HDR:v1;len:14;checksum:'",
        ],
    );
    split.truncate(30);
    let log = annotated(&[split]);
    let (units, verdict, _) = read(&log);
    assert_eq!(units.len(), 1);
    assert!(matches!(verdict, Verdict::Damaged { .. }), "{verdict}");
}

#[test]
fn blocks_cannot_be_missing_doubled_or_moved() {
    let blocks = [commands("SET a 1"), commands("SET b 2"), commands("SET c 3")];
    let mut annotator = Annotator::new();
    let parts: Vec<Vec<u8>> =
        blocks.iter().map(|block| [&annotator.annotate(block, 7, None, None), &block[..]].concat()).collect();
    for order in [&[0, 2][..], &[0, 0, 1], &[0, 2, 1], &[1], &[0, 1, 1]] {
        let log: Vec<u8> = order.iter().flat_map(|at| parts[*at].clone()).collect();
        let (_, verdict, _) = read(&log);
        let running = "the running checksum of the blocks up to this one";
        assert!(
            matches!(verdict, Verdict::Damaged { expected, .. } if expected == running),
            "{order:?}: {verdict}"
        );
    }
    let mut annotator = Annotator::new();
    let log = [
        &annotator.annotate(&blocks[0], 7, None, None)[..],
        &blocks[0],
        &annotator.annotate(&blocks[1], 6, None, None),
        &blocks[1],
    ];
    let (_, verdict, _) = read(&log.concat());
    assert!(
        verdict.to_string().ends_with("expected replication offsets that never decrease, found 6 after 7")
    );
}

#[test]
fn redis_may_go_on_in_our_file_and_we_in_its() {
    let mut log = [&commands("SELECT 0; SET z 0")[..], b"#TS:9\r\n", &commands("SET y 0")].concat();
    let mut append = |part: &[u8], by_redis: bool| {
        let (_, verdict, position) = read(&log);
        assert_eq!((verdict, position.offset), (Verdict::Whole, log.len()));
        if !by_redis {
            log.extend_from_slice(&position.annotator().annotate(part, 50, None, Some(9)));
        }
        log.extend(part);
    };
    append(&commands("SET a 1"), false);
    append(&commands("SELECT 1; SET b 2"), true);
    append(&commands("SET c 3"), false);
    append(&commands("MULTI; SELECT 2; SET d 4; EXEC; SET e 5"), true);
    append(&[b"#TS:9\r\n", &commands("SELECT 3; SET f 6")[..]].concat(), true);
    append(b"#TS:10\r\n", true);
    append(&commands("SET g 7"), false);
    let expected = [
        "0 SET z 0",
        "0 SET y 0",
        "0 SET a 1",
        "1 SET b 2",
        "1 SET c 3",
        "2 SET d 4",
        "2 SET e 5",
        "3 SET f 6",
        "3 SET g 7",
        "whole",
    ];
    check(&log, &expected);
    log.extend(commands("SET h 8"));
    let (units, verdict, _) = read(&log);
    assert_eq!(units.len(), 9);
    assert!(matches!(verdict, Verdict::Damaged { .. }), "{verdict}");
}

#[test]
fn every_cut_leaves_a_prefix() {
    for log in
        [small_log(), commands("SELECT 0; SET a 1; MULTI; INCR a; SELECT 3; SADD s x y; EXEC; SET c 3")]
    {
        let (whole, _, _) = read(&log);
        let mut seen = 0;
        for len in 0..log.len() {
            let (units, verdict, position) = read(&log[..len]);
            assert_eq!(units, whole[..units.len()], "{len}");
            assert!(units.len() >= seen, "{len}");
            seen = units.len();
            match verdict {
                Verdict::Whole => assert_eq!(position.offset, len),
                Verdict::Torn { keep, .. } => {
                    assert_eq!(read(&log[..keep]), (units, Verdict::Whole, position))
                }
                Verdict::Damaged { .. } => panic!("{len}: {verdict}"),
            }
            assert!(matches!(
                verdict.in_log(true, len, []),
                Verdict::Whole | Verdict::Damaged { expected: "a whole file, since others follow it", .. }
            ));
        }
    }
}

#[test]
fn every_changed_byte_is_seen() {
    let log = small_log();
    let (whole, _, _) = read(&log);
    for at in 0..log.len() {
        for change in 1..=255 {
            let mut changed = log.clone();
            changed[at] ^= change;
            let (units, verdict, _) = read(&changed);
            assert_eq!(units, whole[..units.len()], "byte {at} ^ {change}");
            assert_ne!(verdict, Verdict::Whole, "byte {at} ^ {change}");
            // Blocks behind the changed one show that this was not the end of the file.
            assert!(
                at >= last_block_of(&log) || matches!(verdict, Verdict::Damaged { .. }),
                "byte {at} ^ {change}: {verdict}"
            );
        }
    }
}

#[test]
fn zeros_at_the_end_are_torn_off() {
    for log in [small_log(), commands("SELECT 0; SET a 1; MULTI; INCR a; SADD s x y; EXEC; SET c 3")] {
        for cut in 0..=log.len() {
            let (units, _, position) = read(&log[..cut]);
            for zeros in [1, 7, 2000] {
                let file = [&log[..cut], &vec![0; zeros]].concat();
                let (found, verdict, end) = read(&file);
                assert!(found == units && end.offset <= position.offset, "{cut}");
                assert!(matches!(verdict, Verdict::Torn { .. }), "{cut}: {verdict}");
            }
        }
    }
}

/// Three blocks of several sectors each, and where the last one begins.
fn large_log(len: usize) -> (Vec<u8>, usize) {
    let blocks = [b'a', b'b', b'c'].map(|byte| command(&[b"SET", b"k", &vec![byte; len]]));
    (annotated(&blocks), annotated(&blocks[..2]).len())
}

#[test]
fn sectors_that_the_last_block_lacks_are_a_torn_write() {
    let (log, last) = large_log(3000);
    for sector in last.div_ceil(512)..log.len() / 512 {
        let mut file = log.clone();
        file[sector * 512..(sector + 1) * 512].fill(0);
        let (units, verdict, _) = read(&file);
        assert_eq!(units.len(), 2);
        assert_eq!(verdict, Verdict::Torn { keep: last, why: Tear::Sectors }, "sector {sector}");
        // The same with another torn block behind it, and with a whole one, which shows that it is none.
        let (next, _) = large_log(3000);
        file.extend_from_slice(&next[..2000]);
        assert_eq!(read(&file).1, Verdict::Torn { keep: last, why: Tear::Sectors }, "sector {sector}");
        file.truncate(log.len());
        file.extend(next);
        assert!(matches!(read(&file).1, Verdict::Damaged { .. }), "sector {sector}");
    }
}

/// Wherever the sector ends: in front of the header, in it, or behind it.
#[test]
fn a_lost_header_is_a_torn_write() {
    for len in (3000..3600).step_by(7) {
        let (mut file, last) = large_log(len);
        let sector = last.next_multiple_of(512);
        file[sector..sector + 512].fill(0);
        assert_eq!(read(&file).1, Verdict::Torn { keep: last, why: Tear::Sectors }, "{len}");
        let (mut file, _) = large_log(len);
        file[last..sector].fill(0);
        assert_eq!(matches!(read(&file).1, Verdict::Torn { .. }), last < sector, "{len}");
    }
}

#[test]
fn a_changed_bit_in_the_last_block_is_damage() {
    let (mut log, last) = large_log(3000);
    let at = last + 1000;
    log[at] ^= 1;
    let (units, verdict, _) = read(&log);
    assert_eq!(units.len(), 2);
    assert!(matches!(verdict, Verdict::Damaged { expected: "a block that fits its CRC32", .. }), "{verdict}");
}

#[test]
fn a_header_whose_length_changed_is_damage() {
    let log = String::from_utf8(small_log()).expect("ASCII").replace("len:20;", "len:90;");
    let (_, verdict, _) = read(log.as_bytes());
    assert!(
        matches!(verdict, Verdict::Damaged { expected: "a header with the length of its block", .. }),
        "{verdict}"
    );
}

#[test]
fn reading_can_begin_behind_a_snapshot() {
    let file = [&b"REDIS0010..."[..], &commands("SET a 1")].concat();
    assert!(super::read::starts_with_snapshot(&file));
    assert!(super::read::starts_with_snapshot(b"VALKEY080"));
    assert!(!super::read::starts_with_snapshot(b"*1\r\n"));
    let mut reader = Reader::new(&file, 12);
    assert_eq!(reader.read().map(|unit| unit.start), Some(12));
    assert!(reader.read().is_none());
    assert_eq!(reader.verdict(), Some(&Verdict::Whole));
    let mut beyond = Reader::new(&file, usize::MAX);
    assert!(beyond.read().is_none() && beyond.verdict() == Some(&Verdict::Whole));
}

/// One to three units, as they stand in a block.
fn block() -> impl Strategy<Value = (Vec<u8>, Vec<Text>)> {
    let word = proptest::collection::vec(any::<u8>(), 0..20);
    let words = proptest::collection::vec(word, 0..4);
    let unit = (proptest::option::of(0..16usize), any::<bool>(), proptest::collection::vec(words, 1..4));
    proptest::collection::vec(unit, 1..4).prop_map(|units| {
        let (mut bytes, mut texts) = (commands("SELECT 0"), Vec::new());
        let mut db = 0;
        for (select, transaction, all) in units {
            if let Some(select) = select {
                db = select;
                bytes.extend(commands(&format!("SELECT {db}")));
            }
            let commands_of = |all: &[Vec<Vec<u8>>]| -> Text {
                let word = |arg: &Vec<u8>| arg.escape_ascii().to_string();
                all.iter()
                    .map(|args| {
                        (db, std::iter::once("CMD".to_owned()).chain(args.iter().map(word)).collect())
                    })
                    .collect()
            };
            if transaction {
                bytes.extend(commands("MULTI"));
                texts.push(commands_of(&all));
            } else {
                texts.extend(commands_of(&all).into_iter().map(|command| vec![command]));
            }
            for args in &all {
                let args: Vec<&[u8]> =
                    std::iter::once(&b"CMD"[..]).chain(args.iter().map(Vec::as_slice)).collect();
                bytes.extend(command(&args));
            }
            if transaction {
                bytes.extend(commands("EXEC"));
            }
        }
        (bytes, texts)
    })
}

proptest! {
    /// With headers and without, what was written is read.
    #[test]
    fn logs_read_back(blocks in proptest::collection::vec(block(), 0..5), cut: prop::sample::Index, change in 1..=255u8) {
        let (bytes, texts): (Vec<_>, Vec<_>) = blocks.into_iter().unzip();
        let texts = texts.concat();
        let (plain, log) = (bytes.concat(), annotated(&bytes));
        prop_assert_eq!(read(&plain).0, texts.clone());
        let (units, verdict, position) = read(&log);
        prop_assert_eq!((units, verdict, position.offset), (texts.clone(), Verdict::Whole, log.len()));
        if !log.is_empty() {
            let at = cut.index(log.len());
            let (units, verdict, _) = read(&log[..at]);
            prop_assert_eq!(&units, &texts[..units.len()]);
            let damaged = matches!(verdict, Verdict::Damaged { .. });
            prop_assert!(!damaged);
            let mut changed = log.clone();
            changed[at] ^= change;
            let (units, verdict, _) = read(&changed);
            prop_assert_eq!(&units, &texts[..units.len()]);
            prop_assert_ne!(verdict, Verdict::Whole);
        }
    }

    /// Whatever happens to a file without headers, nothing panics, and where it is torn it can be cut.
    #[test]
    fn no_file_panics(mut file in block().prop_map(|block| block.0), changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)) {
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let (units, Verdict::Torn { keep, .. }, _) = read(&file) {
            let (again, verdict, _) = read(&file[..keep]);
            prop_assert_eq!((again, verdict), (units, Verdict::Whole));
        }
    }

    #[test]
    fn no_bytes_panic(file in proptest::collection::vec(prop::sample::select(&b"*$#10\r\nMULTIEXC:;"[..]), 0..60)) {
        read(&file);
    }
}

const BEFORE: Synced = Synced::NotBefore { back: 1, bytes: 200 };

/// Blocks that say what was synced when they were written.
fn log_that_says(blocks: &[(&str, Synced)]) -> Vec<Vec<u8>> {
    let mut annotator = Annotator::new();
    blocks
        .iter()
        .map(|(line, synced)| {
            let block = commands(line);
            [&annotator.annotate(&block, 0, Some(*synced), None)[..], &block].concat()
        })
        .collect()
}

/// Sectors are lost, and what follows them is not: a power cut if nothing that follows was written when they had been synced.
#[test]
fn what_follows_a_hole_tells_whether_it_was_safe() {
    let long = format!("SET long {}", "x".repeat(1200));
    let verdict = |second: Synced, third: Synced, lost: fn(usize, usize) -> std::ops::Range<usize>| {
        let parts = log_that_says(&[
            ("SET a 1", Synced::UpTo(0)),
            (&long, second),
            ("SET c 3", third),
            ("SET d 4", third),
        ]);
        let (first, end) = (parts[0].len(), parts[0].len() + parts[1].len());
        let mut file = parts.concat();
        file[lost(first, end)].fill(0);
        let (units, verdict, _) = read(&file);
        (units.len(), matches!(verdict, Verdict::Torn { .. }), first as u64, end as u64)
    };
    let midst = |first: usize, _: usize| {
        let start = (first + 300).next_multiple_of(512);
        start..start + 512
    };
    let begin = |_: usize, _: usize| 0..512;
    let none = Synced::UpTo(0);
    let (.., first, end) = verdict(none, none, midst);
    for (third, torn) in [
        (BEFORE, true),
        (none, true),
        (Synced::UpTo(first), true),
        (Synced::UpTo(first + 1), false),
        (Synced::UpTo(end), false),
    ] {
        assert_eq!(verdict(none, third, midst), (1, torn, first, end), "{third:?}");
    }
    assert_eq!(verdict(none, none, begin), (0, true, first, end));
    assert_eq!(verdict(Synced::UpTo(0), Synced::UpTo(1), begin), (0, false, first, end));
}

/// The first block lost its header, and nothing behind it has one.
#[test]
fn whoever_began_a_file_says_whether_it_had_headers() {
    let long = format!("SET long {}; SET b 2", "x".repeat(600));
    let mut file = log_that_says(&[(&long, Synced::UpTo(0))]).concat();
    file[..512].fill(0);
    for by_us in [true, false] {
        let mut reader = Reader::new(&file, 0).begun_by_us(by_us);
        assert!(reader.read().is_none());
        assert_eq!(
            matches!(reader.verdict(), Some(Verdict::Torn { keep: 0, .. })),
            by_us,
            "{:?}",
            reader.verdict()
        );
    }
}

#[test]
fn a_torn_file_may_be_followed_by_what_was_not_safe_either() {
    let torn = || {
        let log = small_log();
        read(&log[..log.len() - 3]).1
    };
    let others = |blocks: &[(&str, Synced)]| log_that_says(blocks).concat();
    let before = others(&[("SET a 1", BEFORE), ("SET b 2", BEFORE)]);
    let after = others(&[("SET a 1", BEFORE), ("SET b 2", Synced::UpTo(0))]);
    let cases: [(&[u8], bool); 8] = [
        (b"", true),
        (&before, true),
        (&before[..before.len() - 1], true),
        (&[0; 700], true),
        (b"#HD", true),
        (&after, false),
        (&commands("SET a 1"), false),
        (&small_log(), false),
    ];
    for (other, stays) in cases {
        let verdict = torn().in_log(false, 200, [&b""[..], other]);
        assert_eq!(matches!(verdict, Verdict::Torn { .. }), stays, "{}: {verdict}", other.escape_ascii());
        assert!(matches!(torn().in_log(true, 200, [other]), Verdict::Damaged { .. }));
    }
    assert_eq!(Verdict::Whole.in_log(true, 0, [&after[..]]), Verdict::Whole);
}

/// What looks whole may lack its last blocks, and nothing tells but the file behind it.
#[test]
fn a_file_that_lacks_whole_blocks_is_torn() {
    let file = |synced| log_that_says(&[("SET a 1", synced)]).concat();
    let before = |back, bytes| file(Synced::NotBefore { back, bytes });
    let cases: [(&[&[u8]], Option<u64>); 8] = [
        (&[], None),
        (&[b""], None),
        (&[&before(1, 200)], None),
        (&[&before(1, 201)], Some(1)),
        (&[b"", &before(1, 900)], None),
        (&[b"", &before(2, 900)], Some(700)),
        (&[&file(Synced::UpTo(900))], None),
        (&[b"#HDR", &commands("SET a 1")], None),
    ];
    for (others, missing) in cases {
        let verdict = Verdict::Whole.in_log(false, 200, others.iter().copied());
        let expected =
            missing.map_or(Verdict::Whole, |bytes| Verdict::Torn { keep: 200, why: Tear::Blocks { bytes } });
        assert_eq!(verdict, expected);
    }
    let later = file(Synced::UpTo(0));
    let verdict = Verdict::Whole.in_log(false, 200, [&before(1, 201)[..], &later]);
    assert!(matches!(verdict, Verdict::Damaged { offset: 200, .. }), "{verdict}");
}
