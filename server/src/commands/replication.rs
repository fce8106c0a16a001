//! Replicas, as far as a node without any has to speak of them: WAIT.

use super::{Flow, Handler};
use crate::session::Session;
use baton::held::Held;
use baton_engine::command::{Arity, Category, Command, Flag::*, Group};
use baton_engine::error::CommandError;
use baton_engine::number::parse_i64;
use baton_engine::reply::Reply;

pub const COMMANDS: &[Command] = &[Command {
    name: "WAIT",
    arity: Arity::Exactly(3),
    flags: &[Blocking],
    acl: &[Category::Connection],
    tips: &["request_policy:all_shards", "response_policy:agg_min"],
    group: Group::Generic,
    since: "3.0.0",
    complexity: "O(1)",
    summary: "Waits until so many replicas have the writes of this connection, or the time is over.",
    ..Command::BASE
}];

pub const HANDLERS: &[(&str, Handler)] = &[("wait", wait)];

/// This node has no replicas: zero of them have every write, so whoever asks for more waits out the time.
fn wait(session: &mut Session, args: &[&[u8]], held: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    const TIMEOUT: CommandError = CommandError::text("ERR timeout is not an integer or out of range");
    let wanted = parse_i64(args[1]).ok_or(CommandError::NotInteger)?;
    let timeout_ms = parse_i64(args[2]).ok_or(TIMEOUT)?;
    if timeout_ms < 0 {
        return Err(CommandError::text("ERR timeout is negative"));
    }
    if wanted <= 0 || held.is_some() {
        return Ok(Flow::Reply(Reply::Integer(0)));
    }
    let now_ms = session.server.node.now_ms();
    let until_ms = (timeout_ms > 0).then(|| now_ms.saturating_add(timeout_ms));
    Ok(Flow::Wait { until_ms, reply: Reply::Integer(0) })
}
