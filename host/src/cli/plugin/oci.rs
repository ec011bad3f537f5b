//! `wharf plugin push` and `pull`: plugins in OCI registries, in the layout of Wasm artifacts that other tools read, too.
//!
//! The component is the one layer. Its settings, `NAME.toml`, and its signature, `NAME.wasm.sig`, are annotations of the manifest.
//! Settings can hold grants, so whoever pulls takes them only by asking for them.

mod artifact;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use wharf_core::Name;
use wharf_sandbox::{Config, Summary};
use wharf_toolchain::write_whole;

use self::artifact::{Artifact, Beside, read_manifest};
use crate::cli::oci::{Credentials, Part, Reference, Registry, block_on};
use crate::cli::output;
use crate::cli::progress::Busy;

/// What `push --help` says at its end.
pub(super) const PUSH_HELP: &str = "\
Examples:
  wharf plugin push top-k.wasm registry.example.com/plugins/top-k:1.2.0
  wharf plugin push top-k.wasm localhost:5000/top-k --settings top-k.toml --json

A signature goes with it where there is one: FILE.sig beside the component.

It signs in with what `docker login` or `podman login` has stored. Registries on this machine are asked in plain HTTP, all
others by HTTPS. --json writes one line with the keys reference, digest, bytes and signed. More keys may come.";

/// What `pull --help` says at its end.
pub(super) const PULL_HELP: &str = "\
Examples:
  wharf plugin pull registry.example.com/plugins/top-k:1.2.0 --output site/plugins
  wharf plugin pull registry.example.com/plugins/top-k@sha256:DIGEST --name ranking --settings

The component becomes NAME.wasm in one step, so a site that serves takes it whole; a signature that came with it becomes
NAME.wasm.sig. --settings takes NAME.toml too: read its grants before the plugin serves. --json writes one line with the keys
reference, digest, bytes, component, settings and signature. More keys may come.";

/// Flags of `wharf plugin push`.
#[derive(Args)]
pub(super) struct Push {
    /// The component.
    #[arg(value_name = "FILE")]
    component: PathBuf,
    /// Where it goes: HOST/NAME:TAG. Without a tag it is `latest`.
    #[arg(value_name = "REFERENCE")]
    reference: Reference,
    /// The settings that go with it: a `plugins/NAME.toml`.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Writes JSON.
    #[arg(long)]
    json: bool,
}

/// Flags of `wharf plugin pull`.
#[derive(Args)]
pub(super) struct Pull {
    /// Where it is: HOST/NAME:TAG or HOST/NAME@sha256:DIGEST.
    #[arg(value_name = "REFERENCE")]
    reference: Reference,
    /// The folder that it is put into.
    #[arg(long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// The name of the plugin here; by default the last part of the reference's name.
    #[arg(long)]
    name: Option<Name>,
    /// Takes the settings that came with it, grants included.
    #[arg(long)]
    settings: bool,
    /// Replaces NAME.toml where there is one.
    #[arg(long, requires = "settings")]
    force: bool,
    /// Writes JSON.
    #[arg(long)]
    json: bool,
}

