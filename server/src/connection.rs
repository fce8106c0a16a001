//! A connection: bytes in, batches and single commands, bytes out.
//!
//! | state    | what is waited for                                                          |
//! |----------|-----------------------------------------------------------------------------|
//! | serving  | requests, posts, room to write                                              |
//! | waiting  | the answer of a blocked command, its time, an unblock; requests queue up     |
//! | paused   | the end of CLIENT PAUSE                                                     |
//! | parked   | that what its commands left is safe in the log, before their replies leave  |
//! | ending   | that what has been written has left                                         |
//! | moving   | nothing: another core is to serve it from here on (`moving`)                |
//!
//! An idle connection holds no buffers: it reads into one that its core lends it, and keeps only what is left of a
//! request that has not come whole. A client that does not read its replies is not read from either once so many of
//! them wait that memory would suffer.

mod limits;
mod moving;
mod replica;
mod requests;
mod socket;
mod waiting;

pub use moving::Moving;
pub use socket::{Carrier, Resting, Socket};

use crate::client::End;
use crate::flusher::{Flusher, Until};
use crate::protocol::{Limits, Parser, ProtocolError};
use crate::server::Server;
use crate::session::Session;
use baton::held::Identity;
use baton::journal::{self, Verdict};
use baton::replication::served::Served;
use baton_engine::error::CommandError;
use baton_engine::reply::Out;
use futures_util::FutureExt;
use std::cell::RefCell;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// What a read may bring at once.
const READ_BYTES: usize = 64 * 1024;
/// Room that is made for an argument because a client says that it is to come.
const CLAIM_MAX: usize = 16 * READ_BYTES;
/// Requests that are cut out of a buffer before they are run.
const REQUESTS_MAX: usize = 1024;
/// A client whose unread replies pass this is not read from until it has taken some.
const UNREAD_MAX: usize = 256 * 1024 * 1024;
/// What a core keeps in buffers that nobody uses.
const KEEP_BYTES: usize = 512 * 1024;

/// Short replies that wait for the log at the same time, as a rule.
const SHORT_MAX: usize = 64;

/// What the connections of a core share: buffers and parsers, and what writes the log for all of them.
pub struct Buffers {
    bytes: RefCell<Vec<Vec<u8>>>,
    parsers: RefCell<Vec<Parser>>,
    /// For short replies. One is enough when each has left before the next connection has its turn.
    short: RefCell<Vec<Vec<u8>>>,
    flusher: Rc<Flusher>,
}

impl Buffers {
    /// None yet.
    pub fn new(flusher: Rc<Flusher>) -> Self {
        Self { bytes: RefCell::default(), parsers: RefCell::default(), short: RefCell::default(), flusher }
    }

    fn lend(&self) -> Vec<u8> {
        self.bytes.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(READ_BYTES))
    }

    fn take_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut all = self.bytes.borrow_mut();
        let kept: usize = all.iter().map(Vec::capacity).sum();
        if buffer.capacity() >= READ_BYTES && kept + buffer.capacity() <= KEEP_BYTES {
            all.push(buffer);
        }
    }

    /// Takes the replies that wait to leave, to be continued: in a buffer that has grown already, as a rule.
    #[inline]
    fn for_replies(&self, waiting: &mut Vec<u8>) -> Vec<u8> {
        let out = std::mem::take(waiting);
        if out.capacity() > 0 { out } else { self.short.borrow_mut().pop().unwrap_or_default() }
    }

    /// Takes a buffer whose replies have left.
    fn take_replies_back(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() >= READ_BYTES {
            return self.take_back(buffer);
        }
        buffer.clear();
        let mut all = self.short.borrow_mut();
        if all.len() < SHORT_MAX {
            all.push(buffer);
        }
    }

    fn lend_parser(&self) -> Parser {
        self.parsers.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a parser that is done with all its input.
    fn take_parser_back(&self, parser: Parser) {
        let mut all = self.parsers.borrow_mut();
        if all.len() < 8 {
            all.push(parser);
        }
    }
}

