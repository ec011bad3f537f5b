//! ONNX Runtime, from its wheel on PyPI into the user's cache folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::{answer_of, execute};

/// The version that the crate `ort` of this workspace wraps.
const VERSION: &str = "1.31.1";

/// Takes the library out of the wheel. It is stored under the name of its full version.
const EXTRACT: &str = r#"
import pathlib, shutil, sys, zipfile
folder, target = pathlib.Path(sys.argv[1]), sys.argv[2]
wheel = zipfile.ZipFile(next(folder.glob("*.whl")))
member = next(n for n in wheel.namelist() if n.startswith("onnxruntime/capi/libonnxruntime.so."))
with wheel.open(member) as source, open(target, "wb") as out:
    shutil.copyfileobj(source, out)
"#;

/// The path of the library, fetched first where it is missing.
///
/// # Errors
/// Where there is no home folder, no Python with pip, or pip cannot fetch the wheel.
pub(crate) fn library() -> Result<PathBuf> {
    let folder = cache_folder()?.join(format!("wharf/onnxruntime-{VERSION}"));
    let library = folder.join("libonnxruntime.so");
    if library.is_file() {
        return Ok(library);
    }
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let scratch = folder.join(format!("fetch-{}", std::process::id()));
    let fetched = fetch(&scratch, &library);
    // The wheel is not needed any more, and a failed fetch leaves nothing behind.
    drop(std::fs::remove_dir_all(&scratch));
    fetched?;
    Ok(library)
}

fn fetch(scratch: &Path, library: &Path) -> Result<()> {
    let python = python()?;
    let wheel = format!("onnxruntime=={VERSION}");
    let mut pip = Command::new(python);
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
    ])
    .args(["--only-binary=:all:", "--dest"])
    .arg(scratch)
    .arg(&wheel);
    execute(&mut pip).with_context(|| {
        format!("pip cannot fetch {wheel}: see its message above. A library of your own serves as well: name it in WHARF_ONNXRUNTIME")
    })?;
    let partial = scratch.join("libonnxruntime.so");
    execute(
        Command::new(python)
            .arg("-c")
            .arg(EXTRACT)
            .arg(scratch)
            .arg(&partial),
    )
    .context("the wheel of onnxruntime has no libonnxruntime.so")?;
    std::fs::rename(&partial, library)
        .with_context(|| format!("cannot write {}", library.display()))
}

/// A Python that has pip.
fn python() -> Result<&'static str> {
    let works =
        |python: &&str| answer_of(Command::new(python).args(["-m", "pip", "--version"])).is_some();
    match ["python3", "python"].into_iter().find(works) {
        Some(python) => Ok(python),
        None => bail!(
            "ONNX Runtime is fetched with pip, and there is no Python with pip on PATH: install `python3-pip`"
        ),
    }
}

fn cache_folder() -> Result<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set: there is no cache folder")
}
