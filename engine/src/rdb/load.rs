//! A value from bytes, of every type that was ever written.
//!
//! Which encoding a value gets follows the settings, as when Redis loads it: a compact encoding is taken over as it
//! lies there, unless it has too many elements by now; what comes element by element is made compact as long as it fits.
//!
//! Everything is checked, whatever the source: lengths forwards and backwards, order, duplicates, scores, deadlines.

use super::input::Input;
use super::kind::{Family, Kind};
use super::save::{NO_DEADLINE, NODE_PACKED, NODE_PLAIN, REDIS_DEADLINE_MAX};
use super::string::{self, Encoded, Text};
use super::{ModuleName, RdbError, Unsupported, length, stream, ziplist, zipmap};
use crate::hash::Hasher;
use crate::keyspace::Value;
use crate::number::{I64_TEXT_MAX, parse_f64_or_limit, parse_i64};
use crate::settings::Settings;
use crate::types::hash::{BEFORE_ALL, FieldTtl, Hash, HashLimits};
use crate::types::intset::Intset;
use crate::types::list::List;
use crate::types::listpack::{Corrupt, IntText, Listpack, LpEntry};
use crate::types::set::{Set, SetLimits};
use crate::types::zset::{Inserted, ZSet};

/// A value that was read, or a string that is still where it was.
#[derive(Debug)]
pub enum Loaded<'a> {
    /// A string as it lies in the bytes; it is not the text of an integer.
    Text(&'a [u8]),
    /// Anything else.
    Value(Value),
}

/// Reads the value of type `kind` at the start of `bytes`: the value, and how many bytes it takes. `hasher` is
/// that of the shard where the value will live. O(bytes).
///
/// # Errors
/// [`RdbError`]. Bytes that end too early are reported as incomplete even if the caller knows that there are no more.
pub fn value(
    kind: u8,
    family: Family,
    bytes: &[u8],
    settings: &Settings,
    hasher: &Hasher,
) -> Result<(Value, usize), RdbError> {
    let (loaded, used) = borrowed(kind, family, bytes, settings, hasher)?;
    let value = match loaded {
        Loaded::Text(text) => Value::Bytes(text.to_vec()),
        Loaded::Value(value) => value,
    };
    Ok((value, used))
}

/// As [`value`], but a string that lies in the bytes as it is stays there: whoever copies it into an entry anyway
/// spares an allocation.
///
/// # Errors
/// As [`value`].
pub fn borrowed<'a>(
    kind: u8,
    family: Family,
    bytes: &'a [u8],
    settings: &Settings,
    hasher: &Hasher,
) -> Result<(Loaded<'a>, usize), RdbError> {
    let known = Kind::of(kind, family);
    let kind = known.ok_or(RdbError::Unsupported { offset: 0, what: Unsupported::Kind(kind) })?;
    let mut loader = Loader { input: Input::new(bytes), settings, hasher };
    let loaded = loader.load(kind)?;
    Ok((loaded, loader.input.offset()))
}

struct Loader<'a, 's> {
    input: Input<'a>,
    settings: &'s Settings,
    hasher: &'s Hasher,
}

