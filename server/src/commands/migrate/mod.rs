//! MIGRATE: keys go to another server.
//!
//! Redis stops while it waits for the other server. Here nobody waits: the keys are written down under their batons, and
//! watched; they are sent; and once the other server has taken them they are removed, under the batons again, if nobody has
//! changed them meanwhile. What has changed is sent once more. So a key is removed here only when what it held at that
//! very moment is there.
//!
//! ```text
//! write down -> send -> remove what has been taken and is as it was -> done
//!     ^-------------------- what has changed --------'
//! ```
//!
//! | file   | holds                                             |
//! |--------|---------------------------------------------------|
//! | `wire` | the connection to the other server, kept a while  |

mod wire;

use super::{Flow, Handler, Work};
use crate::server::Server;
use crate::session::Session;
use baton::held::{Held, Who};
use baton_engine::command::{
    Arity, Begin, Category, Command, Find, Flag::*, Group, KeyFlag, KeyFlag::*, KeySpec, key,
};
use baton_engine::error::CommandError;
use baton_engine::keyspace::Keyspace;
use baton_engine::keyspace::notify::Class;
use baton_engine::keyspace::waiting::WatchFlag;
use baton_engine::number::parse_i64;
use baton_engine::rdb::Version;
use baton_engine::rdb::dump;
use baton_engine::rdb::save::SaveOptions;
use baton_engine::reply::{Out, Reply};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use wire::{Link, Restore, Target, WireError};

pub use wire::cached;

/// Whoever changes a key faster than it can be sent so often is asked to stop first.
const ROUNDS_MAX: usize = 16;

const KEY_FLAGS: &[KeyFlag] = &[Rw, Access, Delete];

pub const COMMANDS: &[Command] = &[Command {
    name: "MIGRATE",
    arity: Arity::AtLeast(6),
    flags: &[Write],
    acl: &[Category::Dangerous, Category::Keyspace],
    keys: &[
        key(3, KEY_FLAGS),
        KeySpec {
            begin: Begin::Keyword("KEYS", -2),
            find: Find::Range { last: -1, step: 1, limit: 0 },
            flags: &[Rw, Access, Delete, Incomplete],
        },
    ],
    tips: &["nondeterministic_output"],
    group: Group::Generic,
    since: "2.6.0",
    complexity: "O(n) for n bytes of the keys, here and there",
    summary: "Moves keys to another server.",
    ..Command::BASE
}];

pub const HANDLERS: &[(&str, Handler)] = &[("migrate", migrate)];

/// What was asked for.
struct Request {
    target: Target,
    keys: Vec<Box<[u8]>>,
    copy: bool,
    replace: bool,
}

impl Request {
    fn parse(server: &Server, args: &[&[u8]]) -> Result<Self, CommandError> {
        const NOT_EMPTY: CommandError = CommandError::text(
            "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
        );
        let (mut copy, mut replace, mut auth, mut keys) =
            (false, false, Vec::new(), vec![Box::from(args[3])]);
        let mut rest = &args[6..];
        while let [word, more @ ..] = rest {
            rest = more;
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            let secrets = usize::from(is(b"auth")) + 2 * usize::from(is(b"auth2"));
            if secrets > 0 {
                let given = more.get(..secrets).ok_or(CommandError::Syntax)?;
                auth = given.iter().map(|arg| arg.to_vec()).collect();
                rest = &more[secrets..];
            } else if is(b"copy") {
                copy = true;
            } else if is(b"replace") {
                replace = true;
            } else if is(b"keys") {
                if !args[3].is_empty() {
                    return Err(NOT_EMPTY);
                }
                keys = more.iter().map(|key| Box::from(*key)).collect();
                rest = &[];
            } else {
                return Err(CommandError::Syntax);
            }
        }
        let timeout_ms = parse_i64(args[5]).ok_or(CommandError::NotInteger)?;
        let db = parse_i64(args[4]).ok_or(CommandError::NotInteger)?;
        // Redis takes nonsense for a port, and finds out when nobody is there.
        let port = parse_i64(args[2]).and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
        let timeout_ms = if timeout_ms > 0 { timeout_ms as u64 } else { 1_000 };
        let settings = server.settings();
        let target = Target {
            host: String::from_utf8_lossy(args[1]).into_owned(),
            port,
            db,
            auth,
            timeout: Duration::from_millis(timeout_ms),
            tls: settings.tls_cluster,
            asking: settings.cluster_enabled,
        };
        Ok(Self { target, keys, copy, replace })
    }
}

/// A key that has been written down.
struct Written {
    key: Box<[u8]>,
    payload: Vec<u8>,
    ttl_ms: i64,
    /// Touched when it changes after that.
    changed: Arc<WatchFlag>,
}

fn migrate(session: &mut Session, args: &[&[u8]], held: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    if held.is_some() {
        return Err(CommandError::text(
            "ERR MIGRATE is not allowed inside a transaction or a script: it waits for another server",
        ));
    }
    let request = Request::parse(&session.server, args)?;
    let migration = Migration { server: session.server.clone(), who: session.who.clone(), request };
    let written = migration.write_down(&migration.request.keys)?;
    if written.is_empty() {
        return Ok(Flow::Reply(Reply::Status("NOKEY")));
    }
    Ok(Flow::Work(Work::new(async move {
        let mut out = Out::new(false);
        match migration.run(written).await {
            Ok(()) => out.status("OK"),
            Err(error) => out.error(&error),
        }
        out.into_bytes()
    })))
}

