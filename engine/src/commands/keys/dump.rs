//! DUMP and RESTORE: a key as bytes, to be made again elsewhere.

use crate::command::Args;
use crate::context::Context;
use crate::error::CommandError;
use crate::keyspace::evict;
use crate::keyspace::notify::Class;
use crate::number::{format_i64, parse_i64};
use crate::rdb::Version;
use crate::rdb::dump::{self, Payload};
use crate::rdb::save::SaveOptions;
use crate::reply::Reply;

const BUSY: CommandError = CommandError::text("BUSYKEY Target key name already exists.");
const NEGATIVE_TTL: CommandError = CommandError::text("ERR Invalid TTL value, must be >= 0");
const NEGATIVE_IDLE: CommandError = CommandError::text("ERR Invalid IDLETIME value, must be >= 0");
const NOT_A_FREQUENCY: CommandError = CommandError::text("ERR Invalid FREQ value, must be >= 0 and <= 255");
const NOT_A_PAYLOAD: CommandError = CommandError::text("ERR DUMP payload version or checksum are wrong");
const NOT_A_VALUE: CommandError = CommandError::text("ERR Bad data format");

/// An access clock has 24 bits of seconds.
const IDLE_SECONDS_MAX: u32 = (1 << 24) - 1;

pub(super) fn dump(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    // Whatever has been dumped can be restored on every server since Redis 7.0, as far as it knows such values.
    let options = SaveOptions { target: Version::V10, compress: ctx.settings.rdb_compression };
    let Some(value) = ctx.keyspace.read(args.get(1)) else { return Ok(Reply::Null) };
    let mut payload = Vec::new();
    dump::payload(&mut payload, &options, value);
    ctx.out.bulk(&payload);
    Ok(Reply::Written)
}

/// The words after the payload.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle_seconds: Option<i64>,
    frequency: Option<u8>,
}

