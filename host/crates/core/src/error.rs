//! Errors of requests, and errors of loading what a site holds.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// The result of what a request asks for.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request failed. The set is closed: one table in the server gives each its HTTP and gRPC status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is malformed or does not fit what it names.
    InvalidArgument,
    /// The caller did not say who it is, or not credibly.
    Unauthenticated,
    /// The caller may not do this.
    PermissionDenied,
    /// What the request names does not exist, or not for this caller.
    NotFound,
    /// The request contradicts the present state.
    Conflict,
    /// The request is larger than allowed.
    TooLarge,
    /// The request is well formed, but its content cannot be worked on.
    Unprocessable,
    /// The caller has used up what it may use.
    QuotaExceeded,
    /// A plugin trapped, broke a limit or failed.
    PluginFault,
    /// The server does not do this.
    Unimplemented,
    /// The server cannot do this now; the same request may work later.
    Unavailable,
    /// The request's deadline passed.
    Deadline,
    /// The caller left.
    Cancelled,
    /// A fault of the server. The client gets a fixed text.
    Internal,
}

impl ErrorKind {
    /// Every kind, in the order of declaration.
    pub const ALL: [ErrorKind; 14] = [
        Self::InvalidArgument,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::NotFound,
        Self::Conflict,
        Self::TooLarge,
        Self::Unprocessable,
        Self::QuotaExceeded,
        Self::PluginFault,
        Self::Unimplemented,
        Self::Unavailable,
        Self::Deadline,
        Self::Cancelled,
        Self::Internal,
    ];

    /// The name for metrics, logs and problem types, such as `invalid-argument`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid-argument",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission-denied",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::TooLarge => "too-large",
            Self::Unprocessable => "unprocessable",
            Self::QuotaExceeded => "quota-exceeded",
            Self::PluginFault => "plugin-fault",
            Self::Unimplemented => "unimplemented",
            Self::Unavailable => "unavailable",
            Self::Deadline => "deadline",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }
}

/// Why a request failed: a kind, a message that is safe for the client, and a source that only the log gets.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    field: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Makes an error. The message says what is wrong and how to mend it, and names no path and nothing internal: the
    /// client reads it.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            field: None,
            retry_after: None,
            source: None,
        }))
    }

    /// A request that is wrong in the named field.
    #[must_use]
    pub fn invalid(
        field: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(ErrorKind::InvalidArgument, message).with_field(field)
    }

    /// A fault of the server. The client gets a fixed text; the source goes to the log.
    #[must_use]
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(
            ErrorKind::Internal,
            "the server failed; its log has the details under the request id",
        )
        .with_source(source)
    }

    /// Names the part of the request that is wrong.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Says when the client may try again.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Adds the cause, for the log alone.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message for the client.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The part of the request that is wrong.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// When the client may try again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.field {
            Some(field) => write!(f, "{field}: {}", self.0.message),
            None => f.write_str(&self.0.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("field", &self.0.field)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Why something in the site cannot be served: what an operator reads in the log, in `/admin/snapshot` and from
/// `wharf check`. The old state goes on serving.
#[derive(Debug, thiserror::Error)]
#[error("{file}{}: {message}", key.as_deref().map(|key| format!(" [{key}]")).unwrap_or_default())]
pub struct LoadError {
    /// The file, relative to the site folder, with `/` between its parts: `plugins/top-k.toml`.
    pub file: String,
    /// The setting in the file, dotted: `limits.memory_mb`.
    pub key: Option<String>,
    /// What is wrong, and how to mend it.
    pub message: String,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl LoadError {
    /// Makes an error about a whole file. Lines of the message are joined: operators read a problem a line.
    #[must_use]
    pub fn new(file: impl Into<String>, message: impl Into<String>) -> Self {
        let message = message.into();
        let lines: Vec<_> = message.lines().map(str::trim).collect();
        Self {
            file: file.into(),
            key: None,
            message: lines.join(" ").trim().to_owned(),
            source: None,
        }
    }

    /// Names the setting.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_error_is_one_line() {
        let error = LoadError::new("routes/a.toml", "expected [\n    0x0,\n]\n").with_key("model");
        assert_eq!(
            error.to_string(),
            "routes/a.toml [model]: expected [ 0x0, ]"
        );
    }
}
