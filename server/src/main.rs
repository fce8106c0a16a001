//! `baton`: the network node. Bytes in, bytes out: RESP, connections, settings, the command line.
//!
//! | file          | holds                                                                    |
//! |---------------|--------------------------------------------------------------------------|
//! | `main`        | the start and the end of the process                                     |
//! | `core`        | one thread: its event loop, listeners, connections and chores            |
//! | `connection`  | one connection: reading, waiting, writing                                |
//! | `session`     | one conversation: what becomes of each command                           |
//! | `protocol`    | requests cut out of bytes                                                |
//! | `client`      | what everybody may know of a client; its mailbox                         |
//! | `server`      | what all cores share                                                     |
//! | `commands/`   | the commands of the node itself                                          |
//! | `config/`     | the settings table and everything derived from it                        |
//! | `cli`, `daemon`, `logging`, `syscheck`, `memtest`, `memory` | the process and its system    |
//!
//! Absent on purpose: data structures and file formats (`baton-engine`), owners of slots (`baton`).

mod cli;
mod client;
mod commands;
mod config;
mod connection;
mod core;
mod daemon;
mod logging;
mod memory;
mod memtest;
mod protocol;
mod server;
mod session;
mod start;
mod syscheck;

#[global_allocator]
static ALLOCATOR: memory::Counted = memory::Counted;

fn main() -> std::process::ExitCode {
    start::main()
}
