//! How each peer is installed and started.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use wharf_toolchain::answer_of;

use super::install;
use crate::bench::inference::{TINY_BODY, TINY_PATH};
use crate::bench::process::{Running, exchange};
use crate::paths::Paths;

/// A server to compare with.
pub(super) struct Peer {
    pub(super) name: &'static str,
    /// How many times its rate is to be surpassed.
    pub(super) times: f64,
    /// Whether it is what a user writes in Python or Node.
    pub(super) own_making: bool,
    command: fn(&Start<'_>) -> Result<Command>,
}

/// What a peer is started with.
struct Start<'a> {
    paths: &'a Paths,
    /// A folder of its own.
    work: &'a Path,
    port: u16,
}

pub(super) const PEERS: [Peer; 4] = [
    Peer {
        name: "MLServer",
        times: 20.0,
        own_making: false,
        command: mlserver,
    },
    Peer {
        name: "Triton with its Python backend",
        times: 6.0,
        own_making: false,
        command: triton,
    },
    Peer {
        name: "Starlette and orjson, two processes",
        times: super::OWN_MAKING,
        own_making: true,
        command: starlette,
    },
    Peer {
        name: "Fastify and onnxruntime-node",
        times: super::OWN_MAKING,
        own_making: true,
        command: fastify,
    },
];

/// A peer that serves. It ends with this value, and so do the processes that it started.
pub(super) struct Serving {
    port: u16,
    process: Running,
    _work: tempfile::TempDir,
}

impl Peer {
    /// Installs the peer where it is missing, starts it, and waits for its first answer.
    ///
    /// # Errors
    /// Where it cannot be installed, or does not answer.
    pub(super) fn start(&self, paths: &Paths, model: &Path) -> Result<Serving> {
        let work = tempfile::tempdir()?;
        let start = Start {
            paths,
            work: work.path(),
            port: free_port()?,
        };
        let mut command = (self.command)(&start)?;
        let log = work.path().join("log");
        let output = std::fs::File::create(&log)?;
        command
            .env("MODEL", model)
            .env("PORT", start.port.to_string())
            .env("OMP_NUM_THREADS", "1")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0);
        let port = start.port;
        let mut serving = Serving {
            port,
            process: Running::start(&mut command)?,
            _work: work,
        };
        let address = format!("127.0.0.1:{port}");
        let answered = serving.process.poll(Instant::now(), || {
            let answer = exchange(&address, &format!("POST {TINY_PATH}"), TINY_BODY);
            answer
                .ok()
                .filter(|(status, body)| *status == 200 && body.contains("outputs"))
        });
        answered.with_context(|| last_words(&log))?;
        Ok(serving)
    }
}

impl Serving {
    /// A URL on it.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Its workers are in its process group. First it may end by itself, so that it takes its shared memory along.
        for (signal, patience) in [("-TERM", Duration::from_secs(5)), ("-KILL", Duration::ZERO)] {
            let group = format!("-{}", self.process.id());
            let killed = Command::new("kill").args([signal, "--", &group]).status();
            let given_up = Instant::now() + patience;
            while killed.is_ok() && self.process.is_alive() && Instant::now() < given_up {
                std::thread::park_timeout(Duration::from_millis(20));
            }
        }
    }
}

