//! The rules that no compiler checks: who may depend on whom, how long a file may grow, that every guest has a test.
//!
//! It reads the tree and `cargo metadata` without dependencies, and compiles nothing, so it answers at once.

mod fences;
mod guests;
mod sources;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// One breach of a rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    severity: Severity,
    /// The file or folder, relative to the root of the repository.
    place: PathBuf,
    message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Warning,
    Failure,
}

impl Finding {
    fn failure(place: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Failure,
            place: place.into(),
            message: message.into(),
        }
    }

    fn warning(place: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            place: place.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Failure => "error",
        };
        write!(f, "{severity}: {}: {}", self.place.display(), self.message)
    }
}

/// Checks the repository at `root`; prints every finding, and fails where one is more than a warning.
pub(crate) fn run(root: &Path) -> Result<()> {
    let sources = sources::read(root)?;
    let mut findings = sources::check(&sources);
    findings.extend(guests::check(root, &sources)?);
    for workspace in ["", "plugins", "tests/guests"] {
        findings.extend(fences::check(&dependencies(root, workspace)?));
    }

    for finding in &findings {
        eprintln!("{finding}");
    }
    let failures = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Failure)
        .count();
    if failures > 0 {
        bail!(
            "tidy found {failures} {}",
            if failures == 1 { "breach" } else { "breaches" }
        );
    }
    Ok(())
}

/// Lists what the packages of a workspace declare to depend on; nothing where there is no such workspace yet.
fn dependencies(root: &Path, workspace: &str) -> Result<Vec<fences::Dependency>> {
    let manifest = root.join(workspace).join("Cargo.toml");
    if !manifest.is_file() {
        return Ok(Vec::new());
    }
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(&manifest)
        .no_deps()
        .exec()
        .with_context(|| format!("cannot read the metadata of {}", manifest.display()))?;
    let mut dependencies = Vec::new();
    for package in &metadata.packages {
        let place = package.manifest_path.as_std_path();
        let place = place.strip_prefix(root).unwrap_or(place);
        dependencies.extend(
            package
                .dependencies
                .iter()
                .map(|dependency| fences::Dependency {
                    place: place.to_owned(),
                    from: package.name.to_string(),
                    to: dependency.name.clone(),
                    dev: dependency.kind == cargo_metadata::DependencyKind::Development,
                }),
        );
    }
    Ok(dependencies)
}
