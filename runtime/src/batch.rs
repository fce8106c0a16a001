//! Batches: what one read of a socket brought, grouped by core and run group by group.
//!
//! If the batons of all cores that a batch needs are free, and these are few or one thread runs nearly all commands, they are
//! taken and the commands run in their order, right here, whoever's cores they are. Else for each group: take the core's baton if it is free and run the group
//! right here; if it is taken, send the group to the core's inbox, where it is run before the baton is let go. The replies
//! are put back into the order of the commands.
//!
//! Commands over several slots (MSET, DEL of many keys) are run in their place, together with those right before and
//! after them: the batons of all their keys are taken once for the whole stretch, not once per command.

use crate::baton::Holding;
use crate::blocked;
use crate::caught::{self, execute_for};
use crate::held::{Cost, SEALED, Who, account};
use crate::journal;
use crate::node::{CoreState, Cores, Node};
use crate::registry::Registered;
use crate::slots::SlotMap;
use baton_engine::command::Flag;
use baton_engine::context::{Caller, Context};
use baton_engine::error::CommandError;
use baton_engine::execute::{Outcome, arity_error};
use baton_engine::keyspace::Keyspace;
use baton_engine::random::Rng;
use baton_engine::reply::Out;
use baton_engine::settings::Settings;
use baton_engine::slot::Slot;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

/// Commands whose memory is asked for at once: enough to keep the processor's line buffers busy.
const WINDOW: usize = 32;

/// Replies that a batch collects before it stops.
const REPLIES_MAX: usize = 256 * 1024;

/// Commands over several cores that are run before anybody looks at how long their replies are.
const GROUPED_MAX: usize = 128;

/// Cores whose batons are held at once for commands of one key each. With more of them at least one is likely to be taken,
/// and running group by group holds each for a shorter time. Not so while one thread runs nearly all commands: then all are.
const TOGETHER_CORES: usize = 4;

/// For so many nothing has to be allocated.
const TOGETHER_INLINE: usize = 8;

/// Commands that are run under batons held at once: nobody else should wait long for them.
const TOGETHER_CALLS: usize = 128;

/// How often a baton is tried before its work is sent: about as long as a short batch holds it. Sending costs more, as its
/// reply has to wake this thread.
const TRIES: usize = 40;

/// Keys whose batons are held at once for commands over several slots: nobody else should wait long for them.
const WIDE_KEYS_MAX: usize = 1024;

/// So many commands of one key in a row are worth their own grouping, between others over several slots.
const NARROW_MIN: usize = 16;

/// One command of a batch: it works on the data, on keys that its arguments name, and does not block.
#[derive(Clone, Copy)]
pub struct Call<'n, 'b> {
    /// Which command.
    pub command: &'n Registered,
    /// Its arguments, the name first.
    pub args: &'b [&'b [u8]],
    /// Which argument is its only key; 0 if it has several.
    only_key: usize,
    /// The slot of its only key.
    slot: Slot,
}

impl<'n, 'b> Call<'n, 'b> {
    /// A command for a batch, or `None` if it cannot be part of one: it blocks, works on the node or on all shards, or
    /// does not say which its keys are.
    #[inline]
    pub fn new(command: &'n Registered, args: &'b [&'b [u8]]) -> Option<Self> {
        if !command.batches {
            return None;
        }
        let only_key = match command.only_key {
            Some(at) => at,
            None => only_key_of(command, args)?,
        };
        let slot = if only_key > 0 { Slot::of(args.get(only_key)?) } else { Slot::FIRST };
        Some(Self { command, args, only_key, slot })
    }

    /// Whether its keys may be in several slots.
    #[inline]
    fn is_wide(&self) -> bool {
        self.only_key == 0
    }

    /// Its only key.
    #[inline]
    fn key(&self) -> &'b [u8] {
        self.args.get(self.only_key).copied().unwrap_or_default()
    }
}

