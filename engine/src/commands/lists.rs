//! Lists. The commands that wait are in [`super::blocking_lists`].
//!
//! A pop writes the element straight from the list into the reply and only then removes it: nothing is
//! allocated on the way.

use crate::command::{Args, Arity, Category, Command, Flag::*, Group, KeyFlag::*, Run, key, numkeys};
use crate::context::Context;
use crate::error::CommandError;
use crate::keyspace::notify::Class;
use crate::number::parse_i64;
use crate::reply::{Out, Reply};
use crate::settings::Settings;
use crate::types::list::{End, List, NodeLimit, Side};
use crate::types::listpack::IntText;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "LINDEX",
        arity: Arity::Exactly(3),
        flags: &[ReadOnly],
        acl: &[Category::List],
        keys: &[key(1, &[Ro, Access])],
        group: Group::List,
        since: "1.0.0",
        complexity: "O(n) for n elements before the index, O(1) at both ends",
        summary: "Returns the element at an index.",
        run: Run::Keys(lindex),
        ..Command::BASE
    },
    Command {
        name: "LINSERT",
        arity: Arity::Exactly(5),
        flags: &[Write, DenyOom],
        acl: &[Category::List],
        keys: &[key(1, &[Rw, Insert])],
        group: Group::List,
        since: "2.2.0",
        complexity: "O(n) for n elements before the pivot",
        summary: "Inserts an element next to the first one that equals a pivot.",
        run: Run::Keys(linsert),
        ..Command::BASE
    },
    Command {
        name: "LLEN",
        arity: Arity::Exactly(2),
        flags: &[ReadOnly, Fast],
        acl: &[Category::List],
        keys: &[key(1, &[Ro])],
        group: Group::List,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Tells how many elements a list has.",
        run: Run::Keys(llen),
        ..Command::BASE
    },
    Command {
        name: "LMOVE",
        arity: Arity::Exactly(5),
        flags: &[Write, DenyOom],
        acl: &[Category::List],
        keys: &[key(1, &[Rw, Access, Delete]), key(2, &[Rw, Insert])],
        group: Group::List,
        since: "6.2.0",
        complexity: "O(1)",
        summary: "Moves an element from one end of a list to an end of another list, or of the same.",
        run: Run::Keys(lmove),
        ..Command::BASE
    },
    Command {
        name: "LMPOP",
        arity: Arity::AtLeast(4),
        flags: &[Write],
        acl: &[Category::List],
        keys: &[numkeys(1, &[Rw, Access, Delete])],
        group: Group::List,
        since: "7.0.0",
        complexity: "O(n + m) for n keys and m popped elements",
        summary: "Pops elements from the first list that has some.",
        run: Run::Keys(lmpop),
        ..Command::BASE
    },
    Command {
        name: "LPOP",
        arity: Arity::AtLeast(2),
        flags: &[Write, Fast],
        acl: &[Category::List],
        keys: &[key(1, &[Rw, Access, Delete])],
        group: Group::List,
        since: "1.0.0",
        complexity: "O(n) for n popped elements",
        summary: "Pops elements from the head of a list.",
        run: Run::Keys(lpop),
        ..Command::BASE
    },
    Command {
        name: "LPOS",
        arity: Arity::AtLeast(3),
        flags: &[ReadOnly],
        acl: &[Category::List],
        keys: &[key(1, &[Ro, Access])],
        group: Group::List,
        since: "6.0.6",
        complexity: "O(n) for n elements looked at",
        summary: "Finds where in a list elements with a value are.",
        run: Run::Keys(lpos),
        ..Command::BASE
    },
    Command {
        name: "LPUSH",
        arity: Arity::AtLeast(3),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::List],
        keys: &[key(1, &[Rw, Insert])],
        group: Group::List,
        since: "1.0.0",
        complexity: "O(n) for n elements",
        summary: "Adds elements at the head of a list, creating it when the key is absent.",
        run: Run::Keys(lpush),
        ..Command::BASE
    },
    Command {
        name: "LPUSHX",
        arity: Arity::AtLeast(3),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::List],
        keys: &[key(1, &[Rw, Insert])],
        group: Group::List,
        since: "2.2.0",
        complexity: "O(n) for n elements",
        summary: "Adds elements at the head of a list that exists.",
        run: Run::Keys(lpushx),
        ..Command::BASE
    },
    Command {
        name: "LRANGE",
        arity: Arity::Exactly(4),
        flags: &[ReadOnly],
        acl: &[Category::List],
        keys: &[key(1, &[Ro, Access])],
        group: Group::List,
        since: "1.0.0",
        complexity: "O(s + n) for a start s elements from the nearer end, and n returned elements",
        summary: "Returns the elements between two indexes.",
        run: Run::Keys(lrange),
        ..Command::BASE
    },
    Command {
        name: "LREM",
        arity: Arity::Exactly(4),
        flags: &[Write],
        acl: &[Category::List],
        keys: &[key(1, &[Rw, Delete])],
        group: Group::List,
        since: "1.0.0",
        complexity: "O(n) for n elements in the list",
        summary: "Removes elements that equal a value.",
        run: Run::Keys(lrem),
        ..Command::BASE
    },
    Command {
        name: "LSET",
        arity: Arity::Exactly(4),
        flags: &[Write, DenyOom],
        acl: &[Category::List],
        keys: &[key(1, &[Rw, Update])],
        group: Group::List,
        since: "1.0.0",
        complexity: "O(n) for n elements before the index, O(1) at both ends",
        summary: "Replaces the element at an index.",
        run: Run::Keys(lset),
        ..Command::BASE
    },
    Command {
        name: "LTRIM",
        arity: Arity::Exactly(4),
        flags: &[Write],
        acl: &[Category::List],
        keys: &[key(1, &[Rw, Delete])],
        group: Group::List,
        since: "1.0.0",
        complexity: "O(n) for n removed elements",
        summary: "Removes all elements but those between two indexes.",
        run: Run::Keys(ltrim),
        ..Command::BASE
    },
    Command {
        name: "RPOP",
        arity: Arity::AtLeast(2),
        flags: &[Write, Fast],
        acl: &[Category::List],
        keys: &[key(1, &[Rw, Access, Delete])],
        group: Group::List,
        since: "1.0.0",
        complexity: "O(n) for n popped elements",
        summary: "Pops elements from the tail of a list.",
        run: Run::Keys(rpop),
        ..Command::BASE
    },
    Command {
        name: "RPOPLPUSH",
        arity: Arity::Exactly(3),
        flags: &[Write, DenyOom],
        acl: &[Category::List],
        keys: &[key(1, &[Rw, Access, Delete]), key(2, &[Rw, Insert])],
        group: Group::List,
        since: "1.2.0",
        deprecated: Some(("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments")),
        complexity: "O(1)",
        summary: "Moves the last element of a list to the head of another list, or of the same.",
        run: Run::Keys(rpoplpush),
        ..Command::BASE
    },
    Command {
        name: "RPUSH",
        arity: Arity::AtLeast(3),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::List],
        keys: &[key(1, &[Rw, Insert])],
        group: Group::List,
        since: "1.0.0",
        complexity: "O(n) for n elements",
        summary: "Adds elements at the tail of a list, creating it when the key is absent.",
        run: Run::Keys(rpush),
        ..Command::BASE
    },
    Command {
        name: "RPUSHX",
        arity: Arity::AtLeast(3),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::List],
        keys: &[key(1, &[Rw, Insert])],
        group: Group::List,
        since: "2.2.0",
        complexity: "O(n) for n elements",
        summary: "Adds elements at the tail of a list that exists.",
        run: Run::Keys(rpushx),
        ..Command::BASE
    },
];

