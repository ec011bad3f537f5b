//! A Rust toolchain that builds guests.
//!
//! The first of these that is there: rustup's `wasm32-unknown-unknown`, whose guests import no WASI and so are the
//! quickest to instantiate; rustup's `wasm32-wasip2`; Debian's own toolchain, which builds the standard library from its
//! source. Where none is there, rustup is asked for the first, and apt for the last: a closed network has one or neither.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::workspace::{answer_of, execute, say};

const PLAIN: &str = "wasm32-unknown-unknown";
const WASI: &str = "wasm32-wasip2";

/// Debian's packages: the web toolchain is the one that Debian keeps current in its stable releases.
const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-22"];
const DEBIAN_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";

/// SIMD for the loops over tensors, bulk memory for the copies. wasmtime has both on by default.
const FEATURES: &str = "-Ctarget-feature=+simd128,+bulk-memory";

/// A toolchain that was found.
#[derive(Debug)]
pub(crate) enum Toolchain {
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

impl Toolchain {
    /// Finds a toolchain, or installs one.
    ///
    /// # Errors
    /// Where none is there and none can be installed; the text says what to do.
    pub(crate) fn ensure() -> Result<Self> {
        if let Some(found) = Self::find() {
            return Ok(found);
        }
        for install in [add_rustup_target, install_debian_packages] {
            // A closed network is common here: where one way fails, the next is tried.
            if let Err(error) = install() {
                say("toolchain", &format!("{error:#}"));
            }
            if let Some(found) = Self::find() {
                return Ok(found);
            }
        }
        bail!(
            "no Rust toolchain here builds WebAssembly guests, and none can be installed. Do one of these and repeat:\n\
             - with rustup and a network: `rustup target add {PLAIN}`\n\
             - on Debian 12 or later, as root: `apt-get install --no-install-recommends {}`",
            PACKAGES.join(" ")
        )
    }

    /// `cargo build --release` for guests in a workspace of the repository.
    pub(crate) fn cargo_build(&self, repository: &Path, workspace: &str) -> Command {
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
        // It wins over RUSTFLAGS, and paths in it may hold spaces.
        command.env("CARGO_ENCODED_RUSTFLAGS", flags(repository).join("\x1f"));
        command.current_dir(repository.join(workspace));
        command
    }

    fn find() -> Option<Self> {
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
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installed { target } => write!(f, "Rust with {target}"),
            Self::Debian { .. } => write!(f, "Debian's Rust with {PLAIN}"),
        }
    }
}

/// The flags of the compiler. The texts of panics name source files: without the folders of this machine in them, the same
/// source makes the same guest everywhere.
fn flags(repository: &Path) -> Vec<String> {
    let mut flags = vec![FEATURES.to_owned()];
    let mut remap =
        |from: &Path, to: &str| flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    if let Some(cargo) = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home) {
        remap(&cargo, "cargo");
    }
    remap(repository, "wharf");
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

fn add_rustup_target() -> Result<()> {
    if answer_of(Command::new("rustup").arg("--version")).is_none() {
        return Ok(());
    }
    execute(
        Command::new("rustup")
            .args(["target", "add", PLAIN])
            .env("RUSTUP_MAX_RETRIES", "0"),
    )
}

fn install_debian_packages() -> Result<()> {
    let root = answer_of(Command::new("id").arg("-u")).is_some_and(|id| id == "0");
    if !root || !Path::new("/usr/bin/apt-get").is_file() {
        return Ok(());
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-qq", "-y"])
            .args(arguments);
        execute(command.stdout(Stdio::null()))
    };
    let mut install = vec!["install", "--no-install-recommends"];
    install.extend(PACKAGES);
    apt(&["update"])?;
    apt(&install)
}
