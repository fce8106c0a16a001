//! The commands that are tried: one row for each shape of a command.
//!
//! A row says what the arguments are ([`Arg`]) and, unless the replies must be equal to the byte, how
//! they are compared ([`Compare`]). To try a new command, add a row. What 7.0.15 lacks is
//! not here: the reference could not answer. Scripts are in `scripts.rs`.

use super::args::Arg::{self, *};
use super::args::Kind::*;
use super::compare::Compare::{self, *};

/// How often a row without `.weight()` is drawn, in relation to the others.
const USUAL_WEIGHT: u64 = 8;
const TTL_TOLERANCE_SECONDS: i64 = 10;
const TTL_TOLERANCE_MS: i64 = 10_000;

pub struct Shape {
    /// One word, or two for a subcommand.
    pub name: &'static str,
    pub args: &'static [Arg],
    pub compare: Compare,
    pub weight: u64,
    /// Whether its arguments may be broken on purpose.
    pub may_be_odd: bool,
}

const fn row(name: &'static str, args: &'static [Arg]) -> Shape {
    Shape { name, args, compare: Exact, weight: USUAL_WEIGHT, may_be_odd: true }
}

impl Shape {
    const fn compared(mut self, compare: Compare) -> Shape {
        self.compare = compare;
        self
    }

    const fn weight(mut self, weight: u64) -> Shape {
        self.weight = weight;
        self
    }

    /// For commands that a word more or less turns into one that the newer server accepts and the older one
    /// refuses, which would abort a transaction in one of them, or into one that ends the transaction.
    const fn never_odd(mut self) -> Shape {
        self.may_be_odd = false;
        self
    }

    const fn seldom(self) -> Shape {
        self.weight(1)
    }

    /// Whether only careful changes may be made to the arguments.
    pub fn is_delicate(&self) -> bool {
        self.compare.needs_more_than_replies() || self.args.iter().any(|arg| arg.is_delicate())
    }
}

/// All rows, by family.
pub const FAMILIES: &[&[Shape]] =
    &[GENERIC, STRING, BITMAP, HYPERLOGLOG, LIST, SET, ZSET, HASH, GEO, STREAM, PUBSUB, CONNECTION];

const TTL: Compare = Ttl { tolerance: TTL_TOLERANCE_SECONDS };
const PTTL: Compare = Ttl { tolerance: TTL_TOLERANCE_MS };
const EXPIRE_FLAG: Arg =
    Options(&[&[Word("NX")], &[Word("XX")], &[Word("GT")], &[Word("LT")], &[Word("BAD")]]);
const RESTORE_OPTIONS: Arg = Options(&[
    &[Word("REPLACE")],
    &[Word("REPLACE")],
    &[Word("IDLETIME"), Positive],
    &[Word("FREQ"), Count],
    &[Word("BAD")],
]);
const LIMIT: &[Arg] = &[Word("LIMIT"), Index, Count];
const SORT_ORDER: &[Arg] = &[OneOf(&[&[Word("ASC")], &[Word("DESC")]])];
const SCAN_OPTIONS: Arg =
    Options(&[&[Word("MATCH"), Pattern], &[Word("COUNT"), Positive], &[Word("COUNT"), Integer]]);
const SORTABLE: Arg = OneOf(&[&[Key(List)], &[Key(List)], &[Key(Set)], &[Key(Zset)], &[Key(Any)]]);

