//! What a client may send ahead, and what it may leave unread.

use super::{Connection, Socket};
use crate::client::End;
use std::sync::atomic::Ordering;

impl<S: Socket> Connection<S> {
    /// `client-query-buffer-limit`: whether the client has sent so much ahead that it has to go.
    pub(super) fn is_over_query_limit(&mut self) -> bool {
        // No limit is shorter.
        if self.input.len() <= 1024 * 1024 {
            return false;
        }
        let server = &self.session.server;
        let over = self.input.len() as u64 > server.settings().client_query_buffer_limit;
        if over {
            server.counters.query_limit_closed.fetch_add(1, Ordering::Relaxed);
            crate::log!(
                crate::logging::Level::Warning,
                "Closing client that reached max query buffer length: id={} addr={}",
                self.session.client.id,
                self.session.client.address()
            );
            self.session.client.end(End::Now);
        }
        over
    }

    /// `client-output-buffer-limit`: whether the client has to go.
    pub(super) fn is_over_limit(&mut self) -> bool {
        let unread = self.unread();
        let client = &self.session.client;
        if unread <= 16 * 1024 {
            client.over_soft_since.store(0, Ordering::Relaxed);
            return false;
        }
        let settings = self.session.server.settings();
        let limits = client.output_limit(&settings);
        let now_ms = self.session.server.node.now_ms();
        let over_soft = limits.soft_bytes > 0 && unread as u64 > limits.soft_bytes;
        let since = client.over_soft_since.load(Ordering::Relaxed);
        match (over_soft, since) {
            (false, _) => client.over_soft_since.store(0, Ordering::Relaxed),
            (true, 0) => client.over_soft_since.store(now_ms, Ordering::Relaxed),
            (true, _) => {}
        }
        let too_long = over_soft && since > 0 && now_ms - since >= limits.soft_seconds * 1_000;
        let over = too_long || limits.hard_bytes > 0 && unread as u64 > limits.hard_bytes;
        if over {
            self.session.server.counters.output_limit_closed.fetch_add(1, Ordering::Relaxed);
            crate::log!(
                crate::logging::Level::Warning,
                "Client id={} addr={} closed for overcoming of output buffer limits: {unread} bytes unread.",
                client.id,
                client.address()
            );
        }
        over
    }
}
