//! The row of a command: everything about it but its code, and a pointer to that.
//!
//! From the rows come arity errors, routing by key, `COMMAND` and its kin, ACL categories, and what enters the log.

use crate::context::Context;
use crate::error::CommandError;
use crate::number::{parse_i64, parse_prefix};
use crate::reply::Reply;

/// How many arguments a command takes, its name included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Exactly so many.
    Exactly(usize),
    /// So many or more.
    AtLeast(usize),
}

impl Arity {
    /// Whether `n` arguments are right.
    #[inline]
    pub fn accepts(self, n: usize) -> bool {
        match self {
            Self::Exactly(exact) => n == exact,
            Self::AtLeast(least) => n >= least,
        }
    }

    /// As `COMMAND` answers it: negative for "at least".
    pub fn number(self) -> i64 {
        match self {
            Self::Exactly(n) => n as i64,
            Self::AtLeast(n) => -(n as i64),
        }
    }
}

macro_rules! named {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name that `COMMAND` answers.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Its bit in a set of them.
            #[inline]
            pub const fn bit(self) -> u64 {
                1 << self as u8
            }
        }
    };
}

named! {
    /// Flags of a command, as `COMMAND` names them.
    Flag {
        /// Changes the data.
        Write = "write",
        /// Only reads.
        ReadOnly = "readonly",
        /// Refused when memory is over the limit.
        DenyOom = "denyoom",
        /// For administrators.
        Admin = "admin",
        /// Belongs to publish/subscribe.
        PubSub = "pubsub",
        /// Not from scripts.
        NoScript = "noscript",
        /// May block the client.
        Blocking = "blocking",
        /// Allowed while loading.
        Loading = "loading",
        /// Allowed on a replica that lost its primary.
        Stale = "stale",
        /// Not shown to MONITOR.
        SkipMonitor = "skip_monitor",
        /// Not put into the slow log.
        SkipSlowlog = "skip_slowlog",
        /// Implies ASKING.
        Asking = "asking",
        /// O(1) or O(log n).
        Fast = "fast",
        /// Needs no authentication.
        NoAuth = "no_auth",
        /// May leave effects though it is no write (PUBLISH, PFCOUNT).
        MayReplicate = "may_replicate",
        /// Not inside MULTI.
        NoMulti = "no_multi",
        /// Allowed while asynchronously loading.
        NoAsyncLoading = "no_async_loading",
        /// Cannot run while a script is busy, refused otherwise.
        AllowBusy = "allow_busy",
        /// Keys are not where the specs say for every form.
        MovableKeys = "movablekeys",
        /// Sentinel has it too.
        Sentinel = "sentinel",
        /// Only Sentinel has it.
        OnlySentinel = "only_sentinel",
        /// Its keys are not mandatory.
        NoMandatoryKeys = "no_mandatory_keys",
        /// Protected by a setting.
        Protected = "protected",
        /// Touches keys that the arguments do not name.
        TouchesArbitraryKeys = "touches_arbitrary_keys",
        /// Works on all databases.
        AllDbs = "all_dbs",
    }
}

named! {
    /// ACL categories.
    Category {
        /// Keys in general.
        Keyspace = "keyspace",
        /// Reads data.
        Read = "read",
        /// Writes data.
        Write = "write",
        /// Sets.
        Set = "set",
        /// Sorted sets.
        SortedSet = "sortedset",
        /// Lists.
        List = "list",
        /// Hashes.
        Hash = "hash",
        /// Strings.
        String = "string",
        /// Bitmaps.
        Bitmap = "bitmap",
        /// HyperLogLogs.
        HyperLogLog = "hyperloglog",
        /// Geo indexes.
        Geo = "geo",
        /// Streams.
        Stream = "stream",
        /// Publish/subscribe.
        PubSub = "pubsub",
        /// For administrators.
        Admin = "admin",
        /// O(1) or O(log n).
        Fast = "fast",
        /// Not fast.
        Slow = "slow",
        /// May block.
        Blocking = "blocking",
        /// Not for everybody.
        Dangerous = "dangerous",
        /// The connection itself.
        Connection = "connection",
        /// Transactions.
        Transaction = "transaction",
        /// Scripts.
        Scripting = "scripting",
    }
}

