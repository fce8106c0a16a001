//! [`Replica`]: a live copy of the data of a running server, in this process.
//!
//! ```text
//! redis-server --stream--> thread `replica` --applies--> Store <--reads-- any thread, in nanoseconds
//! ```

use super::{Builder, Error, Store};
use crate::replication::apply::Audience;
use crate::replication::connect::{Connector, Tcp};
use crate::replication::filter::Filter;
use crate::replication::handshake::Facts;
use crate::replication::link::{
    FullSync, Intake, Link, LinkFigures, LinkSettings, LinkStart, LinkState, Owner, Weight,
};
use crate::replication::random_id;
use crate::replication::role::Role;
use parking_lot::{Condvar, Mutex};
use std::ops::{Deref, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Where servers listen unless they are told otherwise.
const PORT: u16 = 6379;
/// The default of `repl-timeout`.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Something that happened to a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplicaEvent {
    /// The state of the link has changed.
    State(ReplicaState),
    /// All data have been taken over, in place of what was there before.
    Resynced,
    /// A command of the primary was refused here: a sign that the two do not hold the same data.
    Refused {
        /// The name of the command.
        command: String,
        /// What it was answered.
        reply: String,
    },
    /// What is worth writing into a log.
    Note(String),
}

/// How a replica is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// There is no connection; the next try comes by itself. What was there can be read.
    Disconnected,
    /// A connection is being made.
    Connecting,
    /// All data are on their way. What was there before can be read until they are whole.
    Syncing,
    /// The data follow those of the primary.
    Following,
}

impl ReplicaState {
    fn of(state: LinkState) -> Self {
        match state {
            LinkState::Connect => Self::Disconnected,
            LinkState::Connecting | LinkState::Handshake => Self::Connecting,
            LinkState::Sync => Self::Syncing,
            LinkState::Connected => Self::Following,
        }
    }
}

/// Called with each event, on the thread of the link.
type Watcher = Box<dyn Fn(&ReplicaEvent) + Send + Sync>;

/// How a [`Replica`] is made: see [`Store::replica_of`].
#[must_use]
pub struct ReplicaBuilder {
    store: Builder,
    primary: String,
    filter: Filter,
    connector: Arc<dyn Connector>,
    timeout: Duration,
    watcher: Option<Watcher>,
}

/// A live, read-only copy of the data of a running server: a [`Store`] that follows. It follows until this is dropped; clones of
/// the store stay readable after that, as they are.
///
/// Every change of the primary arrives here in its order, and a transaction as one: nobody sees half of it. Keys expire when the
/// primary says so; those whose time is over are absent all the same.
pub struct Replica {
    store: Store,
    link: Link,
    shared: Arc<Shared>,
    maxmemory: u64,
}

/// What the link and those who wait share.
struct Shared {
    facts: Facts,
    timeout: Duration,
    watcher: Option<Watcher>,
    /// Those who wait for the link.
    waiting: AtomicU64,
    turn: Mutex<()>,
    news: Condvar,
}

/// A primary, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Primary {
    host: String,
    port: u16,
    auth: Option<(Vec<u8>, Vec<u8>)>,
    db: Option<usize>,
}

impl Store {
    /// A live, read-only copy of the data of a Redis, Valkey or Baton server, in memory: `redis://[user:password@]host[:port][/db]`.
    /// With a database in the address only that one is copied.
    ///
    /// The server sees a replica like any other. Reads cost what reads of a [`Store`] cost, some hundred nanoseconds, and never
    /// wait for the network.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// let replica = baton::Store::replica_of("redis://127.0.0.1:6379").follow()?;
    /// replica.wait_until_following(Duration::from_secs(10))?;
    /// println!("{:?}", replica.get("greeting")?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn replica_of(primary: impl Into<String>) -> ReplicaBuilder {
        ReplicaBuilder {
            store: Builder::new(),
            primary: primary.into(),
            filter: Filter::default(),
            connector: Arc::new(Tcp),
            timeout: TIMEOUT,
            watcher: None,
        }
    }
}

