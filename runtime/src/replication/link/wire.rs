//! The connection with a primary, and what has come on it.

use super::Down;
use crate::replication::connect::Connection;
use bytes::BytesMut;
use std::io::{ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

/// What one read takes at most: also what is applied at once, while who needs all cores waits.
const READ_BYTES: usize = 256 << 10;
/// A line of the handshake is not longer.
const LINE_MAX: usize = 4096;
/// Between two signs of life.
const SECOND: Duration = Duration::from_secs(1);

/// What is wrong when the primary closes the connection.
pub(super) const CLOSED: &str = "The primary closed the connection";

/// A connection with what has come on it.
pub(super) struct Wire {
    connection: Box<dyn Connection>,
    /// What has come and has not been used.
    pub(super) buffer: BytesMut,
    scratch: Vec<u8>,
    pub(super) last_io: Instant,
    /// `repl-timeout`, as it is now.
    pub(super) timeout: Duration,
    /// What is wrong when nothing comes for that long.
    pub(super) silence: &'static str,
    /// What is wrong when the primary closes it.
    pub(super) end: &'static str,
    /// The last sign of life that was given while the primary waits.
    last_sign: Instant,
}

impl Wire {
    pub(super) fn new(connection: Box<dyn Connection>, timeout: Duration) -> Self {
        let now = Instant::now();
        Self {
            connection,
            buffer: BytesMut::new(),
            scratch: vec![0; READ_BYTES],
            last_io: now,
            timeout,
            silence: "Timeout connecting to the MASTER...",
            end: CLOSED,
            last_sign: now,
        }
    }

    pub(super) fn send(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
        let start = Instant::now();
        while !bytes.is_empty() {
            match self.connection.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if is_pause(&error) && start.elapsed() < self.timeout => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Once a second, while the primary waits for this replica.
    pub(super) fn sign_of_life(&mut self) {
        if self.last_sign.elapsed() >= SECOND {
            self.last_sign = Instant::now();
            // Should it fail, so will the next read.
            drop(self.connection.write(b"\n"));
        }
    }

    /// Waits a moment for bytes; how many came.
    pub(super) fn receive(&mut self) -> Result<usize, Down> {
        match self.connection.read(&mut self.scratch) {
            Ok(0) => Err(Down::Lost(self.end.to_owned())),
            Ok(count) => {
                self.buffer.extend_from_slice(&self.scratch[..count]);
                self.last_io = Instant::now();
                Ok(count)
            }
            Err(error) if is_pause(&error) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// # Errors
    /// The primary has been silent for too long.
    pub(super) fn check_silence(&self) -> Result<(), Down> {
        if self.last_io.elapsed() > self.timeout { Err(Down::Lost(self.silence.to_owned())) } else { Ok(()) }
    }

    pub(super) fn use_up(&mut self, count: usize) {
        drop(self.buffer.split_to(count));
    }

    /// A line of the handshake, without its end, if one has come.
    pub(super) fn line(&mut self) -> Result<Option<Vec<u8>>, Down> {
        let Some(end) = memchr::memchr(b'\n', &self.buffer) else {
            if self.buffer.len() > LINE_MAX {
                return Err(Down::Lost("The primary does not speak the protocol of Redis".to_owned()));
            }
            return Ok(None);
        };
        let line = self.buffer.split_to(end + 1);
        let line = &line[..end];
        Ok(Some(line.strip_suffix(b"\r").unwrap_or(line).to_vec()))
    }
}

/// Nothing has come for a moment.
fn is_pause(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
