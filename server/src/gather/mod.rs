//! Gathering: as few event loops serve connections as the load needs, and more only when that brings something.
//!
//! | file         | holds                                                                |
//! |--------------|----------------------------------------------------------------------|
//! | `controller` | how many loops serve: a pure machine                                 |
//! | `deal`       | which connection goes to which of them                               |
//! | `load`       | what the system tells about threads and processors                   |
//!
//! Slots stay where they are: the loop that runs a batch takes the batons of their cores, which nobody else wants while their
//! own loops sleep. A connection moves when it next has something to do (`connection/moving.rs`), so that nobody is woken for
//! it. The load is looked at by the chores of the first core, whose loop always serves, and only while there is one.

mod controller;
mod deal;
mod load;

use crate::client::Client;
use crate::server::Server;
use controller::{Controller, Sample};
use load::{Processors, Thread, Times};
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Time between two looks at the load: what happens in less says nothing.
const LOOK_MIN: Duration = Duration::from_millis(45);
/// After more the node has been stopped, or the machine: what was seen before says nothing any more.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// Of the processors that nobody uses, this much is left alone by loops that serve nobody.
const SPARE: f64 = 0.5;

/// Which event loops serve connections: the first ones.
pub struct Gathering {
    active: watch::Sender<usize>,
    /// How many of the others find a processor that nobody else wants.
    helpers: AtomicUsize,
    /// As many as somebody has said; 0 for as many as are needed.
    by_hand: AtomicUsize,
    /// The system does not tell what threads do: nothing can be decided.
    is_blind: AtomicBool,
    /// Connections that went from one core to another.
    pub moves: AtomicU64,
    /// Decisions for more loops, and for fewer.
    pub spread: AtomicU64,
    pub gathered: AtomicU64,
    watched: Mutex<Watched>,
}

/// What was seen when somebody last looked.
struct Watched {
    controller: Controller,
    threads: Vec<Option<Thread>>,
    processors: Option<Processors>,
    last: Option<Look>,
    /// By client, how many commands it had sent then: who sends how many is looked at when loops are full.
    commands: Vec<(u64, u64)>,
}

struct Look {
    at: Instant,
    times: Times,
    commands: u64,
    reads: u64,
    idle_s: Option<f64>,
    /// What the loops that do not serve ran so far.
    helped: Duration,
}

impl Gathering {
    /// For a node of so many cores, of which one serves at first if connections are gathered. Called by a thread that may use
    /// all processors that the node may use.
    pub fn new(cores: usize, gathers: bool) -> Self {
        // A quota of the container counts too.
        let most = std::thread::available_parallelism().map_or(cores, |most| most.get().min(cores));
        let watched = Watched {
            controller: Controller::new(most),
            threads: (0..cores).map(|_| None).collect(),
            processors: Processors::of_this_thread().ok(),
            last: None,
            commands: Vec::new(),
        };
        Self {
            active: watch::Sender::new(if gathers { 1 } else { cores }),
            helpers: AtomicUsize::new(cores),
            is_blind: AtomicBool::new(false),
            by_hand: AtomicUsize::new(0),
            moves: AtomicU64::new(0),
            spread: AtomicU64::new(0),
            gathered: AtomicU64::new(0),
            watched: Mutex::new(watched),
        }
    }

    /// How many loops serve, also when that changes.
    pub fn active(&self) -> watch::Receiver<usize> {
        self.active.subscribe()
    }

    /// How many loops serve.
    pub fn count(&self) -> usize {
        *self.active.borrow()
    }

    /// Whether the loop of a core may work on a snapshot: it serves, or there is a processor for it that nobody else wants.
    pub fn may_save(&self, core: usize) -> bool {
        core < self.count().saturating_add(self.helpers.load(Ordering::Relaxed))
    }

    /// The caller is the thread of a core.
    pub fn measure_this_thread(&self, core: usize) {
        let thread = Thread::current().ok().filter(|thread| thread.times().is_some());
        if thread.is_none() {
            self.is_blind.store(true, Ordering::Relaxed);
        }
        self.watched.lock().threads[core] = thread;
    }
}

impl Server {
    /// So many loops serve from now on, whatever the load; with 0 as many as it needs.
    pub fn gather_by_hand(&self, loops: usize) {
        self.gathering.by_hand.store(loops.min(self.cores.len()), Ordering::Relaxed);
        self.gather();
    }

    /// Looks at the load and has as many loops serve as it needs. Called several times per second.
    pub fn gather(&self) {
        if self.cores.len() == 1 {
            return;
        }
        let gathering = &self.gathering;
        let mut watched = gathering.watched.lock();
        let by_hand = gathering.by_hand.load(Ordering::Relaxed);
        let wanted = if by_hand > 0 {
            gathering.helpers.store(self.cores.len(), Ordering::Relaxed);
            by_hand
        } else if !self.settings().gather_connections || gathering.is_blind.load(Ordering::Relaxed) {
            self.cores.len()
        } else {
            let now = Instant::now();
            if watched.last.as_ref().is_some_and(|last| now - last.at < LOOK_MIN) {
                return;
            }
            watched.look(self, now);
            watched.controller.active()
        };
        let active = gathering.count();
        if wanted == active {
            return;
        }
        if wanted != watched.controller.active() {
            watched.controller.restart(wanted);
        }
        let direction = if wanted > active { &gathering.spread } else { &gathering.gathered };
        direction.fetch_add(1, Ordering::Relaxed);
        gathering.active.send_replace(wanted);
        self.node.has_one_thread.store(wanted == 1, Ordering::Relaxed);
        let before = std::mem::take(&mut watched.commands);
        drop(watched);
        self.deal(wanted, &before);
    }

