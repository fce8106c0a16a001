//! Running one command on the shards that are held: arity, function, reply, effects.

use crate::command::{Args, Command, Run, ShardFn};
use crate::context::Context;
use crate::error::CommandError;
use crate::reply::Reply;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The reply has been written.
    Done,
    /// An error has been written.
    Refused,
    /// Nothing has been written: the client waits for one of the keys until this time (Unix ms).
    Blocked {
        /// When to give up; `None` waits for ever.
        until_ms: Option<i64>,
    },
}

/// Runs a command and writes its reply. The caller has checked permissions, memory and the like.
pub fn execute(ctx: &mut Context<'_>, command: &Command, args: &[&[u8]]) -> Outcome {
    if !command.arity.accepts(args.len()) {
        ctx.out.error(&arity_error(command, args));
        return Outcome::Refused;
    }
    match command.run {
        Run::Keys(run) | Run::AllShards(run) => execute_fn(ctx, run, args),
        Run::Elsewhere => {
            ctx.out.error(&CommandError::text("ERR This command cannot be run on the data alone"));
            Outcome::Refused
        }
    }
}

/// As [`execute`], for a function whose arity has been checked.
#[inline]
pub fn execute_fn(ctx: &mut Context<'_>, run: ShardFn, args: &[&[u8]]) -> Outcome {
    let (start, dirty) = (ctx.out.len(), ctx.keyspace.dirty());
    let outcome = match run(ctx, Args::new(args)) {
        Ok(Reply::Block { until_ms }) => {
            ctx.out.truncate(start);
            Outcome::Blocked { until_ms }
        }
        Ok(reply) => {
            ctx.out.reply(&reply);
            Outcome::Done
        }
        Err(error) => {
            ctx.out.truncate(start);
            ctx.out.error(&error);
            Outcome::Refused
        }
    };
    let changes = ctx.keyspace.dirty() - dirty;
    ctx.keyspace.finish_command(changes, args);
    outcome
}

/// The refusal of a wrong number of arguments.
pub fn arity_error(command: &Command, args: &[&[u8]]) -> CommandError {
    let mut name = command.name.to_ascii_lowercase();
    if args.first().is_some_and(|first| !first.eq_ignore_ascii_case(name.as_bytes())) {
        // A subcommand: `config|get`.
        let container = String::from_utf8_lossy(args[0]).to_ascii_lowercase();
        name = format!("{container}|{name}");
    }
    CommandError::Arity(name)
}
