//! Load by `wrk`, and what it measured.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// The body of every request: one row of the 4-float model.
pub(super) const BODY: &str = r#"{"input":[[5.1,3.5,1.4,0.2]]}"#;

/// A bounded load.
pub(super) struct Load {
    pub(super) connections: u32,
    pub(super) duration: Duration,
}

/// The body of a request, as Lua writes it between quotes.
struct Body {
    content_type: &'static str,
    /// Where binary tensors begin.
    tensors_at: Option<usize>,
    /// Whoever sends it has this.
    token: Option<String>,
    text: String,
}

/// What one load measured.
#[derive(Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) requests_per_second: f64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) failed: u64,
}

/// Says what to install where `wrk` is missing.
pub(super) fn require_wrk() -> Result<()> {
    match Command::new("wrk").arg("--version").output() {
        Ok(_) => Ok(()),
        Err(_) => bail!("the load generator wrk is missing: apt-get install wrk"),
    }
}

impl Load {
    /// Posts [`BODY`] to a URL, over and over.
    pub(super) fn run(&self, url: &str) -> Result<Sample> {
        self.post(url, BODY)
    }

    /// Posts a JSON document to a URL, over and over.
    pub(super) fn post(&self, url: &str, body: &str) -> Result<Sample> {
        self.send(url, &Body::new("application/json", None, body.as_bytes()))
    }

    /// Does the same in the name of a token's owner.
    pub(super) fn post_bearing(&self, url: &str, body: &str, token: &str) -> Result<Sample> {
        let mut body = Body::new("application/json", None, body.as_bytes());
        body.token = Some(token.to_owned());
        self.send(url, &body)
    }

    /// Posts a JSON document with binary tensors behind it to a URL, over and over.
    pub(super) fn post_binary(&self, url: &str, json: &str, tensors: &[u8]) -> Result<Sample> {
        let bytes = [json.as_bytes(), tensors].concat();
        let body = Body::new("application/octet-stream", Some(json.len()), &bytes);
        self.send(url, &body)
    }

    fn send(&self, url: &str, body: &Body) -> Result<Sample> {
        let mut script = tempfile::Builder::new().suffix(".lua").tempfile()?;
        let tensors_at = body.tensors_at.map_or_else(String::new, |length| {
            format!("wrk.headers['inference-header-content-length'] = '{length}'\n")
        });
        let token = body.token.as_ref().map_or_else(String::new, |token| {
            format!("wrk.headers['authorization'] = 'Bearer {token}'\n")
        });
        write!(
            script,
            "wrk.method = 'POST'\nwrk.headers['content-type'] = '{}'\n{tensors_at}{token}wrk.body = '{}'\n\
             done = function(summary, latency)\n\
             local e = summary.errors\n\
             io.write(string.format('WHARF %d %d %d %d %d\\n', summary.requests, summary.duration,\n\
             latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.timeout + e.status))\nend\n",
            body.content_type, body.text
        )?;
        let output = Command::new("wrk")
            .args([
                "-t1",
                &format!("-c{}", self.connections),
                &format!("-d{}s", self.duration.as_secs()),
                "-s",
            ])
            .arg(script.path())
            .arg(url)
            .output()
            .context("wrk cannot be started")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "wrk failed: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        parse(&text).with_context(|| format!("wrk said something else: {text}"))
    }
}

impl Body {
    fn new(content_type: &'static str, tensors_at: Option<usize>, bytes: &[u8]) -> Self {
        Self {
            content_type,
            tensors_at,
            token: None,
            text: bytes.iter().map(|byte| format!("\\{byte:03}")).collect(),
        }
    }
}

/// Reads the line that the script writes: requests, and in microseconds the time, p50 and p99; failures.
fn parse(text: &str) -> Option<Sample> {
    let line = text.lines().find_map(|line| line.strip_prefix("WHARF "))?;
    let mut numbers = line.split(' ').map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    let (requests, micros) = (next()?, next()?);
    let (p50, p99, failed) = (next()?, next()?, next()?);
    let requests_per_second = requests as f64 / (micros as f64 / 1e6);
    Some(Sample {
        requests_per_second,
        p50: Duration::from_micros(p50),
        p99: Duration::from_micros(p99),
        failed,
    })
}

/// The median of the rates.
pub(super) fn median_rate(samples: &[Sample]) -> f64 {
    median(samples.iter().map(|sample| sample.requests_per_second))
}

/// The median of some figures; not a number where there are none.
pub(super) fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The median of the 50th percentiles.
pub(super) fn median_p50(samples: &[Sample]) -> Duration {
    median_time(samples, |sample| sample.p50)
}

/// The median of the 99th percentiles.
pub(super) fn median_p99(samples: &[Sample]) -> Duration {
    median_time(samples, |sample| sample.p99)
}

fn median_time(samples: &[Sample], of: impl Fn(&Sample) -> Duration) -> Duration {
    let mut times: Vec<Duration> = samples.iter().map(of).collect();
    times.sort();
    times[times.len() / 2]
}

/// Requests that failed, in all samples.
pub(super) fn failed<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> u64 {
    samples.into_iter().map(|sample| sample.failed).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_script_is_read() {
        let sample = parse("Running 4s test\nWHARF 8000 4000000 400 950 2\n").unwrap();
        assert_eq!(
            sample,
            Sample {
                requests_per_second: 2000.0,
                p50: Duration::from_micros(400),
                p99: Duration::from_micros(950),
                failed: 2
            }
        );
        assert_eq!(parse("Running 4s test\n"), None);
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert!(median(std::iter::empty()).is_nan());
    }
}
