//! Connections to other servers: replication, the cluster bus, MIGRATE. Plain or by TLS, blocking or on an event loop.

use super::Tls;
use crate::server::Server;
use baton::replication::connect::{Closer, Connection, Connector, tcp};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};

/// Reaches primaries, by TLS while `tls-replication` says so.
pub struct Primaries(pub Weak<Server>);

impl Connector for Primaries {
    fn connect(&self, host: &str, port: u16, timeout: Duration) -> io::Result<Box<dyn Connection>> {
        let server = self.0.upgrade().ok_or(io::ErrorKind::NotConnected)?;
        let (settings, deadline) = (server.settings(), Instant::now() + timeout);
        let stream = reach(&settings.bind_source_addr.lossy(), host, port, timeout)?;
        if settings.tls_replication {
            Ok(Box::new(Secured::dial(&server.tls, host, stream, deadline)?))
        } else {
            Ok(Box::new(stream))
        }
    }
}

/// A connection that comes from this address, if one is named (`bind-source-addr`) and can be had: that a primary hears from
/// its replica matters more than from where.
fn reach(source: &str, host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    if !source.is_empty() {
        let sources: Vec<SocketAddr> = (source, 0).to_socket_addrs().into_iter().flatten().collect();
        for address in (host, port).to_socket_addrs()? {
            let source = sources.iter().find(|source| source.is_ipv4() == address.is_ipv4());
            if let Some(stream) = source.and_then(|source| reach_from(*source, address, timeout).ok()) {
                return Ok(stream);
            }
        }
    }
    tcp(host, port, timeout)
}

fn reach_from(source: SocketAddr, address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&source.into())?;
    socket.connect_timeout(&address.into(), timeout)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

/// A connection by TLS, for a thread that may wait.
struct Secured(StreamOwned<ClientConnection, TcpStream>);

impl Secured {
    /// The handshake has to be done by then.
    fn dial(tls: &Tls, host: &str, mut stream: TcpStream, deadline: Instant) -> io::Result<Self> {
        let mut session = ClientConnection::new(config(tls)?, name(host)?).map_err(io::Error::other)?;
        while session.is_handshaking() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_timeout(left)?;
            session.complete_io(&mut stream)?;
        }
        Ok(Self(StreamOwned::new(session, stream)))
    }
}

impl Connection for Secured {
    fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.0.sock.set_timeout(timeout)
    }

    fn closer(&self) -> io::Result<Closer> {
        self.0.sock.closer()
    }
}

impl Read for Secured {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Secured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A connection on an event loop.
pub trait AsyncLink: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> AsyncLink for S {}

/// Dials from an event loop. Whoever calls sets the time.
pub async fn dial(tls: Option<&Tls>, host: &str, port: u16) -> io::Result<Box<dyn AsyncLink>> {
    let stream = tokio::net::TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let connector = tokio_rustls::TlsConnector::from(config(tls)?);
    Ok(Box::new(connector.connect(name(host)?, stream).await?))
}

fn config(tls: &Tls) -> io::Result<Arc<rustls::ClientConfig>> {
    tls.connector().ok_or_else(|| io::Error::other("TLS is not configured: no authority is trusted"))
}

fn name(host: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).map_err(io::Error::other)
}
