//! The files of a new plugin: the templates lie in `host/templates/plugin`, and are part of the program.

use std::path::PathBuf;

use wharf_toolchain::{Foreign, JavaScriptToolchain};

use crate::cli::plugin::language::{Language, NewStage};

/// What a template is filled with.
pub(super) struct Values<'a> {
    pub(super) name: &'a str,
    pub(super) stage: NewStage,
    /// The folder of the SDK; none for a language that needs none.
    pub(super) sdk: Option<PathBuf>,
}

impl Values<'_> {
    fn fill(&self, template: &str) -> String {
        let sdk = self
            .sdk
            .iter()
            .map(|sdk| sdk.display().to_string())
            .collect();
        template
            .replace("@NAME@", self.name)
            .replace("@SUMMARY@", self.stage.summary())
            .replace("@SNAKE@", &self.name.replace('-', "_"))
            .replace("@WORLD@", self.stage.world())
            .replace("@VERSION@", VERSION)
            .replace("@SDK@", &toml::Value::String(sdk).to_string())
    }
}

/// A file of a template. `$file` is below the folder of templates.
macro_rules! template {
    ($file:expr) => {
        include_str!(concat!("../../../../templates/plugin/", $file))
    };
}

/// The templates of a stage that are the same in every language.
struct Shared {
    settings: &'static str,
    request: &'static str,
    input: Option<&'static str>,
    expected: &'static str,
}

macro_rules! shared {
    ($stage:literal, $input:expr) => {
        Shared {
            settings: template!(concat!("settings/", $stage, ".toml")),
            request: template!(concat!("cases/", $stage, "/request.json")),
            input: $input,
            expected: template!(concat!("cases/", $stage, "/expected.json")),
        }
    };
}

fn shared(stage: NewStage) -> Shared {
    match stage {
        NewStage::Preprocess => {
            shared!("preprocess", Some(template!("cases/preprocess/input.json")))
        }
        NewStage::Postprocess => shared!(
            "postprocess",
            Some(template!("cases/postprocess/input.json"))
        ),
        NewStage::Router => shared!("router", None),
        NewStage::TokenFilter => shared!("token-filter", None),
        NewStage::ChunkFilter => shared!("chunk-filter", None),
    }
}

/// The files of a new plugin: the path in its folder, and the text.
pub(super) fn files(language: Language, values: &Values<'_>) -> Vec<(String, String)> {
    let shared = shared(values.stage);
    // C has no reader of JSON, so its templates have constants in place of settings.
    let own = match language {
        Language::Foreign(Foreign::C) => "",
        _ => shared.settings,
    };
    let settings = format!("{}{own}", template!("settings.toml"));
    let mut files = match language {
        Language::Rust => rust(values),
        Language::Foreign(language) => foreign(language, values),
    };
    let mut add = |path: &str, template: &str| files.push((path.to_owned(), values.fill(template)));
    let setup = language
        .setup()
        .map_or_else(String::new, |setup| format!("    {setup}     # once\n"));
    let route = match values.stage.route_line(values.name) {
        Some(line) => format!("name the plugin in a route:\n\n    {line}"),
        None => NO_ROUTE.to_owned(),
    };
    let readme = template!("README.md")
        .replace("@SETUP@\n", &setup)
        .replace("@ROUTE@", &route);
    add("README.md", &readme);
    add(&format!("{}.toml", values.name), &settings);
    add("cases/example/request.json", shared.request);
    if let Some(input) = shared.input {
        add("cases/example/input.json", input);
    }
    add("cases/example/expected.json", shared.expected);
    files
}

fn rust(values: &Values<'_>) -> Vec<(String, String)> {
    let source = match values.stage {
        NewStage::Preprocess => template!("rust/preprocess.rs"),
        NewStage::Postprocess => template!("rust/postprocess.rs"),
        NewStage::Router => template!("rust/router.rs"),
        NewStage::TokenFilter => template!("rust/token-filter.rs"),
        NewStage::ChunkFilter => template!("rust/chunk-filter.rs"),
    };
    [
        ("Cargo.toml", template!("rust/Cargo.toml.txt")),
        (".gitignore", template!("rust/gitignore")),
        ("src/lib.rs", source),
    ]
    .map(|(path, template)| (path.to_owned(), values.fill(template)))
    .into()
}

fn foreign(language: Foreign, values: &Values<'_>) -> Vec<(String, String)> {
    let (ignored, source) = match language {
        Foreign::Python => (template!("python/gitignore"), python(values.stage)),
        Foreign::JavaScript => (template!("javascript/gitignore"), javascript(values.stage)),
        Foreign::C => (template!("c/gitignore"), c(values.stage)),
    };
    let mut files = vec![
        (".gitignore", ignored.to_owned()),
        ("wit/world.wit", template!("wit/world.wit").to_owned()),
        (language.file(), source),
    ];
    if language == Foreign::JavaScript {
        files.push(("package.json", package()));
    }
    let filled = files
        .into_iter()
        .map(|(path, template)| (path.to_owned(), values.fill(&template)));
    filled.collect()
}

