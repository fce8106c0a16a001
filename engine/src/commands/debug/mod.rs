//! DEBUG: what tests and the curious ask of the data. COMMAND shows it as one command.
//!
//! | file     | holds                                                      |
//! |----------|------------------------------------------------------------|
//! | `digest` | DEBUG DIGEST: equal data, equal digest, on every server    |
//! | `object` | DEBUG OBJECT: what is known of one entry                   |
//! | here     | tables, test data, replies of each type                    |
//!
//! Subcommands that the server runs have their rows here as well.

mod digest;
mod object;

use crate::command::{
    Args, Arity, Command, Flag, Flag::*, Group, KeyFlag::*, KeySpec, Run, ShardFn, key, keys,
};
use crate::context::Context;
use crate::error::CommandError;
use crate::keyspace::{SetExpiry, ValueRef};
use crate::number::parse_i64;
use crate::reply::Reply;
use std::fmt::Write as _;

const FLAGS: &[Flag] = &[Admin, NoScript, Loading, Stale, Protected];

pub(super) const COMMANDS: &[Command] = &[Command {
    name: "DEBUG",
    arity: Arity::AtLeast(2),
    flags: FLAGS,
    group: Group::Server,
    since: "1.0.0",
    complexity: "Depends on the subcommand.",
    summary: "Looks into the server, for those who test it.",
    subcommands: &[
        elsewhere("AOF-FLUSH-SLEEP", 3, "Waits before each write to the log."),
        elsewhere("CHANGE-REPL-ID", 2, "Takes another replication ID."),
        elsewhere("CONFIG-REWRITE-FORCE-ALL", 2, "Writes every setting into the configuration file."),
        elsewhere("DICT-RESIZING", 3, "Lets tables grow and shrink or not."),
        on_all("DIGEST", Arity::Exactly(2), digest::dataset, "Digests all data."),
        on_keys(
            "DIGEST-VALUE",
            Arity::AtLeast(2),
            &[keys(2, -1, 1, &[Ro])],
            digest::values,
            "Digests the values of keys.",
        ),
        elsewhere("ERROR", 3, "Answers with an error."),
        elsewhere("HELP", 2, "Explains the subcommands."),
        on_all("HTSTATS", Arity::AtLeast(3), htstats, "Describes the tables of a database."),
        on_keys("HTSTATS-KEY", Arity::AtLeast(3), KEY, htstats_key, "Describes the table of a collection."),
        on_keys("LISTPACK", Arity::Exactly(3), KEY, listpack, "Describes a listpack."),
        elsewhere("LOADAOF", 2, "Loads the log again."),
        elsewhere("LOG", 3, "Writes to the server's log."),
        on_keys("OBJECT", Arity::AtLeast(3), KEY, object::object, "Describes an entry."),
        elsewhere("PAUSE-CRON", 3, "Stops the periodic work."),
        on_all("POPULATE", Arity::AtLeast(3), populate, "Makes keys to test with."),
        on_keys("PROTOCOL", Arity::Exactly(3), &[], protocol, "Answers with a reply of some type."),
        on_keys("QUICKLIST", Arity::AtLeast(3), KEY, quicklist, "Describes a quicklist."),
        elsewhere(
            "QUICKLIST-PACKED-THRESHOLD",
            3,
            "Sets from which size on list elements have their own nodes.",
        ),
        Command { arity: Arity::AtLeast(2), ..elsewhere("RELOAD", 2, "Saves all data and loads it again.") },
        Command { arity: Arity::AtLeast(3), ..elsewhere("REPLICATE", 3, "Sends a command to the replicas.") },
        elsewhere("REPLYBUFFER", 4, "Sets when reply buffers are resized."),
        elsewhere("SET-ACTIVE-EXPIRE", 3, "Turns the active expiry off and on."),
        elsewhere("SET-DISABLE-DENY-SCRIPTS", 3, "Lets scripts run what they may not."),
        elsewhere("SET-SKIP-CHECKSUM-VALIDATION", 3, "Loads snapshots whatever their checksum."),
        elsewhere("SLEEP", 3, "Does nothing for some seconds."),
        elsewhere("STRUCTSIZE", 2, "Tells the sizes of structures."),
    ],
    hidden_subcommands: true,
    ..Command::BASE
}];

const KEY: &[KeySpec] = &[key(2, &[Ro])];

const fn row(
    name: &'static str,
    arity: Arity,
    keys: &'static [KeySpec],
    run: Run,
    summary: &'static str,
) -> Command {
    Command { name, arity, flags: FLAGS, keys, group: Group::Server, summary, run, ..Command::BASE }
}

