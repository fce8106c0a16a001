//! SIGKILL while many write.

use crate::server;
use crate::support::client::{Client, Reply};
use crate::support::process::Server;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

const WRITERS: usize = 6;

/// The last value of a writer's counter that was acknowledged, and the last that was asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    acknowledged: i64,
    asked: i64,
}

/// Counts up until the node is gone: a counter, a list that grows with it, and two counters on other cores that a
/// transaction keeps equal to it.
fn count_up(
    client: &mut Client,
    writer: usize,
    count: &mut Count,
    writing: &Sender<usize>,
) -> std::io::Result<()> {
    loop {
        let depth = 1 + count.asked as usize % 7;
        for _ in 0..depth {
            count.asked += 1;
            for command in [
                &["MULTI"][..],
                &["INCR", &format!("count:{writer}")],
                &["RPUSH", &format!("list:{writer}"), &count.asked.to_string()],
                &["MSET", &format!("a:{writer}"), &count.asked.to_string(), &format!("b:{writer}"), "x"],
                &["EXEC"],
            ] {
                client.send(command)?;
            }
        }
        for _ in 0..depth {
            for _ in 0..4 {
                client.receive()?;
            }
            let Reply::Array(replies) = client.receive()? else { panic!("EXEC was refused") };
            let n = replies[0].integer().expect("a number");
            assert_eq!(n, count.acknowledged + 1);
            count.acknowledged = n;
        }
        // Nobody listens any more once all writers are at work.
        let _ = writing.send(writer);
    }
}

/// What each writer may find: at least what was acknowledged, at most what was asked for, and nothing in half.
#[track_caller]
fn verify(client: &mut Client, counts: &mut [Count]) {
    for (writer, count) in counts.iter_mut().enumerate() {
        let found = client.run(&format!("GET count:{writer}"));
        let found: i64 = if found.is_null() { 0 } else { found.text().parse().unwrap() };
        let range = count.acknowledged..=count.asked;
        assert!(range.contains(&found), "writer {writer}: {found} of {count:?}");
        assert_eq!(client.run(&format!("LLEN list:{writer}")).integer(), Some(found));
        if found > 0 {
            assert_eq!(client.run(&format!("GET a:{writer}")).text(), found.to_string());
        }
        *count = Count { acknowledged: found, asked: found };
    }
}

fn kill_again_and_again(policy: &str, times: usize) {
    let mut server = server(policy);
    let mut counts = [Count::default(); WRITERS];
    for round in 0..times {
        let clients: Vec<Client> = (0..WRITERS).map(|_| server.client()).collect();
        let results: Vec<Mutex<Count>> = counts.iter().map(|count| Mutex::new(*count)).collect();
        let (writing, at_work) = channel();
        thread::scope(|scope| {
            for (writer, mut client) in clients.into_iter().enumerate() {
                let (results, writing) = (&results, writing.clone());
                scope.spawn(move || {
                    let mut count = *results[writer].lock().unwrap();
                    let _ = count_up(&mut client, writer, &mut count, &writing).expect_err("it is killed");
                    *results[writer].lock().unwrap() = count;
                });
            }
            let mut waited_for: BTreeSet<usize> = (0..WRITERS).collect();
            while !waited_for.is_empty()
                && let Ok(writer) = at_work.recv_timeout(Duration::from_secs(30))
            {
                waited_for.remove(&writer);
            }
            thread::sleep(Duration::from_millis(60 + 37 * round as u64 % 150));
            server.kill();
        });
        counts.iter_mut().zip(results).for_each(|(count, result)| *count = result.into_inner().unwrap());
        assert!(counts.iter().all(|count| count.acknowledged > 0), "{counts:?}");
        if round == 0 {
            loads_in_redis(server.directory(), &mut counts.clone());
        }
        server.restart();
        verify(&mut server.client(), &mut counts);
    }
}

/// A real Redis finds the same in a copy of the files.
fn loads_in_redis(directory: &Path, counts: &mut [Count]) {
    let mut redis = Server::redis(&[("appendonly", "no")]);
    redis.terminate();
    let (from, to) = (directory.join("appendonlydir"), redis.directory().join("appendonlydir"));
    std::fs::create_dir_all(&to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    redis.set("appendonly", "yes");
    redis.restart();
    verify(&mut redis.client(), counts);
}

#[test]
fn everysec_survives_sigkill() {
    kill_again_and_again("everysec", 4);
}

#[test]
fn always_survives_sigkill() {
    kill_again_and_again("always", 4);
}

#[test]
fn a_blocked_client_is_served_by_what_is_kept() {
    let mut server = server("always");
    let (mut waiting, mut pushing) = (server.client(), server.client());
    for n in 0..50 {
        waiting.send(&["BLMOVE", "{a}from", "{b}to", "LEFT", "RIGHT", "0"]).unwrap();
        assert_eq!(pushing.run(&format!("RPUSH {{a}}from {n}")).integer(), Some(1));
        assert_eq!(waiting.receive().unwrap().text(), n.to_string());
    }
    server.kill();
    server.restart();
    let mut client = server.client();
    assert_eq!(client.run("LLEN {b}to").integer(), Some(50));
    assert_eq!(client.run("EXISTS {a}from").integer(), Some(0));
}
