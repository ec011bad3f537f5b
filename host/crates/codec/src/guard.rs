//! The last resort against input that a decoder does not survive.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::CodecError;

/// Runs work on input that is not trusted. A panic is an error of that input: the decoders keep no state between calls that it could leave half
/// changed.
pub(crate) fn guarded<T>(
    what: &str,
    work: impl FnOnce() -> Result<T, CodecError>,
) -> Result<T, CodecError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(CodecError::invalid(format!(
            "the {what} cannot be worked on; send another one"
        )))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error() {
        let error = guarded::<()>("image", || panic!("a fault of a decoder")).unwrap_err();
        assert!(matches!(error, CodecError::Invalid(_)));
        assert_eq!(guarded("image", || Ok(1)), Ok(1));
    }
}
