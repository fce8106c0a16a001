//! The command line of `baton check`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What to check, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The kind of file.
    pub what: What,
    /// The file or directory.
    pub path: PathBuf,
    /// Write what can be saved into a new file.
    pub fix: bool,
    /// Write what was there up to the end of this second (since 1970) into a new file.
    pub to_timestamp: Option<i64>,
    /// Called as redis-check-rdb or redis-check-aof: end with the line that scripts look for.
    pub as_redis: bool,
}

/// The kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A snapshot.
    Rdb,
    /// An append-only log.
    Aof,
}

const USAGE: &str = "\
Usage: baton check rdb <file> [--fix]
       baton check aof <file|manifest|directory> [--fix] [--to-timestamp <unix seconds>]

Verifies every byte and says what is in the files. They are never changed: --fix and --to-timestamp write what is
kept into new files whose names end in .fixed.
Exit code 0: in order, or written. 1: torn, damaged or unreadable.";

const USAGE_RDB: &str = "Usage: redis-check-rdb <rdb-file-name>";

const USAGE_AOF: &str =
    "Usage: redis-check-aof [--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>";

/// Understands the command line if it is one for this tool: by the name of the program, or by its first word.
pub fn parse(program: &OsStr, args: &[OsString]) -> Option<Result<Request, &'static str>> {
    let name = Path::new(program).file_name().unwrap_or_default().to_str().unwrap_or_default();
    match name.strip_prefix("redis-").or(name.strip_prefix("valkey-")).or(name.strip_prefix("baton-")) {
        Some("check-rdb") => return Some(parse_redis_rdb(args)),
        Some("check-aof") => return Some(parse_redis_aof(args)),
        _ => {}
    }
    match args.split_first() {
        Some((first, rest)) if first == "check" => Some(parse_ours(rest)),
        _ => None,
    }
}

fn parse_redis_rdb(args: &[OsString]) -> Result<Request, &'static str> {
    match args {
        [file] => Ok(Request { as_redis: true, ..request(What::Rdb, file) }),
        _ => Err(USAGE_RDB),
    }
}

fn parse_redis_aof(args: &[OsString]) -> Result<Request, &'static str> {
    let (option, file) = match args {
        [file] => (None, file),
        [fix, file] if fix == "--fix" => (Some(None), file),
        [cut, seconds, file] if cut == "--truncate-to-timestamp" => {
            (Some(Some(timestamp(seconds).ok_or("Invalid timestamp, aborting...")?)), file)
        }
        _ => return Err(USAGE_AOF),
    };
    let to_timestamp = option.flatten();
    let fix = option.is_some() && to_timestamp.is_none();
    Ok(Request { fix, to_timestamp, as_redis: true, ..request(What::Aof, file) })
}

fn parse_ours(args: &[OsString]) -> Result<Request, &'static str> {
    let (what, mut rest) = match args.split_first() {
        Some((first, rest)) if first == "rdb" => (What::Rdb, rest),
        Some((first, rest)) if first == "aof" => (What::Aof, rest),
        _ => return Err(USAGE),
    };
    let (mut file, mut fix, mut to_timestamp) = (None, false, None);
    while let Some((arg, after)) = rest.split_first() {
        rest = after;
        match arg.as_bytes() {
            b"--fix" => fix = true,
            b"--to-timestamp" if what == What::Aof => {
                let (seconds, after) = rest.split_first().ok_or(USAGE)?;
                to_timestamp = Some(timestamp(seconds).ok_or(USAGE)?);
                rest = after;
            }
            [b'-', ..] => return Err(USAGE),
            _ if file.is_some() => return Err(USAGE),
            _ => file = Some(arg),
        }
    }
    let file = file.ok_or(USAGE)?;
    Ok(Request { fix, to_timestamp, ..request(what, file) })
}

fn request(what: What, file: &OsStr) -> Request {
    Request { what, path: PathBuf::from(file), fix: false, to_timestamp: None, as_redis: false }
}

fn timestamp(seconds: &OsStr) -> Option<i64> {
    seconds.to_str()?.parse().ok().filter(|seconds| *seconds >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request as `what path fix to_timestamp as_redis`, or the first line of the refusal.
    #[track_caller]
    fn check(line: &str, expected: Option<&str>) {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let found = parse(&words[0], &words[1..]).map(|parsed| match parsed {
            Ok(Request { what, path, fix, to_timestamp, as_redis }) => {
                format!("{what:?} {} {fix} {} {as_redis}", path.display(), to_timestamp.unwrap_or(-1))
            }
            Err(usage) => usage.lines().next().unwrap_or_default().to_owned(),
        });
        assert_eq!(found.as_deref(), expected, "{line}");
    }

    #[test]
    fn command_lines() {
        check("baton", None);
        check("baton redis.conf", None);
        check("baton ./check rdb x", None);
        check("baton check rdb dump.rdb", Some("Rdb dump.rdb false -1 false"));
        check("baton check rdb --fix dump.rdb", Some("Rdb dump.rdb true -1 false"));
        check(
            "baton check aof appendonlydir --to-timestamp 17 --fix",
            Some("Aof appendonlydir true 17 false"),
        );
        let usage = Some("Usage: baton check rdb <file> [--fix]");
        for line in [
            "",
            " rdb",
            " rdb x y",
            " rdb x --to-timestamp 1",
            " aof x --to-timestamp",
            " aof x --to-timestamp -1",
            " x y",
            " aof x --fox",
        ] {
            check(&format!("baton check{line}"), usage);
        }
    }

    #[test]
    fn command_lines_of_redis() {
        check("/usr/bin/redis-check-rdb dump.rdb", Some("Rdb dump.rdb false -1 true"));
        check("valkey-check-rdb", Some(USAGE_RDB));
        check("redis-check-aof x.manifest", Some("Aof x.manifest false -1 true"));
        check("redis-check-aof --fix x.aof", Some("Aof x.aof true -1 true"));
        check("redis-check-aof --truncate-to-timestamp 17 x.aof", Some("Aof x.aof false 17 true"));
        check("redis-check-aof --truncate-to-timestamp 17x x.aof", Some("Invalid timestamp, aborting..."));
        check("redis-check-aof --fix", Some("Aof --fix false -1 true"));
        check("redis-check-aof", Some(USAGE_AOF));
    }
}
