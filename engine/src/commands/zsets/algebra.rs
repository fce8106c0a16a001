//! Union, intersection and difference of sorted sets and of sets, whose members have the score 1.

use super::{collect, store, write_entry, write_len};
use crate::command::Args;
use crate::context::Context;
use crate::error::CommandError;
use crate::hash::Hasher;
use crate::keyspace::{Keyspace, ValueRef};
use crate::number::{parse_f64, parse_i64};
use crate::reply::Reply;
use crate::types::listpack::{IntText, LpEntry};
use crate::types::set::Set;
use crate::types::zset::ZSet;
use hashbrown::HashTable;
use std::cmp::Ordering;
use std::ops::ControlFlow::{self, Break, Continue};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Union,
    Inter,
    Diff,
}

/// What a command does with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Reply,
    Store,
    Count,
}

/// How the scores of a member in several sets become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    /// A sum of both infinities is 0. A score that is no number loses every comparison, as in Redis.
    fn combine(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Sum => zero_if_nan(a + b),
            Self::Min => {
                if b < a {
                    b
                } else {
                    a
                }
            }
            Self::Max => {
                if b > a {
                    b
                } else {
                    a
                }
            }
        }
    }
}

fn zero_if_nan(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// The arguments from the number of keys on.
struct Query<'a> {
    keys: &'a [&'a [u8]],
    /// One for each key.
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// For counting: where to stop; 0 is nowhere.
    limit: u64,
}

