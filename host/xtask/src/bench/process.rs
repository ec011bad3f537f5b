//! The processes that are measured: built with optimisation, started on free ports, ended when dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::load::BODY;
use crate::paths::Paths;
use crate::setup::onnxruntime_library;
use crate::workspace::{cargo, execute};

/// How long a process may take until it serves.
const START: Duration = Duration::from_secs(60);

/// How what is measured is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Profile {
    /// With optimisation.
    Release,
    /// As tests are: to try the benchmark itself, whose figures then mean nothing.
    Dev,
}

/// The programs that are measured.
pub(super) struct Binaries {
    folder: PathBuf,
}

/// Programs that are beside `wharf`.
const EXAMPLES: [&str; 10] = [
    "bare_hyper",
    "bare_tonic",
    "plugin_calls",
    "codec_calls",
    "model_calls",
    "first_party_calls",
    "language_calls",
    "gateway_calls",
    "gateway_token",
    "ort_floor",
];

impl Binaries {
    /// Builds them in one go: packages built apart would get other features, and their dependencies twice.
    ///
    /// # Errors
    /// Where that fails.
    pub(super) fn build(paths: &Paths, profile: Profile) -> Result<Self> {
        let mut command = cargo(paths);
        command.args(["build", "--workspace", "--bin", "wharf"]);
        for example in EXAMPLES {
            command.args(["--example", example]);
        }
        let folder = match profile {
            Profile::Release => {
                command.arg("--release");
                "release"
            }
            Profile::Dev => "debug",
        };
        execute(&mut command)?;
        Ok(Self {
            folder: paths.target().join(folder),
        })
    }

    /// The program itself.
    pub(super) fn wharf(&self) -> PathBuf {
        self.folder.join("wharf")
    }

    /// A program beside it.
    pub(super) fn example(&self, name: &str) -> PathBuf {
        self.folder.join("examples").join(name)
    }

    /// Runs the measurements inside the sandbox crate, and gives their lines.
    ///
    /// # Errors
    /// Where they fail.
    pub(super) fn sandbox_calls(&self, paths: &Paths) -> Result<String> {
        let mut lines = String::new();
        for example in [
            "plugin_calls",
            "codec_calls",
            "model_calls",
            "first_party_calls",
        ] {
            let mut command = Command::new(self.example(example));
            lines += &output_of(command.env("WHARF_TEST_GUESTS", paths.guests()))?;
        }
        Ok(lines)
    }

    /// Runs the measurements of plugins in several languages, and gives their lines.
    ///
    /// # Errors
    /// Where they fail.
    pub(super) fn language_calls(&self, paths: &Paths) -> Result<String> {
        let mut command = Command::new(self.example("language_calls"));
        output_of(command.env("WHARF_TEST_GUESTS", paths.guests()))
    }

    /// Runs the measurements of the gateway, and gives their lines.
    ///
    /// # Errors
    /// Where they fail.
    pub(super) fn gateway_calls(&self) -> Result<String> {
        output_of(&mut Command::new(self.example("gateway_calls")))
    }

    /// Makes a token, and writes the key that its signature is checked with.
    ///
    /// # Errors
    /// Where that fails.
    pub(super) fn gateway_token(&self, key: &Path) -> Result<String> {
        let token = output_of(Command::new(self.example("gateway_token")).arg(key))?;
        Ok(token.trim_end().to_owned())
    }

    /// The runs a second of a model on ONNX Runtime alone, with so many callers of so many threads.
    ///
    /// # Errors
    /// Where it does not run.
    pub(super) fn ort_floor(
        &self,
        model: &Path,
        arrangement: (usize, usize),
        seconds: u64,
    ) -> Result<f64> {
        let (callers, threads) = arrangement;
        let lines = output_of(
            Command::new(self.example("ort_floor"))
                .arg(model)
                .args(["--callers", &callers.to_string()])
                .args(["--threads", &threads.to_string()])
                .args(["--seconds", &seconds.to_string()])
                .env("WHARF_ONNXRUNTIME", onnxruntime_library()?),
        )?;
        let rate = lines
            .lines()
            .find_map(|line| line.strip_prefix("runs_per_second="));
        rate.and_then(|rate| rate.parse().ok())
            .with_context(|| format!("ort_floor said {lines:?}"))
    }
}

