//! An append-only log: one file, or all that a manifest names, in the order in which a server loads them.
//!
//! What is saved of a log ends at one place: the first one that is torn or damaged, or the first timestamp that is too late. The file
//! with that place is written anew up to there. With a manifest, a new manifest names the new file in place of the old one, and
//! none of those after it; renaming it over the old manifest is all that is left to do.

use super::progress::Progress;
use super::request::Request;
use super::snapshot::{self, Contents};
use super::{CheckError, fixed, fixed_path, read};
use baton_engine::aof::manifest::{File, Kind, Manifest};
use baton_engine::aof::read::{Reader, Verdict, starts_with_snapshot};
use baton_engine::command::Command;
use baton_engine::commands;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::{ffi::OsString, fs};

/// What to check: files in order, and who names them.
struct Log {
    manifest: Option<(PathBuf, Manifest)>,
    files: Vec<PathBuf>,
    /// The manifest was written by us, so all increments were begun by us.
    is_ours: bool,
}

/// What one file holds.
#[derive(Default)]
struct Summary {
    snapshot: Option<Contents>,
    /// Where the commands begin.
    commands_at: usize,
    transactions: u64,
    commands: u64,
    blocks: u64,
    /// The first and the last timestamp.
    seconds: Option<(i64, i64)>,
    by_name: Counts,
}

/// Where what is kept of a file ends, and why.
enum Stop {
    Torn(Verdict),
    Damaged(String),
    /// In front of a snapshot's end: nothing to cut there.
    InSnapshot(String),
    TooLate(i64),
}

/// Checks a log, prints the report, and writes what can be saved if that is asked for.
pub fn report(request: &Request, now_ms: i64, out: &mut dyn Write) -> Result<bool, CheckError> {
    let log = find(&request.path)?;
    let mut lines = AsRedis { is_wanted: request.as_redis, kinds: log.kinds(), begun: false };
    lines.begin(out)?;
    if let Some((path, manifest)) = &log.manifest {
        let history = manifest.history.len();
        writeln!(out, "{}: {} files to load, {history} of history", path.display(), log.files.len())?;
    }
    let mut cut = None;
    for (index, path) in log.files.iter().enumerate() {
        let bytes = read(path)?;
        lines.begin_file(index, &bytes, out)?;
        let (summary, keep, stop) = check(&log, index, &bytes, request, now_ms)?;
        print(path, bytes.len(), &summary, out)?;
        lines.end_file(
            index,
            path,
            &Checked { bytes: &bytes, summary: &summary, keep, stop: &stop },
            request,
            out,
        )?;
        let name = path.display();
        match &stop {
            None => writeln!(out, "{name}: in order")?,
            Some(Stop::Torn(verdict)) => writeln!(out, "{name}: {verdict}")?,
            Some(Stop::Damaged(what) | Stop::InSnapshot(what)) => {
                writeln!(out, "{name}: {what}")?;
                writeln!(out, "{name}: whole up to offset {keep}")?;
            }
            Some(Stop::TooLate(seconds)) => {
                writeln!(out, "{name}: second {seconds} begins at offset {keep}")?
            }
        }
        if let Some(stop) = stop {
            cut = Some(Cut { index, bytes, keep, stop });
            break;
        }
    }
    let Some(cut) = cut else {
        if request.fix || request.to_timestamp.is_some() {
            writeln!(out, "nothing to cut off: no file was written")?;
        }
        if request.as_redis && log.manifest.is_some() {
            writeln!(out, "All AOF files and manifest are valid")?;
        }
        return Ok(true);
    };
    let asked = request.fix || matches!(cut.stop, Stop::TooLate(_));
    if asked && request.as_redis && cut.index + 1 < log.files.len() {
        // As the tool of that name: the files behind it are not given up unless `baton check` is told so.
        writeln!(out, "Nothing was written: `baton check aof` does without the files that follow")?;
        return Ok(false);
    }
    if !asked {
        return Ok(false);
    }
    cut.write(&log, out)?;
    if request.as_redis
        && let Some(path) = log.files.get(cut.index)
    {
        let to = request.to_timestamp.map_or(String::new(), |to| format!(" to timestamp {to}"));
        writeln!(
            out,
            "Successfully truncated AOF {}{to}, into {}",
            path.display(),
            fixed_path(path).display()
        )?;
    }
    Ok(true)
}

impl Log {
    /// The first of several files is a base.
    fn has_base(&self) -> bool {
        self.files.len() > 1 && self.manifest.as_ref().is_some_and(|(_, manifest)| manifest.base.is_some())
    }

