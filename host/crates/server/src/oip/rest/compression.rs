//! Answers compressed as their clients ask.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, Response};
use smallvec::smallvec;
use wharf_core::{Error, Result};

use super::answer::Answer;
use super::framing::LENGTH;
use crate::app::AnswerBody;
use crate::infer::blocking;
use crate::infer::content::Coding;

/// Smaller answers fit in one packet as they are.
const MIN_BYTES: usize = 1 << 10;
/// Answers above this size are compressed on a thread that may block.
const INLINE_BYTES: usize = 16 << 10;

/// The coding that a client prefers among those that the server writes.
pub(super) fn accepted(headers: &HeaderMap) -> Coding {
    let mut best = (Coding::Identity, 0.0);
    let values = headers.get_all(ACCEPT_ENCODING);
    let texts = values.iter().filter_map(|value| value.to_str().ok());
    for offer in texts.flat_map(|text| text.split(',')) {
        let (name, weight) = offer.split_once(';').unwrap_or((offer, ""));
        let name = name.trim();
        let coding = if name.eq_ignore_ascii_case("gzip") || name == "*" {
            Coding::Gzip
        } else if name.eq_ignore_ascii_case("deflate") {
            Coding::Deflate
        } else {
            continue;
        };
        let weight = weight.trim().strip_prefix("q=");
        let weight = weight.map_or(1.0, |weight| weight.parse::<f32>().unwrap_or(0.0));
        if weight > best.1 {
            best = (coding, weight);
        }
    }
    best.0
}

/// Makes the response of an answer.
pub(super) async fn respond(answer: Answer, accepted: Coding) -> Result<Response<AnswerBody>> {
    let Answer { parts, document } = answer;
    let size: usize = parts.iter().map(Bytes::len).sum();
    let name = match accepted {
        Coding::Gzip => "gzip",
        Coding::Deflate => "deflate",
        Coding::Identity => "",
    };
    let is_compressed = !name.is_empty() && size >= MIN_BYTES;
    let parts = match is_compressed {
        true if size <= INLINE_BYTES => smallvec![compress(&parts, accepted)?],
        true => smallvec![blocking(move || compress(&parts, accepted)).await?],
        false => parts,
    };
    let mut response = Response::new(AnswerBody::from(parts));
    let headers = response.headers_mut();
    if is_compressed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
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
            ("gzip;q=0", Coding::Identity),
            ("gzip;q=x, identity", Coding::Identity),
            ("br", Coding::Identity),
        ] {
            assert_eq!(accepted(value), coding, "{value}");
        }
    }
}
