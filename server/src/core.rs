//! A core: a thread with its own event loop, its share of the listeners, its connections and its chores.

use crate::client::{Client, End, Origin};
use crate::connection::{Buffers, Connection, Socket};
use crate::flusher::Flusher;
use crate::log;
use crate::logging::Level;
use crate::memory;
use crate::persistence;
use crate::replication;
use crate::server::{Phase, Server};
use crate::session::Session;
use baton::snapshot::Next;
use rustix::net::{SocketFlags, acceptfrom_with};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::runtime::LocalOptions;
use tokio::sync::mpsc;

/// What listens.
pub enum Listener {
    Tcp(std::net::TcpListener),
    /// Whoever connects speaks TLS.
    Tls(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl Listener {
    /// Another handle of the same socket: all cores accept from one queue.
    pub fn try_clone(&self) -> std::io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
            Self::Tls(listener) => Self::Tls(listener.try_clone()?),
            Self::Unix(listener) => Self::Unix(listener.try_clone()?),
        })
    }

    /// Another handle of the socket of a port, whichever protocol is spoken there.
    pub fn try_clone_tcp(&self) -> std::io::Result<std::net::TcpListener> {
        match self {
            Self::Tcp(listener) | Self::Tls(listener) => listener.try_clone(),
            Self::Unix(_) => Err(std::io::ErrorKind::AddrInUse.into()),
        }
    }

    /// What log lines call it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Tls(_) => "tls",
            Self::Unix(_) => "unix",
        }
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> Self {
        match listener {
            Listener::Tcp(listener) | Listener::Tls(listener) => listener.into(),
            Listener::Unix(listener) => listener.into(),
        }
    }
}

/// What comes to a core from elsewhere.
pub enum Arrival {
    /// A connection, counted for the core already.
    Connection(Accepted),
    /// Accept from these from now on, and from nothing else.
    Listen(Vec<Listener>),
}

/// A connection on its way to its core.
pub enum Accepted {
    Tcp(std::net::TcpStream, SocketAddr),
    Tls(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

/// Entries that one step of the active expiry looks at.
const EXPIRE_BUDGET: usize = 20_000;
/// What the active expiry may take of a core per second at effort 1.
const EXPIRE_SHARE: f64 = 0.25;

/// Runs a core until the node ends.
pub fn run(
    server: Arc<Server>,
    core: usize,
    listeners: Vec<Listener>,
    inlet: mpsc::UnboundedReceiver<Arrival>,
) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            log!(Level::Warning, "Core {core} cannot start its event loop: {error}");
            return server.shut_down();
        }
    };
    runtime.block_on(serve(server, core, listeners, inlet));
}

async fn serve(
    server: Arc<Server>,
    core: usize,
    listeners: Vec<Listener>,
    mut inlet: mpsc::UnboundedReceiver<Arrival>,
) {
    let mut phase = server.phase.subscribe();
    // The end may have begun before this core did.
    phase.mark_changed();
    let flusher = Rc::new(Flusher::new(server.node.clone(), core));
    let buffers = Rc::new(Buffers::new(flusher.clone()));
    let flushing = tokio::task::spawn_local({
        let flusher = flusher.clone();
        async move { flusher.run().await }
    });
    let accept_all = |listeners: Vec<Listener>| -> Vec<_> {
        let start =
            |listener| tokio::task::spawn_local(accept(server.clone(), core, listener, buffers.clone()));
        listeners.into_iter().map(start).collect()
    };
    let mut accepting = accept_all(listeners);
    let chores = tokio::task::spawn_local(chores(server.clone(), core, flusher));
    let saving = tokio::task::spawn_local(save_along(server.clone(), core));
    let building = tokio::task::spawn_local(build_along(server.clone(), core));
    loop {
        tokio::select! {
            changed = phase.changed() => {
                if changed.is_err() || *phase.borrow() == Phase::Ending {
                    break;
                }
            }
            arrival = inlet.recv() => match arrival {
                None => break,
                Some(Arrival::Connection(accepted)) => open(&server, core, accepted, &buffers),
                Some(Arrival::Listen(listeners)) => {
                    accepting.iter().for_each(|task| task.abort());
                    accepting = accept_all(listeners);
                }
            },
        }
    }
    accepting.iter().for_each(|task| task.abort());
    chores.abort();
    saving.abort();
    building.abort();
    for client in server.all_clients().iter().filter(|client| client.core == core) {
        client.end(End::AfterReply);
    }
    // What has been answered leaves; who does not take it in time is cut off.
    let deadline = Instant::now() + Duration::from_secs(1);
    while server.cores[core].connections.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    flushing.abort();
}

