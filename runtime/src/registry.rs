//! The registry: every command by name, with what routing needs to know about it.

mod names;

use baton_engine::command::{Begin, Command, Find, Flag, Group, Run, ShardFn};
use baton_engine::keyspace::KeyType;
use names::{Names, Numbers};
use std::collections::HashMap;

/// A command as the registry knows it.
#[derive(Debug)]
pub struct Registered {
    /// Its row.
    pub command: &'static Command,
    /// Full name in lower case: `get`, `config|get`.
    pub name: String,
    /// Its number: an index for statistics and handlers.
    pub id: usize,
    /// Its flags as bits.
    pub flags: u64,
    /// The argument that is its only key, for commands with exactly one key at a fixed place.
    pub only_key: Option<usize>,
    /// May be part of a batch: it works on the data, does not block, and its arguments name its keys.
    pub batches: bool,
    /// Works on a part of a hash, a set or a sorted set.
    pub looks_inside: bool,
    /// Runs on the data, if it does.
    pub run: Option<ShardFn>,
    /// Runs on all shards at once.
    pub all_shards: bool,
    /// Subcommands by lower-case name.
    pub subcommands: HashMap<String, usize>,
    /// Number of the container.
    pub container: Option<usize>,
    /// The number under which it is counted and shown: that of its container if nobody shall know of its subcommands.
    pub shown_as: usize,
}

impl Registered {
    /// Whether it has this flag.
    #[inline]
    pub fn has(&self, flag: Flag) -> bool {
        self.flags & flag.bit() != 0
    }

    /// The type of key that a blocking command waits for.
    pub fn waits_for(&self) -> KeyType {
        match self.name.as_bytes() {
            [b'b', b'z', ..] => KeyType::ZSet,
            [b'x', ..] => KeyType::Stream,
            _ => KeyType::List,
        }
    }
}

/// All commands of a process.
#[derive(Debug)]
pub struct Registry {
    all: Vec<Registered>,
    /// Renamed commands are here under their new name.
    names: Names,
    /// The names that commands have of their own.
    own_names: Names,
    reachable: Vec<bool>,
}

impl Registry {
    /// The commands of the engine and of these further tables.
    pub fn new(tables: &[&'static [Command]]) -> Self {
        let mut registry = Self {
            all: Vec::new(),
            names: Names::default(),
            own_names: Names::default(),
            reachable: Vec::new(),
        };
        let engine = baton_engine::commands::all();
        let mut names = Numbers::default();
        for command in engine.chain(tables.iter().copied().flatten()) {
            let id = registry.add(command, None);
            names.insert(registry.all[id].name.clone().into_bytes(), id);
        }
        registry.names = Names::new(names);
        registry.own_names = registry.names.clone();
        registry
    }

    fn add(&mut self, command: &'static Command, container: Option<usize>) -> usize {
        let own = command.name.to_ascii_lowercase();
        let name = match container {
            Some(parent) => format!("{}|{own}", self.all[parent].name),
            None => own,
        };
        let id = self.all.len();
        let hidden_in = container.filter(|parent| self.all[*parent].command.hidden_subcommands);
        let (run, all_shards) = match command.run {
            Run::Keys(run) => (Some(run), false),
            Run::AllShards(run) => (Some(run), true),
            Run::Elsewhere => (None, false),
        };
        self.all.push(Registered {
            command,
            name,
            id,
            flags: command.flag_bits(),
            only_key: only_key(command),
            batches: run.is_some()
                && !all_shards
                && !command.flags.contains(&Flag::Blocking)
                && !command.keys.is_empty()
                && !command.has_unknown_keys(),
            looks_inside: matches!(command.group, Group::Hash | Group::Set | Group::SortedSet),
            run,
            all_shards,
            subcommands: HashMap::new(),
            container,
            shown_as: hidden_in.unwrap_or(id),
        });
        self.reachable.push(true);
        for sub in command.subcommands {
            let sub_id = self.add(sub, Some(id));
            self.all[id].subcommands.insert(sub.name.to_ascii_lowercase(), sub_id);
        }
        id
    }

    /// A command by its name, in any case; containers are not resolved to their subcommands.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&Registered> {
        self.names.find(name).map(|id| &self.all[id])
    }

    /// A command by the name that it has of its own, whatever it was renamed to: logs and replicas know that one.
    pub fn find_own(&self, name: &[u8]) -> Option<&Registered> {
        self.own_names.find(name).map(|id| &self.all[id])
    }

    /// The subcommand of a container, in any case.
    pub fn subcommand(&self, container: &Registered, name: &[u8]) -> Option<&Registered> {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        container.subcommands.get(&name).map(|id| &self.all[*id])
    }

    /// A command by its number.
    pub fn get(&self, id: usize) -> &Registered {
        &self.all[id]
    }

    /// All commands, subcommands included, in order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Registered> {
        self.all.iter()
    }

    /// Whether it answers to a name: `rename-command` may have taken that away.
    pub fn is_reachable(&self, id: usize) -> bool {
        self.reachable.get(id).copied().unwrap_or(false)
    }

    /// How many there are, subcommands included.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// `rename-command`: the command answers to another name, or to none when that is empty.
    ///
    /// # Errors
    /// Says what is wrong: there is no such command, or the new name is taken.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), String> {
        let Some(id) = self.names.find(from.as_bytes()) else {
            return Err("No such command in rename-command".to_owned());
        };
        let (from, to) = (from.to_ascii_lowercase(), to.to_ascii_lowercase());
        if from != to && self.names.find(to.as_bytes()).is_some() {
            return Err("Target command name already exists".to_owned());
        }
        self.names.change(|names| {
            names.remove(from.as_bytes());
            if !to.is_empty() {
                names.insert(to.clone().into_bytes(), id);
            }
        });
        self.reachable[id] = !to.is_empty();
        Ok(())
    }
}

fn only_key(command: &Command) -> Option<usize> {
    match command.keys {
        [spec] => match (spec.begin, spec.find) {
            (Begin::Index(at), Find::Range { last: 0, .. }) => Some(at),
            _ => None,
        },
        _ => None,
    }
}
