//! Several batons held at once: commands over several cores, transactions, and whatever looks at all shards.

use crate::baton::Holding;
use crate::blocked::{self, Shards};
use crate::caught::execute_for;
use crate::journal::{LogFile, Reader};
use crate::node::{CoreState, Cores, Node};
use crate::registry::Registered;
use crate::slowlog::Noted;
use crate::tracking::Tracker;
use baton_engine::command::Flag;
use baton_engine::context::{Caller, Context};
use baton_engine::error::CommandError;
use baton_engine::execute::{Outcome, arity_error};
pub use baton_engine::keyspace::waiting::May;
use baton_engine::keyspace::waiting::Waiter;
use baton_engine::keyspace::{Keyspace, Shard, ShardList};
use baton_engine::random::Rng;
use baton_engine::reply::Out;
use baton_engine::settings::Settings;
use baton_engine::slot::Slot;
use parking_lot::MutexGuard;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Who gives a command.
pub trait Identity: Send + Sync {
    /// Its address, as the slow log shows it.
    fn address(&self) -> String;
    /// Its name.
    fn name(&self) -> String;
    /// One of its commands panicked. Called under the batons of the command: must not block.
    fn broken(&self) {}
}

/// The state of a client that its commands depend on.
#[derive(Clone)]
pub struct Who {
    /// Number of the client.
    pub id: u64,
    /// The database in use.
    pub db: usize,
    /// Speaks RESP3.
    pub resp3: bool,
    /// CLIENT NO-TOUCH.
    pub no_touch: bool,
    /// It keeps copies of what it reads now, and is to be told when that changes.
    pub remembers: bool,
    /// For the slow log.
    pub identity: Arc<dyn Identity>,
}

/// A client that waits.
#[derive(Clone, Debug)]
pub struct Blocked {
    waiter: Arc<Waiter>,
    /// When it gives up, in Unix milliseconds; `None` never.
    pub until_ms: Option<i64>,
}

impl Blocked {
    /// The arguments of the command.
    pub fn args(&self) -> &[Box<[u8]>] {
        &self.waiter.args
    }

    /// How long the command has run by now, in nanoseconds; the wait not included.
    pub fn spent_ns(&self) -> u64 {
        self.waiter.spent_ns.load(Ordering::Relaxed)
    }

    /// Ends the wait: time over, CLIENT UNBLOCK, or the client is gone. False when the command is just being served:
    /// its answer is on the way.
    pub fn cancel(&self, node: &Arc<Node>) -> bool {
        if !self.waiter.cancel() {
            return false;
        }
        let mut held = node.hold(|node| blocked::cores_of(node, &self.waiter));
        held.with_keyspace(self.waiter.db, |keyspace| keyspace.stop_waiting(&self.waiter));
        true
    }
}

/// Batons that are held, in ascending order of their cores.
pub struct Held<'n> {
    node: &'n Arc<Node>,
    cores: Cores,
    states: SmallVec<[Holding<'n, CoreState>; 8]>,
    settings: Arc<Settings>,
    now_ms: i64,
    /// A transaction runs, which was admitted as a whole.
    admitted: bool,
    /// The commands are those of a script.
    for_script: bool,
    /// What is done under these batons leaves nothing for the log.
    forgets: bool,
    /// What is deferred is done by somebody else.
    leaves_deferred: bool,
    /// The time that access clocks show, of a replay.
    clock_ms: Option<i64>,
    /// What TIME says, once it has been asked.
    time: Option<Duration>,
    /// Nothing of a primary's stream is half applied: let go after the batons.
    _whole: Option<MutexGuard<'n, ()>>,
}

impl<'n> Held<'n> {
    pub(crate) fn new(
        node: &'n Arc<Node>,
        cores: Cores,
        states: SmallVec<[Holding<'n, CoreState>; 8]>,
    ) -> Self {
        let settings = node.settings().clone();
        Self {
            node,
            cores,
            states,
            settings,
            now_ms: node.now_ms(),
            admitted: false,
            for_script: false,
            forgets: false,
            leaves_deferred: false,
            clock_ms: None,
            time: None,
            _whole: None,
        }
    }

    /// Keeps the stream of the primary from going on for as long as this is held.
    pub(crate) fn with_whole(mut self, whole: MutexGuard<'n, ()>) -> Self {
        self._whole = Some(whole);
        self
    }

    /// The node.
    pub fn node(&self) -> &'n Arc<Node> {
        self.node
    }

