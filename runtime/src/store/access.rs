//! The ways to the data: one key, on the shortest way; and any command.

use super::error::Error;
use super::reply::{FromReply, Reader, Reply};
use super::{Inner, Store};
use crate::baton::Holding;
use crate::blocked;
use crate::journal::{Verdict, pushes_here};
use crate::node::{CoreState, Node};
use crate::registry::Registered;
use crate::scripts::{self, Host};
use baton_engine::command::Flag;
use baton_engine::error::CommandError;
use baton_engine::keyspace::Keyspace;
use baton_engine::reply::Out;
use baton_engine::settings::Settings;
use baton_engine::slot::Slot;
use parking_lot::{Condvar, Mutex};
use smallvec::SmallVec;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Wake;
use std::time::Duration;

/// A scratch buffer that is larger than this is given back.
const KEEP_BYTES: usize = 64 * 1024;

thread_local! {
    /// Where replies are written before they are read: one per thread, so that a call allocates nothing for it.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// How many closures of callers run on this thread while batons are held, and of which nodes.
    static INSIDE: Cell<usize> = const { Cell::new(0) };
    static NODES: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// A closure of the caller runs under batons of a node: until this is dropped, calls of the same store are refused.
pub(super) struct Inside;

impl Inside {
    pub(super) fn of(node: &Arc<Node>) -> Self {
        NODES.with_borrow_mut(|nodes| nodes.push(Arc::as_ptr(node) as usize));
        INSIDE.set(INSIDE.get() + 1);
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(INSIDE.get() - 1);
        NODES.with_borrow_mut(|nodes| nodes.pop());
    }
}

/// Refuses a call that would wait for a baton which its own thread holds.
#[inline]
pub(super) fn not_nested(node: &Arc<Node>) -> Result<(), Error> {
    if INSIDE.get() == 0 {
        return Ok(());
    }
    let inside = NODES.with_borrow(|nodes| nodes.contains(&(Arc::as_ptr(node) as usize)));
    if inside { Err(Error::Nested) } else { Ok(()) }
}

/// A buffer for replies, and back.
pub(super) fn with_out<R>(work: impl FnOnce(&mut Out) -> R) -> R {
    let mut out = Out::with_buffer(SCRATCH.take(), true);
    let result = work(&mut out);
    let mut buffer = out.into_bytes();
    if buffer.capacity() <= KEEP_BYTES {
        buffer.clear();
        SCRATCH.set(buffer);
    }
    result
}

/// Arguments: these, and then a list.
pub(super) fn with_list<A: AsRef<[u8]>, R>(
    head: &[&[u8]],
    list: impl IntoIterator<Item = A>,
    work: impl FnOnce(&[&[u8]]) -> R,
) -> R {
    let list: SmallVec<[A; 8]> = list.into_iter().collect();
    let mut args: SmallVec<[&[u8]; 12]> = SmallVec::from_slice(head);
    args.extend(list.iter().map(AsRef::as_ref));
    work(&args)
}

/// Arguments: these, and then a list of pairs.
pub(super) fn with_pairs<A: AsRef<[u8]>, B: AsRef<[u8]>, R>(
    head: &[&[u8]],
    pairs: impl IntoIterator<Item = (A, B)>,
    work: impl FnOnce(&[&[u8]]) -> R,
) -> R {
    let pairs: SmallVec<[(A, B); 8]> = pairs.into_iter().collect();
    let mut args: SmallVec<[&[u8]; 20]> = SmallVec::from_slice(head);
    args.extend(pairs.iter().flat_map(|(a, b)| [a.as_ref(), b.as_ref()]));
    work(&args)
}

/// A duration in whole milliseconds, at least one unless it is zero.
pub(super) fn millis(duration: Duration) -> i64 {
    let ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    if duration.is_zero() { 0 } else { ms.max(1) }
}

/// Refuses arguments that could not be read back from a log.
pub(super) fn check_lengths(settings: &Settings, args: &[&[u8]]) -> Result<(), CommandError> {
    let fits = |arg: &&[u8]| arg.len() as u64 <= settings.proto_max_bulk_len;
    if args.iter().all(fits) { Ok(()) } else { Err(CommandError::StringTooLong) }
}

/// Wakes the threads that wait for the log.
#[derive(Default)]
pub(super) struct Bell {
    /// How often it has rung.
    rung: Mutex<u64>,
    heard: Condvar,
}

impl Bell {
    /// Nobody sleeps longer without a look: a disk that fails is noticed by somebody else.
    const LONGEST: Duration = Duration::from_millis(20);

    /// Waits until it has rung more often than this.
    fn wait(&self, rung: u64) {
        let mut now = self.rung.lock();
        if *now == rung {
            self.heard.wait_for(&mut now, Self::LONGEST);
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.rung.lock() += 1;
        self.heard.notify_all();
    }
}

/// What a call may take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// After how long a script ends.
    pub(super) script_time: Option<Duration>,
}

/// Who has scripts run on a store.
struct Caller<'s> {
    inner: &'s Inner,
    limits: Limits,
}

