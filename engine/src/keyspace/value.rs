//! Values as commands see them: owned, to read, and to change.

use crate::types::{hash::Hash, list::List, set::Set, stream::Stream, zset::ZSet};

/// A value on its own, outside the key space.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string.
    Bytes(Vec<u8>),
    /// A string that is a canonical integer.
    Int(i64),
    /// A list.
    List(Box<List>),
    /// A set.
    Set(Box<Set>),
    /// A hash.
    Hash(Box<Hash>),
    /// A sorted set.
    ZSet(Box<ZSet>),
    /// A stream.
    Stream(Box<Stream>),
}

impl Value {
    /// The value, to read.
    pub fn borrowed(&self) -> ValueRef<'_> {
        match self {
            Self::Bytes(bytes) => ValueRef::Str(StrRef::Raw(bytes)),
            Self::Int(n) => ValueRef::Str(StrRef::Int(*n)),
            Self::List(list) => ValueRef::List(list),
            Self::Set(set) => ValueRef::Set(set),
            Self::Hash(hash) => ValueRef::Hash(hash),
            Self::ZSet(zset) => ValueRef::ZSet(zset),
            Self::Stream(stream) => ValueRef::Stream(stream),
        }
    }

    /// The bytes of a string; empty for other types.
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Int(n) => itoa::Buffer::new().format(n).as_bytes().to_vec(),
            _ => Vec::new(),
        }
    }
}

/// A string value, to read.
#[derive(Clone, Copy, Debug)]
pub enum StrRef<'a> {
    /// Kept as an integer.
    Int(i64),
    /// Kept inside the entry.
    Embedded(&'a [u8]),
    /// Kept in a buffer of its own.
    Raw(&'a [u8]),
}

impl<'a> StrRef<'a> {
    /// Its bytes; integers are written into `buffer`.
    #[inline]
    pub fn bytes<'b>(self, buffer: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Self::Int(n) => buffer.format(n).as_bytes(),
            Self::Embedded(bytes) | Self::Raw(bytes) => bytes,
        }
    }

    /// Length in bytes.
    pub fn len(self) -> usize {
        match self {
            Self::Int(n) => itoa::Buffer::new().format(n).len(),
            Self::Embedded(bytes) | Self::Raw(bytes) => bytes.len(),
        }
    }

    /// Whether it is the empty string.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// A copy of its bytes.
    pub fn to_vec(self) -> Vec<u8> {
        self.bytes(&mut itoa::Buffer::new()).to_vec()
    }
}

/// A value, to read.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    /// A string.
    Str(StrRef<'a>),
    /// A list.
    List(&'a List),
    /// A set.
    Set(&'a Set),
    /// A hash.
    Hash(&'a Hash),
    /// A sorted set.
    ZSet(&'a ZSet),
    /// A stream.
    Stream(&'a Stream),
}

impl ValueRef<'_> {
    /// Its type.
    pub fn kind(&self) -> KeyType {
        match self {
            Self::Str(_) => KeyType::String,
            Self::List(_) => KeyType::List,
            Self::Set(_) => KeyType::Set,
            Self::Hash(_) => KeyType::Hash,
            Self::ZSet(_) => KeyType::ZSet,
            Self::Stream(_) => KeyType::Stream,
        }
    }

    /// A copy of the value. O(n).
    pub fn to_owned(&self) -> Value {
        match *self {
            Self::Str(StrRef::Int(n)) => Value::Int(n),
            Self::Str(text) => Value::Bytes(text.to_vec()),
            Self::List(list) => Value::List(Box::new(list.clone())),
            Self::Set(set) => Value::Set(Box::new(set.clone())),
            Self::Hash(hash) => Value::Hash(Box::new(hash.clone())),
            Self::ZSet(zset) => Value::ZSet(Box::new(zset.clone())),
            Self::Stream(stream) => Value::Stream(Box::new(stream.clone())),
        }
    }
}

/// A value, to change in place.
#[derive(Debug)]
pub enum ValueMut<'a> {
    /// A string.
    Str(&'a mut Vec<u8>),
    /// A list.
    List(&'a mut List),
    /// A set.
    Set(&'a mut Set),
    /// A hash.
    Hash(&'a mut Hash),
    /// A sorted set.
    ZSet(&'a mut ZSet),
    /// A stream.
    Stream(&'a mut Stream),
}

/// The types that TYPE and SCAN ... TYPE name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// `string`
    String,
    /// `list`
    List,
    /// `set`
    Set,
    /// `hash`
    Hash,
    /// `zset`
    ZSet,
    /// `stream`
    Stream,
}

impl KeyType {
    /// The name that TYPE answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::Hash => "hash",
            Self::ZSet => "zset",
            Self::Stream => "stream",
        }
    }

    /// The type of this name, in any case.
    pub fn named(name: &[u8]) -> Option<Self> {
        [Self::String, Self::List, Self::Set, Self::Hash, Self::ZSet, Self::Stream]
            .into_iter()
            .find(|kind| name.eq_ignore_ascii_case(kind.name().as_bytes()))
    }
}
