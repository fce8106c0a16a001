//! Keys of any type: existence, expiry, names; the store as a whole.

use super::access::{millis, with_list};
use super::{Error, Store, commands};
use baton_engine::keyspace::KeyType;
use bytes::Bytes;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a key has to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// There is no such key.
    Absent,
    /// It stays until it is removed.
    Never,
    /// It expires after this time.
    Left(Duration),
}

impl Ttl {
    /// The time that is left, if there is a key and it expires.
    pub fn left(self) -> Option<Duration> {
        match self {
            Self::Left(left) => Some(left),
            Self::Absent | Self::Never => None,
        }
    }
}

impl Store {
    /// Whether there is such a key.
    ///
    /// # Errors
    /// The data of the key cannot be read from the file that they are in.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.set("key", "value")?;
    /// assert!(store.exists("key")?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    #[inline]
    pub fn exists(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        let key = key.as_ref();
        self.inner.read_one(self.who.db, key, |keyspace| Ok(keyspace.read(key).is_some()))
    }

    /// How long a key has to live (`PTTL`).
    ///
    /// # Errors
    /// As [`exists`](Self::exists).
    ///
    /// ```
    /// use baton::store::Ttl;
    ///
    /// let store = baton::Store::memory();
    /// assert_eq!(store.ttl("key")?, Ttl::Absent);
    /// store.set("key", "value")?;
    /// assert_eq!(store.ttl("key")?, Ttl::Never);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn ttl(&self, key: impl AsRef<[u8]>) -> Result<Ttl, Error> {
        let key = key.as_ref();
        self.inner.read_one(self.who.db, key, |keyspace| {
            let (expiry, now_ms) = (keyspace.expiry(key), keyspace.now_ms());
            let left = |at: i64| Duration::from_millis(at.saturating_sub(now_ms).max(0) as u64);
            Ok(expiry.map_or(Ttl::Absent, |expiry| expiry.map_or(Ttl::Never, |at| Ttl::Left(left(at)))))
        })
    }

    /// Removes a step's worth of keys whose time has come, from one shard after the other; whether there are more. Keys that
    /// have expired are never seen, but they take memory until somebody asks for them, or calls this, or the store was
    /// opened with a thread for it.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// while store.expire_step() {}
    /// ```
    pub fn expire_step(&self) -> bool {
        const KEYS: usize = 200;
        if super::access::not_nested(&self.inner.node).is_err() {
            return false;
        }
        let mut more = false;
        for core in 0..self.inner.node.cores() {
            more |= self.inner.node.expire_step(core, KEYS);
        }
        self.inner.write_rest();
        more
    }

    /// Evicts until memory is under its limit again, if it is over: what other parts of the process use may have taken
    /// it there without a write to the store.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.evict();
    /// ```
    pub fn evict(&self) {
        if super::access::not_nested(&self.inner.node).is_ok() {
            for core in 0..self.inner.node.cores() {
                self.inner.node.evict_step(core);
            }
            self.inner.write_rest();
        }
    }
}

/// Unix milliseconds.
fn unix_ms(at: SystemTime) -> i64 {
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        // Before the beginning of time: over.
        Err(_) => 0,
    }
}

