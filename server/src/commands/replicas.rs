//! What replicas ask of their primary: REPLCONF, PSYNC, SYNC; and ROLE.

use super::{Flow, Handler, OK, WRITTEN};
use crate::client::Origin;
use crate::log;
use crate::logging::Level;
use crate::replica;
use crate::replication::{self, limits, memory_limit, start_if_due};
use crate::session::Session;
use baton::held::Held;
use baton::replication::catch_up::LogReader;
use baton::replication::failover::Failover;
use baton::replication::identity::{Decision, ReplId, Request, Why};
use baton::replication::link::LinkState;
use baton::replication::primary::{Action, Event, Facts, Filter, Replica};
use baton::replication::role::Role;
use baton::replication::served::Served;
use baton_engine::command::{Arity, Category, Command, Flag::*, Group};
use baton_engine::error::CommandError;
use baton_engine::number::parse_i64;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What all of them have in common.
const BASE: Command =
    Command { acl: &[Category::Admin, Category::Dangerous], group: Group::Server, ..Command::BASE };

pub const COMMANDS: &[Command] = &[
    Command {
        name: "REPLCONF",
        arity: Arity::AtLeast(1),
        flags: &[Admin, NoScript, Loading, Stale, AllowBusy],
        since: "3.0.0",
        complexity: "O(1)",
        summary: "What a replica tells its primary about itself.",
        ..BASE
    },
    Command {
        name: "PSYNC",
        arity: Arity::AtLeast(3),
        flags: &[NoAsyncLoading, Admin, NoMulti, NoScript],
        since: "2.8.0",
        complexity: "O(1), and a snapshot when the replica cannot go on where it was",
        summary: "Makes the connection that of a replica, which goes on where it was if it can.",
        ..BASE
    },
    Command {
        name: "SYNC",
        arity: Arity::Exactly(1),
        flags: &[NoAsyncLoading, Admin, NoMulti, NoScript],
        since: "1.0.0",
        complexity: "O(n) for n keys",
        summary: "Makes the connection that of a replica, which is sent all data.",
        ..BASE
    },
    Command {
        name: "ROLE",
        arity: Arity::Exactly(1),
        flags: &[NoScript, Loading, Stale, Fast, Sentinel],
        since: "2.8.12",
        complexity: "O(1)",
        summary: "Returns the role of the server in replication.",
        ..BASE
    },
];

pub const HANDLERS: &[(&str, Handler)] =
    &[("replconf", replconf), ("psync", psync), ("sync", sync), ("role", role)];

/// What a connection knows of the replica behind it.
#[derive(Debug, Default)]
pub struct AsReplica {
    /// What it has told before it asked for data.
    facts: Facts,
    /// It has asked.
    pub served: Option<Arc<Served>>,
}

impl Session {
    /// The replica behind this connection.
    pub fn served(&self) -> Option<&Arc<Served>> {
        self.replica.as_ref()?.served.as_ref()
    }
}

fn replconf(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    for pair in args[1..].chunks_exact(2) {
        let (name, value) = (pair[0], pair[1]);
        let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
        if is("ack") {
            acknowledge(session, &args[1..]);
            return WRITTEN;
        }
        if is("getack") {
            // Meant for a replica, in the stream of its primary.
            return WRITTEN;
        }
        let facts = &mut session.replica.get_or_insert_default().facts;
        if is("listening-port") {
            facts.port = parse_i64(value).ok_or(CommandError::NotInteger)?;
        } else if is("ip-address") {
            facts.address = Some(address(value)?);
        } else if is("capa") {
            // What is not known here is no reason to complain.
            facts.eof |= value.eq_ignore_ascii_case(b"eof");
            facts.psync2 |= value.eq_ignore_ascii_case(b"psync2");
        } else if is("rdb-only") {
            facts.rdb_only = match parse_i64(value).ok_or(CommandError::NotInteger)? {
                0 => false,
                1 => true,
                _ => return Err(CommandError::text("ERR value is out of range, value must between 0 and 1")),
            };
        } else if is("rdb-filter-only") {
            facts.filter = filter(value)?;
        } else if is("version") {
            facts.version = Some(version(value)?);
        } else {
            return Err(CommandError::quoting("ERR Unrecognized REPLCONF option: ", name, 128, ""));
        }
        let facts = facts.clone();
        if let Some(served) = session.served() {
            served.with_facts(|own| *own = facts);
        }
    }
    OK
}

