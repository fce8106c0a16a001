//! Batches: many commands with one taking of each baton and one wait for the log.

use super::access::{check_lengths, not_nested, with_out};
use super::reply::{FromReply, Reader, Reply};
use super::{Error, Store};
use crate::journal::pushes_here;
use crate::node::{Cores, Node};
use crate::registry::Registered;
use baton_engine::command::Flag;
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// Commands that are collected and then run together: see [`Store::batch`].
#[derive(Debug)]
#[must_use = "commands are run by `run`"]
pub struct Batch<'s> {
    store: &'s Store,
    bytes: Vec<u8>,
    /// Where each argument ends in `bytes`.
    ends: Vec<usize>,
    /// Where each command ends in `ends`.
    commands: Vec<usize>,
}

impl Store {
    /// Begins a batch. Its commands are grouped by shard, each shard is taken once for all of them, and the log is written (and
    /// with `always` synced) once for the batch. It is not a transaction: others may get in between. Commands on the
    /// same key run in order.
    ///
    /// ```
    /// use baton::{Reply, Store};
    ///
    /// let store = Store::memory();
    /// let mut batch = store.batch();
    /// for n in 0..100 {
    ///     batch.set(format!("key:{n}"), n.to_string());
    /// }
    /// batch.add(["INCR", "key:7"]);
    /// let replies = batch.run()?;
    /// assert_eq!(replies[100].as_ref().unwrap(), &Reply::Integer(8));
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn batch(&self) -> Batch<'_> {
        Batch { store: self, bytes: Vec::new(), ends: Vec::new(), commands: Vec::new() }
    }
}

