//! Hashes; what concerns the expiry of single fields is in [`expiry`].
//!
//! A field whose deadline has passed is absent to every command, though it may still be there until the active
//! expiry gets to it. A write that meets one treats it as expired just now.

pub(super) mod expiry;

use super::scan_options::{ScanOptions, Scanned, cursor, write_head};
use super::sets::{random_count, repeats};
use crate::command::{Args, Arity, Category, Command, Flag::*, Group, KeyFlag::*, Run, key};
use crate::context::Context;
use crate::error::CommandError;
use crate::hash::Hasher;
use crate::keyspace::notify::Class;
use crate::number::LongDouble;
use crate::random::Rng;
use crate::reply::{Out, Reply};
use crate::settings::Settings;
use crate::types::hash::{BEFORE_ALL, Field, FieldTtl, Hash, HashLimits};
use crate::types::listpack::LpEntry;
use smallvec::SmallVec;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "HDEL",
        arity: Arity::AtLeast(3),
        flags: &[Write, Fast],
        acl: &[Category::Hash],
        keys: &[key(1, &[Rw, Delete])],
        group: Group::Hash,
        since: "2.0.0",
        complexity: "O(1) for each field",
        summary: "Removes fields from a hash, and the key with the last of them.",
        run: Run::Keys(hdel),
        ..Command::BASE
    },
    Command {
        name: "HEXISTS",
        arity: Arity::Exactly(3),
        flags: &[ReadOnly, Fast],
        acl: &[Category::Hash],
        keys: &[key(1, &[Ro])],
        group: Group::Hash,
        since: "2.0.0",
        complexity: "O(1)",
        summary: "Tells whether a hash has a field.",
        run: Run::Keys(hexists),
        ..Command::BASE
    },
    Command {
        name: "HGET",
        arity: Arity::Exactly(3),
        flags: &[ReadOnly, Fast],
        acl: &[Category::Hash],
        keys: &[key(1, &[Ro, Access])],
        group: Group::Hash,
        since: "2.0.0",
        complexity: "O(1)",
        summary: "Returns the value of a field.",
        run: Run::Keys(hget),
        ..Command::BASE
    },
    Command {
        name: "HGETALL",
        arity: Arity::Exactly(2),
        flags: &[ReadOnly],
        acl: &[Category::Hash],
        keys: &[key(1, &[Ro, Access])],
        tips: &["nondeterministic_output_order"],
        group: Group::Hash,
        since: "2.0.0",
        complexity: "O(n) for n fields",
        summary: "Returns all fields of a hash with their values.",
        run: Run::Keys(hgetall),
        ..Command::BASE
    },
    Command {
        name: "HINCRBY",
        arity: Arity::Exactly(4),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::Hash],
        keys: &[key(1, &[Rw, Access, Update])],
        group: Group::Hash,
        since: "2.0.0",
        complexity: "O(1)",
        summary: "Adds an integer to the value of a field, which is 0 when absent.",
        run: Run::Keys(hincrby),
        ..Command::BASE
    },
    Command {
        name: "HINCRBYFLOAT",
        arity: Arity::Exactly(4),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::Hash],
        keys: &[key(1, &[Rw, Access, Update])],
        group: Group::Hash,
        since: "2.6.0",
        complexity: "O(1)",
        summary: "Adds a floating point number to the value of a field, which is 0 when absent.",
        run: Run::Keys(hincrbyfloat),
        ..Command::BASE
    },
    Command {
        name: "HKEYS",
        arity: Arity::Exactly(2),
        flags: &[ReadOnly],
        acl: &[Category::Hash],
        keys: &[key(1, &[Ro, Access])],
        tips: &["nondeterministic_output_order"],
        group: Group::Hash,
        since: "2.0.0",
        complexity: "O(n) for n fields",
        summary: "Lists the fields of a hash.",
        run: Run::Keys(hkeys),
        ..Command::BASE
    },
    Command {
        name: "HLEN",
        arity: Arity::Exactly(2),
        flags: &[ReadOnly, Fast],
        acl: &[Category::Hash],
        keys: &[key(1, &[Ro])],
        group: Group::Hash,
        since: "2.0.0",
        complexity: "O(1)",
        summary: "Tells how many fields a hash has.",
        run: Run::Keys(hlen),
        ..Command::BASE
    },
    Command {
        name: "HMGET",
        arity: Arity::AtLeast(3),
        flags: &[ReadOnly, Fast],
        acl: &[Category::Hash],
        keys: &[key(1, &[Ro, Access])],
        group: Group::Hash,
        since: "2.0.0",
        complexity: "O(1) for each field",
        summary: "Returns the values of several fields.",
        run: Run::Keys(hmget),
        ..Command::BASE
    },
    Command {
        name: "HMSET",
        arity: Arity::AtLeast(4),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::Hash],
        keys: &[key(1, &[Rw, Update])],
        group: Group::Hash,
        since: "2.0.0",
        deprecated: Some(("4.0.0", "HSET with several fields")),
        complexity: "O(1) for each field",
        summary: "Writes several fields.",
        run: Run::Keys(hmset),
        ..Command::BASE
    },
    Command {
        name: "HRANDFIELD",
        arity: Arity::AtLeast(2),
        flags: &[ReadOnly],
        acl: &[Category::Hash],
        keys: &[key(1, &[Ro, Access])],
        tips: &["nondeterministic_output"],
        group: Group::Hash,
        since: "6.2.0",
        complexity: "O(1) for each field returned",
        summary: "Returns fields of a hash at random.",
        run: Run::Keys(hrandfield),
        ..Command::BASE
    },
    Command {
        name: "HSCAN",
        arity: Arity::AtLeast(3),
        flags: &[ReadOnly],
        acl: &[Category::Hash],
        keys: &[key(1, &[Ro, Access])],
        tips: &["nondeterministic_output"],
        group: Group::Hash,
        since: "2.8.0",
        complexity: "O(1) for each call, O(n) for a whole walk over n fields",
        summary: "Walks over the fields of a hash in steps.",
        run: Run::Keys(hscan),
        ..Command::BASE
    },
    Command {
        name: "HSET",
        arity: Arity::AtLeast(4),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::Hash],
        keys: &[key(1, &[Rw, Update])],
        group: Group::Hash,
        since: "2.0.0",
        complexity: "O(1) for each field",
        summary: "Writes fields of a hash, creating it when the key is absent.",
        run: Run::Keys(hset),
        ..Command::BASE
    },
    Command {
        name: "HSETNX",
        arity: Arity::Exactly(4),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::Hash],
        keys: &[key(1, &[Rw, Insert])],
        group: Group::Hash,
        since: "2.0.0",
        complexity: "O(1)",
        summary: "Writes a field unless there is one already.",
        run: Run::Keys(hsetnx),
        ..Command::BASE
    },
    Command {
        name: "HSTRLEN",
        arity: Arity::Exactly(3),
        flags: &[ReadOnly, Fast],
        acl: &[Category::Hash],
        keys: &[key(1, &[Ro])],
        group: Group::Hash,
        since: "3.2.0",
        complexity: "O(1)",
        summary: "Tells how many bytes the value of a field has.",
        run: Run::Keys(hstrlen),
        ..Command::BASE
    },
    Command {
        name: "HVALS",
        arity: Arity::Exactly(2),
        flags: &[ReadOnly],
        acl: &[Category::Hash],
        keys: &[key(1, &[Ro, Access])],
        tips: &["nondeterministic_output_order"],
        group: Group::Hash,
        since: "2.0.0",
        complexity: "O(n) for n fields",
        summary: "Lists the values of a hash.",
        run: Run::Keys(hvals),
        ..Command::BASE
    },
];

