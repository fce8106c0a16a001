//! Client-side caching: who keeps copies of keys, and how they are told of changes.
//!
//! | file   | holds                                         |
//! |--------|-----------------------------------------------|
//! | `mode` | the state of one client                       |
//!
//! Who has read a key is remembered with the slot of the key, under its baton, in the order in which reads and writes
//! happen; so it moves with the slot (`engine/src/keyspace/tracked.rs`). What has changed is told before the baton is let
//! go, to mailboxes that never block. A client thus hears of a change after the reply to every read that came before it,
//! as long as it takes its mail behind its replies.
//!
//! Absent on purpose: what a message looks like to a client that speaks something else than RESP.

mod mode;

pub use mode::{Event, Mode, Reads, Refused};

use baton_engine::keyspace::tracked::{Change, TrackedCounts};
use baton_engine::reply::Out;
use bytes::Bytes;
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Where clients that speak RESP2 receive messages: as if it were a channel.
const CHANNEL: &[u8] = b"__redis__:invalidate";

/// Somebody who can be told that keys have changed. None of this may block.
pub trait Listener: Send + Sync {
    /// Tells listeners apart.
    fn id(&self) -> u64;
    /// Keys have changed. `redirected`: it was another who read them.
    fn invalidate(&self, what: &Invalidation<'_>, redirected: bool);
    /// Whoever was to be told in its place, of this number, is gone.
    fn redirect_broken(&self, to: u64);
    /// Whether it is gone itself.
    fn is_gone(&self) -> bool;
}

/// Keys that have changed, or all of them. Encodes itself at most once per protocol version.
pub struct Invalidation<'a> {
    keys: Option<&'a [&'a [u8]]>,
    push: OnceLock<Bytes>,
    message: OnceLock<Bytes>,
}

impl<'a> Invalidation<'a> {
    fn new(keys: Option<&'a [&'a [u8]]>) -> Self {
        Self { keys, push: OnceLock::new(), message: OnceLock::new() }
    }

    /// The keys; `None` means all.
    pub fn keys(&self) -> Option<&[&[u8]]> {
        self.keys
    }

    /// As a push of RESP3.
    pub fn push(&self) -> Bytes {
        let encode = || {
            let mut out = Out::new(true);
            out.push(2);
            out.bulk(b"invalidate");
            self.write_keys(&mut out);
            Bytes::from(out.into_bytes())
        };
        self.push.get_or_init(encode).clone()
    }

    /// As a message of RESP2, on a channel that is made up for it.
    pub fn message(&self) -> Bytes {
        let encode = || {
            let mut out = Out::new(false);
            out.push(3);
            out.bulk(b"message");
            out.bulk(CHANNEL);
            self.write_keys(&mut out);
            Bytes::from(out.into_bytes())
        };
        self.message.get_or_init(encode).clone()
    }

    fn write_keys(&self, out: &mut Out) {
        match self.keys {
            None => out.null(),
            Some(keys) => {
                out.array(keys.len());
                keys.iter().for_each(|key| out.bulk(key));
            }
        }
    }
}

/// A client that keeps copies, and how it wants to be told.
pub struct Tracker {
    /// Who it is.
    owner: Arc<dyn Listener>,
    /// Who is told in its place.
    to: Option<Arc<dyn Listener>>,
    /// It need not be told of what it changed itself.
    no_loop: bool,
    /// It is told of every change of keys with these prefixes, ascending; else of what it has read.
    prefixes: Option<Vec<Box<[u8]>>>,
    /// Somebody was to be told in its place, and was gone.
    broken: AtomicBool,
}

impl Tracker {
    /// A client that keeps copies.
    pub fn new(
        owner: Arc<dyn Listener>,
        to: Option<Arc<dyn Listener>>,
        no_loop: bool,
        prefixes: Option<Vec<Box<[u8]>>>,
    ) -> Self {
        Self { owner, to, no_loop, prefixes, broken: AtomicBool::new(false) }
    }

