//! A whole file or stream, item by item.
//!
//! | opcode   | item                                  | then                                                       |
//! |----------|---------------------------------------|------------------------------------------------------------|
//! | up to 25 | a key: this is its type               | key, value                                                 |
//! | 242, 243 | refused: Redis and Valkey disagree, and both hide keys behind them | |
//! | 244      | how many keys a slot has: a hint      | slot, keys, keys with an expiry                            |
//! | 245      | a library of functions                | its source                                                 |
//! | 246      | refused: functions of a release candidate | |
//! | 247      | data of a module beside its keys      | module, when, parts                                        |
//! | 248, 249 | for the next key: idle time, frequency | a length; a byte                                          |
//! | 250      | something about the file              | two strings                                                |
//! | 251      | how many keys follow: a hint          | keys, keys with an expiry                                  |
//! | 252, 253 | for the next key: expiry              | 8 bytes of milliseconds; 4 bytes of seconds, little-endian |
//! | 254      | the database from here on             | a length                                                   |
//! | 255      | the end                               | CRC-64, little-endian; 0 if it was not computed            |
//!
//! The reader holds no bytes: a mapped file is handed over whole, a stream as far as it has come.

use super::crc64::Digest;
use super::input::Input;
use super::kind::{Family, Kind, Version};
use super::save::{Access, EXPIRE_MS, FREQUENCY, IDLE};
use super::skip::{self, Skip};
use super::string::{self, Text};
use super::write::{AUX, END, FUNCTION, HEADER_BYTES, RESIZE_DB, SELECT_DB};
use super::{ModuleName, RdbError, Unsupported, length};
use crate::slot::Slot;

const EXPIRE_SECONDS: u8 = 253;
const MODULE_AUX: u8 = 247;
pub(super) const FUNCTION_PRE_GA: u8 = 246;
const SLOT_INFO: u8 = 244;
/// Types of values are far below, opcodes above.
const OPCODES_FROM: u8 = 200;
/// Files end with a checksum since then.
const CHECKSUM_SINCE: u16 = 5;
const CHECKSUM_BYTES: usize = 8;
/// In old files the time that stands for none.
const NO_EXPIRY: i64 = -1;
/// Each part of what a module writes is marked; this marks an integer.
const MODULE_INTEGER: u64 = 2;

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// Who wrote the file, and in which version of the format.
    Header {
        /// Who.
        family: Family,
        /// The number in the header.
        version: u16,
    },
    /// Something about the file. Pass over what is unknown.
    Aux {
        /// What.
        key: Text<'a>,
        /// Its value.
        value: Text<'a>,
    },
    /// The keys that follow belong to this database.
    SelectDb(u64),
    /// About how many keys follow in this database.
    ResizeDb {
        /// All keys.
        keys: u64,
        /// Those with an expiry.
        expires: u64,
    },
    /// About how many keys follow in a slot of this database.
    SlotInfo {
        /// The slot.
        slot: Slot,
        /// All keys.
        keys: u64,
        /// Those with an expiry.
        expires: u64,
    },
    /// The source of a library of functions.
    Function(Text<'a>),
    /// Data of a module beside its keys. Redis refuses the file if it does not have that module.
    ModuleAux(ModuleName),
    /// A key.
    Key(Record<'a>),
    /// The end of the file. More bytes may follow that are not part of it.
    End {
        /// The checksum that the file claims; `None` if it has none.
        checksum: Option<u64>,
    },
}

/// A key with its value, which is not decoded yet: [`load::value`](super::load::value) does that, anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The key.
    pub key: Text<'a>,
    /// The type of the value.
    pub kind: u8,
    /// All bytes of the value.
    pub value: &'a [u8],
    /// When the key expires, in Unix milliseconds.
    pub expiry_ms: Option<i64>,
    /// How much it has been used.
    pub access: Option<Access>,
}

/// What was said about the next key.
#[derive(Clone, Copy, Debug, Default)]
struct Attributes {
    expiry_ms: Option<i64>,
    access: Option<Access>,
}

/// Takes a file apart. See [`Reader::next`].
#[derive(Clone, Debug, Default)]
pub struct Reader {
    offset: usize,
    header: Option<(Family, u16)>,
    ended: bool,
    attributes: Attributes,
    /// Where in the current item its value begins, and how far its end was looked for.
    value: Option<(usize, Skip)>,
    digest: Option<Digest>,
}

impl Reader {
    /// A reader that leaves the checksum to its caller.
    pub fn new() -> Self {
        Self::default()
    }

