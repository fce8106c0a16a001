//! Blocked clients: serving those who wait for a key when it changes.
//!
//! A waiting command is served where the change happened, under the batons that are held there, before anybody
//! else can see the key. Should it need a core that is not held (BLMOVE to a key elsewhere), it is deferred: whoever
//! held the batons runs it right after, with all that it needs. Those behind it in the line wait until then.
//!
//! What is deferred lies in one queue of the node. Work can be deferred wherever a baton is let go (the work of its inbox
//! may be anything), so everybody who has let go of the last baton calls [`Node::settle`]: nothing stays behind.

use crate::baton::Holding;
use crate::caught::execute_caught;
use crate::held::{May, Who};
use crate::journal;
use crate::node::{CoreState, Cores, Node};
use crate::registry::Registered;
use baton_engine::command::{Begin, Flag, KeyFlag};
use baton_engine::commands::streams::args_to_wait_with;
use baton_engine::context::{Caller, Context};
use baton_engine::execute::Outcome;
use baton_engine::keyspace::shard::ReadyKey;
use baton_engine::keyspace::waiting::Waiter;
use baton_engine::keyspace::{KeyType, Keyspace, Shard, ShardList};
use baton_engine::random::Rng;
use baton_engine::reply::Out;
use baton_engine::settings::Settings;
use baton_engine::slot::Slot;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The states of several cores as the engine sees them.
pub(crate) struct Shards<'s, 'n>(pub &'s mut [Holding<'n, CoreState>]);

impl ShardList for Shards<'_, '_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn get(&self, at: usize) -> &Shard {
        &self.0[at].shard
    }

    fn get_mut(&mut self, at: usize) -> &mut Shard {
        &mut self.0[at].shard
    }
}

/// The state of one core whose baton somebody else's frame holds.
pub(crate) struct Single<'s>(pub &'s mut CoreState);

impl ShardList for Single<'_> {
    fn count(&self) -> usize {
        1
    }

    fn get(&self, _: usize) -> &Shard {
        &self.0.shard
    }

    fn get_mut(&mut self, _: usize) -> &mut Shard {
        &mut self.0.shard
    }
}

/// A waiter for a command that is about to wait: its keys are those that the command would take from or read.
pub(crate) fn waiter(
    who: &Who,
    command: &Registered,
    args: &[&[u8]],
    keyspace: &Keyspace<'_>,
    may: May,
    answer: Box<dyn Fn(Vec<u8>) + Send + Sync>,
) -> Option<Arc<Waiter>> {
    let positions = command.command.key_positions(args).ok()?;
    let takes = |flags: &[KeyFlag]| flags.contains(&KeyFlag::Access);
    let keys: Vec<Box<[u8]>> = positions
        .iter()
        .filter(|(_, spec)| takes(spec.flags) && spec.begin != Begin::Unknown)
        .map(|(at, _)| args[*at].into())
        .collect();
    let (run, wants) = (command.run?, command.waits_for());
    let args = match wants {
        KeyType::Stream => args_to_wait_with(keyspace, args),
        _ => args.iter().map(|arg| Box::from(*arg)).collect(),
    };
    let mut waiter = Waiter::new(who.id, args, run, who.db, who.resp3, wants, keys, may, answer);
    // A group that goes with its stream leaves nothing to wait for.
    waiter.needs_keys = wants == KeyType::Stream && command.has(Flag::Write);
    waiter.remembers = who.remembers && command.has(Flag::ReadOnly);
    Some(Arc::new(waiter))
}

/// What is left to do for a waiter under the batons of all its keys.
#[derive(Debug)]
pub(crate) enum Deferred {
    /// Run it: it has been claimed, but its command needs a core that was not held.
    Run(Arc<Waiter>),
    /// It was served by somebody who did not hold all its keys: take it out of the other lines.
    Leave(Arc<Waiter>),
}

