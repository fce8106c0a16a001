//! Hash fields that expire, as Valkey has them: a deadline for any field, named after the word `FIELDS`.
//!
//! Deadlines in the past remove the fields at once. All effects are absolute: `HPEXPIREAT`, `HPERSIST` and `HDEL`
//! with exactly the fields that changed, `HSETEX` without conditions.

use super::{Dropped, after_removal, drop_field, expect, leave, limits, note_expired, overdue, write_value};
use crate::command::{Args, Arity, Category, Command, Flag::*, Group, KeyFlag::*, Run, key};
use crate::commands::expiry_args::{Expiry, Unit, invalid};
use crate::context::Context;
use crate::error::CommandError;
use crate::hash::Hasher;
use crate::keyspace::notify::Class;
use crate::number::parse_i64;
use crate::reply::Reply;
use crate::types::hash::{FieldTtl, Hash};

pub(in crate::commands) const COMMANDS: &[Command] = &[
    Command {
        name: "HEXPIRE",
        arity: Arity::AtLeast(6),
        flags: &[Write, Fast],
        acl: &[Category::Hash],
        keys: &[key(1, &[Rw, Update])],
        group: Group::Hash,
        since: "9.0.0",
        complexity: "O(1) for each field",
        summary: "Lets fields of a hash expire after so many seconds.",
        run: Run::Keys(hexpire),
        ..Command::BASE
    },
    Command {
        name: "HEXPIREAT",
        arity: Arity::AtLeast(6),
        flags: &[Write, Fast],
        acl: &[Category::Hash],
        keys: &[key(1, &[Rw, Update])],
        group: Group::Hash,
        since: "9.0.0",
        complexity: "O(1) for each field",
        summary: "Lets fields of a hash expire at a Unix time in seconds.",
        run: Run::Keys(hexpireat),
        ..Command::BASE
    },
    Command {
        name: "HEXPIRETIME",
        arity: Arity::AtLeast(5),
        flags: &[ReadOnly, Fast],
        acl: &[Category::Hash],
        keys: &[key(1, &[Ro, Access])],
        group: Group::Hash,
        since: "9.0.0",
        complexity: "O(1) for each field",
        summary: "Tells at which Unix time in seconds fields of a hash expire.",
        run: Run::Keys(hexpiretime),
        ..Command::BASE
    },
    Command {
        name: "HGETDEL",
        arity: Arity::AtLeast(5),
        flags: &[Write, Fast],
        acl: &[Category::Hash],
        keys: &[key(1, &[Rw, Access, Delete])],
        group: Group::Hash,
        since: "9.1.0",
        complexity: "O(1) for each field",
        summary: "Returns the values of fields and removes the fields.",
        run: Run::Keys(hgetdel),
        ..Command::BASE
    },
    Command {
        name: "HGETEX",
        arity: Arity::AtLeast(5),
        flags: &[Write, Fast],
        acl: &[Category::Hash],
        keys: &[key(1, &[Rw, Access])],
        group: Group::Hash,
        since: "9.0.0",
        complexity: "O(1) for each field",
        summary: "Returns the values of fields and sets or clears their expiry.",
        run: Run::Keys(hgetex),
        ..Command::BASE
    },
    Command {
        name: "HPERSIST",
        arity: Arity::AtLeast(5),
        flags: &[Write, Fast],
        acl: &[Category::Hash],
        keys: &[key(1, &[Rw, Update])],
        group: Group::Hash,
        since: "9.0.0",
        complexity: "O(1) for each field",
        summary: "Clears the expiry of fields.",
        run: Run::Keys(hpersist),
        ..Command::BASE
    },
    Command {
        name: "HPEXPIRE",
        arity: Arity::AtLeast(6),
        flags: &[Write, Fast],
        acl: &[Category::Hash],
        keys: &[key(1, &[Rw, Update])],
        group: Group::Hash,
        since: "9.0.0",
        complexity: "O(1) for each field",
        summary: "Lets fields of a hash expire after so many milliseconds.",
        run: Run::Keys(hpexpire),
        ..Command::BASE
    },
    Command {
        name: "HPEXPIREAT",
        arity: Arity::AtLeast(6),
        flags: &[Write, Fast],
        acl: &[Category::Hash],
        keys: &[key(1, &[Rw, Update])],
        group: Group::Hash,
        since: "9.0.0",
        complexity: "O(1) for each field",
        summary: "Lets fields of a hash expire at a Unix time in milliseconds.",
        run: Run::Keys(hpexpireat),
        ..Command::BASE
    },
    Command {
        name: "HPEXPIRETIME",
        arity: Arity::AtLeast(5),
        flags: &[ReadOnly, Fast],
        acl: &[Category::Hash],
        keys: &[key(1, &[Ro, Access])],
        group: Group::Hash,
        since: "9.0.0",
        complexity: "O(1) for each field",
        summary: "Tells at which Unix time in milliseconds fields of a hash expire.",
        run: Run::Keys(hpexpiretime),
        ..Command::BASE
    },
    Command {
        name: "HPTTL",
        arity: Arity::AtLeast(5),
        flags: &[ReadOnly, Fast],
        acl: &[Category::Hash],
        keys: &[key(1, &[Ro, Access])],
        group: Group::Hash,
        since: "9.0.0",
        complexity: "O(1) for each field",
        summary: "Tells in how many milliseconds fields of a hash expire.",
        run: Run::Keys(hpttl),
        ..Command::BASE
    },
    Command {
        name: "HSETEX",
        arity: Arity::AtLeast(6),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::Hash],
        keys: &[key(1, &[Rw, Insert])],
        group: Group::Hash,
        since: "9.0.0",
        complexity: "O(1) for each field",
        summary: "Writes fields of a hash together with their expiry, on conditions if wanted.",
        run: Run::Keys(hsetex),
        ..Command::BASE
    },
    Command {
        name: "HTTL",
        arity: Arity::AtLeast(5),
        flags: &[ReadOnly, Fast],
        acl: &[Category::Hash],
        keys: &[key(1, &[Ro, Access])],
        group: Group::Hash,
        since: "9.0.0",
        complexity: "O(1) for each field",
        summary: "Tells in how many seconds fields of a hash expire.",
        run: Run::Keys(httl),
        ..Command::BASE
    },
];

