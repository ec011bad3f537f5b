//! Opens files of a model's folder, and nothing outside of it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use wharf_core::{LoadError, Name};

/// The largest ONNX file: protobuf's own limit.
const MAX_MODEL: u64 = i32::MAX as u64;
/// The largest `model.toml`.
const MAX_SETTINGS: u64 = 1 << 20;

/// The folder `models/NAME` of a site.
pub(crate) struct ModelDir {
    dir: Dir,
    /// Its name for errors: `models/NAME`.
    pub(crate) label: String,
}

/// An open regular file.
pub(crate) struct OpenFile {
    pub(crate) file: File,
    pub(crate) metadata: std::fs::Metadata,
}

impl ModelDir {
    /// Opens the folder of a model.
    pub(crate) fn open(site: &Path, name: &Name) -> Result<Self, LoadError> {
        let label = format!("models/{name}");
        let failed = |error| explain(&label, "the model's folder cannot be opened", error);
        let site = Dir::open_ambient_dir(site, ambient_authority()).map_err(failed)?;
        let dir = site.open_dir(&label).map_err(failed)?;
        Ok(Self { dir, label })
    }

    /// The names of what is in the folder, as far as they are text.
    pub(crate) fn entries(&self) -> Result<Vec<String>, LoadError> {
        let failed = |error| explain(&self.label, "the model's folder cannot be read", error);
        let mut names = Vec::new();
        for entry in self.dir.entries().map_err(failed)? {
            if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Says whether there is something of that name, within the folder or not.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.dir.symlink_metadata(path).is_ok()
    }

    /// The name of a file of the folder, for errors.
    pub(crate) fn label_of(&self, path: &str) -> String {
        format!("{}/{path}", self.label)
    }

    /// Opens a regular file beneath the folder; none where there is none.
    pub(crate) fn file(&self, path: &str) -> Result<Option<OpenFile>, LoadError> {
        let label = self.label_of(path);
        // Opening a named pipe would wait for a writer.
        let options = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .clone();
        let file = match self.dir.open_with(path, &options) {
            Ok(file) => file.into_std(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(explain(&label, "cannot be opened", error)),
        };
        let metadata = file
            .metadata()
            .map_err(|error| explain(&label, "cannot be read", error))?;
        if !metadata.is_file() {
            return Err(LoadError::new(
                label,
                "this is no regular file; put a file here",
            ));
        }
        Ok(Some(OpenFile { file, metadata }))
    }

    /// Reads `model.toml`; empty where there is none.
    pub(crate) fn settings(&self) -> Result<String, LoadError> {
        let Some(open) = self.file("model.toml")? else {
            return Ok(String::new());
        };
        let label = self.label_of("model.toml");
        let bytes = open.read(&label, MAX_SETTINGS)?;
        String::from_utf8(bytes)
            .map_err(|_| LoadError::new(label, "not UTF-8; save the file as UTF-8"))
    }

    /// Opens the ONNX file of a version.
    pub(crate) fn model(&self, version: u64) -> Result<OpenFile, LoadError> {
        let path = format!("{version}/model.onnx");
        self.file(&path)?.ok_or_else(|| {
            LoadError::new(
                self.label_of(&path),
                "there is no such file; put the model here",
            )
        })
    }

    /// Opens a file of external data of a version.
    pub(crate) fn external(&self, version: u64, location: &str) -> Result<OpenFile, LoadError> {
        let model = self.label_of(&format!("{version}/model.onnx"));
        let refused = |why: &str| {
            LoadError::new(
                model.clone(),
                format!("external data at {location:?}: {why}"),
            )
            .with_text_for_clients(format!("external data: {why}"))
        };
        // ONNX Runtime takes this location for an address in memory, and the offset for a pointer.
        if location.contains("_ORT_MEM_ADDR_") {
            return Err(refused("this location is reserved; save the model again"));
        }
        if !is_plain(location) {
            return Err(refused(
                "the file must lie beside the model, in its version's folder; move it there",
            ));
        }
        let open = self
            .file(&format!("{version}/{location}"))
            .map_err(|error| refused(&error.message).with_source(error))?
            .ok_or_else(|| refused("there is no such file; copy it beside the model"))?;
        open.check_links().map_err(refused)?;
        Ok(open)
    }

    /// Opens a file that `model.toml` names.
    pub(crate) fn extra(&self, path: &str) -> Result<OpenFile, LoadError> {
        let settings = self.label_of("model.toml");
        let refused = |why: &str| {
            LoadError::new(settings.clone(), format!("{path:?}: {why}"))
                .with_text_for_clients(format!("a file that the settings name: {why}"))
        };
        if !is_plain(path) {
            return Err(refused(
                "the file must lie in the model's folder; move it there",
            ));
        }
        let open = self
            .file(path)
            .map_err(|error| refused(&error.message).with_source(error))?
            .ok_or_else(|| refused("there is no such file in the model's folder"))?;
        open.check_links().map_err(refused)?;
        Ok(open)
    }
}

/// Whether a path names something beneath the folder, by its text alone.
fn is_plain(path: &str) -> bool {
    !path.is_empty()
        && !path.contains(['\0', '\\'])
        && Path::new(path)
            .components()
            .all(|component| matches!(component, Component::Normal(_) | Component::CurDir))
}

impl OpenFile {
    /// Refuses a hard link: it is one more name of a file that may belong elsewhere, and looks like any file.
    fn check_links(&self) -> Result<(), &'static str> {
        if self.metadata.nlink() > 1 {
            return Err("the file has several hard links; copy it instead");
        }
        Ok(())
    }

    /// Reads the whole file, where it is no longer than `max`.
    pub(crate) fn read(mut self, label: &str, max: u64) -> Result<Vec<u8>, LoadError> {
        let len = self.metadata.len();
        if len > max {
            return Err(LoadError::new(
                label,
                format!("the file has {len} bytes; the most is {max}"),
            ));
        }
        let mut bytes = Vec::new();
        let mut read = || -> io::Result<()> {
            bytes.try_reserve_exact(usize::try_from(len).map_err(io::Error::other)?)?;
            self.file.by_ref().take(len).read_to_end(&mut bytes)?;
            Ok(())
        };
        read().map_err(|error| explain(label, "cannot be read", error))?;
        Ok(bytes)
    }

    /// Reads an ONNX file.
    pub(crate) fn read_model(self, label: &str) -> Result<Vec<u8>, LoadError> {
        if self.metadata.len() > MAX_MODEL {
            return Err(LoadError::new(
                label,
                "the file is over 2 GiB; save its weights as external data",
            ));
        }
        self.read(label, MAX_MODEL)
    }

    /// Reads the whole file into memory that can be shared.
    pub(crate) fn read_shared(mut self, label: &str) -> Result<Arc<[u8]>, LoadError> {
        let failed = |error| explain(label, "cannot be read", error);
        let len = usize::try_from(self.metadata.len())
            .map_err(|error| failed(io::Error::other(error)))?;
        let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, len).collect();
        let place = Arc::get_mut(&mut bytes).expect("memory that was made here is not shared yet");
        self.file.read_exact(place).map_err(failed)?;
        Ok(bytes)
    }
}

fn explain(label: &str, what: &str, error: io::Error) -> LoadError {
    let message = match error.kind() {
        // How cap-std tells of a path that leads out.
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => {
            format!("{what}: a symbolic link leads out of the folder; copy the file instead")
        }
        _ => format!("{what}: {error}"),
    };
    LoadError::new(label, message).with_source(error)
}
