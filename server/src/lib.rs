//! `baton`: the network node. Bytes in, bytes out: RESP, connections, settings, the command line.
//!
//! | file          | holds                                                                    |
//! |---------------|--------------------------------------------------------------------------|
//! | `main`        | nothing but the allocator and a call of [`main`]                         |
//! | `start`       | the start of the process, and what is left to do at its end              |
//! | `end`         | who asks for the end, and whether the node may end                       |
//! | `embedded`    | a node inside another program                                            |
//! | `core`        | one thread: its event loop and chores                                    |
//! | `accept`      | connections accepted, and given to cores                                 |
//! | `admit`       | connections of a core let in, passed on, taken leave of                  |
//! | `gather/`     | how many cores serve connections, and which serves whom                  |
//! | `connection`  | one connection: reading, waiting, writing, moving                        |
//! | `flusher`     | the log written once per turn of a core's loop           |
//! | `session`     | one conversation: what becomes of each command                           |
//! | `protocol`    | requests cut out of bytes                                                |
//! | `client`      | what everybody may know of a client; its mailbox                         |
//! | `server`      | what all cores share                                                     |
//! | `figures`     | what is counted, and how fast it grows                                   |
//! | `persistence/` | when snapshots are written and the log is rewritten; the start          |
//! | `tls/`        | TLS: certificates, ciphers, connections to other servers                |
//! | `listen`      | listening sockets                                                        |
//! | `acl/`        | users, what they may do, and the log of what they were refused           |
//! | `commands/`   | the commands of the node itself                                          |
//! | `config/`     | the settings table and everything derived from it                        |
//! | `check/`      | `baton check`: the files of persistence                                  |
//! | `cli`, `daemon`, `logging`, `syscheck`, `memtest`, `memory` | the process and its system    |
//!
//! Absent on purpose: data structures and file formats (`baton-engine`), owners of slots (`baton`).

mod accept;
mod acl;
mod admit;
mod check;
mod cli;
mod client;
mod commands;
pub mod config;
mod connection;
mod core;
mod daemon;
mod embedded;
mod end;
mod figures;
mod flusher;
mod gather;
mod listen;
mod logging;
pub mod memory;
mod memtest;
mod persistence;
pub mod protocol;
mod replica;
mod replication;
mod server;
mod session;
mod start;
mod syscheck;
mod tls;

pub use acl::normalise as normalise_rules;
pub use embedded::Embedded;
pub use start::main;
