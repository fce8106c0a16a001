//! Choices drawn from the input; and inputs drawn from a seed.

use baton_engine::random::Rng;

/// Reads choices off the front of the input. Past its end everything is zero.
#[derive(Debug)]
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    /// Choices that the bytes stand for.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether all has been read.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// The next two bytes as a number.
    pub fn pair(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// The next eight bytes as a number.
    pub fn integer(&mut self) -> i64 {
        i64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.pair()) % bound
    }

    /// The next bytes: at most so many.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// Any bytes, as many as `len_max` at most.
pub fn random_bytes(rng: &mut Rng, len_max: usize) -> Vec<u8> {
    (0..rng.below(len_max + 1)).map(|_| rng.next_u64() as u8).collect()
}

/// Changes a few places of an input: bits, bytes, pieces removed, doubled, or swapped for a piece of `other`.
pub fn mutate(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8]) {
    const LEN_MAX: usize = 16 * 1024;
    for _ in 0..=rng.below(6) {
        if input.is_empty() {
            *input = random_bytes(rng, 16);
            continue;
        }
        let at = rng.below(input.len());
        let end = (at + 1 + rng.below(16)).min(input.len());
        match rng.below(7) {
            0 => input[at] ^= 1 << rng.below(8),
            1 => input[at] = rng.next_u64() as u8,
            2 => input[at] = [0, 1, 0x7f, 0x80, 0xfe, 0xff][rng.below(6)],
            3 => drop(input.drain(at..end)),
            4 => input.extend_from_within(at..end),
            5 => input.truncate(at),
            _ if other.is_empty() => {}
            _ => {
                let from = rng.below(other.len());
                let to = (from + 1 + rng.below(64)).min(other.len());
                input.splice(at..at, other[from..to].iter().copied());
            }
        }
        input.truncate(LEN_MAX);
    }
}
