//! The command line: `baton [redis.conf] [--option value ...] [-]`, the grammar of redis-server.
//!
//! Options become lines of configuration, which are read after the file and standard input, so that they
//! win. Called through a link named `redis-server`, `redis-sentinel`, `redis-check-aof` or the like, we are that program.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::check;
use crate::config::{REDIS_VERSION, text};

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Invocation {
    /// Start the server.
    Serve(Serve),
    /// Print the version and exit with 0.
    Version,
    /// Print the help to standard error and exit with 1, as redis-server does.
    Help,
    /// Test so many megabytes of memory.
    TestMemory(usize),
    /// Look for what is wrong with the system; exit with 1 if anything is.
    CheckSystem,
    /// Check files of persistence.
    Check(check::Request),
    /// The arguments make no sense: print this to standard error and exit with 1.
    Wrong(&'static str),
}

/// How to start the server.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Serve {
    /// The configuration file, absolute.
    pub file: Option<PathBuf>,
    /// Read configuration from standard input too.
    pub stdin: bool,
    /// The options as lines of configuration.
    pub options: Vec<u8>,
    /// Start as a Sentinel.
    pub sentinel: bool,
    /// Start from the log as it was at this second (`--restore-to`). No setting: it is for this one start.
    pub restore_to: Option<i64>,
}

/// Understands the command line, `args[0]` being the name of the program.
pub fn parse(args: &[OsString]) -> Invocation {
    let (program, args) = match args.split_first() {
        Some((program, args)) => (program.as_os_str(), args),
        None => (OsStr::new(""), args),
    };
    match args.first().map(|arg| arg.as_bytes()) {
        Some(b"-v" | b"--version") => return Invocation::Version,
        Some(b"-h" | b"--help") => return Invocation::Help,
        Some(b"--test-memory") => return test_memory(args),
        Some(b"--check-system") => return Invocation::CheckSystem,
        _ => {}
    }
    if let Some(parsed) = check::parse(program, args) {
        return parsed.map_or_else(Invocation::Wrong, Invocation::Check);
    }
    let mut serve = Serve { sentinel: is_sentinel(program, args), ..Serve::default() };
    let mut options = args;
    if let Some((first, rest)) = args.split_first()
        && !first.as_bytes().starts_with(b"-")
    {
        serve.file = Some(std::path::absolute(first).unwrap_or_else(|_| PathBuf::from(first)));
        options = rest;
    }
    let at_start = serve.file.is_none();
    match take_restore_to(options) {
        Ok(None) => serve.read_options(options, at_start),
        Ok(Some((second, rest))) => {
            serve.restore_to = Some(second);
            serve.read_options(&rest, at_start);
        }
        Err(usage) => return Invocation::Wrong(usage),
    }
    Invocation::Serve(serve)
}

const RESTORE_TO_USAGE: &str = "\
--restore-to needs a time in seconds since 1970, once.
Example: ./baton /etc/redis/redis.conf --restore-to 1763652600";

/// Takes `--restore-to` and its value out of the options: the second, and what is left.
fn take_restore_to(options: &[OsString]) -> Result<Option<(i64, Vec<OsString>)>, &'static str> {
    let is_ours = |arg: &OsString| arg.eq_ignore_ascii_case("--restore-to");
    let Some(at) = options.iter().position(is_ours) else { return Ok(None) };
    let second = options.get(at + 1).and_then(|value| value.to_str()?.parse().ok());
    let second = second.filter(|second: &i64| *second >= 0).ok_or(RESTORE_TO_USAGE)?;
    let mut rest = options.to_vec();
    rest.drain(at..at + 2);
    if rest.iter().any(is_ours) { Err(RESTORE_TO_USAGE) } else { Ok(Some((second, rest))) }
}

const TEST_MEMORY_USAGE: &str = "Please specify the amount of memory to test in megabytes.\n\
                                 Example: ./redis-server --test-memory 4096\n";

