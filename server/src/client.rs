//! What everybody may know of a client, and its mailbox.

use crate::acl::User;
use crate::config::{OutputBufferLimit, Settings};
use arc_swap::ArcSwap;
use baton::held::Identity;
use baton::pubsub::{Message, Subscriber};
use baton::tracking::{Invalidation, Listener, Tracker};
use baton_engine::keyspace::waiting::WatchFlag;
use baton_engine::reply::Out;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::task::Context;

/// What a name takes besides its bytes: an entry here, and one where those are found who wait for it.
const NAME_BYTES: usize = 96;

/// What comes to a connection from elsewhere.
#[derive(Debug)]
pub enum Post {
    /// Encoded bytes for the client: a published message, a line for MONITOR.
    Bytes(Bytes),
    /// The answer to the command that the client waits for.
    Answer(Vec<u8>),
    /// CLIENT UNBLOCK.
    Unblock {
        /// Which wait it is to end: it may be over by now.
        wait: u64,
        /// With this error, rather than as if the time were over.
        with_error: Option<&'static str>,
    },
    /// Look again at what you wait for: CLIENT UNPAUSE, a changed setting.
    Wake,
}

/// Why a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum End {
    /// It goes on.
    No = 0,
    /// At once.
    Now = 1,
    /// After what has been written has left.
    AfterReply = 2,
}

/// The classes of `client-output-buffer-limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Normal,
    Replica,
    PubSub,
}

/// What a thing that arrives for a connection is put into. Filling it never blocks.
#[derive(Debug, Default)]
pub struct Mailbox {
    posts: Mutex<VecDeque<Post>>,
    bytes: AtomicUsize,
    full: AtomicBool,
    waker: AtomicWaker,
}

impl Mailbox {
    /// Leaves a post and wakes the connection.
    pub fn put(&self, post: Post) {
        if let Post::Bytes(bytes) = &post {
            self.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        }
        self.posts.lock().push_back(post);
        self.full.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn take(&self) -> Option<Post> {
        let mut posts = self.posts.lock();
        let post = posts.pop_front();
        if posts.is_empty() {
            self.full.store(false, Ordering::Release);
            if posts.capacity() > 64 {
                *posts = VecDeque::new();
            }
        }
        if let Some(Post::Bytes(bytes)) = &post {
            self.bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
        }
        post
    }

    /// Takes what has arrived by now. Not what arrives meanwhile: who writes much would keep its reader busy for ever.
    pub fn arrived(&self) -> impl Iterator<Item = Post> + '_ {
        let count = self.posts.lock().len();
        std::iter::from_fn(|| self.take()).take(count)
    }

    /// Whether there is a post.
    #[inline]
    pub fn has_post(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// How many posts wait.
    pub fn len(&self) -> usize {
        self.posts.lock().len()
    }

    /// Bytes that wait to be written.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Asks to be woken when something arrives. Look at [`has_post`](Self::has_post) after it, not before.
    pub fn register(&self, context: &Context<'_>) {
        self.waker.register(context.waker());
    }

    /// Wakes the connection without a post.
    pub fn wake(&self) {
        self.waker.wake();
    }
}

/// The texts of a client that rarely change.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub name: Vec<u8>,
    pub library: Vec<u8>,
    pub library_version: Vec<u8>,
}

/// Where a client comes from. Written out only for those who ask.
#[derive(Clone, Debug)]
pub enum Origin {
    /// The address of the client, and ours, if the system told it.
    Tcp(SocketAddr, Option<SocketAddr>),
    /// The path of the socket.
    Unix(String),
}

