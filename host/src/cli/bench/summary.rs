//! What a load came to: as a table for people, and as JSON with keys that do not change.

use std::fmt::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::drive::{Load, Measured, Pace};
use super::statistics::{Latencies, Said};

/// The columns of the table of latencies.
const COLUMNS: [&str; 8] = ["", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"];

/// What was measured, and of what.
pub(super) struct Summary<'a> {
    /// What was asked for: the model, the server and how they were spoken to.
    pub(super) subject: Subject,
    pub(super) load: &'a Load,
    pub(super) measured: &'a Measured,
}

/// What the load was put on.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Subject {
    pub(super) url: String,
    pub(super) model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    pub(super) protocol: &'static str,
    pub(super) data: &'static str,
}

/// The document of `--json`. Its keys are public: `--help` lists them.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    subject: &'a Subject,
    #[serde(rename = "loop")]
    pace: &'static str,
    rate: Option<f64>,
    connections: u32,
    seconds: f64,
    ended_early: bool,
    requests: u64,
    succeeded: u64,
    refused: u64,
    failed: u64,
    unsent: u64,
    throughput: f64,
    sent_bytes: u64,
    received_bytes: u64,
    latency_ms: Option<LatencyDocument>,
    refused_latency_ms: Option<LatencyDocument>,
    errors: Vec<ErrorDocument>,
}

#[derive(Serialize)]
struct LatencyDocument {
    mean: f64,
    p50: f64,
    p90: f64,
    p95: f64,
    p99: f64,
    p99_9: f64,
    max: f64,
}

#[derive(Serialize)]
struct ErrorDocument {
    kind: String,
    count: u64,
    message: String,
}

