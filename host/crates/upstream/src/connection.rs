//! Connections to the endpoints of an upstream: made within a time, counted, kept while they are idle.

mod counted;
mod lanes;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Uri};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Builder, Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::sync::Semaphore;
use tower::Service;

use crate::body::Outgoing;
use crate::settings::{Protocol, Settings};
use counted::Counted;

pub(crate) use counted::Used;
pub(crate) use lanes::{Lane, Lanes};

/// The most that the header of an answer may have.
const HEADER_BYTES: u32 = 64 << 10;

/// The most header fields of an answer.
const HEADER_FIELDS: usize = 256;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The connections of an upstream: a pool for each lane.
pub(crate) struct Connections {
    pools: Mutex<Vec<Client<Connector, Outgoing>>>,
    builder: Builder,
    connector: Connector,
}

/// As many connections to an endpoint are open as may be.
#[derive(Debug, thiserror::Error)]
#[error("max_connections = {0} are open")]
pub(crate) struct TooMany(pub(crate) usize);

/// What TLS is made with, where an endpoint wants it.
pub(crate) struct Secured {
    pub(crate) config: ClientConfig,
    pub(crate) name: Option<ServerName<'static>>,
}

impl Connections {
    /// Makes those to the endpoints of these settings. None is open yet.
    pub(crate) fn new(settings: &Settings, tls: Option<Secured>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        let transport = match tls {
            Some(tls) => Transport::Tls(https(tcp, tls, settings.protocol)),
            None => Transport::Plain(tcp),
        };
        let places = settings.addresses.iter().map(|address| {
            let places = Semaphore::new(settings.max_connections);
            (address.authority().to_string(), Arc::new(places))
        });
        let connector = Connector {
            transport,
            places: Arc::new(places.collect()),
            most: settings.max_connections,
            time: settings.connect_timeout,
        };
        Self {
            pools: Mutex::default(),
            builder: builder(settings),
            connector,
        }
    }

    /// Sends a request over a connection of a lane.
    pub(crate) fn request(&self, lane: &Lane, message: Request<Outgoing>) -> ResponseFuture {
        let mut pools = self.pools.lock();
        while pools.len() <= lane.index() {
            pools.push(self.builder.build(self.connector.clone()));
        }
        pools[lane.index()].request(message)
    }
}

fn builder(settings: &Settings) -> Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(settings.idle)
        .pool_max_idle_per_host(settings.max_connections)
        .http1_max_buf_size(HEADER_BYTES as usize)
        .http1_max_headers(HEADER_FIELDS)
        .http2_only(settings.protocol == Protocol::OipGrpc)
        .http2_max_header_list_size(HEADER_BYTES)
        // As HTTP/1.1 leaves it to TCP: a tensor must not wait for a window's update every 64 KiB.
        .http2_adaptive_window(true)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .http2_keep_alive_timeout(Duration::from_secs(10));
    builder
}

fn https(tcp: HttpConnector, tls: Secured, protocol: Protocol) -> HttpsConnector<HttpConnector> {
    let builder = HttpsConnectorBuilder::new()
        .with_tls_config(tls.config)
        .https_or_http();
    let builder = match tls.name {
        Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name)),
        None => builder,
    };
    match protocol {
        Protocol::OipGrpc => builder.enable_http2().wrap_connector(tcp),
        Protocol::OipHttp | Protocol::Http => builder.enable_all_versions().wrap_connector(tcp),
    }
}

/// Makes connections.
#[derive(Clone)]
pub(crate) struct Connector {
    transport: Transport,
    /// By host and port.
    places: Arc<HashMap<String, Arc<Semaphore>>>,
    most: usize,
    time: Duration,
}

#[derive(Clone)]
enum Transport {
    Plain(HttpConnector),
    Tls(HttpsConnector<HttpConnector>),
}

impl Service<Uri> for Connector {
    type Response = Counted;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Counted, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &mut self.transport {
            Transport::Plain(tcp) => tcp.poll_ready(context).map_err(Into::into),
            Transport::Tls(tls) => tls.poll_ready(context),
        }
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let place = self.place(&uri);
        let (most, time) = (self.most, self.time);
        let mut transport = self.transport.clone();
        Box::pin(async move {
            let place = place
                .ok_or("the address is none of the endpoints")?
                .try_acquire_owned()
                .map_err(|_| TooMany(most))?;
            let connecting = async {
                match &mut transport {
                    Transport::Plain(tcp) => {
                        let stream = tcp.call(uri).await?;
                        Ok::<_, BoxError>(hyper_rustls::MaybeHttpsStream::Http(stream))
                    }
                    Transport::Tls(tls) => tls.call(uri).await,
                }
            };
            let stream = tokio::time::timeout(time, connecting).await??;
            Ok(Counted::new(stream, place))
        })
    }
}

impl Connector {
    fn place(&self, uri: &Uri) -> Option<Arc<Semaphore>> {
        let host = uri.host()?;
        let default = if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        };
        let port = uri.port_u16().unwrap_or(default);
        self.places.get(&format!("{host}:{port}")).map(Arc::clone)
    }
}
