//! The longest common subsequence of two strings: LCS.
//!
//! Redis fills a table of `(n + 1) * (m + 1)` lengths. Neighbours in it differ by one at most, so here a row
//! is one bit per column, and 64 columns are computed at once (Hyyrö, "Bit-parallel LCS-length computation
//! revisited", 2004): 64 times faster, and a 32nd of the memory.
//!
//! Of several subsequences of the same length the one of Redis is found: seen from the ends of both strings,
//! equal bytes always match, else the first string is shortened only if that keeps the length and shortening
//! the second would not.

use std::collections::TryReserveError;
use std::ops::Range;

/// A run of bytes that both strings share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Where it is in the first string.
    pub a: Range<usize>,
    /// Where it is in the second string.
    pub b: Range<usize>,
}

impl Match {
    /// The number of bytes, at least one.
    #[allow(clippy::len_without_is_empty, reason = "a match is never empty")]
    pub fn len(&self) -> usize {
        self.a.len()
    }
}

/// The bytes of the table that Redis would need for strings of these lengths, for the limit that
/// `proto-max-bulk-len` puts on it.
pub fn table_bytes(a_len: usize, b_len: usize) -> u64 {
    let cells = (a_len as u64).saturating_add(1).saturating_mul((b_len as u64).saturating_add(1));
    cells.saturating_mul(size_of::<u32>() as u64)
}

/// The length of the subsequence. Takes `O(a * b / 64)` time and `O(b)` memory.
///
/// # Errors
/// When there is not enough memory.
pub fn length(a: &[u8], b: &[u8]) -> Result<usize, TryReserveError> {
    Ok(Rows::compute(a, b, false)?.length())
}

/// The subsequence. Takes `O(a * b / 64)` time and `a * b / 8` bytes.
///
/// # Errors
/// When there is not enough memory.
pub fn subsequence(a: &[u8], b: &[u8]) -> Result<Vec<u8>, TryReserveError> {
    let mut text = Vec::new();
    for found in matches(a, b)?.into_iter().rev() {
        text.extend_from_slice(&a[found.a]);
    }
    Ok(text)
}

/// The runs of the subsequence, from the ends of the strings to their starts, as `LCS IDX` lists them.
/// Their lengths add up to that of the subsequence.
///
/// Takes `O(a * b / 64)` time and `a * b / 8` bytes.
///
/// # Errors
/// When there is not enough memory.
pub fn matches(a: &[u8], b: &[u8]) -> Result<Vec<Match>, TryReserveError> {
    let rows = Rows::compute(a, b, true)?;
    let mut found: Vec<Match> = Vec::new();
    let (mut i, mut j) = (a.len(), b.len());
    while i > 0 && j > 0 {
        if a[i - 1] != b[j - 1] {
            if rows.grows_at(i, j) {
                i -= 1
            } else {
                j -= 1
            }
            continue;
        }
        (i, j) = (i - 1, j - 1);
        match found.last_mut() {
            Some(last) if last.a.start == i + 1 && last.b.start == j + 1 => {
                (last.a.start, last.b.start) = (i, j);
            }
            _ => found.push(Match { a: i..i + 1, b: j..j + 1 }),
        }
    }
    Ok(found)
}

/// Rows of the table, one per byte of `a`: a bit is zero where the length grows from the column before.
struct Rows {
    /// All rows one after the other, or the last alone.
    bits: Vec<u64>,
    words_per_row: usize,
}

impl Rows {
    fn compute(a: &[u8], b: &[u8], keep_all: bool) -> Result<Self, TryReserveError> {
        let masks = Masks::of(a, b)?;
        let words_per_row = masks.words;
        let kept_rows = if keep_all { a.len() } else { 1 };
        let mut bits = Vec::new();
        bits.try_reserve_exact(kept_rows.saturating_mul(words_per_row))?;
        let mut row = filled(words_per_row, u64::MAX)?;
        for &byte in a {
            let mut carry = false;
            for (word, &mask) in row.iter_mut().zip(masks.row(byte)) {
                let (sum, over) = word.overflowing_add(*word & mask);
                let (sum, over_by_carry) = sum.overflowing_add(u64::from(carry));
                carry = over | over_by_carry;
                *word = sum | (*word & !mask);
            }
            if keep_all {
                bits.extend_from_slice(&row);
            }
        }
        if !keep_all {
            bits = row;
        }
        Ok(Rows { bits, words_per_row })
    }

    /// The length in the last column of the last row. Bits behind the last column stay ones.
    fn length(&self) -> usize {
        self.bits.iter().map(|word| word.count_zeros() as usize).sum()
    }

    /// Whether the subsequence of the first `i` and `j` bytes is longer than that of `i` and `j - 1`.
    ///
    /// Where the bytes before `i` and `j` differ, one of both strings can be shortened for free: the first
    /// one then, and only then.
    fn grows_at(&self, i: usize, j: usize) -> bool {
        let word = self.bits[(i - 1) * self.words_per_row + (j - 1) / 64];
        word >> ((j - 1) % 64) & 1 == 0
    }
}

