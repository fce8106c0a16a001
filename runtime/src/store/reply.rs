//! Replies as types: what the engine writes for a client, read back without a copy in between.
//!
//! Invariant: what is read was written by the engine in this very call. Should it be cut short all the same, that is an
//! error like any other, not a panic.

use super::error::Error;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;

/// Any reply.
///
/// ```
/// use baton::{Reply, Store};
///
/// let store = Store::memory();
/// assert_eq!(store.run(["RPUSH", "list", "a", "b"])?, Reply::Integer(2));
/// assert_eq!(store.run(["LRANGE", "list", "0", "0"])?, Reply::Array(vec![Reply::Bytes("a".into())]));
/// # Ok::<(), baton::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Nothing: no such key, no such element.
    Null,
    /// An integer.
    Integer(i64),
    /// A double.
    Double(f64),
    /// A boolean.
    Boolean(bool),
    /// A status line, such as `OK`.
    Status(String),
    /// A string.
    Bytes(Bytes),
    /// Several replies.
    Array(Vec<Reply>),
    /// Several different replies in no order.
    Set(Vec<Reply>),
    /// Pairs, in the order in which they came.
    Map(Vec<(Reply, Reply)>),
    /// An error in the midst of others: the line.
    Error(String),
}

/// One piece of a reply: all of it, or the head of what follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Item<'a> {
    /// Nothing.
    Null,
    /// An integer.
    Integer(i64),
    /// A double.
    Double(f64),
    /// A boolean.
    Boolean(bool),
    /// A status line.
    Status(&'a [u8]),
    /// A string.
    Bytes(&'a [u8]),
    /// So many replies follow.
    Array(usize),
    /// So many replies follow, in no order.
    Set(usize),
    /// So many pairs of replies follow.
    Map(usize),
    /// An error.
    Error(&'a [u8]),
}

impl Item<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Integer(_) => "an integer",
            Self::Double(_) => "a double",
            Self::Boolean(_) => "a boolean",
            Self::Status(_) => "a status line",
            Self::Bytes(_) => "a string",
            Self::Array(_) => "an array",
            Self::Set(_) => "a set",
            Self::Map(_) => "a map",
            Self::Error(_) => "an error",
        }
    }
}

/// Reads a reply piece by piece. See [`FromReply`].
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    left: &'a [u8],
}

const CUT: Error = Error::Mismatch { wanted: "a whole reply", found: "a part of one" };

impl<'a> Reader<'a> {
    pub(super) fn new(reply: &'a [u8]) -> Self {
        Self { left: reply }
    }

    /// The next piece.
    ///
    /// # Errors
    /// There is none.
    pub fn item(&mut self) -> Result<Item<'a>, Error> {
        let (kind, line) = match self.line()? {
            [kind, line @ ..] => (*kind, line),
            [] => return Err(CUT),
        };
        Ok(match kind {
            b'_' => Item::Null,
            b':' => Item::Integer(number(line)?),
            b',' => Item::Double(double(line)?),
            b'#' => Item::Boolean(line == b"t"),
            b'+' => Item::Status(line),
            b'-' => Item::Error(line),
            b'$' | b'=' => match number(line)? {
                -1 => Item::Null,
                len => {
                    let text = self.take(usize::try_from(len).map_err(|_| CUT)?)?;
                    // A text with its format in front, `txt:`.
                    Item::Bytes(if kind == b'=' { text.get(4..).unwrap_or_default() } else { text })
                }
            },
            b'*' | b'>' => match number(line)? {
                -1 => Item::Null,
                len => Item::Array(usize::try_from(len).map_err(|_| CUT)?),
            },
            b'~' => Item::Set(usize::try_from(number(line)?).map_err(|_| CUT)?),
            b'%' => Item::Map(usize::try_from(number(line)?).map_err(|_| CUT)?),
            _ => return Err(CUT),
        })
    }

    /// The next piece, which is still to come.
    ///
    /// # Errors
    /// There is none.
    pub fn peek(&self) -> Result<Item<'a>, Error> {
        self.clone().item()
    }

    /// As [`item`](Self::item), but an error is one.
    ///
    /// # Errors
    /// The error that is there.
    pub fn value(&mut self) -> Result<Item<'a>, Error> {
        match self.item()? {
            Item::Error(line) => Err(Error::from_line(line)),
            item => Ok(item),
        }
    }

    fn line(&mut self) -> Result<&'a [u8], Error> {
        let end = self.left.iter().position(|byte| *byte == b'\r').ok_or(CUT)?;
        let (line, rest) = self.left.split_at(end);
        self.left = rest.get(2..).ok_or(CUT)?;
        Ok(line)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let text = self.left.get(..len).ok_or(CUT)?;
        self.left = self.left.get(len + 2..).ok_or(CUT)?;
        Ok(text)
    }

    /// How many elements an array or a set that comes next has.
    fn elements(&mut self) -> Result<usize, Error> {
        match self.value()? {
            Item::Array(len) | Item::Set(len) => Ok(len),
            other => Err(mismatch("an array", other)),
        }
    }

    /// At most as many as can be there: a count is only a claim.
    fn capacity(&self, claimed: usize) -> usize {
        claimed.min(self.left.len() / 3)
    }
}

