//! The store as a library, from the outside.

mod memory;
mod methods;
