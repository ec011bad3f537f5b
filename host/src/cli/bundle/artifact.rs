//! A release in a registry: a manifest with a layer for each file, which names it as ORAS does.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::contents::sum;
use super::path::{ReleasePath, check_all};
use super::release::Release;
use crate::cli::oci::{Descriptor, MANIFEST, digest, is_digest};

/// What the artifact is.
const TYPE: &str = "application/vnd.wharf.bundle.v1";

/// The annotation of a layer that has the file's path.
const TITLE: &str = "org.opencontainers.image.title";

/// The config of an artifact that needs none, and its content.
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
pub(super) const EMPTY: &[u8] = b"{}";

/// The largest manifest that registries take.
const MANIFEST_BYTES: usize = 4 << 20;

/// A file of a release in a registry.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) path: ReleasePath,
    pub(super) part: Descriptor,
}

/// The parts of a manifest that are read. Manifests have others.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    artifact_type: Option<String>,
    layers: Vec<Descriptor>,
}

/// The manifest of a release. It has no time in it: the same files are the same artifact, whenever they are pushed.
///
/// # Errors
/// Where registries would not take it.
pub(super) fn write(release: &Release) -> Result<Bytes> {
    let layers: Vec<Value> = release
        .files
        .iter()
        .map(|file| {
            json!({
                "mediaType": media_type(&file.path), "digest": file.digest, "size": file.size,
                "annotations": { TITLE: file.path.as_str() },
            })
        })
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": TYPE,
        "config": { "mediaType": EMPTY_TYPE, "digest": digest(EMPTY), "size": EMPTY.len() },
        "layers": layers,
    });
    let manifest = Bytes::from(manifest.to_string());
    ensure!(
        manifest.len() <= MANIFEST_BYTES,
        "the names of the files are too long together: registries take manifests of 4 MiB"
    );
    Ok(manifest)
}

/// Reads a manifest, and checks what it names before anything of it is fetched.
///
/// # Errors
/// Where it is none of a bundle, or names what cannot be a release of at most so many bytes.
pub(super) fn read(text: &[u8], most_bytes: u64) -> Result<Vec<Layer>> {
    let manifest: Manifest = serde_json::from_slice(text)
        .context("this is no manifest of one artifact; an index of several is none")?;
    match manifest.artifact_type.as_deref() {
        Some(TYPE) => {}
        Some(other) => bail!("this is no bundle: its type is {other:?}, not {TYPE}"),
        None => bail!("this is no bundle: its type is not given, and not {TYPE}"),
    }
    let mut layers = Vec::new();
    let mut sizes = BTreeMap::new();
    for mut part in manifest.layers {
        let title = part
            .annotations
            .remove(TITLE)
            .with_context(|| format!("a layer has no name: the annotation {TITLE} is missing"))?;
        let path = ReleasePath::new(&title)?;
        ensure!(
            is_digest(&part.digest),
            "the digest of {path} is no SHA-256"
        );
        let known = sizes.insert(part.digest.clone(), part.size);
        ensure!(
            known.is_none_or(|size| size == part.size),
            "{path} has another size than the same content has elsewhere"
        );
        layers.push(Layer { path, part });
    }
    check_all(layers.iter().map(|layer| &layer.path))?;
    let bytes = sum(layers.iter().map(|layer| layer.part.size))?;
    ensure!(
        bytes <= most_bytes,
        "the release has {bytes} bytes, and {most_bytes} are the most that is taken: --max-gb sets it"
    );
    Ok(layers)
}

fn media_type(path: &ReleasePath) -> &'static str {
    match path.as_str().rsplit_once('.') {
        Some((_, "wasm")) => "application/wasm",
        Some((_, "toml")) => "application/toml",
        Some((_, "json")) => "application/json",
        _ => "application/octet-stream",
    }
}
