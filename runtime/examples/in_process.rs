//! A node without a network: commands from threads of our own. `cargo run -p baton --example in_process`

use baton::held::{Identity, Who};
use baton::registry::Registry;
use baton::replication::identity::ReplId;
use baton::{Node, NodeOptions};
use baton_engine::reply::Out;
use baton_engine::settings::Settings;
use std::sync::Arc;

/// What the slow log would show.
struct Example;

impl Identity for Example {
    fn address(&self) -> String {
        "in-process".to_owned()
    }

    fn name(&self) -> String {
        "example".to_owned()
    }
}

/// Runs one command and returns its reply as RESP. Whichever thread calls holds the batons of the keys meanwhile.
fn run(node: &Arc<Node>, who: &Who, args: &[&[u8]]) -> Vec<u8> {
    let mut out = Out::new(who.resp3);
    match args.first().and_then(|name| node.registry.find(name)) {
        None => out.error_line("ERR unknown command"),
        Some(command) => {
            let mut held = node.hold(|node| node.cores_of(command, args));
            held.run(who, command, args, false, &mut out);
            held.finish();
        }
    }
    out.into_bytes()
}

fn main() {
    let node = Node::new(NodeOptions {
        cores: 4,
        settings: Settings::default(),
        // A service draws these at random: they keep strangers from choosing keys that collide.
        hash_seed: [1, 2, 3, 4],
        seed: 5,
        replication_id: ReplId::from_random([6; 20]),
        registry: Registry::new(&[]),
        used_memory: |_| 0,
        storage: std::sync::Arc::new(baton::storage::RealStorage),
    });
    let who =
        Who { id: 1, db: 0, resp3: false, no_touch: false, remembers: false, identity: Arc::new(Example) };
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for _ in 0..1_000 {
                    run(&node, &who, &[b"INCR", b"visits"]);
                }
            });
        }
    });
    let visits = run(&node, &who, &[b"GET", b"visits"]);
    assert_eq!(visits, b"$4\r\n4000\r\n");
    println!("visits: {}", visits.escape_ascii());
}
