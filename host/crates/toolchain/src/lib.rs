//! Builds plugins: finds a toolchain for WebAssembly, compiles, and makes components.
//!
//! `wharf plugin build` builds an author's plugin with it, and `cargo xtask guests` those of the repository: both the same
//! way, so that what is tested here is what authors get. It installs nothing and serves nothing.
//!
//! Rust is built by cargo. In the other languages a plugin is a [`Source`], and its toolchain makes the component of it.

mod cargo;
mod component;
mod rust;

mod contract;
mod foreign;
mod source;
mod tool;

mod c;
mod javascript;
mod python;

pub use c::CToolchain;
pub use cargo::{Guest, build, forget_outer_cargo};
pub use component::{component, write_if_changed, write_whole};
pub use foreign::Foreign;
pub use javascript::JavaScriptToolchain;
pub use python::PythonToolchain;
pub use rust::{Remap, RustToolchain};
pub use source::Source;
pub use tool::answer_of;

use std::io;
use std::path::PathBuf;

/// Why a plugin was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A program did not start.
    #[error("`{program}` cannot start")]
    Start {
        /// Its name.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// The compiler refused. It has said why on standard error.
    #[error("the plugin does not build: see the messages above")]
    Refused,
    /// cargo's messages are not as they should be.
    #[error("cargo's messages cannot be read")]
    Messages(#[source] io::Error),
    /// What the linker wrote cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file of the build cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The world of a plugin cannot be used.
    #[error("{}: {message}", path.display())]
    World {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A core module makes no component.
    #[error("`{name}` makes no component of the contract: {message}")]
    Component {
        /// The plugin.
        name: String,
        /// What is wrong.
        message: String,
    },
}
