//! What a request says of its content: media type and coding.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use wharf_core::{Error, ErrorKind};

use crate::body::BodyLimits;
use crate::budget::Reservation;
use crate::problem::Problem;

/// What a body without a media type is.
const BINARY: &str = "application/octet-stream";
/// A body may grow so much when it is decompressed. Text and pictures stay far below; bombs do not.
const MAX_RATIO: usize = 64;
/// Growth up to here is allowed whatever the ratio.
const FREE_BYTES: usize = 64 << 10;
/// So much is decompressed before more room is asked for.
const STEP_BYTES: usize = 64 << 10;
/// Bodies below this size are decompressed in place: it takes less than to hand them over.
const INLINE_BYTES: usize = 4 << 10;

/// The media type of a body that a plugin is to read.
pub(crate) fn media_type(headers: &HeaderMap) -> Result<Arc<str>, Problem> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(Arc::from(BINARY));
    };
    match value.to_str() {
        Ok(text) if is_media_type(text) => Ok(Arc::from(text)),
        _ => Err(Problem::UnsupportedMediaType {
            field: "content-type",
            detail: "the content type is no media type; send one like image/png".to_owned(),
        }),
    }
}

/// Checks that the body is said to be JSON, or nothing is said.
pub(crate) fn expect_json(headers: &HeaderMap) -> Result<(), Problem> {
    if may_be_json(headers) {
        Ok(())
    } else {
        Err(Problem::UnsupportedMediaType {
            field: "content-type",
            detail: "this route takes tensors; send them as application/json".to_owned(),
        })
    }
}

/// Whether the body is said to be JSON, or nothing is said.
pub(crate) fn may_be_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return true;
    };
    value.to_str().is_ok_and(|text| {
        let essence = text.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json")
            || (is_media_type(essence) && essence.to_ascii_lowercase().ends_with("+json"))
    })
}

fn is_media_type(text: &str) -> bool {
    let essence = text.split(';').next().unwrap_or_default().trim();
    essence.split_once('/').is_some_and(|(class, kind)| {
        let is_token = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
        };
        is_token(class) && is_token(kind)
    })
}

/// How the body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    /// The zlib format (RFC 9110, 8.4.1.2).
    Deflate,
}

impl Coding {
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let (coding, more) = (values.next(), values.next());
        let Some(coding) = coding else {
            return Ok(Self::Identity);
        };
        let coding = coding.as_bytes().trim_ascii();
        let is = |name: &[u8]| more.is_none() && coding.eq_ignore_ascii_case(name);
        if is(b"identity") || is(b"") {
            Ok(Self::Identity)
        } else if is(b"gzip") || is(b"x-gzip") {
            Ok(Self::Gzip)
        } else if is(b"deflate") {
            Ok(Self::Deflate)
        } else {
            Err(Problem::UnsupportedMediaType {
                field: "content-encoding",
                detail: "the content encoding is gzip, deflate or identity, and only one of them"
                    .to_owned(),
            })
        }
    }

    /// The name as the field has it; none of what goes as it is.
    pub(crate) fn name(self) -> Option<HeaderValue> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some(HeaderValue::from_static("gzip")),
            Self::Deflate => Some(HeaderValue::from_static("deflate")),
        }
    }

    /// Decompresses a body. The reservation is that of the body, and comes back as that of the result.
    ///
    /// # Errors
    /// `TooLarge`, counted after decompression; `InvalidArgument` where the body is not what it is said to be;
    /// `Unavailable` where the bodies of other requests leave no room for the result.
    pub(crate) async fn decode(
        self,
        body: Bytes,
        limits: BodyLimits,
        mut reservation: Reservation,
    ) -> Result<(Bytes, Reservation), Error> {
        if self == Self::Identity {
            return Ok((body, reservation));
        }
        let is_small = body.len() <= INLINE_BYTES;
        let work = move || {
            let bytes = self.decompress(&body, &limits, &mut reservation)?;
            drop(body);
            reservation.shrink_to(bytes.len());
            Ok((bytes, reservation))
        };
        if is_small {
            work()
        } else {
            super::blocking(work).await
        }
    }

    fn decompress(
        self,
        body: &[u8],
        limits: &BodyLimits,
        reservation: &mut Reservation,
    ) -> Result<Bytes, Error> {
        let by_ratio = body.len().saturating_mul(MAX_RATIO).max(FREE_BYTES);
        let limit = limits.max_bytes.min(by_ratio);
        let mut rest = body;
        let mut reader: Box<dyn Read + '_> = match self {
            // Members after the first are more of the same (RFC 1952, 2.2).
            Self::Gzip => Box::new(MultiGzDecoder::new(&mut rest)),
            Self::Deflate | Self::Identity => Box::new(ZlibDecoder::new(&mut rest)),
        };
        // Pieces: a buffer that doubles holds up to three times its content when it meets the limit.
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        let mut length = 0;
        // One byte more tells a body that fits exactly from one that does not.
        while length <= limit {
            let step = STEP_BYTES.min(limit + 1 - length);
            reservation.grow_to(body.len() + length + step)?;
            let mut piece = Vec::with_capacity(step);
            let read = reader.by_ref().take(step as u64).read_to_end(&mut piece);
            let read = read.map_err(|error| wrong_coding().with_source(error))?;
            length += read;
            pieces.push(piece);
            if read < step {
                break;
            }
        }
        if length > limit {
            let message = format!(
                "the decompressed body is larger than {limit} bytes: {}, or {MAX_RATIO} times its compressed size",
                limits.size_key()
            );
            return Err(Error::new(ErrorKind::TooLarge, message).with_field("body"));
        }
        drop(reader);
        if !rest.is_empty() {
            return Err(wrong_coding());
        }
        reservation.grow_to(body.len() + 2 * length)?;
        Ok(Bytes::from(pieces.concat()))
    }
}

