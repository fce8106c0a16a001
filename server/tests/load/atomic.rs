//! Atomicity over real connections while slots move all the time.

use crate::support::client::{Client, Reply};
use crate::support::process::Server;
use crate::{CORES, key_on, node, slot_of};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What a client does again and again.
type Work = Box<dyn FnMut(&mut Client) + Send>;

/// Runs clients for a while; CORE MOVE gives their keys' slots away all the time.
fn under_moves(server: &mut Server, keys: &[String], time: Duration, clients: Vec<Work>) {
    let stop = AtomicBool::new(false);
    let mut mover = server.client();
    thread::scope(|scope| {
        let moves = scope.spawn(|| {
            let (mut turn, mut moved) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                turn += 1;
                for (at, key) in keys.iter().enumerate() {
                    let slot = slot_of(key);
                    let core = (turn + at) % CORES;
                    let reply = mover.run(&format!("CORE MOVE {slot} {slot} {core}"));
                    moved += reply.integer().unwrap_or_else(|| panic!("{reply:?}"));
                }
                if turn % 8 == 0 {
                    mover.run(&format!("CORE MOVE 0 16383 {}", turn / 8 % CORES));
                }
            }
            moved
        });
        let running: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                let mut connection = server.client();
                scope.spawn(move || {
                    let start = Instant::now();
                    while start.elapsed() < time {
                        client(&mut connection);
                    }
                })
            })
            .collect();
        let ended: Vec<_> = running.into_iter().map(|client| client.join()).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(moves.join().unwrap() > 0, "no slot moved");
        ended.into_iter().for_each(|result| result.unwrap());
    });
    server.assert_alive();
}

fn words(line: &str) -> Vec<String> {
    line.split_ascii_whitespace().map(str::to_owned).collect()
}

#[test]
fn nothing_is_ever_half_done_or_lost() {
    let mut server = node();
    let [a, b, c, d] = [0, 1, 2, 3].map(|core| key_on(core, "account"));
    let [from, to] = [0, 3].map(|core| key_on(core, "renamed"));
    let counters: Vec<String> = (0..CORES).map(|core| key_on(core, "counter")).collect();
    let mut client = server.client();
    client.run(&format!("MSET {a} 0 {b} 0 {c} 0 {d} 0 {from} here"));

    let mut clients: Vec<Work> = Vec::new();
    let mut keys = vec![a.clone(), b.clone(), c.clone(), d.clone(), from.clone(), to.clone()];
    keys.extend(counters.iter().cloned());
    for writer in 0..2 {
        let (write, read) = (format!("{a} N {b} N {c} N {d} N"), format!("MGET {d} {b} {a} {c}"));
        let mut n = writer;
        clients.push(Box::new(move |client| {
            n += 2;
            assert_eq!(
                client.run(&format!("MSET {}", write.replace('N', &n.to_string()))),
                Reply::simple("OK")
            );
            let values = client.run(&read);
            let values = values.elements().expect("an array");
            assert!(values.iter().all(|value| *value == values[0]), "half an MSET: {values:?}");
        }));
    }
    for _ in 0..2 {
        let transaction: Vec<Vec<String>> = [
            "MULTI",
            &format!("GET {b}"),
            &format!("GET {d}"),
            &format!("EXISTS {from}"),
            &format!("EXISTS {to}"),
            "EXEC",
        ]
        .iter()
        .map(|line| words(line))
        .collect();
        clients.push(Box::new(move |client| {
            let replies = client.pipeline(&transaction);
            let Some([b, d, from, to]) = replies[5].elements() else { panic!("{replies:?}") };
            assert_eq!(b, d, "half an MSET");
            assert_eq!(from.integer().zip(to.integer()).map(|(a, b)| a + b), Some(1), "half a RENAME");
        }));
    }
    let mut pair = (from, to);
    clients.push(Box::new(move |client| {
        assert_eq!(client.run(&format!("RENAME {} {}", pair.0, pair.1)), Reply::simple("OK"));
        std::mem::swap(&mut pair.0, &mut pair.1);
    }));
    let (sent, counted) = std::sync::mpsc::channel();
    for shift in 0..3 {
        let lines: Vec<Vec<String>> =
            (0..64).map(|n| words(&format!("INCR {}", counters[(n + shift) % CORES]))).collect();
        let (sent, mut last) = (sent.clone(), [0; CORES]);
        clients.push(Box::new(move |client| {
            for (n, reply) in client.pipeline(&lines).iter().enumerate() {
                let (count, last) = (reply.integer().expect("a number"), &mut last[(n + shift) % CORES]);
                assert!(count > *last, "{count} after {last}: the order of a client");
                *last = count;
            }
            sent.send(lines.len() as i64).unwrap();
        }));
    }
    drop(sent);
    under_moves(&mut server, &keys, Duration::from_millis(1_500), clients);
    let found: i64 =
        counters.iter().map(|key| client.run(&format!("INCRBY {key} 0")).integer().unwrap()).sum();
    assert_eq!(found, counted.iter().sum::<i64>());
}

#[test]
fn blocked_clients_are_served_in_the_order_of_their_coming() {
    let mut server = node();
    let list = key_on(0, "list");
    let mut pusher = server.client();
    for round in 0..3 {
        let mut waiting: Vec<Client> = Vec::new();
        for n in 1..=8 {
            // Each is on a core of its own choice: the node spreads them.
            let mut client = server.client();
            client.send(&["BLPOP", &list, "0"]).unwrap();
            waiting.push(client);
            let start = Instant::now();
            while !server_says(&mut pusher, &format!("blocked_clients:{n}\r\n")) {
                assert!(start.elapsed() < Duration::from_secs(5), "the {n}th never waits");
                thread::sleep(Duration::from_millis(1));
            }
            pusher.run(&format!("CORE MOVE 0 16383 {}", (n + round) % CORES));
        }
        let mut push = words(&format!("RPUSH {list}"));
        push.extend((0..8).map(|n| n.to_string()));
        pusher.call(&push);
        for (n, client) in waiting.iter_mut().enumerate() {
            let served = Reply::Array(vec![Reply::bulk(&list), Reply::bulk(n.to_string())]);
            assert_eq!(client.receive().unwrap(), served);
        }
    }
}

fn server_says(client: &mut Client, what: &str) -> bool {
    client.run("INFO clients").text().contains(what)
}
