//! Sets.

use super::scan_options::{ScanOptions, Scanned, cursor, write_head};
use crate::command::{Args, Arity, Category, Command, Flag::*, Group, KeyFlag::*, Run, key, keys, numkeys};
use crate::context::Context;
use crate::error::CommandError;
use crate::hash::Hasher;
use crate::keyspace::notify::Class;
use crate::keyspace::{Keyspace, Value, ValueRef};
use crate::number::parse_i64;
use crate::reply::Reply;
use crate::settings::Settings;
use crate::types::listpack::IntText;
use crate::types::set::{Member, Set, SetLimits};
use hashbrown::HashTable;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "SADD",
        arity: Arity::AtLeast(3),
        flags: &[Write, DenyOom, Fast],
        acl: &[Category::Set],
        keys: &[key(1, &[Rw, Insert])],
        group: Group::Set,
        since: "1.0.0",
        complexity: "O(1) for each member",
        summary: "Adds members to a set, creating it when the key is absent.",
        run: Run::Keys(sadd),
        ..Command::BASE
    },
    Command {
        name: "SCARD",
        arity: Arity::Exactly(2),
        flags: &[ReadOnly, Fast],
        acl: &[Category::Set],
        keys: &[key(1, &[Ro])],
        group: Group::Set,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Tells how many members a set has.",
        run: Run::Keys(scard),
        ..Command::BASE
    },
    Command {
        name: "SDIFF",
        arity: Arity::AtLeast(2),
        flags: &[ReadOnly],
        acl: &[Category::Set],
        keys: &[keys(1, -1, 1, &[Ro, Access])],
        tips: &["nondeterministic_output_order"],
        group: Group::Set,
        since: "1.0.0",
        complexity: "O(n) for n members in all sets together",
        summary: "Lists the members of the first set that none of the others has.",
        run: Run::Keys(sdiff),
        ..Command::BASE
    },
    Command {
        name: "SDIFFSTORE",
        arity: Arity::AtLeast(3),
        flags: &[Write, DenyOom],
        acl: &[Category::Set],
        keys: &[key(1, &[Ow, Update]), keys(2, -1, 1, &[Ro, Access])],
        group: Group::Set,
        since: "1.0.0",
        complexity: "O(n) for n members in all sets together",
        summary: "Stores the members of the first set that none of the others has.",
        run: Run::Keys(sdiffstore),
        ..Command::BASE
    },
    Command {
        name: "SINTER",
        arity: Arity::AtLeast(2),
        flags: &[ReadOnly],
        acl: &[Category::Set],
        keys: &[keys(1, -1, 1, &[Ro, Access])],
        tips: &["nondeterministic_output_order"],
        group: Group::Set,
        since: "1.0.0",
        complexity: "O(n*m), n being the size of the smallest of m sets",
        summary: "Lists the members that all the sets share.",
        run: Run::Keys(sinter),
        ..Command::BASE
    },
    Command {
        name: "SINTERCARD",
        arity: Arity::AtLeast(3),
        flags: &[ReadOnly],
        acl: &[Category::Set],
        keys: &[numkeys(1, &[Ro, Access])],
        group: Group::Set,
        since: "7.0.0",
        complexity: "O(n*m), n being the size of the smallest of m sets",
        summary: "Counts the members that all the sets share, up to a limit.",
        run: Run::Keys(sintercard),
        ..Command::BASE
    },
    Command {
        name: "SINTERSTORE",
        arity: Arity::AtLeast(3),
        flags: &[Write, DenyOom],
        acl: &[Category::Set],
        keys: &[key(1, &[Ow, Update]), keys(2, -1, 1, &[Ro, Access])],
        group: Group::Set,
        since: "1.0.0",
        complexity: "O(n*m), n being the size of the smallest of m sets",
        summary: "Stores the members that all the sets share.",
        run: Run::Keys(sinterstore),
        ..Command::BASE
    },
    Command {
        name: "SISMEMBER",
        arity: Arity::Exactly(3),
        flags: &[ReadOnly, Fast],
        acl: &[Category::Set],
        keys: &[key(1, &[Ro])],
        group: Group::Set,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Tells whether a set has a member.",
        run: Run::Keys(sismember),
        ..Command::BASE
    },
    Command {
        name: "SMEMBERS",
        arity: Arity::Exactly(2),
        flags: &[ReadOnly],
        acl: &[Category::Set],
        keys: &[key(1, &[Ro, Access])],
        tips: &["nondeterministic_output_order"],
        group: Group::Set,
        since: "1.0.0",
        complexity: "O(n) for n members",
        summary: "Lists all members of a set.",
        run: Run::Keys(smembers),
        ..Command::BASE
    },
    Command {
        name: "SMISMEMBER",
        arity: Arity::AtLeast(3),
        flags: &[ReadOnly, Fast],
        acl: &[Category::Set],
        keys: &[key(1, &[Ro, Access])],
        group: Group::Set,
        since: "6.2.0",
        complexity: "O(1) for each member",
        summary: "Tells of several members whether a set has them.",
        run: Run::Keys(smismember),
        ..Command::BASE
    },
    Command {
        name: "SMOVE",
        arity: Arity::Exactly(4),
        flags: &[Write, Fast],
        acl: &[Category::Set],
        keys: &[key(1, &[Rw, Access, Delete]), key(2, &[Rw, Insert])],
        group: Group::Set,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "Moves a member from one set to another.",
        run: Run::Keys(smove),
        ..Command::BASE
    },
    Command {
        name: "SPOP",
        arity: Arity::AtLeast(2),
        flags: &[Write, Fast],
        acl: &[Category::Set],
        keys: &[key(1, &[Rw, Access, Delete])],
        tips: &["nondeterministic_output"],
        group: Group::Set,
        since: "1.0.0",
        complexity: "O(1) for each member taken",
        summary: "Takes members out of a set at random and returns them.",
        run: Run::Keys(spop),
        ..Command::BASE
    },
    Command {
        name: "SRANDMEMBER",
        arity: Arity::AtLeast(2),
        flags: &[ReadOnly],
        acl: &[Category::Set],
        keys: &[key(1, &[Ro, Access])],
        tips: &["nondeterministic_output"],
        group: Group::Set,
        since: "1.0.0",
        complexity: "O(1) for each member returned",
        summary: "Returns members of a set at random.",
        run: Run::Keys(srandmember),
        ..Command::BASE
    },
    Command {
        name: "SREM",
        arity: Arity::AtLeast(3),
        flags: &[Write, Fast],
        acl: &[Category::Set],
        keys: &[key(1, &[Rw, Delete])],
        group: Group::Set,
        since: "1.0.0",
        complexity: "O(1) for each member",
        summary: "Removes members from a set, and the key with the last of them.",
        run: Run::Keys(srem),
        ..Command::BASE
    },
    Command {
        name: "SSCAN",
        arity: Arity::AtLeast(3),
        flags: &[ReadOnly],
        acl: &[Category::Set],
        keys: &[key(1, &[Ro, Access])],
        tips: &["nondeterministic_output"],
        group: Group::Set,
        since: "2.8.0",
        complexity: "O(1) for each call, O(n) for a whole walk over n members",
        summary: "Walks over the members of a set in steps.",
        run: Run::Keys(sscan),
        ..Command::BASE
    },
    Command {
        name: "SUNION",
        arity: Arity::AtLeast(2),
        flags: &[ReadOnly],
        acl: &[Category::Set],
        keys: &[keys(1, -1, 1, &[Ro, Access])],
        tips: &["nondeterministic_output_order"],
        group: Group::Set,
        since: "1.0.0",
        complexity: "O(n) for n members in all sets together",
        summary: "Lists the members that any of the sets has.",
        run: Run::Keys(sunion),
        ..Command::BASE
    },
    Command {
        name: "SUNIONSTORE",
        arity: Arity::AtLeast(3),
        flags: &[Write, DenyOom],
        acl: &[Category::Set],
        keys: &[key(1, &[Ow, Update]), keys(2, -1, 1, &[Ro, Access])],
        group: Group::Set,
        since: "1.0.0",
        complexity: "O(n) for n members in all sets together",
        summary: "Stores the members that any of the sets has.",
        run: Run::Keys(sunionstore),
        ..Command::BASE
    },
];

