//! The connection of a replica: its snapshot and the stream go out, its acknowledgements come in.
//!
//! What to do is what the state machine of the replica says (`baton::replication::primary`); here it is done, as far as the
//! socket takes it. The stream is read from the backlog as much at once as there is, so that a replica's socket is written
//! once per turn of its core.

use super::{Connection, Event, Socket};
use crate::client::End;
use crate::commands::client::describe;
use crate::log;
use crate::logging::Level;
use crate::replication::{call_off_if_useless, count_good, limits, memory_limit};
use crate::server::Server;
use baton::replication::backlog::Lost;
use baton::replication::catch_up::catch_up;
use baton::replication::primary::{self, Action, How, Why};
use baton::replication::served::Served;
use baton::replication::transfer;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

/// Read from the backlog at once.
const STREAM_BYTES: usize = 256 * 1024;
/// Sent to a replica before the other connections of its core have their turn. A socket may take a snapshot as fast as it is made.
const TURN_BYTES: usize = 256 * 1024;
/// How often time passes for a replica.
const TICK: Duration = Duration::from_millis(100);

/// What is being sent.
enum Sends {
    /// Nothing: it waits.
    Nothing,
    /// A snapshot; behind it, if there is one, this mark.
    Snapshot { mark: Option<[u8; 40]> },
    /// The stream, from the log on disk.
    Log,
    /// The stream, from the backlog.
    Stream,
}

/// Ends what is kept for a replica when its connection ends, however it does.
struct Leaving {
    server: Arc<Server>,
    served: Arc<Served>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.server.node.replication().served.remove(self.served.id);
        call_off_if_useless(&self.server);
        let name = format!("{}:{}", self.served.address(), self.served.with(|replica| replica.facts.port));
        log!(Level::Notice, "Connection with replica {name} lost.");
    }
}

