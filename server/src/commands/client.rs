//! CLIENT: what connections are there, and what becomes of them.

use super::connection::check_name;
use super::{Flow, Handler, OK, WRITTEN};
use crate::acl::User;
use crate::client::{Class, Client, End, Post};
use crate::server::Server;
use crate::session::{ReplyMode, Session};
use baton::held::Held;
use baton_engine::command::{Arity, Category, Command, Flag::*, Group};
use baton_engine::error::CommandError;
use baton_engine::number::parse_i64;
use baton_engine::reply::Reply;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What all subcommands have in common.
const SUB: Command =
    Command { acl: &[Category::Connection], group: Group::Connection, complexity: "O(1)", ..Command::BASE };

pub const COMMANDS: &[Command] = &[Command {
    name: "CLIENT",
    arity: Arity::AtLeast(2),
    flags: &[Sentinel],
    group: Group::Connection,
    since: "2.4.0",
    complexity: "depends on the subcommand",
    summary: "Container of commands about client connections.",
    subcommands: &[
        Command {
            name: "CACHING",
            arity: Arity::Exactly(3),
            flags: &[AllowBusy, NoScript, Loading, Stale, Sentinel],
            since: "6.0.0",
            summary: "Whether this connection keeps copies of what the next command reads.",
            ..SUB
        },
        Command {
            name: "CAPA",
            arity: Arity::AtLeast(3),
            flags: &[AllowBusy, NoScript, Loading, Stale],
            since: "8.0.0",
            summary: "The client tells what it is capable of.",
            ..SUB
        },
        Command {
            name: "GETNAME",
            arity: Arity::Exactly(2),
            flags: &[AllowBusy, NoScript, Loading, Stale, Sentinel],
            since: "2.6.9",
            summary: "The name of this connection.",
            ..SUB
        },
        Command {
            name: "GETREDIR",
            arity: Arity::Exactly(2),
            flags: &[AllowBusy, NoScript, Loading, Stale, Sentinel],
            since: "6.0.0",
            summary: "The client that is told in place of this one that keys have changed.",
            ..SUB
        },
        Command {
            name: "HELP",
            arity: Arity::Exactly(2),
            flags: &[Loading, Stale, Sentinel],
            since: "5.0.0",
            summary: "Tells about the subcommands.",
            ..SUB
        },
        Command {
            name: "ID",
            arity: Arity::Exactly(2),
            flags: &[AllowBusy, NoScript, Loading, Stale, Sentinel],
            since: "5.0.0",
            summary: "The number of this connection: never given twice.",
            ..SUB
        },
        Command {
            name: "IMPORT-SOURCE",
            arity: Arity::Exactly(3),
            flags: &[NoScript, Loading, Stale],
            since: "8.1.0",
            summary: "Whether this connection brings data from another server, while import-mode is on.",
            ..SUB
        },
        Command {
            name: "INFO",
            arity: Arity::Exactly(2),
            flags: &[NoScript, Loading, Stale, Sentinel],
            tips: &["nondeterministic_output"],
            since: "6.2.0",
            summary: "All about this connection, as in CLIENT LIST.",
            ..SUB
        },
        Command {
            name: "KILL",
            arity: Arity::AtLeast(3),
            flags: &[Admin, NoScript, Loading, Stale, Sentinel],
            since: "2.4.0",
            complexity: "O(n) for n connections",
            summary: "Closes connections.",
            ..SUB
        },
        Command {
            name: "LIST",
            arity: Arity::AtLeast(2),
            flags: &[Admin, NoScript, Loading, Stale, Sentinel],
            tips: &["nondeterministic_output"],
            since: "2.4.0",
            complexity: "O(n) for n connections",
            summary: "All about the connections, one line for each.",
            ..SUB
        },
        Command {
            name: "NO-EVICT",
            arity: Arity::Exactly(3),
            flags: &[AllowBusy, Admin, NoScript, Loading, Stale, Sentinel],
            since: "7.0.0",
            summary: "Whether this connection is spared when connections take too much memory.",
            ..SUB
        },
        Command {
            name: "NO-TOUCH",
            arity: Arity::Exactly(3),
            flags: &[AllowBusy, NoScript, Loading, Stale],
            since: "7.2.0",
            summary: "Whether the commands of this connection count as uses of their keys.",
            ..SUB
        },
        Command {
            name: "PAUSE",
            arity: Arity::AtLeast(3),
            flags: &[Admin, NoScript, Loading, Stale, Sentinel],
            since: "3.0.0",
            summary: "Lets the commands of all clients, or only those that write, wait for a time.",
            ..SUB
        },
        Command {
            name: "REPLY",
            arity: Arity::Exactly(3),
            flags: &[AllowBusy, NoScript, NoMulti, Loading, Stale, Sentinel],
            since: "3.2.0",
            summary: "Whether the commands of this connection are answered.",
            ..SUB
        },
        Command {
            name: "SETINFO",
            arity: Arity::Exactly(4),
            flags: &[AllowBusy, NoScript, Loading, Stale, Sentinel],
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            since: "7.2.0",
            summary: "Tells which library this client uses.",
            ..SUB
        },
        Command {
            name: "SETNAME",
            arity: Arity::Exactly(3),
            flags: &[AllowBusy, NoScript, Loading, Stale, Sentinel],
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            since: "2.6.9",
            summary: "Names this connection.",
            ..SUB
        },
        Command {
            name: "TRACKING",
            arity: Arity::AtLeast(3),
            flags: &[NoScript, Loading, Stale, Sentinel],
            since: "6.0.0",
            complexity: "O(1), or O(n) for n prefixes",
            summary: "Whether this connection keeps copies of what it reads, and is told when that changes.",
            ..SUB
        },
        Command {
            name: "TRACKINGINFO",
            arity: Arity::Exactly(2),
            flags: &[NoScript, Loading, Stale, Sentinel],
            since: "6.2.0",
            summary: "Whether and how this connection is told of changes to keys that it has read.",
            ..SUB
        },
        Command {
            name: "UNBLOCK",
            arity: Arity::AtLeast(3),
            flags: &[Admin, NoScript, Loading, Stale, Sentinel],
            since: "5.0.0",
            summary: "Ends the wait of a blocked client.",
            ..SUB
        },
        Command {
            name: "UNPAUSE",
            arity: Arity::Exactly(2),
            flags: &[Admin, NoScript, Loading, Stale, Sentinel],
            since: "6.2.0",
            complexity: "O(n) for n paused connections",
            summary: "Ends CLIENT PAUSE.",
            ..SUB
        },
    ],
    ..Command::BASE
}];