impl Host for Caller<'_> {
    fn stops_writes(&self) -> Option<CommandError> {
        self.inner.read_only.then_some(CommandError::text("READONLY The store was opened to be read only"))
    }

    fn time_limit(&self) -> Option<Duration> {
        self.limits.script_time
    }
}

/// One shard that is held for one key.
struct One<'s> {
    state: Holding<'s, CoreState>,
    slot: Slot,
    hash: u64,
}

impl Inner {
    /// Takes the baton of a key, waiting for it only if it is taken.
    // Always: as a call of its own it hands over what it found by way of memory.
    #[inline(always)]
    fn take(&self, key: &[u8]) -> Result<One<'_>, Error> {
        not_nested(&self.node)?;
        let (slot, hash) = (Slot::of(key), self.node.hasher().hash(key));
        loop {
            let baton = self.node.baton(self.node.slots.owner(slot));
            let state = baton.try_take().unwrap_or_else(|| baton.take());
            // The slot may have moved between the look at the map and the taking.
            if state.shard.owns(slot) {
                // On its way while the time is looked at.
                state.shard.prefetch_slot(slot, hash);
                return Ok(One { state, slot, hash });
            }
        }
    }

    /// Works on one key, and leaves `effect` if that changed something.
    #[inline]
    fn on_one<R>(
        &self,
        mut one: One<'_>,
        settings: &Settings,
        db: usize,
        key: &[u8],
        effect: &[&[u8]],
        work: impl FnOnce(&mut Keyspace<'_>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let node = &self.node;
        let now_ms = node.now_ms();
        let state = &mut *one.state;
        state.shard.build_slot(one.slot, settings, now_ms)?;
        let mut keyspace = Keyspace::one(&mut state.shard, settings, db, now_ms);
        keyspace.hint(key, one.slot, one.hash);
        // Of a replica, which is only read: its primary removes what is over.
        keyspace.set_keep_expired(node.keeps_expired());
        let result = work(&mut keyspace);
        let changes = keyspace.dirty();
        keyspace.finish_command(changes, effect);
        node.publish_events(&mut state.shard, settings);
        blocked::serve_one(node, state, settings, now_ms);
        drop(one);
        node.settle();
        result
    }

    /// Reads one key. Nothing is to be waited for: what a read sees may still be on its way to the disk.
    #[inline]
    pub(super) fn read_one<R>(
        &self,
        db: usize,
        key: &[u8],
        work: impl FnOnce(&mut Keyspace<'_>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let one = self.take(key)?;
        self.on_one(one, &self.node.settings(), db, key, &[], work)
    }

    /// Changes one key; returns when the change is as safe as the policy of the log says.
    #[inline]
    pub(super) fn change_one<R>(
        &self,
        db: usize,
        key: &[u8],
        effect: &[&[u8]],
        work: impl FnOnce(&mut Keyspace<'_>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let pushes = pushes_here();
        if self.is_read_only() {
            return Err(Error::ReadOnly);
        }
        let mut one = self.take(key)?;
        let settings = self.node.settings();
        check_lengths(&settings, effect)?;
        if let Some(refusal) = self.node.journal().refusal() {
            return Err(refusal.into());
        }
        if settings.maxmemory > 0 {
            let core = self.node.slots.owner(one.slot);
            if self.node.over_limit(&mut one.state, &settings, core) {
                return Err(CommandError::OutOfMemory.into());
            }
        }
        let result = self.on_one(one, &settings, db, key, effect, work)?;
        self.acknowledge(pushes)?;
        Ok(result)
    }

    /// Waits until what this thread has left in the log since `pushes` is as safe as the policy says.
    #[inline]
    pub(super) fn acknowledge(&self, pushes: u64) -> Result<(), Error> {
        if pushes_here() == pushes || !self.node.journal().has_file() { Ok(()) } else { self.wait_for_log() }
    }

    /// Writes what nobody has waited for: expired keys that were removed.
    pub(super) fn write_rest(&self) {
        if self.node.journal().has_unwritten() {
            self.node.journal().write();
        }
    }

    /// Waits until everything that anybody has left in the log is as safe as the policy says.
    pub(super) fn acknowledge_all(&self) -> Result<(), Error> {
        if self.node.journal().has_file() { self.wait_for_log() } else { Ok(()) }
    }

    fn wait_for_log(&self) -> Result<(), Error> {
        self.look_at_log();
        let journal = self.node.journal();
        let offset = journal.pushed();
        if self.waiting.fetch_add(1, Ordering::AcqRel) == 0 {
            journal.flush_alone();
        } else {
            journal.flush();
        }
        let verdict = self.wait_until_safe(offset);
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        verdict
    }

    fn wait_until_safe(&self, offset: u64) -> Result<(), Error> {
        let journal = self.node.journal();
        // Mostly it is, once it has been written.
        if journal.verdict(offset) == Verdict::Safe {
            return Ok(());
        }
        loop {
            // Before the look at the verdict: what happens after it is heard.
            let rung = *self.bell.rung.lock();
            journal.register(self.node.cores(), &self.waker);
            match journal.verdict(offset) {
                Verdict::Safe => return Ok(()),
                Verdict::Lost => {
                    let why = journal.refusal().map_or_else(String::new, |refusal| refusal.to_string());
                    return Err(Error::NotDurable(why));
                }
                Verdict::Wait => self.bell.wait(rung),
            }
        }
    }

    /// Whether changes are refused: it was opened so, or its data follow those of a server.
    #[inline]
    pub(super) fn is_read_only(&self) -> bool {
        self.read_only || self.node.replication().is_replica()
    }

    /// The command of these arguments, the subcommand if it is one.
    pub(super) fn command(&self, args: &[&[u8]]) -> Result<&Registered, Error> {
        let registry = &self.node.registry;
        let unknown = || {
            let words = args.iter().take(2).map(|word| String::from_utf8_lossy(word));
            Error::UnknownCommand(words.collect::<Vec<_>>().join(" "))
        };
        let command = args.first().and_then(|name| registry.find(name)).ok_or_else(unknown)?;
        if command.subcommands.is_empty() {
            return Ok(command);
        }
        args.get(1).and_then(|name| registry.subcommand(command, name)).ok_or_else(unknown)
    }

    /// What every command has to pass before it runs.
    pub(super) fn admit(&self, command: &Registered, args: &[&[u8]]) -> Result<(), Error> {
        if command.has(Flag::Write) && self.is_read_only() {
            return Err(Error::ReadOnly);
        }
        Ok(check_lengths(&self.node.settings(), args)?)
    }
}

impl Store {
    /// Runs a command and reads its reply.
    pub(super) fn call<T: FromReply>(&self, args: &[&[u8]]) -> Result<T, Error> {
        self.call_with(args, T::from_reply)
    }

    /// Runs a command and has its reply read.
    pub(super) fn call_with<T>(
        &self,
        args: &[&[u8]],
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.call_within(Limits::default(), args, read)
    }

    /// As [`call_with`](Self::call_with), within these limits.
    pub(super) fn call_within<T>(
        &self,
        limits: Limits,
        args: &[&[u8]],
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let inner = &*self.inner;
        let pushes = pushes_here();
        not_nested(&inner.node)?;
        let command = inner.command(args)?;
        inner.admit(command, args)?;
        let result = with_out(|out| {
            if command.run.is_none() {
                let caller = &mut Caller { inner, limits };
                scripts::run(&inner.node, caller, &self.who, command, args, None, out);
            } else {
                let mut held = inner.node.hold(|node| node.cores_of(command, args));
                held.run(&self.who, command, args, false, out);
                held.finish();
            }
            read(&mut Reader::new(out.as_bytes()))
        });
        inner.acknowledge(pushes)?;
        result
    }

    /// Runs any command of the data, by name, with its arguments. See the [commands of Redis](https://redis.io/commands):
    /// they take the same arguments here and give the same replies. A command that would block replies at once, as it
    /// does in a transaction.
    ///
    /// # Errors
    /// There is no such command, or it is refused.
    ///
    /// ```
    /// use baton::{Reply, Store};
    ///
    /// let store = Store::memory();
    /// assert_eq!(store.run(["ZADD", "board", "10", "ada", "7", "bob"])?, Reply::Integer(2));
    /// assert_eq!(store.run(["OBJECT", "ENCODING", "board"])?, Reply::Bytes("listpack".into()));
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn run(&self, args: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<Reply, Error> {
        self.run_as(args)
    }

    /// As [`run`](Self::run), with the reply as a type of your choice: see [`FromReply`].
    ///
    /// # Errors
    /// As [`run`](Self::run), or the reply is of another type.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.run(["RPUSH", "list", "a", "b"])?;
    /// let all: Vec<String> = store.run_as(["LRANGE", "list", "0", "-1"])?;
    /// assert_eq!(all, ["a", "b"]);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn run_as<T: FromReply>(&self, args: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<T, Error> {
        with_list(&[], args, |args| self.call(args))
    }
}
