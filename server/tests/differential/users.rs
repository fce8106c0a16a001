//! Users: the same random rules to Baton and to a real Redis, and what each says about them.
//!
//! Redis 7.0 shows rules about commands in an order of its own, so what they mean is compared instead: whether command
//! lines are allowed, and what the refusal is about.

use super::random::Random;
use crate::support::client::{Client, Reply};
use crate::support::process::Server;

const ROUNDS: usize = 400;
const LINES_PER_ROUND: usize = 12;

/// Commands and categories that mean the same to both.
const COMMANDS: &[&str] = &[
    "get",
    "set",
    "SET",
    "del",
    "mget",
    "mset",
    "lpush",
    "lmove",
    "copy",
    "sort",
    "zadd",
    "zunionstore",
    "publish",
    "subscribe",
    "psubscribe",
    "config",
    "config|get",
    "config|set",
    "CLIENT|id",
    "client",
    "ping",
    "select",
    "auth",
    "object|encoding",
    "bitop",
    "nope",
    "config|nope",
    "config|get|port",
    "",
    "sinterstore",
    "getdel",
    "expire",
];
const CATEGORIES: &[&str] = &[
    "all",
    "read",
    "write",
    "string",
    "list",
    "SortedSet",
    "set",
    "hash",
    "bitmap",
    "pubsub",
    "connection",
    "transaction",
    "nope",
];
const WORDS: &[&str] = &[
    "on",
    "off",
    "ON",
    "nopass",
    "resetpass",
    "reset",
    "allkeys",
    "resetkeys",
    "allchannels",
    "resetchannels",
    "allcommands",
    "nocommands",
    "clearselectors",
    ">p1",
    ">p2",
    "<p1",
    "<p3",
    "!zz",
    "#zz",
    "maybe",
    "",
    "+select|0",
    "+SELECT|1",
    "-select|0",
    "#2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
    "skip-sanitize-payload",
    "()",
    "(",
    ")",
    "%",
    "+@",
    "~",
];
const PATTERNS: &[&str] = &["a*", "b", "*", "[ab]?", "", "c:*", "a b"];
const LINES: &[&str] = &[
    "get a1",
    "GET b",
    "set a1 v",
    "set b v get",
    "set b v ex 5",
    "del a1 b",
    "mget a1 b c:1",
    "mset a1 1 b 2",
    "lpush b 1",
    "lmove a1 b left right",
    "copy a1 b",
    "copy b a1",
    "rename a1 b",
    "sort a1 by x",
    "sort a1 store b",
    "zadd b 1 m",
    "zunionstore b 2 a1 c:1",
    "zunionstore b 0 a1",
    "publish a1 m",
    "subscribe a1 b",
    "psubscribe a*",
    "psubscribe b c:*",
    "unsubscribe a1",
    "config get port",
    "config set port 1",
    "config",
    "config nope",
    "client id",
    "client list",
    "ping",
    "select 0",
    "select 1",
    "auth x",
    "object encoding a1",
    "exists a1",
    "type b",
    "strlen b",
    "bitop and b a1",
    "sinterstore b a1",
    "getdel a1",
    "expire b 1",
    "multi",
    "exec",
    "quit",
    "nope",
    "get",
    "flushall",
    "spublish b m",
    "ssubscribe c:1",
    "georadius a1 1 1 1 m store b",
    "bitfield a1 get u8 0",
    "bitfield a1 set u8 0 1",
    "pfcount a1 b",
    "watch a1",
    "blpop a1 b 0",
];

fn selector_rule(random: &mut Random) -> String {
    let sign = random.pick(&["+", "-", "+"]);
    match random.below(10) {
        0..=3 => format!("{sign}{}", random.pick(COMMANDS)),
        4..=5 => format!("{sign}@{}", random.pick(CATEGORIES)),
        6..=7 => format!(
            "{}{}",
            random.pick(&["~", "~", "%R~", "%W~", "%RW~", "%wr~", "%~", "%RR~"]),
            random.pick(PATTERNS)
        ),
        8 => format!("&{}", random.pick(PATTERNS)),
        _ => random.pick(WORDS).to_owned(),
    }
}

fn rule(random: &mut Random) -> String {
    match random.below(10) {
        0..=6 => selector_rule(random),
        7..=8 => random.pick(WORDS).to_owned(),
        _ => {
            let rules: Vec<String> = (0..random.below(4)).map(|_| selector_rule(random)).collect();
            format!("({})", rules.join(" "))
        }
    }
}

/// What a reply says, in the words that both use.
fn told(reply: &Reply) -> String {
    // The later servers name the user.
    reply.text().replace("User u has", "This user has")
}

/// Parts of GETUSER that both show in the same words: all but the order of rules about commands.
fn shown(client: &mut Client) -> Vec<String> {
    let reply = client.run("ACL GETUSER u");
    let mut parts = Vec::new();
    collect(&reply, &mut parts);
    parts
}

fn collect(reply: &Reply, parts: &mut Vec<String>) {
    let Some(elements) = reply.elements() else {
        // Redis shows what could not be given again.
        return parts.push(reply.text().replace("%RW~*", "~*"));
    };
    let mut elements = elements.iter();
    while let Some(element) = elements.next() {
        match element.text().as_str() {
            "commands" => {
                elements.next();
            }
            // Redis 7.0 shows it only once it has been given.
            "sanitize-payload" => {}
            _ => collect(element, parts),
        }
    }
}

#[test]
fn users_are_those_of_redis() {
    let mut random = Random::seeded(super::seed());
    let (mut ours, mut theirs) = (Server::baton(&[]), Server::redis(&[]));
    let mut clients = [ours.client(), theirs.client()];
    let mut history: Vec<String> = Vec::new();
    for _ in 0..ROUNDS {
        if random.percent(10) {
            history.clear();
            clients.iter_mut().for_each(|client| drop(client.run("ACL DELUSER u")));
        }
        let rules: Vec<String> = (0..1 + random.below(3)).map(|_| rule(&mut random)).collect();
        let command: Vec<&str> =
            ["ACL", "SETUSER", "u"].into_iter().chain(rules.iter().map(String::as_str)).collect();
        let [left, right] = clients.each_mut().map(|client| told(&client.call(&command)));
        history.push(format!("{rules:?}"));
        assert_eq!(left, right, "after {}", history.join("\n"));
        let [left, right] = clients.each_mut().map(shown);
        assert_eq!(left, right, "after {}", history.join("\n"));
        for _ in 0..LINES_PER_ROUND {
            let line = random.pick(LINES);
            let [left, right] =
                clients.each_mut().map(|client| told(&client.run(&format!("ACL DRYRUN u {line}"))));
            assert_eq!(left, right, "{line} after {}", history.join("\n"));
        }
    }
}
