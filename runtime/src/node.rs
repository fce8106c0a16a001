//! A node: its cores with their batons, and what all of them share.

use crate::baton::{Baton, Guarded, Holding};
use crate::blocked::{self, Deferred};
use crate::book::Book;
use crate::held::Held;
use crate::janitor::Janitor;
use crate::journal::Journal;
use crate::latency::LatencyMonitor;
use crate::persist::log::Log;
use crate::pubsub::PubSub;
use crate::registry::{Registered, Registry};
use crate::replication::Replication;
use crate::replication::identity::ReplId;
use crate::scripts::Scripts;
use crate::slots::SlotMap;
use crate::slowlog::{Noted, SlowLog};
use crate::snapshot::Snapshots;
use crate::storage::Storage;
use crate::sync::Queue;
use crate::tracking::Tracking;
use arc_swap::ArcSwap;
use baton_engine::command::Flag;
use baton_engine::effects::Effects;
use baton_engine::hash::Hasher;
use baton_engine::keyspace::evict::{Pool, evict_one};
use baton_engine::keyspace::shard::MovingSlot;
use baton_engine::keyspace::tracked::TrackedCounts;
use baton_engine::keyspace::{Keyspace, Shard};
use baton_engine::settings::Settings;
use baton_engine::slot::{SLOTS, Slot};
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Numbers of cores, ascending and without repetition: the order in which batons are taken.
pub type Cores = SmallVec<[usize; 8]>;

/// What a core's baton protects.
#[derive(Debug)]
pub struct CoreState {
    /// Its slots.
    pub shard: Shard,
    /// Its figures.
    pub book: Book,
    /// Its candidates for eviction.
    pub pool: Pool,
    /// Where its effects go.
    journal: Arc<Journal>,
    /// Where it says what has changed.
    tracking: Arc<Tracking>,
    /// What of its keys `tracking` has counted.
    counted: TrackedCounts,
    /// The snapshot with which the node ends has been taken: what would change the data is refused.
    pub sealed: bool,
}

impl CoreState {
    /// Pushes what its commands have left. Must be done before anybody hears of what they did.
    #[inline]
    pub(crate) fn push_effects(&mut self) {
        self.journal.push(&mut self.shard.effects);
        if !self.shard.changes.is_empty() || self.shard.tracked() != self.counted {
            self.tell_changes();
        }
    }

    /// Tells those who keep copies what its commands have changed.
    #[cold]
    fn tell_changes(&mut self) {
        self.count_tracked();
        self.tracking.tell(&std::mem::take(&mut self.shard.changes));
    }

    /// Has it counted how much its shard remembers.
    pub(crate) fn count_tracked(&mut self) {
        let now = self.shard.tracked();
        if now != self.counted {
            self.tracking.count(self.counted, now);
            self.counted = now;
        }
    }

    /// Remembers that a client has read a key: it is told of the next change. When too much is remembered something else,
    /// whichever it is, is forgotten.
    #[cold]
    pub(crate) fn remember(&mut self, settings: &Settings, key: &[u8], reader: u64) {
        Keyspace::one(&mut self.shard, settings, 0, 0).remember(key, reader);
        self.count_tracked();
        self.forget_some(2);
    }

    /// Forgets some of what is remembered, while that is too much; true when it still is, and more could be forgotten here.
    pub(crate) fn forget_some(&mut self, count: usize) -> bool {
        for _ in 0..count {
            if !self.tracking.is_full() {
                return false;
            }
            let start = self.shard.rng.next_u64() as usize % SLOTS;
            if !Slot::new(start).is_some_and(|slot| self.shard.forget_one(slot)) {
                return false;
            }
            self.count_tracked();
        }
        self.tracking.is_full()
    }
}

impl Guarded for CoreState {
    #[inline]
    fn before_letting_go(&mut self) {
        self.push_effects();
        self.shard.caller = 0;
    }
}

/// For so long a thread takes the time that it knows for the present.
const FRESH_NS: u64 = 50_000;

/// How far a clock moves in [`FRESH_NS`] at most.
fn fresh_raw(clock: &quanta::Clock, start: u64) -> u64 {
    // The scale is not told: a distance that is twice as long until it takes too long.
    let mut raw = 1;
    while raw < 1 << 40 && clock.delta_as_nanos(start, start + raw * 2) <= FRESH_NS {
        raw *= 2;
    }
    raw
}