impl Options {
    fn read(mut args: Args<'_>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        args.seek(4);
        while args.left() > 0 {
            if args.word("REPLACE") {
                options.replace = true;
            } else if args.word("ABSTTL") {
                options.absolute = true;
            } else if options.frequency.is_none() && args.left() > 1 && args.word("IDLETIME") {
                let idle = args.integer()?;
                options.idle_seconds = Some(if idle < 0 { return Err(NEGATIVE_IDLE) } else { idle });
            } else if options.idle_seconds.is_none() && args.left() > 1 && args.word("FREQ") {
                let uses = u8::try_from(args.integer()?);
                options.frequency = Some(uses.map_err(|_| NOT_A_FREQUENCY)?);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }

    /// The access clock that was asked for, as far as the eviction policy goes by it.
    fn clock(&self, ctx: &Context<'_>) -> Option<u32> {
        if ctx.settings.maxmemory_policy.is_lfu() {
            return self.frequency.map(|uses| evict::clock_of_frequency(uses, ctx.present_ms()));
        }
        let idle = u32::try_from(self.idle_seconds?).unwrap_or(u32::MAX).min(IDLE_SECONDS_MAX);
        Some(evict::clock_of_idle(idle, ctx.present_ms()))
    }
}

pub(super) fn restore(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let (key, payload) = (args.get(1), args.get(3));
    let options = Options::read(args)?;
    if !options.replace && ctx.keyspace.exists(key) {
        return Err(BUSY);
    }
    let ttl = parse_i64(args.get(2)).ok_or(CommandError::NotInteger)?;
    if ttl < 0 {
        return Err(NEGATIVE_TTL);
    }
    let payload = Payload::open(payload).ok_or(NOT_A_PAYLOAD)?;
    let value = payload.load(ctx.settings, ctx.hasher).map_err(|_| NOT_A_VALUE)?;

    let lazy = ctx.settings.lazyfree_lazy_server_del;
    let replaced = options.replace && ctx.keyspace.remove_lazily(key, lazy);
    // A time too far away is in the past, here as in Redis.
    let relative = ttl > 0 && !options.absolute;
    let at = if relative { ttl.wrapping_add(ctx.present_ms()) } else { ttl };
    if ttl > 0 && at <= ctx.now_ms() {
        if replaced {
            let name: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
            ctx.keyspace.propagate(&[name, key]);
            ctx.keyspace.modified(key);
            ctx.keyspace.notify(Class::Generic, "del", key);
        }
        return Ok(Reply::Ok);
    }
    ctx.keyspace.put(key, value, (ttl > 0).then_some(at));
    if let Some(clock) = options.clock(ctx) {
        ctx.keyspace.set_clock(key, clock);
    }
    if relative && ctx.keyspace.has_listeners() {
        let deadline = format_i64(at);
        let mut effect = args.all().to_vec();
        effect[2] = deadline.as_bytes();
        effect.push(b"ABSTTL");
        ctx.keyspace.propagate(&effect);
    }
    ctx.keyspace.modified(key);
    ctx.keyspace.notify(Class::Generic, "restore", key);
    Ok(Reply::Ok)
}

#[cfg(test)]
mod tests {
    use crate::rdb::crc64;
    use crate::settings::EvictionPolicy;
    use crate::testing::{Bench, readable};

    /// What DUMP answers for a key, unpacked.
    fn payload(bench: &mut Bench, key: &str) -> Vec<u8> {
        let reply = bench.run_args(&[b"DUMP", key.as_bytes()]);
        let start = reply.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        reply[start..reply.len() - 2].to_vec()
    }

    /// A payload with this body and version, and a checksum that is right.
    fn signed(body: &[u8], version: u16) -> Vec<u8> {
        let mut bytes = [body, &version.to_le_bytes()].concat();
        bytes.extend(crc64::checksum(&bytes).to_le_bytes());
        bytes
    }

    fn restore(bench: &mut Bench, key: &str, ttl: &str, payload: &[u8], options: &str) -> String {
        let mut args: Vec<&[u8]> = vec![b"RESTORE", key.as_bytes(), ttl.as_bytes(), payload];
        args.extend(options.split_whitespace().map(str::as_bytes));
        readable(&bench.run_args(&args))
    }

    #[test]
    fn values_of_every_type_come_back() {
        let long = "x".repeat(100);
        let commands = [
            "SET k 12".to_owned(),
            "SET k hello".to_owned(),
            format!("SET k {long}"),
            "RPUSH k a 1 b 2".to_owned(),
            format!("RPUSH k {}", vec![long.as_str(); 200].join(" ")),
            "SADD k 1 2 3".to_owned(),
            "SADD k 1 a b".to_owned(),
            format!("SADD k 1 {long}"),
            "HSET k f v g 1".to_owned(),
            format!("HSET k f v g {long}"),
            "ZADD k 1 a 2.5 b inf c".to_owned(),
            format!("ZADD k 1 a 2.5 b -inf {long}"),
        ];
        for command in &commands {
            let mut bench = Bench::new();
            bench.run(command);
            let dump = payload(&mut bench, "k");
            assert_eq!(restore(&mut bench, "copy", "0", &dump, ""), "OK");
            for show in ["OBJECT ENCODING", "DEBUG DIGEST-VALUE"] {
                let (first, second) = (bench.run(&format!("{show} k")), bench.run(&format!("{show} copy")));
                assert_eq!(first, second, "{show} after {command}");
            }
            assert_eq!(bench.run("PTTL copy"), "-1");
        }
        let mut bench = Bench::new();
        bench.run("HSET k f v g w");
        bench.run("HPEXPIREAT k 1900000000000 FIELDS 1 f");
        let dump = payload(&mut bench, "k");
        assert_eq!(dump[dump.len() - 10..dump.len() - 8], [12, 0]);
        assert_eq!(restore(&mut bench, "copy", "0", &dump, ""), "OK");
        assert_eq!(bench.run("HPEXPIRETIME copy FIELDS 2 f g"), "[1900000000000 -1]");
        assert_eq!(bench.run("DUMP nothing"), "nil");
    }

    #[test]
    fn times_to_live() {
        let mut bench = Bench::new();
        let (dump, now) = (signed(b"\0\x01v", 10), bench.now_ms);
        assert_eq!(restore(&mut bench, "a", "0", &dump, ""), "OK");
        assert_eq!(bench.expiry_of("a"), None);
        assert_eq!(restore(&mut bench, "b", "100", &dump, ""), "OK");
        assert_eq!(bench.expiry_of("b"), Some(now + 100));
        assert_eq!(restore(&mut bench, "c", &format!("{}", now + 5), &dump, "absttl"), "OK");
        assert_eq!(bench.expiry_of("c"), Some(now + 5));
        for (ttl, options) in [("1", "ABSTTL"), (&now.to_string(), "ABSTTL"), ("9223372036854775807", "")] {
            assert_eq!(restore(&mut bench, "d", ttl, &dump, options), "OK", "{ttl}");
            assert_eq!(bench.run("EXISTS d"), "0", "{ttl}");
        }
        assert_eq!(restore(&mut bench, "d", "9223372036854775807", &dump, "ABSTTL"), "OK");
        assert_eq!(bench.expiry_of("d"), Some(i64::MAX));
        assert_eq!(restore(&mut bench, "e", "-1", &dump, ""), "-ERR Invalid TTL value, must be >= 0");
        assert_eq!(restore(&mut bench, "e", "x", &dump, ""), "-ERR value is not an integer or out of range");
    }

    #[test]
    fn what_is_refused() {
        let mut bench = Bench::new();
        bench.run("SET there old");
        let dump = signed(b"\0\x01v", 10);
        let mut check = |key: &str, payload: &[u8], options: &str, reply: &str| {
            assert_eq!(restore(&mut bench, key, "0", payload, options), reply, "{options}");
        };
        check("there", &dump, "", "-BUSYKEY Target key name already exists.");
        check("there", b"", "", "-BUSYKEY Target key name already exists.");
        check("there", &dump, "REPLACE", "OK");
        check("a", &dump, "REPLACE REPLACE absttl ABSTTL", "OK");
        let wrong = "-ERR DUMP payload version or checksum are wrong";
        for payload in [&b""[..], b"\0\x01v", &[0; 9], &[1; 30], &dump[..dump.len() - 1]] {
            check("b", payload, "", wrong);
        }
        let bad = "-ERR Bad data format";
        let bodies =
            [&b""[..], b"\0", b"\0\x02v", b"\x01\0", b"\x08", b"\x0f", b"\xff", b"\x02\x02\x01a\x01a"];
        for body in bodies {
            check("b", &signed(body, 10), "", bad);
        }
        // What follows a value is passed over, and unknown versions are judged by what they hold.
        check("b", &signed(b"\0\x01v\x01\x02", 10), "", "OK");
        check("c", &signed(b"\0\x01v", 15), "", "OK");
        check("d", &signed(b"\x16\x01\x01f\x01v\xff\xff\xff\xff\xff\xff\xff\xff", 80), "", "OK");
        check("e", &signed(b"\x16\x01\0\x01f\x01v", 12), "", "OK");
        check("f", &dump, "IDLETIME -1", "-ERR Invalid IDLETIME value, must be >= 0");
        check("f", &dump, "FREQ 256", "-ERR Invalid FREQ value, must be >= 0 and <= 255");
        check("f", &dump, "FREQ -1", "-ERR Invalid FREQ value, must be >= 0 and <= 255");
        check("f", &dump, "FREQ x", "-ERR value is not an integer or out of range");
        for options in ["FREQ 1 IDLETIME 1", "IDLETIME 1 FREQ 1", "IDLETIME", "FREQ", "NX", "REPLACE NX"] {
            check("f", &dump, options, "-ERR syntax error");
        }
        check("f", &dump, "FREQ 1 FREQ 2", "OK");
    }

    #[test]
    fn use_is_taken_over_where_eviction_goes_by_it() {
        let mut bench = Bench::new();
        let dump = signed(b"\0\x01v", 10);
        restore(&mut bench, "a", "0", &dump, "IDLETIME 1000");
        assert_eq!(bench.run("OBJECT IDLETIME a"), "1000");
        restore(&mut bench, "b", "0", &dump, "FREQ 100");
        assert_eq!(bench.run("OBJECT IDLETIME b"), "0");
        restore(&mut bench, "c", "0", &dump, "IDLETIME 9223372036854775807");
        assert_eq!(bench.run("OBJECT IDLETIME c"), "16777215");
        bench.settings.maxmemory_policy = EvictionPolicy::AllKeysLfu;
        restore(&mut bench, "d", "0", &dump, "FREQ 100");
        assert_eq!(bench.run("OBJECT FREQ d"), "100");
        restore(&mut bench, "e", "0", &dump, "IDLETIME 1000");
        assert_eq!(bench.run("OBJECT FREQ e"), "5");
    }

    #[test]
    fn effects_and_events() {
        let mut bench = Bench::new();
        let (dump, now) = (signed(b"\0\x01v", 10), bench.now_ms);
        let text = dump.escape_ascii().to_string();
        let mut check = |key: &str, ttl: &str, options: &str, effects: &[String], events: &[&str]| {
            restore(&mut bench, key, ttl, &dump, options);
            assert_eq!(bench.effects(), effects);
            assert_eq!(bench.events(), events);
        };
        check("a", "0", "", &[format!("0: RESTORE a 0 {text}")], &["new a", "restore a"]);
        let absolute = format!("0: RESTORE b {} {text} FREQ 7 ABSTTL", now + 100);
        check("b", "100", "FREQ 7", &[absolute], &["new b", "restore b"]);
        let same = format!("0: RESTORE c {} {text} ABSTTL", now + 100);
        check("c", &format!("{}", now + 100), "ABSTTL", &[same], &["new c", "restore c"]);
        check("a", "0", "", &[], &[]);
        check("a", "0", "REPLACE", &[format!("0: RESTORE a 0 {text} REPLACE")], &["new a", "restore a"]);
        check("a", "1", "REPLACE ABSTTL", &["0: UNLINK a".to_owned()], &["del a"]);
        check("a", "1", "REPLACE ABSTTL", &[], &[]);
    }
}