// ---- pushing -----------------------------------------------------------------------------------------------

fn lpush(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    push(ctx, args, End::Head)
}

fn rpush(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    push(ctx, args, End::Tail)
}

fn lpushx(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    push_existing(ctx, args, End::Head)
}

fn rpushx(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    push_existing(ctx, args, End::Tail)
}

fn push(ctx: &mut Context<'_>, mut args: Args<'_>, end: End) -> Result<Reply, CommandError> {
    let (key, elements) = (args.required()?, args.rest());
    let list = ctx.keyspace.list_or_new(key)?;
    list.extend(end, elements.iter().copied(), limit(ctx.settings));
    let len = list.len();
    pushed(ctx, key, end, elements.len());
    Ok(len.into())
}

fn push_existing(ctx: &mut Context<'_>, mut args: Args<'_>, end: End) -> Result<Reply, CommandError> {
    let (key, elements) = (args.required()?, args.rest());
    let Some(list) = ctx.keyspace.list_mut(key)? else {
        return Ok(Reply::Integer(0));
    };
    list.extend(end, elements.iter().copied(), limit(ctx.settings));
    let len = list.len();
    pushed(ctx, key, end, elements.len());
    Ok(len.into())
}

fn pushed(ctx: &mut Context<'_>, key: &[u8], end: End, count: usize) {
    ctx.keyspace.modified_by(key, count as u64);
    ctx.keyspace.notify(Class::List, if end == End::Head { "lpush" } else { "rpush" }, key);
}

fn linsert(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let (key, side, pivot, element) = (args.get(1), args.get(2), args.get(3), args.get(4));
    let side = match () {
        () if side.eq_ignore_ascii_case(b"after") => Side::After,
        () if side.eq_ignore_ascii_case(b"before") => Side::Before,
        () => return Err(CommandError::Syntax),
    };
    let Some(list) = ctx.keyspace.list_mut(key)? else {
        return Ok(Reply::Integer(0));
    };
    if !list.insert(side, pivot, element, limit(ctx.settings)) {
        return Ok(Reply::Integer(-1));
    }
    let len = list.len();
    ctx.keyspace.modified(key);
    ctx.keyspace.notify(Class::List, "linsert", key);
    Ok(len.into())
}

fn lset(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let (key, index, element) = (args.get(1), args.get(2), args.get(3));
    let list = ctx.keyspace.list_mut(key)?.ok_or(CommandError::NoSuchKey)?;
    let index = parse_i64(index).ok_or(CommandError::NotInteger)?;
    if !list.set(index, element, limit(ctx.settings)) {
        return Err(CommandError::IndexOutOfRange);
    }
    ctx.keyspace.modified(key);
    ctx.keyspace.notify(Class::List, "lset", key);
    Ok(Reply::Ok)
}

// ---- popping -----------------------------------------------------------------------------------------------

fn lpop(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    pop(ctx, args, End::Head, "lpop")
}

fn rpop(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    pop(ctx, args, End::Tail, "rpop")
}

