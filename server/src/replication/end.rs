//! The end of a primary: its replicas are given the time to take what they lack (`shutdown-timeout`).

use super::request_acks;
use crate::log;
use crate::logging::Level;
use crate::server::Server;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often the replicas are looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until all replicas have the whole stream, or `shutdown-timeout` is over. Clients may not write meanwhile. False: the end
/// was called off.
pub async fn wait_for_replicas(server: &Arc<Server>) -> bool {
    let timeout = Duration::from_secs(u64::from(server.settings().shutdown_timeout));
    let offset = server.node.journal().pushed();
    let served = &server.node.replication().served;
    let is_ready = |offset: u64| served.all().iter().all(|replica| replica.with(|it| it.has >= offset));
    if timeout.is_zero() || server.node.replication().is_replica() || is_ready(offset) {
        return true;
    }
    let paused = server.current_pause();
    server.pause(i64::MAX, false);
    log!(Level::Notice, "Waiting for replicas before shutting down.");
    // Under all batons: what was admitted before the pause has left its effects by then.
    let offset = server.node.hold_all().join_stream().0;
    request_acks(server, offset);
    let start = Instant::now();
    let ends_at_ms = server.node.now_ms() + timeout.as_millis() as i64;
    server.replicas.ends_at_ms.store(ends_at_ms, Ordering::Relaxed);
    let mut is_called_off = false;
    while !is_ready(offset) && start.elapsed() < timeout && !is_called_off {
        tokio::time::sleep(LOOK).await;
        is_called_off = server.replicas.end_called_off.swap(false, Ordering::AcqRel);
    }
    server.replicas.ends_at_ms.store(0, Ordering::Relaxed);
    tell(server, offset);
    if is_called_off {
        server.unpause();
        if let Some(pause) = paused {
            server.pause(pause.until_ms, pause.all);
        }
    }
    !is_called_off
}

/// Who lags behind.
fn tell(server: &Server, offset: u64) {
    let all = server.node.replication().served.all();
    let lagging = all.iter().filter(|replica| replica.with(|it| it.has < offset));
    for replica in lagging.clone() {
        let (behind, lag, state) = replica.with(|it| {
            (offset.saturating_sub(it.has), it.lag_s(server.node.now_ms()), it.state().unwrap_or_default())
        });
        log!(
            Level::Notice,
            "Lagging replica {} reported offset {behind} behind master, lag={lag}, state={state}.",
            replica.address()
        );
    }
    let in_sync = all.len() - lagging.count();
    log!(Level::Notice, "{in_sync} of {} replicas are in sync when shutting down.", all.len());
}
