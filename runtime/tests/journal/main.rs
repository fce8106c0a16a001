//! The journal of a node: what is in the log gives the same data, whatever fails and whenever.
//!
//! | file     | what is proved                                                                              |
//! |----------|---------------------------------------------------------------------------------------------|
//! | `bell`   | the journal's thread never sleeps through work: every interleaving, by a model checker       |
//! | `bench`  | a node with a log on a simulated disk, and what a log gives when it is replayed               |
//! | `order`  | threads, moving slots and changes of the file: the replayed log is the data                  |
//! | `crash`  | the process or the machine stops at any call of the disk: what was acknowledged is recovered |
//! | `faults` | full disks and failing devices: refused, held, given up, and sound again                     |

#[path = "../races/bench.rs"]
#[allow(dead_code, reason = "this is the bench of the races, too")]
mod node;

mod bell;
mod bench;
mod crash;
mod faults;
mod order;
