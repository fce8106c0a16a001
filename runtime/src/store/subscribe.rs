//! Messages: channels, patterns, and what happens to keys.

use super::access::not_nested;
use super::{Error, Inner, Store};
use crate::pubsub::{self, Kind, Subscriber};
use baton_engine::keyspace::notify;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

/// Messages that a subscription keeps for whoever does not take them: further ones are dropped and counted.
const KEPT_MAX: usize = 65_536;

/// A message that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The pattern that its channel matched, if that is what was subscribed to.
    pub pattern: Option<Bytes>,
    /// Where it was published.
    pub channel: Bytes,
    /// What was published.
    pub payload: Bytes,
}

/// Something that happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEvent {
    /// The key.
    pub key: Bytes,
    /// What happened, in the words of Redis: `set`, `del`, `expired`, `lpush`...
    pub event: String,
}

/// Where messages wait.
struct Inbox {
    id: u64,
    waiting: Mutex<VecDeque<Message>>,
    arrived: Condvar,
    waker: AtomicWaker,
    missed: AtomicU64,
}

impl Subscriber for Inbox {
    fn id(&self) -> u64 {
        self.id
    }

    fn deliver(&self, message: &pubsub::Message<'_>) {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= KEPT_MAX {
            self.missed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.push_back(Message {
            pattern: message.pattern().map(Bytes::copy_from_slice),
            channel: Bytes::copy_from_slice(message.channel()),
            payload: Bytes::copy_from_slice(message.payload()),
        });
        drop(waiting);
        self.arrived.notify_all();
        self.waker.wake();
    }
}

/// Messages of the channels and patterns that were subscribed to, until it is dropped. As an iterator it waits for each.
pub struct Subscription {
    inner: Arc<Inner>,
    inbox: Arc<Inbox>,
    names: Vec<(Kind, Box<[u8]>)>,
}