/// What everybody may know of a client. Numbers are written by its connection alone and read by CLIENT LIST.
#[derive(Debug)]
pub struct Client {
    pub id: u64,
    pub origin: Origin,
    pub fd: i32,
    /// The core that serves it. Changed while it is on its way to another.
    core: AtomicUsize,
    /// The core that is to serve it: it goes there when it is at rest the next time.
    wanted_core: AtomicUsize,
    pub created_ms: i64,
    pub mailbox: Mailbox,
    pub names: Mutex<Names>,
    /// Who it is. Changed by its connection alone.
    user: ArcSwap<User>,
    end: AtomicU32,
    pub last_ms: AtomicI64,
    pub db: AtomicUsize,
    pub resp: AtomicU32,
    /// Number of the last command in the registry; `usize::MAX` before the first.
    pub last_command: AtomicUsize,
    pub channels: AtomicUsize,
    pub patterns: AtomicUsize,
    pub shard_channels: AtomicUsize,
    /// Commands queued by MULTI; -1 outside.
    pub queued: AtomicI64,
    /// Bytes of the commands queued by MULTI.
    pub queued_bytes: AtomicUsize,
    pub watching: AtomicUsize,
    /// What the keys that it watches, the names that it subscribes to and the prefixes that it tracks take.
    names_bytes: AtomicUsize,
    /// Set when a watched key has changed.
    pub watch_flag: Mutex<Option<Arc<WatchFlag>>>,
    /// CLIENT CAPA REDIRECT.
    pub can_redirect: AtomicBool,
    pub is_monitor: AtomicBool,
    /// It is served as a replica.
    pub is_replica: AtomicBool,
    /// It is the primary of this node, at the other end of the link: no connection serves it.
    pub is_primary: AtomicBool,
    pub is_blocked: AtomicBool,
    /// Number of the wait that CLIENT UNBLOCK may end; 0 for none.
    pub wait: AtomicU64,
    pub no_evict: AtomicBool,
    pub no_touch: AtomicBool,
    pub is_import_source: AtomicBool,
    /// What has come of requests and is no argument yet.
    pub query_bytes: AtomicUsize,
    /// The arguments that have come of a request that is not whole.
    pub argv_bytes: AtomicUsize,
    pub output_bytes: AtomicUsize,
    /// What the buffers of requests and of replies take, which is more than what is in them.
    pub query_memory: AtomicUsize,
    pub output_memory: AtomicUsize,
    /// What it counts for in the sum over all clients.
    pub counted_memory: AtomicUsize,
    /// The most bytes of replies that there were at once.
    pub output_peak: AtomicUsize,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    pub commands: AtomicU64,
    /// When its output went over the soft limit, Unix ms; 0 when it is not over it.
    pub over_soft_since: AtomicI64,
    /// `client-output-buffer-limit pubsub`: hard limit in bytes, 0 for none. Enforced by whoever delivers.
    pub push_limit: AtomicUsize,
    /// How it is told of changes of what it has read, if it is.
    tracker: Mutex<Option<Arc<Tracker>>>,
}

impl Client {
    /// A client that has just connected.
    pub fn new(id: u64, origin: Origin, fd: i32, core: usize, now_ms: i64, user: Arc<User>) -> Self {
        Self {
            id,
            origin,
            fd,
            core: AtomicUsize::new(core),
            wanted_core: AtomicUsize::new(core),
            created_ms: now_ms,
            mailbox: Mailbox::default(),
            names: Mutex::default(),
            user: ArcSwap::new(user),
            end: AtomicU32::new(End::No as u32),
            last_ms: AtomicI64::new(now_ms),
            db: AtomicUsize::new(0),
            resp: AtomicU32::new(2),
            last_command: AtomicUsize::new(usize::MAX),
            channels: AtomicUsize::new(0),
            patterns: AtomicUsize::new(0),
            shard_channels: AtomicUsize::new(0),
            queued: AtomicI64::new(-1),
            queued_bytes: AtomicUsize::new(0),
            watching: AtomicUsize::new(0),
            names_bytes: AtomicUsize::new(0),
            watch_flag: Mutex::default(),
            can_redirect: AtomicBool::new(false),
            is_monitor: AtomicBool::new(false),
            is_replica: AtomicBool::new(false),
            is_primary: AtomicBool::new(false),
            is_blocked: AtomicBool::new(false),
            wait: AtomicU64::new(0),
            no_evict: AtomicBool::new(false),
            no_touch: AtomicBool::new(false),
            is_import_source: AtomicBool::new(false),
            query_bytes: AtomicUsize::new(0),
            argv_bytes: AtomicUsize::new(0),
            output_bytes: AtomicUsize::new(0),
            query_memory: AtomicUsize::new(0),
            output_memory: AtomicUsize::new(0),
            counted_memory: AtomicUsize::new(0),
            output_peak: AtomicUsize::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            over_soft_since: AtomicI64::new(0),
            push_limit: AtomicUsize::new(0),
            tracker: Mutex::default(),
        }
    }

