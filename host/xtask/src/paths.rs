//! Where things lie: the repository, its build outputs, and what is kept between checkouts.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folders that the commands work in.
pub(crate) struct Paths {
    root: PathBuf,
    target: PathBuf,
}

impl Paths {
    /// Asks cargo, so that `CARGO_TARGET_DIR` and the `build.target-dir` setting count.
    ///
    /// # Errors
    /// Where cargo cannot read the workspace.
    pub(crate) fn find() -> Result<Self> {
        // What cargo says when it runs this program; what it said at the build is another checkout's where two share a target
        // folder.
        let package =
            env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let manifest = Path::new(&package).join("Cargo.toml");
        let metadata = cargo_metadata::MetadataCommand::new()
            .manifest_path(manifest)
            .no_deps()
            .exec()
            .context("cannot read the workspace")?;
        Ok(Self {
            root: metadata.workspace_root.into_std_path_buf(),
            target: metadata.target_directory.into_std_path_buf(),
        })
    }

    /// The repository.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's target folder for the host.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// The guests as components, `NAME.wasm` each: first-party plugins and test guests.
    pub(crate) fn guests(&self) -> PathBuf {
        self.target.join("guests")
    }

    /// The server as the dev profile builds it.
    pub(crate) fn wharf(&self) -> PathBuf {
        self.target
            .join("debug")
            .join(format!("wharf{}", env::consts::EXE_SUFFIX))
    }

    /// The site that the demo serves.
    pub(crate) fn quickstart(&self) -> PathBuf {
        self.example("quickstart")
    }

    /// A folder of `examples`.
    pub(crate) fn example(&self, name: &str) -> PathBuf {
        self.root.join("examples").join(name)
    }
}