impl<'a> Query<'a> {
    /// Reads the arguments, and looks every key up before the options are read, as Redis does: a key of a wrong
    /// type is the first to be complained about.
    fn parse(
        keyspace: &mut Keyspace<'_>,
        args: &mut Args<'a>,
        operation: Operation,
        purpose: Purpose,
    ) -> Result<Self, CommandError> {
        let numkeys = args.integer()?;
        let numkeys = match usize::try_from(numkeys) {
            Err(_) | Ok(0) if numkeys < 1 => {
                let name = String::from_utf8_lossy(args.name()).to_ascii_lowercase();
                let line = format!("ERR at least 1 input key is needed for '{name}' command");
                return Err(CommandError::owned(line));
            }
            Ok(numkeys) if numkeys <= args.left() => numkeys,
            _ => return Err(CommandError::Syntax),
        };
        let first = args.position();
        let keys = args.all().get(first..first + numkeys).unwrap_or_default();
        args.seek(first + numkeys);
        for key in keys {
            if !matches!(keyspace.read(key), None | Some(ValueRef::ZSet(_) | ValueRef::Set(_))) {
                return Err(CommandError::WrongType);
            }
        }
        let weights = vec![1.0; numkeys];
        let mut query = Self { keys, weights, aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
        query.parse_options(args, operation != Operation::Diff && purpose != Purpose::Count, purpose)?;
        Ok(query)
    }

    fn parse_options(
        &mut self,
        args: &mut Args<'a>,
        has_scores: bool,
        purpose: Purpose,
    ) -> Result<(), CommandError> {
        while args.left() > 0 {
            if has_scores && args.left() > self.keys.len() && args.word("WEIGHTS") {
                for weight in &mut self.weights {
                    *weight = parse_f64(args.required()?)
                        .ok_or(CommandError::text("ERR weight value is not a float"))?;
                }
            } else if has_scores && args.left() > 1 && args.word("AGGREGATE") {
                self.aggregate = if args.word("SUM") {
                    Aggregate::Sum
                } else if args.word("MIN") {
                    Aggregate::Min
                } else if args.word("MAX") {
                    Aggregate::Max
                } else {
                    return Err(CommandError::Syntax);
                };
            } else if purpose == Purpose::Reply && args.word("WITHSCORES") {
                self.with_scores = true;
            } else if purpose == Purpose::Count && args.left() > 1 && args.word("LIMIT") {
                self.limit = parse_i64(args.required()?)
                    .and_then(|limit| u64::try_from(limit).ok())
                    .ok_or(CommandError::text("ERR LIMIT can't be negative"))?;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(())
    }

    /// The sets to combine, in the order of the keys.
    fn inputs<'k>(&self, keyspace: &'k Keyspace<'_>) -> Vec<Input<'k>> {
        let input = |(key, weight): (&&[u8], &f64)| {
            let source = match keyspace.peek(key) {
                Some(ValueRef::ZSet(zset)) => Source::ZSet(zset),
                Some(ValueRef::Set(set)) => Source::Set(set),
                _ => Source::Absent,
            };
            Input { source, weight: *weight }
        };
        self.keys.iter().zip(&self.weights).map(input).collect()
    }
}

/// A set to combine.
#[derive(Clone, Copy)]
enum Source<'k> {
    Absent,
    ZSet(&'k ZSet),
    Set(&'k Set),
}

#[derive(Clone, Copy)]
struct Input<'k> {
    source: Source<'k>,
    weight: f64,
}

/// A member of the result with its score.
type Scored<'k> = (LpEntry<'k>, f64);

impl<'k> Input<'k> {
    fn len(&self) -> usize {
        match self.source {
            Source::Absent => 0,
            Source::ZSet(zset) => zset.len(),
            Source::Set(set) => set.len(),
        }
    }

    /// The score of a member, not weighted.
    fn score(&self, member: &[u8], hasher: &Hasher) -> Option<f64> {
        match self.source {
            Source::Absent => None,
            Source::ZSet(zset) => zset.score(member),
            Source::Set(set) => set.contains(member, hasher).then_some(1.0),
        }
    }

    /// Calls `visit` with each member and its score, not weighted, until it breaks off.
    fn each(&self, mut visit: impl FnMut(LpEntry<'k>, f64) -> ControlFlow<()>) {
        let _ = match self.source {
            Source::Absent => Continue(()),
            Source::ZSet(zset) => zset.iter().try_for_each(|entry| visit(entry.member, entry.score)),
            Source::Set(set) => set.iter().try_for_each(|member| visit(member, 1.0)),
        };
    }
}

pub(super) fn zunion(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    reply(ctx, args, Operation::Union)
}

pub(super) fn zinter(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    reply(ctx, args, Operation::Inter)
}

pub(super) fn zdiff(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    reply(ctx, args, Operation::Diff)
}

fn reply(ctx: &mut Context<'_>, mut args: Args<'_>, operation: Operation) -> Result<Reply, CommandError> {
    let query = Query::parse(&mut ctx.keyspace, &mut args, operation, Purpose::Reply)?;
    let result = run(&query, query.inputs(&ctx.keyspace), operation, ctx.hasher);
    write_len(ctx.out, result.len(), query.with_scores);
    for (member, score) in result {
        write_entry(ctx.out, member, score, query.with_scores);
    }
    Ok(Reply::Written)
}

pub(super) fn zunionstore(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    run_and_store(ctx, args, Operation::Union, "zunionstore")
}

pub(super) fn zinterstore(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    run_and_store(ctx, args, Operation::Inter, "zinterstore")
}

pub(super) fn zdiffstore(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    run_and_store(ctx, args, Operation::Diff, "zdiffstore")
}

fn run_and_store(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    operation: Operation,
    event: &'static str,
) -> Result<Reply, CommandError> {
    let target = args.required()?;
    let query = Query::parse(&mut ctx.keyspace, &mut args, operation, Purpose::Store)?;
    let result = run(&query, query.inputs(&ctx.keyspace), operation, ctx.hasher);
    let zset = collect(&result, ctx.settings, ctx.hasher);
    Ok(store(ctx, target, zset, event, 1))
}

pub(super) fn zintercard(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let query = Query::parse(&mut ctx.keyspace, &mut args, Operation::Inter, Purpose::Count)?;
    let mut inputs = query.inputs(&ctx.keyspace);
    inputs.sort_by_key(Input::len);
    let mut count = 0;
    intersect(&inputs, Aggregate::Sum, ctx.hasher, |_, _| {
        count += 1;
        if count == query.limit { Break(()) } else { Continue(()) }
    });
    Ok(Reply::Integer(count as i64))
}

/// The result in the order of a sorted set.
fn run<'k>(
    query: &Query<'_>,
    mut inputs: Vec<Input<'k>>,
    operation: Operation,
    hasher: &Hasher,
) -> Vec<Scored<'k>> {
    let mut result = Vec::new();
    match operation {
        Operation::Diff => result = subtract(&inputs, hasher),
        Operation::Inter => {
            // Scores are combined in this order, which shows in how they are rounded.
            inputs.sort_by_key(Input::len);
            intersect(&inputs, query.aggregate, hasher, |member, score| {
                result.push((member, score));
                Continue(())
            });
        }
        Operation::Union => {
            inputs.sort_by_key(Input::len);
            result = unite(&inputs, query.aggregate, hasher);
        }
    }
    result.sort_unstable_by(in_order);
    result
}

fn in_order(a: &Scored<'_>, b: &Scored<'_>) -> Ordering {
    let by_member = || {
        let (mut text_a, mut text_b) = (IntText::default(), IntText::default());
        a.0.as_slice(&mut text_a).cmp(b.0.as_slice(&mut text_b))
    };
    a.1.partial_cmp(&b.1).unwrap_or(Ordering::Equal).then_with(by_member)
}

/// Emits what is in all inputs, the smallest of which comes first.
fn intersect<'k>(
    inputs: &[Input<'k>],
    aggregate: Aggregate,
    hasher: &Hasher,
    mut emit: impl FnMut(LpEntry<'k>, f64) -> ControlFlow<()>,
) {
    let Some((smallest, others)) = inputs.split_first() else { return };
    let mut text = IntText::default();
    smallest.each(|member, score| {
        let bytes = member.as_slice(&mut text);
        let weighted = zero_if_nan(score * smallest.weight);
        let combined = others.iter().try_fold(weighted, |combined, other| {
            let score = other.score(bytes, hasher)?;
            Some(aggregate.combine(combined, score * other.weight))
        });
        match combined {
            Some(score) => emit(member, score),
            None => Continue(()),
        }
    });
}

fn unite<'k>(inputs: &[Input<'k>], aggregate: Aggregate, hasher: &Hasher) -> Vec<Scored<'k>> {
    let largest = inputs.last().map_or(0, Input::len);
    let mut result: Vec<Scored<'k>> = Vec::with_capacity(largest);
    let mut index: HashTable<usize> = HashTable::with_capacity(largest);
    for input in inputs {
        input.each(|member, score| {
            let score = zero_if_nan(score * input.weight);
            let hash = hash_of(member, hasher);
            match index.find(hash, |at| result[*at].0.same_bytes(&member)) {
                Some(at) => result[*at].1 = aggregate.combine(result[*at].1, score),
                None => {
                    index.insert_unique(hash, result.len(), |at| hash_of(result[*at].0, hasher));
                    result.push((member, score));
                }
            }
            Continue(())
        });
    }
    result
}

