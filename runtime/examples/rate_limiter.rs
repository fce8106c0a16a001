//! At most so many requests in any stretch of time, per user. `cargo run -p baton --example rate_limiter`

use baton::{Error, Store};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whether this request is allowed: fewer than `max` were in the last `window`.
///
/// The times of the requests are a sorted set. Look and change are one transaction, so that two requests at once are not both
/// the last that is allowed.
fn allow(store: &Store, user: &str, max: usize, window: Duration) -> Result<bool, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let key = format!("requests:{user}");
    store.transaction([&key], |tx| {
        tx.zrem_by_score(&key, ..=(now.saturating_sub(window)).as_secs_f64())?;
        if tx.zcard(&key)? >= max {
            return Ok(false);
        }
        tx.zadd(&key, now.as_nanos().to_string(), now.as_secs_f64())?;
        // Who is quiet for long leaves nothing behind.
        tx.expire(&key, window)?;
        Ok(true)
    })
}

fn main() -> Result<(), Error> {
    let store = Store::memory();
    let window = Duration::from_millis(300);
    let mut allowed = 0;
    for _ in 0..10 {
        allowed += u32::from(allow(&store, "ada", 3, window)?);
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("{allowed} of 10 requests at once are allowed");
    println!("somebody else: {}", if allow(&store, "bob", 3, window)? { "allowed" } else { "refused" });
    std::thread::sleep(window);
    println!("later: {}", if allow(&store, "ada", 3, window)? { "allowed" } else { "refused" });
    Ok(())
}
