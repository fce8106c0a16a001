//! The same directory under a server and under a `Store` in this process, in turns; and a server in this process.

#[path = "../../examples/axum_service.rs"]
mod axum_service;
#[path = "../support/mod.rs"]
mod support;

use baton::store::Policy;
use baton::{Error, Store};
use baton_server::Embedded;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;
use support::client::{Client, Reply};
use support::process::Server;

const WITH_LOG: &[(&str, &str)] = &[("appendonly", "yes"), ("save", "")];
const WITHOUT_LOG: &[(&str, &str)] = &[("appendonly", "no"), ("save", "")];

/// What a server is given, and what a store must find.
fn fill(server: &mut Server) {
    let mut client = server.client();
    for command in [
        "SET text value",
        "SET short v EX 1000",
        "INCRBY n 42",
        "RPUSH list a b",
        "SADD set a b",
        "HSET hash field value",
        "ZADD zset 1.5 m",
    ] {
        assert!(!client.run(command).is_error(), "{command}");
    }
}

#[track_caller]
fn check_store(store: &Store) {
    assert_eq!(store.get("text").unwrap().unwrap(), "value");
    assert!(store.ttl("short").unwrap().left().unwrap() > Duration::from_secs(900));
    assert_eq!(store.get_as::<i64>("n").unwrap(), Some(42));
    assert_eq!(store.lrange("list", 0, -1).unwrap(), ["a", "b"]);
    assert_eq!(store.scard("set").unwrap(), 2);
    assert_eq!(store.hget("hash", "field").unwrap().unwrap(), "value");
    assert_eq!(store.zscore("zset", "m").unwrap(), Some(1.5));
}

/// What the store adds, and what the server must find then.
fn change(store: &Store) {
    store.incr("n").unwrap();
    store
        .transaction(["list", "moved"], |tx| {
            let element = tx.lpop("list")?.unwrap_or_default();
            tx.rpush("moved", [element])
        })
        .unwrap();
    store.del("text").unwrap();
    store.zincr_by("zset", "m", 1.0).unwrap();
}

#[track_caller]
fn check_server(server: &mut Server) {
    let mut client = server.client();
    for (command, reply) in [
        ("GET n", "43"),
        ("LINDEX list 0", "b"),
        ("LINDEX moved 0", "a"),
        ("ZSCORE zset m", "2.5"),
        ("HGET hash field", "value"),
    ] {
        assert_eq!(client.run(command).text(), reply, "{command}");
    }
    assert_eq!(client.run("EXISTS text").integer(), Some(0));
    assert!(client.run("TTL short").integer().is_some_and(|left| left > 900));
    assert_eq!(client.run("DBSIZE").integer(), Some(7));
}

#[test]
fn a_log_goes_from_a_server_to_a_store_and_back() {
    for redis_begins in [false, true] {
        let mut server = if redis_begins { Server::redis(WITH_LOG) } else { Server::baton(WITH_LOG) };
        fill(&mut server);
        if !redis_begins {
            let second = Store::open(server.directory());
            assert!(matches!(second, Err(Error::Locked(_))), "{second:?}");
        }
        server.terminate();
        let store = Store::builder().fsync(Policy::Always).open(server.directory()).unwrap();
        check_store(&store);
        change(&store);
        drop(store);
        server.become_baton(WITH_LOG);
        server.restart();
        check_server(&mut server);
        server.terminate();
        server.become_redis(WITH_LOG);
        server.restart();
        check_server(&mut server);
    }
}

#[test]
fn a_snapshot_goes_from_a_server_to_a_store_and_back() {
    for redis_begins in [false, true] {
        let mut server = if redis_begins { Server::redis(WITHOUT_LOG) } else { Server::baton(WITHOUT_LOG) };
        fill(&mut server);
        assert!(!server.client().run("SAVE").is_error());
        server.terminate();
        let store = Store::builder().without_log().open(server.directory()).unwrap();
        check_store(&store);
        change(&store);
        drop(store);
        server.become_baton(WITHOUT_LOG);
        server.restart();
        check_server(&mut server);
        server.terminate();
        server.become_redis(WITHOUT_LOG);
        server.restart();
        check_server(&mut server);
    }
}

/// What an HTTP request is answered with: the status and the body.
fn http(port: u16, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The example: an HTTP service and Redis clients over the same data, with a log, and once more after an end.
#[test]
fn an_http_service_and_redis_clients_share_one_node() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let log = format!("{path}/log of the node.txt");
    let start = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        drop(listener);
        let settings = [
            ("port", &*port),
            ("bind", "127.0.0.1"),
            ("dir", path),
            ("logfile", &log),
            ("appendonly", "yes"),
            ("cores", "2"),
        ];
        let server = Embedded::start(&settings).unwrap();
        (server, Client::connect((Ipv4Addr::LOCALHOST, port.parse::<u16>().unwrap()).into()).unwrap())
    };
    let (server, mut client) = start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let web = listener.local_addr().unwrap().port();
    let service = axum_service::service(server.store());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = std::thread::spawn(move || {
        let until = async { drop(stopped.await) };
        runtime.block_on(async { axum::serve(listener, service).with_graceful_shutdown(until).await })
    });

    assert_eq!(http(web, "PUT", "/keys/hello", "world"), (200, String::new()));
    assert_eq!(client.run("GET hello"), Reply::bulk("world"));
    assert_eq!(client.run("SET from-redis yes"), Reply::simple("OK"));
    assert_eq!(http(web, "GET", "/keys/from-redis", ""), (200, "yes".to_owned()));
    assert_eq!(http(web, "GET", "/keys/nothing", "").0, 404);
    // Both count the same thing up, at once.
    std::thread::scope(|scope| {
        scope.spawn(|| (0..200).for_each(|_| assert_eq!(http(web, "POST", "/count/visits", "").0, 200)));
        (0..200).for_each(|_| assert!(client.run("INCR visits").integer().is_some()));
    });
    assert_eq!(client.run("GET visits"), Reply::bulk("400"));
    // Who listens over a socket hears of what the program does, and the other way round.
    let mut subscription = server.store().subscribe(["news"]);
    assert_eq!(client.run("PUBLISH news hello").integer(), Some(1));
    assert_eq!(&subscription.recv_timeout(Duration::from_secs(10)).unwrap().payload[..], b"hello");
    client.run("RPUSH list a");
    assert_eq!(http(web, "POST", "/count/list", "").0, 409);
    assert_eq!(http(web, "DELETE", "/keys/hello", ""), (200, "true".to_owned()));

    drop((stop, subscription, client));
    serving.join().unwrap().unwrap();
    server.stop().unwrap();
    let (server, mut client) = start();
    assert_eq!(client.run("MGET visits hello").elements().unwrap()[0], Reply::bulk("400"));
    assert_eq!(server.store().get("hello").unwrap(), None);
    assert!(Embedded::start(&[("port", "nonsense")]).is_err_and(|why| why.contains("port")));
    drop(server);
    assert!(client.try_call(&["PING"]).is_err());
}