/// The argument that is the only key of a command that may have several; 0 if it has several, none if it has none or
/// they cannot be told.
fn only_key_of(command: &Registered, args: &[&[u8]]) -> Option<usize> {
    let (mut count, mut last) = (0, 0);
    for spec in command.command.keys {
        spec.positions(args, &mut |at| (count, last) = (count + 1, at)).ok()?;
    }
    match count {
        0 => None,
        1 => Some(last),
        _ => Some(0),
    }
}

/// By core, the places of its commands in the batch.
type Groups = SmallVec<[Vec<u32>; 8]>;

/// Replies of a group, one after the other, and where each ends.
#[derive(Debug, Default)]
struct Replies {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// The commands have left something in the log.
    journaled: bool,
}

/// A group on its way through another core's inbox.
struct Sent {
    /// The places of its commands in the batch.
    places: Vec<u32>,
    reply: oneshot::Receiver<Replies>,
}

/// A batch that is not answered yet.
struct Open {
    /// For every command: which of `buffers` has its reply, and where.
    spans: Vec<Option<(u32, usize, usize)>>,
    buffers: Vec<Vec<u8>>,
    sent: Vec<Sent>,
}

impl Node {
    /// Runs a batch for a connection of core `home` and appends the replies to `out`, in order. Returns how many
    /// commands were run: all, or at least one if their replies are so long that the client had better take some first.
    pub async fn run_batch(
        self: &Arc<Self>,
        who: &Who,
        home: usize,
        calls: &[Call<'_, '_>],
        out: &mut Vec<u8>,
    ) -> usize {
        let full = out.len() + REPLIES_MAX;
        let mut done = self.run_batch_now(who, home, calls, out);
        while done < calls.len() && out.len() < full {
            let rest = &calls[done..];
            match narrow_stretch(rest) {
                0 => done += self.run_wide(who, rest, out),
                stretch => {
                    let part = stretch.min(GROUPED_MAX);
                    self.run_grouped(who, home, &rest[..part], out).await;
                    done += part;
                }
            }
        }
        done
    }

    /// As [`run_batch`](Self::run_batch), but only the first commands for which nobody has to be waited for.
    pub fn run_batch_now(
        self: &Arc<Self>,
        who: &Who,
        home: usize,
        calls: &[Call<'_, '_>],
        out: &mut Vec<u8>,
    ) -> usize {
        let (mut done, full) = (0, out.len() + REPLIES_MAX);
        while done < calls.len() && out.len() < full {
            let rest = &calls[done..];
            let more = match narrow_stretch(rest) {
                0 => self.run_wide(who, rest, out),
                stretch => self.run_together(who, home, &rest[..stretch], out),
            };
            if more == 0 {
                break;
            }
            done += more;
        }
        done
    }

    /// Runs the first commands of a batch that begins with one over several slots, under the batons of all their keys.
    /// Returns how many: at least one.
    fn run_wide(self: &Arc<Self>, who: &Who, calls: &[Call<'_, '_>], out: &mut Vec<u8>) -> usize {
        let keys = WideKeys::of(self, calls);
        let mut held = self.hold(|node| keys.cores(node));
        let mut replies = Out::with_buffer(std::mem::take(out), who.resp3);
        let (mut done, mut asked, mut at) = (0, 0, 0);
        let full = replies.len() + REPLIES_MAX;
        for (call, count) in calls.iter().zip(&keys.counts) {
            // The next keys are on their way while these are worked on.
            while asked < keys.keys.len().min(at + WINDOW) {
                let part = &keys.keys[asked..keys.keys.len().min(asked + WINDOW)];
                held.prefetch(who.db, part);
                asked += part.len();
            }
            at += count;
            held.run(who, call.command, call.args, false, &mut replies);
            held.serve();
            done += 1;
            if replies.len() >= full {
                break;
            }
        }
        *out = replies.into_bytes();
        held.finish();
        done
    }

