//! What connections are made of.

use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// A stream of bytes to a client and back.
pub trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Whether small writes leave at once, or the system may wait for more.
    ///
    /// # Errors
    /// Those of the system.
    fn set_nodelay(&self, at_once: bool) -> io::Result<()>;
}

impl Socket for TcpStream {
    fn set_nodelay(&self, at_once: bool) -> io::Result<()> {
        Self::set_nodelay(self, at_once)
    }
}

impl Socket for UnixStream {
    /// It never waits.
    fn set_nodelay(&self, _: bool) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for TlsStream<TcpStream> {
    fn set_nodelay(&self, at_once: bool) -> io::Result<()> {
        self.get_ref().0.set_nodelay(at_once)
    }
}
