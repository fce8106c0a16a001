//! Strings as rows of bits: counting, searching, combining, and integers of any width in between.
//!
//! Bit 0 is the highest bit of the first byte. Behind its end a string is zeros for reading; the functions
//! that write expect that the caller has made it long enough, see [`bytes_for`].

/// In what the ends of a range are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeUnit {
    /// `BYTE`, the default.
    Byte,
    /// `BIT`.
    Bit,
}

/// How many bytes a string needs to hold `bits` bits.
pub fn bytes_for(bits: u64) -> u64 {
    bits.div_ceil(8)
}

/// Whether the bit at `offset` is set.
#[inline]
pub fn get_bit(bytes: &[u8], offset: u64) -> bool {
    let byte = usize::try_from(offset / 8).ok().and_then(|at| bytes.get(at));
    byte.is_some_and(|byte| byte & mask_of(offset) != 0)
}

/// Sets or clears the bit at `offset`, and returns what it was. Nothing happens behind the end.
#[inline]
pub fn set_bit(bytes: &mut [u8], offset: u64, on: bool) -> bool {
    let Some(byte) = usize::try_from(offset / 8).ok().and_then(|at| bytes.get_mut(at)) else { return false };
    let mask = mask_of(offset);
    let was = *byte & mask != 0;
    *byte = if on { *byte | mask } else { *byte & !mask };
    was
}

fn mask_of(offset: u64) -> u8 {
    0x80 >> (offset % 8)
}

/// How many bits are set.
pub fn count_ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    // Four sums at once, so that additions do not wait for each other.
    let (groups, words) = words.as_chunks::<4>();
    let mut sums = [0u64; 4];
    for group in groups {
        for (sum, word) in sums.iter_mut().zip(group) {
            *sum += u64::from(u64::from_ne_bytes(*word).count_ones());
        }
    }
    let words = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones()));
    let rest = rest.iter().map(|byte| u64::from(byte.count_ones()));
    sums.iter().sum::<u64>() + words.sum::<u64>() + rest.sum::<u64>()
}

/// How many bits are set from `start` to `end`, both included, negative from the end: BITCOUNT.
pub fn count_ones_in(bytes: &[u8], start: i64, end: i64, unit: RangeUnit) -> u64 {
    // Both before the start of the string would otherwise be taken for its first byte.
    if start < 0 && end < 0 && start > end {
        return 0;
    }
    let Some((first, last)) = resolve(bytes.len(), start, end, unit) else { return 0 };
    let (first_byte, last_byte) = (first / 8, last / 8);
    let covered = count_ones(&bytes[first_byte..=last_byte]);
    let before = (bytes[first_byte] & before_mask(first)).count_ones();
    let after = (bytes[last_byte] & after_mask(last)).count_ones();
    covered - u64::from(before) - u64::from(after)
}

/// The bits of its byte that come before bit `offset`.
fn before_mask(offset: usize) -> u8 {
    !(0xff >> (offset % 8))
}

/// The bits of its byte that come after bit `offset`.
fn after_mask(offset: usize) -> u8 {
    0x7f >> (offset % 8)
}

/// The first and the last bit of a range that is given as in commands, or `None` if it is empty.
fn resolve(len: usize, start: i64, end: i64, unit: RangeUnit) -> Option<(usize, usize)> {
    let len = len as i128;
    let total = if unit == RangeUnit::Bit { len * 8 } else { len };
    let from_end =
        |index: i64| if index < 0 { (total + i128::from(index)).max(0) } else { i128::from(index) };
    let (start, end) = (from_end(start), from_end(end).min(total - 1));
    if start > end {
        return None;
    }
    let (first, last) = match unit {
        RangeUnit::Bit => (start, end),
        RangeUnit::Byte => (start * 8, end * 8 + 7),
    };
    Some((usize::try_from(first).ok()?, usize::try_from(last).ok()?))
}

/// The position of the first bit that is `wanted`, from `start` to `end`, both included, negative from the
/// end: BITPOS.
///
/// Without an end, the string is followed by zeros, so that the first zero may be the bit behind it. A range
/// that holds no bit has no position either.
pub fn position(bytes: &[u8], wanted: bool, start: i64, end: Option<i64>, unit: RangeUnit) -> Option<u64> {
    let (first, last) = resolve(bytes.len(), start, end.unwrap_or(-1), unit)?;
    let found = first_bit(bytes, wanted, first, last);
    match found {
        None if !wanted && end.is_none() => Some(bytes.len() as u64 * 8),
        _ => found.map(|at| at as u64),
    }
}

