//! Scans as iterators.

use super::reply::{FromReply, Item, Reader};
use super::{Error, KeyType, Store};
use bytes::Bytes;
use std::vec::IntoIter;

/// Goes through keys or elements, page by page. No lock is held between the pages: what is there throughout is
/// returned at least once, what comes or goes meanwhile may be or not, and an element may come twice.
#[derive(Debug)]
#[must_use = "an iterator does nothing until it is asked for what comes next"]
pub struct Scan<T> {
    store: Store,
    /// The command, and the key of a collection.
    head: Vec<Box<[u8]>>,
    options: Vec<Box<[u8]>>,
    /// Where to go on; none at the end.
    cursor: Option<u64>,
    page: IntoIter<T>,
    read: fn(&mut Reader<'_>, usize) -> Result<Vec<T>, Error>,
}

impl<T> Scan<T> {
    fn new(store: &Store, head: &[&[u8]], read: fn(&mut Reader<'_>, usize) -> Result<Vec<T>, Error>) -> Self {
        let head = head.iter().map(|arg| Box::from(*arg)).collect();
        let page = Vec::new().into_iter();
        Self { store: store.clone(), head, options: Vec::new(), cursor: Some(0), page, read }
    }

    /// Only what matches a pattern, with `*`, `?` and `[...]`.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.mset([("user:1", "ada"), ("job:1", "x")])?;
    /// let users: Result<Vec<_>, _> = store.scan().matching("user:*").collect();
    /// assert_eq!(users?, ["user:1"]);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn matching(mut self, pattern: impl AsRef<[u8]>) -> Self {
        self.options.extend([Box::from(&b"MATCH"[..]), Box::from(pattern.as_ref())]);
        self
    }

    /// About how many to look at per page: more are faster in all, and hold others up for longer. 10 if not said.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.scan().count_per_page(1000).count(), 0);
    /// ```
    pub fn count_per_page(mut self, count: usize) -> Self {
        self.options.extend([Box::from(&b"COUNT"[..]), count.max(1).to_string().into_bytes().into()]);
        self
    }

    fn next_page(&mut self, cursor: u64) -> Result<(), Error> {
        let mut text = itoa::Buffer::new();
        let mut args: Vec<&[u8]> = self.head.iter().map(|arg| &**arg).collect();
        args.push(text.format(cursor).as_bytes());
        args.extend(self.options.iter().map(|arg| &**arg));
        let page = self.store.call_with(&args, |reader| {
            let wrong = Error::Mismatch { wanted: "a page of a scan", found: "something else" };
            if reader.value()? != Item::Array(2) {
                return Err(wrong);
            }
            let cursor = u64::from_reply(reader)?;
            match reader.value()? {
                Item::Array(len) | Item::Set(len) => Ok((cursor, (self.read)(reader, len)?)),
                _ => Err(wrong),
            }
        });
        let (cursor, page) = page?;
        self.cursor = (cursor != 0).then_some(cursor);
        self.page = page.into_iter();
        Ok(())
    }
}

impl Scan<Bytes> {
    /// Only keys of this type. For [`Store::scan`] alone.
    ///
    /// ```
    /// use baton::store::KeyType;
    ///
    /// let store = baton::Store::memory();
    /// store.set("text", "a")?;
    /// store.rpush("list", ["a"])?;
    /// assert_eq!(store.scan().of_kind(KeyType::List).count(), 1);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn of_kind(mut self, kind: KeyType) -> Self {
        self.options.extend([Box::from(&b"TYPE"[..]), Box::from(kind.name().as_bytes())]);
        self
    }
}

impl<T> Iterator for Scan<T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(element) = self.page.next() {
                return Some(Ok(element));
            }
            let cursor = self.cursor?;
            if let Err(error) = self.next_page(cursor) {
                self.cursor = None;
                return Some(Err(error));
            }
        }
    }
}

fn singles<T: FromReply>(reader: &mut Reader<'_>, len: usize) -> Result<Vec<T>, Error> {
    (0..len).map(|_| T::from_reply(reader)).collect()
}

fn pairs<T: FromReply>(reader: &mut Reader<'_>, len: usize) -> Result<Vec<T>, Error> {
    (0..len / 2).map(|_| T::from_pair(reader)).collect()
}

impl Store {
    /// Goes through all keys of this database, in no order (`SCAN`).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.mset([("a", "1"), ("b", "2")])?;
    /// for key in store.scan() {
    ///     println!("{:?}", key?);
    /// }
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn scan(&self) -> Scan<Bytes> {
        Scan::new(self, &[b"SCAN"], singles)
    }

    /// Goes through the fields of a hash, with their values.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.hset("user", "name", "ada")?;
    /// let fields: Result<Vec<_>, _> = store.hscan("user").collect();
    /// assert_eq!(fields?, [("name".into(), "ada".into())]);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn hscan(&self, key: impl AsRef<[u8]>) -> Scan<(Bytes, Bytes)> {
        Scan::new(self, &[b"HSCAN", key.as_ref()], pairs)
    }

    /// Goes through the members of a set.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.sadd("tags", (0..1000).map(|n| format!("tag:{n}")))?;
    /// assert_eq!(store.sscan("tags").count(), 1000);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn sscan(&self, key: impl AsRef<[u8]>) -> Scan<Bytes> {
        Scan::new(self, &[b"SSCAN", key.as_ref()], singles)
    }

    /// Goes through the members of a sorted set, with their scores, in no order.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.zadd("board", "ada", 10.0)?;
    /// let members: Result<Vec<_>, _> = store.zscan("board").collect();
    /// assert_eq!(members?, [("ada".into(), 10.0)]);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn zscan(&self, key: impl AsRef<[u8]>) -> Scan<(Bytes, f64)> {
        Scan::new(self, &[b"ZSCAN", key.as_ref()], pairs)
    }
}
