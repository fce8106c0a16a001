//! CORE: the cores of this node and who of them owns which slots. Our own; no other server has it.

use super::{Flow, Handler, OK, WRITTEN};
use crate::log;
use crate::logging::Level;
use crate::session::Session;
use baton::held::Held;
use baton_engine::command::{Arity, Command, Flag::*, Group};
use baton_engine::error::CommandError;
use baton_engine::number::parse_i64;
use baton_engine::reply::Reply;
use baton_engine::slot::SLOTS;
use std::sync::atomic::Ordering;

pub const COMMANDS: &[Command] = &[Command {
    name: "CORE",
    arity: Arity::AtLeast(2),
    group: Group::Server,
    since: "7.2.0",
    complexity: "Depends on subcommand.",
    summary: "A container for the cores of the node.",
    subcommands: &[
        Command {
            name: "GATHER",
            arity: Arity::Exactly(3),
            flags: &[Admin, NoScript, Loading, Stale],
            group: Group::Server,
            since: "7.2.0",
            complexity: "O(n) for n connections",
            summary: "Sets how many cores serve connections, or lets the load decide.",
            ..Command::BASE
        },
        Command {
            name: "HELP",
            arity: Arity::Exactly(2),
            flags: &[Loading, Stale],
            group: Group::Server,
            since: "7.2.0",
            complexity: "O(1)",
            summary: "Explains the subcommands.",
            ..Command::BASE
        },
        Command {
            name: "MOVE",
            arity: Arity::Exactly(5),
            flags: &[Admin, NoScript, NoMulti],
            group: Group::Server,
            since: "7.2.0",
            complexity: "O(n) for n slots; their keys stay where they are in memory",
            summary: "Gives a range of slots to another core while serving.",
            ..Command::BASE
        },
        Command {
            name: "SLOTS",
            arity: Arity::Exactly(2),
            flags: &[Loading, Stale],
            group: Group::Server,
            since: "7.2.0",
            complexity: "O(n) for n slots",
            summary: "Lists the ranges of slots, each with the core that owns it.",
            ..Command::BASE
        },
        Command {
            name: "STATS",
            arity: Arity::Exactly(2),
            flags: &[Loading, Stale],
            tips: &["nondeterministic_output"],
            group: Group::Server,
            since: "7.2.0",
            complexity: "O(n) for n cores",
            summary: "Returns the figures of every core.",
            ..Command::BASE
        },
    ],
    ..Command::BASE
}];

pub const HANDLERS: &[(&str, Handler)] = &[
    ("core|gather", gather),
    ("core|help", help),
    ("core|move", move_slots),
    ("core|slots", slots),
    ("core|stats", stats),
];

fn gather(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let most = session.server.cores.len();
    let cores = if args[2].eq_ignore_ascii_case(b"AUTO") {
        Some(0)
    } else {
        parse_i64(args[2]).and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=most).contains(n))
    };
    let cores =
        cores.ok_or_else(|| CommandError::owned(format!("ERR Say AUTO or a number from 1 to {most}")))?;
    session.server.gather_by_hand(cores);
    OK
}

fn move_slots(session: &mut Session, args: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let node = &session.server.node;
    let slot = |arg: &[u8]| {
        let slot = parse_i64(arg).and_then(|slot| usize::try_from(slot).ok()).filter(|slot| *slot < SLOTS);
        slot.ok_or_else(|| {
            CommandError::owned(format!(
                "ERR Invalid slot '{}': slots are 0 to {}",
                String::from_utf8_lossy(arg),
                SLOTS - 1
            ))
        })
    };
    let (first, last) = (slot(args[2])?, slot(args[3])?);
    if first > last {
        return Err(CommandError::owned(format!("ERR The first slot {first} is after the last, {last}")));
    }
    let core =
        parse_i64(args[4]).and_then(|core| usize::try_from(core).ok()).filter(|core| *core < node.cores());
    let core = core.ok_or_else(|| {
        let given = String::from_utf8_lossy(args[4]);
        CommandError::owned(format!("ERR No core '{given}': cores are 0 to {}", node.cores() - 1))
    })?;
    let moved = node.move_slots(first, last, core);
    log!(Level::Notice, "Slots {first} to {last} now belong to core {core}; {moved} of them were elsewhere");
    Ok(Flow::Reply(Reply::from(moved)))
}

fn slots(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let ranges = session.server.node.slots.ranges();
    session.out.array(ranges.len());
    for (first, last, core) in ranges {
        session.out.array(3);
        [first, last, core].into_iter().for_each(|n| session.out.integer(n as i64));
    }
    WRITTEN
}

fn stats(session: &mut Session, _: &[&[u8]], held: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    let server = session.server.clone();
    let ranges = server.node.slots.ranges();
    let held_figures: Vec<[u64; 3]> = session.with_all(held, |held| {
        let figures = held.states().map(|state| {
            let databases = 0..state.shard.databases();
            let keys: usize = databases.map(|db| state.shard.counts(db).keys).sum();
            [keys as u64, state.book.borrowed, state.book.inbox]
        });
        figures.collect()
    });
    session.out.array(held_figures.len());
    for (core, [keys, borrowed, inbox]) in held_figures.into_iter().enumerate() {
        let own = ranges.iter().filter(|range| range.2 == core);
        let slots: usize = own.map(|(first, last, _)| last - first + 1).sum();
        let figures = &server.cores[core];
        let fields = [
            ("core", core as u64),
            ("slots", slots as u64),
            ("keys", keys),
            ("serves", u64::from(core < server.gathering.count())),
            ("connections", figures.connections.load(Ordering::Relaxed) as u64),
            ("commands", figures.commands.load(Ordering::Relaxed)),
            ("bytes-in", figures.bytes_in.load(Ordering::Relaxed)),
            ("bytes-out", figures.bytes_out.load(Ordering::Relaxed)),
            ("borrowed", borrowed),
            ("inbox", inbox),
        ];
        session.out.map(fields.len());
        for (name, value) in fields {
            session.out.bulk(name.as_bytes());
            session.out.integer(value as i64);
        }
    }
    WRITTEN
}

fn help(session: &mut Session, _: &[&[u8]], _: Option<&mut Held<'_>>) -> Result<Flow, CommandError> {
    session.out.help(
        "CORE",
        &[
            "GATHER <cores>|AUTO",
            "    Let so many cores serve connections, or as many as the load needs.",
            "MOVE <first> <last> <core>",
            "    Give the slots from first to last to a core. Answers how many of them were elsewhere.",
            "SLOTS",
            "    List the ranges of slots: first, last, core.",
            "STATS",
            "    Show the figures of every core. Commands are counted where their connection is;",
            "    borrowed: run here by connections of other cores; inbox: run here for them.",
        ],
    );
    WRITTEN
}
