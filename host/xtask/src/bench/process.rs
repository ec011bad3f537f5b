//! The processes that are measured: built with optimisation, started on free ports, ended when dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::load::BODY;
use crate::paths::Paths;

/// How long a process may take until it serves.
const START: Duration = Duration::from_secs(60);

/// Builds what is measured, in one go: packages built apart would get other features, and their dependencies twice.
pub(super) fn build(paths: &Paths) -> Result<()> {
    let status = Command::new("cargo")
        .args(["build", "--release", "--workspace", "--bin", "wharf"])
        .args(["--example", "bare_hyper", "--example", "plugin_calls"])
        .current_dir(paths.root())
        .status()?;
    ensure!(status.success(), "cargo build --release failed");
    Ok(())
}

/// Runs the measurements inside the sandbox crate, and gives their lines.
pub(super) fn sandbox_calls(paths: &Paths) -> Result<String> {
    let output = Command::new(release(paths, "examples/plugin_calls"))
        .env("WHARF_TEST_GUESTS", paths.guests())
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(
        output.status.success(),
        "the measurements of plugin calls failed"
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
    pub(super) fn start(paths: &Paths, site: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let ready_file = folder.path().join("ready");
        let started = Instant::now();
        let child = Command::new(release(paths, "wharf"))
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

    /// The answer of a route to the benchmark's body.
    pub(super) fn infer(&self, route: &str) -> Result<String> {
        let (status, answer) = exchange(&self.listen, &format!("POST /v1/infer/{route}"), BODY)?;
        ensure!(
            status == 200,
            "the route {route} answers {status}: {answer}"
        );
        Ok(answer)
    }

    /// The generation of the snapshot in force.
    pub(super) fn generation(&self) -> Result<u64> {
        let (_, answer) = exchange(&self.admin, "GET /admin/snapshot", "")?;
        serde_json::from_str::<serde_json::Value>(&answer)?["generation"]
            .as_u64()
            .context("no generation")
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

/// The yardstick: hyper alone, which reads the request and answers the same bytes.
pub(super) struct BareHyper {
    _process: Running,
    address: String,
}

impl BareHyper {
    /// Starts it with the answer to give.
    pub(super) fn start(paths: &Paths, answer: &str) -> Result<Self> {
        let mut child = Command::new(release(paths, "examples/bare_hyper"))
            .arg(answer)
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().context("the output is piped")?;
        let process = Running(child);
        let mut address = String::new();
        BufReader::new(output).read_line(&mut address)?;
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
struct Running(Child);

impl Running {
    /// Asks until there is an answer, and gives up when the process ends or takes too long.
    fn poll<T>(&mut self, started: Instant, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
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

fn release(paths: &Paths, name: &str) -> PathBuf {
    paths.target().join("release").join(name)
}

/// One HTTP/1.1 exchange on a connection of its own: the status and the body.
fn exchange(address: &str, request: &str, body: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    let (length, kind) = (body.len(), "content-type: application/json");
    write!(
        stream,
        "{request} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n{kind}\r\ncontent-length: {length}\r\n\r\n{body}"
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
