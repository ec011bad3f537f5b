//! Numbers of JSON, read once from their digits into the type that they are to be.

/// The powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
/// So many digits always fit in 64 bits.
const MAX_DIGITS: usize = 19;

/// A number as it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimal<'a> {
    /// All of it.
    pub(crate) text: &'a [u8],
    negative: bool,
    /// The digits without the point; none where 64 bits do not hold them.
    digits: Option<u64>,
    /// The power of ten that they are multiplied by.
    exponent: i32,
    /// Whether it has neither a point nor an exponent.
    whole: bool,
}

impl<'a> Decimal<'a> {
    /// Reads the number that a text begins with; none where it begins with none.
    #[inline]
    pub(crate) fn read(text: &'a [u8]) -> Option<Self> {
        let mut scan = Scan { text, at: 0 };
        let negative = scan.take(b'-');
        let mut digits = 0;
        let first = scan.at;
        if !scan.take(b'0') {
            scan.digits(&mut digits);
        }
        let mut count = scan.at - first;
        if count == 0 {
            return None;
        }
        let mut whole = true;
        let mut exponent = 0;
        if scan.take(b'.') {
            whole = false;
            let point = scan.at;
            scan.digits(&mut digits);
            let places = scan.at - point;
            if places == 0 {
                return None;
            }
            count += places;
            exponent = -i32::try_from(places).unwrap_or(i32::MAX);
        }
        if scan.take(b'e') || scan.take(b'E') {
            whole = false;
            exponent = exponent.saturating_add(scan.exponent()?);
        }
        Some(Self {
            text: &text[..scan.at],
            negative,
            // Leading zeros count, too: what they push out is read the slow way, and comes to the same.
            digits: (count <= MAX_DIGITS).then_some(digits),
            exponent,
            whole,
        })
    }

    /// The number as an integer; none where it is written as another, or is far beyond all of them.
    pub(crate) fn integer(&self) -> Option<i128> {
        let digits = match self.digits {
            _ if !self.whole => return None,
            Some(digits) => i128::from(digits),
            None => return self.as_str().parse().ok().filter(|_| self.text.len() < 25),
        };
        Some(if self.negative { -digits } else { digits })
    }