const GENERIC: &[Shape] = &[
    row("DEL", &[Many(&[Key(Any)])]).weight(3),
    row("UNLINK", &[Key(Any)]).weight(6),
    row("EXISTS", &[Many(&[Key(Any)])]),
    row("TOUCH", &[Many(&[Key(Any)])]).weight(2),
    row("TYPE", &[Key(Any)]),
    row("EXPIRE", &[Key(Any), Seconds, EXPIRE_FLAG]),
    row("PEXPIRE", &[Key(Any), Milliseconds, EXPIRE_FLAG]),
    row("EXPIREAT", &[Key(Any), UnixSeconds, EXPIRE_FLAG]),
    row("PEXPIREAT", &[Key(Any), UnixMilliseconds, EXPIRE_FLAG]),
    row("PERSIST", &[Key(Any)]),
    row("TTL", &[Key(Any)]).compared(TTL),
    row("PTTL", &[Key(Any)]).compared(PTTL),
    row("EXPIRETIME", &[Key(Any)]).compared(TTL),
    row("PEXPIRETIME", &[Key(Any)]).compared(PTTL),
    row("RENAME", &[Key(Any), NewKey(Any)]).weight(4),
    row("RENAMENX", &[Key(Any), NewKey(Any)]).weight(4),
    row("COPY", &[Key(Any), NewKey(Any), Options(&[&[Word("DB"), Database], &[Word("REPLACE")]])]),
    row("MOVE", &[Key(Any), Database]).weight(4),
    // The bytes depend on the version and on the order of hash tables.
    row("DUMP", &[Key(Any)]).compared(SameKind).weight(4),
    row("RESTORE", &[NewKey(Any), Word("0"), Payload, RESTORE_OPTIONS]),
    row("RESTORE", &[NewKey(Any), Milliseconds, Payload, RESTORE_OPTIONS]).weight(4),
    row("RESTORE", &[Key(Any), UnixMilliseconds, Payload, Word("ABSTTL"), RESTORE_OPTIONS]).weight(4),
    row("SELECT", &[Database]).weight(6),
    row("SWAPDB", &[Database, Database]).seldom(),
    row("FLUSHDB", &[Options(&[&[Word("SYNC")], &[Word("ASYNC")]])]).seldom(),
    row("FLUSHALL", &[Word("BAD")]).seldom(),
    row("DBSIZE", &[]),
    row("KEYS", &[Pattern]).compared(Unordered),
    row("RANDOMKEY", &[]).compared(Pick { from: &["KEYS", "*"], by_key: false }).weight(3),
    row("SCAN", &[Cursor, SCAN_OPTIONS]).compared(Scan).weight(3),
    row("SCAN", &[Cursor, Word("TYPE"), OneOf(&[&[Word("hash")], &[Word("zset")], &[Word("nope")]])])
        .compared(Scan)
        .weight(2),
    row("OBJECT ENCODING", &[Key(Any)]),
    row("OBJECT REFCOUNT", &[Key(Any)]).compared(SameKind).weight(2),
    row("OBJECT IDLETIME", &[Key(Any)]).compared(SameKind).weight(2),
    row("OBJECT FREQ", &[Key(Any)]).weight(2),
    row("WAIT", &[OneOf(&[&[Word("0")], &[Word("-1")], &[Word("x")]]), Word("10")]).seldom(),
    row("OBJECT NOSUCH", &[Key(Any)]).seldom(),
    row(
        "SORT",
        &[
            SORTABLE,
            Options(&[LIMIT, SORT_ORDER, &[Word("STORE"), NewKey(List)], &[Word("GET"), SortPattern]]),
        ],
    ),
    row("SORT", &[SORTABLE, Word("ALPHA"), Options(&[SORT_ORDER, &[Word("GET"), Word("#")]])])
        .compared(ExactUnlessZeroBytes),
    row("SORT", &[SORTABLE, Word("ALPHA"), Word("STORE"), NewKey(List), Options(&[LIMIT, SORT_ORDER])]),
    row("SORT", &[SORTABLE, Word("BY"), SortPattern, Word("ALPHA"), Options(&[SORT_ORDER])])
        .compared(Unordered),
    row(
        "SORT",
        &[SORTABLE, Word("BY"), Word("weight:*"), Many(&[Word("GET"), SortPattern]), Options(&[LIMIT])],
    ),
    // The list may be a set: then its order is that of a hash table, but never what is stored.
    row("SORT", &[SORTABLE, Word("BY"), Word("nosort"), Word("STORE"), NewKey(List), Options(&[SORT_ORDER])]),
    row("SORT", &[SORTABLE, Word("BY"), Word("nosort")]).compared(Unordered).weight(2),
    row("SORT_RO", &[SORTABLE, Options(&[LIMIT, SORT_ORDER, &[Word("STORE"), NewKey(List)]])]).weight(4),
    row("COMMAND GETKEYS", &[AnyCommand]).never_odd(),
    row("COMMAND GETKEYSANDFLAGS", &[AnyCommand]).never_odd().compared(UnorderedWithin).weight(4),
    row("NOSUCH", &[Maybe(&[Many(&[Value])])]).weight(2),
];

const SET_TTL: &[Arg] = &[OneOf(&[
    &[Word("EX"), Seconds],
    &[Word("PX"), Milliseconds],
    &[Word("EXAT"), UnixSeconds],
    &[Word("PXAT"), UnixMilliseconds],
    &[Word("KEEPTTL")],
])];

