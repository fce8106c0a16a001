//! Lua 5.1, a library of C, behind an interface that safe code can use.
//!
//! | file      | holds                                                                             |
//! |-----------|-----------------------------------------------------------------------------------|
//! | `state`   | a state: its memory, what runs in it, and how a script is called                   |
//! | `spare`   | where its memory comes from                                                       |
//! | `compile` | sources to functions                                                              |
//! | `entry`   | how Lua enters functions of ours, and how errors leave them                         |
//! | `stack`   | what functions of ours may do with the values of a state                            |
//! | `errors`  | the texts of errors: which argument, where                                          |
//!
//! Lua reports errors by jumping over the frames between. No frame of Rust that owns anything may be jumped over, so:
//!
//! | who can raise an error                    | why no Rust frame is jumped over                                        |
//! |-------------------------------------------|-------------------------------------------------------------------------|
//! | what scripts call (`fn(&mut Stack)`)       | they return `Err`; `trampoline`, which owns nothing, raises it           |
//! | an allocation that fails                   | none fails while Rust runs (`Shared::in_rust`): too much is told after   |
//! | operations on values of the wrong type     | [`Stack`] offers raw operations only, and looks at types first           |
//! | calls of functions of Lua                  | only by [`State::call`], which is protected, and by `protect.rs`         |
//!
//! All memory of a state is counted, and limited.

mod compile;
mod entry;
mod errors;
mod spare;
mod stack;
mod state;

pub(super) use compile::load;
pub(super) use entry::{Function, Raise, Returned, is_over, push_error_table, raise_killed};
pub(super) use stack::{Kept, Kind, Stack};
pub(super) use state::{MEMORY_MAX, State, shared};
