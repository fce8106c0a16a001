//! What all cores of a node share beyond the data: clients, configuration, figures, pauses, the end.

use crate::acl::Acl;
use crate::client::{Client, Clients, End, Post};
use crate::commands::Handler;
use crate::config::{Config, Settings};
use crate::figures::{CoreFigures, Counters, Rates};
use crate::gather::Gathering;
use crate::listen::Listeners;
use crate::log;
use crate::logging::Level;
use crate::persistence::{Rewrites, Snapshots, Told};
use crate::replica::Replica;
use crate::replication::Serving;
use crate::tls::Tls;
use baton::Node;
use baton::persist::load::Progress;
use baton::registry::Registered;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use tokio::sync::{Notify, mpsc, watch};

/// Where a node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Serving,
    /// No more connections; those that are there may finish what they have begun.
    Ending,
}

/// SHUTDOWN.
pub struct EndRequest {
    /// Write a snapshot first, or not; by the save points when it does not say.
    pub save: Option<bool>,
    /// End even when it cannot be written.
    pub force: bool,
    /// Do not wait for replicas.
    pub now: bool,
    /// Who asked, and whether it speaks RESP3: is told when the node goes on.
    pub client: Option<(Arc<Client>, bool)>,
    /// A signal asked: SIGINT from then on insists.
    pub by_signal: bool,
}

/// CLIENT PAUSE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pause {
    /// Until then, Unix ms; 0 for no pause.
    pub until_ms: i64,
    /// Reads too, not only writes.
    pub all: bool,
}

/// A server: a node with its front.
pub struct Server {
    pub node: Arc<Node>,
    pub config: Config,
    /// Who may do what.
    pub acl: Acl,
    /// What runs each command that is not the engine's, by its number in the registry.
    pub handlers: Vec<Option<Handler>>,
    pub clients: RwLock<Clients>,
    pub cores: Vec<CoreFigures>,
    /// Which of them serve connections.
    pub gathering: Gathering,
    /// Hands an accepted connection to a core.
    pub inlets: RwLock<Vec<mpsc::UnboundedSender<crate::core::Arrival>>>,
    pub next_client: AtomicU64,
    pub connections_total: AtomicU64,
    pub connections_rejected: AtomicU64,
    pub monitors: AtomicUsize,
    pub pause: Mutex<Pause>,
    pub is_paused: AtomicBool,
    pub blocked: AtomicUsize,
    pub phase: watch::Sender<Phase>,
    /// Asks the main thread to end the node.
    pub end_requests: mpsc::UnboundedSender<EndRequest>,
    pub run_id: String,
    /// What was in use before there was any data.
    pub startup_memory: AtomicU64,
    pub started_ms: i64,
    pub peak_memory: AtomicU64,
    /// This node as a replica.
    pub replica: Replica,
    /// What became of the rewrites of the log.
    pub rewrites: Rewrites,
    /// What became of the snapshots.
    pub snapshots: Snapshots,
    /// What is kept for replicas.
    pub replicas: Serving,
    /// How TLS is spoken, if it is.
    pub tls: Tls,
    /// The listening sockets, for changes at run time.
    pub listening: Mutex<Listeners>,
    /// What has happened so far.
    pub counters: Counters,
    /// What happens per second.
    pub rates: Mutex<Rates>,
    /// DEBUG QUICKLIST-PACKED-THRESHOLD; 0 for the default.
    pub packed_threshold: AtomicUsize,
    /// Bytes that clients keep, as far as counted, and from which on the greediest have to go (0: none, and nobody counts).
    pub client_bytes: AtomicI64,
    pub client_bytes_max: AtomicU64,
    /// Per core: there is a snapshot to take part in.
    pub saving: Vec<Notify>,
    /// The last snapshot is being written.
    pub is_ending: AtomicBool,
    /// The data are being loaded: only commands that do not need them are served.
    pub is_loading: AtomicBool,
    /// Counts how often that was done.
    pub loads: watch::Sender<u64>,
    /// How far that is.
    pub load: Progress,
    /// When somebody was last told of that, or of a snapshot.
    pub told: Told,
    /// DEBUG SLEEP: held while the node sleeps.
    pub asleep: Mutex<()>,
    pub is_asleep: AtomicBool,
    /// DEBUG PAUSE-CRON
    pub cron_paused: AtomicBool,
    /// DEBUG SET-ACTIVE-EXPIRE
    pub active_expire: AtomicBool,
}

impl Server {
    /// The settings at this moment: a look at them, for a moment, costs next to nothing.
    pub fn settings(&self) -> arc_swap::Guard<Arc<Settings>> {
        self.config.glance()
    }

    /// Changes of the data since the start, as far as they can be counted without waiting: a core that is busy counts
    /// as it did the last time.
    pub fn changes(&self) -> u64 {
        self.node.changes()
    }

    /// The handler of a command that is not the engine's.
    pub fn handler(&self, command: &Registered) -> Option<Handler> {
        self.handlers.get(command.id).copied().flatten()
    }

    /// A client by its number.
    pub fn client(&self, id: u64) -> Option<Arc<Client>> {
        self.clients.read().get(&id).cloned()
    }

    /// All clients, by rising number.
    pub fn all_clients(&self) -> Vec<Arc<Client>> {
        self.clients.read().values().cloned().collect()
    }

