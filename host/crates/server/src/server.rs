//! The listeners: bound first, then served until the server is told to stop, then drained.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use opentelemetry::metrics::Meter;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wharf_core::Gatekeeper;
use wharf_serving::Serving;

use crate::access_log::{self, AccessLog, Writer};
use crate::app::{App, AppHandle};
use crate::budget::BodyBudget;
use crate::config::{Clients, Config, ConfigError, Limits};
use crate::connection::{Ending, Protocols};
use crate::endpoint::Surface;
use crate::management::Operations;
use crate::metrics::{LostLines, Metrics, TlsMetrics};
use crate::oip::logging::LogControl;
use crate::oip::shared_memory::SharedMemory;
use crate::oip::tracing::Tracing;
use crate::request_id::RequestIds;
use crate::tls::{Section, Tls};
use crate::{admin, catalog};

/// Connections that the system may hold until they are accepted.
const BACKLOG: u32 = 1024;
/// How long accepting rests when the process has no file descriptors left: some connection must end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long connections that are cut have to notice.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);

/// How the server is observed.
#[derive(Clone)]
pub struct Observability {
    /// Where the metrics of the server are made.
    pub meter: Meter,
    /// Gives every metric of the process, in the text format of Prometheus.
    pub metrics_text: Arc<dyn Fn() -> String + Send + Sync>,
    /// Whether spans are exported. Without, requests make none.
    pub traces: bool,
    /// The log, where clients may see and change its settings.
    pub logging: Option<Arc<dyn LogControl>>,
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {address} (server.{key}): {source}; is another server running there?"
    )]
    Listen {
        /// The key of the address.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// The server: both listeners, bound and not yet served.
pub struct Server {
    public: Listener,
    admin: Listener,
    drain_timeout: Duration,
    /// What writes the access log, where there is one.
    writer: Option<Writer>,
}

impl Server {
    /// Checks the settings and binds both listeners. The gatekeeper is asked on the public one; without it, every client is anybody. Clients may connect from now on; they are answered once
    /// [`serve`](Self::serve) runs.
    ///
    /// # Errors
    /// Where a setting is out of range, a file that one names cannot be used, or an address cannot be listened on.
    pub fn bind(
        config: &Config,
        serving: &Serving,
        gatekeeper: Option<&Arc<dyn Gatekeeper>>,
        observability: &Observability,
    ) -> Result<Self, BindError> {
        config.check()?;
        let limits = config.limits()?;
        let drain_timeout = limits.drain_timeout;
        let tls = |section: Section, surface: Surface| {
            let config = match section {
                Section::Public => &config.tls,
                Section::Admin => &config.admin_tls,
            };
            let open = |config| {
                let metrics = TlsMetrics::new(&observability.meter, surface.name());
                Tls::open(section, config, metrics).map(Arc::new)
            };
            config.as_ref().map(open).transpose()
        };
        let public_tls = tls(Section::Public, Surface::Public)?;
        let admin_tls = tls(Section::Admin, Surface::Admin)?;
        let operators = config.operators()?;
        let cors = config.cors.ready()?;
        let log = access_log::open(&config.access_log, LostLines::new(&observability.meter))?;
        let (log, writer): (Option<AccessLog>, _) = log.unzip();
        let bodies = Arc::new(BodyBudget::new(limits.max_bodies_bytes));
        let clients = Clients::of(gatekeeper);
        let memory = || {
            Arc::new(SharedMemory::new(
                Arc::clone(&bodies),
                limits.max_bodies_bytes,
            ))
        };
        let app = |surface: Surface, router: &dyn Fn(AppHandle) -> axum::Router| {
            // The handlers of the router work with what the router is a part of.
            Arc::new_cyclic(|app| App {
                surface,
                serving: serving.clone(),
                limits: limits.clone(),
                bodies: Arc::clone(&bodies),
                metrics: Metrics::new(&observability.meter, surface.name()),
                ids: RequestIds::new(),
                tracing: Tracing::new(observability.traces && surface == Surface::Public),
                logging: observability.logging.clone(),
                shared_memory: memory(),
                no_shared_memory: memory(),
                management: config.management(clients),
                gatekeeper: gatekeeper.filter(|_| surface == Surface::Public).cloned(),
                cors: cors.clone().filter(|_| surface == Surface::Public),
                operators: operators.clone().filter(|_| surface == Surface::Admin),
                access_log: log.as_ref().map(|log| log.of(surface.name())),
                operations: Operations::default(),
                idempotency: Arc::default(),
                router: router(AppHandle(Weak::clone(app))),
            })
        };
        let public = app(Surface::Public, &|app| {
            catalog::router(serving.clone(), &app)
        });
        let admin = app(Surface::Admin, &|_| {
            let metrics_text = Arc::clone(&observability.metrics_text);
            admin::router(serving.clone(), metrics_text, config.admin_audience())
        });
        Ok(Self {
            public: Listener::bind(("listen", config.listen), public, public_tls, &limits)?,
            admin: Listener::bind(
                ("admin_listen", config.admin_listen),
                admin,
                admin_tls,
                &limits,
            )?,
            drain_timeout,
            writer,
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.public.address
    }

    /// Where operators connect.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.address
    }

    /// Serves until the token is cancelled; then takes nothing new, and returns when every request in flight is answered,
    /// or the drain timeout has passed and the rest is cut. The admin listener ends last: a drain can be watched.
    pub async fn serve(self, shutdown: CancellationToken) {
        let admin_shutdown = CancellationToken::new();
        let app = Arc::clone(&self.public.app);
        let public = async {
            self.public.serve(&shutdown, self.drain_timeout).await;
            app.operations.end(CUT_TIMEOUT).await;
            admin_shutdown.cancel();
        };
        let admin = self.admin.serve(&admin_shutdown, CUT_TIMEOUT);
        tokio::join!(public, admin);
        // After the last answer.
        if let Some(writer) = self.writer {
            writer.end().await;
        }
    }
}

struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    protocols: Arc<Protocols>,
    tls: Option<Arc<Tls>>,
    room: Arc<Semaphore>,
}

impl Listener {
    fn bind(
        (key, address): (&'static str, SocketAddr),
        app: Arc<App>,
        tls: Option<Arc<Tls>>,
        limits: &Limits,
    ) -> Result<Self, BindError> {
        let listen = || {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            }?;
            // A restart must not wait for the old connections to be forgotten.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let socket = socket.listen(BACKLOG)?;
            let bound = socket.local_addr()?;
            Ok((socket, bound))
        };
        let (socket, bound) = listen().map_err(|source| BindError::Listen {
            key,
            address,
            source,
        })?;
        Ok(Self {
            socket,
            address: bound,
            protocols: Arc::new(Protocols::new(
                limits.clone(),
                Arc::clone(&app),
                tls.clone(),
            )),
            tls,
            app,
            room: Arc::new(Semaphore::new(limits.max_connections)),
        })
    }

    async fn serve(self, shutdown: &CancellationToken, drain_timeout: Duration) {
        let ending = Ending::default();
        let connections = TaskTracker::new();
        let (name, has_tls) = (self.app.surface.name(), self.tls.is_some());
        tracing::info!(listener = name, address = %self.address, tls = has_tls, "listening");
        let following = CancellationToken::new();
        let followed = self.tls.clone().map(|tls| {
            // A task, so that reading the files does not hold up accepting.
            tokio::spawn(tls.follow(following.clone()))
        });
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => self.take((socket, peer), &connections, &ending),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections; trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Nobody may connect to a server that will not answer.
        drop(self.socket);
        connections.close();
        ending.drain.cancel();
        if tokio::time::timeout(drain_timeout, connections.wait())
            .await
            .is_err()
        {
            let left = connections.len();
            tracing::warn!(
                connections = left,
                "drain timeout passed; cutting what is left"
            );
            ending.cut.cancel();
            // They end at their next poll; only a handler that blocks its thread could outlast this.
            let _ = tokio::time::timeout(CUT_TIMEOUT, connections.wait()).await;
        }
        following.cancel();
        if let Some(followed) = followed {
            // An error says that it panicked, and so ended.
            let _ = followed.await;
        }
    }

    fn take(
        &self,
        (socket, peer): (TcpStream, SocketAddr),
        connections: &TaskTracker,
        ending: &Ending,
    ) {
        // Answers are written whole: waiting for more of them would only delay.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "connection closed");
            return;
        }
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            self.app.metrics.refused_connection();
            // What is said without TLS, a client that expects it cannot read.
            if self.tls.is_none() {
                connections.spawn(refuse(socket));
            }
            return;
        };
        let (app, protocols) = (Arc::clone(&self.app), Arc::clone(&self.protocols));
        let ending = ending.clone();
        connections.spawn(async move {
            let _room = room;
            let _open = app.metrics.connection();
            protocols.serve(socket, peer, &ending).await;
        });
    }
}

/// Errors of a connection that went before it was accepted: the next one is not concerned.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// Tells a client that too many are connected, without reading what it sends.
async fn refuse(mut socket: TcpStream) {
    const BODY: &str = r#"{"type":"urn:wharf:problem:unavailable","title":"Unavailable","status":503,"detail":"too many connections are open; try again soon","error":"too many connections are open; try again soon"}"#;
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    // Best effort: the socket's buffer is empty, so this does not wait.
    let writing = async {
        socket.write_all(answer.as_bytes()).await?;
        socket.shutdown().await
    };
    let _ = tokio::time::timeout(CUT_TIMEOUT, writing).await;
}
