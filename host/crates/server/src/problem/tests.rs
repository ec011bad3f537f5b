use serde_json::Value;

use super::*;

fn document(problem: &Problem) -> (Response<Bytes>, Value) {
    let response = problem.respond("id-1");
    let document = serde_json::from_slice(response.body()).unwrap();
    (response, document)
}

/// The table of the design, written out: a change of a code is a change of the protocol.
#[test]
fn every_kind_has_its_status() {
    let expected = [
        (ErrorKind::InvalidArgument, 400, 3),
        (ErrorKind::Unauthenticated, 401, 16),
        (ErrorKind::PermissionDenied, 403, 7),
        (ErrorKind::NotFound, 404, 5),
        (ErrorKind::Conflict, 409, 10),
        (ErrorKind::TooLarge, 413, 11),
        (ErrorKind::Unprocessable, 422, 9),
        (ErrorKind::QuotaExceeded, 429, 8),
        (ErrorKind::NoRoom, 507, 8),
        (ErrorKind::PluginFault, 502, 13),
        (ErrorKind::UpstreamFault, 502, 13),
        (ErrorKind::Unimplemented, 501, 12),
        (ErrorKind::Unavailable, 503, 14),
        (ErrorKind::Deadline, 504, 4),
        (ErrorKind::Cancelled, 499, 1),
        (ErrorKind::Internal, 500, 13),
    ];
    assert_eq!(expected.map(|(kind, ..)| kind), ErrorKind::ALL);
    for (kind, http, grpc) in expected {
        assert_eq!(
            (status(kind).http, status(kind).grpc),
            (http, grpc),
            "{kind:?}"
        );
        let (response, document) = document(&Error::new(kind, "why").into());
        assert_eq!(response.status().as_u16(), http);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(document["status"], http);
        assert_eq!(
            document["type"],
            format!("urn:wharf:problem:{}", kind.name())
        );
        assert_eq!(document["title"], status(kind).title);
        assert_eq!(document["detail"], "why");
        assert_eq!(document["error"], "why");
        assert_eq!(document["request_id"], "id-1");
    }
}

#[test]
fn the_field_is_named() {
    let (_, document) = document(&Error::invalid("input[3]", "is text").into());
    assert_eq!(document["field"], "input[3]");
    assert_eq!(document["error"], "input[3]: is text");
}

#[test]
fn the_cause_stays_here() {
    let (_, document) = document(&Error::internal("/secret/path").into());
    assert!(!document.to_string().contains("secret"), "{document}");
}

#[test]
fn unavailable_says_when_to_come_back() {
    let wait = |error: Error| {
        let (response, _) = document(&error.into());
        let value = response.headers().get(RETRY_AFTER)?;
        Some(value.to_str().unwrap().to_owned())
    };
    let unavailable = || Error::new(ErrorKind::Unavailable, "full");
    assert_eq!(wait(unavailable()).as_deref(), Some("1"));
    let soon = unavailable().with_retry_after(Duration::from_millis(20));
    assert_eq!(wait(soon).as_deref(), Some("1"));
    let later = unavailable().with_retry_after(Duration::from_millis(2500));
    assert_eq!(wait(later).as_deref(), Some("3"));
    assert_eq!(wait(Error::new(ErrorKind::NotFound, "no")), None);
}

#[test]
fn what_only_http_knows_has_a_document_too() {
    let problems = [
        (
            Problem::BodyTimeout {
                limit: Duration::from_secs(1),
                key: "server.body_timeout_ms",
            },
            408,
        ),
        (Problem::Malformed(Malformed::Lengths), 400),
        (Problem::Malformed(Malformed::Host), 400),
        (Problem::Malformed(Malformed::Coding), 501),
        (Problem::MethodNotAllowed { allow: "POST" }, 405),
        (
            Problem::UnsupportedMediaType {
                field: "content-type",
                detail: "send JSON".to_owned(),
            },
            415,
        ),
    ];
    for (problem, status) in problems {
        let (response, document) = document(&problem);
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(document["status"], status);
        assert!(document["field"].is_string());
        let closes = response.headers().contains_key(CONNECTION);
        assert_eq!(closes, matches!(status, 400 | 408 | 501), "{problem:?}");
    }
    let (response, _) = document(&Problem::MethodNotAllowed { allow: "POST" });
    assert_eq!(response.headers()[ALLOW], "POST");
}