fn limits(settings: &Settings) -> HashLimits {
    settings.hash_limits()
}

// ---- what a change leaves ----------------------------------------------------------------------------------

/// Whether some field of the hash has expired and is still there.
#[inline]
fn has_overdue(hash: &Hash, now_ms: i64) -> bool {
    hash.next_expiry().is_some_and(|at| at < now_ms)
}

/// Which of these fields have expired and are still there.
fn overdue<'a>(
    hash: &Hash,
    fields: impl Iterator<Item = &'a [u8]>,
    now_ms: i64,
    hasher: &Hasher,
) -> Vec<&'a [u8]> {
    if !has_overdue(hash, now_ms) {
        return Vec::new();
    }
    let is_overdue =
        |field: &&[u8]| hash.contains(field, BEFORE_ALL, hasher) && !hash.contains(field, now_ms, hasher);
    fields.filter(is_overdue).collect()
}

/// How a field left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dropped {
    Absent,
    Live,
    /// It had expired. That it leaves now has to reach the log: there, it may not have expired.
    Overdue,
}

/// Takes a field out, even one that has expired.
#[inline]
fn drop_field(hash: &mut Hash, field: &[u8], now_ms: i64, hasher: &Hasher) -> Dropped {
    if hash.remove(field, now_ms, hasher) {
        Dropped::Live
    } else if has_overdue(hash, now_ms) && hash.remove(field, BEFORE_ALL, hasher) {
        Dropped::Overdue
    } else {
        Dropped::Absent
    }
}

