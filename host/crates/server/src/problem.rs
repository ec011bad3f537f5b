//! Problem details (RFC 9457): how every refusal reaches a client, and the one table of status codes.

mod lines;
mod refusal;

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use wharf_core::{Error, ErrorKind};

use crate::connection::Malformed;
use lines::Lines;

pub(crate) use refusal::Refusal;

/// What a client is told to wait where the error does not say.
const DEFAULT_RETRY: Duration = Duration::from_secs(1);

/// The lines about faults of plugins and upstreams. The sandbox writes what is to be known of a fault itself, within the plugin's own rate.
static FAULT_LINES: Lines = Lines::new(10);

/// The row of a kind in the table of status codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The HTTP status.
    pub http: u16,
    /// The gRPC status code.
    pub grpc: u8,
    /// The title of the problem document.
    pub title: &'static str,
}

/// Gives a kind its status codes: the only place that knows them.
#[must_use]
pub const fn status(kind: ErrorKind) -> Status {
    let (http, grpc, title) = match kind {
        ErrorKind::InvalidArgument => (400, 3, "Invalid argument"),
        ErrorKind::Unauthenticated => (401, 16, "Unauthenticated"),
        ErrorKind::PermissionDenied => (403, 7, "Permission denied"),
        ErrorKind::NotFound => (404, 5, "Not found"),
        ErrorKind::Conflict => (409, 10, "Conflict"),
        ErrorKind::TooLarge => (413, 11, "Too large"),
        ErrorKind::Unprocessable => (422, 9, "Unprocessable"),
        ErrorKind::QuotaExceeded => (429, 8, "Quota exceeded"),
        ErrorKind::NoRoom => (507, 8, "Insufficient storage"),
        ErrorKind::PluginFault => (502, 13, "Plugin fault"),
        ErrorKind::UpstreamFault => (502, 13, "Bad gateway"),
        ErrorKind::Unimplemented => (501, 12, "Unimplemented"),
        ErrorKind::Unavailable => (503, 14, "Unavailable"),
        ErrorKind::Deadline => (504, 4, "Deadline exceeded"),
        ErrorKind::Cancelled => (499, 1, "Cancelled"),
        ErrorKind::Internal => (500, 13, "Internal error"),
    };
    Status { http, grpc, title }
}

/// Why a request is refused: an error of the request, or one that only HTTP knows.
#[derive(Debug)]
pub(crate) enum Problem {
    /// An error of the request.
    Request(Error),
    /// The body did not arrive in time. 408, and the connection is closed: the rest of the body would follow.
    BodyTimeout { limit: Duration, key: &'static str },
    /// The header is wrong in what hyper does not look at. The connection is closed: what follows cannot be trusted.
    Malformed(Malformed),
    /// The path takes other methods.
    MethodNotAllowed { allow: &'static str },
    /// The content's type or encoding is not one that this path takes.
    UnsupportedMediaType { field: &'static str, detail: String },
    /// Something else that only HTTP knows.
    Refused(Box<Refusal>),
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Request(error)
    }
}

impl Problem {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Request(error) => StatusCode::from_u16(status(error.kind()).http)
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            Self::BodyTimeout { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Malformed(Malformed::Coding) => StatusCode::NOT_IMPLEMENTED,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnsupportedMediaType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Refused(refusal) => refusal.status,
        }
    }

    /// Makes the answer, and writes what the client does not get to the log.
    pub(crate) fn respond(&self, request_id: &str) -> Response<Bytes> {
        if let Self::Request(error) = self {
            log(error, request_id);
        }
        let body = serde_json::to_vec(&self.document(request_id)).unwrap_or_default();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        match self {
            Self::Request(error) => {
                if let Some(wait) = retry_after(error) {
                    headers.insert(RETRY_AFTER, wait);
                }
                // RFC 9110, 15.5.2: who is asked for credentials is told which.
                if error.kind() == ErrorKind::Unauthenticated {
                    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                }
            }
            Self::MethodNotAllowed { allow } => {
                headers.insert(ALLOW, HeaderValue::from_static(allow));
            }
            Self::BodyTimeout { .. } | Self::Malformed(_) => {
                // HTTP/2 has no such field, and hyper takes it out there.
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Self::UnsupportedMediaType { .. } => {}
            Self::Refused(refusal) => headers.extend(refusal.headers.iter().cloned()),
        }
        response
    }

    /// What the client reads.
    pub(crate) fn document<'a>(&'a self, request_id: &'a str) -> Document<'a> {
        let (kind, title) = self.kind_and_title();
        let detail = self.detail();
        Document {
            r#type: format_args!("urn:wharf:problem:{kind}").to_string(),
            title,
            status: self.status().as_u16(),
            error: match self.field() {
                Some(field) => format!("{field}: {detail}"),
                None => detail.clone(),
            },
            detail,
            field: self.field(),
            request_id,
        }
    }

    fn kind_and_title(&self) -> (&'static str, &'static str) {
        match self {
            Self::Request(error) => (error.kind().name(), status(error.kind()).title),
            Self::BodyTimeout { .. } => ("request-timeout", "Request timeout"),
            Self::Malformed(Malformed::Lengths) => ("ambiguous-length", "Ambiguous length"),
            Self::Malformed(Malformed::Coding) => ("transfer-coding", "Unknown transfer coding"),
            Self::Malformed(Malformed::Host) => ("host", "Not one host"),
            Self::MethodNotAllowed { .. } => ("method-not-allowed", "Method not allowed"),
            Self::UnsupportedMediaType { .. } => {
                ("unsupported-media-type", "Unsupported media type")
            }
            Self::Refused(refusal) => (refusal.kind, refusal.title),
        }
    }

    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Request(error) => error.message().to_owned(),
            Self::BodyTimeout { limit, key } => format!(
                "the request body did not arrive within {} ms ({key}); send it faster or in smaller requests",
                limit.as_millis()
            ),
            Self::Malformed(Malformed::Lengths) => {
                "the request has more than one length; send one Content-Length, or one \
                 Transfer-Encoding: chunked, and not both"
                    .to_owned()
            }
            Self::Malformed(Malformed::Coding) => {
                "the only transfer coding is chunked; compress the body with a Content-Encoding"
                    .to_owned()
            }
            Self::Malformed(Malformed::Host) => {
                "a request of HTTP/1.1 has one field Host; send it once".to_owned()
            }
            Self::MethodNotAllowed { allow } => format!("this path takes {allow}"),
            Self::UnsupportedMediaType { detail, .. } => detail.clone(),
            Self::Refused(refusal) => refusal.detail.clone(),
        }
    }

