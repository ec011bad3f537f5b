//! Content digests.

use std::fmt;

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
}