/// SPOP with a count leaves removals of so many members at a time.
const EFFECT_MEMBERS_MAX: usize = 1024;
/// A negative count may repeat members; a reply beyond so many would only exhaust the memory.
pub(super) const REPEATS_MAX: u64 = 1 << 27;

fn limits(settings: &Settings) -> SetLimits {
    settings.set_limits()
}

fn sadd(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let (key, members) = (args.required()?, args.rest());
    let limits = limits(ctx.settings);
    let set = ctx.keyspace.set_or_new(key)?;
    if set.is_empty() {
        *set = Set::new_for(args.get(2), members.len(), &limits);
    } else {
        set.expect(members.len(), &limits, ctx.hasher);
    }
    let added = members.iter().filter(|member| set.add(member, &limits, ctx.hasher)).count();
    if added > 0 {
        ctx.keyspace.modified_by(key, added as u64);
        ctx.keyspace.notify(Class::Set, "sadd", key);
    }
    Ok(added.into())
}

fn srem(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let key = args.required()?;
    let Some(set) = ctx.keyspace.set_mut(key)? else { return Ok(Reply::Integer(0)) };
    let removed = args.rest().iter().filter(|member| set.remove(member, ctx.hasher)).count();
    if removed > 0 {
        ctx.keyspace.modified_by(key, removed as u64);
        ctx.keyspace.notify(Class::Set, "srem", key);
        ctx.keyspace.remove_if_empty(key);
    }
    Ok(removed.into())
}

