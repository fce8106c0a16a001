//! What the benches share: an engine filled with keys, and a seeded choice among them.
#![deny(missing_docs)]

use baton::registry::Registry;
use baton::replication::identity::ReplId;
use baton::{Node, NodeOptions};
use baton_engine::command::Command;
use baton_engine::commands;
use baton_engine::context::{Caller, Context};
use baton_engine::execute::execute;
use baton_engine::hash::Hasher;
use baton_engine::keyspace::{Keyspace, Shard};
use baton_engine::random::Rng;
use baton_engine::reply::Out;
use baton_engine::settings::Settings;
use std::sync::Arc;

/// The allocator of the binary: another one would answer another question.
#[global_allocator]
static ALLOCATOR: baton_server::memory::Counted = baton_server::memory::Counted;

/// A value of the size that most benchmarks of Redis use.
pub const VALUE: &[u8] = &[b'v'; 64];

/// The name of key number `n`, 16 bytes.
pub fn key(n: usize) -> Vec<u8> {
    format!("key:{n:012}").into_bytes()
}

/// The row of a command.
pub fn command(name: &str) -> &'static Command {
    commands::find(&[name.as_bytes()]).unwrap_or_else(|| panic!("no such command: {name}"))
}

/// An empty node of two cores, without a limit of memory.
pub fn node() -> Arc<Node> {
    Node::new(NodeOptions {
        cores: 2,
        settings: Settings::default(),
        hash_seed: [1, 2, 3, 4],
        seed: 5,
        replication_id: ReplId::from_random([6; 20]),
        registry: Registry::new(&[]),
        used_memory: |_| 0,
        storage: Arc::new(baton::storage::RealStorage),
    })
}

/// One shard that owns all slots.
pub struct Engine {
    shard: Shard,
    settings: Settings,
    hasher: Hasher,
    out: Vec<u8>,
}

impl Engine {
    /// An engine that holds so many keys with [`VALUE`].
    pub fn filled(keys: usize) -> Self {
        let hasher = Hasher::seeded([1, 2, 3, 4]);
        let shard = Shard::whole(1, hasher.clone(), 5);
        let mut engine = Self { shard, settings: Settings::default(), hasher, out: Vec::new() };
        let set = command("SET");
        for n in 0..keys {
            engine.run(set, &[b"SET", &key(n), VALUE]);
        }
        engine
    }

    /// Runs one command; how many bytes its reply has.
    #[inline]
    pub fn run(&mut self, command: &Command, args: &[&[u8]]) -> usize {
        let mut out = Out::with_buffer(std::mem::take(&mut self.out), false);
        let mut ctx = Context {
            keyspace: Keyspace::one(&mut self.shard, &self.settings, 0, 1_700_000_000_000),
            out: &mut out,
            settings: &self.settings,
            hasher: &self.hasher,
            rng: Rng::seeded(7),
            caller: Caller::default(),
        };
        execute(&mut ctx, command, args);
        let len = out.len();
        self.out = out.into_bytes();
        self.out.clear();
        len
    }
}

/// Keys drawn from a seed, made in advance so that making them is not measured.
pub struct Picks {
    keys: Vec<Vec<u8>>,
    at: usize,
}

impl Picks {
    /// Picks among the first `keys` keys.
    pub fn seeded(seed: u64, keys: usize) -> Self {
        let mut rng = Rng::seeded(seed);
        let keys = (0..1 << 16).map(|_| key(rng.below(keys))).collect();
        Self { keys, at: 0 }
    }

    /// The next pick.
    #[inline]
    pub fn next_key(&mut self) -> &[u8] {
        self.at = (self.at + 1) % self.keys.len();
        &self.keys[self.at]
    }
}
