//! Why a rule was refused.

/// Why a rule was refused. The text is what follows the name of the rule in the error that the client receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It is none of the rules that there are.
    #[error("Syntax error")]
    Syntax,
    /// It names a command or a category that there is not.
    #[error("Unknown command or category name in ACL")]
    Unknown,
    /// A pattern for keys where all are allowed.
    #[error(
        "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. \
         Try 'resetkeys' to start with an empty list of patterns"
    )]
    AllKeys,
    /// A pattern for channels where all are allowed.
    #[error(
        "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. \
         Try 'resetchannels' to start with an empty list of channels"
    )]
    AllChannels,
    /// There is no such password to remove.
    #[error("The password you are trying to remove from the user does not exist")]
    NoSuchPassword,
    /// Not the digest of a password.
    #[error(
        "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
    )]
    BadHash,
    /// A file names a user twice.
    #[error("Duplicate user found. A user can only be defined once in config files")]
    Duplicate,
    /// `+config|get|port`
    #[error("Allowing first-arg of a subcommand is not supported")]
    ArgumentOfSubcommand,
}
