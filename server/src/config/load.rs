//! Reading the configuration at the start: the file, then standard input, then the command line, as one
//! text, so that the last mention of a setting counts.
//!
//! | line                     | effect                                                      |
//! |--------------------------|-------------------------------------------------------------|
//! | blank, `# ...`           | none                                                        |
//! | `<setting> <arg> ...`    | see the table                                               |
//! | `include <path or glob>` | reads these files here; a glob may match none               |
//! | `rename-command A B`     | kept for the caller, who knows the commands                 |
//! | `user ...`               | kept for the caller, who knows the ACL                      |
//! | `sentinel ...`           | kept for the caller, in Sentinel mode only                  |
//!
//! **Invariant:** nothing is guessed. A line that isn't understood stops the start.

use std::fmt;
use std::path::{Path, PathBuf};

use super::field::{Moment, Reason, Text, WRONG_NUMBER};
use super::shapes::os_text;
use super::table::{Setting, Settings};
use super::text;

/// The version of Redis that we present ourselves as: the last that is a subset of what is here. Clients use nothing newer than what
/// it has, and use what it has: fields that expire, HSCAN NOVALUES, client-side caching as redis-py wants it.
pub const REDIS_VERSION: &str = baton::scripts::REDIS_VERSION;

/// Where the configuration comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// What standard input gave, if it was asked for.
    pub stdin: Option<Vec<u8>>,
    /// The options of the command line as lines of configuration.
    pub options: Vec<u8>,
    /// Whether we start as a Sentinel.
    pub sentinel: bool,
}

/// A configuration that was read in full.
#[derive(Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// `rename-command <old> <new>`, in order; an empty new name removes the command.
    pub renames: Vec<Directive>,
    /// `user <name> <rule> ...`, in order.
    pub users: Vec<Directive>,
    /// `sentinel <word> ...`, in order.
    pub sentinel: Vec<Directive>,
    /// What the operator should know; to be logged as warnings once there is a log.
    pub warnings: Vec<String>,
}

/// A line that someone else understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// What follows the first word.
    pub args: Vec<Vec<u8>>,
    /// The line, to name it in an error.
    pub origin: Origin,
}

/// One line of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its number from 1; lines of the command line follow those of the file and an empty one.
    pub line: usize,
    /// The line without surrounding blanks.
    pub text: Vec<u8>,
    /// The included file that it stands in.
    pub included: Option<PathBuf>,
}

impl Origin {
    /// The error that this line stops the start with.
    pub fn error(self, reason: impl Into<Reason>) -> FatalConfigError {
        FatalConfigError::Line { origin: self, reason: reason.into() }
    }
}

/// Why the server doesn't start. The text is what the operator reads on standard error.
#[derive(Debug, PartialEq, Eq)]
pub enum FatalConfigError {
    /// A line is unknown or wrong.
    Line { origin: Origin, reason: Reason },
    /// The lines contradict each other or the machine.
    Whole(Reason),
    /// A file can't be read.
    Unreadable { path: PathBuf, reason: Reason },
}

impl std::error::Error for FatalConfigError {}

impl fmt::Display for FatalConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Unreadable { path, reason } = self {
            return write!(f, "Fatal error, can't open config file '{}': {reason}", path.display());
        }
        writeln!(f, "\n*** FATAL CONFIG FILE ERROR (Redis {REDIS_VERSION}) ***")?;
        match self {
            Self::Line { origin, reason } => {
                match &origin.included {
                    None => writeln!(f, "Reading the configuration file, at line {}", origin.line)?,
                    Some(path) => writeln!(
                        f,
                        "Reading the configuration file, at line {} of '{}'",
                        origin.line,
                        path.display()
                    )?,
                }
                write!(f, ">>> '{}'\n{reason}", String::from_utf8_lossy(&origin.text))
            }
            Self::Whole(reason) | Self::Unreadable { reason, .. } => f.write_str(reason),
        }
    }
}

/// Reads the configuration from all its sources. A `dir` line changes the working directory.
pub fn load(sources: &Sources) -> Result<Loaded, FatalConfigError> {
    let mut loader = Loader::new(sources.sentinel);
    let mut all = Vec::new();
    if let Some(path) = &sources.file {
        all = read(path)?;
    }
    if let Some(stdin) = &sources.stdin {
        end_line(&mut all);
        all.extend_from_slice(stdin);
    }
    end_line(&mut all);
    if !sources.options.is_empty() {
        all.push(b'\n');
        all.extend_from_slice(&sources.options);
    }
    loader.text(&all, None)?;
    loader.finish()
}

fn end_line(text: &mut Vec<u8>) {
    if text.last().is_some_and(|&byte| byte != b'\n') {
        text.push(b'\n');
    }
}