const STRING: &[Shape] = &[
    row("SET", &[Key(Str), Value]).weight(16),
    row("SET", &[Key(Num), Integer]).weight(12),
    row("SET", &[Key(Weight), Value]),
    row("SET", &[Key(Weight), Float]),
    row("SET", &[Key(Any), Value]).seldom(),
    row("SET", &[Key(Str), Value, Options(&[SET_TTL, &[Word("NX")], &[Word("XX")], &[Word("GET")]])])
        .weight(16),
    row("GET", &[Key(Str)]).weight(12),
    row("GET", &[Key(Num)]),
    row("GETEX", &[Key(Str), Options(&[SET_TTL, &[Word("PERSIST")]])]),
    row("GETDEL", &[Key(Str)]).weight(3),
    row("GETSET", &[Key(Str), Value]).weight(4),
    row("SETNX", &[NewKey(Str), Value]).weight(4),
    row("SETEX", &[Key(Str), Seconds, Value]).weight(4),
    row("PSETEX", &[Key(Str), Milliseconds, Value]).weight(4),
    row("MSET", &[Many(&[Key(Str), Value])]).weight(4),
    row("MSETNX", &[Many(&[NewKey(Str), Value])]).weight(4),
    row("MGET", &[Many(&[Key(Any)])]),
    row("APPEND", &[Key(Str), Value]),
    row("STRLEN", &[Key(Str)]),
    row("SETRANGE", &[Key(Str), Offset, Value]),
    row("GETRANGE", &[Key(Str), Index, Index]),
    row("SUBSTR", &[Key(Num), Index, Index]).weight(4),
    row("INCR", &[Key(Num)]),
    row("DECR", &[Key(Num)]),
    row("INCRBY", &[Key(Num), Integer]),
    row("DECRBY", &[Key(Num), Integer]),
    row("INCRBYFLOAT", &[Key(Num), Float]),
    row(
        "LCS",
        &[
            OneOf(&[&[Key(Weight), Key(Weight)], &[Key(Weight), Key(Any)]]),
            Options(&[
                &[Word("LEN")],
                &[Word("IDX")],
                &[Word("MINMATCHLEN"), Count],
                &[Word("WITHMATCHLEN")],
            ]),
        ],
    ),
];

const BITMAP: &[Shape] = &[
    row("SETBIT", &[Key(Bits), BitOffset, Bit]).weight(16),
    row("GETBIT", &[Key(Bits), BitOffset]),
    row("SET", &[Key(Bits), Value]).weight(4),
    row("BITCOUNT", &[Key(Bits)]),
    row("BITCOUNT", &[Key(Bits), Index, Index, Options(&[&[Word("BIT")], &[Word("BYTE")]])]),
    row("BITPOS", &[Key(Bits), Bit]),
    row("BITPOS", &[Key(Bits), Bit, Index, Maybe(&[Index, Options(&[&[Word("BIT")], &[Word("BYTE")]])])]),
    row(
        "BITOP",
        &[OneOf(&[&[Word("AND")], &[Word("OR")], &[Word("XOR")]]), NewKey(Bits), Many(&[Key(Bits)])],
    ),
    row("BITOP", &[Word("NOT"), NewKey(Bits), Key(Bits), Options(&[&[Key(Bits)]])]).weight(4),
    row(
        "BITFIELD",
        &[
            Key(Bits),
            Many(&[OneOf(&[
                &[Word("GET"), BitType, BitPosition],
                &[Word("SET"), BitType, BitPosition, Integer],
                &[Word("INCRBY"), BitType, BitPosition, Integer],
                &[
                    Word("OVERFLOW"),
                    OneOf(&[&[Word("WRAP")], &[Word("SAT")], &[Word("FAIL")], &[Word("BAD")]]),
                ],
            ])]),
        ],
    ),
    row("BITFIELD", &[Key(Bits), Word("INCRBY"), BitType, BitPosition, Integer]),
    row("BITFIELD_RO", &[Key(Bits), Many(&[Word("GET"), BitType, BitPosition])]).weight(4),
    row("BITFIELD_RO", &[Key(Bits), Word("SET"), BitType, BitPosition, Integer]).seldom(),
];

const HYPERLOGLOG: &[Shape] = &[
    row("PFADD", &[Key(Hll), Many(&[Value])]).weight(12),
    row("PFADD", &[Key(Hll), Maybe(&[Many(&[Member])])]),
    row("PFCOUNT", &[Many(&[Key(Hll)])]),
    row("PFMERGE", &[Key(Hll), Maybe(&[Many(&[Key(Hll)])])]),
    row("GET", &[Key(Hll)]).weight(4),
    row("SET", &[Key(Hll), Value]).seldom(),
];

const END: Arg = OneOf(&[&[Word("LEFT")], &[Word("RIGHT")]]);

