//! Streams and their groups.

use super::access::{millis, not_nested, with_pairs};
use super::blocking::{Begun, Wait};
use super::reply::{FromReply, Item, Reader};
use super::{Error, Store, commands};
use baton_engine::types::stream::StreamId;
use bytes::Bytes;
use smallvec::SmallVec;
use std::future::Future;
use std::ops::{Bound, RangeBounds};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Entries that [`Store::xrange`] asks for at once.
const PAGE: usize = 100;

/// An entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEntry {
    /// Its id.
    pub id: StreamId,
    /// Its fields with their values, in order. Empty where the entry was deleted while it was pending.
    pub fields: Vec<(Bytes, Bytes)>,
}

impl StreamEntry {
    /// The value of the first field of this name.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.xadd("log", [("level", "info"), ("text", "ready")])?;
    /// let entry = store.xrange("log", ..).next().unwrap()?;
    /// assert_eq!(entry.get("text").unwrap(), "ready");
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn get(&self, field: impl AsRef<[u8]>) -> Option<&Bytes> {
        self.fields.iter().find(|(name, _)| name == field.as_ref()).map(|(_, value)| value)
    }
}

impl FromReply for StreamEntry {
    fn from_reply(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let wrong = |_| Error::Mismatch { wanted: "an entry of a stream", found: "something else" };
        let Item::Array(2) = reader.value()? else { return Err(wrong(())) };
        let id = StreamId::from_reply(reader)?;
        let fields = match reader.value()? {
            Item::Array(len) => {
                (0..len / 2).map(|_| <(Bytes, Bytes)>::from_pair(reader)).collect::<Result<_, _>>()?
            }
            Item::Null => Vec::new(),
            _ => return Err(wrong(())),
        };
        Ok(Self { id, fields })
    }
}

impl FromReply for StreamId {
    fn from_reply(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let wrong = Error::Mismatch { wanted: "the id of an entry", found: "something else" };
        match reader.value()? {
            Item::Bytes(text) => Self::parse(text, 0).ok_or(wrong),
            _ => Err(wrong),
        }
    }
}

/// An entry that a consumer was given and has not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingEntry {
    /// Its id.
    pub id: StreamId,
    /// Who was given it.
    pub consumer: Bytes,
    /// How long ago.
    pub idle: Duration,
    /// How often it was given to somebody.
    pub deliveries: u64,
}

impl FromReply for PendingEntry {
    fn from_reply(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let Item::Array(4) = reader.value()? else {
            return Err(Error::Mismatch { wanted: "a pending entry", found: "something else" });
        };
        let (id, consumer) = (StreamId::from_reply(reader)?, Bytes::from_reply(reader)?);
        let (idle, deliveries) = (u64::from_reply(reader)?, u64::from_reply(reader)?);
        Ok(Self { id, consumer, idle: Duration::from_millis(idle), deliveries })
    }
}

/// What XREAD and XREADGROUP answer about one stream.
struct OfOne(Vec<StreamEntry>);

impl FromReply for OfOne {
    fn from_reply(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let streams = Option::<Vec<(Bytes, Vec<StreamEntry>)>>::from_reply(reader)?;
        Ok(Self(streams.into_iter().flatten().flat_map(|(_, entries)| entries).collect()))
    }
}

/// A range of ids as commands take it, first and last; none for those that cannot hold an id, which commands refuse.
fn limits(ids: &impl RangeBounds<StreamId>) -> Option<[String; 2]> {
    let (start, end) = (ids.start_bound(), ids.end_bound());
    let is_void = start == Bound::Excluded(&StreamId::MAX) || end == Bound::Excluded(&StreamId::MIN);
    (!is_void).then(|| [bound(start, "-"), bound(end, "+")])
}

fn bound(bound: Bound<&StreamId>, infinite: &str) -> String {
    match bound {
        Bound::Included(id) => id.to_string(),
        Bound::Excluded(id) => format!("({id}"),
        Bound::Unbounded => infinite.to_owned(),
    }
}

fn id_texts(ids: impl IntoIterator<Item = StreamId>) -> SmallVec<[String; 4]> {
    ids.into_iter().map(|id| id.to_string()).collect()
}