/// Stores have their threads woken by the log on a place of their own, behind those of the cores.
const STORES: usize = 1;

/// How a node is made.
pub struct NodeOptions {
    /// Number of cores, and so of shards.
    pub cores: usize,
    /// The configuration of the engine.
    pub settings: Settings,
    /// Seeds of the hash.
    pub hash_seed: [u64; 4],
    /// Seed of all sampling.
    pub seed: u64,
    /// The name of the history that its data begin.
    pub replication_id: ReplId,
    /// Every command.
    pub registry: Registry,
    /// Tells how much memory the process uses, for a comparison with this limit: only near it the answer has to be
    /// right. Called per write with `maxmemory`: must be cheap.
    pub used_memory: fn(u64) -> u64,
    /// Where the files are.
    pub storage: Arc<dyn Storage>,
}

/// A node. Shared by all threads that serve it.
pub struct Node {
    batons: Vec<Baton<CoreState>>,
    /// Waiters who need other batons than those under which they were found.
    pub(crate) deferred: Queue<Deferred>,
    /// One thread runs nearly all commands: nobody else wants the batons that it takes.
    pub has_one_thread: AtomicBool,
    /// Who owns which slot.
    pub slots: SlotMap,
    /// Every command.
    pub registry: Registry,
    /// Who listens.
    pub pubsub: PubSub,
    /// The one log of all effects.
    journal: Arc<Journal>,
    /// Who keeps copies of keys.
    tracking: Arc<Tracking>,
    /// Scripts and functions.
    pub scripts: Scripts,
    /// Frees what takes long to free.
    pub janitor: Janitor,
    /// The files of the log.
    pub log: Log,
    /// Snapshots of all data.
    pub snapshots: Snapshots,
    pub(crate) replication: Replication,
    storage: Arc<dyn Storage>,
    changes_seen: Vec<AtomicU64>,
    /// Commands that took long, in microseconds.
    pub slowlog: SlowLog,
    /// Commands that were large themselves, in bytes.
    pub large_requests: SlowLog,
    /// Commands with large replies, in bytes.
    pub large_replies: SlowLog,
    /// What took longer than it should.
    pub latency: Arc<LatencyMonitor>,
    /// The shortest duration and the smallest reply that anybody wants to know of: one comparison each per command.
    notable_ns: AtomicU64,
    notable_reply: AtomicUsize,
    /// Reads the cycle counter of the processor: far cheaper than asking for the time.
    pub(crate) clock: quanta::Clock,
    clock_start: u64,
    /// So far the clock of the processor moves in [`FRESH_NS`].
    fresh_raw: u64,
    settings: ArcSwap<Settings>,
    hasher: Hasher,
    used_memory: fn(u64) -> u64,
    /// Durations are collected per command (`latency-tracking`).
    pub track_latency: AtomicBool,
    /// Commands refused because memory was over the limit.
    pub oom_refusals: AtomicU64,
    /// CLIENT PAUSE stops expiry and eviction too.
    pub paused: AtomicBool,
    /// `import-mode`: data come from another server, which decides itself when its keys are over. They stay until it says so.
    pub importing: AtomicBool,
    /// Taken before the batons by whoever needs the data as they are at one offset of a stream that is being applied.
    whole: Mutex<()>,
}

