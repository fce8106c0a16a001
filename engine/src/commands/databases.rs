//! Commands on whole databases, and the sizes of keys: DBSIZE, FLUSHALL, FLUSHDB, SWAPDB, MEMORY USAGE.

use super::keys::int;
use crate::command::{Args, Arity, Category, Command, Flag::*, Group, KeyFlag::*, Run, key};
use crate::context::Context;
use crate::error::CommandError;
use crate::reply::Reply;

/// How many elements MEMORY USAGE looks at unless told.
const SAMPLES: usize = 5;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "DBSIZE",
        arity: Arity::Exactly(1),
        flags: &[ReadOnly, Fast],
        acl: &[Category::Keyspace],
        tips: &["request_policy:all_shards", "response_policy:agg_sum"],
        group: Group::Server,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Counts the keys of the database.",
        run: Run::AllShards(dbsize),
        ..Command::BASE
    },
    Command {
        name: "FLUSHALL",
        arity: Arity::AtLeast(1),
        flags: &[Write, AllDbs],
        acl: &[Category::Dangerous, Category::Keyspace],
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        group: Group::Server,
        since: "1.0.0",
        complexity: "O(n) for n keys in all databases.",
        summary: "Removes all keys of all databases.",
        run: Run::AllShards(flushall),
        ..Command::BASE
    },
    Command {
        name: "FLUSHDB",
        arity: Arity::AtLeast(1),
        flags: &[Write],
        acl: &[Category::Dangerous, Category::Keyspace],
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        group: Group::Server,
        since: "1.0.0",
        complexity: "O(n) for n keys in the database.",
        summary: "Removes all keys of the database.",
        run: Run::AllShards(flushdb),
        ..Command::BASE
    },
    Command {
        name: "MEMORY",
        arity: Arity::AtLeast(2),
        group: Group::Server,
        since: "4.0.0",
        complexity: "Depends on the subcommand.",
        summary: "Looks at the use of memory.",
        subcommands: &[
            Command {
                name: "DOCTOR",
                arity: Arity::Exactly(2),
                tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
                group: Group::Server,
                since: "4.0.0",
                summary: "Reports what is odd about the use of memory.",
                ..Command::BASE
            },
            Command {
                name: "HELP",
                arity: Arity::Exactly(2),
                flags: &[Loading, Stale],
                group: Group::Server,
                since: "4.0.0",
                summary: "Explains the subcommands.",
                ..Command::BASE
            },
            Command {
                name: "MALLOC-STATS",
                arity: Arity::Exactly(2),
                flags: &[Loading],
                tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
                group: Group::Server,
                since: "4.0.0",
                complexity: "Depends on the allocator.",
                summary: "Reports what the allocator counts.",
                ..Command::BASE
            },
            Command {
                name: "PURGE",
                arity: Arity::Exactly(2),
                flags: &[Loading],
                tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
                group: Group::Server,
                since: "4.0.0",
                complexity: "Depends on the allocator.",
                summary: "Asks the allocator to give unused memory back.",
                ..Command::BASE
            },
            Command {
                name: "STATS",
                arity: Arity::Exactly(2),
                tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
                group: Group::Server,
                since: "4.0.0",
                summary: "Reports what memory is used for.",
                ..Command::BASE
            },
            Command {
                name: "USAGE",
                arity: Arity::AtLeast(3),
                flags: &[ReadOnly],
                keys: &[key(2, &[Ro])],
                group: Group::Server,
                since: "4.0.0",
                complexity: "O(n) for n samples.",
                summary: "Estimates the memory that a key takes.",
                run: Run::Keys(memory_usage),
                ..Command::BASE
            },
        ],
        ..Command::BASE
    },
    Command {
        name: "SWAPDB",
        arity: Arity::Exactly(3),
        flags: &[Write, Fast],
        acl: &[Category::Dangerous, Category::Keyspace],
        group: Group::Server,
        since: "4.0.0",
        complexity: "O(n) for n clients that watch keys or wait for them.",
        summary: "Lets two databases change places.",
        run: Run::AllShards(swapdb),
        ..Command::BASE
    },
];

