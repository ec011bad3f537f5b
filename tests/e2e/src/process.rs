//! The real binary, as a child process.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::command::listening;
use crate::{Client, Metrics, Request, Response, Site, wait_for};

/// The variable with what operators have to show.
const ADMIN_TOKEN: &str = "WHARF_SERVER__ADMIN_TOKEN";

/// A running server. Dropping it ends the process and prints its log, which the test harness shows where the test failed.
pub struct Wharf {
    child: Child,
    output: Arc<Mutex<Vec<String>>>,
    readers: Vec<thread::JoinHandle<()>>,
    listen: SocketAddr,
    admin: SocketAddr,
    /// What operators have to show, where the command's environment says so.
    admin_token: Option<String>,
    // Holds the ready file until the process has ended.
    _workspace: tempfile::TempDir,
}

/// How a server ended.
#[derive(Debug)]
pub struct Exit {
    /// Its exit status.
    pub status: ExitStatus,
    /// How long it took from the signal on.
    pub took: Duration,
}

impl Wharf {
    /// Serves a site, and waits until it is loaded.
    ///
    /// # Errors
    /// Where the process ends, or does not load it in time.
    pub async fn serve(site: &Site) -> Result<Self> {
        Self::serve_with(site, |_| {}).await
    }

    /// Serves a site with changes to the command, such as variables of the environment.
    ///
    /// # Errors
    /// As [`Wharf::serve`].
    pub async fn serve_with(site: &Site, change: impl FnOnce(&mut Command)) -> Result<Self> {
        Self::start("serve", site, change).await
    }

    /// Answers in the name of a site, where no ONNX Runtime is to be had.
    ///
    /// # Errors
    /// As [`Wharf::serve`].
    pub async fn mock(site: &Site) -> Result<Self> {
        let nowhere = site.path().join("no-library.so");
        Self::start("mock", site, |command| {
            command
                .env("WHARF_ONNXRUNTIME", nowhere)
                .env_remove("ORT_DYLIB_PATH");
        })
        .await
    }

    async fn start(what: &str, site: &Site, change: impl FnOnce(&mut Command)) -> Result<Self> {
        let workspace = tempfile::tempdir()?;
        let ready_file = workspace.path().join("ready.json");
        let mut command = listening(what, site.path(), &ready_file)?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        change(&mut command);
        let admin_token = command.get_envs().find_map(|(name, value)| match value {
            Some(token) if name == ADMIN_TOKEN => Some(token.to_string_lossy().into_owned()),
            _ => None,
        });
        let mut child = command.spawn().context("cannot start the server")?;
        let output = Arc::new(Mutex::new(Vec::new()));
        let readers = [
            child.stdout.take().map(|stream| collect(stream, &output)),
            child.stderr.take().map(|stream| collect(stream, &output)),
        ];
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut wharf = Self {
            child,
            output,
            readers: readers.into_iter().flatten().collect(),
            listen: nowhere,
            admin: nowhere,
            admin_token,
            _workspace: workspace,
        };

        let addresses = wharf.addresses(&ready_file).await?;
        wharf.listen = address(&addresses, "listen")?;
        wharf.admin = address(&addresses, "admin")?;
        // A site of which nothing can be served is never ready, and some tests want just that.
        wait_for("the site to be loaded", async || {
            let snapshot = wharf.snapshot().await.ok()?;
            (snapshot["loaded"] == true).then_some(())
        })
        .await?;
        Ok(wharf)
    }

    /// The address for clients.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// The address for operators.
    #[must_use]
    pub fn admin_listen(&self) -> SocketAddr {
        self.admin
    }

