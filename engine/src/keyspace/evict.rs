//! Eviction: the access clock of entries, and which key goes first when memory is over the limit.
//!
//! | policy | the 24 bits of the clock                                      |
//! |--------|---------------------------------------------------------------|
//! | LFU    | 16 bits: minute of the last decay; 8 bits: logarithmic counter |
//! | others | seconds of the last access                                    |

use super::access::Keyspace;
use super::entry::Entry;
use super::notify::Class;
use super::shard::Shard;
use crate::random::Rng;
use crate::settings::{EvictionPolicy, Settings};
use crate::slot::{SLOTS, Slot};
use crate::table::ORDER_BITS;

/// The counter of a new key under LFU: enough to survive until it is used again.
const LFU_INIT: u32 = 5;
/// Candidates that are remembered between samples, as in Redis.
const POOL: usize = 16;
/// Entries that the search for a rare volatile key looks at in a stride.
const SEARCH_STEP: usize = 16;

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
pub struct Pool {
    /// The best is last.
    candidates: Vec<Candidate>,
    /// The policy that scored them.
    policy: EvictionPolicy,
    /// Where the search for rare volatile keys goes on: as a cursor of SCAN.
    search_at: u64,
}

/// Removes the key of the held shard that the policy gives up first, with all that this leaves; false when there
/// is none. O(samples); where only few keys of very many are volatile, the search for one of them goes on from
/// call to call, so that each key is passed over once per lap.
pub fn evict_one(keyspace: &mut Keyspace<'_>, pool: &mut Pool, settings: &Settings) -> bool {
    if settings.maxmemory_policy == EvictionPolicy::NoEviction {
        return false;
    }
    if pool.policy != settings.maxmemory_policy {
        *pool = Pool { policy: settings.maxmemory_policy, ..Pool::default() };
    }
    let here = keyspace.db();
    // Candidates may be from an earlier round, and gone or no longer volatile: more of them than the pool holds
    // cannot be.
    let mut found = Found::Stale;
    for _ in 0..=POOL {
        found = evict_best(keyspace, pool, settings);
        if found != Found::Stale {
            break;
        }
    }
    // What is still in a file takes no memory to speak of, but among it may be the only keys that may go. Many slots at
    // a time: a look for a key goes through slots until it meets one that is not empty.
    while found != Found::Evicted && build_some(keyspace, settings) {
        found = evict_best(keyspace, pool, settings);
    }
    keyspace.select(here);
    found == Found::Evicted
}

/// What became of the best candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Evicted,
    /// It was gone already, or may not go any more: there may be another.
    Stale,
    /// There is none.
    Nothing,
}

/// Builds slots that are still in a file, if keys of the shard may go at all; false when there are none.
fn build_some(keyspace: &mut Keyspace<'_>, settings: &Settings) -> bool {
    const SLOTS_AT_ONCE: usize = 256;
    let now_ms = keyspace.now_ms();
    let Some(shard) = keyspace.nth_shard_mut(0) else { return false };
    let may_go = (0..shard.databases()).map(|db| shard.counts(db)).any(|counts| {
        if settings.maxmemory_policy.volatile_only() { counts.expires > 0 } else { counts.keys > 0 }
    });
    may_go && (0..SLOTS_AT_ONCE).filter(|_| shard.build_next(settings, now_ms)).count() > 0
}

fn evict_best(keyspace: &mut Keyspace<'_>, pool: &mut Pool, settings: &Settings) -> Found {
    let now_ms = keyspace.now_ms();
    let Some(shard) = keyspace.nth_shard_mut(0) else { return Found::Nothing };
    pool.refill(shard, settings, now_ms);
    let Some(best) = pool.candidates.pop() else { return Found::Nothing };
    keyspace.select(best.db);
    if keyspace.expire_if_due(&best.key) {
        return Found::Evicted;
    }
    let Some(entry) = keyspace.peek_entry(&best.key) else { return Found::Stale };
    if settings.maxmemory_policy.volatile_only() && entry.expiry().is_none() {
        return Found::Stale;
    }
    keyspace.take_entry(&best.key);
    let slot = keyspace.slot(&best.key);
    keyspace.shard_mut(slot).stats.evicted += 1;
    keyspace.propagate_also(&[if settings.lazyfree_lazy_eviction { b"UNLINK" } else { b"DEL" }, &best.key]);
    keyspace.notify(Class::Evicted, "evicted", &best.key);
    keyspace.signal(&best.key);
    // Memory is short: what only held this key goes too.
    keyspace.shard_mut(slot).release_if_empty(slot);
    Found::Evicted
}