commands! {
    /// Removes a key. Whether there was one.
    ///
    /// # Errors
    /// The store cannot be written to.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.set("key", "value")?;
    /// assert!(store.del("key")?);
    /// assert!(!store.del("key")?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn del(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.call(&[b"DEL", key.as_ref()])
    }

    /// Removes several keys at one moment. How many there were.
    ///
    /// # Errors
    /// The store cannot be written to, or there are no keys.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.mset([("a", "1"), ("b", "2")])?;
    /// assert_eq!(store.del_all(["a", "b", "c"])?, 2);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn del_all(&self, keys: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<usize, Error> {
        with_list(&[b"DEL"], keys, |args| self.call(args))
    }

    /// As [`del`](Self::del), but large values are freed by a thread of their own.
    ///
    /// # Errors
    /// As [`del`](Self::del).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.rpush("list", (0..1000).map(|n| n.to_string()))?;
    /// assert!(store.unlink("list")?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn unlink(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.call(&[b"UNLINK", key.as_ref()])
    }

    /// The type of a key.
    ///
    /// # Errors
    /// As `exists`.
    ///
    /// ```
    /// use baton::store::KeyType;
    ///
    /// let store = baton::Store::memory();
    /// store.set("key", "value")?;
    /// assert_eq!(store.kind("key")?, Some(KeyType::String));
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn kind(&self, key: impl AsRef<[u8]>) -> Result<Option<KeyType>, Error> {
        Ok(KeyType::named(&self.call::<Bytes>(&[b"TYPE", key.as_ref()])?))
    }

    /// Lets a key expire after this time; after none at all it is gone at once. Whether there is such a key.
    ///
    /// # Errors
    /// The store cannot be written to, or the time is beyond all calendars.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let store = baton::Store::memory();
    /// store.set("key", "value")?;
    /// assert!(store.expire("key", Duration::from_secs(60))?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn expire(&self, key: impl AsRef<[u8]>, after: Duration) -> Result<bool, Error> {
        let mut ms = itoa::Buffer::new();
        self.call(&[b"PEXPIRE", key.as_ref(), ms.format(millis(after)).as_bytes()])
    }

    /// Lets a key expire at this time. Whether there is such a key.
    ///
    /// # Errors
    /// The store cannot be written to.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    ///
    /// let store = baton::Store::memory();
    /// store.set("key", "value")?;
    /// assert!(store.expire_at("key", SystemTime::now() + Duration::from_secs(60))?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn expire_at(&self, key: impl AsRef<[u8]>, at: SystemTime) -> Result<bool, Error> {
        let mut ms = itoa::Buffer::new();
        self.call(&[b"PEXPIREAT", key.as_ref(), ms.format(unix_ms(at)).as_bytes()])
    }

    /// Takes the expiry of a key away. Whether it had one.
    ///
    /// # Errors
    /// The store cannot be written to.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let store = baton::Store::memory();
    /// store.set_ex("key", "value", Duration::from_secs(60))?;
    /// assert!(store.persist("key")?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn persist(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.call(&[b"PERSIST", key.as_ref()])
    }

    /// Gives a key another name, in place of what has it now.
    ///
    /// # Errors
    /// There is no such key.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.set("old", "value")?;
    /// store.rename("old", "new")?;
    /// assert!(store.exists("new")?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn rename(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<(), Error> {
        self.call(&[b"RENAME", from.as_ref(), to.as_ref()])
    }

    /// As [`rename`](Self::rename), unless the other name is taken. Whether it was done.
    ///
    /// # Errors
    /// There is no such key.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.mset([("a", "1"), ("b", "2")])?;
    /// assert!(!store.rename_nx("a", "b")?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn rename_nx(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.call(&[b"RENAMENX", from.as_ref(), to.as_ref()])
    }

    /// Copies a key unless the other name is taken. Whether it was done. O(n) for the elements of a collection.
    ///
    /// # Errors
    /// The store cannot be written to.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.set("a", "1")?;
    /// assert!(store.copy("a", "b")?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn copy(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.call(&[b"COPY", from.as_ref(), to.as_ref()])
    }

    /// The value of a key as the bytes that [`restore`](Self::restore) takes, here or on a server (`DUMP`).
    ///
    /// # Errors
    /// As `exists`.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.set("key", "value")?;
    /// let payload = store.dump("key")?.unwrap();
    /// store.restore("copy", None, payload)?;
    /// assert_eq!(store.get("copy")?.unwrap(), "value");
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn dump(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        self.call(&[b"DUMP", key.as_ref()])
    }

    /// Makes a key of the bytes that [`dump`](Self::dump) gave, perhaps with a time to live.
    ///
    /// # Errors
    /// There is such a key already, or the bytes are damaged.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert!(store.restore("key", None, "not a payload").is_err());
    /// ```
    pub fn restore(
        &self,
        key: impl AsRef<[u8]>,
        ttl: Option<Duration>,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        let mut ms = itoa::Buffer::new();
        let ms = ms.format(ttl.map_or(0, |ttl| millis(ttl).max(1)));
        self.call(&[b"RESTORE", key.as_ref(), ms.as_bytes(), payload.as_ref()])
    }

    /// Any key.
    ///
    /// # Errors
    /// As `exists`.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.random_key()?, None);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn random_key(&self) -> Result<Option<Bytes>, Error> {
        self.call(&[b"RANDOMKEY"])
    }

    /// How many keys there are, those included that have expired and not been removed yet (`DBSIZE`).
    ///
    /// # Errors
    /// The store is called from within a closure that it runs.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.set("key", "value")?;
    /// assert_eq!(store.len()?, 1);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn len(&self) -> Result<usize, Error> {
        self.call(&[b"DBSIZE"])
    }

    /// Whether there are no keys.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    ///
    /// ```
    /// assert!(baton::Store::memory().is_empty()?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn is_empty(&self) -> Result<bool, Error> {
        Ok(self.len()? == 0)
    }

    /// Removes all keys of this database (`FLUSHDB`).
    ///
    /// # Errors
    /// The store cannot be written to.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.set("key", "value")?;
    /// store.clear()?;
    /// assert!(store.is_empty()?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn clear(&self) -> Result<(), Error> {
        self.call(&[b"FLUSHDB"])
    }
}