named! {
    /// The groups of `COMMAND DOCS`.
    Group {
        /// Keys in general.
        Generic = "generic",
        /// Strings.
        String = "string",
        /// Lists.
        List = "list",
        /// Sets.
        Set = "set",
        /// Sorted sets.
        SortedSet = "sorted_set",
        /// Hashes.
        Hash = "hash",
        /// Publish/subscribe.
        PubSub = "pubsub",
        /// Transactions.
        Transactions = "transactions",
        /// The connection.
        Connection = "connection",
        /// The server.
        Server = "server",
        /// Scripts and functions.
        Scripting = "scripting",
        /// HyperLogLogs.
        HyperLogLog = "hyperloglog",
        /// The cluster.
        Cluster = "cluster",
        /// Sentinel.
        Sentinel = "sentinel",
        /// Geo indexes.
        Geo = "geo",
        /// Streams.
        Stream = "stream",
        /// Bitmaps.
        Bitmap = "bitmap",
    }
}

named! {
    /// What a command does with a key.
    KeyFlag {
        /// Reads it.
        Ro = "RO",
        /// Reads and changes it.
        Rw = "RW",
        /// Overwrites it whatever it was.
        Ow = "OW",
        /// Removes it.
        Rm = "RM",
        /// Returns or copies what it holds.
        Access = "access",
        /// Changes what it holds.
        Update = "update",
        /// Adds to what it holds.
        Insert = "insert",
        /// Removes from what it holds.
        Delete = "delete",
        /// Not a key really.
        NotKey = "not_key",
        /// The spec may miss some keys.
        Incomplete = "incomplete",
        /// The flags depend on the arguments.
        VariableFlags = "variable_flags",
    }
}

/// Where the keys of a command begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At this argument.
    Index(usize),
    /// After this word, looked for from an argument on (from the end when negative).
    Keyword(&'static str, i64),
    /// Only the command knows.
    Unknown,
}

/// Which arguments from there on are keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// Up to `last` (relative to the first key; negative: from the end), every `step`; `limit` > 1: only the
    /// first 1/limit of the rest.
    Range {
        /// The last key.
        last: i64,
        /// Distance of keys.
        step: usize,
        /// Share of the rest.
        limit: usize,
    },
    /// A number of keys is among the arguments.
    KeyNum {
        /// Where the number is, relative to the begin.
        at: usize,
        /// Where the first key is, relative to the begin.
        first: usize,
        /// Distance of keys.
        step: usize,
    },
    /// Only the command knows.
    Unknown,
}

/// One group of keys among the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// What is done with them.
    pub flags: &'static [KeyFlag],
    /// Where they begin.
    pub begin: Begin,
    /// Which they are.
    pub find: Find,
}

/// One key at this argument.
pub const fn key(at: usize, flags: &'static [KeyFlag]) -> KeySpec {
    keys(at, 0, 1, flags)
}

/// Keys from argument `first` on, up to `last` relative to it (negative: from the end), every `step`.
pub const fn keys(first: usize, last: i64, step: usize, flags: &'static [KeyFlag]) -> KeySpec {
    KeySpec { flags, begin: Begin::Index(first), find: Find::Range { last, step, limit: 0 } }
}

/// `numkeys key [key ...]` with the number at argument `at`.
pub const fn numkeys(at: usize, flags: &'static [KeyFlag]) -> KeySpec {
    KeySpec { flags, begin: Begin::Index(at), find: Find::KeyNum { at: 0, first: 1, step: 1 } }
}

/// The function that runs a command on the shards it holds.
pub type ShardFn = for<'c, 'a> fn(&'c mut Context<'_>, Args<'a>) -> Result<Reply, CommandError>;

/// Who runs a command.
#[derive(Clone, Copy)]
pub enum Run {
    /// The shards of its keys.
    Keys(ShardFn),
    /// All shards at once.
    AllShards(ShardFn),
    /// Not the engine: the row is metadata for whoever does. Containers of subcommands too.
    Elsewhere,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Keys(_) => "Keys",
            Self::AllShards(_) => "AllShards",
            Self::Elsewhere => "Elsewhere",
        })
    }
}

