//! `ModelInfer`: a message, through its route, to the answer.

use std::sync::Arc;

use bytes::Bytes;
use wharf_core::{Quota, Result};

use super::answer::Parts;
use super::frame::{Encoding, Message};
use super::refusal::Refusal;
use super::reply::{self, Envelope};
use super::request::Request;
use crate::app::App;
use crate::body::BodyLimits;
use crate::infer::blocking;
use crate::oip::shared_memory::SharedMemory;
use crate::oip::{self, Caller, InferRequest, Resolved, resolve_for};

/// Who asks for an inference, and how the answer is to be written.
pub(super) struct Asking<'a> {
    pub(super) app: &'a Arc<App>,
    pub(super) caller: Caller<'a>,
    /// What is left of the client's quota, for the answer.
    pub(super) quota: &'a mut Option<Quota>,
    pub(super) encoding: Encoding,
    pub(super) envelope: Envelope,
}

/// Answers a request for inference.
pub(super) async fn infer(asking: Asking<'_>, message: Message) -> Result<Parts, Refusal> {
    let app = asking.app;
    // Held until the request ends: the message lives as long, or what was made of it.
    let Message {
        bytes,
        reservation: _reservation,
    } = message;
    let (resolved, request) = open(app, &asking.caller, &bytes)?;
    let client = asking.caller.client;
    // Before the inputs are read: a request that is wrong counts as well.
    let _permit = app
        .admit(client, Some(&resolved.route), asking.quota)
        .await?;
    let shared = app.shared_memory_of(client);
    let request = match request.is_heavy() {
        true => read_elsewhere(shared, &resolved, bytes.clone()).await?,
        false => request.read(&bytes, resolved.route.input(), shared)?,
    };
    let response = oip::infer(app, &resolved, asking.caller, request).await?;
    let parts = reply::infer(&response, asking.envelope)?;
    Ok(reply::compress(parts, asking.encoding).await?)
}

/// Finds what a request is for. Its inputs are not read yet.
fn open<'a>(app: &App, caller: &Caller<'_>, bytes: &'a Bytes) -> Result<(Resolved, Request<'a>)> {
    let request = Request::of(bytes)?;
    let asked = (request.model, Some(request.version));
    let resolved = resolve_for(app, caller.client, asked, |field| caller.headers.get(field))?;
    let limits = BodyLimits::of_route(&app.limits, &resolved.route);
    if bytes.len() > limits.max_bytes {
        return Err(limits.too_large("message"));
    }
    // Reading the inputs for a full route would be in vain.
    resolved.route.check_room()?;
    Ok((resolved, request))
}

/// Reads the inputs where it delays nobody.
async fn read_elsewhere(
    shared: &Arc<SharedMemory>,
    resolved: &Resolved,
    bytes: Bytes,
) -> Result<InferRequest> {
    let (shared, route) = (Arc::clone(shared), Arc::clone(&resolved.route));
    let work = move || Request::of(&bytes)?.read(&bytes, route.input(), &shared);
    blocking(work).await
}
