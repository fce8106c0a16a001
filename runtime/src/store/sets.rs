//! Sets.

use super::access::with_list;
use super::{Error, commands};
use bytes::Bytes;
use std::collections::HashSet;

commands! {
    /// Adds members to a set. How many are new.
    ///
    /// # Errors
    /// The key holds another type; this goes for all methods of sets. Or there are no members, or the store cannot be
    /// written to.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.sadd("tags", ["a", "b", "a"])?, 2);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn sadd(
        &self,
        key: impl AsRef<[u8]>,
        members: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<usize, Error> {
        with_list(&[b"SADD", key.as_ref()], members, |args| self.call(args))
    }

    /// Removes members of a set. How many were there.
    ///
    /// # Errors
    /// As [`sadd`](Self::sadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.sadd("tags", ["a", "b"])?;
    /// assert_eq!(store.srem("tags", ["a", "x"])?, 1);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn srem(
        &self,
        key: impl AsRef<[u8]>,
        members: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<usize, Error> {
        with_list(&[b"SREM", key.as_ref()], members, |args| self.call(args))
    }

    /// Whether a set has a member.
    ///
    /// # Errors
    /// As [`sadd`](Self::sadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.sadd("tags", ["a"])?;
    /// assert!(store.sismember("tags", "a")?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn sismember(&self, key: impl AsRef<[u8]>, member: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.call(&[b"SISMEMBER", key.as_ref(), member.as_ref()])
    }

    /// Which of these a set has.
    ///
    /// # Errors
    /// As [`sadd`](Self::sadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.sadd("tags", ["a"])?;
    /// assert_eq!(store.smismember("tags", ["a", "b"])?, [true, false]);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn smismember(
        &self,
        key: impl AsRef<[u8]>,
        members: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<Vec<bool>, Error> {
        with_list(&[b"SMISMEMBER", key.as_ref()], members, |args| self.call(args))
    }

    /// All members of a set.
    ///
    /// # Errors
    /// As [`sadd`](Self::sadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.sadd("tags", ["a", "b"])?;
    /// assert!(store.smembers("tags")?.contains("a".as_bytes()));
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn smembers(&self, key: impl AsRef<[u8]>) -> Result<HashSet<Bytes>, Error> {
        self.call(&[b"SMEMBERS", key.as_ref()])
    }

    /// How many members a set has.
    ///
    /// # Errors
    /// As [`sadd`](Self::sadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.scard("tags")?, 0);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn scard(&self, key: impl AsRef<[u8]>) -> Result<usize, Error> {
        self.call(&[b"SCARD", key.as_ref()])
    }

    /// Takes any member of a set.
    ///
    /// # Errors
    /// As [`sadd`](Self::sadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.sadd("tags", ["a"])?;
    /// assert_eq!(store.spop("tags")?.unwrap(), "a");
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn spop(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        self.call(&[b"SPOP", key.as_ref()])
    }

    /// Any member of a set, which stays there.
    ///
    /// # Errors
    /// As [`sadd`](Self::sadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.sadd("tags", ["a"])?;
    /// assert_eq!(store.srandmember("tags")?.unwrap(), "a");
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn srandmember(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        self.call(&[b"SRANDMEMBER", key.as_ref()])
    }

    /// Moves a member from one set to another at one moment. Whether it was there.
    ///
    /// # Errors
    /// As [`sadd`](Self::sadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.sadd("new", ["a"])?;
    /// assert!(store.smove("new", "old", "a")?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn smove(
        &self,
        from: impl AsRef<[u8]>,
        to: impl AsRef<[u8]>,
        member: impl AsRef<[u8]>,
    ) -> Result<bool, Error> {
        self.call(&[b"SMOVE", from.as_ref(), to.as_ref(), member.as_ref()])
    }

    /// What all of these sets have.
    ///
    /// # Errors
    /// As [`sadd`](Self::sadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.sadd("x", ["a", "b"])?;
    /// store.sadd("y", ["b", "c"])?;
    /// assert!(store.sinter(["x", "y"])?.iter().eq(["b"]));
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn sinter(&self, keys: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<HashSet<Bytes>, Error> {
        with_list(&[b"SINTER"], keys, |args| self.call(args))
    }

    /// What any of these sets has.
    ///
    /// # Errors
    /// As [`sadd`](Self::sadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.sadd("x", ["a", "b"])?;
    /// store.sadd("y", ["b", "c"])?;
    /// assert_eq!(store.sunion(["x", "y"])?.len(), 3);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn sunion(&self, keys: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<HashSet<Bytes>, Error> {
        with_list(&[b"SUNION"], keys, |args| self.call(args))
    }

    /// What the first of these sets has and none of the others.
    ///
    /// # Errors
    /// As [`sadd`](Self::sadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.sadd("x", ["a", "b"])?;
    /// store.sadd("y", ["b", "c"])?;
    /// assert!(store.sdiff(["x", "y"])?.iter().eq(["a"]));
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn sdiff(&self, keys: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<HashSet<Bytes>, Error> {
        with_list(&[b"SDIFF"], keys, |args| self.call(args))
    }
}
