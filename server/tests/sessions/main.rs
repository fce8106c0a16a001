//! What connections live through: transactions, waits, publish/subscribe, CLIENT, broken requests.
//!
//! | file           | holds                                                          |
//! |----------------|----------------------------------------------------------------|
//! | `transactions` | MULTI and EXEC, WATCH from several connections                 |
//! | `waiting`      | blocked clients: order, times, CLIENT UNBLOCK, CLIENT PAUSE    |
//! | `streams`      | readers of streams that wait, and groups that go meanwhile     |
//! | `messages`     | publish/subscribe and MONITOR                                  |
//! | `tracking`     | client-side caching                                            |
//! | `clients`      | CLIENT LIST, KILL, REPLY; HELLO, AUTH, RESET                   |
//! | `users`        | what users may do, on every path; changes of rules             |
//! | `scripts`      | scripts that take long: who waits, who is refused, what ends them |
//! | `requests`     | requests in pieces, and requests that are none                 |

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod messages;
mod requests;
mod scripts;
mod streams;
mod tracking;
mod transactions;
mod users;
mod waiting;

use std::time::{Duration, Instant};
use support::client::{Client, Reply};
use support::process::Server;

/// A node with several cores, whatever machine the test runs on.
#[track_caller]
fn server() -> Server {
    Server::baton(&[("cores", "3"), ("enable-debug-command", "yes")])
}

/// Keys of one core each: with three cores no two of them are on the same.
const KEYS: [&str; 3] = ["{b}1", "{c}1", "{a}1"];

/// Runs commands, `;` between them, and compares the replies as text.
#[track_caller]
fn check(client: &mut Client, commands: &str, expected: &str) {
    let replies: Vec<String> = commands.split(';').map(|command| show(&client.run(command.trim()))).collect();
    assert_eq!(replies.join(" "), expected, "{commands}");
}

/// A reply as text; apostrophes stay what they are.
fn show(reply: &Reply) -> String {
    format!("{reply:?}").replace("\\'", "'")
}

/// The next push or reply.
#[track_caller]
fn receive(client: &mut Client) -> String {
    match client.receive() {
        Ok(reply) => show(&reply),
        Err(error) => panic!("receiving: {error}"),
    }
}

/// Sends a command without waiting for its reply.
#[track_caller]
fn send(client: &mut Client, command: &str) {
    let words: Vec<&str> = command.split_ascii_whitespace().collect();
    client.send(&words).unwrap_or_else(|error| panic!("{command}: {error}"));
}

/// Waits until so many clients are blocked.
#[track_caller]
fn wait_for_blocked(client: &mut Client, wanted: usize) {
    let line = format!("blocked_clients:{wanted}\r\n");
    wait_until(|| client.run("INFO clients").text().contains(&line));
}

#[track_caller]
fn wait_until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "it never came to pass");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The number of this connection.
fn id(client: &mut Client) -> i64 {
    client.run("CLIENT ID").integer().unwrap_or_default()
}

/// Nothing more comes.
#[track_caller]
fn assert_silent(client: &mut Client) {
    let marker = Reply::bulk("nothing came before this");
    assert_eq!(client.call(&["PING", "nothing came before this"]), marker);
}