fn number(line: &[u8]) -> Result<i64, Error> {
    baton_engine::number::parse_i64(line).ok_or(CUT)
}

fn double(line: &[u8]) -> Result<f64, Error> {
    std::str::from_utf8(line).ok().and_then(|text| text.parse().ok()).ok_or(CUT)
}

fn mismatch(wanted: &'static str, found: Item<'_>) -> Error {
    Error::Mismatch { wanted, found: found.name() }
}

/// A type that a reply can be read as.
///
/// There is one for integers, floats, `bool`, strings and bytes, `Option`, tuples, `Vec`, sets and maps, `()` (whatever it
/// is), and [`Reply`]. Of your own:
///
/// ```
/// use baton::store::{Error, FromReply, Reader};
///
/// struct Visits(u64);
///
/// impl FromReply for Visits {
///     fn from_reply(reader: &mut Reader<'_>) -> Result<Self, Error> {
///         Ok(Self(u64::from_reply(reader)?))
///     }
/// }
///
/// let store = baton::Store::memory();
/// let visits: Visits = store.run_as(["INCR", "visits"])?;
/// assert_eq!(visits.0, 1);
/// # Ok::<(), Error>(())
/// ```
pub trait FromReply: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// The reply is an error, or of another type.
    fn from_reply(reader: &mut Reader<'_>) -> Result<Self, Error>;

    /// Reads a pair that has no head of its own, in a map. Only tuples of two are pairs.
    ///
    /// # Errors
    /// As [`from_reply`](Self::from_reply).
    #[doc(hidden)]
    fn from_pair(_: &mut Reader<'_>) -> Result<Self, Error> {
        Err(Error::Mismatch { wanted: "an array", found: "a map" })
    }
}

impl FromReply for () {
    fn from_reply(reader: &mut Reader<'_>) -> Result<Self, Error> {
        // What follows is of no interest either.
        reader.value().map(drop)
    }
}

impl FromReply for bool {
    fn from_reply(reader: &mut Reader<'_>) -> Result<Self, Error> {
        match reader.value()? {
            Item::Boolean(yes) => Ok(yes),
            Item::Integer(n) => Ok(n > 0),
            Item::Status(_) => Ok(true),
            Item::Null => Ok(false),
            other => Err(mismatch("a boolean", other)),
        }
    }
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl FromReply for $integer {
            fn from_reply(reader: &mut Reader<'_>) -> Result<Self, Error> {
                let item = reader.value()?;
                let n = match item {
                    Item::Integer(n) => Some(n),
                    Item::Bytes(text) => baton_engine::number::parse_i64(text),
                    _ => None,
                };
                n.and_then(|n| n.try_into().ok()).ok_or(mismatch(stringify!($integer), item))
            }
        }
    )*};
}
integers!(i64, u64, usize, i32, u32);

impl FromReply for f64 {
    fn from_reply(reader: &mut Reader<'_>) -> Result<Self, Error> {
        match reader.value()? {
            Item::Double(x) => Ok(x),
            Item::Integer(n) => Ok(n as Self),
            item @ Item::Bytes(text) => double(text).map_err(|_| mismatch("f64", item)),
            other => Err(mismatch("f64", other)),
        }
    }
}

fn text<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Error> {
    match reader.value()? {
        Item::Bytes(text) | Item::Status(text) => Ok(text),
        other => Err(mismatch("a string", other)),
    }
}

impl FromReply for Vec<u8> {
    fn from_reply(reader: &mut Reader<'_>) -> Result<Self, Error> {
        text(reader).map(<[u8]>::to_vec)
    }
}

impl FromReply for Bytes {
    fn from_reply(reader: &mut Reader<'_>) -> Result<Self, Error> {
        text(reader).map(Self::copy_from_slice)
    }
}

impl FromReply for String {
    fn from_reply(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let text = std::str::from_utf8(text(reader)?);
        text.map(Self::from).map_err(|_| Error::Mismatch { wanted: "UTF-8", found: "other bytes" })
    }
}

impl<T: FromReply> FromReply for Option<T> {
    fn from_reply(reader: &mut Reader<'_>) -> Result<Self, Error> {
        if reader.peek()? == Item::Null {
            return reader.item().map(|_| None);
        }
        T::from_reply(reader).map(Some)
    }
}

impl<T: FromReply> FromReply for Vec<T> {
    fn from_reply(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let len = match reader.value()? {
            Item::Array(len) | Item::Set(len) => len,
            // Pairs, read as tuples.
            Item::Map(len) => return pairs(reader, len),
            other => return Err(mismatch("an array", other)),
        };
        let mut all = Self::with_capacity(reader.capacity(len));
        for _ in 0..len {
            all.push(T::from_reply(reader)?);
        }
        Ok(all)
    }
}