/// Serves those who wait for keys that changed in the held states. The caller lets go and then settles.
pub(crate) fn serve(
    node: &Arc<Node>,
    states: &mut [Holding<'_, CoreState>],
    settings: &Settings,
    now_ms: i64,
) {
    if states.iter().any(|state| !state.shard.ready.is_empty()) {
        serve_list(node, &mut Shards(states), settings, now_ms);
    }
}

/// As [`serve`], for one state.
#[inline]
pub(crate) fn serve_one(node: &Arc<Node>, state: &mut CoreState, settings: &Settings, now_ms: i64) {
    if !state.shard.ready.is_empty() {
        serve_list(node, &mut Single(state), settings, now_ms);
    }
}

#[cold]
fn serve_list(node: &Arc<Node>, list: &mut dyn ShardList, settings: &Settings, now_ms: i64) {
    loop {
        let mut ready: SmallVec<[ReadyKey; 8]> = SmallVec::new();
        for at in 0..list.count() {
            ready.extend(std::mem::take(&mut list.get_mut(at).ready));
        }
        if ready.is_empty() {
            return;
        }
        for key in ready {
            serve_key(node, list, settings, now_ms, &key);
        }
    }
}

/// Serves the line of one key, first come first served, until the key gives no more.
fn serve_key(node: &Arc<Node>, list: &mut dyn ShardList, settings: &Settings, now_ms: i64, key: &ReadyKey) {
    let line: Vec<Arc<Waiter>> = {
        let keyspace = Keyspace::many(list, settings, key.key.0, now_ms);
        let waiting = keyspace.shard(key.slot).slot(key.slot).and_then(|data| data.waiting.as_ref());
        waiting.and_then(|waiting| waiting.blocked.get(&key.key)).into_iter().flatten().cloned().collect()
    };
    for waiter in line {
        let usable = Keyspace::many(list, settings, key.key.0, now_ms).kind(&key.key.1);
        if usable != Some(waiter.wants) && !waiter.needs_keys {
            continue;
        }
        if !waiter.claim() {
            if waiter.is_done() {
                continue;
            }
            // Served under other batons at this moment. Those behind it must not overtake it.
            return waiter.pass();
        }
        match reach(node, list, &waiter) {
            Reach::All => run_claimed(node, list, settings, now_ms, &waiter),
            Reach::Sources => {
                run_claimed(node, list, settings, now_ms, &waiter);
                node.deferred.push(Deferred::Leave(waiter));
            }
            Reach::Targets => {
                waiter.pass();
                return node.deferred.push(Deferred::Run(waiter));
            }
        }
    }
}

/// How much of what a waiter's command touches is held.
enum Reach {
    All,
    /// All but some keys that it would take from: those are as if empty. (A reader of streams has to see all of them.)
    Sources,
    /// Not the key that it writes to.
    Targets,
}

fn reach(node: &Node, list: &dyn ShardList, waiter: &Waiter) -> Reach {
    let args: SmallVec<[&[u8]; 8]> = waiter.args.iter().map(|arg| &**arg).collect();
    let Some(command) = args.first().and_then(|name| node.registry.find(name)) else { return Reach::All };
    let mut reach = Reach::All;
    for (at, spec) in command.command.key_positions(&args).unwrap_or_default() {
        let slot = Slot::of(args[at]);
        if (0..list.count()).any(|n| list.get(n).owns(slot)) {
            continue;
        }
        if !spec.flags.contains(&KeyFlag::Delete) {
            return Reach::Targets;
        }
        reach = Reach::Sources;
    }
    reach
}

/// Runs the command of a claimed waiter and answers it, or lets it wait on.
fn run_claimed(
    node: &Arc<Node>,
    list: &mut dyn ShardList,
    settings: &Settings,
    now_ms: i64,
    waiter: &Arc<Waiter>,
) {
    let args: SmallVec<[&[u8]; 8]> = waiter.args.iter().map(|arg| &**arg).collect();
    let mut out = Out::new(waiter.resp3);
    if let Err(refusal) = (waiter.may)(&args) {
        out.error(&refusal);
        Keyspace::many(list, settings, waiter.db, now_ms).stop_waiting(waiter);
        waiter.finish();
        return (waiter.answer)(out.into_bytes());
    }
    // What it changes is its client's doing, not that of whoever holds the batons.
    let holder = list.get(0).caller;
    (0..list.count()).for_each(|at| list.get_mut(at).caller = waiter.client_id);
    let seed = list.get_mut(0).rng.next_u64();
    let start = node.now_ns();
    let mut ctx = Context {
        keyspace: Keyspace::many(list, settings, waiter.db, now_ms),
        out: &mut out,
        settings,
        hasher: node.hasher(),
        rng: Rng::seeded(seed),
        caller: Caller { may_block: true, id: waiter.client_id, ..Caller::default() },
    };
    let outcome = execute_caught(&mut ctx, waiter.run, &args);
    if waiter.remembers && matches!(outcome, Ok(Outcome::Done)) {
        remember(&mut ctx.keyspace, waiter);
    }
    ctx.keyspace.for_each_shard(|shard| shard.caller = holder);
    waiter.spent_ns.fetch_add(node.now_ns().saturating_sub(start), Ordering::Relaxed);
    // A panic is an answer too: whoever waits must not wait for ever.
    if let Ok(Outcome::Blocked { .. }) = outcome {
        waiter.release();
        return;
    }
    ctx.keyspace.stop_waiting(waiter);
    waiter.finish();
    for at in 0..list.count() {
        node.publish_events(list.get_mut(at), settings);
    }
    for at in 0..list.count() {
        // The answer may leave from now on, so what it speaks of must be in the log.
        node.journal().push(&mut list.get_mut(at).effects);
    }
    (waiter.answer)(out.into_bytes());
}

/// Remembers that a client has read its keys, as far as they are held: the others were as if empty, and it was told nothing of them.
#[cold]
fn remember(keyspace: &mut Keyspace<'_>, waiter: &Waiter) {
    for key in &waiter.keys {
        let slot = keyspace.slot(key);
        if keyspace.shard(slot).owns(slot) {
            keyspace.remember(key, waiter.client_id);
        }
    }
}

/// Does what could not be done under the batons that were held before. No baton may be held here.
#[cold]
pub(crate) fn settle(node: &Arc<Node>) {
    // Those who are answered see to what their commands left in the log.
    journal::for_others(|| {
        while let Some(deferred) = node.deferred.pop() {
            settle_one(node, &deferred);
        }
    });
}

fn settle_one(node: &Arc<Node>, deferred: &Deferred) {
    let (Deferred::Run(waiter) | Deferred::Leave(waiter)) = deferred;
    let mut held = node.hold(|node| cores_of(node, waiter));
    let (settings, now_ms) = (node.settings().clone(), held.now_ms());
    held.with_list(|list| {
        if let Deferred::Run(waiter) = deferred {
            run_claimed(node, list, &settings, now_ms, waiter);
        }
        let mut keyspace = Keyspace::many(list, &settings, waiter.db, now_ms);
        if waiter.is_done() {
            keyspace.stop_waiting(waiter);
        }
        if waiter.was_passed() {
            keyspace.look_again(waiter);
        }
    });
    held.let_go();
}

/// The cores of all keys of a waiter's command.
pub(crate) fn cores_of(node: &Node, waiter: &Waiter) -> Cores {
    let args: SmallVec<[&[u8]; 8]> = waiter.args.iter().map(|arg| &**arg).collect();
    match args.first().and_then(|name| node.registry.find(name)) {
        Some(command) => node.cores_of(command, &args),
        None => node.all_cores(),
    }
}
