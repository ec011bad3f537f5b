//! The Open Inference Protocol over REST: here inference, in [`management`] the rest.
//!
//! - The body is a JSON document, or with the header field `Inference-Header-Content-Length` a document of that length and
//!   then the binary data of the inputs that say `binary_data_size`, in their order. Outputs are binary data likewise where
//!   `binary_data` of the output or `binary_data_output` of the request says so.
//! - A length of 0 is a raw request: the whole body is the only input, and the outputs are binary data. To a route that takes
//!   a body, so is every request whose content type is not JSON.
//! - Elements in JSON are written as the native endpoint has them, flat; FP16 and BF16 are numbers too. What JSON has no
//!   number for is written as Triton writes it, and its clients read it: `NaN`, `Infinity`, `-Infinity`.

pub(crate) mod management;

pub(crate) mod framing;

pub(crate) mod document;
mod raw;

mod answer;
mod compression;

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use wharf_core::{Error, Headers, Result};
use wharf_serving::{Route, RouteInput};

use super::shared_memory::SharedMemory;
use super::{Caller, InferRequest, infer as run, resolve_for, shared_memory};
use crate::app::{AnswerBody, App, Sent, gone};
use crate::body::{BodyLimits, collect_aligned};
use crate::compression::accepted;
use crate::infer::content::{self, Coding};
use crate::infer::{INLINE_BYTES, blocking};
use crate::problem::Problem;
use answer::Form;
use document::Sources;
use framing::Framing;

/// A request as it was read, and how its answer is to be written.
pub(crate) struct Request {
    pub(crate) request: InferRequest,
    /// Whether outputs that do not say it themselves come as binary data.
    pub(crate) binary_output: bool,
}

/// Answers a request for inference.
pub(crate) async fn infer(
    app: &Arc<App>,
    (name, version): (&str, Option<&str>),
    sent: Sent<'_>,
) -> Result<Response<AnswerBody>, Problem> {
    let Sent {
        id,
        client,
        headers,
        body,
        quota,
    } = sent;
    let body = body.as_mut().ok_or_else(gone)?;
    if version == Some("") {
        let message = "is empty; name a version, or leave /versions/ out";
        return Err(Error::invalid("version", message).into());
    }
    let field = |field: &str| Headers::peek(&headers, client.principal(), field);
    let resolved = resolve_for(app, client, (name, version), field)?;
    let route = &resolved.route;

    // What the header alone forbids is refused before the body is taken.
    let coding = Coding::of(&headers)?;
    let takes_body = matches!(route.input(), RouteInput::Body);
    let framing = match Framing::of(&headers)? {
        Framing::Json if takes_body && !content::may_be_json(&headers) => Framing::Raw,
        framing => framing,
    };
    let media_type = match framing {
        Framing::Raw if takes_body => Some(content::media_type(&headers)?),
        _ => None,
    };
    let accepted = accepted(&headers);
    // A body for a full route would be read in vain. Admission itself comes later: a slow client must not hold a place.
    route.check_room()?;
    let _permit = app.admit(client, Some(route), quota).await?;
    let mut reservation = app.bodies.reserve();
    let place = match framing {
        Framing::Binary(length) => length,
        Framing::Json | Framing::Raw => 0,
    };
    let limits = BodyLimits::of_route(&app.limits, route);
    let bytes = collect_aligned(body, place, &limits, &mut reservation).await?;
    // Held until the request ends: the body lives as long, or what was made of it.
    let (bytes, _reservation) = coding.decode(bytes, limits, reservation).await?;

    let shared = app.shared_memory_of(client);
    let Request {
        request,
        binary_output,
    } = match framing {
        Framing::Raw => raw::read(bytes, route.input(), media_type)?,
        Framing::Json => {
            let length = bytes.len();
            read(shared, route, bytes, length).await?
        }
        Framing::Binary(length) => read(shared, route, bytes, length).await?,
    };
    let form = Form {
        binary_output,
        sequence: request.scheduling.sequence.clone(),
    };
    let caller = Caller {
        id,
        client,
        headers: Headers::of(headers, client.principal()),
        limit: None,
    };
    let response = run(app, &resolved, caller, request).await?;
    let answer = answer::write(response, form).await?;
    let min_bytes = app.limits.compress_min_bytes;
    Ok(compression::respond(answer, accepted, min_bytes).await?)
}

/// Reads a document of so many bytes, and the binary data after it.
async fn read(
    shared: &Arc<SharedMemory>,
    route: &Arc<Route>,
    bytes: Bytes,
    length: usize,
) -> Result<Request> {
    let (document, blobs) = framing::split(&bytes, length)?;
    if document.len() <= INLINE_BYTES && blobs.len() as u64 <= shared_memory::INLINE_BYTES {
        let sources = Sources {
            blobs: &blobs,
            shared,
            max_shared: shared_memory::INLINE_BYTES,
        };
        if let Some(request) = document::read(&document, sources, route.input())? {
            return Ok(request);
        }
    }
    let (shared, route) = (Arc::clone(shared), Arc::clone(route));
    blocking(move || {
        let sources = Sources {
            blobs: &blobs,
            shared: &shared,
            max_shared: u64::MAX,
        };
        let request = document::read(&document, sources, route.input())?;
        request.ok_or_else(|| Error::internal("shared memory is larger than it can be"))
    })
    .await
}
