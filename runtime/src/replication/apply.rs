//! The stream of a primary, applied on all cores.
//!
//! What the link has read is cut into units (`stream`). Of each chunk of them
//!
//! 1. the bytes go into the journal as they are, so that the log and further replicas see the offsets of the primary;
//! 2. each core runs what belongs to its keys, in order; a unit over several cores waits for all that came before it, and
//!    runs under all batons that it needs: nobody sees half of a transaction;
//! 3. only then is it acknowledged.
//!
//! Between 1 and 3 nobody sees all cores at once ([`Node::hold_all`]): whoever does finds the data that belong to the offset.
//!
//! Commands of the stream run at a time before all (`BEFORE_ALL_MS`): the primary says itself what is over. They are never
//! refused for lack of memory, and leave no effects: the stream is their effect already.

use super::filter::{Filter, Verdict};
use super::stream::{Chunk, Unit};
use crate::blocked;
use crate::held::{Identity, Who};
use crate::node::{Cores, Node};
use crate::persist::replay::{self, WINDOW, Work};
use crate::registry::Registered;
use baton_engine::execute::Outcome;
use baton_engine::reply::Out;
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};

/// So many units are worth the hand-over to another thread.
const SHARED_FROM: usize = 128;
/// Units that a core runs before it lets others have the baton for a moment.
const UNITS_AT_ONCE: usize = 4 * WINDOW;

/// The arguments of a command.
type Args<'c> = SmallVec<[&'c [u8]; 6]>;

/// Who hears what commands of the stream have to say to the node rather than to its data.
pub trait Audience: Send + Sync {
    /// A command that does not work on the data: of functions, scripts, and whatever the node has a handler for. False if
    /// it could not be run.
    fn run(&self, args: &[&[u8]]) -> bool;
    /// All data have been thrown away by a command.
    fn flushed(&self) {}
    /// A command was refused: this node and its primary do not hold the same data.
    fn refused(&self, args: &[&[u8]], reply: &[u8]);
}

/// Why a stream cannot be applied any further. What came before it has been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A command that this build does not know.
    #[error(
        "The primary sent '{0}', which this build cannot run. Replication stops here rather than going on with other data than \
        the primary's: use a build that knows the command, or keep the command off the primary"
    )]
    Unknown(String),
    /// A command in a database that there is not.
    #[error("The primary uses database {0}: raise 'databases' and restart")]
    Database(usize),
    /// A filtered copy cannot tell what a command did, since some of its keys are left out.
    #[error("'{0}' reads keys that this copy leaves out: the data are asked for anew")]
    Mixed(String),
    /// Somebody ended the link.
    #[error("stopped")]
    Stopped,
}

/// Where a unit is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    /// Nowhere: it changes no data, or none that are kept here.
    Nowhere,
    /// On this core.
    Core(usize),
    /// On several cores at once.
    Wide,
    /// In the node.
    Node,
}

/// What is known of the units of a chunk before they run.
#[derive(Debug)]
struct Plan {
    chunk: Chunk,
    routes: Vec<Route>,
    /// The commands of all units, one after the other, by their numbers; of those that do not work on data any.
    commands: Vec<usize>,
    /// Where those of each unit begin.
    starts: Vec<usize>,
    /// A copy keeps these.
    filter: Option<Arc<Filter>>,
}

/// Applies a stream. One at a time for a node.
pub struct Applier {
    node: Arc<Node>,
    audience: Arc<dyn Audience>,
    filter: Option<Arc<Filter>>,
    who: Who,
    threads: Vec<Thread>,
}

/// What the threads of an applier and its owner share.
struct Shared {
    node: Arc<Node>,
    audience: Arc<dyn Audience>,
}

/// A thread that applies beside the one of the link.
struct Thread {
    inlet: Sender<Job>,
}

/// What a thread has to apply: units by core.
struct Job {
    plan: Arc<Plan>,
    groups: Vec<(usize, Vec<u32>)>,
    done: Sender<()>,
}

/// What the application of a chunk has to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The primary wants to know at once how far this replica is.
    pub asked: bool,
    /// Commands.
    pub commands: usize,
}

impl Applier {
    /// For the stream of the primary of this name.
    pub fn new(
        node: Arc<Node>,
        audience: Arc<dyn Audience>,
        filter: Option<Arc<Filter>>,
        primary: String,
    ) -> Self {
        let identity = Arc::new(Primary(primary));
        let who = Who { id: 0, db: 0, resp3: false, no_touch: false, remembers: false, identity };
        Self { node, audience, filter, who, threads: Vec::new() }
    }