const LIST: &[Shape] = &[
    row("LPUSH", &[Key(List), Many(&[Member])]).weight(12),
    row("RPUSH", &[Key(List), Many(&[Member])]).weight(12),
    row("LPUSHX", &[Key(List), Many(&[Member])]).weight(4),
    row("RPUSHX", &[Key(List), Many(&[Member])]).weight(4),
    row("LPOP", &[Key(List), Maybe(&[Count])]),
    row("RPOP", &[Key(List), Maybe(&[Count])]),
    row("LLEN", &[Key(List)]),
    row("LRANGE", &[Key(List), Index, Index]).weight(12),
    row("LINDEX", &[Key(List), Index]),
    // Not `Index`: since 7.2 the most negative number wraps around to the first element.
    row("LSET", &[Key(List), Count, Member]),
    row(
        "LINSERT",
        &[Key(List), OneOf(&[&[Word("BEFORE")], &[Word("AFTER")], &[Word("BAD")]]), Member, Member],
    ),
    row("LREM", &[Key(List), Index, Member]),
    row("LTRIM", &[Key(List), Index, Index]).weight(4),
    row(
        "LPOS",
        &[
            Key(List),
            Member,
            Options(&[&[Word("RANK"), Index], &[Word("COUNT"), Count], &[Word("MAXLEN"), Count]]),
        ],
    ),
    row("LMOVE", &[Key(List), Key(List), END, END]),
    row("RPOPLPUSH", &[Key(List), Key(List)]).weight(4),
    row("LMPOP", &[Counted(&[Key(List)]), END, Maybe(&[Word("COUNT"), Count])]),
    row("BLPOP", &[Many(&[Key(List)]), Timeout]).weight(2),
    row("BRPOP", &[Many(&[Key(List)]), Timeout]).weight(2),
    row("BLMOVE", &[Key(List), Key(List), END, END, Timeout]).weight(2),
    row("BRPOPLPUSH", &[Key(List), Key(List), Timeout]).weight(2),
    row("BLMPOP", &[Timeout, Counted(&[Key(List)]), END, Maybe(&[Word("COUNT"), Count])]).weight(2),
];

const SET: &[Shape] = &[
    row("SADD", &[Key(Set), Many(&[Member])]).weight(20),
    row("SADD", &[Key(Set), Many(&[Integer])]).weight(6),
    row("SREM", &[Key(Set), Many(&[Member])]),
    row("SISMEMBER", &[Key(Set), Member]),
    row("SMISMEMBER", &[Key(Set), Many(&[Member])]),
    row("SCARD", &[Key(Set)]),
    row("SMEMBERS", &[Key(Set)]).compared(Unordered),
    row("SMOVE", &[Key(Set), Key(Set), Member]),
    row("SPOP", &[Key(Set), Maybe(&[PickCount])]).compared(Popped).weight(5),
    row("SRANDMEMBER", &[Key(Set), Maybe(&[PickCount])]).compared(Pick { from: &["SMEMBERS"], by_key: true }),
    row("SINTER", &[Many(&[Key(Set)])]).compared(Unordered),
    row("SUNION", &[Many(&[Key(Set)])]).compared(Unordered),
    row("SDIFF", &[Many(&[Key(Set)])]).compared(Unordered),
    row("SINTERSTORE", &[NewKey(Set), Many(&[Key(Set)])]).weight(4),
    row("SUNIONSTORE", &[NewKey(Set), Many(&[Key(Set)])]).weight(4),
    row("SDIFFSTORE", &[NewKey(Set), Many(&[Key(Set)])]).weight(4),
    row("SINTERCARD", &[Counted(&[Key(Set)]), Maybe(&[Word("LIMIT"), Count])]),
    row("SSCAN", &[Key(Set), Cursor, SCAN_OPTIONS]).compared(Scan).weight(3),
];

/// Not negative: 7.0 then finds nothing, later versions count from the end unless it is a listpack.
const RANGE_LIMIT: &[Arg] = &[Word("LIMIT"), OneOf(&[&[Word("0")], &[Positive]]), Count];
const WITHSCORES: Arg = Options(&[&[Word("WITHSCORES")]]);
const AGGREGATE: &[Arg] =
    &[Word("AGGREGATE"), OneOf(&[&[Word("SUM")], &[Word("MIN")], &[Word("MAX")], &[Word("BAD")]])];
