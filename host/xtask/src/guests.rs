//! `cargo xtask guests`: builds the plugins and the test guests, and makes components of them.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use wharf_toolchain::{Guest, Remap, RustToolchain, component, write_if_changed};

use crate::paths::Paths;
use crate::setup::ensure_toolchain;
use crate::workspace::say;

/// The workspaces of guests.
const WORKSPACES: [&str; 2] = ["plugins", "tests/guests"];
/// The example sites, and the plugins that each uses, copied into it.
const SITES: [(&str, &[&str]); 2] = [
    ("quickstart", &["canary", "image-to-tensor", "top-k"]),
    ("text-embedding", &["mean-pool", "tokenize"]),
];

/// Builds all guests and writes their components, those that changed.
///
/// # Errors
/// Where there is no toolchain, or a guest does not build.
pub(crate) fn run(paths: &Paths) -> Result<()> {
    let toolchain = ensure_toolchain()?;
    say("guests", &format!("building with {toolchain}"));
    let begun = Instant::now();
    // One folder for all, so that the standard library is built once.
    let target = paths.target().join("guest-build");
    let mut guests = Vec::new();
    for workspace in WORKSPACES {
        guests.extend(build(&toolchain, paths.root(), workspace, &target)?);
    }
    let mut changed = 0;
    for guest in &guests {
        let component = component(&guest.folder, &guest.linked)?;
        let file = format!("{}.wasm", guest.folder);
        changed += usize::from(write(&paths.guests().join(&file), &component)?);
        for (site, plugins) in SITES {
            if plugins.contains(&guest.folder.as_str()) {
                write(&paths.example(site).join("plugins").join(&file), &component)?;
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f32();
    say(
        "guests",
        &format!(
            "{} in target/guests, {changed} of them changed, {seconds:.1} s",
            guests.len()
        ),
    );
    Ok(())
}

/// Builds the guests of a workspace. cargo knows which are fresh.
fn build(
    toolchain: &RustToolchain,
    repository: &Path,
    workspace: &str,
    target: &Path,
) -> Result<Vec<Guest>> {
    let remap = Remap {
        folder: repository,
        name: "wharf",
    };
    let mut command = toolchain.cargo_build(&repository.join(workspace), Some(remap));
    command.arg("--quiet").env("CARGO_TARGET_DIR", target);
    wharf_toolchain::build(&mut command).with_context(|| format!("the guests in {workspace}"))
}

fn write(path: &Path, component: &[u8]) -> Result<bool> {
    write_if_changed(path, component).with_context(|| format!("cannot write {}", path.display()))
}
