//! The journal: one ordered log of all effects, which the file, the replicas and a slot on its way all read.
//!
//! | file        | holds                                                        |
//! |-------------|--------------------------------------------------------------|
//! | `pending`   | what has been pushed and not written, and who else follows   |
//! | `writer`    | the files: blocks, cuts, what a failed write leaves          |
//! | `health`    | whether the log can be relied on                             |
//! | `thread`    | syncs, with `always` writes, and tries again what failed     |
//! | `bell`      | wakes that thread                                            |
//! | `gathering` | lets one sync be for many clients                            |
//!
//! The way of an effect:
//!
//! 1. *Pushed.* Before a baton is let go, what its shard has left is appended to the pending bytes: one short copy under
//!    one lock. So the order of the log agrees with cause and effect: who saw a change was under a baton after it.
//! 2. *Written.* Any thread writes all that is pending, without a baton, by one call of the system. A core does so once per
//!    turn of its loop, for all its connections, before their replies leave. With `appendfsync always` it leaves that to
//!    the thread that syncs, as long as there are no replicas: several turns are one write.
//! 3. *Synced.* By a thread of its own, never by a core. One sync is for all that was written before it, and waits for more
//!    (`gathering`).
//!
//! A reply waits for what its own command left, and for nothing if that is nothing: until it is written, or with
//! `appendfsync always` until it is synced ([`verdict`](Journal::verdict)).
//!
//! When the disk fails, commands that write are refused before they run. Replies of those that had run already wait for
//! [`GIVE_UP`], in case trying again helps; then their clients get the error in place of the replies and are disconnected:
//! nothing is acknowledged that is not as safe as the policy says, and nobody waits for ever.
//!
//! Offsets count the bytes of the log as replicas see it, without the annotations between the blocks of a file.
//!
//! Absent on purpose: names of files, the manifest, reading the log back.

mod bell;
mod gathering;
mod health;
mod pending;
mod thread;
mod writer;

/// What the bell is made of, in one place so that a model checker can take its own.
mod sync {
    pub(super) use crate::sync::{Condvar, Mutex, fence, wait};
    pub(super) use std::sync::atomic::{AtomicBool, Ordering};
}

pub use health::{Event, Health, Why};
pub use pending::{LogFile, Reader};
pub use thread::GIVE_UP;

use crate::latency::LatencyMonitor;
use baton_engine::effects::Effects;
use baton_engine::error::CommandError;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use pending::Pending;
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use writer::Writer;

thread_local! {
    /// How often this thread has pushed something that somebody has to see to.
    static PUSHES: Cell<u64> = const { Cell::new(0) };
}

/// A sync that takes longer is a reason to count the writes that go on meanwhile.
const SLOW_SYNC: Duration = Duration::from_secs(2);

/// A number that grows whenever this thread pushes effects, or learns that its work elsewhere did. Who compares it before
/// and after knows whether there is something to write and to wait for.
#[inline]
pub fn pushes_here() -> u64 {
    PUSHES.get()
}

/// Notes that work which another thread did for this one has pushed effects.
pub(crate) fn note_push() {
    PUSHES.set(PUSHES.get() + 1);
}

/// Waits for a future, and tells how often this thread has [pushed](pushes_here) for others meanwhile: in their turns between
/// its own.
pub async fn pushes_of_others<F: Future>(future: F) -> (F::Output, u64) {
    let mut future = pin!(future);
    let (start, mut own) = (PUSHES.get(), 0);
    let output = poll_fn(|cx| {
        let before = PUSHES.get();
        let poll = future.as_mut().poll(cx);
        own += PUSHES.get() - before;
        poll
    });
    let output = output.await;
    (output, PUSHES.get() - start - own)
}

/// Does work that others see to and wait for: it does not count for this thread. Whether it has pushed effects.
pub(crate) fn for_others(work: impl FnOnce()) -> bool {
    let before = PUSHES.get();
    work();
    PUSHES.replace(before) != before
}

