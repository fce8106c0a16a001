//! What a file has besides its keys, which [`save`](super::save) writes.
//!
//! | part   | bytes                                                                                   |
//! |--------|-----------------------------------------------------------------------------------------|
//! | header | `REDIS` and four digits, or `VALKEY` and three                                          |
//! | items  | an opcode or a type each, see [`file`](super::file)                                     |
//! | end    | opcode 255, then CRC-64 of all bytes before it, little-endian                           |
//!
//! The header names the lowest version that knows everything in the file, which is only known at the end. It is
//! always as long: write any, and replace it; [`crc64::combine`](super::crc64::combine) spares reading the file again.

use super::crc64::Digest;
use super::kind::Version;
use super::{length, string};

pub(crate) const AUX: u8 = 250;
pub(super) const RESIZE_DB: u8 = 251;
pub(super) const SELECT_DB: u8 = 254;
pub(super) const FUNCTION: u8 = 245;
pub(crate) const END: u8 = 255;

/// How long a header is, of any version.
pub const HEADER_BYTES: usize = 9;

/// The first bytes of a file of this version.
pub fn header(version: Version) -> [u8; HEADER_BYTES] {
    match version {
        Version::V10 => *b"REDIS0010",
        Version::V11 => *b"REDIS0011",
        Version::V12 => *b"REDIS0012",
        Version::Valkey80 => *b"VALKEY080",
    }
}

/// Something about the file: whoever does not know `key` passes over it.
pub fn aux(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.push(AUX);
    string::encode(out, key, false);
    string::encode(out, value, false);
}

/// The keys that follow belong to this database.
pub fn select_db(out: &mut Vec<u8>, db: u64) {
    out.push(SELECT_DB);
    length::encode(db, out);
}

/// About so many keys follow, so many of them with an expiry: a hint.
pub fn resize_db(out: &mut Vec<u8>, keys: u64, expires: u64) {
    out.push(RESIZE_DB);
    length::encode(keys, out);
    length::encode(expires, out);
}

/// The source of a library of functions.
pub fn function(out: &mut Vec<u8>, code: &[u8], compress: bool) {
    out.push(FUNCTION);
    string::encode(out, code, compress);
}

/// The end of a file, all other bytes of which have the checksum `crc`.
pub fn end(out: &mut Vec<u8>, crc: u64) {
    let mut digest = Digest::resumed(crc);
    digest.update(&[END]);
    out.push(END);
    out.extend_from_slice(&digest.value().to_le_bytes());
}