/// Accepts connections and hands each to the core that has fewest.
///
/// Not by the listeners of the runtime: they register what they accept with the event loop of this core, and it may be
/// another one that serves it.
async fn accept(server: Arc<Server>, core: usize, listener: Listener, buffers: Rc<Buffers>) {
    let kind = match listener {
        Listener::Tcp(_) => Some(Accepted::Tcp as fn(_, _) -> _),
        Listener::Tls(_) => Some(Accepted::Tls as fn(_, _) -> _),
        Listener::Unix(_) => None,
    };
    let Ok(listener) = watched(listener.into()) else { return };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    loop {
        let Ok(mut ready) = listener.readable().await else { return };
        let accepted = ready.try_io(|listener| Ok(acceptfrom_with(listener, flags)?));
        match accepted {
            Ok(Ok((socket, peer))) => match kind {
                Some(kind) => {
                    // Without an address it is gone already.
                    if let Some(peer) = peer.and_then(|peer| SocketAddr::try_from(peer).ok()) {
                        place(&server, core, kind(socket.into(), peer), &buffers);
                    }
                }
                None => place(&server, core, Accepted::Unix(socket.into()), &buffers),
            },
            Ok(Err(error)) => refused(&error).await,
            // Nobody is waiting any more.
            Err(_) => {}
        }
    }
}

/// A listening socket whose readiness can be waited for.
#[expect(
    deprecated,
    reason = "its successor is `unsafe` for types whose descriptor can change: this one's cannot"
)]
fn watched(listener: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(listener, Interest::READABLE)
}

