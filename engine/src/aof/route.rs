//! Which slots a logged command touches, so that a log can be replayed by many cores at once: commands of one slot keep their
//! order, commands of different slots need none.
//!
//! | command                                                    | route                                   |
//! |------------------------------------------------------------|-----------------------------------------|
//! | keys where its row says                                     | their slots                              |
//! | no keys, such as FLUSHALL and SWAPDB                         | all                                      |
//! | keys that only running it finds (SORT, scripts)              | all                                      |
//! | not in the tables, or whose keys are not where its row says  | all: whoever replays it will refuse it    |
//!
//! The databases play no part: what a slot has of all databases belongs together.

use super::read::Unit;
use crate::command::{Begin, Command, Find, Flag, Group, KeyFlag};
use crate::commands;
use crate::hash::Hasher;
use crate::slot::Slot;
use hashbrown::HashMap;
use smallvec::SmallVec;

/// Longer than the name of any command.
const NAME_MAX: usize = 32;

/// The slots that a command or a unit touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Only this one.
    One(Slot),
    /// These, in order, none of them twice. Empty for an empty transaction.
    Several(SmallVec<[Slot; 4]>),
    /// Perhaps any: to be run when all before it is done, before anything after it.
    All,
}

impl Route {
    fn of(mut slots: SmallVec<[Slot; 4]>) -> Self {
        slots.sort_unstable();
        slots.dedup();
        match slots.as_slice() {
            [slot] => Self::One(*slot),
            _ => Self::Several(slots),
        }
    }
}