/// A command: its row.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Name in upper case; of a subcommand only its own name.
    pub name: &'static str,
    /// Number of arguments, the name included (for subcommands: both names).
    pub arity: Arity,
    /// Flags.
    pub flags: &'static [Flag],
    /// ACL categories beyond those that follow from the flags.
    pub acl: &'static [Category],
    /// Where its keys are.
    pub keys: &'static [KeySpec],
    /// Hints for clients and proxies.
    pub tips: &'static [&'static str],
    /// Group of `COMMAND DOCS`.
    pub group: Group,
    /// Version that had it first.
    pub since: &'static str,
    /// Version that deprecated it, and what replaces it.
    pub deprecated: Option<(&'static str, &'static str)>,
    /// Cost.
    pub complexity: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// Who runs it.
    pub run: Run,
    /// Subcommands of a container.
    pub subcommands: &'static [Command],
    /// `COMMAND` shows the container as one command, without its subcommands (DEBUG).
    pub hidden_subcommands: bool,
}

impl Command {
    /// A row to fill up from: `Command { name: .., ..Command::BASE }`.
    pub const BASE: Self = Self {
        name: "",
        arity: Arity::AtLeast(1),
        flags: &[],
        acl: &[],
        keys: &[],
        tips: &[],
        group: Group::Generic,
        since: "1.0.0",
        deprecated: None,
        complexity: "O(1)",
        summary: "",
        run: Run::Elsewhere,
        subcommands: &[],
        hidden_subcommands: false,
    };

    /// Whether it has this flag. Walks the list: for hot paths keep [`flag_bits`](Self::flag_bits).
    pub fn has(&self, flag: Flag) -> bool {
        self.flags.contains(&flag)
    }

    /// The flags as a set of bits.
    pub fn flag_bits(&self) -> u64 {
        self.flags.iter().fold(0, |bits, flag| bits | flag.bit())
    }

    /// All its ACL categories: its own and those that follow from the flags.
    pub fn categories(&self) -> Vec<Category> {
        let mut all: Vec<Category> = self.acl.to_vec();
        for (flag, category) in [
            (Flag::Write, &[Category::Write][..]),
            (Flag::ReadOnly, &[Category::Read]),
            (Flag::Admin, &[Category::Admin, Category::Dangerous]),
            (Flag::PubSub, &[Category::PubSub]),
            (Flag::Fast, &[Category::Fast]),
            (Flag::Blocking, &[Category::Blocking]),
        ] {
            // Scripting commands read or write what their script does, which says nothing about them.
            let scripted =
                self.acl.contains(&Category::Scripting) && matches!(flag, Flag::Write | Flag::ReadOnly);
            if self.has(flag) && !scripted {
                all.extend(category);
            }
        }
        if !self.has(Flag::Fast) {
            all.push(Category::Slow);
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The positions of the keys in `args` (the name included). Positions beyond the end or a bad count are an
    /// error; unknown specs yield nothing (see [`has_unknown_keys`](Self::has_unknown_keys)).
    pub fn key_positions<A: AsRef<[u8]>>(&self, args: &[A]) -> Result<Vec<(usize, KeySpec)>, CommandError> {
        let mut found = Vec::new();
        for spec in self.keys {
            spec.positions(args, &mut |at| found.push((at, *spec)))?;
        }
        Ok(found)
    }

    /// Whether it has keys that the specs cannot find.
    pub fn has_unknown_keys(&self) -> bool {
        self.keys.iter().any(|spec| spec.begin == Begin::Unknown || spec.find == Find::Unknown)
    }

    /// The classic triple of `COMMAND`: first key, last key, step.
    pub fn first_last_step(&self) -> (i64, i64, i64) {
        let mut triple: Option<(i64, i64, i64)> = None;
        for spec in self.keys {
            let (Begin::Index(first), Find::Range { last, step, .. }) = (spec.begin, spec.find) else {
                continue;
            };
            let first = first as i64;
            let end = if last < 0 { last } else { first + last };
            triple = Some(match triple {
                None => (first, end, step as i64),
                // Adjacent single keys form one range.
                Some((f, l, s)) if l + 1 == first => (f, end, s),
                Some(other) => other,
            });
        }
        triple.unwrap_or((0, 0, 0))
    }
}

impl KeySpec {
    /// Calls `found` with each position of a key.
    #[inline]
    pub fn positions<A: AsRef<[u8]>>(
        &self,
        args: &[A],
        found: &mut impl FnMut(usize),
    ) -> Result<(), CommandError> {
        const INVALID: CommandError = CommandError::text("ERR Invalid arguments specified for command");
        let begin = match self.begin {
            Begin::Index(at) => at,
            Begin::Keyword(word, from) => match find_keyword(args, word, from) {
                Some(at) => at + 1,
                None => return Ok(()),
            },
            Begin::Unknown => return Ok(()),
        };
        let (first, last, step) = match self.find {
            Find::Range { last, step, limit } => {
                let last = if last >= 0 {
                    begin as i64 + last
                } else if limit > 1 {
                    let rest = args.len().saturating_sub(begin) / limit;
                    begin as i64 + rest as i64 + last
                } else {
                    args.len() as i64 + last
                };
                (begin, last, step)
            }
            Find::KeyNum { at, first, step } => {
                let text = args.get(begin + at).ok_or(INVALID)?.as_ref();
                let first = begin + first;
                let left = args.len().saturating_sub(first).div_ceil(step.max(1));
                let fits = |count: &i64| (0..=left as i64).contains(count);
                // Redis looks for keys a second time, less strictly, before it gives up.
                let loosely = || Some(i64::from(parse_prefix(text)));
                let count = parse_i64(text).filter(fits).or_else(loosely).filter(fits).ok_or(INVALID)?;
                (first, first as i64 + (count - 1) * step as i64, step)
            }
            Find::Unknown => return Ok(()),
        };
        // No key at all is as wrong as one beyond the end: the command will say so itself.
        if last >= args.len() as i64 || last < first as i64 {
            return Err(INVALID);
        }
        let mut at = first;
        while (at as i64) <= last {
            found(at);
            at += step.max(1);
        }
        Ok(())
    }
}

fn find_keyword<A: AsRef<[u8]>>(args: &[A], word: &str, from: i64) -> Option<usize> {
    let is_word = |at: &usize| args[*at].as_ref().eq_ignore_ascii_case(word.as_bytes());
    if from >= 0 {
        (from as usize..args.len()).find(is_word)
    } else {
        let start = args.len().checked_sub(from.unsigned_abs() as usize)?;
        (1..=start).rev().find(is_word)
    }
}

/// The arguments of a command, its name first, with a place to read on.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    all: &'a [&'a [u8]],
    at: usize,
}

impl<'a> Args<'a> {
    /// Arguments that are read from the first after the name on.
    pub fn new(all: &'a [&'a [u8]]) -> Self {
        Self { all, at: 1 }
    }

