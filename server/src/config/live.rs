//! The settings of a running server: read by every core, changed by `CONFIG SET` in one step.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::field::{Moment, Reason};
use super::rewrite::{self, How};
use super::shapes::{Dir, os_text};
use super::table::{SETTINGS, Setting, Settings};
use super::text;

/// Why a `CONFIG` command was refused. The text is the line that the client receives.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No setting has this name.
    #[error("ERR Unknown option or number of arguments for CONFIG SET - '{0}'")]
    Unknown(String),
    /// A setting can't be changed, or not to this value.
    #[error("ERR CONFIG SET failed (possibly related to argument '{argument}') - {reason}")]
    Refused { argument: String, reason: Reason },
    /// A setting can't be changed while a data set is being loaded.
    #[error("LOADING Redis is loading the dataset in memory")]
    Loading,
    /// There is no file to rewrite.
    #[error("ERR The server is running without a config file")]
    NoFile,
    /// The file couldn't be rewritten; it's unchanged.
    #[error("ERR Rewriting config file: {0}")]
    Rewrite(Reason),
}

impl ConfigError {
    /// A setting was refused, by whoever has to act upon it.
    pub fn refused(argument: &str, reason: impl Into<Reason>) -> Self {
        Self::Refused { argument: argument.into(), reason: reason.into() }
    }
}

/// Who asks for a change, and when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller {
    /// The connection is from this machine.
    pub local: bool,
    /// A data set is being loaded.
    pub loading: bool,
}

/// The settings of the server, shared by all its threads.
pub struct Config {
    current: Arc<ArcSwap<Settings>>,
    /// Changes are made one at a time.
    change: Mutex<()>,
    /// The working directory of this run alone, and the one that is configured.
    moved: Mutex<Option<(Dir, Dir)>>,
    file: Option<PathBuf>,
    sentinel: bool,
}

impl Config {
    /// The settings as loaded. `file` is what `CONFIG REWRITE` writes to; it's made absolute now, because
    /// the working directory can change.
    pub fn new(settings: Settings, file: Option<PathBuf>, sentinel: bool) -> Self {
        Self {
            current: Arc::new(ArcSwap::from_pointee(settings)),
            change: Mutex::new(()),
            moved: Mutex::default(),
            file,
            sentinel,
        }
    }

    /// The settings at this moment. For the hot path, see [`Config::reader`].
    pub fn current(&self) -> Arc<Settings> {
        self.current.load_full()
    }

    /// As [`current`](Self::current), for a short look: touches nothing that other threads touch too.
    pub fn glance(&self) -> arc_swap::Guard<Arc<Settings>> {
        self.current.load()
    }

    /// A view for one thread, which costs an atomic load per read.
    pub fn reader(&self) -> Reader {
        Reader(arc_swap::Cache::new(Arc::clone(&self.current)))
    }

    /// Changes to another working directory for this run alone: CONFIG GET shows it, CONFIG REWRITE keeps what is configured.
    ///
    /// # Errors
    /// It cannot be entered; nothing has changed.
    pub fn work_in(&self, dir: &Path) -> Result<(), Reason> {
        let _guard = self.change.lock();
        std::env::set_current_dir(dir).map_err(|error| os_text(&error))?;
        let mut new = Settings::clone(&self.current());
        let own = Dir::current();
        *self.moved.lock() = Some((own.clone(), std::mem::replace(&mut new.dir, own)));
        self.current.store(Arc::new(new));
        Ok(())
    }

