//! What a connection does while a command of its client waits: for a key, the log, work that is done besides, the end of a pause.

use super::{Connection, Event, Socket};
use crate::client::{End, Post};
use crate::commands::Work;
use crate::commands::replication::NO_LOG;
use crate::flusher::Until;
use crate::session::{After, SyncWait};
use baton::held::Blocked;
use baton_engine::error::CommandError;
use baton_engine::reply::Reply;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

/// After how long a command looks again whether a script is still in its way.
const BUSY_PAUSE: Duration = Duration::from_millis(2);
/// What a blocked client may send ahead.
const AHEAD_MAX: usize = 1024 * 1024;

/// How a wait ended.
enum WaitEnd {
    /// The command has been served.
    Answer(Vec<u8>),
    /// The time is over, or somebody said so.
    Timeout,
    /// Somebody ended it with an error.
    Error(&'static str),
    /// There is no client any more.
    Gone,
}

impl<S: Socket> Connection<S> {
    /// Does what a command asked the connection to do.
    pub(super) async fn settle(&mut self, after: After) {
        let client = self.session.client.clone();
        match after {
            After::Go => return,
            After::Close => return,
            After::Replicate(link) => {
                self.becomes = Some(link);
                return;
            }
            After::Sleep(time) => {
                self.flush_some().await;
                tokio::time::sleep(time).await;
                return;
            }
            After::Work { command, work } => {
                let end = self.wait_for_work(work).await;
                // It may have changed something, which must be safe before its reply leaves.
                self.session.journaled = self.server.node.journal().pushed();
                self.buffers.flusher.kick();
                return self.conclude_wait(command, end, &Reply::Null, None);
            }
            After::Busy => return tokio::time::sleep(BUSY_PAUSE).await,
            After::Paused | After::Wait { .. } => {}
        }
        client.is_blocked.store(true, Ordering::Relaxed);
        self.session.server.blocked.fetch_add(1, Ordering::Relaxed);
        match after {
            After::Paused => self.wait_for_pause().await,
            After::Wait { command, blocked, until_ms, timeout, sync } => {
                self.waits += 1;
                client.wait.store(self.waits, Ordering::Release);
                let end = match sync {
                    None => self.wait_for_answer(until_ms, blocked.as_ref()).await,
                    Some(sync) => self.wait_for_sync(until_ms, sync).await,
                };
                client.wait.store(0, Ordering::Release);
                self.conclude_wait(command, end, &timeout, blocked.as_ref());
            }
            _ => {}
        }
        self.session.server.blocked.fetch_sub(1, Ordering::Relaxed);
        client.is_blocked.store(false, Ordering::Relaxed);
    }

    async fn wait_for_pause(&mut self) {
        while let Some(pause) = self.session.server.current_pause() {
            let left = (pause.until_ms - self.session.server.node.now_ms()).max(1) as u64;
            let reading = self.input.len() < AHEAD_MAX;
            match tokio::time::timeout(Duration::from_millis(left), self.next(reading)).await {
                Ok(Event::Over) => return self.session.client.end(End::Now),
                Ok(Event::Posts) => {
                    for post in self.session.client.clone().mailbox.arrived() {
                        if let Post::Bytes(bytes) = post {
                            self.session.out.bytes_mut().extend_from_slice(&bytes);
                        }
                    }
                }
                Ok(Event::Input) | Err(_) => {}
            }
        }
    }

    /// Waits until the blocked command is answered, or not answered any more.
    async fn wait_for_answer(&mut self, until_ms: Option<i64>, blocked: Option<&Blocked>) -> WaitEnd {
        let node = self.session.server.node.clone();
        // False: it is just being served, the answer is on its way.
        let cancel = || blocked.is_none_or(|blocked| blocked.cancel(&node));
        loop {
            let reading = self.input.len() < AHEAD_MAX;
            let event = match until_ms {
                None => self.next(reading).await,
                Some(until_ms) => {
                    let left = Duration::from_millis((until_ms - node.now_ms()).max(0) as u64);
                    match tokio::time::timeout(left, self.next(reading)).await {
                        Ok(event) => event,
                        Err(_) if cancel() => {
                            // An answer that came before we cancelled still counts.
                            return self.answer_in_mailbox().map_or(WaitEnd::Timeout, WaitEnd::Answer);
                        }
                        Err(_) => {
                            tokio::task::yield_now().await;
                            continue;
                        }
                    }
                }
            };
            match event {
                Event::Input => {}
                Event::Over => {
                    // Until then somebody may be serving it, and must not find it in line once more.
                    while !cancel() {
                        tokio::task::yield_now().await;
                    }
                    self.session.client.end(End::Now);
                    return WaitEnd::Gone;
                }
                Event::Posts => {
                    for post in self.session.client.clone().mailbox.arrived() {
                        match post {
                            Post::Answer(answer) => return WaitEnd::Answer(answer),
                            Post::Bytes(bytes) => self.session.out.bytes_mut().extend_from_slice(&bytes),
                            Post::Unblock { wait, with_error } if wait == self.waits => {
                                if cancel() {
                                    let end = with_error.map_or(WaitEnd::Timeout, WaitEnd::Error);
                                    return self.answer_in_mailbox().map_or(end, WaitEnd::Answer);
                                }
                                // It is just being served, perhaps in vain: ask again behind its answer.
                                tokio::task::yield_now().await;
                                self.session.client.mailbox.put(Post::Unblock { wait, with_error });
                            }
                            Post::Unblock { .. } | Post::Wake => {}
                        }
                    }
                }
            }
        }
    }

