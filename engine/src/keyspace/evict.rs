//! Eviction: the access clock of entries, and which key goes first when memory is over the limit.
//!
//! | policy | the 24 bits of the clock                                      |
//! |--------|---------------------------------------------------------------|
//! | LFU    | 16 bits: minute of the last decay; 8 bits: logarithmic counter |
//! | others | seconds of the last access                                    |

use super::access::{Keyspace, due_of};
use super::entry::Entry;
use super::notify::Class;
use super::shard::Shard;
use crate::random::Rng;
use crate::settings::{EvictionPolicy, Settings};
use crate::slot::{SLOTS, Slot};

/// The counter of a new key under LFU: enough to survive until it is used again.
const LFU_INIT: u32 = 5;
/// Candidates that are remembered between samples, as in Redis.
const POOL: usize = 16;

/// The clock of a key that has just been made.
#[inline]
pub fn fresh(settings: &Settings, now_ms: i64) -> u32 {
    if settings.maxmemory_policy.is_lfu() { minutes(now_ms) << 8 | LFU_INIT } else { seconds(now_ms) }
}

/// The clock of a key after one more access; `dice` is a uniform number in 0..1.
#[inline]
pub fn touched(clock: u32, settings: &Settings, now_ms: i64, dice: f64) -> u32 {
    if !settings.maxmemory_policy.is_lfu() {
        return seconds(now_ms);
    }
    let counter = decayed(clock, settings, now_ms);
    let base = f64::from(counter.saturating_sub(LFU_INIT));
    let up = counter < 255 && dice < 1.0 / (base * f64::from(settings.lfu_log_factor) + 1.0);
    minutes(now_ms) << 8 | (counter + u32::from(up))
}

/// Seconds since the last access (OBJECT IDLETIME).
pub fn idle_seconds(clock: u32, now_ms: i64) -> u32 {
    seconds(now_ms).wrapping_sub(clock) & 0xff_ffff
}

/// The access counter after decay (OBJECT FREQ).
pub fn decayed(clock: u32, settings: &Settings, now_ms: i64) -> u32 {
    let counter = clock & 0xff;
    if settings.lfu_decay_time == 0 {
        return counter;
    }
    let passed = minutes(now_ms).wrapping_sub(clock >> 8) & 0xffff;
    counter.saturating_sub(passed / settings.lfu_decay_time)
}

/// The clock that reads as this idle time (RESTORE ... IDLETIME, DEBUG).
pub fn clock_of_idle(seconds_idle: u32, now_ms: i64) -> u32 {
    seconds(now_ms).wrapping_sub(seconds_idle) & 0xff_ffff
}

/// The clock that reads as this frequency.
pub fn clock_of_frequency(frequency: u8, now_ms: i64) -> u32 {
    minutes(now_ms) << 8 | u32::from(frequency)
}

fn seconds(now_ms: i64) -> u32 {
    (now_ms / 1000) as u32 & 0xff_ffff
}

fn minutes(now_ms: i64) -> u32 {
    (now_ms / 60_000) as u32 & 0xffff
}

/// A key that could go, and how willingly: the greater the score, the sooner.
#[derive(Clone, Debug)]
struct Candidate {
    score: u64,
    db: usize,
    key: Box<[u8]>,
}

/// The best candidates seen so far in one shard, kept from one eviction to the next.
#[derive(Clone, Debug, Default)]
pub struct Pool(Vec<Candidate>);

/// Removes the key of the held shard that the policy gives up first, with all that this leaves; false when there
/// is none. O(samples).
pub fn evict_one(keyspace: &mut Keyspace<'_>, pool: &mut Pool, settings: &Settings) -> bool {
    for _ in 0..POOL {
        let now_ms = keyspace.now_ms();
        let Some(shard) = keyspace.nth_shard_mut(0) else { return false };
        pool.refill(shard, settings, now_ms);
        let Some(best) = pool.0.pop() else { return false };
        keyspace.select(best.db);
        // The candidate may be from an earlier round: it may be gone, or no longer be volatile.
        let Some(entry) = keyspace.peek_entry(&best.key) else { continue };
        if settings.maxmemory_policy.volatile_only() && entry.expiry().is_none() {
            continue;
        }
        keyspace.take_entry(&best.key);
        let slot = keyspace.slot(&best.key);
        keyspace.shard_mut(slot).stats.evicted += 1;
        keyspace.propagate_also(&[b"DEL", &best.key]);
        keyspace.notify(Class::Evicted, "evicted", &best.key);
        keyspace.signal(&best.key);
        return true;
    }
    false
}