/// The longest name of a host that is taken.
const ADDRESS_MAX: usize = 255;

fn address(value: &[u8]) -> Result<Box<str>, CommandError> {
    if value.len() > ADDRESS_MAX {
        return Err(CommandError::owned(format!(
            "ERR REPLCONF ip-address provided by replica instance is too long: {} bytes",
            value.len()
        )));
    }
    // It is shown in lines that tools take apart.
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b',';
    match str::from_utf8(value) {
        Ok(text) if value.iter().all(is_plain) => Ok(text.into()),
        _ => Err(CommandError::text("ERR REPLCONF ip-address is not an address")),
    }
}

fn filter(value: &[u8]) -> Result<Filter, CommandError> {
    let mut filter = Filter { no_data: true, no_functions: true };
    for word in value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
        if !word.eq_ignore_ascii_case(b"functions") {
            return Err(CommandError::quoting("ERR Unsupported rdb-filter-only option: ", word, 128, ""));
        }
        filter.no_functions = false;
    }
    Ok(filter)
}

/// `x.y.z` as one number.
fn version(value: &[u8]) -> Result<u32, CommandError> {
    let wrong = || CommandError::quoting("ERR Unrecognized version format: ", value, 128, "");
    let mut number = 0;
    let mut parts = 0;
    for part in value.split(|byte| *byte == b'.') {
        let part = parse_i64(part).and_then(|part| u8::try_from(part).ok()).ok_or_else(wrong)?;
        number = number << 8 | u32::from(part);
        parts += 1;
    }
    if parts == 3 { Ok(number) } else { Err(wrong()) }
}

/// `REPLCONF ACK offset [FACK offset]`: is never answered.
fn acknowledge(session: &Session, args: &[&[u8]]) {
    let Some(served) = session.served() else { return };
    let number = |at: usize| args.get(at).and_then(|value| u64::try_from(parse_i64(value)?).ok());
    // Nobody has what was never sent.
    let pushed = session.server.node.journal().pushed();
    let Some(has) = number(1).map(|has| has.min(pushed)) else { return };
    let synced = args.get(2).filter(|word| word.eq_ignore_ascii_case(b"fack")).and_then(|_| number(3));
    let server = &session.server;
    served.tell(Event::Ack { has, synced }, server.node.now_ms(), &limits(&server.settings()));
    server.node.replication().served.acknowledged().notify_waiters();
}

fn psync(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    if session.served().is_some() {
        return WRITTEN;
    }
    if args.get(3).is_some_and(|word| word.eq_ignore_ascii_case(b"failover")) {
        take_over(session, args[1])?;
    }
    may_sync(session)?;
    let Some(offset) = parse_i64(args[2]) else {
        let name = name(session);
        log!(Level::Warning, "Replica {name} asks for synchronization but with a wrong offset");
        return Err(CommandError::NotInteger);
    };
    log!(Level::Notice, "Replica {} asks for synchronization", name(session));
    let server = session.server.clone();
    let (replication, request) = (server.node.replication(), Request::parse(args[1], offset));
    match go_on(session, request) {
        Ok(served) => {
            replication.counts.partial_ok.fetch_add(1, Ordering::Relaxed);
            log!(
                Level::Notice,
                "Partial resynchronization request from {} accepted. Sending {} bytes of backlog starting from offset {offset}.",
                name(session),
                server.node.journal().pushed().saturating_sub(served.with(|replica| replica.has))
            );
            Ok(Flow::Replicate(served))
        }
        Err(why) => {
            if why != Why::Asked {
                replication.counts.partial_err.fetch_add(1, Ordering::Relaxed);
            }
            tell_why(session, why, args[1], offset);
            let facts = facts(session);
            Ok(begin_full_sync(session, facts))
        }
    }
}

