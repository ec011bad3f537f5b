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
use wharf_serving::Serving;

use crate::app::{App, AppHandle};
use crate::budget::BodyBudget;
use crate::config::{Config, ConfigError, Limits};
use crate::connection::{Ending, Protocols};
use crate::endpoint::Surface;
use crate::metrics::Metrics;
use crate::oip::logging::LogControl;
use crate::oip::shared_memory::SharedMemory;
use crate::oip::tracing::Tracing;
use crate::request_id::RequestIds;
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
}

impl Server {
    /// Checks the settings and binds both listeners. Clients may connect from now on; they are answered once
    /// [`serve`](Self::serve) runs.
    ///
    /// # Errors
    /// Where a setting is out of range, or an address cannot be listened on.
    pub fn bind(
        config: &Config,
        serving: &Serving,
        observability: &Observability,
    ) -> Result<Self, BindError> {
        let limits = config.limits()?;
        let drain_timeout = limits.drain_timeout;
        let bodies = Arc::new(BodyBudget::new(limits.max_bodies_bytes));
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
                shared_memory: SharedMemory::new(Arc::clone(&bodies), limits.max_bodies_bytes),
                management: config.management(),
                router: router(AppHandle(Weak::clone(app))),
            })
        };
        let public = app(Surface::Public, &|app| {
            catalog::router(serving.clone(), &app)
        });
        let admin = app(Surface::Admin, &|_| {
            let metrics_text = Arc::clone(&observability.metrics_text);
            admin::router(serving.clone(), metrics_text, config.admin_management())
        });
        Ok(Self {
            public: Listener::bind("listen", config.listen, public, &limits)?,
            admin: Listener::bind("admin_listen", config.admin_listen, admin, &limits)?,
            drain_timeout,
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
        let public = async {
            self.public.serve(&shutdown, self.drain_timeout).await;
            admin_shutdown.cancel();
        };
        let admin = self.admin.serve(&admin_shutdown, CUT_TIMEOUT);
        tokio::join!(public, admin);
    }
}

struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    protocols: Arc<Protocols>,
    room: Arc<Semaphore>,
}

impl Listener {
    fn bind(
        key: &'static str,
        address: SocketAddr,
        app: Arc<App>,
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
            protocols: Arc::new(Protocols::new(limits.clone(), Arc::clone(&app))),
            app,
            room: Arc::new(Semaphore::new(limits.max_connections)),
        })
    }

    async fn serve(self, shutdown: &CancellationToken, drain_timeout: Duration) {
        let ending = Ending::default();
        let connections = TaskTracker::new();
        tracing::info!(listener = self.app.surface.name(), address = %self.address, "listening");
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((socket, _)) => self.take(socket, &connections, &ending),
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
    }

    fn take(&self, socket: TcpStream, connections: &TaskTracker, ending: &Ending) {
        // Answers are written whole: waiting for more of them would only delay.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "connection closed");
            return;
        }
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            self.app.metrics.refused_connection();
            connections.spawn(refuse(socket));
            return;
        };
        let (app, protocols) = (Arc::clone(&self.app), Arc::clone(&self.protocols));
        let ending = ending.clone();
        connections.spawn(async move {
            let _room = room;
            let _open = app.metrics.connection();
            protocols.serve(socket, &ending).await;
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