    /// What the files are, by their order; none for a single file.
    fn kinds(&self) -> Vec<Kind> {
        let kinds = self.manifest.iter().flat_map(|(_, manifest)| manifest.with_kinds());
        kinds.map(|(kind, _)| kind).filter(|kind| *kind != Kind::History).collect()
    }
}

/// What was found out about one file.
struct Checked<'c> {
    bytes: &'c [u8],
    summary: &'c Summary,
    keep: usize,
    stop: &'c Option<Stop>,
}

/// The lines that scripts look for in what redis-check-aof prints.
struct AsRedis {
    is_wanted: bool,
    kinds: Vec<Kind>,
    /// The heading over the increments has been printed.
    begun: bool,
}

impl AsRedis {
    fn begin(&self, out: &mut dyn Write) -> std::io::Result<()> {
        match self.is_wanted {
            true if self.kinds.is_empty() => writeln!(out, "Start checking Old-Style AOF"),
            true => writeln!(out, "Start checking Multi Part AOF"),
            false => Ok(()),
        }
    }

    fn begin_file(&mut self, index: usize, bytes: &[u8], out: &mut dyn Write) -> std::io::Result<()> {
        match self.kinds.get(index) {
            Some(Kind::Base) if self.is_wanted => {
                let format = if starts_with_snapshot(bytes) { "RDB" } else { "RESP" };
                writeln!(out, "Start to check BASE AOF ({format} format).")
            }
            Some(Kind::Incr) if self.is_wanted && !self.begun => {
                self.begun = true;
                writeln!(out, "Start to check INCR files.")
            }
            _ => Ok(()),
        }
    }

    fn end_file(
        &self,
        index: usize,
        path: &Path,
        checked: &Checked<'_>,
        request: &Request,
        out: &mut dyn Write,
    ) -> std::io::Result<()> {
        if !self.is_wanted {
            return Ok(());
        }
        let Checked { bytes, summary, keep, stop } = *checked;
        let (kind, shown) = match self.kinds.get(index) {
            Some(Kind::Base) => ("BASE AOF", path.file_name().map(Path::new).unwrap_or(path)),
            Some(_) => ("INCR AOF", path.file_name().map(Path::new).unwrap_or(path)),
            None => ("AOF", path),
        };
        let (name, size, last) = (shown.display(), bytes.len(), index + 1 >= self.kinds.len());
        if bytes.is_empty() {
            return writeln!(out, "{kind} {name} is empty");
        }
        match (&summary.snapshot, stop) {
            (Some(_), Some(Stop::InSnapshot(_))) => {
                return writeln!(out, "RDB preamble of AOF file is not sane, aborting.");
            }
            (Some(_), _) => writeln!(out, "RDB preamble is OK, proceeding with AOF tail...")?,
            (None, _) => {}
        }
        if let (Some(Stop::TooLate(_)), Some(to)) = (stop, request.to_timestamp) {
            let full = path.display();
            return match (keep, last) {
                (0, _) => writeln!(out, "AOF {full} has nothing before timestamp {to}, aborting..."),
                (_, true) => Ok(()),
                (_, false) => writeln!(
                    out,
                    "Failed to truncate AOF {full} to timestamp {to} to offset {keep} because it is not the last file."
                ),
            };
        }
        if let (None, Some(to)) = (stop, request.to_timestamp) {
            writeln!(out, "Truncate nothing in AOF {name} to timestamp {to}")?;
        } else {
            let line = 1 + bytes
                .get(summary.commands_at..keep)
                .unwrap_or_default()
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            let diff = size - keep;
            writeln!(
                out,
                "AOF analyzed: filename={name}, size={size}, ok_up_to={keep}, ok_up_to_line={line}, diff={diff}"
            )?;
        }
        match (stop, request.fix) {
            (None, _) => writeln!(out, "{kind} {name} is valid"),
            (Some(_), true) if last => Ok(()),
            (Some(_), true) => {
                writeln!(out, "Failed to truncate AOF {name} because it is not the last file")
            }
            (Some(_), false) => {
                writeln!(out, "AOF {name} is not valid. Use the --fix option to try fixing it.")
            }
        }
    }
}

/// Finds the files: a manifest, a directory with one, or a single file.
fn find(path: &Path) -> Result<Log, CheckError> {
    let manifest_path = if path.is_dir() { manifest_in(path)? } else { path.to_owned() };
    let bytes = read(&manifest_path)?;
    let is_manifest = manifest_path.as_os_str().as_bytes().ends_with(b".manifest") || names_files(&bytes);
    if !is_manifest {
        return Ok(Log { manifest: None, files: vec![manifest_path], is_ours: false });
    }
    let manifest = Manifest::parse(&bytes)
        .map_err(|error| CheckError::Manifest { path: manifest_path.display().to_string(), error })?;
    let files = manifest.live().map(|file| beside(&manifest_path, &file.name)).collect();
    let is_ours = Manifest::is_sealed(&bytes);
    Ok(Log { manifest: Some((manifest_path, manifest)), files, is_ours })
}

