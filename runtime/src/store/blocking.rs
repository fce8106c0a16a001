//! Commands that wait for an element: the thread waits, or a future does.

use super::access::{not_nested, with_list, with_out};
use super::reply::{FromReply, Reader};
use super::{End, Error, Store};
use crate::held::Blocked;
use crate::journal::pushes_here;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::{Condvar, Mutex};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Where the answer to a command that waits is left, by whoever brings what it waits for.
#[derive(Default)]
struct Answer {
    reply: Mutex<Option<Vec<u8>>>,
    arrived: Condvar,
    waker: AtomicWaker,
}

/// A command that waits.
pub(super) struct Wait {
    blocked: Blocked,
    answer: Arc<Answer>,
}

impl Wait {
    /// The answer if it is there; else has the context woken when it comes.
    pub(super) fn poll(&self, context: &Context<'_>) -> Option<Vec<u8>> {
        self.answer.waker.register(context.waker());
        self.answer.reply.lock().take()
    }

    /// Waits for the answer until the time is over; none then.
    pub(super) fn wait(&self, store: &Store, until: Option<Instant>) -> Option<Vec<u8>> {
        let mut until = until;
        loop {
            let mut reply = self.answer.reply.lock();
            while reply.is_none() {
                match until {
                    None => self.answer.arrived.wait(&mut reply),
                    Some(until) if self.answer.arrived.wait_until(&mut reply, until).timed_out() => break,
                    Some(_) => {}
                }
            }
            if let Some(reply) = reply.take() {
                return Some(reply);
            }
            drop(reply);
            if self.blocked.cancel(&store.inner.node) {
                return None;
            }
            // It is being served at this moment: the answer is on its way.
            until = None;
        }
    }
}

/// How a blocking command began.
pub(super) enum Begun<T> {
    Done(T),
    Waits(Wait),
}

impl Store {
    /// Runs a blocking command; what it waits for is told by others.
    pub(super) fn begin_wait<T: FromReply>(&self, args: &[&[u8]]) -> Result<Begun<T>, Error> {
        let inner = &*self.inner;
        let pushes = pushes_here();
        not_nested(&inner.node)?;
        let command = inner.command(args)?;
        inner.admit(command, args)?;
        let answer = Arc::new(Answer::default());
        let own = answer.clone();
        let tell = Box::new(move |reply: Vec<u8>| {
            *own.reply.lock() = Some(reply);
            own.arrived.notify_all();
            own.waker.wake();
        });
        let begun = with_out(|out| {
            let mut held = inner.node.hold(|node| node.cores_of(command, args));
            let blocked = held.run_blocking(&self.who, command, args, out, Box::new(|_| Ok(())), tell);
            held.finish();
            match blocked {
                Some(blocked) => Ok(Begun::Waits(Wait { blocked, answer })),
                None => T::from_reply(&mut Reader::new(out.as_bytes())).map(Begun::Done),
            }
        });
        inner.acknowledge(pushes)?;
        begun
    }

    /// The answer that others gave, once it is as safe as the policy of the log says.
    pub(super) fn take_answer<T: FromReply>(&self, reply: &[u8]) -> Result<T, Error> {
        self.inner.acknowledge_all()?;
        T::from_reply(&mut Reader::new(reply))
    }

