//! Requests in pieces, and what is no request.

use super::{check, receive, server};
use crate::support::client::encode;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

#[test]
fn a_request_may_come_byte_by_byte() {
    let mut server = server();
    let mut client = server.client();
    let mut bytes = Vec::new();
    encode(&["SET", "key", "a value\r\nof two lines"], &mut bytes);
    bytes.extend_from_slice(b"PING\r\n\r\nECHO \"two \\x41 words\"\r\n");
    encode(&["MULTI"], &mut bytes);
    encode(&["GET", "key"], &mut bytes);
    encode(&["EXEC"], &mut bytes);
    for byte in &bytes {
        client.write_raw(&[*byte]).expect("a byte");
        std::thread::sleep(Duration::from_micros(200));
    }
    for reply in ["+OK", "+PONG", "\"two A words\"", "+OK", "+QUEUED", "[\"a value\\r\\nof two lines\"]"] {
        assert_eq!(receive(&mut client), reply);
    }
}

#[test]
fn a_long_pipeline_is_answered_in_order() {
    let mut server = server();
    let mut client = server.client();
    let commands: Vec<Vec<String>> = (0..20_000)
        .map(|n| match n % 4 {
            0 => vec!["SET".into(), format!("key:{n}"), n.to_string()],
            1 => vec!["GET".into(), format!("key:{}", n - 1)],
            2 => vec!["ECHO".into(), n.to_string()],
            _ => vec!["MGET".into(), format!("key:{}", n - 3), "none".into()],
        })
        .collect();
    for (n, reply) in client.pipeline(&commands).iter().enumerate() {
        let expected = match n % 4 {
            0 => "+OK".to_owned(),
            1 => format!("\"{}\"", n - 1),
            2 => format!("\"{n}\""),
            _ => format!("[\"{}\", $-1]", n - 3),
        };
        assert_eq!(format!("{reply:?}"), expected, "command {n}");
    }
}

#[test]
fn large_values_come_whole() {
    let mut server = server();
    let mut client = server.client();
    let value: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    assert_eq!(client.call(&[b"SET", b"key", &value[..]]).text(), "OK");
    assert_eq!(client.call(&["GET", "key"]).bytes(), Some(&value[..]));
}

#[test]
fn what_is_no_request_ends_the_connection() {
    let mut server = server();
    for (bytes, error) in [
        (&b"*x\r\n"[..], "-ERR Protocol error: invalid multibulk length"),
        (b"*3000000000\r\n", "-ERR Protocol error: invalid multibulk length"),
        (b"*1\r\nx\r\n", "-ERR Protocol error: expected '$', got 'x'"),
        (b"*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$9999999999999\r\n", "-ERR Protocol error: invalid bulk length"),
        (b"SET \"k\r\n", "-ERR Protocol error: unbalanced quotes in request"),
    ] {
        let mut client = server.client();
        client.write_raw(b"PING\r\n").expect("a request");
        client.write_raw(bytes).expect("some bytes");
        assert_eq!(receive(&mut client), "+PONG");
        assert_eq!(receive(&mut client), error);
        assert!(client.is_closed());
    }
    // Empty requests are none.
    let mut client = server.client();
    client.write_raw(b"*0\r\n*-5\r\n\r\n \r\n").expect("nothing");
    check(&mut client, "PING", "+PONG");
    server.assert_alive();
}

#[test]
fn a_browser_is_hung_up_on() {
    let mut server = server();
    let mut client = server.client();
    client.write_raw(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nSET k v\r\n").expect("a request");
    assert!(client.is_closed());
    check(&mut server.client(), "GET k", "$-1");
}

#[test]
fn quit_is_answered_before_the_end() {
    let mut server = server();
    let mut client = server.client();
    client.write_raw(b"PING\r\nMULTI\r\nQUIT\r\nSET k v\r\n").expect("requests");
    for reply in ["+PONG", "+OK", "+OK"] {
        assert_eq!(receive(&mut client), reply);
    }
    assert!(client.is_closed());
    check(&mut server.client(), "GET k", "$-1");
}

#[test]
fn a_client_that_says_no_more_still_reads_its_replies() {
    let server = server();
    let mut stream = TcpStream::connect(server.address()).expect("a connection");
    stream.write_all(b"PING\r\nECHO x\r\n").expect("requests");
    stream.shutdown(std::net::Shutdown::Write).expect("the end of requests");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("replies");
    assert_eq!(text, "+PONG\r\n$1\r\nx\r\n");
}

#[test]
fn a_change_of_address_that_fails_leaves_the_old_one() {
    let mut server = server();
    let mut client = server.client();
    for _ in 0..3 {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("its address").port();
        let reply = client.run(&format!("CONFIG SET port {port}"));
        assert!(reply.is_error(), "{reply:?}");
        // As many as there are cores, so that each accepts one.
        for _ in 0..6 {
            check(&mut server.client(), "PING", "+PONG");
        }
    }
    assert!(server.terminate().success());
}
