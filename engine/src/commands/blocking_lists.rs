//! Lists: the commands that wait until there is something to pop.
//!
//! Each tries first and waits only when there is nothing. Whoever wakes it runs the same function again, which
//! then tries again. What it leaves for the log is the command that does the same without waiting.

use super::lists::{MultiPop, move_element, parse_end, pop_name, pop_one};
use super::timeout::deadline;
use crate::command::{Args, Arity, Category, Command, Flag::*, Group, KeyFlag::*, Run, key, keys, numkeys};
use crate::context::Context;
use crate::error::CommandError;
use crate::reply::Reply;
use crate::types::list::End;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "BLMOVE",
        arity: Arity::Exactly(6),
        flags: &[Write, DenyOom, Blocking],
        acl: &[Category::List],
        keys: &[key(1, &[Rw, Access, Delete]), key(2, &[Rw, Insert])],
        group: Group::List,
        since: "6.2.0",
        complexity: "O(1)",
        summary: "Moves an element from one end of a list to an end of another list, waiting for it while there is none.",
        run: Run::Keys(blmove),
        ..Command::BASE
    },
    Command {
        name: "BLMPOP",
        arity: Arity::AtLeast(5),
        flags: &[Write, Blocking],
        acl: &[Category::List],
        keys: &[numkeys(2, &[Rw, Access, Delete])],
        group: Group::List,
        since: "7.0.0",
        complexity: "O(n + m) for n keys and m popped elements",
        summary: "Pops elements from the first list that has some, waiting while none has.",
        run: Run::Keys(blmpop),
        ..Command::BASE
    },
    Command {
        name: "BLPOP",
        arity: Arity::AtLeast(3),
        flags: &[Write, Blocking],
        acl: &[Category::List],
        keys: &[keys(1, -2, 1, &[Rw, Access, Delete])],
        group: Group::List,
        since: "2.0.0",
        complexity: "O(n) for n keys",
        summary: "Pops the first element of the first list that has one, waiting while none has.",
        run: Run::Keys(blpop),
        ..Command::BASE
    },
    Command {
        name: "BRPOP",
        arity: Arity::AtLeast(3),
        flags: &[Write, Blocking],
        acl: &[Category::List],
        keys: &[keys(1, -2, 1, &[Rw, Access, Delete])],
        group: Group::List,
        since: "2.0.0",
        complexity: "O(n) for n keys",
        summary: "Pops the last element of the first list that has one, waiting while none has.",
        run: Run::Keys(brpop),
        ..Command::BASE
    },
    Command {
        name: "BRPOPLPUSH",
        arity: Arity::Exactly(4),
        flags: &[Write, DenyOom, Blocking],
        acl: &[Category::List],
        keys: &[key(1, &[Rw, Access, Delete]), key(2, &[Rw, Insert])],
        group: Group::List,
        since: "2.2.0",
        deprecated: Some(("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments")),
        complexity: "O(1)",
        summary: "Moves the last element of a list to the head of another list, waiting for it while there is none.",
        run: Run::Keys(brpoplpush),
        ..Command::BASE
    },
];

fn blpop(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    blocking_pop(ctx, args, End::Head)
}

fn brpop(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    blocking_pop(ctx, args, End::Tail)
}

fn blocking_pop(ctx: &mut Context<'_>, mut args: Args<'_>, end: End) -> Result<Reply, CommandError> {
    let (timeout, keys) = args.rest().split_last().ok_or(CommandError::Syntax)?;
    let until_ms = deadline(timeout, ctx.now_ms())?;
    for &key in keys {
        let start = ctx.out.len();
        ctx.out.array(2);
        ctx.out.bulk(key);
        if pop_one(ctx, key, end)? {
            ctx.keyspace.propagate(&[pop_name(end), key]);
            return Ok(Reply::Written);
        }
        ctx.out.truncate(start);
    }
    Ok(wait(ctx, until_ms, Reply::NullArray))
}

fn blmpop(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let timeout = args.required()?;
    let pop = MultiPop::parse(&mut args)?;
    let until_ms = deadline(timeout, ctx.now_ms())?;
    Ok(if pop.run(ctx)? { Reply::Written } else { wait(ctx, until_ms, Reply::NullArray) })
}

fn blmove(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let (source, destination) = (args.get(1), args.get(2));
    let (from, to) = (parse_end(args.get(3))?, parse_end(args.get(4))?);
    let until_ms = deadline(args.get(5), ctx.now_ms())?;
    if !move_element(ctx, source, destination, from, to)? {
        return Ok(wait(ctx, until_ms, Reply::Null));
    }
    ctx.keyspace.propagate(&[b"LMOVE", source, destination, args.get(3), args.get(4)]);
    Ok(Reply::Written)
}

fn brpoplpush(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let (source, destination) = (args.get(1), args.get(2));
    let until_ms = deadline(args.get(3), ctx.now_ms())?;
    if !move_element(ctx, source, destination, End::Tail, End::Head)? {
        return Ok(wait(ctx, until_ms, Reply::Null));
    }
    ctx.keyspace.propagate(&[b"RPOPLPUSH", source, destination]);
    Ok(Reply::Written)
}