    /// Somebody asks for the end: from here on it can be called off.
    pub fn note_end_request(&self) {
        if !self.is_ending.swap(true, Ordering::AcqRel) {
            self.replicas.end_called_off.store(false, Ordering::Release);
        }
    }

    /// Pauses clients; a longer or stricter pause that is on stays on.
    pub fn pause(&self, until_ms: i64, all: bool) {
        let mut pause = self.pause.lock();
        let on = pause.until_ms > self.node.now_ms();
        pause.all = all || on && pause.all;
        pause.until_ms = if on { pause.until_ms.max(until_ms) } else { until_ms };
        self.is_paused.store(true, Ordering::Release);
        self.node.paused.store(true, Ordering::Release);
    }

    /// Ends the pause.
    pub fn unpause(&self) {
        *self.pause.lock() = Pause::default();
        self.is_paused.store(false, Ordering::Release);
        self.node.paused.store(false, Ordering::Release);
        self.wake_blocked();
    }

    /// Has everybody who waits look again at what for.
    pub fn wake_blocked(&self) {
        for client in self.all_clients() {
            if client.is_blocked.load(Ordering::Relaxed) {
                client.mailbox.put(Post::Wake);
            }
        }
    }

    /// The pause, if it is still on; lifts one whose time is over.
    pub fn current_pause(&self) -> Option<Pause> {
        if !self.is_paused.load(Ordering::Acquire) {
            return None;
        }
        let pause = *self.pause.lock();
        if pause.until_ms > self.node.now_ms() {
            return Some(pause);
        }
        self.unpause();
        None
    }

    /// Sends a command to all monitors.
    pub fn feed_monitors(&self, client: &Client, db: usize, args: &[&[u8]]) {
        let address = client.address();
        let origin = if client.is_unix() { format!("unix:{address}") } else { address };
        self.show_monitors(&origin, db, args);
    }

    /// Sends a command of a script to all monitors.
    pub fn feed_monitors_of_script(&self, db: usize, args: &[&[u8]]) {
        self.show_monitors("lua", db, args);
    }

    fn show_monitors(&self, origin: &str, db: usize, args: &[&[u8]]) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let mut line = format!("+{}.{:06} [{db} {origin}]", now.as_secs(), now.subsec_micros()).into_bytes();
        for arg in args {
            line.extend_from_slice(b" ");
            quote(arg, &mut line);
        }
        line.extend_from_slice(b"\r\n");
        let line = bytes::Bytes::from(line);
        for monitor in self.clients.read().values().filter(|c| c.is_monitor.load(Ordering::Relaxed)) {
            monitor.mailbox.put(Post::Bytes(line.clone()));
        }
    }

    /// `maxmemory-clients`: closes the greediest clients until the others fit, after something has happened to this one.
    #[inline]
    pub fn evict_clients(&self, changed: &Client) {
        let limit = self.client_bytes_max.load(Ordering::Relaxed);
        if limit > 0 {
            self.count_client(changed, changed.memory());
            if self.client_bytes.load(Ordering::Relaxed).max(0) as u64 > limit {
                self.evict_clients_over(limit);
            }
        }
    }

    /// A client keeps so many bytes now.
    pub fn count_client(&self, client: &Client, bytes: usize) {
        let before = client.counted_memory.swap(bytes, Ordering::Relaxed);
        self.client_bytes.fetch_add(bytes as i64 - before as i64, Ordering::Relaxed);
    }

    /// As [`evict_clients`](Self::evict_clients), after something may have happened to all of them. O(clients).
    pub fn evict_clients_thoroughly(&self) {
        let limit = self.client_bytes_max.load(Ordering::Relaxed);
        if limit > 0 {
            self.evict_clients_over(limit);
        }
    }

    #[cold]
    fn evict_clients_over(&self, limit: u64) {
        let clients = self.clients.read();
        // Those that are on their way out already have been counted.
        let staying = clients.values().filter(|client| client.ending() == End::No);
        let mut sizes: Vec<(usize, &Arc<Client>)> = staying.map(|client| (client.memory(), client)).collect();
        sizes.iter().for_each(|(size, client)| self.count_client(client, *size));
        let mut total: u64 = sizes.iter().map(|(size, _)| *size as u64).sum();
        if total <= limit {
            return;
        }
        sizes.retain(|(_, client)| !client.no_evict.load(Ordering::Relaxed));
        sizes.sort_unstable_by_key(|(size, _)| std::cmp::Reverse(*size));
        for (size, client) in sizes {
            if total <= limit {
                break;
            }
            total -= size as u64;
            self.count_client(client, 0);
            self.counters.clients_evicted.fetch_add(1, Ordering::Relaxed);
            log!(Level::Notice, "Evicting client: id={} addr={}", client.id, client.address());
            client.end(End::Now);
        }
    }

    /// Begins the end: SHUTDOWN, SIGTERM, SIGINT.
    pub fn shut_down(&self) {
        self.node.scripts.busy.end_all();
        // Before the connection that asked for it is closed: whoever sees that finds nobody here.
        crate::listen::close_all(self);
        self.phase.send_replace(Phase::Ending);
    }
}

/// Writes a string in quotes, as MONITOR and `sdscatrepr` do.
pub fn quote(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            7 => out.extend_from_slice(b"\\a"),
            8 => out.extend_from_slice(b"\\b"),
            0x20..=0x7e => out.push(*byte),
            other => out.extend_from_slice(format!("\\x{other:02x}").as_bytes()),
        }
    }
    out.push(b'"');
}
