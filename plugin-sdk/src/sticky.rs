//! Choices that stay put without any memory: by a hash, which is the same on every host and in every instance.
//!
//! [`number`] makes a number of some texts, such as a user and an experiment. [`choose`] takes one such number an option, and the
//! options' weights: each option gets its share of the users, and when weights change, or options come and go, only those users move
//! that must (weighted rendezvous hashing).
//!
//! ```
//! use wharf_plugin_sdk::sticky;
//!
//! let variants = [("red", 50.0), ("blue", 50.0)];
//! let choose = |user: &str| {
//!     let number = |variant: &str| sticky::number(&[b"button-2026", user.as_bytes(), variant.as_bytes()]);
//!     sticky::choose(variants.map(|(variant, weight)| (number(variant), weight)))
//! };
//! assert_eq!(choose("ada"), choose("ada"));
//! let to_red = (0..1000).filter(|user| choose(&format!("user-{user}")) == Some(0)).count();
//! assert!((430..570).contains(&to_red));
//! ```
//!
//! The hash is FNV-1a of 64 bits, with the finaliser of `SplitMix64` to spread short texts over all bits. It stays as it is: users keep
//! their options by it. It is no secret, and who may choose the texts may choose the option.

/// A number above 0 and below 1 that these parts alone decide, in their order.
pub fn number(parts: &[&[u8]]) -> f64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        // A byte that UTF-8 never has ends each part.
        for byte in part.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    // From the 53 bits that a binary64 holds.
    ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// The index of the option that wins, of pairs of a [`number`] and a weight. None where no weight is above 0.
///
/// The numbers must be those of one key and one option each. Then an option wins a share of the keys in proportion to its weight.
pub fn choose(options: impl IntoIterator<Item = (f64, f64)>) -> Option<usize> {
    let scored = options
        .into_iter()
        .enumerate()
        .filter(|(_, (_, weight))| *weight > 0.0)
        .map(|(index, (number, weight))| (index, weight / -number.ln()));
    let best = scored.max_by(|(_, a), (_, b)| a.total_cmp(b));
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_never_change() {
        assert_eq!(number(&[]), 0.957_673_425_242_056_2);
        assert_eq!(number(&[b"a"]), number(&[b"a"]));
        assert_ne!(number(&[b"ab"]), number(&[b"a", b"b"]));
        assert_ne!(number(&[b"a", b"b"]), number(&[b"b", b"a"]));
    }

    #[test]
    fn numbers_are_even() {
        let mut counts = [0_u32; 10];
        for key in 0..10_000_u32 {
            let number = number(&[key.to_string().as_bytes()]);
            assert!(number > 0.0 && number < 1.0);
            counts[(number * 10.0) as usize] += 1;
        }
        // Five standard deviations of a count of 1,000 are 150.
        assert!(
            counts.iter().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn only_weights_above_0_win() {
        assert_eq!(choose([]), None);
        assert_eq!(choose([(0.5, 0.0), (0.5, -1.0)]), None);
        assert_eq!(choose([(0.99, 0.0), (0.01, 1e-9)]), Some(1));
    }
}
