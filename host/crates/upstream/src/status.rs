//! What a peer's refusals say, over HTTP and over gRPC.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use wharf_core::ErrorKind;

use crate::body::beginning;
use crate::fault::{Fault, safe};
use crate::settings::Protocol;

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
pub(crate) async fn refusal(answer: Response<Incoming>, protocol: Protocol) -> Fault {
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
        protocol,
    )
}

/// Of a plain service, the client chose the content and may be told of most things. Of a protocol, this server made the message
/// of tensors that it had checked: what else is wrong with it is a misunderstanding of the two servers, in which the endpoint has
/// no part that another one would not have.
fn of_http(status: StatusCode, headers: &HeaderMap, text: &str, protocol: Protocol) -> Fault {
    let is_service = protocol == Protocol::Http;
    let (kind, text) = match status.as_u16() {
        400 => (ErrorKind::InvalidArgument, text.to_owned()),
        409 => (ErrorKind::Conflict, text.to_owned()),
        413 => (ErrorKind::TooLarge, text.to_owned()),
        422 => (ErrorKind::Unprocessable, text.to_owned()),
        429 => (ErrorKind::QuotaExceeded, text.to_owned()),
        403 if is_service => (ErrorKind::PermissionDenied, text.to_owned()),
        404 | 410 if is_service => (ErrorKind::NotFound, text.to_owned()),
        404 | 410 => return Fault::Gone(text.to_owned()),
        503 => return Fault::Busy(retry_after(headers)),
        408 | 504 => return Fault::GaveUp,
        502 => return Fault::Gateway(format!("{status}: {text}")),
        // Credentials, and which server it is: between this server and that one.
        401 | 403 | 407 | 421 => return Fault::Failed(format!("{status}: {text}")),
        // The method and the protocol are this server's choice, never the client's.
        405 | 426 => (ErrorKind::UpstreamFault, format!("{status}: {text}")),
        _ if is_service && status.is_client_error() => {
            (ErrorKind::InvalidArgument, format!("{status}: {text}"))
        }
        _ if status.is_client_error() => (ErrorKind::UpstreamFault, format!("{status}: {text}")),
        _ => return Fault::Failed(format!("{status}: {text}")),
    };
    Fault::Refused {
        kind,
        text,
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
        4 => return Fault::GaveUp,
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
        let fault = |status: u16, protocol| {
            of_http(
                StatusCode::from_u16(status).unwrap(),
                &headers,
                "x",
                protocol,
            )
        };
        use ErrorKind::*;
        // What the client is told of a service, and of a model; none where it is the endpoint's fault.
        for (status, of_service, of_model) in [
            (400, Some(InvalidArgument), Some(InvalidArgument)),
            (403, Some(PermissionDenied), None),
            (404, Some(NotFound), None),
            (405, Some(UpstreamFault), Some(UpstreamFault)),
            (406, Some(InvalidArgument), Some(UpstreamFault)),
            (409, Some(Conflict), Some(Conflict)),
            (410, Some(NotFound), None),
            (411, Some(InvalidArgument), Some(UpstreamFault)),
            (412, Some(InvalidArgument), Some(UpstreamFault)),
            (413, Some(TooLarge), Some(TooLarge)),
            (415, Some(InvalidArgument), Some(UpstreamFault)),
            (422, Some(Unprocessable), Some(Unprocessable)),
            (429, Some(QuotaExceeded), Some(QuotaExceeded)),
            (451, Some(InvalidArgument), Some(UpstreamFault)),
            (401, None, None),
            (407, None, None),
            (421, None, None),
            (500, None, None),
            (501, None, None),
        ] {
            for (protocol, expected) in [
                (Protocol::Http, of_service),
                (Protocol::OipHttp, of_model),
                (Protocol::OipGrpc, of_model),
            ] {
                let fault = fault(status, protocol);
                match &fault {
                    Fault::Refused {
                        kind, retry_after, ..
                    } => {
                        assert_eq!(Some(*kind), expected, "{status} {protocol:?}");
                        assert_eq!(*retry_after, Some(Duration::from_secs(7)));
                    }
                    fault => assert_eq!(None, expected, "{status} {protocol:?}: {fault}"),
                }
                assert_eq!(fault.is_the_endpoints(false), expected.is_none());
            }
        }
        for protocol in [Protocol::Http, Protocol::OipHttp] {
            assert!(matches!(fault(503, protocol), Fault::Busy(Some(wait)) if wait.as_secs() == 7));
            assert!(matches!(fault(408, protocol), Fault::GaveUp));
            assert!(matches!(fault(504, protocol), Fault::GaveUp));
            assert!(matches!(fault(502, protocol), Fault::Gateway(_)));
        }
        assert!(matches!(fault(404, Protocol::OipHttp), Fault::Gone(_)));
        assert!(matches!(of_grpc(14, "", &headers), Fault::Busy(Some(_))));
        assert!(matches!(of_grpc(13, "", &headers), Fault::Failed(_)));
        assert!(matches!(of_grpc(4, "", &headers), Fault::GaveUp));
    }
}
