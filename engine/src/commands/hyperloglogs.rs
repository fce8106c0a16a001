//! HyperLogLogs: strings that estimate how many distinct elements were added to them.

use crate::command::Flag::*;
use crate::command::KeyFlag::*;
use crate::command::{Args, Arity, Category, Command, Group, Run, key, keys};
use crate::context::Context;
use crate::error::CommandError;
use crate::keyspace::ValueRef;
use crate::keyspace::notify::Class;
use crate::reply::Reply;
use crate::types::hyperloglog::{self, Encoding, HyperLogLogError, Registers};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "PFADD",
        arity: Arity::AtLeast(2),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::HyperLogLog],
        keys: &[key(1, &[Rw, Insert])],
        group: Group::HyperLogLog,
        since: "2.8.9",
        complexity: "O(1) for each element",
        summary: "Adds elements to a HyperLogLog, creating it when the key is absent.",
        run: Run::Keys(pfadd),
        ..Command::BASE
    },
    Command {
        name: "PFCOUNT",
        arity: Arity::AtLeast(2),
        flags: &[ReadOnly, MayReplicate],
        acl: &[Category::HyperLogLog],
        keys: &[keys(1, -1, 1, &[Rw, Access])],
        group: Group::HyperLogLog,
        since: "2.8.9",
        complexity: "O(1) for one key, with a cache; O(n) for n keys",
        summary: "Estimates how many distinct elements one or more HyperLogLogs have seen.",
        run: Run::Keys(pfcount),
        ..Command::BASE
    },
    Command {
        name: "PFDEBUG",
        arity: Arity::Exactly(3),
        flags: &[Write, DenyOom, Admin],
        acl: &[Category::HyperLogLog],
        keys: &[key(2, &[Rw, Access])],
        group: Group::HyperLogLog,
        since: "2.8.9",
        complexity: "O(n) for n registers",
        summary: "Shows or changes how a HyperLogLog is kept, for tests.",
        run: Run::Keys(pfdebug),
        ..Command::BASE
    },
    Command {
        name: "PFMERGE",
        arity: Arity::AtLeast(2),
        flags: &[Write, DenyOom],
        acl: &[Category::HyperLogLog],
        keys: &[key(1, &[Rw, Access, Insert]), keys(2, -1, 1, &[Ro, Access])],
        group: Group::HyperLogLog,
        since: "2.8.9",
        complexity: "O(n) for n keys",
        summary: "Merges HyperLogLogs into one and stores it.",
        run: Run::Keys(pfmerge),
        ..Command::BASE
    },
    Command {
        name: "PFSELFTEST",
        arity: Arity::Exactly(1),
        flags: &[Admin],
        acl: &[Category::HyperLogLog],
        group: Group::HyperLogLog,
        since: "2.8.9",
        complexity: "O(n) for n registers, some thousand times",
        summary: "Tests the HyperLogLog code.",
        run: Run::Keys(pfselftest),
        ..Command::BASE
    },
];

impl From<HyperLogLogError> for CommandError {
    fn from(error: HyperLogLogError) -> Self {
        Self::owned(error.to_string())
    }
}

/// The encoding of the HyperLogLog at a key, if there is one. Notes no access.
fn encoding_at(ctx: &mut Context<'_>, key: &[u8]) -> Result<Option<Encoding>, CommandError> {
    if !ctx.keyspace.exists(key) {
        return Ok(None);
    }
    match ctx.keyspace.peek(key) {
        Some(ValueRef::Str(text)) => Ok(Some(hyperloglog::encoding(text.bytes(&mut itoa::Buffer::new()))?)),
        Some(_) => Err(CommandError::WrongType),
        None => Ok(None),
    }
}

fn pfadd(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let (key, sparse_max_bytes) = (args.required()?, ctx.settings.hll_sparse_max_bytes);
    let there = encoding_at(ctx, key)?.is_some();
    let hll = ctx.keyspace.string_or_new(key)?;
    let mut changes = 0;
    if !there {
        *hll = hyperloglog::create();
        changes += 1;
    }
    for element in args.rest() {
        changes += u64::from(hyperloglog::add(hll, element, sparse_max_bytes)?);
    }
    if changes > 0 {
        hyperloglog::invalidate_cache(hll);
        ctx.keyspace.modified_by(key, changes);
        ctx.keyspace.notify(Class::String, "pfadd", key);
    }
    Ok((changes > 0).into())
}