impl<'a, 's> Loader<'a, 's> {
    fn load(&mut self, kind: Kind) -> Result<Loaded<'a>, RdbError> {
        let value = match kind {
            Kind::String => return self.string(),
            Kind::List => self.list()?,
            Kind::ListZiplist => self.list_ziplist()?,
            Kind::ListQuicklist => self.quicklist(Node::Ziplist)?,
            Kind::ListQuicklist2 => self.quicklist(Node::Container)?,
            Kind::Set => self.set()?,
            Kind::SetIntset => self.intset()?,
            Kind::SetListpack => self.set_listpack()?,
            Kind::ZSet => self.zset(Self::score_text)?,
            Kind::ZSet2 => self.zset(Self::score_binary)?,
            Kind::ZSetZiplist => self.blob(ziplist_of).and_then(|lp| self.zset_of(lp))?,
            Kind::ZSetListpack => self.blob(listpack_of).and_then(|lp| self.zset_of(lp))?,
            Kind::Hash => self.hash(|_| Ok(None), |_| Ok(None))?,
            Kind::HashZipmap => self.zipmap()?,
            Kind::HashZiplist => self.blob(ziplist_of).and_then(|lp| self.hash_of(lp))?,
            Kind::HashListpack => self.blob(listpack_of).and_then(|lp| self.hash_of(lp))?,
            Kind::HashMetadata => self.hash_metadata()?,
            Kind::HashMetadataPreGa => self.hash(|loader| loader.deadline_after(None), |_| Ok(None))?,
            Kind::HashListpackEx => {
                self.first_deadline()?;
                self.hash_triples()?
            }
            Kind::HashListpackExPreGa => self.hash_triples()?,
            Kind::Hash2 => self.hash(|_| Ok(None), Self::deadline_of_valkey)?,
            Kind::ModulePreGa | Kind::Module => return Err(self.module()),
            Kind::Stream | Kind::Stream2 | Kind::Stream3 => {
                Value::Stream(Box::new(stream::load(&mut self.input, kind)?))
            }
        };
        Ok(Loaded::Value(value))
    }

    fn corrupt(&self, expected: &'static str) -> RdbError {
        Input::corrupt(self.input.offset(), expected)
    }

    fn empty(&self) -> RdbError {
        RdbError::Empty { used: self.input.offset() }
    }

    fn module(&mut self) -> RdbError {
        match length::plain(&mut self.input) {
            Ok(id) => RdbError::Unsupported { offset: 0, what: Unsupported::Module(ModuleName::of(id)) },
            Err(error) => error,
        }
    }

    /// The number of elements that follow, which must not be 0.
    fn count(&mut self) -> Result<u64, RdbError> {
        match length::plain(&mut self.input)? {
            0 => Err(self.empty()),
            count => Ok(count),
        }
    }

    #[inline]
    fn text(&mut self) -> Result<Text<'a>, RdbError> {
        string::text(&mut self.input)
    }

    /// A whole collection in one string. What is wrong in a compressed one is reported where it begins.
    fn blob<T>(&mut self, read: impl FnOnce(Text<'a>) -> Result<T, Corrupt>) -> Result<T, RdbError> {
        let encoded = string::decode(&mut self.input)?;
        let (start, moved) = match encoded {
            Encoded::Bytes(bytes) => (self.input.offset() - bytes.len(), 1),
            Encoded::Packed { at, .. } => (at, 0),
            Encoded::Int(_) => (self.input.offset(), 0),
        };
        let read = read(encoded.text()?);
        read.map_err(|error| Input::corrupt(start + moved * error.offset, error.expected))
    }

    fn string(&mut self) -> Result<Loaded<'a>, RdbError> {
        let text = match string::decode(&mut self.input)? {
            Encoded::Int(n) => return Ok(Loaded::Value(Value::Int(i64::from(n)))),
            other => other.text()?,
        };
        let integer = if text.len() <= I64_TEXT_MAX { parse_i64(&text) } else { None };
        Ok(match (integer, text) {
            (Some(n), _) => Loaded::Value(Value::Int(n)),
            (None, Text::Borrowed(bytes)) => Loaded::Text(bytes),
            (None, text) => Loaded::Value(Value::Bytes(text.into_vec())),
        })
    }

    // ---- lists -----------------------------------------------------------------------------------------------

    fn list(&mut self) -> Result<Value, RdbError> {
        let (count, limit) = (self.count()?, self.settings.node_limit());
        let mut list = List::new();
        for _ in 0..count {
            list.push_back(&self.text()?, limit);
        }
        list.settle(limit);
        Ok(Value::List(Box::new(list)))
    }

    fn list_ziplist(&mut self) -> Result<Value, RdbError> {
        let limit = self.settings.node_limit();
        let mut list = List::new();
        self.blob(|bytes| {
            ziplist::for_each(&bytes, |entry| list.push_back(entry.as_slice(&mut IntText::default()), limit))
        })?;
        self.finish_list(list)
    }

    fn quicklist(&mut self, nodes: Node) -> Result<Value, RdbError> {
        let mut list = List::new();
        for _ in 0..self.count()? {
            let listpack = match nodes {
                Node::Ziplist => self.blob(ziplist_of)?,
                Node::Container => {
                    let at = self.input.offset();
                    match length::plain(&mut self.input)? {
                        NODE_PACKED => self.blob(listpack_of)?,
                        NODE_PLAIN => {
                            list.append_plain(self.large_element()?);
                            continue;
                        }
                        _ => return Err(Input::corrupt(at, "a kind of list node")),
                    }
                }
            };
            // Redis skips empty nodes; its older versions could write some.
            if !listpack.is_empty() {
                list.append_packed(listpack);
            }
        }
        self.finish_list(list)
    }

    fn large_element(&mut self) -> Result<Box<[u8]>, RdbError> {
        let element = self.text()?;
        if element.is_empty() {
            return Err(self.corrupt("a large element that is not empty"));
        }
        Ok(element.into_vec().into_boxed_slice())
    }

    fn finish_list(&self, mut list: List) -> Result<Value, RdbError> {
        if list.is_empty() {
            return Err(self.empty());
        }
        list.settle(self.settings.node_limit());
        Ok(Value::List(Box::new(list)))
    }

    // ---- sets ------------------------------------------------------------------------------------------------

    fn set(&mut self) -> Result<Value, RdbError> {
        let count = self.count()?;
        let mut set = SetBuilder::new(count, self.settings.set_limits(), self.hasher);
        for _ in 0..count {
            let member = self.text()?;
            if !set.add(&member) {
                return Err(self.corrupt(NO_MEMBER_TWICE));
            }
        }
        let set = set.finish().ok_or_else(|| self.corrupt(NO_MEMBER_TWICE))?;
        Ok(Value::Set(Box::new(set)))
    }

    fn intset(&mut self) -> Result<Value, RdbError> {
        let ints = self.blob(|bytes| Intset::from_bytes_checked(&bytes))?;
        let set = Set::from_intset(ints, &self.settings.set_limits(), self.hasher);
        Ok(Value::Set(Box::new(set)))
    }

    fn set_listpack(&mut self) -> Result<Value, RdbError> {
        let listpack = self.blob(listpack_of)?;
        if listpack.is_empty() {
            return Err(self.empty());
        }
        let set = Set::from_listpack(listpack, &self.settings.set_limits(), self.hasher);
        Ok(Value::Set(Box::new(set.map_err(|_| self.corrupt(NO_MEMBER_TWICE))?)))
    }

    // ---- sorted sets -----------------------------------------------------------------------------------------

    fn zset(&mut self, score: fn(&mut Self) -> Result<f64, RdbError>) -> Result<Value, RdbError> {
        let (count, limits) = (self.count()?, self.settings.zset_limits());
        let expected = usize::try_from(count).unwrap_or(usize::MAX);
        let mut zset = ZSet::with_expected(expected, 0, &limits, self.hasher);
        for _ in 0..count {
            let (member, score) = (self.text()?, score(self)?);
            if score.is_nan() {
                return Err(self.corrupt("a score that is a number"));
            }
            if zset.insert(&member, score, &limits, self.hasher) != Inserted::Added {
                return Err(self.corrupt(NO_MEMBER_TWICE));
            }
        }
        Ok(Value::ZSet(Box::new(zset)))
    }

    fn score_binary(&mut self) -> Result<f64, RdbError> {
        Ok(f64::from_le_bytes(self.input.array()?))
    }

    /// A score as it was written before version 8: one byte of length, or what stands for no finite number.
    fn score_text(&mut self) -> Result<f64, RdbError> {
        match self.input.byte()? {
            253 => Ok(f64::NAN),
            254 => Ok(f64::INFINITY),
            255 => Ok(f64::NEG_INFINITY),
            len => {
                let text = self.input.take(usize::from(len))?;
                let score = if text.is_empty() { None } else { parse_f64_or_limit(text) };
                score.ok_or_else(|| self.corrupt("a score that is a number"))
            }
        }
    }

    fn zset_of(&mut self, listpack: Listpack) -> Result<Value, RdbError> {
        if listpack.is_empty() {
            return Err(self.empty());
        }
        let zset = ZSet::from_listpack(listpack, &self.settings.zset_limits(), self.hasher);
        Ok(Value::ZSet(Box::new(zset.map_err(|_| self.corrupt("members with their scores, none twice"))?)))
    }

    // ---- hashes ----------------------------------------------------------------------------------------------

    /// Fields one by one, with deadlines `before` or `after` each.
    fn hash(
        &mut self,
        before: impl Fn(&mut Self) -> Result<Option<i64>, RdbError>,
        after: impl Fn(&mut Self) -> Result<Option<i64>, RdbError>,
    ) -> Result<Value, RdbError> {
        let count = self.count()?;
        let mut hash = self.hash_builder(count);
        for _ in 0..count {
            let early = before(self)?;
            let (field, value) = (self.text()?, self.text()?);
            let deadline = early.or(after(self)?);
            if !hash.add(&field, &value, deadline) {
                return Err(self.corrupt(NO_FIELD_TWICE));
            }
        }
        self.finish_hash(hash)
    }

    fn hash_builder(&self, count: u64) -> HashBuilder<'s> {
        HashBuilder::new(count, self.settings.hash_limits(), self.hasher)
    }

    fn finish_hash(&self, hash: HashBuilder<'_>) -> Result<Value, RdbError> {
        let hash = hash.finish().ok_or_else(|| self.corrupt(NO_FIELD_TWICE))?;
        Ok(Value::Hash(Box::new(hash)))
    }

    fn hash_of(&mut self, listpack: Listpack) -> Result<Value, RdbError> {
        if listpack.is_empty() {
            return Err(self.empty());
        }
        let hash = Hash::from_listpack(listpack, &self.settings.hash_limits(), self.hasher);
        Ok(Value::Hash(Box::new(hash.map_err(|_| self.corrupt("fields with their values, none twice"))?)))
    }

    fn hash_metadata(&mut self) -> Result<Value, RdbError> {
        let first = self.first_deadline()?;
        self.hash(|loader| loader.deadline_after(Some(first)), |_| Ok(None))
    }

    /// The earliest deadline of a hash, which Redis writes before its fields.
    fn first_deadline(&mut self) -> Result<u64, RdbError> {
        Ok(u64::from_le_bytes(self.input.array()?))
    }

    /// A deadline as Redis writes it: 0 is none, 1 the first one, and so on; or an absolute time.
    fn deadline_after(&mut self, first: Option<u64>) -> Result<Option<i64>, RdbError> {
        let n = length::plain(&mut self.input)?;
        if n == 0 {
            return Ok(None);
        }
        let at =
            first.map_or(Some(n), |first| first.checked_add(n - 1)).and_then(|at| i64::try_from(at).ok());
        let at = at.filter(|at| *at <= REDIS_DEADLINE_MAX);
        Ok(Some(at.ok_or_else(|| self.corrupt("a deadline within 48 bits"))?))
    }

    fn deadline_of_valkey(&mut self) -> Result<Option<i64>, RdbError> {
        match i64::from_le_bytes(self.input.array()?) {
            NO_DEADLINE => Ok(None),
            at if at < 0 => Err(self.corrupt("a deadline after 1970")),
            at => Ok(Some(at)),
        }
    }

    /// Fields, values and deadlines in one listpack, those that expire first in front.
    fn hash_triples(&mut self) -> Result<Value, RdbError> {
        let triples = self.blob(listpack_of)?;
        let len = triples.len();
        if len == 0 {
            return Err(self.empty());
        }
        if !len.is_multiple_of(3) {
            return Err(self.corrupt("a value and a deadline for every field"));
        }
        let mut hash = self.hash_builder(len as u64 / 3);
        let (mut entries, mut last) = (triples.iter(), 0);
        while let (Some(field), Some(value), Some(deadline)) =
            (entries.next(), entries.next(), entries.next())
        {
            let deadline = match deadline {
                LpEntry::Int(0) => i64::MAX,
                LpEntry::Int(at @ 1..=REDIS_DEADLINE_MAX) if at >= last => at,
                _ => return Err(self.corrupt("deadlines in order")),
            };
            last = deadline;
            let (mut field_text, mut value_text) = (IntText::default(), IntText::default());
            let (field, value) = (field.as_slice(&mut field_text), value.as_slice(&mut value_text));
            if !hash.add(field, value, (deadline < i64::MAX).then_some(deadline)) {
                return Err(self.corrupt(NO_FIELD_TWICE));
            }
        }
        self.finish_hash(hash)
    }

    fn zipmap(&mut self) -> Result<Value, RdbError> {
        let mut hash = self.hash_builder(0);
        let mut distinct = true;
        self.blob(|bytes| {
            zipmap::for_each(&bytes, |field, value| distinct = distinct && hash.add(field, value, None))
        })?;
        if !distinct {
            return Err(self.corrupt(NO_FIELD_TWICE));
        }
        self.finish_hash(hash)
    }
}

