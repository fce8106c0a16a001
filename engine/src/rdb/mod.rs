//! The RDB format: snapshots, the payload of DUMP, and what a primary sends to a new replica.
//!
//! | file      | holds                                                              |
//! |-----------|--------------------------------------------------------------------|
//! | `crc64`   | the checksum of files and payloads                                 |
//! | `lzf`     | the compression of strings                                         |
//! | `input`   | a cursor over bytes that need not be all there                     |
//! | `length`  | lengths and counts                                                 |
//! | `string`  | strings: raw, as integers, compressed                              |
//! | `kind`    | the types of values, and which of them a family knows              |
//! | `save`    | a key, or a value alone, to bytes                                  |
//! | `load`    | a value from bytes                                                 |
//! | `stream`  | streams, both ways                                                 |
//! | `skip`    | how long a value is, without building it                           |
//! | `ziplist` | the compact encoding before listpacks, read only                   |
//! | `zipmap`  | the compact hashes of Redis 2.4, read only                         |
//! | `file`    | a whole file or stream, item by item                               |
//! | `write`   | what a file has besides keys                                       |
//! | `dump`    | the payload of DUMP and RESTORE                                    |
//! | `functions` | the payload of FUNCTION DUMP and FUNCTION RESTORE                |
//!
//! Absent on purpose: files, sockets, threads. Everything works on byte slices.
//!
//! Invariants:
//! - Whatever the bytes are, reading them gives a value or an error. Lengths and counts are claims: nothing is
//!   allocated for them before the bytes that they speak of have been seen.
//! - What is written is the lowest version that holds the data, so that older servers can read it.

pub mod crc64;
pub mod dump;
pub mod file;
pub mod functions;
mod input;
mod kind;
mod length;
pub mod load;
mod lzf;
pub mod save;
mod skip;
mod stream;
mod string;
pub mod write;
mod ziplist;
mod zipmap;

pub use kind::{Family, Version};
pub use skip::skip_value;
pub use string::Text;

use std::fmt;

/// Why bytes are not what they claim to be. Offsets count from the first byte that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RdbError {
    /// The bytes end too early. More of them may help, if more are to come.
    #[error("incomplete: the data end at byte {offset}")]
    Incomplete {
        /// Where something that is missing should have begun.
        offset: usize,
    },
    /// No bytes that may follow can make this valid.
    #[error("corrupt at byte {offset}: expected {expected}")]
    Corrupt {
        /// Where.
        offset: usize,
        /// What should have been there.
        expected: &'static str,
    },
    /// It may be valid, but not for us.
    #[error("unsupported at byte {offset}: {what}")]
    Unsupported {
        /// Where.
        offset: usize,
        /// What is there.
        what: Unsupported,
    },
    /// A collection without elements. Some old servers wrote such keys; Redis leaves them out when it loads a
    /// file, and refuses them in RESTORE.
    #[error("an empty collection")]
    Empty {
        /// How many bytes the value takes.
        used: usize,
    },
}

/// What is expected where the checksum at the end of a file does not fit.
pub const CHECKSUM: &str = "the checksum of all bytes before";

impl RdbError {
    /// Whether it is the checksum of a file that does not fit.
    pub fn is_checksum(&self) -> bool {
        matches!(self, Self::Corrupt { expected, .. } if *expected == CHECKSUM)
    }

    /// The same error for bytes that lie `by` bytes further on.
    #[must_use]
    pub fn shifted(self, by: usize) -> Self {
        match self {
            Self::Incomplete { offset } => Self::Incomplete { offset: offset + by },
            Self::Corrupt { offset, expected } => Self::Corrupt { offset: offset + by, expected },
            Self::Unsupported { offset, what } => Self::Unsupported { offset: offset + by, what },
            Self::Empty { used } => Self::Empty { used },
        }
    }
}

/// What cannot be read here, though others can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// A value that only a module understands.
    #[error("a value of the module type '{0}'")]
    Module(ModuleName),
    /// A type of value that is unknown, or unknown to the family of the file.
    #[error("a value of the unknown type {0}")]
    Kind(u8),
    /// An opcode that is unknown, or unknown to the family of the file.
    #[error("the unknown opcode {0}")]
    Opcode(u8),
    /// Functions as the release candidates of Redis 7.0 wrote them. Redis refuses them too.
    #[error("functions in the format of a release candidate of Redis 7.0")]
    FunctionPreGa,
    /// A version that no server has written.
    #[error("the format version {0}")]
    Version(u16),
}

/// The name of a module type: nine characters, packed into its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModuleName(u64);

impl ModuleName {
    /// The name in the number that stands before a module's data; the low ten bits are the version of its encoding.
    pub fn of(id: u64) -> Self {
        Self(id)
    }
}

impl fmt::Display for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        for place in 0..9 {
            let letter = LETTERS[(self.0 >> (58 - 6 * place)) as usize & 63];
            fmt::Write::write_char(f, char::from(letter))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
