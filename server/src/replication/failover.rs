//! FAILOVER, carried out: what its state machine (`baton::replication::failover`) says is done here.

use crate::log;
use crate::logging::Level;
use crate::replica;
use crate::server::Server;
use baton::replication::failover::{Action, Event, Failover, Target};
use baton::replication::link::LinkState;
use baton::replication::primary::Phase;
use baton::replication::served::Served;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Something happened. No baton may be held here.
pub fn on(server: &Arc<Server>, event: Event) {
    let action = server.replicas.failover.lock().on(event);
    match action {
        Action::Nothing => {}
        Action::Pause => {
            log!(Level::Notice, "FAILOVER requested.");
            server.pause(i64::MAX, false);
        }
        Action::HandOver(target) => {
            log!(Level::Notice, "Failover target {}:{} is synced, failing over.", target.host, target.port);
            hand_over(server, target);
        }
        Action::Force(target) => {
            log!(
                Level::Notice,
                "FAILOVER to {}:{} time out exceeded, failing over.",
                target.host,
                target.port
            );
            hand_over(server, target);
        }
        Action::Resume(why) => {
            log!(Level::Notice, "Aborting FAILOVER: {why}");
            server.unpause();
        }
        Action::TakeBack(why) => {
            log!(Level::Notice, "Aborting FAILOVER: {why}");
            replica::promote(server);
            server.unpause();
        }
        Action::Over => server.unpause(),
    }
}

fn hand_over(server: &Arc<Server>, target: Target) {
    server.replicas.failover_refused.store(false, Ordering::Release);
    if let Err(error) = replica::follow(server, target.host, target.port) {
        log!(Level::Warning, "FAILOVER: {error}");
        on(server, Event::Refused);
    }
}

/// How a replica can be reached, if it has told.
pub fn target_of(served: &Served) -> Option<Target> {
    let port = served.with(|replica| replica.facts.port);
    let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
    Some(Target { host: served.address(), port })
}

/// Looks how far it has come. Called often, on one core.
pub(super) fn look(server: &Arc<Server>, now_ms: i64) {
    let state = server.replicas.failover.lock().clone();
    match state {
        Failover::None => {}
        Failover::Waiting { target, .. } => {
            let offset = server.node.journal().pushed();
            let has_all = |served: &Arc<Served>| {
                served.with(|replica| replica.phase == Phase::Online && replica.has == offset)
            };
            let all = server.node.replication().served.all();
            let mut ready =
                all.iter().filter(|served| has_all(served)).filter_map(|served| target_of(served));
            match ready.find(|found| target.as_ref().is_none_or(|target| target == found)) {
                Some(found) => on(server, Event::CaughtUp(found)),
                None => on(server, Event::Tick(now_ms)),
            }
        }
        Failover::HandingOver { .. } => {
            if server.replicas.failover_refused.swap(false, Ordering::AcqRel) {
                return on(server, Event::Refused);
            }
            let state = server.replica.figures().map(|figures| figures.state());
            if matches!(state, Some(LinkState::Sync | LinkState::Connected)) {
                on(server, Event::Accepted);
            }
        }
    }
}
