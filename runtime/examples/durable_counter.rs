//! A counter that survives whatever happens to the process and to the machine.
//! `cargo run -p baton --example durable_counter -- DIRECTORY`, as often as you like

use baton::store::Policy;
use baton::{Error, Store};
use std::path::PathBuf;

fn main() -> Result<(), Error> {
    let dir = std::env::args_os().nth(1).map(PathBuf::from);
    let dir = dir.unwrap_or_else(|| std::env::temp_dir().join("baton-durable-counter"));
    // With `Always` a call returns when its change has been synced. Threads that wait at the same time share a sync.
    let store = Store::builder().fsync(Policy::Always).open(&dir)?;
    let before = store.get_as::<u64>("counter")?.unwrap_or(0);
    std::thread::scope(|threads| {
        let count = || (0..25).try_for_each(|_| store.incr("counter").map(drop));
        let counting: Vec<_> = (0..4).map(|_| threads.spawn(count)).collect();
        counting.into_iter().try_for_each(|thread| thread.join().unwrap_or(Ok(())))
    })?;
    let after = store.get_as::<u64>("counter")?.unwrap_or(0);
    println!("{} more, synced one by one, in {}", after - before, dir.display());
    // The same files that a server writes: redis-server --appendonly yes --dir DIRECTORY serves them too.
    drop(store);
    let again = Store::builder().read_only().open(&dir)?;
    println!(
        "read back: {}",
        if again.get_as("counter")? == Some(after) { "all of them" } else { "not all" }
    );
    Ok(())
}