pub const HANDLERS: &[(&str, Handler)] = &[
    ("client|capa", capa),
    ("client|getname", getname),
    ("client|help", help),
    ("client|id", id),
    ("client|import-source", import_source),
    ("client|info", info),
    ("client|kill", kill),
    ("client|list", list),
    ("client|no-evict", no_evict),
    ("client|no-touch", no_touch),
    ("client|pause", pause),
    ("client|reply", reply),
    ("client|setinfo", setinfo),
    ("client|setname", setname),
    ("client|unblock", unblock),
    ("client|unpause", unpause),
];

fn is(word: &[u8], other: &str) -> bool {
    word.eq_ignore_ascii_case(other.as_bytes())
}

fn on_or_off(word: &[u8]) -> Result<bool, CommandError> {
    match word {
        word if is(word, "on") => Ok(true),
        word if is(word, "off") => Ok(false),
        _ => Err(CommandError::Syntax),
    }
}

fn capa(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    if args[2..].iter().any(|word| is(word, "redirect")) {
        session.client.can_redirect.store(true, Relaxed);
    }
    OK
}

fn getname(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let names = session.client.names.lock();
    session.out.bulk_or_null(Some(&names.name[..]).filter(|name| !name.is_empty()));
    WRITTEN
}

fn setname(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    check_name(args[2])?;
    session.client.names.lock().name = args[2].to_vec();
    OK
}

