//! Numbers as text: how clients write them, and how replies and stored values print them.
//!
//! | kind                      | read by                | printed by                          |
//! |---------------------------|------------------------|-------------------------------------|
//! | integers                  | [`parse_i64`]          | [`format_i64`]                      |
//! | unsigned, as stream ids   | [`parse_u64`]          | [`write_u64`]                       |
//! | scores and coordinates    | [`parse_f64`]          | [`format_f64`] (7.2 on), [`format_f64_17g`] (7.0) |
//! | INCRBYFLOAT, HINCRBYFLOAT | [`LongDouble::parse`]  | [`LongDouble::format_human`]        |
//!
//! Invariants:
//! - `parse_i64` accepts canonical text only, so `format_i64(parse_i64(t)) == t`. That is what allows a
//!   string to be stored as an integer.
//! - `parse_f64(format_f64(x)) == x` for every `x` but NaN.
//! - Nothing here depends on the locale, nor on the floating point unit: 80-bit arithmetic is done in software.

mod grisu;

use std::fmt::Write as _;
use std::ops::Deref;

use rustc_apfloat::ieee::{Double, X87DoubleExtended};
use rustc_apfloat::{Float, FloatConvert, Round, Status};

/// The longest text of an `i64`: 19 digits and a sign.
pub const I64_TEXT_MAX: usize = 20;

/// Longest text accepted as a long double: the size of the buffer in which Redis terminates it.
const LONG_DOUBLE_TEXT_MAX: usize = 5 * 1024;

/// Reads a signed integer in canonical form: no plus sign, no leading zeros, no spaces, no `-0`.
///
/// Returns `None` for anything else, and for values outside of `i64`.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    // Most values that are no integers say so in their first or last byte.
    let (&first, &last) = (text.first()?, text.last()?);
    if text.len() > I64_TEXT_MAX || !last.is_ascii_digit() {
        return None;
    }
    let (negative, digits) = if first == b'-' { (true, &text[1..]) } else { (false, text) };
    let magnitude = canonical_digits(digits)?;
    match negative {
        false => i64::try_from(magnitude).ok(),
        // `-0` is not canonical; `i64::MIN` has no positive counterpart.
        true if magnitude == 0 => None,
        true => 0i64.checked_sub_unsigned(magnitude),
    }
}

/// Reads the integer that a text begins with, as `atoi` of C does where `int` has 32 bits: spaces and a sign may stand in front of
/// it and anything behind it, 0 is what there is without any digits, and of large ones the low bits remain.
pub fn parse_prefix(text: &[u8]) -> i32 {
    let text = text.trim_ascii_start();
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let digits = digits.iter().map_while(|c| char::from(*c).to_digit(10));
    let more = |value: i64, digit: u32| value.saturating_mul(10).saturating_add(i64::from(digit));
    let less = |value: i64, digit: u32| value.saturating_mul(10).saturating_sub(i64::from(digit));
    // As `strtol` and then the conversion to `int`.
    (if negative { digits.fold(0, less) } else { digits.fold(0, more) }) as i32
}

