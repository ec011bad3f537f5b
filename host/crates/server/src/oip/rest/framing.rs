//! Where in a body the JSON document ends and binary data begins.

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use wharf_core::{Error, Result};

/// The header field with the length of the document in bytes, of requests and of answers.
pub(super) const FIELD: &str = "inference-header-content-length";
pub(super) const LENGTH: HeaderName = HeaderName::from_static(FIELD);

/// How a body is made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// All of it is the document.
    Json,
    /// A document of so many bytes, then binary data.
    Binary(usize),
    /// All of it is the only input.
    Raw,
}

impl Framing {
    /// Reads the header.
    ///
    /// # Errors
    /// `InvalidArgument` where the field is there more than once, or is no number.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self> {
        let mut values = headers.get_all(&LENGTH).iter();
        let (Some(value), more) = (values.next(), values.next()) else {
            return Ok(Self::Json);
        };
        let digits = value.as_bytes();
        let length = std::str::from_utf8(digits)
            .ok()
            .filter(|_| more.is_none() && digits.iter().all(u8::is_ascii_digit))
            .and_then(|digits| digits.parse().ok());
        match length {
            Some(0) => Ok(Self::Raw),
            Some(length) => Ok(Self::Binary(length)),
            None => Err(Error::invalid(
                FIELD,
                "is one number: the length of the JSON in bytes",
            )),
        }
    }
}

/// Takes a body apart, into the document and the binary data.
///
/// # Errors
/// `InvalidArgument` where the body is shorter than its document.
pub(crate) fn split(body: &Bytes, length: usize) -> Result<(Bytes, Bytes)> {
    if length > body.len() {
        let message = format!(
            "is {length}, but the body has {} bytes; it is the length of the JSON alone",
            body.len()
        );
        return Err(Error::invalid(FIELD, message));
    }
    Ok((body.slice(..length), body.slice(length..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_says_how_a_body_is_made_up() {
        let framing = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(&LENGTH, value.parse().unwrap());
            }
            Framing::of(&headers)
        };
        assert_eq!(framing(&[]).unwrap(), Framing::Json);
        assert_eq!(framing(&["0"]).unwrap(), Framing::Raw);
        assert_eq!(framing(&["17"]).unwrap(), Framing::Binary(17));
        for values in [
            &["-1"][..],
            &["+1"],
            &[""],
            &["1 "],
            &["x"],
            &["1", "1"],
            &["99999999999999999999"],
        ] {
            let Err(error) = framing(values) else {
                // The parser of header fields takes the space away.
                assert_eq!(values, ["1 "]);
                continue;
            };
            assert_eq!(error.field(), Some("inference-header-content-length"));
        }
    }

    #[test]
    fn a_document_is_inside_its_body() {
        let body = Bytes::from_static(b"{}abc");
        let (document, blobs) = split(&body, 2).unwrap();
        assert_eq!((&document[..], &blobs[..]), (&b"{}"[..], &b"abc"[..]));
        assert!(split(&body, 5).unwrap().1.is_empty());
        let error = split(&body, 6).unwrap_err();
        assert_eq!(error.field(), Some("inference-header-content-length"));
    }
}
