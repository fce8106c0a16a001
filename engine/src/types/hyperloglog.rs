//! HyperLogLogs: how many different elements were added, to about 0.81 %, in at most 12 kB.
//!
//! A HyperLogLog is an ordinary string, so clients may GET it, keep it, and SET it somewhere else. All
//! functions work on its bytes, which are those of Redis:
//!
//! | bytes   | holds                                                                          |
//! |---------|--------------------------------------------------------------------------------|
//! | `0..4`  | the magic `HYLL`                                                               |
//! | `4`     | the encoding: 0 dense, 1 sparse                                                |
//! | `5..8`  | zeros                                                                          |
//! | `8..16` | the last count, little endian; its highest bit says that it is out of date     |
//! | `16..`  | 16,384 registers: dense, 6 bits each, low bits first; or sparse, run by run    |
//!
//! | sparse run          | means                                        |
//! |---------------------|----------------------------------------------|
//! | `00nnnnnn`          | `n + 1` registers are zero                   |
//! | `01nnnnnn nnnnnnnn` | `n + 1` registers are zero, high bits first  |
//! | `1vvvvvnn`          | `n + 1` registers hold `v + 1`               |
//!
//! Invariants:
//! - Any client may have written these bytes: runs are checked as they are read, and corruption is an error.
//! - The same elements in the same order give the same bytes as in Redis, which copies them to replicas.

use std::fmt::Write as _;

/// How many registers there are: 14 bits of an element's hash choose one.
pub const REGISTERS: usize = 1 << INDEX_BITS;

/// The length of the dense encoding.
pub const DENSE_LEN: usize = HEADER_LEN + REGISTERS * REGISTER_BITS / 8;

const INDEX_BITS: u32 = 14;
const REGISTER_BITS: usize = 6;
const REGISTER_MAX: u8 = (1 << REGISTER_BITS) - 1;
/// The bits of a hash in which zeros are counted; a register holds at most one more.
const COUNTED_BITS: u32 = 64 - INDEX_BITS;

const HEADER_LEN: usize = 16;
const MAGIC: &[u8; 4] = b"HYLL";
const DENSE: u8 = 0;
const SPARSE: u8 = 1;

const ZERO_LEN_MAX: usize = 64;
const VALUE_MAX: u8 = 32;
const VALUE_LEN_MAX: usize = 4;

/// Why a string was refused as a HyperLogLog. The text is what the client receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HyperLogLogError {
    /// The string does not start as a HyperLogLog does, or has not its length.
    #[error("WRONGTYPE Key is not a valid HyperLogLog string value.")]
    NotHyperLogLog,
    /// The header is right, the registers are not.
    #[error("INVALIDOBJ Corrupted HLL object detected")]
    Corrupted,
}

use HyperLogLogError::{Corrupted, NotHyperLogLog};

/// How the registers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// 6 bits for each register.
    Dense,
    /// Runs of equal registers.
    Sparse,
}

impl Encoding {
    /// The name that PFDEBUG ENCODING replies.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Dense => "dense",
            Encoding::Sparse => "sparse",
        }
    }
}

/// The encoding of a HyperLogLog.
///
/// # Errors
/// `NotHyperLogLog` when the header or the length is wrong. Sparse registers are not looked at.
pub fn encoding(hll: &[u8]) -> Result<Encoding, HyperLogLogError> {
    if hll.len() < HEADER_LEN || !hll.starts_with(MAGIC) {
        return Err(NotHyperLogLog);
    }
    match hll[4] {
        DENSE if hll.len() == DENSE_LEN => Ok(Encoding::Dense),
        SPARSE => Ok(Encoding::Sparse),
        _ => Err(NotHyperLogLog),
    }
}

/// Whether the header and the length are those of a HyperLogLog.
pub fn is_valid(hll: &[u8]) -> bool {
    encoding(hll).is_ok()
}