/// The pairs of a map, each as if it were an array of two.
fn pairs<T: FromReply>(reader: &mut Reader<'_>, len: usize) -> Result<Vec<T>, Error> {
    let mut all = Vec::with_capacity(reader.capacity(len));
    for _ in 0..len {
        all.push(T::from_pair(reader)?);
    }
    Ok(all)
}

impl<A: FromReply, B: FromReply> FromReply for (A, B) {
    fn from_reply(reader: &mut Reader<'_>) -> Result<Self, Error> {
        match reader.value()? {
            Item::Array(2) => Self::from_pair(reader),
            other => Err(mismatch("a pair", other)),
        }
    }

    fn from_pair(reader: &mut Reader<'_>) -> Result<Self, Error> {
        Ok((A::from_reply(reader)?, B::from_reply(reader)?))
    }
}

macro_rules! sets {
    ($($set:ident where $($bound:ident),+;)*) => {$(
        impl<T: FromReply $(+ $bound)+> FromReply for $set<T> {
            fn from_reply(reader: &mut Reader<'_>) -> Result<Self, Error> {
                let len = reader.elements()?;
                (0..len).map(|_| T::from_reply(reader)).collect()
            }
        }
    )*};
}
sets! { HashSet where Eq, Hash; BTreeSet where Ord; }

macro_rules! maps {
    ($($map:ident where $($bound:ident),+;)*) => {$(
        impl<K: FromReply $(+ $bound)+, V: FromReply> FromReply for $map<K, V> {
            fn from_reply(reader: &mut Reader<'_>) -> Result<Self, Error> {
                match reader.value()? {
                    Item::Map(len) => (0..len).map(|_| <(K, V)>::from_pair(reader)).collect(),
                    Item::Array(len) => (0..len).map(|_| <(K, V)>::from_reply(reader)).collect(),
                    other => Err(mismatch("a map", other)),
                }
            }
        }
    )*};
}
maps! { HashMap where Eq, Hash; BTreeMap where Ord; }

impl FromReply for Reply {
    fn from_reply(reader: &mut Reader<'_>) -> Result<Self, Error> {
        match reader.peek()? {
            Item::Error(line) => Err(Error::from_line(line)),
            _ => any(reader),
        }
    }
}

fn any(reader: &mut Reader<'_>) -> Result<Reply, Error> {
    let lossy = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
    Ok(match reader.item()? {
        Item::Null => Reply::Null,
        Item::Integer(n) => Reply::Integer(n),
        Item::Double(x) => Reply::Double(x),
        Item::Boolean(yes) => Reply::Boolean(yes),
        Item::Status(line) => Reply::Status(lossy(line)),
        Item::Bytes(text) => Reply::Bytes(Bytes::copy_from_slice(text)),
        Item::Array(len) => Reply::Array((0..len).map(|_| any(reader)).collect::<Result<_, _>>()?),
        Item::Set(len) => Reply::Set((0..len).map(|_| any(reader)).collect::<Result<_, _>>()?),
        Item::Map(len) => {
            let pairs = (0..len).map(|_| Ok((any(reader)?, any(reader)?)));
            Reply::Map(pairs.collect::<Result<_, Error>>()?)
        }
        Item::Error(line) => Reply::Error(lossy(line)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: FromReply>(reply: &str) -> Result<T, String> {
        T::from_reply(&mut Reader::new(reply.as_bytes())).map_err(|error| error.to_string())
    }

    #[test]
    fn replies_become_types() {
        assert_eq!(read(":7\r\n"), Ok(7_i64));
        assert_eq!(read("$2\r\n42\r\n"), Ok(42_u32));
        assert_eq!(read(",1.5\r\n"), Ok(1.5_f64));
        assert_eq!(read(",inf\r\n"), Ok(f64::INFINITY));
        assert_eq!(read::<Option<i64>>("_\r\n"), Ok(None));
        assert_eq!(read::<Vec<u8>>("$3\r\na\r\n\r\n"), Ok(b"a\r\n".to_vec()));
        assert_eq!(read("%1\r\n$1\r\na\r\n:1\r\n"), Ok(vec![("a".to_owned(), 1_i64)]));
        assert_eq!(read("*1\r\n*2\r\n$1\r\na\r\n:1\r\n"), Ok(HashMap::from([("a".to_owned(), 1_i64)])));
        assert_eq!(read("~2\r\n:1\r\n:2\r\n"), Ok(BTreeSet::from([1_i64, 2])));
        assert_eq!(read("*1\r\n_\r\n"), Ok(Reply::Array(vec![Reply::Null])));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        assert!(read::<i64>("$1\r\na\r\n").is_err());
        assert!(read::<u32>(":-1\r\n").is_err());
        assert!(read::<String>("$1\r\n\u{e9}\r\n").is_err());
        assert_eq!(read::<i64>("-ERR no\r\n"), Err("ERR no".to_owned()));
        for cut in ["", ":", ":1", "$5\r\nab\r\n", "*9999999999\r\n", "$-7\r\n", "?\r\n"] {
            assert!(read::<Vec<Reply>>(cut).is_err(), "{cut:?}");
            assert!(read::<Reply>(cut).is_err(), "{cut:?}");
        }
    }
}