/// Where the keys of a command are.
#[derive(Clone, Copy, Debug)]
enum Keys {
    /// Only at this argument.
    At(usize),
    /// Where the row says.
    Row(&'static Command),
    /// Where the row of the subcommand says.
    Subcommands(&'static [Command]),
    Anywhere,
}

/// Finds the route of commands. Built once, used by any number of threads.
#[derive(Debug)]
pub struct Router {
    names: HashMap<&'static [u8], Keys, Hasher>,
}

impl Router {
    /// Knows the commands of the engine and those of further tables.
    pub fn new(tables: &[&'static [Command]]) -> Self {
        let all = commands::all().chain(tables.iter().copied().flatten());
        let mut names = HashMap::with_hasher(Hasher::default());
        for command in all {
            names.insert(command.name.as_bytes(), keys(command));
        }
        Self { names }
    }

    /// The route of one command. One look into a table and one CRC16, for commands with a single key.
    pub fn command(&self, args: &[&[u8]]) -> Route {
        match self.keys_of(args) {
            Keys::At(at) => args.get(at).map_or(Route::All, |key| Route::One(Slot::of(key))),
            Keys::Row(row) => by_row(row, args),
            Keys::Subcommands(_) | Keys::Anywhere => Route::All,
        }
    }

    /// The route of all commands of a unit together.
    pub fn unit(&self, unit: &Unit<'_, '_>) -> Route {
        if !unit.transaction {
            return unit.commands().next().map_or(Route::All, |command| self.command(command.args));
        }
        let mut slots = SmallVec::new();
        for command in unit.commands() {
            match self.command(command.args) {
                Route::One(slot) => slots.push(slot),
                Route::Several(more) => slots.extend(more),
                Route::All => return Route::All,
            }
        }
        Route::of(slots)
    }

    fn keys_of(&self, args: &[&[u8]]) -> Keys {
        let Some(name) = args.first() else { return Keys::Anywhere };
        let mut upper = [0; NAME_MAX];
        let Some(upper) = upper.get_mut(..name.len()) else { return Keys::Anywhere };
        upper.copy_from_slice(name);
        upper.make_ascii_uppercase();
        match self.names.get(&*upper) {
            Some(Keys::Subcommands(subcommands)) => {
                let is_named = |sub: &&Command| {
                    args.get(1).is_some_and(|name| name.eq_ignore_ascii_case(sub.name.as_bytes()))
                };
                subcommands.iter().find(is_named).map_or(Keys::Anywhere, keys)
            }
            Some(keys) => *keys,
            None => Keys::Anywhere,
        }
    }
}

fn keys(command: &'static Command) -> Keys {
    let incomplete = |command: &Command| {
        command.has_unknown_keys()
            || command.keys.iter().any(|spec| spec.flags.contains(&KeyFlag::Incomplete))
    };
    if !command.subcommands.is_empty() {
        return Keys::Subcommands(command.subcommands);
    }
    if command.group == Group::Scripting || command.has(Flag::TouchesArbitraryKeys) || incomplete(command) {
        return Keys::Anywhere;
    }
    match command.keys {
        [] => Keys::Anywhere,
        [only] => match (only.begin, only.find) {
            (Begin::Index(at), Find::Range { last: 0, .. }) => Keys::At(at),
            _ => Keys::Row(command),
        },
        _ => Keys::Row(command),
    }
}

fn by_row(row: &Command, args: &[&[u8]]) -> Route {
    let mut slots: SmallVec<[Slot; 4]> = SmallVec::new();
    for spec in row.keys {
        let mut add = |at: usize| slots.extend(args.get(at).map(|key| Slot::of(key)));
        if spec.positions(args, &mut add).is_err() {
            return Route::All;
        }
    }
    if slots.is_empty() { Route::All } else { Route::of(slots) }
}

#[cfg(test)]
mod tests {
    use super::super::read::Reader;
    use super::*;

    /// What the routes of commands are, by the keys that name their slots; `*` is all.
    #[track_caller]
    fn check(line: &str, expected: &str) {
        let args: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        assert_eq!(Router::new(&[]).command(&args), route(expected), "{line}");
    }

    fn route(keys: &str) -> Route {
        if keys == "*" {
            return Route::All;
        }
        Route::of(keys.split_whitespace().map(|key| Slot::of(key.as_bytes())).collect())
    }

    #[test]
    fn routes_of_commands() {
        check("SET a 1", "a");
        check("set a 1 PXAT 5", "a");
        check("DEL a", "a");
        check("UNLINK a b c", "a b c");
        check("MSET a 1 b 2", "a b");
        check("MSET {t}a 1 {t}b 2", "t");
        check("RENAME a b", "a b");
        check("COPY a b DB 3", "a b");
        check("MOVE a 2", "a");
        check("SINTERSTORE d a b", "d a b");
        check("ZUNIONSTORE d 2 a b", "d a b");
        check("ZUNIONSTORE d 9 a b", "*");
        check("LMPOP 2 a b LEFT", "a b");
        check("GEORADIUS a 0 0 1 km STORE b", "a b");
        check("SORT a STORE b", "*");
        check("FLUSHALL", "*");
        check("SWAPDB 0 1", "*");
        check("FUNCTION LOAD x", "*");
        check("OBJECT FREQ a", "a");
        check("NONSENSE a", "*");
        check("SET", "*");
        check(&"x".repeat(99), "*");
        assert_eq!(Router::new(&[]).command(&[]), Route::All);
    }

    #[test]
    fn routes_of_transactions() {
        let mut file = Vec::new();
        for line in [
            "MULTI", "SET a 1", "SADD b x", "EXEC", "MULTI", "SET a 1", "FLUSHALL", "EXEC", "MULTI", "EXEC",
            "DEL c",
        ] {
            let args: Vec<&str> = line.split(' ').collect();
            file.extend(format!("*{}\r\n", args.len()).bytes());
            file.extend(args.iter().flat_map(|arg| format!("${}\r\n{arg}\r\n", arg.len()).into_bytes()));
        }
        let (router, mut reader, mut routes) = (Router::new(&[]), Reader::new(&file, 0), Vec::new());
        while let Some(unit) = reader.read() {
            routes.push(router.unit(&unit));
        }
        assert_eq!(routes, ["a b", "*", "", "c"].map(route));
    }

    /// The shortcut for single keys gives what the row gives.
    #[test]
    fn the_shortcut_equals_the_row() {
        for command in commands::all() {
            if let Keys::At(at) = keys(command) {
                let least = match command.arity {
                    crate::command::Arity::Exactly(n) | crate::command::Arity::AtLeast(n) => n,
                };
                let names: Vec<String> = (0..least.max(at + 1)).map(|n| format!("k{n}")).collect();
                let args: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
                assert_eq!(by_row(command, &args), Route::One(Slot::of(args[at])), "{}", command.name);
            }
        }
    }
}
