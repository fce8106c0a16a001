//! The listening sockets: opened at the start, and again when `port`, `tls-port` or `bind` change.
//!
//! All cores accept from the same sockets. The server keeps one handle of each, so that an address that stays in use
//! keeps its socket, with whoever is queueing there.

use crate::accept::Listener;
use crate::config::Settings;
use crate::core::Arrival;
use crate::log;
use crate::logging::Level;
use crate::server::Server;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

/// A socket that listens. `address` is none for the Unix socket.
pub struct Bound {
    address: Option<SocketAddr>,
    listener: Listener,
}

/// Everything that listens.
pub type Listeners = Vec<Bound>;

/// Handles of all of them, for one core.
pub fn handles(listeners: &[Bound]) -> io::Result<Vec<Listener>> {
    listeners.iter().map(|bound| bound.listener.try_clone()).collect()
}

/// What to say of each kind that listens.
pub fn kinds(listeners: &[Bound]) -> impl Iterator<Item = &'static str> {
    ["tcp", "tls", "unix"]
        .into_iter()
        .filter(|kind| listeners.iter().any(|bound| bound.listener.kind() == *kind))
}

/// Opens all sockets.
pub fn open(settings: &Settings) -> Result<Listeners, String> {
    let mut listeners = open_tcp(settings, &[])?;
    if let Some(path) = settings.unixsocket.set() {
        let path = path.path();
        // A socket that a dead process left behind would be in the way.
        let _ = std::fs::remove_file(path);
        let open = || {
            let listener = UnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            if settings.unixsocketperm != 0 {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(settings.unixsocketperm))?;
            }
            Ok::<_, io::Error>(listener)
        };
        let listener =
            open().map_err(|error| format!("Failed opening Unix socket {}: {error}", path.display()))?;
        listeners.push(Bound { address: None, listener: Listener::Unix(listener) });
    }
    if listeners.is_empty() {
        return Err("Configured to not listen anywhere, exiting.".to_owned());
    }
    Ok(listeners)
}

/// Opens the sockets for new settings; those of addresses that stay are taken over. On failure everything listens as
/// before.
pub fn reopen(server: &Server, old: &Settings, new: &Settings) -> Result<Listeners, String> {
    let mut current = server.listening.lock();
    let mut restored = None;
    let all: Vec<&Bound> = current.iter().collect();
    let opened = open_tcp(new, &all).or_else(|_| {
        // The old sockets may be in the way of the new ones: `*` of `127.0.0.1` on the same port.
        let stays = |bound: &&Bound| bound.address.is_none_or(|address| wants(new, bound, address));
        let (staying, leaving): (Vec<&Bound>, Vec<&Bound>) = all.iter().partition(|bound| stays(bound));
        leaving.iter().for_each(|bound| bound.close());
        open_tcp(new, &staying).inspect_err(|_| {
            // A socket that was closed once stays closed to the event loops: the old addresses get new ones.
            match open_tcp(old, &staying).and_then(|listeners| with_unix(listeners, &current)) {
                Ok(listeners) => restored = Some(listeners),
                Err(error) => log!(Level::Warning, "Cannot listen as before: {error}"),
            }
        })
    });
    if let Some(listeners) = restored {
        hand_out(server, &listeners);
        *current = listeners;
    }
    with_unix(opened?, &current)
}

/// The TCP sockets, and a handle of the Unix socket that there was.
fn with_unix(mut listeners: Listeners, current: &[Bound]) -> Result<Listeners, String> {
    for bound in current.iter().filter(|bound| bound.address.is_none()) {
        let listener = bound.listener.try_clone().map_err(|error| error.to_string())?;
        listeners.push(Bound { address: None, listener });
    }
    Ok(listeners)
}

/// Lets all cores accept from these sockets, and only from these.
pub fn replace(server: &Server, listeners: Listeners) {
    hand_out(server, &listeners);
    *server.listening.lock() = listeners;
}

/// Nobody is let in any more: the node ends.
pub fn close_all(server: &Server) {
    server.listening.lock().iter().for_each(Bound::close);
}

/// Gives every core its own handles of these sockets, in place of those it has.
fn hand_out(server: &Server, listeners: &[Bound]) {
    for inlet in server.inlets.read().iter() {
        match handles(listeners) {
            // A core that is gone accepts nothing any more.
            Ok(own) => drop(inlet.send(Arrival::Listen(own))),
            Err(error) => log!(Level::Warning, "Cannot share the listening sockets between cores: {error}"),
        }
    }
}

