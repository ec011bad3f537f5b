//! Requests to other servers. Needs the grant `http`, which names their origins:
//!
//! ```toml
//! [grants.http]
//! origins = ["https://features.example.com"]
//! ```
//!
//! The host sends a request, follows redirects to origins that are granted, and gives the whole answer. A status is never an
//! error. What is not granted is `denied`; where there is no answer in time it is `unavailable`, and so it is outside of a stage
//! call. Header fields of the connection, such as `host`, are the host's; it adds the trace of the request that the stage works
//! for.
//!
//! ```
//! use std::time::Duration;
//! use wharf_plugin_sdk::{Body, Error, Result, http};
//!
//! /// Asks for the features of a user.
//! fn features(user: &str) -> Result<Vec<f32>> {
//!     let response = http::Request::get(&format!("https://features.example.com/users/{user}"))
//!         .with_header("accept", "application/json")
//!         .with_timeout(Duration::from_millis(200))
//!         .send()?;
//!     match response.status() {
//!         200 => response.body().parse_json(),
//!         404 => Err(Error::not_found("this user has no features")),
//!         status => Err(Error::unavailable(format!("the features' server answered {status}"))),
//!     }
//! }
//!
//! // A native test answers itself.
//! http::answer(|request| match request.url() {
//!     "https://features.example.com/users/7" => Ok(http::Response::new(200, Body::json(&[0.5, 1.0])?)),
//!     _ => Ok(http::Response::new(404, Body::new("", b""))),
//! });
//! assert_eq!(features("7")?, [0.5, 1.0]);
//! assert_eq!(features("8"), Err(Error::not_found("this user has no features")));
//! # Ok::<(), Error>(())
//! ```

use std::time::Duration;

use crate::{Body, Result};

#[cfg(not(target_arch = "wasm32"))]
pub use native::answer;

/// A request to another server.
#[derive(Debug)]
pub struct Request {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Option<Body>,
    timeout: Option<Duration>,
}

/// What a server answered.
#[derive(Debug)]
pub struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

impl Request {
    /// Makes a request. The method is one of HTTP, such as `GET`; the address is a whole one, with its scheme.
    pub fn new(method: &str, url: &str) -> Self {
        Self {
            method: method.to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            body: None,
            timeout: None,
        }
    }

    /// Makes a `GET` request.
    pub fn get(url: &str) -> Self {
        Self::new("GET", url)
    }

    /// Makes a `POST` request. The media type of the body becomes the field `content-type`.
    pub fn post(url: &str, body: Body) -> Self {
        Self::new("POST", url).with_body(body)
    }

    /// The same request with one more header field.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same request with this body.
    #[must_use]
    pub fn with_body(self, body: Body) -> Self {
        Self {
            body: Some(body),
            ..self
        }
    }

    /// The same request with a time that it may take; never more than the grant and the deadline of the stage's request allow.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self {
            timeout: Some(timeout),
            ..self
        }
    }

    /// The method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The header fields.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The first value of a header field. The name is matched without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The body.
    pub fn body(&self) -> Option<&Body> {
        self.body.as_ref()
    }

    /// The time that it may take, where one was given.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Sends the request and waits for the whole answer.
    ///
    /// # Errors
    /// `denied` where the origin is not granted, or redirects to one that is not; `unavailable` where there is no answer in time;
    /// `invalid-input` where the request is malformed; `failed` where the answer is larger than the grant allows.
    pub fn send(self) -> Result<Response> {
        #[cfg(target_arch = "wasm32")]
        return guest::send(self);
        #[cfg(not(target_arch = "wasm32"))]
        native::send(&self)
    }
}

/// Sends several requests at once, and waits for all. The results are in the order of the requests, with the errors of
/// [`Request::send`].
#[cfg_attr(
    not(target_arch = "wasm32"),
    expect(
        clippy::needless_pass_by_value,
        reason = "the guest gives the bodies away; natively they are only looked at"
    )
)]
pub fn send_all(requests: Vec<Request>) -> Vec<Result<Response>> {
    #[cfg(target_arch = "wasm32")]
    return guest::send_all(requests);
    #[cfg(not(target_arch = "wasm32"))]
    requests.iter().map(native::send).collect()
}