    /// The time at which the batons were taken.
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// The time since 1970 that TIME says. It stands still from the first time that somebody asks, as that of keys does: a script
    /// or a transaction happens in one moment.
    pub fn time(&mut self) -> Duration {
        *self.time.get_or_insert_with(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// Works at a time before all: a replay, for which nothing is over yet. Clocks and times to live count from the present.
    pub(crate) fn replay(&mut self) {
        self.see_expired();
    }

    /// Keys whose time is over are there for the commands that run here, which may change them like all others: for who brings
    /// data from another server (CLIENT IMPORT-SOURCE).
    pub fn see_expired(&mut self) {
        self.clock_ms = Some(self.now_ms);
        self.now_ms = BEFORE_ALL_MS;
    }

    /// Whether every core is held.
    pub fn is_all(&self) -> bool {
        self.cores.len() == self.node.cores()
    }

    /// The commands that follow are one transaction. They run whatever memory there is and whatever the disk does, for
    /// a transaction is refused as a whole or not at all; and what they leave in the log stays together.
    pub fn begin_transaction(&mut self) {
        self.admitted = true;
        self.states[0].shard.effects.begin_transaction();
    }

    /// The transaction is over. Letting go ends it too.
    pub fn end_transaction(&mut self) {
        self.admitted = false;
        self.states[0].shard.effects.end_transaction();
    }

    /// Leaves a command that changes nothing for those who follow the log: a message. It stays together with whatever else a
    /// transaction leaves.
    pub fn leave(&mut self, db: usize, args: &[&[u8]]) {
        self.states[0].shard.effects.also(db, args);
    }

    /// What has been done under these batons, and what will be, is not to be repeated: the node ends in the middle of it.
    pub(crate) fn forget_effects(&mut self) {
        self.forgets = true;
    }

    /// Whether the commands that follow are those of a script.
    pub(crate) fn set_for_script(&mut self, for_script: bool) {
        self.for_script = for_script;
    }

    /// The cores that are held.
    pub(crate) fn cores(&self) -> &Cores {
        &self.cores
    }

    /// Whether memory is over the limit, and eviction does not help.
    pub(crate) fn is_out_of_memory(&mut self) -> bool {
        let core = self.cores[0];
        self.node.over_limit(&mut self.states[0], &self.settings, core)
    }

    /// What follows leaves nothing for the log, until somebody [listens](Self::listen_if_wanted) again.
    pub(crate) fn mute(&mut self) {
        self.states.iter_mut().for_each(|state| state.shard.effects.set_listening(false));
    }

    /// Takes the batons that are missing, out of order: so none of them is waited for, but tried, once or (`patiently`) for
    /// a while. False if that was in vain: then as many are held as before.
    pub(crate) fn widen(&mut self, patiently: bool) -> bool {
        const PATIENCE: Duration = Duration::from_millis(100);
        const PAUSE: Duration = Duration::from_micros(50);
        let until = Instant::now() + if patiently { PATIENCE } else { Duration::ZERO };
        let mut more: SmallVec<[(usize, Holding<'n, CoreState>); 8]> = SmallVec::new();
        for core in (0..self.node.cores()).filter(|core| !self.cores.contains(core)) {
            let taken = loop {
                match self.node.baton(core).try_take() {
                    Some(taken) => break taken,
                    None if Instant::now() < until => std::thread::sleep(PAUSE),
                    None => return false,
                }
            };
            more.push((core, taken));
        }
        let first = self.cores[0];
        more.extend(self.cores.drain(..).zip(self.states.drain(..)));
        more.sort_unstable_by_key(|(core, _)| *core);
        (self.cores, self.states) = more.into_iter().unzip();
        // What a transaction leaves lies with the first of its cores, whose number has changed.
        if let Some(at) = self.cores.iter().position(|core| *core == first).filter(|at| *at > 0) {
            let (head, tail) = self.states.split_at_mut(at);
            std::mem::swap(&mut head[0].shard.effects, &mut tail[0].shard.effects);
        }
        true
    }

    /// Refuses a command before it is run: writes the error and counts it.
    pub(crate) fn note_refusal(&mut self, command: Option<&Registered>, error: &CommandError, out: &mut Out) {
        match command {
            Some(command) => {
                self.reject(command, error, out);
            }
            None => {
                let start = out.len();
                out.error(error);
                self.states[0].book.note_error(&out.as_bytes()[start..]);
            }
        }
    }

    /// From here on the log goes on in another file, or in none: everything that was done before under any baton belongs
    /// to the file before, whatever is done later to the next one. Returns the offset of this point. O(cores): nothing is
    /// written here. Every core must be held.
    pub fn cut_journal(&mut self, next: Option<LogFile>) -> u64 {
        assert!(self.is_all(), "a point in the order of everything needs every baton");
        self.push_effects();
        let offset = self.node.journal().cut(next);
        self.listen_if_wanted();
        offset
    }

    /// Opens the log at the start, at this offset of the stream: nobody follows it yet. Every core must be held.
    pub fn open_journal(&mut self, file: LogFile, offset: u64) {
        assert!(self.is_all(), "a point in the order of everything needs every baton");
        self.push_effects();
        self.node.journal().set_offset(offset);
        self.cut_journal(Some(file));
    }

    /// From here on the log takes the stream of a primary, which is in this database, in place of the effects of commands:
    /// at `offset`, if the data are others from now on, else where it is. Every core must be held.
    pub fn follow(&mut self, db: usize, offset: Option<u64>) {
        assert!(self.is_all(), "a point in the order of everything needs every baton");
        self.push_effects();
        self.node.journal().set_stream_db(Some(db));
        if let Some(offset) = offset {
            self.node.journal().set_offset(offset);
        }
        self.listen_if_wanted();
    }

    /// From here on the log takes the effects of commands again. Returns its offset. Every core must be held.
    pub fn lead(&mut self) -> u64 {
        assert!(self.is_all(), "a point in the order of everything needs every baton");
        self.node.journal().set_stream_db(None);
        self.listen_if_wanted();
        self.node.journal().pushed()
    }

    /// Somebody follows the log from here on. Returns the number to end it by, and the offset of the first byte that
    /// will come. Every core must be held.
    pub fn subscribe(&mut self, reader: Box<dyn Reader>) -> (u64, u64) {
        assert!(self.is_all(), "a point in the order of everything needs every baton");
        self.push_effects();
        let subscription = self.node.journal().subscribe(reader);
        self.listen_if_wanted();
        subscription
    }

    /// A point of the stream where somebody may join it who has the data as they are now: the offset, and the database
    /// that the stream is in. That of a primary begins with a `SELECT` from here on. Every core must be held.
    pub fn join_stream(&mut self) -> (u64, usize) {
        assert!(self.is_all(), "a point in the order of everything needs every baton");
        self.push_effects();
        let is_own = !self.node.replication().is_replica();
        self.node.journal().join(is_own)
    }

    /// Collects effects from here on if anybody wants them. Every core must be held.
    pub fn listen_if_wanted(&mut self) {
        let wanted = self.node.journal().is_wanted();
        self.states.iter_mut().for_each(|state| state.shard.effects.set_listening(wanted));
    }

    fn push_effects(&mut self) {
        self.gather_changes();
        // What a command left for several cores lies with the first of them.
        self.states.iter_mut().for_each(|state| state.push_effects());
    }

    /// Tells a client from here on when keys change. Every core must be held.
    pub fn track(&mut self, tracker: Arc<Tracker>) {
        self.node.tracking().enter(tracker);
        self.broadcast_if_wanted();
    }

    /// Tells a client of nothing any more. Every core must be held.
    pub fn untrack(&mut self, id: u64) {
        self.node.tracking().leave(id);
        self.broadcast_if_wanted();
    }

    /// Has every core note all changes while anybody wants to know of them.
    fn broadcast_if_wanted(&mut self) {
        assert!(self.is_all(), "what a core does not note is missed");
        let wanted = self.node.tracking().is_broadcasting();
        self.states().for_each(|state| state.shard.broadcasting = wanted);
    }

    /// What was changed on several cores is told at once.
    fn gather_changes(&mut self) {
        let Some((first, rest)) = self.states.split_first_mut() else { return };
        for state in rest {
            state.count_tracked();
            first.shard.changes.append(&mut state.shard.changes);
        }
    }

    /// The state of a core, if it is held.
    pub fn state_of(&mut self, core: usize) -> Option<&mut CoreState> {
        let at = self.cores.iter().position(|held| *held == core)?;
        self.states.get_mut(at).map(|state| &mut **state)
    }

    /// All that is held.
    pub fn states(&mut self) -> impl Iterator<Item = &mut CoreState> {
        self.states.iter_mut().map(|state| &mut **state)
    }

    /// Works on the key space of the held shards.
    pub fn with_keyspace<R>(&mut self, db: usize, work: impl FnOnce(&mut Keyspace<'_>) -> R) -> R {
        let (settings, now_ms) = (self.settings.clone(), self.now_ms);
        match &mut self.states[..] {
            [state] => work(&mut Keyspace::one(&mut state.shard, &settings, db, now_ms)),
            states => work(&mut Keyspace::many(&mut Shards(states), &settings, db, now_ms)),
        }
    }

    /// Works on the held shards as a list.
    pub(crate) fn with_list<R>(&mut self, work: impl FnOnce(&mut dyn ShardList) -> R) -> R {
        work(&mut Shards(&mut self.states))
    }

    /// Runs one command of the engine. Whoever waits for what it changed is served by [`finish`](Self::finish).
    pub fn run(
        &mut self,
        who: &Who,
        command: &Registered,
        args: &[&[u8]],
        may_block: bool,
        out: &mut Out,
    ) -> Outcome {
        self.run_hinted(who, command, args, may_block, None, out)
    }

    /// As [`run`](Self::run), for who knows the slot and the hash of the command's only key already.
    pub(crate) fn run_hinted(
        &mut self,
        who: &Who,
        command: &Registered,
        args: &[&[u8]],
        may_block: bool,
        hint: Option<(Slot, u64)>,
        out: &mut Out,
    ) -> Outcome {
        let node = self.node;
        if !command.command.arity.accepts(args.len()) {
            return self.reject(command, &arity_error(command.command, args), out);
        }
        let Some(run) = command.run else {
            out.error(&CommandError::text("ERR This command works on the node, not on the data"));
            return Outcome::Refused;
        };
        if self.states[0].sealed && command.has(Flag::Write) {
            return self.reject(command, &SEALED, out);
        }
        if let Err(damage) = self.build_for(command, args) {
            return self.reject(command, &damage, out);
        }
        let core = self.cores[0];
        let settings = &*self.settings;
        if !self.admitted
            && command.has(Flag::Write)
            && let Some(refusal) = node.journal().refusal()
        {
            return self.reject(command, &refusal, out);
        }
        let over = !self.admitted && node.over_limit(&mut self.states[0], settings, core);
        if over && command.has(Flag::DenyOom) {
            node.oom_refusals.fetch_add(1, Ordering::Relaxed);
            return self.reject(command, &CommandError::OutOfMemory, out);
        }
        let start = node.clock.raw();
        let seed = self.states[0].shard.rng.next_u64();
        let caller = Caller { may_block, is_script: self.for_script, no_touch: who.no_touch, id: who.id };
        let written = out.len();
        self.states.iter_mut().for_each(|state| state.shard.caller = who.id);
        let mut shards;
        let mut keyspace = if let [state] = &mut self.states[..] {
            Keyspace::one(&mut state.shard, settings, who.db, self.now_ms)
        } else {
            shards = Shards(&mut self.states);
            Keyspace::many(&mut shards, settings, who.db, self.now_ms)
        };
        if let Some((slot, hash)) = hint
            && let Some(key) = command.only_key.and_then(|at| args.get(at))
        {
            keyspace.hint(key, slot, hash);
        }
        keyspace.set_no_touch(who.no_touch);
        match self.clock_ms {
            // The stream of the primary.
            Some(clock_ms) => keyspace.show_time(clock_ms),
            None => node.set_expiry_rules(&mut keyspace, command.has(Flag::Write)),
        }
        let (hasher, rng) = (node.hasher(), Rng::seeded(seed));
        let mut ctx = Context { keyspace, out: &mut *out, settings, hasher, rng, caller };
        let outcome = execute_for(who, &mut ctx, run, args);
        if outcome == Outcome::Refused {
            let reply = &out.as_bytes()[written..];
            self.states[0].book.note_error(reply);
        }
        let ns = node.clock.delta_as_nanos(start, node.clock.raw());
        let reply_bytes = out.len() - written;
        account(node, &mut self.states[0], who, command, args, outcome, Cost { ns, reply_bytes });
        if who.remembers && command.has(Flag::ReadOnly) && !matches!(outcome, Outcome::Blocked { .. }) {
            remember(&mut self.states, settings, who, command, args);
        }
        for state in &mut self.states {
            node.publish_events(&mut state.shard, settings);
        }
        outcome
    }

    /// Changes keys in the name of a client when no command of the engine does: `work` returns the command that a replay does
    /// instead, which counts if anything has changed. The slots of the keys must have been built.
    ///
    /// # Errors
    /// Nothing may change now: as for any command that writes.
    pub fn change<'k>(
        &mut self,
        who: &Who,
        work: impl FnOnce(&mut Keyspace<'_>) -> Vec<&'k [u8]>,
    ) -> Result<(), CommandError> {
        if self.states[0].sealed {
            return Err(SEALED);
        }
        if let Some(refusal) = self.node.journal().refusal() {
            return Err(refusal);
        }
        self.states.iter_mut().for_each(|state| state.shard.caller = who.id);
        self.with_keyspace(who.db, |keyspace| {
            let effect = work(keyspace);
            let changes = keyspace.dirty();
            keyspace.finish_command(changes, &effect);
        });
        for state in &mut self.states {
            self.node.publish_events(&mut state.shard, &self.settings);
        }
        Ok(())
    }

    /// Serves whoever waits for a key that has changed. Letting go does it too; this is for the end of a command that is
    /// followed by others.
    #[inline]
    pub(crate) fn serve(&mut self) {
        let now_ms = self.clock_ms.unwrap_or(self.now_ms);
        blocked::serve(self.node, &mut self.states, &self.settings, now_ms);
    }

    /// Asks for the memory behind keys, given by slot and hash, so that the commands on them find it there.
    pub(crate) fn prefetch(&self, db: usize, keys: &[(Slot, u64)]) {
        self.prefetch_slots(keys);
        self.prefetch_entries(db, keys);
    }

    /// The first half of [`prefetch`](Self::prefetch), for those who have something else to do before the other one.
    pub(crate) fn prefetch_slots(&self, keys: &[(Slot, u64)]) {
        for (slot, hash) in keys {
            if let Some(shard) = self.shard_of(*slot) {
                shard.prefetch_slot(*slot, *hash);
            }
        }
    }

    /// The second half.
    pub(crate) fn prefetch_entries(&self, db: usize, keys: &[(Slot, u64)]) {
        for (slot, hash) in keys {
            if let Some(shard) = self.shard_of(*slot) {
                shard.prefetch_entry(*slot, db, *hash);
            }
        }
    }

    /// Whether the shard of a slot is held.
    pub(crate) fn owns(&self, slot: Slot) -> bool {
        self.shard_of(slot).is_some()
    }

    /// The shard of a slot, if it is held.
    fn shard_of(&self, slot: Slot) -> Option<&Shard> {
        self.states.iter().map(|state| &state.shard).find(|shard| shard.owns(slot))
    }

    /// Builds the slots that a command will look into, as far as they are still in a file. Commands on the whole key
    /// space build what they need themselves: most can do with less than all.
    pub(crate) fn build_for(&mut self, command: &Registered, args: &[&[u8]]) -> Result<(), CommandError> {
        if self.states.iter().all(|state| !state.shard.has_stored())
            || command.all_shards && !is_debug(command)
        {
            return Ok(());
        }
        let mut slots: SmallVec<[Slot; 8]> = SmallVec::new();
        let keys = command.command.keys.iter();
        let all_known = keys
            .map(|spec| spec.positions(args, &mut |at: usize| slots.push(Slot::of(args[at]))))
            .all(|found| found.is_ok());
        let unknown = is_debug(command) || command.command.has_unknown_keys();
        self.with_keyspace(0, |keyspace| {
            if unknown || !all_known {
                return keyspace.build_all();
            }
            slots.iter().try_for_each(|slot| keyspace.build_slot(*slot))
        })
    }

    /// Refuses a command before it runs.
    fn reject(&mut self, command: &Registered, error: &CommandError, out: &mut Out) -> Outcome {
        let start = out.len();
        out.error(error);
        let book = &mut self.states[0].book;
        book.command(command.shown_as).rejected += 1;
        book.note_error(&out.as_bytes()[start..]);
        Outcome::Refused
    }

    /// Runs a blocking command; when it has to wait, whoever changes its keys will serve it and give the encoded
    /// reply to `answer`, unless `may` refuses that then.
    pub fn run_blocking(
        &mut self,
        who: &Who,
        command: &Registered,
        args: &[&[u8]],
        out: &mut Out,
        may: May,
        answer: Box<dyn Fn(Vec<u8>) + Send + Sync>,
    ) -> Option<Blocked> {
        let Outcome::Blocked { until_ms } = self.run(who, command, args, true, out) else { return None };
        let waiter = self.with_keyspace(who.db, |keyspace| {
            let waiter = blocked::waiter(who, command, args, keyspace, may, answer)?;
            keyspace.wait(&waiter);
            Some(waiter)
        })?;
        Some(Blocked { waiter, until_ms })
    }

    /// Lets the batons go, after serving whoever waits for a key that changed. Dropping does the same.
    pub fn finish(self) {}

    /// As [`finish`](Self::finish), but leaves what needs other batons to the caller.
    pub(crate) fn let_go(mut self) {
        self.leaves_deferred = true;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.end_transaction();
        // What was done took its time: a key that has expired meanwhile serves nobody.
        blocked::serve(self.node, &mut self.states, &self.settings, self.node.now_ms());
        if self.forgets {
            self.states.iter_mut().for_each(|state| state.shard.effects.clear());
        }
        // Before any of them goes: what lies with one core may be about keys of another.
        self.push_effects();
        self.states.clear();
        if !self.leaves_deferred {
            self.node.settle();
        }
    }
}

/// Remembers that a client has read the keys of a command.
#[cold]
fn remember(
    states: &mut [Holding<'_, CoreState>],
    settings: &Settings,
    who: &Who,
    command: &Registered,
    args: &[&[u8]],
) {
    for (at, _) in command.command.key_positions(args).unwrap_or_default() {
        let slot = Slot::of(args[at]);
        if let Some(state) = states.iter_mut().find(|state| state.shard.owns(slot)) {
            state.remember(settings, args[at], who.id);
        }
    }
}

/// Nothing is over at this time: what is said by a log or by a primary says itself what is over.
pub(crate) const BEFORE_ALL_MS: i64 = 0;

/// Refuses writes after the snapshot with which the node ends: they would be lost.
pub(crate) const SEALED: CommandError =
    CommandError::text("ERR The server is shutting down, its last snapshot has been taken");

/// DEBUG looks at anything.
fn is_debug(command: &Registered) -> bool {
    command.name.starts_with("debug")
}

/// What a command cost.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) ns: u64,
    pub(crate) reply_bytes: usize,
}

/// Notes what a command cost.
#[inline]
pub(crate) fn account(
    node: &Node,
    state: &mut CoreState,
    who: &Who,
    command: &Registered,
    args: &[&[u8]],
    outcome: Outcome,
    cost: Cost,
) {
    if matches!(outcome, Outcome::Blocked { .. }) {
        return;
    }
    let Cost { ns, reply_bytes } = cost;
    let stats = state.book.command(command.shown_as);
    stats.calls += 1;
    stats.ns += ns;
    stats.failed += u64::from(outcome == Outcome::Refused);
    if node.track_latency.load(Ordering::Relaxed) {
        stats.histogram.get_or_insert_default().record(ns);
    }
    if node.is_notable(ns, reply_bytes) {
        let noted = Noted { time_s: node.now_ms() / 1_000, args, who: &*who.identity };
        node.note(command, &noted, ns, reply_bytes);
    }
}
