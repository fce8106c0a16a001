//! Hash slots: which of the 16,384 parts of the key space a key belongs to (Redis Cluster specification).

/// Number of hash slots.
pub const SLOTS: usize = 16_384;

/// A hash slot, always below [`SLOTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// Slot 0.
    pub const FIRST: Self = Self(0);

    /// The slot numbered `n`, if there is one.
    pub fn new(n: usize) -> Option<Self> {
        (n < SLOTS).then_some(Self(n as u16))
    }

    /// The slot of a key: CRC16 of the key, or of the `{tag}` in it.
    #[inline]
    pub fn of(key: &[u8]) -> Self {
        Self(crc16(tag(key)) & (SLOTS as u16 - 1))
    }

    /// Its number.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// All slots, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SLOTS as u16).map(Self)
    }
}

/// What of the key decides about its slot: the part between the first `{` and the next `}` when it is not
/// empty, else the whole key.
#[inline]
fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else { return key };
    match memchr::memchr(b'}', &key[open + 1..]) {
        None | Some(0) => key,
        Some(len) => &key[open + 1..open + 1 + len],
    }
}

/// CRC16-XMODEM (polynomial 0x1021), as Redis Cluster uses it. Two bytes a step.
#[inline]
fn crc16(bytes: &[u8]) -> u16 {
    let mut pairs = bytes.chunks_exact(2);
    let mut crc = 0u16;
    for pair in &mut pairs {
        let high = usize::from((crc >> 8) as u8 ^ pair[0]);
        let low = usize::from(crc as u8 ^ pair[1]);
        crc = TABLES[1][high] ^ TABLES[0][low];
    }
    for byte in pairs.remainder() {
        crc = (crc << 8) ^ TABLES[0][usize::from((crc >> 8) as u8 ^ byte)];
    }
    crc
}

/// `TABLES[0]` advances by one byte, `TABLES[1]` by a byte that is followed by another.
static TABLES: [[u16; 256]; 2] = tables();

const fn tables() -> [[u16; 256]; 2] {
    let mut out = [[0; 256]; 2];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        out[0][i] = crc;
        i += 1;
    }
    i = 0;
    while i < 256 {
        let crc = out[0][i];
        out[1][i] = (crc << 8) ^ out[0][(crc >> 8) as usize];
        i += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_equal_those_of_redis_cluster() {
        for (key, slot) in [
            ("", 0),
            ("123456789", 12739),
            ("foo", 12182),
            ("{user1000}.following", 3443),
            ("{user1000}.followers", 3443),
            ("foo{}{bar}", 8363),
            ("foo{{bar}}zap", 4015),
            ("foo{bar}{zap}", 5061),
            ("key:000000000001", 8924),
        ] {
            assert_eq!(Slot::of(key.as_bytes()).index(), slot, "{key}");
        }
    }
}