    /// Waits until work that is done besides is over. It ends with its client.
    async fn wait_for_work(&mut self, Work(mut work): Work) -> WaitEnd {
        loop {
            let reading = self.input.len() < AHEAD_MAX;
            let event = poll_fn(|cx| match work.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(Err(answer)),
                Poll::Pending => self.poll_next(cx, reading).map(Ok),
            });
            match event.await {
                Err(answer) => return WaitEnd::Answer(answer),
                Ok(Event::Input) => {}
                Ok(Event::Posts) => self.session.write_messages(),
                Ok(Event::Over) => {
                    self.session.client.end(End::Now);
                    return WaitEnd::Gone;
                }
            }
        }
    }

    /// WAIT, WAITAOF: waits until the log has been synced far enough here or by replicas, or the time is over.
    async fn wait_for_sync(&mut self, until_ms: Option<i64>, sync: SyncWait) -> WaitEnd {
        let node = self.server.node.clone();
        // What was pushed may not have been written yet.
        self.buffers.flusher.kick();
        // Told apart from the round for replies, which this connection may ask for as well.
        let mut asked = 0;
        while !sync.is_over(&node) {
            if sync.local && !self.server.settings().appendonly {
                return WaitEnd::Error(NO_LOG);
            }
            let reading = self.input.len() < AHEAD_MAX;
            let mut acknowledged = pin!(node.replication().served.acknowledged().notified());
            let event = poll_fn(|cx| {
                // Without a file this connection hears of it when there is one.
                if sync.local && node.journal().has_file() {
                    self.buffers.flusher.wait(Until::Synced(sync.offset), &mut asked, cx.waker());
                }
                if acknowledged.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                if sync.is_over(&node) { Poll::Ready(None) } else { self.poll_next(cx, reading).map(Some) }
            });
            let event = match until_ms {
                None => event.await,
                Some(until_ms) => {
                    let left = Duration::from_millis((until_ms - node.now_ms()).max(0) as u64);
                    match tokio::time::timeout(left, event).await {
                        Ok(event) => event,
                        Err(_) => break,
                    }
                }
            };
            match event {
                None | Some(Event::Input) => {}
                Some(Event::Over) => {
                    self.session.client.end(End::Now);
                    return WaitEnd::Gone;
                }
                Some(Event::Posts) => {
                    for post in self.session.client.clone().mailbox.arrived() {
                        match post {
                            Post::Bytes(bytes) => self.session.out.bytes_mut().extend_from_slice(&bytes),
                            Post::Unblock { wait, with_error: Some(error) } if wait == self.waits => {
                                return WaitEnd::Error(error);
                            }
                            Post::Unblock { wait, .. } if wait == self.waits => {
                                return WaitEnd::Answer(sync.answer(&node));
                            }
                            Post::Unblock { .. } | Post::Wake | Post::Answer(_) => {}
                        }
                    }
                }
            }
        }
        WaitEnd::Answer(sync.answer(&node))
    }

    fn answer_in_mailbox(&mut self) -> Option<Vec<u8>> {
        for post in self.session.client.clone().mailbox.arrived() {
            match post {
                // What came after it stays behind it.
                Post::Answer(bytes) => return Some(bytes),
                Post::Bytes(bytes) => self.session.out.bytes_mut().extend_from_slice(&bytes),
                Post::Wake | Post::Unblock { .. } => {}
            }
        }
        None
    }

    /// Writes the reply of a command that has waited.
    fn conclude_wait(&mut self, command: usize, end: WaitEnd, timeout: &Reply, blocked: Option<&Blocked>) {
        if blocked.is_some() && matches!(end, WaitEnd::Answer(_)) {
            // Whoever served the command has pushed what it left, and may have left the writing to us.
            self.session.journaled = self.server.node.journal().pushed();
            self.buffers.flusher.kick();
        }
        let session = &mut self.session;
        let start = session.out.len();
        // Its user may not have it run any more.
        let rejected = matches!(&end, WaitEnd::Answer(answer) if answer.starts_with(b"-NOPERM "));
        let failed = match &end {
            WaitEnd::Answer(answer) => answer.starts_with(b"-"),
            WaitEnd::Error(_) => true,
            WaitEnd::Timeout | WaitEnd::Gone => false,
        };
        match end {
            WaitEnd::Gone => return,
            WaitEnd::Answer(answer) => {
                if failed {
                    session.server.cores[session.client.core()].book.lock().note_error(&answer);
                }
                session.out.bytes_mut().extend_from_slice(&answer);
            }
            WaitEnd::Timeout => session.out.reply(timeout),
            WaitEnd::Error(error) => session.refuse(&CommandError::text(error)),
        }
        let reply_bytes = session.out.len() - start;
        if session.is_silent() {
            session.out.truncate(start);
        }
        session.end_skip();
        if rejected {
            return session.count_rejected(command);
        }
        let args: Vec<&[u8]> = blocked.iter().flat_map(|blocked| blocked.args()).map(|arg| &**arg).collect();
        let ns = blocked.map_or(0, Blocked::spent_ns);
        session.count_handled(command, &args, ns, reply_bytes, failed);
        session.count_commands(1);
    }
}
