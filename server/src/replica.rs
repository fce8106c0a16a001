//! This node as a replica: when it follows whom, what clients notice of it, and the way back.
//!
//! The link and all that it does to the data are the runtime's (`baton::replication::link`). Here is what it needs to know of
//! the settings, and what the node has to do around it: the log begins anew after a full synchronisation, clients are told
//! that data are loading, further replicas are sent away when their history ends.

use crate::client::{Class, Client, End, Origin, Post};
use crate::config::{RdbVersionCheck, ReplDisklessLoad, Settings, Text};
use crate::log;
use crate::logging::{self, Level};
use crate::persistence;
use crate::server::Server;
use crate::tls::dial::Primaries;
use baton::replication::apply::Audience;
use baton::replication::connect::Connector;
use baton::replication::failover::Failover;
use baton::replication::handshake::Facts;
use baton::replication::link::{
    FullSync, Intake, Link, LinkFigures, LinkSettings, LinkStart, LinkState, Owner, Snapshot, Weight,
};
use baton::replication::random_id;
use baton::replication::role::Role;
use baton_engine::error::CommandError;
use parking_lot::Mutex;
use std::net::ToSocketAddrs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What a client reads that waits for a key when the node becomes a replica.
const DEMOTED: &str =
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";

/// The part of a server that follows a primary.
#[derive(Default)]
pub struct Replica {
    link: Mutex<Option<Link>>,
    /// The primary, as CLIENT LIST shows it, while there is a connection with it.
    as_client: Mutex<Option<Arc<Client>>>,
    /// Clients are refused since the link is down (`replica-serve-stale-data no`).
    pub is_stale: AtomicBool,
    /// Data are being loaded beside those that are served.
    pub async_loading: AtomicBool,
    /// What was loaded at the start belongs to a history that the primary may know.
    pub may_resume: AtomicBool,
    /// Commands of the primary that were refused here.
    pub refused: AtomicU64,
}

/// What INFO and ROLE say of the primary.
pub struct Following {
    /// Where it is.
    pub host: String,
    /// Where it is.
    pub port: u16,
    /// How the link is doing.
    pub figures: Arc<LinkFigures>,
}

impl Replica {
    /// How the link is doing, if there is one.
    pub fn figures(&self) -> Option<Arc<LinkFigures>> {
        self.link.lock().as_ref().map(|link| link.figures().clone())
    }

    /// Whom a node of this role follows, if anybody. Before there is a link, while data are loaded, it is not connected.
    pub fn following(&self, role: &Role) -> Option<Following> {
        let link = self.link.lock();
        match (link.as_ref(), role) {
            (Some(link), _) => {
                let (host, figures) = (link.host().to_owned(), link.figures().clone());
                Some(Following { host, port: link.port(), figures })
            }
            (None, Role::Replica { host, port }) => {
                Some(Following { host: host.clone(), port: *port, figures: Arc::default() })
            }
            (None, Role::Primary) => None,
        }
    }

    /// The primary, as CLIENT LIST shows it, while there is a connection with it.
    pub fn as_client(&self) -> Option<Arc<Client>> {
        self.as_client.lock().clone()
    }

    /// Ends the connection with the primary, which is made anew. False if there is none.
    pub fn cut(&self) -> bool {
        let link = self.link.lock();
        let Some(link) = link.as_ref().filter(|link| link.figures().state() == LinkState::Connected) else {
            return false;
        };
        link.cut();
        true
    }

    /// Nothing more of the primary is applied: the node ends.
    pub fn stop(&self) {
        if let Some(link) = self.link.lock().take() {
            link.stop();
        }
    }
}

/// What REPLICAOF asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleChange {
    /// To be a primary.
    Promote,
    /// To follow this node.
    Follow {
        /// Where it is.
        host: String,
        /// Where it is.
        port: u16,
    },
}

impl RoleChange {
    /// The settings say so from now on, before it is carried out: CONFIG REWRITE may come right behind it.
    pub fn announce(&self, server: &Server) {
        let primary = match self {
            Self::Promote => None,
            Self::Follow { host, port } => Some((Text::new(host.as_bytes()), *port)),
        };
        server.config.update(|settings| settings.replicaof.0 = primary);
    }
}

