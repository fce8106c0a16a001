//! LZF: the compression of strings in snapshots.
//!
//! | first byte | then                    | meaning                                                            |
//! |------------|-------------------------|--------------------------------------------------------------------|
//! | `000nnnnn` | n + 1 bytes             | these bytes                                                        |
//! | `nnnddddd` | 1 byte, the low `d`     | n + 2 bytes (n up to 6) again, from d + 1 bytes back               |
//! | `111ddddd` | 1 byte n, then as above | n + 9 bytes again, from d + 1 bytes back                           |
//!
//! What is repeated may overlap what it becomes: from one byte back, a byte is repeated.
//!
//! The bytes that `compress` writes are mostly those of Redis, but nothing rests on that: how repetitions are found
//! is not part of the format.

const LITERALS_MAX: usize = 32;
const DISTANCE_MAX: usize = 1 << 13;
const MATCH_MAX: usize = 264;
/// Shorter repetitions do not pay.
const MATCH_MIN: usize = 3;
/// No compressed byte stands for more than this: three bytes for the longest repetition.
const EXPANSION_MAX: usize = MATCH_MAX / 3;
/// After so many bytes without a repetition the search takes larger steps, and larger ones after as many again.
const PATIENCE_SHIFT: u32 = 6;

/// Where a hash was last seen, in as many bits as the input asks for.
trait Slot: Copy + Default {
    fn of(position: usize) -> Self;
    fn position(self) -> usize;
}

impl Slot for u8 {
    #[inline]
    fn of(position: usize) -> Self {
        position as u8
    }

    #[inline]
    fn position(self) -> usize {
        usize::from(self)
    }
}

impl Slot for u16 {
    #[inline]
    fn of(position: usize) -> Self {
        position as u16
    }

    #[inline]
    fn position(self) -> usize {
        usize::from(self)
    }
}

impl Slot for u32 {
    #[inline]
    fn of(position: usize) -> Self {
        position as u32
    }

    #[inline]
    fn position(self) -> usize {
        self as usize
    }
}

/// Compresses `input` into `out`; the number of bytes written, `None` if it does not fit there. O(n).
pub(super) fn compress(input: &[u8], out: &mut [u8]) -> Option<usize> {
    // A small table is quickly cleared, a large one finds more.
    match input.len() {
        0 => None,
        1..=0xff => Packer::new(input, out).run(&mut [0u8; 1 << 9]),
        0x100..=0x200 => Packer::new(input, out).run(&mut [0u16; 1 << 10]),
        0x201..=0xffff => Packer::new(input, out).run(&mut [0u16; 1 << 13]),
        // A position that does not fit 32 bits is cut, and then found to hold something else.
        _ => Packer::new(input, out).run::<u32, { 1 << 16 }>(Box::new([0; 1 << 16]).as_mut()),
    }
}

struct Packer<'a> {
    input: &'a [u8],
    out: &'a mut [u8],
    written: usize,
}

impl<'a> Packer<'a> {
    fn new(input: &'a [u8], out: &'a mut [u8]) -> Self {
        Self { input, out, written: 0 }
    }

    #[inline]
    fn run<S: Slot, const SLOTS: usize>(mut self, table: &mut [S; SLOTS]) -> Option<usize> {
        let input = self.input;
        let (mut at, mut literals_from, mut misses) = (0, 0, 0usize);
        while let Some(next) = input.get(at..at + MATCH_MIN) {
            let slot = &mut table[hash(next) & (SLOTS - 1)];
            let earlier = slot.position();
            *slot = S::of(at);
            // Position 0 is how an empty slot reads: it is never taken for a repetition, in Redis neither.
            let found = earlier > 0
                && earlier < at
                && at - earlier <= DISTANCE_MAX
                && input[earlier..earlier + MATCH_MIN] == *next;
            if !found {
                at += 1 + (misses >> PATIENCE_SHIFT);
                misses += 1;
                continue;
            }
            // Redis leaves the last two bytes to the literals.
            let len_max = (input.len() - at - 2).clamp(MATCH_MIN, MATCH_MAX);
            let len = common_prefix(&input[earlier..], &input[at..at + len_max]);
            self.literals(&input[literals_from..at])?;
            self.repetition(at - earlier, len)?;
            at += len;
            (literals_from, misses) = (at, 0);
            for inside in [at - 2, at - 1] {
                if let Some(next) = input.get(inside..inside + MATCH_MIN) {
                    table[hash(next) & (SLOTS - 1)] = S::of(inside);
                }
            }
        }
        self.literals(&input[literals_from..])?;
        Some(self.written)
    }

    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.written + bytes.len();
        self.out.get_mut(self.written..end)?.copy_from_slice(bytes);
        self.written = end;
        Some(())
    }

    fn literals(&mut self, bytes: &[u8]) -> Option<()> {
        bytes.chunks(LITERALS_MAX).try_for_each(|chunk| {
            self.put(&[(chunk.len() - 1) as u8])?;
            self.put(chunk)
        })
    }

    fn repetition(&mut self, distance: usize, len: usize) -> Option<()> {
        let (back, extra) = (distance - 1, len - 2);
        let high = (back >> 8) as u8;
        match u8::try_from(extra) {
            Ok(extra @ 0..=6) => self.put(&[high | extra << 5, back as u8]),
            _ => self.put(&[high | 7 << 5, (extra - 7) as u8, back as u8]),
        }
    }
}

