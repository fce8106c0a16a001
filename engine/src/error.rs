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
    /// An argument should be a 32-bit integer, and is a larger one.
    #[error("ERR value is out of range, value must between -2147483648 and 2147483647")]
    NotInt32,
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
    /// A refusal that quotes what the client sent, byte for byte: the whole line, code first.
    #[error("{}", String::from_utf8_lossy(.0))]
    Quoting(Box<[u8]>),
    /// Any other refusal: the whole line, code first.
    #[error("{0}")]
    Text(Cow<'static, str>),
}

impl CommandError {
    /// A refusal with a fixed line, code first (`ERR ...`).
    pub const fn text(line: &'static str) -> Self {
        Self::Text(Cow::Borrowed(line))
    }

    /// A refusal that quotes an argument: up to its first zero byte, as C programs print it, and at most `max` bytes.
    pub fn quoting(before: &str, arg: &[u8], max: usize, after: &str) -> Self {
        Self::Quoting([before.as_bytes(), printable(arg, max), after.as_bytes()].concat().into())
    }

    /// The refusal of a subcommand whose options are wrong.
    pub fn bad_subcommand(container: &str, name: &[u8]) -> Self {
        let before = "ERR unknown subcommand or wrong number of arguments for '";
        Self::quoting(before, name, 128, &format!("'. Try {container} HELP."))
    }

    /// A refusal with a line made for the occasion, code first. Line ends are replaced when it is sent.
    pub fn owned(line: impl Into<String>) -> Self {
        Self::Text(Cow::Owned(line.into()))
    }
}

/// The beginning of an argument as error texts show it: up to a zero byte, and not longer than `max`.
pub fn printable(arg: &[u8], max: usize) -> &[u8] {
    let end = arg.iter().take(max).position(|byte| *byte == 0).unwrap_or(arg.len().min(max));
    &arg[..end]
}
