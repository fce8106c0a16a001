//! The vocabulary of the command table: what one argument of a command can be, and how it is drawn.
//!
//! **Invariants**, which keep two servers comparable:
//! - a time to live is either more than a quarter of an hour away or already over, never near;
//! - two relative times to live are practically never equal, so that GT and LT do not depend on the clock;
//! - an offset makes no string longer than a few thousand bytes, or is refused by every server;
//! - a wait ends after a hundredth of a second, or is refused.

use super::random::Random;
use baton_engine::rdb::crc64;

/// Words of a command.
pub type Words = Vec<Vec<u8>>;

const KEYS_PER_KIND: u64 = 5;

/// What a key is meant to hold. Now and then it holds something else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Str,
    Num,
    Bits,
    Hll,
    List,
    Set,
    Zset,
    Hash,
    Geo,
    Stream,
    /// Read by SORT ... BY and GET.
    Weight,
    Any,
}

use Kind::*;

const KINDS: &[(Kind, &str)] = &[
    (Str, "str"),
    (Num, "num"),
    (Bits, "bits"),
    (Hll, "hll"),
    (List, "list"),
    (Set, "set"),
    (Zset, "zset"),
    (Hash, "hash"),
    (Geo, "geo"),
    (Stream, "stream"),
];

/// One argument, or several that belong together.
#[derive(Clone, Copy, Debug)]
pub enum Arg {
    /// This very word, sometimes in lower case.
    Word(&'static str),
    Key(Kind),
    /// A key that is missing more often than not.
    NewKey(Kind),
    /// The value of a string: empty, a number, text, binary, sometimes a few hundred bytes.
    Value,
    /// An element of a list, set or sorted set, a field of a hash: from a small pool, so that they meet.
    Member,
    /// The name of a place, for GEO commands.
    Place,
    /// A number that mostly fits where an integer is wanted.
    Integer,
    /// From -3 to 12.
    Count,
    /// From 1 to 12.
    Positive,
    /// How many random elements: small, of either sign, or out of range.
    PickCount,
    /// A position in a list or string, of either sign.
    Index,
    Offset,
    BitOffset,
    Bit,
    /// BITFIELD: `u8`, `i16`..., sometimes an impossible one.
    BitType,
    /// BITFIELD: `12` or `#3`.
    BitPosition,
    Float,
    Score,
    /// ZRANGEBYSCORE: `(1.5`, `-inf`...
    ScoreBound,
    /// ZRANGEBYLEX: `[a`, `(b`, `-`...
    LexBound,
    Longitude,
    Latitude,
    Radius,
    /// Relative times to live, and when they end; all far away, over or refused.
    Seconds,
    Milliseconds,
    UnixSeconds,
    UnixMilliseconds,
    /// The timeout of a blocking command.
    Timeout,
    /// The same in milliseconds.
    TimeoutMs,
    /// The id of an entry, from a small pool.
    EntryId,
    /// XADD: an id, or one to be completed; never one that depends on the clock.
    NewEntryId,
    /// XRANGE: `-`, `(5-1`...
    EntryBound,
    Group,
    Consumer,
    /// How long an entry has not been delivered: nothing, or hours.
    IdleMs,
    /// What DUMP returns, of some value; sometimes damaged.
    Payload,
    Pattern,
    Channel,
    Database,
    Cursor,
    /// For SORT ... BY and GET.
    SortPattern,
    /// These, half the time.
    Maybe(&'static [Arg]),
    /// One of these.
    OneOf(&'static [&'static [Arg]]),
    /// Each of these or not, in any order, sometimes one of them twice.
    Options(&'static [&'static [Arg]]),
    /// This group, one to six times, rarely some dozens of times.
    Many(&'static [Arg]),
    /// A number, and that many of these; sometimes the number is wrong.
    Counted(&'static [Arg]),
    /// A whole command of the table, for COMMAND GETKEYS.
    AnyCommand,
}

use Arg::*;

impl Arg {
    /// Whether a wild value here could outlast the test, exhaust memory or depend on the clock.
    pub fn is_delicate(self) -> bool {
        match self {
            Seconds | Milliseconds | UnixSeconds | UnixMilliseconds | Timeout | TimeoutMs => true,
            NewEntryId | IdleMs => true,
            // A checksum that is right by chance would be a miracle, but one that is right is not spoilt by much.
            Payload => true,
            Offset | BitOffset | BitPosition | PickCount | AnyCommand => true,
            Maybe(group) | Many(group) | Counted(group) => group.iter().any(|arg| arg.is_delicate()),
            OneOf(groups) | Options(groups) => groups.iter().copied().flatten().any(|arg| arg.is_delicate()),
            _ => false,
        }
    }

    /// Appends what was drawn for this argument.
    pub fn draw(self, random: &mut Random, out: &mut Words) {
        let word = match self {
            Word(word) if random.percent(10) => word.to_ascii_lowercase().into_bytes(),
            Word(word) => word.into(),
            Key(kind) => key(kind, random),
            NewKey(kind) if random.percent(50) => format!("new:{kind:?}:{}", random.below(3)).into_bytes(),
            NewKey(kind) => key(kind, random),
            Value => value(random),
            Member => member(random),
            Payload => payload(random),
            Place => format!("place{}", random.below(24)).into_bytes(),
            Maybe(_) | OneOf(_) | Options(_) | Many(_) | Counted(_) => return self.draw_group(random, out),
            // The generator draws it: only it knows the table.
            AnyCommand => return,
            _ => self.number_or_name(random).into_bytes(),
        };
        out.push(word);
    }

    fn draw_group(self, random: &mut Random, out: &mut Words) {
        match self {
            Maybe(group) if random.percent(50) => draw_all(group, random, out),
            OneOf(groups) => draw_all(random.pick(groups), random, out),
            Options(groups) => {
                let mut chosen: Vec<_> = groups.iter().copied().filter(|_| random.percent(35)).collect();
                if random.percent(3) {
                    chosen.push(random.pick(groups));
                }
                random.shuffle(&mut chosen);
                chosen.iter().for_each(|group| draw_all(group, random, out));
            }
            Many(group) => {
                let times = if random.percent(3) { random.between(10, 40) } else { random.between(1, 6) };
                (0..times).for_each(|_| draw_all(group, random, out));
            }
            Counted(group) => {
                let times = random.between(1, 3);
                let claimed = if random.percent(4) { times + random.between(-3, 2) } else { times };
                out.push(claimed.to_string().into_bytes());
                (0..times).for_each(|_| draw_all(group, random, out));
            }
            _ => {}
        }
    }

    fn number_or_name(self, random: &mut Random) -> String {
        match self {
            Integer => mostly(random, 90, |r| r.between(-100, 100).to_string(), WILD_INTEGERS),
            Count => random.between(-3, 12).to_string(),
            Positive => random.between(1, 12).to_string(),
            PickCount => mostly(random, 95, |r| r.between(-6, 9).to_string(), REFUSED_INTEGERS),
            Index => mostly(random, 95, |r| r.between(-12, 12).to_string(), WILD_INTEGERS),
            Offset => mostly(random, 93, |r| r.between(0, 60).to_string(), WILD_OFFSETS),
            BitOffset => mostly(random, 93, |r| r.between(0, 300).to_string(), WILD_BIT_OFFSETS),
            Bit => mostly(random, 95, |r| r.below(2).to_string(), &["2", "-1", "x"]),
            BitType => bit_type(random),
            BitPosition if random.percent(40) => format!("#{}", random.below(20)),
            BitPosition => mostly(random, 95, |r| r.between(0, 120).to_string(), &["-1", "#-1", "#", "x"]),
            Float => mostly(random, 85, float, WILD_FLOATS),
            Score => mostly(random, 92, score, WILD_SCORES),
            ScoreBound => score_bound(random),
            LexBound => lex_bound(random),
            Longitude => mostly(random, 97, |r| degrees(r, 180), &["180.1", "-181", "x", "nan", ""]),
            Latitude => mostly(random, 97, |r| degrees(r, 85), &["86", "-90", "x", "nan", ""]),
            Radius => {
                mostly(random, 92, |r| r.between(1, 9_000).to_string(), &["0", "-1", "x", "1e9", "0.5"])
            }
            Seconds => mostly(random, 90, |r| far_away(r).to_string(), OVER_SECONDS),
            Milliseconds => {
                mostly(random, 90, |r| (far_away(r) * 1_000 + r.between(0, 999)).to_string(), OVER)
            }
            UnixSeconds => mostly(random, 88, |r| r.pick(FUTURE).to_string(), OVER_SECONDS),
            UnixMilliseconds => mostly(random, 88, |r| format!("{}123", r.pick(FUTURE)), OVER),
            Timeout => mostly(random, 90, |_| "0.01".into(), &["-1", "x", "", "1e300", "-0.1"]),
            TimeoutMs => mostly(random, 90, |_| "10".into(), &["-1", "x", "", "1.5"]),
            EntryId => mostly(random, 94, entry_id, WILD_IDS),
            NewEntryId => mostly(random, 96, new_entry_id, WILD_IDS),
            EntryBound => mostly(random, 94, entry_bound, &["(", "((1", "(-", "(+", "x", "", "(0-0"]),
            Group => format!("group{}", random.below(3)),
            Consumer => format!("consumer{}", random.below(3)),
            IdleMs => mostly(random, 94, |r| r.pick(&["0", "50000000"]).to_string(), &["-1", "x", "", "1.5"]),
            Pattern => random.pick(PATTERNS).to_string(),
            Channel => random.pick(&["news", "sport", "sport:chess", "{tag}a", "quiet"]).to_string(),
            Database => mostly(random, 96, database, &["16", "-1", "x", "", "99999999999999999999"]),
            Cursor => mostly(random, 97, |_| "0".into(), &["x", "-1", "", "18446744073709551616"]),
            SortPattern => random.pick(SORT_PATTERNS).to_string(),
            other => unreachable!("{other:?} is drawn elsewhere"),
        }
    }
}

pub fn draw_all(args: &[Arg], random: &mut Random, out: &mut Words) {
    args.iter().for_each(|arg| arg.draw(random, out));
}

/// What takes the place of an argument that is made odd.
pub fn odd_word(random: &mut Random) -> Vec<u8> {
    random.pick(ODD).to_vec()
}

/// The same for a delicate command: a word that no server takes for a number in range.
pub fn refused_word(random: &mut Random) -> Vec<u8> {
    random.pick(&ODD[..ODD_REFUSED]).to_vec()
}

/// How many words at the start of `ODD` are no number in the range of anything.
const ODD_REFUSED: usize = 11;
const ODD: &[&[u8]] = &[
    b"",
    b"nan",
    b"abc",
    b"9223372036854775808",
    b"-9223372036854775809",
    b"99999999999999999999999",
    b"1e400",
    b" 1",
    b"1 ",
    b"\x00\xff\r\n",
    b"(1",
    // To 7.0 a cursor, from here on.
    b"+1",
    b"inf",
    b"-inf",
    b"01",
    b"-0",
    b"1.0",
    b"0x10",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"18446744073709551615",
    b"*",
    b"WITHSCORES",
    b"LIMIT",
    b"GET",
    b"COUNT",
];
const WILD_INTEGERS: &[&str] = &[
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "4611686018427387904",
    "2147483648",
    "-2147483649",
    "1000000",
    "0",
    "-0",
    "01",
    "+1",
    " 1",
    "1.5",
    "abc",
    "",
];
const REFUSED_INTEGERS: &[&str] =
    &["9223372036854775808", "-9223372036854775808", "abc", "", "1.5", "1000000"];
const WILD_OFFSETS: &[&str] =
    &["-1", "536870912", "9223372036854775807", "-9223372036854775808", "x", "", "4000"];
const WILD_BIT_OFFSETS: &[&str] = &["-1", "4294967296", "9223372036854775807", "x", "", "30000"];
const WILD_FLOATS: &[&str] =
    &["nan", "inf", "-inf", "1e308", "-1e308", "1e-300", "x", "", " 1", "1e400", "0x1p3", "9007199254740993"];
const WILD_SCORES: &[&str] =
    &["inf", "-inf", "+inf", "nan", "1e308", "-1.7e308", "1e-320", "x", "", "-0", "1e20"];
/// Relative or absolute, in seconds: all are over or refused.
const OVER_SECONDS: &[&str] = &[
    "0",
    "-1",
    "-1000000",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854776",
    "9223372036854775808",
    "x",
    "",
    "1.5",
];
/// The same in milliseconds. Here also the largest number may be far away instead of refused.
const OVER: &[&str] = &["0", "-1", "-1000000", "-9223372036854775808", "9223372036854775807", "x", "", "1.5"];
/// Seconds since 1970, in the years 2100 to 2200.
const FUTURE: &[&str] = &["4102444800", "4500000000", "5000000000", "7000000000"];
const WILD_IDS: &[&str] =
    &["0-0", "0", "x", "", "-", "+", "1-", "-1", "1-1-1", "01-1", "5-18446744073709551616", "-5-1"];
const PATTERNS: &[&str] = &[
    "*",
    "str:*",
    "[shz]*:[0-2]",
    "?*t:1",
    "*:?",
    "m?",
    "m1*",
    "[^m]*",
    "h[a-i]*",
    "\\*",
    "[",
    "",
    "none",
    "*\\",
    "f*5",
];
const SORT_PATTERNS: &[&str] =
    &["weight:*", "weight:*->x", "hash:*->m1", "#", "nothing", "str:*", "num:*", "*"];
const BINARY: &[&[u8]] = &[b"\x00", b"\xff\xfe", b"a\r\nb", b"\x80abc\x00", b"*3\r\n$1\r\n", b"\xc3\xa9"];

fn mostly(random: &mut Random, percent: u64, usual: impl Fn(&mut Random) -> String, wild: &[&str]) -> String {
    if random.percent(percent) { usual(random) } else { random.pick(wild).to_string() }
}

fn key(kind: Kind, random: &mut Random) -> Vec<u8> {
    if kind == Weight {
        return format!("weight:{}", random.below(12)).into_bytes();
    }
    if kind != Any && random.percent(93) {
        let (_, name) = KINDS.iter().find(|(known, _)| *known == kind).unwrap_or(&KINDS[0]);
        return format!("{name}:{}", random.below(KEYS_PER_KIND)).into_bytes();
    }
    match random.below(30) {
        0 => b"".to_vec(),
        1 => b"\x00key\xff\r\n".to_vec(),
        2 => b"absent".to_vec(),
        _ => format!("{}:{}", random.pick(KINDS).1, random.below(KEYS_PER_KIND)).into_bytes(),
    }
}

fn value(random: &mut Random) -> Vec<u8> {
    match random.below(20) {
        0 => b"".to_vec(),
        1 | 2 => random.pick(BINARY).to_vec(),
        3..=7 => random.between(-20, 20_000).to_string().into_bytes(),
        8 => random.pick(WILD_INTEGERS).as_bytes().to_vec(),
        9 => float(random).into_bytes(),
        // Around 44 bytes, where a string stops being embedded.
        10 | 11 => vec![b'v'; random.between(42, 47) as usize],
        12 => vec![b'a' + random.below(26) as u8; random.between(60, 400) as usize],
        _ => format!("v{}", random.below(50)).into_bytes(),
    }
}

fn member(random: &mut Random) -> Vec<u8> {
    match random.below(40) {
        0 => random.pick(BINARY).to_vec(),
        1 => b"".to_vec(),
        // Around the 20 bytes that the tests allow in a listpack.
        2 => vec![b'l'; random.between(18, 22) as usize],
        3 => random.pick(WILD_INTEGERS).as_bytes().to_vec(),
        4..=17 => random.below(24).to_string().into_bytes(),
        _ => format!("m{}", random.below(24)).into_bytes(),
    }
}

/// Values in the types that Redis 7.0 reads, with some of which something is wrong.
const VALUES: &[&[u8]] = &[
    b"\0\x05hello",
    b"\0\xc0\x0c",
    b"\0\xc3\x09\x1e\x01aa\xe0\x11\x00\x01aa",
    b"\x01\x03\x01a\xc0\x07\x01c",
    b"\x12\x01\x02\x0c\x0c\0\0\0\x02\0\x81a\x02\x01\x01\xff",
    b"\x12\x02\x01\x0230\x02\x0c\x0c\0\0\0\x02\0\x81a\x02\x01\x01\xff",
    b"\x02\x03\xc0\x07\x01a\x03m12",
    b"\x02\x09\x01a\x01b\x01c\x01d\x01e\x01f\x01g\x01h\x01i",
    b"\x02\x02\xc0\x07\xc0\x08",
    b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x01\0\x02\0",
    b"\x04\x02\x02m1\x01x\x02m2\xc0\x07",
    b"\x10\x0d\x0d\0\0\0\x02\0\x81f\x02\x81v\x02\xff",
    b"\x05\x02\x02m1\0\0\0\0\0\0\xf0\x3f\x02m2\0\0\0\0\0\0\xf0\x7f",
    b"\x03\x02\x02m1\x031.5\x02m2\xfe",
    b"\x11\x0f\x0f\0\0\0\x02\0\x81m\x02\x832.5\x04\xff",
    // Cut off, without elements, of unknown type, with something twice, with more after the value. Redis takes the ten
    // bytes of the trailer for a part of the value if that is too short: it is by more than that.
    b"\0\x15hell",
    b"\x01\0",
    b"\x08\x01a",
    b"\x02\x02\x01a\x01a",
    b"\x04\x02\x01a\x01x\x01a\x01y",
    b"\x05\x01\x02m1\0\0\0\0\0\0\xf8\x7f",
    b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x02\0\x01\0",
    b"\x10\x0d\x0d\0\0\0\x02\0\x81f\x02\x81v\x03\xff",
    b"\0\x01vmore",
];

fn payload(random: &mut Random) -> Vec<u8> {
    let version: u16 = if random.percent(90) { 10 } else { 7 };
    let mut payload = [random.pick(VALUES), &version.to_le_bytes()].concat();
    payload.extend(crc64::checksum(&payload).to_le_bytes());
    if random.percent(5) {
        let at = random.below(payload.len() as u64) as usize;
        payload[at] ^= 1 << random.below(8);
    }
    payload
}

/// About as many ids as a stream of the tests has entries.
fn entry_id(random: &mut Random) -> String {
    match random.below(10) {
        0 => random.between(0, 12).to_string(),
        _ => format!("{}-{}", random.between(1, 12), random.below(6)),
    }
}

fn new_entry_id(random: &mut Random) -> String {
    match random.below(20) {
        0 => entry_id(random),
        1 => random.between(10, 40).to_string(),
        _ => format!("{}-*", random.pick(&["1", "2", "5", "6", "9", "12", "12", "13"])),
    }
}

fn entry_bound(random: &mut Random) -> String {
    match random.below(8) {
        0 | 1 => "-".into(),
        2 | 3 => "+".into(),
        4 => format!("({}", entry_id(random)),
        _ => entry_id(random),
    }
}

fn bit_type(random: &mut Random) -> String {
    let sizes: &[&str] = &["1", "2", "4", "5", "8", "13", "16", "32", "63", "64", "65", "0", "x"];
    format!("{}{}", random.pick(&["u", "i"]), random.pick(sizes))
}

fn float(random: &mut Random) -> String {
    match random.below(4) {
        0 => random.between(-50, 50).to_string(),
        1 => format!("{}.{}", random.between(-9, 9), random.below(1_000)),
        2 => format!("{}e{}", random.between(-9, 9), random.between(-6, 6)),
        _ => format!("0.{}", random.below(1_000_000_000_000)),
    }
}

fn score(random: &mut Random) -> String {
    if random.percent(60) { random.between(-8, 20).to_string() } else { float(random) }
}

fn score_bound(random: &mut Random) -> String {
    match random.below(8) {
        0 => "-inf".into(),
        1 => "+inf".into(),
        2 => format!("({}", score(random)),
        3 => random.pick(&["(inf", "(-inf", "(", "x", "nan", "", "((1"]).to_string(),
        _ => score(random),
    }
}

fn lex_bound(random: &mut Random) -> String {
    match random.below(8) {
        0 | 1 => "-".into(),
        2 | 3 => "+".into(),
        4 => random.pick(&["", "m", "[", "(", "++", "-inf"]).to_string(),
        5 => format!("(m{}", random.below(24)),
        _ => format!("[m{}", random.below(24)),
    }
}

fn degrees(random: &mut Random, limit: i64) -> String {
    format!("{}.{:06}", random.between(1 - limit, limit - 1), random.below(1_000_000))
}

fn far_away(random: &mut Random) -> i64 {
    random.between(100_000, 100_000_000)
}

fn database(random: &mut Random) -> String {
    if random.percent(70) { "0".into() } else { random.between(0, 3).to_string() }
}

/// Whether a command says when a key shall expire.
pub fn sets_a_time(words: &Words) -> bool {
    let name = words[0].to_ascii_uppercase();
    let names = [&b"EXPIRE"[..], b"PEXPIRE", b"EXPIREAT", b"PEXPIREAT", b"SETEX", b"PSETEX"];
    let is_word = |word: &Vec<u8>| matches!(word.to_ascii_uppercase().as_slice(), b"EX" | b"PX");
    names.contains(&name.as_slice()) || words.iter().any(is_word) || may_have_expired_a_key(words)
}

/// Whether a command gives some key a time to live that is over, so that the key lingers unseen.
pub fn may_have_expired_a_key(words: &Words) -> bool {
    let sets_time =
        |word: &Vec<u8>| matches!(word.to_ascii_uppercase().as_slice(), b"EXAT" | b"PXAT" | b"ABSTTL");
    words.iter().any(sets_time) || words[0].to_ascii_uppercase().ends_with(b"EXPIREAT")
}
