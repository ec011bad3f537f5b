//! `grpc.health.v1.Health`: whether the server takes requests, asked once or followed.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::mpsc;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use wharf_core::{Error, ErrorKind, Result};

use super::answer::{Parts, Sent};
use super::call::Connected;
use super::reply;

/// The services that a client may ask for; none is the server as a whole.
const SERVICES: [&str; 3] = [
    "",
    "inference.GRPCInferenceService",
    "grpc.health.v1.Health",
];

/// Answers `Check`.
///
/// # Errors
/// `NotFound` for a service that is none of this server's.
pub(super) fn check(connected: &Connected, message: Bytes) -> Result<Parts> {
    if !knows(message)? {
        return Err(
            Error::new(ErrorKind::NotFound, "there is no such service").with_field("service")
        );
    }
    answer(status(connected))
}

/// Whether a service is one of this server's.
///
/// # Errors
/// `InvalidArgument` where the message is no request.
pub(super) fn knows(message: Bytes) -> Result<bool> {
    let request = HealthCheckRequest::decode(message).map_err(|error| {
        let message = "is not a HealthCheckRequest in the encoding of protobuf";
        Error::invalid("request", message).with_source(error)
    })?;
    Ok(SERVICES.contains(&&*request.service))
}

fn status(connected: &Connected) -> ServingStatus {
    if connected.app.serving.ready() && !connected.drain.is_cancelled() {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    }
}

/// Answers `Watch`: the status now, and each that follows. A service that is not known stays so.
pub(super) async fn watch(connected: Arc<Connected>, known: bool, sent: mpsc::Sender<Sent>) {
    let drained = connected.drain.cancelled();
    if known {
        let mut changes = connected.app.serving.ready_changed();
        let following = async {
            loop {
                // Before it is told, so that no change between is lost.
                changes.borrow_and_update();
                tell(&sent, status(&connected)).await;
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            () = drained => tell(&sent, ServingStatus::NotServing).await,
            () = following => {}
        }
    } else {
        tell(&sent, ServingStatus::ServiceUnknown).await;
        drained.await;
    }
    // Where nobody reads it any more, nobody misses it.
    let _ = sent.send(Sent::End(Ok(()))).await;
}

async fn tell(sent: &mpsc::Sender<Sent>, status: ServingStatus) {
    if let Ok(parts) = answer(status) {
        let _ = sent.send(Sent::Message(parts)).await;
    }
}

fn answer(status: ServingStatus) -> Result<Parts> {
    reply::message(&HealthCheckResponse {
        status: status.into(),
    })
}
