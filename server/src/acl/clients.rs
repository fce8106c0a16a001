//! What a change of users means for the clients that are connected, and the noting of what they were refused.

use super::file;
use super::log::{Event, Place};
use super::selector::{Allowed, Selector, quote_words};
use super::table::{Acl, Change};
use super::user::{Ground, Rules, User};
use super::verdict::{Reason, Refusal};
use crate::client::{Client, End};
use crate::commands::describe_client;
use crate::config::{AclPubsubDefault, Directive, rewrite_file};
use crate::log;
use crate::logging::Level;
use crate::server::Server;
use baton::pubsub::Kind;
use baton::registry::Registered;
use baton_engine::error::CommandError;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What rules are applied on.
pub fn ground(server: &Server) -> Ground<'_> {
    let all_channels = server.settings().acl_pubsub_default == AclPubsubDefault::Allchannels;
    Ground { registry: &server.node.registry, all_channels }
}

/// Takes over the users of the configuration and of the file that it names.
///
/// # Errors
/// Says why the node must not start.
pub fn load_at_start(server: &Server, lines: Vec<Directive>) -> Result<(), String> {
    let settings = server.settings();
    if !settings.requirepass.is_empty() {
        server.acl.set_default_password(&settings.requirepass);
    }
    if settings.aclfile.is_empty() {
        let users = file::from_directives(lines, ground(server)).map_err(|error| error.to_string())?;
        for (name, rules) in users {
            if !rules.is_enabled() {
                let name = String::from_utf8_lossy(&name);
                log!(
                    Level::Notice,
                    "The user '{name}' is disabled (there is no 'on' modifier in the user description). Make sure this \
                     is not a configuration error."
                );
            }
            server.acl.define(&name, rules);
        }
        return Ok(());
    }
    if !lines.is_empty() {
        return Err(
            "Configuring users in the configuration file and in an ACL file at the same time is not \
                    possible: use one of the two."
                .to_owned(),
        );
    }
    load_file(server, None).map_err(|error| format!("Aborting startup because of ACL errors: {error}"))
}

/// ACL LOAD: the users of the file take the place of all that there are.
///
/// # Errors
/// Says all that is wrong with the file; nothing has changed.
pub fn load_file(server: &Server, me: Option<&Client>) -> Result<(), String> {
    let path = &server.settings().aclfile;
    let name = path.lossy();
    let text = std::fs::read(path.path()).map_err(|error| {
        format!("Error loading ACLs, opening file '{name}': {}", crate::config::os_text(&error))
    })?;
    let ground = ground(server);
    let wanted = file::parse(&name, &text, ground)?;
    let (changes, gone) = server.acl.replace(wanted, ground);
    end_clients_of(server, &gone, me);
    changes.iter().for_each(|change| end_listeners(server, change, me));
    Ok(())
}

/// ACL SAVE: writes all users into the file, in one step.
///
/// # Errors
/// The file could not be written, and is as it was.
pub fn save_file(server: &Server) -> std::io::Result<()> {
    let text: Vec<u8> =
        lines(&server.acl).into_iter().flat_map(|line| line.into_iter().chain([b'\n'])).collect();
    rewrite_file(server.settings().aclfile.path(), &text)
}

/// The users, one line for each, as the configuration has them.
pub fn quoted_lines(acl: &Acl) -> Vec<Vec<u8>> {
    lines(acl).iter().map(|line| quote_words(line)).collect()
}

/// The users, one line for each, as their own file has them.
pub fn lines(acl: &Acl) -> Vec<Vec<u8>> {
    acl.all().iter().map(|user| user.line()).collect()
}

/// Ends the clients of users who are no more. The one that asked for it gets its answer first.
pub fn end_clients_of(server: &Server, gone: &[Arc<User>], me: Option<&Client>) {
    if gone.is_empty() {
        return;
    }
    for client in server.all_clients() {
        if gone.iter().any(|user| Arc::ptr_eq(user, &client.user())) {
            end(&client, me);
        }
    }
}

