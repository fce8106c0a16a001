//! Which commands may be run: a bit for each, and the rules that led there.
//!
//! The rules are kept beside the bits, so that they can be shown in the order in which they were given. A rule takes the
//! place of an earlier one about the same command or category.

use super::error::RuleError;
use super::keys::has_spaces;
use baton::registry::{Registered, Registry};
use baton_engine::command::{Category, Flag};
use std::collections::BTreeMap;

/// A rule about commands, as it is kept to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    allow: bool,
    /// `get`, `config|get`, `@string`
    what: Box<[u8]>,
}

impl Kept {
    /// Whether a new rule makes this one void: it is about the same, or about the container of this subcommand.
    fn is_replaced_by(&self, what: &[u8]) -> bool {
        self.what.strip_prefix(what).is_some_and(|rest| matches!(rest, [] | [b'|', ..]))
    }
}

/// The commands that may be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commands {
    bits: Box<[u64]>,
    /// All there are: no need to look at the bits.
    all: bool,
    /// `+@all` was the beginning: whatever is not named is allowed.
    begins_with_all: bool,
    /// Commands that may be run with one of these first arguments only, by their number.
    first_args: BTreeMap<usize, Vec<Box<[u8]>>>,
    rules: Vec<Kept>,
}

/// The number under which a command is allowed: subcommands that nobody shall know of go with their container.
fn number(command: &Registered) -> usize {
    command.shown_as
}

impl Commands {
    /// None.
    pub fn none(registry: &Registry) -> Self {
        Self {
            bits: vec![0; registry.len().div_ceil(64)].into(),
            all: false,
            begins_with_all: false,
            first_args: BTreeMap::new(),
            rules: Vec::new(),
        }
    }

    /// `+@all`, `-@all`
    pub fn set_all(&mut self, allow: bool) {
        self.bits.fill(if allow { u64::MAX } else { 0 });
        self.all = allow;
        self.begins_with_all = allow;
        self.first_args.clear();
        self.rules.clear();
    }

    /// Whether every command may be run.
    pub fn are_all(&self) -> bool {
        self.all
    }

    /// `+@string`, `-@string`
    pub fn set_category(&mut self, registry: &Registry, name: &[u8], allow: bool) -> Result<(), RuleError> {
        let category = find_category(name).ok_or(RuleError::Unknown)?;
        self.keep(&[b"@", name].concat(), allow);
        let all = registry.iter().filter(|command| number(command) == command.id);
        for command in all.filter(|command| command.command.categories().contains(&category)) {
            self.set_command(registry, command, allow);
        }
        Ok(())
    }

    /// `+get`, `+config|get`, `+select|0`; `-get`, `-config|get`
    pub fn set_named(&mut self, registry: &Registry, name: &[u8], allow: bool) -> Result<(), RuleError> {
        if let Some(command) = find(registry, name) {
            self.set_command(registry, command, allow);
            self.keep(command.name.as_bytes(), allow);
            return Ok(());
        }
        let last = name.iter().rposition(|byte| *byte == b'|').filter(|_| allow).ok_or(RuleError::Unknown)?;
        let (name_of_command, first_arg) = (&name[..last], &name[last + 1..]);
        let command = find(registry, name_of_command).ok_or(RuleError::Unknown)?;
        if command.container.is_some() {
            return Err(RuleError::ArgumentOfSubcommand);
        }
        if first_arg.is_empty() || has_spaces(first_arg) {
            return Err(RuleError::Syntax);
        }
        if has_subcommands(command) {
            return Err(RuleError::Unknown);
        }
        let known = self.first_args.entry(command.id).or_default();
        if !known.iter().any(|other| other.eq_ignore_ascii_case(first_arg)) {
            known.push(first_arg.into());
        }
        self.keep(name, true);
        Ok(())
    }

    /// A command with all its subcommands.
    fn set_command(&mut self, registry: &Registry, command: &Registered, allow: bool) {
        self.set_bit(command.id, allow);
        self.first_args.remove(&command.id);
        for sub in command.subcommands.values().map(|id| registry.get(*id)) {
            self.set_bit(sub.id, allow);
        }
    }

    fn set_bit(&mut self, id: usize, allow: bool) {
        let bit = 1 << (id % 64);
        if allow {
            self.bits[id / 64] |= bit;
        } else {
            self.bits[id / 64] &= !bit;
            self.all = false;
        }
    }

    fn keep(&mut self, what: &[u8], allow: bool) {
        let what = what.to_ascii_lowercase();
        self.rules.retain(|rule| !rule.is_replaced_by(&what));
        self.rules.push(Kept { allow, what: what.into() });
    }

    /// Whether this command line may be run. Who is nobody yet must be able to become somebody, and to leave.
    #[inline]
    pub fn allow(&self, command: &Registered, args: &[&[u8]]) -> bool {
        let id = number(command);
        let bit = self.bits.get(id / 64).is_some_and(|word| word & (1 << (id % 64)) != 0);
        self.all || bit || command.has(Flag::NoAuth) || self.allows_first_arg(id, args)
    }