impl Node {
    /// A node whose slots are spread evenly over its cores.
    pub fn new(options: NodeOptions) -> Arc<Self> {
        let hasher = Hasher::seeded(options.hash_seed);
        let cores = options.cores.max(1);
        let slots = SlotMap::even(cores);
        let latency = Arc::new(LatencyMonitor::default());
        let journal = Arc::new(Journal::new(cores + STORES, latency.clone()));
        let tracking = Arc::new(Tracking::default());
        let core = |core: usize| {
            let mut shard =
                Shard::new(options.settings.databases, hasher.clone(), options.seed ^ core as u64);
            for slot in Slot::all().filter(|slot| slots.owner(*slot) == core) {
                shard.put_slot(slot, MovingSlot::default());
            }
            let (journal, tracking) = (journal.clone(), tracking.clone());
            Baton::new(CoreState {
                shard,
                book: Book::default(),
                pool: Pool::default(),
                journal,
                tracking,
                counted: TrackedCounts::default(),
                sealed: false,
            })
        };
        let clock = quanta::Clock::new();
        let clock_start = clock.raw();
        let fresh_raw = fresh_raw(&clock, clock_start);
        Arc::new(Self {
            batons: (0..cores).map(core).collect(),
            journal,
            tracking,
            deferred: Queue::new(),
            slots,
            registry: options.registry,
            pubsub: PubSub::default(),
            scripts: Scripts::new(options.seed),
            janitor: Janitor::default(),
            log: Log::default(),
            snapshots: Snapshots::default(),
            replication: Replication::new(options.replication_id),
            storage: options.storage,
            changes_seen: (0..cores).map(|_| AtomicU64::new(0)).collect(),
            slowlog: SlowLog::new(10_000, 128),
            large_requests: SlowLog::new(1 << 20, 128),
            large_replies: SlowLog::new(1 << 20, 128),
            latency,
            notable_ns: AtomicU64::new(10_000_000),
            notable_reply: AtomicUsize::new(1 << 20),
            clock_start,
            fresh_raw,
            clock,
            settings: ArcSwap::from_pointee(options.settings),
            hasher,
            used_memory: options.used_memory,
            track_latency: AtomicBool::new(true),
            oom_refusals: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            importing: AtomicBool::new(false),
            has_one_thread: AtomicBool::new(false),
            whole: Mutex::new(()),
        })
    }

    /// Number of cores.
    pub fn cores(&self) -> usize {
        self.batons.len()
    }

    /// All cores, ascending.
    pub fn all_cores(&self) -> Cores {
        (0..self.cores()).collect()
    }