/// What of the first input is in none of the others.
fn subtract<'k>(inputs: &[Input<'k>], hasher: &Hasher) -> Vec<Scored<'k>> {
    let mut result = Vec::new();
    let Some((first, others)) = inputs.split_first() else { return result };
    // Either each member is looked up in each of the others, or in all that there is in them. Redis gives the
    // first way an advantage of two as well, for it stops at the first that has the member.
    let lookups = first.len().saturating_mul(inputs.len());
    let all = inputs.iter().map(Input::len).fold(0, usize::saturating_add);
    if lookups / 2 <= all {
        let mut text = IntText::default();
        first.each(|member, score| {
            let bytes = member.as_slice(&mut text);
            if !others.iter().any(|other| other.score(bytes, hasher).is_some()) {
                result.push((member, score));
            }
            Continue(())
        });
        return result;
    }
    let mut taken: HashTable<LpEntry<'k>> = HashTable::new();
    for other in others {
        other.each(|member, _| {
            let hash = hash_of(member, hasher);
            if taken.find(hash, |found| found.same_bytes(&member)).is_none() {
                taken.insert_unique(hash, member, |found| hash_of(*found, hasher));
            }
            Continue(())
        });
    }
    first.each(|member, score| {
        if taken.find(hash_of(member, hasher), |found| found.same_bytes(&member)).is_none() {
            result.push((member, score));
        }
        Continue(())
    });
    result
}

fn hash_of(member: LpEntry<'_>, hasher: &Hasher) -> u64 {
    hasher.hash(member.as_slice(&mut IntText::default()))
}
