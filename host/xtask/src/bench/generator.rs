//! Load by `wharf bench`, and by `h2load` for plain gRPC where it is installed.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::process::Binaries;

/// What `wharf bench --json` says, as much as is needed here.
#[derive(Debug, Deserialize)]
pub(super) struct Outcome {
    pub(super) throughput: f64,
    pub(super) requests: u64,
    pub(super) succeeded: u64,
    pub(super) refused: u64,
    pub(super) failed: u64,
    pub(super) unsent: u64,
    latency_ms: Option<Latency>,
    refused_latency_ms: Option<Latency>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Latency {
    p99: f64,
}

impl Outcome {
    pub(super) fn p99(&self) -> Result<Duration> {
        Ok(millis(self.latency()?.p99))
    }

    /// Of the refused requests; none where none was refused.
    pub(super) fn refused_p99(&self) -> Option<Duration> {
        self.refused_latency_ms.map(|latency| millis(latency.p99))
    }

    /// That every request succeeded.
    ///
    /// # Errors
    /// Where one did not.
    pub(super) fn all_succeeded(self) -> Result<Self> {
        ensure!(
            self.requests == self.succeeded && self.unsent == 0,
            "{} requests were refused, {} failed and {} were never sent",
            self.refused,
            self.failed,
            self.unsent
        );
        Ok(self)
    }

    fn latency(&self) -> Result<Latency> {
        self.latency_ms.context("no request succeeded")
    }
}

fn millis(millis: f64) -> Duration {
    Duration::from_secs_f64(millis / 1e3)
}

/// A load by `wharf bench`.
pub(super) struct Generator<'a> {
    binaries: &'a Binaries,
    url: String,
    model: String,
}

impl<'a> Generator<'a> {
    /// Takes the server's URL and the model.
    pub(super) fn new(binaries: &'a Binaries, url: &str, model: &str) -> Self {
        Self {
            binaries,
            url: url.to_owned(),
            model: model.to_owned(),
        }
    }

    /// Runs the load to its end.
    ///
    /// # Errors
    /// Where no request succeeds; the text says why.
    pub(super) fn run(&self, flags: &[&str]) -> Result<Outcome> {
        let output = self
            .command(flags)
            .output()
            .context("wharf bench cannot be started")?;
        ensure!(
            output.status.success(),
            "wharf bench failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        outcome(&output.stdout)
    }

    /// The command, for a load that goes on until it is interrupted.
    pub(super) fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(self.binaries.wharf());
        command
            .args(["bench", "--json", "--url", &self.url])
            .args(["--model", &self.model])
            .args(flags);
        command
    }
}

/// Reads the line that `wharf bench --json` writes.
///
/// # Errors
/// Where it says something else.
pub(super) fn outcome(line: &[u8]) -> Result<Outcome> {
    serde_json::from_slice(line)
        .with_context(|| format!("wharf bench said {:?}", String::from_utf8_lossy(line)))
}

/// Whether `h2load` is installed.
pub(super) fn has_h2load() -> bool {
    let version = Command::new("h2load").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// Requests a second by `h2load`, which costs less than other clients of HTTP/2: one stream on each connection, with a file
/// that holds a frame of gRPC.
///
/// # Errors
/// Where a request fails.
pub(super) fn h2load(url: &str, frame: &Path, load: &super::load::Load) -> Result<f64> {
    let output = Command::new("h2load")
        .args(["-t1", "-m1", "-c", &load.connections.to_string()])
        .args(["-D", &load.duration.as_secs().to_string()])
        .args(["-H", "content-type: application/grpc", "-H", "te: trailers"])
        .arg("-d")
        .arg(frame)
        .arg(url)
        .output()
        .context("h2load cannot be started")?;
    let text = String::from_utf8_lossy(&output.stdout);
    rate(&text).with_context(|| format!("h2load said something else: {text}"))
}

/// Reads the rate, where nothing failed.
fn rate(text: &str) -> Option<f64> {
    let finished = text
        .lines()
        .find_map(|line| line.strip_prefix("finished in "))?;
    let rate = finished
        .split(", ")
        .find_map(|part| part.strip_suffix(" req/s"))?;
    let counts = text
        .lines()
        .find_map(|line| line.strip_prefix("requests: "))?;
    let count = |what| counts.split(", ").find_map(|part| part.strip_suffix(what));
    (count(" failed")? == "0" && count(" errored")? == "0").then_some(())?;
    rate.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_of_h2load_is_read() {
        let text = "finished in 4.00s, 1234.50 req/s, 1.2MB/s\n\
                    requests: 4938 total, 4970 started, 4938 done, 4938 succeeded, 0 failed, 0 errored, 0 timeout\n";
        assert_eq!(rate(text), Some(1234.5));
        assert_eq!(rate(&text.replace("0 failed", "3 failed")), None);
        assert_eq!(rate("h2load: cannot connect"), None);
    }

    #[test]
    fn what_wharf_bench_says_is_read() {
        let line = br#"{"throughput":99.5,"requests":101,"succeeded":100,"refused":1,"failed":0,"unsent":0,
            "latency_ms":{"p50":1.5,"p99":2,"max":3},"refused_latency_ms":null,"model":"m"}"#;
        let outcome = outcome(line).unwrap();
        assert_eq!(outcome.p99().unwrap(), Duration::from_micros(2000));
        assert_eq!(outcome.refused_p99(), None);
        assert!(outcome.all_succeeded().is_err());
    }
}