/// A connection being served.
pub struct Connection<S> {
    stream: S,
    session: Session,
    /// The session's, for whoever works on it meanwhile.
    server: Arc<Server>,
    buffers: Rc<Buffers>,
    /// The replies that have been written wait for the log.
    parked: bool,
    /// In which round of the flusher this connection asked to be woken.
    asked: u32,
    parser: Parser,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    /// The client has said that it will send no more.
    end_of_input: bool,
    /// How often a command has waited.
    waits: u64,
    /// The client has asked to be served as a replica.
    becomes: Option<Arc<Served>>,
}

/// Why a connection is not served any more.
pub enum Parting {
    /// It is over.
    Over,
    /// Another core is to serve it.
    Moves,
}

/// Something happened on a connection.
enum Event {
    /// Bytes have come.
    Input,
    /// Posts have come.
    Posts,
    /// The connection is over.
    Over,
}

/// Why a connection is over, when it did not just end.
type Stop = Option<ProtocolError>;

impl<S: Socket> Connection<S> {
    /// A connection that has just been accepted.
    pub fn new(stream: S, session: Session, buffers: Rc<Buffers>) -> Self {
        Self {
            stream,
            server: session.server.clone(),
            session,
            buffers,
            parked: false,
            asked: 0,
            parser: Parser::default(),
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            end_of_input: false,
            waits: 0,
            becomes: None,
        }
    }

    /// Serves until the connection ends or moves. Should serving break down, the client hears of it and nobody else does.
    pub async fn serve(&mut self) -> Parting {
        match AssertUnwindSafe(self.serve_on()).catch_unwind().await {
            Ok(served) => served,
            Err(_) => {
                self.session.client.broken();
                let error = b"-ERR internal error: this connection is closed\r\n";
                // A last word: whether it arrives is no longer of interest.
                let _ = tokio::time::timeout(Duration::from_secs(1), self.stream.write_all(error)).await;
                Parting::Over
            }
        }
    }

    /// Tells the client that nothing more will come: what TLS wants to be said.
    pub async fn shut_down(&mut self) -> std::io::Result<()> {
        self.stream.shutdown().await
    }

    /// The end: what there is to take leave of.
    pub fn into_session(self) -> Session {
        self.session
    }

    async fn serve_on(&mut self) -> Parting {
        loop {
            match self.next_or_move().await {
                None => return Parting::Moves,
                Some(Event::Over) => break,
                Some(Event::Posts) => self.take_posts(),
                Some(Event::Input) => {
                    self.process().await;
                    self.release_input();
                }
            }
            if let Some(link) = self.becomes.take() {
                // Boxed: few connections are those of replicas.
                Box::pin(self.serve_replica(link)).await;
            }
            if self.session.client.ending() == End::Now || self.is_over_limit() {
                break;
            }
            self.session.server.evict_clients(&self.session.client);
        }
        Parting::Over
    }

