//! Refusals that only HTTP knows: of negotiation, preconditions, ranges and lengths.

use http::{HeaderName, HeaderValue, StatusCode};
use wharf_core::Error;

/// A refusal with a status of its own.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// The last part of the problem's type.
    pub(crate) kind: &'static str,
    pub(crate) title: &'static str,
    pub(crate) field: String,
    pub(crate) detail: String,
    /// Fields that the answer has beside.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    fn new(
        status: StatusCode,
        (kind, title): (&'static str, &'static str),
        field: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            kind,
            title,
            field: field.into(),
            detail: detail.into(),
            headers: Vec::new(),
        }
    }

    pub(crate) fn not_acceptable(detail: impl Into<String>) -> Self {
        let names = ("not-acceptable", "Not acceptable");
        Self::new(StatusCode::NOT_ACCEPTABLE, names, "accept", detail)
    }

    pub(crate) fn precondition_failed(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let names = ("precondition-failed", "Precondition failed");
        Self::new(StatusCode::PRECONDITION_FAILED, names, field, detail)
    }

    pub(crate) fn precondition_required() -> Self {
        let detail = "what is there is replaced only by who knows it: send its ETag as If-Match, or If-Match: *";
        let names = ("precondition-required", "Precondition required");
        Self::new(StatusCode::PRECONDITION_REQUIRED, names, "if-match", detail)
    }

    /// A range of which nothing is there.
    pub(crate) fn range(size: u64) -> Self {
        let detail = format!("nothing of this range is there: it has {size} bytes");
        let names = ("range", "Range not satisfiable");
        let mut refusal = Self::new(StatusCode::RANGE_NOT_SATISFIABLE, names, "range", detail);
        if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
            refusal.headers.push((http::header::CONTENT_RANGE, value));
        }
        refusal
    }

    /// A part of an upload that does not begin where that stands.
    pub(crate) fn offset(name: &'static str, offset: u64) -> Self {
        let detail = format!("the upload stands at {offset}; go on from there");
        let names = ("mismatching-upload-offset", "Another offset");
        let mut refusal = Self::new(StatusCode::CONFLICT, names, name, detail);
        refusal
            .headers
            .push((HeaderName::from_static(name), HeaderValue::from(offset)));
        refusal
    }

    /// A header of more fields than are taken.
    pub(crate) fn fields(error: &Error) -> Self {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        let names = ("header-fields", "Too many header fields");
        Self::new(status, names, "headers", error.message())
    }

    /// A body that comes without its length.
    pub(crate) fn length_required(detail: impl Into<String>) -> Self {
        let names = ("length-required", "Length required");
        Self::new(StatusCode::LENGTH_REQUIRED, names, "content-length", detail)
    }
}