fn first_bit(bytes: &[u8], wanted: bool, first: usize, last: usize) -> Option<usize> {
    let (first_byte, last_byte) = (first / 8, last / 8);
    // Looking for a zero is looking for a one in the complement.
    let flip = if wanted { 0u8 } else { 0xff };
    let in_byte = |at: usize, byte: u8| {
        let ones = byte ^ flip;
        (ones != 0).then(|| at * 8 + ones.leading_zeros() as usize)
    };
    // The bits outside of the range, made to be what is not wanted.
    let hide = |byte: u8, mask: u8| (byte & !mask) | (flip & mask);

    let mut head = hide(bytes[first_byte], before_mask(first));
    if first_byte == last_byte {
        head = hide(head, after_mask(last));
        return in_byte(first_byte, head);
    }
    in_byte(first_byte, head)
        .or_else(|| {
            let inner = first_byte + 1;
            let skipped = skip_bytes(&bytes[inner..last_byte], flip);
            bytes[inner..last_byte].get(skipped).and_then(|&byte| in_byte(inner + skipped, byte))
        })
        .or_else(|| in_byte(last_byte, hide(bytes[last_byte], after_mask(last))))
}

/// How many bytes at the start are `skip`.
fn skip_bytes(bytes: &[u8], skip: u8) -> usize {
    let (words, _) = bytes.as_chunks::<8>();
    let words = words.iter().take_while(|word| **word == [skip; 8]).count();
    words * 8 + bytes[words * 8..].iter().take_while(|&&byte| byte == skip).count()
}

/// How BITOP combines strings; shorter ones are followed by zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BitOp {
    /// Set in all.
    And,
    /// Set in any.
    Or,
    /// Set in an odd number.
    Xor,
    /// Not set in the only one.
    Not,
    /// Set in the first, and in no other.
    Diff,
    /// Not set in the first, but in any other.
    Diff1,
    /// Set in the first, and in any other.
    AndOr,
    /// Set in exactly one.
    One,
}

impl BitOp {
    /// Reads the name of an operation, in any case.
    pub fn parse(name: &[u8]) -> Option<Self> {
        [
            (&b"and"[..], BitOp::And),
            (b"or", BitOp::Or),
            (b"xor", BitOp::Xor),
            (b"not", BitOp::Not),
            (b"diff", BitOp::Diff),
            (b"diff1", BitOp::Diff1),
            (b"andor", BitOp::AndOr),
            (b"one", BitOp::One),
        ]
        .into_iter()
        .find_map(|(known, op)| name.eq_ignore_ascii_case(known).then_some(op))
    }

    /// Combines strings into one as long as the longest. `Not` looks at the first only.
    pub fn apply(self, sources: &[&[u8]]) -> Vec<u8> {
        /// What stays in the first level of cache, for the result is passed once per source.
        const BLOCK: usize = 8 * 1024;

        let considered = if self == BitOp::Not { &sources[..sources.len().min(1)] } else { sources };
        let len = considered.iter().map(|source| source.len()).max().unwrap_or(0);
        let mut result = vec![0; len];
        for (n, block) in result.chunks_mut(BLOCK).enumerate() {
            let (start, block_len) = (n * BLOCK, block.len());
            let mut parts = considered.iter().map(|source| {
                let rest = source.get(start..).unwrap_or_default();
                &rest[..rest.len().min(block_len)]
            });
            let Some(first) = parts.next() else { break };
            self.apply_block(block, first, parts);
        }
        result
    }

