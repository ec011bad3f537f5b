//! ONNX Runtime for NVIDIA GPUs, from its wheel on PyPI, with the wheels of CUDA and cuDNN where the system has none.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use wharf_toolchain::answer_of;

use super::cache;
use super::onnxruntime::VERSION;
use crate::workspace::execute;

/// What the CUDA provider is linked to, by the names that the loader knows.
const CUDA_LIBRARIES: [&str; 5] = [
    "libcudart.so.13",
    "libcublas.so.13",
    "libcublasLt.so.13",
    "libcufft.so.12",
    "libcudnn.so.9",
];

/// Where the libraries lie.
pub(crate) struct GpuLibraries {
    /// `libonnxruntime.so`, beside its CUDA provider.
    pub(crate) onnxruntime: PathBuf,
    /// Folders that the loader is to look into as well.
    pub(crate) folders: Vec<PathBuf>,
}

/// The libraries, fetched first where they are missing: some two gigabytes where the system has no CUDA.
///
/// # Errors
/// Where there is no Python with pip, or pip cannot fetch the wheels.
pub(crate) fn libraries() -> Result<GpuLibraries> {
    let known = answer_of(Command::new("ldconfig").arg("-p")).unwrap_or_default();
    let system = has_all(&known);
    let kind = if system { "system" } else { "wheels" };
    let folder = cache::folder()?.join(format!("onnxruntime-gpu-{VERSION}-{kind}"));
    if !folder.is_dir() {
        let parent = cache::folder()?;
        cache::in_scratch(&parent, |scratch| {
            fetch(scratch, system)?;
            std::fs::rename(scratch, &folder)
                .with_context(|| format!("cannot write {}", folder.display()))
        })?;
    }
    find(&folder)
}

/// Whether the loader's list has all that the provider needs.
fn has_all(known: &str) -> bool {
    CUDA_LIBRARIES.iter().all(|library| {
        known
            .lines()
            .any(|line| line.split_whitespace().next() == Some(library))
    })
}

fn fetch(folder: &Path, system: bool) -> Result<()> {
    let python = cache::python().context("ONNX Runtime is fetched with pip")?;
    let mut pip = cache::pip_install(python, folder);
    pip.arg("--no-compile");
    if system {
        pip.arg("--no-deps")
            .arg(format!("onnxruntime-gpu=={VERSION}"));
    } else {
        pip.arg(format!("onnxruntime-gpu[cuda,cudnn]=={VERSION}"));
    }
    execute(&mut pip).context("pip cannot fetch onnxruntime-gpu: see its message above")
}

/// Finds the libraries in what pip installed. The wheels of NVIDIA put theirs into `nvidia/NAME/lib`.
fn find(folder: &Path) -> Result<GpuLibraries> {
    let provider = folder.join("onnxruntime/capi");
    let onnxruntime = provider.join(format!("libonnxruntime.so.{VERSION}"));
    ensure!(
        onnxruntime.is_file() && provider.join("libonnxruntime_providers_cuda.so").is_file(),
        "{} has no ONNX Runtime with CUDA; remove the folder and repeat",
        folder.display()
    );
    let mut folders = vec![provider];
    if let Ok(packages) = folder.join("nvidia").read_dir() {
        let libraries = packages
            .filter_map(|package| Some(package.ok()?.path().join("lib")))
            .filter(|library| library.is_dir());
        folders.extend(libraries);
    }
    folders.sort();
    Ok(GpuLibraries {
        onnxruntime,
        folders,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_serves_only_where_it_has_all() {
        let line = |name: &&str| format!("\t{name} (libc6,x86-64) => /usr/lib/{name}\n");
        let all: String = CUDA_LIBRARIES.iter().map(line).collect();
        assert!(has_all(&all));
        let most: String = CUDA_LIBRARIES[1..].iter().map(line).collect();
        assert!(!has_all(&most));
        assert!(!has_all(
            &most.replace("libcublas.so.13", "libcudart.so.130")
        ));
        assert!(!has_all(""));
    }

    #[test]
    fn what_pip_installed_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let make = |path: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        };
        make("nvidia/cudnn/lib/libcudnn.so.9");
        make("nvidia/cu13/lib/libcudart.so.13");
        make("nvidia/cu13/include/cuda.h");
        make(&format!("onnxruntime/capi/libonnxruntime.so.{VERSION}"));
        assert!(find(folder.path()).is_err(), "the provider is missing");
        make("onnxruntime/capi/libonnxruntime_providers_cuda.so");
        let found = find(folder.path()).unwrap();
        let names: Vec<_> = found
            .folders
            .iter()
            .map(|path| path.strip_prefix(folder.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(
            names,
            ["nvidia/cu13/lib", "nvidia/cudnn/lib", "onnxruntime/capi"]
        );
        assert!(found.onnxruntime.is_file());
    }
}
