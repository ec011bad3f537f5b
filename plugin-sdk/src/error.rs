//! Why a stage refuses: the contract's error variant, with the conversions that let `?` do the work.

use std::fmt;

/// The result of everything that can refuse.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is wrong with the input of a request, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidInput {
    /// The part of the input that is wrong: a tensor's name, a header, a JSON path. `None` where it is the whole.
    pub field: Option<String>,
    /// What is wrong and how to mend it. The client reads this.
    pub message: String,
}

/// Why a stage refuses. Each case has its own status for the client.
///
/// Every text is shown to the client, so it holds no secret and no path. A panic is something else: a fault of the
/// plugin, whose text only the operator reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The request is wrong, and repeating it cannot help. HTTP 400.
    InvalidInput(InvalidInput),
    /// What the request names does not exist. HTTP 404.
    NotFound(String),
    /// What is needed is not there now; the client may repeat the request later. HTTP 503.
    Unavailable(String),
    /// The request, or the plugin, is not allowed to do this. HTTP 403.
    Denied(String),
    /// Anything else: the stage could not do its work. HTTP 502.
    Failed(String),
}

impl Error {
    /// Refuses the whole input.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidInput(InvalidInput {
            field: None,
            message: message.into(),
        })
    }

    /// Refuses one part of the input: a tensor's name, a header, a JSON path; or a setting, in [`crate::Plugin::new`].
    pub fn invalid_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::InvalidInput(InvalidInput {
            field: Some(field.into()),
            message: message.into(),
        })
    }

    /// Says that what the request names does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::NotFound(message.into())
    }

    /// Says that the client may repeat the request later.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable(message.into())
    }

    /// Says that the request, or the plugin, is not allowed to do this.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::Denied(message.into())
    }

    /// Says that the stage could not do its work.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// The part of the input that is wrong, where one is named.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::InvalidInput(invalid) => invalid.field.as_deref(),
            _ => None,
        }
    }

    /// The text for the client.
    pub fn message(&self) -> &str {
        match self {
            Self::InvalidInput(InvalidInput { message, .. })
            | Self::NotFound(message)
            | Self::Unavailable(message)
            | Self::Denied(message)
            | Self::Failed(message) => message,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field() {
            Some(field) => write!(f, "{field}: {}", self.message()),
            None => f.write_str(self.message()),
        }
    }
}

impl std::error::Error for Error {}

/// JSON that a stage cannot read is the client's: `invalid-input`.
impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::invalid(format!("not the JSON that is expected here: {error}"))
    }
}

/// Text that is not UTF-8 is the client's: `invalid-input`.
impl From<std::str::Utf8Error> for Error {
    fn from(error: std::str::Utf8Error) -> Self {
        Self::invalid(format!("not UTF-8: {error}"))
    }
}

/// Text that is not UTF-8 is the client's: `invalid-input`.
impl From<std::string::FromUtf8Error> for Error {
    fn from(error: std::string::FromUtf8Error) -> Self {
        error.utf8_error().into()
    }
}

/// A text alone says that the stage could not do its work.
impl From<String> for Error {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

/// A text alone says that the stage could not do its work.
impl From<&str> for Error {
    fn from(message: &str) -> Self {
        Self::Failed(message.to_owned())
    }
}
