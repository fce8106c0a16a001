//! What every integration test of the node needs: servers to start, and a client to ask them.
//!
//! ```text
//! process.rs   Server: a Baton or Redis process on its own port and in its own directory
//! client.rs    Client and Reply: RESP2 and RESP3, pipelines, inline commands, raw bytes
//! ```
//!
//! The client is deliberately not a published one: it must show the exact reply type, send what no
//! well-behaved client would send, and never reconnect or retry behind the test's back.
//!
//! A test target includes this folder with `#[path = "../support/mod.rs"] mod support;`.

// Each test target compiles its own copy and uses a part of it.
#![allow(dead_code)]

pub mod client;
pub mod process;