fn pop(ctx: &mut Context<'_>, args: Args<'_>, end: End, name: &str) -> Result<Reply, CommandError> {
    let key = args.get(1);
    let count = match args.count() {
        2 => None,
        3 => Some(positive(args.get(2)).ok_or(CommandError::NotPositive)?),
        _ => return Err(CommandError::Arity(name.to_owned())),
    };
    let popped = match count {
        None => pop_one(ctx, key, end)?,
        Some(count) => pop_many(ctx, key, end, count, |_| {})?.is_some(),
    };
    Ok(match (popped, count) {
        (true, _) => Reply::Written,
        (false, None) => Reply::Null,
        (false, Some(_)) => Reply::NullArray,
    })
}

fn lmpop(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let pop = MultiPop::parse(&mut args)?;
    Ok(if pop.run(ctx)? { Reply::Written } else { Reply::NullArray })
}

/// LMPOP and BLMPOP: `numkeys key [key ...] LEFT|RIGHT [COUNT count]`.
pub(super) struct MultiPop<'a> {
    keys: &'a [&'a [u8]],
    end: End,
    count: usize,
}

impl<'a> MultiPop<'a> {
    /// Reads the arguments from `numkeys` on.
    pub fn parse(args: &mut Args<'a>) -> Result<Self, CommandError> {
        const NO_KEYS: CommandError = CommandError::text("ERR numkeys should be greater than 0");
        const NO_COUNT: CommandError = CommandError::text("ERR count should be greater than 0");

        let at_least_one = |text: &[u8]| positive(text).filter(|&n| n > 0);
        let keys = at_least_one(args.required()?).ok_or(NO_KEYS)?;
        let first = args.position();
        let last = first.saturating_add(keys);
        let keys = args.all().get(first..last).ok_or(CommandError::Syntax)?;
        args.seek(last);
        let end = parse_end(args.required()?)?;
        let mut count = None;
        while let Some(word) = args.take() {
            if count.is_some() || !word.eq_ignore_ascii_case(b"count") {
                return Err(CommandError::Syntax);
            }
            count = Some(at_least_one(args.required()?).ok_or(NO_COUNT)?);
        }
        Ok(MultiPop { keys, end, count: count.unwrap_or(1) })
    }

