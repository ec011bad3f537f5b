//! The model repository: what is there, and loading and unloading while requests run.
//!
//! A load may carry a configuration in the words of Triton, which is laid over `model.toml`, and files of versions. Where
//! files come without a version policy, exactly the versions that they are of serve from then on.

mod config;
mod fields;

use std::error::Error as StdError;

use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;
use wharf_core::{Action, Error, ErrorKind, LoadError, Name, Result};
use wharf_serving::{
    IndexEntry, ModelChange, ModelCheck, ModelFile, ModelState, SettingEdit, SettingValue,
};

use super::documents::model_name;
use crate::app::App;
use crate::client::{Asker, Client};
use crate::json::shorten;
use config::Places;

/// How the name of a parameter begins that holds a file.
pub(crate) const FILE: &str = "file:";
/// What is said of any other parameter than `config` and files.
pub(crate) const NO_LOAD_PARAMETER: &str =
    "a load has no such parameter; use config and file:VERSION/NAME";
/// The most files of one load.
pub(crate) const MAX_FILES: usize = 1024;
/// The longest configuration, in bytes: as a tree it takes many times as much.
const MAX_CONFIG: usize = 1 << 20;
/// The longest path of a file inside its version, in bytes.
const MAX_PATH: usize = 1024;

/// A version, and how it is.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RepositoryIndexEntry)]
pub(crate) struct IndexDocument {
    pub(crate) name: String,
    /// Empty where no version is known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) version: String,
    pub(crate) state: &'static str,
    pub(crate) reason: String,
}

/// What a load may carry.
#[derive(Debug, Default)]
pub(crate) struct LoadParameters {
    /// Triton's model configuration as JSON: what it says is laid over `model.toml`.
    pub(crate) config: Option<String>,
    /// Files by the name of their parameter: `file:1/model.onnx`.
    pub(crate) files: Vec<(String, Bytes)>,
}

/// Every version of every model, and how it is; those that take requests alone where `ready` is asked for.
pub(crate) fn index(app: &App, client: &Client, ready: Option<bool>) -> Vec<IndexDocument> {
    let only_ready = ready == Some(true);
    let entries = app.serving.index().into_iter();
    entries
        .filter(|entry| client.sees(entry.name.as_str(), &entry.tenants))
        .filter(|entry| !only_ready || entry.state == ModelState::Ready)
        .map(IndexDocument::from)
        .collect()
}

impl From<IndexEntry> for IndexDocument {
    fn from(entry: IndexEntry) -> Self {
        let version = entry.version.map(|version| version.to_string());
        Self {
            name: entry.name.to_string(),
            version: version.unwrap_or_default(),
            state: match entry.state {
                ModelState::Ready => "READY",
                ModelState::Unavailable | ModelState::Registered => "UNAVAILABLE",
                ModelState::Loading => "LOADING",
                ModelState::Unloading => "UNLOADING",
            },
            reason: entry.reason,
        }
    }
}

/// Loads a model, with what the client wants changed.
///
/// # Errors
/// As [`Serving::load_model`](wharf_serving::Serving::load_model); `PermissionDenied` where clients may not;
/// `InvalidArgument` with the parameter as the field where one cannot be what it says.
pub(crate) async fn load(asker: Asker<'_>, name: &str, parameters: LoadParameters) -> Result<()> {
    let name = model_name(name)?;
    asker.may(Action::WriteModels, Some(name.as_str()))?;
    asker.owns(&name)?;
    let _permit = asker.app.admit(asker.client, None, &mut None).await?;
    let LoadParameters { config, files } = parameters;
    let config = match &config {
        Some(config) if config.len() > MAX_CONFIG => {
            let message = "the configuration is longer than 1 MiB; leave out what stays as it is";
            return Err(Error::invalid("parameters.config", message));
        }
        Some(config) => config::translate(config, &name)?,
        None => config::Translated::default(),
    };
    if files.len() > MAX_FILES {
        return Err(Error::invalid(
            "parameters",
            "a load carries at most 1024 files",
        ));
    }
    let files: Vec<ModelFile> = files
        .into_iter()
        .map(|(key, data)| model_file(&key, data))
        .collect::<Result<_>>()?;
    let mut settings = config.settings;
    if !files.is_empty() && !config.has_version_policy {
        settings.extend(exactly(&files)?);
    }
    // What is said of the model must be true of what would serve: else nothing changes.
    let claims = config.claims;
    let check = (!claims.is_empty()).then(|| ModelCheck::new(move |model| claims.check(model)));
    let change = ModelChange {
        settings,
        files,
        check,
        by: asker.client.author(),
        ..ModelChange::default()
    };
    let loaded = asker.app.serving.load_model(&name, change).await;
    loaded.map_err(|error| in_parameters(error, &config.places))
}