    /// All arguments, the name included.
    pub fn all(&self) -> &'a [&'a [u8]] {
        self.all
    }

    /// Their number, the name included (`argc`).
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// The name of the command as the client wrote it.
    pub fn name(&self) -> &'a [u8] {
        self.all.first().copied().unwrap_or_default()
    }

    /// Argument `at`, the name being 0; empty beyond the end.
    pub fn get(&self, at: usize) -> &'a [u8] {
        self.all.get(at).copied().unwrap_or_default()
    }

    /// Goes on reading at argument `at`.
    pub fn seek(&mut self, at: usize) {
        self.at = at;
    }

    /// Where reading is.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The next argument.
    #[inline]
    pub fn take(&mut self) -> Option<&'a [u8]> {
        let arg = self.all.get(self.at).copied()?;
        self.at += 1;
        Some(arg)
    }

    /// The next argument, or a syntax error.
    #[inline]
    pub fn required(&mut self) -> Result<&'a [u8], CommandError> {
        self.take().ok_or(CommandError::Syntax)
    }

    /// The next argument without reading it.
    pub fn peek(&self) -> Option<&'a [u8]> {
        self.all.get(self.at).copied()
    }

    /// The next argument as an integer.
    #[inline]
    pub fn integer(&mut self) -> Result<i64, CommandError> {
        parse_i64(self.required()?).ok_or(CommandError::NotInteger)
    }

    /// Reads the next argument when it is this word, in any case.
    #[inline]
    pub fn word(&mut self, word: &str) -> bool {
        let is = self.peek().is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
        self.at += usize::from(is);
        is
    }

    /// How many arguments are left.
    pub fn left(&self) -> usize {
        self.all.len().saturating_sub(self.at)
    }

    /// What is left, as a slice; reads all of it.
    pub fn rest(&mut self) -> &'a [&'a [u8]] {
        let rest = self.all.get(self.at..).unwrap_or_default();
        self.at = self.all.len();
        rest
    }
}