    /// Applies all units of a chunk, or those before the first that cannot be.
    ///
    /// # Errors
    /// [`ApplyError`]. The offset of the journal is behind what has been applied.
    pub fn apply(&mut self, chunk: Chunk, stopped: &AtomicBool) -> Result<Applied, ApplyError> {
        let mut applied = Applied::default();
        let (plan, flaw) = self.plan(chunk, &mut applied);
        let plan = Arc::new(plan);
        let mut from = 0;
        while from < plan.routes.len() {
            let rest = &plan.routes[from..];
            let to = match rest.iter().position(|route| *route == Route::Node) {
                Some(0) => from + 1,
                Some(len) => from + len,
                None => plan.routes.len(),
            };
            self.apply_stretch(&plan, from..to, stopped)?;
            from = to;
        }
        flaw.map_or(Ok(applied), Err)
    }

    /// Finds out where each unit has to run; ends before the first that cannot.
    fn plan(&self, chunk: Chunk, applied: &mut Applied) -> (Plan, Option<ApplyError>) {
        let mut plan = Plan {
            routes: Vec::with_capacity(chunk.len()),
            commands: Vec::new(),
            starts: Vec::new(),
            filter: None,
            chunk,
        };
        plan.filter.clone_from(&self.filter);
        let mut flaw = None;
        for unit in plan.chunk.units() {
            let start = plan.commands.len();
            match self.route(unit, &mut plan.commands, applied) {
                Ok(route) => {
                    plan.routes.push(route);
                    plan.starts.push(start);
                }
                Err(error) => {
                    flaw = Some(error);
                    break;
                }
            }
        }
        (plan, flaw)
    }

    fn route(
        &self,
        unit: Unit<'_>,
        commands: &mut Vec<usize>,
        applied: &mut Applied,
    ) -> Result<Route, ApplyError> {
        let databases = self.node.settings().databases;
        let mut route = Route::Nowhere;
        for (db, args) in unit.commands() {
            let args: Args<'_> = args.collect();
            applied.commands += 1;
            let found = replay::find(&self.node, &args);
            commands.push(found.map_or(usize::MAX, |command| command.id));
            let Some(command) = found.filter(|command| command.run.is_some()) else {
                match self.of_the_node(&args, found, applied) {
                    Some(of_node) if unit.len() == 1 => return Ok(of_node),
                    // Within a transaction, between commands on data: in its place.
                    Some(Route::Nowhere) => continue,
                    Some(_) => {
                        route = Route::Wide;
                        continue;
                    }
                    None => return Err(ApplyError::Unknown(args[0].escape_ascii().to_string())),
                }
            };
            if db >= databases {
                return Err(ApplyError::Database(db));
            }
            if let Some(filter) = &self.filter {
                match filter.judge(command, db, &args) {
                    Verdict::Keep => {}
                    Verdict::Drop => continue,
                    Verdict::Part => {}
                    Verdict::Mixed => return Err(ApplyError::Mixed(command.name.to_ascii_uppercase())),
                }
            }
            let here = match self.node.cores_of(command, &args)[..] {
                [core] => Route::Core(core),
                _ => Route::Wide,
            };
            route = match route {
                Route::Nowhere => here,
                before if before == here => here,
                _ => Route::Wide,
            };
        }
        Ok(route)
    }

