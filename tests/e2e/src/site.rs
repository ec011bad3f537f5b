//! Sites in temporary folders.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// A site that goes away with the test. The way of each change is chosen as an operator's tools would do it.
pub struct Site {
    folder: TempDir,
}

impl Site {
    /// Makes a site with nothing in it.
    ///
    /// # Errors
    /// Where the folder cannot be made.
    pub fn empty() -> Result<Self> {
        Ok(Self {
            folder: tempfile::Builder::new().prefix("wharf-site-").tempdir()?,
        })
    }

    /// Copies a site.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn copy_of(folder: &Path) -> Result<Self> {
        let site = Self::empty()?;
        copy(folder, site.path())?;
        Ok(site)
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Puts a file in its place by an atomic rename, as careful tools do.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, file: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let path = self.place(file)?;
        let mut new = tempfile::NamedTempFile::new_in(self.folder.path())?;
        std::io::Write::write_all(&mut new, content.as_ref())?;
        new.persist(&path)
            .with_context(|| format!("cannot replace {file}"))?;
        Ok(())
    }

    /// Writes a file where it stands, as `cp` and many editors do.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write_in_place(&self, file: &str, content: impl AsRef<[u8]>) -> Result<()> {
        fs::write(self.place(file)?, content).with_context(|| format!("cannot write {file}"))
    }

    /// Reads a file as text.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn read(&self, file: &str) -> Result<String> {
        fs::read_to_string(self.path().join(file)).with_context(|| format!("cannot read {file}"))
    }

    /// Removes a file or a folder with all that is in it.
    ///
    /// # Errors
    /// Where it cannot be removed.
    pub fn remove(&self, place: &str) -> Result<()> {
        let path = self.path().join(place);
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.with_context(|| format!("cannot remove {place}"))
    }

    /// Puts a guest of this repository into `plugins/` under a name.
    ///
    /// # Errors
    /// Where it was not built.
    pub fn plugin(&self, name: &str, guest_name: &str) -> Result<()> {
        self.write(&format!("plugins/{name}.wasm"), guest(guest_name)?)
    }

    /// Puts the model `y = x + amount` into `models/` as a version.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn adder(&self, name: &str, version: u64, amount: f32) -> Result<()> {
        self.write(
            &format!("models/{name}/{version}/model.onnx"),
            crate::onnx::adder(amount),
        )
    }

    fn place(&self, file: &str) -> Result<PathBuf> {
        let path = self.path().join(file);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(path)
    }
}

/// Copies the site of the demo, with the plugins that were built for it.
///
/// # Errors
/// Where the plugins were not built.
pub fn quickstart() -> Result<Site> {
    let site = Site::copy_of(&crate::repository("examples/quickstart"))?;
    for plugin in ["image-to-tensor", "top-k", "canary"] {
        site.plugin(plugin, plugin)?;
    }
    Ok(site)
}

/// Copies the example site of text embeddings, with its plugins and the model that was made for the tests.
///
/// # Errors
/// Where the plugins were not built, or the model was not made.
pub fn text_embedding() -> Result<Site> {
    let site = Site::copy_of(&crate::repository("examples/text-embedding"))?;
    for plugin in ["tokenize", "mean-pool"] {
        site.plugin(plugin, plugin)?;
    }
    let made = std::env::var_os("WHARF_TEST_MINILM")
        .map(PathBuf::from)
        .context("WHARF_TEST_MINILM is not set: `cargo xtask test` makes the model and names it")?;
    for file in ["tokenizer.json", "1/model.onnx"] {
        let path = made.join(file);
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        site.write(&format!("models/minilm/{file}"), content)?;
    }
    Ok(site)
}

/// Reads a guest of this repository: a first-party plugin or a test guest.
///
/// # Errors
/// Where it was not built.
pub fn guest(name: &str) -> Result<Vec<u8>> {
    let folder = match std::env::var_os("WHARF_TEST_GUESTS") {
        Some(folder) => PathBuf::from(folder),
        None => crate::command::target()?.join("guests"),
    };
    let file = format!("{name}.wasm");
    fs::read(folder.join(&file))
        .with_context(|| format!("no guest {file}; `cargo xtask guests` builds it"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
