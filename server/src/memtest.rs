//! `--test-memory`: writes patterns to memory and looks whether they stay.
//!
//! | pattern      | finds                                                            |
//! |--------------|------------------------------------------------------------------|
//! | address      | two addresses that reach the same cell                           |
//! | random       | cells that depend on their neighbours                            |
//! | solid        | bits stuck at 0 or 1                                             |
//! | checkerboard | bits that leak into the next                                     |
//!
//! Each is also copied from the first half to the second and compared, which loads the bus.

use std::fmt;
use std::hint::black_box;

/// A word that didn't keep its value.
#[derive(Debug, PartialEq, Eq)]
pub struct MemoryError {
    /// Index of the word in the tested memory.
    index: usize,
    pattern: &'static str,
    expected: u64,
    found: u64,
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "*** MEMORY ERROR DETECTED: {} test, word {}: {:016x} became {:016x}",
            self.pattern, self.index, self.expected, self.found
        )
    }
}

/// What is printed when all is well.
pub const PASSED: &str = "\nYour memory passed this test.\n\
                          Please if you are still in doubt use the following two tools:\n\
                          1) memtest86: http://www.memtest86.com/\n\
                          2) memtester: http://pyropus.ca/software/memtester/";

/// How often redis-server goes through the memory.
pub const PASSES: usize = 50;

/// Tests so much memory, as often as told, and reports each pass before it starts.
pub fn test(megabytes: usize, passes: usize, mut report: impl FnMut(usize)) -> Result<(), MemoryError> {
    let words = megabytes.saturating_mul((1 << 20) / size_of::<u64>());
    let mut memory = vec![0u64; words];
    for pass in 1..=passes {
        report(pass);
        for (pattern, value) in PATTERNS {
            fill(&mut memory, |index| value(index, pass));
            check(&memory, pattern, |index| value(index, pass))?;
            copy_half(&mut memory);
            check_copy(&memory, pattern)?;
        }
    }
    Ok(())
}

type Pattern = (&'static str, fn(usize, usize) -> u64);

const PATTERNS: [Pattern; 4] = [
    ("address", |index, _| index as u64 ^ 0x5555_5555_0000_0000),
    ("random", |index, pass| mix(index as u64 ^ (pass as u64) << 48)),
    ("solid", |_, pass| if pass % 2 == 0 { u64::MAX } else { 0 }),
    ("checkerboard", |index, pass| {
        if (index + pass).is_multiple_of(2) { 0xaaaa_aaaa_aaaa_aaaa } else { 0x5555_5555_5555_5555 }
    }),
];

/// A number whose every bit depends on every bit of `value` (the finalizer of SplitMix64).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// `black_box` keeps the compiler from concluding what it will read back.
fn fill(memory: &mut [u64], value: impl Fn(usize) -> u64) {
    for (index, word) in memory.iter_mut().enumerate() {
        *word = value(index);
    }
    black_box(memory);
}

fn check(memory: &[u64], pattern: &'static str, value: impl Fn(usize) -> u64) -> Result<(), MemoryError> {
    for (index, &found) in black_box(memory).iter().enumerate() {
        let expected = value(index);
        if found != expected {
            return Err(MemoryError { index, pattern, expected, found });
        }
    }
    Ok(())
}

fn copy_half(memory: &mut [u64]) {
    let (first, second) = memory.split_at_mut(memory.len() / 2);
    for (to, from) in second.iter_mut().zip(first.iter()) {
        *to = *from;
    }
    black_box(memory);
}

fn check_copy(memory: &[u64], pattern: &'static str) -> Result<(), MemoryError> {
    let (first, second) = black_box(memory).split_at(memory.len() / 2);
    match first.iter().zip(second).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(index) => {
            let word = |half: &[u64]| half.get(index).copied().unwrap_or_default();
            Err(MemoryError {
                index: first.len() + index,
                pattern,
                expected: word(first),
                found: word(second),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_memory_passes() {
        let mut reported = Vec::new();
        assert_eq!(test(1, 2, |pass| reported.push(pass)), Ok(()));
        assert_eq!(reported, [1, 2]);
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let mut memory = vec![0; 64];
        fill(&mut memory, |index| index as u64);
        memory[40] ^= 8;
        let error = check(&memory, "address", |index| index as u64).unwrap_err();
        assert_eq!((error.index, error.expected, error.found), (40, 40, 32));
        memory.fill(7);
        memory[40] = 3;
        let error = check_copy(&memory, "solid").unwrap_err();
        assert_eq!((error.index, error.expected, error.found), (40, 7, 3));
    }
}
