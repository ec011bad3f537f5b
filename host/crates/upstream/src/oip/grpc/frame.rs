//! One message each way, behind a flag and its length (gRPC over HTTP/2, Length-Prefixed-Message).

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;

use crate::body::too_large;
use crate::fault::Fault;
use crate::oip::check::lying;
use crate::settings::Protocol;
use crate::status;

/// The flag and the length.
const PREFIX: usize = 5;

/// What is before a message of so many bytes that is not compressed.
pub(super) fn prefix(length: u32) -> Bytes {
    let mut prefix = BytesMut::with_capacity(PREFIX);
    prefix.put_u8(0);
    prefix.put_u32(length);
    prefix.freeze()
}

/// What is before the bytes of a field.
pub(super) fn key_and_length(field: u32, length: usize) -> Bytes {
    let mut head = BytesMut::with_capacity(12);
    for mut number in [u64::from(field) << 3 | 2, length as u64] {
        while number >= 0x80 {
            head.put_u8((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        head.put_u8(number as u8);
    }
    head.freeze()
}

/// Reads the one message of an answer, of at most so many bytes.
///
/// # Errors
/// What its status says; where it is no such answer.
pub(super) async fn message(answer: Response<Incoming>, most: usize) -> Result<Bytes, Fault> {
    if answer.status() != StatusCode::OK {
        return Err(status::refusal(answer, Protocol::OipGrpc).await);
    }
    let (parts, mut body) = answer.into_parts();
    let media_type = parts.headers.get(CONTENT_TYPE);
    if !media_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc")) {
        return Err(lying("it is not application/grpc"));
    }
    // An answer without a message has its status in the header.
    if parts.headers.contains_key("grpc-status") {
        check(&parts.headers)?;
        return Err(lying("it ends well without a message"));
    }
    let mut bytes = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Fault::Broken(error.into()))?;
        match frame.into_data() {
            Ok(data) => {
                bytes.extend_from_slice(&data);
                check_length(&bytes, most)?;
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let trailers = trailers.ok_or_else(|| lying("it ends without a status"))?;
    check(&trailers)?;
    let bytes = bytes.freeze();
    match bytes.split_first_chunk::<PREFIX>() {
        Some(([_, length @ ..], rest)) if u32::from_be_bytes(*length) as usize == rest.len() => {
            Ok(bytes.slice(PREFIX..))
        }
        _ => Err(lying("its message is cut short")),
    }
}

/// Checks what has come, as soon as its length is known.
fn check_length(bytes: &[u8], most: usize) -> Result<(), Fault> {
    let Some(([flag, length @ ..], rest)) = bytes.split_first_chunk::<PREFIX>() else {
        return Ok(());
    };
    if *flag != 0 {
        return Err(lying("its message is compressed, which nobody asked for"));
    }
    let length = u32::from_be_bytes(*length) as usize;
    if length > most {
        return Err(too_large(most));
    }
    match rest.len() > length {
        true => Err(lying("it has more than one message")),
        false => Ok(()),
    }
}

fn check(fields: &HeaderMap) -> Result<(), Fault> {
    let text = |name: &str| fields.get(name).and_then(|value| value.to_str().ok());
    let code = text("grpc-status").and_then(|code| code.parse().ok());
    match code {
        Some(0) => Ok(()),
        Some(code) => {
            let message = percent_decode_str(text("grpc-message").unwrap_or_default());
            Err(status::of_grpc(code, &message.decode_utf8_lossy(), fields))
        }
        None => Err(lying("its status is no number")),
    }
}
