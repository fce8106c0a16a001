//! Whom this node follows: REPLICAOF, SLAVEOF, ROLE of a replica.

use super::{Flow, Handler, OK};
use crate::log;
use crate::logging::Level;
use crate::replica::{self, Followed, RoleChange};
use crate::session::Session;
use baton::held::Held;
use baton::replication::failover::Failover;
use baton::replication::role::Role;
use baton_engine::command::{Arity, Category, Command, Flag, Flag::*, Group};
use baton_engine::error::CommandError;
use baton_engine::number::parse_i64;
use baton_engine::reply::Reply;

const FLAGS: &[Flag] = &[NoAsyncLoading, Admin, NoScript, Stale];
const ACL: &[Category] = &[Category::Admin, Category::Dangerous];

pub const COMMANDS: &[Command] = &[
    Command {
        name: "REPLICAOF",
        arity: Arity::Exactly(3),
        flags: FLAGS,
        acl: ACL,
        group: Group::Server,
        since: "5.0.0",
        complexity: "O(1)",
        summary: "Makes the server a replica of another one, or a primary again.",
        ..Command::BASE
    },
    Command {
        name: "SLAVEOF",
        arity: Arity::Exactly(3),
        flags: FLAGS,
        acl: ACL,
        group: Group::Server,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "The former name of REPLICAOF.",
        ..Command::BASE
    },
];

pub const HANDLERS: &[(&str, Handler)] = &[("replicaof", replicaof), ("slaveof", replicaof)];

fn replicaof(
    session: &mut Session,
    args: &[&[u8]],
    held: Option<&mut Held<'_>>,
) -> Result<Flow, CommandError> {
    const CLUSTER: CommandError = CommandError::text("ERR REPLICAOF not allowed in cluster mode.");
    const INVALID_PORT: CommandError = CommandError::text("ERR Invalid master port");
    let server = session.server.clone();
    if server.settings().cluster_enabled {
        return Err(CLUSTER);
    }
    if *server.replicas.failover.lock() != Failover::None {
        return Err(CommandError::text("ERR REPLICAOF not allowed while failing over."));
    }
    let who = format!("id={} addr={}", session.client.id, session.client.address());
    if args[1].eq_ignore_ascii_case(b"no") && args[2].eq_ignore_ascii_case(b"one") {
        if held.is_some() {
            return later(session, RoleChange::Promote);
        }
        if replica::promote(&server) {
            log!(Level::Notice, "MASTER MODE enabled (user request from '{who}')");
        }
        return OK;
    }
    let port = parse_i64(args[2]).ok_or(CommandError::NotInteger)?;
    let port = u16::try_from(port).map_err(|_| INVALID_PORT)?;
    let host = String::from_utf8_lossy(args[1]).into_owned();
    if held.is_some() {
        return later(session, RoleChange::Follow { host, port });
    }
    match replica::follow(&server, host.clone(), port)? {
        Followed::Already => {
            log!(
                Level::Notice,
                "REPLICAOF would result into synchronization with the master we are already connected with. No operation performed."
            );
            Ok(Flow::Reply(Reply::Status("OK Already connected to specified master")))
        }
        Followed::Now => {
            log!(Level::Notice, "REPLICAOF {host}:{port} enabled (user request from '{who}')");
            OK
        }
    }
}

/// Inside of a transaction: its batons have to be let go first. Sentinel asks for it together with CONFIG REWRITE.
fn later(session: &mut Session, change: RoleChange) -> Result<Flow, CommandError> {
    change.announce(&session.server);
    if let RoleChange::Follow { host, port } = &change {
        // What the transaction asks next finds a replica.
        let role = Role::Replica { host: host.clone(), port: *port };
        session.server.node.replication().set_role(role);
    }
    session.role_change = Some(change);
    OK
}