    /// The configuration of the engine as it is now.
    pub fn settings(&self) -> arc_swap::Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// Changes the configuration; batches that run go on with the old one.
    pub fn set_settings(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// Whether what is in the log up to this offset is on the disk, and would be found there by a start. A log that is being
    /// turned on is not: it counts for nothing until its first base is there.
    pub fn is_synced(&self, offset: u64) -> bool {
        self.journal.has_file() && self.journal.synced() >= offset && !self.log.is_beginning()
    }

    /// Leaves a command that changes nothing for those who follow the log: a message. As [`Held::leave`], for who holds nothing.
    pub fn leave(&self, db: usize, args: &[&[u8]]) {
        let mut effects = Effects::new(true);
        effects.also(db, args);
        self.journal.push(&mut effects);
    }

    /// The one log of all effects.
    #[inline]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Who keeps copies of keys.
    pub fn tracking(&self) -> &Tracking {
        &self.tracking
    }

    /// Forgets who has read what on a core, while too much is remembered; true when there is more to forget. If its baton is
    /// taken it is left alone.
    pub fn forget_step(&self, core: usize) -> bool {
        const STEP: usize = 1_000;
        self.tracking.is_full()
            && self.baton(core).try_take().is_some_and(|mut state| state.forget_some(STEP))
    }

    /// What this node has to do with others that hold the same data.
    #[inline]
    pub fn replication(&self) -> &Replication {
        &self.replication
    }

    /// The hash of all tables.
    pub fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// The time in Unix milliseconds. A thread that asks again within 50 microseconds is told the same: to ask the system takes
    /// longer than to find a key that is near.
    #[inline]
    pub fn now_ms(&self) -> i64 {
        thread_local! {
            /// What the clock of the processor and that of the system showed.
            static LAST: Cell<Option<(u64, i64)>> = const { Cell::new(None) };
        }
        let raw = self.clock.raw();
        match LAST.get() {
            Some((then, ms)) if raw.wrapping_sub(then) < self.fresh_raw => ms,
            _ => {
                let ms =
                    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
                LAST.set(Some((raw, ms)));
                ms
            }
        }
    }

    /// Nanoseconds since the node was made, for measuring durations.
    pub fn now_ns(&self) -> u64 {
        self.clock.delta_as_nanos(self.clock_start, self.clock.raw())
    }

    /// Takes over what has been configured of the command logs and of the latency monitor.
    pub fn watch_changed(&self) {
        let slow_ns = self.slowlog.threshold().map(|us| us.saturating_mul(1_000));
        let spike_ns = self.latency.threshold_ms().map(|ms| ms.saturating_mul(1_000_000));
        let notable_ns = slow_ns.into_iter().chain(spike_ns).min().unwrap_or(u64::MAX);
        self.notable_ns.store(notable_ns, Ordering::Relaxed);
        let reply = self.large_replies.threshold().map_or(usize::MAX, |bytes| bytes as usize);
        self.notable_reply.store(reply, Ordering::Relaxed);
    }

    /// Whether a command took so long or answered so much that it should be [noted](Self::note).
    #[inline]
    pub fn is_notable(&self, ns: u64, reply_bytes: usize) -> bool {
        ns >= self.notable_ns.load(Ordering::Relaxed)
            || reply_bytes >= self.notable_reply.load(Ordering::Relaxed)
    }

    /// Puts a command into the logs where it belongs, and tells the latency monitor.
    #[cold]
    pub fn note(&self, command: &Registered, noted: &Noted<'_>, ns: u64, reply_bytes: usize) {
        if !command.has(Flag::SkipSlowlog) {
            self.slowlog.note(ns / 1_000, noted);
            self.large_replies.note(reply_bytes as u64, noted);
        }
        let event = if command.has(Flag::Fast) { "fast-command" } else { "command" };
        self.latency.note(event, ns / 1_000_000, noted.time_s);
    }

    /// Changes of the data since the start (`dirty`). Waits for no baton: a core that is busy counts as it did when it
    /// was last seen.
    pub fn changes(&self) -> u64 {
        let of_core = |(core, seen): (usize, &AtomicU64)| {
            if let Some(state) = self.baton(core).try_take() {
                seen.store(state.shard.stats.dirty, Ordering::Relaxed);
            }
            seen.load(Ordering::Relaxed)
        };
        self.changes_seen.iter().enumerate().map(of_core).sum()
    }

    /// The files of this node.
    pub fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    pub(crate) fn shared_storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// Memory that the process uses, in bytes.
    pub fn used_memory(&self) -> u64 {
        (self.used_memory)(0)
    }

    /// Memory that does not count for `maxmemory`: what is kept of the stream for replicas that lag. To evict for it would make the
    /// stream longer.
    pub fn not_counted_for_eviction(&self) -> u64 {
        self.replication.backlog().map_or(0, |backlog| backlog.beyond_size())
    }

    /// Whether more memory than this is used, which is 0 for no limit.
    #[inline]
    fn is_over(&self, limit: u64) -> bool {
        limit > 0 && (self.used_memory)(limit) > limit && self.is_over_without_stream(limit)
    }

    #[cold]
    fn is_over_without_stream(&self, limit: u64) -> bool {
        self.used_memory().saturating_sub(self.not_counted_for_eviction()) > limit
    }

    pub(crate) fn baton(&self, core: usize) -> &Baton<CoreState> {
        &self.batons[core]
    }

    /// The cores that own the keys of a command: all of them when it works on the whole key space or when its keys
    /// cannot be found in its arguments.
    pub fn cores_of(&self, command: &Registered, args: &[&[u8]]) -> Cores {
        if let Some(key) = command.only_key.and_then(|at| args.get(at)) {
            return SmallVec::from_slice(&[self.slots.owner(Slot::of(key))]);
        }
        if command.all_shards || command.command.has_unknown_keys() && args.len() > 2 {
            return self.all_cores();
        }
        let mut cores = Cores::new();
        for spec in command.command.keys {
            let mut owner = |at: usize| cores.push(self.slots.owner(Slot::of(args[at])));
            if spec.positions(args, &mut owner).is_err() {
                // The command will refuse its arguments; should it not, it must find every key it asks for.
                return self.all_cores();
            }
        }
        cores.sort_unstable();
        cores.dedup();
        if cores.is_empty() {
            cores.push(0);
        }
        cores
    }

    /// The cores that own these keys.
    pub fn owners<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> Cores {
        if self.cores() == 1 {
            return keys.take(1).map(|_| 0).collect();
        }
        let mut cores: Cores = keys.map(|key| self.slots.owner(Slot::of(key))).collect();
        cores.sort_unstable();
        cores.dedup();
        cores
    }

    /// Whether memory is over `maxmemory` and eviction does not help. Takes a baton if it is over: none may be held.
    pub fn is_out_of_memory(self: &Arc<Self>) -> bool {
        let settings = self.settings();
        if !self.is_over(settings.maxmemory) {
            return false;
        }
        let over = self.over_limit(&mut self.baton(0).take(), &settings, 0);
        self.settle();
        over
    }

    /// Does what others left behind when they let go of a baton. No baton may be held here.
    #[inline]
    pub(crate) fn settle(self: &Arc<Self>) {
        if !self.deferred.is_empty() {
            blocked::settle(self);
        }
    }

    /// Takes the batons of the cores that `wanted` names, which must be in ascending order, and makes sure that it
    /// still names them once they are held. From then on that cannot change: a slot moves only under the batons
    /// of both its cores.
    pub fn hold(self: &Arc<Self>, wanted: impl Fn(&Self) -> Cores) -> Held<'_> {
        loop {
            let moves = self.slots.moves();
            let cores = wanted(self);
            debug_assert!(cores.is_sorted_by(|a, b| a < b), "a core that is taken twice waits for itself");
            let states: SmallVec<[Holding<'_, CoreState>; 8]> =
                cores.iter().map(|core| self.baton(*core).take()).collect();
            if self.slots.moves() == moves || wanted(self) == cores {
                return Held::new(self, cores, states);
            }
        }
    }

    /// Takes the batons of all cores, at a moment when nothing of a primary's stream is half applied: what the data are
    /// then is what the log says up to its end.
    pub fn hold_all(self: &Arc<Self>) -> Held<'_> {
        // Before the batons: who applies the stream takes them while it has this.
        let whole = self.whole.lock();
        self.hold(Self::all_cores).with_whole(whole)
    }