/// `appendfsync`: when a reply may leave, and who syncs when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Policy {
    /// Replies leave after the sync.
    Always = 0,
    /// Replies leave after the write; a sync each second.
    #[default]
    EverySecond = 1,
    /// Replies leave after the write; the system syncs when it likes.
    Never = 2,
}

/// What becomes of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may leave.
    Safe,
    /// Not yet.
    Wait,
    /// The log fails: it must not leave.
    Lost,
}

/// What INFO says about the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Whether there is a file.
    pub enabled: bool,
    /// Whether the last write and the last sync went well.
    pub is_sound: bool,
    /// Bytes of the file that is written to.
    pub file_bytes: u64,
    /// Bytes that wait to be written.
    pub pending_bytes: u64,
    /// Offset up to which effects have been pushed, written, synced.
    pub pushed: u64,
    /// See `pushed`.
    pub written: u64,
    /// See `pushed`.
    pub synced: u64,
    /// A sync is running.
    pub is_syncing: bool,
    /// Writes that went on beside a sync that took long.
    pub delayed_syncs: u64,
    /// Writes, each of one block as a rule.
    pub writes: u64,
    /// Syncs.
    pub syncs: u64,
}

/// The log of a node. See the [module](self).
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread of the journal and all others share.
struct Shared {
    pending: Mutex<Pending>,
    writer: Mutex<Writer>,
    /// Held during a sync: two at once could each believe that the other's files are safe already.
    sync_turn: Mutex<()>,
    /// There is a file: replies wait for it.
    has_file: AtomicBool,
    pushed: AtomicU64,
    written: AtomicU64,
    synced: AtomicU64,
    /// The log is not sound.
    failing: AtomicBool,
    /// Why, as clients hear it. Apart from the writer, who may be waiting for the disk.
    refusal: Mutex<Option<Arc<str>>>,
    /// It has been so for too long.
    given_up: AtomicBool,
    policy: AtomicU8,
    timestamps: AtomicBool,
    suspended: AtomicBool,
    stopped: AtomicBool,
    has_retired: AtomicBool,
    /// What has been pushed is to be written by the thread, before the sync that its replies wait for.
    handed_over: AtomicBool,
    is_syncing: AtomicBool,
    /// When the sync that runs began, in milliseconds since `start`.
    sync_start_ms: AtomicU64,
    delayed_syncs: AtomicU64,
    /// A pause before each write, in microseconds, for tests.
    write_delay_us: AtomicU64,
    writes: AtomicU64,
    syncs: AtomicU64,
    start: Instant,
    bell: bell::Bell,
    gathering: gathering::Gathering,
    latency: Arc<LatencyMonitor>,
    /// By core: who is to be woken when the log has come on.
    cores: Vec<AtomicWaker>,
}

impl Journal {
    /// A log without a file, for so many cores. The monitor is told of writes and syncs that take long.
    pub fn new(cores: usize, latency: Arc<LatencyMonitor>) -> Self {
        let shared = Shared {
            pending: Mutex::default(),
            writer: Mutex::default(),
            sync_turn: Mutex::default(),
            has_file: AtomicBool::new(false),
            pushed: AtomicU64::new(0),
            written: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            refusal: Mutex::default(),
            given_up: AtomicBool::new(false),
            policy: AtomicU8::new(Policy::default() as u8),
            timestamps: AtomicBool::new(false),
            suspended: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            has_retired: AtomicBool::new(false),
            handed_over: AtomicBool::new(false),
            is_syncing: AtomicBool::new(false),
            sync_start_ms: AtomicU64::new(0),
            delayed_syncs: AtomicU64::new(0),
            write_delay_us: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            start: Instant::now(),
            bell: bell::Bell::new(),
            gathering: gathering::Gathering::default(),
            latency,
            cores: (0..cores).map(|_| AtomicWaker::new()).collect(),
        };
        Self { shared: Arc::new(shared), thread: Mutex::default() }
    }

