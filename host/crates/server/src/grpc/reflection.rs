//! The reflection services: clients such as grpcurl ask the server for its own descriptors.

use http::{Request, Response};
use tower::ServiceExt as _;
use wharf_core::Error;

use super::refusal::Refusal;
use crate::app::AnswerBody;
use crate::body::Incoming;
use crate::inference::DESCRIPTORS;

/// A question with all its answers is far below this.
const MAX_MESSAGE: usize = 64 << 10;

/// Which version of the service is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    /// What older clients know.
    V1Alpha,
}

/// Answers what clients ask of the descriptors.
pub(super) async fn reflect(
    request: Request<Incoming>,
    version: Version,
) -> Result<Response<AnswerBody>, Refusal> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    // Made for each call: they are seldom, and their descriptors take more memory than most models.
    let answer = match version {
        Version::V1 => {
            let service = builder.build_v1().map_err(Error::internal)?;
            let service = service.max_decoding_message_size(MAX_MESSAGE);
            service.oneshot(request).await
        }
        Version::V1Alpha => {
            let service = builder.build_v1alpha().map_err(Error::internal)?;
            let service = service.max_decoding_message_size(MAX_MESSAGE);
            service.oneshot(request).await
        }
    };
    let answer = answer.unwrap_or_else(|never| match never {});
    Ok(answer.map(|body| AnswerBody::Routed(axum::body::Body::new(body))))
}
