//! A primary and its replica, and when they are equal.

use crate::data;
use crate::support::client::Client;
use crate::support::process::Server;
use std::thread;
use std::time::{Duration, Instant};

/// What every server of these tests is started with.
pub const COMMON: [(&str, &str); 2] = [("enable-debug-command", "yes"), ("save", "")];

/// Nothing that should happen takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A real primary.
#[track_caller]
pub fn redis(more: &[(&str, &str)]) -> Server {
    let own = [("repl-diskless-sync-delay", "0"), ("repl-ping-replica-period", "1")];
    Server::redis(&[&COMMON[..], &own, more].concat())
}

/// A node that follows what listens on this port of 127.0.0.1.
#[track_caller]
pub fn follower(port: u16, more: &[(&str, &str)]) -> Server {
    let primary = format!("127.0.0.1 {port}");
    // The directive has two arguments, as in a file.
    let own = [("replicaof", primary.as_str())];
    Server::baton(&[&COMMON[..], &own, more].concat())
}

/// A field of INFO.
#[track_caller]
pub fn info(client: &mut Client, field: &str) -> String {
    let text = client.run("INFO").text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap_or_else(|| panic!("no {field} in {text}")).to_owned()
}

/// Waits until something is so.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the replica is where its primary is.
#[track_caller]
pub fn await_offset(primary: &mut Client, replica: &mut Client) {
    until("the link is up", || info(replica, "master_link_status") == "up");
    until("the replica has all of the stream", || {
        let offset = info(primary, "master_repl_offset");
        info(replica, "slave_repl_offset") == offset && info(primary, "master_repl_offset") == offset
    });
}

/// Waits until the replica is where its primary is, and compares all data.
#[track_caller]
pub fn assert_equal(primary: &mut Client, replica: &mut Client, what: &str) {
    data::drop_expired(primary);
    await_offset(primary, replica);
    data::digest(replica).assert_is(&data::digest(primary), what);
}