    /// A reader that computes the checksum of what it passes over, and refuses an end that claims another.
    pub fn verifying() -> Self {
        Self { digest: Some(Digest::new()), ..Self::default() }
    }

    /// A reader of keys without a header before them and an end behind them: a section of a file of ours.
    pub fn of_section(family: Family, version: Version) -> Self {
        Self { header: Some((family, version.number())), ..Self::default() }
    }

    /// How many bytes all items so far have taken.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Who wrote the file, and in which version of the format, once the header has been read.
    pub fn header(&self) -> Option<(Family, u16)> {
        self.header
    }

    /// The next item and how many bytes it takes. `bytes` begin where the last item ended.
    ///
    /// O(bytes of the item); a key that comes in pieces is not looked through from its beginning again each time.
    ///
    /// # Errors
    /// [`RdbError::Incomplete`] when the item does not end within `bytes`: call again with the same bytes and more
    /// after them. After any other error the rest of the file is unreadable. Offsets in errors count from the start
    /// of the file.
    pub fn next<'a>(&mut self, bytes: &'a [u8]) -> Result<(Item<'a>, usize), RdbError> {
        let mut input = Input::new(bytes);
        let item = self.item(&mut input).map_err(|error| error.shifted(self.offset))?;
        let used = input.offset();
        if let Some(digest) = &mut self.digest {
            if let Item::End { checksum } = item {
                digest.update(&[END]);
                if checksum.is_some_and(|claimed| claimed != digest.value()) {
                    let at = (self.offset + used).saturating_sub(CHECKSUM_BYTES);
                    return Err(Input::corrupt(at, super::CHECKSUM));
                }
            } else {
                digest.update(&bytes[..used]);
            }
        }
        self.offset += used;
        Ok((item, used))
    }

    fn item<'a>(&mut self, input: &mut Input<'a>) -> Result<Item<'a>, RdbError> {
        let Some((family, version)) = self.header else {
            let (family, version) = header(input)?;
            self.header = Some((family, version));
            return Ok(Item::Header { family, version });
        };
        if self.ended {
            return Err(Input::corrupt(0, "nothing after the end"));
        }
        let mut attributes = self.attributes;
        loop {
            let at = input.offset();
            let opcode = input.byte()?;
            let item = match opcode {
                EXPIRE_MS => {
                    attributes.expiry_ms = Some(i64::from_le_bytes(input.array()?));
                    continue;
                }
                EXPIRE_SECONDS => {
                    attributes.expiry_ms = Some(i64::from(i32::from_le_bytes(input.array()?)) * 1000);
                    continue;
                }
                IDLE => {
                    attributes.access = Some(Access::Idle(length::plain(input)?));
                    continue;
                }
                FREQUENCY => {
                    attributes.access = Some(Access::Frequency(input.byte()?));
                    continue;
                }
                AUX => Item::Aux { key: string::text(input)?, value: string::text(input)? },
                SELECT_DB => Item::SelectDb(length::plain(input)?),
                RESIZE_DB => Item::ResizeDb { keys: length::plain(input)?, expires: length::plain(input)? },
                SLOT_INFO => slot_info(input)?,
                FUNCTION => Item::Function(string::text(input)?),
                MODULE_AUX => module_aux(input)?,
                END => Item::End { checksum: checksum(input, version)? },
                FUNCTION_PRE_GA => {
                    return Err(RdbError::Unsupported { offset: at, what: Unsupported::FunctionPreGa });
                }
                kind => Item::Key(self.key(input, kind, family, attributes)?),
            };
            self.ended = opcode == END;
            // What was said about the next key holds until it comes.
            let key = matches!(item, Item::Key(_));
            self.attributes = if key { Attributes::default() } else { attributes };
            return Ok(item);
        }
    }

    fn key<'a>(
        &mut self,
        input: &mut Input<'a>,
        kind: u8,
        family: Family,
        attributes: Attributes,
    ) -> Result<Record<'a>, RdbError> {
        let Some(known) = Kind::of(kind, family) else {
            let what = if kind >= OPCODES_FROM { Unsupported::Opcode(kind) } else { Unsupported::Kind(kind) };
            return Err(RdbError::Unsupported { offset: input.offset() - 1, what });
        };
        let key = string::text(input)?;
        let start = input.offset();
        let mut skip = match self.value.take() {
            Some((at, skip)) if at == start => skip,
            _ => Skip::new(known),
        };
        match skip.run(input.rest()) {
            Ok(len) => {
                let value = input.take(len)?;
                let expiry_ms = attributes.expiry_ms.filter(|at| *at != NO_EXPIRY);
                Ok(Record { key, kind, value, expiry_ms, access: attributes.access })
            }
            Err(error) => {
                self.value = Some((start, skip));
                Err(error.shifted(start))
            }
        }
    }
}