const WEIGHTS: &[Arg] = &[Word("WEIGHTS"), Many(&[Score])];
const FITTING_WEIGHTS: Arg = OneOf(&[
    &[Word("1"), Key(Zset), Options(&[&[Word("WEIGHTS"), Score], AGGREGATE])],
    &[Word("2"), Key(Zset), Key(Set), Options(&[&[Word("WEIGHTS"), Score, Score], AGGREGATE])],
    &[
        Word("3"),
        Key(Zset),
        Key(Zset),
        Key(Zset),
        Options(&[&[Word("WEIGHTS"), Score, Score, Score], AGGREGATE]),
    ],
]);
const ADD_FLAGS: Arg = Options(&[&[Word("NX")], &[Word("XX")], &[Word("GT")], &[Word("LT")], &[Word("CH")]]);
const EXTREME: Arg = OneOf(&[&[Word("MIN")], &[Word("MAX")]]);
const ZRANGE_OPTIONS: Arg = Options(&[&[Word("REV")], RANGE_LIMIT, &[Word("WITHSCORES")]]);
const ZRANGESTORE_OPTIONS: Arg = Options(&[&[Word("REV")], RANGE_LIMIT]);

const ZSET: &[Shape] = &[
    row("ZADD", &[Key(Zset), Many(&[Score, Member])]).weight(24),
    row("ZADD", &[Key(Zset), ADD_FLAGS, Many(&[Score, Member])]).weight(12),
    row("ZADD", &[Key(Zset), ADD_FLAGS, Word("INCR"), Score, Member]).compared(Floats),
    // All scores equal: what the LEX commands find in any other set is not specified.
    row("ZADD", &[Word("zset:lex"), Many(&[Word("0"), Member])]).never_odd(),
    row("ZINCRBY", &[Key(Zset), Score, Member]).compared(Floats),
    row("ZREM", &[Key(Zset), Many(&[Member])]),
    row("ZCARD", &[Key(Zset)]),
    row("ZSCORE", &[Key(Zset), Member]).compared(Floats),
    row("ZMSCORE", &[Key(Zset), Many(&[Member])]).compared(Floats),
    row("ZRANK", &[Key(Zset), Member]).never_odd(),
    row("ZREVRANK", &[Key(Zset), Member]).never_odd(),
    row("ZCOUNT", &[Key(Zset), ScoreBound, ScoreBound]),
    row("ZLEXCOUNT", &[Word("zset:lex"), LexBound, LexBound]),
    row("ZRANGE", &[Key(Zset), Index, Index, WITHSCORES]).compared(Floats),
    row("ZRANGE", &[Key(Zset), Index, Index, ZRANGE_OPTIONS]).compared(Floats),
    row("ZRANGE", &[Key(Zset), ScoreBound, ScoreBound, Word("BYSCORE"), ZRANGE_OPTIONS]).compared(Floats),
    row("ZRANGE", &[Word("zset:lex"), LexBound, LexBound, Word("BYLEX"), ZRANGE_OPTIONS]).compared(Floats),
    row("ZRANGESTORE", &[NewKey(Zset), Key(Zset), Index, Index, ZRANGESTORE_OPTIONS]).weight(4),
    row(
        "ZRANGESTORE",
        &[NewKey(Zset), Key(Zset), ScoreBound, ScoreBound, Word("BYSCORE"), ZRANGESTORE_OPTIONS],
    )
    .weight(4),
    row(
        "ZRANGESTORE",
        &[NewKey(Zset), Word("zset:lex"), LexBound, LexBound, Word("BYLEX"), ZRANGESTORE_OPTIONS],
    )
    .weight(4),
    row("ZREVRANGE", &[Key(Zset), Index, Index, WITHSCORES]).compared(Floats),
    row(
        "ZRANGEBYSCORE",
        &[Key(Zset), ScoreBound, ScoreBound, Options(&[RANGE_LIMIT, &[Word("WITHSCORES")]])],
    )
    .compared(Floats),
    row(
        "ZREVRANGEBYSCORE",
        &[Key(Zset), ScoreBound, ScoreBound, Options(&[RANGE_LIMIT, &[Word("WITHSCORES")]])],
    )
    .compared(Floats),
    row("ZRANGEBYLEX", &[Word("zset:lex"), LexBound, LexBound, Options(&[RANGE_LIMIT])]),
    row("ZREVRANGEBYLEX", &[Word("zset:lex"), LexBound, LexBound, Options(&[RANGE_LIMIT])]),
    row("ZREMRANGEBYRANK", &[Key(Zset), Index, Index]).weight(3),
    row("ZREMRANGEBYSCORE", &[Key(Zset), ScoreBound, ScoreBound]).weight(3),
    row("ZREMRANGEBYLEX", &[Word("zset:lex"), LexBound, LexBound]).weight(3),
    row("ZPOPMIN", &[Key(Zset), Maybe(&[Count])]).compared(Floats),
    row("ZPOPMAX", &[Key(Zset), Maybe(&[Count])]).compared(Floats),
    row("ZMPOP", &[Counted(&[Key(Zset)]), EXTREME, Maybe(&[Word("COUNT"), Count])]).compared(Floats),
    row("BZPOPMIN", &[Many(&[Key(Zset)]), Timeout]).compared(Floats).weight(2),
    row("BZPOPMAX", &[Many(&[Key(Zset)]), Timeout]).compared(Floats).weight(2),
    row("BZMPOP", &[Timeout, Counted(&[Key(Zset)]), EXTREME, Maybe(&[Word("COUNT"), Count])])
        .compared(Floats)
        .weight(2),
    row("ZRANDMEMBER", &[Key(Zset), Maybe(&[PickCount, Maybe(&[Word("WITHSCORES")])])])
        .compared(Pick { from: &["ZRANGE", "0", "-1", "WITHSCORES"], by_key: true }),
    row("ZUNION", &[FITTING_WEIGHTS, WITHSCORES]).compared(Floats),
    row("ZINTER", &[FITTING_WEIGHTS, WITHSCORES]).compared(Floats),
    row("ZDIFF", &[Counted(&[Key(Zset)]), WITHSCORES]).compared(Floats),
    row("ZUNIONSTORE", &[NewKey(Zset), FITTING_WEIGHTS]).weight(6),
    row("ZINTERSTORE", &[NewKey(Zset), FITTING_WEIGHTS]).weight(6),
    row("ZUNIONSTORE", &[NewKey(Zset), Counted(&[Key(Zset)]), Options(&[WEIGHTS, AGGREGATE])]).weight(2),
    row("ZDIFFSTORE", &[NewKey(Zset), Counted(&[Key(Zset)])]).weight(6),
    row("ZINTERCARD", &[Counted(&[Key(Zset)]), Maybe(&[Word("LIMIT"), Count])]),
    row("ZSCAN", &[Key(Zset), Cursor, SCAN_OPTIONS]).compared(Scan).weight(3),
];

