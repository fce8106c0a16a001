//! SORT: the elements of a list, set or sorted set in the order of their own values or of values elsewhere.

use super::keys::in_slot_of;
use crate::command::{
    Args, Arity, Begin, Category, Command, Find, Flag::*, Group, KeyFlag::*, KeySpec, Run, key,
};
use crate::context::Context;
use crate::error::CommandError;
use crate::keyspace::notify::Class;
use crate::keyspace::{StrRef, Value, ValueRef};
use crate::number::parse_f64;
use crate::reply::Reply;
use crate::types::list::List;
use crate::types::listpack::LpEntry;
use std::cmp::Ordering;
use std::ops::Range;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "SORT",
        arity: Arity::AtLeast(2),
        flags: &[Write, DenyOom],
        acl: &[Category::Dangerous, Category::List, Category::Set, Category::SortedSet],
        keys: &[
            key(1, &[Ro, Access]),
            KeySpec { flags: &[Ro, Access], begin: Begin::Unknown, find: Find::Unknown },
            KeySpec { flags: &[Ow, Update], begin: Begin::Unknown, find: Find::Unknown },
        ],
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(n + m log m) for n elements of which m are returned.",
        summary: "Sorts the elements of a list, set or sorted set, and may store the result.",
        run: Run::Keys(sort),
        ..Command::BASE
    },
    Command {
        name: "SORT_RO",
        arity: Arity::AtLeast(2),
        flags: &[ReadOnly],
        acl: &[Category::Dangerous, Category::List, Category::Set, Category::SortedSet],
        keys: &[
            key(1, &[Ro, Access]),
            KeySpec { flags: &[Ro, Access], begin: Begin::Unknown, find: Find::Unknown },
        ],
        group: Group::Generic,
        since: "7.0.0",
        complexity: "O(n + m log m) for n elements of which m are returned.",
        summary: "Sorts the elements of a list, set or sorted set without storing anything.",
        run: Run::Keys(sort_ro),
        ..Command::BASE
    },
];

const NOT_A_SCORE: CommandError = CommandError::text("ERR One or more scores can't be converted into double");

fn sort(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    sort_with(ctx, args, true)
}

fn sort_ro(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    sort_with(ctx, args, false)
}

/// What SORT was asked to do.
struct Options<'a> {
    descending: bool,
    alpha: bool,
    start: i64,
    count: i64,
    by: Option<Pattern<'a>>,
    /// `BY` something constant: the elements stay in the order that they have.
    unsorted: bool,
    get: Vec<Pattern<'a>>,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn read(args: &mut Args<'a>, ctx: &Context<'_>, may_store: bool) -> Result<Self, CommandError> {
        let mut options = Self {
            descending: false,
            alpha: false,
            start: 0,
            count: -1,
            by: None,
            unsorted: false,
            get: Vec::new(),
            store: None,
        };
        let key = args.required()?;
        let elsewhere = |glob: &[u8]| ctx.settings.cluster_enabled && !in_slot_of(glob, key);
        while args.left() > 0 {
            let after = args.left() - 1;
            if args.word("ASC") {
                options.descending = false;
            } else if args.word("DESC") {
                options.descending = true;
            } else if args.word("ALPHA") {
                options.alpha = true;
            } else if after >= 2 && args.word("LIMIT") {
                options.start = args.integer()?;
                options.count = args.integer()?;
            } else if after >= 1 && may_store && args.word("STORE") {
                options.store = args.take();
            } else if after >= 1 && args.word("BY") {
                let glob = args.required()?;
                options.unsorted |= !glob.contains(&b'*');
                options.by = Some(Pattern::new(glob));
                if glob.contains(&b'*') && elsewhere(glob) {
                    return Err(CommandError::text(
                        "ERR BY option of SORT denied in Cluster mode when keys formed by the pattern may be in \
                         different slots.",
                    ));
                }
            } else if after >= 1 && args.word("GET") {
                let glob = args.required()?;
                if glob != b"#" && elsewhere(glob) {
                    return Err(CommandError::text(
                        "ERR GET option of SORT denied in Cluster mode when keys formed by the pattern may be in \
                         different slots.",
                    ));
                }
                options.get.push(Pattern::new(glob));
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }

    /// Which of `len` elements LIMIT lets through.
    fn range(&self, len: usize) -> Range<usize> {
        let start = usize::try_from(self.start.max(0)).unwrap_or(usize::MAX).min(len);
        let count = usize::try_from(self.count).unwrap_or(usize::MAX).min(len - start);
        start..start + count
    }
}

