//! What is acknowledged is kept: a node that is killed while many write, a disk that fills up, and WAITAOF.
//!
//! | file       | what is proved                                                                    |
//! |------------|-----------------------------------------------------------------------------------|
//! | `killed`   | SIGKILL at any time loses nothing that was acknowledged, and a real Redis reads it |
//! | `full`     | a disk without room: writes are refused or held, nobody is told what is not true   |
//! | `waitaof`  | WAITAOF; the order of replies that wait and of those that do not                   |

#[path = "../support/mod.rs"]
mod support;

mod full;
mod killed;
mod waitaof;

use support::client::Client;
use support::process::Server;

/// A node with a log.
#[track_caller]
fn server(policy: &str) -> Server {
    let cores = [("cores", "3"), ("gather-connections", "no")];
    Server::baton(&[&cores[..], &[("appendonly", "yes"), ("appendfsync", policy)]].concat())
}

/// A field of INFO.
#[track_caller]
fn info(client: &mut Client, field: &str) -> String {
    let info = client.run("INFO persistence").text();
    let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{field} is not in {info:?}")).to_owned()
}
