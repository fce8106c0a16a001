//! The data of a Baton node.
#![deny(missing_docs)]

pub mod types;
