//! Recovery can be trusted: whatever happened to the files of a node, opening them gives what was written or says why not.
//!
//! | file    | what is proved                                                                                  |
//! |---------|-------------------------------------------------------------------------------------------------|
//! | `bench` | nodes on a simulated disk: opened, driven, compared                                               |
//! | `crash` | the disk stops or fails at every call: everything acknowledged is there, nothing in half           |
//! | `moment` | snapshots and rewrites while threads write and slots move: one moment, and the log after it         |
//! | `bytes` | every byte of every file flipped, every file cut at every place: refused, or nothing but the truth |
//!
//! `BATON_RECOVERY_ALL=1` makes the tests go through every case where they draw some of them as a rule.

mod bench;
mod bytes;
mod crash;
mod moment;
