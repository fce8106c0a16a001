//! What is asked of every library, and how long it takes.

use crate::libraries::{Library, Promise};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A key.
pub type Key = [u8; 16];
/// The value of every key.
pub const VALUE: &[u8; 100] = &[b'v'; 100];
/// Keys that fit into the caches of a processor together with their values.
const HOT: usize = 1_000;

/// The name of key number `n`.
pub fn key(n: usize) -> Key {
    let mut key = *b"key:000000000000";
    let mut rest = n;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

/// How much is done.
pub struct Plan {
    pub keys: usize,
    pub turn_ms: u64,
    pub rounds: usize,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keys, turn_ms, rounds } = self;
        write!(
            f,
            "{keys} keys of 16 bytes, values of {} bytes; medians of {rounds} turns of {turn_ms} ms",
            VALUE.len()
        )
    }
}

/// What a thread does again and again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Get,
    Put,
}

/// A kind of work.
pub struct Work {
    name: &'static str,
    /// With what the libraries are opened for it.
    pub promise: Promise,
    call: Call,
    hot: bool,
    threads: usize,
}

const fn work(name: &'static str, promise: Promise, call: Call, threads: usize) -> Work {
    Work { name, promise, call, hot: false, threads }
}

pub const WORK: &[Work] = &[
    Work { name: "get hot", promise: Promise::Memory, call: Call::Get, hot: true, threads: 1 },
    work("get", Promise::Memory, Call::Get, 1),
    work("get", Promise::Memory, Call::Get, 2),
    work("put memory", Promise::Memory, Call::Put, 1),
    work("put memory", Promise::Memory, Call::Put, 2),
    work("put written", Promise::Written, Call::Put, 1),
    work("put written", Promise::Written, Call::Put, 2),
    work("put synced", Promise::Synced, Call::Put, 1),
    work("put synced", Promise::Synced, Call::Put, 16),
];

/// Calls per second: by library, the turns of all rounds.
pub struct Measured(Vec<(&'static str, Vec<f64>)>);

impl Work {
    /// A turn for each library, round by round.
    pub fn measure(&self, all: &[Box<dyn Library>], plan: &Plan) -> Measured {
        let mut turns: Vec<_> = all.iter().map(|library| (library.name(), Vec::new())).collect();
        for round in 0..plan.rounds {
            for (library, (_, turns)) in all.iter().zip(&mut turns) {
                turns.push(self.turn(&**library, plan, round as u64));
            }
        }
        Measured(turns)
    }

    /// Calls per second of one turn.
    fn turn(&self, library: &dyn Library, plan: &Plan, seed: u64) -> f64 {
        let (stop, calls) = (AtomicBool::new(false), AtomicU64::new(0));
        let keys = if self.hot { HOT.min(plan.keys) } else { plan.keys };
        // In advance: making the keys is not measured, reading them in their order costs next to nothing.
        let picks = |thread: usize| -> Vec<Key> {
            let mut state = seed << 8 | thread as u64 | 1 << 40;
            (0..1 << 18).map(|_| key(next(&mut state) as usize % keys)).collect()
        };
        let picked: Vec<_> = (0..self.threads).map(picks).collect();
        let start = Instant::now();
        std::thread::scope(|scope| {
            for picks in &picked {
                scope.spawn(|| {
                    let mut done = 0;
                    for (n, key) in picks.iter().cycle().enumerate() {
                        match self.call {
                            Call::Get => assert_eq!(library.get(key), Some(VALUE.len())),
                            Call::Put => library.put(key, VALUE),
                        }
                        done += 1;
                        // Syncs take long: ask after each. Else asking would be a part of what is measured.
                        let ask = self.promise == Promise::Synced || n % 64 == 0;
                        if ask && stop.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                    calls.fetch_add(done, Ordering::Relaxed);
                });
            }
            std::thread::sleep(Duration::from_millis(plan.turn_ms));
            stop.store(true, Ordering::Relaxed);
        });
        calls.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
    }
}

impl Measured {
    /// A table, Baton first.
    pub fn print(&self, work: &Work) {
        let threads =
            if work.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", work.threads) };
        println!("### {}, {threads}\n", work.name);
        println!("| library | calls per second | ns per call and thread | Baton is |");
        println!("|---------|-----------------:|-----------------------:|---------:|");
        let ours = median(&self.0[0].1);
        for (name, turns) in &self.0 {
            let calls = median(turns);
            let ns = 1e9 * work.threads as f64 / calls;
            println!("| {name} | {calls:.0} | {ns:.0} | {:.2} x |", ours / calls);
        }
        println!();
    }
}

fn median(turns: &[f64]) -> f64 {
    let mut turns = turns.to_vec();
    turns.sort_by(f64::total_cmp);
    turns[turns.len() / 2]
}

/// splitmix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
