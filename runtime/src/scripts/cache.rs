//! The sources of scripts that a node knows by their SHA-1.
//!
//! Those of SCRIPT LOAD stay until SCRIPT FLUSH. Those that came with EVAL make room for others: whoever makes a new script for
//! every call would fill the memory with them.

use super::api::hex_digest;
use super::shebang::{self, Flags};
use baton_engine::error::CommandError;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// Scripts of EVAL that are kept.
const EVAL_MAX: usize = 500;

/// The name of a script: the SHA-1 of its text, in hexadecimal.
pub(super) type Sha = [u8; 40];

/// What is known of the keys that a script touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reach {
    /// It has not run yet.
    Unknown,
    /// Those that it declares.
    Declared,
    /// Others, too.
    Anything,
}

/// [`Reach`], as it is learned.
#[derive(Debug, Default)]
pub(super) struct Learned(AtomicU8);

impl Learned {
    pub(super) fn get(&self) -> Reach {
        match self.0.load(Ordering::Relaxed) {
            0 => Reach::Unknown,
            1 => Reach::Declared,
            _ => Reach::Anything,
        }
    }

    /// A run has shown this.
    pub(super) fn learn(&self, reach: Reach) {
        self.0.fetch_max(reach as u8, Ordering::Relaxed);
    }
}

/// A script.
#[derive(Debug)]
pub(super) struct Script {
    /// Tells it from every other that this process has known.
    pub(super) id: u64,
    pub(super) sha: Sha,
    body: Box<[u8]>,
    start: usize,
    /// What it says about itself; a script without a first line is run as it was before there were such.
    pub(super) flags: Option<Flags>,
    pub(super) reach: Learned,
    /// SCRIPT LOAD asked for it: it stays.
    stays: AtomicBool,
    used: AtomicU64,
}

impl Script {
    /// All of its text.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// What Lua compiles.
    pub(super) fn source(&self) -> &[u8] {
        &self.body[self.start..]
    }
}

/// Of numbers that are hashes already, or that are given one after the other: one multiplication spreads them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OfNumber(u64);

