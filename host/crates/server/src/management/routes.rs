//! Routes: read and written as JSON of the same keys as `routes/NAME.toml`. What is read may be sent back.

use http::StatusCode;
use http::header::IF_NONE_MATCH;
use serde_json::{Map, Value};
use wharf_core::{Action, Name};
use wharf_serving::{PartContent, Precondition, SitePart, read_entries, tenants_of};

use super::call::{empty, has_tag, json, located, precondition, tagged};
use super::plugins::{digest, missing, put, take_out, there};
use super::value::{entries, object};
use crate::call::{Answer, Call};
use crate::problem::Refusal;

pub(super) async fn read(call: Call) -> Answer {
    let name = call.name("route")?;
    call.may(Action::ReadModels, Some(&name))?;
    show(&call, name, StatusCode::OK).await
}

pub(super) async fn replace(mut call: Call) -> Answer {
    let name = call.name("route")?;
    call.may(Action::WriteRoutes, Some(&name))?;
    let only_if = precondition(call.headers())?;
    let part = SitePart::Route(name.clone());
    let is_new = call.app.serving.site_part(&part).await?.is_none();
    if !is_new && only_if == Precondition::None {
        return Err(Refusal::precondition_required().into());
    }
    let document: Map<String, Value> = call.json_document().await?;
    let content = PartContent::Entries(entries("", document)?);
    put(&call, part, content, (is_new, only_if)).await?;
    match is_new {
        true => {
            let path = format!("/v1/routes/{name}");
            Ok(located(
                show(&call, name, StatusCode::CREATED).await?,
                &path,
            ))
        }
        false => show(&call, name, StatusCode::OK).await,
    }
}

pub(super) async fn remove(call: Call) -> Answer {
    let name = call.name("route")?;
    call.may(Action::WriteRoutes, Some(&name))?;
    take_out(&call, SitePart::Route(name)).await
}

async fn show(call: &Call, name: Name, status: StatusCode) -> Answer {
    let part = SitePart::Route(name.clone());
    let text = there(call, part.clone()).await?;
    let tenants = tenants_of(&String::from_utf8_lossy(&text));
    if !call.client.is_among(&tenants) {
        return Err(missing(&name, &part).into());
    }
    let content = digest(&text);
    let unchanged = call
        .field(IF_NONE_MATCH.as_str())
        .filter(|_| call.parts.method != http::Method::PUT);
    if unchanged.is_some_and(|field| has_tag(field, content)) {
        return Ok(tagged(empty(StatusCode::NOT_MODIFIED), content));
    }
    let entries = read_entries(&format!("routes/{name}.toml"), &text)?;
    Ok(tagged(json(status, &object(&entries))?, content))
}