impl Response {
    /// Makes a response: what [`answer`] gives in a native test.
    pub fn new(status: u16, body: Body) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body,
        }
    }

    /// The same response with one more header field.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers
            .push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is one of success, 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The header fields, names in lower case.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The first value of a header field. The name is matched without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The body, as the server sent it: what it compressed is compressed.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The body, to be passed on.
    pub fn into_body(self) -> Body {
        self.body
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = headers
        .iter()
        .find(|(given, _)| given.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

/// The host's side, in the guest.
#[cfg(target_arch = "wasm32")]
mod guest {
    use super::{Request, Response};
    use crate::Result;
    use crate::bindings::imports::http;

    pub(super) fn send(request: Request) -> Result<Response> {
        http::send(outgoing(request)).map(incoming)
    }

    pub(super) fn send_all(requests: Vec<Request>) -> Vec<Result<Response>> {
        let sent = http::send_all(requests.into_iter().map(outgoing).collect());
        sent.into_iter().map(|sent| sent.map(incoming)).collect()
    }

    fn outgoing(request: Request) -> http::Outgoing {
        http::Outgoing {
            method: request.method,
            url: request.url,
            headers: request.headers,
            body: request.body.map(crate::Body::into_raw),
            timeout_ms: request
                .timeout
                .map(|timeout| u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX)),
        }
    }

    fn incoming(incoming: http::Incoming) -> Response {
        Response {
            status: incoming.status,
            headers: incoming.headers,
            body: crate::Body::from_raw(incoming.body),
        }
    }
}

/// What stands in for the host in native tests.
#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::cell::RefCell;

    use super::{Request, Response};
    use crate::{Error, Result};

    type Answer = Box<dyn FnMut(&Request) -> Result<Response>>;

    /// The fields that are the host's.
    const HOST_FIELDS: [&str; 9] = [
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "keep-alive",
    ];

    thread_local! {
        static ANSWER: RefCell<Option<Answer>> = const { RefCell::new(None) };
    }

    /// Answers the requests that are sent on this thread from now on. Native tests only; until then each is `denied`, as
    /// without a grant.
    pub fn answer(answer: impl FnMut(&Request) -> Result<Response> + 'static) {
        ANSWER.set(Some(Box::new(answer)));
    }

    pub(super) fn send(request: &Request) -> Result<Response> {
        check(request)?;
        // Taken out for the call: the closure may send, too, and is then as without a grant.
        let Some(mut answer) = ANSWER.take() else {
            return Err(Error::denied(
                "the grant http does not name this origin: a native test answers by `http::answer`",
            ));
        };
        let answered = answer(request);
        ANSWER.with_borrow_mut(|place| {
            place.get_or_insert(answer);
        });
        answered
    }

    fn check(request: &Request) -> Result<()> {
        let with_scheme = ["http://", "https://"]
            .iter()
            .any(|scheme| request.url.starts_with(scheme));
        if !with_scheme
            || request
                .url
                .contains(|c: char| c.is_ascii_control() || c == ' ')
        {
            return Err(Error::invalid_field(
                "url",
                "is no address of http or https",
            ));
        }
        for (name, value) in &request.headers {
            let lower = name.to_ascii_lowercase();
            if HOST_FIELDS.contains(&lower.as_str()) || lower.starts_with("proxy-") {
                return Err(Error::invalid_field(
                    "headers",
                    format!("{lower} is set by the host"),
                ));
            }
            if name.is_empty() || value.contains(['\r', '\n', '\0']) {
                return Err(Error::invalid_field(
                    "headers",
                    format!("{lower} cannot be sent"),
                ));
            }
        }
        Ok(())
    }

    #[cfg(test)]
    mod tests {
        use super::super::{Request, Response, send_all};
        use super::answer;
        use crate::{Body, Error};

        #[test]
        fn without_an_answer_it_is_as_without_a_grant() {
            let sent = Request::get("https://example.com").send();
            assert!(matches!(sent, Err(Error::Denied(_))), "{sent:?}");
        }

        #[test]
        fn a_test_answers_what_the_plugin_sends() {
            let mut asked = 0;
            answer(move |request| {
                asked += 1;
                assert_eq!(request.header("X-Key"), Some("1"));
                let text = format!("{} {} {asked}", request.method(), request.url());
                Ok(Response::new(200, Body::new("text/plain", text.as_bytes()))
                    .with_header("X-N", "2"))
            });
            let request = |url| Request::get(url).with_header("x-key", "1");
            let sent = send_all(vec![request("https://a.b/1"), request("https://a.b/2")]);
            let texts: Vec<_> = sent
                .into_iter()
                .map(|response| {
                    let response = response.unwrap();
                    assert_eq!(response.header("x-n"), Some("2"));
                    assert!(response.is_success());
                    String::from_utf8(response.into_body().bytes()).unwrap()
                })
                .collect();
            assert_eq!(texts, ["GET https://a.b/1 1", "GET https://a.b/2 2"]);
        }

        #[test]
        fn the_fields_of_the_host_are_refused_as_by_the_host() {
            answer(|_| Ok(Response::new(200, Body::new("", b""))));
            for (name, value) in [
                ("Host", "evil.org"),
                ("proxy-authorization", "x"),
                ("x-a", "1\r\nx-b: 2"),
            ] {
                let sent = Request::get("https://example.com")
                    .with_header(name, value)
                    .send();
                assert_eq!(sent.unwrap_err().field(), Some("headers"), "{name}");
            }
        }
    }
}
