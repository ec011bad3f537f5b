//! `wharf bundle pull`.
//!
//! A release is laid out in a folder of the site that nobody watches, and takes its place by one rename: a host that serves sees all
//! of it or nothing.

mod stage;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;
use wharf_core::Name;

use self::stage::Stage;
use super::artifact::{self, Layer};
use crate::cli::oci::{Credentials, Reference, Registry, block_on};
use crate::cli::output::{self, size};
use crate::cli::progress::Busy;

/// What `--help` says at its end.
pub(super) const HELP: &str = "\
Examples:
  wharf bundle pull registry.example.com/bundles/flowers:3 --site site
  wharf bundle pull registry.example.com/bundles/flowers@sha256:DIGEST --site site --name roses --release 12

The release becomes bundles/NAME/RELEASE/ of the site in one step, so a host that serves the site takes it whole; without --release
it is one above the newest there. Its settings can hold grants: `wharf bundle inspect REFERENCE` shows what its plugins need. Every
file is checked against its digest before.

--json writes one line with the keys reference, digest, bundle, release, path, files and bytes. More keys may come.";

/// Flags of `wharf bundle pull`.
#[derive(Args)]
pub(super) struct Pull {
    /// Where it is: HOST/NAME:TAG or HOST/NAME@sha256:DIGEST.
    #[arg(value_name = "REFERENCE")]
    pub(super) reference: Reference,
    /// The site that it is put into.
    #[arg(long, value_name = "DIR", env = "WHARF_SITE")]
    pub(super) site: PathBuf,
    /// The name of the bundle in the site; by default the last part of the reference's name.
    #[arg(long)]
    pub(super) name: Option<Name>,
    /// The number of the release; by default one above the newest there.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) release: Option<u64>,
    /// The most that is taken, in GiB.
    #[arg(long, value_name = "GIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) max_gb: u64,
    /// Writes JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// A release that was pulled.
#[derive(Debug)]
pub(super) struct Pulled {
    pub(super) digest: String,
    pub(super) release: u64,
    pub(super) path: PathBuf,
    pub(super) files: usize,
    pub(super) bytes: u64,
}

impl Pull {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let bundle = self.bundle()?;
        let pulled = block_on(self.pull(&bundle, Credentials::of_user()))?;
        if self.json {
            output::line(json!({
                "reference": self.reference.to_string(), "digest": pulled.digest,
                "bundle": bundle.as_str(), "release": pulled.release, "path": pulled.path,
                "files": pulled.files, "bytes": pulled.bytes,
            }))?;
        } else {
            output::line(format_args!("{} {}", pulled.path.display(), pulled.digest))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn bundle(&self) -> Result<Name> {
        match &self.name {
            Some(name) => Ok(name.clone()),
            None => (self.reference.last_part().parse())
                .context("the reference's name is none for a bundle: give one with --name"),
        }
    }

    /// Fetches the release, and puts it into the site.
    pub(super) async fn pull(&self, bundle: &Name, credentials: Credentials) -> Result<Pulled> {
        ensure!(
            self.site.is_dir(),
            "{} is no folder: give the site with --site",
            self.site.display()
        );
        if let Some(release) = self.release {
            let path = place(&self.site, bundle).join(release.to_string());
            ensure!(
                path.symlink_metadata().is_err(),
                "{} is there already: releases do not change; give another number",
                path.display()
            );
        }
        let busy = Busy::new(format!("pulling {}", self.reference));
        let mut registry = Registry::connect(&self.reference, credentials)?;
        let (digest, manifest) = registry.manifest().await?;
        let layers = artifact::read(&manifest, self.max_gb.saturating_mul(1 << 30))?;
        let bytes: u64 = layers.iter().map(|layer| layer.part.size).sum();
        let stage = Stage::open(&self.site)?;
        fetch(&mut registry, &layers, (&stage, bytes, &busy)).await?;
        let (release, path) = stage.commit(&place(&self.site, bundle), self.release)?;
        Ok(Pulled {
            digest,
            release,
            path,
            files: layers.len(),
            bytes,
        })
    }
}

/// The folder of a bundle's releases in a site.
fn place(site: &Path, bundle: &Name) -> PathBuf {
    site.join("bundles").join(bundle.as_str())
}

async fn fetch(
    registry: &mut Registry<'_>,
    layers: &[Layer],
    (stage, bytes, busy): (&Stage, u64, &Busy),
) -> Result<()> {
    let mut done = 0;
    for Layer { path, part } in layers {
        let mut file = stage.create(path)?;
        let mut progress = |piece| {
            done += piece;
            busy.say(format!("{} of {}: {path}", size(done), size(bytes)));
        };
        registry
            .save(part, path.as_str(), &mut file, &mut progress)
            .await?;
        // On disk before the rename: what has its place is whole, also after a loss of power.
        file.sync_all()
            .with_context(|| format!("{path} cannot be written"))?;
    }
    Ok(())
}
