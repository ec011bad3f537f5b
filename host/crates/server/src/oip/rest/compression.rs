//! The response of an answer, compressed as its client asks: here also one that is binary data.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, Response};
use smallvec::smallvec;
use wharf_core::Result;

use super::answer::Answer;
use super::framing::LENGTH;
use crate::app::AnswerBody;
use crate::compression::{compressed, vary};
use crate::infer::content::Coding;

/// Makes the response of an answer.
pub(super) async fn respond(
    answer: Answer,
    accepted: Coding,
    min_bytes: usize,
) -> Result<Response<AnswerBody>> {
    let Answer { parts, document } = answer;
    let size: usize = parts.iter().map(Bytes::len).sum();
    let coding = accepted.name().filter(|_| size >= min_bytes);
    let parts = match coding {
        Some(_) => smallvec![compressed(parts, accepted).await?],
        None => parts,
    };
    let mut response = Response::new(AnswerBody::from(parts));
    let headers = response.headers_mut();
    if let Some(name) = coding {
        headers.insert(CONTENT_ENCODING, name);
        vary(headers);
    }
    let media_type = match document {
        Some(length) => {
            headers.insert(LENGTH, HeaderValue::from(length));
            "application/octet-stream"
        }
        None => "application/json",
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    Ok(response)
}
