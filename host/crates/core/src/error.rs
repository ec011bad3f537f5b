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
    /// The server has no room for what is to be stored.
    NoRoom,
    /// A plugin trapped, broke a limit or failed.
    PluginFault,
    /// A server that the request was passed on to failed, or answered with something else than what it was asked for.
    UpstreamFault,
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
    pub const ALL: [ErrorKind; 16] = [
        Self::InvalidArgument,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::NotFound,
        Self::Conflict,
        Self::TooLarge,
        Self::Unprocessable,
        Self::QuotaExceeded,
        Self::NoRoom,
        Self::PluginFault,
        Self::UpstreamFault,
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
            Self::NoRoom => "insufficient-storage",
            Self::PluginFault => "plugin-fault",
            Self::UpstreamFault => "upstream-fault",
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
    said_by_guest: bool,
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
            said_by_guest: false,
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

    /// Says it in other words.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.0.message = message.into();
        self
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

    /// Says that a plugin answered so itself, by the contract: it neither trapped nor broke a limit.
    #[must_use]
    pub fn said_by_guest(mut self) -> Self {
        self.0.said_by_guest = true;
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

    /// Whether a plugin answered so itself.
    #[must_use]
    pub fn is_said_by_guest(&self) -> bool {
        self.0.said_by_guest
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
    /// The setting in the file, dotted: `limits.memory_mb`. A name that is not bare stands in quotes: `outputs."y.z"`.
    pub key: Option<String>,
    /// What is wrong, and how to mend it.
    pub message: String,
    /// The same without the names of files, for clients; none where the message names none.
    pub for_clients: Option<String>,
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
            for_clients: None,
            source: None,
        }
    }

    /// A name as a part of a dotted key. It stands in quotes, as TOML has them, unless it is made of letters, digits, `_` and `-`.
    #[must_use]
    pub fn key_part(name: &str) -> Cow<'_, str> {
        let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if !name.is_empty() && name.bytes().all(bare) {
            return Cow::Borrowed(name);
        }
        let mut quoted = String::from("\"");
        for char in name.chars() {
            match char {
                '"' | '\\' => quoted.extend(['\\', char]),
                char if char.is_control() => {
                    quoted.extend(format!("\\u{:04X}", u32::from(char)).chars());
                }
                char => quoted.push(char),
            }
        }
        quoted.push('"');
        Cow::Owned(quoted)
    }

    /// Says it without the names of files, for clients: those are the operator's.
    #[must_use]
    pub fn with_text_for_clients(mut self, text: impl Into<String>) -> Self {
        self.for_clients = Some(text.into());
        self
    }

    /// What a client reads of it, without its place.
    #[must_use]
    pub fn client_message(&self) -> &str {
        self.for_clients.as_deref().unwrap_or(&self.message)
    }

    /// What a client reads of it: the version or the setting in place of the file.
    #[must_use]
    pub fn client_text(&self) -> String {
        let mut parts = self.file.strip_prefix("models/").unwrap_or("").split('/');
        let version = parts.nth(1).and_then(|part| part.parse::<u64>().ok());
        let message = self.client_message();
        match (version, &self.key) {
            (Some(version), _) => format!("version {version}: {message}"),
            (None, Some(key)) => format!("{key}: {message}"),
            (None, None) => message.to_owned(),
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
    fn a_name_that_is_not_bare_stands_in_quotes() {
        for (name, part) in [
            ("y", "y"),
            ("y-1_Z", "y-1_Z"),
            ("y.z", r#""y.z""#),
            ("", r#""""#),
            ("ü", r#""ü""#),
            ("a\"\\\n", r#""a\"\\\u000A""#),
        ] {
            assert_eq!(LoadError::key_part(name), part);
        }
    }

    #[test]
    fn a_load_error_is_one_line() {
        let error = LoadError::new("routes/a.toml", "expected [\n    0x0,\n]\n").with_key("model");
        assert_eq!(
            error.to_string(),
            "routes/a.toml [model]: expected [ 0x0, ]"
        );
    }

    #[test]
    fn a_client_reads_no_file_name() {
        let broken = LoadError::new("models/a/12/model.onnx", "is no model");
        assert_eq!(broken.client_text(), "version 12: is no model");
        let setting = LoadError::new("models/a/model.toml", "is too much").with_key("cache");
        assert_eq!(setting.client_text(), "cache: is too much");
        let named = LoadError::new("models/a", "\"w.bin\" is not there")
            .with_text_for_clients("external data is not there");
        assert_eq!(named.client_text(), "external data is not there");
        assert_eq!(named.to_string(), "models/a: \"w.bin\" is not there");
    }
}
