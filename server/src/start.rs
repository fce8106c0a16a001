//! From the command line to a serving node, and to what is done when it has ended.

use crate::acl::{self, Acl, Ground};
use crate::check;
use crate::cli::{self, Invocation, Serve};
use crate::config::{self, Config, Loaded, Settings};
use crate::core;
use crate::daemon::{self, Origin, PidFile, Supervisor};
use crate::end::Askers;
use crate::figures::{CoreFigures, Counters};
use crate::gather::Gathering;
use crate::log;
use crate::logging::{self, Level, Role};
use crate::persistence::{Rewrites, Snapshots, Told};
use crate::replica::{self, Replica};
use crate::replication::Serving;
use crate::server::{EndRequest, Phase, Server};
use crate::{commands, listen, memory, memtest, persistence, syscheck, tls};
use baton::persist::load::Progress;
use baton::registry::Registry;
use baton::replication::random_id;
use baton::storage::RealStorage;
use baton::{Node, NodeOptions};
use parking_lot::{Mutex, RwLock};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use tokio::sync::{Notify, mpsc, watch};

/// The process, from its arguments to its exit code.
pub fn main() -> ExitCode {
    let origin = Origin::capture();
    let args: Vec<_> = std::env::args_os().collect();
    match cli::parse(&args) {
        Invocation::Version => {
            println!("{}", cli::version("jemalloc"));
            ExitCode::SUCCESS
        }
        Invocation::Help => {
            eprint!("{}", cli::HELP);
            ExitCode::FAILURE
        }
        Invocation::Wrong(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
        Invocation::CheckSystem => {
            if syscheck::check_system() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Invocation::Check(request) => {
            if check::run(&request) {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Invocation::TestMemory(megabytes) => test_memory(megabytes),
        Invocation::Serve(serve) => match run(&origin, serve) {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => {
                eprintln!("{message}");
                ExitCode::FAILURE
            }
        },
    }
}

fn test_memory(megabytes: usize) -> ExitCode {
    match memtest::test(megabytes, memtest::PASSES, |pass| println!("Pass {pass}")) {
        Ok(()) => {
            println!("{}", memtest::PASSED);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(origin: &Origin, serve: Serve) -> Result<(), String> {
    if serve.sentinel {
        return Err("This build does not serve as a Sentinel: start it without --sentinel.".to_owned());
    }
    let stdin =
        if serve.stdin { Some(daemon::read_stdin().map_err(|e| format!("stdin: {e}"))?) } else { None };
    let sources = config::Sources {
        file: serve.file.clone(),
        stdin: stdin.clone(),
        options: serve.options,
        sentinel: serve.sentinel,
    };
    let loaded = config::load(&sources).map_err(|error| error.to_string())?;
    let supervisor = Supervisor::find(loaded.settings.supervised);
    logging::configure(&loaded.settings);
    let daemonize = loaded.settings.daemonize && !supervisor.is_some();
    if daemonize {
        if !origin.in_background() {
            return origin.start_in_background(stdin.as_deref()).map_err(|e| format!("daemonize: {e}"));
        }
        daemon::settle_in_background().map_err(|e| format!("daemonize: {e}"))?;
    }
    for warning in &loaded.warnings {
        log!(Level::Warning, "{warning}");
    }
    greet(&loaded, serve.file.is_none());
    let pid_file = PidFile::create(&loaded.settings, daemonize);
    let result = serve_until_the_end(loaded, serve.file, serve.restore_to, &Host::Process(supervisor));
    drop(pid_file);
    if let Err(message) = &result {
        log!(Level::Warning, "{message}");
    }
    logging::finish();
    result
}

fn greet(loaded: &Loaded, no_file: bool) {
    logging::set_role(Role::Primary);
    log!(Level::Notice, "oO0OoO0OoO0Oo Baton is starting oO0OoO0OoO0Oo");
    log!(
        Level::Notice,
        "Baton version={}, Redis compatible version={}, bits=64, commit={}, modified=0, pid={}, just started",
        env!("CARGO_PKG_VERSION"),
        config::REDIS_VERSION,
        cli::git_sha(),
        std::process::id()
    );
    if no_file {
        log!(
            Level::Notice,
            "Configuration: no file given, the defaults are used; name one as the first argument"
        );
    } else {
        log!(Level::Notice, "Configuration loaded");
    }
    log!(Level::Notice, "Running mode=standalone, port={}.", loaded.settings.port);
    // Test suites read the pid from this line.
    log!(Level::Notice, "PID: {}", std::process::id());
    syscheck::warn_at_start(&loaded.settings);
    if !loaded.settings.huge_pages && !syscheck::disable_huge_pages() {
        log!(Level::Warning, "WARNING: The system does not let this process do without huge pages.");
    }
}

/// Whose process it is.
pub enum Host {
    /// Our own.
    Process(Supervisor),
    /// That of another program, which is told when clients are served, and takes signals itself.
    Program(std::sync::mpsc::Sender<Arc<Server>>),
}

impl Host {
    fn ready(&self, server: &Arc<Server>) {
        match self {
            Self::Process(supervisor) => supervisor.ready(),
            // A program that does not wait for it does not want to know.
            Self::Program(ready) => drop(ready.send(server.clone())),
        }
    }

    fn stopping(&self) {
        if let Self::Process(supervisor) = self {
            supervisor.notify("STOPPING=1");
        }
    }
}

/// Serves until somebody asks for the end.
pub fn serve_until_the_end(
    mut loaded: Loaded,
    file: Option<std::path::PathBuf>,
    restore_to: Option<i64>,
    host: &Host,
) -> Result<(), String> {
    let maxclients = daemon::adjust_open_files(loaded.settings.maxclients).map_err(|e| e.to_string())?;
    loaded.settings.maxclients = maxclients;
    let mut registry = commands::registry();
    for rename in loaded.renames {
        rename_command(&mut registry, rename).map_err(|error| error.to_string())?;
    }
    let prepared = prepare_tls(&loaded.settings)?;
    let listeners = listen::open(&loaded.settings)?;
    let cores = core_count(&loaded.settings);
    let (end_requests, ends) = mpsc::unbounded_channel();
    let server = make_server(loaded.settings, file, registry, cores, end_requests);
    acl::clients::load_at_start(&server, loaded.users)?;
    replica::prepare(&server);
    if let Some(prepared) = prepared {
        server.tls.adopt(prepared);
    }
    // Before anybody can ask for the end: SHUTDOWN is served while data are loaded.
    let mut askers = Askers::new(&server, ends, matches!(host, Host::Process(_)))?;
    logging::write_by_thread();
    let mut threads = Vec::new();
    let (inlets, outlets): (Vec<_>, Vec<_>) = (0..cores).map(|_| mpsc::unbounded_channel()).unzip();
    *server.inlets.write() = inlets;
    let handles: std::io::Result<Vec<_>> = (0..cores).map(|_| listen::handles(&listeners)).collect();
    let handles =
        handles.map_err(|error| format!("Cannot share the listening sockets between cores: {error}"))?;
    // Before anybody can be served, who could change them.
    let kinds: Vec<&str> = listen::kinds(&listeners).collect();
    *server.listening.lock() = listeners;
    let mut failed = None;
    for ((core, outlet), own) in outlets.into_iter().enumerate().zip(handles) {
        let server = server.clone();
        let started = std::thread::Builder::new().name(format!("core-{core}")).spawn(move || {
            // While a few serve for all, each goes wherever a processor is free.
            if !server.settings().gather_connections {
                pin(core, cores);
            }
            core::run(server, core, own, outlet);
        });
        match started {
            Ok(thread) => threads.push(thread),
            Err(error) => failed = Some(format!("Cannot start the thread of core {core}: {error}")),
        }
    }
    log!(Level::Notice, "Server initialized");
    let own = server.clone();
    let loaded = match failed.take() {
        None => askers.load(&server, move || open_or_restore(&own, restore_to)),
        Some(message) => Err(message),
    };
    let result = match loaded {
        Ok(true) => {
            for kind in kinds {
                log!(Level::Notice, "Ready to accept connections {kind}");
            }
            host.ready(&server);
            askers.wait(&server)
        }
        Ok(false) => Ok(()),
        Err(message) => {
            // Nothing was served: nothing has to be ended in good order.
            server.shut_down();
            listen::remove_socket(&server.settings());
            return Err(message);
        }
    };
    server.replica.stop();
    server.shut_down();
    persistence::call_off(&server, "the node ends");
    for thread in threads {
        if thread.join().is_err() {
            failed = Some("A core ended by a panic".to_owned());
        }
    }
    if server.node.journal().has_file() {
        log!(Level::Notice, "Calling fsync() on the AOF file.");
        if let Err(why) = server.node.journal().write_and_sync() {
            log!(Level::Warning, "The end of the append only file could not be written: {why}");
        }
    }
    server.listening.lock().clear();
    listen::remove_socket(&server.settings());
    host.stopping();
    log!(Level::Warning, "Baton is now ready to exit, bye bye...");
    failed.map_or(result, Err)
}

/// What TLS needs, if the settings want it anywhere.
fn prepare_tls(settings: &Settings) -> Result<Option<tls::Prepared>, String> {
    if !tls::is_wanted(settings) {
        return Ok(None);
    }
    tls::warn(settings);
    let prepared = tls::prepare(settings).map_err(|error| format!("Failed to configure TLS: {error}"))?;
    Ok(Some(prepared))
}

fn open_or_restore(server: &Arc<Server>, restore_to: Option<i64>) -> Result<(), String> {
    match restore_to {
        Some(second) => persistence::restore_to(server, second),
        None => persistence::open_all(server),
    }
}

fn rename_command(
    registry: &mut Registry,
    rename: config::Directive,
) -> Result<(), config::FatalConfigError> {
    let [from, to] = &rename.args[..] else {
        return Err(rename.origin.error("wrong number of arguments"));
    };
    let (from, to) = (String::from_utf8_lossy(from), String::from_utf8_lossy(to));
    registry.rename(&from, &to).map_err(|why| rename.origin.error(why))
}

fn make_server(
    settings: Settings,
    file: Option<std::path::PathBuf>,
    registry: Registry,
    cores: usize,
    end_requests: mpsc::UnboundedSender<EndRequest>,
) -> Arc<Server> {
    let seeds: [u64; 5] = std::array::from_fn(|_| random_u64());
    let handlers = commands::handlers(&registry);
    let options = NodeOptions {
        cores,
        settings: commands::engine_settings(&settings),
        hash_seed: [seeds[0], seeds[1], seeds[2], seeds[3]],
        seed: seeds[4],
        replication_id: random_id(),
        registry,
        used_memory: memory::used_near,
        storage: Arc::new(RealStorage),
    };
    let node = Node::new(options);
    // What new users may use is of no interest here: the default user may use everything.
    let acl = Acl::new(Ground { registry: &node.registry, all_channels: true });
    let started_ms = node.now_ms();
    let gathering = Gathering::new(cores, settings.gather_connections);
    node.has_one_thread.store(gathering.count() == 1, Ordering::Relaxed);
    let server = Arc::new(Server {
        config: Config::new(settings, file, false),
        acl,
        handlers,
        clients: RwLock::default(),
        cores: (0..cores).map(|_| CoreFigures::default()).collect(),
        gathering,
        inlets: RwLock::default(),
        next_client: AtomicU64::new(1),
        connections_total: AtomicU64::new(0),
        connections_rejected: AtomicU64::new(0),
        monitors: AtomicUsize::new(0),
        pause: Mutex::default(),
        is_paused: AtomicBool::new(false),
        blocked: AtomicUsize::new(0),
        phase: watch::Sender::new(Phase::Serving),
        end_requests,
        run_id: random_id().to_string(),
        startup_memory: AtomicU64::new(memory::used()),
        started_ms,
        peak_memory: AtomicU64::new(0),
        replica: Replica::default(),
        rewrites: Rewrites::default(),
        snapshots: Snapshots::new(started_ms / 1_000),
        replicas: Serving::default(),
        tls: tls::Tls::default(),
        listening: Mutex::default(),
        counters: Counters::default(),
        rates: Mutex::default(),
        packed_threshold: AtomicUsize::new(0),
        client_bytes: AtomicI64::new(0),
        client_bytes_max: AtomicU64::new(0),
        saving: (0..cores).map(|_| Notify::new()).collect(),
        is_ending: AtomicBool::new(false),
        is_loading: AtomicBool::new(true),
        loads: watch::Sender::new(0),
        load: Progress::default(),
        told: Told::default(),
        asleep: Mutex::default(),
        is_asleep: AtomicBool::new(false),
        cron_paused: AtomicBool::new(false),
        active_expire: AtomicBool::new(true),
        node,
    });
    let own = Arc::downgrade(&server);
    server.node.snapshots.driven_by(move || {
        if let Some(server) = own.upgrade() {
            server.saving.iter().for_each(|core| core.notify_one());
        }
    });
    commands::apply_settings(&server);
    if let Err(error) = daemon::apply_oom_score(&server.settings()) {
        log!(Level::Warning, "Unable to write oom_score_adj: {error}");
    }
    server
}

/// Randomness of the operating system, through the seeds that the standard library draws from it.
fn random_u64() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u128(std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos()));
    hasher.finish()
}

/// `cores`, or as many as the process may use.
fn core_count(settings: &Settings) -> usize {
    match settings.cores {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        cores => cores,
    }
}

/// Pins the thread of a core to a processor, when the cores leave processors to others. On a machine that they fill, a
/// pinned thread waits out the time slice of whoever is on its processor, though another may be idle.
fn pin(core: usize, cores: usize) {
    let Some(processors) = core_affinity::get_core_ids() else { return };
    if processors.len() > cores
        && let Some(processor) = processors.get(core)
    {
        core_affinity::set_for_current(*processor);
    }
}
