//! OBJECT: how a value is kept.

use crate::command::Args;
use crate::context::Context;
use crate::error::CommandError;
use crate::keyspace::{StrRef, ValueRef, evict};
use crate::reply::Reply;
use crate::settings::Settings;

/// Strings up to this length have the encoding `embstr` in Redis.
const EMBEDDED_MAX: usize = 44;
/// Redis shares the objects of the integers below this, and says so.
const SHARED_INTEGERS: i64 = 10_000;

const HELP: &[&str] = &[
    "ENCODING <key>",
    "    How the value of <key> is kept internally.",
    "FREQ <key>",
    "    The access counter of <key>, which grows with the logarithm of its recent uses.",
    "IDLETIME <key>",
    "    For how many seconds <key> has not been used.",
    "REFCOUNT <key>",
    "    How many references the value of <key> has.",
];

/// The name of the encoding of a value, as Redis would keep it.
pub(in crate::commands) fn encoding_name(value: ValueRef<'_>) -> &'static str {
    match value {
        ValueRef::Str(StrRef::Int(_)) => "int",
        ValueRef::Str(StrRef::Embedded(bytes)) if bytes.len() <= EMBEDDED_MAX => "embstr",
        ValueRef::Str(_) => "raw",
        ValueRef::List(list) => list.encoding(),
        ValueRef::Set(set) => set.encoding_name(),
        ValueRef::Hash(hash) => hash.encoding_name(),
        ValueRef::ZSet(zset) => zset.encoding(),
        ValueRef::Stream(_) => "stream",
    }
}

/// How many references Redis would count: small integers are shared unless eviction needs their access clocks.
pub(in crate::commands) fn reference_count(value: ValueRef<'_>, settings: &Settings) -> i64 {
    use crate::settings::EvictionPolicy::{AllKeysLfu, AllKeysLru, VolatileLfu, VolatileLru};
    let clocks = settings.maxmemory > 0
        && matches!(settings.maxmemory_policy, AllKeysLru | AllKeysLfu | VolatileLru | VolatileLfu);
    match value {
        ValueRef::Str(StrRef::Int(0..SHARED_INTEGERS)) if !clocks => i64::from(i32::MAX),
        _ => 1,
    }
}

pub(super) fn encoding(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let key = args.get(2);
    ctx.keyspace.exists(key);
    ctx.out.bulk_or_null(ctx.keyspace.peek(key).map(|value| encoding_name(value).as_bytes()));
    Ok(Reply::Written)
}

pub(super) fn refcount(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let key = args.get(2);
    ctx.keyspace.exists(key);
    let value = ctx.keyspace.peek(key);
    Ok(value.map_or(Reply::Null, |value| Reply::Integer(reference_count(value, ctx.settings))))
}

pub(super) fn idletime(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let Some(clock) = clock(ctx, args.get(2)) else { return Ok(Reply::Null) };
    if ctx.settings.maxmemory_policy.is_lfu() {
        return Err(CommandError::text(
            "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching \
             between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    Ok(Reply::Integer(i64::from(evict::idle_seconds(clock, ctx.present_ms()))))
}

pub(super) fn freq(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let Some(clock) = clock(ctx, args.get(2)) else { return Ok(Reply::Null) };
    if !ctx.settings.maxmemory_policy.is_lfu() {
        return Err(CommandError::text(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
             switching between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    Ok(Reply::Integer(i64::from(evict::decayed(clock, ctx.settings, ctx.present_ms()))))
}

pub(super) fn help(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Reply, CommandError> {
    ctx.out.help("OBJECT", HELP);
    Ok(Reply::Written)
}

fn clock(ctx: &mut Context<'_>, key: &[u8]) -> Option<u32> {
    ctx.keyspace.exists(key);
    ctx.keyspace.peek_entry(key).map(|entry| entry.clock())
}

#[cfg(test)]
mod tests {
    use crate::settings::EvictionPolicy;
    use crate::testing::{Bench, check, check3};

    #[test]
    fn encodings() {
        check("SET a 12; OBJECT ENCODING a", "\"int\"");
        check("SET a 012; OBJECT ENCODING a", "\"embstr\"");
        check(&format!("SET a {}; OBJECT ENCODING a", "x".repeat(44)), "\"embstr\"");
        check(&format!("SET a {}; OBJECT ENCODING a", "x".repeat(45)), "\"raw\"");
        check("SET a x; APPEND a y; OBJECT ENCODING a", "\"raw\"");
        check("OBJECT ENCODING a", "nil");
        check3("OBJECT ENCODING a", "nil");
    }

    #[test]
    fn references() {
        check("SET a 12; OBJECT REFCOUNT a", "2147483647");
        check("SET a 10000; OBJECT REFCOUNT a", "1");
        check("SET a -1; OBJECT REFCOUNT a", "1");
        check("SET a foo; OBJECT REFCOUNT a", "1");
        check("OBJECT REFCOUNT a", "nil");
    }

    #[test]
    fn clocks() {
        let mut bench = Bench::new();
        bench.run("SET a 1");
        bench.now_ms += 5_000;
        assert_eq!(bench.run("OBJECT IDLETIME a"), "5");
        assert!(bench.run("OBJECT FREQ a").starts_with("-ERR An LFU maxmemory policy is not selected"));
        assert_eq!(bench.run("OBJECT FREQ x"), "nil");
        bench.settings.maxmemory_policy = EvictionPolicy::AllKeysLfu;
        bench.run("SET b 1");
        assert_eq!(bench.run("OBJECT FREQ b"), "5");
        assert!(bench.run("OBJECT IDLETIME b").starts_with("-ERR An LFU maxmemory policy is selected"));
    }

    #[test]
    fn help_and_arity() {
        let mut bench = Bench::new();
        let help = bench.run("OBJECT HELP");
        assert!(
            help.starts_with(
                "[OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are: ENCODING <key>"
            )
        );
        assert!(help.ends_with("HELP     Print this help.]"));
        check("OBJECT ENCODING", "-ERR wrong number of arguments for 'object|encoding' command");
    }
}
