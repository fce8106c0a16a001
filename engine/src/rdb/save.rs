//! A key, or a value alone, to bytes.
//!
//! Small collections go out as they lie in memory, whole. Everything else goes element by element straight into the
//! buffer: nothing is built in between.

use super::kind::{Kind, Version};
pub use super::string::COMPRESSED_FROM;
use super::{length, stream, string};
use crate::keyspace::{StrRef, ValueRef};
use crate::types::hash::{BEFORE_ALL, Hash};
use crate::types::list::{List, ListNode};
use crate::types::listpack::LpEntry;
use crate::types::set::Set;
use crate::types::zset::ZSet;

pub(super) const EXPIRE_MS: u8 = 252;
pub(super) const IDLE: u8 = 248;
pub(super) const FREQUENCY: u8 = 249;

/// What a node of a list is.
pub(super) const NODE_PLAIN: u64 = 1;
pub(super) const NODE_PACKED: u64 = 2;

/// The deadline that Valkey writes for a field that has none.
pub(super) const NO_DEADLINE: i64 = -1;
/// The latest deadline of a field that Redis accepts: it has 48 bits for it.
pub(super) const REDIS_DEADLINE_MAX: i64 = (1 << 48) - 1;

/// How to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaveOptions {
    /// For whom: types of later versions are not written, but where the data cannot be expressed otherwise.
    pub target: Version,
    /// Compress strings: `rdbcompression`.
    pub compress: bool,
}

impl Default for SaveOptions {
    /// What every server since Redis 7.0 reads, compressed.
    fn default() -> Self {
        Self { target: Version::V10, compress: true }
    }
}

/// How much a key has been used, where eviction goes by that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Seconds since the last use.
    Idle(u64),
    /// The logarithmic counter of uses.
    Frequency(u8),
}

/// Appends a key with all that belongs to it. Returns the lowest version of the format that knows what was written;
/// it is above the target only for hashes whose fields expire. `expiry` is in Unix milliseconds.
///
/// O(bytes of the value).
pub fn key(
    out: &mut Vec<u8>,
    options: &SaveOptions,
    key: &[u8],
    value: ValueRef<'_>,
    expiry: Option<i64>,
    access: Option<Access>,
) -> Version {
    if let Some(at) = expiry {
        out.push(EXPIRE_MS);
        out.extend_from_slice(&at.to_le_bytes());
    }
    match access {
        Some(Access::Idle(seconds)) => {
            out.push(IDLE);
            length::encode(seconds, out);
        }
        Some(Access::Frequency(uses)) => out.extend_from_slice(&[FREQUENCY, uses]),
        None => {}
    }
    let (kind, version) = form(value, options);
    out.push(kind.byte());
    string::encode(out, key, options.compress);
    body(out, options, kind, value);
    version
}

/// Appends the type of a value and the value: what DUMP hands out, but for the trailer. Returns the version as
/// [`key`] does.
pub fn value(out: &mut Vec<u8>, options: &SaveOptions, value: ValueRef<'_>) -> Version {
    let (kind, version) = form(value, options);
    out.push(kind.byte());
    body(out, options, kind, value);
    version
}

/// As what a value is written, and which version knows that.
fn form(value: ValueRef<'_>, options: &SaveOptions) -> (Kind, Version) {
    match value {
        ValueRef::Str(_) => (Kind::String, Version::V10),
        ValueRef::List(_) => (Kind::ListQuicklist2, Version::V10),
        ValueRef::Set(set) if set.as_intset().is_some() => (Kind::SetIntset, Version::V10),
        ValueRef::Set(set) if set.as_listpack().is_some() && options.target >= Version::V11 => {
            (Kind::SetListpack, Version::V11)
        }
        ValueRef::Set(_) => (Kind::Set, Version::V10),
        ValueRef::Hash(hash) if hash.as_listpack().is_some() => (Kind::HashListpack, Version::V10),
        ValueRef::Hash(hash) if hash.volatile_fields() == 0 => (Kind::Hash, Version::V10),
        ValueRef::Hash(_) if options.target == Version::Valkey80 => (Kind::Hash2, Version::Valkey80),
        ValueRef::Hash(_) => (Kind::HashMetadata, Version::V12),
        ValueRef::ZSet(zset) if zset.as_listpack().is_some() => (Kind::ZSetListpack, Version::V10),
        ValueRef::ZSet(_) => (Kind::ZSet2, Version::V10),
        ValueRef::Stream(_) if options.target >= Version::V11 => (Kind::Stream3, Version::V11),
        ValueRef::Stream(_) => (Kind::Stream2, Version::V10),
    }
}