fn output_of(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output()?;
    let program = command.get_program().to_string_lossy();
    ensure!(
        output.status.success(),
        "{program} failed: {}",
        output.status
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// A running `wharf serve`.
pub(super) struct Wharf {
    process: Running,
    listen: String,
    admin: String,
    time_to_ready: Duration,
}

impl Wharf {
    /// Starts it on free ports, and waits until it is ready.
    pub(super) fn start(binaries: &Binaries, site: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let ready_file = folder.path().join("ready");
        let started = Instant::now();
        let child = Command::new(binaries.wharf())
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
                "--site",
            ])
            .arg(site)
            .arg("--ready-file")
            .arg(&ready_file)
            .env("WHARF_TELEMETRY__LOG_FILTER", "warn")
            .spawn()?;
        let mut process = Running(child);
        let addresses = process.poll(started, || {
            let text = std::fs::read(&ready_file).ok()?;
            serde_json::from_slice::<serde_json::Value>(&text).ok()
        })?;
        let address = |key: &str| {
            addresses[key]
                .as_str()
                .map(str::to_owned)
                .context("an address is missing")
        };
        let (listen, admin) = (address("listen")?, address("admin")?);
        process.poll(started, || {
            exchange(&listen, "GET /v2/health/ready", "")
                .ok()
                .filter(|(status, _)| *status == 200)
        })?;
        Ok(Self {
            process,
            listen,
            admin,
            time_to_ready: started.elapsed(),
        })
    }

    /// A URL on the public listener.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.listen)
    }

    /// From the start of the process to the first `ready`.
    pub(super) fn time_to_ready(&self) -> Duration {
        self.time_to_ready
    }

    /// Posts a JSON document to the public listener, and gives the answer.
    ///
    /// # Errors
    /// Where the status is not 200.
    pub(super) fn post(&self, path: &str, body: &str) -> Result<String> {
        let (status, answer) = exchange(&self.listen, &format!("POST {path}"), body)?;
        ensure!(status == 200, "{path} answers {status}: {answer}");
        Ok(answer)
    }

    /// The status of the answer to a JSON document that a token's owner posts.
    ///
    /// # Errors
    /// Where there is none.
    pub(super) fn status_bearing(&self, path: &str, body: &str, token: &str) -> Result<u16> {
        let token = format!("authorization: Bearer {token}\r\n");
        let (status, _) = exchange_with(&self.listen, &format!("POST {path}"), &token, body)?;
        Ok(status)
    }

    /// The answer of a route to the benchmark's body.
    pub(super) fn infer(&self, route: &str) -> Result<String> {
        self.post(&format!("/v1/infer/{route}"), BODY)
    }

    /// The generation of the snapshot in force.
    pub(super) fn generation(&self) -> Result<u64> {
        let (_, answer) = exchange(&self.admin, "GET /admin/snapshot", "")?;
        serde_json::from_str::<serde_json::Value>(&answer)?["generation"]
            .as_u64()
            .context("no generation")
    }

    /// The sum of the series whose lines begin so.
    pub(super) fn metric(&self, series: &str) -> Result<f64> {
        let (_, metrics) = exchange(&self.admin, "GET /metrics", "")?;
        let lines = metrics.lines().filter(|line| line.starts_with(series));
        lines
            .map(|line| {
                let value = line.rsplit(' ').next().unwrap_or_default();
                value.parse::<f64>().with_context(|| line.to_owned())
            })
            .sum()
    }

    /// The memory that is resident now.
    pub(super) fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.0.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("no VmRSS")?;
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kibibytes * 1024)
    }
}

/// A yardstick: a server that reads each request and answers the same bytes.
pub(super) struct Bare {
    _process: Running,
    address: String,
}

impl Bare {
    /// Starts an example that writes its address.
    ///
    /// # Errors
    /// Where it does not start.
    pub(super) fn start(program: &Path, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let output = child.stdout.take().context("the output is piped")?;
        let process = Running(child);
        let mut address = String::new();
        BufReader::new(output).read_line(&mut address)?;
        ensure!(
            !address.trim().is_empty(),
            "{} names no address",
            program.display()
        );
        Ok(Self {
            _process: process,
            address: address.trim().to_owned(),
        })
    }

    /// A URL on it.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// A process that ends with this value.
pub(super) struct Running(Child);

impl Running {
    /// Starts a process.
    ///
    /// # Errors
    /// Where that fails.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn();
        Ok(Self(
            child.with_context(|| format!("{program} cannot be started"))?,
        ))
    }

    /// The system's number for it.
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it runs.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Asks the process to end as a terminal does, and gives what it wrote to the piped standard output.
    ///
    /// # Errors
    /// Where it does not end well.
    pub(super) fn interrupt(mut self) -> Result<Vec<u8>> {
        let id = self.0.id().to_string();
        let status = Command::new("kill").args(["-INT", &id]).status()?;
        ensure!(status.success(), "kill -INT failed");
        let mut output = Vec::new();
        if let Some(mut stdout) = self.0.stdout.take() {
            stdout.read_to_end(&mut output)?;
        }
        let status = self.0.wait()?;
        ensure!(status.success(), "the interrupted process failed: {status}");
        Ok(output)
    }

    /// Asks until there is an answer, and gives up when the process ends or takes too long.
    pub(super) fn poll<T>(
        &mut self,
        started: Instant,
        mut ask: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        loop {
            if let Some(answer) = ask() {
                return Ok(answer);
            }
            if let Some(status) = self.0.try_wait()? {
                bail!("the server ended at its start: {status}");
            }
            ensure!(
                started.elapsed() < START,
                "the server is not ready after {START:?}"
            );
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One HTTP/1.1 exchange on a connection of its own: the status and the body.
pub(super) fn exchange(address: &str, request: &str, body: &str) -> Result<(u16, String)> {
    exchange_with(address, request, "", body)
}

/// The same with more fields, each with its end of line.
fn exchange_with(address: &str, request: &str, fields: &str, body: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    let (length, kind) = (body.len(), "content-type: application/json");
    write!(
        stream,
        "{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{fields}{kind}\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer
        .split(' ')
        .nth(1)
        .context("no status line")?
        .parse()?;
    let (_, body) = answer
        .split_once("\r\n\r\n")
        .context("no end of the header")?;
    Ok((status, body.to_owned()))
}
