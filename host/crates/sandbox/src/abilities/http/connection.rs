//! Connections: names are looked up within bounds, TLS trusts the machine's authorities, and what is idle is kept for the next request.

use std::future::Future;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tower::Service;
use wharf_core::SiteFile;

use super::HEADERS_KB;

/// The longest that a connection may take to be made, TLS included. A request's own time may end it before; this ends
/// those that outlive their request because another connection became free first.
const CONNECT: Duration = Duration::from_secs(10);

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(30);

/// The most idle connections to one server.
const IDLE_CONNECTIONS: usize = 32;

/// The most header fields of an answer.
const HEADER_FIELDS: usize = 256;

/// The most lookups of names at one time, of all plugins and of one. Each blocks a thread, and goes on when its request is gone, perhaps
/// for half a minute where no server answers for the name: so a plugin that asks such names keeps places from itself, and not
/// from others.
const LOOKUPS: usize = 64;
const LOOKUPS_OF_A_PLUGIN: usize = 8;

/// The largest file of certificate authorities, in bytes.
const ROOTS_BYTES: usize = 1 << 20;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// A client with a pool of connections of its own. It clones as a handle.
pub(super) type HttpClient = Client<Connector, Full<Bytes>>;

/// Makes a client that trusts these authorities.
pub(super) fn client(roots: Arc<RootCertStore>, lookups: Lookups) -> HttpClient {
    let mut tcp = HttpConnector::new_with_resolver(lookups);
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(Duration::from_secs(30)));
    // Explicit: where two providers are compiled in, rustls has no default.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(tcp);
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .http1_max_buf_size(HEADERS_KB as usize * 1024)
        .http1_max_headers(HEADER_FIELDS)
        .http2_max_header_list_size(HEADERS_KB * 1024)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .http2_keep_alive_timeout(Duration::from_secs(10))
        .build(Connector(https))
}

/// Makes connections within [`CONNECT`].
#[derive(Clone)]
pub(crate) struct Connector(HttpsConnector<HttpConnector<Lookups>>);

impl Service<Uri> for Connector {
    type Response = <HttpsConnector<HttpConnector<Lookups>> as Service<Uri>>::Response;
    type Error = BoxError;
    type Future = BoxFuture<Self::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move { tokio::time::timeout(CONNECT, connecting).await? })
    }
}

/// The lookups of all plugins.
pub(super) struct AllLookups(Arc<Semaphore>);

impl Default for AllLookups {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LOOKUPS)))
    }
}

impl AllLookups {
    /// The lookups as one plugin gets them.
    pub(super) fn for_plugin(&self) -> Lookups {
        Lookups {
            all: Arc::clone(&self.0),
            own: Arc::new(Semaphore::new(LOOKUPS_OF_A_PLUGIN)),
        }
    }
}

/// Looks names up for one plugin.
#[derive(Clone)]
pub(crate) struct Lookups {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

impl Lookups {
    /// A place for a lookup. The plugin's own comes first: what waits for that keeps none from others.
    async fn place(self) -> Result<[OwnedSemaphorePermit; 2], AcquireError> {
        let own = self.own.acquire_owned().await?;
        Ok([own, self.all.acquire_owned().await?])
    }
}

impl Service<Name> for Lookups {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = BoxFuture<Self::Response>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let lookups = self.clone();
        Box::pin(async move {
            let place = lookups.place().await?;
            let lookup = tokio::task::spawn_blocking(move || {
                let found = (name.as_str(), 0).to_socket_addrs();
                // A lookup that nobody waits for any more has its place until it ends.
                drop(place);
                found
            });
            Ok(lookup.await??)
        })
    }
}

/// The certificate authorities that the machine trusts, read once.
#[derive(Default)]
pub(super) struct Roots(OnceLock<Arc<RootCertStore>>);

impl Roots {
    pub(super) fn of_machine(&self) -> Arc<RootCertStore> {
        let read = || {
            let found = rustls_native_certs::load_native_certs();
            if !found.errors.is_empty() {
                tracing::warn!(errors = ?found.errors, "some certificate authorities of this machine cannot be read");
            }
            let mut roots = RootCertStore::empty();
            let (_, ignored) = roots.add_parsable_certificates(found.certs);
            tracing::debug!(
                trusted = roots.len(),
                ignored,
                "certificate authorities read"
            );
            Arc::new(roots)
        };
        Arc::clone(self.0.get_or_init(read))
    }

    /// The machine's authorities and those of a file that was read.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(super) fn and_file(
        &self,
        path: &str,
        files: &[SiteFile],
    ) -> Result<Arc<RootCertStore>, String> {
        let mut roots = (*self.of_machine()).clone();
        let wrong = |what: &dyn std::fmt::Display| format!("cannot read certificates: {what}");
        let pem = SiteFile::named(path, files)
            .and_then(SiteFile::content)
            .map_err(|reason| wrong(&reason))?;
        if pem.len() > ROOTS_BYTES {
            return Err(wrong(&format!("{path} has more than {ROOTS_BYTES} bytes")));
        }
        let mut found = 0;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| wrong(&error))?;
            roots.add(certificate).map_err(|error| wrong(&error))?;
            found += 1;
        }
        if found == 0 {
            return Err("the file has no certificate in PEM".to_owned());
        }
        Ok(Arc::new(roots))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_plugin_whose_names_nobody_answers_for_leaves_others_their_lookups() {
        let all = AllLookups::default();
        let (hanging, other) = (all.for_plugin(), all.for_plugin());
        let place = |lookups: &Lookups| lookups.clone().place().now_or_never();
        let held: Vec<_> = (0..LOOKUPS_OF_A_PLUGIN)
            .map(|_| place(&hanging).expect("there is a place").unwrap())
            .collect();
        assert!(place(&hanging).is_none());
        assert!(place(&other).is_some());
        drop(held);
        assert!(place(&hanging).is_some());
    }
}