fn dbsize(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Reply, CommandError> {
    let db = ctx.keyspace.db();
    Ok(ctx.keyspace.shards().map(|shard| shard.counts(db).keys).sum::<usize>().into())
}

fn flushall(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let databases = ctx.keyspace.shards().next().map_or(0, |shard| shard.databases());
    flush(ctx, args, 0..databases)
}

fn flushdb(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let db = ctx.keyspace.db();
    flush(ctx, args, db..db + 1)
}

fn flush(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    dbs: std::ops::Range<usize>,
) -> Result<Reply, CommandError> {
    let lazy = args.word("ASYNC") || !args.word("SYNC") && ctx.settings.lazyfree_lazy_user_flush;
    if args.left() > 0 {
        return Err(CommandError::Syntax);
    }
    let removed = ctx.keyspace.flush(dbs, lazy);
    ctx.keyspace.add_dirty(removed as u64);
    // Also when nothing was there: replicas may have more.
    ctx.keyspace.propagate(args.all());
    Ok(Reply::Ok)
}

fn swapdb(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    if ctx.settings.cluster_enabled {
        return Err(CommandError::text("ERR SWAPDB is not allowed in cluster mode"));
    }
    let a = int(args.get(1)).map_err(|_| CommandError::text("ERR invalid first DB index"))?;
    let b = int(args.get(2)).map_err(|_| CommandError::text("ERR invalid second DB index"))?;
    let known = |db: i32| usize::try_from(db).ok().filter(|db| *db < ctx.settings.databases);
    let (Some(a), Some(b)) = (known(a), known(b)) else {
        return Err(CommandError::text("ERR DB index is out of range"));
    };
    if a != b {
        ctx.keyspace.swap_dbs(a, b);
    }
    ctx.keyspace.add_dirty(1);
    Ok(Reply::Ok)
}

fn memory_usage(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    args.seek(2);
    let key = args.required()?;
    let mut samples = SAMPLES;
    while args.left() > 0 {
        if args.left() < 2 || !args.word("SAMPLES") {
            return Err(CommandError::Syntax);
        }
        samples = usize::try_from(args.integer()?).map_err(|_| CommandError::Syntax)?;
    }
    let slot = ctx.keyspace.slot(key);
    let Some(entry) = ctx.keyspace.stored_entry(key) else { return Ok(Reply::Null) };
    let shard = ctx.keyspace.shard(slot);
    let table =
        shard.slot(slot).and_then(|data| data.db(shard.physical(ctx.keyspace.db()))).map(|db| &db.table);
    let share = table.map_or(0, |table| table.allocation_bytes() / table.len().max(1));
    Ok((entry.memory_usage(samples) + share).into())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    fn bench() -> Bench {
        let mut bench = Bench::new();
        for db in [0, 3] {
            bench.db = db;
            for i in 0..=db {
                bench.run(&format!("SET k{i} {db}"));
            }
        }
        bench.db = 0;
        bench.effects();
        bench.events();
        bench
    }

    #[test]
    fn databases_are_counted_and_flushed() {
        let mut bench = bench();
        assert_eq!(bench.run("DBSIZE"), "1");
        assert_eq!(bench.run("FLUSHDB"), "OK");
        assert_eq!(bench.effects(), ["0: FLUSHDB"]);
        assert_eq!(bench.run("DBSIZE"), "0");
        assert_eq!(bench.run("FLUSHALL ASYNC"), "OK");
        assert_eq!(bench.effects(), ["0: FLUSHALL ASYNC"]);
        assert_eq!(bench.run("flushall sync"), "OK");
        assert_eq!(bench.effects(), ["0: flushall sync"], "even when nothing was there");
        bench.db = 3;
        assert_eq!(bench.run("DBSIZE"), "0");
        assert_eq!(bench.shard.stats.dirty, 1 + 4 + 1 + 4);
        for line in ["FLUSHALL FOO", "FLUSHDB SYNC ASYNC", "FLUSHDB ASYNC x"] {
            check(line, "-ERR syntax error");
        }
    }

    #[test]
    fn flushed_tables_are_left_to_be_freed_unless_told() {
        let mut bench = bench();
        bench.run("FLUSHDB SYNC");
        assert_eq!(bench.shard.garbage.len(), 0);
        bench.run("FLUSHALL");
        assert_eq!(bench.shard.garbage.len(), 4);
    }

    #[test]
    fn databases_change_places() {
        let mut bench = bench();
        assert_eq!(bench.run("SWAPDB 0 3"), "OK");
        assert_eq!(bench.effects(), ["0: SWAPDB 0 3"]);
        assert_eq!(bench.run("DBSIZE"), "4");
        assert_eq!(bench.run("GET k0"), "\"3\"");
        assert_eq!(bench.run("SWAPDB 3 3"), "OK");
        check("SWAPDB a 1", "-ERR invalid first DB index");
        check("SWAPDB 1 4294967296", "-ERR invalid second DB index");
        check("SWAPDB 0 16", "-ERR DB index is out of range");
        check("SWAPDB -1 0", "-ERR DB index is out of range");
    }

    #[test]
    fn memory_is_estimated() {
        check("MEMORY USAGE k", "nil");
        check("MEMORY USAGE k SAMPLES", "-ERR syntax error");
        check("MEMORY USAGE k SAMPLES -1", "-ERR syntax error");
        check("MEMORY USAGE k SAMPLES x", "-ERR value is not an integer or out of range");
        check("MEMORY USAGE", "-ERR wrong number of arguments for 'memory|usage' command");
        let mut bench = Bench::new();
        bench.run(&format!("SET small {}", "x".repeat(10)));
        bench.run(&format!("SET large {}", "x".repeat(100_000)));
        let usage = |bench: &mut Bench, key: &str| {
            bench.run(&format!("MEMORY USAGE {key} SAMPLES 0")).parse::<usize>()
        };
        let (small, large) = (usage(&mut bench, "small").unwrap(), usage(&mut bench, "large").unwrap());
        assert!((20..120).contains(&small), "{small}");
        assert!((100_000..100_200).contains(&large), "{large}");
    }
}