/// Counts fields that have expired, with their event.
fn note_expired(ctx: &mut Context<'_>, key: &[u8], fields: usize) {
    if fields == 0 {
        return;
    }
    let slot = ctx.keyspace.slot(key);
    ctx.keyspace.shard_mut(slot).stats.expired_fields += fields as u64;
    ctx.keyspace.notify(Class::Hash, "hexpired", key);
}

/// Leaves an effect made of its first arguments and some fields.
fn leave(ctx: &mut Context<'_>, head: &[&[u8]], fields: &[&[u8]]) {
    if ctx.keyspace.has_listeners() {
        ctx.keyspace.propagate(&[head, fields].concat());
    }
}

/// Leaves the value that a field got, for commands that computed it. A deadline that it kept is not named: in
/// its last millisecond, the field would be gone at once.
fn leave_value(ctx: &mut Context<'_>, key: &[u8], field: &[u8], value: &[u8], keeps_deadline: bool) {
    if keeps_deadline {
        ctx.keyspace.propagate(&[b"HSETEX", key, b"KEEPTTL", b"FIELDS", b"1", field, value]);
    } else {
        ctx.keyspace.propagate(&[b"HSET", key, field, value]);
    }
}

// ---- writing -----------------------------------------------------------------------------------------------

fn hset(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    Ok(write_fields(ctx, args)?.into())
}

fn hmset(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    write_fields(ctx, args)?;
    Ok(Reply::Ok)
}

