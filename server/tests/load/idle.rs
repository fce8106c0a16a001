//! What thousands of silent connections and a silent node cost.

use crate::support::client::Reply;
use crate::{node, resident};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

/// Room for as many open files; false when the machine forbids it.
fn allow_files(count: u64) -> bool {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= count) {
        return true;
    }
    let raised = Rlimit { current: Some(count.min(limit.maximum.unwrap_or(count))), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).is_ok() && limit.maximum.is_none_or(|maximum| maximum >= count)
}

#[test]
fn ten_thousand_silent_connections() {
    const CONNECTIONS: usize = 10_000;
    /// What a connection may cost in memory of the process; the kernel's buffers are its own affair.
    const BYTES_MAX: usize = 2_048;
    if !allow_files(CONNECTIONS as u64 + 500) {
        println!("skipped: the hard limit of open files forbids {CONNECTIONS} connections (ulimit -Hn)");
        return;
    }
    let server = node();
    let connect = |count: usize| -> Vec<TcpStream> {
        let mut streams: Vec<TcpStream> =
            (0..count).map(|_| TcpStream::connect(server.address()).expect("a connection")).collect();
        for stream in &mut streams {
            stream.write_all(b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n").unwrap();
        }
        for stream in &mut streams {
            let mut reply = [0; 5];
            stream.read_exact(&mut reply).unwrap();
            assert_eq!(&reply, b"$-1\r\n");
        }
        streams
    };
    let first = connect(500);
    thread::sleep(Duration::from_millis(300));
    let before = resident(&server);
    // In parts: how many are being answered at one moment is not what is measured.
    let rest: Vec<TcpStream> = (1..CONNECTIONS / first.len()).flat_map(|_| connect(first.len())).collect();
    thread::sleep(Duration::from_millis(300));
    let each = (resident(&server) - before) / rest.len();
    println!("{CONNECTIONS} silent connections: {each} bytes of RSS each");
    assert!(each < BYTES_MAX, "{each} bytes each");
}

#[test]
fn a_silent_node_costs_next_to_nothing() {
    let mut server = node();
    // What an application would leave there: keys that expire, and a connection.
    let mut client = server.client();
    for n in 0..1_000 {
        client.run(&format!("SET key:{n} value EX 100"));
    }
    thread::sleep(Duration::from_millis(200));
    let (start, before) = (Instant::now(), cpu_ticks(server.pid()));
    thread::sleep(Duration::from_secs(3));
    let (ticks, time) = (cpu_ticks(server.pid()) - before, start.elapsed());
    // The unit of the kernel's figures is 1/100 s on every Linux.
    let percent = ticks as f64 / time.as_secs_f64();
    println!("a silent node of 4 cores: {percent:.2} % of one processor");
    assert!(percent < 1.0, "{percent} %");
    assert_eq!(client.run("PING"), Reply::simple("PONG"));
}

/// User and system time of a process in clock ticks.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the figures of the process");
    let after_name = stat.rsplit(')').next().expect("a name in brackets");
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    fields[11..=12].iter().map(|ticks| ticks.parse::<u64>().expect("ticks")).sum()
}