/// `PSYNC .. FAILOVER`: the primary of this replica wants it to take over, and has sent it everything.
fn take_over(session: &Session, id: &[u8]) -> Result<(), CommandError> {
    const PRIMARY: CommandError = CommandError::text("ERR PSYNC FAILOVER can't be sent to a master.");
    const OTHER: CommandError = CommandError::text("ERR PSYNC FAILOVER replid must match my replid.");
    let server = &session.server;
    let replication = server.node.replication();
    log!(Level::Notice, "Failover request received for replid {}.", id.escape_ascii());
    if !replication.is_replica() {
        return Err(PRIMARY);
    }
    if ReplId::parse(id) != Some(replication.history().id) {
        return Err(OTHER);
    }
    replica::promote(server);
    log!(Level::Notice, "MASTER MODE enabled (failover request from {})", name(session));
    Ok(())
}

fn sync(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    if session.served().is_some() {
        return WRITTEN;
    }
    may_sync(session)?;
    log!(Level::Notice, "Replica {} asks for synchronization", name(session));
    let facts = Facts { is_old: true, ..facts(session) };
    Ok(begin_full_sync(session, facts))
}

/// Why a replica cannot be served now, if it cannot.
fn may_sync(session: &Session) -> Result<(), CommandError> {
    const PENDING: CommandError = CommandError::text("ERR SYNC and PSYNC are invalid with pending output");
    const FILTERED: CommandError = CommandError::text("ERR Filtered replica requires EOF capability");
    const FAILING_OVER: CommandError = CommandError::text("NOMASTERLINK Can't SYNC while failing over");
    let server = &session.server;
    if *server.replicas.failover.lock() != Failover::None {
        return Err(FAILING_OVER);
    }
    if !session.out.is_empty() {
        return Err(PENDING);
    }
    const NO_LINK: CommandError =
        CommandError::text("NOMASTERLINK Can't SYNC while not connected with my master");
    if let Some(following) = session.server.replica.following(&server.node.replication().role())
        && following.figures.state() != LinkState::Connected
    {
        return Err(NO_LINK);
    }
    let facts = facts(session);
    if facts.filter != Filter::default() && !facts.eof {
        return Err(FILTERED);
    }
    Ok(())
}

fn facts(session: &Session) -> Facts {
    session.replica.as_ref().map(|replica| replica.facts.clone()).unwrap_or_default()
}

/// How the log calls a replica: by the address at which it listens.
fn name(session: &Session) -> String {
    let facts = facts(session);
    let ip = facts.address.as_deref().map_or_else(|| ip(session), str::to_owned);
    if facts.port > 0 { format!("{ip}:{}", facts.port) } else { format!("{ip}:<unknown-replica-port>") }
}

fn ip(session: &Session) -> String {
    match &session.client.origin {
        Origin::Tcp(peer, _) => peer.ip().to_canonical().to_string(),
        Origin::Unix(path) => path.clone(),
    }
}

/// Attaches a replica to the stream, where it was.
fn go_on(session: &mut Session, request: Request) -> Result<Arc<Served>, Why> {
    let server = session.server.clone();
    let replication = server.node.replication();
    let backlog = replication.backlog();
    let there = backlog.as_ref().map(|backlog| backlog.range());
    let history = replication.history();
    let mut decision = history.decide(request, there.clone());
    if decision == Decision::FullSync(Why::TooOld)
        && let Some(there) = there
        && LogReader::find(&server.node, request.has).is_some()
    {
        decision = history.decide(request, Some(request.has..there.end));
    }
    let from = match decision {
        Decision::Continue { from } => from,
        Decision::FullSync(why) => return Err(why),
    };
    let backlog = backlog.ok_or(Why::TooOld)?;
    // What is not here is in the log, unless it has gone between the look and this.
    let reader = backlog.attach(from, memory_limit(&server)).ok();
    let mut replica = Replica::continuing(facts(session), server.node.now_ms());
    replica.has = from;
    let served = register(session, replica);
    if let Some(reader) = reader {
        served.follow(backlog, reader);
    }
    served.order(Action::Follow);
    let id = replication.history().id;
    let line = if facts(session).psync2 { format!("CONTINUE {id}") } else { "CONTINUE".to_owned() };
    session.out.status(&line);
    replication::count_good(&server, server.node.now_ms());
    Ok(served)
}

