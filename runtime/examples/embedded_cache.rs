//! A cache inside of a program, whose entries live for a while. `cargo run -p baton --example embedded_cache`

use baton::{Error, Store};
use std::time::Duration;

/// What would take long: a query, a request.
fn look_up(user: u32) -> String {
    format!("user number {user}")
}

/// From the cache, or looked up and kept for `ttl`. Whether it was in the cache.
fn cached(cache: &Store, user: u32, ttl: Duration) -> Result<(String, bool), Error> {
    let key = format!("user:{user}");
    if let Some(found) = cache.get_as::<String>(&key)? {
        return Ok((found, true));
    }
    let found = look_up(user);
    cache.set_ex(&key, &found, ttl)?;
    Ok((found, false))
}

fn main() -> Result<(), Error> {
    // The thread removes what has expired even if nobody asks for it again.
    let cache = Store::builder().background(true).memory();
    let ttl = Duration::from_millis(50);
    for user in [1, 2, 1] {
        let (found, hit) = cached(&cache, user, ttl)?;
        println!("{found}: {}", if hit { "from the cache" } else { "looked up" });
    }
    std::thread::sleep(2 * ttl);
    let (found, hit) = cached(&cache, 1, ttl)?;
    println!("{found}, later: {}", if hit { "from the cache" } else { "looked up" });
    // Without a copy of the value.
    let len = cache.with("user:1", <[u8]>::len)?;
    println!("it takes {} bytes", len.unwrap_or(0));
    Ok(())
}