fn scard(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    Ok(ctx.keyspace.set(args.get(1))?.map_or(0, Set::len).into())
}

fn sismember(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let set = ctx.keyspace.set(args.get(1))?;
    Ok(set.is_some_and(|set| set.contains(args.get(2), ctx.hasher)).into())
}

fn smismember(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let set = ctx.keyspace.set(args.required()?)?;
    let members = args.rest();
    ctx.out.array(members.len());
    for member in members {
        ctx.out.integer(i64::from(set.is_some_and(|set| set.contains(member, ctx.hasher))));
    }
    Ok(Reply::Written)
}

fn smembers(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let Some(set) = ctx.keyspace.set(args.get(1))? else {
        ctx.out.set(0);
        return Ok(Reply::Written);
    };
    ctx.out.set(set.len());
    set.iter().for_each(|member| ctx.out.entry(member));
    Ok(Reply::Written)
}

fn smove(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let (from, to, member) = (args.get(1), args.get(2), args.get(3));
    if !ctx.keyspace.exists(from) {
        return Ok(Reply::Integer(0));
    }
    let there = ctx.keyspace.set_mut(from)?.is_some_and(|set| set.contains(member, ctx.hasher));
    ctx.keyspace.set_mut(to)?;
    if from == to || !there {
        return Ok(there.into());
    }
    if let Some(set) = ctx.keyspace.set_mut(from)? {
        set.remove(member, ctx.hasher);
    }
    ctx.keyspace.modified(from);
    ctx.keyspace.notify(Class::Set, "srem", from);
    ctx.keyspace.remove_if_empty(from);
    let limits = limits(ctx.settings);
    let set = ctx.keyspace.set_or_new(to)?;
    if set.is_empty() {
        *set = Set::new_for(member, 1, &limits);
    }
    if set.add(member, &limits, ctx.hasher) {
        ctx.keyspace.modified(to);
        ctx.keyspace.notify(Class::Set, "sadd", to);
    }
    Ok(Reply::Integer(1))
}

fn sscan(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let (key, cursor) = (args.required()?, cursor(args.required()?)?);
    let Some(set) = ctx.keyspace.set(key)? else {
        write_head(ctx.out, 0, 0);
        return Ok(Reply::Written);
    };
    let options = ScanOptions::read(&mut args, Scanned::Set)?;
    let mut found: Vec<Member<'_>> = Vec::new();
    let next = set.scan(cursor, options.count, ctx.hasher, |member| {
        if options.matches_entry(&member) {
            found.push(member);
        }
    });
    write_head(ctx.out, next, found.len());
    found.into_iter().for_each(|member| ctx.out.entry(member));
    Ok(Reply::Written)
}

// ---- at random ---------------------------------------------------------------------------------------------

fn spop(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let key = args.required()?;
    match (args.take(), args.left()) {
        (None, _) => spop_one(ctx, key),
        (Some(count), 0) => {
            let count = parse_i64(count).filter(|n| *n >= 0).ok_or(CommandError::NotPositive)?;
            spop_many(ctx, key, usize::try_from(count).unwrap_or(usize::MAX))
        }
        _ => Err(CommandError::Syntax),
    }
}

