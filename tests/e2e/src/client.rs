//! A small HTTP client: one connection, kept alive, over HTTP/1.1 or HTTP/2, with TLS or without.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::http::HeaderMap;
use hyper::{Method, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::LONG_PATIENCE;

/// What a client asks.
#[derive(Clone, Debug)]
pub struct Request {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Request {
    /// Asks for a resource.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// Posts bytes of a media type.
    #[must_use]
    pub fn post(path: impl Into<String>, media_type: &str, body: impl Into<Bytes>) -> Self {
        let headers = vec![(CONTENT_TYPE.to_string(), media_type.to_owned())];
        Self {
            method: Method::POST,
            path: path.into(),
            headers,
            body: body.into(),
        }
    }

    /// Posts a JSON document.
    #[must_use]
    pub fn json(path: impl Into<String>, body: &Value) -> Self {
        Self::post(path, "application/json", body.to_string())
    }

    /// Sends it by another method, with a body of bytes.
    #[must_use]
    pub fn by(mut self, method: Method, body: impl Into<Bytes>) -> Self {
        self.method = method;
        self.body = body.into();
        self
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// What the server answered.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// The fields behind the body.
    pub trailers: HeaderMap,
}

impl Response {
    /// Gives the body of a 200 answer as JSON.
    ///
    /// # Errors
    /// Where the status is another, or the body is not JSON.
    pub fn ok(&self) -> Result<Value> {
        self.accepted()?;
        self.parse()
    }

    /// Checks that the status is 200, whatever the body.
    ///
    /// # Errors
    /// Where it is another.
    pub fn accepted(&self) -> Result<()> {
        ensure!(
            self.status == StatusCode::OK,
            "status {}: {}",
            self.status,
            self.text()
        );
        Ok(())
    }

    /// Gives the problem document of a refusal, and checks what holds for all of them: the media type, the members, and
    /// that nothing of the server's inside is told.
    ///
    /// # Errors
    /// Where the status is another, or the document is not as it must be.
    pub fn problem(&self, status: u16) -> Result<Value> {
        let text = self.text();
        ensure!(
            self.status == status,
            "expected {status}, got {}: {text}",
            self.status
        );
        let media_type = self
            .headers
            .get(CONTENT_TYPE)
            .map_or(&b""[..], |value| value.as_bytes());
        ensure!(
            media_type.starts_with(b"application/problem+json"),
            "not a problem document: {text}"
        );
        let problem = self.parse()?;
        ensure!(
            problem["status"] == status,
            "the member `status` differs: {text}"
        );
        for member in ["type", "title", "detail", "error"] {
            ensure!(
                problem[member].is_string(),
                "the member `{member}` is missing: {text}"
            );
        }
        for inside in [
            "/tmp/",
            "/root/",
            "/home/",
            ".rs:",
            "wasm backtrace",
            "wasmtime",
            "onnxruntime/",
        ] {
            ensure!(
                !text.contains(inside),
                "the answer tells of the server's inside ({inside}): {text}"
            );
        }
        Ok(problem)
    }

    /// Gives the body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn parse(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }
}

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// A client with one connection, opened at the first request and again when the server has closed it in between.
pub struct Client {
    address: SocketAddr,
    protocol: Protocol,
    tls: Option<Arc<ClientConfig>>,
    connection: Option<Connection>,
}

enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    /// Makes a client for HTTP/1.1.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self::with_protocol(address, Protocol::Http1)
    }

    /// Makes a client for a protocol.
    #[must_use]
    pub fn with_protocol(address: SocketAddr, protocol: Protocol) -> Self {
        Self {
            address,
            protocol,
            tls: None,
            connection: None,
        }
    }

    /// Speaks TLS, with a server whose certificate is for `localhost`.
    #[must_use]
    pub fn over_tls(mut self, trust: &ClientConfig) -> Self {
        let mut tls = trust.clone();
        let protocol: &[u8] = match self.protocol {
            Protocol::Http1 => b"http/1.1",
            Protocol::Http2 => b"h2",
        };
        tls.alpn_protocols = vec![protocol.to_vec()];
        self.tls = Some(Arc::new(tls));
        self
    }

    /// Sends a request and reads the whole answer. Dropping the future closes an HTTP/1.1 connection, and resets a stream of
    /// HTTP/2.
    ///
    /// # Errors
    /// Where the connection fails, or there is no answer within [`LONG_PATIENCE`]; a refusal is a [`Response`].
    pub async fn send(&mut self, request: &Request) -> Result<Response> {
        // A server that hangs would otherwise hold up the test for ever, without a word.
        let answered = timeout(LONG_PATIENCE, Box::pin(self.exchange(request))).await;
        answered.with_context(|| {
            format!(
                "no answer to {} {} within {} s",
                request.method,
                request.path,
                LONG_PATIENCE.as_secs()
            )
        })?
    }

    async fn exchange(&mut self, request: &Request) -> Result<Response> {
        // Taken out, so that a request that is given up leaves no half-read connection behind.
        let mut connection = match self.connection.take() {
            Some(connection) if connection.is_open() => connection,
            _ => self.connect().await?,
        };
        // Over HTTP/2 only its stream is reset.
        if let Connection::Http2(sender) = &connection {
            self.connection = Some(Connection::Http2(sender.clone()));
        }
        let response = connection.send(self.build(request)?).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.context("the answer broke off")?;
        self.connection = Some(connection);
        Ok(Response {
            status: head.status,
            headers: head.headers,
            trailers: body.trailers().cloned().unwrap_or_default(),
            body: body.to_bytes(),
        })
    }

    /// Asks for a resource.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn get(&mut self, path: &str) -> Result<Response> {
        self.send(&Request::get(path)).await
    }

    /// Posts a JSON document.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn post(&mut self, path: &str, body: &Value) -> Result<Response> {
        self.send(&Request::json(path, body)).await
    }

    fn build(&self, request: &Request) -> Result<hyper::Request<Full<Bytes>>> {
        let uri = match self.protocol {
            Protocol::Http1 => request.path.clone(),
            Protocol::Http2 if self.tls.is_some() => {
                format!("https://{}{}", self.address, request.path)
            }
            Protocol::Http2 => format!("http://{}{}", self.address, request.path),
        };
        let mut builder = hyper::Request::builder().method(&request.method).uri(uri);
        if self.protocol == Protocol::Http1 {
            builder = builder.header(HOST, self.address.to_string());
        }
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        Ok(builder.body(Full::new(request.body.clone()))?)
    }

    async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(self.address)
            .await
            .context("cannot connect")?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return self.handshake(stream).await;
        };
        let name = ServerName::try_from("localhost")?;
        // Set aside: most clients do without.
        let connecting = Box::pin(TlsConnector::from(Arc::clone(tls)).connect(name, stream));
        let stream = connecting.await.context("TLS fails")?;
        Box::pin(self.handshake(stream)).await
    }

    async fn handshake(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Connection> {
        let io = TokioIo::new(stream);
        // The connection's task ends with the sender that is returned here; its errors reach the request that meets them.
        Ok(match self.protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection);
                Connection::Http1(sender)
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(connection);
                Connection::Http2(sender)
            }
        })
    }
}

impl Connection {
    fn is_open(&self) -> bool {
        match self {
            Self::Http1(sender) => !sender.is_closed(),
            Self::Http2(sender) => !sender.is_closed(),
        }
    }

    async fn send(
        &mut self,
        request: hyper::Request<Full<Bytes>>,
    ) -> Result<hyper::Response<hyper::body::Incoming>> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await.context("the connection was closed")?;
                sender
                    .send_request(request)
                    .await
                    .context("the request failed")
            }
            Self::Http2(sender) => {
                sender.ready().await.context("the connection was closed")?;
                sender
                    .send_request(request)
                    .await
                    .context("the request failed")
            }
        }
    }
}
