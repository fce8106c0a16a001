//! Memory stays bounded whatever clients send and do not read; garbage kills nobody.

use crate::support::client::{Client, Reply, encode};
use crate::support::process::Server;
use crate::{node, resident};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

const MB: usize = 1024 * 1024;

fn big_tests() -> bool {
    std::env::var_os("BATON_BIG_TESTS").is_some()
}

/// The most memory that the node had while `work` ran, beyond what it had before.
fn peak<R: Send>(server: &Server, work: impl FnOnce() -> R + Send) -> (R, usize) {
    let before = resident(server);
    thread::scope(|scope| {
        let working = scope.spawn(work);
        let mut most = before;
        while !working.is_finished() {
            most = most.max(resident(server));
            thread::sleep(Duration::from_millis(2));
        }
        (working.join().unwrap(), most.max(resident(server)) - before)
    })
}

/// `yes 'SET key value' | nc`
#[test]
fn a_flood_of_small_commands() {
    // A debug build takes its time for 200 MB.
    let bytes = if cfg!(debug_assertions) && !big_tests() { 20 * MB } else { 200 * MB };
    let mut server = node();
    let line = b"SET key value\r\n";
    let block = line.repeat(4_096);
    let address = server.address();
    let (_, grown) = peak(&server, || {
        let mut stream = TcpStream::connect(address).unwrap();
        let mut replies = stream.try_clone().unwrap();
        let reading = thread::spawn(move || io::copy(&mut replies, &mut io::sink()));
        let blocks = bytes / block.len();
        (0..blocks).for_each(|_| stream.write_all(&block).unwrap());
        stream.write_all(b"QUIT\r\n").unwrap();
        let read = reading.join().unwrap().unwrap();
        assert_eq!(read, (blocks * 4_096 * 5 + 5) as u64, "+OK for each");
    });
    println!("a flood of {} MB of inline SET: RSS grew by {:.1} MB", bytes / MB, grown as f64 / MB as f64);
    assert!(grown < 32 * MB, "{grown}");
    server.assert_alive();
}

/// Writes as long as the node takes it, and reads nothing. How much it took.
fn write_until_stuck(stream: &mut TcpStream, block: &[u8], max: usize) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(1_200))).unwrap();
    let mut written = 0;
    while written < max {
        match stream.write(block) {
            Ok(n) => written += n,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    written
}

/// Large replies to a long pipeline that nobody reads.
#[test]
fn replies_that_nobody_reads() {
    let mut server = node();
    let mut client = server.client();
    client.call(&[b"SET".to_vec(), b"large".to_vec(), vec![b'x'; MB]]);
    let mut request = Vec::new();
    encode(&["GET", "large"], &mut request);
    let block = request.repeat(2_000);
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let (written, grown) = peak(&server, || write_until_stuck(&mut stream, &block, 64 * MB));
    println!(
        "{} requests of 1 MB each were sent, no reply read: RSS grew by {} MB",
        written / request.len(),
        grown / MB
    );
    assert!(grown < 320 * MB, "{grown}");
    // Others are served, and all comes when it is read after all.
    assert_eq!(client.run("GET small"), Reply::NullBulk);
    let mut head = [0; 16];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head[..10], b"$1048576\r\n");
    drop(stream);
    let start = Instant::now();
    while resident(&server) > 200 * MB && start.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(20));
    }
    println!("once that client was gone: RSS {} MB", resident(&server) / MB);
    server.assert_alive();
}

/// Replies to a pipeline without end that nobody reads.
#[test]
fn a_pipeline_without_end() {
    let mut server = node();
    let mut client = server.client();
    client.call(&[b"SET".to_vec(), b"k".to_vec(), vec![b'x'; 4_096]]);
    let block = b"GET k\r\n".repeat(10_000);
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let (written, grown) = peak(&server, || write_until_stuck(&mut stream, &block, 200 * MB));
    println!("a pipeline of {} requests, nothing read: RSS grew by {} MB", written / 7, grown / MB);
    assert!(grown < 640 * MB, "{grown}");
    assert_eq!(client.run("PING"), Reply::simple("PONG"));
}

