//! The digits of a double: Grisu2, by Florian Loitsch ("Printing floating-point numbers quickly and
//! accurately with integers", 2010).
//!
//! The digits always read back as the same double. In about one case in a thousand they are not the
//! shortest possible or not the closest of the shortest, as 64 bits are too few to know. Redis prints
//! these very digits since 7.2, so a better algorithm would be a visible difference.

/// The most digits that the algorithm makes.
pub(super) const DIGITS_MAX: usize = 18;

/// The digits of a positive, finite double: the value is `digits * 10^power`.
pub(super) struct Digits {
    pub(super) digits: [u8; DIGITS_MAX],
    pub(super) len: usize,
    pub(super) power: i32,
}

/// `frac * 2^exp`.
#[derive(Clone, Copy)]
struct Scaled {
    frac: u64,
    exp: i32,
}

impl Scaled {
    /// Shifts the fraction up until its highest bit is set.
    fn normalized(self) -> Self {
        let shift = self.frac.leading_zeros();
        Scaled { frac: self.frac << shift, exp: self.exp - shift as i32 }
    }

    /// The upper half of the product, rounded.
    fn times(self, other: Scaled) -> Self {
        let product = u128::from(self.frac) * u128::from(other.frac) + (1 << 63);
        Scaled { frac: (product >> 64) as u64, exp: self.exp + other.exp + 64 }
    }
}

/// Finds the digits of `value`, which must be positive and finite.
pub(super) fn digits_of(value: f64) -> Digits {
    const FRACTION_BITS: u32 = 52;
    const HIDDEN_BIT: u64 = 1 << FRACTION_BITS;
    const BIAS: i32 = 1023 + FRACTION_BITS as i32;

    let bits = value.to_bits();
    let (fraction, biased) = (bits & (HIDDEN_BIT - 1), (bits >> FRACTION_BITS) as i32 & 0x7ff);
    let exact = match biased {
        0 => Scaled { frac: fraction, exp: 1 - BIAS },
        _ => Scaled { frac: fraction | HIDDEN_BIT, exp: biased - BIAS },
    };
    // Everything between the middles to both neighbours reads back as `value`. Below a power of two
    // the neighbour is half as far.
    let upper = Scaled { frac: exact.frac * 2 + 1, exp: exact.exp - 1 }.normalized();
    let below = if exact.frac == HIDDEN_BIT { 2 } else { 1 };
    let lower_exp = exact.exp - below;
    let lower_frac = ((exact.frac << below) - 1) << (lower_exp - upper.exp);
    let lower = Scaled { frac: lower_frac, exp: upper.exp };

    let (power, scale) = power_of_ten_for(upper.exp);
    let upper = upper.times(scale);
    let (middle, lower) = (exact.normalized().times(scale), lower.times(scale));
    // Each product may be off by one: stay clear of both ends.
    generate(middle.frac, Scaled { frac: upper.frac - 1, exp: upper.exp }, lower.frac + 1, -power)
}

/// Writes digits of `upper` until what is left is within the interval, then steps towards `middle`.
fn generate(middle: u64, upper: Scaled, lower: u64, power: i32) -> Digits {
    let shift = upper.exp.unsigned_abs();
    let one = 1u64 << shift;
    let (mut whole, mut part) = (upper.frac >> shift, upper.frac & (one - 1));
    let (mut to_middle, mut interval) = (upper.frac - middle, upper.frac - lower);
    let mut out = Digits { digits: [0; DIGITS_MAX], len: 0, power };

    for place in (0..10).rev() {
        let unit = 10u64.pow(place);
        out.push(whole / unit);
        whole %= unit;
        let rest = (whole << shift) + part;
        if rest <= interval {
            out.power += place as i32;
            out.approach(to_middle, interval, rest, unit << shift);
            return out;
        }
    }
    loop {
        part *= 10;
        interval = interval.wrapping_mul(10);
        to_middle = to_middle.wrapping_mul(10);
        out.power -= 1;
        out.push(part >> shift);
        part &= one - 1;
        // The interval grows tenfold each time, so this ends; the second condition is for the reader.
        if part < interval || out.len == DIGITS_MAX {
            out.approach(to_middle, interval, part, one);
            return out;
        }
    }
}

impl Digits {
    /// Appends a digit, unless it is a leading zero.
    fn push(&mut self, digit: u64) {
        if (digit != 0 || self.len != 0) && self.len < DIGITS_MAX {
            self.digits[self.len] = b'0' + digit as u8;
            self.len += 1;
        }
    }