    /// The core that serves it.
    #[inline]
    pub fn core(&self) -> usize {
        self.core.load(Ordering::Relaxed)
    }

    /// Another core serves it from now on.
    pub fn set_core(&self, core: usize) {
        self.core.store(core, Ordering::Relaxed);
    }

    /// The core that is to serve it.
    #[inline]
    pub fn wanted_core(&self) -> usize {
        self.wanted_core.load(Ordering::Relaxed)
    }

    /// This core is to serve it. It goes there when it next has something to do: who is silent costs nothing where it is.
    pub fn want_core(&self, core: usize) {
        self.wanted_core.store(core, Ordering::Relaxed);
    }

    /// Who it is.
    pub fn user(&self) -> Arc<User> {
        self.user.load_full()
    }

    /// It is somebody else from now on.
    pub fn set_user(&self, user: Arc<User>) {
        self.user.store(user);
    }

    /// Ends the connection.
    pub fn end(&self, how: End) {
        self.end.store(how as u32, Ordering::Release);
        self.mailbox.wake();
    }

    /// Whether and how it is to end.
    #[inline]
    pub fn ending(&self) -> End {
        match self.end.load(Ordering::Acquire) {
            0 => End::No,
            1 => End::Now,
            _ => End::AfterReply,
        }
    }

    /// How it is told of changes of what it has read, if it is.
    pub fn tracker(&self) -> Option<Arc<Tracker>> {
        self.tracker.lock().clone()
    }

    /// Is told of changes in this way from now on, or not at all.
    pub fn set_tracker(&self, tracker: Option<Arc<Tracker>>) {
        let mut place = self.tracker.lock();
        let old = std::mem::replace(&mut *place, tracker);
        // Its prefixes are kept for it as channels are.
        place.iter().flat_map(|new| new.prefixes()).for_each(|prefix| self.keeps_name(prefix));
        old.iter().flat_map(|old| old.prefixes()).for_each(|prefix| self.forgets_name(prefix));
    }

    /// Who is told of changes in its place: 0 for nobody, -1 when it is not told of any.
    pub fn redirect(&self) -> i64 {
        self.tracker.lock().as_ref().map_or(-1, |tracker| tracker.redirect() as i64)
    }

    /// Leaves bytes that it did not ask for; ends it when too many of them wait.
    fn deliver_bytes(&self, bytes: Bytes) {
        let limit = self.push_limit.load(Ordering::Relaxed);
        self.mailbox.put(Post::Bytes(bytes));
        if limit > 0 && self.mailbox.bytes() + self.output_bytes.load(Ordering::Relaxed) > limit {
            self.end(End::Now);
        }
    }

    /// Whether it is on this machine.
    pub fn is_local(&self) -> bool {
        match &self.origin {
            Origin::Tcp(peer, _) => peer.ip().to_canonical().is_loopback(),
            Origin::Unix(_) => true,
        }
    }

    /// Whether it came over a Unix socket.
    pub fn is_unix(&self) -> bool {
        matches!(self.origin, Origin::Unix(_))
    }

