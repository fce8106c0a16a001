//! Replaying the commands of a log, on all cores: one thread reads, each core applies what belongs to its slots.
//!
//! The commands of one slot keep their order; what works on several cores waits for all that came before it and runs alone.
//! Nobody looks at the data meanwhile, so a transaction may be spread over the cores: it is whole when the replay is.

use super::feed::on_all_cores;
use super::load::Progress;
use super::restore::Until;
use crate::held::{BEFORE_ALL_MS, Identity, Who};
use crate::node::{CoreState, Node};
use crate::registry::Registered;
use baton_engine::aof::read::{Position, Reader, Verdict};
use baton_engine::context::{Caller, Context};
use baton_engine::error::CommandError;
use baton_engine::execute::{Outcome, execute_fn};
use baton_engine::keyspace::{Keyspace, Shard};
use baton_engine::random::Rng;
use baton_engine::reply::Out;
use baton_engine::settings::Settings;
use baton_engine::slot::Slot;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Commands whose memory is asked for at once.
pub(crate) const WINDOW: usize = 32;

/// What was replayed of a file.
#[derive(Debug)]
pub struct Replayed {
    /// Where reading ended: the end of the last unit that was applied.
    pub position: Position,
    /// How the file ends; `None` when reading stopped at the time that was asked for.
    pub verdict: Option<Verdict>,
    /// Commands applied.
    pub commands: u64,
    /// Commands that were refused, though they had been written because they changed something.
    pub refused: u64,
}

/// Why a log cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A command that this build does not know.
    #[error("Unknown command '{name}' reading the append only file {file}, at byte {at}")]
    Unknown {
        /// The file.
        file: Arc<str>,
        /// Where.
        at: usize,
        /// The command, as it prints.
        name: String,
    },
    /// A command in a database that there is not.
    #[error("{file} at byte {at}: database {db} is out of range: raise 'databases'")]
    Database {
        /// The file.
        file: Arc<str>,
        /// Where.
        at: usize,
        /// The database.
        db: usize,
    },
    /// The base of the log cannot be read where a command needs it.
    #[error("{0}")]
    Damaged(CommandError),
    /// It was called off.
    #[error("{0}: given up")]
    GivenUp(Arc<str>),
}