const NO_MEMBER_TWICE: &str = "no member twice";
const NO_FIELD_TWICE: &str = "no field twice";

/// How the nodes of a list are kept.
#[derive(Clone, Copy)]
enum Node {
    Ziplist,
    /// Each says what it is.
    Container,
}

fn listpack_of(text: Text<'_>) -> Result<Listpack, Corrupt> {
    match text {
        Text::Owned(bytes) => Listpack::from_vec_checked(bytes),
        text => Listpack::from_bytes_checked(&text),
    }
}

fn ziplist_of(text: Text<'_>) -> Result<Listpack, Corrupt> {
    ziplist::to_listpack(&text)
}

/// A set that is filled from elements in any order, in the encodings that Redis goes through.
struct SetBuilder<'s> {
    stage: Members,
    limits: SetLimits,
    hasher: &'s Hasher,
}

enum Members {
    /// An intset or a hashtable, which find duplicates themselves.
    Set(Set),
    /// Looked through for duplicates when it is complete, in one pass.
    Pack(Listpack, usize),
}

impl<'s> SetBuilder<'s> {
    fn new(count: u64, limits: SetLimits, hasher: &'s Hasher) -> Self {
        let mut set = Set::new();
        let expected = usize::try_from(count).unwrap_or(usize::MAX);
        set.expect(expected, &limits, hasher);
        Self { stage: Members::Set(set), limits, hasher }
    }

