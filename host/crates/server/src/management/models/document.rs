//! The documents of models.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use wharf_core::{Error, Modality, Name, Result};
use wharf_serving::{IndexEntry, ModelDocument, ModelRecord, ModelState, Registration};

use crate::app::App;
use crate::catalog::{TensorDocument, tensor_document};
use crate::management::value::{entries, object};
use crate::oip::documents::{ModelMetadata, model_metadata};

/// What a client says of a model. The description of the API has its schema with the rules that the engine has for it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object")]
pub(super) struct ModelInput {
    /// The name: 1 to 128 letters, digits, `-`, `_` and `.`, the first a letter or a digit. In the path where that names the model.
    pub(super) name: Option<String>,
    /// What the model is for.
    description: String,
    /// What goes into it: image, text, audio, tabular.
    modalities: Vec<String>,
    /// Words to find it by.
    labels: BTreeMap<String, String>,
    /// How it is served: the tables of `model.toml`.
    settings: Map<String, Value>,
}

impl ModelInput {
    /// The document, with modalities that there are.
    ///
    /// # Errors
    /// `InvalidArgument` with the member as the field.
    pub(super) fn document(self) -> Result<ModelDocument> {
        let mut modalities = Vec::<Modality>::new();
        for name in &self.modalities {
            let modality = name.parse();
            let modality = modality.map_err(|error: wharf_core::UnknownModality| {
                Error::invalid("modalities", error.to_string())
            })?;
            if modalities.contains(&modality) {
                return Err(Error::invalid("modalities", "names one twice"));
            }
            modalities.push(modality);
        }
        Ok(ModelDocument {
            registration: Registration {
                description: self.description,
                modalities,
                labels: self.labels,
                history: Vec::new(),
            },
            settings: entries("settings", self.settings)?,
        })
    }

    /// Checks that the document is of the model that the path names.
    ///
    /// # Errors
    /// `InvalidArgument` where it has another name.
    pub(super) fn check_name(&self, name: &Name) -> Result<()> {
        match &self.name {
            Some(given) if given != name.as_str() => {
                let message = "is another than the path has; a model keeps its name";
                Err(Error::invalid("name", message))
            }
            _ => Ok(()),
        }
    }
}

/// A model, flat.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Model)]
pub(crate) struct FlatModel {
    name: String,
    #[serde(flatten)]
    managed: Managed,
    #[serde(flatten)]
    in_force: InForce,
    /// Every version that is there.
    versions: Vec<VersionDocument>,
}

/// A model of the site as the Open Inference Protocol describes it, and more.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ManagedModelMetadata)]
pub(crate) struct ProtocolModel {
    #[serde(flatten)]
    described: ModelMetadata,
    #[serde(flatten)]
    managed: Managed,
    /// Every version that is there, and how it is.
    version_states: Vec<VersionDocument>,
}

/// What the server says of a model beside what it is made of.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ManagedMembers)]
pub(crate) struct Managed {
    /// `registered`, `ready`, `loading`, `unavailable` or `unloading`.
    state: &'static str,
    /// Why it is so, where there is something to say.
    #[serde(skip_serializing_if = "str::is_empty")]
    #[schema(required = false)]
    reason: String,
    description: String,
    modalities: Vec<&'static str>,
    labels: BTreeMap<String, String>,
    /// The tables of `model.toml`.
    #[schema(value_type = Object)]
    settings: Map<String, Value>,
    /// The versions that were promoted before the present one, the latest last.
    history: Vec<u64>,
}

/// The version that requests go to which name none, or another one in a list. A model of which none serves has none of its members.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = VersionInForce)]
pub(crate) struct InForce {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    platform: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    max_batch_rows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    inputs: Option<Vec<TensorDocument>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    outputs: Option<Vec<TensorDocument>>,
}

/// A version, and how it is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelVersion)]
pub(crate) struct VersionDocument {
    version: u64,
    /// As the state of a model.
    state: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    #[schema(required = false)]
    reason: String,
}

/// The word for a state.
pub(super) const fn state_name(state: ModelState) -> &'static str {
    match state {
        ModelState::Ready => "ready",
        ModelState::Unavailable => "unavailable",
        ModelState::Loading => "loading",
        ModelState::Registered => "registered",
        ModelState::Unloading => "unloading",
    }
}

/// A model as version 1 has it, with what it is made of in this version.
pub(super) fn flat(app: &App, record: &ModelRecord, version: Option<u64>) -> FlatModel {
    FlatModel {
        name: record.name.to_string(),
        managed: managed(record),
        in_force: version
            .and_then(|version| in_force(app, record, version))
            .unwrap_or_default(),
        versions: versions(record),
    }
}

fn versions(record: &ModelRecord) -> Vec<VersionDocument> {
    let version = |entry: &IndexEntry| {
        Some(VersionDocument {
            version: entry.version?,
            state: state_name(entry.state),
            reason: entry.reason.clone(),
        })
    };
    record.versions.iter().filter_map(version).collect()
}

fn managed(record: &ModelRecord) -> Managed {
    let registration = &record.document.registration;
    let modalities = registration.modalities.iter();
    Managed {
        state: state_name(record.state()),
        reason: record.reason().to_owned(),
        description: registration.description.clone(),
        modalities: modalities.map(|modality| modality.name()).collect(),
        labels: registration.labels.clone(),
        settings: object(&record.document.settings),
        history: registration.history.clone(),
    }
}

fn in_force(app: &App, record: &ModelRecord, version: u64) -> Option<InForce> {
    let snapshot = app.serving.snapshot();
    let info = snapshot.model(record.name.as_str(), Some(version))?.info();
    Some(InForce {
        version: Some(version),
        digest: Some(format!("sha256:{}", info.digest)),
        platform: Some(info.platform),
        device: Some(info.device.clone()),
        max_batch_rows: Some(info.max_batch_rows),
        inputs: Some(info.inputs.iter().map(tensor_document).collect()),
        outputs: Some(info.outputs.iter().map(tensor_document).collect()),
    })
}

/// A model as version 2 has it. One that takes no requests is described as one without versions.
pub(super) fn protocol(app: &App, record: &ModelRecord) -> ProtocolModel {
    let snapshot = app.serving.snapshot();
    let route = snapshot.route(record.name.as_str());
    ProtocolModel {
        described: route.map_or_else(|| bare(record), |route| model_metadata(route)),
        managed: managed(record),
        version_states: versions(record),
    }
}

fn bare(record: &ModelRecord) -> ModelMetadata {
    ModelMetadata {
        name: record.name.to_string(),
        versions: Vec::new(),
        platform: "",
        inputs: Vec::new(),
        outputs: Vec::new(),
    }
}

/// What a client may change of a model, as a document of its own.
pub(super) fn writable(document: &ModelDocument) -> Map<String, Value> {
    let registration = &document.registration;
    let modalities = registration.modalities.iter();
    let labels = registration.labels.iter();
    [
        (
            "description",
            Value::String(registration.description.clone()),
        ),
        (
            "modalities",
            modalities.map(|modality| modality.name()).collect(),
        ),
        (
            "labels",
            Value::Object(
                labels
                    .map(|(label, value)| (label.clone(), value.clone().into()))
                    .collect(),
            ),
        ),
        ("settings", Value::Object(object(&document.settings))),
    ]
    .into_iter()
    .map(|(member, value)| (member.to_owned(), value))
    .collect()
}
