//! One data set behind two doors: an HTTP service made with axum, and every Redis client.
//!
//! The server runs inside this program. The service works on its data directly, on the threads of axum, without a socket in
//! between; what clients of Redis change is there at once, and the other way round.
//!
//! ```text
//! $ cargo run --release -p baton-server --example axum_service
//! $ curl -X PUT --data world localhost:8080/keys/hello
//! $ redis-cli get hello
//! ```

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use baton::Store;
use baton_server::Embedded;

// The allocator that counts is what `maxmemory` goes by.
#[global_allocator]
static ALLOCATOR: baton_server::memory::Counted = baton_server::memory::Counted;

type Failed = (StatusCode, String);

/// What the store refuses is for the caller to read.
fn failed(error: baton::Error) -> Failed {
    (StatusCode::CONFLICT, error.to_string())
}

async fn read(State(store): State<Store>, Path(key): Path<String>) -> Result<Bytes, Failed> {
    let value = store.get(&key).map_err(failed)?;
    value.map(|value| Bytes::copy_from_slice(&value)).ok_or((StatusCode::NOT_FOUND, String::new()))
}

async fn write(State(store): State<Store>, Path(key): Path<String>, value: Bytes) -> Result<(), Failed> {
    store.set(&key, &value[..]).map_err(failed)
}

async fn remove(State(store): State<Store>, Path(key): Path<String>) -> Result<String, Failed> {
    store.del(&key).map(|removed| removed.to_string()).map_err(failed)
}

async fn count(State(store): State<Store>, Path(key): Path<String>) -> Result<String, Failed> {
    store.incr(&key).map(|n| n.to_string()).map_err(failed)
}

/// The service over a store, whoever else uses it.
pub fn service(store: Store) -> Router {
    Router::new()
        .route("/keys/{key}", get(read).put(write).delete(remove))
        .route("/count/{key}", post(count))
        .with_state(store)
}

#[tokio::main(flavor = "current_thread")]
#[allow(dead_code, reason = "the tests use the service without it")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Embedded::start(&[("port", "6379"), ("bind", "127.0.0.1")])?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("http://127.0.0.1:8080/keys/hello and redis-cli -p 6379");
    axum::serve(listener, service(server.store())).with_graceful_shutdown(interrupted()).await?;
    server.stop()?;
    Ok(())
}

async fn interrupted() {
    // Without a handler the first interrupt ends the program at once, which is just as well.
    let _ = tokio::signal::ctrl_c().await;
}
