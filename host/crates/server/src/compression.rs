//! Answers compressed as their clients ask.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, VARY,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use smallvec::SmallVec;
use wharf_core::{Error, Result};

use crate::app::AnswerBody;
use crate::infer::blocking;
use crate::infer::content::Coding;

/// Answers above this size are compressed on a thread that may block.
const INLINE_BYTES: usize = 16 << 10;
/// Answers above this size go as they are: the answer and what is made of it are in memory at once.
const MOST_BYTES: u64 = 64 << 20;

/// The coding that a client prefers among those that the server writes (RFC 9110, 12.5.3).
pub(crate) fn accepted(headers: &HeaderMap) -> Coding {
    let mut best = (Coding::Identity, 0.0);
    let mut named: SmallVec<[Coding; 2]> = SmallVec::new();
    let mut others = 0.0;
    let values = headers.get_all(ACCEPT_ENCODING);
    let texts = values.iter().filter_map(|value| value.to_str().ok());
    for offer in texts.flat_map(|text| text.split(',')) {
        let (name, parameter) = offer.split_once(';').unwrap_or((offer, ""));
        let (name, weight) = (name.trim(), weight(parameter.trim()));
        let coding = if name.eq_ignore_ascii_case("gzip") {
            Coding::Gzip
        } else if name.eq_ignore_ascii_case("deflate") {
            Coding::Deflate
        } else {
            if name == "*" {
                others = weight;
            }
            continue;
        };
        named.push(coding);
        if weight > best.1 {
            best = (coding, weight);
        }
    }
    // The asterisk stands for what is not named.
    let mut unnamed = [Coding::Gzip, Coding::Deflate].into_iter();
    match unnamed.find(|coding| !named.contains(coding)) {
        Some(coding) if others > best.1 => coding,
        _ => best.0,
    }
}

/// How much a client wants what has this parameter.
fn weight(parameter: &str) -> f32 {
    let weight = parameter.strip_prefix(['q', 'Q']);
    let weight = weight.and_then(|weight| weight.strip_prefix('='));
    weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0))
}

/// Compresses an answer where its client accepts that and it gains: text of at least so many bytes, that is whole, has no
/// coding yet, and of which no digest was told.
///
/// # Errors
/// Why the answer cannot be had whole; `Internal` where that is no error of the request.
pub(crate) async fn apply(
    response: &mut Response<AnswerBody>,
    accepted: Coding,
    min_bytes: usize,
) -> Result<()> {
    if !gains(response, min_bytes) {
        return Ok(());
    }
    vary(response.headers_mut());
    let Some(name) = accepted.name() else {
        return Ok(());
    };
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_ENCODING, name);
    let body = std::mem::take(response.body_mut());
    // What answers a HEAD has the header alone.
    if !body.is_end_stream() {
        let whole = body.collect().await.map_err(why)?.to_bytes();
        *response.body_mut() = AnswerBody::from(compressed(vec![whole], accepted).await?);
    }
    Ok(())
}

/// Why a body broke off. Each layer of a router's body wraps it once more.
fn why(error: axum::Error) -> Error {
    match error.into_inner().downcast::<axum::Error>() {
        Ok(wrapped) => why(*wrapped),
        Err(error) => error
            .downcast()
            .map_or_else(Error::internal, |error| *error),
    }
}

fn gains(response: &Response<AnswerBody>, min_bytes: usize) -> bool {
    let headers = response.headers();
    let told = headers.get(CONTENT_LENGTH);
    let told = told.and_then(|told| told.to_str().ok()?.parse().ok());
    let size = match response.body() {
        // Calls compress their messages by themselves, and what comes piece by piece is sent so.
        AnswerBody::Grpc(_) | AnswerBody::Streamed(_) | AnswerBody::Answered(_) => return false,
        // The size of what a GET would get, where this answers a HEAD.
        body => told.or_else(|| body.size_hint().exact()),
    };
    let taken = [CONTENT_ENCODING, CONTENT_RANGE, ETAG];
    size.is_some_and(|size| size >= min_bytes as u64 && size <= MOST_BYTES)
        && response.status() != StatusCode::PARTIAL_CONTENT
        // A tag names these very bytes, and clients send it back with changes.
        && !taken.iter().any(|field| headers.contains_key(field))
        && headers.get(CONTENT_TYPE).is_some_and(is_text)
}

/// Whether content of this type is text: the rest is compressed already, or gains little.
fn is_text(media_type: &HeaderValue) -> bool {
    let essence = media_type.as_bytes().split(|byte| *byte == b';').next();
    let essence = essence
        .unwrap_or_default()
        .trim_ascii()
        .to_ascii_lowercase();
    let known: [&[u8]; 3] = [
        b"application/json",
        b"application/javascript",
        b"image/svg+xml",
    ];
    // A stream of events is sent event by event.
    (essence.starts_with(b"text/") && essence != b"text/event-stream")
        || known.contains(&&essence[..])
        || essence.ends_with(b"+json")
}

/// Says that another client may get the same answer otherwise.
pub(crate) fn vary(headers: &mut HeaderMap) {
    headers.append(VARY, HeaderValue::from_static("accept-encoding"));
}

