//! A selector: commands, keys and channels that go together. A command needs one selector that allows all of it.

use super::commands::Commands;
use super::error::RuleError;
use super::keys::{Access, KeyPattern, has_spaces};
use super::verdict::{Denial, Reason};
use crate::commands::command_keys;
use baton::registry::{Registered, Registry};
use baton_engine::glob::glob_match;
use baton_engine::words::quote;

/// Everything, or what a list says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed<T> {
    All,
    Only(Vec<T>),
}

impl<T> Allowed<T> {
    const NONE: Self = Self::Only(Vec::new());
}

/// What a selector allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    commands: Commands,
    keys: Allowed<KeyPattern>,
    channels: Allowed<Box<[u8]>>,
}

impl Selector {
    /// A selector that allows nothing, or all channels if `acl-pubsub-default` says so.
    pub fn new(registry: &Registry, all_channels: bool) -> Self {
        let channels = if all_channels { Allowed::All } else { Allowed::NONE };
        Self { commands: Commands::none(registry), keys: Allowed::NONE, channels }
    }

    /// Whether it allows everything, so that there is nothing to be checked.
    pub fn allows_everything(&self) -> bool {
        self.commands.are_all() && self.keys == Allowed::All && self.channels == Allowed::All
    }

    /// Applies one rule.
    pub fn apply(&mut self, registry: &Registry, rule: &[u8]) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        match rule {
            _ if is("allkeys") || is("~*") => self.keys = Allowed::All,
            _ if is("resetkeys") => self.keys = Allowed::NONE,
            _ if is("allchannels") || is("&*") => self.channels = Allowed::All,
            _ if is("resetchannels") => self.channels = Allowed::NONE,
            _ if is("allcommands") || is("+@all") => self.commands.set_all(true),
            _ if is("nocommands") || is("-@all") => self.commands.set_all(false),
            [b'~' | b'%', ..] => self.add_keys(rule)?,
            [b'&', pattern @ ..] => self.add_channels(pattern)?,
            [sign @ (b'+' | b'-'), b'@', name @ ..] => {
                self.commands.set_category(registry, name, *sign == b'+')?;
            }
            [sign @ (b'+' | b'-'), name @ ..] => self.commands.set_named(registry, name, *sign == b'+')?,
            _ => return Err(RuleError::Syntax),
        }
        Ok(())
    }

    fn add_keys(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        let Allowed::Only(patterns) = &mut self.keys else { return Err(RuleError::AllKeys) };
        let new = KeyPattern::parse(rule)?;
        match patterns.iter_mut().find(|known| known.pattern == new.pattern) {
            Some(known) => known.widen(&new),
            None => patterns.push(new),
        }
        Ok(())
    }

    fn add_channels(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        let Allowed::Only(patterns) = &mut self.channels else { return Err(RuleError::AllChannels) };
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        if !patterns.iter().any(|known| **known == *pattern) {
            patterns.push(pattern.into());
        }
        Ok(())
    }

    /// Whether it allows a command line: the command first, then its keys, then its channels.
    pub fn check(&self, command: &Registered, args: &[&[u8]]) -> Result<(), Denial> {
        if !self.commands.allow(command, args) {
            return Err(Denial { reason: Reason::Command, at: 0 });
        }
        if let Some(at) = self.forbidden_key(command, args) {
            return Err(Denial { reason: Reason::Key, at });
        }
        match self.forbidden_channel(command, args) {
            Some(at) => Err(Denial { reason: Reason::Channel, at }),
            None => Ok(()),
        }
    }

    /// The first key that it does not allow. A line that does not name its keys properly has none: it is the command's
    /// to refuse.
    fn forbidden_key(&self, command: &Registered, args: &[&[u8]]) -> Option<usize> {
        let Allowed::Only(patterns) = &self.keys else { return None };
        let mut forbidden = None;
        let named = command_keys::each(command.command, args, &mut |at, flags| {
            let access = Access::of(flags);
            if forbidden.is_none() && !patterns.iter().any(|pattern| pattern.allows(args[at], access)) {
                forbidden = Some(at);
            }
        });
        named.ok().and(forbidden)
    }

    /// The first channel that it does not allow.
    fn forbidden_channel(&self, command: &Registered, args: &[&[u8]]) -> Option<usize> {
        let Allowed::Only(_) = &self.channels else { return None };
        let (places, are_patterns) = channels_of(command, args)?;
        places.into_iter().find(|at| !self.allows_channel(args[*at], are_patterns))
    }

    /// Whether a channel may be used. A pattern to listen to has to be among those that are allowed, letter by letter.
    pub fn allows_channel(&self, name: &[u8], is_pattern: bool) -> bool {
        match &self.channels {
            Allowed::All => true,
            Allowed::Only(patterns) => patterns
                .iter()
                .any(|known| if is_pattern { **known == *name } else { glob_match(known, name, false) }),
        }
    }

    /// Whether every key may be read, even those that a command line does not name.
    pub fn reads_all_keys(&self) -> bool {
        match &self.keys {
            Allowed::All => true,
            Allowed::Only(patterns) => patterns.iter().any(|pattern| pattern.allows_all(Access::READ)),
        }
    }

    pub fn channels(&self) -> &Allowed<Box<[u8]>> {
        &self.channels
    }

    /// The rules about commands.
    pub fn show_commands(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.commands.show(&mut out);
        out
    }

    /// The patterns of keys.
    pub fn show_keys(&self) -> Vec<u8> {
        let Allowed::Only(patterns) = &self.keys else { return b"~*".to_vec() };
        joined(patterns, |pattern, out| pattern.show(out))
    }

    /// The patterns of channels.
    pub fn show_channels(&self) -> Vec<u8> {
        let Allowed::Only(patterns) = &self.channels else { return b"&*".to_vec() };
        joined(patterns, |pattern, out| {
            out.push(b'&');
            out.extend_from_slice(pattern);
        })
    }

    /// All its rules in parentheses. Words that would not be read as they are come in quotes.
    pub fn show_enclosed(&self) -> Vec<u8> {
        [b"(", &*quote_words(&self.show()), b")"].concat()
    }

    /// All its rules, as they can be given again.
    pub fn show(&self) -> Vec<u8> {
        let mut parts = vec![self.show_keys()];
        if let Allowed::Only(_) = self.channels {
            parts.push(b"resetchannels".to_vec());
        }
        parts.extend([self.show_channels(), self.show_commands()]);
        parts.retain(|part| !part.is_empty());
        parts.join(&b' ')
    }
}

/// A line with those of its words in quotes that would not be read as they are.
pub fn quote_words(line: &[u8]) -> Vec<u8> {
    let words = line.split(|byte| *byte == b' ').map(|word| {
        if word.iter().any(|byte| matches!(byte, b'"' | b'\'' | b'\\')) { quote(word) } else { word.to_vec() }
    });
    words.collect::<Vec<_>>().join(&b' ')
}

fn joined<T>(all: &[T], show: impl Fn(&T, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    for (n, one) in all.iter().enumerate() {
        if n > 0 {
            out.push(b' ');
        }
        show(one, &mut out);
    }
    out
}

/// Which arguments are channels, and whether they are patterns. To stop listening needs no permission.
fn channels_of(command: &Registered, args: &[&[u8]]) -> Option<(std::ops::Range<usize>, bool)> {
    match command.name.as_str() {
        "subscribe" | "ssubscribe" => Some((1..args.len(), false)),
        "psubscribe" => Some((1..args.len(), true)),
        "publish" | "spublish" => Some((1..2.min(args.len()), false)),
        _ => None,
    }
}