    /// The integer that it is though it is written with a point or an exponent; none where it is none, or so large that a double
    /// would have rounded it.
    pub(crate) fn integral(&self) -> Option<i64> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let real = self.to_f64();
        (!self.whole && real.fract() == 0.0 && real.abs() <= EXACT).then_some(real as i64)
    }

    /// Whether it has neither a point nor an exponent.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// The nearest double; an infinity beyond the largest.
    #[inline]
    pub(crate) fn to_f64(self) -> f64 {
        // Both factors are exact, so that one rounding is all there is.
        match self.product() {
            Some((product, true)) => self.signed(product),
            _ => self.parse(),
        }
    }

    /// The nearest single; an infinity beyond the largest.
    #[inline]
    pub(crate) fn to_f32(self) -> f32 {
        if let Some((product, _)) = self.product() {
            // The product is off by two units of a double at most. That moves the single only near the middle between two.
            let below = product.to_bits() & ((1 << 29) - 1);
            let clear = below.abs_diff(1 << 28) > 4;
            let normal = (f64::from(f32::MIN_POSITIVE)..1e38).contains(&product);
            if (clear && normal) || product == 0.0 {
                return self.signed(product) as f32;
            }
        }
        self.parse()
    }

    /// The value without its sign, from two factors, and whether both are exact; none where the power of ten is not.
    #[inline]
    fn product(&self) -> Option<(f64, bool)> {
        let digits = self.digits?;
        let power = *POWERS.get(self.exponent.unsigned_abs() as usize)?;
        let factor = digits as f64;
        let product = if self.exponent < 0 {
            factor / power
        } else {
            factor * power
        };
        Some((product, digits <= 1 << 53))
    }

    fn signed(&self, value: f64) -> f64 {
        if self.negative { -value } else { value }
    }

    fn as_str(&self) -> &'a str {
        std::str::from_utf8(self.text).unwrap_or_default()
    }

    #[cold]
    fn parse<T: std::str::FromStr + Default>(&self) -> T {
        // JSON's numbers are a part of what Rust reads.
        self.as_str().parse().unwrap_or_default()
    }
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    #[inline]
    fn take(&mut self, byte: u8) -> bool {
        let found = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    /// Adds the digits that follow to what was read before; wraps where there are too many, which their count tells.
    #[inline]
    fn digits(&mut self, number: &mut u64) {
        while let Some(eight) = self.text[self.at..].first_chunk::<8>()
            && let Some(digits) = eight_digits(*eight)
        {
            *number = number.wrapping_mul(100_000_000).wrapping_add(digits);
            self.at += 8;
        }
        while let Some(digit @ b'0'..=b'9') = self.text.get(self.at) {
            *number = number
                .wrapping_mul(10)
                .wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
    }

    fn exponent(&mut self) -> Option<i32> {
        let negative = self.take(b'-');
        if !negative {
            self.take(b'+');
        }
        let first = self.at;
        let mut exponent = 0_i32;
        while let Some(digit @ b'0'..=b'9') = self.text.get(self.at) {
            exponent = exponent
                .saturating_mul(10)
                .saturating_add(i32::from(digit - b'0'));
            self.at += 1;
        }
        (self.at > first).then_some(if negative { -exponent } else { exponent })
    }
}

/// Eight characters at once; none where one of them is no digit.
#[inline]
fn eight_digits(text: [u8; 8]) -> Option<u64> {
    let bytes = u64::from_le_bytes(text);
    let high = bytes & 0xF0F0_F0F0_F0F0_F0F0;
    let carried = (bytes.wrapping_add(0x0606_0606_0606_0606) & 0xF0F0_F0F0_F0F0_F0F0) >> 4;
    if high | carried != 0x3333_3333_3333_3333 {
        return None;
    }
    // Neighbours are joined: digits to pairs, pairs to fours, fours to eight.
    let digits = bytes - 0x3030_3030_3030_3030;
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00FF_00FF_00FF_00FF;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_FFFF_0000_FFFF;
    Some(fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xFFFF_FFFF)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Decimal<'_> {
        Decimal::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn numbers_end_where_json_says() {
        for (text, number) in [
            ("0", "0"),
            ("01", "0"),
            ("-0.5e+3,", "-0.5e+3"),
            ("12345678901234567890123]", "12345678901234567890123"),
            ("1.5E-7 ", "1.5E-7"),
        ] {
            assert_eq!(read(text).text, number.as_bytes());
        }
        for text in ["", "-", ".5", "1.", "1.e5", "1e", "1e+", "+1", "NaN", "e5"] {
            assert!(Decimal::read(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn integers_are_exact() {
        for (text, number) in [
            ("-9223372036854775808", Some(i128::from(i64::MIN))),
            ("18446744073709551616", Some(1 << 64)),
            ("-0", Some(0)),
            ("1.0", None),
            ("1e2", None),
            (&"9".repeat(1000), None),
        ] {
            assert_eq!(read(text).integer(), number, "{text}");
        }
    }

    #[test]
    fn singles_are_the_nearest_at_the_edges() {
        for text in [
            // The middle between two singles, and a little beside it.
            "1.000000059604644775390625",
            "1.00000005960464478",
            "1.00000005960464477",
            "16777217",
            "16777219",
            "9007199791611905",
            "3.4028235e38",
            "3.4028236e38",
            "1e-45",
            "1.1754943e-38",
            "1e400",
            "0e999999999999",
            "0.00000000000000000000000000000000000000000000000001",
        ] {
            let expected: f32 = text.parse().unwrap();
            assert_eq!(read(text).to_f32().to_bits(), expected.to_bits(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn floats_are_the_nearest(text in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?(e-?[0-9]{1,2})?") {
            let single: f32 = text.parse().unwrap();
            let double: f64 = text.parse().unwrap();
            prop_assert_eq!(read(&text).to_f32().to_bits(), single.to_bits());
            prop_assert_eq!(read(&text).to_f64().to_bits(), double.to_bits());
        }

        #[test]
        fn what_a_double_prints_becomes_the_same_single(bits in any::<u32>()) {
            let value = f32::from_bits(bits);
            prop_assume!(value.is_finite());
            let text = format!("{:?}", f64::from(value));
            prop_assert_eq!(read(&text).to_f32().to_bits(), value.to_bits());
        }
    }
}
