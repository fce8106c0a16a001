//! For tests: a key space on its own, driven by commands as text.

pub mod list;

use crate::commands;
use crate::context::{Caller, Context};
use crate::effects::Effect;
use crate::execute::execute;
use crate::hash::Hasher;
use crate::keyspace::waiting::WatchFlag;
use crate::keyspace::{Keyspace, Shard, Value, ValueRef};
use crate::random::Rng;
use crate::reply::Out;
use crate::settings::Settings;
use crate::types::listpack::{IntText, LpEntry};
use crate::types::stream::{Consumer, Entry, Group, Stream, StreamId};
use std::sync::Arc;

/// One shard that owns everything, with a clock that stands still until it is moved.
#[derive(Debug)]
pub struct Bench {
    /// The data.
    pub shard: Shard,
    /// The configuration.
    pub settings: Settings,
    /// The time in Unix milliseconds.
    pub now_ms: i64,
    /// The database in use.
    pub db: usize,
    /// Whether replies are RESP3.
    pub resp3: bool,
    /// Whether commands may block: false stands for MULTI and scripts.
    pub may_block: bool,
    hasher: Hasher,
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

impl Bench {
    /// An empty key space at a fixed time, which collects effects.
    pub fn new() -> Self {
        let hasher = Hasher::default();
        let mut shard = Shard::whole(16, hasher.clone(), 42);
        shard.effects = crate::effects::Effects::new(true);
        let settings = Settings { notify: u32::MAX, ..Settings::default() };
        Self { shard, settings, now_ms: 1_700_000_000_000, db: 0, resp3: false, may_block: true, hasher }
    }

    /// Runs a command given as its arguments; the raw reply.
    pub fn run_args(&mut self, args: &[&[u8]]) -> Vec<u8> {
        let mut out = Out::new(self.resp3);
        let Some(command) = commands::find(args) else {
            out.error_line("ERR unknown command");
            return out.into_bytes();
        };
        let mut ctx = Context {
            keyspace: Keyspace::one(&mut self.shard, &self.settings, self.db, self.now_ms),
            out: &mut out,
            settings: &self.settings,
            hasher: &self.hasher,
            rng: Rng::seeded(7),
            caller: Caller { may_block: self.may_block, id: 1, ..Caller::default() },
        };
        let outcome = execute(&mut ctx, command, args);
        if let crate::execute::Outcome::Blocked { .. } = outcome {
            return b"(blocked)".to_vec();
        }
        out.into_bytes()
    }

    /// Runs a command given as text (words split at spaces; `"..."` groups, with `\xHH`, `\n`, `\r`, `\t`, `\\`
    /// and `\"` inside); the reply in a readable form, see [`readable`].
    pub fn run(&mut self, line: &str) -> String {
        let words = words(line);
        let args: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        readable(&self.run_args(&args))
    }

    /// When a key expires, in Unix milliseconds.
    pub fn expiry_of(&mut self, key: &str) -> Option<i64> {
        self.keyspace().expiry(key.as_bytes()).flatten()
    }

    /// Puts a value that is not a string (a list of nothing) at a key.
    pub fn other_type(&mut self, key: &str) {
        self.keyspace().put(key.as_bytes(), Value::List(Box::default()), None);
    }

    /// Puts a value at a key.
    pub fn put(&mut self, key: &str, value: Value) {
        self.keyspace().put(key.as_bytes(), value, None);
    }

    /// Watches a key.
    pub fn watch(&mut self, key: &str) -> Arc<WatchFlag> {
        let flag = Arc::new(WatchFlag::default());
        self.keyspace().watch(key.as_bytes(), &flag);
        flag
    }

    fn keyspace(&mut self) -> Keyspace<'_> {
        Keyspace::one(&mut self.shard, &self.settings, self.db, self.now_ms)
    }

    /// The effects left since the last call, one per line as `db: COMMAND args`.
    pub fn effects(&mut self) -> Vec<String> {
        let text = |arg: &[u8]| arg.escape_ascii().to_string();
        let line = |e: Effect| {
            let args: Vec<String> = e.args.iter().map(|arg| text(arg)).collect();
            format!("{}: {}", e.db, args.join(" "))
        };
        self.shard.effects.take().into_iter().map(line).collect()
    }

    /// The keyspace events raised since the last call, each as `event key`.
    pub fn events(&mut self) -> Vec<String> {
        let events = std::mem::take(&mut self.shard.events);
        events.iter().map(|e| format!("{} {}", e.name, e.key.escape_ascii())).collect()
    }
}

/// Runs commands separated by `;` on a fresh key space and compares the last reply.
#[track_caller]
pub fn check(script: &str, reply: &str) {
    let mut bench = Bench::new();
    let replies: Vec<String> = script.split(';').map(|line| bench.run(line.trim())).collect();
    assert_eq!(replies.last().map(String::as_str), Some(reply), "after {script:?}");
}

/// As [`check`] with RESP3 replies.
#[track_caller]
pub fn check3(script: &str, reply: &str) {
    let mut bench = Bench { resp3: true, ..Bench::new() };
    let replies: Vec<String> = script.split(';').map(|line| bench.run(line.trim())).collect();
    assert_eq!(replies.last().map(String::as_str), Some(reply), "after {script:?}");
}

/// The effects and the events of the last of several commands, which are separated by `;`.
pub fn traces(script: &str) -> (Vec<String>, Vec<String>) {
    let mut bench = Bench::new();
    for line in script.split(';') {
        bench.effects();
        bench.events();
        bench.run(line.trim());
    }
    (bench.effects(), bench.events())
}

