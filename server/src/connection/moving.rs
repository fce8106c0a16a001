//! Moving on: a connection that is at rest leaves its event loop with all that it knows, and goes on in that of another core.
//!
//! It is at rest when everything that came has been run as far as it had come whole, and every reply has left. What it is in
//! the middle of otherwise (a transaction, subscriptions, MONITOR, tracking, TLS, half a request) it takes along. Those that
//! wait for the answer of a command stay until they have it, and replicas stay where they are.

use super::{Connection, Event, Resting, Socket};
use crate::client::{Client, End};
use crate::connection::Buffers;
use crate::protocol::Parser;
use crate::server::{Phase, Server};
use crate::session::Session;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A connection between two event loops.
pub struct Moving {
    stream: Resting,
    rest: Rest,
}

/// What a connection is besides its stream.
pub struct Rest {
    session: Session,
    parser: Parser,
    input: Vec<u8>,
    waits: u64,
}

impl Moving {
    /// Whom it is a connection to.
    pub fn client(&self) -> &Arc<Client> {
        &self.rest.session.client
    }

    /// The server that it is a connection of.
    pub fn server(&self) -> &Arc<Server> {
        &self.rest.session.server
    }

    /// The stream, which is to go on in the event loop of the caller, and the rest.
    pub fn split(self) -> (Resting, Rest) {
        (self.stream, self.rest)
    }

    /// The end: what there is to take leave of.
    pub fn into_session(self) -> Session {
        self.rest.session
    }
}

impl Rest {
    /// The connection, with its stream in this event loop.
    pub fn go_on<S: Socket>(self, stream: S, buffers: Rc<Buffers>) -> Connection<S> {
        let Self { session, parser, input, waits } = self;
        Connection { parser, input, waits, ..Connection::new(stream, session, buffers) }
    }

    /// The end: what there is to take leave of.
    pub fn into_session(self) -> Session {
        self.session
    }
}

impl<S: Socket> Connection<S> {
    /// Waits for whatever comes first; none if it is that another core is to serve this connection.
    pub(super) async fn next_or_move(&mut self) -> Option<Event> {
        poll_fn(|cx| self.poll_next_or_move(cx)).await
    }

    fn poll_next_or_move(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        match self.poll_next(cx, true) {
            Poll::Ready(event) => Poll::Ready(Some(event)),
            Poll::Pending if self.is_to_move() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_to_move(&self) -> bool {
        let client = &self.session.client;
        client.wanted_core() != client.core() && self.is_at_rest()
    }

    #[cold]
    fn is_at_rest(&self) -> bool {
        self.session.out.is_empty()
            && self.output.is_empty()
            && !self.parked
            && !self.end_of_input
            && self.session.client.ending() == End::No
            && *self.server.phase.borrow() == Phase::Serving
    }

    /// Takes it out of its event loop. Without its stream it is over: then what there is to take leave of.
    pub fn rest(self) -> Result<Box<Moving>, Box<Session>> {
        let Self { stream, session, parser, input, waits, .. } = self;
        match stream.rest() {
            Ok(stream) => Ok(Box::new(Moving { stream, rest: Rest { session, parser, input, waits } })),
            Err(_) => Err(Box::new(session)),
        }
    }
}
