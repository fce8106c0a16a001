//! Why a call of a store did not do what it was asked for.

use baton_engine::error::CommandError;
use std::path::PathBuf;

/// Why a call of a [`Store`](super::Store) failed. Each text says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command was refused: the line that a client of a server would receive.
    ///
    /// ```
    /// # let store = baton::Store::memory();
    /// store.set("text", "abc")?;
    /// let error = store.incr("text").unwrap_err();
    /// assert_eq!(error.to_string(), "ERR value is not an integer or out of range");
    /// # Ok::<(), baton::Error>(())
    /// ```
    #[error(transparent)]
    Refused(#[from] CommandError),
    /// There is no such command in a store.
    #[error(
        "there is no command '{0}' in a store: commands of connections and of servers (SELECT, MULTI, SUBSCRIBE, CONFIG) \
        have methods in their place"
    )]
    UnknownCommand(String),
    /// The reply is there, but not of the type that was asked for. What the command did is done.
    #[error(
        "the reply is {found}, not {wanted}: ask for another type, or for a `Reply`, which can be anything"
    )]
    Mismatch {
        /// What was asked for.
        wanted: &'static str,
        /// What came.
        found: &'static str,
    },
    /// The store was opened for reading.
    #[error(
        "the store is open for reading only: open it without `read_only` to change it, or promote it if it is a replica"
    )]
    ReadOnly,
    /// A key of a transaction that was not declared.
    #[error("the transaction did not declare the key '{0}': name it among the keys of `transaction`")]
    Undeclared(String),
    /// A command that may look at any key, in a transaction over some.
    #[error("'{0}' may look at any key: run it in `transaction_over_all`, or outside of the transaction")]
    Unbounded(String),
    /// The store was called from within a closure that it runs.
    #[error(
        "this thread is inside of a closure that the store runs, and would wait for itself: use what the closure was \
        given, or call after it"
    )]
    Nested,
    /// The change was made in memory, but the log could not take it.
    #[error(
        "the change is in memory but not safe on disk: {0}. Find out what the disk lacks; until it works again, changes \
        are refused"
    )]
    NotDurable(String),
    /// Another store or server has the directory open.
    #[error("{} is in use by another process or by another store of this one: end it, or choose another directory", .0.display())]
    Locked(PathBuf),
    /// The directory has a log, which the store was told to leave alone.
    #[error(
        "{} has a log, which is newer than the snapshot beside it: open the store with a log, or move the \
        directory of the log away to go back to the snapshot", .0.display()
    )]
    HasLog(PathBuf),
    /// The directory cannot be opened.
    #[error("{0}")]
    Open(String),
    /// The snapshot or the rewritten log could not be written. What was there before is untouched.
    #[error("the snapshot was not written: {0}")]
    Snapshot(String),
    /// A file or a thread that the store needs cannot be had.
    #[error("{doing}: {error}")]
    System {
        /// What was tried.
        doing: String,
        /// How it was refused.
        error: std::io::Error,
    },
    /// The store is in memory only.
    #[error("the store is in memory only: open it with a directory to save it")]
    NoDirectory,
    /// The address of a primary that cannot be understood.
    #[error("an address is redis://[user:password@]host[:port][/db]: {0}")]
    Address(String),
    /// A replica is not where it was waited for.
    #[error("the replica was not there within {0:?}: look at its state, or give it more time")]
    Behind(std::time::Duration),
    /// A value could not be turned into JSON, or is not the JSON that was expected.
    #[cfg(feature = "serde")]
    #[error("the value and its JSON do not fit: {0}")]
    Json(#[from] serde_json::Error),
}

/// Refusals that have a name of their own.
const NAMED: &[CommandError] = &[
    CommandError::WrongType,
    CommandError::Syntax,
    CommandError::NotInteger,
    CommandError::NotFloat,
    CommandError::NoSuchKey,
    CommandError::IndexOutOfRange,
    CommandError::StringTooLong,
    CommandError::NotPositive,
    CommandError::OutOfMemory,
];

impl Error {
    /// The error behind the line of a reply.
    pub(super) fn from_line(line: &[u8]) -> Self {
        let line = String::from_utf8_lossy(line);
        let named = NAMED.iter().find(|named| named.to_string() == line);
        Self::Refused(named.cloned().unwrap_or_else(|| CommandError::owned(line)))
    }

    /// Whether the key holds a value of another type.
    ///
    /// ```
    /// # let store = baton::Store::memory();
    /// store.rpush("list", ["a"])?;
    /// assert!(store.get("list").unwrap_err().is_wrong_type());
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn is_wrong_type(&self) -> bool {
        matches!(self, Self::Refused(CommandError::WrongType))
    }
}