/// Writes all fields; returns how many are new.
fn write_fields(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<usize, CommandError> {
    let key = args.required()?;
    let (pairs, []) = args.rest().as_chunks::<2>() else {
        return Err(CommandError::Arity(String::from_utf8_lossy(args.name()).to_ascii_lowercase()));
    };
    let (now_ms, limits, hasher) = (ctx.now_ms(), limits(ctx.settings), ctx.hasher);
    let hash = ctx.keyspace.hash_or_new(key)?;
    let had_volatile = hash.volatile_fields() > 0;
    expect(hash, pairs, &limits, hasher);
    let overdue = overdue(hash, pairs.iter().map(|[field, _]| *field), now_ms, hasher).len();
    let is_new = |[field, value]: &&[&[u8]; 2]| hash.set(field, value, now_ms, &limits, hasher);
    let created = pairs.iter().filter(is_new).count();
    if had_volatile {
        ctx.keyspace.hash_expiry_changed(key, true);
    }
    ctx.keyspace.modified_by(key, pairs.len() as u64);
    note_expired(ctx, key, overdue);
    ctx.keyspace.notify(Class::Hash, "hset", key);
    Ok(created)
}

/// Lets a hash leave its listpack at once when these fields would not fit anyway.
fn expect(hash: &mut Hash, pairs: &[[&[u8]; 2]], limits: &HashLimits, hasher: &Hasher) {
    // With one field, the write itself decides soon enough.
    if pairs.len() > 1 {
        let longest = pairs.iter().flatten().map(|text| text.len()).max().unwrap_or_default();
        hash.expect(pairs.len(), longest, limits, hasher);
    }
}

fn hsetnx(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let (key, field, value) = (args.get(1), args.get(2), args.get(3));
    let (now_ms, limits, hasher) = (ctx.now_ms(), limits(ctx.settings), ctx.hasher);
    let hash = ctx.keyspace.hash_or_new(key)?;
    if hash.contains(field, now_ms, hasher) {
        return Ok(Reply::Integer(0));
    }
    let had_volatile = hash.volatile_fields() > 0;
    let overdue = overdue(hash, std::iter::once(field), now_ms, hasher).len();
    hash.set(field, value, now_ms, &limits, hasher);
    if had_volatile {
        ctx.keyspace.hash_expiry_changed(key, true);
        leave_value(ctx, key, field, value, false);
    }
    ctx.keyspace.modified(key);
    note_expired(ctx, key, overdue);
    ctx.keyspace.notify(Class::Hash, "hset", key);
    Ok(Reply::Integer(1))
}

fn hdel(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let key = args.required()?;
    let (now_ms, hasher) = (ctx.now_ms(), ctx.hasher);
    let Some(hash) = ctx.keyspace.hash_mut(key)? else { return Ok(Reply::Integer(0)) };
    let had_volatile = hash.volatile_fields() > 0;
    let (mut deleted, mut overdue) = (0, 0);
    for field in args.rest() {
        match drop_field(hash, field, now_ms, hasher) {
            Dropped::Live => deleted += 1,
            Dropped::Overdue => overdue += 1,
            Dropped::Absent => {}
        }
    }
    after_removal(ctx, key, had_volatile, deleted, overdue);
    Ok(deleted.into())
}

/// What follows when fields were taken out on purpose, of which some had expired.
fn after_removal(ctx: &mut Context<'_>, key: &[u8], had_volatile: bool, deleted: usize, overdue: usize) {
    if deleted + overdue == 0 {
        return;
    }
    if had_volatile {
        ctx.keyspace.hash_expiry_changed(key, true);
    }
    ctx.keyspace.modified_by(key, (deleted + overdue) as u64);
    note_expired(ctx, key, overdue);
    if deleted > 0 {
        ctx.keyspace.notify(Class::Hash, "hdel", key);
    }
    ctx.keyspace.remove_if_empty(key);
}

fn hincrby(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    const NOT_INTEGER: CommandError = CommandError::text("ERR hash value is not an integer");
    const OVERFLOW: CommandError = CommandError::text("ERR increment or decrement would overflow");
    let (key, field, by) = (args.required()?, args.required()?, args.integer()?);
    let mut sum = 0;
    let add = |old: Option<LpEntry<'_>>| {
        let old = old.map_or(Ok(0), |old| old.as_int().ok_or(NOT_INTEGER))?;
        sum = old.checked_add(by).ok_or(OVERFLOW)?;
        Ok(ValueText::from_slice(itoa::Buffer::new().format(sum).as_bytes()))
    };
    // Where fields expire, whether this one has is for us to say, not for whoever repeats the command.
    replace_value(ctx, key, field, add, false, "hincrby")?;
    Ok(Reply::Integer(sum))
}

fn hincrbyfloat(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    const NOT_FLOAT: CommandError = CommandError::text("ERR hash value is not a float");
    const INFINITE: CommandError = CommandError::text("ERR value is NaN or Infinity");
    const INFINITE_SUM: CommandError = CommandError::text("ERR increment would produce NaN or Infinity");
    let (key, field) = (args.get(1), args.get(2));
    let by = LongDouble::parse(args.get(3)).ok_or(CommandError::NotFloat)?;
    if !by.is_finite() {
        return Err(INFINITE);
    }
    let add = |old: Option<LpEntry<'_>>| {
        let old = match old {
            Some(LpEntry::Int(n)) => LongDouble::from(n),
            Some(LpEntry::Str(text)) => LongDouble::parse(text).ok_or(NOT_FLOAT)?,
            None => LongDouble::from(0),
        };
        let sum = old + by;
        if sum.is_finite() { Ok(ValueText::from_vec(sum.format_human())) } else { Err(INFINITE_SUM) }
    };
    // The sum goes to the log: another machine might round another way.
    let sum = replace_value(ctx, key, field, add, true, "hincrbyfloat")?;
    ctx.out.bulk(&sum);
    Ok(Reply::Written)
}

