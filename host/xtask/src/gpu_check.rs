//! `cargo xtask gpu-check`: whether models on a GPU answer as on the CPU, and how fast, beside ONNX Runtime alone.
//!
//! It never passes without a GPU: a machine that has none is told what is missing, and the command fails.

mod compare;
mod figures;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use wharf_toolchain::answer_of;

use crate::paths::Paths;
use crate::setup::{GpuLibraries, gpu_libraries};
use crate::workspace::{cargo, execute, say};
use compare::Difference;
use figures::Figures;

/// What `cargo xtask gpu-check` takes.
#[derive(clap::Args)]
pub(crate) struct GpuCheck {
    /// The device.
    #[arg(long, default_value = "cuda:0")]
    device: String,
    /// Models to check besides those of the quickstart site: ONNX files whose inputs are FP32.
    #[arg(long)]
    model: Vec<PathBuf>,
    /// Rows of a request.
    #[arg(long, default_value_t = 8)]
    batch: u32,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// The largest difference to the CPU, relative to the largest output.
    #[arg(long, default_value_t = 0.01)]
    tolerance: f32,
}

/// Callers of the measurement of throughput.
const CALLERS: u32 = 8;

impl GpuCheck {
    /// Checks and measures every model.
    ///
    /// # Errors
    /// Where there is no GPU, where something that it needs is missing, or where an answer differs from the CPU's.
    pub(crate) fn run(&self, paths: &Paths) -> Result<()> {
        let gpus = gpus()?;
        say("gpu", &gpus);
        let libraries = gpu_libraries()?;
        execute(cargo(paths).args([
            "build",
            "--release",
            "--package=wharf-engine",
            "--example=ort_floor",
            "--example=engine_floor",
        ]))?;
        let programs = Programs {
            folder: paths.target().join("release").join("examples"),
            libraries,
        };
        let quickstart = paths.quickstart().join("models");
        let mut models = vec![
            quickstart.join("digits/1/model.onnx"),
            quickstart.join("digits/2/model.onnx"),
        ];
        models.extend(self.model.iter().cloned());
        let mut wrong = Vec::new();
        for model in &models {
            let difference = self
                .check(&programs, model)
                .with_context(|| format!("the model {}", model.display()))?;
            if !difference.is_within(self.tolerance) {
                wrong.push(model.display().to_string());
            }
        }
        ensure!(
            wrong.is_empty(),
            "on {} these models answer otherwise than on the CPU: {}",
            self.device,
            wrong.join(", ")
        );
        Ok(())
    }

    fn check(&self, programs: &Programs, model: &Path) -> Result<Difference> {
        let folder = tempfile::tempdir()?;
        let dump = |name: &str| folder.path().join(name);
        let flags = |device: &str, callers: u32| {
            let seconds = self.seconds.to_string();
            let (batch, callers) = (self.batch.to_string(), callers.to_string());
            [
                "--device",
                device,
                "--batch",
                &batch,
                "--seconds",
                &seconds,
                "--callers",
                &callers,
            ]
            .map(str::to_owned)
        };
        let engine = |device: &str, callers, name: &str| -> Result<(Figures, Vec<f32>)> {
            let path = dump(name);
            let mut command = programs.command("engine_floor", model);
            command
                .args(flags(device, callers))
                .arg("--dump")
                .arg(&path);
            let figures = programs.figures(&mut command)?;
            Ok((figures, compare::read(&std::fs::read(path)?)?))
        };
        let alone = |callers| {
            let mut command = programs.command("ort_floor", model);
            programs.figures(command.args(flags(&self.device, callers)))
        };
        let (_, cpu) = engine("cpu", 1, "cpu")?;
        let (single, gpu) = engine(&self.device, 1, "gpu")?;
        let (many, _) = engine(&self.device, CALLERS, "many")?;
        let difference = Difference::between(&cpu, &gpu)?;
        println!(
            "{} on {}, {} rows a request:",
            model.display(),
            self.device,
            self.batch
        );
        println!("  to the CPU        {difference}");
        print_beside("one caller, p50", "us", "p50_us", &single, &alone(1)?)?;
        print_beside(
            "eight callers",
            "runs/s",
            "runs_per_second",
            &many,
            &alone(CALLERS)?,
        )?;
        Ok(difference)
    }
}

fn print_beside(what: &str, unit: &str, key: &str, ours: &Figures, alone: &Figures) -> Result<()> {
    let (ours, alone) = (ours.number(key)?, alone.number(key)?);
    println!("  {what:<16}  {ours:.1} {unit}, ONNX Runtime alone {alone:.1} {unit}");
    Ok(())
}

/// The programs that measure, and the libraries that they load.
struct Programs {
    folder: PathBuf,
    libraries: GpuLibraries,
}

impl Programs {
    fn command(&self, name: &str, model: &Path) -> Command {
        let mut command = Command::new(self.folder.join(name));
        let inherited = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let folders = self.libraries.folders.iter().cloned();
        let all = folders.chain(std::env::split_paths(&inherited));
        if let Ok(search) = std::env::join_paths(all) {
            command.env("LD_LIBRARY_PATH", search);
        }
        command
            .env("WHARF_ONNXRUNTIME", &self.libraries.onnxruntime)
            // The library would send figures of its use to its maker.
            .env("ORT_DISABLE_TELEMETRY", "1")
            .stderr(Stdio::inherit())
            .arg(model);
        command
    }

    fn figures(&self, command: &mut Command) -> Result<Figures> {
        let output = command
            .output()
            .context("a measurement cannot be started")?;
        ensure!(
            output.status.success(),
            "a measurement failed: {}; its message is above",
            output.status
        );
        Ok(Figures::parse(&String::from_utf8_lossy(&output.stdout)))
    }
}

/// The GPUs, as the driver's own program names them.
fn gpus() -> Result<String> {
    match answer_of(Command::new("nvidia-smi").arg("-L")) {
        Some(gpus) if !gpus.is_empty() => Ok(gpus),
        Some(_) => {
            bail!("NOT CHECKED: the NVIDIA driver is there, but `nvidia-smi -L` lists no GPU")
        }
        None => bail!(
            "NOT CHECKED: there is no GPU to check on. `nvidia-smi` does not run: install the NVIDIA driver (580 or \
             later, for CUDA 13) on a machine with a GPU, or pass the GPU into this container, and repeat"
        ),
    }
}