    // ---- effects -------------------------------------------------------------------------------------------

    /// Appends what a shard has left. Under the baton of the shard.
    #[inline]
    pub(crate) fn push(&self, effects: &mut Effects) {
        if !effects.is_empty() {
            self.push_some(effects);
        }
    }

    fn push_some(&self, effects: &mut Effects) {
        {
            let mut pending = self.shared.pending.lock();
            pending.push(effects);
            self.shared.gathering.pushed();
            self.shared.pushed.store(pending.end, Ordering::Release);
        }
        effects.clear();
        note_push();
    }

    /// Appends a command that changes nothing and is for those who follow the log: `PING`, `REPLCONF GETACK`. Returns the
    /// offset behind it. Nobody has to wait for it; whoever writes the log next writes it too.
    pub fn push_signal(&self, command: &[u8]) -> u64 {
        let mut pending = self.shared.pending.lock();
        pending.push_raw(command);
        self.shared.pushed.store(pending.end, Ordering::Release);
        pending.end
    }

    /// Takes over bytes of the stream that this node follows: whole commands and transactions, unmodified, after which the
    /// stream is in this database. Only between [`Held::follow`](crate::held::Held::follow) and
    /// [`Held::lead`](crate::held::Held::lead), and by one thread: the order of the stream is that of the log.
    pub(crate) fn push_stream(&self, bytes: &[u8], db: usize) {
        let mut pending = self.shared.pending.lock();
        pending.push_stream(bytes, db);
        self.shared.pushed.store(pending.end, Ordering::Release);
    }

    /// The database that the stream which this node follows is in; `None` for a node that follows none.
    pub fn stream_db(&self) -> Option<usize> {
        self.shared.pending.lock().stream_db()
    }

    pub(crate) fn set_stream_db(&self, db: Option<usize>) {
        self.shared.pending.lock().set_stream_db(db);
    }

    /// From here on the log belongs to the history of this name, and says so soon, whatever is pushed.
    pub(crate) fn name_history(&self, id: [u8; 40]) {
        self.shared.pending.lock().name_history(id);
        self.shared.bell.ring();
    }

    /// Offset up to which effects have been pushed.
    #[inline]
    pub fn pushed(&self) -> u64 {
        self.shared.pushed.load(Ordering::Acquire)
    }

    /// Whether something has been pushed that is not in the file.
    #[inline]
    pub fn has_unwritten(&self) -> bool {
        self.has_file() && self.shared.written.load(Ordering::Acquire) < self.pushed()
    }

    /// Writes what has been pushed: everything that was when it was called, unless the log fails. Blocks as long as the
    /// system does; no baton may be held.
    pub fn write(&self) {
        let wanted = self.pushed();
        let shared = &self.shared;
        if shared.written.load(Ordering::Acquire) >= wanted || shared.failing.load(Ordering::Relaxed) {
            return;
        }
        let mut writer = shared.writer.lock();
        // Somebody else may have written it meanwhile.
        if shared.written.load(Ordering::Acquire) < wanted {
            shared.write(&mut writer);
        }
        drop(writer);
        shared.bell.ring_if_asleep();
        shared.gathering.came(&shared.bell);
    }

    /// Has what was pushed made as safe as the policy says, at the end of a turn: writes it, as [`write`](Self::write) does; or
    /// leaves that to the thread which has to sync it before anybody is answered, so that a sync costs one write.
    pub fn flush(&self) {
        let shared = &self.shared;
        if !shared.answers_after_sync() {
            return self.write();
        }
        shared.handed_over.store(true, Ordering::Release);
        shared.bell.ring_if_asleep();
        shared.gathering.came(&shared.bell);
    }