/// The text of a number.
type ValueText = SmallVec<[u8; 32]>;

/// Writes a value that is computed from the one before, and returns it. The field keeps its deadline. Leaves the
/// value as effect when told to, or when the hash has fields that expire.
fn replace_value(
    ctx: &mut Context<'_>,
    key: &[u8],
    field: &[u8],
    compute: impl FnOnce(Option<LpEntry<'_>>) -> Result<ValueText, CommandError>,
    leave_it: bool,
    event: &'static str,
) -> Result<ValueText, CommandError> {
    let (now_ms, limits, hasher) = (ctx.now_ms(), limits(ctx.settings), ctx.hasher);
    let hash = ctx.keyspace.hash_or_new(key)?;
    let value = compute(hash.get(field, now_ms, hasher))?;
    let had_volatile = hash.volatile_fields() > 0;
    let (mut keeps_deadline, mut gone) = (false, 0);
    if had_volatile {
        keeps_deadline = hash.field_expiry(field, now_ms, hasher).flatten().is_some();
        gone = overdue(hash, std::iter::once(field), now_ms, hasher).len();
    }
    hash.set_with(field, &value, FieldTtl::Keep, now_ms, &limits, hasher);
    if had_volatile {
        ctx.keyspace.hash_expiry_changed(key, true);
    }
    if leave_it || had_volatile {
        leave_value(ctx, key, field, &value, keeps_deadline);
    }
    ctx.keyspace.modified(key);
    note_expired(ctx, key, gone);
    ctx.keyspace.notify(Class::Hash, event, key);
    Ok(value)
}

// ---- reading -----------------------------------------------------------------------------------------------

fn hget(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let now_ms = ctx.now_ms();
    let hash = ctx.keyspace.hash(args.get(1))?;
    write_value(ctx.out, hash, args.get(2), now_ms, ctx.hasher);
    Ok(Reply::Written)
}

fn hmget(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let now_ms = ctx.now_ms();
    let hash = ctx.keyspace.hash(args.required()?)?;
    let fields = args.rest();
    ctx.out.array(fields.len());
    fields.iter().for_each(|field| write_value(ctx.out, hash, field, now_ms, ctx.hasher));
    Ok(Reply::Written)
}

#[inline]
fn write_value(out: &mut Out, hash: Option<&Hash>, field: &[u8], now_ms: i64, hasher: &Hasher) {
    match hash.and_then(|hash| hash.get(field, now_ms, hasher)) {
        Some(value) => out.entry(value),
        None => out.null(),
    }
}

fn hlen(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    Ok(ctx.keyspace.hash(args.get(1))?.map_or(0, Hash::len).into())
}

fn hstrlen(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let now_ms = ctx.now_ms();
    let hash = ctx.keyspace.hash(args.get(1))?;
    let value = hash.and_then(|hash| hash.get(args.get(2), now_ms, ctx.hasher));
    Ok(value.map_or(0, |value| value.text_len()).into())
}

fn hexists(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let now_ms = ctx.now_ms();
    let hash = ctx.keyspace.hash(args.get(1))?;
    Ok(hash.is_some_and(|hash| hash.contains(args.get(2), now_ms, ctx.hasher)).into())
}

fn hgetall(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let now_ms = ctx.now_ms();
    let hash = ctx.keyspace.hash(args.get(1))?;
    ctx.out.map(hash.map_or(0, |hash| hash.live_len(now_ms)));
    for field in hash.iter().flat_map(|hash| hash.iter(now_ms)) {
        ctx.out.entry(field.name);
        ctx.out.entry(field.value);
    }
    Ok(Reply::Written)
}

fn hkeys(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    write_halves(ctx, args.get(1), |field| field.name)
}

fn hvals(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    write_halves(ctx, args.get(1), |field| field.value)
}

fn write_halves(
    ctx: &mut Context<'_>,
    key: &[u8],
    half: impl for<'f> Fn(&Field<'f>) -> LpEntry<'f>,
) -> Result<Reply, CommandError> {
    let now_ms = ctx.now_ms();
    let hash = ctx.keyspace.hash(key)?;
    ctx.out.array(hash.map_or(0, |hash| hash.live_len(now_ms)));
    hash.iter().flat_map(|hash| hash.iter(now_ms)).for_each(|field| ctx.out.entry(half(&field)));
    Ok(Reply::Written)
}

