//! Things that are made once and kept for every checkout, in the user's cache folder.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use wharf_toolchain::answer_of;

/// The folder of the user's cache that is this project's.
///
/// # Errors
/// Where the environment names no home.
pub(super) fn folder() -> Result<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("wharf"))
        .context("neither XDG_CACHE_HOME nor HOME is set: there is no cache folder")
}

/// Makes something in a scratch folder beside its place. The folder goes away, whatever comes of it: `make` moves what it
/// made to its place at its end, so that what is there is whole.
///
/// # Errors
/// Where the scratch folder cannot be made, or as `make`.
pub(super) fn in_scratch(parent: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let scratch = parent.join(format!("fetch-{}", std::process::id()));
    std::fs::create_dir_all(&scratch)
        .with_context(|| format!("cannot make the folder {}", scratch.display()))?;
    let made = make(&scratch);
    // What is left in it is not needed any more; a folder that stays behind does no harm.
    drop(std::fs::remove_dir_all(&scratch));
    made
}

/// A pip that takes no source packages, for a command of its own: `download`, `install`.
pub(super) fn pip(python: &str, command: &str) -> Command {
    let mut pip = Command::new(python);
    pip.args([
        "-m",
        "pip",
        command,
        "--quiet",
        "--disable-pip-version-check",
    ])
    .arg("--only-binary=:all:");
    pip
}

/// The same, to install into a folder.
pub(super) fn pip_install(python: &str, folder: impl AsRef<OsStr>) -> Command {
    let mut pip = pip(python, "install");
    pip.args(["--root-user-action=ignore", "--target"])
        .arg(folder);
    pip
}

/// A Python that has pip.
///
/// # Errors
/// Where there is none on PATH; the text says what to install.
pub(super) fn python() -> Result<&'static str> {
    let works =
        |python: &&str| answer_of(Command::new(python).args(["-m", "pip", "--version"])).is_some();
    match ["python3", "python"].into_iter().find(works) {
        Some(python) => Ok(python),
        None => bail!("there is no Python with pip on PATH: install `python3-pip`"),
    }
}

/// FNV-1a. It tells contents apart, and guards nothing.
pub(crate) fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let bytes = parts.into_iter().flatten();
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