    /// Combines parts, each at most as long as `block`, which is zeros.
    fn apply_block<'a>(self, block: &mut [u8], first: &[u8], others: impl Iterator<Item = &'a [u8]>) {
        match self {
            BitOp::And => {
                copy(block, first);
                others.for_each(|other| and(block, other));
            }
            BitOp::Or => {
                copy(block, first);
                others.for_each(|other| zip(block, other, |a, b| a | b));
            }
            BitOp::Xor => {
                copy(block, first);
                others.for_each(|other| zip(block, other, |a, b| a ^ b));
            }
            BitOp::Not => {
                copy(block, first);
                block.iter_mut().for_each(|byte| *byte = !*byte);
            }
            BitOp::Diff => {
                copy(block, first);
                others.for_each(|other| zip(block, other, |a, b| a & !b));
            }
            BitOp::Diff1 => {
                others.for_each(|other| zip(block, other, |a, b| a | b));
                zip(block, first, |a, b| a & !b);
            }
            BitOp::AndOr => {
                others.for_each(|other| zip(block, other, |a, b| a | b));
                and(block, first);
            }
            BitOp::One => {
                let mut in_several = vec![0; block.len()];
                copy(block, first);
                for other in others {
                    for ((several, any), &byte) in in_several.iter_mut().zip(block.iter_mut()).zip(other) {
                        *several |= *any & byte;
                        *any |= byte;
                    }
                }
                zip(block, &in_several, |any, several| any & !several);
            }
        }
    }
}

fn copy(block: &mut [u8], part: &[u8]) {
    block[..part.len()].copy_from_slice(part);
}

fn and(block: &mut [u8], part: &[u8]) {
    zip(block, part, |a, b| a & b);
    block[part.len()..].fill(0);
}

fn zip(block: &mut [u8], part: &[u8], combine: impl Fn(u8, u8) -> u8) {
    block.iter_mut().zip(part).for_each(|(a, &b)| *a = combine(*a, b));
}

/// The type of an integer of a bit field: `i1` to `i64`, `u1` to `u63`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldType {
    signed: bool,
    bits: u32,
}

/// What happens to a value that does not fit into its field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The higher bits are dropped.
    #[default]
    Wrap,
    /// It becomes the largest or the smallest value.
    Saturate,
    /// Nothing is written.
    Fail,
}

impl Overflow {
    /// Reads `WRAP`, `SAT` or `FAIL`, in any case.
    pub fn parse(name: &[u8]) -> Option<Self> {
        [(&b"wrap"[..], Overflow::Wrap), (b"sat", Overflow::Saturate), (b"fail", Overflow::Fail)]
            .into_iter()
            .find_map(|(known, overflow)| name.eq_ignore_ascii_case(known).then_some(overflow))
    }
}

impl FieldType {
    /// Reads a type such as `u8` or `i16`. There is no `u64`, as replies have no such integers.
    pub fn parse(name: &[u8]) -> Option<Self> {
        let (signed, bits) = match name {
            [b'i', bits @ ..] => (true, bits),
            [b'u', bits @ ..] => (false, bits),
            _ => return None,
        };
        let bits = crate::number::parse_i64(bits).and_then(|bits| u32::try_from(bits).ok())?;
        let max = if signed { 64 } else { 63 };
        (1..=max).contains(&bits).then_some(FieldType { signed, bits })
    }

    /// How many bits a value has.
    pub fn bits(self) -> u32 {
        self.bits
    }

    /// Reads the value at `offset`; bits behind the end are zero.
    pub fn get(self, bytes: &[u8], offset: u64) -> i64 {
        let (window, shift) = self.window(bytes, offset);
        self.truncate((window >> shift) as u64)
    }

    /// Writes a value, of which only the low bits matter, at `offset`. Bits behind the end are lost.
    pub fn set(self, bytes: &mut [u8], offset: u64, value: i64) {
        let (window, shift) = self.window(bytes, offset);
        let mask = (u128::from(u64::MAX) >> (64 - self.bits)) << shift;
        let window = (window & !mask) | ((value as u128) << shift & mask);
        let rest = usize::try_from(offset / 8).ok().and_then(|first| bytes.get_mut(first..));
        let len = Self::window_len(offset, self.bits);
        rest.unwrap_or_default()
            .iter_mut()
            .zip(&window.to_be_bytes()[..len])
            .for_each(|(to, &from)| *to = from);
    }

    /// The bytes that hold the field, at the high end, and by how much to shift them down.
    fn window(self, bytes: &[u8], offset: u64) -> (u128, u32) {
        let rest = usize::try_from(offset / 8).ok().and_then(|first| bytes.get(first..)).unwrap_or_default();
        let rest = &rest[..rest.len().min(Self::window_len(offset, self.bits))];
        let mut window = [0; 16];
        window[..rest.len()].copy_from_slice(rest);
        (u128::from_be_bytes(window), 128 - (offset % 8) as u32 - self.bits)
    }

    /// How many bytes a field touches: at most nine.
    fn window_len(offset: u64, bits: u32) -> usize {
        ((offset % 8) as u32 + bits).div_ceil(8) as usize
    }