    /// As [`flush`](Self::flush), for a caller who waits alone and may be blocked: with `appendfsync always` it writes and syncs
    /// itself, unless a sync runs. So nobody is woken twice for one change.
    pub fn flush_alone(&self) {
        let shared = &self.shared;
        if !shared.answers_after_sync() || shared.failing.load(Ordering::Acquire) {
            return self.flush();
        }
        let Some(turn) = shared.sync_turn.try_lock() else { return self.flush() };
        shared.write(&mut shared.writer.lock());
        shared.sync_in_turn(turn);
    }

    /// Whether a reply may leave whose command has pushed effects up to this offset.
    #[inline]
    pub fn verdict(&self, offset: u64) -> Verdict {
        let shared = &self.shared;
        if offset <= shared.acknowledged() {
            Verdict::Safe
        } else if shared.given_up.load(Ordering::Acquire) {
            // What became safe just before it failed is safe all the same.
            if offset <= shared.acknowledged() { Verdict::Safe } else { Verdict::Lost }
        } else {
            Verdict::Wait
        }
    }

    /// Offset up to which the file has been synced.
    pub fn synced(&self) -> u64 {
        self.shared.synced.load(Ordering::Acquire)
    }

    /// Asks for this waker of a core to be woken when more has been synced, or when the log fails or recovers. Look at
    /// the [verdict](Self::verdict) after it, not before.
    pub fn register(&self, core: usize, waker: &Waker) {
        if let Some(slot) = self.shared.cores.get(core) {
            slot.register(waker);
        }
    }

    // ---- files and followers -------------------------------------------------------------------------------
    // All of these are points in the order: every baton is held, so that nothing is pushed meanwhile. They are
    // reached by way of `Held`, which pushes what lies in the shards first.

    /// Whether anybody wants effects.
    pub(crate) fn is_wanted(&self) -> bool {
        self.shared.pending.lock().is_wanted()
    }

    /// From here on the log goes on in another file, or in none. O(1); what is pending belongs to the file before.
    pub(crate) fn cut(&self, next: Option<LogFile>) -> u64 {
        let mut thread = self.thread.lock();
        if thread.is_none() && next.is_some() {
            *thread = self.start_thread();
        }
        drop(thread);
        let (had_file, has_file) = (self.has_file(), next.is_some());
        let offset = self.shared.pending.lock().cut(next);
        if !had_file {
            // What was pushed without a file was for others; nobody waits for it here.
            self.shared.written.fetch_max(offset, Ordering::AcqRel);
            self.shared.synced.fetch_max(offset, Ordering::AcqRel);
        }
        self.shared.has_file.store(has_file, Ordering::Release);
        // A log that is pushed to rarely is to be in its new file soon all the same.
        self.shared.bell.ring();
        offset
    }

    /// The offset of the next byte and the database that the log is in. `anew`: the next effect names its database, for
    /// those who do not know.
    pub(crate) fn join(&self, anew: bool) -> (u64, usize) {
        self.shared.pending.lock().join(anew)
    }

    pub(crate) fn subscribe(&self, reader: Box<dyn Reader>) -> (u64, u64) {
        self.shared.pending.lock().subscribe(reader)
    }

    /// Ends what [`Held::subscribe`](crate::held::Held::subscribe) began. Effects are collected in vain until
    /// [`Held::listen_if_wanted`](crate::held::Held::listen_if_wanted) is called next.
    pub fn unsubscribe(&self, reader: u64) {
        self.shared.pending.lock().unsubscribe(reader);
    }

    /// Sets the offset of the next byte, while there is neither a file nor a follower: what was pushed before belongs
    /// to another history.
    pub(crate) fn set_offset(&self, offset: u64) {
        let shared = &self.shared;
        let mut writer = shared.writer.lock();
        let mut pending = shared.pending.lock();
        pending.end = offset;
        writer.offset = offset;
        for mark in [&shared.pushed, &shared.written, &shared.synced] {
            mark.store(offset, Ordering::Release);
        }
    }

