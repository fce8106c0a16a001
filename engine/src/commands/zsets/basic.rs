//! Adding, removing, scores, ranks, random members, and ZSCAN.

use super::{limits, write_entry, write_len};
use crate::command::Args;
use crate::commands::scan_options::{ScanOptions, Scanned, cursor, write_head};
use crate::commands::sets::REPEATS_MAX;
use crate::context::Context;
use crate::error::CommandError;
use crate::hash::Hasher;
use crate::keyspace::Value;
use crate::keyspace::notify::Class;
use crate::number::{format_f64, format_f64_17g, parse_f64, parse_i64};
use crate::reply::Reply;
use crate::types::zset::{Inserted, ZSet, ZSetLimits};
use smallvec::SmallVec;

const NAN: CommandError = CommandError::text("ERR resulting score is not a number (NaN)");

/// When ZADD adds and what it answers.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::commands) struct AddOptions {
    /// NX: only new members.
    pub new_only: bool,
    /// XX: only members that are there.
    pub existing_only: bool,
    /// GT: a score only grows.
    pub greater: bool,
    /// LT: a score only falls.
    pub less: bool,
    /// CH: count changes, not only additions.
    pub count_changes: bool,
    /// INCR: add to the score, and answer with it.
    pub increment: bool,
}

impl AddOptions {
    /// Reads one option.
    fn read(&mut self, word: &[u8]) -> bool {
        let option = match word.len() {
            2 if word.eq_ignore_ascii_case(b"nx") => &mut self.new_only,
            2 if word.eq_ignore_ascii_case(b"xx") => &mut self.existing_only,
            2 if word.eq_ignore_ascii_case(b"gt") => &mut self.greater,
            2 if word.eq_ignore_ascii_case(b"lt") => &mut self.less,
            2 if word.eq_ignore_ascii_case(b"ch") => &mut self.count_changes,
            4 if word.eq_ignore_ascii_case(b"incr") => &mut self.increment,
            _ => return false,
        };
        *option = true;
        true
    }

    fn check(&self, pairs: usize) -> Result<(), CommandError> {
        let error = if self.new_only && self.existing_only {
            "ERR XX and NX options at the same time are not compatible"
        } else if (self.greater && (self.new_only || self.less)) || (self.less && self.new_only) {
            "ERR GT, LT, and/or NX options at the same time are not compatible"
        } else if self.increment && pairs > 1 {
            "ERR INCR option supports a single increment-element pair"
        } else {
            return Ok(());
        };
        Err(CommandError::text(error))
    }

    /// Whether nothing about a member has to be known before it is added.
    fn unconditional(&self) -> bool {
        !(self.new_only || self.existing_only || self.greater || self.less || self.increment)
    }

    /// Adds one member. The new score with what was done, or `None` where an option forbids it.
    fn add(
        &self,
        zset: &mut ZSet,
        member: &[u8],
        mut score: f64,
        limits: &ZSetLimits,
        hasher: &Hasher,
    ) -> Result<Option<(Inserted, f64)>, CommandError> {
        if !self.unconditional() {
            match zset.score(member) {
                None if self.existing_only => return Ok(None),
                None => {}
                Some(_) if self.new_only => return Ok(None),
                Some(old) => {
                    if self.increment {
                        score += old;
                    }
                    if score.is_nan() {
                        return Err(NAN);
                    }
                    if (self.less && score >= old) || (self.greater && score <= old) {
                        return Ok(None);
                    }
                }
            }
        }
        Ok(Some((zset.insert(member, score, limits, hasher), score)))
    }
}

#[derive(Default)]
struct AddCounts {
    added: usize,
    updated: usize,
    /// The score of the last member that no option held back.
    score: Option<f64>,
}

pub(super) fn zadd(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    add(ctx, args, AddOptions::default())
}

pub(super) fn zincrby(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    // Redis reads options here too, so that `ZINCRBY k nx m` is a syntax error.
    add(ctx, args, AddOptions { increment: true, ..AddOptions::default() })
}

