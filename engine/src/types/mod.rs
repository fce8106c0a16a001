//! Data structures that know no commands.

pub mod intset;
pub mod listpack;
pub mod thin;