const HASH: &[Shape] = &[
    row("HSET", &[Key(Hash), Many(&[Member, Value])]).weight(24),
    row("HSET", &[Key(Hash), Many(&[Member, Integer])]),
    row("HMSET", &[Key(Hash), Many(&[Member, Value])]).weight(4),
    row("HSETNX", &[Key(Hash), Member, Value]),
    row("HSET", &[Key(Weight), Word("x"), Value]).seldom(),
    row("HGET", &[Key(Hash), Member]),
    row("HMGET", &[Key(Hash), Many(&[Member])]),
    row("HGETALL", &[Key(Hash)]).compared(Pairs),
    row("HKEYS", &[Key(Hash)]).compared(Unordered),
    row("HVALS", &[Key(Hash)]).compared(Unordered),
    row("HDEL", &[Key(Hash), Many(&[Member])]),
    row("HLEN", &[Key(Hash)]),
    row("HEXISTS", &[Key(Hash), Member]),
    row("HSTRLEN", &[Key(Hash), Member]),
    row("HINCRBY", &[Key(Hash), Member, Integer]),
    row("HINCRBYFLOAT", &[Key(Hash), Member, Float]),
    row("HRANDFIELD", &[Key(Hash), Maybe(&[PickCount, Maybe(&[Word("WITHVALUES")])])])
        .compared(Pick { from: &["HGETALL"], by_key: true }),
    row("HSCAN", &[Key(Hash), Cursor, SCAN_OPTIONS]).compared(Scan).weight(3),
];

const UNIT: Arg = OneOf(&[&[Word("m")], &[Word("km")], &[Word("mi")], &[Word("ft")], &[Word("bad")]]);
const KM: Arg = Word("km");
const WITH: Arg = Options(&[&[Word("WITHCOORD")], &[Word("WITHDIST")], &[Word("WITHHASH")]]);
const SORTED_WITH: Arg =
    Options(&[&[Word("WITHCOORD")], &[Word("WITHDIST")], &[Word("WITHHASH")], &[Word("COUNT"), Positive]]);
const CENTER: Arg =
    OneOf(&[&[Word("FROMMEMBER"), Place], &[Word("FROMLONLAT"), Longitude, Latitude], &[Word("FROMLONLAT")]]);
const AREA: Arg = OneOf(&[&[Word("BYRADIUS"), Radius, KM], &[Word("BYBOX"), Radius, Radius, KM]]);
const GEO_STORE: Arg = OneOf(&[&[Word("STORE"), NewKey(Zset)], &[Word("STOREDIST"), NewKey(Zset)]]);

