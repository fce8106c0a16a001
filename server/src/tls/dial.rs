//! Connections to other servers: replication, the cluster bus, MIGRATE. Plain or by TLS, blocking or on an event loop.

use super::Tls;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection for a thread that may wait.
#[allow(dead_code, reason = "for those who follow another server from a thread of their own")]
pub enum Link {
    /// As it is.
    Plain(TcpStream),
    /// By TLS.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

#[allow(dead_code, reason = "as above")]
impl Link {
    /// Dials. Everything, the handshake of TLS as well, has to be done within the timeout; it then goes for each read and
    /// write.
    pub fn dial(tls: Option<&Tls>, host: &str, port: u16, timeout: Duration) -> io::Result<Self> {
        let deadline = Instant::now() + timeout;
        let mut stream = connect(host, port, deadline)?;
        stream.set_nodelay(true)?;
        let Some(tls) = tls else {
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))?;
            return Ok(Self::Plain(stream));
        };
        let mut session = ClientConnection::new(config(tls)?, name(host)?).map_err(io::Error::other)?;
        while session.is_handshaking() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
            stream.set_write_timeout(Some(left))?;
            session.complete_io(&mut stream)?;
        }
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self::Tls(Box::new(StreamOwned::new(session, stream))))
    }

    /// The socket, to set timeouts and to shut it down from elsewhere (`try_clone`).
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
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

#[allow(dead_code, reason = "as above")]
fn connect(host: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in (host, port).to_socket_addrs()? {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}