fn pfcount(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    match args.rest() {
        [key] => count_one(ctx, key),
        keys => {
            let mut union = Registers::new();
            for key in keys {
                if let Some(text) = ctx.keyspace.string(key)? {
                    union.merge(text.bytes(&mut itoa::Buffer::new()))?;
                }
            }
            Ok(Reply::Integer(union.count() as i64))
        }
    }
}

/// The count of one key is kept in its header until it changes again.
fn count_one(ctx: &mut Context<'_>, key: &[u8]) -> Result<Reply, CommandError> {
    let Some(text) = ctx.keyspace.string(key)? else { return Ok(Reply::Integer(0)) };
    let mut digits = itoa::Buffer::new();
    let bytes = text.bytes(&mut digits);
    hyperloglog::encoding(bytes)?;
    if let Some(count) = hyperloglog::cached_count(bytes) {
        return Ok(Reply::Integer(count as i64));
    }
    let Some(hll) = ctx.keyspace.string_mut(key)? else { return Ok(Reply::Integer(0)) };
    let (count, written) = hyperloglog::count_and_cache(hll)?;
    if written {
        ctx.keyspace.modified(key);
    }
    Ok(Reply::Integer(count as i64))
}

fn pfmerge(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let (target, sparse_max_bytes) = (args.get(1), ctx.settings.hll_sparse_max_bytes);
    let (mut union, mut dense) = (Registers::new(), false);
    for key in args.rest() {
        if let Some(text) = ctx.keyspace.string(key)? {
            let mut digits = itoa::Buffer::new();
            let bytes = text.bytes(&mut digits);
            dense |= hyperloglog::encoding(bytes)? == Encoding::Dense;
            union.merge(bytes)?;
        }
    }
    let hll = ctx.keyspace.string_or_new(target)?;
    if hll.is_empty() {
        *hll = hyperloglog::create();
    }
    union.store(hll, dense, sparse_max_bytes)?;
    ctx.keyspace.modified(target);
    ctx.keyspace.notify(Class::String, "pfadd", target);
    Ok(Reply::Ok)
}

fn pfdebug(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let (word, key) = (args.get(1), args.get(2));
    let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
    let Some(encoding) = encoding_at(ctx, key)? else {
        return Err(CommandError::text("ERR The specified key does not exist"));
    };
    if is(b"ENCODING") {
        return Ok(Reply::Status(encoding.name()));
    }
    if is(b"TODENSE") {
        return Ok(make_dense(ctx, key)?.into());
    }
    if is(b"GETREG") {
        make_dense(ctx, key)?;
    } else if !is(b"DECODE") {
        let word = String::from_utf8_lossy(word);
        return Err(CommandError::owned(format!("ERR Unknown PFDEBUG subcommand '{word}'")));
    }
    let Some(ValueRef::Str(text)) = ctx.keyspace.peek(key) else { return Err(CommandError::NoSuchKey) };
    let mut digits = itoa::Buffer::new();
    let bytes = text.bytes(&mut digits);
    if is(b"DECODE") {
        let Some(runs) = hyperloglog::decode_text(bytes)? else {
            return Err(CommandError::text("ERR HLL encoding is not sparse"));
        };
        ctx.out.bulk(runs.as_bytes());
    } else {
        let mut registers = Registers::new();
        registers.merge(bytes)?;
        ctx.out.array(registers.as_slice().len());
        registers.as_slice().iter().for_each(|register| ctx.out.integer(i64::from(*register)));
    }
    Ok(Reply::Written)
}

/// Makes the encoding of a HyperLogLog dense; false when it is.
fn make_dense(ctx: &mut Context<'_>, key: &[u8]) -> Result<bool, CommandError> {
    let Some(hll) = ctx.keyspace.string_mut(key)? else { return Ok(false) };
    let changed = hyperloglog::to_dense(hll)?;
    if changed {
        ctx.keyspace.modified(key);
    }
    Ok(changed)
}

