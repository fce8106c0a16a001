//! The store as a library, from the outside.

mod many;
mod memory;
mod methods;
