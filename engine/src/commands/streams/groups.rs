//! XGROUP and XACK.

use super::{args, no_group};
use crate::command::Args;
use crate::context::Context;
use crate::error::CommandError;
use crate::keyspace::notify::Class;
use crate::reply::Reply;
use crate::types::stream::{Group, Log, Stream, StreamId};

const HELP: &[&str] = &[
    "CREATE <key> <groupname> <id|$> [option]",
    "    Make a group that is given what comes after an id. Options are:",
    "    * MKSTREAM",
    "      Make an empty stream if there is none.",
    "    * ENTRIESREAD entries_read",
    "      How many entries up to the id there ever were, if that is known.",
    "CREATECONSUMER <key> <groupname> <consumer>",
    "    Add a consumer to a group.",
    "DELCONSUMER <key> <groupname> <consumer>",
    "    Remove a consumer with what is pending for it.",
    "DESTROY <key> <groupname>",
    "    Remove a group.",
    "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
    "    Set the id after which a group goes on.",
];

const NO_KEY: CommandError = CommandError::text(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM \
     option to create an empty stream automatically.",
);

/// What CREATE and SETID say after the id.
struct Options {
    make_stream: bool,
    entries_read: Option<u64>,
}

impl Options {
    fn parse(args: &mut Args<'_>, creates: bool) -> Result<Self, CommandError> {
        let mut options = Self { make_stream: false, entries_read: None };
        args.seek(5);
        while args.left() > 0 {
            if creates && args.word("MKSTREAM") {
                options.make_stream = true;
            } else if args.left() > 1 && args.word("ENTRIESREAD") {
                options.entries_read = match args.integer()? {
                    -1 => None,
                    read => Some(u64::try_from(read).map_err(|_| {
                        CommandError::text("ERR value for ENTRIESREAD must be positive or -1")
                    })?),
                };
            } else {
                return Err(CommandError::bad_subcommand("XGROUP", args.get(1)));
            }
        }
        Ok(options)
    }
}

pub(super) fn create(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    const BUSY: CommandError = CommandError::text("BUSYGROUP Consumer Group name already exists");
    /// With every option once.
    const ARGS_MAX: usize = 8;
    let options = Options::parse(&mut args, true)?;
    let (key, name, id) = (args.get(2), args.get(3), args.get(4));
    let log = ctx.keyspace.stream_mut(key)?.map(|stream| stream.log());
    let is_new = log.is_none();
    if is_new && !options.make_stream {
        return Err(NO_KEY);
    }
    if args.count() > ARGS_MAX {
        return Err(CommandError::bad_subcommand("XGROUP", args.get(1)));
    }
    let last_id = match id {
        b"$" => log.map_or(StreamId::MIN, Log::last_id),
        id => args::id(id)?,
    };
    let group = Group::new(last_id, options.entries_read);
    if !ctx.keyspace.stream_or_new(key)?.add_group(name, group) {
        return Err(BUSY);
    }
    if is_new {
        ctx.keyspace.signal(key);
    }
    ctx.keyspace.add_dirty(1);
    ctx.keyspace.notify(Class::Stream, "xgroup-create", key);
    Ok(Reply::Ok)
}

pub(super) fn set_id(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<Reply, CommandError> {
    let options = Options::parse(&mut args, false)?;
    let (key, name, id) = (args.get(2), args.get(3), args.get(4));
    let (log, group) = group_mut(ctx, key, name)?;
    if args.count() != 5 && args.count() != 7 {
        return Err(CommandError::bad_subcommand("XGROUP", args.get(1)));
    }
    group.last_id = match id {
        b"$" => log.last_id(),
        id => args::id_or_end(id, 0)?,
    };
    group.entries_read = options.entries_read;
    ctx.keyspace.add_dirty(1);
    ctx.keyspace.notify(Class::Stream, "xgroup-setid", key);
    Ok(Reply::Ok)
}

pub(super) fn destroy(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let (key, name) = (args.get(2), args.get(3));
    let stream = ctx.keyspace.stream_mut(key)?.ok_or(NO_KEY)?;
    let Some(group) = stream.remove_group(name) else { return Ok(Reply::Integer(0)) };
    // What is pending goes with it: with the entries of the stream elsewhere, if that is much.
    let mut debris = Stream::new();
    debris.add_group(b"", group);
    ctx.keyspace.discard_part(key, crate::keyspace::Value::Stream(Box::new(debris)));
    ctx.keyspace.add_dirty(1);
    ctx.keyspace.notify(Class::Stream, "xgroup-destroy", key);
    // Whoever waits for entries of this group has to be told.
    ctx.keyspace.wake(key);
    Ok(Reply::Integer(1))
}

pub(super) fn create_consumer(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let (key, name) = (args.get(2), args.get(3));
    let now_ms = ctx.keyspace.clock_ms();
    let (_, group) = group_mut(ctx, key, name)?;
    let added = group.add_consumer(args.get(4), now_ms).is_some();
    if added {
        ctx.keyspace.add_dirty(1);
        ctx.keyspace.notify(Class::Stream, "xgroup-createconsumer", key);
    }
    Ok(added.into())
}

pub(super) fn delete_consumer(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let (key, name) = (args.get(2), args.get(3));
    let (_, group) = group_mut(ctx, key, name)?;
    let Some(pending) = group.remove_consumer(args.get(4)) else { return Ok(Reply::Integer(0)) };
    ctx.keyspace.add_dirty(1);
    ctx.keyspace.notify(Class::Stream, "xgroup-delconsumer", key);
    Ok(pending.into())
}

/// The group that a subcommand is about, which must be there.
fn group_mut<'c>(
    ctx: &'c mut Context<'_>,
    key: &[u8],
    name: &[u8],
) -> Result<(&'c Log, &'c mut Group), CommandError> {
    let stream = ctx.keyspace.stream_mut(key)?.ok_or(NO_KEY)?;
    match stream.group_mut(name) {
        (log, Some(group)) => Ok((log, group)),
        (_, None) => Err(no_such_group(key, name)),
    }
}

pub(super) fn no_such_group(key: &[u8], name: &[u8]) -> CommandError {
    no_group(&[b"No such consumer group '", name, b"' for key name '", key, b"'"])
}

pub(super) fn help(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Reply, CommandError> {
    ctx.out.help("XGROUP", HELP);
    Ok(Reply::Written)
}

pub(super) fn xack(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Reply, CommandError> {
    let Some(stream) = ctx.keyspace.stream_mut(args.get(1))? else { return Ok(Reply::Integer(0)) };
    let (_, Some(group)) = stream.group_mut(args.get(2)) else { return Ok(Reply::Integer(0)) };
    let ids = args::ids(args.all().get(3..).unwrap_or_default())?;
    let count = ids.into_iter().filter(|id| group.acknowledge(*id).is_some()).count();
    ctx.keyspace.add_dirty(count as u64);
    Ok(count.into())
}
