//! Our settings beside those of a real redis-server 7.0: defaults, and the texts of refusals. Every
//! difference is written down here with its reason; an unexpected one fails the test.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Caller, Config, Settings};

/// Defaults that differ: name, Redis 7.0, ours, why.
const DEFAULTS: &[(&str, &str, &str, &str)] = &[
    ("bind", "127.0.0.1", "* -::*", "the test's own option"),
    ("io-threads", "1", "0", "another name for `cores`, where 0 means all"),
];

/// Settings of 7.0 that `CONFIG GET *` no longer shows, as in 7.2.
const HIDDEN: &[&str] = &["aof-disable-auto-gc"];

/// Settings that Redis 7.0 doesn't have, with where they come from.
const NEW: &[(&str, &[&str])] = &[
    ("Redis 7.2", &["locale-collate", "set-max-listpack-entries", "set-max-listpack-value"]),
    (
        "Redis 7.4 and 8",
        &["hide-user-data-from-log", "max-new-connections-per-cycle", "max-new-tls-connections-per-cycle"],
    ),
    (
        "Redis 7.2: spelled with a dash",
        &["server-cpulist", "bio-cpulist", "aof-rewrite-cpulist", "bgsave-cpulist"],
    ),
    (
        "Valkey 8 and 9",
        &[
            "availability-zone",
            "cluster-announce-client-ipv4",
            "cluster-announce-client-ipv6",
            "cluster-databases",
            "cluster-slot-stats-enabled",
            "commandlog-execution-slower-than",
            "commandlog-large-reply-max-len",
            "commandlog-large-request-max-len",
            "commandlog-reply-larger-than",
            "commandlog-request-larger-than",
            "commandlog-slow-execution-max-len",
            "dual-channel-replication-enabled",
            "extended-redis-compatibility",
            "import-mode",
            "log-format",
            "log-timestamp-format",
            "prefetch-batch-max-size",
            "primaryauth",
            "primaryuser",
            "rdb-version-check",
            "tls-auth-clients-user",
            "unixsocketgroup",
        ],
    ),
    ("Redis 7.0.15 lacks it, later ones have it", &["cluster-announce-human-nodename"]),
    ("Baton", &["cores", "gather-connections", "huge-pages", "rdb-target"]),
];

/// Changes that both refuse in the same words, or that both make and then show alike.
const CHANGES: &[(&str, &str)] = &[
    ("active-expire-effort", "11"),
    ("appendfsync", "maybe"),
    ("appendfsync", "ALWAYS"),
    ("bind-source-addr", ""),
    ("client-output-buffer-limit", "normal 1mb 2k 3"),
    ("client-output-buffer-limit", "normal 1mb 2k"),
    ("client-output-buffer-limit", "master 1 2 3"),
    ("client-output-buffer-limit", "pubsub 1 2 x"),
    ("client-output-buffer-limit", "replica 1 2 3 pubsub 1 1 1"),
    ("client-output-buffer-limit", ""),
    ("client-query-buffer-limit", "1kb"),
    ("cluster-announce-hostname", "a_b"),
    ("databases", "3"),
    ("dbfilename", "x"),
    ("hash-max-listpack-entries", "-1"),
    ("hash-max-ziplist-entries", "7"),
    ("hash-max-listpack-value", "1kb"),
    ("hz", "0"),
    ("hz", "1000"),
    ("hz", "01"),
    ("hz", "+1"),
    ("hz", " 1"),
    ("hz", ""),
    ("latency-tracking-info-percentiles", "1 99.99"),
    ("latency-tracking-info-percentiles", "101"),
    ("latency-tracking-info-percentiles", "x"),
    ("latency-tracking-info-percentiles", ""),
    ("lfu-decay-time", "2147483648"),
    ("list-max-listpack-size", "-5"),
    ("loglevel", "VERBOSE"),
    ("maxmemory", "1GB"),
    ("maxmemory", "1x"),
    ("maxmemory", "-1"),
    ("maxmemory", "100%"),
    ("maxmemory-clients", "5%"),
    ("maxmemory-clients", "101%"),
    ("maxmemory-clients", "-5"),
    ("maxmemory-clients", "1mb"),
    ("maxmemory-policy", "allkeys-LRU"),
    ("maxmemory-policy", ""),
    ("maxmemory-samples", "0x5"),
    ("min-slaves-to-write", "1"),
    ("no-such-setting", "1"),
    ("notify-keyspace-events", "AKE"),
    ("notify-keyspace-events", "Elg"),
    ("notify-keyspace-events", "m"),
    ("notify-keyspace-events", "Q"),
    ("notify-keyspace-events", "$lshzxegtd"),
    ("notify-keyspace-events", ""),
    ("oom-score-adj-values", "1 2"),
    ("oom-score-adj-values", "1 2 2001"),
    ("port", "65536"),
    ("proc-title-template", "{bad}"),
    ("proc-title-template", "{title"),
    ("proto-max-bulk-len", "1"),
    ("repl-timeout", "0"),
    ("requirepass", ""),
    ("save", "60 1 5 5"),
    ("save", "60"),
    ("save", "60 -1"),
    ("save", "60 x"),
    ("save", "60  1"),
    ("save", ""),
    ("shutdown-on-sigint", "save nosave"),
    ("shutdown-on-sigint", "force now"),
    ("shutdown-on-sigint", "later"),
    ("slowlog-log-slower-than", "-2"),
    ("slowlog-log-slower-than", "-1"),
    ("timeout", "x"),
    ("tracking-table-max-keys", "0"),
    ("unixsocketperm", "777"),
    ("yes", "yes"),
];

