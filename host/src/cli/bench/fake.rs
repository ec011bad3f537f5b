//! A server for the tests, which answers as it is told.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A request that came in whole.
pub(super) struct Asked {
    /// How many came before it.
    pub(super) number: u64,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What the server does about it.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    pub(super) delay: Duration,
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, &'static str)>,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn new(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            body: body.into(),
            ..Self::default()
        }
    }
}

/// A server for HTTP/1.1 and HTTP/2, which ends with this value.
pub(super) struct FakeServer {
    pub(super) address: SocketAddr,
    task: JoinHandle<()>,
}

impl FakeServer {
    pub(super) async fn start(reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (reply, count) = (Arc::new(reply), Arc::new(AtomicU64::new(0)));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (reply, count) = (Arc::clone(&reply), Arc::clone(&count));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (reply, count) = (Arc::clone(&reply), Arc::clone(&count));
                    async move {
                        let asked = whole(request, &count).await;
                        Ok::<_, Infallible>(answer(reply(&asked)).await)
                    }
                });
                tokio::spawn(async move {
                    // Clients of the tests leave when they like.
                    let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, task }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn whole(request: Request<Incoming>, count: &AtomicU64) -> Asked {
    let number = count.fetch_add(1, Ordering::SeqCst);
    let (head, body) = request.into_parts();
    Asked {
        number,
        path: head.uri.path().to_owned(),
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

async fn answer(reply: Reply) -> Response<Full<Bytes>> {
    tokio::time::sleep(reply.delay).await;
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Full::from(reply.body)).unwrap()
}
