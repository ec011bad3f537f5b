//! Content digests.

use std::fmt;
use std::str::FromStr;

/// The SHA-256 digest of a content: what a file or a set of files is, whatever its name and time say.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Takes the 32 bytes of a SHA-256.
    #[must_use]
    pub const fn new(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A text that is not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 hexadecimal digits")]
pub struct InvalidDigest;

/// Reads 64 hexadecimal digits, of either case.
impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let mut bytes = [0; 32];
        if text.len() != 2 * bytes.len() {
            return Err(InvalidDigest);
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = digit(pair[0]).zip(digit(pair[1]));
            let (high, low) = digits.ok_or(InvalidDigest)?;
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

/// Writes 64 hexadecimal digits; with a precision (`{:.12}`) only so many.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(64);
        for (index, byte) in self.0.iter().enumerate() {
            match digits.saturating_sub(index * 2) {
                0 => break,
                1 => write!(f, "{:x}", byte >> 4)?,
                _ => write!(f, "{byte:02x}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self:.12}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_shortens() {
        let digest = Digest::new([0xab; 32]);
        assert_eq!(format!("{digest:.5}"), "ababa");
        assert_eq!(digest.to_string().len(), 64);
    }

    #[test]
    fn it_is_read_as_it_is_written() {
        let digest = Digest::new([0xab; 32]);
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!("AB".repeat(32).parse(), Ok(digest));
        for text in [
            "",
            "ab",
            &"+f".repeat(32),
            &"ü".repeat(32),
            &"ab".repeat(33),
        ] {
            assert_eq!(text.parse::<Digest>(), Err(InvalidDigest), "{text}");
        }
    }
}