    /// Keeps [`hold_all`](Self::hold_all) and moving slots away while a piece of a primary's stream is applied on several
    /// cores at once. No baton may be held here.
    pub(crate) fn apply_whole(&self) -> MutexGuard<'_, ()> {
        self.whole.lock()
    }

    /// Whether keys whose time is over stay where they are until a command or the primary removes them: they are absent
    /// all the same.
    #[inline]
    pub(crate) fn keeps_expired(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
            || self.importing.load(Ordering::Relaxed)
            || self.replication.is_replica()
    }

    /// What a command of a client finds of keys whose time is over, and what becomes of those that it gives one.
    #[inline]
    pub(crate) fn set_expiry_rules(&self, keyspace: &mut Keyspace<'_>, writes: bool) {
        keyspace.set_keep_expired(!writes && self.keeps_expired());
        keyspace.set_own_write(writes && self.replication.is_replica());
    }

    /// Moves slots to another core while serving. Each step holds two batons for as long as it takes to move a few
    /// hundred pointers; everything that belongs to a slot (waiting clients, watches) goes with it. Returns how many
    /// slots changed hands.
    pub fn move_slots(self: &Arc<Self>, first: usize, last: usize, to: usize) -> usize {
        const STEP: usize = 256;
        let mut moved = 0;
        let mut at = first;
        while at <= last {
            let end = (at + STEP - 1).min(last);
            let _whole = self.apply_whole();
            let range = || (at..=end).filter_map(Slot::new);
            let mut held = self.hold(|node| {
                let mut cores: Cores = range().map(|slot| node.slots.owner(slot)).chain([to]).collect();
                cores.sort_unstable();
                cores.dedup();
                cores
            });
            for slot in range() {
                let from = self.slots.owner(slot);
                if from == to {
                    continue;
                }
                let data = held.state_of(from).map(|state| state.shard.take_slot(slot)).unwrap_or_default();
                if let Some(state) = held.state_of(to) {
                    state.shard.put_slot(slot, data);
                }
                self.slots.set_owner(slot, to);
                moved += 1;
            }
            at = end + 1;
        }
        moved
    }

    /// Whether memory is over `maxmemory` even after eviction from the held state.
    #[inline]
    pub(crate) fn over_limit(
        self: &Arc<Self>,
        state: &mut CoreState,
        settings: &Settings,
        core: usize,
    ) -> bool {
        if !self.is_over(settings.maxmemory) {
            return false;
        }
        let (is_hopeless, took) = self.latency.time(|| self.evict(state, settings, core));
        self.latency.note_now("eviction-cycle", took);
        is_hopeless
    }

    /// Evicts until memory is under the limit, or time is up; true when there is nothing left to evict and it still is over
    /// it. When time is up the next command and the chores of the cores go on: a limit that was lowered, or a file that
    /// holds more than the limit allows, must not stop the node.
    #[cold]
    fn evict(self: &Arc<Self>, state: &mut CoreState, settings: &Settings, core: usize) -> bool {
        use baton_engine::settings::EvictionPolicy;
        if settings.maxmemory_policy == EvictionPolicy::NoEviction || self.paused.load(Ordering::Relaxed) {
            return true;
        }
        const BUDGET_NS: u64 = 1_000_000;
        let (now_ms, start) = (self.now_ms(), self.now_ns());
        let is_time_up = || self.now_ns().saturating_sub(start) > BUDGET_NS;
        while self.is_over(settings.maxmemory) {
            if is_time_up() {
                return false;
            }
            let mut keyspace = Keyspace::one(&mut state.shard, settings, 0, now_ms);
            if !evict_one(&mut keyspace, &mut state.pool, settings) {
                break;
            }
            self.publish_events(&mut state.shard, settings);
        }
        // The budget is the node's: what this core cannot give up another may.
        for other in (0..self.cores()).filter(|other| *other != core) {
            if !self.is_over(settings.maxmemory) {
                break;
            }
            let Some(mut there) = self.baton(other).try_take() else { continue };
            let there = &mut *there;
            while self.is_over(settings.maxmemory) {
                if is_time_up() {
                    return false;
                }
                let mut keyspace = Keyspace::one(&mut there.shard, settings, 0, now_ms);
                if !evict_one(&mut keyspace, &mut there.pool, settings) {
                    break;
                }
                self.publish_events(&mut there.shard, settings);
            }
        }
        self.is_over(settings.maxmemory)
    }

    /// Evicts from a core, if its baton is free, when memory is over `maxmemory`: also what nobody's command used, such
    /// as unread replies, has to find room.
    ///
    /// True when there may be more to evict.
    pub fn evict_step(self: &Arc<Self>, core: usize) -> bool {
        let settings = self.settings();
        if !self.is_over(settings.maxmemory) {
            return false;
        }
        let Some(mut state) = self.baton(core).try_take() else { return false };
        !self.over_limit(&mut state, &settings, core) && self.is_over(settings.maxmemory)
    }

    /// Publishes the keyspace events that a command left in a shard, and has its garbage taken away.
    #[inline]
    pub(crate) fn publish_events(&self, shard: &mut Shard, settings: &Settings) {
        if !(shard.garbage.is_empty() && shard.events.is_empty()) {
            self.take_away(shard, settings);
        }
    }

    fn take_away(&self, shard: &mut Shard, settings: &Settings) {
        if !shard.garbage.is_empty() {
            self.janitor.take(std::mem::take(&mut shard.garbage));
        }
        for event in std::mem::take(&mut shard.events) {
            self.pubsub.publish_event(settings.notify, &event);
        }
    }

    /// Builds some of a core's slots that are still in a file, for about a tenth of a millisecond; true when there are more.
    pub fn build_step(self: &Arc<Self>, core: usize) -> bool {
        const BUDGET_NS: u64 = 100_000;
        let settings = self.settings();
        let Some(mut state) = self.baton(core).try_take() else { return true };
        let start = self.now_ns();
        while state.shard.build_next(&settings, self.now_ms()) {
            if self.now_ns() - start > BUDGET_NS {
                return true;
            }
        }
        false
    }

    /// One step of active expiry on a core, if its baton is free; true when there is more to do.
    pub fn expire_step(self: &Arc<Self>, core: usize, budget: usize) -> bool {
        use baton_engine::keyspace::expire;
        if self.paused.load(Ordering::Relaxed) {
            return false;
        }
        let Some(mut state) = self.baton(core).try_take() else { return true };
        let settings = self.settings();
        // A replica leaves that to its primary, but for what only it knows.
        let step_over = if self.replication.is_replica() { expire::step_own } else { expire::step };
        let step = step_over(&mut Keyspace::one(&mut state.shard, &settings, 0, self.now_ms()), budget);
        self.publish_events(&mut state.shard, &settings);
        drop(state);
        self.settle();
        !step.done
    }
}
