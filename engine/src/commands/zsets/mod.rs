//! The commands of sorted sets.
//!
//! | file      | holds                                                              |
//! |-----------|--------------------------------------------------------------------|
//! | `basic`   | adding, removing, scores, ranks, random members, ZSCAN             |
//! | `range`   | ranges of ranks, scores and members: returned, counted, removed, stored |
//! | `pop`     | the lowest and the highest scores, blocking or not                 |
//! | `algebra` | union, intersection and difference                                 |

mod algebra;
mod basic;
mod pop;
mod range;
#[cfg(test)]
mod tests;

pub(super) use self::basic::{AddOptions, add_members};

use self::algebra::{zdiff, zdiffstore, zinter, zintercard, zinterstore, zunion, zunionstore};
use self::basic::{zadd, zcard, zincrby, zmscore, zrandmember, zrank, zrem, zrevrank, zscan, zscore};
use self::pop::{bzmpop, bzpopmax, bzpopmin, zmpop, zpopmax, zpopmin};
use self::range::{
    zcount, zlexcount, zrange, zrangebylex, zrangebyscore, zrangestore, zremrangebylex, zremrangebyrank,
    zremrangebyscore, zrevrange, zrevrangebylex, zrevrangebyscore,
};
use crate::command::{Arity, Category, Command, Flag::*, Group, KeyFlag::*, Run, key, keys, numkeys};
use crate::context::Context;
use crate::hash::Hasher;
use crate::keyspace::Value;
use crate::keyspace::notify::Class;
use crate::reply::{Out, Reply};
use crate::settings::Settings;
use crate::types::listpack::{IntText, LpEntry};
use crate::types::zset::{ZSet, ZSetLimits};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "BZMPOP",
        arity: Arity::AtLeast(5),
        flags: &[Write, Blocking],
        acl: &[Category::SortedSet],
        keys: &[numkeys(2, &[Rw, Access, Delete])],
        group: Group::SortedSet,
        since: "7.0.0",
        complexity: "O(s + m log n) for s keys and m members popped",
        summary: "Pops members from the first of several sets that is not empty, and waits for one when all are.",
        run: Run::Keys(bzmpop),
        ..Command::BASE
    },
    Command {
        name: "BZPOPMAX",
        arity: Arity::AtLeast(3),
        flags: &[Write, Fast, Blocking],
        acl: &[Category::SortedSet],
        keys: &[keys(1, -2, 1, &[Rw, Access, Delete])],
        group: Group::SortedSet,
        since: "5.0.0",
        complexity: "O(s + log n) for s keys",
        summary: "Pops the member with the highest score from the first of several sets that is not empty, and waits for one when all are.",
        run: Run::Keys(bzpopmax),
        ..Command::BASE
    },
    Command {
        name: "BZPOPMIN",
        arity: Arity::AtLeast(3),
        flags: &[Write, Fast, Blocking],
        acl: &[Category::SortedSet],
        keys: &[keys(1, -2, 1, &[Rw, Access, Delete])],
        group: Group::SortedSet,
        since: "5.0.0",
        complexity: "O(s + log n) for s keys",
        summary: "Pops the member with the lowest score from the first of several sets that is not empty, and waits for one when all are.",
        run: Run::Keys(bzpopmin),
        ..Command::BASE
    },
    Command {
        name: "ZADD",
        arity: Arity::AtLeast(4),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Rw, Update])],
        group: Group::SortedSet,
        since: "1.2.0",
        complexity: "O(log n) for each member added, n being the size of the set",
        summary: "Adds members with their scores, or changes the scores of members that are there; makes the set when the key is absent.",
        run: Run::Keys(zadd),
        ..Command::BASE
    },
    Command {
        name: "ZCARD",
        arity: Arity::Exactly(2),
        flags: &[ReadOnly, Fast],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Ro])],
        group: Group::SortedSet,
        since: "1.2.0",
        complexity: "O(1)",
        summary: "Counts the members.",
        run: Run::Keys(zcard),
        ..Command::BASE
    },
    Command {
        name: "ZCOUNT",
        arity: Arity::Exactly(4),
        flags: &[ReadOnly, Fast],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Ro, Access])],
        group: Group::SortedSet,
        since: "2.0.0",
        complexity: "O(log n)",
        summary: "Counts the members whose score is in a range.",
        run: Run::Keys(zcount),
        ..Command::BASE
    },
    Command {
        name: "ZDIFF",
        arity: Arity::AtLeast(3),
        flags: &[ReadOnly],
        acl: &[Category::SortedSet],
        keys: &[numkeys(1, &[Ro, Access])],
        group: Group::SortedSet,
        since: "6.2.0",
        complexity: "O(m + k log k), m being the members of all sets and k those of the result",
        summary: "Returns the members of the first set that are in none of the others.",
        run: Run::Keys(zdiff),
        ..Command::BASE
    },
    Command {
        name: "ZDIFFSTORE",
        arity: Arity::AtLeast(4),
        flags: &[Write, DenyOom],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Ow, Update]), numkeys(2, &[Ro, Access])],
        group: Group::SortedSet,
        since: "6.2.0",
        complexity: "O(m + k log k), m being the members of all sets and k those of the result",
        summary: "Stores the members of the first set that are in none of the others.",
        run: Run::Keys(zdiffstore),
        ..Command::BASE
    },
    Command {
        name: "ZINCRBY",
        arity: Arity::Exactly(4),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Rw, Access, Update])],
        group: Group::SortedSet,
        since: "1.2.0",
        complexity: "O(log n)",
        summary: "Adds to the score of a member, which starts at 0 when it is new.",
        run: Run::Keys(zincrby),
        ..Command::BASE
    },
    Command {
        name: "ZINTER",
        arity: Arity::AtLeast(3),
        flags: &[ReadOnly],
        acl: &[Category::SortedSet],
        keys: &[numkeys(1, &[Ro, Access])],
        group: Group::SortedSet,
        since: "6.2.0",
        complexity: "O(n s + k log k), n being the size of the smallest of s sets and k that of the result",
        summary: "Returns the members that are in every set, with their scores combined.",
        run: Run::Keys(zinter),
        ..Command::BASE
    },
    Command {
        name: "ZINTERCARD",
        arity: Arity::AtLeast(3),
        flags: &[ReadOnly],
        acl: &[Category::SortedSet],
        keys: &[numkeys(1, &[Ro, Access])],
        group: Group::SortedSet,
        since: "7.0.0",
        complexity: "O(n s), n being the size of the smallest of s sets",
        summary: "Counts the members that are in every set, up to a limit.",
        run: Run::Keys(zintercard),
        ..Command::BASE
    },
    Command {
        name: "ZINTERSTORE",
        arity: Arity::AtLeast(4),
        flags: &[Write, DenyOom],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Ow, Update]), numkeys(2, &[Ro, Access])],
        group: Group::SortedSet,
        since: "2.0.0",
        complexity: "O(n s + k log k), n being the size of the smallest of s sets and k that of the result",
        summary: "Stores the members that are in every set, with their scores combined.",
        run: Run::Keys(zinterstore),
        ..Command::BASE
    },
    Command {
        name: "ZLEXCOUNT",
        arity: Arity::Exactly(4),
        flags: &[ReadOnly, Fast],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Ro, Access])],
        group: Group::SortedSet,
        since: "2.8.9",
        complexity: "O(log n)",
        summary: "Counts the members between two others by their bytes, in a set whose scores are all equal.",
        run: Run::Keys(zlexcount),
        ..Command::BASE
    },
    Command {
        name: "ZMPOP",
        arity: Arity::AtLeast(4),
        flags: &[Write],
        acl: &[Category::SortedSet],
        keys: &[numkeys(1, &[Rw, Access, Delete])],
        group: Group::SortedSet,
        since: "7.0.0",
        complexity: "O(s + m log n) for s keys and m members popped",
        summary: "Pops members with the lowest or the highest scores from the first of several sets that is not empty.",
        run: Run::Keys(zmpop),
        ..Command::BASE
    },
    Command {
        name: "ZMSCORE",
        arity: Arity::AtLeast(3),
        flags: &[ReadOnly, Fast],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Ro, Access])],
        group: Group::SortedSet,
        since: "6.2.0",
        complexity: "O(m) for m members asked for",
        summary: "Returns the scores of several members.",
        run: Run::Keys(zmscore),
        ..Command::BASE
    },
    Command {
        name: "ZPOPMAX",
        arity: Arity::AtLeast(2),
        flags: &[Write, Fast],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Rw, Access, Delete])],
        group: Group::SortedSet,
        since: "5.0.0",
        complexity: "O(m log n) for m members popped",
        summary: "Pops the members with the highest scores; the key goes with the last of them.",
        run: Run::Keys(zpopmax),
        ..Command::BASE
    },
    Command {
        name: "ZPOPMIN",
        arity: Arity::AtLeast(2),
        flags: &[Write, Fast],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Rw, Access, Delete])],
        group: Group::SortedSet,
        since: "5.0.0",
        complexity: "O(m log n) for m members popped",
        summary: "Pops the members with the lowest scores; the key goes with the last of them.",
        run: Run::Keys(zpopmin),
        ..Command::BASE
    },
    Command {
        name: "ZRANDMEMBER",
        arity: Arity::AtLeast(2),
        flags: &[ReadOnly],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Ro, Access])],
        tips: &["nondeterministic_output"],
        group: Group::SortedSet,
        since: "6.2.0",
        complexity: "O(m log n) for m members returned",
        summary: "Returns random members, different ones or with repeats.",
        run: Run::Keys(zrandmember),
        ..Command::BASE
    },
    Command {
        name: "ZRANGE",
        arity: Arity::AtLeast(4),
        flags: &[ReadOnly],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Ro, Access])],
        group: Group::SortedSet,
        since: "1.2.0",
        complexity: "O(log n + m) for m members returned",
        summary: "Returns the members between two ranks, two scores or two members, in either direction.",
        run: Run::Keys(zrange),
        ..Command::BASE
    },
    Command {
        name: "ZRANGEBYLEX",
        arity: Arity::AtLeast(4),
        flags: &[ReadOnly],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Ro, Access])],
        group: Group::SortedSet,
        since: "2.8.9",
        deprecated: Some(("6.2.0", "`ZRANGE` with the option `BYLEX`")),
        complexity: "O(log n + m) for m members returned",
        summary: "Returns the members between two others by their bytes, in a set whose scores are all equal.",
        run: Run::Keys(zrangebylex),
        ..Command::BASE
    },
    Command {
        name: "ZRANGEBYSCORE",
        arity: Arity::AtLeast(4),
        flags: &[ReadOnly],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Ro, Access])],
        group: Group::SortedSet,
        since: "1.0.5",
        deprecated: Some(("6.2.0", "`ZRANGE` with the option `BYSCORE`")),
        complexity: "O(log n + m) for m members returned",
        summary: "Returns the members whose score is in a range.",
        run: Run::Keys(zrangebyscore),
        ..Command::BASE
    },
    Command {
        name: "ZRANGESTORE",
        arity: Arity::AtLeast(5),
        flags: &[Write, DenyOom],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Ow, Update]), key(2, &[Ro, Access])],
        group: Group::SortedSet,
        since: "6.2.0",
        complexity: "O(log n + m log m) for m members stored",
        summary: "Stores the members between two ranks, two scores or two members as another set.",
        run: Run::Keys(zrangestore),
        ..Command::BASE
    },
    Command {
        name: "ZRANK",
        arity: Arity::AtLeast(3),
        flags: &[ReadOnly, Fast],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Ro, Access])],
        group: Group::SortedSet,
        since: "2.0.0",
        complexity: "O(log n)",
        summary: "Returns how many members come before one, by ascending score.",
        run: Run::Keys(zrank),
        ..Command::BASE
    },
    Command {
        name: "ZREM",
        arity: Arity::AtLeast(3),
        flags: &[Write, Fast],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Rw, Delete])],
        group: Group::SortedSet,
        since: "1.2.0",
        complexity: "O(m log n) for m members removed",
        summary: "Removes members; the key goes with the last of them.",
        run: Run::Keys(zrem),
        ..Command::BASE
    },
    Command {
        name: "ZREMRANGEBYLEX",
        arity: Arity::Exactly(4),
        flags: &[Write],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Rw, Delete])],
        group: Group::SortedSet,
        since: "2.8.9",
        complexity: "O(log n + m) for m members removed",
        summary: "Removes the members between two others by their bytes, in a set whose scores are all equal.",
        run: Run::Keys(zremrangebylex),
        ..Command::BASE
    },
    Command {
        name: "ZREMRANGEBYRANK",
        arity: Arity::Exactly(4),
        flags: &[Write],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Rw, Delete])],
        group: Group::SortedSet,
        since: "2.0.0",
        complexity: "O(log n + m) for m members removed",
        summary: "Removes the members between two ranks.",
        run: Run::Keys(zremrangebyrank),
        ..Command::BASE
    },
    Command {
        name: "ZREMRANGEBYSCORE",
        arity: Arity::Exactly(4),
        flags: &[Write],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Rw, Delete])],
        group: Group::SortedSet,
        since: "1.2.0",
        complexity: "O(log n + m) for m members removed",
        summary: "Removes the members whose score is in a range.",
        run: Run::Keys(zremrangebyscore),
        ..Command::BASE
    },
    Command {
        name: "ZREVRANGE",
        arity: Arity::AtLeast(4),
        flags: &[ReadOnly],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Ro, Access])],
        group: Group::SortedSet,
        since: "1.2.0",
        deprecated: Some(("6.2.0", "`ZRANGE` with the option `REV`")),
        complexity: "O(log n + m) for m members returned",
        summary: "Returns the members between two ranks, counted from the highest score down.",
        run: Run::Keys(zrevrange),
        ..Command::BASE
    },
    Command {
        name: "ZREVRANGEBYLEX",
        arity: Arity::AtLeast(4),
        flags: &[ReadOnly],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Ro, Access])],
        group: Group::SortedSet,
        since: "2.8.9",
        deprecated: Some(("6.2.0", "`ZRANGE` with the options `REV` and `BYLEX`")),
        complexity: "O(log n + m) for m members returned",
        summary: "Returns the members between two others by their bytes, from the last to the first.",
        run: Run::Keys(zrevrangebylex),
        ..Command::BASE
    },
    Command {
        name: "ZREVRANGEBYSCORE",
        arity: Arity::AtLeast(4),
        flags: &[ReadOnly],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Ro, Access])],
        group: Group::SortedSet,
        since: "2.2.0",
        deprecated: Some(("6.2.0", "`ZRANGE` with the options `REV` and `BYSCORE`")),
        complexity: "O(log n + m) for m members returned",
        summary: "Returns the members whose score is in a range, from the highest down.",
        run: Run::Keys(zrevrangebyscore),
        ..Command::BASE
    },
    Command {
        name: "ZREVRANK",
        arity: Arity::AtLeast(3),
        flags: &[ReadOnly, Fast],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Ro, Access])],
        group: Group::SortedSet,
        since: "2.0.0",
        complexity: "O(log n)",
        summary: "Returns how many members come before one, by descending score.",
        run: Run::Keys(zrevrank),
        ..Command::BASE
    },
    Command {
        name: "ZSCAN",
        arity: Arity::AtLeast(3),
        flags: &[ReadOnly],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Ro, Access])],
        tips: &["nondeterministic_output"],
        group: Group::SortedSet,
        since: "2.8.0",
        complexity: "O(1) for each step, O(n) for a whole round",
        summary: "Goes through the members step by step, led by a cursor.",
        run: Run::Keys(zscan),
        ..Command::BASE
    },
    Command {
        name: "ZSCORE",
        arity: Arity::Exactly(3),
        flags: &[ReadOnly, Fast],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Ro, Access])],
        group: Group::SortedSet,
        since: "1.2.0",
        complexity: "O(1)",
        summary: "Returns the score of a member.",
        run: Run::Keys(zscore),
        ..Command::BASE
    },
    Command {
        name: "ZUNION",
        arity: Arity::AtLeast(3),
        flags: &[ReadOnly],
        acl: &[Category::SortedSet],
        keys: &[numkeys(1, &[Ro, Access])],
        group: Group::SortedSet,
        since: "6.2.0",
        complexity: "O(m + k log k), m being the members of all sets and k those of the result",
        summary: "Returns the members of all sets, with their scores combined.",
        run: Run::Keys(zunion),
        ..Command::BASE
    },
    Command {
        name: "ZUNIONSTORE",
        arity: Arity::AtLeast(4),
        flags: &[Write, DenyOom],
        acl: &[Category::SortedSet],
        keys: &[key(1, &[Ow, Update]), numkeys(2, &[Ro, Access])],
        group: Group::SortedSet,
        since: "2.0.0",
        complexity: "O(m + k log k), m being the members of all sets and k those of the result",
        summary: "Stores the members of all sets, with their scores combined.",
        run: Run::Keys(zunionstore),
        ..Command::BASE
    },
];