/// A HyperLogLog without elements: sparse, with a valid count of zero.
pub fn create() -> Vec<u8> {
    let mut hll = Vec::with_capacity(HEADER_LEN + 2);
    hll.extend_from_slice(MAGIC);
    hll.resize(HEADER_LEN, 0);
    hll[4] = SPARSE;
    let mut run = RunText::default();
    run.push_zeros(REGISTERS);
    hll.extend_from_slice(run.as_bytes());
    hll
}

/// Adds an element. Returns whether a register changed, and then the cached count is out of date.
///
/// The sparse encoding becomes dense when it would grow beyond `sparse_max_bytes`, or when a register would
/// exceed what it can hold.
///
/// # Errors
/// When `hll` is no HyperLogLog, or its registers are corrupted.
pub fn add(hll: &mut Vec<u8>, element: &[u8], sparse_max_bytes: usize) -> Result<bool, HyperLogLogError> {
    let (index, zeros) = place(element);
    let changed = set(hll, index, zeros, sparse_max_bytes)?;
    if changed {
        invalidate_cache(hll);
    }
    Ok(changed)
}

/// Marks the cached count as out of date, as PFADD does also when it only created the key.
pub fn invalidate_cache(hll: &mut [u8]) {
    if let Some(byte) = hll.get_mut(HEADER_LEN - 1) {
        *byte |= 0x80;
    }
}

/// The count in the header, if it is up to date.
pub fn cached_count(hll: &[u8]) -> Option<u64> {
    let cached = hll.get(8..HEADER_LEN)?.try_into().ok().map(u64::from_le_bytes)?;
    (cached >> 63 == 0).then_some(cached)
}

/// Estimates how many different elements were added, whatever is cached.
///
/// # Errors
/// When `hll` is no HyperLogLog, or its registers are corrupted.
pub fn count(hll: &[u8]) -> Result<u64, HyperLogLogError> {
    let mut histogram = Histogram::new();
    match encoding(hll)? {
        Encoding::Dense => {
            for values in hll[HEADER_LEN..].chunks_exact(3).map(unpack) {
                values.into_iter().for_each(|value| histogram.add(value, 1));
            }
        }
        Encoding::Sparse => for_each_run(hll, |_, run| histogram.add(run.value, run.len))?,
    }
    Ok(histogram.estimate())
}

/// The count, from the header if it is up to date there, else computed and written there.
///
/// Returns also whether the header was written, which is a change that replicas must learn.
///
/// # Errors
/// When `hll` is no HyperLogLog, or its registers are corrupted.
pub fn count_and_cache(hll: &mut [u8]) -> Result<(u64, bool), HyperLogLogError> {
    encoding(hll)?;
    if let Some(cached) = cached_count(hll) {
        return Ok((cached, false));
    }
    let count = count(hll)?;
    hll[8..HEADER_LEN].copy_from_slice(&count.to_le_bytes());
    Ok((count, true))
}

/// Makes the encoding dense. Returns whether it was not.
///
/// # Errors
/// When `hll` is no HyperLogLog, or its registers are corrupted; `hll` is then as it was.
pub fn to_dense(hll: &mut Vec<u8>) -> Result<bool, HyperLogLogError> {
    if encoding(hll)? == Encoding::Dense {
        return Ok(false);
    }
    let mut dense = vec![0; DENSE_LEN];
    dense[..HEADER_LEN].copy_from_slice(&hll[..HEADER_LEN]);
    dense[4] = DENSE;
    let registers = &mut dense[HEADER_LEN..];
    for_each_run(hll, |first, run| {
        if run.value > 0 {
            (first..first + run.len).for_each(|index| dense_put(registers, index, run.value));
        }
    })?;
    *hll = dense;
    Ok(true)
}

/// The runs of a sparse HyperLogLog as PFDEBUG DECODE shows them: `z:len` for short runs of zeros, `Z:len`
/// for long ones, `v:value,len` for others.
///
/// Returns `None` if the encoding is dense.
///
/// # Errors
/// When `hll` is no HyperLogLog, or its registers are corrupted.
pub fn decode_text(hll: &[u8]) -> Result<Option<String>, HyperLogLogError> {
    if encoding(hll)? == Encoding::Dense {
        return Ok(None);
    }
    let mut text = String::new();
    for_each_run(hll, |first, run| {
        let separator = if first == 0 { "" } else { " " };
        let _ = match (run.value, run.bytes) {
            (0, 1) => write!(text, "{separator}z:{}", run.len),
            (0, _) => write!(text, "{separator}Z:{}", run.len),
            (value, _) => write!(text, "{separator}v:{value},{}", run.len),
        };
    })?;
    Ok(Some(text))
}

