//! Connections to other servers: replication, the cluster bus, MIGRATE. Plain or by TLS, blocking or on an event loop.

use super::Tls;
use crate::server::Server;
use baton::replication::connect::{Closer, Connection, Connector, Tcp, tcp};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};

/// Reaches primaries, by TLS while `tls-replication` says so.
pub struct Primaries(pub Weak<Server>);

impl Connector for Primaries {
    fn connect(&self, host: &str, port: u16, timeout: Duration) -> io::Result<Box<dyn Connection>> {
        let server = self.0.upgrade().ok_or(io::ErrorKind::NotConnected)?;
        if server.settings().tls_replication {
            Ok(Box::new(Secured::dial(&server.tls, host, port, timeout)?))
        } else {
            Tcp.connect(host, port, timeout)
        }
    }
}

/// A connection by TLS, for a thread that may wait.
struct Secured(StreamOwned<ClientConnection, TcpStream>);

impl Secured {
    /// Everything, the handshake as well, has to be done within the timeout.
    fn dial(tls: &Tls, host: &str, port: u16, timeout: Duration) -> io::Result<Self> {
        let deadline = Instant::now() + timeout;
        let mut stream = tcp(host, port, timeout)?;
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
