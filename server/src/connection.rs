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

mod moving;
mod replica;
mod socket;

pub use moving::Moving;
pub use socket::{Carrier, Resting, Socket};

use crate::client::{End, Post};
use crate::commands::Work;
use crate::flusher::{Flusher, Until};
use crate::protocol::{Limits, Parser, ProtocolError};
use crate::server::Server;
use crate::session::{After, Session, Step, SyncWait};
use baton::batch::Call;
use baton::held::Identity;
use baton::journal::{self, Verdict};
use baton::registry::Registered;
use baton::replication::served::Served;
use baton::scripts::stack::{self, Started};
use baton_engine::command::Flag;
use baton_engine::error::CommandError;
use baton_engine::reply::{Out, Reply};
use futures_util::FutureExt;
use smallvec::SmallVec;
use std::cell::RefCell;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// What a read may bring at once.
const READ_BYTES: usize = 64 * 1024;
/// Requests that are cut out of a buffer before they are run.
const REQUESTS_MAX: usize = 1024;
/// A client whose unread replies pass this is not read from until it has taken some.
const UNREAD_MAX: usize = 256 * 1024 * 1024;
/// After how long a command looks again whether a script is still in its way.
const BUSY_PAUSE: Duration = Duration::from_millis(2);
/// What a blocked client may send ahead.
const AHEAD_MAX: usize = 1024 * 1024;
/// Scripts for whose keys memory is asked for at once, while the first of them runs.
const LOOK_AHEAD: usize = 32;
/// Replies that are sent before the rest of a long pipeline is run.
const FLUSH_BYTES: usize = 256 * 1024;
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
        let expected = self.parser.expected().min(READ_BYTES * 16);
        let spare = self.input.capacity() - self.input.len();
        if spare < READ_BYTES / 4 || spare < expected {
            self.input.reserve(READ_BYTES.max(expected));
        }
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
                }
                Poll::Pending
            }
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

    /// Runs the requests that the parser has cut out.
    async fn run_requests(&mut self) {
        while !self.parser.requests().is_empty() {
            let server = &*self.server;
            let mut done = 0;
            let mut after = After::Go;
            // The replies so far are so long that they had better leave first.
            let mut full = false;
            let (before, mut pushes) = (self.session.out.len(), journal::pushes_here());
            {
                let args: Vec<&[u8]> = self.parser.spans().iter().map(|span| span.of(&self.input)).collect();
                let (mut at, mut plain) = (0, self.session.is_plain());
                let mut batch: Vec<Call<'_, '_>> = Vec::with_capacity(self.parser.requests().len());
                let mut looked_at = 0;
                for (place, count) in self.parser.requests().iter().enumerate() {
                    let request = &args[at..at + count];
                    at += count;
                    match self.session.step(server, plain, request) {
                        Step::Batch(call) => {
                            batch.push(call);
                            // What it changed of what this client has read is told right behind its reply.
                            if self.session.tracking.is_on() && call.command.has(Flag::Write) {
                                full = !run_batch(
                                    &mut self.session,
                                    &self.buffers,
                                    &mut batch,
                                    &mut done,
                                    &mut pushes,
                                )
                                .await;
                                self.session.write_messages();
                                if full {
                                    break;
                                }
                            }
                        }
                        Step::Alone(command) => {
                            full = !run_batch(
                                &mut self.session,
                                &self.buffers,
                                &mut batch,
                                &mut done,
                                &mut pushes,
                            )
                            .await;
                            if full {
                                break;
                            }
                            after = match command {
                                Ok(command) if self.session.runs_scripts(command) => {
                                    if place >= looked_at {
                                        looked_at = place + LOOK_AHEAD;
                                        let next =
                                            self.parser.requests()[place + 1..].iter().take(LOOK_AHEAD);
                                        let mut left = &args[at..];
                                        let next = next.filter_map(|count| left.split_off(..*count));
                                        self.session.look_ahead(command, next);
                                    }
                                    let (end, took_long) =
                                        run_scripts(&mut self.session, command, request).await;
                                    if took_long {
                                        // What it left in the log was pushed by another thread.
                                        pushes = u64::MAX;
                                    }
                                    end
                                }
                                command => self.session.run(command, request),
                            };
                            done += 1;
                            full = self.session.out.len() >= before + FLUSH_BYTES;
                            if full || !matches!(after, After::Go) {
                                break;
                            }
                            plain = self.session.is_plain();
                        }
                    }
                }
                full = full
                    || !run_batch(&mut self.session, &self.buffers, &mut batch, &mut done, &mut pushes).await;
                // One that waits is counted when its wait is over.
                let waits =
                    matches!(after, After::Paused | After::Busy | After::Wait { .. } | After::Work { .. });
                self.session.count_commands(done - usize::from(waits));
                note_at_once(&self.session, done);
                let large = server.node.large_requests.threshold();
                if large.is_some_and(|bytes| self.input.len() as u64 >= bytes) {
                    note_large_requests(&self.session, &args, &self.parser.requests()[..done]);
                }
            }
            self.note_journaled(pushes);
            if matches!(after, After::Paused | After::Busy) {
                // The same request again once the pause is over.
                done -= 1;
            }
            let bytes = self.parser.consume(done);
            self.input.drain(..bytes);
            if !matches!(after, After::Go | After::Close) {
                // Boxed: waiting is rare, and the future of every idle connection has room for all it ever does.
                Box::pin(self.settle(after)).await;
            }
            if full {
                if self.is_over_limit() {
                    self.session.client.end(End::Now);
                }
                self.flush_some().await;
            }
            if self.session.client.ending() != End::No || self.becomes.is_some() {
                return;
            }
        }
    }

    /// Runs the only request that there is, if nothing but a free baton is needed for that: how most clients work, and
    /// nothing has to be allocated for it. False if nothing has been done.
    fn run_only_request(&mut self) -> bool {
        let pushes = journal::pushes_here();
        let Some(done) = self.try_only_request() else { return false };
        self.note_journaled(pushes);
        self.session.client.last_command.store(done, Ordering::Relaxed);
        self.session.count_commands(1);
        note_at_once(&self.session, 1);
        let bytes = self.parser.consume(1);
        self.input.drain(..bytes);
        true
    }

    /// The number of the command if it has been run.
    fn try_only_request(&mut self) -> Option<usize> {
        let (session, node) = (&mut self.session, &self.server.node);
        let spans = self.parser.spans().get(..*self.parser.requests().first()?)?;
        let args: SmallVec<[&[u8]; 16]> = spans.iter().map(|span| span.of(&self.input)).collect();
        let plain = session.is_plain();
        let Step::Batch(call) = session.step(&self.server, plain, &args) else { return None };
        if node.large_requests.threshold().is_some_and(|bytes| self.input.len() as u64 >= bytes) {
            return None;
        }
        let mut out = self.buffers.for_replies(session.out.bytes_mut());
        let done = node.run_batch_now(&session.who, session.client.core(), &[call], &mut out);
        *session.out.bytes_mut() = out;
        (done > 0).then_some(call.command.id)
    }

    /// Does what a command asked the connection to do.
    async fn settle(&mut self, after: After) {
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
    async fn wait_for_answer(
        &mut self,
        until_ms: Option<i64>,
        blocked: Option<&baton::held::Blocked>,
    ) -> WaitEnd {
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
            let reading = self.input.len() < AHEAD_MAX;
            let mut acknowledged = pin!(node.replication().served.acknowledged().notified());
            let event = poll_fn(|cx| {
                if sync.local {
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
    fn conclude_wait(
        &mut self,
        command: usize,
        end: WaitEnd,
        timeout: &Reply,
        blocked: Option<&baton::held::Blocked>,
    ) {
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
        let ns = blocked.map_or(0, baton::held::Blocked::spent_ns);
        session.count_handled(command, &args, ns, reply_bytes, failed);
        session.count_commands(1);
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
        self.session.client.query_bytes.store(self.input.len(), Ordering::Relaxed);
        self.session.client.query_memory.store(self.input.capacity(), Ordering::Relaxed);
    }

    /// `client-query-buffer-limit`: whether the client has sent so much ahead that it has to go.
    fn is_over_query_limit(&mut self) -> bool {
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
    fn is_over_limit(&mut self) -> bool {
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

/// Runs a command that runs scripts: on this thread for a turn, and on one of its own if it takes longer. True with what is to
/// be done after it if it did.
async fn run_scripts(session: &mut Session, command: &Registered, request: &[&[u8]]) -> (After, bool) {
    // Scripts wait for nothing, so this is all that can come after them.
    enum End {
        Go,
        Close,
        Paused,
        Busy,
        Sleep(Duration),
    }
    let work = || match session.run(Ok(command), request) {
        After::Close => End::Close,
        After::Paused => End::Paused,
        After::Busy => End::Busy,
        After::Sleep(time) => End::Sleep(time),
        _ => End::Go,
    };
    let (end, took_long) = match stack::start(work) {
        Started::Done(end) => (end, false),
        // Boxed: it is rare, and the future of every idle connection would have room for it.
        Started::Long(long) => (Box::pin(long).await, true),
    };
    let after = match end {
        End::Go => After::Go,
        End::Close => After::Close,
        End::Paused => After::Paused,
        End::Busy => After::Busy,
        End::Sleep(time) => After::Sleep(time),
    };
    (after, took_long)
}

/// Runs the commands collected so far and counts them; false when it stopped because their replies are long. `pushes` is
/// what [`pushes_here`](journal::pushes_here) would be if only others had pushed.
async fn run_batch(
    session: &mut Session,
    buffers: &Buffers,
    batch: &mut Vec<Call<'_, '_>>,
    done: &mut usize,
    pushes: &mut u64,
) -> bool {
    let Some(last) = batch.last() else { return true };
    session.client.last_command.store(last.command.id, Ordering::Relaxed);
    let (node, core) = (&session.server.node, session.client.core());
    let mut out = buffers.for_replies(session.out.bytes_mut());
    let full = out.len() + FLUSH_BYTES;
    let mut run = node.run_batch_now(&session.who, core, batch, &mut out);
    if run < batch.len() && out.len() < full {
        // Boxed: else the future of every idle connection would have room for this.
        let rest = node.run_batch(&session.who, core, &batch[run..], &mut out);
        let (more, of_others) = Box::pin(journal::pushes_of_others(rest)).await;
        run += more;
        *pushes += of_others;
    }
    *session.out.bytes_mut() = out;
    *done += run;
    let all = run == batch.len();
    batch.clear();
    all
}

/// Puts the large ones of the requests that have just been run into the log. Only called when all of the input
/// together is large enough.
#[cold]
fn note_large_requests(session: &Session, args: &[&[u8]], counts: &[usize]) {
    let (registry, mut rest) = (&session.server.node.registry, args);
    for count in counts {
        let (request, after) = rest.split_at(*count);
        rest = after;
        // As it came: a header for the array and for each argument, and line ends.
        let line = |n: usize| 3 + n.max(1).ilog10() as u64 + 1;
        let bytes =
            request.iter().map(|arg| line(arg.len()) + arg.len() as u64 + 2).sum::<u64>() + line(*count);
        if let Some(command) = registry.find(request[0]) {
            let sub = request.get(1).and_then(|name| registry.subcommand(command, name));
            session.note_large_request(sub.unwrap_or(command), request, bytes);
        }
    }
}

fn note_at_once(session: &Session, done: usize) {
    let figures = &session.server.cores[session.client.core()];
    // Only this core writes it: no need for more than a look, nearly always.
    if done as u64 > figures.commands_at_once_max.load(Ordering::Relaxed) {
        figures.commands_at_once_max.store(done as u64, Ordering::Relaxed);
    }
}