    /// The value to write for `value`, or `None` if it does not fit and must fail.
    ///
    /// A negative value is too large for an unsigned field, not too small. So it is for a signed one when its
    /// distance from the largest value does not fit 64 bits: an overflow in Redis, whose replies we keep.
    pub fn fit(self, value: i64, overflow: Overflow) -> Option<i64> {
        let max = i64::MAX >> (64 - self.bits);
        if !self.signed {
            self.bound(i128::from(value as u64), overflow)
        } else if overflow == Overflow::Saturate && self.bits < 64 && max.checked_sub(value).is_none() {
            Some(max)
        } else {
            self.bound(i128::from(value), overflow)
        }
    }

    /// The value to write for the sum of what [`FieldType::get`] read and an increment, or `None` if it does
    /// not fit and must fail.
    pub fn add(self, value: i64, increment: i64, overflow: Overflow) -> Option<i64> {
        self.bound(i128::from(value) + i128::from(increment), overflow)
    }

    fn bound(self, value: i128, overflow: Overflow) -> Option<i64> {
        let (min, max) = match self.signed {
            true => (-(1i128 << (self.bits - 1)), (1i128 << (self.bits - 1)) - 1),
            false => (0, (1i128 << self.bits) - 1),
        };
        let bounded = value.clamp(min, max);
        match overflow {
            _ if bounded == value => Some(value as i64),
            Overflow::Wrap => Some(self.truncate(value as u64)),
            Overflow::Saturate => Some(bounded as i64),
            Overflow::Fail => None,
        }
    }

