//! ONNX Runtime, from its wheel on PyPI into the user's cache folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::cache;
use crate::workspace::execute;

/// The version that the crate `ort` of this workspace wraps.
pub(super) const VERSION: &str = "1.31.1";

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
    let folder = cache::folder()?.join(format!("onnxruntime-{VERSION}"));
    let library = folder.join("libonnxruntime.so");
    if !library.is_file() {
        cache::in_scratch(&folder, |scratch| fetch(scratch, &library))?;
    }
    Ok(library)
}

fn fetch(scratch: &Path, library: &Path) -> Result<()> {
    let python = cache::python().context("ONNX Runtime is fetched with pip")?;
    let wheel = format!("onnxruntime=={VERSION}");
    let mut pip = cache::pip(python, "download");
    pip.args(["--no-deps", "--dest"]).arg(scratch).arg(&wheel);
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