fn setinfo(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let (attribute, value) = (args[2], args[3]);
    let shown = String::from_utf8_lossy(attribute);
    let is_library = is(attribute, "lib-name");
    if !is_library && !is(attribute, "lib-ver") {
        return Err(CommandError::owned(format!("ERR Unrecognized option '{shown}'")));
    }
    if !value.iter().all(u8::is_ascii_graphic) {
        return Err(CommandError::owned(format!(
            "ERR {shown} cannot contain spaces, newlines or special characters."
        )));
    }
    let mut names = session.client.names.lock();
    *(if is_library { &mut names.library } else { &mut names.library_version }) = value.to_vec();
    OK
}

fn id(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    Ok(Flow::Reply(Reply::Integer(session.client.id as i64)))
}

fn no_evict(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.client.no_evict.store(on_or_off(args[2])?, Relaxed);
    OK
}

fn no_touch(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.who.no_touch = on_or_off(args[2])?;
    session.client.no_touch.store(session.who.no_touch, Relaxed);
    OK
}

/// While data are imported, who brings them says when keys are over: it sees those whose time has come, and they stay.
fn import_source(
    session: &mut Session,
    args: &[&[u8]],
    _: Option<&mut Held<'_>>,
) -> Result<Flow, CommandError> {
    if !session.server.settings().import_mode && !is(args[2], "off") {
        return Err(CommandError::text("ERR Server is not in import mode"));
    }
    session.imports = on_or_off(args[2])?;
    session.client.is_import_source.store(session.imports, Relaxed);
    OK
}

fn reply(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    match args[2] {
        word if is(word, "on") => {
            session.reply_mode = ReplyMode::On;
            return OK;
        }
        word if is(word, "off") => session.reply_mode = ReplyMode::Off,
        word if is(word, "skip") => {
            if session.reply_mode != ReplyMode::Off {
                session.reply_mode = ReplyMode::SkipNext;
            }
        }
        _ => return Err(CommandError::Syntax),
    }
    WRITTEN
}

fn pause(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let all = match args {
        [_, _, _] => true,
        [_, _, _, mode] if is(mode, "all") => true,
        [_, _, _, mode] if is(mode, "write") => false,
        [_, _, _, _] => return Err(CommandError::text("ERR CLIENT PAUSE mode must be WRITE or ALL")),
        _ => return Err(CommandError::Syntax),
    };
    let time =
        parse_i64(args[2]).ok_or(CommandError::text("ERR timeout is not an integer or out of range"))?;
    if time < 0 {
        return Err(CommandError::text("ERR timeout is negative"));
    }
    let until_ms = session.server.node.now_ms().checked_add(time);
    session.server.pause(until_ms.ok_or(CommandError::text("ERR timeout is out of range"))?, all);
    OK
}

fn unpause(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.server.unpause();
    OK
}