fn hscan(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let (key, cursor, now_ms) = (args.required()?, cursor(args.required()?)?, ctx.now_ms());
    let Some(hash) = ctx.keyspace.hash(key)? else {
        write_head(ctx.out, 0, 0);
        return Ok(Reply::Written);
    };
    let options = ScanOptions::read(&mut args, Scanned::Hash)?;
    let mut found: Vec<Field<'_>> = Vec::new();
    let next = hash.scan(cursor, options.count, now_ms, ctx.hasher, |field| {
        if options.matches_entry(&field.name) {
            found.push(field);
        }
    });
    write_head(ctx.out, next, if options.names_only { found.len() } else { 2 * found.len() });
    for field in found {
        ctx.out.entry(field.name);
        if !options.names_only {
            ctx.out.entry(field.value);
        }
    }
    Ok(Reply::Written)
}

fn hrandfield(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    const OUT_OF_RANGE: CommandError = CommandError::text("ERR value is out of range");
    let (key, now_ms) = (args.required()?, ctx.now_ms());
    let Some(count) = args.take().map(random_count).transpose()? else {
        let field = ctx.keyspace.hash(key)?.and_then(|hash| hash.random(&mut ctx.rng, now_ms));
        match field {
            Some(field) => ctx.out.entry(field.name),
            None => ctx.out.null(),
        }
        return Ok(Reply::Written);
    };
    let values = args.word("WITHVALUES");
    if args.left() > 0 {
        return Err(CommandError::Syntax);
    }
    if values && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(OUT_OF_RANGE);
    }
    let chosen = match ctx.keyspace.hash(key)? {
        None => Vec::new(),
        Some(_) if count == 0 => Vec::new(),
        Some(hash) if count > 0 => {
            hash.sample(usize::try_from(count).unwrap_or(usize::MAX), &mut ctx.rng, now_ms)
        }
        Some(hash) => return write_repeats(ctx.out, &mut ctx.rng, hash, repeats(count)?, values, now_ms),
    };
    write_random_head(ctx.out, chosen.len(), values);
    chosen.iter().for_each(|field| write_random(ctx.out, field, values));
    Ok(Reply::Written)
}

/// So many fields at random, each drawn from all of them.
fn write_repeats(
    out: &mut Out,
    rng: &mut Rng,
    hash: &Hash,
    times: usize,
    values: bool,
    now_ms: i64,
) -> Result<Reply, CommandError> {
    // A listpack would be walked for every draw.
    let all: Option<Vec<Field<'_>>> = hash.as_listpack().map(|_| hash.iter(now_ms).collect());
    let times = if hash.live_len(now_ms) == 0 { 0 } else { times };
    write_random_head(out, times, values);
    for _ in 0..times {
        let field = match &all {
            Some(all) => all.get(rng.below(all.len())).copied(),
            None => hash.random(rng, now_ms),
        };
        field.iter().for_each(|field| write_random(out, field, values));
    }
    Ok(Reply::Written)
}

/// With values, RESP3 has an array of pairs and RESP2 one flat array.
fn write_random_head(out: &mut Out, fields: usize, values: bool) {
    out.array(if values && !out.is_resp3() { 2 * fields } else { fields });
}

fn write_random(out: &mut Out, field: &Field<'_>, values: bool) {
    if values && out.is_resp3() {
        out.array(2);
    }
    out.entry(field.name);
    if values {
        out.entry(field.value);
    }
}

#[cfg(test)]
mod tests;