#[inline]
fn hash(bytes: &[u8]) -> usize {
    let n = bytes.iter().fold(0u32, |n, byte| n << 8 | u32::from(*byte));
    (n.wrapping_mul(0x9e37_79b1) >> 16) as usize
}

/// How many bytes of `b` are also at the start of `a`, which is not shorter.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    const WORD: usize = size_of::<u64>();
    let words = a.as_chunks::<WORD>().0.iter().zip(b.as_chunks::<WORD>().0);
    let same = words.take_while(|(a, b)| a == b).count() * WORD;
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
}

/// Restores the `len` bytes that were compressed to `input`; `None` if that is not what it holds. O(len).
pub(super) fn decompress(input: &[u8], len: usize) -> Option<Vec<u8>> {
    if len > input.len().saturating_mul(EXPANSION_MAX) {
        return None;
    }
    let mut out = Vec::with_capacity(len);
    let mut rest = input.iter();
    while let Some(&first) = rest.next() {
        let count = usize::from(first >> 5);
        if count == 0 {
            let (literals, after) = rest.as_slice().split_at_checked(usize::from(first) + 1)?;
            out.extend_from_slice(literals);
            rest = after.iter();
        } else {
            let extra = if count == 7 { usize::from(*rest.next()?) } else { 0 };
            let distance = (usize::from(first & 0x1f) << 8 | usize::from(*rest.next()?)) + 1;
            repeat(&mut out, distance, count + extra + 2)?;
        }
        if out.len() > len {
            return None;
        }
    }
    (out.len() == len).then_some(out)
}

fn repeat(out: &mut Vec<u8>, distance: usize, mut len: usize) -> Option<()> {
    let from = out.len().checked_sub(distance)?;
    // What is there already is repeated as a whole, twice as much each time.
    while len > 0 {
        let piece = len.min(out.len() - from);
        out.extend_from_within(from..from + piece);
        len -= piece;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

    fn packed(input: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0; input.len().saturating_sub(4)];
        let len = compress(input, &mut out)?;
        out.truncate(len);
        Some(out)
    }

    #[test]
    fn golden_bytes() {
        // What a real server wrote by DUMP for these strings.
        let check = |input: &[u8], golden: &[u8]| {
            assert_eq!(packed(input).as_deref(), Some(golden));
            assert_eq!(decompress(golden, input.len()).as_deref(), Some(input));
        };
        check(&[b'a'; 30], b"\x01aa\xe0\x11\x00\x01aa");
        check(b"hello hello hello hello hello", b"\x06hello h\xe0\x0b\x05\x01lo");
    }

    #[test]
    fn what_does_not_shrink_is_left_alone() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(packed(&all), None);
        assert_eq!(packed(b""), None);
        assert_eq!(packed(b"aaaaaa"), None);
    }

    #[test]
    fn what_is_not_compressed_is_refused() {
        let check = |input: &[u8], len| assert_eq!(decompress(input, len), None, "{input:?}");
        check(b"\x01a", 2);
        check(b"\x00a", 2);
        check(b"\x00a", 0);
        check(b"\x00a\x20\x01", 4);
        check(b"\x00a\x20", 4);
        check(b"\x00a\xe0\x01", 11);
        check(b"\x00a", usize::MAX);
        check(b"", 1);
        assert_eq!(decompress(b"\x00a\x20\x00", 4).as_deref(), Some(&b"aaaa"[..]));
        assert_eq!(decompress(b"", 0), Some(Vec::new()));
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            vec(any::<u8>(), 0..200),
            vec(0..3u8, 0..3_000),
            (vec(any::<u8>(), 1..40), 1..400usize).prop_map(|(unit, times)| unit.repeat(times)),
            (vec(0..2u8, 300), 0..300usize, 60_000..80_000usize).prop_map(|(unit, start, len)| {
                unit.iter().copied().cycle().skip(start).take(len).collect()
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back(input in text()) {
            if let Some(packed) = packed(&input) {
                prop_assert!(packed.len() + 4 <= input.len());
                prop_assert_eq!(decompress(&packed, input.len()), Some(input));
            }
        }

        #[test]
        fn any_bytes_never_panic(input in vec(any::<u8>(), 0..60), len in 0..300usize) {
            if let Some(out) = decompress(&input, len) {
                prop_assert_eq!(out.len(), len);
            }
        }
    }
}
