//! A server for a test: what it answers is a function of the request.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;
type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
pub(crate) type Handler = Arc<dyn Fn(Request<Incoming>) -> Answering + Send + Sync>;

/// A server, until it is dropped.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

/// What a server speaks.
#[derive(Clone)]
pub(crate) enum Speaks {
    Http1,
    Http2,
    Tls(TlsAcceptor),
}

pub(crate) fn handler<F>(answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> Handler
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    Arc::new(move |request| Box::pin(answer(request)))
}

impl Peer {
    pub(crate) async fn start(speaks: Speaks, handler: Handler) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::on(TcpListener::bind(any).await.unwrap(), speaks, handler)
    }

    /// Starts on a listener.
    pub(crate) fn on(listener: TcpListener, speaks: Speaks, handler: Handler) -> Self {
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let task = tokio::spawn(serve(listener, speaks, handler, Arc::clone(&seen)));
        Self {
            address,
            seen,
            task,
        }
    }

    /// The requests that came to a path that ends so.
    pub(crate) fn seen(&self, ending: &str) -> Vec<Seen> {
        let seen = self.seen.lock();
        seen.iter()
            .filter(|it| it.path.ends_with(ending))
            .cloned()
            .collect()
    }

    /// Ends it, with its connections.
    pub(crate) async fn end(mut self) {
        self.task.abort();
        // It is cancelled: that is no news.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    speaks: Speaks,
    handler: Handler,
    seen: Arc<Mutex<Vec<Seen>>>,
) {
    // Ended with this task.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (speaks, handler, seen) = (speaks.clone(), Arc::clone(&handler), Arc::clone(&seen));
        connections.spawn(async move {
            match speaks {
                Speaks::Http1 => connection(stream, false, handler, seen).await,
                Speaks::Http2 => connection(stream, true, handler, seen).await,
                Speaks::Tls(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        connection(stream, false, handler, seen).await;
                    }
                }
            }
        });
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    http2: bool,
    handler: Handler,
    seen: Arc<Mutex<Vec<Seen>>>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        seen.lock().push(Seen {
            path: request.uri().path().to_owned(),
            headers: request.headers().clone(),
        });
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let io = TokioIo::new(stream);
    // A client that goes ends it with an error.
    let _ = match http2 {
        true => {
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            server.serve_connection(io, service).await
        }
        false => {
            let server = hyper::server::conn::http1::Builder::new();
            server.serve_connection(io, service).await
        }
    };
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

pub(crate) fn status(status: u16, body: &str) -> Response<Body> {
    let mut response = Response::new(full(body.to_owned()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

pub(crate) fn json(document: &Value) -> Response<Body> {
    let mut response = Response::new(full(document.to_string()));
    let media_type = "application/json".parse().unwrap();
    response.headers_mut().insert("content-type", media_type);
    response
}

pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// What a good server of `y = x` says of itself, over REST; none where it is asked to infer.
pub(crate) fn described(request: &Request<Incoming>) -> Option<Response<Body>> {
    match request.uri().path() {
        "/v2" => Some(json(&json!({"extensions": ["binary_tensor_data"]}))),
        "/v2/models/echo" => Some(json(&json!({
            "name": "echo", "versions": ["1"], "platform": "test",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
        }))),
        _ => None,
    }
}

/// Answers an inference with its input, in the form in which it came.
pub(crate) async fn echo(request: Request<Incoming>) -> Response<Body> {
    let length = request.headers().get("inference-header-content-length");
    let length = length.map(|it| it.to_str().unwrap().parse::<usize>().unwrap());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let document: Value = serde_json::from_slice(&body[..length.unwrap_or(body.len())]).unwrap();
    let input = &document["inputs"][0];
    let mut output = json!({"name": "y", "datatype": "FP32", "shape": input["shape"]});
    match length {
        None => {
            output["data"] = input["data"].clone();
            json(&json!({"model_name": "echo", "outputs": [output]}))
        }
        Some(length) => {
            let data = &body[length..];
            output["parameters"] = json!({"binary_data_size": data.len()});
            let document = json!({"model_name": "echo", "outputs": [output]}).to_string();
            let mut response = Response::new(full([document.as_bytes(), data].concat()));
            let length = document.len().into();
            response
                .headers_mut()
                .insert("inference-header-content-length", length);
            response
        }
    }
}

/// A good server of `y = x`.
pub(crate) fn good() -> Handler {
    handler(|request| async move {
        match described(&request) {
            Some(answer) => answer,
            None => echo(request).await,
        }
    })
}

/// One that describes itself well, and answers every inference so.
pub(crate) fn answering(answer: impl Fn() -> Response<Body> + Send + Sync + 'static) -> Handler {
    let answer = Arc::new(answer);
    handler(move |request| {
        let answer = Arc::clone(&answer);
        async move { described(&request).unwrap_or_else(|| answer()) }
    })
}
