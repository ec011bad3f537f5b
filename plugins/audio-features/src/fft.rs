//! The power spectrum of real samples, by a Fourier transform of mixed radix: in binary64, because a logarithm shows what is lost
//! far below the loudest frequency.

use std::f64::consts::TAU;
use std::ops::{Add, Mul, Sub};

#[derive(Clone, Copy, Default)]
struct Complex {
    re: f64,
    im: f64,
}

impl Complex {
    /// `exp(-2 pi i part)`.
    fn root(part: f64) -> Self {
        let (sin, cos) = (TAU * part).sin_cos();
        Self { re: cos, im: -sin }
    }

    /// Times `-i`.
    fn turned(self) -> Self {
        Self {
            re: self.im,
            im: -self.re,
        }
    }

    fn scaled(self, factor: f64) -> Self {
        Self {
            re: self.re * factor,
            im: self.im * factor,
        }
    }
}

impl Add for Complex {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            re: self.re + other.re,
            im: self.im + other.im,
        }
    }
}

impl Sub for Complex {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            re: self.re - other.re,
            im: self.im - other.im,
        }
    }
}

impl Mul for Complex {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        Self {
            re: self.re * other.re - self.im * other.im,
            im: self.re * other.im + self.im * other.re,
        }
    }
}

/// The transform of one length, made once.
pub(crate) struct Spectrum {
    /// Half the length: two real samples are one complex one.
    half: usize,
    /// The radix of each step: 4, 2, 3, 5, 7.
    radices: Vec<usize>,
    /// The roots of unity of `half`.
    roots: Vec<Complex>,
    /// Those of the whole length, the first half of them.
    unpacking: Vec<Complex>,
}

/// The buffers of a transform, made once for many frames.
pub(crate) struct Scratch {
    values: Vec<Complex>,
    others: Vec<Complex>,
}

impl Spectrum {
    /// For an even length whose prime factors are 2, 3, 5 and 7.
    pub(crate) fn new(length: usize) -> Self {
        let half = length / 2;
        let mut radices = Vec::new();
        let mut rest = half;
        for radix in [4, 2, 3, 5, 7] {
            while rest > 1 && rest.is_multiple_of(radix) {
                radices.push(radix);
                rest /= radix;
            }
        }
        let roots = |of: usize| {
            (0..half)
                .map(|index| Complex::root(index as f64 / of as f64))
                .collect()
        };
        Self {
            half,
            radices,
            roots: roots(half),
            unpacking: roots(length),
        }
    }

    pub(crate) fn scratch(&self) -> Scratch {
        Scratch {
            values: vec![Complex::default(); self.half],
            others: vec![Complex::default(); self.half],
        }
    }

    /// Writes the squares of the magnitudes, from 0 to half the length. `frame` has the whole length, `power` half of it and one.
    pub(crate) fn power(&self, frame: &[f64], scratch: &mut Scratch, power: &mut [f64]) {
        let (pairs, _) = frame.as_chunks::<2>();
        for (value, [re, im]) in scratch.values.iter_mut().zip(pairs) {
            *value = Complex { re: *re, im: *im };
        }
        self.transform(scratch);
        let transformed = &scratch.values;
        let first = transformed[0];
        power[0] = (first.re + first.im).powi(2);
        power[self.half] = (first.re - first.im).powi(2);
        // The even and the odd samples' transforms, which the packing has added up, are taken apart and joined.
        for index in 1..self.half {
            let (a, mirrored) = (transformed[index], transformed[self.half - index]);
            let b = Complex {
                re: mirrored.re,
                im: -mirrored.im,
            };
            let joined = (a + b) + ((a - b) * self.unpacking[index]).turned();
            power[index] = (joined.re * joined.re + joined.im * joined.im) / 4.0;
        }
    }

