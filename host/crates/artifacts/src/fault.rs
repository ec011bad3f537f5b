//! What a client is told of faults of disks and stores. Paths and addresses are for the log.

use std::io;

use wharf_core::{ArtifactError, Error, ErrorKind};

/// A fault of the local disk.
pub(crate) fn of_disk(error: io::Error) -> ArtifactError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            tracing::warn!(%error, "an upload does not fit on the disk");
            no_room_on_disk().with_source(error).into()
        }
        _ => unavailable(error).into(),
    }
}

pub(crate) fn no_room_on_disk() -> Error {
    let message = "the server's disk is full; delete artifacts that nobody needs, or ask its operator for room";
    Error::new(ErrorKind::NoRoom, message)
}

/// An upload that is not there, or is not any more.
pub(crate) fn no_upload() -> ArtifactError {
    let message =
        "there is no such upload of this model: it is finished, was given up, or never was";
    Error::new(ErrorKind::NotFound, message)
        .with_field("upload")
        .into()
}

/// A fault of the store.
pub(crate) fn of_store(error: object_store::Error) -> ArtifactError {
    match error {
        object_store::Error::NotFound { .. } => {
            let message = "the content of the artifact is not there any more; upload it again";
            Error::new(ErrorKind::NotFound, message)
                .with_field("artifact")
                .with_source(error)
                .into()
        }
        error => unavailable(error).into(),
    }
}

fn unavailable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let message = "the store of artifacts cannot be used right now; try again later";
    Error::new(ErrorKind::Unavailable, message).with_source(error)
}

/// A task that does not come back: the process ends, or it panicked.
pub(crate) fn of_task(error: tokio::task::JoinError) -> ArtifactError {
    Error::internal(error).into()
}
