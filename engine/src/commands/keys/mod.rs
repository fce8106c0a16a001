//! Commands on keys of any type: life and death, names, expiry, listing.
//!
//! | file     | holds                                             |
//! |----------|---------------------------------------------------|
//! | `dump`   | DUMP and RESTORE                                  |
//! | `expire` | EXPIRE and TTL with their kin, PERSIST            |
//! | `object` | OBJECT                                            |
//! | here     | all others but SORT, which has a family of its own |

mod dump;
mod expire;
mod object;

use super::scan_options::{self, ScanOptions, Scanned};
pub(super) use object::{encoding_name, reference_count};

use crate::command::{
    Args, Arity, Category, Command, Flag::*, Group, KeyFlag::*, Run, key, keys as key_range,
};
use crate::context::Context;
use crate::error::CommandError;
use crate::glob::{glob_match, has_wildcards, literal_prefix};
use crate::keyspace::notify::Class;
use crate::keyspace::{KeyType, scan as walk};
use crate::number::parse_i64;
use crate::reply::Reply;
use crate::slot::Slot;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "COPY",
        arity: Arity::AtLeast(3),
        flags: &[Write, DenyOom],
        acl: &[Category::Keyspace],
        keys: &[key(1, &[Ro, Access]), key(2, &[Ow, Update])],
        group: Group::Generic,
        since: "6.2.0",
        complexity: "O(n) for the n elements of a collection or bytes of a string.",
        summary: "Copies the value of a key, and its expiry, to another key.",
        run: Run::Keys(copy),
        ..Command::BASE
    },
    Command {
        name: "DEL",
        arity: Arity::AtLeast(2),
        flags: &[Write],
        acl: &[Category::Keyspace],
        keys: &[key_range(1, -1, 1, &[Rm, Delete])],
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(n) for n keys; freeing a collection of m elements is O(m).",
        summary: "Removes keys, whatever they hold.",
        run: Run::Keys(del),
        ..Command::BASE
    },
    Command {
        name: "DUMP",
        arity: Arity::Exactly(2),
        flags: &[ReadOnly],
        acl: &[Category::Keyspace],
        keys: &[key(1, &[Ro, Access])],
        tips: &["nondeterministic_output"],
        group: Group::Generic,
        since: "2.6.0",
        complexity: "O(n) for the n elements of a collection or bytes of a string.",
        summary: "Returns the value of a key as bytes, from which RESTORE makes it again.",
        run: Run::Keys(dump::dump),
        ..Command::BASE
    },
    Command {
        name: "EXISTS",
        arity: Arity::AtLeast(2),
        flags: &[ReadOnly, Fast],
        acl: &[Category::Keyspace],
        keys: &[key_range(1, -1, 1, &[Ro])],
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(n) for n keys.",
        summary: "Counts which of the given keys exist; a key given twice counts twice.",
        run: Run::Keys(exists),
        ..Command::BASE
    },
    Command {
        name: "EXPIRE",
        arity: Arity::AtLeast(3),
        flags: &[Write, Fast],
        acl: &[Category::Keyspace],
        keys: &[key(1, &[Rw, Update])],
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Lets a key expire after a number of seconds.",
        run: Run::Keys(expire::expire),
        ..Command::BASE
    },
    Command {
        name: "EXPIREAT",
        arity: Arity::AtLeast(3),
        flags: &[Write, Fast],
        acl: &[Category::Keyspace],
        keys: &[key(1, &[Rw, Update])],
        group: Group::Generic,
        since: "1.2.0",
        complexity: "O(1)",
        summary: "Lets a key expire at a Unix time in seconds.",
        run: Run::Keys(expire::expireat),
        ..Command::BASE
    },
    Command {
        name: "EXPIRETIME",
        arity: Arity::Exactly(2),
        flags: &[ReadOnly, Fast],
        acl: &[Category::Keyspace],
        keys: &[key(1, &[Ro, Access])],
        group: Group::Generic,
        since: "7.0.0",
        complexity: "O(1)",
        summary: "Tells the Unix time in seconds at which a key expires.",
        run: Run::Keys(expire::expiretime),
        ..Command::BASE
    },
    Command {
        name: "KEYS",
        arity: Arity::Exactly(2),
        flags: &[ReadOnly],
        acl: &[Category::Dangerous, Category::Keyspace],
        tips: &["request_policy:all_shards", "nondeterministic_output_order"],
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(n) for n keys in the database.",
        summary: "Lists all keys that match a pattern.",
        run: Run::AllShards(keys),
        ..Command::BASE
    },
    Command {
        name: "MOVE",
        arity: Arity::Exactly(3),
        flags: &[Write, Fast],
        acl: &[Category::Keyspace],
        keys: &[key(1, &[Rw, Access, Update])],
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Moves a key to another database, unless the name is taken there.",
        run: Run::Keys(move_),
        ..Command::BASE
    },
    Command {
        name: "OBJECT",
        arity: Arity::AtLeast(2),
        flags: &[],
        group: Group::Generic,
        since: "2.2.3",
        complexity: "Depends on the subcommand.",
        summary: "Looks at how a value is kept.",
        subcommands: &[
            Command {
                name: "ENCODING",
                arity: Arity::Exactly(3),
                flags: &[ReadOnly],
                acl: &[Category::Keyspace],
                keys: &[key(2, &[Ro])],
                tips: &["nondeterministic_output"],
                group: Group::Generic,
                since: "2.2.3",
                complexity: "O(1)",
                summary: "Names the internal encoding of a value.",
                run: Run::Keys(object::encoding),
                ..Command::BASE
            },
            Command {
                name: "FREQ",
                arity: Arity::Exactly(3),
                flags: &[ReadOnly],
                acl: &[Category::Keyspace],
                keys: &[key(2, &[Ro])],
                tips: &["nondeterministic_output"],
                group: Group::Generic,
                since: "4.0.0",
                complexity: "O(1)",
                summary: "Tells the logarithmic access counter of a key, under an LFU policy.",
                run: Run::Keys(object::freq),
                ..Command::BASE
            },
            Command {
                name: "HELP",
                arity: Arity::Exactly(2),
                flags: &[Loading, Stale],
                acl: &[Category::Keyspace],
                group: Group::Generic,
                since: "6.2.0",
                complexity: "O(1)",
                summary: "Explains the subcommands.",
                run: Run::Keys(object::help),
                ..Command::BASE
            },
            Command {
                name: "IDLETIME",
                arity: Arity::Exactly(3),
                flags: &[ReadOnly],
                acl: &[Category::Keyspace],
                keys: &[key(2, &[Ro])],
                tips: &["nondeterministic_output"],
                group: Group::Generic,
                since: "2.2.3",
                complexity: "O(1)",
                summary: "Tells for how many seconds a key has not been used.",
                run: Run::Keys(object::idletime),
                ..Command::BASE
            },
            Command {
                name: "REFCOUNT",
                arity: Arity::Exactly(3),
                flags: &[ReadOnly],
                acl: &[Category::Keyspace],
                keys: &[key(2, &[Ro])],
                tips: &["nondeterministic_output"],
                group: Group::Generic,
                since: "2.2.3",
                complexity: "O(1)",
                summary: "Tells how many references a value has.",
                run: Run::Keys(object::refcount),
                ..Command::BASE
            },
        ],
        ..Command::BASE
    },
    Command {
        name: "PERSIST",
        arity: Arity::Exactly(2),
        flags: &[Write, Fast],
        acl: &[Category::Keyspace],
        keys: &[key(1, &[Rw, Update])],
        group: Group::Generic,
        since: "2.2.0",
        complexity: "O(1)",
        summary: "Takes the expiry off a key.",
        run: Run::Keys(expire::persist),
        ..Command::BASE
    },
    Command {
        name: "PEXPIRE",
        arity: Arity::AtLeast(3),
        flags: &[Write, Fast],
        acl: &[Category::Keyspace],
        keys: &[key(1, &[Rw, Update])],
        group: Group::Generic,
        since: "2.6.0",
        complexity: "O(1)",
        summary: "Lets a key expire after a number of milliseconds.",
        run: Run::Keys(expire::pexpire),
        ..Command::BASE
    },
    Command {
        name: "PEXPIREAT",
        arity: Arity::AtLeast(3),
        flags: &[Write, Fast],
        acl: &[Category::Keyspace],
        keys: &[key(1, &[Rw, Update])],
        group: Group::Generic,
        since: "2.6.0",
        complexity: "O(1)",
        summary: "Lets a key expire at a Unix time in milliseconds.",
        run: Run::Keys(expire::pexpireat),
        ..Command::BASE
    },
    Command {
        name: "PEXPIRETIME",
        arity: Arity::Exactly(2),
        flags: &[ReadOnly, Fast],
        acl: &[Category::Keyspace],
        keys: &[key(1, &[Ro, Access])],
        group: Group::Generic,
        since: "7.0.0",
        complexity: "O(1)",
        summary: "Tells the Unix time in milliseconds at which a key expires.",
        run: Run::Keys(expire::pexpiretime),
        ..Command::BASE
    },
    Command {
        name: "PTTL",
        arity: Arity::Exactly(2),
        flags: &[ReadOnly, Fast],
        acl: &[Category::Keyspace],
        keys: &[key(1, &[Ro, Access])],
        tips: &["nondeterministic_output"],
        group: Group::Generic,
        since: "2.6.0",
        complexity: "O(1)",
        summary: "Tells in how many milliseconds a key expires.",
        run: Run::Keys(expire::pttl),
        ..Command::BASE
    },
    Command {
        name: "RANDOMKEY",
        arity: Arity::Exactly(1),
        flags: &[ReadOnly, TouchesArbitraryKeys],
        acl: &[Category::Keyspace],
        tips: &["request_policy:all_shards", "response_policy:special", "nondeterministic_output"],
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Picks a key at random.",
        run: Run::AllShards(randomkey),
        ..Command::BASE
    },
    Command {
        name: "RENAME",
        arity: Arity::Exactly(3),
        flags: &[Write],
        acl: &[Category::Keyspace],
        keys: &[key(1, &[Rw, Access, Delete]), key(2, &[Ow, Update])],
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(1); freeing what had the new name is O(n) for its n elements.",
        summary: "Gives a key a new name, and replaces what had that name.",
        run: Run::Keys(rename),
        ..Command::BASE
    },
    Command {
        name: "RENAMENX",
        arity: Arity::Exactly(3),
        flags: &[Write, Fast],
        acl: &[Category::Keyspace],
        keys: &[key(1, &[Rw, Access, Delete]), key(2, &[Ow, Insert])],
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Gives a key a new name, unless that name is taken.",
        run: Run::Keys(renamenx),
        ..Command::BASE
    },
    Command {
        name: "RESTORE",
        arity: Arity::AtLeast(4),
        flags: &[Write, DenyOom],
        acl: &[Category::Dangerous, Category::Keyspace],
        keys: &[key(1, &[Ow, Update])],
        group: Group::Generic,
        since: "2.6.0",
        complexity: "O(n) for the n elements of a collection or bytes of a string; O(n log n) for a sorted set.",
        summary: "Makes a key of what DUMP returned.",
        run: Run::Keys(dump::restore),
        ..Command::BASE
    },
    Command {
        name: "RESTORE-ASKING",
        arity: Arity::AtLeast(4),
        flags: &[Write, DenyOom, Asking],
        acl: &[Category::Dangerous, Category::Keyspace],
        keys: &[key(1, &[Ow, Update])],
        group: Group::Server,
        since: "3.0.0",
        complexity: "O(n) for the n elements of a collection or bytes of a string; O(n log n) for a sorted set.",
        summary: "RESTORE into a slot that is being imported: nodes of a cluster use it among themselves.",
        run: Run::Keys(dump::restore),
        ..Command::BASE
    },
    Command {
        name: "SCAN",
        arity: Arity::AtLeast(2),
        flags: &[ReadOnly, TouchesArbitraryKeys],
        acl: &[Category::Keyspace],
        tips: &["nondeterministic_output", "request_policy:special", "response_policy:special"],
        group: Group::Generic,
        since: "2.8.0",
        complexity: "O(1) for a call, O(n) for a whole walk over n keys.",
        summary: "Walks over all keys, a few with each call.",
        run: Run::AllShards(scan),
        ..Command::BASE
    },
    Command {
        name: "TOUCH",
        arity: Arity::AtLeast(2),
        flags: &[ReadOnly, Fast],
        acl: &[Category::Keyspace],
        keys: &[key_range(1, -1, 1, &[Ro])],
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        group: Group::Generic,
        since: "3.2.1",
        complexity: "O(n) for n keys.",
        summary: "Notes an access to keys, and counts those that exist.",
        run: Run::Keys(touch),
        ..Command::BASE
    },
    Command {
        name: "TTL",
        arity: Arity::Exactly(2),
        flags: &[ReadOnly, Fast],
        acl: &[Category::Keyspace],
        keys: &[key(1, &[Ro, Access])],
        tips: &["nondeterministic_output"],
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Tells in how many seconds a key expires.",
        run: Run::Keys(expire::ttl),
        ..Command::BASE
    },
    Command {
        name: "TYPE",
        arity: Arity::Exactly(2),
        flags: &[ReadOnly, Fast],
        acl: &[Category::Keyspace],
        keys: &[key(1, &[Ro])],
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Names the type of the value of a key.",
        run: Run::Keys(type_),
        ..Command::BASE
    },
    Command {
        name: "UNLINK",
        arity: Arity::AtLeast(2),
        flags: &[Write, Fast],
        acl: &[Category::Keyspace],
        keys: &[key_range(1, -1, 1, &[Rm, Delete])],
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        group: Group::Generic,
        since: "4.0.0",
        complexity: "O(n) for n keys; what is large is freed in the background.",
        summary: "Removes keys without waiting until their memory is free.",
        run: Run::Keys(unlink),
        ..Command::BASE
    },
];

