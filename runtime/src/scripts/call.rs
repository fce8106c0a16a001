//! `redis.call` and `redis.pcall`: the way of a command from a script to the data and back.

use super::lua::{Kind, Raise, Returned, Stack, push_error_table};
use super::{reply, run};
use baton_engine::number::{NumberText, format_f64_fpconv, format_i64};
use smallvec::SmallVec;

/// Runs a command. An error is raised, or is a value that is returned.
pub(super) fn command(stack: &mut Stack<'_>, raises: bool) -> Returned {
    let Some(run) = run::current(stack) else {
        return Err("commands can only be given while a script runs".into());
    };
    let ran = with_arguments(stack, |args| run.command(args));
    match ran {
        Ok(run::Ran::Replied) => {}
        Ok(run::Ran::Ended(why)) => {
            stack.shared().killed.set(Some(why));
            return Err(Raise::Table(why));
        }
        Err(Raise::Table(text)) if !raises => {
            stack.set_top(0);
            push_error_table(stack, &[b"ERR ", text.as_bytes()]);
            return Ok(1);
        }
        Err(error) => return Err(error),
    }
    stack.set_top(0);
    let reply = run.reply();
    reply::push(stack, reply)?;
    let failed = reply.first() == Some(&b'-');
    run.trim();
    if failed && raises { Err(Raise::Top) } else { Ok(1) }
}

/// Works with the arguments on the stack as those of a command: strings, and numbers as text.
pub(super) fn with_arguments<R>(stack: &Stack<'_>, work: impl FnOnce(&[&[u8]]) -> R) -> Result<R, Raise> {
    let count = stack.top();
    if count == 0 {
        return Err(Raise::Table("Please specify at least one argument for this call"));
    }
    let mut numbers: SmallVec<[NumberText; 4]> = SmallVec::new();
    for at in 1..=count {
        match stack.kind(at) {
            Kind::String => {}
            Kind::Number => numbers.push(number_text(stack.number(at))),
            _ => return Err(Raise::Table("Command arguments must be strings or integers")),
        }
    }
    let mut numbers = numbers.iter();
    let argument = |at: i32| match stack.kind(at) {
        Kind::Number => numbers.next().map_or(&[][..], |text| text.as_bytes()),
        _ => stack.bytes(at),
    };
    let args: SmallVec<[&[u8]; 16]> = (1..=count).map(argument).collect();
    Ok(work(&args))
}

/// As Redis prints numbers for commands: integers as such, others with as many digits as it takes to read them back.
fn number_text(number: f64) -> NumberText {
    const LIMIT: f64 = 4_611_686_018_427_387_904.0;
    if (-LIMIT..LIMIT).contains(&number) && number.trunc() == number {
        return format_i64(number as i64);
    }
    format_f64_fpconv(number)
}