    /// Waits for whatever comes first. Reads only if `reading` and there is room.
    async fn next(&mut self, reading: bool) -> Event {
        poll_fn(|cx| self.poll_next(cx, reading)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, reading: bool) -> Poll<Event> {
        self.session.client.mailbox.register(cx);
        if self.session.client.ending() == End::Now {
            return Poll::Ready(Event::Over);
        }
        if self.session.client.mailbox.has_post() {
            return Poll::Ready(Event::Posts);
        }
        match self.poll_flush(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(Event::Over),
            Poll::Pending if self.unread() > UNREAD_MAX => return Poll::Pending,
            Poll::Pending => {}
        }
        if self.session.client.ending() == End::AfterReply {
            return if self.unread() == 0 { Poll::Ready(Event::Over) } else { Poll::Pending };
        }
        if self.parked {
            return Poll::Pending;
        }
        if !reading || self.end_of_input {
            return if self.end_of_input { Poll::Ready(Event::Over) } else { Poll::Pending };
        }
        self.poll_read(cx)
    }

    /// Writes what there is to write and may leave.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        loop {
            ready!(self.poll_output(cx))?;
            self.parked = !self.session.out.is_empty() && self.waits_for_log(cx);
            if self.session.out.is_empty() || self.parked {
                return Poll::Ready(Ok(()));
            }
            let next = Out::new(self.session.who.resp3);
            self.output = std::mem::replace(&mut self.session.out, next).into_bytes();
            let peak = &self.session.client.output_peak;
            if self.output.len() > peak.load(Ordering::Relaxed) {
                peak.store(self.output.len(), Ordering::Relaxed);
            }
        }
    }

    /// Writes the replies that have begun to leave.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.output.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while self.written < self.output.len() {
            let unwritten = &self.output[self.written..];
            match Pin::new(&mut self.stream).poll_write(cx, unwritten) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => {
                    self.written += n;
                    self.count_out(n);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.note_unread();
                    return Poll::Pending;
                }
            }
        }
        // TLS may hold a part of what it took; a plain socket never does.
        if Pin::new(&mut self.stream).poll_flush(cx)?.is_pending() {
            self.note_unread();
            return Poll::Pending;
        }
        self.written = 0;
        let done = std::mem::take(&mut self.output);
        self.buffers.take_replies_back(done);
        self.note_unread();
        if self.session.client.over_soft_since.load(Ordering::Relaxed) != 0 {
            self.is_over_limit();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.input.capacity() == 0 {
            self.input = self.buffers.lend();
            if self.parser.is_at_rest() {
                self.parser = self.buffers.lend_parser();
            }
        }
        self.make_room();
        let read = tokio_util::io::poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input);
        match read {
            Poll::Ready(Ok(0)) => {
                self.end_of_input = true;
                Poll::Ready(Event::Over)
            }
            Poll::Ready(Ok(n)) => {
                self.count_in(n);
                Poll::Ready(Event::Input)
            }
            Poll::Ready(Err(_)) => Poll::Ready(Event::Over),
            Poll::Pending => {
                if self.input.is_empty() {
                    self.release_input();
                } else {
                    self.note_input();
                }
                Poll::Pending
            }
        }
    }

    /// Makes room for what the next read may bring. A long argument gets what it needs and no more: what a client is
    /// counted for is then what it has sent.
    fn make_room(&mut self) {
        let (len, spare) = (self.input.len(), self.input.capacity() - self.input.len());
        let awaited = self.parser.awaited(len);
        if awaited > 0 && len + awaited > READ_BYTES {
            // A length is the client's claim: it is believed for so much, and then for as much again as has come.
            if spare < awaited.min(CLAIM_MAX / 2) {
                self.input.reserve_exact(awaited.min(CLAIM_MAX.max(len)));
            }
        } else if spare < READ_BYTES / 4 {
            self.input.reserve(READ_BYTES);
        }
    }

    /// Whether the replies must not leave yet. If the log has failed for too long, they never will: the client gets its
    /// error in their place and is disconnected, for it cannot know which of its commands are safe.
    #[inline]
    fn waits_for_log(&mut self, cx: &mut Context<'_>) -> bool {
        let journaled = self.session.journaled;
        if self.server.node.journal().verdict(journaled) == Verdict::Safe {
            return false;
        }
        self.buffers.flusher.wait(Until::Acknowledged(journaled), &mut self.asked, cx.waker());
        match self.server.node.journal().verdict(journaled) {
            Verdict::Safe => false,
            Verdict::Wait => true,
            Verdict::Lost => {
                self.session.lose_replies();
                false
            }
        }
    }

    /// Whether commands since then, when [`pushes_here`](journal::pushes_here) was `before`, have left something in the log.
    #[inline]
    fn note_journaled(&mut self, before: u64) {
        if journal::pushes_here() != before {
            self.session.journaled = self.server.node.journal().pushed();
            self.buffers.flusher.kick();
        }
    }

    /// Runs all requests that have come whole.
    async fn process(&mut self) {
        if self.session.server.is_asleep.load(Ordering::Relaxed) {
            // DEBUG SLEEP stops every core.
            drop(self.session.server.asleep.lock());
        }
        if self.input.len() > READ_BYTES {
            // It is not the one that the core lends.
            self.note_input();
        }
        self.session.server.evict_clients(&self.session.client);
        if self.session.client.ending() == End::Now || self.is_over_query_limit() {
            return;
        }
        loop {
            let limits = Limits {
                bulk_max: self.session.server.node.settings().proto_max_bulk_len as i64,
                authenticated: self.session.is_let_in(),
            };
            // The client's password decides about limits: until it has given it, one request at a time.
            let max = if limits.authenticated { REQUESTS_MAX } else { 1 };
            let stop: Stop = self.parser.parse(&mut self.input, limits, max).err();
            if self.parser.requests().is_empty() && stop.is_none() {
                return;
            }
            if self.parser.requests().len() != 1 || !self.run_only_request() {
                // Boxed: else the future of every idle connection would have room for this.
                Box::pin(self.run_requests()).await;
            }
            if self.session.client.ending() != End::No || self.becomes.is_some() {
                return;
            }
            if let Some(error) = stop {
                self.session.refuse(&CommandError::owned(format!("ERR Protocol error: {error}")));
                self.session.client.end(End::AfterReply);
                return;
            }
        }
    }

    /// Takes what has come from elsewhere while no command is waited for.
    fn take_posts(&mut self) {
        self.session.write_messages();
        self.note_unread();
    }

    /// Sends what there is, as far as the client takes it without waiting.
    async fn flush_some(&mut self) {
        if self.server.node.journal().verdict(self.session.journaled) == Verdict::Wait {
            self.buffers.flusher.write_now();
        }
        poll_fn(|cx| match self.poll_flush(cx) {
            Poll::Ready(Err(_)) => {
                self.session.client.end(End::Now);
                Poll::Ready(())
            }
            Poll::Ready(Ok(())) if self.parked => {
                self.session.client.mailbox.register(cx);
                if self.session.client.ending() == End::Now { Poll::Ready(()) } else { Poll::Pending }
            }
            Poll::Ready(Ok(())) => Poll::Ready(()),
            // Go on reading and running: a client may send its whole pipeline before it reads a reply.
            Poll::Pending if self.unread() <= UNREAD_MAX => Poll::Ready(()),
            Poll::Pending => {
                self.session.client.mailbox.register(cx);
                if self.session.client.ending() == End::Now { Poll::Ready(()) } else { Poll::Pending }
            }
        })
        .await;
    }

    /// Bytes that the client has not taken yet.
    fn unread(&self) -> usize {
        self.output.len() - self.written + self.session.out.len() + self.session.client.mailbox.bytes()
    }

    fn release_input(&mut self) {
        if self.input.is_empty() {
            self.buffers.take_back(std::mem::take(&mut self.input));
            if self.parser.is_at_rest() {
                self.buffers.take_parser_back(std::mem::take(&mut self.parser));
            }
        } else if self.input.capacity() >= READ_BYTES && self.input.len() < READ_BYTES / 4 {
            // The rest of a request waits in a buffer of its own size.
            let rest = self.input.to_vec();
            self.buffers.take_back(std::mem::replace(&mut self.input, rest));
        }
        self.note_input();
    }

    fn note_input(&self) {
        let (args, cut) = self.parser.begun();
        self.session.client.argv_bytes.store(args, Ordering::Relaxed);
        self.session.client.query_bytes.store(self.input.len() - cut, Ordering::Relaxed);
        self.session.client.query_memory.store(self.input.capacity(), Ordering::Relaxed);
    }

    fn note_unread(&self) {
        let bytes = self.output.len() - self.written + self.session.out.len();
        self.session.client.output_bytes.store(bytes, Ordering::Relaxed);
        let memory = self.output.capacity() + self.session.out.capacity();
        self.session.client.output_memory.store(memory, Ordering::Relaxed);
    }

    fn count_in(&self, n: usize) {
        let client = &self.session.client;
        client.bytes_in.store(client.bytes_in.load(Ordering::Relaxed) + n as u64, Ordering::Relaxed);
        client.last_ms.store(self.session.server.node.now_ms(), Ordering::Relaxed);
        let core = &self.session.server.cores[client.core()];
        core.bytes_in.fetch_add(n as u64, Ordering::Relaxed);
        core.reads.fetch_add(1, Ordering::Relaxed);
    }

    fn count_out(&self, n: usize) {
        let client = &self.session.client;
        client.bytes_out.store(client.bytes_out.load(Ordering::Relaxed) + n as u64, Ordering::Relaxed);
        let core = &self.session.server.cores[client.core()];
        core.bytes_out.fetch_add(n as u64, Ordering::Relaxed);
        core.writes.fetch_add(1, Ordering::Relaxed);
    }
}
