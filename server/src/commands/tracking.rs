//! CLIENT TRACKING and its kin: clients that keep copies of what they read. Their rows are with CLIENT.

use super::{Flow, Handler, OK, WRITTEN};
use crate::client::Client;
use crate::session::Session;
use baton::held::Held;
use baton::tracking::{Event, Listener, Mode, Reads, Refused, Tracker};
use baton_engine::error::CommandError;
use baton_engine::number::parse_i64;
use baton_engine::reply::Reply;
use std::collections::BTreeSet;
use std::sync::Arc;

pub const HANDLERS: &[(&str, Handler)] = &[
    ("client|caching", caching),
    ("client|getredir", getredir),
    ("client|tracking", tracking),
    ("client|trackinginfo", trackinginfo),
];

fn refused(why: Refused) -> CommandError {
    CommandError::owned(why.to_string())
}

/// What CLIENT TRACKING was given.
#[derive(Default)]
struct Options<'a> {
    redirect: Option<Arc<Client>>,
    broadcast: bool,
    opt_in: bool,
    opt_out: bool,
    no_loop: bool,
    prefixes: Vec<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(session: &Session, mut args: &'a [&'a [u8]]) -> Result<Self, CommandError> {
        let mut options = Self::default();
        while let [word, rest @ ..] = args {
            args = rest;
            match word {
                word if word.eq_ignore_ascii_case(b"bcast") => options.broadcast = true,
                word if word.eq_ignore_ascii_case(b"optin") => options.opt_in = true,
                word if word.eq_ignore_ascii_case(b"optout") => options.opt_out = true,
                word if word.eq_ignore_ascii_case(b"noloop") => options.no_loop = true,
                word if word.eq_ignore_ascii_case(b"prefix") && !rest.is_empty() => {
                    options.prefixes.push(rest[0]);
                    args = &rest[1..];
                }
                word if word.eq_ignore_ascii_case(b"redirect") && !rest.is_empty() => {
                    options.redirect = options.take_redirect(session, rest[0])?;
                    args = &rest[1..];
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(options)
    }

    fn take_redirect(&self, session: &Session, id: &[u8]) -> Result<Option<Arc<Client>>, CommandError> {
        if self.redirect.is_some() {
            return Err(CommandError::text("ERR A client can only redirect to a single other client"));
        }
        let id = parse_i64(id).ok_or(CommandError::NotInteger)?;
        let client = u64::try_from(id).ok().and_then(|id| session.server.client(id));
        let absent = CommandError::text("ERR The client ID you want redirect to does not exist");
        client.map(Some).ok_or(absent)
    }

    /// What is to happen to the client, if the options go together.
    fn event(&self) -> Result<Event, CommandError> {
        if self.broadcast && (self.opt_in || self.opt_out) {
            return Err(CommandError::text("ERR OPTIN and OPTOUT are not compatible with BCAST"));
        }
        let which = match (self.opt_in, self.opt_out) {
            (true, true) => {
                return Err(CommandError::text("ERR You can't specify both OPTIN mode and OPTOUT mode"));
            }
            (true, false) => Reads::OptIn,
            (false, true) => Reads::OptOut,
            (false, false) => Reads::All,
        };
        Ok(Event::On { broadcast: self.broadcast, which })
    }

    /// The prefixes of a client that has some already: none may be the beginning of another.
    fn all_prefixes(&self, before: &[Box<[u8]>]) -> Result<Option<Vec<Box<[u8]>>>, CommandError> {
        if !self.broadcast {
            return Ok(None);
        }
        let overlap = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
        for (at, prefix) in self.prefixes.iter().enumerate() {
            if let Some(other) = before.iter().find(|other| overlap(prefix, other)) {
                return Err(collision(prefix, "an existing prefix", other));
            }
            if let Some(other) = self.prefixes[at + 1..].iter().find(|other| overlap(prefix, other)) {
                return Err(collision(prefix, "another provided prefix", other));
            }
        }
        let mut all: BTreeSet<Box<[u8]>> = before.iter().cloned().collect();
        all.extend(self.prefixes.iter().map(|prefix| Box::from(*prefix)));
        if self.prefixes.is_empty() {
            all.insert(Box::default());
        }
        Ok(Some(all.into_iter().collect()))
    }
}

fn collision(prefix: &[u8], of: &str, other: &[u8]) -> CommandError {
    CommandError::owned(format!(
        "ERR Prefix '{}' overlaps with {of} '{}'. Prefixes for a single client must not overlap.",
        String::from_utf8_lossy(prefix),
        String::from_utf8_lossy(other)
    ))
}

fn tracking(
    session: &mut Session,
    args: &[&[u8]],
    held: Option<&mut Held<'_>>,
) -> Result<Flow, CommandError> {
    let options = Options::parse(session, &args[3..])?;
    match args[2] {
        word if word.eq_ignore_ascii_case(b"on") => {}
        word if word.eq_ignore_ascii_case(b"off") => {
            session.stop_tracking(held);
            return OK;
        }
        _ => return Err(CommandError::Syntax),
    }
    if !options.broadcast && !options.prefixes.is_empty() {
        return Err(CommandError::text("ERR PREFIX option requires BCAST mode to be enabled"));
    }
    // Switching is looked at before options that do not go together: as in Redis.
    if session.tracking.is_on() && (session.tracking == Mode::Broadcast) != options.broadcast {
        return Err(refused(Refused::SwitchBroadcast));
    }
    let mode = session.tracking.on(options.event()?).map_err(refused)?;
    let before = session.client.tracker();
    let prefixes = options.all_prefixes(before.as_ref().map_or(&[], |tracker| tracker.prefixes()))?;
    let to = options.redirect.map(|client| client as Arc<dyn Listener>);
    let tracker = Tracker::new(session.client.clone(), to, options.no_loop, prefixes);
    session.start_tracking(mode, Arc::new(tracker), held);
    OK
}

fn caching(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let yes = match args[2] {
        // Who keeps no copies hears of that first.
        _ if !session.tracking.is_on() => true,
        word if word.eq_ignore_ascii_case(b"yes") => true,
        word if word.eq_ignore_ascii_case(b"no") => false,
        _ => return Err(CommandError::Syntax),
    };
    session.set_tracking(session.tracking.on(Event::Caching(yes)).map_err(refused)?);
    OK
}

fn getredir(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    Ok(Flow::Reply(Reply::Integer(session.client.redirect())))
}

fn trackinginfo(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let tracker = session.client.tracker();
    let mut flags = match session.tracking {
        Mode::Off => vec!["off"],
        Mode::Broadcast => vec!["on", "bcast"],
        Mode::Reads { which: Reads::All, .. } => vec!["on"],
        Mode::Reads { which: Reads::OptIn, marked: false } => vec!["on", "optin"],
        Mode::Reads { which: Reads::OptIn, marked: true } => vec!["on", "optin", "caching-yes"],
        Mode::Reads { which: Reads::OptOut, marked: false } => vec!["on", "optout"],
        Mode::Reads { which: Reads::OptOut, marked: true } => vec!["on", "optout", "caching-no"],
    };
    if tracker.as_ref().is_some_and(|tracker| tracker.no_loop()) {
        flags.push("noloop");
    }
    if tracker.as_ref().is_some_and(|tracker| tracker.is_broken()) {
        flags.push("broken_redirect");
    }
    let prefixes = tracker.as_ref().map_or(&[][..], |tracker| tracker.prefixes());
    let redirect = session.client.redirect();
    let out = &mut session.out;
    out.map(3);
    out.bulk(b"flags");
    out.set(flags.len());
    flags.iter().for_each(|flag| out.bulk(flag.as_bytes()));
    out.bulk(b"redirect");
    out.integer(redirect);
    out.bulk(b"prefixes");
    out.array(prefixes.len());
    prefixes.iter().for_each(|prefix| out.bulk(prefix));
    WRITTEN
}
