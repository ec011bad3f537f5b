//! The names of a release's files. They may come from a registry, and become paths in a site: each is checked before.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Result, bail, ensure};
use wharf_core::Name;

/// The most files of a release: their names have to fit into a manifest.
pub(super) const MOST_FILES: usize = 4096;

/// The longest name of a file or a folder, and the most of them in a path.
const PART_BYTES: usize = 128;
const PARTS: usize = 8;

/// The path of a file in a release, with `/` between its parts: `models/flowers/1/model.onnx`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ReleasePath(String);

impl ReleasePath {
    /// Checks a path. It is relative, leads nowhere else, and is in one of the folders that a release has.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn new(path: &str) -> Result<Self> {
        let parts: Vec<&str> = path.split('/').collect();
        ensure!(
            parts.len() <= PARTS && parts.iter().all(|part| is_part(part)),
            "{path:?} is no name of a file in a release: parts of it have letters, digits, `.`, `_`, `-`, `+` and `=`, a letter, a digit or `_` first, and there are at most {PARTS}"
        );
        let named = |name: &str, ending: &str| {
            name.strip_suffix(ending)
                .is_some_and(|stem| Name::new(stem).is_ok())
        };
        match parts[..] {
            ["routes", file] if named(file, ".toml") => {}
            ["routes", ..] => bail!("{path} is no route: routes are routes/NAME.toml"),
            ["models", name, _, ..] if Name::new(name).is_ok() => {}
            ["models", ..] => bail!("{path} is of no model: those lie in models/NAME/"),
            ["plugins", file] if file.ends_with(".wasm") && !named(file, ".wasm") => {
                bail!("{path} cannot be a plugin's name")
            }
            ["plugins", _, ..] => {}
            _ => bail!(
                "{path} is in none of the folders of a release: it has routes/, models/ and plugins/ alone"
            ),
        }
        Ok(Self(path.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the route or plugin whose file this is: `NAME` of `folder/NAME.ending`.
    pub(super) fn name_in(&self, folder: &str, ending: &str) -> Option<Name> {
        let file = self.0.strip_prefix(folder)?.strip_prefix('/')?;
        Name::new(file.strip_suffix(ending)?).ok()
    }

    /// The model whose file this is, and the version where it is one's.
    pub(super) fn model(&self) -> Option<(&str, Option<u64>)> {
        let (name, rest) = self.0.strip_prefix("models/")?.split_once('/')?;
        let version = rest.split_once('/').and_then(|(version, _)| {
            let number: u64 = version.parse().ok()?;
            (number.to_string() == version).then_some(number)
        });
        Some((name, version))
    }
}

impl fmt::Display for ReleasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_part(part: &str) -> bool {
    let first = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+=".contains(&byte);
    part.len() <= PART_BYTES
        && part.as_bytes().first().is_some_and(first)
        && part.bytes().all(inner)
}

/// Checks that files can be a release together.
///
/// # Errors
/// Where there are too many, one is there twice or where another has a folder, or no route is among them.
pub(super) fn check_all<'a>(paths: impl Iterator<Item = &'a ReleasePath>) -> Result<()> {
    let mut known = BTreeSet::new();
    for path in paths {
        ensure!(known.insert(path.as_str()), "{path} is there twice");
        ensure!(
            known.len() <= MOST_FILES,
            "these are more files than a release may have: {MOST_FILES}"
        );
    }
    for path in &known {
        let mut folder = *path;
        while let Some((above, _)) = folder.rsplit_once('/') {
            ensure!(
                !known.contains(above),
                "{above} is a file, and the folder of {path}"
            );
            folder = above;
        }
    }
    ensure!(
        known.iter().any(|path| path.starts_with("routes/")),
        "a release has at least one route: routes/NAME.toml"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(paths: &[&str]) -> Result<()> {
        let paths: Vec<ReleasePath> = paths
            .iter()
            .map(|path| ReleasePath::new(path))
            .collect::<Result<_>>()?;
        check_all(paths.iter())
    }

    #[test]
    fn files_lie_where_a_site_has_them() {
        for path in [
            "routes/flowers.toml",
            "models/flowers/model.toml",
            "models/flowers/12/model.onnx",
            "models/flowers/12/layers.0.weight",
            "models/flowers/12/_Constant_1+x=3",
            "models/bert/tokenizer.json",
            "plugins/top-k.wasm",
            "plugins/top-k.wasm.sig",
            "plugins/words/tokenizer.json",
        ] {
            assert_eq!(ReleasePath::new(path).unwrap().as_str(), path);
        }
    }

    #[test]
    fn what_leads_elsewhere_is_no_path() {
        for path in [
            "",
            "/etc/passwd",
            "../x",
            "routes/../../x.toml",
            "models/a/./x",
            "models//x/y",
            "routes/",
            "routes",
            "routes/.hidden.toml",
            "routes/deep/a.toml",
            "routes/a.json",
            "models/x",
            "models/.a/1/model.onnx",
            "models/a/1/b/c/d/e/f/g",
            "plugins/a b.wasm",
            "plugins/_a.wasm",
            "plugins/a\\b.wasm",
            "plugins/a\0.wasm",
            "wharf.toml",
            "bundle.toml",
            "bundles/a/1/x",
            "C:/x",
            "models/a/\u{202e}/x",
        ] {
            assert!(ReleasePath::new(path).is_err(), "{path:?}");
        }
        assert!(ReleasePath::new(&format!("models/a/{}", "x".repeat(129))).is_err());
    }

    #[test]
    fn files_fit_together() {
        check(&["routes/a.toml", "models/a/1/model.onnx"]).unwrap();
        for (paths, words) in [
            (&["models/a/1/model.onnx"][..], "at least one route"),
            (&["routes/a.toml", "routes/a.toml"], "there twice"),
            (
                &["routes/a.toml", "models/a/1", "models/a/1/model.onnx"],
                "is a file",
            ),
        ] {
            let error = check(paths).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let many: Vec<String> = (0..=MOST_FILES)
            .map(|n| format!("routes/r{n}.toml"))
            .collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(check(&many).unwrap_err().to_string().contains("more files"));
    }

    #[test]
    fn names_and_versions_are_read_from_paths() {
        let path = |text| ReleasePath::new(text).unwrap();
        let route = path("routes/a.toml");
        assert_eq!(route.name_in("routes", ".toml").unwrap().as_str(), "a");
        assert_eq!(route.name_in("plugins", ".toml"), None);
        assert_eq!(path("models/a/3/model.onnx").model(), Some(("a", Some(3))));
        assert_eq!(path("models/a/03/model.onnx").model(), Some(("a", None)));
        assert_eq!(path("models/a/model.toml").model(), Some(("a", None)));
        assert_eq!(route.model(), None);
    }
}