    /// Who is told in its place; 0 for nobody.
    pub fn redirect(&self) -> u64 {
        self.to.as_ref().map_or(0, |to| to.id())
    }

    /// Whether it is not told of its own changes.
    pub fn no_loop(&self) -> bool {
        self.no_loop
    }

    /// The prefixes for which it is told of every change.
    pub fn prefixes(&self) -> &[Box<[u8]>] {
        self.prefixes.as_deref().unwrap_or_default()
    }

    /// Whether it is told of every change.
    pub fn broadcasts(&self) -> bool {
        self.prefixes.is_some()
    }

    /// Whether it could not be told, because whoever was to be told in its place was gone.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    fn tell(&self, what: &Invalidation<'_>) {
        match &self.to {
            None => self.owner.invalidate(what, false),
            Some(to) if to.is_gone() => {
                self.broken.store(true, Ordering::Relaxed);
                self.owner.redirect_broken(to.id());
            }
            Some(to) => to.invalidate(what, true),
        }
    }

    /// Whether it wants to hear of a change that this client made.
    fn wants(&self, by: u64) -> bool {
        !(self.no_loop && self.owner.id() == by)
    }
}

impl std::fmt::Debug for Tracker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracker").field("owner", &self.owner.id()).finish_non_exhaustive()
    }
}

/// Those who keep copies.
#[derive(Default)]
struct Table {
    trackers: HashMap<u64, Arc<Tracker>>,
    /// Those who are told of every change, by prefix.
    prefixes: BTreeMap<Box<[u8]>, Vec<Arc<Tracker>>>,
}

/// All who keep copies, and how much is remembered for them.
#[derive(Default)]
pub struct Tracking {
    table: RwLock<Table>,
    keys: AtomicUsize,
    readers: AtomicUsize,
    keys_max: AtomicUsize,
}

impl std::fmt::Debug for Tracking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracking").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Tracking {
    /// Tells a client of changes from here on, in place of what it asked for before.
    pub(crate) fn enter(&self, tracker: Arc<Tracker>) {
        let mut table = self.table.write();
        table.remove(tracker.owner.id());
        for prefix in tracker.prefixes() {
            table.prefixes.entry(prefix.clone()).or_default().push(tracker.clone());
        }
        table.trackers.insert(tracker.owner.id(), tracker);
    }

    /// Tells a client of nothing any more. What it has read is forgotten when it changes.
    pub(crate) fn leave(&self, id: u64) {
        self.table.write().remove(id);
    }

    /// Whether anybody wants to know of every change of some keys.
    pub(crate) fn is_broadcasting(&self) -> bool {
        !self.table.read().prefixes.is_empty()
    }

    /// How many keys may be remembered; 0 for any number.
    pub fn configure(&self, keys_max: usize) {
        self.keys_max.store(keys_max, Ordering::Relaxed);
    }

    /// Clients that keep copies.
    pub fn clients(&self) -> usize {
        self.table.read().trackers.len()
    }

    /// Different prefixes for which somebody is told of every change.
    pub fn prefixes(&self) -> usize {
        self.table.read().prefixes.len()
    }

    /// Keys that are remembered.
    pub fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// Readers that are remembered, of all keys.
    pub fn readers(&self) -> usize {
        self.readers.load(Ordering::Relaxed)
    }

    /// Whether more keys are remembered than should be.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        let max = self.keys_max.load(Ordering::Relaxed);
        max > 0 && self.keys() > max
    }

    /// A core remembers so much now, and did so much before.
    pub(crate) fn count(&self, before: TrackedCounts, now: TrackedCounts) {
        // One after the other, so that a sum in between is too large rather than below zero.
        self.keys.fetch_add(now.keys, Ordering::Relaxed);
        self.keys.fetch_sub(before.keys, Ordering::Relaxed);
        self.readers.fetch_add(now.readers, Ordering::Relaxed);
        self.readers.fetch_sub(before.readers, Ordering::Relaxed);
    }

    /// Tells everybody concerned what has changed. Those who have read a key are told of each; those who want all changes
    /// get one message per prefix.
    #[cold]
    pub(crate) fn tell(&self, changes: &[Change]) {
        let table = self.table.read();
        for change in changes {
            match change {
                Change::Key { key, readers, by } => table.tell_readers(key, readers, Some(*by)),
                Change::Forgotten { key, readers } => table.tell_readers(key, readers, None),
                Change::All { .. } => {
                    let all = Invalidation::new(None);
                    table.trackers.values().for_each(|tracker| tracker.tell(&all));
                }
            }
        }
        if !table.prefixes.is_empty() {
            table.broadcast(changes);
        }
    }
}

