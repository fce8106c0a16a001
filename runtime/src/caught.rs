//! Commands that panic: the client that asked gets an error and is disconnected, everybody else goes on.
//!
//! The baton knows no poisoning, and what the command had changed until then stays. That is a guess: most of the data is
//! most likely sound, and a node that went down would lose all that is only in memory.

use crate::held::Who;
use baton_engine::command::ShardFn;
use baton_engine::context::Context;
use baton_engine::error::CommandError;
use baton_engine::execute::{Outcome, execute_fn};
use baton_engine::reply::Out;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A command has panicked; its error has been written.
pub(crate) struct Broken;

/// Runs a command and writes its reply, or an error if it panics.
#[inline]
pub(crate) fn execute_caught(ctx: &mut Context<'_>, run: ShardFn, args: &[&[u8]]) -> Result<Outcome, Broken> {
    let start = ctx.out.len();
    catch_unwind(AssertUnwindSafe(|| execute_fn(ctx, run, args))).map_err(|_| clean_up(ctx, start, args))
}

/// As [`execute_caught`], for a client that is told when its command breaks.
#[inline]
pub(crate) fn execute_for(who: &Who, ctx: &mut Context<'_>, run: ShardFn, args: &[&[u8]]) -> Outcome {
    execute_caught(ctx, run, args).unwrap_or_else(|Broken| {
        who.identity.broken();
        Outcome::Refused
    })
}

/// The error that the client gets.
pub(crate) fn write_error(out: &mut Out) {
    out.error(&CommandError::text(
        "ERR internal error: the command broke down and this connection is closed",
    ));
}

#[cold]
fn clean_up(ctx: &mut Context<'_>, start: usize, args: &[&[u8]]) -> Broken {
    ctx.out.truncate(start);
    write_error(ctx.out);
    ctx.keyspace.finish_command(0, args);
    Broken
}
