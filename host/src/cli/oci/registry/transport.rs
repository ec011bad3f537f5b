//! Messages to a registry and where it redirects to, within bounds of time and size.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use url::Url;

use crate::cli::oci::content::{Content, Sending};

/// How long the registry may say nothing.
const SILENCE: Duration = Duration::from_secs(30);
/// The longest time of an upload before the registry answers, beside a second for each MiB.
const UPLOAD: Duration = Duration::from_secs(600);
/// The most redirects that are followed.
const REDIRECTS: usize = 5;

/// Connections to registries, kept while the command runs.
pub(super) struct Transport {
    client: Client<HttpsConnector<HttpConnector>, Sending>,
    /// Whether plain HTTP is spoken: with registries on this machine.
    plain: bool,
}

/// What is sent.
#[derive(Clone)]
pub(super) struct Message {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    body: Content,
}

/// What comes back, before its body is read.
pub(super) struct Opened {
    pub(super) status: StatusCode,
    /// Where it comes from, after redirects.
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    body: Incoming,
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
            body: Content::Bytes(Bytes::new()),
        }
    }

    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Result<Self> {
        let value = HeaderValue::from_str(value).context("a header field cannot be sent")?;
        self.headers.insert(name, value);
        Ok(self)
    }

    pub(super) fn with_body(self, body: Content) -> Self {
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
    pub(super) async fn send(&self, message: Message, most: usize) -> Result<Answer> {
        self.begin(message).await?.take(most).await
    }

    /// Sends a message, and follows redirects.
    pub(super) async fn begin(&self, mut message: Message) -> Result<Opened> {
        for _ in 0..=REDIRECTS {
            let answer = self.once(&message).await?;
            let location = answer.headers().get(header::LOCATION);
            let reads = [Method::GET, Method::HEAD].contains(&message.method);
            // Blobs may lie elsewhere. An upload is never redirected: that would send content where nobody said.
            let (301..=303 | 307 | 308, Some(location), true) =
                (answer.status().as_u16(), location, reads)
            else {
                return Ok(Opened::new(answer, message.url));
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
        let body = message.body.send().context("what is sent cannot be read")?;
        let mut request = Request::new(body);
        *request.method_mut() = message.method.clone();
        *request.uri_mut() = url
            .as_str()
            .parse()
            .context("the registry gives what is no address")?;
        *request.headers_mut() = message.headers.clone();
        request
            .headers_mut()
            .insert(header::USER_AGENT, HeaderValue::from_static("wharf"));
        let time = match message.body.len() {
            0 => SILENCE,
            bytes => UPLOAD + Duration::from_secs(bytes >> 20),
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

impl Opened {
    fn new(answer: http::Response<Incoming>, url: Url) -> Self {
        let (parts, body) = answer.into_parts();
        Self {
            status: parts.status,
            url,
            headers: parts.headers,
            body,
        }
    }

    /// The next piece of the body; none at its end.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>> {
        loop {
            let frame = tokio::time::timeout(SILENCE, self.body.frame()).await;
            let Some(frame) = frame.context("the registry fell silent in its answer")? else {
                return Ok(None);
            };
            if let Ok(piece) = frame
                .context("the registry ended its answer early")?
                .into_data()
            {
                return Ok(Some(piece));
            }
        }
    }

    /// Takes a body of at most so many bytes.
    pub(super) async fn take(mut self, most: usize) -> Result<Answer> {
        let mut data = BytesMut::new();
        while let Some(piece) = self.piece().await? {
            if data.len() + piece.len() > most {
                bail!("the registry's answer is larger than {most} bytes");
            }
            data.extend_from_slice(&piece);
        }
        Ok(Answer {
            status: self.status,
            url: self.url,
            headers: self.headers,
            body: data.freeze(),
        })
    }
}
