//! Connections go from core to core while their clients are in the middle of things.

use crate::support::client::{Client, Reply, encode};
use crate::support::process::Server;
use crate::{CORES, key_on};
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// For what does not come at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a client does until it is over, told how often it has been asked before.
type Work<'a> = Box<dyn FnMut(&mut Client, i64) + Send + 'a>;

fn words(line: &str) -> Vec<String> {
    line.split_ascii_whitespace().map(str::to_owned).collect()
}

/// A field of `INFO cores`.
fn figure(client: &mut Client, field: &str) -> i64 {
    let info = client.run("INFO cores").text();
    let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{field} in {info}")).parse().expect("a number")
}

/// How many connections each core has.
fn connections(client: &mut Client) -> Vec<usize> {
    let info = client.run("INFO cores").text();
    let counts = info.lines().filter(|line| line.starts_with("core")).map(|line| {
        let field = line.split(',').find_map(|field| field.strip_prefix("connections="));
        field.expect("connections").parse().expect("a number")
    });
    counts.collect()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn nothing_is_lost_or_reordered_while_connections_gather_and_spread() {
    const MOVES: i64 = 3_000;
    let mut server = Server::baton(&[("cores", "4")]);
    let over = AtomicBool::new(false);
    let value = "v".repeat(100_000);
    let mut clients: Vec<Work<'_>> = Vec::new();

    // Pipelines over all cores.
    for n in 0..4 {
        let keys: Vec<String> = (0..CORES).map(|core| key_on(core, &format!("pipeline:{n}"))).collect();
        clients.push(Box::new(move |client, turn| {
            let lines: Vec<_> = (0..32).map(|n| words(&format!("INCR {}", keys[n % CORES]))).collect();
            for (n, reply) in client.pipeline(&lines).iter().enumerate() {
                assert_eq!(reply.integer(), Some(turn * 8 + (n / CORES) as i64 + 1));
            }
        }));
    }
    // Replies that do not leave at once.
    let large = &value;
    clients.push(Box::new(move |client, turn| {
        client.call(&["SET", "large", large]);
        let mut lines = vec![words("GET large"); 20];
        lines.push(words(&format!("ECHO {turn}")));
        let replies = client.pipeline(&lines);
        assert!(replies[..20].iter().all(|reply| reply.bytes() == Some(large.as_bytes())));
        assert_eq!(replies[20].text(), turn.to_string());
    }));
    // Transactions that come in parts, under a watch.
    clients.push(Box::new(|client, turn| {
        for (line, reply) in [("WATCH queued", "OK"), ("MULTI", "OK"), ("INCR queued", "QUEUED")] {
            assert_eq!(client.run(line).text(), reply);
        }
        assert_eq!(client.run("EXEC"), Reply::Array(vec![Reply::Integer(turn + 1)]));
    }));
    // What belongs to a connection: its database, its name, what it does not want to hear.
    clients.push(Box::new(|client, turn| {
        if turn == 0 {
            client.run("SELECT 7");
            client.run("CLIENT SETNAME mover");
        }
        client.send(&words("CLIENT REPLY SKIP")).unwrap();
        client.send(&words("INCR skipped")).unwrap();
        assert_eq!(client.run("GET skipped").text(), (turn + 1).to_string());
        assert_eq!(client.run("CLIENT GETNAME").text(), "mover");
    }));
    // Lists between two clients, in their order.
    clients.push(Box::new(|client, turn| {
        client.run(&format!("RPUSH queue {turn}"));
        if client.run("LLEN queue").integer() > Some(1_000) {
            thread::sleep(Duration::from_millis(5));
        }
    }));
    let ends = &over;
    clients.push(Box::new(move |client, turn| {
        let served = Reply::Array(vec![Reply::bulk("queue"), Reply::bulk(turn.to_string())]);
        let reply = client.run("BLPOP queue 20");
        assert!(reply == served || ends.load(Ordering::Relaxed), "{reply:?} in turn {turn}");
    }));
    // Clients who wait, and who are told that it was in vain.
    clients.push(Box::new(|client, _| assert_eq!(client.run("BLPOP never 0.01"), Reply::NullArray)));

    let mut subscriber = server.client();
    subscriber.run("SUBSCRIBE news");
    let mut monitor = server.client();
    assert_eq!(monitor.run("MONITOR").text(), "OK");
    let mut tracking = server.client_speaking(3);
    tracking.run("CLIENT TRACKING ON");
    let mut publisher = server.client();
    let mut mover = server.client();

    thread::scope(|scope| {
        let over = &over;
        let mut running = Vec::new();
        for mut work in clients {
            let mut client = server.client();
            running.push(scope.spawn(move || {
                let mut turn = 0;
                while !over.load(Ordering::Relaxed) {
                    work(&mut client, turn);
                    turn += 1;
                }
                // Who waits for a list must not wait for one that pushes no more.
                client.run("RPUSH queue end");
            }));
        }
        // Everything that is said about one key is said in its order.
        running.push(scope.spawn(move || {
            let mut turn = 0;
            while !over.load(Ordering::Relaxed) {
                turn += 1;
                assert_eq!(publisher.run(&format!("PUBLISH news {turn}")).integer(), Some(1));
                // Both have to have come before the next.
                assert_eq!(subscriber.receive().unwrap().elements().unwrap()[2].text(), turn.to_string());
                tracking.run("GET tracked");
                publisher.run(&format!("SET tracked {turn}"));
                let told = tracking.receive().unwrap();
                assert!(matches!(&told, Reply::Push(parts) if parts[0].text() == "invalidate"), "{told:?}");
                let wanted = format!("\"SET\" \"tracked\" \"{turn}\"");
                while !monitor.receive().unwrap().text().ends_with(&wanted) {}
            }
        }));
        // Half a request, and the other half elsewhere.
        let address = server.address();
        running.push(scope.spawn(move || {
            let mut bytes = Vec::new();
            encode(&["SET", "half", "whole"], &mut bytes);
            let mut at = 1;
            while !over.load(Ordering::Relaxed) {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_nodelay(true).unwrap();
                for part in bytes.chunks(at) {
                    stream.write_all(part).unwrap();
                    thread::yield_now();
                }
                at = at % bytes.len() + 1;
                let mut reply = [0; 5];
                std::io::Read::read_exact(&mut stream, &mut reply).unwrap();
                assert_eq!(&reply, b"+OK\r\n");
            }
        }));
        let start = Instant::now();
        let mut turn = 0;
        while figure(&mut mover, "connections_moved") < MOVES {
            let loops = [1, 4, 2, 3][turn % 4];
            assert_eq!(mover.run(&format!("CORE GATHER {loops}")), Reply::simple("OK"));
            assert_eq!(figure(&mut mover, "active_cores"), loops);
            if turn % 16 == 0 {
                mover.run(&format!("CORE MOVE 0 16383 {}", turn / 16 % CORES));
            }
            turn += 1;
            let failed = running.iter().any(thread::ScopedJoinHandle::is_finished);
            if failed || start.elapsed() > 4 * PATIENCE {
                break;
            }
        }
        over.store(true, Ordering::Relaxed);
        for client in running {
            client.join().unwrap();
        }
    });
    server.assert_alive();
    assert!(figure(&mut mover, "connections_moved") >= MOVES);
    until("nobody is left but this client", || connections(&mut mover).iter().sum::<usize>() == 1);
}

#[test]
fn clients_go_where_they_are_wanted_and_are_found_there() {
    let mut server = Server::baton(&[("cores", "4")]);
    let mut clients: Vec<Client> = (0..16).map(|_| server.client()).collect();
    let speak = |clients: &mut [Client]| clients.iter_mut().for_each(|client| drop(client.run("PING")));
    let settled = |clients: &mut [Client], wanted: &[usize]| {
        until(&format!("{wanted:?}"), || {
            speak(clients);
            connections(&mut clients[0]) == wanted
        });
    };
    for (line, wanted) in [
        ("CORE GATHER 4", &[4, 4, 4, 4]),
        ("CORE GATHER 1", &[16, 0, 0, 0]),
        ("CORE GATHER 2", &[8, 8, 0, 0]),
        ("CORE GATHER AUTO", &[16, 0, 0, 0]),
        ("CONFIG SET gather-connections no", &[4, 4, 4, 4]),
    ] {
        assert_eq!(clients[0].run(line), Reply::simple("OK"), "{line}");
        settled(&mut clients, wanted);
    }
    // Those who come are given to the cores that serve, and those who wait stay until they are served.
    clients[0].run("CORE GATHER 2");
    settled(&mut clients, &[8, 8, 0, 0]);
    clients.extend((0..4).map(|_| server.client()));
    settled(&mut clients, &[10, 10, 0, 0]);
    clients[0].run("CORE GATHER 4");
    settled(&mut clients, &[5, 5, 5, 5]);
    for client in &mut clients[1..] {
        client.send(&["BLPOP", "list", "0"]).unwrap();
    }
    let (first, rest) = clients.split_at_mut(1);
    until("all wait", || first[0].run("INFO clients").text().contains("blocked_clients:19\r\n"));
    first[0].run("CORE GATHER 1");
    let list: Vec<String> =
        std::iter::once("RPUSH list".to_owned()).chain((0..19).map(|n| n.to_string())).collect();
    first[0].run(&list.join(" "));
    for client in rest.iter_mut() {
        assert_eq!(client.receive().unwrap().elements().map(<[Reply]>::len), Some(2));
    }
    settled(&mut clients, &[20, 0, 0, 0]);
    // Found and ended wherever they are.
    clients[0].run("CORE GATHER 3");
    let id = clients[7].run("CLIENT ID").integer().unwrap();
    assert_eq!(clients[0].run(&format!("CLIENT KILL ID {id}")).integer(), Some(1));
    assert!(clients[7].is_closed());
    for line in ["CORE GATHER 0", "CORE GATHER 5", "CORE GATHER x", "CORE GATHER -1"] {
        assert_eq!(clients[0].run(line).text(), "ERR Say AUTO or a number from 1 to 4", "{line}");
    }
}

#[test]
fn a_node_ends_while_its_connections_move() {
    for _ in 0..5 {
        let mut server = Server::baton(&[("cores", "4"), ("appendonly", "yes")]);
        let mut clients: Vec<Client> = (0..32).map(|_| server.client()).collect();
        let mut watcher = server.client();
        thread::scope(|scope| {
            for (n, client) in clients.iter_mut().enumerate() {
                scope.spawn(move || {
                    let mut turn = 0;
                    let line = if n == 0 { "CORE GATHER 1" } else { "INCR counter" };
                    // Until the node is gone.
                    while client.send(&words(line)).and_then(|()| client.receive()).is_ok() {
                        turn += 1;
                        if n == 0 {
                            let other = format!("CORE GATHER {}", turn % 4 + 1);
                            drop(client.send(&words(&other)).and_then(|()| client.receive()));
                        }
                    }
                });
            }
            until("they move", || figure(&mut watcher, "connections_moved") > 200);
            assert!(server.terminate().success());
        });
        assert!(server.log().contains("bye bye"), "{}", server.log());
    }
}
