//! How a replica reaches its primary: a connection that blocks, so that a node and a program can use the same link.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Makes connections. One over TLS wraps another.
pub trait Connector: Send + Sync {
    /// Connects, or gives up after this time.
    ///
    /// # Errors
    /// Those of the network.
    fn connect(&self, host: &str, port: u16, timeout: Duration) -> io::Result<Box<dyn Connection>>;
}

/// Ends a connection from another thread: whoever reads from it wakes up.
pub type Closer = Box<dyn Fn() + Send + Sync>;

/// A connection that blocks.
pub trait Connection: Read + Write + Send {
    /// No read and no write waits longer.
    ///
    /// # Errors
    /// Those of the system.
    fn set_timeout(&self, timeout: Duration) -> io::Result<()>;

    /// What ends it from elsewhere.
    ///
    /// # Errors
    /// Those of the system.
    fn closer(&self) -> io::Result<Closer>;
}

/// Plain TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

impl Connector for Tcp {
    fn connect(&self, host: &str, port: u16, timeout: Duration) -> io::Result<Box<dyn Connection>> {
        Ok(Box::new(tcp(host, port, timeout)?))
    }
}

/// A TCP connection to the first address of a host that answers.
///
/// # Errors
/// That of the last address that was tried.
pub fn tcp(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

impl Connection for TcpStream {
    fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(timeout))?;
        self.set_write_timeout(Some(timeout))
    }

    fn closer(&self) -> io::Result<Closer> {
        let stream = self.try_clone()?;
        // It may be closed already.
        Ok(Box::new(move || drop(stream.shutdown(Shutdown::Both))))
    }
}
