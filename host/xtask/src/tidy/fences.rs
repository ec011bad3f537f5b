//! Who may depend on whom. Heavy dependencies live in one crate each, and capability crates meet only through core.

use std::path::PathBuf;

use super::Finding;

/// A dependency that a manifest declares.
pub(super) struct Dependency {
    /// The manifest, relative to the root of the repository.
    pub(super) place: PathBuf,
    /// The package that depends.
    pub(super) from: String,
    /// The package that it depends on.
    pub(super) to: String,
    /// Whether only tests, benches and examples use it.
    pub(super) dev: bool,
}

/// The crates that may use a heavy dependency, for tests too: building it is what costs.
const HEAVY: &[(&str, &[&str])] = &[
    ("wasmtime", &["wharf-sandbox"]),
    ("ort", &["wharf-engine"]),
    ("cudarc", &["wharf-engine"]),
    ("axum", &["wharf-server"]),
];

/// What each crate may import of this workspace. A package that is not listed here is not fenced in: the binary wires
/// everything, and the tools and the end-to-end tests stand outside.
const IMPORTS: &[(&str, &[&str])] = &[
    ("wharf-core", &[]),
    ("wharf-protobuf", &[]),
    ("wharf-codec", &["wharf-core"]),
    ("wharf-plugin-sdk", &[]),
    ("wharf-testkit", &["wharf-core"]),
    ("wharf-sandbox", &["wharf-codec", "wharf-core"]),
    ("wharf-engine", &["wharf-core", "wharf-protobuf"]),
    ("wharf-gateway", &["wharf-core"]),
    ("wharf-upstream", &["wharf-core", "wharf-protobuf"]),
    ("wharf-artifacts", &["wharf-core"]),
    ("wharf-serving", &["wharf-core"]),
    ("wharf-memory", &[]),
    ("wharf-toolchain", &[]),
    (
        "wharf-server",
        &["wharf-core", "wharf-protobuf", "wharf-serving"],
    ),
];

const TESTKIT: &str = "wharf-testkit";

/// The program's allocator: what measures a part of the program takes it as well.
const MEMORY: &str = "wharf-memory";

/// The packages that may report errors with `anyhow` outside their tests.
const ANYHOW: &[&str] = &["wharf", "xtask", "wharf-e2e"];

pub(super) fn check(dependencies: &[Dependency]) -> Vec<Finding> {
    dependencies
        .iter()
        .filter_map(|dependency| Some(Finding::failure(&dependency.place, breach(dependency)?)))
        .collect()
}

fn breach(dependency: &Dependency) -> Option<String> {
    let Dependency { from, to, dev, .. } = dependency;
    let listed = |names: &[&str]| names.contains(&from.as_str());

    if let Some((_, homes)) = HEAVY.iter().find(|(name, _)| belongs_to(to, name))
        && !listed(homes)
    {
        return Some(format!(
            "{to} lives only in {}; go through a port in wharf-core",
            homes.join(", ")
        ));
    }
    if to == "anyhow" && !dev && !listed(ANYHOW) {
        return Some(
            "anyhow is for the binary, xtask and tests; a crate has a `thiserror` enum of its own"
                .to_owned(),
        );
    }
    if to == TESTKIT {
        return (!dev).then(|| "wharf-testkit is for tests: make it a dev-dependency".to_owned());
    }
    if to == MEMORY && *dev {
        return None;
    }
    let (_, allowed) = IMPORTS.iter().find(|(name, _)| name == from)?;
    let internal = to == "wharf" || to.starts_with("wharf-");
    (internal && !allowed.contains(&to.as_str())).then(|| {
        let allowed = if allowed.is_empty() {
            "nothing of this workspace".to_owned()
        } else {
            allowed.join(", ")
        };
        format!(
            "{from} may import {allowed}, and not {to}: crates meet through ports in wharf-core"
        )
    })
}

/// Whether a package is `family` itself or one of its parts, such as `wasmtime-wasi`.
fn belongs_to(package: &str, family: &str) -> bool {
    package
        .strip_prefix(family)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dependency(from: &str, to: &str) -> Dependency {
        Dependency {
            place: PathBuf::from("Cargo.toml"),
            from: from.to_owned(),
            to: to.to_owned(),
            dev: false,
        }
    }

    fn test_dependency(from: &str, to: &str) -> Dependency {
        Dependency {
            dev: true,
            ..dependency(from, to)
        }
    }

    #[test]
    fn the_designed_imports_pass() {
        let allowed = [
            dependency("wharf-sandbox", "wasmtime"),
            dependency("wharf-sandbox", "wasmtime-wasi"),
            dependency("wharf-engine", "ort"),
            dependency("wharf-server", "axum"),
            dependency("wharf-server", "wharf-serving"),
            dependency("wharf", "wharf-engine"),
            dependency("wharf", "anyhow"),
            test_dependency("wharf-engine", "anyhow"),
            test_dependency("wharf-engine", "wharf-testkit"),
            dependency("wharf", "wharf-memory"),
            test_dependency("wharf-sandbox", "wharf-memory"),
            dependency("image-to-tensor", "wharf-plugin-sdk"),
            dependency("wharf-core", "bytes"),
        ];
        assert_eq!(check(&allowed), []);
    }

    #[test]
    fn every_forbidden_import_is_named() {
        let forbidden = [
            dependency("wharf", "wasmtime"),
            dependency("xtask", "wasmtime-environ"),
            test_dependency("wharf-server", "ort"),
            dependency("wharf-serving", "axum"),
            dependency("wharf-serving", "wharf-engine"),
            test_dependency("wharf-sandbox", "wharf-engine"),
            dependency("wharf-core", "wharf-serving"),
            dependency("wharf-plugin-sdk", "wharf-core"),
            dependency("wharf-engine", "anyhow"),
            dependency("wharf-serving", "wharf-testkit"),
            dependency("wharf-sandbox", "wharf-memory"),
        ];
        let findings = check(&forbidden);
        assert_eq!(findings.len(), forbidden.len(), "{findings:?}");
    }

    #[test]
    fn a_family_is_not_a_prefix() {
        assert!(belongs_to("wasmtime-wasi", "wasmtime"));
        assert!(!belongs_to("ortho", "ort"));
    }
}