impl<S: Socket> Connection<S> {
    /// Serves a replica until its connection ends.
    pub(super) async fn serve_replica(&mut self, served: Arc<Served>) {
        // Not critical if it fails.
        drop(self.stream.set_nodelay(!self.server.settings().repl_disable_tcp_nodelay));
        let leaving = Leaving { server: self.server.clone(), served: served.clone() };
        let mut sends = Sends::Nothing;
        // What the command has answered comes before all else.
        self.output.extend_from_slice(self.session.out.as_bytes());
        self.session.out.truncate(0);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let event = poll_fn(|cx| {
                if tick.poll_tick(cx).is_ready() {
                    self.pass_time(&served);
                    // It has to ask to be woken again.
                    let _ = tick.poll_tick(cx);
                }
                self.poll_replica(cx, &served, &mut sends)
            });
            match event.await {
                Event::Over => break,
                // Nobody posts anything to a replica that it should get.
                Event::Posts => self.session.client.mailbox.arrived().for_each(drop),
                Event::Input => {
                    // Boxed: it may lead here, and is rare.
                    Box::pin(self.process()).await;
                    self.release_input();
                    if !self.session.out.is_empty() {
                        self.end_for_reply();
                    }
                }
            }
        }
        self.session.client.end(End::Now);
        drop(leaving);
    }

    /// The replica gave a command that is answered. The answer has no place in the stream, and who gives such commands is not what
    /// it says.
    fn end_for_reply(&mut self) {
        let (server, client) = (&self.server, &self.session.client);
        let command = match client.last_command.load(Ordering::Relaxed) {
            usize::MAX => "<unknown>",
            id => &server.node.registry.get(id).name,
        };
        let reply = self.session.out.as_bytes();
        if reply.starts_with(b"-") {
            let error = String::from_utf8_lossy(reply.trim_ascii());
            log!(
                Level::Warning,
                "== CRITICAL == This master is sending an error to its replica: '{error}' after processing the command '{command}'"
            );
        }
        let described = describe(server, client, 0);
        log!(
            Level::Warning,
            "Replica generated a reply to command '{command}', disconnecting it: {}",
            String::from_utf8_lossy(&described)
        );
        self.session.out.truncate(0);
        self.session.client.end(End::Now);
    }

    /// Sends what there is to send, and waits for what comes first.
    fn poll_replica(&mut self, cx: &mut Context<'_>, served: &Arc<Served>, sends: &mut Sends) -> Poll<Event> {
        self.session.client.mailbox.register(cx);
        served.register(cx.waker());
        let mut sent = 0;
        loop {
            if self.session.client.ending() == End::Now {
                return Poll::Ready(Event::Over);
            }
            match self.poll_output(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Event::Over),
                Poll::Pending => {
                    // A replica that takes nothing has to go all the same when it must.
                    if let Some(why) = served.closing() {
                        self.close_replica(served, why);
                        return Poll::Ready(Event::Over);
                    }
                    break;
                }
            }
            if sent >= TURN_BYTES {
                cx.waker().wake_by_ref();
                break;
            }
            if !self.fill(cx, served, sends) {
                if self.session.client.ending() == End::AfterReply {
                    return Poll::Ready(Event::Over);
                }
                break;
            }
            sent += self.output.len();
        }
        if self.session.client.mailbox.has_post() {
            return Poll::Ready(Event::Posts);
        }
        if self.end_of_input { Poll::Ready(Event::Over) } else { self.poll_read(cx) }
    }

    /// Puts what comes next into the output, which is empty; false when there is nothing.
    fn fill(&mut self, cx: &Context<'_>, served: &Arc<Served>, sends: &mut Sends) -> bool {
        if self.output.capacity() == 0 {
            self.output = self.buffers.lend();
        }
        while let Some(action) = served.next_action() {
            self.act(action, served, sends);
        }
        match sends {
            Sends::Nothing => {}
            Sends::Snapshot { mark } => {
                let mark = *mark;
                self.fill_snapshot(cx, served, mark, sends);
            }
            Sends::Log => self.fill_from_log(cx, served, sends),
            Sends::Stream => self.fill_stream(served, sends),
        }
        let bytes = self.output.len();
        if bytes == 0 {
            let unused = std::mem::take(&mut self.output);
            self.buffers.take_replies_back(unused);
        }
        self.server.replicas.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
        bytes > 0
    }

    fn fill_snapshot(
        &mut self,
        cx: &Context<'_>,
        served: &Served,
        mark: Option<[u8; 40]>,
        sends: &mut Sends,
    ) {
        let Some(transfer) = served.transfer() else { return };
        transfer.register(cx.waker());
        match transfer.next() {
            transfer::Next::Wait => {}
            transfer::Next::Chunk(chunk) => {
                self.tell(served, primary::Event::Progress);
                self.output.extend_from_slice(&chunk);
            }
            transfer::Next::Over(transfer::End::Failed) => {
                self.tell(served, primary::Event::SnapshotFailed);
            }
            transfer::Next::Over(transfer::End::Whole) => {
                if let Some(mark) = mark {
                    self.output.extend_from_slice(&mark);
                }
                *sends = Sends::Nothing;
                served.end_transfer();
                self.tell(served, primary::Event::Sent);
                count_good(&self.server, self.server.node.now_ms());
                let name = served.address();
                if mark.is_some() {
                    log!(
                        Level::Notice,
                        "Streamed RDB transfer with replica {name} succeeded (socket). Waiting for REPLCONF ACK from slave to \
                         enable streaming"
                    );
                } else {
                    log!(Level::Notice, "Synchronization with replica {name} succeeded");
                }
            }
        }
    }

    fn fill_stream(&mut self, served: &Arc<Served>, sends: &mut Sends) {
        let Some((backlog, reader)) = served.reader() else { return };
        if let Err(Lost) = backlog.read(reader, STREAM_BYTES, &mut self.output) {
            let from = backlog.position(reader);
            served.leave_stream();
            self.catch_up(served, from, sends);
        }
    }

    /// Goes on with what the log on disk has, if it has it.
    fn catch_up(&mut self, served: &Arc<Served>, from: Option<u64>, sends: &mut Sends) {
        let limit = memory_limit(&self.server);
        match from.filter(|from| catch_up(&self.server.node, served, *from, limit)) {
            Some(from) => {
                let name = served.address();
                log!(Level::Notice, "Replica {name} goes on at offset {from} with the append only file");
                *sends = Sends::Log;
            }
            None => self.tell(served, primary::Event::Lost),
        }
    }

    fn fill_from_log(&mut self, cx: &Context<'_>, served: &Served, sends: &mut Sends) {
        let Some(transfer) = served.transfer() else { return };
        transfer.register(cx.waker());
        match transfer.next() {
            transfer::Next::Wait => {}
            transfer::Next::Chunk(chunk) => self.output.extend_from_slice(&chunk),
            transfer::Next::Over(transfer::End::Failed) => self.tell(served, primary::Event::Lost),
            transfer::Next::Over(transfer::End::Whole) => {
                served.end_transfer();
                *sends = Sends::Stream;
                // There may be more to send at once.
                served.wake();
            }
        }
    }

    fn act(&mut self, action: Action, served: &Arc<Served>, sends: &mut Sends) {
        match action {
            Action::Nothing => {}
            Action::Newline => self.output.push(b'\n'),
            Action::Announce { how, from } => {
                let is_old = served.with(|replica| replica.facts.is_old);
                if !is_old {
                    let id = self.server.node.replication().history().id;
                    self.output.extend_from_slice(format!("+FULLRESYNC {id} {from}\r\n").as_bytes());
                }
                if how == How::Diskless {
                    let mark = eof_mark();
                    self.output.extend_from_slice(b"$EOF:");
                    self.output.extend_from_slice(&mark);
                    self.output.extend_from_slice(b"\r\n");
                    *sends = Sends::Snapshot { mark: Some(mark) };
                }
            }
            // Its length is its first chunk.
            Action::SendFile => *sends = Sends::Snapshot { mark: None },
            Action::Follow if served.reader().is_none() => {
                // It goes on before the beginning of the backlog.
                let from = served.with(|replica| replica.has);
                self.catch_up(served, Some(from), sends);
            }
            Action::Follow => *sends = Sends::Stream,
            Action::Close(why) => self.close_replica(served, why),
        }
    }

    fn close_replica(&self, served: &Served, why: Why) {
        let client = &self.session.client;
        let name = served.address();
        match why {
            Why::Silent => log!(Level::Warning, "Disconnecting timedout replica (streaming sync): {name}"),
            Why::Stuck => log!(Level::Warning, "Disconnecting timedout replica (full sync): {name}"),
            Why::SnapshotFailed => {
                log!(Level::Warning, "The snapshot for replica {name} failed: it has to ask again")
            }
            Why::TooSlow => {
                self.server.counters.output_limit_closed.fetch_add(1, Ordering::Relaxed);
                log!(
                    Level::Warning,
                    "Client id={} addr={} closed for overcoming of output buffer limits.",
                    client.id,
                    client.address()
                );
            }
        }
        client.end(End::Now);
    }

    fn pass_time(&mut self, served: &Served) {
        let behind = served
            .reader()
            .and_then(|(backlog, reader)| Some(backlog.end().saturating_sub(backlog.position(reader)?)));
        let mut unread = behind.unwrap_or(0) + (self.output.len() - self.written) as u64;
        self.session.client.output_bytes.store(unread as usize, Ordering::Relaxed);
        let limit = memory_limit(&self.server);
        if limit > 0 && unread > limit && self.server.node.journal().has_file() {
            // It costs no memory any more: what it lacks is on disk.
            unread = 0;
        }
        if self.written == self.output.len() {
            // What there was it has taken: that there is no more may be the fault of another one, with which it shares a
            // snapshot.
            self.tell(served, primary::Event::Progress);
        }
        self.tell(served, primary::Event::Tick { unread });
    }

    fn tell(&self, served: &Served, event: primary::Event) {
        served.tell(event, self.server.node.now_ms(), &limits(&self.server.settings()));
    }
}

/// 40 characters that no snapshot has at its end by chance.
fn eof_mark() -> [u8; 40] {
    let id = baton::replication::random_id();
    let mut mark = [b'0'; 40];
    mark.copy_from_slice(id.as_str().as_bytes());
    mark
}