    /// The value of the low bits.
    fn truncate(self, value: u64) -> i64 {
        let high = (value << (64 - self.bits)) as i64;
        if self.signed { high >> (64 - self.bits) } else { (high as u64 >> (64 - self.bits)) as i64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_as_bitcount_does() {
        let foobar = b"foobar";
        for (start, end, unit, expected) in [
            (0, -1, RangeUnit::Byte, 26),
            (0, 0, RangeUnit::Byte, 4),
            (1, 1, RangeUnit::Byte, 6),
            (5, 30, RangeUnit::Bit, 17),
            (-2, -1, RangeUnit::Byte, 7),
            (-100, -200, RangeUnit::Byte, 0),
            (-200, -100, RangeUnit::Byte, 4),
            (3, 1, RangeUnit::Byte, 0),
            (i64::MIN, i64::MAX, RangeUnit::Bit, 26),
            (100, 200, RangeUnit::Byte, 0),
        ] {
            assert_eq!(count_ones_in(foobar, start, end, unit), expected, "{start} {end} {unit:?}");
        }
        assert_eq!(count_ones_in(b"", 0, -1, RangeUnit::Byte), 0);
    }

    #[test]
    fn finds_as_bitpos_does() {
        use RangeUnit::{Bit, Byte};
        for (bytes, wanted, start, end, unit, expected) in [
            (&b"\xff\xf0\x00"[..], false, 0, None, Byte, Some(12)),
            (b"\x00\xff\xf0", true, 0, None, Byte, Some(8)),
            (b"\x00\xff\xf0", true, 2, Some(-1), Byte, Some(16)),
            (b"\x00\xff\xf0", true, 7, Some(15), Bit, Some(8)),
            (b"\x00\xff\xf0", true, 7, Some(-3), Bit, Some(8)),
            (b"\x00\x00\x00", true, 0, None, Byte, None),
            (b"\xff\xff\xff", false, 0, None, Byte, Some(24)),
            (b"\xff\xff\xff", false, 1, None, Byte, Some(24)),
            (b"\xff\xff\xff", false, 0, Some(-1), Byte, None),
            (b"\xff\xff\xff", false, 3, None, Byte, None),
            (b"\xff\xff\xff", false, 2, Some(1), Byte, None),
            (b"\xff\x0f", false, 8, Some(8), Bit, Some(8)),
            (b"\xf0", false, 0, Some(3), Bit, None),
            (b"", false, 0, None, Byte, None),
            (b"\x80", true, -100, Some(-200), Byte, Some(0)),
        ] {
            let found = position(bytes, wanted, start, end, unit);
            assert_eq!(found, expected, "{bytes:x?} {wanted} {start} {end:?} {unit:?}");
        }
    }

    #[test]
    fn fields_overflow_as_told() {
        use Overflow::{Fail, Saturate, Wrap};
        for (name, value, increment, overflow, expected) in [
            ("u2", 3, 1, Wrap, Some(0)),
            ("u2", 3, 1, Saturate, Some(3)),
            ("u2", 3, 1, Fail, None),
            ("u2", 0, -1, Wrap, Some(3)),
            ("u2", 0, -1, Saturate, Some(0)),
            ("u2", 2, 1, Fail, Some(3)),
            ("i8", 127, 1, Wrap, Some(-128)),
            ("i8", -128, -1, Wrap, Some(127)),
            ("i8", -128, -1, Saturate, Some(-128)),
            ("i8", 100, i64::MAX, Saturate, Some(127)),
            ("i64", i64::MAX, 1, Wrap, Some(i64::MIN)),
            ("i64", i64::MIN, -1, Saturate, Some(i64::MIN)),
            ("i64", i64::MAX, 1, Fail, None),
            ("u63", i64::MAX, 1, Wrap, Some(0)),
            ("u63", i64::MAX, i64::MAX, Saturate, Some(i64::MAX)),
        ] {
            let field = FieldType::parse(name.as_bytes()).unwrap();
            assert_eq!(field.add(value, increment, overflow), expected, "{name} {value} + {increment}");
        }
        let unsigned = FieldType::parse(b"u8").unwrap();
        assert_eq!(unsigned.fit(-1, Saturate), Some(255));
        assert_eq!(unsigned.fit(257, Wrap), Some(1));
        assert_eq!(unsigned.fit(-1, Fail), None);
        let signed = FieldType::parse(b"i8").unwrap();
        assert_eq!(signed.fit(-200, Saturate), Some(-128));
        assert_eq!(signed.fit(200, Wrap), Some(-56));
        assert_eq!(signed.fit(i64::MIN, Saturate), Some(127));
        assert_eq!(signed.fit(i64::MIN + 127, Saturate), Some(127));
        assert_eq!(signed.fit(i64::MIN + 128, Saturate), Some(-128));
    }

    #[test]
    fn types_have_bounds() {
        for (name, valid) in [
            ("i1", true),
            ("i64", true),
            ("u63", true),
            ("u64", false),
            ("i65", false),
            ("u0", false),
            ("i", false),
            ("x8", false),
            ("u08", false),
            ("U8", false),
            ("i-1", false),
        ] {
            assert_eq!(FieldType::parse(name.as_bytes()).is_some(), valid, "{name}");
        }
    }

    #[test]
    fn names_are_read_in_any_case() {
        assert_eq!(BitOp::parse(b"aNdOr"), Some(BitOp::AndOr));
        assert_eq!(BitOp::parse(b"nor"), None);
        assert_eq!(Overflow::parse(b"SAT"), Some(Overflow::Saturate));
    }

    fn to_bools(bytes: &[u8]) -> Vec<bool> {
        (0..bytes.len() as u64 * 8).map(|offset| get_bit(bytes, offset)).collect()
    }

    fn sparse_bytes() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![4 => Just(0u8), 4 => Just(0xff), 1 => any::<u8>()], 0..60)
    }

    /// The range as the commands define it, one step after the other.
    fn naive_range(len: i64, start: i64, end: i64) -> std::ops::Range<usize> {
        let start = if start < 0 { (len + start).max(0) } else { start };
        let end = if end < 0 { (len + end).max(0) } else { end }.min(len - 1);
        if start > end { 0..0 } else { start as usize..end as usize + 1 }
    }