impl ReplicaBuilder {
    /// Opens the store as this builder says: shards, databases, settings. Its memory limit counts once the copy is
    /// [promoted](Replica::promote): a replica leaves eviction to its primary.
    ///
    /// ```no_run
    /// let store = baton::Store::builder().shards(64);
    /// let replica = baton::Store::replica_of("redis://127.0.0.1").store(store).follow()?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn store(mut self, builder: Builder) -> Self {
        self.store = builder;
        self
    }

    /// Copies these databases only.
    ///
    /// ```no_run
    /// let replica = baton::Store::replica_of("redis://127.0.0.1").databases([0, 3]).follow()?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn databases(mut self, databases: impl IntoIterator<Item = usize>) -> Self {
        self.filter.databases.extend(databases);
        self
    }

    /// Copies keys of these hash slots only (0 to 16383); several calls add ranges.
    ///
    /// ```no_run
    /// let replica = baton::Store::replica_of("redis://127.0.0.1").slots(0..=8191).follow()?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn slots(mut self, slots: RangeInclusive<u16>) -> Self {
        self.filter.slots.push(slots);
        self
    }

    /// Copies keys only that match this pattern, with `*`, `?` and `[...]`; several calls add patterns.
    ///
    /// A command that reads a key which is left out and writes one that is not (RENAME, SUNIONSTORE and the like) cannot be
    /// repeated here: all data are asked for anew then.
    ///
    /// ```no_run
    /// let replica = baton::Store::replica_of("redis://127.0.0.1").keys("session:*").follow()?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn keys(mut self, pattern: impl AsRef<[u8]>) -> Self {
        self.filter.patterns.push(pattern.as_ref().to_vec());
        self
    }

    /// Gives a silent primary up after this time (`repl-timeout`; 60 seconds).
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// let replica = baton::Store::replica_of("redis://127.0.0.1").timeout(Duration::from_secs(15)).follow()?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Reaches the primary by other means than plain TCP.
    ///
    /// ```no_run
    /// use baton::replication::connect::Tcp;
    ///
    /// let replica = baton::Store::replica_of("redis://127.0.0.1").connector(Tcp).follow()?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn connector(mut self, connector: impl Connector + 'static) -> Self {
        self.connector = Arc::new(connector);
        self
    }

    /// Calls this with everything that happens to the replica, on its thread: it must not take long.
    ///
    /// ```no_run
    /// let replica = baton::Store::replica_of("redis://127.0.0.1").watch(|event| eprintln!("{event:?}")).follow()?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn watch(mut self, watcher: impl Fn(&ReplicaEvent) + Send + Sync + 'static) -> Self {
        self.watcher = Some(Box::new(watcher));
        self
    }

    /// Begins to follow. Returns at once: see [`Replica::wait_until_following`].
    ///
    /// # Errors
    /// The address cannot be understood, or there is no thread to be had. That the primary cannot be reached is no error: it is
    /// tried again each second.
    ///
    /// ```no_run
    /// let replica = baton::Store::replica_of("redis://:secret@127.0.0.1:6380/2").follow()?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn follow(self) -> Result<Replica, Error> {
        let primary = parse(&self.primary)?;
        let (mut builder, mut filter) = (self.store, self.filter);
        filter.databases.extend(primary.db);
        let maxmemory = std::mem::take(&mut builder.settings.maxmemory);
        let mut store = builder.memory();
        if let Some(db) = primary.db {
            store = store.database(db)?;
        }
        let node = store.node().clone();
        {
            let mut held = node.hold_all();
            let role = Role::Replica { host: primary.host.clone(), port: primary.port };
            node.replication().set_role(role);
            held.follow(0, None);
        }
        let shared = Arc::new(Shared {
            facts: Facts { auth: primary.auth, ..Facts::default() },
            timeout: self.timeout,
            watcher: self.watcher,
            waiting: AtomicU64::new(0),
            turn: Mutex::new(()),
            news: Condvar::new(),
        });
        let start = LinkStart {
            node,
            owner: shared.clone(),
            connector: self.connector,
            host: primary.host,
            port: primary.port,
            filter: (!filter.is_all()).then(|| Arc::new(filter)),
            may_go_on: false,
        };
        let link = Link::start(start)
            .map_err(|error| Error::System { doing: "start the thread of a replica".to_owned(), error })?;
        Ok(Replica { store, link, shared, maxmemory })
    }
}

impl Replica {
    /// The store: for those who want a handle of their own.
    ///
    /// ```no_run
    /// let replica = baton::Store::replica_of("redis://127.0.0.1").follow()?;
    /// let store = replica.store().clone();
    /// std::thread::spawn(move || store.get("key"));
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How it is doing.
    ///
    /// ```no_run
    /// # let replica = baton::Store::replica_of("redis://127.0.0.1").follow()?;
    /// use baton::store::ReplicaState;
    ///
    /// let is_fresh = replica.state() == ReplicaState::Following;
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn state(&self) -> ReplicaState {
        ReplicaState::of(self.figures().state())
    }

    /// Bytes of the primary's stream whose changes can be read here: its `master_repl_offset` when nothing is on the way.
    ///
    /// ```no_run
    /// # let replica = baton::Store::replica_of("redis://127.0.0.1").follow()?;
    /// println!("at {}", replica.offset());
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn offset(&self) -> u64 {
        self.figures().applied.load(Ordering::Acquire)
    }