    /// Tells every connection which of the first cores is to serve it.
    fn deal(&self, cores: usize, before: &[(u64, u64)]) {
        let mut clients = self.all_clients();
        // At the other end of a link, which no core serves.
        clients.retain(|client| !client.is_primary.load(Ordering::Relaxed));
        let hands: Vec<_> =
            clients.iter().map(|client| (client.wanted_core(), weight(client, before))).collect();
        for (client, core) in clients.iter().zip(deal::deal(&hands, cores)) {
            client.want_core(core);
        }
    }
}

/// How many loops that serve nobody may work when so much of the processors is theirs or nobody's.
fn helpers_for(free: f64) -> usize {
    // What is less than nothing is nothing.
    (free - SPARE) as usize
}

/// How many commands a client has sent since the loops became full.
fn weight(client: &Arc<Client>, before: &[(u64, u64)]) -> u64 {
    let found = before.binary_search_by_key(&client.id, |(id, _)| *id);
    found.map_or(0, |at| client.commands.load(Ordering::Relaxed).saturating_sub(before[at].1))
}

impl Watched {
    /// What has happened since the last look goes to the controller.
    fn look(&mut self, server: &Server, now: Instant) {
        let active = server.gathering.count();
        let helpers = &server.gathering.helpers;
        let (commands, reads) = (server.total(|core| &core.commands), server.total(|core| &core.reads));
        let is_silent =
            self.last.as_ref().is_some_and(|last| (last.commands, last.reads) == (commands, reads));
        if is_silent && self.controller.active() == 1 && active == 1 {
            // Nobody is asked for anything: neither are we.
            self.last = None;
            helpers.store(server.cores.len(), Ordering::Relaxed);
            return self.controller.on(&Sample::default());
        }
        let is_saving = server.node.snapshots.is_running();
        let times = self.times(0..active);
        let helped = if is_saving { self.times(active..self.threads.len()).ran } else { Duration::ZERO };
        let mut look = Look { at: now, times, commands, reads, idle_s: None, helped };
        let last = self.last.take();
        if last.as_ref().is_some_and(|last| now - last.at >= LOOK_MAX) {
            self.controller.resume();
        } else if let Some(last) = last {
            let elapsed_s = (now - last.at).as_secs_f64();
            let ran_s = times.ran.saturating_sub(last.times.ran).as_secs_f64();
            let waited_s = times.waited.saturating_sub(last.times.waited).as_secs_f64();
            let is_busy = ran_s + waited_s > 0.25 * elapsed_s;
            if is_busy || is_saving {
                // Not for nothing: the system has to count for it.
                look.idle_s = self.processors.as_ref().and_then(Processors::idle_s);
            }
            let idle = match (look.idle_s, last.idle_s) {
                (Some(now), Some(before)) => Some((now - before) / elapsed_s),
                // Known from the next look on.
                (Some(_), None) => Some(0.0),
                (None, _) => None,
            };
            let helped = helped.saturating_sub(last.helped).as_secs_f64() / elapsed_s;
            let helped = if last.helped.is_zero() { 0.0 } else { helped };
            helpers.store(helpers_for(idle.unwrap_or(0.0) + helped), Ordering::Relaxed);
            let sample = Sample {
                ran: ran_s / elapsed_s,
                waited: waited_s / elapsed_s,
                idle,
                commands: commands.saturating_sub(last.commands) as f64 / elapsed_s,
                turn_s: ran_s / reads.saturating_sub(last.reads).max(1) as f64,
            };
            self.controller.on(&sample);
            if self.controller.may_spread() {
                self.note_commands(server);
            }
        } else {
            helpers.store(0, Ordering::Relaxed);
        }
        self.last = Some(look);
    }

    /// What the loops of these cores ran and waited so far, together.
    fn times(&self, cores: Range<usize>) -> Times {
        let times = self.threads[cores].iter().flatten().filter_map(Thread::times);
        times.fold(Times::default(), |sum, one| Times {
            ran: sum.ran + one.ran,
            waited: sum.waited + one.waited,
        })
    }

    fn note_commands(&mut self, server: &Server) {
        let clients = server.clients.read();
        self.commands.clear();
        self.commands
            .extend(clients.iter().map(|(id, client)| (*id, client.commands.load(Ordering::Relaxed))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_that_serve_nobody_work_only_where_a_processor_is_left_over() {
        let gathering = Gathering::new(4, true);
        // Nobody has looked yet: there is no load.
        assert!((0..4).all(|core| gathering.may_save(core)));
        for (free, allowed) in [(0.0, 1), (0.85, 1), (1.4, 1), (1.5, 2), (2.6, 3), (7.0, 4)] {
            gathering.helpers.store(helpers_for(free), Ordering::Relaxed);
            let may = (0..4).filter(|core| gathering.may_save(*core)).count();
            assert_eq!(may, allowed, "with {free} processors to spare");
        }
    }
}
