//! C plugins: clang compiles them with WASI's C library, and with bindings that are made here.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as ADAPTER_NAME,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as ADAPTER,
};
use wit_bindgen_c::{Enabled, Opts};
use wit_bindgen_core::Files;
use wit_component::ComponentEncoder;

use crate::BuildError;
use crate::source::{Source, read, write};
use crate::tool::{run, setting};

/// The file that an author writes.
const FILE: &str = "plugin.c";

/// Debian's name of WASI's first version, and that of every clang since.
const TARGET: &str = "--target=wasm32-wasi";

/// A library rather than a program; optimised, with SIMD for the loops over tensors and bulk memory for the copies.
const FLAGS: [&str; 6] = [
    TARGET,
    "-mexec-model=reactor",
    "-O2",
    "-msimd128",
    "-mbulk-memory",
    "-Wl,--strip-debug",
];

/// A clang that has WASI's C library.
#[derive(Debug)]
pub struct CToolchain {
    clang: PathBuf,
}

impl CToolchain {
    /// The packages that Debian 12 has.
    pub const DEBIAN_PACKAGES: [&'static str; 4] =
        ["clang", "lld", "wasi-libc", "libclang-rt-14-dev-wasm32"];
    /// Names the folder of a WASI SDK; its clang is looked at before any other.
    pub const VARIABLE: &'static str = "WASI_SDK_PATH";

    /// Finds one: that of the WASI SDK, or `clang` on PATH with Debian's packages.
    #[must_use]
    pub fn find() -> Option<Self> {
        let sdk = setting(Self::VARIABLE).map(|folder| Path::new(&folder).join("bin/clang"));
        sdk.into_iter()
            .chain([PathBuf::from("clang")])
            .map(|clang| Self { clang })
            .find(Self::is_whole)
    }

    /// What to install where none is found, a line a way.
    #[must_use]
    pub fn advice() -> String {
        format!(
            "no C compiler here builds plugins: it needs clang with WASI's C library. Do one of these and repeat:\n\
             - on Debian 12, as root: `apt-get install --no-install-recommends {}`\n\
             - elsewhere: install the WASI SDK (https://github.com/WebAssembly/wasi-sdk) and set {} to its folder",
            Self::DEBIAN_PACKAGES.join(" "),
            Self::VARIABLE
        )
    }

    /// The component of a plugin, whose source is `plugin.c` with a header of the plugin's name. The bindings, and what else is
    /// made on the way, lie in `scratch`.
    ///
    /// # Errors
    /// Where the compiler refuses the source; it has said why on standard error.
    pub fn component(&self, source: &Source, scratch: &Path) -> Result<Vec<u8>, BuildError> {
        let bindings = scratch.join("bindings");
        let generated = generate(source)?;
        for (name, bytes) in generated.iter() {
            write(&bindings.join(name), bytes)?;
        }
        let linked = scratch.join("linked.wasm");
        let mut command = Command::new(&self.clang);
        command.args(FLAGS).args(["-Wall", "-I"]).arg(&bindings);
        command.arg(source.folder().join(FILE));
        let compiled = generated
            .iter()
            .map(|(name, _)| bindings.join(name))
            .filter(|path| path.extension() != Some(OsStr::new("h")));
        command.args(compiled).arg("-o").arg(&linked);
        run(&mut command)?;
        encode(source.name(), &read(&linked)?)
    }

    /// Whether the libraries that it links are there.
    fn is_whole(&self) -> bool {
        // It gives a path where it finds the file, and the bare name where it does not.
        let finds = |question: &str| {
            let output = Command::new(&self.clang).args([TARGET, question]).output();
            output.is_ok_and(|output| {
                let path = String::from_utf8_lossy(&output.stdout);
                Path::new(path.trim()).is_file()
            })
        };
        finds("-print-file-name=libc.a") && finds("-print-libgcc-file-name")
    }
}

/// The header, the source, and the object file that says which world it is.
fn generate(source: &Source) -> Result<Files, BuildError> {
    let mut files = Files::default();
    let (mut resolve, world) = source.world();
    let options = Opts {
        // One thing less to forget: what a stage borrows is given back when it returns.
        autodrop_borrows: Enabled::Yes,
        ..Opts::default()
    };
    let mut generator = options.build();
    generator
        .generate(&mut resolve, world, &mut files)
        .map_err(|error| component_error(source.name(), &error))?;
    Ok(files)
}

fn encode(name: &str, module: &[u8]) -> Result<Vec<u8>, BuildError> {
    // What C's library imports of WASI becomes WASI 0.2, as far as it is used.
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|encoder| encoder.adapter(ADAPTER_NAME, ADAPTER))
        .and_then(ComponentEncoder::encode)
        .map_err(|error| component_error(name, &error))
}

fn component_error(name: &str, error: &impl std::fmt::Display) -> BuildError {
    BuildError::Component {
        name: name.to_owned(),
        message: format!("{error:#}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_gives_commands() {
        let advice = CToolchain::advice();
        assert!(advice.contains("apt-get install"), "{advice}");
        assert!(advice.contains(CToolchain::VARIABLE), "{advice}");
    }

    #[test]
    fn bindings_have_the_name_of_the_plugin() {
        let folder = tempfile::tempdir().unwrap();
        let world =
            "package local:top-words; world top-words { include wharf:plugin/preprocessor@1.1.0; }";
        write(&folder.path().join("wit/world.wit"), world.as_bytes()).unwrap();
        let files = generate(&Source::open(folder.path()).unwrap()).unwrap();
        let names: Vec<_> = files.iter().map(|(name, _)| name).collect();
        for name in ["top_words.h", "top_words.c", "top_words_component_type.o"] {
            assert!(names.contains(&name), "{names:?}");
        }
    }
}