commands! {
    /// Appends an entry to a stream, which is made when there is none. Its id: the time in milliseconds, and a number.
    ///
    /// # Errors
    /// The key holds another type; this goes for all methods of streams. Or there are no fields, or the store cannot be
    /// written to.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// let first = store.xadd("log", [("level", "info"), ("text", "ready")])?;
    /// let second = store.xadd("log", [("level", "warn"), ("text", "slow")])?;
    /// assert!(first < second);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn xadd(
        &self,
        key: impl AsRef<[u8]>,
        fields: impl IntoIterator<Item = (impl AsRef<[u8]>, impl AsRef<[u8]>)>,
    ) -> Result<StreamId, Error> {
        with_pairs(&[b"XADD", key.as_ref(), b"*"], fields, |args| self.call(args))
    }

    /// As [`xadd`](Self::xadd), with an id that is greater than all before it.
    ///
    /// # Errors
    /// As [`xadd`](Self::xadd), or the id is not greater.
    ///
    /// ```
    /// use baton::store::StreamId;
    ///
    /// let store = baton::Store::memory();
    /// let id = StreamId::new(5, 1);
    /// assert_eq!(store.xadd_at("log", id, [("text", "ready")])?, id);
    /// assert!(store.xadd_at("log", id, [("text", "again")]).is_err());
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn xadd_at(
        &self,
        key: impl AsRef<[u8]>,
        id: StreamId,
        fields: impl IntoIterator<Item = (impl AsRef<[u8]>, impl AsRef<[u8]>)>,
    ) -> Result<StreamId, Error> {
        with_pairs(&[b"XADD", key.as_ref(), &id.text()], fields, |args| self.call(args))
    }

    /// As [`xadd`](Self::xadd), and then removes the oldest entries, so that about so many stay: never fewer, and not many more.
    ///
    /// # Errors
    /// As [`xadd`](Self::xadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// for n in 0..1_000 {
    ///     store.xadd_capped("log", 100, [("n", n.to_string())])?;
    /// }
    /// assert!((100..=200).contains(&store.xlen("log")?));
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn xadd_capped(
        &self,
        key: impl AsRef<[u8]>,
        max_len: usize,
        fields: impl IntoIterator<Item = (impl AsRef<[u8]>, impl AsRef<[u8]>)>,
    ) -> Result<StreamId, Error> {
        let mut max = itoa::Buffer::new();
        let head: [&[u8]; 6] = [b"XADD", key.as_ref(), b"MAXLEN", b"~", max.format(max_len).as_bytes(), b"*"];
        with_pairs(&head, fields, |args| self.call(args))
    }

    /// How many entries a stream has.
    ///
    /// # Errors
    /// As [`xadd`](Self::xadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.xlen("log")?, 0);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn xlen(&self, key: impl AsRef<[u8]>) -> Result<usize, Error> {
        self.call(&[b"XLEN", key.as_ref()])
    }

    /// Up to `count` entries with ids in a range, the first ones first. See [`Store::xrange`] for all of them.
    ///
    /// # Errors
    /// As [`xadd`](Self::xadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// let id = store.xadd("log", [("text", "ready")])?;
    /// assert_eq!(store.xrange_page("log", id.., 10)?[0].id, id);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn xrange_page(
        &self,
        key: impl AsRef<[u8]>,
        ids: impl RangeBounds<StreamId>,
        count: usize,
    ) -> Result<Vec<StreamEntry>, Error> {
        let Some([start, end]) = limits(&ids) else {
            return self.xlen(key).map(|_| Vec::new());
        };
        let count = count.to_string();
        let found: Option<Vec<StreamEntry>> = self.call(&[
            b"XRANGE", key.as_ref(), start.as_bytes(), end.as_bytes(), b"COUNT", count.as_bytes(),
        ])?;
        Ok(found.unwrap_or_default())
    }

    /// Up to `count` entries with ids in a range, the last ones first.
    ///
    /// # Errors
    /// As [`xadd`](Self::xadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.xadd("log", [("text", "old")])?;
    /// let last = store.xadd("log", [("text", "new")])?;
    /// assert_eq!(store.xrev_range("log", .., 1)?[0].id, last);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn xrev_range(
        &self,
        key: impl AsRef<[u8]>,
        ids: impl RangeBounds<StreamId>,
        count: usize,
    ) -> Result<Vec<StreamEntry>, Error> {
        let Some([start, end]) = limits(&ids) else {
            return self.xlen(key).map(|_| Vec::new());
        };
        let count = count.to_string();
        let found: Option<Vec<StreamEntry>> = self.call(&[
            b"XREVRANGE", key.as_ref(), end.as_bytes(), start.as_bytes(), b"COUNT", count.as_bytes(),
        ])?;
        Ok(found.unwrap_or_default())
    }

    /// Deletes entries. How many were there.
    ///
    /// # Errors
    /// As [`xadd`](Self::xadd), or there are no ids.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// let id = store.xadd("log", [("text", "ready")])?;
    /// assert_eq!(store.xdel("log", [id])?, 1);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn xdel(
        &self,
        key: impl AsRef<[u8]>,
        ids: impl IntoIterator<Item = StreamId>,
    ) -> Result<usize, Error> {
        super::access::with_list(&[b"XDEL", key.as_ref()], id_texts(ids), |args| self.call(args))
    }

    /// Removes the oldest entries, so that so many stay. How many went.
    ///
    /// # Errors
    /// As [`xadd`](Self::xadd).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.xadd("log", [("text", "ready")])?;
    /// assert_eq!(store.xtrim("log", 0)?, 1);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn xtrim(&self, key: impl AsRef<[u8]>, max_len: usize) -> Result<usize, Error> {
        let mut max = itoa::Buffer::new();
        self.call(&[b"XTRIM", key.as_ref(), b"MAXLEN", max.format(max_len).as_bytes()])
    }

    /// Up to `count` entries after an id.
    ///
    /// # Errors
    /// As [`xadd`](Self::xadd).
    ///
    /// ```
    /// use baton::store::StreamId;
    ///
    /// let store = baton::Store::memory();
    /// let first = store.xadd("log", [("text", "ready")])?;
    /// assert_eq!(store.xread("log", StreamId::MIN, 10)?.len(), 1);
    /// assert!(store.xread("log", first, 10)?.is_empty());
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn xread(&self, key: impl AsRef<[u8]>, after: StreamId, count: usize) -> Result<Vec<StreamEntry>, Error> {
        self.xrange_page(key, (Bound::Excluded(after), Bound::Unbounded), count)
    }

    /// Makes a group of consumers that is given what comes after an id; the stream too, if there is none. Whether the group
    /// is new.
    ///
    /// # Errors
    /// As [`xadd`](Self::xadd).
    ///
    /// ```
    /// use baton::store::StreamId;
    ///
    /// let store = baton::Store::memory();
    /// assert!(store.xgroup_create("jobs", "workers", StreamId::MIN)?);
    /// assert!(!store.xgroup_create("jobs", "workers", StreamId::MIN)?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn xgroup_create(
        &self,
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        after: StreamId,
    ) -> Result<bool, Error> {
        let made: Result<(), Error> =
            self.call(&[b"XGROUP", b"CREATE", key.as_ref(), group.as_ref(), &after.text(), b"MKSTREAM"]);
        match made {
            Ok(()) => Ok(true),
            Err(error) if error.to_string().starts_with("BUSYGROUP") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes a group with what is pending. Whether it was there.
    ///
    /// # Errors
    /// As [`xadd`](Self::xadd), or there is no such stream.
    ///
    /// ```
    /// use baton::store::StreamId;
    ///
    /// let store = baton::Store::memory();
    /// store.xgroup_create("jobs", "workers", StreamId::MIN)?;
    /// assert!(store.xgroup_destroy("jobs", "workers")?);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn xgroup_destroy(&self, key: impl AsRef<[u8]>, group: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.call(&[b"XGROUP", b"DESTROY", key.as_ref(), group.as_ref()])
    }

    /// Gives a consumer of a group up to `count` entries that nobody else of the group was given. They are pending until
    /// they are acknowledged.
    ///
    /// # Errors
    /// As [`xadd`](Self::xadd), or there is no such stream or group.
    ///
    /// ```
    /// use baton::store::StreamId;
    ///
    /// let store = baton::Store::memory();
    /// store.xgroup_create("jobs", "workers", StreamId::MIN)?;
    /// store.xadd("jobs", [("job", "one")])?;
    /// let given = store.xread_group("jobs", "workers", "ada", 10)?;
    /// assert_eq!(given[0].get("job").unwrap(), "one");
    /// assert!(store.xread_group("jobs", "workers", "bob", 10)?.is_empty());
    /// assert_eq!(store.xack("jobs", "workers", [given[0].id])?, 1);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn xread_group(
        &self,
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        consumer: impl AsRef<[u8]>,
        count: usize,
    ) -> Result<Vec<StreamEntry>, Error> {
        let count = count.to_string();
        let args: [&[u8]; 9] = [
            b"XREADGROUP", b"GROUP", group.as_ref(), consumer.as_ref(), b"COUNT", count.as_bytes(), b"STREAMS",
            key.as_ref(), b">",
        ];
        self.call(&args).map(|OfOne(entries)| entries)
    }

    /// What a consumer was given after an id and has not acknowledged: to go on after it was started anew.
    ///
    /// # Errors
    /// As [`xread_group`](Self::xread_group).
    ///
    /// ```
    /// use baton::store::StreamId;
    ///
    /// let store = baton::Store::memory();
    /// store.xgroup_create("jobs", "workers", StreamId::MIN)?;
    /// store.xadd("jobs", [("job", "one")])?;
    /// store.xread_group("jobs", "workers", "ada", 10)?;
    /// assert_eq!(store.xread_group_pending("jobs", "workers", "ada", StreamId::MIN, 10)?.len(), 1);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn xread_group_pending(
        &self,
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        consumer: impl AsRef<[u8]>,
        after: StreamId,
        count: usize,
    ) -> Result<Vec<StreamEntry>, Error> {
        let count = count.to_string();
        let args: [&[u8]; 9] = [
            b"XREADGROUP", b"GROUP", group.as_ref(), consumer.as_ref(), b"COUNT", count.as_bytes(), b"STREAMS",
            key.as_ref(), &after.text(),
        ];
        self.call(&args).map(|OfOne(entries)| entries)
    }

    /// Acknowledges entries: they are not pending any more. How many were.
    ///
    /// # Errors
    /// As [`xadd`](Self::xadd), or there are no ids.
    ///
    /// ```
    /// use baton::store::StreamId;
    ///
    /// let store = baton::Store::memory();
    /// assert_eq!(store.xack("jobs", "workers", [StreamId::new(1, 0)])?, 0);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn xack(
        &self,
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        ids: impl IntoIterator<Item = StreamId>,
    ) -> Result<usize, Error> {
        let head: [&[u8]; 3] = [b"XACK", key.as_ref(), group.as_ref()];
        super::access::with_list(&head, id_texts(ids), |args| self.call(args))
    }

    /// Up to `count` entries that a group was given and has not acknowledged.
    ///
    /// # Errors
    /// As [`xread_group`](Self::xread_group).
    ///
    /// ```
    /// use baton::store::StreamId;
    ///
    /// let store = baton::Store::memory();
    /// store.xgroup_create("jobs", "workers", StreamId::MIN)?;
    /// store.xadd("jobs", [("job", "one")])?;
    /// store.xread_group("jobs", "workers", "ada", 10)?;
    /// let pending = store.xpending("jobs", "workers", 10)?;
    /// assert_eq!((&*pending[0].consumer, pending[0].deliveries), (&b"ada"[..], 1));
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn xpending(
        &self,
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        count: usize,
    ) -> Result<Vec<PendingEntry>, Error> {
        let count = count.to_string();
        self.call(&[b"XPENDING", key.as_ref(), group.as_ref(), b"-", b"+", count.as_bytes()])
    }

    /// Gives a consumer up to `count` entries from an id on that others have had for so long without acknowledging them.
    /// Also the id to go on with, if there may be more.
    ///
    /// # Errors
    /// As [`xread_group`](Self::xread_group).
    ///
    /// ```
    /// use baton::store::StreamId;
    /// use std::time::Duration;
    ///
    /// let store = baton::Store::memory();
    /// store.xgroup_create("jobs", "workers", StreamId::MIN)?;
    /// store.xadd("jobs", [("job", "one")])?;
    /// store.xread_group("jobs", "workers", "ada", 10)?;
    /// let (taken, more) = store.xautoclaim("jobs", "workers", "bob", Duration::ZERO, StreamId::MIN, 10)?;
    /// assert_eq!((taken.len(), more), (1, None));
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn xautoclaim(
        &self,
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        consumer: impl AsRef<[u8]>,
        min_idle: Duration,
        from: StreamId,
        count: usize,
    ) -> Result<(Vec<StreamEntry>, Option<StreamId>), Error> {
        let (idle, count) = (millis(min_idle).to_string(), count.max(1).to_string());
        let (next, taken, _): (StreamId, Vec<StreamEntry>, Vec<StreamId>) = self.call(&[
            b"XAUTOCLAIM", key.as_ref(), group.as_ref(), consumer.as_ref(), idle.as_bytes(), &from.text(), b"COUNT",
            count.as_bytes(),
        ])?;
        Ok((taken, Some(next).filter(|next| *next != StreamId::MIN)))
    }
}