    /// A base that holds everything up to `offset`, where the log was cut, has been written and synced, and the log is
    /// read from there on: what could not be written before is no longer missed, and a log that failed is sound again.
    pub fn replaced(&self, offset: u64) {
        let shared = &self.shared;
        {
            let mut writer = shared.writer.lock();
            let mut pending = shared.pending.lock();
            writer.take(&mut pending);
            drop(pending);
            writer.replaced(offset);
            shared.written.fetch_max(offset, Ordering::AcqRel);
            shared.synced.fetch_max(offset, Ordering::AcqRel);
            shared.write(&mut writer);
        }
        shared.bell.ring();
        shared.wake_cores();
    }

    /// After the log was cut with no file to go on in, at `offset`: writes and syncs what is left for the file it had.
    /// Should that fail, it is forgotten: who turns the log off wants no more of its errors.
    ///
    /// # Errors
    /// Why the end of the file is missing.
    pub fn leave(&self, offset: u64) -> Result<(), Why> {
        let result = self.write_and_sync();
        if result.is_err() {
            self.replaced(offset);
        }
        result
    }

    /// Whether there is a file.
    #[inline]
    pub fn has_file(&self) -> bool {
        self.shared.has_file.load(Ordering::Acquire)
    }

    /// Writes and syncs everything, on the thread of the caller: before the end, and after the file was left.
    ///
    /// # Errors
    /// Why the log is not safe; commands that write are refused from then on.
    pub fn write_and_sync(&self) -> Result<(), Why> {
        let shared = &self.shared;
        shared.write(&mut shared.writer.lock());
        shared.sync();
        let writer = shared.writer.lock();
        writer.health.why().map_or(Ok(()), |why| Err(why.to_owned()))
    }

    // ---- settings and figures ------------------------------------------------------------------------------

    /// `appendfsync`, `aof-timestamp-enabled`. Takes effect at once.
    pub fn configure(&self, policy: Policy, timestamps: bool) {
        self.shared.policy.store(policy as u8, Ordering::Release);
        self.shared.timestamps.store(timestamps, Ordering::Relaxed);
        self.shared.bell.ring();
        self.shared.wake_cores();
    }

    /// A pause before each write, which holds up whoever writes: for tests of what waits for the log.
    pub fn delay_writes(&self, delay: Duration) {
        self.shared.write_delay_us.store(delay.as_micros() as u64, Ordering::Relaxed);
    }

    /// `no-appendfsync-on-rewrite`: no syncs while this is set, and nobody waits for one.
    pub fn suspend_syncs(&self, suspended: bool) {
        self.shared.suspended.store(suspended, Ordering::Release);
        self.shared.bell.ring();
        self.shared.wake_cores();
    }

    /// Whether the log fails, so that commands that write must be [refused](Self::refusal).
    #[inline]
    pub fn is_failing(&self) -> bool {
        self.shared.failing.load(Ordering::Relaxed)
    }

    /// With what commands that write are refused, if they are.
    #[inline]
    pub fn refusal(&self) -> Option<CommandError> {
        if self.is_failing() { self.refusal_now() } else { None }
    }

    #[cold]
    fn refusal_now(&self) -> Option<CommandError> {
        let text = self.shared.refusal.lock().clone()?;
        Some(CommandError::owned(String::from(&*text)))
    }

    /// The state of the log.
    pub fn health(&self) -> Health {
        self.shared.writer.lock().health.clone()
    }

    /// What INFO says.
    pub fn figures(&self) -> Figures {
        let shared = &self.shared;
        let (file_bytes, backlog, is_sound) = {
            let writer = shared.writer.lock();
            (writer.file_bytes(), writer.backlog_bytes(), writer.health == Health::Sound)
        };
        Figures {
            enabled: self.has_file(),
            is_sound,
            file_bytes,
            pending_bytes: (backlog + shared.pending.lock().bytes.len()) as u64,
            pushed: self.pushed(),
            written: shared.written.load(Ordering::Acquire),
            synced: self.synced(),
            is_syncing: shared.is_syncing.load(Ordering::Relaxed),
            delayed_syncs: shared.delayed_syncs.load(Ordering::Relaxed),
            writes: shared.writes.load(Ordering::Relaxed),
            syncs: shared.syncs.load(Ordering::Relaxed),
        }
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&self) {
        self.shared.delayed_syncs.store(0, Ordering::Relaxed);
    }

