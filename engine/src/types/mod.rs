//! Data structures that know no commands.

pub mod thin;
pub mod listpack;
