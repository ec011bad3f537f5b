//! Messages to a registry and where it redirects to, within bounds of time and size.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use url::Url;

/// How long the registry may say nothing.
const SILENCE: Duration = Duration::from_secs(30);
/// The longest time of an upload before the registry answers.
const UPLOAD: Duration = Duration::from_secs(600);
/// The most redirects that are followed.
const REDIRECTS: usize = 5;

/// Connections to registries, kept while the command runs.
pub(super) struct Transport {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Whether plain HTTP is spoken: with registries on this machine.
    plain: bool,
}

/// What is sent.
#[derive(Clone)]
pub(super) struct Message {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    body: Bytes,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Where it came from, after redirects.
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Message {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Result<Self> {
        let value = HeaderValue::from_str(value).context("a header field cannot be sent")?;
        self.headers.insert(name, value);
        Ok(self)
    }

    pub(super) fn with_body(self, body: Bytes) -> Self {
        Self { body, ..self }
    }
}

impl Transport {
    /// # Errors
    /// Where this machine trusts no certificate authority, and the registry is another machine.
    pub(super) fn open(plain: bool) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        if !plain {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                bail!(
                    "this machine trusts no certificate authority: install the package ca-certificates"
                );
            }
        }
        let tls =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .build();
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { client, plain })
    }

    /// Sends a message, follows redirects, and takes an answer of at most so many bytes.
    pub(super) async fn send(&self, mut message: Message, most: usize) -> Result<Answer> {
        for _ in 0..=REDIRECTS {
            let answer = self.once(&message).await?;
            let location = answer.headers().get(header::LOCATION);
            let reads = [Method::GET, Method::HEAD].contains(&message.method);
            // Blobs may lie elsewhere. An upload is never redirected: that would send content where nobody said.
            let (301..=303 | 307 | 308, Some(location), true) =
                (answer.status().as_u16(), location, reads)
            else {
                return take(answer, message.url, most).await;
            };
            let target = location
                .to_str()
                .ok()
                .and_then(|location| message.url.join(location).ok());
            let target = target.context("the registry redirects to what is no address")?;
            if target.origin() != message.url.origin() {
                message.headers.remove(header::AUTHORIZATION);
            }
            message.url = target;
        }
        bail!("the registry redirects more than {REDIRECTS} times")
    }

    async fn once(&self, message: &Message) -> Result<http::Response<Incoming>> {
        let url = &message.url;
        if url.scheme() != "https" && !(self.plain && is_local(url)) {
            bail!(
                "{} is not asked: only https is, but for registries on this machine",
                url.origin().ascii_serialization()
            );
        }
        let mut request = Request::new(Full::new(message.body.clone()));
        *request.method_mut() = message.method.clone();
        *request.uri_mut() = url
            .as_str()
            .parse()
            .context("the registry gives what is no address")?;
        *request.headers_mut() = message.headers.clone();
        request
            .headers_mut()
            .insert(header::USER_AGENT, HeaderValue::from_static("wharf"));
        let time = if message.body.is_empty() {
            SILENCE
        } else {
            UPLOAD
        };
        let place = url.origin().ascii_serialization();
        match tokio::time::timeout(time, self.client.request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                let cause = error.source().map(ToString::to_string).unwrap_or_default();
                Err(anyhow::Error::new(error).context(format!("{place} gave no answer: {cause}")))
            }
            Err(_) => bail!("{place} gave no answer within {} s", time.as_secs()),
        }
    }
}

/// Whether an address is one of this machine.
fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

async fn take(answer: http::Response<Incoming>, url: Url, most: usize) -> Result<Answer> {
    let (parts, mut body) = answer.into_parts();
    let mut data = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(SILENCE, body.frame()).await;
        let Some(frame) = frame.context("the registry fell silent in its answer")? else {
            break;
        };
        let Ok(piece) = frame
            .context("the registry ended its answer early")?
            .into_data()
        else {
            continue;
        };
        if data.len() + piece.len() > most {
            bail!("the registry's answer is larger than {most} bytes");
        }
        data.extend_from_slice(&piece);
    }
    Ok(Answer {
        status: parts.status,
        url,
        headers: parts.headers,
        body: data.freeze(),
    })
}