    /// Its address, as CLIENT LIST shows it.
    pub fn address(&self) -> String {
        match &self.origin {
            Origin::Tcp(peer, _) => peer.to_string(),
            Origin::Unix(path) => format!("{path}:0"),
        }
    }

    /// The address at which it arrived.
    pub fn local_address(&self) -> String {
        match &self.origin {
            Origin::Tcp(_, local) => local.map(|local| local.to_string()).unwrap_or_default(),
            Origin::Unix(path) => format!("{path}:0"),
        }
    }

    /// Subscriptions of all kinds.
    pub fn subscriptions(&self) -> usize {
        self.channels.load(Ordering::Relaxed)
            + self.patterns.load(Ordering::Relaxed)
            + self.shard_channels.load(Ordering::Relaxed)
    }

    /// Counts a name that is kept for it: a key that it watches, a channel.
    pub fn keeps_name(&self, name: &[u8]) {
        self.names_bytes.fetch_add(name.len() + NAME_BYTES, Ordering::Relaxed);
    }

    /// A name is not kept for it any more.
    pub fn forgets_name(&self, name: &[u8]) {
        self.names_bytes.fetch_sub(name.len() + NAME_BYTES, Ordering::Relaxed);
    }

    /// Bytes that it keeps: itself, what it has sent ahead, what it has not read, what it waits to hear of.
    pub fn memory(&self) -> usize {
        size_of::<Self>()
            + self.query_memory.load(Ordering::Relaxed)
            + self.output_memory.load(Ordering::Relaxed)
            + self.queued_bytes.load(Ordering::Relaxed)
            + self.names_bytes.load(Ordering::Relaxed)
            + self.mailbox.bytes()
    }

    /// What it may leave unread.
    pub fn output_limit(&self, settings: &Settings) -> OutputBufferLimit {
        let limits = &settings.client_output_buffer_limit;
        match self.class() {
            Class::PubSub => limits.pubsub,
            Class::Replica => limits.replica,
            Class::Normal => limits.normal,
        }
    }

    /// Its class for output limits.
    pub fn class(&self) -> Class {
        if self.is_replica.load(Ordering::Relaxed) {
            Class::Replica
        } else if self.subscriptions() > 0 {
            Class::PubSub
        } else {
            Class::Normal
        }
    }
}

impl Identity for Client {
    fn address(&self) -> String {
        Self::address(self)
    }

    fn name(&self) -> String {
        String::from_utf8_lossy(&self.names.lock().name).into_owned()
    }

    fn broken(&self) {
        crate::log!(
            crate::logging::Level::Warning,
            "A command of client id={} addr={} panicked: please report this. The client is disconnected.",
            self.id,
            Self::address(self)
        );
        self.end(End::AfterReply);
    }
}

impl Subscriber for Client {
    fn id(&self) -> u64 {
        self.id
    }

    fn deliver(&self, message: &Message<'_>) {
        self.deliver_bytes(message.encoded(self.resp.load(Ordering::Relaxed) == 3));
    }
}

impl Listener for Client {
    fn id(&self) -> u64 {
        self.id
    }

    fn invalidate(&self, what: &Invalidation<'_>, redirected: bool) {
        if self.resp.load(Ordering::Relaxed) == 3 {
            self.deliver_bytes(what.push());
        } else if redirected && self.subscriptions() > 0 {
            self.deliver_bytes(what.message());
        }
        // RESP2 has no word for what nobody asked for.
    }

    fn redirect_broken(&self, to: u64) {
        if self.resp.load(Ordering::Relaxed) == 3 {
            let mut out = Out::new(true);
            out.push(2);
            out.bulk(b"tracking-redir-broken");
            out.integer(to as i64);
            self.deliver_bytes(Bytes::from(out.into_bytes()));
        }
    }

    fn is_gone(&self) -> bool {
        self.ending() == End::Now
    }
}

/// Clients by number.
pub type Clients = std::collections::BTreeMap<u64, Arc<Client>>;
