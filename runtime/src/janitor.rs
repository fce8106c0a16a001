//! The janitor: a thread that frees what takes long to free (UNLINK of large collections, FLUSHALL ASYNC), so that no
//! core has to. It is started by the first such garbage and ends with the node.

use baton_engine::keyspace::Garbage;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, mpsc};

/// Hands garbage to the thread that frees it.
#[derive(Debug, Default)]
pub struct Janitor {
    inlet: OnceLock<mpsc::Sender<Vec<Garbage>>>,
    figures: Arc<Figures>,
}

#[derive(Debug, Default)]
struct Figures {
    pending: AtomicU64,
    freed: AtomicU64,
}

impl Janitor {
    /// Takes garbage away. Does not wait for it to be freed.
    pub fn take(&self, garbage: Vec<Garbage>) {
        let count = keys(&garbage);
        self.figures.pending.fetch_add(count, Ordering::Relaxed);
        let inlet = self.inlet.get_or_init(|| start(self.figures.clone()));
        if let Err(mpsc::SendError(garbage)) = inlet.send(garbage) {
            // No thread could be had: then it is freed here and now.
            free(&self.figures, garbage);
        }
    }

    /// Keys that wait to be freed (`lazyfree_pending_objects`).
    pub fn pending(&self) -> u64 {
        self.figures.pending.load(Ordering::Relaxed)
    }

    /// Keys freed so far (`lazyfreed_objects`).
    pub fn freed(&self) -> u64 {
        self.figures.freed.load(Ordering::Relaxed)
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&self) {
        self.figures.freed.store(0, Ordering::Relaxed);
    }
}

fn start(figures: Arc<Figures>) -> mpsc::Sender<Vec<Garbage>> {
    let (inlet, outlet) = mpsc::channel();
    let work = move || {
        for garbage in outlet {
            free(&figures, garbage);
        }
    };
    // Without a thread the channel is closed, and `take` frees by itself.
    drop(std::thread::Builder::new().name("janitor".to_owned()).spawn(work));
    inlet
}

fn free(figures: &Figures, garbage: Vec<Garbage>) {
    let count = keys(&garbage);
    drop(garbage);
    figures.pending.fetch_sub(count, Ordering::Relaxed);
    figures.freed.fetch_add(count, Ordering::Relaxed);
}

fn keys(garbage: &[Garbage]) -> u64 {
    let each = garbage.iter().map(|garbage| match garbage {
        Garbage::Entry(_) => 1,
        Garbage::Table(table) => table.len() as u64,
    });
    each.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_engine::keyspace::entry::Entry;

    #[test]
    fn garbage_is_freed_elsewhere() {
        let janitor = Janitor::default();
        let entries = (0..1_000).map(|_| Garbage::Entry(Entry::string(b"key", b"value", None, 0)));
        janitor.take(entries.collect());
        while janitor.freed() < 1_000 {
            std::thread::yield_now();
        }
        assert_eq!(janitor.pending(), 0);
    }
}