    fn start_thread(&self) -> Option<JoinHandle<()>> {
        let shared = self.shared.clone();
        let started =
            std::thread::Builder::new().name("journal".to_owned()).spawn(move || thread::run(&shared));
        match started {
            Ok(thread) => Some(thread),
            Err(error) => {
                // Nobody would sync: as bad as a sync that fails.
                let mut writer = self.shared.writer.lock();
                writer.distrust(&error);
                self.shared.note_health(&writer);
                None
            }
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.bell.ring();
        if let Some(thread) = self.thread.get_mut().take() {
            // It catches nothing, but it has nothing to panic about either.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Takes over what is pending and writes it.
    fn write(&self, writer: &mut Writer) {
        let is_syncing = self.is_syncing.load(Ordering::Relaxed);
        let ((), took) = self.latency.time(|| {
            let delay_us = self.write_delay_us.load(Ordering::Relaxed);
            if delay_us > 0 {
                std::thread::sleep(Duration::from_micros(delay_us));
            }
            writer.take(&mut self.pending.lock());
            let now_s = self.timestamps.load(Ordering::Relaxed).then(|| {
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
            });
            writer.write(now_s);
        });
        let beside = if is_syncing { "aof-write-pending-fsync" } else { "aof-write-alone" };
        self.latency.note_now(beside, took);
        self.latency.note_now("aof-write", took);
        self.written.fetch_max(writer.offset, Ordering::AcqRel);
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.has_retired.store(writer.has_retired(), Ordering::Release);
        if self.is_syncing.load(Ordering::Relaxed) {
            let since = Duration::from_millis(self.sync_start_ms.load(Ordering::Relaxed));
            let delayed = self.start.elapsed().saturating_sub(since) > SLOW_SYNC;
            self.delayed_syncs.fetch_add(u64::from(delayed), Ordering::Relaxed);
        }
        self.note_health(writer);
    }

    /// Makes the state of the log known to those who only look.
    fn note_health(&self, writer: &Writer) {
        let why = writer.health.why();
        if why.is_some() || self.failing.load(Ordering::Relaxed) {
            *self.refusal.lock() =
                why.map(|why| format!("MISCONF Errors writing to the AOF file: {why}").into());
        }
        let failing = why.is_some();
        if failing == self.failing.swap(failing, Ordering::AcqRel) {
            if matches!(writer.health, Health::Distrusted(_)) {
                self.given_up.store(true, Ordering::Release);
            }
            return;
        }
        self.given_up.store(matches!(writer.health, Health::Distrusted(_)), Ordering::Release);
        self.bell.ring();
        self.wake_cores();
    }

    /// Offset up to which replies may leave.
    #[inline]
    fn acknowledged(&self) -> u64 {
        if !self.has_file.load(Ordering::Acquire) {
            return u64::MAX;
        }
        let mark = if self.answers_after_sync() { &self.synced } else { &self.written };
        mark.load(Ordering::Acquire)
    }

    /// Whether replies wait for a sync, not only for a write.
    #[inline]
    fn answers_after_sync(&self) -> bool {
        self.policy.load(Ordering::Acquire) == Policy::Always as u8 && !self.suspended.load(Ordering::Acquire)
    }

    fn wake_cores(&self) {
        self.cores.iter().for_each(AtomicWaker::wake);
    }

    fn policy(&self) -> Policy {
        match self.policy.load(Ordering::Acquire) {
            0 => Policy::Always,
            1 => Policy::EverySecond,
            _ => Policy::Never,
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("pushed", &self.pushed)
            .field("written", &self.written)
            .field("synced", &self.synced)
            .finish_non_exhaustive()
    }
}