fn wrong_coding() -> Error {
    Error::invalid("body", "the body is not what its content encoding says")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;
    use crate::budget::BodyBudget;

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    async fn decode(coding: Coding, body: Bytes, max_bytes: usize) -> Result<Bytes, Error> {
        let budget = Arc::new(BodyBudget::new(64 << 20));
        let limits = BodyLimits::of_size(max_bytes);
        let decoded = coding.decode(body, limits, budget.reserve()).await;
        decoded.map(|(bytes, _)| bytes)
    }

    #[test]
    fn one_coding_is_taken() {
        let coding = |values: &[&str]| Coding::of(&headers("content-encoding", values)).ok();
        assert_eq!(coding(&[]), Some(Coding::Identity));
        assert_eq!(coding(&["GZIP"]), Some(Coding::Gzip));
        assert_eq!(coding(&["deflate"]), Some(Coding::Deflate));
        for values in [
            &["gzip, gzip"][..],
            &["gzip", "gzip"],
            &["br"],
            &["identity, gzip"],
        ] {
            assert_eq!(coding(values), None, "{values:?}");
        }
    }

    #[tokio::test]
    async fn compressed_bodies_are_read() {
        let text = b"{\"input\": [1, 2, 3]}";
        assert_eq!(
            decode(Coding::Gzip, gzip(text), 1000).await.unwrap(),
            text.as_slice()
        );
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        let body = encoder.finish().unwrap().into();
        assert_eq!(
            decode(Coding::Deflate, body, 1000).await.unwrap(),
            text.as_slice()
        );
        let error = decode(Coding::Gzip, Bytes::from_static(text), 1000).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }

    #[tokio::test]
    async fn members_are_joined_and_nothing_follows_them() {
        let two = [gzip(b"[1, "), gzip(b"2]")].concat();
        let decoded = decode(Coding::Gzip, two.clone().into(), 1000).await;
        assert_eq!(decoded.unwrap(), b"[1, 2]".as_slice());
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"[1]").unwrap();
        let deflated = encoder.finish().unwrap();
        for (coding, body) in [(Coding::Gzip, two), (Coding::Deflate, deflated)] {
            for junk in [&b"junk"[..], b"\0", b"\x1f\x8b"] {
                let body = [&body[..], junk].concat();
                let error = decode(coding, body.into(), 1000).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{coding:?}");
            }
        }
        // The limit is that of all members together.
        let bomb = gzip(&[0; 1000]).repeat(100);
        let error = decode(Coding::Gzip, bomb.into(), 50_000).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }

    #[tokio::test]
    async fn sizes_count_after_decompression() {
        let body = gzip(&vec![0; 8 << 20]);
        assert!(body.len() > INLINE_BYTES);
        // By the size, and by the ratio.
        for limit in [1 << 20, usize::MAX] {
            let error = decode(Coding::Gzip, body.clone(), limit).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge);
        }
        // No other body may take what this one needs.
        let budget = Arc::new(BodyBudget::new(1 << 20));
        let mut other = budget.reserve();
        other.grow_to(900 << 10).unwrap();
        let noise = |index: u32| (index.wrapping_mul(index) >> 12) as u8;
        let large = gzip(&(0..512 << 10).map(noise).collect::<Vec<_>>());
        let limits = BodyLimits::of_size(1 << 20);
        let full = Coding::Gzip.decode(large.clone(), limits, budget.reserve());
        assert_eq!(full.await.unwrap_err().kind(), ErrorKind::Unavailable);
        drop(other);
        let alone = Coding::Gzip.decode(large, limits, budget.reserve()).await;
        assert_eq!(alone.unwrap().0.len(), 512 << 10);
        let exact = gzip(&[0; 1000]);
        assert!(decode(Coding::Gzip, exact.clone(), 1000).await.is_ok());
        assert!(decode(Coding::Gzip, exact, 999).await.is_err());
    }

    #[test]
    fn media_types_are_checked() {
        let json = |value: &str| expect_json(&headers("content-type", &[value])).is_ok();
        assert!(json("application/json"));
        assert!(json("Application/JSON; charset=utf-8"));
        assert!(json("application/vnd.x+json"));
        assert!(!json("text/plain"));
        assert!(!json("+json"));
        assert!(expect_json(&HeaderMap::new()).is_ok());
        let body = |value: &str| media_type(&headers("content-type", &[value])).ok();
        assert_eq!(body("image/png; q=1").as_deref(), Some("image/png; q=1"));
        assert_eq!(body("image"), None);
        assert_eq!(body("/"), None);
        assert_eq!(media_type(&HeaderMap::new()).unwrap().as_ref(), BINARY);
    }
}