fn pfselftest(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Reply, CommandError> {
    let seed = ctx.rng.next_u64();
    hyperloglog::self_test(seed, ctx.settings.hll_sparse_max_bytes).map_err(CommandError::owned)?;
    Ok(Reply::Ok)
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, WRONG_TYPE, check};

    const NOT_HLL: &str = "-WRONGTYPE Key is not a valid HyperLogLog string value.";

    #[test]
    fn adding_and_counting() {
        check("PFADD h a b c", "1");
        check("PFADD h a b c; PFADD h a c", "0");
        check("PFADD h", "1");
        check("PFADD h; PFADD h", "0");
        check("PFCOUNT h", "0");
        check("PFADD h a b c a; PFCOUNT h", "3");
        check("PFADD h a b; PFADD g b c; PFCOUNT h g x", "3");
        check("PFADD h a b; PFADD g b c; PFMERGE h g; PFCOUNT h", "3");
        check("PFMERGE h; PFCOUNT h", "0");
        check("PFADD g a; PFMERGE h g x", "OK");
    }

    #[test]
    fn other_values_are_refused() {
        for line in
            ["PFADD h a", "PFCOUNT h", "PFCOUNT h h", "PFMERGE h h", "PFMERGE d h", "PFDEBUG ENCODING h"]
        {
            for value in ["12", "foo", "\"\""] {
                check(&format!("SET h {value}; {line}"), NOT_HLL);
            }
            let mut bench = Bench::new();
            bench.other_type("h");
            assert_eq!(bench.run(line), WRONG_TYPE, "{line}");
        }
        let corrupted = "\"HYLL\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x80\\x7f\"";
        for line in ["PFADD h a", "PFCOUNT h", "PFCOUNT h h", "PFDEBUG GETREG h"] {
            check(&format!("SET h {corrupted}; {line}"), "-INVALIDOBJ Corrupted HLL object detected");
        }
    }

    #[test]
    fn debugging() {
        check("PFDEBUG ENCODING h", "-ERR The specified key does not exist");
        check("PFADD h; PFDEBUG encoding h", "sparse");
        check("PFADD h; PFDEBUG DECODE h", "\"Z:16384\"");
        check("PFADD h; PFDEBUG TODENSE h", "1");
        check("PFADD h; PFDEBUG TODENSE h; PFDEBUG TODENSE h", "0");
        check("PFADD h; PFDEBUG TODENSE h; PFDEBUG ENCODING h", "dense");
        check("PFADD h; PFDEBUG TODENSE h; PFDEBUG DECODE h", "-ERR HLL encoding is not sparse");
        check("PFADD h; PFDEBUG FOO h", "-ERR Unknown PFDEBUG subcommand 'FOO'");
        let mut bench = Bench::new();
        bench.run("PFADD h a");
        let registers = bench.run("PFDEBUG GETREG h");
        assert_eq!(registers.matches(' ').count(), 16_383);
        assert_eq!(bench.run("PFDEBUG ENCODING h"), "dense");
        assert_eq!(bench.run("PFCOUNT h"), "1");
    }

    #[test]
    fn what_is_left_in_the_log() {
        let mut bench = Bench::new();
        for (line, effects, events) in [
            ("PFADD h a", &["0: PFADD h a"][..], &["new h", "pfadd h"][..]),
            ("PFADD h a", &[], &[]),
            ("PFCOUNT h", &["0: PFCOUNT h"], &[]),
            ("PFCOUNT h", &[], &[]),
            ("PFCOUNT h x", &[], &["keymiss x"]),
            ("PFMERGE d h", &["0: PFMERGE d h"], &["keymiss d", "new d", "pfadd d"]),
            ("PFDEBUG TODENSE d", &["0: PFDEBUG TODENSE d"], &[]),
        ] {
            bench.run(line);
            assert_eq!(bench.effects(), effects, "{line}");
            assert_eq!(bench.events(), events, "{line}");
        }
    }
}
