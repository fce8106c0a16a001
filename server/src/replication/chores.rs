//! What is due once a second while there are replicas, or have been.

use super::{failover, full_sync, memory_limit};
use crate::log;
use crate::logging::Level;
use crate::server::Server;
use baton::replication::failover::Failover;
use baton::replication::random_id;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How often these things are looked at.
const PERIOD_MS: i64 = 1_000;

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const GET_ACK: &[u8] = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";

/// Called often, on one core.
pub fn chores(server: &Arc<Server>) {
    let now_ms = server.node.now_ms();
    failover::look(server, now_ms);
    full_sync::start_if_due(server);
    full_sync::call_off_if_useless(server);
    if now_ms - server.replicas.last_chores_ms.load(Ordering::Relaxed) < PERIOD_MS {
        return;
    }
    server.replicas.last_chores_ms.store(now_ms, Ordering::Relaxed);
    count_good(server, now_ms);
    if server.node.replication().is_replica() {
        // Replicas of a replica are sent what its own primary sends, and nothing else.
        return;
    }
    if server.node.replication().served.count() > 0 {
        server.replicas.alone_since_ms.store(0, Ordering::Relaxed);
        ping(server, now_ms);
    } else {
        close_backlog_if_due(server, now_ms);
    }
}

/// Sends a command that changes nothing to all replicas.
pub fn signal(server: &Server, command: &[u8]) -> u64 {
    let journal = server.node.journal();
    let offset = journal.push_signal(command);
    // Whoever hears of it must not have more than a log that is read after a kill.
    journal.write();
    server.node.replication().served.wake();
    offset
}

/// Asks all replicas to acknowledge the stream up to this offset now, rather than within the second.
pub fn request_acks(server: &Server, offset: u64) {
    let asked = &server.replicas.asked_up_to;
    if server.node.replication().served.count() > 0 && asked.load(Ordering::Acquire) <= offset {
        asked.store(signal(server, GET_ACK), Ordering::Release);
    }
}

fn ping(server: &Server, now_ms: i64) {
    if *server.replicas.failover.lock() != Failover::None || server.is_ending.load(Ordering::Relaxed) {
        // The offset stands still until the replica has reached it, and behind the last snapshot.
        return;
    }
    let period_ms = i64::from(server.settings().repl_ping_replica_period) * 1_000;
    let last = &server.replicas.last_ping_ms;
    if last.load(Ordering::Relaxed) == 0 {
        return last.store(now_ms, Ordering::Relaxed);
    }
    // What comes every second comes when its second has begun, however late the last one was.
    if now_ms - last.load(Ordering::Relaxed) + PERIOD_MS / 2 >= period_ms {
        last.store(now_ms, Ordering::Relaxed);
        signal(server, PING);
    }
}

/// `min-replicas-to-write`
pub fn count_good(server: &Server, now_ms: i64) {
    let settings = server.settings();
    let (wanted, lag_max_s) = (settings.min_replicas_to_write as usize, settings.min_replicas_max_lag);
    let good = server.node.replication().served.count_good(now_ms, i64::from(lag_max_s));
    server.replicas.good.store(good, Ordering::Relaxed);
    let too_few = wanted > 0 && lag_max_s > 0 && good < wanted && !server.node.replication().is_replica();
    server.replicas.too_few.store(too_few, Ordering::Relaxed);
}

/// `repl-backlog-ttl`: without replicas, the backlog is kept for a while only. The history ends with it: the offset stands still
/// from then on, though the data change.
fn close_backlog_if_due(server: &Arc<Server>, now_ms: i64) {
    let replication = server.node.replication();
    let since = &server.replicas.alone_since_ms;
    if !replication.has_backlog() {
        return since.store(0, Ordering::Relaxed);
    }
    let ttl_s = server.settings().repl_backlog_ttl;
    match since.load(Ordering::Relaxed) {
        0 => since.store(now_ms, Ordering::Relaxed),
        since_ms if ttl_s > 0 && now_ms - since_ms > ttl_s * 1_000 => {
            let mut held = server.node.hold_all();
            // Somebody may have come, or the role may have changed, meanwhile.
            if replication.served.count() > 0 || replication.is_replica() {
                return;
            }
            server.node.change_history(|history| history.renew(random_id()));
            held.close_backlog();
            since.store(0, Ordering::Relaxed);
            log!(
                Level::Notice,
                "Replication backlog freed after {ttl_s} seconds without connected replicas."
            );
        }
        _ => {}
    }
}

/// Settings may have changed: the size of the backlog, what is kept for a slow replica, how many must be there.
pub fn settings_changed(server: &Server) {
    let settings = server.settings();
    let replication = server.node.replication();
    if let Some(backlog) = replication.backlog() {
        backlog.resize(settings.repl_backlog_size);
    }
    let limit = memory_limit(server);
    for served in replication.served.all() {
        if let Some((backlog, reader)) = served.reader() {
            backlog.set_limit(reader, limit);
        }
    }
    count_good(server, server.node.now_ms());
}
