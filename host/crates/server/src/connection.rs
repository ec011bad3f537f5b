//! One connection: which protocol it speaks, how long it may wait, and how it ends.
//!
//! hyper's own header timeout also ends idle connections and makes a timer for every request. Here the stream notes when
//! a header began and when a write got stuck, and one slow tick a connection looks at the notes.

mod frames;
mod framing;
mod linger;
mod socket;
mod stream;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::app::{AnswerBody, App};
use crate::config::Limits;
use crate::grpc::{self, Connected};
use crate::tls::Tls;
pub(crate) use framing::Malformed;
use socket::Socket;
use stream::Stream;
pub(crate) use watch::Watch;
use watch::{Overdue, Ticker};

const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Streams that a client opened and reset before they were looked at; hyper's default, said here because it is what stops
/// a rapid reset.
const MAX_PENDING_RESETS: usize = 20;
/// Streams that broke the protocol, each of which costs an answer.
const MAX_ERROR_RESETS: usize = 64;
/// What an HTTP/2 client may send before it is read, of one stream and of all: a picture fits.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// The most bytes of the future that answers a request: it is set aside and moved for each.
const MAX_FUTURE: usize = 6 << 10;

/// What every connection of a listener is served with.
pub(crate) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    limits: Limits,
    app: Arc<App>,
    tls: Option<Arc<Tls>>,
}

/// When connections end that would go on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending {
    /// Connections finish what is in flight, and take nothing new.
    pub(crate) drain: CancellationToken,
    /// Connections are cut.
    pub(crate) cut: CancellationToken,
}