/// Names a parameter as the client did, and no file: those of the site are the operator's, and stand in the log.
fn in_parameters(error: Error, places: &Places) -> Error {
    let setting = StdError::source(&error).and_then(|source| source.downcast_ref::<LoadError>());
    let text = setting.map(|setting| setting.client_message().to_owned());
    let error = match (text, error.kind()) {
        (Some(text), ErrorKind::InvalidArgument) => error.with_message(text),
        _ => error,
    };
    let field = match error.field() {
        Some(field) if field == "config" || field.starts_with(FILE) => {
            format!("parameters.{field}")
        }
        Some(field) => match field.strip_prefix("config.") {
            Some(key) => places.of(key),
            None => return error,
        },
        None => return error,
    };
    error.with_field(field)
}

/// Takes a model out of force. A route goes with its file, and depends on its models: `dependents` asks for these.
///
/// # Errors
/// As [`Serving::unload_model`](wharf_serving::Serving::unload_model); `PermissionDenied` where clients may not;
/// `InvalidArgument` where the name is that of a route, and its models are not asked for.
pub(crate) async fn unload(asker: Asker<'_>, name: &str, dependents: Dependents) -> Result<()> {
    let name = model_name(name)?;
    asker.may(Action::WriteModels, Some(name.as_str()))?;
    asker.owns(&name)?;
    let app = asker.app;
    let _permit = app.admit(asker.client, None, &mut None).await?;
    let models = models_of(app, &name);
    if models.is_empty() {
        return app.serving.unload_model(&name, asker.client.author()).await;
    }
    if dependents == Dependents::Stay {
        let there: Vec<&str> = models.iter().map(Name::as_str).collect();
        let message = format!(
            "{name} is a route, which goes with its file; unload its models ({}), by name or with unload_dependents",
            there.join(", ")
        );
        return Err(Error::new(ErrorKind::InvalidArgument, message).with_field("model"));
    }
    for model in &models {
        asker.owns(model)?;
    }
    for model in &models {
        app.serving
            .unload_model(model, asker.client.author())
            .await?;
    }
    Ok(())
}

/// What becomes of the models that a route leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dependents {
    Stay,
    Unload,
}

impl From<bool> for Dependents {
    fn from(unload: bool) -> Self {
        if unload { Self::Unload } else { Self::Stay }
    }
}

/// The models of a route whose name no model has; none for the name of a model.
fn models_of(app: &App, name: &Name) -> Vec<Name> {
    let snapshot = app.serving.snapshot();
    if snapshot.model(name.as_str(), None).is_some() {
        return Vec::new();
    }
    let Some(route) = snapshot.route(name.as_str()) else {
        return Vec::new();
    };
    // The models of a bundle are its own: those of the site that are called the same are others.
    if route.release().is_some() {
        return Vec::new();
    }
    let mut models: Vec<Name> = route
        .models()
        .map(|model| model.info().name.clone())
        .collect();
    models.sort();
    models.dedup();
    // A model that is unloaded may still be the last of its name in force.
    models.retain(|model| model != name);
    models
}

/// A file of the parameter that holds it.
fn model_file(key: &str, data: Bytes) -> Result<ModelFile> {
    let field = || format!("parameters.{}", shorten(key));
    let wrong = |message: &'static str| Error::invalid(field(), message);
    let place = key.strip_prefix(FILE).and_then(|rest| rest.split_once('/'));
    let Some((version, path)) = place else {
        return Err(wrong(
            "names no file; use file:VERSION/NAME, such as file:1/model.onnx",
        ));
    };
    let plain = !version.is_empty()
        && !version.starts_with('0')
        && version.bytes().all(|byte| byte.is_ascii_digit());
    let version = version.parse().ok().filter(|_| plain);
    let version = version
        .ok_or_else(|| wrong("has no version; use file:VERSION/NAME with a number from 1 on"))?;
    let is_name = |part: &str| !part.is_empty() && !matches!(part, "." | "..");
    let inside = path.len() <= MAX_PATH
        && path.split('/').all(is_name)
        && !path.contains(|char: char| char == '\\' || char.is_control());
    if !inside {
        return Err(wrong(
            "is no path inside the folder of the version, such as model.onnx",
        ));
    }
    Ok(ModelFile {
        version,
        path: path.to_owned(),
        data: data.into(),
    })
}

/// Settings by which exactly the versions serve that files are given of.
fn exactly(files: &[ModelFile]) -> Result<[SettingEdit; 3]> {
    let mut versions: Vec<u64> = files.iter().map(|file| file.version).collect();
    versions.sort_unstable();
    versions.dedup();
    let number = |version: u64| {
        let number = i64::try_from(version).map(SettingValue::Integer);
        number.map_err(|_| {
            let key = format!("parameters.{FILE}{version}");
            Error::invalid(
                key,
                "the number of a version is at most 9223372036854775807",
            )
        })
    };
    let list: Vec<SettingValue> = versions.into_iter().map(number).collect::<Result<_>>()?;
    Ok(config::listed(list))
}

#[cfg(test)]
mod tests;
