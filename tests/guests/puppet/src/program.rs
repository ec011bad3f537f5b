//! A program: bytes that are read as whatever a call asks for. Nothing is read past the end: what is missing is zero.

/// Texts that mean something to a host, beside those that a program spells out.
const TEXTS: [&str; 28] = [
    "",
    "x",
    "echo",
    "gone",
    "refuse",
    "stable",
    "words",
    "key",
    "prefix/",
    "prefix/a",
    "token",
    "[UNK]",
    "a ship sails",
    "puppet_calls_total",
    "puppet_level",
    "puppet_sizes",
    "GET",
    "POST",
    "CONNECT",
    "host",
    "content-length",
    "transfer-encoding",
    "http://127.0.0.1:9/",
    "http://127.0.0.1:9/../%00?#",
    "http://user:pass@127.0.0.1:9",
    "https://example.com/",
    "file:///etc/passwd",
    "\u{0}\r\n\u{feff}",
];

/// Numbers at the edges of types and sizes.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    255,
    256,
    65_535,
    65_536,
    1 << 20,
    (1 << 31) - 1,
    1 << 31,
    u32::MAX as u64,
    1 << 32,
    (1 << 53) + 1,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

const FLOATS: [f64; 12] = [
    0.0,
    -0.0,
    1.0,
    1.0 / 255.0,
    -1.0,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::MIN_POSITIVE,
    f64::MAX,
    1e39,
    5e-324,
];

/// The most bytes that a program gets by naming a length.
const MOST: usize = 1 << 20;

pub(crate) struct Program<'a>(&'a [u8]);

impl<'a> Program<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((byte, rest)) => {
                self.0 = rest;
                *byte
            }
            None => 0,
        }
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    pub(crate) fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// A small number, one at an edge, or any.
    pub(crate) fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=127 => small.into(),
            128..=223 => self.one_of(&NUMBERS),
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    pub(crate) fn word(&mut self) -> u32 {
        self.number() as u32
    }

    pub(crate) fn float(&mut self) -> f64 {
        match self.byte() {
            0..=223 => self.one_of(&FLOATS),
            _ => f64::from_bits(self.number()),
        }
    }

    /// The bytes that follow, or one byte many times.
    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        let length = self.byte();
        if length < 192 {
            let length = usize::from(length).min(self.0.len());
            let (taken, rest) = self.0.split_at(length);
            self.0 = rest;
            return taken.to_vec();
        }
        let most = match self.flag() {
            true => MOST,
            false => 2048,
        };
        vec![self.byte(); self.number() as usize % (most + 1)]
    }

    pub(crate) fn text(&mut self) -> String {
        match self.byte() {
            0..=159 => self.one_of(&TEXTS).to_owned(),
            160..=191 => format!("{}{}", self.one_of(&TEXTS), self.byte()),
            _ => String::from_utf8_lossy(&self.bytes()).into_owned(),
        }
    }

    /// At most so many items; none where the program is over.
    pub(crate) fn list<T>(&mut self, most: usize, item: impl Fn(&mut Self) -> T) -> Vec<T> {
        let count = self.below(most + 1);
        (0..count).map(|_| item(self)).collect()
    }

    pub(crate) fn maybe<T>(&mut self, item: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.flag().then(|| item(self))
    }

    pub(crate) fn shape(&mut self) -> Vec<u64> {
        self.list(5, Self::number)
    }

    /// Elements whose number fits a shape, where that is small and the program does not want it otherwise.
    pub(crate) fn fitting<T>(&mut self, shape: &[u64], item: impl Fn(&mut Self) -> T) -> Vec<T> {
        let product = shape
            .iter()
            .try_fold(1_u64, |product, dimension| product.checked_mul(*dimension));
        let more = usize::from(self.byte() == 255);
        match product {
            Some(count @ 0..=4096) => (0..count as usize + more).map(|_| item(self)).collect(),
            _ => self.list(8, item),
        }
    }
}
