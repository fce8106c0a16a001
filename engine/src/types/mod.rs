//! Data structures that know no commands.

pub mod bits;
mod field;
pub mod geohash;
pub mod hash;
pub mod hyperloglog;
pub mod intset;
pub mod lcs;
pub mod list;
pub mod listpack;
mod member_slab;
mod ranked_tree;
pub mod set;
pub mod stream;
pub mod thin;
pub(crate) mod walk;
pub mod zset;
