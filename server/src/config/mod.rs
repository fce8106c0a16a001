//! The configuration: one table of settings, and everything that is derived from it.
mod choices;
mod field;
mod shapes;
mod table;
pub mod text;

pub use choices::*;
pub use field::*;
pub use shapes::*;
pub use table::*;
