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
//! Ending a link is safe at any time: nothing of it is applied once [`Link::stop`] has returned, whatever its thread is
//! waiting for.

use super::apply::{Applier, ApplyError, Audience};
use super::connect::{Closer, Connection, Connector};
use super::filter::Filter;
use super::handshake::{Action, Facts, Handshake, Outcome};
use super::identity::ReplId;
use super::payload::{Payload, Piece};
use super::stream::Cutter;
use super::sync::{self, Came, StreamOptions, SyncError};
use crate::node::Node;
use crate::persist::load::{LoadOptions, Progress};
use baton_engine::effects::encode;
use bytes::BytesMut;
use parking_lot::{Condvar, Mutex};
use std::io::{ErrorKind, Read as _, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Between two tries to connect, and between two acknowledgements.
const SECOND: Duration = Duration::from_secs(1);
/// No read waits longer without a look at the clock.
const LOOK: Duration = Duration::from_millis(100);
/// What one read takes at most: also what is applied at once, while who needs all cores waits.
const READ_BYTES: usize = 256 << 10;
/// A line of the handshake is not longer.
const LINE_MAX: usize = 4096;

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

/// How the snapshot of a full synchronisation is taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intake {
    /// Written to a file first, which then becomes the node's own snapshot.
    File(Snapshot),
    /// As a stream if there are no data, else by way of a file.
    StreamIfEmpty(Snapshot),
    /// As a stream, while the old data are served.
    Stream,
    /// As a stream, after the old data have been thrown away (`flush-before-load`).
    StreamAfterFlush,
}

/// Where a snapshot is written, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// While it comes.
    pub temp: PathBuf,
    /// When it is whole.
    pub path: PathBuf,
    /// It is of no use once it has been loaded (`rdb-del-sync-files`).
    pub remove: bool,
}

/// What may change between one connection and the next.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// Who this replica is; what it knows the link fills in.
    pub facts: Facts,
    /// `repl-timeout`
    pub timeout: Duration,
    /// How a snapshot is taken in.
    pub intake: Intake,
    /// Bytes of the stream that are kept for further replicas (`repl-backlog-size`); 0 for a node that has none.
    pub backlog: u64,
    /// Its checksum is checked.
    pub verify: bool,
    /// Snapshots of unknown versions are read as far as possible.
    pub any_version: bool,
    /// A pause after each key of a file that is loaded, for tests.
    pub key_delay: Duration,
}

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