    fn allows_first_arg(&self, id: usize, args: &[&[u8]]) -> bool {
        let (Some(known), Some(first)) = (self.first_args.get(&id), args.get(1)) else { return false };
        known.iter().any(|other| other.eq_ignore_ascii_case(first))
    }

    /// Writes the rules that lead here.
    pub fn show(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.begins_with_all { b"+@all" } else { b"-@all" });
        for Kept { allow, what } in &self.rules {
            out.extend_from_slice(if *allow { b" +" } else { b" -" });
            out.extend_from_slice(what);
        }
    }
}

/// A category by its name, in any case.
pub fn find_category(name: &[u8]) -> Option<Category> {
    Category::ALL.iter().copied().find(|category| name.eq_ignore_ascii_case(category.name().as_bytes()))
}

/// A command by the name that it has of its own, whatever it was renamed to: `get`, `config|get`.
fn find<'r>(registry: &'r Registry, name: &[u8]) -> Option<&'r Registered> {
    let mut parts = name.splitn(2, |byte| *byte == b'|');
    let command = registry.find_own(parts.next()?)?;
    match parts.next() {
        None => Some(command),
        Some(sub) if has_subcommands(command) => registry.subcommand(command, sub),
        Some(_) => None,
    }
}

/// Whether it has subcommands that clients know of.
fn has_subcommands(command: &Registered) -> bool {
    !command.subcommands.is_empty() && !command.command.hidden_subcommands
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives rules, shows what they become, and which of these lines are allowed.
    #[track_caller]
    fn check(rules: &str, shown: &str, lines: &str) {
        let registry = crate::commands::registry();
        let mut commands = Commands::none(&registry);
        for rule in rules.split_whitespace() {
            let (allow, name) = (rule.starts_with('+'), &rule.as_bytes()[1..]);
            match name {
                b"@all" => commands.set_all(allow),
                [b'@', name @ ..] => commands.set_category(&registry, name, allow).unwrap(),
                _ => commands.set_named(&registry, name, allow).unwrap(),
            }
        }
        let mut out = Vec::new();
        commands.show(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), shown, "{rules}");
        for line in lines.split(',').filter(|line| !line.is_empty()) {
            let (wanted, line) = (line.starts_with('+'), &line[1..]);
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let command = registry.find(args[0]).unwrap();
            let sub = args.get(1).and_then(|name| registry.subcommand(command, name));
            assert_eq!(commands.allow(sub.unwrap_or(command), &args), wanted, "{rules}: {line}");
        }
    }

    #[test]
    fn rules_add_up() {
        check("", "-@all", "-get k,-config get a,+auth x,+quit");
        check("+@all", "+@all", "+get k,+config get a");
        check("+GET +set", "-@all +get +set", "+get k,+set k v,-del k");
        check("+get -get", "-@all -get", "-get k");
        check("+@all -get +get", "+@all +get", "+get k");
        check("+get +@all", "+@all", "+get k");
        check("+@all -@all", "-@all", "-get k");
        check("+@string -set +set", "-@all +@string +set", "+get k,+set k v,-lpush k v");
        check("+@all -@dangerous", "+@all -@dangerous", "+get k,-keys x,-flushall,-config get a");
        check("+@READ -@read", "-@all -@read", "-get k");
    }

    #[test]
    fn containers_and_subcommands() {
        check("+config", "-@all +config", "+config get a,+config set a b");
        check("+config -config|set", "-@all +config -config|set", "+config get a,-config set a b");
        check("+config|GET", "-@all +config|get", "+config get a,-config set a b,-config");
        check("+config|get +config", "-@all +config", "+config set a b");
        check("+config|get -config", "-@all -config", "-config get a");
        check("+client|id +config|get +client", "-@all +config|get +client", "+client id,+client list");
    }

    #[test]
    fn first_arguments() {
        check("+select|0", "-@all +select|0", "+select 0,-select 1,-select");
        check("+select|0 +SELECT|1 +select|0", "-@all +select|1 +select|0", "+select 0,+select 1,-select 2");
        check("+select|0 -select", "-@all -select", "-select 0");
        check("+debug|Sleep", "-@all +debug|sleep", "+debug sleep 0,-debug object k,-debug reload");
        check("+@all -debug +debug|object", "+@all -debug +debug|object", "+debug object k,-debug reload");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let registry = crate::commands::registry();
        let refused =
            |name: &str, allow| Commands::none(&registry).set_named(&registry, name.as_bytes(), allow).err();
        assert_eq!(refused("nope", true), Some(RuleError::Unknown));
        assert_eq!(refused("", true), Some(RuleError::Unknown));
        assert_eq!(refused("config|nope", true), Some(RuleError::Unknown));
        assert_eq!(refused("nope|x", true), Some(RuleError::Unknown));
        assert_eq!(refused("select|", true), Some(RuleError::Syntax));
        assert_eq!(refused("select|0", false), Some(RuleError::Unknown));
        assert_eq!(refused("config|get|port", true), Some(RuleError::ArgumentOfSubcommand));
        let category = Commands::none(&registry).set_category(&registry, b"nope", true);
        assert_eq!(category, Err(RuleError::Unknown));
    }
}
