//! Where a link is, and what is known of it, for whoever shows it.

use crate::persist::load::Progress;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};

/// Where a link is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum LinkState {
    /// Waits for the next try.
    #[default]
    Connect = 0,
    /// Waits for the network.
    Connecting = 1,
    /// Says who it is.
    Handshake = 2,
    /// Takes all data over.
    Sync = 3,
    /// Follows the stream.
    Connected = 4,
}

impl LinkState {
    /// The word of ROLE.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Connecting => "connecting",
            Self::Handshake => "handshake",
            Self::Sync => "sync",
            Self::Connected => "connected",
        }
    }

    fn of(number: u8) -> Self {
        match number {
            0 => Self::Connect,
            1 => Self::Connecting,
            2 => Self::Handshake,
            3 => Self::Sync,
            _ => Self::Connected,
        }
    }
}

/// What is known of a link, for whoever shows it.
#[derive(Debug, Default)]
pub struct LinkFigures {
    pub(super) state: AtomicU8,
    /// When something came last, Unix ms; 0 for never on this connection.
    pub(super) last_io_ms: AtomicI64,
    /// Since when there is no connection, Unix ms; 0 while there is one, and before the first.
    pub(super) down_since_ms: AtomicI64,
    /// Bytes of the stream whose commands have all been run: the journal has them a moment before.
    pub applied: AtomicU64,
    /// Bytes of the snapshot that comes: in all if that is known, and so far.
    pub sync_total: AtomicU64,
    /// See `sync_total`.
    pub sync_read: AtomicU64,
    /// Synchronisations: of all data, and of what was missing.
    pub full: AtomicU64,
    /// See `full`.
    pub partial: AtomicU64,
    /// How far loading has come.
    pub load: Progress,
    /// The data belong to the history that the node says.
    pub(super) may_go_on: AtomicBool,
}

impl LinkFigures {
    /// Where the link is.
    pub fn state(&self) -> LinkState {
        LinkState::of(self.state.load(Ordering::Acquire))
    }

    /// When something came last on this connection, in Unix milliseconds.
    pub fn last_io_ms(&self) -> Option<i64> {
        Some(self.last_io_ms.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    /// Since when the link has been down, in Unix milliseconds; `None` while it is up, and when it never was.
    pub fn down_since_ms(&self) -> Option<i64> {
        Some(self.down_since_ms.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }
}