    /// What becomes of a command that does not work on data; `None` when nobody knows it.
    fn of_the_node(
        &self,
        args: &[&[u8]],
        found: Option<&Registered>,
        applied: &mut Applied,
    ) -> Option<Route> {
        let is = |name: &[u8]| args[0].eq_ignore_ascii_case(name);
        if is(b"PING") {
            return Some(Route::Nowhere);
        }
        if is(b"REPLCONF") {
            applied.asked |= args.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"GETACK"));
            return Some(Route::Nowhere);
        }
        // The libraries are kept whether or not this build can run them.
        (found.is_some() || is(b"FUNCTION")).then_some(Route::Node)
    }

    /// Applies units up to the next that the node has to run, or that one alone.
    fn apply_stretch(
        &mut self,
        plan: &Arc<Plan>,
        units: Range<usize>,
        stopped: &AtomicBool,
    ) -> Result<(), ApplyError> {
        let node = self.node.clone();
        let whole = node.apply_whole();
        if stopped.load(Ordering::Acquire) {
            return Err(ApplyError::Stopped);
        }
        let chunk = &plan.chunk;
        let start = chunk.bytes_of(units.start).len();
        if let Some(db) = chunk.db_after(units.end) {
            node.journal().push_stream(&chunk.bytes_of(units.end)[start..], db);
        }
        let mut groups: Vec<Vec<u32>> = vec![Vec::new(); node.cores()];
        let mut waiting = 0;
        for at in units {
            match plan.routes[at] {
                Route::Nowhere => {}
                Route::Core(core) => {
                    groups[core].push(at as u32);
                    waiting += 1;
                }
                Route::Wide => {
                    self.run_groups(plan, &mut groups, std::mem::take(&mut waiting));
                    self.run_wide(plan, at);
                }
                Route::Node => {
                    // It may want to see all cores itself.
                    drop(whole);
                    for (_, args) in chunk.unit(at).commands() {
                        self.run_in_node(&args.collect::<Args<'_>>());
                    }
                    return Ok(());
                }
            }
        }
        self.run_groups(plan, &mut groups, waiting);
        Ok(())
    }

    fn run_in_node(&self, args: &[&[u8]]) {
        let pubsub = &self.node.pubsub;
        match args {
            [name, channel, message] if name.eq_ignore_ascii_case(b"PUBLISH") => {
                pubsub.publish(channel, message);
            }
            [name, channel, message] if name.eq_ignore_ascii_case(b"SPUBLISH") => {
                pubsub.publish_shard(channel, message);
            }
            _ => {
                if !self.audience.run(args) && self.node.scripts.replay(args) != Some(true) {
                    self.audience.refused(args, b"-ERR the node could not run it");
                }
            }
        }
    }

    /// Has every core run its units, several cores at a time if there is much to do.
    fn run_groups(&mut self, plan: &Arc<Plan>, groups: &mut [Vec<u32>], waiting: usize) {
        if waiting == 0 {
            return;
        }
        let mut own: Vec<(usize, Vec<u32>)> = groups
            .iter_mut()
            .enumerate()
            .filter(|(_, units)| !units.is_empty())
            .map(|(core, units)| (core, std::mem::take(units)))
            .collect();
        let shared = Shared { node: self.node.clone(), audience: self.audience.clone() };
        if waiting < SHARED_FROM || own.len() < 2 {
            return own.iter().for_each(|(core, units)| shared.run_core(plan, *core, units));
        }
        self.start_threads();
        let (done, all_done) = mpsc::channel();
        let hands = self.threads.len() + 1;
        let mut sent = 0;
        for (n, thread) in self.threads.iter().enumerate() {
            // Every so-manyth core, so that each hand has its share.
            let mut at = 0;
            let (theirs, ours): (Vec<_>, Vec<_>) = own.into_iter().partition(|_| {
                at += 1;
                at % (hands - n) == 0
            });
            own = ours;
            let job = Job { plan: plan.clone(), groups: theirs, done: done.clone() };
            match thread.inlet.send(job) {
                Ok(()) => sent += 1,
                // The thread is gone: what it was to do is done here.
                Err(mpsc::SendError(job)) => own.extend(job.groups),
            }
        }
        drop(done);
        own.iter().for_each(|(core, units)| shared.run_core(plan, *core, units));
        let finished = all_done.iter().take(sent).count();
        assert_eq!(
            finished, sent,
            "a thread that applies the stream has ended: the data are not the primary's"
        );
    }

    /// As many further threads as there are processors and cores to work on.
    fn start_threads(&mut self) {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let wanted = processors.min(self.node.cores()).saturating_sub(1);
        while self.threads.len() < wanted {
            let (inlet, outlet) = mpsc::channel::<Job>();
            let shared = Shared { node: self.node.clone(), audience: self.audience.clone() };
            let work = move || {
                for job in outlet {
                    job.groups.iter().for_each(|(core, units)| shared.run_core(&job.plan, *core, units));
                    // Who gave it may be gone.
                    let _ = job.done.send(());
                }
            };
            if std::thread::Builder::new().name("apply".to_owned()).spawn(work).is_err() {
                return;
            }
            self.threads.push(Thread { inlet });
        }
    }

    /// Runs a unit that needs several cores, as one.
    fn run_wide(&self, plan: &Plan, at: usize) {
        let node = &self.node;
        let unit = plan.chunk.unit(at);
        let commands: Vec<(usize, Args<'_>, Option<&Registered>)> = plan.commands_of(node, unit).collect();
        let cores = |node: &Node| {
            let mut cores = Cores::new();
            for (_, args, command) in &commands {
                cores.extend(command.iter().flat_map(|command| node.cores_of(command, args)));
            }
            cores.sort_unstable();
            cores.dedup();
            if cores.is_empty() { node.all_cores() } else { cores }
        };
        let mut held = node.hold(cores);
        // Memory is not looked at inside of a transaction.
        held.begin_transaction();
        held.replay();
        let (mut out, mut flushed) = (Out::new(false), false);
        for (db, args, command) in &commands {
            let Some(command) = command.filter(|command| command.run.is_some()) else {
                self.run_in_node(args);
                continue;
            };
            let Some(args) = plan.kept(command, *db, args) else { continue };
            let who = Who { db: *db, ..self.who.clone() };
            let built = held.build_for(command, &args);
            let outcome = match &built {
                Ok(()) => held.run(&who, command, &args, false, &mut out),
                Err(damage) => {
                    out.error(damage);
                    Outcome::Refused
                }
            };
            if outcome == Outcome::Refused {
                self.audience.refused(&args, out.as_bytes());
            }
            flushed |= command.command.name == "FLUSHALL";
            out.truncate(0);
        }
        held.end_transaction();
        held.finish();
        if flushed {
            self.audience.flushed();
        }
    }
}

impl Plan {
    /// The commands of a unit: database, arguments, and the row of each that has one.
    fn commands_of<'p>(
        &'p self,
        node: &'p Node,
        unit: Unit<'p>,
    ) -> impl Iterator<Item = (usize, Args<'p>, Option<&'p Registered>)> {
        let ids = &self.commands[self.starts[unit.number()]..];
        unit.commands().zip(ids).map(|((db, args), id)| {
            let command = (*id != usize::MAX).then(|| node.registry.get(*id));
            (db, args.collect(), command)
        })
    }

    /// What of a command is run here: all of it as a rule, of a filtered copy perhaps less or nothing.
    fn kept<'a>(&self, command: &Registered, db: usize, args: &Args<'a>) -> Option<Args<'a>> {
        match &self.filter {
            None => Some(args.clone()),
            Some(filter) => filter.keep(command, db, args),
        }
    }
}

