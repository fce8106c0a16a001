//! A core: a thread with its own event loop, its share of the listeners, its connections and its chores.

use crate::accept::{Accepted, Listener, accept};
use crate::admit::{go_on, open};
use crate::client::End;
use crate::connection::{Buffers, Moving};
use crate::flusher::Flusher;
use crate::log;
use crate::logging::Level;
use crate::memory;
use crate::persistence;
use crate::replication;
use crate::server::{Phase, Server};
use baton::snapshot::Next;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::runtime::LocalOptions;
use tokio::sync::mpsc;

/// What comes to a core from elsewhere.
pub enum Arrival {
    /// A connection, counted for the core already.
    Connection(Accepted),
    /// One that another core served until now, counted for this one already.
    Moving(Box<Moving>),
    /// Accept from these from now on, and from nothing else.
    Listen(Vec<Listener>),
}

/// Entries that one step of the active expiry looks at.
const EXPIRE_BUDGET: usize = 20_000;
/// What the active expiry may take of a core per second at effort 1.
const EXPIRE_SHARE: f64 = 0.25;

/// Runs a core until the node ends.
pub fn run(
    server: Arc<Server>,
    core: usize,
    listeners: Vec<Listener>,
    inlet: mpsc::UnboundedReceiver<Arrival>,
) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    server.gathering.measure_this_thread(core);
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            log!(Level::Warning, "Core {core} cannot start its event loop: {error}");
            return server.shut_down();
        }
    };
    runtime.block_on(serve(server, core, listeners, inlet));
}

