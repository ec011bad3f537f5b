//! Artifacts: the files of a model's versions, uploaded in parts or at once, and downloaded in ranges.
//!
//! An upload says first what it will be: `POST .../artifacts`. Its parts follow by PATCH, each with the `Upload-Offset` where it begins;
//! HEAD tells where that is after a broken connection. With the last byte the content is compared with its digest. Once the model's own
//! file is there, the version is brought into the site, as an operation.

mod documents;
mod range;
mod transfer;

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, IF_NONE_MATCH};
use http::{HeaderValue, StatusCode};
use wharf_core::{
    Action, Appended, Artifact, ArtifactError, ArtifactKind, ArtifactPlace, ArtifactStore, Error,
    ErrorKind, Name, NewUpload, Upload,
};
use wharf_serving::{Precondition, Promotion};

use super::call::{
    Answer, Call, empty, entity_tag, has_tag, json, located, not_json, precondition, tagged,
};
use super::models::failed;
use super::operations;
use crate::problem::{Problem, Refusal};
use transfer::{BodySource, stream};

pub(crate) use documents::{ArtifactDocument, ArtifactList, NewUploadDocument, UploadDocument};

const UPLOAD_OFFSET: &str = "upload-offset";
const UPLOAD_LENGTH: &str = "upload-length";
const UPLOAD_COMPLETE: &str = "upload-complete";
/// What a part may be said to be: by the drafts of the standard, and as it is often sent.
const PARTS: [&str; 3] = [
    "application/partial-upload",
    "application/offset+octet-stream",
    "application/octet-stream",
];

pub(super) async fn list(call: Call) -> Answer {
    let name = call.name("model")?;
    call.may(Action::ReadModels, Some(&name))?;
    call.app.serving.model(&name).await?;
    let artifacts = store(&call)?.list(&name).await.map_err(refused)?;
    let artifacts = artifacts.iter().map(ArtifactDocument::from).collect();
    json(StatusCode::OK, &ArtifactList { artifacts })
}

pub(super) async fn begin(mut call: Call) -> Answer {
    let name = call.name("model")?;
    call.may(Action::WriteModels, Some(&name))?;
    call.app.serving.model(&name).await?;
    let wanted: NewUploadDocument = call.document().await?;
    let wanted = wanted.read(name.clone())?;
    let upload = store(&call)?.begin(wanted).await.map_err(refused)?;
    let path = format!("/v1/models/{name}/artifacts/uploads/{}", upload.id);
    let response = json(StatusCode::CREATED, &UploadDocument::from(&upload))?;
    Ok(located(standing(response, &upload), &path))
}

pub(super) async fn upload(call: Call) -> Answer {
    let name = call.name("model")?;
    call.may(Action::ReadModels, Some(&name))?;
    let upload = find(&call, &name).await?;
    let mut response = json(StatusCode::OK, &UploadDocument::from(&upload))?;
    // Where it stands changes with every part.
    let fresh = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(http::header::CACHE_CONTROL, fresh);
    Ok(standing(response, &upload))
}

pub(super) async fn append(mut call: Call) -> Answer {
    let name = call.name("model")?;
    call.may(Action::WriteModels, Some(&name))?;
    check_part(&call)?;
    let offset = call.field(UPLOAD_OFFSET).unwrap_or_default();
    let offset = offset.parse::<u64>().map_err(|error| {
        let message = "says where the part begins, in bytes; HEAD of the upload gives it";
        Error::invalid(UPLOAD_OFFSET, message).with_source(error)
    })?;
    let upload = find(&call, &name).await?;
    let mut source = BodySource::new(call.take_body(), &call.app.limits);
    let appended = store(&call)?.append(&upload, offset, &mut source).await;
    match appended.map_err(|error| source.refused(error))? {
        Appended::Partial(upload) => Ok(standing(empty(StatusCode::NO_CONTENT), &upload)),
        Appended::Whole(artifact) => finished(&call, artifact, StatusCode::CREATED).await,
    }
}

