//! Sorted sets.

use super::access::with_list;
use super::{Error, commands};
use bytes::Bytes;
use smallvec::SmallVec;
use std::ops::{Bound, RangeBounds};

/// A bound of scores as commands take it.
fn bound(bound: Bound<&f64>, infinite: &str) -> String {
    match bound {
        Bound::Included(score) => score.to_string(),
        Bound::Excluded(score) => format!("({score}"),
        Bound::Unbounded => infinite.to_owned(),
    }
}

commands! {
    /// Adds a member to a sorted set, or gives it another score. Whether it is new.
    ///
    /// # Errors
    /// The key holds another type; this goes for all methods of sorted sets. Or the score is no number, or the store cannot
    /// be written to.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert!(store.zadd("board", "ada", 10.0)?);
    /// assert!(!store.zadd("board", "ada", 12.0)?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn zadd(&self, key: impl AsRef<[u8]>, member: impl AsRef<[u8]>, score: f64) -> Result<bool, Error> {
        self.call(&[b"ZADD", key.as_ref(), score.to_string().as_bytes(), member.as_ref()])
    }

    /// Adds members to a sorted set, or gives them other scores. How many are new.
    ///
    /// # Errors
    /// As [`zadd`](Self::zadd), or there are no members.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.zadd_all("board", [("ada", 10.0), ("bob", 7.0)])?, 2);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn zadd_all(
        &self,
        key: impl AsRef<[u8]>,
        members: impl IntoIterator<Item = (impl AsRef<[u8]>, f64)>,
    ) -> Result<usize, Error> {
        let members: SmallVec<[_; 8]> =
            members.into_iter().map(|(member, score)| (score.to_string(), member)).collect();
        let mut args: SmallVec<[&[u8]; 20]> = SmallVec::from_slice(&[b"ZADD", key.as_ref()]);
        args.extend(members.iter().flat_map(|(score, member)| [score.as_bytes(), member.as_ref()]));
        self.call(&args)
    }

    /// Adds to the score of a member of a sorted set, which is 0 when it is not there. The sum.
    ///
    /// # Errors
    /// As [`zadd`](Self::zadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.zincr_by("board", "ada", 2.5)?, 2.5);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn zincr_by(&self, key: impl AsRef<[u8]>, member: impl AsRef<[u8]>, by: f64) -> Result<f64, Error> {
        self.call(&[b"ZINCRBY", key.as_ref(), by.to_string().as_bytes(), member.as_ref()])
    }

    /// Removes members of a sorted set. How many were there.
    ///
    /// # Errors
    /// As [`zadd`](Self::zadd), or there are no members.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.zadd("board", "ada", 10.0)?;
    /// assert_eq!(store.zrem("board", ["ada", "bob"])?, 1);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn zrem(
        &self,
        key: impl AsRef<[u8]>,
        members: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<usize, Error> {
        with_list(&[b"ZREM", key.as_ref()], members, |args| self.call(args))
    }

    /// The score of a member of a sorted set.
    ///
    /// # Errors
    /// As [`zadd`](Self::zadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.zadd("board", "ada", 10.0)?;
    /// assert_eq!(store.zscore("board", "ada")?, Some(10.0));
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn zscore(&self, key: impl AsRef<[u8]>, member: impl AsRef<[u8]>) -> Result<Option<f64>, Error> {
        self.call(&[b"ZSCORE", key.as_ref(), member.as_ref()])
    }

    /// How many members of a sorted set have a lower score, or the same and a smaller name.
    ///
    /// # Errors
    /// As [`zadd`](Self::zadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.zadd_all("board", [("ada", 10.0), ("bob", 7.0)])?;
    /// assert_eq!(store.zrank("board", "ada")?, Some(1));
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn zrank(&self, key: impl AsRef<[u8]>, member: impl AsRef<[u8]>) -> Result<Option<usize>, Error> {
        self.call(&[b"ZRANK", key.as_ref(), member.as_ref()])
    }

    /// How many members of a sorted set are above this one: 0 for the one with the highest score.
    ///
    /// # Errors
    /// As [`zadd`](Self::zadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.zadd_all("board", [("ada", 10.0), ("bob", 7.0)])?;
    /// assert_eq!(store.zrevrank("board", "ada")?, Some(0));
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn zrevrank(&self, key: impl AsRef<[u8]>, member: impl AsRef<[u8]>) -> Result<Option<usize>, Error> {
        self.call(&[b"ZREVRANK", key.as_ref(), member.as_ref()])
    }

    /// How many members a sorted set has.
    ///
    /// # Errors
    /// As [`zadd`](Self::zadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.zcard("board")?, 0);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn zcard(&self, key: impl AsRef<[u8]>) -> Result<usize, Error> {
        self.call(&[b"ZCARD", key.as_ref()])
    }

    /// How many members of a sorted set have scores in a range.
    ///
    /// # Errors
    /// As [`zadd`](Self::zadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.zadd_all("board", [("ada", 10.0), ("bob", 7.0)])?;
    /// assert_eq!(store.zcount("board", 7.0..10.0)?, 1);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn zcount(&self, key: impl AsRef<[u8]>, scores: impl RangeBounds<f64>) -> Result<usize, Error> {
        let (min, max) = (bound(scores.start_bound(), "-inf"), bound(scores.end_bound(), "+inf"));
        self.call(&[b"ZCOUNT", key.as_ref(), min.as_bytes(), max.as_bytes()])
    }

    /// Members of a sorted set with their scores, by rank, the lowest first: from `start` to `stop`, both included; negative
    /// ones count from the end.
    ///
    /// # Errors
    /// As [`zadd`](Self::zadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.zadd_all("board", [("ada", 10.0), ("bob", 7.0)])?;
    /// assert_eq!(store.zrange("board", 0, 0)?, [("bob".into(), 7.0)]);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn zrange(&self, key: impl AsRef<[u8]>, start: i64, stop: i64) -> Result<Vec<(Bytes, f64)>, Error> {
        let (mut from, mut to) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (from, to) = (from.format(start).as_bytes(), to.format(stop).as_bytes());
        self.call(&[b"ZRANGE", key.as_ref(), from, to, b"WITHSCORES"])
    }

    /// As [`zrange`](Self::zrange), the highest first.
    ///
    /// # Errors
    /// As [`zadd`](Self::zadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.zadd_all("board", [("ada", 10.0), ("bob", 7.0)])?;
    /// assert_eq!(store.zrevrange("board", 0, 0)?, [("ada".into(), 10.0)]);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn zrevrange(&self, key: impl AsRef<[u8]>, start: i64, stop: i64) -> Result<Vec<(Bytes, f64)>, Error> {
        let (mut from, mut to) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (from, to) = (from.format(start).as_bytes(), to.format(stop).as_bytes());
        self.call(&[b"ZRANGE", key.as_ref(), from, to, b"REV", b"WITHSCORES"])
    }

    /// Members of a sorted set whose scores are in a range, with them, the lowest first.
    ///
    /// # Errors
    /// As [`zadd`](Self::zadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.zadd_all("board", [("ada", 10.0), ("bob", 7.0)])?;
    /// assert_eq!(store.zrange_by_score("board", 8.0..)?, [("ada".into(), 10.0)]);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn zrange_by_score(
        &self,
        key: impl AsRef<[u8]>,
        scores: impl RangeBounds<f64>,
    ) -> Result<Vec<(Bytes, f64)>, Error> {
        let (min, max) = (bound(scores.start_bound(), "-inf"), bound(scores.end_bound(), "+inf"));
        self.call(&[b"ZRANGE", key.as_ref(), min.as_bytes(), max.as_bytes(), b"BYSCORE", b"WITHSCORES"])
    }

    /// Removes members of a sorted set whose scores are in a range. How many.
    ///
    /// # Errors
    /// As [`zadd`](Self::zadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.zadd_all("times", [("a", 1.0), ("b", 2.0)])?;
    /// assert_eq!(store.zrem_by_score("times", ..=1.0)?, 1);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn zrem_by_score(&self, key: impl AsRef<[u8]>, scores: impl RangeBounds<f64>) -> Result<usize, Error> {
        let (min, max) = (bound(scores.start_bound(), "-inf"), bound(scores.end_bound(), "+inf"));
        self.call(&[b"ZREMRANGEBYSCORE", key.as_ref(), min.as_bytes(), max.as_bytes()])
    }

    /// Takes up to `count` members with the lowest scores.
    ///
    /// # Errors
    /// As [`zadd`](Self::zadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.zadd_all("due", [("later", 20.0), ("soon", 10.0)])?;
    /// assert_eq!(store.zpopmin("due", 1)?, [("soon".into(), 10.0)]);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn zpopmin(&self, key: impl AsRef<[u8]>, count: usize) -> Result<Vec<(Bytes, f64)>, Error> {
        let mut text = itoa::Buffer::new();
        self.call(&[b"ZPOPMIN", key.as_ref(), text.format(count).as_bytes()])
    }

    /// Takes up to `count` members with the highest scores.
    ///
    /// # Errors
    /// As [`zadd`](Self::zadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.zadd_all("board", [("ada", 10.0), ("bob", 7.0)])?;
    /// assert_eq!(store.zpopmax("board", 1)?, [("ada".into(), 10.0)]);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn zpopmax(&self, key: impl AsRef<[u8]>, count: usize) -> Result<Vec<(Bytes, f64)>, Error> {
        let mut text = itoa::Buffer::new();
        self.call(&[b"ZPOPMAX", key.as_ref(), text.format(count).as_bytes()])
    }
}
