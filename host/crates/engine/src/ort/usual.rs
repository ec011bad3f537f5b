//! What size of inputs a session usually gets, so that one rare huge request leaves no memory behind.

/// Inputs of fewer bytes leave nothing behind that is worth to be given back.
const WORTH: u64 = 1 << 20;
/// Inputs are unusual that are so many times as large as the largest of late.
const TIMES: u64 = 8;

/// The largest inputs of late, in bytes.
#[derive(Debug, Default)]
pub(super) struct Usual(u64);

impl Usual {
    /// Notes a run, and says whether its inputs are much larger than usual. Inputs that come again become usual.
    pub(super) fn is_exceeded_by(&mut self, bytes: u64) -> bool {
        let usual = self.0;
        let exceeded = usual > 0 && bytes > WORTH && bytes / TIMES > usual;
        // A peak is forgotten within some hundred runs.
        let faded = usual - usual.div_ceil(64);
        self.0 = match exceeded {
            true => (faded * 4).max(bytes / (TIMES * 2)),
            false => faded.max(bytes),
        }
        .max(1);
        exceeded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rare_huge_request_is_unusual_and_a_common_one_is_not() {
        let mut usual = Usual::default();
        assert!(
            !usual.is_exceeded_by(100 << 20),
            "the first is as good as any"
        );
        let mut usual = Usual::default();
        for _ in 0..50 {
            assert!(!usual.is_exceeded_by(600 << 10));
        }
        assert!(!usual.is_exceeded_by(4 << 20), "a batch of a few");
        for _ in 0..500 {
            assert!(!usual.is_exceeded_by(600 << 10));
        }
        assert!(usual.is_exceeded_by(100 << 20));
        assert!(usual.is_exceeded_by(100 << 20));
        assert!(!usual.is_exceeded_by(100 << 20), "it has become usual");
    }

    #[test]
    fn small_inputs_are_never_unusual() {
        let mut usual = Usual::default();
        for bytes in [1, 1000, 1, 1 << 20, 1] {
            assert!(!usual.is_exceeded_by(bytes));
        }
    }
}
