//! Reads what the site says of its models. Everything here blocks.

use std::path::Path;

use serde::Deserialize;
use wharf_core::{Error, ErrorKind, Name, Result, Tenants};

use super::{ModelDocument, ModelRecord, Registration, values_of};
use crate::lifecycle::digest_of;
use crate::site::{Kind, list, read_text};

/// `[registry]` of a `model.toml`. The engine refuses what is wrong in it; here, what can be read is shown.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Table {
    description: String,
    modalities: Vec<String>,
    labels: std::collections::BTreeMap<String, String>,
    history: Vec<u64>,
}

/// Every model, sorted by name. A folder whose name is none is the watcher's to complain of.
pub(super) fn models(site: &Path) -> Result<Vec<ModelRecord>> {
    let names = list(site, Kind::Models, &mut Vec::new()).ok_or_else(|| {
        Error::new(
            ErrorKind::Unavailable,
            "the site cannot be read right now; try again",
        )
    })?;
    let mut records = Vec::with_capacity(names.len());
    for name in names {
        // One that went since it was listed is none.
        records.extend(model(site, &name)?);
    }
    Ok(records)
}

/// A model; none where the site has no folder of its name.
pub(crate) fn model(site: &Path, name: &Name) -> Result<Option<ModelRecord>> {
    let folder = site.join("models").join(name.as_str());
    if !folder.is_dir() {
        return Ok(None);
    }
    // What cannot be read is in no force either, and the state of the model says why.
    let file = format!("models/{name}/model.toml");
    let read = read_text(&folder.join("model.toml"), &file).ok();
    let text = read.map(Option::unwrap_or_default);
    let tenants = text.as_deref().map(tenants_of);
    let table = text.as_deref().and_then(|text| text.parse().ok());
    let text = text.unwrap_or_default();
    Ok(Some(ModelRecord {
        name: name.clone(),
        digest: digest_of(text.as_bytes()),
        tenants: tenants.unwrap_or_else(|| Tenants::only([])),
        is_readable: table.is_some(),
        document: table.map(document).unwrap_or_default(),
        versions: Vec::new(),
        default: None,
    }))
}

/// Whose a model, or a route, is by the text of its file. What cannot be read is the operator's.
#[must_use]
pub fn tenants_of(text: &str) -> Tenants {
    #[derive(Deserialize)]
    struct File {
        tenants: Option<Vec<String>>,
    }
    let unreadable = || Tenants::only([]);
    toml::from_str(text).map_or_else(
        |_| unreadable(),
        |File { tenants }| {
            Tenants::of_setting(tenants.as_deref()).unwrap_or_else(|_place| unreadable())
        },
    )
}

/// What a `model.toml` says.
fn document(mut table: toml::Table) -> ModelDocument {
    let registry = table.remove("registry");
    let registry: Table = registry
        .and_then(|registry| registry.try_into().ok())
        .unwrap_or_default();
    let modalities = registry.modalities.iter();
    ModelDocument {
        registration: Registration {
            description: registry.description,
            modalities: modalities.filter_map(|name| name.parse().ok()).collect(),
            labels: registry.labels,
            history: registry.history,
        },
        settings: values_of(table),
    }
}
