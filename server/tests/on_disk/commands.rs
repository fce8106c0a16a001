//! `aof-use-rdb-preamble no`: the base of the log is commands, which Redis loads, and so do we.

use crate::support::client::{Client, Reply, encode};
use crate::support::process::{Server, on_path};
use crate::{copy_log, settle};
use std::fs;
use std::path::Path;
use std::process::Command;

const SETTINGS: &[(&str, &str)] = &[
    ("enable-debug-command", "yes"),
    ("save", ""),
    ("appendonly", "yes"),
    ("aof-use-rdb-preamble", "no"),
    ("aof-timestamp-enabled", "yes"),
];

fn baton() -> Server {
    Server::baton(&[SETTINGS, &[("cores", "2")]].concat())
}

/// All types, small and large, in two databases.
fn fill(client: &mut Client) {
    let numbers = |count: usize| (0..count).map(|n| n.to_string());
    for db in ["0", "5"] {
        client.call(&["SELECT", db]);
        for (name, count) in [("small", 5), ("large", 3_000)] {
            let mut make = |command: &str, elements: Vec<String>| {
                let key = format!("{command}:{name}");
                let head = [command.to_owned(), key.clone()];
                let words: Vec<String> = head.into_iter().chain(elements).collect();
                assert!(!client.call(&words).is_error(), "{command}");
                assert_eq!(client.call(&["PEXPIREAT", &key, "4102444800123"]), Reply::Integer(1));
            };
            make("RPUSH", numbers(count).collect());
            make("SADD", numbers(count).map(|n| format!("m{n}")).collect());
            make("HSET", numbers(2 * count).collect());
            // Redis 7.0 digests 17 digits, later ones as few as will do: here these are the same.
            let scored = |n: usize| [(n as f64 / 8.0).to_string(), format!("m{n}")];
            make("ZADD", (0..count).flat_map(scored).collect());
        }
        client.call(&["SADD", "ints", "1", "2", "3"]);
        client.call(&["SET", "string", &"some text ".repeat(1_000)]);
        client.call(&["SET", "number", "-42"]);
        client.call(&["PFADD", "hll", "a", "b", "c"]);
        client.call(&["ZADD", "edges", "inf", "a", "-inf", "b"]);
    }
    client.call(&["SELECT", "0"]);
}

/// The base, which must be the only one there.
fn base_of(server: &Server) -> Vec<u8> {
    let folder = server.directory().join("appendonlydir");
    let names = fs::read_dir(&folder).expect("listed").map(|file| file.expect("a file").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.retain(|name| name.contains(".base.") || name.starts_with("temp-"));
    assert_eq!(names.len(), 1, "{names:?}");
    assert!(names[0].ends_with(".base.aof"), "{names:?}");
    fs::read(folder.join(&names[0])).expect("the base")
}

fn is_in_order(folder: &Path) {
    let manifest = folder.join("appendonlydir/appendonly.aof.manifest");
    let checked = Command::new(on_path("redis-check-aof")).arg(&manifest).output().expect("it runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    let ours = Command::new(env!("CARGO_BIN_EXE_baton")).args(["check", "aof"]).arg(&manifest).output();
    let ours = ours.expect("it runs");
    assert!(ours.status.success(), "{}", String::from_utf8_lossy(&ours.stdout));
}

#[test]
fn the_base_is_commands() {
    let mut ours = baton();
    let mut client = ours.client();
    fill(&mut client);
    client.run("BGREWRITEAOF");
    settle(&mut client);
    client.run("SET after 1");
    let expected = client.run("DEBUG DIGEST");
    assert_eq!(client.run("DEBUG LOADAOF"), Reply::simple("OK"));
    assert_eq!(client.run("DEBUG DIGEST"), expected);
    ours.terminate();
    let base = base_of(&ours);
    assert!(base.starts_with(b"#TS:"), "{}", base[..60].escape_ascii());
    is_in_order(ours.directory());

    let mut redis = Server::redis(SETTINGS);
    redis.terminate();
    copy_log(&ours, &redis);
    redis.restart();
    assert_eq!(redis.client().run("DEBUG DIGEST"), expected);
    // And what Redis makes of it, we read.
    redis.client().run("BGREWRITEAOF");
    settle(&mut redis.client());
    redis.terminate();
    copy_log(&redis, &ours);
    ours.restart();
    assert_eq!(ours.client().run("DEBUG DIGEST"), expected);
    // A preamble after all.
    let mut client = ours.client();
    client.run("CONFIG SET aof-use-rdb-preamble yes");
    client.run("BGREWRITEAOF");
    settle(&mut client);
    ours.kill();
    ours.restart();
    assert_eq!(ours.client().run("DEBUG DIGEST"), expected);
}

#[test]
fn libraries_and_fields_that_expire() {
    let mut ours = baton();
    ours.terminate();
    let folder = ours.directory().join("appendonlydir");
    let library = "#!lua name=lib\nredis.register_function('f', function() return 7 end)";
    let mut file = Vec::new();
    encode(&["FUNCTION", "LOAD", library], &mut file);
    fs::write(folder.join("appendonly.aof.2.incr.aof"), file).expect("written");
    let manifest = folder.join("appendonly.aof.manifest");
    let mut text = fs::read_to_string(&manifest).expect("the manifest");
    text.push_str("file appendonly.aof.2.incr.aof seq 2 type i\n");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    fs::write(&manifest, format!("{}\n", lines.join("\n"))).expect("written");
    ours.restart();
    let mut client = ours.client();
    let numbers: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    client.call(&[&["HSET".to_owned(), "hash".to_owned()], &numbers[..]].concat());
    client.run("HPEXPIREAT hash 4102444800123 FIELDS 2 0 2");
    client.run("BGREWRITEAOF");
    settle(&mut client);
    let expected = client.run("DEBUG DIGEST");
    ours.kill();
    let base = base_of(&ours);
    let has = |text: &str| base.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(has(library) && has("HPEXPIREAT"), "{}", base.escape_ascii());
    ours.restart();
    let mut client = ours.client();
    assert_eq!(client.run("DEBUG DIGEST"), expected);
    assert_eq!(client.run("HPEXPIRETIME hash FIELDS 2 2 4").text(), "[:4102444800123, :-1]");
    assert!(client.run("INFO memory").text().contains("number_of_libraries:1"));
}

#[test]
fn a_log_without_keys() {
    let mut ours = baton();
    let mut client = ours.client();
    client.run("BGREWRITEAOF");
    settle(&mut client);
    client.run("SET key value");
    ours.kill();
    ours.restart();
    assert_eq!(ours.client().run("GET key"), Reply::bulk("value"));
    ours.terminate();
    let mut redis = Server::redis(SETTINGS);
    redis.terminate();
    copy_log(&ours, &redis);
    redis.restart();
    assert_eq!(redis.client().run("GET key"), Reply::bulk("value"));
}
