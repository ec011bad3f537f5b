//! Reads what the site says of its models. Everything here blocks.

use std::path::Path;

use serde::Deserialize;
use wharf_core::{Error, ErrorKind, Name, Result};

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
pub(super) fn model(site: &Path, name: &Name) -> Result<Option<ModelRecord>> {
    let folder = site.join("models").join(name.as_str());
    if !folder.is_dir() {
        return Ok(None);
    }
    // What cannot be read is in no force either, and the state of the model says why.
    let file = format!("models/{name}/model.toml");
    let text = read_text(&folder.join("model.toml"), &file);
    let text = text.ok().flatten().unwrap_or_default();
    Ok(Some(ModelRecord {
        name: name.clone(),
        digest: digest_of(text.as_bytes()),
        document: document(&text),
        versions: Vec::new(),
        default: None,
    }))
}

/// What the text of a `model.toml` says; nothing where it is no TOML.
fn document(text: &str) -> ModelDocument {
    let Ok(mut table) = text.parse::<toml::Table>() else {
        return ModelDocument::default();
    };
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