fn begin_full_sync(session: &mut Session, facts: Facts) -> Flow {
    let server = session.server.clone();
    server.node.replication().counts.full.fetch_add(1, Ordering::Relaxed);
    drop(replication::backlog(&server));
    let served = register(session, Replica::waiting(facts, server.node.now_ms()));
    start_if_due(&server);
    if server.node.snapshots.current().is_none() {
        log!(Level::Notice, "Delay next BGSAVE for diskless SYNC");
    }
    Flow::Replicate(served)
}

fn register(session: &mut Session, replica: Replica) -> Arc<Served> {
    let served = Arc::new(Served::new(session.client.id, ip(session), replica));
    session.replica.get_or_insert_default().served = Some(served.clone());
    session.client.is_replica.store(true, Ordering::Relaxed);
    session.server.node.replication().served.add(served.clone());
    served
}

/// The lines that people look for.
fn tell_why(session: &Session, why: Why, id: &[u8], offset: i64) {
    let (name, id) = (name(session), id.escape_ascii());
    let history = session.server.node.replication().history();
    let previous = history.previous.map_or_else(|| "0".repeat(40), |previous| previous.id.to_string());
    match why {
        Why::Asked => log!(Level::Notice, "Full resync requested by replica {name}"),
        Why::OtherHistory => log!(
            Level::Notice,
            "Partial resynchronization not accepted: Replication ID mismatch (Replica asked for '{id}', my replication IDs \
             are '{}' and '{previous}')",
            history.id
        ),
        Why::BeyondPrevious => log!(
            Level::Notice,
            "Partial resynchronization not accepted: Requested offset for second ID was {offset}, but I can reply up to {}",
            history.previous.map_or(0, |previous| previous.end + 1)
        ),
        Why::TooOld => log!(
            Level::Notice,
            "Unable to partial resync with replica {name} for lack of backlog (Replica request was: {offset})."
        ),
        Why::Ahead => log!(
            Level::Warning,
            "Warning: replica {name} tried to PSYNC with an offset that is greater than the master replication offset."
        ),
    }
}

fn role(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let node = session.server.node.clone();
    let out = &mut session.out;
    match &*node.replication().role() {
        Role::Primary => {
            let online: Vec<(Arc<Served>, Replica)> = node
                .replication()
                .served
                .all()
                .into_iter()
                .map(|served| (served.clone(), served.replica()))
                .filter(|(_, replica)| replica.is_online())
                .collect();
            out.array(3);
            out.bulk(b"master");
            out.integer(node.journal().pushed() as i64);
            out.array(online.len());
            for (served, replica) in online {
                out.array(3);
                out.bulk(served.address().as_bytes());
                out.bulk_integer(replica.facts.port);
                out.bulk_integer(replica.has as i64);
            }
        }
        Role::Replica { host, port } => {
            out.array(5);
            out.bulk(b"slave");
            out.bulk(host.as_bytes());
            out.integer(i64::from(*port));
            let figures = session.server.replica.figures();
            let state = figures.as_ref().map(|figures| figures.state()).unwrap_or_default();
            out.bulk(state.name().as_bytes());
            let applied = figures.map_or(0, |figures| figures.applied.load(Ordering::Acquire));
            out.integer(if state == LinkState::Connected { applied as i64 } else { -1 });
        }
    }
    WRITTEN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_replicas_tell() {
        assert_eq!(version(b"7.0.15"), Ok(0x07_000f));
        for bad in [&b"7.0"[..], b"7.0.x", b"7.0.0.0", b"", b"7.0.300"] {
            assert!(version(bad).is_err(), "{bad:?}");
        }
        assert_eq!(filter(b" functions "), Ok(Filter { no_data: true, no_functions: false }));
        assert_eq!(filter(b""), Ok(Filter { no_data: true, no_functions: true }));
        assert!(filter(b"functions data").is_err());
        assert!(address(&[b'a'; 256]).is_err() && address(b"a,b").is_err() && address(b"a\r\n").is_err());
        assert_eq!(address(b"::1").as_deref(), Ok("::1"));
    }
}
