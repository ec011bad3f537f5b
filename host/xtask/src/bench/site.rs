//! The sites that are served under load: the quickstart's 4-float model, plain and between two plugins, and models alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use super::models::BenchModel;
use crate::paths::Paths;

/// A site in a temporary folder.
pub(super) struct BenchSite {
    folder: tempfile::TempDir,
}

impl BenchSite {
    /// Makes the site: routes `plain`, `kept` and `isolated` over the model `iris`.
    pub(super) fn build(paths: &Paths) -> Result<Self> {
        let site = Self {
            folder: tempfile::tempdir()?,
        };
        let model = paths
            .root()
            .join("examples/quickstart/models/iris/1/model.onnx");
        site.copy(&model, "models/iris/1/model.onnx")?;
        for (suffix, isolation) in [("kept", "shared"), ("isolated", "request")] {
            for guest in ["scale", "echo"] {
                site.copy(
                    &paths.guests().join(format!("{guest}.wasm")),
                    &format!("plugins/{guest}-{suffix}.wasm"),
                )?;
            }
            site.write(
                &format!("plugins/scale-{suffix}.toml"),
                &settings(isolation, 1.0),
            )?;
            site.write(
                &format!("plugins/echo-{suffix}.toml"),
                &format!("isolation = \"{isolation}\"\n"),
            )?;
            let text = format!(
                "model = \"iris\"\ninput = \"tensors\"\npre = [\"scale-{suffix}\"]\npost = [\"echo-{suffix}\"]\n"
            );
            site.write(&format!("routes/{suffix}.toml"), &text)?;
        }
        site.write("routes/plain.toml", "model = \"iris\"\n")?;
        Ok(site)
    }

    /// Adds the route `looping`, whose plugin loops until it is stopped after 200 ms, however often.
    ///
    /// # Errors
    /// Where the guest was not built.
    pub(super) fn with_a_loop(self, paths: &Paths) -> Result<Self> {
        self.copy(&paths.guests().join("hostile.wasm"), "plugins/hostile.wasm")?;
        self.write(
            "plugins/hostile.toml",
            "[limits]\ncall_ms = 200\n[settings]\nbehaviour = \"spin\"\n",
        )?;
        self.write(
            "routes/looping.toml",
            "model = \"iris\"\ninput = \"tensors\"\npre = [\"hostile\"]\n",
        )?;
        self.write("wharf.toml", "[serving]\nbreaker_faults = 0\n")?;
        Ok(self)
    }

    /// Adds routes whose plugins, of the same names, are still to come.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub(super) fn with_routes_to_come(self, names: &[String]) -> Result<Self> {
        for name in names {
            let text = format!("model = \"iris\"\ninput = \"tensors\"\npre = [\"{name}\"]\n");
            self.write(&format!("routes/{name}.toml"), &text)?;
        }
        Ok(self)
    }

    /// Adds a plugin while the site is served, as a copy does it.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(super) fn drop_plugin(&self, name: &str, component: &[u8]) -> Result<()> {
        self.write_bytes(&format!("plugins/{name}.wasm"), component)
    }

    /// The site folder.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces the kept plugin's settings and the model's versions again and again, until it is stopped.
    pub(super) fn churn(&self, interval: Duration) -> Churn {
        let (stop, stopped) = channel();
        let folder = self.path().to_owned();
        let thread = std::thread::spawn(move || {
            for round in 0_u32.. {
                change(&folder, round)?;
                if stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
            Ok(())
        });
        Churn { stop, thread }
    }

    fn copy(&self, from: &Path, to: &str) -> Result<()> {
        let bytes = fs::read(from)
            .with_context(|| format!("{} is missing: cargo xtask guests", from.display()))?;
        self.write_bytes(to, &bytes)
    }

    fn write(&self, to: &str, text: &str) -> Result<()> {
        self.write_bytes(to, text.as_bytes())
    }

    fn write_bytes(&self, to: &str, bytes: &[u8]) -> Result<()> {
        let file = self.path().join(to);
        fs::create_dir_all(file.parent().context("a file of the site has a folder")?)?;
        Ok(fs::write(file, bytes)?)
    }
}

/// A site of models alone, in a temporary folder.
pub(super) struct ModelSite {
    folder: tempfile::TempDir,
}

impl ModelSite {
    /// Makes one without models, whose clients may load and unload.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(super) fn new() -> Result<Self> {
        Self::configured("[server]\nmanagement = true\n")
    }

    /// Makes one without models, with these settings.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn configured(settings: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("wharf.toml"), settings)?;
        Ok(Self { folder })
    }

    /// Adds a model under its own name, with what its `model.toml` says.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn with(self, model: BenchModel, settings: &str, paths: &Paths) -> Result<Self> {
        self.with_name(model.name(), model, settings, paths)
    }

    /// Adds a model under another name.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn with_name(
        self,
        name: &str,
        model: BenchModel,
        settings: &str,
        paths: &Paths,
    ) -> Result<Self> {
        let folder = self.path().join("models").join(name);
        fs::create_dir_all(folder.join("1"))?;
        fs::copy(model.file(paths)?, folder.join("1/model.onnx"))?;
        fs::write(folder.join("model.toml"), settings)?;
        Ok(self)
    }

    /// The site folder.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Changes that go on in the background.
pub(super) struct Churn {
    stop: Sender<()>,
    thread: JoinHandle<Result<()>>,
}

impl Churn {
    /// Ends the changes.
    pub(super) fn stop(self) -> Result<()> {
        drop(self.stop);
        self.thread
            .join()
            .ok()
            .context("the thread that changes the site panicked")?
    }
}

/// Another factor for the plugin, and another newest version of the model: 2 comes and goes.
fn change(site: &Path, round: u32) -> Result<()> {
    let factor = 1.0 + f64::from(round % 7) / 10.0;
    replace(
        site,
        "plugins/scale-kept.toml",
        settings("shared", factor).as_bytes(),
    )?;
    let versions = site.join("models/iris");
    let second = versions.join("2");
    if second.exists() {
        // Renamed first, so that no scan sees half a folder.
        let gone = site.join(format!("gone-{round}"));
        fs::rename(&second, &gone)?;
        fs::remove_dir_all(gone)?;
    } else {
        let coming: PathBuf = site.join(format!("coming-{round}"));
        fs::create_dir(&coming)?;
        fs::copy(versions.join("1/model.onnx"), coming.join("model.onnx"))?;
        fs::rename(coming, second)?;
    }
    Ok(())
}

fn replace(site: &Path, file: &str, bytes: &[u8]) -> Result<()> {
    let coming = site.join(format!("{file}.coming~"));
    fs::write(&coming, bytes)?;
    Ok(fs::rename(coming, site.join(file))?)
}

fn settings(isolation: &str, factor: f64) -> String {
    format!("isolation = \"{isolation}\"\n\n[settings]\nfactor = {factor:.1}\n")
}
