//! What is refused, and how that is said.

use super::user::User;
use baton::registry::Registered;
use baton_engine::error::CommandError;

/// What is refused. Of the reasons that several selectors have, the last in this order is the one to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    Command,
    Key,
    Auth,
    /// No user is called as a certificate says.
    Certificate,
    Channel,
}

impl Reason {
    /// As ACL LOG shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Key => "key",
            Self::Auth => "auth",
            Self::Certificate => "tls-cert",
            Self::Channel => "channel",
        }
    }
}

/// Why a command line is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denial {
    pub reason: Reason,
    /// Which argument it is about.
    pub at: usize,
}

impl Denial {
    /// What it is about, for the log: the name of the command, of the key, of the channel.
    pub fn object<'a>(&self, command: &'a Registered, args: &[&'a [u8]]) -> &'a [u8] {
        match self.reason {
            Reason::Command => command.name.as_bytes(),
            _ => args.get(self.at).copied().unwrap_or_default(),
        }
    }

    /// The error for the client. It does not repeat what the client has sent.
    pub fn error(&self, user: &User, command: &Registered) -> CommandError {
        let text = match self.reason {
            Reason::Command => {
                return CommandError::Quoting(
                    [b"NOPERM ", &*self.about_command(user, command)].concat().into(),
                );
            }
            Reason::Key => "NOPERM No permissions to access a key",
            Reason::Channel => "NOPERM No permissions to access a channel",
            Reason::Auth | Reason::Certificate => "NOPERM No permissions",
        };
        CommandError::text(text)
    }

    /// The error for a command that was queued when it was still allowed.
    pub fn error_in_exec(&self) -> CommandError {
        let reason = match self.reason {
            Reason::Command => "no permission to execute the command or subcommand",
            Reason::Key => "no permission to touch the specified keys",
            Reason::Channel => "no permission to access one of the channels used as arguments",
            Reason::Auth | Reason::Certificate => "no permission",
        };
        CommandError::owned(format!(
            "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This \
             command is no longer allowed for the following reason: {reason}"
        ))
    }

    /// In full, for ACL DRYRUN.
    pub fn describe(&self, user: &User, command: &Registered, args: &[&[u8]]) -> Vec<u8> {
        let kind = match self.reason {
            Reason::Command => return self.about_command(user, command),
            Reason::Channel => "channel",
            _ => "key",
        };
        let object = self.object(command, args);
        let start: &[u8] = b"User ";
        [start, user.name(), b" has no permissions to access the '", object, b"' ", kind.as_bytes()].concat()
    }

    fn about_command(&self, user: &User, command: &Registered) -> Vec<u8> {
        let start: &[u8] = b"User ";
        let name = command.name.as_bytes();
        [start, user.name(), b" has no permissions to run the '", name, b"' command"].concat()
    }
}

/// Why a command of a client is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The rules of its user do not allow it.
    Denied(Denial),
    /// It would read keys that it does not name (SORT), and its user may not read all.
    Patterns(&'static str),
}