    /// False if the member is known to be there already.
    fn add(&mut self, member: &[u8]) -> bool {
        self.leave_ints(member);
        let (listpack, len) = match &mut self.stage {
            Members::Set(set) => return set.add(member, &self.limits, self.hasher),
            Members::Pack(listpack, len) => (listpack, len),
        };
        let fits = *len < self.limits.listpack_entries
            && member.len() <= self.limits.listpack_value
            && listpack.would_fit(Listpack::entry_bytes(member));
        if fits {
            listpack.push_back(member);
            *len += 1;
            return true;
        }
        let listpack = std::mem::take(listpack);
        let Ok(mut set) = Set::from_listpack(listpack, &self.limits, self.hasher) else { return false };
        set.expect(usize::MAX, &self.limits, self.hasher);
        let new = set.add(member, &self.limits, self.hasher);
        self.stage = Members::Set(set);
        new
    }

    /// An intset that cannot take `member` becomes a listpack, if that may hold what is there.
    fn leave_ints(&mut self, member: &[u8]) {
        let Members::Set(set) = &self.stage else { return };
        let Some(ints) = set.as_intset() else { return };
        let fits = ints.len() < self.limits.listpack_entries && longest(ints) <= self.limits.listpack_value;
        if fits && parse_i64(member).is_none() {
            let (mut listpack, len) = (Listpack::new(), ints.len());
            ints.iter().for_each(|n| listpack.push_back_int(n));
            self.stage = Members::Pack(listpack, len);
        }
    }

