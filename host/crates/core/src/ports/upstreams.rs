//! The port of servers elsewhere, whose models and services are targets of routes as those of this process are.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use super::{BoxFuture, Model, SiteFile};
use crate::{Digest, Error, LoadError, Name, RequestContext, Result, Tenants};

/// What reaches other servers. Its methods read files and wait for the network: they block, and are never called on a thread
/// that serves requests, but within a runtime.
pub trait Upstreams: Send + Sync + 'static {
    /// Reads the files that `upstreams/NAME.toml` names, without asking anybody for anything.
    ///
    /// # Errors
    /// Where the file is no TOML of its schema, or a value is out of its range.
    fn read(&self, file: &UpstreamFile) -> Result<UpstreamRelease, LoadError>;

    /// Opens an upstream, and waits until it was asked for the first time what it has. `changed` is called whenever
    /// [`Upstream::model`] or [`Upstream::problem`] would answer something else than before.
    ///
    /// # Errors
    /// Where nothing can be made of the settings. That nobody answers is none: it is asked again and again.
    fn open(
        &self,
        release: &UpstreamRelease,
        changed: Changed,
    ) -> Result<Arc<dyn Upstream>, LoadError>;
}

/// Whom to tell of a change.
pub type Changed = Arc<dyn Fn() + Send + Sync>;

/// The settings of an upstream: `upstreams/NAME.toml` in the site.
#[derive(Clone, Debug)]
pub struct UpstreamFile {
    /// The site folder.
    pub site: PathBuf,
    /// The name of the upstream.
    pub name: Name,
    /// The text of the file.
    pub text: Arc<str>,
}

/// An upstream's settings as they were read.
#[derive(Clone)]
pub struct UpstreamRelease {
    /// The name of the upstream.
    pub name: Name,
    /// The digest of the settings and the files together. An equal digest is no reason to open it anew.
    pub digest: Digest,
    /// The text of `upstreams/NAME.toml`.
    pub settings: Arc<str>,
    /// The files that the settings name: certificates and keys.
    pub files: Arc<[SiteFile]>,
    /// Whose the upstream is.
    pub tenants: Tenants,
}

/// An upstream that is open. Dropping the last reference ends what asks it from time to time.
pub trait Upstream: Send + Sync + 'static {
    /// The model that the upstream is, under the upstream's own name; none before it was reached for the first time. What was
    /// learnt once stays while nothing else is.
    fn model(&self) -> Option<Arc<dyn Model>>;

    /// Why the model is not there, or not as the upstream has it now.
    fn problem(&self) -> Option<Arc<LoadError>>;
}

/// A body as it comes.
pub type BodyStream = Pin<Box<dyn http_body::Body<Data = Bytes, Error = Error> + Send>>;

/// A body with what is said of it.
pub struct Streamed {
    /// Of an answer, its status, which is one of success. Of a request, `200`: it has none.
    pub status: http::StatusCode,
    /// The media type, with its parameters.
    pub media_type: Arc<str>,
    /// Of an answer, the fields that the operator lets through. Of a request there are none: those of its context count.
    pub headers: http::HeaderMap,
    /// The body.
    pub body: BodyStream,
}

/// Something that takes bodies and gives bodies.
pub trait Service: Send + Sync + 'static {
    /// Sends a body on as it comes, and gives what comes back as it comes; the answer may begin before the body has ended.
    /// Dropping the future, or the body that is given, ends the exchange.
    ///
    /// # Errors
    /// What the service refuses; `UpstreamFault` where it fails; `Unavailable` where it is not there; `Deadline`. What goes wrong
    /// later is the error of the body.
    fn exchange<'a>(
        &'a self,
        request: &'a RequestContext,
        sent: Streamed,
    ) -> BoxFuture<'a, Result<Streamed>>;
}
