//! The names of commands, whatever their case: looked into for every command.
//!
//! Nearly all have eight bytes at most: those are packed into a word, which makes them lower case, hashes them and compares them
//! in a few instructions each. The node alone fills this, so nobody can flood it.

use baton_engine::hash::Hasher;
use std::collections::HashMap;

/// Longer than any command's name.
const NAME_MAX: usize = 64;

/// By name, in lower case.
pub(super) type Numbers = HashMap<Vec<u8>, usize, Hasher>;

/// From names to numbers.
#[derive(Clone, Debug)]
pub(super) struct Names {
    all: Numbers,
    /// Those that can be [packed](pack), each where its word leads to or behind it: a power of two places, of which at least
    /// half are free.
    short: Vec<Short>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Short {
    word: u64,
    /// The length of the name: its word alone does not tell how many zeros it ends with. 0 in a free place.
    len: u32,
    id: u32,
}

impl Names {
    /// These names.
    pub(super) fn new(all: Numbers) -> Self {
        let mut names = Self { short: vec![Short::default(); (2 * all.len() + 1).next_power_of_two()], all };
        for (name, id) in &names.all {
            let Some(word) = pack(name) else { continue };
            let mut at = start(word, names.short.len());
            while names.short[at].len > 0 {
                at = (at + 1) % names.short.len();
            }
            names.short[at] = Short { word, len: name.len() as u32, id: *id as u32 };
        }
        names
    }

    /// The number of this name, in any case.
    #[inline]
    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        let Some(word) = pack(name) else { return self.find_long(name) };
        let mut at = start(word, self.short.len());
        loop {
            let short = &self.short[at];
            if short.word == word && short.len as usize == name.len() {
                return Some(short.id as usize);
            }
            if short.len == 0 {
                return None;
            }
            at = (at + 1) & (self.short.len() - 1);
        }
    }

    fn find_long(&self, name: &[u8]) -> Option<usize> {
        let mut lower = [0; NAME_MAX];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.all.get(&*lower).copied()
    }

    /// Changes the names. Costs as much as making them anew.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Numbers)) {
        change(&mut self.all);
        *self = Self::new(std::mem::take(&mut self.all));
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::new(Numbers::default())
    }
}

/// Where the search for a word starts.
#[inline]
fn start(word: u64, places: usize) -> usize {
    // Fibonacci hashing: the high bits of the product depend on all bytes.
    (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & (places - 1)
}

/// A name of one to eight bytes in lower case as a word: the first byte lowest, zeros behind the last.
#[inline]
fn pack(name: &[u8]) -> Option<u64> {
    // Two reads that overlap: the bytes in the middle are equal in both.
    let word = match name {
        [first, .., last] if name.len() < 4 => {
            let middle = u64::from(name[name.len() / 2]) << (8 * (name.len() / 2));
            u64::from(*first) | middle | u64::from(*last) << (8 * (name.len() - 1))
        }
        [only] => u64::from(*only),
        [] => return None,
        _ if name.len() <= 8 => {
            let (first, last) = (name.first_chunk::<4>()?, name.last_chunk::<4>()?);
            let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
            u64::from(first) | u64::from(last) << (8 * (name.len() - 4))
        }
        _ => return None,
    };
    Some(lower(word))
}

/// Each byte in lower case, as [`u8::to_ascii_lowercase`].
#[inline]
fn lower(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let low = word & (0x7f * EACH);
    // The high bit of each byte says whether it is at least `A`, or greater than `Z`: no sum reaches the next byte.
    let (from_a, past_z) = (low + (0x80 - 0x41) * EACH, low + (0x7f - 0x5a) * EACH);
    let upper = (from_a ^ past_z) & !word & (0x80 * EACH);
    word | upper >> 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lower_case_as_their_bytes_are() {
        for byte in 0..=u8::MAX {
            for at in 0..8 {
                let mut bytes = *b"aZ\xc1@[`{\0";
                bytes[at] = byte;
                let wanted = bytes.map(|byte| byte.to_ascii_lowercase());
                assert_eq!(lower(u64::from_le_bytes(bytes)), u64::from_le_bytes(wanted), "{bytes:x?}");
            }
        }
    }

    #[test]
    fn a_word_holds_the_bytes_in_their_order() {
        let name = b"abcdefgh";
        for len in 1..=8 {
            let mut bytes = [0; 8];
            bytes[..len].copy_from_slice(&name[..len]);
            assert_eq!(pack(&name[..len]), Some(u64::from_le_bytes(bytes)), "{len}");
        }
        assert_eq!((pack(b""), pack(b"abcdefghi")), (None, None));
    }

    #[test]
    fn names_are_found_in_any_case_and_nothing_else_is() {
        let given = ["get", "g", "ge", "mget", "getset", "zrange", "smembers", "zrangebyscore", "config|get"];
        let all = given.iter().enumerate().map(|(id, name)| (name.as_bytes().to_vec(), id)).collect();
        let mut names = Names::new(all);
        for (id, name) in given.iter().enumerate() {
            assert_eq!(names.find(name.as_bytes()), Some(id), "{name}");
            assert_eq!(names.find(name.to_uppercase().as_bytes()), Some(id), "{name}");
        }
        let (long, longer) = ([b'a'; NAME_MAX], [b'a'; NAME_MAX + 1]);
        for other in [&b""[..], b"get\0", b"\0get", b"gett", b"GE\x14", b"ZRANGEBYSCOR", &long, &longer] {
            assert_eq!(names.find(other), None, "{}", other.escape_ascii());
        }
        names.change(|all| {
            all.remove(&b"get"[..]);
            all.insert(b"got".to_vec(), 0);
        });
        assert_eq!((names.find(b"get"), names.find(b"GOT"), names.find(b"mget")), (None, Some(0), Some(3)));
        assert_eq!(Names::default().find(b"get"), None);
    }
}
