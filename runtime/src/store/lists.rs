//! Lists.

use super::access::with_list;
use super::{Error, commands};
use bytes::Bytes;

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The head.
    Left,
    /// The tail.
    Right,
}

impl End {
    pub(super) fn word(self) -> &'static [u8] {
        match self {
            Self::Left => b"LEFT",
            Self::Right => b"RIGHT",
        }
    }
}

commands! {
    /// Adds elements at the head of a list, one after the other, so that the last is first. Its length then.
    ///
    /// # Errors
    /// The key holds another type; this goes for all methods of lists. Or there are no elements, or the store cannot be
    /// written to.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.lpush("list", ["a", "b"])?, 2);
    /// assert_eq!(store.lrange("list", 0, -1)?, ["b", "a"]);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn lpush(
        &self,
        key: impl AsRef<[u8]>,
        elements: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<usize, Error> {
        with_list(&[b"LPUSH", key.as_ref()], elements, |args| self.call(args))
    }

    /// Adds elements at the tail of a list. Its length then.
    ///
    /// # Errors
    /// As [`lpush`](Self::lpush).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.rpush("list", ["a", "b"])?, 2);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn rpush(
        &self,
        key: impl AsRef<[u8]>,
        elements: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<usize, Error> {
        with_list(&[b"RPUSH", key.as_ref()], elements, |args| self.call(args))
    }

    /// Takes the first element of a list.
    ///
    /// # Errors
    /// As [`lpush`](Self::lpush).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.rpush("list", ["a", "b"])?;
    /// assert_eq!(store.lpop("list")?.unwrap(), "a");
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn lpop(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        self.call(&[b"LPOP", key.as_ref()])
    }

    /// Takes the last element of a list.
    ///
    /// # Errors
    /// As [`lpush`](Self::lpush).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.rpush("list", ["a", "b"])?;
    /// assert_eq!(store.rpop("list")?.unwrap(), "b");
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn rpop(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        self.call(&[b"RPOP", key.as_ref()])
    }

    /// Takes up to `count` elements from an end of a list, the outermost first.
    ///
    /// # Errors
    /// As [`lpush`](Self::lpush).
    ///
    /// ```
    /// use baton::store::End;
    ///
    /// let store = baton::Store::memory();
    /// store.rpush("list", ["a", "b", "c"])?;
    /// assert_eq!(store.pop_many("list", End::Right, 2)?, ["c", "b"]);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn pop_many(&self, key: impl AsRef<[u8]>, end: End, count: usize) -> Result<Vec<Bytes>, Error> {
        let name: &[u8] = if end == End::Left { b"LPOP" } else { b"RPOP" };
        let mut text = itoa::Buffer::new();
        let popped: Option<Vec<Bytes>> = self.call(&[name, key.as_ref(), text.format(count).as_bytes()])?;
        Ok(popped.unwrap_or_default())
    }

    /// How many elements a list has.
    ///
    /// # Errors
    /// As [`lpush`](Self::lpush).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// assert_eq!(store.llen("list")?, 0);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn llen(&self, key: impl AsRef<[u8]>) -> Result<usize, Error> {
        self.call(&[b"LLEN", key.as_ref()])
    }

    /// The elements from `start` to `stop`, both included; negative ones count from the end.
    ///
    /// # Errors
    /// As [`lpush`](Self::lpush).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.rpush("list", ["a", "b", "c"])?;
    /// assert_eq!(store.lrange("list", -2, -1)?, ["b", "c"]);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn lrange(&self, key: impl AsRef<[u8]>, start: i64, stop: i64) -> Result<Vec<Bytes>, Error> {
        let (mut from, mut to) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (from, to) = (from.format(start), to.format(stop));
        self.call(&[b"LRANGE", key.as_ref(), from.as_bytes(), to.as_bytes()])
    }

    /// An element of a list; negative ones count from the end.
    ///
    /// # Errors
    /// As [`lpush`](Self::lpush).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.rpush("list", ["a", "b"])?;
    /// assert_eq!(store.lindex("list", -1)?.unwrap(), "b");
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn lindex(&self, key: impl AsRef<[u8]>, at: i64) -> Result<Option<Bytes>, Error> {
        let mut index = itoa::Buffer::new();
        self.call(&[b"LINDEX", key.as_ref(), index.format(at).as_bytes()])
    }

    /// Replaces an element of a list; negative ones count from the end.
    ///
    /// # Errors
    /// As [`lpush`](Self::lpush), or there is no such key or element.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.rpush("list", ["a", "b"])?;
    /// store.lset("list", 0, "z")?;
    /// assert!(store.lset("list", 9, "z").is_err());
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn lset(&self, key: impl AsRef<[u8]>, at: i64, element: impl AsRef<[u8]>) -> Result<(), Error> {
        let mut index = itoa::Buffer::new();
        self.call(&[b"LSET", key.as_ref(), index.format(at).as_bytes(), element.as_ref()])
    }

    /// Removes all of a list but the elements from `start` to `stop`.
    ///
    /// # Errors
    /// As [`lpush`](Self::lpush).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.lpush("recent", ["a", "b", "c"])?;
    /// store.ltrim("recent", 0, 1)?;
    /// assert_eq!(store.llen("recent")?, 2);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn ltrim(&self, key: impl AsRef<[u8]>, start: i64, stop: i64) -> Result<(), Error> {
        let (mut from, mut to) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (from, to) = (from.format(start), to.format(stop));
        self.call(&[b"LTRIM", key.as_ref(), from.as_bytes(), to.as_bytes()])
    }

    /// Removes elements that equal this one: all with 0, the first so many, or the last with a negative count. How many.
    ///
    /// # Errors
    /// As [`lpush`](Self::lpush).
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.rpush("list", ["a", "b", "a"])?;
    /// assert_eq!(store.lrem("list", 0, "a")?, 2);
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn lrem(&self, key: impl AsRef<[u8]>, count: i64, element: impl AsRef<[u8]>) -> Result<usize, Error> {
        let mut text = itoa::Buffer::new();
        self.call(&[b"LREM", key.as_ref(), text.format(count).as_bytes(), element.as_ref()])
    }

    /// Takes an element from an end of a list and puts it at an end of another, or of the same, at one moment.
    ///
    /// # Errors
    /// As [`lpush`](Self::lpush).
    ///
    /// ```
    /// use baton::store::End;
    ///
    /// let store = baton::Store::memory();
    /// store.rpush("todo", ["a", "b"])?;
    /// assert_eq!(store.lmove("todo", "doing", End::Left, End::Right)?.unwrap(), "a");
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn lmove(
        &self,
        from: impl AsRef<[u8]>,
        to: impl AsRef<[u8]>,
        take: End,
        put: End,
    ) -> Result<Option<Bytes>, Error> {
        self.call(&[b"LMOVE", from.as_ref(), to.as_ref(), take.word(), put.word()])
    }
}