/// All registers, one byte each: the union of any number of HyperLogLogs.
pub struct Registers(Box<[u8; REGISTERS]>);

impl Default for Registers {
    fn default() -> Self {
        Self::new()
    }
}

impl Registers {
    /// The registers of no elements.
    pub fn new() -> Self {
        Registers(Box::new([0; REGISTERS]))
    }

    /// Adds all elements of `hll`: each register becomes the larger one.
    ///
    /// # Errors
    /// When `hll` is no HyperLogLog, or its registers are corrupted. Part of it may have been merged then.
    pub fn merge(&mut self, hll: &[u8]) -> Result<(), HyperLogLogError> {
        let registers = &mut self.0;
        match encoding(hll)? {
            Encoding::Dense => {
                let groups = hll[HEADER_LEN..].chunks_exact(3).map(unpack);
                for (into, values) in registers.chunks_exact_mut(4).zip(groups) {
                    into.iter_mut().zip(values).for_each(|(into, value)| *into = value.max(*into));
                }
                Ok(())
            }
            Encoding::Sparse => for_each_run(hll, |first, run| {
                if run.value > 0 {
                    for into in &mut registers[first..first + run.len] {
                        *into = run.value.max(*into);
                    }
                }
            }),
        }
    }

    /// Estimates how many different elements were added.
    pub fn count(&self) -> u64 {
        let mut histogram = Histogram::new();
        self.0.iter().for_each(|&value| histogram.add(value, 1));
        histogram.estimate()
    }

    /// Raises the registers of `target` to these, as PFMERGE does, and marks its count as out of date.
    ///
    /// `target` becomes dense first if `dense`, which is wanted when any source was dense.
    ///
    /// # Errors
    /// When `target` is no HyperLogLog, or its registers are corrupted.
    pub fn store(
        &self,
        target: &mut Vec<u8>,
        dense: bool,
        sparse_max_bytes: usize,
    ) -> Result<(), HyperLogLogError> {
        if dense {
            to_dense(target)?;
        }
        for (index, &value) in self.0.iter().enumerate().filter(|&(_, &value)| value > 0) {
            set(target, index, value, sparse_max_bytes)?;
        }
        invalidate_cache(target);
        Ok(())
    }

    /// The value of each register, as PFDEBUG GETREG replies them.
    pub fn as_slice(&self) -> &[u8] {
        &self.0[..]
    }
}

/// What PFSELFTEST does: writes and reads all registers, then counts up to ten million elements in both
/// encodings and compares the estimates. Takes seconds.
///
/// # Errors
/// The text of the error to reply, without its dash.
pub fn self_test(seed: u64, sparse_max_bytes: usize) -> Result<(), String> {
    self_test_registers(seed, 1000)?;
    self_test_estimates(seed, sparse_max_bytes, 10_000_000)
}

fn self_test_registers(seed: u64, cycles: u64) -> Result<(), String> {
    let mut packed = vec![0; DENSE_LEN - HEADER_LEN];
    for cycle in 0..cycles {
        let base = seed ^ (cycle << 32);
        let expected =
            |index: usize| murmur_hash_64a(&(index as u64).to_le_bytes(), base) as u8 & REGISTER_MAX;
        (0..REGISTERS).for_each(|index| dense_put(&mut packed, index, expected(index)));
        for index in 0..REGISTERS {
            let (value, wanted) = (dense_get(&packed, index), expected(index));
            if value != wanted {
                return Err(format!("TESTFAILED Register {index} should be {wanted} but is {value}"));
            }
        }
    }
    Ok(())
}

