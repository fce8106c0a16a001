//! The append-only log: damaged files give what was written before the damage, and never anything else.

use crate::input::Choices;
use baton_engine::aof::block::{self, Annotation, Annotator};
use baton_engine::aof::manifest::{self, BaseFormat, Manifest};
use baton_engine::aof::read::{Reader, Verdict};
use baton_engine::aof::route::Router;
use std::sync::LazyLock;

/// A unit: the database and arguments of each command.
type Read = Vec<(usize, Vec<Vec<u8>>)>;

/// The bytes as a file; then a log of blocks that are made of them, with and without headers, which is cut or damaged.
///
/// What is read of a damaged log with headers is the beginning of what was written, and a change is always seen.
pub fn aof_reader(data: &[u8]) {
    const LEN_MAX: usize = 4096;
    let data = &data[..data.len().min(LEN_MAX)];
    read(data);
    let mut choices = Choices::new(data);
    let blocks = blocks(&mut choices);
    read(&blocks.concat());
    let (mut log, mut annotator) = (Vec::new(), Annotator::new());
    for (number, block) in blocks.iter().enumerate() {
        let now_s = (number % 3 != 2).then_some(number as i64 / 4);
        log.extend_from_slice(&annotator.annotate(block, log.len() as u64, None, now_s));
        log.extend_from_slice(block);
    }
    let (written, verdict) = read(&log);
    assert_eq!(verdict, Verdict::Whole);

    let at = choices.below(log.len().max(1));
    let (units, verdict) = read(&log[..at.min(log.len())]);
    assert_eq!(units, written[..units.len()]);
    assert!(!matches!(verdict, Verdict::Damaged { .. }), "cut at {at}: {verdict}");

    let mut changed = log.clone();
    for byte in changed.iter_mut().skip(at).take(1 + choices.below(4)) {
        *byte ^= choices.byte();
    }
    let (units, verdict) = read(&changed);
    assert_eq!(units, written[..units.len()]);
    assert!(verdict != Verdict::Whole || changed == log);
}

fn blocks(choices: &mut Choices<'_>) -> Vec<Vec<u8>> {
    let mut blocks = Vec::new();
    for _ in 0..choices.byte() % 8 {
        // The first effects of a block say to which database they belong, as those of a server do.
        let mut block = encoded(&[b"SELECT", &[b'0' + choices.byte() % 10]]);
        for _ in 0..=choices.byte() % 4 {
            let kind = choices.byte();
            let command = encoded(&[
                b"SET",
                choices.bytes(usize::from(kind % 32)),
                choices.bytes(usize::from(kind / 8)),
            ]);
            match kind % 5 {
                0 => block
                    .extend([encoded(&[b"MULTI"]), command.clone(), command, encoded(&[b"exec"])].concat()),
                _ => block.extend(command),
            }
        }
        blocks.push(block);
    }
    blocks
}

fn encoded(args: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend(format!("${}\r\n", arg.len()).bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn read(file: &[u8]) -> (Vec<Read>, Verdict) {
    static ROUTER: LazyLock<Router> = LazyLock::new(|| Router::new(&[]));
    let (mut reader, mut units, mut end) = (Reader::new(file, 0), Vec::new(), 0);
    while let Some(unit) = reader.read() {
        assert!(end <= unit.start && unit.start < unit.end && unit.end <= file.len());
        end = unit.end;
        ROUTER.unit(&unit);
        units.push(
            unit.commands()
                .map(|command| (command.db, command.args.iter().map(|arg| arg.to_vec()).collect()))
                .collect(),
        );
    }
    let verdict = reader.verdict().cloned().expect("a verdict at the end");
    assert!(!verdict.to_string().is_empty());
    if let Verdict::Torn { keep, .. } = verdict {
        // What is kept is whole, and reads the same again.
        let mut again = Reader::new(&file[..keep], 0);
        let mut count = 0;
        while again.read().is_some() {
            count += 1;
        }
        assert_eq!((again.verdict(), count), (Some(&Verdict::Whole), units.len()));
    }
    (units, verdict)
}

/// The bytes as a manifest: refused with a reason, or read, written and read the same again, also after a rewrite.
pub fn aof_manifest(data: &[u8]) {
    let manifest = match Manifest::parse(data) {
        Ok(manifest) => manifest,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let reads_back = |manifest: &Manifest| {
        let text = manifest.text();
        assert!(
            text.is_empty() || Manifest::parse(&text).as_ref() == Ok(manifest),
            "{}",
            text.escape_ascii()
        );
    };
    reads_back(&manifest);
    let Some(file) = manifest.live().next() else { return };
    // Numbers end where no server will ever get to.
    if !manifest::is_usable(&file.name)
        || manifest.with_kinds().any(|(_, file)| file.seq > u64::from(u32::MAX))
    {
        return;
    }
    let rewriting = manifest.with_new_incr(&file.name, None);
    reads_back(&rewriting);
    let kept = rewriting.incrs.last().map_or(0, |incr| incr.seq);
    let done = rewriting.with_new_base(&file.name, BaseFormat::Rdb, kept);
    assert_eq!((done.base.is_some(), done.incrs.len()), (true, 1));
    assert_eq!(done.with_kinds().count(), rewriting.with_kinds().count() + 1, "no file is forgotten");
    reads_back(&done);
    reads_back(&done.without_history());
}

/// The bytes as an annotation; and one that is written for a block, with one byte changed, which a reader sees.
pub fn aof_annotation(data: &[u8]) {
    let _ = block::parse(data);
    let _ = block::parse(&[b"#HDR:v1;", data, b";\r\n"].concat());
    let mut choices = Choices::new(data);
    let (off, now_s) = (choices.integer().unsigned_abs(), choices.integer());
    let (at, change) = (choices.byte(), choices.byte());
    let rest = choices.rest();
    let block = if rest.is_empty() { b"x" } else { rest };
    let lines = Annotator::new().annotate(block, off, None, Some(now_s));
    assert!(lines.len() <= block::LINE_MAX);
    assert!(fits(&lines, block));
    let mut changed = lines.to_vec();
    let at = usize::from(at) % changed.len();
    changed[at] ^= change;
    assert!(change == 0 || !fits(&changed, block), "{}", changed.escape_ascii());
}

/// Whether these are a timestamp and a header that fit the block.
fn fits(lines: &[u8], block: &[u8]) -> bool {
    let mut lines = lines.split_inclusive(|byte| *byte == b'\n');
    let Some(Ok(Annotation::Timestamp(timestamp))) = lines.next().map(block::parse) else { return false };
    let Some(Ok(Annotation::Block(header, covered))) = lines.next().map(block::parse) else { return false };
    lines.next().is_none()
        && header.len == block.len() as u64
        && header.crc32 == block::block_crc32(block, header.off, header.synced, Some(timestamp))
        && header.checksum == block::running_checksum(0, covered, block)
}