const fn on_keys(
    name: &'static str,
    arity: Arity,
    keys: &'static [KeySpec],
    run: ShardFn,
    summary: &'static str,
) -> Command {
    row(name, arity, keys, Run::Keys(run), summary)
}

const fn on_all(name: &'static str, arity: Arity, run: ShardFn, summary: &'static str) -> Command {
    row(name, arity, &[], Run::AllShards(run), summary)
}

const fn elsewhere(name: &'static str, arity: usize, summary: &'static str) -> Command {
    row(name, Arity::Exactly(arity), &[], Run::Elsewhere, summary)
}

/// Makes `count` keys `prefix:0`, `prefix:1` and so on where they are absent.
fn populate(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    args.seek(2);
    let positive = |n: i64| usize::try_from(n).map_err(|_| CommandError::NotPositive);
    let count = positive(args.integer()?)?;
    let prefix = args.take().unwrap_or(b"key");
    let size = match args.take() {
        Some(size) => positive(parse_i64(size).ok_or(CommandError::NotInteger)?)?,
        None => 0,
    };
    if args.left() > 0 {
        return Err(CommandError::Syntax);
    }
    if size as u64 > ctx.settings.proto_max_bulk_len {
        return Err(CommandError::StringTooLong);
    }
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for n in 0..count {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(n).as_bytes();
        key.clear();
        key.extend_from_slice(prefix);
        key.push(b':');
        key.extend_from_slice(digits);
        if ctx.keyspace.exists(&key) {
            continue;
        }
        value.clear();
        value.extend_from_slice(b"value:");
        value.extend_from_slice(digits);
        if size > 0 {
            value.resize(size, 0);
        }
        ctx.keyspace.put_string(&key, &value, SetExpiry::Clear);
        ctx.keyspace.signal(&key);
    }
    Ok(Reply::Ok)
}

/// The tables of all slots of a database, added up.
fn htstats(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let db = parse_i64(args.get(2)).ok_or(CommandError::NotInteger)?;
    let db = usize::try_from(db)
        .ok()
        .filter(|db| *db < ctx.settings.databases)
        .ok_or(CommandError::text("ERR Out of range database"))?;
    let (mut buckets, mut parts, mut volatile) = (0, 0, 0);
    for shard in ctx.keyspace.shards() {
        volatile += shard.counts(db).expires;
        for slot in shard.owned_slots() {
            let Some(found) = shard.slot(slot).and_then(|data| data.db(shard.physical(db))) else { continue };
            if !found.table.is_empty() {
                buckets += found.table.buckets();
                parts += found.table.parts();
            }
        }
    }
    let keys: usize = ctx.keyspace.shards().map(|shard| shard.counts(db).keys).sum();
    let mut text = String::from("[Dictionary HT]\n");
    if keys == 0 {
        text.push_str("No stats available for empty dictionaries\n");
    } else {
        let _ =
            write!(text, " table size: {buckets}\n number of elements: {keys}\n number of tables: {parts}\n");
    }
    // Expiries are part of the entries: there is no second table.
    let _ = write!(text, "[Expires HT]\n number of elements: {volatile}\n");
    ctx.out.verbatim("txt", text.as_bytes());
    Ok(Reply::Written)
}

fn htstats_key(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let value = ctx.keyspace.peek(args.get(2)).ok_or(CommandError::NoSuchKey)?;
    let (len, bytes) = match value {
        ValueRef::Set(set) if set.encoding_name() == "hashtable" => (set.len(), set.memory_usage(5)),
        ValueRef::Hash(hash) if hash.encoding_name() == "hashtable" => (hash.len(), hash.memory_usage(5)),
        ValueRef::ZSet(zset) if zset.encoding() == "skiplist" => (zset.len(), zset.memory_usage()),
        _ => {
            return Err(CommandError::text(
                "ERR The value stored at the specified key is not represented using an hash table",
            ));
        }
    };
    let text =
        format!("Hash table 0 stats (main hash table):\n number of elements: {len}\n bytes: {bytes}\n");
    ctx.out.verbatim("txt", text.as_bytes());
    Ok(Reply::Written)
}

fn listpack(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let value = ctx.keyspace.peek(args.get(2)).ok_or(CommandError::NoSuchKey)?;
    let (entries, bytes) = match object::packed(value) {
        Some(pack) => (pack.len(), pack.bytes_len()),
        None => return Err(CommandError::text("ERR Not a listpack encoded object.")),
    };
    ctx.out.status(&format!("Listpack of {entries} entries in {bytes} bytes"));
    Ok(Reply::Written)
}

