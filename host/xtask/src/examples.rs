//! The plugins in other languages than Rust: the examples, and those that misbehave in tests.
//!
//! Each is built when its source or what builds it has changed, beside the others: an interpreter takes its builder seconds.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use wharf_toolchain::{Foreign, Source, write_if_changed};

use crate::paths::Paths;
use crate::setup::{Languages, fingerprint};
use crate::workspace::say;

/// The folders whose folders are plugins, one a language.
const PARENTS: [&str; 2] = ["examples/plugins", "tests/languages"];
/// What else decides over the bytes of a component: the contract, and how components are built.
const BUILDERS: [&str; 3] = [
    "wit/v1",
    "host/crates/toolchain/src",
    "examples/plugins/javascript/package-lock.json",
];
/// What an author's tools may leave beside the source.
const NOT_SOURCE: [&str; 4] = ["node_modules", "target", ".venv", "__pycache__"];

/// Builds those that are not fresh into `target/guests`, `NAME.wasm` each.
///
/// # Errors
/// Where one does not build.
pub(crate) fn run(paths: &Paths, languages: &Languages) -> Result<()> {
    let begun = Instant::now();
    let builders = content(paths.root(), &BUILDERS)?;
    let plugins = PARENTS
        .iter()
        .flat_map(|parent| Foreign::ALL.map(|language| (*parent, language)));
    let built: Vec<Result<bool>> = thread::scope(|scope| {
        let threads: Vec<_> = plugins
            .map(|(parent, language)| {
                let folder = paths.root().join(parent).join(language.name());
                let builders = &builders;
                scope.spawn(move || {
                    build(
                        paths,
                        languages,
                        &Plugin {
                            language,
                            folder,
                            builders,
                        },
                    )
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    let (count, mut changed) = (built.len(), 0);
    for fresh in built {
        changed += usize::from(fresh?);
    }
    let seconds = begun.elapsed().as_secs_f32();
    say(
        "guests",
        &format!("{count} in other languages, {changed} of them built, {seconds:.1} s"),
    );
    Ok(())
}

struct Plugin<'a> {
    language: Foreign,
    folder: PathBuf,
    builders: &'a [u8],
}

/// Builds a plugin where it is not fresh; says whether it did.
fn build(paths: &Paths, languages: &Languages, plugin: &Plugin<'_>) -> Result<bool> {
    let source = Source::open(&plugin.folder)?;
    let name = source.name();
    let component = paths.guests().join(format!("{name}.wasm"));
    let scratch = paths.target().join("example-build").join(name);
    let stamp = scratch.join("stamp");
    let own = content(&plugin.folder, &["."])?;
    let state = format!("{:016x}", fingerprint([plugin.builders, &own]));
    if component.is_file() && fs::read_to_string(&stamp).is_ok_and(|old| old == state) {
        return Ok(false);
    }
    let bytes = match plugin.language {
        Foreign::Python => languages.python.component(&source, &scratch),
        Foreign::JavaScript => languages.javascript.component(&source, &scratch),
        Foreign::C => languages.c.component(&source, &scratch),
    };
    let bytes = bytes.with_context(|| format!("the plugin `{name}`"))?;
    write_if_changed(&component, &bytes)
        .with_context(|| format!("cannot write {}", component.display()))?;
    // Last, so that a build that was cut off is repeated.
    fs::write(&stamp, state).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(true)
}

/// The names and bytes of files, and of all that lies in folders, in the order of their paths.
fn content(root: &Path, places: &[&str]) -> Result<Vec<u8>> {
    let mut open: Vec<_> = places.iter().map(|place| root.join(place)).collect();
    let mut files = Vec::new();
    while let Some(path) = open.pop() {
        if !path.is_dir() {
            files.push(path);
            continue;
        }
        for entry in
            fs::read_dir(&path).with_context(|| format!("cannot list {}", path.display()))?
        {
            let entry = entry?;
            if !NOT_SOURCE.iter().any(|name| entry.file_name() == *name) {
                open.push(entry.path());
            }
        }
    }
    files.retain(|file| file.extension().is_none_or(|extension| extension != "wasm"));
    files.sort();
    let mut content = Vec::new();
    for file in files {
        content.extend(file.strip_prefix(root)?.as_os_str().as_encoded_bytes());
        content.push(0);
        content.extend(fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
        content.push(0);
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tools_leave_beside_a_source_is_none_of_it() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("plugin.py", "one");
        let first = content(root.path(), &["."]).unwrap();
        for other in ["node_modules/a/b.js", "__pycache__/c", "plugin.wasm"] {
            write(other, "other");
            assert_eq!(content(root.path(), &["."]).unwrap(), first, "{other}");
        }
        write("wit/world.wit", "two");
        assert_ne!(content(root.path(), &["."]).unwrap(), first);
    }
}
