//! The link of a replica with its primary: one thread with a blocking connection, for nodes and for programs alike.
//!
//! | state      | the thread                                                       | INFO says      |
//! |------------|------------------------------------------------------------------|----------------|
//! | Connect    | waits for the next try                                             | `connect`      |
//! | Connecting | waits for the network                                              | `connecting`   |
//! | Handshake  | says who it is, asks for the data (`handshake`)                      | `handshake`    |
//! | Sync       | takes all data over (`payload`, `sync`)                              | `sync`         |
//! | Connected  | applies the stream (`stream`, `apply`), acknowledges each second     | `connected`    |
//!
//! Whatever goes wrong ends the connection, and the next try asks for what is missing: the bytes behind the journal's offset,
//! or everything, when nobody can say what the data belong to.
//!
//! | file       | holds                                                             |
//! |------------|-------------------------------------------------------------------|
//! | `figures`  | where the link is, and what is known of it                        |
//! | `settings` | what may change between one connection and the next               |
//! | `wire`     | the connection, and what has come on it                           |
//! | `intake`   | the full synchronisation                                          |
//!
//! Ending a link is safe at any time: nothing of it is applied once [`Link::stop`] has returned, whatever its thread is
//! waiting for.

mod figures;
mod intake;
mod settings;
mod wire;

pub use figures::{LinkFigures, LinkState};
pub use settings::{Intake, LinkSettings, Snapshot};

use super::apply::{Applier, ApplyError, Audience};
use super::connect::{Closer, Connector};
use super::filter::Filter;
use super::handshake::{Action, Handshake, Outcome};
use super::identity::ReplId;
use super::stream::Cutter;
use crate::node::Node;
use baton_engine::effects::encode;
use parking_lot::{Condvar, Mutex};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use wire::Wire;

/// Between two tries to connect, and between two acknowledgements.
const SECOND: Duration = Duration::from_secs(1);
/// No read waits longer without a look at the clock.
const LOOK: Duration = Duration::from_millis(100);

/// What a line of the link is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// What happens as a rule.
    Notice,
    /// What somebody should look at.
    Warning,
}

/// What happens around a full synchronisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullSync {
    /// One begins: further replicas have to begin anew too, the log and snapshots that are on their way end.
    Begins,
    /// Data are being loaded that are not to be looked at yet.
    Loads,
    /// As before, but the old data are there to be looked at.
    LoadsBeside,
    /// The data are the primary's, from the journal's offset on.
    Done,
    /// It has failed; there are no data now, or those of before.
    Failed,
}

/// Who a link works for.
pub trait Owner: Audience {
    /// How to go about it, asked before each connection.
    fn settings(&self) -> LinkSettings;
    /// Something worth writing down.
    fn note(&self, weight: Weight, text: &str);
    /// The state of the link has changed.
    fn changed(&self, state: LinkState);
    /// A full synchronisation has come so far. No baton is held.
    fn full_sync(&self, step: FullSync);
    /// The history has another name from now on: further replicas have to hear it.
    fn renamed(&self);
    /// The other node does not want to be the primary of this one. It will be asked again.
    fn turned_away(&self) {}
    /// Data have arrived and were applied.
    fn applied(&self) {}
}

/// What the thread and the owner share.
struct Shared {
    stopped: AtomicBool,
    closer: Mutex<Option<Closer>>,
    rest: Mutex<()>,
    bell: Condvar,
    figures: Arc<LinkFigures>,
}

/// A link on its way. Dropping it stops it.
pub struct Link {
    host: String,
    port: u16,
    node: Arc<Node>,
    shared: Arc<Shared>,
}

/// What a link needs to begin.
pub struct LinkStart {
    /// The node whose data follow.
    pub node: Arc<Node>,
    /// Who it works for.
    pub owner: Arc<dyn Owner>,
    /// How the primary is reached.
    pub connector: Arc<dyn Connector>,
    /// The host of the primary.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What is kept of the data; all if there is none.
    pub filter: Option<Arc<Filter>>,
    /// The data may belong to a history that the primary knows: it is asked for what is missing.
    pub may_go_on: bool,
}