const WRONG_NUMBER: CommandError =
    CommandError::text("ERR numfields should be greater than 0 and match the provided number of fields");

// ---- arguments ---------------------------------------------------------------------------------------------

/// Splits the arguments at the word `FIELDS`: the options before it, from argument `from` on, and the number and
/// the fields behind it. The first such word counts, whatever it was meant to be.
fn split_at_fields<'a>(args: &Args<'a>, from: usize) -> Result<(Args<'a>, &'a [&'a [u8]]), CommandError> {
    let all = args.all();
    let inner = all.get(from..all.len().saturating_sub(1)).unwrap_or_default();
    let at = inner.iter().position(|arg| arg.eq_ignore_ascii_case(b"FIELDS")).ok_or(WRONG_NUMBER)?;
    let (before, after) = all.split_at(from + at);
    let mut options = Args::new(before);
    options.seek(from);
    Ok((options, after.get(1..).unwrap_or_default()))
}

/// The fields of `key FIELDS numfields field ...`, where nothing else may stand.
fn plain_fields<'a>(args: &Args<'a>, wrong_number: CommandError) -> Result<&'a [&'a [u8]], CommandError> {
    match args.all() {
        [_, _, word, behind @ ..] => {
            let fields = counted(behind, 1, wrong_number)?;
            if word.eq_ignore_ascii_case(b"FIELDS") { Ok(fields) } else { Err(CommandError::Syntax) }
        }
        _ => Err(CommandError::Syntax),
    }
}

/// The fields of `numfields field ...`, each of which has `width` arguments.
fn counted<'a>(
    behind: &'a [&'a [u8]],
    width: usize,
    wrong_number: CommandError,
) -> Result<&'a [&'a [u8]], CommandError> {
    let Some((number, fields)) = behind.split_first() else { return Err(wrong_number) };
    let number = parse_i64(number).ok_or(CommandError::NotInteger)?;
    let promised = usize::try_from(number).ok().and_then(|n| n.checked_mul(width));
    if number > 0 && promised == Some(fields.len()) { Ok(fields) } else { Err(wrong_number) }
}

/// The name of a command for errors.
fn lower_name(args: &Args<'_>) -> String {
    String::from_utf8_lossy(args.name()).to_ascii_lowercase()
}