/// Does what a transaction asked for. No baton may be held here.
pub fn carry_out(server: &Arc<Server>, change: RoleChange) {
    match change {
        RoleChange::Promote => {
            promote(server);
        }
        RoleChange::Follow { host, port } => {
            if let Err(error) = follow(server, host, port) {
                log!(Level::Warning, "REPLICAOF: {error}");
            }
        }
    }
}

/// What REPLICAOF found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// It follows from now on.
    Now,
    /// It did already.
    Already,
}

/// Is what the configuration says from the first look on, while data are loaded too.
pub fn prepare(server: &Server) {
    if let Some((host, port)) = server.settings().replicaof.0.clone() {
        server.node.replication().set_role(Role::Replica { host: host.lossy().into_owned(), port });
        logging::set_role(logging::Role::Replica);
    }
}

/// Follows the primary of the configuration, at the start. `serve` lets clients in: they find a replica.
///
/// # Errors
/// There is no thread to be had.
pub fn begin(server: &Arc<Server>, serve: impl FnOnce()) -> Result<(), String> {
    // Whoever changes the role waits for the link.
    let mut link = server.replica.link.lock();
    let primary = server.settings().replicaof.0.clone();
    let Some((host, port)) = primary else {
        drop(link);
        serve();
        return Ok(());
    };
    let may_go_on = server.replica.may_resume.load(Ordering::Acquire);
    let host = host.lossy().into_owned();
    let owner = become_replica(server, &host, port);
    serve();
    start(server, owner, &mut link, host, port, may_go_on).map_err(|error| error.to_string())
}

/// Follows another node from now on, whatever this one was before. No baton may be held here.
///
/// # Errors
/// There is no thread to be had.
pub fn follow(server: &Arc<Server>, host: String, port: u16) -> Result<Followed, CommandError> {
    let mut link = server.replica.link.lock();
    if link.as_ref().is_some_and(|link| link.port() == port && link.host().eq_ignore_ascii_case(&host)) {
        return Ok(Followed::Already);
    }
    // Whoever knows this node's history may go on with it: its former replicas, one of which may be the new primary.
    let may_go_on = link.as_ref().is_none_or(Link::may_go_on);
    match link.take() {
        Some(old) => old.stop(),
        None => log!(
            Level::Notice,
            "Before turning into a replica, using my own master parameters to synthesize a cached master: I may be able to \
             synchronize with the new master with just a partial transfer."
        ),
    }
    server.config.update(|settings| settings.replicaof.0 = Some((Text::new(host.as_bytes()), port)));
    let owner = become_replica(server, &host, port);
    start(server, owner, &mut link, host, port, may_go_on)
        .map_err(|error| CommandError::owned(format!("ERR no thread for the link: {error}")))?;
    drop(link);
    turn_waiting_away(server);
    Ok(Followed::Now)
}

/// The data are those of another node from here on, which there is no link with yet.
fn become_replica(server: &Arc<Server>, host: &str, port: u16) -> Arc<Follower> {
    let node = &server.node;
    {
        let mut held = node.hold_all();
        node.replication().set_role(Role::Replica { host: host.to_owned(), port });
        held.follow(node.journal().stream_db().unwrap_or_default(), None);
    }
    logging::set_role(logging::Role::Replica);
    let owner = Arc::new(Follower { server: Arc::downgrade(server) });
    owner.changed(LinkState::Connect);
    crate::commands::apply_settings(server);
    owner
}

fn start(
    server: &Arc<Server>,
    owner: Arc<Follower>,
    link: &mut Option<Link>,
    host: String,
    port: u16,
    may_go_on: bool,
) -> std::io::Result<()> {
    let start = LinkStart {
        node: server.node.clone(),
        owner,
        connector: connector(server),
        host,
        port,
        filter: None,
        may_go_on,
    };
    *link = Some(Link::start(start)?);
    Ok(())
}

/// How primaries are reached.
fn connector(server: &Arc<Server>) -> Arc<dyn Connector> {
    Arc::new(Primaries(Arc::downgrade(server)))
}

