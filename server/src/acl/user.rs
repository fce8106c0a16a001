//! Users and their rules.
//!
//! A user stays the same object for as long as there is one of its name; its rules are replaced as a whole. A session
//! keeps both and looks whether anything has changed before each batch ([`Acl::version`](super::Acl::version)).

use super::error::RuleError;
use super::password::Password;
use super::selector::Selector;
use super::sort;
use super::verdict::{Denial, Reason, Refusal};
use arc_swap::ArcSwap;
use baton::registry::{Registered, Registry};
use baton_engine::words::split_args;
use std::sync::Arc;

/// A user.
#[derive(Debug)]
pub struct User {
    name: Box<[u8]>,
    rules: ArcSwap<Rules>,
}

impl User {
    pub fn new(name: &[u8], rules: Rules) -> Self {
        Self { name: name.into(), rules: ArcSwap::from_pointee(rules) }
    }

    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The rules at this moment.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    pub(super) fn set_rules(&self, rules: Rules) {
        self.rules.store(Arc::new(rules));
    }

    /// Name and rules, as files have them.
    pub fn line(&self) -> Vec<u8> {
        let start: &[u8] = b"user ";
        [start, &self.name, b" ", &self.rules().show()].concat()
    }
}

/// What a rule needs to know about the server.
#[derive(Clone, Copy)]
pub struct Ground<'r> {
    pub registry: &'r Registry,
    /// `acl-pubsub-default allchannels`
    pub all_channels: bool,
}

/// What a user may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    enabled: bool,
    /// Any password is right.
    nopass: bool,
    /// RESTORE trusts the payloads of this user.
    skips_sanitizing: bool,
    passwords: Vec<Password>,
    /// The first is that of the rules outside of parentheses. Never empty.
    selectors: Vec<Selector>,
}

impl Rules {
    /// Those of a user that has just been made: nobody can be this user, who may do nothing.
    pub fn new(ground: Ground<'_>) -> Self {
        Self {
            enabled: false,
            nopass: false,
            skips_sanitizing: false,
            passwords: Vec::new(),
            selectors: vec![Selector::new(ground.registry, ground.all_channels)],
        }
    }

    /// Those of the default user at first: everybody may do everything.
    pub fn open(ground: Ground<'_>) -> Self {
        let mut rules = Self::new(ground);
        for rule in ["+@all", "~*", "&*", "on", "nopass"] {
            let applied = rules.apply(ground, rule.as_bytes());
            debug_assert_eq!(applied, Ok(()));
        }
        rules
    }

    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    pub fn is_nopass(&self) -> bool {
        self.nopass
    }

    pub fn passwords(&self) -> &[Password] {
        &self.passwords
    }

    /// The selector of the rules outside of parentheses.
    pub fn root(&self) -> &Selector {
        &self.selectors[0]
    }

    /// All selectors, the root first.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// Whether everything is allowed, so that there is nothing to be checked.
    pub fn allow_everything(&self) -> bool {
        self.selectors.iter().any(Selector::allows_everything)
    }

    /// Applies one rule. An empty one does nothing.
    pub fn apply(&mut self, ground: Ground<'_>, rule: &[u8]) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        match rule {
            [] => {}
            _ if is("on") => self.enabled = true,
            _ if is("off") => self.enabled = false,
            _ if is("skip-sanitize-payload") => self.skips_sanitizing = true,
            _ if is("sanitize-payload") => self.skips_sanitizing = false,
            _ if is("nopass") => self.set_nopass(true),
            _ if is("resetpass") => self.set_nopass(false),
            _ if is("clearselectors") => self.selectors.truncate(1),
            _ if is("reset") => *self = Self::new(ground),
            [b'>', clear @ ..] => self.add_password(Password::of(clear)),
            [b'#', digits @ ..] => self.add_password(Password::parse(digits)?),
            [b'<', clear @ ..] => self.remove_password(&Password::of(clear))?,
            [b'!', digits @ ..] => self.remove_password(&Password::parse(digits)?)?,
            [b'(', rules @ .., b')'] => self.add_selector(ground, rules)?,
            _ => self.selectors[0].apply(ground.registry, rule)?,
        }
        Ok(())
    }

    fn set_nopass(&mut self, nopass: bool) {
        self.nopass = nopass;
        self.passwords.clear();
    }

    fn add_password(&mut self, password: Password) {
        if !self.passwords.contains(&password) {
            self.passwords.push(password);
        }
        self.nopass = false;
    }

    fn remove_password(&mut self, password: &Password) -> Result<(), RuleError> {
        let at = self.passwords.iter().position(|known| known == password);
        self.passwords.remove(at.ok_or(RuleError::NoSuchPassword)?);
        Ok(())
    }

    fn add_selector(&mut self, ground: Ground<'_>, rules: &[u8]) -> Result<(), RuleError> {
        let mut selector = Selector::new(ground.registry, ground.all_channels);
        for rule in split_args(rules).map_err(|_| RuleError::Syntax)? {
            // A line would be read as if the selector ended here.
            if rule.ends_with(b")") {
                return Err(RuleError::Syntax);
            }
            selector.apply(ground.registry, &rule)?;
        }
        self.selectors.push(selector);
        Ok(())
    }

    /// `requirepass`: one password, or none needed.
    pub fn set_only_password(&mut self, password: &[u8]) {
        self.set_nopass(password.is_empty());
        if !password.is_empty() {
            self.add_password(Password::of(password));
        }
    }

    /// Whether this password makes a client this user.
    pub fn accept(&self, password: &[u8]) -> bool {
        if !self.enabled || self.nopass {
            return self.enabled;
        }
        let given = Password::of(password);
        self.passwords.iter().fold(false, |found, known| found | known.is(&given))
    }

    /// Whether a command line is allowed: whether one of the selectors allows all of it.
    pub fn check(&self, command: &Registered, args: &[&[u8]]) -> Result<(), Denial> {
        let mut worst = Denial { reason: Reason::Command, at: 0 };
        for selector in &self.selectors {
            match selector.check(command, args) {
                Ok(()) => return Ok(()),
                Err(denial) => worst = worst.max(denial),
            }
        }
        Err(worst)
    }

    /// As [`check`](Self::check), with what a command would do beyond the keys that it names.
    pub fn check_fully(&self, command: &Registered, args: &[&[u8]]) -> Result<(), Refusal> {
        self.check(command, args).map_err(Refusal::Denied)?;
        match sort::needs_all_keys(command, args) {
            Some(option) if !self.reads_all_keys_in(command, args) => Err(Refusal::Patterns(option)),
            _ => Ok(()),
        }
    }

    fn reads_all_keys_in(&self, command: &Registered, args: &[&[u8]]) -> bool {
        self.selectors
            .iter()
            .any(|selector| selector.reads_all_keys() && selector.check(command, args).is_ok())
    }

    /// The names of the flags, in the order in which they are shown.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> {
        let switch = if self.enabled { "on" } else { "off" };
        let sanitizing = if self.skips_sanitizing { "skip-sanitize-payload" } else { "sanitize-payload" };
        [Some(switch), self.nopass.then_some("nopass"), Some(sanitizing)].into_iter().flatten()
    }

    /// All rules, as they can be given again.
    pub fn show(&self) -> Vec<u8> {
        let mut parts: Vec<Vec<u8>> = self.flags().map(|flag| flag.as_bytes().to_vec()).collect();
        parts.extend(self.passwords.iter().map(|password| format!("#{}", password.show()).into_bytes()));
        parts.push(self.root().show());
        parts.extend(self.selectors[1..].iter().map(Selector::show_enclosed));
        parts.join(&b' ')
    }
}