    /// How old the data may be: the time since the primary was last heard. It says something every 10 seconds at least
    /// (`repl-ping-replica-period`), and whatever it says has been applied. `None` while there is no connection.
    ///
    /// ```no_run
    /// # let replica = baton::Store::replica_of("redis://127.0.0.1").follow()?;
    /// println!("{:?}", replica.lag());
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn lag(&self) -> Option<Duration> {
        let now_ms = self.store.node().now_ms();
        let heard_ms = self.figures().last_io_ms()?;
        Some(Duration::from_millis(u64::try_from(now_ms - heard_ms).unwrap_or(0)))
    }

    /// How often all data were taken over, and how often the stream went on after a break.
    ///
    /// ```no_run
    /// # let replica = baton::Store::replica_of("redis://127.0.0.1").follow()?;
    /// let (full, partial) = replica.synchronisations();
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn synchronisations(&self) -> (u64, u64) {
        let figures = self.figures();
        (figures.full.load(Ordering::Relaxed), figures.partial.load(Ordering::Relaxed))
    }

    /// Waits until the data follow those of the primary.
    ///
    /// # Errors
    /// The time is over.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # let replica = baton::Store::replica_of("redis://127.0.0.1").follow()?;
    /// replica.wait_until_following(Duration::from_secs(10))?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn wait_until_following(&self, time: Duration) -> Result<(), Error> {
        self.wait(time, || self.state() == ReplicaState::Following)
    }

    /// Waits until the changes up to this offset of the primary's stream can be read here: read your own writes by asking the primary
    /// for its `master_repl_offset` after them.
    ///
    /// # Errors
    /// The time is over.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # let replica = baton::Store::replica_of("redis://127.0.0.1").follow()?;
    /// replica.wait_for(123_456, Duration::from_secs(1))?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn wait_for(&self, offset: u64, time: Duration) -> Result<(), Error> {
        self.wait(time, || self.state() == ReplicaState::Following && self.offset() >= offset)
    }

    /// Ends the connection, which is made anew at once.
    ///
    /// ```no_run
    /// # let replica = baton::Store::replica_of("redis://127.0.0.1").follow()?;
    /// replica.reconnect();
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn reconnect(&self) {
        self.link.cut();
    }

    /// Follows no more: a store like any other, with the data as they are, which can be changed from now on.
    ///
    /// ```no_run
    /// # let replica = baton::Store::replica_of("redis://127.0.0.1").follow()?;
    /// let store = replica.promote();
    /// store.set("mine", "now")?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn promote(self) -> Store {
        self.link.stop();
        let node = self.store.node();
        let mut held = node.hold_all();
        let offset = held.lead();
        node.change_history(|history| history.promote(random_id(), offset));
        node.replication().set_role(Role::Primary);
        drop(held);
        if self.maxmemory > 0 {
            let mut settings = baton_engine::settings::Settings::clone(&node.settings());
            settings.maxmemory = self.maxmemory;
            node.set_settings(settings);
        }
        self.store.clone()
    }

    fn figures(&self) -> &LinkFigures {
        self.link.figures()
    }

    fn wait(&self, time: Duration, is_so: impl Fn() -> bool) -> Result<(), Error> {
        super::access::not_nested(self.store.node())?;
        let start = Instant::now();
        self.shared.waiting.fetch_add(1, Ordering::SeqCst);
        let mut turn = self.shared.turn.lock();
        let mut so = is_so();
        while !so && start.elapsed() < time {
            self.shared.news.wait_for(&mut turn, time.saturating_sub(start.elapsed()));
            so = is_so();
        }
        drop(turn);
        self.shared.waiting.fetch_sub(1, Ordering::SeqCst);
        if so { Ok(()) } else { Err(Error::Behind(time)) }
    }
}

impl Deref for Replica {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica")
            .field("primary", &format_args!("{}:{}", self.link.host(), self.link.port()))
            .field("state", &self.state())
            .field("offset", &self.offset())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn tell(&self, event: &ReplicaEvent) {
        if let Some(watcher) = &self.watcher {
            watcher(event);
        }
    }

    fn wake(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            let _turn = self.turn.lock();
            self.news.notify_all();
        }
    }
}

impl Audience for Shared {
    /// Libraries of functions are kept by the node; nothing else there is for a store to run.
    fn run(&self, args: &[&[u8]]) -> bool {
        // Scripts and users are the server's business.
        let of_server: [&[u8]; 2] = [b"SCRIPT", b"ACL"];
        of_server.iter().any(|name| args[0].eq_ignore_ascii_case(name))
    }