/// Why a connection ended.
enum Down {
    /// Nothing is wrong with the data.
    Lost(String),
    /// The data are not what they should be: all of them are needed.
    Astray(String),
    /// As before, but trying again at once would end the same way.
    Stuck(String),
    /// It was stopped.
    Stopped,
}

impl From<std::io::Error> for Down {
    fn from(error: std::io::Error) -> Self {
        Self::Lost(format!("I/O error: {error}"))
    }
}

impl Link {
    /// Begins to follow a primary. The node is a replica already.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(start: LinkStart) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            stopped: AtomicBool::new(false),
            closer: Mutex::default(),
            rest: Mutex::default(),
            bell: Condvar::new(),
            figures: Arc::default(),
        });
        let link = Self {
            host: start.host.clone(),
            port: start.port,
            node: start.node.clone(),
            shared: shared.clone(),
        };
        let mut worker = Worker {
            shared,
            node: start.node,
            owner: start.owner,
            connector: start.connector,
            host: start.host,
            port: start.port,
            filter: start.filter,
            stream_db: 0,
        };
        worker.set_may_go_on(start.may_go_on);
        worker.stream_db = worker.node.journal().stream_db().unwrap_or_default();
        std::thread::Builder::new().name("replica".to_owned()).spawn(move || worker.run())?;
        Ok(link)
    }

    /// The host of the primary.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port of the primary.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the data belong to the history that the node says, so that a primary can be asked for what is missing.
    pub fn may_go_on(&self) -> bool {
        self.shared.figures.may_go_on.load(Ordering::Acquire)
    }

    /// What is known of it.
    pub fn figures(&self) -> &Arc<LinkFigures> {
        &self.shared.figures
    }

    /// Ends the link. When this returns nothing more of the primary's stream is applied. No baton may be held here.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.cut();
        {
            let _rest = self.shared.rest.lock();
            self.shared.bell.notify_all();
        }
        // Whatever is being applied is applied whole; what comes after it sees that the link has been stopped.
        drop(self.node.apply_whole());
    }

    /// Ends the connection; the link tries again.
    pub fn cut(&self) {
        if let Some(close) = &*self.shared.closer.lock() {
            close();
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The thread of a link.
struct Worker {
    shared: Arc<Shared>,
    node: Arc<Node>,
    owner: Arc<dyn Owner>,
    connector: Arc<dyn Connector>,
    host: String,
    port: u16,
    filter: Option<Arc<Filter>>,
    /// The database that the stream is in.
    stream_db: usize,
}

impl Worker {
    fn run(mut self) {
        while !self.is_stopped() {
            let began = Instant::now();
            let ended = catch_unwind(AssertUnwindSafe(|| self.follow()));
            *self.shared.closer.lock() = None;
            if self.is_stopped() {
                break;
            }
            let pause = match ended {
                Ok(Down::Stopped) => break,
                Ok(Down::Lost(why)) => {
                    self.owner.note(Weight::Warning, &why);
                    // Who followed comes back at once: the primary keeps what was missed for so long only.
                    let followed = self.shared.figures.state() == LinkState::Connected;
                    if followed && began.elapsed() >= SECOND { Duration::ZERO } else { SECOND }
                }
                Ok(Down::Astray(why)) => {
                    self.set_may_go_on(false);
                    self.owner.note(Weight::Warning, &why);
                    SECOND
                }
                Ok(Down::Stuck(why)) => {
                    self.owner.note(Weight::Warning, &why);
                    10 * SECOND
                }
                Err(_) => {
                    // What was being applied may be half done.
                    self.set_may_go_on(false);
                    self.owner.note(
                        Weight::Warning,
                        "A command of the primary broke this replica: all data are asked for anew",
                    );
                    SECOND
                }
            };
            self.down();
            let mut rest = self.shared.rest.lock();
            if !self.is_stopped() && !pause.is_zero() {
                self.shared.bell.wait_for(&mut rest, pause);
            }
        }
    }

    fn set_may_go_on(&self, may: bool) {
        self.shared.figures.may_go_on.store(may, Ordering::Release);
    }

    fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Acquire)
    }

    fn enter(&self, state: LinkState) {
        self.shared.figures.state.store(state as u8, Ordering::Release);
        if !self.is_stopped() {
            self.owner.changed(state);
        }
    }

    fn down(&self) {
        let figures = &self.shared.figures;
        if figures.state() == LinkState::Connected {
            figures.down_since_ms.store(self.node.now_ms(), Ordering::Relaxed);
            self.owner.note(Weight::Notice, "Connection with master lost.");
        }
        figures.last_io_ms.store(0, Ordering::Relaxed);
        self.enter(LinkState::Connect);
    }

    /// One connection, from its beginning to its end.
    fn follow(&mut self) -> Down {
        match self.try_follow() {
            Ok(never) => match never {},
            Err(down) => down,
        }
    }

    fn try_follow(&mut self) -> Result<std::convert::Infallible, Down> {
        let settings = self.owner.settings();
        self.enter(LinkState::Connecting);
        self.owner.note(Weight::Notice, &format!("Connecting to MASTER {}:{}", self.host, self.port));
        let mut wire = self.connect(&settings)?;
        self.owner.note(Weight::Notice, "MASTER <-> REPLICA sync started");
        self.enter(LinkState::Handshake);
        match self.shake_hands(&mut wire, &settings)? {
            Outcome::Later(why) => return Err(Down::Lost(why)),
            Outcome::Refused(why) => {
                self.owner.turned_away();
                return Err(Down::Lost(why));
            }
            Outcome::Partial(id) => self.go_on(id, settings.backlog)?,
            Outcome::Full(history) => self.take_all(&mut wire, &settings, history)?,
        }
        self.shared.figures.down_since_ms.store(0, Ordering::Relaxed);
        self.note_applied();
        self.enter(LinkState::Connected);
        self.stream(&mut wire, settings.ignores_disk)
    }

    fn connect(&self, settings: &LinkSettings) -> Result<Wire, Down> {
        let failed = |error: std::io::Error| {
            Down::Lost(match error.kind() {
                std::io::ErrorKind::TimedOut => "Timeout connecting to the MASTER...".to_owned(),
                _ if error.raw_os_error().is_some() => format!("Error condition on socket for SYNC: {error}"),
                _ => format!("Unable to connect to MASTER: {error}"),
            })
        };
        let connection = self.connector.connect(&self.host, self.port, settings.timeout).map_err(failed)?;
        connection.set_timeout(LOOK).map_err(failed)?;
        *self.shared.closer.lock() = Some(connection.closer().map_err(failed)?);
        // Who stopped it meanwhile found nothing to close.
        if self.is_stopped() {
            return Err(Down::Stopped);
        }
        Ok(Wire::new(connection, settings.timeout))
    }

    fn shake_hands(&mut self, wire: &mut Wire, settings: &LinkSettings) -> Result<Outcome, Down> {
        let mut facts = settings.facts.clone();
        let may_go_on = self.shared.figures.may_go_on.load(Ordering::Acquire);
        facts.known = may_go_on.then(|| (self.node.replication().history().id, self.node.journal().pushed()));
        match &facts.known {
            Some((id, has)) => {
                let asked = format!("Trying a partial resynchronization (request {id}:{}).", has + 1);
                self.owner.note(Weight::Notice, &asked);
            }
            None => {
                self.owner.note(Weight::Notice, "Partial resynchronization not possible (no cached master)")
            }
        }
        let (mut state, mut action) = Handshake::begin();
        loop {
            match action {
                Action::End(outcome) => return Ok(outcome),
                Action::Wait => {}
                Action::Send(command, note) => {
                    if let Some(note) = note {
                        self.owner.note(Weight::Notice, &note);
                    }
                    let args: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
                    let mut bytes = Vec::new();
                    encode(&args, &mut bytes);
                    wire.send(&bytes)?;
                    if state == Handshake::Sync {
                        return Ok(Outcome::Full(None));
                    }
                }
            }
            let line = loop {
                if let Some(line) = wire.line()? {
                    break line;
                }
                self.receive(wire)?;
            };
            let before = state;
            (state, action) = state.on(&line, &facts);
            if before == Handshake::Ping && state != Handshake::Ping && state != Handshake::Over {
                self.owner.note(Weight::Notice, "Master replied to PING, replication can continue...");
            }
        }
    }

    /// Waits a moment for bytes, and takes what is there.
    fn receive(&self, wire: &mut Wire) -> Result<usize, Down> {
        if self.is_stopped() {
            return Err(Down::Stopped);
        }
        let count = wire.receive()?;
        if count > 0 {
            self.shared.figures.last_io_ms.store(self.node.now_ms(), Ordering::Relaxed);
        } else {
            // It may have been changed while the primary is silent.
            wire.timeout = self.owner.settings().timeout;
            wire.check_silence()?;
        }
        Ok(count)
    }

    /// The stream goes on where this replica is.
    fn go_on(&mut self, id: Option<ReplId>, backlog: u64) -> Result<(), Down> {
        let offset = self.node.journal().pushed();
        {
            let mut held = self.node.hold_all();
            if self.is_stopped() {
                return Err(Down::Stopped);
            }
            held.follow(self.stream_db, None);
            if backlog > 0 {
                held.open_backlog(backlog);
            }
        }
        let history = self.node.replication();
        if let Some(id) = id.filter(|id| *id != history.history().id) {
            self.node.change_history(|history| history.go_on_as(id, offset));
            self.owner.note(Weight::Notice, &format!("Master replication ID changed to {id}"));
            self.owner.renamed();
        }
        self.set_may_go_on(true);
        self.shared.figures.partial.fetch_add(1, Ordering::Relaxed);
        self.owner.note(Weight::Notice, "Successful partial resynchronization with master.");
        let accepted = "MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.";
        self.owner.note(Weight::Notice, accepted);
        Ok(())
    }

    /// Follows the stream for as long as it lasts.
    fn stream(&mut self, wire: &mut Wire, ignores_disk: bool) -> Result<std::convert::Infallible, Down> {
        let primary = format!("{}:{}", self.host, self.port);
        let mut applier = Applier::new(self.node.clone(), self.owner.clone(), self.filter.clone(), primary);
        let mut cutter = Cutter::new(self.stream_db);
        wire.silence = "MASTER timeout: no data nor PING received...";
        wire.end = wire::CLOSED;
        self.acknowledge(wire)?;
        let mut acknowledged = Instant::now();
        loop {
            let chunk = cutter.cut(&mut wire.buffer).map_err(|error| Down::Lost(error.to_string()))?;
            let mut asked = false;
            if !chunk.is_empty() {
                if self.node.journal().is_failing() && !ignores_disk {
                    return Err(Down::Stuck("Replica was unable to write command to disk.".to_owned()));
                }
                let applied = applier.apply(chunk, &self.shared.stopped);
                if let Some(db) = self.node.journal().stream_db() {
                    self.stream_db = db;
                }
                self.note_applied();
                // What has been applied is in the log before it is acknowledged.
                self.node.journal().write();
                asked = applied.map_err(|error| self.stuck(&error))?.asked;
                self.owner.applied();
            }
            if asked || acknowledged.elapsed() >= SECOND {
                self.acknowledge(wire)?;
                acknowledged = Instant::now();
            }
            self.receive(wire)?;
        }
    }

    fn note_applied(&self) {
        self.shared.figures.applied.store(self.node.journal().pushed(), Ordering::Release);
    }

    fn stuck(&self, error: &ApplyError) -> Down {
        match error {
            ApplyError::Stopped => Down::Stopped,
            ApplyError::Mixed(_) => Down::Astray(error.to_string()),
            ApplyError::Unknown(_) | ApplyError::Database(_) => Down::Stuck(error.to_string()),
        }
    }

    /// Tells the primary how far this replica is, and how far it has synced its log.
    fn acknowledge(&self, wire: &mut Wire) -> Result<(), Down> {
        let journal = self.node.journal();
        let offset = journal.pushed().to_string();
        let synced = journal.synced().to_string();
        let mut args: Vec<&[u8]> = vec![b"REPLCONF", b"ACK", offset.as_bytes()];
        if journal.has_file() && !self.node.log.is_beginning() {
            args.extend([&b"FACK"[..], synced.as_bytes()]);
        }
        let mut bytes = Vec::new();
        encode(&args, &mut bytes);
        Ok(wire.send(&bytes)?)
    }
}
