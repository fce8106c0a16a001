//! Strings: bytes, and the numbers written in them.
//!
//! A string that is a canonical integer is kept as one, so that INCR changes a word in place and GET prints it.

use super::expiry_args::{Expiry, Unit, remove_overdue};
use crate::command::Flag::*;
use crate::command::KeyFlag::*;
use crate::command::{Args, Arity, Begin, Category, Command, Find, Group, KeySpec, Run, key, keys};
use crate::context::Context;
use crate::error::CommandError;
use crate::keyspace::notify::Class;
use crate::keyspace::{SetExpiry, StrRef, Value, ValueRef};
use crate::number::{LongDouble, parse_i64};
use crate::reply::{Out, Reply};
use crate::types::lcs;
use smallvec::SmallVec;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "APPEND",
        arity: Arity::Exactly(3),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::String],
        keys: &[key(1, &[Rw, Insert])],
        group: Group::String,
        since: "2.0.0",
        complexity: "O(1) amortised, for the bytes added",
        summary: "Adds bytes at the end of a string, creating it when the key is absent.",
        run: Run::Keys(append),
        ..Command::BASE
    },
    Command {
        name: "DECR",
        arity: Arity::Exactly(2),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::String],
        keys: &[key(1, &[Rw, Access, Update])],
        group: Group::String,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Subtracts one from the integer at a key, which counts as 0 when absent.",
        run: Run::Keys(decr),
        ..Command::BASE
    },
    Command {
        name: "DECRBY",
        arity: Arity::Exactly(3),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::String],
        keys: &[key(1, &[Rw, Access, Update])],
        group: Group::String,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Subtracts a number from the integer at a key, which counts as 0 when absent.",
        run: Run::Keys(decrby),
        ..Command::BASE
    },
    Command {
        name: "DELIFEQ",
        arity: Arity::Exactly(3),
        flags: &[Fast, Write],
        acl: &[Category::String],
        keys: &[key(1, &[Rm, Delete])],
        group: Group::String,
        since: "9.0.0",
        complexity: "O(1)",
        summary: "Removes a key if its string equals the one given.",
        run: Run::Keys(delifeq),
        ..Command::BASE
    },
    Command {
        name: "GET",
        arity: Arity::Exactly(2),
        flags: &[ReadOnly, Fast],
        acl: &[Category::String],
        keys: &[key(1, &[Ro, Access])],
        group: Group::String,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Answers the string at a key.",
        run: Run::Keys(get),
        ..Command::BASE
    },
    Command {
        name: "GETDEL",
        arity: Arity::Exactly(2),
        flags: &[Write, Fast],
        acl: &[Category::String],
        keys: &[key(1, &[Rw, Access, Delete])],
        group: Group::String,
        since: "6.2.0",
        complexity: "O(1)",
        summary: "Answers the string at a key and removes the key.",
        run: Run::Keys(getdel),
        ..Command::BASE
    },
    Command {
        name: "GETEX",
        arity: Arity::AtLeast(2),
        flags: &[Write, Fast],
        acl: &[Category::String],
        keys: &[key(1, &[Rw, Access, Update])],
        group: Group::String,
        since: "6.2.0",
        complexity: "O(1)",
        summary: "Answers the string at a key and sets or clears the expiry of the key.",
        run: Run::Keys(getex),
        ..Command::BASE
    },
    Command {
        name: "GETRANGE",
        arity: Arity::Exactly(4),
        flags: &[ReadOnly],
        acl: &[Category::String],
        keys: &[key(1, &[Ro, Access])],
        group: Group::String,
        since: "2.4.0",
        complexity: "O(n) for n bytes answered",
        summary: "Answers a part of the string at a key.",
        run: Run::Keys(getrange),
        ..Command::BASE
    },
    Command {
        name: "GETSET",
        arity: Arity::Exactly(3),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::String],
        keys: &[key(1, &[Rw, Access, Update])],
        group: Group::String,
        since: "1.0.0",
        deprecated: Some(("6.2.0", "`SET` with the `GET` argument")),
        complexity: "O(1)",
        summary: "Answers the string at a key and puts another in its place.",
        run: Run::Keys(getset),
        ..Command::BASE
    },
    Command {
        name: "INCR",
        arity: Arity::Exactly(2),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::String],
        keys: &[key(1, &[Rw, Access, Update])],
        group: Group::String,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Adds one to the integer at a key, which counts as 0 when absent.",
        run: Run::Keys(incr),
        ..Command::BASE
    },
    Command {
        name: "INCRBY",
        arity: Arity::Exactly(3),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::String],
        keys: &[key(1, &[Rw, Access, Update])],
        group: Group::String,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Adds a number to the integer at a key, which counts as 0 when absent.",
        run: Run::Keys(incrby),
        ..Command::BASE
    },
    Command {
        name: "INCRBYFLOAT",
        arity: Arity::Exactly(3),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::String],
        keys: &[key(1, &[Rw, Access, Update])],
        group: Group::String,
        since: "2.6.0",
        complexity: "O(1)",
        summary: "Adds a float to the number at a key, which counts as 0 when absent.",
        run: Run::Keys(incrbyfloat),
        ..Command::BASE
    },
    Command {
        name: "LCS",
        arity: Arity::AtLeast(3),
        flags: &[ReadOnly],
        acl: &[Category::String],
        keys: &[keys(1, 1, 1, &[Ro, Access])],
        group: Group::String,
        since: "7.0.0",
        complexity: "O(n*m) for strings of n and m bytes",
        summary: "Finds the longest common subsequence of two strings.",
        run: Run::Keys(lcs),
        ..Command::BASE
    },
    Command {
        name: "MGET",
        arity: Arity::AtLeast(2),
        flags: &[ReadOnly, Fast],
        acl: &[Category::String],
        keys: &[keys(1, -1, 1, &[Ro, Access])],
        tips: &["request_policy:multi_shard"],
        group: Group::String,
        since: "1.0.0",
        complexity: "O(n) for n keys",
        summary: "Answers the strings at several keys, null where there is none.",
        run: Run::Keys(mget),
        ..Command::BASE
    },
    Command {
        name: "MSET",
        arity: Arity::AtLeast(3),
        flags: &[Write, DenyOom],
        acl: &[Category::String],
        keys: &[keys(1, -1, 2, &[Ow, Update])],
        tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
        group: Group::String,
        since: "1.0.1",
        complexity: "O(n) for n keys",
        summary: "Puts strings at several keys, all at once.",
        run: Run::Keys(mset),
        ..Command::BASE
    },
    Command {
        name: "MSETEX",
        arity: Arity::AtLeast(4),
        flags: &[Write, DenyOom],
        acl: &[Category::String],
        keys: &[KeySpec {
            flags: &[Ow, Update],
            begin: Begin::Index(1),
            find: Find::KeyNum { at: 0, first: 1, step: 2 },
        }],
        tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
        group: Group::String,
        since: "9.1.0",
        complexity: "O(n) for n keys",
        summary: "Puts strings at several keys, all at once, with one expiry and condition for all.",
        run: Run::Keys(msetex),
        ..Command::BASE
    },
    Command {
        name: "MSETNX",
        arity: Arity::AtLeast(3),
        flags: &[Write, DenyOom],
        acl: &[Category::String],
        keys: &[keys(1, -1, 2, &[Ow, Insert])],
        group: Group::String,
        since: "1.0.1",
        complexity: "O(n) for n keys",
        summary: "Puts strings at several keys, all at once, unless one of the keys exists.",
        run: Run::Keys(msetnx),
        ..Command::BASE
    },
    Command {
        name: "PSETEX",
        arity: Arity::Exactly(4),
        flags: &[Write, DenyOom],
        acl: &[Category::String],
        keys: &[key(1, &[Ow, Update])],
        group: Group::String,
        since: "2.6.0",
        deprecated: Some(("2.6.12", "`SET` with the `PX` argument")),
        complexity: "O(1)",
        summary: "Puts a string at a key, with an expiry in milliseconds.",
        run: Run::Keys(psetex),
        ..Command::BASE
    },
    Command {
        name: "SET",
        arity: Arity::AtLeast(3),
        flags: &[Write, DenyOom],
        acl: &[Category::String],
        keys: &[key(1, &[Rw, Access, Update, VariableFlags])],
        group: Group::String,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Puts a string at a key, on conditions and with an expiry if asked for.",
        run: Run::Keys(set),
        ..Command::BASE
    },
    Command {
        name: "SETEX",
        arity: Arity::Exactly(4),
        flags: &[Write, DenyOom],
        acl: &[Category::String],
        keys: &[key(1, &[Ow, Update])],
        group: Group::String,
        since: "2.0.0",
        deprecated: Some(("2.6.12", "`SET` with the `EX` argument")),
        complexity: "O(1)",
        summary: "Puts a string at a key, with an expiry in seconds.",
        run: Run::Keys(setex),
        ..Command::BASE
    },
    Command {
        name: "SETNX",
        arity: Arity::Exactly(3),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::String],
        keys: &[key(1, &[Ow, Insert])],
        group: Group::String,
        since: "1.0.0",
        deprecated: Some(("2.6.12", "`SET` with the `NX` argument")),
        complexity: "O(1)",
        summary: "Puts a string at a key unless the key exists.",
        run: Run::Keys(setnx),
        ..Command::BASE
    },
    Command {
        name: "SETRANGE",
        arity: Arity::Exactly(4),
        flags: &[Write, DenyOom],
        acl: &[Category::String],
        keys: &[key(1, &[Rw, Update])],
        group: Group::String,
        since: "2.2.0",
        complexity: "O(n) for n bytes written, or skipped beyond the end",
        summary: "Overwrites a part of the string at a key, which grows as needed.",
        run: Run::Keys(setrange),
        ..Command::BASE
    },
    Command {
        name: "STRLEN",
        arity: Arity::Exactly(2),
        flags: &[ReadOnly, Fast],
        acl: &[Category::String],
        keys: &[key(1, &[Ro])],
        group: Group::String,
        since: "2.2.0",
        complexity: "O(1)",
        summary: "Answers the length of the string at a key.",
        run: Run::Keys(strlen),
        ..Command::BASE
    },
    Command {
        name: "SUBSTR",
        arity: Arity::Exactly(4),
        flags: &[ReadOnly],
        acl: &[Category::String],
        keys: &[key(1, &[Ro, Access])],
        group: Group::String,
        since: "1.0.0",
        deprecated: Some(("2.0.0", "`GETRANGE`")),
        complexity: "O(n) for n bytes answered",
        summary: "Answers a part of the string at a key.",
        run: Run::Keys(substr),
        ..Command::BASE
    },
];