/// Whether these are the lines of a manifest.
fn names_files(bytes: &[u8]) -> bool {
    let first = bytes.split(|byte| *byte == b'\n').find(|line| line.first() != Some(&b'#'));
    first.is_some_and(|line| line.starts_with(b"file "))
}

fn beside(path: &Path, name: &[u8]) -> PathBuf {
    path.with_file_name(OsString::from_vec(name.to_vec()))
}

/// The only manifest of a directory, or of the log's directory in a data directory.
fn manifest_in(dir: &Path) -> Result<PathBuf, CheckError> {
    let inner = dir.join("appendonlydir");
    let dir = if inner.is_dir() { &inner } else { dir };
    let entries = fs::read_dir(dir).map_err(|error| CheckError::file(dir, &error))?;
    let is_manifest = |path: &PathBuf| {
        let name = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
        name.ends_with(b".manifest") && !name.starts_with(b"temp-")
    };
    let mut found: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_manifest).collect();
    match (found.pop(), found.len()) {
        (Some(only), 0) => Ok(only),
        (only, rest) => Err(CheckError::Manifests {
            dir: dir.display().to_string(),
            count: rest + usize::from(only.is_some()),
        }),
    }
}

fn check(
    log: &Log,
    index: usize,
    bytes: &[u8],
    request: &Request,
    now_ms: i64,
) -> Result<(Summary, usize, Option<Stop>), CheckError> {
    let name = log.files[index].display().to_string();
    let mut progress = Progress::new(&name, bytes.len());
    let mut summary = Summary::default();
    let (mut from, mut snapshot_second) = (0, None);
    if starts_with_snapshot(bytes) {
        let (contents, end) = snapshot::check(bytes, now_ms, &mut progress);
        snapshot_second = contents.second();
        summary.snapshot = Some(contents);
        match end {
            Ok(end) => (from, summary.commands_at) = (end, end),
            Err(broken) => {
                let stop = Stop::InSnapshot(format!("damaged: {}", broken.what));
                return Ok((summary, broken.keep, Some(stop)));
            }
        }
    }
    if let Some((late, _)) = snapshot_second.zip(request.to_timestamp).filter(|(at, to)| at > to) {
        return Ok((summary, 0, Some(Stop::TooLate(late))));
    }
    let mut reader = Reader::new(bytes, from).begun_by_us(log.is_ours);
    while let Some(unit) = reader.read() {
        progress.at(unit.end);
        if let Some((late, _)) = unit.timestamp.zip(request.to_timestamp).filter(|(at, to)| at > to) {
            let keep = reader.before_timestamp();
            return Ok((summary, keep, Some(Stop::TooLate(late))));
        }
        summary.transactions += u64::from(unit.transaction);
        if let Some(at) = unit.timestamp {
            let (first, _) = summary.seconds.unwrap_or((at, at));
            summary.seconds = Some((first, at));
        }
        for command in unit.commands() {
            summary.commands += 1;
            summary.by_name.add(command.args.first().copied().unwrap_or_default());
        }
    }
    summary.blocks = reader.blocks();
    let verdict = reader.verdict().cloned().unwrap_or(Verdict::Whole);
    let others = log.files[index + 1..].iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let others = others.iter().map(|file| &file[..]);
    let stop = match verdict.in_log(index == 0 && log.has_base(), bytes.len(), others) {
        Verdict::Whole => None,
        torn @ Verdict::Torn { .. } => Some(Stop::Torn(torn)),
        damaged @ Verdict::Damaged { .. } => Some(Stop::Damaged(damaged.to_string())),
    };
    Ok((summary, reader.position().offset, stop))
}

/// How often each command occurs.
#[derive(Default)]
struct Counts {
    all: HashMap<Vec<u8>, u64>,
    /// Logs repeat themselves: the name that came last, and how often it came in a row.
    last: (Vec<u8>, u64),
}

impl Counts {
    #[inline]
    fn add(&mut self, name: &[u8]) {
        if self.last.0 == name {
            self.last.1 += 1;
        } else {
            self.settle();
            self.last = (name.to_vec(), 1);
        }
    }

    fn settle(&mut self) {
        let (name, count) = std::mem::take(&mut self.last);
        if count > 0 {
            *self.all.entry(name.to_ascii_uppercase()).or_default() += count;
        }
    }