/// The deadline in Unix milliseconds: never negative, though it may have passed.
fn deadline(number: &[u8], unit: Unit, now_ms: i64, args: &Args<'_>) -> Result<i64, CommandError> {
    let n = parse_i64(number).ok_or(CommandError::NotInteger)?;
    if n < 0 {
        return Err(invalid(&lower_name(args)));
    }
    unit.any_deadline(n, now_ms, &lower_name(args))
}

/// Reads `EX n` and its kin; another unit than one that was read before is refused.
fn read_expiry<'a>(args: &mut Args<'a>, before: &mut Option<Expiry<'a>>) -> Result<bool, CommandError> {
    let Some(expiry) = Expiry::read(args) else { return Ok(false) };
    if before.is_some_and(|before| before.unit != expiry.unit) {
        return Err(CommandError::Syntax);
    }
    *before = Some(expiry);
    Ok(true)
}

// ---- setting deadlines -------------------------------------------------------------------------------------

/// Conditions of HEXPIRE and its kin.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn read(mut args: Args<'_>) -> Result<Self, CommandError> {
        let mut all = Self::default();
        while let Some(option) = args.peek() {
            let flag = match () {
                () if args.word("NX") => &mut all.nx,
                () if args.word("XX") => &mut all.xx,
                () if args.word("GT") => &mut all.gt,
                () if args.word("LT") => &mut all.lt,
                () => return Err(CommandError::quoting("ERR Unsupported option ", option, usize::MAX, "")),
            };
            *flag = true;
        }
        if all.nx && (all.xx || all.gt || all.lt) {
            return Err(CommandError::text(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if all.gt && all.lt {
            return Err(CommandError::text("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(all)
    }

    /// Whether a field with this deadline may get the other. No deadline counts as an infinite one.
    fn allow(self, old: Option<i64>, new: i64) -> bool {
        match old {
            None => !self.xx && !self.gt,
            Some(old) => !(self.nx || self.gt && new <= old || self.lt && new >= old),
        }
    }
}

fn hexpire(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    expire(ctx, &args, Unit::Ex)
}

fn hpexpire(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    expire(ctx, &args, Unit::Px)
}

fn hexpireat(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    expire(ctx, &args, Unit::ExAt)
}

fn hpexpireat(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    expire(ctx, &args, Unit::PxAt)
}

/// Answers for each field: -2 it is absent, 0 a condition forbids it, 1 done, 2 removed, the time being past.
fn expire(ctx: &mut Context<'_>, args: &Args<'_>, unit: Unit) -> Result<Reply, CommandError> {
    let (options, behind) = split_at_fields(args, 3)?;
    let conditions = Conditions::read(options)?;
    let fields = counted(behind, 1, WRONG_NUMBER)?;
    let (key, now_ms, hasher) = (args.get(1), ctx.now_ms(), ctx.hasher);
    let at = deadline(args.get(2), unit, ctx.present_ms(), args)?;
    let past = at <= now_ms;
    let Some(hash) = ctx.keyspace.hash_mut(key)? else {
        ctx.out.array(fields.len());
        fields.iter().for_each(|_| ctx.out.integer(-2));
        return Ok(Reply::Written);
    };
    let had_volatile = hash.volatile_fields() > 0;
    let mut changed: Vec<&[u8]> = Vec::new();
    ctx.out.array(fields.len());
    for field in fields {
        let answer = match hash.field_expiry(field, now_ms, hasher) {
            None => -2,
            Some(old) if !conditions.allow(old, at) => 0,
            Some(_) => {
                changed.push(*field);
                set_deadline(hash, field, at, now_ms, hasher);
                if past { 2 } else { 1 }
            }
        };
        ctx.out.integer(answer);
    }
    after_deadlines(ctx, key, had_volatile, at, &changed);
    Ok(Reply::Written)
}

/// Gives a field a deadline, or removes it when that has passed; false when there is no such field.
fn set_deadline(hash: &mut Hash, field: &[u8], at: i64, now_ms: i64, hasher: &Hasher) -> bool {
    if at <= now_ms {
        hash.remove(field, now_ms, hasher)
    } else {
        hash.set_field_expiry(field, at, now_ms, hasher)
    }
}

/// What follows when these fields got a deadline, or were removed because it had passed.
fn after_deadlines(ctx: &mut Context<'_>, key: &[u8], had_volatile: bool, at: i64, changed: &[&[u8]]) {
    if changed.is_empty() {
        return;
    }
    ctx.keyspace.hash_expiry_changed(key, had_volatile);
    ctx.keyspace.modified_by(key, changed.len() as u64);
    if at <= ctx.now_ms() {
        leave(ctx, &[b"HDEL", key], changed);
        note_expired(ctx, key, changed.len());
        ctx.keyspace.remove_if_empty(key);
    } else {
        let (mut at_text, mut count_text) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (at, count) = (at_text.format(at).as_bytes(), count_text.format(changed.len()).as_bytes());
        leave(ctx, &[b"HPEXPIREAT", key, at, b"FIELDS", count], changed);
        ctx.keyspace.notify(Class::Hash, "hexpire", key);
    }
}

/// Answers for each field: -2 it is absent, -1 it has no deadline, 1 done.
fn hpersist(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let fields = plain_fields(&args, WRONG_NUMBER)?;
    let (key, now_ms, hasher) = (args.get(1), ctx.now_ms(), ctx.hasher);
    let mut hash = ctx.keyspace.hash_mut(key)?;
    let mut changed: Vec<&[u8]> = Vec::new();
    ctx.out.array(fields.len());
    for field in fields {
        let had = hash.as_deref_mut().and_then(|hash| hash.persist_field(field, now_ms, hasher));
        if had == Some(true) {
            changed.push(field);
        }
        ctx.out.integer(had.map_or(-2, |had| if had { 1 } else { -1 }));
    }
    after_persist(ctx, key, &changed);
    Ok(Reply::Written)
}

fn after_persist(ctx: &mut Context<'_>, key: &[u8], changed: &[&[u8]]) {
    if changed.is_empty() {
        return;
    }
    ctx.keyspace.hash_expiry_changed(key, true);
    ctx.keyspace.modified_by(key, changed.len() as u64);
    let mut count = itoa::Buffer::new();
    leave(ctx, &[b"HPERSIST", key, b"FIELDS", count.format(changed.len()).as_bytes()], changed);
    ctx.keyspace.notify(Class::Hash, "hpersist", key);
}

// ---- asking for deadlines ----------------------------------------------------------------------------------

fn httl(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let now_ms = ctx.present_ms();
    deadlines(ctx, &args, |at| seconds((at - now_ms).max(0)))
}

fn hpttl(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let now_ms = ctx.present_ms();
    deadlines(ctx, &args, |at| (at - now_ms).max(0))
}

fn hexpiretime(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    deadlines(ctx, &args, seconds)
}

fn hpexpiretime(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    deadlines(ctx, &args, |at| at)
}

/// Milliseconds as seconds, to the nearest.
fn seconds(ms: i64) -> i64 {
    ms.saturating_add(500) / 1000
}

/// Answers for each field: -2 it is absent, -1 it has no deadline, else what `show` makes of that.
fn deadlines(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    show: impl Fn(i64) -> i64,
) -> Result<Reply, CommandError> {
    let fields = plain_fields(args, CommandError::Syntax)?;
    let now_ms = ctx.now_ms();
    let hash = ctx.keyspace.hash(args.get(1))?;
    ctx.out.array(fields.len());
    for field in fields {
        let expiry = hash.and_then(|hash| hash.field_expiry(field, now_ms, ctx.hasher));
        ctx.out.integer(expiry.map_or(-2, |at| at.map_or(-1, &show)));
    }
    Ok(Reply::Written)
}

// ---- reading and writing with deadlines --------------------------------------------------------------------

fn hgetdel(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let fields = plain_fields(&args, WRONG_NUMBER)?;
    let (key, now_ms, hasher) = (args.get(1), ctx.now_ms(), ctx.hasher);
    let Some(hash) = ctx.keyspace.hash_mut(key)? else {
        ctx.out.array(fields.len());
        fields.iter().for_each(|_| ctx.out.null());
        return Ok(Reply::Written);
    };
    let had_volatile = hash.volatile_fields() > 0;
    let (mut deleted, mut overdue) = (0, 0);
    ctx.out.array(fields.len());
    for field in fields {
        write_value(ctx.out, Some(hash), field, now_ms, hasher);
        match drop_field(hash, field, now_ms, hasher) {
            Dropped::Live => deleted += 1,
            Dropped::Overdue => overdue += 1,
            Dropped::Absent => {}
        }
    }
    after_removal(ctx, key, had_volatile, deleted, overdue);
    Ok(Reply::Written)
}

fn hgetex(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let (mut options, behind) = split_at_fields(&args, 2)?;
    let (mut expiry, mut persist) = (None, false);
    while options.left() > 0 {
        if expiry.is_none() && options.word("PERSIST") {
            persist = true;
        } else if persist || !read_expiry(&mut options, &mut expiry)? {
            return Err(CommandError::Syntax);
        }
    }
    let fields = counted(behind, 1, WRONG_NUMBER)?;
    let (key, now_ms, hasher) = (args.get(1), ctx.now_ms(), ctx.hasher);
    let hash = ctx.keyspace.hash(key)?;
    if expiry.is_none() && !persist {
        ctx.out.array(fields.len());
        fields.iter().for_each(|field| write_value(ctx.out, hash, field, now_ms, hasher));
        return Ok(Reply::Written);
    }
    let present_ms = ctx.present_ms();
    let at = expiry.map(|expiry| deadline(expiry.number, expiry.unit, present_ms, &args)).transpose()?;
    let mut hash = ctx.keyspace.hash_mut(key)?;
    let had_volatile = hash.as_ref().is_some_and(|hash| hash.volatile_fields() > 0);
    let mut changed: Vec<&[u8]> = Vec::new();
    ctx.out.array(fields.len());
    for field in fields {
        write_value(ctx.out, hash.as_deref(), field, now_ms, hasher);
        let Some(hash) = hash.as_deref_mut() else { continue };
        let has_changed = match at {
            Some(at) => set_deadline(hash, field, at, now_ms, hasher),
            None => hash.persist_field(field, now_ms, hasher) == Some(true),
        };
        if has_changed {
            changed.push(field);
        }
    }
    match at {
        Some(at) => after_deadlines(ctx, key, had_volatile, at, &changed),
        None => after_persist(ctx, key, &changed),
    }
    Ok(Reply::Written)
}

/// What HSETEX may be told before `FIELDS`.
#[derive(Clone, Copy, Debug, Default)]
struct SetOptions<'a> {
    /// Only if there is no such key.
    nx: bool,
    /// Only if there is such a key.
    xx: bool,
    /// Only if none of the fields is there.
    fnx: bool,
    /// Only if all of the fields are there.
    fxx: bool,
    keep_ttl: bool,
    expiry: Option<Expiry<'a>>,
}

impl<'a> SetOptions<'a> {
    fn read(mut args: Args<'a>) -> Result<Self, CommandError> {
        let mut all = Self::default();
        while args.left() > 0 {
            if !all.xx && args.word("NX") {
                all.nx = true;
            } else if !all.nx && args.word("XX") {
                all.xx = true;
            } else if !all.fxx && args.word("FNX") {
                all.fnx = true;
            } else if !all.fnx && args.word("FXX") {
                all.fxx = true;
            } else if all.expiry.is_none() && args.word("KEEPTTL") {
                all.keep_ttl = true;
            } else if all.keep_ttl || !read_expiry(&mut args, &mut all.expiry)? {
                return Err(CommandError::Syntax);
            }
        }
        Ok(all)
    }

    /// Whether the conditions on the fields hold; none is in an absent hash.
    fn allow(&self, hash: Option<&Hash>, pairs: &[[&[u8]; 2]], now_ms: i64, hasher: &Hasher) -> bool {
        if !self.fnx && !self.fxx {
            return true;
        }
        pairs.iter().all(|[field, _]| {
            let is_there = hash.is_some_and(|hash| hash.contains(field, now_ms, hasher));
            is_there == self.fxx
        })
    }

    /// Whether the command means the same wherever and whenever it is repeated.
    fn is_absolute(&self) -> bool {
        let conditional = self.nx || self.xx || self.fnx || self.fxx;
        !conditional && self.expiry.is_none_or(|expiry| expiry.unit == Unit::PxAt)
    }
}

fn hsetex(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let (options, behind) = split_at_fields(&args, 2)?;
    let options = SetOptions::read(options)?;
    let (pairs, _) = counted(behind, 2, WRONG_NUMBER)?.as_chunks::<2>();
    let (key, now_ms, hasher) = (args.get(1), ctx.now_ms(), ctx.hasher);
    let exists = ctx.keyspace.hash_mut(key)?.is_some();
    if exists && options.nx || !exists && options.xx {
        return Ok(Reply::Integer(0));
    }
    let present_ms = ctx.present_ms();
    let at =
        options.expiry.map(|expiry| deadline(expiry.number, expiry.unit, present_ms, &args)).transpose()?;
    let hash = ctx.keyspace.hash_mut(key)?;
    if !options.allow(hash.as_deref(), pairs, now_ms, hasher) {
        return Ok(Reply::Integer(0));
    }
    match at {
        Some(at) if at <= now_ms => write_overdue(ctx, key, pairs)?,
        _ => write_until(ctx, key, pairs, at, &options)?,
    }
    Ok(Reply::Integer(1))
}

/// Writes fields with a deadline that has passed: they are gone at once.
fn write_overdue(ctx: &mut Context<'_>, key: &[u8], pairs: &[[&[u8]; 2]]) -> Result<(), CommandError> {
    let (now_ms, hasher) = (ctx.now_ms(), ctx.hasher);
    let hash = ctx.keyspace.hash_or_new(key)?;
    let had_volatile = hash.volatile_fields() > 0;
    let mut gone: Vec<&[u8]> = Vec::new();
    for [field, _] in pairs {
        if drop_field(hash, field, now_ms, hasher) != Dropped::Absent {
            gone.push(field);
        }
    }
    ctx.keyspace.hash_expiry_changed(key, had_volatile);
    if !gone.is_empty() {
        ctx.keyspace.modified_by(key, gone.len() as u64);
        leave(ctx, &[b"HDEL", key], &gone);
    }
    ctx.keyspace.notify(Class::Hash, "hset", key);
    ctx.keyspace.notify(Class::Hash, "hexpire", key);
    note_expired(ctx, key, pairs.len());
    ctx.keyspace.remove_if_empty(key);
    Ok(())
}

/// Writes fields with a deadline that is to come, with the one they have, or without any.
fn write_until(
    ctx: &mut Context<'_>,
    key: &[u8],
    pairs: &[[&[u8]; 2]],
    at: Option<i64>,
    options: &SetOptions<'_>,
) -> Result<(), CommandError> {
    let (now_ms, limits, hasher) = (ctx.now_ms(), limits(ctx.settings), ctx.hasher);
    let ttl = match at {
        Some(at) => FieldTtl::At(at),
        None if options.keep_ttl => FieldTtl::Keep,
        None => FieldTtl::Drop,
    };
    let hash = ctx.keyspace.hash_or_new(key)?;
    let had_volatile = hash.volatile_fields() > 0;
    let overdue = overdue(hash, pairs.iter().map(|[field, _]| *field), now_ms, hasher);
    expect(hash, pairs, &limits, hasher);
    for [field, value] in pairs {
        hash.set_with(field, value, ttl, now_ms, &limits, hasher);
    }
    if had_volatile || at.is_some() {
        ctx.keyspace.hash_expiry_changed(key, had_volatile);
    }
    ctx.keyspace.modified_by(key, pairs.len() as u64);
    if options.keep_ttl && !overdue.is_empty() {
        // Whoever repeats this must not keep a deadline that has passed here.
        ctx.keyspace.propagate_also(&[&[&b"HDEL"[..], key], &overdue[..]].concat());
    }
    if !options.is_absolute() {
        leave_write(ctx, key, pairs, at, options.keep_ttl);
    }
    note_expired(ctx, key, overdue.len());
    ctx.keyspace.notify(Class::Hash, "hset", key);
    if at.is_some() {
        ctx.keyspace.notify(Class::Hash, "hexpire", key);
    }
    Ok(())
}

/// Leaves a write without its conditions.
fn leave_write(ctx: &mut Context<'_>, key: &[u8], pairs: &[[&[u8]; 2]], at: Option<i64>, keep_ttl: bool) {
    let (mut at_text, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    let mut head: Vec<&[u8]> = vec![b"HSETEX", key];
    if let Some(at) = at {
        head.extend([b"PXAT", at_text.format(at).as_bytes()]);
    } else if keep_ttl {
        head.push(b"KEEPTTL");
    }
    head.extend([b"FIELDS", count.format(pairs.len()).as_bytes()]);
    leave(ctx, &head, pairs.as_flattened());
}
