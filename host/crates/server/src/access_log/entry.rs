//! What the access log knows of a request: from its header when it begins, and the rest when it has ended.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use http::header::USER_AGENT;
use http::{HeaderMap, Method, Response, Version, request};

use super::{AccessLog, Answered};
use crate::app::AnswerBody;

/// What a line repeats of a path and of the name of a client's program: both may be as long as a header.
const MAX_PATH: usize = 1024;
const MAX_AGENT: usize = 256;
/// What a request comes to whose client leaves.
const LEFT: u16 = 499;

/// The header of a request, as far as a line repeats it.
pub(crate) struct Head<'a> {
    pub(crate) parts: &'a request::Parts,
    /// Without the query.
    pub(crate) path: &'a str,
    /// Empty where no path matches.
    pub(crate) template: &'static str,
    pub(crate) id: &'a Arc<str>,
    pub(crate) protocol: Protocol,
}

/// What was spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Grpc,
}

/// A line that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) at: SystemTime,
    pub(super) listener: &'static str,
    pub(super) client: Option<IpAddr>,
    pub(super) method: Method,
    pub(super) path: Box<str>,
    pub(super) template: &'static str,
    pub(super) protocol: &'static str,
    pub(super) status: u16,
    pub(super) grpc_status: Option<u8>,
    /// Whether the answer began and did not come to its end.
    pub(super) broke_off: bool,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) duration: Duration,
    pub(super) request_id: Arc<str>,
    pub(super) route: Option<Box<str>>,
    pub(super) tenant: Option<Arc<str>>,
    pub(super) user_agent: Option<Box<str>>,
}

/// What is learnt of a request on its way, by whoever learns it.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    received: AtomicU64,
    route: OnceLock<Box<str>>,
    /// Whose request it is, once that is known.
    tenant: OnceLock<Arc<str>>,
}

impl Notes {
    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }

    /// The route or the model that is asked, as the client names it.
    pub(crate) fn set_route(&self, name: &str) {
        // The first one stays: a request is for one.
        let _ = self.route.set(shortened(name, MAX_AGENT));
    }

    /// Whose request it is.
    pub(crate) fn set_tenant(&self, tenant: &Arc<str>) {
        // It is found out once.
        let _ = self.tenant.set(Arc::clone(tenant));
    }
}

/// A request that is to have a line.
pub(crate) struct Entry {
    log: AccessLog,
    record: Option<Box<Record>>,
    started: Instant,
    notes: Arc<Notes>,
}

impl Entry {
    pub(super) fn new(log: AccessLog, head: &Head<'_>, peer: Option<SocketAddr>) -> Self {
        let agent = head.parts.headers.get(USER_AGENT);
        let agent = agent.map(|agent| String::from_utf8_lossy(agent.as_bytes()));
        let record = Record {
            at: SystemTime::now(),
            listener: log.listener,
            client: peer.map(|peer| peer.ip().to_canonical()),
            method: head.parts.method.clone(),
            path: shortened(head.path, MAX_PATH),
            template: head.template,
            protocol: match (head.protocol, head.parts.version) {
                (Protocol::Grpc, _) => "gRPC",
                (Protocol::Http, Version::HTTP_10) => "HTTP/1.0",
                (Protocol::Http, Version::HTTP_2) => "HTTP/2",
                (Protocol::Http, _) => "HTTP/1.1",
            },
            status: LEFT,
            grpc_status: None,
            broke_off: false,
            bytes_in: 0,
            bytes_out: 0,
            duration: Duration::ZERO,
            request_id: Arc::clone(head.id),
            route: None,
            tenant: None,
            user_agent: agent.map(|agent| shortened(&agent, MAX_AGENT)),
        };
        Self {
            log,
            record: Some(Box::new(record)),
            started: Instant::now(),
            notes: Arc::default(),
        }
    }

    /// Where the rest is noted.
    pub(crate) fn notes(&self) -> Arc<Notes> {
        Arc::clone(&self.notes)
    }

    /// Follows an answer to its end.
    pub(crate) fn follow(mut self, response: Response<AnswerBody>) -> Response<AnswerBody> {
        if let Some(record) = &mut self.record {
            record.status = response.status().as_u16();
        }
        self.end_of_call(response.headers());
        response.map(|body| AnswerBody::Answered(Box::new(Answered::new(body, self))))
    }

    /// Notes how a call ended, where these fields say it: those of a header, or trailers.
    pub(super) fn end_of_call(&mut self, fields: &HeaderMap) {
        let status = fields.get("grpc-status");
        let status = status.and_then(|status| status.to_str().ok()?.parse().ok());
        if let (Some(record), Some(status)) = (&mut self.record, status) {
            record.grpc_status = Some(status);
        }
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        if let Some(record) = &mut self.record {
            record.bytes_out += bytes as u64;
        }
    }

    /// Notes that the answer did not come to its end. That of a HEAD has none.
    pub(super) fn broke_off(&mut self) {
        if let Some(record) = &mut self.record {
            record.broke_off = record.method != Method::HEAD;
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some(mut record) = self.record.take() else {
            return;
        };
        record.duration = self.started.elapsed();
        record.bytes_in = self.notes.received.load(Relaxed);
        record.route = self.notes.route.get().cloned();
        record.tenant = self.notes.tenant.get().cloned();
        self.log.leave(record);
    }
}

/// The beginning of a text.
fn shortened(text: &str, most: usize) -> Box<str> {
    text[..text.floor_char_boundary(most)].into()
}
