//! The model repository as messages.

use std::collections::BTreeMap;

use bytes::Bytes;
use wharf_core::{Action, Error, Result};

use super::read;
use crate::client::Asker;
use crate::grpc::answer::Parts;
use crate::grpc::method::Method;
use crate::grpc::reply;
use crate::inference::model_repository_parameter::ParameterChoice;
use crate::inference::repository_index_response::ModelIndex;
use crate::inference::{
    ModelRepositoryParameter, RepositoryIndexRequest, RepositoryIndexResponse,
    RepositoryModelLoadRequest, RepositoryModelLoadResponse, RepositoryModelUnloadRequest,
    RepositoryModelUnloadResponse,
};
use crate::json::shorten;
use crate::oip::repository::{
    Dependents, FILE, LoadParameters, NO_LOAD_PARAMETER, index, load, unload,
};

/// Answers a call of the repository. It has no name: a server has one.
///
/// # Errors
/// What the call is refused with.
pub(super) async fn manage(asker: Asker<'_>, method: Method, message: Bytes) -> Result<Parts> {
    match method {
        Method::RepositoryModelLoad => {
            let request: RepositoryModelLoadRequest = read(message)?;
            asker.may(Action::WriteModels, Some(&request.model_name))?;
            let parameters = load_parameters(request.parameters)?;
            load(asker, &request.model_name, parameters).await?;
            reply::message(&RepositoryModelLoadResponse {})
        }
        Method::RepositoryModelUnload => {
            let request: RepositoryModelUnloadRequest = read(message)?;
            asker.may(Action::WriteModels, Some(&request.model_name))?;
            let dependents = dependents(&request.parameters)?;
            unload(asker, &request.model_name, dependents).await?;
            reply::message(&RepositoryModelUnloadResponse {})
        }
        _ => {
            let request: RepositoryIndexRequest = read(message)?;
            let models = index(asker.app, asker.client, Some(request.ready)).into_iter();
            let models = models.map(|model| ModelIndex {
                name: model.name,
                version: model.version,
                state: model.state.to_owned(),
                reason: model.reason,
            });
            reply::message(&RepositoryIndexResponse {
                models: models.collect(),
            })
        }
    }
}

fn load_parameters(
    parameters: BTreeMap<String, ModelRepositoryParameter>,
) -> Result<LoadParameters> {
    let mut read = LoadParameters::default();
    for (name, value) in parameters {
        match (&*name, value.parameter_choice) {
            ("config", Some(ParameterChoice::StringParam(config))) => read.config = Some(config),
            (file, Some(ParameterChoice::BytesParam(data))) if file.starts_with(FILE) => {
                read.files.push((name, data));
            }
            ("config", _) => return Err(wrong("config", "is text: a configuration as JSON")),
            (file, _) if file.starts_with(FILE) => {
                return Err(wrong(file, "is bytes: what is in the file"));
            }
            _ => return Err(wrong(&name, NO_LOAD_PARAMETER)),
        }
    }
    Ok(read)
}

fn dependents(parameters: &BTreeMap<String, ModelRepositoryParameter>) -> Result<Dependents> {
    const NAME: &str = "unload_dependents";
    if let Some(name) = parameters.keys().find(|name| *name != NAME) {
        let message = "an unload has no such parameter; use unload_dependents";
        return Err(wrong(name, message));
    }
    let value = parameters.get(NAME);
    match value.and_then(|value| value.parameter_choice.as_ref()) {
        None => Ok(Dependents::Stay),
        Some(ParameterChoice::BoolParam(unload)) => Ok(Dependents::from(*unload)),
        Some(_) => Err(wrong(NAME, "is true or false")),
    }
}

fn wrong(name: &str, message: &'static str) -> Error {
    Error::invalid(format!("parameters.{}", shorten(name)), message)
}