    /// The configuration file.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// `CONFIG GET`: the names that match any of the patterns, each with its value, in table order. A
    /// pattern without `* ? [` is a name, and comes back as the client spelled it.
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let settings = self.current.load();
        let mut found = Vec::new();
        for setting in SETTINGS {
            for name in setting.names() {
                if let Some(shown) = patterns.iter().find_map(|pattern| matching(setting, name, pattern)) {
                    found.push((shown, setting.show(&settings)));
                }
            }
        }
        found
    }

    /// `CONFIG SET`: sets all of the pairs or none.
    ///
    /// `react` hears the old and the new settings and what differs, and does what can fail: binding a new
    /// port, say. When it refuses, nothing has changed.
    pub fn set(
        &self,
        pairs: &[(&[u8], &[u8])],
        caller: Caller,
        react: impl FnOnce(&Settings, &Settings, &[&'static Setting]) -> Result<(), ConfigError>,
    ) -> Result<Vec<&'static Setting>, ConfigError> {
        let _guard = self.change.lock();
        let old = self.current();
        let named = name_settings(pairs, &old, caller)?;
        let mut new = Settings::clone(&old);
        for (setting, name, value) in &named {
            set_one(setting, value, &mut new).map_err(|reason| ConfigError::refused(name, reason))?;
        }
        new.settle();
        let changed: Vec<_> = named
            .iter()
            .map(|(setting, ..)| *setting)
            .filter(|setting| setting.flags.reread || setting.show(&old) != setting.show(&new))
            .collect();
        // Also when its name is the same: the directory of that name may be another by now.
        if named.iter().any(|(setting, ..)| setting.name == "dir") {
            new.dir.enter().map_err(|reason| ConfigError::refused("dir", reason))?;
        }
        if let Err(refused) = react(&old, &new, &changed) {
            if new.dir != old.dir {
                // We were there a moment ago; if it's gone now, there's nothing better to do.
                let _ = old.dir.enter();
            }
            return Err(refused);
        }
        self.current.store(Arc::new(new));
        Ok(changed)
    }

    /// Changes settings from inside: `REPLICAOF`, or a limit that the system imposes.
    pub fn update(&self, change: impl FnOnce(&mut Settings)) {
        let _guard = self.change.lock();
        let mut new = Settings::clone(&self.current());
        change(&mut new);
        self.current.store(Arc::new(new));
    }

    /// `CONFIG REWRITE`: writes the settings to the file they came from, in its order and with its comments.
    ///
    /// Each of `others` gives the lines of a directive that isn't a setting, such as `user`; those that
    /// aren't given stay as they are.
    pub fn rewrite(&self, others: &[(&str, Vec<Vec<u8>>)]) -> Result<(), ConfigError> {
        self.rewrite_how(others, How { sentinel: self.sentinel, all: false })
    }

    /// As [`rewrite`](Self::rewrite), with the settings that are at their defaults too.
    pub fn rewrite_all(&self, others: &[(&str, Vec<Vec<u8>>)]) -> Result<(), ConfigError> {
        self.rewrite_how(others, How { sentinel: self.sentinel, all: true })
    }

    fn rewrite_how(&self, others: &[(&str, Vec<Vec<u8>>)], how: How) -> Result<(), ConfigError> {
        let _guard = self.change.lock();
        let file = self.file.as_deref().ok_or(ConfigError::NoFile)?;
        let mut settings = Settings::clone(&self.current());
        if let Some((own, configured)) = &*self.moved.lock()
            && settings.dir == *own
        {
            settings.dir = configured.clone();
        }
        let failed = |error| ConfigError::Rewrite(os_text(&error));
        let old = match std::fs::read(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(failed)?,
        };
        let new = rewrite::rewritten(&old, &settings, others, how);
        rewrite::replace(file, &new).map_err(failed)
    }
}

/// The settings, as one thread sees them.
pub struct Reader(arc_swap::Cache<Arc<ArcSwap<Settings>>, Arc<Settings>>);

impl Reader {
    /// The settings at this moment.
    pub fn get(&mut self) -> &Settings {
        self.0.load()
    }
}

/// The name under which `CONFIG GET` shows a setting for a pattern, if it does.
fn matching(setting: &Setting, name: &str, pattern: &[u8]) -> Option<Vec<u8>> {
    if !pattern.iter().any(|byte| b"*?[".contains(byte)) {
        return pattern.eq_ignore_ascii_case(name.as_bytes()).then(|| pattern.to_vec());
    }
    (!setting.flags.hidden && text::glob_match(pattern, name.as_bytes())).then(|| name.into())
}

type Named<'a> = (&'static Setting, &'static str, &'a [u8]);

/// Finds the settings that the pairs name, if all may be changed now.
fn name_settings<'a>(
    pairs: &[(&[u8], &'a [u8])],
    settings: &Settings,
    caller: Caller,
) -> Result<Vec<Named<'a>>, ConfigError> {
    let mut named: Vec<Named<'a>> = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        let typed = || String::from_utf8_lossy(name).into_owned();
        let refused =
            |reason: &'static str| ConfigError::Refused { argument: typed(), reason: reason.into() };
        let Some((setting, known)) = Setting::find(name) else { return Err(ConfigError::Unknown(typed())) };
        if setting.flags.start {
            return Err(refused("can't set immutable config"));
        }
        if setting.flags.guarded && !settings.enable_protected_configs.allows(caller.local) {
            return Err(refused("can't set protected config"));
        }
        if setting.flags.idle && caller.loading {
            return Err(ConfigError::Loading);
        }
        if named.iter().any(|(earlier, ..)| std::ptr::eq(*earlier, setting)) {
            return Err(refused("duplicate parameter"));
        }
        named.push((setting, known, value));
    }
    Ok(named)
}