    /// The fast path: the batons of all cores that the commands need are free. Returns how many were run: all, or those
    /// before the first whose slot has just moved, or as many as have long replies, or none.
    fn run_together(
        self: &Arc<Self>,
        who: &Who,
        home: usize,
        calls: &[Call<'_, '_>],
        out: &mut Vec<u8>,
    ) -> usize {
        let calls = &calls[..calls.len().min(TOGETHER_CALLS)];
        let Some(mut states) = self.take_all(calls) else { return 0 };
        let mut replies = Out::with_buffer(std::mem::take(out), who.resp3);
        let done = run_group(self, &mut states, home, who, calls, &mut replies, None);
        drop(states);
        *out = replies.into_bytes();
        self.settle();
        done
    }

    /// The states of the cores that own the keys of these commands, in ascending order, unless they are many or taken.
    #[inline]
    fn take_all(&self, calls: &[Call<'_, '_>]) -> Option<Together<'_>> {
        let most = if self.has_one_thread.load(Ordering::Relaxed) { usize::MAX } else { TOGETHER_CORES };
        let mut cores: SmallVec<[usize; TOGETHER_INLINE]> = SmallVec::new();
        for call in calls {
            let owner = self.slots.owner(call.slot);
            if let Err(place) = cores.binary_search(&owner) {
                if cores.len() == most {
                    return None;
                }
                cores.insert(place, owner);
            }
        }
        let mut states = SmallVec::new();
        for core in &cores {
            states.push(self.try_for_a_while(*core)?);
        }
        Some(Together { slots: &self.slots, cores, states })
    }

    /// Takes the baton of a core unless it is taken for longer than a short batch takes.
    #[inline]
    fn try_for_a_while(&self, core: usize) -> Option<Holding<'_, CoreState>> {
        let baton = self.baton(core);
        baton.try_take().or_else(|| {
            (0..TRIES).find_map(|_| {
                std::hint::spin_loop();
                baton.try_take()
            })
        })
    }

    /// The commands belong to several cores, or their core is busy.
    async fn run_grouped(
        self: &Arc<Self>,
        who: &Who,
        home: usize,
        calls: &[Call<'_, '_>],
        out: &mut Vec<u8>,
    ) {
        let mut open = Open { spans: vec![None; calls.len()], buffers: Vec::new(), sent: Vec::new() };
        let mut left: Vec<u32> = (0..calls.len() as u32).collect();
        // More than once only when a slot moved between the grouping and the running.
        while !left.is_empty() {
            self.start_groups(who, home, calls, &left, &mut open);
            for sent in std::mem::take(&mut open.sent) {
                match sent.reply.await {
                    Ok(replies) => {
                        if replies.journaled {
                            journal::note_push();
                        }
                        open.keep(&sent.places, replies);
                    }
                    Err(_) => open.give_up(who, &sent.places),
                }
            }
            left.retain(|place| open.spans[*place as usize].is_none());
        }
        for (buffer, start, end) in open.spans.into_iter().flatten() {
            out.extend_from_slice(&open.buffers[buffer as usize][start..end]);
        }
    }

    fn start_groups(
        self: &Arc<Self>,
        who: &Who,
        home: usize,
        calls: &[Call<'_, '_>],
        left: &[u32],
        open: &mut Open,
    ) {
        let mut groups = self.group(calls, left);
        // The own core first: its baton is the most likely to be free, and the others may become free meanwhile.
        for core in (home..self.cores()).chain(0..home.min(self.cores())) {
            let places = std::mem::take(&mut groups[core]);
            if places.is_empty() {
                continue;
            }
            let of_group: SmallVec<[Call<'_, '_>; WINDOW]> =
                places.iter().map(|place| calls[*place as usize]).collect();
            let Some(mut state) = self.baton(core).try_take() else {
                let reply = self.send_group(who, core, &of_group);
                open.sent.push(Sent { places, reply });
                continue;
            };
            let mut replies = Out::new(who.resp3);
            let mut ends = Vec::with_capacity(places.len());
            let own = &mut (core, &mut *state);
            run_group(self, own, home, who, &of_group, &mut replies, Some(&mut ends));
            drop(state);
            open.keep(&places, Replies { bytes: replies.into_bytes(), ends, journaled: false });
        }
        self.settle();
    }

    /// The commands of each core. All commands of one slot are in one group even when the slot moves at this very
    /// moment: in two groups they could be run in the wrong order.
    fn group(&self, calls: &[Call<'_, '_>], left: &[u32]) -> Groups {
        let moves = self.slots.moves();
        let groups = self.group_by(calls, left, |slot| self.slots.owner(slot));
        if self.slots.was_still(moves) {
            return groups;
        }
        let mut owners = BTreeMap::new();
        self.group_by(calls, left, |slot| *owners.entry(slot).or_insert_with(|| self.slots.owner(slot)))
    }

    fn group_by(&self, calls: &[Call<'_, '_>], left: &[u32], mut owner: impl FnMut(Slot) -> usize) -> Groups {
        let mut groups = Groups::new();
        groups.resize_with(self.cores(), Vec::new);
        for place in left {
            groups[owner(calls[*place as usize].slot)].push(*place);
        }
        groups
    }

    /// Copies a group and leaves it in the inbox of its core.
    fn send_group(
        self: &Arc<Self>,
        who: &Who,
        core: usize,
        calls: &[Call<'_, '_>],
    ) -> oneshot::Receiver<Replies> {
        let mut bytes: Vec<u8> = Vec::new();
        let mut ends: Vec<usize> = Vec::new();
        let mut owned: Vec<(usize, usize, usize, Slot)> = Vec::new();
        for call in calls {
            for arg in call.args {
                bytes.extend_from_slice(arg);
                ends.push(bytes.len());
            }
            owned.push((call.command.id, call.args.len(), call.only_key, call.slot));
        }
        let (done, reply) = oneshot::channel();
        let (node, who) = (self.clone(), who.clone());
        self.baton(core).send(Box::new(move |state| {
            let mut starts = std::iter::once(0).chain(ends.iter().copied());
            let args: Vec<&[u8]> =
                ends.iter().map(|end| &bytes[starts.next().unwrap_or_default()..*end]).collect();
            let mut at = 0;
            let call = |&(id, count, only_key, slot): &(usize, usize, usize, Slot)| {
                at += count;
                Call { command: node.registry.get(id), args: &args[at - count..at], only_key, slot }
            };
            let calls: Vec<Call<'_, '_>> = owned.iter().map(call).collect();
            state.book.inbox += owned.len() as u64;
            let mut replies = Out::new(who.resp3);
            let mut reply_ends = Vec::with_capacity(owned.len());
            // What the holder's own commands have left counts for the holder, what these leave for the asker.
            state.push_effects();
            let journaled = journal::for_others(|| {
                let own = &mut (core, &mut *state);
                run_group(&node, own, core, &who, &calls, &mut replies, Some(&mut reply_ends));
                // The replies may leave from now on, so what they speak of must be in the log.
                state.push_effects();
            });
            // The asker may be gone; its commands have been run all the same.
            drop(done.send(Replies { bytes: replies.into_bytes(), ends: reply_ends, journaled }));
        }));
        reply
    }
}