    /// By group of commands, and those of no group.
    fn by_group(&self) -> BTreeMap<&'static str, Vec<(String, u64)>> {
        let rows: HashMap<&[u8], &Command> = commands::all().map(|row| (row.name.as_bytes(), row)).collect();
        let mut groups: BTreeMap<&'static str, Vec<(String, u64)>> = BTreeMap::new();
        let last = (self.last.1 > 0).then(|| (self.last.0.to_ascii_uppercase(), self.last.1));
        let mut all = self.all.clone();
        if let Some((name, count)) = last {
            *all.entry(name).or_default() += count;
        }
        for (name, count) in &all {
            let group = rows.get(name.as_slice()).map_or("not known to this build", |row| row.group.name());
            groups.entry(group).or_default().push((name.escape_ascii().to_string(), *count));
        }
        for names in groups.values_mut() {
            names.sort_unstable_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
        }
        groups
    }
}

fn print(path: &Path, len: usize, summary: &Summary, out: &mut dyn Write) -> Result<(), CheckError> {
    let name = path.display();
    writeln!(out, "{name}: {len} bytes")?;
    if let Some(contents) = &summary.snapshot {
        contents.print(out)?;
    }
    let Summary { transactions, commands, blocks, .. } = summary;
    if *commands > 0 || summary.snapshot.is_none() {
        writeln!(out, "  {commands} commands, {transactions} transactions, {blocks} blocks with checksums")?;
    }
    if let Some((first, last)) = summary.seconds {
        writeln!(out, "  written from second {first}{} to {last}{}", utc(first), utc(last))?;
    }
    /// Names of commands that are shown of each group.
    const NAMES_MAX: usize = 8;
    for (group, names) in summary.by_name.by_group() {
        let sum: u64 = names.iter().map(|(_, count)| count).sum();
        let shown: Vec<String> =
            names.iter().take(NAMES_MAX).map(|(name, count)| format!("{name} {count}")).collect();
        let more = if names.len() > NAMES_MAX { ", ..." } else { "" };
        writeln!(out, "  {group}: {sum} ({}{more})", shown.join(", "))?;
    }
    Ok(())
}

/// The time for people, if it is one.
fn utc(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|at| format!(" ({at})")).unwrap_or_default()
}

/// Where a log is to end.
struct Cut {
    index: usize,
    bytes: Bytes,
    keep: usize,
    stop: Stop,
}

impl Cut {
    fn write(&self, log: &Log, out: &mut dyn Write) -> Result<(), CheckError> {
        let Some(path) = log.files.get(self.index) else { return Ok(()) };
        if let Stop::InSnapshot(_) = self.stop {
            let why = "the log begins with a snapshot that is damaged, and its commands make no sense without all of it; \
                       `baton check rdb --fix` saves what is whole of the snapshot alone";
            return Err(CheckError::NotFixable(format!("{}: {why}", path.display())));
        }
        if let (Stop::TooLate(seconds), 0, 0) = (&self.stop, self.index, self.keep) {
            let why = format!("nothing was written before second {seconds}");
            return Err(CheckError::NotFixable(format!("{}: {why}", path.display())));
        }
        let fixed_file = fixed_path(path);
        let manifest =
            log.manifest.as_ref().map(|(path, manifest)| (path, fixed_path(path), self.manifest(manifest)));
        if let Some((_, fixed_manifest, _)) = manifest.as_ref().filter(|(_, path, _)| path.exists()) {
            return Err(CheckError::Exists(fixed_manifest.display().to_string()));
        }
        fixed::write(&fixed_file, &[&self.bytes[..self.keep]])?;
        let dropped = self.bytes.len() - self.keep;
        writeln!(out, "{}: written, {} bytes", fixed_file.display(), self.keep)?;
        writeln!(out, "{}: dropped the {dropped} bytes from offset {} on", fixed_file.display(), self.keep)?;
        if let Some((old, new, text)) = manifest {
            fixed::write(&new, &[&text])?;
            for later in &log.files[self.index + 1..] {
                writeln!(out, "{}: dropped as a whole", later.display())?;
            }
            writeln!(out, "{}: written; to use it, rename it to {}", new.display(), old.display())?;
        }
        Ok(())
    }

    /// The text of the manifest that ends with the new file.
    fn manifest(&self, old: &Manifest) -> Vec<u8> {
        let fixed = |file: &File| File {
            name: [&file.name[..], b".fixed"].concat(),
            end_offset: None,
            ..file.clone()
        };
        let mut new = Manifest { history: old.history.clone(), ..Manifest::default() };
        let kinds = old.with_kinds().filter(|(kind, _)| *kind != Kind::History);
        for (index, (kind, file)) in kinds.enumerate().take(self.index + 1) {
            let file = if index == self.index { fixed(file) } else { file.clone() };
            match kind {
                Kind::Base => new.base = Some(file),
                _ => new.incrs.push(file),
            }
        }
        new.text()
    }
}
