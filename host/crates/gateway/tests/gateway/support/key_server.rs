//! A server of key sets that does as it is told.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::{Signer, key_set};

/// What a server answers.
#[derive(Clone)]
pub(crate) enum Answer {
    /// These bytes, and these fields.
    Set(String, Vec<(&'static str, String)>),
    Status(u16),
    RedirectTo(String),
    /// Nothing, ever.
    Silence,
}

#[derive(Clone)]
pub(crate) struct KeyServer(Arc<Shared>);

struct Shared {
    address: SocketAddr,
    answer: Mutex<Answer>,
    asked: AtomicUsize,
    /// Requests that were answered with 304.
    unchanged: AtomicUsize,
    /// Each request takes one.
    permits: Semaphore,
}

impl KeyServer {
    /// One that has the keys of these.
    pub(crate) async fn start(signers: &[&Signer]) -> Self {
        Self::serve(signers, None).await
    }

    pub(crate) async fn serve(signers: &[&Signer], tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self(Arc::new(Shared {
            address: listener.local_addr().unwrap(),
            answer: Mutex::new(Answer::Status(500)),
            asked: AtomicUsize::new(0),
            unchanged: AtomicUsize::new(0),
            permits: Semaphore::new(1_000_000),
        }));
        server.has(signers);
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
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
        // A client that gives up is what some tests are about.
        let _ = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.0.asked.fetch_add(1, SeqCst);
        self.0.permits.acquire().await.unwrap().forget();
        let answer = self.0.answer.lock().clone();
        let status = |status: u16| Response::builder().status(status);
        match answer {
            Answer::Set(document, fields) => {
                let tag = fields.iter().find(|(name, _)| *name == "etag");
                let asked = request.headers().get("if-none-match");
                let mut response = status(200);
                let mut body = Bytes::from(document);
                if let (Some((_, tag)), Some(asked)) = (tag, asked)
                    && asked == tag.as_str()
                {
                    self.0.unchanged.fetch_add(1, SeqCst);
                    response = status(StatusCode::NOT_MODIFIED.as_u16());
                    body = Bytes::new();
                }
                for (name, value) in fields {
                    response = response.header(name, value);
                }
                response.body(Full::new(body)).unwrap()
            }
            Answer::Status(code) => status(code).body(Full::default()).unwrap(),
            Answer::RedirectTo(place) => {
                let redirect = status(302).header("location", place);
                redirect.body(Full::default()).unwrap()
            }
            Answer::Silence => std::future::pending().await,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/keys", self.0.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.address.port()
    }

    pub(crate) fn answers(&self, answer: Answer) {
        *self.0.answer.lock() = answer;
    }

    /// Publishes the keys of these.
    pub(crate) fn has(&self, signers: &[&Signer]) {
        self.answers(Answer::Set(key_set(signers).to_string(), Vec::new()));
    }

    /// Lets so many more requests through, and holds those after them.
    pub(crate) fn hold_after(&self, requests: usize) {
        self.0.permits.forget_permits(usize::MAX >> 4);
        self.0.permits.add_permits(requests);
    }

    pub(crate) fn let_go(&self, requests: usize) {
        self.0.permits.add_permits(requests);
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.0.asked.load(SeqCst)
    }

    /// How often what it has was what the other side had.
    pub(crate) fn unchanged(&self) -> usize {
        self.0.unchanged.load(SeqCst)
    }
}

/// A listener that nobody may connect to. Gives its address, and what says how often somebody did.
pub(crate) async fn untouched() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/keys", listener.local_addr().unwrap());
    let touched = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&touched);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counting.fetch_add(1, SeqCst);
        }
    });
    (address, touched)
}