/// The keys of the commands that are run under the same batons, in order.
struct WideKeys {
    keys: Vec<(Slot, u64)>,
    /// How many each command has.
    counts: SmallVec<[usize; 16]>,
}

impl WideKeys {
    /// Those of the first commands: up to where a long stretch begins that is better off without all these batons.
    fn of(node: &Node, calls: &[Call<'_, '_>]) -> Self {
        let mut keys = Vec::with_capacity(64);
        let mut counts = SmallVec::new();
        let hashed = |key: &[u8]| (Slot::of(key), node.hasher().hash(key));
        for (at, call) in calls.iter().enumerate() {
            let before = keys.len();
            if call.is_wide() {
                for spec in call.command.command.keys {
                    // They have been found once already: without an error.
                    let _ = spec.positions(call.args, &mut |at| keys.push(hashed(call.args[at])));
                }
            } else if narrow_stretch(&calls[at..]) >= NARROW_MIN {
                break;
            } else {
                keys.push((call.slot, node.hasher().hash(call.key())));
            }
            counts.push(keys.len() - before);
            if keys.len() >= WIDE_KEYS_MAX {
                break;
            }
        }
        Self { keys, counts }
    }

    /// The cores that own them at this moment.
    fn cores(&self, node: &Node) -> Cores {
        let mut cores = Cores::new();
        for (slot, _) in &self.keys {
            let owner = node.slots.owner(*slot);
            if let Err(place) = cores.binary_search(&owner) {
                cores.insert(place, owner);
            }
        }
        cores
    }
}

