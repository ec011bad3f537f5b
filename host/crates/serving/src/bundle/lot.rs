//! The lot that decides which release of a bundle a request goes to.

use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wharf_core::Digest;

/// Draws for one step of a trial.
///
/// No request decides by itself where it goes, not even by its id, which a client may choose: one that could would fail where it
/// likes, and so decide the trial. A header field that an operator names decides, if a gateway sets it.
pub(crate) struct Lot {
    /// Draws below go to the new release.
    below: u64,
    /// Differs from lot to lot, so that nobody can say what comes next.
    seed: RandomState,
    drawn: AtomicU64,
    sticky: Option<(Arc<str>, Digest)>,
}

impl Lot {
    /// Makes a lot that gives the new release a share from 0 to 1. With a header field, its value decides, together with the digest of
    /// the release, so that no user is always the first to try.
    pub(crate) fn new(share: f64, sticky: Option<Arc<str>>, release: Digest) -> Self {
        Self {
            // 1.0 becomes the highest number: `as` saturates.
            below: (share * 2_f64.powi(64)) as u64,
            seed: RandomState::new(),
            drawn: AtomicU64::new(0),
            sticky: sticky.map(|field| (field, release)),
        }
    }

    /// Draws for a request with these header fields: whether it goes to the new release.
    pub(crate) fn draw<'h>(&self, field: impl FnOnce(&str) -> Option<&'h str>) -> bool {
        let sticky = self.sticky.as_ref();
        let value = sticky.and_then(|(name, release)| Some((field(name)?, release)));
        let number = match value {
            Some((value, release)) => {
                // Not seeded: every replica of the server sends a user to the same release, also after a restart.
                let mut hasher = DefaultHasher::new();
                (value, release).hash(&mut hasher);
                hasher.finish()
            }
            None => self
                .seed
                .hash_one(self.drawn.fetch_add(1, Ordering::Relaxed)),
        };
        number < self.below || self.below == u64::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(lot: &Lot, times: u64) -> usize {
        (0..times).filter(|_| lot.draw(|_| None)).count()
    }

    #[test]
    fn the_share_is_kept() {
        let release = Digest::new([1; 32]);
        assert_eq!(drawn(&Lot::new(1.0, None, release), 1000), 1000);
        assert_eq!(drawn(&Lot::new(0.0, None, release), 1000), 0);
        for share in [0.05, 0.25, 0.5] {
            let count = drawn(&Lot::new(share, None, release), 20_000) as f64;
            assert!((count / 20_000.0 - share).abs() < 0.02, "{share}: {count}");
        }
    }

    #[test]
    fn a_user_stays_where_it_is_while_the_share_grows() {
        let release = Digest::new([1; 32]);
        let users: Vec<String> = (0..1000).map(|user| user.to_string()).collect();
        let of = |share: f64| {
            let lot = Lot::new(share, Some("x-user".into()), release);
            let goes = |user: &String| {
                let field = |name: &str| (name == "x-user").then_some(user.as_str());
                lot.draw(field)
            };
            users
                .iter()
                .filter(|user| goes(user))
                .cloned()
                .collect::<Vec<_>>()
        };
        let (few, many) = (of(0.1), of(0.5));
        assert!(!few.is_empty() && few.len() < many.len() && many.len() < users.len());
        assert!(few.iter().all(|user| many.contains(user)));
    }
}
