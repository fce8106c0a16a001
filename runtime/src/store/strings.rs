//! Strings and integers.

use super::access::{Inside, millis, with_list, with_pairs};
use super::reply::FromReply;
use super::{Error, Store, commands};
use baton_engine::error::CommandError;
use baton_engine::keyspace::notify::Class;
use baton_engine::keyspace::{Keyspace, SetExpiry};
use bytes::Bytes;
use std::time::Duration;

impl Store {
    /// The string at a key. O(n) for its copy; [`with`](Self::with) makes none.
    ///
    /// # Errors
    /// The key holds another type.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.set("key", "value")?;
    /// assert_eq!(store.get("key")?.unwrap(), "value");
    /// assert_eq!(store.get("other")?, None);
    /// # Ok::<(), baton::Error>(())
    /// ```
    #[inline]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        let key = key.as_ref();
        self.inner.read_one(self.who.db, key, |keyspace| {
            let text = keyspace.string(key)?;
            Ok(text.map(|text| Bytes::copy_from_slice(text.bytes(&mut itoa::Buffer::new()))))
        })
    }

    /// Looks at the string at a key where it lies, without a copy. The shard of the key is held meanwhile: be quick. The
    /// store refuses calls from within.
    ///
    /// # Errors
    /// The key holds another type.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.set("key", "some text")?;
    /// let spaces = store.with("key", |text| text.iter().filter(|byte| **byte == b' ').count())?;
    /// assert_eq!(spaces, Some(1));
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn with<R>(&self, key: impl AsRef<[u8]>, look: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, Error> {
        let key = key.as_ref();
        self.inner.read_one(self.who.db, key, |keyspace| {
            let Some(text) = keyspace.string(key)? else { return Ok(None) };
            let _inside = Inside::of(&self.inner.node);
            Ok(Some(look(text.bytes(&mut itoa::Buffer::new()))))
        })
    }

    /// Sets a key to a string, whatever was there; an expiry that it had is gone.
    ///
    /// # Errors
    /// There is no memory left under the limit, or the store cannot be written to.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.set("key", "value")?;
    /// store.set("key", vec![0, 1, 2])?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    #[inline]
    pub fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        let (key, value) = (key.as_ref(), value.as_ref());
        self.inner.change_one(self.who.db, key, &[b"SET", key, value], |keyspace| {
            put(keyspace, key, value, SetExpiry::Clear);
            Ok(())
        })
    }

    /// As [`set`](Self::set), with a time to live (`SET key value PX`).
    ///
    /// # Errors
    /// As [`set`](Self::set), or the time is zero or beyond all calendars.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let store = baton::Store::memory();
    /// store.set_ex("session", "ada", Duration::from_secs(60))?;
    /// assert!(store.ttl("session")?.left().is_some());
    /// # Ok::<(), baton::Error>(())
    /// ```
    #[inline]
    pub fn set_ex(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, ttl: Duration) -> Result<(), Error> {
        let (key, value) = (key.as_ref(), value.as_ref());
        let invalid = || CommandError::InvalidExpire("set".to_owned());
        let ttl = Some(millis(ttl)).filter(|ms| *ms > 0).ok_or_else(invalid)?;
        self.inner.change_one(self.who.db, key, &[b"SET", key, value], |keyspace| {
            let at = keyspace.now_ms().checked_add(ttl).ok_or_else(invalid)?;
            put(keyspace, key, value, SetExpiry::At(at));
            keyspace.notify(Class::Generic, "expire", key);
            if keyspace.has_listeners() {
                let mut deadline = itoa::Buffer::new();
                keyspace.propagate(&[b"SET", key, value, b"PXAT", deadline.format(at).as_bytes()]);
            }
            Ok(())
        })
    }

    /// Adds to the integer at a key, which is 0 when there is no key. The sum.
    ///
    /// # Errors
    /// There is no integer at the key, or the sum does not fit into 64 bits.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.incr_by("n", 5)?, 5);
    /// assert_eq!(store.incr_by("n", -2)?, 3);
    /// # Ok::<(), baton::Error>(())
    /// ```
    #[inline]
    pub fn incr_by(&self, key: impl AsRef<[u8]>, by: i64) -> Result<i64, Error> {
        const OVERFLOW: CommandError = CommandError::text("ERR increment or decrement would overflow");
        let key = key.as_ref();
        let mut text = itoa::Buffer::new();
        let effect: [&[u8]; 3] = [b"INCRBY", key, text.format(by).as_bytes()];
        self.inner.change_one(self.who.db, key, &effect, |keyspace| {
            let n = keyspace.change_integer(key, |n| n.checked_add(by).ok_or(OVERFLOW))?;
            keyspace.modified(key);
            keyspace.notify(Class::String, "incrby", key);
            Ok(n)
        })
    }

    /// Replaces the string at a key by what `change` makes of it, at once: nobody else sees or changes the key in between.
    /// The expiry stays. With `None` nothing changes. Whether something did.
    ///
    /// # Errors
    /// As [`set`](Self::set), or the key holds another type.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.set("name", "ada")?;
    /// store.update("name", |old| old.map(|name| name.to_ascii_uppercase()))?;
    /// assert_eq!(store.get("name")?.unwrap(), "ADA");
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn update(
        &self,
        key: impl AsRef<[u8]>,
        change: impl FnOnce(Option<&[u8]>) -> Option<Vec<u8>>,
    ) -> Result<bool, Error> {
        let key = key.as_ref();
        self.inner.change_one(self.who.db, key, &[b"SET", key], |keyspace| {
            let mut buffer = itoa::Buffer::new();
            let new = {
                let old = keyspace.string(key)?;
                let _inside = Inside::of(&self.inner.node);
                change(old.map(|text| text.bytes(&mut buffer)))
            };
            let Some(new) = new else { return Ok(false) };
            if new.len() as u64 > self.inner.node.settings().proto_max_bulk_len {
                return Err(CommandError::StringTooLong.into());
            }
            put(keyspace, key, &new, SetExpiry::Keep);
            keyspace.propagate(&[b"SET", key, &new, b"KEEPTTL"]);
            Ok(true)
        })
    }
}