/// A pattern of BY or GET: how a value is found for an element.
enum Pattern<'a> {
    /// `#`: the element itself.
    Element,
    /// Without a `*`: finds nothing.
    Nothing,
    /// The `*` stands for the element; a field after `->` makes it a field of a hash.
    Key { before: &'a [u8], after: &'a [u8], field: Option<&'a [u8]> },
}

impl<'a> Pattern<'a> {
    fn new(glob: &'a [u8]) -> Self {
        if glob == b"#" {
            return Self::Element;
        }
        let Some(star) = memchr::memchr(b'*', glob) else { return Self::Nothing };
        let (before, after) = (&glob[..star], &glob[star + 1..]);
        match memchr::memmem::find(after, b"->") {
            Some(arrow) if arrow + 2 < after.len() => {
                Self::Key { before, after: &after[..arrow], field: Some(&after[arrow + 2..]) }
            }
            _ => Self::Key { before, after, field: None },
        }
    }

    /// The value that the pattern finds for an element. `name` is room for the name of a key.
    fn find(&self, ctx: &mut Context<'_>, element: &[u8], name: &mut Vec<u8>) -> Option<Found> {
        let (before, after, field) = match self {
            Self::Element => return Some(Found::Bytes(element.to_vec())),
            Self::Nothing => return None,
            Self::Key { before, after, field } => (before, after, field),
        };
        name.clear();
        name.extend_from_slice(before);
        name.extend_from_slice(element);
        name.extend_from_slice(after);
        let (now_ms, hasher) = (ctx.now_ms(), ctx.hasher);
        match (ctx.keyspace.read(name)?, field) {
            (ValueRef::Str(StrRef::Int(n)), None) => Some(Found::Int(n)),
            (ValueRef::Str(text), None) => Some(Found::Bytes(text.to_vec())),
            (ValueRef::Hash(hash), Some(field)) => Some(match hash.get(field, now_ms, hasher)? {
                LpEntry::Int(n) => Found::Int(n),
                LpEntry::Str(bytes) => Found::Bytes(bytes.to_vec()),
            }),
            _ => None,
        }
    }
}

/// A value that a pattern found.
enum Found {
    Int(i64),
    Bytes(Vec<u8>),
}

impl Found {
    fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Int(n) => itoa::Buffer::new().format(n).as_bytes().to_vec(),
            Self::Bytes(bytes) => bytes,
        }
    }

    fn score(&self) -> Result<f64, CommandError> {
        match self {
            Self::Int(n) => Ok(*n as f64),
            Self::Bytes(bytes) => score(bytes),
        }
    }
}

/// A text as a weight: what `strtod` makes of all of it, nothing being zero.
fn score(text: &[u8]) -> Result<f64, CommandError> {
    let text = &text[..memchr::memchr(0, text).unwrap_or(text.len())];
    if text.is_empty() {
        return Ok(0.0);
    }
    let blank = |b: &u8| matches!(b, b' ' | b'\t'..=b'\r');
    let number = &text[text.iter().take_while(|b| blank(b)).count()..];
    parse_f64(number).ok_or(NOT_A_SCORE)
}

/// What an element is sorted by.
enum Weight {
    /// Not at all, or by itself.
    None,
    Score(f64),
    /// What BY found; nothing comes before everything.
    Text(Option<Vec<u8>>),
}

fn sort_with(ctx: &mut Context<'_>, mut args: Args<'_>, may_store: bool) -> Result<Reply, CommandError> {
    let mut options = Options::read(&mut args, ctx, may_store)?;
    let source = elements(ctx, args.get(1), &mut options)?;
    let range = options.range(source.len());
    let sorted = if options.unsorted { source } else { sorted(ctx, source, &options)? };
    let chosen = &sorted[range];
    match options.store {
        Some(to) => Ok(store(ctx, to, chosen, &options)),
        None => {
            answer(ctx, chosen, &options);
            Ok(Reply::Written)
        }
    }
}