/// Goes through a stream, page by page. See [`Store::xrange`].
#[derive(Debug)]
#[must_use = "an iterator does nothing until it is asked for what comes next"]
pub struct StreamRange {
    store: Store,
    key: Box<[u8]>,
    page: std::vec::IntoIter<StreamEntry>,
    /// Where the next page begins; none at the end.
    start: Option<Bound<StreamId>>,
    end: Bound<StreamId>,
}

impl Iterator for StreamRange {
    type Item = Result<StreamEntry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(entry) = self.page.next() {
            return Some(Ok(entry));
        }
        match self.store.xrange_page(&self.key, (self.start.take()?, self.end), PAGE) {
            Ok(page) => {
                let more = if page.len() == PAGE { page.last() } else { None };
                self.start = more.map(|last| Bound::Excluded(last.id));
                self.page = page.into_iter();
                self.page.next().map(Ok)
            }
            Err(error) => Some(Err(error)),
        }
    }
}

impl Store {
    /// All entries with ids in a range, page by page. No lock is held between the pages: entries that come meanwhile are seen
    /// where they fit, those that go are not.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// for n in 0..250 {
    ///     store.xadd("log", [("n", n.to_string())])?;
    /// }
    /// let all: Result<Vec<_>, _> = store.xrange("log", ..).collect();
    /// assert_eq!(all?.len(), 250);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn xrange(&self, key: impl AsRef<[u8]>, ids: impl RangeBounds<StreamId>) -> StreamRange {
        StreamRange {
            store: self.clone(),
            key: key.as_ref().into(),
            page: Vec::new().into_iter(),
            start: Some(ids.start_bound().cloned()),
            end: ids.end_bound().cloned(),
        }
    }

    /// The entries after an id, or after the last one there is now if that is `None`. Waits for one to come, for ever without a
    /// timeout; nothing when the time is over.
    ///
    /// # Errors
    /// The key holds another type.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// let reader = std::thread::spawn({
    ///     let store = store.clone();
    ///     move || store.xread_wait("log", Some(baton::store::StreamId::MIN), None)
    /// });
    /// store.xadd("log", [("text", "ready")])?;
    /// assert_eq!(reader.join().unwrap()?[0].get("text").unwrap(), "ready");
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn xread_wait(
        &self,
        key: impl AsRef<[u8]>,
        after: Option<StreamId>,
        timeout: Option<Duration>,
    ) -> Result<Vec<StreamEntry>, Error> {
        let after = after_text(after);
        self.wait_for_entries(
            &[b"XREAD", b"BLOCK", b"0", b"STREAMS", key.as_ref(), after.as_bytes()],
            timeout,
        )
    }

    /// As [`xread_group`](Self::xread_group), but waits for an entry to come, for ever without a timeout; nothing when the time is
    /// over.
    ///
    /// # Errors
    /// There is no such stream or group, or it goes while this waits.
    ///
    /// ```
    /// use baton::store::StreamId;
    ///
    /// let store = baton::Store::memory();
    /// store.xgroup_create("jobs", "workers", StreamId::MIN)?;
    /// let worker = std::thread::spawn({
    ///     let store = store.clone();
    ///     move || store.xread_group_wait("jobs", "workers", "ada", 1, None)
    /// });
    /// store.xadd("jobs", [("job", "one")])?;
    /// assert_eq!(worker.join().unwrap()?.len(), 1);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn xread_group_wait(
        &self,
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        consumer: impl AsRef<[u8]>,
        count: usize,
        timeout: Option<Duration>,
    ) -> Result<Vec<StreamEntry>, Error> {
        let args = group_args(key.as_ref(), group.as_ref(), consumer.as_ref(), count);
        let args: SmallVec<[&[u8]; 12]> = args.iter().map(|arg| &**arg).collect();
        self.wait_for_entries(&args, timeout)
    }

    fn wait_for_entries(&self, args: &[&[u8]], timeout: Option<Duration>) -> Result<Vec<StreamEntry>, Error> {
        Ok(self.wait_for::<OfOne>(args, timeout)?.map_or_else(Vec::new, |OfOne(entries)| entries))
    }

    /// As [`xread_wait`](Self::xread_wait), for asynchronous code of any runtime: put a timeout of yours around it.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// let store = baton::Store::memory();
    /// let other = store.clone();
    /// std::thread::spawn(move || other.xadd("log", [("text", "ready")]));
    /// let entries = store.xread_async("log", Some(baton::store::StreamId::MIN)).await.unwrap();
    /// assert_eq!(entries.len(), 1);
    /// # });
    /// ```
    pub fn xread_async(&self, key: impl AsRef<[u8]>, after: Option<StreamId>) -> ReadEntries {
        let after = after_text(after);
        let args: [&[u8]; 6] = [b"XREAD", b"BLOCK", b"0", b"STREAMS", key.as_ref(), after.as_bytes()];
        ReadEntries { store: self.clone(), args: args.map(Box::from).into(), wait: None }
    }

    /// As [`xread_group_wait`](Self::xread_group_wait), for asynchronous code of any runtime. What a future was given at the very
    /// moment when it was dropped is pending for the consumer: [`xread_group_pending`](Self::xread_group_pending) has it.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// let store = baton::Store::memory();
    /// store.xgroup_create("jobs", "workers", baton::store::StreamId::MIN).unwrap();
    /// store.xadd("jobs", [("job", "one")]).unwrap();
    /// let given = store.xread_group_async("jobs", "workers", "ada", 1).await.unwrap();
    /// assert_eq!(given.len(), 1);
    /// # });
    /// ```
    pub fn xread_group_async(
        &self,
        key: impl AsRef<[u8]>,
        group: impl AsRef<[u8]>,
        consumer: impl AsRef<[u8]>,
        count: usize,
    ) -> ReadEntries {
        let args = group_args(key.as_ref(), group.as_ref(), consumer.as_ref(), count);
        ReadEntries { store: self.clone(), args, wait: None }
    }
}

