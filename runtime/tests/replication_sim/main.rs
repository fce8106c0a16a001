//! Replication in a simulated world: the decisions of primaries and replicas, as they are in use, over a network that delays and
//! loses, with nodes that crash and restart at any step, some from a snapshot, some from a log that may have lost its end. A seed is a history of the world, and is found again by it.
//!
//! | file    | holds                                                                    |
//! |---------|--------------------------------------------------------------------------|
//! | `world` | what happens: writes, links, crashes, restarts, failovers; what must hold |
//! | `node`  | a node: its data, its history, its replicas, its disk                    |
//! | `link`  | a connection: messages on their way, in order                            |
//!
//! What holds for every seed:
//! - nobody applies a byte of the stream twice, or misses one;
//! - what `WAIT` has confirmed is there after a failover to the replica that is farthest;
//! - when nothing fails any more, all nodes have the same data, at the same offset of the same history.
//!
//! `BATON_SIMULATION_SEEDS=100000 BATON_SIMULATION_FIRST=1` for a long run.

mod link;
mod node;
mod world;

use world::World;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn histories() {
    let (first, count) = (number("BATON_SIMULATION_FIRST", 1), number("BATON_SIMULATION_SEEDS", 1_000));
    let mut seen = world::Seen::default();
    for seed in first..first + count {
        let mut world = World::new(seed);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
        if result.is_err() {
            panic!("seed {seed}, after:\n{}", world.tail());
        }
        seen.add(&world.seen);
    }
    println!("{count} seeds: {seen:?}");
    // A world in which nothing goes on proves nothing.
    assert!(
        seen.partial > count
            && seen.full > count
            && seen.failovers * 4 > count
            && seen.confirmed > count
            && seen.resumed > count
    );
}
