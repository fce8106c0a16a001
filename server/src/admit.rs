//! Connections of a core from their first byte to their last: let in or turned away, served, passed on to another core, and
//! taken leave of.

use crate::accept::Accepted;
use crate::client::{Client, End, Origin};
use crate::connection::{Buffers, Carrier, Connection, Moving, Parting, Resting, Socket};
use crate::core::Arrival;
use crate::log;
use crate::logging::Level;
use crate::server::{Phase, Server};
use crate::session::Session;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// Begins to serve a connection that has been counted for this core already.
pub fn open(server: &Arc<Server>, core: usize, accepted: Accepted, buffers: &Rc<Buffers>) {
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
fn admit<S: Socket>(
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
    begin(Connection::new(stream, Session::new(server.clone(), enter()), buffers.clone()));
}

/// Serves a connection in a task of its own, until it ends or goes on elsewhere.
fn begin<S: Socket>(mut connection: Connection<S>) {
    // Captured rather than passed on: this future is what an idle connection costs.
    tokio::task::spawn_local(async move {
        match connection.serve().await {
            Parting::Moves => pass_on(connection),
            Parting::Over => {
                if S::SAYS_END {
                    // Boxed: else the future of every idle connection would have room for it.
                    drop(Box::pin(tokio::time::timeout(LAST_WORD, connection.shut_down())).await);
                }
                leave(connection.into_session());
            }
        }
    });
}

/// Gives a connection to the core that it wants to be on.
fn pass_on<S: Socket>(connection: Connection<S>) {
    let moving = match connection.rest() {
        Ok(moving) => moving,
        Err(session) => return leave(*session),
    };
    let (server, client) = (moving.server().clone(), moving.client().clone());
    let (from, to) = (client.core(), client.wanted_core());
    server.cores[to].connections.fetch_add(1, Ordering::Relaxed);
    client.set_core(to);
    server.cores[from].connections.fetch_sub(1, Ordering::Relaxed);
    server.gathering.moves.fetch_add(1, Ordering::Relaxed);
    let lost = match server.inlets.read().get(to) {
        Some(inlet) => inlet.send(Arrival::Moving(moving)).err().map(|unsent| unsent.0),
        None => Some(Arrival::Moving(moving)),
    };
    // The other core has ended, and so does this one.
    if let Some(Arrival::Moving(moving)) = lost {
        leave(moving.into_session());
    }
}

/// Goes on serving a connection that has come from another core.
pub fn go_on(moving: Box<Moving>, buffers: &Rc<Buffers>) {
    if *moving.server().phase.borrow() == Phase::Ending {
        // It may have been on its way while all others were told.
        moving.client().end(End::AfterReply);
    }
    let (stream, rest) = moving.split();
    let buffers = buffers.clone();
    let lost = match stream {
        Resting::Tcp(stream) => match tokio::net::TcpStream::from_std(stream) {
            Ok(stream) => return begin(rest.go_on(stream, buffers)),
            Err(error) => error,
        },
        Resting::Unix(stream) => match tokio::net::UnixStream::from_std(stream) {
            Ok(stream) => return begin(rest.go_on(stream, buffers)),
            Err(error) => error,
        },
        Resting::Tls(mut stream) => match stream.get_mut().0.go_on() {
            Ok(()) => return begin(rest.go_on(*stream, buffers)),
            Err(error) => error,
        },
    };
    let session = rest.into_session();
    log!(Level::Warning, "Client addr={} is lost: {lost}", session.client.address());
    leave(session);
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
    let mut session = Session::new(server.clone(), client);
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
    if let Some([certificate, ..]) = stream.get_ref().1.peer_certificates() {
        session.become_user_of(certificate);
    }
    // In a task of its own: this one has room for a handshake.
    begin(Connection::new(stream, session, buffers));
}

/// Who does not speak TLS at all is not answered in TLS either, for the answer would be taken for something else.
async fn shake_hands(
    acceptor: tokio_rustls::TlsAcceptor,
    stream: tokio::net::TcpStream,
) -> std::io::Result<tokio_rustls::server::TlsStream<Carrier>> {
    const HANDSHAKE: u8 = 22;
    let mut first = [0];
    stream.peek(&mut first).await?;
    if first != [HANDSHAKE] {
        return Err(std::io::Error::other("it does not speak TLS"));
    }
    acceptor.accept(Carrier::new(stream)).await
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
    // Nobody finds it to count it again.
    server.count_client(&session.client, 0);
    server.cores[session.client.core()].connections.fetch_sub(1, Ordering::Relaxed);
}
