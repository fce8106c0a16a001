//! A queue of jobs: workers wait for them, and none is lost if a worker dies. `cargo run -p baton --example job_queue`

use baton::store::End;
use baton::{Error, Store};
use std::time::Duration;

/// Takes jobs until none comes for a while. A job stays in the worker's own list until it is done: whoever finds it
/// there after a crash puts it back.
fn work(store: &Store, worker: usize) -> Result<u32, Error> {
    let own = format!("doing:{worker}");
    let mut done = 0;
    let patience = Some(Duration::from_millis(200));
    while let Some(job) = store.blmove("jobs", &own, End::Left, End::Right, patience)? {
        // Done at one moment: the count and the list agree whenever somebody looks.
        store.transaction([own.as_str(), "finished"], |tx| {
            tx.lrem(&own, 1, &job)?;
            tx.incr("finished")
        })?;
        done += 1;
    }
    Ok(done)
}

fn main() -> Result<(), Error> {
    let store = Store::memory();
    let done = std::thread::scope(|threads| {
        let workers: Vec<_> = (0..3)
            .map(|worker| {
                threads.spawn({
                    let store = &store;
                    move || work(store, worker)
                })
            })
            .collect();
        for n in 0..100 {
            store.rpush("jobs", [format!("job {n}")])?;
        }
        let counts = workers.into_iter().map(|worker| worker.join().unwrap_or(Ok(0)));
        counts.sum::<Result<u32, Error>>()
    })?;
    println!("the workers did {done} jobs, {} are finished", store.get_as::<u32>("finished")?.unwrap_or(0));
    println!("{} jobs are left", store.llen("jobs")?);
    Ok(())
}
