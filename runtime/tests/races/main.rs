//! A node driven by many threads at once while its slots move: nothing is lost, nothing is ever seen half done, nobody
//! waits for ever.
//!
//! | file       | what is proved                                                            |
//! |------------|---------------------------------------------------------------------------|
//! | `bench`    | a node of four cores, run without sockets                                 |
//! | `atomic`   | counters, pairs, renames, transactions and watches under moving slots     |
//! | `blocked`  | blocked clients: order, moves, other cores, cancelled in the middle       |
//! | `panics`   | a command that panics takes nobody else along                             |
//! | `snapshots`| a snapshot ends whole, whichever loops take part in it                    |

mod atomic;
mod bench;
mod blocked;
mod panics;
mod snapshots;
