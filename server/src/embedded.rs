//! A node inside another program: what the program does with the data through a [`Store`] and what clients do over sockets
//! happens to the same keys, under the same batons.

use crate::config;
use crate::logging;
use crate::server::{EndRequest, Server, quote};
use crate::start::{Host, serve_until_the_end};
use baton::Store;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

/// A node that runs on threads of its own in this process, until it is stopped, or a client says SHUTDOWN.
///
/// Signals stay with the program, as does the allocator: `maxmemory` and the figures of INFO go by
/// [`memory::Counted`](crate::memory::Counted), if the program takes that for its own. The setting `dir` is the working directory
/// of the whole process.
pub struct Embedded {
    server: Arc<Server>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

impl Embedded {
    /// Starts a node with these settings: names and values as in a configuration file. Returns when the data are loaded and
    /// clients are served.
    ///
    /// # Errors
    /// What the node would have said on its way out: a wrong setting, a port that is taken, files that are damaged.
    pub fn start(settings: &[(&str, &str)]) -> Result<Self, String> {
        let mut options = Vec::new();
        for (name, value) in settings {
            options.extend_from_slice(name.as_bytes());
            options.push(b' ');
            quote(value.as_bytes(), &mut options);
            options.push(b'\n');
        }
        let sources = config::Sources { file: None, stdin: None, options, sentinel: false };
        let loaded = config::load(&sources).map_err(|error| error.to_string())?;
        logging::configure(&loaded.settings);
        let (ready, started) = mpsc::channel();
        let serve = move || serve_until_the_end(loaded, None, None, &Host::Program(ready));
        let thread = std::thread::Builder::new().name("baton".to_owned()).spawn(serve);
        let thread = thread.map_err(|error| format!("Cannot start the thread of the node: {error}"))?;
        match started.recv() {
            Ok(server) => Ok(Self { server, thread: Some(thread) }),
            // It has ended before it was ready, and says why.
            Err(_) => Err(ended(thread).err().unwrap_or_else(|| "The node ended at once".to_owned())),
        }
    }

    /// The data of the node, for this process: calls run on the threads that make them.
    pub fn store(&self) -> Store {
        Store::of_node(self.server.node.clone())
    }

    /// Ends the node as SHUTDOWN does: with a snapshot if the settings ask for one.
    ///
    /// # Errors
    /// What went wrong at the end.
    pub fn stop(mut self) -> Result<(), String> {
        self.end()
    }

    fn end(&mut self) -> Result<(), String> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        // Nobody listens any more if it has ended by itself.
        let request = EndRequest { save: None, force: true, now: false, client: None, by_signal: false };
        let _ = self.server.end_requests.send(request);
        ended(thread)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // Who wants to know how it ended calls `stop`.
        let _ = self.end();
    }
}

fn ended(thread: JoinHandle<Result<(), String>>) -> Result<(), String> {
    let result = thread.join();
    logging::finish();
    result.unwrap_or_else(|_| Err("The thread of the node ended by a panic".to_owned()))
}
