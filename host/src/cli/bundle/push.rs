//! `wharf bundle push`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use serde_json::json;

use super::artifact::{self, EMPTY};
use super::inspect::contents_of;
use super::release::{Release, ReleaseFile};
use crate::cli::oci::{Content, Credentials, Part, Reference, Registry, block_on};
use crate::cli::output::{self, size};
use crate::cli::progress::Busy;

/// What `--help` says at its end.
pub(super) const HELP: &str = "\
Examples:
  wharf bundle push flowers/ registry.example.com/bundles/flowers:3
  wharf bundle push flowers/ localhost:5000/flowers:3 --json

Before anything is sent the folder is looked at: the names of all files, that there is a route, and that a host would load the
plugins. What the registry has already is not sent again.

It signs in with what `docker login` or `podman login` has stored. Registries on this machine are asked in plain HTTP, all
others by HTTPS. --json writes one line with the keys reference, digest, files and bytes. More keys may come.";

/// Flags of `wharf bundle push`.
#[derive(Args)]
pub(super) struct Push {
    /// The folder of the release.
    #[arg(value_name = "DIR")]
    pub(super) folder: PathBuf,
    /// Where it goes: HOST/NAME:TAG. Without a tag it is `latest`.
    #[arg(value_name = "REFERENCE")]
    pub(super) reference: Reference,
    /// Writes JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl Push {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let reference = &self.reference;
        let busy = Busy::new(format!("reading {}", self.folder.display()));
        let release = Release::open(&self.folder, &mut |_| {})?;
        // What the host would refuse to load is not given to others.
        contents_of(&release)?;
        let digest = block_on(push(&release, reference, Credentials::of_user(), &busy))?;
        drop(busy);
        if self.json {
            output::line(json!({
                "reference": reference.to_string(), "digest": digest,
                "files": release.files.len(), "bytes": release.bytes(),
            }))?;
        } else {
            output::line(format_args!("{reference} {digest}"))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Uploads what the registry lacks, and then the manifest. Gives its digest.
pub(super) async fn push(
    release: &Release,
    reference: &Reference,
    credentials: Credentials,
    busy: &Busy,
) -> Result<String> {
    let mut registry = Registry::connect(reference, credentials)?;
    let (whole, mut sent) = (size(release.bytes()), 0);
    registry
        .push_part(&Part::of(Bytes::from_static(EMPTY)))
        .await?;
    for file in &release.files {
        busy.say(format!("{} of {whole}: {}", size(sent), file.path));
        registry
            .push_part(&part_of(file))
            .await
            .with_context(|| format!("{} was not pushed", file.path))?;
        sent += file.size;
    }
    registry.push_manifest(artifact::write(release)?).await
}

fn part_of(file: &ReleaseFile) -> Part {
    Part {
        digest: file.digest.clone(),
        content: Content::File(file.place.as_path().into(), file.size),
    }
}
