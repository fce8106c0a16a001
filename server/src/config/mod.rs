//! The configuration: one table of settings, and everything that is derived from it.
#[cfg(test)]
mod against_redis;
mod choices;
mod field;
mod live;
mod load;
mod rewrite;
mod shapes;
mod table;
pub mod text;

pub use choices::*;
pub use field::*;
pub use live::*;
pub use load::*;
pub use rewrite::replace as rewrite_file;
pub use shapes::*;
pub use table::*;
