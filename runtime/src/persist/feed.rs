//! Work on all cores at once: one thread reads, one thread per core applies what belongs to its slots, in order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};

/// Pieces of work that travel together.
const BATCH: usize = 256;
/// Batches that may lie before a thread: the reader waits for the slowest.
const QUEUE: usize = 32;

enum Batch<W> {
    Work(Vec<W>),
    /// Everything before this has been done: say so.
    Barrier(Sender<()>),
}

/// Hands work to the threads.
pub(crate) struct Feed<'s, W> {
    inlets: Vec<SyncSender<Batch<W>>>,
    waiting: Vec<Vec<W>>,
    stopped: &'s AtomicBool,
}

impl<W: Send> Feed<'_, W> {
    /// Gives a piece of work to a thread; false when one of them has failed, and nothing matters any more.
    pub(super) fn give(&mut self, to: usize, work: W) -> bool {
        self.waiting[to].push(work);
        self.waiting[to].len() < BATCH || self.flush(to)
    }

    /// As [`give`](Self::give), but the thread gets it at once: for pieces that are large in themselves.
    pub(crate) fn give_now(&mut self, to: usize, work: W) -> bool {
        self.waiting[to].push(work);
        self.flush(to)
    }

    /// Waits until everything that was given has been done; false when a thread has failed.
    pub(super) fn wait(&mut self) -> bool {
        let (done, all_done) = mpsc::channel();
        for to in 0..self.inlets.len() {
            if !self.flush(to) || self.inlets[to].send(Batch::Barrier(done.clone())).is_err() {
                return false;
            }
        }
        drop(done);
        all_done.iter().count() == self.inlets.len() && !self.stopped.load(Ordering::Acquire)
    }

    fn flush(&mut self, to: usize) -> bool {
        let work = std::mem::take(&mut self.waiting[to]);
        let goes_on = !self.stopped.load(Ordering::Acquire);
        work.is_empty() || goes_on && self.inlets[to].send(Batch::Work(work)).is_ok()
    }
}

/// Runs `read` on this thread and `apply` on one thread per core, until `read` is through and all it gave is done.
/// The first error ends all.
pub(crate) fn on_all_cores<W: Send, E: Send, R>(
    cores: usize,
    apply: impl Fn(usize, Vec<W>) -> Result<(), E> + Sync,
    read: impl FnOnce(&mut Feed<'_, W>) -> Result<R, E>,
) -> Result<R, E> {
    let stopped = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut feed = Feed { inlets: Vec::new(), waiting: Vec::new(), stopped: &stopped };
        let mut threads = Vec::new();
        for core in 0..cores {
            let (inlet, outlet) = mpsc::sync_channel(QUEUE);
            feed.inlets.push(inlet);
            feed.waiting.push(Vec::new());
            let (apply, stopped) = (&apply, &stopped);
            threads.push(scope.spawn(move || {
                let result = work_off(core, outlet, apply);
                if result.is_err() {
                    stopped.store(true, Ordering::Release);
                }
                result
            }));
        }
        let read = read(&mut feed);
        if read.is_ok() {
            feed.wait();
        }
        drop(feed);
        let mut failed = None;
        for thread in threads {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => failed = failed.or(Some(error)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        // What a thread could not apply comes before what the reader met further on.
        match failed {
            Some(error) => Err(error),
            None => read,
        }
    })
}

fn work_off<W, E>(
    core: usize,
    outlet: Receiver<Batch<W>>,
    apply: &(impl Fn(usize, Vec<W>) -> Result<(), E> + Sync),
) -> Result<(), E> {
    for batch in outlet {
        match batch {
            Batch::Work(work) => apply(core, work)?,
            // Who asked may have given up.
            Batch::Barrier(done) => drop(done.send(())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn each_thread_gets_its_work_in_order_and_a_wait_waits_for_all() {
        let seen: Vec<Mutex<Vec<u32>>> = (0..3).map(|_| Mutex::default()).collect();
        let result: Result<u32, ()> = on_all_cores(
            3,
            |core, work| {
                seen[core].lock().unwrap().extend(work);
                Ok(())
            },
            |feed| {
                for n in 0..10_000 {
                    assert!(feed.give((n % 3) as usize, n));
                    if n == 5_000 {
                        assert!(feed.wait());
                        let so_far: usize = seen.iter().map(|seen| seen.lock().unwrap().len()).sum();
                        assert_eq!(so_far, 5_001);
                    }
                }
                Ok(7)
            },
        );
        assert_eq!(result, Ok(7));
        for (core, seen) in seen.iter().enumerate() {
            assert!(seen.lock().unwrap().iter().copied().eq((0..10_000).filter(|n| n % 3 == core as u32)));
        }
    }

    #[test]
    fn an_error_ends_all() {
        let result: Result<(), &str> = on_all_cores(
            2,
            |core, work: Vec<u32>| if core == 1 && work.contains(&3_001) { Err("no") } else { Ok(()) },
            |feed| {
                let mut n = 0u32;
                while feed.give((n % 2) as usize, n) {
                    n += 1;
                }
                Ok(())
            },
        );
        assert_eq!(result, Err("no"));
    }
}