struct Migration {
    server: Arc<Server>,
    who: Who,
    request: Request,
}

/// Ends the watches of keys, whatever becomes of the migration.
struct Watches<'m> {
    migration: &'m Migration,
    written: Vec<Written>,
}

impl Drop for Watches<'_> {
    fn drop(&mut self) {
        if self.written.is_empty() {
            return;
        }
        let node = &self.migration.server.node;
        let mut held = node.hold(|node| node.owners(self.written.iter().map(|written| &*written.key)));
        held.with_keyspace(self.migration.who.db, |keyspace| {
            self.written.iter().for_each(|written| keyspace.unwatch(&written.key, &written.changed));
        });
    }
}

impl Migration {
    async fn run(&self, mut written: Vec<Written>) -> Result<(), CommandError> {
        let mut link = None;
        for round in 1.. {
            let watches = Watches { migration: self, written };
            // What was sent before is there, and is ours to replace.
            let replace = self.request.replace || round > 1;
            let (taken, failed) = self.send(&mut link, &watches.written, replace).await;
            let changed = if self.request.copy { Vec::new() } else { self.remove(&watches.written, &taken)? };
            drop(watches);
            if let Some(error) = failed {
                return Err(error);
            }
            if changed.is_empty() {
                if let Some(link) = link.take() {
                    wire::keep(&self.server, &self.request.target, link);
                }
                return Ok(());
            }
            // Who writes down has to end the watches: not here, if nothing follows.
            if round == ROUNDS_MAX {
                break;
            }
            written = self.write_down(&changed)?;
            if written.is_empty() {
                return Ok(());
            }
        }
        Err(CommandError::text("TRYAGAIN The keys change faster than they can be sent: they are still here"))
    }

    /// Writes down those of the keys that are there.
    fn write_down(&self, keys: &[Box<[u8]>]) -> Result<Vec<Written>, CommandError> {
        let node = &self.server.node;
        let mut held = node.hold(|node| node.owners(keys.iter().map(|key| &**key)));
        let options = SaveOptions { target: Version::V10, compress: node.settings().rdb_compression };
        let copy = self.request.copy;
        held.with_keyspace(self.who.db, |keyspace| {
            let now_ms = keyspace.now_ms();
            let (mut written, mut seen) = (Vec::new(), HashSet::new());
            // All that can fail comes before the first watch, which nobody would end.
            keys.iter().try_for_each(|key| keyspace.build_slot(keyspace.slot(key)))?;
            for key in keys {
                if !seen.insert(key) {
                    continue;
                }
                let Some(expiry) = keyspace.expiry(key) else { continue };
                let Some(value) = keyspace.read(key) else { continue };
                let mut payload = Vec::new();
                dump::payload(&mut payload, &options, value);
                let changed = Arc::new(WatchFlag::default());
                if !copy {
                    keyspace.watch(key, &changed);
                }
                let ttl_ms = expiry.map_or(0, |at| (at - now_ms).max(1));
                written.push(Written { key: key.clone(), payload, ttl_ms, changed });
            }
            Ok(written)
        })
    }

    /// Sends the keys. Which of them the other server has taken, by their places, and what went wrong.
    async fn send(
        &self,
        link: &mut Option<Link>,
        written: &[Written],
        replace: bool,
    ) -> (Vec<usize>, Option<CommandError>) {
        let restores: Vec<Restore<'_>> = written
            .iter()
            .map(|written| Restore {
                key: &written.key,
                ttl_ms: written.ttl_ms,
                payload: &written.payload,
                replace,
            })
            .collect();
        let target = &self.request.target;
        let mut taken = Vec::new();
        // A connection that was kept may be dead by now: that is worth a second try, if nothing has been taken.
        for fresh in [false, true] {
            let current = match link.take() {
                Some(link) => Ok(link),
                None => wire::connect(&self.server, target, fresh).await,
            };
            let mut current = match current {
                Ok(current) => current,
                Err(error) => return (taken, Some(error.into())),
            };
            match current.restore(target, &restores, &mut taken).await {
                Ok(()) => {
                    *link = Some(current);
                    return (taken, None);
                }
                Err(WireError::Refused(line)) => {
                    // The connection is good, though nobody knows which database it is in.
                    current.forget_db();
                    wire::keep(&self.server, target, current);
                    return (taken, Some(WireError::Refused(line).into()));
                }
                Err(error) if fresh || error.is_timeout() || !taken.is_empty() => {
                    return (taken, Some(error.into()));
                }
                Err(_) => {}
            }
        }
        (taken, None)
    }

    /// Removes the keys that were taken; returns those that have changed since they were written down.
    fn remove(&self, written: &[Written], taken: &[usize]) -> Result<Vec<Box<[u8]>>, CommandError> {
        let node = &self.server.node;
        let keys = || taken.iter().filter_map(|at| written.get(*at));
        if taken.is_empty() {
            return Ok(Vec::new());
        }
        let mut held = node.hold(|node| node.owners(keys().map(|written| &*written.key)));
        let mut changed = Vec::new();
        held.change(&self.who, |keyspace: &mut Keyspace<'_>| {
            let mut effect: Vec<&[u8]> = vec![b"DEL"];
            for written in keys() {
                if written.changed.is_touched() {
                    changed.push(written.key.clone());
                } else if keyspace.remove_lazily(&written.key, false) {
                    keyspace.modified(&written.key);
                    keyspace.notify(Class::Generic, "del", &written.key);
                    effect.push(&written.key);
                }
            }
            effect
        })?;
        Ok(changed)
    }
}