/// Compresses the parts of an answer into one, where that delays nobody.
///
/// # Errors
/// `Internal`, and never by what the answer is.
pub(crate) async fn compressed<P>(parts: P, coding: Coding) -> Result<Bytes>
where
    P: AsRef<[Bytes]> + Send + 'static,
{
    let size: usize = parts.as_ref().iter().map(Bytes::len).sum();
    if size <= INLINE_BYTES {
        compress(parts.as_ref(), coding)
    } else {
        blocking(move || compress(parts.as_ref(), coding)).await
    }
}

fn compress(parts: &[Bytes], coding: Coding) -> Result<Bytes> {
    let level = Compression::fast();
    let room = parts.iter().map(Bytes::len).sum::<usize>() / 4;
    let buffer = Vec::with_capacity(room);
    let compressed = match coding {
        Coding::Deflate => {
            let mut encoder = ZlibEncoder::new(buffer, level);
            parts
                .iter()
                .try_for_each(|part| encoder.write_all(part))
                .and_then(|()| encoder.finish())
        }
        Coding::Gzip | Coding::Identity => {
            let mut encoder = GzEncoder::new(buffer, level);
            parts
                .iter()
                .try_for_each(|part| encoder.write_all(part))
                .and_then(|()| encoder.finish())
        }
    };
    compressed.map(Bytes::from).map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use wharf_core::ErrorKind;

    use super::*;

    #[test]
    fn the_client_chooses_among_what_is_offered() {
        let accepted = |value: &'static str| {
            let value = HeaderValue::from_static(value);
            accepted(&HeaderMap::from_iter([(ACCEPT_ENCODING, value)]))
        };
        assert_eq!(super::accepted(&HeaderMap::new()), Coding::Identity);
        for (value, coding) in [
            ("gzip", Coding::Gzip),
            ("GZIP;q=0.5", Coding::Gzip),
            ("deflate, gzip", Coding::Deflate),
            ("deflate;q=0.5, gzip", Coding::Gzip),
            ("br, deflate", Coding::Deflate),
            ("*", Coding::Gzip),
            ("gzip;q=0, *", Coding::Deflate),
            ("*, gzip;q=0, deflate;q=0", Coding::Identity),
            ("*;q=0.5, deflate;q=0.4", Coding::Gzip),
            ("br, *;q=0", Coding::Identity),
            ("gzip;Q=0", Coding::Identity),
            ("gzip ; q=0.4, deflate ;Q=0.6", Coding::Deflate),
            ("gzip;q=0", Coding::Identity),
            ("gzip;q=x, identity", Coding::Identity),
            ("br", Coding::Identity),
        ] {
            assert_eq!(accepted(value), coding, "{value}");
        }
    }

    fn response(media_type: &'static str, size: usize) -> Response<AnswerBody> {
        let mut response = Response::new(AnswerBody::from(Bytes::from(vec![b' '; size])));
        let media_type = HeaderValue::from_static(media_type);
        response.headers_mut().insert(CONTENT_TYPE, media_type);
        response
    }

    #[tokio::test]
    async fn text_of_some_size_is_compressed() {
        for size in [1000, INLINE_BYTES + 1] {
            for coding in [Coding::Gzip, Coding::Deflate] {
                let mut response = response("application/json", size);
                apply(&mut response, coding, 1000).await.unwrap();
                let left = response.body().size_hint().exact().unwrap();
                assert!(left < size as u64 / 10, "{left} of {size}");
                assert_eq!(response.headers()[CONTENT_ENCODING], coding.name().unwrap());
                assert_eq!(response.headers()[VARY], "accept-encoding");
            }
        }
    }

    #[tokio::test]
    async fn the_rest_goes_as_it_is() {
        let tagged = |field: http::HeaderName| {
            let mut response = response("application/json", 5000);
            response.headers_mut().insert(field, "x".parse().unwrap());
            response
        };
        for mut response in [
            response("application/json", 999),
            response("image/png", 5000),
            response("application/octet-stream", 5000),
            response("text/event-stream", 5000),
            tagged(ETAG),
            tagged(CONTENT_RANGE),
            tagged(CONTENT_ENCODING),
        ] {
            let size = response.body().size_hint().exact();
            apply(&mut response, Coding::Gzip, 1000).await.unwrap();
            assert_eq!(response.body().size_hint().exact(), size);
            assert!(!response.headers().contains_key(VARY));
        }
        // Another client would get it otherwise.
        let mut response = response("text/plain; version=0.0.4", 5000);
        apply(&mut response, Coding::Identity, 1000).await.unwrap();
        assert_eq!(response.headers()[VARY], "accept-encoding");
        assert!(!response.headers().contains_key(CONTENT_ENCODING));
    }

    #[tokio::test]
    async fn what_breaks_off_keeps_its_reason() {
        async fn refusal(error: impl Into<axum::BoxError>) -> ErrorKind {
            let pieces = [Ok(Bytes::from_static(b"first")), Err(error.into())];
            let body = axum::body::Body::from_stream(futures_util::stream::iter(pieces));
            let mut response = Response::new(AnswerBody::Routed(body));
            let headers = response.headers_mut();
            headers.insert(CONTENT_LENGTH, HeaderValue::from(5000));
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            let applied = apply(&mut response, Coding::Gzip, 1000).await;
            applied.unwrap_err().kind()
        }
        let late = Error::new(ErrorKind::Deadline, "too late");
        assert_eq!(refusal(late).await, ErrorKind::Deadline);
        assert_eq!(refusal("cut off").await, ErrorKind::Internal);
    }
}