fn add(ctx: &mut Context<'_>, mut args: Args<'_>, mut options: AddOptions) -> Result<Reply, CommandError> {
    let key = args.required()?;
    while args.peek().is_some_and(|word| options.read(word)) {
        args.take();
    }
    let pairs = args.rest();
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    options.check(pairs.len() / 2)?;
    let mut scores: SmallVec<[f64; 16]> = SmallVec::new();
    for pair in pairs.chunks_exact(2) {
        scores.push(parse_f64(pair[0]).ok_or(CommandError::NotFloat)?);
    }
    add_members(ctx, key, options, &scores, pairs.chunks_exact(2).map(|pair| pair[1]))
}

/// ZADD once its arguments are read: as many `scores` as `members`.
pub(in crate::commands) fn add_members<'a>(
    ctx: &mut Context<'_>,
    key: &[u8],
    options: AddOptions,
    scores: &[f64],
    members: impl Iterator<Item = &'a [u8]> + Clone,
) -> Result<Reply, CommandError> {
    let (limits, hasher) = (limits(ctx.settings), ctx.hasher);
    let mut counts = AddCounts::default();
    let mut add_all = |zset: &mut ZSet| {
        for (member, score) in members.clone().zip(scores) {
            let Some((inserted, score)) = options.add(zset, member, *score, &limits, hasher)? else {
                continue;
            };
            counts.added += usize::from(inserted == Inserted::Added);
            counts.updated += usize::from(inserted == Inserted::Updated);
            counts.score = Some(score);
        }
        Ok::<(), CommandError>(())
    };
    match ctx.keyspace.zset_mut(key)? {
        Some(zset) => {
            zset.expect(scores.len(), &limits, hasher);
            add_all(zset)?;
        }
        None if options.existing_only => {}
        None => {
            let longest = members.clone().map(<[u8]>::len).max().unwrap_or(0);
            let mut zset = ZSet::with_expected(scores.len(), longest, &limits, hasher);
            add_all(&mut zset)?;
            ctx.keyspace.put(key, Value::ZSet(Box::new(zset)), None);
        }
    }
    let AddCounts { added, updated, score } = counts;
    if added + updated > 0 {
        ctx.keyspace.modified_by(key, (added + updated) as u64);
        ctx.keyspace.notify(Class::ZSet, if options.increment { "zincr" } else { "zadd" }, key);
    }
    Ok(match score {
        Some(score) if options.increment => Reply::Double(score),
        None if options.increment => Reply::Null,
        _ => Reply::from(if options.count_changes { added + updated } else { added }),
    })
}

pub(super) fn zrem(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let key = args.required()?;
    let Some(zset) = ctx.keyspace.zset_mut(key)? else { return Ok(Reply::Integer(0)) };
    let removed = args.rest().iter().filter(|member| zset.remove(member).is_some()).count();
    if removed > 0 {
        ctx.keyspace.modified_by(key, removed as u64);
        ctx.keyspace.notify(Class::ZSet, "zrem", key);
        ctx.keyspace.remove_if_empty(key);
    }
    Ok(Reply::from(removed))
}

pub(super) fn zcard(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    Ok(Reply::from(ctx.keyspace.zset(args.get(1))?.map_or(0, ZSet::len)))
}

pub(super) fn zscore(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let zset = ctx.keyspace.zset(args.get(1))?;
    Ok(zset.and_then(|zset| zset.score(args.get(2))).map_or(Reply::Null, Reply::Double))
}

pub(super) fn zmscore(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let zset = ctx.keyspace.zset(args.required()?)?;
    let members = args.rest();
    ctx.out.array(members.len());
    for member in members {
        match zset.and_then(|zset| zset.score(member)) {
            Some(score) => ctx.out.double(score),
            None => ctx.out.null(),
        }
    }
    Ok(Reply::Written)
}

pub(super) fn zrank(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    rank(ctx, args, ZSet::rank)
}

