//! Hashes.

use super::access::{millis, with_list, with_pairs};
use super::{Error, commands};
use bytes::Bytes;
use std::collections::HashMap;
use std::time::Duration;

commands! {
    /// The field of a hash.
    ///
    /// # Errors
    /// The key holds another type; this goes for all methods of hashes.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.hset("user", "name", "ada")?;
    /// assert_eq!(store.hget("user", "name")?.unwrap(), "ada");
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn hget(&self, key: impl AsRef<[u8]>, field: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        self.call(&[b"HGET", key.as_ref(), field.as_ref()])
    }

    /// Sets a field of a hash. Whether it is new.
    ///
    /// # Errors
    /// As [`hget`](Self::hget), or there is no memory left under the limit, or the store cannot be written to.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert!(store.hset("user", "name", "ada")?);
    /// assert!(!store.hset("user", "name", "eva")?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn hset(
        &self,
        key: impl AsRef<[u8]>,
        field: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<bool, Error> {
        self.call(&[b"HSET", key.as_ref(), field.as_ref(), value.as_ref()])
    }

    /// Sets several fields of a hash. How many of them are new.
    ///
    /// # Errors
    /// As [`hset`](Self::hset), or there are no fields.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.hset_all("user", [("name", "ada"), ("born", "1815")])?, 2);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn hset_all(
        &self,
        key: impl AsRef<[u8]>,
        fields: impl IntoIterator<Item = (impl AsRef<[u8]>, impl AsRef<[u8]>)>,
    ) -> Result<usize, Error> {
        with_pairs(&[b"HSET", key.as_ref()], fields, |args| self.call(args))
    }

    /// Sets a field of a hash unless it is there. Whether it was set.
    ///
    /// # Errors
    /// As [`hset`](Self::hset).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert!(store.hset_nx("user", "name", "ada")?);
    /// assert!(!store.hset_nx("user", "name", "eva")?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn hset_nx(
        &self,
        key: impl AsRef<[u8]>,
        field: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<bool, Error> {
        self.call(&[b"HSETNX", key.as_ref(), field.as_ref(), value.as_ref()])
    }

    /// Several fields of a hash.
    ///
    /// # Errors
    /// As [`hget`](Self::hget), or there are no fields.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.hset("user", "name", "ada")?;
    /// assert_eq!(store.hmget("user", ["name", "born"])?, [Some("ada".into()), None]);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn hmget(
        &self,
        key: impl AsRef<[u8]>,
        fields: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<Vec<Option<Bytes>>, Error> {
        with_list(&[b"HMGET", key.as_ref()], fields, |args| self.call(args))
    }

    /// All fields of a hash; none when there is no key.
    ///
    /// # Errors
    /// As [`hget`](Self::hget).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.hset_all("user", [("name", "ada"), ("born", "1815")])?;
    /// assert_eq!(store.hgetall("user")?["born".as_bytes()], "1815");
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn hgetall(&self, key: impl AsRef<[u8]>) -> Result<HashMap<Bytes, Bytes>, Error> {
        self.call(&[b"HGETALL", key.as_ref()])
    }

    /// Removes a field of a hash. Whether it was there.
    ///
    /// # Errors
    /// As [`hget`](Self::hget).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.hset("user", "name", "ada")?;
    /// assert!(store.hdel("user", "name")?);
    /// assert!(!store.exists("user")?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn hdel(&self, key: impl AsRef<[u8]>, field: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.call(&[b"HDEL", key.as_ref(), field.as_ref()])
    }

    /// Removes several fields of a hash. How many were there.
    ///
    /// # Errors
    /// As [`hget`](Self::hget), or there are no fields.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.hset("user", "name", "ada")?;
    /// assert_eq!(store.hdel_all("user", ["name", "born"])?, 1);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn hdel_all(
        &self,
        key: impl AsRef<[u8]>,
        fields: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<usize, Error> {
        with_list(&[b"HDEL", key.as_ref()], fields, |args| self.call(args))
    }

    /// Whether a hash has a field.
    ///
    /// # Errors
    /// As [`hget`](Self::hget).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert!(!store.hexists("user", "name")?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn hexists(&self, key: impl AsRef<[u8]>, field: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.call(&[b"HEXISTS", key.as_ref(), field.as_ref()])
    }

    /// How many fields a hash has.
    ///
    /// # Errors
    /// As [`hget`](Self::hget).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.hset("user", "name", "ada")?;
    /// assert_eq!(store.hlen("user")?, 1);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn hlen(&self, key: impl AsRef<[u8]>) -> Result<usize, Error> {
        self.call(&[b"HLEN", key.as_ref()])
    }

    /// The names of all fields of a hash.
    ///
    /// # Errors
    /// As [`hget`](Self::hget).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.hset("user", "name", "ada")?;
    /// assert_eq!(store.hkeys("user")?, ["name"]);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn hkeys(&self, key: impl AsRef<[u8]>) -> Result<Vec<Bytes>, Error> {
        self.call(&[b"HKEYS", key.as_ref()])
    }

    /// The values of all fields of a hash.
    ///
    /// # Errors
    /// As [`hget`](Self::hget).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.hset("user", "name", "ada")?;
    /// assert_eq!(store.hvals("user")?, ["ada"]);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn hvals(&self, key: impl AsRef<[u8]>) -> Result<Vec<Bytes>, Error> {
        self.call(&[b"HVALS", key.as_ref()])
    }

    /// Adds to the integer in a field of a hash, which is 0 when it is not there. The sum.
    ///
    /// # Errors
    /// As [`hset`](Self::hset), or there is no integer, or the sum does not fit into 64 bits.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.hincr_by("page", "visits", 3)?, 3);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn hincr_by(&self, key: impl AsRef<[u8]>, field: impl AsRef<[u8]>, by: i64) -> Result<i64, Error> {
        let mut text = itoa::Buffer::new();
        self.call(&[b"HINCRBY", key.as_ref(), field.as_ref(), text.format(by).as_bytes()])
    }

    /// Adds to the number in a field of a hash, which is 0 when it is not there. The sum.
    ///
    /// # Errors
    /// As [`hset`](Self::hset), or there is no number, or the sum would not be finite.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.hincr_by_float("part", "weight", 0.5)?, 0.5);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn hincr_by_float(
        &self,
        key: impl AsRef<[u8]>,
        field: impl AsRef<[u8]>,
        by: f64,
    ) -> Result<f64, Error> {
        self.call(&[b"HINCRBYFLOAT", key.as_ref(), field.as_ref(), by.to_string().as_bytes()])
    }

    /// Lets a field of a hash expire after this time. Whether it is there.
    ///
    /// # Errors
    /// As [`hset`](Self::hset).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let store = baton::Store::memory();
    /// store.hset("user", "token", "abc")?;
    /// assert!(store.hexpire("user", "token", Duration::from_secs(60))?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn hexpire(
        &self,
        key: impl AsRef<[u8]>,
        field: impl AsRef<[u8]>,
        after: Duration,
    ) -> Result<bool, Error> {
        let mut ms = itoa::Buffer::new();
        let ms = ms.format(millis(after)).as_bytes();
        // 1: set; 2: gone at once; -2: not there.
        let codes: Option<Vec<i64>> =
            self.call(&[b"HPEXPIRE", key.as_ref(), ms, b"FIELDS", b"1", field.as_ref()])?;
        Ok(codes.is_some_and(|codes| codes.first().is_some_and(|code| *code > 0)))
    }
}
