//! Why an image or a text becomes no tensor.

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The image, or the text, cannot be worked on: whoever sent it can mend it.
    #[error("{0}")]
    Invalid(String),
    /// What was asked for is impossible, whatever the input: the plugin is wrong.
    #[error("{0}")]
    Misused(String),
    /// The tensors would take more than the caller allows.
    #[error("the result takes {bytes} bytes, and fewer are left; ask for less")]
    TooLarge {
        /// What they would take, in bytes.
        bytes: u64,
    },
    /// Nobody waits for the result any more.
    #[error("the work was given up")]
    Cancelled,
}

impl CodecError {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    pub(crate) fn misused(message: impl Into<String>) -> Self {
        Self::Misused(message.into())
    }
}