/// Is a primary from now on, whose history goes on from that of the one before. False if it was one already. No baton may be
/// held here.
pub fn promote(server: &Arc<Server>) -> bool {
    let mut link = server.replica.link.lock();
    let Some(old) = link.take() else { return false };
    old.stop();
    let node = &server.node;
    {
        let mut held = node.hold_all();
        let offset = held.lead();
        node.change_history(|history| history.promote(random_id(), offset));
        node.replication().set_role(Role::Primary);
    }
    drop(link);
    logging::set_role(logging::Role::Primary);
    let history = node.replication().history();
    if let Some(previous) = history.previous {
        log!(
            Level::Notice,
            "Setting secondary replication ID to {}, valid up to offset: {}. New replication ID is {}",
            previous.id,
            previous.end + 1,
            history.id
        );
    }
    server.replica.as_client.lock().take();
    server.replica.is_stale.store(false, Ordering::Release);
    server.replica.async_loading.store(false, Ordering::Release);
    server.config.update(|settings| settings.replicaof.0 = None);
    crate::commands::apply_settings(server);
    send_replicas_away(server);
    begin_log(server);
    true
}

/// Those who wait for a key would take it from under the primary's stream.
fn turn_waiting_away(server: &Server) {
    for client in server.all_clients() {
        let wait = client.wait.swap(0, Ordering::AcqRel);
        if wait > 0 {
            client.mailbox.put(Post::Unblock { wait, with_error: Some(DEMOTED) });
            client.end(End::AfterReply);
        }
    }
}

/// Further replicas hear of what has changed when they come back.
fn send_replicas_away(server: &Server) {
    for client in server.all_clients() {
        if client.class() == Class::Replica {
            client.end(End::Now);
        }
    }
}

/// The log, if there is to be one, begins with the data as they are.
fn begin_log(server: &Arc<Server>) {
    if !server.settings().appendonly || server.node.journal().has_file() {
        return;
    }
    if let Err(error) = persistence::begin_rewrite(server, true) {
        server.rewrites.scheduled.store(true, Ordering::Relaxed);
        log!(Level::Warning, "The append only file cannot be begun yet: {error}");
    }
}

/// Ends what is being written of the old data, and the log.
fn end_persistence(server: &Arc<Server>) {
    server.node.snapshots.abort("a full synchronisation with the primary");
    while server.node.snapshots.current().is_some() || server.node.log.is_rewriting() {
        std::thread::sleep(Duration::from_millis(1));
    }
    if let Some(why) = server.node.close_log() {
        log!(Level::Warning, "The end of the append only file could not be written: {why}");
    }
}

/// Who the link works for.
struct Follower {
    server: Weak<Server>,
}

impl Follower {
    fn with<R: Default>(&self, work: impl FnOnce(&Arc<Server>) -> R) -> R {
        self.server.upgrade().as_ref().map(work).unwrap_or_default()
    }
}

impl Audience for Follower {
    fn run(&self, args: &[&[u8]]) -> bool {
        self.with(|server| server.node.scripts.replay(args) == Some(true))
    }

    fn flushed(&self) {
        self.with(|server| persistence::flushed(server));
    }

    fn refused(&self, args: &[&[u8]], reply: &[u8]) {
        self.with(|server| {
            server.replica.refused.fetch_add(1, Ordering::Relaxed);
            log!(
                Level::Warning,
                "== CRITICAL == This replica is sending an error to its master: '{}' after processing the command '{}'",
                String::from_utf8_lossy(reply.trim_ascii()),
                args[0].escape_ascii()
            );
        });
    }
}

impl Owner for Follower {
    fn settings(&self) -> LinkSettings {
        let settings = match self.server.upgrade() {
            Some(server) => server.config.current(),
            None => Arc::default(),
        };
        let mut settings = link_settings(&settings);
        settings.facts.failover =
            self.with(|server| matches!(*server.replicas.failover.lock(), Failover::HandingOver { .. }));
        settings
    }

    fn turned_away(&self) {
        self.with(|server| server.replicas.failover_refused.store(true, Ordering::Release));
    }

