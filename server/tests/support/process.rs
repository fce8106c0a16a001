//! Servers under test: each a process of its own, on a free port of 127.0.0.1, in a temporary directory.
//!
//! **Invariant:** a `Server` that is dropped, also by a failing test, takes its process with it: SIGTERM
//! first, SIGKILL after [`DROP_TIMEOUT`], by process id, and reaped.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;

use super::client::{Client, Reply};

const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// A primary waits for replicas when it ends: at the end of a test that is not waited for.
const DROP_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);
/// A free port can be taken by somebody else between finding and using it.
const START_ATTEMPTS: usize = 5;
const LOG_TAIL_LINES: usize = 40;

/// A running server.
pub struct Server {
    program: PathBuf,
    settings: Vec<(String, String)>,
    child: Child,
    port: u16,
    directory: TempDir,
}

impl Server {
    /// Starts the `baton` binary of this build.
    #[track_caller]
    pub fn baton(settings: &[(&str, &str)]) -> Server {
        Server::start(Path::new(env!("CARGO_BIN_EXE_baton")), settings)
    }

    /// Starts the real `redis-server` found on the path.
    #[track_caller]
    pub fn redis(settings: &[(&str, &str)]) -> Server {
        Server::start(&on_path("redis-server"), settings)
    }

    /// Starts `baton` so that it gets an error rather than a signal when a file reaches [`limit_files`](Self::limit_files). It is
    /// started by what is in the folder.
    #[track_caller]
    pub fn limited(settings: &[(&str, &str)]) -> (Server, TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("baton-with-a-limit");
        let text = format!("#!/bin/sh\ntrap '' XFSZ\nexec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_baton"));
        fs::write(&script, text).expect("a script");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("a script that can be run");
        (Server::start(&script, settings), folder)
    }

    /// No file of the server may become longer from now on: to it the disk is full.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Fsize, limit).expect("the limit is set");
    }

    /// Starts `program` and waits until it answers PING.
    ///
    /// # Panics
    /// With the server's log when it exits or stays silent.
    #[track_caller]
    pub fn start(program: &Path, settings: &[(&str, &str)]) -> Server {
        let settings: Vec<_> =
            settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        for attempt in 1.. {
            let directory = tempfile::Builder::new().prefix("baton-test-").tempdir();
            let directory = directory.unwrap_or_else(|error| panic!("a temporary directory: {error}"));
            let port = free_port();
            let child = launch(program, port, directory.path(), &settings);
            let mut server =
                Server { program: program.to_owned(), settings: settings.clone(), child, port, directory };
            // LOADING is an error reply: then it is not ready yet.
            match server.wait_until(|reply| *reply == Reply::simple("PONG")) {
                Ok(()) => return server,
                Err(why) if attempt == START_ATTEMPTS || !server.port_was_taken() => {
                    panic!("{} {why}; its log ends:\n{}", program.display(), server.log_tail())
                }
                Err(_) => {}
            }
        }
        unreachable!("the last attempt returned or panicked")
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where the server keeps its files, and `server.log`.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A new RESP2 connection.
    #[track_caller]
    pub fn client(&mut self) -> Client {
        match Client::connect(self.address()) {
            Ok(client) => client,
            Err(error) => panic!("connecting: {error}; {}", self.describe()),
        }
    }

    /// A new connection that speaks RESP `version` (2 or 3).
    #[track_caller]
    pub fn client_speaking(&mut self, version: u8) -> Client {
        let mut client = self.client();
        if version != 2 {
            let reply = client.call(&["HELLO".to_string(), version.to_string()]);
            assert!(!reply.is_error(), "HELLO {version}: {reply:?}");
        }
        client
    }

    /// The exit status, once the process has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Whether the process lives, and the last lines it wrote: for panic messages.
    pub fn describe(&mut self) -> String {
        let state = match self.exited() {
            Some(status) => format!("ended with {status}"),
            None => "is running".into(),
        };
        format!("{} (pid {}) {state}; its log ends:\n{}", self.program.display(), self.pid(), self.log_tail())
    }

    /// # Panics
    /// With the log when the process has ended.
    #[track_caller]
    pub fn assert_alive(&mut self) {
        assert!(self.exited().is_none(), "{}", self.describe());
    }

    pub fn log(&self) -> String {
        fs::read(log_path(self.directory.path()))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Waits until the log says this: a thread writes it, and what it writes may be a moment behind.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            assert!(start.elapsed() < Duration::from_secs(30), "{text} is not in:\n{}", self.log_tail());
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// What the next restart starts on the same directory.
    pub fn become_baton(&mut self, settings: &[(&str, &str)]) {
        self.becomes(Path::new(env!("CARGO_BIN_EXE_baton")), settings);
    }

    /// What the next restart starts on the same directory.
    #[track_caller]
    pub fn become_redis(&mut self, settings: &[(&str, &str)]) {
        self.becomes(&on_path("redis-server"), settings);
    }

    fn becomes(&mut self, program: &Path, settings: &[(&str, &str)]) {
        self.program = program.to_owned();
        self.settings = settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    }

    /// Asks the process to end (SIGTERM) and waits for it.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(&mut self, which: Signal) {
        if self.exited().is_none() {
            signal(&self.child, which);
        }
    }

    /// Waits for the end that somebody has asked for.
    ///
    /// # Panics
    /// When it does not come in time.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        self.wait_for_exit(STOP_TIMEOUT).unwrap_or_else(|| panic!("does not end: {}", self.describe()))
    }

    /// Ends the process without warning (SIGKILL), as a power cut would.
    pub fn kill(&mut self) {
        if self.exited().is_none() {
            // An error means that it ended by itself in the meantime, which is as good.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// Changes a setting for the next [`restart`](Self::restart).
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(other, _)| other != name);
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Leaves a setting out from the next [`restart`](Self::restart) on.
    pub fn unset(&mut self, name: &str) {
        self.settings.retain(|(other, _)| other != name);
    }

    /// Starts the ended process again with the same settings and directory, on a new port.
    #[track_caller]
    pub fn restart(&mut self) {
        self.restart_until(|reply| *reply == Reply::simple("PONG"));
    }

    /// As [`restart`](Self::restart), but returns while data are being loaded, which the settings should make slow.
    #[track_caller]
    pub fn restart_into_loading(&mut self) {
        self.restart_until(|reply| matches!(reply, Reply::Error(text) if text.starts_with(b"LOADING")));
    }

    #[track_caller]
    fn restart_until(&mut self, is_it: fn(&Reply) -> bool) {
        assert!(self.exited().is_some(), "restart of a server that runs: terminate or kill it first");
        for attempt in 1..=START_ATTEMPTS {
            self.port = free_port();
            self.child = launch(&self.program, self.port, self.directory.path(), &self.settings);
            match self.wait_until(is_it) {
                Ok(()) => return,
                Err(why) if attempt == START_ATTEMPTS || !self.port_was_taken() => {
                    panic!("{} {why}; its log ends:\n{}", self.program.display(), self.log_tail())
                }
                Err(_) => {}
            }
        }
    }

    /// Waits until this is the answer to PING.
    fn wait_until(&mut self, is_it: fn(&Reply) -> bool) -> Result<(), String> {
        let start = Instant::now();
        while start.elapsed() < START_TIMEOUT {
            if let Some(status) = self.exited() {
                return Err(format!("ended with {status} before it answered"));
            }
            if self.ping().is_ok_and(|reply| is_it(&reply)) {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        self.kill();
        Err(format!("did not answer PING within {START_TIMEOUT:?}"))
    }

    fn ping(&self) -> io::Result<Reply> {
        let mut client = Client::connect(self.address())?;
        client.set_read_timeout(Duration::from_secs(1))?;
        client.try_call(&["PING"])
    }

    fn port_was_taken(&self) -> bool {
        self.log().contains("Address already in use")
    }

    fn wait_for_exit(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            match self.exited() {
                Some(status) => return Some(status),
                None if start.elapsed() > timeout => return None,
                None => thread::sleep(POLL),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(status) = self.exited() {
            if thread::panicking() && !status.success() {
                eprintln!("{}", self.describe());
            }
            return;
        }
        signal(&self.child, Signal::TERM);
        if self.wait_for_exit(DROP_TIMEOUT).is_none() {
            self.kill();
        }
    }
}

/// The full path of a program on `PATH`.
#[track_caller]
pub fn on_path(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{program} is not on the PATH: install it to run this test"))
}

fn free_port() -> u16 {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    address.unwrap_or_else(|error| panic!("no free port: {error}")).port()
}

fn launch(program: &Path, port: u16, directory: &Path, settings: &[(String, String)]) -> Child {
    let log = File::options().create(true).append(true).open(log_path(directory));
    let log = log.unwrap_or_else(|error| panic!("the log of the server: {error}"));
    let errors = log.try_clone().unwrap_or_else(|error| panic!("the log of the server: {error}"));
    let mut command = Command::new(program);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"]).arg(directory);
    for (name, value) in settings {
        command.arg(format!("--{name}")).arg(value);
    }
    // SORT compares by the locale: without this two machines disagree.
    command.env("LC_ALL", "C").current_dir(directory);
    command.stdin(Stdio::null()).stdout(log).stderr(errors);
    command.spawn().unwrap_or_else(|error| panic!("starting {}: {error}", program.display()))
}

fn log_path(directory: &Path) -> PathBuf {
    directory.join("server.log")
}

/// Only for a child not yet reaped: later its id may be somebody else's. An error means that it ended.
fn signal(child: &Child, signal: Signal) {
    let _ = kill_process(Pid::from_child(child), signal);
}