impl Batch<'_> {
    /// Adds any command.
    ///
    /// ```
    /// # let store = baton::Store::memory();
    /// let mut batch = store.batch();
    /// batch.add(["LPUSH", "list", "a"]).add(["LLEN", "list"]);
    /// assert_eq!(batch.run()?.len(), 2);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn add(&mut self, args: impl IntoIterator<Item = impl AsRef<[u8]>>) -> &mut Self {
        for arg in args {
            self.bytes.extend_from_slice(arg.as_ref());
            self.ends.push(self.bytes.len());
        }
        self.commands.push(self.ends.len());
        self
    }

    /// Adds a `GET`.
    ///
    /// ```
    /// # let store = baton::Store::memory();
    /// let mut batch = store.batch();
    /// batch.get("key");
    /// assert_eq!(batch.run_as::<Option<String>>()?, [None]);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn get(&mut self, key: impl AsRef<[u8]>) -> &mut Self {
        self.add([b"GET", key.as_ref()])
    }

    /// Adds a `SET`.
    ///
    /// ```
    /// # let store = baton::Store::memory();
    /// let mut batch = store.batch();
    /// batch.set("key", "value");
    /// batch.run()?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn set(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> &mut Self {
        self.add([b"SET", key.as_ref(), value.as_ref()])
    }

    /// Adds a `DEL`.
    ///
    /// ```
    /// # let store = baton::Store::memory();
    /// let mut batch = store.batch();
    /// batch.del("key");
    /// batch.run()?;
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn del(&mut self, key: impl AsRef<[u8]>) -> &mut Self {
        self.add([b"DEL", key.as_ref()])
    }

    /// How many commands there are.
    ///
    /// ```
    /// # let store = baton::Store::memory();
    /// assert_eq!(store.batch().get("key").len(), 1);
    /// ```
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether there are no commands.
    ///
    /// ```
    /// # let store = baton::Store::memory();
    /// assert!(store.batch().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Runs the commands. A reply for each, in order: one that is refused does not keep the others from running.
    ///
    /// # Errors
    /// What was changed is not safe on disk, or nothing was run because the store is called from within a closure of its own.
    ///
    /// ```
    /// # let store = baton::Store::memory();
    /// let mut batch = store.batch();
    /// batch.set("text", "abc").add(["INCR", "text"]).get("text");
    /// let replies = batch.run()?;
    /// assert!(replies[0].is_ok() && replies[1].is_err() && replies[2].is_ok());
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn run(&self) -> Result<Vec<Result<Reply, Error>>, Error> {
        self.run_each()
    }

    /// As [`run`](Self::run), when all replies are of one type.
    ///
    /// # Errors
    /// As [`run`](Self::run), or the first refusal.
    ///
    /// ```
    /// # let store = baton::Store::memory();
    /// let mut batch = store.batch();
    /// batch.add(["INCR", "a"]).add(["INCR", "a"]);
    /// assert_eq!(batch.run_as::<i64>()?, [1, 2]);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn run_as<T: FromReply>(&self) -> Result<Vec<T>, Error> {
        self.run_each()?.into_iter().collect()
    }

    fn run_each<T: FromReply>(&self) -> Result<Vec<Result<T, Error>>, Error> {
        let (inner, who) = (&*self.store.inner, &self.store.who);
        let pushes = pushes_here();
        not_nested(&inner.node)?;
        let mut replies: Vec<Option<Result<T, Error>>> = (0..self.len()).map(|_| None).collect();
        // By core: its commands so far. What needs several cores waits for what was asked for before it.
        let mut groups: BTreeMap<usize, Vec<(usize, &Registered)>> = BTreeMap::new();
        let mut run_group = |group: Vec<(usize, &Registered)>| {
            let mut held = inner.node.hold(|node| self.cores_of(node, &group));
            for (at, command) in group {
                let args = self.args(at);
                let reply = with_out(|out| {
                    held.run(who, command, &args, false, out);
                    T::from_reply(&mut Reader::new(out.as_bytes()))
                });
                held.serve();
                if let Some(place) = replies.get_mut(at) {
                    *place = Some(reply);
                }
            }
            held.finish();
        };
        let mut refused = Vec::new();
        for at in 0..self.len() {
            let args = self.args(at);
            let command = match self.admitted(&args) {
                Ok(command) => command,
                Err(error) => {
                    refused.push((at, error));
                    continue;
                }
            };
            let cores = inner.node.cores_of(command, &args);
            match cores[..] {
                [core] => groups.entry(core).or_default().push((at, command)),
                _ => {
                    std::mem::take(&mut groups).into_values().for_each(&mut run_group);
                    run_group(vec![(at, command)]);
                }
            }
        }
        groups.into_values().for_each(run_group);
        for (at, error) in refused {
            if let Some(place) = replies.get_mut(at) {
                *place = Some(Err(error));
            }
        }
        inner.acknowledge(pushes)?;
        let lost = || Err(Error::Mismatch { wanted: "a reply", found: "nothing" });
        Ok(replies.into_iter().map(|reply| reply.unwrap_or_else(lost)).collect())
    }

    /// The cores that own the keys of some commands at this moment.
    fn cores_of(&self, node: &Node, group: &[(usize, &Registered)]) -> Cores {
        let mut cores: Cores =
            group.iter().flat_map(|(at, command)| node.cores_of(command, &self.args(*at))).collect();
        cores.sort_unstable();
        cores.dedup();
        cores
    }

    fn admitted(&self, args: &[&[u8]]) -> Result<&Registered, Error> {
        let inner = &*self.store.inner;
        let command = inner.command(args)?;
        if command.has(Flag::Write) && inner.is_read_only() {
            return Err(Error::ReadOnly);
        }
        check_lengths(&inner.node.settings(), args)?;
        Ok(command)
    }

    /// The arguments of a command.
    fn args(&self, at: usize) -> SmallVec<[&[u8]; 8]> {
        let before = |ends: &[usize], at: usize| if at == 0 { 0 } else { ends[at - 1] };
        let first = before(&self.commands, at);
        let mut start = before(&self.ends, first);
        let arg = |end: &usize| &self.bytes[std::mem::replace(&mut start, *end)..*end];
        self.ends[first..self.commands[at]].iter().map(arg).collect()
    }
}
