//! What is acknowledged is kept: a node that is killed while many write, a disk that fills up, and WAITAOF.
//!
//! | file       | what is proved                                                                    |
//! |------------|-----------------------------------------------------------------------------------|
//! | `killed`   | SIGKILL at any time loses nothing that was acknowledged, and a real Redis reads it |
//! | `full`     | a disk without room: writes are refused or held, nobody is told what is not true   |
//! | `slow`     | a disk that takes long is seen by the latency monitor                             |
//! | `waitaof`  | WAITAOF; the order of replies that wait and of those that do not                   |

#[path = "../support/mod.rs"]
mod support;

mod full;
mod killed;
mod slow;
mod waitaof;

use support::client::Client;
use support::process::Server;

/// A node with a log.
#[track_caller]
fn server(policy: &str) -> Server {
    server_with(&[("appendfsync", policy)])
}

#[track_caller]
fn server_with(settings: &[(&str, &str)]) -> Server {
    let common = [("cores", "3"), ("gather-connections", "no"), ("appendonly", "yes")];
    Server::baton(&[&common[..], settings].concat())
}

/// A field of INFO.
#[track_caller]
fn info(client: &mut Client, field: &str) -> String {
    let info = client.run("INFO persistence").text();
    let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{field} is not in {info:?}")).to_owned()
}