// ---- reading -----------------------------------------------------------------------------------------------

fn get(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    match ctx.keyspace.string(args.get(1))? {
        Some(text) => write_string(ctx.out, text),
        None => ctx.out.null(),
    }
    Ok(Reply::Written)
}

fn strlen(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    Ok(ctx.keyspace.string(args.get(1))?.map_or(0, StrRef::len).into())
}

fn mget(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let keys = args.rest();
    ctx.out.array(keys.len());
    for key in keys {
        match ctx.keyspace.read(key) {
            Some(ValueRef::Str(text)) => write_string(ctx.out, text),
            _ => ctx.out.null(),
        }
    }
    Ok(Reply::Written)
}

fn getrange(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let key = args.required()?;
    let (start, end) = (args.integer()?, args.integer()?);
    match ctx.keyspace.string(key)? {
        Some(text) => ctx.out.bulk(part(text.bytes(&mut itoa::Buffer::new()), start, end)),
        None => ctx.out.bulk(b""),
    }
    Ok(Reply::Written)
}

fn substr(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    getrange(ctx, args)
}

/// The bytes from `start` to `end`, both included; negative ones count from the end.
fn part(bytes: &[u8], start: i64, end: i64) -> &[u8] {
    if start < 0 && end < 0 && start > end {
        return b"";
    }
    let len = bytes.len() as i64;
    let from_front = |at: i64| if at < 0 { (len + at).max(0) } else { at };
    let (start, end) = (from_front(start), from_front(end).min(len - 1));
    bytes.get(start as usize..(end + 1) as usize).unwrap_or_default()
}

