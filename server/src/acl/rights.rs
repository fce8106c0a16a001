//! What a session knows of the rules of its user.

use super::table::Acl;
use super::user::{Rules, User};
use super::verdict::Refusal;
use baton::registry::Registered;
use std::sync::Arc;

/// What a client may do, as of a version of the users.
#[derive(Clone, Debug)]
pub struct Rights {
    rules: Arc<Rules>,
    /// They allow everything: nothing needs to be checked.
    all: bool,
    /// When the users were looked at.
    version: u64,
}

impl Rights {
    /// Those of this user at this moment.
    pub fn of(acl: &Acl, user: &User) -> Self {
        // First the version: rules that change meanwhile are looked at again.
        let version = acl.version();
        let rules = user.rules();
        Self { all: rules.allow_everything(), rules, version }
    }

    /// Whether no user has changed since.
    #[inline]
    pub fn are_current(&self, acl: &Acl) -> bool {
        self.version == acl.version()
    }

    /// Whether a command line is allowed.
    #[inline]
    pub fn check(&self, command: &Registered, args: &[&[u8]]) -> Result<(), Refusal> {
        if self.all { Ok(()) } else { self.rules.check_fully(command, args) }
    }
}
