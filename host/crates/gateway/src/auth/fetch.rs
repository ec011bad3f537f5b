//! Fetches a key set: one request, within bounds of time and size. Redirects are not followed: where keys come from is the operator's
//! word.

use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;

use super::settings::Wrong;
use crate::tls;

/// The longest time from connecting to the last byte.
pub(super) const TIME: Duration = Duration::from_secs(5);
/// The largest key set.
const BODY_BYTES: usize = 1 << 20;
/// The largest header of an answer.
const HEADER_BYTES: usize = 64 << 10;

/// Asks one address.
pub(super) struct Fetcher {
    address: Uri,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

/// What came.
pub(super) struct Fetched {
    /// The set; none where it is the one that was there before.
    pub(super) document: Option<Bytes>,
    /// By what the next request tells which set is there.
    pub(super) tag: Option<HeaderValue>,
    /// How long the set may be taken for the newest.
    pub(super) max_age: Option<Duration>,
}

/// Why nothing came.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("there was no whole answer within {} s", TIME.as_secs())]
    Time,
    #[error("there was no answer: {0}")]
    Connection(String),
    #[error(
        "the answer is a redirect, {0}, and none is followed: name the address that it leads to"
    )]
    Redirect(StatusCode),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("the answer has more than {BODY_BYTES} bytes")]
    TooLarge,
    #[error("the answer {0}")]
    Document(String),
}

impl Fetcher {
    /// # Errors
    /// Where there is no authority that the other side could be known by.
    pub(super) fn new(address: Uri, ca_file: Option<&str>, site: &Path) -> Result<Self, Wrong> {
        let is_secure = address.scheme_str() == Some("https");
        let tls = if is_secure {
            tls::client(ca_file, site).map_err(|why| ("ca_file", why))?
        } else {
            tls::client_that_trusts(RootCertStore::empty())
        };
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls);
        let connector = if is_secure {
            connector.https_only()
        } else {
            connector.https_or_http()
        };
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            // It is asked every few minutes: nothing is kept open for that.
            .pool_max_idle_per_host(0)
            .http1_max_buf_size(HEADER_BYTES)
            .http2_max_header_list_size(HEADER_BYTES as u32)
            .build(connector.enable_all_versions().build());
        Ok(Self { address, client })
    }

    /// Asks for the set, unless it is the one with this tag.
    ///
    /// # Errors
    /// Where there is no good answer in time.
    pub(super) async fn fetch(&self, tag: Option<&HeaderValue>) -> Result<Fetched, FetchError> {
        tokio::time::timeout(TIME, self.ask(tag))
            .await
            .map_err(|_| FetchError::Time)?
    }

    async fn ask(&self, tag: Option<&HeaderValue>) -> Result<Fetched, FetchError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.address.clone();
        let fields = request.headers_mut();
        fields.insert(header::USER_AGENT, HeaderValue::from_static("wharf"));
        let accept = "application/jwk-set+json, application/json";
        fields.insert(header::ACCEPT, HeaderValue::from_static(accept));
        if let Some(tag) = tag {
            fields.insert(header::IF_NONE_MATCH, tag.clone());
        }
        let answer = self.client.request(request).await.map_err(|error| {
            let cause = error.source().map(ToString::to_string);
            FetchError::Connection(cause.unwrap_or_else(|| error.to_string()))
        })?;
        let (parts, body) = answer.into_parts();
        let document = match parts.status {
            StatusCode::OK => {
                let body = Limited::new(body, BODY_BYTES).collect().await;
                Some(body.map_err(|error| broken(error.as_ref()))?.to_bytes())
            }
            StatusCode::NOT_MODIFIED if tag.is_some() => None,
            status if status.is_redirection() => return Err(FetchError::Redirect(status)),
            status => return Err(FetchError::Status(status)),
        };
        Ok(Fetched {
            document,
            tag: parts.headers.get(header::ETAG).or(tag).cloned(),
            max_age: max_age(&parts.headers),
        })
    }
}

fn broken(error: &(dyn std::error::Error + 'static)) -> FetchError {
    if error.is::<LengthLimitError>() {
        FetchError::TooLarge
    } else {
        FetchError::Connection(error.to_string())
    }
}

/// How long an answer says that it is fresh.
fn max_age(fields: &HeaderMap) -> Option<Duration> {
    let control = fields.get(header::CACHE_CONTROL)?.to_str().ok()?;
    let mut directives = control.split(',').map(str::trim);
    let seconds = |directive: &str| {
        if ["no-cache", "no-store"].contains(&directive) {
            return Some(0);
        }
        let (name, seconds) = directive.split_once('=')?;
        let seconds = seconds.trim_matches('"').parse().ok()?;
        name.eq_ignore_ascii_case("max-age").then_some(seconds)
    };
    directives.find_map(seconds).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_how_long_it_is_fresh() {
        for (control, seconds) in [
            ("max-age=60", Some(60)),
            ("public, Max-Age=\"5\", must-revalidate", Some(5)),
            ("no-store", Some(0)),
            ("public", None),
            ("max-age=soon", None),
            ("s-maxage=9", None),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert(header::CACHE_CONTROL, HeaderValue::from_static(control));
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(max_age(&fields), expected, "{control}");
        }
        assert_eq!(max_age(&HeaderMap::new()), None);
    }
}
