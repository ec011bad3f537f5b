//! Models: registered, listed, read, replaced, changed and deleted.

mod document;
mod list;
mod patch;

use axum::response::Response;
use http::StatusCode;
use http::header::{CONTENT_TYPE, VARY};
use http::request::Parts;
use http::{HeaderValue, Method};
use serde_json::{Map, Value};
use wharf_core::{Action, Error, ErrorKind, Name};
use wharf_serving::{
    IF_MATCH, IF_NONE_MATCH, ModelChange, ModelDocument, ModelRecord, ModelState, PartContent,
    Precondition, Route, SiteChange, SitePart,
};

use super::call::{Version, empty, json, located, not_json, precondition, record, tagged};
use crate::app::App;
use crate::call::{Answer, Call};
use crate::client::Asker;
use crate::problem::{Problem, Refusal};
use document::{ModelInput, flat, protocol};

pub(crate) use document::{FlatModel, ProtocolModel};
pub(super) use list::list;
pub(crate) use list::{MAX_LIMIT, ModelList, ProtocolModelList};

/// How often a change is made anew that another one came before.
const ATTEMPTS: usize = 3;
const MERGE_PATCH: &str = "application/merge-patch+json";

pub(super) async fn register(mut call: Call) -> Answer {
    let version = Version::of(&call.parts)?;
    call.asker().may_somewhere(Action::WriteModels)?;
    let input: ModelInput = call.json_document().await?;
    let name = input
        .name
        .clone()
        .ok_or_else(|| Error::invalid("name", "is missing"))?;
    let name = Name::new(&name).map_err(|error| Error::invalid("name", error.to_string()))?;
    call.may(Action::WriteModels, Some(&name))?;
    let made = change(&call, &name, input.document()?, Precondition::Absent).await;
    made.map_err(|error| match error.field() {
        Some(IF_NONE_MATCH) => {
            let message = format!("there is a model {name} already; replace or change it");
            Error::new(ErrorKind::Conflict, message).with_field("name")
        }
        _ => error,
    })?;
    let path = format!("{}/{name}", version.prefix());
    Ok(located(
        show(&call, &name, version, StatusCode::CREATED).await?,
        &path,
    ))
}

pub(super) async fn read(call: Call) -> Answer {
    let version = Version::of(&call.parts)?;
    let name = call.name("model")?;
    call.may(Action::ReadModels, Some(&name))?;
    show(&call, &name, version, StatusCode::OK).await
}