    proptest! {
        #[test]
        fn bits_equal_a_vector_of_bools(
            mut bytes in proptest::collection::vec(any::<u8>(), 1..20),
            writes in proptest::collection::vec((0..200u64, any::<bool>()), 0..50),
        ) {
            let mut model = to_bools(&bytes);
            for (offset, on) in writes {
                let at = offset as usize;
                let was = model.get_mut(at).map(|bit| std::mem::replace(bit, on)).unwrap_or(false);
                prop_assert_eq!(set_bit(&mut bytes, offset, on), was);
            }
            prop_assert_eq!(to_bools(&bytes), model);
        }

        #[test]
        fn counting_and_searching_equal_the_naive_way(
            bytes in sparse_bytes(), start in -500i64..500, end in -500i64..500, is_bit: bool, wanted: bool,
        ) {
            let bools = to_bools(&bytes);
            let unit = if is_bit { RangeUnit::Bit } else { RangeUnit::Byte };
            let per = if is_bit { 1 } else { 8 };
            let range = naive_range(bools.len() as i64 / per, start, end);
            let range = range.start * per as usize..range.end * per as usize;
            let ones = bools[range.clone()].iter().filter(|bit| **bit).count() as u64;
            if !(start < 0 && end < 0 && start > end) {
                prop_assert_eq!(count_ones_in(&bytes, start, end, unit), ones);
            }
            let found = range.clone().find(|&at| bools[at] == wanted).map(|at| at as u64);
            prop_assert_eq!(position(&bytes, wanted, start, Some(end), unit), found);

            let open = naive_range(bools.len() as i64 / per, start, -1);
            let open = open.start * per as usize..open.end * per as usize;
            let behind = (!wanted && !open.is_empty()).then_some(bools.len() as u64);
            let found = open.clone().find(|&at| bools[at] == wanted).map(|at| at as u64).or(behind);
            prop_assert_eq!(position(&bytes, wanted, start, None, unit), found);
            prop_assert_eq!(count_ones(&bytes), bools.iter().filter(|bit| **bit).count() as u64);
        }

        #[test]
        fn combining_equals_the_naive_way(
            sources in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..5),
            stretch in prop_oneof![4 => Just(1usize), 1 => Just(1000)],
        ) {
            let sources: Vec<Vec<u8>> = sources.iter().map(|source| source.repeat(stretch)).collect();
            let slices: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
            let len = sources.iter().map(Vec::len).max().unwrap_or(0);
            type Rule = fn(bool, usize, usize) -> bool;
            let rules: [(BitOp, Rule); 7] = [
                (BitOp::And, |first, others, all| first && others + 1 == all),
                (BitOp::Or, |first, others, _| first || others > 0),
                (BitOp::Xor, |first, others, _| (others + usize::from(first)) % 2 == 1),
                (BitOp::Diff, |first, others, _| first && others == 0),
                (BitOp::Diff1, |first, others, _| !first && others > 0),
                (BitOp::AndOr, |first, others, _| first && others > 0),
                (BitOp::One, |first, others, _| others + usize::from(first) == 1),
            ];
            for (op, rule) in rules {
                let result = op.apply(&slices);
                prop_assert_eq!(result.len(), len);
                for offset in (0..len as u64 * 8).step_by(if stretch > 1 { 97 } else { 1 }) {
                    let first = get_bit(slices[0], offset);
                    let others = slices[1..].iter().filter(|source| get_bit(source, offset)).count();
                    prop_assert_eq!(get_bit(&result, offset), rule(first, others, slices.len()), "{:?}", op);
                }
            }
            let not: Vec<u8> = sources[0].iter().map(|byte| !byte).collect();
            prop_assert_eq!(BitOp::Not.apply(&slices), not);
        }

        #[test]
        fn fields_equal_a_vector_of_bools(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..24),
            offset in 0..220u64, bits in 1..=64u32, signed: bool, value: i64,
        ) {
            let bits = if signed { bits } else { bits.min(63) };
            let field = FieldType { signed, bits };
            let mut model = to_bools(&bytes);
            let read = |model: &[bool]| {
                let value = (0..bits as usize).fold(0u64, |value, n| {
                    value << 1 | u64::from(model.get(offset as usize + n).copied().unwrap_or(false))
                });
                let negative = signed && value >> (bits - 1) & 1 == 1;
                if negative && bits < 64 { (value | u64::MAX << bits) as i64 } else { value as i64 }
            };
            prop_assert_eq!(field.get(&bytes, offset), read(&model));
            field.set(&mut bytes, offset, value);
            for n in 0..bits as usize {
                if let Some(bit) = model.get_mut(offset as usize + n) {
                    *bit = value as u64 >> (bits as usize - 1 - n) & 1 == 1;
                }
            }
            prop_assert_eq!(to_bools(&bytes), model);
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>, offset: u64, start: i64, end: i64, value: i64) {
            let mut bytes = bytes;
            let field = FieldType { signed: true, bits: 64 };
            field.set(&mut bytes, offset, value);
            field.get(&bytes, offset);
            set_bit(&mut bytes, offset, true);
            for unit in [RangeUnit::Bit, RangeUnit::Byte] {
                count_ones_in(&bytes, start, end, unit);
                position(&bytes, true, start, Some(end), unit);
            }
        }
    }
}
