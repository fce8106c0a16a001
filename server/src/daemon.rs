//! Being a daemon: going into the background, the pid file, supervisors, and the limit of open files.
//!
//! Going into the background doesn't fork: a second process is started from the same executable with the
//! same arguments, and the first one leaves. So there is no moment at which half a process is copied, and
//! no need for unsafe code; the second process reads its configuration again.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::{OomScoreAdj, Settings, Supervised};
use crate::log;
use crate::logging::Level;

/// Tells the second process that it is the one in the background; its value is the pid of the first.
const BACKGROUND: &str = "BATON_BACKGROUND";

/// What of this process must be known before the configuration is read, since `dir` changes it.
#[derive(Debug)]
pub struct Origin {
    executable: io::Result<PathBuf>,
    args: Vec<OsString>,
    dir: io::Result<PathBuf>,
}

impl Origin {
    /// Call this first thing in `main`.
    pub fn capture() -> Self {
        Self {
            executable: std::env::current_exe(),
            args: std::env::args_os().collect(),
            dir: std::env::current_dir(),
        }
    }

    /// Whether this process is the one in the background already.
    pub fn in_background(&self) -> bool {
        std::env::var_os(BACKGROUND).is_some()
    }

    /// Starts this program again in the background. The caller then exits with 0.
    ///
    /// `stdin` is the configuration that came from standard input, for the second process to read again.
    pub fn start_in_background(&self, stdin: Option<&[u8]>) -> io::Result<()> {
        let copied = |error: &io::Error| io::Error::new(error.kind(), error.to_string());
        let mut command = Command::new(self.executable.as_ref().map_err(copied)?);
        command
            .current_dir(self.dir.as_ref().map_err(copied)?)
            .env(BACKGROUND, std::process::id().to_string())
            .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some((name, args)) = self.args.split_first() {
            command.arg0(name).args(args);
        }
        let mut child = command.spawn()?;
        match (child.stdin.take(), stdin) {
            (Some(mut pipe), Some(text)) => pipe.write_all(text),
            _ => Ok(()),
        }
    }
}

/// In the second process, before any thread exists and after the configuration is read: leaves the session
/// of whoever started us, and lets go of standard input.
pub fn settle_in_background() -> io::Result<()> {
    nix::unistd::setsid()?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    Ok(())
}

const DEFAULT_PID_FILE: &str = "/var/run/redis.pid";

/// The pid file; it's removed when this is dropped, if it still names us.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file if we are in the background or `pidfile` is set. A failure is only logged, as it
    /// doesn't keep anyone from being served.
    pub fn create(settings: &Settings, in_background: bool) -> Option<Self> {
        let path = match settings.pidfile.set() {
            Some(path) => path.path().to_path_buf(),
            None if in_background => DEFAULT_PID_FILE.into(),
            None => return None,
        };
        // `dir` may change later: the file to remove is the one that we write now.
        let path = std::path::absolute(&path).unwrap_or(path);
        match fs::write(&path, format!("{}\n", std::process::id())) {
            Ok(()) => Some(Self(path)),
            Err(error) => {
                log!(Level::Warning, "Failed to write PID file: {error}");
                None
            }
        }
    }

    /// Where it is.
    #[cfg(test)]
    fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let ours = std::process::id().to_string();
        if fs::read_to_string(&self.0).is_ok_and(|text| text.trim() == ours) {
            // Someone may have removed it at this moment, which is as good.
            let _ = fs::remove_file(&self.0);
        }
    }
}

/// Who supervises us, and how to talk to them.
#[derive(Debug)]
pub enum Supervisor {
    None,
    Upstart,
    Systemd(UnixDatagram),
}

impl Supervisor {
    /// Finds the supervisor that the settings ask for. Upstart is told at once by stopping ourselves, which
    /// is how it learns that we're ready; systemd hears from [`Supervisor::notify`].
    pub fn find(mode: Supervised) -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let mode = match mode {
            Supervised::Auto if set("UPSTART_JOB").is_some() => Supervised::Upstart,
            Supervised::Auto if set("NOTIFY_SOCKET").is_some() => Supervised::Systemd,
            mode => mode,
        };
        match mode {
            Supervised::Upstart if set("UPSTART_JOB").is_some() => {
                log!(Level::Notice, "supervised by upstart, will stop to signal readiness.");
                if let Err(error) = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP) {
                    log!(Level::Warning, "can't signal readiness to upstart: {error}");
                }
                Self::Upstart
            }
            Supervised::Upstart => {
                log!(Level::Warning, "upstart supervision requested, but UPSTART_JOB not found!");
                Self::None
            }
            Supervised::Systemd => match set("NOTIFY_SOCKET").map(|path| connect(&path)) {
                Some(Ok(socket)) => {
                    let supervisor = Self::Systemd(socket);
                    log!(
                        Level::Notice,
                        "Supervised by systemd. Please make sure you set appropriate values for TimeoutStartSec \
                         and TimeoutStopSec in your service unit."
                    );
                    supervisor.notify("STATUS=Redis is loading...\n");
                    supervisor
                }
                Some(Err(error)) => {
                    log!(Level::Warning, "systemd supervision error: can't use NOTIFY_SOCKET: {error}");
                    Self::None
                }
                None => {
                    log!(Level::Warning, "systemd supervision requested, but NOTIFY_SOCKET not found!");
                    Self::None
                }
            },
            Supervised::Auto | Supervised::No => Self::None,
        }
    }

    /// Whether anyone supervises us; then we stay in the foreground.
    pub fn is_some(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Tells systemd something, such as `READY=1`, `STATUS=...` or `STOPPING=1`.
    pub fn notify(&self, state: &str) {
        if let Self::Systemd(socket) = self
            && let Err(error) = socket.send(state.as_bytes())
        {
            log!(Level::Warning, "systemd supervision error: sd_notify: {error}");
        }
    }

    /// Tells that clients can connect.
    pub fn ready(&self) {
        self.notify("STATUS=Ready to accept connections\nREADY=1\n");
    }
}