fn quicklist(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    match ctx.keyspace.peek(args.get(2)).ok_or(CommandError::NoSuchKey)? {
        ValueRef::List(list) if !list.is_listpack() => {
            let text = format!("Quicklist of {} elements in {} nodes", list.len(), list.node_count());
            ctx.out.status(&text);
            Ok(Reply::Written)
        }
        _ => Err(CommandError::text("ERR Not a quicklist encoded object.")),
    }
}

/// The double that real servers answer with.
#[allow(clippy::approx_constant, reason = "this very number is expected")]
const DOUBLE: f64 = 3.141;

fn protocol(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let out = &mut *ctx.out;
    match args.get(2).to_ascii_lowercase().as_slice() {
        b"string" => out.bulk(b"Hello World"),
        b"integer" => out.integer(12_345),
        b"double" => out.double(DOUBLE),
        b"bignum" => out.big_number(b"1234567999999999999999999999999999999"),
        b"null" => out.null(),
        b"array" => {
            out.array(3);
            (0..3).for_each(|n| out.integer(n));
        }
        b"set" => {
            out.set(3);
            (0..3).for_each(|n| out.integer(n));
        }
        b"map" => {
            out.map(3);
            for n in 0..3 {
                out.integer(n);
                out.boolean(n == 1);
            }
        }
        b"attrib" => {
            if out.is_resp3() {
                out.bytes_mut().extend_from_slice(b"|1\r\n");
                out.bulk(b"key-popularity");
                out.array(2);
                out.bulk(b"key:123");
                out.integer(90);
            }
            out.bulk(b"Some real reply following the attribute");
        }
        b"push" => {
            if !out.is_resp3() {
                return Err(CommandError::text("ERR RESP2 is not supported by this command"));
            }
            out.push(2);
            out.bulk(b"server-cpu-usage");
            out.integer(42);
            out.bulk(b"Some real reply following the push reply");
        }
        b"true" => out.boolean(true),
        b"false" => out.boolean(false),
        b"verbatim" => out.verbatim("txt", b"This is a verbatim\nstring"),
        _ => {
            return Err(CommandError::text(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(Reply::Written)
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check, check3};

    fn bench() -> Bench {
        let mut bench = Bench::new();
        for line in [
            "SET s hello",
            "SET n 12 PX 100000000",
            "RPUSH l a b 3",
            "SADD st x y 7",
            "SADD is 1 2 3",
            "HSET h f v g 5",
            "ZADD z 1 a 2.5 b 3e20 c",
        ] {
            assert!(!bench.run(line).starts_with('-'), "{line}");
        }
        bench.db = 2;
        bench.run("SET k v");
        bench.db = 0;
        bench
    }

    #[test]
    fn digests_equal_those_of_redis() {
        // From a redis-server 7.0.15 with the same data.
        let mut bench = bench();
        for (key, digest) in [
            ("s", "36b23a1456b2dce2c3ed252c456761301dba8060"),
            ("n", "83df3a94c43338a2db2a05ddb5dbb794b842c619"),
            ("l", "09eb1fc9381ee92790d59930ab462945f8cd948b"),
            ("st", "a6afcc473373536adb071da403abcb70a693d104"),
            ("is", "2a462a3f51a1db89738ebbeef0c47ce1bbc85246"),
            ("h", "a517316c9277e5f73e03ee50bbc7e094b6d7135d"),
            ("z", "9a26f40695100709f57c233c9f4f02d4ffaf7767"),
            ("none", "0000000000000000000000000000000000000000"),
        ] {
            assert_eq!(bench.run(&format!("DEBUG DIGEST-VALUE {key}")), format!("[{digest}]"), "{key}");
        }
        bench.run("DEL z");
        assert_eq!(bench.run("DEBUG DIGEST"), "bcd8e6f96e59727e4067f9596037f09cc43d9333");
        bench.run("FLUSHALL");
        assert_eq!(bench.run("DEBUG DIGEST"), "0".repeat(40));
    }

    #[test]
    fn entries_are_described() {
        let mut bench = bench();
        bench.now_ms += 3_000;
        for (key, part) in [
            ("s", " refcount:1 encoding:embstr serializedlength:6 lru:"),
            ("n", " refcount:2147483647 encoding:int serializedlength:2 lru:"),
            ("l", " encoding:listpack serializedlength:"),
            ("is", " encoding:intset serializedlength:15 lru:"),
            ("s", " lru_seconds_idle:3 lfu_freq:"),
        ] {
            let text = bench.run(&format!("DEBUG OBJECT {key}"));
            assert!(text.starts_with("Value at:0x") && text.contains(part), "{text}");
        }
        assert!(!bench.run("DEBUG OBJECT s fast").contains("serializedlength"));
        check("DEBUG OBJECT k", "-ERR no such key");
        bench.settings.list_max_listpack_size = 2;
        bench.run("RPUSH ql a b c d e");
        let text = bench.run("DEBUG OBJECT ql");
        assert!(text.contains(" encoding:quicklist serializedlength:"), "{text}");
        assert!(text.contains(
            " ql_nodes:3 ql_avg_node:1.67 ql_listpack_max:2 ql_compressed:0 ql_uncompressed_size:36"
        ));
        assert_eq!(bench.run("DEBUG QUICKLIST ql"), "Quicklist of 5 elements in 3 nodes");
        assert_eq!(bench.run("DEBUG LISTPACK ql"), "-ERR Not a listpack encoded object.");
        assert_eq!(bench.run("DEBUG LISTPACK h"), "Listpack of 4 entries in 18 bytes");
        assert_eq!(bench.run("DEBUG QUICKLIST h"), "-ERR Not a quicklist encoded object.");
    }

    #[test]
    fn an_entry_changed_in_place_stays_where_it_is() {
        let mut bench = Bench::new();
        let place = |bench: &mut Bench| bench.run("DEBUG OBJECT n").split(' ').nth(1).map(str::to_owned);
        bench.run("SET n 20000");
        let before = place(&mut bench);
        bench.run("INCR n");
        assert_eq!(place(&mut bench), before);
    }

    #[test]
    fn tables_are_described() {
        let mut bench = bench();
        let text = bench.run("DEBUG HTSTATS 0");
        assert!(
            text.contains(r" number of elements: 7\n")
                && text.contains(r"[Expires HT]\n number of elements: 1\n")
        );
        check(
            "DEBUG HTSTATS 0",
            r#""[Dictionary HT]\nNo stats available for empty dictionaries\n[Expires HT]\n number of elements: 0\n""#,
        );
        check("DEBUG HTSTATS 16", "-ERR Out of range database");
        check("DEBUG HTSTATS x", "-ERR value is not an integer or out of range");
        assert!(bench.run("DEBUG HTSTATS-KEY st").starts_with("-ERR The value stored at the specified key"));
        bench.run(&format!("SADD st {}", "x".repeat(100)));
        assert!(bench.run("DEBUG HTSTATS-KEY st").contains(" number of elements: 4"));
        check("DEBUG HTSTATS-KEY k", "-ERR no such key");
    }

    #[test]
    fn keys_are_made() {
        let mut bench = Bench::new();
        bench.run("SET key:1 mine");
        bench.effects();
        assert_eq!(bench.run("DEBUG POPULATE 100"), "OK");
        assert_eq!(bench.run("DBSIZE"), "100");
        assert_eq!(bench.run("GET key:1"), "\"mine\"");
        assert_eq!(bench.run("GET key:99"), "\"value:99\"");
        assert!(bench.effects().is_empty());
        bench.run("DEBUG POPULATE 3 p 4");
        assert_eq!(bench.run("GET p:2"), "\"valu\"");
        bench.run("DEBUG POPULATE 3 q 10");
        assert_eq!(bench.run("GET q:2"), r#""value:2\x00\x00\x00""#);
        check("DEBUG POPULATE -1", "-ERR value is out of range, must be positive");
        check("DEBUG POPULATE x", "-ERR value is not an integer or out of range");
        check(
            "DEBUG POPULATE 1 p 1000000000000",
            "-ERR string exceeds maximum allowed size (proto-max-bulk-len)",
        );
    }

    #[test]
    fn replies_of_each_type() {
        check("DEBUG PROTOCOL map", "[0 0 1 1 2 0]");
        check3("DEBUG PROTOCOL map", "{0: #f, 1: #t, 2: #f}");
        check3("DEBUG PROTOCOL set", "~[0 1 2]");
        check("DEBUG PROTOCOL double", "\"3.141\"");
        check3("DEBUG PROTOCOL double", ",3.141");
        check("DEBUG PROTOCOL push", "-ERR RESP2 is not supported by this command");
        check3("DEBUG PROTOCOL bignum", "(1234567999999999999999999999999999999");
    }
}
