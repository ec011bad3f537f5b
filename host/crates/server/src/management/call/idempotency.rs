//! `Idempotency-Key` on POST: a client that does not know whether its request arrived sends it again, and gets the answer of the first.
//!
//! What was answered is kept in memory: bounded, for a day, and only until the process ends. A client that meets another process, or a new
//! one, makes its change twice, unless a precondition keeps it from that.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use wharf_core::{Error, ErrorKind, Result};

use super::{Answer, Boxed, Call};

const FIELD: &str = "idempotency-key";
/// Said of an answer that was given before.
const REPLAYED: &str = "idempotency-replayed";
/// How many answers are kept, how long, and how large one may be.
const KEPT: usize = 1024;
const AGE: Duration = Duration::from_secs(86_400);
const MAX_ANSWER: usize = 64 << 10;
const MAX_KEY: usize = 255;

type Fingerprint = [u8; 32];

/// What was answered to requests that have a key.
#[derive(Default)]
pub(crate) struct IdempotencyKeys(Mutex<HashMap<String, Entry>>);

struct Entry {
    fingerprint: Fingerprint,
    at: Instant,
    /// None while the first request is under way.
    answer: Option<Kept>,
}

#[derive(Clone)]
struct Kept {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// What is known of a key.
enum Known<'a> {
    New(Open<'a>),
    Answered(Kept),
}

/// A key whose request is under way. Where that ends without an answer, the key is free again.
struct Open<'a> {
    keys: &'a IdempotencyKeys,
    key: String,
}

/// Answers a request once: where it has a key that was answered before, with that answer.
pub(super) async fn once(mut call: Call, answer: Boxed) -> Answer {
    if call.parts.method != Method::POST || !call.parts.headers.contains_key(FIELD) {
        return answer(call).await;
    }
    let key = key_of(&call)?;
    let (body, _reservation) = call.bytes().await?;
    let mut hash = Sha256::new();
    hash.update(call.parts.uri.path());
    hash.update([0]);
    hash.update(call.parts.uri.query().unwrap_or_default());
    hash.update([0]);
    hash.update(&body);
    call.parts.headers.remove(CONTENT_ENCODING);
    *call.body.get_mut() = Body::from(body);
    let app = std::sync::Arc::clone(&call.app);
    let open = match app.idempotency.open(key, hash.finalize().into())? {
        Known::Answered(kept) => return Ok(kept.again()),
        Known::New(open) => open,
    };
    // A refusal changes nothing: the request may be mended and sent again.
    let response = answer(call).await?;
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_ANSWER).await.map_err(Error::internal)?;
    let kept = Kept {
        status: parts.status,
        headers: parts.headers.clone(),
        body: body.clone(),
    };
    open.close(kept);
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn key_of(call: &Call) -> Result<String> {
    // The draft of the standard has it in quotes.
    let key = call.field(FIELD).map(|key| {
        let quoted = key.strip_prefix('"').and_then(|key| key.strip_suffix('"'));
        quoted.unwrap_or(key)
    });
    // A key is its client's: what one was answered is nothing that another reads.
    let client = call.client.principal().map(|principal| {
        let tenant = principal.tenant.as_deref().unwrap_or_default();
        format!("{tenant} {} ", principal.subject)
    });
    let client = client.unwrap_or_default();
    key.filter(|key| {
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"';
        (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(plain)
    })
    .map(|key| format!("{client}{key}"))
    .ok_or_else(|| {
        Error::invalid(
            FIELD,
            "a key is 1 to 255 visible ASCII characters but quotes, such as a UUID",
        )
    })
}

impl IdempotencyKeys {
    fn open(&self, key: String, fingerprint: Fingerprint) -> Result<Known<'_>> {
        let now = Instant::now();
        let mut keys = self.0.lock();
        keys.retain(|_, entry| now.duration_since(entry.at) < AGE || entry.answer.is_none());
        if let Some(entry) = keys.get(&key) {
            if entry.fingerprint != fingerprint {
                let message = "this key was sent with another request; use a new one for each";
                return Err(Error::new(ErrorKind::Unprocessable, message).with_field(FIELD));
            }
            return match &entry.answer {
                Some(kept) => Ok(Known::Answered(kept.clone())),
                None => {
                    let message =
                        "the first request with this key is under way; ask again when it ended";
                    Err(Error::new(ErrorKind::Conflict, message).with_field(FIELD))
                }
            };
        }
        if keys.len() >= KEPT && !forget_oldest(&mut keys) {
            let message = "too many requests with keys are under way; try again later";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        let entry = Entry {
            fingerprint,
            at: now,
            answer: None,
        };
        keys.insert(key.clone(), entry);
        Ok(Known::New(Open { keys: self, key }))
    }
}

/// Forgets the oldest answer. Says whether there was one.
fn forget_oldest(keys: &mut HashMap<String, Entry>) -> bool {
    let answered = keys.iter().filter(|(_, entry)| entry.answer.is_some());
    let oldest = answered.min_by_key(|(_, entry)| entry.at);
    let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
        return false;
    };
    keys.remove(&oldest).is_some()
}

impl Open<'_> {
    fn close(self, kept: Kept) {
        if let Some(entry) = self.keys.0.lock().get_mut(&self.key) {
            entry.answer = Some(kept);
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut keys = self.keys.0.lock();
        if keys
            .get(&self.key)
            .is_some_and(|entry| entry.answer.is_none())
        {
            keys.remove(&self.key);
        }
    }
}

impl Kept {
    fn again(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        let replayed = HeaderValue::from_static("true");
        response.headers_mut().insert(REPLAYED, replayed);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        Kept {
            status: StatusCode::CREATED,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    #[test]
    fn a_key_is_of_one_request() {
        let keys = IdempotencyKeys::default();
        let Ok(Known::New(open)) = keys.open("a".to_owned(), [1; 32]) else {
            panic!("it is new");
        };
        let error = keys.open("a".to_owned(), [1; 32]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        open.close(kept());
        assert!(matches!(
            keys.open("a".to_owned(), [1; 32]),
            Ok(Known::Answered(_))
        ));
        let error = keys.open("a".to_owned(), [2; 32]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unprocessable);
        // One that ended without an answer is free again.
        drop(keys.open("b".to_owned(), [1; 32]));
        assert!(matches!(
            keys.open("b".to_owned(), [2; 32]),
            Ok(Known::New(_))
        ));
    }

    #[test]
    fn the_oldest_answer_is_forgotten_and_no_request_under_way() {
        let keys = IdempotencyKeys::default();
        let mut opened = Vec::new();
        for index in 0..KEPT {
            match keys.open(index.to_string(), [0; 32]) {
                Ok(Known::New(open)) => opened.push(open),
                _ => panic!("it is new"),
            }
        }
        let error = keys.open("more".to_owned(), [0; 32]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        opened.remove(7).close(kept());
        assert!(matches!(
            keys.open("more".to_owned(), [0; 32]),
            Ok(Known::New(_))
        ));
        assert!(!keys.0.lock().contains_key("7"));
    }
}
