//! Builds a plugin that is written in Rust.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use wharf_toolchain::{Remap, RustToolchain};

use crate::cli::plugin::project::{Project, read_toml, resolved};

/// Runs cargo, and makes a component of what it built.
pub(super) fn build(project: &Project) -> Result<Vec<u8>> {
    let Some(toolchain) = RustToolchain::find() else {
        bail!("{}", RustToolchain::advice());
    };
    let source = sdk_source(project);
    let remap = source.as_deref().map(|folder| Remap {
        folder,
        name: "wharf",
    });
    let mut command = toolchain.cargo_build(&project.folder, remap);
    let guests = wharf_toolchain::build(&mut command)
        .with_context(|| format!("{} was not built by {toolchain}", project.name))?;
    let of_this_name = |name: &str| name == project.name.as_str().replace('_', "-");
    let guest = match &guests[..] {
        [only] => only,
        several => several
            .iter()
            .find(|guest| of_this_name(&guest.name))
            .context(
                "cargo built no plugin: Cargo.toml needs `[lib]` with `crate-type = [\"cdylib\"]`",
            )?,
    };
    Ok(wharf_toolchain::component(
        project.name.as_str(),
        &guest.linked,
    )?)
}

/// The source tree that the SDK comes from, where the plugin names it by its path: texts of panics do not name it.
fn sdk_source(project: &Project) -> Option<PathBuf> {
    let manifest = read_toml(&project.folder.join("Cargo.toml")).ok()?;
    let sdk = manifest.get("dependencies")?.get("wharf-plugin-sdk")?;
    let folder = resolved(&project.folder.join(sdk.get("path")?.as_str()?)).ok()?;
    folder.parent().map(ToOwned::to_owned)
}
