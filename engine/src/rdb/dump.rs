//! The payload of DUMP and RESTORE: one value.
//!
//! | part    | bytes | meaning                                            |
//! |---------|-------|----------------------------------------------------|
//! | type    | 1     | the type of the value                              |
//! | value   |       | as in a file                                       |
//! | version | 2     | of the format, little-endian                       |
//! | CRC-64  | 8     | of all bytes before it, little-endian              |

use super::kind::Family;
use super::save::{self, SaveOptions};
use super::{RdbError, crc64, load};
use crate::hash::Hasher;
use crate::keyspace::{Value, ValueRef};
use crate::settings::Settings;

const VERSION_BYTES: usize = 2;
const CHECKSUM_BYTES: usize = 8;

/// Appends the payload of a value, for the lowest version that knows its type. O(bytes of the value).
pub fn payload(out: &mut Vec<u8>, options: &SaveOptions, value: ValueRef<'_>) {
    let start = out.len();
    let version = save::value(out, options, value);
    out.extend_from_slice(&version.number().to_le_bytes());
    let crc = crc64::checksum(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// A payload whose checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// The version of the format.
    pub version: u16,
    /// The type of the value.
    pub kind: u8,
    /// The bytes of the value; more may follow, which Redis ignores.
    pub value: &'a [u8],
}

impl<'a> Payload<'a> {
    /// Takes a payload apart; `None` if its checksum is wrong, or it is too short to have one. Any version will do:
    /// what is unknown shows in the type. O(bytes).
    pub fn open(bytes: &'a [u8]) -> Option<Self> {
        let (rest, crc) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
        let (body, version) = rest.split_last_chunk::<VERSION_BYTES>()?;
        if u64::from_le_bytes(*crc) != crc64::checksum(rest) {
            return None;
        }
        // Without a type it is a payload still, of a value that ends before it begins.
        let (kind, value) = body.split_first().map_or((u8::MAX, body), |(kind, value)| (*kind, value));
        Some(Self { version: u16::from_le_bytes(*version), kind, value })
    }

    /// The value. O(bytes).
    ///
    /// # Errors
    /// [`RdbError`].
    pub fn load(&self, settings: &Settings, hasher: &Hasher) -> Result<Value, RdbError> {
        let family = Family::of_version(self.version);
        load::value(self.kind, family, self.value, settings, hasher).map(|(value, _)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::StrRef;
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    /// What a real server handed out for `SET t 12345`.
    const GOLDEN: &[u8] = b"\0\xc1\x39\x30\x0a\0\x9d\x94\xea\x27\x93\xfc\x08\xb9";

    #[test]
    fn golden_bytes() {
        let mut out = b"before".to_vec();
        payload(&mut out, &SaveOptions::default(), ValueRef::Str(StrRef::Int(12_345)));
        assert_eq!(out[6..], *GOLDEN);
        let opened = Payload::open(GOLDEN).unwrap();
        assert_eq!(opened, Payload { version: 10, kind: 0, value: b"\xc1\x39\x30" });
        let loaded = opened.load(&Settings::default(), &Hasher::default());
        assert!(matches!(loaded, Ok(Value::Int(12_345))), "{loaded:?}");
    }

    #[test]
    fn what_is_no_payload_is_refused() {
        for at in 0..GOLDEN.len() {
            assert_eq!(Payload::open(&GOLDEN[..at]), None);
            let mut flipped = GOLDEN.to_vec();
            flipped[at] ^= 1;
            assert_eq!(Payload::open(&flipped), None);
        }
        // Nothing at all, with a checksum that is right.
        let crc = crc64::checksum(&[10, 0]);
        let empty = [&[10, 0][..], &crc.to_le_bytes()].concat();
        let opened = Payload::open(&empty).unwrap();
        assert!(opened.load(&Settings::default(), &Hasher::default()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_with_a_right_checksum_never_panic(body in vec(any::<u8>(), 0..60), valkey: bool) {
            let version: u16 = if valkey { 80 } else { 10 };
            let mut bytes = [&body[..], &version.to_le_bytes()].concat();
            prop_assert!(body.is_empty() || Payload::open(&body).is_none());
            bytes.extend(crc64::checksum(&bytes).to_le_bytes());
            let opened = Payload::open(&bytes).unwrap();
            prop_assert_eq!(opened.version, version);
            _ = opened.load(&Settings::default(), &Hasher::default());
        }
    }
}
