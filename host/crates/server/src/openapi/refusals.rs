//! How operations refuse: an answer of each status, with the problem document that the server writes as its example.

use std::time::Duration;

use serde_json::{Value, json};
use wharf_core::{Error, ErrorKind};

use super::operation::reference;
use crate::problem::{self, Problem};

/// The media type of problem documents.
pub(super) const PROBLEM: &str = "application/problem+json";
/// The request that the examples are answers to.
const REQUEST: &str = "b7d9a2c4e1f03865-0001";

/// The entity tag of the examples.
pub(super) const TAG: &str = "\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"";
/// The digest of the examples, as fields have it.
pub(super) const REPR_DIGEST: &str = "sha-256=:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=:";

/// A refusal that there is in the document.
pub(super) struct Refusal {
    pub(super) status: u16,
    /// The name under which the operations refer to it.
    pub(super) name: String,
    says: &'static str,
    example: Value,
}

impl Refusal {
    fn of(problem: &Problem, says: &'static str) -> Self {
        let example = serde_json::to_value(problem.document(REQUEST)).unwrap_or_default();
        let title = example["title"].as_str().unwrap_or_default();
        let name = title.split(' ').map(capital).collect();
        let status = problem.status().as_u16();
        Self {
            status,
            name,
            says,
            example,
        }
    }

    /// The answer.
    pub(super) fn response(&self) -> Value {
        let mut headers = json!({"X-Request-Id": header("X-Request-Id")});
        let more: &[&str] = match self.status {
            401 => &["WWW-Authenticate"],
            416 => &["Content-Range"],
            429 => &["Retry-After", "RateLimit", "RateLimit-Policy"],
            503 => &["Retry-After"],
            _ => &[],
        };
        for name in more {
            headers[*name] = header(name);
        }
        json!({
            "description": self.says,
            "headers": headers,
            "content": {PROBLEM: {"schema": reference("Problem"), "example": self.example}},
        })
    }
}

/// What stands for a field of the header where it is used.
pub(super) fn header(name: &str) -> Value {
    json!({"$ref": format!("#/components/headers/{name}")})
}

/// The fields of the header of answers.
pub(super) fn headers() -> Value {
    let text = |says: &str, example: &str| json!({"description": says, "schema": {"type": "string"}, "example": example});
    let bytes = |says: &str| json!({"description": says, "schema": {"type": "integer", "minimum": 0}, "example": 4096});
    json!({
        "X-Request-Id": text("The id of the request: the client's own, or a new one.", REQUEST),
        "Retry-After": {
            "description": "The seconds after which to try again.",
            "schema": {"type": "integer", "minimum": 1},
            "example": 1,
        },
        "WWW-Authenticate": text("How the client may say who it is.", "Bearer"),
        "ETag": text("Names the content as it is now: what `If-Match` and `If-None-Match` take.", TAG),
        "Location": text("Where it is.", "/v1/models/flowers"),
        "Vary": text("What of the request the answer depends on.", "accept"),
        "Accept-Ranges": text("Parts can be asked for.", "bytes"),
        "Content-Range": text("Which part of the content it is, or how long the content is.", "bytes 0-99/10240"),
        "Repr-Digest": text("The SHA-256 of the whole (RFC 9530).", REPR_DIGEST),
        "Upload-Offset": bytes("How many bytes are stored: the next part begins there."),
        "Upload-Length": bytes("The length of the whole in bytes."),
        "Upload-Complete": text("Whether the whole is stored: `?0` for no.", "?0"),
        "Idempotency-Replayed": text("Said of an answer that was given before.", "true"),
        "Preference-Applied": text("How long was waited at most.", "wait=5"),
        "RateLimit": text(
            "What is left of the quota (IETF draft), where the client has one.",
            "\"requests\";r=4;t=1",
        ),
        "RateLimit-Policy": text(
            "The quota (IETF draft), where the client has one.",
            "\"requests\";q=5;w=1",
        ),
    })
}