const OUT_OF_RANGE_DB: CommandError = CommandError::text("ERR DB index is out of range");
const SAME_OBJECT: CommandError = CommandError::text("ERR source and destination objects are the same");
/// RANDOMKEY draws so often before it looks for a key that has not expired.
const DRAWS: usize = 100;

/// The number of a database among the arguments.
pub(super) fn database(arg: &[u8], ctx: &Context<'_>) -> Result<usize, CommandError> {
    let n = int(arg)?;
    usize::try_from(n).ok().filter(|db| *db < ctx.settings.databases).ok_or(OUT_OF_RANGE_DB)
}

/// An integer that fits 32 bits.
pub(super) fn int(arg: &[u8]) -> Result<i32, CommandError> {
    let n = parse_i64(arg).ok_or(CommandError::NotInteger)?;
    i32::try_from(n).map_err(|_| CommandError::NotInt32)
}

fn copy(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let (from, to) = (args.required()?, args.required()?);
    let (mut replace, mut db) = (false, ctx.keyspace.db());
    while args.left() > 0 {
        if args.word("REPLACE") {
            replace = true;
        } else if args.left() > 1 && args.word("DB") {
            db = database(args.required()?, ctx)?;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let here = ctx.keyspace.db();
    if db == here && from == to {
        return Err(SAME_OBJECT);
    }
    if ctx.keyspace.read(from).is_none() {
        return Ok(Reply::Integer(0));
    }
    ctx.keyspace.select(db);
    let taken = ctx.keyspace.exists(to);
    ctx.keyspace.select(here);
    if taken && !replace {
        return Ok(Reply::Integer(0));
    }
    ctx.keyspace.copy_to(from, to, db);
    ctx.keyspace.select(db);
    ctx.keyspace.modified(to);
    ctx.keyspace.notify(Class::Generic, "copy_to", to);
    ctx.keyspace.select(here);
    Ok(Reply::Integer(1))
}

fn del(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let lazy = ctx.settings.lazyfree_lazy_user_del;
    Ok(remove_all(ctx, args, lazy))
}

fn unlink(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    Ok(remove_all(ctx, args, true))
}

fn remove_all(ctx: &mut Context<'_>, mut args: Args<'_>, lazy: bool) -> Reply {
    let mut removed = 0usize;
    for key in args.rest() {
        if ctx.keyspace.remove_lazily(key, lazy) {
            ctx.keyspace.modified(key);
            ctx.keyspace.notify(Class::Generic, "del", key);
            removed += 1;
        }
    }
    removed.into()
}

fn exists(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let found = args.rest().iter().filter(|key| ctx.keyspace.read_quietly(key).is_some()).count();
    Ok(found.into())
}

fn touch(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let found = args.rest().iter().filter(|key| ctx.keyspace.read(key).is_some()).count();
    Ok(found.into())
}

fn type_(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let kind = ctx.keyspace.read_quietly(args.get(1)).map(|value| value.kind());
    Ok(Reply::Status(kind.map_or("none", KeyType::name)))
}

fn move_(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let (key, db) = (args.get(1), database(args.get(2), ctx)?);
    let here = ctx.keyspace.db();
    if db == here {
        return Err(SAME_OBJECT);
    }
    if !ctx.keyspace.exists(key) {
        return Ok(Reply::Integer(0));
    }
    ctx.keyspace.select(db);
    let taken = ctx.keyspace.exists(key);
    ctx.keyspace.select(here);
    if taken {
        return Ok(Reply::Integer(0));
    }
    ctx.keyspace.move_to(key, key, db);
    ctx.keyspace.modified(key);
    ctx.keyspace.notify(Class::Generic, "move_from", key);
    ctx.keyspace.select(db);
    ctx.keyspace.signal(key);
    ctx.keyspace.notify(Class::Generic, "move_to", key);
    ctx.keyspace.select(here);
    Ok(Reply::Integer(1))
}

fn rename(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    rename_unless(ctx, args, false)?;
    Ok(Reply::Ok)
}

fn renamenx(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    rename_unless(ctx, args, true).map(Reply::from)
}

/// Renames a key, unless the new name is `taken` and that matters; whether it did.
fn rename_unless(ctx: &mut Context<'_>, args: Args<'_>, taken: bool) -> Result<bool, CommandError> {
    let (from, to) = (args.get(1), args.get(2));
    if !ctx.keyspace.exists(from) {
        return Err(CommandError::NoSuchKey);
    }
    if from == to || taken && ctx.keyspace.exists(to) {
        return Ok(false);
    }
    ctx.keyspace.rename(from, to);
    ctx.keyspace.signal(from);
    ctx.keyspace.modified(to);
    ctx.keyspace.notify(Class::Generic, "rename_from", from);
    ctx.keyspace.notify(Class::Generic, "rename_to", to);
    Ok(true)
}

fn keys(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let pattern = Pattern::new(args.get(1));
    let now_ms = ctx.now_ms();
    match pattern.slot() {
        Some(slot) => ctx.keyspace.build_slot(slot)?,
        None => ctx.keyspace.build_all()?,
    }
    let place = ctx.out.deferred();
    let mut count = 0;
    for entry in walk::all(&ctx.keyspace, pattern.slot()) {
        if pattern.matches(entry.key()) && entry.expiry().is_none_or(|at| at > now_ms) {
            ctx.out.bulk(entry.key());
            count += 1;
        }
    }
    ctx.out.fill_array(place, count);
    Ok(Reply::Written)
}

fn randomkey(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Reply, CommandError> {
    let now_ms = ctx.now_ms();
    for _ in 0..DRAWS {
        let Some(entry) = walk::random(&mut ctx.keyspace, &mut ctx.rng)? else { return Ok(Reply::Null) };
        if entry.expiry().is_none_or(|at| at > now_ms) {
            ctx.out.bulk(entry.key());
            return Ok(Reply::Written);
        }
        let key: Box<[u8]> = entry.key().into();
        ctx.keyspace.expire_if_due(&key);
    }
    // Nearly everything has expired: any key that has not will do.
    ctx.keyspace.build_all()?;
    match walk::all(&ctx.keyspace, None).find(|entry| entry.expiry().is_none_or(|at| at > now_ms)) {
        Some(entry) => ctx.out.bulk(entry.key()),
        None => ctx.out.null(),
    }
    Ok(Reply::Written)
}

fn scan(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let cursor = scan_options::cursor(args.required()?)?;
    let options = ScanOptions::read(&mut args, Scanned::Keys)?;
    let pattern = Pattern(options.pattern);
    let kind = options.kind.map(type_named).transpose()?;
    let now_ms = ctx.now_ms();
    let mut found: Vec<&[u8]> = Vec::with_capacity(options.count.min(1_024));
    let mut due: Vec<Box<[u8]>> = Vec::new();
    walk::build_ahead(&mut ctx.keyspace, cursor, options.count)?;
    let next = walk::step(&ctx.keyspace, cursor, options.count, |entry| {
        if kind.is_some_and(|kind| kind != Some(entry.value().kind())) || !pattern.matches(entry.key()) {
            return;
        }
        match entry.expiry() {
            Some(at) if at <= now_ms => due.push(entry.key().into()),
            _ => found.push(entry.key()),
        }
    });
    scan_options::write_head(ctx.out, next, found.len());
    for key in found {
        ctx.out.bulk(key);
    }
    for key in due {
        ctx.keyspace.expire_if_due(&key);
    }
    Ok(Reply::Written)
}

/// The type of this name; `None` for types that no key of ours can have.
fn type_named(name: &[u8]) -> Result<Option<KeyType>, CommandError> {
    let kind = KeyType::named(name);
    let foreign = [&b"stream"[..], b"module"].iter().any(|other| name.eq_ignore_ascii_case(other));
    if kind.is_none() && !foreign {
        return Err(CommandError::quoting("ERR unknown type name '", name, usize::MAX, "'"));
    }
    Ok(kind)
}

/// Whether all keys that match are in the slot of `key`.
pub(super) fn in_slot_of(glob: &[u8], key: &[u8]) -> bool {
    Pattern(Some(glob)).slot() == Some(Slot::of(key))
}

/// A pattern of keys.
#[derive(Clone, Copy)]
struct Pattern<'a>(Option<&'a [u8]>);

impl<'a> Pattern<'a> {
    /// Matches every key, the empty one too.
    const ANY: Self = Self(None);

    fn new(glob: &'a [u8]) -> Self {
        if glob == b"*" { Self::ANY } else { Self(Some(glob)) }
    }

    fn matches(self, key: &[u8]) -> bool {
        self.0.is_none_or(|glob| glob_match(glob, key, false))
    }

    /// The only slot that can hold a match, where the pattern tells.
    fn slot(self) -> Option<Slot> {
        let glob = self.0?;
        let prefix = literal_prefix(glob);
        let open = prefix.iter().position(|b| *b == b'{');
        let tagged = open.is_some_and(|open| {
            prefix[open + 1..].iter().position(|b| *b == b'}').is_some_and(|len| len > 0)
        });
        (tagged || !has_wildcards(glob)).then(|| Slot::of(prefix))
    }
}

#[cfg(test)]
mod tests {
    use crate::keyspace::waiting::WatchFlag;
    use crate::testing::{Bench, WRONG_TYPE, check};
    use std::collections::BTreeSet;
    use std::sync::Arc;

    const SYNTAX: &str = "-ERR syntax error";

    /// The effects and events of the last command of a script.
    #[track_caller]
    fn leaves(script: &str, effects: &[&str], events: &[&str]) {
        let mut bench = Bench::new();
        for line in script.split(';') {
            bench.effects();
            bench.events();
            bench.run(line.trim());
        }
        assert_eq!(bench.effects(), effects, "effects of {script:?}");
        assert_eq!(bench.events(), events, "events of {script:?}");
    }

    #[test]
    fn keys_are_removed() {
        check("DEL a", "0");
        check("SET a 1; SET b 2; DEL a b a c", "2");
        check("SET a 1; SET b 2; UNLINK a b a c", "2");
        check("SET a 1; DEL a; GET a", "nil");
        leaves("SET a 1; SET b 1; DEL a x b", &["0: DEL a x b"], &["del a", "del b"]);
        leaves("SET a 1; UNLINK a", &["0: UNLINK a"], &["del a"]);
        leaves("DEL a", &[], &[]);
    }

    #[test]
    fn an_expired_key_is_not_counted_as_deleted() {
        let mut bench = Bench::new();
        bench.run("SET a 1 PX 5");
        bench.now_ms += 5;
        bench.effects();
        assert_eq!(bench.run("DEL a"), "0");
        assert_eq!(bench.effects(), ["0: UNLINK a"]);
    }

    #[test]
    fn large_collections_are_left_to_be_freed_later() {
        let mut bench = Bench::new();
        for (elements, command, garbage) in [(64, "UNLINK k", 0), (65, "UNLINK k", 1), (65, "DEL k", 1)] {
            let mut set = crate::types::set::Set::new();
            for i in 0..elements {
                set.add(format!("{i}").as_bytes(), &Default::default(), &Default::default());
            }
            bench.put("k", crate::keyspace::Value::Set(Box::new(set)));
            bench.shard.garbage.clear();
            assert_eq!(bench.run(command), "1");
            assert_eq!(bench.shard.garbage.len(), garbage, "{command} of {elements}");
        }
    }

    #[test]
    fn keys_are_counted_and_touched() {
        check("SET a 1; EXISTS a b a", "2");
        check("SET a 1; TOUCH a b a", "2");
        leaves("EXISTS a", &[], &["keymiss a"]);
        let mut bench = Bench::new();
        bench.run("SET a 1");
        bench.now_ms += 10_000;
        bench.run("EXISTS a");
        bench.run("TYPE a");
        bench.run("TTL a");
        assert_eq!(bench.run("OBJECT IDLETIME a"), "10");
        bench.run("TOUCH a");
        assert_eq!(bench.run("OBJECT IDLETIME a"), "0");
        assert_eq!((bench.shard.stats.hits, bench.shard.stats.misses), (4, 0));
    }

    #[test]
    fn types_have_names() {
        check("SET a 1; TYPE a", "string");
        check("TYPE a", "none");
        let mut bench = Bench::new();
        bench.other_type("l");
        assert_eq!(bench.run("TYPE l"), "list");
        assert_eq!(bench.run("GET l"), WRONG_TYPE);
    }

    #[test]
    fn copies() {
        check("SET a 1; COPY a b", "1");
        check("SET a 1; COPY a b; GET b", "\"1\"");
        check("COPY a b", "0");
        check("SET a 1; SET b 2; COPY a b", "0");
        check("SET a 1; SET b 2; COPY a b REPLACE; GET b", "\"1\"");
        check("SET a 1 PX 9; COPY a b; PTTL b", "9");
        check("SET a 1; COPY a b DB 3 REPLACE; EXISTS b", "0");
        check("COPY a a", "-ERR source and destination objects are the same");
        check("SET a 1; COPY a a DB 1", "1");
        check("COPY a b DB 16", "-ERR DB index is out of range");
        check("COPY a b DB -1", "-ERR DB index is out of range");
        check("COPY a b DB x", "-ERR value is not an integer or out of range");
        check(
            "COPY a b DB 2147483648",
            "-ERR value is out of range, value must between -2147483648 and 2147483647",
        );
        check("COPY a b DB", SYNTAX);
        check("COPY a b FOO", SYNTAX);
        check("SET a x; APPEND a y; COPY a b; OBJECT ENCODING b", "\"raw\"");
        leaves("SET a 1; COPY a b", &["0: COPY a b"], &["new b", "copy_to b"]);
        leaves("SET a 1; SET b 1; COPY a b REPLACE", &["0: COPY a b REPLACE"], &["new b", "copy_to b"]);
    }

    #[test]
    fn moves() {
        check("SET a 1; MOVE a 1", "1");
        check("MOVE a 1", "0");
        check("SET a 1; MOVE a 0", "-ERR source and destination objects are the same");
        check("SET a 1; MOVE a 16", "-ERR DB index is out of range");
        check("SET a 1; MOVE a x", "-ERR value is not an integer or out of range");
        leaves("SET a 1; MOVE a 1", &["0: MOVE a 1"], &["new a", "move_from a", "move_to a"]);
        let mut bench = Bench::new();
        bench.run("SET a 1 PX 100");
        bench.db = 1;
        bench.run("SET b 1");
        bench.db = 0;
        bench.run("MOVE a 1");
        bench.run("SET b 2");
        assert_eq!(bench.run("MOVE b 1"), "0");
        bench.db = 1;
        assert_eq!((bench.run("PTTL a"), bench.run("GET b")), ("100".to_owned(), "\"1\"".to_owned()));
    }

    #[test]
    fn renames() {
        check("SET a 1; RENAME a b", "OK");
        check("SET a 1; RENAME a b; GET b", "\"1\"");
        check("RENAME a b", "-ERR no such key");
        check("RENAME a a", "-ERR no such key");
        check("SET a 1; RENAME a a", "OK");
        check("SET a 1; RENAMENX a a", "0");
        check("SET a 1; SET b 2; RENAMENX a b", "0");
        check("SET a 1; RENAMENX a b", "1");
        check("SET a 1 PX 7; SET b 2; RENAME a b; PTTL b", "7");
        check("SET a 1; SET b 2 PX 7; RENAME a b; PTTL b", "-1");
        check("SET a x; APPEND a y; RENAME a b; OBJECT ENCODING b", "\"raw\"");
        leaves("SET a 1; RENAME a b", &["0: RENAME a b"], &["new b", "rename_from a", "rename_to b"]);
        leaves("SET a 1; RENAME a a", &[], &[]);
    }

    #[test]
    fn a_rename_voids_watches_of_both_names() {
        let mut bench = Bench::new();
        bench.run("SET a 1");
        let flags: Vec<_> = ["a", "b"].map(|key| bench.watch(key)).into();
        bench.run("RENAME a b");
        assert!(flags.iter().all(|flag: &Arc<WatchFlag>| flag.is_touched()));
    }

    fn listed(reply: &str) -> BTreeSet<String> {
        reply.trim_matches(['[', ']']).split(' ').filter(|w| !w.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn keys_match_patterns() {
        let mut bench = Bench::new();
        for key in ["foo", "foobar", "{t}a", "{t}b", "x{t}", "\"\""] {
            bench.run(&format!("SET {key} v"));
        }
        bench.run("SET gone v PX 1");
        bench.now_ms += 1;
        for (pattern, found) in [
            ("*", &["\"\"", "\"foo\"", "\"foobar\"", "\"x{t}\"", "\"{t}a\"", "\"{t}b\""][..]),
            ("foo*", &["\"foo\"", "\"foobar\""]),
            ("foo", &["\"foo\""]),
            ("{t}*", &["\"{t}a\"", "\"{t}b\""]),
            ("?{t}", &["\"x{t}\""]),
            ("{t}?", &["\"{t}a\"", "\"{t}b\""]),
            ("gone", &[]),
        ] {
            let expected: BTreeSet<String> = found.iter().map(|s| (*s).to_owned()).collect();
            assert_eq!(listed(&bench.run(&format!("KEYS {pattern}"))), expected, "{pattern}");
        }
    }

    #[test]
    fn a_scan_takes_the_expired_keys_that_it_asks_for() {
        let mut bench = Bench::new();
        for command in ["SET s v PX 1", "SET other v PX 1", "HSET h f v", "PEXPIRE h 1", "SET k v"] {
            bench.run(command);
        }
        let (_, _) = (bench.effects(), bench.events());
        bench.now_ms += 2;
        assert_eq!(bench.run("SCAN 0 TYPE string MATCH s COUNT 100"), "[\"0\" []]");
        assert_eq!(
            (bench.effects(), bench.events()),
            (vec!["0: UNLINK s".to_owned()], vec!["expired s".to_owned()])
        );
        assert_eq!(bench.shard.counts(0).keys, 3);
        assert_eq!(bench.run("SCAN 0 COUNT 100"), "[\"0\" [\"k\"]]");
        assert_eq!(bench.shard.counts(0).keys, 1);
    }

    #[test]
    fn a_scan_filters() {
        let mut bench = Bench::new();
        for i in 0..300 {
            bench.run(&format!("SET k{i} v"));
        }
        bench.other_type("kl");
        let mut scan = |options: &str| {
            let (mut cursor, mut seen) = ("0".to_owned(), BTreeSet::new());
            loop {
                let reply = bench.run(&format!("SCAN {cursor} {options}"));
                let (next, keys) = reply.trim_start_matches("[\"").split_once("\" ").unwrap();
                seen.extend(listed(keys));
                cursor = next.to_owned();
                if cursor == "0" {
                    return seen;
                }
            }
        };
        assert_eq!(scan("").len(), 301);
        assert_eq!(scan("COUNT 1").len(), 301);
        assert_eq!(scan("COUNT 10000").len(), 301);
        assert_eq!(scan("MATCH k1? COUNT 7").len(), 10);
        assert_eq!(scan("MATCH *").len(), 301);
        assert_eq!(scan("TYPE list").len(), 1);
        assert_eq!(scan("TYPE STRING").len(), 300);
        assert_eq!(scan("TYPE stream").len(), 0);
        check("SCAN x", "-ERR invalid cursor");
        check("SCAN 0 COUNT 0", SYNTAX);
        check("SCAN 0 COUNT x", "-ERR value is not an integer or out of range");
        check("SCAN 0 COUNT", SYNTAX);
        check("SCAN 0 FOO", SYNTAX);
        check("SCAN 0 TYPE foo", "-ERR unknown type name 'foo'");
        check("SCAN 0 NOVALUES", "-ERR NOVALUES option can only be used in HSCAN");
        check("SCAN 0", "[\"0\" []]");
    }

    #[test]
    fn a_random_key_is_one_that_is_there() {
        check("RANDOMKEY", "nil");
        check("SET a 1; RANDOMKEY", "\"a\"");
        let mut bench = Bench::new();
        for i in 0..500 {
            bench.run(&format!("SET k{i} v PX 1"));
        }
        bench.run("SET stays v");
        bench.now_ms += 1;
        for _ in 0..3 {
            assert_eq!(bench.run("RANDOMKEY"), "\"stays\"");
        }
        bench.run("DEL stays");
        bench.run("SET k v PX 1");
        bench.now_ms += 1;
        assert_eq!(bench.run("RANDOMKEY"), "nil");
    }

    #[test]
    fn replaying_the_effects_gives_the_same_state() {
        let mut rng = crate::random::Rng::seeded(5);
        let (mut first, mut second) = (Bench::new(), Bench::new());
        for _ in 0..3_000 {
            let key = |rng: &mut crate::random::Rng| format!("k{}", rng.below(12));
            let (a, b, n) = (key(&mut rng), key(&mut rng), rng.below(50));
            let line = match rng.below(12) {
                0..3 => format!("SET {a} {n}"),
                3 => format!("DEL {a} {b}"),
                4 => format!("RENAME {a} {b}"),
                5 => format!("COPY {a} {b} REPLACE"),
                6 => format!("COPY {a} {b} DB {}", n % 2),
                7 => format!("MOVE {a} {}", n % 2),
                8 => format!("PEXPIRE {a} {n} {}", ["", "NX", "XX", "GT", "LT"][n % 5]),
                9 => format!("PERSIST {a}"),
                10 => format!("UNLINK {a}"),
                _ => format!("EXPIREAT {a} {}", 1_700_000_000 + n as i64 - 10),
            };
            first.now_ms += (n % 3) as i64;
            first.db = n % 2;
            first.run(line.trim());
            second.now_ms = first.now_ms;
            for effect in first.shard.effects.take() {
                let args: Vec<&[u8]> = effect.args.iter().map(|arg| &**arg).collect();
                second.db = effect.db;
                second.run_args(&args);
            }
            second.shard.effects.take();
        }
        for db in 0..2 {
            (first.db, second.db) = (db, db);
            for i in 0..12 {
                for command in ["GET", "PTTL", "OBJECT ENCODING"] {
                    let line = format!("{command} k{i}");
                    assert_eq!(first.run(&line), second.run(&line), "{line}");
                }
            }
            assert_eq!(first.shard.counts(db), second.shard.counts(db));
        }
    }
}
