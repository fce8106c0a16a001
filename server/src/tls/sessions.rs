//! Sessions that clients may resume: so many, for so long.

use parking_lot::Mutex;
use rustls::server::StoresServerSessions;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// The sessions of one configuration: another one starts anew, for it may trust others.
pub struct Sessions {
    max: usize,
    lifetime: Duration,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Values and when they were put.
    by_key: HashMap<Vec<u8>, (Instant, Vec<u8>)>,
    /// Keys in the order in which they were put; some may be gone.
    order: VecDeque<(Instant, Vec<u8>)>,
}

impl Sessions {
    /// Keeps up to `max` sessions, any number if that is 0, each for `lifetime`.
    pub fn new(max: usize, lifetime: Duration) -> Self {
        Self { max: if max == 0 { usize::MAX } else { max }, lifetime, kept: Mutex::default() }
    }

    fn put_at(&self, now: Instant, key: Vec<u8>, value: Vec<u8>) {
        let mut kept = self.kept.lock();
        kept.by_key.insert(key.clone(), (now, value));
        kept.order.push_back((now, key));
        while let Some((put, _)) = kept.order.front()
            && (kept.by_key.len() > self.max
                || now.duration_since(*put) > self.lifetime
                || kept.order.len() > 2 * kept.by_key.len() + 8)
        {
            let Some((put, key)) = kept.order.pop_front() else { return };
            // Put once more since: that one is further back.
            if kept.by_key.get(&key).is_some_and(|(last, _)| *last == put) {
                kept.by_key.remove(&key);
            }
        }
    }

    fn get_at(&self, now: Instant, key: &[u8]) -> Option<Vec<u8>> {
        let kept = self.kept.lock();
        let (put, value) = kept.by_key.get(key)?;
        (now.duration_since(*put) <= self.lifetime).then(|| value.clone())
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("max", &self.max).finish_non_exhaustive()
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.put_at(Instant::now(), key, value);
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.get_at(Instant::now(), key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        // In one step: two connections that ask at once must not both have it.
        let (put, value) = self.kept.lock().by_key.remove(key)?;
        (put.elapsed() <= self.lifetime).then_some(value)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_asked_for_and_as_long() {
        let sessions = Sessions::new(2, Duration::from_secs(300));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for (second, key) in [(0, "a"), (1, "b"), (2, "a"), (3, "c")] {
            sessions.put_at(at(second), key.into(), vec![second as u8]);
        }
        let found = |second, key: &str| sessions.get_at(at(second), key.as_bytes());
        assert_eq!((found(4, "a"), found(4, "b"), found(4, "c")), (Some(vec![2]), None, Some(vec![3])));
        assert_eq!((found(302, "a"), found(303, "a"), found(303, "c")), (Some(vec![2]), None, Some(vec![3])));
        assert_eq!((sessions.take(b"c"), sessions.take(b"c")), (Some(vec![3]), None));
        // Nothing piles up, whatever is taken.
        for n in 0..1_000_u32 {
            sessions.put_at(at(10), n.to_be_bytes().into(), Vec::new());
            sessions.kept.lock().by_key.remove(&n.to_be_bytes()[..]);
        }
        assert!(sessions.kept.lock().order.len() < 16);
    }
}