fn test_memory(args: &[OsString]) -> Invocation {
    let megabytes = match args {
        [_, megabytes] => megabytes.to_str().and_then(|arg| arg.parse().ok()).filter(|&number| number > 0),
        _ => None,
    };
    megabytes.map_or(Invocation::Wrong(TEST_MEMORY_USAGE), Invocation::TestMemory)
}

fn is_sentinel(program: &OsStr, args: &[OsString]) -> bool {
    let name = Path::new(program).file_name().unwrap_or_default();
    ["redis-sentinel", "valkey-sentinel", "baton-sentinel"].iter().any(|known| name == *known)
        || args.iter().any(|arg| arg == "--sentinel")
}

impl Serve {
    /// Turns the arguments after the file into lines. `at_start`: the first of them is the first of all,
    /// where a `-` for standard input may stand; else it must be the last.
    fn read_options(&mut self, args: &[OsString], at_start: bool) {
        // An option takes the next argument whatever it looks like, but only that one is sure.
        let mut has_value = true;
        for (index, arg) in args.iter().enumerate() {
            let next = args.get(index + 1).map(|arg| arg.as_bytes());
            match arg.as_bytes() {
                b"-" if next.is_none() || (at_start && index == 0) => self.stdin = true,
                [b'-', b'-', name @ ..] if has_value => has_value = self.start_option(name, next),
                value => {
                    self.options.extend(text::quote(value));
                    self.options.push(b' ');
                    has_value = true;
                }
            }
        }
    }

    /// Begins the line of an option. Returns whether it may be complete, so that `--x` is the next option
    /// rather than its value.
    fn start_option(&mut self, name: &[u8], next: Option<&[u8]>) -> bool {
        if !self.options.is_empty() {
            self.options.push(b'\n');
        }
        self.options.extend_from_slice(name);
        self.options.push(b' ');
        if text::split_args(name).map_or(0, |words| words.len()) != 1 {
            // `"--port 6380"`: name and value in one argument.
            return true;
        }
        let next_is_option = next.is_some_and(|next| next.starts_with(b"--"));
        if name.eq_ignore_ascii_case(b"save") && (next_is_option || next.is_none()) {
            // Scripts that build their arguments from an empty list write `--save` for `--save ""`.
            self.options.extend_from_slice(b"\"\"");
            return next_is_option;
        }
        name.eq_ignore_ascii_case(b"sentinel") && next_is_option
    }
}

/// The line for `--version`, such that tools which look for `v=` in it find what they expect.
/// `malloc` names the allocator that the binary is linked with.
pub fn version(malloc: &str) -> String {
    format!(
        "Baton server v={} (Redis {REDIS_VERSION} compatible) sha={} malloc={malloc} bits={} build={:x}",
        env!("CARGO_PKG_VERSION"),
        git_sha(),
        usize::BITS,
        build_id(),
    )
}

/// The revision that was built, as the build environment names it.
pub fn git_sha() -> &'static str {
    option_env!("BATON_GIT_SHA").unwrap_or("00000000:0")
}

/// A number that differs between builds of different versions or revisions: FNV-1a over both.
pub fn build_id() -> u64 {
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    env!("CARGO_PKG_VERSION").bytes().chain(git_sha().bytes()).fold(0xcbf2_9ce4_8422_2325, hash)
}

/// The text of `--help`.
pub const HELP: &str = "\
Usage: ./baton [/path/to/redis.conf] [options] [-]
       ./baton - (read config from stdin)
       ./baton -v or --version
       ./baton -h or --help
       ./baton --test-memory <megabytes>
       ./baton --check-system
       ./baton [/path/to/redis.conf] [options] --restore-to <unix seconds>
       ./baton check rdb <file> [--fix]
       ./baton check aof <file|manifest|directory> [--fix] [--to-timestamp <unix seconds>]