const GEO: &[Shape] = &[
    row("GEOADD", &[Key(Geo), Many(&[Longitude, Latitude, Place])]).weight(20),
    row(
        "GEOADD",
        &[Key(Geo), Options(&[&[Word("NX")], &[Word("XX")], &[Word("CH")]]), Longitude, Latitude, Place],
    ),
    row("GEOPOS", &[Key(Geo), Maybe(&[Many(&[Place])])]).compared(Floats),
    row("GEODIST", &[Key(Geo), Place, Place, Maybe(&[UNIT])]).compared(Floats),
    row("GEOHASH", &[Key(Geo), Maybe(&[Many(&[Place])])]),
    row("GEOSEARCH", &[Key(Geo), CENTER, AREA, WITH]).compared(UnorderedFloats),
    row("GEOSEARCH", &[Key(Geo), CENTER, AREA, OneOf(&[SORT_ORDER]), SORTED_WITH]).compared(Floats),
    row("GEOSEARCH", &[Key(Geo), CENTER, AREA, Word("COUNT"), Positive, Word("ANY"), WITH])
        .compared(SameLength),
    row(
        "GEOSEARCHSTORE",
        &[NewKey(Zset), Key(Geo), CENTER, AREA, Options(&[&[Word("STOREDIST")], SORT_ORDER])],
    )
    .weight(4),
    row("GEORADIUS", &[Key(Geo), Longitude, Latitude, Radius, UNIT, WITH]).compared(UnorderedFloats),
    row("GEORADIUS", &[Key(Geo), Longitude, Latitude, Radius, KM, OneOf(&[SORT_ORDER]), SORTED_WITH])
        .compared(Floats),
    row("GEORADIUS", &[Key(Geo), Longitude, Latitude, Radius, UNIT, GEO_STORE]).weight(4),
    row("GEORADIUS_RO", &[Key(Geo), Longitude, Latitude, Radius, UNIT, WITH])
        .compared(UnorderedFloats)
        .weight(3),
    row("GEORADIUSBYMEMBER", &[Key(Geo), Place, Radius, UNIT, WITH]).compared(UnorderedFloats),
    row("GEORADIUSBYMEMBER", &[Key(Geo), Place, Radius, UNIT, GEO_STORE]).weight(4),
    row("GEORADIUSBYMEMBER_RO", &[Key(Geo), Place, Radius, KM, WITH]).compared(UnorderedFloats).weight(3),
];

const TRIM: &[Arg] = &[OneOf(&[
    &[Word("MAXLEN"), Count],
    &[Word("MAXLEN"), Word("="), Count],
    &[Word("MAXLEN"), Word("~"), Count],
    &[Word("MAXLEN"), Word("~"), Count, Word("LIMIT"), Count],
    &[Word("MINID"), EntryId],
    &[Word("MINID"), Word("~"), EntryId],
    &[Word("MAXLEN"), Count, Word("LIMIT"), Count],
])];
const ENTRY: Arg = Many(&[Member, Value]);
const COUNT: &[Arg] = &[Word("COUNT"), Count];
const CLAIM_OPTIONS: Arg = Options(&[
    &[Word("IDLE"), IdleMs],
    &[Word("RETRYCOUNT"), Count],
    &[Word("FORCE")],
    &[Word("JUSTID")],
    &[Word("LASTID"), EntryId],
]);

