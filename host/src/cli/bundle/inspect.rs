//! `wharf bundle inspect`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use clap::Args;

use super::artifact;
use super::contents::{Contents, is_read};
use super::path::ReleasePath;
use super::release::Release;
use crate::cli::oci::{Credentials, Reference, Registry, block_on, digest};
use crate::cli::output;
use crate::cli::progress::Busy;

/// What `--help` says at its end.
pub(super) const HELP: &str = "\
Examples:
  wharf bundle inspect flowers/
  wharf bundle inspect site/bundles/flowers/3 --json
  wharf bundle inspect registry.example.com/bundles/flowers:3

Nothing is loaded or run, and of a registry no model is fetched. It exits with 78 where a host would refuse a plugin or its settings.

--json writes one line with the keys digest (of the artifact that it is or would be), files, bytes, routes (a list of name and
model), models (name, versions, bytes) and plugins (name, stages, grants with name and granted, bytes, sha256). More keys may come.";

/// The largest file that is read to look at it, and the most that all of them take of memory together.
const READ_BYTES: u64 = 256 << 20;
const ALL_READ_BYTES: u64 = 1 << 30;

/// Flags of `wharf bundle inspect`.
#[derive(Args)]
pub(super) struct Inspect {
    /// The folder of a release, or where one is in a registry: HOST/NAME:TAG.
    #[arg(value_name = "DIR or REFERENCE")]
    release: String,
    /// Writes JSON.
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let busy = Busy::new(format!("reading {}", self.release));
        let folder = Path::new(&self.release);
        let (digest, contents) = if folder.is_dir() {
            let release = Release::open(folder, &mut |_| {})?;
            (digest(&artifact::write(&release)?), contents_of(&release)?)
        } else {
            let reference = self
                .release
                .parse()
                .map_err(|error: String| anyhow!("{} is no folder, and {error}", self.release))?;
            block_on(fetch(&reference, Credentials::of_user()))?
        };
        drop(busy);
        if self.json {
            let mut document = contents.document();
            document["digest"] = digest.into();
            output::line(document)?;
        } else {
            output::line(format_args!("{} {digest}", self.release))?;
            output::text(contents.text())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What files that are read have taken of memory, in bytes.
#[derive(Default)]
struct Room(u64);

impl Room {
    /// Takes room for a file, before it is read.
    ///
    /// # Errors
    /// Where there is none.
    fn take(&mut self, path: &ReleasePath, size: u64) -> Result<()> {
        ensure!(size <= READ_BYTES, "{path} is too large: {size} bytes");
        self.0 += size;
        ensure!(
            self.0 <= ALL_READ_BYTES,
            "routes and plugins are too large together: {ALL_READ_BYTES} bytes of them are read at most"
        );
        Ok(())
    }
}

/// What is in a folder.
pub(super) fn contents_of(release: &Release) -> Result<Contents> {
    let sizes = release
        .files
        .iter()
        .map(|file| (file.path.clone(), file.size))
        .collect();
    let mut read = BTreeMap::new();
    let mut room = Room::default();
    for file in release.files.iter().filter(|file| is_read(&file.path)) {
        room.take(&file.path, file.size)?;
        let bytes = fs::read(&file.place)
            .with_context(|| format!("{} cannot be read", file.place.display()))?;
        read.insert(file.path.clone(), Bytes::from(bytes));
    }
    Contents::of(&sizes, &read)
}

/// What is in an artifact, and its digest.
pub(super) async fn fetch(
    reference: &Reference,
    credentials: Credentials,
) -> Result<(String, Contents)> {
    let mut registry = Registry::connect(reference, credentials)?;
    let (digest, manifest) = registry.manifest().await?;
    let layers = artifact::read(&manifest, u64::MAX)?;
    let sizes = layers
        .iter()
        .map(|layer| (layer.path.clone(), layer.part.size))
        .collect();
    let mut read = BTreeMap::new();
    let mut room = Room::default();
    for layer in layers.iter().filter(|layer| is_read(&layer.path)) {
        let (path, part) = (&layer.path, &layer.part);
        room.take(path, part.size)?;
        read.insert(path.clone(), registry.read(part, path.as_str()).await?);
    }
    Ok((digest, Contents::of(&sizes, &read)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_within_their_room() {
        let path = ReleasePath::new("plugins/a.wasm").unwrap();
        let mut room = Room::default();
        for _ in 0..ALL_READ_BYTES / READ_BYTES {
            room.take(&path, READ_BYTES).unwrap();
        }
        let error = room.take(&path, 1).unwrap_err().to_string();
        assert!(error.contains("together"), "{error}");
        for size in [READ_BYTES + 1, u64::MAX] {
            let error = Room::default().take(&path, size).unwrap_err().to_string();
            assert!(error.contains("plugins/a.wasm is too large"), "{error}");
        }
    }
}
