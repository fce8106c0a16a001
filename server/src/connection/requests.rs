//! The requests that have come are run: together as far as they may be, one by one where they must.

use super::{Buffers, Connection, Socket};
use crate::client::End;
use crate::session::{After, Session, Step};
use baton::batch::Call;
use baton::journal;
use baton::registry::Registered;
use baton::scripts::stack::{self, Started};
use baton_engine::command::Flag;
use smallvec::SmallVec;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Scripts for whose keys memory is asked for at once, while the first of them runs.
const LOOK_AHEAD: usize = 32;
/// Replies that are sent before the rest of a long pipeline is run.
const FLUSH_BYTES: usize = 256 * 1024;

/// Commands that are to be run together, and how far the requests have come.
struct Collected<'a, 'b> {
    calls: Vec<Call<'a, 'b>>,
    /// Requests that have been run.
    done: usize,
    /// What [`pushes_here`](journal::pushes_here) would be if only others had pushed.
    pushes: u64,
}

impl Collected<'_, '_> {
    /// Runs the commands collected so far and counts them; false when it stopped because their replies are long.
    async fn run(&mut self, session: &mut Session, buffers: &Buffers) -> bool {
        let Some(last) = self.calls.last() else { return true };
        session.client.last_command.store(last.command.id, Ordering::Relaxed);
        let (node, core) = (&session.server.node, session.client.core());
        let mut out = buffers.for_replies(session.out.bytes_mut());
        let full = out.len() + FLUSH_BYTES;
        let mut run = node.run_batch_now(&session.who, core, &self.calls, &mut out);
        if run < self.calls.len() && out.len() < full {
            // Boxed: else the future of every idle connection would have room for this.
            let rest = node.run_batch(&session.who, core, &self.calls[run..], &mut out);
            let (more, of_others) = Box::pin(journal::pushes_of_others(rest)).await;
            run += more;
            self.pushes += of_others;
        }
        *session.out.bytes_mut() = out;
        self.done += run;
        let all = run == self.calls.len();
        self.calls.clear();
        all
    }
}

impl<S: Socket> Connection<S> {
    /// Runs the requests that the parser has cut out.
    pub(super) async fn run_requests(&mut self) {
        while !self.parser.requests().is_empty() {
            let server = &*self.server;
            let mut after = After::Go;
            let before = self.session.out.len();
            let args: Vec<&[u8]> = self.parser.spans().iter().map(|span| span.of(&self.input)).collect();
            let counts = self.parser.requests();
            let calls = Vec::with_capacity(counts.len());
            let mut collected = Collected { calls, done: 0, pushes: journal::pushes_here() };
            // The replies so far are so long that they had better leave first.
            let mut full = false;
            let (mut at, mut looked_at, mut plain) = (0, 0, self.session.is_plain());
            for (place, count) in counts.iter().enumerate() {
                let request = &args[at..at + count];
                at += count;
                let command = match self.session.step(server, plain, request) {
                    Step::Batch(call) => {
                        collected.calls.push(call);
                        // What it changed of what this client has read is told right behind its reply.
                        if self.session.tracking.is_on() && call.command.has(Flag::Write) {
                            full = !collected.run(&mut self.session, &self.buffers).await;
                            self.session.write_messages();
                            if full {
                                break;
                            }
                        }
                        continue;
                    }
                    Step::Alone(command) => command,
                };
                full = !collected.run(&mut self.session, &self.buffers).await;
                if full {
                    break;
                }
                after = match command {
                    Ok(command) if self.session.runs_scripts(command) => {
                        if place >= looked_at {
                            looked_at = place + LOOK_AHEAD;
                            let mut left = &args[at..];
                            let next = counts[place + 1..].iter().take(LOOK_AHEAD);
                            self.session
                                .look_ahead(command, next.filter_map(|count| left.split_off(..*count)));
                        }
                        let (end, took_long) = run_scripts(&mut self.session, command, request).await;
                        if took_long {
                            // What it left in the log was pushed by another thread.
                            collected.pushes = u64::MAX;
                        }
                        end
                    }
                    command => self.session.run(command, request),
                };
                collected.done += 1;
                full = self.session.out.len() >= before + FLUSH_BYTES;
                if full || !matches!(after, After::Go) {
                    break;
                }
                plain = self.session.is_plain();
            }
            full = full || !collected.run(&mut self.session, &self.buffers).await;
            let Collected { mut done, pushes, .. } = collected;
            // One that waits is counted when its wait is over.
            let waits =
                matches!(after, After::Paused | After::Busy | After::Wait { .. } | After::Work { .. });
            self.session.count_requests(done - usize::from(waits));
            note_at_once(&self.session, done);
            let large = server.node.large_requests.threshold();
            if large.is_some_and(|bytes| self.input.len() as u64 >= bytes) {
                note_large_requests(&self.session, &args, &counts[..done]);
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
    pub(super) fn run_only_request(&mut self) -> bool {
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