fn set_one(setting: &Setting, value: &[u8], settings: &mut Settings) -> Result<(), Reason> {
    let args: Vec<&[u8]> = match setting.flags.many {
        true if value.is_empty() => Vec::new(),
        true => value.split(|&byte| byte == b' ').collect(),
        false => vec![value],
    };
    (setting.field_mut)(settings).parse(&args, setting.kind, Moment::Running)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::new(Settings::default(), None, false)
    }

    fn set(config: &Config, pairs: &[(&str, &str)]) -> Result<Vec<&'static str>, String> {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let changed = config.set(&pairs, Caller::default(), |_, _, _| Ok(()));
        changed.map(|all| all.iter().map(|setting| setting.name).collect()).map_err(|error| error.to_string())
    }

    fn get(config: &Config, patterns: &[&str]) -> Vec<(String, String)> {
        let patterns: Vec<_> = patterns.iter().map(|pattern| pattern.as_bytes()).collect();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        config.get(&patterns).into_iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    #[track_caller]
    fn check(pairs: &[(&str, &str)], error: &str) {
        let config = config();
        let before = config.current();
        assert_eq!(set(&config, pairs), Err(error.into()));
        assert_eq!(*config.current(), *before, "a refused change left a trace");
    }

    #[test]
    fn all_or_nothing() {
        check(
            &[("maxmemory", "1gb"), ("hz", "x")],
            "ERR CONFIG SET failed (possibly related to argument 'hz') - argument couldn't be parsed into an integer",
        );
        check(
            &[("maxmemory", "1gb"), ("nope", "x")],
            "ERR Unknown option or number of arguments for CONFIG SET - 'nope'",
        );
        check(
            &[("hz", "11"), ("PORT", "1"), ("hz", "12")],
            "ERR CONFIG SET failed (possibly related to argument 'hz') - duplicate parameter",
        );
        check(
            &[("slave-priority", "1"), ("replica-priority", "2")],
            "ERR CONFIG SET failed (possibly related to argument 'replica-priority') - duplicate parameter",
        );
        check(
            &[("daemonize", "yes")],
            "ERR CONFIG SET failed (possibly related to argument 'daemonize') - can't set immutable config",
        );
        check(
            &[("dbfilename", "x")],
            "ERR CONFIG SET failed (possibly related to argument 'dbfilename') - can't set protected config",
        );
        check(
            &[("activedefrag", "yes")],
            "ERR CONFIG SET failed (possibly related to argument 'activedefrag') - Active defragmentation cannot be \
             enabled: it requires a server compiled with a modified Jemalloc like the one shipped by default with \
             the server source distribution",
        );
    }

    #[test]
    fn what_changed_is_told() {
        let config = config();
        let mut reader = config.reader();
        assert_eq!(reader.get().maxmemory, 0);
        let changed = set(&config, &[("maxmemory", "1gb"), ("hz", "10"), ("slave-priority", "5")]);
        assert_eq!(changed, Ok(vec!["maxmemory", "replica-priority"]));
        assert_eq!(reader.get().maxmemory, 1 << 30);
        assert_eq!(set(&config, &[("tls-cert-file", "")]), Ok(vec!["tls-cert-file"]));
        assert_eq!(set(&config, &[("save", "")]), Ok(vec!["save"]));
        assert_eq!(get(&config, &["save"]), [("save".into(), "".into())]);
        assert_eq!(set(&config, &[("hz", "9999")]), Ok(vec!["hz"]));
        assert_eq!(config.current().hz, 500);
    }

    #[test]
    fn a_reaction_can_refuse() {
        let config = config();
        let refused = config.set(&[(b"port", b"1")], Caller::default(), |old, new, changed| {
            assert_eq!((old.port, new.port, changed.len()), (6379, 1, 1));
            Err(ConfigError::refused("port", "Unable to listen on this port. Check server logs."))
        });
        assert!(refused.is_err());
        assert_eq!(config.current().port, 6379);
    }

    #[test]
    fn protected_and_idle_settings() {
        let settings = Settings {
            enable_protected_configs: super::super::ProtectedAction::Local,
            ..Settings::default()
        };
        let config = Config::new(settings, None, false);
        let set = |name: &str, caller| config.set(&[(name.as_bytes(), b"no")], caller, |_, _, _| Ok(()));
        assert!(set("dbfilename", Caller { local: false, loading: false }).is_err());
        assert!(set("dbfilename", Caller { local: true, loading: false }).is_ok());
        let loading = Caller { local: true, loading: true };
        assert_eq!(set("appendonly", loading).err(), Some(ConfigError::Loading));
    }

    #[test]
    fn patterns_and_names() {
        let config = config();
        assert_eq!(get(&config, &["MaxMemory"]), [("MaxMemory".into(), "0".into())]);
        let names =
            |patterns: &[&str]| get(&config, patterns).into_iter().map(|(n, _)| n).collect::<Vec<_>>();
        assert_eq!(names(&["hz", "h?", "*-hz"]), ["hz", "dynamic-hz"]);
        assert_eq!(names(&["lua-*", "busy-*"]), ["busy-reply-threshold", "lua-time-limit"]);
        assert!(names(&["nope"]).is_empty());
        assert!(!names(&["*"]).iter().any(|name| name == "watchdog-period"));
        assert_eq!(names(&["watchdog-period"]), ["watchdog-period"]);
    }
}