/// A leading `@` is a name without a file.
fn connect(path: &OsString) -> io::Result<UnixDatagram> {
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

/// Files that the server needs beside its clients' connections.
const RESERVED_FILES: u64 = 32;

/// Not even one client could be served.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Your current 'ulimit -n' of {limit} is not enough for the server to start. Please increase your open file \
     limit to at least {needed}. Exiting."
)]
pub struct TooFewFiles {
    limit: u64,
    needed: u64,
}

/// Raises the limit of open files so that `maxclients` can be served. Returns how many can be, which is less
/// if the system doesn't allow more.
pub fn adjust_open_files(maxclients: u32) -> Result<u32, TooFewFiles> {
    let needed = u64::from(maxclients) + RESERVED_FILES;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        log!(
            Level::Warning,
            "Unable to obtain the current NOFILE limit, assuming 1024 and setting the max clients configuration \
             accordingly."
        );
        return Ok(maxclients.min(1024 - RESERVED_FILES as u32));
    };
    if soft >= needed {
        return Ok(maxclients);
    }
    let raised = setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed));
    let Err(error) = raised else {
        log!(
            Level::Notice,
            "Increased maximum number of open files to {needed} (it was originally set to {soft})."
        );
        return Ok(maxclients);
    };
    // Without the right to raise the hard limit, it is all that we can have.
    let best = hard.min(needed);
    let limit = if setrlimit(Resource::RLIMIT_NOFILE, best, hard).is_ok() { best.max(soft) } else { soft };
    if limit >= needed {
        return Ok(maxclients);
    }
    let left = limit.saturating_sub(RESERVED_FILES);
    let Some(possible) = u32::try_from(left).ok().filter(|&clients| clients > 0) else {
        return Err(TooFewFiles { limit, needed });
    };
    log!(
        Level::Warning,
        "You requested maxclients of {maxclients} requiring at least {needed} max file descriptors."
    );
    log!(
        Level::Warning,
        "Server can't set maximum open files to {needed} because of OS error: {}.",
        error.desc()
    );
    log!(
        Level::Warning,
        "Current maximum open files is {limit}. maxclients has been reduced to {possible} to compensate for low \
         ulimit. If you need higher maxclients increase 'ulimit -n'."
    );
    Ok(possible)
}

/// Reads all of standard input, for `baton -`.
pub fn read_stdin() -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    io::stdin().lock().read_to_end(&mut text)?;
    Ok(text)
}

/// Does what `oom-score-adj` asks for, for a primary.
pub fn apply_oom_score(settings: &Settings) -> io::Result<()> {
    static AT_START: OnceLock<Option<i64>> = OnceLock::new();
    let at_start = *AT_START.get_or_init(oom_score);
    let score = settings.oom_score_adj_values.0[0];
    match settings.oom_score_adj {
        OomScoreAdj::No if oom_score() == at_start => Ok(()),
        OomScoreAdj::No => set_oom_score(0, at_start),
        OomScoreAdj::Relative => set_oom_score(score, at_start),
        OomScoreAdj::Absolute => set_oom_score(score, None),
    }
}

/// Tells the kernel's OOM killer how readily to end this process: `score` as it is, or added to the score
/// that the process was started with.
pub fn set_oom_score(score: i64, relative_to: Option<i64>) -> io::Result<()> {
    let score = score.saturating_add(relative_to.unwrap_or(0)).clamp(-1000, 1000);
    File::create("/proc/self/oom_score_adj")?.write_all(score.to_string().as_bytes())
}

/// The score that the process was started with.
pub fn oom_score() -> Option<i64> {
    fs::read_to_string("/proc/self/oom_score_adj").ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Text;

    #[test]
    fn the_pid_file_lives_as_long_as_its_owner() {
        let path = std::env::temp_dir().join(format!("baton-pid-{}", std::process::id()));
        let settings = Settings { pidfile: Text::new(path.as_os_str().as_bytes()), ..Settings::default() };
        let file = PidFile::create(&settings, false).unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), format!("{}\n", std::process::id()));
        drop(file);
        assert!(!path.exists());
        assert!(PidFile::create(&Settings::default(), false).is_none());

        let file = PidFile::create(&settings, false).unwrap();
        fs::write(file.path(), "1\n").unwrap();
        drop(file);
        assert!(path.exists(), "another process's file was removed");
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn systemd_is_notified_by_either_kind_of_socket() {
        let path = std::env::temp_dir().join(format!("baton-notify-{}", std::process::id()));
        let name = format!("@baton-notify-{}", std::process::id());
        let file = UnixDatagram::bind(&path).unwrap();
        let address = SocketAddr::from_abstract_name(&name.as_bytes()[1..]).unwrap();
        let hidden = UnixDatagram::bind_addr(&address).unwrap();
        for (path, listener) in [(path.clone().into_os_string(), file), (OsString::from(name), hidden)] {
            Supervisor::Systemd(connect(&path).unwrap()).ready();
            let mut buffer = [0; 100];
            let length = listener.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"STATUS=Ready to accept connections\nREADY=1\n");
        }
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn few_clients_need_no_change() {
        assert_eq!(adjust_open_files(1), Ok(1));
    }
}
