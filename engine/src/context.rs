//! What a command function works on.

use crate::hash::Hasher;
use crate::keyspace::Keyspace;
use crate::random::Rng;
use crate::reply::Out;
use crate::settings::Settings;

/// What of the client matters to a command.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller {
    /// The command may block the client: false inside MULTI and scripts.
    pub may_block: bool,
    /// A script asks: what has no order is given one.
    pub is_script: bool,
    /// CLIENT NO-TOUCH: do not change access clocks.
    pub no_touch: bool,
    /// The client's id; 0 while the log is replayed.
    pub id: u64,
}

impl Caller {
    /// The log speaks: what it says has been found right before.
    pub fn is_log(&self) -> bool {
        self.id == 0
    }
}

/// What a command function works on: separate fields, so that a reply can be written while a value is read.
pub struct Context<'a> {
    /// The data of the shards whose batons are held.
    pub keyspace: Keyspace<'a>,
    /// Where the reply goes.
    pub out: &'a mut Out,
    /// The configuration.
    pub settings: &'a Settings,
    /// The hash of all tables.
    pub hasher: &'a Hasher,
    /// Randomness for this command.
    pub rng: Rng,
    /// Who asks.
    pub caller: Caller,
}

impl Context<'_> {
    /// The time of the batch, in Unix milliseconds.
    #[inline]
    pub fn now_ms(&self) -> i64 {
        self.keyspace.now_ms()
    }

    /// The time from which times to live count: that of the batch, but in a replay, where nothing is over yet.
    #[inline]
    pub fn present_ms(&self) -> i64 {
        self.keyspace.present_ms()
    }
}
