//! The list of models: by pages, and by what they are.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use wharf_core::{Error, Modality, Name, Result};
use wharf_serving::{ModelRecord, ModelState};

use super::document::{FlatModel, ProtocolModel, flat, protocol, state_name};
use super::versioned;
use crate::call::{Answer, Call};
use crate::management::call::{Version, json};

/// The longest page. Without a limit the list is whole, as it was before it had pages: who knows of none would miss models.
pub(crate) const MAX_LIMIT: usize = 1000;

/// A page of models: an entry for each version that serves, and one for each model of which none does.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelList {
    models: Vec<FlatModel>,
    /// What the next page is asked for with; there is none where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
}

/// A page of models as the Open Inference Protocol describes them, and more: an entry for each.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProtocolModelList {
    models: Vec<ProtocolModel>,
    /// What the next page is asked for with; there is none where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
}

/// What is asked for.
#[derive(Default)]
struct Wanted {
    limit: Option<usize>,
    /// The entry that the page comes after: a name and a version.
    after: Option<(String, u64)>,
    modality: Option<Modality>,
    /// A label, with its value or whatever it is.
    labels: Vec<(String, Option<String>)>,
    prefix: String,
    state: Option<ModelState>,
}

pub(in crate::management) async fn list(call: Call) -> Answer {
    let version = Version::of(&call.parts)?;
    let wanted = Wanted::of(call.query())?;
    let mut records = call.app.serving.models().await?;
    records.retain(|record| call.sees(record) && wanted.fits(record));
    let limit = wanted.limit.unwrap_or(usize::MAX);
    let mut places: Vec<(&ModelRecord, Option<u64>)> = Vec::new();
    for record in &records {
        match version {
            Version::One => places.extend(entries(&call, record).map(|version| (record, version))),
            Version::Two => places.push((record, None)),
        }
    }
    let key = |(record, version): &(&ModelRecord, Option<u64>)| {
        (record.name.to_string(), version.unwrap_or_default())
    };
    if let Some(after) = &wanted.after {
        places.retain(|place| key(place) > *after);
    }
    let has_more = places.len() > limit;
    places.truncate(limit);
    let next = places.last().filter(|_| has_more).map(key);
    let next_cursor =
        next.map(|(name, version)| URL_SAFE_NO_PAD.encode(format!("{name}/{version}")));
    let places = places.iter();
    let response = match version {
        Version::One => {
            let models = places.map(|(record, number)| flat(&call.app, record, *number));
            let models = models.collect();
            json(
                StatusCode::OK,
                &ModelList {
                    models,
                    next_cursor,
                },
            )?
        }
        Version::Two => {
            let models = places.map(|(record, _)| protocol(&call.app, record));
            let models = models.collect();
            json(
                StatusCode::OK,
                &ProtocolModelList {
                    models,
                    next_cursor,
                },
            )?
        }
    };
    Ok(versioned(response, &call.parts))
}

/// The versions of a model that have an entry of their own; one without a version where none serves.
fn entries(call: &Call, record: &ModelRecord) -> impl Iterator<Item = Option<u64>> + use<> {
    let snapshot = call.app.serving.snapshot();
    let models = snapshot
        .models()
        .filter(|model| model.info().name == record.name);
    let mut versions: Vec<Option<u64>> = models.map(|model| Some(model.info().version)).collect();
    if versions.is_empty() {
        versions.push(None);
    }
    versions.into_iter()
}

impl Wanted {
    fn of(query: Vec<(String, String)>) -> Result<Self> {
        let mut wanted = Self::default();
        for (name, value) in query {
            match name.as_str() {
                "limit" => {
                    let limit = value
                        .parse()
                        .ok()
                        .filter(|limit| (1..=MAX_LIMIT).contains(limit));
                    let limit = limit.ok_or_else(|| Error::invalid("limit", "use 1 to 1000"))?;
                    wanted.limit = Some(limit);
                }
                "cursor" => wanted.after = Some(cursor(&value)?),
                "modality" => {
                    let modality = value.parse();
                    wanted.modality =
                        Some(modality.map_err(|error: wharf_core::UnknownModality| {
                            Error::invalid("modality", error.to_string())
                        })?);
                }
                "label" => wanted.labels.push(match value.split_once([':', '=']) {
                    Some((label, value)) => (label.to_owned(), Some(value.to_owned())),
                    None => (value, None),
                }),
                "name" => wanted.prefix = value,
                "state" => wanted.state = Some(state(&value)?),
                _ => {
                    let name: String = name.chars().take(64).collect();
                    let message =
                        "is no parameter here; use limit, cursor, modality, label, name or state";
                    return Err(Error::invalid(name, message));
                }
            }
        }
        Ok(wanted)
    }

    fn fits(&self, record: &ModelRecord) -> bool {
        let registration = &record.document.registration;
        let has_label = |(label, value): &(String, Option<String>)| {
            let there = registration.labels.get(label);
            there.is_some_and(|there| value.as_ref().is_none_or(|value| value == there))
        };
        record.name.as_str().starts_with(&self.prefix)
            && self
                .modality
                .is_none_or(|wanted| registration.modalities.contains(&wanted))
            && self.labels.iter().all(has_label)
            && self.state.is_none_or(|wanted| wanted == record.state())
    }
}

/// The place that a cursor names. It is the server's own word, and only looks like none.
fn cursor(text: &str) -> Result<(String, u64)> {
    let place = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (name, version) = text.split_once('/')?;
        Some((Name::new(name).ok()?.to_string(), version.parse().ok()?))
    };
    place()
        .ok_or_else(|| Error::invalid("cursor", "is none that this server gave; begin without one"))
}

fn state(text: &str) -> Result<ModelState> {
    let states = [
        ModelState::Registered,
        ModelState::Ready,
        ModelState::Loading,
        ModelState::Unavailable,
        ModelState::Unloading,
    ];
    let mut states = states.into_iter();
    states
        .find(|state| state_name(*state) == text)
        .ok_or_else(|| {
            let message = "a state is registered, ready, loading, unavailable or unloading";
            Error::invalid("state", message)
        })
}
