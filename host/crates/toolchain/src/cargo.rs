//! Runs cargo, and finds what it built.

use std::io::BufReader;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use cargo_metadata::{CrateType, Message};

use crate::BuildError;

/// A plugin that cargo built.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The name of its package's folder.
    pub folder: String,
    /// The name of its library, with hyphens for underscores.
    pub name: String,
    /// What the linker wrote: a core module or, for a WASI target, a component.
    pub linked: PathBuf,
}

/// Runs a `cargo build`, whose messages for people go to standard error. Gives every library that it built, or found fresh.
///
/// # Errors
/// Where cargo cannot start, or a plugin does not build.
pub fn build(command: &mut Command) -> Result<Vec<Guest>, BuildError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut cargo = command
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|source| BuildError::Start { program, source })?;
    let mut guests = Vec::new();
    let mut unread = Ok(());
    if let Some(messages) = cargo.stdout.take() {
        for message in Message::parse_stream(BufReader::new(messages)) {
            match message {
                Ok(Message::CompilerArtifact(artifact)) => guests.extend(guest(&artifact)),
                Ok(_) => {}
                Err(error) => {
                    unread = Err(BuildError::Messages(error));
                    break;
                }
            }
        }
    }
    // Waited for in every case: nobody else would.
    let status = cargo.wait().map_err(BuildError::Messages)?;
    unread?;
    if status.success() {
        Ok(guests)
    } else {
        Err(BuildError::Refused)
    }
}

fn guest(artifact: &cargo_metadata::Artifact) -> Option<Guest> {
    if !artifact.target.crate_types.contains(&CrateType::CDyLib) {
        return None;
    }
    let linked = artifact
        .filenames
        .iter()
        .find(|path| path.extension() == Some("wasm"))?;
    Some(Guest {
        folder: artifact.manifest_path.parent()?.file_name()?.to_owned(),
        name: artifact.target.name.replace('_', "-"),
        linked: linked.clone().into_std_path_buf(),
    })
}

/// Takes out of a command's environment what an outer cargo told this program about its own package: it is no business of the
/// packages built now.
pub fn forget_outer_cargo(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
}
