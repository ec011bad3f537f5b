//! Which versions of a model are served, and the digest of each.

use std::collections::BTreeSet;

use wharf_core::{Digest, LoadError};

use super::digests::{self, Content, DigestCache, Known};
use super::files::{ModelDir, OpenFile};
use crate::onnx;
use crate::settings::{Policy, Settings};

/// Reads the settings of a model.
pub(crate) fn read_settings(dir: &ModelDir) -> Result<Settings, LoadError> {
    Settings::parse(&dir.label_of("model.toml"), &dir.settings()?)
}

/// The versions of a model.
#[derive(Default)]
pub(crate) struct Picked {
    /// Those that are to serve, ascending, with their digests.
    pub(crate) serve: Vec<(u64, Digest)>,
    /// The others, ascending.
    pub(crate) idle: Vec<u64>,
    /// Those among `serve` that have a label and that the policy does not pick.
    pub(crate) only_labelled: BTreeSet<u64>,
}

/// The versions that the policy picks, and those that have a label.
pub(crate) fn pick(
    dir: &ModelDir,
    settings: &Settings,
    cache: &DigestCache,
) -> Result<Picked, LoadError> {
    let there = list(dir, settings)?;
    if there.is_empty() {
        // It is registered, and its first version is still to come: nothing of the policy can be missing yet.
        return Ok(Picked::default());
    }
    let missing = |version: u64, key: String, instead: &str| {
        LoadError::new(
            dir.label_of("model.toml"),
            format!("version {version} is not there; add {version}/model.onnx or {instead}"),
        )
        .with_key(key)
    };
    let picked: BTreeSet<u64> = match settings.versions.policy {
        Policy::All => there.clone(),
        Policy::Latest => {
            let count = settings.versions.count.map_or(1, std::num::NonZeroU32::get);
            there.iter().rev().take(count as usize).copied().collect()
        }
        Policy::Listed => {
            let listed: BTreeSet<u64> = settings.versions.list.iter().flatten().copied().collect();
            if let Some(version) = listed.difference(&there).next() {
                let key = "versions.list".to_owned();
                return Err(missing(*version, key, "take it off the list"));
            }
            listed
        }
    };
    let mut only_labelled = BTreeSet::new();
    for (label, version) in &settings.versions.labels {
        if !there.contains(version) {
            let key = format!("versions.labels.{}", LoadError::key_part(label));
            return Err(missing(*version, key, "move the label"));
        }
        if !picked.contains(version) {
            only_labelled.insert(*version);
        }
    }
    let serve: BTreeSet<u64> = picked.union(&only_labelled).copied().collect();
    Ok(Picked {
        serve: serve
            .iter()
            .map(|version| Ok((*version, digest_version(dir, *version, settings, cache)?)))
            .collect::<Result<_, LoadError>>()?,
        idle: there.difference(&serve).copied().collect(),
        only_labelled,
    })
}

/// The highest version below one, where the policy is to serve the latest.
pub(crate) fn pick_below(
    dir: &ModelDir,
    settings: &Settings,
    version: u64,
    cache: &DigestCache,
) -> Result<Option<(u64, Digest)>, LoadError> {
    if settings.versions.policy != Policy::Latest {
        return Ok(None);
    }
    let below = list(dir, settings)?.range(..version).next_back().copied();
    below
        .map(|below| Ok((below, digest_version(dir, below, settings, cache)?)))
        .transpose()
}

/// The version folders that have a model. One without is being copied, or was emptied: it is no version yet. None at all is right
/// only for a model that is registered.
fn list(dir: &ModelDir, settings: &Settings) -> Result<BTreeSet<u64>, LoadError> {
    let mut versions = BTreeSet::new();
    for name in dir.entries()? {
        let number = name
            .parse::<u64>()
            .ok()
            .filter(|number| number.to_string() == name);
        match number {
            Some(version) if dir.has(&format!("{name}/model.onnx")) => {
                versions.insert(version);
            }
            Some(_) => tracing::debug!(
                model = dir.label,
                folder = name,
                "a version folder has no model.onnx yet"
            ),
            None if name == "model.toml" || name.starts_with('.') => {}
            None => tracing::debug!(
                model = dir.label,
                entry = name,
                "not a version: a version is a number"
            ),
        }
    }
    if versions.is_empty() && settings.registry.is_none() {
        return Err(LoadError::new(
            dir.label.clone(),
            "the model has no version; put the first at 1/model.onnx in this folder",
        ));
    }
    Ok(versions)
}

/// The digest of a version: of its ONNX file, of the external data that this names, and of the settings. A version that
/// cannot be served has one too: loading it says why, and a mended file has another.
fn digest_version(
    dir: &ModelDir,
    version: u64,
    settings: &Settings,
    cache: &DigestCache,
) -> Result<Digest, LoadError> {
    let model = match dir.model(version) {
        Ok(file) => {
            let label = dir.label_of(&format!("{version}/model.onnx"));
            cache.get(file, Content::Model, |file| {
                file.read_model(&label).map(|bytes| look(&bytes))
            })
        }
        Err(error) => Err(error),
    }
    .unwrap_or_else(|error| broken(&error));
    let external = model.locations.iter().map(|location| {
        let file = dir.external(version, location);
        (location.as_str(), digest_plain(file, location, cache))
    });
    let files = settings
        .files()
        .into_iter()
        .map(|path| (path, digest_plain(dir.extra(path), path, cache)));
    let parts = [
        ("model.onnx", model.digest),
        ("model.toml", digest_settings(settings)),
        ("files", digests::join(files)),
    ];
    Ok(digests::join(parts.into_iter().chain(external)))
}

/// The digest of a file that is only bytes; of the error where it cannot be read.
fn digest_plain(file: Result<OpenFile, LoadError>, path: &str, cache: &DigestCache) -> Digest {
    let known = file.and_then(|file| {
        cache.get(file, Content::Bytes, |mut file| {
            match cache.read(&mut file) {
                Ok(digest) => Ok(Known {
                    digest,
                    locations: Vec::new(),
                }),
                Err(error) => Err(LoadError::new(path, error.to_string())),
            }
        })
    });
    known.unwrap_or_else(|error| broken(&error)).digest
}

/// What is to know of an ONNX file's bytes.
pub(super) fn look(bytes: &[u8]) -> Known {
    let mut locations: Vec<String> = onnx::inspect(bytes)
        .map(|inspection| {
            inspection
                .external
                .iter()
                .map(|tensor| tensor.location.to_owned())
                .collect()
        })
        .unwrap_or_default();
    locations.sort();
    locations.dedup();
    Known {
        digest: digests::digest(bytes),
        locations,
    }
}

fn broken(error: &LoadError) -> Known {
    Known {
        digest: digests::digest(error.to_string().as_bytes()),
        locations: Vec::new(),
    }
}

/// The digest of the settings that a version is loaded with; which versions are served is none of them,
/// nor what people say of the model.
pub(super) fn digest_settings(settings: &Settings) -> Digest {
    let Settings {
        tenants: _,
        versions: _,
        instances,
        threads,
        batching,
        cache,
        sequences,
        outputs,
        warmup,
        memory,
        registry: _,
    } = settings;
    digests::digest(
        format!("{instances:?}{threads:?}{batching:?}{cache:?}{sequences:?}{outputs:?}{warmup:?}{memory:?}").as_bytes(),
    )
}