/// A command on its way to the thread that applies it.
pub(crate) struct Work<'f, 'n> {
    pub(crate) command: &'n Registered,
    pub(crate) db: usize,
    pub(crate) args: SmallVec<[&'f [u8]; 6]>,
}

/// Applies the commands that a reader finds in a file, up to the second of `until` if that is given.
///
/// # Errors
/// [`ReplayError`]: parts may have been applied, and the node must not serve them.
pub fn commands(
    node: &Arc<Node>,
    name: &Arc<str>,
    mut reader: Reader<'_>,
    mut until: Option<&mut Until>,
    progress: &Progress,
) -> Result<Replayed, ReplayError> {
    let settings = node.settings().clone();
    let now_ms = node.now_ms();
    let (applied, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    let apply = |core: usize, work: Vec<Work<'_, '_>>| {
        let mut out = Out::new(false);
        let mut state = node.baton(core).take();
        applied.fetch_add(work.len() as u64, Ordering::Relaxed);
        progress.commands.fetch_add(work.len() as u64, Ordering::Relaxed);
        for window in work.chunks(WINDOW) {
            let places = ask_ahead(node, &state.shard, window);
            for (one, place) in window.iter().zip(places) {
                let outcome = run(node, &mut state, &settings, now_ms, one, place, &mut out);
                if outcome.map_err(ReplayError::Damaged)? == Outcome::Refused {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
                out.truncate(0);
            }
        }
        node.publish_events(&mut state.shard, &settings);
        Ok(())
    };
    let (position, verdict) = on_all_cores(node.cores(), apply, |feed| {
        let mut position = reader.position();
        let mut told = position.offset;
        loop {
            let Some(unit) = reader.read() else {
                progress.done.fetch_add((reader.file_len() - told) as u64, Ordering::Relaxed);
                return Ok((reader.position(), reader.verdict().cloned()));
            };
            if progress.is_called_off() {
                return Err(ReplayError::GivenUp(name.clone()));
            }
            if until.as_mut().is_some_and(|until| !until.takes(name, &unit)) {
                return Ok((position, None));
            }
            if unit.end - told >= 1 << 20 {
                progress.done.fetch_add((unit.end - told) as u64, Ordering::Relaxed);
                told = unit.end;
            }
            for command in unit.commands() {
                if is_signal(command.args) {
                    continue;
                }
                if let Some(done) = node.scripts.replay(command.args) {
                    applied.fetch_add(1, Ordering::Relaxed);
                    refused.fetch_add(u64::from(!done), Ordering::Relaxed);
                    continue;
                }
                let registered = find(node, command.args).ok_or_else(|| ReplayError::Unknown {
                    file: name.clone(),
                    at: unit.start,
                    name: command.args[0].escape_ascii().to_string(),
                })?;
                if command.db >= settings.databases {
                    return Err(ReplayError::Database { file: name.clone(), at: unit.start, db: command.db });
                }
                let cores = node.cores_of(registered, command.args);
                if let [core] = cores[..] {
                    let args = SmallVec::from_slice(command.args);
                    if !feed.give(core, Work { command: registered, db: command.db, args }) {
                        return Ok((position, None));
                    }
                } else if feed.wait() {
                    applied.fetch_add(1, Ordering::Relaxed);
                    let outcome = run_wide(node, registered, command.db, command.args);
                    let outcome = outcome.map_err(ReplayError::Damaged)?;
                    refused.fetch_add(u64::from(outcome == Outcome::Refused), Ordering::Relaxed);
                }
            }
            position = reader.position();
        }
    })?;
    let (commands, refused) = (applied.into_inner(), refused.into_inner());
    Ok(Replayed { position, verdict, commands, refused })
}

/// Whether a command changes nothing: it was for the replicas, whose stream the log is too.
fn is_signal(args: &[&[u8]]) -> bool {
    let names: [&[u8]; 4] = [b"PING", b"REPLCONF", b"PUBLISH", b"SPUBLISH"];
    names.iter().any(|name| args[0].eq_ignore_ascii_case(name))
}

/// The command of this name, whatever it is called here: a log knows the names that commands have of their own.
pub(crate) fn find<'n>(node: &'n Node, args: &[&[u8]]) -> Option<&'n Registered> {
    let found = node.registry.find_own(args[0])?;
    match args.get(1) {
        Some(sub) if !found.subcommands.is_empty() => node.registry.subcommand(found, sub),
        _ => Some(found),
    }
}

/// Where the only key of a command belongs: its slot and its hash.
pub(crate) type Place = Option<(Slot, u64)>;

/// Finds out where the keys of some commands belong, and asks for the memory there: all of it is on its way when the first of
/// them runs.
pub(crate) fn ask_ahead(node: &Node, shard: &Shard, work: &[Work<'_, '_>]) -> [Place; WINDOW] {
    let mut places = [None; WINDOW];
    for (one, place) in work.iter().zip(&mut places) {
        if let Some(key) = one.command.only_key.and_then(|at| one.args.get(at)) {
            let (slot, hash) = (Slot::of(key), node.hasher().hash(key));
            *place = Some((slot, hash));
            shard.prefetch_slot(slot, hash);
        }
    }
    for (one, place) in work.iter().zip(&places) {
        if let Some((slot, hash)) = *place {
            shard.prefetch_entry(slot, one.db, hash);
        }
    }
    places
}

/// Runs a command on the one core that it needs.
pub(crate) fn run(
    node: &Node,
    state: &mut CoreState,
    settings: &Settings,
    now_ms: i64,
    work: &Work<'_, '_>,
    place: Place,
    out: &mut Out,
) -> Result<Outcome, CommandError> {
    let Some(run) = work.command.run.filter(|_| work.command.command.arity.accepts(work.args.len())) else {
        return Ok(Outcome::Refused);
    };
    let mut keyspace = Keyspace::one(&mut state.shard, settings, work.db, BEFORE_ALL_MS);
    keyspace.show_time(now_ms);
    match (place, work.command.only_key.and_then(|at| work.args.get(at))) {
        (Some((slot, hash)), Some(key)) => {
            keyspace.build_slot(slot)?;
            keyspace.hint(key, slot, hash);
        }
        // SORT with BY or GET: what it looks at does not stand in it.
        _ if work.command.command.has_unknown_keys() => keyspace.build_all()?,
        _ => {
            let mut slots: SmallVec<[Slot; 8]> = SmallVec::new();
            for spec in work.command.command.keys {
                // What cannot be found in the arguments the command itself will refuse.
                drop(spec.positions(&work.args, &mut |at: usize| slots.push(Slot::of(work.args[at]))));
            }
            slots.iter().try_for_each(|slot| keyspace.build_slot(*slot))?;
        }
    }
    let caller = Caller::default();
    // Effects have no randomness left; should a command draw all the same, every replay draws alike.
    let (hasher, rng) = (node.hasher(), Rng::seeded(0));
    let mut ctx = Context { keyspace, out, settings, hasher, rng, caller };
    Ok(execute_fn(&mut ctx, run, &work.args))
}

/// Runs a command that needs several cores.
fn run_wide(
    node: &Arc<Node>,
    command: &Registered,
    db: usize,
    args: &[&[u8]],
) -> Result<Outcome, CommandError> {
    let who = Who { id: 0, db, resp3: false, no_touch: false, remembers: false, identity: Arc::new(Replay) };
    let mut held = node.hold(|node| node.cores_of(command, args));
    // Memory is not looked at inside of a transaction.
    held.begin_transaction();
    held.replay();
    // The command would be refused, which is no reason to go on without it.
    held.build_for(command, args)?;
    let outcome = held.run(&who, command, args, false, &mut Out::new(false));
    held.end_transaction();
    Ok(outcome)
}

/// Whom commands of a log come from, should one of them be slow enough for the slow log.
struct Replay;

impl Identity for Replay {
    fn address(&self) -> String {
        "log".to_owned()
    }

    fn name(&self) -> String {
        "replay".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn a_replay_that_is_called_off_ends() {
        let store = Store::memory();
        let log = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n".repeat(10);
        let replay =
            |progress: &Progress| commands(store.node(), &"log".into(), Reader::new(&log, 0), None, progress);
        let progress = Progress::default();
        assert_eq!(replay(&progress).unwrap().commands, 10);
        progress.call_off();
        assert!(matches!(replay(&progress), Err(ReplayError::GivenUp(_))));
    }
}