impl Pool {
    fn refill(&mut self, shard: &mut Shard, settings: &Settings, now_ms: i64) {
        let policy = settings.maxmemory_policy;
        let mut rng = Rng::seeded(shard.rng.next_u64());
        for db in 0..shard.databases() {
            let counts = shard.counts(db);
            if if policy.volatile_only() { counts.expires } else { counts.keys } == 0 {
                continue;
            }
            for _ in 0..settings.maxmemory_samples.max(1) {
                let Some(entry) = sample(shard, db, policy.volatile_only(), &mut rng) else { continue };
                self.offer(entry, db, settings, now_ms, &mut rng);
            }
            if self.candidates.is_empty() {
                let (found, next) = search(shard, db, self.search_at);
                self.search_at = next;
                if let Some(entry) = found {
                    self.offer(entry, db, settings, now_ms, &mut rng);
                }
            }
        }
    }

    /// Keeps the best, sorted; the best is last.
    fn offer(&mut self, entry: &Entry, db: usize, settings: &Settings, now_ms: i64, rng: &mut Rng) {
        if self.candidates.iter().any(|other| *other.key == *entry.key() && other.db == db) {
            return;
        }
        let score = score(entry, settings, now_ms, rng);
        let at = self.candidates.partition_point(|other| other.score < score);
        if at == 0 && self.candidates.len() >= POOL {
            return;
        }
        self.candidates.insert(at, Candidate { score, db, key: entry.key().into() });
        if self.candidates.len() > POOL {
            self.candidates.remove(0);
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
        EvictionPolicy::VolatileTtl => u64::MAX - entry.expiry().unwrap_or(i64::MAX).max(0) as u64,
        EvictionPolicy::AllKeysRandom | EvictionPolicy::VolatileRandom | EvictionPolicy::NoEviction => {
            rng.next_u64()
        }
    }
}

/// A random entry of a database: a random used slot from a random start on, then a random entry in it. When only
/// volatile ones will do, `None` if none was met after a few tries.
fn sample<'a>(shard: &'a Shard, db: usize, volatile_only: bool, rng: &mut Rng) -> Option<&'a Entry> {
    let physical = shard.physical(db);
    let start = rng.below(SLOTS);
    let mut tries = POOL;
    for step in 0..SLOTS {
        let Some(found) = Slot::new((start + step) % SLOTS).and_then(|slot| shard.slot(slot)?.db(physical))
        else {
            continue;
        };
        if found.table.is_empty() || volatile_only && found.expires == 0 {
            continue;
        }
        // A slot with few volatile keys is left for the next one soon, but each slot gets its chance.
        for _ in 0..4 {
            let entry = found.table.random(rng)?;
            if !volatile_only || entry.expiry().is_some() {
                return Some(entry);
            }
        }
        tries -= 1;
        if tries == 0 {
            break;
        }
    }
    None
}

