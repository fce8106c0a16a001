//! What a node keeps on disk, and how it comes back.
//!
//! | file      | holds                                                                       |
//! |-----------|-----------------------------------------------------------------------------|
//! | `open`    | what is on disk, into an empty node                                           |
//! | `load`    | a snapshot: slot by slot as it is asked for, or whole                          |
//! | `restore` | the log as it was at a second of the past                                    |
//! | `replay`  | the commands of a log                                                       |
//! | `log`     | the log: turned on and off, rewritten                                         |
//! | `convert` | a snapshot into a base of commands                                           |
//! | `log_dir` | the directory of the log: its manifest                                       |
//! | `feed`    | work on all cores at once                                                    |

mod convert;
pub(crate) mod feed;
pub mod load;
pub mod log;
pub mod log_dir;
pub mod open;
pub mod replay;
pub mod restore;