    pub(super) fn wait_for<T: FromReply>(
        &self,
        args: &[&[u8]],
        timeout: Option<Duration>,
    ) -> Result<Option<T>, Error> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        match self.begin_wait::<Option<T>>(args)? {
            Begun::Done(reply) => Ok(reply),
            Begun::Waits(wait) => match wait.wait(self, until) {
                Some(reply) => self.take_answer(&reply),
                None => Ok(None),
            },
        }
    }

    /// Takes the first element of the first of these lists that has one, and its key. Waits for one to come, for ever
    /// without a timeout. Those who wait are served in the order in which they came.
    ///
    /// # Errors
    /// A key holds another type, or there are no keys.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let store = baton::Store::memory();
    /// let worker = std::thread::spawn({
    ///     let store = store.clone();
    ///     move || store.blpop(["jobs"], None)
    /// });
    /// store.rpush("jobs", ["one"])?;
    /// assert_eq!(worker.join().unwrap()?, Some(("jobs".into(), "one".into())));
    /// assert_eq!(store.blpop(["jobs"], Some(Duration::from_millis(1)))?, None);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn blpop(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
        timeout: Option<Duration>,
    ) -> Result<Option<(Bytes, Bytes)>, Error> {
        self.wait_in_line(b"BLPOP", keys, timeout)
    }

    /// As [`blpop`](Self::blpop), the last element.
    ///
    /// # Errors
    /// As [`blpop`](Self::blpop).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.rpush("jobs", ["one", "two"])?;
    /// assert_eq!(store.brpop(["jobs"], None)?, Some(("jobs".into(), "two".into())));
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn brpop(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
        timeout: Option<Duration>,
    ) -> Result<Option<(Bytes, Bytes)>, Error> {
        self.wait_in_line(b"BRPOP", keys, timeout)
    }

    /// Takes the member with the lowest score of the first of these sorted sets that has one: its key, and the member with its
    /// score. Waits as [`blpop`](Self::blpop).
    ///
    /// # Errors
    /// As [`blpop`](Self::blpop).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.zadd("due", "job", 10.0)?;
    /// assert_eq!(store.bzpopmin(["due"], None)?, Some(("due".into(), "job".into(), 10.0)));
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn bzpopmin(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
        timeout: Option<Duration>,
    ) -> Result<Option<(Bytes, Bytes, f64)>, Error> {
        self.wait_in_line(b"BZPOPMIN", keys, timeout)
    }

    /// As [`bzpopmin`](Self::bzpopmin), the highest score.
    ///
    /// # Errors
    /// As [`blpop`](Self::blpop).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.zadd("due", "job", 10.0)?;
    /// assert!(store.bzpopmax(["due"], None)?.is_some());
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn bzpopmax(
        &self,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
        timeout: Option<Duration>,
    ) -> Result<Option<(Bytes, Bytes, f64)>, Error> {
        self.wait_in_line(b"BZPOPMAX", keys, timeout)
    }

    /// As [`lmove`](Self::lmove), but waits for an element, as [`blpop`](Self::blpop) does: a queue that loses no job whose
    /// worker dies.
    ///
    /// # Errors
    /// As [`blpop`](Self::blpop).
    ///
    /// ```
    /// use baton::store::End;
    ///
    /// let store = baton::Store::memory();
    /// store.rpush("todo", ["job"])?;
    /// assert_eq!(store.blmove("todo", "doing", End::Left, End::Right, None)?.unwrap(), "job");
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn blmove(
        &self,
        from: impl AsRef<[u8]>,
        to: impl AsRef<[u8]>,
        take: End,
        put: End,
        timeout: Option<Duration>,
    ) -> Result<Option<Bytes>, Error> {
        self.wait_for(&[b"BLMOVE", from.as_ref(), to.as_ref(), take.word(), put.word(), b"0"], timeout)
    }

    fn wait_in_line<T: FromReply>(
        &self,
        name: &'static [u8],
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
        timeout: Option<Duration>,
    ) -> Result<Option<T>, Error> {
        with_list(&[name], keys, |args| {
            let mut args = args.to_vec();
            args.push(b"0");
            self.wait_for(&args, timeout)
        })
    }

    /// As [`blpop`](Self::blpop), for asynchronous code of any runtime: put a timeout of yours around it. A future that is
    /// dropped gives up its place; an element that it had been given at that very moment is put back where it was.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// let store = baton::Store::memory();
    /// let other = store.clone();
    /// std::thread::spawn(move || other.rpush("jobs", ["one"]));
    /// assert_eq!(store.blpop_async(["jobs"]).await.unwrap(), ("jobs".into(), "one".into()));
    /// # });
    /// ```
    pub fn blpop_async(&self, keys: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Pop {
        self.pop_async(End::Left, keys)
    }

    /// As [`blpop_async`](Self::blpop_async), the last element.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// let store = baton::Store::memory();
    /// store.rpush("jobs", ["one", "two"]).unwrap();
    /// assert_eq!(store.brpop_async(["jobs"]).await.unwrap().1, "two");
    /// # });
    /// ```
    pub fn brpop_async(&self, keys: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Pop {
        self.pop_async(End::Right, keys)
    }

    fn pop_async(&self, end: End, keys: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Pop {
        let name: &[u8] = if end == End::Left { b"BLPOP" } else { b"BRPOP" };
        let mut args: Vec<Box<[u8]>> = vec![name.into()];
        args.extend(keys.into_iter().map(|key| Box::from(key.as_ref())));
        args.push(Box::from(&b"0"[..]));
        Pop { store: self.clone(), end, args, wait: None }
    }
}

impl<A: FromReply, B: FromReply, C: FromReply> FromReply for (A, B, C) {
    fn from_reply(reader: &mut Reader<'_>) -> Result<Self, Error> {
        match reader.value()? {
            super::Item::Array(3) => {
                Ok((A::from_reply(reader)?, B::from_reply(reader)?, C::from_reply(reader)?))
            }
            _ => Err(Error::Mismatch { wanted: "an array of three", found: "something else" }),
        }
    }
}

/// The future of an element: its key, and itself. See [`Store::blpop_async`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct Pop {
    store: Store,
    end: End,
    args: Vec<Box<[u8]>>,
    wait: Option<Wait>,
}

impl Future for Pop {
    type Output = Result<(Bytes, Bytes), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.wait.is_none() {
            let args: Vec<&[u8]> = self.args.iter().map(|arg| &**arg).collect();
            match self.store.begin_wait(&args) {
                Ok(Begun::Done(reply)) => return Poll::Ready(Ok(reply)),
                Ok(Begun::Waits(wait)) => self.wait = Some(wait),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let Some(reply) = self.wait.as_ref().and_then(|wait| wait.poll(context)) else {
            return Poll::Pending;
        };
        self.wait = None;
        Poll::Ready(self.store.take_answer(&reply))
    }
}

impl Drop for Pop {
    fn drop(&mut self) {
        let Some(wait) = self.wait.take() else { return };
        if not_nested(&self.store.inner.node).is_err() {
            // Dropped inside of a closure that the store runs: to leave the line here would be to wait for ourselves.
            let rest = Self { store: self.store.clone(), end: self.end, args: Vec::new(), wait: Some(wait) };
            drop(std::thread::spawn(move || drop(rest)));
            return;
        }
        // The time is over already: it is cancelled, or the answer is there, or just coming.
        let Some(reply) = wait.wait(&self.store, Some(Instant::now())) else { return };
        if let Ok((key, element)) = <(Bytes, Bytes)>::from_reply(&mut Reader::new(&reply)) {
            let put_back = match self.end {
                End::Left => self.store.lpush(key, [element]),
                End::Right => self.store.rpush(key, [element]),
            };
            // The log or the memory may refuse: as it would have refused the loss.
            drop(put_back);
        }
    }
}

impl std::fmt::Debug for Pop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pop").field("waits", &self.wait.is_some()).finish_non_exhaustive()
    }
}
