//! Expiry of keys: EXPIRE and its kin set it, TTL and its kin tell it, PERSIST takes it off.

use crate::command::Args;
use crate::commands::expiry_args::{Unit, remove_overdue};
use crate::context::Context;
use crate::error::CommandError;
use crate::keyspace::notify::Class;
use crate::number::{format_i64, parse_i64};
use crate::reply::Reply;

/// When EXPIRE changes anything.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn read(mut args: Args<'_>) -> Result<Self, CommandError> {
        let mut conditions = Self::default();
        while let Some(word) = args.take() {
            let flag = match word {
                [b'n' | b'N', b'x' | b'X'] => &mut conditions.nx,
                [b'x' | b'X', b'x' | b'X'] => &mut conditions.xx,
                [b'g' | b'G', b't' | b'T'] => &mut conditions.gt,
                [b'l' | b'L', b't' | b'T'] => &mut conditions.lt,
                _ => return Err(CommandError::quoting("ERR Unsupported option ", word, usize::MAX, "")),
            };
            *flag = true;
        }
        if conditions.nx && (conditions.xx || conditions.gt || conditions.lt) {
            return Err(CommandError::text(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if conditions.gt && conditions.lt {
            return Err(CommandError::text("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// Whether a key that expires at `now` may come to expire at `new`. No expiry counts as an endless one.
    fn allow(self, now: Option<i64>, new: i64) -> bool {
        !(self.nx && now.is_some()
            || self.xx && now.is_none()
            || self.gt && now.is_none_or(|now| new <= now)
            || self.lt && now.is_some_and(|now| new >= now))
    }
}

pub(super) fn expire(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    expire_in(ctx, args, Unit::Ex, "expire")
}

pub(super) fn pexpire(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    expire_in(ctx, args, Unit::Px, "pexpire")
}

pub(super) fn expireat(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    expire_in(ctx, args, Unit::ExAt, "expireat")
}

pub(super) fn pexpireat(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    expire_in(ctx, args, Unit::PxAt, "pexpireat")
}

fn expire_in(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    unit: Unit,
    name: &str,
) -> Result<Reply, CommandError> {
    let key = args.get(1);
    args.seek(3);
    let conditions = Conditions::read(args)?;
    let n = parse_i64(args.get(2)).ok_or(CommandError::NotInteger)?;
    let at = unit.any_deadline(n, ctx.present_ms(), name)?;
    let Some(before) = ctx.keyspace.expiry(key) else { return Ok(Reply::Integer(0)) };
    if !conditions.allow(before, at) {
        return Ok(Reply::Integer(0));
    }
    if at <= ctx.now_ms() {
        remove_overdue(ctx, key);
        return Ok(Reply::Integer(1));
    }
    ctx.keyspace.set_expiry(key, Some(at));
    if ctx.keyspace.has_listeners() {
        let deadline = format_i64(at);
        let mut effect: Vec<&[u8]> = vec![b"PEXPIREAT", key, deadline.as_bytes()];
        effect.extend(args.rest());
        ctx.keyspace.propagate(&effect);
    }
    ctx.keyspace.modified(key);
    ctx.keyspace.notify(Class::Generic, "expire", key);
    Ok(Reply::Integer(1))
}

pub(super) fn persist(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let key = args.get(1);
    if ctx.keyspace.expiry(key).flatten().is_none() {
        return Ok(Reply::Integer(0));
    }
    ctx.keyspace.set_expiry(key, None);
    ctx.keyspace.modified(key);
    ctx.keyspace.notify(Class::Generic, "persist", key);
    Ok(Reply::Integer(1))
}

pub(super) fn ttl(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    tell(ctx, args, |at, now_ms| seconds((at - now_ms).max(0)))
}

pub(super) fn pttl(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    tell(ctx, args, |at, now_ms| (at - now_ms).max(0))
}

pub(super) fn expiretime(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    tell(ctx, args, |at, _| seconds(at))
}

pub(super) fn pexpiretime(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    tell(ctx, args, |at, _| at)
}

/// Milliseconds rounded to seconds.
fn seconds(ms: i64) -> i64 {
    ms.saturating_add(500) / 1000
}

/// Answers what `told` makes of the deadline and the time: -1 where there is no expiry, -2 where there is no key.
fn tell(ctx: &mut Context<'_>, args: Args<'_>, told: fn(i64, i64) -> i64) -> Result<Reply, CommandError> {
    let key = args.get(1);
    if ctx.keyspace.read_quietly(key).is_none() {
        return Ok(Reply::Integer(-2));
    }
    let at = ctx.keyspace.expiry(key).flatten();
    Ok(Reply::Integer(at.map_or(-1, |at| told(at, ctx.present_ms()))))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    const NOW: i64 = 1_700_000_000_000;

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
    fn what_is_set_is_told() {
        for (command, left_ms) in [
            ("EXPIRE a 100", 100_000),
            ("PEXPIRE a 1234", 1_234),
            ("EXPIREAT a 1700000005", 5_000),
            ("PEXPIREAT a 1700000000700", 700),
        ] {
            let told = |what: &str| {
                let mut bench = Bench::new();
                bench.run("SET a 1");
                assert_eq!(bench.run(command), "1");
                bench.run(what).parse::<i64>().unwrap()
            };
            assert_eq!(told("PTTL a"), left_ms);
            assert_eq!(told("TTL a"), (left_ms + 500) / 1000);
            assert_eq!(told("PEXPIRETIME a"), NOW + left_ms);
            assert_eq!(told("EXPIRETIME a"), (NOW + left_ms + 500) / 1000);
        }
        for command in ["TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"] {
            check(&format!("{command} a"), "-2");
            check(&format!("SET a 1; {command} a"), "-1");
        }
        check("EXPIRE a 100", "0");
    }

    #[test]
    fn the_past_deletes() {
        for command in
            ["EXPIRE a 0", "EXPIRE a -1", "PEXPIRE a -5", "EXPIREAT a 1", "PEXPIREAT a 1700000000000"]
        {
            check(&format!("SET a 1; {command}"), "1");
            check(&format!("SET a 1; {command}; EXISTS a"), "0");
            leaves(&format!("SET a 1; {command}"), &["0: UNLINK a"], &["del a"]);
        }
        for moved in ["RENAME a b", "COPY a b", "MOVE a 1"] {
            let mut bench = Bench::new();
            bench.run("SET a 1 EX 1");
            bench.run(moved);
            let volatile = |bench: &Bench| bench.shard.counts(0).volatile + bench.shard.counts(1).volatile;
            let keys = |bench: &Bench| bench.shard.counts(0).keys + bench.shard.counts(1).keys;
            assert_eq!(volatile(&bench), keys(&bench), "after {moved}");
            bench.run("DEL a b");
            assert_eq!(volatile(&bench), keys(&bench), "after {moved} and DEL");
        }
    }

    #[test]
    fn conditions() {
        for (before, condition, changes) in [
            ("", "NX", 1),
            ("EX 10", "NX", 0),
            ("", "XX", 0),
            ("EX 10", "xx", 1),
            ("", "GT", 0),
            ("EX 10", "GT", 1),
            ("EX 100", "GT", 0),
            ("EX 1000", "gt", 0),
            ("", "LT", 1),
            ("EX 10", "LT", 0),
            ("EX 100", "LT", 0),
            ("EX 1000", "LT", 1),
            ("EX 10", "XX GT", 1),
            ("EX 10", "GT GT XX", 1),
        ] {
            check(&format!("SET a 1 {before}; EXPIRE a 100 {condition}"), &changes.to_string());
        }
        check("SET a 1 EX 10; EXPIRE a -5 NX; EXISTS a", "1");
        for condition in ["NX XX", "GT NX", "NX LT"] {
            check(
                &format!("EXPIRE a 10 {condition}"),
                "-ERR NX and XX, GT or LT options at the same time are not compatible",
            );
        }
        check("EXPIRE a 10 GT LT", "-ERR GT and LT options at the same time are not compatible");
        check("EXPIRE a x AB", "-ERR Unsupported option AB");
    }

    #[test]
    fn bad_numbers() {
        check("EXPIRE a x", "-ERR value is not an integer or out of range");
        check("EXPIRE a 9223372036854775807", "-ERR invalid expire time in 'expire' command");
        check("EXPIRE a -9223372036854775807", "-ERR invalid expire time in 'expire' command");
        check("PEXPIRE a 9223372036854775807", "-ERR invalid expire time in 'pexpire' command");
        check("EXPIREAT a 9223372036854776", "-ERR invalid expire time in 'expireat' command");
        check("SET a 1; PEXPIREAT a 9223372036854775807; PEXPIRETIME a", "9223372036854775807");
        check("SET a 1; PEXPIREAT a 9223372036854775806; PEXPIRETIME a", "9223372036854775806");
        check("EXPIRE a", "-ERR wrong number of arguments for 'expire' command");
    }

    #[test]
    fn effects_are_absolute() {
        leaves("SET a 1; EXPIRE a 10", &["0: PEXPIREAT a 1700000010000"], &["expire a"]);
        leaves("SET a 1; PEXPIRE a 10 NX", &["0: PEXPIREAT a 1700000000010 NX"], &["expire a"]);
        leaves("SET a 1; EXPIREAT a 1700000010", &["0: PEXPIREAT a 1700000010000"], &["expire a"]);
        leaves("EXPIRE a 10", &[], &[]);
    }

    #[test]
    fn persistence() {
        check("SET a 1 EX 10; PERSIST a", "1");
        check("SET a 1 EX 10; PERSIST a; TTL a", "-1");
        check("SET a 1; PERSIST a", "0");
        check("PERSIST a", "0");
        leaves("SET a 1 EX 10; PERSIST a", &["0: PERSIST a"], &["persist a"]);
        let mut bench = Bench::new();
        bench.run("SET a 1 EX 10");
        assert_eq!(bench.shard.counts(0).volatile, 1);
        bench.run("PERSIST a");
        assert_eq!(bench.shard.counts(0).volatile, 0);
    }
}
