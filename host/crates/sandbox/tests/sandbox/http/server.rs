//! Servers for plugins to ask: one that does what a path says, and one that sends given bytes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio_rustls::TlsAcceptor;

/// A server that lives as long as its test.
#[derive(Clone)]
pub(super) struct Server(Arc<Shared>);

struct Shared {
    address: SocketAddr,
    accepted: AtomicUsize,
    open: AtomicUsize,
    asked: Mutex<Vec<String>>,
    waiting: AtomicUsize,
    most_waiting: AtomicUsize,
    arrived: Notify,
    gate: Semaphore,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::serve(None).await
    }

    pub(super) async fn start_tls(acceptor: TlsAcceptor) -> Self {
        Self::serve(Some(acceptor)).await
    }

    async fn serve(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self(Arc::new(Shared {
            address: listener.local_addr().unwrap(),
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            asked: Mutex::default(),
            waiting: AtomicUsize::new(0),
            most_waiting: AtomicUsize::new(0),
            arrived: Notify::new(),
            gate: Semaphore::new(0),
        }));
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepting.0.accepted.fetch_add(1, Ordering::SeqCst);
                accepting.0.open.fetch_add(1, Ordering::SeqCst);
                let (server, tls) = (accepting.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => server.talk(stream).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                server.talk(stream).await;
                            }
                        }
                    }
                    server.0.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        server
    }

    async fn talk(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = service_fn(|request| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        // A client that leaves in the middle is what some tests are about.
        let _ = auto::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    /// Does what the path says.
    async fn answer(&self, request: Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
        let (parts, body) = request.into_parts();
        self.0.asked.lock().push(parts.uri.path().to_owned());
        let query = parts.uri.query().unwrap_or_default();
        let mut response = Response::builder();
        let body = match parts.uri.path() {
            "/redirect" => {
                let (status, to) = query.split_once('&').unwrap();
                response = response.status(status).header("location", to);
                Bytes::new()
            }
            "/hang" => {
                self.0.arrived.notify_one();
                std::future::pending().await
            }
            "/wait" => {
                let waiting = self.0.waiting.fetch_add(1, Ordering::SeqCst) + 1;
                self.0.most_waiting.fetch_max(waiting, Ordering::SeqCst);
                self.0.arrived.notify_one();
                self.0.gate.acquire().await.unwrap().forget();
                self.0.waiting.fetch_sub(1, Ordering::SeqCst);
                Bytes::copy_from_slice(query.as_bytes())
            }
            "/endless" => return response.body(Endless.boxed()).unwrap(),
            "/large" => Bytes::from(vec![b'y'; query.parse().unwrap()]),
            "/gzip" => {
                response = response.header("content-encoding", "gzip");
                Bytes::from_static(b"\x1f\x8b not inflated")
            }
            _ => {
                response = response
                    .status(201)
                    .header("content-type", "application/json")
                    .header("x-protocol", format!("{:?}", parts.version));
                let body = body.collect().await.unwrap().to_bytes();
                let headers: Vec<(String, String)> = parts
                    .headers
                    .iter()
                    .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                    .collect();
                let echo = serde_json::json!({
                    "method": parts.method.as_str(),
                    "target": parts.uri.to_string(),
                    "headers": headers,
                    "body": String::from_utf8_lossy(&body),
                });
                Bytes::from(echo.to_string())
            }
        };
        response.body(Full::new(body).boxed()).unwrap()
    }

    pub(super) fn origin(&self) -> String {
        format!("http://{}", self.0.address)
    }

    pub(super) fn port(&self) -> u16 {
        self.0.address.port()
    }

    /// The paths that were asked for.
    pub(super) fn asked(&self) -> Vec<String> {
        self.0.asked.lock().clone()
    }

    /// The connections so far, and those that are open.
    pub(super) fn connections(&self) -> (usize, usize) {
        let count = |number: &AtomicUsize| number.load(Ordering::SeqCst);
        (count(&self.0.accepted), count(&self.0.open))
    }

    /// Waits until a request to `/hang` or `/wait` is there.
    pub(super) async fn arrived(&self) {
        self.0.arrived.notified().await;
    }

    /// Lets so many requests to `/wait` go on.
    pub(super) fn let_go(&self, requests: usize) {
        self.0.gate.add_permits(requests);
    }

    /// The requests that wait now, and the most that ever did at one time.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let count = |number: &AtomicUsize| number.load(Ordering::SeqCst);
        (count(&self.0.waiting), count(&self.0.most_waiting))
    }
}

/// A body without an end.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static BLOCK: [u8; 16_384] = [b'z'; 16_384];
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&BLOCK)))))
    }
}

/// What becomes of a connection after the bytes.
#[derive(Clone, Copy)]
pub(super) enum Then {
    Close,
    Hold,
}

/// A server that reads something, sends these bytes, and closes or goes silent. Gives its origin.
pub(super) async fn raw(bytes: Vec<u8>, then: Then) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let bytes = bytes.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(&bytes).await;
                match then {
                    Then::Close => drop(stream),
                    Then::Hold => {
                        // Until the client has enough of it.
                        let _ = stream.read(&mut request).await;
                    }
                }
            });
        }
    });
    origin
}
