//! FAILOVER: this primary hands its part over to one of its replicas.

use super::{Flow, Handler, OK};
use crate::replication::failover;
use crate::session::Session;
use baton::held::Held;
use baton::replication::failover::{Event, Failover, Target};
use baton::replication::primary::Phase;
use baton_engine::command::{Arity, Category, Command, Flag::*, Group};
use baton_engine::error::CommandError;
use baton_engine::number::parse_i64;

pub const COMMANDS: &[Command] = &[Command {
    name: "FAILOVER",
    arity: Arity::AtLeast(1),
    flags: &[Admin, NoScript, Stale],
    acl: &[Category::Admin, Category::Dangerous],
    group: Group::Server,
    since: "6.2.0",
    complexity: "O(1)",
    summary: "Has a replica take over, once it has caught up, and makes this node a replica of it.",
    ..Command::BASE
}];

pub const HANDLERS: &[(&str, Handler)] = &[("failover", failover_command)];

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    target: Option<Target>,
    timeout_ms: Option<i64>,
    force: bool,
}

fn failover_command(
    session: &mut Session,
    args: &[&[u8]],
    _: Option<&mut Held<'_>>,
) -> Result<Flow, CommandError> {
    let server = session.server.clone();
    if server.settings().cluster_enabled {
        return Err(CommandError::text("ERR FAILOVER not allowed in cluster mode."));
    }
    let is_on = *server.replicas.failover.lock() != Failover::None;
    if let [_, word] = args
        && word.eq_ignore_ascii_case(b"abort")
    {
        if !is_on {
            return Err(CommandError::text("ERR No failover in progress."));
        }
        failover::on(&server, Event::Abort);
        return OK;
    }
    let options = parse(&args[1..])?;
    if is_on {
        return Err(CommandError::text("ERR FAILOVER already in progress."));
    }
    let replication = server.node.replication();
    if replication.is_replica() {
        return Err(CommandError::text("ERR FAILOVER is not valid when server is a replica."));
    }
    if replication.served.count() == 0 {
        return Err(CommandError::text("ERR FAILOVER requires connected replicas."));
    }
    if options.force && (options.timeout_ms.is_none() || options.target.is_none()) {
        return Err(CommandError::text(
            "ERR FAILOVER with force option requires both a timeout and target HOST and IP.",
        ));
    }
    if let Some(target) = &options.target {
        let all = replication.served.all();
        let found = all.iter().find(|replica| failover::target_of(replica).as_ref() == Some(target));
        let Some(found) = found else {
            return Err(CommandError::text("ERR FAILOVER target HOST and PORT is not a replica."));
        };
        if found.with(|replica| replica.phase) != Phase::Online {
            return Err(CommandError::text("ERR FAILOVER target replica is not online."));
        }
    }
    let Options { target, timeout_ms, force } = options;
    let until_ms = timeout_ms.map(|timeout_ms| server.node.now_ms().saturating_add(timeout_ms));
    failover::on(&server, Event::Begin { target, until_ms, force });
    OK
}

fn parse(words: &[&[u8]]) -> Result<Options, CommandError> {
    let mut options = Options::default();
    let mut rest = words;
    while let Some((word, after)) = rest.split_first() {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        rest = match after {
            [ms, after @ ..] if is("timeout") && options.timeout_ms.is_none() => {
                let ms = parse_i64(ms).ok_or(CommandError::NotInteger)?;
                if ms <= 0 {
                    return Err(CommandError::text("ERR FAILOVER timeout must be greater than 0"));
                }
                options.timeout_ms = Some(ms);
                after
            }
            [host, port, after @ ..] if is("to") && options.target.is_none() => {
                let port = parse_i64(port).ok_or(CommandError::NotInteger)?;
                let host = String::from_utf8_lossy(host).into_owned();
                // No replica listens at what is no port.
                options.target = Some(Target { host, port: u16::try_from(port).unwrap_or(0) });
                after
            }
            after if is("force") && !options.force => {
                options.force = true;
                after
            }
            _ => return Err(CommandError::Syntax),
        };
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let parse = |line: &str| {
            let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
            super::parse(&words)
        };
        let target = Some(Target { host: "h".to_owned(), port: 7 });
        assert_eq!(parse(""), Ok(Options::default()));
        assert_eq!(parse("force TO h 7 timeout 9"), Ok(Options { target, timeout_ms: Some(9), force: true }));
        for bad in
            ["to h", "timeout", "timeout 0", "timeout x", "to h 7 to h 7", "force force", "abort now", "x"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