/// For each byte that `a` holds, where it is in `b`.
struct Masks {
    bits: Vec<u64>,
    words: usize,
    /// The row of each byte.
    row_of: [u16; 256],
}

impl Masks {
    fn of(a: &[u8], b: &[u8]) -> Result<Self, TryReserveError> {
        const ABSENT: u16 = u16::MAX;

        let words = b.len().div_ceil(64);
        let mut row_of = [ABSENT; 256];
        let mut rows = 0;
        for &byte in a {
            let row = &mut row_of[usize::from(byte)];
            if *row == ABSENT {
                *row = rows;
                rows += 1;
            }
        }
        let mut bits = filled(usize::from(rows).saturating_mul(words), 0)?;
        for (j, &byte) in b.iter().enumerate() {
            let row = row_of[usize::from(byte)];
            if row != ABSENT {
                bits[usize::from(row) * words + j / 64] |= 1 << (j % 64);
            }
        }
        Ok(Masks { bits, words, row_of })
    }

    /// The row of a byte that `a` holds.
    fn row(&self, byte: u8) -> &[u64] {
        let start = usize::from(self.row_of[usize::from(byte)]) * self.words;
        &self.bits[start..start + self.words]
    }
}

fn filled(len: usize, value: u64) -> Result<Vec<u64>, TryReserveError> {
    let mut words = Vec::new();
    words.try_reserve_exact(len)?;
    words.resize(len, value);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(a: &str, b: &str, expected: &str, ranges: &[(Range<usize>, Range<usize>)]) {
        let (a, b) = (a.as_bytes(), b.as_bytes());
        assert_eq!(length(a, b), Ok(expected.len()));
        assert_eq!(subsequence(a, b).unwrap(), expected.as_bytes());
        let found: Vec<_> = matches(a, b).unwrap().into_iter().map(|found| (found.a, found.b)).collect();
        assert_eq!(found, ranges);
    }

    #[test]
    fn small_cases() {
        check("ohmytext", "mynewtext", "mytext", &[(4..8, 5..9), (2..4, 0..2)]);
        check("", "", "", &[]);
        check("abc", "", "", &[]);
        check("", "abc", "", &[]);
        check("a", "a", "a", &[(0..1, 0..1)]);
        check("abc", "xyz", "", &[]);
        // Of `b` and `a` the walk from the end prefers to shorten the second string.
        check("ab", "ba", "b", &[(1..2, 0..1)]);
    }

    /// From redis-server 7.0.15.
    #[test]
    fn choices_equal_those_of_a_real_server() {
        for (a, b, expected) in GOLDEN {
            assert_eq!(subsequence(a.as_bytes(), b.as_bytes()).unwrap(), expected.as_bytes(), "{a} {b}");
        }
    }

    const GOLDEN: &[(&str, &str, &str)] = &[
        ("acccacbbbc", "acbbccbacac", "acccacc"),
        ("abbacabc", "acaaacaa", "acac"),
        ("gbebebbga", "ddbchhf", "b"),
        ("fhccgfdhafbg", "ahfddffged", "hfdfg"),
        ("bcacbbb", "babcba", "babb"),
    ];

    #[test]
    fn the_table_of_redis_is_counted() {
        assert_eq!(table_bytes(0, 0), 4);
        assert_eq!(table_bytes(9, 99), 4000);
        assert_eq!(table_bytes(usize::MAX, usize::MAX), u64::MAX);
    }

    /// The table of lengths, and the walk over it.
    fn naive(a: &[u8], b: &[u8]) -> (Vec<u8>, Vec<(usize, usize)>) {
        let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
        for i in 1..=a.len() {
            for j in 1..=b.len() {
                table[i][j] = if a[i - 1] == b[j - 1] {
                    table[i - 1][j - 1] + 1
                } else {
                    table[i - 1][j].max(table[i][j - 1])
                };
            }
        }
        let (mut i, mut j, mut text, mut pairs) = (a.len(), b.len(), Vec::new(), Vec::new());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                text.push(a[i]);
                pairs.push((i, j));
            } else if table[i - 1][j] > table[i][j - 1] {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        text.reverse();
        (text, pairs)
    }

    proptest! {
        #[test]
        fn equals_the_table(a in "[abcd]{0,150}", b in "[abce]{0,150}") {
            let (a, b) = (a.as_bytes(), b.as_bytes());
            let (text, pairs) = naive(a, b);
            prop_assert_eq!(length(a, b), Ok(text.len()));
            prop_assert_eq!(subsequence(a, b).unwrap(), text);
            let found = matches(a, b).unwrap();
            let found_pairs: Vec<_> =
                found.iter().flat_map(|found| found.a.clone().zip(found.b.clone()).rev()).collect();
            prop_assert_eq!(found_pairs, pairs);
            // Runs are as long as they can be.
            let joinable = |two: &[Match]| two[1].a.end == two[0].a.start && two[1].b.end == two[0].b.start;
            prop_assert!(!found.windows(2).any(joinable));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(a: Vec<u8>, b: Vec<u8>) {
            let len = length(&a, &b).unwrap();
            prop_assert_eq!(matches(&a, &b).unwrap().iter().map(Match::len).sum::<usize>(), len);
        }
    }
}