/// What it wrote last, for who must find out why it does not serve.
fn last_words(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let end = &text[text.len().saturating_sub(800)..];
    format!(
        "it does not answer; it says: {}",
        String::from_utf8_lossy(end)
    )
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Without its pool of workers, which makes it slower.
fn mlserver(start: &Start<'_>) -> Result<Command> {
    let packages = ["mlserver", "onnxruntime", "uvloop==0.21.0"];
    let folder = install::from_pypi(start.paths, "mlserver", &packages)?;
    let settings = json!({
        "host": "127.0.0.1",
        "http_port": start.port,
        "grpc_port": free_port()?,
        "metrics_port": free_port()?,
        "parallel_workers": 0,
        "debug": false,
    });
    let model = json!({"name": "tiny", "implementation": "mlserver_peer.OnnxModel"});
    std::fs::write(start.work.join("settings.json"), settings.to_string())?;
    std::fs::write(start.work.join("model-settings.json"), model.to_string())?;
    std::fs::write(
        start.work.join("mlserver_peer.py"),
        include_str!("mlserver_peer.py"),
    )?;
    let mut command = python(start, &folder)?;
    command
        .args(["-c", "from mlserver.cli import main; main()", "start"])
        .arg(start.work);
    Ok(command)
}

fn starlette(start: &Start<'_>) -> Result<Command> {
    let packages = [
        "starlette",
        "orjson",
        "uvicorn",
        "uvloop",
        "httptools",
        "onnxruntime",
    ];
    let folder = install::from_pypi(start.paths, "starlette", &packages)?;
    std::fs::write(
        start.work.join("starlette_peer.py"),
        include_str!("starlette_peer.py"),
    )?;
    let mut command = python(start, &folder)?;
    command
        .args(["-m", "uvicorn", "starlette_peer:app", "--host", "127.0.0.1"])
        .args(["--port", &start.port.to_string(), "--workers", "2"])
        .args(["--no-access-log", "--log-level", "warning"]);
    Ok(command)
}

fn fastify(start: &Start<'_>) -> Result<Command> {
    let folder = install::from_npm(start.paths, "fastify", &["fastify", "onnxruntime-node"])?;
    // Packages are looked for from the folder of the script upwards.
    let script = folder.join("fastify_peer.js");
    std::fs::write(&script, include_str!("fastify_peer.js"))?;
    let mut command = Command::new("node");
    command.arg(script);
    Ok(command)
}

/// The server in the wheel of `PyTriton`, with a model in Python.
fn triton(start: &Start<'_>) -> Result<Command> {
    let packages = ["nvidia-pytriton", "onnxruntime"];
    let folder = install::from_pypi(start.paths, "triton", &packages)?;
    let server = folder.join("pytriton/tritonserver");
    let version = python_says("import sys; print('%d.%d' % sys.version_info[:2])")?;
    let stub = "triton_python_backend_stub";
    let ours = server.join("python_backend_stubs").join(version).join(stub);
    // Triton looks for it beside the backend.
    let place = server.join("backends/python").join(stub);
    std::fs::copy(&ours, place).with_context(|| format!("{} is missing", ours.display()))?;

    let model = start.work.join("repository/tiny");
    std::fs::create_dir_all(model.join("1"))?;
    std::fs::write(
        model.join("config.pbtxt"),
        include_str!("triton_config.pbtxt"),
    )?;
    std::fs::write(model.join("1/model.py"), include_str!("triton_peer.py"))?;
    let libraries = python_says("import sysconfig; print(sysconfig.get_config_var('LIBDIR'))")?;
    let own = folder.join("nvidia_pytriton.libs");
    ensure!(
        server.join("bin/tritonserver").is_file(),
        "the wheel has no tritonserver"
    );
    let mut command = Command::new(server.join("bin/tritonserver"));
    command
        .arg(format!(
            "--model-repository={}",
            start.work.join("repository").display()
        ))
        .arg(format!(
            "--backend-directory={}",
            server.join("backends").display()
        ))
        .args([
            "--http-address=127.0.0.1",
            "--allow-grpc=false",
            "--allow-metrics=false",
        ])
        .arg(format!("--http-port={}", start.port))
        .env("PYTHONPATH", &folder)
        .env("PACKAGES", &folder)
        .env("LD_LIBRARY_PATH", format!("{}:{libraries}", own.display()));
    Ok(command)
}

/// Python with the packages of a folder and the modules of the peer's own.
fn python(start: &Start<'_>, packages: &Path) -> Result<Command> {
    let mut command = Command::new(install::python()?);
    let path = format!("{}:{}", packages.display(), start.work.display());
    command.env("PYTHONPATH", path).current_dir(start.work);
    Ok(command)
}

fn python_says(program: &str) -> Result<String> {
    let python = install::python()?;
    answer_of(Command::new(python).args(["-c", program])).context("python does not start")
}