    /// The set; `None` if a member is there twice.
    fn finish(self) -> Option<Set> {
        match self.stage {
            Members::Set(set) => Some(set),
            Members::Pack(listpack, _) => Set::from_listpack(listpack, &self.limits, self.hasher).ok(),
        }
    }
}

/// The length of the longest text of an integer in the set.
fn longest(ints: &Intset) -> usize {
    [ints.min(), ints.max()].into_iter().flatten().map(|n| LpEntry::Int(n).text_len()).max().unwrap_or(0)
}

/// A hash that is filled from fields in any order, in the encodings that Redis goes through.
struct HashBuilder<'s> {
    stage: Fields,
    limits: HashLimits,
    hasher: &'s Hasher,
}

enum Fields {
    /// Looked through for duplicates when it is complete, in one pass.
    Pack(Listpack, usize),
    Table(Hash),
}

impl<'s> HashBuilder<'s> {
    fn new(count: u64, limits: HashLimits, hasher: &'s Hasher) -> Self {
        let mut builder = Self { stage: Fields::Pack(Listpack::new(), 0), limits, hasher };
        if usize::try_from(count).map_or(true, |count| count > limits.listpack_entries) {
            builder.table();
        }
        builder
    }

    /// False if the field is known to be there already.
    fn add(&mut self, field: &[u8], value: &[u8], deadline: Option<i64>) -> bool {
        if let Fields::Pack(listpack, len) = &mut self.stage {
            let bytes = Listpack::entry_bytes(field).saturating_add(Listpack::entry_bytes(value));
            let fits = deadline.is_none()
                && *len < self.limits.listpack_entries
                && field.len().max(value.len()) <= self.limits.listpack_value
                && listpack.would_fit(bytes);
            if fits {
                listpack.push_back(field);
                listpack.push_back(value);
                *len += 1;
                return true;
            }
        }
        let (limits, hasher) = (self.limits, self.hasher);
        let ttl = deadline.map_or(FieldTtl::Drop, FieldTtl::At);
        self.table().is_some_and(|hash| hash.set_with(field, value, ttl, BEFORE_ALL, &limits, hasher))
    }

    /// The hash as a hashtable; `None` if the listpack before it had a field twice.
    fn table(&mut self) -> Option<&mut Hash> {
        if let Fields::Pack(listpack, _) = &mut self.stage {
            let listpack = std::mem::take(listpack);
            let mut hash = Hash::from_listpack(listpack, &self.limits, self.hasher).ok()?;
            hash.expect(usize::MAX, 0, &self.limits, self.hasher);
            self.stage = Fields::Table(hash);
        }
        match &mut self.stage {
            Fields::Table(hash) => Some(hash),
            Fields::Pack(..) => None,
        }
    }

    /// The hash; `None` if a field is there twice.
    fn finish(self) -> Option<Hash> {
        match self.stage {
            Fields::Pack(listpack, _) => Hash::from_listpack(listpack, &self.limits, self.hasher).ok(),
            Fields::Table(hash) => Some(hash),
        }
    }
}
