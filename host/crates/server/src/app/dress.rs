//! What stands before every handler and behind every answer of HTTP: who may ask at all, who may read, and how it is packed.
//!
//! A layer of the router would miss inference, which does not go through it.

use std::sync::Arc;

use http::{HeaderMap, Response, request};
use wharf_core::Error;

use super::{AnswerBody, App};
use crate::access_log::{Entry, Head, Protocol};
use crate::compression;
use crate::connection::Watch;
use crate::cors::Crossing;
use crate::endpoint::{Endpoint, Target};
use crate::infer::content::Coding;
use crate::problem::Problem;

/// What the header of a request says of how its answer is to look.
pub(super) struct Dress {
    accepted: Coding,
    /// None where pages of other sites are none of the listener's business.
    crossing: Option<Crossing>,
}

/// What is asked, as the access log wants it.
pub(super) struct Asked<'a> {
    pub(super) parts: &'a request::Parts,
    pub(super) path: &'a str,
    pub(super) endpoint: Endpoint,
    pub(super) target: Option<&'a Target<'a>>,
    pub(super) id: &'a Arc<str>,
}

impl App {
    /// Reads it before the header is moved on.
    pub(super) fn dress_for(&self, parts: &request::Parts) -> Dress {
        let cors = self.cors.as_ref();
        Dress {
            accepted: compression::accepted(&parts.headers),
            crossing: cors.map(|cors| cors.crossing(&parts.method, &parts.headers)),
        }
    }

    /// The answer to a browser that asks before it sends; none where none asks.
    pub(super) fn preflight(&self, dress: &Dress) -> Option<Result<Response<AnswerBody>, Error>> {
        let crossing = dress.crossing.as_ref()?;
        let cors = self.cors.as_ref().filter(|_| crossing.is_preflight)?;
        Some(cors.preflight(crossing))
    }

    /// Refuses who is no operator, on a listener for them.
    pub(super) fn check_operator(
        &self,
        endpoint: Endpoint,
        headers: &HeaderMap,
    ) -> Result<(), Error> {
        match &self.operators {
            Some(operators) => operators.check(endpoint.template, headers),
            None => Ok(()),
        }
    }

    /// Compresses an answer, and says who may read it.
    pub(super) async fn dress(
        &self,
        mut response: Response<AnswerBody>,
        dress: Dress,
        id: &str,
    ) -> Response<AnswerBody> {
        let min_bytes = self.limits.compress_min_bytes;
        if let Err(error) = compression::apply(&mut response, dress.accepted, min_bytes).await {
            response = Problem::from(error).respond(id).map(Into::into);
        }
        if let (Some(cors), Some(crossing)) = (&self.cors, dress.crossing) {
            cors.name(crossing, &mut response);
        }
        response
    }

    /// The entry of a request in the access log, where there is one.
    pub(super) fn entry(&self, asked: &Asked<'_>, watch: &Watch) -> Option<Entry> {
        let head = Head {
            parts: asked.parts,
            path: asked.path,
            template: asked.endpoint.template,
            id: asked.id,
            protocol: Protocol::Http,
        };
        let entry = self.access_log.as_ref()?.begin(&head, watch.peer);
        if let Some(target) = asked.target {
            entry.notes().set_route(target.name());
        }
        Some(entry)
    }
}