fn spop_one(ctx: &mut Context<'_>, key: &[u8]) -> Result<Reply, CommandError> {
    let Some(set) = ctx.keyspace.set_mut(key)? else { return Ok(Reply::Null) };
    let Some(popped) = set.pop(&mut ctx.rng, ctx.hasher) else { return Ok(Reply::Null) };
    ctx.out.entry(popped.as_member());
    ctx.keyspace.propagate(&[b"SREM", key, popped.as_member().as_slice(&mut IntText::default())]);
    ctx.keyspace.modified(key);
    ctx.keyspace.notify(Class::Set, "spop", key);
    ctx.keyspace.remove_if_empty(key);
    Ok(Reply::Written)
}

fn spop_many(ctx: &mut Context<'_>, key: &[u8], count: usize) -> Result<Reply, CommandError> {
    let listening = ctx.keyspace.has_listeners();
    let set = match ctx.keyspace.set_mut(key)? {
        Some(set) if count > 0 => set,
        _ => {
            ctx.out.set(0);
            return Ok(Reply::Written);
        }
    };
    let (taken, all) = (count.min(set.len()), count >= set.len());
    ctx.out.set(taken);
    let mut gone: Vec<Vec<u8>> = Vec::new();
    if all {
        set.iter().for_each(|member| ctx.out.entry(member));
    } else {
        set.pop_many(count, &mut ctx.rng, ctx.hasher, |member| {
            ctx.out.entry(member);
            if listening {
                gone.push(member.to_vec());
            }
        });
    }
    ctx.keyspace.notify(Class::Set, "spop", key);
    if all {
        ctx.keyspace.remove(key);
        ctx.keyspace.notify(Class::Generic, "del", key);
        let name: &[u8] = if ctx.settings.lazyfree_lazy_server_del { b"UNLINK" } else { b"DEL" };
        ctx.keyspace.propagate(&[name, key]);
    }
    for part in gone.chunks(EFFECT_MEMBERS_MAX) {
        let mut effect: Vec<&[u8]> = vec![b"SREM", key];
        effect.extend(part.iter().map(Vec::as_slice));
        ctx.keyspace.propagate(&effect);
    }
    ctx.keyspace.modified_by(key, taken as u64);
    Ok(Reply::Written)
}

/// Reads the count of SRANDMEMBER and HRANDFIELD: negative when elements may repeat.
pub(super) fn random_count(arg: &[u8]) -> Result<i64, CommandError> {
    match parse_i64(arg) {
        None => Err(CommandError::NotInteger),
        Some(i64::MIN) => Err(CommandError::text(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        )),
        Some(n) => Ok(n),
    }
}

/// How many elements to draw for a negative count.
pub(super) fn repeats(count: i64) -> Result<usize, CommandError> {
    if count.unsigned_abs() > REPEATS_MAX {
        return Err(CommandError::text("ERR value is out of range"));
    }
    Ok(count.unsigned_abs() as usize)
}

fn srandmember(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let key = args.required()?;
    let count = match (args.take(), args.left()) {
        (None, _) => None,
        (Some(count), 0) => Some(random_count(count)?),
        _ => return Err(CommandError::Syntax),
    };
    let set = ctx.keyspace.set(key)?;
    match (set, count) {
        (None, None) => return Ok(Reply::Null),
        (Some(set), None) => match set.random(&mut ctx.rng) {
            Some(member) => ctx.out.entry(member),
            None => ctx.out.null(),
        },
        (None, _) | (_, Some(0)) => ctx.out.array(0),
        (Some(set), Some(count)) if count < 0 => {
            let times = repeats(count)?;
            ctx.out.array(times);
            let all: Option<Vec<Member<'_>>> = set.as_listpack().map(|pack| pack.iter().collect());
            for _ in 0..times {
                let member = match &all {
                    Some(all) => all.get(ctx.rng.below(all.len())).copied(),
                    None => set.random(&mut ctx.rng),
                };
                member.into_iter().for_each(|member| ctx.out.entry(member));
            }
        }
        (Some(set), Some(count)) => {
            let chosen = set.sample(usize::try_from(count).unwrap_or(usize::MAX), &mut ctx.rng);
            ctx.out.array(chosen.len());
            chosen.into_iter().for_each(|member| ctx.out.entry(member));
        }
    }
    Ok(Reply::Written)
}

