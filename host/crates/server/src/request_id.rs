//! Request ids: what joins an answer, the log and a trace.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue, Response};

/// The header field that carries the id, both ways.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A longer id of a client is not taken over.
const MAX_LEN: usize = 128;

/// Makes ids: a prefix that differs between processes, and a counter.
#[derive(Debug)]
pub(crate) struct RequestIds {
    prefix: [u8; 16],
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        // Seeded by the system for each process. The ids must differ; they need not be unpredictable.
        let mut prefix = [0; 16];
        write_hex(RandomState::new().build_hasher().finish(), &mut prefix);
        Self {
            prefix,
            next: AtomicU64::new(0),
        }
    }

    /// The client's id where it is short, visible ASCII, else a new one.
    pub(crate) fn of(&self, headers: &HeaderMap) -> Arc<str> {
        headers
            .get(X_REQUEST_ID)
            .map(|value| value.as_bytes())
            .filter(|id| (1..=MAX_LEN).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic))
            .and_then(|id| std::str::from_utf8(id).ok())
            .map_or_else(|| self.make(), Arc::from)
    }

    fn make(&self) -> Arc<str> {
        let mut id = [b'-'; 33];
        id[..16].copy_from_slice(&self.prefix);
        write_hex(self.next.fetch_add(1, Ordering::Relaxed), &mut id[17..]);
        // Leading zeros of the counter say nothing; four digits keep the ids of one listing aligned.
        let first = id[17..29]
            .iter()
            .position(|digit| *digit != b'0')
            .unwrap_or(12);
        id.copy_within(17 + first.., 17);
        std::str::from_utf8(&id[..33 - first]).map_or_else(|_| Arc::from(""), Arc::from)
    }
}

/// Says in an answer which request it is to. The id is never the same: HTTP/2 is told not to keep it in its table of fields,
/// where it would drive out those that are.
pub(crate) fn name<B>(response: &mut Response<B>, id: &str) {
    if let Ok(mut id) = HeaderValue::from_str(id) {
        id.set_sensitive(true);
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
}

fn write_hex(number: u64, digits: &mut [u8]) {
    for (index, digit) in digits.iter_mut().rev().enumerate() {
        let nibble = (number >> (4 * index)) & 0xf;
        *digit = b"0123456789abcdef"[nibble as usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(id: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, http::HeaderValue::from_bytes(id).unwrap());
        headers
    }

    #[test]
    fn a_clients_id_is_kept() {
        let ids = RequestIds::new();
        assert_eq!(&*ids.of(&headers(b"abc-123")), "abc-123");
    }

    #[test]
    fn an_unfit_id_is_replaced() {
        let ids = RequestIds::new();
        for id in [&b""[..], b"a b", b"\xff\xfe", &[b'x'; 129]] {
            let made = ids.of(&headers(id));
            assert!(made.starts_with(std::str::from_utf8(&ids.prefix).unwrap()));
        }
    }

    #[test]
    fn an_answer_names_its_request_outside_the_table_of_http2() {
        let mut response = Response::new(());
        name(&mut response, "abc-1");
        let id = &response.headers()[X_REQUEST_ID];
        assert_eq!(id, "abc-1");
        assert!(id.is_sensitive());
    }

    #[test]
    fn made_ids_count_up() {
        let ids = RequestIds {
            prefix: *b"0123456789abcdef",
            next: AtomicU64::new(0xfffe),
        };
        assert_eq!(&*ids.make(), "0123456789abcdef-fffe");
        assert_eq!(&*ids.make(), "0123456789abcdef-ffff");
        assert_eq!(&*ids.make(), "0123456789abcdef-10000");
        let ids = RequestIds::new();
        assert!(ids.make().ends_with("-0000"));
    }
}