    /// Stockham's: each step reads one buffer and writes the other, and the order comes out right.
    fn transform(&self, scratch: &mut Scratch) {
        let (mut length, mut stride) = (self.half, 1);
        for &radix in &self.radices {
            let step = Step {
                roots: &self.roots,
                quarter: length / radix,
                stride,
            };
            let (from, to) = (&scratch.values, &mut scratch.others);
            match radix {
                2 => step.two(from, to),
                4 => step.four(from, to),
                3 => step.odd::<3>(from, to),
                5 => step.odd::<5>(from, to),
                _ => step.odd::<7>(from, to),
            }
            std::mem::swap(&mut scratch.values, &mut scratch.others);
            length /= radix;
            stride *= radix;
        }
    }
}

/// One step: `stride` transforms of `radix * quarter` values become `radix` times as many, shorter ones.
struct Step<'a> {
    roots: &'a [Complex],
    /// The length after the step.
    quarter: usize,
    stride: usize,
}

impl Step<'_> {
    /// The root of unity that the result `result` of the butterfly `index` is turned by.
    fn twiddle(&self, index: usize, result: usize) -> Complex {
        self.roots[index * result * self.stride]
    }

    fn two(&self, from: &[Complex], to: &mut [Complex]) {
        let (stride, half) = (self.stride, self.quarter * self.stride);
        for index in 0..self.quarter {
            let twiddle = self.twiddle(index, 1);
            let inputs = from[index * stride..][..stride]
                .iter()
                .zip(&from[index * stride + half..][..stride]);
            let (first, second) = to[2 * index * stride..][..2 * stride].split_at_mut(stride);
            for ((a, b), (x, y)) in inputs.zip(first.iter_mut().zip(second)) {
                *x = *a + *b;
                *y = (*a - *b) * twiddle;
            }
        }
    }

    fn four(&self, from: &[Complex], to: &mut [Complex]) {
        let (stride, quarter) = (self.stride, self.quarter * self.stride);
        for index in 0..self.quarter {
            let twiddles = [1, 2, 3].map(|result| self.twiddle(index, result));
            let input = |part: usize| &from[index * stride + part * quarter..][..stride];
            let inputs = [input(0), input(1), input(2), input(3)];
            let output = &mut to[4 * index * stride..][..4 * stride];
            for place in 0..stride {
                let [a, b, c, d] = inputs.map(|part| part[place]);
                let (sum, difference) = (a + c, a - c);
                let (other, turned) = (b + d, (b - d).turned());
                output[place] = sum + other;
                output[place + stride] = (difference + turned) * twiddles[0];
                output[place + 2 * stride] = (sum - other) * twiddles[1];
                output[place + 3 * stride] = (difference - turned) * twiddles[2];
            }
        }
    }

    /// An odd radix: inputs that stand opposite are added and subtracted first, which halves the products.
    fn odd<const RADIX: usize>(&self, from: &[Complex], to: &mut [Complex]) {
        let (stride, part) = (self.stride, self.quarter * self.stride);
        let whole = self.roots.len();
        let root = |power: usize| self.roots[power % RADIX * (whole / RADIX)];
        let middle = RADIX / 2;
        let mut factors = [[Complex::default(); RADIX]; RADIX];
        for (result, row) in factors.iter_mut().enumerate() {
            for (input, factor) in row.iter_mut().enumerate() {
                *factor = root(result * input);
            }
        }
        for index in 0..self.quarter {
            let output = &mut to[RADIX * index * stride..][..RADIX * stride];
            for place in 0..stride {
                let value = |input: usize| from[index * stride + input * part + place];
                let first = value(0);
                let mut sums = [Complex::default(); RADIX];
                let mut differences = [Complex::default(); RADIX];
                let mut total = first;
                for input in 1..=middle {
                    sums[input] = value(input) + value(RADIX - input);
                    differences[input] = value(input) - value(RADIX - input);
                    total = total + sums[input];
                }
                output[place] = total;
                for result in 1..=middle {
                    let (mut even, mut odd) = (first, Complex::default());
                    for input in 1..=middle {
                        let factor = factors[result][input];
                        even = even + sums[input].scaled(factor.re);
                        odd = odd + differences[input].scaled(-factor.im);
                    }
                    let odd = odd.turned();
                    let mirror = RADIX - result;
                    output[place + result * stride] = (even + odd) * self.twiddle(index, result);
                    output[place + mirror * stride] = (even - odd) * self.twiddle(index, mirror);
                }
            }
        }
    }
}
