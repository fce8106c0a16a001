//! The commands that work on data: one file per family, each with its table on top.
//!
//! A new command touches its family's file; a new family adds one line to [`FAMILIES`].

mod bitmaps;
mod blocking_lists;
mod databases;
mod debug;
mod expiry_args;
mod geo;
mod hashes;
mod hyperloglogs;
mod keys;
mod lists;
mod scan_options;
mod sets;
mod sort;
pub mod streams;
mod strings;
#[cfg(test)]
mod table_tests;
mod timeout;
mod zsets;

use crate::command::Command;

/// The tables of all families.
#[rustfmt::skip]
pub const FAMILIES: &[&[Command]] = &[
    bitmaps::COMMANDS,
    hashes::COMMANDS,
    hashes::expiry::COMMANDS,
    databases::COMMANDS,
    debug::COMMANDS,
    blocking_lists::COMMANDS,
    hyperloglogs::COMMANDS,
    keys::COMMANDS,
    lists::COMMANDS,
    sets::COMMANDS,
    sort::COMMANDS,
    streams::COMMANDS,
    strings::COMMANDS,
    geo::COMMANDS,
    zsets::COMMANDS,
];

/// The rows of all commands that the engine runs.
pub fn all() -> impl Iterator<Item = &'static Command> {
    FAMILIES.iter().copied().flatten()
}

/// The row for these arguments, subcommands included. Walks the tables: for hot paths build a map.
pub fn find(args: &[&[u8]]) -> Option<&'static Command> {
    let named = |command: &&Command, at: usize| {
        args.get(at).is_some_and(|name| name.eq_ignore_ascii_case(command.name.as_bytes()))
    };
    let command = all().find(|command| named(command, 0))?;
    if command.subcommands.is_empty() {
        return Some(command);
    }
    command.subcommands.iter().find(|sub| named(sub, 1))
}