/// How many commands come before the first over several slots.
fn narrow_stretch(calls: &[Call<'_, '_>]) -> usize {
    calls.iter().position(Call::is_wide).unwrap_or(calls.len())
}

impl Open {
    /// Keeps the replies of a group: of its first commands, as many as were run.
    fn keep(&mut self, places: &[u32], replies: Replies) {
        let buffer = self.buffers.len() as u32;
        let mut start = 0;
        for (place, end) in places.iter().zip(replies.ends) {
            self.spans[*place as usize] = Some((buffer, start, end));
            start = end;
        }
        self.buffers.push(replies.bytes);
    }

    /// The group broke down outside of its commands: how many of them were run nobody knows.
    #[cold]
    fn give_up(&mut self, who: &Who, places: &[u32]) {
        who.identity.broken();
        let mut error = Out::new(who.resp3);
        caught::write_error(&mut error);
        let bytes = error.into_bytes();
        places.iter().for_each(|place| {
            self.spans[*place as usize] = Some((self.buffers.len() as u32, 0, bytes.len()));
        });
        self.buffers.push(bytes);
    }
}

/// What a group is run on: the state of one core, or of some. No slot of theirs moves while they are held.
trait States {
    /// Which of the states owns a slot; none if the slot has moved away.
    fn find(&self, slot: Slot) -> Option<usize>;

    /// The number of a core, and its state.
    fn at(&mut self, place: usize) -> (usize, &mut CoreState);
}

impl States for (usize, &mut CoreState) {
    #[inline]
    fn find(&self, slot: Slot) -> Option<usize> {
        self.1.shard.owns(slot).then_some(0)
    }

    #[inline]
    fn at(&mut self, _: usize) -> (usize, &mut CoreState) {
        (self.0, &mut *self.1)
    }
}

/// The states of some cores, in ascending order.
struct Together<'n> {
    slots: &'n SlotMap,
    cores: SmallVec<[usize; TOGETHER_INLINE]>,
    states: SmallVec<[Holding<'n, CoreState>; TOGETHER_INLINE]>,
}

impl States for Together<'_> {
    #[inline]
    fn find(&self, slot: Slot) -> Option<usize> {
        // One that is not held may change at any moment, but never to one that is.
        self.cores.binary_search(&self.slots.owner(slot)).ok()
    }

    #[inline]
    fn at(&mut self, place: usize) -> (usize, &mut CoreState) {
        (self.cores[place], &mut self.states[place])
    }
}

/// Runs the commands of a group for a connection of core `home`. Stops before a command whose slot has moved away;
/// returns how many were run. `ends` receives where each reply ends in `out`.
fn run_group(
    node: &Arc<Node>,
    states: &mut impl States,
    home: usize,
    who: &Who,
    calls: &[Call<'_, '_>],
    out: &mut Out,
    mut ends: Option<&mut Vec<usize>>,
) -> usize {
    let settings = node.settings();
    let now_ms = node.now_ms();
    let mut clock = node.clock.raw();
    let mut done = 0;
    let mut keys = [(0, 0); WINDOW];
    let full = if ends.is_none() { out.len() + REPLIES_MAX } else { usize::MAX };
    for window in calls.chunks(WINDOW) {
        let here = prefetch(node, states, who.db, window, &mut keys);
        for (call, &(place, hash)) in window[..here].iter().zip(&keys) {
            let (core, state) = states.at(place);
            state.book.borrowed += u64::from(core != home);
            state.shard.caller = who.id;
            let start = out.len();
            let outcome = run_call(node, state, core, who, call, hash, out, &settings, now_ms);
            if outcome.is_none_or(|outcome| outcome == Outcome::Refused) {
                state.book.note_error(&out.as_bytes()[start..]);
            }
            let end = node.clock.raw();
            match outcome {
                Some(outcome) => {
                    let ns = node.clock.delta_as_nanos(clock, end);
                    let cost = Cost { ns, reply_bytes: out.len() - start };
                    account(node, state, who, call.command, call.args, outcome, cost);
                }
                None => state.book.command(call.command.id).rejected += 1,
            }
            if who.remembers && call.command.has(Flag::ReadOnly) {
                state.remember(&settings, call.key(), who.id);
            }
            clock = end;
            node.publish_events(&mut state.shard, &settings);
            blocked::serve_one(node, state, &settings, now_ms);
            if let Some(ends) = &mut ends {
                ends.push(out.len());
            }
            done += 1;
            if out.len() >= full {
                return done;
            }
        }
        if here < window.len() {
            break;
        }
    }
    done
}