/// Reads an unsigned integer as the parts of stream ids are read: leading zeros and a plus sign are allowed.
#[inline]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &c| {
        let digit = c.wrapping_sub(b'0');
        if digit > 9 { None } else { value.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

/// The value of at most 20 digits without leading zeros.
#[inline]
fn canonical_digits(digits: &[u8]) -> Option<u64> {
    match digits {
        [] => return None,
        [b'0'] => return Some(0),
        [b'0', ..] => return None,
        _ => {}
    }
    let (safe, rest) = digits.split_at(digits.len().min(19));
    let mut value = 0u64;
    for &c in safe {
        let digit = c.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // 19 digits always fit.
        value = value * 10 + u64::from(digit);
    }
    for &c in rest {
        let digit = c.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// A printed number, on the stack.
#[derive(Clone, Copy)]
pub struct NumberText {
    bytes: [u8; NumberText::CAPACITY],
    len: u8,
}

impl NumberText {
    /// Room for the longest form, `-0.00000012345678901234567` and the like, with some to spare.
    const CAPACITY: usize = 39;

    const fn new() -> Self {
        NumberText { bytes: [0; Self::CAPACITY], len: 0 }
    }

    /// The text as bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The text as `str`: it is always ASCII.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    #[inline]
    fn extend(&mut self, text: &[u8]) {
        let start = usize::from(self.len);
        let end = start + text.len();
        self.bytes[start..end].copy_from_slice(text);
        self.len = end as u8;
    }

    fn push(&mut self, byte: u8) {
        self.extend(&[byte]);
    }

    fn zeros(&mut self, count: usize) {
        for _ in 0..count {
            self.push(b'0');
        }
    }
}

impl Deref for NumberText {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl AsRef<[u8]> for NumberText {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl std::fmt::Debug for NumberText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Write for NumberText {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        if usize::from(self.len) + s.len() > Self::CAPACITY {
            return Err(std::fmt::Error);
        }
        self.extend(s.as_bytes());
        Ok(())
    }
}

/// Prints an integer on the stack.
#[inline]
pub fn format_i64(value: i64) -> NumberText {
    let mut text = NumberText::new();
    text.extend(itoa::Buffer::new().format(value).as_bytes());
    text
}

/// Appends an integer to `out`.
#[inline]
pub fn write_i64(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends an unsigned integer to `out`.
#[inline]
pub fn write_u64(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The number of bytes that [`format_i64`] prints for `value`.
#[inline]
pub fn i64_text_len(value: i64) -> usize {
    let digits = value.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
    digits + usize::from(value < 0)
}

/// Reads a double as `strtod` does in the C locale: decimal, exponent, hexadecimal (`0x1.8p3`), `inf` and
/// `infinity` in any case.
///
/// Refuses NaN, spaces, trailing bytes, and text whose value overflows to infinity or underflows to zero.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    if let Some((negative, hex)) = hex_body(text) {
        let value: Double = parse_hex(hex)?;
        let value = f64::from_bits(value.to_bits() as u64);
        return Some(if negative { -value } else { value });
    }
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    if value.is_nan() || !in_range(text, value.is_infinite(), value == 0.0) {
        return None;
    }
    Some(value)
}

/// As [`parse_f64`], but a decimal number that is too large is infinite and one that is too small is zero, which
/// is what plain `strtod` makes of them. As there, the text ends at its first zero byte, leading white space is
/// skipped, and no text at all is zero.
pub fn parse_f64_or_limit(text: &[u8]) -> Option<f64> {
    let text = &text[..memchr::memchr(0, text).unwrap_or(text.len())];
    if text.is_empty() {
        return Some(0.0);
    }
    let skipped = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    let text = &text[skipped..];
    parse_f64(text)
        .or_else(|| std::str::from_utf8(text).ok()?.parse().ok().filter(|value: &f64| !value.is_nan()))
}

/// Whether an infinite or zero value is what valid decimal `text` says, not what it was rounded to.
fn in_range(text: &[u8], infinite: bool, zero: bool) -> bool {
    if infinite {
        return !text.iter().any(u8::is_ascii_digit);
    }
    !zero || !text.iter().take_while(|&&c| c | 0x20 != b'e').any(|c| matches!(c, b'1'..=b'9'))
}

/// Splits `[+-]0x...` into its sign and what follows the `x`.
fn hex_body(text: &[u8]) -> Option<(bool, &[u8])> {
    let (negative, unsigned) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    match unsigned {
        [b'0', b'x' | b'X', body @ ..] => Some((negative, body)),
        _ => None,
    }
}

/// Reads the digits and the binary exponent of a hexadecimal number, whatever its size.
fn parse_hex<F: Float>(body: &[u8]) -> Option<F> {
    /// Far beyond the exponents of long double, far from the limits of `i64` even after adjusting.
    const EXPONENT_LIMIT: i64 = 1 << 40;

    let digits_end = body.iter().position(|c| matches!(c, b'p' | b'P')).unwrap_or(body.len());
    let (digits, exponent) = body.split_at(digits_end);
    let (mut mantissa, mut adjust) = (0u128, 0i64);
    let (mut seen_digit, mut seen_point) = (false, false);
    for &c in digits {
        if c == b'.' && !seen_point {
            seen_point = true;
            continue;
        }
        let digit = (c as char).to_digit(16)?;
        seen_digit = true;
        if mantissa >> 120 == 0 {
            mantissa = mantissa << 4 | u128::from(digit);
            adjust -= if seen_point { 4 } else { 0 };
        } else {
            // Far beyond any precision: all that counts is whether something is there.
            mantissa |= u128::from(digit != 0);
            adjust += if seen_point { 0 } else { 4 };
        }
    }
    if !seen_digit {
        return None;
    }
    if let Some(exponent) = exponent.get(1..) {
        let (negative, exponent_digits) = match exponent {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, exponent),
        };
        if exponent_digits.is_empty() || !exponent_digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let magnitude = exponent_digits
            .iter()
            .fold(0i64, |value, c| (value * 10 + i64::from(c - b'0')).min(EXPONENT_LIMIT));
        adjust += if negative { -magnitude } else { magnitude };
    }
    if mantissa == 0 {
        return Some(F::ZERO);
    }
    let canonical = format!("0x{mantissa:x}p{}", adjust.clamp(-100_000, 100_000));
    let value = F::from_str_r(&canonical, Round::NearestTiesToEven).ok()?.value;
    (!value.is_zero() && value.is_finite()).then_some(value)
}

/// Prints a double as Redis 7.2 and later reply and store it: integers without a point, `inf` and `-inf`,
/// `-0` for the negative zero, else digits that read back (nearly always the shortest), with the exponent
/// forms of `fpconv`.
pub fn format_f64(value: f64) -> NumberText {
    /// Half the range of `i64`: within it a double is cast to an integer and back without question.
    const INTEGER_MAX: f64 = (i64::MAX / 2) as f64;

    if let Some(special) = format_special(value) {
        return special;
    }
    if value.abs() <= INTEGER_MAX && value as i64 as f64 == value {
        return format_i64(value as i64);
    }
    Decimal::shortest(value).print_as_fpconv(value < 0.0)
}

/// Prints a double as `fpconv` does: as [`format_f64`], but large integers in scientific notation too.
pub fn format_f64_fpconv(value: f64) -> NumberText {
    format_special(value).unwrap_or_else(|| Decimal::shortest(value).print_as_fpconv(value < 0.0))
}

/// Prints a double as Redis up to 7.0 replies it: `printf("%.17g")`, `inf` and `-inf`.
pub fn format_f64_17g(value: f64) -> NumberText {
    format_special(value).unwrap_or_else(|| Decimal::rounded_to_17(value).print_as_g(value < 0.0))
}

/// Prints a double with a fixed number of decimals, at most 17, as distances are replied: scaled, and then
/// rounded half to even. Values are bounded to what an `i64` holds after scaling.
pub fn format_fixed(value: f64, decimals: u32) -> NumberText {
    let decimals = decimals.min(17);
    let scale = 10u64.pow(decimals);
    let scaled = (value * scale as f64).round_ties_even() as i64;
    let mut text = signed(scaled < 0);
    let magnitude = scaled.unsigned_abs();
    text.extend(itoa::Buffer::new().format(magnitude / scale).as_bytes());
    if decimals > 0 {
        let mut itoa_buffer = itoa::Buffer::new();
        let fraction = itoa_buffer.format(magnitude % scale);
        text.push(b'.');
        text.zeros((decimals as usize).saturating_sub(fraction.len()));
        text.extend(fraction.as_bytes());
    }
    text
}

fn format_special(value: f64) -> Option<NumberText> {
    let special: &[u8] = if value.is_nan() {
        b"nan"
    } else if value.is_infinite() {
        if value > 0.0 { b"inf" } else { b"-inf" }
    } else if value == 0.0 {
        if value.is_sign_negative() { b"-0" } else { b"0" }
    } else {
        return None;
    };
    let mut text = NumberText::new();
    text.extend(special);
    Some(text)
}

/// A magnitude other than zero: `0.d1d2d3... * 10^point`, with 1 to 18 digits.
struct Decimal {
    digits: NumberText,
    point: i32,
}

impl Decimal {
    fn shortest(value: f64) -> Self {
        let found = grisu::digits_of(value.abs());
        let mut digits = NumberText::new();
        digits.extend(&found.digits[..found.len]);
        Decimal { digits, point: found.power + found.len as i32 }
    }

    fn rounded_to_17(value: f64) -> Self {
        let mut text = NumberText::new();
        let _ = write!(text, "{:.16e}", value.abs());
        Self::from_scientific(&text)
    }

    /// Takes apart `d.ddde-x`, which is how Rust prints.
    fn from_scientific(text: &[u8]) -> Self {
        let mantissa_len = text.iter().position(|&c| c == b'e').unwrap_or(text.len());
        let exponent = text.get(mantissa_len + 1..).and_then(parse_i64).unwrap_or(0);
        let mut digits = NumberText::new();
        for &c in text[..mantissa_len].iter().filter(|c| c.is_ascii_digit()) {
            digits.push(c);
        }
        while digits.len > 1 && digits.ends_with(b"0") {
            digits.len -= 1;
        }
        Decimal { digits, point: exponent as i32 + 1 }
    }

    /// `fpconv` writes plain integers while they need at most seven zeros, small fractions down to
    /// `0.000001`, and scientific notation with a bare exponent (`1e-7`, `1.5e+22`) beyond.
    fn print_as_fpconv(&self, negative: bool) -> NumberText {
        let count = i32::from(self.digits.len);
        // The value is the digits, read as an integer, times ten to the `power`.
        let power = self.point - count;
        let exponent = self.point - 1;
        let plain = match power {
            0.. => exponent < count + 7,
            -6..=-1 => true,
            _ => exponent.abs() < 4,
        };
        let mut text = signed(negative);
        if plain {
            self.print_plain(&mut text)
        } else {
            self.print_scientific(&mut text, 1)
        }
        text
    }

    /// `%.17g` writes plainly while the exponent is in `-4..17`, and exponents of at least two digits beyond.
    fn print_as_g(&self, negative: bool) -> NumberText {
        let mut text = signed(negative);
        if (-4..17).contains(&(self.point - 1)) {
            self.print_plain(&mut text)
        } else {
            self.print_scientific(&mut text, 2)
        }
        text
    }

    fn print_plain(&self, text: &mut NumberText) {
        let count = self.digits.len();
        match usize::try_from(self.point) {
            Ok(point) if point >= count => {
                text.extend(&self.digits);
                text.zeros(point - count);
            }
            Ok(point) if point > 0 => {
                text.extend(&self.digits[..point]);
                text.push(b'.');
                text.extend(&self.digits[point..]);
            }
            _ => {
                text.extend(b"0.");
                text.zeros(self.point.unsigned_abs() as usize);
                text.extend(&self.digits);
            }
        }
    }

    fn print_scientific(&self, text: &mut NumberText, exponent_digits_min: usize) {
        text.extend(&self.digits[..1]);
        if self.digits.len() > 1 {
            text.push(b'.');
            text.extend(&self.digits[1..]);
        }
        let exponent = self.point - 1;
        text.extend(if exponent < 0 { b"e-" } else { b"e+" });
        let exponent = format_i64(i64::from(exponent.abs()));
        text.zeros(exponent_digits_min.saturating_sub(exponent.len()));
        text.extend(&exponent);
    }
}

fn signed(negative: bool) -> NumberText {
    let mut text = NumberText::new();
    if negative {
        text.push(b'-');
    }
    text
}

/// An 80-bit float of the x87, which is what `long double` means to Redis on x86-64.
///
/// INCRBYFLOAT adds in this precision: `0.1 + 0.2` prints as `0.3`, which doubles could not do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LongDouble(X87DoubleExtended);

impl From<i64> for LongDouble {
    fn from(value: i64) -> Self {
        LongDouble(X87DoubleExtended::from_i128(i128::from(value)).value)
    }
}

impl From<f64> for LongDouble {
    fn from(value: f64) -> Self {
        let mut loses_info = false;
        LongDouble(Double::from_bits(u128::from(value.to_bits())).convert(&mut loses_info).value)
    }
}

impl LongDouble {
    /// Reads a long double as `strtold` does in the C locale; the rules are those of [`parse_f64`], and
    /// text of 5 kB or more is refused.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() >= LONG_DOUBLE_TEXT_MAX {
            return None;
        }
        if let Some(value) = parse_i64(text) {
            return Some(value.into());
        }
        if let Some((negative, hex)) = hex_body(text) {
            let value: X87DoubleExtended = parse_hex(hex)?;
            return Some(LongDouble(if negative { -value } else { value }));
        }
        let text_str = std::str::from_utf8(text).ok()?;
        // The grammar is the same for doubles, only the range is wider.
        let as_double: f64 = text_str.parse().ok()?;
        if as_double.is_nan() {
            return None;
        }
        if as_double.is_infinite() && in_range(text, true, false) {
            let infinity = X87DoubleExtended::INFINITY;
            return Some(LongDouble(if as_double > 0.0 { infinity } else { -infinity }));
        }
        let parsed = X87DoubleExtended::from_str_r(text_str, Round::NearestTiesToEven).ok()?;
        let (value, overflow) = (parsed.value, parsed.status.contains(Status::OVERFLOW));
        (!overflow && value.is_finite() && in_range(text, false, value.is_zero()))
            .then_some(LongDouble(value))
    }

    /// Whether the value is neither NaN nor infinite. A sum that is not must be refused.
    pub fn is_finite(self) -> bool {
        self.0.is_finite()
    }

    /// Whether the value is NaN, as is the sum of both infinities.
    pub fn is_nan(self) -> bool {
        self.0.is_nan()
    }

    /// The value in thousandths, rounded up: seconds as milliseconds. Beyond `i64` it is the nearest `i64`, and
    /// 0 for NaN.
    pub fn thousandths_rounded_up(self) -> i64 {
        let thousand = X87DoubleExtended::from_i128(1000).value;
        let product = (self.0 * thousand).value.round_to_integral(Round::TowardPositive).value;
        // The conversion saturates at the bits it is given.
        product.to_i128(64).value as i64
    }

    /// Prints the value for people: `%.17Lf` without trailing zeros, and `0` for `-0`.
    ///
    /// Up to 4,951 bytes long, for values near the limits of the type.
    pub fn format_human(self) -> Vec<u8> {
        if self.0.is_nan() {
            return b"nan".to_vec();
        }
        let mut out = Vec::with_capacity(32);
        if self.0.is_negative() {
            out.push(b'-');
        }
        if self.0.is_infinite() {
            out.extend_from_slice(b"inf");
            return out;
        }
        let bits = self.0.to_bits();
        let mantissa = bits as u64;
        let biased_exponent = (bits >> 64) as i32 & 0x7fff;
        // The value is the mantissa, an integer, times two to the `power`.
        let power = biased_exponent.max(1) - 16383 - 63;
        if let Ok(shift) = u32::try_from(power) {
            write_shifted(mantissa, shift, &mut out);
        } else {
            write_fraction(mantissa, power.unsigned_abs(), &mut out);
        }
        if out == b"-0" {
            out.remove(0);
        }
        out
    }
}

impl std::ops::Add for LongDouble {
    type Output = LongDouble;

    fn add(self, other: LongDouble) -> LongDouble {
        LongDouble((self.0 + other.0).value)
    }
}

/// Prints `mantissa / 2^shift`, rounded half to even to 17 decimals, without trailing zeros.
fn write_fraction(mantissa: u64, shift: u32, out: &mut Vec<u8>) {
    const DECIMALS: usize = 17;
    const SCALE: u128 = 10u128.pow(DECIMALS as u32);

    // 64 bits times 57 bits always fit, and from 128 on the value is far below half a unit of the last decimal.
    let scaled = u128::from(mantissa) * SCALE;
    let rounded = if shift >= 128 {
        0
    } else {
        let (quotient, rest) = (scaled >> shift, scaled & ((1 << shift) - 1));
        let half = 1u128 << (shift - 1);
        quotient + u128::from(rest > half || (rest == half && quotient & 1 == 1))
    };
    out.extend_from_slice(itoa::Buffer::new().format(rounded / SCALE).as_bytes());
    let mut fraction = rounded % SCALE;
    if fraction == 0 {
        return;
    }
    let mut decimals = [0u8; DECIMALS];
    for digit in decimals.iter_mut().rev() {
        *digit = b'0' + (fraction % 10) as u8;
        fraction /= 10;
    }
    let end = decimals.iter().rposition(|&d| d != b'0').map_or(0, |last| last + 1);
    out.push(b'.');
    out.extend_from_slice(&decimals[..end]);
}

/// Prints `mantissa * 2^shift`.
fn write_shifted(mantissa: u64, shift: u32, out: &mut Vec<u8>) {
    const LIMB: u64 = 1_000_000_000;

    if shift <= 64 {
        out.extend_from_slice(itoa::Buffer::new().format(u128::from(mantissa) << shift).as_bytes());
        return;
    }
    // Base 10^9, least significant limb first; shifted 32 bits at a time.
    let mut limbs: Vec<u64> = Vec::new();
    let mut rest = mantissa;
    while rest > 0 {
        limbs.push(rest % LIMB);
        rest /= LIMB;
    }
    let mut bits_left = shift;
    while bits_left > 0 {
        let bits = bits_left.min(32);
        let mut carry = 0;
        for limb in &mut limbs {
            let shifted = (*limb << bits) + carry;
            *limb = shifted % LIMB;
            carry = shifted / LIMB;
        }
        while carry > 0 {
            limbs.push(carry % LIMB);
            carry /= LIMB;
        }
        bits_left -= bits;
    }
    let mut text = itoa::Buffer::new();
    let mut limbs = limbs.iter().rev();
    out.extend_from_slice(text.format(limbs.next().copied().unwrap_or(0)).as_bytes());
    for limb in limbs {
        let digits = text.format(*limb).as_bytes();
        out.extend(std::iter::repeat_n(b'0', 9usize.saturating_sub(digits.len())));
        out.extend_from_slice(digits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prefixes() {
        for (text, wanted) in [
            ("1.5", 1),
            (" +12x", 12),
            ("\t-3", -3),
            ("007", 7),
            ("", 0),
            ("x1", 0),
            ("- 1", 0),
            ("4294967297", 1),
            ("99999999999999999999", -1),
            ("-99999999999999999999", 0),
        ] {
            assert_eq!(parse_prefix(text.as_bytes()), wanted, "{text:?}");
        }
    }

    #[test]
    fn integers_are_canonical() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("99999999999999999999", None),
            ("123456789012345678901", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("+1", None),
            ("01", None),
            ("00", None),
            (" 1", None),
            ("1 ", None),
            ("1a2", None),
            ("--1", None),
        ] {
            assert_eq!(parse_i64(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn unsigned_integers_may_have_leading_zeros() {
        for (text, expected) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("+5", Some(5)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("-1", None),
            ("", None),
            ("+", None),
            ("1x", None),
        ] {
            assert_eq!(parse_u64(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn doubles_are_read_as_strtod_does() {
        for (text, expected) in [
            ("1", Some(1.0)),
            ("+1.50", Some(1.5)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("1e3", Some(1000.0)),
            ("-1E-3", Some(-0.001)),
            ("inf", Some(f64::INFINITY)),
            ("+INF", Some(f64::INFINITY)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("0x10", Some(16.0)),
            ("-0X1.8p3", Some(-12.0)),
            ("0x.8", Some(0.5)),
            ("0x1p-1074", Some(f64::from_bits(1))),
            ("0x1.00000000000008p0", Some(1.0)),
            ("0x1.000000000000080000000000000000000000000000001p0", Some(1.0 + f64::EPSILON)),
            ("0x0p99999999999999999999", Some(0.0)),
            ("0e-99999", Some(0.0)),
            ("4.9e-324", Some(f64::from_bits(1))),
            ("1e-400", None),
            ("1e400", None),
            ("0x1p99999999999999999999", None),
            ("0x1p-9999", None),
            ("0x", None),
            ("0x.", None),
            ("0x1p", None),
            ("0x1p+", None),
            ("0x1.1.1", None),
            ("0xg", None),
            ("nan", None),
            ("-nan", None),
            ("", None),
            (".", None),
            ("1e", None),
            (" 1", None),
            ("1 ", None),
            ("1\0", None),
            ("infinit", None),
            ("1_0", None),
        ] {
            assert_eq!(parse_f64(text.as_bytes()), expected, "{text:?}");
            let long = LongDouble::parse(text.as_bytes()).is_some();
            // Only the range differs.
            let wider = ["1e-400", "1e400", "0x1p-9999"].contains(&text);
            assert_eq!(long, expected.is_some() || wider, "{text:?} as long double");
        }
    }

    #[test]
    fn doubles_are_printed_with_the_shortest_digits() {
        for (value, shortest, with_17) in [
            (0.0, "0", "0"),
            (-0.0, "-0", "-0"),
            (1.0, "1", "1"),
            (-3.5, "-3.5", "-3.5"),
            (0.1, "0.1", "0.10000000000000001"),
            (1e15, "1000000000000000", "1000000000000000"),
            (1e17, "100000000000000000", "1e+17"),
            (123456789012345680.0, "123456789012345680", "1.2345678901234568e+17"),
            (2f64.powi(62), "4611686018427387904", "4.6116860184273879e+18"),
            (2f64.powi(63), "9223372036854776000", "9.2233720368547758e+18"),
            (1e20, "1e+20", "1e+20"),
            (1.5e300, "1.5e+300", "1.5000000000000001e+300"),
            (1e-6, "0.000001", "9.9999999999999995e-07"),
            (1e-7, "1e-7", "9.9999999999999995e-08"),
            (1.5e-6, "1.5e-6", "1.5e-06"),
            (0.000123, "0.000123", "0.00012300000000000001"),
            (0.0012345678901234567, "0.0012345678901234567", "0.0012345678901234567"),
            (1.7976931348623157e308, "1.7976931348623157e+308", "1.7976931348623157e+308"),
            (-5e-324, "-5e-324", "-4.9406564584124654e-324"),
            (f64::INFINITY, "inf", "inf"),
            (f64::NEG_INFINITY, "-inf", "-inf"),
        ] {
            assert_eq!(format_f64(value).as_str(), shortest);
            assert_eq!(format_f64_17g(value).as_str(), with_17);
        }
    }

    /// The few doubles halfway between two texts of 17 digits: `printf` rounds them to even.
    #[test]
    fn halfway_doubles_are_rounded_to_even() {
        let quarter = |n: u64| format_f64_17g((1u64 << 52 | n) as f64 / 4.0).as_str().to_owned();
        assert_eq!(quarter(1), "1125899906842624.2");
        assert_eq!(quarter(3), "1125899906842624.8");
    }

    #[test]
    fn long_doubles_add_without_surprises() {
        let sum = |a: &str, b: &str| {
            let (a, b) = (LongDouble::parse(a.as_bytes()).unwrap(), LongDouble::parse(b.as_bytes()).unwrap());
            String::from_utf8((a + b).format_human()).unwrap()
        };
        assert_eq!(sum("0.1", "0.2"), "0.3");
        assert_eq!(sum("3.0e3", "200"), "3200");
        assert_eq!(sum("-0", "-0.0"), "0");
        assert_eq!(sum("-1e-30", "0"), "0");
        assert_eq!(sum("inf", "1"), "inf");
        assert_eq!(sum("inf", "-inf"), "nan");
        assert_eq!(sum("9223372036854775807", "1"), "9223372036854775808");
        assert!(!(LongDouble::parse(b"1e4932").unwrap() + LongDouble::parse(b"1e4932").unwrap()).is_finite());
    }

    /// What redis-server 7.0.15 answered to `SET k a; INCRBYFLOAT k b`; `None` stands for an error.
    #[test]
    fn sums_of_long_doubles_equal_those_of_a_real_server() {
        for (a, b, expected) in [
            ("89.58", "0x.8p1", Some("90.58")),
            ("0.17923743197841124e-121", "0x1.30cb47131cdc2p+9", Some("609.58810652646229755")),
            ("89e-10", "0.3290101960218019261361633e-4950", Some("0.0000000089")),
            ("-94.29", "312.21141049733205", Some("217.92141049733204999")),
            ("0.39425990954514678e-341", "5460901890866594177", Some("5460901890866594177")),
            ("961344683871891237", "0x1.29152ad77192ap+9", Some("961344683871891831.1875")),
            ("6463639075963822973", "2104879449523368592", Some("8568518525487191565")),
            ("1.", "0.4240750531174515280952164e-10", Some("1.00000000004240751")),
            ("-0x1.d8a81ddda4758p+9", "268e-15", Some("-945.31341143160053009")),
            ("101.72891244366838", "2490825567513227414", Some("2490825567513227515.75")),
            ("111860", "-142769.331693402259", Some("-30909.33169340225900612")),
            ("-70.88", "8960.62016055895947", Some("8889.74016055895947019")),
            ("1507586793348234622", "-696963689193760592", Some("810623104154474030")),
            ("85.39", "427e23", Some("42700000000000000000000000")),
            ("679e-14", "13.38", Some("13.38000000000679")),
            ("519.6172056897922", "279633.450", Some("280153.0672056897921891")),
            ("691.9326301397048", "-848923.61996", Some("-848231.68732986029516496")),
            ("0.43161804339981524e-53", "68e-8", Some("0.00000068")),
            ("1.2e4932", "1 ", None),
            (" ", "880155.9", None),
            ("0.0248281764048818853751754e-4970", "501.3262993007472", None),
            ("-73.25", " ", None),
        ] {
            let sum = LongDouble::parse(a.as_bytes())
                .zip(LongDouble::parse(b.as_bytes()))
                .map(|(a, b)| a + b)
                .filter(|sum| sum.is_finite())
                .map(|sum| String::from_utf8(sum.format_human()).unwrap());
            assert_eq!(sum.as_deref(), expected, "{a} + {b}");
        }
    }

    /// What redis-server 7.0.15 answered to `ZADD z a m; ZINCRBY z b m`; `None` stands for an error.
    #[test]
    fn sums_of_doubles_equal_those_of_a_real_server() {
        for (a, b, expected) in [
            ("-778.3392580745397", "1839523664312438966", Some("1.8395236643124383e+18")),
            ("0.6006579955461109898706695e300", "-234e15", Some("6.0065799554611097e+299")),
            ("-164712", "0.197785947833654e4", Some("-162734.14052166347")),
            ("5566338365179450683", "-464.6412928651571", Some("5.5663383651794504e+18")),
            ("8806127357119900206", "-770e-1", Some("8.8061273571199007e+18")),
            ("234.51938206284035", "770558", Some("770792.51938206283")),
            ("-867.4814547950994", "-37.68", Some("-905.1614547950993")),
            ("976446", "767609", Some("1744055")),
            ("489894.8744328073", "0.14200950040678451e124", Some("1.4200950040678452e+123")),
            ("-0x1.1f98a2bdeda1cp+9", "0.6262082901257991496279942e300", Some("6.2620829012579916e+299")),
            ("-0x1.da668e655fa24p+9", "0.0013214952397867519e146", Some("1.3214952397867519e+143")),
            ("-0x1.953a14a392324p+9", "-.5e1", Some("-815.45375485075465")),
            ("-421.45106796546213", "-310.2890252582496", Some("-731.74009322371171")),
            ("-836.7725933276915", "-29821.792547650286", Some("-30658.565140977978")),
            ("-983e18", "-76.16", Some("-9.83e+20")),
            ("0x1.e2882eb7c9fa4p+9", "-0x1.621dbffa48928p+8", Some("610.94771512117768")),
            ("659978.332599050133", "0.22620773918418213e261", Some("2.2620773918418212e+260")),
            ("891866", "-457943.24274938216", Some("433922.75725061784")),
            ("-483026.8", "nan", None),
            ("0.8598604720184120919768134e4900", "0.8590946066689892912648929e-4951", None),
            ("  1", "-50.36", None),
        ] {
            let sum = parse_f64(a.as_bytes())
                .zip(parse_f64(b.as_bytes()))
                .map(|(a, b)| a + b)
                .filter(|sum| !sum.is_nan())
                .map(|sum| format_f64_17g(sum).as_str().to_owned());
            assert_eq!(sum.as_deref(), expected, "{a} + {b}");
        }
    }

    /// Digits that `fpconv` prints and that a shortest or closest algorithm would not.
    #[test]
    fn digits_are_those_of_grisu2() {
        for (bits, expected) in [
            (0x431c8127bf086551, "2005826764151124.3"),
            (0x430ed66ebcad84fa, "1085002550194335.3"),
            (0x4306c8bd14e03cf2, "801645489031070.3"),
            (0x431bf344d908e069, "1966825348937754.3"),
            (0x7953a0dc0d3db461, "2.7183163742986588e+276"),
            (0x3fd202d23b5945e0, "0.28142219348691633"),
            (0x471ff5cb257aa4f6, "4.1486621970919508e+34"),
            (0x3fea286e31ad3ca5, "0.8174353571174789"),
            (0x3fec1bca4f1b649b, "0.8783923668917341"),
            (0xe1ef4857bb15c530, "-5.6295067871009743e+163"),
        ] {
            assert_eq!(format_f64(f64::from_bits(bits)).as_str(), expected);
        }
    }

    #[test]
    fn fixed_decimals_are_rounded() {
        for (value, expected) in [
            (0.0, "0.0000"),
            (166274.15156960033, "166274.1516"),
            (0.00004, "0.0000"),
            (-0.775, "-0.7750"),
            (1e300, "922337203685477.5807"),
        ] {
            assert_eq!(format_fixed(value, 4).as_str(), expected);
        }
        assert_eq!(format_fixed(2.5, 0).as_str(), "2");
    }

    proptest! {
        #[test]
        fn integers_round_trip(value: i64, small in -1000i64..1000) {
            for value in [value, small] {
                let text = format_i64(value);
                prop_assert_eq!(parse_i64(&text), Some(value));
                prop_assert_eq!(text.len(), i64_text_len(value));
            }
        }

        /// The canonical texts are exactly those that the standard library prints.
        #[test]
        fn integers_are_exactly_what_is_printed(text in "-?[0-9]{0,21}") {
            let expected = text.parse::<i64>().ok().filter(|value| value.to_string() == text);
            prop_assert_eq!(parse_i64(text.as_bytes()), expected);
        }

        #[test]
        fn doubles_round_trip(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            prop_assert_eq!(parse_f64(&format_f64(value)), Some(value));
            let denormal = f64::from_bits(bits >> 12);
            prop_assert_eq!(parse_f64(&format_f64(denormal)), Some(denormal));
            prop_assert_eq!(parse_f64(&format_f64_17g(value)), Some(value));
        }

        #[test]
        fn hexadecimal_doubles_round_trip(mantissa: u64, shift in -900i32..900) {
            let text = format!("0x{mantissa:x}p{shift}");
            prop_assert_eq!(parse_f64(text.as_bytes()), Some(mantissa as f64 * 2f64.powi(shift)));
        }

        #[test]
        fn no_text_panics(text in "[-+]?(0x)?[0-9a-f.]{0,40}([ep][-+]?[0-9]{0,12})?", junk: Vec<u8>) {
            for text in [text.as_bytes(), &junk] {
                parse_f64(text);
                if let Some(value) = LongDouble::parse(text) {
                    let printed = value.format_human();
                    prop_assert!(!printed.is_empty() && printed.len() <= 4951);
                }
            }
        }

        #[test]
        fn large_long_doubles_print_exactly(value: i64, shift in 0u32..63) {
            let wide = i128::from(value) << shift;
            let text = wide.to_string();
            let parsed = LongDouble::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(String::from_utf8(parsed.format_human()).unwrap(), text);
        }
    }
}