pub(super) async fn abandon(call: Call) -> Answer {
    let name = call.name("model")?;
    call.may(Action::WriteModels, Some(&name))?;
    let upload = find(&call, &name).await?;
    store(&call)?.abandon(&upload).await.map_err(refused)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// The whole file at once.
pub(super) async fn put(mut call: Call) -> Answer {
    let place = place(&call)?;
    call.may(Action::WriteModels, Some(&place.model))?;
    call.app.serving.model(&place.model).await?;
    if call.headers().contains_key(http::header::CONTENT_ENCODING) {
        return Err(Problem::UnsupportedMediaType {
            field: "content-encoding",
            detail: "an artifact is stored as it is; send it without a coding".to_owned(),
        });
    }
    let kind = kind(&call, &place)?;
    let digest = documents::digest_field(call.headers())?;
    let size = call
        .field(CONTENT_LENGTH.as_str())
        .and_then(|length| length.parse().ok());
    let size = size.ok_or_else(|| {
        Error::invalid("content-length", "is missing; send it, or upload in parts")
    })?;
    let only_if = precondition(call.headers())?;
    let there = find_artifact(&call, &place).await?;
    let checked = only_if.check(there.as_ref().map(|artifact| artifact.digest));
    checked.map_err(|error| failed(error, only_if))?;
    if there.is_some() && only_if == Precondition::None {
        return Err(Refusal::precondition_required().into());
    }
    let status = match there {
        Some(_) => StatusCode::OK,
        None => StatusCode::CREATED,
    };
    let new = NewUpload {
        place,
        kind,
        size,
        digest,
    };
    let upload = store(&call)?.begin(new).await.map_err(refused)?;
    let mut source = BodySource::new(call.take_body(), &call.app.limits);
    let appended = store(&call)?.append(&upload, 0, &mut source).await;
    let artifact = match appended.map_err(|error| source.refused(error)) {
        Ok(Appended::Whole(artifact)) => artifact,
        outcome => {
            // Nobody knows of the upload who could go on with it.
            let abandoned = store(&call)?.abandon(&upload).await;
            if let Err(error) = abandoned {
                tracing::debug!(%error, "an upload that broke off is left until it expires");
            }
            outcome?;
            return Err(Error::invalid("body", "the body is shorter than its length").into());
        }
    };
    finished(&call, artifact, status).await
}

pub(super) async fn download(call: Call) -> Answer {
    let place = place(&call)?;
    call.may(Action::ReadModels, Some(&place.model))?;
    let artifact = existing(&call, &place).await?;
    if call
        .field(IF_NONE_MATCH.as_str())
        .is_some_and(|field| has_tag(field, artifact.digest))
    {
        return Ok(tagged(empty(StatusCode::NOT_MODIFIED), artifact.digest));
    }
    let range = range::wanted(call.headers(), artifact.size, &entity_tag(artifact.digest));
    let (status, range) = match range {
        range::Wanted::Whole => (StatusCode::OK, 0..artifact.size),
        range::Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        range::Wanted::Nothing => return Err(Refusal::range(artifact.size).into()),
    };
    let length = range.end - range.start;
    let body = match call.parts.method == http::Method::HEAD {
        true => Body::empty(),
        false => stream(
            store(&call)?
                .read(&artifact, range.clone())
                .await
                .map_err(refused)?,
        ),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let media_type = HeaderValue::from_static("application/octet-stream");
    headers.insert(CONTENT_TYPE, media_type);
    if status == StatusCode::PARTIAL_CONTENT {
        let (first, last, size) = (range.start, range.end - 1, artifact.size);
        let place = HeaderValue::from_str(&format!("bytes {first}-{last}/{size}"));
        headers.insert(CONTENT_RANGE, place.map_err(Error::internal)?);
    }
    if let Ok(digest) = HeaderValue::from_str(&documents::repr_digest(artifact.digest)) {
        headers.insert(documents::REPR_DIGEST, digest);
    }
    Ok(tagged(response, artifact.digest))
}

pub(super) async fn remove(call: Call) -> Answer {
    let place = place(&call)?;
    call.may(Action::WriteModels, Some(&place.model))?;
    let only_if = precondition(call.headers())?;
    let artifact = existing(&call, &place).await?;
    let checked = only_if.check(Some(artifact.digest));
    checked.map_err(|error| failed(error, only_if))?;
    store(&call)?.remove(&place).await.map_err(refused)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Answers with an artifact that came whole, and brings its version into the site where the model's own file is there.
async fn finished(call: &Call, artifact: Artifact, status: StatusCode) -> Answer {
    let ArtifactPlace {
        model,
        version,
        file,
    } = artifact.place.clone();
    let artifacts = store(call)?.list(&model).await.map_err(refused)?;
    let is_model = |one: &Artifact| {
        one.place.version == version
            && one.kind == ArtifactKind::Weights
            && one.place.file.as_str() == "model.onnx"
    };
    let mut document = ArtifactDocument::from(&artifact);
    if artifacts.iter().any(is_model) {
        let operation = operations::land(call, &model, version, Promotion::None)?;
        document.operation = Some(operation.path());
    }
    let path = format!("/v1/models/{model}/artifacts/{version}/{file}");
    let response = json(status, &document)?;
    Ok(located(tagged(response, artifact.digest), &path))
}

fn store(call: &Call) -> Result<&Arc<dyn ArtifactStore>, Error> {
    call.app.serving.artifacts()
}

async fn find(call: &Call, model: &Name) -> Result<Upload, Problem> {
    let id = call.name("upload")?;
    let found = store(call)?.upload(model, &id).await;
    found.map_err(refused)
}

async fn find_artifact(call: &Call, place: &ArtifactPlace) -> Result<Option<Artifact>, Problem> {
    let artifacts = store(call)?.list(&place.model).await.map_err(refused)?;
    Ok(artifacts
        .into_iter()
        .find(|artifact| artifact.place == *place))
}

async fn existing(call: &Call, place: &ArtifactPlace) -> Result<Artifact, Problem> {
    let found = find_artifact(call, place).await?;
    found.ok_or_else(|| {
        let message = format!(
            "model {} has no artifact {} of version {}; GET /v1/models/{}/artifacts lists those it has",
            place.model, place.file, place.version, place.model
        );
        Error::new(ErrorKind::NotFound, message).with_field("artifact").into()
    })
}

fn place(call: &Call) -> Result<ArtifactPlace, Error> {
    Ok(ArtifactPlace {
        model: call.name("model")?,
        version: call.number()?,
        file: call.name("file")?,
    })
}

/// What a file is: said with `?kind=`, and weights where it has their name.
fn kind(call: &Call, place: &ArtifactPlace) -> Result<ArtifactKind, Error> {
    let query = call.query();
    let said = query.iter().find(|(name, _)| name == "kind");
    match said {
        Some((_, kind)) => kind
            .parse()
            .map_err(|error: wharf_core::UnknownKind| Error::invalid("kind", error.to_string())),
        None if place.file.as_str() == "model.onnx" => Ok(ArtifactKind::Weights),
        None => Err(Error::invalid(
            "kind",
            "is missing; say ?kind=weights, configuration, labels or feature-maps",
        )),
    }
}

fn check_part(call: &Call) -> Result<(), Problem> {
    let Some(said) = call.field(CONTENT_TYPE.as_str()) else {
        return Ok(());
    };
    let essence = said.split(';').next().unwrap_or_default().trim();
    match PARTS.iter().any(|part| part.eq_ignore_ascii_case(essence)) {
        true => Ok(()),
        false => Err(not_json(
            "a part is bytes; send it as application/partial-upload",
        )),
    }
}

/// Says where an upload stands.
fn standing(mut response: Response, upload: &Upload) -> Response {
    let headers = response.headers_mut();
    headers.insert(UPLOAD_OFFSET, HeaderValue::from(upload.offset));
    headers.insert(UPLOAD_LENGTH, HeaderValue::from(upload.of.size));
    let complete = HeaderValue::from_static("?0");
    headers.insert(UPLOAD_COMPLETE, complete);
    response
}

/// What a store refuses, as it reaches a client.
fn refused(error: ArtifactError) -> Problem {
    match error {
        ArtifactError::NoRoom(detail) => Refusal::no_room(detail).into(),
        ArtifactError::Offset { offset } => Refusal::offset(UPLOAD_OFFSET, offset).into(),
        ArtifactError::Refused(error) => error.into(),
    }
}