/// The first entry that expires from a place on, all the way round, and the place behind it.
fn search(shard: &Shard, db: usize, from: u64) -> (Option<&Entry>, u64) {
    let (physical, hasher) = (shard.physical(db), shard.hasher());
    let (start, mut order) = ((from >> ORDER_BITS) as usize, from & ((1 << ORDER_BITS) - 1));
    // The slot where it starts comes up twice: from its middle on, and last from its begin.
    for step in 0..=SLOTS {
        let at = (start + step) % SLOTS;
        let found = Slot::new(at).and_then(|slot| shard.slot(slot)?.db(physical)).filter(|db| db.expires > 0);
        while let Some(db) = found {
            let mut met = None;
            order = db.table.scan(
                order,
                SEARCH_STEP,
                |entry| hasher.hash(entry.key()),
                |entry| {
                    if met.is_none() && entry.expiry().is_some() {
                        met = Some(entry);
                    }
                },
            );
            if met.is_some() {
                // Others of the same stride are left for the next lap.
                let next = if order == 0 { (at + 1) % SLOTS } else { at };
                return (met, (next as u64) << ORDER_BITS | order);
            }
            if order == 0 {
                break;
            }
        }
        order = 0;
    }
    (None, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::SetExpiry;
    use crate::testing::Bench;

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

    fn with<R>(bench: &mut Bench, run: impl FnOnce(&mut Keyspace<'_>) -> R) -> R {
        let now_ms = bench.now_ms;
        let settings = bench.settings.clone();
        run(&mut Keyspace::one(&mut bench.shard, &settings, bench.db, now_ms))
    }

    /// 100 keys, `k0` .. `k99`, each used a second later than the one before it (under LFU: once more often), the
    /// even ones volatile, those of greater number sooner.
    fn filled(policy: EvictionPolicy) -> Bench {
        let mut bench = Bench::new();
        bench.settings.maxmemory_policy = policy;
        bench.settings.lfu_log_factor = 0;
        for i in 0..100 {
            let key = format!("k{i}");
            bench.now_ms += if policy.is_lfu() { 0 } else { 1_000 };
            let expiry =
                if i % 2 == 0 { SetExpiry::At(2_000_000_000_000 - i * 1_000) } else { SetExpiry::Clear };
            with(&mut bench, |keyspace| {
                keyspace.put_string(key.as_bytes(), b"v", expiry);
                for _ in 0..i {
                    keyspace.read(key.as_bytes());
                }
            });
        }
        bench
    }

    /// Evicts `n` keys; their numbers.
    fn evicted(bench: &mut Bench, n: usize) -> Vec<i64> {
        bench.events();
        let (settings, mut pool) = (bench.settings.clone(), Pool::default());
        for _ in 0..n {
            assert!(with(bench, |keyspace| evict_one(keyspace, &mut pool, &settings)));
        }
        let gone = bench.events();
        gone.iter().filter_map(|event| event.strip_prefix("evicted k")?.parse().ok()).collect()
    }

    #[test]
    fn each_policy_gives_up_what_it_should() {
        use EvictionPolicy::*;
        for policy in
            [AllKeysLru, VolatileLru, AllKeysLfu, VolatileLfu, VolatileTtl, AllKeysRandom, VolatileRandom]
        {
            let mut bench = filled(policy);
            let gone = evicted(&mut bench, 20);
            assert_eq!(gone.len(), 20, "{policy:?}");
            assert_eq!(bench.shard.counts(0).keys, 80);
            assert_eq!(bench.shard.stats.evicted, 20);
            if policy.volatile_only() {
                assert!(gone.iter().all(|n| n % 2 == 0), "{policy:?}: {gone:?}");
            }
            let mean = gone.iter().sum::<i64>() / 20;
            let expected = match policy {
                AllKeysLru | AllKeysLfu => 0..30,
                VolatileLru | VolatileLfu => 0..35,
                VolatileTtl => 65..100,
                _ => 30..70,
            };
            assert!(expected.contains(&mean), "{policy:?}: {gone:?}");
        }
    }

    #[test]
    fn without_a_policy_or_a_candidate_nothing_goes() {
        let mut bench = filled(EvictionPolicy::NoEviction);
        let settings = bench.settings.clone();
        assert!(!with(&mut bench, |keyspace| evict_one(keyspace, &mut Pool::default(), &settings)));
        let settings = Settings { maxmemory_policy: EvictionPolicy::VolatileLru, ..settings };
        let mut pool = Pool::default();
        for _ in 0..50 {
            assert!(with(&mut bench, |keyspace| evict_one(keyspace, &mut pool, &settings)));
        }
        assert!(!with(&mut bench, |keyspace| evict_one(keyspace, &mut pool, &settings)));
        let counts = bench.shard.counts(0);
        assert_eq!((counts.keys, counts.volatile, counts.expires), (50, 0, 0));
    }

    #[test]
    fn rare_volatile_keys_among_many_are_all_found() {
        let mut bench = Bench::new();
        bench.settings.maxmemory_policy = EvictionPolicy::VolatileRandom;
        for i in 0..20_000 {
            let expiry = if i % 5_000 == 0 { SetExpiry::At(2_000_000_000_000) } else { SetExpiry::Clear };
            with(&mut bench, |keyspace| {
                keyspace.put_string(format!("{{giant}}{i}").as_bytes(), b"v", expiry);
            });
        }
        let (settings, mut pool) = (bench.settings.clone(), Pool::default());
        for _ in 0..4 {
            assert!(with(&mut bench, |keyspace| evict_one(keyspace, &mut pool, &settings)));
        }
        assert!(!with(&mut bench, |keyspace| evict_one(keyspace, &mut pool, &settings)));
        assert_eq!(bench.shard.counts(0).keys, 19_996);
    }

    #[test]
    fn what_has_expired_goes_as_such() {
        let mut bench = Bench::new();
        bench.settings.maxmemory_policy = EvictionPolicy::VolatileTtl;
        with(&mut bench, |keyspace| keyspace.put_string(b"k", b"v", SetExpiry::At(1_700_000_000_001)));
        bench.now_ms += 1;
        let settings = bench.settings.clone();
        assert!(with(&mut bench, |keyspace| evict_one(keyspace, &mut Pool::default(), &settings)));
        assert_eq!((bench.shard.stats.expired, bench.shard.stats.evicted), (1, 0));
        assert_eq!(bench.effects(), ["0: UNLINK k"]);
    }

    #[test]
    fn what_goes_lazily_is_logged_as_such() {
        for (lazy, word) in [(true, "UNLINK"), (false, "DEL")] {
            let mut bench = Bench::new();
            bench.settings.maxmemory_policy = EvictionPolicy::AllKeysLru;
            (bench.settings.lazyfree_lazy_eviction, bench.settings.lazyfree_lazy_expire) = (lazy, lazy);
            bench.run("SET k v");
            bench.effects();
            let settings = bench.settings.clone();
            assert!(with(&mut bench, |keyspace| evict_one(keyspace, &mut Pool::default(), &settings)));
            assert_eq!(bench.effects(), [format!("0: {word} k")]);
            // A large one whose time has come is freed elsewhere.
            let members: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
            bench.run(&format!("SADD k {}", members.join(" ")));
            bench.run("PEXPIRE k 1");
            bench.effects();
            bench.now_ms += 1;
            assert_eq!(bench.run("EXISTS k"), "0");
            assert_eq!(bench.effects(), [format!("0: {word} k")]);
            assert_eq!(bench.shard.garbage.len(), usize::from(lazy));
        }
    }
}