/// Lets connections that come from now on have the settings of today.
pub fn tune_all(server: &Server) {
    let settings = server.settings();
    for bound in server.listening.lock().iter() {
        if let Listener::Tcp(listener) | Listener::Tls(listener) = &bound.listener {
            tune(SockRef::from(listener), &settings);
        }
    }
}

/// What every connection is to have, set once for the socket that accepts them: they inherit it, and five calls of the
/// system for each are saved.
fn tune(socket: SockRef<'_>, settings: &Settings) {
    let idle = settings.tcp_keepalive;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(u64::from(idle)))
        .with_interval(Duration::from_secs(u64::from((idle / 3).max(1))))
        .with_retries(3);
    let tuned = if idle > 0 { socket.set_tcp_keepalive(&keepalive) } else { socket.set_keepalive(false) };
    // Failing to tune a socket is no reason to refuse its clients.
    let _ = tuned.and_then(|()| socket.set_tcp_nodelay(true));
}

/// Removes the file of the Unix socket.
pub fn remove_socket(settings: &Settings) {
    if let Some(path) = settings.unixsocket.set() {
        let _ = std::fs::remove_file(path.path());
    }
}

fn open_tcp(settings: &Settings, current: &[&Bound]) -> Result<Listeners, String> {
    let mut listeners = Vec::new();
    open_port(settings, current, settings.port, Listener::Tcp, &mut listeners)?;
    open_port(settings, current, settings.tls_port, Listener::Tls, &mut listeners)?;
    Ok(listeners)
}

/// Opens a port on all addresses, unless it is 0.
fn open_port(
    settings: &Settings,
    current: &[&Bound],
    port: u16,
    kind: fn(std::net::TcpListener) -> Listener,
    listeners: &mut Listeners,
) -> Result<(), String> {
    if port == 0 {
        return Ok(());
    }
    for (name, optional) in settings.bind.addresses() {
        let name = String::from_utf8_lossy(name);
        let opened = resolve(&name, port).and_then(|address| {
            let known = current.iter().find(|bound| bound.address == Some(address));
            let listener = match known {
                Some(bound) => kind(bound.listener.try_clone_tcp()?),
                None => kind(listen(address, settings)?),
            };
            Ok(Bound { address: Some(address), listener })
        });
        match opened {
            Ok(bound) => listeners.push(bound),
            Err(error) if optional => {
                log!(Level::Notice, "Not listening on the optional address {name}: {error}");
            }
            Err(error) => {
                log!(
                    Level::Warning,
                    "Warning: Could not create server TCP listening socket {name}:{port}: {error}"
                );
                return Err(format!("Failed listening on port {port} (tcp), aborting."));
            }
        }
    }
    Ok(())
}

fn wants(settings: &Settings, bound: &Bound, address: SocketAddr) -> bool {
    let port = if bound.listener.kind() == "tls" { settings.tls_port } else { settings.port };
    let mut names = settings.bind.addresses().map(|(name, _)| String::from_utf8_lossy(name));
    names.any(|name| resolve(&name, port).is_ok_and(|wanted| wanted == address))
}

fn resolve(name: &str, port: u16) -> io::Result<SocketAddr> {
    let ip: IpAddr = match name {
        "*" => Ipv4Addr::UNSPECIFIED.into(),
        "::*" => Ipv6Addr::UNSPECIFIED.into(),
        other => match other.parse() {
            Ok(ip) => ip,
            Err(_) => {
                let mut found = (other, port).to_socket_addrs()?;
                found.next().map(|address| address.ip()).ok_or(io::ErrorKind::AddrNotAvailable)?
            }
        },
    };
    Ok(SocketAddr::new(ip, port))
}

fn listen(address: SocketAddr, settings: &Settings) -> io::Result<std::net::TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    tune(SockRef::from(&socket), settings);
    socket.listen(backlog_of(settings.tcp_backlog))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn backlog_of(setting: u32) -> i32 {
    i32::try_from(setting).unwrap_or(i32::MAX)
}

impl Bound {
    /// Stops listening, whoever else has a handle: the address may be taken.
    fn close(&self) {
        if let Listener::Tcp(listener) | Listener::Tls(listener) = &self.listener {
            let _ = SockRef::from(listener).shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn connections_inherit_what_their_listener_was_given() {
        let mut settings = Settings { tcp_keepalive: 120, ..Settings::default() };
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into(), &settings).unwrap();
        listener.set_nonblocking(false).unwrap();
        let accepted = || {
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            listener.accept().unwrap().0
        };
        let first = accepted();
        let socket = SockRef::from(&first);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(120));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(40));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        settings.tcp_keepalive = 0;
        tune(SockRef::from(&listener), &settings);
        assert!(!SockRef::from(&accepted()).keepalive().unwrap());
    }
}