impl Store {
    /// Publishes a message. How many subscriptions it reached; nobody gets it later.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.publish("news", "nobody listens"), 0);
    /// ```
    pub fn publish(&self, channel: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> usize {
        self.inner.node.pubsub.publish(channel.as_ref(), payload.as_ref())
    }

    /// Subscribes to channels. A message that comes while 65,536 wait to be taken is dropped:
    /// see [`Subscription::missed`].
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// let mut news = store.subscribe(["news"]);
    /// store.publish("news", "hello");
    /// assert_eq!(news.next().unwrap().payload, "hello");
    /// ```
    pub fn subscribe(&self, channels: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Subscription {
        self.listen(Kind::Channel, channels)
    }

    /// Subscribes to all channels that match patterns, with `*`, `?` and `[...]`.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// let mut all = store.psubscribe(["news.*"]);
    /// store.publish("news.art", "hello");
    /// assert_eq!(all.next().unwrap().channel, "news.art");
    /// ```
    pub fn psubscribe(&self, patterns: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Subscription {
        self.listen(Kind::Pattern, patterns)
    }

    /// What happens to the keys of this database that match a pattern, from now on. While anybody listens, every change costs
    /// a little more. That a key expired is told when it is removed: when somebody asks for it, or expiry comes by.
    ///
    /// # Errors
    /// The store is called from within a closure that it runs.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// let mut events = store.key_events("user:*")?;
    /// store.set("job:1", "x")?;
    /// store.set("user:1", "ada")?;
    /// store.del("user:1")?;
    /// let words: Vec<_> = events.by_ref().take(2).map(|event| event.event).collect();
    /// assert_eq!(words, ["set", "del"]);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn key_events(&self, pattern: impl AsRef<[u8]>) -> Result<KeyEvents, Error> {
        not_nested(&self.inner.node)?;
        let prefix = format!("__keyspace@{}__:", self.who.db);
        let mut name = prefix.clone().into_bytes();
        name.extend_from_slice(pattern.as_ref());
        let messages = self.listen(Kind::Pattern, [name]);
        self.inner.count_listeners(1);
        Ok(KeyEvents { messages, prefix: prefix.len() })
    }

    fn listen(&self, kind: Kind, names: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Subscription {
        // Apart from the numbers that a server gives to its clients.
        static NEXT: AtomicU64 = AtomicU64::new(super::builder::IN_PROCESS);
        let inbox = Arc::new(Inbox {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            waker: AtomicWaker::new(),
            missed: AtomicU64::new(0),
        });
        let subscriber: Arc<dyn Subscriber> = inbox.clone();
        let names: Vec<_> = names.into_iter().map(|name| (kind, Box::from(name.as_ref()))).collect();
        for (kind, name) in &names {
            self.inner.node.pubsub.subscribe(*kind, name, &subscriber);
        }
        Subscription { inner: self.inner.clone(), inbox, names }
    }
}

impl Inner {
    /// Counts those who listen to events: they are raised as long as anybody does.
    fn count_listeners(&self, change: isize) {
        let mut listeners = self.listeners.lock();
        let before = listeners.count;
        listeners.count = before.saturating_add_signed(change);
        let mut settings = (**self.node.settings()).clone();
        match (before, listeners.count) {
            (0, 1) => {
                listeners.own_flags = settings.notify;
                settings.notify |= notify::parse_flags(b"KA").unwrap_or(0);
            }
            (1, 0) => settings.notify = listeners.own_flags,
            _ => return,
        }
        self.node.set_settings(settings);
    }
}

/// Those who listen to events.
#[derive(Default)]
pub(super) struct Listeners {
    count: usize,
    /// The events that the settings ask for without them.
    own_flags: u32,
}

impl Subscription {
    /// The next message, if there is one already.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.subscribe(["news"]).try_recv(), None);
    /// ```
    pub fn try_recv(&mut self) -> Option<Message> {
        self.inbox.waiting.lock().pop_front()
    }

    /// The next message; none when none comes in time.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let store = baton::Store::memory();
    /// assert_eq!(store.subscribe(["news"]).recv_timeout(Duration::from_millis(1)), None);
    /// ```
    pub fn recv_timeout(&mut self, timeout: Duration) -> Option<Message> {
        let until = Instant::now() + timeout;
        let mut waiting = self.inbox.waiting.lock();
        loop {
            if let Some(message) = waiting.pop_front() {
                return Some(message);
            }
            if self.inbox.arrived.wait_until(&mut waiting, until).timed_out() {
                return waiting.pop_front();
            }
        }
    }

    /// The next message, for asynchronous code of any runtime.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// let store = baton::Store::memory();
    /// let mut news = store.subscribe(["news"]);
    /// store.publish("news", "hello");
    /// assert_eq!(news.recv_async().await.payload, "hello");
    /// # });
    /// ```
    pub async fn recv_async(&mut self) -> Message {
        poll_fn(|context| {
            self.inbox.waker.register(context.waker());
            match self.inbox.waiting.lock().pop_front() {
                Some(message) => Poll::Ready(message),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Messages that were dropped because too many waited.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.subscribe(["news"]).missed(), 0);
    /// ```
    pub fn missed(&self) -> u64 {
        self.inbox.missed.load(Ordering::Relaxed)
    }
}

impl Iterator for Subscription {
    type Item = Message;

    /// Waits for the next message: there is always one more.
    fn next(&mut self) -> Option<Message> {
        let mut waiting = self.inbox.waiting.lock();
        loop {
            if let Some(message) = waiting.pop_front() {
                return Some(message);
            }
            self.inbox.arrived.wait(&mut waiting);
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        for (kind, name) in &self.names {
            self.inner.node.pubsub.unsubscribe(*kind, name, self.inbox.id);
        }
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("names", &self.names).finish_non_exhaustive()
    }
}

/// What happens to keys: see [`Store::key_events`]. As an iterator it waits for each event.
#[derive(Debug)]
pub struct KeyEvents {
    messages: Subscription,
    prefix: usize,
}

impl KeyEvents {
    fn event(&self, message: Message) -> KeyEvent {
        KeyEvent {
            key: message.channel.slice(self.prefix.min(message.channel.len())..),
            event: String::from_utf8_lossy(&message.payload).into_owned(),
        }
    }

    /// The next event; none when none comes in time.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let store = baton::Store::memory();
    /// assert_eq!(store.key_events("*")?.recv_timeout(Duration::from_millis(1)), None);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn recv_timeout(&mut self, timeout: Duration) -> Option<KeyEvent> {
        let message = self.messages.recv_timeout(timeout)?;
        Some(self.event(message))
    }

    /// The next event, for asynchronous code of any runtime.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// let store = baton::Store::memory();
    /// let mut events = store.key_events("*").unwrap();
    /// store.set("key", "value").unwrap();
    /// assert_eq!(events.recv_async().await.key, "key");
    /// # });
    /// ```
    pub async fn recv_async(&mut self) -> KeyEvent {
        let message = self.messages.recv_async().await;
        self.event(message)
    }

    /// Events that were dropped because too many waited.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.key_events("*")?.missed(), 0);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn missed(&self) -> u64 {
        self.messages.missed()
    }
}

impl Iterator for KeyEvents {
    type Item = KeyEvent;

    fn next(&mut self) -> Option<KeyEvent> {
        let message = self.messages.next()?;
        Some(self.event(message))
    }
}

impl Drop for KeyEvents {
    fn drop(&mut self) {
        self.messages.inner.count_listeners(-1);
    }
}
