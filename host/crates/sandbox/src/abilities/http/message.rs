//! What a guest sends, checked; and what came back, within its bounds.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use url::Url;
use wharf_core::Body;

use super::origin::Origin;
use super::{Grant, Http, Refusal};

/// The fields of the connection and of the message's framing: the host's alone.
const HOST_FIELDS: [HeaderName; 9] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
];

/// The fields of credentials, which stay with the origin that the guest sent them to.
const CREDENTIALS: [HeaderName; 2] = [header::AUTHORIZATION, header::COOKIE];

/// The fields that speak of the body.
const BODY_FIELDS: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LOCATION,
];

/// What a guest wants to send.
pub(crate) struct Outgoing {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<Body>,
    pub(crate) timeout: Option<Duration>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
}

/// A request that may be sent: to a granted origin, within the bounds of the grant.
pub(super) struct Prepared {
    method: Method,
    url: Url,
    origin: Origin,
    headers: HeaderMap,
    body: Bytes,
}

impl Http {
    /// Checks what a guest wants to send.
    pub(super) fn prepare(
        &self,
        outgoing: Outgoing,
        trace: &HeaderMap,
    ) -> Result<Prepared, Refusal> {
        let grant = &self.0.grant;
        // Before anything is parsed: that takes as long as the text is.
        check_size(&outgoing, grant)?;
        let method = Method::from_bytes(outgoing.method.as_bytes())
            .ok()
            .filter(|method| ![Method::CONNECT, Method::TRACE].contains(method))
            .ok_or_else(|| Refusal::invalid("method", "is no method that can be sent"))?;
        let (url, origin) = self.address(&outgoing.url)?;
        let body = outgoing.body.unwrap_or_else(|| Body {
            media_type: "".into(),
            data: Bytes::new(),
        });
        if body.data.len() > grant.request_kb as usize * 1024 {
            let message = format!(
                "is larger than grants.http.request_kb = {}",
                grant.request_kb
            );
            return Err(Refusal::invalid("body", message));
        }
        let mut headers = fields(&outgoing.headers)?;
        if !body.media_type.is_empty() {
            let value = HeaderValue::from_str(&body.media_type)
                .map_err(|_| Refusal::invalid("body", "has no media type that can be sent"))?;
            headers.insert(header::CONTENT_TYPE, value);
        }
        headers
            .entry(header::USER_AGENT)
            .or_insert(HeaderValue::from_static("wharf"));
        for (name, value) in trace {
            headers.insert(name, value.clone());
        }
        Ok(Prepared {
            method,
            url,
            origin,
            headers,
            body: body.data,
        })
    }

    /// Reads an address that a guest gave, and compares it with the grant.
    fn address(&self, text: &str) -> Result<(Url, Origin), Refusal> {
        // The parser would drop them, and so would a guest's own check have seen another address.
        if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(Refusal::invalid("url", "has a space or control character"));
        }
        let mut url = Url::parse(text)
            .map_err(|error| Refusal::invalid("url", format!("is no address: {error}")))?;
        let origin = Origin::of(&mut url).map_err(|what| Refusal::invalid("url", what))?;
        self.granted(url, origin)
    }

    fn granted(&self, mut url: Url, origin: Origin) -> Result<(Url, Origin), Refusal> {
        if !self.0.origins.iter().any(|granted| granted.covers(&origin)) {
            return Err(Refusal::denied(&url));
        }
        url.set_fragment(None);
        Ok((url, origin))
    }

    /// Where an answer redirects to: the request for there, or none where the answer is no redirect.
    pub(super) fn redirected(
        &self,
        answer: &Response<Incoming>,
        sent: &Prepared,
    ) -> Result<Option<Prepared>, Refusal> {
        let status = answer.status().as_u16();
        let location = answer.headers().get(header::LOCATION);
        let (301..=303 | 307 | 308, Some(location)) = (status, location) else {
            return Ok(None);
        };
        let wrong = || Refusal::failed("the server redirected to what is no address");
        let mut url = location
            .to_str()
            .ok()
            .and_then(|location| sent.url.join(location).ok())
            .ok_or_else(wrong)?;
        let origin = Origin::of(&mut url).map_err(|_| wrong())?;
        let (url, origin) = self.granted(url, origin)?;
        let mut next = Prepared {
            method: sent.method.clone(),
            headers: sent.headers.clone(),
            body: sent.body.clone(),
            url,
            origin,
        };
        // By the fetch standard: 303 always becomes a GET, and so does a POST that was answered with 301 or 302.
        let becomes_get = match status {
            303 => next.method != Method::HEAD,
            301 | 302 => next.method == Method::POST,
            _ => false,
        };
        if becomes_get {
            next.method = Method::GET;
            next.body = Bytes::new();
            BODY_FIELDS.iter().for_each(|name| {
                next.headers.remove(name);
            });
        }
        if next.origin != sent.origin {
            CREDENTIALS.iter().for_each(|name| {
                next.headers.remove(name);
            });
        }
        Ok(Some(next))
    }

    /// Takes an answer in, whole. Its body is counted while it comes.
    pub(super) async fn receive(&self, answer: Response<Incoming>) -> Result<Answer, Refusal> {
        let grant = &self.0.grant;
        let (parts, body) = answer.into_parts();
        let size: usize = parts
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 4)
            .sum();
        if size > grant.headers_kb as usize * 1024 {
            return Err(Refusal::too_large("headers_kb", grant.headers_kb));
        }
        let data = collect(body, grant).await?;
        let media_type = parts
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or(if data.is_empty() {
                ""
            } else {
                "application/octet-stream"
            });
        Ok(Answer {
            status: parts.status.as_u16(),
            body: Body {
                media_type: media_type.into(),
                data,
            },
            headers: parts
                .headers
                .iter()
                .filter(|(name, _)| !is_of_host(name) || **name == header::CONTENT_LENGTH)
                .map(|(name, value)| {
                    let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                    (name.as_str().to_owned(), value)
                })
                .collect(),
        })
    }
}