impl Shared {
    /// Runs units on their core, in order.
    fn run_core(&self, plan: &Plan, core: usize, units: &[u32]) {
        let node = &self.node;
        let settings = node.settings().clone();
        let mut out = Out::new(false);
        for part in units.chunks(UNITS_AT_ONCE) {
            let now_ms = node.now_ms();
            let mut state = node.baton(core).take();
            for window in part.chunks(WINDOW) {
                let mut work: SmallVec<[Work<'_, '_>; WINDOW]> = SmallVec::new();
                for at in window {
                    for (db, args, command) in plan.commands_of(node, plan.chunk.unit(*at as usize)) {
                        if let Some(command) = command
                            && let Some(args) = plan.kept(command, db, &args)
                        {
                            work.push(Work { command, db, args });
                        }
                    }
                }
                for work in work.chunks(WINDOW) {
                    let places = replay::ask_ahead(node, &state.shard, work);
                    for (one, place) in work.iter().zip(places) {
                        let outcome = replay::run(node, &mut state, &settings, now_ms, one, place, &mut out);
                        let refused = match outcome {
                            Ok(outcome) => outcome == Outcome::Refused,
                            Err(damage) => {
                                out.error(&damage);
                                true
                            }
                        };
                        if refused {
                            self.audience.refused(&one.args, out.as_bytes());
                        }
                        out.truncate(0);
                        state.book.command(one.command.shown_as).calls += 1;
                        node.publish_events(&mut state.shard, &settings);
                        blocked::serve_one(node, &mut state, &settings, now_ms);
                    }
                }
            }
        }
        node.settle();
    }
}

/// Whom the commands of the stream come from, should one of them be slow enough for the slow log.
struct Primary(String);

impl Identity for Primary {
    fn address(&self) -> String {
        self.0.clone()
    }

    fn name(&self) -> String {
        "primary".to_owned()
    }
}