/// Where a read that waits begins.
fn after_text(after: Option<StreamId>) -> String {
    after.map_or_else(|| "$".to_owned(), |after| after.to_string())
}

fn group_args(key: &[u8], group: &[u8], consumer: &[u8], count: usize) -> Vec<Box<[u8]>> {
    let count = count.to_string();
    let args: [&[u8]; 11] = [
        b"XREADGROUP",
        b"GROUP",
        group,
        consumer,
        b"BLOCK",
        b"0",
        b"COUNT",
        count.as_bytes(),
        b"STREAMS",
        key,
        b">",
    ];
    args.map(Box::from).into()
}

/// The future of entries. See [`Store::xread_async`] and [`Store::xread_group_async`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct ReadEntries {
    store: Store,
    args: Vec<Box<[u8]>>,
    wait: Option<Wait>,
}

impl Future for ReadEntries {
    type Output = Result<Vec<StreamEntry>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.wait.is_none() {
            let args: Vec<&[u8]> = self.args.iter().map(|arg| &**arg).collect();
            match self.store.begin_wait::<OfOne>(&args) {
                Ok(Begun::Done(OfOne(entries))) => return Poll::Ready(Ok(entries)),
                Ok(Begun::Waits(wait)) => self.wait = Some(wait),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let Some(reply) = self.wait.as_ref().and_then(|wait| wait.poll(context)) else {
            return Poll::Pending;
        };
        self.wait = None;
        Poll::Ready(self.store.take_answer::<OfOne>(&reply).map(|OfOne(entries)| entries))
    }
}

impl Drop for ReadEntries {
    fn drop(&mut self) {
        let Some(wait) = self.wait.take() else { return };
        if not_nested(&self.store.inner.node).is_err() {
            // Dropped inside of a closure that the store runs: to leave the line here would be to wait for ourselves.
            let store = self.store.clone();
            drop(std::thread::spawn(move || wait.wait(&store, Some(Instant::now()))));
            return;
        }
        // The time is over already: it is cancelled, or the answer is there and nobody wants it.
        drop(wait.wait(&self.store, Some(Instant::now())));
    }
}

impl std::fmt::Debug for ReadEntries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadEntries").field("waits", &self.wait.is_some()).finish_non_exhaustive()
    }
}
