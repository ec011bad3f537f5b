//! A Rust toolchain that builds plugins.
//!
//! The first of these that is there: rustup's `wasm32-unknown-unknown`, whose plugins import no WASI and so are the
//! quickest to instantiate; rustup's `wasm32-wasip2`; Debian's own toolchain, which builds the standard library from its
//! source.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{answer_of, forget_outer_cargo};

const PLAIN: &str = "wasm32-unknown-unknown";
const WASI: &str = "wasm32-wasip2";

/// Debian's packages: the web toolchain is the one that Debian keeps current in its stable releases.
const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-22"];
const DEBIAN_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";

/// SIMD for the loops over tensors, bulk memory for the copies. wasmtime has both on by default.
const FEATURES: &str = "-Ctarget-feature=+simd128,+bulk-memory";

/// A toolchain that was found.
#[derive(Debug)]
pub enum RustToolchain {
    /// The Rust on PATH, with the standard library of this target.
    Installed {
        /// `wasm32-unknown-unknown` or `wasm32-wasip2`.
        target: &'static str,
    },
    /// Debian's Rust in `/usr/bin`, with the standard library in source.
    Debian {
        /// The linker, such as `/usr/bin/wasm-ld-22`.
        linker: PathBuf,
    },
}

/// A folder that the texts of panics name otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Remap<'a> {
    /// The folder on this machine.
    pub folder: &'a Path,
    /// What it is called.
    pub name: &'a str,
}

impl RustToolchain {
    /// The target that rustup adds for plugins.
    pub const RUSTUP_TARGET: &'static str = PLAIN;
    /// The packages that Debian 12 and later have.
    pub const DEBIAN_PACKAGES: [&'static str; 4] = PACKAGES;

    /// Finds one; none where a plugin cannot be built here.
    #[must_use]
    pub fn find() -> Option<Self> {
        let sysroot = answer_of(Command::new("rustc").args(["--print", "sysroot"]));
        let installed = |target: &&'static str| {
            let library = |root: &String| {
                Path::new(root)
                    .join("lib/rustlib")
                    .join(target)
                    .join("lib")
                    .is_dir()
            };
            sysroot.as_ref().is_some_and(library)
        };
        if let Some(target) = [PLAIN, WASI].into_iter().find(installed) {
            return Some(Self::Installed { target });
        }
        let there = |path: &str| Path::new(path).is_file();
        let debian = there("/usr/bin/cargo") && there("/usr/bin/rustc") && there(DEBIAN_SOURCE);
        Some(Self::Debian {
            linker: wasm_linker()?,
        })
        .filter(|_| debian)
    }

    /// What to install where none is found, a line a way.
    #[must_use]
    pub fn advice() -> String {
        format!(
            "no Rust toolchain here builds WebAssembly plugins. Do one of these and repeat:\n\
             - with rustup and a network: `rustup target add {PLAIN}`\n\
             - on Debian 12 or later, as root: `apt-get install --no-install-recommends {}`",
            PACKAGES.join(" ")
        )
    }

    /// `cargo build --release` for the plugins of a package or workspace.
    #[must_use]
    pub fn cargo_build(&self, folder: &Path, remap: Option<Remap<'_>>) -> Command {
        let mut command;
        match self {
            Self::Installed { target } => {
                command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
                command.args(["build", "--release", "--target", target]);
            }
            Self::Debian { linker } => {
                command = Command::new("/usr/bin/cargo");
                command.args([
                    "build",
                    "--release",
                    "--target",
                    PLAIN,
                    "-Zbuild-std=std,panic_abort",
                ]);
                // Building the standard library is unstable, and Debian ships no nightly.
                command
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("RUSTC", "/usr/bin/rustc");
                command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
            }
        }
        forget_outer_cargo(&mut command);
        // It wins over RUSTFLAGS, and paths in it may hold spaces.
        command.env("CARGO_ENCODED_RUSTFLAGS", flags(remap));
        command.current_dir(folder);
        command
    }
}

impl fmt::Display for RustToolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installed { target } => write!(f, "Rust with {target}"),
            Self::Debian { .. } => write!(f, "Debian's Rust with {PLAIN}"),
        }
    }
}

/// The flags of the compiler. The texts of panics name source files: without the folders of this machine in them, the same
/// source makes the same plugin everywhere.
fn flags(remap: Option<Remap<'_>>) -> OsString {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
    let cargo = cargo.as_deref().map(|folder| Remap {
        folder,
        name: "cargo",
    });
    let mut flags = OsString::from(FEATURES);
    for Remap { folder, name } in cargo.into_iter().chain(remap) {
        flags.push("\x1f--remap-path-prefix=");
        flags.push(folder);
        flags.push("=");
        flags.push(name);
    }
    flags
}

/// The newest `wasm-ld-NN` of Debian's LLVM packages.
fn wasm_linker() -> Option<PathBuf> {
    let version = |path: &PathBuf| {
        path.file_name()?
            .to_str()?
            .strip_prefix("wasm-ld-")?
            .parse::<u32>()
            .ok()
    };
    let linkers = std::fs::read_dir("/usr/bin")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()));
    linkers
        .filter(|path| version(path).is_some())
        .max_by_key(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_this_machine_are_taken_out_of_texts() {
        let folder = Path::new("/somewhere/with a space");
        let flags = flags(Some(Remap {
            folder,
            name: "wharf",
        }));
        let flags: Vec<_> = flags.to_str().unwrap().split('\x1f').collect();
        assert_eq!(flags[0], FEATURES);
        assert_eq!(
            flags.last(),
            Some(&"--remap-path-prefix=/somewhere/with a space=wharf")
        );
    }

    #[test]
    fn the_advice_gives_commands() {
        let advice = RustToolchain::advice();
        assert!(advice.contains("rustup target add"), "{advice}");
        assert!(advice.contains("apt-get install"), "{advice}");
    }
}
