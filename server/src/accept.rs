//! Listening sockets at work: connections are accepted, and each is given to the core that is to serve it.

use crate::admit::open;
use crate::connection::Buffers;
use crate::core::Arrival;
use crate::log;
use crate::logging::Level;
use crate::server::Server;
use rustix::net::{SocketFlags, acceptfrom_with};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

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

/// A connection on its way to its core.
pub enum Accepted {
    Tcp(std::net::TcpStream, SocketAddr),
    Tls(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

/// Accepts connections while this core serves, and hands each to the core that has fewest of those that do.
///
/// Not by the listeners of the runtime: they register what they accept with the event loop of this core, and it may be
/// another one that serves it.
pub async fn accept(server: Arc<Server>, core: usize, listener: Listener, buffers: Rc<Buffers>) {
    let kind = match listener {
        Listener::Tcp(_) => Some(Accepted::Tcp as fn(_, _) -> _),
        Listener::Tls(_) => Some(Accepted::Tls as fn(_, _) -> _),
        Listener::Unix(_) => None,
    };
    let mut listener = OwnedFd::from(listener);
    let mut active = server.gathering.active();
    loop {
        // Cores that serve nobody are not woken by those who come.
        if active.wait_for(|active| core < *active).await.is_err() {
            return;
        }
        let Ok(watched) = watched(listener) else { return };
        while core < *active.borrow_and_update() {
            tokio::select! {
                ready = watched.readable() => {
                    let Ok(mut ready) = ready else { return };
                    accept_one(&server, core, kind, &mut ready, &buffers).await;
                }
                _ = active.changed() => {}
            }
        }
        listener = watched.into_inner();
    }
}

/// What a socket with an address becomes.
type Kind = fn(std::net::TcpStream, SocketAddr) -> Accepted;

async fn accept_one(
    server: &Arc<Server>,
    core: usize,
    kind: Option<Kind>,
    ready: &mut AsyncFdReadyGuard<'_, OwnedFd>,
    buffers: &Rc<Buffers>,
) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    match ready.try_io(|listener| Ok(acceptfrom_with(listener, flags)?)) {
        Ok(Ok((socket, peer))) => match kind {
            Some(kind) => {
                // Without an address it is gone already.
                if let Some(peer) = peer.and_then(|peer| SocketAddr::try_from(peer).ok()) {
                    place(server, core, kind(socket.into(), peer), buffers);
                }
            }
            None => place(server, core, Accepted::Unix(socket.into()), buffers),
        },
        // Nobody listens there any more: the node ends, or other sockets are on their way here.
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::InvalidInput => std::future::pending().await,
        Ok(Err(error)) => refused(&error).await,
        // Nobody is waiting any more.
        Err(_) => {}
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
    let serving = 0..server.gathering.count();
    let target = serving.min_by_key(load).filter(|best| load(best) < own).unwrap_or(core);
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