#[inline]
fn write_string(out: &mut Out, text: StrRef<'_>) {
    match text {
        StrRef::Int(n) => out.bulk_integer(n),
        StrRef::Embedded(bytes) | StrRef::Raw(bytes) => out.bulk(bytes),
    }
}

/// What LCS answers.
struct LcsOptions {
    len: bool,
    idx: bool,
    match_len_min: usize,
    with_match_len: bool,
}

impl LcsOptions {
    fn read(mut args: Args<'_>) -> Result<Self, CommandError> {
        let mut options = Self { len: false, idx: false, match_len_min: 0, with_match_len: false };
        args.seek(3);
        while args.left() > 0 {
            if args.word("IDX") {
                options.idx = true;
            } else if args.word("LEN") {
                options.len = true;
            } else if args.word("WITHMATCHLEN") {
                options.with_match_len = true;
            } else if args.word("MINMATCHLEN") {
                options.match_len_min = usize::try_from(args.integer()?).unwrap_or(0);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if options.len && options.idx {
            return Err(CommandError::text(
                "ERR If you want both the length and indexes, please just use IDX.",
            ));
        }
        Ok(options)
    }
}

fn lcs(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    const NOT_STRINGS: CommandError = CommandError::text("ERR The specified keys must contain string values");
    const TOO_LONG: CommandError = CommandError::text("ERR String too long for LCS");
    const TOO_MUCH: CommandError =
        CommandError::text("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
    const NO_MEMORY: CommandError =
        CommandError::text("ERR Insufficient memory, failed allocating transient memory for LCS");
    let keys = [args.get(1), args.get(2)];
    for key in keys {
        // Counts the lookup; the values are borrowed together below.
        let _ = ctx.keyspace.read(key);
    }
    let mut digits = [itoa::Buffer::new(), itoa::Buffer::new()];
    let [a_digits, b_digits] = &mut digits;
    let text = |key: &[u8]| match ctx.keyspace.peek(key) {
        None => Ok(StrRef::Embedded(b"")),
        Some(ValueRef::Str(text)) => Ok(text),
        Some(_) => Err(NOT_STRINGS),
    };
    let (a, b) = (text(keys[0])?.bytes(a_digits), text(keys[1])?.bytes(b_digits));
    let options = LcsOptions::read(args)?;
    if a.len().max(b.len()) >= u32::MAX as usize - 1 {
        return Err(TOO_LONG);
    }
    if lcs::table_bytes(a.len(), b.len()) > ctx.settings.proto_max_bulk_len {
        return Err(TOO_MUCH);
    }
    if options.idx {
        write_matches(ctx.out, &lcs::matches(a, b).map_err(|_| NO_MEMORY)?, &options);
        Ok(Reply::Written)
    } else if options.len {
        Ok(lcs::length(a, b).map_err(|_| NO_MEMORY)?.into())
    } else {
        ctx.out.bulk(&lcs::subsequence(a, b).map_err(|_| NO_MEMORY)?);
        Ok(Reply::Written)
    }
}

fn write_matches(out: &mut Out, matches: &[lcs::Match], options: &LcsOptions) {
    let long_enough = |found: &&lcs::Match| found.len() >= options.match_len_min;
    out.map(2);
    out.bulk(b"matches");
    out.array(matches.iter().filter(long_enough).count());
    for found in matches.iter().filter(long_enough) {
        out.array(2 + usize::from(options.with_match_len));
        for range in [&found.a, &found.b] {
            out.array(2);
            out.integer(range.start as i64);
            out.integer(range.end as i64 - 1);
        }
        if options.with_match_len {
            out.integer(found.len() as i64);
        }
    }
    out.bulk(b"len");
    out.integer(matches.iter().map(lcs::Match::len).sum::<usize>() as i64);
}

// ---- SET and its kin ---------------------------------------------------------------------------------------

/// When SET does anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition<'a> {
    Always,
    /// NX
    Absent,
    /// XX
    Present,
    /// IFEQ
    Equals(&'a [u8]),
}

/// The options of SET and MSETEX.
struct SetOptions<'a> {
    condition: Condition<'a>,
    expiry: Option<Expiry<'a>>,
    keep_ttl: bool,
    get: bool,
}

impl<'a> SetOptions<'a> {
    /// Reads the rest of the arguments. An option may be repeated, but not contradicted.
    fn read(args: &mut Args<'a>) -> Result<Self, CommandError> {
        use Condition::{Absent, Always, Equals, Present};
        let mut options = Self { condition: Always, expiry: None, keep_ttl: false, get: false };
        while args.left() > 0 {
            if let Some(expiry) = Expiry::read(args) {
                if options.keep_ttl || options.expiry.is_some_and(|other| other.unit != expiry.unit) {
                    return Err(CommandError::Syntax);
                }
                options.expiry = Some(expiry);
                continue;
            }
            let word = args.required()?;
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            match options.condition {
                Always | Absent if is(b"NX") => options.condition = Absent,
                Always | Present if is(b"XX") => options.condition = Present,
                Always if is(b"IFEQ") => options.condition = Equals(args.required()?),
                _ if is(b"GET") => options.get = true,
                _ if is(b"KEEPTTL") && options.expiry.is_none() => options.keep_ttl = true,
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(options)
    }

    /// What happens to the expiry of the key.
    fn expiry(&self, now_ms: i64, command: &str) -> Result<SetExpiry, CommandError> {
        Ok(match self.expiry {
            Some(expiry) => SetExpiry::At(expiry.deadline(now_ms, command)?),
            None if self.keep_ttl => SetExpiry::Keep,
            None => SetExpiry::Clear,
        })
    }
}

fn set(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let (key, value) = (args.get(1), args.get(2));
    if args.count() == 3 {
        store(ctx, key, value, SetExpiry::Clear);
        return Ok(Reply::Ok);
    }
    args.seek(3);
    let options = SetOptions::read(&mut args)?;
    let expiry = options.expiry(ctx.present_ms(), "set")?;
    if options.get {
        get(ctx, args)?;
    }
    if !holds(ctx, key, options.condition)? {
        return Ok(if options.get { Reply::Written } else { Reply::Null });
    }
    if store(ctx, key, value, expiry) {
        leave_set(ctx, args, &options, expiry);
    }
    Ok(if options.get { Reply::Written } else { Reply::Ok })
}

/// The effect of SET: absolute times only, without GET, which is of no use in a log, and without IFEQ, which
/// Redis does not know.
fn leave_set(ctx: &mut Context<'_>, args: Args<'_>, options: &SetOptions<'_>, expiry: SetExpiry) {
    let foreign = matches!(options.condition, Condition::Equals(_));
    match (expiry, options.expiry) {
        (SetExpiry::At(_), Some(Expiry { unit: Unit::PxAt, .. })) if !foreign => {}
        (SetExpiry::At(at), _) => propagate_set_until(ctx, args.get(1), args.get(2), at),
        _ if options.get || foreign => {
            let mut effect: SmallVec<[&[u8]; 8]> = SmallVec::new();
            effect.extend([&b"SET"[..], args.get(1), args.get(2)]);
            let mut words = args;
            words.seek(3);
            while let Some(word) = words.take() {
                if word.eq_ignore_ascii_case(b"IFEQ") {
                    words.take();
                } else if !word.eq_ignore_ascii_case(b"GET") {
                    effect.push(word);
                }
            }
            ctx.keyspace.propagate(&effect);
        }
        _ => {}
    }
}

fn propagate_set_until(ctx: &mut Context<'_>, key: &[u8], value: &[u8], at: i64) {
    let mut digits = itoa::Buffer::new();
    ctx.keyspace.propagate(&[b"SET", key, value, b"PXAT", digits.format(at).as_bytes()]);
}

/// Whether the condition of a SET holds. Only IFEQ minds the type of what is there.
fn holds(ctx: &mut Context<'_>, key: &[u8], condition: Condition<'_>) -> Result<bool, CommandError> {
    Ok(match condition {
        Condition::Always => true,
        Condition::Absent => !ctx.keyspace.exists(key),
        Condition::Present => ctx.keyspace.exists(key),
        Condition::Equals(other) => equals(ctx, key, other)?,
    })
}

/// Whether there is a string at the key and it is this one.
fn equals(ctx: &mut Context<'_>, key: &[u8], other: &[u8]) -> Result<bool, CommandError> {
    if !ctx.keyspace.exists(key) {
        return Ok(false);
    }
    match ctx.keyspace.peek(key) {
        Some(ValueRef::Str(text)) => Ok(text.bytes(&mut itoa::Buffer::new()) == other),
        Some(_) => Err(CommandError::WrongType),
        None => Ok(false),
    }
}

/// Puts a string, with its events. A deadline in the past removes the key instead: then false.
#[inline]
fn store(ctx: &mut Context<'_>, key: &[u8], value: &[u8], expiry: SetExpiry) -> bool {
    let expires = match expiry {
        SetExpiry::At(at) if at <= ctx.now_ms() => {
            if ctx.keyspace.exists(key) {
                remove_overdue(ctx, key);
            }
            return false;
        }
        SetExpiry::At(_) => true,
        SetExpiry::Keep | SetExpiry::Clear => false,
    };
    ctx.keyspace.put_string(key, value, expiry);
    ctx.keyspace.modified(key);
    ctx.keyspace.notify(Class::String, "set", key);
    if expires {
        ctx.keyspace.notify(Class::Generic, "expire", key);
    }
    true
}

fn setnx(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let absent = !ctx.keyspace.exists(args.get(1));
    if absent {
        store(ctx, args.get(1), args.get(2), SetExpiry::Clear);
    }
    Ok(absent.into())
}

fn setex(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    set_for(ctx, args, Unit::Ex, "setex")
}

fn psetex(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    set_for(ctx, args, Unit::Px, "psetex")
}

fn set_for(ctx: &mut Context<'_>, args: Args<'_>, unit: Unit, name: &str) -> Result<Reply, CommandError> {
    let (key, number, value) = (args.get(1), args.get(2), args.get(3));
    let at = Expiry { unit, number }.deadline(ctx.present_ms(), name)?;
    if store(ctx, key, value, SetExpiry::At(at)) {
        propagate_set_until(ctx, key, value, at);
    }
    Ok(Reply::Ok)
}

fn getset(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    get(ctx, args)?;
    store(ctx, args.get(1), args.get(2), SetExpiry::Clear);
    ctx.keyspace.propagate(&[b"SET", args.get(1), args.get(2)]);
    Ok(Reply::Written)
}

fn getdel(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    get(ctx, args)?;
    delete(ctx, args.get(1));
    Ok(Reply::Written)
}

fn delifeq(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let equal = equals(ctx, args.get(1), args.get(2))?;
    Ok((equal && delete(ctx, args.get(1))).into())
}

fn delete(ctx: &mut Context<'_>, key: &[u8]) -> bool {
    let there = ctx.keyspace.remove(key);
    if there {
        ctx.keyspace.propagate(&[b"DEL", key]);
        ctx.keyspace.modified(key);
        ctx.keyspace.notify(Class::Generic, "del", key);
    }
    there
}

fn getex(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let key = args.required()?;
    let (mut expiry, mut persist) = (None::<Expiry<'_>>, false);
    while args.left() > 0 {
        match Expiry::read(&mut args) {
            Some(next) if !persist && expiry.is_none_or(|other| other.unit == next.unit) => {
                expiry = Some(next)
            }
            None if expiry.is_none() && args.word("PERSIST") => persist = true,
            _ => return Err(CommandError::Syntax),
        }
    }
    let Some(text) = ctx.keyspace.string(key)? else { return Ok(Reply::Null) };
    write_string(ctx.out, text);
    if let Some(expiry) = expiry {
        let at = expiry.deadline(ctx.present_ms(), "getex")?;
        if at <= ctx.now_ms() {
            remove_overdue(ctx, key);
        } else {
            ctx.keyspace.set_expiry(key, Some(at));
            let mut digits = itoa::Buffer::new();
            ctx.keyspace.propagate(&[b"PEXPIREAT", key, digits.format(at).as_bytes()]);
            ctx.keyspace.modified(key);
            ctx.keyspace.notify(Class::Generic, "expire", key);
        }
    } else if persist && ctx.keyspace.expiry(key).flatten().is_some() {
        ctx.keyspace.set_expiry(key, None);
        ctx.keyspace.propagate(&[b"PERSIST", key]);
        ctx.keyspace.modified(key);
        ctx.keyspace.notify(Class::Generic, "persist", key);
    }
    Ok(Reply::Written)
}

// ---- several keys ------------------------------------------------------------------------------------------

fn mset(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    for (key, value) in pairs(args, "mset")? {
        store(ctx, key, value, SetExpiry::Clear);
    }
    Ok(Reply::Ok)
}

fn msetnx(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    for (key, _) in pairs(args, "msetnx")? {
        if ctx.keyspace.exists(key) {
            return Ok(Reply::Integer(0));
        }
    }
    for (key, value) in pairs(args, "msetnx")? {
        store(ctx, key, value, SetExpiry::Clear);
    }
    Ok(Reply::Integer(1))
}

type Pair<'a> = (&'a [u8], &'a [u8]);

/// All arguments but the name, as keys and values.
fn pairs<'a>(mut args: Args<'a>, name: &str) -> Result<impl Iterator<Item = Pair<'a>>, CommandError> {
    let all = args.rest();
    if !all.len().is_multiple_of(2) {
        return Err(CommandError::Arity(name.to_owned()));
    }
    Ok(each_pair(all))
}

fn each_pair<'a>(all: &'a [&'a [u8]]) -> impl Iterator<Item = Pair<'a>> {
    all.as_chunks().0.iter().map(|&[key, value]| (key, value))
}

fn msetex(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    const BAD_COUNT: CommandError = CommandError::text("ERR invalid numkeys value or out of range");
    let count = parse_i64(args.required()?).and_then(|n| i32::try_from(n).ok()).filter(|n| *n > 0);
    let count = count.ok_or(BAD_COUNT)? as usize;
    let Some((all, _)) = args.rest().split_at_checked(2 * count) else { return Err(CommandError::Syntax) };
    args.seek(2 + all.len());
    let options = SetOptions::read(&mut args)?;
    if options.get || matches!(options.condition, Condition::Equals(_)) {
        return Err(CommandError::Syntax);
    }
    let expiry = options.expiry(ctx.present_ms(), "msetex")?;
    for (key, _) in each_pair(all) {
        if !holds(ctx, key, options.condition)? {
            return Ok(Reply::Integer(0));
        }
    }
    // Commands that every Redis knows: the log has to be readable by all of them.
    for (key, value) in each_pair(all) {
        match (store(ctx, key, value, expiry), expiry) {
            (true, SetExpiry::At(at)) => propagate_set_until(ctx, key, value, at),
            (true, SetExpiry::Keep) => ctx.keyspace.propagate(&[b"SET", key, value, b"KEEPTTL"]),
            (true, SetExpiry::Clear) => ctx.keyspace.propagate(&[b"SET", key, value]),
            (false, _) => {}
        }
    }
    Ok(Reply::Integer(1))
}

// ---- numbers -----------------------------------------------------------------------------------------------

fn incr(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    add(ctx, args.get(1), 1)
}

fn decr(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    add(ctx, args.get(1), -1)
}

fn incrby(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let key = args.required()?;
    add(ctx, key, args.integer()?)
}

fn decrby(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    const OVERFLOW: CommandError = CommandError::text("ERR decrement would overflow");
    let key = args.required()?;
    add(ctx, key, args.integer()?.checked_neg().ok_or(OVERFLOW)?)
}

#[inline]
fn add(ctx: &mut Context<'_>, key: &[u8], by: i64) -> Result<Reply, CommandError> {
    const OVERFLOW: CommandError = CommandError::text("ERR increment or decrement would overflow");
    let n = ctx.keyspace.change_integer(key, |n| n.checked_add(by).ok_or(OVERFLOW))?;
    ctx.keyspace.modified(key);
    ctx.keyspace.notify(Class::String, "incrby", key);
    Ok(Reply::Integer(n))
}

fn incrbyfloat(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let (key, by) = (args.get(1), args.get(2));
    let expiry = ctx.keyspace.expiry(key).flatten();
    let value = match ctx.keyspace.peek(key) {
        None => LongDouble::from(0),
        Some(ValueRef::Str(StrRef::Int(n))) => LongDouble::from(n),
        Some(ValueRef::Str(text)) => {
            LongDouble::parse(text.bytes(&mut itoa::Buffer::new())).ok_or(CommandError::NotFloat)?
        }
        Some(_) => return Err(CommandError::WrongType),
    };
    let sum = value + LongDouble::parse(by).ok_or(CommandError::NotFloat)?;
    if !sum.is_finite() {
        return Err(CommandError::text("ERR increment would produce NaN or Infinity"));
    }
    let text = sum.format_human();
    ctx.out.bulk(&text);
    ctx.keyspace.propagate(&[b"SET", key, &text, b"KEEPTTL"]);
    ctx.keyspace.put(key, Value::Bytes(text), expiry);
    ctx.keyspace.modified(key);
    ctx.keyspace.notify(Class::String, "incrbyfloat", key);
    Ok(Reply::Written)
}

// ---- parts of strings --------------------------------------------------------------------------------------

fn append(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let (key, tail, limit) = (args.get(1), args.get(2), ctx.settings.proto_max_bulk_len);
    let len = match ctx.keyspace.string_mut(key)? {
        Some(text) => {
            check_len(text.len(), tail.len(), limit)?;
            text.extend_from_slice(tail);
            text.len()
        }
        None => {
            ctx.keyspace.put_string(key, tail, SetExpiry::Clear);
            tail.len()
        }
    };
    ctx.keyspace.modified(key);
    ctx.keyspace.notify(Class::String, "append", key);
    Ok(len.into())
}

fn setrange(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let (key, offset) = (args.required()?, args.integer()?);
    let value = args.required()?;
    let Ok(offset) = usize::try_from(offset) else {
        return Err(CommandError::text("ERR offset is out of range"));
    };
    let len = match ctx.keyspace.exists(key).then(|| ctx.keyspace.peek(key)).flatten() {
        None => 0,
        Some(ValueRef::Str(text)) => text.len(),
        Some(_) => return Err(CommandError::WrongType),
    };
    if value.is_empty() {
        return Ok(len.into());
    }
    let end = check_len(offset, value.len(), ctx.settings.proto_max_bulk_len)?;
    let text = ctx.keyspace.string_or_new(key)?;
    if text.len() < end {
        text.resize(end, 0);
    }
    text[offset..end].copy_from_slice(value);
    let len = text.len();
    ctx.keyspace.modified(key);
    ctx.keyspace.notify(Class::String, "setrange", key);
    Ok(len.into())
}

/// The sum of both lengths, unless a string may not be so long.
fn check_len(len: usize, more: usize, limit: u64) -> Result<usize, CommandError> {
    let sum = len.checked_add(more).filter(|sum| *sum as u64 <= limit);
    sum.ok_or(CommandError::StringTooLong)
}

#[cfg(test)]
mod tests;
