//! The Open Inference Protocol as a client speaks it, over REST and over gRPC.

mod check;
mod elements;
mod grpc;
mod metadata;
mod rest;

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderValue};
use wharf_core::{Error, ErrorKind, RequestContext, Tensor, TensorSpec};

use crate::exchange::Terms;
use crate::peer::Peer;
use crate::settings::Protocol;

pub(crate) use check::check_inputs;
pub(crate) use metadata::Metadata;
pub(crate) use rest::expect_plain;

/// What is asked of a model.
pub(crate) struct Question {
    pub(crate) inputs: Vec<Tensor>,
    /// What the answer must have.
    pub(crate) outputs: Arc<[TensorSpec]>,
    /// How tensors travel over REST.
    pub(crate) binary: bool,
}

/// Asks a model, and checks the answer: the outputs in the model's order.
///
/// # Errors
/// As [`Peer::ask`]; `InvalidArgument` where an input cannot be written.
pub(crate) async fn infer(
    peer: &Arc<Peer>,
    request: &RequestContext,
    question: Question,
    changed: impl Fn(),
) -> Result<Vec<Tensor>, Error> {
    let terms = Terms::of(request, &peer.settings)?;
    let answered = match peer.settings.protocol {
        Protocol::OipGrpc => {
            let call = grpc::Infer::new(&peer.settings, request, &question);
            peer.ask(&call, &terms, changed).await?
        }
        Protocol::OipHttp | Protocol::Http => {
            let call = rest::Infer::new(&peer.settings, request, &question).await?;
            peer.ask(&call, &terms, changed).await?
        }
    };
    Ok(answered.whole())
}

/// Asks what a model has.
///
/// # Errors
/// As [`Peer::inquire`].
pub(crate) async fn describe(peer: &Arc<Peer>, deadline: Instant) -> Result<Metadata, Error> {
    let mut fields = HeaderMap::new();
    let agent = HeaderValue::from_static("wharf");
    fields.insert(http::header::USER_AGENT, agent);
    let terms = Terms {
        fields,
        deadline,
        patience: peer.settings.timeout,
    };
    match peer.settings.protocol {
        Protocol::OipGrpc => {
            let call = grpc::Describe(&peer.settings);
            peer.inquire(&call, &terms).await
        }
        Protocol::OipHttp | Protocol::Http => {
            let call = rest::Describe(&peer.settings);
            let described = peer.inquire(&call, &terms).await?;
            let binary = match peer.inquire(&rest::Extensions, &terms).await {
                Ok(binary) => binary,
                // A server need not say what it can: then it gets JSON. One that could not be asked may be asked again.
                Err(error) if error.kind() == ErrorKind::UpstreamFault => false,
                Err(error) => return Err(error),
            };
            Ok(Metadata {
                binary,
                ..described
            })
        }
    }
}