    fn field(&self) -> Option<&str> {
        match self {
            Self::Request(error) => error.field(),
            Self::BodyTimeout { .. } => Some("body"),
            Self::Malformed(Malformed::Lengths) => Some("content-length"),
            Self::Malformed(Malformed::Coding) => Some("transfer-encoding"),
            Self::Malformed(Malformed::Host) => Some("host"),
            Self::MethodNotAllowed { .. } => Some("method"),
            Self::UnsupportedMediaType { field, .. } => Some(field),
            Self::Refused(refusal) => Some(&refusal.field),
        }
    }
}

/// Why a request is refused (RFC 9457). `error` repeats it in one line: clients of the Open Inference Protocol read that member.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Document<'a> {
    /// `urn:wharf:problem:` and the kind of the problem: what programs tell problems apart by.
    r#type: String,
    /// What all problems of the kind have in common.
    title: &'static str,
    /// The status of the answer.
    status: u16,
    /// What is wrong with this request, and how to mend it.
    detail: String,
    /// What in the request is wrong, such as `input[3]` or a header field.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<&'a str>,
    /// The id of the request, as the log has it.
    request_id: &'a str,
    /// Field and detail in one line.
    error: String,
}

/// Whole seconds, rounded up: a client that comes back a little late is served, one that comes early is not.
pub(crate) fn retry_after(error: &Error) -> Option<HeaderValue> {
    let wait = match (error.retry_after(), error.kind()) {
        (Some(wait), _) => wait,
        (None, ErrorKind::Unavailable | ErrorKind::QuotaExceeded) => DEFAULT_RETRY,
        (None, _) => return None,
    };
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Some(HeaderValue::from(seconds.max(1)))
}

/// Faults of the server and of plugins are an operator's business; the rest is the client's, and would flood the log.
pub(crate) fn log(error: &Error, request_id: &str) {
    let kind = error.kind().name();
    match error.kind() {
        ErrorKind::Internal => {
            tracing::error!(request_id, kind, %error, source = chain(error), "request failed");
        }
        ErrorKind::PluginFault | ErrorKind::UpstreamFault => {
            if let Some(dropped) = FAULT_LINES.admit(Instant::now()) {
                tracing::warn!(request_id, kind, %error, source = chain(error), dropped, "request failed");
            }
        }
        _ => {
            tracing::debug!(request_id, kind, %error, source = chain(error), "request refused");
        }
    }
}

/// The causes, outermost first.
fn chain(error: &Error) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let separator = if text.is_empty() { "" } else { ": " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{separator}{error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