/// Up to where a sorted set is compact.
pub(super) fn limits(settings: &Settings) -> ZSetLimits {
    settings.zset_limits()
}

/// Writes the header of an array of `n` members. With their scores it is flat in RESP2 and an array of pairs in
/// RESP3: not a map, as the order counts.
fn write_len(out: &mut Out, n: usize, with_scores: bool) {
    out.array(if with_scores && !out.is_resp3() { 2 * n } else { n });
}

/// Writes one member of an array begun by [`write_len`].
#[inline]
fn write_entry(out: &mut Out, member: LpEntry<'_>, score: f64, with_scores: bool) {
    if with_scores && out.is_resp3() {
        out.array(2);
    }
    out.bulk(member.as_slice(&mut IntText::default()));
    if with_scores {
        out.double(score);
    }
}

/// A set of these different members.
pub(super) fn collect(entries: &[(LpEntry<'_>, f64)], settings: &Settings, hasher: &Hasher) -> ZSet {
    let limits = limits(settings);
    let longest = entries.iter().map(|(member, _)| member.text_len()).max().unwrap_or(0);
    let mut zset = ZSet::with_expected(entries.len(), longest, &limits, hasher);
    let mut text = IntText::default();
    for (member, score) in entries {
        zset.insert(member.as_slice(&mut text), *score, &limits, hasher);
    }
    zset
}

/// Puts a result at a key, whatever was there, or removes the key when the result is empty. Answers with its
/// length, and counts `changes` changes.
pub(super) fn store(
    ctx: &mut Context<'_>,
    key: &[u8],
    zset: ZSet,
    event: &'static str,
    changes: usize,
) -> Reply {
    let keyspace = &mut ctx.keyspace;
    let len = zset.len();
    if len > 0 {
        keyspace.put(key, Value::ZSet(Box::new(zset)), None);
        keyspace.modified_by(key, changes as u64);
        keyspace.notify(Class::ZSet, event, key);
    } else if keyspace.remove(key) {
        keyspace.modified(key);
        keyspace.notify(Class::Generic, "del", key);
    }
    Reply::from(len)
}