/// All elements of a list, set or sorted set, in the order in which they are when nothing is sorted.
fn elements(
    ctx: &mut Context<'_>,
    key: &[u8],
    options: &mut Options<'_>,
) -> Result<Vec<Vec<u8>>, CommandError> {
    let mut all: Vec<Vec<u8>> = match ctx.keyspace.read(key) {
        None => Vec::new(),
        Some(ValueRef::List(list)) => list.iter().map(|element| element.to_vec()).collect(),
        Some(ValueRef::ZSet(zset)) => zset.iter().map(|entry| entry.member.to_vec()).collect(),
        Some(ValueRef::Set(set)) => {
            let mut all: Vec<Vec<u8>> = set.iter().map(|member| member.to_vec()).collect();
            // A set has no order, but what is stored must be the same everywhere, and what a script does of it too.
            if options.store.is_some() || ctx.caller.is_script {
                if options.unsorted {
                    (options.unsorted, options.alpha, options.by) = (false, true, None);
                } else {
                    all.sort_unstable();
                }
            }
            return Ok(all);
        }
        Some(ValueRef::Str(_) | ValueRef::Hash(_) | ValueRef::Stream(_)) => {
            return Err(CommandError::WrongType);
        }
    };
    if options.unsorted && options.descending {
        all.reverse();
    }
    Ok(all)
}

fn sorted(
    ctx: &mut Context<'_>,
    elements: Vec<Vec<u8>>,
    options: &Options<'_>,
) -> Result<Vec<Vec<u8>>, CommandError> {
    let mut name = Vec::new();
    let mut failed = None;
    let mut weighed = Vec::with_capacity(elements.len());
    for element in elements {
        let weight = match (&options.by, options.alpha) {
            (None, true) => Weight::None,
            (None, false) => Weight::Score(score(&element).unwrap_or_else(|error| {
                failed = Some(error);
                0.0
            })),
            (Some(by), true) => Weight::Text(by.find(ctx, &element, &mut name).map(Found::into_bytes)),
            (Some(by), false) => match by.find(ctx, &element, &mut name).map(|found| found.score()) {
                None => Weight::Score(0.0),
                Some(Ok(score)) => Weight::Score(score),
                Some(Err(error)) => {
                    failed = Some(error);
                    Weight::Score(0.0)
                }
            },
        };
        weighed.push((weight, element));
    }
    if let Some(error) = failed {
        return Err(error);
    }
    weighed.sort_by(|a, b| if options.descending { compare(b, a) } else { compare(a, b) });
    Ok(weighed.into_iter().map(|(_, element)| element).collect())
}

/// By weight. Elements of equal scores are ordered by themselves; those of equal texts stay as they are.
fn compare(a: &(Weight, Vec<u8>), b: &(Weight, Vec<u8>)) -> Ordering {
    match (&a.0, &b.0) {
        (Weight::Score(x), Weight::Score(y)) => {
            x.partial_cmp(y).unwrap_or(Ordering::Equal).then_with(|| a.1.cmp(&b.1))
        }
        (Weight::Text(x), Weight::Text(y)) => x.cmp(y),
        _ => a.1.cmp(&b.1),
    }
}

fn answer(ctx: &mut Context<'_>, chosen: &[Vec<u8>], options: &Options<'_>) {
    ctx.out.array(chosen.len() * options.get.len().max(1));
    let mut name = Vec::new();
    for element in chosen {
        if options.get.is_empty() {
            ctx.out.bulk(element);
        }
        for pattern in &options.get {
            match pattern.find(ctx, element, &mut name) {
                Some(found) => ctx.out.bulk(&found.into_bytes()),
                None => ctx.out.null(),
            }
        }
    }
}

fn store(ctx: &mut Context<'_>, to: &[u8], chosen: &[Vec<u8>], options: &Options<'_>) -> Reply {
    if chosen.is_empty() {
        if ctx.keyspace.remove_lazily(to, ctx.settings.lazyfree_lazy_server_del) {
            ctx.keyspace.modified(to);
            ctx.keyspace.notify(Class::Generic, "del", to);
        }
        return Reply::Integer(0);
    }
    let limit = ctx.settings.node_limit();
    let mut list = List::new();
    let mut name = Vec::new();
    for element in chosen {
        if options.get.is_empty() {
            list.push_back(element, limit);
        }
        for pattern in &options.get {
            let found = pattern.find(ctx, element, &mut name).map(Found::into_bytes);
            list.push_back(&found.unwrap_or_default(), limit);
        }
    }
    list.settle(limit);
    let len = list.len();
    ctx.keyspace.put(to, Value::List(Box::new(list)), None);
    ctx.keyspace.modified_by(to, len as u64);
    ctx.keyspace.notify(Class::List, "sortstore", to);
    len.into()
}

#[cfg(test)]
mod tests {
    use crate::keyspace::Value;
    use crate::settings::Settings;
    use crate::testing::{Bench, WRONG_TYPE};
    use crate::types::list::List;
    use crate::types::set::Set;
    use crate::types::zset::ZSet;

