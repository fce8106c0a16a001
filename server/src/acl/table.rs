//! The users of the node.

use super::file::Definitions;
use super::keys::has_spaces;
use super::log::Log;
use super::rules::{Modifier, apply_all};
use super::user::{Ground, Rules, User};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The name of the user that every connection is at first.
pub const DEFAULT: &[u8] = b"default";

/// The users, and the log of what was refused.
#[derive(Debug)]
pub struct Acl {
    users: RwLock<BTreeMap<Box<[u8]>, Arc<User>>>,
    default: Arc<User>,
    /// Grows with every change of a rule.
    version: AtomicU64,
    pub log: Log,
}

/// A user whose rules have changed, and what they were.
#[derive(Debug)]
pub struct Change {
    pub user: Arc<User>,
    pub before: Arc<Rules>,
}

impl Acl {
    /// Only the default user, who may do everything.
    pub fn new(ground: Ground<'_>) -> Self {
        let default = Arc::new(User::new(DEFAULT, Rules::open(ground)));
        let users = BTreeMap::from([(Box::from(DEFAULT), default.clone())]);
        Self { users: RwLock::new(users), default, version: AtomicU64::new(0), log: Log::default() }
    }

    /// Counts the changes: a session that has seen this version knows the rules of its user.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    /// The user that every connection is at first.
    pub fn default_user(&self) -> &Arc<User> {
        &self.default
    }

    /// Whether everybody is let in as the default user.
    pub fn is_open(&self) -> bool {
        let rules = self.default.rules();
        rules.is_nopass() && rules.is_enabled()
    }

    /// A user by name.
    pub fn find(&self, name: &[u8]) -> Option<Arc<User>> {
        self.users.read().get(name).cloned()
    }

    /// Whether this user still is one.
    pub fn holds(&self, user: &Arc<User>) -> bool {
        self.users.read().get(user.name()).is_some_and(|known| Arc::ptr_eq(known, user))
    }

    /// All users, in the order of their names.
    pub fn all(&self) -> Vec<Arc<User>> {
        self.users.read().values().cloned().collect()
    }

    /// The user that this name and password make of a client.
    pub fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<Arc<User>> {
        self.find(name).filter(|user| user.rules().accept(password))
    }

    /// Gives rules to a user, who is made if there is none of that name. All of them are applied, or none.
    ///
    /// # Errors
    /// Says which rule is wrong.
    pub fn set_user(
        &self,
        name: &[u8],
        words: &[&[u8]],
        ground: Ground<'_>,
    ) -> Result<Option<Change>, Modifier> {
        let mut users = self.users.write();
        let Some(user) = users.get(name) else {
            let rules = apply_all(Rules::new(ground), ground, words)?;
            users.insert(name.into(), Arc::new(User::new(name, rules)));
            return Ok(None);
        };
        let before = user.rules();
        user.set_rules(apply_all((*before).clone(), ground, words)?);
        self.changed();
        Ok(Some(Change { user: user.clone(), before }))
    }

    /// Gives a user these rules, whatever they were.
    pub fn define(&self, name: &[u8], rules: Rules) {
        let mut users = self.users.write();
        match users.get(name) {
            Some(user) => user.set_rules(rules),
            None => drop(users.insert(name.into(), Arc::new(User::new(name, rules)))),
        }
        self.changed();
    }

    /// `requirepass`
    pub fn set_default_password(&self, password: &[u8]) {
        let _one_at_a_time = self.users.write();
        let mut rules = (*self.default.rules()).clone();
        rules.set_only_password(password);
        self.default.set_rules(rules);
        self.changed();
    }

    /// Removes users; those that there were.
    pub fn remove(&self, names: &[&[u8]]) -> Vec<Arc<User>> {
        let mut users = self.users.write();
        let removed = names.iter().filter(|name| **name != DEFAULT).filter_map(|name| users.remove(*name));
        let removed = removed.collect();
        self.changed();
        removed
    }

    /// Puts these users into the place of all that there are; a default user that is not among them may do everything.
    /// Returns the users whose rules are others now, and those that are no more.
    pub fn replace(&self, mut wanted: Definitions, ground: Ground<'_>) -> (Vec<Change>, Vec<Arc<User>>) {
        let mut users = self.users.write();
        wanted.entry(DEFAULT.into()).or_insert_with(|| Rules::open(ground));
        let mut gone = Vec::new();
        users.retain(|name, user| {
            let stays = wanted.contains_key(name);
            if !stays {
                gone.push(user.clone());
            }
            stays
        });
        let mut changes = Vec::new();
        for (name, rules) in wanted {
            match users.get(&name) {
                Some(user) => {
                    let before = user.rules();
                    user.set_rules(rules);
                    changes.push(Change { user: user.clone(), before });
                }
                None => {
                    let user = Arc::new(User::new(&name, rules));
                    users.insert(name, user);
                }
            }
        }
        self.changed();
        (changes, gone)
    }
}

/// Whether a user may have this name.
pub fn is_name(name: &[u8]) -> bool {
    !has_spaces(name)
}