/// Too many open files and the like: wait, or the loop would spin.
async fn refused(error: &std::io::Error) {
    log!(Level::Warning, "Accepting client connection: {error}");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

fn place(server: &Arc<Server>, core: usize, accepted: Accepted, buffers: &Rc<Buffers>) {
    let load = |core: &usize| server.cores[*core].connections.load(Ordering::Relaxed);
    // The own core wins a tie: no hop.
    let own = load(&core);
    let target = (0..server.cores.len()).min_by_key(load).filter(|best| load(best) < own).unwrap_or(core);
    server.cores[target].connections.fetch_add(1, Ordering::Relaxed);
    if target == core {
        return open(server, core, accepted, buffers);
    }
    let sent = server
        .inlets
        .read()
        .get(target)
        .is_some_and(|inlet| inlet.send(Arrival::Connection(accepted)).is_ok());
    if !sent {
        server.cores[target].connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Begins to serve a connection that has been counted for this core already.
fn open(server: &Arc<Server>, core: usize, accepted: Accepted, buffers: &Rc<Buffers>) {
    let begun = match accepted {
        Accepted::Tcp(stream, peer) => {
            let local = stream.local_addr().ok();
            let fd = stream.as_raw_fd();
            tokio::net::TcpStream::from_std(stream).map(|stream| {
                admit(server, core, stream, Some(peer.ip()), buffers, || {
                    enter(server, Origin::Tcp(peer, local), fd, core)
                });
            })
        }
        Accepted::Tls(stream, peer) => {
            let origin = Origin::Tcp(peer, stream.local_addr().ok());
            let fd = stream.as_raw_fd();
            tokio::net::TcpStream::from_std(stream).and_then(|stream| {
                let client = admit_tls(server, peer.ip(), || enter(server, origin, fd, core))?;
                tokio::task::spawn_local(serve_tls(
                    server.clone(),
                    stream,
                    peer.ip(),
                    client,
                    buffers.clone(),
                ));
                Ok(())
            })
        }
        Accepted::Unix(stream) => {
            let fd = stream.as_raw_fd();
            tokio::net::UnixStream::from_std(stream).map(|stream| {
                admit(server, core, stream, None, buffers, || {
                    let path = server.settings().unixsocket.lossy().to_string();
                    enter(server, Origin::Unix(path), fd, core)
                });
            })
        }
    };
    if begun.is_err() {
        server.cores[core].connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves a connection in a task of its own, or turns it away.
fn admit<S: Socket + 'static>(
    server: &Arc<Server>,
    core: usize,
    mut stream: S,
    peer: Option<IpAddr>,
    buffers: &Rc<Buffers>,
    enter: impl FnOnce() -> Arc<Client>,
) {
    if let Some(line) = refusal(server, peer) {
        let server = server.clone();
        tokio::task::spawn_local(async move {
            drop(stream.write_all(line.as_bytes()).await);
            server.cores[core].connections.fetch_sub(1, Ordering::Relaxed);
        });
        return;
    }
    let mut connection = Connection::new(stream, Session::new(server.clone(), enter()), buffers.clone());
    // Captured rather than passed on: this future is what an idle connection costs.
    tokio::task::spawn_local(async move {
        connection.serve().await;
        leave(connection.into_session());
    });
}

/// How long a client may take for the handshake of TLS.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Counts a connection as a client before its handshake: who never finishes one takes the place of a client too. Nobody can be
/// told anything before it, so that whoever finds no place is turned away without a word.
fn admit_tls(
    server: &Server,
    peer: IpAddr,
    enter: impl FnOnce() -> Arc<Client>,
) -> std::io::Result<Arc<Client>> {
    match refusal(server, Some(peer)) {
        Some(FULL) => Err(std::io::ErrorKind::ConnectionRefused.into()),
        _ => Ok(enter()),
    }
}

/// Serves a connection that begins with the handshake of TLS.
async fn serve_tls(
    server: Arc<Server>,
    stream: tokio::net::TcpStream,
    peer: IpAddr,
    client: Arc<Client>,
    buffers: Rc<Buffers>,
) {
    let session = Session::new(server.clone(), client);
    let handshake = async {
        let acceptor = server.tls.acceptor().ok_or(std::io::ErrorKind::NotConnected)?;
        tokio::time::timeout(HANDSHAKE_MAX, shake_hands(acceptor, stream)).await?
    };
    // Boxed: else the future of every idle connection would have room for it.
    let mut stream = match Box::pin(handshake).await {
        Ok(stream) => stream,
        Err(error) => {
            let address = session.client.address();
            log!(Level::Verbose, "Error accepting a client connection: {error} (addr={address})");
            return leave(session);
        }
    };
    if let Some(line) = refusal_of_stranger(&server, Some(peer)) {
        // A last word: whether it arrives is no longer of interest.
        let last = async {
            stream.write_all(line.as_bytes()).await?;
            stream.shutdown().await
        };
        drop(tokio::time::timeout(LAST_WORD, last).await);
        return leave(session);
    }
    let mut connection = Connection::new(stream, session, buffers);
    connection.serve().await;
    drop(tokio::time::timeout(LAST_WORD, connection.shut_down()).await);
    leave(connection.into_session());
}

/// Who does not speak TLS at all is not answered in TLS either, for the answer would be taken for something else.
async fn shake_hands(
    acceptor: tokio_rustls::TlsAcceptor,
    stream: tokio::net::TcpStream,
) -> std::io::Result<tokio_rustls::server::TlsStream<tokio::net::TcpStream>> {
    const HANDSHAKE: u8 = 22;
    let mut first = [0];
    stream.peek(&mut first).await?;
    if first != [HANDSHAKE] {
        return Err(std::io::Error::other("it does not speak TLS"));
    }
    acceptor.accept(stream).await
}

/// How long the end of TLS may take to be said.
const LAST_WORD: Duration = Duration::from_secs(1);

/// The line with which a connection is turned away, if it is.
fn refusal(server: &Server, peer: Option<IpAddr>) -> Option<&'static str> {
    let settings = server.settings();
    if server.clients.read().len() >= settings.maxclients as usize {
        server.connections_rejected.fetch_add(1, Ordering::Relaxed);
        return Some(FULL);
    }
    refusal_of_stranger(server, peer)
}

/// `protected-mode`: the line for those who come from outside, if they may not.
fn refusal_of_stranger(server: &Server, peer: Option<IpAddr>) -> Option<&'static str> {
    let settings = server.settings();
    let is_local = match peer {
        None => true,
        Some(IpAddr::V4(ip)) => ip.is_loopback(),
        Some(IpAddr::V6(ip)) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    };
    if settings.protected_mode && server.acl.default_user().rules().is_nopass() && !is_local {
        server.connections_rejected.fetch_add(1, Ordering::Relaxed);
        return Some(PROTECTED);
    }
    None
}

/// What whoever comes last reads.
const FULL: &str = "-ERR max number of clients reached\r\n";

/// What a stranger reads while `protected-mode` is on and no password is set. Tools look for its beginning.
const PROTECTED: &str = "-DENIED Redis is running in protected mode because protected mode is enabled and no password is \
    set for the default user. In this mode connections are only accepted from the loopback interface. To let other \
    computers connect, do one of these: 1) on the host itself, run 'CONFIG SET protected-mode no', and make sure that \
    the port is closed to the internet; 2) set 'protected-mode no' in the configuration file and restart; 3) for a \
    quick test start the server with '--protected-mode no'; 4) set a password for the default user. One of these is \
    enough for connections from outside to be accepted.\r\n";

fn enter(server: &Server, origin: Origin, fd: i32, core: usize) -> Arc<Client> {
    let id = server.next_client.fetch_add(1, Ordering::Relaxed);
    let now_ms = server.node.now_ms();
    let client = Arc::new(Client::new(id, origin, fd, core, now_ms, server.acl.default_user().clone()));
    server.connections_total.fetch_add(1, Ordering::Relaxed);
    server.clients.write().insert(id, client.clone());
    client
}

/// Takes leave of a client: nothing of it stays behind.
fn leave(mut session: Session) {
    session.forget_transaction();
    session.unsubscribe_all();
    let server = session.server.clone();
    session.leave_monitors();
    // From here on it is gone, for those too who were to be told in its place.
    session.client.end(End::Now);
    session.stop_tracking(None);
    server.clients.write().remove(&session.client.id);
    server.cores[session.client.core].connections.fetch_sub(1, Ordering::Relaxed);
}

/// How long a core that has clients to serve leaves a snapshot alone between two steps. Without it the thread would
/// never sleep, and the system would give its processor to others for milliseconds, clients or not.
const SAVING_PAUSE: Duration = Duration::from_millis(1);

/// Takes part in snapshots: a little between one turn of the event loop and the next.
async fn save_along(server: Arc<Server>, core: usize) {
    let commands = &server.cores[core].commands;
    loop {
        server.saving[core].notified().await;
        let mut seen = commands.load(Ordering::Relaxed);
        loop {
            match server.node.snapshot_step(core) {
                Next::Step => {
                    let now = commands.load(Ordering::Relaxed);
                    if now == seen {
                        tokio::task::yield_now().await;
                    } else {
                        seen = now;
                        tokio::time::sleep(SAVING_PAUSE).await;
                    }
                }
                Next::Pause(time) => tokio::time::sleep(time).await,
                Next::Rest => break,
            }
        }
    }
}

/// Builds the slots that are still in a file, a few between one turn of the event loop and the next.
async fn build_along(server: Arc<Server>, core: usize) {
    let mut loads = server.loads.subscribe();
    loads.mark_changed();
    while loads.changed().await.is_ok() {
        while server.node.build_step(core) {
            tokio::task::yield_now().await;
        }
    }
}

/// What a core does besides serving: expiry, idle clients, limits, figures.
async fn chores(server: Arc<Server>, core: usize, flusher: Rc<Flusher>) {
    for turn in 0_u64.. {
        let hz = server.settings().hz.clamp(1, 500);
        tokio::time::sleep(Duration::from_millis(u64::from(1_000 / hz))).await;
        if core == 0 {
            persistence::tell_progress(&server);
        }
        if server.cron_paused.load(Ordering::Relaxed) || server.is_loading.load(Ordering::Relaxed) {
            continue;
        }
        let start = Instant::now();
        expire(&server, core, hz).await;
        close_idle(&server, core);
        close_slow_readers(&server, core);
        // Half of the time is for clients.
        while server.node.evict_step(core) && start.elapsed().as_millis() < u128::from(500 / hz) {
            tokio::task::yield_now().await;
        }
        while server.node.forget_step(core) && start.elapsed().as_millis() < u128::from(500 / hz) {
            tokio::task::yield_now().await;
        }
        // What expired and was evicted; and whatever somebody left who writes no log.
        flusher.kick();
        if core == 0 {
            server.peak_memory.fetch_max(server.node.used_memory(), Ordering::Relaxed);
            server.current_pause();
            server.sample_rates();
            server.evict_clients_thoroughly();
            if turn.is_multiple_of(u64::from(hz)) {
                memory::give_back();
            }
            persistence::chores(&server);
            replication::chores(&server);
        }
        let (figures, us) = (&server.cores[core], start.elapsed().as_micros() as u64);
        figures.chores.fetch_add(1, Ordering::Relaxed);
        figures.chores_us.fetch_add(us, Ordering::Relaxed);
        figures.chores_us_max.fetch_max(us, Ordering::Relaxed);
    }
}

/// Active expiry in small steps, so that no request waits long behind it.
async fn expire(server: &Arc<Server>, core: usize, hz: u32) {
    if !server.active_expire.load(Ordering::Relaxed) {
        return;
    }
    let effort = f64::from(server.node.settings().active_expire_effort.max(1));
    let share = (EXPIRE_SHARE + 0.02 * (effort - 1.0)) / f64::from(hz);
    let deadline = Instant::now() + Duration::from_secs_f64(share);
    let mut longest = Duration::ZERO;
    loop {
        let step = Instant::now();
        let more = server.node.expire_step(core, EXPIRE_BUDGET);
        let now = Instant::now();
        longest = longest.max(now - step);
        if !more || now >= deadline {
            break;
        }
        tokio::task::yield_now().await;
    }
    let now_s = server.node.now_ms() / 1_000;
    server.node.latency.note("expire-cycle", longest.as_millis() as u64, now_s);
}

/// `timeout`: closes clients that have been silent for too long.
fn close_idle(server: &Server, core: usize) {
    let timeout = i64::from(server.settings().timeout);
    if timeout == 0 {
        return;
    }
    let now_ms = server.node.now_ms();
    for client in server.clients.read().values().filter(|client| client.core == core) {
        let silent = now_ms - client.last_ms.load(Ordering::Relaxed) > timeout * 1_000;
        let excused = client.is_blocked.load(Ordering::Relaxed)
            || client.subscriptions() > 0
            || client.is_monitor.load(Ordering::Relaxed)
            || client.is_replica.load(Ordering::Relaxed);
        if silent && !excused {
            log!(Level::Verbose, "Closing idle client id={} addr={}", client.id, client.address());
            client.end(End::Now);
        }
    }
}

/// `client-output-buffer-limit`: closes clients that have been over the soft limit for too long, though nothing happens.
fn close_slow_readers(server: &Server, core: usize) {
    let (settings, now_ms) = (server.settings(), server.node.now_ms());
    for client in server.clients.read().values().filter(|client| client.core == core) {
        let since = client.over_soft_since.load(Ordering::Relaxed);
        let limit = client.output_limit(&settings);
        if since > 0 && now_ms - since >= limit.soft_seconds * 1_000 && client.ending() == End::No {
            server.counters.output_limit_closed.fetch_add(1, Ordering::Relaxed);
            log!(
                Level::Warning,
                "Client id={} addr={} closed for overcoming of output buffer limits.",
                client.id,
                client.address()
            );
            client.end(End::Now);
        }
    }
}
