//! The log, in the format of Redis:
//!
//! ```text
//! 4242:M 20 Nov 2026 12:30:10.920 * Ready to accept connections
//! pid  role  local time           level: . debug, - verbose, * notice, # warning
//! ```
//!
//! It goes to standard output or to a file, and to the system log if asked. The file is opened for every
//! message, as Redis does, so that it can be rotated by renaming it. A message below the level costs one
//! atomic load: [`log!`] doesn't format it. Once the node serves, a thread of its own writes (`writer`).

mod writer;

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use writer::Writer;

use crate::config::{LogFormat, LogTimestampFormat, Loglevel, Settings, SyslogFacility};

/// How important a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    Debug,
    Verbose,
    Notice,
    Warning,
}

/// What the process is, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    Primary = b'M',
    Replica = b'S',
    /// Before the server is up, or in a background process.
    Child = b'C',
}

/// The level from which messages are written; 4 is none. Redis logs notices until it has read its settings.
static THRESHOLD: AtomicU8 = AtomicU8::new(Level::Notice as u8);
static ROLE: AtomicU8 = AtomicU8::new(Role::Child as u8);
/// None before there are settings: standard output.
static TARGET: Mutex<Option<Arc<Target>>> = Mutex::new(None);
static WRITER: Writer = Writer::new();

/// Logs a message: `log!(Level::Notice, "Listening on {port}")`.
#[macro_export]
macro_rules! log {
    ($level:expr, $($arg:tt)+) => {
        if $crate::logging::enabled($level) {
            $crate::logging::write($level, format_args!($($arg)+));
        }
    };
}

/// Whether messages of this level are written.
#[inline]
pub fn enabled(level: Level) -> bool {
    level as u8 >= THRESHOLD.load(Ordering::Relaxed)
}

/// Takes over what the settings say about the log: at the start, and whenever `loglevel`, `log-format` or
/// `log-timestamp-format` change.
pub fn configure(settings: &Settings) {
    let threshold = match settings.loglevel {
        Loglevel::Debug => Level::Debug as u8,
        Loglevel::Verbose => Level::Verbose as u8,
        Loglevel::Notice => Level::Notice as u8,
        Loglevel::Warning => Level::Warning as u8,
        Loglevel::Nothing => Level::Warning as u8 + 1,
    };
    let syslog = settings.syslog_enabled.then(|| {
        Mutex::new(Syslog::new(settings.syslog_ident.lossy().into_owned(), settings.syslog_facility))
    });
    *TARGET.lock() = Some(Arc::new(Target {
        file: settings.logfile.set().map(|file| file.path().to_path_buf()),
        format: settings.log_format,
        timestamp: settings.log_timestamp_format,
        syslog,
    }));
    THRESHOLD.store(threshold, Ordering::Relaxed);
}

/// Sets the letter for what the process is.
pub fn set_role(role: Role) {
    ROLE.store(role as u8, Ordering::Relaxed);
}

/// Writes a message, whatever its level. Called by [`log!`].
///
/// A log that can't be written is not an error: there is nowhere to report it.
pub fn write(level: Level, message: fmt::Arguments<'_>) {
    let (role, now) = (ROLE.load(Ordering::Relaxed), jiff::Zoned::now());
    let target = TARGET.lock().get_or_insert_with(|| Arc::new(Target::stdout())).clone();
    WRITER.write(target, Entry { level, role, now, message: message.to_string() });
}

/// From now on nobody waits for the log for more than a moment: a thread writes it. Called before anybody is served, and when the
/// process has gone to the background, if it does.
pub fn write_by_thread() {
    WRITER.start();
}

/// Waits until all messages are written: the process is about to end. A log that stands still does not keep it from that.
pub fn finish() {
    WRITER.finish(Duration::from_secs(5));
}

#[derive(Clone)]
struct Entry {
    level: Level,
    role: u8,
    now: jiff::Zoned,
    message: String,
}

struct Target {
    file: Option<PathBuf>,
    format: LogFormat,
    timestamp: LogTimestampFormat,
    syslog: Option<Mutex<Syslog>>,
}

impl Target {
    const fn stdout() -> Self {
        Self { file: None, format: LogFormat::Legacy, timestamp: LogTimestampFormat::Legacy, syslog: None }
    }

    fn write(&self, entry: &Entry) {
        self.append(entry.line(self.format, self.timestamp).as_bytes());
        if let Some(syslog) = &self.syslog {
            syslog.lock().send(entry);
        }
    }

    fn append(&self, text: &[u8]) {
        // See `write` above for why errors are dropped.
        let _ = match &self.file {
            None => io::stdout().write_all(text).and_then(|()| io::stdout().flush()),
            Some(path) => OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .and_then(|mut file| file.write_all(text)),
        };
    }
}

impl Entry {
    fn line(&self, format: LogFormat, timestamp: LogTimestampFormat) -> String {
        let (pid, time) = (std::process::id(), self.time(timestamp));
        match format {
            LogFormat::Legacy => {
                let level = [".", "-", "*", "#"][self.level as usize % 4];
                format!("{pid}:{} {time} {level} {}\n", char::from(self.role), self.message)
            }
            LogFormat::Logfmt => {
                let level = ["debug", "info", "notice", "warning"][self.level as usize % 4];
                let message = printable(&self.message);
                let role = match self.role {
                    b'X' => "sentinel",
                    b'C' => "RDB/AOF",
                    b'S' => "replica",
                    _ => "primary",
                };
                format!("pid={pid} role={role} timestamp=\"{time}\" level={level} message=\"{message}\"\n")
            }
        }
    }

