//! Why a command was refused.

use std::borrow::Cow;

/// Why a command was refused. The text is the error line that the client receives, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The key holds a value of another type.
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    /// The arguments do not fit the command's grammar.
    #[error("ERR syntax error")]
    Syntax,
    /// An argument or a stored value should be a 64-bit integer.
    #[error("ERR value is not an integer or out of range")]
    NotInteger,
    /// An argument or a stored value should be a float.
    #[error("ERR value is not a valid float")]
    NotFloat,
    /// The key has to exist.
    #[error("ERR no such key")]
    NoSuchKey,
    /// An index outside of the list.
    #[error("ERR index out of range")]
    IndexOutOfRange,
    /// The result would be longer than `proto-max-bulk-len`.
    #[error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]
    StringTooLong,
    /// A number that must not be negative.
    #[error("ERR value is out of range, must be positive")]
    NotPositive,
    /// Wrong number of arguments; holds the command's name in lower case (`config|get`).
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(String),
    /// An expiry that cannot be represented; holds the command's name.
    #[error("ERR invalid expire time in '{0}' command")]
    InvalidExpire(String),
    /// No memory left under `maxmemory`.
    #[error("OOM command not allowed when used memory > 'maxmemory'.")]
    OutOfMemory,
    /// A container command without such a subcommand: the subcommand as given, the container in upper case.
    #[error("ERR unknown subcommand '{0}'. Try {1} HELP.")]
    UnknownSubcommand(String, String),
    /// Any other refusal: the whole line, code first.
    #[error("{0}")]
    Text(Cow<'static, str>),
}

impl CommandError {
    /// A refusal with a fixed line, code first (`ERR ...`).
    pub const fn text(line: &'static str) -> Self {
        Self::Text(Cow::Borrowed(line))
    }

    /// A refusal with a line made for the occasion, code first. Line ends are replaced when it is sent.
    pub fn owned(line: impl Into<String>) -> Self {
        Self::Text(Cow::Owned(line.into()))
    }
}