impl Table {
    fn remove(&mut self, id: u64) {
        let Some(tracker) = self.trackers.remove(&id) else { return };
        for prefix in tracker.prefixes() {
            if let Some(there) = self.prefixes.get_mut(prefix) {
                there.retain(|other| other.owner.id() != id);
                if there.is_empty() {
                    self.prefixes.remove(prefix);
                }
            }
        }
    }

    fn tell_readers(&self, key: &[u8], readers: &[u64], by: Option<u64>) {
        let keys = [key];
        let what = Invalidation::new(Some(&keys));
        let found = readers.iter().filter_map(|id| self.trackers.get(id));
        found
            .filter(|tracker| !tracker.broadcasts() && by.is_none_or(|by| tracker.wants(by)))
            .for_each(|tracker| tracker.tell(&what));
    }

    fn broadcast(&self, changes: &[Change]) {
        // Each key once, with whoever changed it last.
        let changed: BTreeMap<&[u8], u64> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Key { key, by, .. } => Some((&**key, *by)),
                Change::All { .. } | Change::Forgotten { .. } => None,
            })
            .collect();
        for (prefix, trackers) in &self.prefixes {
            let matching: Vec<(&[u8], u64)> = changed
                .range::<[u8], _>((std::ops::Bound::Included(&**prefix), std::ops::Bound::Unbounded))
                .take_while(|(key, _)| key.starts_with(prefix))
                .map(|(key, by)| (*key, *by))
                .collect();
            if matching.is_empty() {
                continue;
            }
            let keys: Vec<&[u8]> = matching.iter().map(|(key, _)| *key).collect();
            let all = Invalidation::new(Some(&keys));
            for tracker in trackers {
                if matching.iter().all(|(_, by)| tracker.wants(*by)) {
                    tracker.tell(&all);
                    continue;
                }
                let wanted: Vec<&[u8]> =
                    matching.iter().filter(|(_, by)| tracker.wants(*by)).map(|(key, _)| *key).collect();
                if !wanted.is_empty() {
                    tracker.tell(&Invalidation::new(Some(&wanted)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    /// Writes down what it is told.
    struct Notebook {
        id: u64,
        gone: AtomicBool,
        lines: Mutex<Vec<String>>,
    }

    impl Notebook {
        fn new(id: u64) -> Arc<Self> {
            Arc::new(Self { id, gone: AtomicBool::new(false), lines: Mutex::default() })
        }

        fn read(&self) -> Vec<String> {
            std::mem::take(&mut self.lines.lock())
        }
    }

    impl Listener for Notebook {
        fn id(&self) -> u64 {
            self.id
        }

        fn invalidate(&self, what: &Invalidation<'_>, redirected: bool) {
            let text = |key: &&[u8]| String::from_utf8_lossy(key).into_owned();
            let keys = what
                .keys()
                .map_or("*".to_owned(), |keys| keys.iter().map(text).collect::<Vec<_>>().join(" "));
            self.lines.lock().push(if redirected { format!("> {keys}") } else { keys });
        }

        fn redirect_broken(&self, to: u64) {
            self.lines.lock().push(format!("broken {to}"));
        }

        fn is_gone(&self) -> bool {
            self.gone.load(Ordering::Relaxed)
        }
    }

    fn changed(key: &str, readers: &[u64], by: u64) -> Change {
        Change::Key { key: key.as_bytes().into(), readers: readers.iter().copied().collect(), by }
    }

    fn prefixes(all: &[&str]) -> Option<Vec<Box<[u8]>>> {
        Some(all.iter().map(|prefix| Box::from(prefix.as_bytes())).collect())
    }

    #[test]
    fn readers_are_told_unless_they_did_it_and_do_not_care() {
        let tracking = Tracking::default();
        let (one, two) = (Notebook::new(1), Notebook::new(2));
        tracking.enter(Arc::new(Tracker::new(one.clone(), None, false, None)));
        tracking.enter(Arc::new(Tracker::new(two.clone(), None, true, None)));
        tracking.tell(&[changed("a", &[1, 2], 1), changed("b", &[1, 2, 3], 2), changed("c", &[], 1)]);
        assert_eq!((one.read(), two.read()), (vec!["a".to_owned(), "b".to_owned()], vec!["a".to_owned()]));
        let forgotten = Change::Forgotten { key: Box::from(&b"f"[..]), readers: [2].into_iter().collect() };
        tracking.tell(&[forgotten, Change::All { by: 2 }]);
        assert_eq!((one.read(), two.read()), (vec!["*".to_owned()], vec!["f".to_owned(), "*".to_owned()]));
        tracking.leave(1);
        tracking.tell(&[changed("a", &[1], 2)]);
        assert_eq!((one.read(), tracking.clients()), (Vec::<String>::new(), 1));
    }

    #[test]
    fn one_message_per_prefix_with_each_key_once() {
        let tracking = Tracking::default();
        let (one, two) = (Notebook::new(1), Notebook::new(2));
        tracking.enter(Arc::new(Tracker::new(one.clone(), None, false, prefixes(&["a:", "b"]))));
        tracking.enter(Arc::new(Tracker::new(two.clone(), None, true, prefixes(&[""]))));
        assert_eq!(tracking.prefixes(), 3);
        tracking.tell(&[
            changed("b", &[], 1),
            changed("a:2", &[], 2),
            changed("a:1", &[], 1),
            changed("b", &[], 2),
            changed("aa", &[], 2),
        ]);
        assert_eq!(one.read(), ["a:1 a:2", "b"]);
        assert_eq!(two.read(), ["a:1"]);
        tracking.leave(2);
        tracking.enter(Arc::new(Tracker::new(one.clone(), None, false, prefixes(&["b"]))));
        assert_eq!(tracking.prefixes(), 1);
    }

    #[test]
    fn a_redirection_that_broke_is_told() {
        let tracking = Tracking::default();
        let (one, two) = (Notebook::new(1), Notebook::new(2));
        let tracker = Arc::new(Tracker::new(one.clone(), Some(two.clone()), false, None));
        tracking.enter(tracker.clone());
        tracking.tell(&[changed("a", &[1], 3)]);
        assert_eq!((one.read(), two.read(), tracker.is_broken()), (vec![], vec!["> a".to_owned()], false));
        two.gone.store(true, Ordering::Relaxed);
        tracking.tell(&[changed("a", &[1], 3)]);
        assert_eq!(
            (one.read(), two.read(), tracker.is_broken()),
            (vec!["broken 2".to_owned()], vec![], true)
        );
    }

    #[test]
    fn messages_in_both_protocols() {
        let keys: [&[u8]; 2] = [b"a", b"bc"];
        let what = Invalidation::new(Some(&keys));
        assert_eq!(what.push(), ">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$2\r\nbc\r\n");
        assert_eq!(
            what.message(),
            "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*2\r\n$1\r\na\r\n$2\r\nbc\r\n"
        );
        let all = Invalidation::new(None);
        assert_eq!(all.push(), ">2\r\n$10\r\ninvalidate\r\n_\r\n");
        assert_eq!(all.message(), "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n$-1\r\n");
    }
}