Examples:
       ./baton (run the server with default conf)
       echo 'maxmemory 128mb' | ./baton -
       ./baton /etc/redis/6379.conf
       ./baton --port 7777
       ./baton --port 7777 --replicaof 127.0.0.1 8888
       ./baton /etc/myredis.conf --loglevel verbose -
       ./baton /etc/myredis.conf --loglevel verbose
       ./baton check aof /var/lib/redis/appendonlydir --fix
       ./baton /etc/redis/6379.conf --restore-to 1763652600 (the log as it was then, served from DIR/restored-1763652600)

Sentinel mode:
       ./baton /etc/sentinel.conf --sentinel
";

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn args(line: &str) -> Vec<OsString> {
        let words = text::split_args(line.as_bytes()).unwrap();
        words.into_iter().map(OsString::from_vec).collect()
    }

    #[track_caller]
    fn check(line: &str, options: &str, stdin: bool) {
        let Invocation::Serve(serve) = parse(&args(line)) else { panic!("{line}") };
        assert_eq!(String::from_utf8(serve.options).unwrap(), options, "{line}");
        assert_eq!(serve.stdin, stdin, "{line}");
    }

    #[test]
    fn options_become_lines() {
        check("baton", "", false);
        check("baton --port 7 --bind a b", "port \"7\" \nbind \"a\" \"b\" ", false);
        check("baton '--port 7' --hz 1", "port 7 \nhz \"1\" ", false);
        check("baton --requirepass --x", "requirepass \"--x\" ", false);
        check("baton --save --port 7", "save \"\"\nport \"7\" ", false);
        check("baton --save", "save \"\"", false);
        check("baton --save 60 1 --save ''", "save \"60\" \"1\" \nsave \"\" ", false);
        check("baton --sentinel --port 7", "sentinel \nport \"7\" ", false);
        check("baton -", "", true);
        check("baton - --port 7", "port \"7\" ", true);
        check("baton x.conf --port 7 -", "port \"7\" ", true);
        check("baton --port 7 - --hz 1", "port \"7\" \"-\" \nhz \"1\" ", false);
    }

    #[test]
    fn a_time_to_go_back_to() {
        let line = "baton x.conf --port 7 --restore-to 1763652600 --hz 1";
        let Invocation::Serve(serve) = parse(&args(line)) else { panic!("{line}") };
        assert_eq!(serve.restore_to, Some(1_763_652_600));
        assert_eq!(serve.options, b"port \"7\" \nhz \"1\" ");
        for wrong in ["--restore-to", "--restore-to x", "--restore-to -1", "--restore-to 1 --restore-to 2"] {
            assert_eq!(parse(&args(&format!("baton {wrong}"))), Invocation::Wrong(RESTORE_TO_USAGE));
        }
        check("baton --port 7", "port \"7\" ", false);
    }

    #[test]
    fn files_and_roles() {
        let serve = |line: &str| match parse(&args(line)) {
            Invocation::Serve(serve) => serve,
            other => panic!("{other:?}"),
        };
        assert_eq!(serve("baton /etc/x.conf").file, Some("/etc/x.conf".into()));
        assert!(serve("baton x.conf").file.is_some_and(|file| file.is_absolute()));
        assert!(serve("/usr/bin/redis-sentinel x.conf").sentinel);
        assert!(serve("redis-server x.conf --sentinel").sentinel);
        assert!(!serve("redis-server x.conf").sentinel);
    }

    #[test]
    fn other_invocations() {
        assert_eq!(parse(&args("baton -v")), Invocation::Version);
        assert_eq!(parse(&args("baton --help")), Invocation::Help);
        assert_eq!(parse(&args("baton --test-memory 12")), Invocation::TestMemory(12));
        assert!(matches!(parse(&args("baton --test-memory")), Invocation::Wrong(_)));
        assert!(matches!(parse(&args("baton --test-memory 0")), Invocation::Wrong(_)));
        assert_eq!(parse(&args("baton --check-system")), Invocation::CheckSystem);
        let version = version("jemalloc-5.3.0");
        assert!(
            version.starts_with("Baton server v=")
                && version.contains(" malloc=jemalloc-5.3.0 bits=64 build=")
        );
    }
}
