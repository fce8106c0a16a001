//! What connections are made of: sockets, which can leave one event loop and go on in another.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// A stream of bytes to a client and back.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Whether it is to be told that nothing more will come: TLS wants that to be said.
    const SAYS_END: bool;

    /// Whether small writes leave at once, or the system may wait for more.
    ///
    /// # Errors
    /// Those of the system.
    fn set_nodelay(&self, at_once: bool) -> io::Result<()>;

    /// Takes it out of its event loop, with all that it knows.
    fn rest(self) -> io::Result<Resting>;
}

/// A stream that is in no event loop.
pub enum Resting {
    Tcp(std::net::TcpStream),
    Tls(Box<TlsStream<Carrier>>),
    Unix(std::os::unix::net::UnixStream),
}

impl Socket for TcpStream {
    const SAYS_END: bool = false;

    fn set_nodelay(&self, at_once: bool) -> io::Result<()> {
        Self::set_nodelay(self, at_once)
    }

    fn rest(self) -> io::Result<Resting> {
        self.into_std().map(Resting::Tcp)
    }
}

impl Socket for UnixStream {
    const SAYS_END: bool = false;

    /// It never waits.
    fn set_nodelay(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn rest(self) -> io::Result<Resting> {
        self.into_std().map(Resting::Unix)
    }
}

impl Socket for TlsStream<Carrier> {
    const SAYS_END: bool = true;

    fn set_nodelay(&self, at_once: bool) -> io::Result<()> {
        match &self.get_ref().0.0 {
            Carried::InLoop(stream) => stream.set_nodelay(at_once),
            Carried::Resting(_) | Carried::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn rest(mut self) -> io::Result<Resting> {
        self.get_mut().0.rest()?;
        Ok(Resting::Tls(Box::new(self)))
    }
}

/// What carries TLS. The state of TLS stays around it while it goes from one event loop to another.
pub struct Carrier(Carried);

enum Carried {
    InLoop(TcpStream),
    Resting(std::net::TcpStream),
    /// It was lost on its way.
    Lost,
}

impl Carrier {
    /// In the event loop of the stream.
    pub fn new(stream: TcpStream) -> Self {
        Self(Carried::InLoop(stream))
    }

    fn rest(&mut self) -> io::Result<()> {
        if let Carried::InLoop(stream) = std::mem::replace(&mut self.0, Carried::Lost) {
            self.0 = Carried::Resting(stream.into_std()?);
        }
        Ok(())
    }

    /// Goes on in the event loop of the caller.
    pub fn go_on(&mut self) -> io::Result<()> {
        if let Carried::Resting(stream) = std::mem::replace(&mut self.0, Carried::Lost) {
            self.0 = Carried::InLoop(TcpStream::from_std(stream)?);
        }
        Ok(())
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        match &mut self.0 {
            Carried::InLoop(stream) => Ok(Pin::new(stream)),
            Carried::Resting(_) | Carried::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl AsyncRead for Carrier {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}