fn self_test_estimates(seed: u64, sparse_max_bytes: usize, elements: u64) -> Result<(), String> {
    let relative_error = 1.04 / (REGISTERS as f64).sqrt();
    let (mut dense, mut mixed) = (create(), create());
    let failed = |error: HyperLogLogError| error.to_string();
    to_dense(&mut dense).map_err(failed)?;
    let mut checkpoint = 1;
    for n in 1..=elements {
        let element = (n ^ seed).to_le_bytes();
        add(&mut dense, &element, 0).map_err(failed)?;
        add(&mut mixed, &element, sparse_max_bytes).map_err(failed)?;
        if n != checkpoint {
            continue;
        }
        if n < sparse_max_bytes as u64 / 2 && encoding(&mixed) != Ok(Encoding::Sparse) {
            return Err("TESTFAILED sparse encoding not used".to_owned());
        }
        let estimate = count(&dense).map_err(failed)?;
        if count(&mixed).map_err(failed)? != estimate {
            return Err("TESTFAILED dense/sparse disagree".to_owned());
        }
        // Six standard errors; at ten elements one collision is likely enough to be allowed.
        let allowed = if n == 10 { 1 } else { (relative_error * 6.0 * n as f64).ceil() as u64 };
        let error = n.abs_diff(estimate);
        if error > allowed {
            return Err(format!("TESTFAILED Too big error. card:{n} abserr:{error}"));
        }
        checkpoint *= 10;
    }
    Ok(())
}

/// The register of an element, and how many zeros, plus one, start the rest of its hash.
fn place(element: &[u8]) -> (usize, u8) {
    const SEED: u64 = 0xadc8_3b19;

    let hash = murmur_hash_64a(element, SEED);
    let index = hash as usize & (REGISTERS - 1);
    // A final one bounds the count even when all bits are zero.
    let rest = (hash >> INDEX_BITS) | (1 << COUNTED_BITS);
    (index, rest.trailing_zeros() as u8 + 1)
}

