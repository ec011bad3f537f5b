//! Plugins: a component and its settings, put into the site and taken out. Each is checked before it lands: compiled, started and tested.

use axum::response::IntoResponse as _;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, IF_NONE_MATCH};
use http::{HeaderValue, StatusCode};
use sha2::{Digest as _, Sha256};
use wharf_core::{Action, Digest, Error, ErrorKind, Name};
use wharf_serving::{PartContent, Precondition, SiteChange, SitePart};

use super::call::{empty, has_tag, json, located, precondition, tagged};
use super::models::{creating, failed, varied};
use crate::call::{Answer, Call};
use crate::catalog::plugin_document;
use crate::problem::{Problem, Refusal};

const WASM: &str = "application/wasm";

/// What is in force of a plugin, or with `Accept: application/wasm` its component. The entity tag is the component's, which a change of it
/// names; what is in force changes with the settings too, and is always told anew.
pub(super) async fn read(call: Call) -> Answer {
    let name = call.name("plugin")?;
    call.may(Action::ReadModels, None)?;
    let wants_component = call
        .field(ACCEPT.as_str())
        .is_some_and(|accept| accept.contains(WASM));
    if wants_component {
        call.may_read_content()?;
    }
    let component = there(&call, SitePart::Plugin(name.clone())).await?;
    let content = digest(&component);
    if wants_component {
        return Ok(varied(unless_known(&call, content, || {
            typed(component, WASM)
        })));
    }
    let snapshot = call.app.serving.snapshot();
    let mut plugins = snapshot.plugins();
    let plugin = plugins.find(|plugin| plugin.info().name == name);
    let plugin = plugin.ok_or_else(|| {
        let message = format!(
            "plugin {name} is in the site, and not in force; the events of the site say why"
        );
        Error::new(ErrorKind::Unavailable, message).with_field("plugin")
    })?;
    let response = json(StatusCode::OK, &plugin_document(plugin.info()))?;
    Ok(varied(tagged(response, content)))
}

pub(super) async fn replace(mut call: Call) -> Answer {
    let name = call.name("plugin")?;
    call.may(Action::WritePlugins, Some(&name))?;
    let path = format!("/v1/plugins/{name}");
    land(&mut call, SitePart::Plugin(name), &path).await
}

pub(super) async fn remove(call: Call) -> Answer {
    let name = call.name("plugin")?;
    call.may(Action::WritePlugins, Some(&name))?;
    take_out(&call, SitePart::Plugin(name)).await
}

pub(super) async fn read_settings(call: Call) -> Answer {
    let name = call.name("plugin")?;
    call.may(Action::ReadModels, None)?;
    call.may_read_content()?;
    let settings = there(&call, SitePart::PluginSettings(name)).await?;
    let content = digest(&settings);
    Ok(unless_known(&call, content, || {
        typed(settings, "application/toml")
    }))
}

pub(super) async fn replace_settings(mut call: Call) -> Answer {
    let name = call.name("plugin")?;
    call.may(Action::WritePlugins, Some(&name))?;
    let path = format!("/v1/plugins/{name}/settings");
    land(&mut call, SitePart::PluginSettings(name), &path).await
}

/// Answers with a content, or that the client has it.
fn unless_known(
    call: &Call,
    content: Digest,
    answer: impl FnOnce() -> axum::response::Response,
) -> axum::response::Response {
    let known = call.field(IF_NONE_MATCH.as_str());
    match known.is_some_and(|field| has_tag(field, content)) {
        true => tagged(empty(StatusCode::NOT_MODIFIED), content),
        false => tagged(answer(), content),
    }
}

/// Lands what the body has.
async fn land(call: &mut Call, part: SitePart, path: &str) -> Answer {
    let only_if = precondition(call.headers())?;
    let is_new = call.app.serving.site_part(&part).await?.is_none();
    if !is_new && only_if == Precondition::None {
        return Err(Refusal::precondition_required().into());
    }
    let (body, _reservation) = call.bytes().await?;
    if body.is_empty() {
        let message = "is empty; send the file, or delete the plugin";
        return Err(Error::invalid("body", message).into());
    }
    let content = digest(&body);
    put(call, part, PartContent::Bytes(body), (is_new, only_if)).await?;
    Ok(match is_new {
        true => located(tagged(empty(StatusCode::CREATED), content), path),
        false => tagged(empty(StatusCode::NO_CONTENT), content),
    })
}

/// Changes a part of the site.
pub(super) async fn put(
    call: &Call,
    part: SitePart,
    content: PartContent,
    (is_new, only_if): (bool, Precondition),
) -> Result<(), Problem> {
    let change = SiteChange {
        part,
        content,
        only_if: creating(is_new, only_if),
        by: call.client.author(),
    };
    let changed = call.app.serving.change_site(change).await;
    changed.map_err(|error| failed(error, only_if))
}

/// Takes a part out of the site.
pub(super) async fn take_out(call: &Call, part: SitePart) -> Answer {
    let only_if = precondition(call.headers())?;
    put(call, part, PartContent::Nothing, (false, only_if)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// What the site has of a part.
pub(super) async fn there(call: &Call, part: SitePart) -> Result<Bytes, Error> {
    let found = call.app.serving.site_part(&part).await?;
    found.ok_or_else(|| missing(part.name(), &part))
}

pub(super) fn missing(name: &Name, part: &SitePart) -> Error {
    let (field, what) = match part {
        SitePart::Plugin(_) => ("plugin", "plugin"),
        SitePart::PluginSettings(_) => ("plugin", "settings of a plugin"),
        SitePart::Route(_) | SitePart::Model(_) => ("route", "route"),
    };
    let message = format!(
        "the site has no {what} {name} of its own; GET /v1/{field}s lists what is in force"
    );
    Error::new(ErrorKind::NotFound, message).with_field(field)
}

pub(super) fn digest(content: &[u8]) -> Digest {
    Digest::new(Sha256::digest(content).into())
}

fn typed(content: Bytes, media_type: &'static str) -> axum::response::Response {
    let mut response = content.into_response();
    let media_type = HeaderValue::from_static(media_type);
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}
