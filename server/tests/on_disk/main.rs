//! What a node keeps on disk, and goes through other servers and other times unharmed.
//!
//! | file        | shows                                                                |
//! |-------------|----------------------------------------------------------------------|
//! | `commands`  | bases of plain commands, between Baton and Redis                       |
//! | `libraries` | libraries of functions survive, between Baton and Redis                |
//! | `restore`   | a log as it was at a second of the past                                |
//! | `loading`   | other versions of the format, and the lines about progress             |
//! | `saving`    | snapshots and rewrites that are called off, scheduled, in each other's way |

#[path = "../support/mod.rs"]
mod support;

mod commands;
mod libraries;
mod loading;
mod restore;
mod saving;

use std::fs;
use std::time::{Duration, Instant};
use support::client::Client;
use support::process::Server;

/// Waits until no snapshot and no rewrite is on its way, and the last ones succeeded.
#[track_caller]
fn settle(client: &mut Client) {
    let start = Instant::now();
    loop {
        let info = client.run("INFO persistence").text();
        let busy = ["rdb_bgsave_in_progress:1", "aof_rewrite_in_progress:1", "aof_rewrite_scheduled:1"];
        if !busy.iter().any(|line| info.contains(line)) {
            assert!(info.contains("rdb_last_bgsave_status:ok"), "{info}");
            assert!(info.contains("aof_last_bgrewrite_status:ok"), "{info}");
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{info}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The log of one server in place of that of another, both of them stopped.
fn copy_log(from: &Server, to: &Server) {
    let (from, to) = (from.directory().join("appendonlydir"), to.directory().join("appendonlydir"));
    fs::remove_dir_all(&to).expect("removed");
    fs::create_dir(&to).expect("made");
    for file in fs::read_dir(from).expect("listed") {
        let file = file.expect("a file");
        fs::copy(file.path(), to.join(file.file_name())).expect("copied");
    }
}