// ---- algebra -----------------------------------------------------------------------------------------------

/// Looks up all these sets, absent ones included.
fn operands<'k>(
    keyspace: &'k mut Keyspace<'_>,
    keys: &[&[u8]],
) -> Result<Vec<Option<&'k Set>>, CommandError> {
    for key in keys {
        keyspace.set(key)?;
    }
    let peek = |key: &&[u8]| match keyspace.peek(key) {
        Some(ValueRef::Set(set)) => Some(set),
        _ => None,
    };
    Ok(keys.iter().map(peek).collect())
}

/// Calls `emit` with each member that all sets share, until it answers false; the smallest set is walked.
/// Nothing is shared with an absent set.
fn intersect<'k>(sets: &[Option<&'k Set>], hasher: &Hasher, mut emit: impl FnMut(Member<'k>) -> bool) {
    let Some(mut sets) = sets.iter().copied().collect::<Option<Vec<&Set>>>() else { return };
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else { return };
    let others: Vec<&Set> = others.iter().copied().filter(|set| !std::ptr::eq(*set, *smallest)).collect();
    for member in smallest.iter() {
        if others.iter().all(|set| set.contains_member(member, hasher)) && !emit(member) {
            return;
        }
    }
}

/// Members of several sets, each once, without copies of them.
struct Distinct<'k, 'h> {
    table: HashTable<Member<'k>>,
    hasher: &'h Hasher,
}

impl<'k, 'h> Distinct<'k, 'h> {
    fn with_capacity(capacity: usize, hasher: &'h Hasher) -> Self {
        Self { table: HashTable::with_capacity(capacity), hasher }
    }

    fn hash(hasher: &Hasher, member: &Member<'_>) -> u64 {
        hasher.hash(member.as_slice(&mut IntText::default()))
    }

    /// Whether the member had not been there.
    fn add(&mut self, member: Member<'k>) -> bool {
        let (hash, hasher) = (Self::hash(self.hasher, &member), self.hasher);
        let new = self.table.find(hash, |other| other.same_bytes(&member)).is_none();
        if new {
            self.table.insert_unique(hash, member, |other| Self::hash(hasher, other));
        }
        new
    }

    fn remove(&mut self, member: Member<'_>) {
        let hash = Self::hash(self.hasher, &member);
        if let Ok(found) = self.table.find_entry(hash, |other| other.same_bytes(&member)) {
            found.remove();
        }
    }
}

/// Calls `emit` with each member of any of the sets, once.
fn union<'k>(sets: &[Option<&'k Set>], hasher: &Hasher, mut emit: impl FnMut(Member<'k>)) {
    let sets: Vec<&Set> = sets.iter().copied().flatten().collect();
    if let [only] = sets[..] {
        return only.iter().for_each(emit);
    }
    let largest = sets.iter().map(|set| set.len()).max().unwrap_or_default();
    let mut seen = Distinct::with_capacity(largest, hasher);
    for member in sets.iter().flat_map(|set| set.iter()) {
        if seen.add(member) {
            emit(member);
        }
    }
}

/// Calls `emit` with each member of the first set that is in none of the others: by asking the others about
/// each, or, where that is more work, by taking away from the first what the others have.
fn difference<'k>(sets: &[Option<&'k Set>], hasher: &Hasher, mut emit: impl FnMut(Member<'k>)) {
    let Some((Some(first), others)) = sets.split_first() else { return };
    let mut others: Vec<&Set> = others.iter().copied().flatten().collect();
    if others.iter().any(|set| std::ptr::eq(*set, *first)) {
        return;
    }
    let asking = first.len().saturating_mul(others.len() + 1) / 2;
    let taking_away = others.iter().map(|set| set.len()).sum::<usize>() + first.len();
    if asking <= taking_away {
        others.sort_by_key(|set| std::cmp::Reverse(set.len()));
        let left = |member: &Member<'_>| !others.iter().any(|set| set.contains_member(*member, hasher));
        return first.iter().filter(left).for_each(emit);
    }
    let mut left = Distinct::with_capacity(first.len(), hasher);
    for member in first.iter() {
        left.add(member);
    }
    for set in others {
        if left.table.is_empty() {
            return;
        }
        set.iter().for_each(|member| left.remove(member));
    }
    left.table.iter().for_each(|member| emit(*member));
}