    /// Lowers the last digit while that stays in the interval and comes closer to the middle.
    fn approach(&mut self, to_middle: u64, interval: u64, mut rest: u64, unit: u64) {
        let Some(last) = self.len.checked_sub(1) else { return };
        while rest < to_middle
            && interval - rest >= unit
            && (rest + unit < to_middle || to_middle - rest > rest + unit - to_middle)
        {
            self.digits[last] -= 1;
            rest += unit;
        }
    }
}

/// A power of ten, and its value to 64 bits, which brings a number with exponent `exp` into `2^-60..2^-32`.
fn power_of_ten_for(exp: i32) -> (i32, Scaled) {
    const LOG10_OF_2: f64 = std::f64::consts::LOG10_2;

    let estimate = (-f64::from(exp + POWERS.len() as i32) * LOG10_OF_2) as i32;
    let mut index = (estimate - POWER_FIRST) / POWER_STEP;
    loop {
        let power = POWER_FIRST + index * POWER_STEP;
        // floor(power * log2(10)), exact over the range of the table.
        let scale_exp = ((i64::from(power) * 217_706) >> 16) as i32 - 63;
        match exp + scale_exp + 64 {
            ..-60 => index += 1,
            -31.. => index -= 1,
            _ => return (power, Scaled { frac: POWERS[index as usize], exp: scale_exp }),
        }
    }
}

const POWER_FIRST: i32 = -348;
const POWER_STEP: i32 = 8;

/// The upper 64 bits, rounded, of every eighth power of ten from `10^-348` to `10^340`.
#[rustfmt::skip]
const POWERS: [u64; 87] = [
    0xfa8fd5a0081c0288, 0xbaaee17fa23ebf76, 0x8b16fb203055ac76, 0xcf42894a5dce35ea, 0x9a6bb0aa55653b2d,
    0xe61acf033d1a45df, 0xab70fe17c79ac6ca, 0xff77b1fcbebcdc4f, 0xbe5691ef416bd60c, 0x8dd01fad907ffc3c,
    0xd3515c2831559a83, 0x9d71ac8fada6c9b5, 0xea9c227723ee8bcb, 0xaecc49914078536d, 0x823c12795db6ce57,
    0xc21094364dfb5637, 0x9096ea6f3848984f, 0xd77485cb25823ac7, 0xa086cfcd97bf97f4, 0xef340a98172aace5,
    0xb23867fb2a35b28e, 0x84c8d4dfd2c63f3b, 0xc5dd44271ad3cdba, 0x936b9fcebb25c996, 0xdbac6c247d62a584,
    0xa3ab66580d5fdaf6, 0xf3e2f893dec3f126, 0xb5b5ada8aaff80b8, 0x87625f056c7c4a8b, 0xc9bcff6034c13053,
    0x964e858c91ba2655, 0xdff9772470297ebd, 0xa6dfbd9fb8e5b88f, 0xf8a95fcf88747d94, 0xb94470938fa89bcf,
    0x8a08f0f8bf0f156b, 0xcdb02555653131b6, 0x993fe2c6d07b7fac, 0xe45c10c42a2b3b06, 0xaa242499697392d3,
    0xfd87b5f28300ca0e, 0xbce5086492111aeb, 0x8cbccc096f5088cc, 0xd1b71758e219652c, 0x9c40000000000000,
    0xe8d4a51000000000, 0xad78ebc5ac620000, 0x813f3978f8940984, 0xc097ce7bc90715b3, 0x8f7e32ce7bea5c70,
    0xd5d238a4abe98068, 0x9f4f2726179a2245, 0xed63a231d4c4fb27, 0xb0de65388cc8ada8, 0x83c7088e1aab65db,
    0xc45d1df942711d9a, 0x924d692ca61be758, 0xda01ee641a708dea, 0xa26da3999aef774a, 0xf209787bb47d6b85,
    0xb454e4a179dd1877, 0x865b86925b9bc5c2, 0xc83553c5c8965d3d, 0x952ab45cfa97a0b3, 0xde469fbd99a05fe3,
    0xa59bc234db398c25, 0xf6c69a72a3989f5c, 0xb7dcbf5354e9bece, 0x88fcf317f22241e2, 0xcc20ce9bd35c78a5,
    0x98165af37b2153df, 0xe2a0b5dc971f303a, 0xa8d9d1535ce3b396, 0xfb9b7cd9a4a7443c, 0xbb764c4ca7a44410,
    0x8bab8eefb6409c1a, 0xd01fef10a657842c, 0x9b10a4e5e9913129, 0xe7109bfba19c0c9d, 0xac2820d9623bf429,
    0x80444b5e7aa7cf85, 0xbf21e44003acdd2d, 0x8e679c2f5e44ff8f, 0xd433179d9c8cb841, 0x9e19db92b4e31ba9,
    0xeb96bf6ebadf77d9, 0xaf87023b9bf0ee6b,
];