fn unblock(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let with_error = match args {
        [_, _, _] => None,
        [_, _, _, reason] if is(reason, "timeout") => None,
        [_, _, _, reason] if is(reason, "error") => Some("UNBLOCKED client unblocked via CLIENT UNBLOCK"),
        [_, _, _, _] => {
            return Err(CommandError::text("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
        }
        _ => return Err(CommandError::Syntax),
    };
    let id = parse_i64(args[2]).ok_or(CommandError::NotInteger)?;
    let client = u64::try_from(id).ok().and_then(|id| session.server.client(id));
    // Taking the number of the wait makes sure that nobody ends it twice.
    let wait = client.as_ref().map_or(0, |client| client.wait.swap(0, Relaxed));
    if let (Some(client), 1..) = (client, wait) {
        client.mailbox.put(Post::Unblock { wait, with_error });
        return Ok(Flow::Reply(Reply::Integer(1)));
    }
    Ok(Flow::Reply(Reply::Integer(0)))
}

/// What a client has to be like to be listed or killed.
enum Filter<'a> {
    Ids(Vec<u64>),
    Class(Option<Class>),
    User(Arc<User>),
    Address(&'a [u8]),
    LocalAddress(&'a [u8]),
    Ip(&'a [u8]),
    MaxAge(i64),
    Idle(i64),
    Name(&'a [u8]),
    Flags(&'a [u8]),
    Library(&'a [u8]),
    LibraryVersion(&'a [u8]),
    Db(usize),
    Redirects(bool),
}

/// The filters of CLIENT LIST and CLIENT KILL.
struct Filters<'a> {
    /// Each with whether it is to match, or is not to.
    all: Vec<(bool, Filter<'a>)>,
    skip_me: bool,
}

impl<'a> Filters<'a> {
    fn parse(server: &Server, mut args: &'a [&'a [u8]], skip_me: bool) -> Result<Self, CommandError> {
        let mut filters = Filters { all: Vec::new(), skip_me };
        while let [word, rest @ ..] = args {
            let positive = word.get(..4).is_none_or(|start| !is(start, "not-"));
            let word = if positive { word } else { &word[4..] };
            if is(word, "id") {
                args = filters.take_ids(positive, rest)?;
                continue;
            }
            let [value, rest @ ..] = rest else { return Err(CommandError::Syntax) };
            args = rest;
            if is(word, "skipme") && positive {
                filters.skip_me = match value {
                    value if is(value, "yes") => true,
                    value if is(value, "no") => false,
                    _ => return Err(CommandError::Syntax),
                };
                continue;
            }
            let filter = Filter::parse(server, word, value)?;
            if !positive && matches!(filter, Filter::MaxAge(_) | Filter::Idle(_)) {
                return Err(CommandError::Syntax);
            }
            filters.put(positive, filter);
        }
        Ok(filters)
    }

    /// Numbers, as many as follow.
    fn take_ids(&mut self, positive: bool, args: &'a [&'a [u8]]) -> Result<&'a [&'a [u8]], CommandError> {
        const INVALID: CommandError = CommandError::text("ERR client-id should be greater than 0");
        let mut ids = Vec::new();
        for arg in args {
            match parse_i64(arg) {
                None => break,
                Some(id) => ids.push(u64::try_from(id).ok().filter(|id| *id > 0).ok_or(INVALID)?),
            }
        }
        if ids.is_empty() {
            return Err(if args.is_empty() { CommandError::Syntax } else { INVALID });
        }
        let rest = &args[ids.len()..];
        let before = self.all.iter_mut().find_map(|(sense, filter)| match filter {
            Filter::Ids(before) if *sense == positive => Some(before),
            _ => None,
        });
        match before {
            Some(before) => before.extend(ids),
            None => self.all.push((positive, Filter::Ids(ids))),
        }
        Ok(rest)
    }

    /// A filter that is given twice counts as it was given last.
    fn put(&mut self, positive: bool, filter: Filter<'a>) {
        let kind = std::mem::discriminant(&filter);
        self.all.retain(|(sense, other)| *sense != positive || std::mem::discriminant(other) != kind);
        self.all.push((positive, filter));
    }

    /// The clients that match, in order of their numbers. Those that are about to go are gone.
    fn clients(&self, session: &Session) -> Vec<Arc<Client>> {
        let now_ms = session.server.node.now_ms();
        let mut all = session.server.all_clients();
        if session.server.node.replication().is_replica() {
            all.extend(session.server.replica.as_client());
        }
        all.retain(|client| {
            let is_me = client.id == session.client.id;
            (is_me || client.ending() == End::No)
                && !(is_me && self.skip_me)
                && self.all.iter().all(|(positive, filter)| filter.matches(client, now_ms) == *positive)
        });
        all
    }
}

impl<'a> Filter<'a> {
    fn parse(server: &Server, word: &[u8], value: &'a [u8]) -> Result<Self, CommandError> {
        let unknown =
            |what: &str| CommandError::owned(format!("ERR {what}'{}'", String::from_utf8_lossy(value)));
        Ok(match word {
            word if is(word, "type") => {
                Self::Class(class(value).ok_or_else(|| unknown("Unknown client type "))?)
            }
            word if is(word, "user") => {
                Self::User(server.acl.find(value).ok_or_else(|| unknown("No such user "))?)
            }
            word if is(word, "addr") => Self::Address(value),
            word if is(word, "laddr") => Self::LocalAddress(value),
            word if is(word, "ip") => Self::Ip(value),
            word if is(word, "maxage") => Self::MaxAge(positive(value, "maxage")?),
            word if is(word, "idle") => Self::Idle(positive(value, "idle")?),
            word if is(word, "name") => Self::Name(value),
            word if is(word, "lib-name") => Self::Library(value),
            word if is(word, "lib-ver") => Self::LibraryVersion(value),
            word if is(word, "flags") => {
                if !value.iter().all(|flag| b"OSMPxbtRBdcuAUreTIN".contains(flag)) {
                    let value = String::from_utf8_lossy(value);
                    let line = format!("ERR Unknown flags found in the provided filter: {value}");
                    return Err(CommandError::owned(line));
                }
                Self::Flags(value)
            }
            word if is(word, "capa") => {
                if !value.iter().all(|capability| *capability == b'r') {
                    let value = String::from_utf8_lossy(value);
                    let line = format!("ERR Unknown capa found in the provided filter: {value}");
                    return Err(CommandError::owned(line));
                }
                Self::Redirects(!value.is_empty())
            }
            word if is(word, "db") => {
                let last = server.node.settings().databases.saturating_sub(1);
                let db =
                    parse_i64(value).ok_or(CommandError::text("ERR DB is not an integer or out of range"))?;
                let db = usize::try_from(db).ok().filter(|db| *db <= last);
                Self::Db(db.ok_or_else(|| {
                    CommandError::owned(format!("ERR DB number should be between 0 and {last}"))
                })?)
            }
            _ => return Err(CommandError::Syntax),
        })
    }

    fn matches(&self, client: &Client, now_ms: i64) -> bool {
        match self {
            Self::Ids(ids) => ids.contains(&client.id),
            Self::Class(class) => *class == (!client.is_primary.load(Relaxed)).then(|| client.class()),
            Self::User(user) => Arc::ptr_eq(user, &client.user()),
            Self::Address(address) => client.address().as_bytes() == *address,
            Self::LocalAddress(address) => client.local_address().as_bytes() == *address,
            Self::Ip(ip) => {
                let address = client.address();
                let host = address.rsplit_once(':').map_or("", |(host, _)| host);
                !client.is_unix() && host.trim_matches(['[', ']']).as_bytes() == *ip
            }
            Self::MaxAge(seconds) => (now_ms - client.created_ms) / 1_000 >= *seconds,
            Self::Idle(seconds) => (now_ms - client.last_ms.load(Relaxed)) / 1_000 >= *seconds,
            Self::Name(name) => !client.names.lock().name.is_empty() && client.names.lock().name == *name,
            Self::Library(name) => client.names.lock().library == *name,
            Self::LibraryVersion(version) => client.names.lock().library_version == *version,
            Self::Flags(flags) => {
                let has = self::flags(client);
                flags.iter().all(|flag| has.as_bytes().contains(flag))
            }
            Self::Db(db) => client.db.load(Relaxed) == *db,
            Self::Redirects(yes) => !yes || client.can_redirect.load(Relaxed),
        }
    }
}

/// A class of clients by its name; `Some(None)` is one that nobody belongs to: the primary of a replica.
#[allow(clippy::option_option, reason = "no class, the class of nobody and a class are three answers")]
fn class(name: &[u8]) -> Option<Option<Class>> {
    match name {
        name if is(name, "normal") => Some(Some(Class::Normal)),
        name if is(name, "pubsub") => Some(Some(Class::PubSub)),
        name if is(name, "replica") || is(name, "slave") => Some(Some(Class::Replica)),
        name if is(name, "master") || is(name, "primary") => Some(None),
        _ => None,
    }
}

fn positive(value: &[u8], what: &str) -> Result<i64, CommandError> {
    let number = parse_i64(value)
        .ok_or_else(|| CommandError::owned(format!("ERR {what} is not an integer or out of range")))?;
    if number <= 0 {
        return Err(CommandError::owned(format!("ERR {what} should be greater than 0")));
    }
    Ok(number)
}

fn kill(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    // The old form, with nothing but an address, may kill oneself and has replies of its own.
    let old = args.len() == 3;
    let filters = if old {
        Filters { all: vec![(true, Filter::Address(args[2]))], skip_me: false }
    } else {
        Filters::parse(&session.server, &args[2..], true)?
    };
    let clients = filters.clients(session);
    for client in &clients {
        if client.is_primary.load(Relaxed) {
            session.server.replica.cut();
        } else if client.id == session.client.id {
            client.end(End::AfterReply);
        } else {
            client.end(End::Now);
            // Nobody is to see it any more, though its connection may take a moment to notice.
            session.server.clients.write().remove(&client.id);
        }
    }
    match (old, clients.len()) {
        (true, 0) => Err(CommandError::text("ERR No such client")),
        (true, _) => OK,
        (false, killed) => Ok(Flow::Reply(Reply::from(killed))),
    }
}

fn list(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    if args.len() == 3 {
        return Err(CommandError::Syntax);
    }
    let filters = Filters::parse(&session.server, &args[2..], false)?;
    // Nobody is to be seen who has to go.
    session.server.evict_clients_thoroughly();
    let mut text = Vec::new();
    for client in filters.clients(session) {
        text.extend(line(session, &client, args));
    }
    session.out.verbatim("txt", &text);
    WRITTEN
}

fn info(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let text = line(session, &session.client, args);
    session.out.verbatim("txt", &text);
    WRITTEN
}

/// The letters that stand for the state of a client.
fn flags(client: &Client) -> String {
    let tracker = client.tracker();
    let letters = [
        ('O', client.is_monitor.load(Relaxed)),
        ('M', client.is_primary.load(Relaxed)),
        ('S', client.is_replica.load(Relaxed)),
        ('P', client.subscriptions() > 0),
        ('x', client.queued.load(Relaxed) >= 0),
        ('b', client.is_blocked.load(Relaxed)),
        ('d', client.watch_flag.lock().as_ref().is_some_and(|flag| flag.is_touched())),
        ('t', tracker.is_some()),
        ('R', tracker.as_ref().is_some_and(|tracker| tracker.is_broken())),
        ('B', tracker.as_ref().is_some_and(|tracker| tracker.broadcasts())),
        ('c', client.ending() == End::AfterReply),
        ('A', client.ending() == End::Now),
        ('U', client.is_unix()),
        ('e', client.no_evict.load(Relaxed)),
        ('T', client.no_touch.load(Relaxed)),
        ('I', client.is_import_source.load(Relaxed)),
    ];
    let flags: String = letters.iter().filter(|(_, is_on)| *is_on).map(|(letter, _)| *letter).collect();
    if flags.is_empty() { "N".to_owned() } else { flags }
}

/// A line of CLIENT LIST, for the client that gave these arguments.
fn line(session: &Session, client: &Client, args: &[&[u8]]) -> Vec<u8> {
    let is_me = client.id == session.client.id;
    let argv: usize = if is_me { args.iter().map(|arg| arg.len()).sum() } else { 0 };
    let mut line = describe(&session.server, client, argv);
    line.push(b'\n');
    line
}

/// All about a client, in one line. Tools read its fields by their names, people by their order: both are those of Redis.
/// `argv` is how many bytes of arguments it has on its hands.
pub fn describe(server: &Server, client: &Client, argv: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let registry = &server.node.registry;
    let now_ms = server.node.now_ms();
    let names = client.names.lock().clone();
    let seconds_since = |ms: i64| (now_ms - ms).max(0) / 1_000;
    let command = match client.last_command.load(Relaxed) {
        usize::MAX => "NULL",
        id => &registry.get(id).name,
    };
    let (query, queued) = (client.query_bytes.load(Relaxed), client.queued_bytes.load(Relaxed));
    let argv = argv + client.argv_bytes.load(Relaxed);
    let free = client.query_memory.load(Relaxed).saturating_sub(query + client.argv_bytes.load(Relaxed));
    // Replies lie in one buffer, which an idle connection gives back; what others have sent lies in the mailbox.
    let (replies, posts) = (client.output_bytes.load(Relaxed), client.mailbox.len());
    let (room, peak) = (client.output_memory.load(Relaxed), client.output_peak.load(Relaxed));
    let unread = replies + client.mailbox.bytes();
    // What counts for `maxmemory-clients`.
    let total = client.memory();
    // Writing to memory cannot fail.
    let _ = write!(
        out,
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={} watch={} \
         qbuf={query} qbuf-free={free} argv-mem={argv} multi-mem={queued} rbs={room} rbp={peak} obl={replies} oll={posts} \
         omem={unread} tot-mem={total} events={} cmd={command} user={} redir={} resp={} lib-name={} lib-ver={} tot-net-in={} \
         tot-net-out={} tot-cmds={}",
        client.id,
        client.address(),
        client.local_address(),
        client.fd,
        String::from_utf8_lossy(&names.name),
        seconds_since(client.created_ms),
        seconds_since(client.last_ms.load(Relaxed)),
        flags(client),
        client.db.load(Relaxed),
        client.channels.load(Relaxed),
        client.patterns.load(Relaxed),
        client.shard_channels.load(Relaxed),
        client.queued.load(Relaxed),
        client.watching.load(Relaxed),
        if unread > 0 { "rw" } else { "r" },
        // No user limits what a primary does.
        match client.is_primary.load(Relaxed) {
            true => "(superuser)".into(),
            false => String::from_utf8_lossy(client.user().name()).into_owned(),
        },
        client.redirect(),
        client.resp.load(Relaxed),
        String::from_utf8_lossy(&names.library),
        String::from_utf8_lossy(&names.library_version),
        client.bytes_in.load(Relaxed),
        client.bytes_out.load(Relaxed),
        client.commands.load(Relaxed),
    );
    out
}

fn help(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.out.help(
        "CLIENT",
        &[
            "CACHING (YES|NO)",
            "    Keep copies of what the next command reads, or do not, in OPTIN and OPTOUT mode.",
            "CAPA <capability> [<capability> ...]",
            "    Tell what this client is capable of: REDIRECT.",
            "GETNAME",
            "    Name of this connection.",
            "GETREDIR",
            "    Client that receives the invalidation messages of this one.",
            "ID",
            "    Number of this connection.",
            "IMPORT-SOURCE (ON|OFF)",
            "    Bring data from another server: see keys whose time is over. Only with import-mode yes.",
            "INFO",
            "    Line of CLIENT LIST about this connection.",
            "KILL <ip:port>",
            "    Close the connection from this address.",
            "KILL <filter> <value> [<filter> <value> ...]",
            "    Close all connections that match, this one not unless SKIPME is NO.",
            "LIST [<filter> <value> ...]",
            "    One line for each connection that matches. Filters:",
            "    * ID <number> [<number> ...], NAME <name>, USER <user>",
            "    * TYPE (NORMAL|PRIMARY|REPLICA|PUBSUB), FLAGS <letters>, DB <number>",
            "    * ADDR <ip:port>, LADDR <ip:port>, IP <ip>",
            "    * LIB-NAME <name>, LIB-VER <version>, CAPA <letters>",
            "    * MAXAGE <seconds>, IDLE <seconds>: at least so old, silent for at least so long",
            "    * SKIPME (YES|NO)",
            "    All but the last three also with NOT- in front.",
            "NO-EVICT (ON|OFF)",
            "    Spare this connection when connections take too much memory.",
            "NO-TOUCH (ON|OFF)",
            "    Do not count the commands of this connection as uses of their keys.",
            "PAUSE <milliseconds> [WRITE|ALL]",
            "    Let commands wait: those that write, or all.",
            "REPLY (ON|OFF|SKIP)",
            "    Answer the commands of this connection, or none, or not the next.",
            "SETINFO (LIB-NAME|LIB-VER) <value>",
            "    Tell which library this client uses.",
            "SETNAME <name>",
            "    Name this connection.",
            "TRACKING (ON|OFF) [REDIRECT <number>] [BCAST] [PREFIX <prefix> [...]] [OPTIN] [OPTOUT] [NOLOOP]",
            "    Tell this connection, or another in its place, when keys change that it has read.",
            "TRACKINGINFO",
            "    How this connection is told of changes to keys that it has read.",
            "UNBLOCK <number> [TIMEOUT|ERROR]",
            "    End the wait of a blocked client.",
            "UNPAUSE",
            "    End CLIENT PAUSE.",
        ],
    );
    WRITTEN
}
