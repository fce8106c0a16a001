//! A snapshot: every key is built from its bytes, as the server would, and thrown away.

use super::progress::Progress;
use super::request::Request;
use super::{CheckError, fixed, fixed_path, read};
use baton_engine::hash::Hasher;
use baton_engine::keyspace::Value;
use baton_engine::rdb::file::{Item, Reader, Record};
use baton_engine::rdb::load::{self, Loaded};
use baton_engine::rdb::{Family, RdbError, Unsupported, crc64, write};
use baton_engine::settings::Settings;
use baton_engine::slot::{SLOTS, Slot};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// How finely the report says where in the slots the keys are.
const RANGES: usize = 8;

/// What a snapshot holds.
#[derive(Debug, Default)]
pub struct Contents {
    header: String,
    aux: Vec<(String, String)>,
    keys: u64,
    with_expiry: u64,
    expired: u64,
    functions: u64,
    databases: BTreeMap<u64, u64>,
    types: BTreeMap<&'static str, OfType>,
    ranges: [u64; RANGES],
}

#[derive(Debug, Default)]
struct OfType {
    keys: u64,
    elements: u64,
    bytes: u64,
    /// Keys that this build cannot build from their bytes; only their extent was checked.
    not_built: u64,
}

/// Where and how a snapshot is wrong.
#[derive(Debug)]
pub struct Broken {
    /// What is wrong, with its offset.
    pub what: String,
    /// The end of the last thing that is whole.
    pub keep: usize,
    /// Whether cutting there makes sense: not if the file is only newer than this build.
    pub fixable: bool,
}

/// Checks a snapshot at the start of `file`: what it holds, and where it ends.
pub fn check(file: &[u8], now_ms: i64, progress: &mut Progress) -> (Contents, Result<usize, Broken>) {
    let (mut reader, mut contents) = (Reader::verifying(), Contents::default());
    let (settings, hasher, mut db) = (Settings::default(), Hasher::default(), 0);
    let mut family = Family::Redis;
    loop {
        let start = reader.offset();
        progress.at(start);
        let item = match reader.next(file.get(start..).unwrap_or_default()) {
            Ok((item, _)) => item,
            Err(error) => return (contents, Err(broken(error, start, "", file.len()))),
        };
        match item {
            Item::Header { family: found, version } => {
                family = found;
                contents.header = format!("format {version} of {family:?}");
            }
            Item::Aux { key, value } => {
                let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
                contents.aux.push((text(&key), text(&value)));
            }
            Item::SelectDb(number) => db = number,
            Item::Function(_) => contents.functions += 1,
            Item::Key(record) => {
                let value_start = reader.offset() - record.value.len();
                match type_and_count(&record, family, &settings, &hasher) {
                    Ok(found) => contents.add(&record, db, found, now_ms),
                    Err(error) => {
                        let key = shown(&record.key);
                        let what = format!(
                            ", in the value of key '{key}' of database {db}, which begins at offset {start}"
                        );
                        return (contents, Err(broken(error.shifted(value_start), start, &what, file.len())));
                    }
                }
            }
            Item::End { .. } => return (contents, Ok(reader.offset())),
            Item::ResizeDb { .. } | Item::SlotInfo { .. } | Item::ModuleAux(_) => {}
        }
    }
}

