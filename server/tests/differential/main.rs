//! The differential test: the same random commands to Baton and to a real Redis 7.0.15.
//!
//! ```text
//! random.rs       seeded choices
//! args.rs         what an argument can be: keys, members, scores, odd numbers
//! commands.rs     the table: one row for each shape of a command, and how its replies are compared
//! generate.rs     the stream: commands, broken commands, transactions, subscriptions
//! scripts.rs      commands that run scripts and functions, or keep them
//! lua.rs          their sources, by a grammar
//! templates.rs    the grammar
//! compare.rs      when two replies count as the same
//! differences.rs  what we do otherwise than 7.0.15 on purpose, and why
//! pair.rs         two servers, pipelines, state comparison key by key
//! trial.rs        one run, and on a mismatch the report with a shrunk list of commands
//! ```
//!
//! | variable              | default        | meaning                                                 |
//! |-----------------------|----------------|---------------------------------------------------------|
//! | `BATON_DIFF_COMMANDS` | 20000, 8000    | commands for each version of RESP, of them on scripts   |
//! | `BATON_DIFF_SEED`     | 1              | another stream                                          |
//! | `BATON_DIFF_LEFT`     | this `baton`   | another program to be compared, for example a Valkey    |
//!
//! Only what both servers do alike is drawn: commands newer than 7.0 are absent.

#[path = "../support/mod.rs"]
mod support;

mod args;
mod commands;
mod compare;
mod differences;
mod generate;
mod lua;
mod pair;
mod random;
mod scripts;
mod templates;
mod trial;
mod users;

use std::env;

use differences::DIFFERENCES;
use generate::Topic;
use pair::Contestant;
use support::process::on_path;
use trial::Trial;

const COMMANDS: usize = 20_000;
const SCRIPT_COMMANDS: usize = 8_000;
const SEED: u64 = 1;

#[test]
fn agrees_with_redis_in_resp2() {
    check_left(2, Topic::Data, COMMANDS);
}

#[test]
fn agrees_with_redis_in_resp3() {
    check_left(3, Topic::Data, COMMANDS);
}

#[test]
fn scripts_agree_with_redis_in_resp2() {
    check_left(2, Topic::Scripts, SCRIPT_COMMANDS);
}

#[test]
fn scripts_agree_with_redis_in_resp3() {
    check_left(3, Topic::Scripts, SCRIPT_COMMANDS);
}

/// Proof that a mismatch is one: without any excuse, Redis does not differ from itself.
#[test]
fn redis_agrees_with_itself() {
    for (resp, topic) in [(2, Topic::Data), (3, Topic::Data), (2, Topic::Scripts), (3, Topic::Scripts)] {
        if let Err(report) = redis_against_redis(resp, topic, &[], 10_000) {
            panic!("{report}");
        }
    }
}

/// Proof that a silent divergence is found and traced: only OBJECT ENCODING shows this setting.
#[test]
fn another_encoding_is_noticed() {
    let report = redis_against_redis(2, Topic::Data, &[("zset-max-listpack-entries", "7")], 10_000)
        .expect_err("nobody noticed the encoding");
    assert!(report.contains("\"skiplist\""), "{report}");
    assert!(report.contains("groups are enough"), "{report}");
}

/// Proof that another reply is found, and that one command is enough to show it.
#[test]
fn another_reply_is_noticed() {
    let report = redis_against_redis(3, Topic::Data, &[("maxmemory", "1")], 1_000)
        .expect_err("nobody noticed the error");
    assert!(report.contains("OOM"), "{report}");
    assert!(report.contains("1 groups are enough"), "{report}");
}

fn redis_against_redis(
    resp: u8,
    topic: Topic,
    settings: &'static [(&'static str, &'static str)],
    commands: usize,
) -> Result<(), String> {
    let redis = Contestant::new(on_path("redis-server"));
    let left = Contestant { settings, ..redis.clone() };
    Trial { left, right: redis, resp, topic, seed: seed(), commands, differences: &[] }.run()
}

fn check_left(resp: u8, topic: Topic, commands: usize) {
    let left = env::var_os("BATON_DIFF_LEFT").unwrap_or_else(|| env!("CARGO_BIN_EXE_baton").into());
    let trial = Trial {
        left: Contestant::new(left),
        right: Contestant::new(on_path("redis-server")),
        resp,
        topic,
        seed: seed(),
        commands: setting("BATON_DIFF_COMMANDS").unwrap_or(commands),
        differences: DIFFERENCES,
    };
    if let Err(report) = trial.run() {
        panic!("{report}");
    }
}

fn seed() -> u64 {
    setting("BATON_DIFF_SEED").unwrap_or(SEED)
}

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}