fn header(input: &mut Input<'_>) -> Result<(Family, u16), RdbError> {
    let magics = [(Family::Redis, &b"REDIS"[..]), (Family::Valkey, b"VALKEY")];
    let there = input.rest();
    let there = &there[..there.len().min(HEADER_BYTES)];
    for (family, magic) in magics {
        if !there.starts_with(magic) {
            continue;
        }
        let digits = input.take(HEADER_BYTES)?.get(magic.len()..).unwrap_or_default();
        let version = digits
            .iter()
            .try_fold(0, |n: u16, digit| digit.is_ascii_digit().then(|| n * 10 + u16::from(digit - b'0')));
        let version = version.ok_or(Input::corrupt(magic.len(), "the version of the format"))?;
        if version == 0 || (family == Family::Valkey && Family::of_version(version) != family) {
            return Err(RdbError::Unsupported { offset: magic.len(), what: Unsupported::Version(version) });
        }
        return Ok((family, version));
    }
    if magics.iter().any(|(_, magic)| magic.starts_with(there)) {
        return Err(RdbError::Incomplete { offset: there.len() });
    }
    Err(Input::corrupt(0, "REDIS or VALKEY and a version"))
}

fn slot_info<'a>(input: &mut Input<'_>) -> Result<Item<'a>, RdbError> {
    let at = input.offset();
    let slot = usize::try_from(length::plain(input)?).ok().and_then(Slot::new);
    let slot = slot.ok_or(Input::corrupt(at, "a slot"))?;
    Ok(Item::SlotInfo { slot, keys: length::plain(input)?, expires: length::plain(input)? })
}

fn module_aux<'a>(input: &mut Input<'_>) -> Result<Item<'a>, RdbError> {
    let id = length::plain(input)?;
    let at = input.offset();
    if length::plain(input)? != MODULE_INTEGER {
        return Err(Input::corrupt(at, "when a module wrote its data"));
    }
    length::plain(input)?;
    skip::module_parts(input)?;
    Ok(Item::ModuleAux(ModuleName::of(id)))
}

