//! Finds the ONNX Runtime library.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The version that the program is made for.
const VERSION: &str = "1.31.1";
const FILE_NAME: &str = "libonnxruntime.so";

/// Why there is no library.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LibraryError {
    #[error("{origin} says {path}, but there is no {FILE_NAME} there", path = path.display())]
    NotThere { origin: &'static str, path: PathBuf },
}

/// Finds the library: what the configuration says, `WHARF_ONNXRUNTIME`, `ORT_DYLIB_PATH`, beside the executable, the user's
/// cache folder, the `onnxruntime` package of the Python on the path, and last, by its bare name, wherever the system's
/// loader looks. What is said and not there is an error: another library in its place would surprise.
pub(crate) fn find(configured: Option<&Path>) -> Result<PathBuf, LibraryError> {
    let variable = |name: &'static str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(|value| (name, PathBuf::from(value)))
    };
    let said = configured
        .map(|path| ("the setting models.onnxruntime", path.to_owned()))
        .or_else(|| variable("WHARF_ONNXRUNTIME"))
        .or_else(|| variable("ORT_DYLIB_PATH"));
    if let Some((origin, path)) = said {
        return library_at(&path).ok_or(LibraryError::NotThere { origin, path });
    }
    let beside = env::current_exe()
        .ok()
        .and_then(|program| Some(program.parent()?.to_owned()));
    let found = beside
        .into_iter()
        .chain(cache_folder())
        .find_map(|folder| library_at(&folder))
        .or_else(python_package);
    Ok(found.unwrap_or_else(|| PathBuf::from(FILE_NAME)))
}

/// Where `cargo xtask setup` puts the library.
fn cache_folder() -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))?;
    Some(cache.join("wharf").join(format!("onnxruntime-{VERSION}")))
}

/// The library at a path, which is a file or the folder of one. In the Python package its name ends in the version.
fn library_at(path: &Path) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path.to_owned());
    }
    let plain = path.join(FILE_NAME);
    if plain.is_file() {
        return Some(plain);
    }
    let mut versioned: Vec<PathBuf> = path
        .read_dir()
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| {
            file.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| {
                    name.strip_prefix(FILE_NAME)
                        .is_some_and(|rest| rest.starts_with('.'))
                })
        })
        .collect();
    versioned.sort();
    versioned.pop()
}

/// The library in the `onnxruntime` package of the Python on the path. The package is looked for and not imported.
fn python_package() -> Option<PathBuf> {
    let script = "import importlib.util as u; s = u.find_spec('onnxruntime'); print(s.submodule_search_locations[0])";
    let output = Command::new("python3")
        .args(["-I", "-c", script])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let package = String::from_utf8(output.stdout).ok()?;
    library_at(&Path::new(package.trim()).join("capi"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_or_its_folder_names_the_library() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(library_at(folder.path()), None);
        let versioned = folder.path().join("libonnxruntime.so.1.31.1");
        std::fs::write(&versioned, "").unwrap();
        std::fs::write(folder.path().join("libonnxruntime_providers_shared.so"), "").unwrap();
        assert_eq!(library_at(folder.path()), Some(versioned.clone()));
        assert_eq!(library_at(&versioned), Some(versioned));
    }

    #[test]
    fn what_is_configured_must_be_there() {
        let error = find(Some(Path::new("/nowhere/lib.so"))).unwrap_err();
        assert!(error.to_string().contains("models.onnxruntime"), "{error}");
    }
}