fn python(stage: NewStage) -> String {
    let (source, more) = match stage {
        NewStage::Preprocess => (template!("python/preprocess.py"), ""),
        NewStage::Postprocess => (template!("python/postprocess.py"), ""),
        NewStage::Router => (template!("python/router.py"), ""),
        NewStage::TokenFilter => (template!("python/token-filter.py"), ", token_filter"),
        NewStage::ChunkFilter => (template!("python/chunk-filter.py"), ", chunk_filter"),
    };
    template!("python/head.py").replace("@MORE@", more) + source
}

fn javascript(stage: NewStage) -> String {
    // An import that is not used would be one of the component's for nothing.
    let (source, types) = match stage {
        NewStage::Preprocess => (template!("javascript/preprocess.js"), "Tensor"),
        NewStage::Postprocess => (template!("javascript/postprocess.js"), "Body"),
        NewStage::Router => (template!("javascript/router.js"), ""),
        NewStage::TokenFilter => (template!("javascript/token-filter.js"), ""),
        NewStage::ChunkFilter => (template!("javascript/chunk-filter.js"), ""),
    };
    let imports = match types {
        "" => String::new(),
        types => format!("import {{ {types} }} from \"{PACKAGE}/types@{VERSION}\";\n\n"),
    };
    template!("javascript/head.js").replace("@IMPORTS@\n", &imports) + source
}

fn c(stage: NewStage) -> String {
    let source = match stage {
        NewStage::Preprocess => template!("c/preprocess.c"),
        NewStage::Postprocess => template!("c/postprocess.c"),
        NewStage::Router => template!("c/router.c"),
        NewStage::TokenFilter => template!("c/token-filter.c"),
        NewStage::ChunkFilter => template!("c/chunk-filter.c"),
    };
    template!("c/head.c").to_owned() + source
}

/// The manifest of a plugin in JavaScript, with the packages that build it.
fn package() -> String {
    let packages = JavaScriptToolchain::PACKAGES.map(|package| {
        let (name, version) = package.rsplit_once('@').unwrap_or((package, "*"));
        format!("    \"{name}\": \"{version}\"")
    });
    template!("javascript/package.json").replace("@PACKAGES@", &packages.join(",\n"))
}

/// What follows on the copy of a plugin that no route can name yet.
const NO_ROUTE: &str = "\
see it in the list of `GET /v1/plugins`.
No route names it yet: filters wait for models that generate text and for answers that come in pieces. `wharf plugin test` gives
it what they will.";

const PACKAGE: &str = "wharf:plugin";
/// The contract that a new plugin is built against.
const VERSION: &str = "1.1.0";

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn the_contract_is_of_the_version_that_plugins_are_built_against() {
        let types = include_str!("../../../../../wit/v1/types.wit");
        assert!(types.starts_with(&format!("package {PACKAGE}@{VERSION};")));
    }

    #[test]
    fn every_template_is_filled_and_its_documents_can_be_read() {
        for language in Language::value_variants() {
            for stage in NewStage::value_variants() {
                let values = Values {
                    name: "my-plugin",
                    stage: *stage,
                    sdk: Some(PathBuf::from("/a \"quoted\" folder")),
                };
                let files = files(*language, &values);
                for (path, text) in &files {
                    for token in [
                        "@NAME@",
                        "@SUMMARY@",
                        "@SNAKE@",
                        "@ROUTE@",
                        "@SDK@",
                        "@SETUP@",
                        "@MORE@",
                        "@IMPORTS@",
                        "@VERSION@",
                    ] {
                        assert!(!text.contains(token), "{path} has {token}");
                    }
                    if path.ends_with(".toml") {
                        text.parse::<toml::Table>().unwrap();
                    }
                    if path.ends_with(".json") {
                        serde_json::from_str::<serde_json::Value>(text).unwrap();
                    }
                }
                let readme = files.iter().find(|(path, _)| path == "README.md");
                let (_, readme) = readme.unwrap();
                let has_route = readme.contains("in a route:\n\n    ");
                let filters = [NewStage::TokenFilter, NewStage::ChunkFilter];
                assert_eq!(has_route, !filters.contains(stage), "{readme}");
                for wanted in ["README.md", "my-plugin.toml", "cases/example/expected.json"] {
                    assert!(files.iter().any(|(path, _)| path == wanted), "{wanted}");
                }
            }
        }
    }
}