/// Puts a component into a registry.
pub(super) fn push(args: &Push) -> Result<ExitCode> {
    let component = read(&args.component)?;
    let settings = match &args.settings {
        Some(file) => Some(
            String::from_utf8(read(file)?)
                .with_context(|| format!("{} is not UTF-8", file.display()))?,
        ),
        None => None,
    };
    let signature = signature_of(&args.component);
    let signature = signature.is_file().then(|| read(&signature)).transpose()?;
    // What the host would refuse to load is not given to others.
    let name: Name = "plugin".parse().context("a fixed name is one")?;
    let text = settings.as_deref().unwrap_or_default();
    let summary = Summary::of(&name, &component, text, &Config::default())?;
    let beside = Beside {
        settings,
        signature,
    };
    let artifact = Artifact::new(component, beside, &summary)?;
    let bytes = artifact.component.len();
    let is_signed = artifact.beside.signature.is_some();
    let busy = Busy::new(format!("pushing {bytes} bytes to {}", args.reference));
    let digest = block_on(async {
        let registry = Registry::connect(&args.reference, Credentials::of_user())?;
        artifact.push(registry).await
    })?;
    drop(busy);
    if args.json {
        let reference = args.reference.to_string();
        let report =
            json!({"reference": reference, "digest": digest, "bytes": bytes, "signed": is_signed});
        output::line(report)?;
    } else {
        let signed = if is_signed { " signed" } else { "" };
        output::line(format_args!("{} {digest}{signed}", args.reference))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes a component out of a registry.
pub(super) fn pull(args: &Pull) -> Result<ExitCode> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => (args.reference.last_part().parse())
            .context("the reference's name is none for a plugin: give one with --name")?,
    };
    let busy = Busy::new(format!("pulling {}", args.reference));
    let (digest, artifact) = block_on(async {
        let registry = Registry::connect(&args.reference, Credentials::of_user())?;
        Artifact::pull(registry).await
    })?;
    drop(busy);
    Summary::of(&name, &artifact.component, "", &Config::default())
        .context("what the registry holds is no plugin")?;
    fs::create_dir_all(&args.output)
        .with_context(|| format!("cannot make {}", args.output.display()))?;
    let (wasm, toml) = (
        args.output.join(format!("{name}.wasm")),
        args.output.join(format!("{name}.toml")),
    );
    let Beside {
        settings: sent,
        signature,
    } = &artifact.beside;
    let settings = sent.as_deref().filter(|_| args.settings);
    if let Some(settings) = settings {
        if toml.exists() && !args.force {
            bail!("{} is there already: --force replaces it", toml.display());
        }
        // Before the component: a site that is watched takes both together.
        write(&toml, settings.as_bytes())?;
    } else if sent.is_some() {
        output::notice(
            "wharf: settings came with it and were left out; --settings takes them, grants included",
        );
    }
    let sig = signature_of(&wasm);
    // An operator may have signed what is there already.
    let is_there = || fs::read(&wasm).ok().as_deref() == Some(&*artifact.component);
    if !sig.exists() || !is_there() {
        put_signature(&sig, signature.as_deref())?;
    }
    write(&wasm, &artifact.component)?;
    if args.json {
        let report = json!({
            "reference": args.reference.to_string(),
            "digest": digest,
            "bytes": artifact.component.len(),
            "component": wasm,
            "settings": settings.map(|_| &toml),
            "signature": signature.as_ref().map(|_| &sig),
        });
        output::line(report)?;
    } else {
        output::line(format_args!("{} {digest}", wasm.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Artifact {
    /// Uploads what the registry lacks, and then the manifest. Gives its digest.
    async fn push(&self, mut registry: Registry<'_>) -> Result<String> {
        for blob in self.blobs() {
            registry.push_part(&Part::of(blob.clone())).await?;
        }
        registry.push_manifest(self.manifest()).await
    }

    /// Reads the manifest and the component, and checks both against their digests. Gives that of the manifest.
    async fn pull(mut registry: Registry<'_>) -> Result<(String, Self)> {
        let (digest, manifest) = registry.manifest().await?;
        let found = read_manifest(&manifest)?;
        let component = registry.read(&found.layer, "the component").await?;
        Ok((digest, Self::found(component, found.beside)))
    }
}

/// Puts the signature of a component where it belongs. One of another component goes: a host that trusts its key would refuse this.
fn put_signature(file: &Path, signature: Option<&[u8]>) -> Result<()> {
    if let Some(signature) = signature {
        return write(file, signature);
    }
    if file.exists() {
        fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
        output::notice(
            "wharf: no signature came with it, and the one that was here, of another component, is removed",
        );
    }
    Ok(())
}

/// Where the signature of a component is.
fn signature_of(component: &Path) -> PathBuf {
    component.with_added_extension("sig")
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_whole(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests;
