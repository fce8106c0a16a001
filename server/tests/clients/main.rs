//! Real clients and tools at work on a started node: they must not be able to tell it from a Redis.
//!
//! | file          | the client                                                         |
//! |---------------|--------------------------------------------------------------------|
//! | `redis_py.py` | redis-py, in RESP2 and RESP3                                       |
//! | `ioredis.mjs` | ioredis                                                            |
//! | `redis_rs.rs` | the crate `redis`, blocking and asynchronous, with its cache       |
//! | `bullmq.mjs`  | BullMQ: queues of jobs, on ioredis                                 |
//! | `rq_jobs.py`  | rq: the same, on redis-py                                          |
//! | `celery_jobs.py` | Celery: the same, as its broker and for its results             |
//! | `jobs.rs`     | the start of these three, and a node that is killed meanwhile      |
//! | `main.rs`     | redis-cli and redis-benchmark, and the start of the two above      |
//!
//! `.ci/setup` installs all of them. A test whose client is missing fails: nothing is skipped in silence.

#[path = "../support/mod.rs"]
mod support;

mod jobs;
mod redis_rs;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use support::process::{Server, on_path};

/// Where `.ci/setup` puts clients.
fn tool(path: &str) -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-tools").join(path);
    assert!(tools.exists(), "{} is missing: run .ci/setup", tools.display());
    tools
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// What it printed; it must have ended well.
#[track_caller]
fn finish(command: &mut Command) -> String {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{shown}: {error}"));
    printed(&shown, &output)
}

#[track_caller]
fn printed(shown: &str, output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{shown} ended with {}:\n{out}\n{err}", output.status);
    out.into_owned()
}

#[track_caller]
fn cli(server: &Server, args: &[&str]) -> String {
    finish(Command::new(on_path("redis-cli")).args(["-p", &server.port().to_string()]).args(args))
}

#[track_caller]
fn check_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

#[test]
fn redis_py_works() {
    let server = Server::baton(&[]);
    for version in ["2", "3"] {
        let mut python = Command::new(tool("python/bin/python3"));
        let python = python.arg(script("redis_py.py")).args([&server.port().to_string(), version]);
        check_contains(&finish(python), &["all well"]);
    }
}

#[test]
fn ioredis_works() {
    let server = Server::baton(&[]);
    let mut node = Command::new(on_path("node"));
    let node =
        node.arg(script("ioredis.mjs")).arg(server.port().to_string()).arg(tool("node_modules/ioredis"));
    check_contains(&finish(node), &["all well"]);
}

#[test]
fn redis_benchmark_runs_its_default_tests() {
    let server = Server::baton(&[]);
    let port = server.port().to_string();
    for pipeline in ["1", "16"] {
        let mut benchmark = Command::new(on_path("redis-benchmark"));
        let benchmark =
            benchmark.args(["-p", &port, "-q", "-n", "2000", "-c", "20", "-r", "1000", "-P", pipeline]);
        let text = finish(benchmark);
        check_contains(&text, &["PING_MBULK", "SET", "GET", "LRANGE_600", "MSET", "requests per second"]);
        assert!(!text.contains("Error"), "{text}");
    }
}

#[test]
fn redis_cli_talks() {
    let server = Server::baton(&[]);
    assert_eq!(cli(&server, &["SET", "hello", "world"]), "OK\n");
    assert_eq!(cli(&server, &["GET", "hello"]), "world\n");
    assert_eq!(cli(&server, &["--no-raw", "-3", "HSET", "h", "f", "v"]), "(integer) 1\n");
    assert_eq!(cli(&server, &["--no-raw", "-3", "HGETALL", "h"]), "1# \"f\" => \"v\"\n");
    assert_eq!(cli(&server, &["--json", "HGETALL", "h"]), "{\"f\":\"v\"}\n");
    assert_eq!(cli(&server, &["-n", "3", "DBSIZE"]), "0\n");
    assert_eq!(cli(&server, &["-r", "3", "INCR", "n"]), "1\n2\n3\n");
    check_contains(&cli(&server, &["INFO", "server"]), &["redis_version:", "tcp_port:"]);
}

/// The modes that walk over all keys.
#[test]
fn redis_cli_surveys_the_keys() {
    let server = Server::baton(&[]);
    let mut requests = Vec::new();
    for n in 0..1_000 {
        let value = "v".repeat(n % 50 + 1);
        write!(requests, "SET string:{n} {value}\r\nRPUSH list:{} {n}\r\n", n % 3)
            .expect("a vector takes all");
        write!(requests, "SADD set {n}\r\nZADD zset {n} m{n}\r\nHSET hash f{n} {n}\r\n")
            .expect("a vector takes all");
    }
    let mut pipe = Command::new(on_path("redis-cli"));
    let pipe = pipe.args(["-p", &server.port().to_string(), "--pipe"]);
    let mut child = pipe.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.as_mut().expect("redis-cli --pipe starts");
    child.stdin.take().expect("its input").write_all(&requests).expect("it reads");
    let mut text = String::new();
    child.stdout.take().expect("its output").read_to_string(&mut text).expect("text");
    assert!(child.wait().expect("its end").success(), "{text}");
    check_contains(&text, &["errors: 0, replies: 5000"]);

    let scanned = cli(&server, &["--scan"]);
    assert_eq!(scanned.lines().count(), 1_006);
    assert_eq!(cli(&server, &["--scan", "--pattern", "string:99*"]).lines().count(), 11);
    check_contains(
        &cli(&server, &["--bigkeys"]),
        &["Sampled 1006 keys", "\"hash\"", "\"zset\"", "with 1000 members"],
    );
    check_contains(&cli(&server, &["--memkeys"]), &["Sampled 1006 keys"]);
}

/// The modes that go on for ever: what they print first.
#[test]
fn redis_cli_watches() {
    let server = Server::baton(&[]);
    let first_line = |args: &[&str], wanted: &str| {
        // Into a pipe redis-cli writes whole blocks, which take for ever to fill.
        let mut command = Command::new(on_path("stdbuf"));
        let command = command.arg("-oL").arg(on_path("redis-cli"));
        let command = command.args(["-p", &server.port().to_string()]).args(args);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("redis-cli starts");
        let (found, lines) = std::sync::mpsc::channel();
        let out = BufReader::new(child.stdout.take().expect("its output"));
        let reader = std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if found.send(line).is_err() {
                    break;
                }
            }
        });
        let mut seen = Vec::new();
        let is_there = loop {
            let Ok(line) = lines.recv_timeout(Duration::from_secs(10)) else { break false };
            seen.push(line);
            if seen.iter().any(|line| line.contains(wanted)) {
                break true;
            }
        };
        drop(lines);
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
        let _ = reader.join();
        assert!(is_there, "no {wanted:?} from {args:?} but {seen:?}");
    };
    first_line(&["--stat", "-i", "1"], "requests");
    first_line(&["--latency-history", "-i", "1", "--no-raw"], "min: ");
    first_line(&["MONITOR"], "OK");
    first_line(&["SUBSCRIBE", "news"], "subscribe");
}