fn sinter(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let sets = operands(&mut ctx.keyspace, args.rest())?;
    let (place, mut n) = (ctx.out.deferred(), 0);
    intersect(&sets, ctx.hasher, |member| {
        ctx.out.entry(member);
        n += 1;
        true
    });
    ctx.out.fill_set(place, n);
    Ok(Reply::Written)
}

fn sunion(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let sets = operands(&mut ctx.keyspace, args.rest())?;
    let (place, mut n) = (ctx.out.deferred(), 0);
    union(&sets, ctx.hasher, |member| {
        ctx.out.entry(member);
        n += 1;
    });
    ctx.out.fill_set(place, n);
    Ok(Reply::Written)
}

fn sdiff(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let sets = operands(&mut ctx.keyspace, args.rest())?;
    let (place, mut n) = (ctx.out.deferred(), 0);
    difference(&sets, ctx.hasher, |member| {
        ctx.out.entry(member);
        n += 1;
    });
    ctx.out.fill_set(place, n);
    Ok(Reply::Written)
}

fn sintercard(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    const NO_KEYS: CommandError = CommandError::text("ERR numkeys should be greater than 0");
    const TOO_MANY: CommandError =
        CommandError::text("ERR Number of keys can't be greater than number of args");
    const NEGATIVE: CommandError = CommandError::text("ERR LIMIT can't be negative");
    let count = parse_i64(args.required()?).filter(|n| *n > 0).ok_or(NO_KEYS)?;
    let keys = args.rest();
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let (keys, _) = keys.split_at_checked(count).ok_or(TOO_MANY)?;
    args.seek(2 + count);
    let mut limit = 0;
    while args.left() > 0 {
        if args.left() < 2 || !args.word("LIMIT") {
            return Err(CommandError::Syntax);
        }
        limit = args.take().and_then(parse_i64).filter(|n| *n >= 0).ok_or(NEGATIVE)?;
    }
    let sets = operands(&mut ctx.keyspace, keys)?;
    let mut n = 0;
    intersect(&sets, ctx.hasher, |_| {
        n += 1;
        limit == 0 || n < limit
    });
    Ok(Reply::Integer(n))
}

fn sinterstore(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let (target, limits) = (args.required()?, limits(ctx.settings));
    let sets = operands(&mut ctx.keyspace, args.rest())?;
    let smallest = sets.iter().copied().flatten().min_by_key(|set| set.len());
    let mut result = match smallest {
        Some(set) if set.as_intset().is_none() => Set::new_listpack(),
        _ => Set::new(),
    };
    intersect(&sets, ctx.hasher, |member| {
        result.add_member(member, &limits, ctx.hasher);
        true
    });
    result.compact_ints(&limits);
    store(ctx, target, result, "sinterstore")
}

fn sunionstore(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let (target, limits) = (args.required()?, limits(ctx.settings));
    let sets = operands(&mut ctx.keyspace, args.rest())?;
    let mut result = Set::new();
    for member in sets.iter().flatten().flat_map(|set| set.iter()) {
        result.add_member(member, &limits, ctx.hasher);
    }
    store(ctx, target, result, "sunionstore")
}

fn sdiffstore(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let (target, limits) = (args.required()?, limits(ctx.settings));
    let sets = operands(&mut ctx.keyspace, args.rest())?;
    let mut result = Set::new();
    difference(&sets, ctx.hasher, |member| {
        result.add_member(member, &limits, ctx.hasher);
    });
    store(ctx, target, result, "sdiffstore")
}

/// Puts a result in the place of whatever was at the key; nothing at all when it is empty.
fn store(ctx: &mut Context<'_>, key: &[u8], result: Set, event: &'static str) -> Result<Reply, CommandError> {
    let n = result.len();
    if n == 0 {
        if ctx.keyspace.remove(key) {
            ctx.keyspace.modified(key);
            ctx.keyspace.notify(Class::Generic, "del", key);
        }
        return Ok(Reply::Integer(0));
    }
    ctx.keyspace.put(key, Value::Set(Box::new(result)), None);
    ctx.keyspace.modified(key);
    ctx.keyspace.notify(Class::Set, event, key);
    Ok(n.into())
}

#[cfg(test)]
mod tests;