pub(super) fn zrevrank(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    rank(ctx, args, ZSet::rank_from_end)
}

fn rank(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    rank_of: impl Fn(&ZSet, &[u8]) -> Option<(usize, f64)>,
) -> Result<Reply, CommandError> {
    let with_score = match args.count() {
        ..=3 => false,
        4 if args.get(3).eq_ignore_ascii_case(b"withscore") => true,
        4 => return Err(CommandError::Syntax),
        _ => return Err(CommandError::Arity(String::from_utf8_lossy(args.name()).to_ascii_lowercase())),
    };
    let found = ctx.keyspace.zset(args.get(1))?.and_then(|zset| rank_of(zset, args.get(2)));
    Ok(match found {
        None if with_score => Reply::NullArray,
        None => Reply::Null,
        Some((rank, score)) if with_score => {
            ctx.out.array(2);
            ctx.out.integer(rank as i64);
            ctx.out.double(score);
            Reply::Written
        }
        Some((rank, _)) => Reply::from(rank),
    })
}

pub(super) fn zrandmember(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    const OUT_OF_RANGE: CommandError = CommandError::text("ERR value is out of range");

    if args.count() == 2 {
        let Some(zset) = ctx.keyspace.zset(args.get(1))? else { return Ok(Reply::Null) };
        let Some(picked) = zset.random(&mut ctx.rng) else { return Ok(Reply::Null) };
        write_entry(ctx.out, picked.member, picked.score, false);
        return Ok(Reply::Written);
    }
    let count = parse_i64(args.get(2)).ok_or(CommandError::NotInteger)?;
    if count == i64::MIN {
        return Err(CommandError::text(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ));
    }
    let with_scores = match args.count() {
        3 => false,
        4 if args.get(3).eq_ignore_ascii_case(b"withscores") => true,
        _ => return Err(CommandError::Syntax),
    };
    if with_scores && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(OUT_OF_RANGE);
    }
    let (out, rng) = (&mut *ctx.out, &mut ctx.rng);
    let Some(zset) = ctx.keyspace.zset(args.get(1))? else {
        out.array(0);
        return Ok(Reply::Written);
    };
    if count >= 0 {
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(zset.len());
        write_len(out, count, with_scores);
        if count == zset.len() {
            // All of them, which Redis walks from the end.
            zset.iter().rev().for_each(|entry| write_entry(out, entry.member, entry.score, with_scores));
        } else {
            zset.sample(count, rng, |entry| write_entry(out, entry.member, entry.score, with_scores));
        }
    } else if count.unsigned_abs() > REPEATS_MAX {
        return Err(OUT_OF_RANGE);
    } else {
        let count = count.unsigned_abs() as usize;
        write_len(out, count, with_scores);
        for _ in 0..count {
            let Some(entry) = zset.random(rng) else { break };
            write_entry(out, entry.member, entry.score, with_scores);
        }
    }
    Ok(Reply::Written)
}

pub(super) fn zscan(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let cursor = cursor(args.get(2))?;
    let Some(zset) = ctx.keyspace.zset(args.get(1))? else {
        write_head(ctx.out, 0, 0);
        return Ok(Reply::Written);
    };
    args.seek(3);
    let options = ScanOptions::read(&mut args, Scanned::ZSet)?;
    let mut found = Vec::new();
    let next = zset.scan(cursor, options.count, |entry| {
        if options.matches_entry(&entry.member) {
            found.push(entry);
        }
    });
    // Scores as Redis prints them here: what the listpack holds, or all digits.
    let format = if zset.as_listpack().is_some() { format_f64 } else { format_f64_17g };
    write_head(ctx.out, next, if options.names_only { found.len() } else { 2 * found.len() });
    for entry in found {
        write_entry(ctx.out, entry.member, entry.score, false);
        if !options.names_only {
            ctx.out.bulk(format(entry.score).as_bytes());
        }
    }
    Ok(Reply::Written)
}