impl Hasher for OfNumber {
    fn write(&mut self, bytes: &[u8]) {
        // Not for these; but right all the same.
        bytes.iter().for_each(|byte| self.write_u64(self.0 ^ u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        self.0 = number.wrapping_mul(SPREAD);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A map from numbers that nobody chooses to do harm.
pub(super) type ByNumber<T> = HashMap<u64, T, BuildHasherDefault<OfNumber>>;

#[derive(Default)]
struct Known {
    by_sha: HashMap<Sha, Arc<Script>>,
    /// By the hash of the text: faster than its SHA-1.
    by_text: ByNumber<Arc<Script>>,
    bytes: usize,
    of_eval: usize,
}

/// The scripts of a node.
#[derive(Default)]
pub(super) struct Cache {
    known: RwLock<Known>,
    clock: AtomicU64,
    next: AtomicU64,
    pub(super) evicted: AtomicU64,
}

impl Cache {
    /// A script by its text, if it is known. `hash` is that of the text.
    #[inline]
    pub(super) fn by_text(&self, text: &[u8], hash: u64) -> Option<Arc<Script>> {
        let known = self.known.read();
        let script = known.by_text.get(&hash).filter(|script| *script.body == *text)?;
        script.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Some(script.clone())
    }

    /// A script by its name, in any case.
    pub(super) fn by_name(&self, name: &[u8]) -> Option<Arc<Script>> {
        let mut sha: Sha = name.try_into().ok()?;
        sha.make_ascii_lowercase();
        let known = self.known.read();
        let script = known.by_sha.get(&sha)?;
        script.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        Some(script.clone())
    }

    /// A script that may be new. It is not kept before it has been [added](Self::add).
    pub(super) fn parse(&self, text: &[u8]) -> Result<Arc<Script>, CommandError> {
        let sha = hex_digest(text);
        if let Some(script) = self.known.read().by_sha.get(&sha) {
            return Ok(script.clone());
        }
        let (flags, start) = shebang::of_script(text)?;
        Ok(Arc::new(Script {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            sha,
            body: text.into(),
            start,
            flags,
            reach: Learned::default(),
            stays: AtomicBool::new(false),
            used: AtomicU64::new(self.clock.fetch_add(1, Ordering::Relaxed)),
        }))
    }

    /// Keeps a script that can be compiled.
    pub(super) fn add(&self, script: &Arc<Script>, hash: u64, stays: bool) {
        let mut known = self.known.write();
        if let Some(there) = known.by_sha.get(&script.sha).cloned() {
            if stays && !there.stays.swap(true, Ordering::Relaxed) {
                known.of_eval -= 1;
            }
            known.by_text.entry(hash).or_insert(there);
            return;
        }
        if !stays {
            while known.of_eval >= EVAL_MAX {
                self.evict(&mut known);
            }
            known.of_eval += 1;
        }
        script.stays.store(stays, Ordering::Relaxed);
        known.bytes += script.body.len();
        known.by_sha.insert(script.sha, script.clone());
        known.by_text.insert(hash, script.clone());
    }

    /// Forgets the script of EVAL that has not been used for longest. O(scripts), once per new script.
    fn evict(&self, known: &mut Known) {
        let of_eval = known.by_sha.values().filter(|script| !script.stays.load(Ordering::Relaxed));
        let oldest = of_eval.min_by_key(|script| script.used.load(Ordering::Relaxed)).cloned();
        known.of_eval -= 1;
        let Some(oldest) = oldest else { return };
        known.by_sha.remove(&oldest.sha);
        known.by_text.retain(|_, script| script.id != oldest.id);
        known.bytes -= oldest.body.len();
        self.evicted.fetch_add(1, Ordering::Relaxed);
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        *self.known.write() = Known::default();
    }

    pub(super) fn count(&self) -> usize {
        self.known.read().by_sha.len()
    }

    /// What they take, about.
    pub(super) fn bytes(&self) -> usize {
        let known = self.known.read();
        known.bytes + known.by_sha.len() * (size_of::<Script>() + size_of::<Sha>() + 64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(cache: &Cache, text: &str, stays: bool) -> Arc<Script> {
        let script = cache.parse(text.as_bytes()).unwrap();
        cache.add(&script, hash(text), stays);
        script
    }

    fn hash(text: &str) -> u64 {
        text.bytes().fold(17, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)))
    }

    #[test]
    fn scripts_of_eval_make_room_and_those_of_load_stay() {
        let cache = Cache::default();
        let stays = add(&cache, "return 'stays'", true);
        let first = add(&cache, "return 0", false);
        for n in 1..EVAL_MAX {
            add(&cache, &format!("return {n}"), false);
        }
        assert_eq!((cache.count(), cache.evicted.load(Ordering::Relaxed)), (EVAL_MAX + 1, 0));
        assert!(cache.by_text(b"return 0", hash("return 0")).is_some(), "and is the youngest now");
        add(&cache, "return 'new'", false);
        assert_eq!((cache.count(), cache.evicted.load(Ordering::Relaxed)), (EVAL_MAX + 1, 1));
        assert!(cache.by_name(&first.sha).is_some() && cache.by_name(&stays.sha).is_some());
        assert!(cache.by_text(b"return 1", hash("return 1")).is_none());
        // One that is asked to stay is not counted any more.
        add(&cache, "return 0", true);
        add(&cache, "return 'newer'", false);
        assert_eq!(cache.count(), EVAL_MAX + 2);
        cache.clear();
        assert_eq!((cache.count(), cache.bytes()), (0, 0));
    }

    #[test]
    fn what_a_run_shows_is_not_forgotten() {
        let learned = Learned::default();
        assert_eq!(learned.get(), Reach::Unknown);
        learned.learn(Reach::Anything);
        learned.learn(Reach::Declared);
        assert_eq!(learned.get(), Reach::Anything);
    }
}
