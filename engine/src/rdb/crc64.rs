//! CRC-64 with the polynomial of Jones, as Redis writes it after files and DUMP payloads.

use crc_fast::CrcAlgorithm::Crc64Redis;

/// The checksum of bytes that come piece by piece.
#[derive(Clone, Copy, Debug)]
pub struct Digest(crc_fast::Digest);

impl Default for Digest {
    fn default() -> Self {
        Self::new()
    }
}

impl Digest {
    /// The checksum of nothing: 0.
    pub fn new() -> Self {
        Self(crc_fast::Digest::new(Crc64Redis))
    }

    /// Goes on from bytes whose checksum is `crc`.
    pub fn resumed(crc: u64) -> Self {
        Self(crc_fast::Digest::new_with_init_state(Crc64Redis, crc))
    }

    /// Adds the next bytes.
    #[inline]
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes so far.
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.finalize()
    }
}

/// The checksum of `bytes`.
#[inline]
pub fn checksum(bytes: &[u8]) -> u64 {
    crc_fast::checksum(Crc64Redis, bytes)
}

/// The checksum of two pieces one after the other, from the checksum of each and the length of the second.
/// O(log second_len). So the header of a file can be written last.
pub fn combine(first: u64, second: u64, second_len: u64) -> u64 {
    crc_fast::checksum_combine(Crc64Redis, first, second, second_len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    /// Bit by bit, as the definition says: reflected, nothing inverted.
    fn naive(bytes: &[u8]) -> u64 {
        const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;
        bytes.iter().fold(0, |crc, byte| {
            (0..8).fold(crc ^ u64::from(*byte), |crc, _| (crc >> 1) ^ (POLYNOMIAL * (crc & 1)))
        })
    }

    #[test]
    fn the_check_value_of_redis() {
        assert_eq!(checksum(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(naive(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!((checksum(b""), Digest::new().value()), (0, 0));
    }

    proptest! {
        /// All ways to compute it agree, over the lengths where the implementation changes its method.
        #[test]
        fn every_way_is_the_same(bytes in vec(any::<u8>(), 0..1_500), cut in 0..1_500usize) {
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let expected = naive(&bytes);
            prop_assert_eq!(checksum(&bytes), expected);
            let mut digest = Digest::new();
            digest.update(first);
            let resumed = Digest::resumed(digest.value());
            for mut digest in [digest, resumed] {
                digest.update(second);
                prop_assert_eq!(digest.value(), expected);
            }
            let parts = (checksum(first), checksum(second));
            prop_assert_eq!(combine(parts.0, parts.1, second.len() as u64), expected);
        }
    }
}
