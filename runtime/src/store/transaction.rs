//! Transactions: several commands at one moment, over whatever shards their keys are in.

use super::access::{Inside, not_nested, with_list, with_out};
use super::reply::{FromReply, Reader, Reply};
use super::{Error, Inner, Store, Ttl};
use crate::held::{Held, Who};
use crate::journal::pushes_here;
use crate::node::{Cores, Node};
use crate::registry::Registered;
use baton_engine::command::Flag;
use baton_engine::error::CommandError;
use bytes::Bytes;
use std::cell::RefCell;
use std::time::Duration;

/// What the closure of a [`transaction`](Store::transaction) works on: the methods of the store, on the keys that were declared.
pub struct Transaction<'t> {
    inner: &'t Inner,
    who: &'t Who,
    held: RefCell<Held<'t>>,
    /// Ascending; none when all keys may be touched.
    keys: Option<Vec<&'t [u8]>>,
    /// With what changes are refused, if they are: all of them or none.
    refusal: Option<CommandError>,
    out_of_memory: bool,
}

impl Store {
    /// Runs a closure during which nobody else sees or changes these keys. What it changes is seen by all others at one
    /// moment, and lies in the log as one piece: after a crash all of it is there, or nothing.
    ///
    /// An error does not undo what the closure did before it, as in Redis: look first, then change. The shards of the keys are
    /// held until the closure returns: be quick, and do not wait for other threads in it. Calls of the store from within are
    /// refused: use what the closure is given.
    ///
    /// # Errors
    /// Those of the closure, or the change is not safe on disk.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.mset([("ada", "100"), ("bob", "0")])?;
    /// let moved = store.transaction(["ada", "bob"], |tx| {
    ///     if tx.get_as::<i64>("ada")?.unwrap_or(0) < 30 {
    ///         return Ok(false);
    ///     }
    ///     tx.incr_by("ada", -30)?;
    ///     tx.incr_by("bob", 30)?;
    ///     Ok(true)
    /// })?;
    /// assert!(moved);
    /// assert_eq!(store.mget(["ada", "bob"])?, [Some("70".into()), Some("30".into())]);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn transaction<R>(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
        work: impl FnOnce(&Transaction<'_>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        with_list(&[], keys, |keys| {
            let mut keys = keys.to_vec();
            keys.sort_unstable();
            keys.dedup();
            self.transact(Some(keys), work)
        })
    }

    /// As [`transaction`](Self::transaction), over all keys: nobody else gets at the store meanwhile.
    ///
    /// # Errors
    /// As [`transaction`](Self::transaction).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.transaction_over_all(|tx| {
    ///     if tx.len()? == 0 {
    ///         tx.set("first", "key")?;
    ///     }
    ///     Ok(())
    /// })?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn transaction_over_all<R>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.transact(None, work)
    }

    fn transact<R>(
        &self,
        keys: Option<Vec<&[u8]>>,
        work: impl FnOnce(&Transaction<'_>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let inner = &*self.inner;
        let pushes = pushes_here();
        not_nested(&inner.node)?;
        let refusal = inner.node.journal().refusal();
        let out_of_memory = inner.node.is_out_of_memory();
        let mut held = inner.node.hold(|node| cores_of(node, keys.as_deref()));
        held.begin_transaction();
        let who = &self.who;
        let held = RefCell::new(held);
        let transaction = Transaction { inner, who, held, keys, refusal, out_of_memory };
        let result = {
            let _inside = Inside::of(&inner.node);
            work(&transaction)
        };
        // Lets the batons go.
        drop(transaction);
        inner.acknowledge(pushes)?;
        result
    }
}

/// The cores of the keys, one at least; all of them without keys.
fn cores_of(node: &Node, keys: Option<&[&[u8]]>) -> Cores {
    let Some(keys) = keys else { return node.all_cores() };
    let mut cores = node.owners(keys.iter().copied());
    if cores.is_empty() {
        cores.push(0);
    }
    cores
}