/// `MurmurHash64A`, by Austin Appleby, reading little endian on every machine.
fn murmur_hash_64a(data: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;

    let mut hash = seed ^ (data.len() as u64).wrapping_mul(M);
    let (words, tail) = data.as_chunks::<8>();
    for word in words {
        let mut k = u64::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = (hash ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    if !tail.is_empty() {
        let mut last = [0; 8];
        last[..tail.len()].copy_from_slice(tail);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> R)).wrapping_mul(M);
    hash ^ (hash >> R)
}

/// Raises a register to `value`. Returns whether it was lower.
fn set(
    hll: &mut Vec<u8>,
    index: usize,
    value: u8,
    sparse_max_bytes: usize,
) -> Result<bool, HyperLogLogError> {
    match encoding(hll)? {
        Encoding::Dense => Ok(dense_raise(&mut hll[HEADER_LEN..], index, value)),
        Encoding::Sparse => sparse_raise(hll, index, value, sparse_max_bytes),
    }
}

/// Four registers of a group of three bytes.
#[inline]
fn unpack(bytes: &[u8]) -> [u8; 4] {
    let &[a, b, c] = bytes else { return [0; 4] };
    let word = u32::from_le_bytes([a, b, c, 0]);
    [0, 6, 12, 18].map(|shift| (word >> shift) as u8 & REGISTER_MAX)
}

fn dense_get(registers: &[u8], index: usize) -> u8 {
    let group = index / 4 * 3;
    unpack(&registers[group..group + 3])[index % 4]
}

fn dense_put(registers: &mut [u8], index: usize, value: u8) {
    let group = &mut registers[index / 4 * 3..][..3];
    let shift = index % 4 * REGISTER_BITS;
    let word = u32::from_le_bytes([group[0], group[1], group[2], 0]);
    let word = (word & !(u32::from(REGISTER_MAX) << shift)) | (u32::from(value & REGISTER_MAX) << shift);
    group.copy_from_slice(&word.to_le_bytes()[..3]);
}

fn dense_raise(registers: &mut [u8], index: usize, value: u8) -> bool {
    let raised = value > dense_get(registers, index);
    if raised {
        dense_put(registers, index, value);
    }
    raised
}

/// Equal registers of the sparse encoding.
#[derive(Clone, Copy)]
struct Run {
    value: u8,
    len: usize,
    /// How many bytes hold it: two for a long run of zeros, else one.
    bytes: usize,
}

/// Reads the run at `at`, or `None` at the end.
#[inline]
fn run_at(hll: &[u8], at: usize) -> Result<Option<Run>, HyperLogLogError> {
    let Some(&byte) = hll.get(at) else { return Ok(None) };
    Ok(Some(match byte >> 6 {
        0b00 => Run { value: 0, len: usize::from(byte & 0x3f) + 1, bytes: 1 },
        0b01 => {
            let low = *hll.get(at + 1).ok_or(Corrupted)?;
            Run { value: 0, len: (usize::from(byte & 0x3f) << 8 | usize::from(low)) + 1, bytes: 2 }
        }
        _ => Run { value: (byte >> 2 & 0x1f) + 1, len: usize::from(byte & 0x03) + 1, bytes: 1 },
    }))
}

/// Calls `each` with the first register of every run and the run, which together are all registers.
fn for_each_run(hll: &[u8], mut each: impl FnMut(usize, Run)) -> Result<(), HyperLogLogError> {
    let (mut at, mut first) = (HEADER_LEN, 0);
    while let Some(run) = run_at(hll, at)? {
        if first + run.len > REGISTERS {
            return Err(Corrupted);
        }
        each(first, run);
        at += run.bytes;
        first += run.len;
    }
    if first == REGISTERS { Ok(()) } else { Err(Corrupted) }
}

/// The bytes of a few runs: at most five, for a value amid a long run of zeros.
#[derive(Default)]
struct RunText {
    bytes: [u8; 5],
    len: usize,
}

impl RunText {
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn push_zeros(&mut self, len: usize) {
        if len > ZERO_LEN_MAX {
            let n = len - 1;
            self.push(0x40 | (n >> 8) as u8);
            self.push(n as u8);
        } else if len > 0 {
            self.push((len - 1) as u8);
        }
    }

    fn push_values(&mut self, value: u8, len: usize) {
        if value == 0 {
            self.push_zeros(len);
        } else if len > 0 {
            self.push(values_byte(value, len));
        }
    }
}

fn values_byte(value: u8, len: usize) -> u8 {
    0x80 | ((value - 1) << 2) | (len - 1) as u8
}

/// Raises a register of the sparse encoding by splitting the run that holds it.
fn sparse_raise(
    hll: &mut Vec<u8>,
    index: usize,
    value: u8,
    sparse_max_bytes: usize,
) -> Result<bool, HyperLogLogError> {
    if value > VALUE_MAX {
        return promote_and_raise(hll, index, value);
    }
    let (mut at, mut first, mut previous) = (HEADER_LEN, 0, HEADER_LEN);
    let run = loop {
        let run = run_at(hll, at)?.ok_or(Corrupted)?;
        if index < first + run.len {
            break run;
        }
        previous = at;
        at += run.bytes;
        first += run.len;
    };
    if run.value >= value {
        return Ok(false);
    }
    let mut split = RunText::default();
    split.push_values(run.value, index - first);
    split.push_values(value, 1);
    split.push_values(run.value, first + run.len - 1 - index);
    if split.len > run.bytes && hll.len() + split.len - run.bytes > sparse_max_bytes {
        return promote_and_raise(hll, index, value);
    }
    hll.splice(at..at + run.bytes, split.as_bytes().iter().copied());
    join_values(hll, previous);
    Ok(true)
}

fn promote_and_raise(hll: &mut Vec<u8>, index: usize, value: u8) -> Result<bool, HyperLogLogError> {
    to_dense(hll)?;
    Ok(dense_raise(&mut hll[HEADER_LEN..], index, value))
}

/// Joins neighbouring runs of the same value among the five runs from `at` on, which are all that one
/// split can have made neighbours.
fn join_values(hll: &mut Vec<u8>, mut at: usize) {
    for _ in 0..5 {
        let Ok(Some(run)) = run_at(hll, at) else { return };
        if run.value > 0
            && let Ok(Some(next)) = run_at(hll, at + 1)
            && next.value == run.value
            && run.len + next.len <= VALUE_LEN_MAX
        {
            hll[at] = values_byte(run.value, run.len + next.len);
            hll.remove(at + 1);
        } else {
            at += run.bytes;
        }
    }
}

/// How many registers hold each value.
struct Histogram([u32; 1 << REGISTER_BITS]);

impl Histogram {
    fn new() -> Self {
        Histogram([0; 1 << REGISTER_BITS])
    }

    #[inline]
    fn add(&mut self, value: u8, len: usize) {
        self.0[usize::from(value & REGISTER_MAX)] += len as u32;
    }

    /// The estimator of Otmar Ertl, "New cardinality estimation algorithms for HyperLogLog sketches",
    /// arXiv:1702.01284.
    fn estimate(&self) -> u64 {
        /// `0.5 / ln(2)`.
        const ALPHA_INF: f64 = 0.721_347_520_444_481_7;
        const M: f64 = REGISTERS as f64;
        const Q: usize = COUNTED_BITS as usize;

        let of = |value: usize| f64::from(self.0[value]);
        let mut z = M * tau((M - of(Q + 1)) / M);
        for value in (1..=Q).rev() {
            z = (z + of(value)) * 0.5;
        }
        z += M * sigma(of(0) / M);
        // Registers that no hash can produce make this infinite: keep it within what a reply can say.
        (ALPHA_INF * M * M / z).round() as i64 as u64
    }
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SPARSE_MAX: usize = 3000;

    fn filled(prefix: &str, elements: std::ops::Range<usize>) -> Vec<u8> {
        let mut hll = create();
        for n in elements {
            add(&mut hll, format!("{prefix}{n}").as_bytes(), SPARSE_MAX).unwrap();
        }
        hll
    }

    fn fingerprint(hll: &[u8]) -> u64 {
        murmur_hash_64a(hll, 0)
    }

    /// From redis-server 7.0.15: PFADD of `7:0`, `7:1`..., PFCOUNT, PFDEBUG DECODE, GET.
    #[test]
    fn bytes_and_counts_equal_those_of_a_real_server() {
        let mut hll = filled("7:", 0..3);
        assert_eq!(count_and_cache(&mut hll), Ok((3, true)));
        assert_eq!(count_and_cache(&mut hll), Ok((3, false)));
        assert_eq!(hll, b"HYLL\x01\0\0\0\x03\0\0\0\0\0\0\0\x41\xa4\x80\x45\x32\x88\x4a\xb9\x84\x6e\x6a");
        assert_eq!(decode_text(&hll).unwrap().unwrap(), "Z:421 v:1,1 Z:1331 v:3,1 Z:2746 v:2,1 Z:11883");
        for (elements, expected_count, len, expected) in [
            (10, 10, 48, 0x1013d6407c42205),
            (1_500, 1_499, 2_705, 0xb0be33955ce466d),
            (3_000, 2_954, DENSE_LEN, 0xcccf5c44a172cac8),
            (100_000, 100_095, DENSE_LEN, 0x71f414ffd320b3c1),
        ] {
            let mut hll = filled("7:", 0..elements);
            assert_eq!(count_and_cache(&mut hll), Ok((expected_count, true)));
            assert_eq!((hll.len(), fingerprint(&hll)), (len, expected), "{elements} elements");
        }
    }

    /// The same for PFMERGE of two sparse HyperLogLogs.
    #[test]
    fn unions_equal_those_of_a_real_server() {
        let mut union = Registers::new();
        union.merge(&filled("x", 0..200)).unwrap();
        union.merge(&filled("y", 0..250)).unwrap();
        assert_eq!(union.count(), 450);
        let mut merged = create();
        union.store(&mut merged, false, SPARSE_MAX).unwrap();
        assert_eq!(cached_count(&merged), None);
        count_and_cache(&mut merged).unwrap();
        assert_eq!((merged.len(), fingerprint(&merged)), (957, 0xf25558169d69916));
    }

    #[test]
    fn a_new_one_counts_zero() {
        let mut hll = create();
        assert_eq!(hll, b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff");
        assert_eq!((cached_count(&hll), count(&hll)), (Some(0), Ok(0)));
        invalidate_cache(&mut hll);
        assert_eq!(cached_count(&hll), None);
    }

    #[test]
    fn headers_are_checked() {
        let dense = {
            let mut hll = create();
            to_dense(&mut hll).unwrap();
            hll
        };
        assert_eq!(dense.len(), 12_304);
        for (bytes, valid) in [
            (&b""[..], false),
            (b"HYLL", false),
            (b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0", true),
            (b"HYLL\x02\0\0\0\0\0\0\0\0\0\0\0", false),
            (b"HELL\x01\0\0\0\0\0\0\0\0\0\0\0", false),
            (&dense, true),
            (&dense[..12_303], false),
            (&[&dense[..], b"x"].concat(), false),
        ] {
            assert_eq!(is_valid(bytes), valid, "{:?}", &bytes[..bytes.len().min(20)]);
        }
    }

    #[test]
    fn corrupted_registers_are_an_error() {
        for runs in [&b""[..], b"\x7f", b"\x7f\xfe", b"\x7f\xff\x00", b"\x7f\xff\x80", b"\x40"] {
            let hll = [b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80", runs].concat();
            assert_eq!(count(&hll), Err(Corrupted), "{runs:x?}");
            assert_eq!(to_dense(&mut hll.clone()), Err(Corrupted));
            assert_eq!(Registers::new().merge(&hll), Err(Corrupted));
            assert_eq!(decode_text(&hll), Err(Corrupted));
        }
    }

    #[test]
    fn registers_read_back() {
        self_test_registers(3, 10).unwrap_or_else(|error| panic!("{error}"));
    }

    #[test]
    fn estimates_are_close() {
        assert_eq!(self_test_estimates(42, SPARSE_MAX, 20_000), Ok(()));
    }

    fn registers_of(hll: &[u8]) -> Vec<u8> {
        let mut registers = Registers::new();
        registers.merge(hll).unwrap();
        registers.as_slice().to_vec()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Whatever is raised, sparse and dense registers equal a plain array.
        #[test]
        fn registers_equal_an_array(
            raises in proptest::collection::vec((0..200usize, 1..40u8), 0..300),
            spread in 1..80usize,
            sparse_max in 0..600usize,
        ) {
            let (mut mixed, mut dense, mut model) = (create(), create(), vec![0u8; REGISTERS]);
            to_dense(&mut dense).unwrap();
            for (index, value) in raises {
                let index = index * spread;
                let raised = value > model[index];
                model[index] = model[index].max(value);
                prop_assert_eq!(set(&mut mixed, index, value, sparse_max), Ok(raised));
                prop_assert_eq!(set(&mut dense, index, value, 0), Ok(raised));
            }
            prop_assert_eq!(&registers_of(&mixed), &model);
            prop_assert_eq!(&registers_of(&dense), &model);
            prop_assert_eq!(count(&mixed), count(&dense));
            to_dense(&mut mixed).unwrap();
            prop_assert_eq!(&mixed[HEADER_LEN..], &dense[HEADER_LEN..]);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(runs: Vec<u8>, element: Vec<u8>, sparse_max in 0..100usize) {
            let mut hll = [b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80", &runs[..]].concat();
            let _ = (count(&hll), decode_text(&hll), Registers::new().merge(&hll));
            for index in [0, 100, REGISTERS - 1] {
                let _ = set(&mut hll, index, 7, sparse_max);
            }
            let _ = add(&mut hll, &element, sparse_max);
            let _ = (to_dense(&mut hll), count_and_cache(&mut hll));
        }

        #[test]
        fn arbitrary_dense_registers_do_not_panic(byte: u8) {
            let mut hll = create();
            to_dense(&mut hll).unwrap();
            hll[HEADER_LEN..].fill(byte);
            let _ = count_and_cache(&mut hll);
        }
    }
}
