//! What a component is, by its bytes and its settings: nothing of it is compiled or run.

use sha2::{Digest as _, Sha256};
use wasmparser::{Parser, Payload};
use wharf_core::{Digest, Isolation, LoadError, Name, Stage};

use crate::abilities;
use crate::inspect::inspect;
use crate::manifest::Manifest;
use crate::{Config, Limits};

const PACKAGE: &str = "wharf:plugin/";

/// What a plugin is before it is loaded.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The size of the component in bytes.
    pub bytes: u64,
    /// The digest of the component: what a pin gives.
    pub sha256: Digest,
    /// The newest version of the contract that it names: `1.0.0`. None where it names none.
    pub contract: Option<String>,
    /// The stages that it exports, in the order of a pipeline.
    pub stages: Vec<Stage>,
    /// Whether it takes part in its own life: describes, checks its settings, tests itself.
    pub lifecycle: bool,
    /// What it imports, in the component's order.
    pub imports: Vec<Import>,
    /// Who may share an instance, by its settings.
    pub isolation: Isolation,
    /// The limits of its calls, by its settings and the host's.
    pub limits: Limits,
}

/// An interface that a component imports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// Its whole name: `wharf:plugin/state@1.1.0`.
    pub name: String,
    /// The grant that it needs; none for what every plugin has.
    pub grant: Option<&'static str>,
    /// Whether the plugin's settings give it that grant, or it needs none.
    pub granted: bool,
}

impl Summary {
    /// Reads a component and the text of its `plugins/NAME.toml`; an empty text is no settings.
    ///
    /// # Errors
    /// Where the bytes are no component within the host's caps, or the settings are wrong.
    pub fn of(
        name: &Name,
        component: &[u8],
        settings: &str,
        config: &Config,
    ) -> Result<Self, LoadError> {
        let file = format!("plugins/{name}.wasm");
        let manifest = Manifest::parse(name, settings, &config.limits)?;
        inspect(component, config).map_err(|message| LoadError::new(&file, message))?;
        let mut summary = Self {
            bytes: component.len() as u64,
            sha256: Digest::new(Sha256::digest(component).into()),
            contract: None,
            stages: Vec::new(),
            lifecycle: false,
            imports: Vec::new(),
            isolation: manifest.isolation,
            limits: manifest.limits,
        };
        let names = Names::read(component).map_err(|error| {
            LoadError::new(&file, "the component is not valid").with_source(error)
        })?;
        for import in names.imports {
            summary.version_of(&import);
            let grant = interface(&import).and_then(|interface| {
                let mut names = abilities::NAMES.iter().copied();
                names.find(|name| *name == interface)
            });
            summary.imports.push(Import {
                granted: grant.is_none_or(|grant| manifest.grants.has(grant)),
                grant,
                name: import,
            });
        }
        for export in &names.exports {
            summary.version_of(export);
        }
        let exports = |wanted: &str| {
            names
                .exports
                .iter()
                .any(|name| interface(name) == Some(wanted))
        };
        summary.lifecycle = exports("lifecycle");
        summary.stages = Stage::ALL
            .into_iter()
            .filter(|stage| exports(stage.name()))
            .collect();
        Ok(summary)
    }

    /// Notes the version of the contract in a name, where it is the newest.
    fn version_of(&mut self, name: &str) {
        let Some((_, version)) = name
            .strip_prefix(PACKAGE)
            .and_then(|rest| rest.split_once('@'))
        else {
            return;
        };
        if self
            .contract
            .as_deref()
            .is_none_or(|known| numbers(known) < numbers(version))
        {
            self.contract = Some(version.to_owned());
        }
    }
}

/// The interface of the contract that a name means.
fn interface(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(PACKAGE)?;
    Some(
        rest.split_once('@')
            .map_or(rest, |(interface, _)| interface),
    )
}

fn numbers(version: &str) -> Vec<u64> {
    version
        .split('.')
        .map(|number| number.parse().unwrap_or(0))
        .collect()
}

/// The names that a component imports and exports itself: not those of the components in it.
#[derive(Default)]
struct Names {
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Names {
    fn read(component: &[u8]) -> wasmparser::Result<Self> {
        let mut names = Self::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(component) {
            match payload? {
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section {
                        names.imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section {
                        names.exports.push(export?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPONENT: &str = r#"(component
        (import "wharf:plugin/settings@1.0.0" (instance))
        (import "wharf:plugin/state@1.1.0" (instance))
        (import "wasi:cli/stderr@0.2.6" (instance))
        (component (import "inside" (instance)))
        (instance $empty)
        (export "wharf:plugin/postprocess@1.0.0" (instance $empty))
        (export "wharf:plugin/lifecycle@1.0.0" (instance $empty))
    )"#;

    fn summary(settings: &str) -> Result<Summary, LoadError> {
        let component = wat::parse_str(COMPONENT).unwrap();
        let name = "counter".parse().unwrap();
        Summary::of(&name, &component, settings, &Config::default())
    }

    #[test]
    fn it_says_stages_imports_and_the_grants_they_need() {
        let summary = summary("isolation = 'shared'\n[limits]\nmemory_mb = 8\n").unwrap();
        assert_eq!(summary.contract.as_deref(), Some("1.1.0"));
        assert_eq!(summary.stages, [Stage::Postprocess]);
        assert!(summary.lifecycle);
        assert_eq!(summary.isolation, Isolation::Shared);
        assert_eq!(summary.limits.memory_mb, 8);
        let imports: Vec<_> = summary
            .imports
            .iter()
            .map(|import| (import.name.as_str(), import.grant, import.granted))
            .collect();
        assert_eq!(
            imports,
            [
                ("wharf:plugin/settings@1.0.0", None, true),
                ("wharf:plugin/state@1.1.0", Some("state"), false),
                ("wasi:cli/stderr@0.2.6", None, true),
            ]
        );
    }

    #[test]
    fn a_grant_of_the_settings_counts() {
        let summary = summary("[grants]\nstate = true\n").unwrap();
        assert!(summary.imports.iter().all(|import| import.granted));
    }

    #[test]
    fn wrong_settings_and_no_component_are_refused_with_their_file() {
        assert_eq!(
            summary("isolation = 3").unwrap_err().file,
            "plugins/counter.toml"
        );
        let name = "counter".parse().unwrap();
        let error = Summary::of(&name, b"\0asm\x01\0\0\0", "", &Config::default()).unwrap_err();
        assert_eq!(error.file, "plugins/counter.wasm");
        assert!(error.message.contains("core module"), "{error}");
    }
}
