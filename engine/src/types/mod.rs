//! Data structures that know no commands.

pub mod hyperloglog;
pub mod intset;
pub mod listpack;
pub mod pending;
pub mod set;
pub mod thin;
mod walk;