/// Finds out for each command which state owns its key, and the hash of the key, and asks for the memory behind the keys, so
/// that the commands find it there. Returns how many come before the first whose slot has moved away.
#[inline]
fn prefetch(
    node: &Node,
    states: &mut impl States,
    db: usize,
    window: &[Call<'_, '_>],
    keys: &mut [(usize, u64); WINDOW],
) -> usize {
    let mut here = 0;
    for (call, key) in window.iter().zip(keys.iter_mut()) {
        let Some(place) = states.find(call.slot) else { break };
        *key = (place, node.hasher().hash(call.key()));
        states.at(place).1.shard.prefetch_slot(call.slot, key.1);
        here += 1;
    }
    // A single command waits for its memory either way.
    if window.len() == 1 {
        return here;
    }
    let window = &window[..here];
    for (call, (place, hash)) in window.iter().zip(keys.iter()) {
        states.at(*place).1.shard.prefetch_entry(call.slot, db, *hash);
    }
    let inside = window.iter().zip(keys.iter()).filter(|(call, _)| call.command.looks_inside);
    for (call, (place, hash)) in inside {
        let behind = call.args.get(call.only_key + 1..).unwrap_or_default();
        states.at(*place).1.shard.prefetch_inside((call.slot, db, *hash), call.key(), behind);
    }
    here
}

/// Runs one command; `None` when it was rejected before it ran.
#[inline]
#[allow(clippy::too_many_arguments, reason = "the parts of a run, which live in different owners")]
fn run_call(
    node: &Arc<Node>,
    state: &mut CoreState,
    core: usize,
    who: &Who,
    call: &Call<'_, '_>,
    hash: u64,
    out: &mut Out,
    settings: &Settings,
    now_ms: i64,
) -> Option<Outcome> {
    let (command, args) = (call.command, call.args);
    let Some(run) = command.run.filter(|_| command.command.arity.accepts(args.len())) else {
        out.error(&arity_error(command.command, args));
        return None;
    };
    if let Some(refusal) = node.journal().refusal().filter(|_| command.has(Flag::Write)) {
        out.error(&refusal);
        return None;
    }
    if command.has(Flag::DenyOom) && node.over_limit(state, settings, core) {
        node.oom_refusals.fetch_add(1, Ordering::Relaxed);
        out.error(&CommandError::OutOfMemory);
        return None;
    }
    if state.sealed && command.has(Flag::Write) {
        out.error(&SEALED);
        return None;
    }
    if let Err(damage) = state.shard.build_slot(call.slot, settings, now_ms) {
        out.error(&damage);
        return None;
    }
    let rng = Rng::seeded(state.shard.rng.next_u64());
    let mut keyspace = Keyspace::one(&mut state.shard, settings, who.db, now_ms);
    keyspace.set_no_touch(who.no_touch);
    node.set_expiry_rules(&mut keyspace, command.has(Flag::Write));
    keyspace.hint(call.key(), call.slot, hash);
    let caller = Caller { no_touch: who.no_touch, id: who.id, ..Caller::default() };
    let hasher = node.hasher();
    Some(execute_for(who, &mut Context { keyspace, out, settings, hasher, rng, caller }, run, args))
}