impl Prepared {
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    pub(super) fn message(&self) -> Result<Request<Full<Bytes>>, Refusal> {
        let uri = Uri::try_from(self.url.as_str())
            .map_err(|_| Refusal::invalid("url", "is no address that can be sent"))?;
        let mut message = Request::new(Full::new(self.body.clone()));
        *message.method_mut() = self.method.clone();
        *message.uri_mut() = uri;
        *message.headers_mut() = self.headers.clone();
        Ok(message)
    }
}

/// Checks the size of the head. Method and address count with the fields.
fn check_size(outgoing: &Outgoing, grant: &Grant) -> Result<(), Refusal> {
    let fields = outgoing.headers.iter();
    let fields: usize = fields
        .map(|(name, value)| name.len() + value.len() + 4)
        .sum();
    if outgoing.method.len() + outgoing.url.len() + fields > grant.headers_kb as usize * 1024 {
        let message = format!(
            "together with the address are larger than grants.http.headers_kb = {}",
            grant.headers_kb
        );
        return Err(Refusal::invalid("headers", message));
    }
    Ok(())
}

/// Checks the fields that a guest sets.
fn fields(given: &[(String, String)]) -> Result<HeaderMap, Refusal> {
    let mut headers = HeaderMap::with_capacity(given.len().min(64) + 4);
    for (name, value) in given {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Refusal::invalid("headers", "a name is none"))?;
        if is_of_host(&name) {
            let message = format!("{name} is set by the host");
            return Err(Refusal::invalid("headers", message));
        }
        let value = HeaderValue::from_str(value).map_err(|_| {
            Refusal::invalid(
                "headers",
                format!("{name} has a character that cannot be sent"),
            )
        })?;
        headers
            .try_append(name, value)
            .map_err(|_| Refusal::invalid("headers", "are too many"))?;
    }
    Ok(headers)
}

fn is_of_host(name: &HeaderName) -> bool {
    HOST_FIELDS.contains(name)
        || name.as_str().starts_with("proxy-")
        || name.as_str() == "http2-settings"
}

/// The body of an answer, at most as large as the grant says.
async fn collect(mut body: Incoming, grant: &Grant) -> Result<Bytes, Refusal> {
    let most = grant.response_kb as usize * 1024;
    let too_large = || Refusal::too_large("response_kb", grant.response_kb);
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    // One frame is most of what small answers are: it is taken as it is.
    let mut whole = Bytes::new();
    let mut several = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::unreachable(&error))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if whole.len() + several.len() + data.len() > most {
            return Err(too_large());
        }
        if whole.is_empty() && several.is_empty() {
            whole = data;
        } else {
            if several.is_empty() {
                let expected = whole.len() as u64 + data.len() as u64 + body.size_hint().lower();
                several.reserve(usize::try_from(expected).unwrap_or(most).min(most));
                several.extend_from_slice(&std::mem::take(&mut whole));
            }
            several.extend_from_slice(&data);
        }
    }
    Ok(if several.is_empty() {
        whole
    } else {
        several.freeze()
    })
}
