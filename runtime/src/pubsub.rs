//! Publish/subscribe: channels, patterns, shard channels, and keyspace notifications.
//!
//! A message is encoded once per protocol version and shared by all its subscribers. Delivery only appends to
//! a subscriber's mailbox, so it may happen while a baton is held.

use baton_engine::glob::glob_match;
use baton_engine::keyspace::notify::{Class, Event};
use baton_engine::reply::Out;
use bytes::Bytes;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Somebody who receives messages.
pub trait Subscriber: Send + Sync {
    /// Tells subscribers apart.
    fn id(&self) -> u64;
    /// Takes a message. Must not block.
    fn deliver(&self, message: &Message<'_>);
}

/// What kinds of names there are to subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SUBSCRIBE
    Channel,
    /// PSUBSCRIBE
    Pattern,
    /// SSUBSCRIBE
    Shard,
}

/// A message on its way; encodes itself at most once per protocol version.
pub struct Message<'a> {
    kind: Kind,
    pattern: &'a [u8],
    channel: &'a [u8],
    payload: &'a [u8],
    encoded: [OnceLock<Bytes>; 2],
}

impl Message<'_> {
    /// The pattern that its channel matches, for those who subscribed to that.
    pub fn pattern(&self) -> Option<&[u8]> {
        (self.kind == Kind::Pattern).then_some(self.pattern)
    }

    /// Where it was published.
    pub fn channel(&self) -> &[u8] {
        self.channel
    }

    /// What was published.
    pub fn payload(&self) -> &[u8] {
        self.payload
    }

    /// The push (RESP3) or the array (RESP2) that the client receives.
    pub fn encoded(&self, resp3: bool) -> Bytes {
        let encode = || {
            let mut out = Out::new(resp3);
            match self.kind {
                Kind::Channel => {
                    out.push(3);
                    out.bulk(b"message");
                }
                Kind::Pattern => {
                    out.push(4);
                    out.bulk(b"pmessage");
                    out.bulk(self.pattern);
                }
                Kind::Shard => {
                    out.push(3);
                    out.bulk(b"smessage");
                }
            }
            out.bulk(self.channel);
            out.bulk(self.payload);
            Bytes::from(out.into_bytes())
        };
        self.encoded[usize::from(resp3)].get_or_init(encode).clone()
    }
}

type Names = HashMap<Box<[u8]>, Vec<Arc<dyn Subscriber>>>;

/// Who listens to what.
#[derive(Default)]
pub struct PubSub {
    channels: RwLock<Names>,
    patterns: RwLock<Names>,
    shard_channels: RwLock<Names>,
    /// Subscriptions of all kinds: lets notifications cost nothing while nobody listens.
    count: AtomicUsize,
}

impl PubSub {
    fn names(&self, kind: Kind) -> &RwLock<Names> {
        match kind {
            Kind::Channel => &self.channels,
            Kind::Pattern => &self.patterns,
            Kind::Shard => &self.shard_channels,
        }
    }

    /// Subscribes; false when the subscriber was already there.
    pub fn subscribe(&self, kind: Kind, name: &[u8], subscriber: &Arc<dyn Subscriber>) -> bool {
        let mut names = self.names(kind).write();
        let there = names.entry(name.into()).or_default();
        if there.iter().any(|other| other.id() == subscriber.id()) {
            return false;
        }
        there.push(subscriber.clone());
        self.count.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Unsubscribes; false when the subscriber was not there.
    pub fn unsubscribe(&self, kind: Kind, name: &[u8], id: u64) -> bool {
        let mut names = self.names(kind).write();
        let Some(there) = names.get_mut(name) else { return false };
        let before = there.len();
        there.retain(|other| other.id() != id);
        let gone = there.len() < before;
        if there.is_empty() {
            names.remove(name);
        }
        if gone {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        gone
    }

    /// Sends a message; how many subscribers it reached. O(subscribers + patterns).
    pub fn publish(&self, channel: &[u8], payload: &[u8]) -> usize {
        if self.count.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let mut reached = send(&self.channels, Kind::Channel, channel, payload);
        for (pattern, subscribers) in self.patterns.read().iter() {
            if glob_match(pattern, channel, false) {
                let message = message(Kind::Pattern, pattern, channel, payload);
                subscribers.iter().for_each(|subscriber| subscriber.deliver(&message));
                reached += subscribers.len();
            }
        }
        reached
    }

    /// Sends a message to a shard channel; how many subscribers it reached.
    pub fn publish_shard(&self, channel: &[u8], payload: &[u8]) -> usize {
        send(&self.shard_channels, Kind::Shard, channel, payload)
    }

    /// Publishes a keyspace event on the channels that `flags` ask for.
    pub fn publish_event(&self, flags: u32, event: &Event) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        if flags & Class::Keyspace as u32 != 0 {
            let mut channel = format!("__keyspace@{}__:", event.db).into_bytes();
            channel.extend_from_slice(&event.key);
            self.publish(&channel, event.name.as_bytes());
        }
        if flags & Class::Keyevent as u32 != 0 {
            let channel = format!("__keyevent@{}__:{}", event.db, event.name);
            self.publish(channel.as_bytes(), &event.key);
        }
    }

    /// The names that have subscribers and match the pattern (all without one).
    pub fn active(&self, kind: Kind, pattern: Option<&[u8]>) -> Vec<Box<[u8]>> {
        let names = self.names(kind).read();
        let matches = |name: &[u8]| pattern.is_none_or(|pattern| glob_match(pattern, name, false));
        names.keys().filter(|name| matches(name)).cloned().collect()
    }

    /// How many subscribers a name has.
    pub fn subscribers(&self, kind: Kind, name: &[u8]) -> usize {
        self.names(kind).read().get(name).map_or(0, Vec::len)
    }

    /// Who has subscribed to names of a kind that are like this. O(names).
    pub fn listeners(&self, kind: Kind, is_wanted: impl Fn(&[u8]) -> bool) -> Vec<u64> {
        let names = self.names(kind).read();
        let wanted = names.iter().filter(|(name, _)| is_wanted(name));
        wanted.flat_map(|(_, there)| there.iter().map(|subscriber| subscriber.id())).collect()
    }

    /// How many different names of a kind have subscribers.
    pub fn len(&self, kind: Kind) -> usize {
        self.names(kind).read().len()
    }
}

fn send(names: &RwLock<Names>, kind: Kind, channel: &[u8], payload: &[u8]) -> usize {
    let names = names.read();
    let Some(subscribers) = names.get(channel) else { return 0 };
    let message = message(kind, b"", channel, payload);
    subscribers.iter().for_each(|subscriber| subscriber.deliver(&message));
    subscribers.len()
}

fn message<'a>(kind: Kind, pattern: &'a [u8], channel: &'a [u8], payload: &'a [u8]) -> Message<'a> {
    Message { kind, pattern, channel, payload, encoded: [OnceLock::new(), OnceLock::new()] }
}