/// Name of the type, number of elements, and whether the value was built.
type Found = (&'static str, u64, bool);

fn type_and_count(
    record: &Record<'_>,
    family: Family,
    settings: &Settings,
    hasher: &Hasher,
) -> Result<Found, RdbError> {
    let loaded = match load::borrowed(record.kind, family, record.value, settings, hasher) {
        Ok((loaded, used)) if used == record.value.len() => loaded,
        Ok((_, used)) => return Err(RdbError::Corrupt { offset: used, expected: "the end of the value" }),
        Err(RdbError::Unsupported { what: Unsupported::Module(_), .. }) => return Ok(("module", 0, false)),
        Err(RdbError::Empty { .. }) => return Ok(("empty (left out when loaded)", 0, true)),
        Err(error) => return Err(error),
    };
    let (name, count) = match loaded {
        Loaded::Text(_) | Loaded::Value(Value::Bytes(_) | Value::Int(_)) => ("string", 1),
        Loaded::Value(Value::List(list)) => ("list", list.len()),
        Loaded::Value(Value::Set(set)) => ("set", set.len()),
        Loaded::Value(Value::Hash(hash)) => ("hash", hash.len()),
        Loaded::Value(Value::ZSet(zset)) => ("zset", zset.len()),
        Loaded::Value(Value::Stream(stream)) => ("stream", stream.log().len() as usize),
    };
    Ok((name, count as u64, true))
}

fn broken(error: RdbError, keep: usize, whereabouts: &str, len: usize) -> Broken {
    let what = match error {
        RdbError::Incomplete { .. } => format!("cut off at offset {len}, the end of the file{whereabouts}"),
        error => format!("{error}{whereabouts}"),
    };
    Broken { what, keep, fixable: !matches!(error, RdbError::Unsupported { .. }) }
}

fn shown(key: &[u8]) -> String {
    const SHOWN_MAX: usize = 80;
    let text = key[..key.len().min(SHOWN_MAX)].escape_ascii().to_string();
    if key.len() > SHOWN_MAX { format!("{text}...") } else { text }
}

impl Contents {
    /// The second when it was written, if it says so.
    pub fn second(&self) -> Option<i64> {
        self.aux.iter().find(|(key, _)| key == "ctime").and_then(|(_, value)| value.parse().ok())
    }

    /// Number of keys.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    fn add(&mut self, record: &Record<'_>, db: u64, (name, elements, built): Found, now_ms: i64) {
        self.keys += 1;
        if let Some(at_ms) = record.expiry_ms {
            self.with_expiry += 1;
            self.expired += u64::from(at_ms < now_ms);
        }
        *self.databases.entry(db).or_default() += 1;
        let of_type = self.types.entry(name).or_default();
        of_type.keys += 1;
        of_type.elements += elements;
        of_type.bytes += record.value.len() as u64;
        of_type.not_built += u64::from(!built);
        self.ranges[Slot::of(&record.key).index() / (SLOTS / RANGES)] += 1;
    }

    /// The last lines of redis-check-rdb.
    fn print_as_redis(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { keys, with_expiry, expired, .. } = self;
        writeln!(
            out,
            "[info] {keys} keys read\n[info] {with_expiry} expires\n[info] {expired} already expired"
        )
    }

    /// Prints what there is.
    pub fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for (key, value) in &self.aux {
            writeln!(out, "  {key}: {value}")?;
        }
        let Self { keys, with_expiry, expired, functions, .. } = self;
        writeln!(out, "  {keys} keys, {with_expiry} with an expiry, {expired} of which is in the past")?;
        if *functions > 0 {
            writeln!(out, "  {functions} libraries of functions")?;
        }
        for (db, keys) in &self.databases {
            writeln!(out, "  database {db}: {keys} keys")?;
        }
        for (name, OfType { keys, elements, bytes, not_built }) in &self.types {
            writeln!(out, "  {name}: {keys} keys, {elements} elements, {bytes} bytes in the file")?;
            if *not_built > 0 {
                writeln!(
                    out,
                    "  {name}: {not_built} keys that this build cannot load; only their extent was checked"
                )?;
            }
        }
        if self.keys > 0 {
            let width = SLOTS / RANGES;
            let counts = self
                .ranges
                .iter()
                .enumerate()
                .map(|(at, keys)| format!("{}-{}: {keys}", at * width, (at + 1) * width - 1));
            writeln!(out, "  keys by slot: {}", counts.collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}

/// Checks a file, prints the report, and writes what can be saved if that is asked for.
pub fn report(request: &Request, now_ms: i64, out: &mut dyn Write) -> Result<bool, CheckError> {
    let file = read(&request.path)?;
    let name = request.path.display();
    let mut progress = Progress::new(&name.to_string(), file.len());
    if request.as_redis {
        writeln!(out, "[offset 0] Checking RDB file {name}")?;
    }
    let (contents, end) = check(&file, now_ms, &mut progress);
    drop(progress);
    writeln!(out, "{name}: {} bytes, {}", file.len(), contents.header)?;
    contents.print(out)?;
    match end {
        Ok(end) => {
            if end < file.len() {
                writeln!(
                    out,
                    "  {} bytes behind the end: `baton check aof` reads commands there",
                    file.len() - end
                )?;
            }
            writeln!(out, "{name}: in order")?;
            if request.as_redis {
                writeln!(out, "[offset {end}] \\o/ RDB looks OK! \\o/")?;
                contents.print_as_redis(out)?;
            }
            Ok(true)
        }
        Err(broken) => {
            writeln!(out, "{name}: damaged: {}", broken.what)?;
            writeln!(out, "{name}: whole up to offset {}", broken.keep)?;
            if request.as_redis {
                writeln!(out, "--- RDB ERROR DETECTED ---\n[offset {}] {}", broken.keep, broken.what)?;
                contents.print_as_redis(out)?;
            }
            if request.fix { fix(request, &file, &contents, &broken, out).map(|()| true) } else { Ok(false) }
        }
    }
}

/// Writes the part that is whole, with an end that fits it.
fn fix(
    request: &Request,
    file: &[u8],
    contents: &Contents,
    broken: &Broken,
    out: &mut dyn Write,
) -> Result<(), CheckError> {
    if !broken.fixable || contents.header.is_empty() {
        let why = "there is nothing to save: the file cannot be read from its beginning, or is newer than this build";
        return Err(CheckError::NotFixable(format!("{}: {why}", request.path.display())));
    }
    let whole = &file[..broken.keep];
    let mut end = Vec::new();
    write::end(&mut end, crc64::checksum(whole));
    let path = fixed_path(&request.path);
    fixed::write(&path, &[whole, &end])?;
    let name = path.display();
    writeln!(out, "{name}: written with {} keys", contents.keys())?;
    let rest = &file[broken.keep..];
    if rest.len() == end.len() && rest.first() == end.first() {
        writeln!(
            out,
            "{name}: nothing is dropped, it has another checksum; which of the bytes had changed, nobody knows"
        )?;
    } else {
        writeln!(out, "{name}: dropped the {} bytes from offset {} on", rest.len(), broken.keep)?;
    }
    Ok(())
}