struct Redis {
    _server: Server,
    stream: BufReader<TcpStream>,
}

/// The process, in a directory of its own: both go when this is dropped.
struct Server {
    process: Child,
    dir: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It's ours alone and holds nothing; should this fail, nothing depends on it.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Redis {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = std::env::temp_dir().join(format!("baton-against-redis-{port}"));
        std::fs::create_dir_all(&dir).unwrap();
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .current_dir(&dir)
            .stdout(Stdio::null());
        let server = Server { process: command.spawn().expect("redis-server is installed"), dir };
        for _ in 0..200 {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                return Self { _server: server, stream: BufReader::new(stream) };
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("redis-server doesn't listen");
    }

    /// Sends a command; its reply as a flat list of strings, or the text of its error.
    fn call(&mut self, args: &[&str]) -> Result<Vec<String>, String> {
        let mut request = format!("*{}\r\n", args.len());
        for arg in args {
            request += &format!("${}\r\n{arg}\r\n", arg.len());
        }
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        self.reply()
    }

    fn reply(&mut self) -> Result<Vec<String>, String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let (kind, rest) = line.trim_end().split_at(1);
        match kind {
            "-" => Err(rest.into()),
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.stream.read_exact(&mut bytes).unwrap();
                bytes.truncate(bytes.len() - 2);
                Ok(vec![String::from_utf8(bytes).unwrap()])
            }
            "*" => (0..rest.parse().unwrap()).try_fold(Vec::new(), |mut all, _| {
                all.extend(self.reply()?);
                Ok(all)
            }),
            _ => Ok(vec![rest.into()]),
        }
    }
}

fn ours() -> Config {
    Config::new(Settings::default(), None, false)
}

fn get(config: &Config, pattern: &str) -> BTreeMap<String, String> {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    config.get(&[pattern.as_bytes()]).into_iter().map(|(name, value)| (text(name), text(value))).collect()
}

#[test]
fn defaults_are_those_of_redis() {
    let mut redis = Redis::start();
    let reply = redis.call(&["CONFIG", "GET", "*"]).unwrap();
    let theirs: BTreeMap<_, _> = reply.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    let ours = get(&ours(), "*");

    // Each ran in a directory, and on a port, of its own.
    let ignored = ["dir", "port"];
    for (name, value) in &theirs {
        match ours.get(name) {
            None => assert!(HIDDEN.contains(&name.as_str()), "we lack {name}"),
            Some(_) if ignored.contains(&name.as_str()) => {}
            Some(own) => match DEFAULTS.iter().find(|(known, ..)| known == name) {
                Some((_, redis, baton, _)) => {
                    assert_eq!((value.as_str(), own.as_str()), (*redis, *baton), "{name}")
                }
                None => assert_eq!(own, value, "{name}"),
            },
        }
    }
    let known: Vec<&str> = NEW.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    for name in ours.keys().filter(|name| !theirs.contains_key(*name)) {
        assert!(known.contains(&name.as_str()), "{name} is new and not listed");
    }
    for name in known {
        assert!(ours.contains_key(name) && !theirs.contains_key(name), "{name} is listed as new");
    }
}

#[test]
fn changes_go_as_in_redis() {
    let mut redis = Redis::start();
    let mut different = Vec::new();
    for (name, value) in CHANGES {
        let ours = ours();
        let theirs = redis.call(&["CONFIG", "SET", name, value]).map(|_| ());
        let own = ours.set(&[(name.as_bytes(), value.as_bytes())], Caller::default(), |_, _, _| Ok(()));
        let own = own.map(|_| ()).map_err(|error| error.to_string());
        if own != theirs {
            different.push(format!("CONFIG SET {name} '{value}': {own:?} instead of {theirs:?}"));
        } else if own.is_ok() && *name != "client-output-buffer-limit" {
            // That one adds to what earlier changes left.
            let (shown, own) = (redis.call(&["CONFIG", "GET", name]).unwrap(), get(&ours, name));
            if own.get(*name) != shown.get(1) {
                different.push(format!("CONFIG GET {name} after '{value}': {own:?} instead of {shown:?}"));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
