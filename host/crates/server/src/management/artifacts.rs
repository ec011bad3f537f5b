//! Artifacts: the files of a model's versions, uploaded in parts or at once, and downloaded in ranges.
//!
//! An upload says first what it will be: `POST .../artifacts`. Its parts follow by PATCH, each with the `Upload-Offset` where it begins;
//! HEAD tells where that is after a broken connection. With the last byte the content is compared with its digest. Once the model's own
//! file is there, the version is brought into the site, as an operation.

mod begun;
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
    ErrorKind, Name, NewUpload, Precondition, Upload,
};
use wharf_serving::Promotion;

use super::call::{empty, entity_tag, has_tag, json, located, not_json, precondition, tagged};
use super::operations;
use crate::call::{Answer, Call};
use crate::problem::{Problem, Refusal};
use begun::Begun;
use transfer::{BodySource, stream};

pub(crate) use documents::{
    ArtifactDocument, ArtifactList, NewUploadDocument, UploadDocument, UploadList,
};

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
    call.model_for(Action::ReadModels, &name).await?;
    let artifacts = store(&call)?.list(&name).await.map_err(refused)?;
    let artifacts = artifacts.iter().map(ArtifactDocument::from).collect();
    json(StatusCode::OK, &ArtifactList { artifacts })
}

pub(super) async fn begin(mut call: Call) -> Answer {
    let name = call.name("model")?;
    call.model_for(Action::WriteModels, &name).await?;
    let wanted: NewUploadDocument = call.json_document().await?;
    let wanted = NewUpload {
        only_if: precondition(call.headers())?,
        tenant: call.client.tenant().cloned(),
        ..wanted.read(name.clone())?
    };
    let upload = Begun::begin(&call, wanted).await?;
    let path = format!("/v1/models/{name}/artifacts/uploads/{}", upload.id);
    let response = json(StatusCode::CREATED, &UploadDocument::from(&*upload))?;
    let response = located(standing(response, &upload), &path);
    upload.keep();
    Ok(response)
}

pub(super) async fn uploads(call: Call) -> Answer {
    let name = call.name("model")?;
    call.model_for(Action::ReadModels, &name).await?;
    let uploads = store(&call)?.uploads(&name).await.map_err(refused)?;
    let uploads = uploads.iter().map(UploadDocument::from).collect();
    Ok(fresh(json(StatusCode::OK, &UploadList { uploads })?))
}

pub(super) async fn upload(call: Call) -> Answer {
    let name = call.name("model")?;
    call.model_for(Action::ReadModels, &name).await?;
    let upload = find(&call, &name).await?;
    let response = json(StatusCode::OK, &UploadDocument::from(&upload))?;
    Ok(standing(fresh(response), &upload))
}

pub(super) async fn append(mut call: Call) -> Answer {
    let name = call.name("model")?;
    call.model_for(Action::WriteModels, &name).await?;
    check_part(&call)?;
    check_coding(&call)?;
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
    call.model_for(Action::WriteModels, &name).await?;
    let upload = find(&call, &name).await?;
    store(&call)?.abandon(&upload).await.map_err(refused)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// The whole file at once.
pub(super) async fn put(mut call: Call) -> Answer {
    let place = place(&call)?;
    call.model_for(Action::WriteModels, &place.model).await?;
    check_coding(&call)?;
    let kind = kind(&call, &place)?;
    let digest = documents::digest_field(call.headers())?;
    let size = call
        .field(CONTENT_LENGTH.as_str())
        .and_then(|length| length.parse().ok());
    let size =
        size.ok_or_else(|| Refusal::length_required("is missing; send it, or upload in parts"))?;
    let only_if = precondition(call.headers())?;
    // What may replace nothing makes something, and the other way about.
    let status = match only_if {
        Precondition::None | Precondition::Absent => StatusCode::CREATED,
        Precondition::Present | Precondition::Is(_) => StatusCode::OK,
    };
    let new = NewUpload {
        place,
        kind,
        size,
        digest,
        only_if,
        tenant: call.client.tenant().cloned(),
    };
    let upload = Begun::begin(&call, new).await?;
    let mut source = BodySource::new(call.take_body(), &call.app.limits);
    let appended = store(&call)?.append(&upload, 0, &mut source).await;
    match appended.map_err(|error| source.refused(error))? {
        Appended::Whole(artifact) => {
            upload.keep();
            finished(&call, artifact, status).await
        }
        Appended::Partial(_) => {
            Err(Error::invalid("body", "the body is shorter than its length").into())
        }
    }
}

pub(super) async fn download(call: Call) -> Answer {
    let place = place(&call)?;
    call.model_for(Action::ReadModels, &place.model).await?;
    // A page of another name has no business with weights.
    call.app.check_host(call.asker().host)?;
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
    call.model_for(Action::WriteModels, &place.model).await?;
    let only_if = precondition(call.headers())?;
    existing(&call, &place).await?;
    let removed = store(&call)?.remove(&place, only_if).await;
    removed.map_err(refused)?;
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

fn check_coding(call: &Call) -> Result<(), Problem> {
    match call.headers().contains_key(http::header::CONTENT_ENCODING) {
        false => Ok(()),
        true => Err(Problem::UnsupportedMediaType {
            field: "content-encoding",
            detail: "an artifact is stored as it is; send it without a coding".to_owned(),
        }),
    }
}

/// Keeps an answer out of caches: where an upload stands changes with every part.
fn fresh(mut response: Response) -> Response {
    let fresh = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(http::header::CACHE_CONTROL, fresh);
    response
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
        ArtifactError::PreconditionRequired => Refusal::precondition_required().into(),
        ArtifactError::PreconditionFailed(error) => {
            let field = error.field().unwrap_or_default().to_owned();
            Refusal::precondition_failed(field, error.message().to_owned()).into()
        }
        ArtifactError::Offset { offset } => Refusal::offset(UPLOAD_OFFSET, offset).into(),
        ArtifactError::Refused(error) => error.into(),
    }
}
