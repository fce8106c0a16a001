//! A live copy of a running server in this process: `cargo run -p baton --example replica_of -- redis://127.0.0.1:6379 KEY...`

use baton::{Error, Store};
use std::time::{Duration, Instant};

/// Copies the data of a server, reads keys for a moment, and tells how fast that went.
pub fn run(primary: &str, keys: &[String]) -> Result<usize, Error> {
    let replica = Store::replica_of(primary).follow()?;
    replica.wait_until_following(Duration::from_secs(30))?;
    println!("{} keys, at offset {}, {:?} behind", replica.len()?, replica.offset(), replica.lag());
    for key in keys {
        println!("{key}: {:?}", replica.get(key)?);
    }
    let Some(key) = keys.first() else { return Ok(0) };
    let (start, mut reads) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_millis(100) {
        for _ in 0..1_000 {
            replica.get(key)?;
        }
        reads += 1_000;
    }
    println!("{:.0} reads per second from one thread", reads as f64 / start.elapsed().as_secs_f64());
    Ok(reads)
}

#[allow(dead_code, reason = "a test includes this file and calls `run`")]
fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let primary = args.next().unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
    run(&primary, &args.collect::<Vec<_>>()).map(drop)
}