/// What SET does.
#[inline]
fn put(keyspace: &mut Keyspace<'_>, key: &[u8], value: &[u8], expiry: SetExpiry) {
    keyspace.put_string(key, value, expiry);
    keyspace.modified(key);
    keyspace.notify(Class::String, "set", key);
}

commands! {
    /// As [`get`](Self::get), as a type of your choice: a string, an integer, a float.
    ///
    /// # Errors
    /// The key holds another type, or the string is not what it should be.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.set("n", "42")?;
    /// assert_eq!(store.get_as::<i64>("n")?, Some(42));
    /// assert_eq!(store.get_as::<String>("n")?, Some("42".to_owned()));
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn get_as<T: FromReply>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>, Error> {
        self.call(&[b"GET", key.as_ref()])
    }

    /// Adds one to the integer at a key: see [`incr_by`](Self::incr_by).
    ///
    /// # Errors
    /// As [`incr_by`](Self::incr_by).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.incr("visits")?, 1);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn incr(&self, key: impl AsRef<[u8]>) -> Result<i64, Error> {
        self.incr_by(key, 1)
    }

    /// Takes one from the integer at a key: see [`incr_by`](Self::incr_by).
    ///
    /// # Errors
    /// As [`incr_by`](Self::incr_by).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.decr("left")?, -1);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn decr(&self, key: impl AsRef<[u8]>) -> Result<i64, Error> {
        self.incr_by(key, -1)
    }

    /// Adds to the number at a key, which is 0 when there is no key (`INCRBYFLOAT`). The sum.
    ///
    /// # Errors
    /// There is no number at the key, or the sum would not be finite.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.set("x", "1.5")?;
    /// assert_eq!(store.incr_by_float("x", 2.25)?, 3.75);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn incr_by_float(&self, key: impl AsRef<[u8]>, by: f64) -> Result<f64, Error> {
        self.call(&[b"INCRBYFLOAT", key.as_ref(), by.to_string().as_bytes()])
    }

    /// Sets a key unless there is one (`SET NX`). Whether it was set.
    ///
    /// # Errors
    /// As `set`.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert!(store.set_nx("leader", "me")?);
    /// assert!(!store.set_nx("leader", "you")?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn set_nx(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.call(&[b"SET", key.as_ref(), value.as_ref(), b"NX"])
    }

    /// As [`set_nx`](Self::set_nx), with a time to live: a lock that lets itself go. See also
    /// [`del_if_eq`](Self::del_if_eq).
    ///
    /// # Errors
    /// As `set_ex`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let store = baton::Store::memory();
    /// assert!(store.set_nx_ex("lock", "me", Duration::from_secs(10))?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn set_nx_ex(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        ttl: Duration,
    ) -> Result<bool, Error> {
        let mut ms = itoa::Buffer::new();
        let ms = ms.format(millis(ttl)).as_bytes();
        self.call(&[b"SET", key.as_ref(), value.as_ref(), b"NX", b"PX", ms])
    }

    /// Sets a key if there is one (`SET XX`). Whether it was set.
    ///
    /// # Errors
    /// As `set`.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert!(!store.set_xx("key", "value")?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn set_xx(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.call(&[b"SET", key.as_ref(), value.as_ref(), b"XX"])
    }

    /// Sets a key and keeps its expiry (`SET KEEPTTL`).
    ///
    /// # Errors
    /// As `set`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let store = baton::Store::memory();
    /// store.set_ex("key", "old", Duration::from_secs(60))?;
    /// store.set_keep_ttl("key", "new")?;
    /// assert!(store.ttl("key")?.left().is_some());
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn set_keep_ttl(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.call(&[b"SET", key.as_ref(), value.as_ref(), b"KEEPTTL"])
    }

    /// Sets a key and returns what was there before (`SET GET`).
    ///
    /// # Errors
    /// The key holds another type.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.set("key", "old")?;
    /// assert_eq!(store.get_set("key", "new")?.unwrap(), "old");
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn get_set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        self.call(&[b"SET", key.as_ref(), value.as_ref(), b"GET"])
    }

    /// Sets a key if it holds exactly `expected` (`SET IFEQ`). Whether it did.
    ///
    /// # Errors
    /// The key holds another type.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.set("state", "idle")?;
    /// assert!(store.set_if_eq("state", "idle", "busy")?);
    /// assert!(!store.set_if_eq("state", "idle", "busy")?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn set_if_eq(
        &self,
        key: impl AsRef<[u8]>,
        expected: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<bool, Error> {
        self.call(&[b"SET", key.as_ref(), value.as_ref(), b"IFEQ", expected.as_ref()])
    }

    /// Removes a key if it holds exactly `expected` (`DELIFEQ`): how a lock is let go by whoever has it. Whether it did.
    ///
    /// # Errors
    /// The key holds another type.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.set("lock", "me")?;
    /// assert!(!store.del_if_eq("lock", "you")?);
    /// assert!(store.del_if_eq("lock", "me")?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn del_if_eq(&self, key: impl AsRef<[u8]>, expected: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.call(&[b"DELIFEQ", key.as_ref(), expected.as_ref()])
    }

    /// Removes a key and returns the string that was there (`GETDEL`).
    ///
    /// # Errors
    /// The key holds another type.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.set("token", "abc")?;
    /// assert_eq!(store.get_del("token")?.unwrap(), "abc");
    /// assert_eq!(store.get_del("token")?, None);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn get_del(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        self.call(&[b"GETDEL", key.as_ref()])
    }

    /// The string at a key, whose time to live begins anew (`GETEX`).
    ///
    /// # Errors
    /// The key holds another type, or the time is zero.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let store = baton::Store::memory();
    /// store.set("session", "ada")?;
    /// assert_eq!(store.get_ex("session", Duration::from_secs(60))?.unwrap(), "ada");
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn get_ex(&self, key: impl AsRef<[u8]>, ttl: Duration) -> Result<Option<Bytes>, Error> {
        let mut ms = itoa::Buffer::new();
        self.call(&[b"GETEX", key.as_ref(), b"PX", ms.format(millis(ttl)).as_bytes()])
    }

    /// Appends to the string at a key. Its length then.
    ///
    /// # Errors
    /// The key holds another type, or the string would be too long.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.append("log", "one ")?, 4);
    /// assert_eq!(store.append("log", "two")?, 7);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn append(&self, key: impl AsRef<[u8]>, tail: impl AsRef<[u8]>) -> Result<usize, Error> {
        self.call(&[b"APPEND", key.as_ref(), tail.as_ref()])
    }

    /// The length of the string at a key; 0 when there is none.
    ///
    /// # Errors
    /// The key holds another type.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.set("key", "value")?;
    /// assert_eq!(store.strlen("key")?, 5);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn strlen(&self, key: impl AsRef<[u8]>) -> Result<usize, Error> {
        self.call(&[b"STRLEN", key.as_ref()])
    }

    /// A part of the string at a key, from `start` to `end`, both included; negative ones count from the end.
    ///
    /// # Errors
    /// The key holds another type.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.set("key", "value")?;
    /// assert_eq!(store.getrange("key", 0, -2)?, "valu");
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn getrange(&self, key: impl AsRef<[u8]>, start: i64, end: i64) -> Result<Bytes, Error> {
        let (mut from, mut to) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (from, to) = (from.format(start), to.format(end));
        self.call(&[b"GETRANGE", key.as_ref(), from.as_bytes(), to.as_bytes()])
    }

    /// Overwrites a part of the string at a key, which is filled up with zeros before. Its length then.
    ///
    /// # Errors
    /// The key holds another type, or the string would be too long.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.set("key", "value")?;
    /// store.setrange("key", 3, "id")?;
    /// assert_eq!(store.get("key")?.unwrap(), "valid");
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn setrange(&self, key: impl AsRef<[u8]>, at: usize, part: impl AsRef<[u8]>) -> Result<usize, Error> {
        let mut offset = itoa::Buffer::new();
        self.call(&[b"SETRANGE", key.as_ref(), offset.format(at).as_bytes(), part.as_ref()])
    }

    /// The strings at several keys, as they were at one moment. What is no string is as if it were absent.
    ///
    /// # Errors
    /// There are no keys.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.mset([("a", "1"), ("b", "2")])?;
    /// assert_eq!(store.mget(["a", "x", "b"])?, [Some("1".into()), None, Some("2".into())]);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn mget(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<Vec<Option<Bytes>>, Error> {
        with_list(&[b"MGET"], keys, |args| self.call(args))
    }

    /// Sets several keys at one moment.
    ///
    /// # Errors
    /// As `set`, or there are no keys.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.mset([("a", "1"), ("b", "2")])?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn mset(
        &self,
        pairs: impl IntoIterator<Item = (impl AsRef<[u8]>, impl AsRef<[u8]>)>,
    ) -> Result<(), Error> {
        with_pairs(&[b"MSET"], pairs, |args| self.call(args))
    }

    /// Sets several keys at one moment, unless one of them is there. Whether they were set.
    ///
    /// # Errors
    /// As `set`, or there are no keys.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert!(store.mset_nx([("a", "1"), ("b", "2")])?);
    /// assert!(!store.mset_nx([("b", "3"), ("c", "4")])?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn mset_nx(
        &self,
        pairs: impl IntoIterator<Item = (impl AsRef<[u8]>, impl AsRef<[u8]>)>,
    ) -> Result<bool, Error> {
        with_pairs(&[b"MSETNX"], pairs, |args| self.call(args))
    }

    /// A bit of the string at a key; those beyond its end are zero.
    ///
    /// # Errors
    /// The key holds another type.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert!(!store.setbit("days", 7, true)?);
    /// assert!(store.getbit("days", 7)?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn getbit(&self, key: impl AsRef<[u8]>, at: u64) -> Result<bool, Error> {
        let mut offset = itoa::Buffer::new();
        self.call(&[b"GETBIT", key.as_ref(), offset.format(at).as_bytes()])
    }

    /// Sets a bit of the string at a key. What it was before.
    ///
    /// # Errors
    /// The key holds another type, or the string would be too long.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert!(!store.setbit("days", 7, true)?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn setbit(&self, key: impl AsRef<[u8]>, at: u64, bit: bool) -> Result<bool, Error> {
        let mut offset = itoa::Buffer::new();
        let bit: &[u8] = if bit { b"1" } else { b"0" };
        self.call(&[b"SETBIT", key.as_ref(), offset.format(at).as_bytes(), bit])
    }

    /// How many bits of the string at a key are set.
    ///
    /// # Errors
    /// The key holds another type.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.set("key", [0xff, 0x01])?;
    /// assert_eq!(store.bitcount("key")?, 9);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn bitcount(&self, key: impl AsRef<[u8]>) -> Result<u64, Error> {
        self.call(&[b"BITCOUNT", key.as_ref()])
    }

    /// Counts these as seen, roughly and in little memory (HyperLogLog). Whether the estimate may have changed.
    ///
    /// # Errors
    /// The key holds something else.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.pfadd("visitors", ["ada", "bob", "ada"])?;
    /// assert_eq!(store.pfcount(["visitors"])?, 2);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn pfadd(
        &self,
        key: impl AsRef<[u8]>,
        elements: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<bool, Error> {
        with_list(&[b"PFADD", key.as_ref()], elements, |args| self.call(args))
    }

    /// Estimates how many different elements were counted at these keys together.
    ///
    /// # Errors
    /// A key holds something else, or there are no keys.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.pfcount(["nobody"])?, 0);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn pfcount(&self, keys: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<u64, Error> {
        with_list(&[b"PFCOUNT"], keys, |args| self.call(args))
    }
}