/// Waits, or answers `nothing` where a command must not wait.
fn wait(ctx: &Context<'_>, until_ms: Option<i64>, nothing: Reply) -> Reply {
    if ctx.caller.may_block { Reply::Block { until_ms } } else { nothing }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, WRONG_TYPE, check};

    const SYNTAX: &str = "-ERR syntax error";
    const NEGATIVE: &str = "-ERR timeout is negative";
    const NOT_FLOAT: &str = "-ERR timeout is not a float or out of range";

    /// Runs a script with the last command where it must not wait, and compares its reply.
    #[track_caller]
    fn check_no_wait(script: &str, reply: &str) {
        for resp3 in [false, true] {
            let mut bench = Bench::new();
            (bench.resp3, bench.may_block) = (resp3, false);
            let replies: Vec<String> = script.split(';').map(|line| bench.run(line.trim())).collect();
            assert_eq!(replies.last().map(String::as_str), Some(reply), "after {script:?}");
            assert!(bench.effects().iter().all(|effect| !effect.starts_with("0: B")));
        }
    }

    #[track_caller]
    fn check_traces(setup: &str, command: &str, events: &[&str], effect: &str) {
        let mut bench = Bench::new();
        bench.run(setup);
        bench.events();
        bench.effects();
        bench.run(command);
        assert_eq!(bench.events(), events, "{command}");
        assert_eq!(bench.effects(), [format!("0: {effect}")], "{command}");
    }

    #[test]
    fn pops_what_is_there() {
        check("RPUSH l a b; BLPOP k l 0", r#"["l" "a"]"#);
        check("RPUSH l a b; BRPOP k l 0", r#"["l" "b"]"#);
        check("RPUSH l a b; BRPOP l l 0; LRANGE l 0 -1", r#"["a"]"#);
        check("SET k v; RPUSH l a; BLPOP k l 0", WRONG_TYPE);
        check("SET k v; RPUSH l a; BLPOP l k 0", r#"["l" "a"]"#);
        check_no_wait("RPUSH l a; BLPOP l 0", r#"["l" "a"]"#);
        check_traces("RPUSH l a b", "BLPOP k l 0", &["lpop l"], "LPOP l");
        check_traces("RPUSH l a", "BRPOP k l 0", &["rpop l", "del l"], "RPOP l");
    }

    #[test]
    fn pops_many_that_are_there() {
        check("RPUSH l a b; BLMPOP 0 2 k l LEFT", r#"["l" ["a"]]"#);
        check("RPUSH l a b; BLMPOP 0 2 k l RIGHT COUNT 5", r#"["l" ["b" "a"]]"#);
        check("SET k v; BLMPOP 0 1 k LEFT", WRONG_TYPE);
        check_traces("RPUSH l a b", "BLMPOP 0 1 l RIGHT COUNT 5", &["rpop l", "del l"], "RPOP l 2");
    }

    #[test]
    fn moves_what_is_there() {
        check("RPUSH l a b; BLMOVE l m LEFT RIGHT 0", "\"a\"");
        check("RPUSH l a b; BRPOPLPUSH l m 0", "\"b\"");
        check("RPUSH l a b; BRPOPLPUSH l l 0; LRANGE l 0 -1", r#"["b" "a"]"#);
        check("SET l v; BLMOVE l m LEFT RIGHT 0", WRONG_TYPE);
        check("SET m v; RPUSH l a; BLMOVE l m LEFT RIGHT 0", WRONG_TYPE);
        let events = ["new m", "lpush m", "rpop l", "del l"];
        check_traces("RPUSH l a", "BLMOVE l m right left 0", &events, "LMOVE l m right left");
        check_traces("RPUSH l a", "BRPOPLPUSH l m 0", &events, "RPOPLPUSH l m");
    }

    #[test]
    fn waits_for_what_is_not() {
        for command in
            ["BLPOP k l 0", "BRPOP k 0.5", "BLMPOP 1 1 k LEFT", "BLMOVE k l LEFT LEFT 1", "BRPOPLPUSH k l 1"]
        {
            check(command, "(blocked)");
            check_no_wait(command, "nil");
        }
        check("SET m v; BLMOVE l m LEFT RIGHT 0", "(blocked)");
        let mut bench = Bench::new();
        bench.run("BLMPOP 0 1 k LEFT");
        bench.run("BLPOP k 0");
        assert_eq!((bench.effects(), bench.events()), (vec![], vec![]));
    }

    #[test]
    fn refuses_in_the_order_of_redis() {
        check("SET k v; BLPOP k -1", NEGATIVE);
        check("SET k v; BLPOP k x", NOT_FLOAT);
        check("BLPOP k 1e300", "-ERR timeout is out of range");
        check("BLMOVE k l UP LEFT x", SYNTAX);
        check("SET k v; BLMOVE k l LEFT LEFT -1", NEGATIVE);
        check("SET k v; BRPOPLPUSH k l x", NOT_FLOAT);
        check("BLMPOP x 0 k LEFT", "-ERR numkeys should be greater than 0");
        check("BLMPOP x 1 k UP", SYNTAX);
        check("BLMPOP x 1 k LEFT COUNT 0", "-ERR count should be greater than 0");
        check("SET k v; BLMPOP x 1 k LEFT", NOT_FLOAT);
        check("BLPOP k", "-ERR wrong number of arguments for 'blpop' command");
    }
}
