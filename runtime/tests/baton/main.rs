//! The baton under a model checker: every interleaving of a few threads, with the primitives of `loom` under the very
//! file that the runtime uses.
//!
//! | file       | primitives                                                                                |
//! |------------|-------------------------------------------------------------------------------------------|
//! | `handover` | a lock and a queue of bare atomics, no stronger than the real ones: is the hand-over without a gap? |
//! | `order`    | real locks, whose deadlocks the checker sees: may several be taken, and taken in vain?    |

// The same file twice on purpose, over different primitives.
#![allow(clippy::duplicate_mod, reason = "the same file over different primitives is the point")]

mod handover;
mod order;