pub(super) async fn replace(mut call: Call) -> Answer {
    let (version, name) = (Version::of(&call.parts)?, call.name("model")?);
    call.may(Action::WriteModels, Some(&name))?;
    let only_if = precondition(call.headers())?;
    let is_new = known(&call, &name).await?.is_none();
    if !is_new && only_if == Precondition::None {
        return Err(Refusal::precondition_required().into());
    }
    let input: ModelInput = call.json_document().await?;
    input.check_name(&name)?;
    let made = change(&call, &name, input.document()?, creating(is_new, only_if)).await;
    made.map_err(|error| failed(error, only_if))?;
    let status = match is_new {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    let response = show(&call, &name, version, status).await?;
    Ok(match is_new {
        true => located(response, &format!("{}/{name}", version.prefix())),
        false => response,
    })
}

pub(super) async fn patch(mut call: Call) -> Answer {
    let (version, name) = (Version::of(&call.parts)?, call.name("model")?);
    // Before what the request says of it: a model that is not there has no content to compare.
    call.model_for(Action::WriteModels, &name).await?;
    let only_if = precondition(call.headers())?;
    let media_type = call.field(CONTENT_TYPE.as_str()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case(MERGE_PATCH) {
        return Err(not_json(
            "a change is a merge patch; send it as application/merge-patch+json",
        ));
    }
    let patch: Map<String, Value> = call.document().await?;
    for attempt in 1.. {
        let record = call.record(&name).await?;
        only_if
            .check(Some(record.digest))
            .map_err(|error| failed(error, only_if))?;
        if !record.is_readable {
            let message = "what is there is no TOML; replace it as a whole with PUT";
            return Err(Error::new(ErrorKind::Unprocessable, message).into());
        }
        let input = patch::apply(&record.document, patch.clone())?;
        input.check_name(&name)?;
        let expected = Precondition::Is(record.digest);
        match change(&call, &name, input.document()?, expected).await {
            Ok(()) => break,
            // Another change came between: without a word of the client's, the patch is laid over what is now.
            Err(error)
                if error.field() == Some(IF_MATCH) && error.kind() == ErrorKind::Conflict =>
            {
                if only_if != Precondition::None {
                    return Err(failed(error, only_if));
                }
                if attempt >= ATTEMPTS {
                    let message = "others keep changing the model; try again";
                    return Err(Error::new(ErrorKind::Conflict, message)
                        .with_field("model")
                        .into());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    show(&call, &name, version, StatusCode::OK).await
}

pub(super) async fn remove(call: Call) -> Answer {
    let name = call.name("model")?;
    call.model_for(Action::WriteModels, &name).await?;
    let only_if = precondition(call.headers())?;
    let change = SiteChange {
        part: SitePart::Model(name.clone()),
        content: PartContent::Nothing,
        only_if,
        by: call.client.author(),
    };
    let removed = call.app.serving.change_site(change).await;
    removed.map_err(|error| failed(error, only_if))?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// The document of the Open Inference Protocol with the members of management beside its own. None where the name is that of no
/// model of the site, or where a model that should take requests takes none: then the protocol says why.
pub(crate) async fn superset(
    asker: Asker<'_>,
    parts: &Parts,
    name: &str,
    route: Option<&Route>,
) -> Option<Answer> {
    let name = Name::new(name).ok()?;
    let app = asker.app;
    asker.may(Action::ReadModels, Some(name.as_str())).ok()?;
    let record = record(asker, &name).await.ok()?;
    let described = route.is_some() || record.state() == ModelState::Registered;
    described.then(|| shown(app, parts, &record, (Version::Two, StatusCode::OK)))
}

/// Whether the client of the protocol asks for the flat document instead, and that document.
pub(crate) async fn flat_if_asked(asker: Asker<'_>, parts: &Parts, name: &str) -> Option<Answer> {
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return None;
    }
    match Version::of(parts) {
        Ok(Version::Two) => None,
        Ok(Version::One) => {
            let name = match Name::new(name) {
                Ok(name) => name,
                Err(error) => return Some(Err(Error::invalid("model", error.to_string()).into())),
            };
            if let Err(error) = asker.may(Action::ReadModels, Some(name.as_str())) {
                return Some(Err(error.into()));
            }
            Some(match record(asker, &name).await {
                Ok(record) => shown(asker.app, parts, &record, (Version::One, StatusCode::OK)),
                Err(error) => Err(error.into()),
            })
        }
        Err(problem) => Some(Err(problem)),
    }
}

async fn known(call: &Call, name: &Name) -> Result<Option<ModelRecord>, Error> {
    match call.record(name).await {
        Ok(record) => Ok(Some(record)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn change(
    call: &Call,
    name: &Name,
    document: ModelDocument,
    only_if: Precondition,
) -> Result<(), Error> {
    let change = ModelChange {
        document: Some(document),
        only_if,
        by: call.client.author(),
        ..ModelChange::default()
    };
    call.app.serving.load_model(name, change).await
}

/// What must be so for a PUT: one that found nothing there, and says nothing of it, does not replace what another put there since.
pub(super) fn creating(is_new: bool, only_if: Precondition) -> Precondition {
    match only_if {
        Precondition::None if is_new => Precondition::Absent,
        only_if => only_if,
    }
}

/// A precondition of the client's that failed is 412, one that is missing 428; any other error is what it is.
pub(super) fn failed(error: Error, only_if: Precondition) -> Problem {
    match error.field() {
        Some(IF_NONE_MATCH) if only_if == Precondition::None => {
            Refusal::precondition_required().into()
        }
        Some(field @ (IF_MATCH | IF_NONE_MATCH)) if only_if != Precondition::None => {
            Refusal::precondition_failed(field.to_owned(), error.message().to_owned()).into()
        }
        _ => error.into(),
    }
}

async fn show(call: &Call, name: &Name, version: Version, status: StatusCode) -> Answer {
    let record = call.record(name).await?;
    shown(&call.app, &call.parts, &record, (version, status))
}

fn shown(
    app: &App,
    parts: &Parts,
    record: &ModelRecord,
    (version, status): (Version, StatusCode),
) -> Answer {
    let response = match version {
        Version::One => json(status, &flat(app, record, record.serving()))?,
        Version::Two => json(status, &protocol(app, record))?,
    };
    Ok(tagged(versioned(response, parts), record.digest))
}

/// Says which version it is, to who asked for one by its media type.
fn versioned(mut response: Response, parts: &Parts) -> Response {
    if let Ok(Some(version)) = Version::accepted(parts) {
        let media_type = HeaderValue::from_static(version.media_type());
        response.headers_mut().insert(CONTENT_TYPE, media_type);
    }
    varied(response)
}

/// Which version is answered with depends on what the client accepts.
pub(super) fn varied(mut response: Response) -> Response {
    let accept = HeaderValue::from_static("accept");
    response.headers_mut().insert(VARY, accept);
    response
}