impl Pool {
    fn refill(&mut self, shard: &mut Shard, settings: &Settings, now_ms: i64) {
        let policy = settings.maxmemory_policy;
        let mut rng = Rng::seeded(shard.rng.next_u64());
        for db in 0..shard.databases() {
            let counts = shard.counts(db);
            if if policy.volatile_only() { counts.volatile } else { counts.keys } == 0 {
                continue;
            }
            for _ in 0..settings.maxmemory_samples.max(1) {
                let Some(entry) = sample(shard, db, policy.volatile_only(), &mut rng) else { continue };
                let score = score(entry, settings, now_ms, &mut rng);
                self.offer(Candidate { score, db, key: entry.key().into() });
            }
        }
    }

    /// Keeps the best, sorted; the best is last.
    fn offer(&mut self, candidate: Candidate) {
        if self.0.iter().any(|other| other.key == candidate.key && other.db == candidate.db) {
            return;
        }
        let at = self.0.partition_point(|other| other.score < candidate.score);
        self.0.insert(at, candidate);
        if self.0.len() > POOL {
            self.0.remove(0);
        }
    }
}

fn score(entry: &Entry, settings: &Settings, now_ms: i64, rng: &mut Rng) -> u64 {
    match settings.maxmemory_policy {
        EvictionPolicy::AllKeysLru | EvictionPolicy::VolatileLru => {
            u64::from(idle_seconds(entry.clock(), now_ms))
        }
        EvictionPolicy::AllKeysLfu | EvictionPolicy::VolatileLfu => {
            255 - u64::from(decayed(entry.clock(), settings, now_ms))
        }
        EvictionPolicy::VolatileTtl => u64::MAX - due_of(entry).max(0) as u64,
        EvictionPolicy::AllKeysRandom | EvictionPolicy::VolatileRandom | EvictionPolicy::NoEviction => {
            rng.next_u64()
        }
    }
}

/// A random entry of a database: a random used slot from a random start on, then a random entry in it.
fn sample<'a>(shard: &'a Shard, db: usize, volatile_only: bool, rng: &mut Rng) -> Option<&'a Entry> {
    let physical = shard.physical(db);
    let start = rng.below(SLOTS);
    for step in 0..SLOTS {
        let Some(found) = Slot::new((start + step) % SLOTS).and_then(|slot| shard.slot(slot)?.db(physical))
        else {
            continue;
        };
        if found.table.is_empty() || volatile_only && found.volatile == 0 {
            continue;
        }
        for _ in 0..POOL {
            let entry = found.table.random(rng)?;
            if !volatile_only || entry.expiry().is_some() {
                return Some(entry);
            }
        }
        if let Some(entry) = found.table.iter().find(|entry| entry.expiry().is_some()) {
            return Some(entry);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_wraps() {
        let at = |s: i64| fresh(&Settings::default(), s * 1000);
        assert_eq!(idle_seconds(at(100), 160_000), 60);
        assert_eq!(idle_seconds(at(0xff_fff0), 0x100_0010 * 1000), 32);
    }

    #[test]
    fn frequency_grows_slowly_and_decays() {
        let settings = Settings { maxmemory_policy: EvictionPolicy::AllKeysLfu, ..Settings::default() };
        let (mut clock, mut rng) = (fresh(&settings, 0), Rng::seeded(1));
        for _ in 0..100_000 {
            clock = touched(clock, &settings, 0, rng.unit());
        }
        let hot = decayed(clock, &settings, 0);
        assert!((100..200).contains(&hot), "{hot}");
        assert_eq!(decayed(clock, &settings, 10 * 60_000), hot - 10);
    }
}