fn read(path: &Path) -> Result<Vec<u8>, FatalConfigError> {
    std::fs::read(path)
        .map_err(|error| FatalConfigError::Unreadable { path: path.into(), reason: os_text(&error) })
}

/// Old settings that have no effect any more, each with one argument.
const OBSOLETE: [&[u8]; 3] =
    [b"list-max-ziplist-entries", b"list-max-ziplist-value", b"lua-replicate-commands"];

/// Files within files; more means that a file includes itself.
const INCLUDE_DEPTH_MAX: usize = 64;

struct Loader {
    loaded: Loaded,
    sentinel_mode: bool,
    /// The settings that a line has named.
    seen: Vec<&'static str>,
    depth: usize,
}

impl Loader {
    fn new(sentinel_mode: bool) -> Self {
        let mut settings = Settings::default();
        if sentinel_mode {
            settings.port = 26379;
            settings.protected_mode = false;
        }
        let loaded = Loaded {
            settings,
            renames: Vec::new(),
            users: Vec::new(),
            sentinel: Vec::new(),
            warnings: Vec::new(),
        };
        Self { loaded, sentinel_mode, seen: Vec::new(), depth: 0 }
    }

    fn text(&mut self, text: &[u8], included: Option<&Path>) -> Result<(), FatalConfigError> {
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = text::trim(line);
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let origin =
                Origin { line: index + 1, text: line.to_vec(), included: included.map(Path::to_path_buf) };
            self.line(origin)?;
        }
        Ok(())
    }

    fn line(&mut self, origin: Origin) -> Result<(), FatalConfigError> {
        let Ok(words) = text::split_args(&origin.text) else {
            return Err(origin.error("Unbalanced quotes in configuration line"));
        };
        let Some((name, args)) = words.split_first() else { return Ok(()) };
        if let Some((setting, _)) = Setting::find(name) {
            return self.setting(setting, args).map_err(|reason| origin.error(reason));
        }
        let name = name.to_ascii_lowercase();
        match (name.as_slice(), args) {
            (name, [_]) if OBSOLETE.contains(&name) => Ok(()),
            (b"include", [path]) => self.include(path, origin),
            (b"rename-command", [_, _]) => {
                self.loaded.renames.push(Directive { args: args.to_vec(), origin });
                Ok(())
            }
            (b"user", [_, ..]) => {
                self.loaded.users.push(Directive { args: args.to_vec(), origin });
                Ok(())
            }
            (b"sentinel", []) => Ok(()),
            (b"sentinel", _) if !self.sentinel_mode => {
                Err(origin.error("sentinel directive while not in sentinel mode"))
            }
            (b"sentinel", _) => {
                self.loaded.sentinel.push(Directive { args: args.to_vec(), origin });
                Ok(())
            }
            (b"loadmodule", [_, ..]) => Err(origin.error("This server can't load modules")),
            (name, [_, ..]) if name.contains(&b'.') => Err(origin.error(
                "Module Configuration detected without loadmodule directive or no ApplyConfig call: aborting",
            )),
            _ => Err(origin.error("Bad directive or wrong number of arguments")),
        }
    }

    fn setting(&mut self, setting: &'static Setting, args: &[Vec<u8>]) -> Result<(), Reason> {
        let split;
        let args = match args {
            [one] if setting.flags.many && !one.is_empty() => {
                split = text::split_args(one).map_err(|_| "Unbalanced quotes in configuration line")?;
                split.as_slice()
            }
            [_] => args,
            _ if setting.flags.many => args,
            _ => return Err(WRONG_NUMBER),
        };
        let moment = match self.seen.contains(&setting.name) {
            true => Moment::LaterLine,
            false => Moment::FirstLine,
        };
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        (setting.field_mut)(&mut self.loaded.settings).parse(&args, setting.kind, moment)?;
        self.seen.push(setting.name);
        Ok(())
    }

    fn include(&mut self, path: &[u8], origin: Origin) -> Result<(), FatalConfigError> {
        if self.depth == INCLUDE_DEPTH_MAX {
            return Err(origin.error("Files include each other too deeply"));
        }
        self.depth += 1;
        for path in included_files(path).map_err(|reason| origin.error(reason))? {
            let text = read(&path)?;
            self.text(&text, Some(&path))?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn finish(self) -> Result<Loaded, FatalConfigError> {
        let mut loaded = self.loaded;
        let settings = &mut loaded.settings;
        if let Some(logfile) = settings.logfile.set() {
            let opened = std::fs::OpenOptions::new().append(true).create(true).open(logfile.path());
            opened.map_err(|error| {
                FatalConfigError::Whole(format!("Can't open the log file: {}", os_text(&error)).into())
            })?;
        }
        if settings.cluster_enabled && settings.replicaof.0.is_some() {
            return Err(FatalConfigError::Whole("replicaof directive not allowed in cluster mode".into()));
        }
        if settings.cluster_enabled && settings.databases > settings.cluster_databases {
            loaded.warnings.push(format!(
                "WARNING: Changing databases number from {} to {} since we are in cluster mode",
                settings.databases, settings.cluster_databases
            ));
            settings.databases = settings.cluster_databases;
        }
        settings.settle();
        Ok(loaded)
    }
}

/// The files that an `include` names. A path without wildcards is named whether or not it exists.
fn included_files(path: &[u8]) -> Result<Vec<PathBuf>, Reason> {
    let path = Text::new(path);
    if !path.iter().any(|byte| b"*?[".contains(byte)) {
        return Ok(vec![path.path().to_path_buf()]);
    }
    let options = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let matches = glob::glob_with(&path.lossy(), options).map_err(|error| Reason::from(error.to_string()))?;
    Ok(matches.filter_map(Result::ok).collect())
}

const HZ_MAX: u32 = 500;

impl Settings {
    /// Brings values that are hints into the range that we can follow.
    pub(super) fn settle(&mut self) {
        self.hz = self.hz.clamp(1, HZ_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::shapes::SavePoint;

    fn options(lines: &str) -> Result<Loaded, FatalConfigError> {
        let mut loader = Loader::new(false);
        loader.text(lines.as_bytes(), None)?;
        loader.finish()
    }

    #[track_caller]
    fn check(lines: &str, line: usize, reason: &str) {
        match options(lines) {
            Err(FatalConfigError::Line { origin, reason: found }) => {
                assert_eq!((origin.line, &*found), (line, reason), "{lines}");
            }
            other => panic!("{lines}: {other:?}"),
        }
    }

    #[test]
    fn wrong_lines_are_named() {
        check("port 1\n\nfoo bar", 3, "Bad directive or wrong number of arguments");
        check("bind \"x", 1, "Unbalanced quotes in configuration line");
        check("port abc", 1, "argument couldn't be parsed into an integer");
        check("port 65536", 1, "argument must be between 0 and 65535 inclusive");
        check("port 1 2", 1, "wrong number of arguments");
        check("port", 1, "wrong number of arguments");
        check("daemonize maybe", 1, "argument must be 'yes' or 'no'");
        check("maxmemory 1x", 1, "argument must be a memory value");
        check("maxmemory-clients 101%", 1, "percentage argument must be less or equal to 100");
        check("maxmemory-clients x", 1, "argument must be a memory or percent value");
        check("unixsocketperm 888", 1, "argument couldn't be parsed as an octal number");
        check("unixsocketperm 1000", 1, "argument must be between 0 and 777 inclusive");
        check(
            "proto-max-bulk-len 1kb",
            1,
            "argument must be between 1048576 and 9223372036854775807 inclusive",
        );
        check("appendfsync x", 1, "argument(s) must be one of the following: everysec, always, no");
        check("save 60", 1, "Invalid save parameters");
        check("save 0 1", 1, "Invalid save parameters");
        check(
            "client-output-buffer-limit normal 1 2",
            1,
            "Wrong number of arguments in buffer limit configuration.",
        );
        check(
            "client-output-buffer-limit x 1 2 3",
            1,
            "Invalid client class specified in buffer limit configuration.",
        );
        check(
            "oom-score-adj-values 1 2 3000",
            1,
            "Invalid oom-score-adj-values, elements must be between -2000 and 2000.",
        );
        check("notify-keyspace-events Q", 1, "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
        check("replicaof host 70000", 1, "Invalid master port");
        check("dbfilename a/b", 1, "dbfilename can't be a path, just a filename");
        check("sentinel monitor a b 1 2", 1, "sentinel directive while not in sentinel mode");
        check("loadmodule x.so", 1, "This server can't load modules");
        check("proc-title-template {nope}", 1, "template format is invalid or contains unknown variables");
        check("dir /nonexistent/dir", 1, "No such file or directory");
    }

    #[test]
    fn the_error_has_the_shape_of_redis() {
        let error = options("port 0\nfoo bar").map(|_| ()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "\n*** FATAL CONFIG FILE ERROR (Redis 7.4.0) ***\nReading the configuration file, at line 2\n\
             >>> 'foo bar'\nBad directive or wrong number of arguments"
        );
    }

    #[test]
    fn settings_are_read() {
        let loaded = options(
            "# comment\n PORT 7000 \nbind 127.0.0.1 -::1\nmaxmemory 1kb\nmaxmemory-clients 5%\n\
             slave-priority 7\nunixsocketperm 700\nio-threads 3\nclient-output-buffer-limit \"slave 1mb 2k 3\"\n\
             rename-command CONFIG \"\"\nuser bob on\nhz 100000\nlua-replicate-commands yes\n",
        )
        .unwrap();
        let settings = &loaded.settings;
        assert_eq!(settings.port, 7000);
        let bound: Vec<_> = settings.bind.addresses().collect();
        assert_eq!(bound, [(b"127.0.0.1".as_slice(), false), (b"::1".as_slice(), true)]);
        assert_eq!(settings.maxmemory, 1024);
        assert_eq!(settings.maxmemory_clients.bytes(1000), 50);
        assert_eq!(settings.replica_priority, 7);
        assert_eq!(settings.unixsocketperm, 0o700);
        assert_eq!(settings.cores, 3);
        assert_eq!(settings.client_output_buffer_limit.replica.hard_bytes, 1 << 20);
        assert_eq!(settings.client_output_buffer_limit.replica.soft_bytes, 2000);
        assert_eq!(settings.hz, 500);
        assert_eq!(loaded.renames[0].args, [b"CONFIG".to_vec(), b"".to_vec()]);
        assert_eq!(loaded.users[0].origin.line, 11);
    }

    #[test]
    fn save_lines_add_up_and_the_first_drops_the_default() {
        let save = |lines| options(lines).unwrap().settings.save.0;
        let point = |seconds, changes| SavePoint { seconds, changes };
        assert_eq!(save("").len(), 3);
        assert_eq!(save("save 60 1"), [point(60, 1)]);
        assert_eq!(save("save 60 1\nsave 5 6 7 8"), [point(60, 1), point(5, 6), point(7, 8)]);
        assert_eq!(save("save \"60 1\""), [point(60, 1)]);
        assert_eq!(save("save 60 1\nsave \"\""), []);
        assert_eq!(save("save \"\"\nsave 60 1"), [point(60, 1)]);
    }

    #[test]
    fn cluster_mode_has_its_own_number_of_databases() {
        let loaded = options("cluster-enabled yes").unwrap();
        assert_eq!(loaded.settings.databases, 1);
        assert_eq!(loaded.warnings.len(), 1);
        let error = options("cluster-enabled yes\nreplicaof a 1").map(|_| ()).unwrap_err();
        assert!(matches!(error, FatalConfigError::Whole(_)));
    }

    #[test]
    fn files_include_files() {
        let dir = std::env::temp_dir().join(format!("baton-include-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("conf.d")).unwrap();
        let file = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
        let at = |name: &str| dir.join(name).display().to_string();
        file("conf.d/a.conf", "port 1\nhz 20");
        file("conf.d/b.conf", "port 2\n");
        file("conf.d/.hidden.conf", "nonsense");
        file("bad.conf", "\nnonsense here");
        file("loop.conf", &format!("include {}", at("loop.conf")));

        let loaded = options(&format!("include {}\ninclude {}", at("conf.d/*.conf"), at("none*"))).unwrap();
        assert_eq!((loaded.settings.port, loaded.settings.hz), (2, 20));

        let text = options(&format!("include {}", at("bad.conf"))).unwrap_err().to_string();
        assert!(text.contains(&format!("at line 2 of '{}'", at("bad.conf"))), "{text}");
        let text = options(&format!("include {}", at("absent.conf"))).unwrap_err().to_string();
        assert!(text.ends_with("absent.conf': No such file or directory"), "{text}");
        let text = options(&format!("include {}", at("loop.conf"))).unwrap_err().to_string();
        assert!(text.ends_with("Files include each other too deeply"), "{text}");

        file("main.conf", "port 5\nhz 7");
        let sources = Sources {
            file: Some(dir.join("main.conf")),
            stdin: Some(b"hz 8\n".to_vec()),
            options: b"port \"6\" ".to_vec(),
            sentinel: false,
        };
        let loaded = load(&sources).unwrap();
        assert_eq!((loaded.settings.port, loaded.settings.hz), (6, 8));
        std::fs::remove_dir_all(dir).unwrap();
    }

    proptest::proptest! {
        /// No text makes the loader panic.
        #[test]
        fn any_text_is_read_or_refused(
            words in proptest::collection::vec(("[a-z-]{1,9}|save|bind|port|client-output-buffer-limit|maxmemory",
                "[ -~]{0,20}"), 0..6)
        ) {
            let lines: String = words.iter().map(|(name, args)| format!("{name} {args}\n")).collect();
            let _ = options(&lines);
        }
    }
}