impl Protocols {
    pub(crate) fn new(limits: Limits, app: Arc<App>, tls: Option<Arc<Tls>>) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            // Flushing pipelines at once loses the answer to a request that is refused while bytes are left unread.
            .pipeline_flush(false)
            .max_header_size(limits.max_header_bytes);
        // Naming a number makes hyper allocate for each request, and 100 is what it uses when none is named.
        if limits.max_headers != 100 {
            http1.max_headers(limits.max_headers);
        }
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_concurrent_streams)
            .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_local_error_reset_streams(MAX_ERROR_RESETS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(limits.idle_timeout)
            .keep_alive_timeout(limits.header_timeout);
        Self {
            http1,
            http2,
            limits,
            app,
            tls,
        }
    }

    /// Serves a connection to its end.
    pub(crate) async fn serve(&self, socket: TcpStream, peer: SocketAddr, ending: &Ending) {
        let watch = Arc::new(Watch::of(peer));
        let latest = Instant::now() + self.limits.header_timeout;
        let opening = async {
            let socket = match &self.tls {
                None => Socket::Plain(socket),
                // Boxed, so that a connection without TLS has no room for it.
                Some(tls) => Socket::Tls(Box::new(Box::pin(tls.accept(socket, latest)).await?)),
            };
            sniff(socket).await
        };
        let sniffed = tokio::select! {
            biased;
            sniffed = tokio::time::timeout_at(latest, opening) => sniffed,
            () = ending.drain.cancelled() => return,
        };
        let result = match sniffed {
            Err(_) => return tracing::debug!("connection closed: no request in time"),
            Ok(Err(error)) => return tracing::debug!(%error, "connection closed"),
            Ok(Ok((Protocol::Http1, prefix, socket))) => {
                let io = TokioIo::new(Stream::http1(socket, prefix, Arc::clone(&watch)));
                let connection = self.http1.serve_connection(io, self.service(&watch));
                self.drive(connection, &watch, ending).await
            }
            Ok(Ok((Protocol::Http2, prefix, socket))) => {
                let io = TokioIo::new(Stream::http2(socket, prefix, Arc::clone(&watch)));
                let service = self.service_http2(&watch, ending);
                let connection = self.http2.serve_connection(io, service);
                self.drive(connection, &watch, ending).await
            }
        };
        if let Err(error) = result {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "connection closed"
            );
        }
        if let Some(socket) = watch.take_left() {
            linger::linger(socket).await;
        }
    }

    fn service(
        &self,
        watch: &Arc<Watch>,
    ) -> impl hyper::service::HttpService<
        Incoming,
        ResBody = AnswerBody,
        Error = std::convert::Infallible,
        Future: Send + 'static,
    > + use<> {
        let (app, watch) = (Arc::clone(&self.app), Arc::clone(watch));
        service_fn(move |request: Request<Incoming>| {
            let (app, watch) = (Arc::clone(&app), Arc::clone(&watch));
            let answering =
                async move { Ok::<Response<AnswerBody>, _>(app.handle(&watch, request).await) };
            debug_assert!(size_of_val(&answering) <= MAX_FUTURE);
            answering
        })
    }

    /// As [`Self::service`], where calls of gRPC may be among the requests.
    fn service_http2(
        &self,
        watch: &Arc<Watch>,
        ending: &Ending,
    ) -> impl hyper::service::HttpService<
        Incoming,
        ResBody = AnswerBody,
        Error = std::convert::Infallible,
        Future: Send + 'static,
    > + use<> {
        let connected = Arc::new(Connected {
            app: Arc::clone(&self.app),
            watch: Arc::clone(watch),
            drain: ending.drain.clone(),
        });
        service_fn(move |request: Request<Incoming>| {
            let connected = Arc::clone(&connected);
            let answering = async move {
                let response = if grpc::is_call(&connected, &request) {
                    grpc::handle(connected, request).await
                } else {
                    connected.app.handle(&connected.watch, request).await
                };
                Ok::<Response<AnswerBody>, _>(response)
            };
            debug_assert!(size_of_val(&answering) <= MAX_FUTURE);
            // The task of a stream is moved some five times until it runs, and once more when it ends.
            Box::pin(answering)
        })
    }

    async fn drive<C: Graceful>(
        &self,
        connection: C,
        watch: &Watch,
        ending: &Ending,
    ) -> hyper::Result<()> {
        let mut connection = std::pin::pin!(connection);
        let (drain, cut) = (ending.drain.cancelled(), ending.cut.cancelled());
        let (mut drain, mut cut) = (std::pin::pin!(drain), std::pin::pin!(cut));
        let mut is_draining = false;
        let mut ticker = Ticker::new(&self.limits);
        loop {
            tokio::select! {
                biased;
                // First, so that a request pays for the others only when the connection waits for its client.
                result = connection.as_mut() => return result,
                () = &mut drain, if !is_draining => {
                    is_draining = true;
                    connection.as_mut().graceful();
                }
                // After the drain alone: looking at either takes locks that all connections share.
                () = &mut cut, if is_draining => {
                    tracing::debug!("connection cut: it did not finish in time");
                    watch.abandon();
                    return Ok(());
                }
                () = ticker.tick() => match ticker.look(watch) {
                    None => {}
                    Some(Overdue::Idle) => connection.as_mut().graceful(),
                    Some(overdue) => {
                        tracing::debug!(?overdue, "connection closed: the client took too long");
                        watch.abandon();
                        return Ok(());
                    }
                },
            }
        }
    }
}

/// A connection of either protocol.
trait Graceful: Future<Output = hyper::Result<()>> {
    /// Finishes what is in flight and takes nothing new.
    fn graceful(self: std::pin::Pin<&mut Self>);
}

impl<I, S, B> Graceful for http1::Connection<I, S>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn graceful(self: std::pin::Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S, B> Graceful for http2::Connection<I, S, TokioExecutor>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send + 'static,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn graceful(self: std::pin::Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

enum Protocol {
    Http1,
    Http2,
}

/// Reads until the bytes differ from the preface of HTTP/2, or are it.
async fn sniff(mut socket: Socket) -> std::io::Result<(Protocol, Vec<u8>, Socket)> {
    let mut prefix = Vec::with_capacity(4096);
    loop {
        if socket.read_buf(&mut prefix).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let seen = prefix.len().min(H2_PREFACE.len());
        if prefix[..seen] != H2_PREFACE[..seen] {
            return Ok((Protocol::Http1, prefix, socket));
        }
        if seen == H2_PREFACE.len() {
            return Ok((Protocol::Http2, prefix, socket));
        }
    }
}