/// What is known of a link, for whoever shows it.
#[derive(Debug, Default)]
pub struct LinkFigures {
    state: AtomicU8,
    /// When something came last, Unix ms; 0 for never on this connection.
    last_io_ms: AtomicI64,
    /// Since when there is no connection, Unix ms; 0 while there is one, and before the first.
    down_since_ms: AtomicI64,
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
    may_go_on: AtomicBool,
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

/// A connection with what has come on it.
struct Wire {
    connection: Box<dyn Connection>,
    /// What has come and has not been used.
    buffer: BytesMut,
    scratch: Vec<u8>,
    last_io: Instant,
    timeout: Duration,
    /// The last sign of life that was given while the primary waits.
    last_sign: Instant,
}

impl Worker {
    fn run(mut self) {
        while !self.is_stopped() {
            let ended = catch_unwind(AssertUnwindSafe(|| self.follow()));
            *self.shared.closer.lock() = None;
            if self.is_stopped() {
                break;
            }
            let pause = match ended {
                Ok(Down::Stopped) => break,
                Ok(Down::Lost(why)) => {
                    self.owner.note(Weight::Warning, &why);
                    SECOND
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
            if !self.is_stopped() {
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
        self.stream(&mut wire)
    }

    fn connect(&self, settings: &LinkSettings) -> Result<Wire, Down> {
        let failed = |error: std::io::Error| Down::Lost(format!("Unable to connect to MASTER: {error}"));
        let connection = self.connector.connect(&self.host, self.port, settings.timeout).map_err(failed)?;
        connection.set_timeout(LOOK).map_err(failed)?;
        *self.shared.closer.lock() = Some(connection.closer().map_err(failed)?);
        // Who stopped it meanwhile found nothing to close.
        if self.is_stopped() {
            return Err(Down::Stopped);
        }
        let now = Instant::now();
        Ok(Wire {
            connection,
            buffer: BytesMut::new(),
            scratch: vec![0; READ_BYTES],
            last_io: now,
            timeout: settings.timeout,
            last_sign: now,
        })
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
            (state, action) = state.on(&line, &facts);
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
        Ok(())
    }

    /// Takes all data over.
    fn take_all(
        &mut self,
        wire: &mut Wire,
        settings: &LinkSettings,
        history: Option<(ReplId, u64)>,
    ) -> Result<(), Down> {
        match &history {
            Some((id, offset)) => {
                self.owner.note(Weight::Notice, &format!("Full resync from master: {id}:{offset}"));
            }
            None => self.owner.note(Weight::Notice, "Full resync from a master that does not support PSYNC"),
        }
        self.enter(LinkState::Sync);
        // Until it is done the data belong to no history.
        self.set_may_go_on(false);
        let figures = self.shared.figures.clone();
        figures.sync_read.store(0, Ordering::Relaxed);
        figures.sync_total.store(0, Ordering::Relaxed);
        let intake = match &settings.intake {
            Intake::StreamIfEmpty(_) if self.is_empty() => None,
            Intake::StreamIfEmpty(file) | Intake::File(file) => Some(file.clone()),
            Intake::Stream => None,
            Intake::StreamAfterFlush => {
                self.begin_replacing(FullSync::Loads)?;
                sync::throw_away(&self.node);
                None
            }
        };
        let taken = match intake {
            Some(file) => self.take_file(wire, settings, &file, history),
            None => self.take_stream(wire, settings, history),
        };
        figures.load.end();
        if let Err(down) = taken {
            if !self.is_stopped() {
                self.owner.full_sync(FullSync::Failed);
            }
            return Err(down);
        }
        self.set_may_go_on(history.is_some());
        figures.full.fetch_add(1, Ordering::Relaxed);
        self.owner.full_sync(FullSync::Done);
        self.owner.note(Weight::Notice, "MASTER <-> REPLICA sync: Finished with success");
        Ok(())
    }

    fn is_empty(&self) -> bool {
        let databases = self.node.settings().databases;
        let mut held = self.node.hold_all();
        held.states().all(|state| (0..databases).all(|db| state.shard.counts(db).keys == 0))
    }

    /// By way of a file, which is loaded like any other.
    fn take_file(
        &mut self,
        wire: &mut Wire,
        settings: &LinkSettings,
        file: &Snapshot,
        history: Option<(ReplId, u64)>,
    ) -> Result<(), Down> {
        let storage = self.node.storage();
        let failed = |doing: &str, error: std::io::Error| {
            Down::Lost(format!("Failed trying to {doing} the MASTER synchronization DB to disk: {error}"))
        };
        self.owner.note(Weight::Notice, "MASTER <-> REPLICA sync: receiving the snapshot to disk");
        let temp = storage.create(&file.temp).map_err(|error| failed("write", error))?;
        let received = self.receive_payload(wire, |data| {
            temp.append(&[data]).map_err(|error| failed("write", error))?;
            Ok(())
        });
        let placed = received.and_then(|()| {
            temp.sync_data().map_err(|error| failed("sync", error))?;
            storage.rename(&file.temp, &file.path).map_err(|error| failed("rename", error))
        });
        if let Err(down) = placed {
            // What is half there is of no use.
            drop(storage.remove(&file.temp));
            return Err(down);
        }
        self.begin_replacing(FullSync::Loads)?;
        sync::throw_away(&self.node);
        self.owner.note(Weight::Notice, "MASTER <-> REPLICA sync: Loading DB in memory");
        let options = LoadOptions {
            verify: settings.verify,
            skip_expired: false,
            any_version: settings.any_version,
            key_delay: settings.key_delay,
        };
        let (node, figures) = (self.node.clone(), self.shared.figures.clone());
        let loaded = std::thread::scope(|scope| {
            let loading = scope.spawn(|| sync::from_file(&node, &file.path, options, &figures.load));
            while !loading.is_finished() {
                // The primary must not think that this replica is gone.
                wire.sign_of_life();
                std::thread::sleep(Duration::from_millis(2));
            }
            loading.join()
        });
        if file.remove {
            drop(storage.remove(&file.path));
        }
        let loaded = loaded.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let db = loaded.map_err(|error| {
            sync::throw_away(&self.node);
            Down::Lost(error.to_string())
        })?;
        wire.last_io = Instant::now();
        let node = self.node.clone();
        let mut held = node.hold_all();
        self.adopt(&mut held, db, history, settings.backlog)
    }

    /// Built as it comes, beside what is there.
    fn take_stream(
        &mut self,
        wire: &mut Wire,
        settings: &LinkSettings,
        history: Option<(ReplId, u64)>,
    ) -> Result<(), Down> {
        let step = if self.is_empty() { FullSync::Loads } else { FullSync::LoadsBeside };
        self.owner.note(Weight::Notice, "MASTER <-> REPLICA sync: receiving the snapshot to parser");
        if self.is_stopped() {
            return Err(Down::Stopped);
        }
        self.owner.full_sync(step);
        let options = StreamOptions {
            verify: settings.verify,
            any_version: settings.any_version,
            filter: self.filter.clone(),
        };
        let name: Arc<str> = format!("the snapshot of {}:{}", self.host, self.port).into();
        let figures = self.shared.figures.clone();
        figures.load.begin(self.node.now_ms());
        let mut payload = Payload::default();
        // The thread of the link reads, its errors are its own; those of the snapshot end the reading.
        let mut down = None;
        let filled = sync::from_stream(&self.node, &name, &options, &figures.load, |buffer| {
            let came = self.next_data(wire, &mut payload, |data| {
                buffer.extend_from_slice(data);
                Ok(())
            });
            came.map_err(|error| {
                down = Some(error);
                SyncError::Lost(String::new())
            })
        });
        if let Some(down) = down {
            return Err(down);
        }
        let filled = filled.map_err(|error| Down::Lost(error.to_string()))?;
        self.begin_replacing(step)?;
        let node = self.node.clone();
        sync::take_over(&node, filled, |held, db| self.adopt(held, db, history, settings.backlog))
    }

    /// From here on the old data are on their way out.
    fn begin_replacing(&self, step: FullSync) -> Result<(), Down> {
        if self.is_stopped() {
            return Err(Down::Stopped);
        }
        self.owner.full_sync(FullSync::Begins);
        if step == FullSync::Loads {
            self.owner.full_sync(step);
        }
        Ok(())
    }

    /// The data are the primary's. Under all batons.
    fn adopt(
        &mut self,
        held: &mut crate::held::Held<'_>,
        db: usize,
        history: Option<(ReplId, u64)>,
        backlog: u64,
    ) -> Result<(), Down> {
        if self.is_stopped() {
            return Err(Down::Stopped);
        }
        self.stream_db = db;
        held.follow(db, Some(history.map_or(0, |(_, offset)| offset)));
        let id = history.map_or_else(super::random_id, |(id, _)| id);
        self.node.change_history(|history| history.adopt(id));
        if backlog > 0 {
            held.open_backlog(backlog);
        }
        Ok(())
    }

    /// All data of a payload.
    fn receive_payload(
        &self,
        wire: &mut Wire,
        mut take: impl FnMut(&[u8]) -> Result<(), Down>,
    ) -> Result<(), Down> {
        let mut payload = Payload::default();
        loop {
            if let Came::All = self.next_data(wire, &mut payload, &mut take)? {
                return Ok(());
            }
        }
    }

    /// Takes the data that have come; waits for some if there are none.
    fn next_data(
        &self,
        wire: &mut Wire,
        payload: &mut Payload,
        mut take: impl FnMut(&[u8]) -> Result<(), Down>,
    ) -> Result<Came, Down> {
        let figures = &self.shared.figures;
        let mut some = false;
        loop {
            let (piece, used) = payload.next(&wire.buffer).map_err(|error| Down::Lost(error.to_string()))?;
            match piece {
                Piece::More => {
                    if some {
                        return Ok(Came::More);
                    }
                    wire.sign_of_life();
                    self.receive(wire)?;
                }
                Piece::Alive => {}
                Piece::Begin(len) => {
                    figures.sync_total.store(len.unwrap_or(0), Ordering::Relaxed);
                    figures.load.total.store(len.unwrap_or(0), Ordering::Relaxed);
                }
                Piece::Data(data) => {
                    figures.sync_read.fetch_add(data.len() as u64, Ordering::Relaxed);
                    take(data)?;
                    some = true;
                }
                Piece::End => {
                    wire.use_up(used);
                    return Ok(Came::All);
                }
            }
            wire.use_up(used);
        }
    }

    /// Follows the stream for as long as it lasts.
    fn stream(&mut self, wire: &mut Wire) -> Result<std::convert::Infallible, Down> {
        let primary = format!("{}:{}", self.host, self.port);
        let mut applier = Applier::new(self.node.clone(), self.owner.clone(), self.filter.clone(), primary);
        let mut cutter = Cutter::new(self.stream_db);
        self.acknowledge(wire)?;
        let mut acknowledged = Instant::now();
        loop {
            let chunk = cutter.cut(&mut wire.buffer).map_err(|error| Down::Lost(error.to_string()))?;
            let mut asked = false;
            if !chunk.is_empty() {
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
        if journal.has_file() {
            args.extend([&b"FACK"[..], synced.as_bytes()]);
        }
        let mut bytes = Vec::new();
        encode(&args, &mut bytes);
        Ok(wire.send(&bytes)?)
    }
}

impl Wire {
    fn send(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
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
    fn sign_of_life(&mut self) {
        if self.last_sign.elapsed() >= SECOND {
            self.last_sign = Instant::now();
            // Should it fail, so will the next read.
            drop(self.connection.write(b"\n"));
        }
    }

    /// Waits a moment for bytes; how many came.
    fn receive(&mut self) -> Result<usize, Down> {
        match self.connection.read(&mut self.scratch) {
            Ok(0) => Err(Down::Lost("The primary closed the connection".to_owned())),
            Ok(count) => {
                self.buffer.extend_from_slice(&self.scratch[..count]);
                self.last_io = Instant::now();
                Ok(count)
            }
            Err(error) if is_pause(&error) => {
                if self.last_io.elapsed() > self.timeout {
                    return Err(Down::Lost("MASTER timeout: no data nor PING received...".to_owned()));
                }
                Ok(0)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn use_up(&mut self, count: usize) {
        drop(self.buffer.split_to(count));
    }

    /// A line of the handshake, without its end, if one has come.
    fn line(&mut self) -> Result<Option<Vec<u8>>, Down> {
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
