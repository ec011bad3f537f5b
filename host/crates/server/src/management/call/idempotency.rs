//! `Idempotency-Key` on POST: a client that does not know whether its request arrived sends it again, and gets the answer of the first.
//!
//! What was answered is kept in memory: bounded, for a day, and only until the process ends. A client that meets another process, or a new
//! one, makes its change twice, unless a precondition keeps it from that.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use wharf_core::{Error, ErrorKind, Result};

use crate::call::{Answer, Boxed, Call};

const FIELD: &str = "idempotency-key";
/// Said of an answer that was given before.
const REPLAYED: &str = "idempotency-replayed";
/// How many answers are kept in all and of one client, how long, and how large their bodies are: a larger one is not repeated.
const KEPT: usize = 4096;
const OF_A_CLIENT: usize = 512;
const AGE: Duration = Duration::from_secs(86_400);
const MAX_ANSWER: usize = 16 << 10;
const MAX_KEY: usize = 255;

type Fingerprint = [u8; 32];

/// What was answered to requests that have a key.
#[derive(Default)]
pub(crate) struct IdempotencyKeys(Mutex<HashMap<Key, Entry>>);

/// A key, and whose it is: what one client was answered is nothing that another reads, nor one of the same name who may do something else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    client: String,
    key: String,
}

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
enum Known {
    New(Open),
    Answered(Kept),
}

/// A key whose request is under way. Where that ends without an answer, the key is free again.
struct Open {
    keys: Arc<IdempotencyKeys>,
    key: Key,
}

/// Answers a request once: where it has a key that was answered before, with that answer. One that has a key is done to its end, whether its
/// client waits for that or not.
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
    call.put_body(Body::from(body));
    let open = match call.app.idempotency.open(key, hash.finalize().into())? {
        Known::Answered(kept) => return Ok(kept.again()),
        Known::New(open) => open,
    };
    let app = Arc::clone(&call.app);
    let done = app.operations.run(async move {
        // A refusal changes nothing: the request may be mended and sent again.
        let response = answer(call).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(Error::internal)?.to_bytes();
        open.close(Kept {
            status: parts.status,
            headers: parts.headers.clone(),
            body: body.clone(),
        });
        Ok(Response::from_parts(parts, Body::from(body)))
    });
    done.await.map_err(Error::internal)?
}

fn key_of(call: &Call) -> Result<Key> {
    // The draft of the standard has it in quotes.
    let key = call.field(FIELD).map(|key| {
        let quoted = key.strip_prefix('"').and_then(|key| key.strip_suffix('"'));
        quoted.unwrap_or(key)
    });
    let client = call.client.principal().map(|principal| {
        let tenant = principal.tenant.as_deref().unwrap_or_default();
        format!("{tenant} {} {:?}", principal.subject, principal.scopes)
    });
    let client = client.unwrap_or_default();
    key.filter(|key| {
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"';
        (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(plain)
    })
    .map(|key| Key {
        client,
        key: key.to_owned(),
    })
    .ok_or_else(|| {
        Error::invalid(
            FIELD,
            "a key is 1 to 255 visible ASCII characters but quotes, such as a UUID",
        )
    })
}

impl IdempotencyKeys {
    fn open(self: &Arc<Self>, key: Key, fingerprint: Fingerprint) -> Result<Known> {
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
        let own = keys
            .keys()
            .filter(|known| known.client == key.client)
            .count();
        let is_full = (own >= OF_A_CLIENT && !forget_oldest(&mut keys, Some(&key.client)))
            || (keys.len() >= KEPT && !forget_oldest(&mut keys, None));
        if is_full {
            let message = "too many requests with keys are under way; try again later";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        let entry = Entry {
            fingerprint,
            at: now,
            answer: None,
        };
        keys.insert(key.clone(), entry);
        Ok(Known::New(Open {
            keys: Arc::clone(self),
            key,
        }))
    }
}

/// Forgets the oldest answer, of a client or of all. Says whether there was one.
fn forget_oldest(keys: &mut HashMap<Key, Entry>, client: Option<&str>) -> bool {
    let answered = keys.iter().filter(|(key, entry)| {
        entry.answer.is_some() && client.is_none_or(|client| key.client == client)
    });
    let oldest = answered.min_by_key(|(_, entry)| entry.at);
    let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
        return false;
    };
    keys.remove(&oldest).is_some()
}

impl Open {
    fn close(self, mut kept: Kept) {
        if kept.body.len() > MAX_ANSWER {
            kept.body = Bytes::new();
            kept.headers.remove(CONTENT_TYPE);
            kept.headers.remove(CONTENT_LENGTH);
        }
        if let Some(entry) = self.keys.0.lock().get_mut(&self.key) {
            entry.answer = Some(kept);
        }
    }
}

impl Drop for Open {
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

    fn key(client: &str, key: &str) -> Key {
        let (client, key) = (client.to_owned(), key.to_owned());
        Key { client, key }
    }

    fn kept() -> Kept {
        Kept {
            status: StatusCode::CREATED,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    #[test]
    fn a_key_is_of_one_request() {
        let keys = Arc::new(IdempotencyKeys::default());
        let Ok(Known::New(open)) = keys.open(key("", "a"), [1; 32]) else {
            panic!("it is new");
        };
        let error = keys.open(key("", "a"), [1; 32]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        open.close(kept());
        assert!(matches!(
            keys.open(key("", "a"), [1; 32]),
            Ok(Known::Answered(_))
        ));
        let error = keys.open(key("", "a"), [2; 32]).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unprocessable);
        // One that ended without an answer is free again.
        drop(keys.open(key("", "b"), [1; 32]));
        assert!(matches!(
            keys.open(key("", "b"), [2; 32]),
            Ok(Known::New(_))
        ));
    }

    #[test]
    fn the_oldest_answer_is_forgotten_and_no_request_under_way() {
        let keys = Arc::new(IdempotencyKeys::default());
        let open = |client: &str, index: usize| keys.open(key(client, &index.to_string()), [0; 32]);
        let mut opened = Vec::new();
        for index in 0..OF_A_CLIENT {
            match open("acme", index) {
                Ok(Known::New(open)) => opened.push(open),
                _ => panic!("it is new"),
            }
        }
        let error = open("acme", OF_A_CLIENT).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        // Of another client, there is nothing to forget for it.
        let Ok(Known::New(others)) = open("globex", 0) else {
            panic!("it is new");
        };
        others.close(kept());
        assert!(open("acme", OF_A_CLIENT).is_err());
        opened.remove(7).close(kept());
        assert!(matches!(open("acme", OF_A_CLIENT), Ok(Known::New(_))));
        assert!(!keys.0.lock().contains_key(&key("acme", "7")));
        assert!(matches!(open("globex", 0), Ok(Known::Answered(_))));
    }

    #[test]
    fn a_large_answer_is_told_again_without_its_body() {
        let keys = Arc::new(IdempotencyKeys::default());
        let Ok(Known::New(open)) = keys.open(key("", "a"), [1; 32]) else {
            panic!("it is new");
        };
        let body = Bytes::from(vec![b' '; MAX_ANSWER + 1]);
        open.close(Kept { body, ..kept() });
        let Ok(Known::Answered(kept)) = keys.open(key("", "a"), [1; 32]) else {
            panic!("it was answered");
        };
        assert_eq!((kept.status, kept.body.len()), (StatusCode::CREATED, 0));
    }
}
