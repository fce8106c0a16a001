//! The end of a node: who asks for it, from the moment on in which data are loaded, and whether the node may end.

use crate::client::{Client, Post};
use crate::config::ShutdownOnSignal;
use crate::log;
use crate::logging::Level;
use crate::server::{EndRequest, Phase, Server};
use crate::{persistence, replication};
use baton_engine::error::CommandError;
use baton_engine::reply::Out;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

/// Who may ask for the end: SHUTDOWN, signals, and cores that cannot go on. They are listened to on the main thread.
pub struct Askers {
    runtime: Runtime,
    requests: mpsc::UnboundedReceiver<EndRequest>,
    phase: watch::Receiver<Phase>,
    /// None when signals are somebody else's.
    signals: Option<Signals>,
}

impl Askers {
    /// Listens from now on.
    pub fn new(
        server: &Server,
        requests: mpsc::UnboundedReceiver<EndRequest>,
        takes_signals: bool,
    ) -> Result<Self, String> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("Cannot wait for signals: {error}"))?;
        let signals = {
            let _inside = runtime.enter();
            takes_signals.then(Signals::new).transpose()?
        };
        Ok(Self { runtime, requests, phase: server.phase.subscribe(), signals })
    }

    /// Loads the data on a thread of its own; false when somebody asked for the end before they were there.
    ///
    /// # Errors
    /// They cannot be loaded: the node must not serve.
    pub fn load(
        &mut self,
        server: &Server,
        load: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> Result<bool, String> {
        let (done, mut loaded) = oneshot::channel();
        let thread = std::thread::Builder::new().name("load".to_owned());
        // Nobody asks any more only when this thread has panicked.
        let thread = thread.spawn(move || drop(done.send(load())));
        thread.map_err(|error| format!("Cannot start the thread that loads: {error}"))?;
        let Self { runtime, requests, phase, signals } = self;
        runtime.block_on(async {
            tokio::select! {
                biased;
                loaded = &mut loaded => return loaded.unwrap_or_else(|_| panicked()).map(|()| true),
                _ = next_request(server, requests, phase, signals) => {}
            }
            // Nothing is saved, whatever was asked for: half of the data must not take the place of all of them.
            log!(
                Level::Warning,
                "The node ends while data are being loaded: what is on disk stays as it is."
            );
            server.load.call_off();
            server.node.snapshots.abort("the node ends");
            // How far it came does not matter, nor why it went no further.
            drop(loaded.await);
            Ok(false)
        })
    }

    /// Waits until somebody asks for the end and gets it; the last snapshot is written then, if there is to be one.
    ///
    /// # Errors
    /// The user insists on an end that leaves things undone.
    pub fn wait(&mut self, server: &Arc<Server>) -> Result<(), String> {
        let Self { runtime, requests, phase, signals } = self;
        runtime.block_on(async {
            while let Some(request) = next_request(server, requests, phase, signals).await {
                log!(Level::Notice, "User requested shutdown...");
                let mut askers: Vec<_> = request.client.iter().cloned().collect();
                let ends = tokio::select! {
                    ends = may_end(server, &request) => ends,
                    () = interrupted(signals), if request.by_signal => {
                        return Err("You insist... exiting now.".to_owned());
                    }
                };
                if ends {
                    break;
                }
                log!(
                    Level::Warning,
                    "Errors trying to shut down the server. Check the logs for more information."
                );
                // Whoever has asked meanwhile waited for the same.
                while let Ok(other) = requests.try_recv() {
                    askers.extend(other.client);
                }
                server.is_ending.store(false, Ordering::Relaxed);
                askers.into_iter().for_each(tell_that_it_goes_on);
            }
            Ok(())
        })
    }
}

fn panicked() -> Result<(), String> {
    Err("Loading ended by a panic".to_owned())
}

/// The next request; `None` when the node ends without being asked any more.
async fn next_request(
    server: &Server,
    requests: &mut mpsc::UnboundedReceiver<EndRequest>,
    phase: &mut watch::Receiver<Phase>,
    signals: &mut Option<Signals>,
) -> Option<EndRequest> {
    tokio::select! {
        name = next_signal(signals) => {
            log!(Level::Warning, "Received {name} scheduling shutdown...");
            let settings = server.settings();
            let wish = if name == "SIGINT" { settings.shutdown_on_sigint } else { settings.shutdown_on_sigterm };
            Some(asked_by_signal(wish))
        }
        // SHUTDOWN without anything to wait for, or a core that could not go on.
        _ = phase.changed() => None,
        request = requests.recv() => request,
    }
}

/// `shutdown-on-sigint`, `shutdown-on-sigterm`.
fn asked_by_signal(wish: ShutdownOnSignal) -> EndRequest {
    let ShutdownOnSignal { save, nosave, now, force } = wish;
    EndRequest { save: (save || nosave).then_some(save), force, now, client: None, by_signal: true }
}

/// The signals that ask for the end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self, String> {
        let on = |kind| signal(kind).map_err(|error| format!("Cannot wait for signals: {error}"));
        let (terminate, interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
        // A log that is rotated away must not end the process.
        Ok(Self { terminate, interrupt, hangup: on(SignalKind::hangup())? })
    }
}

/// The name of the next signal that asks for the end.
async fn next_signal(signals: &mut Option<Signals>) -> &'static str {
    let Some(signals) = signals else { return std::future::pending().await };
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return "SIGTERM",
            _ = signals.interrupt.recv() => return "SIGINT",
            _ = signals.hangup.recv() => {}
        }
    }
}

/// Waits for a SIGINT.
async fn interrupted(signals: &mut Option<Signals>) {
    match signals {
        Some(signals) => drop(signals.interrupt.recv().await),
        None => std::future::pending().await,
    }
}

/// Waits for replicas and writes the snapshot that a request asks for; false when the node has to go on because it could not be
/// written, or because somebody called the end off.
async fn may_end(server: &Arc<Server>, request: &EndRequest) -> bool {
    server.note_end_request();
    (request.now || replication::wait_for_replicas(server).await) && is_saved(server, request).await
}

/// To a client that waits in SHUTDOWN, and speaks RESP3 or not.
fn tell_that_it_goes_on((client, resp3): (Arc<Client>, bool)) {
    let mut out = Out::new(resp3);
    out.error(&CommandError::text("ERR Errors trying to SHUTDOWN. Check logs."));
    client.mailbox.put(Post::Answer(out.into_bytes()));
}

/// Whether the snapshot that a request asks for is there, if it asks for one.
async fn is_saved(server: &Arc<Server>, request: &EndRequest) -> bool {
    if server.node.log.is_beginning() {
        // Who sends a signal and is not obeyed sends a worse one.
        if request.client.is_some() && !request.force {
            log!(Level::Warning, "Writing initial AOF, can't exit.");
            return false;
        }
        log!(Level::Warning, "Writing initial AOF. Exit anyway.");
    }
    if !request.save.unwrap_or_else(|| !server.settings().save.0.is_empty()) {
        return true;
    }
    // What has come of a full synchronisation so far must not take the place of a whole snapshot.
    if server.is_loading.load(Ordering::Relaxed) {
        return true;
    }
    let Err(error) = persistence::save_at_end(server).await else { return true };
    if request.force {
        log!(Level::Warning, "Ending without a snapshot, as asked for: {error}");
        return true;
    }
    log!(Level::Warning, "Error trying to save the DB, can't exit: {error}");
    false
}