    fn note(&self, weight: Weight, text: &str) {
        match weight {
            Weight::Notice => log!(Level::Notice, "{text}"),
            Weight::Warning => log!(Level::Warning, "{text}"),
        }
    }

    fn changed(&self, state: LinkState) {
        self.with(|server| {
            let stale = state != LinkState::Connected && !server.settings().replica_serve_stale_data;
            server.replica.is_stale.store(stale, Ordering::Release);
            let client = (state == LinkState::Connected).then(|| primary_as_client(server)).flatten();
            *server.replica.as_client.lock() = client;
        });
    }

    fn applied(&self) {
        self.with(|server| {
            if let Some(client) = &*server.replica.as_client.lock() {
                client.last_ms.store(server.node.now_ms(), Ordering::Relaxed);
            }
        });
    }

    fn full_sync(&self, step: FullSync) {
        self.with(|server| match step {
            FullSync::Begins => {
                send_replicas_away(server);
                end_persistence(server);
                // What is kept belongs to another history.
                server.node.hold_all().close_backlog();
            }
            FullSync::Loads => server.is_loading.store(true, Ordering::Release),
            FullSync::LoadsBeside => server.replica.async_loading.store(true, Ordering::Release),
            FullSync::Done => {
                end_loading(server);
                server.snapshots.saved_changes.store(server.changes(), Ordering::Relaxed);
                server.loads.send_modify(|count| *count += 1);
                begin_log(server);
            }
            FullSync::Failed => end_loading(server),
        });
    }

    fn renamed(&self) {
        self.with(|server| send_replicas_away(server));
    }
}

/// The other end of the link, in the form of a client. `None` if nobody knows its address any more.
fn primary_as_client(server: &Server) -> Option<Arc<Client>> {
    let Role::Replica { host, port } = &*server.node.replication().role() else { return None };
    let peer = (host.as_str(), *port).to_socket_addrs().ok()?.next()?;
    let id = server.next_client.fetch_add(1, Ordering::Relaxed);
    let (now_ms, user) = (server.node.now_ms(), server.acl.default_user().clone());
    let client = Client::new(id, Origin::Tcp(peer, None), -1, 0, now_ms, user);
    client.is_primary.store(true, Ordering::Relaxed);
    Some(Arc::new(client))
}

fn end_loading(server: &Server) {
    server.is_loading.store(false, Ordering::Release);
    server.replica.async_loading.store(false, Ordering::Release);
}

/// What the link needs to know of the settings.
fn link_settings(settings: &Settings) -> LinkSettings {
    let auth = (!settings.masterauth.is_empty())
        .then(|| (settings.masteruser.to_vec(), settings.masterauth.to_vec()));
    let port = match settings.replica_announce_port {
        0 if settings.tls_replication && settings.tls_port > 0 => settings.tls_port,
        0 => settings.port,
        announced => announced,
    };
    let facts =
        Facts { auth, port, address: settings.replica_announce_ip.to_vec(), known: None, failover: false };
    let path = persistence::snapshot_path(settings);
    let time_s = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let snapshot = Snapshot {
        temp: path.with_file_name(format!("temp-{time_s}.{}.rdb", std::process::id())),
        remove: settings.rdb_del_sync_files && !settings.appendonly && settings.save.0.is_empty(),
        path,
    };
    LinkSettings {
        facts,
        lazy_flush: settings.replica_lazy_flush,
        ignores_disk: settings.replica_ignore_disk_write_errors,
        timeout: Duration::from_secs(u64::from(settings.repl_timeout)),
        intake: match settings.repl_diskless_load {
            ReplDisklessLoad::Disabled => Intake::File(snapshot),
            ReplDisklessLoad::OnEmptyDb => Intake::StreamIfEmpty(snapshot),
            ReplDisklessLoad::Swapdb => Intake::Stream,
            ReplDisklessLoad::FlushBeforeLoad => Intake::StreamAfterFlush,
        },
        backlog: settings.repl_backlog_size,
        verify: settings.rdbchecksum,
        any_version: settings.rdb_version_check == RdbVersionCheck::Relaxed,
        key_delay: Duration::from_micros(settings.key_load_delay.max(0) as u64),
    }
}
