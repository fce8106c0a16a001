//! A bucket of tokens that fills by and by, as a script: one call looks and changes. `cargo run -p baton --example scripts`

use baton::{Error, Store};
use std::time::Duration;

/// `KEYS[1]`: the bucket. `ARGV`: how many tokens it holds, how many come in a second, the time in milliseconds.
const TAKE: &str = "
    local size, rate, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
    local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
    local tokens, at = tonumber(bucket[1]) or size, tonumber(bucket[2]) or now
    tokens = math.min(size, tokens + (now - at) * rate / 1000)
    local taken = tokens >= 1
    if taken then tokens = tokens - 1 end
    redis.call('HSET', KEYS[1], 'tokens', tokens, 'at', now)
    redis.call('PEXPIRE', KEYS[1], math.ceil(size / rate * 1000))
    return taken and 1 or 0";

/// Whether there was a token left for this user.
fn take(store: &Store, user: &str, now_ms: u64) -> Result<bool, Error> {
    let bucket = store.script(TAKE).key(format!("bucket:{user}")).args(["3", "10"]).arg(now_ms.to_string());
    bucket.time_limit(Duration::from_millis(100)).run()
}

fn main() -> Result<(), Error> {
    let store = Store::memory();
    let now = 1_000_000;
    let mut taken = 0;
    for _ in 0..10 {
        taken += u32::from(take(&store, "ada", now)?);
    }
    println!("{taken} of 10 at once");
    println!("100 ms later: {}", if take(&store, "ada", now + 100)? { "one more" } else { "none" });
    let library = "#!lua name=tools
        redis.register_function{function_name='size', flags={'no-writes'}, callback=function(keys)
            return redis.call('HLEN', keys[1])
        end}";
    store.load_library(library)?;
    let fields: i64 = store.function("size").key("bucket:ada").read_only().run()?;
    println!("a bucket has {fields} fields");
    Ok(())
}