    fn refused(&self, args: &[&[u8]], reply: &[u8]) {
        self.tell(&ReplicaEvent::Refused {
            command: args[0].escape_ascii().to_string(),
            reply: reply.trim_ascii().escape_ascii().to_string(),
        });
    }
}

impl Owner for Shared {
    fn settings(&self) -> LinkSettings {
        LinkSettings {
            lazy_flush: true,
            ignores_disk: false,
            facts: self.facts.clone(),
            timeout: self.timeout,
            intake: Intake::Stream,
            backlog: 0,
            verify: true,
            any_version: false,
            key_delay: Duration::ZERO,
        }
    }

    fn note(&self, _: Weight, text: &str) {
        if self.watcher.is_some() {
            self.tell(&ReplicaEvent::Note(text.to_owned()));
        }
    }

    fn changed(&self, state: LinkState) {
        self.tell(&ReplicaEvent::State(ReplicaState::of(state)));
        self.wake();
    }

    fn full_sync(&self, step: FullSync) {
        if step == FullSync::Done {
            self.tell(&ReplicaEvent::Resynced);
        }
    }

    fn renamed(&self) {}

    fn applied(&self) {
        self.wake();
    }
}

/// Takes an address apart.
fn parse(text: &str) -> Result<Primary, Error> {
    let wrong = |why: &str| Error::Address(format!("'{text}': {why}"));
    let rest = match text.split_once("://") {
        Some(("redis" | "valkey" | "baton" | "tcp", rest)) => rest,
        Some(("rediss", _)) => {
            return Err(wrong("for TLS, give redis:// and a connector that speaks it"));
        }
        Some(_) => return Err(wrong("begins with redis://")),
        None => text,
    };
    let (place, db) = match rest.split_once('/') {
        Some((place, "")) => (place, None),
        Some((place, db)) => {
            (place, Some(db.parse().map_err(|_| wrong("behind the / is the number of a database"))?))
        }
        None => (rest, None),
    };
    let (auth, place) = match place.rsplit_once('@') {
        Some((auth, place)) => {
            let (user, password) = auth.split_once(':').unwrap_or(("", auth));
            let plain =
                |text: &str| percent_decoded(text).ok_or_else(|| wrong("a % needs two hexadecimal digits"));
            (Some((plain(user)?, plain(password)?)), place)
        }
        None => (None, place),
    };
    let (host, port) = match place.strip_prefix('[').and_then(|place| place.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => place.rsplit_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(PORT), str::parse).map_err(|_| wrong("the port is a number up to 65535"))?;
    if host.is_empty() {
        return Err(wrong("there is no host"));
    }
    Ok(Primary { host: host.to_owned(), port, auth, db })
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            out.push((digit(bytes.next())? * 16 + digit(bytes.next())?) as u8);
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |text: &str, host: &str, port: u16, auth: Option<(&str, &str)>, db: Option<usize>| {
            let auth = auth.map(|(user, password)| (user.into(), password.into()));
            assert_eq!(parse(text).unwrap(), Primary { host: host.to_owned(), port, auth, db }, "{text}");
        };
        check("redis://localhost", "localhost", 6379, None, None);
        check("10.0.0.1:7000", "10.0.0.1", 7000, None, None);
        check("redis://bob:s%40e:c@host:1/3", "host", 1, Some(("bob", "s@e:c")), Some(3));
        check("redis://:secret@host/", "host", 6379, Some(("", "secret")), None);
        check("redis://secret@[::1]:7", "::1", 7, Some(("", "secret")), None);
        check("redis://[::1]", "::1", 6379, None, None);
        for wrong in
            ["redis://", "http://host", "rediss://host", "redis://h:70000", "redis://h/x", "redis://%4@h"]
        {
            assert!(matches!(parse(wrong), Err(Error::Address(_))), "{wrong}");
        }
    }

    #[test]
    fn a_primary_that_is_not_there_is_no_error() {
        // Nobody listens on port 1.
        let replica = Store::replica_of("redis://127.0.0.1:1").follow().unwrap();
        assert!(matches!(replica.set("a", "b"), Err(Error::ReadOnly)));
        assert!(matches!(replica.run(["FLUSHALL"]), Err(Error::ReadOnly)));
        assert!(replica.wait_until_following(Duration::from_millis(20)).is_err());
        assert_eq!((replica.lag(), replica.offset(), replica.synchronisations()), (None, 0, (0, 0)));
        let store = replica.promote();
        store.set("a", "b").unwrap();
        assert_eq!(store.get("a").unwrap().unwrap(), "b");
    }
}