    /// A list `l`, a set `s` and a sorted set `z` of these elements, weights `w_*` and objects `o_*`.
    fn bench(elements: &str) -> Bench {
        let mut bench = Bench::new();
        let limit = Settings::default().node_limit();
        let (mut list, mut set, mut zset) = (List::new(), Set::new(), ZSet::new());
        for (i, element) in elements.split(' ').enumerate() {
            list.push_back(element.as_bytes(), limit);
            set.add(element.as_bytes(), &Default::default(), &Default::default());
            zset.insert(element.as_bytes(), i as f64, &Default::default(), &Default::default());
        }
        bench.put("l", Value::List(Box::new(list)));
        bench.put("s", Value::Set(Box::new(set)));
        bench.put("z", Value::ZSet(Box::new(zset)));
        bench
    }

    #[track_caller]
    fn gives(bench: &mut Bench, line: &str, reply: &str) {
        assert_eq!(bench.run(line), reply, "{line}");
    }

    #[test]
    fn elements_are_sorted() {
        let mut bench = bench("3 10 2 -1 1.5");
        for key in ["l", "s", "z"] {
            for command in ["SORT", "SORT_RO"] {
                let mut gives = |options: &str, reply: &str| {
                    gives(&mut bench, &format!("{command} {key} {options}"), reply)
                };
                gives("", r#"["-1" "1.5" "2" "3" "10"]"#);
                gives("DESC", r#"["10" "3" "2" "1.5" "-1"]"#);
                gives("desc asc", r#"["-1" "1.5" "2" "3" "10"]"#);
                gives("ALPHA", r#"["-1" "1.5" "10" "2" "3"]"#);
                gives("ALPHA DESC", r#"["3" "2" "10" "1.5" "-1"]"#);
                gives("LIMIT 1 2", r#"["1.5" "2"]"#);
                gives("LIMIT 3 10", r#"["3" "10"]"#);
                gives("LIMIT 5 10", "[]");
                gives("LIMIT 0 0", "[]");
                gives("LIMIT -5 2", r#"["-1" "1.5"]"#);
                gives("LIMIT 2 -1", r#"["2" "3" "10"]"#);
            }
        }
        gives(&mut bench, "SORT l BY nosort", r#"["3" "10" "2" "-1" "1.5"]"#);
        gives(&mut bench, "SORT l BY nosort DESC LIMIT 1 2", r#"["-1" "2"]"#);
        gives(&mut bench, "SORT z BY nosort LIMIT 1 2", r#"["10" "2"]"#);
        gives(&mut bench, "SORT z BY nosort DESC LIMIT 0 2", r#"["1.5" "-1"]"#);
        gives(&mut bench, "SORT none", "[]");
    }

    #[test]
    fn elements_are_sorted_by_what_lies_elsewhere() {
        let mut bench = bench("1 2 3 4");
        for (key, weight) in [("w_1", "30"), ("w_2", "20"), ("w_3", "1e1")] {
            bench.run(&format!("SET {key} {weight}"));
            bench.run(&format!("HSET h_{} f {weight}", &key[2..]));
        }
        bench.run("SET o_2 two");
        gives(&mut bench, "SORT l BY w_*", r#"["4" "3" "2" "1"]"#);
        gives(&mut bench, "SORT l BY w_* DESC LIMIT 0 1", r#"["1"]"#);
        gives(&mut bench, "SORT l BY w_* ALPHA", r#"["4" "3" "2" "1"]"#);
        gives(&mut bench, "SORT l BY w_* ALPHA DESC", r#"["1" "2" "3" "4"]"#);
        gives(&mut bench, "SORT l GET o_*", r#"[nil "two" nil nil]"#);
        gives(&mut bench, "SORT l BY w_* GET # GET o_* GET x LIMIT 2 1", r#"["2" "two" nil]"#);
        gives(&mut bench, "SORT l BY l*", r#"["1" "2" "3" "4"]"#);
        gives(&mut bench, "SORT l GET w_*->f LIMIT 0 1", "[nil]");
    }

    #[test]
    fn fields_of_hashes_are_found() {
        let mut bench = bench("1 2 3");
        for (key, weight) in [("h_1", 9), ("h_2", 8), ("h_3", 7)] {
            let mut hash = crate::types::hash::Hash::new();
            let (limits, hasher) = (Default::default(), crate::hash::Hasher::default());
            hash.set(b"f", weight.to_string().as_bytes(), 0, &limits, &hasher);
            bench.put(key, Value::Hash(Box::new(hash)));
        }
        gives(&mut bench, "SORT l BY h_*->f", r#"["3" "2" "1"]"#);
        gives(&mut bench, "SORT l GET h_*->f", r#"["9" "8" "7"]"#);
        gives(&mut bench, "SORT l GET h_*->g LIMIT 0 1", "[nil]");
        gives(&mut bench, "SORT l GET h_* LIMIT 0 1", "[nil]");
        gives(&mut bench, "SORT l GET h_*-> LIMIT 0 1", "[nil]");
        bench.run("SET x_1-> y");
        gives(&mut bench, "SORT l GET x_*-> LIMIT 0 1", r#"["y"]"#);
    }

    #[test]
    fn equal_scores_are_ordered_by_element() {
        let mut bench = bench("c a b 10 9");
        gives(&mut bench, "SORT l BY w_*", r#"["10" "9" "a" "b" "c"]"#);
        gives(&mut bench, "SORT l BY w_* DESC", r#"["c" "b" "a" "9" "10"]"#);
        gives(&mut bench, "SORT l BY w_* ALPHA", r#"["c" "a" "b" "10" "9"]"#);
    }

    #[test]
    fn scores_are_numbers() {
        let not_a_score = "-ERR One or more scores can't be converted into double";
        gives(&mut bench("1 a"), "SORT l", not_a_score);
        gives(&mut bench("1 nan"), "SORT l", not_a_score);
        gives(&mut bench("1 inf -inf 0x10"), "SORT l", r#"["-inf" "1" "0x10" "inf"]"#);
        let mut bench = bench("1 2");
        bench.run("SET w_1 foo");
        gives(&mut bench, "SORT l BY w_*", not_a_score);
        bench.run("SET w_1 \" 5\"");
        gives(&mut bench, "SORT l BY w_*", r#"["2" "1"]"#);
        bench.run("SET w_1 \"\"");
        gives(&mut bench, "SORT l BY w_*", r#"["1" "2"]"#);
    }

    #[test]
    fn results_are_stored() {
        let mut bench = bench("3 1 2");
        bench.run("SET d v EX 100");
        bench.events();
        bench.effects();
        gives(&mut bench, "SORT l STORE d", "3");
        assert_eq!(bench.effects(), ["0: SORT l STORE d"]);
        assert_eq!(bench.events(), ["sortstore d"]);
        gives(&mut bench, "TTL d", "-1");
        gives(&mut bench, "SORT d BY nosort", r#"["1" "2" "3"]"#);
        gives(&mut bench, "SORT s BY nosort STORE d DESC", "3");
        gives(&mut bench, "SORT d BY nosort", r#"["3" "2" "1"]"#);
        bench.run("SET o_1 x");
        gives(&mut bench, "SORT l GET o_* GET # STORE d", "6");
        gives(&mut bench, "SORT d BY nosort", r#"["x" "1" "" "2" "" "3"]"#);
        gives(&mut bench, "SORT l STORE l", "3");
        gives(&mut bench, "SORT l BY nosort", r#"["1" "2" "3"]"#);
        bench.events();
        gives(&mut bench, "SORT none STORE d", "0");
        assert_eq!(bench.events(), ["keymiss none", "del d"]);
        gives(&mut bench, "EXISTS d", "0");
        assert_eq!(bench.shard.stats.dirty, 3 + 3 + 6 + 3 + 1 + 2);
    }

    #[test]
    fn refusals() {
        let mut bench = bench("1 2");
        let syntax = "-ERR syntax error";
        for line in
            ["SORT l FOO", "SORT l BY", "SORT l GET", "SORT l LIMIT 1", "SORT l STORE", "SORT_RO l STORE d"]
        {
            gives(&mut bench, line, syntax);
        }
        gives(&mut bench, "SORT l LIMIT a 1", "-ERR value is not an integer or out of range");
        bench.run("SET k v");
        gives(&mut bench, "SORT k", WRONG_TYPE);
        bench.settings.cluster_enabled = true;
        let denied = "denied in Cluster mode when keys formed by the pattern may be in different slots.";
        gives(&mut bench, "SORT l BY w_*", &format!("-ERR BY option of SORT {denied}"));
        gives(&mut bench, "SORT l GET o", &format!("-ERR GET option of SORT {denied}"));
        gives(&mut bench, "SORT l BY {l}w_* GET # GET {l}*", "[\"1\" nil \"2\" nil]");
    }
}
