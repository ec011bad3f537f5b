//! What a registry keeps of a plugin: manifest, config and layer of a Wasm OCI artifact.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use wharf_sandbox::Summary;

use crate::cli::oci::{Descriptor, MANIFEST, digest, is_digest};

const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";
/// The annotation that has the text of `NAME.toml`. It is none of OCI's own, which other tools might read otherwise.
const SETTINGS: &str = "dev.wharf.plugin.settings";

/// The largest text of settings: registries keep manifests below 4 MiB.
const SETTINGS_BYTES: usize = 1 << 20;
/// The largest component that is taken.
const COMPONENT_BYTES: u64 = 1 << 30;

/// A plugin as an artifact.
#[derive(Debug)]
pub(super) struct Artifact {
    pub(super) component: Bytes,
    pub(super) settings: Option<String>,
    config: Bytes,
}

/// The parts of a manifest that are read. Manifests have others.
#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

/// What a manifest says of a plugin.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) layer: Descriptor,
    pub(super) settings: Option<String>,
}

impl Artifact {
    pub(super) fn new(
        component: Vec<u8>,
        settings: Option<String>,
        summary: &Summary,
    ) -> Result<Self> {
        if settings
            .as_ref()
            .is_some_and(|text| text.len() > SETTINGS_BYTES)
        {
            bail!("the settings are larger than 1 MiB");
        }
        let component = Bytes::from(component);
        let imports: Vec<&str> = summary
            .imports
            .iter()
            .map(|import| import.name.as_str())
            .collect();
        let version = summary.contract.as_deref().unwrap_or("1.0.0");
        let exports: Vec<String> = summary
            .stages
            .iter()
            .map(|stage| stage.name())
            .chain(summary.lifecycle.then_some("lifecycle"))
            .map(|interface| format!("wharf:plugin/{interface}@{version}"))
            .collect();
        let config = json!({
            // A fixed time: the same component is the same artifact, whenever it is pushed.
            "created": "1970-01-01T00:00:00Z",
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [digest(&component)],
            "component": {"exports": exports, "imports": imports},
        });
        Ok(Self {
            config: Bytes::from(config.to_string()),
            component,
            settings,
        })
    }

    /// The artifact that a registry had.
    pub(super) fn found(component: Bytes, settings: Option<String>) -> Self {
        Self {
            component,
            settings,
            config: Bytes::new(),
        }
    }

    /// The parts that are uploaded before the manifest.
    pub(super) fn blobs(&self) -> [&Bytes; 2] {
        [&self.config, &self.component]
    }

    pub(super) fn manifest(&self) -> Bytes {
        let part = |media_type: &str, data: &Bytes| json!({"mediaType": media_type, "digest": digest(data), "size": data.len()});
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": part(CONFIG, &self.config),
            "layers": [part(LAYER, &self.component)],
        });
        if let Some(settings) = &self.settings {
            manifest["annotations"] = json!({SETTINGS: settings});
        }
        Bytes::from(manifest.to_string())
    }
}

/// Reads a manifest.
///
/// # Errors
/// Where it is none of a Wasm artifact.
pub(super) fn read_manifest(text: &[u8]) -> Result<Found> {
    let manifest: Manifest = serde_json::from_slice(text)
        .context("this is no manifest of one artifact; an index of several is none")?;
    if manifest.config.media_type != CONFIG {
        bail!(
            "this is no Wasm artifact: its config is {:?}, not {CONFIG}",
            manifest.config.media_type
        );
    }
    let mut settings = manifest.annotations;
    let [layer] = <[Descriptor; 1]>::try_from(manifest.layers)
        .ok()
        .context("a Wasm artifact has one layer, the component")?;
    if layer.media_type != LAYER {
        bail!("the layer is {:?}, not {LAYER}", layer.media_type);
    }
    if !is_digest(&layer.digest) {
        bail!("the layer's digest is no SHA-256");
    }
    if layer.size > COMPONENT_BYTES {
        bail!(
            "the component has {} bytes; the most that is taken is {COMPONENT_BYTES}",
            layer.size
        );
    }
    Ok(Found {
        layer,
        settings: settings.remove(SETTINGS),
    })
}