    fn time(&self, format: LogTimestampFormat) -> String {
        let now = &self.now;
        match format {
            LogTimestampFormat::Legacy => now.strftime("%d %b %Y %H:%M:%S%.3f").to_string(),
            LogTimestampFormat::Iso8601 => now.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string(),
            LogTimestampFormat::Milliseconds => now.timestamp().as_millisecond().to_string(),
        }
    }
}

/// A message that can stand in quotes on one line.
fn printable(message: &str) -> String {
    let replace = |c: char| match c {
        '"' => '\'',
        c if c.is_control() => ' ',
        c => c,
    };
    message.chars().map(replace).collect()
}

/// The system log, spoken to as `syslog(3)` does: one datagram per message.
struct Syslog {
    socket: Option<UnixDatagram>,
    ident: String,
    facility: u8,
}

impl Syslog {
    const SOCKET: &str = "/dev/log";

    fn new(ident: String, facility: SyslogFacility) -> Self {
        let facility = match facility {
            SyslogFacility::User => 1,
            SyslogFacility::Local0 => 16,
            SyslogFacility::Local1 => 17,
            SyslogFacility::Local2 => 18,
            SyslogFacility::Local3 => 19,
            SyslogFacility::Local4 => 20,
            SyslogFacility::Local5 => 21,
            SyslogFacility::Local6 => 22,
            SyslogFacility::Local7 => 23,
        };
        Self { socket: None, ident, facility }
    }

    fn send(&mut self, entry: &Entry) {
        let message = self.message(entry);
        if self.socket.is_none() {
            self.socket = connect(Self::SOCKET).ok();
        }
        // A restarted daemon has a new socket: the next message connects to that one.
        if self.socket.as_ref().is_some_and(|socket| socket.send(message.as_bytes()).is_err()) {
            self.socket = None;
        }
    }

    fn message(&self, entry: &Entry) -> String {
        let severity = [7, 6, 5, 4][entry.level as usize % 4];
        let mut out = String::new();
        // Writing to a string can't fail.
        let _ = write!(
            out,
            "<{}>{} {}[{}]: {}",
            self.facility << 3 | severity,
            entry.now.strftime("%b %e %H:%M:%S"),
            self.ident,
            std::process::id(),
            entry.message
        );
        out
    }
}

/// A socket that never blocks: a full system log loses messages rather than stop the server.
fn connect(path: &str) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(OsStr::from_bytes(path.as_bytes()))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(message: &str) -> Entry {
        let now = "2026-11-20T12:30:10.0205+01:00[Europe/Paris]".parse::<jiff::Zoned>();
        let now = now.unwrap_or_else(|_| "2026-11-20T12:30:10.0205+01:00[+01:00]".parse().unwrap());
        Entry { level: Level::Warning, role: b'M', now, message: message.to_owned() }
    }

    #[track_caller]
    fn check(format: LogFormat, time: LogTimestampFormat, expected: &str) {
        let line = entry("it's \"so\"\n").line(format, time);
        assert_eq!(line.replacen(&std::process::id().to_string(), "PID", 1), expected);
    }

    #[test]
    fn formats() {
        check(
            LogFormat::Legacy,
            LogTimestampFormat::Legacy,
            "PID:M 20 Nov 2026 12:30:10.020 # it's \"so\"\n\n",
        );
        check(
            LogFormat::Logfmt,
            LogTimestampFormat::Iso8601,
            "pid=PID role=primary timestamp=\"2026-11-20T12:30:10.020+01:00\" level=warning message=\"it's 'so' \"\n",
        );
        check(LogFormat::Legacy, LogTimestampFormat::Milliseconds, "PID:M 1795174210020 # it's \"so\"\n\n");
    }

    #[test]
    fn syslog_messages() {
        let syslog = Syslog::new("redis".into(), SyslogFacility::Local0);
        let expected = format!("<132>Nov 20 12:30:10 redis[{}]: x", std::process::id());
        assert_eq!(syslog.message(&entry("x")), expected);
    }

    /// The log is global: one test sees to all of its switches.
    #[test]
    fn level_and_file_follow_the_settings() {
        let path = std::env::temp_dir().join(format!("baton-log-{}.log", std::process::id()));
        let mut settings = Settings {
            logfile: crate::config::Text::new(path.as_os_str().as_bytes()),
            loglevel: Loglevel::Warning,
            ..Settings::default()
        };
        configure(&settings);
        set_role(Role::Primary);
        crate::log!(Level::Notice, "not this");
        crate::log!(Level::Warning, "but {}", "this");
        settings.loglevel = Loglevel::Nothing;
        configure(&settings);
        crate::log!(Level::Warning, "nor this");
        finish();
        configure(&Settings::default());
        set_role(Role::Child);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let (head, tail) = text.split_once(' ').unwrap();
        assert_eq!(head, format!("{}:M", std::process::id()));
        assert!(tail.ends_with(" # but this\n") && tail.lines().count() == 1, "{text}");
    }
}