const STREAM: &[Shape] = &[
    row("XADD", &[Key(Stream), NewEntryId, ENTRY]).weight(40),
    row("XADD", &[Key(Stream), NewEntryId, Word("field"), Value, Word("other"), Value]).weight(40),
    row("XADD", &[Key(Stream), Options(&[&[Word("NOMKSTREAM")], TRIM]), NewEntryId, ENTRY]).weight(12),
    row("XTRIM", &[Key(Stream), Options(&[TRIM, &[Word("LIMIT"), Count]])]).weight(4),
    row("XTRIM", &[Key(Stream), OneOf(&[TRIM])]).weight(4),
    row("XDEL", &[Key(Stream), Many(&[EntryId])]),
    row("DEL", &[Key(Stream)]).weight(3),
    row("XLEN", &[Key(Stream)]),
    row("XRANGE", &[Key(Stream), EntryBound, EntryBound, Options(&[COUNT])]).weight(12),
    row("XREVRANGE", &[Key(Stream), EntryBound, EntryBound, Options(&[COUNT])]),
    row("XREAD", &[Options(&[COUNT]), Word("STREAMS"), Key(Stream), EntryId]),
    row("XREAD", &[Options(&[COUNT]), Word("STREAMS"), Key(Stream), Key(Stream), EntryId, EntryId]),
    row(
        "XREAD",
        &[Word("BLOCK"), TimeoutMs, Word("STREAMS"), Key(Stream), OneOf(&[&[Word("$")], &[EntryId]])],
    )
    .weight(2),
    row(
        "XREADGROUP",
        &[
            Word("GROUP"),
            Group,
            Consumer,
            Options(&[COUNT, &[Word("NOACK")]]),
            Word("STREAMS"),
            Key(Stream),
            OneOf(&[&[Word(">")], &[Word(">")], &[EntryId], &[Word("$")]]),
        ],
    )
    .never_odd()
    .weight(24),
    row(
        "XREADGROUP",
        &[Word("GROUP"), Group, Consumer, Word("BLOCK"), TimeoutMs, Word("STREAMS"), Key(Stream), Word(">")],
    )
    .never_odd()
    .weight(2),
    row(
        "XGROUP CREATE",
        &[
            Key(Stream),
            Group,
            OneOf(&[&[EntryId], &[Word("0")], &[Word("$")]]),
            Options(&[&[Word("MKSTREAM")], &[Word("ENTRIESREAD"), Count]]),
        ],
    )
    .weight(20),
    row(
        "XGROUP SETID",
        &[Key(Stream), Group, OneOf(&[&[EntryId], &[Word("$")]]), Options(&[&[Word("ENTRIESREAD"), Count]])],
    )
    .weight(4),
    row("XGROUP DESTROY", &[Key(Stream), Group]).weight(2),
    row("XGROUP CREATECONSUMER", &[Key(Stream), Group, Consumer]).weight(4),
    row("XGROUP DELCONSUMER", &[Key(Stream), Group, Consumer]).weight(2),
    row("XACK", &[Key(Stream), Group, Many(&[EntryId])]),
    row("XPENDING", &[Key(Stream), Group]),
    row(
        "XPENDING",
        &[
            Key(Stream),
            Group,
            Options(&[&[Word("IDLE"), IdleMs]]),
            EntryBound,
            EntryBound,
            Count,
            Options(&[&[Consumer]]),
        ],
    )
    .compared(StreamInfo),
    row("XCLAIM", &[Key(Stream), Group, Consumer, IdleMs, Many(&[EntryId]), CLAIM_OPTIONS]).never_odd(),
    row(
        "XAUTOCLAIM",
        &[Key(Stream), Group, Consumer, IdleMs, EntryBound, Options(&[COUNT, &[Word("JUSTID")]])],
    )
    .never_odd(),
    // Not below what was deleted: 7.0 does not remember that.
    row(
        "XSETID",
        &[
            Key(Stream),
            OneOf(&[&[Word("50-1")], &[Word("60")], &[Word("70-")]]),
            Options(&[&[Word("ENTRIESADDED"), Count], &[Word("MAXDELETEDID"), EntryId]]),
        ],
    )
    .never_odd()
    .seldom(),
    row("XINFO STREAM", &[Key(Stream)]).compared(StreamInfo),
    row("XINFO STREAM", &[Key(Stream), Word("FULL"), Options(&[COUNT])]).compared(StreamInfo),
    row("XINFO GROUPS", &[Key(Stream)]).compared(StreamInfo),
    row("XINFO CONSUMERS", &[Key(Stream), Group]).compared(StreamInfo),
];

const PUBSUB: &[Shape] = &[
    row("PUBLISH", &[Channel, Value]).weight(12),
    row("SPUBLISH", &[Channel, Value]).weight(4),
    row("PUBSUB CHANNELS", &[Maybe(&[Pattern])]).compared(Unordered).weight(4),
    row("PUBSUB NUMSUB", &[Maybe(&[Many(&[Channel])])]).weight(4),
    row("PUBSUB NUMPAT", &[]).weight(4),
    row("PUBSUB SHARDCHANNELS", &[Maybe(&[Pattern])]).compared(Unordered).weight(2),
    row("PUBSUB SHARDNUMSUB", &[Maybe(&[Many(&[Channel])])]).weight(2),
    row("PUBSUB NOSUCH", &[]).seldom(),
];

const CONNECTION: &[Shape] = &[
    row("PING", &[Maybe(&[Value])]).weight(3),
    row("ECHO", &[Value]).weight(3),
    row("CLIENT SETNAME", &[Pattern]).weight(2),
    row("CLIENT GETNAME", &[]).weight(2),
    row("CLIENT NOSUCH", &[Member]).seldom(),
    row("EXEC", &[Word("BAD")]).never_odd().seldom(),
    row("DISCARD", &[Word("BAD")]).never_odd().seldom(),
    row("UNWATCH", &[]).weight(2),
];
