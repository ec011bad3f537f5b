//! The bytes of a version, read once, and checked to be what its digest was taken of.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use wharf_core::{Digest, LoadError, ModelVersion};

use super::digests;
use super::files::ModelDir;
use super::versions::{digest_settings, read_settings};
use crate::Device;
use crate::devices::{DeviceProbe, check_fit};
use crate::onnx::{self, Inspection};
use crate::settings::Settings;

/// The files that the settings name take no more than this, together.
const MAX_FILES: u64 = 256 << 20;

/// All that a version is loaded from.
pub(crate) struct Source {
    /// The ONNX file.
    pub(crate) model: Vec<u8>,
    /// The files of external data, by the location that the ONNX file gives.
    pub(crate) external: BTreeMap<String, Arc<[u8]>>,
    /// The files that the settings name, by the path that they give.
    pub(crate) files: BTreeMap<String, Bytes>,
    /// The settings.
    pub(crate) settings: Settings,
    /// The name of the ONNX file, for errors.
    pub(crate) label: String,
    /// The name of `model.toml`, for errors.
    pub(crate) settings_label: String,
}

impl Source {
    /// Reads a version.
    ///
    /// # Errors
    /// Where a file is missing, refused, or not the one that the digest was taken of, or where it cannot fit in memory.
    pub(crate) fn read(version: &ModelVersion, probe: &dyn DeviceProbe) -> Result<Self, LoadError> {
        let dir = ModelDir::open(&version.site, &version.name)?;
        let settings = read_settings(&dir)?;
        let label = dir.label_of(&format!("{}/model.onnx", version.version));
        let model = dir.model(version.version)?.read_model(&label)?;
        let inspection = onnx::inspect(&model)
            .map_err(|error| LoadError::new(label.clone(), error.to_string()))?;
        let external = read_external(&dir, version.version, &inspection, probe)?;
        let source = Self {
            files: read_files(&dir, &settings)?,
            model,
            external,
            settings,
            settings_label: dir.label_of("model.toml"),
            label,
        };
        if source.digest() != version.digest {
            return Err(LoadError::new(
                source.label,
                "the version changed while it was read; it is looked at again when it settles",
            ));
        }
        Ok(source)
    }

    fn digest(&self) -> Digest {
        let files = self
            .files
            .iter()
            .map(|(path, bytes)| (path.as_str(), digests::digest(bytes)));
        let parts = [
            ("model.onnx", digests::digest(&self.model)),
            ("model.toml", digest_settings(&self.settings)),
            ("files", digests::join(files)),
        ];
        let external = self
            .external
            .iter()
            .map(|(location, bytes)| (location.as_str(), digests::digest(bytes)));
        digests::join(parts.into_iter().chain(external))
    }

    /// All bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let external: usize = self.external.values().map(|bytes| bytes.len()).sum();
        (self.model.len() + external) as u64
    }
}

/// Reads the files that the settings name. All of them together are bounded: a sparse file is as long as it says.
fn read_files(dir: &ModelDir, settings: &Settings) -> Result<BTreeMap<String, Bytes>, LoadError> {
    let mut left = MAX_FILES;
    let mut files = BTreeMap::new();
    for path in settings.files() {
        let bytes = dir.extra(path)?.read(&dir.label_of(path), left)?;
        left -= bytes.len() as u64;
        files.insert(path.to_owned(), Bytes::from(bytes));
    }
    Ok(files)
}

fn read_external(
    dir: &ModelDir,
    version: u64,
    inspection: &Inspection<'_>,
    probe: &dyn DeviceProbe,
) -> Result<BTreeMap<String, Arc<[u8]>>, LoadError> {
    let label = dir.label_of(&format!("{version}/model.onnx"));
    let mut ends: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
    for tensor in &inspection.external {
        let end = ends.entry(tensor.location).or_default();
        *end = (*end).max((tensor.offset + tensor.bytes, tensor.name));
    }
    let mut files = BTreeMap::new();
    for (location, (end, tensor)) in ends {
        let open = dir.external(version, location)?;
        let len = open.metadata.len();
        if end > len {
            return Err(LoadError::new(
                label,
                format!(
                    "external data at {location:?}: tensor {tensor:?} ends at byte {end}, but the file has {len}; copy \
                     the whole file"
                ),
            )
            .with_text_for_clients(format!(
                "external data: tensor {tensor:?} ends at byte {end}, but the file has {len}; copy the whole file"
            )));
        }
        // A sparse file is as long as it says, whatever it takes on disk.
        check_fit(Device::Cpu, probe.memory(Device::Cpu), len, 1)
            .map_err(|error| LoadError::new(label.clone(), error))?;
        let bytes = open.read_shared(&dir.label_of(&format!("{version}/{location}")))?;
        files.insert(location.to_owned(), bytes);
    }
    Ok(files)
}
