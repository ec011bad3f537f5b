//! Why a call ends without an answer, as gRPC says it. The status codes are those of the one table.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};
use wharf_core::{Error, ErrorKind};

use crate::problem::{self, status};

pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The longest message: clients refuse trailers of more than 8 KiB, and a message may repeat what its client sent.
const MAX_MESSAGE: usize = 2048;

/// Why a call ends without an answer.
#[derive(Debug)]
pub(super) enum Refusal {
    /// An error of the request.
    Request(Error),
    /// The client breaks the rules of gRPC. The specification has it as INTERNAL, though it is no fault of the server.
    Protocol(&'static str),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Request(error)
    }
}

impl Refusal {
    /// The status code.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Request(error) => status(error.kind()).grpc,
            Self::Protocol(_) => status(ErrorKind::Internal).grpc,
        }
    }

    /// What the client reads: the field and what is wrong with it.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Request(error) => error.to_string(),
            Self::Protocol(message) => (*message).to_owned(),
        }
    }

    /// Adds what tells the client, as header fields or as trailers, and writes what it does not get to the log.
    pub(super) fn write(&self, request_id: &str, fields: &mut HeaderMap) {
        fields.insert(GRPC_STATUS, HeaderValue::from(u16::from(self.code())));
        if let Ok(message) = HeaderValue::from_str(&encode(&self.message())) {
            fields.insert(GRPC_MESSAGE, message);
        }
        if let Self::Request(error) = self
            && let Some(wait) = problem::retry_after(error)
        {
            fields.insert(http::header::RETRY_AFTER, wait);
        }
        self.log(request_id);
    }

    /// Writes what the client does not get to the log.
    pub(super) fn log(&self, request_id: &str) {
        match self {
            Self::Request(error) => problem::log(error, request_id),
            Self::Protocol(message) => tracing::debug!(request_id, message, "request refused"),
        }
    }
}

/// Percent-encodes what is not printable ASCII (gRPC over HTTP/2, Status-Message).
fn encode(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for byte in message.bytes() {
        if text.len() >= MAX_MESSAGE {
            break;
        }
        match byte {
            b'%' | ..b' ' | 0x7f.. => {
                // Writing to a String cannot fail.
                let _ = write!(text, "%{byte:02X}");
            }
            _ => text.push(char::from(byte)),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_fields() {
        let error = Error::invalid("inputs.x", "is 100% w\u{f6}rong\n");
        let mut fields = HeaderMap::new();
        Refusal::from(error).write("id", &mut fields);
        assert_eq!(fields["grpc-status"], "3");
        assert_eq!(fields["grpc-message"], "inputs.x: is 100%25 w%C3%B6rong%0A");
        assert!(!fields.contains_key("retry-after"));
        let error = Error::new(ErrorKind::Unavailable, "full");
        Refusal::from(error).write("id", &mut fields);
        assert_eq!(fields["grpc-status"], "14");
        assert_eq!(fields["retry-after"], "1");
    }

    #[test]
    fn a_long_message_is_cut() {
        assert!(encode(&"\u{f6}".repeat(10_000)).len() < MAX_MESSAGE + 3);
    }
}