async fn serve(
    server: Arc<Server>,
    core: usize,
    listeners: Vec<Listener>,
    mut inlet: mpsc::UnboundedReceiver<Arrival>,
) {
    let mut phase = server.phase.subscribe();
    // The end may have begun before this core did.
    phase.mark_changed();
    let flusher = Rc::new(Flusher::new(server.node.clone(), core));
    let buffers = Rc::new(Buffers::new(flusher.clone()));
    let flushing = tokio::task::spawn_local({
        let flusher = flusher.clone();
        async move { flusher.run().await }
    });
    let accept_all = |listeners: Vec<Listener>| -> Vec<_> {
        let start =
            |listener| tokio::task::spawn_local(accept(server.clone(), core, listener, buffers.clone()));
        listeners.into_iter().map(start).collect()
    };
    let mut accepting = accept_all(listeners);
    let chores = tokio::task::spawn_local(chores(server.clone(), core, flusher));
    let saving = tokio::task::spawn_local(save_along(server.clone(), core));
    let building = tokio::task::spawn_local(build_along(server.clone(), core));
    loop {
        tokio::select! {
            changed = phase.changed() => {
                if changed.is_err() || *phase.borrow() == Phase::Ending {
                    break;
                }
            }
            arrival = inlet.recv() => match arrival {
                None => break,
                Some(Arrival::Connection(accepted)) => open(&server, core, accepted, &buffers),
                Some(Arrival::Moving(moving)) => go_on(moving, &buffers),
                Some(Arrival::Listen(listeners)) => {
                    accepting.iter().for_each(|task| task.abort());
                    accepting = accept_all(listeners);
                }
            },
        }
    }
    accepting.iter().for_each(|task| task.abort());
    chores.abort();
    saving.abort();
    building.abort();
    for client in server.all_clients().iter().filter(|client| client.core() == core) {
        client.end(End::AfterReply);
    }
    // What has been answered leaves; who does not take it in time is cut off.
    let deadline = Instant::now() + Duration::from_secs(1);
    while server.cores[core].connections.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
        while let Ok(arrival) = inlet.try_recv() {
            match arrival {
                Arrival::Moving(moving) => go_on(moving, &buffers),
                Arrival::Connection(_) => {
                    server.cores[core].connections.fetch_sub(1, Ordering::Relaxed);
                }
                Arrival::Listen(_) => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    flushing.abort();
}

/// How long a core that has clients to serve leaves a snapshot alone between two steps. Without it the thread would
/// never sleep, and the system would give its processor to others for milliseconds, clients or not.
const SAVING_PAUSE: Duration = Duration::from_millis(1);
/// When a core looks again whether there is something for it to do about a snapshot.
const SAVING_LOOK: Duration = Duration::from_millis(5);

/// Takes part in snapshots: a little between one turn of the event loop and the next, of its own slots and then of others'.
///
/// A loop that serves nobody does so only while there is a processor for it. Else it would take its time from loops that
/// serve, and be sent to sleep by them with a baton in its hands: they do its share better themselves.
async fn save_along(server: Arc<Server>, core: usize) {
    let commands = &server.cores[core].commands;
    let step = || {
        let cores = server.cores.len();
        let mut steps = (0..cores).map(|next| server.node.snapshot_step((core + next) % cores));
        steps.find(|next| *next != Next::Done).unwrap_or(Next::Done)
    };
    loop {
        server.saving[core].notified().await;
        let mut seen = commands.load(Ordering::Relaxed);
        while server.node.snapshots.is_running() {
            let next = if server.gathering.may_save(core) { step() } else { Next::Done };
            match next {
                Next::Step => {
                    let now = commands.load(Ordering::Relaxed);
                    if now == seen {
                        tokio::task::yield_now().await;
                    } else {
                        seen = now;
                        tokio::time::sleep(SAVING_PAUSE).await;
                    }
                }
                Next::Pause(time) => tokio::time::sleep(time).await,
                Next::Done => tokio::time::sleep(SAVING_LOOK).await,
                Next::Rest => break,
            }
        }
    }
}

/// Builds the slots that are still in a file, a few between one turn of the event loop and the next.
async fn build_along(server: Arc<Server>, core: usize) {
    let mut loads = server.loads.subscribe();
    loads.mark_changed();
    while loads.changed().await.is_ok() {
        while server.node.build_step(core) {
            tokio::task::yield_now().await;
        }
    }
}

/// What a core does besides serving: expiry, idle clients, limits, figures.
async fn chores(server: Arc<Server>, core: usize, flusher: Rc<Flusher>) {
    for turn in 0_u64.. {
        let hz = server.settings().hz.clamp(1, 500);
        tokio::time::sleep(Duration::from_millis(u64::from(1_000 / hz))).await;
        if core == 0 {
            persistence::tell_progress(&server);
        }
        if server.cron_paused.load(Ordering::Relaxed) || server.is_loading.load(Ordering::Relaxed) {
            continue;
        }
        let start = Instant::now();
        expire(&server, core, hz).await;
        close_idle(&server, core);
        close_slow_readers(&server, core);
        // Half of the time is for clients.
        while server.node.evict_step(core) && start.elapsed().as_millis() < u128::from(500 / hz) {
            tokio::task::yield_now().await;
        }
        while server.node.forget_step(core) && start.elapsed().as_millis() < u128::from(500 / hz) {
            tokio::task::yield_now().await;
        }
        // What expired and was evicted; and whatever somebody left who writes no log.
        flusher.kick();
        if core == 0 {
            server.peak_memory.fetch_max(server.node.used_memory(), Ordering::Relaxed);
            server.current_pause();
            server.sample_rates();
            server.gather();
            server.evict_clients_thoroughly();
            if turn.is_multiple_of(u64::from(hz)) {
                memory::give_back();
            }
            persistence::chores(&server);
            replication::chores(&server);
        }
        let (figures, us) = (&server.cores[core], start.elapsed().as_micros() as u64);
        figures.chores.fetch_add(1, Ordering::Relaxed);
        figures.chores_us.fetch_add(us, Ordering::Relaxed);
        figures.chores_us_max.fetch_max(us, Ordering::Relaxed);
    }
}

/// Active expiry in small steps, so that no request waits long behind it.
async fn expire(server: &Arc<Server>, core: usize, hz: u32) {
    if !server.active_expire.load(Ordering::Relaxed) {
        return;
    }
    let effort = f64::from(server.node.settings().active_expire_effort.max(1));
    let share = (EXPIRE_SHARE + 0.02 * (effort - 1.0)) / f64::from(hz);
    let deadline = Instant::now() + Duration::from_secs_f64(share);
    let mut longest = Duration::ZERO;
    loop {
        let step = Instant::now();
        let more = server.node.expire_step(core, EXPIRE_BUDGET);
        let now = Instant::now();
        longest = longest.max(now - step);
        if !more || now >= deadline {
            break;
        }
        tokio::task::yield_now().await;
    }
    let now_s = server.node.now_ms() / 1_000;
    server.node.latency.note("expire-cycle", longest.as_millis() as u64, now_s);
}

/// `timeout`: closes clients that have been silent for too long.
fn close_idle(server: &Server, core: usize) {
    let timeout = i64::from(server.settings().timeout);
    if timeout == 0 {
        return;
    }
    let now_ms = server.node.now_ms();
    for client in server.clients.read().values().filter(|client| client.core() == core) {
        let silent = now_ms - client.last_ms.load(Ordering::Relaxed) > timeout * 1_000;
        let excused = client.is_blocked.load(Ordering::Relaxed)
            || client.subscriptions() > 0
            || client.is_monitor.load(Ordering::Relaxed)
            || client.is_replica.load(Ordering::Relaxed);
        if silent && !excused {
            log!(Level::Verbose, "Closing idle client id={} addr={}", client.id, client.address());
            client.end(End::Now);
        }
    }
}

/// `client-output-buffer-limit`: closes clients that have been over the soft limit for too long, though nothing happens.
fn close_slow_readers(server: &Server, core: usize) {
    let (settings, now_ms) = (server.settings(), server.node.now_ms());
    for client in server.clients.read().values().filter(|client| client.core() == core) {
        let since = client.over_soft_since.load(Ordering::Relaxed);
        let limit = client.output_limit(&settings);
        if since > 0 && now_ms - since >= limit.soft_seconds * 1_000 && client.ending() == End::No {
            server.counters.output_limit_closed.fetch_add(1, Ordering::Relaxed);
            log!(
                Level::Warning,
                "Client id={} addr={} closed for overcoming of output buffer limits.",
                client.id,
                client.address()
            );
            client.end(End::Now);
        }
    }
}
