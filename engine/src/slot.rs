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

/// CRC16-XMODEM (polynomial 0x1021), as Redis Cluster uses it. Up to eight bytes a step: of these only two depend on what came
/// before, so the processor looks the others up meanwhile.
#[inline]
fn crc16(bytes: &[u8]) -> u16 {
    let (eights, rest) = bytes.as_chunks::<8>();
    let mut crc = eights.iter().fold(0, step);
    let (fours, rest) = rest.as_chunks::<4>();
    crc = fours.iter().fold(crc, step);
    let (twos, rest) = rest.as_chunks::<2>();
    crc = twos.iter().fold(crc, step);
    rest.iter().fold(crc, |crc, byte| (crc << 8) ^ TABLES[0][usize::from((crc >> 8) as u8 ^ byte)])
}

/// The checksum after some more bytes: at least two.
#[inline]
fn step<const N: usize>(crc: u16, bytes: &[u8; N]) -> u16 {
    let [first, second] = crc.to_be_bytes();
    let behind = (2..N).fold(0, |sum, at| sum ^ TABLES[N - 1 - at][usize::from(bytes[at])]);
    behind ^ TABLES[N - 1][usize::from(bytes[0] ^ first)] ^ TABLES[N - 2][usize::from(bytes[1] ^ second)]
}

/// `TABLES[n]` advances by a byte that `n` others follow.
static TABLES: [[u16; 256]; 8] = tables();

const fn tables() -> [[u16; 256]; 8] {
    let mut out = [[0; 256]; 8];
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
    let mut behind = 1;
    while behind < 8 {
        i = 0;
        while i < 256 {
            let crc: u16 = out[behind - 1][i];
            out[behind][i] = (crc << 8) ^ out[0][(crc >> 8) as usize];
            i += 1;
        }
        behind += 1;
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

    #[test]
    fn steps_of_any_length_lead_to_the_same_checksum() {
        let bytes: Vec<u8> = (0..64_u32).map(|n| (n * 151 + 7) as u8).collect();
        for (start, end) in (0..8).flat_map(|start| (start..64).map(move |end| (start, end))) {
            let bit_by_bit = bytes[start..end].iter().fold(0_u16, |crc, byte| {
                (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| (crc << 1) ^ ((crc >> 15) * 0x1021))
            });
            assert_eq!(crc16(&bytes[start..end]), bit_by_bit, "{start}..{end}");
        }
    }
}
