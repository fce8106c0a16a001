//! The store as a library, from the outside.

mod disk;
mod many;
mod memory;
mod methods;
mod waiting;