/// Runs a command against a key `l` that holds another type than its family works on (a list).
pub fn with_list(line: &str) -> String {
    let mut bench = Bench::new();
    bench.other_type("l");
    bench.run(line)
}

/// The line of [`crate::error::CommandError::WrongType`] as [`readable`] shows it.
pub const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

/// Splits a line into words.
pub fn words(line: &str) -> Vec<Vec<u8>> {
    let (mut out, mut word, mut quoted, mut open) = (Vec::new(), Vec::new(), false, false);
    let mut chars = line.bytes();
    while let Some(c) = chars.next() {
        match c {
            b'"' => (quoted, open) = (!quoted, true),
            b'\\' if quoted => match chars.next() {
                Some(b'n') => word.push(b'\n'),
                Some(b'r') => word.push(b'\r'),
                Some(b't') => word.push(b'\t'),
                Some(b'x') => {
                    let digits = [chars.next().unwrap_or(b'0'), chars.next().unwrap_or(b'0')];
                    let text = String::from_utf8_lossy(&digits).into_owned();
                    word.push(u8::from_str_radix(&text, 16).unwrap_or(0));
                }
                Some(other) => word.push(other),
                None => {}
            },
            b' ' if !quoted => {
                if open || !word.is_empty() {
                    out.push(std::mem::take(&mut word));
                }
                open = false;
            }
            c => word.push(c),
        }
    }
    if open || !word.is_empty() {
        out.push(word);
    }
    out
}

/// A reply in one line: `OK`, `(int) as 5`, `"text"`, `nil`, `-ERR ...`, `[a b]`, `{k: v}`, `~[..]`, `,1.5`, `#t`.
pub fn readable(reply: &[u8]) -> String {
    if reply == b"(blocked)" {
        return "(blocked)".to_owned();
    }
    let mut rest = reply;
    let mut text = Vec::new();
    while !rest.is_empty() {
        text.push(element(&mut rest));
    }
    text.join(" ")
}

fn element(rest: &mut &[u8]) -> String {
    let end = rest.windows(2).position(|w| w == b"\r\n").expect("a line");
    let line = String::from_utf8_lossy(&rest[..end]).into_owned();
    *rest = &rest[end + 2..];
    let (kind, text) = line.split_at(1);
    let count = || text.parse::<i64>().expect("a count");
    let mut elements = |n: i64| (0..n).map(|_| element(rest)).collect::<Vec<_>>();
    match kind {
        "+" | ":" => text.to_owned(),
        "$" | "=" if count() < 0 => "nil".to_owned(),
        "$" | "=" => {
            let len = count() as usize;
            let bytes = rest[..len].escape_ascii().to_string();
            *rest = &rest[len + 2..];
            format!("\"{bytes}\"")
        }
        "_" => "nil".to_owned(),
        "*" if count() < 0 => "nil".to_owned(),
        "*" => format!("[{}]", elements(count()).join(" ")),
        "~" => format!("~[{}]", elements(count()).join(" ")),
        ">" => format!(">[{}]", elements(count()).join(" ")),
        "%" => {
            let all = elements(2 * count());
            let pairs: Vec<String> = all.chunks(2).map(|kv| format!("{}: {}", kv[0], kv[1])).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        _ => line,
    }
}

/// The entries and groups of a stream. Without the times of consumers, and without what a consumer that reads its own history
/// again changes: neither goes into the log.
fn stream_parts(stream: &Stream) -> Vec<String> {
    let text = |entry: LpEntry<'_>| entry.as_slice(&mut IntText::default()).escape_ascii().to_string();
    let entry = |entry: Entry<'_>| {
        let fields: Vec<String> =
            entry.fields.map(|(field, value)| text(field) + "=" + &text(value)).collect();
        format!("{}({})", entry.id, fields.join(" "))
    };
    let group = |(name, group): (&[u8], &Group)| {
        let consumer = |consumer: &Consumer| {
            let pending: Vec<String> =
                consumer.pending(StreamId::MIN..=StreamId::MAX).map(|id| id.to_string()).collect();
            format!("{}({})", consumer.name().escape_ascii(), pending.join(" "))
        };
        let consumers: Vec<String> = group.consumers().map(consumer).collect();
        let (last, read) = (group.last_id, group.entries_read);
        format!("{}@{last}/{read:?}{consumers:?}", name.escape_ascii())
    };
    let books = format!("{:?}", stream.log().books());
    stream.log().iter().map(entry).chain(stream.groups().map(group)).chain([books]).collect()
}

/// What a value holds, as text that is equal for equal data: members and fields in order of their bytes.
pub fn canonical(value: ValueRef<'_>) -> String {
    let text = |entry: LpEntry<'_>| entry.as_slice(&mut IntText::default()).escape_ascii().to_string();
    let (kind, mut parts, is_ordered): (_, Vec<String>, _) = match value {
        ValueRef::Str(text) => ("string", vec![text.to_vec().escape_ascii().to_string()], true),
        ValueRef::List(list) => ("list", list.iter().map(text).collect(), true),
        ValueRef::Set(set) => ("set", set.iter().map(text).collect(), false),
        ValueRef::Hash(hash) => {
            let field = |field: crate::types::hash::Field<'_>| {
                format!("{}={} until {:?}", text(field.name), text(field.value), field.expire_at_ms)
            };
            ("hash", hash.iter(i64::MIN).map(field).collect(), false)
        }
        ValueRef::Stream(stream) => ("stream", stream_parts(stream), true),
        ValueRef::ZSet(zset) => (
            "zset",
            zset.iter().map(|entry| format!("{}:{}", text(entry.member), entry.score)).collect(),
            true,
        ),
    };
    if !is_ordered {
        parts.sort_unstable();
    }
    format!("{kind}[{}]", parts.join(" "))
}
