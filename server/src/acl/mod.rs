//! Who may do what.
//!
//! | file        | holds                                                                      |
//! |-------------|----------------------------------------------------------------------------|
//! | `table`     | the users of the node, and how they are changed                            |
//! | `user`      | a user and its rules: switch, passwords, selectors                         |
//! | `rights`    | the rules of a user as a session knows them                                |
//! | `selector`  | commands, keys and channels that go together                               |
//! | `commands`  | which commands: a bit for each, and the rules that led there               |
//! | `keys`      | which keys, and whether to read or to write                                |
//! | `sort`      | what SORT would read beyond the keys that it names                         |
//! | `password`  | digests of passwords                                                       |
//! | `rules`     | several rules at once, with selectors spread over several words            |
//! | `error`     | why a rule is refused                                                      |
//! | `verdict`   | why a command is refused, and how that is said                             |
//! | `log`       | what was refused                                                           |
//! | `file`      | lines of users in files                                                    |
//! | `clients`   | what a change means for clients that are connected; noting of refusals     |
//!
//! Absent on purpose: what a command needs. Its row says that (categories, key specs), and `commands/command_keys.rs`
//! finds the keys of a command line.
//!
//! **Invariant:** whoever runs a command has asked [`Rules::check_fully`](user::Rules::check_fully) for the rules that are
//! in force at that moment: for each command of a batch, when a command is queued and again in EXEC, and before a
//! command that has waited is served. A session whose user may do everything has one flag to look at.

use baton::registry::Registry;
use std::sync::LazyLock;

pub mod clients;
pub mod commands;
mod error;
pub mod file;
mod keys;
pub mod log;
mod password;
mod rights;
pub mod rules;
mod selector;
mod sort;
mod table;
pub mod user;
pub mod verdict;

pub use rights::Rights;
pub use selector::Selector;
pub use table::{Acl, DEFAULT, is_name};
pub use user::{Ground, Rules, User};
pub use verdict::Refusal;

/// The rules that these words make for a new user, as a file has them: for tools that want to look before they leap.
///
/// # Errors
/// Says which word is wrong, and why.
pub fn normalise(words: &[&[u8]]) -> Result<Vec<u8>, String> {
    static REGISTRY: LazyLock<Registry> = LazyLock::new(crate::commands::registry);
    let ground = Ground { registry: &REGISTRY, all_channels: false };
    match rules::apply_all(Rules::new(ground), ground, words) {
        Ok(rules) => Ok(rules.show()),
        Err(rules::Modifier::Unmatched(word)) => {
            Err(format!("{}: Unmatched parenthesis", String::from_utf8_lossy(&word)))
        }
        Err(rules::Modifier::Refused(word, why)) => Err(format!("{}: {why}", String::from_utf8_lossy(&word))),
    }
}