fn checksum(input: &mut Input<'_>, version: u16) -> Result<Option<u64>, RdbError> {
    if version < CHECKSUM_SINCE {
        return Ok(None);
    }
    let checksum = u64::from_le_bytes(input.array()?);
    Ok((checksum != 0).then_some(checksum))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Hasher;
    use crate::keyspace::{StrRef, Value, ValueRef};
    use crate::rdb::save::{self, SaveOptions};
    use crate::rdb::{Version, crc64, load, write};
    use crate::settings::Settings;
    use crate::types::set::Set;
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    /// All items of a file that is handed over whole, and how it ends.
    fn items(file: &[u8]) -> (Vec<Item<'_>>, Result<usize, RdbError>) {
        let (mut reader, mut found) = (Reader::verifying(), Vec::new());
        loop {
            match reader.next(&file[reader.offset()..]) {
                Ok((item, _)) => {
                    let end = matches!(item, Item::End { .. });
                    found.push(item);
                    if end {
                        return (found, Ok(reader.offset()));
                    }
                }
                Err(error) => return (found, Err(error)),
            }
        }
    }

    fn finished(mut file: Vec<u8>) -> Vec<u8> {
        let crc = crc64::checksum(&file);
        write::end(&mut file, crc);
        file
    }

    fn sample() -> Vec<u8> {
        let options = SaveOptions::default();
        let mut file = write::header(Version::V10).to_vec();
        write::aux(&mut file, b"redis-ver", b"7.2.0");
        write::aux(&mut file, b"ctime", b"1700000000");
        write::function(&mut file, b"#!lua name=lib", true);
        write::select_db(&mut file, 3);
        write::resize_db(&mut file, 2, 1);
        let mut set = Set::new();
        (0..200).for_each(|n| {
            set.add(format!("{n:010}").as_bytes(), &Settings::default().set_limits(), &Hasher::default());
        });
        save::key(&mut file, &options, b"set", ValueRef::Set(&set), Some(77), Some(Access::Idle(5)));
        let text = ValueRef::Str(StrRef::Raw(b"value"));
        save::key(&mut file, &options, b"12", text, None, Some(Access::Frequency(9)));
        finished(file)
    }

    #[test]
    fn what_was_written_is_read() {
        let file = sample();
        let (found, end) = items(&file);
        assert_eq!(end, Ok(file.len()));
        let borrowed = Text::Borrowed;
        let aux = |key, value| Item::Aux { key: borrowed(key), value: borrowed(value) };
        assert_eq!(found[0], Item::Header { family: Family::Redis, version: 10 });
        assert_eq!(found[1..3], [aux(b"redis-ver", b"7.2.0"), aux(b"ctime", b"1700000000")]);
        assert_eq!(found[3], Item::Function(borrowed(b"#!lua name=lib")));
        assert_eq!(found[4..6], [Item::SelectDb(3), Item::ResizeDb { keys: 2, expires: 1 }]);
        let Item::Key(set) = &found[6] else { panic!("{found:?}") };
        assert_eq!((&*set.key, set.kind, set.expiry_ms), (&b"set"[..], 2, Some(77)));
        assert_eq!(set.access, Some(Access::Idle(5)));
        let loaded = load::value(2, Family::Redis, set.value, &Settings::default(), &Hasher::default());
        let Ok((Value::Set(members), used)) = loaded else { panic!("{loaded:?}") };
        assert_eq!((members.len(), used), (200, set.value.len()));
        let access = Some(Access::Frequency(9));
        let (key, value) = (borrowed(b"12"), &b"\x05value"[..]);
        assert_eq!(found[7], Item::Key(Record { key, kind: 0, value, expiry_ms: None, access }));
        let crc = crc64::checksum(&file[..file.len() - 8]);
        assert_eq!(found[8], Item::End { checksum: Some(crc) });
        assert_eq!(found.len(), 9);
        assert_eq!(file[..9], *b"REDIS0010");
    }

    #[test]
    fn headers() {
        let check = |bytes: &[u8], expected: Result<(Family, u16), RdbError>| {
            let mut reader = Reader::new();
            let item = reader.next(bytes);
            let expected = expected.map(|(family, version)| (Item::Header { family, version }, 9));
            assert_eq!(item, expected, "{bytes:?}");
        };
        check(b"REDIS0001", Ok((Family::Redis, 1)));
        check(b"REDIS0013....", Ok((Family::Redis, 13)));
        check(b"VALKEY080", Ok((Family::Valkey, 80)));
        for version in [Version::V10, Version::V11, Version::V12, Version::Valkey80] {
            check(&write::header(version), Ok((version.family(), version.number())));
        }
        check(b"", Err(RdbError::Incomplete { offset: 0 }));
        check(b"RED", Err(RdbError::Incomplete { offset: 3 }));
        check(b"REDIS001", Err(RdbError::Incomplete { offset: 0 }));
        check(b"VALKEY", Err(RdbError::Incomplete { offset: 0 }));
        check(b"RESP", Err(RdbError::Corrupt { offset: 0, expected: "REDIS or VALKEY and a version" }));
        check(b"REDIS00x1", Err(RdbError::Corrupt { offset: 5, expected: "the version of the format" }));
        let unsupported =
            |offset, version| Err(RdbError::Unsupported { offset, what: Unsupported::Version(version) });
        check(b"REDIS0000", unsupported(5, 0));
        check(b"VALKEY079", unsupported(6, 79));
    }

    #[test]
    fn opcodes() {
        let check = |bytes: &[u8], expected: Result<Item<'_>, RdbError>| {
            let file = [b"REDIS0012", bytes].concat();
            let (found, end) = items(&file);
            match expected {
                Ok(item) => assert_eq!(found.get(1), Some(&item), "{bytes:?}"),
                Err(error) => assert_eq!((found.len(), end), (1, Err(error)), "{bytes:?}"),
            }
        };
        let key = |expiry_ms, access| {
            Ok(Item::Key(Record { key: Text::Borrowed(b"k"), kind: 0, value: b"\x01v", expiry_ms, access }))
        };
        check(b"\0\x01k\x01v", key(None, None));
        check(b"\xfd\x02\0\0\0\0\x01k\x01v", key(Some(2_000), None));
        check(b"\xfd\xfe\xff\xff\xff\0\x01k\x01v", key(Some(-2_000), None));
        check(b"\xfc\xff\xff\xff\xff\xff\xff\xff\xff\0\x01k\x01v", key(None, None));
        check(b"\xf9\x01\xf8\x02\0\x01k\x01v", key(None, Some(Access::Idle(2))));
        let slot = Slot::new(16_383).unwrap();
        check(b"\xf4\x7f\xff\x02\x01", Ok(Item::SlotInfo { slot, keys: 2, expires: 1 }));
        check(b"\xf4\x80\0\0\x40\0\x02\x01", Err(RdbError::Corrupt { offset: 10, expected: "a slot" }));
        check(b"\xf7\0\x02\x01\x05\x02hi\0", Ok(Item::ModuleAux(ModuleName::of(0))));
        let expected = "when a module wrote its data";
        check(b"\xf7\0\x01\x01\0", Err(RdbError::Corrupt { offset: 11, expected }));
        let unsupported = |what| Err(RdbError::Unsupported { offset: 9, what });
        check(b"\xf6", unsupported(Unsupported::FunctionPreGa));
        check(b"\xf3", unsupported(Unsupported::Opcode(243)));
        check(b"\xf2", unsupported(Unsupported::Opcode(242)));
        check(b"\x08", unsupported(Unsupported::Kind(8)));
        check(b"\x1c\x01k", unsupported(Unsupported::Kind(28)));
        check(
            b"\xff\x01\0\0\0\0\0\0\0",
            Err(RdbError::Corrupt { offset: 10, expected: "the checksum of all bytes before" }),
        );
        check(b"\xff\0\0\0\0\0\0\0\0", Ok(Item::End { checksum: None }));
    }

    #[test]
    fn what_is_said_of_the_next_key_waits_for_it() {
        let file = b"REDIS0012\xfc\x07\0\0\0\0\0\0\0\xfe\x01\0\x01k\x01v\0\x01k\x01v";
        let (found, _) = items(file);
        let expiries: Vec<_> = found
            .iter()
            .filter_map(|item| if let Item::Key(key) = item { Some(key.expiry_ms) } else { None })
            .collect();
        assert_eq!(expiries, [Some(7), None]);
    }

    #[test]
    fn old_files_end_without_a_checksum() {
        let mut reader = Reader::verifying();
        let file = b"REDIS0004\xffrest";
        assert!(reader.next(file).is_ok());
        assert_eq!(reader.next(&file[9..]), Ok((Item::End { checksum: None }, 1)));
        let error = reader.next(&file[10..]);
        assert_eq!(error, Err(RdbError::Corrupt { offset: 10, expected: "nothing after the end" }));
    }

    #[test]
    fn a_header_can_be_written_last() {
        let file = sample();
        let (head, rest) = file[..file.len() - 9].split_at(write::HEADER_BYTES);
        let body = crc64::checksum(rest);
        let crc = crc64::combine(crc64::checksum(head), body, rest.len() as u64);
        let mut patched = [head, rest].concat();
        write::end(&mut patched, crc);
        assert_eq!(patched, file);
    }

    proptest! {
        /// However a stream comes in pieces, its items are those of the whole.
        #[test]
        fn pieces_give_the_same_items(cuts in vec(0..2_000usize, 0..30)) {
            let file = sample();
            let (whole, _) = items(&file);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(file.len())).collect();
            cuts.push(file.len());
            cuts.sort_unstable();
            let (mut reader, mut found) = (Reader::verifying(), Vec::new());
            for cut in cuts {
                loop {
                    if matches!(found.last(), Some(Item::End { .. })) {
                        break;
                    }
                    match reader.next(&file[reader.offset()..cut]) {
                        Ok((item, _)) => found.push(item),
                        Err(RdbError::Incomplete { offset }) => {
                            prop_assert!(offset <= cut);
                            break;
                        }
                        Err(error) => prop_assert!(false, "{}", error),
                    }
                }
            }
            prop_assert_eq!(found, whole);
        }

        /// A flipped byte is noticed at the latest by the checksum.
        #[test]
        fn damage_is_noticed(at in 0..4_000usize, flip in 1..=255u8) {
            let mut file = sample();
            let at = at % (file.len() - 8);
            file[at] ^= flip;
            let (_, end) = items(&file);
            prop_assert!(end.is_err(), "{:?}", end);
        }

        #[test]
        fn any_bytes_never_panic(bytes in vec(any::<u8>(), 0..100), opcode in 240..=255u8) {
            let redis = [b"REDIS0012", &[opcode][..], &bytes].concat();
            let valkey = [b"VALKEY080", &bytes[..]].concat();
            for file in [&redis, &valkey, &bytes] {
                let (found, end) = items(file);
                let ended = matches!(found.last(), Some(Item::End { .. }));
                prop_assert_eq!(end.is_ok(), ended);
            }
        }
    }
}
