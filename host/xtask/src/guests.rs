//! `cargo xtask guests`: builds the plugins and the test guests, and makes components of them.

use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use cargo_metadata::{CrateType, Message};
use wit_component::ComponentEncoder;

use crate::paths::Paths;
use crate::setup::Toolchain;
use crate::workspace::{forget_outer_cargo, say};

/// The workspaces of guests.
const WORKSPACES: [&str; 2] = ["plugins", "tests/guests"];
/// The plugins that the quickstart site uses, copied into it.
const QUICKSTART: [&str; 3] = ["canary", "image-to-tensor", "top-k"];
/// The first bytes of a component; a core module differs in the last four.
const COMPONENT_HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";

/// A guest that cargo built.
struct Guest {
    /// The name of its package.
    name: String,
    /// What the linker wrote: a core module or, for a WASI target, a component.
    linked: PathBuf,
}

/// Builds all guests and writes their components, those that changed.
///
/// # Errors
/// Where there is no toolchain, or a guest does not build.
pub(crate) fn run(paths: &Paths) -> Result<()> {
    let toolchain = Toolchain::ensure()?;
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
        let component = component(guest)?;
        let file = format!("{}.wasm", guest.name);
        changed += usize::from(write_if_changed(&paths.guests().join(&file), &component)?);
        if QUICKSTART.contains(&guest.name.as_str()) {
            write_if_changed(&paths.quickstart().join("plugins").join(&file), &component)?;
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
    toolchain: &Toolchain,
    repository: &Path,
    workspace: &str,
    target: &Path,
) -> Result<Vec<Guest>> {
    let mut command = toolchain.cargo_build(repository, workspace);
    command
        .args(["--quiet", "--message-format=json-render-diagnostics"])
        .env("CARGO_TARGET_DIR", target);
    forget_outer_cargo(&mut command);
    let mut cargo = command
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo cannot start")?;
    let messages = cargo.stdout.take().context("stdout is piped")?;
    let mut guests = Vec::new();
    for message in Message::parse_stream(BufReader::new(messages)) {
        let Message::CompilerArtifact(artifact) =
            message.context("cargo's messages cannot be read")?
        else {
            continue;
        };
        if !artifact.target.crate_types.contains(&CrateType::CDyLib) {
            continue;
        }
        let linked = artifact
            .filenames
            .iter()
            .find(|path| path.extension() == Some("wasm"));
        let Some(linked) = linked else { continue };
        // The library's name has underscores; the package's name is that of its folder.
        let name = artifact
            .manifest_path
            .parent()
            .and_then(|folder| folder.file_name());
        let name = name.context("a package lies in a folder")?.to_owned();
        guests.push(Guest {
            name,
            linked: linked.clone().into_std_path_buf(),
        });
    }
    let status = cargo.wait().context("cargo cannot be waited for")?;
    if !status.success() {
        bail!("the guests in {workspace} do not build: see cargo's message above");
    }
    Ok(guests)
}

/// The component of a guest.
fn component(guest: &Guest) -> Result<Vec<u8>> {
    let linked = fs::read(&guest.linked)
        .with_context(|| format!("cannot read {}", guest.linked.display()))?;
    if linked.starts_with(&COMPONENT_HEADER) {
        return Ok(linked);
    }
    ComponentEncoder::default()
        .validate(true)
        .module(&linked)
        .and_then(ComponentEncoder::encode)
        .with_context(|| {
            format!(
                "the guest `{}` makes no component of the contract",
                guest.name
            )
        })
}

/// Writes a file in one step, and only where its bytes change: file watchers and caches see a whole file, and nothing
/// where there is nothing new. Says whether it wrote.
fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    let folder = path.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    fs::write(&partial, bytes).with_context(|| format!("cannot write {}", partial.display()))?;
    fs::rename(&partial, path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_only_where_its_bytes_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/guest.wasm");
        assert!(write_if_changed(&path, b"one").unwrap());
        assert!(!write_if_changed(&path, b"one").unwrap());
        assert!(write_if_changed(&path, b"two").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_module_without_a_contract_makes_no_component() {
        let folder = tempfile::tempdir().unwrap();
        let linked = folder.path().join("bad.wasm");
        fs::write(&linked, b"\0asm\x01\0\0\0garbage").unwrap();
        let error = component(&Guest {
            name: "bad".to_owned(),
            linked,
        })
        .unwrap_err();
        assert!(format!("{error:#}").contains("`bad`"), "{error:#}");
    }
}