#[test]
fn requests_byte_by_byte() {
    let mut server = node();
    let mut client = server.client();
    let mut bytes = Vec::new();
    encode(&["SET", "key", "a value"], &mut bytes);
    encode(&["GET", "key"], &mut bytes);
    bytes.extend_from_slice(b"GET \"key\"\r\n\r\nPING\r\n");
    for byte in bytes {
        client.write_raw(&[byte]).unwrap();
        thread::sleep(Duration::from_micros(200));
    }
    let expected =
        [Reply::simple("OK"), Reply::bulk("a value"), Reply::bulk("a value"), Reply::simple("PONG")];
    expected.iter().for_each(|reply| assert_eq!(client.receive().unwrap(), *reply));
}

#[test]
fn garbage_kills_nobody() {
    let mut server = node();
    let address = server.address();
    let attack = |seed: u64| {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        const PIECES: &[&[u8]] = &[
            b"*3\r\n$3\r\nSET\r\n",
            b"*1\r\n",
            b"$-1\r\n",
            b"*2147483647\r\n",
            b"$536870912\r\n",
            b"*-5\r\n",
            b"\r\n",
            b"\0\0\0",
            b"\"\\x",
            b"$3\r\nGET\r\n",
            b"$1\r\na\r\n",
            b"EVAL",
            b"MULTI\r\n",
            b"EXEC\r\n",
            b"SUBSCRIBE a\r\n",
            b"BLPOP a 0.001\r\n",
            b"MONITOR\r\n",
            b"CLIENT REPLY OFF\r\n",
            b"SORT a BY * GET # ALPHA\r\n",
            b"GETRANGE a -9223372036854775808 9223372036854775807\r\n",
            b"SETRANGE a 1000000 b\r\n",
            b"LPOS a b RANK -9223372036854775808\r\n",
            b"OBJECT ENCODING\r\n",
        ];
        for _ in 0..40 {
            let Ok(mut stream) = TcpStream::connect(address) else { panic!("no connection") };
            let mut bytes = Vec::new();
            for _ in 0..random() % 12 {
                match random() % 3 {
                    0 => bytes.extend((0..random() % 100).map(|_| random() as u8)),
                    _ => bytes.extend_from_slice(PIECES[random() as usize % PIECES.len()]),
                }
            }
            // The node may hang up on us at any time.
            let _ = stream.write_all(&bytes);
            if random() % 2 == 0 {
                let _ = stream.set_read_timeout(Some(Duration::from_millis(1)));
                let _ = stream.read(&mut [0; 512]);
            }
        }
    };
    thread::scope(|scope| (0..8).for_each(|seed| drop(scope.spawn(move || attack(seed + 1)))));
    server.assert_alive();
    assert_eq!(server.client().run("PING"), Reply::simple("PONG"));
    assert!(!server.log().contains("panicked"), "{}", server.log_tail());
}

/// The largest value there is goes in and comes out.
#[test]
fn half_a_gigabyte() {
    if !big_tests() {
        println!("skipped: set BATON_BIG_TESTS=1 to send values of 512 MB around");
        return;
    }
    let mut server = node();
    let mut client = server.client();
    client.set_read_timeout(Duration::from_secs(120)).unwrap();
    let value: Vec<u8> = (0..512 * MB).map(|n| (n % 251) as u8).collect();
    client.write_raw(b"*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$536870912\r\n").unwrap();
    client.write_raw(&value).unwrap();
    client.write_raw(b"\r\n").unwrap();
    assert_eq!(client.receive().unwrap(), Reply::simple("OK"));
    assert_eq!(client.run("STRLEN big"), Reply::Integer(512 * MB as i64));
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(b"GET big\r\n").unwrap();
    let mut reply = vec![0; 512 * MB + 14];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(&reply[..12], b"$536870912\r\n");
    assert!(reply[12..12 + 512 * MB] == value[..], "another value came back");
    println!("512 MB out and in: RSS {} MB", resident(&server) / MB);
    refuses_more(&mut server);
}

fn refuses_more(server: &mut Server) {
    let mut client: Client = server.client();
    client.write_raw(b"*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$536870913\r\n").unwrap();
    assert_eq!(client.receive().unwrap(), Reply::Error(b"ERR Protocol error: invalid bulk length".to_vec()));
}
