//! What a peer's refusals say, over HTTP and over gRPC.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use wharf_core::ErrorKind;

use crate::body::beginning;
use crate::fault::{Fault, safe};

/// So much of a refusal is read. What explains one is short.
const MAX_REFUSAL: usize = 8 << 10;

/// What servers write into a refusal: problem details, and the error of the Open Inference Protocol.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    detail: Option<String>,
    error: Option<serde_json::Value>,
    message: Option<String>,
}

/// The fault of an answer that is no success.
pub(crate) async fn refusal(answer: Response<Incoming>) -> Fault {
    let (parts, body) = answer.into_parts();
    let text = beginning(body, MAX_REFUSAL).await;
    let document: Refusal = serde_json::from_slice(&text).unwrap_or_default();
    let error = document.error.as_ref().and_then(|error| error.as_str());
    let said = document.detail.as_deref().or(error);
    let said = said.or(document.message.as_deref());
    of_http(
        parts.status,
        &parts.headers,
        &safe(said.unwrap_or_default()),
    )
}

fn of_http(status: StatusCode, headers: &HeaderMap, text: &str) -> Fault {
    let kind = match status.as_u16() {
        400 => ErrorKind::InvalidArgument,
        409 => ErrorKind::Conflict,
        413 => ErrorKind::TooLarge,
        422 => ErrorKind::Unprocessable,
        429 => ErrorKind::QuotaExceeded,
        404 => return Fault::Gone(text.to_owned()),
        503 => return Fault::Busy(retry_after(headers)),
        408 | 504 => return Fault::Late,
        502 => return Fault::Gateway(format!("{status}: {text}")),
        // What is left of 4xx is between this server and the peer: credentials, methods, media types.
        _ => return Fault::Failed(format!("{status}: {text}")),
    };
    Fault::Refused {
        kind,
        text: text.to_owned(),
        retry_after: retry_after(headers),
    }
}

/// The fault of a gRPC status.
pub(crate) fn of_grpc(code: u16, message: &str, headers: &HeaderMap) -> Fault {
    let text = safe(message);
    let kind = match code {
        3 => ErrorKind::InvalidArgument,
        8 => ErrorKind::QuotaExceeded,
        9 => ErrorKind::Unprocessable,
        10 => ErrorKind::Conflict,
        11 => ErrorKind::TooLarge,
        5 => return Fault::Gone(text),
        14 => return Fault::Busy(retry_after(headers)),
        4 => return Fault::Late,
        code => return Fault::Failed(format!("gRPC status {code}: {text}")),
    };
    Fault::Refused {
        kind,
        text,
        retry_after: retry_after(headers),
    }
}

/// The seconds of `Retry-After`. A date is not read: clocks differ.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_is_the_clients_or_the_peers() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        let fault = |status: u16| of_http(StatusCode::from_u16(status).unwrap(), &headers, "x");
        for (status, kind) in [
            (400, ErrorKind::InvalidArgument),
            (413, ErrorKind::TooLarge),
            (422, ErrorKind::Unprocessable),
            (429, ErrorKind::QuotaExceeded),
        ] {
            let Fault::Refused {
                kind: found,
                retry_after,
                ..
            } = fault(status)
            else {
                panic!("{status}");
            };
            assert_eq!(found, kind);
            assert_eq!(retry_after, Some(Duration::from_secs(7)));
        }
        assert!(matches!(fault(503), Fault::Busy(Some(wait)) if wait.as_secs() == 7));
        assert!(matches!(fault(404), Fault::Gone(_)));
        assert!(matches!(fault(504), Fault::Late));
        assert!(matches!(fault(502), Fault::Gateway(_)));
        for status in [401, 403, 405, 415, 500] {
            assert!(matches!(fault(status), Fault::Failed(_)), "{status}");
        }
        assert!(matches!(of_grpc(14, "", &headers), Fault::Busy(Some(_))));
        assert!(matches!(of_grpc(13, "", &headers), Fault::Failed(_)));
    }
}