fn body(out: &mut Vec<u8>, options: &SaveOptions, kind: Kind, value: ValueRef<'_>) {
    let compress = options.compress;
    match value {
        ValueRef::Str(StrRef::Int(n)) => string::encode_int(out, n),
        ValueRef::Str(StrRef::Embedded(bytes) | StrRef::Raw(bytes)) => string::encode(out, bytes, compress),
        ValueRef::List(list) => save_list(out, list, compress),
        ValueRef::Set(set) => save_set(out, set, kind, compress),
        ValueRef::Hash(hash) => save_hash(out, hash, kind, compress),
        ValueRef::ZSet(zset) => save_zset(out, zset, compress),
        ValueRef::Stream(stream) => stream::save(out, stream, kind, compress),
    }
}

fn save_list(out: &mut Vec<u8>, list: &List, compress: bool) {
    length::encode(list.node_count() as u64, out);
    for node in list.nodes() {
        let (container, bytes) = match node {
            ListNode::Packed(listpack) => (NODE_PACKED, listpack.as_bytes()),
            ListNode::Plain(element) => (NODE_PLAIN, element),
        };
        length::encode(container, out);
        string::encode(out, bytes, compress);
    }
}

fn save_set(out: &mut Vec<u8>, set: &Set, kind: Kind, compress: bool) {
    if let Some(ints) = set.as_intset() {
        return string::encode(out, ints.as_bytes(), compress);
    }
    if kind == Kind::SetListpack
        && let Some(listpack) = set.as_listpack()
    {
        return string::encode(out, listpack.as_bytes(), compress);
    }
    length::encode(set.len() as u64, out);
    set.iter().for_each(|member| element(out, member, compress));
}

fn save_hash(out: &mut Vec<u8>, hash: &Hash, kind: Kind, compress: bool) {
    if let Some(listpack) = hash.as_listpack() {
        return string::encode(out, listpack.as_bytes(), compress);
    }
    // Redis keeps deadlines relative to the earliest one.
    let first = hash.next_expiry().map_or(0, redis_deadline);
    if kind == Kind::HashMetadata {
        out.extend_from_slice(&first.to_le_bytes());
    }
    length::encode(hash.len() as u64, out);
    for field in hash.iter(BEFORE_ALL) {
        if kind == Kind::HashMetadata {
            let after = field.expire_at_ms.map_or(0, |at| redis_deadline(at) - first + 1);
            length::encode(after.unsigned_abs(), out);
        }
        element(out, field.name, compress);
        element(out, field.value, compress);
        if kind == Kind::Hash2 {
            let at = field.expire_at_ms.map_or(NO_DEADLINE, |at| at.max(0));
            out.extend_from_slice(&at.to_le_bytes());
        }
    }
}

/// The deadline, or the nearest that Redis knows.
fn redis_deadline(at_ms: i64) -> i64 {
    at_ms.clamp(0, REDIS_DEADLINE_MAX)
}

fn save_zset(out: &mut Vec<u8>, zset: &ZSet, compress: bool) {
    if let Some(listpack) = zset.as_listpack() {
        return string::encode(out, listpack.as_bytes(), compress);
    }
    length::encode(zset.len() as u64, out);
    // From the highest score to the lowest, as Redis writes them: it then loads them without a search.
    for entry in zset.iter().rev() {
        element(out, entry.member, compress);
        out.extend_from_slice(&entry.score.to_le_bytes());
    }
}

#[inline]
fn element(out: &mut Vec<u8>, element: LpEntry<'_>, compress: bool) {
    match element {
        LpEntry::Int(n) => string::encode_int(out, n),
        LpEntry::Str(bytes) => string::encode(out, bytes, compress),
    }
}