impl Summary<'_> {
    /// Whether there were requests and not one succeeded.
    pub(super) fn all_failed(&self) -> bool {
        self.measured.recorder.succeeded.count() == 0
    }

    /// What the server said first where nothing succeeded.
    pub(super) fn first_message(&self) -> String {
        match self.errors().into_iter().next() {
            Some(error) => format!("{}: {}", error.kind, error.message),
            None if self.measured.early => "it was ended before the first answer".to_owned(),
            None => "no answer came in time".to_owned(),
        }
    }

    /// The document of `--json`, in one line.
    ///
    /// # Errors
    /// Never: its types have a form in JSON.
    pub(super) fn json(&self) -> serde_json::Result<String> {
        let recorder = &self.measured.recorder;
        serde_json::to_string(&Document {
            subject: &self.subject,
            pace: match self.load.pace {
                Pace::Closed => "closed",
                Pace::Open { .. } => "open",
            },
            rate: self.rate(),
            connections: self.measured.lines,
            seconds: self.measured.elapsed.as_secs_f64(),
            ended_early: self.measured.early,
            requests: recorder.requests(),
            succeeded: recorder.succeeded.count(),
            refused: recorder.refused.count(),
            failed: recorder.failed_count(),
            unsent: recorder.unsent,
            throughput: self.throughput(),
            sent_bytes: self.sent(),
            received_bytes: recorder.received,
            latency_ms: latency(&recorder.succeeded),
            refused_latency_ms: latency(&recorder.refused),
            errors: self.errors(),
        })
    }

    fn rate(&self) -> Option<f64> {
        match self.load.pace {
            Pace::Closed => None,
            Pace::Open { rate } => Some(rate),
        }
    }

    /// Successes a second.
    fn throughput(&self) -> f64 {
        let elapsed = self.measured.elapsed.as_secs_f64();
        self.measured.recorder.counted as f64 / elapsed.max(f64::EPSILON)
    }

    fn sent(&self) -> u64 {
        self.measured.recorder.requests() * self.load.call.length()
    }

    /// Refusals first, then failures by their kind.
    fn errors(&self) -> Vec<ErrorDocument> {
        let recorder = &self.measured.recorder;
        let refused = Said {
            count: recorder.refused.count(),
            message: recorder.refusal.clone(),
        };
        let refused = (refused.count > 0).then(|| ("refused".to_owned(), refused));
        let failures = recorder.failures.iter();
        refused
            .into_iter()
            .chain(failures.map(|(kind, said)| (kind.to_string(), said.clone())))
            .map(|(kind, Said { count, message })| ErrorDocument {
                kind,
                count,
                message,
            })
            .collect()
    }

    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Subject {
            url,
            model,
            version,
            protocol,
            data,
        } = &self.subject;
        let version = match version {
            Some(version) => format!(" version {version}"),
            None => String::new(),
        };
        writeln!(f, "{model}{version} at {url}, {protocol}, {data}")?;
        match self.load.pace {
            Pace::Closed => write!(f, "closed loop, {} connections", self.measured.lines)?,
            Pace::Open { rate } => write!(
                f,
                "open loop, {rate} requests/s, {} of at most {} connections used",
                self.measured.lines, self.load.connections
            )?,
        }
        let early = if self.measured.early {
            ", ended early"
        } else {
            ""
        };
        writeln!(
            f,
            ", {:.1} s after {:?} of warm-up{early}\n",
            self.measured.elapsed.as_secs_f64(),
            self.load.warmup
        )
    }

    fn counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recorder = &self.measured.recorder;
        let rows = [
            ("requests", recorder.requests(), String::new()),
            (
                "succeeded",
                recorder.succeeded.count(),
                format!("{:.1}/s", self.throughput()),
            ),
            ("refused", recorder.refused.count(), String::new()),
            ("failed", recorder.failed_count(), String::new()),
            ("never sent", recorder.unsent, String::new()),
        ];
        for (what, count, beside) in rows {
            if what != "never sent" || count > 0 {
                let line = format!("  {what:<12}{count:>12}  {beside}");
                writeln!(f, "{}", line.trim_end())?;
            }
        }
        let elapsed = self.measured.elapsed.as_secs_f64().max(f64::EPSILON);
        for (what, bytes) in [("sent", self.sent()), ("received", recorder.received)] {
            let mebibytes = bytes as f64 / f64::from(1 << 20);
            let rate = mebibytes / elapsed;
            writeln!(
                f,
                "  {what:<12}{mebibytes:>8.1} MiB  {rate:.1} MiB/s in bodies"
            )?;
        }
        writeln!(f)
    }

    fn latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recorder = &self.measured.recorder;
        row(f, "  latency", &COLUMNS.map(str::to_owned))?;
        row(f, "  succeeded", &columns(&recorder.succeeded))?;
        if recorder.refused.count() > 0 {
            row(f, "  refused", &columns(&recorder.refused))?;
        }
        f.write_str(match self.load.pace {
            Pace::Closed => {
                "\nLatencies count from the sending. A closed loop sends nothing while it waits for a server that stalls, so\n\
                 that its percentiles leave out who would have come meanwhile: --rate shows them.\n"
            }
            Pace::Open { .. } => {
                "\nLatencies count from when each request was due, so that a server that stalls is charged for all who wait.\n"
            }
        })
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        self.counts(f)?;
        self.latencies(f)?;
        if self.measured.recorder.unsent > 0 {
            writeln!(
                f,
                "Every connection was busy to the end, and requests were never sent: the true percentiles are higher."
            )?;
        }
        let errors = self.errors();
        if !errors.is_empty() {
            writeln!(f, "\n  errors")?;
        }
        for error in errors {
            let message = error.message.lines().next().unwrap_or_default().to_owned();
            let line = format!("  {:<20}{:>10}  {message}", error.kind, error.count);
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, columns: &[String; 8]) -> fmt::Result {
    let mut line = format!("{name:<12}");
    for column in &columns[1..] {
        write!(line, "{column:>11}")?;
    }
    writeln!(f, "{line}")
}

fn columns(latencies: &Latencies) -> [String; 8] {
    let Some(document) = latency(latencies) else {
        return std::array::from_fn(|_| "-".to_owned());
    };
    let LatencyDocument {
        mean,
        p50,
        p90,
        p95,
        p99,
        p99_9,
        max,
    } = document;
    let shown = |millis: f64| format!("{:.3?}", Duration::from_secs_f64(millis / 1e3));
    let [mean, p50, p90, p95, p99, p99_9, max] = [mean, p50, p90, p95, p99, p99_9, max].map(shown);
    [String::new(), mean, p50, p90, p95, p99, p99_9, max]
}

fn latency(latencies: &Latencies) -> Option<LatencyDocument> {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let percentile = |percent| millis(latencies.percentile(percent));
    (latencies.count() > 0).then(|| LatencyDocument {
        mean: millis(latencies.mean()),
        p50: percentile(50.0),
        p90: percentile(90.0),
        p95: percentile(95.0),
        p99: percentile(99.0),
        p99_9: percentile(99.9),
        max: millis(latencies.max()),
    })
}
