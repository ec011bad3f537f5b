//! How large a request body may be and how long it may take, and which setting says so.

use std::time::Duration;

use wharf_core::{Error, ErrorKind};
use wharf_serving::Route;

use crate::config::Limits;
use crate::problem::Problem;

/// What one request body may take. Small, and copied to wherever the body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodyLimits {
    /// The most bytes, after decompression.
    pub(crate) max_bytes: usize,
    /// How long it may take to arrive.
    pub(crate) timeout: Duration,
    /// Who says how large it may be, as a refusal names it.
    size: Source,
    /// Who says how long it may take.
    time: Source,
}

/// Where a limit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Server,
    Route,
}

impl BodyLimits {
    /// The limits of every body for which no route says something else.
    pub(crate) fn of_server(limits: &Limits) -> Self {
        Self {
            max_bytes: limits.max_body_bytes,
            timeout: limits.body_timeout,
            size: Source::Server,
            time: Source::Server,
        }
    }

    /// The limits of bodies for a route. The server's size is the most: it bounds what a request may hold of the memory, and a
    /// message of gRPC is read before it is known what it is for.
    pub(crate) fn of_route(limits: &Limits, route: &Route) -> Self {
        let mut these = Self::of_server(limits);
        let spec = route.spec();
        let wanted = spec
            .max_body_bytes
            .and_then(|most| usize::try_from(most).ok());
        if let Some(most) = wanted.filter(|most| *most < these.max_bytes) {
            (these.max_bytes, these.size) = (most, Source::Route);
        }
        if let Some(timeout) = spec.body_timeout {
            (these.timeout, these.time) = (timeout, Source::Route);
        }
        these
    }

    /// The setting that says how large a body may be, as a client reads it.
    pub(crate) fn size_key(&self) -> &'static str {
        match self.size {
            Source::Server => "server.max_body_bytes",
            Source::Route => "the route's max_body_bytes",
        }
    }

    /// The setting that says how long a body may take.
    pub(crate) fn time_key(&self) -> &'static str {
        match self.time {
            Source::Server => "server.body_timeout_ms",
            Source::Route => "the route's body_timeout_ms",
        }
    }

    /// Refuses a body that is too large; `what` is what the protocol calls it.
    pub(crate) fn too_large(&self, what: &str) -> Error {
        let message = format!(
            "the {what} is larger than the {} bytes that {} allows",
            self.max_bytes,
            self.size_key()
        );
        Error::new(ErrorKind::TooLarge, message).with_field("body")
    }

    /// Refuses a body that takes too long.
    pub(crate) fn too_slow(&self) -> Problem {
        Problem::BodyTimeout {
            limit: self.timeout,
            key: self.time_key(),
        }
    }
}

#[cfg(test)]
impl BodyLimits {
    /// The limits of a server that sets this size.
    pub(crate) fn of_size(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            timeout: Duration::from_secs(30),
            size: Source::Server,
            time: Source::Server,
        }
    }
}