fn end(client: &Client, me: Option<&Client>) {
    let is_me = me.is_some_and(|me| me.id == client.id);
    client.end(if is_me { End::AfterReply } else { End::Now });
}

/// Ends the clients of a changed user who listen to what they must not listen to any more.
pub fn end_listeners(server: &Server, change: &Change, me: Option<&Client>) {
    let now = change.user.rules();
    if keeps_channels(&change.before, &now) {
        return;
    }
    let allowed = |kind, name: &[u8]| {
        now.selectors().iter().any(|selector| selector.allows_channel(name, kind == Kind::Pattern))
    };
    for kind in [Kind::Channel, Kind::Pattern, Kind::Shard] {
        for id in server.node.pubsub.listeners(kind, |name| !allowed(kind, name)) {
            if let Some(client) = server.client(id).filter(|client| Arc::ptr_eq(&client.user(), &change.user))
            {
                end(&client, me);
            }
        }
    }
}

/// Whether every channel that was allowed is allowed by the same word still: then nobody has to be looked at.
fn keeps_channels(before: &Rules, now: &Rules) -> bool {
    let lists = |rules: &Rules| -> Allowed<Box<[u8]>> {
        let mut all = Vec::new();
        for channels in rules.selectors().iter().map(Selector::channels) {
            match channels {
                Allowed::All => return Allowed::All,
                Allowed::Only(patterns) => all.extend(patterns.iter().cloned()),
            }
        }
        Allowed::Only(all)
    };
    match (lists(before), lists(now)) {
        (_, Allowed::All) => true,
        (Allowed::All, Allowed::Only(_)) => false,
        (Allowed::Only(before), Allowed::Only(now)) => before.iter().all(|pattern| now.contains(pattern)),
    }
}

/// Notes a login that failed. `command` is the word with which it was tried.
pub fn note_failed_login(server: &Server, client: &Client, place: Place, user: &[u8], command: &[u8]) {
    note(server, client, place, Reason::Auth, user, command);
}

/// Notes a certificate that says the name of nobody.
pub fn note_unknown_certificate(server: &Server, client: &Client, user: &[u8]) {
    note(server, client, Place::TopLevel, Reason::Certificate, user, b"");
}

/// Notes a command that was refused. Returns the error for the client.
pub fn refuse(
    server: &Server,
    client: &Client,
    place: Place,
    refusal: Refusal,
    command: &Registered,
    args: &[&[u8]],
) -> CommandError {
    match refusal {
        Refusal::Denied(denial) => {
            let (user, command) = (client.user(), shown(server, command));
            note(server, client, place, denial.reason, user.name(), denial.object(command, args));
            denial.error(&user, command)
        }
        Refusal::Patterns(why) => CommandError::text(why),
    }
}

/// Whether a client may still have the command run for which it has waited.
pub fn may_go_on(server: &Server, client: &Client, args: &[&[u8]]) -> Result<(), CommandError> {
    let Some(command) = args.first().and_then(|name| server.node.registry.find(name)) else { return Ok(()) };
    let rules = client.user().rules();
    rules
        .check_fully(command, args)
        .map_err(|refusal| refuse(server, client, Place::TopLevel, refusal, command, args))
}

/// As which command this one is known.
pub fn shown<'s>(server: &'s Server, command: &Registered) -> &'s Registered {
    server.node.registry.get(command.shown_as)
}

fn note(server: &Server, client: &Client, place: Place, reason: Reason, user: &[u8], object: &[u8]) {
    let counters = &server.counters;
    let counter = match reason {
        Reason::Command => &counters.denied_commands,
        Reason::Key => &counters.denied_keys,
        Reason::Channel => &counters.denied_channels,
        Reason::Auth => &counters.denied_auth,
        Reason::Certificate => &counters.denied_certificates,
    };
    counter.fetch_add(1, Ordering::Relaxed);
    let (user, object) = (user.to_vec(), object.to_vec());
    let event = Event { reason, place, object, user, client: describe_client(server, client, 0) };
    server.acl.log.note(event, server.node.now_ms(), server.settings().acllog_max_len);
}