    /// Pops from the first list that is there and writes its name and the elements; false when none is there.
    pub fn run(&self, ctx: &mut Context<'_>) -> Result<bool, CommandError> {
        for &key in self.keys {
            let head = |out: &mut Out| {
                out.array(2);
                out.bulk(key);
            };
            if let Some(popped) = pop_many(ctx, key, self.end, self.count, head)? {
                let mut count = itoa::Buffer::new();
                ctx.keyspace.propagate(&[pop_name(self.end), key, count.format(popped).as_bytes()]);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Pops the element at one end and writes it; false when there is no list.
pub(super) fn pop_one(ctx: &mut Context<'_>, key: &[u8], end: End) -> Result<bool, CommandError> {
    let Some(list) = ctx.keyspace.list_mut(key)? else {
        return Ok(false);
    };
    let Some(element) = list.end(end) else {
        return Ok(false);
    };
    ctx.out.entry(element);
    list.discard(end, limit(ctx.settings));
    let emptied = list.is_empty();
    popped(ctx, key, end, 1, emptied);
    Ok(true)
}

/// Pops up to `count` elements and writes them as an array, after what `head` writes. How many there were;
/// `None` when there is no list.
fn pop_many(
    ctx: &mut Context<'_>,
    key: &[u8],
    end: End,
    count: usize,
    head: impl FnOnce(&mut Out),
) -> Result<Option<usize>, CommandError> {
    let Some(list) = ctx.keyspace.list_mut(key)? else {
        return Ok(None);
    };
    let len = list.len();
    let count = count.min(len);
    head(ctx.out);
    ctx.out.array(count);
    if count == 0 {
        return Ok(Some(0));
    }
    match end {
        End::Head => list.range(0, count).for_each(|element| ctx.out.entry(element)),
        End::Tail => list.range_back(len - 1, count).for_each(|element| ctx.out.entry(element)),
    }
    list.remove_range(if end == End::Head { 0 } else { len - count }, count, limit(ctx.settings));
    let emptied = list.is_empty();
    popped(ctx, key, end, count, emptied);
    Ok(Some(count))
}

fn popped(ctx: &mut Context<'_>, key: &[u8], end: End, count: usize, emptied: bool) {
    ctx.keyspace.notify(Class::List, if end == End::Head { "lpop" } else { "rpop" }, key);
    if emptied {
        ctx.keyspace.remove_if_empty(key);
    }
    ctx.keyspace.modified_by(key, count as u64);
}

/// The command that pops at this end.
pub(super) fn pop_name(end: End) -> &'static [u8] {
    match end {
        End::Head => b"LPOP",
        End::Tail => b"RPOP",
    }
}

// ---- moving ------------------------------------------------------------------------------------------------

fn lmove(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let (from, to) = (parse_end(args.get(3))?, parse_end(args.get(4))?);
    let moved = move_element(ctx, args.get(1), args.get(2), from, to)?;
    Ok(if moved { Reply::Written } else { Reply::Null })
}

fn rpoplpush(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let moved = move_element(ctx, args.get(1), args.get(2), End::Tail, End::Head)?;
    Ok(if moved { Reply::Written } else { Reply::Null })
}

/// Moves an element and writes it; false when there is nothing to move.
pub(super) fn move_element(
    ctx: &mut Context<'_>,
    source: &[u8],
    destination: &[u8],
    from: End,
    to: End,
) -> Result<bool, CommandError> {
    let limit = limit(ctx.settings);
    let Some(list) = ctx.keyspace.list_mut(source)? else {
        return Ok(false);
    };
    let mut emptied = false;
    if source == destination {
        let Some(element) = list.rotate(from, to, limit) else {
            return Ok(false);
        };
        ctx.out.entry(element.as_entry());
    } else {
        ctx.keyspace.list_mut(destination)?;
        let Some(list) = ctx.keyspace.list_mut(source)? else {
            return Ok(false);
        };
        let Some(element) = list.end(from) else {
            return Ok(false);
        };
        let mut text = IntText::default();
        let text_len = element.as_slice(&mut text).len();
        ctx.out.entry(element);
        list.discard(from, limit);
        emptied = list.is_empty();
        // The reply holds the element now, before its line end: it is pushed from there.
        let end = ctx.out.len() - 2;
        let element = &ctx.out.as_bytes()[end - text_len..end];
        ctx.keyspace.list_or_new(destination)?.extend(to, std::iter::once(element), limit);
    }
    pushed(ctx, destination, to, 0);
    popped(ctx, source, from, 1, emptied);
    Ok(true)
}

// ---- reading -----------------------------------------------------------------------------------------------

fn llen(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    Ok(ctx.keyspace.list(args.get(1))?.map_or(0, List::len).into())
}

fn lindex(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let Some(list) = ctx.keyspace.list(args.get(1))? else {
        return Ok(Reply::Null);
    };
    let Some(element) = list.get(parse_i64(args.get(2)).ok_or(CommandError::NotInteger)?) else {
        return Ok(Reply::Null);
    };
    ctx.out.entry(element);
    Ok(Reply::Written)
}

fn lrange(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let (key, start, stop) = (args.required()?, args.integer()?, args.integer()?);
    let Some(list) = ctx.keyspace.list(key)? else {
        ctx.out.array(0);
        return Ok(Reply::Written);
    };
    let span = list.span(start, stop);
    ctx.out.array(span.len());
    list.range(span.start, span.len()).for_each(|element| ctx.out.entry(element));
    Ok(Reply::Written)
}

fn lpos(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let (key, value) = (args.required()?, args.required()?);
    let options = PositionOptions::parse(&mut args)?;
    let list = ctx.keyspace.list(key)?;
    let mut found =
        list.into_iter().flat_map(|list| list.positions(value, options.rank, options.looked_at_max));
    let Some(count) = options.count else {
        return Ok(found.next().map_or(Reply::Null, Reply::from));
    };
    let (place, mut written) = (ctx.out.deferred(), 0);
    for index in found.take(if count == 0 { usize::MAX } else { count }) {
        ctx.out.integer(index as i64);
        written += 1;
    }
    ctx.out.fill_array(place, written);
    Ok(Reply::Written)
}

/// The options of LPOS.
struct PositionOptions {
    rank: i64,
    /// `None`: one number rather than an array. 0: all.
    count: Option<usize>,
    /// 0: all.
    looked_at_max: usize,
}

impl PositionOptions {
    fn parse(args: &mut Args<'_>) -> Result<Self, CommandError> {
        const NO_RANK: CommandError = CommandError::text(
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... \
             or use negative to start from the end of the list",
        );
        const COUNT: CommandError = CommandError::text("ERR COUNT can't be negative");
        const MAX_LEN: CommandError = CommandError::text("ERR MAXLEN can't be negative");

        let mut options = PositionOptions { rank: 1, count: None, looked_at_max: 0 };
        while args.left() > 0 {
            if args.word("RANK") {
                options.rank = negatable(args.required()?)?;
                if options.rank == 0 {
                    return Err(NO_RANK);
                }
            } else if args.word("COUNT") {
                options.count = Some(positive(args.required()?).ok_or(COUNT)?);
            } else if args.word("MAXLEN") {
                options.looked_at_max = positive(args.required()?).ok_or(MAX_LEN)?;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }
}

// ---- removing ----------------------------------------------------------------------------------------------

fn lrem(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let (key, count, value) = (args.get(1), negatable(args.get(2))?, args.get(3));
    let Some(list) = ctx.keyspace.list_mut(key)? else {
        return Ok(Reply::Integer(0));
    };
    let removed = list.remove_value(count, value, limit(ctx.settings));
    if removed > 0 {
        shortened(ctx, key, "lrem", removed);
    }
    Ok(removed.into())
}

fn ltrim(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let (key, start, stop) = (args.required()?, args.integer()?, args.integer()?);
    if let Some(list) = ctx.keyspace.list_mut(key)? {
        let removed = list.trim(start, stop, limit(ctx.settings));
        shortened(ctx, key, "ltrim", removed);
    }
    Ok(Reply::Ok)
}

fn shortened(ctx: &mut Context<'_>, key: &[u8], event: &'static str, count: usize) {
    ctx.keyspace.notify(Class::List, event, key);
    ctx.keyspace.remove_if_empty(key);
    ctx.keyspace.modified_by(key, count as u64);
}

// ---- arguments ---------------------------------------------------------------------------------------------

fn limit(settings: &Settings) -> NodeLimit {
    settings.node_limit()
}

/// `LEFT` or `RIGHT`.
pub(super) fn parse_end(word: &[u8]) -> Result<End, CommandError> {
    match word {
        word if word.eq_ignore_ascii_case(b"left") => Ok(End::Head),
        word if word.eq_ignore_ascii_case(b"right") => Ok(End::Tail),
        _ => Err(CommandError::Syntax),
    }
}

/// An integer from 0 on.
fn positive(text: &[u8]) -> Option<usize> {
    parse_i64(text).and_then(|n| usize::try_from(n).ok())
}

/// An integer whose negative is one, too.
fn negatable(text: &[u8]) -> Result<i64, CommandError> {
    const OUT_OF_RANGE: CommandError = CommandError::text(
        "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
    );
    let n = parse_i64(text).ok_or(CommandError::NotInteger)?;
    n.checked_neg().map(|_| n).ok_or(OUT_OF_RANGE)
}

#[cfg(test)]
mod tests {
    use crate::keyspace::{Keyspace, ValueRef};
    use crate::testing::{Bench, WRONG_TYPE, check, check3};
    use proptest::prelude::*;

    const NOT_INTEGER: &str = "-ERR value is not an integer or out of range";
    const NOT_POSITIVE: &str = "-ERR value is out of range, must be positive";
    const SYNTAX: &str = "-ERR syntax error";
    const ABC: &str = "RPUSH l a b c";

    /// As `check`, after making the list `l` of `a b c`.
    #[track_caller]
    fn check_abc(script: &str, reply: &str) {
        check(&format!("{ABC}; {script}"), reply);
    }

    /// Events and effects of one command.
    #[track_caller]
    fn check_traces(setup: &str, command: &str, events: &[&str], effects: &[&str]) {
        let mut bench = Bench::new();
        setup.split(';').for_each(|line| drop(bench.run(line.trim())));
        bench.events();
        bench.effects();
        bench.run(command);
        let effects: Vec<String> = effects.iter().map(|effect| format!("0: {effect}")).collect();
        assert_eq!(bench.events(), events, "{command}");
        assert_eq!(bench.effects(), effects, "{command}");
    }

    fn keyspace(bench: &mut Bench) -> Keyspace<'_> {
        Keyspace::one(&mut bench.shard, &bench.settings, bench.db, bench.now_ms)
    }

    fn encoding(bench: &mut Bench, key: &[u8]) -> &'static str {
        match keyspace(bench).peek(key) {
            Some(ValueRef::List(list)) => list.encoding(),
            _ => "none",
        }
    }

    #[test]
    fn pushes() {
        check(ABC, "3");
        check_abc("LRANGE l 0 -1", r#"["a" "b" "c"]"#);
        check("LPUSH l a b c; LRANGE l 0 -1", r#"["c" "b" "a"]"#);
        check_abc("LPUSH l 1 2; LRANGE l 0 -1", r#"["2" "1" "a" "b" "c"]"#);
        check("LPUSHX l a", "0");
        check("RPUSHX l a; LLEN l", "0");
        check_abc("LPUSHX l x y", "5");
        check_abc("RPUSHX l x y; LINDEX l -1", "\"y\"");
        check("LPUSH l", "-ERR wrong number of arguments for 'lpush' command");
        for push in ["LPUSH", "RPUSH", "LPUSHX", "RPUSHX"] {
            check(&format!("SET l v; {push} l a"), WRONG_TYPE);
        }
        check_traces("SET a b", "RPUSH l a b", &["new l", "rpush l"], &["RPUSH l a b"]);
        check_traces(ABC, "LPUSH l a b", &["lpush l"], &["LPUSH l a b"]);
        check_traces(ABC, "LPUSHX m a", &[], &[]);
    }

    #[test]
    fn pops_one() {
        check_abc("LPOP l", "\"a\"");
        check_abc("RPOP l", "\"c\"");
        check_abc("LPOP l; LRANGE l 0 -1", r#"["b" "c"]"#);
        check("RPUSH l 12; RPOP l", "\"12\"");
        check("RPUSH l a; RPOP l; LLEN l", "0");
        check("LPOP l", "nil");
        check("SET l v; LPOP l", WRONG_TYPE);
        check_traces("RPUSH l a b", "LPOP l", &["lpop l"], &["LPOP l"]);
        check_traces("RPUSH l a", "RPOP l", &["rpop l", "del l"], &["RPOP l"]);
        check_traces("RPUSH l a", "RPOP m", &[], &[]);
    }

    #[test]
    fn pops_many() {
        check_abc("LPOP l 2", r#"["a" "b"]"#);
        check_abc("RPOP l 2", r#"["c" "b"]"#);
        check_abc("RPOP l 2; LRANGE l 0 -1", r#"["a"]"#);
        check_abc("LPOP l 9; LLEN l", "0");
        check_abc("LPOP l 0", "[]");
        check("LPOP l 0", "nil");
        check3("LPOP l 2", "nil");
        check("LPOP l -1", NOT_POSITIVE);
        check("SET l v; LPOP l x", NOT_POSITIVE);
        check("SET l v; LPOP l 0", WRONG_TYPE);
        check("SET l v; LPOP l 1 2", "-ERR wrong number of arguments for 'lpop' command");
        check("RPOP l 1 2", "-ERR wrong number of arguments for 'rpop' command");
        check_traces(ABC, "LPOP l 0", &[], &[]);
        check_traces(ABC, "LPOP l 5", &["lpop l", "del l"], &["LPOP l 5"]);
    }

    #[test]
    fn pops_from_the_first_list() {
        check_abc("LMPOP 2 none l LEFT", r#"["l" ["a"]]"#);
        check_abc("LMPOP 2 none l RIGHT COUNT 2", r#"["l" ["c" "b"]]"#);
        check_abc("LMPOP 1 l left count 9; LLEN l", "0");
        check("LMPOP 2 k l LEFT", "nil");
        check("SET k v; RPUSH l a; LMPOP 2 k l LEFT", WRONG_TYPE);
        check("SET k v; RPUSH l a; LMPOP 2 l k LEFT", r#"["l" ["a"]]"#);
        for numkeys in ["0", "-1", "x"] {
            check(&format!("LMPOP {numkeys} l LEFT"), "-ERR numkeys should be greater than 0");
        }
        for count in ["0", "-1", "x"] {
            check(&format!("LMPOP 1 l LEFT COUNT {count}"), "-ERR count should be greater than 0");
        }
        check("LMPOP 2 l LEFT", SYNTAX);
        check("LMPOP 3 l LEFT", SYNTAX);
        check("LMPOP 9223372036854775807 l LEFT", SYNTAX);
        check("LMPOP 1 l UP", SYNTAX);
        check("LMPOP 1 l LEFT COUNT", SYNTAX);
        check("LMPOP 1 l LEFT COUNT 1 COUNT 1", SYNTAX);
        check("LMPOP 1 l LEFT 2", SYNTAX);
        check_traces(ABC, "LMPOP 2 k l LEFT COUNT 5", &["lpop l", "del l"], &["LPOP l 3"]);
        check_traces(ABC, "LMPOP 1 l RIGHT", &["rpop l"], &["RPOP l 1"]);
        check_traces(ABC, "LMPOP 1 m RIGHT", &[], &[]);
    }

    #[test]
    fn moves() {
        check_abc("LMOVE l m LEFT RIGHT", "\"a\"");
        check_abc("RPUSH m x; LMOVE l m RIGHT LEFT; LRANGE m 0 -1", r#"["c" "x"]"#);
        check_abc("RPUSH m x; LMOVE l m left right; LRANGE m 0 -1", r#"["x" "a"]"#);
        check_abc("RPOPLPUSH l l; LRANGE l 0 -1", r#"["c" "a" "b"]"#);
        check_abc("LMOVE l l LEFT LEFT; LRANGE l 0 -1", r#"["a" "b" "c"]"#);
        check("RPUSH l -7; RPOPLPUSH l m", "\"-7\"");
        check("RPUSH l -7; RPOPLPUSH l m; LRANGE m 0 -1", r#"["-7"]"#);
        check("RPUSH l a; RPOPLPUSH l l", "\"a\"");
        check("RPUSH l a; RPOPLPUSH l m; LLEN l", "0");
        check("RPOPLPUSH l m", "nil");
        check("SET m v; RPOPLPUSH l m", "nil");
        check("SET m v; LMOVE l m LEFT RIGHT", "nil");
        check("SET l v; RPOPLPUSH l m", WRONG_TYPE);
        check_abc("SET m v; RPOPLPUSH l m", WRONG_TYPE);
        check("SET l v; LMOVE l m UP DOWN", SYNTAX);
        check("LMOVE l m LEFT DOWN", SYNTAX);
        let events = ["new m", "rpush m", "lpop l", "del l"];
        check_traces("RPUSH l a", "LMOVE l m LEFT RIGHT", &events, &["LMOVE l m LEFT RIGHT"]);
        check_traces("RPUSH l a", "RPOPLPUSH l l", &["lpush l", "rpop l"], &["RPOPLPUSH l l"]);
        check_traces("RPUSH m a", "RPOPLPUSH l m", &[], &[]);
    }

    #[test]
    fn a_moved_element_may_be_large() {
        let mut bench = Bench::new();
        let element = vec![b'x'; 20_000];
        bench.run_args(&[b"RPUSH", b"l", b"a", &element]);
        let reply = bench.run_args(&[b"RPOPLPUSH", b"l", b"m"]);
        assert_eq!(reply, bench.run_args(&[b"LINDEX", b"m", b"0"]));
        assert_eq!(reply.len(), element.len() + "$20000\r\n\r\n".len());
        assert_eq!(encoding(&mut bench, b"l"), "listpack");
        assert_eq!(encoding(&mut bench, b"m"), "quicklist");
    }

    #[test]
    fn inserts() {
        check_abc("LINSERT l BEFORE b x", "4");
        check_abc("LINSERT l BEFORE b x; LRANGE l 0 -1", r#"["a" "x" "b" "c"]"#);
        check_abc("LINSERT l after c x; LRANGE l 0 -1", r#"["a" "b" "c" "x"]"#);
        check_abc("LINSERT l after z x", "-1");
        check("LINSERT l after z x", "0");
        check("SET l v; LINSERT l near z x", SYNTAX);
        check("SET l v; LINSERT l after z x", WRONG_TYPE);
        check_traces(ABC, "LINSERT l AFTER a x", &["linsert l"], &["LINSERT l AFTER a x"]);
        check_traces(ABC, "LINSERT l AFTER x x", &[], &[]);
    }

    #[test]
    fn sets_an_element() {
        check_abc("LSET l 1 x", "OK");
        check_abc("LSET l -1 5; LRANGE l 0 -1", r#"["a" "b" "5"]"#);
        check_abc("LSET l 3 x", "-ERR index out of range");
        check_abc("LSET l -4 x", "-ERR index out of range");
        check_abc("LSET l x x", NOT_INTEGER);
        check("LSET l x x", "-ERR no such key");
        check("SET l v; LSET l x x", WRONG_TYPE);
        check_traces(ABC, "LSET l 0 a", &["lset l"], &["LSET l 0 a"]);
        check_traces(ABC, "LSET l 9 a", &[], &[]);
    }

    #[test]
    fn reads() {
        check_abc("LLEN l", "3");
        check("LLEN l", "0");
        check("SET l v; LLEN l", WRONG_TYPE);
        check_abc("LINDEX l 1", "\"b\"");
        check_abc("LINDEX l -3", "\"a\"");
        check_abc("LINDEX l 3", "nil");
        check_abc("LINDEX l -9223372036854775808", "nil");
        check_abc("LINDEX l x", NOT_INTEGER);
        check("LINDEX l x", "nil");
        check3("LINDEX l 0", "nil");
        check("SET l v; LINDEX l x", WRONG_TYPE);
        check_abc("LRANGE l 1 1", r#"["b"]"#);
        check_abc("LRANGE l -100 100", r#"["a" "b" "c"]"#);
        check_abc("LRANGE l -2 -1", r#"["b" "c"]"#);
        check_abc("LRANGE l 2 1", "[]");
        check_abc("LRANGE l 3 9", "[]");
        check_abc("LRANGE l 0 -9", "[]");
        check("LRANGE l 0 -1", "[]");
        check("SET l v; LRANGE l 0 x", NOT_INTEGER);
        check("SET l v; LRANGE l x 0", NOT_INTEGER);
        check("SET l v; LRANGE l 0 0", WRONG_TYPE);
        check_traces(ABC, "LRANGE l 0 -1", &[], &[]);
    }

    #[test]
    fn finds_positions() {
        let list = "RPUSH l a b a c a 1";
        let check = |command: &str, reply: &str| check(&format!("{list}; {command}"), reply);
        check("LPOS l a", "0");
        check("LPOS l 1", "5");
        check("LPOS l z", "nil");
        check("LPOS l a RANK 2", "2");
        check("LPOS l a RANK -1", "4");
        check("LPOS l a RANK 4", "nil");
        check("LPOS l a COUNT 0", "[0 2 4]");
        check("LPOS l a COUNT 2", "[0 2]");
        check("LPOS l a RANK -2 COUNT 2", "[2 0]");
        check("LPOS l a MAXLEN 2 COUNT 0", "[0]");
        check("LPOS l a MAXLEN 1 RANK -1", "nil");
        check("LPOS l z COUNT 1", "[]");
        check("LPOS l a rank 2 count 1 maxlen 0", "[2]");
        check("LPOS l a RANK 9223372036854775807", "nil");
        check("LPOS l a RANK -9223372036854775807", "nil");
        check("LPOS l a COUNT 9223372036854775807", "[0 2 4]");
        check("LPOS none a", "nil");
        check("LPOS none a COUNT 1", "[]");
        check("LPOS l a RANK", SYNTAX);
        check("LPOS l a FIRST 1", SYNTAX);
        check("LPOS l a RANK x", NOT_INTEGER);
        check("LPOS l a COUNT x", "-ERR COUNT can't be negative");
        check("LPOS l a COUNT -1", "-ERR COUNT can't be negative");
        check("LPOS l a MAXLEN -1", "-ERR MAXLEN can't be negative");
        check(
            "LPOS l a RANK 0",
            "-ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... \
             or use negative to start from the end of the list",
        );
        check(
            "LPOS l a RANK -9223372036854775808",
            "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        );
        check("SET s v; LPOS s a COUNT -1", "-ERR COUNT can't be negative");
        check("SET s v; LPOS s a", WRONG_TYPE);
    }

    #[test]
    fn removes_values() {
        let list = "RPUSH l a b a c a";
        let check_list =
            |command: &str, left: &str| check(&format!("{list}; {command}; LRANGE l 0 -1"), left);
        check_list("LREM l 0 a", r#"["b" "c"]"#);
        check_list("LREM l 2 a", r#"["b" "c" "a"]"#);
        check_list("LREM l -2 a", r#"["a" "b" "c"]"#);
        check(&format!("{list}; LREM l -9223372036854775807 a"), "3");
        check(&format!("{list}; LREM l 1 z"), "0");
        check("LREM l 0 a", "0");
        check("SET l v; LREM l x a", NOT_INTEGER);
        check(
            "LREM l -9223372036854775808 a",
            "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        );
        check("SET l v; LREM l 0 a", WRONG_TYPE);
        check_traces(list, "LREM l 1 a", &["lrem l"], &["LREM l 1 a"]);
        check_traces("RPUSH l a a", "LREM l 0 a", &["lrem l", "del l"], &["LREM l 0 a"]);
        check_traces(list, "LREM l 1 z", &[], &[]);
    }

    #[test]
    fn trims() {
        check_abc("LTRIM l 1 1; LRANGE l 0 -1", r#"["b"]"#);
        check_abc("LTRIM l -2 -1; LRANGE l 0 -1", r#"["b" "c"]"#);
        check_abc("LTRIM l 2 1; LLEN l", "0");
        check("LTRIM l 0 1", "OK");
        check("SET l v; LTRIM l 0 x", NOT_INTEGER);
        check("SET l v; LTRIM l 0 1", WRONG_TYPE);
        check_traces(ABC, "LTRIM l 0 0", &["ltrim l"], &["LTRIM l 0 0"]);
        check_traces(ABC, "LTRIM l 0 -1", &["ltrim l"], &[]);
        check_traces(ABC, "LTRIM l 5 6", &["ltrim l", "del l"], &["LTRIM l 5 6"]);
        check_traces(ABC, "LTRIM m 5 6", &[], &[]);
    }

    /// The encoding after each command, with nodes of 4 elements.
    #[test]
    fn encodings_follow_growth_and_shrinking() {
        let mut bench = Bench::new();
        bench.settings.list_max_listpack_size = 4;
        for (command, expected) in [
            ("RPUSH l 1 2 3 4", "listpack"),
            ("RPUSH l 5", "quicklist"),
            ("RPOP l", "quicklist"),
            ("LPOP l", "quicklist"),
            ("LPOP l 1", "listpack"),
            ("RPUSH l 6 7", "listpack"),
            ("LINSERT l BEFORE none x", "quicklist"),
            ("LTRIM l 0 1", "listpack"),
            ("RPUSH l 6 6 6", "quicklist"),
            ("LREM l 0 6", "listpack"),
        ] {
            bench.run(command);
            assert_eq!(encoding(&mut bench, b"l"), expected, "{command}");
        }
        // Two elements, which a pop would turn into a listpack; a rotation does not see two but three.
        bench.run("RPUSH r 1 2 3 4 5");
        bench.run("LPOP r 2");
        assert_eq!(encoding(&mut bench, b"r"), "quicklist");
        bench.run("RPOPLPUSH r r");
        assert_eq!(encoding(&mut bench, b"r"), "quicklist");
        assert_eq!(bench.run("LRANGE r 0 -1"), r#"["5" "3" "4"]"#);
    }

    #[test]
    fn an_expired_list_is_absent() {
        let mut bench = Bench::new();
        bench.run("RPUSH l a");
        let at = bench.now_ms + 500;
        assert!(keyspace(&mut bench).set_expiry(b"l", Some(at)));
        assert_eq!(bench.run("LLEN l"), "1");
        bench.now_ms += 500;
        assert_eq!(bench.run("LPUSHX l a"), "0");
        assert_eq!(bench.run("RPUSH l b"), "1");
        assert_eq!(bench.run("LRANGE l 0 -1"), r#"["b"]"#);
    }

    fn command() -> impl Strategy<Value = String> {
        let key = || (0..3u8).prop_map(|n| format!("k{n}"));
        let element = || (0..8u8).prop_map(|n| if n < 4 { n.to_string() } else { format!("element{n}") });
        let elements = || proptest::collection::vec(element(), 1..6).prop_map(|all| all.join(" "));
        let end = || prop::sample::select(vec!["LEFT", "RIGHT"]);
        let one_of = |names: &[&'static str]| prop::sample::select(names.to_vec());
        prop_oneof![
            4 => (one_of(&["LPUSH", "RPUSH", "LPUSHX", "RPUSHX"]), key(), elements())
                .prop_map(|(name, k, e)| format!("{name} {k} {e}")),
            1 => (one_of(&["LPOP", "RPOP"]), key()).prop_map(|(name, k)| format!("{name} {k}")),
            1 => (one_of(&["LPOP", "RPOP"]), key(), 0..9u8).prop_map(|(name, k, n)| format!("{name} {k} {n}")),
            1 => (one_of(&["BLPOP", "BRPOP"]), key(), key()).prop_map(|(name, a, b)| format!("{name} {a} {b} 0")),
            1 => (key(), key(), end(), 1..9u8).prop_map(|(a, b, e, n)| format!("LMPOP 2 {a} {b} {e} COUNT {n}")),
            1 => (key(), key(), end(), 1..9u8).prop_map(|(a, b, e, n)| format!("BLMPOP 0 2 {a} {b} {e} COUNT {n}")),
            1 => (key(), key(), end(), end()).prop_map(|(a, b, f, t)| format!("LMOVE {a} {b} {f} {t}")),
            1 => (key(), key(), end(), end()).prop_map(|(a, b, f, t)| format!("BLMOVE {a} {b} {f} {t} 0")),
            1 => (key(), key()).prop_map(|(a, b)| format!("RPOPLPUSH {a} {b}")),
            1 => (key(), key()).prop_map(|(a, b)| format!("BRPOPLPUSH {a} {b} 0")),
            1 => (key(), one_of(&["BEFORE", "AFTER"]), element(), element())
                .prop_map(|(k, side, p, e)| format!("LINSERT {k} {side} {p} {e}")),
            1 => (key(), -9..9i8, element()).prop_map(|(k, i, e)| format!("LSET {k} {i} {e}")),
            1 => (key(), -3..3i8, element()).prop_map(|(k, n, e)| format!("LREM {k} {n} {e}")),
            1 => (key(), -9..3i8, -3..9i8).prop_map(|(k, a, b)| format!("LTRIM {k} {a} {b}")),
        ]
    }

    proptest! {
        /// The effects of commands, run on an empty key space, give the same lists.
        #[test]
        fn replaying_the_effects_gives_the_same_state(commands in proptest::collection::vec(command(), 0..80)) {
            let (mut first, mut second) = (Bench::new(), Bench::new());
            first.settings.list_max_listpack_size = 4;
            second.settings.list_max_listpack_size = 4;
            commands.iter().for_each(|line| drop(first.run(line)));
            for effect in first.effects() {
                second.run(effect.split_once(' ').expect("a database and a command").1);
            }
            for key in ["k0", "k1", "k2"] {
                let all = format!("LRANGE {key} 0 -1");
                prop_assert_eq!(first.run(&all), second.run(&all));
                let both = (encoding(&mut first, key.as_bytes()), encoding(&mut second, key.as_bytes()));
                prop_assert_eq!(first.run(&format!("LLEN {key}")) == "0", both.0 == "none");
            }
        }
    }
}
