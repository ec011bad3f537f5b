//! What a registry keeps of a plugin: manifest, config and layer of a Wasm OCI artifact.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use wharf_sandbox::Summary;

use crate::cli::oci::{Descriptor, MANIFEST, digest, is_digest};

const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";
/// The annotation that has the text of `NAME.toml`. It is none of OCI's own, which other tools might read otherwise.
const SETTINGS: &str = "dev.wharf.plugin.settings";
/// The annotation that has `NAME.wasm.sig`, in base64.
const SIGNATURE: &str = "dev.wharf.plugin.signature";

/// The largest text of settings: registries keep manifests below 4 MiB.
const SETTINGS_BYTES: usize = 1 << 20;
/// A signature of Ed25519.
const SIGNATURE_BYTES: usize = 64;
/// The largest component that is taken.
const COMPONENT_BYTES: u64 = 1 << 30;

/// A plugin as an artifact.
#[derive(Debug)]
pub(super) struct Artifact {
    pub(super) component: Bytes,
    pub(super) beside: Beside,
    config: Bytes,
}

/// What goes with a component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Beside {
    /// The text of `NAME.toml`.
    pub(super) settings: Option<String>,
    /// The bytes of `NAME.wasm.sig`. Whether they sign the component, a host finds out that knows whom to trust.
    pub(super) signature: Option<Vec<u8>>,
}

/// The parts of a manifest that are read. Manifests have others.
#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// What a manifest says of a plugin.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) layer: Descriptor,
    pub(super) beside: Beside,
}

impl Artifact {
    pub(super) fn new(component: Vec<u8>, beside: Beside, summary: &Summary) -> Result<Self> {
        let settings = beside.settings.as_ref();
        if settings.is_some_and(|text| text.len() > SETTINGS_BYTES) {
            bail!("the settings are larger than 1 MiB");
        }
        let signature = beside.signature.as_ref();
        if signature.is_some_and(|bytes| bytes.len() != SIGNATURE_BYTES) {
            bail!(
                "the signature beside the component has not the {SIGNATURE_BYTES} bytes of one of Ed25519"
            );
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
            beside,
        })
    }

    /// The artifact that a registry had.
    pub(super) fn found(component: Bytes, beside: Beside) -> Self {
        Self {
            component,
            beside,
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
        let signature = self.beside.signature.as_ref();
        let signature = signature.map(|bytes| BASE64_STANDARD.encode(bytes));
        let annotations: BTreeMap<&str, &String> = [
            (SETTINGS, self.beside.settings.as_ref()),
            (SIGNATURE, signature.as_ref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
        if !annotations.is_empty() {
            manifest["annotations"] = json!(annotations);
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
    let mut annotations = manifest.annotations;
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
    let signature = annotations.remove(SIGNATURE).map(|text| {
        let bytes = BASE64_STANDARD.decode(text).ok();
        bytes
            .filter(|bytes| bytes.len() == SIGNATURE_BYTES)
            .context("the signature that came with it is none of Ed25519 in base64")
    });
    Ok(Found {
        layer,
        beside: Beside {
            settings: annotations.remove(SETTINGS),
            signature: signature.transpose()?,
        },
    })
}