impl Transaction<'_> {
    /// Runs a command and reads its reply.
    pub(super) fn call<T: FromReply>(&self, args: &[&[u8]]) -> Result<T, Error> {
        let command = self.inner.command(args)?;
        self.inner.admit(command, args)?;
        self.check_keys(command, args)?;
        if command.has(Flag::Write)
            && let Some(refusal) = &self.refusal
        {
            return Err(refusal.clone().into());
        }
        if command.has(Flag::DenyOom) && self.out_of_memory {
            return Err(CommandError::OutOfMemory.into());
        }
        with_out(|out| {
            self.held.borrow_mut().run(self.who, command, args, false, out);
            T::from_reply(&mut Reader::new(out.as_bytes()))
        })
    }

    /// Refuses keys that were not declared: their shards may not be held.
    fn check_keys(&self, command: &Registered, args: &[&[u8]]) -> Result<(), Error> {
        let Some(keys) = &self.keys else { return Ok(()) };
        // DEBUG looks at anything, and does not say where.
        let looks_anywhere = command.all_shards || command.name.starts_with("debug");
        if looks_anywhere || command.command.has_unknown_keys() && args.len() > 2 {
            return Err(Error::Unbounded(command.name.to_ascii_uppercase()));
        }
        let mut undeclared = None;
        for spec in command.command.keys {
            let mut check = |at: usize| {
                let key = args.get(at).copied().unwrap_or_default();
                if keys.binary_search(&key).is_err() {
                    undeclared = Some(key);
                }
            };
            if spec.positions(args, &mut check).is_err() && command.command.arity.accepts(args.len()) {
                // Where its keys are cannot be told: the command will refuse its arguments, but that is its business.
                return Err(CommandError::Syntax.into());
            }
        }
        undeclared.map_or(Ok(()), |key| Err(Error::Undeclared(key.escape_ascii().to_string())))
    }

    /// As [`Store::run`].
    ///
    /// # Errors
    /// As there, or a key was not declared.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.transaction(["list"], |tx| tx.run(["RPUSH", "list", "a"]))?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn run(&self, args: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<Reply, Error> {
        self.run_as(args)
    }

    /// As [`Store::run_as`].
    ///
    /// # Errors
    /// As there, or a key was not declared.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// let len: usize = store.transaction(["list"], |tx| tx.run_as(["RPUSH", "list", "a"]))?;
    /// assert_eq!(len, 1);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn run_as<T: FromReply>(&self, args: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<T, Error> {
        with_list(&[], args, |args| self.call(args))
    }

    /// As [`Store::get`].
    ///
    /// # Errors
    /// As there, or the key was not declared; this goes for all methods of transactions.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// let value = store.transaction(["key"], |tx| tx.get("key"))?;
    /// assert_eq!(value, None);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        self.call(&[b"GET", key.as_ref()])
    }

    /// As [`Store::set`].
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.transaction(["key"], |tx| tx.set("key", "value"))?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.call(&[b"SET", key.as_ref(), value.as_ref()])
    }

    /// As [`Store::set_ex`].
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// ```
    /// # use std::time::Duration;
    /// let store = baton::Store::memory();
    /// store.transaction(["key"], |tx| tx.set_ex("key", "value", Duration::from_secs(60)))?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn set_ex(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, ttl: Duration) -> Result<(), Error> {
        let mut ms = itoa::Buffer::new();
        let ms = ms.format(super::access::millis(ttl)).as_bytes();
        self.call(&[b"SET", key.as_ref(), value.as_ref(), b"PX", ms])
    }

    /// As [`Store::incr_by`].
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.transaction(["n"], |tx| tx.incr_by("n", 5))?, 5);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn incr_by(&self, key: impl AsRef<[u8]>, by: i64) -> Result<i64, Error> {
        let mut text = itoa::Buffer::new();
        self.call(&[b"INCRBY", key.as_ref(), text.format(by).as_bytes()])
    }

    /// As [`Store::exists`].
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert!(!store.transaction(["key"], |tx| tx.exists("key"))?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn exists(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.call(&[b"EXISTS", key.as_ref()])
    }

    /// As [`Store::ttl`].
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// ```
    /// use baton::store::Ttl;
    ///
    /// let store = baton::Store::memory();
    /// assert_eq!(store.transaction(["key"], |tx| tx.ttl("key"))?, Ttl::Absent);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn ttl(&self, key: impl AsRef<[u8]>) -> Result<Ttl, Error> {
        Ok(match self.call::<i64>(&[b"PTTL", key.as_ref()])? {
            -2 => Ttl::Absent,
            ms => u64::try_from(ms).map_or(Ttl::Never, |ms| Ttl::Left(Duration::from_millis(ms))),
        })
    }
}

impl std::fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys = self.keys.as_ref().map_or(0, Vec::len);
        f.debug_struct("Transaction").field("keys", &keys).finish_non_exhaustive()
    }
}