    /// Makes a client.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.listen)
    }

    /// Makes a client of the admin listener.
    #[must_use]
    pub fn admin(&self) -> Client {
        Client::new(self.admin)
    }

    /// Reads `/metrics`.
    ///
    /// # Errors
    /// Where they cannot be had.
    pub async fn metrics(&self) -> Result<Metrics> {
        let answer = self.admin().get("/metrics").await?;
        ensure!(answer.status == 200, "/metrics answered {}", answer.status);
        Metrics::parse(&answer.text())
    }

    /// Waits until the metrics are as wanted.
    ///
    /// # Errors
    /// Where they do not become so.
    pub async fn wait_for_metrics(
        &self,
        what: &str,
        wanted: impl Fn(&Metrics) -> bool,
    ) -> Result<()> {
        wait_for(what, async || {
            self.metrics()
                .await
                .is_ok_and(|metrics| wanted(&metrics))
                .then_some(())
        })
        .await
    }

    /// Waits until nothing is under way: no request, no call of a plugin, nothing in a queue.
    ///
    /// # Errors
    /// Where something stays.
    pub async fn expect_idle(&self) -> Result<()> {
        let waited = self
            .wait_for_metrics("the gauges to come down", |metrics| {
                metrics.busy().is_empty()
            })
            .await;
        match waited {
            Ok(()) => Ok(()),
            Err(error) => {
                Err(error.context(format!("still busy: {:?}", self.metrics().await?.busy())))
            }
        }
    }

    /// Reads `/admin/snapshot`.
    ///
    /// # Errors
    /// Where it cannot be had.
    pub async fn snapshot(&self) -> Result<Value> {
        self.operate(Request::get("/admin/snapshot")).await?.ok()
    }

    /// Reloads at once, and waits until it is done.
    ///
    /// # Errors
    /// Where the server does not do it.
    pub async fn reload(&self) -> Result<Value> {
        let request = Request::json("/admin/reload", &json!({}));
        self.operate(request).await?.ok()
    }

    /// Asks the admin listener as an operator does.
    async fn operate(&self, request: Request) -> Result<Response> {
        let request = match &self.admin_token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        self.admin().send(&request).await
    }

    /// The resident memory of the process in bytes.
    ///
    /// # Errors
    /// Where the system does not tell.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024)
    }

    /// What the process has written so far, line by line.
    #[must_use]
    pub fn log(&self) -> String {
        self.output
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .join("\n")
    }

    /// Stops the process where it stands, until [`Wharf::resume`]: what the system has for it queues up.
    ///
    /// # Errors
    /// Where it has ended by itself.
    pub async fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let stat = format!("/proc/{}/stat", self.child.id());
        wait_for("the server to stop", async || {
            // The state is the first field behind the name, which is in parentheses.
            let stat = std::fs::read_to_string(&stat).ok()?;
            let (_, fields) = stat.rsplit_once(") ")?;
            fields.starts_with('T').then_some(())
        })
        .await
    }

    /// Lets a paused process go on.
    ///
    /// # Errors
    /// Where it has ended by itself.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Waits until the log has a text: a line may come later than the answer of the request that it is about.
    ///
    /// # Errors
    /// Where it does not come.
    pub async fn wait_for_log(&self, text: &str) -> Result<()> {
        wait_for(&format!("{text:?} in the log"), async || {
            self.log().contains(text).then_some(())
        })
        .await
    }

    /// Asks the process to end.
    ///
    /// # Errors
    /// Where it has ended by itself.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Ends the process without letting it do anything more.
    ///
    /// # Errors
    /// Where it has ended by itself.
    pub async fn kill(mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.ended().await?;
        Ok(())
    }

    /// Asks the process to end, and waits until it has.
    ///
    /// # Errors
    /// Where it does not end in time.
    pub async fn stop(mut self) -> Result<Exit> {
        let begun = Instant::now();
        self.terminate()?;
        let status = self.ended().await?;
        Ok(Exit {
            status,
            took: begun.elapsed(),
        })
    }

    /// Whether the process runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    async fn ended(&mut self) -> Result<ExitStatus> {
        wait_for("the server to end", async || {
            self.child.try_wait().ok().flatten()
        })
        .await
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("an odd process id")?;
        kill_process(id, signal).context("the server has ended by itself")
    }

    async fn addresses(&mut self, ready_file: &Path) -> Result<Value> {
        let found = wait_for("the ready file", async || {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(Err(status));
            }
            let text = std::fs::read(ready_file).ok()?;
            serde_json::from_slice(&text).ok().map(Ok)
        })
        .await?;
        found.or_else(|status| bail!("the server ended with {status}"))
    }
}

impl Drop for Wharf {
    fn drop(&mut self) {
        if self.is_alive() {
            // Nothing to do about a failure: the process has ended in between.
            let _ = self.signal(Signal::TERM);
            let deadline = Instant::now() + Duration::from_secs(5);
            while self.is_alive() && Instant::now() < deadline {
                thread::park_timeout(Duration::from_millis(10));
            }
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        eprintln!("--- the server's output:\n{}\n---", self.log());
    }
}

fn address(addresses: &Value, listener: &str) -> Result<SocketAddr> {
    let text = addresses[listener]
        .as_str()
        .with_context(|| format!("the ready file lacks `{listener}`"))?;
    Ok(text.parse()?)
}

fn collect(
    stream: impl Read + Send + 'static,
    output: &Arc<Mutex<Vec<String>>>,
) -> thread::JoinHandle<()> {
    let output = Arc::clone(output);
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            output
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
        }
    })
}
