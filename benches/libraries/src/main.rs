//! The store of Baton beside other libraries: the same work for each in turn, several rounds, medians.
//!
//! Keys of 16 bytes, values of 100, in an order drawn from a seed. Every library gets its turn of each kind of work in
//! each round, so that a machine that slows down slows all of them. What is printed is calls per second, and the ratio of
//! Baton to each.
//!
//!     cargo run --release --manifest-path benches/libraries/Cargo.toml -- [keys] [milliseconds a turn] [rounds]
//!
//! | work              | what it asks                                                                         |
//! |-------------------|--------------------------------------------------------------------------------------|
//! | `get`             | any key, and a copy of its value                                                      |
//! | `get hot`         | one of 1,000 keys                                                                     |
//! | `put memory`      | no log, or commits that promise nothing                                               |
//! | `put written`     | a call returns when the system has the change, a sync each second                      |
//! | `put synced`      | a call returns when the disk has it                                                   |
//!
//! What a library cannot promise it is not asked for. Where it offers several ways, the one its documentation recommends for
//! one change at a time is taken; batches would be another question.

mod libraries;
mod work;

use libraries::{Promise, open_all};
use work::{Plan, WORK};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the server tells it too: huge pages. For all of them.
// SAFETY: the name under which this allocator looks for a pointer to a C string; no other item of the program has it.
#[unsafe(export_name = "_rjem_malloc_conf")]
#[used]
static SETTINGS: Option<&std::ffi::c_char> =
    // SAFETY: the string ends with a zero, and lives as long as the program.
    Some(unsafe { &*c"thp:always,metadata_thp:auto,dirty_decay_ms:3600000".as_ptr() });

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|arg| arg.parse::<u64>().ok());
    let mut number = |default| numbers.next().unwrap_or(default);
    let plan = Plan { keys: number(1_000_000) as usize, turn_ms: number(500), rounds: number(3) as usize };
    println!("{plan}\n");
    for promise in Promise::ALL {
        let dir = tempfile::tempdir_in(".").expect("a place for files, on the disk of the current directory");
        let all = open_all(dir.path(), promise);
        for library in &all {
            library.load(&mut (0..plan.keys).map(work::key));
        }
        for kind in WORK.iter().filter(|kind| kind.promise == promise) {
            kind.measure(&all, &plan).print(kind);
        }
    }
}