/// Every refusal, one a status.
pub(super) fn refusals() -> Vec<Refusal> {
    let refused = |kind, message: &'static str| Problem::from(Error::new(kind, message));
    let field = |kind, field: &'static str, message: &'static str| {
        Problem::from(Error::new(kind, message).with_field(field))
    };
    vec![
        Refusal::of(
            &field(
                ErrorKind::InvalidArgument,
                "input[3]",
                "is text, but an element of FP32 is a number",
            ),
            "The request is malformed, or does not fit what it names.",
        ),
        Refusal::of(
            &refused(
                ErrorKind::Unauthenticated,
                "the token has expired; get a new one",
            ),
            "The client did not say who it is, or not credibly.",
        ),
        Refusal::of(
            &refused(
                ErrorKind::PermissionDenied,
                "clients may not change this server; server.management = true in wharf.toml lets them",
            ),
            "The client may not do this.",
        ),
        Refusal::of(
            &field(
                ErrorKind::NotFound,
                "model",
                "there is no model iris; the repository index lists them",
            ),
            "What the request names does not exist, or not for this client.",
        ),
        Refusal::of(
            &Problem::BodyTimeout {
                limit: Duration::from_secs(30),
                key: "server.body_timeout_ms",
            },
            "The body did not arrive in time.",
        ),
        Refusal::of(
            &field(
                ErrorKind::Conflict,
                "name",
                "a region \"weights\" is registered already; unregister it, or use another name",
            ),
            "The request contradicts the present state.",
        ),
        Refusal::of(
            &field(
                ErrorKind::TooLarge,
                "body",
                "the request body is larger than 67108864 bytes: server.max_body_bytes",
            ),
            "The request is larger than allowed.",
        ),
        Refusal::of(
            &Problem::UnsupportedMediaType {
                field: "content-type",
                detail: "this route takes tensors; send them as application/json".to_owned(),
            },
            "The type or the coding of the body is not one that the path takes.",
        ),
        Refusal::of(
            &problem::Refusal::not_acceptable(
                "there is no such version; accept application/vnd.wharf.v1+json or application/vnd.wharf.v2+json",
            )
            .into(),
            "The client accepts only versions that there are not.",
        ),
        Refusal::of(
            &problem::Refusal::precondition_failed(
                "if-match",
                "it was changed since it was read; read it again, and change what it is now",
            )
            .into(),
            "What the client says must be so is not so: somebody else changed it.",
        ),
        Refusal::of(
            &problem::Refusal::range(10_240).into(),
            "Nothing of the range is there.",
        ),
        Refusal::of(
            &problem::Refusal::precondition_required().into(),
            "It is there already, and the client does not say that it knows.",
        ),
        Refusal::of(
            &problem::Refusal::length_required("is missing; send it, or upload in parts").into(),
            "The body comes without its length.",
        ),
        Refusal::of(
            &problem::Refusal::fields(
                &Error::new(
                    ErrorKind::TooLarge,
                    "has 101 fields, and 100 are taken (server.max_headers); send fewer",
                )
                .with_field("headers"),
            )
            .into(),
            "The header is larger than allowed, or has more fields. Over HTTP/1.1 the answer has no body.",
        ),
        Refusal::of(
            &refused(
                ErrorKind::NoRoom,
                "the server's disk is full; ask its operator for room",
            ),
            "The server has no room for it.",
        ),
        Refusal::of(
            &refused(
                ErrorKind::Unprocessable,
                "the picture has 0 pixels; send one that has some",
            ),
            "The request is well formed, but its content cannot be worked on.",
        ),
        Refusal::of(
            &Error::new(
                ErrorKind::QuotaExceeded,
                "the quota of 5 requests a second is used up; try again in 1 s",
            )
            .into(),
            "The client has used up what it may use.",
        ),
        Refusal::of(
            &Error::internal("hidden").into(),
            "A fault of the server. The log has more, under the id of the request.",
        ),
        Refusal::of(
            &refused(
                ErrorKind::Unimplemented,
                "this server's log has no settings that clients may see",
            ),
            "The server does not do this.",
        ),
        Refusal::of(
            &refused(ErrorKind::PluginFault, "the plugin top-k failed"),
            "A plugin of the route trapped, broke a limit or failed.",
        ),
        Refusal::of(
            &refused(
                ErrorKind::Unavailable,
                "the server is still loading; try again soon",
            ),
            "The server cannot do this now; the same request may work later.",
        ),
        Refusal::of(
            &refused(ErrorKind::Deadline, "the deadline of the request passed"),
            "The deadline of the request passed.",
        ),
    ]
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
