//! Everything at once: wires that are cut, nodes that are killed or end and come back with their logs, in pairs and chains of Redis and
//! Baton, while the primary takes changes of all types. Equal in the end.

use crate::data;
use crate::pair::{COMMON, assert_equal, info, until};
use crate::proxy::Proxy;
use crate::support::client::Client;
use crate::support::process::Server;
use crate::trouble::{duration, load_once};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Redis,
    Baton,
}

use Kind::{Baton, Redis};

/// A node, and the wire by which others follow it.
struct Link {
    server: Server,
    wire: Proxy,
}

fn start(kind: Kind, of: Option<&Link>) -> Link {
    let own = [
        ("appendonly", "yes"),
        ("repl-backlog-size", "100mb"),
        ("repl-diskless-sync-delay", "0"),
        ("repl-ping-replica-period", "1"),
    ];
    let mut settings = [&COMMON[..], &own].concat();
    let primary = of.map(|of| format!("127.0.0.1 {}", of.wire.port()));
    settings.extend(primary.iter().map(|primary| ("replicaof", primary.as_str())));
    let server = match kind {
        Redis => Server::redis(&settings),
        Baton => Server::baton(&[&settings[..], &[("cores", "2")]].concat()),
    };
    let wire = Proxy::to(server.port());
    Link { server, wire }
}

/// Full and partial synchronisations, added up: a restart forgets them.
#[derive(Debug, Default)]
struct Counts {
    full: usize,
    partial: usize,
}

impl Counts {
    fn add(&mut self, client: &mut Client) {
        let mut number = |field| info(client, field).parse::<usize>().expect("a number");
        self.full += number("sync_full");
        self.partial += number("sync_partial_ok");
    }
}

/// Small random numbers.
fn next(seed: &mut u64, below: usize) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize % below
}

fn storm(kinds: &[Kind]) {
    let given = std::env::var("BATON_REPLICATION_SEED").ok().and_then(|text| text.parse().ok());
    let first = given.unwrap_or_else(|| u64::from(std::process::id()) << 8 | kinds.len() as u64);
    let mut seed = first;
    let mut links: Vec<Link> = Vec::new();
    for kind in kinds {
        let link = start(*kind, links.last());
        links.push(link);
    }
    data::fill(&mut links[0].server.client());
    let (over, turns) = (AtomicBool::new(false), AtomicUsize::new(0));
    // The client of the writer, which is another one after a restart.
    let writer = Mutex::new(links[0].server.client());
    let mut counts: Vec<Counts> = kinds.iter().map(|_| Counts::default()).collect();
    let mut events = [0; 4];
    thread::scope(|scope| {
        let (over, turns, writer) = (&over, &turns, &writer);
        let writing = scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                load_once(&mut writer.lock().expect("no panic"), turns.fetch_add(1, Ordering::Relaxed));
                thread::sleep(Duration::from_millis(1));
            }
        });
        let begin = Instant::now();
        while begin.elapsed() < duration() {
            thread::sleep(Duration::from_millis(next(&mut seed, 400) as u64));
            let at = next(&mut seed, links.len());
            let event = next(&mut seed, 4);
            events[event] += 1;
            if event < 2 {
                links[at].wire.cut();
                continue;
            }
            // Nobody writes to a primary that is about to go.
            let mut held = (at == 0).then(|| writer.lock().expect("no panic"));
            counts[at].add(&mut links[at].server.client());
            match (event, kinds[at]) {
                // Redis does not end while its log begins anew, as after each full synchronisation.
                (2, _) | (_, Redis) => links[at].server.kill(),
                _ => assert!(links[at].server.terminate().success()),
            }
            links[at].server.restart();
            links[at].wire.lead_to(links[at].server.port());
            links[at].wire.cut();
            if let Some(held) = &mut held {
                **held = links[0].server.client();
            }
            if next(&mut seed, 3) > 0 {
                let mut clients: Vec<Client> =
                    links[1..].iter_mut().map(|link| link.server.client()).collect();
                until("all links are up", || {
                    clients.iter_mut().all(|client| info(client, "master_link_status") == "up")
                });
            }
        }
        over.store(true, Ordering::Relaxed);
        writing.join().expect("the writer");
    });
    assert!(turns.into_inner() > 0, "nothing was written");
    let mut clients: Vec<Client> = links.iter_mut().map(|link| link.server.client()).collect();
    for (at, link) in links.iter().enumerate().skip(1) {
        let (before, rest) = clients.split_at_mut(at);
        let what = format!("{kinds:?}, seed {first}: {}", link.server.log_tail());
        assert_equal(&mut before[0], &mut rest[0], &what);
    }
    counts.iter_mut().zip(&mut clients).for_each(|(counts, client)| counts.add(client));
    println!("{kinds:?}, seed {first}: [cuts, cuts, kills, ends] {events:?}, {counts:?}");
}

#[test]
fn baton_follows_redis() {
    storm(&[Redis, Baton]);
}

#[test]
fn redis_follows_baton() {
    storm(&[Baton, Redis]);
}

#[test]
fn baton_follows_baton() {
    storm(&[Baton, Baton]);
}

#[test]
fn chains() {
    storm(&[Redis, Baton, Baton, Redis]);
}
